/* A worker's life. Its words on the report pipe: docs/gateway.md. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/pool_int.h"

enum {
    ABORT_MS = 2000,
    LINE_MAX_BYTES = 64 << 10,
    N_LOAD_TRIES = 3,
    N_CRASHES = 6,
    FAILED_S = 5,
    LACK_BYTES = 64 << 20,
    N_FAILED_STEPS = 3,
    TURN_BYTES = 64 << 10 /* of a report that are read at once: the lock is held */
};

struct worker *worker_new(struct pool *p, struct served *m)
{
    struct worker *w = mem_zalloc(1, sizeof *w), **at = &m->worker;
    while (*at) at = &(*at)->next;
    int64_t now = clock_ns();
    *w = (struct worker){.id = ++p->next_id,
                         .model = m,
                         .spec = spec_keep(m->spec),
                         .generation = m->generation,
                         .phase_ns = now,
                         .started_ns = now,
                         .child = {.pidfd = -1, .out = -1, .report = -1},
                         .planner = {.pidfd = -1, .out = -1, .report = -1}};
    w->end.id = w->id;
    *at = w;
    pool_changed(p);
    return w;
}

/* The file of a model that is to draft; or what was said, a file. */
static char *find_draft(struct pool *p, const char *draft)
{
    struct spec *s = NULL;
    bool known = spec_find(p, draft, &s, NULL) == OK && *s->path;
    char *path = mem_strdup(known ? s->path : draft);
    pthread_mutex_lock(&p->lock);
    spec_drop(s);
    pthread_mutex_unlock(&p->lock);
    return path;
}

static uint64_t find_excess(struct pool *p, const char *digest)
{
    struct store_measures list = {0};
    uint64_t most = 0;
    if (!p->o.store || !*digest || store_measure_list(p->o.store, digest, NULL, &list, NULL) != OK) return 0;
    for (size_t i = 0; i < list.n; i++)
        if (list.item[i].actual_bytes > list.item[i].predicted_bytes)
            most = MAX(most, list.item[i].actual_bytes - list.item[i].predicted_bytes);
    store_measures_deinit(&list);
    return most;
}

void worker_ask_store(struct pool *p, struct worker *w)
{
    w->asked_store = true;
    pthread_mutex_unlock(&p->lock);
    if (w->spec->set.draft) w->draft = find_draft(p, w->spec->set.draft);
    w->excess_bytes = find_excess(p, w->spec->digest);
    pthread_mutex_lock(&p->lock);
}

void worker_free(struct worker *w)
{
    struct worker **at = &w->model->worker;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    child_close(&w->child);
    child_close(&w->planner);
    buf_deinit(&w->line);
    buf_deinit(&w->planned);
    spec_drop(w->spec);
    free(w->planning);
    free(w->draft);
    free(w->url);
    free(w);
}

bool worker_live(const struct worker *w)
{
    return w->phase <= W_READY;
}

double worker_progress(const struct worker *w)
{
    if (w->phase == W_READY) return 1;
    return w->phase == W_LOADING && w->total ? MIN((double)w->done / (double)w->total, 1) : -1;
}

static void enter(struct pool *p, struct worker *w, enum phase phase, int64_t now)
{
    w->phase = phase;
    w->phase_ns = now;
    pool_changed(p);
}

/* What it had others may have. */
static void be_gone(struct pool *p, struct worker *w, int64_t now)
{
    int wait_status;
    if (w->planner.pid) {
        child_signal(&w->planner, SIGKILL);
        while (!child_ended(&w->planner, &wait_status)) usleep(100); /* it cannot resist */
    }
    if (w->claim) place_release(p->ledger, w->claim);
    w->claim = 0;
    if (w->unix_path[0]) unlink(w->unix_path);
    child_close(&w->child);
    child_close(&w->planner);
    enter(p, w, W_GONE, now);
}

/* ---- starting ---------------------------------------------------------------------------------------- */

