/* IQ2_XS: 256 weights in 74 bytes (2.3125 bits each). Per 8 weights one 16-bit code: nine bits of row in
 * iq2_xs_grid, seven sign bits (iq_even_signs). Per 16 weights a 4-bit scale: groups 0 and 1 of 32 weights
 * use the low nibble of scales[ib], groups 2 and 3 the high one. w = d * (0.5 + scale) * 0.25 * grid, signed.
 */
#ifndef CORRAL_QUANT_IQ2_XS_H
#define CORRAL_QUANT_IQ2_XS_H

#include "tensor/quant/block.h"

struct block_iq2_xs {
    uint16_t d; /* f16 */
    uint16_t qs[32];
    uint8_t scales[8];
} BLOCK_PACKED;
static_assert(sizeof(struct block_iq2_xs) == 74, "iq2_xs");

void iq2_xs_decode(const void *x, float *y, size_t n);

#endif
