/* Q5_0: 32 weights in 22 bytes (5.5 bits each). w[e] = d * (q[e] - 16).
 * The low four bits of q are nibbles as in Q4_0, the fifth is bit e of qh. */
#ifndef CORRAL_QUANT_Q5_0_H
#define CORRAL_QUANT_Q5_0_H

#include "tensor/quant/block.h"

struct block_q5_0 {
    uint16_t d; /* f16 */
    uint32_t qh;
    uint8_t qs[16];
} BLOCK_PACKED;
static_assert(sizeof(struct block_q5_0) == 22, "q5_0");

void q5_0_decode(const void *x, float *y, size_t n);
void q5_0_encode(const float *x, void *y, size_t n, const float *importance);

#endif
