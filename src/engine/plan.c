/* One step: who is admitted, who must go, who computes what. */
#include "engine/sched.h"

struct step { /* being put together */
    struct sched_share *share;
    uint32_t n, budget, rows;
};

/* ---- preemption -------------------------------------------------------------------------------------- */

/* Tokens to compute again: blocks that others hold too stay. */
static uint32_t loss_of(const struct sched *s, const struct sched_seq *q)
{
    uint32_t n_shared = 0;
    while (n_shared < q->table.n_cached && kv_ref(s->kv, q->table.block[n_shared]) > 1) n_shared++;
    return q->n_computed - MIN(q->n_computed, n_shared * kv_block_tokens(s->kv));
}

static void preempt(struct sched *s, struct sched_seq *q)
{
    sched_leave(s, q);
    kv_release(s->kv, &q->table, q->token, q->n_computed);
    q->n_computed = 0;
    q->n_preempted++;
    q->mark = s->step; /* not admitted again in this step */
    s->n_preempted++;
    s->output_ratio = MIN(1.0, s->output_ratio * 1.5 + 0.05);
    sched_enqueue(s, q);
}

/* Whom to send away for q: of those that come after it, which have no share yet, the least urgent; among
 * these one that was not sent away twice already, with the least to compute again, the youngest. As only
 * later ones go, the first of all always gets on. */
static struct sched_seq *choose_victim(const struct sched *s, const struct sched_seq *q)
{
    enum { OFTEN = 2 };
    struct sched_seq *best = NULL;
    uint32_t best_loss = 0;
    for (uint32_t i = s->n_running; i-- && s->running[i] != q;) {
        struct sched_seq *v = s->running[i];
        if (best && v->run_level != best->run_level) break; /* sorted: the rest is more urgent */
        uint32_t loss = loss_of(s, v);
        bool spared = v->n_preempted >= OFTEN, best_spared = best && best->n_preempted >= OFTEN;
        if (best && (spared > best_spared || (spared == best_spared && loss >= best_loss))) continue;
        best = v;
        best_loss = loss;
    }
    return best;
}

/* ---- admission --------------------------------------------------------------------------------------- */

static uint8_t aged_level(const struct sched *s, const struct sched_seq *q, int64_t now)
{
    int64_t raised = s->o.age_ns ? (now - q->arrival_ns) / s->o.age_ns : 0;
    return (uint8_t)(raised >= q->level ? 0 : q->level - raised);
}

/* The queued request whose turn it is: by level, then the tenant that was served least, then arrival. */
static struct sched_seq *choose_next(const struct sched *s, int64_t now)
{
    struct sched_seq *best = NULL;
    uint8_t best_level = 0;
    for (uint32_t i = 0; i < s->n_queue; i++) {
        struct sched_seq *q = s->queue[i];
        if (q->mark == s->step) continue;
        uint8_t level = aged_level(s, q, now);
        if (best) {
            uint64_t a = s->tenant[q->tenant_at].served, b = s->tenant[best->tenant_at].served;
            bool before = level != best_level ? level < best_level : a != b ? a < b : q->id < best->id;
            if (!before) continue;
        }
        best = q;
        best_level = level;
    }
    return best;
}

/* Blocks that q will probably take beyond those of its known tokens. */
static uint32_t growth_of(const struct sched *s, const struct sched_seq *q)
{
    enum { AT_LEAST = 16, AT_MOST = 4096 };
    uint32_t most = q->max_known - q->n_known, done = q->n_known - q->n_prompt;
    double expected = s->output_ratio * (q->max_known - q->n_prompt) - done;
    uint32_t n = expected > AT_LEAST ? expected < AT_MOST ? (uint32_t)expected : AT_MOST : AT_LEAST;
    return kv_blocks_for(s->kv, q->n_known + MIN(n, most)) - kv_blocks_for(s->kv, q->n_known);
}

