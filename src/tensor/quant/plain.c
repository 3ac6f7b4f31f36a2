#include "tensor/quant/plain.h"

struct u16 {
    uint16_t v;
} BLOCK_PACKED; /* tensors of 16-bit numbers may lie at any address */

void f32_decode(const void *x, float *y, size_t n)
{
    memcpy(y, x, n * sizeof *y);
}
void f32_encode(const float *x, void *y, size_t n, const float *importance)
{
    memcpy(y, x, n * sizeof *x);
}

void f16_decode(const void *x, float *y, size_t n)
{
    const struct u16 *h = x;
    for (size_t i = 0; i < n; i++) y[i] = half_to_float(h[i].v);
}
void f16_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct u16 *h = y;
    for (size_t i = 0; i < n; i++) h[i].v = half_from_float(x[i]);
}

void bf16_decode(const void *x, float *y, size_t n)
{
    const struct u16 *b = x;
    for (size_t i = 0; i < n; i++) y[i] = bf16_to_float(b[i].v);
}
void bf16_encode(const float *x, void *y, size_t n, const float *importance)
{
    struct u16 *b = y;
    for (size_t i = 0; i < n; i++) b[i].v = bf16_from_float(x[i]);
}
