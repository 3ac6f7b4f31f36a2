/* A whole connection over any bytes: HTTP/1.1, HTTP/2 and WebSocket, whatever the first of them lead to,
 * through the real loop. What must hold: nothing breaks (address sanitizer), and no connection outlives its
 * client. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/http_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void echo(struct http_exchange *x, void *user)
{
    struct http_str body = http_request_body(x);
    http_reply(x, 200, "text/plain", body.p, body.n);
}

static void over(struct http_exchange *x, void *user, bool complete) {}
static void take(struct http_exchange *x, void *user, const char *p, size_t n, bool last)
{
    if (n % 3 == 1) http_pause_body(x, true), http_pause_body(x, false);
    if (last) http_reply(x, 200, "text/plain", "done\n", 5);
}
static enum http_pull lines(struct http_exchange *x, void *user, struct buf *out)
{
    http_sse_event(out, NULL, "line", 4);
    return x->bytes_out < 100000 ? HTTP_MORE : HTTP_DONE;
}
static const struct http_responder taking = {.body = take, .end = over},
                                   streaming = {.pull = lines, .end = over};

static void upload(struct http_exchange *x, void *user)
{
    http_attach(x, &taking, NULL);
}
static void stream(struct http_exchange *x, void *user)
{
    http_attach(x, &streaming, NULL);
    http_stream(x, 200, "text/event-stream");
}

static void heard(struct http_ws *w, void *user, bool text, const char *p, size_t n)
{
    http_ws_send(w, text, p, n);
}
static void hung_up(struct http_ws *w, void *user, int code) {}
static const struct http_ws_ops talking = {.message = heard, .end = hung_up};

static void talk(struct http_exchange *x, void *user)
{
    http_ws_accept(x, NULL, &talking, NULL);
}

static const struct http_route routes[] = {
    {"POST", "/echo", echo, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/upload", upload, NULL, HTTP_BODY_STREAM, HTTP_ROLE_USER},
    {"GET", "/stream", stream, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/ws", talk, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/{id}", echo, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER}};

static void turn(struct http_server *s, int fd)
{
    static char sink[65536];
    for (int i = 0; i < 4; i++) {
        event_base_loop(s->loop->base, EVLOOP_NONBLOCK);
        while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0) {}
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct http_server *s;
    struct error e;
    int pair[2];
    if (!s) {
        static const char *const proxies[] = {"10.0.0.0/8", "unix"};
        const struct http_options o = {.trusted_proxy = proxies,
                                       .n_trusted_proxy = COUNT_OF(proxies),
                                       .max_body_bytes = 1 << 16,
                                       .max_upload_bytes = 1 << 18,
                                       .max_message_bytes = 1 << 16};
        ASSERT(http_server_new(&s, &o, &e) == OK);
        http_server_add_routes(s, routes, COUNT_OF(routes));
    }
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    conn_accept(s->loop, pair[0], &(struct origin){.proxied = true, .name = "fuzz"});
    for (size_t at = 0, piece = n > 1 ? n / 2 + 1 : 1; at < n; at += piece) {
        ssize_t sent = send(pair[1], data + at, MIN(piece, n - at), MSG_NOSIGNAL);
        turn(s, pair[1]);
        if (sent < 0) break;
    }
    close(pair[1]);
    for (int i = 0; i < 100 && s->loop->conns; i++) event_base_loop(s->loop->base, EVLOOP_NONBLOCK);
    ASSERT(!s->loop->conns && http_server_connections(s) == 0);
    return 0;
}
