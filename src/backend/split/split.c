/* One model on several devices: each has some of its layers, with their part of the KV cache, and a step's
 * rows go from one to the next through host memory. The parts are slices of the model on backends of their
 * own, so this file knows neither weights nor kernels.
 *
 * `step` runs all parts but the last, `wait` is the last one's: what draws tokens there is as elsewhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/split/split_int.h"
#include "base/clock.h"

/* Layers [layer, layer + n_layer) on a device. */
struct place {
    const struct part *part;
    uint32_t layer, n_layer;
    struct model_desc slice;
    struct backend_limits lim;
    struct backend_model *model;
    size_t kv_block_bytes;
};

struct backend_model {
    const struct model_desc *m;
    struct backend_limits lim;
    struct place place[BACKEND_MAX_SHARES];
    uint32_t n;
    struct batch_seq *seq; /* max_seqs: the batch as a part gets it */
    struct batch batch;
    uint64_t ticket, last_ticket; /* ours, the last part's */
    bool queued;
    int64_t started_ns;
};

struct backend_kv {
    struct backend_model *m;
    struct backend_kv *part[BACKEND_MAX_SHARES];
    uint32_t n_block;
};

/* Where an error is from. */
static status of_place(const struct place *p, struct error *e)
{
    return fail_in(e, "layers %u to %u on %s", p->layer, p->layer + p->n_layer - 1, p->part->name);
}
#define TRY_PLACE(p, expr)                                                                                   \
    do {                                                                                                     \
        if ((expr) != OK) return of_place(p, e);                                                             \
    } while (0)

static int split_count(struct error *e)
{
    (void)fail(e, ERR_UNSUPPORTED, "several devices are named with --devices");
    return 0;
}

static status split_info(int device, struct backend_device *out, struct error *e)
{
    return fail(e, ERR_UNSUPPORTED, "several devices have no one description: ask for their parts");
}

static void split_close(struct backend *b)
{
    if (!b) return;
    for (uint32_t i = b->n; i-- > 0;)
        if (b->part[i].owner) b->part[i].api->close(b->part[i].b);
    free(b);
}

/* A device that is named twice is opened once. */
static status open_part(struct backend *b, struct part *p, const struct backend_options *o, struct error *e)
{
    for (struct part *q = b->part; q < p; q++)
        if (q->api == p->api && q->device == p->device) p->b = q->b;
    if (p->b) return OK;
    struct backend_options with = *o;
    with.share = NULL, with.n_share = 0;
    with.device = o->device == BACKEND_NO_DEVICE ? BACKEND_NO_DEVICE : p->device;
    if (p->api->open(&p->b, &with, e) != OK) return fail_in(e, "%s", p->name);
    p->owner = true;
    return OK;
}

static status split_open(struct backend **out, const struct backend_options *o, struct error *e)
{
    status s = OK;
    *out = NULL;
    if (o->n_share < 1 || o->n_share > BACKEND_MAX_SHARES)
        return fail(e, ERR_ARG, "a model on %u devices: 1 to %d can share one", o->n_share,
                    BACKEND_MAX_SHARES);
    struct backend *b = mem_zalloc(1, sizeof *b);
    b->kv_bytes = o->kv_bytes;
    for (uint32_t i = 0; i < o->n_share && s == OK; i++, b->n++) {
        const struct backend_share *share = &o->share[i];
        struct part *p = &b->part[i];
        *p = (struct part){.api = share->api, .device = share->device, .n_layer = share->n_layer};
        backend_share_name(p->name, share);
        s = open_part(b, p, o, e);
    }
    if (s == OK)
        *out = b;
    else
        split_close(b);
    return s;
}

/* The places of a model's layers, with their slices; places_deinit also after a failure. */
static status places_init(struct place *place, uint32_t *n, struct backend *b, const struct model_desc *m,
                          const struct backend_limits *l, struct error *e)
{
    uint32_t layer = 0;
    *n = 0;
    TRY(split_divide(b, m, l, e));
    for (uint32_t i = 0; i < b->n; i++) {
        if (!b->n_layer[i]) continue;
        struct place *p = &place[(*n)++];
        *p = (struct place){.part = &b->part[i], .layer = layer, .n_layer = b->n_layer[i], .lim = *l};
        model_slice_init(&p->slice, m, model_part(m, layer, p->n_layer));
        if (!model_ends(&p->slice)) p->lim.max_logits = 0;
        layer += p->n_layer;
    }
    return OK;
}

static void places_deinit(struct place *place, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) model_slice_deinit(&place[i].slice);
}

static status split_parts(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                          struct backend_part *out, uint32_t *n, struct error *e)
{
    struct place place[BACKEND_MAX_SHARES];
    status s = places_init(place, n, b, m, l, e);
    for (uint32_t i = 0; i < *n && s == OK; i++) {
        const struct place *p = &place[i];
        out[i] = (struct backend_part){.on = {p->part->api, p->part->device, p->n_layer}, .layer = p->layer};
        s = p->part->api->plan(p->part->b, &p->slice, &p->lim, &out[i].plan, e);
        if (s != OK) (void)of_place(p, e);
    }
    places_deinit(place, *n);
    return s;
}

