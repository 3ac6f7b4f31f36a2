/* Two steps under way: what a step brings whose tokens are the answers of the one before, not known when it
 * was queued, is what it brings when each is waited for. Bit for bit, on the simulator or with
 * CORRAL_GPU=cuda. */
#include "run_backend.h"
#include "sample/sample.h"
#include "tiny_model.h"

/* After our headers: cmocka defines macros named like our functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_BLOCK = 64, N_SEQ = 6, N_STEP = 20, PER_SEQ = 4, MAX_LEN = PER_SEQ * KV_BLOCK_TOKENS };

static const struct tiny_shape shapes[] = {
    TINY_LLAMA(90),
    {.arch = "qwen3moe",
     .type = DT_Q4_0,
     .n_vocab = 64,
     .n_embd = 64,
     .n_layer = 2,
     .n_head = 4,
     .n_head_kv = 2,
     .head_dim = 32,
     .n_ff = 32,
     .n_expert = 5,
     .n_used = 2,
     .qk_norm = true},
};
static const struct backend_api *api;

/* A sequence, and what was drawn for it. */
struct line {
    struct sampler *sampler;
    uint32_t block[PER_SEQ];
    int32_t token[MAX_LEN];
    uint32_t n, n_drawn;
    float logprob[MAX_LEN];
    uint32_t at; /* its place among the answers of the last step queued; N_SEQ: it was not in it */
};

static struct sampler *make_sampler(uint32_t i, uint32_t n_vocab)
{
    static int32_t all[128];
    struct sample_params p;
    struct sampler *s;
    struct error e = {0};
    sample_params_default(&p);
    p.seed = 70 + i;
    p.temperature = i == 1 ? 0 : 0.9f;
    p.top_k = i == 2 ? 5 : 0;
    p.top_p = i == 3 ? 0.8f : 1;
    p.n_logprobs = i % 2 ? 3 : 0;
    p.want_logprob = true;
    for (int32_t t = 0; t < (int32_t)COUNT_OF(all); t++) all[t] = t;
    if (i == 4) p.eog = all, p.n_eog = n_vocab, p.ignore_eos = true; /* nothing is left to choose */
    rig_check(sampler_new(&s, &p, n_vocab, &e), &e);
    return s;
}

static void lines_open(struct line *l, uint32_t n_vocab)
{
    memset(l, 0, N_SEQ * sizeof *l);
    for (uint32_t i = 0; i < N_SEQ; i++) {
        l[i].sampler = make_sampler(i, n_vocab);
        l[i].n = 1 + 7 * i;
        l[i].at = N_SEQ;
        for (uint32_t j = 0; j < PER_SEQ; j++) l[i].block[j] = (j * N_SEQ + i) * 5 % N_BLOCK;
        for (uint32_t j = 0; j < l[i].n; j++) l[i].token[j] = (int32_t)(rng_uniform(9, i, j, 0) * n_vocab);
    }
}

static bool takes_part(uint32_t step, uint32_t i)
{
    return step == 0 || (step + i) % 5 != 3;
}

struct queued {
    uint32_t n, of[N_SEQ];
    uint64_t ticket;
};

/* The next step: in another order each time, some left out. One that was in the step before has its token
 * from there. All that the backend may not look at again is overwritten. */
static void queue(struct rig *r, struct line *l, uint32_t step, bool ahead, struct queued *q)
{
    struct batch_seq part[N_SEQ];
    struct sample_program program[N_SEQ];
    struct error e = {0};
    int32_t token[N_SEQ][MAX_LEN];
    q->n = 0;
    for (uint32_t k = 0; k < N_SEQ; k++) {
        const uint32_t i = (k + step) % N_SEQ;
        struct line *s = &l[i];
        const bool drawn = step && ahead && s->at < N_SEQ;
        const uint32_t known = s->n + drawn, from = step ? known - 1 : 0;
        if (!takes_part(step, i)) continue;
        assert_true(sampler_program(s->sampler, known, &program[q->n]));
        memcpy(token[q->n], s->token, sizeof token[q->n]);
        part[q->n] = (struct batch_seq){.token = drawn ? NULL : token[q->n] + from,
                                        .from = drawn ? s->at : 0,
                                        .n_token = known - from,
                                        .pos = from,
                                        .block = s->block,
                                        .n_block = PER_SEQ,
                                        .n_logits = 1,
                                        .draw = &program[q->n]};
        q->of[q->n++] = i;
    }
    rig_check(api->step(r->m, r->kv, &(struct batch){part, q->n}, &q->ticket, &e), &e);
    memset(part, 0xff, sizeof part);
    memset(program, 0xff, sizeof program);
    memset(token, 0xff, sizeof token);
    for (uint32_t i = 0; i < N_SEQ; i++) l[i].at = N_SEQ;
    for (uint32_t k = 0; k < q->n; k++) l[q->of[k]].at = k;
}

static void collect(struct rig *r, struct line *l, const struct queued *q)
{
    struct step_result res;
    struct error e = {0};
    rig_check(api->wait(r->m, q->ticket, &res, &e), &e);
    assert_int_equal(res.n_drawn, q->n);
    for (uint32_t k = 0; k < q->n; k++) {
        struct line *s = &l[q->of[k]];
        struct sample_result one;
        const bool any = sampler_take(s->sampler, &res.drawn[k], &one, &e) == OK;
        assert_int_equal(any, q->of[k] != 4);
        s->logprob[s->n] = any ? one.logprob : 0;
        s->token[s->n++] = any ? one.token : 0;
        s->n_drawn++;
    }
}

