/* The ledger against a naive one: 16 devices, models that come, load, leave and are evicted, others who take
 * memory, 10,000 decisions. A world beside it plays the drivers: a worker that starts takes its bytes there,
 * and there must be that many. */
#include <time.h>

#include "base/rng.h"
#include "support/place_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

enum { N_DEVICE = 17, N_GPU = 16, HOST = 0, MOST_MODELS = 50, N_DECISION = 10000, KEEP = 200 };

struct model { /* as the test knows it */
    bool there, started, pinned, busy;
    uint64_t claim, for_whom; /* for_whom: it is to leave for that claim */
    uint64_t bytes[N_DEVICE];
    int64_t idle_s;
};
struct world {
    struct place_ledger *ledger;
    struct toy_device gpu[N_GPU];
    uint32_t host_external;
    struct model model[MOST_MODELS];
    struct place_plan small, large, split, cpu;
};

static uint64_t draw;
static uint32_t pick(uint32_t n)
{
    return (uint32_t)(rng_uniform(5, 0, draw++, 0) * n);
}

static uint64_t total_of(const struct world *w, uint32_t d)
{
    return d == HOST ? 64000 * MIB : w->gpu[d - 1].total * MIB;
}

static uint64_t external_of(const struct world *w, uint32_t d)
{
    return (d == HOST ? w->host_external : w->gpu[d - 1].external) * MIB;
}

/* What processes have right now. */
static uint64_t in_use(const struct world *w, uint32_t d)
{
    uint64_t n = external_of(w, d);
    for (uint32_t i = 0; i < MOST_MODELS; i++)
        if (w->model[i].there && w->model[i].started) n += w->model[i].bytes[d];
    return n;
}

/* What is spoken for: in use, and what those that have not started will need beyond what others give back to
 * them. */
static uint64_t spoken_for(const struct world *w, uint32_t d)
{
    uint64_t n = in_use(w, d);
    for (uint32_t i = 0; i < MOST_MODELS; i++) {
        const struct model *m = &w->model[i];
        uint64_t promised = 0;
        if (!m->there || m->started) continue;
        for (uint32_t k = 0; k < MOST_MODELS; k++)
            if (w->model[k].there && w->model[k].for_whom == m->claim) promised += w->model[k].bytes[d];
        n += m->bytes[d] > promised ? m->bytes[d] - promised : 0;
    }
    return n;
}

static void check(const struct world *w, const char *after)
{
    if (!place_ledger_valid(w->ledger)) fail_msg("after %s: the ledger is not valid", after);
    for (uint32_t d = 0; d < N_DEVICE; d++) {
        const struct place_device *v = place_device_at(w->ledger, d);
        const uint64_t spoken = spoken_for(w, d), keep = KEEP * MIB;
        const uint64_t left = total_of(w, d) > spoken + keep ? total_of(w, d) - spoken - keep : 0;
        if (v->external_bytes + v->committed_bytes + v->reserved_bytes != spoken)
            fail_msg("after %s: device %u has %llu in the books, %llu are spoken for", after, d,
                     (unsigned long long)(v->external_bytes + v->committed_bytes + v->reserved_bytes),
                     (unsigned long long)spoken);
        if (v->free_bytes != left) fail_msg("after %s: device %u: free", after, d);
    }
}

static void start_those_ready(struct world *w)
{
    for (uint32_t i = 0; i < MOST_MODELS; i++) {
        struct model *m = &w->model[i];
        uint64_t actual[PLACE_MAX_DEVICES] = {0};
        uint32_t n = 0;
        if (!m->there || m->started || !place_ready(w->ledger, m->claim)) continue;
        m->started = true;
        for (uint32_t d = 0; d < N_DEVICE;
             d++) { /* it takes a little less than was planned, as the last part of it */
            if (!m->bytes[d]) continue;
            if (in_use(w, d) > total_of(w, d)) fail_msg("device %u is over-committed", d);
            n++;
        }
        if (n == 1) {
            for (uint32_t d = 0; d < N_DEVICE; d++)
                if (m->bytes[d]) actual[0] = m->bytes[d] -= pick(10) * MIB;
        }
        place_commit(w->ledger, m->claim, actual, n == 1 ? 1 : 0);
    }
}

static void end(struct world *w, uint32_t i)
{
    place_release(w->ledger, w->model[i].claim);
    const uint64_t claim = w->model[i].claim;
    w->model[i] = (struct model){0};
    for (uint32_t k = 0; k < MOST_MODELS; k++)
        if (w->model[k].for_whom == claim) w->model[k].for_whom = 0;
}

