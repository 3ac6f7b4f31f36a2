/* Matmul: panels of PANEL_ROWS weight rows, lanes = rows, sums in input order.
 *
 * Quantized weights are widened to int16 and multiplied with 16-bit activations, exact in 32-bit integers
 * within a group; groups are added in order as floats: y = fma(I_g, s_g * a_g, y). So a row's result has one
 * order of sums whatever the number of columns. Sixteen-bit activations cost AVX2 the same as the sign trick
 * for eight (CPU.md 6.2) and leave rounding near float's. Float weights: y = fma(w, x, y), one input after
 * the other.
 *
 * Panel of quantized weights, for each 32 inputs: 32 / GROUP x PANEL_ROWS scales, the same of minima if the
 * type has them, then int16 [16 pairs of inputs][PANEL_ROWS][2]. Panel of floats: [input][PANEL_ROWS]. */
#include "backend/cpu/kernels.h"
#include "backend/cpu/op/codec.h"

enum { PAIR_STEP = PANEL_ROWS * 2 }; /* int16 from one pair of inputs to the next */

#define INLINE static inline __attribute__((always_inline))

typedef void (*codec_fn)(const void *block, int8_t *restrict q, float *restrict s, float *restrict m);

/* Sixteen rows read side by side are more streams than the hardware follows. They are one stretch of the file, and so are the
 * sixteen after them, which this thread most likely packs next: ask for those, line after line, while unpacking these. */
INLINE void prefetch_next(const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t block, size_t block_bytes)
{
    const uint8_t *next = rows + n_row * row_bytes + block * n_row * block_bytes;
    for (size_t i = 0; i < n_row * block_bytes; i += 64) __builtin_prefetch(next + i);
}

INLINE void pack_quantized(void *panel, const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t k0,
                           size_t k, codec_fn codec, const size_t block_bytes, const int BLOCK,
                           const int GROUP, const bool MINIMA)
{
    const int per32 = 32 / GROUP;
    int8_t q[PANEL_ROWS][QK_SUPER];
    float s[PANEL_ROWS][16], m[PANEL_ROWS][16];
    float *to = panel;

    if (n_row < PANEL_ROWS) { /* rows past the end of the matrix count as zero */
        memset(q, 0, sizeof q);
        memset(s, 0, sizeof s);
        memset(m, 0, sizeof m);
    }
    for (size_t at = 0; at < k; at += (size_t)BLOCK) {
        prefetch_next(rows, row_bytes, n_row, (k0 + at) / (size_t)BLOCK, block_bytes);
        for (uint32_t r = 0; r < n_row; r++)
            codec(rows + r * row_bytes + (k0 + at) / (size_t)BLOCK * block_bytes, q[r], s[r], m[r]);
        for (int g = 0; g < BLOCK / 32; g++) {
            for (int h = 0; h < per32; h++)
                for (int r = 0; r < PANEL_ROWS; r++) *to++ = s[r][g * per32 + h];
            for (int h = 0; MINIMA && h < per32; h++)
                for (int r = 0; r < PANEL_ROWS; r++) *to++ = m[r][g * per32 + h];
            int16_t *pairs = (int16_t *)(void *)to;
            for (int r = 0; r < PANEL_ROWS; r += 8)
                interleave_8x32(pairs + r * 2, PAIR_STEP, q[r] + 32 * g, QK_SUPER);
            to += 16 * PAIR_STEP / 2;
        }
    }
}

