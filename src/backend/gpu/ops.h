/* What a GPU target is to the host code: one table of functions in a shared object (corral_cuda.so; corral_sim.so runs
 * the same kernels on the CPU). The host code in this folder is C and knows no target; the kernels in dev/ know neither
 * models nor batches. This header is the whole boundary, read by both sides, so it is C and C++.
 *
 * Everything runs in order on one stream of an open device. Kernels are queued and cannot fail by themselves: an error
 * shows at the next sync and stays until the device is closed. Pointers named below are device memory unless said.
 * Nothing here is checked on the device: the host code passes only what it has laid out itself. */
#ifndef CORRAL_GPU_OPS_H
#define CORRAL_GPU_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sample/program.h"

enum { GPU_OPS_ABI = 3 };
enum {
    GPU_STRIP = 16,          /* rows of a packed matrix that lie together */
    GPU_PAD = 32,            /* rows of activations are padded with zeros to a multiple of this */
    GPU_ATTN_ROWS = 64,      /* query rows (tokens times the heads that share a KV head) of an attention tile */
    GPU_MAX_HEAD_DIM = 256,
    GPU_MAX_BLOCK = 256,     /* columns of a block of any format */
    GPU_WORK_ROWS = 8,       /* activations of one piece of expert work, */
    GPU_WORK_ROWS_MANY = 64, /* or this where experts have many */
    GPU_PANEL_ROWS = 128,    /* of a matrix, decoded at a time at least */
    GPU_GEMM_ROWS = 192,     /* products of at least so many rows decode a packed matrix first, */
    GPU_GEMM_ROWS_RAW = 64,  /* of so many another one that is not f32, */
    GPU_LIBRARY_ROWS = 400,  /* and of so many go to a library where there is one: see dev/matmul.cu */
    GPU_MAX_EXPERTS = 1024,
};

struct gpu_info {
    char     name[96];
    uint64_t memory_bytes, memory_free_bytes;
    uint32_t n_core;        /* multiprocessors */
    int      major, minor;  /* compute capability */
};

/* Types that no GGUF file has. F8_E4M3: bytes of one sign, four exponent and three fraction bits, without infinities (OCP
 * 8-bit floating point); times a scale per block. The two bytes that stand for NaN count as 480. n_in: a multiple of 128. */
enum { GPU_F8_E4M3 = 0x100 };

/* A matrix (n_out, n_in), or a stack of them. Packed types are strips of 16 rows in the order of matrix fragments (see
 * dev/codec.cuh); the others lie as in the file. type is an enum dtype, or one of the above. */
struct gpu_matrix {
    const void *data;
    uint32_t    type, n_out, n_in; /* n_in: as stored, bf16 padded to GPU_PAD */
    size_t      expert_bytes;      /* from one matrix of a stack to the next */
};

/* Rows of activations, ld numbers apart, as f32 or bf16; a form that nobody reads is NULL. */
struct gpu_acts {
    float    *f;
    uint16_t *b;
    uint32_t  ld;
};

struct gpu_layout {
    size_t   bytes;
    uint32_t n_in;
    bool     packed;  /* by pack(); else rows as in the file */
    bool     reads_f, reads_b; /* the forms of activations that it is multiplied with */
};

struct gpu_pack { /* type of the file -> packed: rows [row0, row0 + n_row) of a matrix, row0 a multiple of 16 */
    const void *from; /* rows as in the file, n_in numbers each */
    void       *to;   /* the whole packed matrix */
    uint32_t    type, row0, n_row, n_in;
    /* F8: weight (r, c), r counted over the whole matrix, is its byte's number times
     * scale[r / scale_rows * scale_ld + c / scale_cols]; scale_cols is a multiple of 128. */
    const float *scale;
    uint32_t    scale_rows, scale_cols, scale_ld;
};

/* An index with this bit is of the answer that was drawn there: its token (0, if nothing could be chosen). */
enum { GPU_INDEX_DRAWN = 1 << 30 };
struct gpu_rows { /* out row i = table row index[i] times scale; add: on top of what is there */
    struct gpu_matrix table;
    const uint32_t   *index;
    const struct program_answer *drawn; /* NULL: no index is of them */
    uint32_t          n_row, n;
    float             scale;
    bool              add;
    struct gpu_acts   out;
};

struct gpu_norm { /* out row i = norm(x row index[i] (NULL: i)); add: add row i += norm(x row i), and only then out = next(add) */
    const float    *x;
    const uint32_t *index;
    uint32_t        n_row, n, ldx;
    const float    *weight, *bias; /* weight NULL with add: no norm, only the addition */
    float           eps;
    bool            layer_norm;    /* both norms */
    struct gpu_acts out;           /* with add, maybe in no form */
    float          *add;
    const float    *next_weight, *next_bias;
};