static status split_plan(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                         struct backend_plan *out, struct error *e)
{
    struct backend_part part[BACKEND_MAX_SHARES];
    uint32_t n;
    *out = (struct backend_plan){0};
    TRY(split_parts(b, m, l, part, &n, e));
    for (uint32_t i = 0; i < n; i++) {
        out->weight_bytes += part[i].plan.weight_bytes;
        out->mapped_bytes += part[i].plan.mapped_bytes;
        out->scratch_bytes += part[i].plan.scratch_bytes;
        out->kv_block_bytes += part[i].plan.kv_block_bytes;
    }
    return OK;
}

static void split_unload(struct backend_model *bm)
{
    if (!bm) return;
    for (uint32_t i = 0; i < bm->n; i++)
        if (bm->place[i].model) bm->place[i].part->api->unload(bm->place[i].model);
    places_deinit(bm->place, bm->n);
    free(bm->seq);
    free(bm);
}

/* Progress of one part as that of the whole, in bytes of the file. */
struct progress {
    backend_progress say;
    void *user;
    size_t before, part, total, last;
};

static bool progress_of_part(void *user, size_t done, size_t total)
{
    struct progress *p = user;
    const size_t now = p->before + MIN(done, p->part);
    if (now <= p->last) return true;
    p->last = now;
    return p->say(p->user, now, p->total);
}

static size_t file_bytes(const struct model_desc *m)
{
    size_t n = 0;
    for (uint32_t i = 1; i < m->n_weight; i++) n += m->weight[i].n_bytes;
    return n;
}

static status load_places(struct backend_model *bm, struct progress *p, struct error *e)
{
    for (uint32_t i = 0; i < bm->n; i++) p->total += file_bytes(&bm->place[i].slice);
    for (uint32_t i = 0; i < bm->n; i++, p->before += p->part) {
        struct place *at = &bm->place[i];
        struct backend_plan plan;
        p->part = file_bytes(&at->slice);
        TRY_PLACE(at, at->part->api->plan(at->part->b, &at->slice, &at->lim, &plan, e));
        at->kv_block_bytes = plan.kv_block_bytes;
        TRY_PLACE(at, at->part->api->load(&at->model, at->part->b, &at->slice, &at->lim,
                                          p->say ? progress_of_part : NULL, p, e));
    }
    if (p->say && p->last < p->total && !p->say(p->user, p->total, p->total))
        return fail(e, ERR_CANCELLED, "loading was stopped");
    return OK;
}

static status split_load(struct backend_model **out, struct backend *b, const struct model_desc *m,
                         const struct backend_limits *l, backend_progress progress, void *user,
                         struct error *e)
{
    struct backend_model *bm = mem_zalloc(1, sizeof *bm);
    *bm = (struct backend_model){.m = m, .lim = *l, .seq = mem_zalloc(MAX(l->max_seqs, 1u), sizeof *bm->seq)};
    status s = places_init(bm->place, &bm->n, b, m, l, e);
    if (s == OK) s = load_places(bm, &(struct progress){.say = progress, .user = user}, e);
    *out = s == OK ? bm : NULL;
    if (s != OK) split_unload(bm);
    return s;
}

static void split_kv_close(struct backend_kv *kv)
{
    if (!kv) return;
    for (uint32_t i = 0; i < kv->m->n; i++)
        if (kv->part[i]) kv->m->place[i].part->api->kv_close(kv->part[i]);
    free(kv);
}

static status open_pools(struct backend_kv *kv, struct error *e)
{
    for (uint32_t i = 0; i < kv->m->n; i++) {
        struct place *p = &kv->m->place[i];
        TRY_PLACE(p, p->part->api->kv_open(&kv->part[i], p->model, kv->n_block, e));
    }
    return OK;
}

static status split_kv_open(struct backend_kv **out, struct backend_model *m, uint32_t n_block,
                            struct error *e)
{
    struct backend_kv *kv = mem_zalloc(1, sizeof *kv);
    *kv = (struct backend_kv){.m = m, .n_block = n_block};
    status s = open_pools(kv, e);
    *out = s == OK ? kv : NULL;
    if (s != OK) split_kv_close(kv);
    return s;
}

static status split_kv_copy(struct backend_kv *kv, const struct kv_copy *list, uint32_t n, struct error *e)
{
    for (uint32_t i = 0; i < kv->m->n; i++) {
        const struct place *p = &kv->m->place[i];
        TRY_PLACE(p, p->part->api->kv_copy(kv->part[i], list, n, e));
    }
    return OK;
}

