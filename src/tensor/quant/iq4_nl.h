/* IQ4_NL: 32 weights in 18 bytes (4.5 bits each). w[e] = d * iq4_values[q[e]], nibbles as in Q4_0: a fixed
 * non-uniform code book in place of equal steps. */
#ifndef CORRAL_QUANT_IQ4_NL_H
#define CORRAL_QUANT_IQ4_NL_H

#include "tensor/quant/block.h"

struct block_iq4_nl {
    uint16_t d; /* f16 */
    uint8_t qs[16];
} BLOCK_PACKED;
static_assert(sizeof(struct block_iq4_nl) == 18, "iq4_nl");

static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

/* The code whose value is nearest to v: how many midpoints between neighbours lie below it. Not for NaN. */
static inline int iq4_code(float v)
{
    int q = 0;
    for (int i = 0; i < 15; i++) q += v > 0.5f * (float)(iq4_values[i] + iq4_values[i + 1]);
    return q;
}

void iq4_nl_decode(const void *x, float *y, size_t n);
void iq4_nl_encode(const float *x, void *y, size_t n, const float *importance);

#endif
