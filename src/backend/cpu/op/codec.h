/* Codecs: a block to small integers and scales, w = s[group] * (q - ZERO) + m[group].
 *
 * quants_NAME(block, g): elements 32 g .. 32 g + 31 of a block, a byte each. scales_NAME(block, s, m): for the whole
 * block one number per group of GROUP elements in s, and in m where the type has minima. Two short inlines per
 * format; everything else about quantized weights is in pack.h and gemm.h.
 *
 * Numbers of up to 7 bits are kept unsigned, counted from ZERO, a power of two or none: products of an unsigned
 * and a signed byte can be added DEPTH deep in 16 bits (CPU.md section 6). DEPTH 0 marks signed bytes. */
#ifndef CORRAL_CPU_CODEC_H
#define CORRAL_CPU_CODEC_H

#include "tensor/quant/block.h"
#include "tensor/quant/grids.h"
#include "tensor/quant/iq1_m.h"
#include "tensor/quant/iq1_s.h"
#include "tensor/quant/iq2_s.h"
#include "tensor/quant/iq2_xs.h"
#include "tensor/quant/iq2_xxs.h"
#include "tensor/quant/iq3_s.h"
#include "tensor/quant/iq3_xxs.h"
#include "tensor/quant/iq4_nl.h"
#include "tensor/quant/iq4_xs.h"
#include "tensor/quant/mxfp4.h"
#include "tensor/quant/q2_k.h"
#include "tensor/quant/q3_k.h"
#include "tensor/quant/q4_0.h"
#include "tensor/quant/q4_1.h"
#include "tensor/quant/q4_k.h"
#include "tensor/quant/q5_0.h"
#include "tensor/quant/q5_1.h"
#include "tensor/quant/q5_k.h"
#include "tensor/quant/q6_k.h"
#include "tensor/quant/q8_0.h"
#include "tensor/quant/tq1_0.h"
#include "tensor/quant/tq2_0.h"

#define QUANTS(name) SIMD bytes32 quants_##name(const struct block_##name *b, const int g)
#define SCALES(name) SIMD void scales_##name(const struct block_##name *b, float *restrict s, float *restrict m)

/* 32 bytes at once, by the compilers' vector extensions. */
SIMD bytes32 load32(const void *p) { bytes32 v; memcpy(&v, p, sizeof v); return v; }

/* X(TYPE, name, elements of a block, elements of a group, has minima, ZERO, DEPTH): DEPTH products of pairs of
 * q <= 15, 31, 63, 127 and activations of up to 127 stay below 2^15 for 8, 4, 2, 1. */
#define CODEC_LIST(X)                                                                                        \
    X(DT_Q4_0, q4_0, 32, 32, 0, 8, 8)                                                                        \
    X(DT_Q4_1, q4_1, 32, 32, 1, 0, 8)                                                                        \
    X(DT_Q5_0, q5_0, 32, 32, 0, 16, 4)                                                                       \
    X(DT_Q5_1, q5_1, 32, 32, 1, 0, 4)                                                                        \
    X(DT_Q8_0, q8_0, 32, 32, 0, 0, 0)                                                                        \
    X(DT_Q2_K, q2_k, 256, 16, 1, 0, 4)                                                                       \
    X(DT_Q3_K, q3_k, 256, 16, 0, 4, 4)                                                                       \
    X(DT_Q4_K, q4_k, 256, 32, 1, 0, 8)                                                                       \
    X(DT_Q5_K, q5_k, 256, 32, 1, 0, 4)                                                                       \
    X(DT_Q6_K, q6_k, 256, 16, 0, 32, 2)                                                                      \
    X(DT_IQ4_NL, iq4_nl, 32, 32, 0, 0, 0)                                                                    \
    X(DT_IQ4_XS, iq4_xs, 256, 32, 0, 0, 0)                                                                   \
    X(DT_MXFP4, mxfp4, 32, 32, 0, 16, 4)                                                                     \
    X(DT_IQ2_XXS, iq2_xxs, 256, 32, 0, 64, 1)                                                                \
    X(DT_IQ2_XS, iq2_xs, 256, 16, 0, 64, 1)                                                                  \
    X(DT_IQ2_S, iq2_s, 256, 16, 0, 64, 1)                                                                    \
    X(DT_IQ3_XXS, iq3_xxs, 256, 32, 0, 64, 1)                                                                \
    X(DT_IQ3_S, iq3_s, 256, 32, 0, 16, 4)                                                                    \
    X(DT_IQ1_S, iq1_s, 256, 32, 0, 16, 4)                                                                    \
    X(DT_IQ1_M, iq1_m, 256, 16, 0, 16, 4)                                                                    \
    X(DT_TQ1_0, tq1_0, 256, 32, 0, 1, 8)                                                                     \
    X(DT_TQ2_0, tq2_0, 256, 32, 0, 1, 8)

