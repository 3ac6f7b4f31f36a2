/* Tokenizers of small vocabularies: ids, special tokens, flags, decoding, hostile files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "support/vocab_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static const struct vocab_spec spm = SMALL_SPM(), spm_plain = SMALL_SPM(.add_space = 0),
                               spm_no_bos = SMALL_SPM(.add_bos = 0), phi3 = SMALL_SPM(.name = "Phi-3 mini"),
                               bpe = SMALL_BPE(.pre = "gpt-2"), bpe_default = SMALL_BPE(),
                               llama3 = SMALL_BPE(.pre = "llama-bpe"),
                               bpe_bos = SMALL_BPE(.pre = "gpt-2", .add_bos = 1);

/* User-defined tokens that overlap in text. */
static const struct vocab_token overlapping[] = {{"he", 0, 0},
                                                 {"ab", TOK_USER_DEFINED, 0},
                                                 {"bcd", TOK_USER_DEFINED, 0},
                                                 {"cdefa", TOK_USER_DEFINED, 0},
                                                 {"ex", TOK_USER_DEFINED, 0},
                                                 {"xyz", TOK_USER_DEFINED, 0},
                                                 {"zh", TOK_USER_DEFINED, 0},
                                                 {"!", TOK_USER_DEFINED, 0}};
static const char *const he[] = {"h e"};
static const struct vocab_spec overlap =
    SMALL_BPE(.pre = "gpt-2", .tok = overlapping, .n_tok = COUNT_OF(overlapping), .merge = he, .n_merge = 1);

#define OFF                                                                                                  \
    {                                                                                                        \
        .bos = TOK_BOS_OFF                                                                                   \
    }
#define SPECIAL                                                                                              \
    {                                                                                                        \
        .bos = TOK_BOS_OFF, .parse_special = true                                                            \
    }

/* want: the texts of the tokens with a bar after each. */
static const struct {
    const struct vocab_spec *vocab;
    const char *text;
    struct tok_options options;
    const char *want;
} cases[] = {
    {&spm, "hello world", OFF, "▁hello|▁world|"},
    {&spm, "hello", {.bos = TOK_BOS_OFF, .no_prefix = true}, "hello|"},
    {&spm, " hello", {.bos = TOK_BOS_OFF, .no_prefix = true}, "▁hello|"},
    {&spm, "", OFF, ""},
    {&spm, "", {.bos = TOK_BOS_AUTO}, "<s>|"},
    {&spm, "hello", {.bos = TOK_BOS_AUTO}, "<s>|▁hello|"},
    {&spm_no_bos, "hello", {.bos = TOK_BOS_AUTO}, "▁hello|"},
    {&spm_no_bos, "hello", {.bos = TOK_BOS_ON}, "<s>|▁hello|"},
    {&spm_plain, "hello hello", OFF, "hello|▁hello|"},
    {&spm, "é日x", OFF, "▁|é|日|<0x78>|"},
    {&spm, "\xF0\x9F\x99\x82", OFF, "▁|<0xF0>|<0x9F>|<0x99>|<0x82>|"},
    {&spm, "\xE2\x28\xFF", OFF, "▁|<0xE2>|<0x28>|<0xFF>|"}, /* not UTF-8: byte by byte */
    {&spm, "   hello", OFF, "▁▁|▁|▁hello|"},
    {&spm, "    ", {.bos = TOK_BOS_OFF, .no_prefix = true}, "▁▁▁▁|"},
    {&spm, "hello\n\nworld", OFF, "▁hello|<0x0A>|<0x0A>|w|or|ld|"},
    {&spm, "<s>", OFF, "▁|<s|>|"}, /* never the control token, though "<s" and ">" would merge to it */
    {&spm, "<0x41>", OFF, "▁|<|<0x30>|<0x78>|<0x34>|<0x31>|>|"},
    {&spm, "<s>hello", SPECIAL, "<s>|▁hello|"},
    {&spm, "hello</s>hello", SPECIAL, "▁hello|</s>|▁hello|"}, /* a dummy space after a special token too */
    {&spm, "<s>hello", {.bos = TOK_BOS_AUTO, .parse_special = true}, "<s>|▁hello|"}, /* one, not two */
    {&spm, "<s>hello", {.bos = TOK_BOS_ON, .parse_special = true}, "<s>|<s>|▁hello|"},
    {&spm, "a<tool>s", OFF, "▁|<0x61>|<tool>s|"}, /* the longest */
    {&spm, "<tool><tool>", OFF, "<tool>|<tool>|"},
    {&spm, "hello</s>  hello", SPECIAL, "▁hello|</s>|▁▁|▁hello|"},
    {&phi3, "hello</s>  hello", SPECIAL, "▁hello|</s>|▁hello|"}, /* swallows blanks after it */
    {&phi3, "<s> hello", SPECIAL, "<s>|▁|▁hello|"},              /* but not <s> */
    {&bpe, "hello world", OFF, "hello|Ġworld|"},
    {&bpe, "hello", {.bos = TOK_BOS_AUTO}, "hello|"},
    {&bpe_bos, "hello", {.bos = TOK_BOS_AUTO}, "<|end|>|hello|"},
    {&llama3, "hello", {.bos = TOK_BOS_AUTO}, "<|end|>|hello|"}, /* llama-bpe adds one by default */
    {&bpe, "é", OFF, "Ã©|"},
    {&bpe, "\xFF\x80", OFF, "ÿ|Ģ|"},
    {&bpe, "aaaaaaa", OFF, "aaaa|aa|a|"},
    {&bpe, "hidden", OFF, "h|i|d|d|e|n|"}, /* no merges lead to it */
    {&llama3, "hidden", OFF, "hidden|"},   /* found whole: merges are ignored */
    {&bpe, "1212", OFF, "12|12|"},
    {&bpe_default, "1212", OFF, "12|1|2|"},   /* the default rules cut numbers in threes */
    {&bpe, "a   b", OFF, "a|   |b|"},         /* user-defined: before the model */
    {&bpe, "<|end|>", OFF, "<|||e|n|d|||>|"}, /* control: never from text */
    {&bpe, "<|end|>>", SPECIAL, "<|end|>>|"}, /* the longest */
    {&bpe, "x<|end|>y", SPECIAL, "x|<|end|>|y|"},
    {&bpe, "é!", OFF, "é!|"},
    {&overlap, "abcd", OFF, "a|bcd|"}, /* the longest first, wherever it stands */
    {&overlap, "abcdefabcd", OFF, "ab|cdefa|bcd|"},
    {&overlap, "hexyzhe", OFF, "he|xyz|he|"}, /* what is left beside a token joins the text around it */
    {&overlap, "!he!", OFF, "!|he|!|"},
    {&phi3, "</s> <tool>", SPECIAL, "</s>|<tool>|"},
};

