#include "gateway/body.h"

#include <string.h>

enum { MAX_DEPTH = 2048 /* jansson's */ };

struct scan {
    const char *p, *end;
};

/* Of a text that may be absent: nothing may be added to a null pointer, not even zero. */
static struct scan scan_of(struct http_str text)
{
    return (struct scan){text.p, text.n ? text.p + text.n : text.p};
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) s->p++;
}

/* From the opening quote to behind the closing one. */
static bool skip_string(struct scan *s)
{
    for (s->p++; s->p < s->end; s->p++) {
        if (*s->p == '"') {
            s->p++;
            return true;
        }
        if (*s->p == '\\') s->p++;
    }
    s->p = s->end;
    return false;
}

/* Brackets must close as they opened; which kind each is, is a bit. */
static bool skip_nested(struct scan *s)
{
    unsigned char curly[MAX_DEPTH / 8];
    size_t depth = 0;
    while (s->p < s->end) {
        char c = *s->p;
        if (c == '"') {
            if (!skip_string(s)) return false;
            continue;
        }
        s->p++;
        if (c == '{' || c == '[') {
            if (depth == MAX_DEPTH) return false;
            unsigned char bit = (unsigned char)(1u << (depth % 8));
            curly[depth / 8] = (unsigned char)(c == '{' ? curly[depth / 8] | bit : curly[depth / 8] & ~bit);
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
            if ((curly[depth / 8] >> (depth % 8) & 1) != (c == '}')) return false;
            if (depth == 0) return true;
        }
    }
    return false;
}

static bool skip_value(struct scan *s)
{
    const char *from = s->p;
    if (s->p == s->end) return false;
    if (*s->p == '"') return skip_string(s);
    if (*s->p == '{' || *s->p == '[') return skip_nested(s);
    while (s->p < s->end && !strchr(" \t\r\n,]}", *s->p)) s->p++; /* a number or a literal */
    return s->p > from;
}

/* ---- strings ----------------------------------------------------------------------------------------- */

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i] | 0x20;
        int digit = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

static void add_utf8(struct buf *out, unsigned c)
{
    if (c < 0x80) {
        buf_addc(out, (char)c);
        return;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    buf_addc(out, (char)(lead[more] | c >> (6 * more)));
    while (more--) buf_addc(out, (char)(0x80 | (c >> (6 * more) & 0x3f)));
}

/* p: behind "\u". How many bytes it took; 0: it is no character. */
static size_t add_escaped(const char *p, const char *end, struct buf *out)
{
    int high = end - p >= 4 ? hex4(p) : -1;
    if (high <= 0 || (high >= 0xdc00 && high < 0xe000)) return 0;
    if (high < 0xd800 || high >= 0xe000) {
        add_utf8(out, (unsigned)high);
        return 4;
    }
    int low = end - p >= 10 && p[4] == '\\' && p[5] == 'u' ? hex4(p + 6) : -1;
    if (low < 0xdc00 || low >= 0xe000) return 0;
    add_utf8(out, 0x10000u + (((unsigned)high - 0xd800u) << 10) + ((unsigned)low - 0xdc00u));
    return 10;
}

bool body_string(struct http_str raw, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (!raw.p || raw.n < 2 || raw.p[0] != '"' || raw.p[raw.n - 1] != '"') return false;
    for (const char *p = raw.p + 1, *end = raw.p + raw.n - 1; p < end; p++) {
        if ((unsigned char)*p < 0x20) return false;
        if (*p != '\\') {
            buf_addc(out, *p);
            continue;
        }
        if (++p == end) return false;
        const char *known = *p ? strchr(from, *p) : NULL;
        if (known) {
            buf_addc(out, to[known - from]);
            continue;
        }
        size_t n = *p == 'u' ? add_escaped(p + 1, end, out) : 0;
        if (!n) return false;
        p += n;
    }
    return !out->failed;
}

bool body_is(struct http_str raw, const char *literal)
{
    return raw.p && raw.n == strlen(literal) && !memcmp(raw.p, literal, raw.n);
}

/* ---- the object -------------------------------------------------------------------------------------- */

static bool is_named(struct http_str raw, const char *name)
{
    size_t n = strlen(name);
    if (!memchr(raw.p, '\\', raw.n)) return raw.n == n + 2 && !memcmp(raw.p + 1, name, n);
    struct buf text = {0};
    bool same = body_string(raw, &text) && text.n == n && !memcmp(text.data, name, n);
    buf_deinit(&text);
    return same;
}

static bool scan_member(struct scan *s, struct body_member *m, size_t n)
{
    skip_space(s);
    struct http_str name = {s->p, 0};
    if (s->p == s->end || *s->p != '"' || !skip_string(s)) return false;
    name.n = (size_t)(s->p - name.p);
    skip_space(s);
    if (s->p == s->end || *s->p != ':') return false;
    s->p++;
    skip_space(s);
    const char *value = s->p;
    if (!skip_value(s)) return false;
    for (size_t i = 0; i < n; i++)
        if (is_named(name, m[i].name)) m[i].raw = (struct http_str){value, (size_t)(s->p - value)};
    skip_space(s);
    return true;
}

bool body_scan(struct http_str body, struct body_member *m, size_t n)
{
    struct scan s = scan_of(body);
    for (size_t i = 0; i < n; i++) m[i].raw = (struct http_str){0};
    skip_space(&s);
    if (s.p == s.end || *s.p++ != '{') return false;
    skip_space(&s);
    bool more = s.p < s.end && *s.p != '}';
    while (more) {
        if (!scan_member(&s, m, n)) return false;
        more = s.p < s.end && *s.p == ',';
        if (more) s.p++;
    }
    if (s.p == s.end || *s.p++ != '}') return false;
    skip_space(&s);
    return s.p == s.end;
}

struct http_str body_beginning(struct http_str raw, size_t max)
{
    struct scan s = scan_of(raw);
    if (raw.n && *raw.p == '[') {
        s.p++;
        skip_space(&s);
        const char *first = s.p;
        if (skip_value(&s)) raw = (struct http_str){first, (size_t)(s.p - first)};
    }
    raw.n = MIN(raw.n, max);
    return raw;
}

void body_with_model(struct http_str body, struct http_str model, const char *name, struct buf *out)
{
    const char *after = model.p ? model.p + model.n : NULL;
    if (model.p) {
        buf_add(out, body.p, (size_t)(model.p - body.p));
        buf_json_str(out, name, strlen(name));
    } else {
        const char *open = body.n ? memchr(body.p, '{', body.n) : NULL;
        if (!open) {
            buf_add(out, body.p, body.n);
            return;
        }
        after = open + 1;
        struct scan s = {after, body.p + body.n};
        skip_space(&s);
        buf_add(out, body.p, (size_t)(after - body.p));
        buf_adds(out, "\"model\":");
        buf_json_str(out, name, strlen(name));
        if (s.p < s.end && *s.p != '}') buf_addc(out, ',');
    }
    buf_add(out, after, (size_t)(body.p + body.n - after));
}
