/* The reference backend: runs a program one sequence at a time, one operation after the other, on one thread.
 * step computes at once; wait only hands out the result. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/kv_layout.h"
#include "backend/ref/ref_ops.h"
#include "base/clock.h"

struct backend {
    int32_t device;
};

struct backend_model {
    const struct model_desc *m;
    struct backend_limits lim;
    struct kv_layout kv;
    float *logits; /* (max_logits, n_vocab) */
    float *hidden; /* (max_tokens, n_embd) */
    uint32_t n_row, n_hidden;
    uint64_t ticket;
    int64_t elapsed_ns;
};

struct backend_kv {
    struct backend_model *m;
    uint8_t *mem;
    uint32_t n_block;
};

/* One sequence's way through the program. */
struct pass {
    struct backend_model *bm;
    const struct model_desc *m;
    struct backend_kv *kv;
    const struct batch_seq *seq;
    size_t n_tok;
    float *x; /* residual stream (n_tok, n_embd) */
    float *q; /* (n_tok, n_head * head_dim), from OP_QKV to OP_ATTN */
};

static const struct weight *weight_of(const struct pass *p, wref w)
{
    return w ? &p->m->weight[w] : NULL;
}

static float *new_floats(size_t n, size_t m)
{
    return mem_zalloc(n * m, sizeof(float));
}

static void linear(struct pass *p, float *y, const float *x, const struct linear *l, int64_t row0,
                   int64_t n_out)
{
    ref_linear(y, x, p->n_tok, weight_of(p, l->weight), weight_of(p, l->bias), 0, row0, n_out);
}

/* x += post_norm(y) */
static void add_residual(struct pass *p, float *y, const struct norm *post)
{
    const size_t n = p->m->cfg.n_embd;
    if (post->weight) ref_norm(y, y, p->n_tok, n, p->m, post);
    for (size_t i = 0; i < p->n_tok * n; i++) p->x[i] += y[i];
}

static void run_embed(struct pass *p, const struct op_embed *op)
{
    const size_t n = p->m->cfg.n_embd;
    float *row = new_floats(1, n);
    for (size_t t = 0; t < p->n_tok; t++) {
        float *x = p->x + t * n;
        ref_row(x, weight_of(p, op->table), p->seq->token[t]);
        for (size_t i = 0; i < n; i++) x[i] *= op->scale;
        if (op->position) {
            ref_row(row, weight_of(p, op->position), p->seq->pos + (int64_t)t);
            for (size_t i = 0; i < n; i++) x[i] += row[i];
        }
    }
    free(row);
}

static uint8_t *kv_row(struct pass *p, uint32_t layer, bool is_v, uint32_t head, uint32_t pos)
{
    const struct kv_layout *l = &p->bm->kv;
    return p->kv->mem + p->seq->block[pos / KV_BLOCK_TOKENS] * l->block_bytes +
           kv_row_at(l, layer, is_v, head, pos);
}

