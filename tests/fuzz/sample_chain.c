/* Any parameters that pass the check, any logits, any chain: a draw either says that nothing can be chosen,
 * or names a token that is allowed; twice the same one; with log-probabilities that are such. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "sample/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_VOCAB = 300, MAX_LIST = 8, DRAWS = 3 };

/* Where the bytes end, numbers go on that depend on all of them. */
struct input {
    const uint8_t *p;
    size_t n;
    uint64_t hash, n_more;
};

static uint32_t byte(struct input *in)
{
    if (!in->n) return (uint32_t)(256 * rng_uniform(in->hash, 0, in->n_more++, 0));
    in->n--;
    in->hash = (in->hash ^ *in->p) * 0x100000001b3; /* FNV-1a */
    return *in->p++;
}
static uint32_t word(struct input *in)
{
    uint32_t a = byte(in), b = byte(in);
    return a | b << 8;
}

/* Mostly an end of the range or near it, else anything between, sometimes outside. */
static float real(struct input *in, float min, float max)
{
    uint32_t how = byte(in);
    switch (how % 8) {
    case 0: return min;
    case 1: return max;
    case 2: return nextafterf(min, max);
    case 3: return min + (max - min) * 1e-6f;
    case 4: return how == 4 ? NAN : 1;
    default: return min + (max - min) * (float)byte(in) / 255;
    }
}

static float logit(struct input *in)
{
    static const float odd[] = {0,     -INFINITY, INFINITY, NAN,     1e38f, -1e38f,
                                1e30f, -1e30f,    1e-45f,   -1e-45f, 88,    -88};
    uint32_t b = byte(in);
    return b < COUNT_OF(odd) ? odd[b] : ((float)b - 128) / 8;
}

static void read_params(struct sample_params *p, struct input *in)
{
    static const char letters[] = "edskypmxt";
    char chain[SAMPLE_MAX_CHAIN + 1] = "";
    struct error e;
    sample_params_default(p);
    p->seed = byte(in);
    p->temperature = real(in, 0, 100);
    p->dynatemp_range = real(in, 0, 100);
    p->dynatemp_exponent = real(in, 0, 100);
    p->top_k = (int32_t)byte(in);
    p->top_p = real(in, 0, 1);
    p->min_p = real(in, 0, 1);
    p->typical_p = real(in, 0, 1);
    p->top_n_sigma = real(in, -1, 100);
    p->xtc_probability = real(in, 0, 1);
    p->xtc_threshold = real(in, 0, 1);
    p->dry_multiplier = real(in, 0, 100);
    p->dry_base = real(in, 1, 100);
    p->dry_allowed_length = (int32_t)(byte(in) % 5);
    p->dry_penalty_last_n = (int32_t)(byte(in) % 20) - 1;
    p->mirostat = byte(in) % 5 < 3 ? 0 : (int32_t)(byte(in) % 3);
    p->mirostat_tau = real(in, 0, 100);
    p->mirostat_eta = real(in, 0, 1);
    p->adaptive_target = real(in, -1, 1);
    p->adaptive_decay = real(in, 0, 0.99f);
    p->repeat_penalty = real(in, 0.01f, 100);
    p->frequency_penalty = real(in, -2, 2);
    p->presence_penalty = real(in, -2, 2);
    p->repeat_last_n = (int32_t)(byte(in) % 20) - 1;
    p->min_keep = byte(in) % 4 ? 0 : byte(in);
    p->min_tokens = byte(in) % 4;
    p->ignore_eos = byte(in) & 1;
    p->n_logprobs = byte(in) % 4 ? 0 : byte(in);
    p->want_logprob = byte(in) & 1;
    p->post_sampling_probs = byte(in) & 1;
    uint32_t n = byte(in) % (SAMPLE_MAX_CHAIN + 1);
    uint32_t repeat = byte(in) % 3; /* one strategy again and again, or that and another, or any */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = byte(in) % (sizeof letters - 1);
        chain[i] = repeat && i && (i + 1 < n || repeat == 1) ? chain[0] : letters[at];
    }
    if (n && sample_chain_parse(p, chain, &e) != OK) abort();
}

static void check_result(const struct sample_result *r, const struct sample_params *p, const float *x,
                         const uint32_t *mask, uint32_t n_vocab)
{
    if (r->token < 0 || (uint32_t)r->token >= n_vocab) abort();
    if (mask && !(mask[r->token / 32] >> r->token % 32 & 1)) abort();
    if (isnan(x[r->token]) || x[r->token] == -INFINITY) abort();
    if (!p->want_logprob && !p->n_logprobs) return;
    if (!(r->logprob <= 1e-5f)) abort();
    for (uint32_t i = 0; i < r->n_top; i++)
        if (!(r->top[i].logprob <= 1e-5f) || (i && r->top[i].logprob > r->top[i - 1].logprob)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct input in = {.p = data, .n = n};
    struct sample_params p;
    struct sample_bias bias[MAX_LIST];
    int32_t eog[MAX_LIST], breaker[MAX_LIST];
    uint32_t breaker_at[MAX_LIST + 1] = {0}, mask[MAX_VOCAB / 32 + 1];
    float x[MAX_VOCAB];
    struct sampler *s = NULL;
    struct error e;

    read_params(&p, &in);
    uint32_t n_vocab = 1 + word(&in) % MAX_VOCAB, n_history = byte(&in) % 64;
    p.n_bias = byte(&in) % MAX_LIST;
    p.n_eog = byte(&in) % MAX_LIST;
    p.n_dry_breaker = byte(&in) % MAX_LIST;
    for (uint32_t i = 0; i < p.n_bias; i++)
        bias[i] = (struct sample_bias){(int32_t)(word(&in) % n_vocab),
                                       byte(&in) & 1 ? real(&in, -1e9f, 1e9f) : -INFINITY};
    for (uint32_t i = 0; i < p.n_eog; i++) eog[i] = (int32_t)(byte(&in) % n_vocab);
    for (uint32_t i = 0; i < p.n_dry_breaker; i++) {
        breaker[i] = (int32_t)(byte(&in) % n_vocab);
        breaker_at[i + 1] = i + 1;
    }
    p.bias = bias;
    p.eog = eog;
    p.dry_breaker_ids = breaker;
    p.dry_breaker_at = breaker_at;
    if (sampler_new(&s, &p, n_vocab, &e) != OK) return 0;
    for (uint32_t i = 0; i < n_history; i++) sampler_accept(s, (int32_t)(byte(&in) % n_vocab), byte(&in) & 1);
    bool masked = byte(&in) & 1;
    for (uint32_t i = 0; i < COUNT_OF(mask); i++) mask[i] = masked ? word(&in) : 0;
    for (uint32_t d = 0; d < DRAWS; d++) {
        struct sample_result a, b;
        for (uint32_t i = 0; i < n_vocab; i++) x[i] = logit(&in);
        if (sampler_draw(s, x, masked ? mask : NULL, d, &a, &e) != OK) continue;
        check_result(&a, &p, x, masked ? mask : NULL, n_vocab);
        if (sampler_draw(s, x, masked ? mask : NULL, d, &b, &e) != OK || b.token != a.token) abort();
        sampler_accept(s, a.token, false);
    }
    sampler_free(s);
    return 0;
}