static void encode_to_names(const struct tokenizer *t, const char *text, const struct tok_options *o,
                            struct buf *out)
{
    struct tok_ids ids = {0};
    struct error e;
    assert_int_equal(tokenizer_encode(t, text, strlen(text), o, &ids, &e), OK);
    for (size_t i = 0; i < ids.n; i++) {
        size_t n;
        const char *s = tokenizer_text(t, ids.id[i], &n);
        buf_add(out, s, n);
        buf_addc(out, '|');
    }
    tok_ids_deinit(&ids);
}

static void text_to_ids(void **state)
{
    int bad = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct tokenizer *t;
        struct error e;
        struct buf got = {0};
        if (vocab_make(&t, cases[i].vocab, &e) != OK) fail_msg("%s", e.msg);
        encode_to_names(t, cases[i].text, &cases[i].options, &got);
        if (strcmp(got.data ? got.data : "", cases[i].want) != 0) {
            print_error("case %zu \"%s\": got %s, want %s\n", i, cases[i].text, got.data, cases[i].want);
            bad++;
        }
        buf_deinit(&got);
        tokenizer_free(t);
    }
    assert_int_equal(bad, 0);
}

static void ids_to_text(void **state)
{
    static const struct {
        const struct vocab_spec *vocab;
        const char *ids; /* texts of tokens with a bar after each */
        bool special;
        const char *want;
    } table[] = {
        {&spm, "▁hello|▁world|", false, "hello world"}, /* the dummy space goes, the other stays */
        {&spm, "<s>|▁hello|", false, "hello"},
        {&spm, "<s>|▁hello|</s>|", true, "<s>hello</s>"},
        {&spm_plain, "▁hello|", false, " hello"},
        {&spm, "<0x20>|hello|", false, " hello"}, /* a space written as a byte is no dummy */
        {&spm, "<0xE6>|<0x97>|<0xA5>|", false, "日"},
        {&spm, "▁hello|<tool>|▁hello|▁hello|", false, "hello<tool>hello hello"}, /* as encode adds it */
        {&bpe, "Ġworld|Ã©|", false, " worldé"},
        {&bpe, "<|end|>|he|<|end|>|", false, "he"},
        {&bpe, "<|end|>|he|<|end|>|", true, "<|end|>he<|end|>"},
        {&bpe, "é!|   |", false, "é!   "},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct tokenizer *t;
        struct error e;
        int32_t id[8];
        size_t n = 0;
        struct buf got = {0};
        if (vocab_make(&t, table[i].vocab, &e) != OK) fail_msg("%s", e.msg);
        for (const char *p = table[i].ids; *p; n++) {
            const char *bar = strchr(p + (strncmp(p, "<|end|>", 7) == 0 ? 7 : 0), '|');
            id[n] = tokenizer_find(t, p, (size_t)(bar - p));
            assert_true(id[n] >= 0);
            p = bar + 1;
        }
        tokenizer_decode(t, id, n, table[i].special, &got);
        assert_string_equal(got.data, table[i].want);
        buf_deinit(&got);
        tokenizer_free(t);
    }
}

