/* "..." % values: printf-style formatting (Python library reference, section of that name). */
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/builtin.h"
#include "text/jinja/format.h"
#include "text/jinja/spec.h"

struct percent {
    struct jj *r;
    struct jj_value fmt;
    size_t at;
    struct jj_value args; /* a tuple, or the only value */
    size_t n_arg, next;
    bool named;  /* one %(name)s was there */
    bool escape; /* the format is marked as safe */
};

static struct jj_value next_arg(struct percent *p)
{
    if (p->next >= p->n_arg) jj_fail(p->r, "not enough arguments for format string");
    p->next++;
    return p->args.type == JJ_TUPLE ? p->args.list->item[p->next - 1] : p->args;
}

static char peek(const struct percent *p)
{
    if (p->at >= p->fmt.n) jj_fail(p->r, "incomplete format");
    return p->fmt.s[p->at];
}

/* %(name): the value of that key. */
static struct jj_value named_arg(struct percent *p)
{
    size_t from = ++p->at;
    int open = 1;
    for (; open; p->at++) {
        char c = peek(p);
        open += (c == '(') - (c == ')');
    }
    if (p->args.type != JJ_DICT) jj_fail(p->r, "format requires a mapping");
    struct jj_value name = jj_sub(p->fmt, from, p->at - 1);
    const struct jj_value *v = jj_dict_get(p->r, p->args.dict, name);
    if (!v) jj_fail(p->r, "'%.*s'", (int)MIN(name.n, 80u), name.s);
    p->named = true;
    return *v;
}

/* Digits, or * for the next value. */
static int64_t number(struct percent *p, int64_t max)
{
    int64_t n = 0;
    if (peek(p) == '*') {
        p->at++;
        struct jj_value v = next_arg(p);
        if (!jj_is_integer(v)) jj_fail(p->r, "* wants int");
        n = jj_as_int(v);
        if (n > max || n < -max) jj_fail(p->r, "a width or precision of more than %lld", (long long)max);
        return n;
    }
    for (char c; (c = peek(p)) >= '0' && c <= '9'; p->at++) {
        n = n * 10 + (c - '0');
        if (n > max) jj_fail(p->r, "a width or precision of more than %lld", (long long)max);
    }
    return n;
}

static void read_flags(struct percent *p, struct jj_spec *s)
{
    for (;; p->at++) {
        switch (peek(p)) {
        case '-': s->align = '<'; break;
        case '+': s->sign = '+'; break;
        case ' ':
            if (!s->sign) s->sign = ' ';
            break;
        case '#': s->alternate = true; break;
        case '0': s->zero = true; break;
        default: return;
        }
    }
}

static void write_integer(struct percent *p, struct jj_value v, struct jj_spec *s)
{
    bool decimal = s->type == 'd' || s->type == 'i' || s->type == 'u';
    if (decimal && v.type == JJ_FLOAT && isfinite(v.f) && fabs(v.f) < 0x1p63) v = jj_int((int64_t)v.f);
    if (v.type == JJ_UNDEF) jj_fail_undef(p->r, v);
    if (!jj_is_integer(v))
        jj_fail(p->r, "%%%c format: %s is required, not %s", s->type,
                decimal ? "a real number" : "an integer", jj_type_name(v));
    if (decimal) s->type = 'd';
    jj_write_int(p->r, jj_as_int(v), s);
}

static void write_char(struct percent *p, struct jj_value v, struct jj_spec *s)
{
    char text[4];
    if (jj_is_integer(v)) {
        int64_t cp = jj_as_int(v);
        if (cp < 0 || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
            jj_fail(p->r, "%%c arg not in range(0x110000)");
        v = jj_str_copy(p->r, text, utf8_encode(text, (uint32_t)cp));
    }
    if (v.type != JJ_STR || jj_length(p->r, v) != 1) jj_fail(p->r, "%%c requires int or char");
    jj_write_text(p->r, v, s);
}

static void write_conversion(struct percent *p, struct jj_value v, struct jj_spec *s)
{
    size_t begin;
    switch (s->type) {
    case 's':
        v = p->escape ? jj_escape(p->r, v) : jj_to_str(p->r, v);
        s->zero = false;
        if (!s->align) s->align = '>';
        jj_write_text(p->r, v, s);
        break;
    case 'r':
    case 'a':
        begin = jj_text_begin(p->r);
        jj_write_repr(p->r, v);
        v = jj_text_end(p->r, begin);
        s->zero = false;
        if (!s->align) s->align = '>';
        jj_write_text(p->r, v, s);
        break;
    case 'c':
        s->zero = false;
        if (!s->align) s->align = '>';
        write_char(p, v, s);
        break;
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X': write_integer(p, v, s); break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        if (v.type == JJ_UNDEF) jj_fail_undef(p->r, v);
        if (!jj_is_number(v)) jj_fail(p->r, "must be real number, not %s", jj_type_name(v));
        jj_write_float(p->r, jj_as_float(v), s);
        break;
    default:
        jj_fail(p->r, "unsupported format character '%c'", s->type >= ' ' && s->type < 127 ? s->type : '?');
    }
}

/* From the % on. */
static void convert(struct percent *p)
{
    struct jj_spec s = {.precision = -1};
    struct jj_value v = jj_missing();
    if (peek(p) == '(') v = named_arg(p);
    read_flags(p, &s);
    s.width = number(p, JJ_MAX_WIDTH);
    if (s.width < 0) {
        s.width = -s.width;
        s.align = '<';
    }
    if (peek(p) == '.') {
        p->at++;
        s.precision = number(p, JJ_MAX_PRECISION);
        if (s.precision < 0) s.precision = 0;
    }
    while (peek(p) == 'h' || peek(p) == 'l' || peek(p) == 'L') p->at++;
    s.type = peek(p);
    p->at++;
    if (s.type == '%') {
        jj_writec(p->r, '%');
        return;
    }
    if (s.align == '<') s.zero = false;
    write_conversion(p, v.type == JJ_MISSING ? next_arg(p) : v, &s);
}

struct jj_value jj_percent(struct jj *r, struct jj_value fmt, struct jj_value v)
{
    struct percent p = {.r = r, .fmt = fmt, .args = v, .escape = fmt.flags & JJ_SAFE};
    bool mapping = v.type == JJ_DICT || v.type == JJ_LIST || v.type == JJ_RANGE || v.type == JJ_UNDEF;
    p.n_arg = v.type == JJ_TUPLE ? v.list->n : 1;
    size_t begin = jj_text_begin(r);
    while (p.at < fmt.n) {
        const char *percent = memchr(fmt.s + p.at, '%', fmt.n - p.at);
        size_t to = percent ? (size_t)(percent - fmt.s) : fmt.n;
        jj_write(r, fmt.s + p.at, to - p.at);
        p.at = to + 1;
        jj_charge(r, 1);
        if (percent) convert(&p);
    }
    if (p.next < p.n_arg && !mapping) jj_fail(r, "not all arguments converted during string formatting");
    struct jj_value out = jj_text_end(r, begin);
    out.flags |= fmt.flags & JJ_SAFE;
    return out;
}
