/* The step loop. Per step: take in what arrived, end what is late, ask the scheduler for shares, run them as
 * one batch, draw tokens, send events. The scheduler decides; what is here carries it out. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/embed.h"
#include "engine/engine_int.h"
#include "engine/sleep.h"

/* ---- ends -------------------------------------------------------------------------------------------- */

static void count_end(struct engine *en, const struct seq *s, enum finish_reason why, int64_t now)
{
    struct engine_metrics *m = &en->metrics;
    m->n_ended[why]++;
    histogram_add(&m->e2e_s, (double)(now - s->q.arrival_ns) * 1e-9);
    histogram_add(&m->prompt_tokens, s->q.n_prompt);
    m->max_known = MAX(m->max_known, s->q.n_known);
    if (s->task == ENGINE_GENERATE) histogram_add(&m->output_tokens, s->q.n_known - s->q.n_prompt);
    if (!s->first_ns) return;
    histogram_add(&m->prefill_s, (double)(s->first_ns - s->q.admit_ns) * 1e-9);
    histogram_add(&m->decode_s, (double)(now - s->first_ns) * 1e-9);
}

/* s, which the scheduler knows no more, is over. Its kids are not. What the device still computes for it is
 * thrown away. */
static void end(struct engine *en, struct seq *s, enum finish_reason why, const struct error *error)
{
    int64_t now = clock_ns();
    count_end(en, s, why, now);
    flight_forget(en->now, &s->q);
    flight_forget(en->next, &s->q);
    if (en->draft_model) draft_model_leave(en->draft_model, s);
    seq_send_end(s, why, error, now);
    seq_free(s);
}

static void finish(struct engine *en, struct seq *s, enum finish_reason why, const struct error *error)
{
    if (why == FINISH_STOP || why == FINISH_LENGTH || why == FINISH_CONTEXT)
        sched_finish(&en->sched, &s->q);
    else
        sched_remove(&en->sched, &s->q);
    end(en, s, why, error);
}

/* The first of the kids takes the place of s, which goes before their prompt is computed. */
static void hand_on_kids(struct engine *en, struct seq *s)
{
    struct seq *heir = s->kids;
    if (!heir) return;
    s->kids = NULL;
    heir->kids = heir->next;
    heir->next = NULL;
    en->n_kids--;
    sched_add(&en->sched, &heir->q);
}

static void end_all_kids(struct engine *en, struct seq *s, enum finish_reason why, const struct error *error)
{
    for (struct seq *kid; (kid = s->kids);) {
        s->kids = kid->next;
        en->n_kids--;
        end(en, kid, why, error);
    }
}

/* ---- what arrives ------------------------------------------------------------------------------------ */

static struct seq *running_at(struct engine *en, uint32_t i) /* queued ones first */
{
    const struct sched *s = &en->sched;
    return (struct seq *)(i < s->n_queue ? s->queue[i] : s->running[i - s->n_queue]);
}

static bool cancel_kid(struct engine *en, struct seq *parent, uint64_t id)
{
    for (struct seq **at = &parent->kids; *at; at = &(*at)->next) {
        struct seq *kid = *at;
        if (kid->q.id != id) continue;
        *at = kid->next;
        en->n_kids--;
        end(en, kid, FINISH_CANCELLED, NULL);
        return true;
    }
    return false;
}

static void cancel_one(struct engine *en, uint64_t id)
{
    for (uint32_t i = 0; i < en->sched.n_queue + en->sched.n_running; i++) {
        struct seq *s = running_at(en, i);
        if (s->q.id == id) {
            hand_on_kids(en, s);
            finish(en, s, FINISH_CANCELLED, NULL);
            return;
        }
        if (s->kids && cancel_kid(en, s, id)) return;
    }
}

