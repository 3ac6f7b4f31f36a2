/* One step: the batch becomes a few arrays, one copy to the device, and a list of kernels. The list depends
 * on the batch only through its shape, so that of a small step is kept as a graph and started again for the
 * next step of that shape; shapes are rounded up for it, and what they have too much does nothing. */
#include <string.h>

#include "backend/gpu/gpu_int.h"
#include "base/clock.h"

/* ---- the program on the device ---- */

struct pass {
    struct backend_model *bm;
    const struct gpu_ops *ops;
    struct gpu *gpu;
    struct gpu_scratch *s;
    const struct model_config *c;
    struct gpu_kv kv;
    struct gpu_inputs in; /* on the device */
    struct gpu_shape n;
    const struct op *next; /* the operation behind the one that runs */
    bool opened;           /* the rows that it begins with are normalised */
};

static const struct gpu_weight *weight_of(const struct pass *p, wref w)
{
    return w ? &p->bm->w.w[w] : NULL;
}

static const float *floats_of(const struct pass *p, wref w)
{
    return w ? p->bm->w.w[w].m.data : NULL;
}

/* The forms of activations that these weights are multiplied with. */
static struct gpu_acts forms_for(const struct pass *p, struct gpu_acts a, const wref *w, size_t n)
{
    bool f = false, b = false;
    for (size_t i = 0; i < n; i++) {
        const struct gpu_weight *g = weight_of(p, w[i]);
        f |= g && g->layout.reads_f;
        b |= g && g->layout.reads_b;
    }
    if (!f) a.f = NULL;
    if (!b) a.b = NULL;
    return a;
}
#define FORMS(p, acts, ...)                                                                                  \
    forms_for(p, acts, (const wref[]){__VA_ARGS__}, COUNT_OF(((const wref[]){__VA_ARGS__})))

/* y (n_row, ldy) = x w^T + bias */
static struct gpu_matmul product_of(const struct pass *p, float *y, uint32_t ldy, struct gpu_acts x,
                                    uint32_t n_row, struct linear l)
{
    return (struct gpu_matmul){.w = weight_of(p, l.weight)->m,
                               .x = x,
                               .y = y,
                               .ldy = ldy,
                               .n_row = n_row,
                               .bias = floats_of(p, l.bias),
                               .panel = p->bm->b->deterministic ? NULL : p->s->panel,
                               .panel_bytes = p->s->panel_bytes,
                               .room = p->s->room,
                               .room_bytes = p->s->room_bytes};
}

/* The same, or added to y. */
static void product(const struct pass *p, float *y, uint32_t ldy, struct gpu_acts x, uint32_t n_row,
                    struct linear l, bool add)
{
    struct gpu_matmul a = product_of(p, y, ldy, x, n_row, l);
    a.add = add;
    p->ops->matmul(p->gpu, &a);
}

/* Does b continue a: rows of the same kind right behind those of a, and their biases, too? */
static bool continues(const struct pass *p, const struct linear *a, const struct linear *b)
{
    const struct gpu_weight *v = weight_of(p, a->weight), *w = weight_of(p, b->weight);
    if (v->m.type != w->m.type || v->m.n_in != w->m.n_in || v->m.n_out % GPU_STRIP != 0 ||
        (const uint8_t *)v->m.data + v->layout.bytes != w->m.data)
        return false;
    return a->bias && b->bias ? floats_of(p, a->bias) + v->m.n_out == floats_of(p, b->bias)
                              : !a->bias && !b->bias;
}

/* Columns of y behind one another, of all tokens; matrices that are in one piece are multiplied as one. */
static void products(const struct pass *p, float *y, uint32_t ldy, struct gpu_acts x, const struct linear *l,
                     uint32_t n)
{
    for (uint32_t i = 0, k; i < n; i = k) {
        struct gpu_matmul a = product_of(p, y, ldy, x, p->n.n_tok, l[i]);
        for (k = i + 1; k < n && continues(p, &l[k - 1], &l[k]); k++)
            a.w.n_out += weight_of(p, l[k].weight)->m.n_out;
        p->ops->matmul(p->gpu, &a);
        y += a.w.n_out;
    }
}

