/* phi3: llama with fused qkv and fused gate/up matrices, and RoPE factors for short and for long contexts.
 * The window that some Phi-3 files name is not applied: the models were converted for full attention. */
#include "model/arch.h"

static const struct weight_row weights[] = {
    {W_EMBD, "token_embd.weight", {D_VOCAB, D_EMBD}, 0},
    {W_OUT_NORM, "output_norm.weight", {D_EMBD}, 0},
    {W_OUT, "output.weight", {D_VOCAB, D_EMBD}, W_OPTIONAL},
    {W_ROPE_LONG, "rope_factors_long.weight", {D_ROT_HALF}, W_OPTIONAL},
    {W_ROPE_SHORT, "rope_factors_short.weight", {D_ROT_HALF}, W_OPTIONAL},
    {W_ATTN_NORM, "blk.%u.attn_norm.weight", {D_EMBD}, 0},
    {W_QKV, "blk.%u.attn_qkv.weight", {D_QKV, D_EMBD}, 0},
    {W_QKV_B, "blk.%u.attn_qkv.bias", {D_QKV}, W_OPTIONAL},
    {W_O, "blk.%u.attn_output.weight", {D_EMBD, D_Q}, 0},
    {W_FFN_NORM, "blk.%u.ffn_norm.weight", {D_EMBD}, 0},
    {W_UP, "blk.%u.ffn_up.weight", {D_FF2, D_EMBD}, 0},
    {W_DOWN, "blk.%u.ffn_down.weight", {D_EMBD, D_FF}, 0},
    WEIGHT_TABLE_END,
};

static status style(const struct arch_build *b, struct decoder_style *s, struct error *e)
{
    s->rope_halves = true;
    s->gate_up_fused = true;
    return OK;
}

const struct arch arch_phi3 = {"phi3", weights, style};
