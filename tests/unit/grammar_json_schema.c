/* JSON schemas: what they accept and refuse, that what was accepted can be completed, and, with
 * CORRAL_SHARED, the sample of MaskBench: no wrong verdict, at least 85 % of schemas judged as marked. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "grammar/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static bool accepts(struct grammar *g, const char *text, size_t n)
{
    struct grammar_state *s = grammar_state_new(g);
    bool ok = grammar_state_accept(s, text, n) && grammar_state_can_end(s);
    grammar_state_free(s);
    return ok;
}

static struct grammar *compile(const char *kind, const char *text)
{
    struct grammar *g;
    struct error e;
    if (grammar_compile(&g, kind, text, strlen(text), NULL, &e) != OK) fail_msg("%s: %s", text, e.msg);
    return g;
}

// clang-format off
static const struct {
    const char *schema;
    const char *good[8], *bad[8];
} cases[] = {
    {"{}", {"1", "\"a\"", "[1, {}]", "{\"a\": [null]}", "-0.5e+3", "\"\\u00e9\\ud83d\\ude00\""},
     {"", "01", "[1,", "{\"a\": 1, \"a\": 2}", "\"\\ud83d\"", "nul"}},
    {"false", {0}, {0}},
    {"{\"type\": [\"integer\", \"null\"]}", {"0", "-12", "null"}, {"1.5", "-0", "\"1\"", "1e3"}},
    {"{\"type\": \"integer\", \"minimum\": -3, \"exclusiveMaximum\": 120}", {"-3", "0", "99", "119"}, {"-4", "120", "1000"}},
    {"{\"type\": \"number\", \"minimum\": 0.05, \"maximum\": 1}", {"0.05", "0.5", "1", "1.00"}, {"0.049", "1.01", "0", "-1"}},
    {"{\"type\": \"number\", \"exclusiveMinimum\": 0}", {"1e-05", "0.001"}, {"0", "0.0", "0e5", "-1"}},
    {"{\"type\": \"number\", \"minimum\": 3, \"maximum\": 5, \"exclusiveMinimum\": true}", {"3.1", "5"}, {"3", "5.1"}},
    {"{\"multipleOf\": 0.25, \"type\": \"number\"}", {"0.5", "1.75", "-3", "2.250"}, {"0.3", "1.125"}},
    {"{\"type\": \"integer\", \"multipleOf\": 7}", {"0", "14", "-21"}, {"1", "15"}},
    {"{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 3}", {"\"ab\"", "\"\xC3\xA9\xE2\x82\xAC\"", "\"a\\\"b\""}, {"\"a\"", "\"abcd\"", "\"\""}},
    {"{\"type\": \"string\", \"pattern\": \"b+$\"}", {"\"ab\"", "\"bbb\""}, {"\"ba\"", "\"\""}},
    {"{\"type\": \"string\", \"pattern\": \"^(ab)*$\", \"minLength\": 3, \"maxLength\": 5}", {"\"abab\""}, {"\"ab\"", "\"aba\"", "\"ababab\""}},
    {"{\"type\": \"string\", \"pattern\": \"^(?!x)[a-z]+$\"}", {"\"ax\""}, {"\"xa\"", "\"\""}},
    {"{\"type\": \"string\", \"format\": \"date\"}", {"\"2024-02-29\""}, {"\"2023-02-29\"", "\"2024-13-01\""}},
    {"{\"type\": \"string\", \"format\": \"ipv6\"}", {"\"::1\"", "\"1::\"", "\"1:2:3:4:5:6:7:8\""}, {"\"1:2\"", "\"12345::\""}},
    {"{\"type\": \"string\", \"not\": {\"enum\": [\"a\", \"bc\"]}}", {"\"b\"", "\"ab\""}, {"\"a\"", "\"bc\""}},
    {"{\"type\": \"number\", \"not\": {\"const\": 1}}", {"1.5", "0", "2"}, {"1", "1.0"}},
    {"{\"enum\": [\"x\\n\", 2, null, {\"b\": 1, \"a\": [2]}]}", {"\"x\\n\"", "2", "null", "{\"a\": [2], \"b\": 1}"}, {"\"x\"", "3", "{\"b\": 1}"}},
    {"{\"enum\": [1, \"abc\", \"d\"], \"minLength\": 2}", {"1", "\"abc\""}, {"\"d\""}},
    {"{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {}}, \"required\": [\"a\"]}",
     {"{\"a\": 1}", "{\"b\": 2, \"a\": 1}", "{\"a\": 1, \"c\": []}"}, {"{}", "{\"a\": \"1\"}", "{\"b\": 1}", "{\"a\": 1, \"c\": 1, \"c\": 2}"}},
    {"{\"type\": \"array\", \"uniqueItems\": true, \"items\": {\"enum\": [\"a\", \"b\", 1, 1.0, null]}, \"minItems\": 1}",
     {"[\"a\"]", "[\"b\", \"a\"]", "[1, null, \"a\", \"b\"]"}, {"[]", "[\"a\", \"a\"]", "[1, 1]", "[\"a\", \"b\", 1, null, 1", "[\"c\"]"}},
    {"{\"type\": \"array\", \"uniqueItems\": true, \"items\": {\"$ref\": \"#/$defs/b\"}, \"$defs\": {\"b\": {\"type\": \"boolean\"}}}",
     {"[]", "[true, false]"}, {"[true, true]", "[true, false, "}},
    {"{\"type\": \"array\", \"uniqueItems\": true, \"items\": {\"anyOf\": [{\"const\": \"abc\"}, {\"enum\": [\"d\", \"ef\"]}], \"minLength\": 2}, \"minItems\": 2}",
     {"[\"abc\", \"ef\"]", "[\"ef\", \"abc\"]"}, {"[\"abc\"]", "[\"d\", \"ef\"]", "[\"ef\", \"abc\", "}},
    {"{\"allOf\": [{\"properties\": {\"a\": {}}}, {\"$ref\": \"#/$defs/b\"}], \"unevaluatedProperties\": false, \"$defs\": {\"b\": {\"properties\": {\"b\": {\"type\": \"null\"}}}}, \"type\": \"object\"}",
     {"{}", "{\"a\": 1, \"b\": null}"}, {"{\"c\": 1}", "{\"b\": 1}"}},
    {"{\"prefixItems\": [{\"type\": \"null\"}], \"unevaluatedItems\": {\"type\": \"integer\"}, \"type\": \"array\"}", {"[]", "[null, 3]"}, {"[3]", "[null, null]"}},
    {"{\"enum\": [[1, 2], [1, 1]], \"uniqueItems\": true}", {"[1, 2]"}, {"[1, 1]"}},
    {"{\"type\": \"object\", \"properties\": {\"a\": true}, \"additionalProperties\": false}", {"{}", "{\"a\": 0}"}, {"{\"b\": 0}", "{\"a\": 0, \"a\": 0}"}},
    {"{\"type\": \"object\", \"patternProperties\": {\"^x\": {\"type\": \"integer\"}}, \"additionalProperties\": {\"type\": \"string\"}}",
     {"{\"x1\": 1, \"y\": \"s\"}"}, {"{\"x1\": \"s\"}", "{\"y\": 1}"}},
    {"{\"type\": \"object\", \"propertyNames\": {\"pattern\": \"^[a-c]+$\"}, \"maxProperties\": 2, \"minProperties\": 1}",
     {"{\"a\": 1}", "{\"ab\": 1, \"c\": 2}"}, {"{}", "{\"d\": 1}", "{\"a\": 1, \"b\": 1, \"c\": 1}"}},
    {"{\"type\": \"object\", \"dependentRequired\": {\"a\": [\"b\"], \"b\": [\"c\"]}}", {"{}", "{\"c\": 1}", "{\"a\": 1, \"b\": 1, \"c\": 1}"}, {"{\"a\": 1}", "{\"a\": 1, \"b\": 2}"}},
    {"{\"type\": \"object\", \"dependentSchemas\": {\"a\": {\"required\": [\"b\"]}}}", {"{\"b\": 1}", "{\"b\": 1, \"a\": 1}"}, {"{\"a\": 1}"}},
    {"{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 1, \"maxItems\": 2}", {"[1]", "[1, 2]"}, {"[]", "[1, 2, 3]", "[\"a\"]"}},
    {"{\"type\": \"array\", \"prefixItems\": [{\"const\": 1}, {\"const\": 2}], \"items\": false}", {"[]", "[1]", "[1, 2]"}, {"[2]", "[1, 2, 3]"}},
    {"{\"type\": \"array\", \"contains\": {\"const\": 5}, \"\\u0001from\": 1}", {"[5]", "[1, 5]"}, {"[1]", "[]"}},
    {"{\"type\": \"array\", \"contains\": {\"const\": 5}, \"minContains\": 2, \"maxContains\": 3}", {"[5, 1, 5]"}, {"[5]", "[5, 5, 5, 5]", "[]"}},
    {"{\"oneOf\": [{\"required\": [\"a\"]}, {\"required\": [\"b\"]}], \"type\": \"object\"}", {"{\"a\": 1}", "{\"b\": 1, \"c\": 2}"}, {"{}", "{\"a\": 1, \"b\": 1}"}},
    {"{\"oneOf\": [{\"type\": \"integer\"}, {\"minimum\": 2}]}", {"1", "2.5", "100.5"}, {"3", "1.5"}},
    {"{\"not\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {\"a\": true}}}", {"1", "{\"b\": 1}", "{\"a\": 1, \"b\": 2}"}, {"{}", "{\"a\": 1}"}},
    {"{\"not\": {\"type\": \"array\", \"items\": {\"type\": \"integer\"}}}", {"1", "[\"a\"]", "[1, \"a\"]"}, {"[]", "[1, 2]"}},
    {"{\"type\": \"object\", \"if\": {\"properties\": {\"k\": {\"const\": 1}}, \"required\": [\"k\"]}, \"then\": {\"required\": [\"x\"]}, \"else\": {\"maxProperties\": 1}}",
     {"{\"k\": 1, \"x\": 0}", "{\"k\": 2}", "{}"}, {"{\"k\": 1}", "{\"k\": 2, \"y\": 1}"}},
    {"{\"$ref\": \"#/$defs/n\", \"$defs\": {\"n\": {\"type\": \"object\", \"properties\": {\"next\": {\"$ref\": \"#/$defs/n\"}}, \"additionalProperties\": false}}}",
     {"{}", "{\"next\": {\"next\": {}}}"}, {"{\"next\": 1}", "{\"next\": {\"next\": []}}"}},
    {"{\"allOf\": [{\"properties\": {\"a\": {\"minimum\": 1}}}, {\"properties\": {\"a\": {\"type\": \"integer\"}}, \"required\": [\"a\"]}], \"type\": \"object\"}", {"{\"a\": 1}"}, {"{\"a\": 0}", "{\"a\": 1.5}"}},
};
// clang-format on

static void schemas_accept_and_refuse(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (!cases[i].good[0]) continue;
        struct grammar *g = compile("json_schema", cases[i].schema);
        for (size_t k = 0; k < 16; k++) {
            const char *text = k < 8 ? cases[i].good[k] : cases[i].bad[k - 8];
            if (!text || accepts(g, text, strlen(text)) == (k < 8)) continue;
            print_error("%s: %s is %s\n", cases[i].schema, text, k < 8 ? "refused" : "accepted");
            wrong++;
        }
        grammar_unref(g);
    }
    assert_int_equal(wrong, 0);
}

static void what_cannot_be_enforced_says_where(void **state)
{
    static const struct {
        const char *schema;
        status code;
        const char *says;
        const char *kind; /* NULL: json_schema */
    } bad[] = {
        {"{\"properties\": {\"a\": {\"uniqueItems\": true}}}", ERR_UNSUPPORTED, "#/properties/a", NULL},
        {"{\"items\": {\"pattern\": \"(a)\\\\1\"}}", ERR_UNSUPPORTED, "#/items", NULL},
        {"{\"$ref\": \"http://example.com/x\"}", ERR_UNSUPPORTED, "nothing is fetched", NULL},
        {"{\"unevaluatedProperties\": false, \"anyOf\": [{\"properties\": {\"a\": {}}}]}", ERR_UNSUPPORTED,
         "unevaluated", NULL},
        {"{\"format\": \"regex\"}", ERR_UNSUPPORTED, "format", NULL},
        {"{\"type\": \"hiccup\"}", ERR_ARG, "type", NULL},
        {"{\"type\": 123}", ERR_ARG, "type", NULL},
        {"123", ERR_ARG, "schema", NULL},
        {"{\"pattern\": \"(\"}", ERR_ARG, "not closed", NULL},
        {"{\"minLength\": -1}", ERR_ARG, "minLength", NULL},
        {"false", ERR_ARG, "no value", NULL},
        {"{\"type\": \"string\", \"minLength\": 3, \"maxLength\": 2}", ERR_ARG, "no value", NULL},
        {"{\"$ref\": \"#\"}", OK, "", NULL}, /* a circle says nothing */
        {"[1", ERR_ARG, "JSON", NULL},
        {"root ::= root \"a\" | \"b\"", ERR_UNSUPPORTED, "left-recursive", "gbnf"},
        {"root ::= \"a\" v\nv ::= \"[\" (v \",\" v+)* \"]\" | \"\"", ERR_UNSUPPORTED, "may be empty", "gbnf"},
        {"root ::= \"[\" (root \",\" root+)* \"]\"", OK, "", "gbnf"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct grammar *g;
        struct error e = {0};
        status code = grammar_compile(&g, bad[i].kind ? bad[i].kind : "json_schema", bad[i].schema,
                                      strlen(bad[i].schema), NULL, &e);
        if (code != bad[i].code || (code != OK && !strstr(e.msg, bad[i].says)))
            fail_msg("%s: %d %s", bad[i].schema, (int)code, e.msg);
        grammar_unref(g);
    }
}

