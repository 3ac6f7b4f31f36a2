#include "tensor/quant/q8_1.h"

#include "tensor/quant/fit.h"

void q8_1_decode(const void *x, float *y, size_t n)
{
    const struct block_q8_1 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d);
        for (int i = 0; i < QK; i++) y[i] = d * (float)b->qs[i];
    }
}

void q8_1_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_q8_1 *b = y, *end = b + n / QK;
    for (; b < end; b++, x += QK) {
        float d, s, id;
        int sum = 0;
        b->d = half_store(__builtin_fabsf(abs_extreme(x, QK)) / 127.0f, &d);
        id = inverse(d);
        for (int i = 0; i < QK; i++) b->qs[i] = (int8_t)nearest(clampf(x[i] * id, -127.0f, 127.0f));
        for (int i = 0; i < QK; i++) sum += b->qs[i];
        b->s = half_store(d * (float)sum, &s);
    }
}
