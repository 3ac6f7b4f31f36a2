/* Requests that a thread answers: in full, with errors in the family's shape, for clients that stay and that
 * go. */
#include "gateway/errand.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/client.h"

#include <cmocka.h> /* last: it defines a macro fail() */

// clang-format off
static const struct { const char *query, *name, *value; size_t cap; } query[] = {
    {"", "a", NULL, 9}, {"a=1", "a", "1", 9}, {"a=1&b=2", "b", "2", 9}, {"ab=1", "a", NULL, 9}, {"b=1", "ab", NULL, 9},
    {"a=", "a", "", 9}, {"a", "a", NULL, 9}, {"a=1&a=2", "a", "1", 9}, {"a=x%20y+z", "a", "x y z", 9},
    {"a=%4", "a", "%4", 9}, {"a=%", "a", "%", 9}, {"a=%zz", "a", "%zz", 9}, {"a=%41%c3%a9", "a", "A\xc3\xa9", 9},
    {"a=12345", "a", "123", 4}, {"&&a=1", "a", "1", 9}, {"x=a=1&a=3", "a", "3", 9},
};
// clang-format on

static void queries(void **state)
{
    for (size_t i = 0; i < COUNT_OF(query); i++) {
        char out[16] = "none";
        bool there = query_value(query[i].query, query[i].name, out, query[i].cap);
        if (there != !!query[i].value || (there && strcmp(out, query[i].value) != 0))
            fail_msg("%s, %s: %d '%s'", query[i].query, query[i].name, there, out);
    }
}

/* ---- a server with them ------------------------------------------------------------------------------ */

static struct gateway gateway;
static struct http_server *server;
static pthread_t thread;
static char url[64];
static atomic_int n_run, n_freed;

static void echo(struct errand *r)
{
    const char *text;
    atomic_fetch_add(&n_run, 1);
    if (!errand_need(r, "text", &text)) return;
    const char *other = errand_text(r, "other"); /* and text still means what it did */
    errand_json(r, 201, json_pack("{s:s, s:s, s:s*}", "text", text, "param", r->param, "other", other));
}
static void refused(struct errand *r)
{
    struct error e;
    e.code = ERR_BUSY;
    snprintf(e.msg, sizeof e.msg, "somebody else has it");
    errand_error(r, &e);
}
static void slow(struct errand *r)
{
    for (int i = 0; i < 200 && !errand_cancelled(r); i++) usleep(5000);
    atomic_fetch_add(&n_run, errand_cancelled(r) ? 1 : 100);
}
static void owner(struct errand *r)
{
    free(r->user);
    atomic_fetch_add(&n_freed, 1);
    errand_json(r, 200, json_object());
}

static void x_echo(struct http_exchange *x, void *g)
{
    errand_run(x, g, echo);
}
static void x_refused(struct http_exchange *x, void *g)
{
    errand_run(x, g, refused);
}
static void x_slow(struct http_exchange *x, void *g)
{
    errand_run(x, g, slow);
}

static struct errand *own;
static void own_wake(struct http_exchange *x, void *user)
{
    errand_answer(own, x);
}
static void own_end(struct http_exchange *x, void *user, bool complete)
{
    errand_leave(own);
}
static const struct http_responder responder = {.wake = own_wake, .end = own_end};
static void x_own(struct http_exchange *x, void *g)
{
    http_attach(x, &responder, NULL);
    own = errand_start(x, g, owner, malloc(8));
}

static const struct http_route routes[] = {
    {"POST", "/api/echo/{name}", x_echo, &gateway, HTTP_BODY_WHOLE, HTTP_ROLE_ANYONE},
    {"POST", "/v1/echo", x_echo, &gateway, HTTP_BODY_WHOLE, HTTP_ROLE_ANYONE},
    {"GET", "/refused", x_refused, &gateway, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/slow", x_slow, &gateway, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/own", x_own, &gateway, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
};

static void *serve(void *unused)
{
    struct error e;
    (void)!http_server_run(server, &e);
    return NULL;
}

static int start(void **state)
{
    struct error e;
    gateway.errands = errands_new();
    if (http_server_new(&server, &(struct http_options){0}, &e) != OK) return -1;
    http_server_add_routes(server, routes, COUNT_OF(routes));
    if (http_server_listen(server, &e) != OK) return -1;
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(server));
    return pthread_create(&thread, NULL, serve, NULL);
}

static int stop(void **state)
{
    http_server_quit(server);
    pthread_join(thread, NULL);
    errands_stop(gateway.errands);
    http_server_free(server);
    errands_free(gateway.errands);
    return 0;
}