/* NC columns at once. */
INLINE void gemm_tile(float *const *y, const struct act_row *x, const void *panel, size_t k, bool first,
                      const int NC, const int GROUP, const bool MINIMA)
{
    const int per32 = 32 / GROUP;
    const float *p = panel;
    vf f[2][4];

    for (int c = 0; c < NC; c++)
        for (int r = 0; r < 2; r++) f[r][c] = first ? vf_set(0) : vf_load(y[c] + 8 * r);
    for (size_t g = 0; g < k / 32; g++) {
        const float *s = p, *m = p + per32 * PANEL_ROWS;
        const int16_t *w = (const int16_t *)(const void *)(m + (MINIMA ? per32 * PANEL_ROWS : 0));
        for (int h = 0; h < per32; h++) {
            vi i[2][4];
            for (int c = 0; c < NC; c++) i[0][c] = i[1][c] = vi_zero();
#pragma GCC unroll 16
            for (int j = 0; j < GROUP / 2; j++, w += PAIR_STEP) {
                for (int c = 0; c < NC; c++) {
                    const int16_t *a = x[c].q + 32 * g + (size_t)(h * GROUP + 2 * j);
                    for (int r = 0; r < 2; r++) {
                        i[r][c] = vi_madd(i[r][c], w + 16 * r, a);
                        vi_pin(&i[r][c]);
                    }
                }
            }
            for (int r = 0; r < 2; r++) {
                vf sr = vf_load(s + h * PANEL_ROWS + 8 * r);
                for (int c = 0; c < NC; c++)
                    f[r][c] = vf_fma(vf_from_i(i[r][c]), vf_mul(sr, vf_set(x[c].scale[g])), f[r][c]);
                if (!MINIMA) continue;
                vf mr = vf_load(m + h * PANEL_ROWS + 8 * r);
                for (int c = 0; c < NC; c++) {
                    const float *sum = x[c].sum + 2 * g;
                    f[r][c] = vf_fma(mr, vf_set(GROUP == 16 ? sum[h] : sum[0] + sum[1]), f[r][c]);
                }
            }
        }
        p = (const float *)(const void *)w;
    }
    for (int c = 0; c < NC; c++)
        for (int r = 0; r < 2; r++) vf_store(y[c] + 8 * r, f[r][c]);
}

INLINE void gemm_columns(float *const *y, const struct act_row *x, uint32_t n_col, const void *panel,
                         size_t k, bool first, const int GROUP, const bool MINIMA)
{
    uint32_t c = 0;
    for (; c + 4 <= n_col; c += 4) gemm_tile(y + c, x + c, panel, k, first, 4, GROUP, MINIMA);
    switch (n_col - c) {
    case 3: gemm_tile(y + c, x + c, panel, k, first, 3, GROUP, MINIMA); break;
    case 2: gemm_tile(y + c, x + c, panel, k, first, 2, GROUP, MINIMA); break;
    case 1: gemm_tile(y + c, x + c, panel, k, first, 1, GROUP, MINIMA); break;
    }
}

#define GEMM_CLASS(name, GROUP, MINIMA)                                                                      \
    static void name(float *const *y, const struct act_row *x, uint32_t n_col, const void *panel, size_t k,  \
                     bool first)                                                                             \
    {                                                                                                        \
        gemm_columns(y, x, n_col, panel, k, first, GROUP, MINIMA);                                           \
    }
GEMM_CLASS(gemm_group32, 32, false)
GEMM_CLASS(gemm_group32_min, 32, true)
GEMM_CLASS(gemm_group16, 16, false)
GEMM_CLASS(gemm_group16_min, 16, true)

#define PACK_TYPE(TYPE, name, BLOCK, GROUP, MINIMA)                                                          \
    static void pack_##name(void *panel, const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t k0,   \
                            size_t k)                                                                        \
    {                                                                                                        \
        pack_quantized(panel, rows, row_bytes, n_row, k0, k, codec_##name, sizeof(struct block_##name),      \
                       BLOCK, GROUP, MINIMA);                                                                \
    }
CODEC_LIST(PACK_TYPE)

/* Rows of floats to a panel. */
INLINE void pack_rows_f32(float *panel, const float *row, size_t stride, size_t k)
{
    for (size_t i = 0; i + 8 <= k; i += 8)
        for (size_t r = 0; r < PANEL_ROWS; r += 8)
            transpose_8x8(panel + i * PANEL_ROWS + r, PANEL_ROWS, row + r * stride + i, stride);
    for (size_t i = k & ~(size_t)7; i < k; i++)
        for (size_t r = 0; r < PANEL_ROWS; r++) panel[i * PANEL_ROWS + r] = row[r * stride + i];
}

enum { FLOAT_CHUNK = 64 };
typedef void (*widen_fn)(float *to, const uint8_t *from, size_t n);