/* Others come and go, but take no more than is left: what they do beyond that no ledger can prevent. */
static void others(struct world *w)
{
    const uint32_t d = pick(N_DEVICE);
    const uint64_t ours = spoken_for(w, d) - external_of(w, d), total = total_of(w, d);
    const uint32_t most = (uint32_t)((total > ours ? total - ours : 0) / MIB / 2);
    if (d == HOST)
        w->host_external = pick(most + 1);
    else
        w->gpu[d - 1].external = pick(most + 1);
    toy_observe(w->ledger, w->gpu, N_GPU, 64000, w->host_external);
}

/* When it is refused, no device alone would have done, with all sent away that may be. */
static void check_refusal(const struct world *w, const struct place_want *want, bool evict)
{
    for (uint32_t d = 0; d < N_DEVICE; d++) {
        const struct place_plan *p = d == HOST ? want->cpu : want->gpu;
        if (!p) continue;
        uint64_t room = place_device_at(w->ledger, d)->free_bytes;
        const uint64_t need = place_plan_total_bytes(p, p->n_rung - 1);
        for (uint32_t i = 0; evict && i < MOST_MODELS; i++)
            if (w->model[i].there && !w->model[i].pinned && !w->model[i].busy && w->model[i].started &&
                !w->model[i].for_whom)
                room += w->model[i].bytes[d];
        if (need <= room)
            fail_msg("refused, but device %u has %llu of %llu", d, (unsigned long long)room,
                     (unsigned long long)need);
    }
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static struct world *new_world(void)
{
    static struct world w;
    struct error e;
    const struct place_limits keep = {KEEP * MIB, KEEP * MIB};
    const struct toy toy = {.layers = 32,
                            .weight = 120,
                            .kv = 2,
                            .first = 250,
                            .last = 250,
                            .scratch = 300,
                            .overhead = 400,
                            .parallel = 16,
                            .context = 8192};
    struct toy large = toy, split = toy, cpu = toy;
    large.weight = 500, large.layers = 80, large.kv = 4;
    split.weight = 900, split.layers = 80, split.max_devices = 8;
    cpu.on_host = true;
    w = (struct world){0};
    toy_plan(&w.small, &toy);
    toy_plan(&w.large, &large);
    toy_plan(&w.split, &split);
    toy_plan(&w.cpu, &cpu);
    assert_int_equal(place_ledger_new(&w.ledger, &keep, &e), OK);
    for (uint32_t i = 0; i < N_GPU; i++) w.gpu[i].total = 24000 + 8000 * (i % 4) + (i > 11 ? 80000 : 0);
    toy_observe(w.ledger, w.gpu, N_GPU, 64000, 0);
    return &w;
}

static void delete_world(struct world *w)
{
    place_ledger_free(w->ledger);
    place_plan_deinit(&w->small);
    place_plan_deinit(&w->large);
    place_plan_deinit(&w->split);
    place_plan_deinit(&w->cpu);
}

static uint32_t residents_of(const struct world *w, struct place_resident *r, uint32_t *which)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < MOST_MODELS; i++) {
        const struct model *m = &w->model[i];
        if (!m->there) continue;
        which[n] = i;
        r[n++] = (struct place_resident){.name = "other",
                                         .claim = m->claim,
                                         .idle_ns = m->idle_s * 1000000000,
                                         .reload_ns = 5000000000,
                                         .pinned = m->pinned,
                                         .busy = m->busy || !m->started};
    }
    return n;
}

/* One decision, and what it leads to. */
static void one(struct world *w, int64_t *took, uint32_t count[5], uint32_t *evicted)
{
    static struct place_decision d;
    static struct place_resident r[MOST_MODELS];
    uint32_t which[MOST_MODELS], slot = 0;
    const struct place_plan *plans[] = {&w->small, &w->small, &w->large, &w->split};
    const uint32_t n = residents_of(w, r, which);
    const struct place_want want = {.model = "new",
                                    .gpu = plans[pick(4)],
                                    .cpu = pick(2) ? &w->cpu : NULL,
                                    .strategy = place_strategy_at(pick(3)),
                                    .allow_cpu = true,
                                    .allow_evict = pick(3) > 0};
    const int64_t began = cpu_ns();
    place_decide(&d, w->ledger, &want, r, n);
    *took = cpu_ns() - began;
    count[d.way]++;
    *evicted += d.n_evict;
    while (slot < MOST_MODELS && w->model[slot].there) slot++;
    if (d.way == PLACE_REFUSED) {
        check_refusal(w, &want, want.allow_evict);
    } else if (slot < MOST_MODELS) {
        struct model *m = &w->model[slot];
        struct error e;
        if (place_reserve(w->ledger, &d, r, &m->claim, &e) != OK)
            fail_msg("what was decided cannot be reserved: %s", e.msg);
        *m = (struct model){
            .there = true, .claim = m->claim, .pinned = pick(20) == 0, .idle_s = 1 + pick(3600)};
        for (uint32_t i = 0; i < d.n_share; i++) m->bytes[d.share[i].device] = d.share[i].bytes;
        for (uint32_t i = 0; i < d.n_evict; i++) w->model[which[d.evict[i]]].for_whom = m->claim;
    }
}

