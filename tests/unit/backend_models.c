/* The cpu backend against the reference, and against itself: the same logits bit for bit alone, batched, in
 * any chunks, on any number of threads and on any blocks. */

#include "run_backend.h"
#include "tiny_model.h"

/* After our headers: cmocka defines macros named like our functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_TOK = 75, N_BLOCK = 64 };

static const struct tiny_shape shapes[] = {
    {.arch = "llama",
     .type = DT_F32,
     .n_vocab = 101,
     .n_embd = 40,
     .n_layer = 2,
     .n_head = 5,
     .n_head_kv = 1,
     .head_dim = 12,
     .n_ff = 52},
    {.arch = "llama",
     .type = DT_F16,
     .n_vocab = 64,
     .n_embd = 64,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 4,
     .head_dim = 16,
     .n_ff = 96,
     .tied = true},
    {.arch = "llama",
     .type = DT_Q8_0,
     .n_vocab = 130,
     .n_embd = 96,
     .n_layer = 2,
     .n_head = 6,
     .n_head_kv = 2,
     .head_dim = 32,
     .n_ff = 160,
     .bias = true},
    {.arch = "qwen2",
     .type = DT_Q8_0,
     .n_vocab = 99,
     .n_embd = 64,
     .n_layer = 2,
     .n_head = 2,
     .n_head_kv = 1,
     .head_dim = 64,
     .n_ff = 128,
     .bias = true},
    {.arch = "qwen3",
     .type = DT_BF16,
     .n_vocab = 77,
     .n_embd = 48,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 2,
     .head_dim = 24,
     .n_ff = 80,
     .qk_norm = true,
     .tied = true},
    {.arch = "qwen3moe",
     .type = DT_Q8_0,
     .n_vocab = 64,
     .n_embd = 64,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 2,
     .head_dim = 32,
     .n_ff = 32,
     .n_expert = 7,
     .n_used = 3,
     .qk_norm = true},
    {.arch = "qwen2moe",
     .type = DT_F32,
     .n_vocab = 64,
     .n_embd = 32,
     .n_layer = 2,
     .n_head = 2,
     .n_head_kv = 2,
     .head_dim = 16,
     .n_ff = 24,
     .n_expert = 5,
     .n_used = 2,
     .n_ff_shared = 40,
     .bias = true},
    {.arch = "gemma2",
     .type = DT_F32,
     .n_vocab = 64,
     .n_embd = 32,
     .n_layer = 3,
     .n_head = 4,
     .n_head_kv = 2,
     .head_dim = 16,
     .n_ff = 64,
     .window = 21,
     .post_norm = true,
     .tied = true},
};

static void random_tokens(int32_t *t, uint32_t n, uint32_t n_vocab, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++) t[i] = (int32_t)(rng_uniform(seed, 1, i, 0) * n_vocab);
}

/* A block table that is not in order. */
static void scatter(uint32_t *block, uint32_t n, uint32_t first, uint32_t stride)
{
    for (uint32_t i = 0; i < n; i++) block[i] = (first + i * stride) % N_BLOCK;
}

static void cpu_is_close_to_ref(void **state)
{
    static const struct {
        enum dtype kv;
        double limit;
    } kv[] = {{DT_F32, 1e-8}, {DT_F16, 1e-6}};
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct tiny_model m;
        int32_t token[N_TOK];
        uint32_t block[N_BLOCK];
        size_t n = (size_t)N_TOK * shapes[i].n_vocab;
        float *ref = mem_zalloc(n, sizeof *ref), *cpu = mem_zalloc(n, sizeof *cpu);
        tiny_open(&m, &shapes[i], 100 * i);
        random_tokens(token, N_TOK, shapes[i].n_vocab, i);
        scatter(block, N_BLOCK, 5, 7);
        for (size_t k = 0; k < COUNT_OF(kv); k++) {
            struct rig r, c;
            rig_open(&r, &backend_ref, model_desc(m.model), kv[k].kv, 1, N_BLOCK);
            rig_open(&c, &backend_cpu, model_desc(m.model), kv[k].kv, 2, N_BLOCK);
            rig_logits(&r, token, N_TOK, N_TOK, block, ref);
            rig_logits(&c, token, N_TOK, N_TOK, block, cpu);
            double err = nmse(cpu, ref, n);
            if (!(err < kv[k].limit))
                fail_msg("%s %s, KV %s: NMSE %g", shapes[i].arch, dtype_info(shapes[i].type)->name,
                         dtype_info(kv[k].kv)->name, err);
            rig_close(&r);
            rig_close(&c);
        }
        tiny_close(&m);
        free(ref);
        free(cpu);
    }
}

