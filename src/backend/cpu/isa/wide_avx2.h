/* Vector primitives of matrix products for AVX2, and with AVX-VNNI where the compiler may use it; see wide_c.h for what
 * each one means. */
#ifndef CORRAL_WIDE_H
#define CORRAL_WIDE_H

enum { W_LANES = 8, W_COLUMNS = 4, W_FLOAT_ROWS = 3, W_FLOAT_COLUMNS = 4, W_TILE_ROWS = 6, W_TILE_VECTORS = 2 };
#define W_PRAGMA(text) _Pragma(#text)
#define W_UNROLL(n) W_PRAGMA(GCC unroll n)
#define W_DIRECT 4
#define W_DIRECT_TILES 1
#define W_SIGNED 0

typedef vf wf;
typedef vi wi;
typedef vi wt;
typedef vi wp;
typedef uint8_t wb __attribute__((vector_size(4 * W_LANES)));
typedef uint32_t ww __attribute__((vector_size(4 * W_LANES)));

#include "backend/cpu/isa/wide_narrow.h"

SIMD void wf_add_sums(float *y, const wf f[W_FLOAT_ROWS], bool first)
{
    const __m256 v = _mm256_hadd_ps(_mm256_hadd_ps(f[0], f[1]), _mm256_hadd_ps(f[2], f[2]));
    __m128 sums = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m64 *two = (__m64 *)(void *)y; /* and one: stores of some lanes are slow on AMD's processors */
    if (!first) sums = _mm_add_ps(_mm_movelh_ps(_mm_loadl_pi(_mm_setzero_ps(), two), _mm_load_ss(y + 2)), sums);
    _mm_storel_pi(two, sums);
    _mm_store_ss(y + 2, _mm_movehl_ps(sums, sums));
}

SIMD wi wi_set_shifted(const int32_t *a, int shift) { return _mm256_slli_epi32(_mm256_set1_epi32(*a), shift); }
SIMD wi wi_four_bytes(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}
SIMD wb wb_load(const void *p) { return (wb)_mm256_loadu_si256((const __m256i *)p); }
SIMD void wb_store(void *p, wb a) { _mm256_storeu_si256((__m256i *)p, (__m256i)a); }
SIMD wp wp_load(const int16_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
SIMD void wp_store(int16_t *p, wp a) { _mm256_storeu_si256((__m256i *)(void *)p, a); }
SIMD void wp_from_bytes(wp out[2], wb q)
{
    out[0] = _mm256_srai_epi16(_mm256_slli_epi16((__m256i)q, 8), 8);
    out[1] = _mm256_srai_epi16((__m256i)q, 8);
}
/* Keeps gcc from hoisting all products of a block and spilling them (CPU.md section 6.4). */
SIMD void wt_pin(wt *a) { __asm__ volatile("" : "+x"(*a)); }
SIMD void wi_pin(wi *a) { __asm__ volatile("" : "+x"(*a)); }

#ifdef __AVXVNNI__
#define W_DIRECT_PAIRS 4
#define W_DEPTH(d, quads) (quads)
#define W_ZERO_8 128
#define W_DEPTH_8 1
#define W_HALVES(MINIMA) (!(MINIMA))
#define W_HALF_COLUMNS W_COLUMNS
SIMD wi wi_madd(wi acc, wp w, const int16_t *x) { return _mm256_dpwssd_avx_epi32(acc, w, wi_four_bytes(x)); }
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x)
{
    return _mm256_dpbusd_avx_epi32(acc, (__m256i)w, wi_four_bytes(x));
}
SIMD wt wt_product(wb w, const int8_t *x) { return wt_add_product(vi_zero(), w, x); }
SIMD wi wi_add_sums(wi acc, wt t) { return vi_add(acc, t); }
#else
#define W_DIRECT_PAIRS 2
#define W_DEPTH(d, quads) (d)
#define W_ZERO_8 0
#define W_DEPTH_8 0
SIMD wi wi_madd(wi acc, wp w, const int16_t *x) { return vi_add(acc, _mm256_madd_epi16(w, wi_four_bytes(x))); }
/* Sixteen sums of 16 bits: two for each row. */
SIMD wt wt_product(wb w, const int8_t *x) { return _mm256_maddubs_epi16((__m256i)w, wi_four_bytes(x)); }
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x) { return _mm256_add_epi16(acc, wt_product(w, x)); }
SIMD wi wi_add_sums(wi acc, wt t) { return vi_add(acc, _mm256_madd_epi16(t, _mm256_set1_epi16(1))); }

/* scaled.h. A row's two sums times its scale; two numbers of 16 bits, times 2^shift, added to all rows' sums; in the place
 * of those. */
