/* Vector primitives of matrix products for AArch64's NEON, with its dot products and its matrix products where
 * the compiler may use them; see wide_c.h for what each one means. Bytes of up to 7 bits are as good signed as unsigned. */
#ifndef CORRAL_WIDE_H
#define CORRAL_WIDE_H

enum { W_LANES = 4, W_FLOAT_ROWS = 4, W_FLOAT_COLUMNS = 6, W_TILE_ROWS = 6, W_TILE_VECTORS = 4 };
#define W_PRAGMA(text) _Pragma(#text)
#define W_UNROLL(n) W_PRAGMA(GCC unroll n)
#define W_DIRECT 4
#define W_DIRECT_PAIRS 4
#define W_DIRECT_TILES 0

typedef float32x4_t wf;
typedef int32x4_t wi;
typedef int16x8_t wp; /* the first of four rows, then the second */
typedef uint8_t wb __attribute__((vector_size(4 * W_LANES)));
typedef uint32_t ww __attribute__((vector_size(4 * W_LANES)));

SIMD wf wf_set(float a) { return vdupq_n_f32(a); }
SIMD wf wf_load(const float *p) { return vld1q_f32(p); }
SIMD void wf_store(float *p, wf a) { vst1q_f32(p, a); }
SIMD wf wf_mul(wf a, wf b) { return vmulq_f32(a, b); }
SIMD wf wf_fma(wf a, wf b, wf c) { return vfmaq_f32(c, a, b); }
SIMD wf wf_from_i(wi a) { return vcvtq_f32_s32(a); }
SIMD wf wf_add(wf a, wf b) { return vaddq_f32(a, b); }
SIMD wf wf_sub(wf a, wf b) { return vsubq_f32(a, b); }
SIMD wf wf_max(wf a, wf b) { return vmaxq_f32(a, b); }
SIMD wf wf_min(wf a, wf b) { return vminq_f32(a, b); }
SIMD wf wf_div(wf a, wf b) { return vdivq_f32(a, b); }
SIMD wf wf_round_half(wf a) { return vcvt_f32_f16(vcvt_f16_f32(a)); }
SIMD wf wf_select_ge(wf a, wf b, wf yes, wf no) { return vbslq_f32(vcgeq_f32(a, b), yes, no); }
SIMD wf wf_exp2_i(wi n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
SIMD float wf_sum(wf a) { return vaddvq_f32(a); } /* (0+1)+(2+3) */
SIMD void wf_add_sums(float *y, const wf f[W_FLOAT_ROWS], bool first)
{
    const wf sums = vpaddq_f32(vpaddq_f32(f[0], f[1]), vpaddq_f32(f[2], f[3]));
    vst1q_f32(y, first ? sums : vaddq_f32(vld1q_f32(y), sums));
}
SIMD float wf_hmax(wf a) { return vmaxvq_f32(a); }
SIMD wi wi_round(wf a) { return vcvtnq_s32_f32(a); }
SIMD wi wi_zero(void) { return vdupq_n_s32(0); }
SIMD wi wi_set_shifted(const int32_t *a, int shift) { return vld1q_dup_s32(a) << shift; }
/* An address of its own lets gcc load and repeat in one instruction. */
SIMD const int32_t *four_bytes(const void *p)
{
    __asm__("" : "+r"(p));
    return p;
}
SIMD int8x16_t wb_repeat(const int8_t *p) { return vreinterpretq_s8_s32(vld1q_dup_s32(four_bytes(p))); }
SIMD wb wb_load(const void *p) { return vld1q_u8(p); }
SIMD void wb_store(void *p, wb a) { vst1q_u8(p, a); }
SIMD wp wp_load(const int16_t *p) { return vld1q_s16(p); }
SIMD void wp_store(int16_t *p, wp a) { vst1q_s16(p, a); }
SIMD void wp_from_bytes(wp out[2], wb q)
{
    const uint8x16_t apart = {0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15};
    const int8x16_t v = vqtbl1q_s8(vreinterpretq_s8_u8(q), apart);
    out[0] = vmovl_s8(vget_low_s8(v));
    out[1] = vmovl_high_s8(v);
}
SIMD wi wi_madd(wi acc, wp w, const int16_t *x)
{
    const int16x4_t two = vreinterpret_s16_s32(vld1_dup_s32(four_bytes(x)));
    return vmlal_high_lane_s16(vmlal_lane_s16(acc, vget_low_s16(w), two, 0), w, two, 1);
}
/* Keeps gcc from hoisting all products of a block and spilling them (CPU.md section 6.4). */
SIMD void wi_pin(wi *a) { __asm__ volatile("" : "+w"(*a)); }

#ifdef __ARM_FEATURE_DOTPROD
enum { W_COLUMNS = 4 };
#define W_SIGNED 1
#define W_ZERO_8 0
#define W_DEPTH_8 1
#define W_DEPTH(d, quads) (quads)
typedef wi wt;
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x) { return vdotq_s32(acc, vreinterpretq_s8_u8(w), wb_repeat(x)); }
SIMD wt wt_product(wb w, const int8_t *x) { return wt_add_product(wi_zero(), w, x); }
SIMD wi wi_add_sums(wi acc, wt t) { return vaddq_s32(acc, t); }
SIMD void wt_pin(wt *a) { wi_pin(a); }
#else
enum { W_COLUMNS = 2 };
#define W_SIGNED 0
#define W_ZERO_8 0
#define W_DEPTH_8 0
#define W_DEPTH(d, quads) (d)
/* Sixteen sums of 16 bits: the four of a row's quad, two rows to a register. */
typedef struct { int16x8_t v[2]; } wt;
SIMD wt wt_product(wb w, const int8_t *x)
{
    const int8x16_t s = vreinterpretq_s8_u8(w), four = wb_repeat(x);
    return (wt){{vmull_s8(vget_low_s8(s), vget_low_s8(four)), vmull_high_s8(s, four)}};
}
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x)
{
    const int8x16_t s = vreinterpretq_s8_u8(w), four = wb_repeat(x);
    return (wt){{vmlal_s8(acc.v[0], vget_low_s8(s), vget_low_s8(four)), vmlal_high_s8(acc.v[1], s, four)}};
}
SIMD wi wi_add_sums(wi acc, wt t) { return vpadalq_s16(acc, vpaddq_s16(t.v[0], t.v[1])); }
SIMD void wt_pin(wt *a)
{
    __asm__ volatile("" : "+w"(a->v[0]));
    __asm__ volatile("" : "+w"(a->v[1]));
}
#endif

