/* What workers say of themselves: /metrics, all of theirs as one text with ours, and /logs/{model}. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/device.h"
#include "gateway/errand.h"
#include "gateway/merge.h"
#include "http/client.h"
#include "pool/pool.h"
#include "store/store.h"

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

static void of_ledger(struct buf *b, const struct pool_view *v)
{
    buf_adds(b, "# HELP corral_ledger_bytes Of a device's memory, as placement counts it.\n"
                "# TYPE corral_ledger_bytes gauge\n");
    for (size_t i = 0; i < v->n_device; i++) {
        const struct place_device *d = &v->device[i].state;
        const struct {
            const char *part;
            uint64_t bytes;
        } row[] = {{"external", d->external_bytes},
                   {"committed", d->committed_bytes},
                   {"reserved", d->reserved_bytes},
                   {"kept_free", d->keep_bytes},
                   {"available", d->free_bytes}};
        for (size_t k = 0; k < COUNT_OF(row); k++) {
            buf_adds(b, "corral_ledger_bytes{device=");
            buf_json_str(b, d->uuid, strlen(d->uuid));
            buf_addf(b, ",part=\"%s\"} %llu\n", row[k].part, (unsigned long long)row[k].bytes);
        }
    }
}

/* What was planned for each worker on each device, or what it took there, where that is known. */
static void of_shares(struct buf *b, const struct pool_view *v, const char *name, const char *help,
                      bool actual)
{
    buf_addf(b, "# HELP corral_worker_%s %s\n# TYPE corral_worker_%s gauge\n", name, help, name);
    for (size_t i = 0; i < v->n_worker; i++) {
        const struct pool_worker_view *w = &v->worker[i];
        for (uint32_t k = 0; k < w->n_share; k++) {
            const struct pool_share *s = &w->share[k];
            if (actual && !s->actual_bytes) continue;
            buf_addf(b, "corral_worker_%s{model=", name);
            buf_json_str(b, w->model, strlen(w->model));
            buf_addf(b, ",worker=\"%llu\",device=", (unsigned long long)w->id);
            buf_json_str(b, s->uuid, strlen(s->uuid));
            buf_addf(b, "} %llu\n", (unsigned long long)(actual ? s->actual_bytes : s->predicted_bytes));
        }
    }
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
    value(b, "pool_reloads_total", "counter", "Models that were given a new generation of workers.",
          (double)c->reloads);
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
    of_ledger(b, v);
    of_shares(b, v, "predicted_bytes", "Memory that its plan says, on a device.", false);
    of_shares(b, v, "actual_bytes", "Memory that it took there.", true);
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
    off_t at, end; /* end: when it was asked, which counts unless it is followed */
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
            if (piece[i] == '\n' && at - (off_t)len + (off_t)i + 1 < size && !--n)
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
        size_t most = t->follow ? LOG_PIECE : (size_t)MIN(MAX(t->end - t->at, 0), LOG_PIECE);
        char *room = buf_room(out, LOG_PIECE);
        n = room ? pread(fd, room, most, t->at) : 0;
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
    t->end = lseek(fd, 0, SEEK_END);
    t->at = before_last(fd, t->end, query_number(http_query(x), "lines", 200, 1000000));
    close(fd);
    t->follow = query_value(http_query(x), "follow", follow, sizeof follow) && strcmp(follow, "0") != 0;
    http_attach(x, &tailer, t);
    http_stream(x, 200, "text/plain; charset=utf-8");
}

static const struct http_route rows[] = {
    {"GET", "/metrics", x_metrics, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/logs/{model}", logs, NULL, HTTP_BODY_NONE, HTTP_ROLE_ADMIN},
};
const struct gateway_routes metrics_routes = {rows, COUNT_OF(rows)};
