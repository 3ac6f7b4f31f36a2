/* Few columns, the case of decoding: weights from the file's rows to sums without a panel in between.
 *
 * A panel pays for itself when many columns read it. For few, storing it costs more than the products. Sums inside a
 * group are exact in integers, and groups are added as gemm.h adds them, so the result is the same bit for bit. */
#ifndef CORRAL_CPU_DOT_H
#define CORRAL_CPU_DOT_H

#include "backend/cpu/op/pack.h"

enum { DOT_ROWS = 16 }; /* small tasks are easier to share */

/* acc += products of four quads with 16 inputs of a column: as bytes, or as pairs. */
SIMD void byte_products(wi *acc, const wb q[4], const struct act_row *x, size_t at, int zero, const int DEPTH)
{
    const int8_t *a = x->byte.q + at;
    const int depth = MIN(4, W_DEPTH(DEPTH, 4));
    (void)zero;
    W_UNROLL(4)
    for (int j = 0; j < 4; j += depth) {
        wt t = wt_product(q[j], a + 4 * j);
        W_UNROLL(4)
        for (int d = 1; d < depth; d++) t = wt_add_product(t, q[j + d], a + 4 * (j + d));
        *acc = wi_add_sums(*acc, t);
    }
}
SIMD void pair_products(wi *acc, const wb q[4], const struct act_row *x, size_t at, int zero, const int DEPTH)
{
    const int16_t *a = x->pair.q + at;
    (void)DEPTH;
    W_UNROLL(4)
    for (int j = 0; j < 4; j++) {
        wp pair[2];
        wp_from_bytes(pair, q[j], zero);
        *acc = wi_madd(wi_madd(*acc, pair[0], a + 4 * j), pair[1], a + 4 * j + 2);
    }
}
/* What products counted from zero have too much, as byte_products leaves it. */
SIMD wi byte_start(const struct act_row *x, size_t sum_at, int zero)
{
    return zero ? wi_set_shifted(&x->byte.minus[sum_at], __builtin_ctz((unsigned)zero | 256)) : wi_zero();
}
SIMD wi pair_start(const struct act_row *x, size_t sum_at, int zero)
{
    (void)x, (void)sum_at, (void)zero;
    return wi_zero();
}

