/* The last step: the best candidate, or one drawn by its probability. */
#include "base/rng.h"
#include "sample/strategy.h"

bool greedy_is_off(const struct sample_params *p)
{
    return p->temperature > 0 || p->dynatemp_range > 0;
}
void greedy_apply(struct sampler *s)
{
    cands_keep_one(&s->c, cands_argmax(&s->c));
}

/* The inverse of the cumulative distribution over candidates in token order, first by blocks. */
void draw_pick(struct sampler *s, double sum)
{
    const struct cands *c = &s->c;
    double u = rng_uniform(s->p.seed, s->p.choice, s->position, LANE_DRAW) * sum;
    uint32_t n_block = (c->n + CANDS_BLOCK - 1) / CANDS_BLOCK, block = 0;
    for (; block + 1 < n_block && u >= c->block_sum[block]; block++) u -= c->block_sum[block];

    /* Rounding may leave u just above what is left to walk over: then it is the last possible candidate. */
    uint32_t end = MIN(c->n, (block + 1) * CANDS_BLOCK);
    bool found = false;
    for (uint32_t i = block * CANDS_BLOCK; i < end; i++) {
        if (c->prob[i] <= 0) continue;
        s->pick = i;
        found = true;
        if (u < c->prob[i]) return;
        u -= c->prob[i];
    }
    for (uint32_t i = end; i-- > 0 && !found;) {
        s->pick = i;
        found = c->prob[i] > 0;
    }
}

bool draw_is_off(const struct sample_params *p)
{
    return false;
}
void draw_apply(struct sampler *s)
{
    draw_pick(s, cands_softmax(&s->c));
}
