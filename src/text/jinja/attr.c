/* o.name, o[key] and o[from:to:step]. */
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/eval.h"
#include "text/jinja/unicode.h"

/* Hugging Face renders in Jinja2's sandbox: touching such an attribute is no error yet, using it is. */
static struct jj_value unsafe(struct jj *r, struct jj_value o, struct jj_value name)
{
    size_t n = name.n + 100;
    char *hint = jj_alloc_text(&r->arena, n);
    snprintf(hint, n, "access to attribute '%.*s' of '%s' object is unsafe.", (int)name.n, name.s,
             jj_type_name(o));
    return jj_undef(r, hint);
}

static bool starts_with(struct jj_value s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.s, prefix, n) == 0;
}

struct jj_value jj_real_attr(struct jj *r, struct jj_value o, struct jj_value name)
{
    const struct jj_builtin *b = jj_find_method(o, name);
    if (b && b->lenient && !r->lenient) return unsafe(r, o, name);
    if (b) {
        struct jj_function *f = jj_alloc(&r->arena, 1, sizeof *f);
        *f = (struct jj_function){.builtin = b, .self = o};
        return (struct jj_value){.type = JJ_FUNCTION, .function = f};
    }
    if (starts_with(name, "__") && name.n > 4 && memcmp(name.s + name.n - 2, "__", 2) == 0) {
        static const char *const known[] = {"__class__", "__init__",         "__doc__",   "__dict__",
                                            "__len__",   "__str__",          "__eq__",    "__repr__",
                                            "__hash__",  "__getattribute__", "__reduce__"};
        for (size_t i = 0; i < COUNT_OF(known); i++)
            if (jj_str_is(name, known[i])) return unsafe(r, o, name);
    }
    switch (o.type) {
    case JJ_LOOP: return jj_loop_attr(r, o.loop, name);
    case JJ_NAMESPACE: {
        const struct jj_value *v = jj_dict_get(r, o.dict, name);
        return v ? *v : jj_missing();
    }
    case JJ_TUPLE:
        if (o.list->is_group && jj_str_is(name, "grouper")) return o.list->item[0];
        if (o.list->is_group && jj_str_is(name, "list")) return o.list->item[1];
        return jj_missing();
    case JJ_MACRO: return jj_str_is(name, "name") ? o.macro->name : jj_missing();
    case JJ_CYCLER: return jj_str_is(name, "current") ? o.cycler->items.item[o.cycler->at] : jj_missing();
    case JJ_RANGE:
        if (jj_str_is(name, "start")) return jj_int(o.range->start);
        if (jj_str_is(name, "stop")) return jj_int(o.range->stop);
        if (jj_str_is(name, "step")) return jj_int(o.range->step);
        return jj_missing();
    default: return jj_missing();
    }
}

/* o[i] for a whole number; JJ_MISSING: out of range, or o has no elements. */
static struct jj_value element(struct jj *r, struct jj_value o, int64_t i)
{
    int64_t n;
    switch (o.type) {
    case JJ_STR:
    case JJ_LIST:
    case JJ_TUPLE:
    case JJ_RANGE: n = jj_length(r, o); break;
    default: return jj_missing();
    }
    if (i < 0) i += n;
    if (i < 0 || i >= n) return jj_missing();
    if (o.type == JJ_RANGE) return jj_range_at(o.range, i);
    if (o.type != JJ_STR) return o.list->item[i];
    size_t at = jj_byte_of(o, (size_t)i);
    return jj_sub(o, at, at + jj_byte_of(jj_sub(o, at, o.n), 1));
}

static bool hashable(struct jj_value v)
{
    return v.type != JJ_LIST && v.type != JJ_DICT && v.type != JJ_VIEW;
}

/* o[key] as Python has it; JJ_MISSING: it would raise. */
static struct jj_value subscript(struct jj *r, struct jj_value o, struct jj_value key)
{
    const struct jj_value *v = NULL;
    if (o.type == JJ_DICT && hashable(key)) v = jj_dict_get(r, o.dict, key);
    if (v) return *v;
    return jj_is_integer(key) ? element(r, o, jj_as_int(key)) : jj_missing();
}

struct jj_value jj_attr(struct jj *r, struct jj_value o, struct jj_value name)
{
    if (o.type == JJ_UNDEF) jj_fail_undef(r, o);
    struct jj_value v = jj_real_attr(r, o, name);
    if (v.type == JJ_MISSING) v = subscript(r, o, name);
    return v.type == JJ_MISSING ? jj_undef_attr(r, o, name) : v;
}

