/* What runs and waits, for those who look from outside. The engine thread leaves a copy behind after each
 * step. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/engine_int.h"

static void view_one(struct engine_seq_view *v, const struct seq *s)
{
    const struct sched_seq *q = &s->q;
    *v = (struct engine_seq_view){.id = q->id,
                                  .tenant = q->tenant,
                                  .task = s->task,
                                  .choice = s->choice,
                                  .running = q->place == SCHED_RUNNING,
                                  .priority = (int32_t)q->level - SCHED_NORMAL,
                                  .n_prompt = q->n_prompt,
                                  .n_known = q->n_known,
                                  .n_computed = q->n_computed,
                                  .max_known = q->max_known,
                                  .n_cached = q->n_cached,
                                  .n_block = q->table.n_block,
                                  .n_preempted = q->n_preempted,
                                  .n_draft = s->n_draft,
                                  .n_draft_right = s->n_draft_right,
                                  .arrival_ns = q->arrival_ns,
                                  .start_ns = q->admit_ns,
                                  .first_ns = s->first_ns,
                                  .last_ns = s->last_ns};
}

void view_publish(struct engine *en)
{
    const struct sched *s = &en->sched;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_running && n < ENGINE_MAX_VIEW; i++)
        view_one(&en->view[n++], (const struct seq *)s->running[i]);
    for (uint32_t i = 0; i < s->n_queue && n < ENGINE_MAX_VIEW; i++)
        view_one(&en->view[n++], (const struct seq *)s->queue[i]);
    en->n_view = n;
}

size_t engine_view(const struct engine *en, struct engine_seq_view *out, size_t max)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&en->lock;
    pthread_mutex_lock(lock);
    size_t n = MIN(max, (size_t)en->n_view);
    memcpy(out, en->view, n * sizeof *out);
    pthread_mutex_unlock(lock);
    return n;
}

static void add_ms(struct buf *out, const char *name, int64_t from, int64_t to)
{
    if (!from || !to) return;
    buf_addf(out, ",\"%s\":", name);
    buf_json_double(out, (double)(to - from) / 1e6);
}

void engine_view_json(const struct engine *en, struct buf *out)
{
    static const char *const task[] = {
        [ENGINE_GENERATE] = "generate", [ENGINE_EMBED] = "embed", [ENGINE_RANK] = "rank"};
    struct engine_seq_view *v = mem_alloc(ENGINE_MAX_VIEW * sizeof *v);
    size_t n = engine_view(en, v, ENGINE_MAX_VIEW);
    int64_t now = clock_ns();
    buf_addc(out, '[');
    for (size_t i = 0; i < n; i++, v++) {
        buf_addf(out,
                 "%s{\"id\":%llu,\"choice\":%u,\"task\":\"%s\",\"state\":\"%s\",\"priority\":%d,"
                 "\"tenant\":\"%llx\",\"prompt_tokens\":%u,\"tokens\":%u,\"computed\":%u,\"most\":%u,"
                 "\"cached\":%u,\"kv_blocks\":%u,\"preempted\":%u,\"guessed\":%u,\"guessed_right\":%u",
                 i ? "," : "", (unsigned long long)v->id, v->choice, task[v->task],
                 !v->running                 ? "waiting"
                 : v->n_known == v->n_prompt ? "prompt"
                                             : "answer",
                 v->priority, (unsigned long long)v->tenant, v->n_prompt, v->n_known, v->n_computed,
                 v->max_known, v->n_cached, v->n_block, v->n_preempted, v->n_draft, v->n_draft_right);
        add_ms(out, "age_ms", v->arrival_ns, now);
        add_ms(out, "queue_ms", v->arrival_ns, v->start_ns);
        add_ms(out, "first_token_ms", v->arrival_ns, v->first_ns);
        add_ms(out, "last_token_ms_ago", v->last_ns, now);
        buf_addc(out, '}');
    }
    buf_addc(out, ']');
    free(v - n);
}
