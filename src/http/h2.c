/* HTTP/2 on a connection (RFC 9113), framed by nghttp2: many exchanges at once, flow control both ways.
 *
 * The head of a request is written out as HTTP/1.1 and read by that parser, so that there is one notion of
 * what is valid. The body of a response waits in its stream until the client's windows take it; a stream
 * whose buffer is full is not asked for more. nghttp2 is entered from h2_advance only; its callbacks may
 * submit frames but neither receive nor send, and never free the session. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <nghttp2/nghttp2.h>

#include "base/clock.h"
#include "http/http_int.h"

enum {
    RENEW_BYTES = 64 * 1024, /* of a streamed body, for which its deadline begins anew */
    STREAM_HIGH = 16 * 1024, /* of a response, waiting for windows */
    WINDOW_STREAM = 256 * 1024,
    WINDOW_CONNECTION = 1 << 20,
    MAX_RESPONSE_FIELDS = 40,
    /* Streams that a client opens and resets at once: a burst, then so many a second (CVE-2023-44487). */
    RESET_BURST = 200,
    RESET_RATE = 20,
    /* Frames that ask for nothing (PING, SETTINGS, WINDOW_UPDATE, empty DATA): a burst, then so many a second
     * and one for each frame of data that was sent. */
    NOISE_BURST = 2000,
    NOISE_RATE = 200
};

struct stream {
    struct stream *prev, *next;
    int32_t id;
    struct http_exchange *x; /* NULL: before its head is complete, and when that was refused */
    char *method, *path, *authority, *protocol;
    struct buf fields; /* of the request, as HTTP/1.1 writes them */
    bool too_large, head_done;
    bool request_done; /* the client's END_STREAM */
    bool reset;
    struct buf out; /* of the response's body, from out_at */
    size_t out_at;
    bool out_end; /* nothing follows out */
    int64_t deadline_us;
    size_t held; /* bytes of the request's body whose window was not given back yet */
};

struct h2 {
    struct http_conn *conn;
    nghttp2_session *session;
    struct stream *streams;
    int64_t idle_since_us, noise_at_us;
    int noise;
    bool stopping, failed;
};

static int64_t after(const uint32_t ms)
{
    return clock_us() + (int64_t)ms * 1000;
}

static const struct http_options *options(const struct h2 *h)
{
    return &h->conn->loop->server->o;
}

static size_t waiting(const struct stream *st)
{
    return st->out.n - st->out_at;
}

/* ---- streams ----------------------------------------------------------------------------------------- */

static struct stream *stream_new(struct h2 *h, int32_t id)
{
    struct stream *st = mem_zalloc(1, sizeof *st);
    st->id = id;
    buf_init(&st->fields, options(h)->max_head_bytes);
    st->deadline_us = after(options(h)->head_timeout_ms);
    st->next = h->streams;
    if (h->streams) h->streams->prev = st;
    h->streams = st;
    return st;
}

static void stream_free_head(struct stream *st)
{
    free(st->method);
    free(st->path);
    free(st->authority);
    free(st->protocol);
    st->method = st->path = st->authority = st->protocol = NULL;
    buf_deinit(&st->fields);
}

static void stream_free(struct h2 *h, struct stream *st, bool complete)
{
    if (st->x) exchange_end(st->x, complete && st->x->complete);
    if (st->prev)
        st->prev->next = st->next;
    else
        h->streams = st->next;
    if (st->next) st->next->prev = st->prev;
    stream_free_head(st);
    buf_deinit(&st->out);
    free(st);
    if (!h->streams) h->idle_since_us = clock_us();
}

static void stream_reset(struct h2 *h, struct stream *st, uint32_t code)
{
    if (st->reset) return;
    st->reset = true;
    nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, st->id, code);
}

/* ---- writing ----------------------------------------------------------------------------------------- */

static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct stream *st = source->ptr;
    struct h2 *h = user;
    n = MIN(n, waiting(st));
    if (n == 0 && !st->out_end) return NGHTTP2_ERR_DEFERRED;
    if (n) memcpy(to, st->out.data + st->out_at, n);
    st->out_at += n;
    if (waiting(st) == 0) {
        st->out_at = 0;
        if (st->out.cap > 4 * STREAM_HIGH)
            buf_deinit(&st->out);
        else
            buf_reset(&st->out);
        if (st->out_end) *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    st->deadline_us = waiting(st) ? after(options(h)->write_timeout_ms) : 0;
    h->noise = MIN(h->noise + 1, NOISE_BURST);
    return (ssize_t)n;
}

