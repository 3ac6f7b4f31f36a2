/* Codecs: a block to small signed integers and scales, w = s[group] * q + m[group].
 *
 * codec_NAME(block, q, s, m): q gets the block's elements, s (and m, where the type has minima) one number
 * per group of GROUP elements. One short inline per format; everything else about quantized weights is in
 * pack.h and gemm.h. */
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

#define CODEC(name)                                                                                          \
    static inline __attribute__((always_inline)) void codec_##name(const void *block, int8_t *restrict q,    \
                                                                   float *restrict s, float *restrict m)

/* 16 and 32 bytes at once, by the compilers' vector extensions; loads and stores by memcpy, so that nothing aliases. */
typedef bytes16 u8x16;
typedef uint8_t u8x32 __attribute__((vector_size(32)));
SIMD u8x16 load16(const void *p) { u8x16 v; memcpy(&v, p, sizeof v); return v; }
SIMD u8x32 load32(const void *p) { u8x32 v; memcpy(&v, p, sizeof v); return v; }
SIMD void store16(int8_t *p, u8x16 v) { memcpy(p, &v, sizeof v); }
SIMD void store32(int8_t *p, u8x32 v) { memcpy(p, &v, sizeof v); }

/* The types and their geometry: X(TYPE, name, elements of a block, elements of a group, has minima) */
#define CODEC_LIST(X)                                                                                        \
    X(DT_Q4_0, q4_0, 32, 32, 0)                                                                              \
    X(DT_Q4_1, q4_1, 32, 32, 1)                                                                              \
    X(DT_Q5_0, q5_0, 32, 32, 0)                                                                              \
    X(DT_Q5_1, q5_1, 32, 32, 1)                                                                              \
    X(DT_Q8_0, q8_0, 32, 32, 0)                                                                              \
    X(DT_Q2_K, q2_k, 256, 16, 1)                                                                             \
    X(DT_Q3_K, q3_k, 256, 16, 0)                                                                             \
    X(DT_Q4_K, q4_k, 256, 32, 1)                                                                             \
    X(DT_Q5_K, q5_k, 256, 32, 1)                                                                             \
    X(DT_Q6_K, q6_k, 256, 16, 0)                                                                             \
    X(DT_IQ4_NL, iq4_nl, 32, 32, 0)                                                                          \
    X(DT_IQ4_XS, iq4_xs, 256, 32, 0)                                                                         \
    X(DT_MXFP4, mxfp4, 32, 32, 0)                                                                            \
    X(DT_IQ2_XXS, iq2_xxs, 256, 32, 0)                                                                       \
    X(DT_IQ2_XS, iq2_xs, 256, 16, 0)                                                                         \
    X(DT_IQ2_S, iq2_s, 256, 16, 0)                                                                           \
    X(DT_IQ3_XXS, iq3_xxs, 256, 32, 0)                                                                       \
    X(DT_IQ3_S, iq3_s, 256, 32, 0)                                                                           \
    X(DT_IQ1_S, iq1_s, 256, 32, 0)                                                                           \
    X(DT_IQ1_M, iq1_m, 256, 16, 0)                                                                           \
    X(DT_TQ1_0, tq1_0, 256, 32, 0)                                                                           \
    X(DT_TQ2_0, tq2_0, 256, 32, 0)

CODEC(q4_0)
{
    const struct block_q4_0 *b = block;
    (void)m;
    u8x16 v = load16(b->qs);
    store16(q, (v & 15) - 8);
    store16(q + 16, (v >> 4) - 8);
    s[0] = half1(b->d);
}

CODEC(q4_1)
{
    const struct block_q4_1 *b = block;
    u8x16 v = load16(b->qs);
    store16(q, v & 15);
    store16(q + 16, v >> 4);
    s[0] = half1(b->d);
    m[0] = half1(b->m);
}

CODEC(q5_0)
{
    const struct block_q5_0 *b = block;
    u8x16                    v = load16(b->qs), high[2];
    (void)m;
    bits_to_bytes(high, &b->qh);
    store16(q, ((v & 15) | high[0] << 4) - 16);
    store16(q + 16, (v >> 4 | high[1] << 4) - 16);
    s[0] = half1(b->d);
}

CODEC(q5_1)
{
    const struct block_q5_1 *b = block;
    u8x16                    v = load16(b->qs), high[2];
    bits_to_bytes(high, &b->qh);
    store16(q, (v & 15) | high[0] << 4);
    store16(q + 16, v >> 4 | high[1] << 4);
    s[0] = half1(b->d);
    m[0] = half1(b->m);
}

CODEC(q8_0)
{
    const struct block_q8_0 *b = block;
    (void)m;
    memcpy(q, b->qs, 32);
    s[0] = half1(b->d);
}

