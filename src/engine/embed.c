#include "engine/embed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

status embed_init(struct seq *s, const struct engine_request *r, const struct model_desc *m, struct error *e)
{
    enum pooling own = (enum pooling)m->cfg.pooling;
    s->task = r->task;
    s->normalize = r->normalize;
    if (r->task == ENGINE_GENERATE) return OK;
    if (r->n > 1) return fail(e, ERR_ARG, "a text has one vector, not %u choices of it", r->n);
    if (r->task == ENGINE_RANK) {
        if (!m->rank.weight)
            return fail(e, ERR_UNSUPPORTED,
                        "this model cannot score texts: its file has no cls.output.weight");
        s->pooling = POOLING_RANK;
        return OK;
    }
    s->pooling = r->pooling != POOLING_UNSET ? r->pooling : own != POOLING_UNSET ? own : POOLING_LAST;
    if (s->pooling == POOLING_RANK && r->pooling == POOLING_UNSET) s->pooling = POOLING_LAST;
    if (s->pooling > POOLING_LAST)
        return fail(e, ERR_ARG, "unknown kind of pooling %u", (unsigned)r->pooling);
    /* What the cache has cannot be seen: it holds keys and values, not the states that are wanted here. */
    if (s->pooling != POOLING_LAST) s->q.no_cache = true;
    if (s->pooling == POOLING_MEAN) s->sum = mem_zalloc(m->cfg.n_embd, sizeof *s->sum);
    return OK;
}

void embed_deinit(struct seq *s)
{
    free(s->sum);
}

uint32_t embed_rows_wanted(const struct seq *s, const struct sched_share *sh)
{
    uint32_t end = s->q.n_computed + sh->n_token, from = MAX(s->q.n_computed, s->n_pooled);
    switch (s->pooling) {
    case POOLING_UNSET: return 0;
    case POOLING_NONE:
    case POOLING_MEAN: return end > from ? end - from : 0; /* after a preemption some come again */
    case POOLING_CLS: return s->q.n_computed == 0 && !s->n_pooled ? sh->n_token : 0;
    case POOLING_LAST:
    case POOLING_RANK: return sh->closes;
    }
    return 0;
}

static void send_rows(const struct seq *s, const float *row, uint32_t n_vector, uint32_t n_row, uint32_t at)
{
    struct engine_event ev = {
        .kind = EV_VECTOR, .id = s->q.id, .vector = row, .n_vector = n_vector, .n_row = n_row, .row_at = at};
    s->on_event(s->user, &ev);
}

static void to_length_one(float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (size_t i = 0; i < n; i++) x[i] = (float)((double)x[i] * scale);
}

static void send_vectors(const struct seq *s, const float *rows, uint32_t n_embd, uint32_t n_row, uint32_t at)
{
    float *copy = mem_alloc((size_t)n_row * n_embd * sizeof *copy);
    memcpy(copy, rows, (size_t)n_row * n_embd * sizeof *copy);
    for (uint32_t i = 0; s->normalize && i < n_row; i++) to_length_one(copy + (size_t)i * n_embd, n_embd);
    send_rows(s, copy, n_embd, n_row, at);
    free(copy);
}

static void send_mean(const struct seq *s, uint32_t n_embd)
{
    float *mean = mem_alloc(n_embd * sizeof *mean);
    for (uint32_t i = 0; i < n_embd; i++) mean[i] = (float)(s->sum[i] / s->q.n_prompt);
    send_vectors(s, mean, n_embd, 1, 0);
    free(mean);
}

static void softmax(float *x, uint32_t n)
{
    double sum = 0;
    float most = x[0];
    for (uint32_t i = 1; i < n; i++) most = MAX(most, x[i]);
    for (uint32_t i = 0; i < n; i++) sum += exp((double)(x[i] - most));
    for (uint32_t i = 0; i < n; i++) x[i] = (float)(exp((double)(x[i] - most)) / sum);
}

/* The head is a few rows: no matter for a backend. */
static void send_rank(const struct seq *s, const float *row, const struct model_desc *m)
{
    const struct weight *w = &m->weight[m->rank.weight];
    const uint32_t n = m->cfg.n_embd, n_out = m->cfg.n_rank;
    const float *bias = m->rank.bias ? (const float *)(const void *)m->weight[m->rank.bias].data : NULL;
    float *line = mem_alloc(n * sizeof *line), *out = mem_alloc(n_out * sizeof *out);
    for (uint32_t i = 0; i < n_out; i++) {
        double dot = bias ? (double)bias[i] : 0;
        dtype_info(w->dtype)->decode(w->data + i * (w->n_bytes / n_out), line, n);
        for (uint32_t j = 0; j < n; j++) dot += (double)line[j] * (double)row[j];
        out[i] = (float)dot;
    }
    if (n_out > 1) softmax(out, n_out);
    send_rows(s, out, n_out, 1, 0);
    free(line);
    free(out);
}

void embed_take(struct seq *s, const struct sched_share *sh, const float *rows, const struct model_desc *m)
{
    const uint32_t n_embd = m->cfg.n_embd, n = embed_rows_wanted(s, sh);
    const uint32_t at = s->q.n_computed + sh->n_token - n;
    switch (s->pooling) {
    case POOLING_NONE:
        if (n) send_vectors(s, rows, n_embd, n, at);
        break;
    case POOLING_MEAN:
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n_embd; j++) s->sum[j] += (double)rows[(size_t)i * n_embd + j];
        if (sh->closes) send_mean(s, n_embd);
        break;
    case POOLING_CLS:
    case POOLING_LAST:
        if (n) send_vectors(s, rows, n_embd, 1, 0);
        break;
    case POOLING_RANK:
        if (n) send_rank(s, rows, m);
        break;
    case POOLING_UNSET: break;
    }
    if (n) s->n_pooled = at + n;
}
