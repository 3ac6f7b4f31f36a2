/* Tokens drawn on a device are those that src/sample draws: the same rows of logits through both, with the
 * simulator or with CORRAL_GPU=cuda. Log-probabilities are compared to the bit, too. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/gpu_int.h"
#include "base/rng.h"
#include "sample/sample.h"
#include "support/gpu_chosen.h"

/* After our headers: cmocka defines macros named like our functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct gpu_ops *ops;
static struct gpu *gpu;

enum { N_ROW = 4 };
#define NO (-INFINITY)

/* What the logits of a row look like. */
enum look { NORMAL, PEAKED, TIED, WILD, INFINITE, EQUAL, NOTHING_LEFT, N_LOOK };

static void make_row(float *x, uint32_t n, enum look look, uint64_t seed)
{
    for (uint32_t i = 0; i < n; i++) {
        float v = (float)(6 * (rng_uniform(seed, 0, i, 0) + rng_uniform(seed, 1, i, 0) +
                               rng_uniform(seed, 2, i, 0)) -
                          9);
        switch (look) {
        case PEAKED: v *= 4; break;
        case TIED: v = (float)(int)v; break;
        case WILD: v = i % 7 == 3 ? NAN : i % 11 == 5 ? NO : i % 13 == 2 ? v * 1e35f : v; break;
        case INFINITE: v = i % 5 == 4 || n < 5 ? INFINITY : i % 3 ? v : NAN; break;
        case EQUAL: v = -0.0f; break;
        case NOTHING_LEFT: v = i % 2 ? NAN : NO; break;
        default: break;
        }
        x[i] = v;
    }
}

static void *upload(const void *from, size_t bytes)
{
    void *p = ops->alloc(gpu, MAX(bytes, (size_t)1));
    assert_non_null(p);
    if (bytes) ops->copy_in(gpu, p, from, bytes);
    return p;
}

/* Rows x (n_row, n) through the device; each with its program, whose edits and mask are in host memory. */
static void device_draw(const float *x, uint32_t n, uint32_t n_row, const struct sample_program *given,
                        struct program_answer *answer)
{
    struct sample_program p[N_ROW];
    uint32_t row[N_ROW];
    void *mine[3 * N_ROW + 8];
    uint32_t n_mine = 0;
    char why[200];
    for (uint32_t i = 0; i < n_row; i++) {
        p[i] = given[i];
        row[i] = n_row - 1 - i; /* not the i-th */
        const uint32_t n_edit = p[i].n_bias + p[i].n_forbid + p[i].n_penalty;
        p[i].edit = mine[n_mine++] = upload(p[i].edit, n_edit * sizeof *p[i].edit);
        if (p[i].mask) p[i].mask = mine[n_mine++] = upload(p[i].mask, (n + 31) / 32 * 4);
    }
    void *program = upload(p, n_row * sizeof *p), *rows = upload(row, n_row * sizeof *row),
         *logits = upload(x, (size_t)n_row * n * sizeof *x);
    void *logit = ops->alloc(gpu, (size_t)n_row * n * 4), *id = ops->alloc(gpu, (size_t)n_row * n * 4),
         *sums = ops->alloc(gpu, n_row * (((size_t)n + 63) / 64) * 8),
         *out = ops->alloc(gpu, n_row * sizeof *answer);
    ops->draw(gpu, &(struct gpu_draw){.program = program,
                                      .row = rows,
                                      .logits = logits,
                                      .n_draw = n_row,
                                      .n_vocab = n,
                                      .logit = logit,
                                      .id = id,
                                      .block_sum = sums,
                                      .answer = out});
    ops->copy_out(gpu, answer, out, n_row * sizeof *answer);
    if (!ops->sync(gpu, why, sizeof why)) fail_msg("device: %s", why);
    void *const rest[] = {program, rows, logits, logit, id, sums, out};
    for (size_t i = 0; i < COUNT_OF(rest); i++) ops->release(gpu, rest[i]);
    for (uint32_t i = 0; i < n_mine; i++) ops->release(gpu, mine[i]);
}

static void same_result(const struct sample_result *got, const struct sample_result *want, const char *what,
                        uint32_t n, enum look look)
{
    if (got->token != want->token)
        fail_msg("%s, look %d, %u tokens: %d, the host draws %d", what, (int)look, n, got->token,
                 want->token);
    if (memcmp(&got->logprob, &want->logprob, sizeof got->logprob) != 0 || got->n_top != want->n_top)
        fail_msg("%s, look %d, %u tokens: log-probability %.9g (%u rows), on the host %.9g (%u)", what,
                 (int)look, n, (double)got->logprob, got->n_top, (double)want->logprob, want->n_top);
    for (uint32_t i = 0; i < want->n_top; i++)
        if (got->top[i].token != want->top[i].token || got->top[i].logprob != want->top[i].logprob)
            fail_msg("%s, look %d, %u tokens: row %u is token %d, on the host %d", what, (int)look, n, i,
                     got->top[i].token, want->top[i].token);
}

