/* Vector primitives of matrix products for AVX-512 with VNNI; see wide_c.h for what each one means. */
#ifndef CORRAL_WIDE_H
#define CORRAL_WIDE_H

enum { W_LANES = 16, W_COLUMNS = 8, W_COLUMNS_FLOAT = 12 };
#define W_PRAGMA(text) _Pragma(#text)
#define W_UNROLL(n) W_PRAGMA(GCC unroll n)
#define W_DEPTH(d, quads) (quads)

typedef __m512  wf;
typedef __m512i wi;
typedef __m512i wt;
typedef __m512i wb;

SIMD wf wf_set(float a) { return _mm512_set1_ps(a); }
SIMD wf wf_load(const float *p) { return _mm512_loadu_ps(p); }
SIMD void wf_store(float *p, wf a) { _mm512_storeu_ps(p, a); }
SIMD wf wf_mul(wf a, wf b) { return _mm512_mul_ps(a, b); }
SIMD wf wf_fma(wf a, wf b, wf c) { return _mm512_fmadd_ps(a, b, c); }
SIMD wf wf_from_i(wi a) { return _mm512_cvtepi32_ps(a); }
SIMD wi wi_zero(void) { return _mm512_setzero_si512(); }
SIMD wi wi_set_shifted(const int32_t *a, int shift) { return _mm512_sll_epi32(_mm512_set1_epi32(*a), _mm_cvtsi32_si128(shift)); }
SIMD wi wi_four_bytes(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}
SIMD wi wi_madd(wi acc, const int16_t *w, const int16_t *x)
{
    return _mm512_dpwssd_epi32(acc, _mm512_loadu_si512(w), wi_four_bytes(x));
}
SIMD wb wb_load(const int8_t *p) { return _mm512_loadu_si512(p); }
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x) { return _mm512_dpbusd_epi32(acc, w, wi_four_bytes(x)); }
SIMD wt wt_product(wb w, const int8_t *x) { return wt_add_product(_mm512_setzero_si512(), w, x); }
SIMD wi wi_add_sums(wi acc, wt t) { return _mm512_add_epi32(acc, t); }
SIMD void wt_pin(wt *a) { __asm__ volatile("" : "+v"(*a)); }
SIMD void wi_pin(wi *a) { __asm__ volatile("" : "+v"(*a)); }

#endif
