/* The jobs: which there are, who runs them, who is told. */
#include "hub/pulls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/http.h"
#include "hub/pulls_int.h"

enum { MAX_JOBS = 2, PULSE_MS = 200, SAVE_US = 1000000, KEPT_DAYS = 14, MAX_QUEUED = 10000 };

/* ---- the list ------------------------------------------------------------------------------------------ */

static struct job *find(struct pulls *p, int64_t id)
{
    struct job *j = p->jobs;
    while (j && j->id != id) j = j->next;
    return j;
}

/* like: its wish; the rest is that of a new one. */
static struct job *append(struct pulls *p, int64_t id, const struct job *like)
{
    struct job *j = mem_zalloc(1, sizeof *j), **at = &p->jobs;
    *j = (struct job){.id = id,
                      .reference = mem_strdup(like->reference),
                      .name = mem_strdup(like->name),
                      .copy = like->copy,
                      .public_only = like->public_only,
                      .phase = "queued"};
    while (*at) at = &(*at)->next;
    *at = j;
    return j;
}

static bool same_wish(const struct job *a, const struct job *b)
{
    return !strcmp(a->reference, b->reference) && !strcmp(a->name, b->name) && a->copy == b->copy &&
           a->public_only == b->public_only;
}

static void drop(struct pulls *p, struct job *j)
{
    struct job **at = &p->jobs;
    while (*at != j) at = &(*at)->next;
    *at = j->next;
    pull_files_free(j->file, j->n_file);
    free(j->item);
    free(j->reference);
    free(j->name);
    free(j);
}

static struct job *append_stored(struct pulls *p, const struct store_job *s)
{
    json_t *o = json_loads(s->request, 0, NULL);
    const struct job like = {.reference = (char *)json_string_value(json_object_get(o, "reference")),
                             .name = (char *)json_string_value(json_object_get(o, "name")),
                             .copy = json_is_true(json_object_get(o, "copy")),
                             .public_only = json_is_true(json_object_get(o, "public_only"))};
    struct job *j = NULL;
    if (like.reference && like.name) {
        j = append(p, s->id, &like);
        j->created_ms = s->created_ms;
    }
    json_decref(o);
    return j;
}

/* ---- watchers ------------------------------------------------------------------------------------------ */

static void tell(struct pulls *p, int64_t id)
{
    for (struct watcher *w = p->watchers; w; w = w->next)
        if (!w->id || w->id == id) http_waker_fire(w->waker);
}

void pulls_watch(struct pulls *p, int64_t id, struct http_waker *waker)
{
    struct watcher *w = mem_alloc(sizeof *w);
    pthread_mutex_lock(&p->lock);
    *w = (struct watcher){p->watchers, id, waker};
    p->watchers = w;
    pthread_mutex_unlock(&p->lock);
}

