#include "tensor/quant/q5_1.h"

void q5_1_decode(const void *x, float *y, size_t n)
{
    const struct block_q5_1 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d), m = half_to_float(b->m);
        uint32_t qh = b->qh;
        for (int i = 0; i < 16; i++) {
            int lo = (b->qs[i] & 15) | (int)(qh >> i & 1) << 4;
            int hi = b->qs[i] >> 4 | (int)(qh >> (i + 16) & 1) << 4;
            y[i] = d * (float)lo + m;
            y[i + 16] = d * (float)hi + m;
        }
    }
}
