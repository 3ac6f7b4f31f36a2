#include "tensor/quant/mxfp4.h"

void mxfp4_decode(const void *x, float *y, size_t n)
{
    const struct block_mxfp4 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = mxfp4_scale(b->e);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)mxfp4_values[b->qs[i] & 15];
            y[i + 16] = d * (float)mxfp4_values[b->qs[i] >> 4];
        }
    }
}
