/* The draw and what surrounds it: statistics, determinism, masks, log-probabilities, errors, hostile logits.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "sample/sample.h"

#include <cmocka.h> /* after base.h, whose fail() it hides */

static struct sampler *made(const struct sample_params *p, uint32_t n)
{
    struct sampler *s;
    struct error e = {0};
    if (sampler_new(&s, p, n, &e) != OK) fail_msg("%s", e.msg);
    return s;
}

static struct sample_result drawn(struct sampler *s, const float *logit, const uint32_t *mask, uint64_t pos)
{
    struct sample_result r;
    struct error e = {0};
    if (sampler_draw(s, logit, mask, pos, &r, &e) != OK) fail_msg("%s", e.msg);
    return r;
}

static double uniform(uint32_t run, uint32_t what)
{
    return rng_uniform(5, 0, run, what);
}

/* Pearson's chi-square with 15 degrees of freedom; 37.7 is passed once in a thousand, and the seed is fixed.
 */
static void test_draw_follows_the_probabilities(void **state)
{
    enum { V = 16, N = 20000 };
    static const char *const orders[] = {"t", "kt", "pt"}; /* over the whole vocabulary, and over a list */
    float logit[V];
    double sum = 0;
    for (int i = 0; i < V; i++) sum += exp(logit[i] = (float)(1.5 * sin(i)));
    for (size_t k = 0; k < COUNT_OF(orders); k++) {
        struct sample_params p;
        struct error e;
        uint32_t count[V] = {0};
        double chi = 0;
        sample_params_default(&p);
        p.seed = 99;
        p.top_p = .99999f;
        p.top_k = V - 0;
        assert_int_equal(sample_chain_parse(&p, orders[k], &e), OK);
        struct sampler *s = made(&p, V);
        for (uint64_t i = 0; i < N; i++) count[drawn(s, logit, NULL, i).token]++;
        for (int i = 0; i < V; i++) {
            double want = N * exp(logit[i]) / sum;
            chi += (count[i] - want) * (count[i] - want) / want;
        }
        if (chi > 37.7) fail_msg("%s: chi-square %.1f", orders[k], chi);
        sampler_free(s);
    }
}

/* Many tokens, so that the walk over blocks is exercised: the draw is the inverse of the distribution in
 * token order. */
static void test_draw_inverts_the_distribution(void **state)
{
    enum { V = 1000 };
    float logit[V];
    double sum = 0;
    struct sample_params p;
    sample_params_default(&p);
    p.seed = 3;
    for (uint32_t i = 0; i < V; i++) sum += exp(logit[i] = (float)(4 * uniform(1, i)));
    struct sampler *s = made(&p, V);
    for (uint64_t pos = 0; pos < 3000; pos++) {
        double u = rng_uniform(3, 0, pos, 0) * sum, cum = 0;
        uint32_t want = 0;
        for (; want + 1 < V && cum + exp(logit[want]) <= u; want++) cum += exp(logit[want]);
        int32_t got = drawn(s, logit, NULL, pos).token;
        bool at_edge = fabs(u - cum) < 1e-4 * sum / V || fabs(cum + exp(logit[want]) - u) < 1e-4 * sum / V;
        assert_true(got == (int32_t)want || at_edge);
    }
    sampler_free(s);
}

static void test_depends_on_arguments_only(void **state)
{
    enum { V = 500, N = 60 };
    static float logit[N][V];
    int32_t first[N];
    struct sample_params p;
    sample_params_default(&p);
    p.top_k = 50;
    p.top_p = .9f;
    p.xtc_probability = .5f;
    p.xtc_threshold = .02f;
    p.repeat_penalty = 1.2f;
    p.dry_multiplier = 1;
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t j = 0; j < V; j++) logit[i][j] = (float)(5 * uniform(i, j));
    struct sampler *a = made(&p, V), *b = made(&p, V), *other = made(&p, V);
    for (uint32_t i = 0; i < N; i++) sampler_accept(a, first[i] = drawn(a, logit[i], NULL, i).token, false);
    uint32_t changed = 0, lanes = 0;
    for (uint32_t i = 0; i < N; i++) { /* the same with other draws in between */
        (void)drawn(b, logit[(i + 7) % N], NULL, i + 1000);
        (void)drawn(other, logit[i], NULL, i);
        assert_int_equal(drawn(b, logit[i], NULL, i).token, first[i]);
        changed += drawn(b, logit[i], NULL, i + 1).token != first[i];
        sampler_accept(b, first[i], false);
    }
    assert_true(changed > N / 4); /* the position does count */
    sampler_free(a);
    sampler_free(b);
    sampler_free(other);

    /* Another choice of the same request is another stream. */
    p.choice = 1;
    a = made(&p, V);
    for (uint32_t i = 0; i < N; i++) {
        int32_t t = drawn(a, logit[i], NULL, i).token;
        lanes += t != first[i];
        sampler_accept(a, first[i], false);
    }
    assert_true(lanes > N / 4);
    sampler_free(a);
}

