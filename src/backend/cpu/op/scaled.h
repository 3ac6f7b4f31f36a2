/* Groups of 16 where products of bytes are added in 16 bits (AVX2 without VNNI), with integer scales.
 *
 * Sums of products counted from ZERO leave 16 bits and wrap. What they have too much is taken off in 16 bits as
 * well, and what remains, eight products of -32 to 31 and at most 127 to a lane, is below 2^15. So one
 * multiplication widens a group, and it multiplies with the group's scale in the same go. Two groups share an
 * activation scale and the block's d, so they become one float. */
#ifndef CORRAL_CPU_SCALED_H
#define CORRAL_CPU_SCALED_H

#include "backend/cpu/op/pack.h"

/* Quads whose products are added before they are widened: the whole group, of numbers of 7 bits one. */
#define SCALED_DEPTH(ZERO) ((ZERO) > 32 ? 1 : 4)

/* acc + s times the sums t; `last` of their group. minus: what a group's sums have too much. */
SIMD wi add_scaled(wi acc, wt t, wp s, const int32_t *minus, bool last, const int ZERO)
{
    const int shift = __builtin_ctz((unsigned)ZERO | 256);
    if (ZERO && SCALED_DEPTH(ZERO) == 4) t = wt_add_shifted(t, minus, shift);
    acc = vi_add(acc, wt_scaled(t, s));
    if (SCALED_DEPTH(ZERO) == 4) return acc;
    wi_pin(&acc);
    return last ? vi_add(acc, wt_scaled_shifted(minus, shift, s)) : acc;
}

/* bytes_tile (gemm.h) of such groups. */
SIMD void scaled_tile(float *const *y, const struct act_row *x, const void *panel, size_t k, bool first,
                      const int NC, const bool MINIMA, const int ZERO)
{
    const int depth = SCALED_DEPTH(ZERO);
    const float *p = panel;
    wf f[W_ROWS][W_COLUMNS];

    for (int c = 0; c < NC; c++)
        for (int r = 0; r < W_ROWS; r++) f[r][c] = first ? wf_set(0) : wf_load(y[c] + W_LANES * r);
    for (size_t g = 0; g < k / 32; g++) {
        const float *s = p + PANEL_ROWS, *m = s + 2 * PANEL_ROWS;
        const int8_t *w = (const int8_t *)(m + (MINIMA ? 2 * PANEL_ROWS : 0));
        wi i[W_ROWS][W_COLUMNS];
        for (int c = 0; c < NC; c++)
            for (int r = 0; r < W_ROWS; r++) i[r][c] = wi_zero();
        W_UNROLL(2)
        for (size_t h = 0; h < 2; h++, s += PANEL_ROWS) {
            W_UNROLL(4)
            for (int j = 0; j < 4; j += depth) {
                wt t[W_ROWS][W_COLUMNS];
                W_UNROLL(4)
                for (int d = 0; d < depth; d++, w += PANEL_STEP) {
                    for (int r = 0; r < W_ROWS; r++) {
                        wb wr = wb_load(w + 4 * W_LANES * r);
                        for (int c = 0; c < NC; c++) {
                            const int8_t *a = x[c].byte.q + 32 * g + 16 * h + (size_t)(4 * (j + d));
                            t[r][c] = d ? wt_add_product(t[r][c], wr, a) : wt_product(wr, a);
                            wt_pin(&t[r][c]);
                        }
                    }
                }
                for (int c = 0; c < NC; c++) {
                    const int32_t *minus = &x[c].byte.minus[3 * g + h];
                    for (int r = 0; r < W_ROWS; r++) {
                        const wp sr = wp_load((const int16_t *)(const void *)(s + W_LANES * r));
                        i[r][c] = add_scaled(i[r][c], t[r][c], sr, minus, j + depth == 4, ZERO);
                    }
                }
            }
        }
        for (int r = 0; r < W_ROWS; r++) {
            const wf d = wf_load(p + W_LANES * r);
            for (int c = 0; c < NC; c++)
                f[r][c] = wf_fma(wf_from_i(i[r][c]), wf_mul(d, wf_set(x[c].byte.scale[g])), f[r][c]);
            for (size_t h = 0; MINIMA && h < 2; h++) {
                const wf mr = wf_load(m + h * PANEL_ROWS + W_LANES * (size_t)r);
                for (int c = 0; c < NC; c++) f[r][c] = wf_fma(mr, wf_set(x[c].byte.sum[3 * g + h]), f[r][c]);
            }
        }
        p = (const float *)(const void *)w;
    }
    for (int c = 0; c < NC; c++)
        for (int r = 0; r < W_ROWS; r++) wf_store(y[c] + W_LANES * r, f[r][c]);
}

/* acc + s times the products of one group with 16 inputs of a column (dot.h). */
SIMD wi scaled_products(wi acc, const wb q[4], const struct act_row *x, size_t at, size_t sum_at, wp s,
                        const int ZERO)
{
    const int8_t *a = x->byte.q + at;
    const int depth = SCALED_DEPTH(ZERO);
    W_UNROLL(4)
    for (int j = 0; j < 4; j += depth) {
        wt t = wt_product(q[j], a + 4 * j);
        W_UNROLL(4)
        for (int d = 1; d < depth; d++) t = wt_add_product(t, q[j + d], a + 4 * (j + d));
        acc = add_scaled(acc, t, s, &x->byte.minus[sum_at], j + depth == 4, ZERO);
    }
    return acc;
}

#endif
