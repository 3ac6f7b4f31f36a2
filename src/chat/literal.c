/* A value ends where its last bracket closes; a number or word ends before what cannot belong to it.
 *
 * Forgiven in JSON, because models do it and nothing else can be meant: line ends in strings, unknown escapes
 * (the backslash is kept), commas before a closing bracket, True, False and None. */
#include "chat/literal.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum {
    AT_VALUE, /* a value, or the end of a list that is empty or ends in a comma */
    AT_KEY,   /* a key, or the end */
    AT_COLON,
    AT_AFTER, /* a comma or the end */
    IN_STRING,
    IN_ESCAPE,
    IN_HEX,
    IN_QUOTE, /* the beginning of Gemma's quote */
    IN_WORD
};

enum { MAX_WORD = 4096 };

void json_escape_byte(struct buf *out, char c)
{
    static const char *const named[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    uint8_t u = (uint8_t)c;
    if (u == '"' || u == '\\') {
        buf_addc(out, '\\');
        buf_addc(out, c);
    } else if (u < COUNT_OF(named) && named[u]) {
        buf_adds(out, named[u]);
    } else if (u < 0x20 || u == 0x7F) {
        buf_addf(out, "\\u%04x", u);
    } else {
        buf_addc(out, c);
    }
}

void literal_init(struct chat_literal *l, enum chat_syntax syntax, const char *quote, bool call,
                  struct buf *out)
{
    struct buf word = l->word;
    *l = (struct chat_literal){.syntax = syntax, .quote = quote ? quote : "", .word = word};
    buf_reset(&l->word);
    if (!call) return;
    l->open[l->depth++] = '(';
    l->state = AT_KEY;
    buf_addc(out, '{');
}

void literal_deinit(struct chat_literal *l)
{
    buf_deinit(&l->word);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static char container(const struct chat_literal *l)
{
    return l->depth ? l->open[l->depth - 1] : 0;
}

static enum literal_step after_value(struct chat_literal *l)
{
    l->state = AT_AFTER;
    return l->depth ? LITERAL_MORE : LITERAL_DONE;
}

/* A comma that was held back, now that something follows; blanks behind it stand in word. */
static void settle_comma(struct chat_literal *l, struct buf *out)
{
    if (!l->comma) return;
    l->comma = false;
    if (l->syntax == SYNTAX_JSON) {
        buf_addc(out, ',');
        if (l->word.n) buf_add(out, l->word.data, l->word.n);
        buf_reset(&l->word);
    } else {
        buf_adds(out, ", ");
    }
}

static enum literal_step open_container(struct chat_literal *l, char c, struct buf *out)
{
    if (l->depth == LITERAL_MAX_DEPTH) return LITERAL_BAD;
    l->open[l->depth++] = c;
    buf_addc(out, c == '{' ? '{' : '[');
    l->state = c == '{' ? AT_KEY : AT_VALUE;
    return LITERAL_MORE;
}

static enum literal_step close_container(struct chat_literal *l, char c, struct buf *out)
{
    static const char pairs[] = "{}[]()<>";
    char open = container(l);
    bool tuple = l->syntax == SYNTAX_PYTHON && open == '<'; /* a parenthesis inside of values */
    if (!open || strchr(pairs, open)[1] != (tuple ? '>' : c) || (tuple && c != ')')) return LITERAL_BAD;
    l->comma = false;
    buf_reset(&l->word);
    l->depth--;
    buf_addc(out, open == '{' || open == '(' ? '}' : ']');
    return after_value(l);
}

static void begin_string(struct chat_literal *l, char delim, bool key, struct buf *out)
{
    settle_comma(l, out);
    l->key = key;
    l->delim = delim;
    l->n_quote = 0;
    l->state = IN_STRING;
    buf_addc(out, '"');
}

static enum literal_step end_string(struct chat_literal *l, struct buf *out)
{
    buf_addc(out, '"');
    if (!l->key) return after_value(l);
    l->state = AT_COLON;
    return LITERAL_MORE;
}

static bool is_number(const char *s, size_t n)
{
    size_t i = 0, from;
    if (i < n && s[i] == '-') i++;
    if (i < n && s[i] == '0')
        i++;
    else if (i < n && s[i] >= '1' && s[i] <= '9')
        while (i < n && s[i] >= '0' && s[i] <= '9') i++;
    else
        return false;
    if (i < n && s[i] == '.') {
        for (from = ++i; i < n && s[i] >= '0' && s[i] <= '9'; i++) {}
        if (i == from) return false;
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        i++;
        if (i < n && (s[i] == '+' || s[i] == '-')) i++;
        for (from = i; i < n && s[i] >= '0' && s[i] <= '9'; i++) {}
        if (i == from) return false;
    }
    return i == n;
}

static void add_string(struct buf *out, const char *s, size_t n)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < n; i++) json_escape_byte(out, s[i]);
    buf_addc(out, '"');
}

