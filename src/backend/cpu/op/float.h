/* Products with weights that are floats in the file: F32, F16, BF16.
 *
 * A lane is an input here, not a row: weights and activations are multiplied as they lie in memory, and a tile of
 * W_FLOAT_ROWS rows and W_FLOAT_COLUMNS columns keeps a vector of partial sums for each pair. (With lanes that are rows
 * the bytes of sixteen rows had to be turned, and of rows a power of two apart the lines that were asked for ahead were
 * gone from the cache before they were read.) For few columns weights come straight from the rows. For many they go to
 * a panel first, as the vectors that are multiplied, in the order in which tiles read them: what F16 costs to convert
 * is then paid once, and rows a power of two apart do not share the sets of the first cache.
 *
 * One order of sums: in each stretch of inputs lane i adds products i, i + W_LANES, ..., wf_add_sums joins the lanes,
 * stretches are added in order, and what fills no vector comes last. Of a tile's columns the activations of a stretch
 * stay in the first-level cache while all rows of the task pass by.
 *
 * A type is what these names say, after its own: SIZE of a weight in bytes, STEP inputs of a vector, load (a vector of
 * weights as it is multiplied), at (activations from an input on), multiply (and add). */
#ifndef CORRAL_CPU_FLOAT_H
#define CORRAL_CPU_FLOAT_H

#include "backend/cpu/kernels.h"

enum {
    FLOAT_ROWS = 8 * W_FLOAT_ROWS,          /* of a task of few columns, */
    FLOAT_PANEL_ROWS = 16 * W_FLOAT_ROWS,   /* of one with a panel */
    FLOAT_DIRECT = W_LANES < 16 ? 256 : 64, /* columns that are few: narrow vectors gain little from panels */
    FLOAT_BY_ROW = W_LANES < 16 ? 0 : 2,    /* columns that go row by row; narrow vectors need more sums at once */
    ROW_STRETCHES = 8,                      /* of a row whose sums wait for those of other rows */
    ROW_AHEAD = 8192,                       /* bytes from what is read to what is asked for, in the order of the file */
    LINE = 64
};
_Static_assert((int)FLOAT_PANEL_ROWS <= (int)MAX_TASK_ROWS, "the driver has room for a task of so many rows");

enum { f32_SIZE = 4, f16_SIZE = 2, bf16_SIZE = 2, f32_STEP = W_LANES, f16_STEP = W_LANES, bf16_STEP = W_LANES };
SIMD wf f32_load(const uint8_t *p) { return wf_load((const float *)(const void *)p); }
SIMD wf f16_load(const uint8_t *p) { return wf_load_halves((const uint16_t *)(const void *)p); }
SIMD wf bf16_load(const uint8_t *p) { return wf_load_bf16((const uint16_t *)(const void *)p); }
SIMD const void *float_at(const struct act_row *x, size_t at) { return x->f + at; }
#define f32_at float_at
#define f16_at float_at
#define bf16_at float_at
#define f32_multiply wf_fma
#define f16_multiply wf_fma
#define bf16_multiply wf_fma

/* Columns whose stretches fit the first-level cache, beside weights: 24 KiB of them with AVX-512. */
#define FLOAT_CHUNK(name) (W_FLOAT_COLUMNS * name##_STEP / W_LANES)

/* Where a tile's weights are: those of row r and step i at w + r * row + i * step. */
struct tile_weights { const uint8_t *w; size_t row, step; };
/* What a tile asks for while it works, with each line of its rows: n lines that are `row` apart, and `step` times
 * as far on as its own. Of a panel: a line of one column. */
struct tile_ahead { const uint8_t *from; size_t row, step, n; };

/* y[c][r] = (first ? 0 : y[c][r]) + row r times column c for R rows and C columns, k inputs from `at` on, whole vectors.
 * packed: weights are vectors of a panel. */
