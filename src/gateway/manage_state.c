/* How everything is: /health, /livez, /readyz, /servers, /gpus, /metrics/gpu, /placement. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "device/device.h"
#include "gateway/errand.h"
#include "place/place.h"
#include "pool/pool.h"
#include "store/store.h"

/* ---- devices, with what the pool has on them --------------------------------------------------------- */

struct uses {
    struct device_use *use; /* one for each GPU */
    const char **model;     /* their lists */
};

static struct uses uses_of(const struct device_sample *s, const struct pool_view *v)
{
    struct uses u = {.use = mem_zalloc(s->n_gpu + 1, sizeof *u.use),
                     .model = mem_zalloc((size_t)s->n_gpu * v->n_worker + 1, sizeof *u.model)};
    for (uint32_t i = 0; i < s->n_gpu; i++) {
        const char **list = u.model + (size_t)i * v->n_worker;
        struct device_use *use = &u.use[i];
        use->model = list;
        for (size_t w = 0; w < v->n_worker; w++)
            for (uint32_t k = 0; k < v->worker[w].n_share; k++)
                if (!strcmp(v->worker[w].share[k].uuid, s->gpu[i].uuid))
                    list[use->n_model++] = v->worker[w].model;
        for (size_t d = 0; d < v->n_device; d++) {
            json_t *ledger =
                !strcmp(v->device[d].uuid, s->gpu[i].uuid) ? json_loads(v->device[d].json, 0, NULL) : NULL;
            if (!ledger) continue;
            use->has_ledger = true;
            use->committed_bytes = (uint64_t)json_integer_value(json_object_get(ledger, "committed_bytes"));
            use->reserved_bytes = (uint64_t)json_integer_value(json_object_get(ledger, "reserved_bytes"));
            use->external_bytes = (uint64_t)json_integer_value(json_object_get(ledger, "external_bytes"));
            json_decref(ledger);
        }
    }
    return u;
}

static const char *strategy_of(const struct gateway *g)
{
    return g->o.strategy ? g->o.strategy : place_strategy_at(0)->name;
}

static void uses_free(struct uses *u)
{
    free(u->use);
    free(u->model);
}

/* ---- health ------------------------------------------------------------------------------------------ */

static const struct pool_model_view *default_model(const struct pool_view *v)
{
    for (size_t i = 0; i < v->n_model; i++)
        if (!strcmp(v->model[i].name, v->default_model)) return &v->model[i];
    return NULL;
}

/* Why it does not take requests; NULL: it does. */
static const char *not_ready(const struct pool_view *v)
{
    const struct pool_model_view *m = default_model(v);
    if (v->draining) return "draining";
    if (m && !m->loads && !m->n_ready && m->state >= POOL_PLANNING && m->state <= POOL_LOADING)
        return "loading";
    return NULL;
}

/* What does not keep it from answering, but is not as it should be. */
static const char *trouble(const struct pool_view *v, const struct device_sample *s)
{
    for (size_t i = 0; i < v->n_worker; i++)
        if (v->worker[i].state == POOL_RUNNING && !v->worker[i].healthy) return "a worker does not answer";
    for (size_t i = 0; i < v->n_model; i++)
        if (v->model[i].state == POOL_FAILED) return "a model cannot be loaded";
    for (uint32_t i = 0; s && i < s->n_gpu; i++)
        if (s->gpu[i].lost && !s->gpu[i].divided) return "a GPU does not answer";
    return NULL;
}

static void add_str(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, ",\"%s\":", key);
    if (value)
        buf_json_str(b, value, strlen(value));
    else
        buf_adds(b, "null");
}

static void add_totals(struct buf *b, const struct pool_view *v, const struct device_sample *s)
{
    uint64_t allocated = 0, reserved = 0;
    uint32_t ready = 0, running = 0, waiting = 0;
    for (size_t i = 0; i < v->n_model; i++) {
        ready += v->model[i].n_ready > 0;
        running += v->model[i].n_running;
        waiting += v->model[i].n_waiting;
    }
    for (uint32_t i = 0; s && i < s->n_gpu; i++) {
        allocated += s->gpu[i].used_bytes;
        reserved += s->gpu[i].total_bytes - s->gpu[i].free_bytes;
    }
    buf_addf(
        b, ",\"models_cached\":%u,\"running\":%u,\"queued\":%u,\"torch_version\":null,\"cuda_available\":%s",
        ready, running, waiting, s && s->n_gpu ? "true" : "false");
    if (s && s->n_gpu)
        buf_addf(b, ",\"gpu_memory_allocated_mb\":%.1f,\"gpu_memory_reserved_mb\":%.1f",
                 (double)allocated / 0x1p20, (double)reserved / 0x1p20);
    else
        buf_adds(b, ",\"gpu_memory_allocated_mb\":null,\"gpu_memory_reserved_mb\":null");
}