#define W_SCALED
SIMD wi wt_scaled(wt t, wp s) { return _mm256_madd_epi16(t, s); }
SIMD wt wt_add_shifted(wt t, const int32_t *two, int shift)
{
    return _mm256_add_epi16(t, _mm256_slli_epi16(_mm256_set1_epi32(*two), shift));
}
SIMD wi wt_scaled_shifted(const int32_t *two, int shift, wp s)
{
    return _mm256_slli_epi32(wt_scaled(_mm256_set1_epi32(*two), s), shift);
}
/* Two such numbers: minus what lanes 0, 1, 4 and 5 have, and minus what the others have. */
SIMD int32_t vi_minus_lanes(vi a)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_sub_epi32(_mm_setzero_si128(), _mm_hadd_epi32(s, s));
    return _mm_cvtsi128_si32(_mm_packs_epi32(s, s));
}
/* Byte i of each row, signed, twice. */
SIMD wp wp_twice(wb a, int byte)
{
    const __m256i from = _mm256_add_epi32(_mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x04000400, 0x08000800, 0x0C000C00)),
                                          _mm256_set1_epi32(0x01000100 * byte));
    return _mm256_srai_epi16(_mm256_shuffle_epi8((__m256i)a, from), 8);
}
#endif

struct rows { const uint8_t *at; size_t stride; };
SIMD __m128i sixteen_bytes(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
/* A 4 x 4 transposition of words in each half: row i in the low one, row i + 4 in the high one. */
SIMD void wb_rows(wb out[4], struct rows b, size_t offset)
{
    const uint8_t *p = b.at + offset;
    __m256i v[4], t[4];
    __asm__("" : "+r"(p)); /* gcc would keep an address for each row, more than it has registers for */
    W_UNROLL(4)
    for (size_t i = 0; i < 4; i++, p += b.stride)
        v[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(sixteen_bytes(p)), sixteen_bytes(p + 4 * b.stride), 1);
    t[0] = _mm256_unpacklo_epi32(v[0], v[1]);
    t[1] = _mm256_unpackhi_epi32(v[0], v[1]);
    t[2] = _mm256_unpacklo_epi32(v[2], v[3]);
    t[3] = _mm256_unpackhi_epi32(v[2], v[3]);
    out[0] = (wb)_mm256_unpacklo_epi64(t[0], t[2]);
    out[1] = (wb)_mm256_unpackhi_epi64(t[0], t[2]);
    out[2] = (wb)_mm256_unpacklo_epi64(t[1], t[3]);
    out[3] = (wb)_mm256_unpackhi_epi64(t[1], t[3]);
}
SIMD void wb_lines(wb out[16], struct rows b)
{
    W_UNROLL(4)
    for (size_t q = 0; q < 4; q++) wb_rows(out + 4 * q, b, 16 * q);
}
SIMD wf wf_load_bf16(const uint16_t *p)
{
    return (wf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)), 16);
}
SIMD wf wf_load_halves(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
SIMD wf wf_halves(ww a, int second)
{
    const __m256i apart = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    __m256i v = _mm256_permute4x64_epi64(_mm256_shuffle_epi8((__m256i)a, apart), 0xD8);
    return _mm256_cvtph_ps(second ? _mm256_extracti128_si256(v, 1) : _mm256_castsi256_si128(v));
}
SIMD wf wf_bytes(wb a, int byte)
{
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32((__m256i)a, 24 - 8 * byte), 24));
}
SIMD wf wf_words(ww a) { return (wf)a; }
SIMD wb wb_bits(ww a, int n, int value)
{
    const char b = (char)(n / 8), s = (char)(n % 8);
    const __m256i from = _mm256_setr_epi8(b, b, b, b, b + 4, b + 4, b + 4, b + 4, b + 8, b + 8, b + 8, b + 8, b + 12, b + 12,
                                          b + 12, b + 12, b, b, b, b, b + 4, b + 4, b + 4, b + 4, b + 8, b + 8, b + 8, b + 8,
                                          b + 12, b + 12, b + 12, b + 12);
    const __m256i bit = _mm256_set1_epi32(s ? (int)0x80402010 : 0x08040201);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8((__m256i)a, from), bit);
    return (wb)_mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8((char)value));
}
SIMD wb wb_lookup(const int8_t values[16], int zero, wb index)
{
    __m128i two = _mm_add_epi8(sixteen_bytes((const uint8_t *)values), _mm_set1_epi8((char)zero));
    __m256i table = _mm256_broadcastsi128_si256(two);
    return (wb)_mm256_shuffle_epi8(table, (__m256i)index);
}
SIMD void wb_eights(wb out[2], const void *table, const uint32_t n[W_LANES])
{
    const __m256 a = four_eights(table, n), b = four_eights(table, n + 2);
    out[0] = (wb)_mm256_shuffle_ps(a, b, 0x88);
    out[1] = (wb)_mm256_shuffle_ps(a, b, 0xDD);
}
SIMD wb wb_fours(const void *table, const uint32_t n[W_LANES])
{
    return (wb)eight_fours(table, n);
}
/* Bytes in the upper halves of 16 bits, where products keep what a byte keeps of them. */
SIMD wb wb_digits(wb a, int power)
{
    const __m256i p = _mm256_set1_epi16((short)power), three = _mm256_set1_epi16(3);
    const __m256i upper = _mm256_set1_epi16((short)0xFF00);
    const __m256i even = _mm256_slli_epi16((__m256i)a, 8), odd = _mm256_and_si256((__m256i)a, upper);
    return (wb)_mm256_or_si256(_mm256_mulhi_epu16(_mm256_mullo_epi16(even, p), three),
                               _mm256_slli_epi16(_mm256_mulhi_epu16(_mm256_mullo_epi16(odd, p), three), 8));
}

#endif
