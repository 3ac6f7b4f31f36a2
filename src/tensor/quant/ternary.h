/* The scale of 256 values that become -1, 0 or 1 (TQ1_0, TQ2_0). Weights that were trained as -a, 0, a are
 * found again exactly, up to the rounding of a to a half. */
#ifndef CORRAL_QUANT_TERNARY_H
#define CORRAL_QUANT_TERNARY_H

#include "tensor/quant/fit.h"

static const struct range ternary_range = {-1, 1};

static inline uint16_t ternary_scale(const float *x, const float *importance, float *stored)
{
    static const struct fan fan = {0.5f, 0.25f, 16}; /* zero below 1 ... 1/8.5 of the extreme */
    float d = fit_scale(ternary_range, fan, x, importance ? importance : fit_ones, QK_SUPER);
    return half_store(__builtin_fabsf(d), stored);
}

#endif