/* A word that stands for a value. Gemma writes short strings without quotes at times. */
static bool add_word(struct chat_literal *l, struct buf *out)
{
    static const char *const word[][2] = {{"true", "true"}, {"false", "false"}, {"null", "null"},
                                          {"True", "true"}, {"False", "false"}, {"None", "null"}};
    const char *s = l->word.data;
    size_t n = l->word.n;
    while (n && is_space(s[n - 1])) n--;
    for (size_t i = 0; i < COUNT_OF(word); i++) {
        if (strlen(word[i][0]) != n || memcmp(word[i][0], s, n) != 0) continue;
        buf_adds(out, word[i][1]);
        return true;
    }
    if (is_number(s, n))
        buf_add(out, s, n);
    else if (l->syntax == SYNTAX_GEMMA)
        add_string(out, s, n);
    else
        return false;
    return true;
}

static bool in_word(const struct chat_literal *l, char c)
{
    if (l->syntax == SYNTAX_GEMMA) return !strchr(l->key ? ":,{}[]\n" : ",{}[]\n", c) && c;
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '-' || c == '+' || c == '.' || (uint8_t)c >= 0x80;
}

static enum literal_step begin_word(struct chat_literal *l, char c, bool key, struct buf *out)
{
    l->key = key;
    if (!in_word(l, c)) return LITERAL_BAD;
    settle_comma(l, out);
    buf_reset(&l->word);
    buf_addc(&l->word, c);
    l->state = IN_WORD;
    return LITERAL_MORE;
}

/* The word ended before c. */
static enum literal_step end_word(struct chat_literal *l, char c, struct buf *out)
{
    bool good = true;
    if (l->key) {
        size_t n = l->word.n;
        while (n && is_space(l->word.data[n - 1])) n--;
        add_string(out, l->word.data, n);
        l->state = AT_COLON;
    } else {
        good = add_word(l, out);
    }
    buf_reset(&l->word);
    if (!good) return LITERAL_BAD;
    if (!l->key && after_value(l) == LITERAL_DONE) return LITERAL_DONE_BEFORE;
    return literal_feed(l, c, out);
}

static enum literal_step at_value(struct chat_literal *l, char c, struct buf *out)
{
    bool python = l->syntax == SYNTAX_PYTHON;
    if (c == ']' || (python && c == ')' && container(l) == '<')) return close_container(l, c, out);
    if (c == '{' || c == '[' || (python && c == '(')) {
        settle_comma(l, out);
        return open_container(l, c == '(' ? '<' : c, out);
    }
    if (l->syntax == SYNTAX_GEMMA && c == l->quote[0]) {
        settle_comma(l, out);
        l->key = false;
        l->n_quote = 1;
        l->state = IN_QUOTE;
        return LITERAL_MORE;
    }
    if (c == '"' || (python && c == '\'')) {
        begin_string(l, c, false, out);
        return LITERAL_MORE;
    }
    return begin_word(l, c, false, out);
}

static enum literal_step at_key(struct chat_literal *l, char c, struct buf *out)
{
    bool bare = container(l) == '(' || l->syntax == SYNTAX_GEMMA;
    if (c == '}' || (c == ')' && container(l) == '(')) return close_container(l, c, out);
    if (l->syntax == SYNTAX_GEMMA && c == l->quote[0]) {
        settle_comma(l, out);
        l->key = true;
        l->n_quote = 1;
        l->state = IN_QUOTE;
        return LITERAL_MORE;
    }
    if (container(l) != '(' && (c == '"' || (c == '\'' && l->syntax == SYNTAX_PYTHON))) {
        begin_string(l, c, true, out);
        return LITERAL_MORE;
    }
    return bare ? begin_word(l, c, true, out) : LITERAL_BAD;
}