struct gpu_work { uint32_t expert, first, n; }; /* slots order[first .. first + n) go through this expert */

/* How matrices are multiplied. A choice that the device or the product does not allow falls to the next one:
 * others than GPU_AUTO are for tests and measurements. */
enum gpu_way { GPU_AUTO, GPU_LIBRARY, GPU_WGMMA, GPU_TILES, GPU_FEW };

struct gpu_matmul { /* y (n_row, n_out; ldy) = x w^T + bias, or added to y */
    struct gpu_matrix w;
    struct gpu_acts   x;
    float            *y;
    uint32_t          ldy, n_row;
    const float      *bias;
    bool              add;
    /* Experts: n_work is an upper bound known to the host, *n_work_at the number. Slot s reads row s / x_div. */
    const struct gpu_work *work;
    const uint32_t        *order, *n_work_at;
    uint32_t               n_work, x_div, work_rows;
    /* Room to decode rows of w to, at least GPU_PANEL_ROWS of them; NULL: there is none. */
    uint16_t *panel;
    size_t    panel_bytes;
    void     *room; /* for the library to work in; NULL: it is not used */
    size_t    room_bytes;
    enum gpu_way way;
};

struct gpu_act { /* out row = act(gate) * up, or act(up) when gate is NULL; rows of gate and up are ld apart */
    const float    *gate, *up;
    uint32_t        ld, n_row, n;
    bool            gelu;
    struct gpu_acts out;
};

struct gpu_kv { /* a KV pool: block, layer, K or V, head, token; see backend/kv_layout.h. type: an enum dtype */
    uint8_t *data;
    uint32_t type;
    size_t   row_bytes, head_bytes, part_bytes, block_bytes;
};

struct gpu_rope_table { /* cos_sin (n_tok, n_pair, 2) of the batch's positions */
    const float    *inv_freq;
    const uint32_t *pos;
    uint32_t        n_tok, n_pair;
    float           scale;
    float          *cos_sin;
};

struct gpu_qkv { /* rows q, k, v: head norms, RoPE; k and v into the pool, q times q_scale as f16 */
    const float    *qkv; /* (n_tok, (n_head + 2 n_head_kv) head_dim) */
    uint16_t       *q;   /* (n_tok, n_head * head_dim) */
    uint32_t        n_tok, n_head, n_head_kv, head_dim, layer;
    const float    *q_norm, *k_norm; /* NULL: none */
    float           eps, q_scale;
    const float    *cos_sin; /* NULL: no RoPE */
    uint32_t        n_pair;
    bool            interleaved;
    const uint32_t *kv_slot; /* of each token: block * 16 + place in it; UINT32_MAX: not stored */
    struct gpu_kv   kv;
};

/* Query tokens [token, token + n_token) of one sequence against keys [from, to). Only with part == UINT32_MAX the result
 * is complete; else rows go to part number `part` (of their own n_token * group rows) and are merged afterwards. */
struct gpu_tile { uint32_t token, n_token, pos, table, from, to, part; };
struct gpu_merge { uint32_t token, n_token, part, n_part; };
struct gpu_attn {
    const uint16_t *q;
    uint32_t        n_head, n_head_kv, head_dim, layer, window;
    float           softcap;
    struct gpu_kv   kv;
    const uint32_t *table; /* block tables of all sequences */
    const struct gpu_tile  *tile;
    const struct gpu_merge *merge;
    uint32_t        n_tile, n_merge; /* upper bounds; tiles and merges with n_token 0 are skipped */
    uint32_t        n_full;          /* the first tiles, which are full but for a sequence's last: another kernel may be faster */
    float          *part;            /* (part row, head_dim + 2): sums, maximum, total; row of a part: its n_token * n_head */
    struct gpu_acts out;             /* (n_tok, n_head * head_dim) */
};

struct gpu_route { /* per token the n_used best of n_expert logits and their gates; then slots grouped by expert */
    const float     *logits;  /* (n_tok, n_expert) */
    const uint32_t  *kv_slot; /* UINT32_MAX: a token that fills a shape up; it goes to no expert. NULL: there are none */
    uint32_t         n_tok, n_expert, n_used, work_rows; /* rows of a piece of work: one of the two above */
    bool             softmax_after_topk, renormalize;
    float            scale;
    float           *gate;   /* (n_tok * n_used) */
    uint32_t        *chosen; /* (n_tok * n_used) */
    uint32_t        *order;  /* slots by expert */
    struct gpu_work *work;
    uint32_t        *n_work;
};

struct gpu_combine { /* y row = sum of gate * down over the token's slots, or y += sigmoid(gate) * down when shared */
    const float *down, *gate; /* gate NULL: 1 */
    float       *y;
    uint32_t     n_tok, n, n_used;
    bool         shared;
};

