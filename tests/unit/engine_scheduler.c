/* The scheduler on a fake device in virtual time. The device keeps in every KV position what only the tokens
 * up to there lead to, and chooses the next token from what it reads back, so a sequence whose blocks were
 * mixed up, reused too early or computed in the wrong order answers differently from one that ran alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "engine/budget.h"
#include "engine/sched.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { BLOCK = 16, MAX_LEN = 320, MAX_SEQS = 16, MAX_BLOCKS = 4096, MAX_JOBS = 600 };

struct job {
    struct sched_seq q;
    int32_t token[MAX_LEN + 8];
    uint32_t n_out, total_out, n_step_skipped;
    int64_t first_ns, end_ns;
    uint32_t n_end;
    enum sched_late late;
    bool used;
};

static struct world {
    struct kv *kv;
    struct sched s;
    struct sched_options o;
    uint64_t memory[MAX_BLOCKS][BLOCK];
    struct job job[MAX_JOBS];
    struct sched_share share[1024];
    uint32_t n_share;
    int64_t now_ns;
    uint64_t n_ids, n_computed_tokens, n_draft_tokens, n_accepted;
    uint64_t draw, n_ahead, n_thrown;
    bool computed; /* the shares are in memory already */
} w;

/* A step queued behind the one that runs: what it is to compute is read then, not when its turn comes. */
static struct queued {
    struct sched_seq *seq; /* NULL: it has ended meanwhile */
    uint32_t pos, n_token, block[MAX_LEN / BLOCK + 1];
} ahead[MAX_SEQS];
static struct sched_share ahead_share[MAX_SEQS];
static struct kv_copy_op ahead_copy[MAX_BLOCKS];
static uint32_t n_ahead, n_ahead_copy;

static uint32_t pick(uint32_t n)
{
    return (uint32_t)(rng_uniform(11, 0, w.draw++, 0) * n);
}

static void world_open(uint32_t n_block, struct sched_options o)
{
    struct error e;
    uint64_t draw = w.draw;
    memset(&w, 0, sizeof w);
    w.draw = draw;
    w.o = o;
    w.now_ns = 1;
    assert_int_equal(kv_new(&w.kv, n_block, BLOCK, &e), OK);
    assert_int_equal(sched_init(&w.s, &o, w.kv, &e), OK);
}

static void world_close(void)
{
    struct kv_stats st;
    assert_int_equal(w.s.n_running + w.s.n_queue, 0);
    kv_stats(w.kv, &st);
    assert_int_equal(st.n_private + st.n_live, 0);
    assert_true(sched_valid(&w.s));
    for (uint32_t i = 0; i < MAX_JOBS; i++) kv_table_deinit(w.kv, &w.job[i].q.table);
    sched_deinit(&w.s);
    kv_free(w.kv);
}

/* ---- the fake model ---------------------------------------------------------------------------------- */

static uint64_t after(uint64_t h, int32_t token)
{
    h = (h ^ (uint64_t)(uint32_t)token) * 0x100000001b3;
    return h ^ h >> 29;
}

/* Repeats itself now and then, so that guesses can be right. */
static int32_t next_token(uint64_t h)
{
    return (int32_t)(h >> 20 & 3);
}

static int32_t truth(const struct job *j, uint32_t n_known)
{
    uint64_t h = 0;
    for (uint32_t i = 0; i < n_known; i++) h = after(h, j->token[i]);
    return next_token(h);
}

static uint64_t compute(const uint32_t *block, uint32_t pos, int32_t token)
{
    uint64_t before = pos ? w.memory[block[(pos - 1) / BLOCK]][(pos - 1) % BLOCK] : 0;
    return w.memory[block[pos / BLOCK]][pos % BLOCK] = after(before, token);
}

/* ---- jobs -------------------------------------------------------------------------------------------- */

static struct job *free_job(void)
{
    for (uint32_t i = 0; i < MAX_JOBS; i++)
        if (!w.job[i].used) return &w.job[i];
    return NULL;
}

