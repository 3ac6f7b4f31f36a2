/* What does not change: assets in memory and files, asked for in every way; streams as text; traces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/client.h"
#include "http/static.h"
#include "support/cert.h"

#include <cmocka.h> /* last: it defines a macro fail() */

enum { LARGE = 1000 * 1000, TEXT = 5000 };

static struct http_server *server[2]; /* plain, TLS */
static pthread_t thread[2];
static char url[2][64], folder[64], text[TEXT], *large;
static struct http_asset page = {.type = "text/html; charset=utf-8", .data = text, .n = TEXT},
                         small = {.type = "text/plain", .data = "0123456789", .n = 10, .cache = "max-age=60"};
static struct http_client *client;

static void trace(struct http_exchange *x, void *user)
{
    struct http_trace t;
    char back[80];
    const char *id = http_last_event_id(x);
    bool ok = http_trace(x, &t);
    snprintf(back, sizeof back, "%d %s %s %d %s", ok, t.id, t.parent, t.sampled, id ? id : "none");
    http_reply(x, 200, "text/plain", back, strlen(back));
}

static char logged[64]; /* the trace of the last line */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void on_access(void *user, const struct http_access *a)
{
    pthread_mutex_lock(&lock);
    snprintf(logged, sizeof logged, "%s", a->trace);
    pthread_mutex_unlock(&lock);
}

static const struct http_route routes[] = {
    {"GET", "/page", http_serve_asset, &page, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/small", http_serve_asset, &small, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/files/{path*}", http_serve_folder, folder, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/trace", trace, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
};

static void write_file(const char *name, const void *p, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static void *serve(void *arg)
{
    struct error e = {0};
    if (http_server_run(arg, &e) != OK) fprintf(stderr, "run: %s\n", e.msg);
    return NULL;
}

static char cert[128];

static int set_up(void **state)
{
    struct error e = {0};
    char path[128];
    strcpy(folder, "/tmp/corral-static-XXXXXX");
    assert_non_null(mkdtemp(folder));
    large = mem_alloc(LARGE);
    for (size_t i = 0; i < LARGE; i++) large[i] = (char)(i * 31 >> 5);
    for (size_t i = 0; i < TEXT; i++) text[i] = "all work and no play "[i % 21];
    write_file("large.bin", large, LARGE);
    write_file("text.txt", text, TEXT);
    write_file(".hidden", "no", 2);
    write_file("empty.txt", "", 0);
    snprintf(path, sizeof path, "%s/sub", folder);
    mkdir(path, 0700);
    write_file("sub/a.js", "1", 1);
    snprintf(path, sizeof path, "%s/pipe", folder);
    mkfifo(path, 0600);
    snprintf(cert, sizeof cert, "%s/cert.pem", folder);
    cert_write(cert);
    http_asset_prepare(&page);
    http_asset_prepare(&small);
    for (int i = 0; i < 2; i++) {
        const struct http_options o = {.tls_cert = i ? cert : NULL, .hsts_s = 300, .on_access = on_access};
        if (http_server_new(&server[i], &o, &e) != OK || http_server_listen(server[i], &e) != OK)
            fail_msg("%s", e.msg);
        http_server_add_routes(server[i], routes, COUNT_OF(routes));
        snprintf(url[i], sizeof url[i], "%s://127.0.0.1:%u", i ? "https" : "http",
                 http_server_port(server[i]));
        assert_int_equal(pthread_create(&thread[i], NULL, serve, server[i]), 0);
    }
    assert_int_equal(http_client_new(&client, &e), OK);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const made[] = {"large.bin", "text.txt", ".hidden", "empty.txt",
                                       "sub/a.js",  "sub",      "pipe",    "cert.pem"};
    char path[128];
    http_client_free(client);
    for (int i = 0; i < 2; i++) {
        http_server_drain(server[i], 500);
        pthread_join(thread[i], NULL);
        http_server_free(server[i]);
    }
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, made[i]);
        remove(path);
    }
    assert_int_equal(rmdir(folder), 0);
    http_asset_deinit(&page);
    http_asset_deinit(&small);
    free(large);
    return 0;
}

