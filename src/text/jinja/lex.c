#include "text/jinja/lex.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/unicode.h"

void jj_syntax_error(struct jj_trap *t, uint32_t at, const char *fmt, ...)
{
    char msg[sizeof t->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    t->at = at;
    jj_throw(t, ERR_FORMAT, JINJA_SYNTAX, "%s", msg);
}

char *jj_normalize(struct jj_arena *a, const char *src, size_t n, size_t *n_out)
{
    char *to = jj_alloc_text(a, n + 1);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (src[i] == '\r' && i + 1 < n && src[i + 1] == '\n') continue;
        to[k++] = src[i] == '\r' ? '\n' : src[i];
    }
    if (k && to[k - 1] == '\n') k--;
    to[k] = 0;
    *n_out = k;
    return to;
}

void jj_lex_init(struct jj_lexer *l, struct jj_arena *a, const char *src, size_t n)
{
    *l = (struct jj_lexer){.arena = a, .src = src, .n = n, .line_starting = true};
}

/* --- small steps; positions are bytes of the source --- */

static bool starts(const struct jj_lexer *l, size_t at, const char *s)
{
    size_t n = strlen(s);
    return at <= l->n && n <= l->n - at && memcmp(l->src + at, s, n) == 0;
}

static size_t skip_space(const struct jj_lexer *l, size_t at)
{
    while (at < l->n) {
        uint32_t cp;
        size_t n = utf8_decode(l->src + at, l->n - at, &cp);
        if (!jj_cp_space(cp)) break;
        at += n;
    }
    return at;
}

/* Past the end of a tag at `at`, with what its sign and trim_blocks remove after it; 0: no end there. */
static size_t skip_end(const struct jj_lexer *l, size_t at, const char *end, bool trim)
{
    size_t n = strlen(end);
    if (starts(l, at, "-") && starts(l, at + 1, end)) return skip_space(l, at + 1 + n);
    if (trim && starts(l, at, "+") && starts(l, at + 1, end)) return at + 1 + n;
    if (!starts(l, at, end)) return 0;
    at += n;
    return trim && starts(l, at, "\n") ? at + 1 : at;
}

/* `{%- raw %}` or `{%- endraw %}` at `at`: past it, else 0. */
static size_t skip_raw_tag(const struct jj_lexer *l, size_t at, const char *word, bool end)
{
    at += 2;
    if (starts(l, at, "-") || starts(l, at, "+")) at++;
    at = skip_space(l, at);
    if (!starts(l, at, word)) return 0;
    at = skip_space(l, at + strlen(word));
    if (end) return skip_end(l, at, "%}", true);
    if (starts(l, at, "-%}")) return skip_space(l, at + 3);
    return starts(l, at, "%}") ? at + 2 : 0;
}

static void moved_to(struct jj_lexer *l, size_t at)
{
    l->at = at;
    l->line_starting = at > 0 && l->src[at - 1] == '\n';
}

/* The text from..to before a tag whose beginning is at `to`, less what the tag's sign or lstrip_blocks take.
 */
static struct jj_token text_before(const struct jj_lexer *l, size_t from, size_t to, bool is_print)
{
    struct jj_value v = jj_str(l->src + from, to - from);
    char sign = to + 2 < l->n ? l->src[to + 2] : 0;
    if (sign == '-') {
        v = jj_strip(v, NULL, false, true);
    } else if (sign != '+' && !is_print) {
        const char *newline = memrchr(v.s, '\n', v.n);
        size_t line = newline ? (size_t)(newline - v.s) + 1 : 0;
        if ((line > 0 || l->line_starting) && skip_space(l, from + line) >= to) v = jj_sub(v, 0, line);
    }
    return (struct jj_token){.type = JJ_T_TEXT, .at = (uint32_t)from, .n = v.n, .value = v};
}

/* --- outside of tags --- */

static size_t next_tag(const struct jj_lexer *l, size_t at)
{
    for (; at + 1 < l->n; at++) {
        const char *p = memchr(l->src + at, '{', l->n - 1 - at);
        if (!p) break;
        at = (size_t)(p - l->src);
        if (p[1] == '{' || p[1] == '%' || p[1] == '#') return at;
    }
    return l->n;
}

