/* Each strategy and the order of the chain: small cases with known answers, then random ones against a
 * reference that sorts everything and computes in double. What is compared is the final distribution, as
 * post_sampling_probs reports it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "sample/sample.h"

#include <cmocka.h> /* after base.h, whose fail() it hides */

#define NO   (-INFINITY)
#define L(p) ((float)log(p))

enum { MAX_V = 4096 };

/* The distribution over n tokens after the chain, 0 for those cut. */
static status distribution(double *prob, const struct sample_params *p, const float *logit, uint32_t n,
                           const int32_t *prompt, uint32_t n_prompt, const int32_t *out, uint32_t n_out)
{
    struct sample_params q = *p;
    struct sampler *s;
    struct sample_result r;
    struct error e = {0};
    q.post_sampling_probs = true;
    q.n_logprobs = n;
    assert_int_equal(sampler_new(&s, &q, n, &e), OK);
    for (uint32_t i = 0; i < n_prompt; i++) sampler_accept(s, prompt[i], true);
    for (uint32_t i = 0; i < n_out; i++) sampler_accept(s, out[i], false);
    status st = sampler_draw(s, logit, NULL, n_prompt + n_out, &r, &e);
    for (uint32_t i = 0; i < n; i++) prob[i] = 0;
    for (uint32_t i = 0; st == OK && i < r.n_top; i++) {
        prob[r.top[i].token] = exp(r.top[i].logprob);
        if (i) assert_true(r.top[i - 1].logprob >= r.top[i].logprob);
    }
    if (st == OK) assert_true(fabs(exp(r.logprob) - prob[r.token]) < 1e-6 && prob[r.token] > 0);
    sampler_free(s);
    return st;
}

struct hand {
    const char *name;
    struct sample_params p; /* fields that are 0 here keep their default; see merge() */
    const char *chain;
    float logit[8];
    uint32_t n;
    int32_t prompt[8], n_prompt, out[24], n_out;
    float want[8]; /* logits after the chain, NO for what was cut */
};

#define P4    .logit = {L(.1), L(.2), L(.3), L(.4)}, .n = 4
#define ZEROS .logit = {0, 0, 0, 0, 0, 0}, .n = 6

static const int32_t breaker_ids[] = {4, 5, 4};
static const uint32_t breaker_one[] = {0, 1}, breaker_pair[] = {1, 3}; /* token 4; tokens 5, 4 */
static const struct sample_bias bias_some[] = {{0, 2}, {2, NO}, {0, 1}};
static const int32_t eog_three[] = {3};
#define DRY(...) .p = {.dry_multiplier = 2, .dry_base = 2, .dry_allowed_length = 2, __VA_ARGS__}

