#include "engine/seq.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/embed.h"

static status check(const struct engine_request *r, uint32_t n_vocab, uint32_t max_context, struct error *e)
{
    if (r->n_prompt == 0) return fail(e, ERR_ARG, "the prompt is empty: it needs at least one token");
    if (r->task > ENGINE_RANK) return fail(e, ERR_ARG, "unknown task %u", (unsigned)r->task);
    if (r->task != ENGINE_GENERATE && r->n_prompt > max_context)
        return fail(e, ERR_LIMIT, "the text has %u tokens, the context holds %u", r->n_prompt, max_context);
    if (r->task == ENGINE_GENERATE && r->n_prompt >= max_context)
        return fail(e, ERR_LIMIT,
                    "the prompt has %u tokens, the context holds %u and one is needed for the answer",
                    r->n_prompt, max_context);
    for (uint32_t i = 0; i < r->n_prompt; i++)
        if (r->prompt[i] < 0 || (uint32_t)r->prompt[i] >= n_vocab)
            return fail(e, ERR_ARG, "prompt token %u is %d, outside the vocabulary of %u", i, r->prompt[i],
                        n_vocab);
    if (r->n_given && (r->task != ENGINE_GENERATE || r->n > 1 || r->best_of > 1))
        return fail(e, ERR_ARG, "an answer that goes on is one choice of generated text");
    if (r->n_given &&
        (r->n_given >= max_context - r->n_prompt || (r->max_tokens && r->n_given >= r->max_tokens)))
        return fail(e, ERR_LIMIT, "an answer that goes on has %u tokens already, there is no room for more",
                    r->n_given);
    for (uint32_t i = 0; i < r->n_given; i++)
        if (r->given[i] < 0 || (uint32_t)r->given[i] >= n_vocab)
            return fail(e, ERR_ARG, "token %u of the answer is %d, outside the vocabulary of %u", i,
                        r->given[i], n_vocab);
    for (uint32_t i = 0; i < r->n_prediction; i++)
        if (r->prediction[i] < 0 || (uint32_t)r->prediction[i] >= n_vocab)
            return fail(e, ERR_ARG, "token %u of the prediction is %d, outside the vocabulary of %u", i,
                        r->prediction[i], n_vocab);
    if (r->priority < -SCHED_NORMAL || r->priority >= SCHED_LEVELS - SCHED_NORMAL)
        return fail(e, ERR_ARG, "priority %d is outside %d to %d", r->priority, -SCHED_NORMAL,
                    SCHED_LEVELS - SCHED_NORMAL - 1);
    if (r->cache_class >= KV_PREFETCH) return fail(e, ERR_ARG, "unknown cache class %u", r->cache_class);
    return OK;
}

static int64_t deadline(int64_t now, int64_t timeout)
{
    return timeout > 0 ? now + MIN(timeout, INT64_MAX - now) : 0;
}

static void set_schedule(struct seq *s, const struct engine_request *r, uint32_t max_context)
{
    uint32_t room = r->task == ENGINE_GENERATE ? max_context - r->n_prompt : 0;
    int64_t now = clock_ns();
    s->q = (struct sched_seq){.n_known = r->n_prompt + r->n_given,
                              .n_prompt = r->n_prompt,
                              .max_known = r->n_prompt + (r->max_tokens ? MIN(r->max_tokens, room) : room),
                              .level = (uint8_t)(SCHED_NORMAL + r->priority),
                              .no_cache = r->no_cache || r->score_prompt,
                              .score = r->score_prompt && r->task == ENGINE_GENERATE,
                              .tenant = r->tenant,
                              .arrival_ns = now,
                              .queue_by_ns = deadline(now, r->queue_timeout_ns),
                              .first_by_ns = deadline(now, r->first_timeout_ns),
                              .total_by_ns = deadline(now, r->total_timeout_ns),
                              .table = {.salt = r->cache_salt, .cls = r->cache_class}};
}

/* What draw() does with a token, but for its event. What a constraint forces depends on where it was asked.
 */
static status take_given(struct seq *s, const struct engine_request *r, struct error *e)
{
    int32_t none;
    for (uint32_t i = 0; i < r->n_given; i++) {
        sampler_accept(s->sampler, r->given[i], false);
        if (s->constraint.forced) s->constraint.forced(s->allowed, &none, 0);
        if (s->constraint.accept && !s->constraint.accept(s->allowed, r->given[i]))
            return fail(e, ERR_ARG, "token %u of the answer is not one that the constraint allows", i);
    }
    if (r->n_given && sampler_learns(&r->params)) sampler_resume(s->sampler, r->learned);
    return OK;
}

