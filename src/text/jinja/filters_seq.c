/* Filters of sequences and mappings. */
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/format.h"
#include "text/jinja/text.h"

/* --- attributes by path: "a.b.0", 0, "name" --- */

static bool all_digits(struct jj_value s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.s[i] < '0' || s.s[i] > '9') return false;
    return s.n > 0 && s.n < 18;
}

static struct jj_value path_part(struct jj_value part)
{
    int64_t i = 0;
    if (!all_digits(part)) return part;
    for (size_t k = 0; k < part.n; k++) i = i * 10 + (part.s[k] - '0');
    return jj_int(i);
}

/* fallback JJ_MISSING or none: an attribute that is not there stays undefined. */
static struct jj_value get_path(struct jj *r, struct jj_value v, struct jj_value path,
                                struct jj_value fallback)
{
    if (path.type == JJ_MISSING || path.type == JJ_NONE) return v;
    if (path.type != JJ_STR) path = jj_is_integer(path) ? path : jj_to_str(r, path);
    size_t from = 0;
    for (;;) {
        size_t to = path.type == JJ_STR ? jj_find(path, jj_strz("."), from) : SIZE_MAX;
        struct jj_value part = path;
        if (path.type == JJ_STR) part = path_part(jj_sub(path, from, to == SIZE_MAX ? path.n : to));
        v = jj_item(r, v, part);
        if (v.type == JJ_UNDEF && fallback.type > JJ_NONE) v = fallback;
        if (to == SIZE_MAX) return v;
        from = to + 1;
    }
}

static struct jj_value fold(struct jj *r, struct jj_value v, bool case_sensitive)
{
    return v.type == JJ_STR && !case_sensitive ? jj_lower(r, v) : v;
}

static struct jj_value generator(struct jj_value list)
{
    list.type = JJ_GENERATOR;
    return list;
}

static struct jj_value list_value(struct jj_list *l)
{
    return jj_list_of(JJ_LIST, l);
}

/* --- one element, or a number --- */

static struct jj_value filter_length(struct jj *r, const struct jj_call *c)
{
    return jj_int(jj_length(r, c->self));
}

static struct jj_value filter_first(struct jj *r, const struct jj_call *c)
{
    struct jj_iter it = jj_iter(r, c->self);
    struct jj_value v;
    return jj_next(r, &it, &v) ? v : jj_undef(r, "No first item, sequence was empty.");
}

static struct jj_value filter_last(struct jj *r, const struct jj_call *c)
{
    if (c->self.type == JJ_GENERATOR) jj_fail(r, "'generator' object is not reversible");
    struct jj_list *l = jj_to_list(r, c->self);
    return l->n ? l->item[l->n - 1] : jj_undef(r, "No last item, sequence was empty.");
}

static struct jj_value min_or_max(struct jj *r, const struct jj_call *c, bool max)
{
    bool case_sensitive = jj_want_bool(r, c->a[0], false), any = false;
    struct jj_value best = jj_none(), best_key = jj_none(), v;
    for (struct jj_iter it = jj_iter(r, c->self); jj_next(r, &it, &v);) {
        struct jj_value key = fold(r, get_path(r, v, c->a[1], jj_missing()), case_sensitive);
        int o = any ? jj_order(r, key, best_key, max ? ">" : "<") : 0;
        if (any && o != (max ? 1 : -1)) continue;
        best = v;
        best_key = key;
        any = true;
    }
    return any ? best : jj_undef(r, "No aggregated item, sequence was empty.");
}
static struct jj_value filter_min(struct jj *r, const struct jj_call *c)
{
    return min_or_max(r, c, false);
}
static struct jj_value filter_max(struct jj *r, const struct jj_call *c)
{
    return min_or_max(r, c, true);
}

static struct jj_value filter_sum(struct jj *r, const struct jj_call *c)
{
    struct jj_value total = c->a[1].type == JJ_MISSING ? jj_int(0) : c->a[1], v;
    if (total.type == JJ_STR) jj_fail(r, "sum() can't sum strings [use ''.join(seq) instead]");
    for (struct jj_iter it = jj_iter(r, c->self); jj_next(r, &it, &v);)
        total = jj_binary(r, JJ_OP_ADD, total, get_path(r, v, c->a[0], jj_missing()));
    return total;
}

