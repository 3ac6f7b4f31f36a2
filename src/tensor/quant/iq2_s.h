/* IQ2_S: 256 weights in 82 bytes (2.5625 bits each). Group g of 32 weights ib: row qs[4ib + g] of iq2_s_grid
 * with two more bits from qh[ib]; signs[4ib + g] has all eight sign bits. Scales as in IQ2_XS. */
#ifndef CORRAL_QUANT_IQ2_S_H
#define CORRAL_QUANT_IQ2_S_H

#include "tensor/quant/block.h"

struct block_iq2_s {
    uint16_t d; /* f16 */
    uint8_t qs[32];
    uint8_t signs[32];
    uint8_t qh[8];
    uint8_t scales[8];
} BLOCK_PACKED;
static_assert(sizeof(struct block_iq2_s) == 82, "iq2_s");

void iq2_s_decode(const void *x, float *y, size_t n);

#endif
