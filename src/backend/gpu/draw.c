/* Tokens drawn on the device: what a batch's draws need travels behind its other inputs in the same copy;
 * masks, which are computed while the step runs, follow when the result is asked for, and the draws with
 * them. */
#include <string.h>

#include "backend/gpu/gpu_int.h"

static uint32_t mask_words(const struct model_config *c)
{
    return (c->n_vocab + 31) / 32;
}

static size_t sums_per_row(const struct model_config *c)
{
    return (c->n_vocab + 63) / 64;
}

bool gpu_draws_possible(const struct model_desc *m)
{
    return m->cfg.n_vocab <= PROGRAM_MAX_VOCAB && model_ends(m);
}

void gpu_draws_layout(struct gpu_draws *d, struct gpu_bump *b, const struct model_desc *m,
                      const struct backend_limits *l)
{
    const struct model_config *c = &m->cfg;
    const size_t rows = MIN(l->max_seqs, (uint32_t)GPU_DRAW_ROWS);
    *d = (struct gpu_draws){0};
    if (!gpu_draws_possible(m)) return;
    d->logit = gpu_take(b, rows * c->n_vocab, sizeof(float));
    d->id = gpu_take(b, rows * c->n_vocab, sizeof(uint32_t));
    d->block_sum = gpu_take(b, rows * sums_per_row(c), sizeof(double));
    d->answer = gpu_take(b, l->max_seqs, sizeof(struct program_answer));
    d->mask = gpu_take(b, (size_t)l->max_seqs * mask_words(c), sizeof(uint32_t));
}

void gpu_draws_host_layout(struct gpu_draws_host *d, void *mem, const struct model_desc *m,
                           const struct backend_limits *l)
{
    struct gpu_bump b = {mem, 0};
    for (int i = 0; i < 2; i++) d->answer[i] = gpu_take(&b, l->max_seqs, sizeof *d->answer[i]);
    d->mask = gpu_take(&b, (size_t)l->max_seqs * mask_words(&m->cfg), sizeof *d->mask);
    d->from = gpu_take(&b, l->max_seqs, sizeof *d->from);
    d->row = gpu_take(&b, l->max_seqs, sizeof *d->row);
    d->total_bytes = b.used;
}

/* Programs, the rows they draw from, and edits, from the front of b. */
struct draw_inputs {
    struct sample_program *program;
    uint32_t *row;
    struct program_edit *edit;
};
static struct draw_inputs inputs_at(struct gpu_bump *b, uint32_t n_draw)
{
    struct draw_inputs in;
    in.program = gpu_take(b, n_draw, sizeof *in.program);
    in.row = gpu_take(b, n_draw, sizeof *in.row);
    in.edit = gpu_take(b, 0, sizeof *in.edit);
    return in;
}

size_t gpu_draws_input_bytes(const struct backend_limits *l)
{
    struct gpu_bump b = {NULL, 0};
    inputs_at(&b, l->max_seqs);
    return b.used + (size_t)l->max_seqs * PROGRAM_EDITS * sizeof(struct program_edit) + GPU_ALIGN;
}

static uint32_t n_edit(const struct sample_program *p)
{
    return p->n_bias + p->n_forbid + p->n_penalty;
}

size_t gpu_draws_fill(struct backend_model *bm, const struct batch *b, size_t used)
{
    const uint32_t words = mask_words(&bm->m->cfg);
    struct gpu_queued *q = gpu_step_last(bm);
    struct gpu_bump host = {bm->input_host[bm->ticket % 2], round_up(used, GPU_ALIGN)},
                    device = {bm->input_mem, host.used};
    uint32_t row = 0, n = 0, n_all = 0;
    size_t at = 0;
    for (uint32_t i = 0; i < b->n_seq; i++) n_all += b->seq[i].draw != NULL;
    if (!n_all) return used;
    struct draw_inputs to = inputs_at(&host, n_all), there = inputs_at(&device, n_all);
    for (uint32_t i = 0; i < b->n_seq; row += b->seq[i++].n_logits) {
        const struct sample_program *p = b->seq[i].draw;
        if (!p) continue;
        if (n_edit(p)) memcpy(to.edit + at, p->edit, n_edit(p) * sizeof *p->edit);
        to.program[n] = *p;
        to.program[n].edit = there.edit + at;
        at += n_edit(p);
        if (p->mask) {
            to.program[n].mask = bm->s.draws.mask + (size_t)q->n_mask * words;
            bm->draws.from[q->n_mask++] = p->mask;
        }
        bm->draws.row[n] = to.row[n] = row;
        n++;
    }
    q->n_draw = n;
    bm->draw_program = there.program;
    bm->draw_row = there.row;
    return host.used + at * sizeof *to.edit;
}

void gpu_draws_queue(struct backend_model *bm)
{
    const struct gpu_ops *ops = bm->b->ops;
    struct gpu *gpu = bm->b->gpu;
    const struct gpu_draws *d = &bm->s.draws;
    const struct gpu_queued *q = gpu_step_last(bm);
    const struct model_config *c = &bm->m->cfg;
    const size_t mask_bytes = mask_words(c) * sizeof(uint32_t);
    for (uint32_t i = 0; i < q->n_mask; i++)
        memcpy((uint8_t *)bm->draws.mask + i * mask_bytes, bm->draws.from[i], mask_bytes);
    if (q->n_mask) ops->copy_in(gpu, d->mask, bm->draws.mask, q->n_mask * mask_bytes);
    for (uint32_t at = 0; at < q->n_draw; at += GPU_DRAW_ROWS)
        ops->draw(gpu, &(struct gpu_draw){.program = bm->draw_program + at,
                                          .row = bm->draw_row + at,
                                          .logits = bm->s.logits,
                                          .n_draw = MIN(q->n_draw - at, (uint32_t)GPU_DRAW_ROWS),
                                          .n_vocab = c->n_vocab,
                                          .logit = d->logit,
                                          .id = d->id,
                                          .block_sum = d->block_sum,
                                          .answer = d->answer + at});
    if (q->n_draw)
        ops->copy_out(gpu, bm->draws.answer[bm->ticket % 2], d->answer, q->n_draw * sizeof *d->answer);
}

/* The rows that no token was drawn from, as few copies as there are gaps. */
void gpu_logits_queue(struct backend_model *bm)
{
    const size_t n_vocab = bm->m->cfg.n_vocab;
    const struct gpu_queued *q = gpu_step_last(bm);
    for (uint32_t from = 0, k = 0; from < q->n_row; k++) {
        const uint32_t to = k < q->n_draw ? bm->draws.row[k] : q->n_row;
        if (to > from)
            bm->b->ops->copy_out(bm->b->gpu, bm->logits_host + from * n_vocab, bm->s.logits + from * n_vocab,
                                 (to - from) * n_vocab * sizeof(float));
        from = to + 1;
    }
}