static void test_random_loads(void **state)
{
    struct world *w = new_world();
    int64_t *took = mem_zalloc(N_DECISION, sizeof *took);
    uint32_t count[5] = {0}, evicted = 0;
    for (int i = 0; i < N_DECISION; i++) {
        one(w, &took[i], count, &evicted);
        check(w, "a decision");
        for (uint32_t k = 0; k < MOST_MODELS;
             k++) /* those that were to leave do, now or later; some leave by themselves */
            if (w->model[k].there && (w->model[k].for_whom ? pick(2) == 0 : pick(200) == 0)) {
                end(w, k);
                check(w, "an end");
            } else {
                w->model[k].busy = pick(3) == 0;
            }
        start_those_ready(w);
        check(w, "a start");
        if (pick(3) == 0) {
            others(w);
            check(w, "an observation");
        }
    }
    qsort(took, N_DECISION, sizeof *took, by_size);
    const int64_t p50 = took[N_DECISION / 2], p99 = took[N_DECISION / 100 * 99], most = took[N_DECISION - 1];
    print_message("%d decisions: %u on one device, %u split, %u CPU, %u refused, %u evicted; CPU time p50 "
                  "%.1f, p99 %.1f, "
                  "most %.1f us\n",
                  N_DECISION, count[PLACE_ONE], count[PLACE_SET], count[PLACE_CPU], count[PLACE_REFUSED],
                  evicted, (double)p50 * 1e-3, (double)p99 * 1e-3, (double)most * 1e-3);
    assert_true(count[PLACE_ONE] > 500 && count[PLACE_SET] > 100 && count[PLACE_CPU] > 100 &&
                count[PLACE_REFUSED] > 100);
    assert_true(evicted > 500);
#if defined(__OPTIMIZE__) && !defined(CORRAL_SANITIZED)
    assert_true(p99 < 1000000); /* the requirement's 10 ms were for all of it; ours is 1 ms */
#endif
    free(took);
    delete_world(w);
}

/* The figure: 16 GPUs with 50 models on them, and every kind of question: what fits, what has to be
 * split, what somebody leaves for, what is refused after all has been tried. */
static void test_decision_time(void **state)
{
    enum { N = 2000 };
    static struct place_decision d;
    static struct place_resident r[MOST_MODELS];
    struct toy_device gpu[N_GPU] = {{0}};
    struct place_ledger *l;
    struct error e;
    int64_t *took = mem_zalloc(N, sizeof *took);
    uint32_t count[5] = {0}, n_evict = 0;
    assert_int_equal(place_ledger_new(&l, NULL, &e), OK);
    for (uint32_t i = 0; i < N_GPU; i++) gpu[i].total = 80000 + 500 * i;
    toy_observe(l, gpu, N_GPU, 64000, 1000);
    for (uint32_t i = 0; i < MOST_MODELS; i++) {
        struct place_decision there = {.way = PLACE_ONE, .n_share = 1};
        there.share[0] = (struct place_share){.device = 1 + i % N_GPU, .bytes = (17000 + pick(2500)) * MIB};
        r[i] = (struct place_resident){.name = "r",
                                       .idle_ns = (1 + pick(1000)) * 1000000000ll,
                                       .reload_ns = 5000000000,
                                       .busy = pick(4) == 0};
        if (place_reserve(l, &there, NULL, &r[i].claim, &e) != OK) fail_msg("%s", e.msg);
        place_commit(l, r[i].claim, NULL, 0);
    }
    for (int i = 0; i < N; i++) {
        struct place_plan p;
        const struct toy model = {.layers = 80,
                                  .weight = 10 + 10 * pick(300),
                                  .kv = 4,
                                  .first = 500,
                                  .last = 500,
                                  .scratch = 500,
                                  .overhead = 600,
                                  .max_devices = pick(2) ? N_GPU : 1,
                                  .parallel = 16,
                                  .context = 16384};
        toy_plan(&p, &model);
        const struct place_want want = {.model = "new",
                                        .gpu = &p,
                                        .allow_evict = true,
                                        .allow_drain = pick(2),
                                        .strategy = place_strategy_at(pick(3))};
        const int64_t began = cpu_ns();
        place_decide(&d, l, &want, r, MOST_MODELS);
        took[i] = cpu_ns() - began;
        count[d.way]++;
        n_evict += d.n_evict;
        place_plan_deinit(&p);
    }
    qsort(took, N, sizeof *took, by_size);
    print_message(
        "%u on one device, %u split, %u refused, %u evicted; CPU time p50 %.1f, p99 %.1f, most %.1f us\n",
        count[PLACE_ONE], count[PLACE_SET], count[PLACE_REFUSED], n_evict, (double)took[N / 2] * 1e-3,
        (double)took[N / 100 * 99] * 1e-3, (double)took[N - 1] * 1e-3);
    assert_true(count[PLACE_ONE] > 100 && count[PLACE_SET] > 100 && count[PLACE_REFUSED] > 100 &&
                n_evict > 100);
#if defined(__OPTIMIZE__) && !defined(CORRAL_SANITIZED)
    assert_true(took[N / 100 * 99] < 1000000);
#endif
    free(took);
    place_ledger_free(l);
}

