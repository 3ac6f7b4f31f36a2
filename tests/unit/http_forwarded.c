/* Whom a trusted proxy names: X-Forwarded-For and Forwarded, read from behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

#include "http/http_int.h"

#include <cmocka.h> /* last: it defines a macro fail() */

enum { MAX_LINES = 4 };

/* 10.0.0.0/8 and 2001:db8:f::/48 are ours. lines: fields of that name; want: NULL: nobody is named. */
struct named_case {
    const char *line[MAX_LINES], *want;
};

// clang-format off
static const struct named_case for_lists[] = {
    {{NULL}, NULL},
    {{""}, NULL},
    {{",,"}, NULL},
    {{"203.0.113.7"}, "203.0.113.7"},
    {{"1.1.1.1, 203.0.113.7"}, "203.0.113.7"}, /* what stands before it the client may have written itself */
    {{"1.1.1.1,203.0.113.7 , 10.1.2.3"}, "203.0.113.7"},
    {{"203.0.113.7", "10.1.2.3"}, "203.0.113.7"},
    {{"10.9.9.9, 10.1.2.3"}, "10.9.9.9"}, /* a client beside the proxies */
    {{"203.0.113.7:4567"}, "203.0.113.7"},
    {{"[2001:db8::1]:443"}, "2001:db8::1"},
    {{"2001:db8:0::1"}, "2001:db8::1"},
    {{"::ffff:203.0.113.7"}, "203.0.113.7"},
    {{"203.0.113.7, unknown"}, NULL},
    {{"nonsense, 10.1.2.3"}, "10.1.2.3"},
    {{"\"1.1.1.1, 203.0.113.7"}, "203.0.113.7"},
    {{"for=203.0.113.7"}, NULL},
};
static const struct named_case elements[] = {
    {{NULL}, NULL},
    {{""}, NULL},
    {{"for=203.0.113.7"}, "203.0.113.7"},
    {{"For=203.0.113.7;proto=https;by=10.0.0.1"}, "203.0.113.7"},
    {{"by=10.0.0.1;proto=https;host=\"a;b,c\"; FOR=203.0.113.7"}, "203.0.113.7"},
    {{";;for=203.0.113.7;"}, "203.0.113.7"},
    {{"for=\"203.0.113.7\""}, "203.0.113.7"},
    {{"for=\"203.0.113.7:47011\""}, "203.0.113.7"},
    {{"for=\"203.0.113.7:_port\""}, "203.0.113.7"},
    {{"for=203.0.113.7:47011"}, "203.0.113.7"}, /* must be quoted, and often is not */
    {{"for=\"[2001:db8:cafe::17]\""}, "2001:db8:cafe::17"},
    {{"for=\"[2001:db8:cafe::17]:4711\""}, "2001:db8:cafe::17"},
    {{"for=\"\\[2001:db8:cafe:\\:17]:4711\""}, "2001:db8:cafe::17"},
    {{"for=1.1.1.1, for=203.0.113.7;by=10.0.0.1"}, "203.0.113.7"},
    {{"for=203.0.113.7, for=\"[2001:db8:f::1]\", for=10.1.2.3"}, "203.0.113.7"},
    {{"for=203.0.113.7", "for=10.1.2.3,for=10.1.2.4"}, "203.0.113.7"},
    {{"for=10.9.9.9, for=10.1.2.3"}, "10.9.9.9"},
    {{"for=unknown"}, NULL},
    {{"for=_hidden"}, NULL},
    {{"for=203.0.113.7, for=_hidden"}, NULL},
    {{"for=_hidden, for=10.1.2.3"}, "10.1.2.3"},
    {{"by=203.0.113.7"}, NULL},
    {{"proto=https"}, NULL},
    {{"203.0.113.7"}, NULL},
    {{"for=203.0.113.7;for=203.0.113.8"}, NULL},
    {{"for"}, NULL},
    {{"for="}, NULL},
    {{"for=\"\""}, NULL},
    {{"for=\""}, NULL},
    {{"for=\"203.0.113.7"}, NULL},
    {{"for=\"203.0.113.7\\\""}, NULL},
    {{"for=\"[2001:db8::1\""}, NULL},
    {{"for=203.0.113.7."}, NULL},
    {{"for=\"203.0.113.7                                                         \""}, NULL},
    /* What a client sends shall not reach into what its proxy appends. */
    {{"for=\"1.1.1.1, for=203.0.113.7"}, "203.0.113.7"},
    {{"for=\"1.1.1.1\\, for=203.0.113.7"}, "203.0.113.7"},
    {{"for=\"1.1.1.1, for=\"203.0.113.7:80\""}, "203.0.113.7"},
    {{"for=\"1.1.1.1\\, for=\"[2001:db8::1]:80\";proto=http"}, "2001:db8::1"},
    {{"for=\"203.0.113.7, for=1.1.1.1\", for=10.1.2.3"}, "10.1.2.3"},
    {{"\", for=10.1.2.3"}, "10.1.2.3"},
};
// clang-format on

