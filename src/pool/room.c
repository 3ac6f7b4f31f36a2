/* Room for workers: the ledger is shown what devices have, asked for a place, and told what was taken and
 * given back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pool/pool_int.h"

enum { LOOK_AGAIN_MS = 250, OBSERVE_MS = 500, MEASURE_AFTER_MS = 2500, MAX_PIDS = 64 };

status room_open(struct pool *p, struct error *e)
{
    const struct place_limits limits = {p->o.gpu_reserve_bytes, p->o.host_reserve_bytes};
    p->strategy = p->o.placement ? place_strategy_find(p->o.placement) : place_strategy_at(0);
    if (!p->strategy) return fail(e, ERR_ARG, "unknown strategy '%s' of placement", p->o.placement);
    TRY(place_ledger_new(&p->ledger, &limits, e));
    p->devices = p->o.devices;
    if (p->devices) return OK;
    const struct devices_options host = {.nvml_path = "none", .sysfs_root = "/nonexistent"};
    TRY(devices_open(&p->own_devices, &host, e));
    p->devices = p->own_devices;
    return OK;
}

void room_close(struct pool *p)
{
    devices_close(p->own_devices);
    place_ledger_free(p->ledger);
}

/* ---- what there is ----------------------------------------------------------------------------------- */

static bool is_on(const struct pool *p, const struct worker *w, const char *uuid)
{
    for (uint32_t i = 0; i < w->n_share; i++)
        if (!strcmp(place_device_at(p->ledger, w->share[i].device)->uuid, uuid)) return true;
    return false;
}

static size_t pids_on(const struct pool *p, const char *uuid, int32_t pid[MAX_PIDS])
{
    size_t n = 0;
    for (const struct served *m = p->model; m; m = m->next)
        for (const struct worker *w = m->worker; w && n < MAX_PIDS; w = w->next)
            if (w->child.pid && is_on(p, w, uuid)) pid[n++] = w->child.pid;
    return n;
}

static void observe(struct pool *p, int64_t now)
{
    p->observed_ns = now;
    struct place_sample out[DEVICE_MAX_GPUS + 1];
    int32_t pid[MAX_PIDS];
    const struct device_sample *s = devices_sample(p->devices);
    size_t n = 0, n_pid = pids_on(p, "host", pid);
    uint64_t own = 0;
    if (!s) return;
    for (size_t i = 0; i < n_pid; i++) own += devices_process_bytes(p->devices, pid[i]);
    uint64_t used = s->host.total_bytes - MIN(s->host.total_bytes, s->host.available_bytes);
    out[n++] = (struct place_sample){.uuid = "host",
                                     .name = "host memory",
                                     .kind = PLACE_HOST,
                                     .total_bytes = s->host.total_bytes,
                                     .used_bytes = used,
                                     .own_bytes = MIN(own, used),
                                     .own_known = true};
    for (uint32_t i = 0; i < s->n_gpu && n < COUNT_OF(out); i++) {
        const struct device_gpu *g = &s->gpu[i];
        bool known;
        n_pid = pids_on(p, g->uuid, pid);
        own = device_own_bytes(g, pid, n_pid, &known);
        out[n++] = (struct place_sample){.uuid = g->uuid,
                                         .name = g->name,
                                         .kind = PLACE_GPU,
                                         .total_bytes = g->total_bytes,
                                         .used_bytes = g->used_bytes,
                                         .own_bytes = MIN(own, g->used_bytes),
                                         .own_known = known,
                                         .lost = g->lost,
                                         .alone = *g->parent};
    }
    struct error e;
    if (place_observe(p->ledger, out, n, &e) != OK) LOG(WARN, "pool", "devices", "%s", e.msg);
    device_sample_release(s);
}

/* ---- who might leave --------------------------------------------------------------------------------- */

struct residents {
    struct place_resident *item;
    struct worker **worker;
    size_t n;
};