static bool has_room(struct sched *s, const struct sched_seq *q)
{
    uint32_t need = kv_blocks_for(s->kv, q->n_known) - q->hit.n_full, have = kv_n_free(s->kv) - q->hit.n_idle;
    if (!s->n_running) return need <= have;
    uint64_t growth = growth_of(s, q);
    for (uint32_t i = 0; i < s->n_running; i++) growth += growth_of(s, s->running[i]);
    return need + growth <= have;
}

static bool start(struct sched *s, struct sched_seq *q, int64_t now)
{
    struct error e;
    kv_match(s->kv, &q->table, q->token, q->n_known, &q->hit);
    if (kv_reserve(s->kv, &q->table, q->hit.n_token, q->n_known, &e) != OK) {
        kv_truncate(s->kv, &q->table, 0);
        return false;
    }
    sched_leave(s, q);
    q->n_computed = q->hit.n_token;
    kv_promise(s->kv, &q->table, q->token, q->n_known);
    if (!q->admit_ns) {
        q->admit_ns = now;
        q->n_cached = MIN(q->hit.n_token, q->n_prompt);
        q->miss = q->no_cache ? KV_MISS_OFF : q->hit.miss;
        s->n_admitted++;
    }
    sched_enter_running(s, q);
    return true;
}

/* The queue's head enters when it fits beside what runs and will grow. It may send away what is less urgent.
 * Nobody overtakes a head that does not fit, or it might never do; but one that waits for a prefix that is
 * just being computed is passed over. False: one would have to be sent away, ahead of time. */
static bool admit(struct sched *s, int64_t now, bool ahead)
{
    for (struct sched_seq *q; (q = choose_next(s, now));) {
        q->run_level = q->table.rank = aged_level(s, q, now);
        if (!kv_waiting(s->kv, &q->hit)) kv_peek(s->kv, &q->table, q->token, q->n_known, &q->hit);
        if (kv_waiting(s->kv, &q->hit)) {
            q->mark = s->step;
            continue;
        }
        bool place = s->n_running < s->o.max_seqs;
        if (place && has_room(s, q)) {
            if (!start(s, q, now)) return true;
            continue;
        }
        struct sched_seq *last = s->n_running ? s->running[s->n_running - 1] : NULL;
        if (!last || last->run_level <= q->level) return true;
        if (ahead) return false;
        preempt(s, last);
        q->hit.wait_block = UINT32_MAX; /* what went may have been part of the hit */
    }
    return true;
}

/* ---- shares ------------------------------------------------------------------------------------------ */

static void give(struct sched *s, struct step *st, struct sched_seq *q, uint32_t n, uint32_t n_draft)
{
    bool closes = n == sched_gap(q);
    struct sched_share *sh = &st->share[st->n++];
    *sh = (struct sched_share){q, n + n_draft, n_draft, closes};
    st->budget -= n + n_draft;
    st->rows -= sched_rows(sh);
    q->mark = s->step;
}

/* KV for the one token that q is short of, at the cost of others; false: q itself had to go. */
static bool make_room(struct sched *s, struct sched_seq *q)
{
    struct error e;
    while (kv_reserve(s->kv, &q->table, q->n_computed, q->n_known, &e) != OK) {
        struct sched_seq *victim = choose_victim(s, q);
        ASSERT(victim || s->n_running > 1); /* the pool holds one sequence of full length */
        preempt(s, victim ? victim : q);
        if (!victim) return false;
    }
    return true;
}

/* Guesses are tried with what nobody else needs: rows of logits, tokens of the budget, KV blocks. */
static uint32_t draft_size(struct sched *s, const struct step *st, struct sched_seq *q,
                           uint32_t n_tokens_spare, uint32_t n_rows_spare)
{
    struct error e;
    uint32_t n = MIN(q->n_draft, MIN(n_tokens_spare, n_rows_spare));
    n = MIN(n, q->max_known - q->n_known - 1); /* the last one is drawn anyway */
    if (!n || kv_n_free(s->kv) < s->n_running + kv_blocks_for(s->kv, n)) return 0;
    return kv_reserve(s->kv, &q->table, q->n_computed, q->n_known + n, &e) == OK ? n : 0;
}

