/* Products with matrices of plain numbers and of code books, one output row per warp; and the choice of a kernel. */
#include "backend/gpu/dev/codec.cuh"
#include "backend/gpu/dev/kernels.h"

enum { GEMV_WARPS = 8, GEMV_ROWS = 8, PREFETCH = 6 << 10 /* of a warp; as in qmm.cuh of a block */ };

/* Rows of x, or a work item's, times the row of w that the warp has; sums in f32. */
template <int T> __global__ void __launch_bounds__(GEMV_WARPS * WARP, 3) k_gemv(struct gpu_matmul a)
{
    using C = codec<T>;
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP;
    const uint32_t out = blockIdx.y * GEMV_WARPS + (uint32_t)w;
    const size_t row_bytes = (size_t)(a.w.n_in / C::BLOCK) * C::BYTES;
    if (!a.work && blockIdx.x == 0 && l == 0 && out < a.w.n_out) /* weights are there whatever the kernels before do */
        dev_prefetch((const uint8_t *)a.w.data + out * row_bytes, row_bytes < PREFETCH ? row_bytes : (size_t)PREFETCH);
    dev_after();
    struct gpu_work item = {0, blockIdx.x * GEMV_ROWS, GEMV_ROWS};
    if (a.work) {
        if (blockIdx.x >= *a.n_work_at) return;
        item = a.work[blockIdx.x];
    } else if (a.n_row - item.first < GEMV_ROWS) {
        item.n = a.n_row - item.first;
    }
    if (out >= a.w.n_out) return; /* the whole warp */
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

/* The way that so many rows take: the first line whose rows there are and that is possible here.
 *
 * Packed matrices: few rows wait for the weights to come from memory, which qmm.cuh reads once for 64 rows; with more it
 * reads them again and unpacks them again. Its unpacking costs two or three tensor-core products where a decoded matrix
 * needs one, but decoding writes and reads two bytes per weight on top. By instructions counted, not by a clock, decoding
 * pays from 150 to 400 rows on, later for simple formats. Other matrices are multiplied in f32 without tensor cores, which
 * decoding beats sooner; f32 itself stays what it is. A call of the library costs microseconds of the host's time, which
 * the device does not notice with 400 rows. No card has seen these numbers: `make bench-gpu` prints the ways side by side. */
static const struct { enum gpu_way way; uint32_t packed_rows, raw_rows; } ways[] = {
    {GPU_LIBRARY, GPU_LIBRARY_ROWS, GPU_LIBRARY_ROWS},
    {GPU_WGMMA, GPU_GEMM_ROWS, GPU_GEMM_ROWS_RAW},
    {GPU_TILES, GPU_GEMM_ROWS, GPU_GEMM_ROWS_RAW},
    {GPU_FEW, 0, 0},
};

static enum gpu_way way_of(const struct gpu_device *d, const struct gpu_matmul *a, bool raw)
{
    for (size_t i = 0;; i++) {
        const enum gpu_way way = ways[i].way;
        if (way == GPU_FEW) return way;
        if (a->way == GPU_AUTO ? a->n_row < (raw ? ways[i].raw_rows : ways[i].packed_rows) : way < a->way) continue;
        if (!a->panel || a->work || !a->x.b || a->w.type == DT_F32) continue;
        if ((way == GPU_LIBRARY && d->blas && a->room) || (way == GPU_WGMMA && d->hopper) || way == GPU_TILES) return way;
    }
}

static bool is_raw(uint32_t type)
{
    switch (type) {
#define CASE(T) case T:
        RAW_TYPES(CASE)
#undef CASE
        return true;
    default: return false;
    }
}

static void launch_gemv(cudaStream_t stream, const struct gpu_matmul *a)
{
    switch (a->w.type) {
#define CASE(T) case T: gemv<T>(stream, a); break;
        RAW_TYPES(CASE)
#undef CASE
    default: break;
    }
}

void launch_matmul(cudaStream_t stream, const struct gpu_device *d, const struct gpu_matmul *a)
{
    const bool raw = is_raw(a->w.type);
    const enum gpu_way way = way_of(d, a, raw);
    if (way != GPU_FEW)
        launch_gemm(stream, d, a, way);
    else if (raw)
        launch_gemv(stream, a);
    else if (!qmm_nibbles(stream, a) && !qmm_supers(stream, a))
        qmm_others(stream, a);
}
