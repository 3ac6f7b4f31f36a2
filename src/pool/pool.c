#include "pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "pool/pool_int.h"

enum { TICK_MS = 1000, MAX_RUN_DIR = 80 /* a socket's path has 107 bytes */ };

/* ---- telling ----------------------------------------------------------------------------------------- */

void pool_wake(struct pool *p)
{
    uint64_t one = 1;
    if (write(p->wake_fd, &one, sizeof one) < 0) return; /* it is awake already */
}

void pool_changed(struct pool *p)
{
    p->change++;
    for (size_t i = 0; i < p->n_watch; i++) http_waker_fire(p->watch[i]);
}

static void note_deinit(struct note *n)
{
    free(n->model);
    free(n->text);
    free(n->json);
}

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct note *pool_note(struct pool *p, const char *what, const char *model, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    LOG(INFO, "pool", what, "model=%s %s", model, text);
    struct note *n = &p->note[p->n_note++ % POOL_N_NOTE];
    note_deinit(n);
    *n =
        (struct note){.at_ms = wall_ms(), .model = mem_strdup(model), .text = mem_strdup(text), .what = what};
    return n;
}

/* ---- made and freed ---------------------------------------------------------------------------------- */

static void set_defaults(struct pool_options *o)
{
    const struct {
        uint32_t *at, value;
    } row[] = {
        {&o->max_waiting, 1024}, {&o->check_ms, 1000},        {&o->hang_ms, 120000}, {&o->stall_ms, 600000},
        {&o->backoff_ms, 500},   {&o->backoff_max_ms, 60000}, {&o->drain_ms, 30000}, {&o->term_ms, 10000},
        {&o->turn_ms, 10000},    {&o->plan_ms, 60000},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++)
        if (!*row[i].at) *row[i].at = row[i].value;
    if (!o->keep_alive_ms) o->keep_alive_ms = 300000;
    if (!o->gpu_reserve_bytes) o->gpu_reserve_bytes = 512ull << 20;
    if (!o->host_reserve_bytes) o->host_reserve_bytes = 1ull << 30;
}

static status make_folder(const char *path, struct error *e)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST) return OK;
    return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
}

/* A new folder of ours alone: whoever could put a socket there could be taken for a worker. */
static status make_run_dir(struct pool *p, const char *home, struct error *e)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char path[4096], run[4096];
    if (p->o.run_dir) {
        p->run_dir = mem_strdup(p->o.run_dir);
        return make_folder(p->run_dir, e);
    }
    snprintf(run, sizeof run, "%s/run", home);
    const char *base = runtime && *runtime && access(runtime, W_OK) == 0 ? runtime : run;
    if (base == run) TRY(make_folder(run, e));
    if (strlen(base) + 16 > MAX_RUN_DIR) base = "/tmp";
    snprintf(path, sizeof path, "%s/corral-XXXXXX", base);
    if (!mkdtemp(path)) return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
    p->run_dir = mem_strdup(path);
    p->own_run_dir = true;
    return OK;
}

static status prepare(struct pool *p, struct error *e)
{
    char path[4096];
    json_error_t je;
    if (!p->o.home) return fail(e, ERR_ARG, "a pool needs a folder for its logs");
    p->home = mem_strdup(p->o.home);
    p->program = mem_strdup(p->o.program ? p->o.program : "/proc/self/exe");
    if (p->o.defaults && !(p->defaults = json_loads(p->o.defaults, 0, &je)))
        return fail(e, ERR_ARG, "options of all models: %s", je.text);
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wake_fd < 0) return fail(e, ERR_IO, "eventfd: %s", strerror(errno));
    TRY(make_folder(p->home, e));
    snprintf(path, sizeof path, "%s/logs", p->home);
    TRY(make_folder(path, e));
    TRY(make_run_dir(p, p->home, e));
    TRY(room_open(p, e));
    return strlen(p->run_dir) < MAX_RUN_DIR
               ? OK
               : fail(e, ERR_LIMIT, "%s: too long for the path of a socket", p->run_dir);
}

status pool_new(struct pool **out, const struct pool_options *o, struct error *e)
{
    struct pool *p = mem_zalloc(1, sizeof *p);
    pthread_condattr_t monotonic;
    *out = NULL;
    p->o = *o;
    p->wake_fd = -1;
    set_defaults(&p->o);
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->check_cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    status s = prepare(p, e);
    if (s != OK)
        pool_free(p);
    else
        *out = p;
    return s;
}

void pool_free(struct pool *p)
{
    if (!p) return;
    if (p->started) pool_stop(p, 0);
    while (p->model) {
        struct served *m = p->model;
        p->model = m->next;
        ASSERT(!m->first);
        while (m->worker) worker_free(m->worker);
        served_free(m);
    }
    for (size_t i = 0; i < p->n_added; i++) spec_drop(p->added[i]);
    for (size_t i = 0; i < POOL_N_NOTE; i++) note_deinit(&p->note[i]);
    room_close(p);
    plans_free(p);
    if (p->own_run_dir) rmdir(p->run_dir);
    if (p->wake_fd >= 0) close(p->wake_fd);
    json_decref(p->defaults);
    pthread_cond_destroy(&p->check_cond);
    pthread_mutex_destroy(&p->lock);
    free(p->added);
    free(p->default_model);
    free(p->key);
    free(p->watch);
    free(p->program);
    free(p->home);
    free(p->run_dir);
    free(p);
}

