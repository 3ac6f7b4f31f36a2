/* The engine: sequences, a scheduler and one step loop on a thread of its own.
 *
 * engine_submit and engine_cancel may be called from any thread. Events of a request arrive on the engine
 * thread, in order, exactly one END last; the callback must be quick and must not call back into the engine.
 *
 * What a request answers depends on itself alone: not on what runs beside it, on how its prompt was cut into
 * steps, on what the prefix cache had, on preemption or speculation (cpu, ref, and GPUs with the option). */
#ifndef CORRAL_ENGINE_H
#define CORRAL_ENGINE_H

#include "backend/backend.h"
#include "base/base.h"
#include "sample/sample.h"

struct engine;

struct engine_options {
    const struct backend_api *api;
    int32_t    device;      /* of api, or */
    const struct backend_share *share; /* n_share devices, for backend_split; read by engine_new */
    uint32_t   n_share;
    uint32_t   n_thread;    /* 0: all cores */
    uint32_t   max_context; /* tokens of one sequence; 0: what the model was trained with */
    uint32_t   max_seqs;    /* running at once; 0: 16 */
    uint32_t   max_queue;   /* waiting; 0: 256 */
    uint32_t   step_tokens; /* token budget of a step; 0: 256 */
    size_t     kv_bytes;    /* memory for the KV cache; 0: what max_seqs sequences need, at most a quarter of
                               the machine's memory, or what is free of a device's own */
    enum dtype kv_type;     /* DT_F16 by default (0 is DT_F32: set it) */
    bool       deterministic; /* GPUs: answers do not depend on what runs beside them; slower */
    struct backend_host host; /* of weights that stay in the host's memory */
    backend_progress progress;
    void      *progress_user;
    bool       no_prefix_cache; /* no request uses or feeds the prefixes of others */
    bool       no_step_ahead;   /* the next step is not planned before
                                 * this one has come back, where it can be */
    uint32_t   max_draft;   /* speculation: guesses per step and sequence at most; 0: off */
    const struct model_desc *draft; /* a small model of the same vocabulary that guesses too, with max_draft;
                                     * outlives the engine. NULL: none */
    double     draft_price; /* take this for the cost of a guess (see engine/draft.h) instead of
                             * measuring it; 0: measure */
    int64_t    target_ns;   /* between the tokens of an answer: prompts computed beside it are cut
                             * accordingly; 0: 250 ms, < 0: no matter */
    int64_t    age_ns;      /* a request rises by one priority after waiting this long; 0: 10 s, < 0: never */
    int64_t    queue_timeout_ns, first_timeout_ns, total_timeout_ns; /* of requests that set none;
                                                                      * 0: no limit */
    /* The device is lost: a step ended with ERR_DEVICE, and so will all others. Its requests have been
     * answered. Once, on the engine's thread; NULL: nobody asks. */
    void     (*on_lost)(void *user, const struct error *why);
    void      *lost_user;
    int64_t    keep_alive_ns; /* weights and KV memory are given back
                               * after this long without work; 0: never */
};

enum finish_reason {
    FINISH_STOP, FINISH_LENGTH, FINISH_CONTEXT, FINISH_CANCELLED, FINISH_ERROR, FINISH_TIMEOUT
};
enum { N_FINISH_REASON = FINISH_TIMEOUT + 1 };
const char *finish_reason_name(enum finish_reason r); /* "stop", "length", ... */

struct engine_timing { /* ns */
    int64_t queue_ns, prefill_ns, decode_ns;
    uint32_t n_prompt, n_decode; /* tokens; of the answer those drawn here */
    uint32_t n_cached;           /* of the prompt, taken from the prefix cache */
    const char *cache_miss;      /* why not more: "none", "too short", "new", "differs", "evicted", "off" */
    uint32_t n_draft, n_draft_right; /* tokens guessed, and of those right */
    uint32_t n_predicted, n_predicted_right; /* the same of those that were the request's prediction */
    uint32_t n_preempted;        /* how often its blocks were taken away */
    uint32_t n_unsent;           /* with best_of, of the first choice: tokens of those that were not sent */
};
enum engine_event_kind { EV_TOKEN, EV_VECTOR, EV_END, EV_PROMPT };
struct engine_event {
    enum engine_event_kind kind;
    uint64_t id;
    const struct sample_result *token;  /* EV_TOKEN, EV_PROMPT; valid during the call.
                                         * End-of-generation tokens are not sent */
    const float *vector;                /* EV_VECTOR: n_row vectors of n_vector numbers;
                                         * valid during the call */
    uint32_t n_vector, n_row;
    uint32_t row_at;                    /* with POOLING_NONE: the first row's token;
                                         * all come in order, in several events */
    enum finish_reason finish;          /* EV_END */
    const struct error *error;          /* EV_END with FINISH_ERROR or FINISH_TIMEOUT */
    struct engine_timing timing;        /* EV_END */
    uint32_t choice;                    /* 0 .. n - 1 */
};
typedef void (*engine_on_event)(void *user, const struct engine_event *ev);

/* What may come next: the state of a grammar, say. engine_submit calls clone; the rest is called by one
 * thread at a time: the engine's, and for mask one beside it, so masks of several states may be computed at
 * once. */
