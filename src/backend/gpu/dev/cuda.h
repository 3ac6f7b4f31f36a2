/* The CUDA bodies of dev.h's vocabulary: inline PTX for compute capability 8.0 and later. */
#ifndef CORRAL_GPU_CUDA_H
#define CORRAL_GPU_CUDA_H

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define DYN_SHARED(T, name) extern __shared__ __align__(16) unsigned char dyn_shared_[]; T *name = (T *)dyn_shared_
#define LAUNCH(k, grid, block, dyn_bytes, stream, arg) dev_launch(k, grid, block, dyn_bytes, stream, arg)

extern thread_local bool dev_overlap; /* kernels may start before the one in front has ended: see dev_after */
template <class A>
static void dev_launch(void (*k)(A), dim3 grid, dim3 block, size_t dyn_bytes, cudaStream_t stream, const A &arg)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t c = {};
    c.gridDim = grid, c.blockDim = block, c.dynamicSmemBytes = dyn_bytes, c.stream = stream;
    c.attrs = &early, c.numAttrs = dev_overlap;
    (void)cudaLaunchKernelEx(&c, k, arg); /* an error is the device's last one, which sync asks for */
}
/* More dynamic shared memory than 48 KiB must be asked for. */
template <class K> static bool dev_allow_shared(K *k, int bytes)
{
    return cudaFuncSetAttribute(k, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) == cudaSuccess;
}

DEV void dev_after(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;" ::: "memory");
#endif
}
DEV void dev_prefetch(const uint8_t *p, size_t bytes) /* all but what does not fill sixteen */
{
#if __CUDA_ARCH__ >= 900
    const uint32_t skip = -(uint32_t)(uintptr_t)p & 15u, n = bytes > skip ? (uint32_t)(bytes - skip) & ~15u : 0;
    if (n) asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(p + skip), "r"(n) : "memory");
#endif
}

DEV float    dev_f16_to_f32(uint16_t h) { return __half2float(__ushort_as_half(h)); }
DEV uint16_t dev_f32_to_f16(float f) { return __half_as_ushort(__float2half_rn(f)); }
DEV uint32_t dev_mul_bf16x2(uint32_t a, uint32_t b) /* sm_80 multiplies only to add; it adds -0 */
{
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(0x80008000u));
    return d;
}

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
