/* Logits to token: bias, penalties, cut-offs, draw. Knows token ids only.
 *
 * The parameters are those of design/API_SURFACE.md section 2; defaults are neutral (temperature 1, nothing
 * cut), the caller's API family sets its own. Randomness is rng_uniform(seed, choice, position, lane), so
 * the result depends on nothing but the arguments and the tokens accepted before. A sampler belongs to one
 * sequence. Strategies are rows of a table (sample/strategy.h), one file each; the chain is an order of
 * them. */
#ifndef CORRAL_SAMPLE_H
#define CORRAL_SAMPLE_H

#include "base/base.h"
#include "sample/program.h"

#define SAMPLE_MAX_CHAIN 16

struct sample_bias { int32_t token; float bias; }; /* -INFINITY forbids */

struct sample_params {
    uint64_t seed;
    uint32_t choice; /* index of this choice among n */
    float    temperature;                     /* 0: greedy */
    float    dynatemp_range, dynatemp_exponent;
    int32_t  top_k;                           /* 0: off */
    float    top_p, min_p, typical_p;         /* 1, 0, 1: off */
    float    top_n_sigma;                     /* <= 0: off */
    float    xtc_probability, xtc_threshold;
    float    dry_multiplier, dry_base;
    int32_t  dry_allowed_length, dry_penalty_last_n;
    /* Sequence breakers as token id lists (the caller tokenizes the strings): breaker i is
     * dry_breaker_ids[dry_breaker_at[i] .. dry_breaker_at[i+1]). Borrowed; copied by sampler_new. */
    const int32_t  *dry_breaker_ids;
    const uint32_t *dry_breaker_at;
    uint32_t n_dry_breaker;
    int32_t  mirostat;                        /* 0, 1, 2 */
    float    mirostat_tau, mirostat_eta;
    float    adaptive_target, adaptive_decay; /* target < 0: off */
    float    repeat_penalty, frequency_penalty, presence_penalty;
    int32_t  repeat_last_n;                   /* window of the three penalties; -1: everything, 0: off */
    uint32_t min_keep;
    const struct sample_bias *bias;           /* borrowed; copied by sampler_new */
    uint32_t n_bias;
    const int32_t *eog;                       /* end-of-generation tokens, forbidden before min_tokens */
    uint32_t n_eog;
    uint32_t min_tokens;
    bool     ignore_eos;                      /* forbid eog tokens altogether */
    uint8_t  chain[SAMPLE_MAX_CHAIN];         /* strategy ids in order; n_chain 0: the default order */
    uint32_t n_chain;
    uint32_t n_logprobs;                      /* how many top alternatives to report */
    bool     want_logprob;                    /* of the chosen token, from the unmodified logits */
    bool     post_sampling_probs;             /* report probabilities after the chain instead */
};

struct sample_logprob { int32_t token; float logprob; };
struct sample_result {
    int32_t token;
    float   logprob;                          /* valid when want_logprob or n_logprobs */
    const struct sample_logprob *top;         /* n_top rows, best first; valid until the next draw */
    uint32_t n_top;
    double   learned;                         /* what mirostat or adaptive_target
                                               * will know once it is accepted; else 0 */
};

struct sampler;
void   sample_params_default(struct sample_params *p);
/* Check every range; the message names the parameter, its value and the range. */
status sample_params_check(const struct sample_params *p, struct error *e);
/* "penalties;dry;top_k;..." or llama.cpp's letters ("edskypmxt") into p->chain. Unknown names are ERR_ARG. */
status sample_chain_parse(struct sample_params *p, const char *text, struct error *e);

status sampler_new(struct sampler **out, const struct sample_params *p, uint32_t n_vocab, struct error *e);
void   sampler_free(struct sampler *s);
/* Count token into the history that penalties look at; prompt tokens do not count for min_tokens. */
void   sampler_accept(struct sampler *s, int32_t token, bool from_prompt);
/* Tokens were accepted that another sampler had drawn:
 * go on with what that one learned, the last sample_result's. */
void   sampler_resume(struct sampler *s, double learned);
bool   sampler_learns(const struct sample_params *p); /* is there anything to learn? */
/* What the model says of a token: its log-probability and the best ones. Nothing is chosen. */
void   sampler_score(struct sampler *s, const float *logits, int32_t token, struct sample_result *out);
/* Choose a token for absolute position `position` of the sequence. logits: n_vocab values, not modified.
 * mask: NULL, or one bit per token, 0 = forbidden (grammar). Does not accept the token.
 * ERR_ARG when nothing is left to choose (every token forbidden or not a number). */
status sampler_draw(struct sampler *s, const float *logits, const uint32_t *mask, uint64_t position,
                    struct sample_result *out, struct error *e);

/* The same on a device, in two halves: the draw for that position as a list of operations (but for the mask,
 * which is the caller's), and what the device made of it. false: only sampler_draw can do it. edit is valid
 * until the next call. */
bool   sampler_program(struct sampler *s, uint64_t position, struct sample_program *out);
/* Will it say the same for the next draw, but for the position, whatever token this one brings? */
bool   sampler_steady(const struct sampler *s);
status sampler_take(struct sampler *s, const struct program_answer *a, struct sample_result *out,
                    struct error *e);

#endif
