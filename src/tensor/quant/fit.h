/* Pieces of the encoders: rounding, extremes, and the search for the scale of a block (fit.c).
 *
 * Encoders take any input without undefined behaviour: a scale saturates at the largest half, NaN ends at the
 * lower limit of its clamp. Loops keep eight partial results so that compilers vectorise them without licence
 * to reorder sums, and so that the answer is the same on every machine. */
#ifndef CORRAL_QUANT_FIT_H
#define CORRAL_QUANT_FIT_H

#include "tensor/quant/block.h"

enum { LANES = 8 };

/* Round to nearest even, for |v| < 2^22: the adder rounds at 1. */
static inline float nearest(float v)
{
    return (v + 0x1.8p23f) - 0x1.8p23f;
}
static inline float clampf(float v, float lo, float hi)
{
    v = v > lo ? v : lo;
    return v < hi ? v : hi;
}

/* The largest |x[i]|; n is a multiple of LANES. */
static inline float abs_max(const float *x, int n)
{
    float m[LANES] = {0}, top = 0;
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float a = __builtin_fabsf(x[i + l]);
            m[l] = a > m[l] ? a : m[l];
        }
    for (int l = 0; l < LANES; l++) top = m[l] > top ? m[l] : top;
    return top;
}

/* Store a scale as a half; *stored is what a reader will see. */
static inline uint16_t half_store(float d, float *stored)
{
    uint16_t h = half_from_float(clampf(d, -65504.0f, 65504.0f));
    *stored = half_to_float(h);
    return h;
}
static inline float inverse(float d)
{
    return d != 0 ? 1.0f / d : 0.0f;
}

#endif
