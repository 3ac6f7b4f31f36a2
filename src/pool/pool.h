/* Models and the workers that run them: who is loaded where, who comes next, and which worker a request
 * goes to.
 *
 * A model is a name of the store (or of pool_add) with the options it has there. A worker is a process
 * `corral worker` on a Unix socket, or a server elsewhere. One thread, the pool's, spawns, watches, places,
 * drains and ends workers; another asks them once a second how they are. All functions here may be called
 * from any thread; they take one lock, and wait for nothing but that. A request holds a ticket from
 * pool_enter to pool_leave; while it does, its worker is not ended but by the deadline of a drain.
 *
 *   cold -> planning -> queued (waits for room) -> loading -> ready -> draining -> cold
 *                                                     \-> failed (until its back-off is over)
 *
 * A load that fails for a reason that will not go away (no such file, no model) refuses those who wait at
 * once; a crash is tried again, later each time. */
#ifndef CORRAL_POOL_H
#define CORRAL_POOL_H

#include "http/http.h"
#include "place/place.h"
#include "pool/route.h"

struct pool;
struct store;
struct devices;

struct pool_options {
    struct store   *store;    /* borrowed; NULL: only what pool_add names */
    struct devices *devices;  /* borrowed; NULL: the host's memory only, asked from the system */
    const char *program;      /* of workers; NULL: this one */
    const char *home;         /* logs are in home/logs */
    const char *run_dir;      /* sockets; NULL: a new folder in $XDG_RUNTIME_DIR, or in home/run */
    const char *defaults;     /* JSON: options of all models, where they have none of their own; NULL: none */
    const char *const *worker_arg; /* flags that every `corral worker` gets: "--step-tokens", "64", ... */
    size_t      n_worker_arg;
    const char *placement;    /* place_strategy_find; NULL: the default */
    enum route_strategy balance; /* of models that set none */
    uint32_t max_models;      /* loaded at once; 0: as many as have room */
    uint32_t max_waiting;     /* requests that wait for one model; 0: 1024. More are refused with 429 */
    uint32_t max_per_key;     /* requests under way with one API key; 0: no limit */
    int64_t  keep_alive_ms;   /* of models that set none: unloaded unused; < 0: never; 0: 5 minutes */
    uint64_t gpu_reserve_bytes, host_reserve_bytes; /* never given away; 0: 512 MiB, 1 GiB */
    uint64_t worker_memory_bytes; /* of a worker process, not counting mapped files; 0: no limit */
    /* All in ms; 0: the default that stands there. */
    uint32_t check_ms;    /* 1000: between two questions how a worker is */
    uint32_t hang_ms;     /* 120000: no step while work waits, or no answer: a worker is ended */
    uint32_t stall_ms;    /* 600000: loading without progress */
    uint32_t backoff_ms, backoff_max_ms; /* 500, 60000: after a crash; doubles each time */
    uint32_t drain_ms;    /* 30000: for requests of a worker that is to end */
    uint32_t term_ms;     /* 10000: between SIGTERM and SIGKILL */
    uint32_t turn_ms;     /* 10000: how long a model that is used may keep another waiting */
    uint32_t plan_ms;     /* 60000: for `corral plan` */
};

status pool_new(struct pool **out, const struct pool_options *o, struct error *e);
/* A model beside the store's: path is what a worker opens ("demo": the model inside the program). options:
 * JSON as of store_set_options, NULL: none. The first one is what requests without a name get (see
 * pool_set_default). */
status pool_add(struct pool *p, const char *name, const char *path, const char *options, struct error *e);
void   pool_set_default(struct pool *p, const char *name);
/* Models of the store whose options say preload are loaded from now on. */
status pool_start(struct pool *p, struct error *e);
/* No request gets in any more (503); those under way have drain_ms, then every worker is ended. Returns
 * when all are. */
void   pool_stop(struct pool *p, uint32_t drain_ms);
void   pool_free(struct pool *p); /* stopped, no ticket held; NULL is fine */

/* ---- a request's way in ------------------------------------------------------------------------------ */

enum { POOL_KEEP_UNSET = INT32_MIN };
struct pool_want { /* copied */
    const char *model;    /* as the client says it; NULL or "": the default */
    const char *key;      /* the API key; NULL: none */
    const char *client;   /* the client's address; NULL: not known */
    uint64_t affinity;    /* route_hash of the prompt's beginning; 0: none */
    uint64_t session;     /* route_hash of the conversation's name; 0: none */
    int32_t  keep_alive_s; /* from now on for this model; < 0: for ever; POOL_KEEP_UNSET: as it is */
};
struct pool_ticket;
enum pool_answer { POOL_WAIT, POOL_READY, POOL_REFUSED };
struct pool_route { /* text lives until pool_leave or pool_again */
    /* POOL_READY */
    const char *unix_path; /* connect there, or */
    const char *url;       /* "http://host:port", without the path */
    const char *api_key;   /* of that server; NULL: none */
    const char *model;     /* the model's real name */
    const char *options;   /* its options, JSON, with the server's defaults */
    uint64_t worker;
    uint32_t generation;   /* of the model; another one may answer otherwise */
    bool     remote;       /* not a worker of ours: no journal, no replay */
    /* POOL_WAIT */
    const char *state;     /* "queued", "loading", ... */
    double   progress;     /* of loading, 0 .. 1; < 0: not known */
    char     text[160];    /* for people: "llama3 is being loaded (42 %)" */
};
struct pool_fault { int code; uint32_t retry_after_s; /* 0: none */ char msg[320]; };
enum pool_failed { POOL_OK, POOL_FAILED_REFUSED /* no connection */, POOL_FAILED_CUT, POOL_FAILED_TIMEOUT,
                   POOL_FAILED_CLIENT /* the client went */ };
