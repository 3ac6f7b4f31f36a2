#include "tensor/quant/q3_k.h"

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
