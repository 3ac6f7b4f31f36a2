#include "tensor/quant/q5_1.h"

#include "tensor/quant/fit.h"

void q5_1_decode(const void *x, float *y, size_t n)
{
    const struct block_q5_1 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d), m = half_to_float(b->m);
        uint32_t qh = b->qh;
        for (int i = 0; i < 16; i++) {
            int lo = (b->qs[i] & 15) | (int)(qh >> i & 1) << 4;
            int hi = b->qs[i] >> 4 | (int)(qh >> (i + 16) & 1) << 4;
            y[i] = d * (float)lo + m;
            y[i + 16] = d * (float)hi + m;
        }
    }
}

void q5_1_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_q5_1 *b = y, *end = b + n / QK;
    for (; b < end; b++, x += QK) {
        float d, m, id;
        int q[QK];
        uint32_t qh = 0;
        b->d = half_store(fit_scale_min(31, false, x, importance ? importance : fit_ones, QK, &m), &d);
        b->m = half_store(m, &m);
        id = inverse(d);
        for (int i = 0; i < QK; i++) q[i] = (int)nearest(clampf((x[i] - m) * id, 0, 31));
        for (int i = 0; i < 16; i++) b->qs[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
        for (int i = 0; i < QK; i++) qh |= (uint32_t)(q[i] >> 4) << i;
        b->qh = qh;
        if (importance) importance += QK;
    }
}