enum { MAX_ARGS = 256 };
struct args {
    char *arg[MAX_ARGS + 1];
    size_t n;
};

static void add_arg(struct args *a, const char *text)
{
    if (a->n < MAX_ARGS) a->arg[a->n++] = mem_strdup(text);
}

static void add_number(struct args *a, const char *flag, int64_t v)
{
    char text[24];
    if (v <= 0) return;
    snprintf(text, sizeof text, "%lld", (long long)v);
    add_arg(a, flag);
    add_arg(a, text);
}

static void add_text(struct args *a, const char *flag, const char *v)
{
    if (!v || !*v) return;
    add_arg(a, flag);
    add_arg(a, v);
}

/* One device, or several by their layers: GPUs are numbered as visible_devices names them. */
static void add_devices(struct args *a, const struct pool *p, const struct worker *w)
{
    struct buf b = {0};
    uint32_t n_gpu = 0;
    if (w->n_share < 2) {
        add_text(a, "--backend", w->backend);
        return;
    }
    for (uint32_t i = 0; i < w->n_share; i++) {
        const struct place_share *s = &w->share[i];
        if (place_device_at(p->ledger, s->device)->kind == PLACE_GPU)
            buf_addf(&b, "%s%s:%u=%u", i ? "," : "", w->backend, n_gpu++, s->n_layer);
        else
            buf_addf(&b, "%scpu=%u", i ? "," : "", s->n_layer);
    }
    add_text(a, "--devices", b.data);
    buf_deinit(&b);
}

/* As it was placed: what it takes is what was reserved for it. What comes later counts. */
static void make_args(struct pool *p, const struct worker *w, struct args *a)
{
    const struct store_settings *set = &w->spec->set;
    add_arg(a, "corral");
    add_arg(a, "worker");
    for (size_t i = 0; i < p->o.n_worker_arg; i++) add_arg(a, p->o.worker_arg[i]);
    add_text(a, "--socket", w->unix_path);
    add_text(a, "--name", w->spec->name);
    add_arg(a, "--any-model");
    add_devices(a, p, w);
    add_number(a, "--ctx", w->rung.context);
    add_number(a, "--parallel", w->rung.parallel);
    add_number(a, "--threads", set->threads);
    add_text(a, "--kv-type", w->rung.kv_type);
    add_number(a, "--kv-bytes", (int64_t)w->kv_bytes);
    if (!set->mmap) add_arg(a, "--no-mmap");
    if (set->mlock) add_arg(a, "--mlock");
    add_text(a, "--draft", w->draft);
    add_text(a, "--chat-template", set->chat_template);
    add_arg(a, "--");
    add_arg(a, w->spec->path);
    a->arg[a->n] = NULL;
}

/* The GPUs it was placed on are all that it sees. */
static char *visible_devices(const struct pool *p, const struct worker *w)
{
    struct buf b = {0};
    buf_adds(&b, "CUDA_VISIBLE_DEVICES=");
    for (uint32_t i = 0, n = 0; i < w->n_share; i++) {
        const struct place_device *d = place_device_at(p->ledger, w->share[i].device);
        if (d->kind == PLACE_GPU) buf_addf(&b, "%s%s", n++ ? "," : "", d->uuid);
    }
    return b.data;
}

void worker_start(struct pool *p, struct worker *w, int64_t now)
{
    struct args args = {0};
    struct error e = {0};
    char *env[2] = {visible_devices(p, w), NULL};
    snprintf(w->unix_path, sizeof w->unix_path, "%s/w%llu.sock", p->run_dir, (unsigned long long)w->id);
    make_args(p, w, &args);
    const struct child_options o = {
        .program = p->program, .argv = args.arg, .env = env, .memory_bytes = p->o.worker_memory_bytes};
    w->progress_ns = now;
    enter(p, w, W_LOADING, now);
    if (child_spawn(&w->child, &o, &e) != OK) snprintf(w->error, sizeof w->error, "%s", e.msg);
    for (size_t i = 0; i < args.n; i++) free(args.arg[i]);
    free(env[0]);
    pool_note(p, "load", w->spec->name, "worker=%llu pid=%d", (unsigned long long)w->id, (int)w->child.pid);
}

