/* Paged attention for up to ATTN_TOKENS query tokens of one sequence and the query heads that share one KV head: a
 * row for each token and head.
 *
 * KV blocks are walked in order from the start of the sequence (or the window). Each is widened to floats once, its
 * keys turned so that a vector holds one number of sixteen keys, and used for all rows: scores and weighted sums are
 * then products of a panel with columns, as in gemm.h. Softmax is online with one update per block, so a row's result
 * depends on its position and on the cached rows alone. Source: Milakov and Gimelshein, "Online normalizer
 * calculation for softmax", 2018. */
#include "backend/cpu/op/gemm.h"

enum { BLOCK = KV_BLOCK_TOKENS, ATTN_CHUNK = 12 };
_Static_assert((int)BLOCK == (int)PANEL_ROWS, "the keys of a block are the lanes of a panel");

/* PANEL_ROWS rows of k floats, lanes = rows. */
static void attn_turn(float *to, const float *row, size_t stride, size_t k)
{
    for (size_t i = 0; i + 8 <= k; i += 8)
        for (size_t r = 0; r < PANEL_ROWS; r += 8)
            transpose_8x8(to + i * PANEL_ROWS + r, PANEL_ROWS, row + r * stride + i, stride);
    for (size_t i = k & ~(size_t)7; i < k; i++)
        for (size_t r = 0; r < PANEL_ROWS; r++) to[i * PANEL_ROWS + r] = row[r * stride + i];
}

/* n_row cached rows of hd values to floats, ld apart. */
static void attn_widen(float *to, size_t ld, const uint8_t *from, enum dtype type, size_t row_bytes, uint32_t n_row,
                       size_t hd)
{
    for (uint32_t r = 0; r < n_row; r++, from += row_bytes, to += ld) {
        if (type == DT_F32) {
            memcpy(to, from, hd * sizeof *to);
        } else if (type == DT_F16) {
            const uint16_t *h = (const uint16_t *)(const void *)from;
            size_t i = 0;
            for (; i + 8 <= hd; i += 8) vf_store(to + i, vf_half(h + i));
            for (; i < hd; i++) to[i] = f16_to_f32(h[i]);
        } else {
            const struct block_q8_0 *b = (const void *)from;
            for (size_t g = 0; g < hd / QK; g++) {
                vf d = vf_set(half_to_float(b[g].d));
                for (size_t i = 0; i < QK; i += 8)
                    vf_store(to + g * QK + i, vf_mul(d, vf_from_i8(b[g].qs + i)));
            }
        }
    }
}

/* y[c][0 .. PANEL_ROWS) = (first ? 0 : y[c]) + sum over i < k of m[i * ld ..] x[c].f[i] for n columns. */
static void attn_product(float *const *y, const struct act_row *x, uint32_t n, const float *m, size_t ld, size_t k,
                         bool first)
{
    uint32_t c = 0;
    for (; c + W_COLUMNS_FLOAT <= n; c += W_COLUMNS_FLOAT) float_tile(y + c, x + c, m, k, first, W_COLUMNS_FLOAT, ld);
    for (; c + 4 <= n; c += 4) float_tile(y + c, x + c, m, k, first, 4, ld);
    for (; c + 2 <= n; c += 2) float_tile(y + c, x + c, m, k, first, 2, ld);
    if (c < n) float_tile(y + c, x + c, m, k, first, 1, ld);
}

/* Scores of keys [from, to) of a block into a row's running softmax: score becomes their weights, 0 for the others.
 * Returns what the row's sums so far are to be multiplied with. */
static float attn_weigh(float score[BLOCK], float *max, float *sum, uint32_t from, uint32_t to, float softcap)
{
    const bool whole = from == 0 && to == BLOCK;
    float before[8] = {*max}, top = *max;
    for (size_t j = 0; softcap != 0 && j < BLOCK; j += 8)
        vf_store(score + j, vf_softcap(vf_load(score + j), vf_set(1), vf_set(softcap)));
    for (uint32_t j = 0; !whole && j < BLOCK; j++)
        if (j < from || j >= to) score[j] = -INFINITY;
    for (size_t j = 0; j < BLOCK; j += 8) {
        float m = vf_hmax(vf_load(score + j));
        top = m > top ? m : top;
    }
    for (size_t j = 0; j < BLOCK; j += 8) vf_store(score + j, vf_exp(vf_sub(vf_load(score + j), vf_set(top))));
    for (uint32_t j = 0; !whole && j < BLOCK; j++)
        if (j < from || j >= to) score[j] = 0; /* vf_exp keeps away from 0 */
    vf_store(before, vf_exp(vf_sub(vf_load(before), vf_set(top))));
    *sum = *sum * before[0] + vf_sum(vf_add(vf_load(score), vf_load(score + 8)));
    *max = top;
    return before[0];
}

/* What a call works on: sizes, and its part of the scratch memory. */
struct attn {
    const struct attn_args *a;
    size_t hd, ld; /* numbers of a head, rounded up to whole panels */
    float *k, *kt; /* a block's keys: by rows, and turned (hd, BLOCK) */
    float *v;      /* a block's values (BLOCK, ld) */
    float *acc;    /* weighted sums of values (rows, ld) */
    float *max, *sum;
};

