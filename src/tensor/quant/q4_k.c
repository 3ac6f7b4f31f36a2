#include "tensor/quant/q4_k.h"

#include "tensor/quant/fit.h"

void q4_k_decode(const void *x, float *y, size_t n)
{
    const struct block_q4_k *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++, y += QK_SUPER) {
        float d = half_to_float(b->d), dmin = half_to_float(b->dmin);
        for (int s = 0; s < 8; s++) {
            const uint8_t *q = b->qs + 32 * (s / 2);
            int shift = 4 * (s % 2), scale, min;
            q4_k_scale_min(b->scales, s, &scale, &min);
            float ds = d * (float)scale, dm = dmin * (float)min;
            for (int i = 0; i < 32; i++) y[32 * s + i] = ds * (float)(q[i] >> shift & 15) - dm;
        }
    }
}

void q4_k_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_q4_k *b = y, *end = b + n / QK_SUPER;
    for (; b < end; b++, x += QK_SUPER) {
        struct super_scales_mins f;
        fit_super_min(15, 63, x, importance ? importance : fit_ones, 8, 32, &f);
        memset(b, 0, sizeof *b);
        b->d = f.d;
        b->dmin = f.dmin;
        q4_k_pack_scales_mins(b->scales, f.scale, f.min);
        for (int s = 0; s < 8; s++) {
            uint8_t *q = b->qs + 32 * (s / 2);
            float id = inverse(f.d_stored * f.scale[s]), m = f.dmin_stored * f.min[s];
            for (int i = 0; i < 32; i++) {
                int v = (int)nearest(clampf((x[32 * s + i] + m) * id, 0, 15));
                q[i] |= (uint8_t)(v << 4 * (s % 2));
            }
        }
        if (importance) importance += QK_SUPER;
    }
}