static bool http2;
static void get(struct http_answer *a, int where, const char *method, const char *path, const char *name,
                const char *value, const char *name2, const char *value2)
{
    struct http_header h[2] = {{name, value}, {name2, value2}};
    struct error e = {0};
    char to[256];
    snprintf(to, sizeof to, "%s%s", url[where], path);
    const struct http_call_options o = {.method = method,
                                        .url = to,
                                        .header = h,
                                        .n_header = name2  ? 2
                                                    : name ? 1
                                                           : 0,
                                        .http2 = http2,
                                        .ca_file = cert};
    if (http_fetch(client, &o, a, &e) != OK) fail_msg("%s: %s", path, e.msg);
}

static void ranges_conditions_and_heads(void **state)
{
    static const struct {
        const char *method, *path, *name, *value;
        int code;
        size_t from, n; /* of the body, in large, text or small */
        const char *field, *want;
    } cases[] = {
        // clang-format off
        {"GET",  "/small", NULL, NULL, 200, 0, 10, "Cache-Control", "max-age=60"},
        {"HEAD", "/small", NULL, NULL, 200, 0, 0, "Content-Length", "10"},
        {"HEAD", "/files/large.bin", NULL, NULL, 200, 0, 0, "Content-Length", "1000000"},
        {"HEAD", "/files/large.bin", "Range", "bytes=0-1", 200, 0, 0, "Content-Length", "1000000"},
        {"GET",  "/small", "Range", "bytes=2-4", 206, 2, 3, "Content-Range", "bytes 2-4/10"},
        {"GET",  "/small", "Range", "bytes=2-", 206, 2, 8, "Content-Range", "bytes 2-9/10"},
        {"GET",  "/small", "Range", "bytes=2-99", 206, 2, 8, "Content-Range", "bytes 2-9/10"},
        {"GET",  "/small", "Range", "bytes=-3", 206, 7, 3, "Content-Range", "bytes 7-9/10"},
        {"GET",  "/small", "Range", "bytes=-30", 206, 0, 10, "Content-Range", "bytes 0-9/10"},
        {"GET",  "/small", "Range", "bytes=10-", 416, 0, 0, "Content-Range", "bytes */10"},
        {"GET",  "/small", "Range", "bytes=-0", 416, 0, 0, "Content-Range", "bytes */10"},
        {"GET",  "/small", "Range", "bytes=99999999999999999999999-", 200, 0, 10, NULL, NULL},
        {"GET",  "/small", "Range", "bytes=4-2", 200, 0, 10, NULL, NULL},
        {"GET",  "/small", "Range", "bytes=1-2,4-5", 200, 0, 10, NULL, NULL},
        {"GET",  "/small", "Range", "lines=1-2", 200, 0, 10, NULL, NULL},
        {"GET",  "/small", "If-None-Match", "*", 304, 0, 0, NULL, NULL},
        {"GET",  "/small", "If-None-Match", "\"x\"", 200, 0, 10, NULL, NULL},
        {"GET",  "/small", "If-None-Match", "\"", 200, 0, 10, NULL, NULL},
        {"GET",  "/files/large.bin", NULL, NULL, 200, 0, LARGE, "Accept-Ranges", "bytes"},
        {"GET",  "/files/large.bin", "Range", "bytes=500000-", 206, 500000, 500000, "Content-Range", "bytes 500000-999999/1000000"},
        {"GET",  "/files/large.bin", "Range", "bytes=1000000-", 416, 0, 0, "Content-Range", "bytes */1000000"},
        {"GET",  "/files/empty.txt", NULL, NULL, 200, 0, 0, "Content-Length", "0"},
        {"GET",  "/files/empty.txt", "Range", "bytes=0-", 416, 0, 0, NULL, NULL},
        {"GET",  "/files/sub/a.js", NULL, NULL, 200, 0, 1, "Content-Type", "text/javascript; charset=utf-8"},
        {"GET",  "/files/text.txt", NULL, NULL, 200, 0, TEXT, "Content-Type", "text/plain; charset=utf-8"},
        {"GET",  "/page", NULL, NULL, 200, 0, TEXT, "X-Frame-Options", "DENY"},
        {"GET",  "/page", "Range", "bytes=21-41", 206, 21, 21, "Content-Encoding", NULL},
        {"GET",  "/files/nothing", NULL, NULL, 404, 0, 0, NULL, NULL},
        {"GET",  "/files/sub", NULL, NULL, 404, 0, 0, NULL, NULL},
        {"GET",  "/files/pipe", NULL, NULL, 404, 0, 0, NULL, NULL},
        {"GET",  "/files/.hidden", NULL, NULL, 404, 0, 0, NULL, NULL},
        {"GET",  "/files/../../etc/hostname", NULL, NULL, 404, 0, 0, NULL, NULL},
        {"GET",  "/files/sub/../text.txt", NULL, NULL, 404, 0, 0, NULL, NULL},
        {"GET",  "/files/sub/%2e%2e/text.txt", NULL, NULL, 404, 0, 0, NULL, NULL},
        {"GET",  "/files//etc/hostname", NULL, NULL, 404, 0, 0, NULL, NULL},
        {"GET",  "/files/%2fetc/hostname", NULL, NULL, 404, 0, 0, NULL, NULL},
        // clang-format on
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct http_answer a;
        get(&a, 0, cases[i].method, cases[i].path, cases[i].name, cases[i].value, NULL, NULL);
        const char *all = !strncmp(cases[i].path, "/small", 6) ? "0123456789"
                          : strstr(cases[i].path, "large")     ? large
                                                               : text;
        if (strstr(cases[i].path, "a.js")) all = "1";
        if (a.code != cases[i].code) fail_msg("case %zu: %d", i, a.code);
        if (a.code < 400) {
            if (a.body.n != cases[i].n) fail_msg("case %zu: %zu bytes", i, a.body.n);
            if (a.body.n) assert_memory_equal(a.body.data, all + cases[i].from, cases[i].n);
        }
        const char *got = cases[i].field ? http_answer_header(&a, cases[i].field) : NULL;
        if (cases[i].field && strcmp(got ? got : "", cases[i].want ? cases[i].want : "") != 0)
            fail_msg("case %zu: %s is %s", i, cases[i].field, got);
        http_answer_deinit(&a);
    }
}

