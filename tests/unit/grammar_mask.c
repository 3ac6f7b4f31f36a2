/* Masks against the definition: bit i is set exactly when the state accepts the bytes of token i; the end of
 * the text exactly when it is complete. At every byte of several texts, over a small vocabulary and, with
 * CORRAL_SHARED, a real one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "grammar/grammar.h"
#include "support/vocab_build.h"
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

// clang-format off
static const struct { const char *kind, *grammar, *text; } cases[] = {
    {"json_schema", "{}", "{\"a b\": [1.5e+3, true, null, \"x\\n\xC3\xA9\"], \"a\": {}}"},
    {"json_schema", "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"minLength\": 2, \"maxLength\": 6}, "
                    "\"names\": {\"type\": \"integer\"}}, \"required\": [\"names\"]}", "{\"name\": \"hello\", \"other\": 1, \"names\": 12}"},
    {"json_schema", "{\"type\": \"object\", \"properties\": {\"a\": {\"enum\": [\"red\", \"reddish\"]}}, \"additionalProperties\": false}", "{\"a\": \"reddish\"}"},
    {"json_schema", "{\"type\": \"object\", \"patternProperties\": {\"^x\": {\"type\": \"number\", \"minimum\": 3}}, \"maxProperties\": 2}", "{\"xa\": 4.5, \"b\": []}"},
    {"json_schema", "{\"type\": \"string\", \"pattern\": \"^[a-z]+ [0-9]{2,4}$\", \"maxLength\": 9}", "\"hello 123\""},
    {"json_schema", "{\"type\": \"string\", \"maxLength\": 40}", "\"this is a text of forty characters, or so\"" },
    {"json_schema", "{\"anyOf\": [{\"type\": \"string\", \"maxLength\": 3}, {\"type\": \"string\", \"maxLength\": 20, \"pattern\": \"^a\"}]}", "\"and so on\""},
    {"json_schema", "{\"type\": \"array\", \"items\": {\"type\": \"string\", \"format\": \"date\"}, \"minItems\": 1, \"maxItems\": 2}", "[\"2024-02-29\", \"1999-12-31\"]"},
    {"regex", "(the|a|an) [a-z]+( [a-z]+)*\\.?", "the end of it."},
    {"gbnf", "root ::= e\ne ::= t (\"+\" t)*\nt ::= [0-9]+ | \"(\" e \")\"\n", "1+(22+3)+4"},
    {"gbnf", "root ::= (x | y)+\nx ::= \"a\"{1,3}\ny ::= [^a-z] (x | y)+ | .\n", "HELaa1"},
    {"gbnf", "root ::= c c c c c c c c c c c c c c \"e\"\nc ::= d | f\nd ::= \"a\" d \"b\" | \"\"\nf ::= \"h\" f \"l\" | \"\"", "aabbhlabe"},
    {"structural_tag", "{\"type\": \"triggered_tags\", \"triggers\": [\"<t>\"], \"tags\": [{\"type\": \"tag\", \"begin\": \"<t>a\", \"content\": "
                       "{\"type\": \"json_schema\", \"json_schema\": {\"type\": \"integer\"}}, \"end\": \"</t>\"}]}", "well, <t>a12</t> then <t"},
    {"structural_tag", "{\"type\": \"sequence\", \"elements\": [{\"type\": \"any_text\"}, {\"type\": \"json_schema\", \"json_schema\": {\"enum\": [\"hello\"]}}, "
                       "{\"type\": \"regex\", \"pattern\": \"( world)*\"}]}", "he \"hello\" world"},
    {"lark", "start: (\"a\" | WORD)+ [\"!\"]\nWORD: /[a-z]+/\n%ignore \" \"", "hello world !"},
    {"choice", "[\"yes\", \"yesterday\", \"no\"]", "yesterday"},
};
// clang-format on

static int compare(struct grammar_state *s, struct grammar_trie *trie, const struct tokenizer *t,
                   uint32_t *bits, const char *where)
{
    int wrong = 0;
    grammar_state_mask(s, trie, bits);
    for (int32_t i = 0; i < (int32_t)tokenizer_n_vocab(t); i++) {
        struct grammar_state *c = grammar_state_clone(s);
        size_t n;
        const char *piece = tokenizer_piece(t, i, &n);
        bool eog = tokenizer_is_eog(t, i),
             want = eog ? grammar_state_can_end(s) : grammar_state_accept_token(c, trie, i);
        bool got = bits[i >> 5] >> (i & 31) & 1;
        grammar_state_free(c);
        if (got == want) continue;
        if (wrong++ < 3)
            print_error("%s: token %d \"%.*s\": mask %d, want %d\n", where, i, (int)n, piece, got, want);
    }
    return wrong;
}

static int check_vocabulary(const struct tokenizer *t, size_t step)
{
    struct grammar_trie *trie;
    struct error e;
    int wrong = 0;
    assert_int_equal(grammar_trie_new(&trie, t, &e), OK);
    uint32_t *bits = mem_zalloc(grammar_trie_words(trie), sizeof *bits);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct grammar *g;
        struct grammar_options o = {.space = i % 2 ? GRAMMAR_SPACE_FLEXIBLE : GRAMMAR_SPACE_PLAIN};
        if (grammar_compile(&g, cases[i].kind, cases[i].grammar, strlen(cases[i].grammar), &o, &e) != OK)
            fail_msg("%s", e.msg);
        for (int again = 0; again < 2; again++) { /* the second time from kept masks */
            struct grammar_state *s = grammar_state_new(g);
            for (size_t at = 0; cases[i].text[at]; at++) {
                if (at % step == 0) wrong += compare(s, trie, t, bits, cases[i].text + at);
                if (!grammar_state_accept(s, &cases[i].text[at], 1)) break;
            }
            wrong += compare(s, trie, t, bits, "the end");
            grammar_state_free(s);
        }
        grammar_unref(g);
    }
    free(bits);
    grammar_trie_free(trie);
    return wrong;
}

