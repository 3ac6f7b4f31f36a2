/* What an answer may be: fields of requests (a schema, an expression, a grammar, ...) compiled to what the
 * engine asks for each token, and kept for the next request that wants the same.
 *
 * Three steps. constraint_field reads a field of a request into a spec. constraints_get has it compiled, on
 * a thread of the pool and not on the caller's (an HTTP loop must not wait), or takes it from the cache.
 * constraint_engine is what goes into engine_request.constraint.
 *
 * Threads: a struct constraint is immutable and counted, any thread may use it. constraints_get,
 * constraint_ref and constraint_unref may be called from any thread. `ready` is called on a thread of the
 * pool, without a lock held: it should only note the result and wake its loop. A spec belongs to its
 * request. */
#ifndef CORRAL_API_CONSTRAINT_H
#define CORRAL_API_CONSTRAINT_H

#include "base/buf.h"
#include "engine/engine.h"
#include "grammar/grammar.h"
#include "text/tokenizer.h"

struct json_t;

/* ---- what a request asks for ---- */

struct constraint_spec { /* zeroed: anything may be written */
    const char *kind;    /* of grammar.h; NULL: no constraint */
    const char *field;   /* which asked for it: the "param" of an error */
    struct buf text;     /* in the notation of its kind */
    struct grammar_options options;
};
void constraint_spec_deinit(struct constraint_spec *s);

/* The constraint that field `name` of a request asks for, whatever family it comes from:
 *   response_format (OpenAI; also output_format of Anthropic and text.format of Responses, to be given by
 *   that name), format (Ollama), grammar and json_schema (llama.cpp), structured_outputs and guided_* (vLLM).
 * null, "text" and the like leave s as it is. ERR_NOT_FOUND: no such field. ERR_ARG, ERR_UNSUPPORTED: answer
 * 400 with the message; also when a field before it asked for something else. */
status constraint_field(struct constraint_spec *s, const char *name, const struct json_t *value,
                        struct error *e);
/* The same by kind, for callers without such a field (tool calls). */
status constraint_from_text(struct constraint_spec *s, const char *kind, const char *text, size_t n,
                            struct error *e);

/* ---- compiled ---- */

struct constraints; /* the cache, its threads, and the vocabulary */
struct constraint;

struct constraints_options { /* zeros are fine */
    size_t max_bytes;    /* of compiled grammars and their masks;
                          * those least recently used go first; 0: 256 MiB */
    uint32_t n_thread;   /* 0: 2 */
    uint32_t max_queued; /* waiting to be compiled; 0: 256 */
};
/* tok is borrowed and must outlive the pool and every constraint; constraints may outlive the pool. */
status constraints_new(struct constraints **out, const struct tokenizer *tok,
                       const struct constraints_options *o, struct error *e);
void constraints_free(struct constraints *p); /* what still waits becomes ready with ERR_CANCELLED.
                                               * NULL is fine */

/* c is the receiver's (constraint_unref it), or NULL, and then e says why. */
typedef void (*constraint_ready)(void *user, struct constraint *c, const struct error *e);
/* OK with *out set: it was there already, `ready` is not called. OK with *out NULL: `ready` will be called
 * once, maybe before this returns. Otherwise it will not. ready NULL: wait for it here.
 * `ready` must not write where out points.
 * ERR_BUSY: too many wait (503). ERR_ARG, ERR_UNSUPPORTED, ERR_LIMIT: the message has the place, as a JSON
 * pointer into the schema or a line of the grammar (400). What failed once is remembered too. */
status constraints_get(struct constraints *p, const struct constraint_spec *s, struct constraint **out,
                       constraint_ready ready, void *user, struct error *e);
struct constraint *constraint_ref(struct constraint *c); /* returns c */
void constraint_unref(struct constraint *c);             /* NULL is fine */
/* What its schemas say and it does not enforce (options.lenient); "": nothing. Lives as long as c. */
const char *constraint_left_out(const struct constraint *c);
/* Valid until c is released; copies made by the engine hold their own reference. */
struct engine_constraint constraint_engine(const struct constraint *c);

struct constraints_stats {
    uint64_t n_hit, n_compiled, n_failed, n_evicted;
    uint32_t n_kept, n_queued;
    size_t bytes;
};
void constraints_stats(struct constraints *p, struct constraints_stats *out);

#endif
