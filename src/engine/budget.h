/* How many tokens a step may have so that those who wait for their next token get it in time. A step's
 * duration is taken to be fixed + per_token x tokens; both are fitted to the steps that ran, the later ones
 * counting more. Private to src/engine. */
#ifndef CORRAL_ENGINE_BUDGET_H
#define CORRAL_ENGINE_BUDGET_H

#include "base/base.h"

struct budget { /* zeroed knows nothing */
    double weight, x, y, xx, xy; /* fading sums */
    double per_token;            /* ns, as last fitted while steps differed in size; 0: not yet */
};

void     budget_learn(struct budget *b, uint32_t n_token, int64_t took_ns);
/* Tokens of a step that takes target_ns, at most `most` and at least `least`.
 * `most` while nothing is known. */
uint32_t budget_tokens(const struct budget *b, int64_t target_ns, uint32_t least, uint32_t most);
int64_t  budget_step_ns(const struct budget *b); /* a step, on average; 0: unknown */
/* What one more token costs in a step that n sequences decode in, as a share of what each of their tokens
 * costs: near 0 while a step's time is mostly reading the weights, near 1 with many sequences. */
double   budget_price(const struct budget *b, uint32_t n);

#endif