static void what_is_known_about_tokens(void **state)
{
    struct tokenizer *t;
    struct error e;
    size_t n;
    assert_int_equal(vocab_make(&t, &spm, &e), OK);
    assert_string_equal(tokenizer_model_name(t), "llama");
    assert_int_equal(tokenizer_n_vocab(t), 256 + COUNT_OF(small_spm_tokens));
    assert_int_equal(tokenizer_bos(t), 257);
    assert_int_equal(tokenizer_eos(t), 258);
    assert_true(tokenizer_adds_bos(t));
    assert_false(tokenizer_adds_eos(t));
    assert_true(tokenizer_is_eog(t, 258));                                 /* eos */
    assert_true(tokenizer_is_eog(t, tokenizer_find(t, "<|im_end|>", 10))); /* by its name */
    assert_false(tokenizer_is_eog(t, 257));
    assert_false(tokenizer_is_eog(t, -1));
    assert_int_equal(tokenizer_attr(t, 0x41), TOK_BYTE);
    assert_memory_equal(tokenizer_piece(t, 0x41, &n), "A", 1);
    assert_int_equal(n, 1);
    tokenizer_piece(t, 257, &n);
    assert_int_equal(n, 0);
    assert_int_equal(tokenizer_find(t, "nothing", 7), -1);
    tokenizer_free(t);

    /* An end-of-turn token that the file calls normal is a control token all the same. */
    struct vocab_token tok[] = {{"<|im_end|>", TOK_NORMAL, 0},
                                {"<|end|>", TOK_CONTROL, 0},
                                {"<|return|>", TOK_CONTROL, 0},
                                {"<|call|>", TOK_CONTROL, 0}};
    struct vocab_spec s = {.model = "gpt2",
                           .pre = "gpt-4o",
                           .tok = tok,
                           .n_tok = 4,
                           .bos = -1,
                           .eos = -1,
                           .add_bos = 1,
                           .add_space = -1};
    assert_int_equal(vocab_make(&t, &s, &e), OK);
    assert_string_equal(tokenizer_pre_name(t), "gpt-4o");
    assert_int_equal(tokenizer_attr(t, 256), TOK_CONTROL);
    assert_true(tokenizer_is_eog(t, 256));
    assert_false(tokenizer_is_eog(t, 257)); /* gpt-oss: <|end|> ends a message, not the turn */
    assert_true(tokenizer_is_eog(t, 258));
    assert_int_equal(tokenizer_bos(t), -1);
    assert_false(tokenizer_adds_bos(t)); /* the file wants one but names none */
    tokenizer_free(t);
}