static void masks_of_a_small_vocabulary(void **state)
{
    struct vocab_spec bpe = SMALL_BPE(.pre = "gpt-2"), spm = SMALL_SPM();
    struct tokenizer *t;
    struct error e;
    assert_int_equal(vocab_make(&t, &bpe, &e), OK);
    assert_int_equal(check_vocabulary(t, 1), 0);
    tokenizer_free(t);
    assert_int_equal(vocab_make(&t, &spm, &e), OK);
    assert_int_equal(check_vocabulary(t, 1), 0);
    tokenizer_free(t);
}

static void masks_of_a_real_vocabulary(void **state)
{
    const char *shared = getenv("CORRAL_SHARED");
    char path[4096];
    struct gguf *g = NULL;
    struct tokenizer *t;
    struct error e;
    snprintf(path, sizeof path, "%s/golden/tokenizer/deepseek-llm.gguf", shared ? shared : "");
    if (!shared || gguf_open(&g, path, &(struct gguf_options){.meta_only = true}, &e) != OK) {
        print_message("skipped: needs CORRAL_SHARED/golden/tokenizer\n");
        skip();
    }
    assert_int_equal(tokenizer_new(&t, g, &e), OK);
    assert_int_equal(check_vocabulary(t, 7), 0);
    tokenizer_free(t);
    gguf_close(g);
}

/* Each character may belong to any of the calls that are open: there are as many stacks as their depths, not
 * as many as ways to come to them, which double with each character until no more are followed. */
static void ways_to_one_stack_are_one(void **state)
{
    const char *text = "root ::= (x | y)+\nx ::= \"a\"{1,3}\ny ::= [^a-z] (x | y)+ | .\n";
    struct grammar *g;
    struct error e;
    assert_int_equal(grammar_compile(&g, "gbnf", text, strlen(text), NULL, &e), OK);
    struct grammar_state *s = grammar_state_new(g);
    for (int i = 0; i < 200; i++)
        if (!grammar_state_accept(s, i % 5 ? "1" : "a", 1)) fail_msg("refused after %d characters", i);
    assert_true(grammar_state_can_end(s));
    grammar_state_free(s);
    grammar_unref(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_of_a_small_vocabulary),
        cmocka_unit_test(masks_of_a_real_vocabulary),
        cmocka_unit_test(ways_to_one_stack_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
