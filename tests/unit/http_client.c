/* The client against our own server, and against one that misbehaves. */
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
#include <unistd.h>

#include "base/clock.h"
#include "http/client.h"
#include "support/cert.h"

#include <cmocka.h> /* last: it defines a macro fail() */

enum { BIG = 8 << 20 };

/* ---- what is served ---------------------------------------------------------------------------------- */

static struct http_server *server, *tls_server, *unix_server;
static char url[3][64]; /* plain, TLS, Unix */
static char cert[64], socket_path[64];
static atomic_llong produced; /* bytes of /big */
static atomic_int n_gone;

static void echo(struct http_exchange *x, void *user)
{
    static const char *const back[] = {"Authorization", "X-One", "Content-Type",
                                       "User-Agent",    "Range", "X-Empty"};
    struct http_str body = http_request_body(x);
    char name[64];
    http_set_header(x, "X-Method", http_method(x));
    for (size_t i = 0; i < COUNT_OF(back); i++) {
        snprintf(name, sizeof name, "Got-%s", back[i]);
        if (http_header(x, back[i])) http_set_header(x, name, http_header(x, back[i]));
    }
    http_reply(x, 200, "text/plain", body.p, body.n);
}

static void code(struct http_exchange *x, void *user)
{
    http_reply(x, atoi(http_param(x, "code")), "text/plain", "as asked\n", 9);
}

/* /redirect/N: N times, then /echo; /redirect/away: to another name of this machine. */
static void redirect(struct http_exchange *x, void *user)
{
    const char *n = http_param(x, "n");
    char to[128];
    if (!strcmp(n, "away"))
        snprintf(to, sizeof to, "http://localhost:%u/echo", http_server_port(server));
    else if (!strcmp(n, "file"))
        snprintf(to, sizeof to, "file:///etc/hostname");
    else if (atoi(n) > 1)
        snprintf(to, sizeof to, "/redirect/%d", atoi(n) - 1);
    else
        snprintf(to, sizeof to, "/echo");
    http_set_header(x, "Location", to);
    http_reply(x, !strcmp(http_query(x), "307") ? 307 : 302, NULL, "elsewhere", 9);
}

struct flow {
    size_t at, n;
};
static enum http_pull more(struct http_exchange *x, void *user, struct buf *out)
{
    struct flow *f = user;
    for (int i = 0; i < 4096 && f->at < f->n; i++) buf_addc(out, (char)(f->at++ * 7 >> 3));
    atomic_store(&produced, (long long)f->at);
    return f->at < f->n ? HTTP_MORE : HTTP_DONE;
}
static void flow_end(struct http_exchange *x, void *user, bool complete)
{
    if (!complete) atomic_fetch_add(&n_gone, 1);
    free(user);
}
static const struct http_responder flowing = {.pull = more, .end = flow_end};
static void big(struct http_exchange *x, void *user)
{
    struct flow *f = mem_zalloc(1, sizeof *f);
    f->n = BIG;
    http_attach(x, &flowing, f);
    http_stream(x, 200, "application/octet-stream");
}

static enum http_pull nothing(struct http_exchange *x, void *user, struct buf *out)
{
    return HTTP_WAIT;
}
static const struct http_responder waiting = {.pull = nothing, .end = flow_end};
static void never(struct http_exchange *x, void *user)
{
    http_attach(x, &waiting, NULL);
}

static void text(struct http_exchange *x, void *user)
{
    char *zeros = mem_zalloc(1, 200000);
    http_reply(x, 200, "text/plain", zeros, 200000);
    free(zeros);
}

/* ---- /relay: what a gateway does, on one loop, with back-pressure all the way ---------------------------
 */

struct relay {
    struct http_exchange *x;
    struct http_waker *waker;
    struct http_call *call;
    struct buf held;
    bool done, failed;
};

static void relay_head(struct http_call *c, void *user, int status_code)
{
    struct relay *r = user;
    http_stream(r->x, status_code, http_call_header(c, "Content-Type"));
}
static void relay_body(struct http_call *c, void *user, const char *p, size_t n)
{
    struct relay *r = user;
    buf_add(&r->held, p, n);
    if (r->held.n > 64 * 1024) http_call_pause(c, true);
    http_waker_fire(r->waker);
}
static void relay_over(struct http_call *c, void *user, const struct http_result *result)
{
    struct relay *r = user;
    r->call = NULL;
    r->done = true;
    r->failed = result->cause != HTTP_CAUSE_NONE;
    http_waker_fire(r->waker);
}
static const struct http_call_ops relay_ops = {.head = relay_head, .body = relay_body, .end = relay_over};