static void run_qkv(struct pass *p, const struct op_qkv *op)
{
    const struct model_config *c = &p->m->cfg;
    const size_t hd = c->head_dim, nq = c->n_head * hd, nkv = c->n_head_kv * hd;
    float *h = new_floats(p->n_tok, c->n_embd), *k = new_floats(p->n_tok, nkv),
          *v = new_floats(p->n_tok, nkv);

    ref_norm(h, p->x, p->n_tok, c->n_embd, p->m, &op->norm);
    const bool fused = op->fused.weight != 0;
    linear(p, p->q, h, fused ? &op->fused : &op->q, 0, (int64_t)nq);
    linear(p, k, h, fused ? &op->fused : &op->k, fused ? (int64_t)nq : 0, (int64_t)nkv);
    linear(p, v, h, fused ? &op->fused : &op->v, fused ? (int64_t)(nq + nkv) : 0, (int64_t)nkv);
    if (op->q_norm.weight) ref_norm(p->q, p->q, p->n_tok * c->n_head, hd, p->m, &op->q_norm);
    if (op->k_norm.weight) ref_norm(k, k, p->n_tok * c->n_head_kv, hd, p->m, &op->k_norm);
    for (size_t t = 0; t < p->n_tok; t++) {
        uint32_t pos = p->seq->pos + (uint32_t)t;
        if (op->rope != UINT32_MAX) {
            for (size_t i = 0; i < c->n_head; i++)
                ref_rope(p->q + t * nq + i * hd, &p->m->rope[op->rope], pos);
            for (size_t i = 0; i < c->n_head_kv; i++)
                ref_rope(k + t * nkv + i * hd, &p->m->rope[op->rope], pos);
        }
        for (uint32_t i = 0; i < c->n_head_kv; i++) {
            const struct dtype_info *dt = dtype_info(p->bm->kv.type);
            dt->encode(k + t * nkv + i * hd, kv_row(p, op->layer, false, i, pos), hd, NULL);
            dt->encode(v + t * nkv + i * hd, kv_row(p, op->layer, true, i, pos), hd, NULL);
        }
    }
    for (size_t i = 0; i < p->n_tok * nq; i++) p->q[i] *= op->q_scale;
    free(h);
    free(k);
    free(v);
}

/* One query head against the cached keys [from, pos]. */
static void attend(struct pass *p, const struct op_attn *op, float *out, const float *q, uint32_t kv_head,
                   uint32_t pos, float *score, float *row)
{
    const size_t hd = p->m->cfg.head_dim;
    const struct dtype_info *dt = dtype_info(p->bm->kv.type);
    const uint32_t from = op->window && pos + 1 > op->window ? pos + 1 - op->window : 0;
    double max = -INFINITY, sum = 0;

    for (uint32_t j = from; j <= pos; j++) {
        double dot = 0;
        dt->decode(kv_row(p, op->layer, false, kv_head, j), row, hd);
        for (size_t i = 0; i < hd; i++) dot += (double)q[i] * (double)row[i];
        if (op->softcap != 0) dot = (double)op->softcap * tanh(dot / (double)op->softcap);
        score[j] = (float)dot;
        max = fmax(max, dot);
    }
    double acc[4096] = {0}; /* head_dim's ceiling */
    for (uint32_t j = from; j <= pos; j++) {
        double w = exp((double)score[j] - max);
        sum += w;
        dt->decode(kv_row(p, op->layer, true, kv_head, j), row, hd);
        for (size_t i = 0; i < hd; i++) acc[i] += w * (double)row[i];
    }
    for (size_t i = 0; i < hd; i++) out[i] = (float)(acc[i] / sum);
}

static void run_attn(struct pass *p, const struct op_attn *op)
{
    const struct model_config *c = &p->m->cfg;
    const size_t hd = c->head_dim, nq = c->n_head * hd;
    const uint32_t group = c->n_head / c->n_head_kv;
    float *o = new_floats(p->n_tok, nq), *y = new_floats(p->n_tok, c->n_embd), *row = new_floats(1, hd);
    float *score = new_floats(1, p->seq->pos + p->n_tok);

    for (size_t t = 0; t < p->n_tok; t++)
        for (uint32_t i = 0; i < c->n_head; i++) {
            size_t at = t * nq + i * hd;
            attend(p, op, o + at, p->q + at, i / group, p->seq->pos + (uint32_t)t, score, row);
        }
    linear(p, y, o, &op->out, 0, c->n_embd);
    add_residual(p, y, &op->post_norm);
    free(o);
    free(y);
    free(row);
    free(score);
}

