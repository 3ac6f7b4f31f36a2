#include "engine/seq.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

status seq_new(struct seq **out, const struct engine_request *r, uint32_t n_vocab, uint32_t max_context,
               struct error *e)
{
    *out = NULL;
    if (r->n_prompt == 0) return fail(e, ERR_ARG, "the prompt is empty: it needs at least one token");
    if (r->n_prompt >= max_context)
        return fail(e, ERR_LIMIT,
                    "the prompt has %u tokens, the context holds %u and one is needed for the answer",
                    r->n_prompt, max_context);
    for (uint32_t i = 0; i < r->n_prompt; i++)
        if (r->prompt[i] < 0 || (uint32_t)r->prompt[i] >= n_vocab)
            return fail(e, ERR_ARG, "prompt token %u is %d, outside the vocabulary of %u", i, r->prompt[i],
                        n_vocab);

    struct sampler *sampler;
    TRY(sampler_new(&sampler, &r->params, n_vocab, e));
    struct seq *s = mem_zalloc(1, sizeof *s);
    uint32_t room = max_context - r->n_prompt;
    *s = (struct seq){.sampler = sampler,
                      .n_known = r->n_prompt,
                      .n_prompt = r->n_prompt,
                      .cap = r->n_prompt + 64,
                      .ignore_eos = r->params.ignore_eos,
                      .on_event = r->on_event,
                      .user = r->user,
                      .submit_ns = clock_ns()};
    s->max_known = r->n_prompt + (r->max_tokens ? MIN(r->max_tokens, room) : room);
    s->token = mem_zalloc(s->cap, sizeof *s->token);
    memcpy(s->token, r->prompt, r->n_prompt * sizeof *s->token);
    s->n_eog = r->params.n_eog;
    s->eog = mem_zalloc(s->n_eog, sizeof *s->eog);
    if (s->n_eog) memcpy(s->eog, r->params.eog, s->n_eog * sizeof *s->eog);
    for (uint32_t i = 0; i < r->n_prompt; i++) sampler_accept(sampler, r->prompt[i], true);
    *out = s;
    return OK;
}

void seq_free(struct seq *s)
{
    if (!s) return;
    ASSERT(s->table.n_block == 0);
    free(s->table.block);
    sampler_free(s->sampler);
    free(s->token);
    free(s->eog);
    free(s);
}

void seq_append(struct seq *s, int32_t token)
{
    if (s->n_known == s->cap) {
        s->cap *= 2;
        s->token = mem_realloc(s->token, s->cap, sizeof *s->token);
    }
    s->token[s->n_known++] = token;
}

bool seq_is_eog(const struct seq *s, int32_t token)
{
    for (uint32_t i = 0; i < s->n_eog; i++)
        if (s->eog[i] == token) return true;
    return false;
}

void seq_send_token(const struct seq *s, const struct sample_result *r)
{
    struct engine_event ev = {.kind = EV_TOKEN, .id = s->id, .token = r};
    s->on_event(s->user, &ev);
}

void seq_send_end(const struct seq *s, enum finish_reason why, const struct error *error)
{
    int64_t now = clock_ns(), start = s->start_ns ? s->start_ns : now;
    int64_t first = s->first_ns ? s->first_ns : now;
    struct engine_event ev = {.kind = EV_END, .id = s->id, .finish = why, .error = error};
    ev.timing = (struct engine_timing){.queue_ns = start - s->submit_ns,
                                       .prefill_ns = first - start,
                                       .decode_ns = now - first,
                                       .n_prompt = s->n_prompt,
                                       .n_decode = s->n_known - s->n_prompt};
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

void seq_push_front(struct seq_list *l, struct seq *s)
{
    s->next = l->head;
    l->head = s;
    if (!l->tail) l->tail = s;
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

struct seq *seq_take(struct seq_list *l, uint64_t id)
{
    struct seq *before = NULL;
    for (struct seq *s = l->head; s; before = s, s = s->next) {
        if (s->id != id) continue;
        if (before)
            before->next = s->next;
        else
            l->head = s->next;
        if (l->tail == s) l->tail = before;
        l->n--;
        s->next = NULL;
        return s;
    }
    return NULL;
}