static struct jj_token raw_text(struct jj_lexer *l, size_t tag, size_t from)
{
    moved_to(l, from);
    for (size_t at = from; at + 1 < l->n; at++) {
        const char *p = memmem(l->src + at, l->n - at, "{%", 2);
        if (!p) break;
        at = (size_t)(p - l->src);
        size_t past = skip_raw_tag(l, at, "endraw", true);
        if (!past) continue;
        struct jj_token t = text_before(l, from, at, false);
        moved_to(l, past);
        return t;
    }
    jj_syntax_error(l->arena->trap, (uint32_t)tag, "missing end of raw directive: {%% endraw %%}");
}

static void skip_comment(struct jj_lexer *l, size_t tag)
{
    size_t at = tag + 2;
    if (starts(l, at, "-") || starts(l, at, "+")) at++;
    const char *p = memmem(l->src + at, l->n - at, "#}", 2);
    if (!p) jj_syntax_error(l->arena->trap, (uint32_t)tag, "missing end of comment tag: #}");
    size_t end = (size_t)(p - l->src);
    if (end > at && (p[-1] == '-' || p[-1] == '+')) end--;
    moved_to(l, skip_end(l, end, "#}", true));
}

static struct jj_token begin_tag(struct jj_lexer *l)
{
    size_t tag = l->at;
    bool print = l->src[tag + 1] == '{';
    size_t n = 2;
    if (starts(l, tag + 2, "-") || starts(l, tag + 2, "+")) n = 3;
    l->where = print ? JJ_IN_PRINT : JJ_IN_BLOCK;
    moved_to(l, tag + n);
    return (struct jj_token){
        .type = print ? JJ_T_PRINT_BEGIN : JJ_T_BLOCK_BEGIN, .at = (uint32_t)tag, .n = 2};
}

/* Text, or the beginning of a tag. */
static struct jj_token lex_text(struct jj_lexer *l)
{
    for (;;) {
        if (l->at >= l->n) return (struct jj_token){.type = JJ_T_END, .at = (uint32_t)l->n};
        size_t tag = next_tag(l, l->at);
        if (tag > l->at) {
            struct jj_token t = tag < l->n ? text_before(l, l->at, tag, l->src[tag + 1] == '{')
                                           : (struct jj_token){.type = JJ_T_TEXT,
                                                               .at = (uint32_t)l->at,
                                                               .value = jj_str(l->src + l->at, l->n - l->at)};
            l->at = tag;
            l->line_starting = false;
            if (t.value.n) return t;
            continue;
        }
        size_t past = l->src[tag + 1] == '%' ? skip_raw_tag(l, tag, "raw", false) : 0;
        if (past) {
            struct jj_token t = raw_text(l, tag, past);
            if (t.value.n) return t;
        } else if (l->src[tag + 1] == '#') {
            skip_comment(l, tag);
        } else {
            return begin_tag(l);
        }
    }
}

/* --- numbers --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits, with single underscores between them; the bytes they take. */
static size_t digits(const struct jj_lexer *l, size_t at)
{
    size_t n = 0;
    while (at + n < l->n) {
        if (is_digit(l->src[at + n]))
            n++;
        else if (n && l->src[at + n] == '_' && at + n + 1 < l->n && is_digit(l->src[at + n + 1]))
            n += 2;
        else
            break;
    }
    return n;
}

static size_t float_len(const struct jj_lexer *l, size_t at)
{
    size_t n = digits(l, at), frac = 0, sign = 0, exp = 0;
    if (at > 0 && l->src[at - 1] == '.') return 0;
    if (starts(l, at + n, ".")) frac = digits(l, at + n + 1);
    if (frac) n += 1 + frac;
    if (starts(l, at + n, "e") || starts(l, at + n, "E")) {
        sign = starts(l, at + n + 1, "+") || starts(l, at + n + 1, "-");
        exp = digits(l, at + n + 1 + sign);
    }
    if (exp) n += 1 + sign + exp;
    return frac || exp ? n : 0;
}

static unsigned digit_value(char c)
{
    if (is_digit(c)) return (unsigned)(c - '0');
    if ((c | 32) >= 'a' && (c | 32) <= 'z') return (unsigned)((c | 32) - 'a') + 10;
    return 255;
}

