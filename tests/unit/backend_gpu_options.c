/* What can be chosen on GPU backends: the numbers of the KV cache, the same bits whatever the batch, draws in
 * a step. On the simulator, or with CORRAL_GPU=cuda on a card. */
#include "run_backend.h"
#include "sample/sample.h"
#include "tiny_model.h"

/* After our headers: cmocka defines macros named like our functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_BLOCK = 64 };

static const struct tiny_shape shapes[] = {
    {.arch = "llama",
     .type = DT_Q8_0,
     .n_vocab = 130,
     .n_embd = 96,
     .n_layer = 2,
     .n_head = 6,
     .n_head_kv = 2,
     .head_dim = 32,
     .n_ff = 160},
    {.arch = "qwen3moe",
     .type = DT_Q4_0,
     .n_vocab = 64,
     .n_embd = 64,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 2,
     .head_dim = 64,
     .n_ff = 32,
     .n_expert = 5,
     .n_used = 2,
     .qk_norm = true},
};
static const struct backend_api *api;

static void random_tokens(int32_t *t, uint32_t n, uint32_t n_vocab, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++) t[i] = (int32_t)(rng_uniform(seed, 1, i, 0) * n_vocab);
}

static const uint32_t *in_order(void)
{
    static uint32_t block[N_BLOCK];
    for (uint32_t i = 0; i < N_BLOCK; i++) block[i] = N_BLOCK - 1 - i;
    return block;
}

/* Against the reference with the same numbers in its cache. */
static void kv_types(void **state)
{
    enum { N_TOK = 40 };
    static const struct {
        enum dtype type;
        double limit;
    } kv[] = {{DT_BF16, 2e-4}, {DT_FP8, 5e-4}, {DT_Q8_0, 2e-4}};
    struct tiny_model m;
    int32_t token[N_TOK];
    const struct tiny_shape *s = &shapes[0];
    const size_t n = (size_t)N_TOK * s->n_vocab;
    float *want = mem_zalloc(n, sizeof *want), *got = mem_zalloc(n, sizeof *got);
    tiny_open(&m, s, 12);
    random_tokens(token, N_TOK, s->n_vocab, 4);
    for (size_t k = 0; k < COUNT_OF(kv); k++) {
        struct rig r, g;
        rig_open(&r, &backend_ref, model_desc(m.model), kv[k].type, 1, N_BLOCK);
        rig_open(&g, api, model_desc(m.model), kv[k].type, 1, N_BLOCK);
        rig_logits(&r, token, N_TOK, N_TOK, in_order(), want);
        rig_logits(&g, token, N_TOK, 13, in_order(), got);
        double err = nmse(got, want, n);
        if (!(err < kv[k].limit)) fail_msg("KV %s: NMSE %g", dtype_info((uint32_t)kv[k].type)->name, err);
        rig_close(&r);
        rig_close(&g);
    }
    tiny_close(&m);
    free(want);
    free(got);
}

static void cpu_says_which(void **state)
{
    static const enum dtype not_there[] = {DT_BF16, DT_FP8, DT_Q4_0};
    struct tiny_model m;
    struct backend *b;
    struct error e = {0};
    tiny_open(&m, &shapes[0], 1);
    assert_int_equal(backend_cpu.open(&b, &(struct backend_options){.device = BACKEND_NO_DEVICE}, &e), OK);
    for (size_t i = 0; i < COUNT_OF(not_there); i++) {
        struct backend_plan p;
        const struct backend_limits l = {
            .max_tokens = 16, .max_seqs = 1, .max_logits = 1, .max_context = 64, .kv_type = not_there[i]};
        assert_int_equal(backend_cpu.plan(b, model_desc(m.model), &l, &p, &e), ERR_UNSUPPORTED);
        assert_non_null(strstr(e.msg, "q8_0"));
    }
    backend_cpu.close(b);
    tiny_close(&m);
}

