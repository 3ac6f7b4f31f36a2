#include "tensor/quant/q8_0.h"

#include "tensor/quant/fit.h"

void q8_0_decode(const void *x, float *y, size_t n)
{
    const struct block_q8_0 *b = x, *end = b + n / QK;
    for (; b < end; b++, y += QK) {
        float d = half_to_float(b->d);
        for (int i = 0; i < QK; i++) y[i] = d * (float)b->qs[i];
    }
}

/* The largest magnitude maps to 127. At 254 steps a search for a better scale gains nothing that matters, and
 * this encoder also runs on activations and cache entries. */
void q8_0_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_q8_0 *b = y, *end = b + n / QK;
    for (; b < end; b++, x += QK) {
        float d, id;
        b->d = half_store(__builtin_fabsf(abs_extreme(x, QK)) / 127.0f, &d);
        id = inverse(d);
        for (int i = 0; i < QK; i++) b->qs[i] = (int8_t)nearest(clampf(x[i] * id, -127.0f, 127.0f));
    }
}
