/* A matrix times many rows of activations: the matrix is decoded to bf16, as many rows at a time as there is room for, and
 * multiplied by the library, by gemm90.cu, or here: in tiles of 128 by 128 on the tensor cores, both factors through
 * shared memory, three stages of 32 columns deep. */
#include "backend/gpu/dev/gemm.h"
#include "backend/gpu/dev/types.h"

enum {
    GEMM_TILE = 128, GEMM_K = 32, GEMM_STAGES = 3, GEMM_THREADS = 256,
    GEMM_LD = GEMM_K + 8, /* rows apart in shared memory: no two of eight in the same banks */
    GEMM_BYTES = GEMM_STAGES * 2 * GEMM_TILE * GEMM_LD * 2,
};

/* 128 rows of 32 columns from column k0 on; zeros beyond the last row. */
DEV void gemm_load(uint16_t *to, const uint16_t *from, uint32_t ld, uint32_t row0, uint32_t n_row, uint32_t k0)
{
    for (int i = (int)threadIdx.x; i < GEMM_TILE * GEMM_K / 8; i += GEMM_THREADS) {
        const uint32_t r = (uint32_t)i / (GEMM_K / 8), c = (uint32_t)i % (GEMM_K / 8) * 8;
        const uint4 zero = {0, 0, 0, 0};
        if (row0 + r < n_row)
            dev_cp_async16(to + r * GEMM_LD + c, from + (size_t)(row0 + r) * ld + k0 + c);
        else
            *(uint4 *)(to + r * GEMM_LD + c) = zero;
    }
}

/* Eight warps, each 64 rows of activations by 32 outputs of the tile. */
__global__ void __launch_bounds__(GEMM_THREADS, 1) k_gemm(struct gemm a)
{
    dev_after();
    DYN_SHARED(uint16_t, shared);
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP, m0 = w / 4 * 64, n0 = w % 4 * 32;
    const uint32_t row0 = blockIdx.x * GEMM_TILE, out0 = blockIdx.y * GEMM_TILE, n_step = a.n_in / GEMM_K;
    float acc[4][4][4] = {};

    for (uint32_t i = 0; i < GEMM_STAGES - 1; i++) {
        uint16_t *xs = shared + i * 2 * GEMM_TILE * GEMM_LD;
        if (i < n_step) {
            gemm_load(xs, a.x, a.ldx, row0, a.n_row, i * GEMM_K);
            gemm_load(xs + GEMM_TILE * GEMM_LD, a.w, a.n_in, out0, a.n_out, i * GEMM_K);
        }
        dev_cp_async_commit();
    }
    for (uint32_t i = 0; i < n_step; i++) {
        const uint16_t *xs = shared + i % GEMM_STAGES * 2 * GEMM_TILE * GEMM_LD, *ws = xs + GEMM_TILE * GEMM_LD;
        const uint32_t ahead = i + GEMM_STAGES - 1;
        dev_cp_async_wait<GEMM_STAGES - 2>();
        __syncthreads(); /* this stage has come, and the one that is filled next is done with */
        if (ahead < n_step) {
            uint16_t *next = shared + ahead % GEMM_STAGES * 2 * GEMM_TILE * GEMM_LD;
            gemm_load(next, a.x, a.ldx, row0, a.n_row, ahead * GEMM_K);
            gemm_load(next + GEMM_TILE * GEMM_LD, a.w, a.n_in, out0, a.n_out, ahead * GEMM_K);
        }
        dev_cp_async_commit();
#pragma unroll
        for (int k = 0; k < GEMM_K; k += 16) {
            uint32_t fx[4][4], fw[2][4];
#pragma unroll
            for (int m = 0; m < 4; m++) dev_ldmatrix_x4(fx[m], xs + (m0 + m * 16 + l % 16) * GEMM_LD + k + l / 16 * 8);
#pragma unroll
            for (int n = 0; n < 2; n++)
                dev_ldmatrix_x4(fw[n], ws + (n0 + n * 16 + l % 8 + l / 16 * 8) * GEMM_LD + k + l / 8 % 2 * 8);
#pragma unroll
            for (int m = 0; m < 4; m++)
#pragma unroll
                for (int n = 0; n < 4; n++) dev_mma_bf16(acc[m][n], fx[m], fw[n / 2] + n % 2 * 2);
        }
    }
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const uint32_t row = row0 + (uint32_t)(m0 + m * 16 + frag_row(l, e));
                const uint32_t out = out0 + (uint32_t)(n0 + n * 8 + frag_col(l, e));
                if (row < a.n_row && out < a.n_out) gemm_store(&a, row, out, acc[m][n][e]);
            }
}

/* y = bias, or y += bias. A block per row. */
__global__ void __launch_bounds__(256, 4) k_bias(struct gemm a)
{
    dev_after();
    float *y = a.y + (size_t)blockIdx.x * a.ldy;
    for (uint32_t i = threadIdx.x; i < a.n_out; i += blockDim.x) y[i] = a.add ? y[i] + a.bias[i] : a.bias[i];
}

static void tiles(cudaStream_t stream, const struct gemm *g)
{
    const dim3 grid((g->n_row + GEMM_TILE - 1) / GEMM_TILE, (g->n_out + GEMM_TILE - 1) / GEMM_TILE);
    LAUNCH(k_gemm, grid, GEMM_THREADS, (size_t)GEMM_BYTES, stream, *g);
}

void launch_gemm(cudaStream_t stream, const struct gpu_device *d, const struct gpu_matmul *a, enum gpu_way way)
{
    const uint32_t n_in = (a->w.n_in + GPU_PAD - 1) / GPU_PAD * GPU_PAD;
    const size_t row_bytes = (size_t)n_in * sizeof(uint16_t);
    const uint32_t panel = (uint32_t)(a->panel_bytes / row_bytes) / GEMM_TILE * GEMM_TILE;
    for (uint32_t at = 0; at < a->w.n_out; at += panel) {
        const uint32_t n = a->w.n_out - at < panel ? a->w.n_out - at : panel;
        launch_decode(stream, &a->w, at, n, a->panel);
        struct gemm g = {a->x.b, a->panel, a->bias ? a->bias + at : NULL, a->y + at, a->x.ld, a->ldy, a->n_row, n,
                         n_in, a->add};
        if (way == GPU_LIBRARY) {
            if (g.bias) {
                LAUNCH(k_bias, g.n_row, 256, 0, stream, g);
                g.bias = NULL, g.add = true;
            }
            if (blas_product(d->blas, stream, &g, a->room, a->room_bytes)) continue;
        }
        if (way <= GPU_WGMMA && d->hopper && launch_gemm90(stream, d, &g)) continue;
        tiles(stream, &g);
    }
}

bool gemm_prepare(void) { return dev_allow_shared(k_gemm, GEMM_BYTES); }
