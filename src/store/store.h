/* What Corral knows and keeps: names of models, their versions, files and options, aliases, jobs, and how
 * large loaded models turned out to be. An SQLite database, $CORRAL_HOME/corral.db, beside the files it
 * speaks of.
 *
 * One process owns a home at a time (a lock on $CORRAL_HOME/corral.lock), through one connection behind
 * one mutex: SQLite before 3.51.3 can damage a database in WAL mode that two connections checkpoint. All
 * functions may be called from any thread and are quick: nothing waits for the disk but a checkpoint
 * every 16 MiB of changes. After a power cut the last changes may be missing, never half there.
 *
 * Text in results belongs to the result and goes with its _deinit; a zeroed result may be deinited. NULL
 * and "" mean the same in what is given, results never have NULL. Times are milliseconds since 1970. */
#ifndef CORRAL_STORE_H
#define CORRAL_STORE_H

#include <jansson.h>

#include "base/base.h"

struct store;
enum {
    STORE_NAME_MAX = 256,   /* with the NUL */
    STORE_DIGEST_MAX = 72,  /* "sha256:" and 64 hexadecimal digits, with the NUL */
    STORE_JSON_MAX = 1 << 20, /* options, facts, requests and details of jobs are no longer than this */
};

/* home is made where it is missing. ERR_BUSY: another process owns it, its pid is in the message. */
status store_open(struct store **out, const char *home, struct error *e);
void store_close(struct store *s); /* NULL is fine */
const char *store_home(const struct store *s);
/* Another process is to have the home: everything is ERR_BUSY from now on. store_take_back: unless it has it
 * now. */
void store_lend(struct store *s);
status store_take_back(struct store *s, struct error *e);

/* ---- names ---- */

/* The one spelling of a name: lower case, with its tag: "Qwen3" -> "qwen3:latest", "hf.co/Org/Repo:Q4_K_M"
 * -> "hf.co/org/repo:q4_k_m". Up to four parts, the first may be a host with a port; parts and tag are
 * letters, digits and . _ - + and begin with a letter or digit. ERR_ARG: no name (a path, a reference with
 * a scheme, ...). */
status store_name(char out[STORE_NAME_MAX], const char *text, struct error *e);
/* The same without ":latest", as people write it. */
void store_name_short(char out[STORE_NAME_MAX], const char *name);

/* ---- models ---- */

struct store_model {
    char *name;      /* as store_name says it */
    uint32_t version;
    bool current;    /* the version that the name means */
    char *path;      /* what a worker opens: a file, for many files the first; "" for a remote model */
    char *digest;    /* "sha256:..." of the file, or of the list of files; "" as long as nobody computed it */
    uint64_t bytes;
    bool owned;      /* made of blobs, which go with their last name; else somebody's, used in place */
    bool found;      /* of a file that lay in $CORRAL_HOME/models: listed as long as it lies there */
    int64_t created_ms, used_ms; /* used_ms 0: never */
    char *source;    /* where it came from, as `pull` took it: "hf:org/repo:Q4_K_M"; a remote model's URL */
    char *facts;     /* JSON of `corral inspect`; "{}" as long as nobody looked */
    char *options;   /* JSON, of the name (all versions); see store_settings */
};
void store_model_deinit(struct store_model *m);
struct store_models {
    struct store_model *item;
    size_t n;
};
void store_models_deinit(struct store_models *list);

/* What text means: a name, an alias, the source or the path of a model; the current version. An existing
 * name goes before an alias. ERR_NOT_FOUND says what to do, and names the nearest. */
status store_get(struct store *s, const char *text, struct store_model *out, struct error *e);
/* All names, their current versions, by name. Looks into $CORRAL_HOME/models for *.gguf files. */
status store_list(struct store *s, struct store_models *out, struct error *e);
/* All versions of a name, newest first. */
status store_versions(struct store *s, const char *name, struct store_models *out, struct error *e);

struct store_file { /* a part of a model, which is a blob */
    const char *name; /* "model-00001-of-00002.gguf": no folders */
    const char *digest;
};
struct store_entry {
    const char *name;
    const char *path;              /* a file used in place, or */
    const struct store_file *file; /* blobs, which must be there; neither: source is a remote model's URL */
    size_t n_file;
    const char *source;
    const char *facts;   /* NULL: "{}" */
    const char *options; /* NULL: as the name has them, or "{}" */
    const char *digest;  /* of path, if known */
};
/* A new version of entry->name, which is then the current one; the same files as the current version's
 * make no new one. Many files are put together in a folder of links. out may be NULL. */
