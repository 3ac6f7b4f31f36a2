/* gemma2 and gemma3: norms before and after each block, embeddings scaled by sqrt(n_embd), GELU gate, tied
 * head, windowed layers between full ones. The files store 1 + weight of the norms. */
#include <math.h>

#include "model/arch.h"

#define GEMMA_WEIGHTS                                                                                        \
    {W_EMBD, "token_embd.weight", {D_VOCAB, D_EMBD}, 0}, {W_OUT_NORM, "output_norm.weight", {D_EMBD}, 0},    \
        {W_OUT, "output.weight", {D_VOCAB, D_EMBD}, W_OPTIONAL},                                             \
        {W_ATTN_NORM, "blk.%u.attn_norm.weight", {D_EMBD}, 0},                                               \
        {W_Q, "blk.%u.attn_q.weight", {D_Q, D_EMBD}, 0}, {W_K, "blk.%u.attn_k.weight", {D_KV, D_EMBD}, 0},   \
        {W_V, "blk.%u.attn_v.weight", {D_KV, D_EMBD}, 0},                                                    \
        {W_O, "blk.%u.attn_output.weight", {D_EMBD, D_Q}, 0},                                                \
        {W_ATTN_POST_NORM, "blk.%u.post_attention_norm.weight", {D_EMBD}, 0},                                \
        {W_FFN_NORM, "blk.%u.ffn_norm.weight", {D_EMBD}, 0},                                                 \
        {W_GATE, "blk.%u.ffn_gate.weight", {D_FF, D_EMBD}, 0},                                               \
        {W_UP, "blk.%u.ffn_up.weight", {D_FF, D_EMBD}, 0},                                                   \
        {W_DOWN, "blk.%u.ffn_down.weight", {D_EMBD, D_FF}, 0},                                               \
    {                                                                                                        \
        W_FFN_POST_NORM, "blk.%u.post_ffw_norm.weight", {D_EMBD}, 0                                          \
    }

static const struct weight_row gemma2_weights[] = {GEMMA_WEIGHTS, WEIGHT_TABLE_END};
static const struct weight_row gemma3_weights[] = {
    GEMMA_WEIGHTS,
    {W_Q_NORM, "blk.%u.attn_q_norm.weight", {D_HEAD}, 0},
    {W_K_NORM, "blk.%u.attn_k_norm.weight", {D_HEAD}, 0},
    WEIGHT_TABLE_END,
};

/* The 27B models divide scores by sqrt(n_embd / n_head) instead of sqrt(head_dim); files do not say so. */
static void common(const struct arch_build *b, struct decoder_style *s, uint32_t n_layer_27b)
{
    const struct model_config *c = &b->d->cfg;
    s->act = ACT_GELU;
    s->rope_halves = true;
    s->embd_scale = sqrtf((float)c->n_embd);
    if (c->n_layer == n_layer_27b) s->q_scale = 1.0f / sqrtf((float)c->n_embd / (float)c->n_head);
}

static status gemma2_style(const struct arch_build *b, struct decoder_style *s, struct error *e)
{
    common(b, s, 46);
    s->window = 4096;
    s->window_period = 2;
    s->attn_softcap = 50;
    s->logit_softcap = 30;
    TRY(arch_u32(b, "attention.sliding_window", false, &s->window, e));
    TRY(arch_f32(b, "attn_logit_softcapping", false, &s->attn_softcap, e));
    TRY(arch_f32(b, "final_logit_softcapping", false, &s->logit_softcap, e));
    return OK;
}

static status gemma3_style(const struct arch_build *b, struct decoder_style *s, struct error *e)
{
    common(b, s, 62);
    TRY(arch_u32(b, "attention.sliding_window", false, &s->window, e));
    s->window_period = s->window ? 6 : 0;
    s->window_rope_base = 10000;
    TRY(arch_f32(b, "rope.freq_base_swa", false, &s->window_rope_base, e));
    TRY(arch_f32(b, "final_logit_softcapping", false, &s->logit_softcap, e));
    return OK;
}

const struct arch arch_gemma2 = {"gemma2", gemma2_weights, gemma2_style};
const struct arch arch_gemma3 = {"gemma3", gemma3_weights, gemma3_style};
