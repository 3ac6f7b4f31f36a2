#include "tensor/quant/q8_k.h"

#include "tensor/quant/fit.h"

void q8_k_decode(const void *x, float *y, size_t n)
{
    const struct block_q8_k *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++, y += QK_SUPER) {
        float d = b->d;
        for (int i = 0; i < QK_SUPER; i++) y[i] = d * (float)b->qs[i];
    }
}

void q8_k_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_q8_k *b = y, *end = b + n / QK_SUPER;
    for (; b < end; b++, x += QK_SUPER) {
        float top = __builtin_fabsf(abs_extreme(x, QK_SUPER)), id;
        b->d = clampf(top, 0.0f, 0x1p127f) / 127.0f;
        id = inverse(b->d) < 0x1p127f ? inverse(b->d) : 0.0f; /* denormal scales: call them zero */
        if (id == 0) b->d = 0;
        for (int i = 0; i < QK_SUPER; i++) b->qs[i] = (int8_t)nearest(clampf(x[i] * id, -127.0f, 127.0f));
        for (int g = 0; g < 16; g++) {
            int sum = 0;
            for (int i = 0; i < 16; i++) sum += b->qs[16 * g + i];
            b->bsums[g] = (int16_t)sum;
        }
    }
}