static const struct hand hands[] = {
    {"all off", P4, .want = {L(.1), L(.2), L(.3), L(.4)}},
    {"top_k 1", .p = {.top_k = 1}, P4, .want = {NO, NO, NO, L(.4)}},
    {"top_k 3", .p = {.top_k = 3}, P4, .want = {NO, L(.2), L(.3), L(.4)}},
    {"top_k over the vocabulary", .p = {.top_k = INT32_MAX}, P4, .want = {L(.1), L(.2), L(.3), L(.4)}},
    {"top_k tie", .p = {.top_k = 2}, .logit = {0, 1, 1, 1}, .n = 4, .want = {NO, 1, 1, NO}},
    {"top_k min_keep", .p = {.top_k = 1, .min_keep = 2}, P4, .want = {NO, NO, L(.3), L(.4)}},
    {"top_k of the forbidden", .p = {.top_k = 3}, .logit = {NO, 1, NO, NO}, .n = 4, .want = {NO, 1, NO, NO}},
    {"top_p .35", .p = {.top_p = .35f}, P4, .want = {NO, NO, NO, L(.4)}},
    {"top_p .69", .p = {.top_p = .69f}, P4, .want = {NO, NO, L(.3), L(.4)}},
    {"top_p .71", .p = {.top_p = .71f}, P4, .want = {NO, L(.2), L(.3), L(.4)}},
    {"top_p tiny", .p = {.top_p = 1e-9f}, P4, .want = {NO, NO, NO, L(.4)}},
    {"top_p min_keep", .p = {.top_p = .1f, .min_keep = 3}, P4, .want = {NO, L(.2), L(.3), L(.4)}},
    {"min_p .26", .p = {.min_p = .26f}, P4, .want = {NO, L(.2), L(.3), L(.4)}},
    {"min_p .24", .p = {.min_p = .24f}, P4, .want = {L(.1), L(.2), L(.3), L(.4)}},
    {"min_p 1", .p = {.min_p = 1}, P4, .want = {NO, NO, NO, L(.4)}},
    {"min_p min_keep", .p = {.min_p = 1, .min_keep = 2}, P4, .want = {NO, NO, L(.3), L(.4)}},
    {"typical near", .p = {.typical_p = .5f}, .logit = {L(.97), L(.01), L(.01), L(.01)}, .n = 4,
     .want = {L(.97), NO, NO, NO}},
    {"typical not the best", .p = {.typical_p = .5f}, .logit = {L(.4), L(.2), L(.2), L(.2)}, .n = 4,
     .want = {NO, 0, 0, 0}},
    {"typical min_keep", .p = {.typical_p = .5f, .min_keep = 4}, .logit = {L(.4), L(.2), L(.2), L(.2)},
     .n = 4, .want = {L(.4), L(.2), L(.2), L(.2)}},
    {"top_n_sigma 1", .p = {.top_n_sigma = 1}, .logit = {0, 0, 0, 4}, .n = 4, .want = {NO, NO, NO, 4}},
    {"top_n_sigma 3", .p = {.top_n_sigma = 3}, .logit = {0, 0, 0, 4}, .n = 4, .want = {0, 0, 0, 4}},
    {"top_n_sigma skips the forbidden", .p = {.top_n_sigma = 1}, .logit = {NO, 1, 3, NO}, .n = 4,
     .want = {NO, NO, 3, NO}},
    {"xtc leaves the least", .p = {.xtc_probability = 1, .xtc_threshold = .09f}, P4, .want = {0, NO, NO, NO}},
    {"xtc .15", .p = {.xtc_probability = 1, .xtc_threshold = .15f}, P4, .want = {L(.1), L(.2), NO, NO}},
    {"xtc one only", .p = {.xtc_probability = 1, .xtc_threshold = .35f}, P4,
     .want = {L(.1), L(.2), L(.3), L(.4)}},
    {"xtc over a half", .p = {.xtc_probability = 1, .xtc_threshold = .51f}, P4,
     .want = {L(.1), L(.2), L(.3), L(.4)}},
    {"xtc min_keep", .p = {.xtc_probability = 1, .xtc_threshold = .15f, .min_keep = 3}, P4,
     .want = {L(.1), L(.2), L(.3), L(.4)}},
    {"xtc tie drops the lower", .p = {.xtc_probability = 1, .xtc_threshold = .2f}, .logit = {0, 0, 0}, .n = 3,
     .want = {NO, NO, 0}},
    {"temperature .5", .p = {.temperature = .5f}, P4, .want = {L(.01), L(.04), L(.09), L(.16)}},
    {"temperature 2", .p = {.temperature = 2}, .logit = {0, 2}, .n = 2, .want = {0, 1}},
    {"temperature tiny", .p = {.temperature = 1e-38f}, .logit = {9, 100, 99, -5}, .n = 4,
     .want = {NO, 0, NO, NO}},
    {"dynamic temperature, even", .p = {.temperature = 1, .dynatemp_range = .5f}, .logit = {1, 1}, .n = 2,
     .want = {0, 0}},
    {"dynamic temperature, sure", .p = {.temperature = 1, .dynatemp_range = 1}, .logit = {0, 200}, .n = 2,
     .want = {NO, 0}},
    {"bias", .p = {.bias = bias_some, .n_bias = 3}, .logit = {0, 0, 9}, .n = 3, .want = {3, 0, NO}},
    {"ignore_eos", .p = {.eog = eog_three, .n_eog = 1, .ignore_eos = true}, P4,
     .want = {L(.1), L(.2), L(.3), NO}},
    {"min_tokens, too early", .p = {.eog = eog_three, .n_eog = 1, .min_tokens = 2}, P4, .prompt = {0, 1, 2},
     .n_prompt = 3, .out = {0}, .n_out = 1, .want = {L(.1), L(.2), L(.3), NO}},
    {"min_tokens, reached", .p = {.eog = eog_three, .n_eog = 1, .min_tokens = 2}, P4, .out = {0, 0},
     .n_out = 2, .want = {L(.1), L(.2), L(.3), L(.4)}},
    {"repeat over prompt and output", .p = {.repeat_penalty = 2}, .logit = {4, -4, 1, 1}, .n = 4,
     .prompt = {0}, .n_prompt = 1, .out = {1}, .n_out = 1, .want = {2, -8, 1, 1}},
    {"repeat once however often", .p = {.repeat_penalty = 2}, .logit = {4, 1}, .n = 2, .out = {0, 0, 0},
     .n_out = 3, .want = {2, 1}},
    {"frequency over the output", .p = {.frequency_penalty = .5f}, .logit = {4, 4, 1}, .n = 3,
     .prompt = {0, 1, 1}, .n_prompt = 3, .out = {0, 0, 2}, .n_out = 3, .want = {3, 4, .5}},
    {"presence over the output", .p = {.presence_penalty = .5f}, .logit = {4, 4, 1}, .n = 3,
     .prompt = {0, 1, 1}, .n_prompt = 3, .out = {0, 0, 2}, .n_out = 3, .want = {3.5, 4, .5}},
    {"penalties' window", .p = {.repeat_penalty = 2, .repeat_last_n = 2}, .logit = {4, 4, 4}, .n = 3,
     .out = {0, 1, 2}, .n_out = 3, .want = {4, 2, 2}},
    {"penalties' window, token twice", .p = {.frequency_penalty = 1, .repeat_last_n = 3}, .logit = {4, 4, 4},
     .n = 3, .out = {0, 0, 1, 0}, .n_out = 4, .want = {2, 3, 4}},
    {"penalties all the way", .p = {.repeat_penalty = 2, .repeat_last_n = -1}, .logit = {4, 4, 4}, .n = 3,
     .out = {0, 1}, .n_out = 2, .want = {2, 2, 4}},
    {"penalties after a cut-off", .p = {.repeat_penalty = 2, .top_k = 2}, .chain = "ke",
     .logit = {4, 3, 2.5f}, .n = 3, .out = {0}, .n_out = 1, .want = {2, 3, NO}},
    {"penalties before a cut-off", .p = {.repeat_penalty = 2, .top_k = 2}, .chain = "ek",
     .logit = {4, 3, 2.5f}, .n = 3, .out = {0}, .n_out = 1, .want = {NO, 3, 2.5f}},
    {"dry, two repeated", DRY(), ZEROS, .out = {0, 1, 2, 0, 1}, .n_out = 5, .want = {0, 0, -2, 0, 0, 0}},
    {"dry, three repeated", DRY(), ZEROS, .out = {3, 0, 1, 2, 3, 0, 1}, .n_out = 7,
     .want = {0, 0, -4, 0, 0, 0}},
    {"dry, one is allowed", DRY(), ZEROS, .out = {1, 2, 0, 1}, .n_out = 4, .want = {0, 0, 0, 0, 0, 0}},
    {"dry over prompt", DRY(), ZEROS, .prompt = {0, 1, 2}, .n_prompt = 3, .out = {0, 1}, .n_out = 2,
     .want = {0, 0, -2, 0, 0, 0}},
    {"dry, the longest counts", DRY(), ZEROS, .out = {0, 1, 2, 5, 3, 0, 1, 2, 3, 0, 1}, .n_out = 11,
     .want = {0, 0, -4, 0, 0, 0}},
    {"dry, two continuations", DRY(), ZEROS, .out = {0, 1, 2, 0, 1, 3, 0, 1}, .n_out = 8,
     .want = {0, 0, -2, -2, 0, 0}},
    {"dry, a run of one token", DRY(), ZEROS, .out = {0, 0, 0, 0}, .n_out = 4, .want = {-4, 0, 0, 0, 0, 0}},
    {"dry, window too short", DRY(.dry_penalty_last_n = 4), ZEROS, .out = {0, 1, 2, 0, 1}, .n_out = 5,
     .want = {0, 0, 0, 0, 0, 0}},
    {"dry, window just enough", DRY(.dry_penalty_last_n = 5), ZEROS, .out = {3, 3, 0, 1, 2, 0, 1}, .n_out = 7,
     .want = {0, 0, -2, 0, 0, 0}},
    {"dry, breaker inside the repeat",
     DRY(.n_dry_breaker = 1, .dry_breaker_ids = breaker_ids, .dry_breaker_at = breaker_one), ZEROS,
     .out = {0, 4, 1, 2, 0, 4, 1}, .n_out = 7, .want = {0, 0, 0, 0, 0, 0}},
    {"dry, breaker before the repeat",
     DRY(.n_dry_breaker = 1, .dry_breaker_ids = breaker_ids, .dry_breaker_at = breaker_one), ZEROS,
     .out = {4, 0, 1, 2, 4, 0, 1}, .n_out = 7, .want = {0, 0, -2, 0, 0, 0}},
    {"dry, breaker never penalized",
     DRY(.n_dry_breaker = 1, .dry_breaker_ids = breaker_ids, .dry_breaker_at = breaker_one), ZEROS,
     .out = {0, 1, 4, 0, 1}, .n_out = 5, .want = {0, 0, 0, 0, 0, 0}},
    {"dry, breaker of two tokens",
     DRY(.n_dry_breaker = 1, .dry_breaker_ids = breaker_ids, .dry_breaker_at = breaker_pair), ZEROS,
     .out = {0, 5, 4, 1, 2, 0, 5, 4, 1}, .n_out = 9, .want = {0, 0, 0, 0, 0, 0}},
    {"dry, half a breaker is none",
     DRY(.n_dry_breaker = 1, .dry_breaker_ids = breaker_ids, .dry_breaker_at = breaker_pair), ZEROS,
     .out = {0, 4, 1, 2, 0, 4, 1}, .n_out = 7, .want = {0, 0, -4, 0, 0, 0}},
    {"dry after a cut-off", DRY(.top_k = 3), .chain = "kd", .logit = {0, 1, 2, 3}, .n = 4,
     .out = {0, 1, 2, 0, 1}, .n_out = 5, .want = {NO, 1, 0, 3}},
    {"temperature, then min_p", .p = {.temperature = .5f, .min_p = .3f}, .chain = "temperature;min_p", P4,
     .want = {NO, NO, L(.09), L(.16)}},
    {"min_p, then temperature", .p = {.temperature = .5f, .min_p = .3f}, .chain = "min_p;temperature", P4,
     .want = {NO, L(.04), L(.09), L(.16)}},
    {"what is not in the chain does not run", .p = {.top_k = 1, .min_p = .26f}, .chain = "m", P4,
     .want = {NO, L(.2), L(.3), L(.4)}},
    {"mirostat drops the cut-offs", .p = {.mirostat = 2, .mirostat_tau = 50, .top_k = 1}, P4,
     .want = {L(.1), L(.2), L(.3), L(.4)}},
    {"mirostat 2 at 1 bit", .p = {.mirostat = 2, .mirostat_tau = .9f}, P4, .want = {NO, NO, L(.3), L(.4)}},
    {"mirostat 2 keeps the best", .p = {.mirostat = 2, .mirostat_tau = .1f}, P4, .want = {NO, NO, NO, L(.4)}},
    {"greedy", .p = {.temperature = -1}, P4, .want = {NO, NO, NO, 0}},
    {"greedy takes the lower of equals", .p = {.temperature = -1}, .logit = {0, 5, 5}, .n = 3,
     .want = {NO, 0, NO}},
    {"greedy with penalties", .p = {.temperature = -1, .repeat_penalty = 3}, .logit = {0, 5, 4}, .n = 3,
     .out = {1}, .n_out = 1, .want = {NO, NO, 0}},
    {"greedy is not cut", .p = {.temperature = -1, .xtc_probability = 1, .xtc_threshold = .1f}, P4,
     .want = {NO, NO, NO, 0}},
    {"not a number", .logit = {NAN, 1, 2, -NAN}, .n = 4, .want = {NO, 1, 2, NO}},
    {"infinity wins", .logit = {1, INFINITY, 2, INFINITY, NAN}, .n = 5, .want = {NO, 0, NO, 0, NO}},
    {"huge logits", .p = {.temperature = .1f}, .logit = {3e38f, -3e38f, 3e38f}, .n = 3, .want = {0, NO, 0}},
};

