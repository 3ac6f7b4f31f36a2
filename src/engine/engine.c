#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/best_of.h"
#include "engine/engine_int.h"
#include "engine/memory.h"
#include "engine/sleep.h"

const char *finish_reason_name(enum finish_reason r)
{
    static const char *const name[] = {"stop", "length", "length", "cancelled", "error", "timeout"};
    return name[r];
}

static status open_scheduler(struct engine *en, const struct engine_options *o, struct error *e)
{
    const int64_t ten_seconds = 10000000000;
    struct sched_options so = {.max_seqs = en->lim.max_seqs,
                               .max_tokens = en->lim.max_tokens,
                               .max_logits = en->lim.max_logits,
                               .grid = en->lim.max_tokens < 128 ? KV_BLOCK_TOKENS : 2 * KV_BLOCK_TOKENS,
                               .age_ns = o->age_ns < 0 ? 0
                                         : o->age_ns   ? o->age_ns
                                                       : ten_seconds};
    return sched_init(&en->sched, &so, en->kv, e);
}

static status open_backend(struct engine *en, const struct engine_options *o, struct error *e)
{
    struct backend_options bo = {.device = o->device,
                                 .share = o->share,
                                 .n_share = o->n_share,
                                 .kv_bytes = o->kv_bytes,
                                 .n_thread = o->n_thread,
                                 .deterministic = o->deterministic,
                                 .host = o->host};
    uint32_t n_block = 0;
    TRY(en->api->open(&en->backend, &bo, e));
    TRY(en->api->plan(en->backend, en->m, &en->lim, &en->plan, e));
    TRY(memory_size_kv(en, o, &n_block, e));
    TRY(en->api->plan(en->backend, en->m, &en->lim, &en->plan, e));
    TRY(memory_load(en, o, e));
    TRY(memory_open_kv(en, &n_block, e));
    TRY(backend_parts(en->api, en->backend, en->device, en->m, &en->lim, en->place, &en->n_place, e));
    TRY(kv_new(&en->kv, n_block, KV_BLOCK_TOKENS, e));
    TRY(open_scheduler(en, o, e));
    if (o->draft && o->max_draft) TRY(draft_model_new(&en->draft_model, o, &en->lim, e));
    en->stats.n_kv_block = en->stats.n_kv_free = n_block;
    en->stats.max_context = en->lim.max_context;
    return OK;
}

void engine_limits(struct backend_limits *out, const struct model_desc *m, const struct engine_options *o)
{
    const uint32_t seqs = o->max_seqs ? o->max_seqs : 16;
    /* Room for a piece of a prompt, however many sequences decode. */
    const uint32_t tokens = MAX(o->step_tokens ? o->step_tokens : 256, seqs + KV_BLOCK_TOKENS);
    *out = (struct backend_limits){.max_seqs = seqs,
                                   .max_tokens = tokens,
                                   .max_logits = seqs + MIN(seqs, 2u) * MIN(o->max_draft, tokens),
                                   .max_context = o->max_context ? o->max_context : m->cfg.n_ctx_train,
                                   .kv_type = o->kv_type};
}

status engine_new(struct engine **out, const struct model_desc *m, const struct engine_options *o,
                  struct error *e)
{
    struct engine *en = mem_zalloc(1, sizeof *en);
    *out = NULL;
    en->m = m;
    en->api = o->api;
    en->device = o->device;
    en->max_queue = o->max_queue ? o->max_queue : 256;
    en->next_id = 1;
    engine_limits(&en->lim, m, o);
    en->max_draft = o->max_draft;
    en->on_lost = o->on_lost;
    en->lost_user = o->lost_user;
    en->draft_price = o->draft_price;
    en->no_prefix_cache = o->no_prefix_cache;
    en->no_step_ahead = o->no_step_ahead;
    en->queue_timeout_ns = o->queue_timeout_ns;
    en->first_timeout_ns = o->first_timeout_ns;
    en->total_timeout_ns = o->total_timeout_ns;
    en->target_ns = o->target_ns < 0 ? 0 : o->target_ns ? o->target_ns : 250000000;
    engine_metrics_init(&en->metrics);
    en->seen = en->metrics;
    pthread_mutex_init(&en->lock, NULL);
    en->keep_alive_ns = o->keep_alive_ns > 0 ? o->keep_alive_ns : -1;
    en->view = mem_zalloc(ENGINE_MAX_VIEW, sizeof *en->view);
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&en->wake, &steady);
    pthread_condattr_destroy(&steady);

    status s = open_backend(en, o, e);
    if (s == OK) {
        for (int i = 0; i < 2; i++) flight_init(&en->flight[i], en->lim.max_seqs);
        en->now = &en->flight[0];
        en->next = &en->flight[1];
        en->masks = masks_new(m->cfg.n_vocab);
        en->mask_source = mem_zalloc(en->lim.max_seqs, sizeof *en->mask_source);
        en->want = mem_zalloc(en->lim.max_seqs, sizeof *en->want);
        en->started = pthread_create(&en->thread, NULL, engine_main, en) == 0;
        if (!en->started) s = fail(e, ERR_MEMORY, "no memory for the engine's thread");
    }
    if (s != OK) {
        engine_free(en);
        return s;
    }
    *out = en;
    return OK;
}

/* A list of requests with their kids, none of which the scheduler knows. */
static void free_list(struct seq *s)
{
    for (struct seq *next; s; s = next) {
        next = s->next;
        for (struct seq *kid = s->kids, *after; kid; kid = after) {
            after = kid->next;
            seq_free(kid);
        }
        seq_free(s);
    }
}

