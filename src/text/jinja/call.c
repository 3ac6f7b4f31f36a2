/* Calling values, and binding arguments to the parameters of builtins. */
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/format.h"

const struct jj_builtin *jj_find_row(const struct jj_builtin *table, struct jj_value name)
{
    for (; table->name; table++)
        if (jj_str_is(name, table->name)) return table;
    return NULL;
}

const struct jj_builtin *jj_find_filter(struct jj_value name)
{
    static const struct jj_builtin *const table[] = {jj_filters_text, jj_filters_seq, jj_filters_number};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        const struct jj_builtin *b = jj_find_row(table[i], name);
        if (b) return b;
    }
    return NULL;
}

const struct jj_builtin *jj_find_test(struct jj_value name)
{
    return jj_find_row(jj_tests, name);
}

const struct jj_builtin *jj_find_global(struct jj_value name)
{
    return jj_find_row(jj_globals, name);
}

const struct jj_builtin *jj_find_method(struct jj_value self, struct jj_value name)
{
    const struct jj_builtin *b;
    switch (self.type) {
    case JJ_STR: b = jj_find_row(jj_methods_str, name); return b ? b : jj_find_row(jj_methods_str_is, name);
    case JJ_LIST: return jj_find_row(jj_methods_list, name);
    case JJ_TUPLE:
    case JJ_RANGE: return jj_find_row(jj_methods_tuple, name);
    case JJ_DICT: return jj_find_row(jj_methods_dict, name);
    case JJ_LOOP: return jj_find_row(jj_methods_loop, name);
    case JJ_CYCLER: return jj_find_row(jj_methods_cycler, name);
    default: return NULL;
    }
}

/* Which of the words in params is name; -1: none. */
static int param_index(const char *params, struct jj_value name)
{
    int i = 0;
    for (const char *w = params; *w; i++) {
        size_t n = strcspn(w, " ");
        if (n == name.n && memcmp(w, name.s, n) == 0) return i;
        w += n;
        w += *w == ' ';
    }
    return -1;
}

static uint32_t count_params(const char *params)
{
    uint32_t n = *params != 0;
    for (; *params; params++) n += *params == ' ';
    return n;
}

static void bind(struct jj *r, struct jj_call *c, const struct jj_builtin *b, const struct jj_args *args)
{
    uint32_t n = count_params(b->params);
    if (args->n_pos > n)
        jj_fail(r, "%s() takes at most %u argument%s, %u given", b->name, n, n == 1 ? "" : "s", args->n_pos);
    for (uint32_t i = 0; i < args->n_pos; i++) c->a[i] = args->pos[i];
    for (uint32_t i = 0; i < args->n_kw; i++) {
        const struct jj_kwarg *k = &args->kw[i];
        int at = param_index(b->params, k->name);
        if (at < 0)
            jj_fail(r, "%s() got an unexpected keyword argument '%.*s'", b->name, (int)MIN(k->name.n, 80u),
                    k->name.s);
        if (c->a[at].type != JJ_MISSING)
            jj_fail(r, "%s() got multiple values for argument '%.*s'", b->name, (int)MIN(k->name.n, 80u),
                    k->name.s);
        c->a[at] = k->value;
    }
    for (uint32_t i = 0; i < b->n_need; i++)
        if (c->a[i].type == JJ_MISSING)
            jj_fail(r, "%s() needs at least %u argument%s", b->name, b->n_need, b->n_need == 1 ? "" : "s");
}

struct jj_value jj_call_builtin(struct jj *r, const struct jj_builtin *b, struct jj_value self,
                                const struct jj_args *args)
{
    struct jj_call c = {.builtin = b, .self = self, .args = args};
    jj_charge(r, 1);
    if (b->params) bind(r, &c, b, args);
    jj_enter(r);
    struct jj_value v = b->fn(r, &c);
    jj_leave(r);
    return v;
}

bool jj_callable(struct jj_value v)
{
    switch (v.type) {
    case JJ_UNDEF: /* calling it fails, but Python's callable() sees the method */
    case JJ_LOOP:
    case JJ_MACRO:
    case JJ_FUNCTION:
    case JJ_JOINER: return true;
    default: return false;
    }
}

/* The separator, but not the first time. */
static struct jj_value join_next(struct jj_cycler *j)
{
    return j->at++ ? j->sep : jj_strz("");
}

struct jj_value jj_call_value(struct jj *r, struct jj_value f, const struct jj_args *args)
{
    switch (f.type) {
    case JJ_MACRO: return jj_macro_call(r, f.macro, args);
    case JJ_FUNCTION: return jj_call_builtin(r, f.function->builtin, f.function->self, args);
    case JJ_LOOP: return jj_loop_call(r, f.loop, args);
    case JJ_JOINER: return join_next(f.cycler);
    case JJ_UNDEF: jj_fail_undef(r, f);
    default: jj_fail(r, "'%s' object is not callable", jj_type_name(f));
    }
}

struct jj_value jj_apply_filter(struct jj *r, struct jj_value name, struct jj_value self,
                                const struct jj_args *args)
{
    const struct jj_builtin *b = name.type == JJ_STR ? jj_find_filter(name) : NULL;
    name = jj_to_str(r, name);
    if (!b || (b->lenient && !r->lenient))
        jj_fail(r, "No filter named '%.*s'.", (int)MIN(name.n, 80u), name.s);
    return jj_call_builtin(r, b, self, args);
}

bool jj_apply_test(struct jj *r, struct jj_value name, struct jj_value self, const struct jj_args *args)
{
    const struct jj_builtin *b = name.type == JJ_STR ? jj_find_test(name) : NULL;
    name = jj_to_str(r, name);
    if (!b) jj_fail(r, "No test named '%.*s'.", (int)MIN(name.n, 80u), name.s);
    return jj_truth(r, jj_call_builtin(r, b, self, args));
}

/* --- arguments --- */

int64_t jj_want_int(struct jj *r, struct jj_value v, int64_t missing)
{
    if (v.type == JJ_MISSING) return missing;
    if (v.type == JJ_UNDEF) jj_fail_undef(r, v);
    if (!jj_is_integer(v)) jj_fail(r, "'%s' object cannot be interpreted as an integer", jj_type_name(v));
    return jj_as_int(v);
}

bool jj_want_bool(struct jj *r, struct jj_value v, bool missing)
{
    return v.type == JJ_MISSING ? missing : jj_truth(r, v);
}

struct jj_value jj_want_str(struct jj *r, struct jj_value v, const char *missing)
{
    if (v.type == JJ_MISSING && missing) return jj_strz(missing);
    if (v.type == JJ_UNDEF) jj_fail_undef(r, v);
    if (v.type != JJ_STR) jj_fail(r, "expected a string, got %s", jj_type_name(v));
    return v;
}
