/* Attention over the paged KV cache, for decode and for chunked prefill alike.
 *
 * A thread block takes one tile: up to 64 query rows that share a KV head (the tokens of one sequence times the heads of
 * a group), and a range of keys. Keys and values of 64 (or 32) positions at a time go to shared memory as f16, whatever
 * the cache holds, those of the next step while this one is computed; each warp multiplies its 16 rows with them on the
 * tensor cores, with one update of the running softmax per step. At decode most rows are empty: warps without rows only
 * help to load, and keys are read once for all heads of a group. Long sequences at decode are cut into parts, whose sums
 * a second kernel adds in order.
 * The algorithm is that of FlashAttention-2 (Dao, 2023), with the split of Flash-Decoding (Dao et al., 2023). */
#include "backend/gpu/dev/kernels.h"
#include "backend/gpu/dev/types.h"

enum { ATTN_WARPS = GPU_ATTN_ROWS / 16, ATTN_THREADS = ATTN_WARPS * WARP };

/* Eight numbers of a cached row as f16, from number `at` on; zeros beyond hd. */
DEV uint4 kv_eight(const uint8_t *row, uint32_t type, int at, int hd)
{
    uint16_t h[8];
    if (type == DT_F16 && hd % 8 == 0) return *(const uint4 *)(row + 2 * at);
    if (type == DT_Q8_0 || type == DT_FP8) {
        const uint8_t *block = row + at / 32 * 34, *q = block + 2 + at % 32;
        const float d = dev_f16_to_f32((uint16_t)(block[0] | block[1] << 8));
        for (int i = 0; i < 8; i++) h[i] = f16_saturate(d * (type == DT_Q8_0 ? (float)(int8_t)q[i] : dev_e4m3_to_f32(q[i])));
    } else {
        for (int i = 0; i < 8; i++) {
            h[i] = 0;
            if (at + i >= hd) continue;
            if (type == DT_F16) h[i] = ((const uint16_t *)row)[at + i];
            if (type == DT_BF16) h[i] = f16_saturate(dev_bf16_to_f32(((const uint16_t *)row)[at + i]));
            if (type == DT_F32) h[i] = f16_saturate(((const float *)row)[at + i]);
        }
    }
    const uint4 v = {h[0] | (uint32_t)h[1] << 16, h[2] | (uint32_t)h[3] << 16, h[4] | (uint32_t)h[5] << 16,
                     h[6] | (uint32_t)h[7] << 16};
    return v;
}

/* Keys and values of positions [k0, k0 + KEYS) to shared memory, rows ld apart; zeros where there are none. */
template <int HD, int KEYS>
DEV void load_keys(uint16_t *ks, uint16_t *vs, const struct gpu_attn *a, const uint8_t *base, const uint32_t *table,
                   uint32_t k0, uint32_t to)
{
    const int hd = (int)a->head_dim;
    for (int i = (int)threadIdx.x; i < KEYS * HD / 8; i += ATTN_THREADS) {
        const int j = i / (HD / 8), at = i % (HD / 8) * 8, place = j * (HD + 8) + at;
        const uint32_t key = k0 + (uint32_t)j;
        if (key < to && at < hd) {
            const uint8_t *row = base + table[key / 16] * a->kv.block_bytes + key % 16 * a->kv.row_bytes;
            if (a->kv.type == DT_F16 && hd % 8 == 0) {
                dev_cp_async16(ks + place, row + 2 * at);
                dev_cp_async16(vs + place, row + a->kv.part_bytes + 2 * at);
            } else {
                *(uint4 *)(ks + place) = kv_eight(row, a->kv.type, at, hd);
                *(uint4 *)(vs + place) = kv_eight(row + a->kv.part_bytes, a->kv.type, at, hd);
            }
        } else {
            const uint4 zero = {0, 0, 0, 0};
            *(uint4 *)(ks + place) = zero;
            *(uint4 *)(vs + place) = zero;
        }
    }
    dev_cp_async_commit();
}