/* A job of n tokens of a family's prompt and n_out to answer. */
static struct job *new_job(int32_t family, uint32_t n, uint32_t n_out)
{
    struct job *j = free_job();
    ASSERT(j && n + n_out <= MAX_LEN);
    struct kv_table table = j->q.table;
    table.n_cached = 0;
    table.closed = false;
    table.salt = 0;
    table.cls = KV_ANON;
    *j = (struct job){.used = true, .total_out = n_out};
    for (uint32_t i = 0; i < n; i++) j->token[i] = family * 1000 + (int32_t)i;
    j->q = (struct sched_seq){.id = ++w.n_ids,
                              .token = j->token,
                              .n_known = n,
                              .n_prompt = n,
                              .max_known = n + n_out,
                              .level = SCHED_NORMAL,
                              .arrival_ns = w.now_ns,
                              .table = table};
    return j;
}

static void end_job(struct job *j, enum sched_late late)
{
    j->end_ns = w.now_ns;
    j->late = late;
    j->n_end++;
    j->used = false;
    for (uint32_t i = 0; i < n_ahead; i++)
        if (ahead[i].seq == &j->q) ahead[i].seq = NULL;
}

static void propose(struct job *j)
{
    uint32_t n = pick(4) ? 0 : 1 + pick(4);
    j->q.n_draft = n;
    for (uint32_t i = 0; i < n; i++) {
        bool right = pick(3);
        j->token[j->q.n_known + i] = right ? truth(j, j->q.n_known + i) : (int32_t)pick(4);
    }
}

static void check_share(const struct sched_share *sh)
{
    const struct sched_seq *q = sh->seq;
    assert_int_equal(q->place, SCHED_RUNNING);
    assert_true(sh->n_token > 0);
    assert_int_equal(q->n_computed + sh->n_token - sh->n_draft == q->n_known, sh->closes);
    assert_true(sh->closes || !sh->n_draft);
    assert_true(q->n_computed + sh->n_token <= (uint64_t)q->table.n_block * BLOCK);
    assert_true(q->n_known + sh->n_draft <= q->max_known);
    assert_true(q->n_computed / BLOCK >= q->table.n_cached); /* what is cached is not written */
}

/* Run the planned shares. Returns how many ended. */
static int64_t computed_ns; /* in sched_computed */

static void computed(struct sched_seq *q, uint32_t n)
{
    int64_t start = clock_ns();
    sched_computed(&w.s, q, n);
    computed_ns += clock_ns() - start;
}

static uint32_t run_shares(bool with_drafts)
{
    uint32_t n_ended = 0, n_tokens = 0, n_rows = 0;
    uint64_t last[1024];
    static uint64_t row[1024][8];
    for (uint32_t i = 0; i < w.n_share; i++) {
        struct sched_share *sh = &w.share[i];
        check_share(sh);
        n_tokens += sh->n_token;
        n_rows += sh->closes ? 1 + sh->n_draft : 0;
        for (uint32_t t = 0; t < sh->n_token; t++) {
            const uint32_t pos = sh->seq->n_computed + t, *block = sh->seq->table.block;
            last[i] = w.computed ? w.memory[block[pos / BLOCK]][pos % BLOCK]
                                 : compute(block, pos, sh->seq->token[pos]);
            if (t + 1 + sh->n_draft >= sh->n_token) row[i][t + 1 + sh->n_draft - sh->n_token] = last[i];
        }
    }
    assert_true(n_tokens <= w.o.max_tokens && n_rows <= w.o.max_logits && w.n_share <= w.o.max_seqs);
    w.n_computed_tokens += n_tokens;
    for (uint32_t i = 0; i < w.n_share; i++) {
        struct sched_share *sh = &w.share[i];
        struct job *j = (struct job *)sh->seq;
        struct sched_seq *q = sh->seq;
        if (!sh->closes) {
            computed(q, sh->n_token);
            continue;
        }
        bool ended = false;
        uint32_t n_right = 0;
        for (uint32_t d = 0; d <= sh->n_draft && !ended; d++) {
            int32_t tok = next_token(row[i][d]);
            if (tok != truth(j, q->n_known))
                fail_msg("job %llu answers differently", (unsigned long long)q->id);
            bool right = d < sh->n_draft && j->token[q->n_known] == tok;
            j->token[q->n_known++] = tok;
            j->n_out++;
            if (!j->first_ns) j->first_ns = w.now_ns;
            ended = q->n_known == q->max_known;
            n_right += right;
            if (!right) break;
        }
        w.n_draft_tokens += sh->n_draft;
        w.n_accepted += n_right;
        computed(q, MIN(sh->n_token - sh->n_draft + n_right, q->n_known - q->n_computed));
        q->n_draft = 0;
        if (ended) {
            assert_int_equal(j->n_out, j->total_out);
            sched_finish(&w.s, q);
            end_job(j, SCHED_IN_TIME);
            n_ended++;
        } else if (with_drafts) {
            propose(j);
        }
    }
    return n_ended;
}

