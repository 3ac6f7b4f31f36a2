/* Attention of a step. A task is a tile, tokens of one sequence, and a KV head; where that makes too few
 * tasks for the threads, as when few long sequences are decoded, also a span of keys, and the spans' sums are
 * joined afterwards. The sums are the same either way. */
#include "backend/cpu/cpu_int.h"

struct attend {
    struct backend_model *bm;
    const struct op_attn *op;
    uint32_t n_span; /* of the tile with the most; 0: tasks are whole */
    size_t part;     /* floats for the sums of one span of any tile */
};

/* Spans that a tile sees: the first, and how many. */
static uint32_t tile_spans(const struct attend *w, const struct tile *t, uint32_t *first)
{
    const uint32_t pos = w->bm->s.pos[t->first];
    *first = attn_first_key(pos, w->op->window) / ATTN_SPAN;
    return (pos + t->n - 1) / ATTN_SPAN + 1 - *first;
}

static struct attn_args tile_args(const struct attend *w, uint32_t tile, uint32_t kv_head, uint32_t thread)
{
    struct backend_model *bm = w->bm;
    const struct model_config *c = &bm->m->cfg;
    const struct tile *t = &bm->s.tile[tile];
    const uint32_t group = c->n_head / c->n_head_kv;
    const size_t nq = (size_t)c->n_head * c->head_dim, head = (size_t)kv_head * group * c->head_dim;
    return (struct attn_args){
        .kv = &bm->kv,
        .mem = bm->queued_kv->mem.data,
        .block = bm->queued->seq[t->seq].block,
        .layer = w->op->layer,
        .kv_head = kv_head,
        .group = group,
        .head_dim = c->head_dim,
        .window = w->op->window,
        .softcap = w->op->softcap,
        .q = bm->s.q + t->first * nq + head,
        .out = bm->s.o.f + t->first * bm->s.o.ldf + head,
        .q_stride = nq,
        .out_stride = bm->s.o.ldf,
        .pos = bm->s.pos[t->first],
        .n_tok = t->n,
        .scratch = bm->s.thread[thread].attn,
        .part = w->n_span ? bm->s.attn_part + ((size_t)tile * c->n_head_kv + kv_head) * w->n_span * w->part
                          : NULL,
    };
}

static void whole_task(void *ctx, uint32_t task, uint32_t thread)
{
    const struct attend *w = ctx;
    const uint32_t n = w->bm->m->cfg.n_head_kv;
    const struct attn_args a = tile_args(w, task / n, task % n, thread);
    w->bm->b->k->attention(&a);
}

static void span_task(void *ctx, uint32_t task, uint32_t thread)
{
    const struct attend *w = ctx;
    const uint32_t n = w->bm->m->cfg.n_head_kv, i = task % w->n_span, tile = task / w->n_span / n;
    uint32_t first;
    if (i >= tile_spans(w, &w->bm->s.tile[tile], &first)) return;
    struct attn_args a = tile_args(w, tile, task / w->n_span % n, thread);
    a.part += i * attn_part_floats((size_t)a.n_tok * a.group, a.head_dim);
    a.span = first + i;
    w->bm->b->k->attention(&a);
}

static void join_task(void *ctx, uint32_t task, uint32_t thread)
{
    const struct attend *w = ctx;
    const uint32_t n = w->bm->m->cfg.n_head_kv;
    const struct attn_args a = tile_args(w, task / n, task % n, thread);
    uint32_t first;
    w->bm->b->k->attention_join(&a, tile_spans(w, &w->bm->s.tile[task / n], &first));
}

/* The cache rows that a tile reads, and the products of its queries with them. */
static void count_attention(const struct attend *w)
{
    struct backend_model *bm = w->bm;
    const struct model_config *c = &bm->m->cfg;
    for (uint32_t i = 0; i < bm->n_tile; i++) {
        const struct tile *t = &bm->s.tile[i];
        const uint32_t pos = bm->s.pos[t->first];
        const double keys = pos + t->n - attn_first_key(pos, w->op->window);
        stage_count(bm, STAGE_ATTENTION, 2 * keys * c->n_head_kv * (double)bm->kv.row_bytes,
                    4 * keys * t->n * c->n_head * c->head_dim);
    }
}

/* Whether tasks are to be spans, and there is memory for their sums: sets n_span. */
static bool splits(struct attend *w)
{
    struct backend_model *bm = w->bm;
    const struct model_config *c = &bm->m->cfg;
    const uint32_t n_whole = bm->n_tile * c->n_head_kv;
    uint32_t first, most_tokens = 0;
    if (n_whole >= 4 * crew_n_thread(bm->b->crew)) return false;
    for (uint32_t i = 0; i < bm->n_tile; i++) {
        w->n_span = MAX(w->n_span, tile_spans(w, &bm->s.tile[i], &first));
        most_tokens = MAX(most_tokens, bm->s.tile[i].n);
    }
    w->part = attn_part_floats((size_t)most_tokens * (c->n_head / c->n_head_kv), c->head_dim);
    if (w->n_span < 2 || (size_t)n_whole * w->n_span * w->part > bm->s.attn_part_floats) w->n_span = 0;
    return w->n_span != 0;
}

void step_attention(struct backend_model *bm, const struct op_attn *op)
{
    struct attend w = {.bm = bm, .op = op};
    const uint32_t n_whole = bm->n_tile * bm->m->cfg.n_head_kv;
    count_attention(&w);
    if (!splits(&w)) {
        stage_run(bm, STAGE_ATTENTION, n_whole, whole_task, &w);
        return;
    }
    stage_run(bm, STAGE_ATTENTION, n_whole * w.n_span, span_task, &w);
    stage_run(bm, STAGE_ATTENTION, n_whole, join_task, &w);
}
