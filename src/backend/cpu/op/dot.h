/* One column, the case of decoding: weights from the file's rows to sums without a panel in between.
 *
 * A panel pays for itself when several columns read it. For one, interleaving and storing it costs more than the
 * products; here the sums of a group are made row by row and turned into lanes = rows afterwards. Sums inside a group
 * are exact in integers, and groups are added as gemm.h adds them, so the result is the same bit for bit. */
#include "backend/cpu/kernels.h"
#include "backend/cpu/op/codec.h"

/* A dot_fn by the name dot_NAME_FORM: for types of blocks of 32, and for the others. */
#define DOT(name, form, BLOCK, ...) DOT_##BLOCK(name, form, __VA_ARGS__)

#define DOT_BEGIN(name, form, BLOCK)                                                                           \
    static void dot_##name##_##form(float *y, const struct act_row *x, const uint8_t *rows, size_t row_bytes, \
                                    uint32_t n_row, size_t k)                                                  \
    {                                                                                                          \
        const size_t size = sizeof(struct block_##name);                                                       \
        vf f[OCTETS];                                                                                          \
        for (int r = 0; r < OCTETS; r++) f[r] = vf_set(0);                                                     \
        for (size_t j = 0; j < k / BLOCK; j++) {                                                               \
            const struct block_##name *b[PANEL_ROWS];                                                          \
            prefetch_next(rows, row_bytes, n_row, j, size);                                                    \
            for (uint32_t r = 0; r < PANEL_ROWS; r++)                                                          \
                b[r] = (const void *)(rows + MIN(r, n_row - 1) * row_bytes + j * size);

#define DOT_END                                                                                                \
        }                                                                                                      \
        for (int r = 0; r < OCTETS; r++) vf_store(y + 8 * r, f[r]);                                            \
    }

#define DOT_32(name, form, GROUP, MINIMA, ZERO, DEPTH)                                                         \
    DOT_BEGIN(name, form, 32)                                                                                  \
            for (int r = 0; r < OCTETS; r++) {                                                                 \
                bytes32 q[8];                                                                                  \
                vf s, m;                                                                                       \
                vi i[2];                                                                                       \
                for (int row = 0; row < 8; row++) q[row] = quants_##name(b[8 * r + row], 0);                   \
                form##_sums(i, q, x, j, 32, ZERO, DEPTH);                                                      \
                lanes_##name(b + 8 * r, &s, &m);                                                               \
                f[r] = vf_fma(vf_from_i(i[0]), vf_mul(s, vf_set(x->form.scale[j])), f[r]);                     \
                if (MINIMA) f[r] = vf_fma(m, vf_set(x->form.sum[3 * j + 2]), f[r]);                            \
            }                                                                                                  \
    DOT_END

#define DOT_256(name, form, GROUP, MINIMA, ZERO, DEPTH)                                                        \
    DOT_BEGIN(name, form, 256)                                                                                 \
            float s[16][PANEL_ROWS], m[16][PANEL_ROWS], sr[PANEL_ROWS][16], mr[PANEL_ROWS][16];                \
            for (int r = 0; r < PANEL_ROWS; r++) scales_##name(b[r], sr[r], mr[r]);                            \
            rows_to_lanes(s, sr, 256 / GROUP);                                                                 \
            if (MINIMA) rows_to_lanes(m, mr, 256 / GROUP);                                                     \
            for (int g = 0; g < 8; g++) {                                                                      \
                const size_t at = 8 * j + (size_t)g;                                                           \
                for (int r = 0; r < OCTETS; r++) {                                                             \
                    bytes32 q[8];                                                                              \
                    vi i[2];                                                                                   \
                    for (int row = 0; row < 8; row++) q[row] = quants_##name(b[8 * r + row], g);               \
                    form##_sums(i, q, x, at, GROUP, ZERO, DEPTH);                                              \
                    for (int h = 0; h < 32 / GROUP; h++) {                                                     \
                        const int n = g * (32 / GROUP) + h;                                                    \
                        vf scale = vf_mul(vf_load(s[n] + 8 * r), vf_set(x->form.scale[at]));                   \
                        f[r] = vf_fma(vf_from_i(i[h]), scale, f[r]);                                           \
                        if (!MINIMA) continue;                                                                 \
                        f[r] = vf_fma(vf_load(m[n] + 8 * r),                                                   \
                                      vf_set(x->form.sum[3 * at + (size_t)(GROUP == 32 ? 2 : h)]), f[r]);      \
                    }                                                                                          \
                }                                                                                              \
            }                                                                                                  \
    DOT_END

enum { OCTETS = PANEL_ROWS / 8 }; /* of rows */

SIMD void rows_to_lanes(float (*lanes)[PANEL_ROWS], float (*rows)[16], int n)
{
    for (int i = 0; i < n; i += 8)
        for (int r = 0; r < PANEL_ROWS; r += 8) transpose_8x8(lanes[i] + r, PANEL_ROWS, rows[r] + i, 16);
}

/* Sums of products of eight rows with the 32 activations of group at: i[0] of all, or of both halves in i[0], i[1]. */
SIMD void byte_sums(vi i[2], const bytes32 q[8], const struct act_row *x, size_t at, const int group,
                    const int zero, const int depth)
{
    const int32_t *minus = x->byte.minus + 3 * at;
    row_sums_8(i, q, x->byte.q + 32 * at, group, depth);
    for (int h = 0; zero && h < 32 / group; h++)
        i[h] = vi_add(i[h], vi_set(minus[group == 32 ? 2 : h] * zero));
}

SIMD void pair_sums(vi i[2], const bytes32 q[8], const struct act_row *x, size_t at, const int group,
                    const int zero, const int depth)
{
    (void)depth;
    row_sums_16(i, q, zero, x->pair.q + 32 * at, group);
}