static void check_nobody_is_held_up(void)
{
    for (uint32_t i = 0; i < w.s.n_running; i++) {
        const struct sched_seq *q = w.s.running[i];
        if (sched_gap(q) == 1) assert_int_equal(q->mark, w.s.step);
    }
}

/* As the engine does: see flight.h. False: no step follows ahead. */
static bool plan_ahead(void)
{
    bool more[MAX_SEQS];
    for (uint32_t i = 0; i < w.n_share; i++) {
        const struct sched_share *sh = &w.share[i];
        if (sh->n_token != 1 || !sh->closes || sh->seq->n_draft) return false;
    }
    for (uint32_t i = 0; i < w.n_share; i++) {
        struct sched_seq *q = w.share[i].seq;
        more[i] = q->n_known + 1 < q->max_known;
        q->n_computed++;
        q->n_known += more[i];
    }
    const uint64_t n_preempted = w.s.n_preempted;
    n_ahead = sched_plan_ahead(&w.s, w.now_ns, ahead_share);
    assert_int_equal(w.s.n_preempted, n_preempted);
    for (uint32_t i = 0; i < n_ahead; i++) {
        struct sched_seq *q = ahead_share[i].seq;
        ahead[i] = (struct queued){.seq = q, .pos = q->n_computed, .n_token = ahead_share[i].n_token};
        ASSERT(q->table.n_block <= COUNT_OF(ahead[i].block));
        memcpy(ahead[i].block, q->table.block, q->table.n_block * sizeof *q->table.block);
    }
    for (uint32_t i = 0; i < w.n_share; i++) {
        w.share[i].seq->n_computed--;
        w.share[i].seq->n_known -= more[i];
    }
    const struct kv_copy_op *c = kv_copies(w.kv, &n_ahead_copy);
    if (n_ahead_copy) memcpy(ahead_copy, c, n_ahead_copy * sizeof *c);
    kv_copies_done(w.kv);
    w.n_ahead += n_ahead > 0;
    return n_ahead > 0;
}

/* The step that was queued ahead has its turn: for those that have ended, something is computed, too. */
static void run_ahead(void)
{
    w.n_share = 0;
    for (uint32_t i = 0; i < n_ahead; i++) {
        const struct queued *a = &ahead[i];
        for (uint32_t t = 0; t < a->n_token; t++)
            compute(a->block, a->pos + t, a->seq ? a->seq->token[a->pos + t] : -1);
        if (a->seq)
            w.share[w.n_share++] = ahead_share[i];
        else
            w.n_thrown++;
    }
    w.computed = true;
    n_ahead = 0;
}

static struct job *random_live_job(void);

