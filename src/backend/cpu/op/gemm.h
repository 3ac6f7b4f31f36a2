/* Products of a panel with columns of activations, in two kinds. Each has one order of sums whatever the number of
 * columns: products inside a group of weights are exact in integers, groups are added in order as floats.
 *
 * bytes: weights kept unsigned, u = q - ZERO, times activations of 8 bits. Without VNNI DEPTH products of pairs are added
 *   in 16 bits before they are widened, so the multiplier does little else (CPU.md section 6); groups of 16 then have a
 *   way of their own (scaled.h).
 * pairs: weights as 16-bit integers times activations of 16 bits: the speed of the sign trick for 8 bits, with
 *   rounding near float's. For Q8_0, code books where bytes do not serve, and the output matrix. */
#ifndef CORRAL_CPU_GEMM_H
#define CORRAL_CPU_GEMM_H

#include "backend/cpu/op/pack.h"

/* Group h of 32 inputs: f += s * a * i + m * (sum of the group's activations). Of two groups that share an activation
 * scale the products with s may come first, f += a * (s0 * i0 + s1 * i1): floats share the multiplier with bytes. */
#define ADD_GROUP(x)                                                                                           \
    do {                                                                                                       \
        for (int r = 0; r < W_ROWS; r++) {                                                                     \
            wf sr = wf_load(s + h * PANEL_ROWS + W_LANES * r);                                                 \
            for (int c = 0; c < NC; c++) {                                                                     \
                const wf a = wf_set((x).scale[g]), n = wf_from_i(i[r][c]);                                     \
                if (GROUP == 32 || !W_HALVES(MINIMA))                                                          \
                    f[r][c] = wf_fma(n, wf_mul(sr, a), f[r][c]);                                               \
                else if (h == 0)                                                                               \
                    half[r][c] = wf_mul(n, sr);                                                                \
                else                                                                                           \
                    f[r][c] = wf_fma(wf_fma(n, sr, half[r][c]), a, f[r][c]);                                   \
            }                                                                                                  \
            if (!MINIMA) continue;                                                                             \
            wf mr = wf_load(m + h * PANEL_ROWS + W_LANES * r);                                                 \
            for (int c = 0; c < NC; c++) f[r][c] = wf_fma(mr, wf_set((x).sum[sum_at]), f[r][c]);               \
        }                                                                                                      \
    } while (0)

#ifdef W_TILES /* tiles.h: of W_COLUMNS columns */
SIMD void tiles_group(wi i[W_ROWS][W_COLUMNS], const int8_t *w, const struct act_row *x, size_t at, size_t sum_at,
                      const int ZERO);
#endif

/* i = products of the group from input `at` on with NC columns, less what those counted from zero have too much. */
#ifndef W_MMLA
SIMD void bytes_group(wi i[W_ROWS][W_COLUMNS], const int8_t *w, const struct act_row *x, size_t at, size_t sum_at,
                      const int NC, const int GROUP, const int ZERO, const int DEPTH)
{
    const int quads = GROUP / 4, depth = W_DEPTH(DEPTH, quads);
#ifdef W_TILES
    if (NC == W_COLUMNS) {
        tiles_group(i, w, x, at, sum_at, ZERO);
        return;
    }
#endif
    for (int j = 0; j < quads; j += depth) {
        wt t[W_ROWS][W_COLUMNS];
        W_UNROLL(8)
        for (int d = 0; d < depth; d++, w += PANEL_STEP) {
            for (int r = 0; r < W_ROWS; r++) {
                wb wr = wb_load(w + 4 * W_LANES * r);
                for (int c = 0; c < NC; c++) {
                    const int8_t *a = x[c].byte.q + at + (size_t)(4 * (j + d));
                    t[r][c] = d ? wt_add_product(t[r][c], wr, a) : wt_product(wr, a);
                    wt_pin(&t[r][c]);
                }
            }
        }
        for (int c = 0; c < NC; c++) {
            /* The excess is taken off here and not before, where it would take up registers. */
            const int32_t *minus = &x[c].byte.minus[sum_at];
            const wi start = ZERO ? wi_set_shifted(minus, __builtin_ctz(ZERO | 256)) : wi_zero();
            for (int r = 0; r < W_ROWS; r++) i[r][c] = wi_add_sums(j ? i[r][c] : start, t[r][c]);
        }
    }
}
#else /* two rows with two columns at a time; of one column twice the same */
SIMD void bytes_group(wi i[W_ROWS][W_COLUMNS], const int8_t *w, const struct act_row *x, size_t at, size_t sum_at,
                      const int NC, const int GROUP, const int ZERO, const int DEPTH)
{
    wm t[W_ROWS][2][W_COLUMNS];
    for (int c = 0; c < NC; c += 2) {
        const int32_t *minus[] = {&x[c].byte.minus[sum_at], &x[MIN(c + 1, NC - 1)].byte.minus[sum_at]};
        const wm start = ZERO ? wm_set_shifted(minus, __builtin_ctz(ZERO | 256)) : wm_zero();
        for (int r = 0; r < W_ROWS; r++) t[r][0][c] = t[r][1][c] = start;
    }
    W_UNROLL(4)
    for (int j = 0; j < GROUP / 4; j += 2) {
        const size_t k = at + (size_t)(4 * j);
        wb a[W_COLUMNS];
        for (int c = 0; c < NC; c += 2) a[c] = wb_two_columns(x[c].byte.q + k, x[MIN(c + 1, NC - 1)].byte.q + k);
        for (int r = 0; r < W_ROWS; r++) {
            for (int n = 0; n < 2; n++) {
                const wb wr = wb_load(w + (j + n) * PANEL_STEP + 4 * W_LANES * r);
                for (int c = 0; c < NC; c += 2) {
                    t[r][n][c] = wm_add_products(t[r][n][c], wr, a[c]);
                    wm_pin(&t[r][n][c]);
                }
            }
        }
    }
    for (int r = 0; r < W_ROWS; r++)
        for (int c = 0; c < NC; c++) i[r][c] = wm_column(t[r][0][c / 2 * 2], t[r][1][c / 2 * 2], c % 2);
}
#endif

