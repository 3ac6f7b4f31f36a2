/* What each model shall do next: from what is wanted of it and what it has. */
#include <stdlib.h>
#include <string.h>

#include "pool/pool_int.h"

/* Servers elsewhere are there from the beginning; whether they answer is found out by asking them. */
static void add_upstreams(struct pool *p, struct served *m, int64_t now)
{
    for (size_t i = 0; i < json_array_size(m->spec->set.upstreams); i++) {
        const char *url = json_string_value(json_array_get(m->spec->set.upstreams, i));
        bool known = !url;
        for (struct worker *w = m->worker; w && !known; w = w->next)
            known = w->url && worker_live(w) && w->generation == m->generation && !strcmp(w->url, url);
        if (known) continue;
        struct worker *w = worker_new(p, m);
        w->url = mem_strdup(url);
        w->phase = W_READY;
        w->healthy = true;
        w->ready_ns = w->answered_ns = now;
    }
}

static uint32_t count(const struct served *m, bool current, enum phase first, enum phase last)
{
    uint32_t n = 0;
    for (const struct worker *w = m->worker; w; w = w->next)
        n += !w->url && (w->generation == m->generation) == current && w->phase >= first && w->phase <= last;
    return n;
}

static bool unused(const struct pool *p, const struct served *m, int64_t now, int64_t *due)
{
    int64_t keep = served_keep_alive(p, m);
    if (m->n_waiting || m->n_running || keep < 0 || count(m, true, W_PLANNING, W_LOADING)) return false;
    *due = m->used_ns + keep * MS;
    return now >= *due;
}

/* Drain up to n of them: those that are not ready first, then the newest. */
static void drain_some(struct pool *p, struct served *m, bool current, uint32_t n, int64_t now)
{
    for (; n; n--) {
        struct worker *victim = NULL;
        for (struct worker *w = m->worker; w; w = w->next) {
            if (w->url || !worker_live(w) || (w->generation == m->generation) != current) continue;
            if (!victim || victim->phase == W_READY || w->phase != W_READY) victim = w;
        }
        if (!victim) return;
        worker_drain(p, victim, now);
    }
}

static void drain_old_upstreams(struct pool *p, struct served *m, int64_t now)
{
    for (struct worker *w = m->worker; w; w = w->next)
        if (w->url && (p->stopping || w->generation != m->generation)) worker_drain(p, w, now);
}

/* Only servers elsewhere could answer for m, and none does. */
static bool cut_off(const struct served *m)
{
    if (*m->spec->path) return false;
    for (const struct worker *w = m->worker; w; w = w->next)
        if (worker_live(w) && w->healthy) return false;
    return true;
}

static int64_t advance_model(struct pool *p, struct served *m, int64_t now)
{
    int64_t next = INT64_MAX, due = INT64_MAX;
    for (struct worker *w = m->worker, *after; w; w = after) {
        after = w->next;
        next = MIN(next, worker_watch(p, w, now));
        if (w->phase == W_GONE && !w->end.in_flight) worker_free(w);
    }
    if (m->failed && now >= m->retry_ns) m->failed = false;
    if (p->stopping) {
        m->target = 0;
    } else {
        add_upstreams(p, m, now);
        if (m->n_waiting && !m->target && !m->failed) m->target = served_replicas(m);
        if (m->target && unused(p, m, now, &due)) {
            m->target = 0;
            m->keep_alive_ms = STORE_UNSET;
            p->counts.expirations++;
            pool_note(p, "unload", m->spec->name, "unused");
        }
        next = MIN(next, due > now ? due : INT64_MAX);
    }
    drain_old_upstreams(p, m, now);
    uint32_t live = count(m, true, W_PLANNING, W_READY), ready = count(m, true, W_READY, W_READY);
    uint32_t old = count(m, false, W_PLANNING, W_READY), keep = m->target > ready ? m->target - ready : 0;
    if (old > keep) drain_some(p, m, false, old - keep, now);
    if (live > m->target) drain_some(p, m, true, live - m->target, now);
    if (now < m->retry_ns) {
        next = MIN(next, live < m->target || m->failed ? m->retry_ns : INT64_MAX);
    } else if (live < m->target && !(old && live > ready)) { /* beside old ones, one after the other */
        for (uint32_t n = old ? 1 : m->target - live; n; n--) worker_new(p, m);
        next = now;
    }
    tickets_dispatch(p, m, now);
    if (m->n_waiting && cut_off(m)) tickets_refuse(p, m, 503, 5, "no server behind this model answers");
    return next;
}

int64_t pool_advance(struct pool *p, int64_t now)
{
    int64_t next = INT64_MAX;
    for (struct served *m = p->model; m; m = m->next) next = MIN(next, advance_model(p, m, now));
    for (struct served *m = p->model; m; m = m->next)
        for (struct worker *w = m->worker; w; w = w->next)
            if (w->phase == W_PLANNING) plan_advance(p, w, now);
    return MIN(next, room_advance(p, now));
}