CODEC(q2_k)
{
    const struct block_q2_k *b = block;
    const float d = half1(b->d), dmin = half1(b->dmin);
    for (int p = 0; p < 8; p++) {
        store32(q + 32 * p, load32(b->qs + 32 * (p / 4)) >> 2 * (p % 4) & 3);
    }
    for (int i = 0; i < 16; i++) {
        s[i] = d * (float)(b->scales[i] & 15);
        m[i] = -dmin * (float)(b->scales[i] >> 4);
    }
}

CODEC(q3_k)
{
    const struct block_q3_k *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int p = 0; p < 8; p++) {
        u8x32 low = load32(b->qs + 32 * (p / 4)) >> 2 * (p % 4) & 3, high = load32(b->hmask) >> p & 1;
        store32(q + 32 * p, (low | high << 2) - 4);
    }
    for (int i = 0; i < 16; i++) s[i] = d * (float)q3_k_scale(b->scales, i);
}

static inline __attribute__((always_inline)) void k45_scales(const uint8_t packed[12], float d, float dmin,
                                                             float *s, float *m)
{
    uint8_t sm[16];
    q4_k_scales_mins(packed, sm);
    for (int i = 0; i < 8; i++) {
        s[i] = d * (float)sm[i];
        m[i] = -dmin * (float)sm[8 + i];
    }
}

CODEC(q4_k)
{
    const struct block_q4_k *b = block;
    for (int p = 0; p < 4; p++) {
        u8x32 v = load32(b->qs + 32 * p);
        store32(q + 64 * p, v & 15);
        store32(q + 64 * p + 32, v >> 4);
    }
    k45_scales(b->scales, half1(b->d), half1(b->dmin), s, m);
}

CODEC(q5_k)
{
    const struct block_q5_k *b = block;
    const u8x32 high = load32(b->qh);
    for (int p = 0; p < 4; p++) {
        u8x32 v = load32(b->qs + 32 * p);
        store32(q + 64 * p, (v & 15) | (high >> 2 * p & 1) << 4);
        store32(q + 64 * p + 32, v >> 4 | (high >> (2 * p + 1) & 1) << 4);
    }
    k45_scales(b->scales, half1(b->d), half1(b->dmin), s, m);
}

CODEC(q6_k)
{
    const struct block_q6_k *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int half = 0; half < 2; half++) {
        u8x32   a = load32(b->ql + 64 * half), c = load32(b->ql + 64 * half + 32), high = load32(b->qh + 32 * half);
        int8_t *to = q + 128 * half;
        store32(to, ((a & 15) | (high & 3) << 4) - 32);
        store32(to + 32, ((c & 15) | (high >> 2 & 3) << 4) - 32);
        store32(to + 64, (a >> 4 | (high >> 4 & 3) << 4) - 32);
        store32(to + 96, (c >> 4 | high >> 6 << 4) - 32);
    }
    for (int i = 0; i < 16; i++) s[i] = d * (float)b->scales[i];
}

static inline __attribute__((always_inline)) void nibbles(const uint8_t *qs, const int8_t values[16],
                                                          int8_t *q)
{
    u8x16 v = load16(qs);
    store16(q, lookup16(values, v & 15));
    store16(q + 16, lookup16(values, v >> 4));
}

CODEC(iq4_nl)
{
    const struct block_iq4_nl *b = block;
    (void)m;
    nibbles(b->qs, iq4_values, q);
    s[0] = half1(b->d);
}

CODEC(iq4_xs)
{
    const struct block_iq4_xs *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int i = 0; i < 8; i++) {
        nibbles(b->qs + 16 * i, iq4_values, q + 32 * i);
        s[i] = d * (float)iq4_xs_scale(b, i);
    }
}

CODEC(mxfp4)
{
    const struct block_mxfp4 *b = block;
    (void)m;
    nibbles(b->qs, mxfp4_values, q);
    s[0] = mxfp4_scale(b->e);
}

/* A code-book row with bit i of signs negating value i. */
static inline __attribute__((always_inline)) void signed_row(int8_t *q, const uint8_t *row, int n,
                                                             uint32_t signs)
{
    for (int i = 0; i < n; i++) q[i] = (int8_t)(signs >> i & 1 ? -(int)row[i] : (int)row[i]);
}

CODEC(iq2_xxs)
{
    const struct block_iq2_xxs *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int ib = 0; ib < 8; ib++) {
        uint32_t word = b->qs[ib].signs_scale;
        for (int g = 0; g < 4; g++)
            signed_row(q + 32 * ib + 8 * g, iq2_xxs_grid[b->qs[ib].row[g]], 8,
                       iq_even_signs(word >> 7 * g & 127));
        s[ib] = d * (0.5f + (float)(word >> 28)) * 0.25f;
    }
}

