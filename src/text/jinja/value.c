#include "text/jinja/value.h"

#include <math.h>
#include <string.h>

#include "text/jinja/builtin.h"
#include "base/utf8.h"
#include "text/jinja/unicode.h"

/* --- strings --- */

static bool all_ascii(const char *s, size_t n)
{
    uint64_t high = 0, w;
    for (; n >= 8; n -= 8, s += 8) {
        memcpy(&w, s, 8);
        high |= w;
    }
    for (; n; n--) high |= (uint8_t)*s++;
    return !(high & 0x8080808080808080u);
}

struct jj_value jj_str(const char *s, size_t n)
{
    ASSERT(n <= UINT32_MAX); /* limits of memory and output keep every string far below */
    return (struct jj_value){
        .type = JJ_STR, .flags = all_ascii(s, n) ? JJ_ASCII : 0, .n = (uint32_t)n, .s = s};
}

struct jj_value jj_strz(const char *s)
{
    return jj_str(s, strlen(s));
}

struct jj_value jj_str_copy(struct jj *r, const char *s, size_t n)
{
    char *to = jj_alloc_text(&r->arena, n);
    if (n) memcpy(to, s, n);
    jj_charge_bytes(r, n);
    return jj_str(to, n);
}

struct jj_value jj_sub(struct jj_value s, size_t from, size_t to)
{
    s.s += from;
    s.n = (uint32_t)(to - from);
    return s;
}

struct jj_value jj_plain(struct jj_value s)
{
    s.flags &= (uint8_t)~JJ_SAFE;
    return s;
}

bool jj_str_is(struct jj_value v, const char *s)
{
    return v.type == JJ_STR && v.n == strlen(s) && memcmp(v.s, s, v.n) == 0;
}

/* --- lists --- */

struct jj_value jj_list_of(enum jj_type type, struct jj_list *l)
{
    return (struct jj_value){.type = (uint8_t)type, .list = l};
}

struct jj_value jj_list_new(struct jj *r, size_t cap)
{
    struct jj_list *l = jj_alloc(&r->arena, 1, sizeof *l);
    if (cap) l->item = jj_alloc(&r->arena, cap, sizeof *l->item);
    l->cap = cap;
    return jj_list_of(JJ_LIST, l);
}

void jj_list_add(struct jj *r, struct jj_list *l, struct jj_value v)
{
    if (l->n == l->cap) {
        l->cap = MAX((size_t)8, l->cap * 2);
        l->item = jj_grow(&r->arena, l->item, l->n, l->cap, sizeof *l->item);
    }
    l->item[l->n++] = v;
}

struct jj_value jj_pair_of(struct jj *r, struct jj_value a, struct jj_value b)
{
    struct jj_value v = jj_list_new(r, 2);
    v.type = JJ_TUPLE;
    v.list->item[0] = a;
    v.list->item[1] = b;
    v.list->n = 2;
    return v;
}

/* --- undefined --- */

struct jj_value jj_undef(struct jj *r, const char *hint)
{
    struct jj_undef *u = jj_alloc(&r->arena, 1, sizeof *u);
    u->hint = hint;
    return (struct jj_value){.type = JJ_UNDEF, .undef = u};
}

struct jj_value jj_undef_name(struct jj *r, struct jj_value name)
{
    struct jj_value v = jj_undef(r, NULL);
    v.undef->name = name;
    return v;
}

struct jj_value jj_undef_attr(struct jj *r, struct jj_value of, struct jj_value name)
{
    struct jj_value v = jj_undef_name(r, name);
    v.undef->of = jj_type_name(of);
    return v;
}

/* --- dicts --- */

enum { SMALL_DICT = 8 }; /* up to here a search from the front beats the index */

struct jj_value jj_dict_new(struct jj *r)
{
    return (struct jj_value){.type = JJ_DICT, .dict = jj_alloc(&r->arena, 1, sizeof(struct jj_dict))};
}

/* The place in the index where a key with this hash is or would be put. */
static uint32_t *probe(struct jj *r, const struct jj_dict *d, struct jj_value key, uint64_t hash)
{
    size_t mask = d->n_index - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        uint32_t slot = d->index[i];
        if (!slot) return &d->index[i];
        const struct jj_pair *p = &d->pair[slot - 1];
        if (p->hash == hash && p->key.type != JJ_MISSING && jj_equal(r, p->key, key)) return &d->index[i];
        jj_charge(r, 1);
    }
}

