/* Numbers out of metadata values, whatever integer or float type the file chose, and --set overrides. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "format/gguf_int.h"

int64_t gguf_integer(const struct gguf_value *v, uint64_t i)
{
    ASSERT(i < v->n);
    switch (v->elem) {
    case GGUF_U8:
    case GGUF_BOOL: return v->data[i];
    case GGUF_I8: return (int8_t)v->data[i];
    case GGUF_U16: return load_u16(v->data + 2 * i);
    case GGUF_I16: return (int16_t)load_u16(v->data + 2 * i);
    case GGUF_U32: return load_u32(v->data + 4 * i);
    case GGUF_I32: return (int32_t)load_u32(v->data + 4 * i);
    case GGUF_U64: { /* what does not fit saturates: no caller can use it, and none may take it for negative
                      */
        uint64_t x = load_u64(v->data + 8 * i);
        return x > INT64_MAX ? INT64_MAX : (int64_t)x;
    }
    case GGUF_I64: return (int64_t)load_u64(v->data + 8 * i);
    default: return 0;
    }
}

double gguf_number(const struct gguf_value *v, uint64_t i)
{
    ASSERT(i < v->n);
    if (v->elem == GGUF_F32) {
        uint32_t bits = load_u32(v->data + 4 * i);
        float f;
        memcpy(&f, &bits, sizeof f);
        return (double)f;
    }
    if (v->elem == GGUF_F64) {
        uint64_t bits = load_u64(v->data + 8 * i);
        double d;
        memcpy(&d, &bits, sizeof d);
        return d;
    }
    if (v->elem == GGUF_U64) return (double)load_u64(v->data + 8 * i);
    return (double)gguf_integer(v, i);
}

/* *v NULL and OK: absent and not required. */
static status find(const struct gguf *g, const char *key, bool required, const struct gguf_value **v,
                   struct error *e)
{
    *v = gguf_find(g, key);
    if (*v || !required) return OK;
    return fail(e, ERR_NOT_FOUND, "metadata %s is missing", key);
}

static status wrong_type(const struct gguf_value *v, const char *want, struct error *e)
{
    if (v->type == GGUF_ARR)
        return fail(e, ERR_FORMAT, "metadata %s is an array of %s, want %s", v->key, gguf_type_name(v->elem),
                    want);
    return fail(e, ERR_FORMAT, "metadata %s is of type %s, want %s", v->key, gguf_type_name(v->type), want);
}

static status get_unsigned(const struct gguf_value *v, uint64_t max, uint64_t *out, struct error *e)
{
    if (!gguf_type_is_int(v->type)) return wrong_type(v, "an integer", e);
    uint64_t x = v->type == GGUF_U64 ? load_u64(v->data) : (uint64_t)gguf_integer(v, 0);
    bool negative = v->type != GGUF_U64 && gguf_integer(v, 0) < 0;
    if (negative)
        return fail(e, ERR_FORMAT, "metadata %s is %lld, want 0 to %llu", v->key,
                    (long long)gguf_integer(v, 0), (unsigned long long)max);
    if (x > max)
        return fail(e, ERR_FORMAT, "metadata %s is %llu, want 0 to %llu", v->key, (unsigned long long)x,
                    (unsigned long long)max);
    *out = x;
    return OK;
}

status gguf_get_u64(const struct gguf *g, const char *key, bool required, uint64_t *out, struct error *e)
{
    const struct gguf_value *v;
    TRY(find(g, key, required, &v, e));
    return v ? get_unsigned(v, UINT64_MAX, out, e) : OK;
}

status gguf_get_u32(const struct gguf *g, const char *key, bool required, uint32_t *out, struct error *e)
{
    const struct gguf_value *v;
    uint64_t x;
    TRY(find(g, key, required, &v, e));
    if (!v) return OK;
    TRY(get_unsigned(v, UINT32_MAX, &x, e));
    *out = (uint32_t)x;
    return OK;
}

status gguf_get_f32(const struct gguf *g, const char *key, bool required, float *out, struct error *e)
{
    const struct gguf_value *v;
    TRY(find(g, key, required, &v, e));
    if (!v) return OK;
    if (v->type != GGUF_F32 && v->type != GGUF_F64 && !gguf_type_is_int(v->type))
        return wrong_type(v, "a number", e);
    double d = gguf_number(v, 0);
    if (!isfinite(d) || fabs(d) > 3.4028234663852886e38)
        return fail(e, ERR_FORMAT, "metadata %s is %g, want a finite number", key, d);
    *out = (float)d;
    return OK;
}

status gguf_get_bool(const struct gguf *g, const char *key, bool required, bool *out, struct error *e)
{
    const struct gguf_value *v;
    TRY(find(g, key, required, &v, e));
    if (!v) return OK;
    if (v->type != GGUF_BOOL) return wrong_type(v, "a bool", e);
    *out = v->data[0] != 0;
    return OK;
}

status gguf_get_str(const struct gguf *g, const char *key, bool required, struct gguf_str *out,
                    struct error *e)
{
    const struct gguf_value *v;
    TRY(find(g, key, required, &v, e));
    if (!v) return OK;
    if (v->type != GGUF_STR) return wrong_type(v, "a string", e);
    *out = v->str[0];
    return OK;
}

/* --- KEY=TYPE:VALUE --- */

