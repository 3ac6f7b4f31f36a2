/* The server over real sockets: one thread runs the loop, the test is the client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/http.h"

#include <cmocka.h> /* last: it defines a macro fail() */

/* ---- what is served ---------------------------------------------------------------------------------- */

static atomic_int n_open, n_complete, n_gone; /* exchanges with a responder */
static atomic_llong gone_at_us;
static struct http_waker *_Atomic waiting; /* of the last /wait */

static void health(struct http_exchange *x, void *user)
{
    http_reply(x, 200, "text/plain", "ok\n", 3);
}

static void echo(struct http_exchange *x, void *user)
{
    struct http_str body = http_request_body(x);
    http_set_header(x, "X-Query", http_query(x));
    http_set_header(x, "X-Bad", "a\r\nInjected: yes");
    http_reply(x, 200, "application/octet-stream", body.p, body.n);
}

static struct http_fresh *report_now;
static atomic_int n_report;

static int write_report(struct buf *b, struct http_exchange *x, void *user)
{
    int n = atomic_fetch_add(&n_report, 1) + 1;
    buf_addf(b, "report %d!", n);
    return n % 2 ? 503 : 200;
}

static void report(struct http_exchange *x, void *user)
{
    http_reply_fresh(x, report_now, "text/plain", write_report, user);
}

static void item(struct http_exchange *x, void *user)
{
    const char *id = http_param(x, "id");
    http_reply(x, 200, "text/plain", id, strlen(id));
}

struct counter {
    int at, n;
};
static void over(struct http_exchange *x, void *user, bool complete)
{
    atomic_fetch_sub(&n_open, 1);
    if (complete) {
        atomic_fetch_add(&n_complete, 1);
    } else {
        atomic_store(&gone_at_us, clock_us());
        atomic_fetch_add(&n_gone, 1);
    }
    free(user);
}

static enum http_pull count(struct http_exchange *x, void *user, struct buf *out)
{
    struct counter *c = user;
    if (c->at == c->n) return HTTP_DONE;
    char text[24];
    int n = snprintf(text, sizeof text, "%d", c->at++);
    http_sse_event(out, NULL, text, (size_t)n);
    return HTTP_MORE;
}
static const struct http_responder counting = {.pull = count, .end = over};

static void stream(struct http_exchange *x, void *user)
{
    struct counter *c = mem_zalloc(1, sizeof *c);
    c->n = atoi(http_param(x, "n"));
    atomic_fetch_add(&n_open, 1);
    http_attach(x, &counting, c);
    http_stream(x, 200, "text/event-stream");
}

static void woken(struct http_exchange *x, void *user)
{
    http_reply(x, 200, "text/plain", "woken\n", 6);
}
static void ticked(struct http_exchange *x, void *user)
{
    http_reply(x, 200, "text/plain", "timer\n", 6);
}
static const struct http_responder waits = {.wake = woken, .timer = ticked, .end = over};

static void wait_for_wake(struct http_exchange *x, void *user)
{
    atomic_fetch_add(&n_open, 1);
    http_attach(x, &waits, NULL);
    http_waker_free(atomic_exchange(&waiting, http_waker_new(x)));
    if (*http_query(x)) http_set_timer(x, (uint32_t)atoi(http_query(x)));
}

static enum http_pull cut(struct http_exchange *x, void *user, struct buf *out)
{
    buf_adds(out, "part");
    return HTTP_FAIL;
}
static const struct http_responder cutting = {.pull = cut, .end = over};
static void fails(struct http_exchange *x, void *user)
{
    atomic_fetch_add(&n_open, 1);
    http_attach(x, &cutting, NULL);
    http_stream(x, 200, "text/plain");
}