struct pool_outcome {
    int      status;   /* of the worker's answer; 0: none came */
    int64_t  first_us; /* until its first byte; 0: none came */
    uint64_t bytes;
    enum pool_failed failed;
    bool     moved;    /* the client has a part of this answer */
};

/* Never NULL. waker (borrowed until pool_leave; NULL: polled only) is fired when pool_poll may say
 * something new. */
struct pool_ticket *pool_enter(struct pool *p, const struct pool_want *w, struct http_waker *waker);
enum pool_answer pool_poll(struct pool_ticket *t, struct pool_route *out, struct pool_fault *f);
/* The worker failed before anything was streamed, or the stream is to be resumed: elsewhere, or on the same
 * model's next worker. Then poll again; refused when the model cannot be brought back, or too much is
 * repeated already. False: the worker had not come to this request, which cannot be why it died. */
bool pool_again(struct pool_ticket *t, const struct pool_outcome *how);
/* What was asked again begins to be answered: it is not what workers die of. */
void pool_moved(struct pool_ticket *t);
/* This worker does not remember what the request is about: another of the model's may, poll again. False:
 * all have been asked, and nothing has changed. */
bool pool_elsewhere(struct pool_ticket *t, const struct pool_outcome *how);
void pool_leave(struct pool_ticket *t, const struct pool_outcome *how); /* always, at the end; t is gone */

/* ---- by hand ----------------------------------------------------------------------------------------- */

/* These start what they name and return; pool_view_new shows how it goes. ERR_NOT_FOUND: no such model. */
status pool_load(struct pool *p, const char *model, struct error *e);
status pool_unload(struct pool *p, const char *model, struct error *e);
/* Its file or options have changed: new workers beside the old ones where memory allows, else in their
 * place, one after the other. A model that is not loaded stays so. */
status pool_reload(struct pool *p, const char *model, struct error *e);
void   pool_unload_all(struct pool *p);
/* The file of home/logs that has what a model's workers wrote to stderr; path.1 is the older part. */
void   pool_log_path(const struct pool *p, const char *model, char *out, size_t cap);

/* Fire when a model's state changes, until unwatched. Borrowed. */
void pool_watch(struct pool *p, struct http_waker *w);
void pool_unwatch(struct pool *p, struct http_waker *w);

/* ---- what is there ----------------------------------------------------------------------------------- */

enum pool_state {
    POOL_COLD, POOL_PLANNING, POOL_QUEUED, POOL_LOADING, POOL_RUNNING, POOL_DRAINING, POOL_FAILED
};
const char *pool_state_name(enum pool_state s); /* "cold", ..., "ready", ... */

struct pool_share { /* of a device */
    const char *uuid;
    uint64_t bytes, predicted_bytes, actual_bytes; /* bytes: as the ledger has it now;
                                                    * actual_bytes 0: not known */
    uint32_t n_layer; /* in the order of the shares */
};
struct pool_model_view {
    const char *name, *path, *error; /* error: why it failed last; "": it did not */
    const char *options;             /* JSON */
    enum pool_state state;
    double   progress;       /* loading; else < 0 */
    uint32_t version, generation, n_worker, n_ready, context, parallel;
    uint32_t n_running, n_waiting; /* requests with a worker; without one yet */
    uint64_t bytes;          /* of all its workers, on all devices */
    int64_t  loaded_ms, used_ms, expires_ms; /* since 1970; 0: not, never */
    uint64_t requests, failures, loads, crashes;
    double   load_s;         /* the last one took */
    bool     in_store;
};
struct pool_worker_view {
    uint64_t id;
    const char *model, *unix_path, *url, *backend, *error; /* unix_path and url: "" when it is not that */
    enum pool_state state;
    int      pid;            /* 0: remote */
    uint32_t generation, in_flight, running, queued, context, parallel;
    double   last_step_age_s, latency_ms, progress;
    bool     healthy;        /* it answered the last question */
    enum breaker_state breaker;
    int64_t  started_ms, ready_ms, answered_ms;
    uint64_t requests, failures;
    uint64_t predicted_bytes, actual_bytes; /* 0: not known */
    uint64_t locked_bytes;   /* of the host's memory, when it was ready */
    const struct pool_share *share;
    uint32_t n_share;
};
struct pool_decision_view { /* newest first */
    int64_t at_ms, elapsed_ns;
    const char *model, *what /* "load", "evict", "refuse", "unload", "restart", "reload" */, *text;
    const char *json; /* of a placement, see place_decision_json; "" otherwise */
};
struct pool_counts {
    uint64_t requests, refused, retries, loads, load_failures, evictions, expirations;
    uint64_t crashes, hangs, reloads, placements;
    int64_t  place_ns, place_max_ns; /* of all decisions together; the longest */
};
struct pool_device_view {
    const char *uuid, *name, *json; /* place_device_json */
    struct place_device state;
};
struct pool_view { /* immutable; text in it belongs to it */
    struct pool_model_view *model;
    struct pool_worker_view *worker;
    struct pool_decision_view *decision;
    struct pool_device_view *device;
    size_t n_model, n_worker, n_decision, n_device;
    struct pool_counts counts;
    uint64_t change;  /* grows when a state changes */
    bool draining;
    const char *default_model; /* "": none */
    char **own; /* the text */
    size_t n_own;
};
/* Models that were named to pool_add, are in use or were; the store lists all there are. */
struct pool_view *pool_view_new(struct pool *p);
void pool_view_free(struct pool_view *v);

#endif
