/* Few columns, the case of decoding: weights from the file's rows to sums without a panel in between.
 *
 * A panel pays for itself when many columns read it. For few, storing it costs more than the products. Sums inside a
 * group are exact in integers, and groups are added as gemm.h adds them, so the result is the same bit for bit. */
#ifndef CORRAL_CPU_DOT_H
#define CORRAL_CPU_DOT_H

#include "backend/cpu/op/pack.h"
#ifdef W_SCALED
#include "backend/cpu/op/scaled.h"
#endif

enum { DOT_ROWS = 16 }; /* small tasks are easier to share */

/* Of the three sums of every 32 inputs, the one of the group that an input is in. */
#define SUM_AT(at, GROUP) (3 * ((at) / 32) + (size_t)((GROUP) == 32 ? 2 : (at) / 16 % 2))
/* Inputs whose sums become one float. */
#define byte_JOINED(GROUP) (quads_SCALED(GROUP) ? 32 : (GROUP))
#define pair_JOINED(GROUP) (GROUP)

/* acc += products of four quads with 16 inputs of a column: as bytes, or as pairs. */
SIMD void byte_products(wi *acc, const wb q[4], const struct act_row *x, size_t at, const struct lanes *l, int group,
                        const int GROUP, const int ZERO, const int DEPTH)
{
#ifdef W_SCALED
    if (quads_SCALED(GROUP)) {
        *acc = scaled_products(*acc, q, x, at, SUM_AT(at, GROUP), l->n[group], ZERO);
        return;
    }
#endif
    const int8_t *a = x->byte.q + at;
    const int depth = MIN(4, W_DEPTH(DEPTH, 4));
    (void)l, (void)group, (void)GROUP, (void)ZERO;
    W_UNROLL(4)
    for (int j = 0; j < 4; j += depth) {
        wt t = wt_product(q[j], a + 4 * j);
        W_UNROLL(4)
        for (int d = 1; d < depth; d++) t = wt_add_product(t, q[j + d], a + 4 * (j + d));
        *acc = wi_add_sums(*acc, t);
    }
}
SIMD void pair_products(wi *acc, const wb q[4], const struct act_row *x, size_t at, const struct lanes *l, int group,
                        const int GROUP, const int ZERO, const int DEPTH)
{
    const int16_t *a = x->pair.q + at;
    (void)l, (void)group, (void)GROUP, (void)DEPTH;
    W_UNROLL(4)
    for (int j = 0; j < 4; j++) {
        wp pair[2];
        wp_from_bytes(pair, q[j] - (uint8_t)ZERO);
        *acc = wi_madd(wi_madd(*acc, pair[0], a + 4 * j), pair[1], a + 4 * j + 2);
    }
}
/* What products counted from zero have too much, as byte_products leaves it. */
SIMD wi byte_start(const struct act_row *x, size_t sum_at, const int GROUP, int zero)
{
    if (!zero || quads_SCALED(GROUP)) return wi_zero();
    return wi_set_shifted(&x->byte.minus[sum_at], __builtin_ctz((unsigned)zero | 256));
}
SIMD wi pair_start(const struct act_row *x, size_t sum_at, const int GROUP, int zero)
{
    (void)x, (void)sum_at, (void)GROUP, (void)zero;
    return wi_zero();
}

