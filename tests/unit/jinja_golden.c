/* Real chat templates against what Python's Jinja2 made of them: shared/golden/templates (see its README).
 * Where Python raised an exception any clear error of ours will do. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static char folder[4000];

/* "2026-11-21T01:02:03" */
static struct tm read_now(const char *s)
{
    struct tm t = {0};
    assert_int_equal(
        sscanf(s, "%d-%d-%dT%d:%d:%d", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min, &t.tm_sec),
        6);
    t.tm_year -= 1900;
    t.tm_mon--;
    assert_true(timegm(&t) != (time_t)-1); /* fills in the day of the week */
    return t;
}

/* Whether the template's output for these variables is what was expected. */
static bool check_case(const struct jinja *t, const json_t *vars, const struct tm *now, const json_t *want,
                       const char *label)
{
    struct jinja_options o = {.now = now};
    struct buf out = {0};
    struct error e = {0};
    const json_t *text = json_object_get(want, "text");
    bool ok;
    json_t *all =
        json_pack("{s:b,s:s,s:s}", "add_generation_prompt", 1, "bos_token", "<s>", "eos_token", "</s>");
    json_object_update(all, (json_t *)vars);
    status code = jinja_render(t, all, &o, &out, NULL, &e);
    if (!text)
        ok = code != OK && e.msg[0];
    else
        ok = code == OK && out.n == json_string_length(text) &&
             memcmp(out.n ? out.data : "", json_string_value(text), out.n) == 0;
    if (!ok)
        print_error("%s: got %s \"%s\"\nwant %s\n", label, status_name(code), code ? e.msg : out.data,
                    text ? json_string_value(text) : json_string_value(json_object_get(want, "error")));
    buf_deinit(&out);
    json_decref(all);
    return ok;
}

static int check_template(const char *name, const json_t *cases, const json_t *want, const struct tm *now)
{
    struct buf src = {0};
    struct jinja *t;
    struct error e;
    char path[4200], label[400];
    const char *c;
    json_t *expected;
    int bad = 0;
    snprintf(path, sizeof path, "%s/%s.jinja", folder, name);
    if (buf_read_file(&src, path, &e) != OK) fail_msg("%s", e.msg);
    if (jinja_parse(&t, src.data, src.n, NULL, &e) != OK) fail_msg("%s: %s", name, e.msg);
    json_object_foreach((json_t *)want, c, expected)
    {
        snprintf(label, sizeof label, "%s, %s", name, c);
        bad += !check_case(t, json_object_get(cases, c), now, expected, label);
    }
    jinja_free(t);
    buf_deinit(&src);
    return bad;
}

static void every_template_equals_python(void **state)
{
    const char *shared = getenv("CORRAL_SHARED"), *name;
    char path[4200];
    json_error_t je;
    json_t *want;
    int bad = 0;
    snprintf(folder, sizeof folder, "%s/golden/templates", shared ? shared : "../shared");
    snprintf(path, sizeof path, "%s/templates_visible.json", folder);
    json_t *all = json_load_file(path, 0, &je);
    if (!all) {
        print_message("skipped: %s: %s\n", path, je.text);
        skip();
    }
    struct tm now = read_now(json_string_value(json_object_get(all, "now")));
    assert_true(json_object_size(json_object_get(all, "expected")) > 0);
    json_object_foreach(json_object_get(all, "expected"), name, want)
    {
        bad += check_template(name, json_object_get(all, "cases"), want, &now);
    }
    json_decref(all);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_template_equals_python)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
