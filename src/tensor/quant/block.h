/* What the block formats share: packing, the half-precision inlines, rounding.
 *
 * Each format has a header (the struct as it lies in a file, a formula for every element, the inline helpers
 * that kernels share) and a source file (scalar decode of a row, and encode where Corral defines one). The
 * scalar decode is the specification: every kernel is tested against it. Blocks have no alignment.
 * The formats themselves come from ggml (ggml-org/ggml, src/ggml-common.h and ggml-quants.c). */
#ifndef CORRAL_QUANT_BLOCK_H
#define CORRAL_QUANT_BLOCK_H

#include <assert.h>
#include <string.h>

#include "base/base.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blocks are used as they lie in the file");

#define BLOCK_PACKED __attribute__((packed))
enum {
    QK = 32,       /* elements of a plain block */
    QK_SUPER = 256 /* elements of a super-block */
};

static inline float f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static inline uint32_t f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* binary16 to binary32, exact. Denormals are made by a subtraction of normal numbers, so the answer does not
 * depend on whether the thread flushes denormals. Written without branches so that rows vectorise. */
static inline float half_to_float(uint16_t h)
{
    uint32_t rest = (uint32_t)(h & 0x7fff) << 13;
    uint32_t normal = rest + (112u << 23);  /* exponent bias 127 - 15 */
    uint32_t special = rest + (224u << 23); /* infinity and NaN: exponent 31 becomes 255 */
    uint32_t denormal = f32_bits(f32_from_bits((uint32_t)(h & 0x03ff) | 0x3f000000u) - 0.5f);
    uint32_t u = rest < (1u << 23) ? denormal : rest >= (31u << 23) ? special : normal;
    return f32_from_bits(u | (uint32_t)(h & 0x8000) << 16);
}

/* binary32 to binary16, round to nearest even. NaN stays a quiet NaN with the upper bits of its payload.
 * After F. Giesen, "float to half conversions" (float_to_half_fast3_rtne). */
static inline uint16_t half_from_float(float f)
{
    uint32_t u = f32_bits(f), sign = u >> 31 << 15;
    u &= 0x7fffffffu;
    uint32_t normal = (u - (112u << 23) + 0xfffu + (u >> 13 & 1)) >> 13;
    uint32_t denormal = f32_bits(f32_from_bits(u) + 0.5f) - 0x3f000000u; /* the adder rounds at 2^-24 */
    uint32_t special = u > 0x7f800000u ? 0x7e00u | (u >> 13 & 0x3ffu) : 0x7c00u;
    return (uint16_t)(sign | (u < 0x38800000u ? denormal : u >= 0x47800000u ? special : normal));
}

/* Seven bits of signs of a group of eight; the eighth makes the number of minus signs even (IQ2_XXS, IQ2_XS,
 * IQ3_XXS). */
static inline uint8_t iq_even_signs(uint32_t seven)
{
    return (uint8_t)(seven | (uint32_t)__builtin_parity(seven) << 7);
}
/* A row of a code book times scale; bit i of signs negates value i. */
static inline void iq_signed_row(float *y, const uint8_t *row, int n, uint32_t signs, float scale)
{
    for (int i = 0; i < n; i++) y[i] = scale * (float)(signs >> i & 1 ? -(int)row[i] : (int)row[i]);
}

#endif
