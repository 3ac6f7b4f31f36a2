/* TQ1_0: 256 ternary weights in 54 bytes (1.6875 bits each). w[e] = d * (t - 1), t a base-3 digit.
 * A byte holds five digits as the fixed-point fraction v / 256 (four in qh): multiplying by three moves the
 * next digit above the byte. Digit n outermost, byte inside it: qs[0..32) give 160 elements, qs[32..48) 80,
 * qh 16. */
#ifndef CORRAL_QUANT_TQ1_0_H
#define CORRAL_QUANT_TQ1_0_H

#include "tensor/quant/block.h"

struct block_tq1_0 {
    uint8_t qs[48];
    uint8_t qh[4];
    uint16_t d; /* f16 */
} BLOCK_PACKED;
static_assert(sizeof(struct block_tq1_0) == 54, "tq1_0");

/* Digit n, first digit 0, less one. */
static inline int tq1_0_digit(uint8_t v, int n)
{
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    return (int)((uint32_t)(uint8_t)(v * pow3[n]) * 3 >> 8) - 1;
}

void tq1_0_decode(const void *x, float *y, size_t n);
void tq1_0_encode(const float *x, void *y, size_t n, const float *importance);

#endif
