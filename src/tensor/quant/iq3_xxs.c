#include "tensor/quant/iq3_xxs.h"

#include "tensor/quant/grids.h"

void iq3_xxs_decode(const void *x, float *y, size_t n)
{
    const struct block_iq3_xxs *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++) {
        float d = half_to_float(b->d);
        for (int g = 0; g < 32; g++, y += 8) { /* eight weights */
            uint32_t word = b->signs_scale[g / 4];
            float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
            uint8_t signs = iq_even_signs(word >> 7 * (g % 4) & 127);
            iq_signed_row(y, iq3_xxs_grid[b->qs[2 * g]], 4, signs, scale);
            iq_signed_row(y + 4, iq3_xxs_grid[b->qs[2 * g + 1]], 4, signs >> 4, scale);
        }
    }
}
