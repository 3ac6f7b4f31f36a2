/* "...".format(...): format strings (Python library reference, "Format String Syntax"). */
#include <math.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/builtin.h"
#include "text/jinja/format.h"
#include "text/jinja/number.h"
#include "text/jinja/spec.h"
#include "text/jinja/unicode.h"

struct brace {
    struct jj *r;
    const struct jj_args *args;
    uint32_t next; /* of the automatic numbers */
    bool automatic, manual, escape;
};

/* Byte of the first character of the set from `at` on, or the end. */
static size_t find_any(struct jj_value s, size_t at, const char *set)
{
    while (at < s.n && !(s.s[at] && strchr(set, s.s[at]))) at++;
    return at;
}

/* --- specifications --- */

static int64_t digits(struct jj *r, struct jj_value s, size_t *at, int64_t max)
{
    int64_t n = 0;
    for (; *at < s.n && s.s[*at] >= '0' && s.s[*at] <= '9'; ++*at) {
        n = n * 10 + (s.s[*at] - '0');
        if (n > max) jj_fail(r, "format: a width or precision of more than %lld", (long long)max);
    }
    return n;
}

static bool is_one_of(struct jj_value s, size_t at, const char *set)
{
    return at < s.n && s.s[at] && strchr(set, s.s[at]);
}

static struct jj_spec parse_spec(struct jj *r, struct jj_value s)
{
    struct jj_spec out = {.precision = -1};
    size_t at = 0, n = s.n ? utf8_decode(s.s, s.n, &out.fill) : 0;
    if (is_one_of(s, n, "<>=^"))
        at = n;
    else
        out.fill = 0;
    if (is_one_of(s, at, "<>=^")) out.align = s.s[at++];
    if (is_one_of(s, at, "+- ")) out.sign = s.s[at++];
    if (is_one_of(s, at, "z")) at++;
    if (is_one_of(s, at, "#")) out.alternate = s.s[at++];
    if (is_one_of(s, at, "0")) {
        out.zero = true;
        at++;
    }
    out.width = digits(r, s, &at, JJ_MAX_WIDTH);
    if (is_one_of(s, at, ",_")) out.group = s.s[at++];
    if (is_one_of(s, at, ".")) {
        at++;
        if (!is_one_of(s, at, "0123456789")) jj_fail(r, "Format specifier missing precision");
        out.precision = digits(r, s, &at, JJ_MAX_PRECISION);
    }
    if (at < s.n) out.type = s.s[at++];
    if (at < s.n) jj_fail(r, "Invalid format specifier '%.*s'", (int)MIN(s.n, 80u), s.s);
    return out;
}

static _Noreturn void unknown_code(struct jj *r, char type, struct jj_value v)
{
    jj_fail(r, "Unknown format code '%c' for object of type '%s'", type >= ' ' && type < 127 ? type : '?',
            jj_type_name(v));
}

