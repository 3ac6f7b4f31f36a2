/* What running a model takes, by the planner of the backend that will run it: exact bytes, nothing
 * allocated, no device touched. For people (inspect), and in the form that placement reads (plan). */
#ifndef CORRAL_CLI_MEMORY_PLAN_H
#define CORRAL_CLI_MEMORY_PLAN_H

#include "engine/engine.h"
#include "place/place.h"

struct memory_plan {
    const char *backend;
    uint32_t context, context_trained, parallel, kv_sequences, n_kv_block;
    enum dtype kv_type;
    struct backend_plan b;
    struct backend_part part[BACKEND_MAX_SHARES]; /* n_part: what lies where */
    uint32_t n_part;
    uint64_t kv_bytes, total_bytes;
};

/* As the engine will be opened: options->max_context 0 means as trained, at most SESSION_DEFAULT_CTX. The KV
 * cache holds all sequences at full length. */
status memory_plan(struct memory_plan *out, const struct model_desc *m, const struct engine_options *options,
                   struct error *e);

struct memory_ladder { /* how far placement may go down */
    uint32_t   min_context; /* 0: 2048, or what is asked for if that is less */
    bool       has_kv_fallback;
    enum dtype kv_fallback;  /* numbers of the KV cache when those asked for have no room */
    bool       has_overhead;
    uint64_t   overhead_bytes; /* of the process beside the plan; without has_overhead: the usual */
};
/* The plan as options say first, then the smaller ways to run it. */
status memory_place_plan(struct place_plan *out, const struct model_desc *m,
                         const struct engine_options *options, const struct memory_ladder *ladder,
                         struct error *e);

#endif
