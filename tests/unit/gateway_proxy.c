/* The proxy between a client and workers that do as a script says; the pool is a stand-in of this file. */
#include "gateway/relay.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/client.h"
#include "pool/pool.h"

#include <cmocka.h> /* last: it defines a macro fail() */

#define SSE  "text/event-stream"
#define JSON "application/json"
#define J0   ": corral {\"id\":\"a\",\"seed\":\"7\"}\n\n"

/* ---- scripts ------------------------------------------------------------------------------------------ */

struct answer {
    int code;
    const char *type, *body;
    bool cut; /* the connection ends behind it */
};
static const struct script {
    const char *name, *path, *body; /* name: of the model */
    const char *options;            /* of the model, as the pool has them */
    int wait_ms;                    /* until there is a worker */
    struct answer answer[4];        /* of one call after the other */
    int refuse; /* the pool says so instead of `again`, or at once when there is no answer */
    /* what the client gets */
    int code;
    const char *out;
    const char *asked; /* the body of the last call, whole; NULL: not looked at */
    uint32_t calls;
} script[] = {
    {"plain",
     "/v1/completions",
     "{\"model\":\"plain\",\"x\":1}",
     NULL,
     0,
     {{200, JSON, "{\"ok\":1}", false}},
     0,
     200,
     "{\"ok\":1}",
     "{\"model\":\"plain\",\"x\":1}",
     1},
    {"bad",
     "/v1/completions",
     "{\"model\":\"bad\"}",
     NULL,
     0,
     {{400, JSON, "{\"error\":{}}", false}},
     0,
     400,
     "{\"error\":{}}",
     NULL,
     1},
    {"stream",
     "/v1/completions",
     "{\"model\":\"stream\",\"stream\":true}",
     NULL,
     0,
     {{200, SSE, "data: 1\n\ndata: [DONE]\n\n", false}},
     0,
     200,
     "data: 1\n\ndata: [DONE]\n\n",
     NULL,
     1},
    {"waits",
     "/v1/completions",
     "{\"model\":\"waits\"}",
     NULL,
     300,
     {{200, JSON, "{}", false}},
     0,
     200,
     "{}",
     NULL,
     1},
    {"nobody",
     "/v1/completions",
     "{\"model\":\"nobody\"}",
     NULL,
     0,
     {{0, NULL, NULL, false}},
     404,
     404,
     "nobody here",
     NULL,
     0},
    {"nobody",
     "/api/chat",
     "{\"model\":\"nobody\"}",
     NULL,
     0,
     {{0, NULL, NULL, false}},
     404,
     404,
     "{\"error\":\"model 'nobody' not found: nobody here\"}",
     NULL,
     0},
    /* failures before anything was seen are repeated */
    {"cut",
     "/v1/completions",
     "{\"model\":\"cut\"}",
     NULL,
     0,
     {{200, JSON, "{\"ok\"", true}, {200, JSON, "{\"ok\":2}", false}},
     0,
     200,
     "{\"ok\":2}",
     NULL,
     2},
    {"broken",
     "/v1/completions",
     "{\"model\":\"broken\"}",
     NULL,
     0,
     {{500, JSON, "{}", false}, {200, JSON, "{\"ok\":3}", false}},
     0,
     200,
     "{\"ok\":3}",
     NULL,
     2},
    {"dead",
     "/v1/completions",
     "{\"model\":\"dead\"}",
     NULL,
     0,
     {{200, JSON, "{", true}, {200, JSON, "{", true}, {200, JSON, "{", true}, {200, JSON, "{}", false}},
     0,
     502,
     "the model's worker failed",
     NULL,
     3},
    {"500",
     "/v1/completions",
     "{\"model\":\"500\"}",
     NULL,
     0,
     {{500, JSON, "{\"e\":1}", false}, {500, JSON, "{\"e\":2}", false}, {500, JSON, "{\"e\":3}", false}},
     0,
     500,
     "{\"e\":3}",
     NULL,
     3},
    {"501",
     "/v1/completions",
     "{\"model\":\"501\"}",
     NULL,
     0,
     {{501, JSON, "{\"e\":1}", false}},
     0,
     501,
     "{\"e\":1}",
     NULL,
     1},
    {"gone",
     "/v1/completions",
     "{\"model\":\"gone\"}",
     NULL,
     0,
     {{200, JSON, "{", true}},
     503,
     503,
     "nobody here",
     NULL,
     1},
    {"early",
     "/v1/completions",
     "{\"model\":\"early\",\"stream\":true}",
     NULL,
     0,
     {{200, SSE, J0, true}, {200, SSE, "data: 1\n\n", false}},
     0,
     200,
     "data: 1\n\n",
     NULL,
     2},
    /* streams go on behind what their journal says */
    {"resume",
     "/v1/completions",
     "{\"model\":\"resume\",\"stream\":true}",
     NULL,
     0,
     {{200, SSE, J0 "data: 1\n\n: corral {\"t\":[[0,[5]]]}\n\ndata: 2\n\n", true},
      {200, SSE,
       ": corral {\"id\":\"a\",\"seed\":\"7\"}\n\ndata: 2\n\n: corral {\"t\":[[0,[6]]]}\n\ndata: [DONE]\n\n: "
       "corral {\"end\":true}\n\n",
       false}},
     0,
     200,
     "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n",
     "{\"id\":\"a\",\"seed\":\"7\",\"t\":[[0,[5]]]}{\"model\":\"resume\",\"stream\":true}",
     2},
    {"often",
     "/v1/completions",
     "{\"model\":\"often\",\"stream\":true}",
     NULL,
     0,
     {{200, SSE, J0 "data: 1\n\n: corral {\"t\":[[0,[5]]]}\n\n", true},
      {200, SSE, J0 "data: 2\n\n: corral {\"t\":[[0,[6]]]}\n\n", true},
      {200, SSE, J0 "data: 3\n\n: corral {\"t\":[[0,[7]]]}\n\n", true},
      {200, SSE, J0 "data: 4\n\n: corral {\"end\":true}\n\n", false}},
     0,
     200,
     "data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n",
     NULL,
     4},
    {"lines",
     "/api/chat",
     "{\"model\":\"lines\"}",
     NULL,
     0,
     {{200, "application/x-ndjson", ": corral {\"id\":\"a\"}\n{1}\n: corral {\"t\":[[0,[5]]]}\n{2}", true},
      {200, "application/x-ndjson", "{2}\n: corral {\"t\":[[0,[6]],[1,[7]]]}\n{3}\n: corral {\"end\":true}\n",
       false}},
     0,
     200,
     "{1}\n{2}\n{3}\n",
     NULL,
     2},
    {"ended",
     "/v1/completions",
     "{\"model\":\"ended\",\"stream\":true}",
     NULL,
     0,
     {{200, SSE, J0 "data: 1\n\n: corral {\"end\":true}\n\n", true}},
     0,
     200,
     "data: 1\n\n",
     NULL,
     1},
    {"unknown",
     "/v1/completions",
     "{\"model\":\"unknown\",\"stream\":true}",
     NULL,
     0,
     {{200, SSE, "data: 1\n\ndata: 2", true}},
     0,
     200,
     "data: 1\n\ndata: {\"error\":{\"message\":\"the model's worker failed",
     NULL,
     1},
    {"refuses",
     "/v1/completions",
     "{\"model\":\"refuses\",\"stream\":true}",
     NULL,
     0,
     {{200, SSE, J0 "data: 1\n\n: corral {\"t\":[[0,[5]]]}\n\n", true},
      {400, JSON, "{\"error\":{}}", false},
      {400, JSON, "{\"error\":{}}", false}},
     0,
     200,
     "data: 1\n\ndata: {\"error\":",
     NULL,
     3},
    /* what one worker does not remember another one may */
    {"memory",
     "/v1/responses",
     "{\"model\":\"memory\",\"previous_response_id\":\"resp_1\"}",
     NULL,
     0,
     {{404, JSON, "{\"e\":1}", false}, {404, JSON, "{\"e\":2}", false}, {200, JSON, "{\"ok\":1}", false}},
     0,
     200,
     "{\"ok\":1}",
     "{\"model\":\"memory\",\"previous_response_id\":\"resp_1\"}",
     3},
    {"forgotten",
     "/v1/responses",
     "{\"model\":\"forgotten\",\"previous_response_id\":\"resp_1\",\"stream\":true}",
     NULL,
     0,
     {{404, JSON, "{\"e\":1}", false}, {404, JSON, "{\"e\":2}", false}},
     0,
     404,
     "{\"e\":2}",
     NULL,
     2},
    {"stateless",
     "/v1/responses",
     "{\"model\":\"stateless\"}",
     NULL,
     0,
     {{404, JSON, "{\"e\":1}", false}, {200, JSON, "{}", false}},
     0,
     404,
     "{\"e\":1}",
     NULL,
     1},
    /* what a model's options do to a body */
    {"options",
     "/v1/completions",
     "{\"model\":\"options\",\"top_k\":3,\"seed\":1}",
     "{\"defaults\":{\"top_k\":9,\"min_p\":0.5},\"set\":{\"user\":\"u\"},\"strip\":[\"seed\"]}",
     0,
     {{200, JSON, "{}", false}},
     0,
     200,
     "{}",
     "{\"model\":\"options\",\"top_k\":3,\"min_p\":0.5,\"user\":\"u\"}",
     1},
    {"system",
     "/v1/chat/completions",
     "{\"model\":\"system\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
     "{\"system\":\"be brief\"}",
     0,
     {{200, JSON, "{}", false}},
     0,
     200,
     "{}",
     "{\"model\":\"system\",\"messages\":[{\"role\":\"system\",\"content\":\"be "
     "brief\"},{\"role\":\"user\",\"content\":\"x\"}]}",
     1},
    {"system",
     "/v1/messages",
     "{\"model\":\"system\",\"messages\":[]}",
     "{\"system\":\"be brief\"}",
     0,
     {{200, JSON, "{}", false}},
     0,
     200,
     "{}",
     "{\"model\":\"system\",\"messages\":[],\"system\":\"be brief\"}",
     1},
    {"ollama",
     "/api/chat",
     "{\"model\":\"ollama\",\"stream\":false,\"options\":{\"top_k\":1}}",
     "{\"defaults\":{\"top_k\":9,\"min_p\":0.5,\"think\":false}}",
     0,
     {{200, JSON, "{}", false}},
     0,
     200,
     "{}",
     "{\"model\":\"ollama\",\"stream\":false,\"options\":{\"top_k\":1,\"min_p\":0.5},\"think\":false}",
     1},
    {"no json",
     "/v1/completions",
     "{\"model\":\"no json\",",
     "{\"set\":{\"a\":1}}",
     0,
     {{400, JSON, "{}", false}},
     0,
     400,
     "{}",
     "{\"model\":\"no json\",",
     1},
};

