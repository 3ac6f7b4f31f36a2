#include "engine/sched.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_IDLE_TENANTS = 1024 };

status sched_init(struct sched *s, const struct sched_options *o, struct kv *kv, struct error *e)
{
    if (!o->max_seqs || o->max_tokens < o->max_seqs || o->max_logits < o->max_seqs || !o->grid)
        return fail(e, ERR_ARG, "a scheduler of %u sequences, %u tokens and %u rows of logits", o->max_seqs,
                    o->max_tokens, o->max_logits);
    *s = (struct sched){.o = *o, .kv = kv, .next_deadline_ns = INT64_MAX, .output_ratio = 0.25};
    s->running = mem_zalloc(o->max_seqs, sizeof(struct sched_seq *));
    return OK;
}

void sched_deinit(struct sched *s)
{
    ASSERT(!s->n_queue && !s->n_running);
    free(s->queue);
    free(s->running);
    free(s->tenant);
    *s = (struct sched){0};
}

/* ---- tenants: a virtual counter of what each was served (Sheng et al., "Fairness in serving large language
 * models", OSDI 2024). One that comes back starts level with those that stayed.
 * ---------------------------------- */

static uint64_t least_served(const struct sched *s)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < s->n_tenant; i++)
        if (s->tenant[i].n_active) least = MIN(least, s->tenant[i].served);
    return least == UINT64_MAX ? 0 : least;
}

/* The row of a tenant: its own, one of an idle tenant when there are many, or a new one. */
static uint32_t tenant_row(struct sched *s, uint64_t id)
{
    uint32_t idle = UINT32_MAX;
    for (uint32_t i = 0; i < s->n_tenant; i++) {
        if (s->tenant[i].id == id) return i;
        if (!s->tenant[i].n_active && (idle == UINT32_MAX || s->tenant[i].served < s->tenant[idle].served))
            idle = i;
    }
    if (idle == UINT32_MAX || s->n_tenant < MAX_IDLE_TENANTS) {
        if (s->n_tenant == s->cap_tenant) {
            s->cap_tenant = MAX(8u, s->cap_tenant * 2);
            s->tenant = mem_realloc(s->tenant, s->cap_tenant, sizeof *s->tenant);
        }
        idle = s->n_tenant++;
    }
    s->tenant[idle] = (struct sched_tenant){.id = id};
    return idle;
}

static void tenant_enter(struct sched *s, struct sched_seq *q)
{
    uint64_t least = least_served(s);
    q->tenant_at = tenant_row(s, q->tenant);
    struct sched_tenant *t = &s->tenant[q->tenant_at];
    if (!t->n_active++) t->served = MAX(t->served, least);
}

/* ---- coming and going -------------------------------------------------------------------------------- */

void sched_enqueue(struct sched *s, struct sched_seq *q)
{
    if (s->n_queue == s->cap_queue) {
        s->cap_queue = MAX(16u, s->cap_queue * 2);
        s->queue = mem_realloc(s->queue, s->cap_queue, sizeof(struct sched_seq *));
    }
    s->queue[s->n_queue++] = q;
    q->place = SCHED_QUEUED;
    q->hit.wait_block = UINT32_MAX;
}

static void note_deadlines(struct sched *s, const struct sched_seq *q)
{
    const int64_t by[] = {q->queue_by_ns, q->first_by_ns, q->total_by_ns};
    for (size_t i = 0; i < COUNT_OF(by); i++)
        if (by[i]) s->next_deadline_ns = MIN(s->next_deadline_ns, by[i]);
}

void sched_add(struct sched *s, struct sched_seq *q)
{
    ASSERT(q->place == SCHED_OUT && q->n_known && q->n_known <= q->max_known && q->level < SCHED_LEVELS);
    ASSERT(q->table.cls != KV_PREFETCH && !q->table.n_block);
    if (q->no_cache) q->table.salt = ~(q->id * 0x9e3779b97f4a7c15); /* nobody else's */
    q->n_computed = 0;
    tenant_enter(s, q);
    note_deadlines(s, q);
    sched_enqueue(s, q);
}

static bool runs_before(const struct sched_seq *a, const struct sched_seq *b)
{
    return a->run_level != b->run_level ? a->run_level < b->run_level : a->id < b->id;
}

void sched_enter_running(struct sched *s, struct sched_seq *q)
{
    uint32_t i = s->n_running++;
    ASSERT(s->n_running <= s->o.max_seqs);
    for (; i && runs_before(q, s->running[i - 1]); i--) s->running[i] = s->running[i - 1];
    s->running[i] = q;
    q->place = SCHED_RUNNING;
}