static void bad_vocabularies_are_refused(void **state)
{
    static const struct vocab_token dup[] = {{"he", 0, 0}, {"he", 0, 0}, {"", 0, 0}, {"", 0, 0}};
    static const struct vocab_token bad_type[] = {{"x", 9, 0}};
    static const char *const merges[] = {"h e", "h e", "nothing here", "nospace", "",
                                         " ",   "h ",  " e",           "he he",   "h h e"};
    static const struct {
        struct vocab_spec spec;
        status code;
        const char *says;
    } table[] = {
        {SMALL_BPE(.model = NULL), ERR_NOT_FOUND, "tokenizer.ggml.model"},
        {SMALL_BPE(.model = "bert"), ERR_UNSUPPORTED, "\"bert\""},
        {SMALL_BPE(.model = "t5"), ERR_UNSUPPORTED, "\"t5\""},
        {SMALL_BPE(.pre = "no-such"), ERR_UNSUPPORTED, "\"no-such\""},
        {SMALL_BPE(.pre = "gpt-2 phi-2"), ERR_UNSUPPORTED, "gpt-2 phi-2"}, /* a row of the table is no name */
        {SMALL_BPE(.pre = ""), ERR_UNSUPPORTED, "\"\""},
        {{.model = "gpt2", .no_bytes = true, .bos = -1, .eos = -1, .add_bos = -1, .add_space = -1},
         ERR_LIMIT,
         "0 tokens"},
        {SMALL_BPE(.tok = bad_type, .n_tok = 1), ERR_FORMAT, "type 9"},
        /* odd, but with a defined meaning */
        {SMALL_BPE(.tok = dup, .n_tok = 4), OK, ""},
        {SMALL_BPE(.merge = merges, .n_merge = COUNT_OF(merges)), OK, ""},
        {SMALL_BPE(.bos = 1 << 30, .eos = 0x7FFFFFFF), OK, ""},
        {SMALL_BPE(.no_bytes = true), OK, ""},
        {SMALL_SPM(.no_bytes = true), OK, ""},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct tokenizer *t;
        struct error e = {0};
        struct tok_ids ids = {0};
        status code = vocab_make(&t, &table[i].spec, &e);
        if (code != table[i].code || (code != OK && !strstr(e.msg, table[i].says)))
            fail_msg("case %zu: got %s (%s), want %s with \"%s\"", i, status_name(code), e.msg,
                     status_name(table[i].code), table[i].says);
        assert_true((t != NULL) == (code == OK));
        if (t) assert_int_equal(tokenizer_encode(t, "he \xFF", 4, NULL, &ids, &e), OK);
        tok_ids_deinit(&ids);
        tokenizer_free(t);
    }
}

static void a_later_duplicate_wins_and_a_first_merge(void **state)
{
    static const struct vocab_token tok[] = {{"he", 0, 0}, {"he", 0, 0}};
    static const char *const merges[] = {"h e", "h e"};
    struct vocab_spec s = SMALL_BPE(.pre = "gpt-2", .tok = tok, .n_tok = 2, .merge = merges, .n_merge = 2,
                                    .bos = -1, .eos = -1);
    struct tokenizer *t;
    struct error e;
    struct tok_ids ids = {0};
    assert_int_equal(vocab_make(&t, &s, &e), OK);
    assert_int_equal(tokenizer_encode(t, "he", 2, NULL, &ids, &e), OK);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.id[0], 257);
    tok_ids_deinit(&ids);
    tokenizer_free(t);
}

/* A megabyte of one pattern, for both models: no quadratic time, and byte-level BPE gives the text back. */
static void a_megabyte_of_one_letter(void **state)
{
    static const char *const pattern[] = {" ",   "a", "hello", "h",  "\xFF", "<tool>",
                                          "   ", "<", "日",    "ab", "ex",   "hexyz"};
    const struct vocab_spec *vocab[] = {&spm, &bpe, &llama3, &overlap};
    enum { SIZE = 1 << 20 };
    char *text = mem_alloc(SIZE);
    for (size_t v = 0; v < COUNT_OF(vocab); v++)
        for (size_t i = 0; i < COUNT_OF(pattern); i++) {
            struct tokenizer *t;
            struct error e;
            struct tok_ids ids = {0};
            struct buf back = {0};
            for (size_t k = 0; k < SIZE; k++) text[k] = pattern[i][k % strlen(pattern[i])];
            assert_int_equal(vocab_make(&t, vocab[v], &e), OK);
            clock_t t0 = clock();
            assert_int_equal(
                tokenizer_encode(t, text, SIZE, &(struct tok_options){.bos = TOK_BOS_OFF}, &ids, &e), OK);
            double s = (double)(clock() - t0) / CLOCKS_PER_SEC;
            if (s > 10) fail_msg("vocabulary %zu, \"%s\": %.1f s", v, pattern[i], s);
            tokenizer_decode(t, ids.id, ids.n, false, &back);
            assert_int_equal(back.n, SIZE);
            assert_memory_equal(back.data, text, SIZE);
            buf_deinit(&back);
            tok_ids_deinit(&ids);
            tokenizer_free(t);
        }
    free(text);
}

static int quiet(void **state)
{
    log_set_level(LOG_ERROR); /* the hostile files are warned about */
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_to_ids),
        cmocka_unit_test(ids_to_text),
        cmocka_unit_test(what_is_known_about_tokens),
        cmocka_unit_test(bad_vocabularies_are_refused),
        cmocka_unit_test(a_later_duplicate_wins_and_a_first_merge),
        cmocka_unit_test(a_megabyte_of_one_letter),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