#ifdef __ARM_FEATURE_MATMUL_INT8
#define W_MMLA
typedef wi wm; /* of two rows and two columns: the first row with both columns, then the second */
SIMD wm wm_zero(void) { return wi_zero(); }
SIMD wm wm_set_shifted(const int32_t *const a[2], int shift)
{
    return vzip1q_s32(vld1q_dup_s32(a[0]), vld1q_dup_s32(a[1])) << shift;
}
/* Two quads of four rows: then eight bytes of the first two rows, and of the others. */
SIMD void wb_interleave(wb q[2])
{
    const uint32x4_t a = (ww)q[0], b = (ww)q[1];
    q[0] = (wb)vzip1q_u32(a, b);
    q[1] = (wb)vzip2q_u32(a, b);
}
/* Eight bytes of each of two columns. */
SIMD wb wb_two_columns(const int8_t *a, const int8_t *b) { return (wb)vcombine_s8(vld1_s8(a), vld1_s8(b)); }
SIMD wm wm_add_products(wm acc, wb rows, wb columns) { return vmmlaq_s32(acc, (int8x16_t)rows, (int8x16_t)columns); }
/* Sums of four rows with one of the columns. */
SIMD wi wm_column(wm first, wm last, int second) { return second ? vuzp2q_s32(first, last) : vuzp1q_s32(first, last); }
SIMD void wm_pin(wm *a) { wi_pin(a); }
#endif

struct rows { const uint8_t *at; size_t stride; };
SIMD void wb_rows(wb out[4], struct rows b, size_t offset)
{
    const uint8_t *p = b.at + offset;
    uint32x4_t v[4];
    W_UNROLL(4)
    for (size_t i = 0; i < 4; i++, p += b.stride) v[i] = vreinterpretq_u32_u8(vld1q_u8(p));
    transpose_lanes(v, v);
    W_UNROLL(4)
    for (size_t i = 0; i < 4; i++) out[i] = (wb)v[i];
}
SIMD void wb_lines(wb out[16], struct rows b)
{
    W_UNROLL(4)
    for (size_t q = 0; q < 4; q++) wb_rows(out + 4 * q, b, 16 * q);
}
SIMD wf wf_load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
SIMD wf wf_load_bytes(const int8_t *p)
{
    const int8x8_t v = vreinterpret_s8_s32(vld1_dup_s32(four_bytes(p)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(v))));
}
SIMD wf wf_load_halves(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
SIMD wf wf_halves(ww a, int second)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(a >> 16 * second)));
}
SIMD wf wf_bytes(wb a, int byte) { return vcvtq_f32_s32((int32x4_t)((ww)a << (24 - 8 * byte)) >> 24); }
SIMD wf wf_words(ww a) { return vreinterpretq_f32_u32(a); }
SIMD wb wb_bits(ww a, int n, int value)
{
    const uint8x16_t of_row = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
    const uint8x16_t v = vqtbl1q_u8((wb)a, vaddq_u8(of_row, vdupq_n_u8((uint8_t)(n / 8))));
    const uint8x16_t bit = vreinterpretq_u8_u32(vdupq_n_u32(n % 8 ? 0x80402010 : 0x08040201));
    return vandq_u8(vtstq_u8(v, bit), vdupq_n_u8((uint8_t)value));
}
SIMD wb wb_lookup(const int8_t values[16], int zero, wb index)
{
    return vreinterpretq_u8_s8(vqtbl1q_s8(vaddq_s8(vld1q_s8(values), vdupq_n_s8((int8_t)zero)), index));
}
SIMD uint32x4_t two_eights(const void *table, uint32_t first, uint32_t second)
{
    const uint8_t *t = table;
    return vreinterpretq_u32_u8(vcombine_u8(vld1_u8(t + 8 * (size_t)first), vld1_u8(t + 8 * (size_t)second)));
}
SIMD void wb_eights(wb out[2], const void *table, const uint32_t n[W_LANES])
{
    const uint32x4_t a = two_eights(table, n[0], n[1]), b = two_eights(table, n[2], n[3]);
    out[0] = (wb)vuzp1q_u32(a, b);
    out[1] = (wb)vuzp2q_u32(a, b);
}
SIMD wb wb_fours(const void *table, const uint32_t n[W_LANES])
{
    ww out;
    for (size_t r = 0; r < W_LANES; r++) memcpy((char *)&out + 4 * r, (const char *)table + 4 * (size_t)n[r], 4);
    return (wb)out;
}
SIMD wb wb_digits(wb a, int power)
{
    const wb t = a * (uint8_t)power;
    const uint8x8_t low = vshrn_n_u16(vmull_u8(vget_low_u8(t), vdup_n_u8(3)), 8);
    return (wb)vshrn_high_n_u16(low, vmull_high_u8(t, vdupq_n_u8(3)), 8);
}

#endif