/* Query row r of a tile is head r % group of its KV head, of token r / group. */
template <int HD, int KEYS> __global__ void __launch_bounds__(ATTN_THREADS, HD > 128 ? 1 : 2) k_attn(struct gpu_attn a)
{
    dev_after();
    enum { LD = HD + 8 /* rows apart, in halves: no two of eight rows in the same banks */ };
    DYN_SHARED(uint16_t, shared);
    uint16_t *qs = shared, *stage = qs + GPU_ATTN_ROWS * LD; /* two stages of keys, then values */
    const struct gpu_tile tile = a.tile[blockIdx.x];
    if (tile.n_token == 0) return;
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP, hd = (int)a.head_dim;
    const uint32_t group = a.n_head / a.n_head_kv, kv_head = blockIdx.y, n_row = tile.n_token * group;
    const uint32_t *table = a.table + tile.table;
    const uint8_t *k_base = a.kv.data + (size_t)a.layer * 2 * a.kv.part_bytes + kv_head * a.kv.head_bytes;
    const bool busy = (uint32_t)w * 16 < n_row;
    /* The last key that a row of this warp sees; the first that a row of the tile does. */
    const uint32_t last = tile.pos + ((uint32_t)w * 16 + 15 < n_row ? (uint32_t)w * 16 + 15 : n_row - 1) / group;
    const uint32_t seen_from = a.window && tile.pos + 1 > a.window ? tile.pos + 1 - a.window : 0;

    for (int i = (int)threadIdx.x; i < GPU_ATTN_ROWS * HD / 8; i += ATTN_THREADS) {
        const int r = i / (HD / 8), at = i % (HD / 8) * 8;
        uint4 v = {0, 0, 0, 0};
        if ((uint32_t)r < n_row && at < hd) {
            const uint16_t *q = a.q + ((size_t)(tile.token + (uint32_t)r / group) * a.n_head + kv_head * group +
                                       (uint32_t)r % group) * (size_t)hd;
            v = kv_eight((const uint8_t *)q, DT_F16, at, hd);
        }
        *(uint4 *)(qs + r * LD + at) = v;
    }

    /* Of this lane's two rows: position, whether there is a row, running maximum and sum. */
    uint32_t pos[2];
    float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0}, o[HD / 8][4] = {};
#pragma unroll
    for (int h = 0; h < 2; h++) pos[h] = tile.pos + (uint32_t)(w * 16 + l / 4 + 8 * h) / group;

    /* Steps begin at multiples of KEYS whatever the tile, so that a row's sums are the same in any tile. */
    const uint32_t first = (tile.from > seen_from ? tile.from : seen_from) / KEYS * KEYS;
    load_keys<HD, KEYS>(stage, stage + KEYS * LD, &a, k_base, table, first, tile.to);
    for (uint32_t k0 = first, turn = 0; k0 < tile.to; k0 += KEYS, turn ^= 1) {
        uint16_t *ks = stage + turn * (2 * KEYS * LD), *vs = ks + KEYS * LD, *next = stage + (turn ^ 1) * (2 * KEYS * LD);
        __syncthreads(); /* the keys of the last step are done with */
        if (k0 + KEYS < tile.to) {
            load_keys<HD, KEYS>(next, next + KEYS * LD, &a, k_base, table, k0 + KEYS, tile.to);
            dev_cp_async_wait<1>();
        } else {
            dev_cp_async_wait<0>();
        }
        __syncthreads();
        if (!busy || k0 > last) continue;

        float s[KEYS / 8][4] = {};
#pragma unroll
        for (int d = 0; d < HD; d += 16) {
            uint32_t fq[4], fk[4];
            dev_ldmatrix_x4(fq, qs + (w * 16 + l % 16) * LD + d + l / 16 * 8);
#pragma unroll
            for (int j = 0; j < KEYS / 8; j += 2) {
                dev_ldmatrix_x4(fk, ks + (j * 8 + l % 8 + l / 16 * 8) * LD + d + l / 8 % 2 * 8);
                dev_mma_f16(s[j], fq, fk);
                dev_mma_f16(s[j + 1], fq, fk + 2);
            }
        }

        float most[2] = {top[0], top[1]};
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const uint32_t key = k0 + (uint32_t)(j * 8 + frag_col(l, e)), p = pos[e / 2];
                if (a.softcap != 0) s[j][e] = a.softcap * tanhf(s[j][e] / a.softcap);
                const bool seen = key <= p && key >= tile.from && key < tile.to && (!a.window || key + a.window > p);
                if (!seen) s[j][e] = -INFINITY;
                most[e / 2] = fmaxf(most[e / 2], s[j][e]);
            }
        float shrink[2];
#pragma unroll
        for (int h = 0; h < 2; h++) { /* a row's 4 lanes agree */
            most[h] = fmaxf(most[h], __shfl_xor_sync(FULL_MASK, most[h], 1));
            most[h] = fmaxf(most[h], __shfl_xor_sync(FULL_MASK, most[h], 2));
            shrink[h] = top[h] == -INFINITY ? 0 : __expf(top[h] - most[h]);
            top[h] = most[h];
            total[h] *= shrink[h];
            if (most[h] == -INFINITY) most[h] = 0; /* nothing seen yet: all weights are zero */
        }
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                s[j][e] = __expf(s[j][e] - most[e / 2]);
                total[e / 2] += s[j][e];
            }
#pragma unroll
        for (int d = 0; d < HD / 8; d++)
#pragma unroll
            for (int e = 0; e < 4; e++) o[d][e] *= shrink[e / 2];