static void run_ffn(struct pass *p, const struct op_ffn *op)
{
    const struct model_config *c = &p->m->cfg;
    const size_t n_ff = c->n_ff, n = p->n_tok * n_ff;
    float *h = new_floats(p->n_tok, c->n_embd), *y = new_floats(p->n_tok, c->n_embd);
    float *g = new_floats(p->n_tok, n_ff), *u = new_floats(p->n_tok, n_ff);

    ref_norm(h, p->x, p->n_tok, c->n_embd, p->m, &op->norm);
    linear(p, u, h, &op->up, op->gate_up_fused ? (int64_t)n_ff : 0, (int64_t)n_ff);
    if (op->gate.weight || op->gate_up_fused) {
        linear(p, g, h, op->gate_up_fused ? &op->up : &op->gate, 0, (int64_t)n_ff);
        for (size_t i = 0; i < n; i++) u[i] *= ref_act(op->act, g[i]);
    } else {
        for (size_t i = 0; i < n; i++) u[i] = ref_act(op->act, u[i]);
    }
    linear(p, y, u, &op->down, 0, c->n_embd);
    add_residual(p, y, &op->post_norm);
    free(h);
    free(y);
    free(g);
    free(u);
}

/* y += scale * down(act(gate h) * up h) for one token and one expert */
static void add_expert(struct pass *p, float *y, const float *h, const struct weight *const w[3],
                       int64_t expert, enum activation act, float scale)
{
    ASSERT(w[0] && w[1] && w[2]); /* the weight table binds them together */
    const int64_t n_embd = p->m->cfg.n_embd, n_ff = w[0]->dim[w[0]->rank - 2];
    float *g = new_floats(1, (size_t)n_ff), *u = new_floats(1, (size_t)n_ff),
          *d = new_floats(1, (size_t)n_embd);
    ref_linear(g, h, 1, w[0], NULL, expert, 0, n_ff);
    ref_linear(u, h, 1, w[1], NULL, expert, 0, n_ff);
    for (int64_t i = 0; i < n_ff; i++) u[i] *= ref_act(act, g[i]);
    ref_linear(d, u, 1, w[2], NULL, expert, 0, n_embd);
    for (int64_t i = 0; i < n_embd; i++) y[i] += scale * d[i];
    free(g);
    free(u);
    free(d);
}

static void run_moe(struct pass *p, const struct op_moe *op)
{
    const struct model_config *c = &p->m->cfg;
    const struct weight *const routed[3] = {weight_of(p, op->gate), weight_of(p, op->up),
                                            weight_of(p, op->down)};
    const struct weight *const shared[3] = {weight_of(p, op->sh_gate), weight_of(p, op->sh_up),
                                            weight_of(p, op->sh_down)};
    float *h = new_floats(p->n_tok, c->n_embd), *y = new_floats(p->n_tok, c->n_embd);
    float *logits = new_floats(p->n_tok, c->n_expert), *gate = new_floats(1, op->n_used);
    uint32_t *chosen = mem_zalloc(op->n_used, sizeof *chosen);

    ref_norm(h, p->x, p->n_tok, c->n_embd, p->m, &op->norm);
    ref_linear(logits, h, p->n_tok, weight_of(p, op->router), NULL, 0, 0, c->n_expert);
    for (size_t t = 0; t < p->n_tok; t++) {
        const float *ht = h + t * c->n_embd;
        ref_route(chosen, gate, logits + t * c->n_expert, c->n_expert, op);
        for (uint32_t k = 0; k < op->n_used; k++)
            add_expert(p, y + t * c->n_embd, ht, routed, chosen[k], op->act, gate[k]);
        if (shared[0]) {
            float s = 0, scale = 1;
            if (op->sh_router) {
                ref_linear(&s, ht, 1, weight_of(p, op->sh_router), NULL, 0, 0, 1);
                scale = (float)(1 / (1 + exp(-(double)s)));
            }
            add_expert(p, y + t * c->n_embd, ht, shared, 0, op->act, scale);
        }
    }
    add_residual(p, y, &op->post_norm);
    free(h);
    free(y);
    free(logits);
    free(gate);
    free(chosen);
}

static void run_hidden(struct pass *p, const struct op_logits *op)
{
    const size_t n = p->m->cfg.n_embd, rows = p->seq->n_hidden;
    float *out = p->bm->hidden + p->bm->n_hidden * n;
    if (rows) ref_norm(out, p->x + (p->n_tok - rows) * n, rows, n, p->m, &op->norm);
    p->bm->n_hidden += (uint32_t)rows;
}

