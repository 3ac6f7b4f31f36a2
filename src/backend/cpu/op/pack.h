/* Packing: up to PANEL_ROWS weight rows of a file, lanes = rows, as the products in gemm.h read them.
 *
 * Panel of quantized weights, for each 32 inputs: 32 / GROUP x PANEL_ROWS scales, the same of minima if the type
 * has them (where scales are integers, d before them, and each is two of 16 bits), then either bytes
 * [8 quads of inputs][PANEL_ROWS][4], counted from ZERO (where two rows are multiplied with two columns, two quads of
 * W_LANES rows as wb_interleave leaves them), or 16-bit integers [16 pairs of inputs][PANEL_ROWS][2], zero taken off;
 * of a quad the first pair is inputs 0 and 2, the second 1 and 3. */
#ifndef CORRAL_CPU_PACK_H
#define CORRAL_CPU_PACK_H

#include "backend/cpu/kernels.h"
#include "backend/cpu/op/codec.h"

/* Of weights' panels as bytes, and as pairs: whether groups of that size have integer scales (scaled.h). */
#ifdef W_SCALED
#define quads_SCALED(GROUP) ((GROUP) == 16)
#else
#define quads_SCALED(GROUP) 0
#endif
#define pairs_SCALED(GROUP) 0

#ifndef W_HALVES
#define W_HALVES(MINIMA) 0
#define W_HALF_COLUMNS W_COLUMNS
#endif

enum {
    W_ROWS = W_LANES < 8 ? 4 : 2, /* vectors of rows: an activation that is loaded is used for all */
    PANEL_ROWS = W_ROWS * W_LANES,
    PANEL_STEP = PANEL_ROWS * 4,  /* bytes from one quad or pair of inputs to the next */
    QUADS_BYTES = 8 * PANEL_STEP, /* of 32 inputs */
    PAIRS_BYTES = 16 * PANEL_STEP
};

/* Rows read side by side are more streams than the hardware follows. They are one stretch of the file, and so are the
 * next ones, which this thread most likely reads next: ask for those, line after line, while reading these. The n bytes
 * at `at` of each row stand for n times as many of the stretch as there are rows. */
SIMD void prefetch_next(const uint8_t *next, size_t n_row, size_t at, size_t n)
{
    next += at * n_row;
    for (size_t i = 0; i < n_row * n; i += 64) __builtin_prefetch(next + i, 0, 3);
}

SIMD void quads_store(uint8_t *to, int quad, wb q, int zero)
{
    (void)zero;
    to += quad * PANEL_STEP;
#ifdef W_MMLA
    if (quad % 2) {
        wb two[2] = {wb_load(to - PANEL_STEP), q};
        wb_interleave(two);
        wb_store(to - PANEL_STEP, two[0]);
        q = two[1];
    }
#endif
    wb_store(to, q);
}
SIMD void pairs_store(uint8_t *to, int quad, wb q, int zero)
{
    wp pair[2];
    wp_from_bytes(pair, q - (uint8_t)zero);
    for (int i = 0; i < 2; i++) wp_store((int16_t *)(void *)(to + (2 * quad + i) * PANEL_STEP), pair[i]);
}

/* What chunks are made of: parts, and quads at STRIDE from each other. */
#define PARTS(CHUNK) ((CHUNK) > 32 ? 2 : 1)
#define SUBS(CHUNK) ((CHUNK) > 64 ? 4 : 2)
#define STRIDE(CHUNK) ((CHUNK) > 32 ? 32 : 16)

