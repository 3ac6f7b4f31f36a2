/* The block pool and prefix cache against a naive model. The model plays the backend: it writes into each
 * position of a block what only that salt and those tokens lead to, makes the copies it is told to make, and
 * then asks of every sequence whether each of its positions holds what it should. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kv/kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { BLOCK = 16, MAX_TOKEN = 200, N_SEQ = 12, MAX_BLOCK = 400, MAX_PAST = 400 };

struct seq {
    struct kv_table t;
    int32_t token[MAX_TOKEN];
    uint32_t n, computed;
    bool live;
};

struct past {
    uint64_t salt;
    int32_t token[MAX_TOKEN];
    uint32_t n;
}; /* what was ever released */

static struct kv *kv;
static uint64_t memory[MAX_BLOCK][BLOCK];
static struct seq seq[N_SEQ];
static struct past *past;
static uint32_t n_past;
static uint64_t draw;

static uint32_t pick(uint32_t n)
{
    return (uint32_t)(rng_uniform(7, 0, draw++, 0) * n);
}

static uint64_t after(uint64_t h, int32_t token)
{
    h = (h ^ (uint64_t)(uint32_t)token) * 0x100000001b3;
    return h ^ h >> 29;
}

static void make_copies(void)
{
    uint32_t n;
    const struct kv_copy_op *c = kv_copies(kv, &n);
    for (uint32_t i = 0; i < n; i++) memcpy(memory[c[i].to], memory[c[i].from], sizeof memory[0]);
    kv_copies_done(kv);
}

static void check_contents(const struct seq *s)
{
    uint64_t h = s->t.salt;
    for (uint32_t i = 0; i < s->computed; i++) {
        h = after(h, s->token[i]);
        if (memory[s->t.block[i / BLOCK]][i % BLOCK] != h)
            fail_msg("draw %llu: position %u of %u is not its own", (unsigned long long)draw, i, s->computed);
    }
}

/* How long a prefix could be in the cache, by looking at everything that ever was. */
static uint32_t longest_known(const struct seq *s, uint64_t salt)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < n_past + N_SEQ; i++) {
        const struct seq *q = &seq[i < N_SEQ ? i : 0];
        const struct past *p = &past[i < N_SEQ ? 0 : i - N_SEQ];
        const int32_t *token = i < N_SEQ ? q->token : p->token;
        uint32_t n = i >= N_SEQ ? p->n : q->live ? q->computed / BLOCK * BLOCK : 0, k = 0;
        if ((i < N_SEQ ? q->t.salt : p->salt) != salt || (i < N_SEQ && q == s)) continue;
        while (k < n && k < s->n - 1 && token[k] == s->token[k]) k++;
        best = MAX(best, k);
    }
    return best;
}

/* Prompts of four families that part at random places. */
static void begin(struct seq *s, bool evicts)
{
    struct kv_hit peek, hit;
    uint32_t family = pick(4);
    s->live = true;
    s->n = 1 + pick(MAX_TOKEN - 60);
    for (uint32_t i = 0; i < s->n; i++) s->token[i] = (int32_t)(family * 1000 + i);
    if (pick(2))
        for (uint32_t i = pick(s->n), to = 1 + pick(3); i < s->n; i++) s->token[i] += (int32_t)(to * 10000);
    s->t.salt = pick(8) ? 0 : 77;
    s->t.cls = (uint8_t)pick(3);
    uint32_t known = longest_known(s, s->t.salt);
    kv_peek(kv, &s->t, s->token, s->n, &peek);
    kv_match(kv, &s->t, s->token, s->n, &hit);
    s->computed = hit.n_token;
    assert_true(hit.n_token < s->n);
    if (!evicts) assert_true(hit.n_token <= known); /* else not all that was is remembered */
    assert_true(hit.n_token == peek.n_token || hit.n_token == peek.n_full * BLOCK);
    if (!evicts && hit.n_token < known / BLOCK * BLOCK)
        fail_msg("draw %llu: hit of %u tokens, %u are known", (unsigned long long)draw, hit.n_token, known);
    if (!evicts) assert_int_not_equal(hit.miss, KV_MISS_EVICTED);
    if (pick(2)) kv_promise(kv, &s->t, s->token, s->n);
}

