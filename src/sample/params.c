#include <math.h>

#include "sample/strategy.h"

void sample_params_default(struct sample_params *p)
{
    *p = (struct sample_params){
        .temperature = 1,
        .dynatemp_exponent = 1,
        .top_p = 1,
        .typical_p = 1,
        .top_n_sigma = -1,
        .xtc_threshold = 0.1f,
        .dry_base = 1.75f,
        .dry_allowed_length = 2,
        .dry_penalty_last_n = 64,
        .mirostat_tau = 5,
        .mirostat_eta = 0.1f,
        .adaptive_target = -1,
        .adaptive_decay = 0.9f,
        .repeat_penalty = 1,
        .repeat_last_n = 64,
    };
}

/* docs/sampling.md lists the same ranges. */
static const struct {
    const char *name;
    size_t at;
    float min, max;
} reals[] = {
#define REAL(member, min, max)                                                                               \
    {                                                                                                        \
#member, offsetof(struct sample_params, member), min, max                                            \
    }
    REAL(temperature, 0, 100),
    REAL(dynatemp_range, 0, 100),
    REAL(dynatemp_exponent, 0, 100),
    REAL(top_p, 0, 1),
    REAL(min_p, 0, 1),
    REAL(typical_p, 0, 1),
    REAL(top_n_sigma, -1, 100),
    REAL(xtc_probability, 0, 1),
    REAL(xtc_threshold, 0, 1),
    REAL(dry_multiplier, 0, 100),
    REAL(dry_base, 1, 100),
    REAL(mirostat_tau, 0, 100),
    REAL(mirostat_eta, 0, 1),
    REAL(adaptive_target, -1, 1),
    REAL(adaptive_decay, 0, 0.99f),
    REAL(repeat_penalty, 0.01f, 100),
    REAL(frequency_penalty, -2, 2),
    REAL(presence_penalty, -2, 2),
};

static const struct {
    const char *name;
    size_t at;
    int32_t min, max;
} integers[] = {
#define INTEGER(member, min, max)                                                                            \
    {                                                                                                        \
#member, offsetof(struct sample_params, member), min, max                                            \
    }
    INTEGER(top_k, 0, INT32_MAX),
    INTEGER(dry_allowed_length, 0, INT32_MAX),
    INTEGER(dry_penalty_last_n, -1, INT32_MAX),
    INTEGER(mirostat, 0, 2),
    INTEGER(repeat_last_n, -1, INT32_MAX),
};

static status check_chain(const struct sample_params *p, struct error *e)
{
    if (p->n_chain > SAMPLE_MAX_CHAIN)
        return fail(e, ERR_ARG, "samplers: %u in the chain, at most %d", p->n_chain, SAMPLE_MAX_CHAIN);
    for (uint32_t i = 0; i < p->n_chain; i++)
        if (p->chain[i] >= N_STRATEGY || strategy_table[p->chain[i]].kind != KIND_CHAIN)
            return fail(e, ERR_ARG, "samplers: entry %u is %u, which is no strategy of a chain", i,
                        p->chain[i]);
    return OK;
}

static status check_lists(const struct sample_params *p, struct error *e)
{
    for (uint32_t i = 0; i < p->n_bias; i++) {
        const struct sample_bias *b = &p->bias[i];
        if (b->token < 0) return fail(e, ERR_ARG, "logit_bias: token %d is negative", b->token);
        if (b->bias != -INFINITY && !(fabsf(b->bias) <= 1e9f))
            return fail(e, ERR_ARG, "logit_bias of token %d is %g; it must be -inf or between -1e9 and 1e9",
                        b->token, (double)b->bias);
    }
    for (uint32_t i = 0; i < p->n_eog; i++)
        if (p->eog[i] < 0) return fail(e, ERR_ARG, "end-of-generation token %d is negative", p->eog[i]);
    for (uint32_t i = 0; i < p->n_dry_breaker; i++)
        if (p->dry_breaker_at[i] > p->dry_breaker_at[i + 1])
            return fail(e, ERR_ARG, "dry_sequence_breakers: list %u ends before it begins", i);
    return OK;
}

status sample_params_check(const struct sample_params *p, struct error *e)
{
    for (size_t i = 0; i < COUNT_OF(reals); i++) {
        float v = *(const float *)((const char *)p + reals[i].at);
        if (!(v >= reals[i].min && v <= reals[i].max))
            return fail(e, ERR_ARG, "%s is %g; it must be between %g and %g", reals[i].name, (double)v,
                        (double)reals[i].min, (double)reals[i].max);
    }
    for (size_t i = 0; i < COUNT_OF(integers); i++) {
        int32_t v = *(const int32_t *)((const char *)p + integers[i].at);
        if (v < integers[i].min || v > integers[i].max)
            return fail(e, ERR_ARG, "%s is %d; it must be between %d and %d", integers[i].name, v,
                        integers[i].min, integers[i].max);
    }
    TRY(check_chain(p, e));
    return check_lists(p, e);
}
