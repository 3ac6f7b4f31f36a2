/* Code books and base-3 digits: formats whose values are looked up, a row at a time.
 *
 * quants_NAME(block, g): elements 32 g .. 32 g + 31, counted from the format's ZERO (codec.h). scales_NAME(block, s):
 * the block's scales, one for each group. */
#ifndef CORRAL_CPU_CODEBOOK_H
#define CORRAL_CPU_CODEBOOK_H

#include "tensor/quant/grids.h"
#include "tensor/quant/iq1_m.h"
#include "tensor/quant/iq1_s.h"
#include "tensor/quant/iq2_s.h"
#include "tensor/quant/iq2_xs.h"
#include "tensor/quant/iq2_xxs.h"
#include "tensor/quant/iq3_s.h"
#include "tensor/quant/iq3_xxs.h"
#include "tensor/quant/tq1_0.h"

#define QUANTS(name) SIMD bytes32 quants_##name(const struct block_##name *b, const int g)
#define SCALES(name) SIMD void scales_##name(const struct block_##name *b, float *restrict s)

/* Rows of a code book one after the other: four of eight bytes, eight of four. */
SIMD bytes32 four_rows(const void *a, const void *b, const void *c, const void *d)
{
    uint64_t v[4];
    bytes32 r;
    memcpy(&v[0], a, 8);
    memcpy(&v[1], b, 8);
    memcpy(&v[2], c, 8);
    memcpy(&v[3], d, 8);
    memcpy(&r, v, sizeof r);
    return r;
}
SIMD bytes32 eight_rows(const uint8_t (*grid)[4], const uint32_t row[8])
{
    uint32_t v[8];
    bytes32 r;
    for (int i = 0; i < 8; i++) memcpy(&v[i], grid[row[i]], 4);
    memcpy(&r, v, sizeof r);
    return r;
}

/* Bit i of signs negates value i, counted from zero. */
SIMD bytes32 with_signs(bytes32 q, uint32_t signs, uint8_t zero)
{
    bytes32 minus = (bytes32){0} - bits_to_bytes(&signs);
    return (q ^ minus) - minus + zero;
}

/* Four times seven bits to four times eight. */
SIMD uint32_t even_signs(uint32_t seven)
{
    uint32_t signs = 0;
    for (int i = 0; i < 4; i++) signs |= (uint32_t)iq_even_signs(seven >> 7 * i & 127) << 8 * i;
    return signs;
}

/* d (1/2 + scale) / 4 for the scales in the halves of eight bytes. */
SIMD void iq2_scales(uint16_t half, const uint8_t scales[8], float *s)
{
    const float d = half1(half);
    for (int i = 0; i < 16; i++) s[i] = d * (0.5f + (float)(scales[i / 2] >> 4 * (i % 2) & 15)) * 0.25f;
}

QUANTS(iq2_xxs)
{
    const uint8_t *row = b->qs[g].row;
    bytes32 q = four_rows(iq2_xxs_grid[row[0]], iq2_xxs_grid[row[1]], iq2_xxs_grid[row[2]], iq2_xxs_grid[row[3]]);
    return with_signs(q, even_signs(b->qs[g].signs_scale), 64);
}
SCALES(iq2_xxs)
{
    const float d = half1(b->d);
    for (int i = 0; i < 8; i++) s[i] = d * (0.5f + (float)(b->qs[i].signs_scale >> 28)) * 0.25f;
}

QUANTS(iq2_xs)
{
    const uint16_t *w = b->qs + 4 * g;
    bytes32 q = four_rows(iq2_xs_grid[w[0] & 511], iq2_xs_grid[w[1] & 511], iq2_xs_grid[w[2] & 511], iq2_xs_grid[w[3] & 511]);
    uint32_t seven = (uint32_t)(w[0] >> 9) | (uint32_t)(w[1] >> 9) << 7 | (uint32_t)(w[2] >> 9) << 14 |
                     (uint32_t)(w[3] >> 9) << 21;
    return with_signs(q, even_signs(seven), 64);
}
SCALES(iq2_xs) { iq2_scales(b->d, b->scales, s); }

QUANTS(iq2_s)
{
    const uint8_t *low = b->qs + 4 * g;
    const uint32_t high = b->qh[g];
    uint32_t signs;
    memcpy(&signs, b->signs + 4 * g, sizeof signs);
    return with_signs(four_rows(iq2_s_grid[low[0] | (high << 8 & 768)], iq2_s_grid[low[1] | (high << 6 & 768)],
                                iq2_s_grid[low[2] | (high << 4 & 768)], iq2_s_grid[low[3] | (high << 2 & 768)]),
                      signs, 64);
}
SCALES(iq2_s) { iq2_scales(b->d, b->scales, s); }