static void tags_dates_and_codings(void **state)
{
    static const char *const paths[] = {"/page", "/small", "/files/large.bin", "/files/text.txt"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        struct http_answer a, b;
        char tag[64], list[128], date[64] = "";
        get(&a, 0, "GET", paths[i], NULL, NULL, NULL, NULL);
        snprintf(tag, sizeof tag, "%s", http_answer_header(&a, "ETag"));
        if (http_answer_header(&a, "Last-Modified"))
            snprintf(date, sizeof date, "%s", http_answer_header(&a, "Last-Modified"));
        snprintf(list, sizeof list, "\"a\", W/%s, \"b\"", tag);
        get(&b, 0, "GET", paths[i], "If-None-Match", list, NULL, NULL);
        assert_int_equal(b.code, 304);
        assert_string_equal(http_answer_header(&b, "ETag"), tag);
        assert_int_equal(b.body.n, 0);
        http_answer_deinit(&b);
        get(&b, 0, "GET", paths[i], "If-Range", tag, "Range", "bytes=1-3");
        assert_int_equal(b.code, 206);
        http_answer_deinit(&b);
        get(&b, 0, "GET", paths[i], "If-Range", "\"other\"", "Range", "bytes=1-3");
        assert_int_equal(b.code, 200);
        assert_int_equal(b.body.n, a.body.n);
        http_answer_deinit(&b);
        assert_int_equal(!!date[0], i >= 2);
        if (date[0]) {
            get(&b, 0, "GET", paths[i], "If-Modified-Since", date, NULL, NULL);
            assert_int_equal(b.code, 304);
            http_answer_deinit(&b);
            get(&b, 0, "GET", paths[i], "If-Modified-Since", date, "If-None-Match", "\"other\"");
            assert_int_equal(b.code, 200); /* the tag decides */
            http_answer_deinit(&b);
        }
        static const char *const codings[] = {"gzip", "zstd"};
        for (size_t k = 0; k < COUNT_OF(codings); k++) {
            bool packs = strcmp(paths[i], "/small") != 0 && strcmp(paths[i], "/files/large.bin") != 0;
            get(&b, 0, "GET", paths[i], "Accept-Encoding", codings[k], NULL, NULL);
            const char *coding = http_answer_header(&b, "Content-Encoding"),
                       *other = http_answer_header(&b, "ETag");
            assert_int_equal(!!coding, packs);
            if (packs) {
                assert_string_equal(coding, codings[k]);
                assert_string_equal(http_answer_header(&b, "Vary"), "Accept-Encoding");
                assert_string_not_equal(other, tag); /* other bytes */
                assert_in_range(b.body.n, 1, 300);
                struct http_answer c;
                get(&c, 0, "GET", paths[i], "If-None-Match", other, "Accept-Encoding", codings[k]);
                assert_int_equal(c.code, 304);
                http_answer_deinit(&c);
            }
            http_answer_deinit(&b);
        }
        /* unpacked by the client it is what it was */
        char to[128];
        struct error e = {0};
        snprintf(to, sizeof to, "%s%s", url[0], paths[i]);
        assert_int_equal(http_fetch(client, &(struct http_call_options){.url = to, .unpack = true}, &b, &e),
                         OK);
        assert_int_equal(b.body.n, a.body.n);
        assert_memory_equal(b.body.data, a.body.data, a.body.n);
        http_answer_deinit(&b);
        http_answer_deinit(&a);
    }
}

