/* Vector primitives of matrix products for AVX-512 with VNNI; see wide_c.h for what each one means. */
#ifndef CORRAL_WIDE_H
#define CORRAL_WIDE_H

#ifdef __AMX_INT8__
enum { W_COLUMNS = 8 }; /* their sums are in tiles */
#else
enum { W_COLUMNS = 6 };
#endif
enum { W_LANES = 16, W_FLOAT_ROWS = 4, W_FLOAT_COLUMNS = 6, W_TILE_ROWS = 6, W_TILE_VECTORS = 4 };
#define W_PRAGMA(text) _Pragma(#text)
#define W_UNROLL(n) W_PRAGMA(GCC unroll n)
#define W_DIRECT 8
#define W_DIRECT_PAIRS 8
#define W_DIRECT_TILES 0
#define W_SIGNED 0
#define W_ZERO_8 128
#define W_DEPTH_8 1
#define W_HALVES(MINIMA) 1
#define W_HALF_COLUMNS 4
#define W_DEPTH(d, quads) (quads)

typedef __m512  wf;
typedef __m512i wi;
typedef __m512i wt;
typedef __m512i wp;
typedef uint8_t wb __attribute__((vector_size(4 * W_LANES)));
typedef uint32_t ww __attribute__((vector_size(4 * W_LANES)));

SIMD wf wf_set(float a) { return _mm512_set1_ps(a); }
SIMD wf wf_load(const float *p) { return _mm512_loadu_ps(p); }
SIMD void wf_store(float *p, wf a) { _mm512_storeu_ps(p, a); }
SIMD wf wf_mul(wf a, wf b) { return _mm512_mul_ps(a, b); }
SIMD wf wf_fma(wf a, wf b, wf c) { return _mm512_fmadd_ps(a, b, c); }
SIMD wf wf_from_i(wi a) { return _mm512_cvtepi32_ps(a); }
SIMD wf wf_add(wf a, wf b) { return _mm512_add_ps(a, b); }
SIMD wf wf_sub(wf a, wf b) { return _mm512_sub_ps(a, b); }
SIMD wf wf_max(wf a, wf b) { return _mm512_max_ps(a, b); }
SIMD wf wf_min(wf a, wf b) { return _mm512_min_ps(a, b); }
SIMD wf wf_div(wf a, wf b) { return _mm512_div_ps(a, b); }
SIMD wf wf_round_half(wf a) { return _mm512_cvtph_ps(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)); }
SIMD wf wf_select_ge(wf a, wf b, wf yes, wf no) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), no, yes); }
SIMD wf wf_exp2_i(wi n)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}
SIMD float wf_sum(wf a) { return vf_sum(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1))); }
SIMD void wf_add_sums(float *y, const wf f[W_FLOAT_ROWS], bool first)
{
    const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(f[0], f[1]), _mm512_unpackhi_ps(f[0], f[1]));
    const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(f[2], f[3]), _mm512_unpackhi_ps(f[2], f[3]));
    const __m512 v = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 sums = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    _mm_storeu_ps(y, first ? sums : _mm_add_ps(_mm_loadu_ps(y), sums));
}
SIMD float wf_hmax(wf a) { return vf_hmax(_mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1))); }
SIMD wi wi_round(wf a) { return _mm512_cvtps_epi32(a); }
SIMD wi wi_zero(void) { return _mm512_setzero_si512(); }
/* Not by _mm512_sll_epi32, whose shift in a register costs as much as a product. */
SIMD wi wi_set_shifted(const int32_t *a, int shift) { return (wi)((ww)_mm512_set1_epi32(*a) << shift); }
SIMD wi wi_four_bytes(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}
SIMD wp wp_load(const int16_t *p) { return _mm512_loadu_si512(p); }
SIMD void wp_store(int16_t *p, wp a) { _mm512_storeu_si512(p, a); }
SIMD void wp_from_bytes(wp out[2], wb q)
{
    out[0] = _mm512_srai_epi16(_mm512_slli_epi16((__m512i)q, 8), 8);
    out[1] = _mm512_srai_epi16((__m512i)q, 8);
}
SIMD wi wi_madd(wi acc, wp w, const int16_t *x) { return _mm512_dpwssd_epi32(acc, w, wi_four_bytes(x)); }
SIMD wb wb_load(const void *p) { return (wb)_mm512_loadu_si512(p); }
SIMD void wb_store(void *p, wb a) { _mm512_storeu_si512(p, (__m512i)a); }
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x) { return _mm512_dpbusd_epi32(acc, (__m512i)w, wi_four_bytes(x)); }
SIMD wt wt_product(wb w, const int8_t *x) { return wt_add_product(_mm512_setzero_si512(), w, x); }
SIMD wi wi_add_sums(wi acc, wt t) { return _mm512_add_epi32(acc, t); }
SIMD void wt_pin(wt *a) { __asm__ volatile("" : "+v"(*a)); }
SIMD void wi_pin(wi *a) { __asm__ volatile("" : "+v"(*a)); }

