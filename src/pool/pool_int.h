/* Inside the pool. One lock guards everything here; workers are made, watched and freed by the pool's
 * thread alone, so that thread may look at their descriptors without the lock.
 *
 * pool.c the thread; served.c names and options; ticket.c requests; advance.c what a model shall do next;
 * plans.c what it takes, by child processes; room.c where it goes and who leaves for it; worker.c a
 * worker's life; child.c processes; check.c how workers are; logfile.c their stderr; view.c the picture for
 * others. */
#ifndef CORRAL_POOL_INT_H
#define CORRAL_POOL_INT_H

#include <pthread.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/clock.h"
#include "device/device.h"
#include "place/place.h"
#include "pool/child.h"
#include "pool/pool.h"
#include "store/store.h"

enum { POOL_N_NOTE = 64, POOL_TAIL = 1024, POOL_MAX_TRIES = 8 };
#define MS 1000000LL

/* ---- what a model is; immutable, counted ------------------------------------------------------------- */

struct spec {
    uint32_t refs;
    char *name, *path, *digest;
    char *own, *options; /* its options, and with the pool's defaults behind them */
    uint32_t version;
    uint64_t seen; /* when it was looked up last: the latest is what a model is; this alone changes */
    bool in_store;
    struct store_settings set; /* options, read */
};
struct spec *spec_keep(struct spec *s);
void spec_drop(struct spec *s); /* under the lock; NULL is fine */
/* What text means, counted for the caller. ERR_NOT_FOUND: nothing. Asks the store: without the lock. */
status spec_find(struct pool *p, const char *text, struct spec **out, struct error *e);
status spec_new(struct spec **out, const struct pool *p, const char *name, const char *path,
                const char *options, struct error *e);

/* ---- files of stderr --------------------------------------------------------------------------------- */

struct logfile {
    char *path;
    int   fd;
    size_t bytes;
    char  tail[POOL_TAIL]; /* the last of it, NUL-terminated */
    size_t n_tail;
};
void logfile_open(struct logfile *l, const char *path);
void logfile_add(struct logfile *l, const char *p, size_t n);
void logfile_close(struct logfile *l);
/* The last line that says something, for messages; "" if there is none. */
void logfile_last(const struct logfile *l, char *out, size_t cap);

/* ---- workers ----------------------------------------------------------------------------------------- */

enum phase {
    W_PLANNING, /* its size is being looked at */
    W_WAITING,  /* for room */
    W_RESERVED, /* it has room, which others are about to leave */
    W_LOADING,
    W_READY,
    W_DRAINING, /* takes no more */
    W_STOPPING, /* was told to end */
    W_GONE      /* freed when the last ticket has left */
};
struct worker {
    uint64_t id;
    struct served *model;
    struct spec *spec;
    uint32_t generation;
    enum phase phase;
    int64_t  phase_ns, deadline_ns; /* since when; STOPPING: when to be rougher */
    int      signals;               /* sent so far */
    bool     unexpected;            /* it shall end for its own fault */
    struct route_end end;
    struct child child;
    struct buf line; /* of the report */
    char unix_path[108], *url;
    bool asked_store;      /* what follows is known; see worker_ask_store */
    char *draft;           /* path of the model that drafts; NULL: none */
    uint64_t excess_bytes; /* that loads before took beyond their plans */
    bool suspect;    /* a connection broke: no requests until it answers a question */
    bool healthy;
    uint64_t asked;  /* number of the round that asks it now; 0: none */
    int64_t  answered_ns, started_ns, ready_ns;
    uint32_t running, queued, failed_steps;
    double   step_age_s;
    uint64_t done, total; /* bytes loaded */
    int64_t  progress_ns;
    char     backend[16];
    uint32_t context, parallel;
    struct plan *plan[2]; /* of the pool's cache: with a GPU, on the CPU; NULL: cannot run there */
    struct child planner;
    struct buf planned;
    char    *planning; /* key of the plan under way */
    uint64_t claim;    /* in the ledger; 0: none */
    struct place_share share[PLACE_MAX_DEVICES];
    uint32_t n_share;
    struct place_rung rung; /* how it is to run */
    uint64_t kv_bytes, plan_bytes, actual_bytes, mapped_bytes, locked_bytes;
    uint64_t actual[PLACE_MAX_DEVICES]; /* of each share; 0: not known */
    bool     measured;
    status   code; /* why it failed, as it says itself */
    char     error[248];
    uint64_t requests, failures;
    const struct pool_ticket *alone; /* a suspect that has not got on yet */
    int64_t alone_ns;                /* when the last suspect came */
    uint32_t n_plain;                /* of those in flight, who were no suspects */
    uint64_t n_over; /* of the requests, those that ended and did not end it */
    struct worker *next;
};
struct served {
    struct spec *spec;
    uint32_t generation;
    uint32_t target; /* workers there shall be */
    struct worker *worker; /* oldest first */
    struct pool_ticket *first, *last; /* waiting */
    uint32_t n_waiting, n_running;
    int64_t  used_ns, loaded_ns, keep_alive_ms; /* keep_alive_ms STORE_UNSET: as the options say */
    int64_t  retry_ns;  /* no load before that */
    uint32_t crashes, bad_loads; /* in a row */
    int64_t  suspect_ns; /* when one of its requests became a suspect last */
    bool     lacked;    /* its last worker could not get the memory that was planned */
    uint64_t extra_bytes; /* asked for beyond the plan because of that */
    bool     failed;    /* until retry_ns those who ask are refused */
    char     error[300];
    struct logfile log;
    uint64_t requests, failures, loads, n_crash;
    int64_t  load_ns;   /* the last load took */
    bool     touch;     /* used since the store was told */
    struct served *next;
};

