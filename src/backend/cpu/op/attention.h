/* Paged attention for query tokens of one sequence and the query heads that share one KV head: a row for each token and
 * head.
 *
 * Keys come ATTN_KEYS at a time, at fixed positions from the start of the sequence. Those that a tile sees are widened
 * to floats once, turned so that a vector holds one number of W_LANES of them, and used for all rows; then their values,
 * in the same place, which stays in the first-level cache. Scores and weighted sums are products of such a panel with
 * rows, in registers as in gemm.h; a cache of Q8_0 needs no panel (attention_bytes.h). Softmax is online with one update
 * for each ATTN_KEYS. Each span of ATTN_SPAN keys has sums of its own, which are joined in order, so that threads may
 * share the spans. Every sum runs in one order: a row's result depends on its position and on the cached rows alone.
 * Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018. */
#include "backend/cpu/op/gemm.h"

TURN_FLOAT(f32)
TURN_FLOAT(f16)

enum { BLOCK = KV_BLOCK_TOKENS };
_Static_assert(BLOCK % W_LANES == 0 && ATTN_PAD % W_LANES == 0, "keys and numbers fill vectors");

/* A running softmax of each row: weighted sums of values (rows, ld), the largest score, the sum of weights. */
struct attn_sums { float *acc, *max, *sum; };

/* What a call works on: sizes, and its part of the scratch memory. */
struct attn {
    const struct attn_args *a;
    uint32_t n_row;
    size_t hd, ld; /* numbers of a head; rounded up to whole vectors */
    float *panel;  /* keys, turned: (hd, ATTN_KEYS); then values: (ATTN_KEYS, ld); or the queries as integers */
    float *score;  /* then weights: (n_row, ATTN_KEYS) */
    struct attn_sums s;
};

SIMD const float *attn_query(const struct attn *t, uint32_t r)
{
    return t->a->q + r / t->a->group * t->a->q_stride + r % t->a->group * t->hd;
}

/* A part of a block, keys or values of one head, and the one that is asked for meanwhile. */
struct attn_part {
    const uint8_t *at, *next;
    enum dtype type;
    size_t row_bytes;
};

/* Keys or values of the block that position `at` is in, and of the one ATTN_KEYS later, if it is one of the tile's. */
static struct attn_part attn_part(const struct attn *t, uint32_t at, bool values)
{
    const struct attn_args *a = t->a;
    const uint32_t b = at / BLOCK, last = (a->pos + a->n_tok - 1) / BLOCK;
    const size_t row_at = kv_row_at(a->kv, a->layer, values, a->kv_head, 0);
    return (struct attn_part){a->mem + a->block[b] * a->kv->block_bytes + row_at,
                              a->mem + a->block[MIN(b + ATTN_KEYS / BLOCK, last)] * a->kv->block_bytes + row_at,
                              a->kv->type, a->kv->row_bytes};
}

/* --- products --- */