/* Compute up to n more tokens; beyond the prompt they are made up. */
static void compute(struct seq *s, uint32_t n)
{
    struct error e;
    uint32_t want = MIN(s->computed + n, (uint32_t)MAX_TOKEN),
             extra = pick(6); /* rejected drafts are overwritten */
    for (; s->n < want; s->n++) s->token[s->n] = (int32_t)(50000 + pick(2));
    if (kv_reserve(kv, &s->t, s->computed, want + extra, &e) != OK) {
        assert_int_equal(e.code, ERR_LIMIT);
        return;
    }
    make_copies();
    uint64_t h = s->t.salt;
    for (uint32_t i = 0; i < want + extra; i++) {
        h = after(h, i < s->n ? s->token[i] : -1);
        if (i >= s->computed) memory[s->t.block[i / BLOCK]][i % BLOCK] = h;
    }
    s->computed = want;
    kv_publish(kv, &s->t, s->token, s->computed);
}

static void release(struct seq *s)
{
    kv_release(kv, &s->t, s->token, s->computed);
    struct past *p = &past[n_past < MAX_PAST ? n_past++ : pick(MAX_PAST)];
    p->salt = s->t.salt;
    p->n = s->computed;
    memcpy(p->token, s->token, sizeof p->token);
    s->live = false;
}

static void fork_of(struct seq *to, const struct seq *from)
{
    memcpy(to->token, from->token, sizeof to->token);
    to->live = true;
    to->n = from->n;
    to->t.salt = from->t.salt;
    to->computed = from->computed;
    kv_fork(kv, &to->t, &from->t, from->computed);
}

static void truncate_some(struct seq *s)
{
    s->computed = pick(s->computed); /* there is always a next token */
    s->n = s->computed + 1;
    kv_truncate(kv, &s->t, s->computed);
    s->token[s->computed] = (int32_t)(60000 + pick(3));
}

static void check_counts(void)
{
    struct kv_stats st;
    uint32_t *ref = mem_zalloc(MAX_BLOCK, sizeof *ref);
    kv_stats(kv, &st);
    for (uint32_t i = 0; i < N_SEQ; i++)
        for (uint32_t j = 0; j < seq[i].t.n_block; j++) ref[seq[i].t.block[j]]++;
    uint32_t n_held = 0;
    for (uint32_t i = 0; i < kv_n_block(kv); i++) {
        assert_int_equal(ref[i], kv_ref(kv, i));
        n_held += ref[i] > 0;
    }
    assert_int_equal(st.n_private + st.n_live, n_held);
    assert_int_equal(st.n_free + st.n_private + st.n_live + st.n_idle, st.n_block);
    assert_int_equal(kv_n_free(kv), st.n_free + st.n_idle);
    free(ref);
}

static void operate(uint32_t n_block, uint32_t n_op, bool evicts)
{
    struct error e = {0};
    assert_int_equal(kv_new(&kv, n_block, BLOCK, &e), OK);
    past = mem_zalloc(MAX_PAST, sizeof *past);
    n_past = 0;
    memset(seq, 0, sizeof seq);
    for (uint32_t i = 0; i < n_op; i++) {
        struct seq *s = &seq[pick(N_SEQ)], *q = &seq[pick(N_SEQ)];
        uint32_t what = pick(16);
        if (!s->live) {
            if (what < 3 && q->live)
                fork_of(s, q);
            else
                begin(s, evicts);
        } else if (what < 11) {
            compute(s, 1 + pick(what < 8 ? 3 : 60));
        } else if (what < 15 || !evicts) {
            release(s);
        } else if (s->computed) {
            truncate_some(s);
        }
        make_copies();
        if (s->live) check_contents(s);
        if (i % 16 == 0) check_counts();
        if (i % 512 == 0) {
            assert_true(kv_valid(kv));
            for (uint32_t j = 0; j < N_SEQ; j++)
                if (seq[j].live) check_contents(&seq[j]);
        }
    }
    struct kv_stats st;
    kv_stats(kv, &st);
    assert_true(evicts == (st.evictions > 0));
    assert_true(st.hit_tokens > (evicts ? st.lookup_tokens / 10 : 0));
    assert_true(st.copies > 0 && st.deduplicated > 0);
    assert_int_equal(st.collisions, 0);
    for (uint32_t j = 0; j < N_SEQ; j++) kv_table_deinit(kv, &seq[j].t);
    assert_int_equal(kv_n_free(kv), kv_n_block(kv));
    assert_true(kv_valid(kv));
    kv_clear(kv);
    kv_stats(kv, &st);
    assert_int_equal(st.n_free, n_block);
    assert_true(kv_valid(kv));
    kv_free(kv);
    free(past);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MANY = 30000 };
