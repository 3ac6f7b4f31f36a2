/* qwen2 and qwen2moe (biases on q, k, v), qwen3 and qwen3moe (norms on q and k instead). */
#include "model/arch.h"

#define ATTENTION_WEIGHTS                                                                                    \
    {W_EMBD, "token_embd.weight", {D_VOCAB, D_EMBD}, 0}, {W_OUT_NORM, "output_norm.weight", {D_EMBD}, 0},    \
        {W_OUT, "output.weight", {D_VOCAB, D_EMBD}, W_OPTIONAL},                                             \
        {W_RANK, "cls.output.weight", {D_RANK, D_EMBD}, W_OPTIONAL},                                         \
        {W_RANK_B, "cls.output.bias", {D_RANK}, W_OPTIONAL},                                                 \
        {W_ATTN_NORM, "blk.%u.attn_norm.weight", {D_EMBD}, 0},                                               \
        {W_Q, "blk.%u.attn_q.weight", {D_Q, D_EMBD}, 0}, {W_K, "blk.%u.attn_k.weight", {D_KV, D_EMBD}, 0},   \
        {W_V, "blk.%u.attn_v.weight", {D_KV, D_EMBD}, 0},                                                    \
        {W_O, "blk.%u.attn_output.weight", {D_EMBD, D_Q}, 0},                                                \
    {                                                                                                        \
        W_FFN_NORM, "blk.%u.ffn_norm.weight", {D_EMBD}, 0                                                    \
    }
#define QKV_BIASES                                                                                           \
    {W_Q_B, "blk.%u.attn_q.bias", {D_Q}, W_OPTIONAL}, {W_K_B, "blk.%u.attn_k.bias", {D_KV}, W_OPTIONAL},     \
    {                                                                                                        \
        W_V_B, "blk.%u.attn_v.bias", {D_KV}, W_OPTIONAL                                                      \
    }
#define QK_NORMS                                                                                             \
    {W_Q_NORM, "blk.%u.attn_q_norm.weight", {D_HEAD}, 0},                                                    \
    {                                                                                                        \
        W_K_NORM, "blk.%u.attn_k_norm.weight", {D_HEAD}, 0                                                   \
    }
#define DENSE_FFN                                                                                            \
    {W_GATE, "blk.%u.ffn_gate.weight", {D_FF, D_EMBD}, 0},                                                   \
        {W_UP, "blk.%u.ffn_up.weight", {D_FF, D_EMBD}, 0},                                                   \
    {                                                                                                        \
        W_DOWN, "blk.%u.ffn_down.weight", {D_EMBD, D_FF}, 0                                                  \
    }
#define EXPERTS                                                                                              \
    {W_ROUTER, "blk.%u.ffn_gate_inp.weight", {D_EXPERT, D_EMBD}, 0},                                         \
        {W_X_GATE, "blk.%u.ffn_gate_exps.weight", {D_EXPERT, D_FF_X, D_EMBD}, 0},                            \
        {W_X_UP, "blk.%u.ffn_up_exps.weight", {D_EXPERT, D_FF_X, D_EMBD}, 0},                                \
    {                                                                                                        \
        W_X_DOWN, "blk.%u.ffn_down_exps.weight", {D_EXPERT, D_EMBD, D_FF_X}, 0                               \
    }

static const struct weight_row qwen2_weights[] = {ATTENTION_WEIGHTS, QKV_BIASES, DENSE_FFN, WEIGHT_TABLE_END};
static const struct weight_row qwen3_weights[] = {ATTENTION_WEIGHTS, QK_NORMS, DENSE_FFN, WEIGHT_TABLE_END};
static const struct weight_row qwen3moe_weights[] = {ATTENTION_WEIGHTS, QK_NORMS, EXPERTS, WEIGHT_TABLE_END};
static const struct weight_row qwen2moe_weights[] = {
    ATTENTION_WEIGHTS,
    QKV_BIASES,
    EXPERTS,
    {W_S_ROUTER, "blk.%u.ffn_gate_inp_shexp.weight", {D_EMBD}, 0},
    {W_S_GATE, "blk.%u.ffn_gate_shexp.weight", {D_FF_S, D_EMBD}, 0},
    {W_S_UP, "blk.%u.ffn_up_shexp.weight", {D_FF_S, D_EMBD}, 0},
    {W_S_DOWN, "blk.%u.ffn_down_shexp.weight", {D_EMBD, D_FF_S}, 0},
    WEIGHT_TABLE_END,
};

static status style(const struct arch_build *b, struct decoder_style *s, struct error *e)
{
    s->rope_halves = true;
    return OK;
}

static status style_qwen3moe(const struct arch_build *b, struct decoder_style *s, struct error *e)
{
    s->rope_halves = true;
    s->moe_renormalize = true;
    return OK;
}

const struct arch arch_qwen2 = {"qwen2", qwen2_weights, style};
const struct arch arch_qwen2moe = {"qwen2moe", qwen2moe_weights, style};
const struct arch arch_qwen3 = {"qwen3", qwen3_weights, style};
const struct arch arch_qwen3moe = {"qwen3moe", qwen3moe_weights, style_qwen3moe};