static const struct script *now;
static atomic_uint n_call, n_enter, n_leave;
static char asked[4096], headers[1024];

/* ---- the pool ----------------------------------------------------------------------------------------- */

static char socket_path[64], remote_url[64];
static bool remote;

struct pool_ticket {
    int64_t since_us;
    bool refused;
};

struct pool_ticket *pool_enter(struct pool *p, const struct pool_want *w, struct http_waker *waker)
{
    struct pool_ticket *t = mem_zalloc(1, sizeof *t);
    t->since_us = clock_us();
    t->refused = now->refuse && !now->answer[0].code;
    atomic_fetch_add(&n_enter, 1);
    assert_string_equal(w->model ? w->model : "", now->name);
    return t;
}

enum pool_answer pool_poll(struct pool_ticket *t, struct pool_route *out, struct pool_fault *f)
{
    *out = (struct pool_route){.unix_path = remote ? NULL : socket_path,
                               .url = remote ? remote_url : NULL,
                               .model = remote ? "far" : now->name,
                               .options = now->options,
                               .worker = 1,
                               .generation = 1,
                               .remote = remote,
                               .api_key = remote ? "sesame" : NULL};
    if (t->refused) {
        *f = (struct pool_fault){.code = now->refuse, .msg = "nobody here"};
        return POOL_REFUSED;
    }
    snprintf(out->text, sizeof out->text, "it is being loaded");
    return clock_us() - t->since_us < now->wait_ms * 1000 ? POOL_WAIT : POOL_READY;
}

