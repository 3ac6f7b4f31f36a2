#include "tensor/quant/fp8.h"

#include "tensor/quant/fit.h"

void fp8_decode(const void *x, float *y, size_t n)
{
    const struct block_fp8 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d);
        for (int i = 0; i < QK; i++) y[i] = d * e4m3_to_float(b->q[i]);
    }
}

void fp8_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_fp8 *b = y, *end = b + n / QK;
    for (; b < end; b++, x += QK) {
        float d, id;
        b->d = half_store(__builtin_fabsf(abs_extreme(x, QK)) / 448.0f, &d);
        id = inverse(d);
        for (int i = 0; i < QK; i++) b->q[i] = e4m3_from_float(x[i] * id);
    }
}
