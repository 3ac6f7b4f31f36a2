/* The kernel table: every inner loop of the CPU backend, once per instruction set.
 *
 * isa/NAME.c includes the vector primitives of its instruction set (isa/simd_NAME.h) and the skeletons in
 * op/, and fills a table; cpu_kernels() picks the best one that this machine runs. A kernel's result for an
 * output row depends on that row's inputs alone, never on how many columns, rows or threads share the
 * call. */
#ifndef CORRAL_CPU_KERNELS_H
#define CORRAL_CPU_KERNELS_H

#include "backend/kv_layout.h"
#include "model/model.h"

enum {
    MAX_CPU_KERNELS = 8, /* tables of one machine */
    MAX_PANEL_ROWS = 32, /* of integers; */
    MAX_TASK_ROWS = 64,  /* of any kind of weights */
    PANEL_K = 4096,      /* inputs that a task's panels of pairs have in all; where they end does not change
                          * sums */
    PANEL_K_BYTES = 8192,
    FLOAT_K = 1024,      /* inputs whose products floats add up before they go on with the next ones: their
                          * panels' */
    ACT_GROUP = 32       /* inputs that share an activation scale */
};

/* One row of activations for matmuls: as floats, as bfloat16, as bytes, and as pairs of 16-bit integers. The
 * integers have a scale for each ACT_GROUP and three sums: of its first half, of its second half, of all of
 * it; sum in real units (scale * (q + q + ...)), minus as negated integers. Those of halves are two numbers of
 * 16 bits, of the first two and of the last two of every four inputs, where the table's sums are (scaled.h). */
struct act_row {
    const float *f;
    const uint16_t *bf16;
    struct { const int8_t *q; const float *scale, *sum; const int32_t *minus; } byte;
    struct { const int16_t *q; const float *scale, *sum; } pair; /* of every four: 0, 2, 1, 3 */
};
/* A matmul reads one; a row may be wanted in several. */
enum act_form { ACT_FLOATS = 1, ACT_BYTES = 2, ACT_PAIRS = 4, ACT_BF16 = 8 };

/* A panel of panel_rows weight rows, inputs [k0, k0 + k), as the matmul of its class wants it. */
typedef void (*pack_fn)(void *panel, const uint8_t *rows, size_t row_bytes, size_t k0, size_t k);
/* y[c][0 .. panel_rows) = (first ? 0 : y[c]) + panel . x[c] for n_col columns; x[c] is offset by k0
 * already. */
typedef void (*gemm_fn)(float *const *y, const struct act_row *x, uint32_t n_col, const void *panel, size_t k,
                        bool first);

/* Columns straight from the rows, all k inputs: y[c][0 .. dot_rows) as pack and gemm make them, bit for
 * bit. */
typedef void (*dot_fn)(float *const *y, const struct act_row *x, uint32_t n_col, const uint8_t *rows,
                       size_t row_bytes, size_t k);

struct matmul_kernel {
    dot_fn   dot; /* NULL: no such weights */
    pack_fn  pack;
    gemm_fn  gemm;
    enum act_form form;
    uint32_t panel_k;
    uint32_t direct;     /* up to so many columns dot is the faster way, */
    bool     direct_tiles; /* if they are one tile: 1, 2, 4, ... Rows are unpacked again for each tile. */
    uint32_t dot_rows;   /* output rows of a task then, */
    uint32_t panel_rows; /* and of one with a panel */
};

