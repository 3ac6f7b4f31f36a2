/* Q5_K: 256 weights in 176 bytes (5.5 bits each), 8 sub-blocks of 32. As Q4_K, with a fifth bit of q for
 * sub-block s in bit s of qh[e % 32]; the same packed scales and minima (q4_k_scale_min). */
#ifndef CORRAL_QUANT_Q5_K_H
#define CORRAL_QUANT_Q5_K_H

#include "tensor/quant/q4_k.h"

struct block_q5_k {
    uint16_t d, dmin; /* f16 */
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} BLOCK_PACKED;
static_assert(sizeof(struct block_q5_k) == 176, "q5_k");

void q5_k_decode(const void *x, float *y, size_t n);
void q5_k_encode(const float *x, void *y, size_t n, const float *importance);

#endif
