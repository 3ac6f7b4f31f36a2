/* Small vocabularies in memory, for tests and fuzz targets of src/text. */
#ifndef TESTS_VOCAB_BUILD_H
#define TESTS_VOCAB_BUILD_H

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

struct vocab_token { const char *text; enum tok_attr attr; float score; };
struct vocab_spec {
    const char *model, *pre, *name;     /* NULL: the key is left out */
    const struct vocab_token *tok;      /* after the byte tokens */
    size_t n_tok;
    const char *const *merge;
    size_t n_merge;
    int bos, eos;                       /* -1: left out */
    int add_bos, add_space;             /* -1: left out */
    bool no_bytes;                      /* no byte tokens before the others */
};

static inline void vb_u32(struct buf *b, uint32_t v) { buf_add(b, &v, 4); }
static inline void vb_u64(struct buf *b, uint64_t v) { buf_add(b, &v, 8); }
static inline void vb_str(struct buf *b, const char *s)
{
    vb_u64(b, strlen(s));
    buf_adds(b, s);
}
static inline void vb_key(struct buf *b, const char *key, uint32_t type, uint64_t *n)
{
    vb_str(b, key);
    vb_u32(b, type);
    ++*n;
}
static inline void vb_array(struct buf *b, const char *key, uint32_t elem, uint64_t count, uint64_t *n)
{
    vb_key(b, key, 9, n);
    vb_u32(b, elem);
    vb_u64(b, count);
}

/* Byte b in the alphabet of byte-level BPE. */
static inline const char *vb_byte(unsigned byte, char out[8])
{
    uint32_t next = 0x100, cp = byte;
    bool printable = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    for (unsigned b = 0; b < byte; b++) next += !((b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD));
    if (!printable) cp = next;
    out[utf8_encode(out, cp)] = 0;
    return out;
}

/* The bytes of a GGUF file: for "llama" <0x00> to <0xFF>, for "gpt2" the byte alphabet, then the tokens. */
static inline void vocab_bytes(struct buf *b, const struct vocab_spec *s)
{
    uint64_t n = 0, bytes = s->no_bytes ? 0 : 256;
    bool spm = s->model && strcmp(s->model, "llama") == 0;
    struct buf kv = {0};
    char text[8];
    if (s->model) vb_key(&kv, "tokenizer.ggml.model", 8, &n), vb_str(&kv, s->model);
    if (s->pre) vb_key(&kv, "tokenizer.ggml.pre", 8, &n), vb_str(&kv, s->pre);
    if (s->name) vb_key(&kv, "general.name", 8, &n), vb_str(&kv, s->name);
    vb_array(&kv, "tokenizer.ggml.tokens", 8, bytes + s->n_tok, &n);
    for (unsigned i = 0; i < bytes; i++) {
        snprintf(text, sizeof text, "<0x%02X>", i);
        vb_str(&kv, spm ? text : vb_byte(i, text));
    }
    for (size_t i = 0; i < s->n_tok; i++) vb_str(&kv, s->tok[i].text);
    vb_array(&kv, "tokenizer.ggml.token_type", 5, bytes + s->n_tok, &n);
    for (unsigned i = 0; i < bytes; i++) vb_u32(&kv, spm ? TOK_BYTE : TOK_NORMAL);
    for (size_t i = 0; i < s->n_tok; i++) vb_u32(&kv, s->tok[i].attr ? s->tok[i].attr : TOK_NORMAL);
    if (spm) {
        float zero = 0;
        vb_array(&kv, "tokenizer.ggml.scores", 6, bytes + s->n_tok, &n);
        for (unsigned i = 0; i < bytes; i++) buf_add(&kv, &zero, 4);
        for (size_t i = 0; i < s->n_tok; i++) buf_add(&kv, &s->tok[i].score, 4);
    } else {
        vb_array(&kv, "tokenizer.ggml.merges", 8, s->n_merge, &n);
        for (size_t i = 0; i < s->n_merge; i++) vb_str(&kv, s->merge[i]);
    }
    if (s->bos >= 0) vb_key(&kv, "tokenizer.ggml.bos_token_id", 4, &n), vb_u32(&kv, (uint32_t)s->bos);
    if (s->eos >= 0) vb_key(&kv, "tokenizer.ggml.eos_token_id", 4, &n), vb_u32(&kv, (uint32_t)s->eos);
    if (s->add_bos >= 0) vb_key(&kv, "tokenizer.ggml.add_bos_token", 7, &n), buf_addc(&kv, (char)s->add_bos);
    if (s->add_space >= 0) vb_key(&kv, "tokenizer.ggml.add_space_prefix", 7, &n), buf_addc(&kv, (char)s->add_space);
    buf_adds(b, "GGUF");
    vb_u32(b, 3);
    vb_u64(b, 0);
    vb_u64(b, n);
    buf_add(b, kv.data, kv.n);
    buf_deinit(&kv);
}

