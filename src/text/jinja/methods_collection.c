/* Methods of lists, tuples and dicts. Those that change their object are refused by Hugging Face's sandbox.
 */
#include <string.h>

#include "text/jinja/builtin.h"

/* --- lists and tuples --- */

static struct jj_value seq_count(struct jj *r, const struct jj_call *c)
{
    struct jj_value x;
    int64_t n = 0;
    for (struct jj_iter it = jj_iter(r, c->self); jj_next(r, &it, &x);)
        n += jj_same(x, c->a[0]) || jj_equal(r, x, c->a[0]);
    return jj_int(n);
}

static struct jj_value seq_index(struct jj *r, const struct jj_call *c)
{
    const struct jj_list *l = jj_to_list(r, c->self);
    int64_t n = (int64_t)l->n, from = jj_want_int(r, c->a[1], 0), to = jj_want_int(r, c->a[2], n);
    if (from < 0) from = MAX(from + n, (int64_t)0);
    if (to < 0) to += n;
    for (int64_t i = from; i < MIN(to, n); i++)
        if (jj_same(l->item[i], c->a[0]) || jj_equal(r, l->item[i], c->a[0])) return jj_int(i);
    jj_fail(r, "the value is not in the %s", jj_type_name(c->self));
}

static struct jj_value list_copy(struct jj *r, const struct jj_call *c)
{
    return jj_list_of(JJ_LIST, jj_to_list(r, c->self));
}

static struct jj_value list_append(struct jj *r, const struct jj_call *c)
{
    jj_list_add(r, c->self.list, c->a[0]);
    return jj_none();
}

static struct jj_value list_extend(struct jj *r, const struct jj_call *c)
{
    const struct jj_list *more = jj_to_list(r, c->a[0]); /* a copy: it may be the list itself */
    for (size_t i = 0; i < more->n; i++) jj_list_add(r, c->self.list, more->item[i]);
    return jj_none();
}

/* An index into l, negative from the end; -1: out of range. */
static int64_t position(const struct jj_list *l, int64_t i)
{
    if (i < 0) i += (int64_t)l->n;
    return i < 0 || i >= (int64_t)l->n ? -1 : i;
}

static void remove_at(struct jj_list *l, size_t i)
{
    memmove(l->item + i, l->item + i + 1, (l->n - i - 1) * sizeof *l->item);
    l->n--;
}

static struct jj_value list_insert(struct jj *r, const struct jj_call *c)
{
    struct jj_list *l = c->self.list;
    int64_t n = (int64_t)l->n, i = jj_want_int(r, c->a[0], 0);
    if (i < 0) i = MAX(i + n, (int64_t)0);
    i = MIN(i, n);
    jj_charge(r, l->n / 8);
    jj_list_add(r, l, c->a[1]);
    memmove(l->item + i + 1, l->item + i, (size_t)(n - i) * sizeof *l->item);
    l->item[i] = c->a[1];
    return jj_none();
}

static struct jj_value list_pop(struct jj *r, const struct jj_call *c)
{
    struct jj_list *l = c->self.list;
    int64_t i = position(l, jj_want_int(r, c->a[0], -1));
    if (i < 0) jj_fail(r, l->n ? "pop index out of range" : "pop from empty list");
    struct jj_value v = l->item[i];
    jj_charge(r, l->n / 8);
    remove_at(l, (size_t)i);
    return v;
}

static struct jj_value list_remove(struct jj *r, const struct jj_call *c)
{
    struct jj_list *l = c->self.list;
    for (size_t i = 0; i < l->n; i++)
        if (jj_equal(r, l->item[i], c->a[0])) {
            remove_at(l, i);
            return jj_none();
        }
    jj_fail(r, "list.remove(x): x not in list");
}

static struct jj_value list_clear(struct jj *r, const struct jj_call *c)
{
    c->self.list->n = 0;
    return jj_none();
}

static struct jj_value list_reverse(struct jj *r, const struct jj_call *c)
{
    struct jj_list *l = c->self.list;
    jj_charge(r, l->n / 8);
    for (size_t i = 0; i < l->n / 2; i++) {
        struct jj_value v = l->item[i];
        l->item[i] = l->item[l->n - 1 - i];
        l->item[l->n - 1 - i] = v;
    }
    return jj_none();
}

static struct jj_value list_sort(struct jj *r, const struct jj_call *c)
{
    jj_sort(r, c->self.list->item, NULL, c->self.list->n, jj_want_bool(r, c->a[0], false));
    return jj_none();
}

// clang-format off
const struct jj_builtin jj_methods_list[] = {
    {.name = "count", .params = "value", .n_need = 1, .fn = seq_count},
    {.name = "index", .params = "value start stop", .n_need = 1, .fn = seq_index},
    {.name = "copy", .params = "", .fn = list_copy},
    {.name = "append", .params = "value", .n_need = 1, .fn = list_append, .lenient = true},
    {.name = "extend", .params = "iterable", .n_need = 1, .fn = list_extend, .lenient = true},
    {.name = "insert", .params = "index value", .n_need = 2, .fn = list_insert, .lenient = true},
    {.name = "pop", .params = "index", .fn = list_pop, .lenient = true},
    {.name = "remove", .params = "value", .n_need = 1, .fn = list_remove, .lenient = true},
    {.name = "clear", .params = "", .fn = list_clear, .lenient = true},
    {.name = "reverse", .params = "", .fn = list_reverse, .lenient = true},
    {.name = "sort", .params = "reverse", .fn = list_sort, .lenient = true},
    {0}};

