/* Q5_1: 32 weights in 24 bytes (6 bits each). w[e] = d * q[e] + m, five-bit q as in Q5_0. */
#ifndef CORRAL_QUANT_Q5_1_H
#define CORRAL_QUANT_Q5_1_H

#include "tensor/quant/block.h"

struct block_q5_1 {
    uint16_t d, m; /* f16 */
    uint32_t qh;
    uint8_t qs[16];
} BLOCK_PACKED;
static_assert(sizeof(struct block_q5_1) == 24, "q5_1");

void q5_1_decode(const void *x, float *y, size_t n);
void q5_1_encode(const float *x, void *y, size_t n, const float *importance);

#endif
