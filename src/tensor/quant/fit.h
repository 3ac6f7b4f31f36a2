/* Pieces of the encoders: rounding, extremes, and the search for the scale of a block.
 *
 * All of them minimise sum w (x - decoded)^2. For a given scale the best codes are the nearest ones, and for
 * given codes the best scale is a quotient of two sums (least squares); so a scale is found by trying a fan
 * of candidates around the one that just covers the block, keeping the best, and then alternating the two
 * steps.
 *
 * Encoders take any input without undefined behaviour: a scale saturates at the largest half, NaN ends at the
 * lower limit of its clamp. Loops keep eight partial results so that compilers vectorise them without licence
 * to reorder sums, and so that the answer is the same on every machine. */
#ifndef CORRAL_QUANT_FIT_H
#define CORRAL_QUANT_FIT_H

#include "tensor/quant/block.h"

enum { LANES = 8 };
#define FIT_INLINE static inline __attribute__((always_inline))

/* Round to nearest even, for |v| < 2^22: the adder rounds at 1. */
FIT_INLINE float nearest(float v)
{
    return (v + 0x1.8p23f) - 0x1.8p23f;
}
FIT_INLINE float clampf(float v, float lo, float hi)
{
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}
FIT_INLINE float inverse(float d)
{
    return d != 0 ? 1.0f / d : 0.0f;
}

/* Store a scale as a half; *stored is what a reader will see. */
FIT_INLINE uint16_t half_store(float d, float *stored)
{
    uint16_t h = half_from_float(clampf(d, -65504.0f, 65504.0f));
    *stored = half_to_float(h);
    return h;
}

FIT_INLINE float lanes_sum(const float v[LANES])
{
    return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

/* Smallest and largest of x[0..n); n is a multiple of LANES here and below. */
FIT_INLINE void extremes(const float *x, int n, float *min, float *max)
{
    float lo[LANES], hi[LANES];
    for (int l = 0; l < LANES; l++) lo[l] = hi[l] = x[l];
    for (int i = LANES; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            lo[l] = x[i + l] < lo[l] ? x[i + l] : lo[l];
            hi[l] = x[i + l] > hi[l] ? x[i + l] : hi[l];
        }
    *min = lo[0];
    *max = hi[0];
    for (int l = 1; l < LANES; l++) {
        *min = lo[l] < *min ? lo[l] : *min;
        *max = hi[l] > *max ? hi[l] : *max;
    }
}
/* The value of the largest magnitude, with its sign. */
FIT_INLINE float abs_extreme(const float *x, int n)
{
    float lo, hi;
    extremes(x, n, &lo, &hi);
    return -lo > hi ? lo : hi;
}

/* The levels that a code can mean. snap(v, r) is the level nearest to v: a parameter that the compiler
 * inlines. */
struct range {
    float lo, hi;
};
typedef float snap_fn(float v, struct range r);
FIT_INLINE float snap_int(float v, struct range r)
{
    return nearest(clampf(v, r.lo, r.hi));
}

/* Sums over the levels l of x * id: *xl = sum w x l, *ll = sum w l l. */
FIT_INLINE void level_sums(snap_fn snap, struct range r, const float *x, const float *w, int n, float id,
                           float *xl, float *ll)
{
    float a[LANES] = {0}, b[LANES] = {0};
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float v = snap(x[i + l] * id, r), wv = w[i + l] * v;
            a[l] += wv * x[i + l];
            b[l] += wv * v;
        }
    *xl = lanes_sum(a);
    *ll = lanes_sum(b);
}

/* Keep the scale of this candidate if it is better. With the best d = xl / ll, the squared error is
 * sum w x x - xl xl / ll, so only the last term has to be compared. */
FIT_INLINE bool scale_try(snap_fn snap, struct range r, const float *x, const float *w, int n, float id,
                          float *gain, float *d)
{
    float xl, ll;
    level_sums(snap, r, x, w, n, id, &xl, &ll);
    if (!(xl * xl > *gain * ll)) return false;
    *gain = xl * xl / ll;
    *d = xl / ll;
    return true;
}

