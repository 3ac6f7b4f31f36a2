#include "engine/budget.h"

void budget_learn(struct budget *b, uint32_t n_token, int64_t took_ns)
{
    const double keep = 0.95, x = n_token, y = (double)took_ns;
    b->weight = b->weight * keep + 1;
    b->x = b->x * keep + x;
    b->y = b->y * keep + y;
    b->xx = b->xx * keep + x * x;
    b->xy = b->xy * keep + x * y;
}

uint32_t budget_tokens(const struct budget *b, int64_t target_ns, uint32_t least, uint32_t most)
{
    if (b->weight < 1) return most;
    double mean_x = b->x / b->weight, mean_y = b->y / b->weight, spread = b->xx / b->weight - mean_x * mean_x;
    /* Steps of all one size say nothing about where the time goes: then all of it to the tokens, which is
     * careful. */
    double per_token =
        spread > mean_x * mean_x * 1e-3 ? (b->xy / b->weight - mean_x * mean_y) / spread : mean_y / mean_x;
    per_token = MIN(MAX(per_token, 0), mean_y / mean_x); /* no step takes less than nothing */
    double left = (double)target_ns - (mean_y - per_token * mean_x);
    if (left >= per_token * most) return most;
    double n = left / per_token;
    return n > least ? (uint32_t)n : least;
}
