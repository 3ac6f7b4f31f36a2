/* Q6_K: 256 weights in 210 bytes (6.5625 bits each), 16 sub-blocks of 16 with 8-bit scales.
 * w[e] = d * scales[e / 16] * (q - 32). Half n = e / 128, plane j = e / 32 % 4, l = e % 32: the low nibble of
 * q lies in ql[64n + 32 (j % 2) + l], low for j < 2 and high for the rest; its upper two bits are (qh[32n +
 * l] >> 2j) & 3. */
#ifndef CORRAL_QUANT_Q6_K_H
#define CORRAL_QUANT_Q6_K_H

#include "tensor/quant/block.h"

struct block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d; /* f16 */
} BLOCK_PACKED;
static_assert(sizeof(struct block_q6_k) == 210, "q6_k");

void q6_k_decode(const void *x, float *y, size_t n);
void q6_k_encode(const float *x, void *y, size_t n, const float *importance);

#endif
