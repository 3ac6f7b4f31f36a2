/* IQ3_XXS: 256 weights in 98 bytes (3.0625 bits each). qs are rows of iq3_xxs_grid, four magnitudes each; per
 * 32 weights one word has four times seven sign bits (iq_even_signs, for eight weights each) and a 4-bit
 * scale on top. w = d * (0.5 + scale) * 0.5 * grid, signed. */
#ifndef CORRAL_QUANT_IQ3_XXS_H
#define CORRAL_QUANT_IQ3_XXS_H

#include "tensor/quant/block.h"

struct block_iq3_xxs {
    uint16_t d; /* f16 */
    uint8_t qs[64];
    uint32_t signs_scale[8];
} BLOCK_PACKED;
static_assert(sizeof(struct block_iq3_xxs) == 98, "iq3_xxs");

void iq3_xxs_decode(const void *x, float *y, size_t n);

#endif