/* How far the candidates reach: the extreme value maps to r.lo times (from, from + step, ...), n of them, and
 * to r.hi times the same: levels need not be symmetric, so the sign of the scale matters. */
struct fan {
    float from, step;
    int n;
};

FIT_INLINE float fit_scale_with(snap_fn snap, struct range r, struct fan fan, const float *x, const float *w,
                                int n)
{
    float top = abs_extreme(x, n), it = inverse(top), gain = 0, d = 0;
    for (int i = 0; i < fan.n; i++) {
        float f = fan.from + fan.step * (float)i;
        scale_try(snap, r, x, w, n, r.lo * f * it, &gain, &d);
        scale_try(snap, r, x, w, n, r.hi * f * it, &gain, &d);
    }
    for (int k = 0; k < 3 && d != 0; k++)
        if (!scale_try(snap, r, x, w, n, 1.0f / d, &gain, &d)) break;
    return d;
}

/* A super-block of n_sub sub-blocks of len values: x ~ d scale[s] level. */
struct super_scales {
    uint16_t d; /* f16 */
    float d_stored;
    int8_t scale[16];
};

/* Sub-block scales come first, each for itself; then they are rounded to multiples of d, and d and the
 * multiples are improved in turn, each given the other, as seen by a reader of the rounded values. */
FIT_INLINE void fit_super_with(snap_fn snap, struct range r, struct fan fan, struct range sr, const float *x,
                               const float *w, int n_sub, int len, struct super_scales *out)
{
    float sub[16] = {0}, sc[16], d;
    for (int s = 0; s < n_sub; s++) sub[s] = fit_scale_with(snap, r, fan, x + s * len, w + s * len, len);
    d = abs_extreme(sub, 16) / sr.lo;
    out->d = half_store(d, &d);
    for (int s = 0; s < n_sub; s++) sc[s] = snap_int(sub[s] * inverse(d), sr);
    for (int pass = 0; pass < 3; pass++) {
        float num = 0, den = 0;
        for (int s = 0; s < n_sub; s++) {
            float xl, ll;
            level_sums(snap, r, x + s * len, w + s * len, len, inverse(d * sc[s]), &xl, &ll);
            num += sc[s] * xl;
            den += sc[s] * sc[s] * ll;
        }
        if (den > 0 && num / den != 0) out->d = half_store(num / den, &d);
        if (pass == 2) break;
        for (int s = 0; s < n_sub; s++) {
            float best = 0, best_sc = 0, mid = sc[s]; /* a scale of 0 leaves the error where it is */
            for (int c = -1; c <= 1; c++) {
                float xl, ll, a = d * clampf(mid + (float)c, sr.lo, sr.hi);
                level_sums(snap, r, x + s * len, w + s * len, len, inverse(a), &xl, &ll);
                float err = a * (a * ll - 2 * xl);
                if (err < best) {
                    best = err;
                    best_sc = clampf(mid + (float)c, sr.lo, sr.hi);
                }
            }
            sc[s] = best_sc;
        }
    }
    out->d_stored = d;
    for (int s = 0; s < n_sub; s++) out->scale[s] = (int8_t)sc[s];
}

/* The instances for integer levels, and the fits with a minimum (fit.c). */
float fit_scale(struct range r, struct fan fan, const float *x, const float *w, int n);
void fit_super(struct range r, struct fan fan, struct range sr, const float *x, const float *w, int n_sub,
               int len, struct super_scales *out);

/* x ~ d q + m with integers 0 <= q <= q_max. m_range bounds m (K-quants store -m and cannot store a positive
 * m). */
float fit_scale_min(float q_max, bool m_below_zero, const float *x, const float *w, int n, float *m);

/* x ~ d scale[s] q - dmin min[s] with integers 0 <= q <= q_max and 0 <= scale, min <= s_max. */
struct super_scales_mins {
    uint16_t d, dmin; /* f16 */
    float d_stored, dmin_stored;
    uint8_t scale[16], min[16];
};
void fit_super_min(float q_max, float s_max, const float *x, const float *w, int n_sub, int len,
                   struct super_scales_mins *out);

/* Weights of the squared error when the caller gave none; at least QK_SUPER of them. */
extern const float fit_ones[QK_SUPER];

#endif
