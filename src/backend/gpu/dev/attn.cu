/* Attention over the paged KV cache, for decode and for chunked prefill alike.
 *
 * A thread block takes one tile: up to 64 query rows that share a KV head (the tokens of one sequence times the heads of
 * a group), and a range of keys. Keys and values of 64 (or 32) positions at a time go to shared memory as f16, whatever
 * the cache holds, those of the next step while this one is computed; each warp multiplies its 16 rows with them on the
 * tensor cores, with one update of the running softmax per step. At decode most rows are empty: warps without rows only
 * help to load, and keys are read once for all heads of a group. Long sequences at decode are cut into parts, whose sums
 * a second kernel adds in order.
 * The algorithm is that of FlashAttention-2 (Dao, 2023), with the split of Flash-Decoding (Dao et al., 2023). */
#include "backend/gpu/dev/attn.cuh"

enum { ATTN_WARPS = GPU_ATTN_ROWS / 16, ATTN_THREADS = ATTN_WARPS * WARP };

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

template <int HD, int KEYS> __global__ void __launch_bounds__(ATTN_THREADS, HD > 128 ? 1 : 2) k_attn(struct gpu_attn a)
{
    dev_after();
    enum { LD = HD + 8 /* rows apart, in halves: no two of eight rows in the same banks */ };
    DYN_SHARED(uint16_t, shared);
    uint16_t *qs = shared, *stage = qs + GPU_ATTN_ROWS * LD; /* two stages of keys, then values */
    const struct gpu_tile tile = a.tile[blockIdx.x];
    if (tile.n_token == 0) return;
    const int w = (int)threadIdx.x / WARP, l = (int)threadIdx.x % WARP, hd = (int)a.head_dim;
    const uint32_t group = a.n_head / a.n_head_kv, kv_head = blockIdx.y, n_row = tile.n_token * group, row0 = (uint32_t)w * 16;
    const uint32_t *table = a.table + tile.table;
    const uint8_t *k_base = a.kv.data + (size_t)a.layer * 2 * a.kv.part_bytes + kv_head * a.kv.head_bytes;
    const bool busy = row0 < n_row;
    /* The last key that a row of this warp sees. */
    const uint32_t last = tile.pos + (row0 + 15 < n_row ? row0 + 15 : n_row - 1) / group;

    for (int i = (int)threadIdx.x; i < GPU_ATTN_ROWS * HD / 8; i += ATTN_THREADS) {
        const int r = i / (HD / 8), at = i % (HD / 8) * 8;
        uint4 v = {0, 0, 0, 0};
        if ((uint32_t)r < n_row && at < hd)
            v = kv_eight((const uint8_t *)attn_query(&a, &tile, kv_head, (uint32_t)r), DT_F16, at, hd);
        *(uint4 *)(qs + r * LD + at) = v;
    }

    struct attn_rows rows = attn_rows_of(&a, &tile, row0, l);
    float o[HD / 8][4] = {};
    const uint32_t first = attn_first(&a, &tile, KEYS);
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

        float s[KEYS / 8][4] = {}, shrink[2];
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
        attn_weights<KEYS>(s, shrink, &rows, &a, &tile, k0, l);
#pragma unroll
        for (int d = 0; d < HD / 8; d++)
#pragma unroll
            for (int e = 0; e < 4; e++) o[d][e] *= shrink[e / 2];
#pragma unroll
        for (int k = 0; k < KEYS / 16; k++) {
            uint32_t fp[4];
            attn_factor(fp, s + 2 * k);
#pragma unroll
            for (int d = 0; d < HD / 8; d += 2) {
                uint32_t fv[4];
                dev_ldmatrix_x4_t(fv, vs + (k * 16 + l % 16) * LD + d * 8 + l / 16 * 8);
                dev_mma_f16(o[d], fp, fv);
                dev_mma_f16(o[d + 1], fp, fv + 2);
            }
        }
    }
    if (busy) attn_store<HD>(o, &rows, &a, &tile, kv_head, row0, l);
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

void launch_attn(cudaStream_t stream, const struct gpu_device *d, const struct gpu_attn *a)
{
    struct gpu_attn rest = *a;
    if (a->n_full && d->hopper && launch_attn90(stream, a)) rest.tile += a->n_full, rest.n_tile -= a->n_full;
    if (rest.n_tile == 0)
        ;
    else if (a->head_dim <= 64)
        attn<64, 64>(stream, &rest);
    else if (a->head_dim <= 128)
        attn<128, 64>(stream, &rest);
    else
        attn<256, 32>(stream, &rest);
    if (!a->n_merge) return;
    const uint32_t most = GPU_ATTN_ROWS / (a->n_head / a->n_head_kv); /* tokens of a tile */
    LAUNCH(k_attn_merge, dim3(a->n_merge, most * a->n_head), WARP, 0, stream, *a);
}

bool attn_prepare(void)
{
    const int big = (GPU_ATTN_ROWS + 4 * 64) * (128 + 8) * 2, huge = (GPU_ATTN_ROWS + 4 * 32) * (256 + 8) * 2;
    return dev_allow_shared(k_attn<128, 64>, big) && dev_allow_shared(k_attn<256, 32>, huge);
}