status pool_add(struct pool *p, const char *name, const char *path, const char *options, struct error *e)
{
    struct spec *s;
    TRY(spec_new(&s, p, name, path, options, e));
    pthread_mutex_lock(&p->lock);
    p->added = mem_realloc(p->added, p->n_added + 1, sizeof(struct spec *));
    p->added[p->n_added++] = s;
    if (!p->default_model) p->default_model = mem_strdup(name);
    pthread_mutex_unlock(&p->lock);
    return OK;
}

void pool_set_default(struct pool *p, const char *name)
{
    pthread_mutex_lock(&p->lock);
    free(p->default_model);
    p->default_model = name && *name ? mem_strdup(name) : NULL;
    pthread_mutex_unlock(&p->lock);
}

/* ---- the thread -------------------------------------------------------------------------------------- */

struct watched {
    struct pollfd *fd;
    struct worker **worker;
    size_t n, cap;
};

static void watch_fd(struct watched *l, int fd, struct worker *w)
{
    if (fd < 0) return;
    if (l->n == l->cap) {
        l->cap = MAX(16, 2 * l->cap);
        l->fd = mem_realloc(l->fd, l->cap, sizeof *l->fd);
        l->worker = mem_realloc(l->worker, l->cap, sizeof(struct worker *));
    }
    l->fd[l->n] = (struct pollfd){.fd = fd, .events = POLLIN};
    l->worker[l->n++] = w;
}

static void watch_all(struct pool *p, struct watched *l)
{
    l->n = 0;
    watch_fd(l, p->wake_fd, NULL);
    for (struct served *m = p->model; m; m = m->next)
        for (struct worker *w = m->worker; w; w = w->next) {
            watch_fd(l, w->child.pidfd, w);
            watch_fd(l, w->child.out, w);
            watch_fd(l, w->child.report, w);
            watch_fd(l, w->planner.pidfd, w);
            watch_fd(l, w->planner.out, w);
        }
}

/* stderr goes to its file without the lock: a slow disk is no reason for requests to wait. Who writes without
 * end has to wait, too: there are other workers. */
static void read_output(struct worker *w)
{
    enum { N_PIECE = 32 };
    char piece[8192];
    ssize_t n = 1;
    for (int i = 0; i < N_PIECE && (n = read(w->child.out, piece, sizeof piece)) > 0; i++)
        logfile_add(&w->model->log, piece, (size_t)n);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) return;
    close(w->child.out);
    w->child.out = -1;
}

static void read_all(struct pool *p, const struct watched *l, int64_t now)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->worker[i] && l->fd[i].revents && l->fd[i].fd == l->worker[i]->child.out)
            read_output(l->worker[i]);
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < l->n; i++) {
        struct worker *w = l->fd[i].revents ? l->worker[i] : NULL;
        if (w && l->fd[i].fd == w->child.report) worker_read_report(p, w, now);
        if (w && l->fd[i].fd == w->planner.out) plan_read(w);
    }
}

static bool has_workers(const struct pool *p)
{
    for (const struct served *m = p->model; m; m = m->next)
        for (const struct worker *w = m->worker; w; w = w->next)
            if (w->phase != W_GONE) return true; /* those wait for their last ticket */
    return false;
}

/* The store hears once in a while, and without the lock, who was used and what they took. */
static void tell_store(struct pool *p)
{
    char *name[64];
    size_t n = 0;
    struct store_measures measured = p->measured;
    p->measured = (struct store_measures){0};
    for (struct served *m = p->model; m && n < COUNT_OF(name); m = m->next) {
        if (m->touch && m->spec->in_store) name[n++] = mem_strdup(m->spec->name);
        m->touch = false;
    }
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < n; i++) {
        if (p->o.store) store_touch(p->o.store, name[i]);
        free(name[i]);
    }
    for (size_t i = 0; i < measured.n; i++) (void)!store_measure_add(p->o.store, &measured.item[i], NULL);
    store_measures_deinit(&measured);
    pthread_mutex_lock(&p->lock);
}

static bool ask_store(struct pool *p)
{
    for (struct served *m = p->model; m; m = m->next)
        for (struct worker *w = m->worker; w; w = w->next)
            if (w->phase == W_PLANNING && !w->asked_store) {
                worker_ask_store(p, w); /* the lists may have changed meanwhile */
                return true;
            }
    return false;
}

