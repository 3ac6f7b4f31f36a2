/* The cpu backend against the reference, and against itself: the same logits bit for bit alone, batched, in
 * any chunks, on any number of threads and on any blocks. */

#include "backend/cpu/kernels.h"
#include "support/backend_shapes.h"

enum { N_TOK = 75 };

static void cpu_is_close_to_ref(void **state)
{
    static const struct {
        enum dtype kv;
        double limit;
    } kv[] = {{DT_F32, 1e-8}, {DT_F16, 1e-6}};
    for (size_t i = 0; i < COUNT_OF(backend_shape); i++) {
        struct tiny_model m;
        int32_t token[N_TOK];
        uint32_t block[N_BLOCK];
        size_t n = (size_t)N_TOK * backend_shape[i].n_vocab;
        float *ref = mem_zalloc(n, sizeof *ref), *cpu = mem_zalloc(n, sizeof *cpu);
        tiny_open(&m, &backend_shape[i], 100 * i);
        random_tokens(token, N_TOK, backend_shape[i].n_vocab, i);
        scatter(block, N_BLOCK, 5, 7);
        for (size_t k = 0; k < COUNT_OF(kv); k++) {
            struct rig r, c;
            rig_open(&r, &backend_ref, model_desc(m.model), kv[k].kv, 1, N_BLOCK);
            rig_open(&c, &backend_cpu, model_desc(m.model), kv[k].kv, 2, N_BLOCK);
            rig_logits(&r, token, N_TOK, N_TOK, block, ref);
            rig_logits(&c, token, N_TOK, N_TOK, block, cpu);
            double err = nmse(cpu, ref, n);
            const bool rounded = cpu_kernels()->to_bf16 && backend_shape[i].type == DT_BF16; /* activations */
            if (!(err < (rounded ? 1e-4 : kv[k].limit)))
                fail_msg("%s %s, KV %s: NMSE %g", backend_shape[i].arch,
                         dtype_info(backend_shape[i].type)->name, dtype_info(kv[k].kv)->name, err);
            rig_close(&r);
            rig_close(&c);
        }
        tiny_close(&m);
        free(ref);
        free(cpu);
    }
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
    for (size_t i = 0; i < COUNT_OF(backend_shape); i++) {
        struct tiny_model m;
        int32_t token[N_TOK];
        uint32_t block[N_BLOCK];
        size_t n = (size_t)N_TOK * backend_shape[i].n_vocab;
        float *want = mem_zalloc(n, sizeof *want), *got = mem_zalloc(n, sizeof *got);
        tiny_open(&m, &backend_shape[i], 7 + i);
        random_tokens(token, N_TOK, backend_shape[i].n_vocab, i);
        for (size_t k = 0; k < COUNT_OF(kv); k++) {
            if (kv[k] == DT_Q8_0 && backend_shape[i].head_dim % 32) continue;
            for (size_t w = 0; w <= COUNT_OF(way); w++) {
                struct rig r;
                bool base = w == 0;
                rig_open(&r, &backend_cpu, model_desc(m.model), kv[k], base ? 1 : way[w - 1].threads,
                         N_BLOCK);
                scatter(block, N_BLOCK, base ? 0 : way[w - 1].first, base ? 1 : way[w - 1].stride);
                rig_logits(&r, token, N_TOK, base ? N_TOK : way[w - 1].chunk, block, base ? want : got);
                if (!base) same_bits(got, want, n, &backend_shape[i], way[w - 1].what);
                rig_close(&r);
            }
        }
        tiny_close(&m);
        free(want);
        free(got);
    }
}

