/* Codecs of formats whose values are looked up, in code books or as digits of base 3: rows side by side as all
 * others (codec.h, which includes this).
 *
 * A block's words are transposed once. Which entries of a code book its rows want is read from memory one by
 * one: taken out of a vector they take longer, and so they do from memory that has just been written. Quads are
 * finished as soon as they are looked up, before there are more of them than registers. */
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

/* 16 n bytes of each row from a field of its block on. */
#define MANY_BYTES(to, name, field, n)                                                                       \
    for (int part = 0; part < (n); part++) BYTES((to) + 4 * part, name, field, 16 * part)

/* Number i of each row: words hold them in one byte or in two. */
SIMD void entries(uint32_t n[W_LANES], const wb *words, int i, const int SIZE)
{
    const int each = 4 / SIZE; /* in a word */
    W_UNROLL(16)
    for (int r = 0; r < W_LANES; r++) {
        const uint8_t *at = (const uint8_t *)(words + i / each) + 4 * r + i % each * SIZE;
        uint16_t two;
        memcpy(&two, at, SIZE);
        n[r] = SIZE == 2 ? two : *at;
    }
}

/* Negated where the bit from n on is set, counted from zero. */
SIMD wb with_signs(wb q, ww signs, int n, uint8_t zero)
{
    const wb minus = wb_bits(signs, n, 255);
    return (q ^ minus) - minus + zero;
}
/* A chunk's quads: four entries of eight bytes, or eight of four, with signs. */
SIMD void signed_eights(wb *raw, const void *grid, const wb *words, const int SIZE, ww signs, uint8_t zero)
{
    W_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        uint32_t n[W_LANES];
        entries(n, words, i, SIZE);
        wb_eights(raw + 2 * i, grid, n);
        for (int j = 2 * i; j < 2 * i + 2; j++) raw[j] = with_signs(raw[j], signs, 4 * j, zero);
    }
}
SIMD void signed_fours(wb *raw, const void *grid, const wb *words, const int SIZE, ww signs, uint8_t zero)
{
    W_UNROLL(8)
    for (int i = 0; i < 8; i++) {
        uint32_t n[W_LANES];
        entries(n, words, i, SIZE);
        raw[i] = with_signs(wb_fours(grid, n), signs, 4 * i, zero);
    }
}
#define LOOKED_UP(name) QUAD(name) { UNUSED_QUAD; return raw[4 * s + j]; }

/* Signs of which each eighth is left out: it makes the number of those that are set even. */
SIMD ww even_signs(ww seven)
{
    ww parity = seven ^ seven >> 4; /* right in the low bits of each byte, fewer each time */
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 0x01010101) << 7;
}
/* Four times seven bits, each to a byte. */
SIMD ww apart_7(ww v)
{
    return (v & 0x7f) | (v << 1 & 0x7f00) | (v << 2 & 0x7f0000) | (v << 3 & 0x7f000000);
}
/* Four nibbles, each to a byte. */
SIMD ww apart_4(ww v)
{
    v = ((v & 0xffff) | v << 8) & 0x00ff00ff;
    return (v | v << 4) & 0x0f0f0f0f;
}
/* 1 + 2 n for each of four bytes, which are below 128. */
SIMD wb odd(ww n) { return (wb)(n << 1 | 0x01010101); }

SIMD wf half_times(ww halves, float factor) { return wf_mul(wf_halves(halves, 0), wf_set(factor)); }

/* Numbers of two entries, to halves: bytes of low, and above them bits of high, of the one from bit `first` on,
 * of the other from `second` on. */
SIMD wb two_entries(ww low, ww high, int first, int second, uint32_t mask)
{
    const ww top = (high >> first & mask) << 8 | (high >> second & mask) << 24;
    return (wb)((low & 0xff) | (low << 8 & 0xff0000) | top);
}

/* d (1/2 + scale) / 4 for 16 scales in two words. */
SIMD void open_iq2(struct lanes *l, ww d, ww low, ww high)
{
    const wb n[4] = {odd(apart_4(low)), odd(apart_4(low >> 16)),
                     odd(apart_4(high)), odd(apart_4(high >> 16))};
    byte_scales(l, half_times(d, 0.125f), n);
}