static struct gpu_norm norm_of(const struct pass *p, const struct norm *n, const float *x)
{
    return (struct gpu_norm){.x = x,
                             .n_row = p->n.n_tok,
                             .n = p->c->n_embd,
                             .ldx = p->c->n_embd,
                             .weight = floats_of(p, n->weight),
                             .bias = floats_of(p, n->bias),
                             .eps = p->c->norm_eps,
                             .layer_norm = n->kind == NORM_LAYER};
}

/* The norm of x that an operation begins with, and its rows in the forms that the operation reads. NULL: with
 * none. */
static const struct norm *opening(const struct pass *p, const struct op *op, struct gpu_acts *h)
{
    *h = p->s->h;
    switch (op->kind) {
    case OP_QKV:
        *h = FORMS(p, *h, op->qkv.fused.weight, op->qkv.q.weight, op->qkv.k.weight, op->qkv.v.weight);
        return &op->qkv.norm;
    case OP_FFN: *h = FORMS(p, *h, op->ffn.gate.weight, op->ffn.up.weight); return &op->ffn.norm;
    case OP_MOE:
        *h = FORMS(p, *h, op->moe.router, op->moe.gate, op->moe.up, op->moe.sh_router, op->moe.sh_gate,
                   op->moe.sh_up);
        return &op->moe.norm;
    default: return NULL;
    }
}

/* The rows that an operation begins with, which the addition before it may have left. */
static struct gpu_acts open_op(struct pass *p, const struct op *op)
{
    struct gpu_acts h;
    struct gpu_norm a = norm_of(p, opening(p, op, &h), p->s->x);
    a.out = h;
    if (!p->opened) p->ops->norm(p->gpu, &a);
    p->opened = false;
    return h;
}

/* x += post_norm(y), and what the next operation begins with where that can be done at once */
static void add_residual(struct pass *p, const struct norm *post)
{
    struct gpu_norm a = norm_of(p, post, p->s->y);
    struct gpu_acts h;
    const struct norm *next = p->next ? opening(p, p->next, &h) : NULL;
    a.add = p->s->x;
    if (next && next->weight && (!post->weight || next->kind == post->kind)) {
        a.layer_norm = next->kind == NORM_LAYER;
        a.out = h;
        a.next_weight = floats_of(p, next->weight);
        a.next_bias = floats_of(p, next->bias);
        p->opened = true;
    }
    p->ops->norm(p->gpu, &a);
}

/* x += post_norm(a w^T + bias) */
static void product_to_residual(struct pass *p, struct gpu_acts a, struct linear l, const struct norm *post)
{
    product(p, post->weight ? p->s->y : p->s->x, p->c->n_embd, a, p->n.n_tok, l, !post->weight);
    if (post->weight) add_residual(p, post);
}

static void run_embed(const struct pass *p, const struct op_embed *op)
{
    struct gpu_rows a = {.table = weight_of(p, op->table)->m,
                         .index = p->in.token,
                         .drawn = p->s->draws.answer,
                         .n_row = p->n.n_tok,
                         .n = p->c->n_embd,
                         .scale = op->scale,
                         .out = {.f = p->s->x, .ld = p->c->n_embd}};
    p->ops->rows(p->gpu, &a);
    if (!op->position) return;
    a.table = weight_of(p, op->position)->m;
    a.index = p->in.pos;
    a.drawn = NULL;
    a.scale = 1;
    a.add = true;
    p->ops->rows(p->gpu, &a);
}

static float *cos_sin_of(const struct pass *p, uint32_t rope)
{
    return p->s->cos_sin + (size_t)rope * p->bm->lim.max_tokens * 2 * p->s->n_pair;
}

static void run_rope_tables(const struct pass *p)
{
    for (uint32_t i = 0; i < p->bm->m->n_rope; i++) {
        const struct rope *r = &p->bm->m->rope[i];
        if (r->n_pair == 0) continue;
        p->ops->rope_table(p->gpu, &(struct gpu_rope_table){.inv_freq = p->bm->w.inv_freq[i],
                                                            .pos = p->in.pos,
                                                            .n_tok = p->n.n_tok,
                                                            .n_pair = r->n_pair,
                                                            .scale = r->scale,
                                                            .cos_sin = cos_sin_of(p, i)});
    }
}