/* --- blocks of 32 --- */

/* lanes_NAME(blocks, s, m): the scales of eight blocks, one of each row. */
#define LANES(name) SIMD void lanes_##name(const struct block_##name *const *b, vf *s, vf *m)
#define HALVES(b, at)                                                                                        \
    vf_halves((b)[0]->at, (b)[1]->at, (b)[2]->at, (b)[3]->at, (b)[4]->at, (b)[5]->at, (b)[6]->at, (b)[7]->at)
#define SCALE_D(name)                                                                                        \
    SCALES(name) { (void)m; s[0] = half1(b->d); }                                                            \
    LANES(name) { (void)m; *s = HALVES(b, d); }
#define SCALE_D_M(name)                                                                                      \
    SCALES(name) { s[0] = half1(b->d); m[0] = half1(b->m); }                                                 \
    LANES(name) { *s = HALVES(b, d); *m = HALVES(b, m); }
SCALE_D(q4_0)
SCALE_D_M(q4_1)
SCALE_D(q5_0)
SCALE_D_M(q5_1)
SCALE_D(q8_0)
SCALE_D(iq4_nl)

QUANTS(q4_0) { (void)g; return nibbles(b->qs); }
QUANTS(q4_1) { (void)g; return nibbles(b->qs); }
QUANTS(q5_0) { (void)g; return nibbles(b->qs) | bits_to_bytes(&b->qh) << 4; }
QUANTS(q5_1) { (void)g; return nibbles(b->qs) | bits_to_bytes(&b->qh) << 4; }
QUANTS(q8_0) { (void)g; return load32(b->qs); }
QUANTS(iq4_nl) { (void)g; return lookup16(iq4_values, nibbles(b->qs)); }

QUANTS(mxfp4) { (void)g; return lookup16(mxfp4_values, nibbles(b->qs)) + 16; }
SCALES(mxfp4) { (void)m; s[0] = mxfp4_scale(b->e); }
LANES(mxfp4)
{
    float scale[8];
    (void)m;
    for (int i = 0; i < 8; i++) scale[i] = mxfp4_scale(b[i]->e);
    *s = vf_load(scale);
}

/* --- K blocks of 256 --- */

/* d times n signed bytes, n a multiple of 8. */
SIMD void times_bytes(float *restrict to, float d, const int8_t *b, int n)
{
    for (int i = 0; i < n; i += 8) vf_store(to + i, vf_mul(vf_set(d), vf_from_i8(b + i)));
}

/* Two bits of 32 bytes in a half of the block: four of them make its 128 elements. */
SIMD bytes32 two_bits(const uint8_t *qs, int g) { return load32(qs + 32 * (g / 4)) >> 2 * (g % 4) & 3; }

QUANTS(q2_k) { return two_bits(b->qs, g); }
SCALES(q2_k)
{
    const float d = half1(b->d), dmin = half1(b->dmin);
    int8_t sm[32];
    for (int i = 0; i < 16; i++) {
        sm[i] = b->scales[i] & 15;
        sm[16 + i] = (int8_t)(b->scales[i] >> 4);
    }
    times_bytes(s, d, sm, 16);
    times_bytes(m, -dmin, sm + 16, 16);
}

