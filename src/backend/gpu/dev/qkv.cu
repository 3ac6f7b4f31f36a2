/* From the rows of the q, k, v product to queries and to the KV cache. */
#include "backend/gpu/dev/kernels.h"
#include "backend/gpu/dev/types.h"

/* A block per token; the angle is reduced in double, so positions may be large. */
__global__ void __launch_bounds__(128, 8) k_rope_table(struct gpu_rope_table a)
{
    dev_after();
    for (uint32_t i = threadIdx.x; i < a.n_pair; i += blockDim.x) {
        double turns = (double)a.pos[blockIdx.x] * (double)a.inv_freq[i] * 0.15915494309189535;
        turns -= rint(turns);
        const float angle = (float)(turns * 6.283185307179586);
        float *to = a.cos_sin + 2 * ((size_t)blockIdx.x * a.n_pair + i);
        to[0] = cosf(angle) * a.scale;
        to[1] = sinf(angle) * a.scale;
    }
}

void launch_rope_table(cudaStream_t stream, const struct gpu_rope_table *a)
{
    const uint32_t threads = a->n_pair > 32 ? 128 : 32;
    LAUNCH(k_rope_table, a->n_tok, threads, 0, stream, *a);
}

enum { QKV_WARPS = 4, QKV_PER_LANE = GPU_MAX_HEAD_DIM / WARP };

/* head_dim numbers, lane l's being l, l + 32, ..., to a row of the cache. */
DEV void kv_store(uint8_t *row, uint32_t type, const float *v, int hd, int lane)
{
    for (int i = 0, at = lane; at < (hd + WARP - 1) / WARP * WARP; i++, at += WARP) {
        if (type == DT_F16 && at < hd) ((uint16_t *)row)[at] = f16_saturate(v[i]);
        if (type == DT_BF16 && at < hd) ((uint16_t *)row)[at] = (uint16_t)dev_f32_to_bf16(v[i]);
        if (type == DT_F32 && at < hd) ((float *)row)[at] = v[i];
        if (type == DT_Q8_0 || type == DT_FP8) { /* hd is a multiple of 32: a block per turn */
            const uint16_t h = f16_saturate(warp_max(fabsf(v[i])) / (type == DT_Q8_0 ? 127.0f : 448.0f));
            const float d = dev_f16_to_f32(h), x = d != 0 ? v[i] / d : 0.0f;
            uint8_t *block = row + i * 34;
            if (lane < 2) block[lane] = (uint8_t)(h >> 8 * lane);
            block[2 + lane] = type == DT_Q8_0 ? (uint8_t)(int8_t)rintf(fminf(fmaxf(x, -127.0f), 127.0f))
                                              : (uint8_t)dev_f32_to_e4m3(x);
        }
    }
}

/* A warp per head of a token: query heads, then key heads, then value heads. */
__global__ void __launch_bounds__(QKV_WARPS * WARP, 8) k_qkv(struct gpu_qkv a)
{
    dev_after();
    __shared__ float turn[QKV_WARPS][GPU_MAX_HEAD_DIM];
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP, hd = (int)a.head_dim;
    const uint32_t head = blockIdx.y * QKV_WARPS + (uint32_t)w, n = a.n_head + 2 * a.n_head_kv, t = blockIdx.x;
    if (head >= n) return; /* the whole warp */
    const bool is_q = head < a.n_head, is_v = head >= a.n_head + a.n_head_kv;
    const float *x = a.qkv + ((size_t)t * n + head) * (size_t)hd;
    float v[QKV_PER_LANE] = {};
#pragma unroll
    for (int i = 0; i < QKV_PER_LANE; i++)
        if (l + i * WARP < hd) v[i] = x[l + i * WARP];

    const float *weight = is_v ? NULL : is_q ? a.q_norm : a.k_norm;
    if (weight) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < QKV_PER_LANE; i++) sum += v[i] * v[i];
        const float inv = rsqrtf(warp_sum(sum) / (float)hd + a.eps);
#pragma unroll
        for (int i = 0; i < QKV_PER_LANE; i++)
            if (l + i * WARP < hd) v[i] *= inv * weight[l + i * WARP];
    }
    if (a.cos_sin && !is_v) {
        const float *cs = a.cos_sin + 2 * (size_t)t * a.n_pair;
        const int np = (int)a.n_pair;
#pragma unroll
        for (int i = 0; i < QKV_PER_LANE; i++)
            if (l + i * WARP < hd) turn[w][l + i * WARP] = v[i];
        __syncwarp();
#pragma unroll
        for (int i = 0; i < QKV_PER_LANE; i++) {
            const int at = l + i * WARP;
            if (at >= 2 * np) continue;
            const int pair = a.interleaved ? at / 2 : at % np;
            const bool second = a.interleaved ? at % 2 : at >= np;
            const int other = a.interleaved ? at ^ 1 : second ? at - np : at + np;
            const float c = cs[2 * pair], s = cs[2 * pair + 1];
            v[i] = second ? turn[w][other] * s + v[i] * c : v[i] * c - turn[w][other] * s;
        }
    }
    if (is_q) {
        uint16_t *q = a.q + ((size_t)t * a.n_head + head) * (size_t)hd;
#pragma unroll
        for (int i = 0; i < QKV_PER_LANE; i++)
            if (l + i * WARP < hd) q[l + i * WARP] = f16_saturate(v[i] * a.q_scale);
    } else if (a.kv_slot[t] != UINT32_MAX) {
        const uint32_t slot = a.kv_slot[t], kv_head = head - a.n_head - (is_v ? a.n_head_kv : 0);
        uint8_t *row = a.kv.data + slot / 16 * a.kv.block_bytes + ((size_t)a.layer * 2 + is_v) * a.kv.part_bytes +
                       kv_head * a.kv.head_bytes + slot % 16 * a.kv.row_bytes;
        kv_store(row, a.kv.type, v, hd, l);
    }
}

void launch_qkv(cudaStream_t stream, const struct gpu_qkv *a)
{
    const dim3 grid(a->n_tok, (a->n_head + 2 * a->n_head_kv + QKV_WARPS - 1) / QKV_WARPS);
    LAUNCH(k_qkv, grid, QKV_WARPS * WARP, 0, stream, *a);
}
