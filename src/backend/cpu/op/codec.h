/* Codecs: a block to small integers and scales, w = s[group] * (q - ZERO) + m[group].
 *
 * W_LANES rows at a time, side by side: their bytes are transposed as they lie in the file, four to a lane, and
 * unpacked afterwards, so that one shift or mask serves all rows and what comes out is what products multiply: a vector
 * of four neighbouring inputs (a quad) of each row. Three short functions per format; everything else about quantized
 * weights is in pack.h, dot.h and gemm.h.
 *
 *   open_NAME(l, b)                  the scales of the blocks b, and bytes that all their chunks need
 *   load_NAME(raw, l, b, c, p)       bytes of chunk c; in two parts where a chunk has 64 or 128 elements
 *   quad_NAME(raw, l, c, p, s, j)    elements STRIDE s + 16 p + 4 j .. + 3 of the chunk; STRIDE: 16 in chunks of 32, or 32
 *
 * Nothing outside a block is read. Numbers of up to 7 bits are kept unsigned, counted from ZERO, a power of two or none:
 * products of an unsigned and a signed byte can be added DEPTH deep in 16 bits (CPU.md section 6). Numbers of 8 bits are
 * counted as the instruction set's products of bytes want them, with DEPTH 0 where they are not multiplied as bytes: where
 * sums do not fit, and Q8_0, for its precision, wherever 16 bits cost it no more than half the speed. */
#ifndef CORRAL_CPU_CODEC_H
#define CORRAL_CPU_CODEC_H

#include "tensor/quant/block.h"
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
#include "tensor/quant/tq2_0.h"

/* X(TYPE, name, elements of a block, elements of a group, has minima, ZERO, DEPTH, elements of a chunk): DEPTH products
 * of pairs of q <= 15, 31, 63, 127 and activations of up to 127 stay below 2^15 for 8, 4, 2, 1. */
#define CODEC_LIST(X)                                                                                        \
    X(DT_Q4_0, q4_0, 32, 32, 0, 8, 8, 32)                                                                    \
    X(DT_Q4_1, q4_1, 32, 32, 1, 0, 8, 32)                                                                    \
    X(DT_Q5_0, q5_0, 32, 32, 0, 16, 4, 32)                                                                   \
    X(DT_Q5_1, q5_1, 32, 32, 1, 0, 4, 32)                                                                    \
    X(DT_Q8_0, q8_0, 32, 32, 0, 0, W_SIGNED, 32)                                                             \
    X(DT_Q2_K, q2_k, 256, 16, 1, 0, 4, 128)                                                                  \
    X(DT_Q3_K, q3_k, 256, 16, 0, 4, 4, 128)                                                                  \
    X(DT_Q4_K, q4_k, 256, 32, 1, 0, 8, 64)                                                                   \
    X(DT_Q5_K, q5_k, 256, 32, 1, 0, 4, 64)                                                                   \
    X(DT_Q6_K, q6_k, 256, 16, 0, 32, 2, 128)                                                                 \
    X(DT_IQ4_NL, iq4_nl, 32, 32, 0, W_ZERO_8, W_DEPTH_8, 32)                                                 \
    X(DT_IQ4_XS, iq4_xs, 256, 32, 0, W_ZERO_8, W_DEPTH_8, 32)                                                \
    X(DT_MXFP4, mxfp4, 32, 32, 0, 16, 4, 32)                                                                 \
    X(DT_IQ2_XXS, iq2_xxs, 256, 32, 0, 64, 1, 32)                                                            \
    X(DT_IQ2_XS, iq2_xs, 256, 16, 0, 64, 1, 32)                                                              \
    X(DT_IQ2_S, iq2_s, 256, 16, 0, 64, 1, 32)                                                                \
    X(DT_IQ3_XXS, iq3_xxs, 256, 32, 0, 64, 1, 32)                                                            \
    X(DT_IQ3_S, iq3_s, 256, 32, 0, 16, 4, 32)                                                                \
    X(DT_IQ1_S, iq1_s, 256, 32, 0, 16, 4, 32)                                                                \
    X(DT_IQ1_M, iq1_m, 256, 16, 0, 16, 4, 32)                                                                \
    X(DT_TQ1_0, tq1_0, 256, 32, 0, 1, 8, 32)                                                                 \
    X(DT_TQ2_0, tq2_0, 256, 32, 0, 1, 8, 128)

struct lanes {
    wf s[16], m[16]; /* of a block, by group */
    wf d;            /* of groups of 16, where W_SCALED: s = d n */
    wp n[16];
    wb hold[40];     /* bytes that all chunks of a block share */
};
enum { RAW = 12 }; /* vectors that a part needs at most */

#define OPEN(name) SIMD void open_##name(struct lanes *l, const struct rows b)
#define LOAD(name)                                                                                           \
    SIMD void load_##name(wb *raw, const struct lanes *l, const struct rows b, const int c, const int p)
#define QUAD(name)                                                                                           \
    SIMD wb quad_##name(const wb *raw, const struct lanes *l, const int c, const int p, const int s, const int j)
