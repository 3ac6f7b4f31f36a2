/* What clients of the network may name, in every way of writing it. */
#include "gateway/permit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* last: it defines a macro fail() */

/* flag: the option that would allow it; NULL: everybody may. */
// clang-format off
static const struct { const char *reference, *flag; } row[] = {
    {"llama3.2", NULL}, {"hf:org/repo:Q4_K_M", NULL}, {"org/repo", NULL}, {"s3://bucket/key.gguf", NULL},
    {"https://example.com/x.gguf", NULL}, {"https://example.com:8443/x.gguf", NULL}, {"https://93.184.216.34/x.gguf", NULL},
    {"registry.example.com/ns/name:tag", NULL}, {"https://[2606:2800:220:1:248:1893:25c8:1946]/x.gguf", NULL},
    {"https://localhost.example.com/x.gguf", NULL}, {"", NULL}, {"hf:", NULL}, {"http://", NULL},
    /* files of this machine */
    {"/etc/passwd", "--allow-local-files"}, {"file:/etc/passwd", "--allow-local-files"}, {"./x.gguf", "--allow-local-files"},
    {"../x.gguf", "--allow-local-files"}, {"~/x.gguf", "--allow-local-files"}, {"x.gguf", "--allow-local-files"},
    /* hosts of its networks */
    {"http://127.0.0.1/x.gguf", "--allow-private-hosts"}, {"http://127.0.0.1:8080/x.gguf", "--allow-private-hosts"},
    {"https://user:secret@127.0.0.1/x.gguf", NULL}, {"http://example.com@10.1.2.3/x.gguf", NULL}, /* no reference at all */
    {"http://169.254.169.254/latest/meta-data/x.gguf", "--allow-private-hosts"}, {"http://192.168.1.1/x.gguf?a=b", "--allow-private-hosts"},
    {"http://172.16.0.1/x.gguf", "--allow-private-hosts"}, {"http://0.0.0.0/x.gguf", "--allow-private-hosts"},
    {"http://2130706433/x.gguf", "--allow-private-hosts"}, {"http://0x7f.1/x.gguf", "--allow-private-hosts"},
    {"http://0177.0.0.1/x.gguf", "--allow-private-hosts"}, {"http://127.1/x.gguf", "--allow-private-hosts"},
    {"http://[::1]/x.gguf", "--allow-private-hosts"}, {"http://[::ffff:127.0.0.1]:80/x.gguf", "--allow-private-hosts"},
    {"http://[fe80::1]/x.gguf", "--allow-private-hosts"}, {"http://[fd00::1]/x.gguf", "--allow-private-hosts"},
    {"http://localhost/x.gguf", "--allow-private-hosts"}, {"http://LOCALHOST:1/x.gguf", "--allow-private-hosts"},
    {"http://localhost./x.gguf", "--allow-private-hosts"}, {"http://a.localhost/x.gguf", "--allow-private-hosts"},
    {"localhost:5000/ns/name:tag", "--allow-private-hosts"}, {"127.0.0.1:5000/ns/name", "--allow-private-hosts"},
};
static const struct { const char *options, *flag; } option[] = {
    {"{}", NULL}, {"{\"context\": 4096, \"system\": \"file:/etc/passwd\"}", NULL}, {"{\"upstreams\": null}", NULL}, {"{\"draft\": null}", NULL},
    {"{\"upstreams\": [\"https://example.com\"]}", "--allow-private-hosts"}, {"{\"upstreams\": [\"http://169.254.169.254\"]}", "--allow-private-hosts"},
    {"{\"chat_template\": null}", NULL}, {"{\"chat_template\": \"chatml\"}", NULL}, {"{\"chat_template\": \"/etc/passwd\"}", "--allow-local-files"},
    {"{\"draft\": \"/etc/passwd\"}", "--allow-local-files"}, {"{\"draft\": \"x.gguf\"}", "--allow-local-files"},
};
// clang-format on

static void check(const char *what, bool may, const char *why, const char *flag, bool allowed)
{
    bool want = !flag || allowed;
    if (may != want || (!may && !strstr(why, flag))) fail_msg("%s: %d '%s'", what, may, may ? "" : why);
}

/* Who is trusted, and what the operator allows, changes only what the flag is about. */
static void references(void **state)
{
    for (int local = 0; local < 2; local++)
        for (int private = 0; private < 2; private ++)
            for (size_t i = 0; i < COUNT_OF(row); i++) {
                const struct gateway g = {.o = {.local_files = local, .private_hosts = private}};
                char why[300] = "";
                const char *flag = row[i].flag;
                bool allowed = flag && (strstr(flag, "local") ? local : private);
                check(row[i].reference, permit_pull(&g, false, row[i].reference, why, sizeof why), why, flag,
                      allowed);
                assert_true(permit_pull(&g, true, row[i].reference, why, sizeof why));
            }
}

static void options(void **state)
{
    for (int all = 0; all < 2; all++)
        for (size_t i = 0; i < COUNT_OF(option); i++) {
            const struct gateway g = {.o = {.local_files = all, .private_hosts = all}};
            char why[300] = "";
            json_t *o = json_loads(option[i].options, 0, NULL);
            assert_non_null(o);
            check(option[i].options, permit_options(&g, false, o, why, sizeof why), why, option[i].flag, all);
            assert_true(permit_options(&g, true, o, why, sizeof why));
            json_decref(o);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(references), cmocka_unit_test(options)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