/* R rows, V vectors from number j on: y[r] = (first ? 0 : y[r]) + x[r][0] m[0] + x[r][1] m[ld] + ... */
SIMD void attn_tile(float *const *y, const float *const *x, const float *m, size_t j, size_t ld, size_t k, bool first,
                    const int R, const int V)
{
    wf f[W_TILE_ROWS][4];
    m += j;
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) f[r][v] = first ? wf_set(0) : wf_load(y[r] + j + W_LANES * v);
    for (size_t i = 0; i < k; i++, m += ld) {
        wf w[4];
        for (int v = 0; v < V; v++) w[v] = wf_load(m + W_LANES * v);
        for (int r = 0; r < R; r++) {
            const wf a = wf_set(x[r][i]);
            for (int v = 0; v < V; v++) f[r][v] = wf_fma(w[v], a, f[r][v]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) wf_store(y[r] + j + W_LANES * v, f[r][v]);
}

SIMD void attn_tiles(float *const *y, const float *const *x, const float *m, size_t ld, size_t k, size_t width,
                     bool first, const int R, const int V)
{
    size_t j = 0;
    for (; j + (size_t)(W_LANES * V) <= width; j += (size_t)(W_LANES * V)) attn_tile(y, x, m, j, ld, k, first, R, V);
    for (; j < width; j += W_LANES) attn_tile(y, x, m, j, ld, k, first, R, 1);
}

/* n rows of `width` numbers, whole vectors; k rows of m, ld apart. */
static void attn_product(float *const *y, const float *const *x, uint32_t n, const float *m, size_t ld, size_t k,
                         size_t width, bool first)
{
    uint32_t r = 0;
    for (; r + W_TILE_ROWS <= n; r += W_TILE_ROWS)
        attn_tiles(y + r, x + r, m, ld, k, width, first, W_TILE_ROWS, W_TILE_VECTORS);
    for (; W_TILE_VECTORS == 4 && r + 4 <= n; r += 4) attn_tiles(y + r, x + r, m, ld, k, width, first, 4, 4);
    for (; r + 2 <= n; r += 2) attn_tiles(y + r, x + r, m, ld, k, width, first, 2, 4);
    if (r < n) attn_tiles(y + r, x + r, m, ld, k, width, first, 1, 4);
}

/* --- a block of the cache to floats --- */

/* The keys of a block: to[i * ATTN_KEYS + key]. */
static void attn_turn(float *to, const struct attn_part *p, size_t hd)
{
    if (p->type == DT_F32)
        turn_f32(to, ATTN_KEYS, BLOCK, p->at, p->row_bytes, hd, p->next);
    else
        turn_f16(to, ATTN_KEYS, BLOCK, p->at, p->row_bytes, hd, p->next);
}

/* n_row of its values: to[row * ld + i]. */
static void attn_widen(float *to, size_t ld, const struct attn_part *p, uint32_t n_row, size_t hd)
{
    for (uint32_t r = 0; r < n_row; r++, to += ld) {
        const uint8_t *from = p->at + r * p->row_bytes;
        prefetch_next(p->next, 1, r * p->row_bytes, p->row_bytes);
        if (p->type == DT_F32) {
            memcpy(to, from, hd * sizeof *to);
        } else {
            const uint16_t *h = (const uint16_t *)(const void *)from;
            size_t i = 0;
            for (; i + W_LANES <= hd; i += W_LANES) wf_store(to + i, wf_load_halves(h + i));
            for (; i < hd; i++) to[i] = f16_to_f32(h[i]);
        }
        for (size_t i = hd; i < ld; i++) to[i] = 0;
    }
}

#include "backend/cpu/op/attention_bytes.h"

/* --- softmax --- */

/* Scores of ATTN_KEYS keys, of which the row sees [from, to), into its running softmax: they become weights, 0 for the
 * other keys. Returns what the row's sums so far are to be multiplied with. */
static float attn_weigh(float *score, uint32_t from, uint32_t to, float *max, float *sum, float softcap)
{
    float shrink[W_LANES] = {1}, top = *max;
    for (size_t j = 0; softcap != 0 && j < ATTN_KEYS; j += W_LANES)
        wf_store(score + j, wf_softcap(wf_load(score + j), wf_set(1), wf_set(softcap)));
    for (uint32_t j = 0; j < from; j++) score[j] = -INFINITY;
    for (uint32_t j = to; j < ATTN_KEYS; j++) score[j] = -INFINITY;

    wf most = wf_load(score), all = wf_set(0);
    for (size_t j = W_LANES; j < ATTN_KEYS; j += W_LANES) most = wf_max(most, wf_load(score + j));
    if (wf_hmax(most) > top) {
        top = wf_hmax(most);
        wf_store(shrink, wf_exp(wf_set(*max - top)));
    }
    for (size_t j = 0; j < ATTN_KEYS; j += W_LANES) {
        wf x = wf_sub(wf_load(score + j), wf_set(top)), w = wf_select_ge(x, wf_set(-87), wf_exp(x), wf_set(0));
        wf_store(score + j, w);
        all = wf_add(all, w);
    }
    *sum = *sum * shrink[0] + wf_sum(all);
    *max = top;
    return shrink[0];
}

/* Of the ATTN_KEYS keys from position `at` on, those that row r sees: [from, to). */
SIMD void attn_range(const struct attn_args *a, uint32_t r, uint32_t at, uint32_t *from, uint32_t *to)
{
    const uint32_t pos = a->pos + r / a->group, low = attn_first_key(pos, a->window);
    *from = low > at ? low - at : 0;
    *to = MIN((uint32_t)ATTN_KEYS, pos + 1 - at);
}

/* Scores of up to W_TILE_ROWS rows from r0 on, for keys [first, n_key) of a panel. */
static void attn_score(const struct attn *t, uint32_t first, uint32_t n_key, uint32_t r0, uint32_t n)
{
    const float *x[W_TILE_ROWS];
    float *y[W_TILE_ROWS];
    for (uint32_t i = 0; i < n; i++) {
        x[i] = attn_query(t, r0 + i);
        y[i] = t->score + (r0 + i) * ATTN_KEYS + first;
    }
    attn_product(y, x, n, t->panel + first, ATTN_KEYS, t->hd, round_up(n_key, BLOCK) - first, true);
}

/* The rows' scores of keys from position `at` on as weights. */
static void attn_soften(const struct attn *t, uint32_t at, uint32_t r0, uint32_t n)
{
    for (uint32_t r = r0; r < r0 + n; r++) {
        float *acc = t->s.acc + r * t->ld;
        uint32_t from, to;
        attn_range(t->a, r, at, &from, &to);
        const float shrink =
            attn_weigh(t->score + r * ATTN_KEYS, from, to, &t->s.max[r], &t->s.sum[r], t->a->softcap);
        for (size_t j = 0; shrink != 1 && j < t->ld; j += W_LANES)
            wf_store(acc + j, wf_mul(wf_load(acc + j), wf_set(shrink)));
    }
}

/* The rows' sums += values [first, n_key) of a panel by their weights. */
static void attn_add(const struct attn *t, uint32_t first, uint32_t n_key, uint32_t r0, uint32_t n)
{
    const float *x[W_TILE_ROWS];
    float *y[W_TILE_ROWS];
    for (uint32_t i = 0; i < n; i++) {
        x[i] = t->score + (r0 + i) * ATTN_KEYS + first;
        y[i] = t->s.acc + (r0 + i) * t->ld;
    }
    attn_product(y, x, n, t->panel + first * t->ld, t->ld, n_key - first, t->ld, false);
}

/* The keys from position `at` on, as far as the tile sees them; those of blocks before `block0` nobody sees. */
static void attn_keys(const struct attn *t, uint32_t at, uint32_t block0)
{
    const struct attn_args *a = t->a;
    const uint32_t n_key = MIN((uint32_t)ATTN_KEYS, a->pos + a->n_tok - at);
    const uint32_t first = block0 * BLOCK > at ? block0 * BLOCK - at : 0;

    /* Tokens before the first key see none of these; with a window, neither do late ones. */
    const uint32_t token0 = at > a->pos ? at - a->pos : 0;
    const uint64_t beyond = (uint64_t)at + ATTN_KEYS - 1 + a->window - a->pos;
    const uint32_t token1 = a->window ? (uint32_t)MIN(beyond, (uint64_t)a->n_tok) : a->n_tok;
    const uint32_t row0 = token0 * a->group, row1 = token1 * a->group;

    const bool bytes = a->kv->type == DT_Q8_0;
    const uint32_t step = bytes ? BYTE_ROWS : W_TILE_ROWS;

    for (uint32_t j = first; !bytes && j < n_key; j += BLOCK) {
        const struct attn_part p = attn_part(t, at + j, false);
        attn_turn(t->panel + j, &p, t->hd);
    }
    for (uint32_t r = row0; r < row1; r += step) {
        const uint32_t n = MIN(step, row1 - r);
        if (bytes)
            attn_score_bytes(t, at, first, n_key, r, n, r == row0);
        else
            attn_score(t, first, n_key, r, n);
        attn_soften(t, at, r, n);
    }
    for (uint32_t j = first; !bytes && j < n_key; j += BLOCK) {
        const struct attn_part p = attn_part(t, at + j, true);
        attn_widen(t->panel + j * t->ld, t->ld, &p, MIN((uint32_t)BLOCK, n_key - j), t->hd);
    }
    for (uint32_t r = row0; r < row1; r += step) {
        const uint32_t n = MIN(step, row1 - r);
        if (bytes)
            attn_add_bytes(t, at, first, n_key, r, n, r == row0);
        else
            attn_add(t, first, n_key, r, n);
    }
}

/* --- spans --- */

/* Empty sums at mem, attn_part_floats() of them. */
static struct attn_sums attn_sums_at(const struct attn *t, float *mem)
{
    const struct attn_sums s = {mem, mem + t->n_row * t->ld, mem + t->n_row * (t->ld + 1)};
    memset(mem, 0, t->n_row * (t->ld + 2) * sizeof *mem);
    /* Finite: a row's first weights make it shrink to almost 0, and 0 times that is 0. */
    for (uint32_t r = 0; r < t->n_row; r++) s.max[r] = -1e30f;
    return s;
}

static void attn_span(const struct attn *t, uint32_t span)
{
    const struct attn_args *a = t->a;
    const uint32_t block0 = attn_first_key(a->pos, a->window) / BLOCK;
    const uint32_t from = MAX(block0 * BLOCK / ATTN_KEYS * ATTN_KEYS, span * ATTN_SPAN);
    const uint32_t to = MIN(a->pos + a->n_tok, (span + 1) * ATTN_SPAN);
    for (uint32_t at = from; at < to; at += ATTN_KEYS) attn_keys(t, at, block0);
}

/* s += the sums of the span that comes next. */
static void attn_join(const struct attn *t, const struct attn_sums *s, const float *part)
{
    const float *max = part + t->n_row * t->ld, *sum = max + t->n_row;
    for (uint32_t r = 0; r < t->n_row; r++, part += t->ld) {
        if (sum[r] == 0) continue; /* the row sees nothing of it */
        const float top = MAX(s->max[r], max[r]);
        float *acc = s->acc + r * t->ld, scale[W_LANES] = {s->max[r] - top, max[r] - top};
        wf_store(scale, wf_exp(wf_load(scale)));
        for (size_t i = 0; i < t->ld; i += W_LANES)
            wf_store(acc + i, wf_fma(wf_load(part + i), wf_set(scale[1]), wf_mul(wf_load(acc + i), wf_set(scale[0]))));
        s->sum[r] = s->sum[r] * scale[0] + sum[r] * scale[1];
        s->max[r] = top;
    }
}

static void attn_out(const struct attn *t, const struct attn_sums *s)
{
    const struct attn_args *a = t->a;
    for (uint32_t r = 0; r < t->n_row; r++) {
        float *out = a->out + r / a->group * a->out_stride + r % a->group * t->hd;
        /* + 0: weights of 0 for keys that other rows see may have made 0 of -0. */
        for (size_t i = 0; i < t->hd; i++) out[i] = s->acc[r * t->ld + i] / s->sum[r] + 0;
    }
}

static struct attn attn_begin(const struct attn_args *a)
{
    return (struct attn){
        .a = a, .n_row = a->n_tok * a->group, .hd = a->head_dim, .ld = round_up(a->head_dim, ATTN_PAD)};
}

static void op_attention(const struct attn_args *a)
{
    struct attn t = attn_begin(a);
    t.panel = a->scratch;
    t.score = t.panel + attn_panel_floats(t.n_row, t.hd);
    if (a->kv->type == DT_Q8_0) attn_round_queries(&t);
    if (a->part) {
        t.s = attn_sums_at(&t, a->part);
        attn_span(&t, a->span);
        return;
    }
    float *part = t.score + ATTN_KEYS * t.n_row;
    const struct attn_sums all = attn_sums_at(&t, part + attn_part_floats(t.n_row, t.hd));
    const uint32_t last = (a->pos + a->n_tok - 1) / ATTN_SPAN;
    for (uint32_t span = attn_first_key(a->pos, a->window) / ATTN_SPAN; span <= last; span++) {
        t.s = attn_sums_at(&t, part);
        attn_span(&t, span);
        attn_join(&t, &all, part);
    }
    attn_out(&t, &all);
}

static void op_attention_join(const struct attn_args *a, uint32_t n_span)
{
    const struct attn t = attn_begin(a);
    const struct attn_sums all = attn_sums_at(&t, a->scratch);
    for (uint32_t i = 0; i < n_span; i++) attn_join(&t, &all, a->part + i * attn_part_floats(t.n_row, t.hd));
    attn_out(&t, &all);
}
