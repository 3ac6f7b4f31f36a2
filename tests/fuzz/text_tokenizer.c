/* The tokenizers over any text and over any vocabulary.
 *
 * Bytes that begin with GGUF are a vocabulary file. Other input is text; its first byte chooses the
 * tokenizer: every pre-tokenizer over one small vocabulary, and SentencePiece. Decoding must give the text
 * back, and a stream must show it as valid UTF-8. The seeds in fuzz/corpus/text_tokenizer are of our own. */
#include "base/log.h"
#include "support/vocab_build.h"
#include "text/stream.h"
#include "text/tok_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct tokenizer *small[32]; /* SentencePiece, then one for each row of the pre-tokenizers' table */
static size_t n_small;

static void make_small(void)
{
    struct vocab_spec spm = SMALL_SPM();
    struct error e;
    log_set_level(LOG_ERROR);
    ASSERT(vocab_make(&small[n_small++], &spm, &e) == OK);
    for (size_t i = 0; pre_name_at(i); i++) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(pre_name_at(i), " "), pre_name_at(i));
        struct vocab_spec bpe = SMALL_BPE(.pre = name);
        ASSERT(n_small < COUNT_OF(small) && vocab_make(&small[n_small++], &bpe, &e) == OK);
    }
}

static void check_stream(const struct tokenizer *t, const struct tok_ids *ids, const char *text, size_t n,
                         bool same)
{
    struct text_stream *s;
    struct buf out = {0};
    struct error e;
    ASSERT(text_stream_new(&s, t, (const char *const[]){"stop", "\xE2\x82\xACx"}, 2, true, &e) == OK);
    for (size_t i = 0; i < ids->n && !text_stream_push(s, ids->id[i], &out); i++) continue;
    text_stream_finish(s, &out);
    ASSERT(!out.n || utf8_valid(out.data, out.n));
    if (same && !text_stream_stop(s)) ASSERT(out.n == n && (!n || memcmp(out.data, text, n) == 0));
    text_stream_free(s);
    buf_deinit(&out);
}

static void check_text(const struct tokenizer *t, const char *text, size_t n)
{
    bool spm = strcmp(tokenizer_model_name(t), "llama") == 0;
    bool reversible = !spm || !memmem(text, n, "\xE2\x96\x81", 3); /* which would come back as a space */
    struct tok_ids ids = {0};
    struct buf back = {0};
    struct error e;
    ASSERT(tokenizer_encode(t, text, n, &(struct tok_options){.bos = TOK_BOS_OFF}, &ids, &e) == OK);
    for (size_t i = 0; i < ids.n; i++) ASSERT(tokenizer_attr(t, ids.id[i]) != TOK_CONTROL);
    tokenizer_decode(t, ids.id, ids.n, false, &back);
    if (reversible) ASSERT(back.n == n && (!n || memcmp(back.data, text, n) == 0));
    check_stream(t, &ids, text, n, !spm && utf8_valid(text, n));
    ids.n = 0;
    ASSERT(tokenizer_encode(t, text, n, &(struct tok_options){.bos = TOK_BOS_ON, .parse_special = true}, &ids,
                            &e) == OK);
    check_stream(t, &ids, text, n, false);
    tok_ids_deinit(&ids);
    buf_deinit(&back);
}

static void try_vocabulary(const uint8_t *data, size_t n)
{
    static const char text[] =
        "Hello, world! 12345 <s>\xE6\x97\xA5\xE6\x9C\xAC  \n\n\xFF it's <|im_end|> \t aaaaaaaaaaaaaaaaaaaa";
    struct gguf *g;
    struct tokenizer *t;
    struct error e = {0};
    struct tok_ids ids = {0};
    struct buf out = {0};
    if (gguf_open_memory(&g, data, n, &(struct gguf_options){.meta_only = true}, &e) != OK) return;
    status code = tokenizer_new(&t, g, &e);
    gguf_close(g);
    if (code != OK) {
        ASSERT(e.msg[0] && !t); /* a failure always says why */
        return;
    }
    for (int special = 0; special < 2; special++) {
        struct tok_options o = {.bos = TOK_BOS_AUTO, .parse_special = special};
        ASSERT(tokenizer_encode(t, text, sizeof text - 1, &o, &ids, &e) == OK);
    }
    for (size_t i = 0; i < ids.n; i++) ASSERT(ids.id[i] >= 0 && (uint32_t)ids.id[i] < tokenizer_n_vocab(t));
    for (uint32_t i = 0; i < tokenizer_n_vocab(t); i++) tok_ids_add(&ids, (int32_t)i);
    tokenizer_decode(t, ids.id, ids.n, true, &out);
    check_stream(t, &ids, NULL, 0, false);
    tok_ids_deinit(&ids);
    buf_deinit(&out);
    tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n_small) make_small();
    if (n >= 4 && memcmp(data, "GGUF", 4) == 0)
        try_vocabulary(data, n);
    else if (n)
        check_text(small[data[0] % n_small], (const char *)data + 1, n - 1);
    return 0;
}
