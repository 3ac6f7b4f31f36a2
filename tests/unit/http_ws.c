/* WebSocket: the handshake here; frames by Python clients (tests/wire/test_ws.py) against `test_http_ws
 * serve`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "http/http.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static struct http_server *server;

/* ---- what is served: an echo, with a few words that mean something ------------------------------------ */

struct talk {
    int flood;
};

static void on_room(struct http_ws *w, void *user)
{
    struct talk *t = user;
    char text[1024];
    memset(text, '.', sizeof text);
    for (int i = 0; i < 8 && t->flood > 0; i++) {
        snprintf(text, 16, "%d", t->flood--);
        text[strlen(text)] = ' ';
        http_ws_send(w, true, text, sizeof text);
    }
}

static void on_message(struct http_ws *w, void *user, bool text, const char *p, size_t n)
{
    struct talk *t = user;
    if (text && n == 5 && !memcmp(p, "close", 5)) {
        http_ws_close(w, 4000, "as you wish");
    } else if (text && n > 6 && !memcmp(p, "flood ", 6)) {
        char count[16] = "";
        memcpy(count, p + 6, MIN(n - 6, sizeof count - 1));
        t->flood = atoi(count);
        on_room(w, t);
    } else {
        http_ws_send(w, text, p, n);
    }
}

static void on_end(struct http_ws *w, void *user, int code)
{
    printf("end %d\n", code);
    fflush(stdout);
    free(user);
}

static const struct http_ws_ops ops = {.message = on_message, .room = on_room, .end = on_end};

static void talk(struct http_exchange *x, void *user)
{
    struct talk *t = mem_zalloc(1, sizeof *t);
    if (!http_ws_accept(x, NULL, &ops, t)) free(t);
}
static void health(struct http_exchange *x, void *user)
{
    http_reply(x, 200, "text/plain", "ok\n", 3);
}

/* /upload counts bytes and sums them; ?pause: it stops for a moment after each 100 kB; ?early: it answers at
 * once. */
struct upload {
    uint64_t n, sum, paused_at;
    bool pause;
};

static void upload_body(struct http_exchange *x, void *user, const char *p, size_t n, bool last)
{
    struct upload *u = user;
    char text[64];
    for (size_t i = 0; i < n; i++) u->sum = u->sum * 31 + (unsigned char)p[i];
    u->n += n;
    if (u->pause && !last && u->n - u->paused_at > 100000) {
        u->paused_at = u->n;
        http_pause_body(x, true);
        http_set_timer(x, 5);
    }
    if (!last) return;
    int len =
        snprintf(text, sizeof text, "%llu %llu\n", (unsigned long long)u->n, (unsigned long long)u->sum);
    http_reply(x, 200, "text/plain", text, (size_t)len);
}

static void upload_resume(struct http_exchange *x, void *user)
{
    http_pause_body(x, false);
}
static void upload_end(struct http_exchange *x, void *user, bool complete)
{
    printf("upload %d\n", complete);
    fflush(stdout);
    free(user);
}
static const struct http_responder uploading = {
    .body = upload_body, .timer = upload_resume, .end = upload_end};

static void upload(struct http_exchange *x, void *user)
{
    struct upload *u = mem_zalloc(1, sizeof *u);
    u->pause = !strcmp(http_query(x), "pause");
    http_attach(x, &uploading, u);
    if (!strcmp(http_query(x), "early")) http_reply(x, 200, "text/plain", "early\n", 6);
}

static const struct http_route routes[] = {
    {"GET", "/ws", talk, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"POST", "/upload", upload, NULL, HTTP_BODY_STREAM, HTTP_ROLE_USER},
    {"GET", "/health", health, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER}};

static void *run(void *arg)
{
    struct error e = {0};
    if (http_server_run(server, &e) != OK) fprintf(stderr, "run: %s\n", e.msg);
    return NULL;
}

