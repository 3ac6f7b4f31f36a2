/* A draw as plain data, so that it can be made where the logits are: the common strategies as a list of operations.
 * sampler_program writes it, a device runs it (backend/gpu/dev/draw.cu), and sampler_take makes of the answer what
 * sampler_draw would have said: for the same logits the same token. Read as C and as C++. */
#ifndef CORRAL_SAMPLE_PROGRAM_H
#define CORRAL_SAMPLE_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PROGRAM_OPS = 8,
    PROGRAM_EDITS = 512,        /* biases, forbidden tokens and penalized tokens together */
    PROGRAM_TOP = 32,           /* alternatives with their log-probabilities */
    PROGRAM_MAX_VOCAB = 1 << 19 /* so that sums of 44-bit fractions have room in 64 bits */
};

enum program_op_kind { PROGRAM_PENALTIES, PROGRAM_TOP_K, PROGRAM_TOP_P, PROGRAM_MIN_P, PROGRAM_TEMPERATURE };
struct program_op {
    uint32_t kind;
    uint32_t count; /* top_k: how many are kept */
    float    value; /* top_p: the mass; min_p: its logarithm; temperature */
};

struct program_edit {
    int32_t  token;
    float    bias;  /* added to the raw logit; -INFINITY forbids */
    uint32_t n_out; /* penalties: how often the token is in the output */
};

struct sample_program {
    double   u; /* uniform in [0, 1): what draws, from seed, choice and position */
    uint32_t n_bias, n_forbid, n_penalty; /* of edit, in this order; no token twice in one of them */
    uint32_t n_op, min_keep;
    uint32_t n_top;                       /* alternatives wanted */
    bool     greedy, report;              /* report: log-probabilities are wanted */
    float    repeat, frequency, presence; /* penalties */
    struct program_op op[PROGRAM_OPS];
    const struct program_edit *edit;
    const uint32_t *mask; /* NULL, or a bit per token, 0: forbidden */
};

struct program_answer {
    int32_t  token; /* -1: nothing can be chosen */
    uint32_t n_top;
    double   sum;        /* report: of exp(x - max) over the model's logits x */
    float    max, logit; /* the greatest of them, that of the token */
    struct { int32_t token; float logit; } top[PROGRAM_TOP]; /* best first */
};

#endif
