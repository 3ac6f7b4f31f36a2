/* Plain bf16 products with many rows on Hopper: a producer warp has the tensor memory accelerator bring 128 rows of
 * activations and TN of the matrix, 64 columns at a time, several of these under way; two warpgroups multiply them from
 * shared memory, 64 rows each. The scheme is that of NVIDIA's CUTLASS (warp-specialised, without clusters) and of DeepGEMM (DeepSeek, 2025). */
#include "backend/gpu/dev/gemm.h"
#include "backend/gpu/dev/hopper.h"

#ifndef SIM
#include <cudaTypedefs.h>
#endif
#include <string.h>

enum { TM = 128, TK = HOPPER_ROW, CONSUMERS = 2, THREADS = CONSUMERS * 128 + WARP };

template <int TN> struct shape {
    enum {
        STAGES = TN == 256 ? 4 : 3, /* with three of the smaller, two blocks share a multiprocessor */
        BLOCKS = TN == 256 ? 1 : 2,
        STAGE_BYTES = (TM + TN) * TK * 2,
        BYTES = HOPPER_ALIGN + STAGES * STAGE_BYTES + 2 * STAGES * 8,
    };
};

struct gemm90 {
    dev_tensor_map x, w;
    struct gemm    g;
};

template <int TN>
__global__ void __launch_bounds__(THREADS, shape<TN>::BLOCKS) k_gemm90(const __grid_constant__ struct gemm90 a)
{
#ifdef DEV_HOPPER
    using S = shape<TN>;
    DYN_SHARED(char, raw);
    char *shared = dev_aligned(raw);
    uint64_t *full = (uint64_t *)(shared + S::STAGES * S::STAGE_BYTES), *empty = full + S::STAGES;
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP, group = w / 4;
    const int row0 = (int)blockIdx.x * TM, out0 = (int)blockIdx.y * TN, n_step = ((int)a.g.n_in + TK - 1) / TK;

    if (threadIdx.x == 0)
        for (int i = 0; i < S::STAGES; i++) {
            dev_mbar_init(&full[i], 1);
            dev_mbar_init(&empty[i], CONSUMERS * 4);
        }
    dev_mbar_init_done();
    __syncthreads();
    dev_after();

    if (group == CONSUMERS) { /* the producer; one thread is enough */
        for (int i = 0; l == 0 && i < n_step; i++) {
            const int s = i % S::STAGES;
            char *stage = shared + s * S::STAGE_BYTES;
            if (i >= S::STAGES) dev_mbar_wait(&empty[s], (i / S::STAGES - 1) & 1);
            dev_mbar_expect(&full[s], S::STAGE_BYTES);
            dev_tma_load(stage, &a.x, i * TK, row0, &full[s]);
            dev_tma_load(stage + TM * TK * 2, &a.w, i * TK, out0, &full[s]);
        }
        return;
    }

    float acc[TN / 2];
#pragma unroll
    for (int i = 0; i < TN / 2; i++) acc[i] = 0;
    for (int i = 0; i < n_step; i++) {
        const int s = i % S::STAGES;
        const char *xs = shared + s * S::STAGE_BYTES + group * 64 * TK * 2, *ws = shared + s * S::STAGE_BYTES + TM * TK * 2;
        dev_mbar_wait(&full[s], i / S::STAGES & 1);
        dev_wgmma_fence();
#pragma unroll
        for (int k = 0; k < TK; k += 16) dev_wgmma<TN>(acc, dev_wgmma_tile(xs + 2 * k), dev_wgmma_tile(ws + 2 * k));
        dev_wgmma_commit();
        dev_wgmma_wait<1>(); /* the step before is done with its stage */
        if (i > 0 && l == 0) dev_mbar_arrive(&empty[(i - 1) % S::STAGES]);
    }
    dev_wgmma_wait<0>();

#pragma unroll
    for (int i = 0; i < TN / 2; i++) {
        const uint32_t row = (uint32_t)(row0 + group * 64 + w % 4 * 16 + frag_row(l, i % 4));
        const uint32_t out = (uint32_t)(out0 + i / 4 * 8 + frag_col(l, i % 4));
        if (row < a.g.n_row && out < a.g.n_out) gemm_store(&a.g, row, out, acc[i]);
    }
#endif
}

template <int TN> static bool launch(cudaStream_t stream, const struct gemm *g)
{
    struct gemm90 a;
    a.g = *g;
    if (!dev_tensor_map_init(&a.x, g->x, g->n_row, g->n_in, g->ldx, TM) ||
        !dev_tensor_map_init(&a.w, g->w, g->n_out, g->n_in, g->n_in, TN))
        return false;
    const dim3 grid((g->n_row + TM - 1) / TM, (g->n_out + TN - 1) / TN);
    LAUNCH(k_gemm90<TN>, grid, THREADS, (size_t)shape<TN>::BYTES, stream, a);
    return true;
}

/* The larger tile loads less per product; the smaller one when that leaves no multiprocessor idle. */
bool launch_gemm90(cudaStream_t stream, const struct gpu_device *d, const struct gemm *g)
{
    const uint32_t large = ((g->n_row + TM - 1) / TM) * ((g->n_out + 255) / 256);
    return large >= d->n_core ? launch<256>(stream, g) : launch<128>(stream, g);
}

#ifdef SIM
bool gemm90_prepare(void) { return true; }
#else
/* The driver's function by way of the runtime, so that nothing links the driver. */
static PFN_cuTensorMapEncodeTiled_v12000 encode;

bool gemm90_prepare(void)
{
    enum cudaDriverEntryPointQueryResult found;
    void *f = NULL;
#if CUDART_VERSION >= 12050
    const cudaError_t r = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &found);
#else
    const cudaError_t r = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &f, cudaEnableDefault, &found);
#endif
    if (r != cudaSuccess || found != cudaDriverEntryPointSuccess) return false;
    memcpy(&encode, &f, sizeof f);
    return dev_allow_shared(k_gemm90<128>, shape<128>::BYTES) && dev_allow_shared(k_gemm90<256>, shape<256>::BYTES);
}

bool dev_tensor_map_init(dev_tensor_map *m, const uint16_t *p, uint32_t rows, uint32_t cols, uint32_t ld, uint32_t box_rows)
{
    const cuuint64_t size[] = {cols, rows}, stride[] = {(cuuint64_t)ld * sizeof *p};
    const cuuint32_t box[] = {HOPPER_ROW, box_rows}, step[] = {1, 1};
    return encode(m, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)(uintptr_t)p, size, stride, box, step,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}
#endif
