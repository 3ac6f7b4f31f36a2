/* llama: Llama 1 to 3.3, Mistral, Mixtral and everything else converted under this name.
 * RoPE turns neighbouring pairs: GGUF converters permute the rows of q and k for it. */
#include "model/arch.h"

static const struct weight_row weights[] = {
    {W_EMBD, "token_embd.weight", {D_VOCAB, D_EMBD}, 0},
    {W_OUT_NORM, "output_norm.weight", {D_EMBD}, 0},
    {W_OUT, "output.weight", {D_VOCAB, D_EMBD}, W_OPTIONAL},
    {W_ROPE_FREQS, "rope_freqs.weight", {D_ROT_HALF}, W_OPTIONAL},
    {W_ROPE_LONG, "rope_factors_long.weight", {D_ROT_HALF}, W_OPTIONAL},
    {W_ROPE_SHORT, "rope_factors_short.weight", {D_ROT_HALF}, W_OPTIONAL},
    {W_ATTN_NORM, "blk.%u.attn_norm.weight", {D_EMBD}, 0},
    {W_Q, "blk.%u.attn_q.weight", {D_Q, D_EMBD}, 0},
    {W_K, "blk.%u.attn_k.weight", {D_KV, D_EMBD}, 0},
    {W_V, "blk.%u.attn_v.weight", {D_KV, D_EMBD}, 0},
    {W_Q_B, "blk.%u.attn_q.bias", {D_Q}, W_OPTIONAL},
    {W_K_B, "blk.%u.attn_k.bias", {D_KV}, W_OPTIONAL},
    {W_V_B, "blk.%u.attn_v.bias", {D_KV}, W_OPTIONAL},
    {W_O, "blk.%u.attn_output.weight", {D_EMBD, D_Q}, 0},
    {W_O_B, "blk.%u.attn_output.bias", {D_EMBD}, W_OPTIONAL},
    {W_FFN_NORM, "blk.%u.ffn_norm.weight", {D_EMBD}, 0},
    {W_GATE, "blk.%u.ffn_gate.weight", {D_FF, D_EMBD}, W_DENSE},
    {W_UP, "blk.%u.ffn_up.weight", {D_FF, D_EMBD}, W_DENSE},
    {W_GATE_B, "blk.%u.ffn_gate.bias", {D_FF}, W_OPTIONAL | W_DENSE},
    {W_UP_B, "blk.%u.ffn_up.bias", {D_FF}, W_OPTIONAL | W_DENSE},
    {W_DOWN, "blk.%u.ffn_down.weight", {D_EMBD, D_FF}, W_DENSE},
    {W_DOWN_B, "blk.%u.ffn_down.bias", {D_EMBD}, W_OPTIONAL | W_DENSE},
    {W_ROUTER, "blk.%u.ffn_gate_inp.weight", {D_EXPERT, D_EMBD}, W_MOE},
    {W_X_GATE, "blk.%u.ffn_gate_exps.weight", {D_EXPERT, D_FF_X, D_EMBD}, W_MOE},
    {W_X_UP, "blk.%u.ffn_up_exps.weight", {D_EXPERT, D_FF_X, D_EMBD}, W_MOE},
    {W_X_DOWN, "blk.%u.ffn_down_exps.weight", {D_EXPERT, D_EMBD, D_FF_X}, W_MOE},
    WEIGHT_TABLE_END,
};

static status style(const struct arch_build *b, struct decoder_style *s, struct error *e)
{
    s->moe_renormalize = true;
    TRY(arch_f32(b, "attention.scale", false, &s->q_scale, e));
    return OK;
}

const struct arch arch_llama = {"llama", weights, style};
