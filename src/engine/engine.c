/* The step loop. Per step: take in what arrived, admit, give every running sequence its share of the token
 * budget (decodes first, then prefill in order of admission), run, sample.
 *
 * KV blocks are taken as sequences grow. When the pool runs dry the youngest sequence is preempted: its
 * blocks are dropped and it is computed again later, with bitwise the same result. The pool always holds at
 * least one sequence of full length, so the oldest one always gets on. */
#include "engine/engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/seq.h"
#include "kv/kv.h"

struct engine {
    const struct model_desc *m;
    const struct backend_api *api;
    struct backend *backend;
    struct backend_model *model;
    struct backend_kv *kv_mem;
    struct backend_limits lim;
    struct backend_plan plan;
    uint32_t max_queue;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* guards what stands until the next blank line */
    pthread_cond_t wake;
    struct seq_list inbox;
    uint64_t *cancel;
    uint32_t n_cancel, cap_cancel;
    uint64_t next_id;
    uint32_t n_waiting; /* in inbox or queue */
    bool stop;
    struct engine_stats stats;
    int64_t last_step_at_ns; /* 0: nothing to do */

    /* The engine thread's own. */
    struct seq_list queue; /* not admitted, or preempted (at the front) */
    struct seq **running;  /* in order of admission */
    uint32_t n_running;
    struct kv *kv;
    struct batch_seq *share; /* this step's batch */
    struct seq **in_step;
    uint64_t *scratch_cancel;
    uint32_t cap_scratch;
};

const char *finish_reason_name(enum finish_reason r)
{
    static const char *const name[] = {"stop", "length", "length", "cancelled", "error"};
    return name[r];
}

static void release(struct engine *en, struct seq *s)
{
    kv_truncate(en->kv, &s->table, 0);
    s->n_computed = 0;
}

static void finish(struct engine *en, struct seq *s, enum finish_reason why, const struct error *error)
{
    release(en, s);
    seq_send_end(s, why, error);
    seq_free(s);
}

static void remove_running(struct engine *en, uint32_t i)
{
    memmove(&en->running[i], &en->running[i + 1], (en->n_running - i - 1) * sizeof *en->running);
    en->n_running--;
}

static void cancel_one(struct engine *en, uint64_t id)
{
    struct seq *s = seq_take(&en->queue, id);
    for (uint32_t i = 0; !s && i < en->n_running; i++) {
        if (en->running[i]->id != id) continue;
        s = en->running[i];
        remove_running(en, i);
    }
    if (s) finish(en, s, FINISH_CANCELLED, NULL);
}

/* Wait for work, take in submissions and cancellations. False: stop. */
static bool take_in(struct engine *en)
{
    uint32_t n_cancel;
    pthread_mutex_lock(&en->lock);
    en->n_waiting = en->inbox.n + en->queue.n;
    en->stats.n_running = en->n_running;
    en->stats.n_queued = en->n_waiting;
    en->stats.n_kv_free = kv_n_free(en->kv);
    if (en->n_running + en->n_waiting == 0) en->last_step_at_ns = 0;
    while (!en->stop && !en->inbox.n && !en->n_cancel && !en->n_running && !en->queue.n)
        pthread_cond_wait(&en->wake, &en->lock);
    if (!en->last_step_at_ns) en->last_step_at_ns = clock_ns();
    bool stop = en->stop;
    for (struct seq *s; (s = seq_pop(&en->inbox));) seq_push(&en->queue, s);
    n_cancel = en->n_cancel;
    if (n_cancel > en->cap_scratch) {
        en->cap_scratch = n_cancel;
        en->scratch_cancel = mem_realloc(en->scratch_cancel, n_cancel, sizeof *en->scratch_cancel);
    }
    if (n_cancel) memcpy(en->scratch_cancel, en->cancel, n_cancel * sizeof *en->cancel);
    en->n_cancel = 0;
    pthread_mutex_unlock(&en->lock);
    for (uint32_t i = 0; i < n_cancel; i++) cancel_one(en, en->scratch_cancel[i]);
    return !stop;
}