/* A pack_fn by the name pack_NAME_FORM. */
#define PACK(name, form, FORM_BYTES, BLOCK, GROUP, MINIMA, ZERO, CHUNK)                                        \
    static void pack_##name##_##form(void *panel, const uint8_t *rows, size_t row_bytes, size_t k0, size_t k)  \
    {                                                                                                          \
        enum { SCALED = form##_SCALED(GROUP), M_AT = (32 / GROUP + SCALED) * PANEL_ROWS * 4 };                 \
        enum { SCALES = M_AT + MINIMA * (32 / GROUP) * PANEL_ROWS * 4, ALL = SCALES + FORM_BYTES };            \
        const size_t size = sizeof(struct block_##name);                                                       \
        uint8_t *to = panel;                                                                                   \
        for (size_t at = k0 / BLOCK * size; at < (k0 + k) / BLOCK * size; at += size, to += BLOCK / 32 * ALL) {\
            prefetch_next(rows + PANEL_ROWS * row_bytes, PANEL_ROWS, at, size);                                \
            for (int r = 0; r < W_ROWS; r++) {                                                                 \
                const struct rows b = {rows + (size_t)(W_LANES * r) * row_bytes + at, row_bytes};              \
                struct lanes l;                                                                                \
                open_##name(&l, b);                                                                            \
                if (SCALED)                                                                                    \
                    pack_integers(to + 4 * W_LANES * r, &l, BLOCK / 32, ALL);                                  \
                else                                                                                           \
                    pack_scales(to + 4 * W_LANES * r, l.s, BLOCK / GROUP, 32 / GROUP, ALL);                    \
                if (MINIMA)                                                                                    \
                    pack_scales(to + 4 * W_LANES * r + M_AT, l.m, BLOCK / GROUP, 32 / GROUP, ALL);             \
                uint8_t *group = to + SCALES + 4 * W_LANES * r;                                                \
                for (int c = 0; c < BLOCK / CHUNK; c++, group += CHUNK / 32 * ALL) {                           \
                    W_UNROLL(2)                                                                                \
                    for (int p = 0; p < PARTS(CHUNK); p++) {                                                   \
                        wb raw[RAW];                                                                           \
                        load_##name(raw, &l, b, c, p);                                                             \
                        W_UNROLL(4)                                                                            \
                        for (int j = 0; j < 4; j++) {                                                          \
                            W_UNROLL(4)                                                                        \
                            for (int s = 0; s < SUBS(CHUNK); s++) {                                            \
                                const int e = STRIDE(CHUNK) * s + 16 * p + 4 * j;                              \
                                form##_store(group + e / 32 * ALL, e % 32 / 4,                                 \
                                             quad_##name(raw, &l, c, p, s, j), ZERO);                          \
                            }                                                                                  \
                        }                                                                                      \
                    }                                                                                          \
                }                                                                                              \
            }                                                                                                  \
        }                                                                                                      \
    }

/* For n times 32 inputs, `step` apart, d and two integer scales. */
SIMD void pack_integers(uint8_t *to, const struct lanes *l, int n, size_t step)
{
    for (int i = 0; i < n; i++, to += step) {
        wf_store((float *)(void *)to, l->d);
        for (int h = 0; h < 2; h++) wp_store((int16_t *)(void *)(to + (1 + h) * PANEL_ROWS * 4), l->n[2 * i + h]);
    }
}

/* n vectors of scales, `each` to 32 inputs, whose stretches are `step` apart. */
SIMD void pack_scales(uint8_t *to, const wf *s, int n, int each, size_t step)
{
    for (int i = 0; i < n; i++)
        wf_store((float *)(void *)(to + (size_t)(i / each) * step) + i % each * PANEL_ROWS, s[i]);
}

/* --- floats, turned: 64 bytes of each row to the numbers in them (attention.h) --- */

/* Sixty-four bytes of each row, or as many as are left. */
SIMD void float_rows(wb raw[16], struct rows b, size_t bytes_left)
{
    if (bytes_left >= 64) {
        wb_lines(raw, b);
        return;
    }
    uint8_t part[W_LANES][64] = {0};
    for (int r = 0; r < W_LANES; r++) memcpy(part[r], row_at(b, r), bytes_left);
    wb_lines(raw, (struct rows){part[0], sizeof part[0]});
}
enum { f32_ELEMS = 16, f16_ELEMS = 32 }; /* of 64 bytes */
SIMD wf f32_number(const wb raw[16], int i) { return wf_words((ww)raw[i]); }
SIMD wf f16_number(const wb raw[16], int i) { return wf_halves((ww)raw[i / 2], i % 2); }

/* turn_NAME: k numbers of n_row rows, to[i * ld + row]; `next` is what to ask for meanwhile. */
#define TURN_FLOAT(name)                                                                                       \
    static void turn_##name(float *to, size_t ld, size_t n_row, const uint8_t *rows, size_t row_bytes,        \
                            size_t k, const uint8_t *next)                                                     \
    {                                                                                                          \
        enum { ELEMS = name##_ELEMS, SIZE = 64 / ELEMS };                                                      \
        for (size_t i = 0; i < k; i += ELEMS, to += ELEMS * ld) {                                              \
            prefetch_next(next, n_row, i * SIZE, 64);                                                          \
            for (size_t r = 0; r < n_row; r += W_LANES) {                                                      \
                const struct rows b = {rows + r * row_bytes + i * SIZE, row_bytes};                            \
                wb raw[16];                                                                                    \
                float_rows(raw, b, (k - i) * SIZE);                                                            \
                W_UNROLL(32)                                                                                   \
                for (size_t j = 0; j < ELEMS; j++)                                                             \
                    if (i + j < k) wf_store(to + j * ld + r, name##_number(raw, (int)j));                      \
            }                                                                                                  \
        }                                                                                                      \
    }

#endif
