/* Guesses at the next tokens. Wrong guesses cost some of a step's work and nothing else, since each is
 * compared with the token that is drawn. Private to src/engine.
 *
 * Sources, the first that has something to say: a cursor over a given prediction, which stands where the
 * answer does and finds its place again after a difference; prompt lookup (Saxena, "Prompt lookup decoding",
 * 2023): where the last three tokens stood before, the text may go on as it did there. How many guesses are
 * worth their work is decided by what share of a source's guesses were right and what a further token in a
 * step costs now: with many sequences at once, few or none. */
#ifndef CORRAL_ENGINE_DRAFT_H
#define CORRAL_ENGINE_DRAFT_H

#include "base/base.h"

enum draft_source {
    DRAFT_CURSOR, DRAFT_LOOKUP, DRAFT_MODEL /* draft_model.h */, DRAFT_FORCED /* by a constraint */,
    DRAFT_N_SOURCE
};

struct draft { /* caller's storage; zeroed never guesses */
    uint32_t  max;      /* guesses at once, at most; 0: none */
    uint32_t *slot;     /* hash of three tokens: the position behind them, latest first; 0 is none */
    uint32_t  n_slot, n_indexed;
    int32_t  *prediction;
    uint32_t  n_prediction, cursor, n_followed; /* the cursor stands behind token[0..n_followed) */
    bool      lost;     /* it does not know where */
    struct draft_record { double n_right, n_judged; uint32_t n_idle; } record[DRAFT_N_SOURCE];
    enum draft_source last; /* of the last proposal */
    uint32_t  n_cursor, n_cursor_right;
};

/* The answer begins behind n_prompt tokens; prediction (copied) is what it may be. */
void     draft_init(struct draft *d, uint32_t max, uint32_t n_prompt, const int32_t *prediction,
                    uint32_t n_prediction);
void     draft_deinit(struct draft *d);
/* Up to `most` guesses at what follows token[0..n) into out. price: what one more token adds to a step, as a
 * share of what the step yields each token for now (0: nothing, 1: as much); see budget_price. */
uint32_t draft_propose(struct draft *d, const int32_t *token, uint32_t n, uint32_t most, double price,
                       int32_t *out);
/* How many guesses of this source are worth it; they count as the last proposal. */
uint32_t draft_worth(struct draft *d, enum draft_source source, double price, uint32_t most);
/* Of n_tried guesses, the last proposal's, the first n_right were drawn. */
void     draft_learn(struct draft *d, uint32_t n_tried, uint32_t n_right);

#endif