static void preempt_youngest(struct engine *en)
{
    struct seq *s = en->running[--en->n_running];
    LOG(DEBUG, "engine", "preempt", "seq=%llu computed=%u", (unsigned long long)s->id, s->n_computed);
    release(en, s);
    seq_push_front(&en->queue, s);
}

/* KV for n more tokens of running[i], at the cost of younger sequences. False: running[i] itself had to go.
 */
static bool make_room(struct engine *en, uint32_t i, uint32_t n)
{
    struct seq *s = en->running[i];
    struct error e;
    while (kv_reserve(en->kv, &s->table, s->n_computed, s->n_computed + n, &e) != OK) {
        ASSERT(en->n_running > 1); /* the pool holds one sequence of full length */
        bool self = en->running[en->n_running - 1] == s;
        preempt_youngest(en);
        if (self) return false;
    }
    return true;
}

/* A queued sequence starts when its whole known text fits beside what runs, so that it is not preempted at
 * once. */
static void admit(struct engine *en)
{
    while (en->queue.n && en->n_running < en->lim.max_seqs) {
        struct seq *s = en->queue.head;
        struct error e;
        if (kv_reserve(en->kv, &s->table, 0, s->n_known, &e) != OK) return;
        (void)seq_pop(&en->queue);
        if (!s->start_ns) s->start_ns = clock_ns();
        en->running[en->n_running++] = s;
    }
}

static uint32_t gap_of(const struct seq *s)
{
    return s->n_known - s->n_computed;
}

static void add_share(struct engine *en, struct batch *b, struct seq *s, uint32_t n)
{
    en->in_step[b->n_seq] = s;
    en->share[b->n_seq++] = (struct batch_seq){.token = s->token + s->n_computed,
                                               .n_token = n,
                                               .pos = s->n_computed,
                                               .block = s->table.block,
                                               .n_block = s->table.n_block,
                                               .n_logits = n == gap_of(s)};
}

/* Which tokens run now. Decodes first: a sequence that has begun to answer is never held up by a prompt. */
static void plan_step(struct engine *en, struct batch *b)
{
    uint32_t budget = en->lim.max_tokens;
    *b = (struct batch){.seq = en->share};
    for (uint32_t i = 0; i < en->n_running; i++)
        if (gap_of(en->running[i]) == 1 && !make_room(en, i, 1)) break;
    for (uint32_t i = 0; i < en->n_running && budget; i++) {
        if (gap_of(en->running[i]) != 1) continue;
        add_share(en, b, en->running[i], 1);
        budget--;
    }
    for (uint32_t i = 0; i < en->n_running && budget; i++) {
        uint32_t n = MIN(gap_of(en->running[i]), budget);
        if (gap_of(en->running[i]) == 1) continue;
        /* Its blocks were taken at admission, so this neither fails nor disturbs the shares already given. */
        ASSERT(en->running[i]->table.n_block * (uint64_t)KV_BLOCK_TOKENS >= en->running[i]->n_computed + n);
        add_share(en, b, en->running[i], n);
        budget -= n;
    }
}

/* Choose the next token of s from its logits. True: the sequence has ended and is gone from the running ones.
 */
static bool advance(struct engine *en, struct seq *s, const float *logits)
{
    struct sample_result r;
    struct error e;
    if (sampler_draw(s->sampler, logits, NULL, s->n_known, &r, &e) != OK) {
        finish(en, s, FINISH_ERROR, &e);
        return true;
    }
    if (!s->first_ns) s->first_ns = clock_ns();
    sampler_accept(s->sampler, r.token, false);
    if (!s->ignore_eos && seq_is_eog(s, r.token)) {
        finish(en, s, FINISH_STOP, NULL);
        return true;
    }
    seq_append(s, r.token);
    seq_send_token(s, &r);
    if (s->n_known < s->max_known) return false;
    finish(en, s, s->n_known >= en->lim.max_context ? FINISH_CONTEXT : FINISH_LENGTH, NULL);
    return true;
}