/* A block of all layers is the parts' blocks, one after the other. */
static status split_kv_read(struct backend_kv *kv, uint32_t block, void *to, struct error *e)
{
    uint8_t *at = to;
    for (uint32_t i = 0; i < kv->m->n; i++) {
        const struct place *p = &kv->m->place[i];
        TRY_PLACE(p, p->part->api->kv_read(kv->part[i], block, at, e));
        at += p->kv_block_bytes;
    }
    return OK;
}

static status split_kv_write(struct backend_kv *kv, uint32_t block, const void *from, struct error *e)
{
    const uint8_t *at = from;
    for (uint32_t i = 0; i < kv->m->n; i++) {
        const struct place *p = &kv->m->place[i];
        TRY_PLACE(p, p->part->api->kv_write(kv->part[i], block, at, e));
        at += p->kv_block_bytes;
    }
    return OK;
}

/* The batch as a part sees it: rows instead of tokens but for the first, all rows as the result but for the
 * last. */
static void batch_of(struct backend_model *bm, const struct place *p, const struct batch *b,
                     const float *rows)
{
    for (uint32_t i = 0; i < b->n_seq; i++) {
        struct batch_seq *q = &bm->seq[i];
        *q = b->seq[i];
        if (!model_embeds(&p->slice)) {
            q->input = rows;
            rows += (size_t)q->n_token * bm->m->cfg.n_embd;
        }
        if (!model_ends(&p->slice)) {
            q->draw = NULL;
            q->n_logits = 0;
            q->n_hidden = q->n_token;
        }
    }
    bm->batch = (struct batch){bm->seq, b->n_seq};
}

static status split_step(struct backend_model *bm, struct backend_kv *kv, const struct batch *b,
                         uint64_t *ticket, struct error *e)
{
    struct step_result r = {0};
    if (bm->queued) return fail(e, ERR_BUSY, "a step is queued already: wait for it first");
    TRY(batch_check(b, bm->m, &bm->lim, kv->n_block, 0, e));
    bm->started_ns = clock_ns();
    for (uint32_t i = 0; i < bm->n; i++) {
        const struct place *p = &bm->place[i];
        batch_of(bm, p, b, r.hidden);
        TRY_PLACE(p, p->part->api->step(p->model, kv->part[i], &bm->batch, &bm->last_ticket, e));
        if (i + 1 < bm->n) TRY_PLACE(p, p->part->api->wait(p->model, bm->last_ticket, &r, e));
    }
    bm->queued = true;
    *ticket = ++bm->ticket;
    return OK;
}

static status split_wait(struct backend_model *bm, uint64_t ticket, struct step_result *out, struct error *e)
{
    const struct place *last = &bm->place[bm->n - 1];
    if (!bm->queued || ticket != bm->ticket)
        return fail(e, ERR_ARG, "no step %llu is waiting", (unsigned long long)ticket);
    bm->queued = false;
    TRY_PLACE(last, last->part->api->wait(last->model, bm->last_ticket, out, e));
    out->elapsed_ns = clock_ns() - bm->started_ns;
    return OK;
}

/* Added to the stage of that name: the same work on other layers. */
static size_t add_stage(struct backend_stage *out, size_t n, size_t max, const struct backend_stage *s)
{
    size_t at = 0;
    while (at < n && strcmp(out[at].name, s->name) != 0) at++;
    if (at == max) return n;
    if (at == n) out[n++] = (struct backend_stage){.name = s->name};
    out[at].count += s->count;
    out[at].ns += s->ns;
    out[at].bytes += s->bytes;
    out[at].ops += s->ops;
    return n;
}

static size_t split_profile(struct backend_model *bm, struct backend_stage *out, size_t max)
{
    struct backend_stage stage[32];
    size_t n = 0;
    for (uint32_t i = 0; i < bm->n; i++) {
        const struct place *p = &bm->place[i];
        const size_t count =
            p->part->api->profile ? p->part->api->profile(p->model, stage, COUNT_OF(stage)) : 0;
        for (size_t k = 0; k < count; k++) n = add_stage(out, n, max, &stage[k]);
    }
    return n;
}

#define SPLIT_BACKEND(draws_there)                                                                           \
    {                                                                                                        \
        .abi = BACKEND_ABI, .name = "split", .count = split_count, .info = split_info, .open = split_open,   \
        .close = split_close, .plan = split_plan, .parts = split_parts, .load = split_load,                  \
        .unload = split_unload, .kv_open = split_kv_open, .kv_close = split_kv_close,                        \
        .kv_copy = split_kv_copy, .kv_read = split_kv_read, .kv_write = split_kv_write, .step = split_step,  \
        .wait = split_wait, .profile = split_profile, .draws = draws_there                                   \
    }

const struct backend_api *backend_split(const struct backend_share *share, uint32_t n)
{
    static const struct backend_api hands_out_logits = SPLIT_BACKEND(false), draws = SPLIT_BACKEND(true);
    return n && share[n - 1].api->draws ? &draws : &hands_out_logits;
}