struct pool_ticket {
    struct pool *pool;
    struct served *model;
    struct worker *worker; /* READY */
    struct spec *spec;     /* its model's, at that time */
    struct spec **fallback; /* of the model that was asked for; those from next_fallback on are left to try */
    size_t   n_fallback, next_fallback;
    struct http_waker *waker;
    uint64_t key, client, affinity, session, avoid, draw;
    uint32_t charges; /* workers of ours that may have died of it, in a row */
    int64_t charged_ns; /* the last time */
    uint64_t turn;   /* so many requests its worker had been given before */
    uint64_t *asked; /* workers that did not know what it is about (pool_elsewhere) */
    size_t   n_asked;
    int64_t entered_ns;
    enum pool_answer state;
    struct pool_fault fault;
    uint32_t tries;
    bool     suspect;  /* when its worker took it */
    bool     waiting;  /* in the model's list */
    struct pool_ticket *prev, *next;
};

/* What `corral plan` said of a file and the options that matter for its size; kept as long as the pool. */
struct plan {
    char *key;
    struct place_plan plan;
    status code; /* it cannot run that way: why */
    char   error[248];
    struct plan *next;
};

struct note { int64_t at_ms, elapsed_ns; char *model, *text, *json; const char *what; };
struct key_use { uint64_t key; uint32_t n; };

struct pool {
    struct pool_options o;
    char *program, *home, *run_dir;
    bool own_run_dir;
    json_t *defaults;
    pthread_mutex_t lock;
    pthread_t thread, checker;
    pthread_cond_t  check_cond;
    bool started, stopping, ended;
    int64_t stop_ns;
    int wake_fd;
    struct spec **added; /* pool_add */
    size_t n_added;
    char *default_model;
    struct served *model;
    uint64_t next_id, change, draws, lookups;
    bool check_now;
    struct key_use *key;
    size_t n_key;
    struct retry_budget retries;
    struct http_waker **watch;
    size_t n_watch;
    struct devices *devices, *own_devices;
    struct place_ledger *ledger;
    const struct place_strategy *strategy;
    int64_t observed_ns;
    struct plan *plan;
    struct note note[POOL_N_NOTE];
    size_t n_note;
    struct store_measures measured; /* that the store is to hear of */
    struct pool_counts counts;
};

void pool_wake(struct pool *p);
void pool_changed(struct pool *p); /* a state did: tell those who watch */
struct note *pool_note(struct pool *p, const char *what, const char *model, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* served.c */
struct served *served_find(struct pool *p, const char *name); /* NULL: nothing was asked of it yet */
struct served *served_named(struct pool *p, const char *text); /* as people write names; NULL: none */
struct served *served_of(struct pool *p, struct spec *s); /* makes it; takes s over,
                                                           * which is what it is now */
void     served_free(struct served *m);
uint32_t served_replicas(const struct served *m); /* workers of ours that it shall have when it is loaded */
int64_t  served_keep_alive(const struct pool *p, const struct served *m); /* ms; < 0: for ever */
enum pool_state served_state(const struct served *m, int64_t now);

/* ticket.c */
void tickets_dispatch(struct pool *p, struct served *m, int64_t now);
/* Everybody who waits for m; to its fallbacks where it has some. */
void tickets_refuse(struct pool *p, struct served *m, int code, uint32_t retry_after_s, const char *why);

/* advance.c: the thread's turn; returns when the next one is due at the latest */
int64_t pool_advance(struct pool *p, int64_t now);

/* worker.c */
struct worker *worker_new(struct pool *p, struct served *m);
void worker_free(struct worker *w);
/* PLANNING, and nothing but the pool's thread touches it: lets go of the lock while it asks. */
void worker_ask_store(struct pool *p, struct worker *w);
void worker_start(struct pool *p, struct worker *w, int64_t now);
void worker_drain(struct pool *p, struct worker *w, int64_t now); /* then it ends */
void worker_read_report(struct pool *p, struct worker *w, int64_t now);
/* What time makes of it: ended, stuck, drained, too slow to end. Next time to look. */
int64_t worker_watch(struct pool *p, struct worker *w, int64_t now);
bool worker_live(const struct worker *w); /* it serves, or will */
double worker_progress(const struct worker *w); /* of loading; < 0: not known */

/* It cannot be: it is gone, and unless others serve its model those who wait are refused, and it is not
 * tried again for a while. */
void worker_refuse(struct pool *p, struct worker *w, int code, const char *why, int64_t now);

/* plans.c */
void plan_advance(struct pool *p, struct worker *w, int64_t now); /* PLANNING: until its plans are there */
void plan_read(struct worker *w);                                 /* its planner has written something */
void plans_free(struct pool *p);

/* room.c */
status  room_open(struct pool *p, struct error *e);
void    room_close(struct pool *p);
int64_t room_advance(struct pool *p, int64_t now); /* WAITING and RESERVED: next time to look */
void    room_is_ready(struct pool *p, struct worker *w); /* it is loaded */
void    room_measure(struct pool *p, struct worker *w);  /* what it really took, once that is known */

/* worker.c: the status of that name, as status_name writes it; of others ERR_IO */
status code_named(const char *name);
/* view.c: a worker's phase as others see it */
enum pool_state phase_state(enum phase phase);

/* check.c */
void *check_run(void *pool);

#endif