/* ---- what it says ------------------------------------------------------------------------------------ */

status code_named(const char *name)
{
    for (int s = ERR_ARG; s <= ERR_DEVICE; s++)
        if (name && !strcmp(name, status_name((status)s))) return (status)s;
    return ERR_IO;
}

static uint64_t number(const json_t *j, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(j, key));
    return v > 0 ? (uint64_t)v : 0;
}

static void is_ready(struct pool *p, struct worker *w, const json_t *j, int64_t now)
{
    const json_t *plan = json_object_get(j, "plan");
    const char *backend = json_string_value(json_object_get(j, "backend"));
    w->context = (uint32_t)number(j, "context");
    w->parallel = (uint32_t)number(j, "parallel");
    w->mapped_bytes = number(plan, "mapped_bytes");
    w->locked_bytes = number(j, "locked_bytes");
    snprintf(w->backend, sizeof w->backend, "%s", backend ? backend : "");
    w->ready_ns = w->answered_ns = now;
    w->healthy = true;
    w->model->load_ns = now - w->started_ns;
    w->model->loaded_ns = w->model->used_ns = now;
    w->model->loads++;
    w->model->bad_loads = 0;
    w->model->error[0] = 0;
    p->counts.loads++;
    room_is_ready(p, w);
    enter(p, w, W_READY, now);
    pool_note(p, "ready", w->spec->name, "worker=%llu pid=%d after=%.2fs context=%u parallel=%u",
              (unsigned long long)w->id, (int)w->child.pid, (double)(now - w->started_ns) / 1e9, w->context,
              w->parallel);
}

static void take_line(struct pool *p, struct worker *w, const char *line, size_t n, int64_t now)
{
    json_t *j = json_loadb(line, n, 0, NULL);
    const char *event = json_string_value(json_object_get(j, "event"));
    if (event && !strcmp(event, "progress")) {
        uint64_t done = number(j, "done");
        if (done != w->done) w->progress_ns = now;
        w->done = done;
        w->total = number(j, "total");
    } else if (event && !strcmp(event, "ready") && w->phase == W_LOADING) {
        is_ready(p, w, j, now);
    } else if (event && !strcmp(event, "error")) {
        const char *why = json_string_value(json_object_get(j, "message"));
        snprintf(w->error, sizeof w->error, "%s", why ? why : "");
        w->code = code_named(json_string_value(json_object_get(j, "code")));
    }
    json_decref(j);
}

static void close_report(struct worker *w)
{
    close(w->child.report);
    w->child.report = -1;
}

void worker_read_report(struct pool *p, struct worker *w, int64_t now)
{
    char piece[4096];
    w->line.max = LINE_MAX_BYTES;
    for (size_t got = 0; w->child.report >= 0 && got < TURN_BYTES;) {
        ssize_t n = read(w->child.report, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            close_report(w);
            return;
        }
        got += (size_t)n;
        buf_add(&w->line, piece, (size_t)n);
        char *end;
        while (w->line.n && (end = memchr(w->line.data, '\n', w->line.n))) {
            size_t k = (size_t)(end - w->line.data);
            take_line(p, w, w->line.data, k, now);
            buf_drop(&w->line, k + 1);
        }
        if (w->line.failed) buf_reset(&w->line); /* that is no report */
    }
}

/* ---- its end ----------------------------------------------------------------------------------------- */

static void stop(struct pool *p, struct worker *w, int number, uint32_t patience_ms, int64_t now)
{
    child_signal(&w->child, number);
    w->deadline_ns = now + patience_ms * MS;
    enter(p, w, W_STOPPING, now);
}

