/* A connection: bytes in, one exchange at a time, bytes out, deadlines.
 *
 * Reading is never switched off while a response is pending, or the client's going would not be seen;
 * instead what it may send ahead is capped. Deadlines are absolute, so that a byte now and then does not
 * prolong them. Every entry point (socket events, timer, wake-up) ends in conn_run, which is the only place
 * where a connection is freed. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "base/clock.h"
#include "http/http_int.h"

static size_t out_len(const struct http_conn *c)
{
    return evbuffer_get_length(bufferevent_get_output(c->bev));
}
static size_t in_len(const struct http_conn *c)
{
    return evbuffer_get_length(bufferevent_get_input(c->bev));
}

void conn_write(struct http_conn *c, const void *p, size_t n)
{
    if (evbuffer_add(bufferevent_get_output(c->bev), p, n) != 0) c->dead = true; /* out of memory */
    c->queued += n;
}

/* ---- deadlines --------------------------------------------------------------------------------------- */

static void set_phase(struct http_conn *c, enum conn_phase phase)
{
    const struct http_options *o = &c->loop->server->o;
    static const uint32_t none = 0, linger = LINGER_MS;
    const uint32_t *limit_ms[] = {[PH_NEW] = &o->head_timeout_ms,
                                  [PH_IDLE] = &o->idle_timeout_ms,
                                  [PH_HEAD] = &o->head_timeout_ms,
                                  [PH_BODY] = &o->body_timeout_ms,
                                  [PH_BUSY] = &none,
                                  [PH_LINGER] = &linger};
    if (phase == c->phase) return;
    if (phase == PH_HEAD && c->phase == PH_NEW) { /* the deadline runs from the connection's beginning */
        c->phase = phase;
        return;
    }
    c->phase = phase;
    uint32_t ms = *limit_ms[phase];
    c->read_deadline_us = ms ? clock_us() + (int64_t)ms * 1000 : 0;
}

/* What waits to be sent now must be sent within the write timeout. */
static void watch_output(struct http_conn *c)
{
    size_t out = out_len(c);
    if (out == 0) {
        c->write_deadline_us = 0;
    } else if (c->write_deadline_us == 0 || c->queued - out >= c->write_mark) {
        c->write_mark = c->queued;
        c->write_deadline_us = clock_us() + (int64_t)c->loop->server->o.write_timeout_ms * 1000;
    }
}

static void arm_timer(struct http_conn *c)
{
    int64_t at = c->read_deadline_us;
    if (c->write_deadline_us && (!at || c->write_deadline_us < at)) at = c->write_deadline_us;
    /* A timer that is too early does no harm: it looks and arms again. */
    if (at == 0 || (c->timer_at_us && c->timer_at_us <= at)) return;
    int64_t wait = MAX(at - clock_us(), 0);
    c->timer_at_us = at;
    event_add(c->timer, &(struct timeval){wait / 1000000, wait % 1000000});
}

/* The request is refused before its body was read. */
static void refuse_now(struct http_conn *c, int code, const char *why)
{
    struct http_exchange *x = c->x;
    x->head.keep_alive = false;
    http_reply_error(x, code, why);
    c->linger = true;
}

static void on_deadline(int fd, short what, void *arg)
{
    struct http_conn *c = arg;
    int64_t now = clock_us();
    c->timer_at_us = 0;
    watch_output(c);
    if (c->write_deadline_us && now >= c->write_deadline_us) {
        c->dead = true; /* the client does not read */
    } else if (c->read_deadline_us && now >= c->read_deadline_us) {
        bool asked = c->phase == PH_BODY || (c->phase == PH_HEAD && in_len(c) > 0);
        c->read_deadline_us = 0;
        if (!asked || c->closing)
            c->dead = true;
        else if (c->x)
            refuse_now(c, 408, "the request's body did not arrive in time");
        else
            exchange_refuse(c, 408, "the request did not arrive in time");
    }
    conn_run(c);
}