static uint32_t run_and_follow(bool with_drafts)
{
    uint32_t n_ended = 0;
    for (bool follows = true; follows;) {
        follows = with_drafts && pick(4) && plan_ahead();
        n_ended += run_shares(with_drafts);
        w.computed = false;
        for (uint32_t i = 0; i < n_ahead_copy; i++)
            memcpy(w.memory[ahead_copy[i].to], w.memory[ahead_copy[i].from], sizeof w.memory[0]);
        n_ahead_copy = 0;
        struct job *j = follows && pick(8) == 0 ? random_live_job() : NULL;
        if (j) {
            sched_remove(&w.s, &j->q);
            end_job(j, SCHED_IN_TIME);
            n_ended++;
        }
        if (follows) run_ahead();
    }
    return n_ended;
}

static uint32_t run_step(bool with_drafts)
{
    uint32_t n_ended = 0, n_copy;
    enum sched_late why;
    for (struct sched_seq *q; (q = sched_late(&w.s, w.now_ns, &why));) {
        sched_remove(&w.s, q);
        end_job((struct job *)q, why);
        n_ended++;
    }
    if (!(w.s.n_queue + w.s.n_running)) return n_ended;
    w.n_share = sched_plan(&w.s, w.now_ns, w.share);
    check_nobody_is_held_up();
    assert_true(w.n_share > 0);
    const struct kv_copy_op *c = kv_copies(w.kv, &n_copy);
    for (uint32_t i = 0; i < n_copy; i++) memcpy(w.memory[c[i].to], w.memory[c[i].from], sizeof w.memory[0]);
    kv_copies_done(w.kv);
    w.now_ns += 1000000;
    return n_ended + run_and_follow(with_drafts);
}

static void run_until_idle(void)
{
    for (uint32_t i = 0; w.s.n_queue + w.s.n_running; i++) {
        ASSERT(i < 200000);
        run_step(false);
    }
}

static struct job *random_live_job(void)
{
    uint32_t n = w.s.n_queue + w.s.n_running, i = n ? pick(n) : 0;
    if (!n) return NULL;
    return (struct job *)(i < w.s.n_queue ? w.s.queue[i] : w.s.running[i - w.s.n_queue]);
}

static void submit_random(void)
{
    uint32_t n = 1 + pick(pick(4) ? 60 : 240);
    struct job *j = new_job((int32_t)pick(5), n, 1 + pick(MIN(80u, MAX_LEN - n)));
    if (pick(2))
        for (uint32_t i = pick(n), to = pick(3); i < n; i++) j->token[i] += (int32_t)to * 100000;
    j->q.level = (uint8_t)(SCHED_NORMAL - 1 + pick(3));
    j->q.tenant = pick(4);
    j->q.table.cls = (uint8_t)pick(3);
    j->q.no_cache = pick(10) == 0;
    if (pick(8) == 0) j->q.queue_by_ns = w.now_ns + pick(200) * 1000000;
    if (pick(8) == 0) j->q.first_by_ns = w.now_ns + pick(300) * 1000000;
    if (pick(8) == 0) j->q.total_by_ns = w.now_ns + pick(400) * 1000000;
    sched_add(&w.s, &j->q);
}

/* A copy of a job that has all its prompt and nothing more. */
static void fork_some(void)
{
    struct job *p = random_live_job();
    if (!p || p->q.place != SCHED_RUNNING || p->q.n_known != p->q.n_prompt + 1 ||
        p->q.n_computed != p->q.n_prompt)
        return;
    struct job *j = new_job(0, p->q.n_prompt, p->total_out);
    memcpy(j->token, p->token, sizeof j->token);
    j->q.level = p->q.level;
    j->q.tenant = p->q.tenant;
    j->q.no_cache = p->q.no_cache;
    sched_fork(&w.s, &p->q, &j->q, w.now_ns);
    j->token[j->q.n_known++] = p->token[p->q.n_prompt];
    j->first_ns = w.now_ns;
    if (++j->n_out == j->total_out) {
        sched_finish(&w.s, &j->q);
        end_job(j, SCHED_IN_TIME);
    }
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MANY = 60000 };
#else
enum { MANY = 1000000 };
#endif

