/* tests/golden/jinja/cases.json: small templates with what Python's Jinja2 3.1 makes of them, written by
 * tools/jinja_cases.py. Where Python raised an exception any clear error of ours will do. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

/* The time that the cases were made for: 2026-11-21T01:02:03, a Saturday. */
static const struct tm now = {.tm_year = 126,
                              .tm_mon = 10,
                              .tm_mday = 21,
                              .tm_hour = 1,
                              .tm_min = 2,
                              .tm_sec = 3,
                              .tm_wday = 6,
                              .tm_yday = 324};

static status render(const char *src, size_t n, const json_t *context, struct buf *out, struct error *e)
{
    struct jinja_options o = {.now = &now};
    struct jinja *t;
    status code = jinja_parse(&t, src, n, NULL, e);
    if (code == OK) code = jinja_render(t, context, &o, out, NULL, e);
    jinja_free(t);
    return code;
}

static bool check(const json_t *c, const json_t *context)
{
    const json_t *src = json_object_get(c, "t"), *want = json_object_get(c, "text");
    struct buf out = {0};
    struct error e = {0};
    status code = render(json_string_value(src), json_string_length(src), context, &out, &e);
    bool ok = want ? code == OK && out.n == json_string_length(want) &&
                         memcmp(out.n ? out.data : "", json_string_value(want), out.n) == 0
                   : code != OK && e.msg[0] && out.n == 0;
    if (!ok)
        print_error("%s\n  got  %s\n  want %s\n", json_string_value(src), code ? e.msg : out.data,
                    json_string_value(want ? want : json_object_get(c, "error")));
    buf_deinit(&out);
    return ok;
}

static void each_case_equals_python(void **state)
{
    const char *source = getenv("CORRAL_SOURCE");
    char path[4096];
    json_error_t je;
    size_t i, bad = 0;
    json_t *c;
    snprintf(path, sizeof path, "%s/tests/golden/jinja/cases.json", source ? source : ".");
    json_t *all = json_load_file(path, JSON_ALLOW_NUL, &je);
    if (!all) fail_msg("%s: %s", path, je.text);
    assert_true(json_array_size(json_object_get(all, "cases")) > 1000);
    json_array_foreach(json_object_get(all, "cases"), i, c)
    {
        bad += !check(c, json_object_get(all, "context"));
    }
    json_decref(all);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_case_equals_python)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