static void run_qkv(struct pass *p, const struct op_qkv *op, struct gpu_acts h)
{
    const struct model_config *c = p->c;
    const uint32_t all = (c->n_head + 2 * c->n_head_kv) * c->head_dim;
    if (op->fused.weight)
        product(p, p->s->qkv, all, h, p->n.n_tok, op->fused, false);
    else
        products(p, p->s->qkv, all, h, (const struct linear[]){op->q, op->k, op->v}, 3);
    const struct rope *r = op->rope != UINT32_MAX ? &p->bm->m->rope[op->rope] : NULL;
    p->ops->qkv(p->gpu, &(struct gpu_qkv){.qkv = p->s->qkv,
                                          .q = p->s->q,
                                          .n_tok = p->n.n_tok,
                                          .n_head = c->n_head,
                                          .n_head_kv = c->n_head_kv,
                                          .head_dim = c->head_dim,
                                          .layer = op->layer,
                                          .q_norm = floats_of(p, op->q_norm.weight),
                                          .k_norm = floats_of(p, op->k_norm.weight),
                                          .eps = c->norm_eps,
                                          .q_scale = op->q_scale,
                                          .cos_sin = r ? cos_sin_of(p, op->rope) : NULL,
                                          .n_pair = r ? r->n_pair : 0,
                                          .interleaved = r && r->interleaved,
                                          .kv_slot = p->in.kv_slot,
                                          .kv = p->kv});
}

static void run_attn(struct pass *p, const struct op_attn *op)
{
    const struct model_config *c = p->c;
    struct gpu_acts o = FORMS(p, p->s->o, op->out.weight);
    p->ops->attn(p->gpu, &(struct gpu_attn){.q = p->s->q,
                                            .n_head = c->n_head,
                                            .n_head_kv = c->n_head_kv,
                                            .head_dim = c->head_dim,
                                            .layer = op->layer,
                                            .window = op->window,
                                            .softcap = op->softcap,
                                            .kv = p->kv,
                                            .table = p->in.table,
                                            .tile = p->in.tile,
                                            .merge = p->in.merge,
                                            .n_tile = p->n.n_tile,
                                            .n_merge = p->n.n_merge,
                                            .n_full = p->n.n_full,
                                            .part = p->s->part,
                                            .out = o});
    product_to_residual(p, o, op->out, &op->post_norm);
}

/* u = act(gate) * up, from gate_up */
static struct gpu_acts activate(const struct pass *p, uint32_t n_row, uint32_t n, bool gated,
                                enum activation act, wref reader)
{
    struct gpu_acts u = FORMS(p, p->s->u, reader);
    p->ops->act(p->gpu, &(struct gpu_act){.gate = gated ? p->s->gate_up : NULL,
                                          .up = p->s->gate_up + n,
                                          .ld = 2 * p->s->hidden,
                                          .n_row = n_row,
                                          .n = n,
                                          .gelu = act == ACT_GELU,
                                          .out = u});
    return u;
}

static void run_ffn(struct pass *p, const struct op_ffn *op, struct gpu_acts h)
{
    const uint32_t n_ff = p->c->n_ff, ld = 2 * p->s->hidden;
    if (op->gate.weight)
        products(p, p->s->gate_up, ld, h, (const struct linear[]){op->gate, op->up}, 2);
    else
        product(p, p->s->gate_up + (op->gate_up_fused ? 0 : n_ff), ld, h, p->n.n_tok, op->up, false);
    struct gpu_acts u =
        activate(p, p->n.n_tok, n_ff, op->gate.weight || op->gate_up_fused, op->act, op->down.weight);
    product_to_residual(p, u, op->down, &op->post_norm);
}

/* Larger pieces where experts have many rows: their weights are read fewer times. */
static uint32_t work_rows(const struct pass *p, uint32_t slots)
{
    return slots / p->c->n_expert >= 2 * GPU_WORK_ROWS ? GPU_WORK_ROWS_MANY : GPU_WORK_ROWS;
}

/* Rows of all slots through the experts that they were sent to. */
static void expert_product(const struct pass *p, float *y, uint32_t ldy, struct gpu_acts x, uint32_t x_div,
                           wref w, uint32_t n_used)
{
    const uint32_t slots = p->n.n_tok * n_used;
    const uint32_t rows = work_rows(p, slots), pieces = p->c->n_expert + slots / rows;
    p->ops->matmul(p->gpu, &(struct gpu_matmul){.w = weight_of(p, w)->m,
                                                .x = x,
                                                .y = y,
                                                .ldy = ldy,
                                                .n_row = slots,
                                                .work = p->s->work,
                                                .order = p->s->order,
                                                .n_work_at = p->s->n_work,
                                                .n_work = MIN(slots, pieces),
                                                .x_div = x_div,
                                                .work_rows = rows});
}