static void *pool_run(void *user)
{
    struct pool *p = user;
    struct watched l = {0};
    int64_t told_ns = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        int64_t now = clock_ns(), next = pool_advance(p, now);
        if (p->stopping && !has_workers(p)) break;
        if (ask_store(p)) continue;
        if (now - told_ns > 5000 * MS || p->measured.n) {
            tell_store(p);
            told_ns = now;
        }
        watch_all(p, &l);
        pthread_mutex_unlock(&p->lock);
        int64_t wait = next == INT64_MAX ? TICK_MS : (next - clock_ns() + MS - 1) / MS;
        poll(l.fd, l.n, (int)MAX(0, MIN(wait, TICK_MS)));
        uint64_t count;
        if (read(p->wake_fd, &count, sizeof count) < 0) count = 0;
        read_all(p, &l, clock_ns()); /* takes the lock */
    }
    tell_store(p);
    p->ended = true;
    pthread_cond_broadcast(&p->check_cond);
    pthread_mutex_unlock(&p->lock);
    free(l.fd);
    free(l.worker);
    return NULL;
}

/* Those of the store whose options say so. One that cannot be is no reason not to serve the others. */
static void preload(struct pool *p)
{
    struct store_models list = {0};
    struct store_settings set;
    struct error e;
    if (!p->o.store || store_list(p->o.store, &list, &e) != OK) return;
    for (size_t i = 0; i < list.n; i++) {
        const struct store_model *m = &list.item[i];
        if (store_settings_read(&set, m->options, &e) != OK) continue;
        if (set.preload && pool_load(p, m->name, &e) != OK) LOG(WARN, "pool", "preload", "%s", e.msg);
        store_settings_deinit(&set);
    }
    store_models_deinit(&list);
}

status pool_start(struct pool *p, struct error *e)
{
    if (pthread_create(&p->thread, NULL, pool_run, p) != 0) return fail(e, ERR_IO, "no thread for the pool");
    p->started = true;
    if (pthread_create(&p->checker, NULL, check_run, p) == 0) {
        preload(p);
        return OK;
    }
    p->started = false;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pool_wake(p);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    return fail(e, ERR_IO, "no thread for the pool");
}

void pool_stop(struct pool *p, uint32_t drain_ms)
{
    if (!p->started) return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    p->stop_ns = clock_ns() + drain_ms * MS;
    for (struct served *m = p->model; m; m = m->next)
        tickets_refuse(p, m, 503, 2, "this server is about to stop");
    pool_wake(p);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_join(p->checker, NULL);
    p->started = false;
}

/* ---- by hand ----------------------------------------------------------------------------------------- */

/* Under the lock afterwards, but not when that fails. */
static status find_locked(struct pool *p, const char *name, struct served **out, struct error *e)
{
    struct spec *s;
    TRY(spec_find(p, name, &s, e));
    pthread_mutex_lock(&p->lock);
    *out = served_of(p, s);
    return OK;
}

static status unlock_and_wake(struct pool *p)
{
    pool_wake(p);
    pthread_mutex_unlock(&p->lock);
    return OK;
}

status pool_load(struct pool *p, const char *model, struct error *e)
{
    struct served *m;
    TRY(find_locked(p, model, &m, e));
    m->failed = false;
    m->crashes = m->bad_loads = 0;
    m->retry_ns = 0;
    m->used_ns = clock_ns();
    m->target = MAX(m->target, served_replicas(m));
    return unlock_and_wake(p);
}

/* Also of a name that the store has no more. */
static status find_loaded(struct pool *p, const char *name, struct served **out, struct error *e)
{
    status s = find_locked(p, name, out, e);
    if (s != ERR_NOT_FOUND) return s;
    pthread_mutex_lock(&p->lock);
    if ((*out = served_named(p, name))) return OK;
    pthread_mutex_unlock(&p->lock);
    return s;
}

status pool_unload(struct pool *p, const char *model, struct error *e)
{
    struct served *m;
    TRY(find_loaded(p, model, &m, e));
    m->target = 0;
    m->keep_alive_ms = STORE_UNSET;
    pool_note(p, "unload", m->spec->name, "asked for");
    return unlock_and_wake(p);
}

void pool_unload_all(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    for (struct served *m = p->model; m; m = m->next) m->target = 0;
    (void)!unlock_and_wake(p);
}

status pool_reload(struct pool *p, const char *model, struct error *e)
{
    struct served *m;
    TRY(find_locked(p, model, &m, e));
    m->generation++;
    m->failed = false;
    m->crashes = m->bad_loads = 0;
    m->retry_ns = 0;
    if (m->target) m->target = served_replicas(m);
    p->counts.reloads++;
    pool_note(p, "reload", m->spec->name, "generation=%u version=%u", m->generation, m->spec->version);
    return unlock_and_wake(p);
}

void pool_watch(struct pool *p, struct http_waker *w)
{
    pthread_mutex_lock(&p->lock);
    p->watch = mem_realloc(p->watch, p->n_watch + 1, sizeof(struct http_waker *));
    p->watch[p->n_watch++] = w;
    pthread_mutex_unlock(&p->lock);
}

void pool_unwatch(struct pool *p, struct http_waker *w)
{
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->n_watch; i++)
        if (p->watch[i] == w) {
            p->watch[i] = p->watch[--p->n_watch];
            break;
        }
    pthread_mutex_unlock(&p->lock);
}
