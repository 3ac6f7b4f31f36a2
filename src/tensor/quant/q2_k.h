/* Q2_K: 256 weights in 84 bytes (2.625 bits each), 16 sub-blocks of 16.
 * w[e] = d * (sc & 15) * q - dmin * (sc >> 4) with sc = scales[e / 16].
 * q: half n = e / 128, plane j = e / 32 % 4, l = e % 32: (qs[32n + l] >> 2j) & 3. */
#ifndef CORRAL_QUANT_Q2_K_H
#define CORRAL_QUANT_Q2_K_H

#include "tensor/quant/block.h"

struct block_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin; /* f16 */
} BLOCK_PACKED;
static_assert(sizeof(struct block_q2_k) == 84, "q2_k");

void q2_k_decode(const void *x, float *y, size_t n);
void q2_k_encode(const float *x, void *y, size_t n, const float *importance);

#endif
