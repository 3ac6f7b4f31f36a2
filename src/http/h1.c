#include "http/h1.h"

#include <string.h>
#include <strings.h>

enum { MAX_METHOD = 32, MAX_CHUNK_EXTRA = 16 * 1024, MAX_CHUNK_DIGITS = 15 };

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}
static bool is_alpha(unsigned char c)
{
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}
static bool is_vchar(unsigned char c)
{
    return c > 0x20 && c < 0x7f;
}
static bool is_tchar(unsigned char c)
{
    return is_alpha(c) || is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}
static bool is_text(unsigned char c)
{
    return c == ' ' || c == '\t' || is_vchar(c) || c >= 0x80;
}

bool h1_is_token(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_tchar((unsigned char)p[i])) return false;
    return n > 0;
}

bool h1_is_field_value(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_text((unsigned char)p[i])) return false;
    return true;
}

bool h1_str_is(struct http_str s, const char *lower)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 'A' && c <= 'Z') c |= 32;
        if (!lower[i] || c != (unsigned char)lower[i]) return false;
    }
    return lower[s.n] == 0;
}

const struct http_str *h1_find(const struct h1_head *h, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < h->n_field; i++)
        if (h->field[i].name.n == n && !strncasecmp(h->field[i].name.p, name, n)) return &h->field[i].value;
    return NULL;
}

static enum h1_result bad(struct h1_fault *f, int code, const char *why)
{
    *f = (struct h1_fault){code, why};
    return H1_BAD;
}

/* The line that starts at p: *len without its CRLF. Only text may stand before the CRLF, so that a bare CR,
 * a bare LF or a NUL is refused as soon as it is seen. */
static enum h1_result take_line(const char *p, size_t n, size_t *len, struct h1_fault *f)
{
    size_t i = 0;
    while (i < n && is_text((unsigned char)p[i])) i++;
    if (i == n || (p[i] == '\r' && i + 1 == n)) return H1_INCOMPLETE;
    if (p[i] == '\r' && p[i + 1] == '\n') {
        *len = i;
        return H1_OK;
    }
    if (p[i] == '\r') return bad(f, 400, "a carriage return without a line feed");
    if (p[i] == '\n') return bad(f, 400, "a line that ends without a carriage return");
    return bad(f, 400, "a control character in the head");
}

/* origin-form, absolute-form (RFC 9112, 3.2.2: a server must accept it) or the asterisk of OPTIONS. */
static enum h1_result parse_target(struct h1_head *h, struct http_str t, struct h1_fault *f)
{
    for (size_t i = 0; i < t.n; i++)
        if (!is_vchar((unsigned char)t.p[i]) || t.p[i] == '#')
            return bad(f, 400, "an illegal character in the target");
    if (t.n == 1 && t.p[0] == '*' && h1_str_is(h->method, "options")) {
        h->path = t;
        h->query = (struct http_str){t.p + t.n, 0};
        return H1_OK;
    }
    size_t at = 0;
    if (t.n && t.p[0] != '/') {
        size_t scheme = t.n > 7 && h1_str_is((struct http_str){t.p, 7}, "http://")    ? 7
                        : t.n > 8 && h1_str_is((struct http_str){t.p, 8}, "https://") ? 8
                                                                                      : 0;
        if (!scheme) return bad(f, 400, "the target is neither a path nor an http URL");
        for (at = scheme; at < t.n && t.p[at] != '/' && t.p[at] != '?';) at++;
        if (at == scheme || at == t.n || t.p[at] != '/')
            return bad(f, 400, "the target's URL has no host or no path");
    }
    struct http_str rest = {t.p + at, t.n - at};
    const char *q = rest.n ? memchr(rest.p, '?', rest.n) : NULL;
    size_t path = q ? (size_t)(q - rest.p) : rest.n;
    h->path = (struct http_str){rest.p, path};
    h->query = q ? (struct http_str){q + 1, rest.n - path - 1} : (struct http_str){rest.p + rest.n, 0};
    return H1_OK;
}