static void lenient_says_what_it_dropped(void **state)
{
    struct grammar *g;
    struct error e;
    const char *schema = "{\"type\": \"array\", \"uniqueItems\": true}";
    struct grammar_options o = {.lenient = true};
    assert_int_equal(grammar_compile(&g, "json_schema", schema, strlen(schema), &o, &e), OK);
    assert_non_null(strstr(grammar_dropped(g), "uniqueItems"));
    assert_true(accepts(g, "[1, 1]", 6));
    grammar_unref(g);
}

static void members_in_order_when_asked(void **state)
{
    struct grammar *g;
    struct error e;
    const char *schema =
        "{\"type\": \"object\", \"properties\": {\"b\": {}, \"a\": {}, \"c\": {}}, \"required\": [\"a\"]}";
    struct grammar_options o = {.ordered = true};
    assert_int_equal(grammar_compile(&g, "json_schema", schema, strlen(schema), &o, &e), OK);
    assert_true(accepts(g, "{\"b\": 1, \"a\": 2, \"x\": 3}", 24));
    assert_false(accepts(g, "{\"a\": 1, \"b\": 2}", 16));
    assert_false(accepts(g, "{\"c\": 1, \"a\": 2}", 16));
    assert_false(accepts(g, "{\"x\": 1, \"a\": 2}", 16));
    grammar_unref(g);
}