status store_put(struct store *s, const struct store_entry *entry, struct store_model *out, struct error *e);
/* The current version of from, and its options, as a new version of to. */
status store_copy(struct store *s, const char *from, const char *to, struct error *e);
/* Remove a name with all versions, or one of them (the newest left becomes current); blobs that nobody
 * needs any more go too. digest: remove only what has this digest (ERR_ARG otherwise); NULL: whatever it
 * is. freed_bytes may be NULL. Not a file that was found in $CORRAL_HOME/models: that is removed by
 * removing the file. */
status store_remove(struct store *s, const char *name, uint32_t version_or_0, const char *digest,
                    uint64_t *freed_bytes, struct error *e);
/* Make another version current; 0: the newest that is older than the current one. */
status store_rollback(struct store *s, const char *name, uint32_t version_or_0, struct error *e);
/* Facts of a version, a JSON object. 0: the current one. */
status store_set_facts(struct store *s, const char *name, uint32_t version_or_0, const char *json,
                       struct error *e);
/* Read the files of the current version and compare them with their digests; a file used in place gets the
 * digest that it has, when it had none. cancel may be NULL. ERR_FORMAT: damaged. Takes seconds; locks
 * nothing. */
status store_verify(struct store *s, const char *name, bool (*cancel)(void *user), void *user,
                    struct error *e);
/* Somebody used it now. Names that are not there are no error. */
void store_touch(struct store *s, const char *name);

/* ---- options of a name ---- */

/* Change options: members of json replace those there are, null takes one away. replace: all others go. */
status store_set_options(struct store *s, const char *name, const char *json, bool replace, struct error *e);

/* Options, read. Text and JSON in here belong to `all`. */
struct store_settings {
    json_t *all;
    /* 0: as the server has it */
    int64_t context, parallel, threads, concurrency, replicas, kv_bytes, max_devices;
    const char *kv_type, *backend, *strategy, *balance;        /* NULL: as the server has it */
    const char *draft;          /* path or name of a model that drafts */
    const char *chat_template;  /* path of a file */
    const char *system;         /* prompt for requests that bring none */
    const char *upstream_key;   /* for remote models */
    int64_t keep_alive_ms;      /* STORE_UNSET: as the server has it; -1: for ever; 0: unload when idle */
    bool pinned;                /* never evicted for another */
    bool preload;
    bool allow_cpu;             /* true if nothing is said */
    bool mmap;                  /* the same */
    bool mlock;
    const json_t *gpus;         /* ["GPU-uuid", ...]; NULL, as all below: not set */
    const json_t *defaults;     /* {field: value} for requests that do not say */
    const json_t *set;          /* {field: value} for all requests */
    const json_t *strip;        /* [field, ...] taken out of requests */
    const json_t *fallbacks;    /* [name, ...] when this one fails */
    const json_t *split;        /* {name: weight}: requests go to these instead */
    const json_t *upstreams;    /* [url, ...] besides or instead of workers of ours */
};
#define STORE_UNSET INT64_MIN
/* Read and check; an unknown option is an error that names the nearest. json NULL or "": all unset. */
status store_settings_read(struct store_settings *out, const char *json, struct error *e);
void store_settings_deinit(struct store_settings *o);
struct store_option { /* for help texts */
    const char *name, *help;
};
const struct store_option *store_option_at(size_t i); /* NULL: there are no more */

/* ---- aliases ---- */

/* Three layers, the first that knows a name wins: those set here, those of $CORRAL_HOME/aliases.json
 * ({"name": "target"}, read again when it changed), ours. A target is a name, another alias, or a reference
 * that `pull` understands. */
struct store_alias {
    char *name, *target; /* the name without ":latest" */
    const char *layer;   /* "set", "file", "default" */
};
struct store_aliases {
    struct store_alias *item;
    size_t n;
};
/* ERR_ARG: a cycle, or a model has that name. */
status store_alias_set(struct store *s, const char *name, const char *target, struct error *e);
status store_alias_remove(struct store *s, const char *name, struct error *e); /* of the first layer */
status store_alias_list(struct store *s, struct store_aliases *out, struct error *e);
void store_aliases_deinit(struct store_aliases *list);
/* What text stands for after all aliases, in a buffer of the caller's; text itself when it is none. For
 * `pull`. */