CODEC(iq2_xs)
{
    const struct block_iq2_xs *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int g = 0; g < 32; g++)
        signed_row(q + 8 * g, iq2_xs_grid[b->qs[g] & 511], 8, iq_even_signs(b->qs[g] >> 9));
    for (int i = 0; i < 16; i++) s[i] = d * (0.5f + (float)(b->scales[i / 2] >> 4 * (i % 2) & 15)) * 0.25f;
}

CODEC(iq2_s)
{
    const struct block_iq2_s *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int g = 0; g < 32; g++)
        signed_row(q + 8 * g, iq2_s_grid[b->qs[g] | (b->qh[g / 4] >> 2 * (g % 4) & 3) << 8], 8, b->signs[g]);
    for (int i = 0; i < 16; i++) s[i] = d * (0.5f + (float)(b->scales[i / 2] >> 4 * (i % 2) & 15)) * 0.25f;
}

CODEC(iq3_xxs)
{
    const struct block_iq3_xxs *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int g = 0; g < 32; g++) {
        uint8_t signs = iq_even_signs(b->signs_scale[g / 4] >> 7 * (g % 4) & 127);
        signed_row(q + 8 * g, iq3_xxs_grid[b->qs[2 * g]], 4, signs);
        signed_row(q + 8 * g + 4, iq3_xxs_grid[b->qs[2 * g + 1]], 4, signs >> 4);
    }
    for (int i = 0; i < 8; i++) s[i] = d * (0.5f + (float)(b->signs_scale[i] >> 28)) * 0.5f;
}

CODEC(iq3_s)
{
    const struct block_iq3_s *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int t = 0; t < 64; t++)
        signed_row(q + 4 * t, iq3_s_grid[b->qs[t] | (b->qh[t / 8] >> t % 8 & 1) << 8], 4,
                   b->signs[t / 2] >> 4 * (t % 2));
    for (int i = 0; i < 8; i++) s[i] = d * (float)(1 + 2 * (b->scales[i / 2] >> 4 * (i % 2) & 15));
}

/* Eight times (grid + delta), which is whole; the scale takes the eighth. */
static inline __attribute__((always_inline)) void ternary_row(int8_t *q, const int8_t *row, int delta8)
{
    for (int i = 0; i < 8; i++) q[i] = (int8_t)(8 * row[i] + delta8);
}

CODEC(iq1_s)
{
    const struct block_iq1_s *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int g = 0; g < 32; g++) {
        uint32_t qh = b->qh[g / 4];
        ternary_row(q + 8 * g, iq1_grid[b->qs[g] | (qh >> 3 * (g % 4) & 7) << 8], qh & 0x8000 ? -1 : 1);
    }
    for (int i = 0; i < 8; i++) s[i] = d * (float)(2 * (b->qh[i] >> 12 & 7) + 1) * 0.125f;
}

CODEC(iq1_m)
{
    const struct block_iq1_m *b = block;
    const float d = half1(iq1_m_d(b));
    (void)m;
    for (int g = 0; g < 32; g++) {
        int high = b->qh[g / 2] >> 4 * (g % 2);
        ternary_row(q + 8 * g, iq1_grid[b->qs[g] | (high & 7) << 8], high & 8 ? -1 : 1);
    }
    for (int i = 0; i < 16; i++)
        s[i] = d * (float)(2 * (b->scales[i / 4] >> (6 * (i / 2 % 2) + 3 * (i % 2)) & 7) + 1) * 0.125f;
}

CODEC(tq1_0)
{
    const struct block_tq1_0 *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int n = 0; n < 5; n++) {
        for (int i = 0; i < 32; i++) q[32 * n + i] = (int8_t)tq1_0_digit(b->qs[i], n);
        for (int i = 0; i < 16; i++) q[160 + 16 * n + i] = (int8_t)tq1_0_digit(b->qs[32 + i], n);
    }
    for (int n = 0; n < 4; n++)
        for (int i = 0; i < 4; i++) q[240 + 4 * n + i] = (int8_t)tq1_0_digit(b->qh[i], n);
    for (int i = 0; i < 8; i++) s[i] = d;
}

CODEC(tq2_0)
{
    const struct block_tq2_0 *b = block;
    const float d = half1(b->d);
    (void)m;
    for (int p = 0; p < 8; p++) {
        store32(q + 32 * p, (load32(b->qs + 32 * (p / 4)) >> 2 * (p % 4) & 3) - 1);
    }
    for (int i = 0; i < 8; i++) s[i] = d;
}

#endif