static void blanks_as_asked(void **state)
{
    static const struct {
        enum grammar_space space;
        const char *text;
        bool ok;
    } texts[] = {
        {GRAMMAR_SPACE_PLAIN, "{\"a\": [1, 2]}", true},
        {GRAMMAR_SPACE_PLAIN, "{\"a\":[1,2]}", false},
        {GRAMMAR_SPACE_NONE, "{\"a\":[1,2]}", true},
        {GRAMMAR_SPACE_NONE, "{\"a\": [1, 2]}", false},
        {GRAMMAR_SPACE_FLEXIBLE, "{\"a\":[1,2]}", true},
        {GRAMMAR_SPACE_FLEXIBLE, "{\n  \"a\" : [ 1 , 2 ]\n}", true},
        {GRAMMAR_SPACE_FLEXIBLE, "{ \"a\": [1, 2] } ", false},
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct grammar *g;
        struct error e;
        struct grammar_options o = {.space = texts[i].space};
        assert_int_equal(grammar_compile(&g, "json_schema", "{\"type\": \"object\"}", 18, &o, &e), OK);
        assert_int_equal(accepts(g, texts[i].text, strlen(texts[i].text)), texts[i].ok);
        grammar_unref(g);
    }
}

static void forced_bytes(void **state)
{
    struct grammar *g = compile(
        "json_schema", "{\"type\": \"object\", \"properties\": {\"name\": {\"enum\": [\"ab\", \"ac\"]}}, "
                       "\"required\": [\"name\"], \"additionalProperties\": false}");
    struct grammar_state *s = grammar_state_new(g), *c;
    struct buf out = {0};
    grammar_state_forced(s, &out, 100);
    assert_string_equal(out.data, "{\"name\": \"a");
    assert_true(grammar_state_accept(s, out.data, out.n));
    c = grammar_state_clone(s);
    assert_true(grammar_state_accept(c, "b", 1));
    assert_false(grammar_state_accept(s, "x", 1)); /* and s is as it was */
    buf_reset(&out);
    grammar_state_forced(c, &out, 100);
    assert_string_equal(out.data, "\"}");
    assert_true(grammar_state_accept(s, "c\"}", 3));
    assert_true(grammar_state_can_end(s));
    assert_false(grammar_state_can_end(c));
    grammar_state_free(c);
    grammar_state_free(s);
    grammar_unref(g);
    buf_deinit(&out);
}