/* Defaults, overridden by what the case sets; temperature -1 in a case means 0. */
static struct sample_params merge(const struct hand *h)
{
    struct sample_params p;
    struct error e;
    sample_params_default(&p);
    const struct sample_params *c = &h->p;
#define TAKE(f)                                                                                              \
    if (c->f) p.f = c->f
    TAKE(temperature);
    TAKE(dynatemp_range);
    TAKE(top_k);
    TAKE(top_p);
    TAKE(min_p);
    TAKE(typical_p);
    TAKE(top_n_sigma);
    TAKE(xtc_probability);
    TAKE(xtc_threshold);
    TAKE(dry_multiplier);
    TAKE(dry_base);
    TAKE(dry_allowed_length);
    TAKE(dry_penalty_last_n);
    TAKE(dry_breaker_ids);
    TAKE(dry_breaker_at);
    TAKE(n_dry_breaker);
    TAKE(mirostat);
    TAKE(mirostat_tau);
    TAKE(repeat_penalty);
    TAKE(frequency_penalty);
    TAKE(presence_penalty);
    TAKE(repeat_last_n);
    TAKE(min_keep);
    TAKE(bias);
    TAKE(n_bias);
    TAKE(eog);
    TAKE(n_eog);
    TAKE(min_tokens);
    TAKE(ignore_eos);
#undef TAKE
    if (p.temperature < 0) p.temperature = 0;
    if (h->chain) assert_int_equal(sample_chain_parse(&p, h->chain, &e), OK);
    return p;
}