static struct jj_pair *find(struct jj *r, const struct jj_dict *d, struct jj_value key, uint64_t hash)
{
    if (d->index) {
        uint32_t slot = *probe(r, d, key, hash);
        return slot ? &d->pair[slot - 1] : NULL;
    }
    for (size_t i = 0; i < d->n; i++) {
        struct jj_pair *p = &d->pair[i];
        if (p->hash == hash && p->key.type != JJ_MISSING && jj_equal(r, p->key, key)) return p;
    }
    return NULL;
}

struct jj_value *jj_dict_get(struct jj *r, const struct jj_dict *d, struct jj_value key)
{
    struct jj_pair *p = find(r, d, key, jj_hash(r, key));
    return p ? &p->value : NULL;
}

static void reindex(struct jj *r, struct jj_dict *d)
{
    d->n_index = d->cap * 2; /* a power of two: half full at most */
    d->index = jj_alloc(&r->arena, d->n_index, sizeof *d->index);
    for (size_t i = 0; i < d->n; i++)
        if (d->pair[i].key.type != JJ_MISSING)
            *probe(r, d, d->pair[i].key, d->pair[i].hash) = (uint32_t)i + 1;
}

void jj_dict_set(struct jj *r, struct jj_dict *d, struct jj_value key, struct jj_value value)
{
    uint64_t hash = jj_hash(r, key);
    struct jj_pair *p = find(r, d, key, hash);
    if (p) {
        p->value = value;
        return;
    }
    if (d->n == d->cap) {
        d->cap = d->cap ? d->cap * 2 : 4;
        d->pair = jj_grow(&r->arena, d->pair, d->n, d->cap, sizeof *d->pair);
        if (d->cap > SMALL_DICT) reindex(r, d);
    }
    d->pair[d->n++] = (struct jj_pair){.key = key, .value = value, .hash = hash};
    d->n_live++;
    if (d->index) *probe(r, d, key, hash) = (uint32_t)d->n;
}

bool jj_dict_remove(struct jj *r, struct jj_dict *d, struct jj_value key)
{
    struct jj_pair *p = find(r, d, key, jj_hash(r, key));
    if (!p) return false;
    p->key = jj_missing(); /* its slot of the index stays taken and matches nothing */
    d->n_live--;
    return true;
}

struct jj_pair *jj_dict_next(const struct jj_dict *d, size_t *at)
{
    while (*at < d->n) {
        struct jj_pair *p = &d->pair[(*at)++];
        if (p->key.type != JJ_MISSING) return p;
    }
    return NULL;
}

/* --- questions --- */

int64_t jj_as_int(struct jj_value v)
{
    return v.type == JJ_BOOL ? v.b : v.i;
}

double jj_as_float(struct jj_value v)
{
    return v.type == JJ_FLOAT ? v.f : (double)jj_as_int(v);
}

const char *jj_type_name(struct jj_value v)
{
    static const char *const name[] = {
        [JJ_MISSING] = "missing",
        [JJ_UNDEF] = "Undefined",
        [JJ_NONE] = "NoneType",
        [JJ_BOOL] = "bool",
        [JJ_INT] = "int",
        [JJ_FLOAT] = "float",
        [JJ_STR] = "str",
        [JJ_LIST] = "list",
        [JJ_TUPLE] = "tuple",
        [JJ_GENERATOR] = "generator",
        [JJ_DICT] = "dict",
        [JJ_VIEW] = "dict_keys",
        [JJ_RANGE] = "range",
        [JJ_NAMESPACE] = "jinja2.utils.Namespace",
        [JJ_LOOP] = "jinja2.runtime.LoopContext",
        [JJ_MACRO] = "jinja2.runtime.Macro",
        [JJ_FUNCTION] = "function",
        [JJ_CYCLER] = "jinja2.utils.Cycler",
        [JJ_JOINER] = "jinja2.utils.Joiner",
    };
    static const char *const view[] = {"dict_keys", "dict_values", "dict_items"};
    if (v.type == JJ_VIEW) return view[v.n];
    if (v.type == JJ_STR && v.flags & JJ_SAFE) return "Markup";
    if (v.type == JJ_FUNCTION && v.function->self.type != JJ_MISSING) return "builtin_function_or_method";
    return name[v.type];
}