/* method SP target SP version, single spaces. */
static enum h1_result parse_request_line(struct h1_head *h, const char *p, size_t n,
                                         const struct h1_limits *l, struct h1_fault *f)
{
    const char *sp = memchr(p, ' ', n);
    if (!sp) return bad(f, 400, "a request line without a target");
    h->method = (struct http_str){p, (size_t)(sp - p)};
    if (!h1_is_token(h->method.p, h->method.n) || h->method.n > MAX_METHOD)
        return bad(f, 400, "a malformed method");

    const char *t = sp + 1;
    size_t left = n - h->method.n - 1;
    sp = memchr(t, ' ', left);
    if (!sp || sp == t) return bad(f, 400, "a request line without a target or a version");
    struct http_str target = {t, (size_t)(sp - t)};
    if (target.n > l->max_target) return bad(f, 414, "the request target is too long");

    const char *v = sp + 1;
    size_t nv = left - target.n - 1;
    if (nv != 8 || memcmp(v, "HTTP/", 5) || !is_digit((unsigned char)v[5]) || v[6] != '.' ||
        !is_digit((unsigned char)v[7]))
        return bad(f, 400, "a malformed HTTP version");
    if (v[5] != '1' || v[7] > '1') return bad(f, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    h->minor = (uint8_t)(v[7] - '0');
    return parse_target(h, target, f);
}

static enum h1_result parse_field(struct http_field *out, const char *p, size_t n, struct h1_fault *f)
{
    if (p[0] == ' ' || p[0] == '\t') return bad(f, 400, "a folded header line");
    const char *colon = memchr(p, ':', n);
    if (!colon) return bad(f, 400, "a header line without a colon");
    out->name = (struct http_str){p, (size_t)(colon - p)};
    if (!h1_is_token(out->name.p, out->name.n)) return bad(f, 400, "a malformed header name");
    const char *v = colon + 1, *end = p + n;
    while (v < end && (*v == ' ' || *v == '\t')) v++;
    while (end > v && (end[-1] == ' ' || end[-1] == '\t')) end--;
    out->value = (struct http_str){v, (size_t)(end - v)};
    return H1_OK;
}

static bool host_ok(struct http_str h)
{
    for (size_t i = 0; i < h.n; i++) {
        unsigned char c = (unsigned char)h.p[i];
        if (!is_alpha(c) && !is_digit(c) && !strchr("-._~!$&'()*+,;=%:[]", c)) return false;
    }
    return h.n > 0;
}

/* 1*DIGIT; false when it does not fit 63 bits. */
static bool parse_length(struct http_str s, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (!is_digit(c) || v > (INT64_MAX - 9) / 10) return false;
        v = v * 10 + (c - '0');
    }
    *out = v;
    return s.n > 0;
}

bool h1_list_has(struct http_str s, const char *lower)
{
    size_t i = 0;
    while (i < s.n) {
        while (i < s.n && (s.p[i] == ' ' || s.p[i] == '\t' || s.p[i] == ',')) i++;
        size_t from = i;
        while (i < s.n && s.p[i] != ',') i++;
        size_t to = i;
        while (to > from && (s.p[to - 1] == ' ' || s.p[to - 1] == '\t')) to--;
        if (to > from && h1_str_is((struct http_str){s.p + from, to - from}, lower)) return true;
    }
    return false;
}

/* What the fields say about the message itself (RFC 9112, 3.2, 6 and 9.3; RFC 9110, 10.1.1). */
static enum h1_result interpret(struct h1_head *h, struct h1_fault *f)
{
    size_t n_host = 0, n_length = 0, n_te = 0;
    bool close = false, keep = false;
    for (size_t i = 0; i < h->n_field; i++) {
        struct http_str name = h->field[i].name, v = h->field[i].value;
        if (h1_str_is(name, "host")) {
            n_host++;
            if (!host_ok(v)) return bad(f, 400, "a malformed Host");
        } else if (h1_str_is(name, "content-length")) {
            n_length++;
            if (!parse_length(v, &h->length)) return bad(f, 400, "a malformed Content-Length");
        } else if (h1_str_is(name, "transfer-encoding")) {
            n_te++;
            if (!h1_str_is(v, "chunked")) return bad(f, 400, "a Transfer-Encoding other than chunked");
        } else if (h1_str_is(name, "connection")) {
            close = close || h1_list_has(v, "close");
            keep = keep || h1_list_has(v, "keep-alive");
        } else if (h1_str_is(name, "expect")) {
            if (!h1_str_is(v, "100-continue")) return bad(f, 417, "an expectation other than 100-continue");
            h->expect_continue = h->minor == 1;
        }
    }
    if (n_host > 1) return bad(f, 400, "more than one Host");
    if (n_host == 0 && h->minor == 1) return bad(f, 400, "no Host");
    if (n_length > 1) return bad(f, 400, "more than one Content-Length");
    if (n_te > 1) return bad(f, 400, "more than one Transfer-Encoding");
    if (n_te && n_length) return bad(f, 400, "both Content-Length and Transfer-Encoding");
    if (n_te && h->minor == 0) return bad(f, 400, "Transfer-Encoding in HTTP/1.0");
    h->framing = n_te ? H1_CHUNKED : n_length && h->length ? H1_LENGTH : H1_NO_BODY;
    h->keep_alive = h->minor == 1 ? !close : keep && !close;
    return H1_OK;
}

