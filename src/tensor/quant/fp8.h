/* FP8: 32 numbers in 34 bytes, w[e] = d * e4m3(q[e]). A format of KV caches, never of files: as large as Q8_0
 * and less exact where numbers are alike, more where few are large; devices convert it in hardware.
 *
 * E4M3 as in the OCP 8-bit floating point specification (2023): 4 bits of exponent with bias 7, 3 of
 * mantissa, no infinities; 448 is the largest, 0x7f is NaN, which is not stored. */
#ifndef CORRAL_QUANT_FP8_H
#define CORRAL_QUANT_FP8_H

#include "tensor/quant/block.h"

struct block_fp8 {
    uint16_t d; /* f16 */
    uint8_t q[32];
} BLOCK_PACKED;
static_assert(sizeof(struct block_fp8) == 34, "fp8");

/* The bits of e4m3 stand in a binary32 four exponent bits lower, so a power of two is all that is between the
 * two; numbers below e4m3's normal ones are subnormal there as well. */
static inline float e4m3_to_float(uint8_t v)
{
    float f = f32_from_bits((uint32_t)(v & 0x7f) << 20) * 0x1p120f;
    return v & 0x80 ? -f : f;
}
/* To nearest even; magnitudes beyond 448 become 448. */
static inline uint8_t e4m3_from_float(float f)
{
    const float a = __builtin_fabsf(f);
    uint32_t u = f32_bits(a), normal = (u - (120u << 23) + 0x7ffffu + (u >> 20 & 1)) >> 20;
    uint32_t denormal = f32_bits(a + 0x1p14f) - 0x46800000u; /* the adder rounds at 2^-9 */
    u = a < 0x1p-6f ? denormal : normal;
    return (uint8_t)((u > 0x7e ? 0x7e : u) | f32_bits(f) >> 31 << 7);
}

void fp8_decode(const void *x, float *y, size_t n);
void fp8_encode(const float *x, void *y, size_t n, const float *importance);

#endif
