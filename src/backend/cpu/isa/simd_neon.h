/* Vector primitives for AArch64's NEON, eight lanes in two registers; see simd_c.h for what each one means. */
#ifndef CORRAL_SIMD_H
#define CORRAL_SIMD_H

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "tensor/dtype.h"

typedef struct { float32x4_t v[2]; } vf;
typedef struct { int32x4_t v[2]; } vi;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(CORRAL_SANITIZED)
#define SIMD static inline /* with checks in every loop, inlining all would take gcc half an hour */
#else
#define SIMD static inline __attribute__((always_inline))
#endif

SIMD vf vf_set(float a) { return (vf){{vdupq_n_f32(a), vdupq_n_f32(a)}}; }
SIMD vf vf_load(const float *p) { return (vf){{vld1q_f32(p), vld1q_f32(p + 4)}}; }
SIMD void vf_store(float *p, vf a)
{
    vst1q_f32(p, a.v[0]);
    vst1q_f32(p + 4, a.v[1]);
}
SIMD vf vf_mul(vf a, vf b) { return (vf){{vmulq_f32(a.v[0], b.v[0]), vmulq_f32(a.v[1], b.v[1])}}; }
SIMD vf vf_max(vf a, vf b) { return (vf){{vmaxq_f32(a.v[0], b.v[0]), vmaxq_f32(a.v[1], b.v[1])}}; }
SIMD vf vf_abs(vf a) { return (vf){{vabsq_f32(a.v[0]), vabsq_f32(a.v[1])}}; }
SIMD vf vf_from_i8(const int8_t *p)
{
    const int16x8_t v = vmovl_s8(vld1_s8(p));
    return (vf){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_high_s16(v))}};
}
SIMD void vf_store_halves(uint16_t *p, vf a)
{
    vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(a.v[0]), a.v[1])));
}
SIMD vi vi_round(vf a) { return (vi){{vcvtnq_s32_f32(a.v[0]), vcvtnq_s32_f32(a.v[1])}}; }
SIMD vi vi_add(vi a, vi b) { return (vi){{vaddq_s32(a.v[0], b.v[0]), vaddq_s32(a.v[1], b.v[1])}}; }
SIMD int16x8_t vi_narrow(vi a) { return vqmovn_high_s32(vqmovn_s32(a.v[0]), a.v[1]); }
SIMD void vi_store_i16(int16_t *p, vi a, vi b)
{
    const uint8x16_t middle = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};
    vst1q_s16(p, vreinterpretq_s16_s8(vqtbl1q_s8(vreinterpretq_s8_s16(vi_narrow(a)), middle)));
    vst1q_s16(p + 8, vreinterpretq_s16_s8(vqtbl1q_s8(vreinterpretq_s8_s16(vi_narrow(b)), middle)));
}
SIMD void vi_store_i8(int8_t *p, vi a, vi b, vi c, vi d)
{
    vst1q_s8(p, vqmovn_high_s16(vqmovn_s16(vi_narrow(a)), vi_narrow(b)));
    vst1q_s8(p + 16, vqmovn_high_s16(vqmovn_s16(vi_narrow(c)), vi_narrow(d)));
}
SIMD float vf_hmax(vf a) { return vmaxvq_f32(vmaxq_f32(a.v[0], a.v[1])); }
SIMD int32_t vi_sum(vi a) { return vaddvq_s32(vaddq_s32(a.v[0], a.v[1])); }

/* Transpose a 4 x 4 matrix of 32-bit lanes. */
SIMD void transpose_lanes(uint32x4_t out[4], const uint32x4_t in[4])
{
    uint64x2_t t[4];
    for (int i = 0; i < 4; i += 2) {
        t[i] = vreinterpretq_u64_u32(vtrn1q_u32(in[i], in[i + 1]));
        t[i + 1] = vreinterpretq_u64_u32(vtrn2q_u32(in[i], in[i + 1]));
    }
    for (int i = 0; i < 2; i++) {
        out[i] = vreinterpretq_u32_u64(vtrn1q_u64(t[i], t[i + 2]));
        out[i + 2] = vreinterpretq_u32_u64(vtrn2q_u64(t[i], t[i + 2]));
    }
}

#endif