static void test_by_hand(void **state)
{
    for (size_t i = 0; i < COUNT_OF(hands); i++) {
        const struct hand *h = &hands[i];
        struct sample_params p = merge(h);
        double got[8], sum = 0;
        assert_int_equal(distribution(got, &p, h->logit, h->n, h->prompt, h->n_prompt, h->out, h->n_out), OK);
        for (uint32_t t = 0; t < h->n; t++) sum += exp(h->want[t]);
        for (uint32_t t = 0; t < h->n; t++) {
            double want = exp(h->want[t]) / sum;
            if (fabs(want - got[t]) > 1e-5)
                fail_msg("%s: token %u has %.7f, not %.7f", h->name, t, got[t], want);
        }
    }
}

/* --- the reference: every token with its logit in double, sorted best first --- */

struct row {
    double logit, p;
    int32_t id;
};

static int better(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit ? 1 : -1) : x->id - y->id;
}

static bool doubtful; /* a decision of the reference was within rounding error of the other one */

static void near(double a, double b, double scale)
{
    doubtful |= fabs(a - b) <= 3e-6 * scale;
}

static void ref_softmax(struct row *r, uint32_t n)
{
    double sum = 0;
    qsort(r, n, sizeof *r, better);
    for (uint32_t i = 0; i < n; i++) sum += r[i].p = exp(r[i].logit - r[0].logit);
    for (uint32_t i = 0; i < n; i++) r[i].p /= sum;
}

