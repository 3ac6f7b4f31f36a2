#include "tensor/quant/q5_0.h"

void q5_0_decode(const void *x, float *y, size_t n)
{
    const struct block_q5_0 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d);
        uint32_t qh = b->qh;
        for (int i = 0; i < 16; i++) {
            int lo = (b->qs[i] & 15) | (int)(qh >> i & 1) << 4;
            int hi = b->qs[i] >> 4 | (int)(qh >> (i + 16) & 1) << 4;
            y[i] = d * (float)(lo - 16);
            y[i + 16] = d * (float)(hi - 16);
        }
    }
}