static const struct sample_bias some_bias[] = {{0, 3}, {5, -2}, {9, NO}, {2, 1.5f}};
static const int32_t some_eog[] = {1, 7};

/* Fields that are 0 keep their default. */
static const struct way {
    const char *name, *chain;
    float temperature, top_p, min_p, repeat, frequency, presence;
    int32_t top_k;
    uint32_t min_keep, n_logprobs, n_bias, n_eog, min_tokens;
    bool greedy, want_logprob, masked;
} ways[] = {
    {.name = "plain"},
    {.name = "greedy", .greedy = true, .want_logprob = true},
    {.name = "usual", .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f},
    {.name = "top_p", .top_p = 0.9f},
    {.name = "top_p 0", .top_p = 1e-30f, .want_logprob = true},
    {.name = "top_p and at least 3", .top_p = 0.3f, .min_keep = 3},
    {.name = "min_p and at least 40", .min_p = 0.9f, .min_keep = 40},
    {.name = "top_k of many", .top_k = 1000, .temperature = 2},
    {.name = "top_k 1", .top_k = 1},
    {.name = "hot first",
     .chain = "temperature;top_k;top_p;temperature",
     .temperature = 1.7f,
     .top_k = 50,
     .top_p = 0.8f},
    {.name = "nearly cold", .temperature = 1e-30f, .top_p = 0.99f},
    {.name = "penalties",
     .repeat = 1.3f,
     .frequency = 0.2f,
     .presence = 0.4f,
     .top_k = 20,
     .want_logprob = true},
    {.name = "greedy with penalties", .greedy = true, .repeat = 2, .presence = 1},
    {.name = "biases", .n_bias = 4, .n_eog = 2, .min_tokens = 9, .top_p = 0.7f, .n_logprobs = 5},
    {.name = "mask", .masked = true, .top_k = 10, .temperature = 1.2f, .n_logprobs = 20},
    {.name = "mask, all of it", .masked = true},
};

static struct sampler *make_sampler(const struct way *w, uint32_t n, uint64_t seed)
{
    struct sample_params p;
    struct sampler *s;
    struct error e = {0};
    sample_params_default(&p);
    p.seed = seed;
    if (w->greedy) p.temperature = 0;
    if (w->temperature != 0) p.temperature = w->temperature;
    if (w->top_p != 0) p.top_p = w->top_p;
    if (w->min_p != 0) p.min_p = w->min_p;
    if (w->repeat != 0) p.repeat_penalty = w->repeat;
    p.frequency_penalty = w->frequency;
    p.presence_penalty = w->presence;
    p.top_k = w->top_k;
    p.min_keep = w->min_keep;
    p.n_logprobs = w->n_logprobs;
    p.want_logprob = w->want_logprob;
    p.repeat_last_n = 64;
    p.bias = some_bias;
    p.n_bias = n > 9 ? w->n_bias : 0;
    p.eog = some_eog;
    p.n_eog = n > 9 ? w->n_eog : 0;
    p.min_tokens = w->min_tokens;
    if (w->chain) assert_int_equal(sample_chain_parse(&p, w->chain, &e), OK);
    if (sampler_new(&s, &p, n, &e) != OK) fail_msg("%s: %s", w->name, e.msg);
    for (uint32_t i = 0; i < 20; i++)
        sampler_accept(s, (int32_t)(rng_uniform(seed, 7, i, 0) * rng_uniform(seed, 8, i, 0) * n), i < 12);
    return s;
}

static void check_way(const struct way *w, uint32_t n, enum look look)
{
    struct sampler *s[N_ROW];
    struct sample_program p[N_ROW];
    struct program_answer answer[N_ROW];
    uint32_t *mask = mem_zalloc((n + 31) / 32, sizeof *mask);
    float *x = mem_zalloc((size_t)N_ROW * n, sizeof *x);
    for (uint32_t i = 0; i < n; i++)
        if (rng_uniform(n, 3, i, 0) < 0.4 || i == n / 2) mask[i / 32] |= 1u << i % 32;
    for (uint32_t r = 0; r < N_ROW; r++) {
        make_row(x + (size_t)(N_ROW - 1 - r) * n, n, look, 100 * n + r);
        s[r] = make_sampler(w, n, r);
        if (!sampler_program(s[r], 1000 + r, &p[r])) fail_msg("%s: the host would have to draw", w->name);
        if (w->masked) p[r].mask = mask;
    }
    device_draw(x, n, N_ROW, p, answer);
    for (uint32_t r = 0; r < N_ROW; r++) {
        struct sample_result got, want;
        struct sample_logprob top[PROGRAM_TOP];
        struct error e = {0}, e2 = {0};
        status st =
            sampler_draw(s[r], x + (size_t)(N_ROW - 1 - r) * n, w->masked ? mask : NULL, 1000 + r, &want, &e);
        if (st == OK && want.n_top) memcpy(top, want.top, want.n_top * sizeof *top);
        want.top = top;
        assert_int_equal(sampler_take(s[r], &answer[r], &got, &e2), st);
        assert_string_equal(e.msg, e2.msg);
        if (st == OK) same_result(&got, &want, w->name, n, look);
        sampler_free(s[r]);
    }
    free(mask);
    free(x);
}