INLINE void widen_f32(float *to, const uint8_t *from, size_t n)
{
    memcpy(to, from, n * sizeof *to);
}

INLINE void widen_f16(float *to, const uint8_t *from, size_t n)
{
    uint16_t half[FLOAT_CHUNK] = {0};
    memcpy(half, from, n * sizeof *half);
    for (size_t i = 0; i < FLOAT_CHUNK; i += 8) vf_store(to + i, vf_half(half + i));
}

INLINE void widen_bf16(float *to, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, from + 2 * i, sizeof h);
        to[i] = f32_from_bits((uint32_t)h << 16);
    }
}

INLINE void pack_float(void *panel, const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t k0,
                       size_t k, widen_fn widen, size_t elem)
{
    float chunk[PANEL_ROWS][FLOAT_CHUNK];
    memset(chunk, 0, sizeof chunk);
    for (size_t at = 0; at < k; at += FLOAT_CHUNK) {
        size_t n = MIN((size_t)FLOAT_CHUNK, k - at);
        for (uint32_t r = 0; r < n_row; r++) widen(chunk[r], rows + r * row_bytes + (k0 + at) * elem, n);
        pack_rows_f32((float *)panel + at * PANEL_ROWS, chunk[0], FLOAT_CHUNK, n);
    }
}

static void pack_f32(void *panel, const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t k0, size_t k)
{
    pack_float(panel, rows, row_bytes, n_row, k0, k, widen_f32, 4);
}
static void pack_f16(void *panel, const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t k0, size_t k)
{
    pack_float(panel, rows, row_bytes, n_row, k0, k, widen_f16, 2);
}
static void pack_bf16(void *panel, const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t k0, size_t k)
{
    pack_float(panel, rows, row_bytes, n_row, k0, k, widen_bf16, 2);
}

INLINE void gemm_float_tile(float *const *y, const struct act_row *x, const float *panel, size_t k,
                            bool first, const int NC)
{
    vf f[2][6];
    for (int c = 0; c < NC; c++)
        for (int r = 0; r < 2; r++) f[r][c] = first ? vf_set(0) : vf_load(y[c] + 8 * r);
    for (size_t i = 0; i < k; i++, panel += PANEL_ROWS) {
        vf w[2] = {vf_load(panel), vf_load(panel + 8)};
        for (int c = 0; c < NC; c++) {
            vf a = vf_set(x[c].f[i]);
            for (int r = 0; r < 2; r++) f[r][c] = vf_fma(w[r], a, f[r][c]);
        }
    }
    for (int c = 0; c < NC; c++)
        for (int r = 0; r < 2; r++) vf_store(y[c] + 8 * r, f[r][c]);
}

static void gemm_float(float *const *y, const struct act_row *x, uint32_t n_col, const void *panel, size_t k,
                       bool first)
{
    uint32_t c = 0;
    for (; c + 6 <= n_col; c += 6) gemm_float_tile(y + c, x + c, panel, k, first, 6);
    for (; c + 2 <= n_col; c += 2) gemm_float_tile(y + c, x + c, panel, k, first, 2);
    for (; c < n_col; c++) gemm_float_tile(y + c, x + c, panel, k, first, 1);
}

static void matmul_fill(struct cpu_kernels *k)
{
#define ROW(TYPE, name, BLOCK, GROUP, MINIMA)                                                                \
    k->matmul[TYPE] = (struct matmul_kernel){pack_##name,                                                    \
                                             GROUP == 32 ? (MINIMA ? gemm_group32_min : gemm_group32)        \
                                                         : (MINIMA ? gemm_group16_min : gemm_group16),       \
                                             false, PANEL_K};
    CODEC_LIST(ROW)
#undef ROW
    k->matmul[DT_F32] = (struct matmul_kernel){pack_f32, gemm_float, true, PANEL_K_FLOAT};
    k->matmul[DT_F16] = (struct matmul_kernel){pack_f16, gemm_float, true, PANEL_K_FLOAT};
    k->matmul[DT_BF16] = (struct matmul_kernel){pack_bf16, gemm_float, true, PANEL_K_FLOAT};
}