bool jj_truth(struct jj *r, struct jj_value v)
{
    switch (v.type) {
    case JJ_MISSING:
    case JJ_UNDEF:
    case JJ_NONE: return false;
    case JJ_BOOL: return v.b;
    case JJ_INT: return v.i != 0;
    case JJ_FLOAT: return v.f != 0;
    case JJ_STR: return v.n > 0;
    case JJ_LIST:
    case JJ_TUPLE:
    case JJ_VIEW: return v.list->n > 0;
    case JJ_DICT: return v.dict->n_live > 0;
    case JJ_RANGE: return v.range->n > 0;
    case JJ_LOOP: return jj_length(r, v) > 0;
    default: return true;
    }
}

/* Exact, where a conversion to double could round. */
static int order_numbers(struct jj_value a, struct jj_value b)
{
    if (a.type != JJ_FLOAT && b.type != JJ_FLOAT) {
        int64_t x = jj_as_int(a), y = jj_as_int(b);
        return (x > y) - (x < y);
    }
    if (a.type == JJ_FLOAT && b.type == JJ_FLOAT)
        return isnan(a.f) || isnan(b.f) ? 2 : (a.f > b.f) - (a.f < b.f);
    if (a.type != JJ_FLOAT) {
        int o = order_numbers(b, a);
        return o == 2 ? 2 : -o;
    }
    if (isnan(a.f)) return 2;
    if (a.f >= 0x1p63) return 1;
    if (a.f < -0x1p63) return -1;
    int64_t whole = (int64_t)a.f, y = jj_as_int(b);
    if (whole != y) return whole > y ? 1 : -1;
    double rest = a.f - (double)whole;
    return (rest > 0) - (rest < 0);
}

static bool equal_lists(struct jj *r, const struct jj_list *a, const struct jj_list *b)
{
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!jj_same(a->item[i], b->item[i]) && !jj_equal(r, a->item[i], b->item[i])) return false;
    return true;
}

static bool equal_dicts(struct jj *r, const struct jj_dict *a, const struct jj_dict *b)
{
    const struct jj_pair *p;
    if (a->n_live != b->n_live) return false;
    for (size_t i = 0; (p = jj_dict_next(a, &i));) {
        const struct jj_value *other = jj_dict_get(r, b, p->key);
        if (!other || (!jj_same(p->value, *other) && !jj_equal(r, p->value, *other))) return false;
    }
    return true;
}