static double typical_entropy;
static int more_typical(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    double dx = fabs(-log(x->p) - typical_entropy), dy = fabs(-log(y->p) - typical_entropy);
    return dx != dy ? (dx > dy ? 1 : -1) : x->id - y->id;
}

static uint32_t ref_cut(const struct row *r, uint32_t n, double share, uint32_t min_keep)
{
    double cum = 0;
    for (uint32_t i = 0; i < n; i++) {
        cum += r[i].p;
        near(cum, share, 1);
        if (cum >= share && i + 1 >= min_keep) return i + 1;
    }
    return n;
}

static uint32_t ref_chain(struct row *r, uint32_t n, const struct sample_params *p, uint64_t position)
{
    ref_softmax(r, n);
    if (p->top_n_sigma > 0) {
        double mean = 0, var = 0;
        uint32_t k = 0;
        for (uint32_t i = 0; i < n; i++) mean += r[i].logit / n;
        for (uint32_t i = 0; i < n; i++) var += (r[i].logit - mean) * (r[i].logit - mean) / n;
        double least = r[0].logit - p->top_n_sigma * sqrt(var);
        for (uint32_t i = 0; i < n; i++) near(r[i].logit, least, 10);
        while (k < n && r[k].logit >= least) k++;
        n = k;
    }
    if (p->top_k > 0) n = MIN(n, MAX((uint32_t)p->top_k, p->min_keep));
    ref_softmax(r, n);
    if (p->typical_p < 1) {
        typical_entropy = 0;
        for (uint32_t i = 0; i < n; i++) typical_entropy -= r[i].p * log(r[i].p);
        qsort(r, n, sizeof *r, more_typical);
        for (uint32_t i = 0; i + 1 < n; i++)
            near(fabs(-log(r[i].p) - typical_entropy), fabs(-log(r[i + 1].p) - typical_entropy), 1);
        n = ref_cut(r, n, p->typical_p, p->min_keep);
        ref_softmax(r, n);
    }
    if (p->top_p < 1) n = ref_cut(r, n, p->top_p, p->min_keep);
    ref_softmax(r, n);
    if (p->min_p > 0) {
        uint32_t k = 0;
        for (uint32_t i = 0; i < n; i++) near(r[i].p / r[0].p, p->min_p, 1);
        while (k < n && (r[k].p >= p->min_p * r[0].p || k < p->min_keep)) k++;
        n = k;
        ref_softmax(r, n);
    }
    if (p->xtc_probability > 0 && p->xtc_threshold <= 0.5f &&
        rng_uniform(p->seed, p->choice, position, 1) < p->xtc_probability) {
        uint32_t k = 0;
        for (uint32_t i = 0; i < n; i++) near(r[i].p, p->xtc_threshold, 1);
        while (k < n && r[k].p >= p->xtc_threshold) k++;
        if (k >= 2 && n - (k - 1) >= p->min_keep) {
            memmove(r, r + k - 1, (n - (k - 1)) * sizeof *r);
            n -= k - 1;
        }
        ref_softmax(r, n);
    }
    double t = p->temperature;
    if (p->dynatemp_range > 0 && n > 1) {
        double entropy = 0, low = MAX(0.0, t - p->dynatemp_range), high = t + p->dynatemp_range;
        for (uint32_t i = 0; i < n; i++) entropy -= r[i].p * log(r[i].p);
        t = low + (high - low) * pow(entropy / log(n), p->dynatemp_exponent);
    }
    for (uint32_t i = 0; i < n; i++) r[i].logit /= t;
    ref_softmax(r, n);
    return n;
}

