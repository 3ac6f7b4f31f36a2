/* Q4_K: 256 weights in 144 bytes (4.5 bits each), 8 sub-blocks of 32 with 6-bit scales and minima.
 * w[e] = d * SC(s) * q - dmin * MN(s), s = e / 32.
 * q is a nibble of qs[32 (s / 2) + e % 32]: the low one for even s, the high one for odd. */
#ifndef CORRAL_QUANT_Q4_K_H
#define CORRAL_QUANT_Q4_K_H

#include "tensor/quant/block.h"

struct block_q4_k {
    uint16_t d, dmin; /* f16 */
    uint8_t scales[12];
    uint8_t qs[128];
} BLOCK_PACKED;
static_assert(sizeof(struct block_q4_k) == 144, "q4_k");

/* The 12 bytes of Q4_K and Q5_K: eight 6-bit scales and eight 6-bit minima. Sub-blocks 0..3 lie in the low
 * six bits of bytes s and s + 4; of sub-blocks 4..7 the low nibbles share byte s + 4 and the upper two bits
 * lie on top of bytes s - 4 (scale) and s (minimum). */
static inline void q4_k_scale_min(const uint8_t b[12], int s, int *scale, int *min)
{
    if (s < 4) {
        *scale = b[s] & 63;
        *min = b[s + 4] & 63;
    } else {
        *scale = (b[s + 4] & 15) | b[s - 4] >> 6 << 4;
        *min = b[s + 4] >> 4 | b[s] >> 6 << 4;
    }
}
/* All of them at once, four bytes at a time: out[0..8) scales, out[8..16) minima. */
static inline void q4_k_scales_mins(const uint8_t b[12], uint8_t out[16])
{
    uint32_t u[3], v[4];
    memcpy(u, b, 12);
    v[0] = u[0] & 0x3f3f3f3fu;
    v[1] = (u[2] & 0x0f0f0f0fu) | (u[0] >> 6 & 0x03030303u) << 4;
    v[2] = u[1] & 0x3f3f3f3fu;
    v[3] = (u[2] >> 4 & 0x0f0f0f0fu) | (u[1] >> 6 & 0x03030303u) << 4;
    memcpy(out, v, 16);
}
static inline void q4_k_pack_scales_mins(uint8_t b[12], const uint8_t scale[8], const uint8_t min[8])
{
    for (int s = 0; s < 4; s++) {
        b[s] = (uint8_t)(scale[s] | scale[s + 4] >> 4 << 6);
        b[s + 4] = (uint8_t)(min[s] | min[s + 4] >> 4 << 6);
        b[s + 8] = (uint8_t)((scale[s + 4] & 15) | (min[s + 4] & 15) << 4);
    }
}

void q4_k_decode(const void *x, float *y, size_t n);
void q4_k_encode(const float *x, void *y, size_t n, const float *importance);

#endif
