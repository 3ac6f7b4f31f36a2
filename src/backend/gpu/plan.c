/* How much memory a model and its steps take on a device, and where everything lies in it. */
#include "backend/gpu/gpu_int.h"

/* A matrix is decoded in panels that stay in the second-level cache until they are multiplied. One of 4096
 * rows of 4096 makes 128 tiles with 512 tokens: about one per core of a large card. */
enum { PANEL_BYTES = 32 << 20 };

void *gpu_take(struct gpu_bump *b, size_t n, size_t bytes)
{
    size_t at = b->used;
    b->used = round_up(b->used + n * bytes, GPU_ALIGN);
    return b->mem ? b->mem + at : NULL;
}

static void take_acts(struct gpu_bump *b, struct gpu_acts *a, size_t rows, size_t n)
{
    a->ld = (uint32_t)round_up(n, GPU_PAD);
    a->f = gpu_take(b, rows * a->ld, sizeof(float));
    a->b = gpu_take(b, rows * a->ld, sizeof(uint16_t));
}

/* Fixed parts, so that sums do not depend on what else is in a step; at most GPU_MAX_PARTS of them. */
uint32_t gpu_part_keys(const struct backend_limits *l)
{
    uint32_t even = (l->max_context + GPU_MAX_PARTS - 1) / GPU_MAX_PARTS;
    return MAX((uint32_t)GPU_MIN_PART, (uint32_t)round_up(even, 64));
}

/* The widest hidden row of an FFN or an expert. */
static size_t widest_hidden(const struct model_config *c)
{
    return MAX(MAX((size_t)c->n_ff, (size_t)1), c->n_expert ? MAX(c->n_ff_expert, c->n_ff_shared) : 0u);
}

/* Room for the rows of the largest matrix that is decoded, or a panel of them. */
static size_t panel_bytes(const struct model_desc *m)
{
    size_t largest = 0, row = 0;
    for (uint32_t i = 1; i < m->n_weight; i++) {
        const struct weight *w = &m->weight[i];
        if (w->rank != 2) continue;
        const size_t bytes = round_up((size_t)w->dim[1], GPU_MAX_BLOCK) * sizeof(uint16_t);
        row = MAX(row, bytes);
        largest = MAX(largest, round_up((size_t)w->dim[0], GPU_PANEL_ROWS) * bytes);
    }
    return MAX(MIN(largest, (size_t)PANEL_BYTES), GPU_PANEL_ROWS * row);
}

void gpu_scratch_layout(struct gpu_scratch *s, void *mem, const struct gpu_ops *ops,
                        const struct model_desc *m, const struct backend_limits *l)
{
    const struct model_config *c = &m->cfg;
    const size_t t = l->max_tokens, hd = c->head_dim, nq = hd * c->n_head, nkv = hd * c->n_head_kv;
    const size_t used = c->n_expert ? c->n_expert_used : 0, slots = t * MAX(used, (size_t)1);
    struct gpu_bump b = {mem, 0};

    *s = (struct gpu_scratch){.hidden = (uint32_t)round_up(widest_hidden(c), GPU_PAD)};
    for (uint32_t i = 0; i < m->n_rope; i++) s->n_pair = MAX(s->n_pair, m->rope[i].n_pair);
    take_acts(&b, &s->h, t, c->n_embd);
    take_acts(&b, &s->o, t, nq);
    take_acts(&b, &s->u, slots, s->hidden);
    s->x = gpu_take(&b, t * c->n_embd, sizeof(float));
    s->y = gpu_take(&b, t * c->n_embd, sizeof(float));
    s->qkv = gpu_take(&b, t * (nq + 2 * nkv), sizeof(float));
    s->q = gpu_take(&b, t * nq, sizeof(uint16_t));
    s->gate_up = gpu_take(&b, slots * 2 * s->hidden, sizeof(float));
    if (used) {
        s->down = gpu_take(&b, slots * c->n_embd, sizeof(float));
        s->route_logits = gpu_take(&b, t * c->n_expert, sizeof(float));
        s->route_gate = gpu_take(&b, slots, sizeof(float));
        s->chosen = gpu_take(&b, slots, sizeof(uint32_t));
        s->order = gpu_take(&b, slots, sizeof(uint32_t));
        s->work = gpu_take(&b, slots, sizeof(struct gpu_work));
        s->n_work = gpu_take(&b, 1, sizeof(uint32_t));
    }
    s->cos_sin = gpu_take(&b, m->n_rope * t * 2 * s->n_pair, sizeof(float));
    s->logits = gpu_take(&b, (size_t)l->max_logits * c->n_vocab, sizeof(float));
    const uint32_t part = gpu_part_keys(l);
    if (l->max_context > part)
        s->part_rows = (size_t)l->max_seqs * c->n_head * ((l->max_context + part - 1) / part);
    s->part = gpu_take(&b, s->part_rows * (hd + 2), sizeof(float));
    if (l->max_tokens >= GPU_GEMM_ROWS) {
        s->panel_bytes = panel_bytes(m);
        s->panel = gpu_take(&b, s->panel_bytes, 1);
    }
    if (l->max_tokens >= GPU_LIBRARY_ROWS) {
        s->room_bytes = ops->library_bytes;
        s->room = gpu_take(&b, s->room_bytes, 1);
    }
    gpu_draws_layout(&s->draws, &b, m, l);
    s->total_bytes = b.used;
}

