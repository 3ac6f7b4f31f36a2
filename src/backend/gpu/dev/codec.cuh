/* Block formats on the device. The specifications are tensor/quant/NAME.h.
 *
 * Two families. RAW types lie as in the file; codec<T>::eight decodes eight neighbours. PACKED types are rearranged at
 * load (pack.cu) so that a warp's loads are contiguous and the words are fragments of an mma but for a shift and a mask:
 *
 * - A strip is 16 rows. A unit is a strip times the columns of one block; it takes as many bytes as its 16 blocks had.
 * - In a unit, the codes of each 32 columns are together: first planes of the low 2 or 4 bits, then of the rest. Lane l
 *   of a warp holds rows l / 4 and l / 4 + 8. In each 16 columns it holds columns 4 (l % 4) .. + 3 of both rows: eight
 *   codes, the four registers i of a fragment with two halves h each:
 *       row = l / 4 + 8 (i % 2), column = 4 (l % 4) + 2 (i / 2) + h.
 *   (An mma adds up its sixteen columns in any assignment that both factors share; this one makes the other factor's
 *   two registers four neighbours of an activation row.)
 * - Then the scales: the bytes that the 16 blocks had besides codes, row after row.
 *
 * Codes are whole numbers of at most 7 bits, so 128 + code is exact in bf16 and is made by one AND and one OR. Eight bit
 * codes are two planes of four. The 128 leaves through a second product with ones, and scales are applied to sums over
 * a group in f32: nothing about the weights is rounded. */
#ifndef CORRAL_GPU_CODEC_CUH
#define CORRAL_GPU_CODEC_CUH

#include "backend/gpu/dev/types.h"
#include "backend/gpu/ops.h"

/* tensor/quant/grids.c as device tables. */
#define CORRAL_QUANT_GRIDS_H
#define alignas(n) static __device__ __align__(n)
#ifdef __CUDACC__
#pragma nv_diag_suppress 177
#else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-variable"
#endif
#include "tensor/quant/grids.c"
#ifdef __CUDACC__
#pragma nv_diag_default 177
#else
#pragma GCC diagnostic pop
#endif
#undef alignas

DEV uint32_t load_u16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; } /* blocks of a file are not aligned */
DEV uint32_t load_u32(const uint8_t *p) { return load_u16(p) | load_u16(p + 2) << 16; }
DEV float load_f16(const uint8_t *p) { return dev_f16_to_f32((uint16_t)load_u16(p)); }
DEV float half_at(const uint8_t *p) { return dev_f16_to_f32(*(const uint16_t *)p); } /* aligned */

template <int TYPE> struct codec;

/* ---- packed types ----
 * BLOCK columns in BYTES bytes of a file, a scale per GROUP of columns; codes of LOW + HIGH bits; the other bytes of a
 * block are A bytes from A_AT on and B bytes from B_AT on. LUT: codes index values[]. DIRECT: weight = scale * value; else
 * weight = scale * code + min. */

DEV uint32_t nibble_code(const uint8_t *qs, int e) { return e < 16 ? qs[e] & 15u : qs[e - 16] >> 4; }
DEV uint32_t pair_code(const uint8_t *qs, int e) /* two bits, planes of 32 in halves of 128 */
{
    return qs[32 * (e / 128) + e % 32] >> 2 * (e / 32 % 4) & 3u;
}
DEV uint32_t super_nibble(const uint8_t *qs, int e) { return qs[32 * (e / 64) + e % 32] >> 4 * (e / 32 % 2) & 15u; }

#define PACKED(block, bytes, group, low, high, a, a_at, b, b_at)                                                       \
    enum { RAW = 0, LUT = 0, DIRECT = 0, BLOCK = block, BYTES = bytes, GROUP = group, LOW = low, HIGH = high, A = a, A_AT = a_at,  \
           B = b, B_AT = b_at }
