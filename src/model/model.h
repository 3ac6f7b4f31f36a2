/* A model as data: configuration, weights by name, and the program of one step.
 *
 * An architecture (model/arch_*.c) reads the configuration from the file's metadata, binds a table of
 * weights (name pattern, shape in terms of the configuration, optional or not) and emits a program: a list of
 * coarse operations. Backends run programs; they know operations, never architectures. Nothing here
 * allocates device memory or touches weight data: struct weight points into the mapped file. */
#ifndef CORRAL_MODEL_H
#define CORRAL_MODEL_H

#include "base/base.h"
#include "format/gguf.h"
#include "tensor/dtype.h"

/* How the hidden states of a text become one vector. RANK: the last one through model_desc.rank. */
enum pooling { POOLING_UNSET, POOLING_NONE, POOLING_MEAN, POOLING_CLS, POOLING_LAST, POOLING_RANK };

struct model_config {
    char     arch[32];
    uint32_t n_vocab, n_ctx_train, n_layer, n_embd;
    uint32_t n_head, n_head_kv, head_dim; /* K and V rows have the same length */
    uint32_t n_ff;                        /* of dense layers */
    uint32_t n_expert, n_expert_used, n_ff_expert, n_ff_shared;
    float    norm_eps;
    bool     causal;
    uint8_t  pooling; /* enum pooling, as the file says */
    uint32_t n_rank;  /* outputs of model_desc.rank; 0: it has none */
};

/* Index into model_desc.weight; 0 means "this model has no such weight". */
typedef uint32_t wref;

struct weight {
    const char    *name; /* borrowed from the file */
    enum dtype     dtype;
    uint8_t        rank;
    int64_t        dim[3]; /* row-major: (n), (n_out, n_in) or (n_expert, n_out, n_in) */
    size_t         n_bytes;
    const uint8_t *data; /* mapped file */
};

/* Rotary embedding as a table: pair i of a head turns by angle position * inv_freq[i]; cos and sin are
 * multiplied by scale. Every variant (linear, Llama 3 factors, YaRN, long/short factors) only changes the
 * table. */
struct rope {
    uint32_t n_pair;      /* pairs that rotate; the rest of the head passes through */
    bool     interleaved; /* pairs are (2i, 2i+1), else (i, i + n_pair) */
    float    scale;
    float   *inv_freq; /* n_pair */
};

enum norm_kind { NORM_RMS, NORM_LAYER };
enum activation { ACT_SILU, ACT_GELU /* tanh form */ };

/* norm(x) = x / rms(x) * weight, or (x - mean) / sd * weight + bias. weight 0: no norm at all. */
struct norm { wref weight, bias; enum norm_kind kind; };
/* y = w x + bias */
struct linear { wref weight, bias; };

/* The residual stream x (n_tok, n_embd) flows through the operations in order. */
enum op_kind {
    OP_EMBED,  /* x = table[token] * scale + position_table[position] */
    OP_QKV,    /* h = norm(x); q, k, v = h wq, h wk, h wv (or one fused matrix); QK norm; RoPE;
                * k, v -> KV cache */
    OP_ATTN,   /* o = attention(q, cached k, v) ; x += post_norm(o wo) */
    OP_FFN,    /* h = norm(x); x += post_norm(down(act(gate h) * up h)), or down(act(up h)) without a gate */
    OP_MOE,    /* h = norm(x); router; x += sum of weighted experts (+ gated shared expert) */
    OP_LOGITS, /* logits = softcap(norm(x) w) for the rows that are wanted */
};

struct op_embed { wref table, position; float scale; };
struct op_qkv {
    uint32_t layer;
    struct norm norm;
    struct linear q, k, v;   /* separate, or */
    struct linear fused;     /* rows q, then k, then v */
    struct norm q_norm, k_norm; /* per head, over head_dim */
    uint32_t rope;           /* index into model_desc.rope; UINT32_MAX: none */
    float    q_scale;        /* multiplies q after RoPE: the softmax scale */
};
struct op_attn {
    uint32_t layer;
    struct linear out;
    struct norm post_norm;
    float    softcap;        /* 0: none; else cap * tanh(score / cap) */
    uint32_t window;         /* keys a query sees, itself included; 0: all before it */
};
struct op_ffn {
    uint32_t layer;
    struct norm norm, post_norm;
    struct linear gate, up, down;
    bool     gate_up_fused;  /* up holds gate rows, then up rows */
    enum activation act;
};
struct op_moe {
    uint32_t layer;
    struct norm norm, post_norm;
    wref     router, gate, up, down; /* router (n_expert, n_embd); experts rank 3 */
    uint32_t n_used;
    bool     softmax_after_topk; /* weights = softmax over the chosen logits, else over all */
    bool     renormalize;        /* divide the chosen weights by their sum */
    float    scale;
    enum activation act;
    wref     sh_router, sh_gate, sh_up, sh_down; /* shared expert; its output times sigmoid(h . sh_router) */
};
struct op_logits { struct norm norm; struct linear out; float scale, softcap; };

struct op {
    enum op_kind kind;
    union {
        struct op_embed  embed;
        struct op_qkv    qkv;
        struct op_attn   attn;
        struct op_ffn    ffn;
        struct op_moe    moe;
        struct op_logits logits;
    };
};

struct model_desc {
    struct model_config cfg;
    struct weight *weight; /* weight[0] is unused */
    uint32_t       n_weight;
    struct rope   *rope;
    uint32_t       n_rope;
    struct op     *op;
    uint32_t       n_op;
    struct linear  rank; /* a reranker's head (n_rank, n_embd) on the final norm's output; not part of the
                          * program */
};

/* A whole model begins with OP_EMBED and ends with OP_LOGITS; a slice of one may do neither. */
static inline bool model_embeds(const struct model_desc *m)
{
    return m->n_op && m->op[0].kind == OP_EMBED;
}
static inline bool model_ends(const struct model_desc *m)
{
    return m->n_op && m->op[m->n_op - 1].kind == OP_LOGITS;
}

/* The last OP_ATTN, n_op if there is none: from there on a token whose results nobody wants is of no use. */
static inline uint32_t model_last_attention(const struct model_desc *m)
{
    uint32_t i = m->n_op;
    while (i > 0 && m->op[i - 1].kind != OP_ATTN) i--;
    return i ? i - 1 : m->n_op;
}

/* Slices (slice.c). Operations [from, to) of m as a model of their own, with the weights that these use and
 * no others, and layers counted from their first. It borrows names, data and RoPE tables from m, which
 * outlives it. */
struct op_range { uint32_t from, to; };
/* Of these layers alone. */
struct op_range model_layers(const struct model_desc *m, uint32_t layer, uint32_t n_layer);
/* The same with the embedding for the first layer, with the output for the last. */
struct op_range model_part(const struct model_desc *m, uint32_t layer, uint32_t n_layer);
void model_slice_init(struct model_desc *out, const struct model_desc *m, struct op_range r);
void model_slice_deinit(struct model_desc *s);

struct model;
struct model_options {
    uint32_t max_context; /* longest sequence that will run: chooses Phi-3's long or short RoPE factors;
                           * 0: as trained */
};
/* options may be NULL. Open the file's architecture. The gguf stays the caller's and must outlive the model.
 * ERR_UNSUPPORTED names the architecture and the known ones; missing tensors and wrong shapes are named with
 * what was expected. */
status model_new(struct model **out, const struct gguf *g, const struct model_options *options,
                 struct error *e);
void   model_free(struct model *m);
const struct model_desc *model_desc(const struct model *m);

#endif
