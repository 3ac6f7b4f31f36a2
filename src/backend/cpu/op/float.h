/* Products with weights that are floats in the file: F32, F16, BF16. Straight from the rows, for any number of columns.
 *
 * A lane is an input here, not a row: weights and activations are multiplied as they lie in memory, and a tile of
 * W_FLOAT_ROWS rows and W_FLOAT_COLUMNS columns keeps a vector of partial sums for each pair. (With lanes that are rows
 * the bytes of sixteen rows had to be turned, and of rows a power of two apart the lines that were asked for ahead were
 * gone from the cache before they were read.)
 *
 * One order of sums: in each stretch of FLOAT_K inputs lane i adds products i, i + W_LANES, ..., wf_sum joins the lanes,
 * stretches are added in order, and what fills no vector comes last. Of a tile's columns the FLOAT_K activations stay in the
 * first-level cache while all rows of the task pass by. */
#ifndef CORRAL_CPU_FLOAT_H
#define CORRAL_CPU_FLOAT_H

#include "backend/cpu/kernels.h"

enum { FLOAT_ROWS = 8 * W_FLOAT_ROWS, LINE = 64 };
_Static_assert((int)FLOAT_ROWS <= (int)MAX_PANEL_ROWS, "the driver has room for a task of so many rows");

enum { f32_SIZE = 4, f16_SIZE = 2, bf16_SIZE = 2 };
SIMD wf f32_load(const uint8_t *p) { return wf_load((const float *)(const void *)p); }
SIMD wf f16_load(const uint8_t *p) { return wf_load_halves((const uint16_t *)(const void *)p); }
SIMD wf bf16_load(const uint8_t *p) { return wf_load_bf16((const uint16_t *)(const void *)p); }

/* What a tile asks for while it works: of weights W_FLOAT_ROWS rows, of activations one column. */
struct ahead { const uint8_t *rows; const float *column; };

