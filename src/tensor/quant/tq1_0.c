#include "tensor/quant/tq1_0.h"

/* n_digit digits of each of n_byte bytes, digit outermost. */
static float *digits_decode(const uint8_t *v, int n_byte, int n_digit, float d, float *y)
{
    for (int n = 0; n < n_digit; n++)
        for (int i = 0; i < n_byte; i++) *y++ = d * (float)tq1_0_digit(v[i], n);
    return y;
}

void tq1_0_decode(const void *x, float *y, size_t n)
{
    const struct block_tq1_0 *b = x, *end = b + n / QK_SUPER;
    for (; b < end; b++) {
        float d = half_to_float(b->d);
        y = digits_decode(b->qs, 32, 5, d, y);
        y = digits_decode(b->qs + 32, 16, 5, d, y);
        y = digits_decode(b->qh, 4, 4, d, y);
    }
}