static void write_integer(struct jj *r, struct jj_value v, struct jj_spec *s)
{
    char text[4];
    if (s->type == 'c') {
        int64_t cp = jj_as_int(v);
        if (cp < 0 || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
            jj_fail(r, "%%c arg not in range(0x110000)");
        if (!s->align) s->align = s->zero ? '=' : '>';
        jj_write_text(r, jj_str_copy(r, text, utf8_encode(text, (uint32_t)cp)), s);
        return;
    }
    if (s->precision >= 0) jj_fail(r, "Precision not allowed in integer format specifier");
    jj_write_int(r, jj_as_int(v), s);
}

void jj_write_spec(struct jj *r, struct jj_value v, struct jj_value text)
{
    if (text.n == 0) {
        jj_write_str(r, v);
        return;
    }
    struct jj_spec s = parse_spec(r, text);
    bool float_type = s.type && strchr("eEfFgG%", s.type), int_type = s.type && strchr("bcdoxXn", s.type);
    if (v.type == JJ_BOOL && !s.type) v = jj_int(v.b);
    if (v.type == JJ_STR) {
        if (s.type && s.type != 's') unknown_code(r, s.type, v);
        if (s.sign) jj_fail(r, "Sign not allowed in string format specifier");
        if (s.alternate) jj_fail(r, "Alternate form (#) not allowed in string format specifier");
        if (s.align == '=') jj_fail(r, "'=' alignment not allowed in string format specifier");
        if (s.group) jj_fail(r, "Cannot specify '%c' with 's'.", s.group);
        jj_write_text(r, v, &s);
    } else if (jj_is_integer(v) && (!s.type || int_type)) {
        write_integer(r, v, &s);
    } else if (jj_is_number(v) && (float_type || (v.type == JJ_FLOAT && (!s.type || s.type == 'n')))) {
        jj_write_float(r, jj_as_float(v), &s);
    } else if (jj_is_number(v)) {
        unknown_code(r, s.type, v);
    } else {
        jj_fail(r, "unsupported format string passed to %s.__format__", jj_type_name(v));
    }
}

/* --- fields --- */

static struct jj_value automatic_arg(struct brace *b)
{
    if (b->manual)
        jj_fail(b->r, "cannot switch from manual field specification to automatic field numbering");
    b->automatic = true;
    if (b->next >= b->args->n_pos)
        jj_fail(b->r, "Replacement index %u out of range for positional args tuple", b->next);
    return b->args->pos[b->next++];
}

static struct jj_value argument(struct brace *b, struct jj_value name)
{
    int64_t i;
    if (name.n == 0) return automatic_arg(b);
    if (name.s[0] >= '0' && name.s[0] <= '9' && jj_parse_int(name, 10, &i)) {
        if (b->automatic)
            jj_fail(b->r, "cannot switch from automatic field numbering to manual field specification");
        b->manual = true;
        if (i >= b->args->n_pos)
            jj_fail(b->r, "Replacement index %lld out of range for positional args tuple", (long long)i);
        return b->args->pos[i];
    }
    for (uint32_t k = 0; k < b->args->n_kw; k++)
        if (jj_equal(b->r, b->args->kw[k].name, name)) return b->args->kw[k].value;
    jj_fail(b->r, "'%.*s'", (int)MIN(name.n, 80u), name.s);
}

/* name.attr[key]... */
static struct jj_value field_value(struct brace *b, struct jj_value field)
{
    size_t at = find_any(field, 0, ".[");
    struct jj_value v = argument(b, jj_sub(field, 0, at));
    int64_t i;
    while (at < field.n) {
        size_t from = at + 1, to;
        if (field.s[at] == '.') {
            to = find_any(field, from, ".[");
            v = jj_attr(b->r, v, jj_sub(field, from, to));
            at = to;
            continue;
        }
        to = find_any(field, from, "]");
        if (field.s[at] != '[' || to == field.n) jj_fail(b->r, "Missing ']' in format string");
        struct jj_value key = jj_sub(field, from, to);
        bool number = key.n && key.s[0] >= '0' && key.s[0] <= '9' && jj_parse_int(key, 10, &i);
        v = jj_item(b->r, v, number ? jj_int(i) : key);
        at = to + 1;
    }
    return v;
}

static void expand(struct brace *b, struct jj_value fmt, int depth);

static struct jj_value converted(struct brace *b, struct jj_value v, char how)
{
    if (how == 's') return jj_to_str(b->r, v);
    if (how != 'r' && how != 'a') jj_fail(b->r, "Unknown conversion specifier in format string");
    size_t begin = jj_text_begin(b->r);
    jj_write_repr(b->r, v);
    return jj_text_end(b->r, begin);
}

/* What stands between { and }. */
static void replace_field(struct brace *b, struct jj_value field, int depth)
{
    size_t colon = find_any(field, 0, ":!["), name_end;
    while (colon < field.n && field.s[colon] == '[') { /* a key may hold : and ! */
        colon = find_any(field, colon, "]");
        colon = find_any(field, colon, ":![");
    }
    name_end = colon;
    char how = 0;
    if (colon < field.n && field.s[colon] == '!') {
        if (colon + 1 >= field.n) jj_fail(b->r, "end of string while looking for conversion specifier");
        how = field.s[colon + 1];
        colon += 2;
        if (colon < field.n && field.s[colon] != ':')
            jj_fail(b->r, "expected ':' after conversion specifier");
    }
    struct jj_value v = field_value(b, jj_sub(field, 0, name_end)), spec = jj_strz("");
    if (how) v = converted(b, v, how);
    if (colon < field.n) {
        size_t begin = jj_text_begin(b->r);
        expand(b, jj_sub(field, colon + 1, field.n), depth + 1);
        spec = jj_text_end(b->r, begin);
    }
    if (b->escape && depth == 0) {
        size_t begin = jj_text_begin(b->r);
        bool safe = v.type == JJ_STR && v.flags & JJ_SAFE;
        jj_write_spec(b->r, v, spec);
        v = jj_text_end(b->r, begin);
        if (safe) v.flags |= JJ_SAFE;
        jj_write_escaped(b->r, v);
        return;
    }
    jj_write_spec(b->r, v, spec);
}

/* The } that closes the { before `at`. */
static size_t closing(struct brace *b, struct jj_value fmt, size_t at)
{
    int open = 1;
    for (; at < fmt.n; at++) {
        open += (fmt.s[at] == '{') - (fmt.s[at] == '}');
        if (!open) return at;
    }
    jj_fail(b->r, "expected '}' before end of string");
}

static void expand(struct brace *b, struct jj_value fmt, int depth)
{
    size_t at = 0;
    if (depth > 1) jj_fail(b->r, "Max string recursion exceeded");
    while (at < fmt.n) {
        size_t to = find_any(fmt, at, "{}");
        jj_write(b->r, fmt.s + at, to - at);
        if (to == fmt.n) return;
        jj_charge(b->r, 1);
        if (to + 1 < fmt.n && fmt.s[to + 1] == fmt.s[to] && depth == 0) { /* {{ or }} */
            jj_writec(b->r, fmt.s[to]);
            at = to + 2;
            continue;
        }
        if (fmt.s[to] == '}') jj_fail(b->r, "Single '}' encountered in format string");
        if (to + 1 == fmt.n) jj_fail(b->r, "Single '{' encountered in format string");
        size_t end = closing(b, fmt, to + 1);
        replace_field(b, jj_sub(fmt, to + 1, end), depth);
        at = end + 1;
    }
}

struct jj_value jj_brace(struct jj *r, struct jj_value fmt, const struct jj_args *args)
{
    struct brace b = {.r = r, .args = args, .escape = fmt.flags & JJ_SAFE};
    size_t begin = jj_text_begin(r);
    expand(&b, fmt, 0);
    struct jj_value v = jj_text_end(r, begin);
    v.flags |= fmt.flags & JJ_SAFE;
    return v;
}