/* Out of its list; table and tenant stay. */
void sched_leave(struct sched *s, struct sched_seq *q)
{
    uint32_t i = 0;
    if (q->place == SCHED_QUEUED) {
        while (s->queue[i] != q) i++;
        s->queue[i] = s->queue[--s->n_queue];
    } else {
        while (s->running[i] != q) i++;
        memmove(&s->running[i], &s->running[i + 1], (--s->n_running - i) * sizeof(struct sched_seq *));
    }
    q->place = SCHED_OUT;
}

void sched_remove(struct sched *s, struct sched_seq *q)
{
    if (q->place == SCHED_OUT) return;
    sched_leave(s, q);
    kv_release(s->kv, &q->table, q->token, q->n_computed);
    q->n_computed = 0;
    s->tenant[q->tenant_at].n_active--;
}

void sched_finish(struct sched *s, struct sched_seq *q)
{
    double most = q->max_known - q->n_prompt, got = q->n_known - q->n_prompt;
    if (most > 0) s->output_ratio += 0.1 * (got / most - s->output_ratio);
    sched_remove(s, q);
}

void sched_computed(struct sched *s, struct sched_seq *q, uint32_t n)
{
    enum { PROMPT_WEIGHT = 1, OUTPUT_WEIGHT = 2 };
    uint32_t end = q->n_computed + n;
    uint32_t of_prompt = q->n_computed < q->n_prompt ? MIN(end, q->n_prompt) - q->n_computed : 0;
    s->tenant[q->tenant_at].served += of_prompt * PROMPT_WEIGHT + (uint64_t)(n - of_prompt) * OUTPUT_WEIGHT;
    q->n_computed = end;
    kv_publish(s->kv, &q->table, q->token, end);
}

void sched_fork(struct sched *s, const struct sched_seq *parent, struct sched_seq *child, int64_t now_ns)
{
    ASSERT(parent->place == SCHED_RUNNING && child->n_known >= parent->n_computed);
    child->table.salt = parent->table.salt;
    child->table.cls = parent->table.cls;
    child->n_cached = child->n_prompt;
    child->miss = KV_MISS_NONE;
    sched_add(s, child);
    child->admit_ns = now_ns;
    if (s->n_running == s->o.max_seqs) return;
    sched_leave(s, child);
    child->run_level = parent->run_level;
    child->table.rank = child->run_level;
    kv_fork(s->kv, &child->table, &parent->table, parent->n_computed);
    child->n_computed = parent->n_computed;
    sched_enter_running(s, child);
}

/* ---- deadlines --------------------------------------------------------------------------------------- */

static enum sched_late lateness(const struct sched_seq *q, int64_t now)
{
    if (q->total_by_ns && now >= q->total_by_ns) return SCHED_LATE_TOTAL;
    if (q->first_by_ns && now >= q->first_by_ns && q->n_known == q->n_prompt) return SCHED_LATE_FIRST;
    if (q->queue_by_ns && now >= q->queue_by_ns && !q->admit_ns) return SCHED_LATE_QUEUE;
    return SCHED_IN_TIME;
}

struct sched_seq *sched_late(struct sched *s, int64_t now_ns, enum sched_late *why)
{
    if (now_ns < s->next_deadline_ns) return NULL;
    for (uint32_t i = 0; i < s->n_queue + s->n_running; i++) {
        struct sched_seq *q = i < s->n_queue ? s->queue[i] : s->running[i - s->n_queue];
        if ((*why = lateness(q, now_ns)) != SCHED_IN_TIME) return q;
    }
    s->next_deadline_ns = INT64_MAX;
    for (uint32_t i = 0; i < s->n_queue + s->n_running; i++) {
        const struct sched_seq *q = i < s->n_queue ? s->queue[i] : s->running[i - s->n_queue];
        if (q->queue_by_ns > now_ns) s->next_deadline_ns = MIN(s->next_deadline_ns, q->queue_by_ns);
        if (q->first_by_ns > now_ns) s->next_deadline_ns = MIN(s->next_deadline_ns, q->first_by_ns);
        if (q->total_by_ns > now_ns) s->next_deadline_ns = MIN(s->next_deadline_ns, q->total_by_ns);
    }
    return NULL;
}

bool sched_valid(const struct sched *s)
{
    uint32_t n_active = 0;
    if (s->n_running > s->o.max_seqs || !kv_valid(s->kv)) return false;
    for (uint32_t i = 0; i < s->n_tenant; i++) n_active += s->tenant[i].n_active;
    for (uint32_t i = 0; i < s->n_running; i++) {
        const struct sched_seq *q = s->running[i];
        if (q->place != SCHED_RUNNING || q->n_computed > q->n_known) return false;
        if (kv_blocks_for(s->kv, q->n_computed) > q->table.n_block) return false;
        if (i && !runs_before(s->running[i - 1], q)) return false;
    }
    for (uint32_t i = 0; i < s->n_queue; i++)
        if (s->queue[i]->place != SCHED_QUEUED || s->queue[i]->table.n_block) return false;
    return n_active == s->n_queue + s->n_running;
}