/* NC columns. */
#define DOT_TILE(id, NC, name, form, BLOCK, GROUP, MINIMA, ZERO, DEPTH, CHUNK)                                 \
    static void dot_##id##_##NC(float *const *y, const struct act_row *x, const uint8_t *rows,      \
                                           size_t row_bytes, size_t k)                                         \
    {                                                                                                          \
        enum { N_GROUP = CHUNK / GROUP };                                                                      \
        const size_t size = sizeof(struct block_##name);                                                       \
        for (size_t r = 0; r < DOT_ROWS; r += W_LANES, rows += W_LANES * row_bytes) {                          \
            struct rows b = {rows, row_bytes};                                                                 \
            wf f[NC];                                                                                          \
            for (int i = 0; i < NC; i++) f[i] = wf_set(0);                                                     \
            for (size_t k0 = 0; k0 < k; k0 += BLOCK, b.at += size) {                                           \
                struct lanes l;                                                                                \
                prefetch_next(rows + W_LANES * row_bytes, W_LANES, (size_t)(b.at - rows), size);               \
                open_##name(&l, b);                                                                            \
                for (int c = 0; c < BLOCK / CHUNK; c++) {                                                      \
                    const size_t first = k0 + (size_t)(CHUNK * c); /* input of the chunk */                    \
                    wi acc[N_GROUP][NC];                                                                       \
                    W_UNROLL(8)                                                                                \
                    for (int g = 0; g < N_GROUP; g++) {                                                        \
                        W_UNROLL(8)                                                                            \
                        for (int i = 0; i < NC; i++)                                                           \
                            acc[g][i] = form##_start(x + i, SUM_AT(first, GROUP, g), ZERO);                    \
                    }                                                                                          \
                    W_UNROLL(2)                                                                                \
                    for (int p = 0; p < PARTS(CHUNK); p++) {                                                   \
                        wb raw[RAW];                                                                           \
                        load_##name(raw, b, c, p);                                                             \
                        W_UNROLL(4)                                                                            \
                        for (int s = 0; s < SUBS(CHUNK); s++) {                                                \
                            const int e = STRIDE(CHUNK) * s + 16 * p;                                          \
                            wb q[4];                                                                           \
                            W_UNROLL(4)                                                                        \
                            for (int j = 0; j < 4; j++) q[j] = quad_##name(raw, &l, c, p, s, j);               \
                            W_UNROLL(8)                                                                        \
                            for (int i = 0; i < NC; i++)                                                       \
                                form##_products(&acc[e / GROUP][i], q, x + i, first + (size_t)e, ZERO, DEPTH); \
                        }                                                                                      \
                    }                                                                                          \
                    W_UNROLL(8)                                                                                \
                    for (int g = 0; g < N_GROUP; g++) {                                                        \
                        const wf sr = l.s[c * N_GROUP + g];                                                    \
                        W_UNROLL(8)                                                                            \
                        for (int i = 0; i < NC; i++) {                                                         \
                            const float scale = x[i].form.scale[(first + (size_t)(g * GROUP)) / 32];           \
                            f[i] = wf_fma(wf_from_i(acc[g][i]), wf_mul(sr, wf_set(scale)), f[i]);              \
                            if (MINIMA)                                                                        \
                                f[i] = wf_fma(l.m[c * N_GROUP + g],                                            \
                                              wf_set(x[i].form.sum[SUM_AT(first, GROUP, g)]), f[i]);           \
                        }                                                                                      \
                    }                                                                                          \
                }                                                                                              \
            }                                                                                                  \
            for (int i = 0; i < NC; i++) wf_store(y[i] + r, f[i]);                                             \
        }                                                                                                      \
    }
/* Of the three sums of every 32 inputs, the one of group g behind input `first`. */
#define SUM_AT(first, GROUP, g)                                                                                \
    (3 * (((first) + (size_t)((g) * (GROUP))) / 32) + (size_t)((GROUP) == 32 ? 2 : (g) % 2))

/* Floats: y = fma(w, x, y), one input after the other. */
#define DOT_TILE_FLOAT(name, NC)                                                                               \
    static void dot_##name##_##NC(float *const *y, const struct act_row *x, const uint8_t *rows,               \
                                  size_t row_bytes, size_t k)                                                  \
    {                                                                                                          \
        enum { ELEMS = name##_ELEMS, SIZE = 64 / ELEMS };                                                      \
        wf f[W_ROWS][NC];                                                                                      \
        for (int r = 0; r < W_ROWS; r++)                                                                       \
            for (int c = 0; c < NC; c++) f[r][c] = wf_set(0);                                                  \
        for (size_t i = 0; i < k; i += ELEMS) {                                                                \
            prefetch_next(rows + PANEL_ROWS * row_bytes, PANEL_ROWS, i * SIZE, 64);                            \
            for (int r = 0; r < W_ROWS; r++) {                                                                 \
                const struct rows b = {rows + (size_t)(W_LANES * r) * row_bytes + i * SIZE, row_bytes};        \
                wb raw[16];                                                                                    \
                float_rows(raw, b, (k - i) * SIZE);                                                            \
                const int n = (int)MIN((size_t)ELEMS, k - i);                                                  \
                W_UNROLL(32)                                                                                   \
                for (int j = 0; j < ELEMS; j++) {                                                              \
                    if (j >= n) break;                                                                         \
                    wf w = name##_number(raw, j);                                                              \
                    W_UNROLL(8)                                                                                \
                    for (int c = 0; c < NC; c++)                                                               \
                        f[r][c] = wf_fma(w, wf_set(x[c].f[i + (size_t)j]), f[r][c]);                           \
                }                                                                                              \
            }                                                                                                  \
        }                                                                                                      \
        for (int c = 0; c < NC; c++)                                                                           \
            for (int r = 0; r < W_ROWS; r++) wf_store(y[c] + W_LANES * r, f[r][c]);                            \
    }

/* A dot_fn by the name dot_NAME, of TILEs of one, two, four and eight columns: as many as W_DIRECT lets be compiled. */
#define DOT_FN(name, CALLS)                                                                                    \
    static void dot_##name(float *const *y, const struct act_row *x, uint32_t n_col, const uint8_t *rows,      \
                           size_t row_bytes, size_t k)                                                         \
    {                                                                                                          \
        uint32_t c = 0;                                                                                        \
        CALLS                                                                                                  \
    }
#define DOT_CALL(name, NC)                                                                                     \
    for (; c + NC <= n_col; c += NC) dot_##name##_##NC(y + c, x + c, rows, row_bytes, k);
#define DOT_CALLS_2(name) DOT_CALL(name, 2) DOT_CALL(name, 1)
#define DOT_CALLS_4(name) DOT_CALL(name, 4) DOT_CALLS_2(name)

#define DOT_1(name, TILE, ...)                                                                                 \
    TILE(name, 1, ##__VA_ARGS__)                                                                               \
    DOT_FN(name, DOT_CALL(name, 1))
#define DOT_4(name, TILE, ...)                                                                                 \
    TILE(name, 1, ##__VA_ARGS__)                                                                               \
    TILE(name, 2, ##__VA_ARGS__)                                                                               \
    TILE(name, 4, ##__VA_ARGS__)                                                                               \
    DOT_FN(name, DOT_CALLS_4(name))
#define DOT_8(name, TILE, ...)                                                                                 \
    TILE(name, 1, ##__VA_ARGS__)                                                                               \
    TILE(name, 2, ##__VA_ARGS__)                                                                               \
    TILE(name, 4, ##__VA_ARGS__)                                                                               \
    TILE(name, 8, ##__VA_ARGS__)                                                                               \
    DOT_FN(name, DOT_CALL(name, 8) DOT_CALLS_4(name))

/* By the size of chunks: the sums of eight columns and eight groups are more than there are registers. Floats are as
 * those of 128. */
enum { DIRECT_32 = W_DIRECT, DIRECT_64 = W_DIRECT, DIRECT_128 = W_DIRECT < 4 ? W_DIRECT : 4 };
#if W_DIRECT == 8
#define DOT_CHUNK_32 DOT_8
#define DOT_CHUNK_64 DOT_8
#define DOT_CHUNK_128 DOT_4
#elif W_DIRECT == 4
#define DOT_CHUNK_32 DOT_4
#define DOT_CHUNK_64 DOT_4
#define DOT_CHUNK_128 DOT_4
#else
#define DOT_CHUNK_32 DOT_1
#define DOT_CHUNK_64 DOT_1
#define DOT_CHUNK_128 DOT_1
#endif

#endif
