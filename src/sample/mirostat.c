/* Mirostat (Basu et al., arXiv 2007.14966): steer the surprise of the text towards tau bits by a moving bound
 * mu, which every accepted token corrects: mu -= eta * (surprise - tau). It starts at 2 tau. */
#include <math.h>

#include "sample/strategy.h"

bool mirostat_is_off(const struct sample_params *p)
{
    return p->mirostat == 0;
}

/* Version 1: estimate the exponent of Zipf's law from the 100 best tokens, and from it the k whose expected
 * surprise is mu (equations 13 and 30 of the paper). 0: no estimate is possible. */
static uint32_t zipf_k(struct sampler *s)
{
    enum { BEST = 100 };
    struct cands *c = &s->c;
    double tb = 0, tt = 0;
    const uint64_t *best = c->key;
    uint32_t m = key_best(c->key, c->logit, c->n, BEST);
    key_sort(c->key, m);
    for (uint32_t i = 0; i + 1 < m; i++) {
        double t = log((i + 2.0) / (i + 1.0));
        double b = (double)c->logit[key_index(best[i])] - c->logit[key_index(best[i + 1])];
        tb += t * b;
        tt += t * t;
    }
    if (tt == 0 || tb <= 0) return 0;
    double exponent = tb / tt, epsilon = exponent - 1;
    double n = c->n;
    /* (1 - n^-epsilon) / epsilon goes to log n as epsilon goes to 0. */
    double norm = fabs(epsilon) < 1e-9 ? log(n) : (1 - pow(n, -epsilon)) / epsilon;
    double k = pow(pow(2, s->learned) / norm, 1 / exponent);
    return k >= n ? c->n : k < 1 || isnan(k) ? 1 : (uint32_t)round(k);
}

/* Version 2: drop tokens whose surprise exceeds mu, never the best. */
static void drop_surprising(struct sampler *s)
{
    struct cands *c = &s->c;
    double max = cands_max(c), log_sum = log(cands_softmax(c));
    double least = max + log_sum - s->learned * log(2);
    if (least > max)
        cands_keep_one(c, cands_argmax(c));
    else
        cands_keep_logit(c, (float)least);
}

void mirostat_apply(struct sampler *s)
{
    if (s->p.mirostat == 1) {
        uint32_t k = zipf_k(s);
        if (k) cands_keep_top(&s->c, k);
    } else {
        drop_surprising(s);
    }
    double sum = cands_softmax(&s->c);
    draw_pick(s, sum);
    s->pending = (struct pending){cands_id(&s->c, s->pick), -log2(s->c.prob[s->pick] / sum)};
}

double mirostat_learn(const struct sampler *s)
{
    return s->learned - s->p.mirostat_eta * (s->pending.value - s->p.mirostat_tau);
}