/* All that are one token short, first of all: one that answers is never held up by a prompt. */
static void share_decodes(struct sched *s, struct step *st)
{
    uint32_t n_left = 0, n_prefill = 0;
    for (uint32_t i = 0; i < s->n_running; i++) {
        n_left += sched_gap(s->running[i]) == 1;
        n_prefill += sched_gap(s->running[i]) > 1;
    }
    /* They wait for their next token, so the step is not to take long; yet prompts get on. */
    if (n_left && s->budget) st->budget = MIN(st->budget, MAX(s->budget, n_left + s->o.grid));
    uint32_t spare = (st->budget - n_left) / (n_prefill ? 2 : 1),
             spare_rows = st->rows - MIN(st->rows, s->n_running);
    for (uint32_t i = 0; i < s->n_running;) {
        struct sched_seq *q = s->running[i];
        if (sched_gap(q) != 1) {
            i++;
            continue;
        }
        if (!make_room(s, q)) continue; /* another stands at i now */
        uint32_t n_draft = draft_size(s, st, q, spare, spare_rows);
        give(s, st, q, 1, n_draft);
        spare -= n_draft;
        spare_rows -= n_draft;
        i++;
    }
}

/* n tokens of q's gap, cut on the grid where the prompt goes on. A cut that would leave nothing is not made.
 */
static uint32_t on_grid(const struct sched *s, const struct sched_seq *q, uint32_t n)
{
    if (n >= sched_gap(q)) return sched_gap(q);
    uint32_t end = (q->n_computed + n) / s->o.grid * s->o.grid;
    return end > q->n_computed ? end - q->n_computed : n;
}

/* As many of n tokens as there are rows for, when each wants one: a row is left for every sequence without a
 * share. */
static uint32_t within_rows(const struct sched *s, const struct step *st, const struct sched_seq *q,
                            uint32_t n)
{
    return !q->score ? n : MIN(n, st->rows - (s->n_running - st->n - 1));
}

static struct sched_seq *shortest_prefill(const struct sched *s, const struct sched_seq *but)
{
    struct sched_seq *best = NULL;
    for (uint32_t i = 0; i < s->n_running; i++) {
        struct sched_seq *q = s->running[i];
        if (q == but || q->mark == s->step || sched_gap(q) < 2) continue;
        if (!best || (q->run_level == best->run_level && sched_gap(q) < sched_gap(best))) best = q;
    }
    return best;
}

/* Half of what is left belongs to the prompt whose turn it is, so that it gets on; the rest goes to the
 * shortest first, so that a short one need not wait for a long one. Blocks were taken at admission. */
static void share_prefills(struct sched *s, struct step *st)
{
    struct sched_seq *first = NULL;
    for (uint32_t i = 0; i < s->n_running && !first; i++)
        if (sched_gap(s->running[i]) > 1 && s->running[i]->mark != s->step) first = s->running[i];
    if (!first || !st->budget) return;
    uint32_t half = MIN(sched_gap(first), (st->budget + 1) / 2);
    for (struct sched_seq *q; st->budget > half && (q = shortest_prefill(s, first));)
        give(s, st, q, within_rows(s, st, q, on_grid(s, q, st->budget - half)), 0);
    give(s, st, first, within_rows(s, st, first, on_grid(s, first, st->budget)), 0);
}

uint32_t sched_plan(struct sched *s, int64_t now_ns, struct sched_share *share)
{
    struct step st = {.share = share, .budget = s->o.max_tokens, .rows = s->o.max_logits};
    s->step++;
    (void)admit(s, now_ns, false);
    share_decodes(s, &st);
    share_prefills(s, &st);
    ASSERT(st.n || !(s->n_queue + s->n_running));
    return st.n;
}

uint32_t sched_plan_ahead(struct sched *s, int64_t now_ns, struct sched_share *share)
{
    struct step st = {.share = share, .budget = s->o.max_tokens, .rows = s->o.max_logits};
    s->step++;
    /* A decode takes a block at most. */
    if (!admit(s, now_ns, true) || kv_n_free(s->kv) < s->n_running) return 0;
    share_decodes(s, &st);
    share_prefills(s, &st);
    return st.n;
}