enum h1_result h1_parse_head(struct h1_head *h, const char *p, size_t n, const struct h1_limits *l,
                             size_t *used, struct h1_fault *f)
{
    enum { LINE_SLACK = MAX_METHOD + 10 }; /* method, two spaces, version */
    size_t at = 0, len = 0;
    enum h1_result r;

    *h = (struct h1_head){.field = h->field, .max_field = h->max_field};
    /* One empty line before the request is ignored (RFC 9112, 2.2). */
    if (n >= 2 && p[0] == '\r' && p[1] == '\n') at = 2;

    r = take_line(p + at, n - at, &len, f);
    if (r != H1_OK) {
        if (r == H1_INCOMPLETE && n - at > l->max_target + LINE_SLACK)
            return bad(f, 414, "the request target is too long");
        return r;
    }
    r = parse_request_line(h, p + at, len, l, f);
    if (r != H1_OK) return r;
    at += len + 2;

    for (;;) {
        r = at > l->max_head ? H1_INCOMPLETE : take_line(p + at, n - at, &len, f);
        if (r == H1_BAD) return r;
        if (at > l->max_head || (r == H1_INCOMPLETE ? n : at + len + 2) > l->max_head)
            return bad(f, 431, "the header fields are too large");
        if (r == H1_INCOMPLETE) return r;
        if (len == 0) break;
        if (h->n_field == h->max_field) return bad(f, 431, "too many header fields");
        r = parse_field(&h->field[h->n_field], p + at, len, f);
        if (r != H1_OK) return r;
        h->n_field++;
        at += len + 2;
    }
    *used = at + 2;
    return interpret(h, f);
}

/* ---- chunked bodies (RFC 9112, 7.1) ------------------------------------------------------------------ */

enum {
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    DONE
};

static int hex_value(unsigned char c)
{
    if (is_digit(c)) return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of what stands around the data. */
static enum h1_result step(struct h1_chunks *d, unsigned char c, struct h1_fault *f)
{
    int v;
    switch (d->state) {
    case SIZE:
        if ((v = hex_value(c)) >= 0) {
            if (++d->n_digit > MAX_CHUNK_DIGITS) return bad(f, 400, "a chunk size that is too large");
            d->left = d->left * 16 + (unsigned)v;
        } else if (d->n_digit && (c == '\r' || c == ';')) {
            d->state = c == '\r' ? SIZE_LF : EXTENSION;
        } else {
            return bad(f, 400, "a malformed chunk size");
        }
        break;
    case EXTENSION: /* ignored, as 7.1.1 asks */
        if (c == '\r')
            d->state = SIZE_LF;
        else if (!is_text(c))
            return bad(f, 400, "a control character in a chunk extension");
        else
            d->extra++;
        break;
    case SIZE_LF:
        if (c != '\n') return bad(f, 400, "a chunk size line that does not end in CRLF");
        d->state = d->left ? DATA : TRAILER_START;
        break;
    case DATA_CR:
        if (c != '\r') return bad(f, 400, "a chunk that is longer than its size");
        d->state = DATA_LF;
        break;
    case DATA_LF:
        if (c != '\n') return bad(f, 400, "a chunk that does not end in CRLF");
        d->state = SIZE;
        d->n_digit = 0;
        break;
    case TRAILER_START:
        if (c == '\r')
            d->state = LAST_LF;
        else if (is_tchar(c))
            d->state = TRAILER_NAME, d->extra++;
        else
            return bad(f, 400, "a malformed trailer");
        break;
    case TRAILER_NAME:
        if (c == ':')
            d->state = TRAILER_VALUE;
        else if (!is_tchar(c))
            return bad(f, 400, "a malformed trailer");
        d->extra++;
        break;
    case TRAILER_VALUE:
        if (c == '\r')
            d->state = TRAILER_LF;
        else if (!is_text(c))
            return bad(f, 400, "a control character in a trailer");
        d->extra++;
        break;
    case TRAILER_LF:
        if (c != '\n') return bad(f, 400, "a trailer that does not end in CRLF");
        d->state = TRAILER_START;
        break;
    case LAST_LF:
        if (c != '\n') return bad(f, 400, "a chunked body that does not end in CRLF");
        d->state = DONE;
        break;
    }
    if (d->extra > MAX_CHUNK_EXTRA) return bad(f, 400, "chunk extensions or trailers are too large");
    return d->state == DONE ? H1_OK : H1_INCOMPLETE;
}

enum h1_result h1_read_chunks(struct h1_chunks *d, const char *p, size_t n, size_t *used,
                              struct http_str *data, struct h1_fault *f)
{
    *used = 0;
    *data = (struct http_str){p, 0};
    while (*used < n && d->state != DONE) {
        if (d->state == DATA) {
            size_t take = n - *used < d->left ? n - *used : (size_t)d->left;
            *data = (struct http_str){p + *used, take};
            *used += take;
            d->left -= take;
            if (d->left == 0) d->state = DATA_CR;
            return H1_INCOMPLETE;
        }
        if (step(d, (unsigned char)p[(*used)++], f) == H1_BAD) return H1_BAD;
    }
    return d->state == DONE ? H1_OK : H1_INCOMPLETE;
}
