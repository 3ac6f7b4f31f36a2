/* The thread that asks workers how they are, all at once and once a period: GET /health. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "http/client.h"
#include "pool/pool_int.h"

enum { MAX_ANSWER = 256 << 10, PATIENCE_MS = 500 };

struct question {
    struct pool *pool;
    uint64_t worker;
    bool remote;
    char unix_path[108], *url;
    char *authorization;
    struct buf answer;
    int code;
};

static size_t gather(struct pool *p, struct question **out)
{
    size_t n = 0;
    *out = NULL;
    for (struct served *m = p->model; m; m = m->next)
        for (struct worker *w = m->worker; w; w = w->next) {
            if (w->phase != W_READY && w->phase != W_DRAINING) continue;
            *out = mem_realloc(*out, n + 1, sizeof **out);
            struct question *q = &(*out)[n++];
            *q = (struct question){.pool = p, .worker = w->id, .remote = w->url != NULL};
            struct buf url = {0}, key = {0};
            buf_addf(&url, "%s/health", w->url ? w->url : "http://localhost");
            q->url = url.data;
            if (w->url && w->spec->set.upstream_key) buf_addf(&key, "Bearer %s", w->spec->set.upstream_key);
            q->authorization = key.data;
            memcpy(q->unix_path, w->unix_path, sizeof q->unix_path);
        }
    return n;
}

static struct worker *find_worker(struct pool *p, uint64_t id)
{
    for (struct served *m = p->model; m; m = m->next)
        for (struct worker *w = m->worker; w; w = w->next)
            if (w->id == id) return w;
    return NULL;
}

/* ---- answers ----------------------------------------------------------------------------------------- */

static void on_head(struct http_call *c, void *user, int code)
{
    struct question *q = user;
    q->code = code;
}

static void on_body(struct http_call *c, void *user, const char *p, size_t n)
{
    struct question *q = user;
    buf_add(&q->answer, p, n);
}

/* A worker of ours answers 503 while it drains or is stuck, and says more; of others, any answer shows life.
 */
static void take(struct pool *p, struct question *q, struct worker *w)
{
    json_t *j = q->answer.n ? json_loadb(q->answer.data, q->answer.n, 0, NULL) : NULL;
    bool was = w->healthy;
    w->healthy = q->remote ? q->code && q->code < 500 : q->code && json_is_object(j);
    if (w->healthy) {
        w->answered_ns = clock_ns();
        w->suspect = false;
        w->n_over = w->requests - w->end.in_flight; /* what failed there did not end it */
        w->running = (uint32_t)json_integer_value(json_object_get(j, "running"));
        w->queued = (uint32_t)json_integer_value(json_object_get(j, "queued"));
        w->failed_steps = (uint32_t)json_integer_value(json_object_get(j, "failed_steps"));
        w->step_age_s = json_number_value(json_object_get(j, "last_step_age_s"));
    } else if (q->remote) {
        w->suspect = true;
    }
    if (was != w->healthy) pool_changed(p);
    json_decref(j);
}

static void on_end(struct http_call *c, void *user, const struct http_result *r)
{
    struct question *q = user;
    struct pool *p = q->pool;
    if (r->cause != HTTP_CAUSE_NONE) q->code = 0;
    pthread_mutex_lock(&p->lock);
    struct worker *w = find_worker(p, q->worker);
    if (w) take(p, q, w);
    pthread_mutex_unlock(&p->lock);
}

/* ---- rounds ------------------------------------------------------------------------------------------ */

static void ask(struct pool *p, struct http_client *client, struct question *q)
{
    static const struct http_call_ops ops = {.head = on_head, .body = on_body, .end = on_end};
    const struct http_header key = {"Authorization", q->authorization};
    uint32_t patience =
        MIN(MAX(p->o.check_ms, PATIENCE_MS), p->o.hang_ms / 3 + 1); /* one is stuck: the others wait */
    const struct http_call_options o = {.url = q->url,
                                        .unix_path = q->remote ? NULL : q->unix_path,
                                        .header = &key,
                                        .n_header = q->authorization ? 1 : 0,
                                        .max_bytes = MAX_ANSWER,
                                        .connect_timeout_ms = patience,
                                        .total_timeout_ms = patience};
    http_call_start(client, &o, &ops, q);
}

static void run_round(struct pool *p, struct http_client *client)
{
    struct question *q;
    struct error e;
    pthread_mutex_lock(&p->lock);
    size_t n = gather(p, &q);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < n; i++) ask(p, client, &q[i]);
    if (n && http_client_run(client, &e) != OK) LOG(WARN, "pool", "check", "%s", e.msg);
    for (size_t i = 0; i < n; i++) {
        free(q[i].url);
        free(q[i].authorization);
        buf_deinit(&q[i].answer);
    }
    free(q);
    if (n) pool_wake(p);
}

static void wait_for_turn(struct pool *p)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += p->o.check_ms / 1000;
    until.tv_nsec += (long)(p->o.check_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    while (!p->ended && !p->check_now && pthread_cond_timedwait(&p->check_cond, &p->lock, &until) == 0)
        continue;
    p->check_now = false;
}

void *check_run(void *pool)
{
    struct pool *p = pool;
    struct http_client *client;
    struct error e;
    if (http_client_new(&client, &e) != OK) {
        LOG(ERROR, "pool", "check", "%s", e.msg);
        return NULL;
    }
    for (bool on = true; on;) {
        pthread_mutex_lock(&p->lock);
        wait_for_turn(p);
        on = !p->ended;
        pthread_mutex_unlock(&p->lock);
        if (on) run_round(p, client);
    }
    http_client_free(client);
    return NULL;
}
