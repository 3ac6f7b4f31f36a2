/* Structural tags: which texts each format lets through, what is refused, and tags that are control tokens.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar.h"
#include "support/vocab_build.h"
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

#define TOOL_A                                                                                               \
    "{\"type\":\"tag\",\"begin\":\"<t>a "                                                                    \
    "\",\"content\":{\"type\":\"json_schema\",\"json_schema\":{\"type\":\"integer\"}},\"end\":\"</t>\"}"
#define TOOL_B                                                                                               \
    "{\"type\":\"tag\",\"begin\":\"<t>b "                                                                    \
    "\",\"content\":{\"type\":\"json_schema\",\"json_schema\":{\"enum\":[\"x\"]}},\"end\":\"</t>\"}"
#define TRIGGERED "{\"type\":\"triggered_tags\",\"triggers\":[\"<t>\"],\"tags\":[" TOOL_A "," TOOL_B "]"
#define THINK     "{\"type\":\"tag\",\"begin\":\"\",\"content\":{\"type\":\"any_text\"},\"end\":\"</think>\"}"
#define PARAMS(more)                                                                                         \
    "{\"type\":\"parameters\",\"json_schema\":{\"properties\":{\"city\":{\"type\":\"string\"},\"n\":{"       \
    "\"type\":\"integer\"},"                                                                                 \
    "\"unit\":{\"enum\":[\"c\",\"f\"]}},\"required\":[\"city\"]}," more "}"

// clang-format off
static const struct {
    const char *format;
    const char *yes[8], *no[10]; /* whole texts; those of `no` break off or may not end */
} cases[] = {
    {"{\"type\":\"const_string\",\"value\":\"abc\"}", {"abc"}, {"ab", "abcd", "x", ""}},
    {"{\"type\":\"json_schema\",\"json_schema\":{\"type\":\"boolean\"}}", {"true", "false"}, {"null", "tru"}},
    {"{\"type\":\"regex\",\"pattern\":\"a+b?\"}", {"a", "aab"}, {"", "b", "abb"}},
    {"{\"type\":\"grammar\",\"grammar\":\"root ::= \\\"(\\\" root? \\\")\\\"\"}", {"()", "((()))"}, {"(()", ")"}},
    {"{\"type\":\"grammar\",\"grammar\":\"start: \\\"a\\\"+\"}", {"a", "aaa"}, {"", "b"}},
    {"{\"type\":\"any_text\"}", {"", "anything \xC3\xA9\n<t>"}, {"cut \xC3", "\xFF"}},
    {"{\"type\":\"any_text\",\"excludes\":[\"no\"]}", {"nn o", "n"}, {"no", "ab no", "nno"}},
    {"{\"type\":\"sequence\",\"elements\":[" THINK ",{\"type\":\"json_schema\",\"json_schema\":{\"type\":\"null\"}}]}",
     {"so </thi </think>null", "</think>null", "a<</think>null"}, {"null", "a</think>", "a</think>b", "a</think> null", "</think>null</think>"}},
    {"{\"type\":\"or\",\"elements\":[{\"type\":\"const_string\",\"value\":\"a\"},{\"type\":\"regex\",\"pattern\":\"[0-9]+\"}]}", {"a", "12"}, {"a1", ""}},
    {TOOL_A, {"<t>a 12</t>"}, {"<t>a x</t>", "<t>a 12", "<t>b 12</t>"}},
    {TRIGGERED "}", {"", "text", "<t", "hi <t>a 1</t> and <t>b \"x\"</t>.", "<<t>a 5</t>", "<t>a 5</t>"},
     {"<t>", "<t>c", "a <t>a x", "<t>a 5", "<t>b \"y\"</t>", "<t>a 5</t><t>"}},
    {TRIGGERED ",\"stop_after_first\":true}", {"", "text", "t <t>a 1</t>"}, {"<t>a 1</t> ", "<t>a 1</t><t>a 1</t>"}},
    {TRIGGERED ",\"at_least_one\":true}", {"<t>a 1</t>", "<t>a 1</t> more <t>b \"x\"</t>"}, {"", "text", "x<t>a 1</t>"}},
    {TRIGGERED ",\"at_least_one\":true,\"stop_after_first\":true}", {"<t>a 1</t>"}, {"", "<t>a 1</t>x"}},
    {"{\"type\":\"tag\",\"begin\":\"[\",\"content\":" TRIGGERED "},\"end\":\"]\"}", {"[]", "[a<t>a 1</t>b]"}, {"[", "[a]b", "[<t>a 1]"}},
    {"{\"type\":\"tag\",\"begin\":\"\",\"content\":{\"type\":\"any_text\"},\"end\":[\".\",\"!\"]}", {"a.", "!"}, {"a", "a.b"}},
    {"{\"type\":\"tags_with_separator\",\"separator\":\",\",\"tags\":[" TOOL_A "," TOOL_B "]}", {"", "<t>a 1</t>", "<t>a 1</t>,<t>b \"x\"</t>"}, {",", "<t>a 1</t>,"}},
    {"{\"type\":\"tags_with_separator\",\"separator\":\"\\n\",\"tags\":[" TOOL_A "],\"at_least_one\":true,\"stop_after_first\":true}", {"<t>a 1</t>"}, {"", "<t>a 1</t>\n"}},
    {"{\"type\":\"star\",\"content\":" TOOL_A "}", {"", "<t>a 1</t><t>a 2</t>"}, {"<t>"}},
    {"{\"type\":\"plus\",\"content\":{\"type\":\"const_string\",\"value\":\"ab\"}}", {"ab", "abab"}, {"", "aba"}},
    {"{\"type\":\"sequence\",\"elements\":[{\"type\":\"optional\",\"content\":{\"type\":\"const_string\",\"value\":\"x\"}},{\"type\":\"const_string\",\"value\":\"y\"}]}",
     {"y", "xy"}, {"x", "xxy"}},
    {"{\"type\":\"tag\",\"begin\":\"<f>\",\"content\":" PARAMS("\"head\":\"<{key}>\\n\",\"tail\":\"\\n</p>\\n\"") ",\"end\":\"</f>\"}",
     {"<f><city>\nNew \"York\"\n</p>\n</f>", "<f><city>\na\n\n</p>\n<n>\n-3\n</p>\n<unit>\nc\n</p>\n</f>", "<f><city>\nx\n</p>\n<unit>\nf\n</p>\n</f>"},
     {"<f></f>", "<f><n>\n3\n</p>\n</f>", "<f><city>\na\n</p>\n<n>\nx", "<f><city>\na\n</p>\n<unit>\ng", "<f><city>\na\n</f>"}},
    {PARAMS("\"head\":\"{key}=\",\"between\":\", \",\"style\":\"python\""), {"city='x'", "city=\"it's\", n=3, unit='f'", "city='a\\'b', unit='c'"},
     {"", "n=3", "city=x", "city='x', n='3'", "city='x',n=3", "city='x', unit=c"}},
    {PARAMS("\"head\":\"{key}:\",\"between\":\",\",\"style\":\"quoted\",\"quote\":\"<|\\\"|>\""), {"city:<|\"|>a b<|\"|>", "city:<|\"|><|\"|>,n:4,unit:<|\"|>c<|\"|>"},
     {"city:a", "n:4", "city:<|\"|>a", "city:<|\"|>a<|\"|>,unit:<|\"|>g"}},
    {"{\"type\":\"qwen_xml_parameter\",\"json_schema\":{\"properties\":{\"a\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}},\"required\":[\"a\"]}}",
     {"<parameter=a>\n[1, 2]\n</parameter>\n"}, {"<parameter=a>\n[x", "<parameter=b>"}},
};
static const struct { const char *format; status code; const char *want; } refused[] = {
    {"{\"type\":\"const_string\"}", ERR_ARG, "\"value\""},
    {"{\"type\":\"regex\",\"pattern\":\"(\"}", ERR_ARG, ""},
    {"{\"type\":\"tag\",\"begin\":\"a\",\"end\":\"b\"}", ERR_ARG, "content"},
    {"{\"type\":\"sequence\",\"elements\":[]}", ERR_ARG, "elements"},
    {"{\"type\":\"sequence\",\"elements\":[{\"type\":\"any_text\"},{\"type\":\"new\"}]}", ERR_UNSUPPORTED, "/elements/1"},
    {"{\"type\":\"triggered_tags\",\"triggers\":[\"<u>\"],\"tags\":[" TOOL_A "]}", ERR_ARG, "none of the triggers"},
    {"{\"type\":\"triggered_tags\",\"triggers\":[\"\"],\"tags\":[" TOOL_A "]}", ERR_ARG, "not empty"},
    {"{\"type\":\"json_schema\",\"json_schema\":{\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"(\"}}}}", ERR_ARG, "/json_schema/properties/a"},
    {"{\"type\":\"parameters\",\"json_schema\":{\"properties\":{\"a\":{\"type\":\"string\",\"format\":\"date\"}}},\"tail\":\"x\"}", ERR_UNSUPPORTED, "format"},
    {"{\"type\":\"parameters\",\"json_schema\":{}}", ERR_ARG, "tail"},
    {"[]", ERR_ARG, "object"},
    {"{", ERR_ARG, "not JSON"},
    {"{\"structures\":[{\"begin\":\"a\"}],\"triggers\":[\"a\"]}", ERR_ARG, "a structure wants"},
};
// clang-format on

static struct grammar *compile(const char *format, const struct grammar_trie *trie)
{
    struct grammar *g;
    struct error e;
    const struct grammar_options o = {.vocabulary = trie};
    if (grammar_compile(&g, "structural_tag", format, strlen(format), &o, &e) != OK)
        fail_msg("%s: %s", format, e.msg);
    return g;
}

static bool has(struct grammar *g, const char *text)
{
    struct grammar_state *s = grammar_state_new(g);
    bool yes = grammar_state_accept(s, text, strlen(text)) && grammar_state_can_end(s);
    grammar_state_free(s);
    return yes;
}

static void formats_let_through(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct grammar *g = compile(cases[i].format, NULL);
        for (const char *const *t = cases[i].yes; *t; t++)
            if (!has(g, *t) && ++wrong) print_error("%s: refuses \"%s\"\n", cases[i].format, *t);
        for (const char *const *t = cases[i].no; *t; t++)
            if (has(g, *t) && ++wrong) print_error("%s: accepts \"%s\"\n", cases[i].format, *t);
        grammar_unref(g);
    }
    assert_int_equal(wrong, 0);
}