void pulls_unwatch(struct pulls *p, struct http_waker *waker)
{
    pthread_mutex_lock(&p->lock);
    for (struct watcher **at = &p->watchers, *w; (w = *at);) {
        if (w->waker == waker) {
            *at = w->next;
            free(w);
        } else {
            at = &w->next;
        }
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- threads ------------------------------------------------------------------------------------------- */

static void update(struct pulls *p, const struct job *j, enum store_job_status status_now, const char *why)
{
    struct error e;
    char *detail = pull_detail(j);
    const struct store_job_change change = {
        .status = status_now, .bytes = j->bytes, .total = j->total, .error = why, .detail = detail};
    if (store_job_update(p->store, j->id, &change, &e) != OK)
        LOG(WARN, "hub", "job_not_saved", "job=%lld why=\"%s\"", (long long)j->id, e.msg);
    free(detail);
}

/* With the lock held, which is given up while the job runs. */
static void run(struct pulls *p, struct job *j)
{
    struct error e = {0};
    j->running = true;
    j->measured_us = clock_us();
    pthread_cond_signal(&p->tick);
    pthread_mutex_unlock(&p->lock);
    LOG(INFO, "hub", "pull", "job=%lld reference=\"%s\" name=\"%s\"", (long long)j->id, j->reference,
        j->name);
    status s = pull_run(p, j, &e);
    pthread_mutex_lock(&p->lock);
    if (s == OK)
        LOG(INFO, "hub", "pulled", "job=%lld name=\"%s\" bytes=%llu", (long long)j->id, j->name,
            (unsigned long long)j->bytes);
    else if (s != ERR_CANCELLED)
        LOG(WARN, "hub", "pull_failed", "job=%lld why=\"%s\"", (long long)j->id, e.msg);
    if (s == ERR_CANCELLED && !j->cancelled) {
        j->phase = "queued";
        update(p, j, STORE_JOB_QUEUED, NULL);
    } else {
        enum store_job_status end = s == OK              ? STORE_JOB_COMPLETED
                                    : s == ERR_CANCELLED ? STORE_JOB_CANCELLED
                                                         : STORE_JOB_FAILED;
        j->phase = store_job_status_name(end);
        update(p, j, end, s == OK ? "" : e.msg);
    }
    tell(p, j->id);
    drop(p, j);
}

static void *work(void *arg)
{
    struct pulls *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->closing) {
        struct store_job claimed = {0};
        struct job *j = NULL;
        if (!p->o.idle && store_job_claim(p->store, "pull", "pulls", &claimed, NULL) == OK) {
            j = find(p, claimed.id);
            if (!j && !(j = append_stored(p, &claimed))) {
                const struct store_job_change change = {.status = STORE_JOB_FAILED,
                                                        .error = "the job's request cannot be read"};
                (void)(store_job_update(p->store, claimed.id, &change, NULL) == OK);
            }
            if (j) {
                j->created_ms = claimed.created_ms;
                j->started_ms = claimed.started_ms;
            }
            bool was_claimed = !!j;
            store_job_deinit(&claimed);
            if (was_claimed) run(p, j);
            continue;
        }
        pthread_cond_wait(&p->work, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Measures what runs, tells who watches, writes down; first it removes blobs that no model was made of. */
static void *pulse(void *arg)
{
    struct pulls *p = arg;
    struct error e;
    if (store_sweep(p->store, KEPT_DAYS * 86400, NULL, &e) != OK) LOG(WARN, "hub", "sweep", "%s", e.msg);
    pthread_mutex_lock(&p->lock);
    while (!p->closing) {
        bool any = false;
        for (struct job *j = p->jobs; j; j = j->next) {
            if (!j->running) continue;
            any = true;
            pull_measure(j);
            tell(p, j->id);
            if (j->measured_us - j->saved_us < SAVE_US) continue;
            j->saved_us = j->measured_us;
            update(p, j, STORE_JOB_RUNNING, NULL);
        }
        if (any) {
            struct timespec until;
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_nsec += PULSE_MS * 1000000;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            pthread_cond_timedwait(&p->tick, &p->lock, &until);
        } else {
            pthread_cond_wait(&p->tick, &p->lock);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- asking -------------------------------------------------------------------------------------------- */

status pulls_start(struct pulls *p, const struct pull_want *want, int64_t *id, struct error *e)
{
    struct hub_ref ref;
    char text[4096], name[STORE_NAME_MAX], *request = NULL;
    struct job *j = NULL;
    status s = OK;
    TRY(store_resolve(p->store, want->reference, text, sizeof text, e));
    TRY(hub_ref_parse(&ref, text, e));
    if (ref.kind == HUB_LOCAL && (p->hub.no_local || want->no_local))
        s = fail(e, ERR_ARG, "%.80s: files of this machine may not be named here", want->reference);
    if (s == OK) s = store_name(name, want->name && *want->name ? want->name : ref.name, e);
    const struct job like = {
        .reference = ref.text, .name = name, .copy = want->copy, .public_only = want->public_only};
    pthread_mutex_lock(&p->lock);
    for (j = p->jobs; s == OK && j; j = j->next)
        if (same_wish(j, &like) && !j->cancelled) break;
    if (s == OK && j) *id = j->id;
    if (s == OK && p->o.idle) {
        p->o.idle = false;
        pthread_cond_broadcast(&p->work);
    }
    if (s == OK && !j) {
        request = pull_request(&like);
        s = store_job_add(p->store, "pull", want->reference, request, id, e);
        if (s == OK) append(p, *id, &like)->created_ms = (int64_t)time(NULL) * 1000;
        if (s == OK) pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    free(request);
    hub_ref_deinit(&ref);
    return s;
}

status pulls_cancel(struct pulls *p, int64_t id, struct error *e)
{
    status s = OK;
    pthread_mutex_lock(&p->lock);
    struct job *j = find(p, id);
    if (!j) {
        struct store_job known = {0};
        s = store_job_get(p->store, id, &known, e);
        if (s == OK)
            s = fail(e, ERR_ARG, "job %lld has ended: %s", (long long)id,
                     store_job_status_name(known.status));
        store_job_deinit(&known);
    } else if (j->running) {
        j->cancelled = true;
        atomic_store(&j->stop, true);
    } else {
        j->phase = "cancelled";
        update(p, j, STORE_JOB_CANCELLED, "");
        tell(p, id);
        drop(p, j);
    }
    pthread_mutex_unlock(&p->lock);
    return s;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* What no pull came back to. */
static void sweep(const char *folder)
{
    DIR *d = opendir(folder);
    struct stat st;
    time_t old = time(NULL) - (time_t)KEPT_DAYS * 86400;
    if (!d) return;
    for (struct dirent *entry; (entry = readdir(d));)
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            st.st_mtime < old)
            unlinkat(dirfd(d), entry->d_name, 0);
    closedir(d);
}

static status make_folder(struct pulls *p, struct error *e)
{
    struct buf b = {0};
    buf_addf(&b, "%s/models/partial", store_home(p->store)); /* the store made what is above */
    p->partial = b.data;
    if (mkdir(p->partial, 0755) != 0 && errno != EEXIST)
        return fail(e, ERR_IO, "%s: %s", p->partial, strerror(errno));
    sweep(p->partial);
    return OK;
}

static void take_queued(struct pulls *p)
{
    struct store_jobs list = {0};
    const struct store_job_filter filter = {.status = "queued", .kind = "pull", .limit = MAX_QUEUED};
    if (store_job_list(p->store, &filter, &list, NULL) != OK) return;
    for (size_t i = list.n; i-- > 0;) append_stored(p, &list.item[i]); /* oldest first */
    store_jobs_deinit(&list);
}

status pulls_open(struct pulls **out, struct store *store, const struct pulls_options *o, struct error *e)
{
    static const struct pulls_options none;
    struct pulls *p = mem_zalloc(1, sizeof *p);
    pthread_condattr_t monotonic;
    uint32_t n;
    status s;
    p->store = store;
    p->o = o ? *o : none;
    hub_config_init(&p->hub, &p->o.hub);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->tick, &monotonic);
    pthread_condattr_destroy(&monotonic);
    n = p->o.max_jobs ? p->o.max_jobs : MAX_JOBS;
    p->thread = mem_zalloc(n, sizeof *p->thread);
    s = make_folder(p, e);
    if (s == OK) take_queued(p);
    if (s == OK) p->has_pulse = pthread_create(&p->pulse, NULL, pulse, p) == 0;
    while (s == OK && p->n_thread < n && pthread_create(&p->thread[p->n_thread], NULL, work, p) == 0)
        p->n_thread++;
    if (s == OK && (!p->has_pulse || !p->n_thread)) s = fail(e, ERR_LIMIT, "cannot start a thread");
    if (s == OK)
        *out = p;
    else
        pulls_close(p);
    return s;
}

void pulls_close(struct pulls *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    for (struct job *j = p->jobs; j; j = j->next) atomic_store(&j->stop, true);
    pthread_cond_broadcast(&p->work);
    pthread_cond_broadcast(&p->tick);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_thread; i++) pthread_join(p->thread[i], NULL);
    if (p->has_pulse) pthread_join(p->pulse, NULL);
    while (p->jobs) drop(p, p->jobs);
    for (struct watcher *w = p->watchers, *next; w; w = next) {
        next = w->next;
        free(w);
    }
    pthread_cond_destroy(&p->tick);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    hub_config_deinit(&p->hub);
    free(p->thread);
    free(p->partial);
    free(p);
}