/* Texts in which each byte is drawn from those allowed always have a way on, and end valid. */
static void walks_never_get_stuck(void **state)
{
    uint32_t seed = 1;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (!cases[i].good[0]) continue;
        struct grammar *g = compile("json_schema", cases[i].schema);
        for (int walk = 0; walk < 5; walk++) {
            struct grammar_state *s = grammar_state_new(g);
            for (int step = 0; step < 120 && !(step > 60 && grammar_state_can_end(s)); step++) {
                bool moved = false;
                seed = seed * 1664525 + 1013904223;
                for (unsigned b = 0, from = seed >> 24; !moved && b < 256; b++) {
                    char byte = (char)(from + b);
                    moved = grammar_state_accept(s, &byte, 1);
                }
                if (!moved && !grammar_state_can_end(s))
                    fail_msg("%s: stuck after %d bytes", cases[i].schema, step);
                if (!moved) break;
            }
            grammar_state_free(s);
        }
        grammar_unref(g);
    }
}

/* As json.dumps writes it; jansson's reals are good enough here except where Python's differ in form. */
static char *instance_text(const json_t *v)
{
    return json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

static void maskbench_sample(void **state)
{
    const char *shared = getenv("CORRAL_SHARED");
    char path[4096], *line = NULL;
    size_t cap = 0, n_schema = 0, passing = 0, wrong_accept = 0, wrong_reject = 0, n_valid = 0;
    ssize_t n;
    snprintf(path, sizeof path, "%s/golden/jsonschema/maskbench_sample.jsonl", shared ? shared : "");
    FILE *f = shared ? fopen(path, "r") : NULL;
    if (!f) {
        print_message("skipped: needs CORRAL_SHARED/golden/jsonschema\n");
        skip();
    }
    while ((n = getline(&line, &cap, f)) > 0) {
        json_t *o = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL), *t;
        size_t i;
        bool pass = true;
        struct error e;
        struct grammar *g;
        n_schema++;
        if (!o) continue; /* an integer beyond jansson's */
        char *schema = json_dumps(json_object_get(o, "schema"), JSON_ENCODE_ANY);
        int64_t start = clock_us();
        pass = grammar_compile(&g, "json_schema", schema, strlen(schema), NULL, &e) == OK;
        json_array_foreach(json_object_get(o, "tests"), i, t)
        {
            char *text = instance_text(json_object_get(t, "data"));
            bool valid = json_is_true(json_object_get(t, "valid"));
            bool ok = g && accepts(g, text, strlen(text));
            n_valid += valid;
            if (g && ok && !valid) wrong_accept++;
            if (g && !ok && valid) wrong_reject++;
            pass = pass && ok == valid;
            free(text);
        }
        if (clock_us() - start > 10000000)
            fail_msg("%s took more than 10 s", json_string_value(json_object_get(o, "id")));
        passing += pass;
        grammar_unref(g);
        free(schema);
        json_decref(o);
    }
    free(line);
    fclose(f);
    print_message("%zu of %zu schemas pass; %zu wrong accepts, %zu wrong rejects of %zu valid\n", passing,
                  n_schema, wrong_accept, wrong_reject, n_valid);
    assert_int_equal(wrong_accept, 0);
    assert_true(wrong_reject * 500 <= n_valid);
    assert_true(passing * 100 >= n_schema * 85);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schemas_accept_and_refuse),
        cmocka_unit_test(what_cannot_be_enforced_says_where),
        cmocka_unit_test(lenient_says_what_it_dropped),
        cmocka_unit_test(members_in_order_when_asked),
        cmocka_unit_test(blanks_as_asked),
        cmocka_unit_test(forced_bytes),
        cmocka_unit_test(walks_never_get_stuck),
        cmocka_unit_test(maskbench_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
