#include "tensor/quant/iq2_xs.h"

#include "tensor/quant/grids.h"

void iq2_xs_decode(const void *x, float *y, size_t n)
{
    const struct block_iq2_xs *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++) {
        float d = half_to_float(b->d);
        for (int g = 0; g < 32; g++, y += 8) {
            float scale = d * (0.5f + (float)(b->scales[g / 4] >> 4 * (g / 2 % 2) & 15)) * 0.25f;
            iq_signed_row(y, iq2_xs_grid[b->qs[g] & 511], 8, iq_even_signs(b->qs[g] >> 9), scale);
        }
    }
}