static void the_same_over_http2(void **state)
{
    http2 = true;
    ranges_conditions_and_heads(state);
    http2 = false;
}

/* ---- a download that is cut and goes on ------------------------------------------------------------------
 */

struct download {
    struct buf got;
    size_t cut_at;
    char tag[64];
    uint64_t from;
    int64_t whole;
    bool fits, ended;
};
static void download_head(struct http_call *c, void *user, int code)
{
    struct download *d = user;
    d->fits = http_call_extent(c, &d->from, &d->whole);
    if (d->fits && d->from == 0) buf_reset(&d->got); /* all of it, from the beginning */
    snprintf(d->tag, sizeof d->tag, "%s", http_call_header(c, "etag"));
}
static void download_body(struct http_call *c, void *user, const char *p, size_t n)
{
    struct download *d = user;
    buf_add(&d->got, p, n);
    if (d->cut_at && d->got.n > d->cut_at) http_call_cancel(c);
}
static void download_end(struct http_call *c, void *user, const struct http_result *r)
{
    ((struct download *)user)->ended = r->cause == HTTP_CAUSE_NONE;
}
static const struct http_call_ops downloading = {
    .head = download_head, .body = download_body, .end = download_end};

static void downloads_go_on(void **state)
{
    struct download d = {.cut_at = 300000};
    struct error e = {0};
    char to[128];
    snprintf(to, sizeof to, "%s/files/large.bin", url[0]);
    http_call_start(client, &(struct http_call_options){.url = to}, &downloading, &d);
    assert_int_equal(http_client_run(client, &e), OK);
    assert_false(d.ended);
    assert_int_equal(d.whole, LARGE);
    assert_in_range(d.got.n, 300000, LARGE - 1);
    struct http_call_options go_on = {.url = to, .from = d.got.n, .if_match = d.tag, .buffer_bytes = 1 << 18};
    d.cut_at = 0;
    http_call_start(client, &go_on, &downloading, &d);
    assert_int_equal(http_client_run(client, &e), OK);
    assert_true(d.ended && d.fits && d.from > 0);
    assert_int_equal(d.got.n, LARGE);
    assert_memory_equal(d.got.data, large, LARGE);

    d.got.n = 1000; /* it has changed meanwhile: the whole comes */
    go_on.from = 1000;
    go_on.if_match = "\"another\"";
    http_call_start(client, &go_on, &downloading, &d);
    assert_int_equal(http_client_run(client, &e), OK);
    assert_true(d.ended && d.fits && d.from == 0);
    assert_int_equal(d.got.n, LARGE);

    go_on.from = LARGE; /* nothing is left */
    go_on.if_match = NULL;
    http_call_start(client, &go_on, &downloading, &d);
    assert_int_equal(http_client_run(client, &e), OK);
    assert_true(d.ended && !d.fits);
    buf_deinit(&d.got);
}

