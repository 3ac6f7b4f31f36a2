/* Q3_K: 256 weights in 110 bytes (3.4375 bits each), 16 sub-blocks of 16 with 6-bit scales.
 * w[e] = d * (S(e / 16) - 32) * (q - 4). The low two bits of q lie as in Q2_K, the third is bit e / 32 of
 * hmask[e % 32]. */
#ifndef CORRAL_QUANT_Q3_K_H
#define CORRAL_QUANT_Q3_K_H

#include "tensor/quant/block.h"

struct block_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d; /* f16 */
} BLOCK_PACKED;
static_assert(sizeof(struct block_q3_k) == 110, "q3_k");

/* Scale of sub-block s, 0..15: low nibbles in bytes 0..7 (s and s + 8 share one), high pairs in bytes 8..11.
 */
static inline int q3_k_scale(const uint8_t scales[12], int s)
{
    int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
    return (low | (scales[8 + (s & 3)] >> 2 * (s >> 2) & 3) << 4) - 32;
}
/* All of them at once, four bytes at a time. */
static inline void q3_k_scales(const uint8_t scales[12], int8_t out[16])
{
    uint32_t u[3];
    memcpy(u, scales, 12);
    for (int i = 0; i < 4; i++) {
        uint32_t low = u[i % 2] >> 4 * (i / 2) & 0x0f0f0f0fu, high = u[2] >> 2 * i & 0x03030303u;
        uint32_t four = (low | high << 4) ^ 0x20202020u; /* 6 bits less 32: flip the highest and extend it */
        four |= (four & 0x20202020u) * 6u;
        memcpy(out + 4 * i, &four, 4);
    }
}

void q3_k_decode(const void *x, float *y, size_t n);
void q3_k_encode(const float *x, void *y, size_t n, const float *importance);

#endif
