/* Expressions. */
#include "text/jinja/eval.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/format.h"

/* --- errors and limits --- */

void jj_fail(struct jj *r, const char *fmt, ...)
{
    char msg[sizeof r->trap->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    jj_throw(r->trap, ERR_ARG, JINJA_RUNTIME, "%s", msg);
}

/* What Python says when something that is not there is used. */
void jj_fail_undef(struct jj *r, struct jj_value v)
{
    const struct jj_undef *u = v.undef;
    if (u->hint) jj_fail(r, "%s", u->hint);
    int n = (int)MIN(u->name.n, 100u);
    if (!u->of) jj_fail(r, "'%.*s' is undefined", u->name.type == JJ_STR ? n : 0, u->name.s);
    const char *object = strcmp(u->of, "NoneType") == 0 ? "" : " object";
    const char *of = object[0] ? u->of : "None";
    if (u->name.type == JJ_STR) jj_fail(r, "'%s%s' has no attribute '%.*s'", of, object, n, u->name.s);
    size_t begin = jj_text_begin(r);
    jj_write_repr(r, u->name);
    struct jj_value name = jj_text_end(r, begin);
    jj_fail(r, "%s%s has no element %.*s", of, object, (int)MIN(name.n, 100u), name.s);
}

enum { STEPS_BETWEEN_LOOKS = 10000 };

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void jj_start_clock(struct jj *r, uint64_t steps, uint32_t cpu_ms)
{
    r->steps = 0;
    r->steps_later = steps;
    r->deadline_ns = cpu_ns() + (int64_t)cpu_ms * 1000000;
}

void jj_charge_more(struct jj *r, uint64_t n)
{
    n -= r->steps;
    r->steps = 0;
    if (n > r->steps_later) jj_throw(r->trap, ERR_LIMIT, JINJA_LIMIT, "the template takes too many steps");
    if (cpu_ns() > r->deadline_ns) jj_throw(r->trap, ERR_LIMIT, JINJA_LIMIT, "the template takes too long");
    r->steps_later -= n;
    r->steps = MIN(r->steps_later, (uint64_t)STEPS_BETWEEN_LOOKS);
    r->steps_later -= r->steps;
}

void jj_too_deep(struct jj *r)
{
    jj_throw(r->trap, ERR_LIMIT, JINJA_LIMIT, "more than %u levels of recursion", r->max_depth);
}

/* --- text --- */

size_t jj_text_begin(struct jj *r)
{
    return r->out->n;
}

struct jj_value jj_text_end(struct jj *r, size_t begin)
{
    size_t n = r->out->n - begin;
    struct jj_value v = jj_str_copy(r, n ? r->out->data + begin : "", n);
    r->out->n = begin;
    if (r->out->data) r->out->data[begin] = 0;
    return v;
}

void jj_write(struct jj *r, const char *s, size_t n)
{
    jj_charge_bytes(r, n);
    if (n > r->out_max - (r->out->n - r->out_from))
        jj_throw(r->trap, ERR_LIMIT, JINJA_LIMIT, "the template writes more than %zu bytes", r->out_max);
    buf_add(r->out, s, n);
    if (r->out->failed) jj_throw(r->trap, ERR_LIMIT, JINJA_LIMIT, "no room for the template's output");
}

void jj_writes(struct jj *r, const char *s)
{
    jj_write(r, s, strlen(s));
}

/* --- variables --- */

struct jj_scope *jj_scope_new(struct jj *r, struct jj_scope *outer)
{
    struct jj_scope *s = jj_alloc(&r->arena, 1, sizeof *s);
    s->outer = outer;
    return s;
}

struct jj_value jj_lookup(struct jj *r, const struct jj_name *name)
{
    uint64_t looked = 0;
    for (const struct jj_scope *s = r->scope; s; looked += s->n, s = s->outer)
        for (uint32_t i = 0; i < s->n; i++)
            if (s->var[i].name == name) return s->var[i].value;
    jj_charge(r, looked / 8);
    const struct jj_value *v = jj_dict_get(r, r->context, name->str);
    if (v) return *v;
    const struct jj_builtin *b = jj_find_global(name->str);
    if (!b) return jj_undef_name(r, name->str);
    struct jj_function *f = jj_alloc(&r->arena, 1, sizeof *f);
    f->builtin = b;
    return (struct jj_value){.type = JJ_FUNCTION, .function = f};
}

void jj_assign(struct jj *r, struct jj_scope *s, const struct jj_name *name, struct jj_value v)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->var[i].name == name) {
            s->var[i].value = v;
            return;
        }
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4;
        s->var = jj_grow(&r->arena, s->var, s->n, s->cap, sizeof *s->var);
    }
    s->var[s->n++] = (struct jj_var){.name = name, .value = v};
}

/* --- calls --- */

/* Arguments being collected: on the stack while they are few. */
struct collected {
    struct jj_value pos_few[4], *pos;
    struct jj_kwarg kw_few[2], *kw;
    uint32_t n_pos, n_kw, cap_pos, cap_kw;
};

