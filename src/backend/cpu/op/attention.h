/* Paged attention for up to ATTN_TOKENS query tokens of one sequence and the query heads that share one KV
 * head.
 *
 * KV blocks are walked in order from the start of the sequence (or the window); each is widened to floats
 * once and used for all queries. Softmax is online with one update per block, so a query's result depends on
 * its position and on the cached rows alone. Source: Milakov and Gimelshein, "Online normalizer calculation
 * for softmax", 2018. */

enum { BLOCK = KV_BLOCK_TOKENS };

struct attn_row {
    float *acc, *max, *sum;
    const float *q;
    uint32_t pos;
};

/* n_row cached rows of head_dim values to floats. */
static void attn_widen(float *to, const uint8_t *from, enum dtype type, size_t row_bytes, uint32_t n_row,
                       size_t hd)
{
    for (uint32_t r = 0; r < n_row; r++, from += row_bytes, to += hd) {
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

SIMD float attn_dot(const float *a, const float *b, size_t n)
{
    vf acc = vf_set(0);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) acc = vf_fma(vf_load(a + i), vf_load(b + i), acc);
    float s = vf_sum(acc);
    for (; i < n; i++) s += a[i] * b[i];
    return s;
}

/* One block into one query's running softmax. Keys [from, to) of the block count. */
static void attn_block(const struct attn_row *row, const float *k, const float *v, size_t hd, uint32_t from,
                       uint32_t to, float softcap)
{
    float score[BLOCK], max = *row->max;
    for (uint32_t j = 0; j < BLOCK; j++) score[j] = -INFINITY;
    for (uint32_t j = from; j < to; j++) score[j] = attn_dot(row->q, k + j * hd, hd);
    if (softcap != 0) {
        for (uint32_t j = from; j < to; j++) {
            float pad[8] = {score[j]};
            vf_store(pad, vf_softcap(vf_load(pad), vf_set(1), vf_set(softcap)));
            score[j] = pad[0];
        }
    }
    for (uint32_t j = from; j < to; j++) max = score[j] > max ? score[j] : max;
    float shrink[8] = {*row->max - max};
    vf_store(shrink, vf_exp(vf_load(shrink))); /* exp(-inf) is taken as 0 by the clamp's tiny value times 0 */
    for (uint32_t j = 0; j < BLOCK; j += 8) {
        float masked[8];
        vf_store(masked, vf_exp(vf_sub(vf_load(score + j), vf_set(max))));
        for (uint32_t i = 0; i < 8; i++) score[j + i] = j + i >= from && j + i < to ? masked[i] : 0;
    }
    *row->sum = *row->sum * shrink[0] + vf_sum(vf_add(vf_load(score), vf_load(score + 8)));
    *row->max = max;

    size_t i = 0;
    for (; i + 8 <= hd; i += 8) {
        vf acc = vf_mul(vf_load(row->acc + i), vf_set(shrink[0]));
        for (uint32_t j = from; j < to; j++) acc = vf_fma(vf_set(score[j]), vf_load(v + j * hd + i), acc);
        vf_store(row->acc + i, acc);
    }
    for (; i < hd; i++) {
        float acc = row->acc[i] * shrink[0];
        for (uint32_t j = from; j < to; j++) acc += score[j] * v[j * hd + i];
        row->acc[i] = acc;
    }
}

static void op_attention(const struct attn_args *a)
{
    const size_t hd = a->head_dim;
    const uint32_t n_row = a->n_tok * a->group, last = a->pos + a->n_tok - 1;
    float *k = a->scratch, *v = k + BLOCK * hd, *acc = v + BLOCK * hd;
    float *max = acc + (size_t)ATTN_TOKENS * a->group * hd, *sum = max + (size_t)ATTN_TOKENS * a->group;
    const uint32_t first = a->window && a->pos + 1 > a->window ? (a->pos + 1 - a->window) / BLOCK : 0;

    memset(acc, 0, n_row * hd * sizeof *acc);
    for (uint32_t r = 0; r < n_row; r++) {
        max[r] = -1e30f; /* finite: the first block's shrink is exp of a very negative number, which the clamp
                            keeps sane */
        sum[r] = 0;
    }
    for (uint32_t b = first; b <= last / BLOCK; b++) {
        const uint8_t *mem = a->mem + a->block[b] * a->kv->block_bytes;
        const uint32_t n_key = MIN((uint32_t)BLOCK, last + 1 - b * BLOCK);
        attn_widen(k, mem + kv_row_at(a->kv, a->layer, false, a->kv_head, 0), a->kv->type, a->kv->row_bytes,
                   n_key, hd);
        attn_widen(v, mem + kv_row_at(a->kv, a->layer, true, a->kv_head, 0), a->kv->type, a->kv->row_bytes,
                   n_key, hd);
        for (uint32_t r = 0; r < n_row; r++) {
            uint32_t pos = a->pos + r / a->group;
            uint32_t low = a->window && pos + 1 > a->window ? pos + 1 - a->window : 0;
            uint32_t from = low > b * BLOCK ? low - b * BLOCK : 0;
            uint32_t to = pos + 1 > b * BLOCK ? MIN((uint32_t)BLOCK, pos + 1 - b * BLOCK) : 0;
            if (from >= to) continue; /* nothing here for this query */
            struct attn_row row = {acc + r * hd, &max[r], &sum[r],
                                   a->q + r / a->group * a->q_stride + r % a->group * hd, pos};
            attn_block(&row, k, v, hd, from, to, a->softcap);
        }
    }
    for (uint32_t r = 0; r < n_row; r++) {
        float *out = a->out + r / a->group * a->out_stride + r % a->group * hd;
        for (size_t i = 0; i < hd; i++) out[i] = acc[r * hd + i] / sum[r];
    }
}