#define UNUSED_LOAD (void)l, (void)b, (void)c, (void)p
#define UNUSED_QUAD (void)raw, (void)l, (void)c, (void)p, (void)s
/* Sixteen bytes of each row from a field of its block on. */
#define BYTES(to, name, field, more) wb_rows(to, b, offsetof(struct block_##name, field) + (size_t)(more))

SIMD const void *row_at(struct rows b, int r) { return b.at + (size_t)r * b.stride; }

/* A word of the first 16 bytes of each row. */
SIMD ww head_word(struct rows b, int i)
{
    wb head[4];
    wb_rows(head, b, 0);
    return (ww)head[i];
}

/* Shifted as words: of a byte's neighbours only bits come in that its user masks away. */
SIMD wb wb_right(wb v, int n) { return (wb)((ww)v >> n); }
SIMD wb wb_left(wb v, int n) { return (wb)((ww)v << n); }

/* --- blocks of 32, nibbles: the low halves of 16 bytes, then the high ones --- */

SIMD wb nibble(const wb *raw, int s, int j) { return s ? wb_right(raw[j], 4) & 15 : raw[j] & 15; }

#define LOAD_NIBBLES(name) LOAD(name) { UNUSED_LOAD; BYTES(raw, name, qs, 0); }
LOAD_NIBBLES(q4_0)
LOAD_NIBBLES(q4_1)
LOAD_NIBBLES(q5_0)
LOAD_NIBBLES(q5_1)
LOAD_NIBBLES(iq4_nl)
LOAD_NIBBLES(mxfp4)

OPEN(q4_0) { l->s[0] = wf_halves(head_word(b, 0), 0); }
QUAD(q4_0) { UNUSED_QUAD; return nibble(raw, s, j); }

SIMD void open_d_m(struct lanes *l, const struct rows b)
{
    ww d_m = head_word(b, 0);
    l->s[0] = wf_halves(d_m, 0);
    l->m[0] = wf_halves(d_m, 1);
}
OPEN(q4_1) { open_d_m(l, b); }
QUAD(q4_1) { UNUSED_QUAD; return nibble(raw, s, j); }

SIMD wb nibble_and_bit(const wb *raw, const struct lanes *l, int s, int j)
{
    return nibble(raw, s, j) | wb_bits((ww)l->hold[0], 16 * s + 4 * j, 16);
}
OPEN(q5_0)
{
    l->s[0] = wf_halves(head_word(b, 0), 0);
    l->hold[0] = (wb)(head_word(b, 0) >> 16 | head_word(b, 1) << 16);
}
QUAD(q5_0) { UNUSED_QUAD; return nibble_and_bit(raw, l, s, j); }
OPEN(q5_1)
{
    open_d_m(l, b);
    l->hold[0] = (wb)head_word(b, 1);
}
QUAD(q5_1) { UNUSED_QUAD; return nibble_and_bit(raw, l, s, j); }

OPEN(iq4_nl) { l->s[0] = wf_halves(head_word(b, 0), 0); }
QUAD(iq4_nl) { UNUSED_QUAD; return wb_lookup(iq4_values, W_ZERO_8, nibble(raw, s, j)); }

OPEN(mxfp4) /* mxfp4_scale of each row */
{
    ww e = head_word(b, 0) & 255, small = (ww)(e < 2), denormal = (ww){0} + 0x00200000u;
    l->s[0] = wf_words(((denormal << (e & 1)) & small) | ((e - 1) << 23 & ~small));
}
QUAD(mxfp4) { UNUSED_QUAD; return wb_lookup(mxfp4_values, 16, nibble(raw, s, j)); }

OPEN(q8_0) { l->s[0] = wf_halves(head_word(b, 0), 0); }
LOAD(q8_0)
{
    UNUSED_LOAD;
    BYTES(raw, q8_0, qs, 0);
    BYTES(raw + 4, q8_0, qs, 16);
}
QUAD(q8_0) { UNUSED_QUAD; return raw[4 * s + j]; }

/* --- K blocks of 256 --- */

/* d times n bytes as signed integers. */
SIMD void times_bytes(wf *to, wf d, const wb *b, int n)
{
    for (int i = 0; i < n; i++) to[i] = wf_mul(d, wf_bytes(b[i / 4], i % 4));
}

/* Scales of 16 groups: d times signed bytes. */
SIMD void byte_scales(struct lanes *l, wf d, const wb b[4])
{
    times_bytes(l->s, d, b, 16);
#ifdef W_SCALED
    l->d = d;
    for (int i = 0; i < 16; i++) l->n[i] = wp_twice(b[i / 4], i % 4);
#endif
}

/* The first 16 bytes of Q4_K and Q5_K: d, dmin, and scales and minima as q4_k_scales_mins has them. */
SIMD void open_k45(struct lanes *l, const struct rows b)
{
    wb head[4];
    wb_rows(head, b, 0);
    wb scales[2] = {head[1] & 63, (head[3] & 15) | (wb_right(head[1], 2) & 48)};
    wb minima[2] = {head[2] & 63, (wb_right(head[3], 4) & 15) | (wb_right(head[2], 2) & 48)};
    times_bytes(l->s, wf_halves((ww)head[0], 0), scales, 8);
    times_bytes(l->m, wf_mul(wf_halves((ww)head[0], 1), wf_set(-1)), minima, 8);
}

