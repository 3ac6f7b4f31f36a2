/* Requests: they wait with their model until a worker of it takes them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool/pool_int.h"

enum {
    MAX_SPLITS = 4,
    RETRY_AFTER_S = 2,
    SUSPECT = 2,        /* so many deaths */
    ALONE_MS = 5000,    /* in which a request that kills its worker would have done so */
    PATIENCE_MS = 10000 /* with which it waits for a worker without others */
};

static void refuse(struct pool_ticket *t, int code, uint32_t retry_after_s, const char *why)
{
    t->state = POOL_REFUSED;
    t->fault = (struct pool_fault){.code = code, .retry_after_s = retry_after_s};
    snprintf(t->fault.msg, sizeof t->fault.msg, "%s", why);
    t->pool->counts.refused++;
    if (t->waker) http_waker_fire(t->waker);
}

/* ---- the queue --------------------------------------------------------------------------------------- */

static void queue_add(struct pool_ticket *t, bool front)
{
    struct served *m = t->model;
    t->state = POOL_WAIT;
    t->waiting = true;
    t->prev = front ? NULL : m->last;
    t->next = front ? m->first : NULL;
    *(t->prev ? &t->prev->next : &m->first) = t;
    *(t->next ? &t->next->prev : &m->last) = t;
    m->n_waiting++;
}

static void queue_remove(struct pool_ticket *t)
{
    struct served *m = t->model;
    if (!t->waiting) return;
    *(t->prev ? &t->prev->next : &m->first) = t->next;
    *(t->next ? &t->next->prev : &m->last) = t->prev;
    t->prev = t->next = NULL;
    t->waiting = false;
    m->n_waiting--;
}

/* ---- to a worker ------------------------------------------------------------------------------------- */

/* The next time it is tried before the others, so that nobody else dies with it, and that it is known who it
 * was. */
static bool is_suspect(const struct pool_ticket *t, int64_t now)
{
    return t->charges >= SUSPECT && now - t->charged_ns < PATIENCE_MS * MS;
}

static void charge(struct pool_ticket *t, int64_t now)
{
    t->charged_ns = now;
    if (++t->charges >= SUSPECT) t->model->suspect_ns = now;
}

static void assign(struct pool_ticket *t, struct worker *w, int64_t now)
{
    queue_remove(t);
    t->worker = w;
    t->spec = spec_keep(t->model->spec);
    t->state = POOL_READY;
    t->tries++;
    t->turn = w->requests++;
    t->suspect = is_suspect(t, now) && !w->url;
    if (t->suspect) {
        w->alone = t;
        w->alone_ns = now;
    } else {
        w->n_plain++;
    }
    route_begin(&w->end, now);
    t->model->n_running++;
    t->model->used_ns = now;
    if (t->waker) http_waker_fire(t->waker);
}

static bool was_asked(const struct pool_ticket *t, const struct worker *w)
{
    for (size_t i = 0; i < t->n_asked; i++)
        if (t->asked[i] == w->id) return true;
    return false;
}

static bool others_left(const struct pool_ticket *t)
{
    for (const struct worker *w = t->model->worker; w; w = w->next)
        if (w->phase == W_READY && !was_asked(t, w)) return true;
    return false;
}

/* One suspect after the other, each as soon as the one before has got on; the rest behind the last of them.
 * held: suspects wait. */
static bool is_free_for(const struct worker *w, const struct pool_ticket *t, bool held, int64_t now)
{
    if (w->url) return true;
    bool fresh = now - w->alone_ns < ALONE_MS * MS;
    if (w->alone && fresh) return false;
    if (is_suspect(t, now)) return !w->n_plain;
    return w->n_plain || !w->end.in_flight || !held || !fresh;
}

