/* Products of a packed matrix with a few rows of activations on the tensor cores.
 *
 * A thread block computes one strip (16 outputs) for 8 NT rows of activations. Its warps split the columns: chunks of
 * 128 go round the warps, and their sums are added up at the end in the order of the warps, so the result of a row
 * depends neither on the other rows nor on the launch. Weights go from memory to registers as they lie there, the words
 * of a chunk all asked for before the first is used; a warp turns them into fragments by AND and OR. */
#ifndef CORRAL_GPU_QMM_CUH
#define CORRAL_GPU_QMM_CUH

#include "backend/gpu/dev/codec.cuh"
#include "backend/gpu/dev/kernels.h"

enum { QMM_CHUNK = 4 /* groups of 32 columns */, QMM_WARPS = 8 };
enum { PREFETCH = 48 << 10 /* of a block: the blocks that a card runs at once have room for it in its cache */ };

/* One lane's words of 32 columns. */
template <int T> struct qmm_words {
    using P = packed<T>;
    uint32_t low[P::LOW == 16 ? 8 : P::LOW == 8 ? 4 : P::LOW == 4 ? 2 : 1], high[P::HIGH == 4 ? 2 : 1];

    __device__ __forceinline__ void load(const uint8_t *strip, int group, int lane)
    {
        const uint8_t *unit = strip + (size_t)(group / (P::BLOCK / 32)) * P::UNIT;
        const int g = group % (P::BLOCK / 32);
        const uint8_t *l = unit + g * P::LOW_BYTES, *h = unit + P::HIGH_AT + g * P::HIGH_BYTES;
        if constexpr (P::LOW == 16) {
            const uint4 a = ((const uint4 *)l)[lane], b = ((const uint4 *)l)[WARP + lane];
            low[0] = a.x, low[1] = a.y, low[2] = a.z, low[3] = a.w;
            low[4] = b.x, low[5] = b.y, low[6] = b.z, low[7] = b.w;
        } else if constexpr (P::LOW == 8) {
            const uint4 a = ((const uint4 *)l)[lane];
            low[0] = a.x, low[1] = a.y, low[2] = a.z, low[3] = a.w;
        } else if constexpr (P::LOW == 4) {
            const uint2 a = ((const uint2 *)l)[lane];
            low[0] = a.x, low[1] = a.y;
        } else {
            low[0] = ((const uint32_t *)l)[lane];
        }
        if constexpr (P::HIGH == 4) {
            const uint2 a = ((const uint2 *)h)[lane];
            high[0] = a.x, high[1] = a.y;
        }
        if constexpr (P::HIGH == 2) high[0] = ((const uint32_t *)h)[lane];
        if constexpr (P::HIGH == 1) {
            const uint32_t v = ((const uint16_t *)h)[lane];
            high[0] = v | v << 8; /* bit k of both bytes, sixteen apart */
        }
    }

    /* The fragment of 16 columns, s of the 32: the values themselves, or 128 + code. */
    __device__ __forceinline__ void fragment(uint32_t *a, int s, const uint32_t *pairs) const
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if constexpr (P::LOW == 16)
                a[i] = low[4 * s + i];
            else if constexpr (P::LOW == 8)
                a[i] = P::pair(low[2 * s + i / 2] >> 8 * (i % 2));
            else if constexpr (P::LUT)
                a[i] = pairs[low[s] >> 8 * i & 255];
            else if constexpr (P::LOW == 4)
                a[i] = (low[s] >> 4 * i & 0x000f000fu) | 0x43004300u;
            else
                a[i] = (low[0] >> (2 * i + 8 * s) & 0x00030003u) | 0x43004300u;
            if constexpr (P::HIGH == 2) a[i] |= (high[0] >> (2 * i + 8 * s) & 0x00030003u) << P::LOW;
            if constexpr (P::HIGH == 1) a[i] |= (high[0] >> (i + 4 * s) & 0x00010001u) << P::LOW;
        }
    }
    __device__ __forceinline__ void fragment_high(uint32_t *a, int s) const /* 128 + the upper four bits */
    {
#pragma unroll
        for (int i = 0; i < 4; i++) a[i] = (high[s] >> 4 * i & 0x000f000fu) | 0x43004300u;
    }
};