static void open_deterministic(struct rig *r, const struct model_desc *m)
{
    struct error e = {0};
    const struct backend_options bo = {.deterministic = true};
    const struct backend_limits l = {
        .max_tokens = 512, .max_seqs = 16, .max_logits = 512, .max_context = 512, .kv_type = DT_F16};
    *r = (struct rig){.api = api, .n_vocab = m->cfg.n_vocab};
    rig_check(api->open(&r->b, &bo, &e), &e);
    rig_check(api->load(&r->m, r->b, m, &l, NULL, NULL, &e), &e);
    rig_check(api->kv_open(&r->kv, r->m, N_BLOCK, &e), &e);
}

/* 300 tokens: in one step, which is large enough for another product; in pieces; the last ones one by one
 * behind more than 256 keys, alone and beside another sequence. */
static void the_same_bits_whatever_the_batch(void **state)
{
    enum { LEN = 300, LAST = 284, BESIDE = 200 };
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct tiny_model m;
        struct rig r;
        int32_t token[LEN];
        uint32_t other[13];
        const size_t n_vocab = shapes[i].n_vocab, n = LEN * n_vocab;
        float *want = mem_zalloc(n, sizeof *want), *got = mem_zalloc(n + BESIDE * n_vocab, sizeof *got);
        tiny_open(&m, &shapes[i], 40 + i);
        random_tokens(token, LEN, (uint32_t)n_vocab, i);
        open_deterministic(&r, model_desc(m.model));
        rig_logits(&r, token, LEN, LEN, in_order(), want);
        rig_logits(&r, token, LEN, 61, in_order(), got);
        assert_memory_equal(got, want, n * sizeof *got);
        for (uint32_t j = 0; j < COUNT_OF(other); j++) other[j] = j;
        for (uint32_t at = LAST; at < LEN; at++) {
            struct batch_seq seq[2] = {
                {.token = token + at,
                 .n_token = 1,
                 .pos = at,
                 .block = in_order(),
                 .n_block = 19,
                 .n_logits = 1},
                {.token = token, .n_token = at % 2 ? 3 : BESIDE, .block = other, .n_block = COUNT_OF(other)}};
            float *to = got;
            rig_step(&r, seq, at % 3 ? 2 : 1, &to);
            assert_memory_equal(got, want + at * n_vocab, n_vocab * sizeof *got);
        }
        rig_close(&r);
        tiny_close(&m);
        free(want);
        free(got);
    }
}

/* Some rows of a step are drawn from, one with a mask that is written when the step is queued already, others
 * come back. */