static const struct http_route routes[] = {
    {"GET", "/health", health, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"POST", "/echo", echo, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"GET", "/report", report, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/item/{id}", item, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"DELETE", "/item/{id}", item, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/rest/{id*}", item, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/stream/{n}", stream, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/wait", wait_for_wake, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"POST", "/wait", wait_for_wake, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"GET", "/fails", fails, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
};

static struct http_server *server;
static pthread_t thread;

static void *serve(void *arg)
{
    struct error e = {0};
    if (http_server_run(server, &e) != OK) fprintf(stderr, "run: %s\n", e.msg);
    return NULL;
}

static uint32_t n_thread = 1; /* every test runs with one loop and with three */

static void start(const struct http_options *options)
{
    struct error e = {0};
    struct http_options o = *options;
    o.n_thread = n_thread;
    if (http_server_new(&server, &o, &e) != OK) fail_msg("%s", e.msg);
    http_server_add_routes(server, routes, 3);
    http_server_add_routes(server, routes + 3, COUNT_OF(routes) - 3);
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
}

static void stop(void)
{
    http_server_drain(server, 500);
    pthread_join(thread, NULL);
    http_server_free(server);
    http_waker_free(atomic_exchange(&waiting, NULL));
    assert_int_equal(atomic_load(&n_open), 0);
}

/* ---- the client -------------------------------------------------------------------------------------- */

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(http_server_port(server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; connect(fd, (struct sockaddr *)&a, sizeof a) != 0; i++) {
        if (i == 200) fail_msg("connect: %s", strerror(errno));
        close(fd); /* the thread may not be listening yet */
        usleep(10000);
        fd = socket(AF_INET, SOCK_STREAM, 0);
    }
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Read until `until` was seen (NULL: until the connection ends) or ms passed. */
static const char *hear(int fd, const char *until, int ms)
{
    static char got[1 << 20];
    size_t n = 0;
    int64_t end = clock_us() + (int64_t)ms * 1000;
    got[0] = 0;
    while (n < sizeof got - 1 && !(until && strstr(got, until))) {
        struct pollfd p = {fd, POLLIN, 0};
        int left = (int)((end - clock_us()) / 1000);
        if (left <= 0 || poll(&p, 1, left) <= 0) return until ? got : "(still open)";
        ssize_t r = recv(fd, got + n, sizeof got - 1 - n, 0);
        if (r <= 0) break;
        n += (size_t)r;
        got[n] = 0;
    }
    return got;
}

static bool closed_within(int fd, int ms)
{
    char c;
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, ms) == 1 && recv(fd, &c, 1, 0) <= 0;
}

static bool until_true(atomic_int *v, int want, int ms)
{
    for (int i = 0; i < ms && atomic_load(v) != want; i++) usleep(1000);
    return atomic_load(v) == want;
}

#define HOST "Host: a\r\n"

/* ---- tests ------------------------------------------------------------------------------------------- */

static void requests_and_answers(void **state)
{
    static const struct {
        const char *ask;
        const char *want[4];
        const char *never;
        bool open;
    } cases[] = {
        {"GET /health HTTP/1.1\r\n" HOST "\r\n",
         {"HTTP/1.1 200 OK\r\n", "Content-Length: 3\r\n", "\r\n\r\nok\n"},
         NULL,
         true},
        {"HEAD /health HTTP/1.1\r\n" HOST "\r\n", {"200 OK", "Content-Length: 3\r\n"}, "\r\n\r\nok", true},
        {"GET /health HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
         {"Connection: close\r\n", "ok\n"},
         NULL,
         false},
        {"GET /health HTTP/1.0\r\n\r\n", {"Connection: close\r\n", "ok\n"}, NULL, false},
        {"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
         {"Connection: keep-alive\r\n", "ok\n"},
         NULL,
         true},
        {"GET /health HTTP/1.1\r\n" HOST "X-Request-Id: my-id.1\r\n\r\n",
         {"X-Request-Id: my-id.1\r\n"},
         NULL,
         true},
        {"GET /health HTTP/1.1\r\n" HOST "X-Request-Id: a b\r\n\r\n", {"X-Request-Id: req-"}, NULL, true},
        {"GET /nothing HTTP/1.1\r\n" HOST "\r\n", {"404 Not Found"}, NULL, true},
        {"PUT /item/7 HTTP/1.1\r\n" HOST "\r\n",
         {"405 Method Not Allowed", "Allow: GET, HEAD, DELETE, OPTIONS\r\n"},
         NULL,
         true},
        {"OPTIONS /item/7 HTTP/1.1\r\n" HOST "\r\n",
         {"204 No Content", "Allow: GET, HEAD, DELETE, OPTIONS\r\n"},
         "Content-Length",
         true},
        {"GET /item/a%20b%2Fc HTTP/1.1\r\n" HOST "\r\n", {"200 OK", "\r\n\r\na b/c"}, NULL, true},
        {"GET /item/a/b HTTP/1.1\r\n" HOST "\r\n", {"404 Not Found"}, NULL, true},
        {"GET /item/ HTTP/1.1\r\n" HOST "\r\n", {"404 Not Found"}, NULL, true},
        {"GET /rest/a/b HTTP/1.1\r\n" HOST "\r\n", {"200 OK", "\r\n\r\na/b"}, NULL, true},
        {"GET /item/%zz HTTP/1.1\r\n" HOST "\r\n", {"400 Bad Request"}, NULL, true},
        {"GET /item/%00 HTTP/1.1\r\n" HOST "\r\n", {"400 Bad Request"}, NULL, true},
        {"GET /item/a%4 HTTP/1.1\r\n" HOST "\r\n", {"400 Bad Request"}, NULL, true},
        {"POST /echo?q=1 HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello",
         {"200 OK", "X-Query: q=1\r\n", "\r\n\r\nhello"},
         "Injected",
         true},
        {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
         {"200 OK", "\r\n\r\nabcde"},
         NULL,
         true},
        {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
         {"400 Bad Request", "Connection: close"},
         NULL,
         false},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2000\r\n\r\n",
         {"413 Content Too Large", "Connection: close"},
         NULL,
         false},
        {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2000\r\nExpect: 100-continue\r\n\r\n",
         {"413 Content Too Large"},
         "100 Continue",
         false},
        {"POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
         {"HTTP/1.1 100 Continue\r\n\r\n"},
         NULL,
         true},
        {"POST /nothing HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", {"404 Not Found"}, NULL, true},
        {"POST /nothing HTTP/1.1\r\n" HOST "Content-Length: 500000\r\n\r\n",
         {"404 Not Found", "Connection: close"},
         NULL,
         false},
        {"BAD\r\n\r\n", {"400 Bad Request", "Connection: close"}, NULL, false},
        {"GET /stream/3 HTTP/1.1\r\n" HOST "\r\n",
         {"Transfer-Encoding: chunked", "\r\n9\r\ndata: 0\n\n\r\n", "data: 2\n\n\r\n0\r\n\r\n"},
         NULL,
         true},
        {"GET /stream/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
         {"Connection: close", "\r\n\r\ndata: 0\n\ndata: 1\n\ndata: 2\n\n"},
         "chunked",
         false},
        {"GET /wait?30 HTTP/1.1\r\n" HOST "\r\n", {"200 OK", "timer\n"}, NULL, true},
        {"GET /fails HTTP/1.1\r\n" HOST "\r\n", {""}, "\r\n0\r\n", false},
    };
    start(&(struct http_options){.max_body_bytes = 1000});
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int fd = dial();
        say(fd, cases[i].ask);
        const char *got = hear(fd, NULL, cases[i].open ? 150 : 3000);
        bool open = !strcmp(got, "(still open)");
        if (open) { /* ask again to read what came: the text was kept by hear's buffer */
            close(fd);
            fd = dial();
            say(fd, cases[i].ask);
            int last = 0;
            while (last < 3 && cases[i].want[last + 1]) last++;
            got = hear(fd, cases[i].want[last], 3000);
        }
        if (open != cases[i].open)
            fail_msg("case %zu (%s): the connection is %s\n%s", i, cases[i].ask, open ? "open" : "closed",
                     got);
        for (int k = 0; k < 4 && cases[i].want[k]; k++)
            if (!strstr(got, cases[i].want[k]))
                fail_msg("case %zu (%s): no %s in\n%s", i, cases[i].ask, cases[i].want[k], got);
        if (cases[i].never && strstr(got, cases[i].never))
            fail_msg("case %zu (%s): %s in\n%s", i, cases[i].ask, cases[i].never, got);
        close(fd);
    }
    stop();
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    start(&(struct http_options){0});
    int fd = dial();
    say(fd, "GET /item/one HTTP/1.1\r\n" HOST "\r\nGET /wait?50 HTTP/1.1\r\n" HOST
            "\r\nPOST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\ntwoGET /stream/2 HTTP/1.1\r\n" HOST
            "\r\nGET /item/end HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    const char *got = hear(fd, NULL, 3000), *at = got;
    static const char *const order[] = {"\r\n\r\none", "\r\n\r\ntimer\n", "\r\n\r\ntwo", "data: 1\n\n",
                                        "\r\n\r\nend"};
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        at = strstr(at, order[i]);
        if (!at) fail_msg("no %s in order in\n%s", order[i], got);
    }
    close(fd);

    /* A thousand at once, answered while more are sent. */
    fd = dial();
    for (int i = 0; i < 1000; i++) say(fd, "GET /health HTTP/1.1\r\n" HOST "\r\n");
    say(fd, "GET /health HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    int n = 0;
    for (at = hear(fd, NULL, 5000); (at = strstr(at, "\r\n\r\nok\n")); at++) n++;
    assert_int_equal(n, 1001);
    close(fd);

    /* But one that goes on sending behind a pending answer is cut off. */
    fd = dial();
    char some[4096];
    memset(some, 'a', sizeof some);
    say(fd, "GET /wait HTTP/1.1\r\n" HOST "\r\n");
    bool cut_off = false;
    for (int i = 0; i < 1000 && !cut_off; i++) {
        cut_off = send(fd, some, sizeof some, MSG_NOSIGNAL) < 0;
        usleep(100);
    }
    assert_true(cut_off);
    close(fd);
    stop();
}