static void collected_init(struct collected *c)
{
    c->pos = c->pos_few;
    c->kw = c->kw_few;
    c->n_pos = c->n_kw = 0;
    c->cap_pos = COUNT_OF(c->pos_few);
    c->cap_kw = COUNT_OF(c->kw_few);
}

static void add_pos(struct jj *r, struct collected *c, struct jj_value v)
{
    if (c->n_pos == c->cap_pos) {
        c->cap_pos *= 2;
        c->pos = jj_grow(&r->arena, c->pos, c->n_pos, c->cap_pos, sizeof *c->pos);
    }
    c->pos[c->n_pos++] = v;
}

static void add_kw(struct jj *r, struct collected *c, struct jj_value name, struct jj_value v)
{
    for (uint32_t i = 0; i < c->n_kw; i++)
        if (jj_equal(r, c->kw[i].name, name))
            jj_fail(r, "got multiple values for keyword argument '%.*s'", (int)MIN(name.n, 100u), name.s);
    if (c->n_kw == c->cap_kw) {
        c->cap_kw *= 2;
        c->kw = jj_grow(&r->arena, c->kw, c->n_kw, c->cap_kw, sizeof *c->kw);
    }
    c->kw[c->n_kw++] = (struct jj_kwarg){.name = name, .value = v};
}

static void add_star2(struct jj *r, struct collected *c, struct jj_value v)
{
    const struct jj_pair *p;
    if (v.type != JJ_DICT) jj_fail(r, "argument after ** must be a mapping, not %s", jj_type_name(v));
    for (size_t i = 0; (p = jj_dict_next(v.dict, &i));) {
        if (p->key.type != JJ_STR) jj_fail(r, "keywords must be strings");
        add_kw(r, c, p->key, p->value);
    }
}

static void collect(struct jj *r, const struct jj_arglist *l, struct collected *c)
{
    struct jj_value v, x;
    collected_init(c);
    for (uint32_t i = 0; i < l->n; i++) {
        const struct jj_arg *a = &l->arg[i];
        v = jj_eval(r, a->value);
        switch (a->kind) {
        case JJ_ARG_POSITION: add_pos(r, c, v); break;
        case JJ_ARG_NAMED: add_kw(r, c, a->name->str, v); break;
        case JJ_ARG_STAR:
            for (struct jj_iter it = jj_iter(r, v); jj_next(r, &it, &x);) add_pos(r, c, x);
            break;
        case JJ_ARG_STAR2: add_star2(r, c, v); break;
        }
    }
}

static struct jj_args collected_args(const struct collected *c)
{
    return (struct jj_args){.pos = c->pos, .n_pos = c->n_pos, .kw = c->kw, .n_kw = c->n_kw};
}

struct jj_value jj_eval_call(struct jj *r, const struct jj_node *x, const struct jj_kwarg *more)
{
    const struct jj_node *callee = x->kid[0];
    const struct jj_builtin *method = NULL;
    struct jj_value self = jj_missing(), f = jj_missing();
    struct collected c;
    if (callee->kind == JJ_X_ATTR) { /* o.f(): no need to make a value of the method */
        self = jj_eval(r, callee->kid[0]);
        r->node = callee;
        method = jj_find_method(self, callee->name->str);
        if (method && method->lenient && !r->lenient) method = NULL;
        if (!method) f = jj_attr(r, self, callee->name->str);
    } else {
        f = jj_eval(r, callee);
    }
    collect(r, &x->args, &c);
    if (more) add_kw(r, &c, more->name, more->value);
    r->node = x;
    struct jj_args args = collected_args(&c);
    return method ? jj_call_builtin(r, method, self, &args) : jj_call_value(r, f, &args);
}

static struct jj_value eval_filter(struct jj *r, const struct jj_node *x, struct jj_value self)
{
    struct collected c;
    collect(r, &x->args, &c);
    r->node = x;
    if (!x->builtin || (x->builtin->lenient && !r->lenient))
        jj_fail(r, "No filter named '%.*s'.", (int)MIN(x->name2->str.n, 100u), x->name2->str.s);
    struct jj_args args = collected_args(&c);
    return jj_call_builtin(r, x->builtin, self, &args);
}

struct jj_value jj_eval_filters(struct jj *r, const struct jj_node *x, struct jj_value text)
{
    if (!x) return text;
    jj_enter(r);
    struct jj_value v = eval_filter(r, x, jj_eval_filters(r, x->kid[0], text));
    jj_leave(r);
    return v;
}

static struct jj_value eval_test(struct jj *r, const struct jj_node *x)
{
    struct collected c;
    struct jj_value self = jj_eval(r, x->kid[0]);
    collect(r, &x->args, &c);
    r->node = x;
    if (!x->builtin) jj_fail(r, "No test named '%.*s'.", (int)MIN(x->name2->str.n, 100u), x->name2->str.s);
    struct jj_args args = collected_args(&c);
    return jj_bool(jj_truth(r, jj_call_builtin(r, x->builtin, self, &args)) != x->negated);
}