/* What only those need that generate. */
static status set_sampling(struct seq *s, const struct engine_request *r, uint32_t choice, uint32_t n_vocab,
                           struct error *e)
{
    struct sample_params params = r->params;
    params.choice += choice;
    TRY(sampler_new(&s->sampler, &params, n_vocab, e));
    for (uint32_t i = 0; i < r->n_prompt; i++) sampler_accept(s->sampler, r->prompt[i], true);
    s->n_eog = r->params.n_eog;
    s->ignore_eos = r->params.ignore_eos;
    s->eog = mem_zalloc(s->n_eog, sizeof *s->eog);
    if (s->n_eog) memcpy(s->eog, r->params.eog, s->n_eog * sizeof *s->eog);
    if (r->constraint) {
        s->constraint = *r->constraint;
        s->allowed = r->constraint->clone(r->constraint->state);
    }
    return take_given(s, r, e);
}

status seq_new(struct seq **out, const struct engine_request *r, uint32_t choice, const struct model_desc *m,
               uint32_t max_context, struct error *e)
{
    *out = NULL;
    TRY(check(r, m->cfg.n_vocab, max_context, e));
    struct seq *s = mem_zalloc(1, sizeof *s);
    *s = (struct seq){.cap = r->n_prompt + r->n_given + 64,
                      .choice = choice,
                      .n_given = r->n_given,
                      .on_event = r->on_event,
                      .user = r->user};
    set_schedule(s, r, max_context);
    status st = embed_init(s, r, m, e);
    if (st == OK && r->task == ENGINE_GENERATE) st = set_sampling(s, r, choice, m->cfg.n_vocab, e);
    if (st != OK) {
        seq_free(s);
        return st;
    }
    s->token = mem_zalloc(s->cap, sizeof *s->token);
    s->q.token = s->token;
    memcpy(s->token, r->prompt, r->n_prompt * sizeof *s->token);
    if (r->n_given) memcpy(s->token + r->n_prompt, r->given, r->n_given * sizeof *s->token);
    *out = s;
    return OK;
}

void seq_free(struct seq *s)
{
    if (!s) return;
    ASSERT(s->q.table.n_block == 0);
    free(s->q.table.block);
    if (s->constraint.free) s->constraint.free(s->allowed);
    sampler_free(s->sampler);
    embed_deinit(s);
    draft_deinit(&s->draft);
    free(s->token);
    free(s->eog);
    free(s);
}

int32_t *seq_reserve(struct seq *s, uint32_t n)
{
    if (s->q.n_known + n > s->cap) {
        s->cap = MAX(s->cap * 2, s->q.n_known + n);
        s->token = mem_realloc(s->token, s->cap, sizeof *s->token);
        s->q.token = s->token;
    }
    return s->token + s->q.n_known;
}

void seq_append(struct seq *s, int32_t token)
{
    *seq_reserve(s, 1) = token;
    s->q.n_known++;
}

bool seq_is_eog(const struct seq *s, int32_t token)
{
    for (uint32_t i = 0; i < s->n_eog; i++)
        if (s->eog[i] == token) return true;
    return false;
}

void seq_send_token(const struct seq *s, const struct sample_result *r)
{
    struct engine_event ev = {.kind = EV_TOKEN, .id = s->q.id, .token = r, .choice = s->choice};
    s->on_event(s->user, &ev);
}

void seq_send_scores(struct seq *s, const float *logits, uint32_t n_vocab, uint32_t n)
{
    struct sample_result r;
    struct engine_event ev = {.kind = EV_PROMPT, .id = s->q.id, .token = &r, .choice = s->choice};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = s->q.n_computed + i + 1; /* what the row speaks of */
        if (at <= s->n_scored || at >= s->q.n_prompt) continue;
        sampler_score(s->sampler, logits + (size_t)i * n_vocab, s->token[at], &r);
        s->on_event(s->user, &ev);
        s->n_scored = at;
    }
}

void seq_send_end(const struct seq *s, enum finish_reason why, const struct error *error, int64_t now)
{
    const struct sched_seq *q = &s->q;
    int64_t start = q->admit_ns ? q->admit_ns : now, first = s->first_ns ? s->first_ns : now;
    struct engine_event ev = {
        .kind = EV_END, .id = q->id, .finish = why, .error = error, .choice = s->choice};
    ev.timing = (struct engine_timing){.queue_ns = start - q->arrival_ns,
                                       .prefill_ns = first - start,
                                       .decode_ns = now - first,
                                       .n_prompt = q->n_prompt,
                                       .n_decode = q->n_known - q->n_prompt - s->n_given,
                                       .n_cached = q->n_cached,
                                       .cache_miss = kv_miss_name(q->miss),
                                       .n_draft = s->n_draft,
                                       .n_draft_right = s->n_draft_right,
                                       .n_predicted = s->draft.n_cursor,
                                       .n_predicted_right = s->draft.n_cursor_right,
                                       .n_preempted = q->n_preempted};
    s->on_event(s->user, &ev);
}

void seq_push(struct seq_list *l, struct seq *s)
{
    s->next = NULL;
    if (l->tail)
        l->tail->next = s;
    else
        l->head = s;
    l->tail = s;
    l->n++;
}

struct seq *seq_pop(struct seq_list *l)
{
    struct seq *s = l->head;
    if (!s) return NULL;
    l->head = s->next;
    if (!l->head) l->tail = NULL;
    l->n--;
    s->next = NULL;
    return s;
}