QUANTS(q3_k) { return two_bits(b->qs, g) | (load32(b->hmask) >> g & 1) << 2; }
SCALES(q3_k)
{
    const float d = half1(b->d);
    (void)m;
    int8_t scale[16];
    q3_k_scales(b->scales, scale);
    times_bytes(s, d, scale, 16);
}

SIMD void k45_scales(const uint8_t packed[12], float d, float dmin, float *s, float *m)
{
    uint8_t sm[16];
    q4_k_scales_mins(packed, sm);
    times_bytes(s, d, (const int8_t *)sm, 8);
    times_bytes(m, -dmin, (const int8_t *)sm + 8, 8);
}

QUANTS(q4_k) { return load32(b->qs + 32 * (g / 2)) >> 4 * (g % 2) & 15; }
SCALES(q4_k) { k45_scales(b->scales, half1(b->d), half1(b->dmin), s, m); }

QUANTS(q5_k) { return (load32(b->qs + 32 * (g / 2)) >> 4 * (g % 2) & 15) | (load32(b->qh) >> g & 1) << 4; }
SCALES(q5_k) { k45_scales(b->scales, half1(b->d), half1(b->dmin), s, m); }

QUANTS(q6_k)
{
    bytes32 low = load32(b->ql + 64 * (g / 4) + 32 * (g % 2)) >> 4 * (g % 4 / 2) & 15;
    return low | two_bits(b->qh, g) << 4;
}
SCALES(q6_k)
{
    const float d = half1(b->d);
    (void)m;
    times_bytes(s, d, b->scales, 16);
}

QUANTS(iq4_xs) { return lookup16(iq4_values, nibbles(b->qs + 16 * g)); }
SCALES(iq4_xs)
{
    const float d = half1(b->d);
    (void)m;
    for (int i = 0; i < 8; i++) s[i] = d * (float)iq4_xs_scale(b, i);
}

/* --- code books of 256 --- */

/* A code-book row with bit i of signs negating value i, counted from zero. */
SIMD void signed_row(int8_t *q, const uint8_t *row, int n, uint32_t signs, int zero)
{
    for (int i = 0; i < n; i++) q[i] = (int8_t)(signs >> i & 1 ? zero - (int)row[i] : zero + (int)row[i]);
}

/* d (1/2 + scale) / 4 for the scales in the halves of eight bytes. */
SIMD void iq2_scales(uint16_t half, const uint8_t scales[8], float *s)
{
    const float d = half1(half);
    for (int i = 0; i < 16; i++) s[i] = d * (0.5f + (float)(scales[i / 2] >> 4 * (i % 2) & 15)) * 0.25f;
}

QUANTS(iq2_xxs)
{
    int8_t q[32];
    for (int i = 0; i < 4; i++)
        signed_row(q + 8 * i, iq2_xxs_grid[b->qs[g].row[i]], 8, iq_even_signs(b->qs[g].signs_scale >> 7 * i & 127), 64);
    return load32(q);
}
SCALES(iq2_xxs)
{
    const float d = half1(b->d);
    (void)m;
    for (int i = 0; i < 8; i++) s[i] = d * (0.5f + (float)(b->qs[i].signs_scale >> 28)) * 0.25f;
}

QUANTS(iq2_xs)
{
    int8_t q[32];
    const uint16_t *word = b->qs + 4 * g;
    for (int i = 0; i < 4; i++) signed_row(q + 8 * i, iq2_xs_grid[word[i] & 511], 8, iq_even_signs(word[i] >> 9), 64);
    return load32(q);
}
SCALES(iq2_xs) { (void)m; iq2_scales(b->d, b->scales, s); }

QUANTS(iq2_s)
{
    int8_t q[32];
    for (int i = 0; i < 4; i++)
        signed_row(q + 8 * i, iq2_s_grid[b->qs[4 * g + i] | (b->qh[g] >> 2 * i & 3) << 8], 8, b->signs[4 * g + i], 64);
    return load32(q);
}
SCALES(iq2_s) { (void)m; iq2_scales(b->d, b->scales, s); }

