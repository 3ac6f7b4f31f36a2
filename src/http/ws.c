/* WebSocket (RFC 6455), over HTTP/1.1 and, as RFC 8441 has it, over a stream of HTTP/2; framed by wslay.
 *
 * The exchange that asked for it lives on as a tunnel: what the client sends is fed to ws_input, what is to
 * be sent is pulled. Nothing is sent or called from inside wslay's parser but the message callback. */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <wslay/wslay.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "http/http_int.h"

enum {
    PULL_BYTES = 16 * 1024,
    QUEUED_HIGH = 64 * 1024, /* stop reading what asks for answers (pings) when so much waits to be sent */
    CLOSE_WAIT_MS = 3000
};

struct http_ws {
    struct http_exchange *x;
    const struct http_ws_ops *ops;
    void *user;
    wslay_event_context_ptr ctx;
    const char *in; /* being fed */
    size_t n_in;
    struct buf *out; /* while pulled */
    bool asked_room, heard, pinged, failed;
    int code;                            /* the client's */
    int64_t message_at_us, closed_at_us; /* when an unfinished message began; when we said goodbye */
};

/* ---- wslay ------------------------------------------------------------------------------------------- */

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *to, size_t n, int flags, void *user)
{
    struct http_ws *w = user;
    n = MIN(n, w->n_in);
    if (n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    memcpy(to, w->in, n);
    w->in += n;
    w->n_in -= n;
    if (!w->message_at_us) w->message_at_us = clock_us();
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *from, size_t n, int flags, void *user)
{
    struct http_ws *w = user;
    if (w->out->n >= PULL_BYTES) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    buf_add(w->out, from, n);
    return (ssize_t)n;
}

static void on_message(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *m, void *user)
{
    struct http_ws *w = user;
    w->message_at_us = 0;
    if (m->opcode == WSLAY_CONNECTION_CLOSE)
        w->code = m->status_code ? m->status_code : 1005;
    else if (!wslay_is_ctrl_frame(m->opcode) && w->ops->message && !wslay_event_get_close_sent(ctx) &&
             !w->closed_at_us)
        w->ops->message(w, w->user, m->opcode == WSLAY_TEXT_FRAME, (const char *)m->msg, m->msg_length);
}

/* ---- the tunnel -------------------------------------------------------------------------------------- */

static bool ws_room(struct http_exchange *x)
{
    struct http_ws *w = x->user;
    return wslay_event_get_queued_msg_length(w->ctx) < QUEUED_HIGH;
}

static void ws_input(struct http_exchange *x, const char *p, size_t n)
{
    struct http_ws *w = x->user;
    w->in = p;
    w->n_in = n;
    w->heard = true;
    if (wslay_event_get_read_enabled(w->ctx) && wslay_event_recv(w->ctx) != 0) w->failed = true;
    w->n_in = 0; /* after a close or an error the rest means nothing */
    x->pull_ready = true;
}

static void ws_stop(struct http_exchange *x)
{
    struct http_ws *w = x->user;
    if (w->ops->drain)
        w->ops->drain(w, w->user);
    else
        http_ws_close(w, 1001, "the server is shutting down");
}

static const struct tunnel tunnel = {.room = ws_room, .input = ws_input, .stop = ws_stop};

/* ---- the responder ----------------------------------------------------------------------------------- */

static void on_wake(struct http_exchange *x, void *user)
{
    struct http_ws *w = user;
    if (w->ops->wake) w->ops->wake(w, w->user);
}

static enum http_pull on_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct http_ws *w = user;
    if (w->asked_room && http_ws_pending(w) == 0 && w->ops->room) {
        w->asked_room = false;
        w->ops->room(w, w->user);
    }
    w->out = out;
    if (wslay_event_send(w->ctx) != 0) w->failed = true;
    w->out = NULL;
    if (wslay_event_want_write(w->ctx) && !w->failed) return HTTP_MORE;
    bool over = w->failed || (wslay_event_get_close_sent(w->ctx) && (wslay_event_get_close_received(w->ctx) ||
                                                                     !wslay_event_get_read_enabled(w->ctx)));
    return over ? HTTP_DONE : w->asked_room && w->ops->room ? HTTP_MORE : HTTP_WAIT;
}

static uint32_t tick_ms(const struct http_options *o)
{
    return MAX(MIN(o->ws_ping_ms, o->body_timeout_ms) / 2, 50u);
}

static void on_timer(struct http_exchange *x, void *user)
{
    struct http_ws *w = user;
    const struct http_options *o = &x->conn->loop->server->o;
    int64_t now = clock_us();
    http_set_timer(x, tick_ms(o));
    if (w->closed_at_us && now - w->closed_at_us > (int64_t)CLOSE_WAIT_MS * 1000) {
        w->failed = true; /* the client does not say goodbye */
    } else if (w->message_at_us && now - w->message_at_us > (int64_t)o->body_timeout_ms * 1000) {
        http_ws_close(w, 1008, "a message did not arrive in time");
        wslay_event_shutdown_read(w->ctx);
    } else if (w->heard) {
        w->heard = w->pinged = false;
    } else if (w->pinged) {
        w->failed = true; /* silent for more than a ping's time */
    } else {
        struct wslay_event_msg ping = {WSLAY_PING, NULL, 0};
        w->pinged = wslay_event_queue_msg(w->ctx, &ping) == 0;
    }
}