#define PACKED_LUT(block, bytes, a)                                                                                    \
    enum { RAW = 0, LUT = 1, DIRECT = 1, BLOCK = block, BYTES = bytes, GROUP = 32, LOW = 4, HIGH = 0, A = a, A_AT = 0, B = 0, B_AT = 0 }

template <> struct codec<DT_Q4_0> {
    PACKED(32, 18, 32, 4, 0, 2, 0, 0, 0);
    DEV uint32_t code(const uint8_t *b, int e) { return nibble_code(b + 2, e); }
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m) { *s = half_at(a), *m = -8 * *s; }
};
template <> struct codec<DT_Q4_1> {
    PACKED(32, 20, 32, 4, 0, 4, 0, 0, 0);
    DEV uint32_t code(const uint8_t *b, int e) { return nibble_code(b + 4, e); }
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m) { *s = half_at(a), *m = half_at(a + 2); }
};
template <> struct codec<DT_Q5_0> {
    PACKED(32, 22, 32, 4, 1, 2, 0, 0, 0);
    DEV uint32_t code(const uint8_t *b, int e) { return nibble_code(b + 6, e) | (load_u32(b + 2) >> e & 1) << 4; }
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m) { *s = half_at(a), *m = -16 * *s; }
};
template <> struct codec<DT_Q5_1> {
    PACKED(32, 24, 32, 4, 1, 4, 0, 0, 0);
    DEV uint32_t code(const uint8_t *b, int e) { return nibble_code(b + 8, e) | (load_u32(b + 4) >> e & 1) << 4; }
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m) { *s = half_at(a), *m = half_at(a + 2); }
};
template <> struct codec<DT_Q8_0> {
    PACKED(32, 34, 32, 4, 4, 2, 0, 0, 0);
    DEV uint32_t code(const uint8_t *b, int e) { return (uint32_t)((int8_t)b[2 + e] + 128); }
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m) { *s = half_at(a), *m = -128 * *s; }
};
template <> struct codec<DT_Q2_K> {
    PACKED(256, 84, 16, 2, 0, 16, 0, 4, 80);
    DEV uint32_t code(const uint8_t *b, int e) { return pair_code(b + 16, e); }
    DEV void scale(const uint8_t *a, const uint8_t *b, int g, float *s, float *m)
    {
        *s = half_at(b) * (float)(a[g] & 15), *m = -half_at(b + 2) * (float)(a[g] >> 4);
    }
};
template <> struct codec<DT_Q3_K> {
    PACKED(256, 110, 16, 2, 1, 12, 96, 2, 108);
    DEV uint32_t code(const uint8_t *b, int e) { return pair_code(b + 32, e) | (b[e % 32] >> e / 32 & 1u) << 2; }
    DEV void scale(const uint8_t *a, const uint8_t *b, int g, float *s, float *m)
    {
        int low = a[g % 8] >> 4 * (g / 8) & 15, high = a[8 + g % 4] >> 2 * (g / 4) & 3;
        *s = half_at(b) * (float)((low | high << 4) - 32), *m = -4 * *s;
    }
};
/* The twelve bytes of Q4_K and Q5_K, see q4_k.h. */
DEV void k4_scale(const uint8_t *a, int g, float *s, float *m)
{
    const uint8_t *c = a + 4;
    int scale, least;
    if (g < 4)
        scale = c[g] & 63, least = c[g + 4] & 63;
    else
        scale = (c[g + 4] & 15) | c[g - 4] >> 6 << 4, least = c[g + 4] >> 4 | c[g] >> 6 << 4;
    *s = half_at(a) * (float)scale, *m = -half_at(a + 2) * (float)least;
}
template <> struct codec<DT_Q4_K> {
    PACKED(256, 144, 32, 4, 0, 16, 0, 0, 0);
    DEV uint32_t code(const uint8_t *b, int e) { return super_nibble(b + 16, e); }
    DEV void scale(const uint8_t *a, const uint8_t *, int g, float *s, float *m) { k4_scale(a, g, s, m); }
};
template <> struct codec<DT_Q5_K> {
    PACKED(256, 176, 32, 4, 1, 16, 0, 0, 0);
    DEV uint32_t code(const uint8_t *b, int e) { return super_nibble(b + 48, e) | (b[16 + e % 32] >> e / 32 & 1u) << 4; }
    DEV void scale(const uint8_t *a, const uint8_t *, int g, float *s, float *m) { k4_scale(a, g, s, m); }
};
template <> struct codec<DT_Q6_K> {
    PACKED(256, 210, 16, 4, 2, 16, 192, 2, 208);
    DEV uint32_t code(const uint8_t *b, int e)
    {
        int half = e / 128, plane = e / 32 % 4;
        uint32_t low = b[64 * half + 32 * (plane % 2) + e % 32] >> 4 * (plane / 2) & 15u;
        return low | (b[128 + 32 * half + e % 32] >> 2 * plane & 3u) << 4;
    }
    DEV void scale(const uint8_t *a, const uint8_t *b, int g, float *s, float *m)
    {
        *s = half_at(b) * (float)(int8_t)a[g], *m = -32 * *s;
    }
};
template <> struct codec<DT_TQ2_0> {
    PACKED(256, 66, 32, 2, 0, 2, 64, 0, 0);
    DEV uint32_t code(const uint8_t *b, int e) { return pair_code(b, e); }
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m) { *s = half_at(a), *m = -*s; }
};
template <> struct codec<DT_TQ1_0> { /* digits of base three become the codes of TQ2_0 */
    PACKED(256, 54, 32, 2, 0, 2, 52, 0, 0);
    DEV uint32_t code(const uint8_t *b, int e)
    {
        int digit = e < 160 ? e / 32 : e < 240 ? (e - 160) / 16 : (e - 240) / 4;
        uint32_t v = e < 160 ? b[e % 32] : e < 240 ? b[32 + (e - 160) % 16] : b[48 + (e - 240) % 4];
        for (int i = 0; i < digit; i++) v = v * 3 & 255;
        return v * 3 >> 8;
    }
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m) { *s = half_at(a), *m = -*s; }
};
template <> struct codec<DT_IQ4_NL> {
    PACKED_LUT(32, 18, 2);
    DEV uint32_t code(const uint8_t *b, int e) { return nibble_code(b + 2, e); }
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m) { *s = half_at(a), *m = 0; }
    DEV int value(uint32_t q)
    {
        const int8_t v[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
        return v[q];
    }
};
template <> struct codec<DT_IQ4_XS> {
    PACKED_LUT(256, 136, 8);
    DEV uint32_t code(const uint8_t *b, int e) { return nibble_code(b + 8 + 16 * (e / 32), e % 32); }
    DEV void scale(const uint8_t *a, const uint8_t *, int g, float *s, float *m)
    {
        int low = a[4 + g / 2] >> 4 * (g % 2) & 15, high = *(const uint16_t *)(a + 2) >> 2 * g & 3;
        *s = half_at(a) * (float)((low | high << 4) - 32), *m = 0;
    }
    DEV int value(uint32_t q) { return codec<DT_IQ4_NL>::value(q); }
};
template <> struct codec<DT_MXFP4> {
    PACKED_LUT(32, 17, 1);
    DEV uint32_t code(const uint8_t *b, int e) { return nibble_code(b + 1, e); }
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m)
    {
        *s = __uint_as_float(*a < 2 ? 0x00200000u << *a : (uint32_t)(*a - 1) << 23), *m = 0;
    }
    DEV int value(uint32_t q)
    {
        const int8_t v[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
        return v[q];
    }
};
template <> struct codec<DT_BF16> { /* fragments as they are; 32 columns a unit */
    enum { RAW = 0, LUT = 0, DIRECT = 1, BLOCK = 32, BYTES = 64, GROUP = 0, LOW = 16, HIGH = 0, A = 0, B = 0 };
};
/* Bytes; a scale in f32 per row of a unit, whatever the blocks of the source were. In the word of two registers, byte
 * i % 2 + 2 h is half h of register i. */
