#include "tensor/quant/iq2_s.h"

#include "tensor/quant/grids.h"

void iq2_s_decode(const void *x, float *y, size_t n)
{
    const struct block_iq2_s *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++) {
        float d = half_to_float(b->d);
        for (int g = 0; g < 32; g++, y += 8) {
            float scale = d * (0.5f + (float)(b->scales[g / 4] >> 4 * (g / 2 % 2) & 15)) * 0.25f;
            int row = b->qs[g] | (b->qh[g / 4] >> 2 * (g % 4) & 3) << 8;
            iq_signed_row(y, iq2_s_grid[row], 8, b->signs[g], scale);
        }
    }
}