/* queued: the worker that died had not come to it. */
static bool queued;

bool pool_again(struct pool_ticket *t, const struct pool_outcome *how)
{
    t->refused = now->refuse != 0;
    return !queued;
}

void pool_moved(struct pool_ticket *t) {}

/* As many workers as the script has answers. */
bool pool_elsewhere(struct pool_ticket *t, const struct pool_outcome *how)
{
    return now->answer[atomic_load(&n_call)].code != 0;
}

void pool_leave(struct pool_ticket *t, const struct pool_outcome *how)
{
    atomic_fetch_add(&n_leave, 1);
    free(t);
}

struct pool_view *pool_view_new(struct pool *p)
{
    return mem_zalloc(1, sizeof(struct pool_view));
}
void pool_view_free(struct pool_view *v)
{
    free(v);
}

/* ---- workers ------------------------------------------------------------------------------------------ */

static bool hold; /* answers do not end */
struct giving {
    const struct answer *answer;
    bool given;
};

/* What is cut is seen before that: libcurl repeats by itself what met a kept connection that was closed. */
static enum http_pull give(struct http_exchange *x, void *user, struct buf *out)
{
    struct giving *g = user;
    if (!g->answer->body) return HTTP_WAIT;
    if (g->given && hold) return HTTP_WAIT;
    if (g->given) return HTTP_FAIL;
    buf_adds(out, g->answer->body);
    g->given = true;
    if (hold) return HTTP_WAIT;
    if (!g->answer->cut) return HTTP_DONE;
    http_set_timer(x, 20);
    return HTTP_WAIT;
}
static void again(struct http_exchange *x, void *user) {}
static atomic_uint n_gone;
static void given(struct http_exchange *x, void *user, bool complete)
{
    atomic_fetch_add(&n_gone, !complete);
    free(user);
}
static const struct http_responder giver = {.pull = give, .timer = again, .end = given};