/* The ends of m, for route_choose to look at and to write its memory into. */
static size_t collect(const struct served *m, const struct pool_ticket *t, bool held,
                      struct worker *at[ROUTE_MAX_ENDS], struct route_end end[ROUTE_MAX_ENDS], int64_t now)
{
    size_t n = 0;
    for (struct worker *w = m->worker; w && n < ROUTE_MAX_ENDS; w = w->next) {
        w->end.usable =
            w->phase == W_READY && !w->suspect && !was_asked(t, w) && is_free_for(w, t, held, now);
        w->end.limit = (uint32_t)MAX(m->spec->set.concurrency, 0);
        at[n] = w;
        end[n++] = w->end;
    }
    return n;
}

static bool dispatch_one(struct pool *p, struct served *m, struct pool_ticket *t, bool held, int64_t now)
{
    struct worker *at[ROUTE_MAX_ENDS];
    struct route_end end[ROUTE_MAX_ENDS];
    enum route_strategy how = p->o.balance;
    size_t n = collect(m, t, held, at, end, now);
    if (m->spec->set.balance) (void)!route_strategy_find(&how, m->spec->set.balance);
    const struct route_want want = {t->affinity, t->session, t->avoid, t->draw, now};
    int i = route_choose(end, n, how, &want);
    for (size_t k = 0; k < n; k++) at[k]->end = end[k];
    if (i != ROUTE_NONE) assign(t, at[i], now);
    return i != ROUTE_NONE;
}

/* Those that wait for one worker in particular do not hold the others up; suspects go first, while a new
 * worker has nobody else. */
void tickets_dispatch(struct pool *p, struct served *m, int64_t now)
{
    bool more = true, held = false;
    bool suspects = m->suspect_ns && now - m->suspect_ns < PATIENCE_MS * MS;
    for (struct pool_ticket *t = m->first, *next; t && suspects; t = next) {
        next = t->next;
        if (is_suspect(t, now)) held |= !dispatch_one(p, m, t, true, now);
    }
    for (struct pool_ticket *t = m->first, *next; t && more; t = next) {
        next = t->next;
        if (is_suspect(t, now)) continue;
        more = dispatch_one(p, m, t, held, now) || t->n_asked;
        if (!t->waiting || !t->n_asked || others_left(t)) continue;
        queue_remove(t);
        refuse(t, 404, 0, "no worker of this model knows of that: what they remember ends with them");
    }
}

/* ---- a way elsewhere --------------------------------------------------------------------------------- */

static void enqueue(struct pool *p, struct pool_ticket *t, struct spec *s, int64_t now);

static bool fall_back(struct pool *p, struct pool_ticket *t, int64_t now)
{
    while (t->next_fallback < t->n_fallback) {
        struct spec *s = t->fallback[t->next_fallback++];
        if (!strcmp(s->name, t->model->spec->name)) continue;
        queue_remove(t);
        enqueue(p, t, spec_keep(s), now);
        return true;
    }
    return false;
}

void tickets_refuse(struct pool *p, struct served *m, int code, uint32_t retry_after_s, const char *why)
{
    int64_t now = clock_ns();
    for (struct pool_ticket *t = m->first, *next; t; t = next) {
        next = t->next;
        if (!p->stopping && fall_back(p, t, now)) continue;
        queue_remove(t);
        refuse(t, code, retry_after_s, why);
    }
}

/* ---- in ---------------------------------------------------------------------------------------------- */

static struct key_use *key_of(struct pool *p, uint64_t key)
{
    for (size_t i = 0; i < p->n_key; i++)
        if (p->key[i].key == key) return &p->key[i];
    p->key = mem_realloc(p->key, p->n_key + 1, sizeof *p->key);
    p->key[p->n_key] = (struct key_use){.key = key};
    return &p->key[p->n_key++];
}

static void key_leave(struct pool *p, uint64_t key)
{
    struct key_use *k = key_of(p, key);
    if (--k->n == 0) *k = p->key[--p->n_key];
}