static struct jj_value filter_join(struct jj *r, const struct jj_call *c)
{
    struct jj_value sep = c->a[0].type == JJ_MISSING ? jj_strz("") : jj_to_str(r, c->a[0]);
    struct jj_list *l = jj_to_list(r, c->self);
    if (c->a[1].type != JJ_MISSING)
        for (size_t i = 0; i < l->n; i++) l->item[i] = get_path(r, l->item[i], c->a[1], jj_missing());
    size_t begin = jj_text_begin(r);
    for (size_t i = 0; i < l->n; i++) {
        if (i) jj_write(r, sep.s, sep.n);
        jj_write_str(r, l->item[i]);
    }
    return jj_text_end(r, begin);
}

static struct jj_value filter_default(struct jj *r, const struct jj_call *c)
{
    bool falsy = jj_want_bool(r, c->a[1], false) && !jj_truth(r, c->self);
    if (c->self.type != JJ_UNDEF && !falsy) return c->self;
    return c->a[0].type == JJ_MISSING ? jj_strz("") : c->a[0];
}

static struct jj_value filter_attr(struct jj *r, const struct jj_call *c)
{
    if (c->self.type == JJ_UNDEF) jj_fail_undef(r, c->self);
    struct jj_value name = c->a[0], v;
    if (name.type != JJ_STR) jj_fail(r, "attribute name must be string, not '%s'", jj_type_name(name));
    v = jj_real_attr(r, c->self, name);
    return v.type == JJ_MISSING ? jj_undef_attr(r, c->self, name) : v;
}

/* --- all elements --- */

static struct jj_value filter_list(struct jj *r, const struct jj_call *c)
{
    return list_value(jj_to_list(r, c->self));
}

static struct jj_value filter_reverse(struct jj *r, const struct jj_call *c)
{
    const struct jj_value whole[3] = {jj_none(), jj_none(), jj_int(-1)};
    if (c->self.type == JJ_STR) return jj_slice(r, c->self, whole);
    struct jj_value v = list_value(jj_to_list(r, c->self));
    v = jj_slice(r, v, whole);
    return c->self.type == JJ_GENERATOR || c->self.type == JJ_UNDEF ? v : generator(v);
}

/* The keys to sort by: "a,b" means by a, then by b. */
static struct jj_value sort_key(struct jj *r, struct jj_value v, struct jj_value path, bool case_sensitive)
{
    size_t from = 0, to;
    struct jj_value keys;
    if (path.type != JJ_STR || jj_find(path, jj_strz(","), 0) == SIZE_MAX)
        return fold(r, get_path(r, v, path, jj_missing()), case_sensitive);
    keys = jj_list_new(r, 2);
    for (; from != SIZE_MAX; from = to == SIZE_MAX ? to : to + 1) {
        to = jj_find(path, jj_strz(","), from);
        struct jj_value part = jj_sub(path, from, to == SIZE_MAX ? path.n : to);
        jj_list_add(r, keys.list, fold(r, get_path(r, v, part, jj_missing()), case_sensitive));
    }
    return keys;
}

static struct jj_value filter_sort(struct jj *r, const struct jj_call *c)
{
    struct jj_list *l = jj_to_list(r, c->self);
    struct jj_value *key = jj_alloc(&r->arena, l->n, sizeof *key);
    bool case_sensitive = jj_want_bool(r, c->a[1], false);
    for (size_t i = 0; i < l->n; i++) key[i] = sort_key(r, l->item[i], c->a[2], case_sensitive);
    jj_sort(r, l->item, key, l->n, jj_want_int(r, c->a[0], 0) != 0);
    return list_value(l);
}

static struct jj_value filter_unique(struct jj *r, const struct jj_call *c)
{
    struct jj_value seen = jj_dict_new(r), out = jj_list_new(r, 0), v;
    bool case_sensitive = jj_want_bool(r, c->a[0], false);
    for (struct jj_iter it = jj_iter(r, c->self); jj_next(r, &it, &v);) {
        struct jj_value key = fold(r, get_path(r, v, c->a[1], jj_missing()), case_sensitive);
        if (jj_dict_get(r, seen.dict, key)) continue;
        jj_dict_set(r, seen.dict, key, jj_none());
        jj_list_add(r, out.list, v);
    }
    return generator(out);
}

static struct jj_value filter_groupby(struct jj *r, const struct jj_call *c)
{
    struct jj_list *l = jj_to_list(r, c->self);
    struct jj_value *key = jj_alloc(&r->arena, l->n, sizeof *key), out = jj_list_new(r, 0);
    bool case_sensitive = jj_want_bool(r, c->a[2], false);
    for (size_t i = 0; i < l->n; i++)
        key[i] = fold(r, get_path(r, l->item[i], c->a[0], c->a[1]), case_sensitive);
    jj_sort(r, l->item, key, l->n, false);
    for (size_t i = 0, end; i < l->n; i = end) {
        struct jj_value group = jj_list_new(r, 0);
        for (end = i; end < l->n && jj_equal(r, key[i], key[end]); end++)
            jj_list_add(r, group.list, l->item[end]);
        if (end == i) end++; /* NaN: equal to nothing, not even itself */
        struct jj_value pair = jj_pair_of(r, get_path(r, l->item[i], c->a[0], c->a[1]), group);
        pair.list->is_group = true;
        jj_list_add(r, out.list, pair);
    }
    return out;
}