static void company_does_not_matter(void **state)
{
    for (size_t i = 0; i < COUNT_OF(backend_shape); i++)
        batched_as_alone(&backend_cpu, &backend_shape[i], 2, N_TOK, 31 + i);
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
    tiny_open(&m, &backend_shape[0], 1);
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
    tiny_open(&m, &backend_shape[0], 3);
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

/* One step of three sequences: what comes back, sequence by sequence, at the places of their tokens. */
static void step_of_three(struct rig *r, const int32_t *token, const uint32_t n_token[3],
                          const uint32_t want[3][2], size_t n_vocab, size_t n_embd, float *logits,
                          float *hidden)
{
    static const uint32_t block[3][2] = {{0, 1}, {2, 3}, {4, 5}};
    struct batch_seq seq[3];
    struct step_result res;
    struct error e = {0};
    uint64_t ticket;
    for (uint32_t i = 0, at = 0; i < 3; at += n_token[i++])
        seq[i] = (struct batch_seq){.token = token + at,
                                    .n_token = n_token[i],
                                    .block = block[i],
                                    .n_block = 2,
                                    .n_logits = want[i][0],
                                    .n_hidden = want[i][1]};
    rig_check(r->api->step(r->m, r->kv, &(struct batch){seq, 3}, &ticket, &e), &e);
    rig_check(r->api->wait(r->m, ticket, &res, &e), &e);
    for (uint32_t i = 0, at = 0; i < 3; i++) {
        at += n_token[i];
        memcpy(logits + (at - want[i][0]) * n_vocab, res.logits, want[i][0] * n_vocab * sizeof *logits);
        memcpy(hidden + (at - want[i][1]) * n_embd, res.hidden, want[i][1] * n_embd * sizeof *hidden);
        res.logits += want[i][0] * n_vocab;
        res.hidden += want[i][1] * n_embd;
    }
}

/* Tokens whose results nobody wants are left out behind the last attention; the others' are the same bits. */
static void wanted_rows(void **state)
{
    enum { ALL = 17 + 3 + 20 };
    static const uint32_t n_token[3] = {17, 3, 20}, all[3][2] = {{17, 17}, {3, 3}, {20, 20}},
                          want[][3][2] = {{{1, 0}, {1, 0}, {1, 0}},   {{0, 0}, {1, 0}, {0, 0}},
                                          {{0, 3}, {0, 0}, {7, 1}},   {{1, 17}, {0, 0}, {0, 2}},
                                          {{0, 0}, {3, 0}, {20, 20}}, {{17, 0}, {0, 0}, {0, 0}}};
    for (size_t i = 0; i < COUNT_OF(backend_shape); i++) {
        const size_t n_vocab = backend_shape[i].n_vocab;
        struct tiny_model m;
        struct rig r;
        int32_t token[ALL];
        tiny_open(&m, &backend_shape[i], 3 + i);
        const size_t n_embd = model_desc(m.model)->cfg.n_embd;
        float *logits = mem_zalloc(ALL * n_vocab, sizeof *logits),
              *hidden = mem_zalloc(ALL * n_embd, sizeof *hidden);
        float *got = mem_zalloc(ALL * n_vocab, sizeof *got), *seen = mem_zalloc(ALL * n_embd, sizeof *seen);
        random_tokens(token, ALL, backend_shape[i].n_vocab, i);
        rig_open(&r, &backend_cpu, model_desc(m.model), DT_F16, 2, N_BLOCK);
        step_of_three(&r, token, n_token, all, n_vocab, n_embd, logits, hidden);
        for (size_t w = 0; w < COUNT_OF(want); w++) {
            memcpy(got, logits, ALL * n_vocab * sizeof *got);
            memcpy(seen, hidden, ALL * n_embd * sizeof *seen);
            for (uint32_t k = 0, at = 0; k < 3; k++) { /* so that what does not come is missed */
                at += n_token[k];
                memset(got + (at - want[w][k][0]) * n_vocab, 0, want[w][k][0] * n_vocab * sizeof *got);
                memset(seen + (at - want[w][k][1]) * n_embd, 0, want[w][k][1] * n_embd * sizeof *seen);
            }
            step_of_three(&r, token, n_token, want[w], n_vocab, n_embd, got, seen);
            same_bits(got, logits, ALL * n_vocab, &backend_shape[i], "logits of some tokens");
            same_bits(seen, hidden, ALL * n_embd, &backend_shape[i], "hidden states of some tokens");
        }
        rig_close(&r);
        tiny_close(&m);
        free(logits);
        free(hidden);
        free(got);
        free(seen);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_is_close_to_ref),     cmocka_unit_test(chunks_threads_blocks),
        cmocka_unit_test(company_does_not_matter), cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(blocks_are_copied),       cmocka_unit_test(wanted_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