struct attn_args {
    const struct kv_layout *kv;
    const uint8_t  *mem;    /* the pool */
    const uint32_t *block;  /* block table */
    uint32_t layer, kv_head, group, head_dim, window;
    float    softcap;
    const float *q;         /* query of head kv_head * group of token 0; heads contiguous */
    float       *out;
    size_t   q_stride, out_stride; /* floats from token to token */
    uint32_t pos, n_tok;    /* position of token 0; at most attn_tokens() tokens */
    float   *scratch;       /* attn_scratch_floats() */
    uint32_t span;          /* with part: of this span of keys alone, */
    float   *part;          /* the sums, attn_part_floats() of them, instead of out */
};
enum {
    ATTN_KEYS = 64,   /* of one update of the softmax; whole blocks */
    ATTN_SPAN = 1024, /* of sums that are joined */
    ATTN_PAD = 16     /* numbers of a head come in so many */
};
static inline uint32_t attn_first_key(uint32_t pos, uint32_t window)
{
    return window && pos + 1 > window ? pos + 1 - window : 0;
}
/* Tokens of one call: some 64 rows, so that what a block's keys and values cost is shared. */
static inline uint32_t attn_tokens(uint32_t group) { return MAX(1u, 64 / group); }
static inline size_t attn_part_floats(size_t rows, size_t head_dim)
{
    return round_up(rows * (round_up(head_dim, ATTN_PAD) + 2), ATTN_PAD);
}
/* Keys or values as floats; or, of a Q8_0 cache, the queries as integers. */
static inline size_t attn_panel_floats(size_t rows, size_t head_dim)
{
    return MAX((size_t)ATTN_KEYS, rows) * round_up(head_dim, ATTN_PAD);
}
static inline size_t attn_scratch_floats(uint32_t group, size_t head_dim)
{
    const size_t rows = (size_t)attn_tokens(group) * group;
    return attn_panel_floats(rows, head_dim) + ATTN_KEYS * rows + 2 * attn_part_floats(rows, head_dim);
}

struct cpu_kernels {
    const char *name;
    bool emulated; /* has never run on a processor that has it, only in an emulator's tests */
    struct matmul_kernel matmul[DT_COUNT]; /* the fast way */
    struct matmul_kernel fine[DT_COUNT];   /* with activations of at least 16 bits */
    /* The integers of act_row from n floats, padded with zeros to a multiple of ACT_GROUP. */
    void (*quantize_bytes)(const float *x, size_t n, int8_t *q, float *scale, float *sum, int32_t *minus);
    void (*quantize_pairs)(const float *x, size_t n, int16_t *q, float *scale, float *sum);
    /* Rounded to nearest even; NULL: nothing reads them. */
    void (*to_bf16)(uint16_t *to, const float *x, size_t n);
    void (*norm)(float *y, const float *x, size_t n, const float *w, const float *b, float eps,
                 enum norm_kind kind);
    void (*add)(float *x, const float *y, size_t n);                             /* x += y */
    void (*scale_add)(float *x, const float *y, float s, size_t n);              /* x += s y */
    void (*act_mul)(float *u, const float *gate, size_t n, enum activation act); /* u *= act(gate) */
    void (*act)(float *u, size_t n, enum activation act);
    /* cos_sin: n_pair cosines, then sines */
    void (*rope)(float *x, const float *cos_sin, uint32_t n_pair, bool interleaved);
    void (*softcap)(float *x, size_t n, float scale, float cap); /* cap tanh(scale x / cap) */
    void (*to_halves)(uint16_t *to, const float *x, size_t n);   /* rounded to nearest even */
    void (*attention)(const struct attn_args *a);
    /* out, from the parts of all spans in order */
    void (*attention_join)(const struct attn_args *a, uint32_t n_span);
};

const struct cpu_kernels *cpu_kernels(void); /* the best usable, or the one named by $CORRAL_CPU_ISA */
/* All that this machine can run, for tests: fills up to max, returns how many. */
size_t cpu_kernels_all(const struct cpu_kernels **out, size_t max);

void cpu_kernels_portable(struct cpu_kernels *k);
void cpu_kernels_avx2(struct cpu_kernels *k);
void cpu_kernels_avxvnni(struct cpu_kernels *k); /* where the compiler knows it, as the next */
void cpu_kernels_avx512(struct cpu_kernels *k);  /* F, BW, DQ, VL, VNNI */
/* In a table that has what avx512's has: */
void cpu_kernels_avx512bf16(struct cpu_kernels *k); /* BF16 with products of pairs of them */
void cpu_kernels_amx(struct cpu_kernels *k);        /* tiles of bytes */
void cpu_kernels_neon(struct cpu_kernels *k);    /* every AArch64 */
void cpu_kernels_dotprod(struct cpu_kernels *k); /* that, with dot products */
void cpu_kernels_i8mm(struct cpu_kernels *k);    /* and products of small matrices */

#endif