static void work(struct http_exchange *x, void *user)
{
    static const char *const name[] = {"Content-Type", "Authorization", "Cookie",    "X-Request-Id",
                                       "traceparent",  "Connection",    "X-Api-Key", "X-Corral-Journal"};
    const struct answer *a = &now->answer[atomic_fetch_add(&n_call, 1)];
    struct http_str body = http_request_body(x);
    struct buf h = {0};
    snprintf(asked, sizeof asked, "%.*s", (int)body.n, body.p);
    for (size_t i = 0; i < COUNT_OF(name); i++)
        if (http_header(x, name[i])) buf_addf(&h, "%s: %s\n", name[i], http_header(x, name[i]));
    snprintf(headers, sizeof headers, "%s", h.data ? h.data : "");
    buf_deinit(&h);
    http_set_header(x, "X-Corral-Worker", "secret");
    http_set_header(x, "X-Corral-Ignored", "nothing");
    http_set_header(x, "Set-Cookie", "a=b");
    struct giving *g = mem_zalloc(1, sizeof *g);
    g->answer = a;
    http_attach(x, &giver, g);
    if (a->body && !a->cut && strcmp(a->type, JSON) == 0)
        http_stream_sized(x, a->code, a->type, strlen(a->body));
    else
        http_stream(x, a->code, a->type);
}

/* ---- the stage ---------------------------------------------------------------------------------------- */

static struct http_server *front, *worker, *far;
/* Of the proxy alone: management would bring the pool itself. */
static struct gateway gateway = {.o = {.keepalive_ms = 50, .wait_ms = 60000}};
static pthread_t thread[3];
static char url[64];

static void *serve(void *server)
{
    struct error e;
    assert_int_equal(http_server_run(server, &e), OK);
    return NULL;
}

static struct http_server *open_server(const struct http_options *o, const struct http_route *routes,
                                       size_t n)
{
    struct http_server *s;
    struct error e;
    assert_int_equal(http_server_new(&s, o, &e), OK);
    http_server_add_routes(s, routes, n);
    assert_int_equal(http_server_listen(s, &e), OK);
    return s;
}

static int open_all(void **state)
{
    static const struct http_route any[] = {
        {"POST", "/{path*}", work, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ANYONE},
        {"GET", "/{path*}", work, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ANYONE}};
    struct http_route routes[64];
    assert_true(proxy_routes.n <= COUNT_OF(routes));
    log_set_level(LOG_ERROR);
    snprintf(socket_path, sizeof socket_path, "/tmp/corral-proxy-%d", (int)getpid());
    worker = open_server(&(struct http_options){.unix_path = socket_path}, any, 2);
    far = open_server(&(struct http_options){0}, any, 2);
    snprintf(remote_url, sizeof remote_url, "http://127.0.0.1:%u", http_server_port(far));
    for (size_t i = 0; i < proxy_routes.n; i++) {
        routes[i] = proxy_routes.row[i];
        routes[i].user = &gateway;
    }
    front = open_server(&(struct http_options){0}, routes, proxy_routes.n);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(front));
    pthread_create(&thread[0], NULL, serve, worker);
    pthread_create(&thread[1], NULL, serve, far);
    pthread_create(&thread[2], NULL, serve, front);
    return 0;
}

