#include "engine/flight.h"

#include <stdlib.h>

#include "engine/embed.h"
#include "engine/engine_int.h"

void flight_init(struct flight *f, uint32_t max_seqs)
{
    *f = (struct flight){.share = mem_zalloc(max_seqs, sizeof *f->share),
                         .part = mem_zalloc(max_seqs, sizeof *f->part),
                         .program = mem_zalloc(max_seqs, sizeof *f->program),
                         .mask = mem_zalloc(max_seqs, sizeof *f->mask)};
}

void flight_deinit(struct flight *f)
{
    free(f->share);
    free(f->part);
    free(f->program);
    free(f->mask);
    *f = (struct flight){0};
}

/* ---- what it asks for -------------------------------------------------------------------------------- */

/* The masks of those that will have a token drawn are computed meanwhile, in the order of their shares. */
static bool wants_mask(const struct sched_share *sh)
{
    const struct seq *s = (const struct seq *)sh->seq;
    return sh->closes && s->task == ENGINE_GENERATE && s->constraint.mask;
}

static void begin_masks(struct engine *en, const struct flight *f)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n; i++) {
        const struct seq *s = (const struct seq *)f->share[i].seq;
        if (wants_mask(&f->share[i]))
            en->mask_source[n++] = (struct mask_source){.mask = s->constraint.mask, .state = s->allowed};
    }
    masks_begin(en->masks, en->mask_source, n);
}

/* The token after this share as a draw on the device: where there is one row of logits and nothing else wants
 * it. */
static const struct sample_program *program_of(const struct engine *en, struct flight *f, uint32_t i)
{
    const struct sched_share *sh = &f->share[i];
    const struct seq *s = (const struct seq *)sh->seq;
    if (!en->api->draws || !sh->closes || sh->n_draft || s->q.score || s->kids || s->task != ENGINE_GENERATE)
        return NULL;
    if (!sampler_program(s->sampler, s->q.n_known, &f->program[i])) return NULL;
    f->program[i].mask = f->mask[i];
    return &f->program[i];
}

/* Prompts that are computed for the first time in this step, before and beside the rest. */
static void count_shares(struct engine *en, const struct flight *f)
{
    struct engine_metrics *m = &en->metrics;
    m->n_steps++;
    m->n_step_seqs += f->n;
    for (uint32_t i = 0; i < f->n; i++) {
        const struct sched_seq *q = f->share[i].seq;
        uint32_t end_at = q->n_computed + f->share[i].n_token;
        m->n_prompt_tokens += q->n_computed < q->n_prompt ? MIN(end_at, q->n_prompt) - q->n_computed : 0;
        if (q->n_preempted || q->n_known > q->n_prompt || q->n_computed != q->n_cached) continue;
        m->n_cached_tokens += q->n_cached;
        histogram_add(&m->queue_s, (double)(q->admit_ns - q->arrival_ns) * 1e-9);
    }
}

void flight_fill(struct engine *en, struct flight *f, uint32_t n)
{
    f->n = n;
    begin_masks(en, f);
    for (uint32_t i = 0, n_mask = 0; i < n; i++) {
        const struct sched_share *sh = &f->share[i];
        const struct seq *s = (const struct seq *)sh->seq;
        f->mask[i] = wants_mask(sh) ? masks_at(en->masks, n_mask++) : NULL;
        f->part[i] = (struct batch_seq){.token = s->drawn ? NULL : s->token + s->q.n_computed,
                                        .from = s->drawn ? s->drawn - 1 : 0,
                                        .n_token = sh->n_token,
                                        .pos = s->q.n_computed,
                                        .block = s->q.table.block,
                                        .n_block = s->q.table.n_block,
                                        .n_logits = s->task == ENGINE_GENERATE ? sched_rows(sh) : 0,
                                        .draw = program_of(en, f, i),
                                        .n_hidden = embed_rows_wanted(s, sh)};
    }
    f->batch = (struct batch){.seq = f->part, .n_seq = n};
    count_shares(en, f);
}

/* ---- ahead of it ------------------------------------------------------------------------------------- */

static bool ends_with_next(const struct sched_seq *q)
{
    return q->n_known + 1 >= q->max_known;
}

/* Can it be said what s asks for after its next token, whatever that is? Not where that token moves a
 * grammar, changes what is drawn from, or is to be followed by guesses. */
static bool goes_on(const struct seq *s)
{
    return ends_with_next(&s->q) ||
           (!s->constraint.mask && !s->constraint.accept && !s->q.n_draft && sampler_steady(s->sampler));
}

/* A step with a piece of a prompt takes long: what arrives meanwhile is to have its place in the next. */
bool flight_leads(const struct engine *en, const struct flight *f)
{
    if (!en->api->ahead || en->no_step_ahead || en->draft_model) return false;
    for (uint32_t i = 0; i < f->n; i++) {
        const struct batch_seq *p = &f->part[i];
        const struct seq *s = (const struct seq *)f->share[i].seq;
        if (p->n_token != 1 || p->n_logits != 1 || p->n_hidden || !p->draw || p->draw->mask) return false;
        if (s && !goes_on(s)) return false;
    }
    return true;
}

void flight_assume(struct flight *f, bool come_back)
{
    for (uint32_t i = 0; i < f->n; i++) {
        struct seq *s = (struct seq *)f->share[i].seq;
        if (!s) continue;
        if (come_back) {
            s->drawn = ends_with_next(&s->q) ? 0 : i + 1;
            s->q.n_computed++;
            s->q.n_known += s->drawn != 0;
        } else {
            s->q.n_computed--;
            s->q.n_known -= s->drawn != 0;
            s->drawn = 0;
        }
    }
}

void flight_forget(struct flight *f, const struct sched_seq *q)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (f->share[i].seq == q) f->share[i].seq = NULL;
}
