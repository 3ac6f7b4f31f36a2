#include <math.h>

#include "sample/strategy.h"

bool bias_is_off(const struct sample_params *p)
{
    return !p->n_bias;
}

/* Runs on the raw logits: a forbidding bias wins over anything that stands there, NaN and infinity too. */
void bias_apply(struct sampler *s)
{
    float *logit = cands_own(&s->c);
    for (uint32_t i = 0; i < s->p.n_bias; i++) {
        const struct sample_bias *b = &s->p.bias[i];
        if (b->bias == -INFINITY)
            logit[b->token] = -INFINITY;
        else
            logit[b->token] += b->bias;
    }
}
