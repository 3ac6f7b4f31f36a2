#include "tensor/quant/q2_k.h"

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