struct jj_value jj_item(struct jj *r, struct jj_value o, struct jj_value key)
{
    if (o.type == JJ_UNDEF) jj_fail_undef(r, o);
    struct jj_value v = subscript(r, o, key);
    if (v.type == JJ_MISSING && key.type == JJ_STR) v = jj_real_attr(r, o, key);
    return v.type == JJ_MISSING ? jj_undef_attr(r, o, key) : v;
}

/* --- slices --- */

struct range {
    int64_t from, to, step, n;
};

static int64_t clamp(int64_t i, int64_t n, int64_t low, int64_t high)
{
    if (i < 0) i += n;
    return i < low ? low : i > high ? high : i;
}

/* The indices that a slice of n elements means. */
static struct range resolve(struct jj *r, const struct jj_value bound[3], int64_t n)
{
    for (int i = 0; i < 3; i++)
        if (bound[i].type != JJ_NONE && !jj_is_integer(bound[i])) {
            if (bound[i].type == JJ_UNDEF) jj_fail_undef(r, bound[i]);
            jj_fail(r, "slice indices must be integers or None or have an __index__ method");
        }
    struct range s = {.step = bound[2].type == JJ_NONE ? 1 : jj_as_int(bound[2])};
    if (s.step == 0) jj_fail(r, "slice step cannot be zero");
    s.step = MAX(s.step, -INT64_MAX);
    int64_t low = s.step < 0 ? -1 : 0, high = s.step < 0 ? n - 1 : n;
    s.from = bound[0].type == JJ_NONE ? (s.step < 0 ? high : low) : clamp(jj_as_int(bound[0]), n, low, high);
    s.to = bound[1].type == JJ_NONE ? (s.step < 0 ? low : high) : clamp(jj_as_int(bound[1]), n, low, high);
    if (s.step > 0 && s.from < s.to) s.n = (s.to - s.from - 1) / s.step + 1;
    if (s.step < 0 && s.from > s.to) s.n = (s.from - s.to - 1) / -s.step + 1;
    return s;
}

static struct jj_value slice_text(struct jj *r, struct jj_value o, struct range s)
{
    struct jj_value out;
    if (s.n == 0) return jj_sub(o, 0, 0);
    if (s.step == 1) {
        size_t from = jj_byte_of(o, (size_t)s.from);
        return jj_sub(o, from, from + jj_byte_of(jj_sub(o, from, o.n), (size_t)s.n));
    }
    char *to = jj_alloc_text(&r->arena, o.n);
    size_t n = 0, at = jj_byte_of(o, (size_t)s.from);
    jj_charge(r, (uint64_t)s.n);
    for (int64_t k = 0;; k++) {
        size_t len = jj_byte_of(jj_sub(o, at, o.n), 1);
        memcpy(to + n, o.s + at, len);
        n += len;
        if (k + 1 == s.n) break;
        if (s.step > 0)
            at += jj_byte_of(jj_sub(o, at, o.n), (size_t)s.step);
        else
            for (int64_t i = 0; i > s.step; i--) do
                    at--;
                while (((uint8_t)o.s[at] & 0xC0) == 0x80);
    }
    out = jj_str(to, n);
    out.flags |= o.flags & JJ_SAFE;
    return out;
}

struct jj_value jj_slice(struct jj *r, struct jj_value o, const struct jj_value bound[3])
{
    struct jj_value out;
    if (o.type == JJ_UNDEF) jj_fail_undef(r, o);
    if (o.type == JJ_DICT) jj_fail(r, "unhashable type: 'slice'");
    if (o.type != JJ_STR && o.type != JJ_LIST && o.type != JJ_TUPLE && o.type != JJ_RANGE)
        jj_fail(r, "'%s' object is not subscriptable", jj_type_name(o));
    struct range s = resolve(r, bound, jj_length(r, o));
    if (o.type == JJ_STR) return slice_text(r, o, s);
    if (o.type == JJ_RANGE) {
        struct jj_range *g = jj_alloc(&r->arena, 1, sizeof *g);
        if (__builtin_mul_overflow(o.range->step, s.step, &g->step))
            jj_fail(r, "range step does not fit 64 bits");
        g->start = o.range->start + s.from * o.range->step;
        g->stop = o.range->start + s.to * o.range->step;
        g->n = s.n;
        return (struct jj_value){.type = JJ_RANGE, .range = g};
    }
    out = jj_list_new(r, (size_t)s.n);
    jj_charge(r, (uint64_t)s.n / 8);
    for (int64_t k = 0; k < s.n; k++) jj_list_add(r, out.list, o.list->item[s.from + k * s.step]);
    out.type = o.type;
    return out;
}
