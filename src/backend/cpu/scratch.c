/* The layout of a step's memory: one walk, used to plan (no memory) and to load (with it), so a plan is
 * exact. */
#include "backend/cpu/cpu_int.h"

struct bump {
    uint8_t *mem;
    size_t used;
};

static void *take(struct bump *b, size_t n, size_t bytes)
{
    size_t at = b->used;
    b->used = round_up(b->used + n * bytes, 64);
    return b->mem ? b->mem + at : NULL;
}

static void take_acts(struct bump *b, struct acts *a, size_t rows, size_t n, unsigned forms)
{
    /* Rows of ldq integers are an odd number of cache lines, so that the columns of a tile do not share one
     * cache set. */
    const size_t n_group = (n + ACT_GROUP - 1) / ACT_GROUP;
    const size_t bytes = forms & ACT_BYTES ? rows : 0, pairs = forms & ACT_PAIRS ? rows : 0;
    *a = (struct acts){.n = n, .ldf = round_up(n, 16), .ldq = (n_group | 1) * ACT_GROUP, .n_group = n_group};
    a->f = take(b, rows * a->ldf, sizeof(float));
    a->bf16 = take(b, forms & ACT_BF16 ? rows * a->ldq : 0, sizeof(uint16_t));
    a->byte.q = take(b, bytes * a->ldq, sizeof(int8_t));
    a->byte.scale = take(b, bytes * n_group, sizeof(float));
    a->byte.sum = take(b, bytes * n_group * 3, sizeof(float));
    a->byte.minus = take(b, bytes * n_group * 3, sizeof(int32_t));
    a->pair.q = take(b, pairs * a->ldq, sizeof(int16_t));
    a->pair.scale = take(b, pairs * n_group, sizeof(float));
    a->pair.sum = take(b, pairs * n_group * 3, sizeof(float));
}

/* All that any weight could be multiplied with. */
static unsigned forms_of(const struct model_desc *m, const struct cpu_kernels *k)
{
    unsigned forms = 0;
    for (uint32_t i = 1; i < m->n_weight; i++)
        forms |= k->matmul[m->weight[i].dtype].form | k->fine[m->weight[i].dtype].form;
    return forms;
}

static size_t max_row_bytes(const struct model_desc *m)
{
    size_t most = 0;
    for (uint32_t i = 1; i < m->n_weight; i++) most = MAX(most, matmul_row_bytes(&m->weight[i]));
    return most;
}

/* Sums of all spans of four sequences that are decoded at full length. */
static size_t attn_split_floats(const struct model_config *c, size_t max_context)
{
    const size_t n_span = (max_context + ATTN_SPAN - 1) / ATTN_SPAN;
    return n_span < 2 ? 0
                      : 4 * n_span * c->n_head_kv * attn_part_floats(c->n_head / c->n_head_kv, c->head_dim);
}

void scratch_layout(struct scratch *s, uint8_t *mem, const struct model_desc *m,
                    const struct backend_limits *l, const struct backend *be)
{
    const struct model_config *c = &m->cfg;
    struct bump b = {mem, 0};
    const size_t t = l->max_tokens, hd = c->head_dim, nq = hd * c->n_head, nkv = hd * c->n_head_kv;
    const size_t used = c->n_expert ? c->n_expert_used : 0, slots = t * MAX(used, (size_t)1);
    const size_t hidden =
        MAX(MAX((size_t)c->n_ff, (size_t)1), c->n_expert ? MAX(c->n_ff_expert, c->n_ff_shared) : 0u);
    const unsigned forms = forms_of(m, be->k);
    const uint32_t n_thread = crew_n_thread(be->crew);
    size_t n_pair = 0;

    for (uint32_t i = 0; i < m->n_rope; i++) n_pair = MAX(n_pair, (size_t)m->rope[i].n_pair);
    *s = (struct scratch){.rope_stride = 2 * n_pair};
    take_acts(&b, &s->h, t, c->n_embd, forms);
    take_acts(&b, &s->o, t, nq, forms);
    take_acts(&b, &s->u, slots, hidden, forms);
    s->x = take(&b, t * c->n_embd, sizeof(float));
    s->y = take(&b, t * c->n_embd, sizeof(float));
    s->q = take(&b, t * nq, sizeof(float));
    s->k = take(&b, t * nkv, sizeof(float));
    s->v = take(&b, t * nkv, sizeof(float));
    s->gate = take(&b, slots * s->u.ldf, sizeof(float));
    s->mm = take(&b, 2 * (size_t)c->n_expert + 4, sizeof(struct mm));
    if (used) {
        s->down = take(&b, slots * c->n_embd, sizeof(float));
        s->route_logits = take(&b, t * c->n_expert, sizeof(float));
        s->route_gate = take(&b, slots, sizeof(float));
        s->route = take(&b, slots, sizeof(uint32_t));
        s->slot_token = take(&b, slots, sizeof(uint32_t));
        s->slot_row = take(&b, slots, sizeof(uint32_t));
        s->expert_at = take(&b, (size_t)c->n_expert + 1, sizeof(uint32_t));
    }
    s->cos_sin = take(&b, m->n_rope * t * s->rope_stride, sizeof(float));
    s->logits = take(&b, (size_t)l->max_logits * c->n_vocab, sizeof(float));
    s->token = take(&b, t, sizeof(int32_t));
    s->pos = take(&b, t, sizeof(uint32_t));
    s->seq = take(&b, t, sizeof(uint32_t));
    if (!model_embeds(m)) s->input = take(&b, t, sizeof *s->input);
    s->row_token = take(&b, t, sizeof(uint32_t));
    s->hidden_token = take(&b, t, sizeof(uint32_t));
    s->tile = take(&b, t, sizeof(struct tile));
    s->attn_part_floats = attn_split_floats(c, l->max_context);
    s->attn_part = take(&b, s->attn_part_floats, sizeof(float));
    s->thread = take(&b, n_thread, sizeof(struct thread_scratch));
    const size_t row_bytes = max_row_bytes(m);
    for (uint32_t i = 0; i < n_thread; i++) {
        void *panel = take(&b, 1, panel_bytes());
        float *attn = take(&b, attn_scratch_floats(c->n_head / c->n_head_kv, hd), sizeof(float));
        uint8_t *rows = take(&b, MAX_TASK_ROWS, row_bytes);
        if (mem) s->thread[i] = (struct thread_scratch){panel, attn, rows};
    }
    s->total_bytes = b.used;
}