static int ask(const char *path, const char *body, uint32_t timeout_ms, char *out, size_t cap)
{
    struct http_client *c;
    struct http_answer a = {0};
    struct error e;
    char whole[200];
    snprintf(whole, sizeof whole, "%s%s", url, path);
    assert_int_equal(http_client_new(&c, &e), OK);
    const struct http_call_options o = {
        .url = whole, .body = body, .n_body = body ? strlen(body) : 0, .total_timeout_ms = timeout_ms};
    int code = http_fetch(c, &o, &a, &e) == OK ? a.code : 0;
    snprintf(out, cap, "%s", a.body.data ? a.body.data : "");
    http_answer_deinit(&a);
    http_client_free(c);
    return code;
}

// clang-format off
static const struct { const char *path, *body; int code; const char *has; } row[] = {
    {"/v1/echo", "{\"text\":\"hi\"}", 201, "{\"text\":\"hi\",\"param\":\"\"}"},
    {"/api/echo/a%2Fb", "{\"text\":\"hi\"}", 201, "\"param\":\"a/b\""},
    {"/v1/echo?text=of%20the%20query", "{}", 201, "of the query"},
    {"/v1/echo?text=one&other=two", "{}", 201, "{\"text\":\"one\",\"param\":\"\",\"other\":\"two\"}"},
    {"/v1/echo?text=%c3%a9", "{}", 201, "\xc3\xa9"}, {"/v1/echo?text=%c3", "{}", 400, "not UTF-8"},
    {"/v1/echo?text=a%00b", "{}", 400, "not UTF-8"}, {"/v1/echo?text=a&x=%ff", "{}", 400, "not UTF-8"},
    {"/api/echo/%ff", "{\"text\":\"hi\"}", 400, "{\"error\":\"the path or the query is not UTF-8"},
    {"/v1/echo", "{}", 400, "{\"error\":{\"message\":\"\\\"text\\\" is missing"},
    {"/api/echo/a", "{}", 400, "{\"error\":\"\\\"text\\\" is missing"},
    {"/v1/echo", "{\"text\":3}", 400, "missing"},
    {"/v1/echo", "[]", 400, "not a JSON object"},
    {"/v1/echo", "{", 400, "line 1"},
    {"/v1/echo", "{\"text\":\"a\",\"text\":\"b\"}", 400, "duplicate"},
    {"/refused", NULL, 409, "somebody else"},
    {"/own", NULL, 200, "{}"},
};
// clang-format on

static void answers(void **state)
{
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        char out[500];
        int code = ask(row[i].path, row[i].body, 20000, out, sizeof out);
        if (code != row[i].code || !strstr(out, row[i].has))
            fail_msg("%s %s: %d %s", row[i].path, row[i].body ? row[i].body : "", code, out);
    }
    assert_int_equal(atomic_load(&n_freed), 1);
}

static void *ask_many(void *unused)
{
    char out[200];
    intptr_t good = 0;
    for (int i = 0; i < 100; i++) good += ask("/v1/echo", "{\"text\":\"x\"}", 20000, out, sizeof out) == 201;
    return (void *)good;
}

static void many_at_once(void **state)
{
    pthread_t t[6];
    void *good;
    for (size_t i = 0; i < COUNT_OF(t); i++) assert_int_equal(pthread_create(&t[i], NULL, ask_many, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        pthread_join(t[i], &good);
        assert_int_equal((intptr_t)good, 100);
    }
}

static void client_goes(void **state)
{
    char out[100];
    atomic_store(&n_run, 0);
    assert_int_equal(ask("/slow", NULL, 60, out, sizeof out), 0);
    for (int i = 0; i < 1000 && !atomic_load(&n_run); i++) usleep(5000);
    assert_int_equal(atomic_load(&n_run), 1); /* it noticed, and ended early */
}

/* Others' words may be cut in the middle of a letter. */
static void texts(void **state)
{
    static const struct {
        const char *in, *out;
    } text[] = {{"", ""}, {"plain", "plain"}, {"\xc3\xa9", "\xc3\xa9"}, {"a\xc3", "a\xef\xbf\xbd"}};
    for (size_t i = 0; i < COUNT_OF(text); i++) {
        json_t *v = text_json(text[i].in);
        assert_string_equal(json_string_value(v), text[i].out);
        json_decref(v);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(queries), cmocka_unit_test(texts),
                                       cmocka_unit_test(answers), cmocka_unit_test(many_at_once),
                                       cmocka_unit_test(client_goes)};
    return cmocka_run_group_tests(tests, start, stop);
}
