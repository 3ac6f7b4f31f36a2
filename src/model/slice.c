/* Some of a model's operations as a model of their own. */
#include <stdlib.h>

#include "model/model.h"

enum { MAX_REFS = 16 };

struct refs {
    wref *at[MAX_REFS];
    size_t n;
};

static void add(struct refs *r, wref *at)
{
    ASSERT(r->n < MAX_REFS);
    if (*at) r->at[r->n++] = at;
}
static void add_norm(struct refs *r, struct norm *n)
{
    add(r, &n->weight);
    add(r, &n->bias);
}
static void add_linear(struct refs *r, struct linear *l)
{
    add(r, &l->weight);
    add(r, &l->bias);
}

/* Every weight that an operation names, and where it names it. */
static struct refs refs_of(struct op *op)
{
    struct refs r = {.n = 0};
    switch (op->kind) {
    case OP_EMBED:
        add(&r, &op->embed.table);
        add(&r, &op->embed.position);
        break;
    case OP_QKV:
        add_norm(&r, &op->qkv.norm);
        add_linear(&r, &op->qkv.q);
        add_linear(&r, &op->qkv.k);
        add_linear(&r, &op->qkv.v);
        add_linear(&r, &op->qkv.fused);
        add_norm(&r, &op->qkv.q_norm);
        add_norm(&r, &op->qkv.k_norm);
        break;
    case OP_ATTN:
        add_linear(&r, &op->attn.out);
        add_norm(&r, &op->attn.post_norm);
        break;
    case OP_FFN:
        add_norm(&r, &op->ffn.norm);
        add_norm(&r, &op->ffn.post_norm);
        add_linear(&r, &op->ffn.gate);
        add_linear(&r, &op->ffn.up);
        add_linear(&r, &op->ffn.down);
        break;
    case OP_MOE:
        add_norm(&r, &op->moe.norm);
        add_norm(&r, &op->moe.post_norm);
        add(&r, &op->moe.router);
        add(&r, &op->moe.gate);
        add(&r, &op->moe.up);
        add(&r, &op->moe.down);
        add(&r, &op->moe.sh_router);
        add(&r, &op->moe.sh_gate);
        add(&r, &op->moe.sh_up);
        add(&r, &op->moe.sh_down);
        break;
    case OP_LOGITS:
        add_norm(&r, &op->logits.norm);
        add_linear(&r, &op->logits.out);
        break;
    }
    return r;
}

/* The layer that an operation is of; NULL: the embedding and the output are of none. */
static uint32_t *layer_of(struct op *op)
{
    switch (op->kind) {
    case OP_QKV: return &op->qkv.layer;
    case OP_ATTN: return &op->attn.layer;
    case OP_FFN: return &op->ffn.layer;
    case OP_MOE: return &op->moe.layer;
    case OP_EMBED:
    case OP_LOGITS: break;
    }
    return NULL;
}

struct op_range model_layers(const struct model_desc *m, uint32_t layer, uint32_t n_layer)
{
    struct op_range r = {m->n_op, 0};
    for (uint32_t i = 0; i < m->n_op; i++) {
        struct op op = m->op[i];
        const uint32_t *of = layer_of(&op);
        if (!of || *of < layer || *of - layer >= n_layer) continue;
        r.from = MIN(r.from, i);
        r.to = i + 1;
    }
    return r;
}

struct op_range model_part(const struct model_desc *m, uint32_t layer, uint32_t n_layer)
{
    struct op_range r = model_layers(m, layer, n_layer);
    if (layer == 0) r.from = 0;
    if (layer + n_layer == m->cfg.n_layer) r.to = m->n_op;
    return r;
}

/* Weights that the operations of the slice name, in the order of the model; new_of: their numbers in the
 * slice. */
static void take_weights(struct model_desc *out, const struct model_desc *m, wref *new_of)
{
    for (uint32_t i = 0; i < out->n_op; i++) {
        const struct refs refs = refs_of(&out->op[i]);
        for (size_t k = 0; k < refs.n; k++) new_of[*refs.at[k]] = 1;
    }
    new_of[out->rank.weight] = new_of[out->rank.bias] = 1;
    for (wref w = 1; w < m->n_weight; w++) {
        if (!new_of[w]) continue;
        new_of[w] = out->n_weight;
        out->weight[out->n_weight++] = m->weight[w];
    }
    new_of[0] = 0;
}

void model_slice_init(struct model_desc *out, const struct model_desc *m, struct op_range r)
{
    wref *new_of = mem_zalloc(m->n_weight, sizeof *new_of);
    uint32_t first = UINT32_MAX, last = 0;
    *out = (struct model_desc){.cfg = m->cfg, .n_weight = 1};
    out->weight = mem_zalloc(m->n_weight, sizeof *out->weight);
    out->op = mem_zalloc(MAX(r.to - r.from, 1u), sizeof *out->op);
    for (uint32_t i = r.from; i < r.to; i++) {
        struct op *op = &out->op[out->n_op++];
        *op = m->op[i];
        uint32_t *layer = layer_of(op);
        if (layer && first == UINT32_MAX) first = *layer;
        if (layer) last = *layer -= first;
        if (op->kind == OP_QKV) out->rope = m->rope, out->n_rope = m->n_rope;
        if (op->kind == OP_LOGITS) out->rank = m->rank;
    }
    take_weights(out, m, new_of);
    for (uint32_t i = 0; i < out->n_op; i++) {
        const struct refs refs = refs_of(&out->op[i]);
        for (size_t k = 0; k < refs.n; k++) *refs.at[k] = new_of[*refs.at[k]];
    }
    out->rank = (struct linear){new_of[out->rank.weight], new_of[out->rank.bias]};
    out->cfg.n_layer = first == UINT32_MAX ? 0 : last + 1;
    free(new_of);
}

void model_slice_deinit(struct model_desc *s)
{
    free(s->weight);
    free(s->op);
    *s = (struct model_desc){0};
}
