/* The sampling parameters as option rows, and from them what an engine request needs. */
#ifndef CORRAL_CLI_SAMPLING_H
#define CORRAL_CLI_SAMPLING_H

#include <math.h>

#include "cli/session.h"

struct sampling_options {
    double temp, dynatemp_range, dynatemp_exponent, top_p, min_p, typical_p, top_n_sigma;
    double xtc_probability, xtc_threshold, dry_multiplier, dry_base;
    double mirostat_tau, mirostat_eta, adaptive_target, adaptive_decay;
    double repeat_penalty, frequency_penalty, presence_penalty;
    int64_t seed, top_k, dry_allowed_length, dry_penalty_last_n, mirostat, repeat_last_n;
    int64_t min_keep, min_tokens;
    const char *samplers;
    bool ignore_eos;
    struct opt_list logit_bias, dry_breaker;
};

/* o: a struct sampling_options with static storage. */
#define SAMPLING_NUMBER(o, flag, field, lo, hi, d, text)                                                    \
    {.name = flag, .type = OPT_FLOAT, .at = &(o).field, .min = lo, .max = hi, .def = d, .help = text}
#define SAMPLING_COUNT(o, flag, field, lo, hi, d, text)                                                     \
    {.name = flag, .type = OPT_INT, .at = &(o).field, .min = lo, .max = hi, .def = d, .help = text}
#define SAMPLING_OPTS(o)                                                                                    \
    {.name = "", .help = "Sampling"},                                                                       \
    SAMPLING_COUNT(o, "seed", seed, -1, (double)INT64_MAX, "-1",                                            \
                   "of the random numbers; -1: a new one each time"),                                       \
    SAMPLING_NUMBER(o, "temp", temp, 0, 100, "0.8", "temperature; 0: always the most likely token"),        \
    SAMPLING_COUNT(o, "top-k", top_k, 0, INT32_MAX, "40", "keep the k most likely tokens; 0: off"),         \
    SAMPLING_NUMBER(o, "top-p", top_p, 0, 1, "0.95", "keep the likeliest tokens that sum to p; 1: off"),    \
    SAMPLING_NUMBER(o, "min-p", min_p, 0, 1, "0.05",                                                        \
                    "keep tokens at least p times as likely as the best; 0: off"),                          \
    SAMPLING_NUMBER(o, "typical-p", typical_p, 0, 1, "1", "locally typical sampling; 1: off"),              \
    SAMPLING_NUMBER(o, "top-n-sigma", top_n_sigma, -1, 100, "-1",                                           \
                    "keep logits within n standard deviations of the best; -1: off"),                       \
    SAMPLING_NUMBER(o, "xtc-probability", xtc_probability, 0, 1, "0",                                       \
                    "XTC: how often to drop all but the least likely good token"),                          \
    SAMPLING_NUMBER(o, "xtc-threshold", xtc_threshold, 0, 1, "0.1", "XTC: how likely a good token is"),     \
    SAMPLING_NUMBER(o, "dynatemp-range", dynatemp_range, 0, 100, "0",                                       \
                    "let the temperature vary by this with the entropy; 0: off"),                           \
    SAMPLING_NUMBER(o, "dynatemp-exponent", dynatemp_exponent, 0, 100, "1",                                 \
                    "how the entropy maps to the temperature"),                                             \
    SAMPLING_NUMBER(o, "repeat-penalty", repeat_penalty, 0.01, 100, "1",                                    \
                    "divide logits of recent tokens by this; 1: off"),                                      \
    SAMPLING_NUMBER(o, "frequency-penalty", frequency_penalty, -2, 2, "0",                                  \
                    "subtract this for each recent use of a token"),                                        \
    SAMPLING_NUMBER(o, "presence-penalty", presence_penalty, -2, 2, "0",                                    \
                    "subtract this once if a token was used recently"),                                     \
    SAMPLING_COUNT(o, "repeat-last-n", repeat_last_n, -1, INT32_MAX, "64",                                  \
                   "tokens that count as recent; -1: all, 0: off"),                                         \
    SAMPLING_NUMBER(o, "dry-multiplier", dry_multiplier, 0, 100, "0",                                       \
                    "DRY: penalty for repeating a sequence; 0: off"),                                       \
    SAMPLING_NUMBER(o, "dry-base", dry_base, 1, 100, "1.75", "DRY: growth per repeated token"),             \
    SAMPLING_COUNT(o, "dry-allowed-length", dry_allowed_length, 0, INT32_MAX, "2",                          \
                   "DRY: repeats up to this length are free"),                                              \
    SAMPLING_COUNT(o, "dry-penalty-last-n", dry_penalty_last_n, -1, INT32_MAX, "-1",                        \
                   "DRY: tokens to look back; -1: all"),                                                    \
    {.name = "dry-sequence-breaker", .type = OPT_LIST, .at = &(o).dry_breaker,                              \
     .help = "DRY: text that ends a sequence; default newline : \" *"},                                     \
    SAMPLING_COUNT(o, "mirostat", mirostat, 0, 2, "0",                                                      \
                   "1 or 2: that version of Mirostat instead of the cut-offs"),                             \
    SAMPLING_NUMBER(o, "mirostat-tau", mirostat_tau, 0, 100, "5", "Mirostat: surprise aimed at"),           \
    SAMPLING_NUMBER(o, "mirostat-eta", mirostat_eta, 0, 1, "0.1", "Mirostat: rate of learning"),            \
    SAMPLING_NUMBER(o, "adaptive-target", adaptive_target, -1, 1, "-1",                                     \
                    "adaptive-p: probability aimed at; below 0: off"),                                      \
    SAMPLING_NUMBER(o, "adaptive-decay", adaptive_decay, 0, 0.99, "0.9",                                    \
                    "adaptive-p: memory of earlier tokens"),                                                \
    SAMPLING_COUNT(o, "min-keep", min_keep, 0, INT32_MAX, "0", "tokens that every cut-off leaves"),         \
    SAMPLING_COUNT(o, "min-tokens", min_tokens, 0, INT32_MAX, "0", "no end before this many tokens"),       \
    {.name = "samplers", .type = OPT_STR, .at = &(o).samplers, .arg = "LIST",                               \
     .help = "order of the chain, e.g. penalties;dry;top_k;top_p;min_p;temperature"},                       \
    {.name = "logit-bias", .type = OPT_LIST, .at = &(o).logit_bias, .arg = "ID+X",                          \
     .help = "add X to the logit of token ID (ID-X, ID=X; ID=-inf forbids it)"},                            \
    {.name = "ignore-eos", .type = OPT_BOOL, .at = &(o).ignore_eos, .help = "go on after the end of the text"}

struct sampling {
    struct sample_params params;
    struct sample_bias *bias;
    struct tok_ids breaker_ids;
    uint32_t *breaker_at;
};
/* Checked parameters; the seed is drawn here when it is -1. out must be zeroed; deinit also after a
 * failure. */
status sampling_init(struct sampling *out, const struct sampling_options *o, const struct session *s,
                     struct error *e);
void sampling_deinit(struct sampling *s);

#endif