static struct jj_token lex_int(struct jj_lexer *l)
{
    size_t at = l->at, from = at;
    unsigned base = 10, d;
    int64_t v = 0;
    bool any = false;
    if (l->src[at] == '0' && at + 2 < l->n) {
        char c = (char)(l->src[at + 1] | 32);
        unsigned b = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
        size_t first = at + 2 + (l->src[at + 2] == '_');
        if (b != 10 && first < l->n && digit_value(l->src[first]) < b) {
            base = b;
            at += 2;
        }
    }
    bool zero = base == 10 && l->src[at] == '0'; /* then only zeros follow */
    for (; at < l->n; at++, any = true) {
        if (l->src[at] == '_' && (any || base != 10) && at + 1 < l->n && digit_value(l->src[at + 1]) < base)
            at++;
        d = digit_value(l->src[at]);
        if (d >= base || (zero && d)) break;
        if (__builtin_mul_overflow(v, (int64_t)base, &v) || __builtin_add_overflow(v, (int64_t)d, &v))
            jj_syntax_error(l->arena->trap, (uint32_t)from, "integer does not fit 64 bits");
    }
    return (struct jj_token){
        .type = JJ_T_INT, .at = (uint32_t)from, .n = (uint32_t)(at - from), .value = jj_int(v)};
}

static struct jj_token lex_number(struct jj_lexer *l)
{
    size_t n = float_len(l, l->at), k = 0;
    if (!n) return lex_int(l);
    char *text = jj_alloc_text(l->arena, n + 1);
    for (size_t i = 0; i < n; i++)
        if (l->src[l->at + i] != '_') text[k++] = l->src[l->at + i];
    text[k] = 0;
    return (struct jj_token){
        .type = JJ_T_FLOAT, .at = (uint32_t)l->at, .n = (uint32_t)n, .value = jj_float(strtod(text, NULL))};
}

/* --- strings --- */

static unsigned hex_value(const char *s, size_t n)
{
    unsigned v = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned d = digit_value(s[i]);
        if (d >= 16) return UINT32_MAX;
        v = v << 4 | d;
    }
    return v;
}