/* What other threads may see of our state. The lock is held. */
static void publish(struct engine *en)
{
    struct engine_metrics *m = &en->metrics;
    m->n_running = en->sched.n_running;
    m->n_queued = en->sched.n_queue + en->n_kids;
    m->n_preempted = en->sched.n_preempted;
    kv_stats(en->kv, &m->kv);
    en->seen = *m;
    view_publish(en);
    en->n_waiting = m->n_queued;
    for (const struct seq *s = en->inbox.head; s; s = s->next) {
        en->n_waiting++;
        for (const struct seq *kid = s->kids; kid; kid = kid->next) en->n_waiting++;
    }
    en->stats.n_running = m->n_running;
    en->stats.n_kv_free = kv_n_free(en->kv);
    en->stats.n_steps = m->n_steps;
    en->stats.n_prompt_tokens = m->n_prompt_tokens;
    en->stats.n_decode_tokens = m->n_decode_tokens;
    en->stats.asleep = en->asleep;
    en->stats.failed_steps = en->failed_steps;
}

/* Until a signal, or until it is time to sleep, which is then done. The lock is held, but not while falling
 * asleep. */
static void wait_idle(struct engine *en, int64_t idle_since)
{
    int64_t until =
        en->keep_alive_ns < 0 ? INT64_MAX : idle_since + MIN(en->keep_alive_ns, INT64_MAX - idle_since);
    if (en->asleep || until == INT64_MAX) {
        pthread_cond_wait(&en->wake, &en->lock);
    } else if (clock_ns() < until) {
        struct timespec at = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
        (void)pthread_cond_timedwait(&en->wake, &en->lock, &at);
    } else {
        pthread_mutex_unlock(&en->lock);
        sleep_begin(en);
        pthread_mutex_lock(&en->lock);
        en->asleep = true;
        publish(en);
    }
}

