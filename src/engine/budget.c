#include "engine/budget.h"

static double mean_tokens(const struct budget *b)
{
    return b->x / b->weight;
}
static double mean_ns(const struct budget *b)
{
    return b->y / b->weight;
}

void budget_learn(struct budget *b, uint32_t n_token, int64_t took_ns)
{
    const double keep = 0.95, x = n_token, y = (double)took_ns;
    b->weight = b->weight * keep + 1;
    b->x = b->x * keep + x;
    b->y = b->y * keep + y;
    b->xx = b->xx * keep + x * x;
    b->xy = b->xy * keep + x * y;
    /* Steps of all one size say nothing about where the time goes: what was known before stays. */
    double mx = mean_tokens(b), my = mean_ns(b), spread = b->xx / b->weight - mx * mx;
    if (spread > mx * mx * 1e-3) b->per_token = MAX((b->xy / b->weight - mx * my) / spread, 0);
}

/* No step takes less than nothing; and as long as nothing is known all time goes to the tokens, which is
 * careful. */
static double per_token(const struct budget *b)
{
    double all = mean_ns(b) / mean_tokens(b);
    return b->per_token > 0 ? MIN(b->per_token, all) : all;
}

uint32_t budget_tokens(const struct budget *b, int64_t target_ns, uint32_t least, uint32_t most)
{
    if (b->weight < 1) return most;
    double each = per_token(b), left = (double)target_ns - (mean_ns(b) - each * mean_tokens(b));
    if (left >= each * most) return most;
    double n = left / each;
    return n > least ? (uint32_t)n : least;
}

int64_t budget_step_ns(const struct budget *b)
{
    return b->weight < 1 ? 0 : (int64_t)mean_ns(b);
}

double budget_price(const struct budget *b, uint32_t n)
{
    const double unknown = 0.1; /* low enough to try, and to learn from it */
    if (b->per_token <= 0) return unknown;
    double each = per_token(b), fixed = mean_ns(b) - each * mean_tokens(b);
    return each * n / (MAX(fixed, 0) + each * n);
}
