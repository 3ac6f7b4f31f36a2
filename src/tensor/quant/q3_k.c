#include "tensor/quant/q3_k.h"

#include "tensor/quant/fit.h"

void q3_k_decode(const void *x, float *y, size_t n)
{
    const struct block_q3_k *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++, y += QK_SUPER) {
        float d = half_to_float(b->d);
        for (int s = 0; s < 16; s++) {
            const uint8_t *q = b->qs + 32 * (s / 8) + 16 * (s % 2), *h = b->hmask + 16 * (s % 2);
            int shift = 2 * (s / 2 % 4), plane = s / 2;
            float scale = d * (float)q3_k_scale(b->scales, s);
            for (int i = 0; i < 16; i++) {
                int v = (q[i] >> shift & 3) + (h[i] >> plane & 1) * 4 - 4;
                y[16 * s + i] = scale * (float)v;
            }
        }
    }
}

static void pack_scales(uint8_t out[12], const int8_t scale[16])
{
    memset(out, 0, 12);
    for (int s = 0; s < 16; s++) {
        int v = scale[s] + 32;
        out[s % 8] |= (uint8_t)((v & 15) << 4 * (s / 8));
        out[8 + (s & 3)] |= (uint8_t)(v >> 4 << 2 * (s >> 2));
    }
}

void q3_k_encode(const float *x, void *y, size_t n, const float *importance)
{
    static const struct range r = {-4, 3}, scales = {-32, 31};
    static const struct fan fan = {0.55f, 0.07f, 8};
    struct block_q3_k *b = y, *end = b + n / QK_SUPER;
    for (; b < end; b++, x += QK_SUPER) {
        struct super_scales f;
        fit_super(r, fan, scales, x, importance ? importance : fit_ones, 16, 16, &f);
        memset(b, 0, sizeof *b);
        b->d = f.d;
        pack_scales(b->scales, f.scale);
        for (int s = 0; s < 16; s++) {
            uint8_t *q = b->qs + 32 * (s / 8) + 16 * (s % 2), *h = b->hmask + 16 * (s % 2);
            float id = inverse(f.d_stored * f.scale[s]);
            for (int i = 0; i < 16; i++) {
                int v = (int)snap_int(x[16 * s + i] * id, r) + 4;
                q[i] |= (uint8_t)((v & 3) << 2 * (s / 2 % 4));
                h[i] |= (uint8_t)(v >> 2 << s / 2);
            }
        }
        if (importance) importance += QK_SUPER;
    }
}