static void run_logits(struct pass *p, const struct op_logits *op)
{
    const size_t n = p->m->cfg.n_embd, n_vocab = p->m->cfg.n_vocab, rows = p->seq->n_logits;
    float *out = p->bm->logits + p->bm->n_row * n_vocab;
    if (rows == 0) return;
    float *h = new_floats(rows, n);
    ref_norm(h, p->x + (p->n_tok - rows) * n, rows, n, p->m, &op->norm);
    ref_linear(out, h, rows, weight_of(p, op->out.weight), weight_of(p, op->out.bias), 0, 0,
               (int64_t)n_vocab);
    for (size_t i = 0; i < rows * n_vocab; i++) {
        out[i] *= op->scale;
        if (op->softcap != 0) out[i] = op->softcap * (float)tanh((double)(out[i] / op->softcap));
    }
    p->bm->n_row += (uint32_t)rows;
    free(h);
}

/* Rows that a slice without OP_LOGITS ends with. */
static void copy_hidden(struct pass *p)
{
    const size_t n = p->m->cfg.n_embd, rows = p->seq->n_hidden;
    memcpy(p->bm->hidden + p->bm->n_hidden * n, p->x + (p->n_tok - rows) * n, rows * n * sizeof *p->x);
    p->bm->n_hidden += (uint32_t)rows;
}

static void run_program(struct pass *p)
{
    if (p->seq->input) memcpy(p->x, p->seq->input, p->n_tok * p->m->cfg.n_embd * sizeof *p->x);
    for (uint32_t i = 0; i < p->m->n_op; i++) {
        const struct op *op = &p->m->op[i];
        switch (op->kind) {
        case OP_EMBED: run_embed(p, &op->embed); break;
        case OP_QKV: run_qkv(p, &op->qkv); break;
        case OP_ATTN: run_attn(p, &op->attn); break;
        case OP_FFN: run_ffn(p, &op->ffn); break;
        case OP_MOE: run_moe(p, &op->moe); break;
        case OP_LOGITS:
            run_hidden(p, &op->logits);
            run_logits(p, &op->logits);
            break;
        }
    }
    if (!model_ends(p->m)) copy_hidden(p);
}

static int ref_count(struct error *e)
{
    return 1;
}

static status ref_info(int device, struct backend_device *out, struct error *e)
{
    *out = (struct backend_device){.n_core = 1};
    snprintf(out->name, sizeof out->name, "reference (plain C, one thread)");
    snprintf(out->detail, sizeof out->detail, "the oracle for tests; slow");
    out->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    out->memory_free_bytes = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return OK;
}

static status ref_open(struct backend **out, const struct backend_options *o, struct error *e)
{
    *out = mem_zalloc(1, sizeof **out);
    return OK;
}

static void ref_close(struct backend *b)
{
    free(b);
}

static status ref_plan(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                       struct backend_plan *out, struct error *e)
{
    struct kv_layout kv;
    TRY(kv_layout_init(&kv, &m->cfg, l->kv_type, e));
    *out = (struct backend_plan){.kv_block_bytes = kv.block_bytes};
    for (uint32_t i = 1; i < m->n_weight; i++) out->mapped_bytes += m->weight[i].n_bytes;
    out->scratch_bytes =
        ((size_t)l->max_logits * m->cfg.n_vocab + (size_t)l->max_tokens * m->cfg.n_embd) * sizeof(float);
    return OK;
}

