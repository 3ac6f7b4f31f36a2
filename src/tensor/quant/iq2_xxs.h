/* IQ2_XXS: 256 weights in 66 bytes (2.0625 bits each). Per 32 weights two words: the four bytes of the first
 * are rows of iq2_xxs_grid, each eight magnitudes; the second has four times seven sign bits (iq_even_signs)
 * and a 4-bit scale on top. w = d * (0.5 + scale) * 0.25 * grid, negated where the sign bit is set. */
#ifndef CORRAL_QUANT_IQ2_XXS_H
#define CORRAL_QUANT_IQ2_XXS_H

#include "tensor/quant/block.h"

struct block_iq2_xxs {
    uint16_t d; /* f16 */
    struct {
        uint8_t row[4];
        uint32_t signs_scale;
    } BLOCK_PACKED qs[8];
} BLOCK_PACKED;
static_assert(sizeof(struct block_iq2_xxs) == 66, "iq2_xxs");

void iq2_xxs_decode(const void *x, float *y, size_t n);

#endif