static enum http_pull relay_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct relay *r = user;
    size_t n = MIN(r->held.n, 16 * 1024);
    if (n) buf_add(out, r->held.data, n);
    buf_drop(&r->held, n);
    if (r->held.n < 16 * 1024 && r->call) http_call_pause(r->call, false);
    if (r->held.n) return HTTP_MORE;
    return !r->done ? HTTP_WAIT : r->failed ? HTTP_FAIL : HTTP_DONE;
}
static void relay_end(struct http_exchange *x, void *user, bool complete)
{
    struct relay *r = user;
    if (r->call) http_call_cancel(r->call);
    http_waker_free(r->waker);
    buf_deinit(&r->held);
    free(r);
}
static const struct http_responder relaying = {.pull = relay_pull, .end = relay_end};

static void relay(struct http_exchange *x, void *user)
{
    struct relay *r = mem_zalloc(1, sizeof *r);
    char to[128];
    snprintf(to, sizeof to, "%s/%s", url[0], http_query(x));
    http_attach(x, &relaying, r);
    r->x = x;
    r->waker = http_waker_new(x);
    r->call = http_call_start(http_exchange_client(x), &(struct http_call_options){.url = to}, &relay_ops, r);
}

static const struct http_route routes[] = {
    {"GET", "/echo", echo, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/echo", echo, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"PUT", "/echo", echo, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"DELETE", "/echo", echo, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"GET", "/code/{code}", code, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/redirect/{n}", redirect, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"POST", "/redirect/{n}", redirect, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/big", big, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/never", never, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/text", text, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/relay", relay, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
};

static pthread_t thread[3];
static void *serve(void *arg)
{
    struct error e = {0};
    if (http_server_run(arg, &e) != OK) fprintf(stderr, "run: %s\n", e.msg);
    return NULL;
}

static int start_servers(void **state)
{
    struct error e = {0};
    snprintf(cert, sizeof cert, "/tmp/corral-client-%d.pem", (int)getpid());
    snprintf(socket_path, sizeof socket_path, "/tmp/corral-client-%d.sock", (int)getpid());
    cert_write(cert);
    const struct http_options o[3] = {
        {.write_timeout_ms = 60000},
        {.tls_cert = cert, .tls_client_ca = cert},
        {.unix_path = socket_path},
    };
    struct http_server **s[3] = {&server, &tls_server, &unix_server};
    for (int i = 0; i < 3; i++) {
        if (http_server_new(s[i], &o[i], &e) != OK || http_server_listen(*s[i], &e) != OK)
            fail_msg("%s", e.msg);
        http_server_add_routes(*s[i], routes, COUNT_OF(routes));
        snprintf(url[i], sizeof url[i],
                 i == 1 ? "https://127.0.0.1:%u"
                 : i    ? "http://corral"
                        : "http://127.0.0.1:%u",
                 http_server_port(*s[i]));
        assert_int_equal(pthread_create(&thread[i], NULL, serve, *s[i]), 0);
    }
    return 0;
}

static int stop_servers(void **state)
{
    struct http_server *s[3] = {server, tls_server, unix_server};
    for (int i = 0; i < 3; i++) {
        http_server_drain(s[i], 500);
        pthread_join(thread[i], NULL);
        http_server_free(s[i]);
    }
    unlink(cert);
    return 0;
}

/* ---- a server that does as it is told ------------------------------------------------------------------ */

struct script {
    const char *say; /* after the request's head was read */
    int pause_ms;    /* before the connection is closed; negative: held until the client goes */
    const char *then;
};
static int scripted_fd;
static struct script script;

static void *scripted(void *arg)
{
    char got[4096];
    size_t n = 0;
    int fd = accept(scripted_fd, NULL, NULL);
    struct pollfd p = {fd, POLLIN, 0};
    while (n < sizeof got - 1) {
        ssize_t r = recv(fd, got + n, sizeof got - 1 - n, 0);
        if (r <= 0) break;
        n += (size_t)r;
        got[n] = 0;
        if (strstr(got, "\r\n\r\n")) break;
    }
    if (script.say) send(fd, script.say, strlen(script.say), MSG_NOSIGNAL);
    if (script.pause_ms) poll(&p, 1, script.pause_ms > 0 ? script.pause_ms : 5000);
    if (script.then) send(fd, script.then, strlen(script.then), MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static uint16_t scripted_listen(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    scripted_fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(scripted_fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(scripted_fd, 16), 0);
    getsockname(scripted_fd, (struct sockaddr *)&a, &n);
    return ntohs(a.sin_port);
}

/* ---- what came ----------------------------------------------------------------------------------------- */

struct got {
    struct http_call *call;
    struct buf body;
    int n_head, n_end, head_code;
    struct http_result r;
    char why[256], type[64], at[128];
    bool pause_at_once, cancel_at_once;
    struct got *cancel_other;
    struct { /* the request's body */
        int pieces, waits;
        bool fails, waiting;
    } send;
};

static void got_head(struct http_call *c, void *user, int status_code)
{
    struct got *g = user;
    const char *type = http_call_header(c, "content-type");
    g->n_head++;
    g->head_code = status_code;
    snprintf(g->type, sizeof g->type, "%s", type ? type : "");
    snprintf(g->at, sizeof g->at, "%s", http_call_url(c));
}
static void got_body(struct http_call *c, void *user, const char *p, size_t n)
{
    struct got *g = user;
    buf_add(&g->body, p, n);
    if (g->pause_at_once) http_call_pause(c, true);
    if (g->cancel_at_once) http_call_cancel(c);
    if (g->cancel_other) http_call_cancel(g->cancel_other->call);
    g->cancel_other = NULL;
}
static void got_end(struct http_call *c, void *user, const struct http_result *r)
{
    struct got *g = user;
    g->n_end++;
    g->r = *r;
    snprintf(g->why, sizeof g->why, "%s", r->why);
}
static enum http_pull got_pull(struct http_call *c, void *user, struct buf *out)
{
    struct got *g = user;
    if (g->send.waits > 0 && !g->send.waiting) {
        g->send.waits--;
        g->send.waiting = true;
        return HTTP_WAIT;
    }
    g->send.waiting = false;
    if (g->send.fails) return HTTP_FAIL;
    buf_addf(out, "piece %d.", g->send.pieces--);
    return g->send.pieces ? HTTP_MORE : HTTP_DONE;
}
static const struct http_call_ops ops = {
    .head = got_head, .body = got_body, .pull = got_pull, .end = got_end};

static struct http_client *client;
static int open_client(void **state)
{
    struct error e = {0};
    if (http_client_new(&client, &e) != OK) fail_msg("%s", e.msg);
    return 0;
}
static int close_client(void **state)
{
    http_client_free(client);
    return 0;
}

static void call(struct got *g, const struct http_call_options *o)
{
    struct error e = {0};
    *g = (struct got){.send = g->send};
    g->call = http_call_start(client, o, &ops, g);
    assert_int_equal(g->n_head + g->n_end, 0); /* never from within */
    if (http_client_run(client, &e) != OK) fail_msg("%s", e.msg);
    assert_int_equal(g->n_end, 1);
}

/* ---- tests --------------------------------------------------------------------------------------------- */

static void answers_and_refusals(void **state)
{
    enum { PLAIN, TLS, UNIX };
    const struct {
        const char *name;
        int where;
        bool http2;
        struct http_call_options o; /* url: the path */
        int code;
        enum http_cause cause;
        const char *body, *field, *value;
    } cases[] = {
        // clang-format off
        {"GET",        PLAIN, 0, {.url = "/echo"}, 200, 0, "", "X-Method", "GET"},
        {"agent",      PLAIN, 0, {.url = "/echo"}, 200, 0, "", "got-user-agent", "corral/" CORRAL_VERSION},
        {"HEAD",       PLAIN, 0, {.url = "/echo", .method = "HEAD", .max_bytes = 1}, 200, 0, "", "X-Method", "HEAD"},
        {"POST",       PLAIN, 0, {.url = "/echo", .body = "abc", .n_body = 3}, 200, 0, "abc", "X-Method", "POST"},
        {"no type",    PLAIN, 0, {.url = "/echo", .body = "abc", .n_body = 3}, 200, 0, "abc", "Got-Content-Type", NULL},
        {"empty POST", PLAIN, 0, {.url = "/echo", .method = "POST"}, 200, 0, "", "X-Method", "POST"},
        {"PUT",        PLAIN, 0, {.url = "/echo", .method = "PUT", .body = "abc", .n_body = 3}, 200, 0, "abc", "X-Method", "PUT"},
        {"DELETE",     PLAIN, 0, {.url = "/echo", .method = "DELETE"}, 200, 0, "", "X-Method", "DELETE"},
        {"DELETE body",PLAIN, 0, {.url = "/echo", .method = "DELETE", .body = "x", .n_body = 1}, 200, 0, "x", "X-Method", "DELETE"},
        {"field",      PLAIN, 0, {.url = "/echo", .header = &(struct http_header){"X-One", "1: a"}, .n_header = 1}, 200, 0, "", "Got-X-One", "1: a"},
        {"empty field",PLAIN, 0, {.url = "/echo", .header = &(struct http_header){"X-Empty", ""}, .n_header = 1}, 200, 0, "", "Got-X-Empty", ""},
        {"injection",  PLAIN, 0, {.url = "/echo", .header = &(struct http_header){"X-One", "1\r\nX: y"}, .n_header = 1}, 0, HTTP_CAUSE_ARGUMENT, "", NULL, NULL},
        {"from",       PLAIN, 0, {.url = "/echo", .from = 100}, 200, 0, "", "Got-Range", "bytes=100-"},
        {"until",      PLAIN, 0, {.url = "/echo", .from = 100, .until = 200}, 200, 0, "", "Got-Range", "bytes=100-199"},
        {"first part", PLAIN, 0, {.url = "/echo", .until = 200}, 200, 0, "", "Got-Range", "bytes=0-199"},
        {"404",        PLAIN, 0, {.url = "/nothing"}, 404, 0, NULL, NULL, NULL},
        {"500",        PLAIN, 0, {.url = "/code/500"}, 500, 0, "as asked\n", NULL, NULL},
        {"302",        PLAIN, 0, {.url = "/redirect/1"}, 302, 0, "elsewhere", "Location", "/echo"},
        {"followed",   PLAIN, 0, {.url = "/redirect/3", .max_redirects = 3}, 200, 0, "", "X-Method", "GET"},
        {"too many",   PLAIN, 0, {.url = "/redirect/4", .max_redirects = 3}, 302, HTTP_CAUSE_REDIRECTS, NULL, NULL, NULL},
        {"to a file",  PLAIN, 0, {.url = "/redirect/file", .max_redirects = 3}, 302, HTTP_CAUSE_REDIRECTS, NULL, NULL, NULL},
        {"POST moved", PLAIN, 0, {.url = "/redirect/2", .max_redirects = 3, .body = "a", .n_body = 1}, 200, 0, "", "X-Method", "GET"},
        {"POST kept",  PLAIN, 0, {.url = "/redirect/1?307", .max_redirects = 3, .body = "a", .n_body = 1}, 200, 0, "a", "X-Method", "POST"},
        {"large",      PLAIN, 0, {.url = "/big", .max_bytes = 100000}, 200, HTTP_CAUSE_LIMIT, NULL, NULL, NULL},
        {"announced",  PLAIN, 0, {.url = "/text", .max_bytes = 100000}, 200, HTTP_CAUSE_LIMIT, "", NULL, NULL},
        {"unpacked",   PLAIN, 0, {.url = "/text", .unpack = true}, 200, 0, NULL, "Content-Encoding", "zstd"},
        {"bomb",       PLAIN, 0, {.url = "/text", .unpack = true, .max_bytes = 100000}, 200, HTTP_CAUSE_LIMIT, NULL, NULL, NULL},
        {"no proxy",   PLAIN, 0, {.url = "/echo", .proxy = ""}, 200, 0, "", NULL, NULL},
        {"h2c",        PLAIN, 1, {.url = "/echo", .body = "abc", .n_body = 3}, 200, 0, "abc", "X-Method", "POST"},
        {"Unix",       UNIX,  0, {.url = "/echo", .body = "abc", .n_body = 3}, 200, 0, "abc", "X-Method", "POST"},
        {"TLS",        TLS,   0, {.url = "/echo", .ca_file = cert, .cert = cert, .body = "abc", .n_body = 3}, 200, 0, "abc", "X-Method", "POST"},
        {"TLS, h2",    TLS,   1, {.url = "/echo", .ca_file = cert, .cert = cert, .body = "abc", .n_body = 3}, 200, 0, "abc", "X-Method", "POST"},
        {"stranger",   TLS,   0, {.url = "/echo", .cert = cert}, 0, HTTP_CAUSE_TLS, "", NULL, NULL},
        {"no cert",    TLS,   0, {.url = "/echo", .ca_file = cert}, 0, HTTP_CAUSE_CUT, "", NULL, NULL},
        {"no ca file", TLS,   0, {.url = "/echo", .ca_file = "/nowhere"}, 0, HTTP_CAUSE_ARGUMENT, "", NULL, NULL},
        // clang-format on
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char to[128];
        struct http_call_options o = cases[i].o;
        struct got g = {0};
        struct error e = {0};
        struct http_answer a;
        snprintf(to, sizeof to, "%s%s", url[cases[i].where], o.url);
        o.url = to;
        o.http2 = cases[i].http2;
        if (cases[i].where == UNIX) o.unix_path = socket_path;
        call(&g, &o);
        if (g.r.cause != cases[i].cause || g.r.code != cases[i].code)
            fail_msg("%s: cause %d, code %d: %s", cases[i].name, g.r.cause, g.r.code, g.why);
        assert_int_equal(g.n_head, g.r.cause ? g.n_head : 1);
        if (cases[i].body && strcmp(g.body.data ? g.body.data : "", cases[i].body) != 0)
            fail_msg("%s: body \"%s\"", cases[i].name, g.body.data);
        buf_deinit(&g.body);
        status s = http_fetch(client, &o, &a, &e); /* the same as a whole */
        if ((s == OK) != (cases[i].cause == 0)) fail_msg("%s, fetched: %s", cases[i].name, e.msg);
        const char *value = cases[i].field ? http_answer_header(&a, cases[i].field) : NULL;
        if (cases[i].field &&
            (value ? !cases[i].value || strcmp(value, cases[i].value) != 0 : !!cases[i].value))
            fail_msg("%s: %s is \"%s\"", cases[i].name, cases[i].field, value);
        http_answer_deinit(&a);
    }
}

static void loops_that_wait(void **state)
{
    int64_t start = clock_us();
    struct got g = {0};
    char to[96];
    int n = 0;
    for (; clock_us() - start < 20000; n++) http_client_wait(client, 20); /* without a call */
    assert_true(n < 10);
    snprintf(to, sizeof to, "%s/echo", url[0]);
    http_call_start(client, &(struct http_call_options){.url = to}, &ops, &g);
    for (int i = 0; i < 1000 && !g.n_end; i++) http_client_wait(client, 20);
    assert_int_equal(g.r.code, 200);
    buf_deinit(&g.body);
}

static void servers_that_misbehave(void **state)
{
#define H "HTTP/1.1 200 OK\r\n"
    static char head[80000];
    static const struct {
        const char *name;
        struct script script;
        struct http_call_options o;
        enum http_cause cause;
        const char *body;
        int at_least_ms, at_most_ms;
    } cases[] = {
        // clang-format off
        {"closes",         {NULL, 0, NULL}, {0}, HTTP_CAUSE_CUT, "", 0, 3000},
        {"garbage",        {"hello\r\n\r\n", 0, NULL}, {0}, HTTP_CAUSE_PROTOCOL, "", 0, 3000},
        {"half a head",    {"HTTP/1.1 200 OK\r\nContent-Le", 0, NULL}, {0}, HTTP_CAUSE_NONE, "", 0, 3000},
        {"too short",      {H "Content-Length: 10\r\n\r\nabc", 0, NULL}, {0}, HTTP_CAUSE_CUT, "abc", 0, 3000},
        {"chunks cut",     {H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 0, NULL}, {0}, HTTP_CAUSE_CUT, "abc", 0, 3000},
        {"bad chunk",      {H "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", 0, NULL}, {0}, HTTP_CAUSE_CUT, "", 0, 3000},
        {"until it closes",{H "\r\nabc", 0, NULL}, {0}, HTTP_CAUSE_NONE, "abc", 0, 3000},
        {"100, then 200",  {"HTTP/1.1 100 Continue\r\n\r\n" H "Content-Length: 2\r\n\r\nok", 0, NULL}, {0}, HTTP_CAUSE_NONE, "ok", 0, 3000},
        {"a large head",   {head, 0, NULL}, {0}, HTTP_CAUSE_LIMIT, "", 0, 3000},
        {"silent",         {NULL, -1, NULL}, {.first_byte_timeout_ms = 200}, HTTP_CAUSE_TIMEOUT, "", 190, 3000},
        {"stalls",         {H "Content-Length: 9\r\n\r\nabc", -1, NULL}, {.stall_timeout_ms = 200}, HTTP_CAUSE_TIMEOUT, "abc", 190, 3000},
        {"slow, yet fine", {H "Content-Length: 6\r\n\r\nabc", 200, "def"}, {.stall_timeout_ms = 2000}, HTTP_CAUSE_NONE, "abcdef", 190, 3000},
        {"too long in all",{H "Content-Length: 6\r\n\r\nabc", 1000, "def"}, {.total_timeout_ms = 300}, HTTP_CAUSE_TIMEOUT, "abc", 290, 3000},
        {"no TLS there",   {NULL, -1, NULL}, {.url = "https", .ca_file = cert, .connect_timeout_ms = 200}, HTTP_CAUSE_TIMEOUT, "", 190, 3000},
        // clang-format on
    };
    memset(head, 'a', sizeof head - 1);
    memcpy(head, H, strlen(H));
    for (size_t i = 1000; i + 100 < sizeof head; i += 1000) memcpy(head + i, "\r\nX: ", 5);
    memcpy(head + sizeof head - 10, "\r\n\r\nabcd", 8);
    memcpy(head + strlen(H), "X: ", 3);
    uint16_t port = scripted_listen();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct http_call_options o = cases[i].o;
        struct got g = {0};
        char to[64];
        pthread_t t;
        script = cases[i].script;
        snprintf(to, sizeof to, "%s://127.0.0.1:%u/", o.url ? o.url : "http", port);
        o.url = to;
        assert_int_equal(pthread_create(&t, NULL, scripted, NULL), 0);
        call(&g, &o);
        pthread_join(t, NULL);
        if (g.r.cause != cases[i].cause || strcmp(g.body.data ? g.body.data : "", cases[i].body) != 0)
            fail_msg("%s: cause %d, body \"%s\": %s", cases[i].name, g.r.cause, g.body.data, g.why);
        if (g.r.total_us < cases[i].at_least_ms * 1000 || g.r.total_us > cases[i].at_most_ms * 1000)
            fail_msg("%s: %lld us", cases[i].name, (long long)g.r.total_us);
        assert_int_equal(g.r.sent, !o.connect_timeout_ms);
        if (g.r.cause) assert_string_not_equal(g.why, "");
        buf_deinit(&g.body);
    }
    close(scripted_fd);

    static const struct {
        const char *url;
        enum http_cause cause;
    } nowhere[] = {
        {"http://127.0.0.1:1/", HTTP_CAUSE_CONNECT},      {"http://name.invalid/", HTTP_CAUSE_RESOLVE},
        {"ftp://127.0.0.1/", HTTP_CAUSE_ARGUMENT},        {"file:///etc/hostname", HTTP_CAUSE_ARGUMENT},
        {"http://127.0.0.1:99999/", HTTP_CAUSE_ARGUMENT}, {"", HTTP_CAUSE_ARGUMENT}};
    for (size_t i = 0; i < COUNT_OF(nowhere); i++) {
        struct got g = {0};
        call(&g, &(struct http_call_options){.url = nowhere[i].url});
        if (g.r.cause != nowhere[i].cause || g.r.sent)
            fail_msg("%s: cause %d, sent %d: %s", nowhere[i].url, g.r.cause, g.r.sent, g.why);
    }
}

static void check_big(const struct got *g)
{
    if (g->r.cause) fail_msg("after %zu bytes: %s", g->body.n, g->why);
    assert_int_equal(g->body.n, BIG);
    for (size_t i = 0; i < BIG; i++)
        if (g->body.data[i] != (char)(i * 7 >> 3)) fail_msg("byte %zu", i);
}

/* Run the client's loop for a while. */
static void run_for(int ms)
{
    struct got g = {0};
    char to[96];
    snprintf(to, sizeof to, "%s/never", url[0]);
    struct http_call *c = http_call_start(
        client, &(struct http_call_options){.url = to, .total_timeout_ms = (uint32_t)ms}, &ops, &g);
    (void)c;
    while (!g.n_end) http_client_step(client);
}

static void a_paused_answer_waits_at_the_server(void **state)
{
    struct got g = {.pause_at_once = true};
    char to[96];
    snprintf(to, sizeof to, "%s/big", url[0]);
    atomic_store(&produced, 0);
    g.call =
        http_call_start(client, &(struct http_call_options){.url = to, .stall_timeout_ms = 1000}, &ops, &g);
    run_for(1200); /* longer than the stall timeout, which does not run meanwhile */
    assert_int_equal(g.n_end, 0);
    assert_in_range(g.body.n, 1, 16 * 1024);
    assert_in_range(atomic_load(&produced), 1, BIG / 2); /* the sockets' buffers */
    for (int n_pause = 1; !g.n_end; n_pause++) {
        g.pause_at_once = n_pause < 20;
        http_call_pause(g.call, false);
        for (size_t had = g.body.n; !g.n_end && g.body.n == had;) http_client_step(client);
    }
    check_big(&g);
    buf_deinit(&g.body);
}

static void bodies_that_are_pulled(void **state)
{
    static const struct {
        const char *name;
        int pieces, waits;
        bool fails, http2;
        int64_t length;
        enum http_cause cause;
        const char *echoed;
    } cases[] = {
        {"unknown length", 3, 0, 0, 0, -1, 0, "piece 3.piece 2.piece 1."},
        {"known length", 2, 0, 0, 0, 16, 0, "piece 2.piece 1."},
        {"waits", 3, 2, 0, 0, -1, 0, "piece 3.piece 2.piece 1."},
        {"HTTP/2", 3, 2, 0, 1, -1, 0, "piece 3.piece 2.piece 1."},
        {"fails", 3, 1, 1, 0, -1, HTTP_CAUSE_BODY, ""},
        {"too short", 1, 0, 0, 0, 16, HTTP_CAUSE_BODY, ""},
        {"too long", 3, 0, 0, 0, 12, HTTP_CAUSE_BODY, ""},
    };
    char to[96];
    snprintf(to, sizeof to, "%s/echo", url[0]);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct got g = {.send = {cases[i].pieces, cases[i].waits, cases[i].fails, false}};
        g.call = http_call_start(
            client,
            &(struct http_call_options){
                .url = to, .pull_body = true, .body_length = cases[i].length, .http2 = cases[i].http2},
            &ops, &g);
        while (!g.n_end) {
            if (g.send.waiting) {
                run_for(20);
                if (g.n_end) fail_msg("%s: ended while it waited", cases[i].name);
                http_call_wake(g.call);
                while (g.send.waiting) http_client_step(client);
            }
            http_client_step(client);
        }
        if (g.r.cause != cases[i].cause || strcmp(g.body.data ? g.body.data : "", cases[i].echoed) != 0)
            fail_msg("%s: cause %d, body \"%s\": %s", cases[i].name, g.r.cause, g.body.data, g.why);
        buf_deinit(&g.body);
    }
}

static void cancelled_calls_are_heard_of_no_more(void **state)
{
    struct error e = {0};
    struct got before = {0}, inside = {.cancel_at_once = true}, other = {0}, twice = {.cancel_other = &other};
    char big_url[96], never_url[96];
    int gone = atomic_load(&n_gone);
    snprintf(big_url, sizeof big_url, "%s/big", url[0]);
    snprintf(never_url, sizeof never_url, "%s/never", url[0]);
    const struct http_call_options o = {.url = big_url}, waits = {.url = never_url};

    before.call = http_call_start(client, &o, &ops, &before);
    http_call_cancel(before.call);
    inside.call = http_call_start(client, &o, &ops, &inside);
    other.call = http_call_start(client, &waits, &ops, &other);
    run_for(100); /* other waits at the server by now */
    twice.call = http_call_start(client, &o, &ops, &twice);
    assert_int_equal(http_client_run(client, &e), OK);
    assert_int_equal(before.n_head + before.n_end + inside.n_end + other.n_head + other.n_end, 0);
    assert_int_equal(inside.n_head, 1);
    check_big(&twice);
    for (int i = 0; i < 1000 && atomic_load(&n_gone) < gone + 2; i++) usleep(1000);
    assert_true(atomic_load(&n_gone) >= gone + 2); /* inside's and other's, and run_for's own */
    buf_deinit(&inside.body);
    buf_deinit(&twice.body);

    struct http_client *mine = client;
    struct got left = {0};
    open_client(NULL);
    http_call_start(client, &waits, &ops, &left);
    http_client_free(client);
    assert_int_equal(left.n_end, 1);
    assert_int_equal(left.r.cause, HTTP_CAUSE_CANCELLED);
    client = mine;
}

static void connections_are_used_again(void **state)
{
    struct got g = {0};
    struct http_client *mine = client;
    char to[96];
    snprintf(to, sizeof to, "%s/echo", url[0]);
    open_client(NULL);
    for (int i = 0; i < 3; i++) {
        call(&g, &(struct http_call_options){.url = to});
        assert_int_equal(g.r.reused, i > 0);
    }
    /* Not by a call that may not connect there. */
    call(&g, &(struct http_call_options){.url = to, .may_connect = http_address_is_public});
    assert_int_equal(g.r.cause, HTTP_CAUSE_FORBIDDEN);
    assert_false(g.r.sent);
    close_client(NULL);
    client = mine;
}

static bool only_127(void *user, const struct sockaddr *a)
{
    char text[INET_ADDRSTRLEN] = "";
    (*(int *)user)++;
    if (a->sa_family != AF_INET) return false;
    inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, text, sizeof text);
    return !strcmp(text, "127.0.0.1");
}