static struct jj_list *pairs_of(struct jj *r, const struct jj_dict *d)
{
    struct jj_value out = jj_list_new(r, d->n_live);
    const struct jj_pair *p;
    jj_charge(r, d->n_live);
    for (size_t i = 0; (p = jj_dict_next(d, &i));) jj_list_add(r, out.list, jj_pair_of(r, p->key, p->value));
    return out.list;
}

static struct jj_value filter_items(struct jj *r, const struct jj_call *c)
{
    if (c->self.type == JJ_UNDEF) return generator(jj_list_new(r, 0));
    if (c->self.type != JJ_DICT) jj_fail(r, "Can only get item pairs from a mapping.");
    return generator(list_value(pairs_of(r, c->self.dict)));
}

static struct jj_value filter_dictsort(struct jj *r, const struct jj_call *c)
{
    struct jj_value by = jj_want_str(r, c->a[1], "key");
    bool by_value = jj_str_is(by, "value"), case_sensitive = jj_want_bool(r, c->a[0], false);
    if (!by_value && !jj_str_is(by, "key")) jj_fail(r, "You can only sort by either \"key\" or \"value\"");
    if (c->self.type == JJ_UNDEF) jj_fail_undef(r, c->self);
    if (c->self.type != JJ_DICT) jj_fail(r, "'%s' object has no attribute 'items'", jj_type_name(c->self));
    struct jj_list *l = pairs_of(r, c->self.dict);
    struct jj_value *key = jj_alloc(&r->arena, l->n, sizeof *key);
    for (size_t i = 0; i < l->n; i++) key[i] = fold(r, l->item[i].list->item[by_value], case_sensitive);
    jj_sort(r, l->item, key, l->n, jj_want_int(r, c->a[2], 0) != 0);
    return list_value(l);
}

static struct jj_value filter_batch(struct jj *r, const struct jj_call *c)
{
    int64_t n = jj_want_int(r, c->a[0], 0);
    struct jj_value out = jj_list_new(r, 0), row = jj_list_new(r, 0), v;
    for (struct jj_iter it = jj_iter(r, c->self); jj_next(r, &it, &v);) {
        if ((int64_t)row.list->n == n) {
            jj_list_add(r, out.list, row);
            row = jj_list_new(r, 0);
        }
        jj_list_add(r, row.list, v);
    }
    if (row.list->n == 0) return generator(out);
    for (; c->a[1].type > JJ_NONE && (int64_t)row.list->n < n; jj_charge(r, 1))
        jj_list_add(r, row.list, c->a[1]);
    jj_list_add(r, out.list, row);
    return generator(out);
}

static struct jj_value filter_slice(struct jj *r, const struct jj_call *c)
{
    struct jj_list *l = jj_to_list(r, c->self);
    int64_t n = jj_want_int(r, c->a[0], 0), n_item = (int64_t)l->n, at = 0;
    struct jj_value out = jj_list_new(r, 0);
    if (n == 0) jj_fail(r, "integer division or modulo by zero");
    for (int64_t i = 0; i < n; i++) {
        struct jj_value row = jj_list_new(r, 0);
        bool longer = i < n_item % n;
        jj_charge(r, 1);
        for (int64_t k = n_item / n + longer; k > 0; k--) jj_list_add(r, row.list, l->item[at++]);
        if (c->a[1].type > JJ_NONE && !longer) jj_list_add(r, row.list, c->a[1]);
        jj_list_add(r, out.list, row);
    }
    return generator(out);
}

/* --- filters and tests applied to each element --- */

/* args without the first `skip` positions. */
static struct jj_args rest_of(const struct jj_args *args, uint32_t skip)
{
    struct jj_args rest = *args;
    rest.pos += skip;
    rest.n_pos -= skip;
    return rest;
}