static void shared_expert(const struct pass *p, const struct op_moe *op, struct gpu_acts h)
{
    const uint32_t n_tok = p->n.n_tok, n_ff = weight_of(p, op->sh_up)->m.n_out, ld = 2 * p->s->hidden;
    products(p, p->s->gate_up, ld, h, (const struct linear[]){{op->sh_gate, 0}, {op->sh_up, 0}}, 2);
    if (op->sh_router) product(p, p->s->route_gate, 1, h, n_tok, (struct linear){op->sh_router, 0}, false);
    struct gpu_acts u = activate(p, n_tok, n_ff, true, op->act, op->sh_down);
    product(p, p->s->down, p->c->n_embd, u, n_tok, (struct linear){op->sh_down, 0}, false);
    p->ops->combine(p->gpu, &(struct gpu_combine){.down = p->s->down,
                                                  .gate = op->sh_router ? p->s->route_gate : NULL,
                                                  .y = p->s->y,
                                                  .n_tok = n_tok,
                                                  .n = p->c->n_embd,
                                                  .shared = true});
}

static void run_moe(struct pass *p, const struct op_moe *op, struct gpu_acts h)
{
    const uint32_t n_ff = weight_of(p, op->up)->m.n_out, ld = 2 * p->s->hidden;
    product(p, p->s->route_logits, p->c->n_expert, h, p->n.n_tok, (struct linear){op->router, 0}, false);
    p->ops->route(p->gpu, &(struct gpu_route){.logits = p->s->route_logits,
                                              .kv_slot = p->in.kv_slot,
                                              .n_tok = p->n.n_tok,
                                              .n_expert = p->c->n_expert,
                                              .n_used = op->n_used,
                                              .work_rows = work_rows(p, p->n.n_tok * op->n_used),
                                              .softmax_after_topk = op->softmax_after_topk,
                                              .renormalize = op->renormalize,
                                              .scale = op->scale,
                                              .gate = p->s->route_gate,
                                              .chosen = p->s->chosen,
                                              .order = p->s->order,
                                              .work = p->s->work,
                                              .n_work = p->s->n_work});
    expert_product(p, p->s->gate_up, ld, h, op->n_used, op->gate, op->n_used);
    expert_product(p, p->s->gate_up + n_ff, ld, h, op->n_used, op->up, op->n_used);
    struct gpu_acts u = activate(p, p->n.n_tok * op->n_used, n_ff, true, op->act, op->down);
    expert_product(p, p->s->down, p->c->n_embd, u, 1, op->down, op->n_used);
    p->ops->combine(p->gpu, &(struct gpu_combine){.down = p->s->down,
                                                  .gate = p->s->route_gate,
                                                  .y = p->s->y,
                                                  .n_tok = p->n.n_tok,
                                                  .n = p->c->n_embd,
                                                  .n_used = op->n_used});
    if (op->sh_gate) shared_expert(p, op, h);
    add_residual(p, &op->post_norm);
}

static void run_logits(const struct pass *p, const struct op_logits *op)
{
    struct gpu_norm a = norm_of(p, &op->norm, p->s->x);
    const uint32_t n_vocab = p->c->n_vocab;
    if (p->n.n_hidden) {
        a.index = p->in.hidden;
        a.n_row = p->n.n_hidden;
        a.out = (struct gpu_acts){.f = p->s->y, .ld = p->c->n_embd};
        p->ops->norm(p->gpu, &a);
    }
    if (!p->n.n_row) return;
    a.index = p->in.row;
    a.n_row = p->n.n_row;
    a.out = FORMS(p, p->s->h, op->out.weight);
    p->ops->norm(p->gpu, &a);
    product(p, p->s->logits, n_vocab, a.out, p->n.n_row, op->out, false);
    if (op->scale != 1 || op->softcap != 0)
        p->ops->softcap(p->gpu, &(struct gpu_softcap){p->s->logits, (size_t)p->n.n_row * n_vocab, op->scale,
                                                      op->softcap});
}

