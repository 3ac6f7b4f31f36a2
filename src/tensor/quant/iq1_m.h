/* IQ1_M: 256 weights in 56 bytes (1.75 bits each). As IQ1_S, with a scale per 16 weights and a delta per 8.
 * The super-block scale d has no field: its four nibbles are the top nibbles of scales[0..3], low first.
 * Group g of 32 weights ib has a nibble of qh[2ib + g / 2]: three more bits of the row and the sign of delta.
 */
#ifndef CORRAL_QUANT_IQ1_M_H
#define CORRAL_QUANT_IQ1_M_H

#include "tensor/quant/block.h"

struct block_iq1_m {
    uint8_t qs[32];
    uint8_t qh[16];
    uint16_t scales[4];
} BLOCK_PACKED;
static_assert(sizeof(struct block_iq1_m) == 56, "iq1_m");

static inline uint16_t iq1_m_d(const struct block_iq1_m *b) /* f16 */
{
    return (uint16_t)(b->scales[0] >> 12 | (b->scales[1] >> 8 & 0x00f0) | (b->scales[2] >> 4 & 0x0f00) |
                      (b->scales[3] & 0xf000));
}

void iq1_m_decode(const void *x, float *y, size_t n);

#endif