/* Wait for work, take in submissions and cancellations. False: stop. */
static bool take_in(struct engine *en)
{
    pthread_mutex_lock(&en->lock);
    publish(en);
    bool idle = !en->sched.n_queue && !en->sched.n_running && !en->now->n;
    en->last_step_at_ns = idle && !en->n_waiting ? 0 : clock_ns();
    int64_t idle_since = clock_ns();
    while (idle && !en->stop && !en->inbox.n && !en->n_cancel) wait_idle(en, idle_since);
    if (!en->last_step_at_ns) en->last_step_at_ns = clock_ns();
    bool stop = en->stop;
    for (struct seq *s; (s = seq_pop(&en->inbox));) {
        for (const struct seq *kid = s->kids; kid; kid = kid->next) en->n_kids++;
        sched_add(&en->sched, &s->q);
    }
    uint32_t n_cancel = en->n_cancel;
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

/* What waits cannot be answered if this fails; the next request tries again. */
static void wake_up(struct engine *en)
{
    struct error e;
    if (sleep_end(en, &e) == OK) {
        en->asleep = false;
        return;
    }
    LOG(ERROR, "engine", "wake", "%s", e.msg);
    while (en->sched.n_queue) {
        struct seq *s = (struct seq *)en->sched.queue[0];
        end_all_kids(en, s, FINISH_ERROR, &e);
        finish(en, s, FINISH_ERROR, &e);
    }
}

static void end_late_ones(struct engine *en)
{
    static const char *const what[] = {[SCHED_LATE_QUEUE] = "it did not start",
                                       [SCHED_LATE_FIRST] = "it had no token",
                                       [SCHED_LATE_TOTAL] = "it did not end"};
    enum sched_late why;
    int64_t now = clock_ns();
    for (struct sched_seq *q; (q = sched_late(&en->sched, now, &why));) {
        struct seq *s = (struct seq *)q;
        struct error e;
        (void)fail(&e, ERR_BUSY, "timed out: %s within its limit (%.1f s have passed)", what[why],
                   (double)(now - q->arrival_ns) * 1e-9);
        end_all_kids(en, s, FINISH_TIMEOUT, &e);
        finish(en, s, FINISH_TIMEOUT, &e);
    }
}

/* ---- results ----------------------------------------------------------------------------------------- */

static void count_token(struct engine *en, struct seq *s, int64_t now)
{
    if (s->first_ns)
        histogram_add(&en->metrics.inter_token_s, (double)(now - s->last_ns) * 1e-9);
    else
        histogram_add(&en->metrics.ttft_s, (double)(now - s->q.arrival_ns) * 1e-9);
    if (!s->first_ns) s->first_ns = now;
    s->last_ns = now;
    en->metrics.n_decode_tokens++;
}

/* What a step has computed for the next token: logits, and what the constraint allows (mask NULL: not known
 * yet, if there is one); or the token, which the device has drawn. */
struct outcome {
    const float *logits;
    const uint32_t *mask;
    const struct program_answer *drawn;
};

static status choose(struct engine *en, struct seq *s, const struct outcome *o, struct sample_result *r,
                     struct error *e)
{
    const struct mask_source src = {.mask = s->constraint.mask, .state = s->allowed};
    const uint32_t *mask = o->mask;
    if (o->drawn) return sampler_take(s->sampler, o->drawn, r, e);
    if (src.mask && !mask) mask = masks_now(en->masks, &src);
    return sampler_draw(s->sampler, o->logits, mask, s->q.n_known, r, e);
}

/* Choose the next token of s. True: it has come to an end, for the reason given. */
static bool draw(struct engine *en, struct seq *s, const struct outcome *o, int64_t now,
                 enum finish_reason *why, struct error *e)
{
    struct sample_result r;
    *why = FINISH_ERROR;
    if (choose(en, s, o, &r, e) != OK) return true;
    count_token(en, s, now);
    sampler_accept(s->sampler, r.token, false);
    *why = FINISH_STOP;
    if (!s->ignore_eos && seq_is_eog(s, r.token)) return true;
    *why = FINISH_ERROR;
    if (s->constraint.accept && !s->constraint.accept(s->allowed, r.token)) {
        (void)fail(e, ERR_LIMIT,
                   "the constraint cannot take the token it allowed: a limit of its memory or depth");
        return true;
    }
    seq_append(s, r.token);
    seq_send_token(s, &r);
    *why = s->q.n_known >= en->lim.max_context ? FINISH_CONTEXT : FINISH_LENGTH;
    return s->q.n_known == s->q.max_known;
}

static double price_of_guesses(const struct engine *en)
{
    return en->draft_price > 0 ? en->draft_price : budget_price(&en->budget, en->sched.n_running);
}

static void propose(struct engine *en, struct seq *s)
{
    uint32_t most = s->draft.max;
    if (!most) return;
    int32_t *out = seq_reserve(s, most); /* first: it may move the tokens */
    s->q.n_draft = s->constraint.forced ? s->constraint.forced(s->allowed, out, most) : 0;
    if (s->q.n_draft) {
        s->draft.last = DRAFT_FORCED;
        return;
    }
    s->q.n_draft = draft_propose(&s->draft, s->token, s->q.n_known, most, price_of_guesses(en), out);
}

/* The draft model guesses for those that have no other guesses. Its own steps are part of the price. */
static void ask_draft_model(struct engine *en)
{
    struct error e;
    uint32_t n = 0;
    double price = price_of_guesses(en);
    if (en->draft_price <= 0 && en->metrics.n_steps)
        price += (double)draft_model_step_ns(en->draft_model) / MAX(budget_step_ns(&en->budget), 1);
    for (uint32_t i = 0; i < en->sched.n_running; i++) {
        struct seq *s = (struct seq *)en->sched.running[i];
        if (sched_gap(&s->q) != 1 || s->q.n_draft || s->q.n_known == s->q.n_prompt) continue;
        uint32_t most = MIN(s->draft.max, s->q.max_known - s->q.n_known - 1);
        uint32_t want = most ? draft_worth(&s->draft, DRAFT_MODEL, price, most) : 0;
        if (want) en->want[n++] = (struct draft_want){.seq = s, .n = want};
    }
    if (!n) return;
    if (draft_model_guess(en->draft_model, en->want, n, en->m->cfg.n_vocab, &e) != OK) {
        LOG(ERROR, "engine", "draft", "no more guesses of the draft model: %s", e.msg);
        draft_model_free(en->draft_model);
        en->draft_model = NULL;
        return;
    }
    for (uint32_t i = 0; i < n; i++) en->want[i].seq->q.n_draft = en->want[i].n_got;
}

static void begin_kids(struct engine *en, struct seq *parent, const float *logits, int64_t now)
{
    for (struct seq *kid; (kid = parent->kids);) {
        enum finish_reason why;
        struct error e;
        parent->kids = kid->next;
        kid->next = NULL;
        en->n_kids--;
        sched_fork(&en->sched, &parent->q, &kid->q, now);
        if (draw(en, kid, &(struct outcome){.logits = logits}, now, &why, &e))
            finish(en, kid, why, why == FINISH_ERROR ? &e : NULL);
    }
}

/* Each token of the share has a row. Returns that of the last, from which the answer goes on. */
static const float *take_scores(struct engine *en, struct seq *s, const struct sched_share *sh,
                                const float *logits)
{
    seq_send_scores(s, logits, en->m->cfg.n_vocab, sh->n_token);
    s->q.score = s->q.n_computed + sh->n_token < s->q.n_prompt;
    return logits + (size_t)(sh->n_token - 1) * en->m->cfg.n_vocab;
}

/* The share's tokens are computed; o is of its rows, if it wanted any. Guesses are compared with what is
 * drawn: up to and including the first that differs, the drawn tokens are what they would have been without
 * guessing. The mask is of the first row. */
static void take_result(struct engine *en, const struct sched_share *sh, struct outcome o, int64_t now)
{
    struct seq *s = (struct seq *)sh->seq;
    uint32_t base = sh->n_token - sh->n_draft, n_right = 0, n_known = s->q.n_known;
    enum finish_reason why;
    struct error e;
    bool ended = false, right = true;
    if (s->q.score) o.logits = take_scores(en, s, sh, o.logits);
    if (!sh->closes) {
        sched_computed(&en->sched, &s->q, sh->n_token);
        return;
    }
    if (s->kids) {
        sched_computed(&en->sched, &s->q, base);
        base = 0;
        begin_kids(en, s, o.logits, now);
    }
    for (uint32_t i = 0; i <= sh->n_draft && !ended && right; i++) {
        uint32_t at = s->q.n_known;
        int32_t guess = i < sh->n_draft ? s->token[at] : -1;
        ended = draw(en, s, &o, now, &why, &e);
        o = (struct outcome){.logits = o.logits + en->m->cfg.n_vocab};
        right = s->q.n_known > at && s->token[at] == guess;
        n_right += right;
    }
    s->n_draft += sh->n_draft;
    s->n_draft_right += n_right;
    en->metrics.n_drafts += sh->n_draft > 0;
    en->metrics.n_draft_tokens += sh->n_draft;
    en->metrics.n_draft_right += n_right;
    if (base + n_right) sched_computed(&en->sched, &s->q, base + n_right);
    draft_learn(&s->draft, sh->n_draft, n_right);
    s->n_modelled = MIN(s->n_modelled, n_known + n_right);
    s->q.n_draft = 0;
    if (ended)
        finish(en, s, why, why == FINISH_ERROR ? &e : NULL);
    else
        propose(en, s);
}

static void take_embedding(struct engine *en, const struct sched_share *sh, const float *hidden)
{
    struct seq *s = (struct seq *)sh->seq;
    embed_take(s, sh, hidden, en->m);
    sched_computed(&en->sched, &s->q, sh->n_token);
    if (!sh->closes) return;
    en->metrics.n_embedded++;
    finish(en, s, FINISH_STOP, NULL);
}

/* What the sequences of this step have computed is not to be trusted. */
static void fail_share(struct engine *en, struct sched_seq *q, const struct error *e)
{
    struct seq *s = (struct seq *)q;
    q->n_computed = 0;
    end_all_kids(en, s, FINISH_ERROR, e);
    finish(en, s, FINISH_ERROR, e);
}

/* ---- the step ---------------------------------------------------------------------------------------- */

static void fail_flight(struct engine *en, struct flight *f, status s, const struct error *e)
{
    LOG(ERROR, "engine", "step", "%s", e->msg);
    en->failed_steps++;
    for (uint32_t i = 0; i < f->n; i++)
        if (f->share[i].seq) fail_share(en, f->share[i].seq, e);
    f->n = 0;
    if (s == ERR_DEVICE && !en->lost && en->on_lost) en->on_lost(en->lost_user, e);
    en->lost |= s == ERR_DEVICE;
}

static uint32_t n_tokens_of(const struct flight *f)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->n; i++) n += f->part[i].n_token;
    return n;
}

