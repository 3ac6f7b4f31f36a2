/* The strict HTTP/1.1 parser: what is refused and how, and that cutting the bytes changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/h1.h"

#include <cmocka.h> /* last: it defines a macro fail() */

#define H "Host: a\r\n"
enum { N_FIELD = 8 };
static const struct h1_limits limits = {600, 100};

/* ---- heads that are refused -------------------------------------------------------------------------- */

static const char long_path[] = /* 120 characters */
    "GET "
    "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "aaaaaaaaaaaaa"
    " HTTP/1.1\r\n" H "\r\n";
static const char long_method[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1\r\n" H "\r\n";

static const struct {
    const char *name;
    int status;
    const char *text;
    size_t n;
} refused[] = {
#define BAD(name, code, text)                                                                                \
    {                                                                                                        \
        name, code, text, sizeof text - 1                                                                    \
    }
    BAD("both lengths", 400,
        "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("both lengths, other order", 400,
        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    BAD("two lengths", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    BAD("two equal lengths", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    BAD("a list of lengths", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n"),
    BAD("length with a sign", 400, "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n"),
    BAD("negative length", 400, "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n"),
    BAD("hexadecimal length", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 0x10\r\n\r\n"),
    BAD("empty length", 400, "POST / HTTP/1.1\r\n" H "Content-Length: \r\n\r\n"),
    BAD("length with a space", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 1 2\r\n\r\n"),
    BAD("length over 63 bits", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\n"),
    BAD("length over 64 bits", 400, "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551621\r\n\r\n"),
    BAD("xchunked", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n"),
    BAD("gzip, chunked", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    BAD("chunked, identity", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, identity\r\n\r\n"),
    BAD("chunked twice", 400,
        "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("quoted chunked", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    BAD("empty transfer encoding", 400, "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n"),
    BAD("chunked in 1.0", 400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n"),
    BAD("folded value", 400, "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"),
    BAD("folded by tab", 400, "GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n"),
    BAD("folded first line", 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    BAD("space before the colon", 400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    BAD("tab before the colon", 400, "GET / HTTP/1.1\r\n" H "Content-Length\t: 5\r\n\r\n"),
    BAD("no colon", 400, "GET / HTTP/1.1\r\n" H "Nothing\r\n\r\n"),
    BAD("empty name", 400, "GET / HTTP/1.1\r\n" H ": a\r\n\r\n"),
    BAD("name with a parenthesis", 400, "GET / HTTP/1.1\r\n" H "X(a): a\r\n\r\n"),
    BAD("name outside ASCII", 400, "GET / HTTP/1.1\r\n" H "X\xc3\xa9: a\r\n\r\n"),
    BAD("bare LF after the request line", 400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    BAD("bare LF after a field", 400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    BAD("bare LF at the end", 400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    BAD("bare CR in a value", 400, "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"),
    BAD("CR CR LF", 400, "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    BAD("NUL in a value", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    BAD("NUL in a name", 400, "GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n"),
    BAD("NUL in the target", 400, "GET /\0 HTTP/1.1\r\n" H "\r\n"),
    BAD("DEL in a value", 400, "GET / HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n"),
    BAD("no host", 400, "GET / HTTP/1.1\r\nX: a\r\n\r\n"),
    BAD("two hosts", 400, "GET / HTTP/1.1\r\n" H H "\r\n"),
    BAD("empty host", 400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    BAD("host with a path", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    BAD("host with a space", 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    BAD("host with a user", 400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    BAD("HTTP/2.0", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    BAD("HTTP/1.2", 505, "GET / HTTP/1.2\r\n" H "\r\n"),
    BAD("HTTP/0.9", 505, "GET / HTTP/0.9\r\n" H "\r\n"),
    BAD("lower-case version", 400, "GET / http/1.1\r\n" H "\r\n"),
    BAD("version with two digits", 400, "GET / HTTP/1.10\r\n" H "\r\n"),
    BAD("no version", 400, "GET /\r\n" H "\r\n"),
    BAD("two spaces", 400, "GET  / HTTP/1.1\r\n" H "\r\n"),
    BAD("two spaces before the version", 400, "GET /  HTTP/1.1\r\n" H "\r\n"),
    BAD("tab for space", 400, "GET\t/ HTTP/1.1\r\n" H "\r\n"),
    BAD("space after the version", 400, "GET / HTTP/1.1 \r\n" H "\r\n"),
    BAD("leading space", 400, " GET / HTTP/1.1\r\n" H "\r\n"),
    BAD("method of separators", 400, "G{T / HTTP/1.1\r\n" H "\r\n"),
    {"long method", 400, long_method, sizeof long_method - 1},
    BAD("relative target", 400, "GET a HTTP/1.1\r\n" H "\r\n"),
    BAD("asterisk for GET", 400, "GET * HTTP/1.1\r\n" H "\r\n"),
    BAD("ftp target", 400, "GET ftp://a/ HTTP/1.1\r\n" H "\r\n"),
    BAD("URL without a host", 400, "GET http:///a HTTP/1.1\r\n" H "\r\n"),
    BAD("fragment", 400, "GET /a#b HTTP/1.1\r\n" H "\r\n"),
    BAD("target outside ASCII", 400, "GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n"),
    BAD("authority target", 400, "CONNECT a:443 HTTP/1.1\r\n" H "\r\n"),
    BAD("another expectation", 417, "POST / HTTP/1.1\r\n" H "Expect: money\r\n\r\n"),
    BAD("TLS", 400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    BAD("two empty lines first", 400, "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"),
    {"long target", 414, long_path, sizeof long_path - 1},
    {"long target, not at its end", 414, long_path, sizeof long_path - 12},
    BAD("nine fields", 431,
        "GET / HTTP/1.1\r\n" H "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nG: 7\r\nI: 8\r\n\r\n"),
};

static enum h1_result parse(struct h1_head *h, const char *p, size_t n, size_t *used, struct h1_fault *f)
{
    static struct http_field field[N_FIELD];
    /* A copy of exactly n bytes, so that the sanitizer sees a read past them. */
    static char *copy;
    free(copy);
    copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    *h = (struct h1_head){.field = field, .max_field = N_FIELD};
    return h1_parse_head(h, copy, n, &limits, used, f);
}

static void heads_that_are_refused(void **state)
{
    assert_true(COUNT_OF(refused) >= 40);
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct h1_head h;
        struct h1_fault f = {0, ""};
        size_t used = 0;
        enum h1_result r = parse(&h, refused[i].text, refused[i].n, &used, &f);
        if (r != H1_BAD || f.status != refused[i].status)
            fail_msg("%s: result %d, status %d (%s), want %d", refused[i].name, r, f.status, f.why,
                     refused[i].status);
    }
}

static void too_many_header_bytes(void **state)
{
    char text[1024] = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    struct h1_head h;
    struct h1_fault f;
    size_t used, n = strlen(text);
    memset(text + n, 'a', sizeof text - n);
    assert_int_equal(parse(&h, text, limits.max_head, &used, &f), H1_INCOMPLETE);
    assert_int_equal(parse(&h, text, limits.max_head + 1, &used, &f), H1_BAD); /* without an end in sight */
    assert_int_equal(f.status, 431);
    memcpy(text + 700, "\r\n\r\n", 4);
    assert_int_equal(parse(&h, text, 704, &used, &f), H1_BAD); /* complete, but too large */
    assert_int_equal(f.status, 431);
    memcpy(text + limits.max_head - 4, "\r\n\r\n", 4);
    assert_int_equal(parse(&h, text, limits.max_head, &used, &f), H1_OK); /* just fits */
    assert_int_equal(used, limits.max_head);
}

/* ---- heads that are accepted ------------------------------------------------------------------------- */

static const struct {
    const char *text, *method, *path, *query;
    enum h1_framing framing;
    uint64_t length;
    bool keep, expect;
    size_t n_field;
} accepted[] = {
    {"GET / HTTP/1.1\r\n" H "\r\n", "GET", "/", "", H1_NO_BODY, 0, true, false, 1},
    {"\r\nGET /a?b=c?d HTTP/1.1\r\n" H "\r\n", "GET", "/a", "b=c?d", H1_NO_BODY, 0, true, false, 1},
    {"GET /? HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: Close\r\n\r\n", "GET", "/", "", H1_NO_BODY, 0, false,
     false, 2},
    {"GET http://h:80/x?y HTTP/1.1\r\n" H "\r\n", "GET", "/x", "y", H1_NO_BODY, 0, true, false, 1},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS", "*", "", H1_NO_BODY, 0, true, false, 1},
    {"GET / HTTP/1.0\r\n\r\n", "GET", "/", "", H1_NO_BODY, 0, false, false, 0},
    {"GET / HTTP/1.0\r\nConnection: foo, Keep-Alive\r\n\r\n", "GET", "/", "", H1_NO_BODY, 0, true, false, 1},
    {"GET / HTTP/1.1\r\n" H "Connection: keep-alive, close\r\n\r\n", "GET", "/", "", H1_NO_BODY, 0, false,
     false, 2},
    {"POST /v1/x HTTP/1.1\r\nhOST:a\r\ncontent-LENGTH:\t 12 \t\r\n\r\n", "POST", "/v1/x", "", H1_LENGTH, 12,
     true, false, 2},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "POST", "/", "", H1_NO_BODY, 0, true, false, 2},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775799\r\n\r\n", "POST", "/", "", H1_LENGTH,
     9223372036854775799u, true, false, 2},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n", "POST", "/", "",
     H1_CHUNKED, 0, true, true, 3},
    {"M-SEARCH / HTTP/1.1\r\n" H "X-Empty:\r\nX-High: \xc3\xa9\r\n\r\n", "M-SEARCH", "/", "", H1_NO_BODY, 0,
     true, false, 3},
};

static bool same(struct http_str s, const char *want)
{
    return s.n == strlen(want) && !memcmp(s.p, want, s.n);
}

static void heads_that_are_accepted_at_any_cut(void **state)
{
    for (size_t i = 0; i < COUNT_OF(accepted); i++) {
        const char *text = accepted[i].text;
        size_t n = strlen(text), used = 0;
        struct h1_head h;
        struct h1_fault f = {0, ""};
        for (size_t cut = 0; cut < n; cut++)
            if (parse(&h, text, cut, &used, &f) != H1_INCOMPLETE)
                fail_msg("case %zu cut at %zu: %s", i, cut, f.why);

        char more[512]; /* bytes of the next message do not matter */
        snprintf(more, sizeof more, "%sGET /next", text);
        for (int follow = 0; follow < 2; follow++) {
            if (parse(&h, more, follow ? strlen(more) : n, &used, &f) != H1_OK)
                fail_msg("case %zu: %s", i, f.why);
            assert_int_equal(used, n);
            if (!same(h.method, accepted[i].method) || !same(h.path, accepted[i].path) ||
                !same(h.query, accepted[i].query))
                fail_msg("case %zu: %.*s %.*s %.*s", i, (int)h.method.n, h.method.p, (int)h.path.n, h.path.p,
                         (int)h.query.n, h.query.p);
            assert_int_equal(h.framing, accepted[i].framing);
            assert_true(h.framing != H1_LENGTH || h.length == accepted[i].length);
            assert_int_equal(h.keep_alive, accepted[i].keep);
            assert_int_equal(h.expect_continue, accepted[i].expect);
            assert_int_equal(h.n_field, accepted[i].n_field);
        }
    }
}

/* ---- chunked bodies ---------------------------------------------------------------------------------- */

static const struct {
    const char *text;
    enum h1_result want;
    const char *body;
    size_t rest;
} chunked[] = {
    {"0\r\n\r\n", H1_OK, "", 0},
    {"5\r\nhello\r\n0\r\n\r\n", H1_OK, "hello", 0},
    {"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET", H1_OK, "hello world", 3},
    {"5;name=value;x=\"y\"\r\nhello\r\n0;end\r\n\r\n", H1_OK, "hello", 0},
    {"00000000000a\r\n0123456789\r\n0\r\nTrailer: a\r\nOther:\r\n\r\n", H1_OK, "0123456789", 0},
    {"A\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", H1_OK, "\r\n\r\n\r\n\r\n\r\n", 0},
    {"5\r\nhel", H1_INCOMPLETE, "hel", 0},
    {"0x5\r\nhello\r\n0\r\n\r\n", H1_BAD, "", 0},
    {"5 \r\nhello\r\n0\r\n\r\n", H1_BAD, "", 0},
    {" 5\r\nhello\r\n0\r\n\r\n", H1_BAD, "", 0},
    {"+5\r\nhello\r\n0\r\n\r\n", H1_BAD, "", 0},
    {"-1\r\nhello\r\n0\r\n\r\n", H1_BAD, "", 0},
    {"g\r\n", H1_BAD, "", 0},
    {"\r\nhello", H1_BAD, "", 0},
    {";x\r\n", H1_BAD, "", 0},
    {"5\nhello\r\n0\r\n\r\n", H1_BAD, "", 0},
    {"5\rhello\r\n", H1_BAD, "", 0},
    {"5;a\nhello\r\n0\r\n\r\n", H1_BAD, "", 0},
    {"5\r\nhello0\r\n\r\n", H1_BAD, "hello", 0},
    {"5\r\nhello\n0\r\n\r\n", H1_BAD, "hello", 0},
    {"4\r\nhello\r\n0\r\n\r\n", H1_BAD, "hell", 0},
    {"fffffffffffffffff\r\n", H1_BAD, "", 0},
    {"0000000000000000\r\n", H1_BAD, "", 0},
    {"0\r\n a: b\r\n\r\n", H1_BAD, "", 0},
    {"0\r\nno colon\r\n\r\n", H1_BAD, "", 0},
    {"0\r\na: b\n\r\n", H1_BAD, "", 0},
    {"0\r\n\n", H1_BAD, "", 0},
    {"0\r\n\rX", H1_BAD, "", 0},
};

static enum h1_result feed(const char *text, size_t n, size_t first, char *body, size_t *n_body, size_t *at)
{
    struct h1_chunks d = {0};
    enum h1_result r = H1_INCOMPLETE;
    *n_body = *at = 0;
    while (*at < n && r == H1_INCOMPLETE) {
        size_t give = *at < first ? first - *at : n - *at, used;
        struct http_str data;
        struct h1_fault f;
        r = h1_read_chunks(&d, text + *at, give, &used, &data, &f);
        if (r != H1_BAD) {
            memcpy(body + *n_body, data.p, data.n);
            *n_body += data.n;
        }
        *at += used;
    }
    return r;
}

static void chunked_bodies_at_any_cut(void **state)
{
    for (size_t i = 0; i < COUNT_OF(chunked); i++) {
        size_t n = strlen(chunked[i].text);
        for (size_t cut = 0; cut <= n; cut++) {
            char body[256];
            size_t n_body, at;
            enum h1_result r = feed(chunked[i].text, n, cut, body, &n_body, &at);
            if (r != chunked[i].want || n_body != strlen(chunked[i].body) ||
                memcmp(body, chunked[i].body, n_body))
                fail_msg("case %zu (%s) cut at %zu: result %d, body %.*s", i, chunked[i].text, cut, r,
                         (int)n_body, body);
            if (r == H1_OK) assert_int_equal(n - at, chunked[i].rest);
        }
    }
}

static void endless_extensions_and_trailers(void **state)
{
    static const char *const begin[] = {"5;", "0\r\nname: "};
    for (size_t i = 0; i < COUNT_OF(begin); i++) {
        struct h1_chunks d = {0};
        struct h1_fault f;
        struct http_str data;
        size_t used, fed = 0;
        enum h1_result r = h1_read_chunks(&d, begin[i], strlen(begin[i]), &used, &data, &f);
        for (; r == H1_INCOMPLETE && fed < 1000000; fed++) r = h1_read_chunks(&d, "x", 1, &used, &data, &f);
        assert_int_equal(r, H1_BAD);
        assert_true(fed < 20000);
    }
}

/* ---- `test_http_parser judge`, for tests/wire/test_parser.py --------------------------------------------
 * Standard input: messages, each after its length (4 bytes, most significant first). Out: a line for each. */

static void print_hex(struct http_str s)
{
    putchar(' ');
    for (size_t i = 0; i < s.n; i++) printf("%02x", (unsigned char)s.p[i]);
    if (s.n == 0) putchar('-');
}

static void judge_one(const char *p, size_t n)
{
    static const struct h1_limits wide = {64 * 1024, 16 * 1024};
    struct http_field field[64];
    struct h1_head h = {.field = field, .max_field = COUNT_OF(field)};
    struct h1_fault f;
    struct buf body = {0};
    size_t at = 0;
    enum h1_result r = h1_parse_head(&h, p, n, &wide, &at, &f);
    if (r == H1_OK && h.framing == H1_LENGTH) {
        r = n - at >= h.length ? H1_OK : H1_INCOMPLETE;
        if (r == H1_OK) buf_add(&body, p + at, h.length);
    } else if (r == H1_OK && h.framing == H1_CHUNKED) {
        struct h1_chunks d = {0};
        do {
            struct http_str data;
            size_t used;
            r = h1_read_chunks(&d, p + at, n - at, &used, &data, &f);
            if (r != H1_BAD) buf_add(&body, data.p, data.n);
            at += used;
        } while (r == H1_INCOMPLETE && at < n);
    }
    if (r == H1_BAD) {
        printf("bad %d %s\n", f.status, f.why);
    } else if (r == H1_INCOMPLETE) {
        printf("more\n");
    } else {
        printf("ok");
        print_hex(h.method);
        print_hex(h.path);
        print_hex(h.query);
        print_hex((struct http_str){body.data, body.n});
        for (size_t i = 0; i < h.n_field; i++) {
            print_hex(h.field[i].name);
            print_hex(h.field[i].value);
        }
        putchar('\n');
    }
    buf_deinit(&body);
}

static int judge(void)
{
    unsigned char size[4];
    while (fread(size, 1, 4, stdin) == 4) {
        size_t n = (size_t)size[0] << 24 | (size_t)size[1] << 16 | (size_t)size[2] << 8 | size[3];
        char *p = mem_alloc(n + 1); /* of that size, so that a sanitizer sees a step too far */
        if (fread(p, 1, n, stdin) != n) return 1;
        judge_one(p, n);
        free(p);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "judge")) return judge();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_that_are_refused),
        cmocka_unit_test(too_many_header_bytes),
        cmocka_unit_test(heads_that_are_accepted_at_any_cut),
        cmocka_unit_test(chunked_bodies_at_any_cut),
        cmocka_unit_test(endless_extensions_and_trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
