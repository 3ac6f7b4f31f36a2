/* The pre-tokenizers, piece by piece, and their time on text made to be slow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "text/tok_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

/* The pieces between bars; the text is them without the bars. */
static const struct {
    const char *pre, *pieces;
} cases[] = {
    {"gpt-2", "Hello|,| world|!"},
    {"gpt-2", "I|'m| it|'|S|  | don|'t"},
    {"gpt-2", " 123456| ½|abc|123"},
    {"gpt-2", "a|  | b|\n\n|\n|c|  "},
    {"gpt-2", "x| ...|\t|y"},
    {"llama-bpe", "Hello|,| world|!\n\n|x"},
    {"llama-bpe", "I|'M| it|'S|.it"},
    {"llama-bpe", "123|456|7| |89"},
    {"llama-bpe", "a|  \n \n|  | b| \t\n"},
    {"llama-bpe", "(foo|_bar|)|\tbaz"},
    {"llama-bpe", "ह|िन|्द|ी"}, /* marks are no letters: one may lead the next word */
    {"qwen2", "1|2|3| |4"},
    {"qwen35", "हिन्दी| हिन्दी|1|2"},
    {"qwen35", "e\xCC\x81t| x"},
    {"seed-coder", "a|!!|\n\n|b"},
    {"gpt-4o", "mixed|CASEWords|And|Camel|Case"},
    {"gpt-4o", "don't| IT'S|x|I'LL|/\n"},
    {"gpt-4o", "https|://\n|a|,/\n/|b|123|4"},
    {"gpt-4o", "приветМИР"}, /* as the reference: case beyond ASCII does not split */
    {"gpt-4o", "AéBBé|AB"},
    {"tekken", "don|'t|1|2| Word|Word"},
    {"kimi-k2", "中文| |中|a|中|getUserName's| x"},
    {"kimi-k2", "，|中文|123|4"},
    {"smollm", "a| |1|2| b"},
    {"falcon", "a| |..| b| |123|45| x|`"},
    {"falcon", "it|'|s| |$|5"},
    {"default", "a| |..| b| |123|456|7"},
    {"default", "x| `|y"},
    {"deepseek-llm", "Hello|,| world|\n|\n|  "},
    {"deepseek-llm", "日本語|。| x|12"},
    {"deepseek-llm", "na|ï|ve"}, /* the signs' range :-~ takes ASCII letters apart from the others */
    {"deepseek-coder", "x|1|2| foo|()"},
    {"deepseek-coder", "$|_|a|+|b"},
    {"deepseek-v3", ".append|(x|)| |123|4"},
    {"deepseek-v3", "日本カナ語| a| ,,\n|b"},
    {"deepseek-v3", "\x01|\x02"
                    "a"},
};

static void add_piece(struct tok_run *run, const char *word, size_t n)
{
    struct buf *out = (struct buf *)(void *)run->ids;
    if (out->n) buf_addc(out, '|');
    buf_add(out, word, n);
}

static void pieces_are_as_published(void **state)
{
    int bad = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf text = {0}, got = {0};
        const char *want = cases[i].pieces;
        size_t n = strlen(want);
        for (size_t k = 0; k < n; k++)
            if (want[k] != '|') buf_addc(&text, want[k]);
        if (want[n - 1] == '|') n--;
        struct tok_run run = {.ids = (struct tok_ids *)(void *)&got};
        const struct pre_rules *p = pre_find(cases[i].pre);
        assert_non_null(p);
        pre_split(p, text.data, text.n, &run, add_piece);
        if (got.n != n || memcmp(got.data, want, n) != 0) {
            print_error("%s: got \"%s\", want \"%s\"\n", cases[i].pre, got.data, want);
            bad++;
        }
        buf_deinit(&text);
        buf_deinit(&got);
    }
    assert_int_equal(bad, 0);
}

static void count_bytes(struct tok_run *run, const char *word, size_t n)
{
    *(size_t *)(void *)run->ids += n;
}

/* Each text a megabyte of one pattern. A rule that looks back or ahead without bound would take minutes. */
static void time_is_linear(void **state)
{
    static const char *const pattern[] = {" ", "a",  "A",  "\n",   " \n",          "'",   "1",
                                          "é", "éA", "a ", "\xFF", "\xE2\x80\x8D", "\t!", "中"};
    enum { SIZE = 1 << 20 };
    char *text = mem_alloc(SIZE + 2);
    for (size_t row = 0; pre_name_at(row); row++)
        for (size_t i = 0; i < COUNT_OF(pattern); i++) {
            char name[64];
            size_t n = strlen(pattern[i]), seen = 0;
            struct tok_run run = {.ids = (struct tok_ids *)(void *)&seen};
            snprintf(name, sizeof name, "%.*s", (int)strcspn(pre_name_at(row), " "), pre_name_at(row));
            for (size_t k = 0; k < SIZE; k++) text[k] = pattern[i][k % n];
            text[SIZE] = 'x';
            clock_t t0 = clock();
            pre_split(pre_find(name), text, SIZE + 1, &run, count_bytes);
            double s = (double)(clock() - t0) / CLOCKS_PER_SEC;
            if (s > 5) fail_msg("%s: a megabyte of \"%s\" takes %.1f s", name, pattern[i], s);
            assert_int_equal(seen, SIZE + 1);
        }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_are_as_published),
                                       cmocka_unit_test(time_is_linear)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
