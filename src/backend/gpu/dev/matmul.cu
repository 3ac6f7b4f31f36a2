/* Products with matrices of plain numbers and of code books, one output row per warp; and the choice of a kernel. */
#include "backend/gpu/dev/codec.cuh"
#include "backend/gpu/dev/kernels.h"

enum { GEMV_WARPS = 8, GEMV_ROWS = 8 };

/* Rows of x, or a work item's, times the row of w that the warp has; sums in f32. */
template <int T> __global__ void __launch_bounds__(GEMV_WARPS * WARP, 3) k_gemv(struct gpu_matmul a)
{
    using C = codec<T>;
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP;
    const uint32_t out = blockIdx.y * GEMV_WARPS + (uint32_t)w;
    struct gpu_work item = {0, blockIdx.x * GEMV_ROWS, GEMV_ROWS};
    if (a.work) {
        if (blockIdx.x >= *a.n_work_at) return;
        item = a.work[blockIdx.x];
    } else if (a.n_row - item.first < GEMV_ROWS) {
        item.n = a.n_row - item.first;
    }
    if (out >= a.w.n_out) return; /* the whole warp */
    const size_t row_bytes = (size_t)(a.w.n_in / C::BLOCK) * C::BYTES;
    const uint8_t *row = (const uint8_t *)a.w.data + item.expert * a.w.expert_bytes + out * row_bytes;
    for (uint32_t r0 = 0; r0 < item.n; r0 += GEMV_ROWS) {
        const int n = item.n - r0 < GEMV_ROWS ? (int)(item.n - r0) : (int)GEMV_ROWS;
        const float *x[GEMV_ROWS];
#pragma unroll
        for (int r = 0; r < GEMV_ROWS; r++) {
            uint32_t from = item.first + r0 + (uint32_t)r;
            if (a.work && r < n) from = a.order[from] / a.x_div;
            x[r] = a.x.f + (size_t)from * a.x.ld;
        }
        float acc[GEMV_ROWS] = {};
        for (uint32_t at = (uint32_t)l * 8; at < a.w.n_in; at += WARP * 8) {
            float v[8];
            C::eight(row, (int)at, (int)a.w.n_in, v);
#pragma unroll
            for (int r = 0; r < GEMV_ROWS; r++) {
                if (r >= n) break;
                const float4 p = *(const float4 *)(x[r] + at), q = *(const float4 *)(x[r] + at + 4);
                acc[r] += v[0] * p.x + v[1] * p.y + v[2] * p.z + v[3] * p.w + v[4] * q.x + v[5] * q.y + v[6] * q.z +
                          v[7] * q.w;
            }
        }
#pragma unroll
        for (int r = 0; r < GEMV_ROWS; r++) {
            if (r >= n) break;
            float v = warp_sum(acc[r]);
            if (l != 0) continue;
            if (a.bias) v += a.bias[out];
            const uint32_t to = item.first + r0 + (uint32_t)r;
            float *y = a.y + (size_t)(a.work ? a.order[to] : to) * a.ldy + out;
            *y = a.add ? *y + v : v;
        }
    }
}

template <int T> static void gemv(cudaStream_t stream, const struct gpu_matmul *a)
{
    const dim3 grid(a->work ? a->n_work : (a->n_row + GEMV_ROWS - 1) / GEMV_ROWS,
                    (a->w.n_out + GEMV_WARPS - 1) / GEMV_WARPS);
    LAUNCH(k_gemv<T>, grid, GEMV_WARPS * WARP, 0, stream, *a);
}

void launch_matmul(cudaStream_t stream, const struct gpu_matmul *a)
{
    switch (a->w.type) {
#define CASE(T) case T: gemv<T>(stream, a); return;
        RAW_TYPES(CASE)
#undef CASE
    default: break;
    }
    if (a->panel && !a->work && a->n_row >= GPU_GEMM_ROWS)
        launch_gemm(stream, a);
    else if (!qmm_nibbles(stream, a) && !qmm_supers(stream, a)) qmm_others(stream, a);
}