static void add_downloads(struct buf *b, struct store *store)
{
    struct store_jobs all = {0};
    struct error e;
    unsigned n[STORE_JOB_STATES] = {0};
    const struct store_job_filter f = {.status = "queued,running", .limit = 1000};
    if (store && store_job_list(store, &f, &all, &e) == OK)
        for (size_t i = 0; i < all.n; i++) n[all.item[i].status]++;
    store_jobs_deinit(&all);
    buf_addf(b, ",\"downloads_active\":%u,\"downloads_queued\":%u", n[STORE_JOB_RUNNING],
             n[STORE_JOB_QUEUED]);
}

/* -1: it is no GPU, or not there. */
static int64_t gpu_id(const struct device_sample *s, const char *uuid)
{
    for (uint32_t i = 0; s && i < s->n_gpu; i++)
        if (!strcmp(s->gpu[i].uuid, uuid)) return s->gpu[i].id;
    return -1;
}

/* R3's GPUAssignment, in GiB; null for a worker that has no GPU. tensor_splits are parts of the layers on
 * GPUs. */
static void add_assignment(struct buf *b, const struct pool_worker_view *w, const struct device_sample *s)
{
    struct buf ids = {0}, splits = {0};
    uint64_t planned = 0, taken = 0;
    uint32_t n = 0, n_layer = 0;
    for (uint32_t k = 0; k < w->n_share; k++) {
        if (gpu_id(s, w->share[k].uuid) < 0) continue;
        planned += w->share[k].predicted_bytes;
        taken += w->share[k].actual_bytes;
        n_layer += w->share[k].n_layer;
    }
    for (uint32_t k = 0; k < w->n_share; k++) {
        int64_t id = gpu_id(s, w->share[k].uuid);
        if (id < 0) continue;
        buf_addf(&ids, "%s%lld", n ? "," : "", (long long)id);
        buf_addf(&splits, "%s%.4f", n ? "," : "", (double)w->share[k].n_layer / (double)MAX(n_layer, 1u));
        n++;
    }
    if (n) {
        buf_addf(b, "{\"gpu_ids\":[%s],\"estimated_vram_required\":%.3f,\"actual_vram_used\":", ids.data,
                 (double)planned / 0x1p30);
        if (taken)
            buf_addf(b, "%.3f", (double)taken / 0x1p30);
        else
            buf_adds(b, "null");
        buf_addf(b, ",\"tensor_splits\":[%s],\"n_gpu_layers\":%u}", splits.data, n_layer);
    } else {
        buf_adds(b, "null");
    }
    buf_deinit(&ids);
    buf_deinit(&splits);
}

