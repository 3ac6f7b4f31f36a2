#ifndef CORRAL_ENGINE_INT_H
#define CORRAL_ENGINE_INT_H

#include <pthread.h>

#include "base/buf.h"
#include "engine/budget.h"
#include "engine/draft_model.h"
#include "engine/engine.h"
#include "engine/flight.h"
#include "engine/masks.h"
#include "engine/metrics.h"
#include "engine/sched.h"
#include "engine/seq.h"

struct engine {
    const struct model_desc *m;
    const struct backend_api *api;
    int32_t device; /* of api */
    struct backend *backend;
    struct backend_model *model;
    struct backend_kv *kv_mem;
    struct backend_limits lim;
    struct backend_plan plan;
    struct backend_part place[BACKEND_MAX_SHARES]; /* n_place: where the layers are */
    uint32_t n_place;
    uint32_t max_queue, max_draft;
    bool no_prefix_cache, no_step_ahead;
    void (*on_lost)(void *user, const struct error *why);
    void *lost_user;
    double draft_price; /* 0: measured */
    int64_t queue_timeout_ns, first_timeout_ns, total_timeout_ns;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* guards what stands until the next blank line */
    pthread_cond_t wake;
    struct seq_list inbox;
    uint64_t *cancel;
    uint32_t n_cancel, cap_cancel;
    uint64_t next_id, n_submitted, n_rejected;
    uint32_t n_waiting; /* choices in the inbox or not running */
    bool stop;
    struct engine_stats stats;
    struct engine_metrics seen; /* copy of metrics, as of the last step */
    int64_t last_step_at_ns;    /* 0: nothing to do */
    int64_t keep_alive_ns;      /* < 0: for ever */
    struct engine_seq_view *view; /* copy, ENGINE_MAX_VIEW */
    uint32_t n_view;

    /* The engine thread's own. */
    struct sched sched;
    struct kv *kv;
    struct budget budget;
    struct draft_model *draft_model; /* NULL: none */
    struct draft_want *want;         /* max_seqs */
    int64_t target_ns; /* between tokens; 0: no matter */
    struct engine_metrics metrics;
    bool asleep;
    uint32_t failed_steps; /* in a row */
    bool lost; /* on_lost was told */
    struct saved_blocks {
        uint32_t *id, n;
        uint8_t *data;
    } saved;         /* of the cache, while asleep */
    uint32_t n_kids; /* choices that wait for their prompt to be computed */
    struct flight *now, *next; /* of the two: the step under way, and the one behind it */
    struct flight flight[2];
    int64_t step_end_ns;       /* of the last step that came back */
    struct masks *masks;
    struct mask_source *mask_source; /* max_seqs */
    uint64_t *scratch_cancel;
    uint32_t cap_scratch;
};

/* loop.c: the engine thread; arg is the engine. */
void *engine_main(void *arg);
/* view.c: leave a copy of what runs and waits; the lock is held. */
void  view_publish(struct engine *en);

#endif