/* Of a group four entries, then signs and a scale. */
OPEN(iq2_xxs)
{
    const wf d = half_times(head_word(b, 0), 0.125f);
    MANY_BYTES(l->hold, iq2_xxs, qs, 4);
    for (int i = 0; i < 8; i++) l->s[i] = wf_mul(d, wf_bytes((wb)((ww)l->hold[2 * i + 1] >> 27 | 1), 0));
}
LOAD(iq2_xxs)
{
    const ww signs = even_signs(apart_7((ww)l->hold[2 * c + 1]));
    UNUSED_LOAD;
    signed_eights(raw, iq2_xxs_grid, l->hold + 2 * c, 1, signs, 64);
}
LOOKED_UP(iq2_xxs)

OPEN(iq2_xs)
{
    wb words[16], tail[4];
    MANY_BYTES(words, iq2_xs, qs, 4);
    for (int i = 0; i < 16; i++) l->hold[i] = (wb)((ww)words[i] & 0x01ff01ff);
    for (int i = 0; i < 8; i++) {
        const ww v = (ww)words[2 * i] >> 9, w = (ww)words[2 * i + 1] >> 9;
        const ww low = (v & 0x7f) | (v >> 8 & 0x7f00), high = (w & 0x7f) | (w >> 8 & 0x7f00);
        l->hold[16 + i] = (wb)even_signs(low | high << 16);
    }
    BYTES(tail, iq2_xs, scales, -8);
    open_iq2(l, head_word(b, 0), (ww)tail[2], (ww)tail[3]);
}
LOAD(iq2_xs)
{
    UNUSED_LOAD;
    signed_eights(raw, iq2_xs_grid, l->hold + 2 * c, 2, (ww)l->hold[16 + c], 64);
}
LOOKED_UP(iq2_xs)

OPEN(iq2_s)
{
    wb low[8], tail[4];
    MANY_BYTES(low, iq2_s, qs, 2);
    MANY_BYTES(l->hold + 16, iq2_s, signs, 2);
    BYTES(tail, iq2_s, qh, 0);
    for (int i = 0; i < 8; i++) {
        const ww v = (ww)low[i], high = (ww)tail[i / 4] >> 8 * (i % 4);
        l->hold[2 * i] = two_entries(v, high, 0, 2, 3);
        l->hold[2 * i + 1] = two_entries(v >> 16, high, 4, 6, 3);
    }
    open_iq2(l, head_word(b, 0), (ww)tail[2], (ww)tail[3]);
}
LOAD(iq2_s)
{
    UNUSED_LOAD;
    signed_eights(raw, iq2_s_grid, l->hold + 2 * c, 2, (ww)l->hold[16 + c], 64);
}
LOOKED_UP(iq2_s)

OPEN(iq3_xxs)
{
    const wf d = half_times(head_word(b, 0), 0.25f);
    MANY_BYTES(l->hold, iq3_xxs, qs, 6); /* and signs_scale */
    for (int i = 0; i < 8; i++) l->s[i] = wf_mul(d, wf_bytes((wb)((ww)l->hold[16 + i] >> 27 | 1), 0));
}
LOAD(iq3_xxs)
{
    const ww signs = even_signs(apart_7((ww)l->hold[16 + c]));
    UNUSED_LOAD;
    signed_fours(raw, iq3_xxs_grid, l->hold + 2 * c, 1, signs, 64);
}
LOOKED_UP(iq3_xxs)

OPEN(iq3_s)
{
    wb low[16], tail[4];
    MANY_BYTES(low, iq3_s, qs, 4);
    MANY_BYTES(l->hold + 32, iq3_s, signs, 2);
    BYTES(tail, iq3_s, qh, 0);
    for (int i = 0; i < 32; i++) {
        const ww v = (ww)low[i / 2] >> 16 * (i % 2), high = (ww)tail[i / 16] >> 2 * (i % 16);
        l->hold[i] = two_entries(v, high, 0, 1, 1);
    }
    BYTES(tail, iq3_s, scales, -12);
    const wb scales[2] = {odd(apart_4((ww)tail[3])), odd(apart_4((ww)tail[3] >> 16))};
    times_bytes(l->s, wf_halves(head_word(b, 0), 0), scales, 8);
}
LOAD(iq3_s)
{
    UNUSED_LOAD;
    signed_fours(raw, iq3_s_grid, l->hold + 4 * c, 2, (ww)l->hold[32 + c], 16);
}
LOOKED_UP(iq3_s)

/* A chunk's quads: eight times (grid + delta), which is whole, counted from 16; the scale takes the eighth. Of entry
 * i bit step * i says whether the delta is negative. */