static void enqueue(struct pool *p, struct pool_ticket *t, struct spec *s, int64_t now)
{
    char why[320];
    struct served *m = t->model = served_of(p, s);
    if (m->failed && now < m->retry_ns) {
        if (fall_back(p, t, now)) return;
        snprintf(why, sizeof why, "%s", m->error);
        refuse(t, 503, (uint32_t)((m->retry_ns - now) / (1000 * MS)) + 1, why);
        return;
    }
    if (m->n_waiting >= p->o.max_waiting) {
        if (fall_back(p, t, now)) return;
        snprintf(why, sizeof why, "%u requests wait for '%.100s' already", m->n_waiting, m->spec->name);
        refuse(t, 429, RETRY_AFTER_S, why);
        return;
    }
    m->touch = true;
    if (!m->target) m->target = served_replicas(m);
    queue_add(t, false);
    tickets_dispatch(p, m, now);
    if (t->state == POOL_WAIT) pool_wake(p);
}

/* A name may stand for several, which share its requests by weight; the same client stays with the same one.
 */
static status resolve(struct pool *p, struct pool_ticket *t, const char *name, struct spec **out,
                      struct error *e)
{
    double weight[ROUTE_MAX_ENDS];
    const char *arm[ROUTE_MAX_ENDS];
    json_t *w;
    TRY(spec_find(p, name, out, e));
    for (int depth = 0; json_object_size((*out)->set.split); depth++) {
        struct spec *s = *out, *to;
        size_t n = 0;
        if (depth == MAX_SPLITS) return fail(e, ERR_ARG, "%s: splits go in a circle", s->name);
        json_object_foreach((json_t *)s->set.split, name, w)
        {
            if (n == ROUTE_MAX_ENDS) break;
            arm[n] = name;
            weight[n++] = json_number_value(w);
        }
        uint64_t by = t->session ? t->session : t->key ? t->key : t->client ? t->client : t->draw;
        status r = spec_find(p, arm[route_arm(weight, n, by)], &to, e);
        pthread_mutex_lock(&p->lock);
        spec_drop(s);
        pthread_mutex_unlock(&p->lock);
        *out = NULL;
        if (r != OK) return r;
        *out = to;
    }
    return OK;
}

/* Looked up when the request comes, because the store is not asked under the lock. */
static void find_fallbacks(struct pool *p, struct pool_ticket *t, const struct spec *s)
{
    const json_t *list = s->set.fallbacks;
    if (!list) return;
    t->fallback = mem_zalloc(json_array_size(list), sizeof(struct spec *));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        t->n_fallback += name && spec_find(p, name, &t->fallback[t->n_fallback], NULL) == OK;
    }
}

static int code_of(status s)
{
    return s == ERR_NOT_FOUND ? 404 : s == ERR_ARG ? 400 : 500;
}

struct pool_ticket *pool_enter(struct pool *p, const struct pool_want *w, struct http_waker *waker)
{
    struct pool_ticket *t = mem_zalloc(1, sizeof *t);
    struct spec *s = NULL;
    struct error e = {0};
    int64_t now = clock_ns();
    *t = (struct pool_ticket){.pool = p,
                              .waker = waker,
                              .key = w->key && *w->key ? route_hash(w->key, strlen(w->key)) : 0,
                              .client = w->client ? route_hash(w->client, strlen(w->client)) : 0,
                              .affinity = w->affinity,
                              .session = w->session,
                              .entered_ns = now};
    pthread_mutex_lock(&p->lock);
    t->draw = ++p->draws * 0x9e3779b97f4a7c15u ^ (uint64_t)now; /* drawn: any spread will do */
    pthread_mutex_unlock(&p->lock);
    status r = resolve(p, t, w->model, &s, &e);
    if (r == OK) find_fallbacks(p, t, s);
    pthread_mutex_lock(&p->lock);
    p->counts.requests++;
    if (t->key) key_of(p, t->key)->n++;
    if (p->stopping) {
        refuse(t, 503, RETRY_AFTER_S, "this server is about to stop");
    } else if (r != OK) {
        refuse(t, code_of(r), 0, e.msg);
    } else if (p->o.max_per_key && t->key && key_of(p, t->key)->n > p->o.max_per_key) {
        refuse(t, 429, RETRY_AFTER_S, "too many requests with this key are under way");
    } else {
        retry_earn(&p->retries, now);
        enqueue(p, t, spec_keep(s), now);
        if (w->keep_alive_s != POOL_KEEP_UNSET)
            t->model->keep_alive_ms = w->keep_alive_s < 0 ? -1 : (int64_t)w->keep_alive_s * 1000;
    }
    spec_drop(s);
    pthread_mutex_unlock(&p->lock);
    return t;
}

