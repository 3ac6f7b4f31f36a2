/* HTTP/1.1 on a connection: one exchange at a time, in order; keep-alive, pipelining, chunks. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "base/clock.h"
#include "http/http_int.h"

enum {
    RENEW_BYTES = 64 * 1024, /* of a streamed body, for which its deadline begins anew */
    PEEK_BYTES = 512
};

/* ---- writing ----------------------------------------------------------------------------------------- */

static void start_line(struct buf *b, struct http_loop *l, int code, bool close)
{
    buf_addf(b, "HTTP/1.1 %d %s\r\nServer: corral\r\nDate: %s\r\n", code, http_reason(code), loop_date(l));
    if (close) buf_adds(b, "Connection: close\r\n");
}

/* Everything up to the empty line. */
static void h1_head(struct http_exchange *x, int code, const char *type, int64_t length)
{
    struct http_conn *c = x->conn;
    struct buf *b = &c->loop->scratch;
    bool stream = length < 0;

    if (atomic_load(&c->loop->server->draining)) x->head.keep_alive = false;
    x->chunked = stream && x->head.minor == 1 && !x->tunnel;
    if (stream && !x->chunked && !x->tunnel)
        x->head.keep_alive = false; /* HTTP/1.0: the end of the connection ends the body */

    buf_reset(b);
    start_line(b, c->loop, code, !x->head.keep_alive && !x->tunnel);
    if (x->tunnel) x->head.keep_alive = false; /* nothing can come after it */
    if (x->head.keep_alive && x->head.minor == 0) buf_adds(b, "Connection: keep-alive\r\n");
    if (type) buf_addf(b, "Content-Type: %s\r\n", type);
    if (x->chunked) buf_adds(b, "Transfer-Encoding: chunked\r\n");
    if (!stream && code != 204 && code != 304) buf_addf(b, "Content-Length: %lld\r\n", (long long)length);
    buf_addf(b, "X-Request-Id: %s\r\n", x->id);
    if (x->fields.data) buf_add(b, x->fields.data, x->fields.n);
    buf_adds(b, "\r\n");
    conn_write(c, b->data, b->n);
}

static void h1_body(struct http_exchange *x, struct buf *b)
{
    if (!x->chunked) {
        conn_write(x->conn, b->data, b->n);
        return;
    }
    char size[24];
    int n = snprintf(size, sizeof size, "%zx\r\n", b->n);
    conn_write(x->conn, size, (size_t)n);
    buf_add(b, "\r\n", 2);
    conn_write(x->conn, b->data, b->n);
}

static void h1_end(struct http_exchange *x)
{
    if (x->chunked && !x->head_only) conn_write(x->conn, "0\r\n\r\n", 5);
}

/* The target of a request line that could not be understood, or not yet; "" when there is none. */
static void peek_target(struct http_conn *c, char out[PEEK_BYTES])
{
    ev_ssize_t got = evbuffer_copyout(bufferevent_get_input(c->bev), out, PEEK_BYTES - 1);
    out[MAX(got, 0)] = 0;
    out[strcspn(out, "\r\n")] = 0;
    const char *target = strchr(out, ' ');
    size_t n = target ? strcspn(++target, " ") : 0;
    if (n) memmove(out, target, n);
    out[n] = 0;
}

