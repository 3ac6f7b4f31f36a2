#include "tensor/quant/tq1_0.h"

#include "tensor/quant/ternary.h"

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

/* Digits to the fraction: v = ceil(256 number / 243), so that multiplying by 3 gives the digits back. */
static const float *digits_encode(uint8_t *v, int n_byte, int n_digit, float id, const float *x)
{
    for (int i = 0; i < n_byte; i++) {
        int number = 0;
        for (int n = 0; n < 5; n++)
            number =
                3 * number + (n < n_digit ? (int)snap_int(x[n * n_byte + i] * id, ternary_range) + 1 : 0);
        v[i] = (uint8_t)((number * 256 + 242) / 243);
    }
    return x + n_byte * n_digit;
}

void tq1_0_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct block_tq1_0 *b = y, *end = b + n / QK_SUPER;
    for (; b < end; b++) {
        float d;
        b->d = ternary_scale(x, importance, &d);
        x = digits_encode(b->qs, 32, 5, inverse(d), x);
        x = digits_encode(b->qs + 32, 16, 5, inverse(d), x);
        x = digits_encode(b->qh, 4, 4, inverse(d), x);
        if (importance) importance += QK_SUPER;
    }
}
