/* What the engine counts: for /metrics and for timings in an answer. */
#ifndef CORRAL_ENGINE_METRICS_H
#define CORRAL_ENGINE_METRICS_H

#include "base/buf.h"
#include "engine/engine.h"
#include "kv/kv.h"

enum { HIST_MAX_BOUNDS = 20 };
/* count[i] values were at most bound[i] and more than bound[i - 1]; count[n_bound] were more than all. */
struct histogram {
    const double *bound;
    uint32_t n_bound;
    uint64_t count[HIST_MAX_BOUNDS + 1], n;
    double sum;
};
void   histogram_add(struct histogram *h, double x);
/* The value that a share q (0 .. 1) of all lies below, interpolated within its bucket. 0 when empty. */
double histogram_quantile(const struct histogram *h, double q);

struct engine_metrics {
    /* seconds: submission to start, to first token, to end; between tokens; one step */
    struct histogram queue_s, ttft_s, e2e_s, inter_token_s, step_s;
    struct histogram prefill_s, decode_s;          /* of ended requests:
                                                    * start to first token, first token to end */
    struct histogram prompt_tokens, output_tokens; /* of ended requests */
    uint64_t n_submitted, n_rejected;              /* the latter: the queue was full */
    uint64_t n_ended[N_FINISH_REASON];
    uint64_t n_prompt_tokens;   /* computed; those from the cache are in n_cached_tokens */
    uint64_t n_cached_tokens, n_decode_tokens;
    uint64_t n_drafts, n_draft_tokens, n_draft_right; /* steps with guesses, guesses, right ones */
    uint64_t n_embedded; /* texts made into vectors or scores */
    uint64_t n_steps, n_step_seqs, n_preempted; /* n_step_seqs: sequences, added up over all steps */
    uint64_t n_ahead, n_thrown_rows; /* steps queued while the one before ran;
                                      * rows of them whose sequence had ended by then */
    uint32_t max_known;          /* tokens of the longest sequence so far */
    uint32_t n_running, n_queued;
    struct kv_stats kv;
};
void engine_metrics(const struct engine *en, struct engine_metrics *out); /* any thread */

/* {"cache_n":..,"prompt_n":..,"prompt_ms":..,..} as llama.cpp's server reports it, with our counts behind. */
void engine_timing_json(struct buf *out, const struct engine_timing *t);

void engine_metrics_init(struct engine_metrics *m);

#endif
