/* Vector primitives of matrix products in plain C. What isa/wide_*.h must define: W_LANES rows side by side.
 *
 * wf: floats, wi: 32-bit integers, wt: partial sums of products of bytes, a lane for each row. wb: four bytes of
 * each row. W_DEPTH(d, quads): how many wt sums may follow each other, of d that fit in 16 bits or all quads. */
#ifndef CORRAL_WIDE_H
#define CORRAL_WIDE_H

enum { W_LANES = 8, W_COLUMNS = 2, W_COLUMNS_FLOAT = 4 };
#define W_UNROLL(n) /* not here: it would only make compiling slow */
#define W_DEPTH(d, quads) (quads)

typedef vf wf;
typedef vi wi;
typedef vi wt;
typedef struct { int8_t v[4 * W_LANES]; } wb;

SIMD wf wf_set(float a) { return vf_set(a); }
SIMD wf wf_load(const float *p) { return vf_load(p); }
SIMD void wf_store(float *p, wf a) { vf_store(p, a); }
SIMD wf wf_mul(wf a, wf b) { return vf_mul(a, b); }
SIMD wf wf_fma(wf a, wf b, wf c) { return vf_fma(a, b, c); }
SIMD wf wf_from_i(wi a) { return vf_from_i(a); }
SIMD wi wi_zero(void) { return vi_zero(); }
/* a times 2^shift in every lane */
SIMD wi wi_set_shifted(const int32_t *a, int shift) { wi r; LANES_DO(r.v[i] = *a * (1 << shift)); return r; }
/* acc[i] += w[2i] x[0] + w[2i+1] x[1] */
SIMD wi wi_madd(wi acc, const int16_t *w, const int16_t *x)
{
    LANES_DO(acc.v[i] += (int32_t)w[2 * i] * x[0] + (int32_t)w[2 * i + 1] * x[1]);
    return acc;
}
SIMD wb wb_load(const int8_t *p) { wb r; memcpy(&r, p, sizeof r); return r; }
/* acc[i] += w[4i] x[0] + ... + w[4i+3] x[3] */
SIMD wt wt_add_product(wt acc, wb w, const int8_t *x)
{
    LANES_DO(for (int j = 0; j < 4; j++) acc.v[i] += (int32_t)w.v[4 * i + j] * x[j]);
    return acc;
}
SIMD wt wt_product(wb w, const int8_t *x) { return wt_add_product(vi_zero(), w, x); }
SIMD wi wi_add_sums(wi acc, wt t) { return vi_add(acc, t); }
SIMD void wt_pin(wt *a) { (void)a; }
SIMD void wi_pin(wi *a) { (void)a; }

#endif
