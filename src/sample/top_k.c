#include "sample/strategy.h"

bool top_k_is_off(const struct sample_params *p)
{
    return p->top_k <= 0;
}

void top_k_apply(struct sampler *s)
{
    cands_keep_top(&s->c, MAX((uint32_t)s->p.top_k, s->p.min_keep));
}
