#include "tensor/quant/iq1_s.h"

#include "tensor/quant/grids.h"

void iq1_s_decode(const void *x, float *y, size_t n)
{
    const struct block_iq1_s *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++) {
        float d = half_to_float(b->d);
        for (int g = 0; g < 32; g++, y += 8) {
            uint32_t qh = b->qh[g / 4];
            float scale = d * (float)(2 * (qh >> 12 & 7) + 1), delta = qh & 0x8000 ? -0.125f : 0.125f;
            const int8_t *v = iq1_grid[b->qs[g] | (qh >> 3 * (g % 4) & 7) << 8];
            for (int i = 0; i < 8; i++) y[i] = scale * ((float)v[i] + delta);
        }
    }
}
