/* Few columns, the case of decoding: weights from the file's rows to sums without a panel in between.
 *
 * A panel pays for itself when many columns read it. For few, storing it costs more than the products. Sums inside a
 * group are exact in integers, and groups are added as gemm.h adds them, so the result is the same bit for bit. */
#ifndef CORRAL_CPU_DOT_H
#define CORRAL_CPU_DOT_H

#include "backend/cpu/op/pack.h"

enum { DIRECT_COLUMNS = 4 }; /* at most, at once */

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

/* NC columns with all n_row rows. */
#define DOT_TILE(name, form, NC, BLOCK, GROUP, MINIMA, ZERO, DEPTH, CHUNK)                                     \
    static void dot_##name##_##form##_##NC(float *const *y, const struct act_row *x, const uint8_t *rows,      \
                                           size_t row_bytes, uint32_t n_row, size_t k)                         \
    {                                                                                                          \
        enum { N_GROUP = CHUNK / GROUP };                                                                      \
        const size_t size = sizeof(struct block_##name);                                                       \
        const uint8_t *row[PANEL_ROWS];                                                                        \
        row_addresses(row, rows, row_bytes, n_row);                                                            \
        for (uint32_t r = 0; r < n_row; r += W_LANES) {                                                        \
            const uint32_t n_lane = MIN((uint32_t)W_LANES, n_row - r);                                         \
            wf f[NC];                                                                                          \
            for (int i = 0; i < NC; i++) f[i] = wf_set(0);                                                     \
            for (size_t at = 0, k0 = 0; k0 < k; at += size, k0 += BLOCK) {                                     \
                struct lanes l;                                                                                \
                prefetch_next(row[r], row_bytes, n_lane, at, size);                                            \
                open_##name(&l, row + r, at);                                                                  \
                for (int c = 0; c < BLOCK / CHUNK; c++) {                                                      \
                    const size_t first = k0 + (size_t)(CHUNK * c); /* input of the chunk */                    \
                    wi acc[N_GROUP][NC];                                                                       \
                    W_UNROLL(8)                                                                                \
                    for (int g = 0; g < N_GROUP; g++) {                                                        \
                        W_UNROLL(4)                                                                            \
                        for (int i = 0; i < NC; i++)                                                           \
                            acc[g][i] = form##_start(x + i, SUM_AT(first, GROUP, g), ZERO);                    \
                    }                                                                                          \
                    W_UNROLL(2)                                                                                \
                    for (int p = 0; p < PARTS(CHUNK); p++) {                                                   \
                        wb raw[RAW];                                                                           \
                        load_##name(raw, row + r, at, c, p);                                                   \
                        W_UNROLL(4)                                                                            \
                        for (int s = 0; s < SUBS(CHUNK); s++) {                                                \
                            const int e = STRIDE(CHUNK) * s + 16 * p;                                          \
                            wb q[4];                                                                           \
                            W_UNROLL(4)                                                                        \
                            for (int j = 0; j < 4; j++) q[j] = quad_##name(raw, &l, c, p, s, j);               \
                            W_UNROLL(4)                                                                        \
                            for (int i = 0; i < NC; i++)                                                       \
                                form##_products(&acc[e / GROUP][i], q, x + i, first + (size_t)e, ZERO, DEPTH); \
                        }                                                                                      \
                    }                                                                                          \
                    W_UNROLL(8)                                                                                \
                    for (int g = 0; g < N_GROUP; g++) {                                                        \
                        const wf sr = l.s[c * N_GROUP + g];                                                    \
                        W_UNROLL(4)                                                                            \
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
                                  size_t row_bytes, uint32_t n_row, size_t k)                                  \
    {                                                                                                          \
        enum { ELEMS = name##_ELEMS, SIZE = 16 / ELEMS };                                                      \
        const uint8_t *row[PANEL_ROWS];                                                                        \
        wf f[W_ROWS][NC];                                                                                      \
        row_addresses(row, rows, row_bytes, n_row);                                                            \
        for (int r = 0; r < W_ROWS; r++)                                                                       \
            for (int c = 0; c < NC; c++) f[r][c] = wf_set(0);                                                  \
        for (size_t i = 0; i < k; i += ELEMS) {                                                                \
            if (i % (4 * ELEMS) == 0) prefetch_next(rows, row_bytes, n_row, i * SIZE, 64);                     \
            W_UNROLL(2)                                                                                        \
            for (int r = 0; r < W_ROWS; r++) {                                                                 \
                wb raw[4];                                                                                     \
                float_rows(raw, row + W_LANES * r, i * SIZE, (k - i) * SIZE);                                  \
                const int n = (int)MIN((size_t)ELEMS, k - i);                                                  \
                W_UNROLL(8)                                                                                    \
                for (int j = 0; j < ELEMS; j++) {                                                              \
                    if (j >= n) break;                                                                         \
                    wf w = name##_number(raw, j);                                                              \
                    W_UNROLL(4)                                                                                \
                    for (int c = 0; c < NC; c++)                                                               \
                        f[r][c] = wf_fma(w, wf_set(x[c].f[i + (size_t)j]), f[r][c]);                           \
                }                                                                                              \
            }                                                                                                  \
        }                                                                                                      \
        for (int c = 0; c < NC; c++)                                                                           \
            for (int r = 0; r < W_ROWS; r++) wf_store(y[c] + W_LANES * r, f[r][c]);                            \
    }

/* A dot_fn by the name dot_NAME of tiles of four, two and one columns. */
#define DOT(name)                                                                                              \
    static void dot_##name(float *const *y, const struct act_row *x, uint32_t n_col, const uint8_t *rows,      \
                           size_t row_bytes, uint32_t n_row, size_t k)                                         \
    {                                                                                                          \
        uint32_t c = 0;                                                                                        \
        for (; c + 4 <= n_col; c += 4) dot_##name##_4(y + c, x + c, rows, row_bytes, n_row, k);                \
        for (; c + 2 <= n_col; c += 2) dot_##name##_2(y + c, x + c, rows, row_bytes, n_row, k);                \
        if (c < n_col) dot_##name##_1(y + c, x + c, rows, row_bytes, n_row, k);                                \
    }

#endif
