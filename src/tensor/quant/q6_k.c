#include "tensor/quant/q6_k.h"

#include "tensor/quant/fit.h"

void q6_k_decode(const void *x, float *y, size_t n)
{
    const struct block_q6_k *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++, y += QK_SUPER) {
        float d = half_to_float(b->d);
        for (int s = 0; s < 16; s++) {
            int half = s / 8, j = s / 2 % 4;
            const uint8_t *ql = b->ql + 64 * half + 32 * (j % 2) + 16 * (s % 2);
            const uint8_t *qh = b->qh + 32 * half + 16 * (s % 2);
            int low_shift = 4 * (j / 2), high_shift = 2 * j;
            float scale = d * (float)b->scales[s];
            for (int i = 0; i < 16; i++) {
                int v = (ql[i] >> low_shift & 15) | (qh[i] >> high_shift & 3) << 4;
                y[16 * s + i] = scale * (float)(v - 32);
            }
        }
    }
}

void q6_k_encode(const float *x, void *y, size_t n, const float *importance)
{
    static const struct range r = {-32, 31}, scales = {-128, 127};
    static const struct fan fan = {0.94f, 0.02f, 5};
    struct block_q6_k *b = y, *end = b + n / QK_SUPER;
    for (; b < end; b++, x += QK_SUPER) {
        struct super_scales f;
        fit_super(r, fan, scales, x, importance ? importance : fit_ones, 16, 16, &f);
        memset(b, 0, sizeof *b);
        b->d = f.d;
        memcpy(b->scales, f.scale, sizeof b->scales);
        for (int s = 0; s < 16; s++) {
            int half = s / 8, j = s / 2 % 4;
            uint8_t *ql = b->ql + 64 * half + 32 * (j % 2) + 16 * (s % 2);
            uint8_t *qh = b->qh + 32 * half + 16 * (s % 2);
            float id = inverse(f.d_stored * f.scale[s]);
            for (int i = 0; i < 16; i++) {
                int v = (int)snap_int(x[16 * s + i] * id, r) + 32;
                ql[i] |= (uint8_t)((v & 15) << 4 * (j / 2));
                qh[i] |= (uint8_t)(v >> 4 << 2 * j);
            }
        }
        if (importance) importance += QK_SUPER;
    }
}
