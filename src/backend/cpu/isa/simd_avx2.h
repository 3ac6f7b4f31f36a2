/* Vector primitives for AVX2 + FMA + F16C; see simd_c.h for what each one means. */
#ifndef CORRAL_SIMD_H
#define CORRAL_SIMD_H

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

typedef __m256  vf;
typedef __m256i vi;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(CORRAL_SANITIZED)
#define SIMD static inline /* with checks in every loop, inlining all would take gcc half an hour */
#else
#define SIMD static inline __attribute__((always_inline))
#endif

SIMD vf vf_set(float a) { return _mm256_set1_ps(a); }
SIMD vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
SIMD void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
SIMD vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
SIMD vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
SIMD vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
SIMD vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
SIMD vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
SIMD vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
SIMD vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
SIMD vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
SIMD vf vf_from_i(vi a) { return _mm256_cvtepi32_ps(a); }
SIMD vf vf_from_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
SIMD void vf_store_halves(uint16_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
SIMD vf vf_round_half(vf a) { return _mm256_cvtph_ps(_mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)); }
SIMD vf vf_select_ge(vf a, vf b, vf yes, vf no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GE_OQ)); }
SIMD vi vi_set(int32_t a) { return _mm256_set1_epi32(a); }
SIMD vi vi_zero(void) { return _mm256_setzero_si256(); }
SIMD vi vi_round(vf a) { return _mm256_cvtps_epi32(a); }
SIMD vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
SIMD vf vf_exp2_i(vi n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
SIMD void vi_store_i16(int16_t *p, vi a, vi b)
{
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8);
    packed = _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(packed, 0xD8), 0xD8);
    _mm256_storeu_si256((__m256i *)(void *)p, packed);
}
SIMD void vi_store_i8(int8_t *p, vi a, vi b, vi c, vi d)
{
    __m256i lo = _mm256_packs_epi32(a, b), hi = _mm256_packs_epi32(c, d);
    __m256i packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)p, packed);
}
SIMD float vf_sum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)); /* i + (i+4) */
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));                                        /* + (i+2) */
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
SIMD float vf_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
SIMD int32_t vi_sum(vi a)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

/* Entries n[0], n[1], n[4] and n[5] of a table of eight bytes each; n[0] to n[7] of one of four. */
SIMD __m256 four_eights(const double *table, const uint32_t *n)
{
    const __m128d low = _mm_loadh_pd(_mm_load_sd(table + n[0]), table + n[1]);
    const __m128d high = _mm_loadh_pd(_mm_load_sd(table + n[4]), table + n[5]);
    return _mm256_castpd_ps(_mm256_insertf128_pd(_mm256_castpd128_pd256(low), high, 1));
}
SIMD __m256i eight_fours(const int32_t *table, const uint32_t *n)
{
    return _mm256_setr_epi32(table[n[0]], table[n[1]], table[n[2]], table[n[3]], table[n[4]], table[n[5]], table[n[6]],
                             table[n[7]]);
}

#endif