static void fail_step(struct engine *en, const struct batch *b, const struct error *e)
{
    LOG(ERROR, "engine", "step", "%s", e->msg);
    for (uint32_t i = 0; i < b->n_seq; i++) {
        for (uint32_t j = 0; j < en->n_running; j++)
            if (en->running[j] == en->in_step[i]) remove_running(en, j);
        finish(en, en->in_step[i], FINISH_ERROR, e);
    }
}

static void run_step(struct engine *en, const struct batch *b)
{
    struct step_result r;
    struct error e = {0};
    uint64_t ticket;
    uint32_t row = 0, n_prompt = 0, n_decode = 0;

    status s = en->api->step(en->model, en->kv_mem, b, &ticket, &e);
    if (s == OK) s = en->api->wait(en->model, ticket, &r, &e);
    if (s != OK) {
        fail_step(en, b, &e);
        return;
    }
    for (uint32_t i = 0; i < b->n_seq; i++) {
        struct seq *q = en->in_step[i];
        q->n_computed += b->seq[i].n_token;
        n_prompt += b->seq[i].pos < q->n_prompt ? b->seq[i].n_token : 0;
        if (!b->seq[i].n_logits) continue;
        n_decode++;
        uint32_t at = 0;
        while (en->running[at] != q) at++;
        if (advance(en, q, r.logits + (size_t)row++ * en->m->cfg.n_vocab)) remove_running(en, at);
    }
    pthread_mutex_lock(&en->lock);
    en->stats.n_steps++;
    en->stats.n_prompt_tokens += n_prompt;
    en->stats.n_decode_tokens += n_decode;
    en->last_step_at_ns = clock_ns();
    pthread_mutex_unlock(&en->lock);
}

static void *engine_main(void *arg)
{
    struct engine *en = arg;
    struct batch b;
    while (take_in(en)) {
        admit(en);
        if (!en->n_running) continue;
        plan_step(en, &b);
        run_step(en, &b);
        DEBUG_ASSERT(kv_valid(en->kv));
    }
    while (en->n_running) finish(en, en->running[--en->n_running], FINISH_CANCELLED, NULL);
    for (struct seq *s; (s = seq_pop(&en->queue));) finish(en, s, FINISH_CANCELLED, NULL);
    return NULL;
}

