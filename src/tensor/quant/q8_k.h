/* Q8_K: 256 activations in 292 bytes. w[e] = d * qs[e]; bsums[g] is the sum of qs[16g .. 16g + 15], which dot
 * products with formats that have a minimum or an offset need. An activation format, not one of files. */
#ifndef CORRAL_QUANT_Q8_K_H
#define CORRAL_QUANT_Q8_K_H

#include "tensor/quant/block.h"

struct block_q8_k {
    float d;
    int8_t qs[256];
    int16_t bsums[16];
} BLOCK_PACKED;
static_assert(sizeof(struct block_q8_k) == 292, "q8_k");

void q8_k_decode(const void *x, float *y, size_t n);
void q8_k_encode(const float *x, void *y, size_t n, const float *importance);

#endif