QUANTS(iq3_xxs)
{
    uint32_t row[8];
    for (int i = 0; i < 8; i++) row[i] = b->qs[8 * g + i];
    return with_signs(eight_rows(iq3_xxs_grid, row), even_signs(b->signs_scale[g]), 64);
}
SCALES(iq3_xxs)
{
    const float d = half1(b->d);
    for (int i = 0; i < 8; i++) s[i] = d * (0.5f + (float)(b->signs_scale[i] >> 28)) * 0.5f;
}

QUANTS(iq3_s)
{
    uint32_t row[8], signs;
    for (int i = 0; i < 8; i++) row[i] = b->qs[8 * g + i] | ((uint32_t)b->qh[g] << (8 - i) & 256);
    memcpy(&signs, b->signs + 4 * g, sizeof signs);
    return with_signs(eight_rows(iq3_s_grid, row), signs, 16);
}
SCALES(iq3_s)
{
    const float d = half1(b->d);
    for (int i = 0; i < 8; i++) s[i] = d * (float)(1 + 2 * (b->scales[i / 2] >> 4 * (i % 2) & 15));
}

/* Eight times (grid + delta), which is whole, counted from 16; the scale takes the eighth. */
SIMD bytes32 with_delta(bytes32 grid, bytes32 delta8)
{
    return grid * 8 + delta8 + 16;
}

QUANTS(iq1_s)
{
    const uint8_t *low = b->qs + 4 * g;
    const uint32_t qh = b->qh[g];
    bytes32 grid = four_rows(iq1_grid[low[0] | (qh << 8 & 1792)], iq1_grid[low[1] | (qh << 5 & 1792)],
                             iq1_grid[low[2] | (qh << 2 & 1792)], iq1_grid[low[3] | (qh >> 1 & 1792)]);
    return with_delta(grid, (bytes32){0} + (uint8_t)(qh & 0x8000 ? -1 : 1));
}
SCALES(iq1_s)
{
    const float d = half1(b->d);
    for (int i = 0; i < 8; i++) s[i] = d * (float)(2 * (b->qh[i] >> 12 & 7) + 1) * 0.125f;
}

QUANTS(iq1_m)
{
    const uint8_t *low = b->qs + 4 * g;
    uint64_t delta[4];
    const int8_t *row[4];
    for (int i = 0; i < 4; i++) {
        uint32_t high = (uint32_t)b->qh[2 * g + i / 2] >> 4 * (i % 2);
        row[i] = iq1_grid[low[i] | (high & 7) << 8];
        delta[i] = high & 8 ? 0xffffffffffffffffu : 0x0101010101010101u;
    }
    return with_delta(four_rows(row[0], row[1], row[2], row[3]),
                      four_rows(&delta[0], &delta[1], &delta[2], &delta[3]));
}
SCALES(iq1_m)
{
    const float d = half1(iq1_m_d(b));
    for (int i = 0; i < 16; i++)
        s[i] = d * (float)(2 * (b->scales[i / 4] >> (6 * (i / 2 % 2) + 3 * (i % 2)) & 7) + 1) * 0.125f;
}

/* Elements 0 to 159 are the digits of bytes 0 to 31, digit by digit, 160 to 239 those of bytes 32 to 47, the last 16
 * the first four digits of qh. A digit is what tripling the byte, less the digits before it, carries out of eight bits:
 * one from a third of 256 on, two from two thirds. */
QUANTS(tq1_0)
{
    static const uint8_t pow3[6] = {1, 3, 9, 27, 81, 0};
    uint8_t byte[32], times[32];
    memcpy(byte, g < 5 ? b->qs : b->qs + 32, 16);
    memcpy(byte + 16, g < 5 ? b->qs + 16 : b->qs + 32, 16);
    for (int i = 0; g == 7 && i < 16; i++) byte[16 + i] = b->qh[i % 4];
    for (int i = 0; i < 32; i++) times[i] = pow3[g < 5 ? g : g < 7 ? 2 * (g - 5) + i / 16 : i < 16 ? 4 : (i - 16) / 4];
    bytes32 v, t;
    memcpy(&v, byte, sizeof v);
    memcpy(&t, times, sizeof t);
    v *= t;
    return (bytes32){0} - (bytes32)(v >= 86) - (bytes32)(v >= 171);
}
SCALES(tq1_0)
{
    const float d = half1(b->d);
    for (int i = 0; i < 8; i++) s[i] = d;
}

#endif