static void test_logprobs_are_of_the_model(void **state)
{
    enum { V = 300 };
    float logit[V];
    uint32_t mask[(V + 31) / 32];
    double sum = 0;
    struct sample_bias bias = {2, 5};
    struct sample_params p;
    for (uint32_t i = 0; i < V; i++) logit[i] = (float)rint(6 * uniform(8, i)); /* with ties */
    logit[7] = -INFINITY;
    logit[8] = NAN;
    for (uint32_t i = 0; i < V; i++) sum += isnan(logit[i]) ? 0 : exp(logit[i]);
    memset(mask, 0, sizeof mask);
    mask[0] = 0xff;
    sample_params_default(&p);
    p.n_logprobs = V + 10;
    p.temperature = .3f;
    p.top_k = 3;
    p.bias = &bias;
    p.n_bias = 1;
    struct sampler *s = made(&p, V);
    struct sample_result r = drawn(s, logit, mask, 0);
    assert_true(fabs(r.logprob - (logit[r.token] - log(sum))) < 1e-5);
    assert_int_equal(r.n_top, V - 2); /* NaN and -inf have no place among the best */
    for (uint32_t i = 0; i < r.n_top; i++) {
        int32_t t = r.top[i].token;
        assert_true(fabs(r.top[i].logprob - (logit[t] - log(sum))) < 1e-5);
        if (!i) continue;
        float before = logit[r.top[i - 1].token];
        assert_true(before > logit[t] || (before == logit[t] && r.top[i - 1].token < t));
    }
    sampler_free(s);

    /* Only the chosen token's. */
    p.n_logprobs = 0;
    p.want_logprob = true;
    s = made(&p, V);
    r = drawn(s, logit, NULL, 0);
    assert_int_equal(r.n_top, 0);
    assert_true(fabs(r.logprob - (logit[r.token] - log(sum))) < 1e-5);
    sampler_free(s);
}

static void test_mask(void **state)
{
    enum { V = 1003 };
    static float logit[V];
    for (uint32_t run = 0; run < 300; run++) {
        uint32_t mask[(V + 31) / 32] = {0}, n_allowed = 0;
        struct sample_params p;
        struct sample_result r;
        struct error e;
        sample_params_default(&p);
        p.temperature = run % 3 ? 1.5f : 0;
        p.top_k = run % 2 ? 5 : 0;
        p.n_logprobs = V;
        p.post_sampling_probs = true;
        for (uint32_t i = 0; i < V; i++) {
            logit[i] = (float)(8 * uniform(run, i));
            bool allowed = uniform(run, V + i) < (run % 5) * .25; /* none at all in a fifth of the runs */
            mask[i / 32] |= (uint32_t)allowed << i % 32;
            n_allowed += allowed;
        }
        struct sampler *s = made(&p, V);
        status st = sampler_draw(s, logit, mask, run, &r, &e);
        if (!n_allowed) {
            assert_int_equal(st, ERR_ARG);
        } else {
            assert_int_equal(st, OK);
            assert_true(mask[r.token / 32] >> r.token % 32 & 1);
            for (uint32_t i = 0; i < r.n_top; i++)
                assert_true(mask[r.top[i].token / 32] >> r.top[i].token % 32 & 1);
        }
        sampler_free(s);
    }
}

