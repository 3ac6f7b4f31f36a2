/* What architecture files are written with; private to src/model.
 *
 * An architecture is: a configuration reader, a table of weights and a program builder. Most decoders differ
 * from llama only in rows of the table and in a `struct decoder_style`, so decoder_build does the rest. */
#ifndef CORRAL_MODEL_ARCH_H
#define CORRAL_MODEL_ARCH_H

#include "model/model.h"

/* Where a bound weight is remembered. W_GLOBAL_* once per model, the others once per layer. */
enum weight_slot {
    W_EMBD, W_POS_EMBD, W_OUT_NORM, W_OUT_NORM_B, W_OUT, W_OUT_B, W_RANK, W_RANK_B, W_ROPE_FREQS, W_ROPE_LONG,
    W_ROPE_SHORT,
    W_N_GLOBAL,
    W_ATTN_NORM = W_N_GLOBAL, W_ATTN_NORM_B, W_Q, W_Q_B, W_K, W_K_B, W_V, W_V_B, W_QKV, W_QKV_B, W_Q_NORM,
    W_K_NORM, W_O, W_O_B, W_ATTN_POST_NORM, W_FFN_NORM, W_FFN_NORM_B, W_FFN_POST_NORM, W_GATE, W_GATE_B, W_UP,
    W_UP_B, W_DOWN, W_DOWN_B, W_ROUTER, W_X_GATE, W_X_UP, W_X_DOWN, W_S_ROUTER, W_S_GATE, W_S_UP, W_S_DOWN,
    W_N_SLOT
};

/* A dimension in terms of the configuration. */
enum dim_of {
    D_NONE, D_VOCAB, D_EMBD, D_CTX, D_HEAD, D_Q, D_KV, D_QKV, D_FF, D_FF2, D_EXPERT, D_FF_X, D_FF_S,
    D_ROT_HALF, D_RANK
};

enum {
    W_REQUIRED = 0,
    W_OPTIONAL = 1,
    W_DENSE = 2, /* only without experts */
    W_MOE = 4    /* only with experts */
};

struct weight_row {
    uint8_t     slot;
    const char *name; /* "%u" is the layer; a row with it is bound once per layer */
    uint8_t     dim[3];
    uint8_t     flags;
};
#define WEIGHT_TABLE_END {W_N_SLOT, NULL, {0}, 0}

struct arch_build {
    const struct gguf *gguf;
    const struct arch *arch;
    struct model_desc *d;
    wref              *slot; /* W_N_GLOBAL, then (n_layer, W_N_SLOT - W_N_GLOBAL) */
    uint32_t           n_rot;
    float              rope_base;
    uint32_t           context; /* longest sequence that will run: chooses long or short RoPE factors */
};

/* How a pre-norm decoder differs from llama (all zero). */
struct decoder_style {
    enum norm_kind  norm;
    enum activation act;
    bool     no_rope;
    bool     rope_halves; /* pairs (i, i + n_rot/2) instead of (2i, 2i + 1) */
    bool     gate_up_fused;
    bool     moe_renormalize;
    float    embd_scale;    /* 0: 1 */
    float    q_scale;       /* 0: 1 / sqrt(head_dim) */
    float    attn_softcap, logit_softcap;
    uint32_t window;        /* of the windowed layers */
    uint32_t window_period; /* every window_period-th layer sees everything,
                             * the others `window` keys; 0: all see everything */
    float    window_rope_base; /* RoPE base of the windowed layers, unscaled; 0: the same as the others' */
};

struct arch {
    const char              *name; /* general.architecture */
    const struct weight_row *weights;
    status (*style)(const struct arch_build *b, struct decoder_style *s, struct error *e);
};

extern const struct arch arch_llama, arch_qwen2, arch_qwen2moe, arch_qwen3, arch_qwen3moe, arch_gpt2,
    arch_gemma2, arch_gemma3, arch_phi3;

/* "llama" + suffix -> "llama.attention.head_count" and so on, read with gguf_get_*. */
status arch_u32(const struct arch_build *b, const char *suffix, bool required, uint32_t *out,
                struct error *e);
status arch_f32(const struct arch_build *b, const char *suffix, bool required, float *out, struct error *e);
status arch_str(const struct arch_build *b, const char *suffix, struct gguf_str *out, struct error *e);

status config_read(struct arch_build *b, struct error *e);
status weights_bind(struct arch_build *b, struct error *e);
status decoder_build(struct arch_build *b, const struct decoder_style *s, struct error *e);
/* Append a RoPE table for this base; scaled: apply the file's scaling (linear, YaRN, factors). */
status rope_add(struct arch_build *b, float base, bool scaled, bool interleaved, uint32_t *index,
                struct error *e);

wref slot_global(const struct arch_build *b, enum weight_slot s);
wref slot_layer(const struct arch_build *b, uint32_t layer, enum weight_slot s);

#endif
