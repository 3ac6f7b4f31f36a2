/* What the kernels of attention have in common: numbers of the cache, the running softmax, results. */
#ifndef CORRAL_GPU_ATTN_CUH
#define CORRAL_GPU_ATTN_CUH

#include "backend/gpu/dev/kernels.h"
#include "backend/gpu/dev/types.h"

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

/* Query row r of a tile is head r % group of its KV head, of token r / group. */
DEV const uint16_t *attn_query(const struct gpu_attn *a, const struct gpu_tile *tile, uint32_t kv_head, uint32_t r)
{
    const uint32_t group = a->n_head / a->n_head_kv;
    return a->q + ((size_t)(tile->token + r / group) * a->n_head + kv_head * group + r % group) * (size_t)a->head_dim;
}

/* The first step of so many keys with one that a row of the tile sees. Steps begin at multiples of their keys whatever the
 * tile, so that a row's sums are the same in any tile. */
DEV uint32_t attn_first(const struct gpu_attn *a, const struct gpu_tile *tile, uint32_t keys)
{
    const uint32_t seen = a->window && tile->pos + 1 > a->window ? tile->pos + 1 - a->window : 0;
    return (tile->from > seen ? tile->from : seen) / keys * keys;
}

/* Of a lane's two rows, row0 + l / 4 and eight further: position, running maximum and sum. */
struct attn_rows { uint32_t pos[2]; float top[2], total[2]; };

DEV struct attn_rows attn_rows_of(const struct gpu_attn *a, const struct gpu_tile *tile, uint32_t row0, int l)
{
    const uint32_t group = a->n_head / a->n_head_kv, r = row0 + (uint32_t)l / 4;
    const struct attn_rows rows = {{tile->pos + r / group, tile->pos + (r + 8) / group}, {-INFINITY, -INFINITY}, {0, 0}};
    return rows;
}

/* Scores of keys [k0, k0 + KEYS), fragments of eight columns, become weights; what was summed up is to shrink. */
template <int KEYS>
DEV void attn_weights(float (*s)[4], float *shrink, struct attn_rows *rows, const struct gpu_attn *a,
                      const struct gpu_tile *tile, uint32_t k0, int l)
{
    const bool all = k0 >= tile->from && k0 + KEYS <= tile->to && k0 + KEYS - 1 <= rows->pos[0] &&
                     (!a->window || k0 + a->window > rows->pos[1]);
    float most[2] = {rows->top[0], rows->top[1]};
    if (a->softcap != 0)
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) s[j][e] = a->softcap * tanhf(s[j][e] / a->softcap);
    if (!all)
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const uint32_t key = k0 + (uint32_t)(j * 8 + frag_col(l, e)), p = rows->pos[e / 2];
                if (key > p || key < tile->from || key >= tile->to || (a->window && key + a->window <= p)) s[j][e] = -INFINITY;
            }
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) most[e / 2] = fmaxf(most[e / 2], s[j][e]);
#pragma unroll
    for (int h = 0; h < 2; h++) { /* a row's 4 lanes agree */
        most[h] = fmaxf(most[h], __shfl_xor_sync(FULL_MASK, most[h], 1));
        most[h] = fmaxf(most[h], __shfl_xor_sync(FULL_MASK, most[h], 2));
        shrink[h] = rows->top[h] == -INFINITY ? 0 : __expf(rows->top[h] - most[h]);
        rows->top[h] = most[h];
        rows->total[h] *= shrink[h];
        if (most[h] == -INFINITY) most[h] = 0; /* nothing seen yet: all weights are zero */
    }
#pragma unroll
    for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            s[j][e] = __expf(s[j][e] - most[e / 2]);
            rows->total[e / 2] += s[j][e];
        }
}

/* Weights of sixteen keys as the first factor of a product. */
DEV void attn_factor(uint32_t *p, const float (*s)[4])
{
    p[0] = pack_f16(s[0][0], s[0][1]), p[1] = pack_f16(s[0][2], s[0][3]);
    p[2] = pack_f16(s[1][0], s[1][1]), p[3] = pack_f16(s[1][2], s[1][3]);
}

/* The rows' sums, fragments of eight columns, to where the tile says. */
template <int HD>
DEV void attn_store(const float (*o)[4], const struct attn_rows *rows, const struct gpu_attn *a, const struct gpu_tile *tile,
                    uint32_t kv_head, uint32_t row0, int l)
{
    const uint32_t group = a->n_head / a->n_head_kv;
    const int hd = (int)a->head_dim;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float total = rows->total[h];
        total += __shfl_xor_sync(FULL_MASK, total, 1);
        total += __shfl_xor_sync(FULL_MASK, total, 2);
        const uint32_t r = row0 + (uint32_t)(l / 4 + 8 * h);
        if (r >= tile->n_token * group) continue;
        const uint32_t token = tile->token + r / group, head = kv_head * group + r % group;
        if (tile->part == UINT32_MAX) {
            const size_t to = (size_t)token * a->out.ld + head * (uint32_t)hd;
            const float inv = 1 / total;
#pragma unroll
            for (int d = 0; d < HD / 8; d++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const int at = d * 8 + frag_col(l, i);
                    const float v = o[d][2 * h + i] * inv;
                    if (at >= hd) continue;
                    if (a->out.f) a->out.f[to + (uint32_t)at] = v;
                    if (a->out.b) a->out.b[to + (uint32_t)at] = (uint16_t)dev_f32_to_bf16(v);
                }
        } else {
            float *to = a->part + ((size_t)tile->part + (token - tile->token) * a->n_head + head) * (size_t)(hd + 2);
#pragma unroll
            for (int d = 0; d < HD / 8; d++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    if (d * 8 + frag_col(l, i) < hd) to[d * 8 + frag_col(l, i)] = o[d][2 * h + i];
            if (l % 4 == 0) to[hd] = rows->top[h], to[hd + 1] = total;
        }
    }
}

#endif
