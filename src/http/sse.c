/* Streams as text: text/event-stream (WHATWG HTML, "Server-sent events"), and a JSON value per line (NDJSON).
 */
#include <string.h>

#include "http/http.h"

static void add_lines(struct buf *out, const char *field, const char *s, size_t n)
{
    size_t at = 0;
    for (;;) {
        size_t end = at;
        while (end < n && s[end] != '\n' && s[end] != '\r') end++;
        buf_adds(out, field);
        buf_add(out, s + at, end - at);
        buf_addc(out, '\n');
        if (end == n) return;
        at = end + (s[end] == '\r' && end + 1 < n && s[end + 1] == '\n' ? 2 : 1);
    }
}

void http_sse_event(struct buf *out, const char *event, const char *data, size_t n)
{
    if (event) add_lines(out, "event: ", event, strlen(event));
    add_lines(out, "data: ", data, n);
    buf_addc(out, '\n');
}

void http_sse_comment(struct buf *out, const char *text)
{
    add_lines(out, ": ", text, strlen(text));
    buf_addc(out, '\n');
}

void http_sse_id(struct buf *out, const char *id)
{
    buf_addf(out, "id: %.*s\n", (int)strcspn(id, "\r\n"), id);
}

void http_ndjson(struct buf *out, const char *json, size_t n)
{
    size_t at = out->n;
    buf_add(out, json, n);
    for (; at < out->n; at++) /* in a string they are written otherwise */
        if (out->data[at] == '\n' || out->data[at] == '\r') out->data[at] = ' ';
    buf_addc(out, '\n');
}