static void operate(uint32_t n_op, uint32_t n_block, const struct sched_options *o)
{
    uint64_t n_submitted = 0, n_ended = 0;
    world_open(n_block, *o);
    for (uint32_t i = 0; i < n_op; i++) {
        uint32_t what = pick(100), limit = i / 4096 % 2 ? 40 : 8; /* busy and slack times */
        if (what < 12 && w.s.n_queue + w.s.n_running < limit) {
            submit_random();
            n_submitted++;
        } else if (what < 14) {
            struct job *j = random_live_job();
            if (j) {
                sched_remove(&w.s, &j->q);
                end_job(j, SCHED_IN_TIME);
                n_ended++;
            }
        } else if (what < 18 && w.s.n_queue + w.s.n_running < limit) {
            uint64_t before = w.n_ids, queued = w.s.n_queue + w.s.n_running;
            fork_some();
            n_submitted += w.n_ids - before;
            n_ended += w.n_ids - before - (w.s.n_queue + w.s.n_running - queued);
        } else if (i % 65536 == 65535) { /* a storm: all at once */
            for (struct job *j; (j = random_live_job()); n_ended++) {
                sched_remove(&w.s, &j->q);
                end_job(j, SCHED_IN_TIME);
            }
        } else {
            n_ended += run_step(true);
        }
        if (i % 4096 == 0) assert_true(sched_valid(&w.s));
    }
    while (w.s.n_queue + w.s.n_running) n_ended += run_step(true);
    struct kv_stats st;
    kv_stats(w.kv, &st);
    printf("  %u ops, %u blocks: %llu requests, %llu preemptions, %llu of %llu prompt tokens cached, %llu of "
           "%llu drafts right, %llu steps ahead, %llu rows thrown away\n",
           n_op, n_block, (unsigned long long)n_submitted, (unsigned long long)w.s.n_preempted,
           (unsigned long long)st.hit_tokens, (unsigned long long)st.lookup_tokens,
           (unsigned long long)w.n_accepted, (unsigned long long)w.n_draft_tokens,
           (unsigned long long)w.n_ahead, (unsigned long long)w.n_thrown);
    assert_int_equal(n_submitted, n_ended); /* each ended once */
    assert_true(st.hit_tokens > 0 && st.copies > 0 && w.n_accepted > 0 && w.n_ahead > 0 && w.n_thrown > 0);
    if (n_block < 100) assert_true(w.s.n_preempted > 100);
    world_close();
}

static void random_operations(void **state)
{
    operate(MANY / 2, MAX_LEN / BLOCK + 8,
            &(struct sched_options){
                .max_seqs = 8, .max_tokens = 48, .max_logits = 12, .grid = 16, .age_ns = 50000000});
    operate(
        MANY / 4, 300,
        &(struct sched_options){.max_seqs = 16, .max_tokens = 64, .max_logits = 32, .grid = 32, .age_ns = 0});
    operate(MANY / 4, MAX_LEN / BLOCK,
            &(struct sched_options){.max_seqs = 3, .max_tokens = 3, .max_logits = 3, .grid = 16});
}

static const struct sched_options ordinary = {
    .max_seqs = 4, .max_tokens = 64, .max_logits = 8, .grid = 16, .age_ns = 1000000000};