static void draws_in_a_step(void **state)
{
    enum { N_SEQ = 5, PROMPT = 7 };
    struct tiny_model m;
    struct rig r;
    struct error e = {0};
    int32_t token[N_SEQ][PROMPT];
    uint32_t block[N_SEQ], mask[5] = {0};
    struct sampler *s[N_SEQ];
    struct sample_program p[N_SEQ];
    struct batch_seq seq[N_SEQ];
    struct step_result res;
    uint64_t ticket;
    const size_t n_vocab = shapes[0].n_vocab;
    float *want = mem_zalloc(N_SEQ * 2 * n_vocab, sizeof *want);
    tiny_open(&m, &shapes[0], 8);
    rig_open(&r, api, model_desc(m.model), DT_F16, 1, N_BLOCK);
    for (uint32_t i = 0; i < N_SEQ; i++) {
        random_tokens(token[i], PROMPT, (uint32_t)n_vocab, i);
        block[i] = 2 * i;
        seq[i] = (struct batch_seq){.token = token[i],
                                    .n_token = PROMPT,
                                    .block = &block[i],
                                    .n_block = 1,
                                    .n_logits = i == 3   ? 2
                                                : i == 1 ? 0
                                                         : 1};
        struct sample_params q;
        sample_params_default(&q);
        q.seed = i;
        q.top_k = 30;
        q.n_logprobs = 3;
        rig_check(sampler_new(&s[i], &q, (uint32_t)n_vocab, &e), &e);
    }
    float *to = want;
    rig_step(&r, seq, N_SEQ, &to); /* rows of 0, 2, 3, 3, 4 */
    for (uint32_t i = 0; i < N_SEQ; i += 2) {
        assert_true(sampler_program(s[i], PROMPT, &p[i]));
        if (i == 2) p[i].mask = mask;
        seq[i].draw = &p[i];
    }
    rig_check(api->step(r.m, r.kv, &(struct batch){seq, N_SEQ}, &ticket, &e), &e);
    mask[0] = 0x00f0f000;
    rig_check(api->wait(r.m, ticket, &res, &e), &e);
    assert_int_equal(res.n_row, 5);
    assert_int_equal(res.n_drawn, 3);
    assert_memory_equal(res.logits + 2 * n_vocab, want + 2 * n_vocab, 2 * n_vocab * sizeof *want);
    for (uint32_t i = 0, k = 0; i < N_SEQ; i += 2, k++) {
        static const uint32_t row[] = {0, 1, 4};
        struct sample_result a, b;
        struct sample_logprob top[3];
        rig_check(sampler_draw(s[i], want + row[k] * n_vocab, i == 2 ? mask : NULL, PROMPT, &a, &e), &e);
        assert_int_equal(a.n_top, 3);
        memcpy(top, a.top, sizeof top);
        rig_check(sampler_take(s[i], &res.drawn[k], &b, &e), &e);
        assert_int_equal(b.token, a.token);
        assert_memory_equal(b.top, top, sizeof top);
    }
    seq[3].draw = &p[0]; /* from two rows */
    assert_int_equal(api->step(r.m, r.kv, &(struct batch){seq, N_SEQ}, &ticket, &e), ERR_ARG);
    for (uint32_t i = 0; i < N_SEQ; i++) sampler_free(s[i]);
    rig_close(&r);
    tiny_close(&m);
    free(want);
}

/* A step on a device that fails says so, and so do all after it. */
static void a_failing_device(void **state)
{
    struct tiny_model m;
    struct rig r;
    struct error e = {0};
    struct step_result res;
    uint64_t ticket;
    int32_t token = 1;
    const struct batch_seq seq = {
        .token = &token, .n_token = 1, .block = in_order(), .n_block = 1, .n_logits = 1};
    tiny_open(&m, &shapes[0], 8);
    setenv("CORRAL_SIM_FAIL", "3", 1); /* loading waits once */
    rig_open(&r, api, model_desc(m.model), DT_F16, 1, N_BLOCK);
    unsetenv("CORRAL_SIM_FAIL");
    for (int i = 0; i < 3; i++) {
        rig_check(api->step(r.m, r.kv, &(struct batch){&seq, 1}, &ticket, &e), &e);
        status s = api->wait(r.m, ticket, &res, &e);
        assert_int_equal(s, i == 0 ? OK : ERR_DEVICE);
        if (i) assert_non_null(strstr(e.msg, "sim: running: an illegal memory access"));
    }
    rig_close(&r);
    tiny_close(&m);
}

int main(void)
{
    const char *name = getenv("CORRAL_GPU") ? getenv("CORRAL_GPU") : "sim";
    struct error e = {0};
    if (backend_find(&api, name, &e) != OK || api->count(&e) <= 0) {
        printf("skipped: %s: %s\n", name, e.msg);
        return getenv("CORRAL_GPU") ? 2 : 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(kv_types), cmocka_unit_test(cpu_says_which),
                                       cmocka_unit_test(the_same_bits_whatever_the_batch),
                                       cmocka_unit_test(draws_in_a_step)};
    const struct CMUnitTest sim_tests[] = {cmocka_unit_test(a_failing_device)};
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    if (strcmp(name, "sim") == 0) bad += cmocka_run_group_tests(sim_tests, NULL, NULL);
    return bad;
}
