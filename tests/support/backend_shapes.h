/* Models of all kinds, small and random, and ways to run them that must not matter: what tests of whole backends
 * share. */
#ifndef CORRAL_TESTS_BACKEND_SHAPES_H
#define CORRAL_TESTS_BACKEND_SHAPES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "run_backend.h"
#include "tiny_model.h"

#include <cmocka.h> /* last: it defines a macro fail() */

enum { N_BLOCK = 64, N_SEQ = 5, MAX_LEN = 80 };

enum {
    SHAPE_LLAMA,
    SHAPE_TIED,
    SHAPE_BIASED,
    SHAPE_QWEN2,
    SHAPE_QWEN3,
    SHAPE_QWEN3MOE,
    SHAPE_QWEN2MOE,
    SHAPE_GEMMA2,
};
static const struct tiny_shape backend_shape[] = {
    [SHAPE_LLAMA] = {.arch = "llama", .type = DT_F32, .n_vocab = 101, .n_embd = 40, .n_layer = 2,
                     .n_head = 5, .n_head_kv = 1, .head_dim = 12, .n_ff = 52},
    [SHAPE_TIED] = {.arch = "llama", .type = DT_F16, .n_vocab = 64, .n_embd = 64, .n_layer = 2, .n_head = 4,
                    .n_head_kv = 4, .head_dim = 16, .n_ff = 96, .tied = true},
    [SHAPE_BIASED] = {.arch = "llama", .type = DT_Q8_0, .n_vocab = 130, .n_embd = 96, .n_layer = 2,
                      .n_head = 6, .n_head_kv = 2, .head_dim = 32, .n_ff = 160, .bias = true},
    [SHAPE_QWEN2] = {.arch = "qwen2", .type = DT_Q8_0, .n_vocab = 99, .n_embd = 64, .n_layer = 2,
                     .n_head = 2, .n_head_kv = 1, .head_dim = 64, .n_ff = 128, .bias = true},
    [SHAPE_QWEN3] = {.arch = "qwen3", .type = DT_BF16, .n_vocab = 77, .n_embd = 48, .n_layer = 2,
                     .n_head = 4, .n_head_kv = 2, .head_dim = 24, .n_ff = 80, .qk_norm = true,
                     .tied = true},
    [SHAPE_QWEN3MOE] = {.arch = "qwen3moe", .type = DT_Q8_0, .n_vocab = 64, .n_embd = 64, .n_layer = 2,
                        .n_head = 4, .n_head_kv = 2, .head_dim = 32, .n_ff = 32, .n_expert = 7, .n_used = 3,
                        .qk_norm = true},
    [SHAPE_QWEN2MOE] = {.arch = "qwen2moe", .type = DT_F32, .n_vocab = 64, .n_embd = 32, .n_layer = 2,
                        .n_head = 2, .n_head_kv = 2, .head_dim = 16, .n_ff = 24, .n_expert = 5, .n_used = 2,
                        .n_ff_shared = 40, .bias = true},
    [SHAPE_GEMMA2] = {.arch = "gemma2", .type = DT_F32, .n_vocab = 64, .n_embd = 32, .n_layer = 3,
                      .n_head = 4, .n_head_kv = 2, .head_dim = 16, .n_ff = 64, .window = 21,
                      .post_norm = true, .tied = true},
};

static void random_tokens(int32_t *t, uint32_t n, uint32_t n_vocab, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++) t[i] = (int32_t)(rng_uniform(seed, 1, i, 0) * n_vocab);
}

/* A block table that is not in order. */
static inline void scatter(uint32_t *block, uint32_t n, uint32_t first, uint32_t stride)
{
    for (uint32_t i = 0; i < n; i++) block[i] = (first + i * stride) % N_BLOCK;
}

static void same_bits(const float *a, const float *b, size_t n, const struct tiny_shape *s, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            fail_msg("%s %s, %s: logit %zu is %.9g, alone it was %.9g", s->arch, dtype_info((uint32_t)s->type)->name,
                     what, i, (double)a[i], (double)b[i]);
}

/* Five sequences of len tokens advance together by different steps, decode beside prefill. */
static inline void batched_as_alone(const struct backend_api *api, const struct tiny_shape *s, uint32_t n_thread,
                                    uint32_t len, uint64_t seed)
{
    struct tiny_model m;
    struct rig r;
    int32_t token[N_SEQ][MAX_LEN];
    uint32_t block[N_SEQ][MAX_LEN / KV_BLOCK_TOKENS], at[N_SEQ] = {0};
    const uint32_t n_block = (len + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    const size_t n_vocab = s->n_vocab;
    float *alone = mem_zalloc(N_SEQ * len * n_vocab, sizeof *alone),
          *row = mem_zalloc(512 * n_vocab, sizeof *row);
    tiny_open(&m, s, seed);
    rig_open(&r, api, model_desc(m.model), DT_F16, n_thread, N_BLOCK);
    for (uint32_t i = 0; i < N_SEQ; i++) {
        random_tokens(token[i], len, s->n_vocab, 50 + i);
        for (uint32_t j = 0; j < n_block; j++) block[i][j] = j * N_SEQ + i;
        rig_logits(&r, token[i], len, len, block[i], alone + i * len * n_vocab);
    }
    for (uint32_t round = 0;; round++) {
        struct batch_seq seq[N_SEQ];
        uint32_t n = 0, of[N_SEQ];
        for (uint32_t i = 0; i < N_SEQ; i++) {
            uint32_t want = MIN((round + i) % 3 ? 1 : 1 + (7 * i + round) % 23, len - at[i]);
            if (!want) continue;
            of[n] = i;
            seq[n++] = (struct batch_seq){.token = token[i] + at[i],
                                          .n_token = want,
                                          .pos = at[i],
                                          .block = block[i],
                                          .n_block = n_block,
                                          .n_logits = want};
        }
        if (!n) break;
        float *to = row, *from = row;
        rig_step(&r, seq, n, &to);
        for (uint32_t j = 0; j < n; j++) {
            size_t count = seq[j].n_token * n_vocab;
            same_bits(from, alone + (of[j] * (size_t)len + seq[j].pos) * n_vocab, count, s, "batched");
            from += count;
            at[of[j]] += seq[j].n_token;
        }
    }
    rig_close(&r);
    tiny_close(&m);
    free(alone);
    free(row);
}

#endif
