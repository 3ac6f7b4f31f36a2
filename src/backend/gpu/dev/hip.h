/* The HIP bodies of dev.h's vocabulary, for AMD's gfx90a and gfx1030. They compile with Debian's hipcc (5.2) and have never
 * run: there is no runtime behind ops.h for them. A warp is 32 lanes here, too; where a wavefront has 64, it is two warps.
 * Copies are made at once, and matrix products by shuffles: AMD's own fragments are of another shape. */
#ifndef CORRAL_GPU_HIP_H
#define CORRAL_GPU_HIP_H

#include <hip/hip_runtime.h>
#include <hip/hip_fp16.h>

#define DYN_SHARED(T, name) extern __shared__ __align__(16) unsigned char dyn_shared_[]; T *name = (T *)dyn_shared_
#define LAUNCH(k, grid, block, dyn_bytes, stream, arg) k<<<grid, block, dyn_bytes, stream>>>(arg)
typedef hipStream_t cudaStream_t;
template <class K> static bool dev_allow_shared(K *, int bytes) { return bytes <= 64 << 10; }

/* The masks are always full. */
#define __shfl_sync(mask, v, lane)  __shfl(v, lane, 32)
#define __shfl_xor_sync(mask, v, x) __shfl_xor(v, x, 32)
#define __ballot_sync(mask, p)      (uint32_t)(__ballot(p) >> (__lane_id() & 32u))
#define __syncwarp()                __builtin_amdgcn_wave_barrier()

DEV void dev_after(void) {}
DEV void dev_prefetch(const uint8_t *, size_t) {}

DEV float    dev_f16_to_f32(uint16_t h) { return __half2float(__ushort_as_half(h)); }
DEV uint16_t dev_f32_to_f16(float f) { return __half_as_ushort(__float2half_rn(f)); }

DEV void dev_cp_async16(void *dst, const void *src) { *(uint4 *)dst = *(const uint4 *)src; }
DEV void dev_cp_async_commit(void) {}
template <int N> DEV void dev_cp_async_wait(void) {}

/* Lane 8 r + i has the address of row i of matrix r. */
DEV const uint8_t *dev_row_of(const void *row, int lane)
{
    return (const uint8_t *)(uintptr_t)__shfl((unsigned long long)(uintptr_t)row, lane, 32);
}
DEV void dev_ldmatrix_x4(uint32_t *r, const void *row)
{
    const int l = (int)threadIdx.x % 32;
    for (int i = 0; i < 4; i++) r[i] = *(const uint32_t *)(dev_row_of(row, 8 * i + l / 4) + l % 4 * 4);
}
DEV void dev_ldmatrix_x4_t(uint32_t *r, const void *row)
{
    const int l = (int)threadIdx.x % 32;
    for (int i = 0; i < 4; i++) {
        const uint16_t *up = (const uint16_t *)dev_row_of(row, 8 * i + l % 4 * 2);
        const uint16_t *low = (const uint16_t *)dev_row_of(row, 8 * i + l % 4 * 2 + 1);
        r[i] = up[l / 4] | (uint32_t)low[l / 4] << 16;
    }
}

#endif