void engine_free(struct engine *en)
{
    if (!en) return;
    if (en->started) {
        pthread_mutex_lock(&en->lock);
        en->stop = true;
        pthread_cond_signal(&en->wake);
        pthread_mutex_unlock(&en->lock);
        pthread_join(en->thread, NULL);
    }
    free_list(en->inbox.head); /* empty if the thread ran */
    sched_deinit(&en->sched);
    draft_model_free(en->draft_model);
    if (en->kv_mem) en->api->kv_close(en->kv_mem);
    if (en->model) en->api->unload(en->model);
    if (en->backend) en->api->close(en->backend);
    sleep_forget(en);
    kv_free(en->kv);
    free(en->view);
    pthread_mutex_destroy(&en->lock);
    pthread_cond_destroy(&en->wake);
    free(en->cancel);
    free(en->scratch_cancel);
    for (int i = 0; i < 2; i++) flight_deinit(&en->flight[i]);
    free(en->want);
    masks_free(en->masks);
    free(en->mask_source);
    free(en);
}

/* All choices of a request: the first, with the others as its kids. */
static status new_choices(const struct engine *en, const struct engine_request *given, struct seq **out,
                          struct error *e)
{
    struct engine_request with_limits = *given, *r = &with_limits;
    struct seq **at = out;
    if (!r->queue_timeout_ns) r->queue_timeout_ns = en->queue_timeout_ns;
    if (!r->first_timeout_ns) r->first_timeout_ns = en->first_timeout_ns;
    if (!r->total_timeout_ns) r->total_timeout_ns = en->total_timeout_ns;
    for (uint32_t i = 0; i < MAX(r->n, 1u); i++) {
        status s = seq_new(at, r, i, en->m, en->lim.max_context, e);
        if (s != OK) {
            free_list(*out);
            return s;
        }
        (*at)->q.no_cache |= en->no_prefix_cache;
        if (!r->no_draft && r->task == ENGINE_GENERATE)
            draft_init(&(*at)->draft, en->max_draft, r->n_prompt, r->prediction, r->n_prediction);
        at = i == 0 ? &(*at)->kids : &(*at)->next;
    }
    return OK;
}

status engine_submit(struct engine *en, const struct engine_request *given, uint64_t *id, struct error *e)
{
    enum { MAX_CHOICES = 1024 };
    struct engine_request with_best = *given, *r = &with_best;
    struct best_of *best = NULL;
    struct seq *s = NULL;
    status st = OK;
    uint32_t n = MAX(MAX(r->n, 1u), r->best_of);
    if (n > MAX_CHOICES) return fail(e, ERR_ARG, "%u choices are more than %u", n, MAX_CHOICES);
    if (r->best_of > MAX(r->n, 1u)) best = best_of_new(en, r);
    st = new_choices(en, r, &s, e);
    if (st != OK) {
        best_of_free(best);
        return st;
    }
    pthread_mutex_lock(&en->lock);
    if (en->stop) {
        st = fail(e, ERR_CANCELLED, "the engine is stopping");
    } else if (en->n_waiting >= en->max_queue) {
        en->n_rejected++;
        st = fail(e, ERR_BUSY, "%u requests are waiting already, the limit is %u", en->n_waiting,
                  en->max_queue);
    } else {
        *id = en->next_id;
        if (best) best_of_set_id(best, *id);
        s->q.id = en->next_id++;
        for (struct seq *kid = s->kids; kid; kid = kid->next) kid->q.id = en->next_id++;
        en->n_waiting += n;
        en->n_submitted += n;
        seq_push(&en->inbox, s);
        pthread_cond_signal(&en->wake);
    }
    pthread_mutex_unlock(&en->lock);
    if (st != OK) {
        free_list(s);
        best_of_free(best);
    }
    return st;
}

void engine_cancel(struct engine *en, uint64_t id)
{
    pthread_mutex_lock(&en->lock);
    if (en->n_cancel == en->cap_cancel) {
        en->cap_cancel = MAX(16u, en->cap_cancel * 2);
        en->cancel = mem_realloc(en->cancel, en->cap_cancel, sizeof *en->cancel);
    }
    en->cancel[en->n_cancel++] = id;
    pthread_cond_signal(&en->wake);
    pthread_mutex_unlock(&en->lock);
}

void engine_keep_alive(struct engine *en, int64_t ns)
{
    pthread_mutex_lock(&en->lock);
    en->keep_alive_ns = ns;
    pthread_cond_signal(&en->wake);
    pthread_mutex_unlock(&en->lock);
}

void engine_stats(const struct engine *en, struct engine_stats *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&en->lock;
    pthread_mutex_lock(lock);
    *out = en->stats;
    out->n_queued = en->n_waiting;
    out->last_step_ns = en->last_step_at_ns ? clock_ns() - en->last_step_at_ns : 0;
    pthread_mutex_unlock(lock);
}

void engine_metrics(const struct engine *en, struct engine_metrics *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&en->lock;
    pthread_mutex_lock(lock);
    *out = en->seen;
    out->n_queued = en->n_waiting;
    out->n_submitted = en->n_submitted;
    out->n_rejected = en->n_rejected;
    pthread_mutex_unlock(lock);
}

const struct backend_plan *engine_plan(const struct engine *en)
{
    return &en->plan;
}

const struct backend_part *engine_parts(const struct engine *en, uint32_t *n)
{
    *n = en->n_place;
    return en->place;
}
