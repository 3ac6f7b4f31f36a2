/* Statements. */
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/eval.h"
#include "text/jinja/format.h"

void jj_unpack(struct jj *r, struct jj_scope *scope, const struct jj_node *target, struct jj_value v)
{
    struct jj_value x;
    uint32_t n = 0;
    if (target->kind == JJ_X_NAME) {
        jj_assign(r, scope, target->name, v);
        return;
    }
    if (target->kind == JJ_X_NSREF) {
        x = jj_lookup(r, target->name);
        r->node = target;
        if (x.type == JJ_UNDEF) jj_fail_undef(r, x);
        if (x.type != JJ_NAMESPACE) jj_fail(r, "cannot assign attribute on non-namespace object");
        jj_dict_set(r, x.dict, target->name2->str, v);
        return;
    }
    r->node = target;
    if (v.type != JJ_UNDEF && !jj_iterable(v))
        jj_fail(r, "cannot unpack non-iterable %s object", jj_type_name(v));
    jj_enter(r);
    for (struct jj_iter it = jj_iter(r, v); jj_next(r, &it, &x); n++) {
        if (n == target->n) jj_fail(r, "too many values to unpack (expected %u)", target->n);
        jj_unpack(r, scope, target->kid[n], x);
    }
    if (n < target->n) jj_fail(r, "not enough values to unpack (expected %u, got %u)", target->n, n);
    jj_leave(r);
}

/* A body in a new scope inside of outer. */
static enum jj_flow exec_scoped(struct jj *r, const struct jj_body *body, struct jj_scope *scope)
{
    struct jj_scope *saved = r->scope;
    r->scope = scope;
    enum jj_flow flow = jj_exec(r, body);
    r->scope = saved;
    return flow;
}

/* --- macros --- */

static struct jj_macro *macro_new(struct jj *r, const struct jj_node *x, struct jj_value name)
{
    struct jj_macro *m = jj_alloc(&r->arena, 1, sizeof *m);
    *m = (struct jj_macro){.name = name, .params = x->params, .body = &x->body[0], .scope = r->scope};
    for (struct jj_scope *s = r->scope; s && !s->kept; s = s->outer) s->kept = true;
    return m;
}

static struct jj_value macro_value(struct jj_macro *m)
{
    return (struct jj_value){.type = JJ_MACRO, .macro = m};
}

/* The arguments that no parameter took: `varargs`, `kwargs` and `caller`, or errors. */
static void bind_rest(struct jj *r, struct jj_scope *s, const struct jj_macro *m, const struct jj_args *args,
                      const bool *used)
{
    const struct jinja *t = r->tmpl;
    const struct jj_params *p = m->params;
    struct jj_value rest = p->uses_kwargs ? jj_dict_new(r) : jj_missing();
    struct jj_value caller = jj_undef(r, "No caller defined");
    bool own_caller = false; /* it is an ordinary parameter of this macro */
    for (uint32_t i = 0; i < p->n; i++) own_caller |= p->name[i] == t->n_caller;
    for (uint32_t i = 0; i < args->n_kw; i++) {
        const struct jj_kwarg *k = &args->kw[i];
        if (used[i]) continue;
        if (p->uses_caller && !own_caller && jj_equal(r, k->name, t->n_caller->str)) {
            caller = k->value;
            continue;
        }
        if (!p->uses_kwargs)
            jj_fail(r, "macro '%.*s' takes no keyword argument '%.*s'", (int)MIN(m->name.n, 80u), m->name.s,
                    (int)MIN(k->name.n, 80u), k->name.s);
        jj_dict_set(r, rest.dict, k->name, k->value);
    }
    if (p->uses_caller && !own_caller) jj_assign(r, s, t->n_caller, caller);
    if (p->uses_kwargs) jj_assign(r, s, t->n_kwargs, rest);
    if (p->uses_varargs) {
        struct jj_value v = jj_list_new(r, args->n_pos > p->n ? args->n_pos - p->n : 0);
        for (uint32_t i = p->n; i < args->n_pos; i++) jj_list_add(r, v.list, args->pos[i]);
        v.type = JJ_TUPLE;
        jj_assign(r, s, t->n_varargs, v);
    } else if (args->n_pos > p->n) {
        jj_fail(r, "macro '%.*s' takes not more than %u argument(s)", (int)MIN(m->name.n, 80u), m->name.s,
                p->n);
    }
}

static struct jj_value no_argument(struct jj *r, const struct jj_name *name)
{
    size_t n = name->str.n + 40;
    char *hint = jj_alloc_text(&r->arena, n);
    snprintf(hint, n, "parameter '%.*s' was not provided", (int)name->str.n, name->str.s);
    return jj_undef(r, hint);
}

static void bind_params(struct jj *r, struct jj_scope *s, const struct jj_macro *m,
                        const struct jj_args *args)
{
    const struct jj_params *p = m->params;
    bool *used = jj_alloc(&r->arena, args->n_kw, sizeof *used);
    struct jj_value *v = jj_alloc(&r->arena, p->n, sizeof *v);
    for (uint32_t i = 0; i < p->n; i++) {
        if (i < args->n_pos) v[i] = args->pos[i];
        for (uint32_t k = 0; i >= args->n_pos && k < args->n_kw; k++)
            if (!used[k] && jj_equal(r, args->kw[k].name, p->name[i]->str)) {
                v[i] = args->kw[k].value;
                used[k] = true;
            }
    }
    bind_rest(r, s, m, args, used);
    for (uint32_t i = 0; i < p->n; i++) { /* a default may use the parameters before it */
        if (v[i].type == JJ_MISSING) v[i] = p->def[i] ? jj_eval(r, p->def[i]) : no_argument(r, p->name[i]);
        jj_assign(r, s, p->name[i], v[i]);
    }
}

