/* Global functions: range, dict, namespace, cycler, joiner, raise_exception, strftime_now. */
#include <stdio.h>
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/format.h"

enum { MAX_RANGE = 100000 }; /* of Jinja2's sandbox */

static struct jj_value global_range(struct jj *r, const struct jj_call *c)
{
    struct jj_range *g = jj_alloc(&r->arena, 1, sizeof *g);
    bool one = c->a[1].type == JJ_MISSING;
    g->start = one ? 0 : jj_want_int(r, c->a[0], 0);
    g->stop = jj_want_int(r, c->a[one ? 0 : 1], 0);
    g->step = jj_want_int(r, c->a[2], 1);
    if (g->step == 0) jj_fail(r, "range() arg 3 must not be zero");
    if (g->step > 0 ? g->start < g->stop : g->start > g->stop) {
        __int128 span = (__int128)g->stop - g->start, step = g->step;
        __int128 n = (span - (step > 0 ? 1 : -1)) / step + 1;
        if (n > MAX_RANGE)
            jj_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", MAX_RANGE);
        g->n = (int64_t)n;
    }
    return (struct jj_value){.type = JJ_RANGE, .range = g};
}

/* dict(other or pairs, name=value, ...) into d */
static void fill_dict(struct jj *r, const struct jj_call *c, struct jj_dict *d)
{
    const struct jj_args *args = c->args;
    struct jj_value x;
    const struct jj_pair *p;
    if (args->n_pos > 1) jj_fail(r, "dict expected at most 1 argument, got %u", args->n_pos);
    if (args->n_pos && (args->pos[0].type == JJ_DICT || args->pos[0].type == JJ_NAMESPACE)) {
        for (size_t i = 0; (p = jj_dict_next(args->pos[0].dict, &i));) jj_dict_set(r, d, p->key, p->value);
    } else if (args->n_pos) {
        for (struct jj_iter it = jj_iter(r, args->pos[0]); jj_next(r, &it, &x);) {
            struct jj_list *pair = jj_to_list(r, x);
            if (pair->n != 2)
                jj_fail(r, "dictionary update sequence element has length %zu; 2 is required", pair->n);
            jj_dict_set(r, d, pair->item[0], pair->item[1]);
        }
    }
    for (uint32_t i = 0; i < args->n_kw; i++) jj_dict_set(r, d, args->kw[i].name, args->kw[i].value);
}

static struct jj_value global_dict(struct jj *r, const struct jj_call *c)
{
    struct jj_value d = jj_dict_new(r);
    fill_dict(r, c, d.dict);
    return d;
}

static struct jj_value global_namespace(struct jj *r, const struct jj_call *c)
{
    struct jj_value d = global_dict(r, c);
    d.type = JJ_NAMESPACE;
    return d;
}

static struct jj_value global_cycler(struct jj *r, const struct jj_call *c)
{
    struct jj_cycler *y = jj_alloc(&r->arena, 1, sizeof *y);
    if (!c->args->n_pos) jj_fail(r, "at least one item has to be provided");
    for (uint32_t i = 0; i < c->args->n_pos; i++) jj_list_add(r, &y->items, c->args->pos[i]);
    return (struct jj_value){.type = JJ_CYCLER, .cycler = y};
}

static struct jj_value cycler_next(struct jj *r, const struct jj_call *c)
{
    struct jj_cycler *y = c->self.cycler;
    struct jj_value v = y->items.item[y->at];
    y->at = (y->at + 1) % y->items.n;
    return v;
}

static struct jj_value cycler_reset(struct jj *r, const struct jj_call *c)
{
    c->self.cycler->at = 0;
    return jj_none();
}

static struct jj_value global_joiner(struct jj *r, const struct jj_call *c)
{
    struct jj_cycler *y = jj_alloc(&r->arena, 1, sizeof *y);
    y->sep = c->a[0].type == JJ_MISSING ? jj_strz(", ") : c->a[0];
    return (struct jj_value){.type = JJ_JOINER, .cycler = y};
}

static struct jj_value global_raise_exception(struct jj *r, const struct jj_call *c)
{
    struct jj_value msg = jj_to_str(r, c->a[0]);
    jj_throw(r->trap, ERR_ARG, JINJA_RAISED, "%.*s", (int)MIN(msg.n, 1000u), msg.s);
}

static struct jj_value global_strftime_now(struct jj *r, const struct jj_call *c)
{
    struct jj_value fmt = jj_want_str(r, c->a[0], NULL);
    char in[256], out[1024];
    size_t n = 0;
    if (fmt.n > sizeof in / 2 - 8)
        jj_fail(r, "strftime_now: the format is longer than %zu bytes", sizeof in / 2 - 8);
    for (size_t i = 0; i < fmt.n; i++) {
        if (fmt.s[i] == '%' && i + 1 < fmt.n && fmt.s[i + 1] == 'f') { /* Python's own: microseconds */
            memcpy(in + n, "000000", 6);
            n += 6;
            i++;
        } else if (fmt.s[i]) {
            in[n++] = fmt.s[i];
            if (fmt.s[i] == '%' && i + 1 < fmt.n) in[n++] = fmt.s[++i];
        }
        if (n > sizeof in - 8) jj_fail(r, "strftime_now: the format is too long");
    }
    in[n] = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    n = strftime(out, sizeof out, in, &r->now);
#pragma GCC diagnostic pop
    return jj_str_copy(r, out, n);
}

const struct jj_builtin jj_methods_cycler[] = {{.name = "next", .params = "", .fn = cycler_next},
                                               {.name = "reset", .params = "", .fn = cycler_reset},
                                               {0}};

const struct jj_builtin jj_globals[] = {
    {.name = "namespace", .fn = global_namespace},
    {.name = "raise_exception", .params = "message", .n_need = 1, .fn = global_raise_exception},
    {.name = "strftime_now", .params = "format", .n_need = 1, .fn = global_strftime_now},
    {.name = "range", .params = "start stop step", .n_need = 1, .fn = global_range},
    {.name = "dict", .fn = global_dict},
    {.name = "cycler", .fn = global_cycler},
    {.name = "joiner", .params = "sep", .fn = global_joiner},
    {0}};
