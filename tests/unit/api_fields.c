/* Tables of fields: what they take and refuse, where values go, what is ignored, what the document says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_int.h"
#include "api/request.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static bool set_even(struct parse *p, const char *name, const json_t *v)
{
    return json_integer_value(v) % 2 == 0 ||
           refuse(p->f, 400, "invalid_value", name, "'%s' must be even", name);
}

// clang-format off
static const struct field inner_rows[] = {{"include_usage", FIELD_FLAG, .at = AT(include_usage)}};
static const struct field_table inner = {"Inner", inner_rows, 1, NULL};
static const struct field more_rows[] = {
    {"top_k", FIELD_INT, -1, 10, .at = AT(params.top_k), .help = "hidden by the first"},
    {"seconds", FIELD_SECONDS, 0, 10, .at = AT(total_timeout_ns)},
};
static const struct field_table more = {"More", more_rows, 2, NULL};
static const struct field rows[] = {
    {"top_k", FIELD_INT, -1, 100, .at = AT(params.top_k), .def = "0", .help = "so \"many\""},
    {"temperature", FIELD_REAL, 0, 2, .at = AT(params.temperature)},
    {"stream", FIELD_FLAG, .at = AT(stream)},
    {"salt", FIELD_TEXT, .max = 5, .at = AT(cache_salt)},
    {"word", FIELD_TEXT, .choices = "one|two|three"},
    {"n", FIELD_COUNT, 1, 8, .at = AT(n), .set = set_even, .required = true},
    {"list", FIELD_ARRAY, .max = 2},
    {"options", FIELD_OBJECT, .sub = &inner},
    {"user", FIELD_TEXT, .use = FIELD_ACCEPTED},
    {"verbosity", FIELD_TEXT, .use = FIELD_IGNORED, .def = "\"medium\""},
    {"audio", FIELD_OBJECT, .use = FIELD_REFUSED, .help = "use your ears"},
};
// clang-format on
static const struct field_table table = {"Test", rows, COUNT_OF(rows), &more};

static bool read_body(struct request *r, const char *body, bool strict, struct fault *f)
{
    struct parse p = {NULL, r, f, strict};
    request_init(r);
    r->body = body_parse((struct http_str){body, strlen(body)}, f);
    return r->body && fields_read(&p, &table, r->body);
}

static void values_are_checked(void **state)
{
    static const struct {
        const char *body, *reason, *param, *message; /* reason NULL: it is fine */
        bool strict;
        const char *ignored;
    } cases[] = {
        {"{\"n\":2}", .ignored = ""},
        {"{\"n\":2,\"top_k\":null,\"audio\":null,\"user\":7}", .ignored = ""},
        {"{}", "missing_required_parameter", "n", "missing", .ignored = NULL},
        {"{\"n\":null}", "missing_required_parameter", "n", "missing", .ignored = NULL},
        {"{\"n\":3}", "invalid_value", "n", "even", .ignored = NULL},
        {"{\"n\":0}", "value_out_of_range", "n", "between 1 and 8", .ignored = NULL},
        {"{\"n\":2.5}", "invalid_type", "n", "an integer between 1 and 8", .ignored = NULL},
        {"{\"n\":\"2\"}", "invalid_type", "n", "an integer", .ignored = NULL},
        {"{\"n\":2,\"top_k\":11}", .ignored = ""},
        {"{\"n\":2,\"top_k\":101}", "value_out_of_range", "top_k", "100", .ignored = NULL},
        {"{\"n\":2,\"temperature\":1e400}", "invalid_json", "", "line 1", .ignored = NULL},
        {"{\"n\":2,\"stream\":1}", "invalid_type", "stream", "true or false", .ignored = NULL},
        {"{\"n\":2,\"salt\":\"123456\"}", "value_out_of_range", "salt", "at most 5", .ignored = NULL},
        {"{\"n\":2,\"salt\":5}", "invalid_type", "salt", "a string", .ignored = NULL},
        {"{\"n\":2,\"word\":\"two\"}", .ignored = ""},
        {"{\"n\":2,\"word\":\"tw\"}", "invalid_value", "word", "one of one|two|three", .ignored = NULL},
        {"{\"n\":2,\"word\":\"\"}", "invalid_value", "word", "one of", .ignored = NULL},
        {"{\"n\":2,\"list\":[1,2,3]}", "value_out_of_range", "list", "at most 2", .ignored = NULL},
        {"{\"n\":2,\"list\":{}}", "invalid_type", "list", "an array", .ignored = NULL},
        {"{\"n\":2,\"options\":{\"include_usage\":1}}", "invalid_type", "include_usage", "true or false",
         .ignored = NULL},
        {"{\"n\":2,\"options\":{\"x\":1},\"y z,\":1}", .ignored = "x, y_z_"},
        {"{\"n\":2,\"verbosity\":\"medium\"}", .strict = true, .ignored = ""},
        {"{\"n\":2,\"verbosity\":\"high\"}", .ignored = "verbosity"},
        {"{\"n\":2,\"verbosity\":\"high\"}", "unsupported_parameter", "verbosity", "no effect",
         .strict = true},
        {"{\"n\":2,\"unknown\":1}", "unsupported_parameter", "unknown", "no effect", .strict = true},
        {"{\"n\":2,\"audio\":{}}", .ignored = ""},
        {"{\"n\":2,\"audio\":{\"x\":1}}", "unsupported_parameter", "audio", "use your ears", .ignored = NULL},
        {"{\"n\":2,\"seconds\":11}", "value_out_of_range", "seconds", "a number", .ignored = NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct request r;
        struct fault f = {0};
        bool ok = read_body(&r, cases[i].body, cases[i].strict, &f);
        if (ok != !cases[i].reason) fail_msg("%s: %s", cases[i].body, f.msg);
        if (ok)
            assert_string_equal(r.ignored.data ? r.ignored.data : "", cases[i].ignored);
        else if (strcmp(f.reason, cases[i].reason) || strcmp(f.param, cases[i].param) ||
                 !strstr(f.msg, cases[i].message))
            fail_msg("%s: %s, %s, %s", cases[i].body, f.reason, f.param, f.msg);
        request_deinit(&r);
    }
}