static bool has_work(const struct worker *w)
{
    return w->end.in_flight || w->model->n_waiting;
}

/* own: its own older generation may leave for it; otherwise it stays beside it. waited: others had their
 * turn. */
static void collect(struct pool *p, struct worker *for_w, bool own, int64_t now, struct residents *r)
{
    for (struct served *m = p->model; m; m = m->next)
        for (struct worker *w = m->worker; w; w = w->next) {
            if (!w->claim || w->phase == W_GONE) continue;
            bool leaving = w->phase >= W_DRAINING, loading = w->phase < W_READY;
            bool mine = m == for_w->model && w->generation != for_w->generation;
            bool fresh = has_work(w) && now - w->ready_ns < p->o.turn_ms * MS; /* it has its turn now */
            r->item = mem_realloc(r->item, r->n + 1, sizeof *r->item);
            r->worker = mem_realloc(r->worker, r->n + 1, sizeof(struct worker *));
            r->worker[r->n] = w;
            r->item[r->n++] = (struct place_resident){
                .name = w->spec->name,
                .claim = w->claim,
                .idle_ns = leaving ? INT64_MAX / 2 : now - m->used_ns,
                .reload_ns = m->load_ns,
                .pinned = !leaving &&
                          (loading || (mine ? !own : (m == for_w->model || m->spec->set.pinned || fresh))),
                .busy = !leaving && !(mine && own) && has_work(w)};
        }
}

static void residents_deinit(struct residents *r)
{
    free(r->item);
    free(r->worker);
}

static bool waited_long(const struct pool *p, const struct worker *w, int64_t now)
{
    int64_t since = w->model->first ? w->model->first->entered_ns : w->phase_ns;
    return now - since >= p->o.turn_ms * MS;
}

/* Its model's target falls with each worker that is sent away, or it would come back at once. */
static void send_away(struct pool *p, struct worker *victim, const char *why, int64_t now)
{
    if (victim->phase >= W_DRAINING) return;
    worker_drain(p, victim, now);
    if (victim->model->target) victim->model->target--;
    p->counts.evictions++;
    pool_note(p, "evict", victim->spec->name, "worker=%llu %s", (unsigned long long)victim->id, why);
}

static void make_way(struct pool *p, struct worker *victim, const struct worker *w, int64_t now)
{
    char why[STORE_NAME_MAX + 8];
    snprintf(why, sizeof why, "for %s", w->spec->name);
    if (victim->model == w->model)
        worker_drain(p, victim, now); /* an older generation */
    else
        send_away(p, victim, why, now);
}

/* Others have taken what was counted on: the model there that was unused for longest gives its memory back,
 * one at a time. */
static void relieve(struct pool *p, const struct place_device *d, int64_t now)
{
    struct worker *victim = NULL;
    for (struct served *m = p->model; m; m = m->next)
        for (struct worker *w = m->worker; w; w = w->next) {
            if (!w->claim || !is_on(p, w, d->uuid)) continue;
            if (w->phase == W_DRAINING || w->phase == W_STOPPING) return;
            if (w->phase != W_READY || has_work(w) || m->spec->set.pinned) continue;
            if (now - m->used_ns < p->o.turn_ms * MS) continue;
            if (!victim || m->used_ns < victim->model->used_ns) victim = w;
        }
    if (victim) send_away(p, victim, "because others need the memory", now);
}

static void relieve_all(struct pool *p, int64_t now)
{
    for (uint32_t i = 0; i < place_n_device(p->ledger); i++) {
        const struct place_device *d = place_device_at(p->ledger, i);
        if (d->over_bytes && !d->lost) relieve(p, d, now);
    }
}

/* ---- a place ----------------------------------------------------------------------------------------- */

/* A context that was asked for by hand is not cut; that of the file may be. */
static uint32_t least_context(const struct worker *w)
{
    int64_t least = MAX(w->spec->set.context, 0);
    for (size_t i = 0; i < COUNT_OF(w->plan); i++)
        if (w->plan[i]) least = MIN(least, (int64_t)w->plan[i]->plan.rung[0].context);
    return (uint32_t)least;
}