/* The copies the pool asked for. */
static status make_copies(struct engine *en, struct error *e)
{
    uint32_t n;
    const struct kv_copy_op *op = kv_copies(en->kv, &n);
    status r = OK;
    for (uint32_t i = 0; i < n && r == OK; i++) {
        struct kv_copy c = {.from = op[i].from, .to = op[i].to};
        r = en->api->kv_copy(en->kv_mem, &c, 1, e);
    }
    kv_copies_done(en->kv);
    return r;
}

/* The step of f, which is filled in, if it has any shares, onto the device. Copies are queued like steps: in
 * front of this one, behind the one under way. */
static void launch(struct engine *en, struct flight *f)
{
    struct error e = {0};
    f->start_ns = clock_ns();
    status s = make_copies(en, &e);
    const bool copied = s == OK;
    if (copied && f->n) s = en->api->step(en->model, en->kv_mem, &f->batch, &f->ticket, &e);
    if (en->api->draws || s != OK) masks_end(en->masks);
    if (s != OK) fail_flight(en, f, s, &e);
    if (copied) return;
    while (en->sched.n_running) fail_share(en, en->sched.running[0], &e); /* they cannot go on without */
    kv_clear(en->kv);
}

static void plan(struct engine *en)
{
    if (en->draft_model) ask_draft_model(en);
    flight_fill(en, en->now, sched_plan(&en->sched, clock_ns(), en->now->share));
    launch(en, en->now);
}