static bool equal_ranges(const struct jj_range *a, const struct jj_range *b)
{
    return a->n == b->n && (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

bool jj_equal(struct jj *r, struct jj_value a, struct jj_value b)
{
    bool same = false;
    jj_charge(r, 1);
    if (jj_is_number(a) && jj_is_number(b)) return order_numbers(a, b) == 0;
    if (a.type != b.type) return false;
    switch (a.type) {
    case JJ_UNDEF:
    case JJ_NONE: return true;
    case JJ_STR: jj_charge_bytes(r, a.n); return a.n == b.n && (a.s == b.s || memcmp(a.s, b.s, a.n) == 0);
    case JJ_LIST:
    case JJ_TUPLE:
        jj_enter(r);
        same = equal_lists(r, a.list, b.list);
        jj_leave(r);
        return same;
    case JJ_DICT:
        jj_enter(r);
        same = equal_dicts(r, a.dict, b.dict);
        jj_leave(r);
        return same;
    case JJ_RANGE: return equal_ranges(a.range, b.range);
    default: return jj_same(a, b);
    }
}

bool jj_same(struct jj_value a, struct jj_value b)
{
    if (a.type != b.type) return false;
    switch (a.type) {
    case JJ_MISSING:
    case JJ_NONE: return true;
    case JJ_BOOL: return a.b == b.b;
    case JJ_INT: return a.i == b.i;
    case JJ_FLOAT: return memcmp(&a.f, &b.f, sizeof a.f) == 0;
    case JJ_STR: return a.n == b.n && a.s == b.s;
    default: return a.list == b.list && a.n == b.n;
    }
}

static int order_lists(struct jj *r, const struct jj_list *a, const struct jj_list *b, const char *op)
{
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (!jj_same(a->item[i], b->item[i]) && !jj_equal(r, a->item[i], b->item[i]))
            return jj_order(r, a->item[i], b->item[i], op);
    return (a->n > b->n) - (a->n < b->n);
}

int jj_order(struct jj *r, struct jj_value a, struct jj_value b, const char *op)
{
    int o;
    jj_charge(r, 1);
    if (jj_is_number(a) && jj_is_number(b)) return order_numbers(a, b);
    if (a.type == JJ_UNDEF) jj_fail_undef(r, a);
    if (b.type == JJ_UNDEF) jj_fail_undef(r, b);
    if (a.type == JJ_STR && b.type == JJ_STR) { /* UTF-8 orders bytes as it orders characters */
        jj_charge_bytes(r, MIN(a.n, b.n));
        o = memcmp(a.s, b.s, MIN(a.n, b.n));
        return o ? (o > 0) - (o < 0) : (a.n > b.n) - (a.n < b.n);
    }
    if (a.type == b.type && (a.type == JJ_LIST || a.type == JJ_TUPLE)) {
        jj_enter(r);
        o = order_lists(r, a.list, b.list, op);
        jj_leave(r);
        return o;
    }
    jj_fail(r, "'%s' not supported between instances of '%s' and '%s'", op, jj_type_name(a), jj_type_name(b));
}

/* splitmix64's finalizer (Steele, Lea, Flood 2014) */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t hash_bytes(uint64_t h, const char *s, size_t n)
{
    for (; n >= 8; n -= 8, s += 8) {
        uint64_t w;
        memcpy(&w, s, 8);
        h = mix(h ^ w);
    }
    uint64_t w = n;
    for (size_t i = 0; i < n; i++) w = w << 8 | (uint8_t)s[i];
    return mix(h ^ w);
}

uint64_t jj_hash(struct jj *r, struct jj_value v)
{
    uint64_t h = r->hash_seed + v.type;
    switch (v.type) {
    case JJ_STR: jj_charge_bytes(r, v.n); return hash_bytes(h, v.s, v.n);
    case JJ_FLOAT: /* a whole number hashes as an int */
        if (!(v.f >= -0x1p63 && v.f < 0x1p63 && v.f == floor(v.f)))
            return hash_bytes(h, (const char *)&v.f, 8);
        return mix(r->hash_seed ^ (uint64_t)(int64_t)v.f);
    case JJ_BOOL:
    case JJ_INT: return mix(r->hash_seed ^ (uint64_t)jj_as_int(v));
    case JJ_TUPLE:
        jj_enter(r);
        for (size_t i = 0; i < v.list->n; i++) h = mix(h ^ jj_hash(r, v.list->item[i]));
        jj_leave(r);
        jj_charge(r, v.list->n);
        return h;
    case JJ_LIST:
    case JJ_DICT:
    case JJ_VIEW: jj_fail(r, "unhashable type: '%s'", jj_type_name(v));
    case JJ_UNDEF:
    case JJ_NONE: return mix(h);
    case JJ_RANGE: return mix(h ^ (uint64_t)v.range->n);
    default: return mix(h ^ (uintptr_t)v.list);
    }
}

/* --- going over --- */

bool jj_iterable(struct jj_value v)
{
    switch (v.type) {
    case JJ_UNDEF:
    case JJ_STR:
    case JJ_LIST:
    case JJ_TUPLE:
    case JJ_GENERATOR:
    case JJ_DICT:
    case JJ_VIEW:
    case JJ_RANGE:
    case JJ_LOOP: return true;
    default: return false;
    }
}

struct jj_iter jj_iter(struct jj *r, struct jj_value v)
{
    if (!jj_iterable(v)) jj_fail(r, "'%s' object is not iterable", jj_type_name(v));
    return (struct jj_iter){.of = v};
}

bool jj_next(struct jj *r, struct jj_iter *it, struct jj_value *out)
{
    struct jj_value v = it->of;
    const struct jj_pair *p;
    jj_charge(r, 1);
    switch (v.type) {
    case JJ_STR:
        if (it->at >= v.n) return false;
        size_t from = it->at;
        it->at += v.flags & JJ_ASCII ? 1 : MAX(utf8_valid_len(v.s + from, v.n - from), (size_t)1);
        *out = jj_plain(jj_sub(v, from, it->at));
        return true;
    case JJ_LIST:
    case JJ_TUPLE:
    case JJ_VIEW:
        if (it->at >= v.list->n) return false;
        *out = v.list->item[it->at++];
        return true;
    case JJ_GENERATOR:
        if (v.list->from >= v.list->n) return false;
        *out = v.list->item[v.list->from++];
        return true;
    case JJ_DICT:
        p = jj_dict_next(v.dict, &it->at);
        if (p) *out = p->key;
        return p != NULL;
    case JJ_RANGE:
        if ((int64_t)it->at >= v.range->n) return false;
        *out = jj_range_at(v.range, (int64_t)it->at++);
        return true;
    default: return false;
    }
}

struct jj_value jj_range_at(const struct jj_range *g, int64_t i)
{
    return jj_int(g->start + i * g->step);
}

struct jj_list *jj_to_list(struct jj *r, struct jj_value v)
{
    struct jj_value out = jj_list_new(r, jj_has_length(v) && v.type != JJ_STR ? (size_t)jj_length(r, v) : 0),
                    x;
    for (struct jj_iter it = jj_iter(r, v); jj_next(r, &it, &x);) jj_list_add(r, out.list, x);
    return out.list;
}

bool jj_has_length(struct jj_value v)
{
    return jj_iterable(v) && v.type != JJ_GENERATOR;
}

int64_t jj_length(struct jj *r, struct jj_value v)
{
    switch (v.type) {
    case JJ_UNDEF: return 0;
    case JJ_STR: jj_charge_bytes(r, v.n); return (int64_t)jj_n_cp(v);
    case JJ_LIST:
    case JJ_TUPLE:
    case JJ_VIEW: return (int64_t)v.list->n;
    case JJ_DICT: return (int64_t)v.dict->n_live;
    case JJ_RANGE: return v.range->n;
    case JJ_LOOP: return jj_loop_attr(r, v.loop, jj_strz("length")).i;
    default: jj_fail(r, "object of type '%s' has no len()", jj_type_name(v));
    }
}

static bool range_contains(struct jj *r, const struct jj_range *g, struct jj_value v)
{
    if (jj_is_integer(v)) {
        int64_t d = 0;
        if (__builtin_sub_overflow(jj_as_int(v), g->start, &d)) return false;
        return g->n && d % g->step == 0 && d / g->step >= 0 && d / g->step < g->n;
    }
    for (int64_t i = 0; i < g->n; i++)
        if (jj_equal(r, jj_range_at(g, i), v)) return true;
    return false;
}

bool jj_contains(struct jj *r, struct jj_value in, struct jj_value v)
{
    struct jj_value x;
    switch (in.type) {
    case JJ_STR:
        if (v.type == JJ_UNDEF) jj_fail(r, "'in <string>' requires string as left operand, not Undefined");
        if (v.type != JJ_STR)
            jj_fail(r, "'in <string>' requires string as left operand, not %s", jj_type_name(v));
        jj_charge_bytes(r, in.n);
        return jj_find(in, v, 0) != SIZE_MAX;
    case JJ_DICT: return jj_dict_get(r, in.dict, v) != NULL;
    case JJ_RANGE: return range_contains(r, in.range, v);
    default: break;
    }
    if (!jj_iterable(in)) jj_fail(r, "argument of type '%s' is not iterable", jj_type_name(in));
    for (struct jj_iter it = jj_iter(r, in); jj_next(r, &it, &x);)
        if (jj_same(x, v) || jj_equal(r, x, v)) return true;
    return false;
}

/* --- from JSON --- */

struct jj_value jj_from_json(struct jj *r, const json_t *j)
{
    struct jj_value v = jj_none();
    jj_charge(r, 1);
    switch (json_typeof(j)) {
    case JSON_STRING:
        if (json_string_length(j) > UINT32_MAX)
            jj_throw(r->trap, ERR_LIMIT, JINJA_LIMIT, "a text of more than 4 GiB");
        return jj_str(json_string_value(j), json_string_length(j));
    case JSON_INTEGER: return jj_int(json_integer_value(j));
    case JSON_REAL: return jj_float(json_real_value(j));
    case JSON_TRUE: return jj_bool(true);
    case JSON_FALSE: return jj_bool(false);
    case JSON_NULL: return v;
    case JSON_ARRAY:
        jj_enter(r);
        v = jj_list_new(r, json_array_size(j));
        for (size_t i = 0; i < json_array_size(j); i++)
            jj_list_add(r, v.list, jj_from_json(r, json_array_get(j, i)));
        jj_leave(r);
        return v;
    case JSON_OBJECT:
        jj_enter(r);
        v = jj_dict_new(r);
        for (void *i = json_object_iter((json_t *)j); i; i = json_object_iter_next((json_t *)j, i)) {
            struct jj_value key = jj_str(json_object_iter_key(i), json_object_iter_key_len(i));
            jj_dict_set(r, v.dict, key, jj_from_json(r, json_object_iter_value(i)));
        }
        jj_leave(r);
        return v;
    }
    return v;
}