/* R3's servers: a worker is one. */
static void add_servers(struct buf *b, const struct pool_view *v, const struct device_sample *s)
{
    buf_adds(b, "\"servers\":[");
    for (size_t i = 0; i < v->n_worker; i++) {
        const struct pool_worker_view *w = &v->worker[i];
        buf_addf(b, "%s{\"id\":%llu", i ? "," : "", (unsigned long long)w->id);
        add_str(b, "host", *w->url ? w->url : NULL);
        add_str(b, "model_id", w->model);
        add_str(b, "status", *w->error ? "error" : w->state == POOL_COLD ? "stopped" : "running");
        add_str(b, "state", pool_state_name(w->state));
        buf_adds(b, ",\"port\":null,\"process\":");
        if (w->pid)
            buf_addf(b, "%d", w->pid);
        else
            buf_adds(b, "null");
        buf_addf(b,
                 ",\"healthy\":%s,\"running\":%u,\"queued\":%u,\"in_flight\":%u,\"last_step_age_s\":%.3f,"
                 "\"predicted_bytes\":%llu,\"actual_bytes\":%llu,\"locked_bytes\":%llu,\"gpu_assignment\":",
                 w->healthy ? "true" : "false", w->running, w->queued, w->in_flight, w->last_step_age_s,
                 (unsigned long long)w->predicted_bytes, (unsigned long long)w->actual_bytes,
                 (unsigned long long)w->locked_bytes);
        add_assignment(b, w, s);
        buf_adds(b, ",\"devices\":[");
        for (uint32_t k = 0; k < w->n_share; k++) {
            buf_adds(b, k ? ",{\"uuid\":" : "{\"uuid\":");
            buf_json_str(b, w->share[k].uuid, strlen(w->share[k].uuid));
            buf_addf(b, ",\"layers\":%u,\"bytes\":%llu,\"predicted_bytes\":%llu,\"actual_bytes\":%llu}",
                     w->share[k].n_layer, (unsigned long long)w->share[k].bytes,
                     (unsigned long long)w->share[k].predicted_bytes,
                     (unsigned long long)w->share[k].actual_bytes);
        }
        buf_adds(b, "]}");
    }
    buf_addc(b, ']');
}

/* Of placement, with its reasons. */
static const char *last_decision(const struct pool_view *v)
{
    for (size_t i = 0; i < v->n_decision; i++)
        if (*v->decision[i].json) return v->decision[i].json;
    return "null";
}

static void health_body(struct gateway *g, struct http_exchange *x, const struct pool_view *v, struct buf *b)
{
    const struct device_sample *s = g->o.devices ? devices_sample(g->o.devices) : NULL;
    const char *why = not_ready(v), *bad = why ? why : trouble(v, s);
    buf_addf(b, "{\"status\":\"%s\"", bad ? "degraded" : "healthy");
    add_str(b, "reason", bad);
    buf_addf(b, ",\"uptime_seconds\":%lld", (long long)time(NULL) - (long long)g->started);
    add_str(b, "model", *v->default_model ? v->default_model : NULL);
    add_totals(b, v, s);
    add_downloads(b, g->o.store);
    buf_addf(b, ",\"cache_limit\":%u,\"connections\":%u,\"version\":\"" CORRAL_VERSION "\"", g->o.max_models,
             http_server_connections(http_exchange_server(x)));
    buf_addc(b, ',');
    add_servers(b, v, s);
    buf_adds(b, ",\"gpu_pool_status\":");
    if (s) {
        struct uses u = uses_of(s, v);
        device_pool_json(b, s, u.use, strategy_of(g), clock_ns());
        uses_free(&u);
        buf_adds(b, ",\"host\":");
        device_host_json(b, &s->host);
        device_sample_release(s);
    } else {
        buf_adds(b, "null");
    }
    buf_addf(b, ",\"last_decision\":%s", last_decision(v));
    buf_addc(b, '}');
}

static int write_health(struct buf *b, struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct pool_view *v = pool_view_new(g->o.pool);
    int code = not_ready(v) ? 503 : 200;
    health_body(g, x, v, b);
    pool_view_free(v);
    return code;
}

static void health(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    http_reply_fresh(x, g->health, "application/json", write_health, g);
}

/* GET /servers: the workers alone, whatever the health is. */
static void servers(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct pool_view *v = pool_view_new(g->o.pool);
    const struct device_sample *s = g->o.devices ? devices_sample(g->o.devices) : NULL;
    struct buf b = {0};
    buf_addc(&b, '{');
    add_servers(&b, v, s);
    buf_addc(&b, '}');
    if (s) device_sample_release(s);
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
    pool_view_free(v);
}

static void reply_probe(struct http_exchange *x, const char *bad)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%s\n", bad ? bad : "ok");
    http_reply(x, bad ? 503 : 200, "text/plain; charset=utf-8", text, (size_t)n);
}

static void ready(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct pool_view *v = pool_view_new(g->o.pool);
    reply_probe(x, not_ready(v));
    pool_view_free(v);
}

/* A server that drains is alive: who restarts it cuts its last answers. Workers that hang are ended by the
 * pool. */
static void live(struct http_exchange *x, void *gateway)
{
    reply_probe(x, NULL);
}