static struct jj_value map_attribute(struct jj *r, const struct jj_call *c)
{
    struct jj_value path = jj_missing(), fallback = jj_missing(), out = jj_list_new(r, 0), v;
    for (uint32_t i = 0; i < c->args->n_kw; i++) {
        const struct jj_kwarg *k = &c->args->kw[i];
        if (jj_str_is(k->name, "attribute"))
            path = k->value;
        else if (jj_str_is(k->name, "default"))
            fallback = k->value;
        else
            jj_fail(r, "Unexpected keyword argument '%.*s'", (int)MIN(k->name.n, 80u), k->name.s);
    }
    if (path.type == JJ_MISSING) jj_fail(r, "map requires a filter argument");
    for (struct jj_iter it = jj_iter(r, c->self); jj_next(r, &it, &v);)
        jj_list_add(r, out.list, get_path(r, v, path, fallback));
    return generator(out);
}

static struct jj_value filter_map(struct jj *r, const struct jj_call *c)
{
    struct jj_value out = jj_list_new(r, 0), v;
    if (!jj_truth(r, c->self)) return generator(out);
    if (c->args->n_pos == 0) return map_attribute(r, c);
    struct jj_args rest = rest_of(c->args, 1);
    for (struct jj_iter it = jj_iter(r, c->self); jj_next(r, &it, &v);)
        jj_list_add(r, out.list, jj_apply_filter(r, c->args->pos[0], v, &rest));
    return generator(out);
}

static struct jj_value choose(struct jj *r, const struct jj_call *c, bool by_attr, bool keep)
{
    struct jj_value out = jj_list_new(r, 0), v;
    const struct jj_args *args = c->args;
    uint32_t off = by_attr;
    if (!jj_truth(r, c->self)) return generator(out);
    if (by_attr && args->n_pos == 0) jj_fail(r, "Missing parameter for attribute name");
    struct jj_args rest = rest_of(args, MIN(off + 1, args->n_pos));
    for (struct jj_iter it = jj_iter(r, c->self); jj_next(r, &it, &v);) {
        struct jj_value x = by_attr ? get_path(r, v, args->pos[0], jj_missing()) : v;
        bool yes = args->n_pos > off ? jj_apply_test(r, args->pos[off], x, &rest) : jj_truth(r, x);
        if (yes == keep) jj_list_add(r, out.list, v);
    }
    return generator(out);
}
static struct jj_value filter_select(struct jj *r, const struct jj_call *c)
{
    return choose(r, c, false, true);
}
static struct jj_value filter_reject(struct jj *r, const struct jj_call *c)
{
    return choose(r, c, false, false);
}
static struct jj_value filter_selectattr(struct jj *r, const struct jj_call *c)
{
    return choose(r, c, true, true);
}
static struct jj_value filter_rejectattr(struct jj *r, const struct jj_call *c)
{
    return choose(r, c, true, false);
}

static struct jj_value filter_random(struct jj *r, const struct jj_call *c)
{
    jj_fail(r, "the filter random is not supported: a prompt must not change by chance");
}

const struct jj_builtin jj_filters_seq[] = {
    {.name = "length", .params = "", .fn = filter_length},
    {.name = "count", .params = "", .fn = filter_length},
    {.name = "default", .params = "default_value boolean", .fn = filter_default},
    {.name = "d", .params = "default_value boolean", .fn = filter_default},
    {.name = "join", .params = "d attribute", .fn = filter_join},
    {.name = "items", .params = "", .fn = filter_items},
    {.name = "list", .params = "", .fn = filter_list},
    {.name = "first", .params = "", .fn = filter_first},
    {.name = "last", .params = "", .fn = filter_last},
    {.name = "map", .fn = filter_map},
    {.name = "select", .fn = filter_select},
    {.name = "reject", .fn = filter_reject},
    {.name = "selectattr", .fn = filter_selectattr},
    {.name = "rejectattr", .fn = filter_rejectattr},
    {.name = "sort", .params = "reverse case_sensitive attribute", .fn = filter_sort},
    {.name = "unique", .params = "case_sensitive attribute", .fn = filter_unique},
    {.name = "min", .params = "case_sensitive attribute", .fn = filter_min},
    {.name = "max", .params = "case_sensitive attribute", .fn = filter_max},
    {.name = "sum", .params = "attribute start", .fn = filter_sum},
    {.name = "reverse", .params = "", .fn = filter_reverse},
    {.name = "groupby", .params = "attribute default case_sensitive", .n_need = 1, .fn = filter_groupby},
    {.name = "dictsort", .params = "case_sensitive by reverse", .fn = filter_dictsort},
    {.name = "batch", .params = "linecount fill_with", .n_need = 1, .fn = filter_batch},
    {.name = "slice", .params = "slices fill_with", .n_need = 1, .fn = filter_slice},
    {.name = "attr", .params = "name", .n_need = 1, .fn = filter_attr},
    {.name = "random", .params = "", .fn = filter_random},
    {0}};