struct jj_value jj_macro_call(struct jj *r, struct jj_macro *m, const struct jj_args *args)
{
    struct jj_scope *saved = r->scope;
    jj_enter(r);
    r->scope = jj_scope_new(r, m->scope);
    bind_params(r, r->scope, m, args);
    size_t begin = jj_text_begin(r);
    jj_exec(r, m->body);
    r->scope = saved;
    jj_leave(r);
    return jj_text_end(r, begin);
}

/* --- the statements --- */

static enum jj_flow exec_if(struct jj *r, const struct jj_node *x)
{
    for (uint32_t i = 0; i < x->n; i++)
        if (jj_truth(r, jj_eval(r, x->kid[i]))) return jj_exec(r, &x->body[i]);
    return x->n_body > x->n ? jj_exec(r, &x->body[x->n]) : JJ_GO_ON;
}

static enum jj_flow exec_set_block(struct jj *r, const struct jj_node *x)
{
    size_t begin = jj_text_begin(r);
    enum jj_flow flow = exec_scoped(r, &x->body[0], jj_scope_new(r, r->scope));
    struct jj_value v = jj_text_end(r, begin);
    if (flow == JJ_GO_ON) jj_unpack(r, r->scope, x->kid[0], jj_eval_filters(r, x->kid[1], v));
    return flow;
}

static enum jj_flow exec_filter(struct jj *r, const struct jj_node *x)
{
    size_t begin = jj_text_begin(r);
    enum jj_flow flow = exec_scoped(r, &x->body[0], jj_scope_new(r, r->scope));
    struct jj_value v = jj_text_end(r, begin);
    if (flow != JJ_GO_ON) return flow;
    v = jj_eval_filters(r, x->kid[0], v);
    if (v.type != JJ_STR) jj_fail(r, "expected str instance, %s found", jj_type_name(v));
    jj_write(r, v.s, v.n);
    return flow;
}

static enum jj_flow exec_with(struct jj *r, const struct jj_node *x)
{
    struct jj_scope *s = jj_scope_new(r, r->scope);
    for (uint32_t i = 0; i < x->n; i += 2) jj_unpack(r, s, x->kid[i], jj_eval(r, x->kid[i + 1]));
    return exec_scoped(r, &x->body[0], s);
}

static void exec_call(struct jj *r, const struct jj_node *x)
{
    struct jj_value caller = macro_value(macro_new(r, x, r->tmpl->n_caller->str));
    struct jj_kwarg more = {.name = r->tmpl->n_caller->str, .value = caller};
    jj_write_str(r, jj_eval_call(r, x->kid[0], &more));
}

static enum jj_flow exec_one(struct jj *r, const struct jj_node *x)
{
    switch (x->kind) {
    case JJ_S_TEXT: jj_write(r, x->value.s, x->value.n); return JJ_GO_ON;
    case JJ_S_PRINT:
        for (uint32_t i = 0; i < x->n; i++) jj_write_str(r, jj_eval(r, x->kid[i]));
        return JJ_GO_ON;
    case JJ_S_IF: return exec_if(r, x);
    case JJ_S_FOR: return jj_exec_for(r, x);
    case JJ_S_SET: jj_unpack(r, r->scope, x->kid[0], jj_eval(r, x->kid[1])); return JJ_GO_ON;
    case JJ_S_SET_BLOCK: return exec_set_block(r, x);
    case JJ_S_WITH: return exec_with(r, x);
    case JJ_S_MACRO:
        jj_assign(r, r->scope, x->name2, macro_value(macro_new(r, x, x->name2->str)));
        return JJ_GO_ON;
    case JJ_S_CALL: exec_call(r, x); return JJ_GO_ON;
    case JJ_S_FILTER: return exec_filter(r, x);
    case JJ_S_SCOPE: return exec_scoped(r, &x->body[0], jj_scope_new(r, r->scope));
    case JJ_S_BLOCK: return exec_scoped(r, &x->body[0], jj_scope_new(r, x->recursive ? r->scope : r->root));
    case JJ_S_DO: jj_eval(r, x->kid[0]); return JJ_GO_ON;
    case JJ_S_BREAK: return JJ_BREAK;
    case JJ_S_CONTINUE: return JJ_CONTINUE;
    default: return JJ_GO_ON; /* no other kind is a statement */
    }
}

enum jj_flow jj_exec(struct jj *r, const struct jj_body *body)
{
    enum jj_flow flow = JJ_GO_ON;
    jj_enter(r);
    for (uint32_t i = 0; i < body->n && flow == JJ_GO_ON; i++) {
        jj_charge(r, 1);
        r->node = body->stmt[i];
        flow = exec_one(r, body->stmt[i]);
    }
    jj_leave(r);
    return flow;
}
