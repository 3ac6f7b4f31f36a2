/* HTTP/1.1 messages from bytes, as RFC 9112 writes them and with nothing forgiven: where the RFC lets a
 * recipient repair a message, this one refuses it, because two servers in a chain that repair differently
 * are how requests are smuggled.
 *
 * Pure functions over the caller's bytes and storage: no allocation, no state but what is passed. */
#ifndef CORRAL_HTTP_H1_H
#define CORRAL_HTTP_H1_H

#include "http/http.h"

struct http_field { struct http_str name, value; };

enum h1_framing { H1_NO_BODY, H1_LENGTH, H1_CHUNKED };
enum h1_result { H1_BAD = -1, H1_INCOMPLETE = 0, H1_OK = 1 };

struct h1_fault { int status; const char *why; }; /* what to answer */

struct h1_limits { size_t max_head, max_target; }; /* bytes */

struct h1_head { /* every view points into the parsed bytes */
    struct http_str    method, path, query;
    struct http_field *field; /* the caller's: set it and max_field */
    size_t             n_field, max_field;
    enum h1_framing    framing;
    uint64_t           length; /* H1_LENGTH */
    uint8_t            minor;  /* HTTP/1.minor: 0 or 1 */
    bool               keep_alive, expect_continue;
};

/* The head of a request at p[0..n). H1_OK: *used bytes belong to it. H1_INCOMPLETE: nothing wrong so far,
 * call again with more. H1_BAD: f says what to answer, and the connection cannot go on. */
enum h1_result h1_parse_head(struct h1_head *h, const char *p, size_t n, const struct h1_limits *l,
                             size_t *used, struct h1_fault *f);
bool h1_list_has(struct http_str s, const char *lower); /* does a comma-separated list hold this word? */
const struct http_str *h1_find(const struct h1_head *h, const char *name); /* first field of that
                                                                            * name or NULL */

struct h1_chunks { /* zeroed is ready */
    uint8_t  state, n_digit;
    uint64_t left;
    uint32_t extra; /* bytes of extensions and trailers so far */
};
/* Take bytes of a chunked body: *used of them, of which *data (maybe empty) is content. H1_INCOMPLETE: call
 * again with the rest or with more. H1_OK: the body is at its end. */
enum h1_result h1_read_chunks(struct h1_chunks *d, const char *p, size_t n, size_t *used,
                              struct http_str *data, struct h1_fault *f);

bool h1_is_token(const char *p, size_t n);       /* RFC 9110, 5.6.2 */
bool h1_is_field_value(const char *p, size_t n); /* visible, space, tab, 0x80-0xff */
bool h1_str_is(struct http_str s, const char *lower); /* ignoring case */

#endif