/* Two loads decide on the same sample: only one gets the memory. */
static void test_race(void **state)
{
    static struct place_decision a, b;
    const struct toy_device gpu[] = {{2000, 0, false}};
    struct place_ledger *l;
    struct place_plan p;
    struct error e;
    uint64_t first, second;
    toy_plan(&p, &(struct toy){.layers = 10, .weight = 150, .parallel = 1, .context = 1024});
    const struct place_want w = {.model = "m", .gpu = &p};
    assert_int_equal(place_ledger_new(&l, NULL, &e), OK);
    toy_observe(l, gpu, 1, 0, 0);
    place_decide(&a, l, &w, NULL, 0);
    place_decide(&b, l, &w, NULL, 0);
    assert_int_equal(a.way, PLACE_ONE);
    assert_int_equal(b.way, PLACE_ONE);
    assert_int_equal(place_reserve(l, &a, NULL, &first, &e), OK);
    assert_int_equal(place_reserve(l, &b, NULL, &second, &e), ERR_BUSY);
    assert_non_null(strstr(e.msg, "MiB"));
    place_release(l, first);
    assert_int_equal(place_reserve(l, &b, NULL, &second, &e), OK);
    place_release(l, 4711); /* unknown: no harm */
    assert_int_equal(place_n_claim(l), 1);
    place_ledger_free(l);
    place_plan_deinit(&p);
}

/* What an evicted model gives back is promised to the one that it left for, and to nobody else. */
static void test_promise(void **state)
{
    static struct place_decision d, other;
    const struct toy_device gpu[] = {{2000, 0, false}};
    struct place_ledger *l;
    struct place_plan p, tiny;
    struct error e;
    struct place_resident r = {.name = "old", .idle_ns = 1000000000, .reload_ns = 1000000000};
    uint64_t claim, third;
    toy_plan(&p, &(struct toy){.layers = 10, .weight = 150, .parallel = 1, .context = 1024});
    toy_plan(&tiny, &(struct toy){.layers = 1, .weight = 600, .parallel = 1, .context = 1024});
    assert_int_equal(place_ledger_new(&l, NULL, &e), OK);
    toy_observe(l, gpu, 1, 0, 0);
    place_decide(&d, l, &(struct place_want){.model = "old", .gpu = &p}, NULL, 0);
    assert_int_equal(place_reserve(l, &d, NULL, &r.claim, &e), OK);
    place_commit(l, r.claim, NULL, 0);
    place_decide(&d, l, &(struct place_want){.model = "new", .gpu = &p, .allow_evict = true}, &r, 1);
    assert_int_equal(d.n_evict, 1);
    assert_int_equal(place_reserve(l, &d, &r, &claim, &e), OK);
    assert_false(place_ready(l, claim));
    assert_int_equal(place_device_at(l, 0)->free_bytes,
                     500 * MIB); /* 2000 less the 1500 that are still there */
    assert_int_equal(place_device_at(l, 0)->over_bytes, 0);
    /* It leaves once only, and its room is taken. */
    place_decide(&other, l, &(struct place_want){.model = "third", .gpu = &tiny, .allow_evict = true}, &r, 1);
    assert_int_equal(other.way, PLACE_REFUSED);
    assert_int_equal(place_reserve(l, &d, &r, &third, &e), ERR_BUSY);
    place_release(l, r.claim);
    assert_true(place_ready(l, claim));
    assert_int_equal(place_device_at(l, 0)->free_bytes, 500 * MIB);
    place_ledger_free(l);
    place_plan_deinit(&p);
    place_plan_deinit(&tiny);
}