/* Two codes of a code book in a byte, as two values. By the whole block. */
template <int T> DEV void qmm_pairs(uint32_t *pairs)
{
    for (int i = (int)threadIdx.x; i < 256; i += (int)blockDim.x)
        pairs[i] = pack_bf16((float)packed<T>::value((uint32_t)i & 15), (float)packed<T>::value((uint32_t)i >> 4));
}

/* sum += scale of the row * (products with codes); c: products with 128 + low code, d: with 128 + high, u: with 1. */
template <int T>
DEV void qmm_fold(float *acc, float *c, float *d, float *u, const uint8_t *unit, int group, int lane)
{
    using P = packed<T>;
    float s[2], m[2];
    P::row_scale(unit, lane / 4, group, &s[0], &m[0]);
    P::row_scale(unit, lane / 4 + 8, group, &s[1], &m[1]);
#pragma unroll
    for (int e = 0; e < 4; e++) {
        float v = c[e];
        if constexpr (!P::DIRECT) v -= 128 * u[e];
        if constexpr (P::HIGH == 4) v += 16 * (d[e] - 128 * u[e]);
        acc[e] += s[e / 2] * v;
        if constexpr (!P::DIRECT) acc[e] += m[e / 2] * u[e];
        c[e] = d[e] = u[e] = 0;
    }
}