/* GET /v1/health: llama.cpp's. */
static void llamacpp_health(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct pool_view *v = pool_view_new(g->o.pool);
    const char *bad = not_ready(v);
    const char *text =
        bad ? "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}"
            : "{\"status\":\"ok\"}";
    http_reply(x, bad ? 503 : 200, "application/json", text, strlen(text));
    pool_view_free(v);
}

/* ---- devices ----------------------------------------------------------------------------------------- */

static void gpus(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    const struct device_sample *s = g->o.devices ? devices_sample(g->o.devices) : NULL;
    struct pool_view *v = pool_view_new(g->o.pool);
    struct buf b = {0};
    if (!s) {
        http_reply_error(x, 501, "devices are not watched");
    } else {
        struct uses u = uses_of(s, v);
        buf_adds(&b, "{\"gpu_pool_status\":");
        device_pool_json(&b, s, u.use, strategy_of(g), clock_ns());
        buf_adds(&b, ",\"host\":");
        device_host_json(&b, &s->host);
        buf_adds(&b, ",\"ledger\":[");
        for (size_t i = 0; i < v->n_device; i++) {
            buf_adds(&b, i ? "," : "");
            buf_adds(&b, v->device[i].json);
        }
        buf_addc(&b, ']');
        add_str(&b, "nvidia_driver", *s->nvidia_driver ? s->nvidia_driver : NULL);
        add_str(&b, "nvml_error", *s->nvml_error ? s->nvml_error : NULL);
        buf_addc(&b, '}');
        http_reply(x, 200, "application/json", b.data, b.n);
        uses_free(&u);
        device_sample_release(s);
    }
    buf_deinit(&b);
    pool_view_free(v);
}

/* GET /metrics/gpu?span=3600&step=60: each card, and an hour of history. */
static void gpu_metrics(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    const struct device_sample *s = g->o.devices ? devices_sample(g->o.devices) : NULL;
    if (!s) {
        http_reply_error(x, 501, "devices are not watched");
        return;
    }
    struct pool_view *v = pool_view_new(g->o.pool);
    struct uses u = uses_of(s, v);
    struct buf b = {0};
    buf_adds(&b, "{\"gpus\":[");
    for (uint32_t i = 0; i < s->n_gpu; i++) {
        buf_adds(&b, i ? "," : "");
        device_metrics_json(&b, &s->gpu[i], &u.use[i]);
    }
    buf_adds(&b, "],\"history\":");
    devices_history_json(g->o.devices, &b,
                         query_number(http_query(x), "span", DEVICE_HISTORY_S, DEVICE_HISTORY_S),
                         query_number(http_query(x), "step", 60, DEVICE_HISTORY_S));
    buf_addc(&b, '}');
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
    uses_free(&u);
    pool_view_free(v);
    device_sample_release(s);
}

/* GET /placement: the last decisions, with their reasons. */
static void placement(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct pool_view *v = pool_view_new(g->o.pool);
    struct buf b = {0};
    buf_adds(&b, "{\"decisions\":[");
    for (size_t i = 0; i < v->n_decision; i++) {
        const struct pool_decision_view *d = &v->decision[i];
        buf_addf(&b, "%s{\"at_ms\":%lld,\"elapsed_us\":%.1f", i ? "," : "", (long long)d->at_ms,
                 (double)d->elapsed_ns / 1e3);
        add_str(&b, "model", d->model);
        add_str(&b, "what", d->what);
        add_str(&b, "text", d->text);
        buf_addf(&b, ",\"decision\":%s}", *d->json ? d->json : "null");
    }
    buf_addf(&b, "],\"placements\":%llu,\"mean_us\":%.1f,\"longest_us\":%.1f}",
             (unsigned long long)v->counts.placements,
             v->counts.placements ? (double)v->counts.place_ns / 1e3 / (double)v->counts.placements : 0,
             (double)v->counts.place_max_ns / 1e3);
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
    pool_view_free(v);
}

static const struct http_route rows[] = {
    {"GET", "/health", health, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/v1/health", llamacpp_health, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/readyz", ready, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/livez", live, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/servers", servers, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/gpus", gpus, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/placement", placement, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/metrics/gpu", gpu_metrics, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
};
const struct gateway_routes state_routes = {rows, COUNT_OF(rows)};
