#include "tensor/quant/iq4_xs.h"

#include "tensor/quant/iq4_fit.h"

void iq4_xs_decode(const void *x, float *y, size_t n)
{
    const struct block_iq4_xs *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++, y += QK_SUPER) {
        float d = half_to_float(b->d);
        for (int s = 0; s < 8; s++) {
            float scale = d * (float)iq4_xs_scale(b, s);
            for (int i = 0; i < 16; i++) {
                y[32 * s + i] = scale * (float)iq4_values[b->qs[16 * s + i] & 15];
                y[32 * s + i + 16] = scale * (float)iq4_values[b->qs[16 * s + i] >> 4];
            }
        }
    }
}

void iq4_xs_encode(const float *x, void *y, size_t n, const float *importance)
{
    static const struct range scales = {-32, 31};
    struct block_iq4_xs *b = y, *end = b + n / QK_SUPER;
    for (; b < end; b++, x += QK_SUPER) {
        struct super_scales f;
        fit_super_with(snap_iq4, iq4_range, iq4_fan, scales, x, importance ? importance : fit_ones, 8, 32,
                       &f);
        memset(b, 0, sizeof *b);
        b->d = f.d;
        for (int s = 0; s < 8; s++) {
            int v = f.scale[s] + 32;
            b->scales_l[s / 2] |= (uint8_t)((v & 15) << 4 * (s % 2));
            b->scales_h |= (uint16_t)(v >> 4 << 2 * s);
            iq4_pack(b->qs + 16 * s, x + 32 * s, inverse(f.d_stored * f.scale[s]));
        }
        if (importance) importance += QK_SUPER;
    }
}
