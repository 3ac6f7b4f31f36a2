#include "tensor/quant/q4_0.h"

#include "tensor/quant/fit.h"

void q4_0_decode(const void *x, float *y, size_t n)
{
    const struct block_q4_0 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)((b->qs[i] & 15) - 8);
            y[i + 16] = d * (float)((b->qs[i] >> 4) - 8);
        }
    }
}

void q4_0_encode(const float *x, void *y, size_t n, const float *importance)
{
    static const struct range r = {-8, 7};
    static const struct fan fan = {0.8f, 0.05f, 7};
    struct block_q4_0 *b = y, *end = b + n / QK;
    for (; b < end; b++, x += QK) {
        float d, id;
        int q[QK];
        b->d = half_store(fit_scale(r, fan, x, importance ? importance : fit_ones, QK), &d);
        id = inverse(d);
        for (int i = 0; i < QK; i++) q[i] = (int)snap_int(x[i] * id, r) + 8;
        for (int i = 0; i < 16; i++) b->qs[i] = (uint8_t)(q[i] | q[i + 16] << 4);
        if (importance) importance += QK;
    }
}