QUANTS(iq3_xxs)
{
    int8_t q[32];
    for (int i = 0; i < 8; i++) {
        uint8_t signs = iq_even_signs(b->signs_scale[g] >> 7 * (i / 2) & 127);
        signed_row(q + 4 * i, iq3_xxs_grid[b->qs[8 * g + i]], 4, signs >> 4 * (i % 2), 64);
    }
    return load32(q);
}
SCALES(iq3_xxs)
{
    const float d = half1(b->d);
    (void)m;
    for (int i = 0; i < 8; i++) s[i] = d * (0.5f + (float)(b->signs_scale[i] >> 28)) * 0.5f;
}

QUANTS(iq3_s)
{
    int8_t q[32];
    for (int i = 0; i < 8; i++)
        signed_row(q + 4 * i, iq3_s_grid[b->qs[8 * g + i] | (b->qh[g] >> i & 1) << 8], 4,
                   b->signs[4 * g + i / 2] >> 4 * (i % 2), 16);
    return load32(q);
}
SCALES(iq3_s)
{
    const float d = half1(b->d);
    (void)m;
    for (int i = 0; i < 8; i++) s[i] = d * (float)(1 + 2 * (b->scales[i / 2] >> 4 * (i % 2) & 15));
}

/* Eight times (grid + delta), which is whole, counted from 16; the scale takes the eighth. */
SIMD void ternary_row(int8_t *q, const int8_t *row, int delta8)
{
    for (int i = 0; i < 8; i++) q[i] = (int8_t)(16 + 8 * row[i] + delta8);
}

QUANTS(iq1_s)
{
    int8_t q[32];
    const uint32_t qh = b->qh[g];
    for (int i = 0; i < 4; i++)
        ternary_row(q + 8 * i, iq1_grid[b->qs[4 * g + i] | (qh >> 3 * i & 7) << 8], qh & 0x8000 ? -1 : 1);
    return load32(q);
}
SCALES(iq1_s)
{
    const float d = half1(b->d);
    (void)m;
    for (int i = 0; i < 8; i++) s[i] = d * (float)(2 * (b->qh[i] >> 12 & 7) + 1) * 0.125f;
}

QUANTS(iq1_m)
{
    int8_t q[32];
    for (int i = 0; i < 4; i++) {
        int high = b->qh[2 * g + i / 2] >> 4 * (i % 2);
        ternary_row(q + 8 * i, iq1_grid[b->qs[4 * g + i] | (high & 7) << 8], high & 8 ? -1 : 1);
    }
    return load32(q);
}
SCALES(iq1_m)
{
    const float d = half1(iq1_m_d(b));
    (void)m;
    for (int i = 0; i < 16; i++)
        s[i] = d * (float)(2 * (b->scales[i / 4] >> (6 * (i / 2 % 2) + 3 * (i % 2)) & 7) + 1) * 0.125f;
}

/* --- ternary, 256 --- */

/* Elements 0 to 159 are the digits of bytes 0 to 31, digit by digit, 160 to 239 those of bytes 32 to 47, the last 16
 * the first four digits of qh. */
SIMD int tq1_0_element(const struct block_tq1_0 *b, int e)
{
    if (e < 160) return tq1_0_digit(b->qs[e % 32], e / 32);
    if (e < 240) return tq1_0_digit(b->qs[32 + (e - 160) % 16], (e - 160) / 16);
    return tq1_0_digit(b->qh[(e - 240) % 4], (e - 240) / 4);
}
QUANTS(tq1_0)
{
    int8_t q[32];
    for (int i = 0; i < 32; i++) q[i] = (int8_t)(1 + tq1_0_element(b, 32 * g + i));
    return load32(q);
}
SCALES(tq1_0)
{
    const float d = half1(b->d);
    (void)m;
    for (int i = 0; i < 8; i++) s[i] = d;
}

QUANTS(tq2_0) { return two_bits(b->qs, g); }
SCALES(tq2_0)
{
    const float d = half1(b->d);
    (void)m;
    for (int i = 0; i < 8; i++) s[i] = d;
}

#endif
