#include "tensor/quant/iq4_nl.h"

#include "tensor/quant/iq4_fit.h"

void iq4_nl_decode(const void *x, float *y, size_t n)
{
    const struct block_iq4_nl *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)iq4_values[b->qs[i] & 15];
            y[i + 16] = d * (float)iq4_values[b->qs[i] >> 4];
        }
    }
}

void iq4_nl_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_iq4_nl *b = y, *end = b + n / QK;
    for (; b < end; b++, x += QK) {
        float d;
        b->d = half_store(
            fit_scale_with(snap_iq4, iq4_range, iq4_fan, x, importance ? importance : fit_ones, QK), &d);
        iq4_pack(b->qs, x, inverse(d));
        if (importance) importance += QK;
    }
}