void gpu_inputs_layout(struct gpu_inputs *in, void *mem, const struct gpu_shape *s)
{
    struct gpu_bump b = {mem, 0};
    in->token = gpu_take(&b, s->n_tok, sizeof(uint32_t));
    in->pos = gpu_take(&b, s->n_tok, sizeof(uint32_t));
    in->kv_slot = gpu_take(&b, s->n_tok, sizeof(uint32_t));
    in->row = gpu_take(&b, s->n_row, sizeof(uint32_t));
    in->hidden = gpu_take(&b, s->n_hidden, sizeof(uint32_t));
    in->tile = gpu_take(&b, s->n_tile, sizeof(struct gpu_tile));
    in->merge = gpu_take(&b, s->n_merge, sizeof(struct gpu_merge));
    in->bytes = b.used;
    in->table = gpu_take(&b, 0, sizeof(uint32_t));
}

static status check_shape(const struct model_config *c, const struct backend_limits *l, const char *target,
                          struct error *e)
{
    const uint64_t row = MAX(MAX((uint64_t)c->n_embd, (uint64_t)c->n_head * c->head_dim), widest_hidden(c));
    const uint64_t rows = (uint64_t)l->max_tokens * MAX(c->n_expert_used, 1u);
    if (c->head_dim > GPU_MAX_HEAD_DIM)
        return fail(e, ERR_UNSUPPORTED, "the %s backend does heads of up to %d numbers, this model has %u",
                    target, GPU_MAX_HEAD_DIM, c->head_dim);
    if (c->n_head_kv == 0 || c->n_head / c->n_head_kv > GPU_ATTN_ROWS)
        return fail(e, ERR_UNSUPPORTED, "the %s backend does up to %d query heads per KV head", target,
                    GPU_ATTN_ROWS);
    if (c->n_expert > GPU_MAX_EXPERTS)
        return fail(e, ERR_UNSUPPORTED, "the %s backend does up to %d experts, this model has %u", target,
                    GPU_MAX_EXPERTS, c->n_expert);
    if (rows * (row + GPU_PAD) >= UINT32_MAX) /* kernels count numbers of activations in 32 bits */
        return fail(e, ERR_LIMIT, "steps of %u tokens are too large for this model: choose fewer",
                    l->max_tokens);
    return OK;
}

status gpu_sizes(struct gpu_sizes *out, const struct gpu_ops *ops, const struct model_desc *m,
                 const struct backend_limits *l, struct error *e)
{
    const struct model_config *c = &m->cfg;
    struct gpu_weights w = {0};
    struct gpu_scratch s;
    struct gpu_inputs in;
    *out = (struct gpu_sizes){.part_keys = gpu_part_keys(l)};
    TRY(check_shape(c, l, ops->target, e));
    out->tile_tokens = GPU_ATTN_ROWS / (c->n_head / c->n_head_kv);
    status st = gpu_weights_layout(&w, NULL, ops, m, e);
    out->weight_bytes = w.total_bytes;
    gpu_weights_deinit(&w);
    TRY(st);
    gpu_scratch_layout(&s, NULL, ops, m, l);
    out->scratch_bytes = s.total_bytes;

    const uint32_t tokens = MAX(l->max_tokens, (uint32_t)GPU_GRAPH_TOKENS);
    const uint32_t tiles = l->max_tokens / out->tile_tokens + l->max_seqs * (GPU_MAX_PARTS + 1);
    out->most = (struct gpu_shape){tokens, tokens, l->max_tokens, 2 * tiles, MAX(l->max_seqs, tokens), 0};
    gpu_inputs_layout(&in, NULL, &out->most);
    const size_t per_seq = ((size_t)l->max_context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    out->input_bytes = in.bytes + l->max_seqs * per_seq * sizeof(uint32_t) + gpu_draws_input_bytes(l);
    return OK;
}
