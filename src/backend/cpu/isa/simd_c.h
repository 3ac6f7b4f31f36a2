/* Vector primitives in plain C: eight lanes as loops that compilers vectorise. What isa/simd_*.h must define. */
#ifndef CORRAL_SIMD_H
#define CORRAL_SIMD_H

#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

typedef struct { float v[8]; } vf;   /* 8 floats */
typedef struct { int32_t v[8]; } vi; /* 8 integers */

#define LANES_DO(expr)                                                                                       \
    do {                                                                                                     \
        for (int i = 0; i < 8; i++) { expr; }                                                                \
    } while (0)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(CORRAL_SANITIZED)
#define SIMD static inline /* with checks in every loop, inlining all would take gcc half an hour */
#else
#define SIMD static inline __attribute__((always_inline))
#endif

SIMD vf vf_set(float a) { vf r; LANES_DO(r.v[i] = a); return r; }
SIMD vf vf_load(const float *p) { vf r; memcpy(&r, p, sizeof r); return r; }
SIMD void vf_store(float *p, vf a) { memcpy(p, &a, sizeof a); }
SIMD vf vf_add(vf a, vf b) { LANES_DO(a.v[i] += b.v[i]); return a; }
SIMD vf vf_sub(vf a, vf b) { LANES_DO(a.v[i] -= b.v[i]); return a; }
SIMD vf vf_mul(vf a, vf b) { LANES_DO(a.v[i] *= b.v[i]); return a; }
SIMD vf vf_div(vf a, vf b) { LANES_DO(a.v[i] /= b.v[i]); return a; }
SIMD vf vf_fma(vf a, vf b, vf c) { LANES_DO(c.v[i] += a.v[i] * b.v[i]); return c; } /* a b + c */
SIMD vf vf_max(vf a, vf b) { LANES_DO(a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i]); return a; }
SIMD vf vf_min(vf a, vf b) { LANES_DO(a.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i]); return a; }
SIMD vf vf_abs(vf a) { LANES_DO(a.v[i] = fabsf(a.v[i])); return a; }
SIMD vf vf_from_i(vi a) { vf r; LANES_DO(r.v[i] = (float)a.v[i]); return r; }
SIMD vf vf_from_i8(const int8_t *p) { vf r; LANES_DO(r.v[i] = (float)p[i]); return r; }
SIMD void vf_store_halves(uint16_t *p, vf a) { LANES_DO(p[i] = f32_to_f16(a.v[i])); }
SIMD vf vf_round_half(vf a) { LANES_DO(a.v[i] = f16_to_f32(f32_to_f16(a.v[i]))); return a; }
SIMD vf vf_select_ge(vf a, vf b, vf yes, vf no) { LANES_DO(no.v[i] = a.v[i] >= b.v[i] ? yes.v[i] : no.v[i]); return no; }
SIMD vi vi_set(int32_t a) { vi r; LANES_DO(r.v[i] = a); return r; }
SIMD vi vi_zero(void) { vi r; memset(&r, 0, sizeof r); return r; }
SIMD vi vi_round(vf a) { vi r; LANES_DO(r.v[i] = (int32_t)lrintf(a.v[i])); return r; } /* to nearest even */
SIMD vi vi_add(vi a, vi b) { LANES_DO(a.v[i] += b.v[i]); return a; }
/* 2^n for -126 <= n <= 127 */
SIMD vf vf_exp2_i(vi n) { vf r; LANES_DO(uint32_t u = (uint32_t)(n.v[i] + 127) << 23; memcpy(&r.v[i], &u, 4)); return r; }
/* Two vectors to 16 int16, saturated; of every four the middle ones change places. */
SIMD void vi_store_i16(int16_t *p, vi a, vi b)
{
    static const int to[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    LANES_DO(p[to[i]] = (int16_t)(a.v[i] > 32767 ? 32767 : a.v[i] < -32768 ? -32768 : a.v[i]));
    LANES_DO(p[8 + to[i]] = (int16_t)(b.v[i] > 32767 ? 32767 : b.v[i] < -32768 ? -32768 : b.v[i]));
}
/* Four vectors to 32 int8, saturated. */
SIMD void vi_store_i8(int8_t *p, vi a, vi b, vi c, vi d)
{
    const vi *part[4] = {&a, &b, &c, &d};
    for (int j = 0; j < 4; j++)
        LANES_DO(int32_t v = part[j]->v[i]; p[8 * j + i] = (int8_t)(v > 127 ? 127 : v < -128 ? -128 : v));
}
/* Sums in the order of vf_sum of every other instruction set: (0+4)+(2+6), (1+5)+(3+7). */
SIMD float vf_sum(vf a) { return ((a.v[0] + a.v[4]) + (a.v[2] + a.v[6])) + ((a.v[1] + a.v[5]) + (a.v[3] + a.v[7])); }
SIMD float vf_hmax(vf a)
{
    float m = a.v[0];
    for (int i = 1; i < 8; i++) m = a.v[i] > m ? a.v[i] : m;
    return m;
}
SIMD int32_t vi_sum(vi a)
{
    int32_t s = 0;
    LANES_DO(s += a.v[i]);
    return s;
}

#endif
