/* Nucleus sampling (Holtzman et al., arXiv 1904.09751): keep the smallest set of best tokens that holds top_p
 * of the probability. */
#include "sample/strategy.h"

bool top_p_is_off(const struct sample_params *p)
{
    return p->top_p >= 1;
}

/* Tokens below the n-th part of the mass that may go hold less than that mass together, so they all go: of a
 * vocabulary most tokens are sorted out without looking for the threshold among them. */
void top_p_apply(struct sampler *s)
{
    double sum = cands_softmax(&s->c), rest = (1 - (double)s->p.top_p) * sum;
    double least_prob = s->p.min_keep > 1 ? 0 : 0.99 * rest / s->c.n;
    cands_keep_mass(&s->c, s->c.logit, s->p.top_p * sum, MIN(least_prob, 1.0), s->p.min_keep);
}
