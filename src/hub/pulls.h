/* Pulls as jobs: references go in, models in the store come out.
 *
 * Jobs lie in the store, so they survive a restart: those that ran go on where they were. A few threads run
 * them; one more measures, tells watchers and writes progress down each second. Functions may be called from
 * any thread. */
#ifndef CORRAL_HUB_PULLS_H
#define CORRAL_HUB_PULLS_H

#include "hub/hub.h"
#include "store/store.h"

struct http_waker;
struct pulls;

struct pulls_options {
    struct hub_config hub;    /* as hub_config_init takes it */
    uint32_t max_jobs;        /* at once; 0: 2 */
    uint32_t connections;     /* of each; 0: 4 */
    bool idle; /* jobs of before wait until one is begun here */
    uint64_t part_bytes;      /* what one connection asks for at once; 0: 64 MiB */
};
status pulls_open(struct pulls **out, struct store *store, const struct pulls_options *o, struct error *e);
void   pulls_close(struct pulls *p); /* what runs is queued again for the next time; NULL is fine */

struct pull_want {
    const char *reference; /* see hub.h; an alias is fine */
    const char *name;      /* of the model; NULL: as the reference says */
    bool        copy;      /* files of this machine are copied into the store, not used in place */
    /* For those who ask from elsewhere: no file of this machine, and no URL or registry but at addresses
     * of the internet, wherever redirections lead. The latter is kept with the job. */
    bool        no_local, public_only;
};
/* The same wish while one is under way is the same job. ERR_ARG: no reference. */
status pulls_start(struct pulls *p, const struct pull_want *want, int64_t *id, struct error *e);
/* ERR_ARG: it has ended. What was fetched stays for two weeks, for another try. */
status pulls_cancel(struct pulls *p, int64_t id, struct error *e);

struct pull_file {
    char    *name, *digest; /* digest "": not known yet */
    uint64_t bytes, total;  /* total HUB_UNKNOWN: not known yet */
    bool     done;          /* there and verified */
};
struct pull_view { /* a job at one moment; the receiver's */
    int64_t id;
    enum store_job_status status;
    char    *phase; /* "queued", "resolving", "waiting", "downloading", "copying", "verifying", "storing",
                     * and how it ended: "completed", "failed", "cancelled" */
    char    *reference, *name, *error; /* error "": none */
    uint64_t bytes, total;             /* total 0: not known yet */
    double   bytes_per_s;              /* lately; 0: nothing came */
    double   eta_s;                    /* negative: not known */
    double   progress;                 /* 0 .. 1; 1 only when completed */
    int64_t  created_ms, started_ms, finished_ms;
    struct pull_file *file;
    size_t   n_file;
};
/* Jobs that have ended are found too, as long as the store knows them. */
status pulls_snapshot(struct pulls *p, int64_t id, struct pull_view **out, struct error *e);
void   pull_view_free(struct pull_view *v);
/* The view as JSON of GET /jobs/{id}: id, status, phase, model, name, progress, downloaded_bytes, ... */
char  *pull_view_json(const struct pull_view *v);

/* Fire when something changed about this job (0: any job), at most five times a second, until unwatched. The
 * waker stays the caller's; after pulls_unwatch it is not touched any more. */
void pulls_watch(struct pulls *p, int64_t id, struct http_waker *waker);
void pulls_unwatch(struct pulls *p, struct http_waker *waker);

#endif
