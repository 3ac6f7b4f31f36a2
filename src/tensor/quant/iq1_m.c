#include "tensor/quant/iq1_m.h"

#include "tensor/quant/grids.h"

void iq1_m_decode(const void *x, float *y, size_t n)
{
    const struct block_iq1_m *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++) {
        float d = half_to_float(iq1_m_d(b));
        for (int g = 0; g < 32; g++, y += 8) {
            int ib = g / 4, high = b->qh[g / 2] >> 4 * (g % 2);
            int s = b->scales[ib / 2] >> (6 * (ib % 2) + 3 * (g / 2 % 2)) & 7;
            float scale = d * (float)(2 * s + 1), delta = high & 8 ? -0.125f : 0.125f;
            const int8_t *v = iq1_grid[b->qs[g] | (high & 7) << 8];
            for (int i = 0; i < 8; i++) y[i] = scale * ((float)v[i] + delta);
        }
    }
}
