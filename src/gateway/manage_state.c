/* How everything is: /health, /livez, /readyz, /gpus, /metrics, /metrics/gpu, /placement, /logs/{model}. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "device/device.h"
#include "gateway/errand.h"
#include "gateway/merge.h"
#include "http/client.h"
#include "hub/pulls.h"
#include "pool/pool.h"

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
        if (s->gpu[i].lost) return "a GPU does not answer";
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

/* R3's servers: a worker is one. */
static void add_servers(struct buf *b, const struct pool_view *v)
{
    buf_adds(b, "\"servers\":[");
    for (size_t i = 0; i < v->n_worker; i++) {
        const struct pool_worker_view *w = &v->worker[i];
        buf_addf(b, "%s{\"id\":%llu", i ? "," : "", (unsigned long long)w->id);
        add_str(b, "host", *w->url ? w->url : NULL);
        add_str(b, "model_id", w->model);
        add_str(b, "status", *w->error ? "error" : w->state == POOL_COLD ? "stopped" : "running");
        add_str(b, "state", pool_state_name(w->state));
        buf_addf(b, ",\"port\":null,\"process\":");
        if (w->pid)
            buf_addf(b, "%d", w->pid);
        else
            buf_adds(b, "null");
        buf_addf(b,
                 ",\"healthy\":%s,\"running\":%u,\"queued\":%u,\"in_flight\":%u,\"last_step_age_s\":%.3f,"
                 "\"predicted_bytes\":%llu,\"actual_bytes\":%llu,\"gpu_assignment\":",
                 w->healthy ? "true" : "false", w->running, w->queued, w->in_flight, w->last_step_age_s,
                 (unsigned long long)w->predicted_bytes, (unsigned long long)w->actual_bytes);
        if (!w->n_share) buf_adds(b, "null");
        for (uint32_t k = 0; k < w->n_share; k++) {
            buf_adds(b, k ? "," : "[");
            buf_adds(b, "{\"uuid\":");
            buf_json_str(b, w->share[k].uuid, strlen(w->share[k].uuid));
            buf_addf(b, ",\"bytes\":%llu}", (unsigned long long)w->share[k].bytes);
        }
        buf_adds(b, w->n_share ? "]}" : "}");
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
    add_servers(b, v);
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

static void health(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct pool_view *v = pool_view_new(g->o.pool);
    struct buf b = {0};
    health_body(g, x, v, &b);
    http_reply(x, not_ready(v) ? 503 : 200, "application/json", b.data, b.n);
    buf_deinit(&b);
    pool_view_free(v);
}

/* GET /servers: the workers alone, whatever the health is. */
static void servers(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct pool_view *v = pool_view_new(g->o.pool);
    struct buf b = {0};
    buf_addc(&b, '{');
    add_servers(&b, v);
    buf_addc(&b, '}');
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

static uint32_t number_in(const char *query, const char *name, uint32_t def, uint32_t most)
{
    char text[24];
    if (!query_value(query, name, text, sizeof text)) return def;
    unsigned long v = strtoul(text, NULL, 10);
    return (uint32_t)MIN(MAX(v, 1ul), (unsigned long)most);
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
                         number_in(http_query(x), "span", DEVICE_HISTORY_S, DEVICE_HISTORY_S),
                         number_in(http_query(x), "step", 60, DEVICE_HISTORY_S));
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

/* ---- metrics ----------------------------------------------------------------------------------------- */

static void value(struct buf *b, const char *name, const char *type, const char *help, double v)
{
    buf_addf(b, "# HELP corral_%s %s\n# TYPE corral_%s %s\ncorral_%s ", name, help, name, type, name);
    buf_json_double(b, v);
    buf_addc(b, '\n');
}

static void of_models(struct buf *b, const struct pool_view *v, const char *name, const char *type,
                      const char *help, double (*get)(const struct pool_model_view *))
{
    buf_addf(b, "# HELP corral_model_%s %s\n# TYPE corral_model_%s %s\n", name, help, name, type);
    for (size_t i = 0; i < v->n_model; i++) {
        if (!*v->model[i].path && !v->model[i].requests) continue;
        buf_addf(b, "corral_model_%s{model=", name);
        buf_json_str(b, v->model[i].name, strlen(v->model[i].name));
        buf_adds(b, "} ");
        buf_json_double(b, get(&v->model[i]));
        buf_addc(b, '\n');
    }
}
static double requests(const struct pool_model_view *m)
{
    return (double)m->requests;
}
static double failures(const struct pool_model_view *m)
{
    return (double)m->failures;
}
static double waiting(const struct pool_model_view *m)
{
    return m->n_waiting;
}
static double in_flight(const struct pool_model_view *m)
{
    return m->n_running;
}
static double loaded(const struct pool_model_view *m)
{
    return m->n_ready;
}
static double crashes(const struct pool_model_view *m)
{
    return (double)m->crashes;
}
static double memory(const struct pool_model_view *m)
{
    return (double)m->bytes;
}

static void gateway_text(struct gateway *g, const struct pool_view *v, struct buf *b)
{
    const struct pool_counts *c = &v->counts;
    value(b, "gateway_requests_total", "counter", "Requests for models.", (double)c->requests);
    value(b, "gateway_refused_total", "counter", "Requests that got no worker.", (double)c->refused);
    value(b, "gateway_retries_total", "counter", "Requests repeated before anything was streamed.",
          (double)g->n_retry);
    value(b, "gateway_resumed_total", "counter", "Streams that went on in another worker.",
          (double)g->n_resume);
    value(b, "gateway_lost_total", "counter", "Answers that ended in an error because their worker died.",
          (double)g->n_lost);
    value(b, "pool_loads_total", "counter", "Workers that were started.", (double)c->loads);
    value(b, "pool_load_failures_total", "counter", "Loads that failed.", (double)c->load_failures);
    value(b, "pool_evictions_total", "counter", "Models unloaded to make room.", (double)c->evictions);
    value(b, "pool_expirations_total", "counter", "Models unloaded because nobody used them.",
          (double)c->expirations);
    value(b, "pool_crashes_total", "counter", "Workers that ended by themselves.", (double)c->crashes);
    value(b, "pool_hangs_total", "counter", "Workers that were ended because they stood still.",
          (double)c->hangs);
    value(b, "pool_placements_total", "counter", "Decisions about where a model goes.",
          (double)c->placements);
    value(b, "pool_placement_seconds_total", "counter", "Time that these took.", (double)c->place_ns * 1e-9);
    value(b, "pool_placement_seconds_max", "gauge", "The longest of them.", (double)c->place_max_ns * 1e-9);
    of_models(b, v, "requests_total", "counter", "Requests for a model.", requests);
    of_models(b, v, "failures_total", "counter", "Requests whose worker failed.", failures);
    of_models(b, v, "waiting", "gauge", "Requests without a worker yet.", waiting);
    of_models(b, v, "in_flight", "gauge", "Requests at a worker.", in_flight);
    of_models(b, v, "workers_ready", "gauge", "Workers that answer.", loaded);
    of_models(b, v, "crashes_total", "counter", "Workers that ended by themselves.", crashes);
    of_models(b, v, "memory_bytes", "gauge", "Of its workers, on all devices.", memory);
    if (!g->o.devices) return;
    const struct device_sample *s = devices_sample(g->o.devices);
    device_metrics_text(b, s);
    device_sample_release(s);
}

/* A worker's label stands beside its model's only where there are several. */
static void labels_of(const struct pool_view *v, const struct pool_worker_view *w, struct buf *out)
{
    uint32_t n = 0;
    for (size_t i = 0; i < v->n_worker; i++) n += !strcmp(v->worker[i].model, w->model);
    buf_adds(out, "model=");
    buf_json_str(out, w->model, strlen(w->model));
    if (n > 1) buf_addf(out, ",worker=\"%llu\"", (unsigned long long)w->id);
}

static void metrics(struct errand *r)
{
    struct pool_view *v = pool_view_new(r->g->o.pool);
    struct merge *all = merge_new();
    struct http_client *client = NULL;
    struct error e;
    struct buf own = {0};
    gateway_text(r->g, v, &own);
    merge_add(all, own.data, own.n, "");
    bool can = http_client_new(&client, &e) == OK;
    for (size_t i = 0; i < v->n_worker && can; i++) {
        const struct pool_worker_view *w = &v->worker[i];
        struct http_answer a = {0};
        struct buf labels = {0};
        if (w->state != POOL_RUNNING || !*w->unix_path) continue;
        labels_of(v, w, &labels);
        const struct http_call_options o = {.url = "http://worker/metrics",
                                            .unix_path = w->unix_path,
                                            .connect_timeout_ms = 500,
                                            .first_byte_timeout_ms = 1000,
                                            .total_timeout_ms = 2000};
        if (http_fetch(client, &o, &a, &e) == OK && a.code == 200)
            merge_add(all, a.body.data, a.body.n, labels.data);
        http_answer_deinit(&a);
        buf_deinit(&labels);
    }
    http_client_free(client);
    r->type = "text/plain; version=0.0.4; charset=utf-8";
    merge_write(all, &r->out);
    merge_free(all);
    buf_deinit(&own);
    pool_view_free(v);
}
static void x_metrics(struct http_exchange *x, void *gateway)
{
    errand_run(x, gateway, metrics);
}

/* ---- logs -------------------------------------------------------------------------------------------- */

struct tail {
    char path[4096];
    off_t at;
    bool follow, due;
};
enum { LOOK_MS = 300, LOG_PIECE = 32 << 10 };

/* The offset of the last n lines. */
static off_t before_last(int fd, off_t size, uint32_t n)
{
    char piece[4096];
    off_t at = size;
    while (at > 0) {
        size_t len = (size_t)MIN(at, (off_t)sizeof piece);
        if (pread(fd, piece, len, at - (off_t)len) != (ssize_t)len) return 0;
        for (size_t i = len; i-- > 0;)
            if (piece[i] == '\n' && at - (off_t)len + (off_t)i + 1 < size && !n--)
                return at - (off_t)len + (off_t)i + 1;
        at -= (off_t)len;
    }
    return 0;
}

static enum http_pull tail_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct tail *t = user;
    struct stat st;
    int fd = open(t->path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;
    if (fd >= 0 && fstat(fd, &st) == 0) {
        if (st.st_size < t->at) t->at = 0; /* it was begun anew */
        char *room = buf_room(out, LOG_PIECE);
        n = room ? pread(fd, room, LOG_PIECE, t->at) : 0;
        if (n > 0) {
            out->n += (size_t)n;
            t->at += n;
        }
    }
    if (fd >= 0) close(fd);
    if (n > 0) return HTTP_MORE;
    if (!t->follow) return HTTP_DONE;
    http_set_timer(x, LOOK_MS);
    return HTTP_WAIT;
}
static void tail_timer(struct http_exchange *x, void *user)
{
    /* pull looks again */
}
static void tail_end(struct http_exchange *x, void *user, bool complete)
{
    free(user);
}
static const struct http_responder tailer = {.timer = tail_timer, .pull = tail_pull, .end = tail_end};

/* GET /logs/{model}?lines=200&follow=1: what its workers wrote to stderr. */
static void logs(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct tail *t = mem_zalloc(1, sizeof *t);
    char follow[8] = "";
    struct store_model m = {0};
    struct error e;
    const char *name = http_param(x, "model");
    if (g->o.store && store_get(g->o.store, name, &m, &e) == OK) name = m.name;
    pool_log_path(g->o.pool, name, t->path, sizeof t->path);
    store_model_deinit(&m);
    int fd = open(t->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        free(t);
        http_reply_error(x, 404, "no worker of that model has run here: GET /models lists them");
        return;
    }
    t->at = before_last(fd, lseek(fd, 0, SEEK_END), number_in(http_query(x), "lines", 200, 1000000));
    close(fd);
    t->follow = query_value(http_query(x), "follow", follow, sizeof follow) && strcmp(follow, "0") != 0;
    http_attach(x, &tailer, t);
    http_stream(x, 200, "text/plain; charset=utf-8");
}

static const struct http_route rows[] = {
    {"GET", "/health", health, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/v1/health", llamacpp_health, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/readyz", ready, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/livez", live, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/servers", servers, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/gpus", gpus, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/placement", placement, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/metrics", x_metrics, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/metrics/gpu", gpu_metrics, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/logs/{model}", logs, NULL, HTTP_BODY_NONE, HTTP_ROLE_ADMIN},
};
const struct gateway_routes state_routes = {rows, COUNT_OF(rows)};
