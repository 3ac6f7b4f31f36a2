/* MXFP4: 32 weights in 17 bytes (4.25 bits each). w[e] = 2^(e - 128) * mxfp4_values[q], nibbles as in Q4_0.
 * The values are E2M1 doubled, so the scale is half of the E8M0 number that the OCP Microscaling Formats
 * specification (MX v1.0) gives the byte. The byte 255, NaN in that specification, is 2^127 here as in ggml.
 */
#ifndef CORRAL_QUANT_MXFP4_H
#define CORRAL_QUANT_MXFP4_H

#include "tensor/quant/block.h"

struct block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
} BLOCK_PACKED;
static_assert(sizeof(struct block_mxfp4) == 17, "mxfp4");

static const int8_t mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static inline float mxfp4_scale(uint8_t e)
{
    return f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23); /* the first two are denormal */
}

void mxfp4_decode(const void *x, float *y, size_t n);
void mxfp4_encode(const float *x, void *y, size_t n, const float *importance);

#endif
