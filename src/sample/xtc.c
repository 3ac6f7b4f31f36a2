/* Exclude top choices (p-e-w, text-generation-webui pull request 6335): with probability xtc_probability, of
 * the tokens at least xtc_threshold probable drop all but the least. */
#include "base/rng.h"
#include "sample/strategy.h"

/* Above 0.5 no two tokens can reach the threshold. */
bool xtc_is_off(const struct sample_params *p)
{
    return p->xtc_probability <= 0 || p->xtc_threshold > 0.5f;
}

void xtc_apply(struct sampler *s)
{
    struct cands *c = &s->c;
    if (rng_uniform(s->p.seed, s->p.choice, s->position, LANE_XTC) >= s->p.xtc_probability) return;
    double limit = cands_softmax(c) * s->p.xtc_threshold;
    uint32_t n_top = 0, stays = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->prob[i] < limit || c->prob[i] <= 0) continue;
        if (!n_top++ || c->logit[i] <= c->logit[stays]) stays = i;
    }
    if (n_top < 2 || c->n - (n_top - 1) < s->p.min_keep) return;
    for (uint32_t i = 0; i < c->n; i++) c->key[i] = i == stays || c->prob[i] < limit || c->prob[i] <= 0;
    cands_keep_marked(c);
}