#else
enum { MANY = 500000 };
#endif

static void contents_and_counts_in_a_small_pool(void **state)
{
    operate(40, MANY, true);
    operate(150, MANY, true);
}

static void every_prefix_is_found_in_a_large_pool(void **state)
{
    for (uint32_t i = 0; i < 40; i++) operate(MAX_BLOCK, 160, false);
}

/* One sequence after another; what the second one finds. */
static void run_one(const int32_t *token, uint32_t n, uint64_t salt, uint8_t cls, struct kv_hit *hit)
{
    struct kv_table t = {.salt = salt, .cls = cls};
    struct error e;
    kv_match(kv, &t, token, n, hit);
    assert_int_equal(kv_reserve(kv, &t, hit->n_token, n, &e), OK);
    kv_copies_done(kv);
    kv_release(kv, &t, token, n);
    kv_table_deinit(kv, &t);
}

static void what_is_found_and_why_not_more(void **state)
{
    struct error e;
    struct kv_hit hit;
    int32_t a[100], b[100];
    for (int32_t i = 0; i < 100; i++) a[i] = b[i] = i;
    b[50] = 999;
    static const struct {
        bool b;
        uint32_t n;
        uint64_t salt;
        uint32_t hit;
        enum kv_miss miss;
    } row[] = {
        {false, 70, 0, 0, KV_MISS_NEW},
        {false, 70, 0, 69, KV_MISS_NONE},     /* all but the one to compute */
        {false, 100, 0, 70, KV_MISS_DIFFERS}, /* the tail of a released sequence, too */
        {true, 100, 0, 50, KV_MISS_DIFFERS},
        {true, 100, 0, 99, KV_MISS_NONE},
        {false, 48, 0, 47, KV_MISS_NONE},
        {false, 70, 5, 0, KV_MISS_NEW}, /* another tenant */
        {false, 10, 6, 0, KV_MISS_SHORT},
        {false, 1, 0, 0, KV_MISS_NONE},
    };
    assert_int_equal(kv_new(&kv, 64, BLOCK, &e), OK);
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        run_one(row[i].b ? b : a, row[i].n, row[i].salt, KV_ANON, &hit);
        if (hit.n_token != row[i].hit || hit.miss != row[i].miss)
            fail_msg("row %zu: hit %u, %s", i, hit.n_token, kv_miss_name(hit.miss));
    }
    assert_true(kv_valid(kv));
    kv_free(kv);
}

/* n distinct tokens that nothing else begins with */
static void fill(int32_t *token, uint32_t n, int32_t base)
{
    for (uint32_t i = 0; i < n; i++) token[i] = base * 1000 + (int32_t)i;
}

static void who_is_evicted(void **state)
{
    struct error e;
    struct kv_hit hit;
    struct kv_table pin = {0};
    int32_t work[64], session[64], anon[64], pinned[64], hot[64], other[64];
    assert_int_equal(kv_new(&kv, 24, BLOCK, &e), OK);
    fill(work, 64, 1);
    fill(session, 64, 2);
    fill(anon, 64, 3);
    fill(pinned, 64, 4);
    fill(hot, 64, 5);
    run_one(pinned, 64, 0, KV_ANON, &hit);
    kv_match(kv, &pin, pinned, 64, &hit); /* three whole blocks and a copy */
    run_one(work, 64, 0, KV_WORKSPACE, &hit);
    run_one(session, 64, 0, KV_SESSION, &hit);
    run_one(anon, 64, 0, KV_ANON, &hit);
    for (int i = 0; i < 5; i++) run_one(hot, 64, 0, KV_ANON, &hit);
    for (int32_t i = 0; i < 6; i++) { /* a scan of prompts that nobody asks again */
        fill(other, 64, 10 + i);
        run_one(other, 64, 0, KV_ANON, &hit);
    }
    static const struct {
        int which;
        uint32_t at_least;
        enum kv_miss miss;
    } row[] = {{0, 63, KV_MISS_NONE},
               {1, 63, KV_MISS_NONE},
               {3, 48, KV_MISS_NONE},
               {4, 32, KV_MISS_NONE},
               {2, 0, KV_MISS_EVICTED}};
    const int32_t *const prompt[] = {work, session, anon, pinned, hot};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        kv_peek(kv, &(struct kv_table){0}, prompt[row[i].which], 64, &hit);
        if (hit.n_token < row[i].at_least || (row[i].miss == KV_MISS_EVICTED && hit.miss != row[i].miss))
            fail_msg("row %zu: %u tokens left, %s", i, hit.n_token, kv_miss_name(hit.miss));
    }
    /* Prefetching takes nothing from anybody but itself. */
    struct kv_table ahead = {.cls = KV_PREFETCH};
    assert_int_equal(kv_reserve(kv, &ahead, 0, 64, &e), ERR_LIMIT);
    assert_int_equal(ahead.n_block, 0);
    kv_table_deinit(kv, &ahead);
    kv_table_deinit(kv, &pin);
    assert_true(kv_valid(kv));
    kv_free(kv);
}