static void a_body_cut_at_any_byte(void **state)
{
    static const char text[] =
        "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    start(&(struct http_options){0});
    int fd = dial(), one = 1;
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
    for (size_t cut_at = 1; cut_at < sizeof text - 1; cut_at++) {
        assert_int_equal(send(fd, text, cut_at, MSG_NOSIGNAL), cut_at);
        usleep(500);
        say(fd, text + cut_at);
        const char *got = hear(fd, "hello!", 2000);
        if (!strstr(got, "\r\n\r\nhello!")) fail_msg("cut at %zu: %s", cut_at, got);
    }
    close(fd);
    stop();
}

static void a_client_that_goes_is_noticed_at_once(void **state)
{
    static const struct {
        const char *name, *ask;
        bool half;
    } cases[] = {
        {"while it waits", "GET /wait HTTP/1.1\r\n" HOST "\r\n", false},
        {"half-closed while it waits", "GET /wait HTTP/1.1\r\n" HOST "\r\n", true},
        {"after a POST", "POST /wait HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}", false},
        {"in the middle of a stream", "GET /stream/100000000 HTTP/1.1\r\n" HOST "\r\n", false},
    };
    start(&(struct http_options){0});
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int fd = dial(), before = atomic_load(&n_gone);
        say(fd, cases[i].ask);
        if (!until_true(&n_open, 1, 2000)) fail_msg("%s: not begun", cases[i].name);
        usleep(20000);
        int64_t went = clock_us();
        if (cases[i].half)
            shutdown(fd, SHUT_WR);
        else
            close(fd);
        if (!until_true(&n_gone, before + 1, 2000)) fail_msg("%s: not noticed", cases[i].name);
        int64_t took = atomic_load(&gone_at_us) - went;
        if (took > 200000) fail_msg("%s: noticed after %lld us", cases[i].name, (long long)took);
        if (cases[i].half) close(fd);
    }
    stop();

    start(&(struct http_options){.half_close_answers = true});
    int fd = dial();
    say(fd, "GET /wait?50 HTTP/1.1\r\n" HOST "\r\n");
    shutdown(fd, SHUT_WR);
    assert_non_null(strstr(hear(fd, NULL, 2000), "timer\n"));
    close(fd);
    stop();
}