static void add_nv(nghttp2_nv *nv, size_t *n, const char *name, size_t n_name, const char *value,
                   size_t n_value)
{
    if (*n == MAX_RESPONSE_FIELDS) return;
    nv[(*n)++] = (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, n_name, n_value, NGHTTP2_NV_FLAG_NONE};
}
#define ADD(name, value) add_nv(nv, &n, name, sizeof(name) - 1, value, strlen(value))

/* The fields a handler set, "Name: value\r\n" each, which HTTP/2 wants in small letters. */
static void add_fields(nghttp2_nv *nv, size_t *n, char *text)
{
    char *end;
    for (; text && (end = strstr(text, "\r\n")); text = end + 2) {
        char *colon = strchr(text, ':');
        for (char *c = text; c < colon; c++)
            if (*c >= 'A' && *c <= 'Z') *c |= 32;
        add_nv(nv, n, text, (size_t)(colon - text), colon + 2, (size_t)(end - colon - 2));
    }
}

static void submit_response(struct h2 *h, struct stream *st, int code, const char *type, int64_t length,
                            bool no_body, const char *id, struct buf *fields)
{
    nghttp2_nv nv[MAX_RESPONSE_FIELDS];
    nghttp2_data_provider body = {.source.ptr = st, .read_callback = read_body};
    char code_text[8], size[24];
    size_t n = 0;
    snprintf(code_text, sizeof code_text, "%d", code);
    snprintf(size, sizeof size, "%lld", (long long)length);
    ADD(":status", code_text);
    ADD("server", "corral");
    ADD("date", loop_date(h->conn->loop));
    if (type) ADD("content-type", type);
    if (length >= 0 && code != 204 && code != 304) ADD("content-length", size);
    if (id) ADD("x-request-id", id);
    if (fields) add_fields(nv, &n, fields->data);
    if (nghttp2_submit_response(h->session, st->id, nv, n, no_body ? NULL : &body) != 0)
        stream_reset(h, st, NGHTTP2_INTERNAL_ERROR);
    st->deadline_us = 0;
}

static void h2_head(struct http_exchange *x, int code, const char *type, int64_t length)
{
    struct stream *st = x->stream;
    submit_response(x->conn->state, st, code, type, length, x->head_only || length == 0, x->id, &x->fields);
}

static void add_body(struct h2 *h, struct stream *st, const char *p, size_t n)
{
    if (st->out.n == 0) st->deadline_us = after(options(h)->write_timeout_ms);
    if (st->out_at) {
        buf_drop(&st->out, st->out_at);
        st->out_at = 0;
    }
    buf_add(&st->out, p, n);
    nghttp2_session_resume_data(h->session, st->id); /* fails when it was not waiting */
}

static void h2_body(struct http_exchange *x, struct buf *b)
{
    add_body(x->conn->state, x->stream, b->data, b->n);
}

static void h2_end(struct http_exchange *x)
{
    struct h2 *h = x->conn->state;
    struct stream *st = x->stream;
    st->out_end = true;
    nghttp2_session_resume_data(h->session, st->id);
}

/* What was asked could not be understood. */
static void refuse_unread(struct h2 *h, struct stream *st, int code, const char *why)
{
    struct buf body = {0};
    const char *type = exchange_error_body(h->conn->loop->server, st->path ? st->path : "", code, why, &body);
    bool head_only = st->method && !strcmp(st->method, "HEAD");
    st->out_end = true;
    submit_response(h, st, code, type, (int64_t)body.n, head_only, NULL, NULL);
    if (!head_only) add_body(h, st, body.data, body.n);
    exchange_log_refusal(h->conn, code, body.n);
    buf_deinit(&body);
}

