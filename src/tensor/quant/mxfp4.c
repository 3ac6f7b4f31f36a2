#include "tensor/quant/mxfp4.h"

#include "tensor/quant/fit.h"

void mxfp4_decode(const void *x, float *y, size_t n)
{
    const struct block_mxfp4 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = mxfp4_scale(b->e);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)mxfp4_values[b->qs[i] & 15];
            y[i + 16] = d * (float)mxfp4_values[b->qs[i] >> 4];
        }
    }
}

static const struct range fp4_range = {-12, 12};

/* The nearest of 0, 1, 2, 3, 4, 6, 8, 12 with the sign of v. */
FIT_INLINE float snap_fp4(float v, struct range r)
{
    float a = __builtin_fabsf(v), level = 0;
    level += a > 0.5f ? 1.0f : 0.0f;
    level += a > 1.5f ? 1.0f : 0.0f;
    level += a > 2.5f ? 1.0f : 0.0f;
    level += a > 3.5f ? 1.0f : 0.0f;
    level += a > 5.0f ? 2.0f : 0.0f;
    level += a > 7.0f ? 2.0f : 0.0f;
    level += a > 10.0f ? 4.0f : 0.0f;
    return v < 0 ? -level : level;
}
static int fp4_code(float v)
{
    float a = __builtin_fabsf(v);
    int q = (a > 0.5f) + (a > 1.5f) + (a > 2.5f) + (a > 3.5f) + (a > 5.0f) + (a > 7.0f) + (a > 10.0f);
    return v < 0 && q ? q + 8 : q;
}

/* The scale is a power of two: the exponents around the one that just covers the block. */
static int best_exponent(const float *x, const float *w)
{
    float top = __builtin_fabsf(abs_extreme(x, QK)), best = 0;
    int e = (int)(f32_bits(top) >> 23) - 2, best_e = 0; /* of the scale: top lies in [8, 16) steps of it */
    for (int t = e; t <= e + 2; t++) {
        if (t < 0 || t > 254) continue;
        float d = mxfp4_scale((uint8_t)t), xl, ll, gain;
        level_sums(snap_fp4, fp4_range, x, w, QK, 1.0f / d, &xl, &ll);
        gain = d * (2 * xl - d * ll); /* what the error falls by */
        if (gain > best) {
            best = gain;
            best_e = t;
        }
    }
    return best_e;
}

void mxfp4_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_mxfp4 *b = y, *end = b + n / QK;
    for (; b < end; b++, x += QK) {
        b->e = (uint8_t)best_exponent(x, importance ? importance : fit_ones);
        float id = 1.0f / mxfp4_scale(b->e);
        for (int i = 0; i < 16; i++)
            b->qs[i] = (uint8_t)(fp4_code(x[i] * id) | fp4_code(x[i + 16] * id) << 4);
        if (importance) importance += QK;
    }
}
