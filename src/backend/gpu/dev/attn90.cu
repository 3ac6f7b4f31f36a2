/* Attention on Hopper, for tiles of prompts: two of 64 query rows share the keys and values that they see, each
 * multiplied by a warpgroup. The scheme is FlashAttention-3's (Shah et al., 2024) within a warpgroup: the scores of a step
 * are computed while the values of the step before are summed up, and the softmax runs beside that sum. Keys and values come
 * by asynchronous copies, not by the tensor memory accelerator: blocks of the cache are small (16 tokens), and other types
 * than f16 are widened on the way. Two steps are under way, one is being multiplied, one more holds values still in use.
 *
 * In shared memory, queries, keys and values are tiles of 64 rows of 64 numbers as dev/hopper.h describes them, those of a
 * step or of a warpgroup's queries one after the other. The first factor of the sums, the weights, comes from registers. */
#include "backend/gpu/dev/attn.cuh"
#include "backend/gpu/dev/hopper.h"

enum { KEYS = 64, STAGES = 4, GROUPS = 2, GROUP = 128, THREADS = GROUPS * GROUP, TILE = 64 * HOPPER_ROW };
static_assert(KEYS == 64 && GPU_ATTN_ROWS == 64, "tiles have 64 rows");

/* In halves. */
template <int HD> struct shape {
    enum {
        PART = HD / HOPPER_ROW * TILE, /* the queries of a warpgroup, the keys of a step, its values */
        BYTES = HOPPER_ALIGN + 2 * (GROUPS + STAGES * 2) * PART,
    };
};

#ifdef DEV_HOPPER
/* Where sixteen bytes from number `at` of row r on lie. */
DEV int place(int r, int at) { return at / HOPPER_ROW * TILE + r * HOPPER_ROW + ((at % HOPPER_ROW / 8) ^ r % 8) * 8; }

/* Keys and values of positions [k0, k0 + KEYS); zeros from `to` on. */
template <int HD>
DEV void load_step(uint16_t *ks, const struct gpu_attn *a, const uint8_t *base, const uint32_t *table, uint32_t k0, uint32_t to)
{
    uint16_t *vs = ks + shape<HD>::PART;
    for (int i = (int)threadIdx.x; i < KEYS * HD / 8; i += THREADS) {
        const int r = i / (HD / 8), at = i % (HD / 8) * 8, p = place(r, at);
        const uint32_t key = k0 + (uint32_t)r;
        const uint4 zero = {0, 0, 0, 0};
        if (key >= to) {
            *(uint4 *)(ks + p) = zero;
            *(uint4 *)(vs + p) = zero;
            continue;
        }
        const uint8_t *row = base + table[key / 16] * a->kv.block_bytes + key % 16 * a->kv.row_bytes;
        if (a->kv.type == DT_F16) {
            dev_cp_async16(ks + p, row + 2 * at);
            dev_cp_async16(vs + p, row + a->kv.part_bytes + 2 * at);
        } else {
            *(uint4 *)(ks + p) = kv_eight(row, a->kv.type, at, HD);
            *(uint4 *)(vs + p) = kv_eight(row + a->kv.part_bytes, a->kv.type, at, HD);
        }
    }
}

/* A warpgroup's rows and what it has summed up. */
template <int HD> struct half_block {
    struct attn_rows rows;
    float    s[KEYS / 8][4], o[HD / 8][4];
    uint32_t p[KEYS / 16][4];
};

/* s = the scores of a step's keys; queued. */
template <int HD> DEV void queue_scores(struct half_block<HD> *b, const uint16_t *qs, const uint16_t *ks)
{
    dev_wgmma_fence();
#pragma unroll
    for (int d = 0; d < HD; d += 16) {
        const int at = d / HOPPER_ROW * TILE + d % HOPPER_ROW;
        dev_wgmma_f16<KEYS>(b->s[0], dev_wgmma_tile(qs + at), dev_wgmma_tile(ks + at), d > 0);
    }
    dev_wgmma_commit();
}

/* o += the values of a step by the weights in p; queued. */
template <int HD> DEV void queue_sums(struct half_block<HD> *b, const uint16_t *vs)
{
    dev_wgmma_fence();
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++)
        dev_wgmma_f16_rows<HD>(b->o[0], b->p[k], dev_wgmma_rows(vs + k * 16 * HOPPER_ROW, TILE * 2));
    dev_wgmma_commit();
}

template <int HD> DEV void factors(struct half_block<HD> *b)
{
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) attn_factor(b->p[k], b->s + 2 * k);
}

/* The rows of two tiles of a sequence, or of one and of nothing: all warps go the same way, or ptxas puts the products one
 * after the other. */
