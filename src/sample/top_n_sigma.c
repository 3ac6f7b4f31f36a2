/* Keep logits within n standard deviations of the best (Tang et al., "Top-n-sigma", arXiv 2411.07641).
 * Forbidden tokens do not count for the deviation. */
#include <math.h>

#include "sample/strategy.h"

bool top_n_sigma_is_off(const struct sample_params *p)
{
    return !(p->top_n_sigma > 0);
}

void top_n_sigma_apply(struct sampler *s)
{
    const struct cands *c = &s->c;
    const float max = cands_max(c);
    double n = 0, sum = 0, square = 0; /* of the distances from the best */
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->logit[i] == -INFINITY) continue;
        double d = (double)max - c->logit[i];
        n++;
        sum += d;
        square += d * d;
    }
    double mean = sum / n, variance = MAX(square / n - mean * mean, 0.0);
    cands_keep_logit(&s->c, (float)(max - s->p.top_n_sigma * sqrt(variance)));
}
