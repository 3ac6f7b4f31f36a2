#include <stdlib.h>
#include <string.h>

#include "pool/pool_int.h"

static const char *keep(struct pool_view *v, const char *text)
{
    if (!text || !*text) return "";
    if ((v->n_own & (v->n_own + 1)) == 0) v->own = mem_realloc(v->own, 2 * v->n_own + 2, sizeof(char *));
    return v->own[v->n_own++] = mem_strdup(text);
}

/* Moments of the monotonic clock as milliseconds since 1970. */
struct clocks {
    int64_t now_ns, now_ms;
};

static int64_t date(const struct clocks *c, int64_t ns)
{
    return ns ? c->now_ms - (c->now_ns - ns) / MS : 0;
}

enum pool_state phase_state(enum phase phase)
{
    static const enum pool_state of[] = {
        [W_PLANNING] = POOL_PLANNING, [W_WAITING] = POOL_QUEUED, [W_RESERVED] = POOL_QUEUED,
        [W_LOADING] = POOL_LOADING,   [W_READY] = POOL_RUNNING,  [W_DRAINING] = POOL_DRAINING,
        [W_STOPPING] = POOL_DRAINING, [W_GONE] = POOL_COLD};
    return of[phase];
}

static void view_worker(struct pool *p, struct pool_view *v, const struct clocks *c, const struct worker *w)
{
    v->worker[v->n_worker++] = (struct pool_worker_view){.id = w->id,
                                                         .model = keep(v, w->spec->name),
                                                         .unix_path = keep(v, w->unix_path),
                                                         .url = keep(v, w->url),
                                                         .backend = keep(v, w->backend),
                                                         .error = keep(v, w->error),
                                                         .state = phase_state(w->phase),
                                                         .pid = (int)w->child.pid,
                                                         .generation = w->generation,
                                                         .in_flight = w->end.in_flight,
                                                         .running = w->running,
                                                         .queued = w->queued,
                                                         .context = w->context,
                                                         .parallel = w->parallel,
                                                         .last_step_age_s = w->step_age_s,
                                                         .latency_ms = w->end.latency_us / 1e3,
                                                         .progress = worker_progress(w),
                                                         .healthy = w->healthy && !w->suspect,
                                                         .breaker = w->end.breaker.state,
                                                         .started_ms = date(c, w->started_ns),
                                                         .ready_ms = date(c, w->ready_ns),
                                                         .answered_ms = date(c, w->answered_ns),
                                                         .requests = w->requests,
                                                         .failures = w->failures,
                                                         .predicted_bytes = w->plan_bytes,
                                                         .actual_bytes = w->actual_bytes,
                                                         .locked_bytes = w->locked_bytes};
    struct pool_worker_view *x = &v->worker[v->n_worker - 1];
    struct pool_share *share = mem_zalloc(w->n_share + 1, sizeof *share);
    for (uint32_t i = 0; i < w->n_share; i++)
        share[i] = (struct pool_share){.uuid = keep(v, place_device_at(p->ledger, w->share[i].device)->uuid),
                                       .bytes = place_claim_bytes(p->ledger, w->claim, w->share[i].device),
                                       .predicted_bytes = w->share[i].bytes,
                                       .actual_bytes = w->actual[i],
                                       .n_layer = w->share[i].n_layer};
    x->share = share;
    x->n_share = w->n_share;
}

static void view_model(struct pool *p, struct pool_view *v, const struct clocks *c, const struct served *m)
{
    int64_t alive = served_keep_alive(p, m);
    struct pool_model_view *x = &v->model[v->n_model++];
    *x = (struct pool_model_view){.name = keep(v, m->spec->name),
                                  .path = keep(v, m->spec->path),
                                  .error = keep(v, m->error),
                                  .options = keep(v, m->spec->options),
                                  .state = served_state(m, c->now_ns),
                                  .progress = -1,
                                  .version = m->spec->version,
                                  .generation = m->generation,
                                  .n_running = m->n_running,
                                  .n_waiting = m->n_waiting,
                                  .loaded_ms = date(c, m->loaded_ns),
                                  .used_ms = date(c, m->used_ns),
                                  .requests = m->requests,
                                  .failures = m->failures,
                                  .loads = m->loads,
                                  .crashes = m->n_crash,
                                  .load_s = (double)m->load_ns / 1e9,
                                  .in_store = m->spec->in_store};
    for (const struct worker *w = m->worker; w; w = w->next) {
        x->n_worker += w->phase != W_GONE;
        x->n_ready += w->phase == W_READY;
        x->bytes += w->claim ? w->plan_bytes : 0;
        if (w->phase == W_READY) x->context = w->context, x->parallel = w->parallel;
        if (w->phase == W_LOADING) x->progress = MAX(x->progress, worker_progress(w));
        view_worker(p, v, c, w);
    }
    if (x->n_ready && m->target && alive >= 0) x->expires_ms = x->used_ms + alive;
    if (!x->n_ready) x->loaded_ms = 0;
}