/* ---- the rest --------------------------------------------------------------------------------------------
 */

static void browsers_are_told(void **state)
{
    struct http_answer a;
    for (int tls = 0; tls < 2; tls++) {
        get(&a, tls, "GET", "/page", NULL, NULL, NULL, NULL);
        const char *hsts = http_answer_header(&a, "Strict-Transport-Security");
        assert_int_equal(!!hsts, tls);
        if (tls) assert_string_equal(hsts, "max-age=300");
        assert_string_equal(http_answer_header(&a, "X-Content-Type-Options"), "nosniff");
        assert_non_null(strstr(http_answer_header(&a, "Content-Security-Policy"), "frame-ancestors 'none'"));
        http_answer_deinit(&a);
    }
    get(&a, 0, "GET", "/small", NULL, NULL, NULL, NULL);
    assert_null(http_answer_header(&a, "Content-Security-Policy"));
    http_answer_deinit(&a);
}

static void traces_and_event_ids(void **state)
{
#define ID  "4bf92f3577b34da6a3ce929d0e0e4736"
#define PAR "00f067aa0ba902b7"
    static const struct {
        const char *name, *value, *want;
    } cases[] = {
        {"traceparent", "00-" ID "-" PAR "-01", "1 " ID " " PAR " 1 none"},
        {"traceparent", "00-" ID "-" PAR "-00", "1 " ID " " PAR " 0 none"},
        {"Traceparent", "00-" ID "-" PAR "-ff", "1 " ID " " PAR " 1 none"},
        {"traceparent", "01-" ID "-" PAR "-01-more", "1 " ID " " PAR " 1 none"},
        {"traceparent", "01-" ID "-" PAR "-01more", "0   0 none"},
        {"traceparent", "00-" ID "-" PAR "-01-more", "0   0 none"},
        {"traceparent", "ff-" ID "-" PAR "-01", "0   0 none"},
        {"traceparent", "00-00000000000000000000000000000000-" PAR "-01", "0   0 none"},
        {"traceparent", "00-" ID "-0000000000000000-01", "0   0 none"},
        {"traceparent", "00-4BF92f3577b34da6a3ce929d0e0e4736-" PAR "-01", "0   0 none"},
        {"traceparent", "00-" ID "-" PAR, "0   0 none"},
        {"traceparent", "x", "0   0 none"},
        {"Last-Event-ID", "42", "0   0 42"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct http_answer a;
        get(&a, 0, "GET", "/trace", cases[i].name, cases[i].value, NULL, NULL);
        assert_string_equal(a.body.data, cases[i].want);
        for (int k = 0; k < 1000; k++) { /* the line is written when the exchange is over */
            pthread_mutex_lock(&lock);
            bool same = !strcmp(logged, cases[i].want[0] == '1' ? ID : "");
            pthread_mutex_unlock(&lock);
            if (same) break;
            if (k == 999) fail_msg("case %zu: \"%s\" was logged", i, logged);
            usleep(1000);
        }
        http_answer_deinit(&a);
    }
}

static void lines_and_ids(void **state)
{
    struct buf b = {0};
    http_ndjson(&b, "{\"a\":\r\n1}", 9);
    http_ndjson(&b, "2", 1);
    http_sse_id(&b, "7\nevent: x");
    assert_string_equal(b.data, "{\"a\":  1}\n2\nid: 7\n");
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_conditions_and_heads),
        cmocka_unit_test(the_same_over_http2),
        cmocka_unit_test(tags_dates_and_codings),
        cmocka_unit_test(downloads_go_on),
        cmocka_unit_test(browsers_are_told),
        cmocka_unit_test(traces_and_event_ids),
        cmocka_unit_test(lines_and_ids),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