static void decide(struct pool *p, struct worker *w, const struct residents *r, bool evict, bool drain,
                   struct place_decision *d)
{
    const char *uuid[PLACE_MAX_DEVICES];
    uint32_t n = 0;
    const json_t *gpus = w->spec->set.gpus;
    const char *strategy = w->spec->set.strategy;
    for (size_t i = 0; i < json_array_size(gpus) && n < COUNT_OF(uuid); i++)
        if ((uuid[n] = json_string_value(json_array_get(gpus, i)))) n++;
    const struct place_strategy *own = strategy ? place_strategy_find(strategy) : NULL;
    const struct place_want want = {.model = w->spec->name,
                                    .gpu = w->plan[0] ? &w->plan[0]->plan : NULL,
                                    .cpu = w->plan[1] && w->spec->set.allow_cpu ? &w->plan[1]->plan : NULL,
                                    .strategy = own ? own : p->strategy,
                                    .affinity = n ? uuid : NULL,
                                    .n_affinity = n,
                                    .min_context = least_context(w),
                                    .kv_bytes = (uint64_t)MAX(w->spec->set.kv_bytes, 0),
                                    .extra_bytes = MAX(w->excess_bytes, w->model->extra_bytes),
                                    .max_devices = (uint32_t)w->spec->set.max_devices,
                                    .allow_cpu = w->spec->set.allow_cpu,
                                    .allow_evict = evict,
                                    .allow_drain = drain,
                                    .clock_ns = clock_ns};
    place_decide(d, p->ledger, &want, r->item, r->n);
    p->counts.placements++;
    p->counts.place_ns += d->elapsed_ns;
    p->counts.place_max_ns = MAX(p->counts.place_max_ns, d->elapsed_ns);
}

static void write_down(struct pool *p, const char *what, struct worker *w, const struct place_decision *d,
                       const struct residents *r)
{
    struct buf text = {0}, json = {0};
    place_decision_text(&text, p->ledger, d);
    place_decision_json(&json, p->ledger, d, r->item);
    struct note *n = pool_note(p, what, w->spec->name, "%s", text.data ? text.data : "");
    n->json = json.data;
    n->elapsed_ns = d->elapsed_ns;
    buf_deinit(&text);
}

static bool take_place(struct pool *p, struct worker *w, const struct place_decision *d,
                       const struct residents *r, int64_t now)
{
    struct error e;
    if (place_reserve(p->ledger, d, r->item, &w->claim, &e) != OK) return false;
    write_down(p, "place", w, d, r);
    w->n_share = d->n_share;
    memcpy(w->share, d->share, d->n_share * sizeof *w->share);
    w->rung = d->plan->rung[d->rung];
    w->kv_bytes = d->kv_bytes;
    w->plan_bytes = 0;
    for (uint32_t i = 0; i < d->n_share; i++) w->plan_bytes += d->share[i].bytes;
    snprintf(w->backend, sizeof w->backend, "%s", d->plan->backend);
    w->phase = W_RESERVED;
    w->phase_ns = now;
    for (uint32_t i = 0; i < d->n_evict; i++) make_way(p, r->worker[d->evict[i]], w, now);
    pool_changed(p);
    return true;
}

/* Would there be room if everybody left that may ever leave? If not, waiting is of no use. */
static bool hopeless(struct pool *p, struct worker *w, struct residents *r, int64_t now)
{
    struct place_decision d;
    for (size_t i = 0; i < r->n; i++) {
        const struct worker *x = r->worker[i];
        r->item[i].pinned = x->model->spec->set.pinned && x->model != w->model;
    }
    decide(p, w, r, true, true, &d);
    if (d.way != PLACE_REFUSED) return false;
    struct buf text = {0};
    char why[300];
    place_decision_text(&text, p->ledger, &d);
    snprintf(why, sizeof why, "no room for '%.60s': %s", w->spec->name, text.data ? text.data : "");
    write_down(p, "refuse", w, &d, r);
    buf_deinit(&text);
    worker_refuse(p, w, 503, why, now);
    return true;
}

