/* Packing: up to PANEL_ROWS weight rows of a file, lanes = rows, as the products in gemm.h read them.
 *
 * Panel of quantized weights, for each 32 inputs: 32 / GROUP x PANEL_ROWS scales, the same of minima if the type
 * has them, then either bytes [8 quads of inputs][PANEL_ROWS][4], counted from ZERO, or 16-bit integers
 * [16 pairs of inputs][PANEL_ROWS][2], zero taken off. Panel of floats: [input][PANEL_ROWS]. */
#include "backend/cpu/kernels.h"
#include "backend/cpu/op/codec.h"

/* Sixteen rows read side by side are more streams than the hardware follows. They are one stretch of the file, and
 * so are the sixteen after them, which this thread most likely packs next: ask for those, line after line, while
 * unpacking these. */
SIMD void prefetch_next(const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t block, size_t block_bytes)
{
    const uint8_t *next = rows + n_row * row_bytes + block * n_row * block_bytes;
    for (size_t i = 0; i < n_row * block_bytes; i += 64) __builtin_prefetch(next + i, 0, 2);
}

/* A pack_fn by the name pack_NAME_FORM: scales of a block, then its elements, 32 at a time. Rows past the end of the
 * matrix repeat the last one. */
#define PACK(name, form, BLOCK, GROUP, MINIMA, ZERO)                                                           \
    static void pack_##name##_##form(void *panel, const uint8_t *rows, size_t row_bytes, uint32_t n_row,       \
                                     size_t k0, size_t k)                                                      \
    {                                                                                                          \
        const size_t first = k0 / BLOCK, size = sizeof(struct block_##name);                                   \
        uint8_t *to = panel;                                                                                   \
        for (size_t j = 0; j < k / BLOCK; j++) {                                                               \
            const struct block_##name *b[PANEL_ROWS];                                                          \
            float s[PANEL_ROWS][16], m[PANEL_ROWS][16];                                                        \
            prefetch_next(rows, row_bytes, n_row, first + j, size);                                            \
            for (uint32_t r = 0; r < PANEL_ROWS; r++) {                                                        \
                b[r] = (const void *)(rows + MIN(r, n_row - 1) * row_bytes + (first + j) * size);              \
                scales_##name(b[r], s[r], m[r]);                                                               \
            }                                                                                                  \
            for (int g = 0; g < BLOCK / 32; g++) {                                                             \
                to = pack_scales(to, s, g * (32 / GROUP), 32 / GROUP);                                         \
                if (MINIMA) to = pack_scales(to, m, g * (32 / GROUP), 32 / GROUP);                             \
                for (int r = 0; r < PANEL_ROWS; r += 8) {                                                      \
                    bytes32 q[8];                                                                              \
                    for (int i = 0; i < 8; i++) q[i] = quants_##name(b[r + i], g);                             \
                    form##_8x32(to + 4 * r, PANEL_STEP, q, ZERO);                                              \
                }                                                                                              \
                to += form##_of_32 * PANEL_STEP;                                                               \
            }                                                                                                  \
        }                                                                                                      \
    }
enum { quads_of_32 = 8, pairs_of_32 = 16 };

SIMD uint8_t *pack_scales(uint8_t *to, float (*s)[16], int from, int n)
{
    float *number = (float *)(void *)to;
    for (int h = 0; h < n; h++)
        for (int r = 0; r < PANEL_ROWS; r++) *number++ = s[r][from + h];
    return (uint8_t *)number;
}

/* Rows of floats to a panel. */
SIMD void pack_rows_f32(float *panel, const float *row, size_t stride, size_t k)
{
    for (size_t i = 0; i + 8 <= k; i += 8)
        for (size_t r = 0; r < PANEL_ROWS; r += 8)
            transpose_8x8(panel + i * PANEL_ROWS + r, PANEL_ROWS, row + r * stride + i, stride);
    for (size_t i = k & ~(size_t)7; i < k; i++)
        for (size_t r = 0; r < PANEL_ROWS; r++) panel[i * PANEL_ROWS + r] = row[r * stride + i];
}

enum { FLOAT_CHUNK = 64 };
typedef void (*widen_fn)(float *to, const uint8_t *from, size_t n);

SIMD void widen_f32(float *to, const uint8_t *from, size_t n)
{
    memcpy(to, from, n * sizeof *to);
}

SIMD void widen_f16(float *to, const uint8_t *from, size_t n)
{
    uint16_t half[FLOAT_CHUNK] = {0};
    memcpy(half, from, n * sizeof *half);
    for (size_t i = 0; i < FLOAT_CHUNK; i += 8) vf_store(to + i, vf_half(half + i));
}

SIMD void widen_bf16(float *to, const uint8_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, from + 2 * i, sizeof h);
        to[i] = f32_from_bits((uint32_t)h << 16);
    }
}

SIMD void pack_float(void *panel, const uint8_t *rows, size_t row_bytes, uint32_t n_row, size_t k0, size_t k,
                     widen_fn widen, size_t elem)
{
    float chunk[PANEL_ROWS][FLOAT_CHUNK];
    memset(chunk, 0, sizeof chunk);
    for (size_t at = 0; at < k; at += FLOAT_CHUNK) {
        size_t n = MIN((size_t)FLOAT_CHUNK, k - at);
        for (uint32_t r = 0; r < n_row; r++) widen(chunk[r], rows + r * row_bytes + (k0 + at) * elem, n);
        pack_rows_f32((float *)panel + at * PANEL_ROWS, chunk[0], FLOAT_CHUNK, n);
    }
}