static inline status vocab_make(struct tokenizer **t, const struct vocab_spec *s, struct error *e)
{
    struct buf b = {0};
    struct gguf *g = NULL;
    *t = NULL;
    vocab_bytes(&b, s);
    status code = gguf_open_memory(&g, b.data, b.n, &(struct gguf_options){.meta_only = true}, e);
    if (code == OK) code = tokenizer_new(t, g, e);
    gguf_close(g); /* the tokenizer keeps nothing of it */
    buf_deinit(&b);
    return code;
}

/* "▁" is U+2581, "Ġ" (U+0120) the space of the byte alphabet. */
static const struct vocab_token small_spm_tokens[] = {
    {"<unk>", TOK_UNKNOWN, 0}, {"<s>", TOK_CONTROL, 0},  {"</s>", TOK_CONTROL, 0}, {"▁", 0, -20},
    {"h", 0, -21},             {"e", 0, -22},            {"l", 0, -23},            {"o", 0, -24},
    {"w", 0, -25},             {"r", 0, -26},            {"d", 0, -27},            {"he", 0, -2},
    {"ll", 0, -3},             {"hell", 0, -4},          {"lo", 0, -40},           {"hello", 0, -5},
    {"▁hello", 0, -6},         {"▁w", 0, -7},            {"or", 0, -8},            {"▁wor", 0, -9},
    {"ld", 0, -10},            {"▁world", 0, -11},       {"▁▁", 0, -12},           {"▁▁▁▁", 0, -13},
    {"é", 0, -14},             {"日", 0, -15},           {"<tool>", TOK_USER_DEFINED, 0},
    {"<tool>s", TOK_USER_DEFINED, 0}, {"<|im_end|>", TOK_CONTROL, 0}, {"<", 0, -30}, {"s", 0, -31}, {">", 0, -32},
    {"<s", 0, -5},             {"▁h", 0, -16},           {"▁he", 0, -17}};
static const struct vocab_token small_bpe_tokens[] = {
    {"he", 0, 0},   {"ll", 0, 0},  {"hell", 0, 0},  {"hello", 0, 0}, {"Ġw", 0, 0},     {"or", 0, 0},
    {"Ġwor", 0, 0}, {"ld", 0, 0},  {"Ġworld", 0, 0}, {"ĠĠ", 0, 0},    {"ĠĠĠĠ", 0, 0},  {"Ã©", 0, 0},
    {"lo", 0, 0},   {"12", 0, 0},  {"<|end|>", TOK_CONTROL, 0},       {"<|end|>>", TOK_CONTROL, 0},
    {"<tool>", TOK_USER_DEFINED, 0}, {"   ", TOK_USER_DEFINED, 0},    {"hidden", 0, 0}, {"é!", TOK_USER_DEFINED, 0},
    {"<unk>", TOK_UNKNOWN, 0}, {"aa", 0, 0}, {"aaaa", 0, 0}};
static const char *const small_bpe_merges[] = {"h e", "l l", "he ll", "hell o", "Ġ w", "o r",  "Ġw or", "l d",
                                               "Ġwor ld", "Ġ Ġ", "ĠĠ ĠĠ", "Ã ©", "l o", "1 2", "a a", "aa aa"};

/* The arguments override what the macro sets. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#else
#pragma GCC diagnostic ignored "-Woverride-init"
#endif
#define SMALL_SPM(...)                                                                                       \
    {.model = "llama", .tok = small_spm_tokens, .n_tok = COUNT_OF(small_spm_tokens), .bos = 257, .eos = 258, \
     .add_bos = -1, .add_space = -1, __VA_ARGS__}
#define SMALL_BPE(...)                                                                                       \
    {.model = "gpt2", .tok = small_bpe_tokens, .n_tok = COUNT_OF(small_bpe_tokens),                          \
     .merge = small_bpe_merges, .n_merge = COUNT_OF(small_bpe_merges), .bos = 270, .eos = 270, .add_bos = -1, \
     .add_space = -1, __VA_ARGS__}

#endif
