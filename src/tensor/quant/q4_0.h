/* Q4_0: 32 weights in 18 bytes (4.5 bits each). w[e] = d * (q[e] - 8).
 * q[e] is the low nibble of qs[e] for e < 16 and the high nibble of qs[e - 16] for the rest. */
#ifndef CORRAL_QUANT_Q4_0_H
#define CORRAL_QUANT_Q4_0_H

#include "tensor/quant/block.h"

struct block_q4_0 {
    uint16_t d; /* f16 */
    uint8_t qs[16];
} BLOCK_PACKED;
static_assert(sizeof(struct block_q4_0) == 18, "q4_0");

void q4_0_decode(const void *x, float *y, size_t n);
void q4_0_encode(const float *x, void *y, size_t n, const float *importance);

#endif