static enum literal_step at_colon(struct chat_literal *l, char c, struct buf *out)
{
    if (c != (container(l) == '(' ? '=' : ':')) return LITERAL_BAD;
    buf_adds(out, l->syntax == SYNTAX_JSON ? ":" : ": ");
    l->state = AT_VALUE;
    return LITERAL_MORE;
}

static enum literal_step at_after(struct chat_literal *l, char c, struct buf *out)
{
    if (c != ',') return close_container(l, c, out);
    l->comma = true;
    buf_reset(&l->word);
    l->state = container(l) == '{' || container(l) == '(' ? AT_KEY : AT_VALUE;
    return LITERAL_MORE;
}

static enum literal_step in_string(struct chat_literal *l, char c, struct buf *out)
{
    if (l->syntax == SYNTAX_GEMMA && l->delim == 0) { /* ends with quote; it cannot begin inside of itself */
        if (c == l->quote[l->n_quote]) {
            l->n_quote++;
            return l->quote[l->n_quote] ? LITERAL_MORE : end_string(l, out);
        }
        for (uint32_t i = 0; i < l->n_quote; i++) json_escape_byte(out, l->quote[i]);
        l->n_quote = c == l->quote[0];
        if (!l->n_quote) json_escape_byte(out, c);
        return LITERAL_MORE;
    }
    if (c == l->delim) return end_string(l, out);
    if (c == '\\')
        l->state = IN_ESCAPE;
    else
        json_escape_byte(out, c);
    return LITERAL_MORE;
}

static enum literal_step in_escape(struct chat_literal *l, char c, struct buf *out)
{
    l->state = IN_STRING;
    if (c == 'u' || (l->syntax == SYNTAX_PYTHON && (c == 'x' || c == 'U'))) {
        l->state = IN_HEX;
        l->hex = 0;
        l->n_hex = c == 'x' ? 2 : c == 'u' ? 4 : 8;
    } else if (l->syntax == SYNTAX_PYTHON && c == '\n') {
        /* a line that goes on */
    } else if (l->syntax == SYNTAX_PYTHON && c == '0') {
        buf_adds(out, "\\u0000");
    } else if ((c && strchr("\"\\bfnrt", c)) || (c == '/' && l->syntax == SYNTAX_JSON)) {
        buf_addc(out, '\\');
        buf_addc(out, c);
    } else {
        if (c != '\'') buf_adds(out, "\\\\");
        json_escape_byte(out, c);
    }
    return LITERAL_MORE;
}

static enum literal_step in_hex(struct chat_literal *l, char c, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    const char *d = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
    if (!d) return LITERAL_BAD;
    l->hex = l->hex << 4 | (uint32_t)(d - digits);
    if (--l->n_hex) return LITERAL_MORE;
    l->state = IN_STRING;
    if (l->hex > 0x10FFFF) return LITERAL_BAD;
    if (l->hex > 0xFFFF) {
        char text[4];
        buf_add(out, text, utf8_encode(text, l->hex));
    } else {
        buf_addf(out, "\\u%04x", l->hex);
    }
    return LITERAL_MORE;
}

static enum literal_step in_quote(struct chat_literal *l, char c, struct buf *out)
{
    if (c != l->quote[l->n_quote]) return LITERAL_BAD;
    if (!l->quote[++l->n_quote]) begin_string(l, 0, l->key, out);
    return LITERAL_MORE;
}

enum literal_step literal_feed(struct chat_literal *l, char c, struct buf *out)
{
    if (l->state <= AT_AFTER && is_space(c)) {
        if (l->syntax == SYNTAX_JSON) buf_addc(l->comma ? &l->word : out, c == '\v' || c == '\f' ? ' ' : c);
        return l->word.n > MAX_WORD ? LITERAL_BAD : LITERAL_MORE;
    }
    switch (l->state) {
    case AT_VALUE: return at_value(l, c, out);
    case AT_KEY: return at_key(l, c, out);
    case AT_COLON: return at_colon(l, c, out);
    case AT_AFTER: return at_after(l, c, out);
    case IN_STRING: return in_string(l, c, out);
    case IN_ESCAPE: return in_escape(l, c, out);
    case IN_HEX: return in_hex(l, c, out);
    case IN_QUOTE: return in_quote(l, c, out);
    default: break;
    }
    if (!in_word(l, c)) return end_word(l, c, out);
    if (l->word.n >= MAX_WORD) return LITERAL_BAD;
    buf_addc(&l->word, c);
    return LITERAL_MORE;
}