static void same_bits(const float *a, const float *b, size_t n, const struct tiny_shape *s, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof a[i]) != 0)
            fail_msg("%s %s, %s: logit %zu is %.9g, alone it was %.9g", s->arch, dtype_info(s->type)->name,
                     what, i, (double)a[i], (double)b[i]);
}

static void chunks_threads_blocks(void **state)
{
    static const struct {
        uint32_t chunk, threads, first, stride;
        const char *what;
    } way[] = {
        {1, 1, 0, 1, "token by token"},           {7, 2, 0, 1, "chunks of 7"},
        {16, 3, 0, 1, "chunks of 16, 3 threads"}, {33, 1, 3, 5, "other blocks"},
        {N_TOK, 4, 9, 11, "4 threads"},
    };
    static const enum dtype kv[] = {DT_F16, DT_F32, DT_Q8_0};
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct tiny_model m;
        int32_t token[N_TOK];
        uint32_t block[N_BLOCK];
        size_t n = (size_t)N_TOK * shapes[i].n_vocab;
        float *want = mem_zalloc(n, sizeof *want), *got = mem_zalloc(n, sizeof *got);
        tiny_open(&m, &shapes[i], 7 + i);
        random_tokens(token, N_TOK, shapes[i].n_vocab, i);
        for (size_t k = 0; k < COUNT_OF(kv); k++) {
            if (kv[k] == DT_Q8_0 && shapes[i].head_dim % 32) continue;
            for (size_t w = 0; w <= COUNT_OF(way); w++) {
                struct rig r;
                bool base = w == 0;
                rig_open(&r, &backend_cpu, model_desc(m.model), kv[k], base ? 1 : way[w - 1].threads,
                         N_BLOCK);
                scatter(block, N_BLOCK, base ? 0 : way[w - 1].first, base ? 1 : way[w - 1].stride);
                rig_logits(&r, token, N_TOK, base ? N_TOK : way[w - 1].chunk, block, base ? want : got);
                if (!base) same_bits(got, want, n, &shapes[i], way[w - 1].what);
                rig_close(&r);
            }
        }
        tiny_close(&m);
        free(want);
        free(got);
    }
}

/* Five sequences of different lengths advance together, decode beside prefill. */
static void batched_as_alone(void **state)
{
    enum { N_SEQ = 5, PER_SEQ = 5 };
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct tiny_model m;
        struct rig r;
        int32_t token[N_SEQ][N_TOK];
        uint32_t block[N_SEQ][PER_SEQ];
        const size_t n_vocab = shapes[i].n_vocab;
        float *alone = mem_zalloc(N_SEQ * N_TOK * n_vocab, sizeof *alone),
              *row = mem_zalloc(512 * n_vocab, sizeof *row);
        tiny_open(&m, &shapes[i], 31 + i);
        rig_open(&r, &backend_cpu, model_desc(m.model), DT_F16, 2, N_BLOCK);
        for (uint32_t s = 0; s < N_SEQ; s++) {
            random_tokens(token[s], N_TOK, (uint32_t)n_vocab, 50 + s);
            for (uint32_t j = 0; j < PER_SEQ; j++) block[s][j] = j * N_SEQ + s;
            rig_logits(&r, token[s], N_TOK, N_TOK, block[s], alone + s * N_TOK * n_vocab);
        }
        uint32_t at[N_SEQ] = {0};
        for (uint32_t round = 0;; round++) {
            struct batch_seq seq[N_SEQ];
            uint32_t n = 0, of[N_SEQ];
            for (uint32_t s = 0; s < N_SEQ; s++) {
                uint32_t want = (round + s) % 3 ? 1 : 1 + (7 * s + round) % 23;
                want = MIN(want, N_TOK - at[s]);
                if (!want) continue;
                of[n] = s;
                seq[n++] = (struct batch_seq){.token = token[s] + at[s],
                                              .n_token = want,
                                              .pos = at[s],
                                              .block = block[s],
                                              .n_block = PER_SEQ,
                                              .n_logits = want};
            }
            if (!n) break;
            float *to = row;
            rig_step(&r, seq, n, &to);
            float *from = row;
            for (uint32_t j = 0; j < n; j++) {
                size_t count = seq[j].n_token * n_vocab;
                same_bits(from, alone + (of[j] * (size_t)N_TOK + seq[j].pos) * n_vocab, count, &shapes[i],
                          "batched");
                from += count;
                at[of[j]] += seq[j].n_token;
            }
        }
        rig_close(&r);
        tiny_close(&m);
        free(alone);
        free(row);
    }
}