static int close_all(void **state)
{
    struct http_server *all[] = {worker, far, front};
    for (int i = 2; i >= 0; i--) {
        http_server_quit(all[i]);
        pthread_join(thread[i], NULL);
    }
    for (int i = 0; i < 3; i++) http_server_free(all[i]);
    unlink(socket_path);
    return 0;
}

static void run_script(const struct script *s, const struct http_header *h, size_t n, struct http_answer *a)
{
    struct http_client *c;
    struct error e = {0};
    char to[256];
    now = s;
    atomic_store(&n_call, 0);
    asked[0] = headers[0] = 0;
    snprintf(to, sizeof to, "%s%s", url, s->path);
    assert_int_equal(http_client_new(&c, &e), OK);
    const struct http_call_options o = {
        .url = to, .body = s->body, .n_body = strlen(s->body), .header = h, .n_header = n};
    if (http_fetch(c, &o, a, &e) != OK) fail_msg("%s: %s", s->name, e.msg);
    http_client_free(c);
}

static void scripts(void **state)
{
    for (size_t i = 0; i < COUNT_OF(script); i++) {
        const struct script *s = &script[i];
        struct http_answer a;
        run_script(s, NULL, 0, &a);
        const char *got = a.body.data ? a.body.data : "";
        bool whole = s->code == 200 && strncmp(s->out, "data: 1\n\ndata: {\"error", 22) != 0;
        bool same = whole ? !strcmp(got, s->out) : strstr(got, s->out) != NULL;
        if (!same || a.code != s->code || atomic_load(&n_call) != s->calls)
            fail_msg("%s %s: %d, %u calls, '%s'", s->name, s->path, a.code, atomic_load(&n_call), got);
        if (s->asked) assert_string_equal(asked, s->asked);
        http_answer_deinit(&a);
    }
    assert_int_equal(atomic_load(&n_enter), atomic_load(&n_leave));
}

static void a_waiting_stream_says_so(void **state)
{
    static const struct script s = {.name = "slow",
                                    .path = "/v1/completions",
                                    .body = "{\"model\":\"slow\",\"stream\":true}",
                                    .wait_ms = 400,
                                    .answer = {{200, SSE, "data: 1\n\n", false}}};
    struct http_answer a;
    run_script(&s, NULL, 0, &a);
    assert_int_equal(a.code, 200);
    assert_non_null(strstr(a.body.data, ": it is being loaded\n\n"));
    const char *end = a.body.data + a.body.n - 9;
    assert_string_equal(end, "data: 1\n\n");
    http_answer_deinit(&a);
}

/* The head has gone out already when the worker refuses: the reason comes as an event. */
static void a_late_refusal_is_an_event(void **state)
{
    static const struct script s = {
        .name = "late",
        .path = "/v1/completions",
        .body = "{\"model\":\"late\",\"stream\":true}",
        .wait_ms = 200,
        .answer = {{400, JSON, "{\"error\":{\"message\":\"no such field\",\"code\":\"c\"}}", false}}};
    struct http_answer a;
    run_script(&s, NULL, 0, &a);
    assert_int_equal(a.code, 200);
    assert_non_null(strstr(a.body.data, "data: {\"error\":{\"message\":\"no such field\""));
    http_answer_deinit(&a);
}

/* Three times is enough for what may have ended its workers; what only waited there is asked as often as it
 * takes. */
static void those_in_a_queue_are_innocent(void **state)
{
    static const struct script s = {.name = "queued",
                                    .path = "/v1/completions",
                                    .body = "{\"model\":\"queued\"}",
                                    .answer = {{200, JSON, "{", true},
                                               {200, JSON, "{", true},
                                               {200, JSON, "{", true},
                                               {200, JSON, "{\"ok\":4}", false}}};
    struct http_answer a;
    for (int i = 0; i < 2; i++) {
        queued = i;
        run_script(&s, NULL, 0, &a);
        assert_int_equal(a.code, queued ? 200 : 502);
        assert_int_equal(atomic_load(&n_call), queued ? 4 : 3);
        http_answer_deinit(&a);
    }
    queued = false;
}

static void *end_soon(void *unused)
{
    while (!atomic_load(&n_call)) usleep(1000);
    usleep(50000);
    atomic_store(&gateway.over, true);
    relays_wake(&gateway);
    return NULL;
}