static void run_program(struct pass *p)
{
    const struct model_desc *m = p->bm->m;
    run_rope_tables(p);
    for (uint32_t i = 0; i < m->n_op; i++) {
        const struct op *op = &m->op[i];
        p->next = i + 1 < m->n_op ? op + 1 : NULL;
        switch (op->kind) {
        case OP_EMBED: run_embed(p, &op->embed); break;
        case OP_QKV: run_qkv(p, &op->qkv, open_op(p, op)); break;
        case OP_ATTN: run_attn(p, &op->attn); break;
        case OP_FFN: run_ffn(p, &op->ffn, open_op(p, op)); break;
        case OP_MOE: run_moe(p, &op->moe, open_op(p, op)); break;
        case OP_LOGITS: run_logits(p, &op->logits); break;
        }
    }
}

/* ---- the batch as arrays ---- */

/* How a sequence's tokens are shared out to attention: tiles of queries, or parts of keys for a single token.
 */
struct cut {
    uint32_t n_tile, n_part;
};

static struct cut cut_of(const struct backend_model *bm, const struct batch_seq *q, size_t part_rows_left)
{
    const uint32_t group = bm->m->cfg.n_head / bm->m->cfg.n_head_kv, tokens = GPU_ATTN_ROWS / group;
    const uint32_t end = q->pos + q->n_token, part = gpu_part_keys(&bm->lim);
    const uint32_t n_part = (end + part - 1) / part;
    if (!bm->b->deterministic && q->n_token <= tokens && n_part > 1 &&
        (size_t)q->n_token * n_part * bm->m->cfg.n_head <= part_rows_left)
        return (struct cut){n_part, n_part};
    return (struct cut){(q->n_token + tokens - 1) / tokens, 1};
}

/* A sequence's tiles that are worth the kernel for full ones. */
static uint32_t full_tiles(const struct backend_model *bm, const struct batch_seq *q, struct cut cut)
{
    const uint32_t tokens = GPU_ATTN_ROWS / (bm->m->cfg.n_head / bm->m->cfg.n_head_kv);
    return cut.n_part == 1 && q->n_token >= tokens ? cut.n_tile : 0;
}

/* A multiple that few shapes share: 1, 2, 4, 8, 16, 24, 32, ... */
static uint32_t bucket(uint32_t n)
{
    if (n <= 8) {
        uint32_t b = 1;
        while (b < n) b *= 2;
        return b;
    }
    return (uint32_t)round_up(n, 8);
}

static uint32_t power_of_two(uint32_t n)
{
    uint32_t b = 1;
    while (b < n) b *= 2;
    return b;
}

static struct gpu_shape shape_of(const struct backend_model *bm, const struct batch *b)
{
    struct gpu_shape s = {0};
    size_t left = bm->s.part_rows;
    for (uint32_t i = 0; i < b->n_seq; i++) {
        const struct batch_seq *q = &b->seq[i];
        struct cut cut = cut_of(bm, q, left);
        if (cut.n_part > 1) left -= (size_t)q->n_token * cut.n_part * bm->m->cfg.n_head;
        s.n_tok += q->n_token;
        s.n_row += q->n_logits;
        s.n_hidden += q->n_hidden;
        s.n_tile += cut.n_tile;
        s.n_full += full_tiles(bm, q, cut);
        s.n_merge += cut.n_part > 1;
    }
    if (s.n_tok <= GPU_GRAPH_TOKENS || bm->b->deterministic) s.n_full = 0;
    return s;
}

/* The shape that a small step is run with: more of everything, up to what there is room for. */
static bool round_shape(const struct backend_model *bm, struct gpu_shape *s)
{
    struct gpu_shape r = *s;
    if (s->n_tok > GPU_GRAPH_TOKENS || s->n_hidden) return false;
    r.n_tok = MIN(bucket(s->n_tok), bm->lim.max_tokens);
    if (s->n_row) r.n_row = MIN(MIN(bucket(s->n_row), bm->lim.max_logits), bm->lim.max_tokens);
    r.n_tile = power_of_two(s->n_tile);
    if (s->n_merge) r.n_merge = MIN(bucket(s->n_merge), bm->lim.max_seqs);
    *s = r;
    return true;
}