/* An answer to what could not be understood; the connection closes after it. */
static void refuse_unread(struct http_conn *c, int code, const char *why)
{
    struct buf body = {0}, b = {0};
    char target[PEEK_BYTES];
    peek_target(c, target);
    const char *type = exchange_error_body(c->loop->server, target, code, why, &body);
    start_line(&b, c->loop, code, true);
    buf_addf(&b, "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, body.n);
    if (body.data) buf_add(&b, body.data, body.n);
    conn_write(c, b.data, b.n);
    exchange_log_refusal(c, code, body.n);
    buf_deinit(&b);
    buf_deinit(&body);
    c->closing = c->linger = true;
}

/* The request is refused before its body was read. */
static void refuse_now(struct http_conn *c, int code, const char *why)
{
    struct http_exchange *x = c->x;
    x->head.keep_alive = false;
    x->body_open = false;
    http_reply_error(x, code, why);
    c->linger = true;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

/* HTTP/2 with prior knowledge (RFC 9113, 3.3): its first bytes are no request of ours. */
static enum h1_result h2_preface(const char *p, size_t n)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    size_t all = sizeof preface - 1;
    if (memcmp(p, preface, MIN(n, all)) != 0) return H1_BAD;
    return n < all ? H1_INCOMPLETE : H1_OK;
}

/* Returns whether anything happened. */
static bool read_head(struct http_conn *c)
{
    struct http_server *s = c->loop->server;
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct h1_limits limits = {s->o.max_head_bytes, s->o.max_target_bytes};
    struct h1_head h = {.field = c->loop->field, .max_field = HTTP_MAX_FIELDS};
    struct h1_fault fault;
    size_t n = MIN(evbuffer_get_length(in), s->o.max_head_bytes + 4), used;

    if (n == 0) return false;
    conn_phase(c, PH_HEAD);
    const char *p = (const char *)evbuffer_pullup(in, (ssize_t)n);
    enum h1_result is_h2 = p && c->fresh ? h2_preface(p, n) : H1_BAD;
    if (is_h2 == H1_INCOMPLETE) return false;
    if (is_h2 == H1_OK) {
        h2_begin(c);
        return true;
    }
    enum h1_result r = p ? h1_parse_head(&h, p, n, &limits, &used, &fault) : H1_BAD;
    if (!p) fault = (struct h1_fault){503, "out of memory"};
    if (r == H1_INCOMPLETE) return false;
    if (r == H1_BAD) {
        refuse_unread(c, fault.status, fault.why);
        return true;
    }
    c->fresh = false;
    struct http_exchange *x = c->x = exchange_new(c, &h, p, used);
    evbuffer_drain(in, used);
    if (x->head.framing == H1_NO_BODY) {
        conn_phase(c, PH_BUSY);
        exchange_body_done(x);
        return true;
    }
    conn_phase(c, PH_BODY);
    if (x->head.framing == H1_LENGTH && x->head.length > x->max_body) {
        refuse_now(c, x->refusal ? x->refusal : 413,
                   x->refusal ? x->refusal_why : "the request's body is too large");
    } else if (x->head.expect_continue) {
        if (x->refusal)
            refuse_now(c, x->refusal, x->refusal_why);
        else if (evbuffer_get_length(in) == 0)
            conn_write(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
    if (x->state == X_BODY) exchange_head_done(x);
    return true;
}

static bool read_body(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    struct evbuffer *in = bufferevent_get_input(c->bev);
    uint64_t before = x->body_got;
    bool any = false, done = x->head.framing == H1_LENGTH && x->body_got == x->head.length;
    while (!done && !x->body_paused && exchange_wants_body(x) && evbuffer_get_length(in) > 0) {
        struct evbuffer_iovec v;
        struct h1_fault fault = {413, "the request's body is too large"};
        size_t used = 0;
        bool ok = true;
        if (evbuffer_peek(in, -1, NULL, &v, 1) < 1) return false;
        if (x->head.framing == H1_LENGTH) {
            used = (size_t)MIN((uint64_t)v.iov_len, x->head.length - x->body_got);
            ok = exchange_take_body(x, v.iov_base, used);
            done = x->body_got == x->head.length;
        } else {
            struct http_str data;
            enum h1_result r = h1_read_chunks(&x->chunks, v.iov_base, v.iov_len, &used, &data, &fault);
            ok = r != H1_BAD && exchange_take_body(x, data.p, data.n);
            done = r == H1_OK;
        }
        if (!ok) {
            if (x->state <= X_HANDLED)
                refuse_now(c, fault.status, fault.why);
            else
                c->dead = true; /* the answer has begun */
            return true;
        }
        evbuffer_drain(in, used);
        any = true;
    }
    if (!done && any && x->body_open && x->body_got / RENEW_BYTES != before / RENEW_BYTES) {
        conn_phase(c, PH_BUSY); /* it comes fast enough: a new deadline */
        conn_phase(c, PH_BODY);
    }
    if (!done || x->state == X_DONE) return any;
    conn_phase(c, PH_BUSY);
    exchange_body_done(x);
    return true;
}

/* ---- the state machine ------------------------------------------------------------------------------- */

static void finish_exchange(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    /* Also when the head promised to keep it and draining began afterwards. */
    bool keep = x->head.keep_alive && x->complete && !atomic_load(&c->loop->server->draining);
    /* A body cut short must not look whole: no orderly end, but a reset. */
    bool cut = x->status && !x->complete;
    if (x->body_open) keep = false, c->linger = true; /* it answered without reading all */
    if (x->tunnel) c->linger = true;                  /* so that its goodbye arrives */
    c->x = NULL;
    exchange_end(x, x->complete);
    if (cut) {
        struct linger hard = {1, 0};
        setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        c->dead = true;
    } else if (keep) {
        conn_phase(c, PH_IDLE);
    } else {
        c->closing = true;
    }
}

/* What the client sends after the switch of protocols. */
static bool feed(struct http_conn *c)
{
    struct evbuffer *in = bufferevent_get_input(c->bev);
    struct evbuffer_iovec v;
    if (conn_out_len(c) >= OUT_HIGH_BYTES || !c->x->tunnel->room(c->x)) return false;
    if (evbuffer_peek(in, -1, NULL, &v, 1) < 1 || v.iov_len == 0) return false;
    c->x->tunnel->input(c->x, v.iov_base, v.iov_len);
    evbuffer_drain(in, v.iov_len);
    return true;
}

static bool h1_advance(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    if (!x && c->closing) return conn_close_gently(c);
    if (!x) return conn_out_len(c) < OUT_HIGH_BYTES && read_head(c);
    if (x->body_open && x->state != X_DONE && read_body(c)) return true;
    switch (x->state) {
    case X_BODY: return read_body(c);
    case X_HANDLED: return false;
    case X_STREAM:
        if (x->tunnel && feed(c)) return true;
        if (!x->pull_ready || conn_out_len(c) >= OUT_HIGH_BYTES) return false;
        exchange_pull(x);
        return true;
    case X_DONE: finish_exchange(c); return true;
    }
    return false;
}

static void h1_deadline(struct http_conn *c)
{
    bool asked = c->phase == PH_BODY || (c->phase == PH_HEAD && conn_in_len(c) > 0);
    if (!asked)
        c->dead = true;
    else if (c->x && c->x->state > X_HANDLED)
        c->dead = true;
    else if (c->x)
        refuse_now(c, 408, "the request's body did not arrive in time");
    else
        refuse_unread(c, 408, "the request did not arrive in time");
}

static void h1_eof(struct http_conn *c)
{
    bool answering = c->x && !exchange_wants_body(c->x) && c->loop->server->o.half_close_answers;
    if (answering)
        c->x->head.keep_alive = false;
    else if (c->x || c->phase == PH_LINGER)
        c->dead = true;
    else
        c->closing = true; /* what was answered goes out first */
}

/* While the handler waits, so does the deadline. */
static void h1_pause(struct http_exchange *x)
{
    if (x->body_open) conn_phase(x->conn, x->body_paused ? PH_BUSY : PH_BODY);
}

/* A connection that never asked anything was made a moment ago, most likely, and its request is on the way:
 * an orderly end waits for that a little. One that has been answered may be closed at any time (RFC
 * 9112, 9.3.1). */
static void h1_stop(struct http_conn *c)
{
    enum { FIRST_REQUEST_US = 250 * 1000 };
    if (!c->x && conn_in_len(c) == 0 && c->fresh)
        conn_deadline(c, clock_us() + FIRST_REQUEST_US);
    else if (!c->x && conn_in_len(c) == 0)
        c->closing = true;
    if (c->x && c->x->tunnel) c->x->tunnel->stop(c->x);
}

static void h1_free(struct http_conn *c)
{
    if (c->x) exchange_end(c->x, false);
}

const struct proto proto_h1 = {.name = "HTTP/1.1",
                               .advance = h1_advance,
                               .deadline = h1_deadline,
                               .eof = h1_eof,
                               .stop = h1_stop,
                               .free = h1_free,
                               .head = h1_head,
                               .body = h1_body,
                               .end = h1_end,
                               .pause = h1_pause};
