/* One vocabulary for kernels: CUDA, or the simulator (../sim/sim.h) when SIM is defined.
 *
 * Rules that keep a kernel the same everywhere: intrinsics and assembly only here; device functions are static; warps
 * are 32 lanes and warp operations name all of them; a kernel takes one struct; launches by LAUNCH, dynamic shared memory by DYN_SHARED, and
 * nothing else in a template (g++ forgets the section of a template's variable); numbers
 * are stored as uint8_t, uint16_t and uint32_t and computed as float; the elements of a matrix fragment are found by
 * frag_row and frag_col; __launch_bounds__ with both arguments (with one, ptxas may choose few registers and spill). */
#ifndef CORRAL_GPU_DEV_H
#define CORRAL_GPU_DEV_H

#include <stddef.h>
#include <stdint.h>

#ifdef SIM
#include "backend/gpu/sim/sim.h"
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define DYN_SHARED(T, name) extern __shared__ __align__(16) unsigned char dyn_shared_[]; T *name = (T *)dyn_shared_
#define LAUNCH(k, grid, block, dyn_bytes, stream, arg) k<<<grid, block, dyn_bytes, stream>>>(arg)
#endif

#define DEV static __device__ __forceinline__
enum { WARP = 32 };
#define FULL_MASK 0xffffffffu

/* --- numbers --- */

#ifndef SIM
DEV float    dev_f16_to_f32(uint16_t h) { return __half2float(__ushort_as_half(h)); }
DEV uint16_t dev_f32_to_f16(float f) { return __half_as_ushort(__float2half_rn(f)); }
#endif
DEV float dev_bf16_to_f32(uint32_t h) { return __uint_as_float(h << 16); }
DEV uint32_t dev_f32_to_bf16(float f) /* to nearest even; NaN stays NaN */
{
    uint32_t u = __float_as_uint(f);
    return (u & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
DEV uint32_t pack_bf16(float lo, float hi) { return dev_f32_to_bf16(lo) | dev_f32_to_bf16(hi) << 16; }
/* A half that stays finite: what is too large for it becomes its largest number. */
DEV uint16_t f16_saturate(float f) { return dev_f32_to_f16(fminf(fmaxf(f, -65504.0f), 65504.0f)); }
DEV uint32_t pack_f16(float lo, float hi) { return f16_saturate(lo) | (uint32_t)f16_saturate(hi) << 16; }

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

/* --- asynchronous copies, and matrix products of 16x16 by 16x8 with sums in f32 --- */

#ifndef SIM
DEV unsigned dev_shared_address(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }
DEV void dev_cp_async16(void *dst, const void *src)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dev_shared_address(dst)), "l"(src) : "memory");
}
DEV void dev_cp_async_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEV void dev_cp_async_wait(void) { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
DEV void dev_ldmatrix_x4(uint32_t *r, const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(dev_shared_address(row)) : "memory");
}
DEV void dev_ldmatrix_x4_t(uint32_t *r, const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(dev_shared_address(row)) : "memory");
}
DEV void dev_mma_bf16(float *d, const uint32_t *a, const uint32_t *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEV void dev_mma_f16(float *d, const uint32_t *a, const uint32_t *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif
/* Where element e of a lane's part of the 16x8 result lies. */
DEV int frag_row(int lane, int e) { return (lane >> 2) + 8 * (e >> 1); }
DEV int frag_col(int lane, int e) { return (lane & 3) * 2 + (e & 1); }

#endif
