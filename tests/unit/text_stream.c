/* The incremental detokenizer: whole characters only, stop strings held back, the same however text is cut.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/vocab_build.h"
#include "text/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static const struct vocab_spec spm = SMALL_SPM();

/* Push the bytes of text one by one as byte tokens, checking that what is shown is always whole characters.
 */
static void push_bytes(struct text_stream *s, const char *text, struct buf *out)
{
    for (const char *p = text; *p; p++) {
        bool stopped = text_stream_push(s, (uint8_t)*p, out);
        assert_true(utf8_valid(out->data ? out->data : "", out->n));
        if (stopped) break;
    }
}

static void bytes_become_characters(void **state)
{
    static const struct {
        const char *bytes, *before, *after; /* what is shown before and after finish */
    } table[] = {
        {"plain", "plain", "plain"},
        {"a\xC3\xB1\xE6\x97\xA5\xF0\x9F\x99\x82", "añ日🙂", "añ日🙂"},
        {"a\xC3", "a", "a\xEF\xBF\xBD"},
        {"a\xE6\x97", "a", "a\xEF\xBF\xBD"}, /* one mark for one unfinished character */
        {"a\xE6\x97z", "a\xEF\xBF\xBDz", "a\xEF\xBF\xBDz"},
        {"\xFF\xFEz", "\xEF\xBF\xBD\xEF\xBF\xBDz", "\xEF\xBF\xBD\xEF\xBF\xBDz"},
        {"\xF0\x9F\x99", "", "\xEF\xBF\xBD"},
        {"\xED\xA0\x80!", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD!",
         "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD!"}, /* a surrogate */
        {"", "", ""},
    };
    struct tokenizer *t;
    struct error e;
    assert_int_equal(vocab_make(&t, &spm, &e), OK);
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct text_stream *s;
        struct buf out = {0};
        buf_adds(&out, "");
        assert_int_equal(text_stream_new(&s, t, NULL, 0, false, &e), OK);
        push_bytes(s, table[i].bytes, &out);
        assert_string_equal(out.data, table[i].before);
        text_stream_finish(s, &out);
        assert_string_equal(out.data, table[i].after);
        assert_null(text_stream_stop(s));
        text_stream_free(s);
        buf_deinit(&out);
    }
    tokenizer_free(t);
}

static const struct {
    const char *text, *stop[3], *shown, *met;
} stops[] = {
    {"abcd", {"cd"}, "ab", "cd"},       {"abcabd", {"abd"}, "abc", "abd"},     /* a false start within */
    {"aaab", {"aab"}, "a", "aab"},      {"abc", {"cx"}, "abc", NULL},          /* begun, never completed */
    {"abc", {"abcd"}, "abc", NULL},     {"xabyz", {"xabyz", "ab"}, "x", "ab"}, /* the one that ends first */
    {"xabc", {"c", "abc"}, "x", "abc"}, /* of two that end together the longer */
    {"abc", {"abc"}, "", "abc"},        {"a日本", {"日"}, "a", "日"},
    {"日本x", {"本x"}, "日", "本x"},    {"abab", {"b", "bab"}, "a", "b"},
};

/* One token for each part of the text, so that every way of cutting it can be tried. */
static void every_cut_gives_the_same(void **state)
{
    for (size_t i = 0; i < COUNT_OF(stops); i++) {
        struct vocab_token tok[64];
        char part[64][16];
        size_t n = strlen(stops[i].text), count = 0, n_stop = 0;
        int id[12][12];
        struct tokenizer *t;
        struct error e;
        for (size_t a = 0; a < n; a++)
            for (size_t b = a + 1; b <= n; b++) {
                snprintf(part[count], sizeof part[0], "%.*s", (int)(b - a), stops[i].text + a);
                tok[count] = (struct vocab_token){part[count], TOK_USER_DEFINED, 0};
                id[a][b] = (int)count++;
            }
        struct vocab_spec v = SMALL_SPM(.no_bytes = true, .tok = tok, .n_tok = count, .bos = -1, .eos = -1);
        assert_int_equal(vocab_make(&t, &v, &e), OK);
        while (n_stop < 3 && stops[i].stop[n_stop]) n_stop++;
        for (unsigned cut = 0; cut < 1u << (n - 1); cut++) {
            struct text_stream *s;
            struct buf out = {0};
            bool stopped = false;
            buf_adds(&out, "");
            assert_int_equal(text_stream_new(&s, t, stops[i].stop, n_stop, false, &e), OK);
            for (size_t a = 0, b = 1; b <= n && !stopped; b++) {
                if (b < n && !(cut >> (b - 1) & 1)) continue;
                stopped = text_stream_push(s, id[a][b], &out);
                assert_true(utf8_valid(out.data, out.n));
                /* Nothing shown that is not in the result. */
                assert_memory_equal(out.data, stops[i].shown, MIN(out.n, strlen(stops[i].shown)));
                assert_true(out.n <= strlen(stops[i].shown));
                a = b;
            }
            text_stream_finish(s, &out);
            assert_string_equal(out.data, stops[i].shown);
            assert_true(stopped == (stops[i].met != NULL));
            if (stops[i].met)
                assert_string_equal(text_stream_stop(s), stops[i].met);
            else
                assert_null(text_stream_stop(s));
            text_stream_free(s);
            buf_deinit(&out);
        }
        tokenizer_free(t);
    }
}

static void tokens_as_they_come(void **state)
{
    static const struct {
        const char *ids[4];
        bool special;
        const char *want;
    } table[] = {
        {{"▁hello", "▁world"}, false, " hello world"}, /* continues a prompt: the space stays */
        {{"hello", "</s>"}, false, "hello"},           {{"hello", "</s>"}, true, "hello</s>"},
        {{"<tool>", "hello"}, false, "<tool>hello"},   {{"<unk>", "hello"}, false, "hello"},
    };
    struct tokenizer *t;
    struct error e;
    assert_int_equal(vocab_make(&t, &spm, &e), OK);
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct text_stream *s;
        struct buf out = {0};
        assert_int_equal(text_stream_new(&s, t, NULL, 0, table[i].special, &e), OK);
        for (size_t k = 0; k < 4 && table[i].ids[k]; k++)
            assert_false(
                text_stream_push(s, tokenizer_find(t, table[i].ids[k], strlen(table[i].ids[k])), &out));
        assert_string_equal(out.data, table[i].want);
        text_stream_finish(s, &out);
        assert_string_equal(out.data, table[i].want);
        text_stream_free(s);
        buf_deinit(&out);
    }
    tokenizer_free(t);
}

static void bad_stop_strings_are_refused(void **state)
{
    struct tokenizer *t;
    struct text_stream *s;
    struct error e;
    static const char *many[2000];
    const char *empty[] = {"a", ""};
    char *huge = mem_alloc(70001);
    memset(huge, 'x', 70000);
    huge[70000] = 0;
    for (size_t i = 0; i < COUNT_OF(many); i++) many[i] = "x";
    assert_int_equal(vocab_make(&t, &spm, &e), OK);
    assert_int_equal(text_stream_new(&s, t, empty, 2, false, &e), ERR_ARG);
    assert_null(s);
    assert_int_equal(text_stream_new(&s, t, many, COUNT_OF(many), false, &e), ERR_LIMIT);
    assert_int_equal(text_stream_new(&s, t, (const char *const[]){huge}, 1, false, &e), ERR_LIMIT);
    text_stream_free(NULL);
    tokenizer_free(t);
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_become_characters),
        cmocka_unit_test(every_cut_gives_the_same),
        cmocka_unit_test(tokens_as_they_come),
        cmocka_unit_test(bad_stop_strings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