static void plan_ahead(struct engine *en)
{
    if (!flight_leads(en, en->now)) return;
    flight_assume(en->now, true);
    const uint32_t n = sched_plan_ahead(&en->sched, clock_ns(), en->next->share);
    if (n) flight_fill(en, en->next, n);
    flight_assume(en->now, false);
    en->metrics.n_ahead += n > 0;
    launch(en, en->next);
}

static void take_results(struct engine *en, struct flight *f, const struct step_result *r, int64_t now)
{
    const float *row = r->logits, *hidden = r->hidden;
    for (uint32_t i = 0, n_drawn = 0; i < f->n; i++) {
        const struct batch_seq *part = &f->part[i];
        const struct seq *s = (const struct seq *)f->share[i].seq;
        const struct outcome o = {
            .logits = row, .mask = f->mask[i], .drawn = part->draw ? &r->drawn[n_drawn++] : NULL};
        if (!s)
            en->metrics.n_thrown_rows++;
        else if (s->task == ENGINE_GENERATE)
            take_result(en, &f->share[i], o, now);
        else
            take_embedding(en, &f->share[i], hidden);
        row += (size_t)part->n_logits * en->m->cfg.n_vocab;
        hidden += (size_t)part->n_hidden * en->m->cfg.n_embd;
    }
}

/* Wait for the step under way, and take what it brought. */
static void collect(struct engine *en)
{
    struct flight *f = en->now;
    struct step_result r;
    struct error e = {0};
    status s = en->api->wait(en->model, f->ticket, &r, &e);
    masks_end(en->masks);
    const int64_t now = clock_ns(), began = MAX(f->start_ns, en->step_end_ns);
    en->step_end_ns = now;
    histogram_add(&en->metrics.step_s, (double)(now - began) * 1e-9);
    budget_learn(&en->budget, n_tokens_of(f), now - began);
    if (s == OK) {
        en->failed_steps = 0;
        take_results(en, f, &r, now);
    } else {
        fail_flight(en, f, s, &e);
    }
    f->n = 0;
    en->now = en->next;
    en->next = f;
}

void *engine_main(void *arg)
{
    struct engine *en = arg;
    while (take_in(en)) {
        end_late_ones(en);
        if (en->asleep && en->sched.n_queue) wake_up(en);
        if (!(en->sched.n_queue + en->sched.n_running + en->now->n)) continue;
        if (en->target_ns)
            en->sched.budget =
                budget_tokens(&en->budget, en->target_ns, en->sched.o.grid, en->lim.max_tokens);
        if (!en->now->n) plan(en);
        if (!en->now->n) continue;
        plan_ahead(en);
        collect(en);
        DEBUG_ASSERT(sched_valid(&en->sched));
    }
    while (en->sched.n_queue + en->sched.n_running) {
        struct seq *s = running_at(en, 0);
        end_all_kids(en, s, FINISH_CANCELLED, NULL);
        finish(en, s, FINISH_CANCELLED, NULL);
    }
    if (en->now->n) collect(en);
    return NULL;
}