/* ---- reading ----------------------------------------------------------------------------------------- */

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
    set_phase(c, PH_HEAD);
    const char *p = (const char *)evbuffer_pullup(in, (ssize_t)n);
    enum h1_result r = p ? h1_parse_head(&h, p, n, &limits, &used, &fault) : H1_BAD;
    if (!p) fault = (struct h1_fault){503, "out of memory"};
    if (r == H1_INCOMPLETE) return false;
    if (r == H1_BAD) {
        exchange_refuse(c, fault.status, fault.why);
        return true;
    }
    struct http_exchange *x = c->x = exchange_new(c, &h, p, used);
    evbuffer_drain(in, used);
    if (x->head.framing == H1_NO_BODY) {
        set_phase(c, PH_BUSY);
        exchange_handle(x);
        return true;
    }
    set_phase(c, PH_BODY);
    if (x->head.framing == H1_LENGTH && x->head.length > x->max_body) {
        refuse_now(c, x->refusal ? x->refusal : 413,
                   x->refusal ? x->refusal_why : "the request's body is too large");
    } else if (x->head.expect_continue) {
        if (x->refusal)
            refuse_now(c, x->refusal, x->refusal_why);
        else if (evbuffer_get_length(in) == 0)
            conn_write(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
    return true;
}

static bool take_body(struct http_exchange *x, const char *p, size_t n)
{
    if (n > x->max_body - x->body_got) return false;
    x->body_got += n;
    if (x->route && x->route->body == HTTP_BODY_WHOLE) buf_add(&x->body, p, n);
    return !x->body.failed;
}

static bool read_body(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    struct evbuffer *in = bufferevent_get_input(c->bev);
    bool any = false, done = x->head.framing == H1_LENGTH && x->body_got == x->head.length;
    while (!done && evbuffer_get_length(in) > 0) {
        struct evbuffer_iovec v;
        struct h1_fault fault = {413, "the request's body is too large"};
        size_t used = 0;
        bool ok = true;
        if (evbuffer_peek(in, -1, NULL, &v, 1) < 1) return false;
        if (x->head.framing == H1_LENGTH) {
            used = (size_t)MIN((uint64_t)v.iov_len, x->head.length - x->body_got);
            ok = take_body(x, v.iov_base, used);
            done = x->body_got == x->head.length;
        } else {
            struct http_str data;
            enum h1_result r = h1_read_chunks(&x->chunks, v.iov_base, v.iov_len, &used, &data, &fault);
            ok = r != H1_BAD && take_body(x, data.p, data.n);
            done = r == H1_OK;
        }
        if (!ok) {
            refuse_now(c, fault.status, fault.why);
            return true;
        }
        evbuffer_drain(in, used);
        any = true;
    }
    if (!done) return any;
    set_phase(c, PH_BUSY);
    exchange_handle(x);
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
    c->x = NULL;
    exchange_end(x, x->complete);
    if (cut) {
        struct linger hard = {1, 0};
        setsockopt(bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        c->dead = true;
    } else if (keep) {
        set_phase(c, PH_IDLE);
    } else {
        c->closing = true;
    }
}

/* The answer is out: close, or first read on until the client has seen it and closed. */
static bool close_gently(struct http_conn *c)
{
    if (out_len(c) > 0) return false;
    if (!c->linger || c->eof) {
        c->dead = true;
    } else if (c->phase != PH_LINGER) {
        shutdown(bufferevent_getfd(c->bev), SHUT_WR);
        set_phase(c, PH_LINGER);
    }
    return false;
}

/* One thing that can be done now; false when there is none. */
static bool advance(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    if (c->closing && !x) {
        evbuffer_drain(bufferevent_get_input(c->bev), in_len(c));
        return close_gently(c);
    }
    if (!x) return out_len(c) < OUT_HIGH_BYTES && read_head(c);
    switch (x->state) {
    case X_BODY: return read_body(c);
    case X_HANDLED: return false;
    case X_STREAM:
        if (!x->pull_ready || out_len(c) >= OUT_HIGH_BYTES) return false;
        exchange_pull(x);
        return true;
    case X_DONE: finish_exchange(c); return true;
    }
    return false;
}

static void conn_free(struct http_conn *c)
{
    struct http_loop *l = c->loop;
    if (c->x) exchange_end(c->x, false);
    if (c->prev)
        c->prev->next = c->next;
    else
        l->conns = c->next;
    if (c->next) c->next->prev = c->prev;
    event_free(c->timer);
    bufferevent_free(c->bev);
    free(c);
    loop_conn_closed(l);
}

static void pause_reading(struct http_conn *c, bool pause)
{
    if (pause == c->paused || c->eof) return;
    c->paused = pause;
    if (pause)
        bufferevent_disable(c->bev, EV_READ);
    else
        bufferevent_enable(c->bev, EV_READ);
}

void conn_run(struct http_conn *c)
{
    if (c->running) return; /* whoever runs it further up looks again */
    c->running = true;
    while (!c->dead && advance(c)) {}
    c->running = false;

    if (!c->dead && in_len(c) > c->loop->server->o.max_pipelined_bytes) {
        if (c->x && c->x->state != X_BODY)
            c->dead = true; /* sends on and on while an answer is pending */
        else if (!c->x)
            pause_reading(c, true); /* only waits for its own reading */
    } else if (!c->dead && c->paused) {
        pause_reading(c, false);
    }
    if (c->dead) {
        conn_free(c);
        return;
    }
    watch_output(c);
    arm_timer(c);
}

void conn_kill(struct http_conn *c)
{
    c->dead = true;
    conn_run(c);
}

void conn_stop(struct http_conn *c)
{
    if (!c->x && in_len(c) == 0) c->closing = true;
    conn_run(c);
}

/* ---- socket events ----------------------------------------------------------------------------------- */

static void on_read(struct bufferevent *bev, void *arg)
{
    conn_run(arg);
}
static void on_write(struct bufferevent *bev, void *arg)
{
    conn_run(arg);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct http_conn *c = arg;
    if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING)) {
        c->eof = true;
        bool answering = c->x && c->x->state != X_BODY && c->loop->server->o.half_close_answers;
        if (answering)
            c->x->head.keep_alive = false;
        else if (c->x || c->phase == PH_LINGER)
            c->dead = true;
        else
            c->closing = true; /* what was answered goes out first */
    } else {
        c->dead = true;
    }
    conn_run(c);
}

void conn_accept(struct http_loop *l, int fd, const char *peer)
{
    struct http_conn *c = mem_zalloc(1, sizeof *c);
    int one = 1, low = 16 * 1024;
    /* Fails on Unix sockets, which do not need them. Without a low-water mark the kernel takes megabytes
     * before a slow reader is felt. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low, sizeof low);

    c->loop = l;
    c->bev = bufferevent_socket_new(l->base, fd, BEV_OPT_CLOSE_ON_FREE);
    c->timer = event_new(l->base, -1, 0, on_deadline, c);
    if (!c->bev || !c->timer) {
        if (c->bev)
            bufferevent_free(c->bev);
        else
            close(fd);
        if (c->timer) event_free(c->timer);
        free(c);
        return;
    }
    snprintf(c->peer, sizeof c->peer, "%s", peer);
    c->phase = PH_BUSY;
    set_phase(c, PH_NEW);
    c->next = l->conns;
    if (l->conns) l->conns->prev = c;
    l->conns = c;
    atomic_fetch_add(&l->n_conn, 1);
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    bufferevent_setwatermark(c->bev, EV_WRITE, OUT_LOW_BYTES, 0);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    conn_run(c);
}
