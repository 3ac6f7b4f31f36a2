/* The scheduler: which sequences run, and what each of them computes in the next step. Private to src/engine.
 *
 * Pure bookkeeping over tokens, KV blocks and the time it is told: it calls no backend, so a fake device in
 * virtual time can drive it. Owned by the engine thread. docs/scheduler.md has the policy.
 *
 * What always holds: the shares of a step fit its budget, and at most max_seqs run; everything below a
 * running sequence's n_computed is in its blocks; a sequence that is one token short gets its share in every
 * step unless it is preempted; if anything is queued or running, a step computes something. */
#ifndef CORRAL_ENGINE_SCHED_H
#define CORRAL_ENGINE_SCHED_H

#include "kv/kv.h"

enum { SCHED_LEVELS = 16, SCHED_NORMAL = 8 }; /* level 0 is the most urgent */

struct sched_options {
    uint32_t max_seqs, max_tokens;
    uint32_t max_logits; /* rows that a step may ask for: max_seqs, and what is left over goes to drafts */
    uint32_t grid;       /* prompts are cut at multiples of this */
    int64_t  age_ns;     /* waiting this long raises a request by one level; 0: never */
};

enum sched_place { SCHED_OUT, SCHED_QUEUED, SCHED_RUNNING };
enum sched_late { SCHED_IN_TIME, SCHED_LATE_QUEUE, SCHED_LATE_FIRST, SCHED_LATE_TOTAL };

/* n_known tokens are decided (prompt, then generated); the first n_computed of them are in the KV cache.
 * Each step closes the gap: prefill, decode, resumption and speculation are the same case. */
struct sched_seq {
    uint64_t id;           /* in order of arrival */
    const int32_t *token;  /* n_known and then n_draft of them */
    uint32_t n_known, n_prompt, max_known;
    uint32_t n_draft;      /* guesses that stand behind the known tokens, if the step has room to try them */
    uint8_t  level;
    bool     score;        /* its prompt is not computed yet, and each token of it wants a row of logits */
    bool     no_cache;     /* neither use nor feed the prefixes of others */
    uint64_t tenant;
    int64_t  arrival_ns, queue_by_ns, first_by_ns, total_by_ns; /* the latter three: 0 is never */

    /* The scheduler's: */
    struct kv_table table; /* salt and cls may be set before sched_add */
    enum sched_place place;
    uint32_t n_computed;
    uint32_t n_cached;     /* of the prompt, found at the first admission */
    enum kv_miss miss;     /* why not more */
    uint32_t n_preempted;
    int64_t  admit_ns;     /* first admission; 0: not yet */
    uint64_t mark;         /* the step in which it was last given a share, or passed over in the queue */
    uint8_t  run_level;    /* level, raised by age, at admission: ranks the running ones */
    uint32_t tenant_at;
    struct kv_hit hit;     /* queued: what it waits for */
};

struct sched_share {
    struct sched_seq *seq;
    uint32_t n_token;      /* from n_computed on, drafts included */
    uint32_t n_draft;
    bool     closes;       /* the known tokens end in this share:
                            * logits of the last n_draft + 1 tokens are wanted */
};

struct sched_tenant { uint64_t id, served; uint32_t n_active; };

struct sched {
    struct sched_options o;
    struct kv *kv;               /* borrowed */
    struct sched_seq **queue;    /* no order */
    uint32_t n_queue, cap_queue;
    struct sched_seq **running;  /* by run_level, then id */
    uint32_t n_running;
    struct sched_tenant *tenant;
    uint32_t n_tenant, cap_tenant;
    uint64_t step;
    uint32_t budget;             /* tokens of a step while sequences decode; 0: as many as otherwise */
    int64_t  next_deadline_ns;   /* no earlier one */
    double   output_ratio;       /* what share of max_known requests use, learned */
    uint64_t n_preempted, n_admitted;
};

status   sched_init(struct sched *s, const struct sched_options *o, struct kv *kv, struct error *e);
void     sched_deinit(struct sched *s); /* nothing is queued or running any more */

void     sched_add(struct sched *s, struct sched_seq *q);
/* Out of the queue or of the running ones; what it computed stays cached. */
void     sched_remove(struct sched *s, struct sched_seq *q);
/* Like sched_remove, of one that has come to its own end: how long answers are is learned from it. */
void     sched_finish(struct sched *s, struct sched_seq *q);
/* The next step into share (room for max_seqs). Make the pool's copies before it runs. */
uint32_t sched_plan(struct sched *s, int64_t now_ns, struct sched_share *share);
/* The same while a step is under way whose outcome the sequences are taken to have: nobody is sent away for
 * it. 0: there is nothing to do, or somebody would have to go. */
uint32_t sched_plan_ahead(struct sched *s, int64_t now_ns, struct sched_share *share);
/* The first n tokens of its share are right and stay: all of them, but for refused drafts. */
void     sched_computed(struct sched *s, struct sched_seq *q, uint32_t n);
/* child begins where parent is, with its blocks; queued if no place is free. Same prompt, gap of one. */
void     sched_fork(struct sched *s, const struct sched_seq *parent, struct sched_seq *child, int64_t now_ns);
/* One whose time is over, or NULL. The caller removes it and asks again. */
struct sched_seq *sched_late(struct sched *s, int64_t now_ns, enum sched_late *why);

/* How many of a share's tokens, the last ones, want logits. */
static inline uint32_t sched_rows(const struct sched_share *sh)
{
    return sh->seq->score ? sh->n_token : sh->closes ? 1 + sh->n_draft : 0;
}
static inline uint32_t sched_gap(const struct sched_seq *q) { return q->n_known - q->n_computed; }

/* Between sched.c and plan.c. */
void     sched_enter_running(struct sched *s, struct sched_seq *q);
void     sched_leave(struct sched *s, struct sched_seq *q);
void     sched_enqueue(struct sched *s, struct sched_seq *q);
bool     sched_valid(const struct sched *s);

#endif
