#include "tensor/quant/q4_k.h"

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