static void test_nothing_left(void **state)
{
    static const float all_bad[4] = {NAN, -INFINITY, NAN, -INFINITY}, fine[4] = {1, 2, 3, 4};
    static const int32_t every[4] = {0, 1, 2, 3};
    static const struct sample_bias forbid[4] = {
        {0, -INFINITY}, {1, -INFINITY}, {2, -INFINITY}, {3, -INFINITY}};
    const struct {
        const float *logit;
        uint32_t n_bias, n_eog;
        uint32_t mask;
    } cases[] = {
        {all_bad, 0, 0, 15}, {fine, 4, 0, 15}, {fine, 0, 4, 15}, {fine, 0, 0, 0}, {fine, 2, 0, 3},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct sample_params p;
        struct sample_result r;
        struct error e = {0};
        sample_params_default(&p);
        p.bias = forbid;
        p.n_bias = cases[i].n_bias;
        p.eog = every;
        p.n_eog = cases[i].n_eog;
        p.ignore_eos = true;
        struct sampler *s = made(&p, 4);
        assert_int_equal(sampler_draw(s, cases[i].logit, &cases[i].mask, 0, &r, &e), ERR_ARG);
        assert_non_null(strstr(e.msg, "no token can be chosen"));
        uint32_t all = 15; /* and it goes on working, as far as the parameters allow */
        status st = sampler_draw(s, fine, &all, 1, &r, &e);
        assert_int_equal(st, cases[i].n_bias == 4 || cases[i].n_eog ? ERR_ARG : OK);
        sampler_free(s);
    }
}

static float hostile(uint32_t run, uint32_t i)
{
    static const float odd[] = {NAN,     INFINITY, -INFINITY, FLT_MAX, -FLT_MAX,
                                FLT_MIN, 1e-45f,   -0.0f,     1e30f,   -3e38f};
    double u = uniform(run, i);
    if (run % 4 == 0 && u < .3) return odd[(uint32_t)(u / .3 * COUNT_OF(odd))];
    if (run % 4 == 1) return (float)ldexp(u - .5, (int)(240 * uniform(run, i + 1)));
    if (run % 4 == 2) return (float)(run % 3);
    return (float)(20 * u);
}

