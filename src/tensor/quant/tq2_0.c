#include "tensor/quant/tq2_0.h"

#include "tensor/quant/ternary.h"

void tq2_0_decode(const void *x, float *y, size_t n)
{
    const struct block_tq2_0 *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++, y += QK_SUPER) {
        float d = half_to_float(b->d);
        for (int p = 0; p < 8; p++) { /* plane of 32 elements */
            const uint8_t *q = b->qs + 32 * (p / 4);
            for (int i = 0; i < 32; i++) y[32 * p + i] = d * (float)((q[i] >> 2 * (p % 4) & 3) - 1);
        }
    }
}

void tq2_0_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_tq2_0 *b = y, *end = b + n / QK_SUPER;
    for (; b < end; b++, x += QK_SUPER) {
        float d, id;
        memset(b, 0, sizeof *b);
        b->d = ternary_scale(x, importance, &d);
        id = inverse(d);
        for (int p = 0; p < 8; p++)
            for (int i = 0; i < 32; i++) {
                int v = (int)snap_int(x[32 * p + i] * id, ternary_range) + 1;
                b->qs[32 * (p / 4) + i] |= (uint8_t)(v << 2 * (p % 4));
            }
        if (importance) importance += QK_SUPER;
    }
}
