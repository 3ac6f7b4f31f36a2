/* Repetition penalty over the window of prompt and output (Keskar et al., "CTRL", arXiv 1909.05858, section
 * 4.1), frequency and presence penalties over the output in that window (as OpenAI's API describes them). */
#include <math.h>

#include "sample/strategy.h"

bool penalties_is_off(const struct sample_params *p)
{
    return p->repeat_last_n == 0 ||
           (p->repeat_penalty == 1 && p->frequency_penalty == 0 && p->presence_penalty == 0);
}

/* A chain may apply these again and again: what that makes of an extreme logit stays a number. */
static inline float penalized(const struct sampler *s, float x, int32_t token)
{
    uint32_t out = s->recent.count_out[token];
    if (x == -INFINITY) return x;
    x = x > 0 ? x / s->p.repeat_penalty : x * s->p.repeat_penalty;
    x -= (float)out * s->p.frequency_penalty;
    if (out) x -= s->p.presence_penalty;
    return MIN(MAX(x, -LOGIT_MAX), LOGIT_MAX);
}

void penalties_apply(struct sampler *s)
{
    if (!s->recent.n_distinct) return;
    float *logit = cands_own(&s->c);
    if (!s->c.id) {
        for (uint32_t i = 0; i < s->recent.n_distinct; i++) {
            int32_t t = s->recent.distinct[i];
            logit[t] = penalized(s, logit[t], t);
        }
    } else {
        for (uint32_t i = 0; i < s->c.n; i++)
            if (s->recent.count[s->c.id[i]]) logit[i] = penalized(s, logit[i], s->c.id[i]);
    }
}
