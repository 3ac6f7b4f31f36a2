/* One vocabulary for kernels: CUDA (cuda.h), the simulator (../sim/sim.h) when SIM is defined, and HIP (hip.h).
 *
 * Rules that keep a kernel the same everywhere: intrinsics and assembly only in those files; device functions are static;
 * warps are 32 lanes and warp operations name all of them; a kernel takes one struct; launches by LAUNCH, dynamic shared
 * memory by DYN_SHARED, and nothing else in a template (g++ forgets the section of a template's variable); numbers are
 * stored as uint8_t, uint16_t and uint32_t and computed as float; the elements of a matrix fragment are found by frag_row
 * and frag_col; __launch_bounds__ with both arguments (with one, ptxas may choose few registers and spill).
 *
 * One kernel after the other: on Hopper and later, the blocks of a kernel may start while the kernel in front still runs
 * (programmatic dependent launch). dev_after() waits until that one has ended; before it, a kernel may read weights, ask
 * for them with dev_prefetch(), which brings bytes to the second-level cache, and write shared memory. That is all: what
 * was queued before may not have been computed yet, and what it reads may not be written. Every thread of every kernel
 * calls dev_after(), so that the end of a kernel is the end of all before it. The simulator ends a program whose threads
 * do not, and its race checker finds what comes too early. */
#ifndef CORRAL_GPU_DEV_H
#define CORRAL_GPU_DEV_H

#include <stddef.h>
#include <stdint.h>

#define DEV static __device__ __forceinline__
#ifndef SIM
#define DEV_CALLED static __device__ __noinline__ /* long, and used in several places: not copied to each */
#endif
enum { WARP = 32 };
#define FULL_MASK 0xffffffffu

#if defined(SIM)
#include "backend/gpu/sim/sim.h"
#elif defined(__HIP__)
#include "backend/gpu/dev/hip.h"
#else
#include "backend/gpu/dev/cuda.h"
#endif

/* --- numbers --- */

DEV float dev_bf16_to_f32(uint32_t h) { return __uint_as_float(h << 16); }
DEV uint32_t dev_f32_to_bf16(float f) /* to nearest even; NaN stays NaN */
{
    uint32_t u = __float_as_uint(f);
    return (u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
DEV uint32_t pack_bf16(float lo, float hi) { return dev_f32_to_bf16(lo) | dev_f32_to_bf16(hi) << 16; }
#if defined(SIM) || defined(__HIP__)
DEV uint32_t dev_mul_bf16x2(uint32_t a, uint32_t b) /* of both halves */
{
    return pack_bf16(dev_bf16_to_f32(a & 0xffffu) * dev_bf16_to_f32(b & 0xffffu), dev_bf16_to_f32(a >> 16) * dev_bf16_to_f32(b >> 16));
}
#endif
/* A half that stays finite: what is too large for it becomes its largest number. */
DEV uint16_t f16_saturate(float f) { return dev_f32_to_f16(fminf(fmaxf(f, -65504.0f), 65504.0f)); }
DEV uint32_t pack_f16(float lo, float hi) { return f16_saturate(lo) | (uint32_t)f16_saturate(hi) << 16; }
/* Eight bits of e4m3: see tensor/quant/fp8.h, which these follow to the bit. */
DEV float dev_e4m3_to_f32(uint32_t v)
{
    return __uint_as_float(__float_as_uint(__uint_as_float((v & 0x7f) << 20) * 1.329227995784916e36f) | (v & 0x80) << 24);
}
DEV uint32_t dev_f32_to_e4m3(float f)
{
    const float a = fabsf(f);
    uint32_t u = __float_as_uint(a);
    u = a < 0.015625f ? __float_as_uint(a + 16384.0f) - 0x46800000u : (u - (120u << 23) + 0x7ffff + (u >> 20 & 1)) >> 20;
    return (u > 0x7e ? 0x7e : u) | __float_as_uint(f) >> 31 << 7;
}

/* --- sums over a warp and over a block --- */

DEV float warp_sum(float v)
{
    for (int m = 16; m; m >>= 1) v += __shfl_xor_sync(FULL_MASK, v, m);
    return v;
}
DEV float warp_max(float v)
{
    for (int m = 16; m; m >>= 1) v = fmaxf(v, __shfl_xor_sync(FULL_MASK, v, m));
    return v;
}
DEV float block_sum(float v, float *tmp) /* tmp: 32 floats of shared memory */
{
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP, n_warp = (int)blockDim.x / WARP;
    v = warp_sum(v);
    __syncthreads();
    if (l == 0) tmp[w] = v;
    __syncthreads();
    return warp_sum(l < n_warp ? tmp[l] : 0.0f);
}

/* --- matrix products of 16x16 by 16x8 with sums in f32 --- */

/* Where element e of a lane's part of the 16x8 result lies. */
DEV int frag_row(int lane, int e) { return (lane >> 2) + 8 * (e >> 1); }
DEV int frag_col(int lane, int e) { return (lane & 3) * 2 + (e & 1); }

/* The products without an instruction for them, from the other lanes' registers: rows l / 4 and l / 4 + 8 of a by columns
 * 2 (l % 4) and the next of b. Register i of a: row l / 4 + 8 (i % 2), columns 2 (l % 4) + 8 (i / 2) and the next. */
template <float (*NUMBER)(uint32_t)> DEV void mma_by_shuffles(float *d, const uint32_t *a, const uint32_t *b)
{
    const int l = (int)threadIdx.x % WARP, column = l % 4 * 2;
    for (int t = 0; t < 4; t++) {
        uint32_t fa[4], fb[2][2];
        for (int i = 0; i < 4; i++) fa[i] = __shfl_sync(FULL_MASK, a[i], l / 4 * 4 + t);
        for (int i = 0; i < 4; i++) fb[i / 2][i % 2] = __shfl_sync(FULL_MASK, b[i % 2], (column + i / 2) * 4 + t);
        for (int e = 0; e < 4; e++)
            for (int k = 0; k < 2; k++) {
                const uint32_t x = fa[e / 2 + 2 * k], y = fb[e % 2][k];
                d[e] += NUMBER(x & 0xffffu) * NUMBER(y & 0xffffu) + NUMBER(x >> 16) * NUMBER(y >> 16);
            }
    }
}
DEV float number_of_bf16(uint32_t v) { return dev_bf16_to_f32(v); }
DEV float number_of_f16(uint32_t v) { return dev_f16_to_f32((uint16_t)v); }
#ifdef __HIP__
DEV void dev_mma_bf16(float *d, const uint32_t *a, const uint32_t *b) { mma_by_shuffles<number_of_bf16>(d, a, b); }
DEV void dev_mma_f16(float *d, const uint32_t *a, const uint32_t *b) { mma_by_shuffles<number_of_f16>(d, a, b); }
#endif

#endif
