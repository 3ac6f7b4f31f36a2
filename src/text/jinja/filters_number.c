/* Filters of numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/builtin.h"
#include "text/jinja/format.h"
#include "text/jinja/number.h"
#include "text/jinja/unicode.h"

/* --- reading --- */

static unsigned digit(char c)
{
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    if ((c | 32) >= 'a' && (c | 32) <= 'z') return (unsigned)((c | 32) - 'a') + 10;
    return 255;
}

/* s without blanks around it. */
static struct jj_value stripped(struct jj_value s)
{
    return jj_strip(s, NULL, true, true);
}

bool jj_parse_int(struct jj_value s, int64_t base, int64_t *out)
{
    s = stripped(s);
    size_t i = 0;
    bool negative = false, digits = false, under = false;
    int64_t v = 0;
    if (i < s.n && (s.s[i] == '-' || s.s[i] == '+')) negative = s.s[i++] == '-';
    if (i + 1 < s.n && s.s[i] == '0') {
        char p = (char)(s.s[i + 1] | 32);
        int64_t prefixed = p == 'x' ? 16 : p == 'o' ? 8 : p == 'b' ? 2 : 0;
        if (prefixed && (base == prefixed || base == 0)) {
            base = prefixed;
            i += 2;
            digits = true; /* an underscore may follow */
        }
    }
    if (base == 0) base = 10;
    bool any = false;
    for (; i < s.n; i++) {
        if (s.s[i] == '_' && digits && !under) {
            under = true;
            continue;
        }
        unsigned d = digit(s.s[i]);
        if (d >= (unsigned)base) return false;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_sub_overflow(v, (int64_t)d, &v)) return false;
        digits = any = true;
        under = false;
    }
    if (!any || under || (!negative && v == INT64_MIN)) return false;
    *out = negative ? v : -v;
    return true;
}

bool jj_parse_float(struct jj_value s, double *out)
{
    char text[400], *end;
    size_t n = 0;
    s = stripped(s);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.s[i];
        bool between = i > 0 && i + 1 < s.n && digit(s.s[i - 1]) < 10 && digit(s.s[i + 1]) < 10;
        if (c == '_' && between) continue;
        if (n == sizeof text - 1 || c == 'x' || c == 'X' || c == 'p' || c == 'P' || c == '(') return false;
        text[n++] = c;
    }
    text[n] = 0;
    *out = strtod(text, &end);
    return n > 0 && end == text + n;
}

static struct jj_value fallback(const struct jj_call *c, struct jj_value otherwise)
{
    return c->a[0].type == JJ_MISSING ? otherwise : c->a[0];
}

static struct jj_value whole(struct jj *r, const struct jj_call *c, double f)
{
    if (!isfinite(f)) {
        if (isnan(f)) return fallback(c, jj_int(0));
        jj_fail(r, "cannot convert float infinity to integer");
    }
    if (f >= 0x1p63 || f < -0x1p63) jj_fail(r, "int: the number does not fit 64 bits");
    return jj_int((int64_t)f);
}

static struct jj_value filter_int(struct jj *r, const struct jj_call *c)
{
    int64_t i, base = jj_want_int(r, c->a[1], 10);
    double f;
    if (c->self.type == JJ_UNDEF) jj_fail_undef(r, c->self);
    if (jj_is_integer(c->self)) return jj_int(jj_as_int(c->self));
    if (c->self.type == JJ_FLOAT) return whole(r, c, c->self.f);
    if (c->self.type != JJ_STR || base < 0 || base == 1 || base > 36) return fallback(c, jj_int(0));
    if (jj_parse_int(c->self, base, &i)) return jj_int(i);
    return jj_parse_float(c->self, &f) ? whole(r, c, f) : fallback(c, jj_int(0));
}

static struct jj_value filter_float(struct jj *r, const struct jj_call *c)
{
    double f;
    if (c->self.type == JJ_UNDEF) jj_fail_undef(r, c->self);
    if (jj_is_number(c->self)) return jj_float(jj_as_float(c->self));
    if (c->self.type == JJ_STR && jj_parse_float(c->self, &f)) return jj_float(f);
    return fallback(c, jj_float(0));
}

/* --- computing --- */

static struct jj_value filter_abs(struct jj *r, const struct jj_call *c)
{
    struct jj_value v = c->self;
    if (v.type == JJ_FLOAT) return jj_float(fabs(v.f));
    if (!jj_is_integer(v)) jj_fail(r, "bad operand type for abs(): '%s'", jj_type_name(v));
    return jj_as_int(v) < 0 ? jj_negate(r, v) : jj_int(jj_as_int(v));
}

