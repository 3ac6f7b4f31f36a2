/* The scanner of request bodies: what jansson reads as a member is what it must find. */
#include "gateway/body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct http_str str(const char *s)
{
    return (struct http_str){s, strlen(s)};
}

static void finds_members(void **state)
{
    static const struct {
        const char *body, *model, *stream; /* the raw values; NULL: none */
        bool whole;
    } row[] = {
        {"{}", NULL, NULL, true},
        {" {\n} ", NULL, NULL, true},
        {"{\"model\":\"a\",\"stream\":true}", "\"a\"", "true", true},
        {"{ \"stream\" : false , \"model\" : \"a\" }", "\"a\"", "false", true},
        {"{\"messages\":[{\"model\":\"inner\"}],\"model\":\"outer\"}", "\"outer\"", NULL, true},
        {"{\"options\":{\"model\":\"inner\"}}", NULL, NULL, true},
        {"{\"prompt\":\"\\\"model\\\":\\\"no\\\"\",\"model\":\"yes\"}", "\"yes\"", NULL, true},
        {"{\"prompt\":\"}{][\\\\\",\"model\":\"x\"}", "\"x\"", NULL, true},
        {"{\"mod\\u0065l\":\"x\"}", "\"x\"", NULL, true},
        {"{\"model \":\"x\",\"amodel\":1,\"mode\":2}", NULL, NULL, true},
        {"{\"model\":\"a\",\"model\":\"b\"}", "\"b\"", NULL, true},
        {"{\"model\":null,\"stream\":1e5}", "null", "1e5", true},
        {"{\"model\":{\"a\":[1,2,{}]},\"stream\":[[],{}]}", "{\"a\":[1,2,{}]}", "[[],{}]", true},
        {"", NULL, NULL, false},
        {"[]", NULL, NULL, false},
        {"{", NULL, NULL, false},
        {"{\"model\"", NULL, NULL, false},
        {"{\"model\":", NULL, NULL, false},
        {"{\"model\":\"x", NULL, NULL, false},
        {"{\"model\":\"x\"", "\"x\"", NULL, false},
        {"{\"model\":\"x\"}}", "\"x\"", NULL, false},
        {"{\"model\":\"x\",}", "\"x\"", NULL, false},
        {"{\"a\":[1},\"model\":\"x\"}", NULL, NULL, false},
        {"{\"a\":{]},\"model\":\"x\"}", NULL, NULL, false},
        {"{\"a\":\"\\", NULL, NULL, false},
        {"{a:1}", NULL, NULL, false},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct body_member m[] = {{"model", {0}}, {"stream", {0}}};
        bool whole = body_scan(str(row[i].body), m, 2);
        const char *want[] = {row[i].model, row[i].stream};
        if (whole != row[i].whole) fail_msg("%s: whole is %d", row[i].body, whole);
        for (size_t k = 0; k < 2; k++) {
            bool same = want[k] ? body_is(m[k].raw, want[k]) : !m[k].raw.p;
            if (!same) fail_msg("%s: %s is '%.*s'", row[i].body, m[k].name, (int)m[k].raw.n, m[k].raw.p);
        }
    }
}

static void deep_nesting_is_bounded(void **state)
{
    struct buf b = {0};
    struct body_member m = {"model", {0}};
    buf_adds(&b, "{\"a\":");
    for (int i = 0; i < 100000; i++) buf_addc(&b, '[');
    assert_false(body_scan((struct http_str){b.data, b.n}, &m, 1));
    buf_deinit(&b);
}

static void reads_strings(void **state)
{
    static const struct {
        const char *raw, *text; /* NULL: no text */
    } row[] = {
        {"\"\"", ""},
        {"\"qwen:7b\"", "qwen:7b"},
        {"\"a\\/b\\n\\\"\\\\\"", "a/b\n\"\\"},
        {"\"\\u00e9\\u20ac\\ud83d\\ude00\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\"\\u0000\"", NULL},
        {"\"\\ud83d\"", NULL},
        {"\"\\ude00\"", NULL},
        {"\"\\u12\"", NULL},
        {"\"\\x\"", NULL},
        {"\"\n\"", NULL},
        {"12", NULL},
        {"null", NULL},
        {"\"", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct buf b = {0};
        bool ok = body_string(str(row[i].raw), &b);
        const char *got = b.data ? b.data : "";
        if (ok != (row[i].text != NULL) || (ok && strcmp(got, row[i].text) != 0))
            fail_msg("%s: %d '%s'", row[i].raw, ok, got);
        buf_deinit(&b);
    }
}

static void beginnings(void **state)
{
    static const struct {
        const char *raw, *want;
    } row[] = {{"[{\"role\":\"user\"},{\"role\":\"x\"}]", "{\"role\":\"u"},
               {"[ \"a\", 1]", "\"a\""},
               {"\"a long prompt\"", "\"a long pr"},
               {"[]", "[]"},
               {"[", "["},
               {"", ""}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct http_str s = body_beginning(str(row[i].raw), 10);
        if (!body_is(s, row[i].want)) fail_msg("%s: '%.*s'", row[i].raw, (int)s.n, s.p);
    }
}

static void names_the_model(void **state)
{
    static const struct {
        const char *body, *want;
    } row[] = {{"{\"a\":1,\"model\": \"x\" ,\"b\":2}", "{\"a\":1,\"model\": \"n\\\"ew\" ,\"b\":2}"},
               {"{\"a\":1}", "{\"model\":\"n\\\"ew\",\"a\":1}"},
               {" { }", " {\"model\":\"n\\\"ew\" }"},
               {"{\"model\":null}", "{\"model\":\"n\\\"ew\"}"},
               {"nothing", "nothing"}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct body_member m = {"model", {0}};
        struct buf b = {0};
        (void)body_scan(str(row[i].body), &m, 1);
        body_with_model(str(row[i].body), m.raw, "n\"ew", &b);
        assert_string_equal(b.data, row[i].want);
        buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_members),   cmocka_unit_test(deep_nesting_is_bounded),
        cmocka_unit_test(reads_strings),   cmocka_unit_test(beginnings),
        cmocka_unit_test(names_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