static bool has_older(const struct worker *w)
{
    for (const struct worker *x = w->model->worker; x; x = x->next)
        if (x->generation != w->generation && x->phase == W_READY && x->claim) return true;
    return false;
}

static bool find_place(struct pool *p, struct worker *w, int64_t now)
{
    struct place_decision d;
    struct residents r = {0};
    bool drain = waited_long(p, w, now), placed = false, older = has_older(w);
    for (int own = 0; own <= older && !placed; own++) { /* a reload is beside its elder, or in its place */
        r.n = 0;
        collect(p, w, own, now, &r);
        decide(p, w, &r, true, drain, &d);
        placed = d.way != PLACE_REFUSED && take_place(p, w, &d, &r, now);
    }
    bool over = !placed && d.way == PLACE_REFUSED && hopeless(p, w, &r, now);
    residents_deinit(&r);
    return placed || over;
}

/* ---- so many models at once -------------------------------------------------------------------------- */

static bool is_loaded(const struct served *m)
{
    for (const struct worker *w = m->worker; w; w = w->next)
        if (!w->url && w->phase >= W_RESERVED && w->phase <= W_READY) return true;
    return false;
}

/* The one that nobody has used for longest goes; one with work only after its turn. */
static bool within_limit(struct pool *p, struct worker *w, int64_t now)
{
    struct served *victim = NULL;
    uint32_t n = 0;
    if (!p->o.max_models || is_loaded(w->model)) return true;
    for (struct served *m = p->model; m; m = m->next) {
        if (!is_loaded(m)) continue;
        n++;
        bool busy = m->n_running || m->n_waiting, all_ready = true, fresh = false;
        for (const struct worker *x = m->worker; x; x = x->next) {
            all_ready = all_ready && (x->url || x->phase >= W_READY);
            fresh = fresh || (x->phase == W_READY && now - x->ready_ns < p->o.turn_ms * MS);
        }
        if (m->spec->set.pinned || !all_ready || (busy && (fresh || !waited_long(p, w, now)))) continue;
        if (!victim || m->used_ns < victim->used_ns) victim = m;
    }
    if (n < p->o.max_models) return true;
    if (!victim) return false;
    for (struct worker *x = victim->worker; x; x = x->next)
        if (x->phase == W_READY && !x->url) make_way(p, x, w, now);
    victim->target = 0;
    return n - 1 < p->o.max_models;
}

/* ---- the queue for room ------------------------------------------------------------------------------ */

static struct worker *next_waiting(struct pool *p, int64_t after_ns, uint64_t after_id)
{
    struct worker *best = NULL;
    for (struct served *m = p->model; m; m = m->next)
        for (struct worker *w = m->worker; w; w = w->next) {
            if (w->phase != W_WAITING) continue;
            if (w->phase_ns < after_ns || (w->phase_ns == after_ns && w->id <= after_id)) continue;
            if (!best || w->phase_ns < best->phase_ns || (w->phase_ns == best->phase_ns && w->id < best->id))
                best = w;
        }
    return best;
}

int64_t room_advance(struct pool *p, int64_t now)
{
    int64_t next = INT64_MAX, at = INT64_MIN;
    uint64_t id = 0;
    if (!p->observed_ns || now - p->observed_ns >= OBSERVE_MS * MS) {
        observe(p, now);
        relieve_all(p, now);
    }
    for (struct worker *w; (w = next_waiting(p, at, id));) { /* who came first looks first */
        at = w->phase_ns;
        id = w->id;
        if (!within_limit(p, w, now) || !find_place(p, w, now)) next = now + LOOK_AGAIN_MS * MS;
    }
    for (struct served *m = p->model; m; m = m->next)
        for (struct worker *w = m->worker; w; w = w->next) {
            if (w->phase == W_RESERVED && place_ready(p->ledger, w->claim)) worker_start(p, w, now);
            room_measure(p, w);
        }
    return next;
}

