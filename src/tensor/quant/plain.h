/* F32, F16 and BF16: a block is one number. */
#ifndef CORRAL_QUANT_PLAIN_H
#define CORRAL_QUANT_PLAIN_H

#include "tensor/quant/block.h"

/* bfloat16 is the upper half of binary32. Round to nearest even; NaN stays a quiet NaN. */
static inline uint16_t bf16_from_float(float f)
{
    uint32_t u = f32_bits(f);
    uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 0x40u : rounded);
}
static inline float bf16_to_float(uint16_t b)
{
    return f32_from_bits((uint32_t)b << 16);
}

void f32_decode(const void *x, float *y, size_t n);
void f32_encode(const float *x, void *y, size_t n, const float *importance);
void f16_decode(const void *x, float *y, size_t n);
void f16_encode(const float *x, void *y, size_t n, const float *importance);
void bf16_decode(const void *x, float *y, size_t n);
void bf16_encode(const float *x, void *y, size_t n, const float *importance);

#endif