/* One that was named and that nobody has asked for yet. */
static void view_added(struct pool_view *v, const struct spec *s)
{
    v->model[v->n_model++] = (struct pool_model_view){.name = keep(v, s->name),
                                                      .path = keep(v, s->path),
                                                      .error = "",
                                                      .options = keep(v, s->options),
                                                      .state = POOL_COLD,
                                                      .progress = -1,
                                                      .version = s->version,
                                                      .in_store = s->in_store};
}

static void view_notes(struct pool *p, struct pool_view *v)
{
    size_t n = MIN(p->n_note, POOL_N_NOTE);
    v->decision = mem_zalloc(n + 1, sizeof *v->decision);
    for (size_t i = 0; i < n; i++) {
        const struct note *x = &p->note[(p->n_note - 1 - i) % POOL_N_NOTE];
        v->decision[v->n_decision++] = (struct pool_decision_view){.at_ms = x->at_ms,
                                                                   .elapsed_ns = x->elapsed_ns,
                                                                   .model = keep(v, x->model),
                                                                   .what = x->what,
                                                                   .text = keep(v, x->text),
                                                                   .json = keep(v, x->json)};
    }
}

static void view_devices(struct pool *p, struct pool_view *v)
{
    v->device = mem_zalloc(place_n_device(p->ledger) + 1, sizeof *v->device);
    for (uint32_t i = 0; i < place_n_device(p->ledger); i++) {
        const struct place_device *d = place_device_at(p->ledger, i);
        struct buf json = {0};
        place_device_json(&json, d);
        v->device[v->n_device++] = (struct pool_device_view){
            .uuid = keep(v, d->uuid), .name = keep(v, d->name), .json = keep(v, json.data), .state = *d};
        buf_deinit(&json);
    }
}

struct pool_view *pool_view_new(struct pool *p)
{
    struct pool_view *v = mem_zalloc(1, sizeof *v);
    struct timespec wall;
    size_t n_model = 0, n_worker = 0;
    clock_gettime(CLOCK_REALTIME, &wall);
    const struct clocks c = {clock_ns(), (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000};
    pthread_mutex_lock(&p->lock);
    for (const struct served *m = p->model; m; m = m->next) {
        n_model++;
        for (const struct worker *w = m->worker; w; w = w->next) n_worker++;
    }
    v->model = mem_zalloc(n_model + p->n_added + 1, sizeof *v->model);
    v->worker = mem_zalloc(n_worker + 1, sizeof *v->worker);
    for (const struct served *m = p->model; m; m = m->next) view_model(p, v, &c, m);
    for (size_t i = 0; i < p->n_added; i++)
        if (!served_find(p, p->added[i]->name)) view_added(v, p->added[i]);
    view_notes(p, v);
    view_devices(p, v);
    v->counts = p->counts;
    v->change = p->change;
    v->draining = p->stopping;
    v->default_model = keep(v, p->default_model);
    pthread_mutex_unlock(&p->lock);
    return v;
}

void pool_view_free(struct pool_view *v)
{
    if (!v) return;
    for (size_t i = 0; i < v->n_own; i++) free(v->own[i]);
    free(v->own);
    for (size_t i = 0; i < v->n_worker; i++) free((struct pool_share *)v->worker[i].share);
    free(v->model);
    free(v->worker);
    free(v->decision);
    free(v->device);
    free(v);
}
