/* What each part of a model takes, by the backend's own planner: it is asked about slices. */
#include <stdlib.h>

#include "backend/backend.h"

struct scale {
    const struct backend_api *api;
    struct backend *b;
    const struct model_desc *m;
    const struct backend_limits *l;
};

/* Bytes of the weights of some operations, without RoPE tables. */
static status weigh_ops(const struct scale *s, struct op_range r, uint64_t *out, struct error *e)
{
    struct model_desc slice;
    struct backend_plan plan;
    struct backend_limits l = *s->l;
    model_slice_init(&slice, s->m, r);
    slice.n_rope = 0;
    if (!model_ends(&slice)) l.max_logits = 0;
    status st = s->api->plan(s->b, &slice, &l, &plan, e);
    model_slice_deinit(&slice);
    if (st == OK) *out = (uint64_t)plan.weight_bytes + plan.mapped_bytes;
    return st;
}

static status weigh_all(struct backend_weights *w, const struct scale *s, struct error *e)
{
    const uint32_t n = s->m->cfg.n_layer;
    const struct op_range all = {0, s->m->n_op}, layers = model_layers(s->m, 0, n);
    struct backend_plan plan;
    uint64_t whole, sum;
    TRY(weigh_ops(s, (struct op_range){0, layers.from}, &w->first_bytes, e));
    TRY(weigh_ops(s, (struct op_range){layers.to, s->m->n_op}, &w->last_bytes, e));
    TRY(weigh_ops(s, all, &whole, e));
    TRY(s->api->plan(s->b, s->m, s->l, &plan, e));
    sum = w->first_bytes + w->last_bytes;
    for (uint32_t i = 0; i < n; i++) {
        TRY(weigh_ops(s, model_layers(s->m, i, 1), &w->layer_bytes[i], e));
        sum += w->layer_bytes[i];
    }
    /* What is in both ends is there once when one device has both. */
    w->tied_bytes = sum > whole ? sum - whole : 0;
    w->last_bytes -= MIN(w->tied_bytes, w->last_bytes);
    w->each_bytes = (uint64_t)plan.weight_bytes + plan.mapped_bytes - whole; /* RoPE */
    return OK;
}

status backend_weigh(struct backend_weights *out, const struct backend_api *api, struct backend *b,
                     const struct model_desc *m, const struct backend_limits *l, struct error *e)
{
    const struct scale s = {api, b, m, l};
    *out = (struct backend_weights){.layer_bytes =
                                        mem_zalloc(MAX(m->cfg.n_layer, 1u), sizeof *out->layer_bytes)};
    status st = weigh_all(out, &s, e);
    if (st != OK) backend_weights_deinit(out);
    return st;
}

void backend_weights_deinit(struct backend_weights *w)
{
    free(w->layer_bytes);
    *w = (struct backend_weights){0};
}
