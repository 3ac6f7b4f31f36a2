/* One step: the batch's tokens, all sequences one after the other, walk through the program; each operation
 * is a few stages, and each stage is shared out over the crew. Everything but attention works on tokens,
 * whatever their sequence. */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu_int.h"

const struct weight *weight_of(const struct backend_model *bm, wref w)
{
    return w ? &bm->weights.at[w] : NULL;
}

const float *floats_of(const struct backend_model *bm, wref w)
{
    return w ? (const float *)(const void *)bm->weights.at[w].data : NULL;
}

/* A stage over tokens or rows: what the task functions need. */
struct work {
    struct backend_model *bm;
    union {
        const struct op_embed *embed;
        const struct op_qkv *qkv;
        const struct op_logits *logits;
    };
    const struct norm *norm;
    const float *y;
    const struct acts *acts;
    size_t n;
    enum activation act;
    unsigned forms; /* of activations, enum act_form */
    bool gated;
};

static void run(struct work *w, enum stage stage, uint32_t n_task, crew_task fn)
{
    stage_run(w->bm, stage, n_task, fn, w);
}

static void norm_row(const struct backend_model *bm, float *y, const float *x, size_t n,
                     const struct norm *norm)
{
    bm->b->k->norm(y, x, n, floats_of(bm, norm->weight), floats_of(bm, norm->bias), bm->m->cfg.norm_eps,
                   norm->kind);
}

/* The first n numbers of a row in the integer forms that are asked for. */
static void quantize_row(const struct backend_model *bm, const struct acts *a, size_t row, size_t n,
                         unsigned forms)
{
    const struct cpu_kernels *k = bm->b->k;
    const float *f = a->f + row * a->ldf;
    const size_t g = row * a->n_group;
    if (forms & ACT_BF16) k->to_bf16(a->bf16 + row * a->ldq, f, n);
    if (forms & ACT_BYTES)
        k->quantize_bytes(f, n, a->byte.q + row * a->ldq, a->byte.scale + g, a->byte.sum + 3 * g,
                          a->byte.minus + 3 * g);
    if (forms & ACT_PAIRS)
        k->quantize_pairs(f, n, a->pair.q + row * a->ldq, a->pair.scale + g, a->pair.sum + 3 * g);
}

static void decode_row(const struct weight *w, int64_t row, float *to)
{
    const size_t n_in = (size_t)w->dim[w->rank - 1];
    dtype_info(w->dtype)->decode(w->data + (size_t)row * (w->n_bytes / (size_t)w->dim[0]), to, n_in);
}

static void embed_task(void *ctx, uint32_t t, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    const size_t n = bm->m->cfg.n_embd;
    float *x = bm->s.x + t * n;
    decode_row(weight_of(bm, w->embed->table), bm->s.token[t], x);
    for (size_t i = 0; w->embed->scale != 1 && i < n; i++) x[i] *= w->embed->scale;
    if (!w->embed->position) return;
    float *row = bm->s.y + t * n;
    decode_row(weight_of(bm, w->embed->position), bm->s.pos[t], row);
    bm->b->k->add(x, row, n);
}

/* cos and sin of every token's position, once a step for all layers. */
static void angles_task(void *ctx, uint32_t t, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    for (uint32_t i = 0; i < bm->m->n_rope; i++) {
        const struct rope *r = &bm->m->rope[i];
        float *to = bm->s.cos_sin + ((size_t)i * bm->lim.max_tokens + t) * bm->s.rope_stride;
        for (uint32_t j = 0; j < r->n_pair; j++) {
            double angle = (double)bm->s.pos[t] * (double)r->inv_freq[j];
            to[j] = (float)(cos(angle) * (double)r->scale);
            to[r->n_pair + j] = (float)(sin(angle) * (double)r->scale);
        }
    }
}

static void normalise_task(void *ctx, uint32_t t, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    const size_t n = bm->m->cfg.n_embd;
    norm_row(bm, bm->s.h.f + t * bm->s.h.ldf, bm->s.x + t * n, n, w->norm);
    quantize_row(bm, &bm->s.h, t, n, w->forms);
}