status store_resolve(struct store *s, const char *text, char *out, size_t cap, struct error *e);

/* ---- blobs ---- */

/* Digests are "sha256:HEX" (or "sha256-HEX"), lower case. The path of one:
 * $CORRAL_HOME/models/blobs/sha256-HEX. ERR_NOT_FOUND: there is none yet, and path says where it would
 * lie. path may be NULL. */
status store_blob_path(struct store *s, const char *digest, char *path, size_t cap, struct error *e);
/* Move a file of the same file system in, under its digest. check: compute the digest first (ERR_FORMAT:
 * another one). It stays, also without a name, until store_sweep, or until
 * another model with the same blob is removed: then store_put says ERR_NOT_FOUND. Waits for the disk. */
status store_blob_add(struct store *s, const char *file, const char *digest, bool check, struct error *e);
/* sha256 of a file, without the store. cancel (may be NULL) is asked between pieces: ERR_CANCELLED. */
status store_digest_file(const char *path, char out[STORE_DIGEST_MAX], bool (*cancel)(void *user), void *user,
                         struct error *e);
/* Remove blobs that no version refers to, and uploads that nobody ended, when nobody touched them for so
 * long. */
status store_sweep(struct store *s, int64_t older_than_s, uint64_t *freed_bytes, struct error *e);

/* ---- jobs ---- */

enum store_job_status {
    STORE_JOB_QUEUED,
    STORE_JOB_RUNNING,
    STORE_JOB_COMPLETED,
    STORE_JOB_FAILED,
    STORE_JOB_CANCELLED,
    STORE_JOB_STATES
};
const char *store_job_status_name(enum store_job_status st); /* "queued", ... */

struct store_job {
    int64_t id;      /* 1, 2, ... never used again */
    char *kind;      /* "pull", ... */
    char *model;     /* what it is about, as it was asked for */
    char *request;   /* JSON: all that is needed to begin again */
    enum store_job_status status;
    int64_t created_ms, started_ms, updated_ms, finished_ms; /* 0: not yet */
    uint64_t bytes, total; /* total 0: not known */
    uint32_t attempts;     /* how often it was begun */
    char *error;     /* why it failed */
    char *detail;    /* JSON, of its kind */
    char *owner;     /* who runs it */
};
void store_job_deinit(struct store_job *j);
struct store_jobs {
    struct store_job *item;
    size_t n;
};
void store_jobs_deinit(struct store_jobs *list);

/* At open, jobs that were running are queued again: their owner is gone. */
status store_job_add(struct store *s, const char *kind, const char *model, const char *request, int64_t *id,
                     struct error *e);
status store_job_get(struct store *s, int64_t id, struct store_job *out, struct error *e);
struct store_job_filter { /* zeros: no condition */
    const char *status;   /* one or more names with commas: "queued,running" */
    const char *kind, *model;
    int64_t since_ms;     /* created then or later */
    int64_t before_id;    /* older than this one, for the next page */
    uint32_t limit;       /* 0: 100; at most 10000 */
};
status store_job_list(struct store *s, const struct store_job_filter *filter, struct store_jobs *out,
                      struct error *e); /* newest first */
struct store_job_change {
    enum store_job_status status;
    uint64_t bytes, total;
    const char *error, *detail; /* NULL: as they are */
};
/* A finished job never changes again: ERR_ARG. */
status store_job_update(struct store *s, int64_t id, const struct store_job_change *change, struct error *e);
/* The oldest queued job of this kind is owner's now and running. ERR_NOT_FOUND: none is queued. */
status store_job_claim(struct store *s, const char *kind, const char *owner, struct store_job *out,
                       struct error *e);

/* ---- calibration ---- */

struct store_measure {
    const char *digest;
    const char *options; /* whatever tells two loads apart: "ctx=8192 parallel=4 kv=f16" */
    const char *device, *driver;
    uint64_t predicted_bytes, actual_bytes;
    int64_t at_ms;
};
struct store_measures {
    struct store_measure *item;
    size_t n;
};
void store_measures_deinit(struct store_measures *list);
/* The latest one of the same four words takes the place of the one before. */
status store_measure_add(struct store *s, const struct store_measure *m, struct error *e);
/* NULL: any. Newest first, at most 1000. */
status store_measure_list(struct store *s, const char *digest, const char *device, struct store_measures *out,
                          struct error *e);

#endif