static void another_thread_wakes_an_exchange(void **state)
{
    start(&(struct http_options){0});
    for (int i = 0; i < 200; i++) {
        int fd = dial();
        say(fd, "GET /wait HTTP/1.1\r\n" HOST "\r\n");
        assert_true(until_true(&n_open, 1, 2000));
        struct http_waker *w;
        while (!(w = atomic_exchange(&waiting, NULL))) usleep(100);
        if (i % 2) close(fd); /* fired around the exchange's end: must not matter */
        for (int k = 0; k < 3; k++) http_waker_fire(w);
        if (i % 2 == 0) {
            assert_non_null(strstr(hear(fd, "woken\n", 2000), "woken\n"));
            http_waker_fire(w); /* after its end */
            close(fd);
        }
        http_waker_free(w);
        assert_true(until_true(&n_open, 0, 2000));
    }
    stop();
}

static void deadlines(void **state)
{
    static const struct {
        const char *name, *first, *drip;
        const char *answer;
    } cases[] = {
        {"connects only", "", NULL, ""},
        {"a byte of the head now and then", "GET / HTTP/1.1\r\nX: ", "a", "408"},
        {"a byte of the body now and then", "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n",
         "a", "408"},
        {"a byte of a chunked body", "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5;",
         "a", "408"},
        {"idle", "GET /health HTTP/1.1\r\n" HOST "\r\n", NULL, "ok"},
    };
    start(&(struct http_options){
        .head_timeout_ms = 300, .body_timeout_ms = 300, .idle_timeout_ms = 300, .write_timeout_ms = 300});
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int fd = dial();
        int64_t from = clock_us();
        say(fd, cases[i].first);
        for (int k = 0; k < 20 && cases[i].drip; k++) {
            struct pollfd p = {fd, POLLIN, 0};
            if (poll(&p, 1, 50) == 1) break;
            say(fd, cases[i].drip);
        }
        const char *got = hear(fd, NULL, 2000);
        int64_t ms = (clock_us() - from) / 1000;
        if (!strstr(got, cases[i].answer) || ms < 250 || ms > 1500)
            fail_msg("%s: %lld ms, %s", cases[i].name, (long long)ms, got);
        close(fd);
    }

    /* A reader that stops: the stream waits, in bounded memory, and is cut at the write deadline. */
    int before = atomic_load(&n_gone), fd = dial();
    say(fd, "GET /stream/100000000 HTTP/1.1\r\n" HOST "\r\n");
    assert_true(until_true(&n_gone, before + 1, 5000));
    close(fd);
    stop();
}