static void addresses_and_keys_at_redirections(void **state)
{
    struct got g = {0};
    int asked = 0;
    char to[96], name[96];
    snprintf(to, sizeof to, "%s/redirect/1", url[0]);
    snprintf(name, sizeof name, "http://localhost:%u/echo", http_server_port(server));
    call(&g, &(struct http_call_options){
                 .url = to, .max_redirects = 2, .may_connect = only_127, .may_connect_user = &asked});
    assert_int_equal(g.r.cause, 0);
    assert_true(asked >= 2);
    assert_non_null(strstr(g.at, "/echo"));
    call(&g, &(struct http_call_options){.url = name, .may_connect = http_address_is_public});
    assert_int_equal(g.r.cause, HTTP_CAUSE_FORBIDDEN);

    /* A key is for the host that it was given for. */
    static const char *const where[] = {"/redirect/1", "/redirect/away"};
    for (int i = 0; i < 2; i++) {
        struct http_answer a;
        struct error e = {0};
        snprintf(to, sizeof to, "%s%s", url[0], where[i]);
        assert_int_equal(http_fetch(client,
                                    &(struct http_call_options){
                                        .url = to,
                                        .max_redirects = 2,
                                        .header = &(struct http_header){"Authorization", "Bearer k"},
                                        .n_header = 1},
                                    &a, &e),
                         OK);
        assert_int_equal(a.code, 200);
        assert_int_equal(!!http_answer_header(&a, "Got-Authorization"), i == 0);
        http_answer_deinit(&a);
    }
}

