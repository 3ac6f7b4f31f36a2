/* Q4_1: 32 weights in 20 bytes (5 bits each). w[e] = d * q[e] + m, nibbles as in Q4_0. */
#ifndef CORRAL_QUANT_Q4_1_H
#define CORRAL_QUANT_Q4_1_H

#include "tensor/quant/block.h"

struct block_q4_1 {
    uint16_t d, m; /* f16 */
    uint8_t qs[16];
} BLOCK_PACKED;
static_assert(sizeof(struct block_q4_1) == 20, "q4_1");

void q4_1_decode(const void *x, float *y, size_t n);
void q4_1_encode(const float *x, void *y, size_t n, const float *importance);

#endif