static void connections_are_limited(void **state)
{
    start(&(struct http_options){.max_connections = 4});
    int fd[4];
    for (int i = 0; i < 4; i++) {
        fd[i] = dial();
        say(fd[i], "GET /health HTTP/1.1\r\n" HOST "\r\n");
        assert_non_null(strstr(hear(fd[i], "ok\n", 2000), "ok\n"));
    }
    int more = dial();
    assert_non_null(strstr(hear(more, NULL, 2000), "503"));
    close(more);
    close(fd[0]);
    usleep(50000);
    more = dial();
    say(more, "GET /health HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(hear(more, "ok\n", 2000), "ok\n"));
    close(more);
    for (int i = 1; i < 4; i++) close(fd[i]);
    stop();
}

static void one_address_has_its_share(void **state)
{
    int fd[4];
    start(&(struct http_options){.max_per_address = 3});
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 3; i++) {
            fd[i] = dial();
            say(fd[i], "GET /health HTTP/1.1\r\n" HOST "\r\n");
            assert_non_null(strstr(hear(fd[i], "ok\n", 2000), "200 OK"));
        }
        fd[3] = dial();
        assert_non_null(strstr(hear(fd[3], NULL, 2000), "503 Service Unavailable"));
        for (size_t i = 0; i < 4; i++) close(fd[i]);
        for (int i = 0; i < 2000 && http_server_connections(server); i++) usleep(1000);
        assert_int_equal(http_server_connections(server), 0);
    }
    stop();
}

