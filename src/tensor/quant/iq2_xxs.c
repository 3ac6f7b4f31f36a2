#include "tensor/quant/iq2_xxs.h"

#include "tensor/quant/grids.h"

void iq2_xxs_decode(const void *x, float *y, size_t n)
{
    const struct block_iq2_xxs *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++) {
        float d = half_to_float(b->d);
        for (int ib = 0; ib < 8; ib++) {
            uint32_t word = b->qs[ib].signs_scale;
            float scale = d * (0.5f + (float)(word >> 28)) * 0.25f;
            for (int g = 0; g < 4; g++, y += 8)
                iq_signed_row(y, iq2_xxs_grid[b->qs[ib].row[g]], 8, iq_even_signs(word >> 7 * g & 127),
                              scale);
        }
    }
}
