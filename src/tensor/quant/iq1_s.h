/* IQ1_S: 256 weights in 50 bytes (1.5625 bits each). Group g of 32 weights ib: row qs[4ib + g] of iq1_grid
 * (-1, 0, 1) with three more bits from qh[ib] >> 3g. w = d * (2 scale + 1) * (grid + delta): scale is
 * bits 12..14 of qh[ib], delta is 1/8, negative when bit 15 is set. */
#ifndef CORRAL_QUANT_IQ1_S_H
#define CORRAL_QUANT_IQ1_S_H

#include "tensor/quant/block.h"

struct block_iq1_s {
    uint16_t d; /* f16 */
    uint8_t qs[32];
    uint16_t qh[8];
} BLOCK_PACKED;
static_assert(sizeof(struct block_iq1_s) == 50, "iq1_s");

void iq1_s_decode(const void *x, float *y, size_t n);

#endif
