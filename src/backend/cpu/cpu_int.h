/* The CPU backend's own view: a loaded model, its scratch memory, and the pieces of a step. */
#ifndef CORRAL_CPU_INT_H
#define CORRAL_CPU_INT_H

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/crew.h"
#include "backend/cpu/weights.h"
#include "backend/kv_layout.h"

struct backend {
    const struct cpu_kernels *k;
    struct crew *crew;
    struct backend_host host;
};

/* Rows of activations in all forms; see struct act_row. n_group: groups of ACT_GROUP in a row. */
struct acts {
    float *f;
    uint16_t *bf16; /* where the kernels read them */
    struct { int8_t *q; float *scale, *sum; int32_t *minus; } byte;
    struct { int16_t *q; float *scale, *sum; } pair;
    size_t n, ldf, ldq, n_group;
};

struct thread_scratch {
    void    *panel;
    float   *attn;
    uint8_t *rows; /* of any weight, MAX_TASK_ROWS: the last ones of a matrix, filled up */
};

/* All memory that a step needs, laid out once by scratch_layout for the limits of the model. */
struct scratch {
    struct acts  h;            /* normalised residual rows (max_tokens, n_embd) */
    struct acts  o;            /* attention output (max_tokens, n_head * head_dim) */
    struct acts  u;            /* hidden rows of the FFN (max_tokens * experts per token, widest FFN) */
    float       *x, *y;        /* residual stream and what is added to it (max_tokens, n_embd); y: at the end,
                                * hidden rows */
    float       *q, *k, *v;    /* (max_tokens, heads * head_dim) */
    float       *gate;         /* as u */
    float       *down;         /* (max_tokens * experts per token, n_embd); experts only */
    float       *route_logits; /* (max_tokens, n_expert) */
    float       *route_gate;   /* (max_tokens, n_used) */
    uint32_t    *route;        /* (max_tokens, n_used): chosen experts */
    uint32_t    *slot_token, *slot_row; /* slots grouped by expert: their tokens, their rows */
    uint32_t    *expert_at;    /* n_expert + 1: where an expert's slots begin */
    struct mm   *mm;           /* 2 n_expert + 4 matmuls of one stage */
    float       *cos_sin;      /* (n_rope, max_tokens, 2, n_pair of the widest) */
    float       *logits;       /* (max_logits, n_vocab) */
    int32_t     *token;        /* of the batch, sequences one after the other */
    uint32_t    *pos, *seq;    /* position and sequence of each token */
    const float **input;       /* rows to begin with; slices without OP_EMBED only */
    uint32_t    *row_token;    /* token of each row of logits */
    uint32_t    *hidden_token; /* token of each hidden row */
    struct tile *tile;         /* attention tiles */
    float       *attn_part;    /* sums of spans (attend.c) */
    size_t       attn_part_floats;
    struct thread_scratch *thread;
    size_t       rope_stride;  /* floats per token in cos_sin */
    size_t       total_bytes;
};

/* What a stage's time is booked under; stage_name in profile.c. */
enum stage {
    STAGE_EMBED,
    STAGE_NORM,
    STAGE_QKV,
    STAGE_KV,
    STAGE_ATTENTION,
    STAGE_ATTENTION_OUT,
    STAGE_UP,
    STAGE_ACT,
    STAGE_DOWN,
    STAGE_ROUTE,
    STAGE_RESIDUAL,
    STAGE_LOGITS,
    N_STAGE
};

struct backend_model {
    struct backend          *b;
    const struct weight     *fine; /* the output matrix */
    const struct model_desc *m;
    struct weights           weights;
    struct backend_limits    lim;
    struct kv_layout         kv;
    struct pages             mem;
    struct scratch           s;
    uint64_t                 ticket;
    const struct batch      *queued; /* from step to wait */
    struct backend_kv       *queued_kv;
    uint32_t                 n_tok, n_row, n_hidden, n_tile;
    struct backend_stage     stage[N_STAGE];
};

struct backend_kv {
    struct backend_model *m;
    struct pages mem;
    uint32_t n_block;
};

/* One matrix product of a stage: y[out_row[c]] = w[expert, row0 .. row0 + n_out) x[col[c]] + bias, for n_col
 * columns. */
struct mm {
    const struct weight *w;
    const float         *bias; /* n_out, or NULL */
    int64_t  expert, row0, n_out;
    const struct acts   *x;
    const uint32_t      *col, *out_row; /* NULL: 0, 1, 2, ... */
    uint32_t n_col;
    float   *y;
    size_t   ldy;
    uint32_t task0; /* first task of this product; filled by matmul_run */
};
/* Run the products as one stage. */
void matmul_run(struct backend_model *bm, enum stage stage, struct mm *mm, uint32_t n);
size_t matmul_row_bytes(const struct weight *w);
/* enum act_form of what w is multiplied with; 0 for no weight */
unsigned matmul_form(const struct backend_model *bm, wref w);
size_t panel_bytes(void);

const struct weight *weight_of(const struct backend_model *bm, wref w); /* NULL for 0 */
const float *floats_of(const struct backend_model *bm, wref w);         /* a vector of f32; NULL for 0 */

/* Run a stage's tasks, and book the time. */
void stage_run(struct backend_model *bm, enum stage stage, uint32_t n_task, crew_task fn, void *ctx);
void stage_count(struct backend_model *bm, enum stage stage, double bytes, double ops);
size_t stage_profile(struct backend_model *bm, struct backend_stage *out, size_t max);

void step_run(struct backend_model *bm);                                 /* the queued batch */
void step_flatten(struct backend_model *bm);                             /* tokens.c: its tokens in a row, */
void step_narrow(struct backend_model *bm);                              /* then only those with results */
void step_moe(struct backend_model *bm, const struct op_moe *op);        /* moe.c */
void step_attention(struct backend_model *bm, const struct op_attn *op); /* attend.c: s.o of s.q, the cache */
void step_normalise(struct backend_model *bm, const struct norm *norm, unsigned forms); /* s.h = norm(s.x) */
void step_add_residual(struct backend_model *bm, const float *y, const struct norm *post);
void step_gate_quantize(struct backend_model *bm, uint32_t n_row, size_t n, enum activation act, bool gated,
                        unsigned forms);

struct tile { uint32_t seq, first, n; }; /* tokens first .. first + n of the batch, all of one sequence */

/* Lay the scratch memory out at mem; NULL only adds up total_bytes. */
void scratch_layout(struct scratch *s, uint8_t *mem, const struct model_desc *m,
                    const struct backend_limits *l, const struct backend *b);

#endif