/* ---- reading ----------------------------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
    struct h2 *h = user;
    if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(s, f->hd.stream_id, stream_new(h, f->hd.stream_id));
    return 0;
}

static bool is(const uint8_t *name, size_t n, const char *word)
{
    return n == strlen(word) && !memcmp(name, word, n);
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t n_name,
                     const uint8_t *value, size_t n_value, uint8_t flags, void *user)
{
    struct stream *st = nghttp2_session_get_stream_user_data(s, f->hd.stream_id);
    struct h2 *h = user;
    if (!st || st->head_done) return 0; /* trailers say nothing here */
    if (n_name + n_value > options(h)->max_head_bytes - MIN(st->fields.n, options(h)->max_head_bytes))
        st->too_large = true;
    if (st->too_large) return 0;
    char **pseudo = is(name, n_name, ":method")      ? &st->method
                    : is(name, n_name, ":path")      ? &st->path
                    : is(name, n_name, ":authority") ? &st->authority
                    : is(name, n_name, ":protocol")  ? &st->protocol
                                                     : NULL;
    if (pseudo) {
        free(*pseudo);
        *pseudo = mem_strndup((const char *)value, n_value);
    } else if (name[0] != ':') {
        if (is(name, n_name, "host") && st->authority) return 0; /* nghttp2 has seen that they agree */
        buf_add(&st->fields, name, n_name);
        buf_adds(&st->fields, ": ");
        buf_add(&st->fields, value, n_value);
        buf_adds(&st->fields, "\r\n");
    }
    return 0;
}

/* A WebSocket over a stream (RFC 8441): CONNECT here, a GET there. */
static bool is_extended_connect(const struct stream *st)
{
    return st->protocol && st->method && !strcmp(st->method, "CONNECT") &&
           !strcmp(st->protocol, "websocket") && !st->request_done;
}

/* The head as HTTP/1.1 has it. */
static void write_head(const struct stream *st, struct buf *out)
{
    buf_addf(out, "%s %s HTTP/1.1\r\n",
             is_extended_connect(st) ? "GET"
             : st->method            ? st->method
                                     : "",
             st->path ? st->path : "");
    if (st->authority) buf_addf(out, "Host: %s\r\n", st->authority);
    if (st->fields.data) buf_add(out, st->fields.data, st->fields.n);
    buf_adds(out, "\r\n");
}

static void refuse_exchange(struct stream *st, int code, const char *why)
{
    http_reply_error(st->x, code, why);
}

static void begin_exchange(struct h2 *h, struct stream *st)
{
    struct http_conn *c = h->conn;
    const struct http_options *o = options(h);
    struct h1_limits limits = {o->max_head_bytes + 64,
                               o->max_target_bytes}; /* the same head is longer there */
    struct h1_head head = {.field = c->loop->field, .max_field = HTTP_MAX_FIELDS};
    struct h1_fault fault = {431, "the request's head is too large"};
    struct buf text = {0};
    size_t used;

    st->head_done = true;
    write_head(st, &text);
    if (st->too_large || st->fields.failed ||
        h1_parse_head(&head, text.data, text.n, &limits, &used, &fault) != H1_OK || used != text.n) {
        refuse_unread(h, st, fault.status, fault.why);
        buf_deinit(&text);
        return;
    }
    struct http_exchange *x = st->x = exchange_new(c, &head, text.data, text.n);
    x->stream = st;
    x->extended_connect = is_extended_connect(st);
    buf_deinit(&text);
    stream_free_head(st);
    if (x->extended_connect || st->request_done || x->refusal) {
        st->deadline_us = 0;
        exchange_body_done(x);
    } else if (x->head.framing == H1_LENGTH && x->head.length > x->max_body) {
        refuse_exchange(st, 413, "the request's body is too large");
    } else {
        st->deadline_us = after(o->body_timeout_ms);
        if (x->head.expect_continue) {
            nghttp2_nv go_on = {(uint8_t *)":status", (uint8_t *)"100", 7, 3, NGHTTP2_NV_FLAG_NONE};
            nghttp2_submit_headers(h->session, NGHTTP2_FLAG_NONE, st->id, NULL, &go_on, 1, NULL);
        }
        exchange_head_done(x);
    }
}

static void take_body(struct h2 *h, struct stream *st, const char *p, size_t n)
{
    struct http_exchange *x = st->x;
    uint64_t before = x->body_got;
    if (!exchange_take_body(x, p, n)) {
        if (x->state <= X_HANDLED)
            refuse_exchange(st, 413, "the request's body is too large");
        else
            stream_reset(h, st, NGHTTP2_INTERNAL_ERROR); /* the answer has begun */
    } else if (x->body_open && x->state <= X_HANDLED && x->body_got / RENEW_BYTES != before / RENEW_BYTES) {
        st->deadline_us = after(options(h)->body_timeout_ms);
    }
}