#define FLOAT_TILE(name)                                                                                       \
    SIMD void tile_##name(float *const *y, const struct act_row *x, struct tile_weights from, size_t at,       \
                          size_t k, bool first, struct tile_ahead ahead, const bool packed, const int C)       \
    {                                                                                                          \
        enum { R = W_FLOAT_ROWS, BYTES = name##_STEP * name##_SIZE };                                          \
        wf f[W_FLOAT_COLUMNS][R], w[R];                                                                        \
        W_UNROLL(8)                                                                                            \
        for (int c = 0; c < C; c++) {                                                                          \
            W_UNROLL(8)                                                                                        \
            for (int r = 0; r < R; r++) f[c][r] = wf_set(0);                                                   \
        }                                                                                                      \
        for (size_t i = 0; i < k / name##_STEP; i++, from.w += from.step) {                                    \
            if (packed) {                                                                                      \
                if (i * sizeof(wf) % LINE == 0) __builtin_prefetch(ahead.from + i * sizeof(wf), 0, 3);         \
            } else if (i * BYTES % LINE == 0) {                                                                \
                W_UNROLL(8)                                                                                    \
                for (size_t r = 0; r < R; r++)                                                                 \
                    if (r < ahead.n)                                                                           \
                        __builtin_prefetch(ahead.from + r * ahead.row + i * BYTES * ahead.step, 0, 3);         \
            }                                                                                                  \
            W_UNROLL(8)                                                                                        \
            for (size_t r = 0; r < R; r++)                                                                     \
                w[r] = packed ? wf_load((const float *)(const void *)(from.w + r * sizeof(wf)))                \
                              : name##_load(from.w + r * from.row);                                            \
            W_UNROLL(8)                                                                                        \
            for (int c = 0; c < C; c++) {                                                                      \
                const wf a = wf_load(name##_at(&x[c], at + i * name##_STEP));                                  \
                W_UNROLL(8)                                                                                    \
                for (int r = 0; r < R; r++) f[c][r] = name##_multiply(w[r], a, f[c][r]);                       \
            }                                                                                                  \
        }                                                                                                      \
        W_UNROLL(8)                                                                                            \
        for (int c = 0; c < C; c++) wf_add_sums(y[c], f[c], first);                                            \
    }                                                                                                          \
    /* n inputs of a row, fewer than a vector, and zeros. */                                                   \
    static wf rest_##name(const uint8_t *p, size_t n)                                                          \
    {                                                                                                          \
        uint8_t w[name##_STEP * name##_SIZE] = {0};                                                            \
        memcpy(w, p, n * name##_SIZE);                                                                         \
        return name##_load(w);                                                                                 \
    }                                                                                                          \
    /* The k inputs of a task from `at` on, fewer than a vector. */                                            \
    static void rests_##name(float *const *y, const struct act_row *x, uint32_t n_col, struct tile_weights w,  \
                             size_t n_row, size_t at, size_t k, bool first, bool packed)                       \
    {                                                                                                          \
        enum { R = W_FLOAT_ROWS };                                                                             \
        for (uint32_t c = 0; c < n_col; c++) {                                                                 \
            float a[W_LANES] = {0};                                                                            \
            memcpy(a, name##_at(&x[c], at), k * (sizeof a / name##_STEP));                                     \
            for (size_t r = 0; r < n_row; r += R) {                                                            \
                wf f[R];                                                                                       \
                for (size_t i = 0; i < R; i++) {                                                               \
                    const uint8_t *p = w.w + (r + i) * w.row;                                                  \
                    f[i] = name##_multiply(packed ? wf_load((const float *)(const void *)p)                    \
                                                  : rest_##name(p, k), wf_load(a), wf_set(0));                 \
                }                                                                                              \
                wf_add_sums(y[c] + r, f, first);                                                               \
            }                                                                                                  \
        }                                                                                                      \
    }

/* C columns from column c on of a task with a panel. With its last rows a tile asks for the columns that come next. */
#define FLOAT_PANEL_COLUMNS(name, C)                                                                           \
    for (; C <= W_FLOAT_COLUMNS && c + C <= n_col; c += C) {                                                   \
        for (uint32_t r = 0; r < FLOAT_PANEL_ROWS; r += W_FLOAT_ROWS) {                                        \
            const uint32_t left = (FLOAT_PANEL_ROWS - r) / W_FLOAT_ROWS, next = c + C + left - 1;              \
            const struct tile_ahead ahead = {name##_at(&x[left <= C && next < n_col ? next : c], 0), 0, 0, 0}; \
            const struct tile_weights w = {p + r / W_FLOAT_ROWS * tile_bytes, 0, W_FLOAT_ROWS * sizeof(wf)};   \
            float *to[C];                                                                                      \
            for (int i = 0; i < C; i++) to[i] = y[c + (uint32_t)i] + r;                                        \
            tile_##name(to, x + c, w, 0, whole, first, ahead, true, C);                                        \
        }                                                                                                      \
    }

/* A pack_fn and a gemm_fn by the names pack_NAME and gemm_NAME. Of a panel, tile after tile, the vectors of
 * W_FLOAT_ROWS rows for each step; behind the tiles those of the rest, of every row one. */
#define FLOAT_PANEL(name)                                                                                      \
    static void pack_##name(void *panel, const uint8_t *rows, size_t row_bytes, size_t k0, size_t k)           \
    {                                                                                                          \
        const size_t whole = k / name##_STEP * name##_STEP;                                                    \
        float *to = panel;                                                                                     \
        rows += k0 * name##_SIZE;                                                                              \
        for (size_t r = 0; r < FLOAT_PANEL_ROWS; r += W_FLOAT_ROWS)                                            \
            for (size_t i = 0; i < whole; i += name##_STEP) {                                                  \
                for (size_t j = r; j < r + W_FLOAT_ROWS; j++, to += W_LANES) {                                 \
                    const uint8_t *from = rows + j * row_bytes + i * name##_SIZE;                              \
                    __builtin_prefetch(from + W_FLOAT_ROWS * row_bytes, 0, 3);                                 \
                    wf_store(to, name##_load(from));                                                           \
                }                                                                                              \
            }                                                                                                  \
        for (size_t r = 0; whole < k && r < FLOAT_PANEL_ROWS; r++, to += W_LANES)                              \
            wf_store(to, rest_##name(rows + r * row_bytes + whole * name##_SIZE, k - whole));                  \
    }                                                                                                          \
    static void gemm_##name(float *const *y, const struct act_row *x, uint32_t n_col, const void *panel,       \
                            size_t k, bool first)                                                              \
    {                                                                                                          \
        const size_t whole = k / name##_STEP * name##_STEP;                                                    \
        const size_t tile_bytes = whole / name##_STEP * W_FLOAT_ROWS * sizeof(wf);                             \
        const uint8_t *p = panel;                                                                              \
        uint32_t c = 0;                                                                                        \
        if (whole) {                                                                                           \
            FLOAT_PANEL_COLUMNS(name, W_FLOAT_COLUMNS)                                                         \
            FLOAT_PANEL_COLUMNS(name, 4)                                                                       \
            FLOAT_PANEL_COLUMNS(name, 2)                                                                       \
            FLOAT_PANEL_COLUMNS(name, 1)                                                                       \
        }                                                                                                      \
        const struct tile_weights rest = {p + FLOAT_PANEL_ROWS / W_FLOAT_ROWS * tile_bytes, sizeof(wf), 0};    \
        if (whole < k)                                                                                         \
            rests_##name(y, x, n_col, rest, FLOAT_PANEL_ROWS, whole, k - whole, first && !whole, true);        \
    }

/* C of a chunk's columns from column c on, rows from r on. Each tile of a chunk asks for its part of the weights that come
 * next: the next rows, this task's next stretch, the next task. */
#define FLOAT_COLUMNS(name, C)                                                                                 \
    for (; C <= W_FLOAT_COLUMNS && c + C <= end; c += C) {                                                     \
        const struct tile_weights w = {from, row_bytes, name##_STEP * name##_SIZE};                            \
        const size_t first = W_FLOAT_ROWS * (c - c0) / (end - c0);                                             \
        const size_t apart = linear ? LINE : row_bytes;                                                        \
        const struct tile_ahead ahead = {next + first * apart, apart, linear ? W_FLOAT_ROWS : 1,               \
                                         W_FLOAT_ROWS * (c + C - c0) / (end - c0) - first};                    \
        float *to[C];                                                                                          \
        for (int i = 0; i < C; i++) to[i] = y[c + (uint32_t)i] + r;                                            \
        tile_##name(to, x + c, w, at, n, at == 0, ahead, false, C);                                            \
    }

/* A task's rows times one or two columns, one row after the other: whole rows are the order of the file, and here
 * that alone counts. Sums of stretches wait until those of all rows of a tile are there. */
#define FLOAT_ROW_BY_ROW(name)                                                                                 \
    SIMD void row_by_row_##name(float *const *y, const struct act_row *x, const uint8_t *rows,                 \
                                size_t row_bytes, size_t whole, const int C)                                   \
    {                                                                                                          \
        enum { R = W_FLOAT_ROWS, BYTES = name##_STEP * name##_SIZE, MOST = ROW_STRETCHES * FLOAT_K };          \
        for (size_t r0 = 0; r0 < FLOAT_ROWS; r0 += R)                                                          \
            for (size_t begin = 0; begin < whole; begin += MOST) {                                             \
                const size_t end = MIN(begin + MOST, whole), n = (end - begin + FLOAT_K - 1) / FLOAT_K;        \
                wf f[ROW_STRETCHES][2][R];                                                                     \
                for (size_t r = 0; r < R; r++) {                                                               \
                    const uint8_t *w = rows + (r0 + r) * row_bytes + begin * name##_SIZE;                      \
                    for (size_t s = 0, at = begin; s < n; s++) {                                               \
                        const size_t to = MIN(at + FLOAT_K, end);                                              \
                        wf sum[2] = {wf_set(0), wf_set(0)};                                                    \
                        for (; at < to; at += name##_STEP, w += BYTES) {                                       \
                            __builtin_prefetch(w + ROW_AHEAD, 0, 3);                                           \
                            const wf v = name##_load(w);                                                       \
                            W_UNROLL(2)                                                                        \
                            for (int c = 0; c < C; c++)                                                        \
                                sum[c] = name##_multiply(v, wf_load(name##_at(&x[c], at)), sum[c]);            \
                        }                                                                                      \
                        for (int c = 0; c < C; c++) f[s][c][r] = sum[c];                                       \
                    }                                                                                          \
                }                                                                                              \
                for (size_t s = 0; s < n; s++)                                                                 \
                    for (int c = 0; c < C; c++) wf_add_sums(y[c] + r0, f[s][c], begin == 0 && s == 0);         \
            }                                                                                                  \
    }

/* A dot_fn by the name dot_NAME. Columns of one tile go along whole rows; of more a stretch stays in the
 * first-level cache while all rows of the task pass by. */
#define FLOAT_DOT(name)                                                                                        \
    FLOAT_ROW_BY_ROW(name)                                                                                     \
    /* Inputs [begin, whole) of columns [c0, end), all rows; `after` is what this thread reads next. Rows of one stretch \
     * are one piece of the file with the next ones: these are asked for in its order. */                      \
    SIMD void span_##name(float *const *y, const struct act_row *x, uint32_t c0, uint32_t end,                 \
                          const uint8_t *rows, size_t row_bytes, size_t begin, size_t whole,                   \
                          const uint8_t *after)                                                                \
    {                                                                                                          \
        for (size_t r = 0; r < FLOAT_ROWS; r += W_FLOAT_ROWS)                                                  \
            for (size_t at = begin; at < whole; at += FLOAT_K) {                                               \
                const size_t n = MIN((size_t)FLOAT_K, whole - at);                                             \
                const bool linear = begin == 0 && n < whole;                                                   \
                const uint8_t *row = rows + r * row_bytes, *from = row + at * name##_SIZE;                     \
                const uint8_t *next =                                                                          \
                    linear ? row + W_FLOAT_ROWS * (row_bytes + at * name##_SIZE)                               \
                    : r + W_FLOAT_ROWS < FLOAT_ROWS ? from + W_FLOAT_ROWS * row_bytes : after;                 \
                uint32_t c = c0;                                                                               \
                FLOAT_COLUMNS(name, W_FLOAT_COLUMNS)                                                           \
                FLOAT_COLUMNS(name, 4)                                                                         \
                FLOAT_COLUMNS(name, 2)                                                                         \
                FLOAT_COLUMNS(name, 1)                                                                         \
            }                                                                                                  \
    }                                                                                                          \
    static void dot_##name(float *const *y, const struct act_row *x, uint32_t n_col, const uint8_t *rows,      \
                           size_t row_bytes, size_t k)                                                         \
    {                                                                                                          \
        const size_t whole = k / name##_STEP * name##_STEP;                                                    \
        const size_t span = n_col <= W_FLOAT_COLUMNS ? MAX(whole, (size_t)1) : FLOAT_K;                        \
        for (uint32_t c = 0; c < n_col && n_col > FLOAT_BY_ROW; c += FLOAT_CHUNK(name))                        \
            for (size_t at = 0; at < whole; at += span)                                                        \
                span_##name(y, x, c, MIN(c + (uint32_t)FLOAT_CHUNK(name), n_col), rows, row_bytes, at,         \
                            MIN(at + span, whole),                                                             \
                            rows + (at + span < whole ? (at + span) * name##_SIZE : FLOAT_ROWS * row_bytes));  \
        if (FLOAT_BY_ROW && n_col == 1) row_by_row_##name(y, x, rows, row_bytes, whole, 1);                    \
        if (FLOAT_BY_ROW && n_col == 2) row_by_row_##name(y, x, rows, row_bytes, whole, 2);                    \
        const struct tile_weights rest = {rows + whole * name##_SIZE, row_bytes, 0};                           \
        if (whole < k) rests_##name(y, x, n_col, rest, FLOAT_ROWS, whole, k - whole, !whole, false);           \
    }

#define FLOAT_TYPE(name) FLOAT_TILE(name) FLOAT_PANEL(name) FLOAT_DOT(name)
#define FLOAT_KERNEL(name, FORM)                                                                               \
    (struct matmul_kernel){.dot = dot_##name,                                                                  \
                           .pack = pack_##name,                                                                \
                           .gemm = gemm_##name,                                                                \
                           .form = FORM,                                                                       \
                           .panel_k = FLOAT_K,                                                                 \
                           .direct = FLOAT_DIRECT,                                                             \
                           .dot_rows = FLOAT_ROWS,                                                             \
                           .panel_rows = FLOAT_PANEL_ROWS}

#endif