void step_normalise(struct backend_model *bm, const struct norm *norm, unsigned forms)
{
    struct work w = {.bm = bm, .norm = norm, .forms = forms};
    run(&w, STAGE_NORM, bm->n_tok, normalise_task);
}

static void residual_task(void *ctx, uint32_t t, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    const size_t n = bm->m->cfg.n_embd;
    const float *y = w->y + t * n;
    if (w->norm->weight) {
        norm_row(bm, bm->s.h.f + t * bm->s.h.ldf, y, n, w->norm);
        y = bm->s.h.f + t * bm->s.h.ldf;
    }
    bm->b->k->add(bm->s.x + t * n, y, n);
}

void step_add_residual(struct backend_model *bm, const float *y, const struct norm *post)
{
    struct work w = {.bm = bm, .norm = post, .y = y};
    run(&w, STAGE_RESIDUAL, bm->n_tok, residual_task);
}

static void store_kv_row(const struct backend_model *bm, uint8_t *to, const float *x)
{
    const size_t n = bm->m->cfg.head_dim;
    if (bm->kv.type == DT_F16)
        bm->b->k->to_halves((uint16_t *)(void *)to, x, n);
    else
        dtype_info(bm->kv.type)->encode(x, to, n, NULL);
}

/* Norms of heads, RoPE, scale of q; k and v into the cache. */
static void qkv_post_task(void *ctx, uint32_t t, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    const struct op_qkv *op = w->qkv;
    const struct model_config *c = &bm->m->cfg;
    const size_t hd = c->head_dim;
    const uint32_t pos = bm->s.pos[t];
    float *q = bm->s.q + t * hd * c->n_head, *k = bm->s.k + t * hd * c->n_head_kv,
          *v = bm->s.v + t * hd * c->n_head_kv;

    for (uint32_t i = 0; op->q_norm.weight && i < c->n_head; i++)
        norm_row(bm, q + i * hd, q + i * hd, hd, &op->q_norm);
    for (uint32_t i = 0; op->k_norm.weight && i < c->n_head_kv; i++)
        norm_row(bm, k + i * hd, k + i * hd, hd, &op->k_norm);
    if (op->rope != UINT32_MAX) {
        const struct rope *r = &bm->m->rope[op->rope];
        const float *angles = bm->s.cos_sin + ((size_t)op->rope * bm->lim.max_tokens + t) * bm->s.rope_stride;
        for (uint32_t i = 0; i < c->n_head; i++)
            bm->b->k->rope(q + i * hd, angles, r->n_pair, r->interleaved);
        for (uint32_t i = 0; i < c->n_head_kv; i++)
            bm->b->k->rope(k + i * hd, angles, r->n_pair, r->interleaved);
    }
    for (size_t i = 0; i < hd * c->n_head; i++) q[i] *= op->q_scale;

    const struct batch_seq *seq = &bm->queued->seq[bm->s.seq[t]];
    uint8_t *block = bm->queued_kv->mem.data + seq->block[pos / KV_BLOCK_TOKENS] * bm->kv.block_bytes;
    for (uint32_t i = 0; i < c->n_head_kv; i++) {
        store_kv_row(bm, block + kv_row_at(&bm->kv, op->layer, false, i, pos), k + i * hd);
        store_kv_row(bm, block + kv_row_at(&bm->kv, op->layer, true, i, pos), v + i * hd);
    }
}

static struct mm product(struct backend_model *bm, const struct linear *l, int64_t row0, int64_t n_out,
                         const struct acts *x, uint32_t n_col, float *y, size_t ldy)
{
    const float *bias = floats_of(bm, l->bias);
    return (struct mm){.w = weight_of(bm, l->weight),
                       .bias = bias ? bias + row0 : NULL,
                       .row0 = row0,
                       .n_out = n_out,
                       .x = x,
                       .n_col = n_col,
                       .y = y,
                       .ldy = ldy};
}