/* To that many decimals, to even when halfway: printf rounds the exact binary value, as Python's round()
 * does. */
static double round_float(double f, int64_t decimals)
{
    char text[512];
    if (!isfinite(f) || decimals > 300) return f;
    if (decimals < -308) return copysign(0.0, f);
    if (decimals >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)MIN(decimals, 150), f);
        return strtod(text, NULL);
    }
    double scale = pow(10, (double)-decimals);
    return nearbyint(f / scale) * scale;
}

static int64_t round_int(struct jj *r, int64_t i, int64_t decimals)
{
    int64_t scale = 1;
    if (decimals >= 0) return i;
    for (; decimals < 0; decimals++)
        if (__builtin_mul_overflow(scale, (int64_t)10, &scale)) return 0;
    int64_t m = i % scale, down = i - m, half = scale / 2, up;
    int64_t size = m < 0 ? -m : m;
    bool away = size > half || (size == half && (down / scale) % 2 != 0);
    if (!away) return down;
    if (__builtin_add_overflow(down, m < 0 ? -scale : scale, &up))
        jj_fail(r, "round: the result does not fit 64 bits");
    return up;
}

static struct jj_value filter_round(struct jj *r, const struct jj_call *c)
{
    int64_t decimals = jj_want_int(r, c->a[0], 0);
    struct jj_value how = jj_want_str(r, c->a[1], "common");
    bool up = jj_str_is(how, "ceil"), down = jj_str_is(how, "floor");
    if (!up && !down && !jj_str_is(how, "common")) jj_fail(r, "method must be common, ceil or floor");
    if (!jj_is_number(c->self)) {
        if (c->self.type == JJ_UNDEF) jj_fail(r, "type Undefined doesn't define __round__ method");
        jj_fail(r, "type %s doesn't define __round__ method", jj_type_name(c->self));
    }
    if (!up && !down) {
        if (jj_is_integer(c->self)) return jj_int(round_int(r, jj_as_int(c->self), decimals));
        return jj_float(round_float(c->self.f, decimals));
    }
    /* func(value * 10 ** decimals) / 10 ** decimals: ceil and floor give an int there */
    struct jj_value scale = jj_binary(r, JJ_OP_POW, jj_int(10), jj_int(decimals));
    struct jj_value v = jj_binary(r, JJ_OP_MUL, c->self, scale);
    if (v.type == JJ_FLOAT && !isfinite(v.f)) jj_fail(r, "cannot convert float to integer");
    if (v.type == JJ_FLOAT) v = jj_float(up ? ceil(v.f) : floor(v.f));
    if (v.type == JJ_FLOAT && v.f >= -0x1p63 && v.f < 0x1p63) v = jj_int((int64_t)v.f);
    return jj_binary(r, JJ_OP_DIV, v, scale);
}

static struct jj_value filter_filesizeformat(struct jj *r, const struct jj_call *c)
{
    static const char *const prefix[2][8] = {{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
                                             {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    bool binary = jj_want_bool(r, c->a[0], false);
    struct jj_call to_float = {.self = c->self, .args = c->args};
    double base = binary ? 1024 : 1000, bytes, unit = base;
    char text[64];
    if (c->self.type == JJ_STR && !jj_parse_float(c->self, &bytes))
        jj_fail(r, "could not convert string to float");
    if (c->self.type != JJ_STR && !jj_is_number(c->self)) jj_fail(r, "filesizeformat wants a number");
    bytes = filter_float(r, &to_float).f;
    if (bytes == 1) return jj_strz("1 Byte");
    if (bytes < base) {
        snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes) + 0.0); /* + 0: no "-0" */
        return jj_str_copy(r, text, strlen(text));
    }
    size_t i = 0;
    for (; i < 7 && bytes >= unit * base; i++) unit *= base;
    snprintf(text, sizeof text, "%.1f %s", bytes / unit, prefix[binary][i]);
    return jj_str_copy(r, text, strlen(text));
}

const struct jj_builtin jj_filters_number[] = {
    {.name = "int", .params = "default base", .fn = filter_int},
    {.name = "float", .params = "default", .fn = filter_float},
    {.name = "abs", .params = "", .fn = filter_abs},
    {.name = "round", .params = "precision method", .fn = filter_round},
    {.name = "filesizeformat", .params = "binary", .fn = filter_filesizeformat},
    {0}};