/* ---- what it took ------------------------------------------------------------------------------------ */

void room_is_ready(struct pool *p, struct worker *w)
{
    w->model->lacked = false;
    place_commit(p->ledger, w->claim, NULL, 0);
}

static uint64_t bytes_on_gpu(const struct device_sample *s, const struct worker *w, const char *uuid)
{
    for (uint32_t i = 0; i < s->n_gpu; i++)
        for (uint32_t k = 0; !strcmp(s->gpu[i].uuid, uuid) && k < s->gpu[i].n_process; k++)
            if (s->gpu[i].process[k].pid == w->child.pid && s->gpu[i].process[k].known)
                return s->gpu[i].process[k].used_bytes;
    return 0;
}

/* Pages of the mapped file belong to nobody, but the plan counts them: what was read there is used there. */
static uint64_t bytes_of(struct pool *p, const struct device_sample *s, const struct worker *w, uint32_t i)
{
    const struct place_device *d = place_device_at(p->ledger, w->share[i].device);
    if (d->kind == PLACE_GPU) return bytes_on_gpu(s, w, d->uuid);
    uint64_t own = devices_process_bytes(p->devices, w->child.pid);
    return own ? own + w->mapped_bytes : 0;
}

static void keep_measure(struct pool *p, const struct store_measure *m)
{
    struct store_measures *l = &p->measured;
    if (!p->o.store || !m->actual_bytes || !*m->digest) return;
    l->item = mem_realloc(l->item, l->n + 1, sizeof *l->item);
    l->item[l->n] = *m;
    l->item[l->n].digest = mem_strdup(m->digest);
    l->item[l->n].options = mem_strdup(m->options);
    l->item[l->n].device = mem_strdup(m->device);
    l->item[l->n++].driver = mem_strdup(m->driver);
}

void room_measure(struct pool *p, struct worker *w)
{
    uint64_t *actual = w->actual, holds[PLACE_MAX_DEVICES];
    const struct device_sample *s;
    if (w->measured || w->phase != W_READY || !w->claim || clock_ns() - w->ready_ns < MEASURE_AFTER_MS * MS)
        return;
    w->measured = true;
    if (!(s = devices_sample(p->devices))) return;
    for (uint32_t i = 0; i < w->n_share; i++) {
        const struct place_device *d = place_device_at(p->ledger, w->share[i].device);
        char options[128];
        actual[i] = bytes_of(p, s, w, i);
        /* Memory of the host is taken when it is first written to: what is planned for KV is still to come.
         */
        holds[i] = d->kind == PLACE_HOST ? MAX(actual[i], w->share[i].bytes) : actual[i];
        w->actual_bytes += actual[i];
        int k = snprintf(options, sizeof options, "backend=%s ctx=%u parallel=%u kv=%s", w->backend,
                         w->context, w->parallel, w->rung.kv_type);
        if (w->n_share > 1)
            snprintf(options + k, sizeof options - (size_t)k, " layers=%u+%u", w->share[i].layer,
                     w->share[i].n_layer);
        const struct store_measure m = {.digest = w->spec->digest,
                                        .options = options,
                                        .device = (char *)d->name,
                                        .driver = (char *)s->nvidia_driver,
                                        .predicted_bytes = w->share[i].bytes,
                                        .actual_bytes = actual[i]};
        keep_measure(p, &m);
        pool_note(p, "measure", w->spec->name, "%s: %llu bytes planned, %llu taken", d->name,
                  (unsigned long long)m.predicted_bytes, (unsigned long long)actual[i]);
    }
    device_sample_release(s);
    place_commit(p->ledger, w->claim, holds, w->n_share);
}
