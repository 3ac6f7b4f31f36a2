/* Products of plain bf16 matrices with many rows, and what computes them. */
#ifndef CORRAL_GPU_GEMM_H
#define CORRAL_GPU_GEMM_H

#include "backend/gpu/dev/kernels.h"

struct gemm { /* y (n_row, n_out; ldy) = x (n_row, n_in; ldx) w^T + bias, or added to y; w (n_out, n_in) */
    const uint16_t *x, *w;
    const float *bias;
    float *y;
    uint32_t ldx, ldy, n_row, n_out, n_in; /* ldx and n_in are multiples of GPU_PAD */
    bool add;
};

DEV void gemm_store(const struct gemm *a, uint32_t row, uint32_t out, float v)
{
    float *y = a->y + (size_t)row * a->ldy + out;
    if (a->bias) v += a->bias[out];
    *y = a->add ? *y + v : v;
}

/* Rows [row0, row0 + n_row) of a matrix, row0 a multiple of 16, to rows of bf16, filled up with zeros to a
 * multiple of GPU_PAD. */
void launch_decode(cudaStream_t stream, const struct gpu_matrix *m, uint32_t row0, uint32_t n_row, uint16_t *to);

/* By Hopper's instructions; false: not this one. */
bool launch_gemm90(cudaStream_t stream, const struct gpu_device *d, const struct gemm *g);
bool gemm90_prepare(void); /* as attn_prepare */

/* cuBLASLt, if a file of that name opens: NULL-terminated names, tried in order. NULL: what says why not (and stays as it is
 * with no names); else the library and its version. */
struct blas *blas_open(const char *const *names, char *what, size_t n);
void         blas_close(struct blas *b);
/* Without bias. False: the library will not do it, and nothing has happened. */
bool blas_product(const struct blas *b, cudaStream_t stream, const struct gemm *g, void *room, size_t room_bytes);

#endif
