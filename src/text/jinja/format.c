#include "text/jinja/format.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/builtin.h"
#include "text/jinja/unicode.h"

/* "1.500e+00" to "1.5e+00"; returns where the e is. */
static char *drop_zeros(char *digits)
{
    char *e = strchr(digits, 'e'), *end = e;
    if (!memchr(digits, '.', (size_t)(e - digits))) return e; /* one digit, which may be a zero */
    while (end[-1] == '0') end--;
    if (end[-1] == '.') end--;
    memmove(end, e, strlen(e) + 1);
    return end;
}

/* A power of two lies closer to its neighbour below than above: the next decimal up may still mean it. */
static bool next_decimal(char *digits, double f)
{
    char *last = strchr(digits, 'e') - 1;
    if (*last == '9') return false; /* then a shorter one would have done */
    ++*last;
    return strtod(digits, NULL) == f;
}

/* The fewest digits that read back as the same number, laid out as Python does: with an exponent when it
 * would be below -4 or above 15, else with at least one digit after the point. */
size_t jj_float_repr(char out[40], double f)
{
    char digits[32], *e;
    size_t n = 0;
    if (isnan(f)) return (size_t)snprintf(out, 40, "nan");
    if (isinf(f)) return (size_t)snprintf(out, 40, f < 0 ? "-inf" : "inf");
    /* 15 digits are always told apart, so what is shorter only ends in zeros; not so below the normal
     * numbers. */
    for (int p = fabs(f) < DBL_MIN ? 0 : 14; p < 17; p++) {
        snprintf(digits, sizeof digits, "%.*e", p, f);
        if (strtod(digits, NULL) == f || (p == 15 && next_decimal(digits, f))) break;
    }
    e = drop_zeros(digits);
    int exp = atoi(e + 1);
    if (exp < -4 || exp >= 16) {
        *e = 0;
        return (size_t)snprintf(out, 40, "%se%c%02d", digits, exp < 0 ? '-' : '+', abs(exp));
    }
    const char *d = digits;
    if (*d == '-') out[n++] = *d++;
    int n_digit = (int)(e - d) - (e - d > 1); /* without the point */
    if (exp < 0) {
        n += (size_t)snprintf(out + n, 40 - n, "0.");
        for (int i = -1; i > exp; i--) out[n++] = '0';
    }
    for (int i = 0; i < MAX(n_digit, exp + 1); i++) {
        if (i == exp + 1 && exp >= 0) out[n++] = '.';
        out[n++] = i >= n_digit ? '0' : i == 0 ? d[0] : d[i + 1];
    }
    if (exp >= 0 && n_digit <= exp + 1) {
        out[n++] = '.';
        out[n++] = '0';
    }
    out[n] = 0;
    return n;
}

static void write_int(struct jj *r, int64_t i)
{
    char text[32];
    jj_write(r, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)i));
}

static void write_float(struct jj *r, double f)
{
    char text[40];
    jj_charge(r, 10);
    jj_write(r, text, jj_float_repr(text, f));
}

/* --- repr --- */

static void write_str_repr(struct jj *r, struct jj_value v)
{
    char quote = memchr(v.s, '\'', v.n) && !memchr(v.s, '"', v.n) ? '"' : '\'', hex[16];
    uint32_t cp;
    jj_writec(r, quote);
    for (size_t i = 0, n; i < v.n; i += n) {
        n = utf8_decode(v.s + i, v.n - i, &cp);
        if (cp == (uint8_t)quote || cp == '\\') jj_writec(r, '\\');
        if (cp == '\n')
            jj_writes(r, "\\n");
        else if (cp == '\r')
            jj_writes(r, "\\r");
        else if (cp == '\t')
            jj_writes(r, "\\t");
        else if (jj_cp_printable(cp))
            jj_write(r, v.s + i, n);
        else {
            snprintf(hex, sizeof hex, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
            jj_writes(r, hex);
        }
    }
    jj_writec(r, quote);
}

static void write_items(struct jj *r, const struct jj_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (i) jj_writes(r, ", ");
        jj_write_repr(r, l->item[i]);
    }
}

static void write_dict(struct jj *r, const struct jj_dict *d)
{
    const struct jj_pair *p;
    const char *comma = "";
    jj_writec(r, '{');
    for (size_t i = 0; (p = jj_dict_next(d, &i)); comma = ", ") {
        jj_writes(r, comma);
        jj_write_repr(r, p->key);
        jj_writes(r, ": ");
        jj_write_repr(r, p->value);
    }
    jj_writec(r, '}');
}

