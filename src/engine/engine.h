/* The engine: sequences, a scheduler and one step loop on a thread of its own.
 *
 * engine_submit and engine_cancel may be called from any thread. Events of a request arrive on the engine
 * thread, in order, exactly one END last; the callback must be quick and must not call back into the engine. */
#ifndef CORRAL_ENGINE_H
#define CORRAL_ENGINE_H

#include "backend/backend.h"
#include "base/base.h"
#include "sample/sample.h"

struct engine;

struct engine_options {
    const struct backend_api *api;
    uint32_t   n_thread;    /* 0: all cores */
    uint32_t   max_context; /* tokens of one sequence; 0: what the model was trained with */
    uint32_t   max_seqs;    /* running at once; 0: 16 */
    uint32_t   max_queue;   /* waiting; 0: 256 */
    uint32_t   step_tokens; /* token budget of a step; 0: 256 */
    size_t     kv_bytes;    /* memory for the KV cache; 0: what max_seqs sequences need, at most a quarter of memory */
    enum dtype kv_type;     /* DT_F16 by default (0 is DT_F32: set it) */
    backend_progress progress;
    void      *progress_user;
};

enum finish_reason { FINISH_STOP, FINISH_LENGTH, FINISH_CONTEXT, FINISH_CANCELLED, FINISH_ERROR };
const char *finish_reason_name(enum finish_reason r); /* "stop", "length", ... */

struct engine_timing { /* ns */
    int64_t queue_ns, prefill_ns, decode_ns;
    uint32_t n_prompt, n_decode; /* tokens */
};
enum engine_event_kind { EV_TOKEN, EV_END };
struct engine_event {
    enum engine_event_kind kind;
    uint64_t id;
    const struct sample_result *token;  /* EV_TOKEN; valid during the call. End-of-generation tokens are not sent */
    enum finish_reason finish;          /* EV_END */
    const struct error *error;          /* EV_END with FINISH_ERROR */
    struct engine_timing timing;        /* EV_END */
};
typedef void (*engine_on_event)(void *user, const struct engine_event *ev);

struct engine_request {
    const int32_t *prompt; /* copied; n_prompt >= 1 */
    uint32_t       n_prompt;
    uint32_t       max_tokens; /* 0: until the context is full */
    struct sample_params params; /* lists copied. params.eog ends generation unless ignore_eos */
    engine_on_event on_event;
    void          *user;
};

/* Load the model's weights and start the thread. m outlives the engine. */
status engine_new(struct engine **out, const struct model_desc *m, const struct engine_options *o, struct error *e);
void   engine_free(struct engine *en); /* cancels what runs; every request still gets its END */
/* ERR_BUSY: the queue is full. ERR_LIMIT: the prompt does not fit the context (the message has both counts).
 * The id may be needed to cancel; events may arrive before submit returns. */
status engine_submit(struct engine *en, const struct engine_request *r, uint64_t *id, struct error *e);
void   engine_cancel(struct engine *en, uint64_t id); /* its END comes within one step; unknown ids are ignored */

struct engine_stats {
    uint32_t n_running, n_queued, n_kv_block, n_kv_free, max_context;
    uint64_t n_prompt_tokens, n_decode_tokens, n_steps;
    int64_t  last_step_ns; /* age of the last finished step while work is queued, else 0 */
};
void engine_stats(const struct engine *en, struct engine_stats *out); /* any thread */
const struct backend_plan *engine_plan(const struct engine *en);

#endif