template <> struct codec<GPU_F8_E4M3> {
    enum { RAW = 0, LUT = 0, DIRECT = 1, BLOCK = 128, BYTES = 128, GROUP = 32, LOW = 8, HIGH = 0, A = 4, B = 0 };
    DEV void scale(const uint8_t *a, const uint8_t *, int, float *s, float *m) { *s = *(const float *)a, *m = 0; }
    /* Two bytes, in the low halves of halves, as bf16: moved there, the exponent is 120 too small, which a product mends
     * exactly; it makes subnormal numbers normal, too. */
    DEV uint32_t pair(uint32_t bytes)
    {
        return dev_mul_bf16x2((bytes & 0x00800080u) << 8 | (bytes & 0x007f007fu) << 4, 0x7b807b80u);
    }
};

/* Sizes within a unit, and where things lie in it. */
template <int TYPE> struct packed : codec<TYPE> {
    using C = codec<TYPE>;
    enum {
        LOW_BYTES = WARP * 2 * C::LOW,   /* of 32 columns of a strip */
        HIGH_BYTES = WARP * 2 * C::HIGH,
        HIGH_AT = C::BLOCK / 32 * LOW_BYTES,
        A_PLACE = HIGH_AT + C::BLOCK / 32 * HIGH_BYTES,
        B_PLACE = A_PLACE + GPU_STRIP * C::A,
        UNIT = B_PLACE + GPU_STRIP * C::B,
    };
    DEV void row_scale(const uint8_t *unit, int row, int group, float *s, float *m)
    {
        C::scale(unit + A_PLACE + row * C::A, unit + B_PLACE + row * C::B, group, s, m);
    }
};