static void bad_batches_are_refused(void **state)
{
    static const int32_t good[] = {1, 2, 3}, low[] = {-1, 2, 3}, high[] = {1, 101, 3};
    static const uint32_t block[] = {0, 1}, wild[] = {N_BLOCK, 1};
    static const struct {
        struct batch_seq seq;
        const char *text;
    } bad[] = {
        {{.token = good, .n_token = 0, .block = block, .n_block = 1}, "0 tokens"},
        {{.token = good, .n_token = 3, .block = block, .n_block = 1, .n_logits = 4}, "rows of logits"},
        {{.token = good, .n_token = 3, .pos = 600, .block = block, .n_block = 2}, "context"},
        {{.token = good, .n_token = 3, .pos = 30, .block = block, .n_block = 2}, "KV blocks"},
        {{.token = good, .n_token = 3, .pos = UINT32_MAX, .block = block, .n_block = 2}, "context"},
        {{.token = good, .n_token = 3, .block = wild, .n_block = 1}, "no KV block 64"},
        {{.token = low, .n_token = 3, .block = block, .n_block = 1}, "vocabulary"},
        {{.token = high, .n_token = 3, .block = block, .n_block = 1}, "vocabulary"},
    };
    struct tiny_model m;
    tiny_open(&m, &shapes[0], 1);
    for (size_t k = 0; k < backend_count(); k++) {
        struct rig r;
        struct error none;
        if (backend_at(k)->count(&none) <= 0) continue;
        rig_open(&r, backend_at(k), model_desc(m.model), DT_F16, 1, N_BLOCK);
        for (size_t i = 0; i < COUNT_OF(bad); i++) {
            struct error e = {0};
            struct batch b = {&bad[i].seq, 1};
            uint64_t ticket;
            assert_int_not_equal(r.api->step(r.m, r.kv, &b, &ticket, &e), OK);
            if (!strstr(e.msg, bad[i].text))
                fail_msg("case %zu: \"%s\" does not say \"%s\"", i, e.msg, bad[i].text);
        }
        rig_close(&r);
    }
    tiny_close(&m);
}

static void blocks_are_copied(void **state)
{
    struct tiny_model m;
    struct rig r;
    struct error e = {0};
    int32_t token[40];
    uint32_t first[3] = {0, 1, 2}, second[3] = {7, 8, 9};
    float want[101], got[101];
    tiny_open(&m, &shapes[0], 3);
    rig_open(&r, &backend_cpu, model_desc(m.model), DT_F16, 2, N_BLOCK);
    random_tokens(token, 40, 101, 9);
    struct batch_seq prompt = {.token = token, .n_token = 39, .block = first, .n_block = 3};
    struct batch_seq last = {
        .token = token + 39, .n_token = 1, .pos = 39, .block = first, .n_block = 3, .n_logits = 1};
    float *to = want;
    rig_step(&r, &prompt, 1, &to);
    const struct kv_copy copies[] = {{0, 7}, {1, 8}};
    assert_int_equal(r.api->kv_copy(r.kv, copies, 2, &e), OK);
    struct backend_plan plan;
    struct backend_limits l = {
        .max_tokens = 1, .max_seqs = 1, .max_logits = 1, .max_context = 16, .kv_type = DT_F16};
    assert_int_equal(r.api->plan(r.b, model_desc(m.model), &l, &plan, &e), OK);
    void *host = mem_alloc(plan.kv_block_bytes);
    assert_int_equal(r.api->kv_read(r.kv, 2, host, &e), OK);
    assert_int_equal(r.api->kv_write(r.kv, 9, host, &e), OK);
    assert_int_equal(r.api->kv_read(r.kv, N_BLOCK, host, &e), ERR_ARG);
    free(host);
    to = want;
    rig_step(&r, &last, 1, &to);
    last.block = second;
    to = got;
    rig_step(&r, &last, 1, &to);
    assert_memory_equal(got, want, sizeof want);
    rig_close(&r);
    tiny_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_is_close_to_ref), cmocka_unit_test(chunks_threads_blocks),
        cmocka_unit_test(batched_as_alone),    cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(blocks_are_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
