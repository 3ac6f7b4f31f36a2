/* The launchers of the kernels; each takes one struct of ops.h, which says what it computes. */
#ifndef CORRAL_GPU_KERNELS_H
#define CORRAL_GPU_KERNELS_H

#include "backend/gpu/dev/dev.h"
#include "backend/gpu/ops.h"

#ifdef SIM
typedef void *cudaStream_t;
#endif

/* What products must know of an open device. */
struct gpu_device {
    struct blas *blas; /* NULL: none */
    uint32_t n_core;
    bool     hopper;   /* has what dev/hopper.h needs, and these kernels are compiled for it */
};

bool matrix_layout(uint32_t type, uint32_t n_out, uint32_t n_in, struct gpu_layout *out);
void launch_pack(cudaStream_t s, const struct gpu_pack *a);
void launch_rows(cudaStream_t s, const struct gpu_rows *a);
void launch_norm(cudaStream_t s, const struct gpu_norm *a);
void launch_matmul(cudaStream_t s, const struct gpu_device *d, const struct gpu_matmul *a);
void launch_act(cudaStream_t s, const struct gpu_act *a);
void launch_rope_table(cudaStream_t s, const struct gpu_rope_table *a);
void launch_qkv(cudaStream_t s, const struct gpu_qkv *a);
void launch_attn(cudaStream_t s, const struct gpu_device *d, const struct gpu_attn *a);
void launch_route(cudaStream_t s, const struct gpu_route *a);
void launch_combine(cudaStream_t s, const struct gpu_combine *a);
void launch_softcap(cudaStream_t s, const struct gpu_softcap *a);
void launch_draw(cudaStream_t s, const struct gpu_draw *a);
void launch_selftest(cudaStream_t s, const struct gpu_selftest *a);
bool attn_prepare(void); /* what a device must be told before the first launch; false when it refuses */

/* Attention of the full tiles by Hopper's instructions; false: not this one. */
bool launch_attn90(cudaStream_t s, const struct gpu_attn *a);
bool attn90_prepare(void); /* as attn_prepare */

/* A matrix times many rows, by the library or not; a->panel is there. */
void launch_gemm(cudaStream_t s, const struct gpu_device *d, const struct gpu_matmul *a, enum gpu_way way);
bool gemm_prepare(void); /* as attn_prepare */

/* Products of packed matrices with few rows, one instance file per group of types: true when the type was there. */
bool qmm_nibbles(cudaStream_t s, const struct gpu_matmul *a);
bool qmm_supers(cudaStream_t s, const struct gpu_matmul *a);
bool qmm_others(cudaStream_t s, const struct gpu_matmul *a);

#endif