static void check(const char *header, bool rfc7239, const struct named_case *c)
{
    static const char *const ours[] = {"10.0.0.0/8", "2001:db8:f::/48"};
    const char *other = rfc7239 ? "X-Forwarded-For" : "Forwarded"; /* says nothing here */
    struct http_field field[MAX_LINES + 1];
    struct h1_head h = {.field = field};
    struct proxies *p;
    struct error e;
    unsigned char address[16], want[16];
    assert_int_equal(proxies_new(&p, ours, COUNT_OF(ours), rfc7239, &e), OK);
    for (; h.n_field < MAX_LINES && c->line[h.n_field]; h.n_field++) {
        const char *v = c->line[h.n_field];
        field[h.n_field] = (struct http_field){{header, strlen(header)}, {v, strlen(v)}};
    }
    field[h.n_field++] = (struct http_field){{other, strlen(other)}, {"for=8.8.8.8", 11}};
    bool named = proxies_client(p, &h, address);
    if (c->want && !strchr(c->want, ':')) {
        memcpy(want, (unsigned char[12]){[10] = 0xff, [11] = 0xff}, 12);
        assert_int_equal(inet_pton(AF_INET, c->want, want + 12), 1);
    } else if (c->want) {
        assert_int_equal(inet_pton(AF_INET6, c->want, want), 1);
    }
    if (named != !!c->want || (named && memcmp(address, want, 16) != 0)) {
        char got[INET6_ADDRSTRLEN] = "nobody";
        if (named) inet_ntop(AF_INET6, address, got, sizeof got);
        fail_msg("%s: %s: %s, want %s", header, c->line[0] ? c->line[0] : "(none)", got,
                 c->want ? c->want : "nobody");
    }
    free(p);
}

static void whom_x_forwarded_for_names(void **state)
{
    for (size_t i = 0; i < COUNT_OF(for_lists); i++) check("X-FORWARDED-for", false, &for_lists[i]);
}

static void whom_forwarded_names(void **state)
{
    for (size_t i = 0; i < COUNT_OF(elements); i++) check("forwarDED", true, &elements[i]);
}

static void which_proxies_there_may_be(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {{"10.0.0.0/8", true},
                 {"10.1.2.3", true},
                 {"::1", true},
                 {"2001:db8::/32", true},
                 {"unix", true},
                 {"0.0.0.0/0", true},
                 {"", false},
                 {"10.0.0.0/33", false},
                 {"2001:db8::/129", false},
                 {"10.0.0.0/", false},
                 {"/8", false},
                 {"localhost", false},
                 {"10.0.0.0/-1", false},
                 {"10.0.0.0/8x", false},
                 {"Unix", false},
                 {"10.0.0", false}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct proxies *p = NULL;
        struct error e;
        bool good = proxies_new(&p, &cases[i].text, 1, false, &e) == OK;
        if (good != cases[i].good) fail_msg("'%s' is %s", cases[i].text, good ? "taken" : e.msg);
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whom_x_forwarded_for_names),
        cmocka_unit_test(whom_forwarded_names),
        cmocka_unit_test(which_proxies_there_may_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