static const struct {
    const char *name;
    enum gguf_type type;
    int64_t min;
    uint64_t max;
} set_type[] = {
    {"u8", GGUF_U8, 0, UINT8_MAX},    {"i8", GGUF_I8, INT8_MIN, INT8_MAX},
    {"u16", GGUF_U16, 0, UINT16_MAX}, {"i16", GGUF_I16, INT16_MIN, INT16_MAX},
    {"u32", GGUF_U32, 0, UINT32_MAX}, {"i32", GGUF_I32, INT32_MIN, INT32_MAX},
    {"u64", GGUF_U64, 0, UINT64_MAX}, {"i64", GGUF_I64, INT64_MIN, INT64_MAX},
    {"f32", GGUF_F32, 0, 0},          {"f64", GGUF_F64, 0, 0},
    {"bool", GGUF_BOOL, 0, 1},        {"str", GGUF_STR, 0, 0},
};

static status bad_set(const char *text, const char *type, const char *why, struct error *e)
{
    return fail(e, ERR_ARG, "--set %s: the value is %s %s", gguf_show(text, strlen(text)).s, why, type);
}

static status parse_integer(size_t row, const char *s, uint64_t *bits, const char *text, struct error *e)
{
    char *end;
    bool negative = *s == '-';
    if (!negative && (*s < '0' || *s > '9')) return bad_set(text, set_type[row].name, "not a", e);
    errno = 0;
    if (negative)
        *bits = (uint64_t)strtoll(s, &end, 10);
    else
        *bits = strtoull(s, &end, 10);
    if (*end || end == s) return bad_set(text, set_type[row].name, "not a", e);
    bool inside = negative ? (int64_t)*bits >= set_type[row].min : *bits <= set_type[row].max;
    if (errno || !inside)
        return fail(e, ERR_ARG, "--set %s: the value is out of range for %s (%lld to %llu)",
                    gguf_show(text, strlen(text)).s, set_type[row].name, (long long)set_type[row].min,
                    (unsigned long long)set_type[row].max);
    return OK;
}

static status parse_float(size_t row, const char *s, uint64_t *bits, const char *text, struct error *e)
{
    char *end;
    double d = strtod(s, &end);
    if (!*s || *end) return bad_set(text, set_type[row].name, "not a number for", e);
    if (!isfinite(d) || (set_type[row].type == GGUF_F32 && !isfinite((float)d)))
        return bad_set(text, set_type[row].name, "not finite as", e);
    if (set_type[row].type == GGUF_F32) {
        float f = (float)d;
        uint32_t word;
        memcpy(&word, &f, sizeof word);
        *bits = word;
    } else {
        memcpy(bits, &d, sizeof *bits);
    }
    return OK;
}

static status parse_bool(const char *s, uint64_t *bits, const char *text, struct error *e)
{
    static const char *const yes[] = {"true", "1"}, *const no[] = {"false", "0"};
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        *bits = 1;
        if (strcasecmp(s, yes[i]) == 0) return OK;
        *bits = 0;
        if (strcasecmp(s, no[i]) == 0) return OK;
    }
    return bad_set(text, "bool (true or false)", "not a", e);
}

static status set_string(struct gguf_value *out, const char *s, struct arena *a, struct error *e)
{
    size_t n = strlen(s);
    struct gguf_str *str = arena_take(a, 1, sizeof *str);
    char *copy = arena_str(a, s, n);
    if (!str || !copy) return fail(e, ERR_MEMORY, "out of memory for --set");
    *str = (struct gguf_str){copy, n};
    out->str = str;
    out->data = (const uint8_t *)copy;
    return OK;
}

status gguf_parse_set(struct gguf_value *out, const char *text, struct arena *a, struct error *e)
{
    const char *eq = strchr(text, '='), *colon = eq ? strchr(eq, ':') : NULL;
    size_t row = 0;
    uint64_t bits = 0;
    if (!colon || eq == text || eq - text > GGUF_MAX_KEY)
        return fail(e, ERR_ARG, "--set %s: want KEY=TYPE:VALUE, as in llama.rope.freq_base=f32:10000",
                    gguf_show(text, strlen(text)).s);
    size_t n_type = (size_t)(colon - eq - 1);
    while (row < COUNT_OF(set_type) &&
           (strlen(set_type[row].name) != n_type || strncmp(set_type[row].name, eq + 1, n_type) != 0))
        row++;
    if (row == COUNT_OF(set_type))
        return fail(e, ERR_ARG, "--set %s: unknown type %s (u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 bool str)",
                    gguf_show(text, strlen(text)).s, gguf_show(eq + 1, n_type).s);
    enum gguf_type type = set_type[row].type;
    *out = (struct gguf_value){.type = type, .elem = type, .n = 1};
    out->key = arena_str(a, text, (size_t)(eq - text));
    if (!out->key) return fail(e, ERR_MEMORY, "out of memory for --set");
    if (type == GGUF_STR) return set_string(out, colon + 1, a, e);
    if (type == GGUF_BOOL)
        TRY(parse_bool(colon + 1, &bits, text, e));
    else if (gguf_type_is_int(type))
        TRY(parse_integer(row, colon + 1, &bits, text, e));
    else
        TRY(parse_float(row, colon + 1, &bits, text, e));
    uint8_t *data = arena_take(a, 1, sizeof bits);
    if (!data) return fail(e, ERR_MEMORY, "out of memory for --set");
    for (int i = 0; i < 8; i++) data[i] = (uint8_t)(bits >> 8 * i);
    out->data = data;
    return OK;
}