static void run_qkv(struct backend_model *bm, const struct op_qkv *op)
{
    const struct model_config *c = &bm->m->cfg;
    const int64_t nq = (int64_t)c->n_head * c->head_dim, nkv = (int64_t)c->n_head_kv * c->head_dim;
    const struct linear *f = &op->fused;
    const bool fused = f->weight != 0;
    step_normalise(bm, &op->norm,
                   matmul_form(bm, fused ? f->weight : op->q.weight) | matmul_form(bm, op->k.weight) |
                       matmul_form(bm, op->v.weight));
    struct mm mm[3] = {
        product(bm, fused ? f : &op->q, 0, nq, &bm->s.h, bm->n_tok, bm->s.q, (size_t)nq),
        product(bm, fused ? f : &op->k, fused ? nq : 0, nkv, &bm->s.h, bm->n_tok, bm->s.k, (size_t)nkv),
        product(bm, fused ? f : &op->v, fused ? nq + nkv : 0, nkv, &bm->s.h, bm->n_tok, bm->s.v, (size_t)nkv),
    };
    matmul_run(bm, STAGE_QKV, mm, 3);
    struct work w = {.bm = bm, .qkv = op};
    run(&w, STAGE_KV, bm->n_tok, qkv_post_task);
}

static void quantize_task(void *ctx, uint32_t row, uint32_t thread)
{
    const struct work *w = ctx;
    quantize_row(w->bm, w->acts, row, w->n, w->forms);
}

static void run_attn(struct backend_model *bm, const struct op_attn *op)
{
    const struct model_config *c = &bm->m->cfg;
    struct work w = {.bm = bm, .acts = &bm->s.o, .n = bm->s.o.n, .forms = matmul_form(bm, op->out.weight)};
    step_attention(bm, op);
    if (w.forms != ACT_FLOATS) run(&w, STAGE_NORM, bm->n_tok, quantize_task);
    struct mm mm = product(bm, &op->out, 0, c->n_embd, &bm->s.o, bm->n_tok, bm->s.y, c->n_embd);
    matmul_run(bm, STAGE_ATTENTION_OUT, &mm, 1);
    step_add_residual(bm, bm->s.y, &op->post_norm);
}

static void gate_task(void *ctx, uint32_t row, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    float *u = bm->s.u.f + row * bm->s.u.ldf;
    if (w->gated)
        bm->b->k->act_mul(u, bm->s.gate + row * bm->s.u.ldf, w->n, w->act);
    else
        bm->b->k->act(u, w->n, w->act);
    quantize_row(bm, &bm->s.u, row, w->n, w->forms);
}

/* u = act(gate) * u or act(u), for n_row rows of n, and their integers if asked. */
void step_gate_quantize(struct backend_model *bm, uint32_t n_row, size_t n, enum activation act, bool gated,
                        unsigned forms)
{
    struct work w = {.bm = bm, .n = n, .act = act, .gated = gated, .forms = forms};
    run(&w, STAGE_ACT, n_row, gate_task);
}

static void run_ffn(struct backend_model *bm, const struct op_ffn *op)
{
    const int64_t n_ff = bm->m->cfg.n_ff;
    const bool gated = op->gate.weight || op->gate_up_fused;
    const size_t ld = bm->s.u.ldf;
    uint32_t n = 0;
    struct mm mm[2];

    step_normalise(bm, &op->norm, matmul_form(bm, op->up.weight) | matmul_form(bm, op->gate.weight));
    mm[n++] = product(bm, &op->up, op->gate_up_fused ? n_ff : 0, n_ff, &bm->s.h, bm->n_tok, bm->s.u.f, ld);
    if (gated)
        mm[n++] = product(bm, op->gate_up_fused ? &op->up : &op->gate, 0, n_ff, &bm->s.h, bm->n_tok,
                          bm->s.gate, ld);
    matmul_run(bm, STAGE_UP, mm, n);
    step_gate_quantize(bm, bm->n_tok, (size_t)n_ff, op->act, gated, matmul_form(bm, op->down.weight));
    mm[0] = product(bm, &op->down, 0, bm->m->cfg.n_embd, &bm->s.u, bm->n_tok, bm->s.y, bm->m->cfg.n_embd);
    matmul_run(bm, STAGE_DOWN, mm, 1);
    step_add_residual(bm, bm->s.y, &op->post_norm);
}