OPEN(q4_k) { open_k45(l, b); }
LOAD(q4_k) { UNUSED_LOAD; BYTES(raw, q4_k, qs, 32 * c + 16 * p); }
QUAD(q4_k) { UNUSED_QUAD; return nibble(raw, s, j); }

OPEN(q5_k)
{
    open_k45(l, b);
    BYTES(l->hold, q5_k, qh, 0);
    BYTES(l->hold + 4, q5_k, qh, 16);
}
LOAD(q5_k) { UNUSED_LOAD; BYTES(raw, q5_k, qs, 32 * c + 16 * p); }
QUAD(q5_k) { return nibble(raw, s, j) | wb_left(wb_right(l->hold[4 * p + j], 2 * c + s) & 1, 4); }

OPEN(q6_k)
{
    wb scales[4], tail[4];
    BYTES(scales, q6_k, scales, 0);
    BYTES(tail, q6_k, d, -14);
    byte_scales(l, wf_halves((ww)tail[3], 1), scales);
}
LOAD(q6_k)
{
    UNUSED_LOAD;
    BYTES(raw, q6_k, ql, 64 * c + 16 * p);
    BYTES(raw + 4, q6_k, ql, 64 * c + 32 + 16 * p);
    BYTES(raw + 8, q6_k, qh, 32 * c + 16 * p);
}
QUAD(q6_k)
{
    UNUSED_QUAD;
    wb high = raw[8 + j];
    return nibble(raw + 4 * (s % 2), s / 2, j) | ((s < 2 ? wb_left(high, 4 - 2 * s) : wb_right(high, 2 * s - 4)) & 48);
}

OPEN(q2_k)
{
    wb scales[4], low[4], high[4], tail[4];
    BYTES(tail, q2_k, d, -12);
    ww d = (ww)tail[3];
    BYTES(scales, q2_k, scales, 0);
    for (int i = 0; i < 4; i++) {
        low[i] = scales[i] & 15;
        high[i] = wb_right(scales[i], 4) & 15;
    }
    byte_scales(l, wf_halves(d, 0), low);
    times_bytes(l->m, wf_mul(wf_halves(d, 1), wf_set(-1)), high, 16);
}
LOAD(q2_k) { UNUSED_LOAD; BYTES(raw, q2_k, qs, 32 * c + 16 * p); }
QUAD(q2_k) { UNUSED_QUAD; return wb_right(raw[j], 2 * s) & 3; }

OPEN(q3_k) /* as q3_k_scales */
{
    wb scale[4], tail[4];
    BYTES(tail, q3_k, d, -14); /* the last two quants, scales, d */
    ww u[3];
    for (int i = 0; i < 3; i++) u[i] = (ww)tail[i] >> 16 | (ww)tail[i + 1] << 16;
    for (int i = 0; i < 4; i++) {
        wb six = ((wb)(u[i % 2] >> 4 * (i / 2)) & 15) | (wb_left((wb)(u[2] >> 2 * i) & 3, 4));
        scale[i] = six - 32;
    }
    byte_scales(l, wf_halves((ww)tail[3], 1), scale);
    BYTES(l->hold, q3_k, hmask, 0);
    BYTES(l->hold + 4, q3_k, hmask, 16);
}
LOAD(q3_k) { UNUSED_LOAD; BYTES(raw, q3_k, qs, 32 * c + 16 * p); }
QUAD(q3_k)
{
    return (wb_right(raw[j], 2 * s) & 3) | wb_left(wb_right(l->hold[4 * p + j], 4 * c + s) & 1, 2);
}

OPEN(iq4_xs)
{
    ww head = head_word(b, 0), low = head_word(b, 1), high = head >> 16;
    wf d = wf_halves(head, 0);
    for (int i = 0; i < 8; i++) {
        wb six = (wb)((low >> 4 * i & 15) | (high >> 2 * i & 3) << 4);
        l->s[i] = wf_mul(d, wf_bytes(six - 32, 0));
    }
}
LOAD(iq4_xs) { UNUSED_LOAD; BYTES(raw, iq4_xs, qs, 16 * c); }
QUAD(iq4_xs) { UNUSED_QUAD; return wb_lookup(iq4_values, W_ZERO_8, nibble(raw, s, j)); }

OPEN(tq2_0)
{
    wb tail[4];
    BYTES(tail, tq2_0, d, -14);
    wf d = wf_halves((ww)tail[3], 1);
    for (int i = 0; i < 8; i++) l->s[i] = d;
}
LOAD(tq2_0) { UNUSED_LOAD; BYTES(raw, tq2_0, qs, 32 * c + 16 * p); }
QUAD(tq2_0) { UNUSED_QUAD; return wb_right(raw[j], 2 * s) & 3; }

/* --- formats that are looked up --- */
#include "backend/cpu/op/codebook.h"

#endif