/* NC columns at once. */
SIMD void bytes_tile(float *const *y, const struct act_row *x, const void *panel, size_t k, bool first,
                     const int NC, const int GROUP, const bool MINIMA, const int ZERO, const int DEPTH)
{
    const int per32 = 32 / GROUP;
    const float *p = panel;
    wf f[W_ROWS][W_COLUMNS], half[W_ROWS][W_COLUMNS];

    for (int c = 0; c < NC; c++)
        for (int r = 0; r < W_ROWS; r++) f[r][c] = first ? wf_set(0) : wf_load(y[c] + W_LANES * r);
    for (size_t g = 0; g < k / 32; g++) {
        const float *s = p, *m = p + per32 * PANEL_ROWS;
        const int8_t *w = (const int8_t *)(m + (MINIMA ? per32 * PANEL_ROWS : 0));
        for (int h = 0; h < per32; h++, w += GROUP / 4 * PANEL_STEP) {
            const size_t sum_at = 3 * g + (size_t)(GROUP == 32 ? 2 : h);
            wi i[W_ROWS][W_COLUMNS];
            bytes_group(i, w, x, 32 * g + (size_t)(h * GROUP), sum_at, NC, GROUP, ZERO, DEPTH);
            ADD_GROUP(x[c].byte);
        }
        p = (const float *)(const void *)w;
    }
    for (int c = 0; c < NC; c++)
        for (int r = 0; r < W_ROWS; r++) wf_store(y[c] + W_LANES * r, f[r][c]);
}

SIMD void pairs_tile(float *const *y, const struct act_row *x, const void *panel, size_t k, bool first,
                     const int NC, const int GROUP, const bool MINIMA)
{
    const int per32 = 32 / GROUP;
    const float *p = panel;
    wf f[W_ROWS][W_COLUMNS], half[W_ROWS][W_COLUMNS];

    for (int c = 0; c < NC; c++)
        for (int r = 0; r < W_ROWS; r++) f[r][c] = first ? wf_set(0) : wf_load(y[c] + W_LANES * r);
    for (size_t g = 0; g < k / 32; g++) {
        const float *s = p, *m = p + per32 * PANEL_ROWS;
        const int16_t *w = (const int16_t *)(const void *)(m + (MINIMA ? per32 * PANEL_ROWS : 0));
        for (int h = 0; h < per32; h++) {
            const size_t sum_at = 3 * g + (size_t)(GROUP == 32 ? 2 : h);
            wi i[W_ROWS][W_COLUMNS];
            for (int c = 0; c < NC; c++)
                for (int r = 0; r < W_ROWS; r++) i[r][c] = wi_zero();
            W_UNROLL(16)
            for (int j = 0; j < GROUP / 2; j++, w += PANEL_STEP / 2) {
                for (int c = 0; c < NC; c++) {
                    const int16_t *a = x[c].pair.q + 32 * g + (size_t)(h * GROUP + 2 * j);
                    for (int r = 0; r < W_ROWS; r++) {
                        i[r][c] = wi_madd(i[r][c], wp_load(w + 2 * W_LANES * r), a);
                        wi_pin(&i[r][c]);
                    }
                }
            }
            ADD_GROUP(x[c].pair);
        }
        p = (const float *)(const void *)w;
    }
    for (int c = 0; c < NC; c++)
        for (int r = 0; r < W_ROWS; r++) wf_store(y[c] + W_LANES * r, f[r][c]);
}
#undef ADD_GROUP

/* A gemm_fn by that name: whole tiles of MOST columns, then what is left by halves. */
#define GEMM(name, MOST, tile, ...)                                                                            \
    static void name(float *const *y, const struct act_row *x, uint32_t n_col, const void *panel, size_t k,    \
                     bool first)                                                                               \
    {                                                                                                          \
        uint32_t c = 0;                                                                                        \
        for (; c + MOST <= n_col; c += MOST) tile(y + c, x + c, panel, k, first, MOST, ##__VA_ARGS__);         \
        for (; MOST > 4 && c + 4 <= n_col; c += 4) tile(y + c, x + c, panel, k, first, 4, ##__VA_ARGS__);      \
        for (; c + 2 <= n_col; c += 2) tile(y + c, x + c, panel, k, first, 2, ##__VA_ARGS__);                  \
        if (c < n_col) tile(y + c, x + c, panel, k, first, 1, ##__VA_ARGS__);                                  \
    }

#endif
