/* Guesses at the next tokens by prompt lookup (Saxena, "Prompt lookup decoding", 2023): where the last three tokens
 * stood before, the text may go on as it did there. Wrong guesses cost some of a step's work and nothing else, since
 * each is compared with the token that is drawn. Private to src/engine. */
#ifndef CORRAL_ENGINE_DRAFT_H
#define CORRAL_ENGINE_DRAFT_H

#include "base/base.h"

struct draft { /* caller's storage; zeroed never guesses */
    uint32_t *slot; /* hash of three tokens: the position behind them, latest first; 0 is none */
    uint32_t  n_slot, n_indexed;
    uint32_t  max, size; /* guesses: at most, and next time */
    uint32_t  n_wrong;   /* in a row with nothing right */
    uint32_t  pause;     /* tokens until the next try */
};

void     draft_init(struct draft *d, uint32_t max);
void     draft_deinit(struct draft *d);
/* Up to `most` guesses at what follows token[0..n) into out. */
uint32_t draft_propose(struct draft *d, const int32_t *token, uint32_t n, uint32_t most, int32_t *out);
/* Of n_tried guesses the first n_right were drawn. */
void     draft_learn(struct draft *d, uint32_t n_tried, uint32_t n_right);

#endif