static void logits_norm_task(void *ctx, uint32_t row, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    const size_t n = bm->m->cfg.n_embd;
    norm_row(bm, bm->s.h.f + row * bm->s.h.ldf, bm->s.x + bm->s.row_token[row] * n, n, &w->logits->norm);
    quantize_row(bm, &bm->s.h, row, n, w->forms);
}

static void softcap_task(void *ctx, uint32_t row, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    const size_t n = bm->m->cfg.n_vocab;
    float *y = bm->s.logits + row * n;
    if (w->logits->softcap != 0)
        bm->b->k->softcap(y, n, w->logits->scale, w->logits->softcap);
    else
        for (size_t i = 0; i < n; i++) y[i] *= w->logits->scale;
}

static void hidden_task(void *ctx, uint32_t row, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    const size_t n = bm->m->cfg.n_embd;
    norm_row(bm, bm->s.y + row * n, bm->s.x + bm->s.hidden_token[row] * n, n, &w->logits->norm);
}

/* The rows that a slice without OP_EMBED begins with, */
static void input_task(void *ctx, uint32_t t, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    const size_t n = bm->m->cfg.n_embd;
    memcpy(bm->s.x + t * n, bm->s.input[t], n * sizeof *bm->s.x);
}

/* and those that one without OP_LOGITS ends with. */
static void output_task(void *ctx, uint32_t row, uint32_t thread)
{
    const struct work *w = ctx;
    struct backend_model *bm = w->bm;
    const size_t n = bm->m->cfg.n_embd;
    memcpy(bm->s.y + row * n, bm->s.x + bm->s.hidden_token[row] * n, n * sizeof *bm->s.x);
}

static void run_logits(struct backend_model *bm, const struct op_logits *op)
{
    struct work w = {.bm = bm, .logits = op, .forms = matmul_form(bm, op->out.weight)};
    if (bm->n_hidden) run(&w, STAGE_NORM, bm->n_hidden, hidden_task);
    if (bm->n_row == 0) return;
    run(&w, STAGE_NORM, bm->n_row, logits_norm_task);
    struct mm mm =
        product(bm, &op->out, 0, bm->m->cfg.n_vocab, &bm->s.h, bm->n_row, bm->s.logits, bm->m->cfg.n_vocab);
    matmul_run(bm, STAGE_LOGITS, &mm, 1);
    if (op->softcap != 0 || op->scale != 1) run(&w, STAGE_LOGITS, bm->n_row, softcap_task);
}

void step_run(struct backend_model *bm)
{
    struct work w = {.bm = bm};
    const uint32_t last = model_last_attention(bm->m);
    step_flatten(bm);
    run(&w, STAGE_EMBED, bm->m->n_rope ? bm->n_tok : 0, angles_task);
    if (!model_embeds(bm->m)) run(&w, STAGE_EMBED, bm->n_tok, input_task);
    for (uint32_t i = 0; i < bm->m->n_op; i++) {
        const struct op *op = &bm->m->op[i];
        if (i == last) step_narrow(bm);
        if (!bm->n_tok) return;
        switch (op->kind) {
        case OP_EMBED:
            w.embed = &op->embed;
            run(&w, STAGE_EMBED, bm->n_tok, embed_task);
            break;
        case OP_QKV: run_qkv(bm, &op->qkv); break;
        case OP_ATTN: run_attn(bm, &op->attn); break;
        case OP_FFN: run_ffn(bm, &op->ffn); break;
        case OP_MOE: step_moe(bm, &op->moe); break;
        case OP_LOGITS: run_logits(bm, &op->logits); break;
        }
    }
    if (!model_ends(bm->m)) run(&w, STAGE_RESIDUAL, bm->n_hidden, output_task);
}
