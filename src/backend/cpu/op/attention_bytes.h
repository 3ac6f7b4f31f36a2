/* Attention over a cache of Q8_0, where a number is not worth widening for one multiplication.
 *
 * Keys are multiplied as they lie, as rows of weights are (dot.h), with queries of 16 bits and a scale for
 * each 32: 256 times as fine as the keys themselves. Values become floats in registers, for all rows of a
 * tile, and their scales go to the weights. Each score and each sum has one order, whatever rows are beside
 * it. */
#ifndef CORRAL_CPU_ATTENTION_BYTES_H
#define CORRAL_CPU_ATTENTION_BYTES_H

enum {
    BYTE_ROWS = W_LANES == 16 ? 8 : W_TILE_ROWS, /* of a tile */
    BYTE_VECTORS = MIN((int)W_TILE_VECTORS, QK / (int)W_LANES)
};

/* Queries from row r on, as act_row has pairs, where other caches have their panel. */
struct attn_queries {
    int16_t *q;   /* (n_row, hd) */
    float *scale; /* (n_row, hd / QK) */
};
SIMD struct attn_queries attn_queries(const struct attn *t, uint32_t r)
{
    return (struct attn_queries){(int16_t *)(void *)t->panel + r * t->hd,
                                 t->panel + t->n_row * (t->hd / 2) + r * (t->hd / QK)};
}

static void attn_round_queries(const struct attn *t)
{
    float *unused = attn_queries(t, t->n_row).scale;
    for (uint32_t r = 0; r < t->n_row; r++) {
        const struct attn_queries x = attn_queries(t, r);
        op_quantize_pairs(attn_query(t, r), t->hd, x.q, x.scale, unused);
    }
}

/* y[r][key] = query r times the key, for R rows and a block's keys. */
SIMD void key_tile(float *y, struct attn_queries x, const struct attn_part *p, size_t hd, bool ahead,
                   const int R)
{
    for (size_t k = 0; k < BLOCK; k += W_LANES) {
        struct rows b = {p->at + k * p->row_bytes, p->row_bytes};
        wf f[BYTE_ROWS];
        for (int r = 0; r < R; r++) f[r] = wf_set(0);
        for (size_t g = 0; g < hd / QK; g++, b.at += sizeof(struct block_q8_0)) {
            struct lanes l;
            wb raw[RAW];
            wi acc[BYTE_ROWS];
            if (ahead && k == 0)
                prefetch_next(p->next, BLOCK, g * sizeof(struct block_q8_0), sizeof(struct block_q8_0));
            open_q8_0(&l, b);
            load_q8_0(raw, &l, b, 0, 0);
            for (int r = 0; r < R; r++) acc[r] = wi_zero();
            W_UNROLL(8)
            for (size_t j = 0; j < QK / 4; j++) {
                wp pair[2];
                wp_from_bytes(pair, raw[j]);
                W_UNROLL(8)
                for (int r = 0; r < R; r++) {
                    const int16_t *q = x.q + (size_t)r * hd + QK * g + 4 * j;
                    acc[r] = wi_madd(wi_madd(acc[r], pair[0], q), pair[1], q + 2);
                    wi_pin(&acc[r]);
                }
            }
            W_UNROLL(8)
            for (int r = 0; r < R; r++)
                f[r] = wf_fma(wf_from_i(acc[r]), wf_mul(l.s[0], wf_set(x.scale[(size_t)r * (hd / QK) + g])),
                              f[r]);
        }
        for (int r = 0; r < R; r++) wf_store(y + r * ATTN_KEYS + k, f[r]);
    }
}