static void on_end(struct http_exchange *x, void *user, bool complete)
{
    struct http_ws *w = user;
    w->ops->end(w, w->user, w->code ? w->code : 1006);
    wslay_event_context_free(w->ctx);
    free(w);
}

static const struct http_responder responder = {
    .wake = on_wake, .timer = on_timer, .pull = on_pull, .end = on_end};

/* ---- the handshake ----------------------------------------------------------------------------------- */

/* 16 bytes in base64. */
static bool key_ok(const char *key)
{
    size_t n = key ? strlen(key) : 0;
    if (n != 24 || strcmp(key + 22, "==") != 0) return false;
    for (size_t i = 0; i < 22; i++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", key[i])) return false;
    return true;
}

static void accept_key(char out[32], const char *key)
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455, 1.3 */
    unsigned char text[24 + sizeof magic], hash[SHA_DIGEST_LENGTH];
    memcpy(text, key, 24);
    memcpy(text + 24, magic, sizeof magic - 1);
    SHA1(text, 24 + sizeof magic - 1, hash);
    EVP_EncodeBlock((unsigned char *)out, hash, sizeof hash);
}

static bool refuse(struct http_exchange *x, int code, const char *why)
{
    if (code == 426) {
        http_set_header(x, "Upgrade", "websocket");
        http_set_header(x, "Sec-WebSocket-Version", "13");
    }
    http_reply_error(x, code, why);
    return false;
}

/* A page may only connect from its own origin or one that was allowed: browsers leave this check to servers.
 */
static bool origin_ok(const struct http_exchange *x)
{
    const char *origin = http_header(x, "origin"), *host = http_header(x, "host"),
               *at = origin ? strstr(origin, "://") : NULL;
    return !origin || cors_allows(x, origin) || (at && host && !strcmp(at + 3, host));
}

static bool check(struct http_exchange *x)
{
    const struct http_str *upgrade = h1_find(&x->head, "upgrade"),
                          *connection = h1_find(&x->head, "connection");
    const char *version = http_header(x, "sec-websocket-version");
    if (!origin_ok(x)) return refuse(x, 403, "pages of this origin may not connect");
    if (!x->extended_connect) {
        if (!upgrade || !h1_list_has(*upgrade, "websocket") || !connection ||
            !h1_list_has(*connection, "upgrade") || x->head.minor == 0)
            return refuse(x, 426, "this path speaks WebSocket");
        if (!key_ok(http_header(x, "sec-websocket-key")))
            return refuse(x, 400, "a malformed Sec-WebSocket-Key");
    }
    if (!version || strcmp(version, "13") != 0)
        return refuse(x, 426, "this server speaks WebSocket version 13");
    return true;
}

struct http_ws *http_ws_accept(struct http_exchange *x, const char *protocol, const struct http_ws_ops *ops,
                               void *user)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv, .send_callback = on_send, .on_msg_recv_callback = on_message};
    const struct http_options *o = &x->conn->loop->server->o;
    char accept[32];
    if (!check(x)) return NULL;
    struct http_ws *w = mem_zalloc(1, sizeof *w);
    *w = (struct http_ws){.x = x, .ops = ops, .user = user};
    if (wslay_event_context_server_init(&w->ctx, &callbacks, w) != 0) {
        free(w);
        http_reply_error(x, 500, "out of memory");
        return NULL;
    }
    wslay_event_config_set_max_recv_msg_length(w->ctx, o->max_message_bytes);
    x->tunnel = &tunnel;
    http_attach(x, &responder, w);
    if (!x->extended_connect) {
        accept_key(accept, http_header(x, "sec-websocket-key"));
        http_set_header(x, "Upgrade", "websocket");
        http_set_header(x, "Connection", "Upgrade");
        http_set_header(x, "Sec-WebSocket-Accept", accept);
    }
    if (protocol) http_set_header(x, "Sec-WebSocket-Protocol", protocol);
    http_stream(x, x->extended_connect ? 200 : 101, NULL);
    http_set_timer(x, tick_ms(o));
    return w;
}

bool http_ws_send(struct http_ws *w, bool text, const void *p, size_t n)
{
    struct wslay_event_msg m = {text ? WSLAY_TEXT_FRAME : WSLAY_BINARY_FRAME, p, n};
    if (w->failed || w->closed_at_us || (text && !utf8_valid(p, n))) return false;
    w->asked_room = true;
    w->x->pull_ready = true;
    return wslay_event_queue_msg(w->ctx, &m) == 0; /* copies; fails after a close */
}

size_t http_ws_pending(const struct http_ws *w)
{
    return wslay_event_get_queued_msg_length(w->ctx);
}

void http_ws_close(struct http_ws *w, int code, const char *reason)
{
    if (w->closed_at_us) return;
    w->closed_at_us = clock_us();
    w->x->pull_ready = true;
    wslay_event_queue_close(w->ctx, (uint16_t)code, (const uint8_t *)reason,
                            reason ? MIN(strlen(reason), 120) : 0);
}

struct http_exchange *http_ws_exchange(struct http_ws *w)
{
    return w->x;
}
