#include "tensor/quant/iq4_xs.h"

void iq4_xs_decode(const void *x, float *y, size_t n)
{
    const struct block_iq4_xs *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++, y += QK_SUPER) {
        float d = half_to_float(b->d);
        for (int s = 0; s < 8; s++) {
            float scale = d * (float)iq4_xs_scale(b, s);
            for (int i = 0; i < 16; i++) {
                y[32 * s + i] = scale * (float)iq4_values[b->qs[16 * s + i] & 15];
                y[32 * s + i + 16] = scale * (float)iq4_values[b->qs[16 * s + i] >> 4];
            }
        }
    }
}