static void deadlines(void **state)
{
    enum { MS = 1000000 };
    static const struct {
        const char *name;
        uint32_t n_before; /* requests that keep all places busy for 100 steps (ms) */
        int64_t queue_ms, first_ms, total_ms;
        enum sched_late late;
        int64_t end_ms;
    } row[] = {
        {"in time", 0, 50, 50, 50, SCHED_IN_TIME, 20},
        {"in the queue", 4, 30, 0, 0, SCHED_LATE_QUEUE, 30},
        {"first token", 4, 0, 40, 0, SCHED_LATE_FIRST, 40},
        {"in all, waiting", 4, 0, 0, 60, SCHED_LATE_TOTAL, 60},
        {"in all, running", 0, 5, 5, 10, SCHED_LATE_TOTAL, 10},
        {"the first of three", 4, 30, 40, 50, SCHED_LATE_QUEUE, 30},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        world_open(200, ordinary);
        for (uint32_t k = 0; k < row[i].n_before; k++) sched_add(&w.s, &new_job((int32_t)k, 10, 100)->q);
        run_step(false);
        int64_t t0 = w.now_ns;
        struct job *j = new_job(9, 10, 20);
        if (row[i].queue_ms) j->q.queue_by_ns = t0 + row[i].queue_ms * MS;
        if (row[i].first_ms) j->q.first_by_ns = t0 + row[i].first_ms * MS;
        if (row[i].total_ms) j->q.total_by_ns = t0 + row[i].total_ms * MS;
        sched_add(&w.s, &j->q);
        run_until_idle();
        if (j->n_end != 1 || j->late != row[i].late || (j->end_ns - t0) / MS != row[i].end_ms)
            fail_msg("%s: late %d after %lld ms", row[i].name, (int)j->late,
                     (long long)(j->end_ns - t0) / MS);
        world_close();
    }
}

static uint64_t served_of(uint64_t tenant)
{
    for (uint32_t i = 0; i < w.s.n_tenant; i++)
        if (w.s.tenant[i].id == tenant) return w.s.tenant[i].served;
    return 0;
}

/* Tenants with a backlog: one sends short requests, many at a time; one long ones; one comes late, and gets
 * its part but not what it missed. */
static void tenants_are_served_alike(void **state)
{
    enum { N = 3, STEPS = 6000, LATE = 3000 };
    static const struct {
        uint32_t n_queued, n_prompt, n_out;
    } load[N] = {{40, 20, 10}, {2, 200, 60}, {10, 50, 20}};
    uint64_t before[N] = {0};
    world_open(400, ordinary);
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t n_waiting[N] = {0};
        for (uint32_t i = 0; i < w.s.n_queue; i++) n_waiting[w.s.queue[i]->tenant]++;
        for (uint32_t t = 0; t < (step < LATE ? 2 : 3); t++)
            for (uint32_t k = n_waiting[t]; k < load[t].n_queued; k++) {
                struct job *j = new_job((int32_t)w.n_ids % 1000, load[t].n_prompt, load[t].n_out);
                j->q.tenant = t;
                sched_add(&w.s, &j->q);
            }
        run_step(false);
        if (step == LATE)
            for (uint32_t t = 0; t < N; t++) before[t] = served_of(t);
    }
    for (uint32_t t = 0; t < N; t++) {
        uint64_t got = served_of(t) - before[t], first = served_of(0) - before[0];
        printf("  tenant %u: served %llu since the third came\n", t, (unsigned long long)got);
        /* The bound of the paper: twice what one request can take, here for each of four places. */
        assert_true(llabs((long long)got - (long long)first) <= 2 * 4 * (200 + 2 * 60));
        assert_true(got > 10000);
    }
    assert_true(llabs((long long)before[0] - (long long)before[1]) <= 2 * 4 * (200 + 2 * 60));
    for (struct job *j; (j = random_live_job());) {
        sched_remove(&w.s, &j->q);
        end_job(j, SCHED_IN_TIME);
    }
    world_close();
}

/* Urgent requests without end: a background one still gets its turn, after as many ages as it is levels
 * behind. */
