#include "tensor/quant/iq4_nl.h"

void iq4_nl_decode(const void *x, float *y, size_t n)
{
    const struct block_iq4_nl *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)iq4_values[b->qs[i] & 15];
            y[i + 16] = d * (float)iq4_values[b->qs[i] >> 4];
        }
    }
}