SIMD void eights_with_delta(wb *raw, const wb *words, ww minus, const int step)
{
    W_UNROLL(4)
    for (int i = 0; i < 4; i++) {
        uint32_t n[W_LANES];
        entries(n, words, i, 2);
        wb_eights(raw + 2 * i, iq1_grid, n);
        const wb delta = (wb)(0x11111111 - (((ww){0} - (minus >> step * i & 1)) & 0x02020202));
        for (int j = 2 * i; j < 2 * i + 2; j++) raw[j] = (wb_left(raw[j], 3) & 0xf8) + delta;
    }
}

OPEN(iq1_s)
{
    const wf d = half_times(head_word(b, 0), 0.125f);
    wb low[8];
    MANY_BYTES(low, iq1_s, qs, 2);
    BYTES(l->hold + 16, iq1_s, qh, 0);
    for (int i = 0; i < 8; i++) {
        const ww v = (ww)low[i], high = (ww)l->hold[16 + i / 2] >> 16 * (i % 2);
        l->hold[2 * i] = two_entries(v, high, 0, 3, 7);
        l->hold[2 * i + 1] = two_entries(v >> 16, high, 6, 9, 7);
        l->s[i] = wf_mul(d, wf_bytes((wb)((high >> 11 & 14) | 1), 0));
    }
}
LOAD(iq1_s)
{
    const ww high = (ww)l->hold[16 + c / 2] >> 16 * (c % 2);
    UNUSED_LOAD;
    eights_with_delta(raw, l->hold + 2 * c, high >> 15, 0);
}
LOOKED_UP(iq1_s)

OPEN(iq1_m)
{
    wb low[8], tail[4], n[4];
    MANY_BYTES(low, iq1_m, qs, 2);
    BYTES(l->hold + 16, iq1_m, qh, 0);
    for (int i = 0; i < 8; i++) {
        const ww v = (ww)low[i], high = (ww)l->hold[16 + i / 2] >> 16 * (i % 2);
        l->hold[2 * i] = two_entries(v, high, 0, 4, 7);
        l->hold[2 * i + 1] = two_entries(v >> 16, high, 8, 12, 7);
    }
    BYTES(tail, iq1_m, scales, -8);
    const ww v = (ww)tail[2], w = (ww)tail[3];
    for (int i = 0; i < 4; i++) {
        const ww three = (i < 2 ? v : w) >> 16 * (i % 2); /* bits each */
        n[i] = odd((three & 7) | (three << 5 & 0x700) | (three << 10 & 0x70000) | (three << 15 & 0x7000000));
    }
    const ww d = (v >> 12 & 0xf) | (v >> 24 & 0xf0) | (w >> 4 & 0xf00) | (w >> 16 & 0xf000);
    byte_scales(l, half_times(d, 0.125f), n);
}
LOAD(iq1_m)
{
    const ww high = (ww)l->hold[16 + c / 2] >> 16 * (c % 2);
    UNUSED_LOAD;
    eights_with_delta(raw, l->hold + 2 * c, high >> 3, 4);
}
LOOKED_UP(iq1_m)

/* Elements 0 to 159 are the digits of bytes 0 to 31, digit by digit, 160 to 239 those of bytes 32 to 47, the
 * last 16 the first four digits of qh. A digit is what tripling the byte, less the digits before it, carries out
 * of eight bits. */
OPEN(tq1_0)
{
    wb tail[4];
    MANY_BYTES(l->hold, tq1_0, qs, 3);
    BYTES(tail, tq1_0, d, -14);
    l->hold[12] = (wb)((ww)tail[2] >> 16 | (ww)tail[3] << 16);
    const wf d = wf_halves((ww)tail[3], 1);
    for (int i = 0; i < 8; i++) l->s[i] = d;
}
LOAD(tq1_0)
{
    static const uint8_t power[] = {1, 3, 9, 27, 81};
    UNUSED_LOAD;
    for (int i = 0; i < 8; i++) {
        const int digit = c < 5 ? c : c < 7 ? 2 * (c - 5) + i / 4 : i < 4 ? 4 : i - 4;
        const int from = c < 5 ? i : c < 7 || i < 4 ? 8 + i % 4 : 12;
        raw[i] = wb_digits(l->hold[from], power[digit]);
    }
}
LOOKED_UP(tq1_0)

#endif