struct rows { const uint8_t *at; size_t stride; };
SIMD __m128i sixteen_bytes(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }
/* Sixteen bytes of four rows, each step rows from the last, in a vector's quarters. */
SIMD __m512i quarters(const uint8_t *p, size_t step)
{
    __m512i v = _mm512_castsi128_si512(sixteen_bytes(p));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, sixteen_bytes(p + step));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, sixteen_bytes(p + 2 * step));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, sixteen_bytes(p + 3 * step));
}
/* A 4 x 4 transposition of words in each quarter. */
SIMD void turn_quarters(wb out[4], const __m512i v[4])
{
    __m512i t[4] = {_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]),
                    _mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3])};
    out[0] = (wb)_mm512_unpacklo_epi64(t[0], t[2]);
    out[1] = (wb)_mm512_unpackhi_epi64(t[0], t[2]);
    out[2] = (wb)_mm512_unpacklo_epi64(t[1], t[3]);
    out[3] = (wb)_mm512_unpackhi_epi64(t[1], t[3]);
}
SIMD void wb_rows(wb out[4], struct rows b, size_t offset)
{
    const uint8_t *p = b.at + offset;
    __m512i v[4];
    __asm__("" : "+r"(p)); /* gcc would keep an address for each row, more than it has registers for */
    W_UNROLL(4)
    for (size_t i = 0; i < 4; i++, p += b.stride) v[i] = quarters(p, 4 * b.stride);
    turn_quarters(out, v);
}
SIMD void wb_lines(wb out[16], struct rows b)
{
    const uint8_t *p = b.at;
    __m512i v[4][4];
    __asm__("" : "+r"(p));
    W_UNROLL(4)
    for (size_t i = 0; i < 4; i++, p += b.stride) {
        W_UNROLL(4)
        for (size_t q = 0; q < 4; q++) v[q][i] = quarters(p + 16 * q, 4 * b.stride);
    }
    W_UNROLL(4)
    for (size_t q = 0; q < 4; q++) turn_quarters(out + 4 * q, v[q]);
}
SIMD wf wf_load_bf16(const uint16_t *p)
{
    return (wf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p)), 16);
}
SIMD wf wf_load_bytes(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
SIMD wf wf_load_halves(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }
SIMD wf wf_halves(ww a, int second)
{
    static const uint16_t apart[32] __attribute__((aligned(64))) = {0, 2,  4,  6,  8,  10, 12, 14, 16, 18, 20,
                                                                    22, 24, 26, 28, 30, 1,  3,  5,  7,  9,  11,
                                                                    13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
    __m512i v = _mm512_permutexvar_epi16(_mm512_load_si512(apart), (__m512i)a);
    return _mm512_cvtph_ps(second ? _mm512_extracti64x4_epi64(v, 1) : _mm512_castsi512_si256(v));
}
SIMD wf wf_bytes(wb a, int byte)
{
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32((__m512i)a, (unsigned)(24 - 8 * byte)), 24));
}
SIMD wf wf_words(ww a) { return (wf)a; }
SIMD wb wb_bits(ww a, int n, int value)
{
    const int b = n / 8;
    const __m512i from = _mm512_broadcast_i32x4(_mm_setr_epi32(0x01010101 * b, 0x01010101 * (b + 4), 0x01010101 * (b + 8),
                                                               0x01010101 * (b + 12)));
    const __m512i bit = _mm512_set1_epi32(n % 8 ? (int)0x80402010 : 0x08040201);
    return (wb)_mm512_maskz_mov_epi8(_mm512_test_epi8_mask(_mm512_shuffle_epi8((__m512i)a, from), bit),
                                     _mm512_set1_epi8((char)value));
}
SIMD wb wb_lookup(const int8_t values[16], int zero, wb index)
{
    __m128i four = _mm_add_epi8(sixteen_bytes((const uint8_t *)values), _mm_set1_epi8((char)zero));
    __m512i table = _mm512_broadcast_i32x4(four);
    return (wb)_mm512_shuffle_epi8(table, (__m512i)index);
}
SIMD void wb_eights(wb out[2], const void *table, const uint32_t n[W_LANES])
{
    const __m512 a = _mm512_insertf32x8(_mm512_castps256_ps512(four_eights(table, n)), four_eights(table, n + 8), 1);
    const __m512 b = _mm512_insertf32x8(_mm512_castps256_ps512(four_eights(table, n + 2)), four_eights(table, n + 10), 1);
    out[0] = (wb)_mm512_shuffle_ps(a, b, 0x88);
    out[1] = (wb)_mm512_shuffle_ps(a, b, 0xDD);
}
SIMD wb wb_fours(const void *table, const uint32_t n[W_LANES])
{
    return (wb)_mm512_inserti64x4(_mm512_castsi256_si512(eight_fours(table, n)), eight_fours(table, n + 8), 1);
}
SIMD wb wb_digits(wb a, int power)
{
    const __m512i p = _mm512_set1_epi16((short)power), three = _mm512_set1_epi16(3);
    const __m512i upper = _mm512_set1_epi16((short)0xFF00);
    const __m512i even = _mm512_slli_epi16((__m512i)a, 8), odd = _mm512_and_si512((__m512i)a, upper);
    return (wb)_mm512_or_si512(_mm512_mulhi_epu16(_mm512_mullo_epi16(even, p), three),
                               _mm512_slli_epi16(_mm512_mulhi_epu16(_mm512_mullo_epi16(odd, p), three), 8));
}

#endif
