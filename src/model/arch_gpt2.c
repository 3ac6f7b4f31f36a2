/* gpt2: LayerNorm with bias, learned positions, one fused qkv matrix, an FFN without a gate. */
#include "model/arch.h"

static const struct weight_row weights[] = {
    {W_EMBD, "token_embd.weight", {D_VOCAB, D_EMBD}, 0},
    {W_POS_EMBD, "position_embd.weight", {D_CTX, D_EMBD}, 0},
    {W_OUT_NORM, "output_norm.weight", {D_EMBD}, 0},
    {W_OUT_NORM_B, "output_norm.bias", {D_EMBD}, 0},
    {W_OUT, "output.weight", {D_VOCAB, D_EMBD}, W_OPTIONAL},
    {W_ATTN_NORM, "blk.%u.attn_norm.weight", {D_EMBD}, 0},
    {W_ATTN_NORM_B, "blk.%u.attn_norm.bias", {D_EMBD}, 0},
    {W_QKV, "blk.%u.attn_qkv.weight", {D_QKV, D_EMBD}, 0},
    {W_QKV_B, "blk.%u.attn_qkv.bias", {D_QKV}, W_OPTIONAL},
    {W_O, "blk.%u.attn_output.weight", {D_EMBD, D_Q}, 0},
    {W_O_B, "blk.%u.attn_output.bias", {D_EMBD}, W_OPTIONAL},
    {W_FFN_NORM, "blk.%u.ffn_norm.weight", {D_EMBD}, 0},
    {W_FFN_NORM_B, "blk.%u.ffn_norm.bias", {D_EMBD}, 0},
    {W_UP, "blk.%u.ffn_up.weight", {D_FF, D_EMBD}, 0},
    {W_UP_B, "blk.%u.ffn_up.bias", {D_FF}, W_OPTIONAL},
    {W_DOWN, "blk.%u.ffn_down.weight", {D_EMBD, D_FF}, 0},
    {W_DOWN_B, "blk.%u.ffn_down.bias", {D_EMBD}, W_OPTIONAL},
    WEIGHT_TABLE_END,
};

static status style(const struct arch_build *b, struct decoder_style *s, struct error *e)
{
    s->norm = NORM_LAYER;
    s->act = ACT_GELU;
    s->no_rope = true;
    return OK;
}

const struct arch arch_gpt2 = {"gpt2", weights, style};