/* Random parameters of every kind on random and hostile logits: in range, allowed, and the same again. */
static void test_properties(void **state)
{
    enum { RUNS = 3000, MAX_V = 700 };
    static const char letters[] = "edskypmxt";
    static float logit[MAX_V];
    for (uint32_t run = 0; run < RUNS; run++) {
        uint32_t w = 1u << 20, n = 1 + (uint32_t)(uniform(run, w++) * (MAX_V - 1)), n_letter;
        uint32_t mask[MAX_V / 32 + 1] = {0};
        uint32_t breaker_at[3] = {0, 1, 3};
        int32_t breaker_id[3] = {1, 2, 3}, eog[1];
        struct sample_bias bias[4];
        struct sample_params p;
        struct error e = {0};
        char chain[SAMPLE_MAX_CHAIN + 1] = {0};
        sample_params_default(&p);
#define RANDOM(lo, hi) ((lo) + ((hi) - (lo)) * uniform(run, w++))
#define SOMETIMES(field, lo, hi)                                                                             \
    if (uniform(run, w++) < .3) p.field = (__typeof__(p.field))RANDOM(lo, hi)
        SOMETIMES(temperature, 0, 2);
        SOMETIMES(temperature, 0, 1e-30);
        SOMETIMES(temperature, 0, 100);
        SOMETIMES(dynatemp_range, 0, 100);
        SOMETIMES(dynatemp_exponent, 0, 100);
        SOMETIMES(top_k, 0, 900);
        SOMETIMES(top_p, 0, 1);
        SOMETIMES(min_p, 0, 1);
        SOMETIMES(typical_p, 0, 1);
        SOMETIMES(top_n_sigma, -1, 5);
        SOMETIMES(xtc_probability, 0, 1);
        SOMETIMES(xtc_threshold, 0, 1);
        SOMETIMES(dry_multiplier, 0, 100);
        SOMETIMES(dry_base, 1, 100);
        SOMETIMES(dry_allowed_length, 0, 5);
        SOMETIMES(dry_penalty_last_n, -1, 50);
        SOMETIMES(repeat_penalty, .011, 100);
        SOMETIMES(frequency_penalty, -2, 2);
        SOMETIMES(presence_penalty, -2, 2);
        SOMETIMES(repeat_last_n, -1, 50);
        SOMETIMES(min_keep, 0, 900);
        SOMETIMES(mirostat, 0, 3);
        SOMETIMES(mirostat_tau, 0, 100);
        SOMETIMES(mirostat_eta, 0, 1);
        SOMETIMES(adaptive_target, -1, 1);
        SOMETIMES(adaptive_decay, 0, .98);
        SOMETIMES(n_logprobs, 0, 900);
        SOMETIMES(min_tokens, 0, 50);
        p.post_sampling_probs = run & 8;
        p.ignore_eos = run & 16;
        if (run & 32) p.dry_breaker_ids = breaker_id, p.dry_breaker_at = breaker_at, p.n_dry_breaker = 2;
        for (int i = 0; i < 4; i++)
            bias[i] = (struct sample_bias){(int32_t)RANDOM(0, n), i ? (float)RANDOM(-100, 100) : -INFINITY};
        if (run & 64) p.bias = bias, p.n_bias = 4;
        eog[0] = (int32_t)RANDOM(0, n);
        p.eog = eog;
        p.n_eog = 1;
        n_letter = (uint32_t)RANDOM(0, SAMPLE_MAX_CHAIN + 1);
        for (uint32_t i = 0; i < n_letter; i++) chain[i] = letters[(uint32_t)RANDOM(0, 9)];
        if (n_letter) assert_int_equal(sample_chain_parse(&p, chain, &e), OK);
        bool masked = run % 3 == 0;
        for (uint32_t i = 0; i <= MAX_V / 32; i++) mask[i] = (uint32_t)(RANDOM(0, 4294967296.0));

        struct sampler *s = made(&p, n), *again = made(&p, n);
        for (uint32_t i = 0; i < 30; i++) {
            int32_t t = (int32_t)RANDOM(-1, n + 1); /* some are outside, and ignored */
            sampler_accept(s, t, i < 10);
            sampler_accept(again, t, i < 10);
        }
        for (uint32_t step = 0; step < 3; step++) {
            struct sample_result r, r2;
            bool possible = false;
            for (uint32_t i = 0; i < n; i++) {
                logit[i] = hostile(run, 4 * i + step);
                bool ok =
                    !isnan(logit[i]) && logit[i] != -INFINITY && (!masked || mask[i / 32] >> i % 32 & 1);
                if (p.n_bias && (int32_t)i == bias[0].token) ok = false;
                if ((int32_t)i == eog[0] && (p.ignore_eos || 20 + step < p.min_tokens + 2)) ok = false;
                possible |= ok;
            }
            status st = sampler_draw(s, logit, masked ? mask : NULL, step, &r, &e);
            if (possible && st != OK) fail_msg("run %u: %s", run, e.msg);
            assert_int_equal(sampler_draw(again, logit, masked ? mask : NULL, step, &r2, &e), st);
            if (st != OK) break;
            if (r.token != r2.token) fail_msg("run %u: %d and %d", run, r.token, r2.token);
            assert_in_range(r.token, 0, n - 1);
            if (isnan(logit[r.token]) || logit[r.token] == -INFINITY)
                fail_msg("run %u: forbidden token %d", run, r.token);
            if (masked) assert_true(mask[r.token / 32] >> r.token % 32 & 1);
            if (p.n_bias) assert_int_not_equal(r.token, bias[0].token);
            if (p.ignore_eos) assert_int_not_equal(r.token, eog[0]);
            for (uint32_t i = 0; i < r.n_top; i++) {
                assert_in_range(r.top[i].token, 0, n - 1);
                assert_true(r.top[i].logprob <= 0);
            }
            if (p.n_logprobs) assert_true(r.logprob <= 0);
            sampler_accept(s, r.token, false);
            sampler_accept(again, r.token, false);
        }
        sampler_free(s);
        sampler_free(again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draw_follows_the_probabilities),
        cmocka_unit_test(test_draw_inverts_the_distribution),
        cmocka_unit_test(test_depends_on_arguments_only),
        cmocka_unit_test(test_logprobs_are_of_the_model),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_properties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