static void others_are_refused(void **state)
{
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct grammar *g;
        struct error e = {0};
        status code =
            grammar_compile(&g, "structural_tag", refused[i].format, strlen(refused[i].format), NULL, &e);
        if (code != refused[i].code || !strstr(e.msg, refused[i].want))
            fail_msg("%s: %s, \"%s\"; want %s, \"%s\"", refused[i].format, status_name(code), e.msg,
                     status_name(refused[i].code), refused[i].want);
    }
}

static void the_older_shape(void **state)
{
    struct grammar *g = compile(
        "{\"type\":\"structural_tag\",\"structures\":[{\"begin\":\"<f>\",\"schema\":{\"type\":\"null\"},"
        "\"end\":\"</f>\"}],\"triggers\":[\"<f\"]}",
        NULL);
    assert_true(has(g, "a <f>null</f> b"));
    assert_false(has(g, "a <f>1"));
    assert_false(has(g, "a <fx"));
    grammar_unref(g);
}

/* <|end|>> of the small vocabulary is a control token that ends no turn. */
static void control_tokens(void **state)
{
    const struct vocab_spec spec = SMALL_BPE(.pre = "gpt-2", .bos = -1, .eos = 275);
    struct tokenizer *t;
    struct grammar_trie *trie;
    struct error e;
    uint32_t bits[16] = {0};
    assert_int_equal(vocab_make(&t, &spec, &e), OK);
    assert_int_equal(grammar_trie_new(&trie, t, &e), OK);
    int32_t end = tokenizer_find(t, "<|end|>>", 8), plain = tokenizer_find(t, "<", 1),
            a = tokenizer_find(t, "a", 1);
    assert_int_equal(tokenizer_attr(t, end), TOK_CONTROL);
    assert_false(tokenizer_is_eog(t, end));
    // clang-format off
    static const struct {
        const char *format;
        bool control_first, plain_first, a_first, control_after_a, a_after_control;
    } c[] = {
        {"{\"type\":\"const_string\",\"value\":\"<|end|>>a\"}", true, false, false, false, true},
        {"{\"type\":\"triggered_tags\",\"triggers\":[\"<|end|>>\"],\"tags\":[{\"type\":\"tag\",\"begin\":\"<|end|>>a\","
         "\"content\":{\"type\":\"regex\",\"pattern\":\"b\"},\"end\":\"\"}]}", true, true, true, true, true},
        {"{\"type\":\"any_text\"}", false, true, true, false, false},
        {"{\"type\":\"regex\",\"pattern\":\".*\"}", false, true, true, false, false},
        {"{\"type\":\"tag\",\"begin\":\"\",\"content\":{\"type\":\"any_text\"},\"end\":\"<|end|>>\"}", true, true, true, true, false},
    };
    // clang-format on
    for (size_t i = 0; i < COUNT_OF(c); i++) {
        struct grammar *g = compile(c[i].format, trie);
        struct grammar_state *s = grammar_state_new(g);
        grammar_state_mask(s, trie, bits);
        assert_int_equal(bits[end >> 5] >> (end & 31) & 1, c[i].control_first);
        assert_int_equal(bits[plain >> 5] >> (plain & 31) & 1, c[i].plain_first);
        assert_int_equal(bits[a >> 5] >> (a & 31) & 1, c[i].a_first);
        if (c[i].a_first) {
            struct grammar_state *x = grammar_state_clone(s);
            assert_true(grammar_state_accept_token(x, trie, a));
            assert_int_equal(grammar_state_accept_token(x, trie, end), c[i].control_after_a);
            grammar_state_free(x);
        }
        if (c[i].control_first) {
            assert_true(grammar_state_accept_token(s, trie, end));
            assert_int_equal(grammar_state_accept_token(s, trie, a), c[i].a_after_control);
        }
        grammar_state_free(s);
        grammar_unref(g);
    }
    grammar_trie_free(trie);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_let_through),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(the_older_shape),
        cmocka_unit_test(control_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
