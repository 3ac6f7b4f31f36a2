/* How an engine shares out its devices' memory: to weights, working memory and the KV cache. */
#ifndef CORRAL_ENGINE_MEMORY_H
#define CORRAL_ENGINE_MEMORY_H

#include "engine/engine_int.h"

/* How many blocks the KV cache gets, by en->plan, and a context (en->lim) that they can hold. */
status memory_size_kv(struct engine *en, const struct engine_options *o, uint32_t *n_block, struct error *e);
/* Where a device has too little memory for the plan, steps of fewer tokens need less: en->lim, en->plan. */
status memory_load(struct engine *en, const struct engine_options *o, struct error *e);
/* The pool as planned; or, if less was free than was said, what fits into that, if a sequence does. */
status memory_open_kv(struct engine *en, uint32_t *n_block, struct error *e);
/* A small model beside the engine's: where it runs, on the first of several devices. */
struct backend_share memory_draft_device(const struct engine_options *o);

#endif
