/* Q8_0: 32 weights in 34 bytes (8.5 bits each). w[e] = d * qs[e]. Also a KV cache and activation format. */
#ifndef CORRAL_QUANT_Q8_0_H
#define CORRAL_QUANT_Q8_0_H

#include "tensor/quant/block.h"

struct block_q8_0 {
    uint16_t d; /* f16 */
    int8_t qs[32];
} BLOCK_PACKED;
static_assert(sizeof(struct block_q8_0) == 34, "q8_0");

void q8_0_decode(const void *x, float *y, size_t n);
void q8_0_encode(const float *x, void *y, size_t n, const float *importance);

#endif