/* The server's patience is over: a stream ends with an event that says so, and the worker is let go. */
static void what_is_left_at_the_end_is_told(void **state)
{
    static const struct script s = {
        .name = "left",
        .path = "/v1/completions",
        .body = "{\"model\":\"left\",\"stream\":true}",
        .answer = {{200, SSE, J0 "data: 1\n\n: corral {\"t\":[[0,[5]]]}\n\ndata: 2\n\n", false}}};
    pthread_t t;
    struct http_answer a;
    hold = true;
    assert_int_equal(pthread_create(&t, NULL, end_soon, NULL), 0);
    run_script(&s, NULL, 0, &a);
    pthread_join(t, NULL);
    assert_int_equal(a.code, 200);
    assert_non_null(strstr(a.body.data, "data: 1\n\ndata: {\"error\":"));
    assert_non_null(strstr(a.body.data, "shutting_down"));
    http_answer_deinit(&a);
    hold = false;
    atomic_store(&gateway.over, false);
}

static void headers_cross_by_list(void **state)
{
    static const struct http_header h[] = {
        {"Authorization", "Bearer client"},
        {"Cookie", "a=b"},
        {"X-Request-Id", "r-1"},
        {"traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"},
        {"Content-Type", JSON}};
    struct http_answer a;
    run_script(&script[0], h, COUNT_OF(h), &a);
    assert_string_equal(headers,
                        "Content-Type: application/json\nAuthorization: Bearer client\nX-Request-Id: r-1\n"
                        "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\n");
    assert_string_equal(http_answer_header(&a, "X-Corral-Ignored"), "nothing");
    assert_string_equal(http_answer_header(&a, "X-Request-Id"), "r-1");
    assert_null(http_answer_header(&a, "X-Corral-Worker"));
    assert_null(http_answer_header(&a, "Set-Cookie"));
    http_answer_deinit(&a);

    remote = true; /* a server that is not ours does not see the client's key */
    run_script(&script[0], h, COUNT_OF(h), &a);
    assert_string_equal(headers,
                        "Content-Type: application/json\nAuthorization: Bearer sesame\nX-Request-Id: r-1\n"
                        "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\n");
    assert_string_equal(asked, "{\"model\":\"far\",\"x\":1}");
    http_answer_deinit(&a);
    remote = false;
}

static void skip_head(struct http_call *c, void *user, const char *p, size_t n)
{
    atomic_fetch_add((atomic_uint *)user, 1);
}
static void no_end(struct http_call *c, void *user, const struct http_result *r) {}

/* A client that goes takes the call to the worker with it. */
static void a_client_that_goes_cancels(void **state)
{
    static const struct script s = {"endless",
                                    "/v1/completions",
                                    "{\"model\":\"endless\",\"stream\":true}",
                                    NULL,
                                    0,
                                    {{200, SSE, NULL, false}},
                                    0,
                                    200,
                                    NULL,
                                    NULL,
                                    1};
    static const struct http_call_ops ops = {.body = skip_head, .end = no_end};
    struct http_client *c;
    struct error e;
    char to[256];
    atomic_uint pieces = 0;
    now = &s;
    atomic_store(&n_call, 0);
    unsigned gone = atomic_load(&n_gone);
    snprintf(to, sizeof to, "%s%s", url, s.path);
    assert_int_equal(http_client_new(&c, &e), OK);
    const struct http_call_options o = {
        .url = to, .body = s.body, .n_body = strlen(s.body), .total_timeout_ms = 300};
    http_call_start(c, &o, &ops, &pieces);
    (void)!http_client_run(c, &e);
    http_client_free(c);
    assert_int_equal(atomic_load(&n_call), 1);
    int64_t until = clock_us() + 5000000;
    while (atomic_load(&n_gone) == gone && clock_us() < until) usleep(5000);
    assert_int_equal(atomic_load(&n_gone), gone + 1);
    assert_int_equal(atomic_load(&n_enter), atomic_load(&n_leave));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scripts),
        cmocka_unit_test(a_waiting_stream_says_so),
        cmocka_unit_test(a_late_refusal_is_an_event),
        cmocka_unit_test(those_in_a_queue_are_innocent),
        cmocka_unit_test(what_is_left_at_the_end_is_told),
        cmocka_unit_test(headers_cross_by_list),
        cmocka_unit_test(a_client_that_goes_cancels),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