template <int HD>
DEV void attend(const struct gpu_attn *a, const struct gpu_tile *mine, uint32_t first, uint32_t to, const uint32_t *table,
                uint16_t *shared)
{
    enum { PART = shape<HD>::PART };
    const int g = (int)threadIdx.x / GROUP, t = (int)threadIdx.x % GROUP, l = t % WARP;
    const uint32_t kv_head = blockIdx.y, n_step = to > first ? (to - first + KEYS - 1) / KEYS : 0, row0 = (uint32_t)(t / WARP * 16);
    const uint32_t n_row = mine->n_token * (a->n_head / a->n_head_kv);
    const uint8_t *base = a->kv.data + (size_t)a->layer * 2 * a->kv.part_bytes + kv_head * a->kv.head_bytes;
    uint16_t *qs = shared + g * PART, *stage = shared + GROUPS * PART;
    struct half_block<HD> b = {attn_rows_of(a, mine, row0, l), {}, {}, {}};
    float shrink[2];

    __syncthreads(); /* whoever used the memory before is done */
    for (int i = t; i < GPU_ATTN_ROWS * HD / 8; i += GROUP) {
        const int r = i / (HD / 8), at = i % (HD / 8) * 8;
        uint4 v = {0, 0, 0, 0};
        if ((uint32_t)r < n_row) v = *(const uint4 *)(attn_query(a, mine, kv_head, (uint32_t)r) + at);
        *(uint4 *)(qs + place(r, at)) = v;
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (i < n_step) load_step<HD>(stage + i * 2 * PART, a, base, table, first + i * KEYS, to);
        dev_cp_async_commit();
    }
    for (uint32_t i = 0; i < n_step; i++) {
        uint16_t *ks = stage + i % STAGES * 2 * PART, *old = stage + (i + STAGES - 1) % STAGES * 2 * PART;
        dev_cp_async_wait<1>();
        dev_shared_written();
        __syncthreads(); /* this step has come, and the one before the last is done with */
        if (i + 2 < n_step) load_step<HD>(stage + (i + 2) % STAGES * 2 * PART, a, base, table, first + (i + 2) * KEYS, to);
        dev_cp_async_commit();
        queue_scores<HD>(&b, qs, ks);
        if (i > 0) {
            queue_sums<HD>(&b, old + PART);
            dev_wgmma_wait<1>();
        } else {
            dev_wgmma_wait<0>();
        }
        attn_weights<KEYS>(b.s, shrink, &b.rows, a, mine, first + i * KEYS, l);
        dev_wgmma_wait<0>();
#pragma unroll
        for (int d = 0; d < HD / 8; d++)
#pragma unroll
            for (int e = 0; e < 4; e++) b.o[d][e] *= shrink[e / 2];
        factors<HD>(&b);
    }
    if (n_step) {
        queue_sums<HD>(&b, stage + (n_step - 1) % STAGES * 2 * PART + PART);
        dev_wgmma_wait<0>();
    }
    attn_store<HD>(b.o, &b.rows, a, mine, kv_head, row0, l);
    dev_cp_async_wait<0>();
}
#endif

/* Blocks with the later tiles, which see more keys, start first. */
template <int HD> __global__ void __launch_bounds__(THREADS, 1) k_attn90(struct gpu_attn a)
{
    dev_after();
#ifdef DEV_HOPPER
    DYN_SHARED(char, raw);
    uint16_t *shared = (uint16_t *)dev_aligned(raw);
    const uint32_t at = (gridDim.x - 1 - blockIdx.x) * 2, g = threadIdx.x / GROUP;
    const struct gpu_tile none = {0, 0, 0, 0, 0, 0, 0}, x = a.tile[at], y = at + 1 < a.n_full ? a.tile[at + 1] : none;
    const bool together = x.n_token && y.n_token && x.table == y.table && x.part == UINT32_MAX && y.part == UINT32_MAX;
#pragma unroll 1
    for (uint32_t turn = together; turn < 2; turn++) { /* both at once, or one after the other by the first warpgroup */
        const struct gpu_tile mine = together ? (g ? y : x) : g ? none : turn ? y : x;
        const struct gpu_tile head = together || !turn ? x : y, tail = turn ? y : x;
        if (head.n_token) attend<HD>(&a, &mine, attn_first(&a, &head, KEYS), tail.to, a.table + head.table, shared);
    }
#endif
}

template <int HD> static void attn90(cudaStream_t stream, const struct gpu_attn *a)
{
    LAUNCH(k_attn90<HD>, dim3((a->n_full + 1) / 2, a->n_head_kv), THREADS, (size_t)shape<HD>::BYTES, stream, *a);
}

bool launch_attn90(cudaStream_t stream, const struct gpu_attn *a)
{
    if (a->head_dim == 64)
        attn90<64>(stream, a);
    else if (a->head_dim == 128)
        attn90<128>(stream, a);
    else
        return false;
    return true;
}

bool attn90_prepare(void) { return dev_allow_shared(k_attn90<64>, shape<64>::BYTES) && dev_allow_shared(k_attn90<128>, shape<128>::BYTES); }