/* ---- looking ----------------------------------------------------------------------------------------- */

static void tell_waiting(const struct pool_ticket *t, struct pool_route *out)
{
    const struct served *m = t->model;
    enum pool_state s = served_state(m, clock_ns());
    out->state = pool_state_name(s);
    out->model = m->spec->name;
    out->progress = -1;
    for (const struct worker *w = m->worker; w; w = w->next)
        if (w->phase == W_LOADING) out->progress = MAX(out->progress, worker_progress(w));
    static const char *const text[] = {
        [POOL_COLD] = "%s: waits to be loaded",        [POOL_PLANNING] = "%s: its size is being looked at",
        [POOL_QUEUED] = "%s: waits for room",          [POOL_LOADING] = "%s is being loaded",
        [POOL_RUNNING] = "%s: waits for its turn",     [POOL_DRAINING] = "%s: waits for room",
        [POOL_FAILED] = "%s: waits to be loaded again"};
    size_t n = strcspn(text[s], "%");
    snprintf(out->text, sizeof out->text, "%.100s%s", m->spec->name, text[s] + n + 2);
    n = strlen(out->text);
    if (out->progress >= 0) snprintf(out->text + n, sizeof out->text - n, " (%.0f %%)", 100 * out->progress);
}

enum pool_answer pool_poll(struct pool_ticket *t, struct pool_route *out, struct pool_fault *f)
{
    struct pool *p = t->pool;
    pthread_mutex_lock(&p->lock);
    enum pool_answer answer = t->state;
    *out = (struct pool_route){.progress = -1};
    if (answer == POOL_WAIT) {
        tell_waiting(t, out);
    } else if (answer == POOL_REFUSED) {
        *f = t->fault;
    } else {
        const struct worker *w = t->worker;
        *out = (struct pool_route){.unix_path = w->url ? NULL : w->unix_path,
                                   .url = w->url ? w->url : "http://localhost",
                                   .api_key = w->url ? w->spec->set.upstream_key : NULL,
                                   .model = t->spec->name,
                                   .options = t->spec->options,
                                   .worker = w->id,
                                   .generation = w->generation,
                                   .remote = w->url != NULL,
                                   .state = pool_state_name(POOL_RUNNING),
                                   .progress = 1};
    }
    pthread_mutex_unlock(&p->lock);
    return answer;
}

/* ---- out --------------------------------------------------------------------------------------------- */

static bool workers_fault(const struct pool_outcome *how)
{
    return how->failed == POOL_FAILED_REFUSED || how->failed == POOL_FAILED_CUT ||
           how->failed == POOL_FAILED_TIMEOUT || how->status == 500 || how->status == 502 ||
           how->status == 504;
}

static void release(struct pool *p, struct pool_ticket *t, const struct pool_outcome *how, int64_t now)
{
    struct worker *w = t->worker;
    bool bad = workers_fault(how), neither = how->failed == POOL_FAILED_CLIENT || !how->status;
    if (!w) return;
    route_done(&w->end, bad ? ROUTE_BAD : neither ? ROUTE_NEITHER : ROUTE_GOOD, (double)how->first_us, now);
    if (bad)
        w->failures++, t->model->failures++;
    else
        w->n_over++;
    if (how->failed == POOL_FAILED_REFUSED || how->failed == POOL_FAILED_CUT) {
        w->suspect = true;
        p->check_now = true;
        pthread_cond_signal(&p->check_cond);
    }
    if (w->alone == t) w->alone = NULL;
    if (!t->suspect) w->n_plain--;
    t->avoid = bad ? w->id : 0;
    t->worker = NULL;
    spec_drop(t->spec);
    t->spec = NULL;
    t->model->n_running--;
    t->model->used_ns = now;
    if (w->phase != W_READY || w->suspect || !t->model->n_running) pool_wake(p);
}