/* How many blocks the pool gets, and a context that it can hold. */
static status size_kv(struct engine *en, const struct engine_options *o, uint32_t *n_block, struct error *e)
{
    const size_t each = en->plan.kv_block_bytes;
    const uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t per_seq = (en->lim.max_context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    uint64_t want = per_seq * en->lim.max_seqs;
    uint64_t have = o->kv_bytes ? o->kv_bytes / each : MIN(want, memory / 4 / each);
    have = MIN(have, (uint64_t)UINT32_MAX);
    if (have < per_seq) {
        if (o->max_context || have == 0)
            return fail(e, ERR_LIMIT,
                        "a context of %u tokens needs %.1f MiB of KV cache, %.1f MiB are allowed: lower the "
                        "context or "
                        "choose a smaller KV type",
                        en->lim.max_context, (double)per_seq * (double)each / 0x1p20,
                        (double)have * (double)each / 0x1p20);
        en->lim.max_context = (uint32_t)have * KV_BLOCK_TOKENS;
        LOG(WARN, "engine", "context",
            "reduced to %u tokens: more would take over a quarter of this machine's memory",
            en->lim.max_context);
    }
    *n_block = (uint32_t)have;
    return OK;
}

static status open_backend(struct engine *en, const struct engine_options *o, struct error *e)
{
    struct backend_options bo = {.n_thread = o->n_thread};
    uint32_t n_block = 0;
    TRY(en->api->open(&en->backend, &bo, e));
    TRY(en->api->plan(en->backend, en->m, &en->lim, &en->plan, e));
    TRY(size_kv(en, o, &n_block, e));
    TRY(en->api->plan(en->backend, en->m, &en->lim, &en->plan, e));
    TRY(en->api->load(&en->model, en->backend, en->m, &en->lim, o->progress, o->progress_user, e));
    TRY(en->api->kv_open(&en->kv_mem, en->model, n_block, e));
    TRY(kv_new(&en->kv, n_block, KV_BLOCK_TOKENS, e));
    en->stats.n_kv_block = en->stats.n_kv_free = n_block;
    en->stats.max_context = en->lim.max_context;
    return OK;
}

status engine_new(struct engine **out, const struct model_desc *m, const struct engine_options *o,
                  struct error *e)
{
    struct engine *en = mem_zalloc(1, sizeof *en);
    *out = NULL;
    en->m = m;
    en->api = o->api;
    en->max_queue = o->max_queue ? o->max_queue : 256;
    en->next_id = 1;
    en->lim.max_seqs = o->max_seqs ? o->max_seqs : 16;
    en->lim.max_tokens = MAX(o->step_tokens ? o->step_tokens : 256, en->lim.max_seqs);
    en->lim.max_logits = en->lim.max_seqs;
    en->lim.max_context = o->max_context ? o->max_context : m->cfg.n_ctx_train;
    en->lim.kv_type = o->kv_type;
    pthread_mutex_init(&en->lock, NULL);
    pthread_cond_init(&en->wake, NULL);

    status s = open_backend(en, o, e);
    if (s == OK) {
        en->running = mem_zalloc(en->lim.max_seqs, sizeof *en->running);
        en->share = mem_zalloc(en->lim.max_seqs, sizeof *en->share);
        en->in_step = mem_zalloc(en->lim.max_seqs, sizeof *en->in_step);
        en->started = pthread_create(&en->thread, NULL, engine_main, en) == 0;
        if (!en->started) s = fail(e, ERR_IO, "cannot start the engine thread");
    }
    if (s != OK) {
        engine_free(en);
        return s;
    }
    *out = en;
    return OK;
}

void engine_free(struct engine *en)
{
    if (!en) return;
    if (en->started) {
        pthread_mutex_lock(&en->lock);
        en->stop = true;
        pthread_cond_signal(&en->wake);
        pthread_mutex_unlock(&en->lock);
        pthread_join(en->thread, NULL);
    }
    if (en->kv_mem) en->api->kv_close(en->kv_mem);
    if (en->model) en->api->unload(en->model);
    if (en->backend) en->api->close(en->backend);
    kv_free(en->kv);
    pthread_mutex_destroy(&en->lock);
    pthread_cond_destroy(&en->wake);
    free(en->cancel);
    free(en->scratch_cancel);
    free(en->running);
    free(en->share);
    free(en->in_step);
    free(en);
}

status engine_submit(struct engine *en, const struct engine_request *r, uint64_t *id, struct error *e)
{
    struct seq *s;
    status st = OK;
    TRY(seq_new(&s, r, en->m->cfg.n_vocab, en->lim.max_context, e));
    pthread_mutex_lock(&en->lock);
    if (en->stop) {
        st = fail(e, ERR_CANCELLED, "the engine is stopping");
    } else if (en->n_waiting >= en->max_queue) {
        st = fail(e, ERR_BUSY, "%u requests are waiting already, the limit is %u", en->n_waiting,
                  en->max_queue);
    } else {
        s->id = *id = en->next_id++;
        en->n_waiting++;
        seq_push(&en->inbox, s);
        pthread_cond_signal(&en->wake);
    }
    pthread_mutex_unlock(&en->lock);
    if (st != OK) seq_free(s);
    return st;
}

void engine_cancel(struct engine *en, uint64_t id)
{
    pthread_mutex_lock(&en->lock);
    if (en->n_cancel == en->cap_cancel) {
        en->cap_cancel = MAX(16u, en->cap_cancel * 2);
        en->cancel = mem_realloc(en->cancel, en->cap_cancel, sizeof *en->cancel);
    }
    en->cancel[en->n_cancel++] = id;
    pthread_cond_signal(&en->wake);
    pthread_mutex_unlock(&en->lock);
}

void engine_stats(const struct engine *en, struct engine_stats *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&en->lock;
    pthread_mutex_lock(lock);
    *out = en->stats;
    out->n_queued = en->n_waiting;
    out->last_step_ns = en->last_step_at_ns ? clock_ns() - en->last_step_at_ns : 0;
    pthread_mutex_unlock(lock);
}

const struct backend_plan *engine_plan(const struct engine *en)
{
    return &en->plan;
}
