#include "tensor/quant/q2_k.h"

#include "tensor/quant/fit.h"

void q2_k_decode(const void *x, float *y, size_t n)
{
    const struct block_q2_k *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++, y += QK_SUPER) {
        float d = half_to_float(b->d), dmin = half_to_float(b->dmin);
        for (int s = 0; s < 16; s++) { /* sub-block: elements 16s .. 16s + 15 */
            const uint8_t *q = b->qs + 32 * (s / 8) + 16 * (s % 2);
            int shift = 2 * (s / 2 % 4);
            float scale = d * (float)(b->scales[s] & 15), min = dmin * (float)(b->scales[s] >> 4);
            for (int i = 0; i < 16; i++) y[16 * s + i] = scale * (float)(q[i] >> shift & 3) - min;
        }
    }
}

void q2_k_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_q2_k *b = y, *end = b + n / QK_SUPER;
    for (; b < end; b++, x += QK_SUPER) {
        struct super_scales_mins f;
        fit_super_min(3, 15, x, importance ? importance : fit_ones, 16, 16, &f);
        memset(b, 0, sizeof *b);
        b->d = f.d;
        b->dmin = f.dmin;
        for (int s = 0; s < 16; s++) {
            uint8_t *q = b->qs + 32 * (s / 8) + 16 * (s % 2);
            float id = inverse(f.d_stored * f.scale[s]), m = f.dmin_stored * f.min[s];
            b->scales[s] = (uint8_t)(f.scale[s] | f.min[s] << 4);
            for (int i = 0; i < 16; i++) {
                int v = (int)nearest(clampf((x[16 * s + i] + m) * id, 0, 3));
                q[i] |= (uint8_t)(v << 2 * (s / 2 % 4));
            }
        }
        if (importance) importance += QK_SUPER;
    }
}