/* Keys of block b that row r sees: [from, to). */
SIMD void attn_range(const struct attn_args *a, uint32_t r, uint32_t b, uint32_t *from, uint32_t *to)
{
    const uint32_t pos = a->pos + r / a->group, at = b * BLOCK;
    const uint32_t low = a->window && pos + 1 > a->window ? pos + 1 - a->window : 0;
    *from = low > at ? MIN(low - at, (uint32_t)BLOCK) : 0;
    *to = pos + 1 > at ? MIN((uint32_t)BLOCK, pos + 1 - at) : 0;
}

/* The block in k, kt and v for rows [r0, r0 + n). */
static void attn_rows(const struct attn *t, uint32_t b, uint32_t r0, uint32_t n)
{
    const struct attn_args *a = t->a;
    float score[ATTN_CHUNK][BLOCK], *y[ATTN_CHUNK];
    struct act_row x[ATTN_CHUNK] = {0};

    for (uint32_t i = 0; i < n; i++) {
        uint32_t r = r0 + i;
        x[i].f = a->q + r / a->group * a->q_stride + r % a->group * t->hd;
        y[i] = score[i];
    }
    attn_product(y, x, n, t->kt, BLOCK, t->hd, true);
    for (uint32_t i = 0; i < n; i++) {
        float *acc = t->acc + (r0 + i) * t->ld;
        uint32_t from, to;
        attn_range(a, r0 + i, b, &from, &to);
        float shrink = attn_weigh(score[i], &t->max[r0 + i], &t->sum[r0 + i], from, to, a->softcap);
        for (size_t j = 0; shrink != 1 && j < t->ld; j += 8)
            vf_store(acc + j, vf_mul(vf_load(acc + j), vf_set(shrink)));
        x[i].f = score[i];
    }
    for (size_t j = 0; j < t->ld; j += PANEL_ROWS) {
        for (uint32_t i = 0; i < n; i++) y[i] = t->acc + (r0 + i) * t->ld + j;
        attn_product(y, x, n, t->v + j, t->ld, BLOCK, false);
    }
}

static void attn_block(const struct attn *t, uint32_t b, uint32_t n_key, uint32_t n_row)
{
    const struct attn_args *a = t->a;
    const uint8_t *mem = a->mem + a->block[b] * a->kv->block_bytes;
    const uint8_t *k = mem + kv_row_at(a->kv, a->layer, false, a->kv_head, 0);
    const uint8_t *v = mem + kv_row_at(a->kv, a->layer, true, a->kv_head, 0);
    uint32_t r0 = 0, r1 = n_row, from, to;

    /* Later tokens see later keys, so the rows that see any of these are neighbours. */
    for (; r0 < r1; r0++) {
        attn_range(a, r0, b, &from, &to);
        if (from < to) break;
    }
    for (; r1 > r0; r1--) {
        attn_range(a, r1 - 1, b, &from, &to);
        if (from < to) break;
    }
    /* What lies past the last key must be finite: its weights are 0. */
    memset(t->k + n_key * t->hd, 0, (BLOCK - n_key) * t->hd * sizeof *t->k);
    memset(t->v + n_key * t->ld, 0, (BLOCK - n_key) * t->ld * sizeof *t->v);
    attn_widen(t->k, t->hd, k, a->kv->type, a->kv->row_bytes, n_key, t->hd);
    attn_widen(t->v, t->ld, v, a->kv->type, a->kv->row_bytes, n_key, t->hd);
    attn_turn(t->kt, t->k, t->hd, t->hd);
    for (uint32_t r = r0; r < r1; r += ATTN_CHUNK) attn_rows(t, b, r, MIN((uint32_t)ATTN_CHUNK, r1 - r));
}

static void op_attention(const struct attn_args *a)
{
    const size_t hd = a->head_dim, ld = round_up(hd, PANEL_ROWS), rows = (size_t)ATTN_TOKENS * a->group;
    const uint32_t n_row = a->n_tok * a->group, last = a->pos + a->n_tok - 1;
    const uint32_t first = a->window && a->pos + 1 > a->window ? (a->pos + 1 - a->window) / BLOCK : 0;
    struct attn t = {.a = a, .hd = hd, .ld = ld, .k = a->scratch};
    t.kt = t.k + BLOCK * hd;
    t.v = t.kt + BLOCK * hd;
    t.acc = t.v + BLOCK * ld;
    t.max = t.acc + rows * ld;
    t.sum = t.max + rows;

    memset(t.v, 0, BLOCK * ld * sizeof *t.v);
    memset(t.acc, 0, n_row * ld * sizeof *t.acc);
    for (uint32_t r = 0; r < n_row; r++) {
        t.max[r] = -1e30f; /* finite: a row's first weights make it shrink to almost 0, and 0 times that is 0 */
        t.sum[r] = 0;
    }
    for (uint32_t b = first; b <= last / BLOCK; b++)
        attn_block(&t, b, MIN((uint32_t)BLOCK, last + 1 - b * BLOCK), n_row);
    for (uint32_t r = 0; r < n_row; r++) {
        float *out = a->out + r / a->group * a->out_stride + r % a->group * hd;
        for (size_t i = 0; i < hd; i++) out[i] = t.acc[r * ld + i] / t.sum[r];
    }
}