static void nobody_starves(void **state)
{
    world_open(400, (struct sched_options){
                        .max_seqs = 2, .max_tokens = 32, .max_logits = 4, .grid = 16, .age_ns = 100000000});
    struct job *late = new_job(500, 40, 10);
    late->q.level = SCHED_NORMAL + 3;
    sched_add(&w.s, &late->q);
    int64_t t0 = w.now_ns;
    while (!late->n_end && w.now_ns - t0 < 3000000000) {
        while (w.s.n_queue < 6) sched_add(&w.s, &new_job((int32_t)w.n_ids % 400, 20, 10)->q);
        run_step(false);
    }
    printf("  three levels behind: ended after %lld ms of urgent requests, an age is 100 ms\n",
           (long long)(late->end_ns - t0) / 1000000);
    assert_int_equal(late->n_end, 1);
    assert_true(late->end_ns - t0 >= 100000000);
    assert_true(late->end_ns - t0 < 600000000);
    run_until_idle();
    world_close();
}

static void the_urgent_one_takes_a_place(void **state)
{
    world_open(400, ordinary);
    struct job *slow[4];
    for (uint32_t k = 0; k < 4; k++) {
        slow[k] = new_job((int32_t)k, 30, 200);
        slow[k]->q.level = SCHED_NORMAL + 1;
        sched_add(&w.s, &slow[k]->q);
    }
    for (uint32_t i = 0; i < 20; i++) run_step(false);
    struct job *urgent = new_job(50, 30, 5);
    sched_add(&w.s, &urgent->q);
    int64_t t0 = w.now_ns;
    run_step(false);
    assert_int_equal(urgent->q.place, SCHED_RUNNING);
    assert_int_equal(urgent->first_ns - t0, 1000000); /* within one step */
    assert_int_equal(w.s.n_preempted, 1);
    run_until_idle();
    for (uint32_t k = 0; k < 4; k++) assert_int_equal(slow[k]->n_out, 200);
    world_close();
}

static void a_short_prompt_beside_a_long_one(void **state)
{
    world_open(400, (struct sched_options){.max_seqs = 8, .max_tokens = 32, .max_logits = 8, .grid = 16});
    struct job *talks = new_job(1, 5, 100);
    sched_add(&w.s, &talks->q);
    run_step(false);
    struct job *big = new_job(2, 300, 5);
    sched_add(&w.s, &big->q);
    run_step(false);
    struct job *small = new_job(3, 12, 5);
    sched_add(&w.s, &small->q);
    int64_t t0 = w.now_ns;
    uint32_t before = talks->n_out;
    run_step(false);
    assert_int_equal(small->first_ns - t0, 1000000);
    assert_true(big->q.n_computed < 100);
    for (uint32_t i = 0; i < 10; i++) run_step(false);
    assert_int_equal(talks->n_out, before + 11); /* a token in every step */
    run_until_idle();
    world_close();
}

/* Prompts beside an answer are cut so that its tokens come in time, on devices of any speed. */
static void steps_are_as_long_as_they_may(void **state)
{
    enum { MS = 1000000 };
    static const struct {
        int64_t fixed_ns, per_token_ns, target_ns;
        uint32_t at_least, at_most;
    } row[] = {
        {5 * MS, MS, 100 * MS, 85, 97},
        {50 * MS, 10 * MS, 100 * MS, 17, 24}, /* never below a piece of the grid */
        {1000, 1000, 100 * MS, 256, 256},     /* as much as there may be */
        {0, 2 * MS, 100 * MS, 45, 52},
        {80 * MS, 0, 100 * MS, 256, 256},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct budget b = {0};
        uint32_t largest = 0;
        world_open(1000,
                   (struct sched_options){.max_seqs = 8, .max_tokens = 256, .max_logits = 8, .grid = 16});
        sched_add(&w.s, &new_job(1, 5, 200)->q);
        for (uint32_t step = 0; step < 150; step++) {
            if (w.s.n_running < 6) sched_add(&w.s, &new_job((int32_t)step + 10, 310, 1)->q);
            w.s.budget = budget_tokens(&b, row[i].target_ns, w.o.grid, w.o.max_tokens);
            uint64_t before = w.n_computed_tokens;
            run_step(false);
            uint32_t n = (uint32_t)(w.n_computed_tokens - before);
            double noise = 0.95 + 0.1 * pick(100) / 100;
            budget_learn(&b, n, (int64_t)((double)(row[i].fixed_ns + n * row[i].per_token_ns) * noise));
            if (step >= 40) largest = MAX(largest, n);
        }
        if (largest < row[i].at_least || largest > row[i].at_most)
            fail_msg("row %zu: up to %u tokens", i, largest);
        run_until_idle();
        world_close();
    }
}