static void run(const struct model_desc *m, struct line *l, bool ahead)
{
    struct rig r;
    struct queued q[2];
    lines_open(l, m->cfg.n_vocab);
    rig_open(&r, api, m, DT_F16, 1, N_BLOCK);
    queue(&r, l, 0, false, &q[0]);
    for (uint32_t t = 1; t < N_STEP; t++) {
        if (!ahead) collect(&r, l, &q[(t + 1) % 2]);
        queue(&r, l, t, ahead, &q[t % 2]);
        if (ahead) collect(&r, l, &q[(t + 1) % 2]);
    }
    collect(&r, l, &q[(N_STEP + 1) % 2]);
    for (uint32_t i = 0; i < N_SEQ; i++) sampler_free(l[i].sampler);
    rig_close(&r);
}

static void the_same_as_one_by_one(void **state)
{
    static struct line want[N_SEQ], got[N_SEQ];
    for (size_t k = 0; k < COUNT_OF(shapes); k++) {
        struct tiny_model m;
        tiny_open(&m, &shapes[k], 11 + k);
        run(model_desc(m.model), want, false);
        run(model_desc(m.model), got, true);
        for (uint32_t i = 0; i < N_SEQ; i++) {
            assert_true(want[i].n_drawn > N_STEP / 2 && want[i].n_drawn < N_STEP);
            assert_int_equal(got[i].n, want[i].n);
            assert_memory_equal(got[i].token, want[i].token, want[i].n * sizeof *want[i].token);
            assert_memory_equal(got[i].logprob, want[i].logprob, want[i].n * sizeof *want[i].logprob);
        }
        tiny_close(&m);
    }
}

/* What a second step is refused for, or not. */
static void what_may_follow(void **state)
{
    static const struct {
        const char *name;
        uint32_t n_logits, n_hidden, n_token,
            from; /* the first two of the first step, the others of the second */
        bool drawn, masked;
        status want;
    } cases[] = {
        {"a draw", 1, 0, 1, 0, true, false, OK},
        {"logits", 1, 0, 1, 0, false, false, ERR_BUSY},
        {"a hidden row", 1, 1, 1, 0, true, false, ERR_BUSY},
        {"a mask", 1, 0, 1, 0, true, true, ERR_BUSY},
        {"an answer that there is not", 1, 0, 1, 1, true, false, ERR_ARG},
        {"two tokens from an answer", 1, 0, 2, 0, true, false, ERR_ARG},
    };
    struct tiny_model m;
    struct rig r;
    struct error e = {0};
    const uint32_t block = 3;
    const int32_t token = 1;
    uint32_t mask[3] = {0x70};
    tiny_open(&m, &shapes[0], 5);
    rig_open(&r, api, model_desc(m.model), DT_F16, 1, N_BLOCK);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct sample_program p = {.greedy = true, .mask = cases[i].masked ? mask : NULL},
                                    plain = {.greedy = true};
        const struct batch_seq first = {.token = &token,
                                        .n_token = 1,
                                        .block = &block,
                                        .n_block = 1,
                                        .n_logits = cases[i].n_logits,
                                        .n_hidden = cases[i].n_hidden,
                                        .draw = cases[i].drawn ? &p : NULL};
        const struct batch_seq second = {.n_token = cases[i].n_token,
                                         .from = cases[i].from,
                                         .pos = 1,
                                         .block = &block,
                                         .n_block = 1,
                                         .n_logits = 1,
                                         .draw = &plain};
        struct step_result res;
        uint64_t a, b, c;
        rig_check(api->step(r.m, r.kv, &(struct batch){&first, 1}, &a, &e), &e);
        status s = api->step(r.m, r.kv, &(struct batch){&second, 1}, &b, &e);
        if (s != cases[i].want) fail_msg("behind %s: status %d, %s", cases[i].name, (int)s, e.msg);
        if (s == OK) {
            assert_int_equal(api->step(r.m, r.kv, &(struct batch){&second, 1}, &c, &e), ERR_BUSY);
            assert_int_equal(api->wait(r.m, b, &res, &e), ERR_ARG); /* not the first */
        }
        rig_check(api->wait(r.m, a, &res, &e), &e);
        if (cases[i].masked) assert_true(mask[0] >> res.drawn[0].token & 1);
        if (s == OK) rig_check(api->wait(r.m, b, &res, &e), &e);
        assert_int_equal(api->wait(r.m, a, &res, &e), ERR_ARG);
    }
    rig_close(&r);
    tiny_close(&m);
}

/* Backends that do not draw know every token. */
static void others_refuse(void **state)
{
    static const struct backend_api *const others[] = {&backend_ref, &backend_cpu};
    struct tiny_model m;
    tiny_open(&m, &shapes[0], 5);
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        struct rig r;
        struct error e = {0};
        const uint32_t block = 3;
        uint64_t ticket;
        const struct batch_seq seq = {.n_token = 1, .block = &block, .n_block = 1, .n_logits = 1};
        rig_open(&r, others[i], model_desc(m.model), DT_F16, 1, N_BLOCK);
        assert_int_equal(r.api->step(r.m, r.kv, &(struct batch){&seq, 1}, &ticket, &e), ERR_ARG);
        rig_close(&r);
    }
    tiny_close(&m);
}

int main(void)
{
    const char *name = getenv("CORRAL_GPU") ? getenv("CORRAL_GPU") : "sim";
    struct error e = {0};
    const struct CMUnitTest everywhere[] = {cmocka_unit_test(others_refuse)};
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_as_one_by_one),
                                       cmocka_unit_test(what_may_follow)};
    int bad = cmocka_run_group_tests(everywhere, NULL, NULL);
    if (backend_find(&api, name, &e) != OK || api->count(&e) <= 0) {
        printf("skipped: %s: %s\n", name, e.msg);
        return getenv("CORRAL_GPU") ? 2 : bad;
    }
    return bad + cmocka_run_group_tests(tests, NULL, NULL);
}