struct gpu_softcap { float *x; size_t n; float scale, cap; }; /* x = cap tanh(scale x / cap); cap 0: scale x */

/* Tokens drawn from rows of logits: see sample/program.h. */
struct gpu_draw {
    const struct sample_program *program; /* n_draw; their edits and masks are device memory too */
    const uint32_t *row;                  /* of each: its logits */
    const float    *logits;               /* (rows, n_vocab) */
    uint32_t        n_draw, n_vocab;
    float          *logit;                /* (n_draw, n_vocab) to work in, */
    uint32_t       *id;                   /* the same, */
    double         *block_sum;            /* (n_draw, n_vocab / 64 rounded up) */
    struct program_answer *answer;        /* n_draw */
};

/* The primitives that kernels are made of, on given numbers: words 8 .. 15 of a lane are floats of two matrix products,
 * words 24 .. 31 the same computed with shuffles; the others must be the same on every target. */
enum { GPU_SELFTEST_IN = 256, GPU_SELFTEST_OUT = 33 };
struct gpu_selftest { const uint32_t *in; uint32_t *out; };

struct gpu; /* an open device with its stream */
struct gpu_graph;

struct gpu_ops {
    int         abi;
    const char *target; /* "cuda", "sim" */
    const char *built;  /* architectures, compiler; for reports */
    /* why: at least 200 bytes, filled when the answer is a failure. */
    int  (*count)(char *why, size_t n); /* 0: why there is none */
    bool (*info)(int device, struct gpu_info *out, char *why, size_t n);
    struct gpu *(*open)(int device, char *why, size_t n);
    void (*close)(struct gpu *g);
    bool (*sync)(struct gpu *g, char *why, size_t n); /* wait for everything queued; false: the first error since open */

    /* Opens a library of matrix products, which may take seconds; false: what says why there is none, and is empty where
     * the target has no use for one. Products choose it by themselves from then on. */
    bool  (*library)(struct gpu *g, char *what, size_t n);
    size_t library_bytes; /* memory that it wants to work in */

    void *(*alloc)(struct gpu *g, size_t bytes); /* NULL when there is no memory; the device stays usable */
    void  (*release)(struct gpu *g, void *p);
    void *(*host_alloc)(struct gpu *g, size_t bytes); /* host memory that copies are fast from and to */
    void  (*host_release)(struct gpu *g, void *p);
    void  (*copy_in)(struct gpu *g, void *to, const void *from, size_t bytes);  /* from the host */
    void  (*copy_out)(struct gpu *g, void *to, const void *from, size_t bytes); /* to the host */
    void  (*copy)(struct gpu *g, void *to, const void *from, size_t bytes);
    void  (*zero)(struct gpu *g, void *to, size_t bytes);

    void  (*mark)(struct gpu *g, int which);      /* two of them: this place in the queue */
    /* Until the device has passed it; then as sync. why NULL: nobody asks yet. */
    bool  (*wait_mark)(struct gpu *g, int which, char *why, size_t n);

    /* What is queued between begin and end is not run but kept; NULL when that failed. */
    bool  (*graph_begin)(struct gpu *g);
    struct gpu_graph *(*graph_end)(struct gpu *g);
    void  (*graph_run)(struct gpu *g, struct gpu_graph *x);
    void  (*graph_free)(struct gpu *g, struct gpu_graph *x);

    /* How a matrix of that type would lie on the device; false: this target cannot multiply with it. */
    bool (*layout)(uint32_t type, uint32_t n_out, uint32_t n_in, struct gpu_layout *out);
    void (*pack)(struct gpu *g, const struct gpu_pack *a);
    void (*rows)(struct gpu *g, const struct gpu_rows *a);
    void (*norm)(struct gpu *g, const struct gpu_norm *a);
    void (*matmul)(struct gpu *g, const struct gpu_matmul *a);
    void (*act)(struct gpu *g, const struct gpu_act *a);
    void (*rope_table)(struct gpu *g, const struct gpu_rope_table *a);
    void (*qkv)(struct gpu *g, const struct gpu_qkv *a);
    void (*attn)(struct gpu *g, const struct gpu_attn *a);
    void (*route)(struct gpu *g, const struct gpu_route *a);
    void (*combine)(struct gpu *g, const struct gpu_combine *a);
    void (*softcap)(struct gpu *g, const struct gpu_softcap *a);
    void (*draw)(struct gpu *g, const struct gpu_draw *a);
    void (*selftest)(struct gpu *g, const struct gpu_selftest *a);
};

/* The one symbol of a shared object: corral_gpu_ops. */
typedef const struct gpu_ops *gpu_ops_fn(void);

#endif
