#include "tensor/quant/q4_0.h"

void q4_0_decode(const void *x, float *y, size_t n)
{
    const struct block_q4_0 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)((b->qs[i] & 15) - 8);
            y[i + 16] = d * (float)((b->qs[i] >> 4) - 8);
        }
    }
}
