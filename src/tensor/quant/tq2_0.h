/* TQ2_0: 256 ternary weights in 66 bytes (2.0625 bits each). w[e] = d * (q - 1).
 * Half h = e / 128, plane l = e / 32 % 4, m = e % 32: q = (qs[32h + m] >> 2l) & 3 (3 would be two). */
#ifndef CORRAL_QUANT_TQ2_0_H
#define CORRAL_QUANT_TQ2_0_H

#include "tensor/quant/block.h"

struct block_tq2_0 {
    uint8_t qs[64];
    uint16_t d; /* f16 */
} BLOCK_PACKED;
static_assert(sizeof(struct block_tq2_0) == 66, "tq2_0");

void tq2_0_decode(const void *x, float *y, size_t n);
void tq2_0_encode(const float *x, void *y, size_t n, const float *importance);

#endif
