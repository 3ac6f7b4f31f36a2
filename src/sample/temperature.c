/* Temperature, fixed or following the entropy of the candidates ("dynamic temperature", kalomaze 2023):
 * T = low + (high - low) * (entropy / greatest entropy) ^ exponent, low and high being temperature -+ range.
 */
#include <math.h>

#include "sample/strategy.h"

bool temperature_is_off(const struct sample_params *p)
{
    return p->temperature == 1 && p->dynatemp_range <= 0;
}

static double dynamic_temperature(struct sampler *s)
{
    struct cands *c = &s->c;
    double low = MAX(0.0, (double)s->p.temperature - s->p.dynatemp_range);
    double high = (double)s->p.temperature + s->p.dynatemp_range;
    double sum = cands_softmax(c), entropy = 0;
    if (c->n < 2) return s->p.temperature;
    for (uint32_t i = 0; i < c->n; i++) {
        double p = c->prob[i] / sum;
        if (p > 0) entropy -= p * log(p);
    }
    double share = MIN(MAX(entropy / log(c->n), 0.0), 1.0);
    return low + (high - low) * pow(share, s->p.dynatemp_exponent);
}

void temperature_apply(struct sampler *s)
{
    struct cands *c = &s->c;
    float t = s->p.dynatemp_range > 0 ? (float)dynamic_temperature(s) : s->p.temperature;
    if (t == 1) return;
    if (t <= 0) {
        cands_keep_one(c, cands_argmax(c));
        return;
    }
    /* A tiny temperature would turn the best logits into infinities: then divide distances from the best. */
    float max = cands_max(c), shift = fabsf(max / t) <= LOGIT_MAX ? 0 : max;
    float *logit = cands_own(c);
    for (uint32_t i = 0; i < c->n; i++) logit[i] = (logit[i] - shift) / t;
}
