/* Q8_1: 32 activations in 36 bytes. w[e] = d * qs[e]; s = d * (sum of qs) serves weights with a minimum.
 * An activation format: it lives between two operations, not in files. */
#ifndef CORRAL_QUANT_Q8_1_H
#define CORRAL_QUANT_Q8_1_H

#include "tensor/quant/block.h"

struct block_q8_1 {
    uint16_t d, s; /* f16 */
    int8_t qs[32];
} BLOCK_PACKED;
static_assert(sizeof(struct block_q8_1) == 36, "q8_1");

void q8_1_decode(const void *x, float *y, size_t n);
void q8_1_encode(const float *x, void *y, size_t n, const float *importance);

#endif