static void open_server(void)
{
    static const char *const origins[] = {"https://chat.example"};
    struct error e = {0};
    const struct http_options o = {.body_timeout_ms = 1000,
                                   .write_timeout_ms = 1500,
                                   .ws_ping_ms = 1000,
                                   .max_upload_bytes = 150u << 20,
                                   .max_message_bytes = 300000,
                                   .cors_origin = origins,
                                   .n_cors_origin = 1};
    if (http_server_new(&server, &o, &e) != OK || http_server_listen(server, &e) != OK) {
        fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
    http_server_add_routes(server, routes, COUNT_OF(routes));
}

static void on_signal(int number)
{
    http_server_drain(server, 2000);
}

static int serve(void)
{
    open_server();
    signal(SIGTERM, on_signal);
    printf("ready %u\n", http_server_port(server));
    fflush(stdout);
    run(NULL);
    http_server_free(server);
    return 0;
}

/* ---- the handshake ----------------------------------------------------------------------------------- */

#define HOST    "Host: a\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13     "Sec-WebSocket-Version: 13\r\n"

static void handshakes(void **state)
{
    static const struct {
        const char *ask, *want[3];
    } cases[] = {
        /* The key and its answer are those of RFC 6455, 1.3. */
        {"GET /ws HTTP/1.1\r\n" HOST UPGRADE KEY V13 "\r\n",
         {"HTTP/1.1 101 Switching Protocols\r\n",
          "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "\r\nConnection: Upgrade\r\n"}},
        {"GET /ws HTTP/1.1\r\n" HOST "\r\n",
         {" 426 Upgrade Required\r\n", "\r\nSec-WebSocket-Version: 13\r\n"}},
        {"GET /ws HTTP/1.1\r\n" HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n\r\n", {" 426 "}},
        {"GET /ws HTTP/1.1\r\n" HOST UPGRADE KEY "\r\n", {" 426 "}},
        {"GET /ws HTTP/1.1\r\n" HOST UPGRADE V13 "\r\n", {" 400 "}},
        {"GET /ws HTTP/1.1\r\n" HOST UPGRADE "Sec-WebSocket-Key: short==\r\n" V13 "\r\n", {" 400 "}},
        {"GET /ws HTTP/1.1\r\n" HOST UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==\r\n" V13 "\r\n",
         {" 400 "}},
        {"GET /ws HTTP/1.0\r\n" HOST UPGRADE KEY V13 "\r\n", {" 426 "}},
        {"POST /ws HTTP/1.1\r\n" HOST UPGRADE KEY V13 "\r\n", {" 405 "}},
        {"GET /health HTTP/1.1\r\n" HOST UPGRADE KEY V13 "\r\n", {" 200 OK\r\n"}},
        {"GET /ws HTTP/1.1\r\n" HOST UPGRADE KEY V13 "Origin: https://evil.example\r\n\r\n", {" 403 "}},
        {"GET /ws HTTP/1.1\r\n" HOST UPGRADE KEY V13 "Origin: https://chat.example\r\n\r\n", {" 101 "}},
        {"GET /ws HTTP/1.1\r\n" HOST UPGRADE KEY V13 "Origin: http://a\r\n\r\n", {" 101 "}},
    };
    pthread_t thread;
    open_server();
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_port = htons(http_server_port(server)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct timeval limit = {5, 0};
        char got[4096];
        size_t n = 0;
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
        assert_int_equal(send(fd, cases[i].ask, strlen(cases[i].ask), MSG_NOSIGNAL), strlen(cases[i].ask));
        do {
            ssize_t r = recv(fd, got + n, sizeof got - 1 - n, 0);
            if (r <= 0) break;
            n += (size_t)r;
            got[n] = 0;
        } while (!strstr(got, "\r\n\r\n"));
        for (size_t k = 0; k < COUNT_OF(cases[i].want) && cases[i].want[k]; k++)
            if (!strstr(got, cases[i].want[k]))
                fail_msg("case %zu: no \"%s\" in: %s", i, cases[i].want[k], got);
        close(fd);
    }
    http_server_drain(server, 3000);
    pthread_join(thread, NULL);
    http_server_free(server);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(handshakes)};
    if (argc > 1 && !strcmp(argv[1], "serve")) return serve();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