static void pages_of_other_origins(void **state)
{
    static const char *const origins[] = {"https://chat.example", "http://localhost:3000"}, *const all[] = {
                                                                                                "*"};
    static const struct {
        size_t n;
        const char *const *origin;
        const char *ask, *want, *never;
    } cases[] = {
        {0, NULL, "GET /health HTTP/1.1\r\n" HOST "Origin: https://chat.example\r\n\r\n", "200 OK",
         "Access-Control"},
        {2, origins, "GET /health HTTP/1.1\r\n" HOST "Origin: https://chat.example\r\n\r\n",
         "Access-Control-Allow-Origin: https://chat.example\r\n", "Allow-Methods"},
        {2, origins, "GET /health HTTP/1.1\r\n" HOST "Origin: https://chat.example.evil\r\n\r\n",
         "Vary: Origin\r\n", "Access-Control"},
        {2, origins, "GET /health HTTP/1.1\r\n" HOST "Origin: null\r\n\r\n", "200 OK", "Access-Control"},
        {1, all, "GET /nothing HTTP/1.1\r\n" HOST "Origin: http://x\r\n\r\n",
         "Access-Control-Allow-Origin: *\r\n", NULL},
        {2, origins,
         "OPTIONS /echo HTTP/1.1\r\n" HOST
         "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n"
         "Access-Control-Request-Headers: authorization,content-type\r\n\r\n",
         "Access-Control-Allow-Methods: POST, OPTIONS\r\nAccess-Control-Allow-Headers: "
         "authorization,content-type\r\n",
         NULL},
        {2, origins,
         "OPTIONS /echo HTTP/1.1\r\n" HOST
         "Origin: http://evil\r\nAccess-Control-Request-Method: POST\r\n\r\n",
         "204 No Content", "Access-Control"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        start(&(struct http_options){.cors_origin = cases[i].origin, .n_cors_origin = cases[i].n});
        int fd = dial();
        say(fd, cases[i].ask);
        const char *got = hear(fd, "\r\n\r\n", 2000);
        if (!strstr(got, cases[i].want) || (cases[i].never && strstr(got, cases[i].never)))
            fail_msg("case %zu: %s", i, got);
        close(fd);
        stop();
    }
}

static void draining_lets_streams_finish(void **state)
{
    start(&(struct http_options){0});
    int idle = dial(), fresh = dial(), late = dial(), busy = dial(), never = dial();
    say(idle, "GET /health HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(hear(idle, "ok\n", 2000), "ok\n"));
    say(busy, "GET /wait?200 HTTP/1.1\r\n" HOST "\r\n");
    say(never, "GET /wait HTTP/1.1\r\n" HOST "\r\n");
    assert_true(until_true(&n_open, 2, 2000));
    int64_t from = clock_us();
    http_server_drain(server, 600);
    assert_true(closed_within(idle, 200));
    usleep(20 * 1000); /* the first request of a new connection may still be on its way */
    say(late, "GET /health HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(hear(late, "ok\n", 2000), "ok\n"));
    assert_true(closed_within(fresh, 500));
    const char *got = hear(busy, NULL, 2000);
    assert_non_null(strstr(got, "timer\n"));
    assert_non_null(strstr(got, "Connection: close"));
    pthread_join(thread, NULL); /* the one that never ends is cut */
    int64_t ms = (clock_us() - from) / 1000;
    assert_in_range(ms, 500, 2000);
    http_server_free(server);
    assert_true(closed_within(never, 300));
    close(idle), close(fresh), close(late), close(busy), close(never);
    http_waker_free(atomic_exchange(&waiting, NULL));
    assert_int_equal(atomic_load(&n_open), 0);
}

static void a_report_is_written_anew_when_it_is_old(void **state)
{
    static const char *const ask = "GET /report HTTP/1.1\r\n" HOST "\r\n";
    static const struct {
        uint32_t ms;
        int n_written; /* for five requests, and one more while the server drains */
    } cases[] = {{0, 6}, {60000, 2}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        report_now = http_fresh_new(cases[i].ms);
        atomic_store(&n_report, 0);
        start(&(struct http_options){0});
        int busy = dial(), late = dial();
        for (int n = 0; n < 5; n++) {
            char want[32];
            snprintf(want, sizeof want, "report %d!", cases[i].ms ? 1 : n + 1);
            say(busy, ask);
            const char *got = hear(busy, "!", 2000);
            assert_non_null(strstr(got, want));
            assert_non_null(strstr(got, cases[i].ms || n % 2 == 0 ? "503 " : "200 "));
        }
        say(busy, "GET /wait?100 HTTP/1.1\r\n" HOST "\r\n");
        assert_true(until_true(&n_open, 1, 2000));
        http_server_drain(server, 1000);
        usleep(20 * 1000);
        say(late, ask);
        assert_non_null(strstr(hear(late, "!", 2000), "report"));
        pthread_join(thread, NULL);
        http_server_free(server);
        assert_int_equal(atomic_load(&n_report), cases[i].n_written);
        http_fresh_free(report_now);
        close(busy), close(late);
        http_waker_free(atomic_exchange(&waiting, NULL));
    }
}

static void ports_and_paths(void **state)
{
    struct error e = {0};
    start(&(struct http_options){0});
    int fd = dial(); /* now it listens */
    struct http_server *second = NULL;
    assert_int_equal(http_server_new(&second, &(struct http_options){.port = http_server_port(server)}, &e),
                     ERR_IO);
    assert_non_null(strstr(e.msg, "taken"));
    close(fd);
    stop();

    assert_int_equal(http_server_new(&second, &(struct http_options){.host = "no such host."}, &e), ERR_ARG);

    char path[64];
    snprintf(path, sizeof path, "/tmp/corral-http-%d.sock", (int)getpid());
    start(&(struct http_options){.unix_path = path});
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    for (int i = 0; i < 200 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0; i++) usleep(10000);
    say(fd, "GET /health HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(strstr(hear(fd, "ok\n", 2000), "ok\n"));
    assert_int_equal(http_server_new(&second, &(struct http_options){.unix_path = path}, &e), ERR_IO);
    close(fd);
    stop();
    assert_int_equal(access(path, F_OK), -1);
}

static void server_sent_events(void **state)
{
    static const struct {
        const char *event, *data, *want;
    } cases[] = {
        {NULL, "{}", "data: {}\n\n"},
        {"ping", "a", "event: ping\ndata: a\n\n"},
        {NULL, "a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n"},
        {NULL, "", "data: \n\n"},
        {NULL, "a\n", "data: a\ndata: \n\n"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b = {0};
        http_sse_event(&b, cases[i].event, cases[i].data, strlen(cases[i].data));
        assert_string_equal(b.data, cases[i].want);
        buf_deinit(&b);
    }
    struct buf b = {0};
    http_sse_comment(&b, "ping");
    assert_string_equal(b.data, ": ping\n\n");
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_and_answers),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_body_cut_at_any_byte),
        cmocka_unit_test(a_client_that_goes_is_noticed_at_once),
        cmocka_unit_test(another_thread_wakes_an_exchange),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(connections_are_limited),
        cmocka_unit_test(one_address_has_its_share),
        cmocka_unit_test(pages_of_other_origins),
        cmocka_unit_test(draining_lets_streams_finish),
        cmocka_unit_test(a_report_is_written_anew_when_it_is_old),
        cmocka_unit_test(ports_and_paths),
        cmocka_unit_test(server_sent_events),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    n_thread = 3;
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
