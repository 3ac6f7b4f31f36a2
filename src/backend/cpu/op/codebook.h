/* Code books and base-3 digits: formats whose values are looked up, a row at a time.
 *
 * quants_NAME(block, g): elements 32 g .. 32 g + 31, counted from the format's ZERO (codec.h). scales_NAME(block, n):
 * integers, one for each group, and returned what they are multiplied with. */
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
#define SCALES(name) SIMD float scales_##name(const struct block_##name *b, float *restrict n)

SIMD uint64_t load_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
SIMD uint32_t load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Rows of a code book one after the other: four of eight bytes, eight of four. In registers: a vector that is read where
 * its parts have just been written has to wait for all of them to reach the cache. */
SIMD bytes32 four_rows(const void *a, const void *b, const void *c, const void *d)
{
    typedef uint64_t words __attribute__((vector_size(32)));
    return (bytes32)(words){load_u64(a), load_u64(b), load_u64(c), load_u64(d)};
}
SIMD bytes32 eight_rows(const uint8_t (*grid)[4], const uint32_t row[8])
{
    typedef uint32_t words __attribute__((vector_size(32)));
    return (bytes32)(words){load_u32(grid[row[0]]), load_u32(grid[row[1]]), load_u32(grid[row[2]]),
                            load_u32(grid[row[3]]), load_u32(grid[row[4]]), load_u32(grid[row[5]]),
                            load_u32(grid[row[6]]), load_u32(grid[row[7]])};
}

/* Bit i of signs negates value i, counted from zero. */
SIMD bytes32 with_signs(bytes32 q, uint32_t signs, uint8_t zero)
{
    bytes32 minus = (bytes32){0} - bits_to_bytes(&signs);
    return (q ^ minus) - minus + zero;
}

/* iq_even_signs of four times seven bits: the eighth makes their number even. */
SIMD uint32_t even_signs(uint32_t seven)
{
    const uint32_t s = (seven & 0x7f) | (seven << 1 & 0x7f00) | (seven << 2 & 0x7f0000) | (seven << 3 & 0x7f000000);
    uint32_t parity = s ^ s >> 4; /* right in the low bits of each byte, fewer each time */
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return s | (parity & 0x01010101) << 7;
}

/* d (1/2 + scale) / 4 for the scales in the halves of eight bytes. */
SIMD float iq2_scales(uint16_t half, const uint8_t scales[8], float *n)
{
    for (int i = 0; i < 16; i++) n[i] = (float)(1 + 2 * (scales[i / 2] >> 4 * (i % 2) & 15));
    return half1(half) * 0.125f;
}

QUANTS(iq2_xxs)
{
    const uint8_t *row = b->qs[g].row;
    bytes32 q = four_rows(iq2_xxs_grid[row[0]], iq2_xxs_grid[row[1]], iq2_xxs_grid[row[2]], iq2_xxs_grid[row[3]]);
    return with_signs(q, even_signs(b->qs[g].signs_scale), 64);
}
SCALES(iq2_xxs)
{
    for (int i = 0; i < 8; i++) n[i] = (float)(1 + 2 * (b->qs[i].signs_scale >> 28));
    return half1(b->d) * 0.125f;
}

QUANTS(iq2_xs)
{
    const uint16_t *w = b->qs + 4 * g;
    bytes32 q = four_rows(iq2_xs_grid[w[0] & 511], iq2_xs_grid[w[1] & 511], iq2_xs_grid[w[2] & 511], iq2_xs_grid[w[3] & 511]);
    uint32_t seven = (uint32_t)(w[0] >> 9) | (uint32_t)(w[1] >> 9) << 7 | (uint32_t)(w[2] >> 9) << 14 |
                     (uint32_t)(w[3] >> 9) << 21;
    return with_signs(q, even_signs(seven), 64);
}
SCALES(iq2_xs) { return iq2_scales(b->d, b->scales, n); }

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
SCALES(iq2_s) { return iq2_scales(b->d, b->scales, n); }

QUANTS(iq3_xxs)
{
    uint32_t row[8];
    for (int i = 0; i < 8; i++) row[i] = b->qs[8 * g + i];
    return with_signs(eight_rows(iq3_xxs_grid, row), even_signs(b->signs_scale[g]), 64);
}
SCALES(iq3_xxs)
{
    for (int i = 0; i < 8; i++) n[i] = (float)(1 + 2 * (b->signs_scale[i] >> 28));
    return half1(b->d) * 0.25f;
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
    for (int i = 0; i < 8; i++) n[i] = (float)(1 + 2 * (b->scales[i / 2] >> 4 * (i % 2) & 15));
    return half1(b->d);
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
    for (int i = 0; i < 8; i++) n[i] = (float)(2 * (b->qh[i] >> 12 & 7) + 1);
    return half1(b->d) * 0.125f;
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
    for (int i = 0; i < 16; i++)
        n[i] = (float)(2 * (b->scales[i / 4] >> (6 * (i / 2 % 2) + 3 * (i % 2)) & 7) + 1);
    return half1(iq1_m_d(b)) * 0.125f;
}

/* Elements 0 to 159 are the digits of bytes 0 to 31, digit by digit, 160 to 239 those of bytes 32 to 47, the last 16
 * the first four digits of qh. A digit is what tripling the byte, less the digits before it, carries out of eight bits:
 * one from a third of 256 on, two from two thirds. */
#define FOUR(n) n, n, n, n
#define SIXTEEN(n) FOUR(n), FOUR(n), FOUR(n), FOUR(n)
QUANTS(tq1_0)
{
    static const bytes32 times[8] = {{SIXTEEN(1), SIXTEEN(1)},
                                     {SIXTEEN(3), SIXTEEN(3)},
                                     {SIXTEEN(9), SIXTEEN(9)},
                                     {SIXTEEN(27), SIXTEEN(27)},
                                     {SIXTEEN(81), SIXTEEN(81)},
                                     {SIXTEEN(1), SIXTEEN(3)},
                                     {SIXTEEN(9), SIXTEEN(27)},
                                     {SIXTEEN(81), FOUR(1), FOUR(3), FOUR(9), FOUR(27)}};
    const uint8_t *first = g < 5 ? b->qs : b->qs + 32, *last = g < 5 ? b->qs + 16 : b->qs + 32;
    const uint64_t tail = load_u32(b->qh) * 0x100000001u;
    typedef uint64_t words __attribute__((vector_size(32)));
    const words v = {load_u64(first), load_u64(first + 8), g < 7 ? load_u64(last) : tail, g < 7 ? load_u64(last + 8) : tail};
    const bytes32 t = (bytes32)v * times[g];
    return (bytes32){0} - (bytes32)(t >= 86) - (bytes32)(t >= 171);
}
#undef FOUR
#undef SIXTEEN
SCALES(tq1_0)
{
    for (int i = 0; i < 8; i++) n[i] = 1;
    return half1(b->d);
}

#endif
