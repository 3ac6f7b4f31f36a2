/* How well a model predicts a text, and how far its predictions are from another model's: perplexity and
 * KL divergence over chunks of tokens, by the method of llama.cpp's perplexity tool (docs/eval.md). */
#ifndef CORRAL_CLI_EVAL_SCORE_H
#define CORRAL_CLI_EVAL_SCORE_H

#include "cli/forward.h"

/* Mean and spread of a stream of numbers, without cancellation (Welford 1962). */
struct moments {
    uint64_t n;
    double mean, sum_dd; /* of squared distances from the mean */
};
double moments_error(const struct moments *m); /* standard error of the mean; 0 below two numbers */

struct eval_score {
    uint32_t n_chunk;       /* done so far */
    uint64_t n_scored;      /* tokens predicted */
    struct moments nll;     /* minus the logarithm of what the model gave the true token, in nats */
    /* With a reference only: */
    struct moments nll_ref; /* the same of the reference */
    struct moments excess;  /* nll - nll_ref, token by token: its exponential is the ratio of perplexities */
    struct moments kld;     /* of the reference's distribution from the model's, in nats */
    struct moments moved;   /* square of the change in probability of the true token */
    uint64_t n_same_top;    /* tokens for which both have the same best token */
    double kld_max, kld_median, kld_p90, kld_p99, kld_p999; /* percentiles: set at the end */
};

struct eval_job {
    struct forward *model, *ref; /* ref NULL: perplexity alone. Both hold ctx tokens and step_tokens a step */
    const int32_t *token;
    size_t n_token;
    uint32_t ctx, n_chunk; /* n_chunk * ctx <= n_token; ctx >= 4 */
    int32_t bos;           /* in place of each chunk's first token; -1: the token stays */
    uint32_t step_tokens;
    uint32_t n_thread; /* for the arithmetic on logits; at least 1. The result does not depend on it */
    /* Called after each chunk; false: stop, ERR_CANCELLED. May be NULL. */
    bool (*progress)(void *user, const struct eval_score *so_far);
    void *user;
};
/* ERR_FORMAT when a model's logits are not finite where it matters. */
status eval_score(struct eval_score *out, const struct eval_job *job, struct error *e);

/* Tokens of a chunk whose prediction counts: the later half, which has at least ctx / 2 tokens before it. */
static inline uint32_t eval_scored_per_chunk(uint32_t ctx) { return ctx - 1 - ctx / 2; }

#endif