/* NC columns. Sixteen inputs at a time, in order: a group's sums are finished before the next one begins. */
#define DOT_TILE(id, NC, name, form, BLOCK, GROUP, MINIMA, ZERO, DEPTH, CHUNK)                                 \
    static void dot_##id##_##NC(float *const *y, const struct act_row *x, const uint8_t *rows,                 \
                                size_t row_bytes, size_t k)                                                    \
    {                                                                                                          \
        const size_t size = sizeof(struct block_##name);                                                       \
        for (size_t r = 0; r < DOT_ROWS; r += W_LANES, rows += W_LANES * row_bytes) {                          \
            struct rows b = {rows, row_bytes};                                                                 \
            wf f[NC], half[NC];                                                                                \
            for (int i = 0; i < NC; i++) f[i] = wf_set(0);                                                     \
            for (size_t k0 = 0; k0 < k; k0 += BLOCK, b.at += size) {                                           \
                struct lanes l;                                                                                \
                prefetch_next(rows + W_LANES * row_bytes, W_LANES, (size_t)(b.at - rows), size);               \
                open_##name(&l, b);                                                                            \
                for (int c = 0; c < BLOCK / CHUNK; c++) {                                                      \
                    wb raw[PARTS(CHUNK)][RAW];                                                                 \
                    wi acc[NC];                                                                                \
                    W_UNROLL(2)                                                                                \
                    for (int p = 0; p < PARTS(CHUNK); p++) load_##name(raw[p], &l, b, c, p);                   \
                    W_UNROLL(8)                                                                                \
                    for (int i = 0; i < NC; i++) acc[i] = wi_zero();                                           \
                    W_UNROLL(8)                                                                                \
                    for (int e = 0; e < CHUNK; e += 16) {                                                      \
                        const int s = e / STRIDE(CHUNK), p = e % STRIDE(CHUNK) / 16;                           \
                        const size_t at = k0 + (size_t)(CHUNK * c + e); /* input */                            \
                        const size_t sum_at = SUM_AT(at, GROUP);                                               \
                        wb q[4];                                                                               \
                        W_UNROLL(4)                                                                            \
                        for (int j = 0; j < 4; j++) q[j] = quad_##name(raw[p], &l, c, p, s, j);                \
                        const int g = c * (CHUNK / GROUP) + e / GROUP;                                         \
                        const int JOINED = form##_JOINED(GROUP);                                               \
                        W_UNROLL(8)                                                                            \
                        for (int i = 0; i < NC; i++) {                                                         \
                            if (e % JOINED == 0) acc[i] = form##_start(x + i, sum_at, GROUP, ZERO);            \
                            form##_products(&acc[i], q, x + i, at, &l, g, GROUP, ZERO, DEPTH);                 \
                        }                                                                                      \
                        if ((e + 16) % JOINED) continue;                                                       \
                        W_UNROLL(8)                                                                            \
                        for (int i = 0; i < NC; i++) {                                                         \
                            const wf a = wf_set(x[i].form.scale[at / 32]), n = wf_from_i(acc[i]);              \
                            if (JOINED == 32 || !W_HALVES(MINIMA))                                             \
                                f[i] = wf_fma(n, wf_mul(JOINED == GROUP ? l.s[g] : l.d, a), f[i]);             \
                            else if (e % 32 == 0)                                                              \
                                half[i] = wf_mul(n, l.s[g]);                                                   \
                            else                                                                               \
                                f[i] = wf_fma(wf_fma(n, l.s[g], half[i]), a, f[i]);                            \
                            if (MINIMA && JOINED != GROUP)                                                     \
                                f[i] = wf_fma(l.m[g - 1], wf_set(x[i].form.sum[sum_at - 1]), f[i]);            \
                            if (MINIMA) f[i] = wf_fma(l.m[g], wf_set(x[i].form.sum[sum_at]), f[i]);            \
                        }                                                                                      \
                    }                                                                                          \
                }                                                                                              \
            }                                                                                                  \
            for (int i = 0; i < NC; i++) wf_store(y[i] + r, f[i]);                                             \
        }                                                                                                      \
    }

/* A dot_fn by the name dot_NAME, of TILEs of one, two, four and eight columns: as many as W_DIRECT lets be compiled.
 * Of more than MOST columns nothing is left in the program. */
#define DOT_FN(name, CALLS)                                                                                    \
    static void dot_##name(float *const *y, const struct act_row *x, uint32_t n_col, const uint8_t *rows,      \
                           size_t row_bytes, size_t k)                                                         \
    {                                                                                                          \
        uint32_t c = 0;                                                                                        \
        CALLS                                                                                                  \
    }
#define DOT_CALL(name, MOST, NC)                                                                               \
    for (; NC <= (MOST) && c + NC <= n_col; c += NC) dot_##name##_##NC(y + c, x + c, rows, row_bytes, k);

#if W_DIRECT == 8
#define DOT(name, MOST, ...)                                                                                   \
    DOT_TILE(name, 1, __VA_ARGS__)                                                                             \
    DOT_TILE(name, 2, __VA_ARGS__)                                                                             \
    DOT_TILE(name, 4, __VA_ARGS__)                                                                             \
    DOT_TILE(name, 8, __VA_ARGS__)                                                                             \
    DOT_FN(name, DOT_CALL(name, MOST, 8) DOT_CALL(name, MOST, 4) DOT_CALL(name, MOST, 2) DOT_CALL(name, MOST, 1))
#elif W_DIRECT == 4
#define DOT(name, MOST, ...)                                                                                   \
    DOT_TILE(name, 1, __VA_ARGS__)                                                                             \
    DOT_TILE(name, 2, __VA_ARGS__)                                                                             \
    DOT_TILE(name, 4, __VA_ARGS__)                                                                             \
    DOT_FN(name, DOT_CALL(name, MOST, 4) DOT_CALL(name, MOST, 2) DOT_CALL(name, MOST, 1))
#else
#define DOT(name, MOST, ...)                                                                                   \
    DOT_TILE(name, 1, __VA_ARGS__)                                                                             \
    DOT_FN(name, DOT_CALL(name, MOST, 1))
#endif

#endif
