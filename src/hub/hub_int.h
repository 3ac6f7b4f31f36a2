/* What the files of src/hub share: the session of one job with a source, small things about files. */
#ifndef CORRAL_HUB_INT_H
#define CORRAL_HUB_INT_H

#include <stdatomic.h>

#include "base/buf.h"
#include "http/client.h"
#include "hub/hub.h"

/* ---- header fields of a request ------------------------------------------------------------------------ */

enum { HUB_MAX_FIELDS = 8 };
struct hub_fields { /* a zeroed one is ready */
    size_t n;
    struct http_header at[HUB_MAX_FIELDS];
};
void hub_fields_add(struct hub_fields *f, const char *name, const char *value); /* copies both */
void hub_fields_deinit(struct hub_fields *f);

/* ---- a session: one job's talk with a source, on its thread -------------------------------------------- */

struct hub_session {
    const struct hub_config *config;
    struct http_client *client;
    const atomic_bool  *cancel; /* somebody wants it to end; NULL: nobody can */
    char               *bearer; /* HUB_OLLAMA: what the registry gave us to read with */
};
void hub_session_deinit(struct hub_session *s);
bool hub_cancelled(const struct hub_session *s);

struct hub_source {
    /* Which files; asks the source. */
    status (*plan)(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e);
    /* Fields for a GET of this URL; NULL: none. Asked for every request: signatures have a date. */
    void (*fields)(const struct hub_session *s, const char *url, struct hub_fields *out);
    /* What an answer of an error's code means here, and what to do about it. OK: nothing special. */
    status (*explain)(struct hub_session *s, const struct hub_ref *ref, const struct http_answer *a,
                      struct error *e);
    uint32_t max_redirects;
};
extern const struct hub_source hub_hf, hub_ollama, hub_s3, hub_http, hub_local;
const struct hub_source *hub_source_of(enum hub_kind kind);
status hub_plan(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e);

/* An answer as a whole, asked for again while that is worth it. Any code that is not worth it is OK. */
status hub_get(struct hub_session *s, const char *url, const struct hub_fields *fields, size_t max_bytes,
               uint32_t max_redirects, struct http_answer *out, struct error *e);
/* The error that an answer of such a code is. */
status hub_refused(struct hub_session *s, const struct hub_source *source, const struct hub_ref *ref,
                   const struct http_answer *a, const char *url, struct error *e);
void   hub_keep_head(struct buf *head, const struct http_call *c); /* as in struct http_answer */
/* What all calls to sources have in common. */
void hub_call_options(const struct hub_config *c, struct http_call_options *o);

/* ---- again, or not (retry.c) --------------------------------------------------------------------------- */

/* Could it go better another time? redirected: the answer is not from the place that was asked. */
bool     hub_retry_is_worth(enum http_cause cause, int code, bool redirected);
/* How long to wait before try number `tries` (1: the second one): doubled each time, with jitter, and no
 * shorter than Retry-After says (NULL: it does not). */
uint32_t hub_retry_wait_ms(const struct hub_config *c, uint32_t tries, const char *retry_after,
                           double random);

/* ---- files ------------------------------------------------------------------------------------------- */

#define HUB_SPLIT_LENGTH 15 /* of "-00001-of-00005" */

bool hub_is_gguf(const char *path);
/* Does a name of n characters without its suffix end in -00001-of-00005? The number, from 1, of how many. */
bool hub_split_part(const char *s, size_t n, uint32_t *part, uint32_t *of);
bool hub_path_is_safe(const char *path); /* relative, of plain parts: it stays below its folder */
bool hub_digest_is_good(const char *digest); /* "sha256:" or "git:" and as many digits as belong to it */
/* Adds a file; takes url; a digest that is not good counts as none. ERR_FORMAT: its path is not safe. */
status hub_plan_add(struct hub_plan *p, const char *path, char *url, uint64_t bytes, const char *digest,
                    struct error *e);
/* What one URL stands for: a file named like the model, or all parts of a split one. */
status hub_plan_url(struct hub_plan *p, const char *url, const char *model, struct error *e);
/* Leaves of the files of a repository those that make a model: the GGUF (with all its parts) of that name or
 * quantization, or a safetensors model. Both may be NULL. */
status hub_choose(struct hub_plan *p, const char *file, const char *tag, struct error *e);

/* Percent-encoded as a path: '/' stays. */
void hub_add_path(struct buf *b, const char *s);
void hub_add_query(struct buf *b, const char *s); /* '/' does not */
bool hub_same_origin(const char *a, const char *b);

/* "4.2 GB" */
const char *hub_size(char out[24], uint64_t bytes);
/* Lower-case hexadecimal digits of n bytes, NUL-terminated. */
void hub_hex(char *out, const void *p, size_t n);
void hub_sha256_hex(char out[65], const void *p, size_t n);

#endif