/* --- whose memory it is --- */

static void observe_one(struct place_ledger *l, uint32_t used, uint32_t own, bool known)
{
    struct error e;
    const struct place_sample s = {.uuid = "GPU-00",
                                   .name = "Toy",
                                   .total_bytes = 2000 * MIB,
                                   .used_bytes = used * MIB,
                                   .own_bytes = own * MIB,
                                   .own_known = known};
    assert_int_equal(place_observe(l, &s, 1, &e), OK);
}

static uint64_t external_mib(const struct place_ledger *l)
{
    return place_device_at(l, 0)->external_bytes / MIB;
}

static void test_external(void **state)
{
    static struct place_decision d;
    struct place_ledger *l;
    struct place_plan p;
    struct error e;
    uint64_t claim;
    toy_plan(&p, &(struct toy){.layers = 10, .weight = 100, .parallel = 1, .context = 1024});
    assert_int_equal(place_ledger_new(&l, NULL, &e), OK);
    observe_one(l, 300, 0, false); /* nothing is ours: all of it is others' */
    assert_int_equal(external_mib(l), 300);
    place_decide(&d, l, &(struct place_want){.model = "m", .gpu = &p}, NULL, 0);
    assert_int_equal(place_reserve(l, &d, NULL, &claim, &e), OK);
    observe_one(l, 900, 0, false); /* 600 of the load: others cannot be told apart, and stay what they were */
    assert_int_equal(external_mib(l), 300);
    observe_one(l, 1700, 0, false); /* more than the load may take: others have at least 700 */
    assert_int_equal(external_mib(l), 700);
    assert_int_equal(place_device_at(l, 0)->over_bytes, 0);
    place_commit(l, claim, NULL, 0);
    observe_one(l, 1100, 0, false);
    assert_int_equal(external_mib(l), 100);
    observe_one(l, 1500, 1000, true); /* told apart */
    assert_int_equal(external_mib(l), 500);
    observe_one(l, 1500, 1400, true); /* ours beyond the books is as good as others' */
    assert_int_equal(external_mib(l), 500);
    observe_one(l, 2000, 600, true); /* others took what we had counted on */
    assert_int_equal(external_mib(l), 1400);
    assert_int_equal(place_device_at(l, 0)->over_bytes, 400 * MIB);
    assert_int_equal(place_device_at(l, 0)->free_bytes, 0);
    assert_int_equal(place_observe(l, NULL, 0, &e), OK); /* the driver is gone */
    assert_true(place_device_at(l, 0)->lost);
    assert_int_equal(place_device_at(l, 0)->free_bytes, 0);
    observe_one(l, 1000, 1000, true);
    assert_false(place_device_at(l, 0)->lost);
    assert_int_equal(place_device_at(l, 0)->free_bytes, 1000 * MIB);
    place_ledger_free(l);
    place_plan_deinit(&p);
}

static void test_too_many_devices(void **state)
{
    struct place_sample s[PLACE_MAX_DEVICES + 1] = {{0}};
    char uuid[PLACE_MAX_DEVICES + 1][16];
    struct place_ledger *l;
    struct error e;
    for (int i = 0; i <= PLACE_MAX_DEVICES; i++) {
        snprintf(uuid[i], sizeof uuid[i], "GPU-%03d", i);
        s[i] = (struct place_sample){.uuid = uuid[i], .name = "Toy", .total_bytes = MIB};
    }
    assert_int_equal(place_ledger_new(&l, NULL, &e), OK);
    assert_int_equal(place_observe(l, s, COUNT_OF(s), &e), ERR_LIMIT);
    assert_int_equal(place_n_device(l), PLACE_MAX_DEVICES);
    place_ledger_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_loads), cmocka_unit_test(test_decision_time),
        cmocka_unit_test(test_race),         cmocka_unit_test(test_promise),
        cmocka_unit_test(test_external),     cmocka_unit_test(test_too_many_devices),
    };
    return cmocka_run_group_tests_name("placement: ledger", tests, NULL, NULL);
}
