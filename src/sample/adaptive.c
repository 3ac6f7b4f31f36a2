/* Adaptive-p: prefer tokens of about a given probability (MrJackSpade and ddh0, llama.cpp pull request 17927;
 * the formulas are in docs/sampling.md). The average of the probabilities chosen so far, each weighing
 * `decay` of the one after it, moves the target against its own error. */
#include <math.h>

#include "sample/strategy.h"

static const double PEAK = 5, SHARPNESS = 10, WIDTH = 0.3;

bool adaptive_is_off(const struct sample_params *p)
{
    return p->adaptive_target < 0;
}

void adaptive_apply(struct sampler *s)
{
    struct cands *c = &s->c;
    double target = 2 * (double)s->p.adaptive_target - s->learned / s->adaptive_weight;
    target = MIN(MAX(target, 0.0), 1.0);

    double sum = cands_softmax(c);
    float *logit = cands_own(c);
    for (uint32_t i = 0; i < c->n; i++) {
        c->score[i] = (float)(c->prob[i] / sum);
        if (logit[i] == -INFINITY) continue;
        double d = fabs(c->score[i] - target) / WIDTH;
        logit[i] = (float)(PEAK - SHARPNESS * d * d / (1 + d));
    }
    draw_pick(s, cands_softmax(c));
    s->pending = (struct pending){cands_id(c, s->pick), c->score[s->pick]};
}

double adaptive_learn(const struct sampler *s)
{
    return s->pending.value + s->p.adaptive_decay * s->learned;
}
