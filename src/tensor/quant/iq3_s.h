/* IQ3_S: 256 weights in 110 bytes (3.4375 bits each). Eight rows of iq3_s_grid (four magnitudes each) per 32
 * weights ib: row t is qs[8ib + t] with a ninth bit from bit t of qh[ib]; signs[4ib + g] has the sign bits of
 * rows 2g and 2g + 1. w = d * (1 + 2 scale) * grid, signed; scale: low nibble of scales[ib / 2] for even ib.
 */
#ifndef CORRAL_QUANT_IQ3_S_H
#define CORRAL_QUANT_IQ3_S_H

#include "tensor/quant/block.h"

struct block_iq3_s {
    uint16_t d; /* f16 */
    uint8_t qs[64];
    uint8_t qh[8];
    uint8_t signs[32];
    uint8_t scales[4];
} BLOCK_PACKED;
static_assert(sizeof(struct block_iq3_s) == 110, "iq3_s");

void iq3_s_decode(const void *x, float *y, size_t n);

#endif