static void write_range(struct jj *r, const struct jj_range *g)
{
    jj_writes(r, "range(");
    write_int(r, g->start);
    jj_writes(r, ", ");
    write_int(r, g->stop);
    if (g->step != 1) {
        jj_writes(r, ", ");
        write_int(r, g->step);
    }
    jj_writec(r, ')');
}

static void write_object(struct jj *r, struct jj_value v)
{
    switch (v.type) {
    case JJ_NAMESPACE:
        jj_writes(r, "<Namespace ");
        write_dict(r, v.dict);
        jj_writec(r, '>');
        break;
    case JJ_LOOP:
        jj_writes(r, "<LoopContext ");
        write_int(r, jj_loop_attr(r, v.loop, jj_strz("index")).i);
        jj_writec(r, '/');
        write_int(r, jj_loop_attr(r, v.loop, jj_strz("length")).i);
        jj_writec(r, '>');
        break;
    case JJ_MACRO:
        jj_writes(r, "<Macro ");
        write_str_repr(r, v.macro->name);
        jj_writec(r, '>');
        break;
    case JJ_FUNCTION:
        jj_writes(r, "<function ");
        jj_writes(r, v.function->builtin->name);
        jj_writec(r, '>');
        break;
    default: /* Python would write an address, which nobody can rely on */
        jj_writec(r, '<');
        jj_writes(r, jj_type_name(v));
        jj_writes(r, " object>");
    }
}

void jj_write_repr(struct jj *r, struct jj_value v)
{
    jj_charge(r, 1);
    jj_enter(r);
    switch (v.type) {
    case JJ_UNDEF: jj_writes(r, "Undefined"); break;
    case JJ_NONE: jj_writes(r, "None"); break;
    case JJ_BOOL: jj_writes(r, v.b ? "True" : "False"); break;
    case JJ_INT: write_int(r, v.i); break;
    case JJ_FLOAT: write_float(r, v.f); break;
    case JJ_STR:
        if (v.flags & JJ_SAFE) jj_writes(r, "Markup(");
        write_str_repr(r, v);
        if (v.flags & JJ_SAFE) jj_writec(r, ')');
        break;
    case JJ_LIST:
        jj_writec(r, '[');
        write_items(r, v.list);
        jj_writec(r, ']');
        break;
    case JJ_TUPLE:
        jj_writec(r, '(');
        write_items(r, v.list);
        jj_writes(r, v.list->n == 1 ? ",)" : ")");
        break;
    case JJ_VIEW:
        jj_writes(r, jj_type_name(v));
        jj_writes(r, "([");
        write_items(r, v.list);
        jj_writes(r, "])");
        break;
    case JJ_DICT: write_dict(r, v.dict); break;
    case JJ_RANGE: write_range(r, v.range); break;
    default: write_object(r, v);
    }
    jj_leave(r);
}

void jj_write_str(struct jj *r, struct jj_value v)
{
    if (v.type == JJ_STR)
        jj_write(r, v.s, v.n);
    else if (v.type != JJ_UNDEF)
        jj_write_repr(r, v);
}

struct jj_value jj_to_str(struct jj *r, struct jj_value v)
{
    if (v.type == JJ_STR) return v;
    if (v.type == JJ_UNDEF) return jj_strz("");
    size_t begin = jj_text_begin(r);
    jj_write_repr(r, v);
    return jj_text_end(r, begin);
}

/* --- HTML --- */

static void write_html(struct jj *r, struct jj_value s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *to = s.s[i] == '&'    ? "&amp;"
                         : s.s[i] == '<'  ? "&lt;"
                         : s.s[i] == '>'  ? "&gt;"
                         : s.s[i] == '\'' ? "&#39;"
                         : s.s[i] == '"'  ? "&#34;"
                                          : NULL;
        if (!to) continue;
        jj_write(r, s.s + from, i - from);
        jj_writes(r, to);
        from = i + 1;
    }
    jj_write(r, s.s + from, s.n - from);
}

void jj_write_escaped(struct jj *r, struct jj_value v)
{
    if (v.type == JJ_STR && v.flags & JJ_SAFE)
        jj_write(r, v.s, v.n);
    else
        write_html(r, jj_to_str(r, v));
}

struct jj_value jj_escape(struct jj *r, struct jj_value v)
{
    size_t begin = jj_text_begin(r);
    jj_write_escaped(r, v);
    v = jj_text_end(r, begin);
    v.flags |= JJ_SAFE;
    return v;
}