static double uniform(uint32_t run, uint32_t what)
{
    return rng_uniform(20261121, 3, run, what);
}
static double gauss(uint32_t run, uint32_t i)
{
    return sqrt(-2 * log(1 - uniform(run, 2 * i))) * cos(6.283185307179586 * uniform(run, 2 * i + 1));
}

static void test_against_reference(void **state)
{
    enum { RUNS = 1500 };
    static float logit[MAX_V];
    static struct row row[MAX_V];
    static double want[MAX_V], got[MAX_V];
    uint32_t compared = 0;

    for (uint32_t run = 0; run < RUNS; run++) {
        struct sample_params p;
        uint32_t what = 1u << 20, n = run % 50 == 0 ? MAX_V : 1 + (uint32_t)(uniform(run, what++) * 300);
        double spread = 0.2 + 6 * uniform(run, what++);
        sample_params_default(&p);
        p.seed = run;
        p.temperature = (float)(0.2 + 2 * uniform(run, what++));
#define MAYBE(share) (uniform(run, what++) < (share))
        if (MAYBE(.4)) p.top_k = 1 + (int32_t)(uniform(run, what++) * 60);
        if (MAYBE(.4)) p.top_p = (float)uniform(run, what++);
        if (MAYBE(.4)) p.min_p = (float)(uniform(run, what++) * .5);
        if (MAYBE(.3)) p.typical_p = (float)uniform(run, what++);
        if (MAYBE(.3)) p.top_n_sigma = (float)(uniform(run, what++) * 3);
        if (MAYBE(.3)) p.xtc_probability = .7f, p.xtc_threshold = (float)(uniform(run, what++) * .4);
        if (MAYBE(.3)) p.dynatemp_range = (float)uniform(run, what++), p.dynatemp_exponent = 1.3f;
        if (MAYBE(.2)) p.min_keep = (uint32_t)(uniform(run, what++) * 9);
        if (p.top_n_sigma > 0) p.min_keep = 0; /* which top_n_sigma does not look at */

        doubtful = false;
        for (uint32_t i = 0; i < n; i++) {
            logit[i] = (float)(spread * gauss(run, i));
            if (run % 4 == 0) logit[i] = rintf(logit[i]); /* many ties */
            row[i] = (struct row){.logit = logit[i], .id = (int32_t)i};
        }
        uint32_t left = ref_chain(row, n, &p, 0);
        for (uint32_t i = 0; i < n; i++) want[i] = 0;
        for (uint32_t i = 0; i < left; i++) want[row[i].id] = row[i].p;
        assert_int_equal(distribution(got, &p, logit, n, NULL, 0, NULL, 0), OK);
        if (doubtful) continue;
        compared++;
        for (uint32_t i = 0; i < n; i++)
            if (fabs(got[i] - want[i]) > 2e-5 || ((got[i] > 1e-30) != (want[i] > 1e-30)))
                fail_msg("run %u: token %u of %u has %.9g, the reference %.9g", run, i, n, got[i], want[i]);
    }
    assert_true(compared > RUNS / 2);
}