/* A worker that died had begun with its first requests, as many as it runs at once; those behind them were in
 * its queue, and those that could not connect had not even come so far. */
static bool may_be_the_reason(const struct pool_ticket *t, const struct pool_outcome *how)
{
    const struct worker *w = t->worker;
    if (how->failed == POOL_FAILED_REFUSED) return false;
    if (!w || w->url || how->failed != POOL_FAILED_CUT) return true;
    return t->turn < w->n_over + MAX(w->parallel, 1);
}

bool pool_again(struct pool_ticket *t, const struct pool_outcome *how)
{
    struct pool *p = t->pool;
    int64_t now = clock_ns();
    pthread_mutex_lock(&p->lock);
    bool remote = t->worker && t->worker->url, counts = remote || may_be_the_reason(t, how);
    release(p, t, how, now);
    p->counts.retries++;
    if (how->moved) t->tries = 1, t->charges = 0;
    if (counts && !remote) charge(t, now);
    if (!counts && how->failed == POOL_FAILED_CUT) t->tries--;
    if (t->state != POOL_READY) {
    } else if (p->stopping) {
        refuse(t, 503, RETRY_AFTER_S, "this server is about to stop");
    } else if (t->tries >= POOL_MAX_TRIES) {
        refuse(t, 502, 0, "the workers of this model failed again and again");
    } else if (remote && !retry_spend(&p->retries, now)) {
        refuse(t, 503, RETRY_AFTER_S,
               "the server behind this model failed, and too much is repeated already");
    } else {
        queue_add(t, true);
        tickets_dispatch(p, t->model, now);
        if (t->state == POOL_WAIT) pool_wake(p);
    }
    pthread_mutex_unlock(&p->lock);
    return counts;
}

void pool_moved(struct pool_ticket *t)
{
    struct pool *p = t->pool;
    pthread_mutex_lock(&p->lock);
    t->charges = 0;
    if (t->worker && t->worker->alone == t) {
        t->worker->alone = NULL;
        tickets_dispatch(p, t->model, clock_ns());
    }
    pthread_mutex_unlock(&p->lock);
}

bool pool_elsewhere(struct pool_ticket *t, const struct pool_outcome *how)
{
    struct pool *p = t->pool;
    int64_t now = clock_ns();
    pthread_mutex_lock(&p->lock);
    bool more = t->worker && !p->stopping && t->n_asked < ROUTE_MAX_ENDS;
    if (more) {
        t->asked = mem_realloc(t->asked, t->n_asked + 1, sizeof *t->asked);
        t->asked[t->n_asked++] = t->worker->id;
        more = others_left(t);
    }
    if (more) {
        release(p, t, how, now);
        t->tries = 0;
        queue_add(t, true);
        tickets_dispatch(p, t->model, now);
    }
    pthread_mutex_unlock(&p->lock);
    return more;
}

void pool_leave(struct pool_ticket *t, const struct pool_outcome *how)
{
    struct pool *p = t->pool;
    int64_t now = clock_ns();
    pthread_mutex_lock(&p->lock);
    if (t->model) {
        t->model->requests++;
        queue_remove(t);
        release(p, t, how, now);
        tickets_dispatch(p, t->model, now);
    }
    if (t->key) key_leave(p, t->key);
    for (size_t i = 0; i < t->n_fallback; i++) spec_drop(t->fallback[i]);
    pthread_mutex_unlock(&p->lock);
    free(t->fallback);
    free(t->asked);
    free(t);
}