/* y[c][r] += or = row r times column c for R rows and C columns, inputs [at, at + k), whole vectors. */
#define FLOAT_TILE(name)                                                                                       \
    SIMD void tile_##name(float *const *y, const struct act_row *x, const uint8_t *rows, size_t row_bytes,     \
                          size_t at, size_t k, struct ahead ahead, const bool weights_ahead, const int C)      \
    {                                                                                                          \
        enum { R = W_FLOAT_ROWS, SIZE = name##_SIZE };                                                         \
        wf f[R][W_FLOAT_COLUMNS], w[R];                                                                        \
        W_UNROLL(8)                                                                                            \
        for (int r = 0; r < R; r++) {                                                                          \
            W_UNROLL(8)                                                                                        \
            for (int c = 0; c < C; c++) f[r][c] = wf_set(0);                                                   \
        }                                                                                                      \
        for (size_t i = 0; i < k; i += W_LANES) {                                                              \
            if (weights_ahead && i * SIZE % LINE == 0) {                                                       \
                W_UNROLL(8)                                                                                    \
                for (size_t r = 0; r < R; r++) __builtin_prefetch(ahead.rows + r * row_bytes + i * SIZE, 0, 3);\
            }                                                                                                  \
            if (!weights_ahead && i * sizeof(float) % LINE == 0) __builtin_prefetch(ahead.column + i, 0, 3);   \
            W_UNROLL(8)                                                                                        \
            for (size_t r = 0; r < R; r++) w[r] = name##_load(rows + r * row_bytes + (at + i) * SIZE);         \
            W_UNROLL(8)                                                                                        \
            for (int c = 0; c < C; c++) {                                                                      \
                const wf a = wf_load(x[c].f + at + i);                                                         \
                W_UNROLL(8)                                                                                    \
                for (int r = 0; r < R; r++) f[r][c] = wf_fma(w[r], a, f[r][c]);                                \
            }                                                                                                  \
        }                                                                                                      \
        W_UNROLL(8)                                                                                            \
        for (int r = 0; r < R; r++) {                                                                          \
            W_UNROLL(8)                                                                                        \
            for (int c = 0; c < C; c++) y[c][r] = (at ? y[c][r] : 0) + wf_sum(f[r][c]);                        \
        }                                                                                                      \
    }                                                                                                          \
    /* The inputs from `at` on, fewer than a vector. */                                                        \
    static void rest_##name(float *const *y, const struct act_row *x, uint32_t n_col, const uint8_t *rows,     \
                            size_t row_bytes, size_t at, size_t k)                                             \
    {                                                                                                          \
        uint8_t w[W_LANES * name##_SIZE] = {0};                                                                \
        float a[W_LANES] = {0};                                                                                \
        for (uint32_t c = 0; c < n_col; c++) {                                                                 \
            memcpy(a, x[c].f + at, k * sizeof *a);                                                             \
            for (size_t r = 0; r < FLOAT_ROWS; r++) {                                                          \
                memcpy(w, rows + r * row_bytes + at * name##_SIZE, k * name##_SIZE);                           \
                y[c][r] = (at ? y[c][r] : 0) + wf_sum(wf_mul(name##_load(w), wf_load(a)));                     \
            }                                                                                                  \
        }                                                                                                      \
    }

/* C columns from column c on, all rows of a task. Those of the first columns ask for the weights that come next: the next
 * rows, this task's next stretch, the next task. Those of the others ask for the next columns. */
#define FLOAT_COLUMNS(name, C)                                                                                 \
    for (; C <= W_FLOAT_COLUMNS && c + C <= n_col; c += C) {                                                   \
        for (size_t r = 0; r < FLOAT_ROWS; r += W_FLOAT_ROWS) {                                                \
            const size_t next = r / W_FLOAT_ROWS < C ? c + C + r / W_FLOAT_ROWS : n_col;                       \
            const uint8_t *from = rows + r * row_bytes;                                                        \
            const struct ahead ahead = {r + W_FLOAT_ROWS < FLOAT_ROWS                                          \
                                            ? from + W_FLOAT_ROWS * row_bytes + at * name##_SIZE               \
                                            : rows + (at + n < whole ? (at + n) * name##_SIZE                  \
                                                                     : FLOAT_ROWS * row_bytes),                \
                                        x[next < n_col ? next : c].f + at};                                    \
            float *to[C];                                                                                      \
            for (int i = 0; i < C; i++) to[i] = y[c + (uint32_t)i] + r;                                        \
            if (c == 0)                                                                                        \
                tile_##name(to, x + c, from, row_bytes, at, n, ahead, true, C);                                \
            else                                                                                               \
                tile_##name(to, x + c, from, row_bytes, at, n, ahead, false, C);                               \
        }                                                                                                      \
    }

/* A dot_fn by the name dot_NAME. */
#define FLOAT_DOT(name)                                                                                        \
    FLOAT_TILE(name)                                                                                           \
    static void dot_##name(float *const *y, const struct act_row *x, uint32_t n_col, const uint8_t *rows,      \
                           size_t row_bytes, size_t k)                                                         \
    {                                                                                                          \
        const size_t whole = k / W_LANES * W_LANES;                                                            \
        for (size_t at = 0; at < whole; at += FLOAT_K) {                                                       \
            const size_t n = MIN((size_t)FLOAT_K, whole - at);                                                 \
            uint32_t c = 0;                                                                                    \
            FLOAT_COLUMNS(name, W_FLOAT_COLUMNS)                                                               \
            FLOAT_COLUMNS(name, 4)                                                                             \
            FLOAT_COLUMNS(name, 2)                                                                             \
            FLOAT_COLUMNS(name, 1)                                                                             \
        }                                                                                                      \
        if (whole < k) rest_##name(y, x, n_col, rows, row_bytes, whole, k - whole);                            \
    }

#endif