/* sum[r][i] += weight[r][key] values[key][i], for R rows, i below QK and n_key keys. */
SIMD void value_tile(float *sum, size_t ld, float (*weight)[BLOCK], const int8_t *values, size_t row_bytes,
                     uint32_t n_key, const int R)
{
    for (size_t j = 0; j < QK; j += BYTE_VECTORS * W_LANES, sum += BYTE_VECTORS * W_LANES) {
        const int8_t *v = values + j;
        wf f[BYTE_ROWS][BYTE_VECTORS];
        W_UNROLL(8)
        for (int r = 0; r < R; r++)
            for (size_t i = 0; i < BYTE_VECTORS; i++) f[r][i] = wf_load(sum + (size_t)r * ld + W_LANES * i);
        for (uint32_t k = 0; k < n_key; k++, v += row_bytes) {
            wf w[BYTE_VECTORS];
            for (size_t i = 0; i < BYTE_VECTORS; i++) w[i] = wf_load_bytes(v + W_LANES * i);
            W_UNROLL(8)
            for (int r = 0; r < R; r++)
                for (size_t i = 0; i < BYTE_VECTORS; i++)
                    f[r][i] = wf_fma(w[i], wf_set(weight[r][k]), f[r][i]);
        }
        W_UNROLL(8)
        for (int r = 0; r < R; r++)
            for (size_t i = 0; i < BYTE_VECTORS; i++) wf_store(sum + (size_t)r * ld + W_LANES * i, f[r][i]);
    }
}

/* tile(..., R) with n for R, as a constant. */
#define BYTE_TILE(n, tile, ...)                                                                              \
    do {                                                                                                     \
        if (n == 1) tile(__VA_ARGS__, 1);                                                                    \
        if (n == 2) tile(__VA_ARGS__, 2);                                                                    \
        if (BYTE_ROWS >= 3 && n == 3) tile(__VA_ARGS__, 3);                                                  \
        if (BYTE_ROWS >= 4 && n == 4) tile(__VA_ARGS__, 4);                                                  \
        if (BYTE_ROWS >= 5 && n == 5) tile(__VA_ARGS__, 5);                                                  \
        if (BYTE_ROWS >= 6 && n == 6) tile(__VA_ARGS__, 6);                                                  \
        if (BYTE_ROWS >= 7 && n == 7) tile(__VA_ARGS__, 7);                                                  \
        if (BYTE_ROWS >= 8 && n == 8) tile(__VA_ARGS__, 8);                                                  \
    } while (0)

/* Scores of n rows from r0 on for keys [first, n_key) of those from position `at` on. */
static void attn_score_bytes(const struct attn *t, uint32_t at, uint32_t first, uint32_t n_key, uint32_t r0,
                             uint32_t n, bool ahead)
{
    const struct attn_queries x = attn_queries(t, r0);
    for (uint32_t j = first; j < n_key; j += BLOCK) {
        const struct attn_part p = attn_part(t, at + j, false);
        float *y = t->score + r0 * ATTN_KEYS + j;
        BYTE_TILE(n, key_tile, y, x, &p, t->hd, ahead);
    }
}

/* The rows' sums += those keys' values by their weights. */
static void attn_add_bytes(const struct attn *t, uint32_t at, uint32_t first, uint32_t n_key, uint32_t r0,
                           uint32_t n, bool ahead)
{
    for (uint32_t j = first; j < n_key; j += BLOCK) {
        const struct attn_part p = attn_part(t, at + j, true);
        const float *weight = t->score + r0 * ATTN_KEYS + j;
        for (size_t g = 0; g < t->hd / QK; g++) {
            const struct block_q8_0 *b = (const void *)p.at;
            float scaled[BYTE_ROWS][BLOCK], *sum = t->s.acc + r0 * t->ld + QK * g;
            if (ahead) prefetch_next(p.next, BLOCK, g * sizeof *b, sizeof *b);
            for (size_t k = 0; k < BLOCK; k += W_LANES) {
                const struct rows rows = {(const uint8_t *)(b + g) + k * p.row_bytes, p.row_bytes};
                const wf d = wf_halves(head_word(rows, 0), 0);
                for (uint32_t r = 0; r < n; r++)
                    wf_store(scaled[r] + k, wf_mul(wf_load(weight + r * ATTN_KEYS + k), d));
            }
            BYTE_TILE(n, value_tile, sum, t->ld, scaled, b[g].qs, p.row_bytes,
                      MIN((uint32_t)BLOCK, n_key - j));
        }
    }
}

#undef BYTE_TILE
#endif
