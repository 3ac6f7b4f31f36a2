/* A connection, whatever it speaks: its socket, its deadlines, its end.
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
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "base/clock.h"
#include "http/http_int.h"
#include "http/tls.h"

enum { MAX_TURNS = 8 }; /* of producing and sending, before other connections have theirs */

size_t conn_out_len(const struct http_conn *c)
{
    return evbuffer_get_length(bufferevent_get_output(c->bev));
}
size_t conn_in_len(const struct http_conn *c)
{
    return evbuffer_get_length(bufferevent_get_input(c->bev));
}

void conn_write(struct http_conn *c, const void *p, size_t n)
{
    if (evbuffer_add(bufferevent_get_output(c->bev), p, n) != 0) c->dead = true; /* out of memory */
    c->queued += n;
}

/* ---- deadlines --------------------------------------------------------------------------------------- */

void conn_deadline(struct http_conn *c, int64_t at_us)
{
    c->read_deadline_us = at_us;
}

void conn_phase(struct http_conn *c, enum conn_phase phase)
{
    const struct http_options *o = &c->loop->server->o;
    static const uint32_t none = 0, linger = LINGER_MS;
    const uint32_t *limit_ms[] = {[PH_SHAKE] = &o->handshake_timeout_ms,
                                  [PH_NEW] = &o->head_timeout_ms,
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
    size_t out = conn_out_len(c);
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

static void on_deadline(int fd, short what, void *arg)
{
    struct http_conn *c = arg;
    int64_t now = clock_us();
    c->timer_at_us = 0;
    watch_output(c);
    if (c->write_deadline_us && now >= c->write_deadline_us) {
        c->dead = true; /* the client does not read */
    } else if (c->read_deadline_us && now >= c->read_deadline_us) {
        c->read_deadline_us = 0;
        if (c->closing)
            c->dead = true;
        else
            c->proto->deadline(c);
    }
    conn_run(c);
}

/* ---- running ----------------------------------------------------------------------------------------- */

/* The answer is out: close, or first read on until the client has seen it and closed. */
bool conn_close_gently(struct http_conn *c)
{
    evbuffer_drain(bufferevent_get_input(c->bev), conn_in_len(c));
    if (conn_out_len(c) > 0) return false;
    if (c->tls && c->phase != PH_LINGER) tls_say_goodbye(c->tls);
    if (!c->linger || c->eof) {
        c->dead = true;
    } else if (c->phase != PH_LINGER) {
        shutdown(bufferevent_getfd(c->bev), SHUT_WR);
        conn_phase(c, PH_LINGER);
    }
    return false;
}

static void conn_free(struct http_conn *c)
{
    struct http_loop *l = c->loop;
    struct peer who = c->from.who;
    c->proto->free(c);
    if (c->prev)
        c->prev->next = c->next;
    else
        l->conns = c->next;
    if (c->next) c->next->prev = c->prev;
    event_free(c->timer);
    bufferevent_free(c->bev);
    free(c);
    loop_conn_closed(l, &who);
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

/* Write to the socket at once instead of asking the loop whether one may: three system calls less for each
 * answer. What does not fit is left to the bufferevent. Returns whether something left and nothing is in the
 * way of more. TLS is written by its bufferevent alone. */
static bool flush(struct http_conn *c)
{
    struct evbuffer *out = bufferevent_get_output(c->bev);
    size_t n = evbuffer_get_length(out);
    if (c->tls || c->dead) return false;
    if (n > 0) {
        evbuffer_unfreeze(out, 1); /* bufferevents keep others from taking bytes off their buffers */
        int wrote = evbuffer_write(out, bufferevent_getfd(c->bev));
        int why = errno;
        evbuffer_freeze(out, 1);
        if (wrote < 0 && why != EAGAIN && why != EINTR) c->dead = true; /* the client has gone */
    }
    bool rest = evbuffer_get_length(out) > 0;
    if (rest != c->write_waits) {
        c->write_waits = rest;
        if (rest)
            bufferevent_enable(c->bev, EV_WRITE);
        else
            bufferevent_disable(c->bev, EV_WRITE);
    }
    return n > 0 && !rest && !c->dead;
}

void conn_run(struct http_conn *c)
{
    if (c->running) return; /* whoever runs it further up looks again */
    c->running = true;
    bool more = true;
    for (int turn = 0; more; turn++) {
        while (!c->dead && c->proto->advance(c)) {}
        more = flush(c);
        if (more && turn == MAX_TURNS) { /* others have a right to the loop */
            c->write_waits = true;
            bufferevent_enable(c->bev, EV_WRITE);
            bufferevent_trigger(c->bev, EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
            more = false;
        }
    }
    c->running = false;

    if (!c->dead && conn_in_len(c) > c->loop->server->o.max_pipelined_bytes) {
        if (c->x && !exchange_wants_body(c->x) && !c->x->tunnel)
            c->dead = true; /* sends on and on while an answer is pending */
        else if (c->x && (c->x->tunnel || c->x->body_paused))
            pause_reading(c, true); /* it does not read; its write deadline runs */
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
    c->proto->stop(c);
    conn_run(c);
}

/* ---- before the handshake is done --------------------------------------------------------------------- */

static bool shake_advance(struct http_conn *c)
{
    return false;
}
static void shake_end(struct http_conn *c)
{
    c->dead = true;
}
static void shake_free(struct http_conn *c) {}

const struct proto proto_tls = {.name = "TLS",
                                .advance = shake_advance,
                                .deadline = shake_end,
                                .eof = shake_end,
                                .stop = shake_end,
                                .free = shake_free};

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
    if (what & BEV_EVENT_CONNECTED) { /* the handshake is done */
        c->proto = &proto_h1;
        conn_phase(c, PH_NEW);
        if (tls_chose_h2(c->tls)) h2_begin(c);
    } else if ((what & BEV_EVENT_EOF) && (what & BEV_EVENT_READING)) {
        c->eof = true;
        c->proto->eof(c);
    } else {
        c->dead = true;
    }
    conn_run(c);
}

void conn_accept(struct http_loop *l, int fd, const struct origin *from)
{
    struct http_conn *c = mem_zalloc(1, sizeof *c);
    int one = 1, low = 16 * 1024;
    /* Fails on Unix sockets, which do not need them. Without a low-water mark the kernel takes megabytes
     * before a slow reader is felt. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low, sizeof low);

    struct tls *tls = l->server->tls;
    c->loop = l;
    c->fresh = true;
    c->proto = tls ? &proto_tls : &proto_h1;
    c->bev = tls ? tls_bufferevent(tls, l->base, fd, &c->tls)
                 : bufferevent_socket_new(l->base, fd, BEV_OPT_CLOSE_ON_FREE);
    c->timer = event_new(l->base, -1, 0, on_deadline, c);
    if (!c->bev || !c->timer) {
        if (c->bev)
            bufferevent_free(c->bev);
        else
            close(fd);
        if (c->timer) event_free(c->timer);
        free(c);
        peers_leave(l->server->peers, &from->who);
        return;
    }
    c->from = *from;
    c->phase = PH_BUSY;
    conn_phase(c, tls ? PH_SHAKE : PH_NEW);
    c->next = l->conns;
    if (l->conns) l->conns->prev = c;
    l->conns = c;
    atomic_fetch_add(&l->server->n_conn, 1);
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    bufferevent_setwatermark(c->bev, EV_WRITE, OUT_LOW_BYTES, 0);
    if (!tls) bufferevent_disable(c->bev, EV_WRITE); /* see flush */
    bufferevent_enable(c->bev, tls ? EV_READ | EV_WRITE : EV_READ);
    conn_run(c);
}
