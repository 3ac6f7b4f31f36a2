/* Vector primitives of matrix products for AVX2, and with AVX-VNNI where the compiler may use it; see wide_c.h for what
 * each one means. */
#ifndef CORRAL_WIDE_H
#define CORRAL_WIDE_H

enum { W_LANES = 8, W_COLUMNS = 4, W_COLUMNS_FLOAT = 6 };
#define W_PRAGMA(text) _Pragma(#text)
#define W_UNROLL(n) W_PRAGMA(GCC unroll n)

typedef vf wf;
typedef vi wi;
typedef vi wt;
typedef vi wb;

SIMD wf wf_set(float a) { return vf_set(a); }
SIMD wf wf_load(const float *p) { return vf_load(p); }
SIMD void wf_store(float *p, wf a) { vf_store(p, a); }
SIMD wf wf_mul(wf a, wf b) { return vf_mul(a, b); }
SIMD wf wf_fma(wf a, wf b, wf c) { return vf_fma(a, b, c); }
SIMD wf wf_from_i(wi a) { return vf_from_i(a); }
SIMD wi wi_zero(void) { return vi_zero(); }
SIMD wi wi_set_shifted(const int32_t *a, int shift) { return _mm256_slli_epi32(_mm256_set1_epi32(*a), shift); }
SIMD wi wi_four_bytes(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}
SIMD wb wb_load(const int8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
/* Keeps gcc from hoisting all products of a block and spilling them (CPU.md section 6.4). */
SIMD void wt_pin(wt *a) { __asm__ volatile("" : "+x"(*a)); }
SIMD void wi_pin(wi *a) { __asm__ volatile("" : "+x"(*a)); }

#ifdef __AVXVNNI__
#define W_DEPTH(d, quads) (quads)
SIMD wi wi_madd(wi acc, const int16_t *w, const int16_t *x)
{
    return _mm256_dpwssd_avx_epi32(acc, _mm256_loadu_si256((const __m256i *)(const void *)w), wi_four_bytes(x));
}
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x) { return _mm256_dpbusd_avx_epi32(acc, w, wi_four_bytes(x)); }
SIMD wt wt_product(wb w, const int8_t *x) { return wt_add_product(vi_zero(), w, x); }
SIMD wi wi_add_sums(wi acc, wt t) { return vi_add(acc, t); }
#else
#define W_DEPTH(d, quads) (d)
SIMD wi wi_madd(wi acc, const int16_t *w, const int16_t *x)
{
    return vi_add(acc, _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(const void *)w), wi_four_bytes(x)));
}
/* Sixteen sums of 16 bits: two for each row. */
SIMD wt wt_product(wb w, const int8_t *x) { return _mm256_maddubs_epi16(w, wi_four_bytes(x)); }
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x) { return _mm256_add_epi16(acc, wt_product(w, x)); }
SIMD wi wi_add_sums(wi acc, wt t) { return vi_add(acc, _mm256_madd_epi16(t, _mm256_set1_epi16(1))); }
#endif

#endif
