#include "tensor/quant/q4_1.h"

#include "tensor/quant/fit.h"

void q4_1_decode(const void *x, float *y, size_t n)
{
    const struct block_q4_1 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d), m = half_to_float(b->m);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)(b->qs[i] & 15) + m;
            y[i + 16] = d * (float)(b->qs[i] >> 4) + m;
        }
    }
}

void q4_1_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_q4_1 *b = y, *end = b + n / QK;
    for (; b < end; b++, x += QK) {
        float d, m, id;
        int q[QK];
        b->d = half_store(fit_scale_min(15, false, x, importance ? importance : fit_ones, QK, &m), &d);
        b->m = half_store(m, &m);
        id = inverse(d);
        for (int i = 0; i < QK; i++) q[i] = (int)nearest(clampf((x[i] - m) * id, 0, 15));
        for (int i = 0; i < 16; i++) b->qs[i] = (uint8_t)(q[i] | q[i + 16] << 4);
        if (importance) importance += QK;
    }
}
