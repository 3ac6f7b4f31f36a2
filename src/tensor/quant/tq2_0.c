#include "tensor/quant/tq2_0.h"

void tq2_0_decode(const void *x, float *y, size_t n)
{
    const struct block_tq2_0 *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++, y += QK_SUPER) {
        float d = half_to_float(b->d);
        for (int p = 0; p < 8; p++) { /* plane of 32 elements */
            const uint8_t *q = b->qs + 32 * (p / 4);
            for (int i = 0; i < 32; i++) y[32 * p + i] = d * (float)((q[i] >> 2 * (p % 4) & 3) - 1);
        }
    }
}
