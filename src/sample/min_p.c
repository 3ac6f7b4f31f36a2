/* Keep tokens at least min_p times as probable as the best (Nguyen et al., arXiv 2407.01082); as a bound on
 * logits, so without a softmax. */
#include <math.h>

#include "sample/strategy.h"

bool min_p_is_off(const struct sample_params *p)
{
    return p->min_p <= 0;
}

void min_p_apply(struct sampler *s)
{
    float least = cands_max(&s->c) + logf(s->p.min_p);
    if (s->p.min_keep > 1) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < s->c.n; i++) n += s->c.logit[i] >= least;
        if (n < s->p.min_keep) {
            cands_keep_top(&s->c, s->p.min_keep);
            return;
        }
    }
    cands_keep_logit(&s->c, least);
}