static void siblings_wait_for_a_prefix(void **state)
{
    enum { N = 4, LEN = 256 };
    world_open(400, ordinary);
    struct job *j[N];
    for (uint32_t i = 0; i < N; i++) {
        j[i] = new_job(1, LEN + 10, 4);
        j[i]->token[LEN + 2] = (int32_t)i; /* they part here */
        sched_add(&w.s, &j[i]->q);
    }
    run_until_idle();
    for (uint32_t i = 1; i < N; i++) assert_true(j[i]->q.n_cached >= LEN);
    assert_true(w.n_computed_tokens < LEN + 10 + N * 40);
    world_close();

    /* The one that promised goes: another takes its place. */
    world_open(400, ordinary);
    for (uint32_t i = 0; i < N; i++) sched_add(&w.s, &(j[i] = new_job(1, LEN, 4))->q);
    run_step(false);
    assert_int_equal(w.s.n_running, 1);
    sched_remove(&w.s, &j[0]->q);
    end_job(j[0], SCHED_IN_TIME);
    run_until_idle();
    for (uint32_t i = 0; i < N; i++) assert_int_equal(j[i]->n_end, 1);
    assert_true(w.n_computed_tokens < LEN + N * 40);
    world_close();
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* What the scheduler and the pool take of a step in which 256 sequences decode: planning it and taking in
 * what was computed, with nobody and with three hundred waiting. */
static void a_step_is_planned_fast(void **state)
{
    enum { N_RUN = 256, N_STEP = 80 };
    static const uint32_t n_waiting[] = {0, 300};
    for (size_t k = 0; k < COUNT_OF(n_waiting); k++) {
        int64_t took[N_STEP];
        world_open(MAX_BLOCKS, (struct sched_options){
                                   .max_seqs = N_RUN, .max_tokens = 512, .max_logits = 512, .grid = 16});
        for (uint32_t i = 0; i < N_RUN; i++) sched_add(&w.s, &new_job((int32_t)i, 100, 200)->q);
        for (uint32_t i = 0; i < 90; i++) run_step(false);
        for (uint32_t i = 0; i < n_waiting[k]; i++) sched_add(&w.s, &new_job((int32_t)(i % 90), 60, 2)->q);
        assert_int_equal(w.s.n_running, N_RUN);
        for (uint32_t i = 0; i < N_STEP; i++) {
            computed_ns = 0;
            int64_t t0 = clock_ns();
            w.n_share = sched_plan(&w.s, w.now_ns, w.share);
            took[i] = clock_ns() - t0;
            assert_int_equal(w.n_share, N_RUN);
            kv_copies_done(w.kv);
            run_shares(false);
            took[i] += computed_ns;
        }
        qsort(took, N_STEP, sizeof *took, by_value);
        print_message("  a step of %d sequences, %u waiting: median %.1f us, 90%% below %.1f us\n", N_RUN,
                      n_waiting[k], (double)took[N_STEP / 2] / 1e3, (double)took[N_STEP * 9 / 10] / 1e3);
        assert_true(took[0] < 5000000); /* the goal is 100 us; a shared machine may not tell */
        run_until_idle();
        world_close();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines),
        cmocka_unit_test(tenants_are_served_alike),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(the_urgent_one_takes_a_place),
        cmocka_unit_test(a_short_prompt_beside_a_long_one),
        cmocka_unit_test(steps_are_as_long_as_they_may),
        cmocka_unit_test(siblings_wait_for_a_prefix),
        cmocka_unit_test(a_step_is_planned_fast),
        cmocka_unit_test(random_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