/* Weight (row, e) of a unit. */
template <int TYPE> DEV float packed_element(const uint8_t *unit, int row, int e)
{
    using P = packed<TYPE>;
    const int g = e / 32, half16 = e / 16 % 2, lane = row % 8 * 4 + e % 16 / 4, i = row / 8 + 2 * (e % 4 / 2), h = e % 2;
    if constexpr (TYPE == DT_BF16) {
        return dev_bf16_to_f32(((const uint16_t *)unit)[((half16 * WARP + lane) * 4 + i) * 2 + h]);
    } else {
        const uint8_t *low = unit + g * P::LOW_BYTES, *high = unit + P::HIGH_AT + g * P::HIGH_BYTES;
        uint32_t q;
        float s, m;
        if constexpr (P::LOW == 8)
            q = low[lane * 16 + half16 * 8 + i / 2 * 4 + i % 2 + 2 * h];
        else if constexpr (P::LUT)
            q = ((const uint32_t *)low)[lane * 2 + half16] >> (8 * i + 4 * h) & 15;
        else if constexpr (P::LOW == 4)
            q = ((const uint32_t *)low)[lane * 2 + half16] >> (4 * i + 16 * h) & 15;
        else
            q = ((const uint32_t *)low)[lane] >> (2 * i + 8 * half16 + 16 * h) & 3;
        if constexpr (P::HIGH == 1) q |= (((const uint16_t *)high)[lane] >> (i + 4 * half16 + 8 * h) & 1u) << P::LOW;
        if constexpr (P::HIGH == 2) q |= (((const uint32_t *)high)[lane] >> (2 * i + 8 * half16 + 16 * h) & 3) << P::LOW;
        if constexpr (P::HIGH == 4) q |= (((const uint32_t *)high)[lane * 2 + half16] >> (4 * i + 16 * h) & 15) << P::LOW;
        P::row_scale(unit, row, e / P::GROUP, &s, &m);
        if constexpr (P::LUT)
            return s * (float)P::value(q);
        else if constexpr (P::LOW == 8)
            return s * dev_bf16_to_f32(P::pair(q) & 0xffffu);
        else
            return s * (float)q + m;
    }
}

