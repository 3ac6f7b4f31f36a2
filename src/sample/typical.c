/* Locally typical sampling (Meister et al., arXiv 2202.00666): keep the tokens whose surprise is nearest to
 * the expected one, until they hold typical_p of the probability. */
#include <math.h>

#include "sample/strategy.h"

bool typical_is_off(const struct sample_params *p)
{
    return p->typical_p >= 1;
}

void typical_apply(struct sampler *s)
{
    struct cands *c = &s->c;
    double sum = cands_softmax(c), log_total = cands_max(c) + log(sum), entropy = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->prob[i] > 0) entropy += c->prob[i] / sum * (log_total - c->logit[i]);
    for (uint32_t i = 0; i < c->n; i++) c->score[i] = -(float)fabs(log_total - c->logit[i] - entropy);
    cands_keep_mass(c, c->score, s->p.typical_p * sum, 0, s->p.min_keep);
}