/* DRY against its definition, in quadratic time. */
static void test_dry_reference(void **state)
{
    enum { V = 4, N = 40 };
    for (uint32_t run = 0; run < 400; run++) {
        struct sample_params p;
        float logit[V] = {0};
        double got[V], want[V], sum = 0;
        int32_t h[N], last_n = run % 3 == 0 ? -1 : 5 + (int32_t)(run % 30);
        for (uint32_t i = 0; i < N; i++) h[i] = (int32_t)(uniform(run, i) * V * (run % 5 ? 1 : .5));
        sample_params_default(&p);
        p.dry_multiplier = .5f;
        p.dry_base = 1.2f;
        p.dry_penalty_last_n = last_n;
        p.dry_allowed_length = (int32_t)(run % 4);
        uint32_t longest[V] = {0}, from = last_n < 0 || last_n > N ? 0 : N - (uint32_t)last_n;
        bool any[V] = {0};
        for (uint32_t i = from; i + 1 < N; i++) { /* the repeat ends at i: h[i + 1] continues it */
            uint32_t len = 0;
            while (len <= i - from && h[i - len] == h[N - 1 - len]) len++;
            if (len < (uint32_t)p.dry_allowed_length) continue;
            any[h[i + 1]] = true;
            longest[h[i + 1]] = MAX(longest[h[i + 1]], len);
        }
        for (int t = 0; t < V; t++) {
            want[t] = any[t] ? exp(-.5 * pow(1.2f, (double)longest[t] - p.dry_allowed_length)) : 1;
            sum += want[t];
        }
        assert_int_equal(distribution(got, &p, logit, V, h, N / 2, h + N / 2, N / 2), OK);
        for (int t = 0; t < V; t++)
            if (fabs(got[t] - want[t] / sum) > 1e-5)
                fail_msg("run %u: token %d has %.7f, by definition %.7f", run, t, got[t], want[t] / sum);
    }
}

/* Mirostat 1 on a Zipf distribution of known exponent: the bound k is that of the paper's equation. */
static void test_mirostat_1(void **state)
{
    enum { V = 2000 };
    static float logit[V];
    static double got[V];
    struct sample_params p;
    for (int i = 0; i < V; i++) logit[i] = (float)(-1.2 * log(i + 1));
    sample_params_default(&p);
    p.mirostat = 1;
    for (double tau = 1; tau < 5; tau++) {
        p.mirostat_tau = (float)tau;
        assert_int_equal(distribution(got, &p, logit, V, NULL, 0, NULL, 0), OK);
        double k = pow(0.2 * pow(2, 2 * tau) / (1 - pow(V, -0.2)), 1 / 1.2);
        uint32_t n = 0;
        while (n < V && got[n] > 0) n++;
        assert_true(fabs(n - MIN(MAX(k, 1.0), (double)V)) <= 1 + 1e-3 * k);
    }
}