static status ref_load(struct backend_model **out, struct backend *b, const struct model_desc *m,
                       const struct backend_limits *l, backend_progress progress, void *user, struct error *e)
{
    struct kv_layout kv;
    *out = NULL;
    TRY(kv_layout_init(&kv, &m->cfg, l->kv_type, e));
    float *logits = mem_try((size_t)l->max_logits * m->cfg.n_vocab, sizeof *logits);
    float *hidden = mem_try((size_t)l->max_tokens * m->cfg.n_embd, sizeof *hidden);
    if (!logits || !hidden) {
        free(logits);
        free(hidden);
        return fail(e, ERR_MEMORY, "no memory for %u rows of logits and %u hidden rows", l->max_logits,
                    l->max_tokens);
    }
    *out = mem_zalloc(1, sizeof **out);
    **out = (struct backend_model){.m = m, .lim = *l, .kv = kv, .logits = logits, .hidden = hidden};
    return OK;
}

static void ref_unload(struct backend_model *m)
{
    if (!m) return;
    free(m->logits);
    free(m->hidden);
    free(m);
}

static status ref_kv_open(struct backend_kv **out, struct backend_model *m, uint32_t n_block, struct error *e)
{
    uint8_t *mem = mem_try(n_block, m->kv.block_bytes);
    *out = NULL;
    if (!mem)
        return fail(e, ERR_MEMORY, "no memory for %u KV blocks of %zu bytes", n_block, m->kv.block_bytes);
    *out = mem_zalloc(1, sizeof **out);
    **out = (struct backend_kv){.m = m, .mem = mem, .n_block = n_block};
    return OK;
}

static void ref_kv_close(struct backend_kv *kv)
{
    if (!kv) return;
    free(kv->mem);
    free(kv);
}

static status ref_kv_copy(struct backend_kv *kv, const struct kv_copy *list, uint32_t n, struct error *e)
{
    return kv_blocks_copy(kv->mem, kv->n_block, &kv->m->kv, list, n, e);
}

static status ref_kv_read(struct backend_kv *kv, uint32_t block, void *to, struct error *e)
{
    return kv_block_read(kv->mem, kv->n_block, &kv->m->kv, block, to, e);
}

static status ref_kv_write(struct backend_kv *kv, uint32_t block, const void *from, struct error *e)
{
    return kv_block_write(kv->mem, kv->n_block, &kv->m->kv, block, from, e);
}

static status ref_step(struct backend_model *bm, struct backend_kv *kv, const struct batch *b,
                       uint64_t *ticket, struct error *e)
{
    int64_t start = clock_ns();
    TRY(batch_check(b, bm->m, &bm->lim, kv->n_block, 0, e));
    bm->n_row = bm->n_hidden = 0;
    for (uint32_t i = 0; i < b->n_seq; i++) {
        struct pass p = {.bm = bm, .m = bm->m, .kv = kv, .seq = &b->seq[i], .n_tok = b->seq[i].n_token};
        p.x = new_floats(p.n_tok, bm->m->cfg.n_embd);
        p.q = new_floats(p.n_tok, (size_t)bm->m->cfg.n_head * bm->m->cfg.head_dim);
        run_program(&p);
        free(p.x);
        free(p.q);
    }
    bm->elapsed_ns = clock_ns() - start;
    *ticket = ++bm->ticket;
    return OK;
}

static status ref_wait(struct backend_model *m, uint64_t ticket, struct step_result *out, struct error *e)
{
    if (ticket != m->ticket) return fail(e, ERR_ARG, "no step %llu is waiting", (unsigned long long)ticket);
    *out = (struct step_result){.logits = m->logits,
                                .n_row = m->n_row,
                                .hidden = m->hidden,
                                .n_hidden = m->n_hidden,
                                .elapsed_ns = m->elapsed_ns};
    return OK;
}

const struct backend_api backend_ref = {
    .abi = BACKEND_ABI,
    .name = "ref",
    .count = ref_count,
    .info = ref_info,
    .open = ref_open,
    .close = ref_close,
    .plan = ref_plan,
    .load = ref_load,
    .unload = ref_unload,
    .kv_open = ref_kv_open,
    .kv_close = ref_kv_close,
    .kv_copy = ref_kv_copy,
    .kv_read = ref_kv_read,
    .kv_write = ref_kv_write,
    .step = ref_step,
    .wait = ref_wait,
};