/* From in->tile[*at] on. */
static uint32_t fill_tiles(const struct backend_model *bm, const struct gpu_inputs *in,
                           const struct batch_seq *q, struct cut cut, uint32_t t, uint32_t table,
                           struct gpu_shape *n, uint32_t *at, uint32_t part_row)
{
    const uint32_t tokens = GPU_ATTN_ROWS / (bm->m->cfg.n_head / bm->m->cfg.n_head_kv);
    const uint32_t keys = gpu_part_keys(&bm->lim), rows = q->n_token * bm->m->cfg.n_head;
    if (cut.n_part == 1) {
        for (uint32_t i = 0; i < q->n_token; i += tokens) {
            const uint32_t take = MIN(tokens, q->n_token - i);
            in->tile[(*at)++] =
                (struct gpu_tile){t + i, take, q->pos + i, table, 0, q->pos + i + take, UINT32_MAX};
        }
        return part_row;
    }
    in->merge[n->n_merge++] = (struct gpu_merge){t, q->n_token, part_row, cut.n_part};
    for (uint32_t i = 0; i < cut.n_part; i++, part_row += rows)
        in->tile[(*at)++] = (struct gpu_tile){
            t, q->n_token, q->pos, table, i * keys, MIN((i + 1) * keys, q->pos + q->n_token), part_row};
    return part_row;
}

