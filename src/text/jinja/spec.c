#include "text/jinja/spec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/jinja/format.h"
#include "text/jinja/text.h"

static void fill(struct jj *r, uint32_t cp, int64_t n)
{
    jj_charge(r, n > 0 ? (uint64_t)n / 8 : 0);
    for (; n > 0; n--) jj_write_cp(r, cp);
}

/* body with `sign` before it, n characters together, filled to the width. */
static void write_padded(struct jj *r, const char *sign, struct jj_value body, const struct jj_spec *s,
                         char align)
{
    int64_t lack = s->width - (int64_t)jj_n_cp(body) - (int64_t)strlen(sign);
    uint32_t with = s->fill ? s->fill : s->zero ? '0' : ' ';
    if (s->align) align = s->align;
    if (lack < 0) lack = 0;
    int64_t before = align == '>' ? lack : align == '^' ? lack / 2 : 0;
    fill(r, with, before);
    jj_writes(r, sign);
    if (align == '=') fill(r, with, lack);
    jj_write(r, body.s, body.n);
    if (align != '=') fill(r, with, lack - before);
}

static const char *sign_of(bool negative, char want)
{
    return negative ? "-" : want == '+' ? "+" : want == ' ' ? " " : "";
}

/* Separators between groups of digits of the whole part; with zero filling they continue into the zeros. */
static size_t group_digits(char *out, const char *digits, size_t n, char sep, size_t every, size_t min_len)
{
    size_t total = n, len = 0;
    while (total + (total - 1) / every < min_len) total++;
    for (size_t i = total; i > 0; i--) {
        out[len++] = i > n ? '0' : digits[n - i];
        if (i > 1 && (i - 1) % every == 0) out[len++] = sep;
    }
    return len;
}

/* A number's digits (whole part of n_whole, then the rest) with sign, grouping and padding. */
static void write_number(struct jj *r, const char *sign, const char *digits, size_t n_whole,
                         const struct jj_spec *s, size_t every)
{
    size_t n = strlen(digits), rest = n - n_whole, min_len = 0;
    bool zeros = s->zero && !s->align;
    struct jj_value body;
    if (!s->group) {
        body = jj_str_copy(r, digits, n);
    } else {
        if (zeros && s->width > (int64_t)(strlen(sign) + rest))
            min_len = (size_t)s->width - strlen(sign) - rest;
        char *text = jj_alloc_text(&r->arena, 2 * (n + min_len) + 8);
        size_t len = n_whole ? group_digits(text, digits, n_whole, s->group, every, min_len) : 0;
        memcpy(text + len, digits + n_whole, rest);
        body = jj_str(text, len + rest);
    }
    write_padded(r, sign, body, s, zeros ? '=' : '>');
}

void jj_write_int(struct jj *r, int64_t v, const struct jj_spec *s)
{
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    char digits[80], sign[8], *p = digits + sizeof digits;
    unsigned base = s->type == 'b' ? 2 : s->type == 'o' ? 8 : s->type == 'x' || s->type == 'X' ? 16 : 10;
    const char *alphabet = s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    *--p = 0;
    do *--p = alphabet[u % base];
    while (u /= base);
    snprintf(sign, sizeof sign, "%s%s", sign_of(v < 0, s->sign), "");
    if (s->alternate && base != 10) {
        size_t n = strlen(sign);
        snprintf(sign + n, sizeof sign - n, "0%c", s->type);
    }
    if (s->precision > 0) { /* of %-formatting: at least so many digits */
        size_t n = strlen(p), want = (size_t)MIN(s->precision, JJ_MAX_PRECISION);
        char *text = jj_alloc_text(&r->arena, MAX(n, want) + 1);
        memset(text, '0', MAX(n, want));
        strcpy(text + (n < want ? want - n : 0), p);
        p = text;
    }
    write_number(r, sign, p, strlen(p), s, base == 10 ? 3 : 4);
}

/* 'g' with at least one digit after the point, as str.format prints a float with a precision and no type. */
static void plain_float(char *text, size_t size, double f, int precision)
{
    snprintf(text, size, "%.*g", precision ? precision : 1, f);
    if (!strpbrk(text, ".en")) {
        size_t n = strlen(text);
        snprintf(text + n, size - n, ".0");
    }
}

void jj_write_float(struct jj *r, double v, const struct jj_spec *s)
{
    char text[1500], how[16];
    int precision = (int)MIN(s->precision, JJ_MAX_PRECISION);
    bool negative = signbit(v) && !isnan(v), percent = s->type == '%';
    double f = fabs(v) * (percent ? 100 : 1);
    char type = percent ? 'f' : s->type == 'n' ? 'g' : s->type;
    if (!isfinite(f)) {
        bool upper = type == 'E' || type == 'F' || type == 'G';
        snprintf(text, sizeof text, "%s", isnan(f) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf");
    } else if (!type && precision < 0) {
        jj_float_repr(text, f);
    } else if (!type) {
        plain_float(text, sizeof text, f, precision);
    } else {
        snprintf(how, sizeof how, "%%%s.*%c", s->alternate ? "#" : "", type);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof text - 2, how, precision < 0 ? 6 : precision, f);
#pragma GCC diagnostic pop
    }
    if (percent) strcat(text, "%");
    write_number(r, sign_of(negative, s->sign), text, strspn(text, "0123456789"), s, 3);
}

void jj_write_text(struct jj *r, struct jj_value v, const struct jj_spec *s)
{
    if (s->precision >= 0 && (uint64_t)s->precision < jj_n_cp(v))
        v = jj_sub(v, 0, jj_byte_of(v, (size_t)s->precision));
    write_padded(r, "", v, s, '<');
}
