#include "engine/draft_model.h"

#include <stdlib.h>

#include "base/clock.h"
#include "engine/memory.h"

struct draft_model {
    const struct backend_api *api;
    const struct model_desc *m;
    struct backend *backend;
    struct backend_model *model;
    struct backend_kv *kv;
    struct backend_limits lim;
    uint32_t n_each; /* blocks of a slot */
    uint32_t *block; /* (max_seqs, n_each): the tables of all slots */
    bool *used;      /* max_seqs slots */
    struct batch_seq *part;
    struct draft_want **asks; /* whose parts these are */
    int64_t step_ns;
};

status draft_model_wake(struct draft_model *dm, struct error *e)
{
    TRY(dm->api->load(&dm->model, dm->backend, dm->m, &dm->lim, NULL, NULL, e));
    return dm->api->kv_open(&dm->kv, dm->model, dm->n_each * dm->lim.max_seqs, e);
}

void draft_model_sleep(struct draft_model *dm)
{
    if (dm->kv) dm->api->kv_close(dm->kv);
    if (dm->model) dm->api->unload(dm->model);
    dm->kv = NULL;
    dm->model = NULL;
}

status draft_model_new(struct draft_model **out, const struct engine_options *o,
                       const struct backend_limits *lim, struct error *e)
{
    const struct backend_share on = memory_draft_device(o);
    const struct model_desc *m = o->draft;
    struct draft_model *dm = mem_zalloc(1, sizeof *dm);
    const struct backend_options bo = {.device = on.device, .n_thread = o->n_thread, .host = o->host};
    const uint32_t n = lim->max_seqs;
    *dm = (struct draft_model){.api = on.api, .m = m, .lim = *lim};
    dm->lim.max_logits = n;
    dm->lim.max_context = MIN(lim->max_context, m->cfg.n_ctx_train);
    dm->n_each = (dm->lim.max_context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    dm->block = mem_alloc((size_t)n * dm->n_each * sizeof *dm->block);
    for (uint32_t i = 0; i < n * dm->n_each; i++) dm->block[i] = i;
    dm->used = mem_zalloc(n, sizeof *dm->used);
    dm->part = mem_zalloc(n, sizeof *dm->part);
    dm->asks = mem_zalloc(n, sizeof(struct draft_want *));
    status s = on.api->open(&dm->backend, &bo, e);
    if (s == OK) s = draft_model_wake(dm, e);
    if (s != OK) {
        draft_model_free(dm);
        dm = NULL;
    }
    *out = dm;
    return s;
}

void draft_model_free(struct draft_model *dm)
{
    if (!dm) return;
    draft_model_sleep(dm);
    if (dm->backend) dm->api->close(dm->backend);
    free(dm->block);
    free(dm->used);
    free(dm->part);
    free(dm->asks);
    free(dm);
}

static bool take_slot(struct draft_model *dm, struct seq *s)
{
    for (uint32_t i = 0; !s->draft_slot && i < dm->lim.max_seqs; i++) {
        if (dm->used[i]) continue;
        dm->used[i] = true;
        s->draft_slot = i + 1;
        s->n_modelled = 0;
    }
    return s->draft_slot != 0;
}

void draft_model_leave(struct draft_model *dm, struct seq *s)
{
    if (s->draft_slot) dm->used[s->draft_slot - 1] = false;
    s->draft_slot = 0;
}

/* Are these tokens all in the small model's vocabulary, which may be padded otherwise? */
static bool knows(const struct draft_model *dm, const int32_t *token, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if ((uint32_t)token[i] >= dm->m->cfg.n_vocab) return false;
    return true;
}

/* The part of this step that brings the small model up to the last guess. */
static bool add_part(struct draft_model *dm, struct draft_want *w, uint32_t at, uint32_t *budget)
{
    struct seq *s = w->seq;
    uint32_t end = s->q.n_known + w->n_got, n = MIN(end - s->n_modelled, *budget);
    if (!n || end >= dm->lim.max_context || !knows(dm, s->token + s->n_modelled, n)) return false;
    dm->part[at] = (struct batch_seq){.token = s->token + s->n_modelled,
                                      .n_token = n,
                                      .pos = s->n_modelled,
                                      .block = dm->block + (size_t)(s->draft_slot - 1) * dm->n_each,
                                      .n_block = dm->n_each,
                                      .n_logits = s->n_modelled + n == end};
    dm->asks[at] = w;
    *budget -= n;
    return true;
}

static int32_t best_of(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* One step: each gets one guess further, or reads on. False: nobody wants more. */
static status guess_once(struct draft_model *dm, struct draft_want *w, uint32_t n, uint32_t n_vocab,
                         bool *any, struct error *e)
{
    struct step_result r;
    uint64_t ticket;
    uint32_t budget = dm->lim.max_tokens, n_part = 0, n_token = 0;
    int64_t start = clock_ns();
    for (uint32_t i = 0; i < n; i++)
        if (w[i].n_got < w[i].n && add_part(dm, &w[i], n_part, &budget)) n_part++;
    *any = n_part != 0;
    if (!n_part) return OK;
    struct batch b = {dm->part, n_part};
    TRY(dm->api->step(dm->model, dm->kv, &b, &ticket, e));
    TRY(dm->api->wait(dm->model, ticket, &r, e));
    const float *row = r.logits;
    for (uint32_t i = 0; i < n_part; i++) {
        struct draft_want *d = dm->asks[i];
        d->seq->n_modelled += dm->part[i].n_token;
        n_token += dm->part[i].n_token;
        if (dm->part[i].n_logits) {
            d->seq->token[d->seq->q.n_known + d->n_got++] = best_of(row, n_vocab);
            row += dm->m->cfg.n_vocab;
        } else {
            d->n = d->n_got; /* it has more to read than one step holds: that was all for now */
        }
    }
    if (n_token == n_part) dm->step_ns += (clock_ns() - start - dm->step_ns) / (dm->step_ns ? 8 : 1);
    return OK;
}

status draft_model_guess(struct draft_model *dm, struct draft_want *w, uint32_t n, uint32_t n_vocab,
                         struct error *e)
{
    status s = OK;
    for (uint32_t i = 0; i < n; i++) {
        w[i].n_got = 0;
        if (!take_slot(dm, w[i].seq)) w[i].n = 0;
        seq_reserve(w[i].seq, w[i].n);
    }
    for (bool any = true; any && s == OK;)
        s = guess_once(dm, w, n, MIN(n_vocab, dm->m->cfg.n_vocab), &any, e);
    for (uint32_t i = 0; s != OK && i < n; i++) w[i].n_got = 0;
    return s;
}

int64_t draft_model_step_ns(const struct draft_model *dm)
{
    return dm->step_ns;
}
