#include "tensor/quant/q4_1.h"

void q4_1_decode(const void *x, float *y, size_t n)
{
    const struct block_q4_1 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d), m = half_to_float(b->m);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)(b->qs[i] & 15) + m;
            y[i + 16] = d * (float)(b->qs[i] >> 4) + m;
        }
    }
}