/* The arrays of a batch, in a shape that has room for it; returns how many block numbers there are. */
static size_t fill_inputs(const struct backend_model *bm, const struct gpu_inputs *in,
                          const struct gpu_shape *shape, const struct batch *b)
{
    struct gpu_shape n = {.n_tile = shape->n_full};
    size_t table = 0, left = bm->s.part_rows;
    uint32_t part_row = 0;
    for (uint32_t i = 0; i < b->n_seq; i++) {
        const struct batch_seq *q = &b->seq[i];
        const uint32_t blocks = (q->pos + q->n_token + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
        struct cut cut = cut_of(bm, q, left);
        if (cut.n_part > 1) left -= (size_t)q->n_token * cut.n_part * bm->m->cfg.n_head;
        const bool full = shape->n_full && full_tiles(bm, q, cut);
        part_row =
            fill_tiles(bm, in, q, cut, n.n_tok, (uint32_t)table, &n, full ? &n.n_full : &n.n_tile, part_row);
        memcpy(in->table + table, q->block, blocks * sizeof *q->block);
        table += blocks;
        for (uint32_t j = 0; j < q->n_token; j++) {
            const uint32_t t = n.n_tok++, pos = q->pos + j;
            in->token[t] = q->token ? (uint32_t)q->token[j] : GPU_INDEX_DRAWN | q->from;
            in->pos[t] = pos;
            in->kv_slot[t] = q->block[pos / KV_BLOCK_TOKENS] * KV_BLOCK_TOKENS + pos % KV_BLOCK_TOKENS;
            if (j >= q->n_token - q->n_logits) in->row[n.n_row++] = t;
            if (shape->n_hidden && j >= q->n_token - q->n_hidden) in->hidden[n.n_hidden++] = t;
        }
    }
    for (; n.n_tok < shape->n_tok; n.n_tok++) {
        in->token[n.n_tok] = in->pos[n.n_tok] = 0;
        in->kv_slot[n.n_tok] = UINT32_MAX;
    }
    for (; n.n_row < shape->n_row; n.n_row++) in->row[n.n_row] = 0;
    for (; n.n_tile < shape->n_tile; n.n_tile++) in->tile[n.n_tile] = (struct gpu_tile){0};
    for (; n.n_merge < shape->n_merge; n.n_merge++) in->merge[n.n_merge] = (struct gpu_merge){0};
    return table;
}

/* ---- graphs ---- */

/* The kept graph of a shape, or a place for one: the least used goes. */
static struct gpu_kept *kept_find(struct backend_model *bm, const struct backend_kv *kv,
                                  const struct gpu_shape *shape)
{
    struct gpu_kept *old = &bm->kept[0];
    for (uint32_t i = 0; i < bm->n_kept; i++) {
        struct gpu_kept *k = &bm->kept[i];
        if (k->kv == kv && !memcmp(&k->shape, shape, sizeof *shape)) return k;
        if (k->used < old->used) old = k;
    }
    if (bm->n_kept < GPU_MAX_GRAPHS) old = &bm->kept[bm->n_kept++];
    if (old->graph) bm->b->ops->graph_free(bm->b->gpu, old->graph);
    *old = (struct gpu_kept){.shape = *shape, .kv = kv};
    return old;
}

static void run_kept(struct backend_model *bm, const struct backend_kv *kv, struct pass *p)
{
    struct gpu_kept *k = kept_find(bm, kv, &p->n);
    k->used = bm->ticket;
    if (!k->graph && p->ops->graph_begin(p->gpu)) {
        run_program(p);
        k->graph = p->ops->graph_end(p->gpu);
    }
    if (k->graph)
        p->ops->graph_run(p->gpu, k->graph);
    else
        run_program(p);
}

struct gpu_queued *gpu_step_last(struct backend_model *bm)
{
    return &bm->step[bm->ticket % 2];
}

/* The rows that a slice without OP_EMBED begins with; those of sequences that lie together in one copy. */
static void copy_input(const struct pass *p, const struct batch *b)
{
    const size_t n = p->c->n_embd;
    float *to = p->s->x;
    for (uint32_t i = 0, next; i < b->n_seq; i = next) {
        size_t rows = b->seq[i].n_token;
        for (next = i + 1; next < b->n_seq && b->seq[next].input == b->seq[i].input + rows * n; next++)
            rows += b->seq[next].n_token;
        p->ops->copy_in(p->gpu, to, b->seq[i].input, rows * n * sizeof *to);
        to += rows * n;
    }
}

/* The rows that a slice without OP_LOGITS ends with, likewise. */
static void copy_output(const struct pass *p, const struct batch *b)
{
    const size_t n = p->c->n_embd;
    float *to = p->bm->hidden_host;
    size_t end = 0, from = 0, rows = 0; /* rows [from, from + rows) are yet to be copied */
    for (uint32_t i = 0; i <= b->n_seq; i++) {
        const struct batch_seq *q = i < b->n_seq ? &b->seq[i] : NULL;
        if (q) end += q->n_token;
        if (q && rows && from + rows == end - q->n_hidden) {
            rows += q->n_hidden;
            continue;
        }
        if (rows) p->ops->copy_out(p->gpu, to, p->s->x + from * n, rows * n * sizeof *to);
        to += rows * n;
        rows = q ? q->n_hidden : 0;
        from = end - rows;
    }
}

void gpu_step_queue(struct backend_model *bm, struct backend_kv *kv, const struct batch *b)
{
    struct gpu_inputs host;
    struct gpu_queued *q = gpu_step_last(bm);
    void *input = bm->input_host[bm->ticket % 2];
    struct pass p = {.bm = bm,
                     .ops = bm->b->ops,
                     .gpu = bm->b->gpu,
                     .s = &bm->s,
                     .c = &bm->m->cfg,
                     .kv = {kv->mem, (uint32_t)bm->kv.type, bm->kv.row_bytes, bm->kv.head_bytes,
                            bm->kv.part_bytes, bm->kv.block_bytes},
                     .n = shape_of(bm, b)};
    *q = (struct gpu_queued){.n_row = p.n.n_row, .n_hidden = p.n.n_hidden, .started_ns = clock_ns()};
    if (!model_ends(bm->m)) p.n.n_hidden = 0; /* they are where the program leaves them */
    bool keep = round_shape(bm, &p.n);
    gpu_inputs_layout(&host, input, &p.n);
    gpu_inputs_layout(&p.in, bm->input_mem, &p.n);
    size_t n_table = fill_inputs(bm, &host, &p.n, b);
    size_t n_input = gpu_draws_fill(bm, b, host.bytes + n_table * sizeof *host.table);
    p.ops->copy_in(p.gpu, bm->input_mem, input, n_input);
    if (!model_embeds(bm->m)) copy_input(&p, b);
    if (keep)
        run_kept(bm, kv, &p);
    else
        run_program(&p);
    if (!model_ends(bm->m)) copy_output(&p, b);
    if (!q->n_mask) gpu_step_complete(bm);
}

void gpu_step_complete(struct backend_model *bm)
{
    struct gpu_queued *q = gpu_step_last(bm);
    gpu_draws_queue(bm);
    gpu_logits_queue(bm);
    if (q->n_hidden && model_ends(bm->m))
        bm->b->ops->copy_out(bm->b->gpu, bm->hidden_host, bm->s.y,
                             (size_t)q->n_hidden * bm->m->cfg.n_embd * sizeof(float));
    bm->b->ops->mark(bm->b->gpu, (int)(bm->ticket % 2));
    q->complete = true;
}