#pragma unroll
        for (int k = 0; k < KEYS / 16; k++) {
            const uint32_t fp[4] = {pack_f16(s[2 * k][0], s[2 * k][1]), pack_f16(s[2 * k][2], s[2 * k][3]),
                                    pack_f16(s[2 * k + 1][0], s[2 * k + 1][1]), pack_f16(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
            for (int d = 0; d < HD / 8; d += 2) {
                uint32_t fv[4];
                dev_ldmatrix_x4_t(fv, vs + (k * 16 + l % 16) * LD + d * 8 + l / 16 * 8);
                dev_mma_f16(o[d], fp, fv);
                dev_mma_f16(o[d + 1], fp, fv + 2);
            }
        }
    }
    if (!busy) return;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        total[h] += __shfl_xor_sync(FULL_MASK, total[h], 1);
        total[h] += __shfl_xor_sync(FULL_MASK, total[h], 2);
        const uint32_t r = (uint32_t)(w * 16 + l / 4 + 8 * h);
        if (r >= n_row) continue;
        const uint32_t token = tile.token + r / group, head = kv_head * group + r % group;
        if (tile.part == UINT32_MAX) {
            const size_t to = (size_t)token * a.out.ld + head * (uint32_t)hd;
            const float inv = 1 / total[h];
#pragma unroll
            for (int d = 0; d < HD / 8; d++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const int at = d * 8 + frag_col(l, i);
                    const float v = o[d][2 * h + i] * inv;
                    if (at >= hd) continue;
                    if (a.out.f) a.out.f[to + (uint32_t)at] = v;
                    if (a.out.b) a.out.b[to + (uint32_t)at] = (uint16_t)dev_f32_to_bf16(v);
                }
        } else {
            float *to = a.part + ((size_t)tile.part + (token - tile.token) * a.n_head + head) * (size_t)(hd + 2);
#pragma unroll
            for (int d = 0; d < HD / 8; d++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    if (d * 8 + frag_col(l, i) < hd) to[d * 8 + frag_col(l, i)] = o[d][2 * h + i];
            if (l % 4 == 0) to[hd] = top[h], to[hd + 1] = total[h];
        }
    }
}

/* A warp per head of a token whose keys were cut into parts. */
__global__ void __launch_bounds__(WARP, 16) k_attn_merge(struct gpu_attn a)
{
    dev_after();
    const struct gpu_merge m = a.merge[blockIdx.x];
    const uint32_t token = blockIdx.y / a.n_head, head = blockIdx.y % a.n_head, hd = a.head_dim;
    if (token >= m.n_token) return;
    const size_t step = (size_t)m.n_token * a.n_head * (hd + 2);
    const float *part = a.part + ((size_t)m.part + blockIdx.y) * (hd + 2);
    float top = -INFINITY, total = 0;
    for (uint32_t p = 0; p < m.n_part; p++) top = fmaxf(top, part[p * step + hd]);
    for (uint32_t p = 0; p < m.n_part; p++) total += part[p * step + hd + 1] * __expf(part[p * step + hd] - top);
    for (uint32_t i = threadIdx.x; i < hd; i += WARP) {
        float v = 0;
        for (uint32_t p = 0; p < m.n_part; p++) v += part[p * step + i] * __expf(part[p * step + hd] - top);
        const size_t to = (size_t)(m.token + token) * a.out.ld + head * hd + i;
        v /= total;
        if (a.out.f) a.out.f[to] = v;
        if (a.out.b) a.out.b[to] = (uint16_t)dev_f32_to_bf16(v);
    }
}

template <int HD, int KEYS> static void attn(cudaStream_t stream, const struct gpu_attn *a)
{
    const size_t bytes = (GPU_ATTN_ROWS + 4 * KEYS) * (HD + 8) * sizeof(uint16_t);
    const dim3 grid(a->n_tile, a->n_head_kv);
    LAUNCH((k_attn<HD, KEYS>), grid, ATTN_THREADS, bytes, stream, *a);
}

void launch_attn(cudaStream_t stream, const struct gpu_attn *a)
{
    if (a->head_dim <= 64)
        attn<64, 64>(stream, a);
    else if (a->head_dim <= 128)
        attn<128, 64>(stream, a);
    else
        attn<256, 32>(stream, a);
    if (!a->n_merge) return;
    const uint32_t most = GPU_ATTN_ROWS / (a->n_head / a->n_head_kv); /* tokens of a tile */
    LAUNCH(k_attn_merge, dim3(a->n_merge, most * a->n_head), WARP, 0, stream, *a);
}

bool attn_prepare(void)
{
    const int big = (GPU_ATTN_ROWS + 4 * 64) * (128 + 8) * 2, huge = (GPU_ATTN_ROWS + 4 * 32) * (256 + 8) * 2;
    return dev_allow_shared(k_attn<128, 64>, big) && dev_allow_shared(k_attn<256, 32>, huge);
}