/* ---- raw types: v = the eight weights from column `at` on, a multiple of eight; n_in limits plain numbers ---- */

#define RAW_CODEC(block, bytes) enum { RAW = 1, BLOCK = block, BYTES = bytes }

DEV uint32_t even_signs(uint32_t seven) { return seven | (uint32_t)(__popc(seven) & 1) << 7; }
DEV void signed_values(float *v, const uint8_t *row, int n, uint32_t signs, float scale)
{
    for (int i = 0; i < n; i++) v[i] = scale * (float)(signs >> i & 1 ? -(int)row[i] : (int)row[i]);
}
DEV void shifted_values(float *v, const int8_t *row, float delta, float scale)
{
    for (int i = 0; i < 8; i++) v[i] = scale * ((float)row[i] + delta);
}

template <> struct codec<DT_F32> {
    RAW_CODEC(1, 4);
    DEV void eight(const uint8_t *row, int at, int n_in, float *v)
    {
        if (n_in % 8 == 0) { /* rows are aligned */
            const float4 a = *(const float4 *)(row + 4 * at), b = *(const float4 *)(row + 4 * at + 16);
            v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
            return;
        }
        for (int i = 0; i < 8; i++) v[i] = at + i < n_in ? ((const float *)row)[at + i] : 0;
    }
};
template <> struct codec<DT_F16> {
    RAW_CODEC(1, 2);
    DEV void eight(const uint8_t *row, int at, int n_in, float *v)
    {
        if (n_in % 8 == 0) {
            const uint4 a = *(const uint4 *)(row + 2 * at);
            const uint32_t w[4] = {a.x, a.y, a.z, a.w};
            for (int i = 0; i < 8; i++) v[i] = dev_f16_to_f32((uint16_t)(w[i / 2] >> 16 * (i % 2)));
            return;
        }
        for (int i = 0; i < 8; i++) v[i] = at + i < n_in ? half_at(row + 2 * (at + i)) : 0;
    }
};
template <> struct codec<DT_IQ2_XXS> {
    RAW_CODEC(256, 66);
    DEV void eight(const uint8_t *row, int at, int, float *v)
    {
        const uint8_t *b = row + at / 256 * BYTES, *q = b + 2 + at % 256 / 32 * 8;
        uint32_t word = load_u32(q + 4), g = (uint32_t)at / 8 % 4;
        float scale = load_f16(b) * (0.5f + (float)(word >> 28)) * 0.25f;
        signed_values(v, iq2_xxs_grid[q[g]], 8, even_signs(word >> 7 * g & 127), scale);
    }
};
template <> struct codec<DT_IQ2_XS> {
    RAW_CODEC(256, 74);
    DEV void eight(const uint8_t *row, int at, int, float *v)
    {
        const uint8_t *b = row + at / 256 * BYTES;
        int g = at / 8 % 32;
        uint32_t q = load_u16(b + 2 + 2 * g);
        float scale = load_f16(b) * (0.5f + (float)(b[66 + g / 4] >> 4 * (g / 2 % 2) & 15)) * 0.25f;
        signed_values(v, iq2_xs_grid[q & 511], 8, even_signs(q >> 9), scale);
    }
};
template <> struct codec<DT_IQ2_S> {
    RAW_CODEC(256, 82);
    DEV void eight(const uint8_t *row, int at, int, float *v)
    {
        const uint8_t *b = row + at / 256 * BYTES;
        int g = at / 8 % 32, index = b[2 + g] | (b[66 + g / 4] >> 2 * (g % 4) & 3) << 8;
        float scale = load_f16(b) * (0.5f + (float)(b[74 + g / 4] >> 4 * (g / 2 % 2) & 15)) * 0.25f;
        signed_values(v, iq2_s_grid[index], 8, b[34 + g], scale);
    }
};
template <> struct codec<DT_IQ3_XXS> {
    RAW_CODEC(256, 98);
    DEV void eight(const uint8_t *row, int at, int, float *v)
    {
        const uint8_t *b = row + at / 256 * BYTES;
        int g = at / 8 % 32;
        uint32_t word = load_u32(b + 66 + 4 * (g / 4)), signs = even_signs(word >> 7 * (g % 4) & 127);
        float scale = load_f16(b) * (0.5f + (float)(word >> 28)) * 0.5f;
        signed_values(v, iq3_xxs_grid[b[2 + 2 * g]], 4, signs, scale);
        signed_values(v + 4, iq3_xxs_grid[b[3 + 2 * g]], 4, signs >> 4, scale);
    }
};
template <> struct codec<DT_IQ3_S> {
    RAW_CODEC(256, 110);
    DEV void eight(const uint8_t *row, int at, int, float *v)
    {
        const uint8_t *b = row + at / 256 * BYTES;
        int g = at / 8 % 32, ib = g / 4;
        float scale = load_f16(b) * (float)(1 + 2 * (b[106 + ib / 2] >> 4 * (ib % 2) & 15));
        for (int t = 2 * g; t < 2 * g + 2; t++) {
            int index = b[2 + t] | (b[66 + ib] >> t % 8 & 1) << 8;
            signed_values(v + 4 * (t % 2), iq3_s_grid[index], 4, b[74 + g] >> 4 * (t % 2), scale);
        }
    }
};
template <> struct codec<DT_IQ1_S> {
    RAW_CODEC(256, 50);
    DEV void eight(const uint8_t *row, int at, int, float *v)
    {
        const uint8_t *b = row + at / 256 * BYTES;
        int g = at / 8 % 32;
        uint32_t qh = load_u16(b + 34 + 2 * (g / 4));
        float scale = load_f16(b) * (float)(2 * (qh >> 12 & 7) + 1);
        shifted_values(v, iq1_grid[b[2 + g] | (qh >> 3 * (g % 4) & 7) << 8], qh & 0x8000 ? -0.125f : 0.125f, scale);
    }
};
template <> struct codec<DT_IQ1_M> {
    RAW_CODEC(256, 56);
    DEV void eight(const uint8_t *row, int at, int, float *v)
    {
        const uint8_t *b = row + at / 256 * BYTES, *sc = b + 48;
        int g = at / 8 % 32, high = b[32 + g / 2] >> 4 * (g % 2);
        uint32_t d = load_u16(sc) >> 12 | (load_u16(sc + 2) >> 8 & 0x00f0) | (load_u16(sc + 4) >> 4 & 0x0f00) |
                     (load_u16(sc + 6) & 0xf000);
        int s = (int)(load_u16(sc + 2 * (g / 8)) >> (6 * (g / 4 % 2) + 3 * (g / 2 % 2)) & 7);
        float scale = dev_f16_to_f32((uint16_t)d) * (float)(2 * s + 1);
        shifted_values(v, iq1_grid[b[g] | (high & 7) << 8], high & 8 ? -0.125f : 0.125f, scale);
    }
};

/* Every type that can be a weight matrix. */
#define PACKED_TYPES(X)                                                                                                \
    X(DT_Q4_0) X(DT_Q4_1) X(DT_Q5_0) X(DT_Q5_1) X(DT_Q8_0) X(DT_Q2_K) X(DT_Q3_K) X(DT_Q4_K) X(DT_Q5_K) X(DT_Q6_K)      \
    X(DT_TQ2_0) X(DT_IQ4_NL) X(DT_IQ4_XS) X(DT_MXFP4) X(DT_BF16) X(GPU_F8_E4M3)
#define RAW_TYPES(X)                                                                                                   \
    X(DT_F32) X(DT_F16) X(DT_IQ1_S) X(DT_IQ1_M) X(DT_IQ2_XXS) X(DT_IQ2_XS) X(DT_IQ2_S) X(DT_IQ3_XXS) X(DT_IQ3_S)

#endif
