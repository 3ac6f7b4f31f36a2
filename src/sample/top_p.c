/* Nucleus sampling (Holtzman et al., arXiv 1904.09751): keep the smallest set of best tokens that holds top_p
 * of the probability. */
#include "sample/strategy.h"

bool top_p_is_off(const struct sample_params *p)
{
    return p->top_p >= 1;
}

void top_p_apply(struct sampler *s)
{
    double sum = cands_softmax(&s->c);
    cands_keep_mass(&s->c, s->c.logit, s->p.top_p * sum, s->p.min_keep);
}