const struct jj_builtin jj_methods_tuple[] = {
    {.name = "count", .params = "value", .n_need = 1, .fn = seq_count},
    {.name = "index", .params = "value start stop", .n_need = 1, .fn = seq_index},
    {0}};
// clang-format on

/* --- dicts --- */

static struct jj_value view(struct jj *r, const struct jj_call *c, enum jj_view which)
{
    const struct jj_dict *d = c->self.dict;
    struct jj_value v = jj_list_new(r, d->n_live);
    const struct jj_pair *p;
    jj_charge(r, d->n_live);
    for (size_t i = 0; (p = jj_dict_next(d, &i));)
        jj_list_add(r, v.list,
                    which == JJ_KEYS     ? p->key
                    : which == JJ_VALUES ? p->value
                                         : jj_pair_of(r, p->key, p->value));
    v.type = JJ_VIEW;
    v.n = which;
    return v;
}
static struct jj_value dict_keys(struct jj *r, const struct jj_call *c)
{
    return view(r, c, JJ_KEYS);
}
static struct jj_value dict_values(struct jj *r, const struct jj_call *c)
{
    return view(r, c, JJ_VALUES);
}
static struct jj_value dict_items(struct jj *r, const struct jj_call *c)
{
    return view(r, c, JJ_ITEMS);
}

static struct jj_value or_none(struct jj_value v)
{
    return v.type == JJ_MISSING ? jj_none() : v;
}

static struct jj_value dict_get(struct jj *r, const struct jj_call *c)
{
    const struct jj_value *v = jj_dict_get(r, c->self.dict, c->a[0]);
    return v ? *v : or_none(c->a[1]);
}

static void copy_pairs(struct jj *r, struct jj_dict *to, const struct jj_dict *from)
{
    for (size_t i = 0; i < from->n; i++)
        if (from->pair[i].key.type != JJ_MISSING) jj_dict_set(r, to, from->pair[i].key, from->pair[i].value);
    jj_charge(r, from->n);
}

static struct jj_value dict_copy(struct jj *r, const struct jj_call *c)
{
    struct jj_value v = jj_dict_new(r);
    copy_pairs(r, v.dict, c->self.dict);
    return v;
}

static struct jj_value dict_pop(struct jj *r, const struct jj_call *c)
{
    struct jj_value *at = jj_dict_get(r, c->self.dict, c->a[0]), v;
    if (!at && c->a[1].type == JJ_MISSING) jj_fail(r, "pop(): the key is not there");
    if (!at) return c->a[1];
    v = *at;
    jj_dict_remove(r, c->self.dict, c->a[0]);
    return v;
}

static struct jj_value dict_popitem(struct jj *r, const struct jj_call *c)
{
    struct jj_dict *d = c->self.dict;
    for (size_t i = d->n; i-- > 0;) {
        if (d->pair[i].key.type == JJ_MISSING) continue;
        struct jj_value v = jj_pair_of(r, d->pair[i].key, d->pair[i].value);
        jj_dict_remove(r, d, d->pair[i].key);
        return v;
    }
    jj_fail(r, "popitem(): dictionary is empty");
}

static struct jj_value dict_setdefault(struct jj *r, const struct jj_call *c)
{
    const struct jj_value *v = jj_dict_get(r, c->self.dict, c->a[0]);
    if (v) return *v;
    jj_dict_set(r, c->self.dict, c->a[0], or_none(c->a[1]));
    return or_none(c->a[1]);
}

static struct jj_value dict_clear(struct jj *r, const struct jj_call *c)
{
    *c->self.dict = (struct jj_dict){0};
    return jj_none();
}

/* As dict(...) reads its arguments. */
static struct jj_value dict_update(struct jj *r, const struct jj_call *c)
{
    const struct jj_builtin *dict = jj_find_global(jj_strz("dict"));
    struct jj_value more = jj_call_builtin(r, dict, jj_missing(), c->args);
    copy_pairs(r, c->self.dict, more.dict);
    return jj_none();
}

// clang-format off
const struct jj_builtin jj_methods_dict[] = {
    {.name = "items", .params = "", .fn = dict_items},
    {.name = "get", .params = "key default", .n_need = 1, .fn = dict_get},
    {.name = "keys", .params = "", .fn = dict_keys},
    {.name = "values", .params = "", .fn = dict_values},
    {.name = "copy", .params = "", .fn = dict_copy},
    {.name = "pop", .params = "key default", .n_need = 1, .fn = dict_pop, .lenient = true},
    {.name = "popitem", .params = "", .fn = dict_popitem, .lenient = true},
    {.name = "setdefault", .params = "key default", .n_need = 1, .fn = dict_setdefault, .lenient = true},
    {.name = "update", .fn = dict_update, .lenient = true},
    {.name = "clear", .params = "", .fn = dict_clear, .lenient = true},
    {0}};
// clang-format on