struct engine_constraint {
    const void *state;                             /* at the beginning of the answer; stays the caller's */
    void *(*clone)(const void *state);             /* one for each choice */
    void  (*free)(void *state);
    void  (*mask)(void *state, uint32_t *bits);    /* set the bit of each token that
                                                    * may come, ends of generation too */
    bool  (*accept)(void *state, int32_t token);   /* it was drawn; false ends the request with an error */
    /* tokens, one after the other, that the mask leaves alone: guesses that are right. NULL: unknown */
    uint32_t (*forced)(void *state, int32_t *out, uint32_t most);
};

/* EMBED: one vector of n_embd numbers for the prompt (POOLING_NONE: one for each token). RANK: what the head
 * of a reranking model says of it, n_rank numbers; vector[0] is the score (more than one: probabilities).
 * Both end with FINISH_STOP and look at prompt, callback, priority, tenant, cache and time limits only; n is
 * 1. */
enum engine_task { ENGINE_GENERATE, ENGINE_EMBED, ENGINE_RANK };

struct engine_request {
    const int32_t *prompt; /* copied; n_prompt >= 1 */
    uint32_t       n_prompt;
    enum engine_task task;
    enum pooling   pooling;   /* EMBED; POOLING_UNSET: what the model's file says, or the last token */
    bool           normalize; /* EMBED: vectors of length 1 */
    uint32_t       max_tokens; /* 0: until the context is full */
    struct sample_params params; /* lists copied. params.eog ends generation unless ignore_eos */
    engine_on_event on_event;
    void          *user;
    uint32_t       n;         /* choices of one prompt, which is computed once; 0: one. Choice i has the id
                               * of the request plus i, params.choice plus i, and an END of its own */
    uint32_t       best_of;   /* more than n: so many are generated, and the n with the highest mean
                               * log-probability of their tokens are sent, in that order, when all have
                               * ended. Cancelling one cancels all */
    const int32_t *given;     /* copied: the beginning of the answer, which this request drew elsewhere or
                               * before. It goes on behind it as if it had been drawn here, without events
                               * for it; n is 1 */
    uint32_t       n_given;
    double         learned;   /* sample_result.learned of the last of them */
    bool           score_prompt; /* an EV_PROMPT for each token of the prompt but the first, before the
                                  * answer: what the model says of it (params.n_logprobs), for all choices.
                                  * The prefix cache is not used */
    int32_t        priority;  /* -8 .. 7, lower is more urgent; 0 is normal */
    uint64_t       tenant;    /* who shares fairly with whom */
    uint64_t       cache_salt; /* prefixes are shared among equal salts only */
    uint8_t        cache_class; /* enum kv_class: what stays longest in the cache */
    bool           no_cache;
    bool           no_draft;
    const int32_t *prediction; /* copied: what the answer may be, wholly or in parts, e.g. the file that it
                                * rewrites. It makes the answer faster where it is right and never
                                * different; needs max_draft */
    uint32_t       n_prediction;
    const struct engine_constraint *constraint; /* NULL, or copied */
    /* From submission until it starts, has its first token, ends; 0: the engine's, < 0: no limit */
    int64_t        queue_timeout_ns, first_timeout_ns, total_timeout_ns;
};

/* What its steps will be held to: with them a backend's plan is exact without an engine. */
void   engine_limits(struct backend_limits *out, const struct model_desc *m, const struct engine_options *o);
/* Load the model's weights and start the thread. m outlives the engine. */
status engine_new(struct engine **out, const struct model_desc *m, const struct engine_options *o,
                  struct error *e);
void   engine_free(struct engine *en); /* cancels what runs; every request still gets its END */
/* ERR_BUSY: the queue is full. ERR_LIMIT: the prompt does not fit the context (the message has both counts).
 * ERR_UNSUPPORTED: the model has no head for ENGINE_RANK.
 * The id may be needed to cancel; events may arrive before submit returns. */
status engine_submit(struct engine *en, const struct engine_request *r, uint64_t *id, struct error *e);
void   engine_cancel(struct engine *en, uint64_t id); /* its END comes within one step;
                                                       * unknown ids are ignored */

struct engine_stats {
    uint32_t n_running, n_queued, n_kv_block, n_kv_free, max_context;
    uint64_t n_prompt_tokens, n_decode_tokens, n_steps;
    int64_t  last_step_ns; /* age of the last finished step while work is queued, else 0 */
    bool     asleep;       /* weights and KV memory are given back; the next request loads them again */
    uint32_t failed_steps; /* the last so many steps all failed: the device is gone, or its driver */
};
void engine_stats(const struct engine *en, struct engine_stats *out); /* any thread */
const struct backend_plan *engine_plan(const struct engine *en);
/* The devices, and which layers are where. */
const struct backend_part *engine_parts(const struct engine *en, uint32_t *n);

/* From now on sleep after ns without work; 0: as soon as there is none, < 0: never. Blocks of KV_WORKSPACE
 * requests stay in host memory meanwhile. Any thread. */
void engine_keep_alive(struct engine *en, int64_t ns);

/* What runs and waits, as of the last step: a view for debugging. Any thread. */
enum { ENGINE_MAX_VIEW = 1024 };
struct engine_seq_view {
    uint64_t id, tenant;
    enum engine_task task;
    uint32_t choice;
    bool     running; /* else it waits */
    int32_t  priority;
    uint32_t n_prompt, n_known, n_computed, max_known, n_cached, n_block, n_preempted, n_draft, n_draft_right;
    int64_t  arrival_ns, start_ns, first_ns, last_ns; /* clock_ns; 0: not yet */
};
size_t engine_view(const struct engine *en, struct engine_seq_view *out, size_t max);
struct buf;
void   engine_view_json(const struct engine *en, struct buf *out); /* an array */

#endif
