#include "tensor/quant/q6_k.h"

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