static void a_promise_is_waited_for(void **state)
{
    struct error e;
    struct kv_hit hit;
    struct kv_table first = {.rank = 1}, second = {.rank = 1}, urgent = {0};
    int32_t token[64];
    fill(token, 64, 1);
    assert_int_equal(kv_new(&kv, 32, BLOCK, &e), OK);
    kv_match(kv, &first, token, 64, &hit);
    assert_false(kv_waiting(kv, &hit));
    assert_int_equal(kv_reserve(kv, &first, 0, 64, &e), OK);
    kv_promise(kv, &first, token, 64);
    kv_peek(kv, &urgent, token, 60, &hit);
    assert_false(kv_waiting(kv, &hit)); /* not for one that comes after it */
    kv_peek(kv, &second, token, 60, &hit);
    assert_true(kv_waiting(kv, &hit));
    assert_int_equal(hit.n_token, 0);
    kv_publish(kv, &first, token, 20);
    assert_false(kv_waiting(kv, &hit));
    kv_peek(kv, &second, token, 60, &hit);
    assert_int_equal(hit.n_token, 16);
    assert_true(kv_waiting(kv, &hit)); /* for the next block */
    assert_true(kv_valid(kv));
    kv_release(kv, &first, token, 20); /* cancelled: nobody waits any more */
    assert_false(kv_waiting(kv, &hit));
    kv_peek(kv, &second, token, 60, &hit);
    assert_int_equal(hit.n_token, 20);
    assert_true(kv_valid(kv));
    kv_table_deinit(kv, &first);
    kv_free(kv);
}

static void forks_copy_when_they_write(void **state)
{
    struct error e;
    struct kv_table a = {0}, b = {0};
    uint32_t n;
    int32_t token[40];
    fill(token, 40, 1);
    assert_int_equal(kv_new(&kv, 8, BLOCK, &e), OK);
    assert_int_equal(kv_reserve(kv, &a, 0, 40, &e), OK);
    kv_publish(kv, &a, token, 40);
    kv_fork(kv, &b, &a, 40);
    assert_int_equal(kv_n_free(kv), 5);
    assert_int_equal(kv_reserve(kv, &b, 40, 41, &e), OK);
    const struct kv_copy_op *c = kv_copies(kv, &n);
    assert_int_equal(n, 1);
    assert_int_equal(c[0].from, a.block[2]);
    assert_int_equal(c[0].to, b.block[2]);
    assert_int_equal(kv_reserve(kv, &a, 40, 41, &e), OK); /* alone now: writes in place */
    kv_copies(kv, &n);
    assert_int_equal(n, 1);
    assert_int_equal(kv_reserve(kv, &b, 41, 8 * BLOCK, &e), ERR_LIMIT);
    assert_int_equal(b.n_block, 3);
    assert_true(kv_valid(kv));
    kv_table_deinit(kv, &a);
    kv_table_deinit(kv, &b);
    kv_free(kv);
    assert_int_equal(kv_new(&kv, 0, BLOCK, &e), ERR_ARG);
    kv_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_found_and_why_not_more),
        cmocka_unit_test(who_is_evicted),
        cmocka_unit_test(a_promise_is_waited_for),
        cmocka_unit_test(forks_copy_when_they_write),
        cmocka_unit_test(every_prefix_is_found_in_a_large_pool),
        cmocka_unit_test(contents_and_counts_in_a_small_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