static void addresses_of_the_internet(void **state)
{
    static const struct {
        const char *text;
        bool is_public;
    } cases[] = {
        {"8.8.8.8", true},
        {"1.1.1.1", true},
        {"0.0.0.0", false},
        {"10.1.2.3", false},
        {"127.0.0.1", false},
        {"169.254.169.254", false},
        {"172.15.0.1", true},
        {"172.16.0.1", false},
        {"172.31.9.9", false},
        {"172.32.0.1", true},
        {"192.168.1.1", false},
        {"192.169.1.1", true},
        {"100.64.0.1", false},
        {"100.128.0.1", true},
        {"198.19.0.1", false},
        {"224.0.0.1", false},
        {"240.0.0.1", false},
        {"223.255.255.255", true},
        {"255.255.255.255", false},
        {"::", false},
        {"::1", false},
        {"fe80::1", false},
        {"fd00::1", false},
        {"ff02::1", false},
        {"2606:4700::1", true},
        {"2001:db8::1", false},
        {"2001::1", false},
        {"2001:4860::8888", true},
        {"::ffff:8.8.8.8", true},
        {"::ffff:127.0.0.1", false},
        {"64:ff9b::a00:1", false},
        {"64:ff9b::808:808", true},
        {"2002:7f00:1::", false},
        {"2002:808:808::", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        bool is_v4 = inet_pton(AF_INET, cases[i].text, &v4.sin_addr) == 1;
        assert_true(is_v4 || inet_pton(AF_INET6, cases[i].text, &v6.sin6_addr) == 1);
        if (http_address_is_public(NULL, is_v4 ? (void *)&v4 : (void *)&v6) != cases[i].is_public)
            fail_msg("%s", cases[i].text);
    }
}

/* ---- a gateway in small -------------------------------------------------------------------------------- */

static void an_exchange_that_relays_a_call(void **state)
{
    struct got g = {0};
    char to[96];
    snprintf(to, sizeof to, "%s/relay?big", url[0]);
    call(&g, &(struct http_call_options){.url = to});
    check_big(&g);
    buf_deinit(&g.body);

    /* A client that stops reading stops the server behind the gateway. */
    struct got slow = {.pause_at_once = true};
    atomic_store(&produced, 0);
    slow.call = http_call_start(client, &(struct http_call_options){.url = to}, &ops, &slow);
    run_for(300);
    assert_in_range(atomic_load(&produced), 1, BIG - 1);
    /* And one that goes is gone there too. */
    int gone = atomic_load(&n_gone);
    http_call_cancel(slow.call);
    run_for(10);
    for (int i = 0; i < 1000 && atomic_load(&n_gone) < gone + 2; i++) usleep(1000);
    assert_true(atomic_load(&n_gone) >= gone + 2); /* run_for's and /big; a relay is not counted */
    buf_deinit(&slow.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_and_refusals, open_client, close_client),
        cmocka_unit_test_setup_teardown(servers_that_misbehave, open_client, close_client),
        cmocka_unit_test_setup_teardown(a_paused_answer_waits_at_the_server, open_client, close_client),
        cmocka_unit_test_setup_teardown(bodies_that_are_pulled, open_client, close_client),
        cmocka_unit_test_setup_teardown(cancelled_calls_are_heard_of_no_more, open_client, close_client),
        cmocka_unit_test_setup_teardown(connections_are_used_again, open_client, close_client),
        cmocka_unit_test_setup_teardown(addresses_and_keys_at_redirections, open_client, close_client),
        cmocka_unit_test_setup_teardown(loops_that_wait, open_client, close_client),
        cmocka_unit_test(addresses_of_the_internet),
        cmocka_unit_test_setup_teardown(an_exchange_that_relays_a_call, open_client, close_client),
    };
    return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