template <int T, int NT> __global__ void __launch_bounds__(QMM_WARPS * WARP, NT == 1 ? 3 : 2) k_qmm(struct gpu_matmul a)
{
    using P = packed<T>;
    DYN_SHARED(float, sums); /* [warp][NT * 128], then for code books 256 pairs of values */
    uint32_t *pairs = (uint32_t *)(sums + blockDim.x / WARP * NT * 128);
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP, n_warp = (int)blockDim.x / WARP;
    const int n_group = (int)a.w.n_in / 32;
    const size_t strip_bytes = (size_t)(a.w.n_in / P::BLOCK) * P::UNIT;
    struct gpu_work item = {0, blockIdx.x * (8 * NT), 0};
    /* Weights are there whatever the kernels before this one still do. */
    if (!a.work && threadIdx.x == 0 && blockIdx.x == 0)
        dev_prefetch((const uint8_t *)a.w.data + blockIdx.y * strip_bytes,
                     strip_bytes < PREFETCH ? strip_bytes : (size_t)PREFETCH);
    dev_after();
    if (a.work) {
        if (blockIdx.x >= *a.n_work_at) return;
        item = a.work[blockIdx.x];
    } else {
        item.n = a.n_row - item.first < 8 * NT ? a.n_row - item.first : 8 * NT;
    }
    const uint8_t *strip = (const uint8_t *)a.w.data + item.expert * a.w.expert_bytes + blockIdx.y * strip_bytes;
    if constexpr (P::LUT) {
        qmm_pairs<T>(pairs);
        __syncthreads();
    }

    uint32_t x[NT]; /* where this lane's row of activations begins, in each tile; UINT32_MAX: there is none */
#pragma unroll
    for (int t = 0; t < NT; t++) {
        const uint32_t r = (uint32_t)(8 * t + l / 4);
        uint32_t row = item.first + r;
        if (a.work && r < item.n) row = a.order[row] / a.x_div;
        x[t] = r < item.n ? row * a.x.ld + 4 * ((uint32_t)l % 4) : UINT32_MAX;
    }

    const uint32_t one[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u};
    float acc[NT][4] = {};
    for (int g0 = w * QMM_CHUNK; g0 < n_group; g0 += n_warp * QMM_CHUNK) {
        struct qmm_words<T> words[QMM_CHUNK];
        const int n = n_group - g0 < QMM_CHUNK ? n_group - g0 : QMM_CHUNK;
#pragma unroll
        for (int j = 0; j < QMM_CHUNK; j++)
            if (j < n) words[j].load(strip, g0 + j, l);
#pragma unroll
        for (int j = 0; j < QMM_CHUNK; j++) {
            if (j >= n) break;
            uint32_t fa[2][4], fh[2][4];
#pragma unroll
            for (int s = 0; s < 2; s++) {
                words[j].fragment(fa[s], s, pairs);
                if constexpr (P::HIGH == 4) words[j].fragment_high(fh[s], s);
            }
            const int in_unit = (g0 + j) % (P::BLOCK / 32);
            const uint8_t *unit = strip + (size_t)((g0 + j) / (P::BLOCK / 32)) * P::UNIT;
#pragma unroll
            for (int t = 0; t < NT; t++) {
                if (8 * t >= (int)item.n) break;
                float c[4] = {}, d[4] = {}, u[4] = {};
#pragma unroll
                for (int s = 0; s < 2; s++) {
                    uint2 v = {0, 0};
                    if (x[t] != UINT32_MAX) v = *(const uint2 *)(a.x.b + x[t] + (g0 + j) * 32 + s * 16);
                    const uint32_t b[2] = {v.x, v.y};
                    if constexpr (T == DT_BF16) {
                        dev_mma_bf16(acc[t], fa[s], b);
                    } else {
                        dev_mma_bf16(c, fa[s], b);
                        if constexpr (P::HIGH == 4) dev_mma_bf16(d, fh[s], b);
                        if constexpr (!P::DIRECT) dev_mma_bf16(u, one, b);
                        if constexpr (P::GROUP == 16) qmm_fold<T>(acc[t], c, d, u, unit, 2 * in_unit + s, l);
                    }
                }
                if constexpr (P::GROUP == 32) qmm_fold<T>(acc[t], c, d, u, unit, in_unit, l);
            }
        }
    }

#pragma unroll
    for (int t = 0; t < NT; t++)
#pragma unroll
        for (int e = 0; e < 4; e++) sums[(w * NT + t) * 128 + e * WARP + l] = acc[t][e];
    __syncthreads();
    for (int i = (int)threadIdx.x; i < NT * 128; i += (int)blockDim.x) {
        const int e = i / WARP % 4, lane = i % WARP;
        const uint32_t r = (uint32_t)(i / 128 * 8 + frag_col(lane, e));
        const uint32_t out = blockIdx.y * GPU_STRIP + (uint32_t)frag_row(lane, e);
        if (r >= item.n || out >= a.w.n_out) continue;
        float v = 0;
        for (int k = 0; k < n_warp; k++) v += sums[k * NT * 128 + i];
        if (a.bias) v += a.bias[out];
        float *y = a.y + (size_t)(a.work ? a.order[item.first + r] : item.first + r) * a.ldy + out;
        *y = a.add ? *y + v : v;
    }
}

template <int T, int NT> static void qmm_launch(cudaStream_t stream, const struct gpu_matmul *a)
{
    /* As many warps as have chunks; a matter of the matrix alone, so that sums have one order. */
    const uint32_t chunks = (a->w.n_in / 32 + QMM_CHUNK - 1) / QMM_CHUNK;
    const uint32_t warps = chunks < QMM_WARPS ? chunks : (uint32_t)QMM_WARPS;
    const dim3 grid(a->work ? a->n_work : (a->n_row + 8 * NT - 1) / (8 * NT), (a->w.n_out + GPU_STRIP - 1) / GPU_STRIP);
    const size_t bytes = warps * NT * 128 * sizeof(float) + (codec<T>::LUT ? 256 * sizeof(uint32_t) : 0);
    LAUNCH((k_qmm<T, NT>), grid, warps * WARP, bytes, stream, *a);
}

template <int T> static void qmm(cudaStream_t stream, const struct gpu_matmul *a)
{
    if (a->work ? a->work_rows == GPU_WORK_ROWS : a->n_row <= 8)
        qmm_launch<T, 1>(stream, a);
    else
        qmm_launch<T, 8>(stream, a);
}

#define QMM_CASE(T) case T: qmm<T>(stream, a); return true;

#endif