static void device_and_host_agree(void **state)
{
    static const uint32_t size[] = {1, 64, 65, 513, 1000, 20011};
    for (size_t w = 0; w < COUNT_OF(ways); w++)
        for (size_t i = 0; i < COUNT_OF(size); i++) {
            check_way(&ways[w], size[i], NORMAL);
            check_way(&ways[w], size[i], (enum look)(1 + (w + i) % (N_LOOK - 1)));
        }
}

/* What the host must do itself is said. */
static void others_stay_on_the_host(void **state)
{
    static const struct sample_bias twice[] = {{3, 1}, {3, 2}};
    static const struct {
        const char *name, *chain;
        struct sample_params p;
        bool possible;
    } cases[] = {
        {"nothing", NULL, {.top_p = 1}, true},
        {"xtc", NULL, {.xtc_probability = 0.5f, .xtc_threshold = 0.1f}, false},
        {"typical", NULL, {.typical_p = 0.5f}, false},
        {"sigma", NULL, {.top_n_sigma = 1}, false},
        {"dry", NULL, {.dry_multiplier = 1, .dry_base = 2}, false},
        {"mirostat", NULL, {.mirostat = 2, .mirostat_tau = 5, .mirostat_eta = 0.1f}, false},
        {"dynamic temperature", NULL, {.dynatemp_range = 0.5f}, false},
        {"many alternatives", NULL, {.n_logprobs = PROGRAM_TOP + 1}, false},
        {"probabilities after sampling", NULL, {.n_logprobs = 2, .post_sampling_probs = true}, false},
        {"a bias twice", NULL, {.bias = twice, .n_bias = 2}, false},
        {"penalties after a cut",
         "top_k;penalties",
         {.top_k = 5, .presence_penalty = 1, .repeat_last_n = 5},
         false},
        {"penalties before a cut",
         "penalties;top_k",
         {.top_k = 5, .presence_penalty = 1, .repeat_last_n = 5},
         true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct sample_params *c = &cases[i].p;
        struct sample_params p;
        struct sampler *s;
        struct sample_program out;
        struct error e = {0};
        sample_params_default(&p);
        p.xtc_probability = c->xtc_probability;
        p.xtc_threshold = c->xtc_threshold;
        if (c->typical_p != 0) p.typical_p = c->typical_p;
        if (c->top_n_sigma != 0) p.top_n_sigma = c->top_n_sigma;
        if (c->dry_multiplier != 0)
            p.dry_multiplier = c->dry_multiplier, p.dry_base = c->dry_base, p.dry_penalty_last_n = -1;
        if (c->mirostat)
            p.mirostat = c->mirostat, p.mirostat_tau = c->mirostat_tau, p.mirostat_eta = c->mirostat_eta;
        p.dynatemp_range = c->dynatemp_range;
        p.n_logprobs = c->n_logprobs;
        p.post_sampling_probs = c->post_sampling_probs;
        p.bias = c->bias;
        p.n_bias = c->n_bias;
        p.top_k = c->top_k;
        p.presence_penalty = c->presence_penalty;
        if (c->repeat_last_n) p.repeat_last_n = c->repeat_last_n;
        if (cases[i].chain) assert_int_equal(sample_chain_parse(&p, cases[i].chain, &e), OK);
        if (sampler_new(&s, &p, 100, &e) != OK) fail_msg("%s: %s", cases[i].name, e.msg);
        if (sampler_program(s, 0, &out) != cases[i].possible)
            fail_msg("%s: %d", cases[i].name, !cases[i].possible);
        sampler_free(s);
    }
}

int main(void)
{
    int rc;
    gpu = gpu_chosen(&ops, &rc);
    if (!gpu) return rc;
    const struct CMUnitTest tests[] = {cmocka_unit_test(device_and_host_agree),
                                       cmocka_unit_test(others_stay_on_the_host)};
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    ops->close(gpu);
    return bad;
}