/* --- the rest --- */

static struct jj_value eval_list(struct jj *r, const struct jj_node *x)
{
    struct jj_value v = jj_list_new(r, x->n);
    for (uint32_t i = 0; i < x->n; i++) jj_list_add(r, v.list, jj_eval(r, x->kid[i]));
    v.type = x->kind == JJ_X_TUPLE ? JJ_TUPLE : JJ_LIST;
    return v;
}

static struct jj_value eval_dict(struct jj *r, const struct jj_node *x)
{
    struct jj_value v = jj_dict_new(r);
    for (uint32_t i = 0; i < x->n; i += 2) {
        struct jj_value key = jj_eval(r, x->kid[i]);
        jj_dict_set(r, v.dict, key, jj_eval(r, x->kid[i + 1]));
    }
    return v;
}

static struct jj_value eval_slice(struct jj *r, const struct jj_node *x)
{
    struct jj_value o = jj_eval(r, x->kid[0]), bound[3];
    for (int i = 0; i < 3; i++) bound[i] = x->kid[1 + i] ? jj_eval(r, x->kid[1 + i]) : jj_none();
    r->node = x;
    return jj_slice(r, o, bound);
}

static struct jj_value eval_compare(struct jj *r, const struct jj_node *x)
{
    struct jj_value a = jj_eval(r, x->kid[0]), b;
    for (uint32_t i = 1; i < x->n; i++, a = b) {
        b = jj_eval(r, x->kid[i]);
        r->node = x;
        if (!jj_compare(r, (enum jj_op)x->ops[i - 1], a, b)) return jj_bool(false);
    }
    return jj_bool(true);
}

/* a ~ b: the values as text, one after the other. They are all evaluated before the first is written. */
static struct jj_value eval_concat(struct jj *r, const struct jj_node *x)
{
    struct jj_value few[8], *v = x->n <= COUNT_OF(few) ? few : jj_alloc(&r->arena, x->n, sizeof *v);
    for (uint32_t i = 0; i < x->n; i++) v[i] = jj_eval(r, x->kid[i]);
    size_t begin = jj_text_begin(r);
    for (uint32_t i = 0; i < x->n; i++) jj_write_str(r, v[i]);
    return jj_text_end(r, begin);
}

static struct jj_value eval_if(struct jj *r, const struct jj_node *x)
{
    if (jj_truth(r, jj_eval(r, x->kid[1]))) return jj_eval(r, x->kid[0]);
    if (x->kid[2]) return jj_eval(r, x->kid[2]);
    return jj_undef(r, "the inline if-expression evaluated to false and no else section was defined.");
}

static struct jj_value eval_kind(struct jj *r, const struct jj_node *x)
{
    struct jj_value a, b;
    switch (x->kind) {
    case JJ_X_CONST: return x->value;
    case JJ_X_NAME: return jj_lookup(r, x->name);
    case JJ_X_LIST:
    case JJ_X_TUPLE: return eval_list(r, x);
    case JJ_X_DICT: return eval_dict(r, x);
    case JJ_X_ATTR:
        a = jj_eval(r, x->kid[0]);
        r->node = x;
        return jj_attr(r, a, x->name->str);
    case JJ_X_ITEM:
        a = jj_eval(r, x->kid[0]);
        b = jj_eval(r, x->kid[1]);
        r->node = x;
        return jj_item(r, a, b);
    case JJ_X_SLICE: return eval_slice(r, x);
    case JJ_X_CALL: return jj_eval_call(r, x, NULL);
    case JJ_X_FILTER: return eval_filter(r, x, jj_eval(r, x->kid[0]));
    case JJ_X_TEST: return eval_test(r, x);
    case JJ_X_NOT: return jj_bool(!jj_truth(r, jj_eval(r, x->kid[0])));
    case JJ_X_NEG:
    case JJ_X_POS:
        a = jj_eval(r, x->kid[0]);
        r->node = x;
        return x->kind == JJ_X_NEG ? jj_negate(r, a) : jj_plus(r, a);
    case JJ_X_AND: a = jj_eval(r, x->kid[0]); return jj_truth(r, a) ? jj_eval(r, x->kid[1]) : a;
    case JJ_X_OR: a = jj_eval(r, x->kid[0]); return jj_truth(r, a) ? a : jj_eval(r, x->kid[1]);
    case JJ_X_BINARY:
        a = jj_eval(r, x->kid[0]);
        b = jj_eval(r, x->kid[1]);
        r->node = x;
        return jj_binary(r, (enum jj_op)x->op, a, b);
    case JJ_X_CONCAT: return eval_concat(r, x);
    case JJ_X_COMPARE: return eval_compare(r, x);
    case JJ_X_IF: return eval_if(r, x);
    default: return jj_missing(); /* no other kind is an expression */
    }
}

struct jj_value jj_eval(struct jj *r, const struct jj_node *x)
{
    jj_charge(r, 1);
    jj_enter(r);
    r->node = x;
    struct jj_value v = eval_kind(r, x);
    jj_leave(r);
    return v;
}