/* The escape after the backslash s[-1], n bytes follow; writes to *to and returns the bytes read. */
static size_t unescape(struct jj_lexer *l, const char *s, size_t n, char **to, uint32_t at)
{
    static const char plain[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    size_t width = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : s[0] == 'U' ? 8 : 0;
    uint32_t cp = 0;
    size_t used = 1;
    if (s[0] == '\n') return 1;
    for (size_t i = 0; i + 1 < sizeof plain; i += 2)
        if (plain[i] == s[0]) {
            *(*to)++ = plain[i + 1];
            return 1;
        }
    if (width) {
        cp = n > width ? hex_value(s + 1, width) : UINT32_MAX;
        if (cp > 0x10ffff) jj_syntax_error(l->arena->trap, at, "malformed \\%c escape in a string", s[0]);
        used += width;
    } else if (s[0] >= '0' && s[0] <= '7') {
        for (used = 0; used < 3 && used < n && s[used] >= '0' && s[used] <= '7'; used++)
            cp = cp << 3 | (unsigned)(s[used] - '0');
    } else if (s[0] == 'N') {
        jj_syntax_error(l->arena->trap, at, "\\N{...} escapes are not supported; write the character itself");
    } else { /* not an escape: the backslash stays */
        *(*to)++ = '\\';
        return 0;
    }
    if (cp >= 0xd800 && cp <= 0xdfff) cp = 0xfffd; /* half of a pair is no character */
    *to += utf8_encode(*to, cp);
    return used;
}

static struct jj_token lex_string(struct jj_lexer *l)
{
    size_t from = l->at + 1, end = from;
    bool escapes = false;
    for (; end < l->n && l->src[end] != l->src[l->at]; end++)
        if (l->src[end] == '\\') {
            escapes = true;
            end++;
        }
    if (end >= l->n)
        jj_syntax_error(l->arena->trap, (uint32_t)l->at, "unexpected char '%c': the string does not end",
                        l->src[l->at]);
    struct jj_token t = {.type = JJ_T_STRING, .at = (uint32_t)l->at, .n = (uint32_t)(end + 1 - l->at)};
    if (!escapes) {
        t.value = jj_str(l->src + from, end - from);
        return t;
    }
    char *text = jj_alloc_text(l->arena, 2 * (end - from)), *to = text; /* \177 to two bytes is no growth */
    for (size_t i = from; i < end;) {
        if (l->src[i] == '\\' && i + 1 < end)
            i += 1 + unescape(l, l->src + i + 1, end - i - 1, &to, (uint32_t)i);
        else
            *to++ = l->src[i++];
    }
    t.value = jj_str(text, (size_t)(to - text));
    return t;
}

/* --- inside of tags --- */

static struct jj_token lex_name(struct jj_lexer *l)
{
    size_t at = l->at;
    while (at < l->n) {
        uint32_t cp;
        size_t n = utf8_decode(l->src + at, l->n - at, &cp);
        if (!jj_cp_word(cp)) break;
        at += n;
    }
    return (struct jj_token){.type = JJ_T_NAME,
                             .at = (uint32_t)l->at,
                             .n = (uint32_t)(at - l->at),
                             .value = jj_str(l->src + l->at, at - l->at)};
}

// clang-format off
static const struct { const char *text; enum jj_token_type type; } operators[] = { /* longest first */
    {"**", JJ_T_POW}, {"//", JJ_T_FLOORDIV}, {"==", JJ_T_EQ}, {"!=", JJ_T_NE}, {">=", JJ_T_GE}, {"<=", JJ_T_LE},
    {"+", JJ_T_ADD}, {"-", JJ_T_SUB}, {"*", JJ_T_MUL}, {"/", JJ_T_DIV}, {"%", JJ_T_MOD}, {"~", JJ_T_TILDE},
    {"<", JJ_T_LT}, {">", JJ_T_GT}, {"=", JJ_T_ASSIGN}, {".", JJ_T_DOT}, {":", JJ_T_COLON}, {",", JJ_T_COMMA},
    {";", JJ_T_SEMICOLON}, {"|", JJ_T_PIPE}, {"(", JJ_T_LPAREN}, {")", JJ_T_RPAREN}, {"[", JJ_T_LBRACKET},
    {"]", JJ_T_RBRACKET}, {"{", JJ_T_LBRACE}, {"}", JJ_T_RBRACE},
};
// clang-format on

/* Keep the account of brackets: inside of them `}}` and `%}` end no tag. */
static void track_bracket(struct jj_lexer *l, char c)
{
    char close = c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : 0;
    if (close) {
        if (l->n_open == sizeof l->open)
            jj_syntax_error(l->arena->trap, (uint32_t)l->at, "more than %zu brackets inside one another",
                            sizeof l->open);
        l->open[l->n_open++] = close;
    } else if (c == ')' || c == ']' || c == '}') {
        if (l->n_open == 0) jj_syntax_error(l->arena->trap, (uint32_t)l->at, "unexpected '%c'", c);
        if (l->open[l->n_open - 1] != c)
            jj_syntax_error(l->arena->trap, (uint32_t)l->at, "unexpected '%c', expected '%c'", c,
                            l->open[l->n_open - 1]);
        l->n_open--;
    }
}

static struct jj_token lex_operator(struct jj_lexer *l)
{
    for (size_t i = 0; i < COUNT_OF(operators); i++)
        if (starts(l, l->at, operators[i].text)) {
            track_bracket(l, l->src[l->at]);
            return (struct jj_token){
                .type = operators[i].type, .at = (uint32_t)l->at, .n = (uint32_t)strlen(operators[i].text)};
        }
    uint32_t cp;
    int n = (int)utf8_decode(l->src + l->at, l->n - l->at, &cp);
    jj_syntax_error(l->arena->trap, (uint32_t)l->at, "unexpected char '%.*s'", n, l->src + l->at);
}

static struct jj_token lex_tag(struct jj_lexer *l)
{
    bool print = l->where == JJ_IN_PRINT;
    struct jj_token t;
    uint32_t cp;
    l->at = skip_space(l, l->at);
    if (l->at >= l->n) return (struct jj_token){.type = JJ_T_END, .at = (uint32_t)l->n};
    size_t past = l->n_open ? 0 : skip_end(l, l->at, print ? "}}" : "%}", !print);
    if (past) {
        t = (struct jj_token){.type = print ? JJ_T_PRINT_END : JJ_T_BLOCK_END, .at = (uint32_t)l->at, .n = 2};
        l->where = JJ_IN_TEXT;
        moved_to(l, past);
        return t;
    }
    utf8_decode(l->src + l->at, l->n - l->at, &cp);
    if (is_digit((char)cp) && cp < 0x80)
        t = lex_number(l);
    else if (jj_cp_word(cp))
        t = lex_name(l);
    else if (cp == '\'' || cp == '"')
        t = lex_string(l);
    else
        t = lex_operator(l);
    l->at += t.n;
    return t;
}

struct jj_token jj_lex(struct jj_lexer *l)
{
    return l->where == JJ_IN_TEXT ? lex_text(l) : lex_tag(l);
}
