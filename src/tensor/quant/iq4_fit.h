/* The values of IQ4_NL and IQ4_XS as levels for the fits of fit.h. */
#ifndef CORRAL_QUANT_IQ4_FIT_H
#define CORRAL_QUANT_IQ4_FIT_H

#include "tensor/quant/fit.h"
#include "tensor/quant/iq4_nl.h"

static const struct range iq4_range = {-127, 113};
static const struct fan iq4_fan = {0.8f, 0.06f, 7};

/* The value nearest to v, as steps over the midpoints, without a table so that it vectorises. */
FIT_INLINE float snap_iq4(float v, struct range r)
{
    float level = r.lo;
#define STEP(midpoint, step) level += v > (midpoint) ? (step) : 0.0f
    STEP(-115.5f, 23), STEP(-93.5f, 21), STEP(-74.0f, 18), STEP(-57.0f, 16), STEP(-42.0f, 14);
    STEP(-28.5f, 13), STEP(-16.0f, 12), STEP(-4.5f, 11), STEP(7.0f, 12), STEP(19.0f, 12);
    STEP(31.5f, 13), STEP(45.5f, 15), STEP(61.0f, 16), STEP(79.0f, 20), STEP(101.0f, 24);
#undef STEP
    return level;
}

/* Thirty-two values as nibbles, given their inverse scale. */
FIT_INLINE void iq4_pack(uint8_t qs[16], const float *x, float id)
{
    for (int i = 0; i < 16; i++) qs[i] = (uint8_t)(iq4_code(x[i] * id) | iq4_code(x[i + 16] * id) << 4);
}

#endif