/* The bound moves by what was accepted, not by what was drawn. */
static void test_adaptive_state(void **state)
{
    const float logit[3] = {L(.6), L(.3), L(.1)};
    for (int kind = 0; kind < 2; kind++) {
        struct sample_params p;
        struct sampler *s;
        struct sample_result r;
        struct error e;
        float first[2] = {0};
        sample_params_default(&p);
        p.post_sampling_probs = p.want_logprob = true;
        p.n_logprobs = 3;
        if (kind == 0)
            p.mirostat = 2, p.mirostat_tau = 1.2f, p.mirostat_eta = 1;
        else
            p.adaptive_target = .3f;
        assert_int_equal(sampler_new(&s, &p, 3, &e), OK);
        bool moved = false;
        for (uint64_t pos = 0; pos < 40; pos++) {
            assert_int_equal(sampler_draw(s, logit, NULL, pos, &r, &e), OK);
            float before = r.top[0].logprob;
            int32_t token = r.token;
            assert_int_equal(sampler_draw(s, logit, NULL, pos, &r, &e), OK); /* drawing changes nothing */
            assert_true(r.top[0].logprob == before && r.token == token);
            if (pos == 0) first[0] = before;
            moved |= before != first[0];
            sampler_accept(s, token, false);
        }
        assert_true(moved);
        sampler_free(s);
    }
}

/* Adaptive-p draws tokens whose average probability is near the target, if min-p has cut the long tail. */
static void test_adaptive_target(void **state)
{
    enum { V = 64 };
    for (double target = .05; target < .3; target += .1) {
        struct sample_params p;
        struct sampler *s;
        struct sample_result r;
        struct error e;
        float logit[V];
        double sum = 0, mean = 0;
        for (int i = 0; i < V; i++) sum += exp(-.25 * i) >= .1 ? exp(-.25 * i) : 0;
        for (int i = 0; i < V; i++) logit[i] = (float)(-.25 * i);
        sample_params_default(&p);
        p.adaptive_target = (float)target;
        p.min_p = .1f;
        assert_int_equal(sampler_new(&s, &p, V, &e), OK);
        for (uint32_t i = 0; i < 2000; i++) {
            assert_int_equal(sampler_draw(s, logit, NULL, i, &r, &e), OK);
            mean += exp(logit[r.token]) / sum / 2000;
            sampler_accept(s, r.token, false);
        }
        if (fabs(mean - target) > .06) fail_msg("target %.2f, mean %.3f", target, mean);
        sampler_free(s);
    }
}

/* Penalties that stand in the chain as often as they may, on logits as far out as a request can put them:
 * once they became infinite, and the cut-offs after them read past the candidates. */
static void test_stacked_penalties(void **state)
{
    static const struct {
        float repeat_penalty, bias;
        int32_t want;
    } cases[] = {{.01f, 1e9f, 5}, {100, 1e9f, 16}, {100, -1e9f, 16}, {.01f, -1e9f, 16}};
    static const char *const last[] = {"top_p", "typ_p", "min_p", "top_n_sigma", "xtc", "temperature", "dry"};
    for (size_t i = 0; i < COUNT_OF(cases) * COUNT_OF(last); i++) {
        struct sample_params p;
        struct sampler *s;
        struct sample_result r;
        struct error e = {0};
        const struct sample_bias bias = {5, cases[i / COUNT_OF(last)].bias};
        float logit[100];
        char chain[400] = "";
        for (int k = 0; k < 100; k++) logit[k] = k == 16 ? 20 : 0;
        for (int k = 1; k < SAMPLE_MAX_CHAIN; k++) strcat(chain, "penalties;");
        strcat(chain, last[i % COUNT_OF(last)]);
        sample_params_default(&p);
        p.bias = &bias;
        p.n_bias = 1;
        p.repeat_penalty = cases[i / COUNT_OF(last)].repeat_penalty;
        p.top_p = p.typical_p = .9f;
        p.min_p = .1f;
        p.top_n_sigma = 1;
        p.temperature = .01f;
        assert_int_equal(sample_chain_parse(&p, chain, &e), OK);
        assert_int_equal(sampler_new(&s, &p, COUNT_OF(logit), &e), OK);
        sampler_accept(s, 5, true);
        assert_int_equal(sampler_draw(s, logit, NULL, 1, &r, &e), OK);
        if (r.token != cases[i / COUNT_OF(last)].want)
            fail_msg("case %zu, then %s: token %d", i / COUNT_OF(last), last[i % COUNT_OF(last)], r.token);
        sampler_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),           cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_dry_reference),     cmocka_unit_test(test_mirostat_1),
        cmocka_unit_test(test_adaptive_state),    cmocka_unit_test(test_adaptive_target),
        cmocka_unit_test(test_stacked_penalties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