static void h2_pause(struct http_exchange *x)
{
    struct h2 *h = x->conn->state;
    struct stream *st = x->stream;
    if (x->body_open && x->state <= X_HANDLED)
        st->deadline_us = x->body_paused ? 0 : after(options(h)->body_timeout_ms);
    if (x->body_paused || !st->held) return;
    nghttp2_session_consume_stream(h->session, st->id, st->held);
    st->held = 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *user)
{
    struct stream *st = nghttp2_session_get_stream_user_data(s, id);
    struct http_exchange *x = st ? st->x : NULL;
    struct h2 *h = user;
    nghttp2_session_consume_connection(s, n); /* a stream that waits does not stop the others */
    if (x && x->tunnel && x->state == X_STREAM && x->tunnel->room(x))
        x->tunnel->input(x, (const char *)p, n);
    else if (x && x->tunnel)
        stream_reset(h, st, NGHTTP2_ENHANCE_YOUR_CALM); /* asks for answers that it does not take */
    else if (x && exchange_wants_body(x))
        take_body(h, st, (const char *)p, n);
    if (x && x->body_paused && x->state != X_DONE)
        st->held += n;
    else
        nghttp2_session_consume_stream(s, id, n);
    return 0;
}

/* False: more noise than any client needs. */
static bool bear_noise(struct h2 *h)
{
    int64_t now = clock_us(), more = (now - h->noise_at_us) * NOISE_RATE / 1000000;
    if (more > 0) {
        h->noise = (int)MIN((int64_t)NOISE_BURST, h->noise + more);
        h->noise_at_us = now;
    }
    return --h->noise >= 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
    struct h2 *h = user;
    struct stream *st = f->hd.stream_id ? nghttp2_session_get_stream_user_data(s, f->hd.stream_id) : NULL;
    bool useful = f->hd.type == NGHTTP2_HEADERS || (f->hd.type == NGHTTP2_DATA && f->hd.length > 0);
    if (!useful && !bear_noise(h)) nghttp2_session_terminate_session(s, NGHTTP2_ENHANCE_YOUR_CALM);
    if (!st || (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA)) return 0;
    if (f->hd.flags & NGHTTP2_FLAG_END_STREAM) st->request_done = true;
    if (f->hd.type == NGHTTP2_HEADERS && !st->head_done)
        begin_exchange(h, st);
    else if (st->request_done && st->x && exchange_wants_body(st->x)) {
        st->deadline_us = 0;
        exchange_body_done(st->x);
    } else if (st->request_done && st->x && st->x->tunnel) {
        stream_reset(h, st, NGHTTP2_CANCEL); /* it just went */
    }
    return 0;
}

/* An answer that did not wait for the request's end: the client need not send the rest. */
static int on_frame_sent(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
    struct stream *st = f->hd.stream_id ? nghttp2_session_get_stream_user_data(s, f->hd.stream_id) : NULL;
    bool last = (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) &&
                (f->hd.flags & NGHTTP2_FLAG_END_STREAM);
    if (st && last && !st->request_done) stream_reset(user, st, NGHTTP2_NO_ERROR);
    return 0;
}

static int on_stream_close(nghttp2_session *s, int32_t id, uint32_t code, void *user)
{
    struct stream *st = nghttp2_session_get_stream_user_data(s, id);
    if (st) stream_free(user, st, code == NGHTTP2_NO_ERROR && st->out_end && waiting(st) == 0);
    return 0;
}

/* ---- the connection ---------------------------------------------------------------------------------- */

static void receive(struct h2 *h)
{
    struct evbuffer *in = bufferevent_get_input(h->conn->bev);
    struct evbuffer_iovec v;
    while (!h->failed && conn_out_len(h->conn) < 2 * OUT_HIGH_BYTES &&
           evbuffer_peek(in, -1, NULL, &v, 1) > 0 && v.iov_len) {
        ssize_t n = nghttp2_session_mem_recv(h->session, v.iov_base, v.iov_len);
        h->failed = n < 0; /* no HTTP/2, or a flood; a GOAWAY may be waiting */
        evbuffer_drain(in, n < 0 ? v.iov_len : (size_t)n);
        if (n == 0) break;
    }
}

static bool pull(struct h2 *h)
{
    bool any = false;
    for (struct stream *st = h->streams; st; st = st->next) {
        struct http_exchange *x = st->x;
        while (x && x->state == X_STREAM && x->pull_ready && !st->reset && waiting(st) < STREAM_HIGH) {
            exchange_pull(x);
            any = true;
        }
        if (x && x->state == X_DONE && !x->complete) stream_reset(h, st, NGHTTP2_INTERNAL_ERROR);
    }
    return any;
}

