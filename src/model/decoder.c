/* The program of a pre-norm decoder: embed; per layer qkv, attention, FFN or experts; logits. */
#include <math.h>

#include "model/arch.h"

static struct op *emit(struct model_desc *d, enum op_kind kind)
{
    struct op *op = &d->op[d->n_op++];
    *op = (struct op){.kind = kind};
    return op;
}

static void layer_qkv(struct arch_build *b, const struct decoder_style *s, uint32_t il, uint32_t rope)
{
    struct op_qkv *o = &emit(b->d, OP_QKV)->qkv;
    o->layer = il;
    o->norm = (struct norm){slot_layer(b, il, W_ATTN_NORM), slot_layer(b, il, W_ATTN_NORM_B), s->norm};
    o->fused = (struct linear){slot_layer(b, il, W_QKV), slot_layer(b, il, W_QKV_B)};
    if (!o->fused.weight) {
        o->q = (struct linear){slot_layer(b, il, W_Q), slot_layer(b, il, W_Q_B)};
        o->k = (struct linear){slot_layer(b, il, W_K), slot_layer(b, il, W_K_B)};
        o->v = (struct linear){slot_layer(b, il, W_V), slot_layer(b, il, W_V_B)};
    }
    o->q_norm = (struct norm){slot_layer(b, il, W_Q_NORM), 0, NORM_RMS};
    o->k_norm = (struct norm){slot_layer(b, il, W_K_NORM), 0, NORM_RMS};
    o->rope = rope;
    o->q_scale = s->q_scale ? s->q_scale : 1.0f / sqrtf((float)b->d->cfg.head_dim);
}

static void layer_attn(struct arch_build *b, const struct decoder_style *s, uint32_t il, uint32_t window)
{
    struct op_attn *o = &emit(b->d, OP_ATTN)->attn;
    o->layer = il;
    o->out = (struct linear){slot_layer(b, il, W_O), slot_layer(b, il, W_O_B)};
    o->post_norm = (struct norm){slot_layer(b, il, W_ATTN_POST_NORM), 0, NORM_RMS};
    o->softcap = s->attn_softcap;
    o->window = window;
}

static void layer_ffn(struct arch_build *b, const struct decoder_style *s, uint32_t il)
{
    struct op_ffn *o = &emit(b->d, OP_FFN)->ffn;
    o->layer = il;
    o->norm = (struct norm){slot_layer(b, il, W_FFN_NORM), slot_layer(b, il, W_FFN_NORM_B), s->norm};
    o->post_norm = (struct norm){slot_layer(b, il, W_FFN_POST_NORM), 0, NORM_RMS};
    o->gate = (struct linear){slot_layer(b, il, W_GATE), slot_layer(b, il, W_GATE_B)};
    o->up = (struct linear){slot_layer(b, il, W_UP), slot_layer(b, il, W_UP_B)};
    o->down = (struct linear){slot_layer(b, il, W_DOWN), slot_layer(b, il, W_DOWN_B)};
    o->gate_up_fused = s->gate_up_fused;
    o->act = s->act;
}

static void layer_moe(struct arch_build *b, const struct decoder_style *s, uint32_t il)
{
    struct op_moe *o = &emit(b->d, OP_MOE)->moe;
    o->layer = il;
    o->norm = (struct norm){slot_layer(b, il, W_FFN_NORM), 0, s->norm};
    o->post_norm = (struct norm){slot_layer(b, il, W_FFN_POST_NORM), 0, NORM_RMS};
    o->router = slot_layer(b, il, W_ROUTER);
    o->gate = slot_layer(b, il, W_X_GATE);
    o->up = slot_layer(b, il, W_X_UP);
    o->down = slot_layer(b, il, W_X_DOWN);
    o->n_used = b->d->cfg.n_expert_used;
    o->renormalize = s->moe_renormalize;
    o->scale = 1;
    o->act = s->act;
    o->sh_router = slot_layer(b, il, W_S_ROUTER);
    o->sh_gate = slot_layer(b, il, W_S_GATE);
    o->sh_up = slot_layer(b, il, W_S_UP);
    o->sh_down = slot_layer(b, il, W_S_DOWN);
}

status decoder_build(struct arch_build *b, const struct decoder_style *s, struct error *e)
{
    struct model_desc *d = b->d;
    uint32_t rope = UINT32_MAX, window_rope = UINT32_MAX;

    if (!s->no_rope) {
        TRY(rope_add(b, b->rope_base, true, !s->rope_halves, &rope, e));
        window_rope = rope;
        if (s->window_rope_base)
            TRY(rope_add(b, s->window_rope_base, false, !s->rope_halves, &window_rope, e));
    }
    d->op = mem_zalloc(2 + 3 * (size_t)d->cfg.n_layer, sizeof *d->op);

    struct op_embed *em = &emit(d, OP_EMBED)->embed;
    em->table = slot_global(b, W_EMBD);
    em->position = slot_global(b, W_POS_EMBD);
    em->scale = s->embd_scale ? s->embd_scale : 1;
    for (uint32_t il = 0; il < d->cfg.n_layer; il++) {
        bool windowed = s->window_period && il % s->window_period != s->window_period - 1;
        layer_qkv(b, s, il, windowed ? window_rope : rope);
        layer_attn(b, s, il, windowed ? s->window : 0);
        if (d->cfg.n_expert)
            layer_moe(b, s, il);
        else
            layer_ffn(b, s, il);
    }
    struct op_logits *lo = &emit(d, OP_LOGITS)->logits;
    lo->norm = (struct norm){slot_global(b, W_OUT_NORM), slot_global(b, W_OUT_NORM_B), s->norm};
    lo->out = (struct linear){slot_global(b, W_OUT), slot_global(b, W_OUT_B)};
    if (!lo->out.weight) lo->out.weight = slot_global(b, W_EMBD); /* tied */
    lo->scale = 1;
    lo->softcap = s->logit_softcap;
    d->rank = (struct linear){slot_global(b, W_RANK), slot_global(b, W_RANK_B)};
    return OK;
}