static void values_reach_the_request(void **state)
{
    struct request r;
    struct fault f;
    assert_true(read_body(&r,
                          "{\"n\":4,\"top_k\":-1,\"temperature\":0.25,\"stream\":true,\"salt\":\"abc\","
                          "\"seconds\":1.5,\"options\":{\"include_usage\":true}}",
                          false, &f));
    assert_int_equal(r.n, 4);
    assert_int_equal(r.params.top_k, -1);
    assert_true(r.params.temperature == 0.25f && r.stream && r.include_usage);
    assert_string_equal(r.cache_salt, "abc");
    assert_true(r.total_timeout_ns == 1500000000);
    request_deinit(&r);
}

static void broken_json_has_a_place(void **state)
{
    struct request r;
    struct fault f;
    assert_false(read_body(&r, "{\"n\":\n  2,}", false, &f));
    assert_non_null(strstr(f.msg, "line 2, column"));
    request_deinit(&r);
}

static void the_schema_is_json(void **state)
{
    struct buf b = {0};
    json_error_t e;
    fields_schema(&table, &b);
    json_t *v = json_loadb(b.data, b.n, JSON_REJECT_DUPLICATES, &e);
    if (!v) fail_msg("%s: %s", e.text, b.data);
    const json_t *p = json_object_get(v, "properties"), *top_k = json_object_get(p, "top_k");
    assert_int_equal(json_object_size(p), COUNT_OF(rows) + 1); /* of two rows of a name the first */
    assert_int_equal(json_integer_value(json_object_get(top_k, "maximum")), 100);
    assert_string_equal(json_string_value(json_object_get(top_k, "description")), "so \"many\"");
    assert_int_equal(json_array_size(json_object_get(json_object_get(p, "word"), "enum")), 3);
    assert_non_null(
        json_object_get(json_object_get(json_object_get(p, "options"), "properties"), "include_usage"));
    assert_string_equal(json_string_value(json_array_get(json_object_get(v, "required"), 0)), "n");
    json_decref(v);
    buf_deinit(&b);
}

/* The whole document: every table of every family. */
static void the_document_is_json(void **state)
{
    struct buf b = {0};
    json_error_t e;
    openapi_document(&b);
    json_t *v = json_loadb(b.data, b.n, JSON_REJECT_DUPLICATES, &e);
    if (!v) fail_msg("%s at %d: %.80s", e.text, e.position, b.data + MAX(e.position - 40, 0));
    assert_true(json_object_size(json_object_get(v, "paths")) > 10);
    json_decref(v);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_checked),      cmocka_unit_test(values_reach_the_request),
        cmocka_unit_test(broken_json_has_a_place), cmocka_unit_test(the_schema_is_json),
        cmocka_unit_test(the_document_is_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