static bool transmit(struct h2 *h)
{
    bool any = false;
    while (conn_out_len(h->conn) < OUT_HIGH_BYTES) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n < 0) h->failed = true;
        if (n <= 0) break;
        conn_write(h->conn, p, (size_t)n);
        any = true;
    }
    return any;
}

static void choose_deadline(struct h2 *h)
{
    int64_t at = h->streams ? 0 : h->idle_since_us + (int64_t)options(h)->idle_timeout_ms * 1000;
    for (const struct stream *st = h->streams; st; st = st->next)
        if (st->deadline_us && (!at || st->deadline_us < at)) at = st->deadline_us;
    conn_deadline(h->conn, at);
}

static bool h2_advance(struct http_conn *c)
{
    struct h2 *h = c->state;
    if (c->closing) return conn_close_gently(c);
    receive(h);
    bool any = pull(h);
    any = transmit(h) || any;
    if (any) return true;
    if (h->failed || (h->stopping && !h->streams) ||
        (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))) {
        c->closing = c->linger = true;
        while (h->streams) stream_free(h, h->streams, false);
        return true;
    }
    choose_deadline(h);
    return false;
}

static void h2_deadline(struct http_conn *c)
{
    struct h2 *h = c->state;
    int64_t now = clock_us();
    if (!h->streams) nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR);
    for (struct stream *st = h->streams; st; st = st->next) {
        if (!st->deadline_us || now < st->deadline_us) continue;
        st->deadline_us = 0;
        if (!st->head_done) /* in the middle of a header block nothing else can be said */
            nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
        else if (st->x && st->x->state <= X_HANDLED && exchange_wants_body(st->x))
            refuse_exchange(st, 408, "the request's body did not arrive in time");
        else
            stream_reset(h, st, NGHTTP2_CANCEL); /* the client's windows stay closed */
    }
}

static void h2_eof(struct http_conn *c)
{
    c->dead = true;
}

static void h2_stop(struct http_conn *c)
{
    struct h2 *h = c->state;
    h->stopping = true;
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->session),
                          NGHTTP2_NO_ERROR, NULL, 0);
    for (struct stream *st = h->streams; st; st = st->next)
        if (st->x && st->x->tunnel && st->x->state == X_STREAM) st->x->tunnel->stop(st->x);
}

static void h2_free(struct http_conn *c)
{
    struct h2 *h = c->state;
    while (h->streams) stream_free(h, h->streams, false);
    nghttp2_session_del(h->session);
    free(h);
}

static const struct proto proto_h2 = {.name = "HTTP/2",
                                      .advance = h2_advance,
                                      .deadline = h2_deadline,
                                      .eof = h2_eof,
                                      .stop = h2_stop,
                                      .free = h2_free,
                                      .head = h2_head,
                                      .body = h2_body,
                                      .end = h2_end,
                                      .pause = h2_pause};

static nghttp2_session *session_new(struct h2 *h)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *opt;
    nghttp2_session *s = NULL;
    if (nghttp2_session_callbacks_new(&cb) != 0) return NULL;
    if (nghttp2_option_new(&opt) != 0) {
        nghttp2_session_callbacks_del(cb);
        return NULL;
    }
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_option_set_stream_reset_rate_limit(opt, RESET_BURST, RESET_RATE);
    nghttp2_option_set_no_closed_streams(opt, 1);
    nghttp2_option_set_no_auto_window_update(opt, 1);
    if (nghttp2_session_server_new2(&s, cb, h, opt) != 0) s = NULL;
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    return s;
}

void h2_begin(struct http_conn *c)
{
    struct h2 *h = mem_zalloc(1, sizeof *h);
    h->conn = c;
    h->session = session_new(h);
    if (!h->session) {
        free(h);
        c->dead = true;
        return;
    }
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options(h)->max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_STREAM},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)options(h)->max_head_bytes},
    };
    h->noise = NOISE_BURST;
    h->noise_at_us = h->idle_since_us = clock_us();
    c->state = h;
    c->proto = &proto_h2;
    conn_phase(c, PH_BUSY);
    if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, COUNT_OF(settings)) != 0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, WINDOW_CONNECTION) != 0)
        c->dead = true;
}
