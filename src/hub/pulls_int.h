/* The owner's view of pulls: jobs that are queued or run, watchers. */
#ifndef CORRAL_HUB_PULLS_INT_H
#define CORRAL_HUB_PULLS_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "hub/download.h"
#include "hub/hub_int.h"
#include "hub/pulls.h"

struct job {
    struct job *next;
    int64_t  id, created_ms, started_ms;
    char    *reference, *name; /* in full, see hub_ref.text */
    bool     copy, public_only, running, cancelled;
    atomic_bool stop; /* cancelled, or the pulls are closed */
    const char *phase;

    struct pull_file *file; /* what it consists of, once that is known */
    size_t    n_file;
    size_t   *item;         /* of each file: which one of the download's; SIZE_MAX: it was there already */
    struct download *download; /* NULL: none runs */

    uint64_t bytes, total, fetched; /* as measured last */
    double   rate;
    int64_t  measured_us, saved_us;
};

struct watcher {
    struct watcher *next;
    int64_t id;
    struct http_waker *waker;
};

struct pulls {
    struct store *store;
    struct hub_config hub;
    struct pulls_options o;
    char    *partial; /* the folder where files grow */
    pthread_t *thread, pulse;
    uint32_t n_thread;
    bool     has_pulse;

    pthread_mutex_t lock;
    pthread_cond_t  work, tick;
    struct job     *jobs; /* oldest first */
    struct watcher *watchers;
    bool            closing;
};

/* pull_run.c: all of a job, on its thread. The model is in the store when it is OK. */
status pull_run(struct pulls *p, struct job *j, struct error *e);
/* pulls_view.c, with the lock held */
void   pull_measure(struct job *j);
char  *pull_detail(const struct job *j); /* what the store keeps of it, JSON */
char  *pull_request(const struct job *j); /* what begins it again, JSON */
void   pull_files_free(struct pull_file *file, size_t n);

#endif