void worker_drain(struct pool *p, struct worker *w, int64_t now)
{
    if (w->phase >= W_DRAINING) return;
    if (!w->child.pid && !w->url) {
        be_gone(p, w, now);
    } else if (w->phase == W_LOADING) {
        stop(p, w, SIGTERM, p->o.term_ms, now);
    } else {
        enter(p, w, W_DRAINING, now);
        w->deadline_ns = now + p->o.drain_ms * MS;
    }
}

static void give_up_on(struct pool *p, struct worker *w, const char *why, int64_t now)
{
    snprintf(w->error, sizeof w->error, "%s", why);
    w->unexpected = true;
    p->counts.hangs++;
    stop(p, w, SIGABRT, ABORT_MS, now);
}

/* The same file will not do better next time. */
static bool is_definite(status code)
{
    return code == ERR_ARG || code == ERR_FORMAT || code == ERR_UNSUPPORTED || code == ERR_NOT_FOUND ||
           code == ERR_LIMIT;
}

/* Not before retry_ns is it tried again. While others serve the model nobody notices. */
static void fail_model(struct pool *p, struct served *m, int code, int64_t retry_ns, int64_t now)
{
    m->retry_ns = retry_ns;
    for (const struct worker *w = m->worker; w; w = w->next)
        if (w->phase == W_READY) return;
    m->failed = true;
    m->target = 0;
    tickets_refuse(p, m, code, (uint32_t)((retry_ns - now) / (1000 * MS)) + 1, m->error);
}

void worker_refuse(struct pool *p, struct worker *w, int code, const char *why, int64_t now)
{
    struct served *m = w->model;
    snprintf(m->error, sizeof m->error, "%s", why);
    p->counts.load_failures++;
    pool_note(p, "failed", w->spec->name, "%s", why);
    be_gone(p, w, now);
    fail_model(p, m, code, now + FAILED_S * 1000 * MS, now);
}

static void describe_end(const struct worker *w, int wait_status, char *out, size_t cap)
{
    char last[200];
    logfile_last(&w->model->log, last, sizeof last);
    if (w->error[0])
        snprintf(out, cap, "%s", w->error);
    else if (WIFSIGNALED(wait_status))
        snprintf(out, cap, "its worker was killed by signal %d (%s)%s%s", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)), *last ? "; its last words: " : "", last);
    else
        snprintf(out, cap, "its worker ended with status %d%s%s", WEXITSTATUS(wait_status), *last ? ": " : "",
                 last);
}

/* It could not be loaded in what a worker may allocate; a card's memory is none of that. */
static bool is_over_limit(const struct pool *p, const struct worker *w)
{
    if (w->ready_ns || w->code != ERR_MEMORY || !p->o.worker_memory_bytes) return false;
    for (uint32_t i = 0; i < w->n_share; i++)
        if (place_device_at(p->ledger, w->share[i].device)->kind == PLACE_GPU) return false;
    return true;
}

static void crashed(struct pool *p, struct worker *w, int wait_status, int64_t now)
{
    struct served *m = w->model;
    char why[256];
    bool loading = !w->ready_ns, limited = is_over_limit(p, w);
    bool definite = limited || (loading && is_definite(w->code));
    uint32_t *n = loading ? &m->bad_loads : &m->crashes, most = loading ? N_LOAD_TRIES : N_CRASHES;
    describe_end(w, wait_status, why, sizeof why);
    if (limited)
        snprintf(why + strlen(why), sizeof why - strlen(why),
                 "; a worker may allocate %.1f MiB (--worker-memory)",
                 (double)p->o.worker_memory_bytes / 0x1p20);
    snprintf(m->error, sizeof m->error, "%.60s: %.230s", w->spec->name, why);
    if (w->ready_ns && now - w->ready_ns > p->o.backoff_max_ms * MS) m->crashes = 0;
    ++*n;
    m->n_crash++;
    p->counts.crashes++;
    if (loading) p->counts.load_failures++;
    if (loading && !limited && w->code == ERR_MEMORY && !m->lacked) { /* once more, with more room */
        m->lacked = true;
        m->extra_bytes = MAX(w->plan_bytes / 8, LACK_BYTES);
        --*n;
        pool_note(p, "lack", w->spec->name, "%s; planned again with %llu bytes more", why,
                  (unsigned long long)m->extra_bytes);
        return;
    }
    int64_t wait = MIN((int64_t)p->o.backoff_ms << MIN(*n - 1, 20), (int64_t)p->o.backoff_max_ms) * MS;
    bool over = definite || *n >= most;
    m->retry_ns = now + (!loading && *n == 1 ? 0 : wait);
    pool_note(p, "crash", w->spec->name, "worker=%llu %s; %s", (unsigned long long)w->id, why,
              over ? "not tried again for now" : "started again");
    if (over)
        fail_model(p, m, definite ? 500 : 503, now + MAX(wait, definite ? FAILED_S * 1000 * MS : 0), now);
}

