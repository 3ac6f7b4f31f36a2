/* IQ4_XS: 256 weights in 136 bytes (4.25 bits each), 8 sub-blocks of 32 with 6-bit scales over IQ4_NL's
 * values. w[e] = d * LS(s) * iq4_values[q], s = e / 32; nibbles of sub-block s lie in qs[16s .. 16s + 15] as
 * in Q4_0. */
#ifndef CORRAL_QUANT_IQ4_XS_H
#define CORRAL_QUANT_IQ4_XS_H

#include "tensor/quant/iq4_nl.h"

struct block_iq4_xs {
    uint16_t d; /* f16 */
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
} BLOCK_PACKED;
static_assert(sizeof(struct block_iq4_xs) == 136, "iq4_xs");

static inline int iq4_xs_scale(const struct block_iq4_xs *b, int s)
{
    return ((b->scales_l[s / 2] >> 4 * (s % 2) & 15) | (b->scales_h >> 2 * s & 3) << 4) - 32;
}

void iq4_xs_decode(const void *x, float *y, size_t n);
void iq4_xs_encode(const float *x, void *y, size_t n, const float *importance);

#endif
