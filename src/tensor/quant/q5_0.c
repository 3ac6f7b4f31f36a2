#include "tensor/quant/q5_0.h"

#include "tensor/quant/fit.h"

void q5_0_decode(const void *x, float *y, size_t n)
{
    const struct block_q5_0 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d);
        uint32_t qh = b->qh;
        for (int i = 0; i < 16; i++) {
            int lo = (b->qs[i] & 15) | (int)(qh >> i & 1) << 4;
            int hi = b->qs[i] >> 4 | (int)(qh >> (i + 16) & 1) << 4;
            y[i] = d * (float)(lo - 16);
            y[i + 16] = d * (float)(hi - 16);
        }
    }
}

void q5_0_encode(const float *x, void *y, size_t n, const float *importance)
{
    static const struct range r = {-16, 15};
    static const struct fan fan = {0.88f, 0.03f, 6};
    struct block_q5_0 *b = y, *end = b + n / QK;
    for (; b < end; b++, x += QK) {
        float d, id;
        int q[QK];
        uint32_t qh = 0;
        b->d = half_store(fit_scale(r, fan, x, importance ? importance : fit_ones, QK), &d);
        id = inverse(d);
        for (int i = 0; i < QK; i++) q[i] = (int)snap_int(x[i] * id, r) + 16;
        for (int i = 0; i < 16; i++) b->qs[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
        for (int i = 0; i < QK; i++) qh |= (uint32_t)(q[i] >> 4) << i;
        b->qh = qh;
        if (importance) importance += QK;
    }
}