static void ended(struct pool *p, struct worker *w, int wait_status, int64_t now)
{
    bool expected = w->phase >= W_DRAINING && !w->unexpected;
    worker_read_report(p, w, now); /* why it ended may still be in the pipe */
    bool was_ready = w->ready_ns != 0;
    be_gone(p, w, now);
    if (!expected)
        crashed(p, w, wait_status, now);
    else
        pool_note(p, "unloaded", w->spec->name, "worker=%llu%s", (unsigned long long)w->id,
                  was_ready ? "" : " before it was ready");
}

/* ---- watching ---------------------------------------------------------------------------------------- */

static int64_t watch_ready(struct pool *p, struct worker *w, int64_t now)
{
    char why[160];
    int64_t patience = p->o.hang_ms * MS, silent = now - w->answered_ns;
    if (w->url) return INT64_MAX;
    if (silent > patience || w->step_age_s * 1e9 > (double)patience) {
        snprintf(why, sizeof why, "its worker was stuck: %s for %.1f s",
                 silent > patience ? "no answer" : "no step of its model",
                 silent > patience ? (double)silent / 1e9 : w->step_age_s);
        give_up_on(p, w, why, now);
    }
    if (w->failed_steps >= N_FAILED_STEPS) {
        snprintf(why, sizeof why, "its device fails: the last %u steps did", w->failed_steps);
        give_up_on(p, w, why, now);
    }
    return w->answered_ns + patience;
}

static int64_t watch_loading(struct pool *p, struct worker *w, int64_t now)
{
    int64_t patience = p->o.stall_ms * MS;
    if (now - w->progress_ns > patience) give_up_on(p, w, "loading got no further", now);
    return w->progress_ns + patience;
}

static int64_t watch_draining(struct pool *p, struct worker *w, int64_t now)
{
    int64_t deadline = p->stopping ? MIN(w->deadline_ns, p->stop_ns) : w->deadline_ns;
    if (w->end.in_flight && now < deadline) return deadline;
    if (w->url)
        be_gone(p, w, now);
    else
        stop(p, w, SIGTERM, p->o.term_ms, now);
    return now;
}

int64_t worker_watch(struct pool *p, struct worker *w, int64_t now)
{
    int wait_status;
    if (w->child.pid && child_ended(&w->child, &wait_status)) ended(p, w, wait_status, now);
    if (!w->child.pid && !w->url && (w->phase == W_LOADING || w->phase == W_STOPPING)) { /* it never began */
        be_gone(p, w, now);
        crashed(p, w, 0, now);
    }
    switch (w->phase) {
    case W_PLANNING: return w->planner.pid ? w->deadline_ns : now;
    case W_LOADING: return watch_loading(p, w, now);
    case W_READY: return watch_ready(p, w, now);
    case W_DRAINING: return watch_draining(p, w, now);
    case W_STOPPING:
        if (now < w->deadline_ns) return w->deadline_ns;
        child_signal(&w->child, SIGKILL);
        w->deadline_ns = now + 1000 * MS;
        return w->deadline_ns;
    default: return INT64_MAX;
    }
}
