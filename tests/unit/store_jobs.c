/* Jobs and their history, also when there are ten thousand of them; calibration; many threads at once. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "support/temp_home.h"

#include <cmocka.h> /* last: it defines a macro fail() */

#define must(expr)                                                                                           \
    do {                                                                                                     \
        if ((expr) != OK) fail_msg("%s: %s", #expr, e.msg);                                                  \
    } while (0)

static struct error e;

static void a_job_from_begin_to_end(void **state)
{
    struct temp_home h = {0};
    struct store_job j;
    int64_t id, other;
    assert_true(temp_open(&h, &e));
    must(store_job_add(h.store, "pull", "hf:org/repo", "{\"reference\":\"hf:org/repo\"}", &id, &e));
    must(store_job_add(h.store, "quantize", "x", NULL, &other, &e));
    assert_true(other > id);
    assert_int_equal(store_job_add(h.store, "pull", "x", "not json", &other, &e), ERR_ARG);
    assert_int_equal(store_job_add(h.store, "", "x", NULL, &other, &e), ERR_ARG);
    must(store_job_get(h.store, id, &j, &e));
    assert_true(j.status == STORE_JOB_QUEUED && j.started_ms == 0 && j.finished_ms == 0 && j.attempts == 0);
    assert_string_equal(j.detail, "{}");
    store_job_deinit(&j);

    must(store_job_claim(h.store, "pull", "thread 1", &j, &e));
    assert_true(j.id == id && j.status == STORE_JOB_RUNNING && j.started_ms > 0 && j.attempts == 1);
    assert_string_equal(j.owner, "thread 1");
    store_job_deinit(&j);
    assert_int_equal(store_job_claim(h.store, "pull", "thread 2", &j, &e), ERR_NOT_FOUND);

    struct store_job_change change = {STORE_JOB_RUNNING, 10, 100, NULL, "{\"phase\":\"downloading\"}"};
    must(store_job_update(h.store, id, &change, &e));
    change = (struct store_job_change){STORE_JOB_FAILED, 20, 100, "the hub said 404", NULL};
    must(store_job_update(h.store, id, &change, &e));
    must(store_job_get(h.store, id, &j, &e));
    assert_true(j.status == STORE_JOB_FAILED && j.bytes == 20 && j.total == 100 &&
                j.finished_ms >= j.started_ms);
    assert_string_equal(j.error, "the hub said 404");
    assert_string_equal(j.detail, "{\"phase\":\"downloading\"}"); /* as it was */
    store_job_deinit(&j);
    assert_int_equal(store_job_update(h.store, id, &change, &e), ERR_ARG); /* what is finished is finished */
    assert_non_null(strstr(e.msg, "failed already"));
    assert_int_equal(store_job_update(h.store, 99, &change, &e), ERR_NOT_FOUND);
    change.detail = "{";
    assert_int_equal(store_job_update(h.store, 2, &change, &e), ERR_ARG);
    temp_remove(&h);
}

static void history_has_filters(void **state)
{
    struct temp_home h = {0};
    struct store_jobs list;
    int64_t id;
    assert_true(temp_open(&h, &e));
    for (int i = 1; i <= 12;
         i++) { /* 12 jobs: every third one of kind b, of models m0 to m3, in three states */
        char model[8];
        snprintf(model, sizeof model, "m%d", i % 4);
        must(store_job_add(h.store, i % 3 ? "a" : "b", model, NULL, &id, &e));
        assert_int_equal(id, i);
        struct store_job_change c = {.status = i <= 4 ? STORE_JOB_COMPLETED : STORE_JOB_RUNNING};
        if (i <= 8) must(store_job_update(h.store, id, &c, &e));
    }
    static const struct {
        struct store_job_filter filter;
        const char *want; /* ids */
    } cases[] = {
        {{0}, "12 11 10 9 8 7 6 5 4 3 2 1 "},
        {{.status = "completed"}, "4 3 2 1 "},
        {{.status = "queued,completed"}, "12 11 10 9 4 3 2 1 "},
        {{.kind = "b"}, "12 9 6 3 "},
        {{.model = "m1"}, "9 5 1 "},
        {{.kind = "b", .model = "m2", .status = "running"}, "6 "},
        {{.limit = 3}, "12 11 10 "},
        {{.limit = 3, .before_id = 10}, "9 8 7 "},
        {{.since_ms = INT64_MAX}, ""},
        {{.since_ms = 1, .limit = 1}, "12 "},
        {{.kind = "none"}, ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char got[100] = "";
        size_t at = 0;
        must(store_job_list(h.store, &cases[i].filter, &list, &e));
        for (size_t k = 0; k < list.n; k++)
            at += (size_t)snprintf(got + at, sizeof got - at, "%d ", (int)list.item[k].id);
        store_jobs_deinit(&list);
        if (strcmp(got, cases[i].want) != 0) fail_msg("case %zu: %s, want %s", i, got, cases[i].want);
    }
    must(store_job_list(h.store, NULL, &list, &e));
    assert_int_equal(list.n, 12);
    store_jobs_deinit(&list);
    assert_int_equal(store_job_list(h.store, &(struct store_job_filter){.status = "queued,done"}, &list, &e),
                     ERR_ARG);
    assert_non_null(strstr(e.msg, "'done'"));
    temp_remove(&h);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The time that 99 of 100 updates take at most. */
static int64_t update_times(struct store *s, int64_t id)
{
    enum { UPDATES = 4000 };
    static int64_t took_us[UPDATES];
    for (size_t i = 0; i < UPDATES; i++) {
        struct store_job_change c = {
            STORE_JOB_RUNNING, i, UPDATES, NULL,
            "{\"phase\":\"downloading\",\"files\":[{\"name\":\"model.gguf\",\"bytes\":1}]}"};
        int64_t begin = clock_us();
        must(store_job_update(s, id, &c, &e));
        took_us[i] = clock_us() - begin;
    }
    qsort(took_us, UPDATES, sizeof *took_us, by_value);
    print_message("updates: p50 %lld us, p99 %lld us, largest %lld us\n", (long long)took_us[UPDATES / 2],
                  (long long)took_us[UPDATES * 99 / 100], (long long)took_us[UPDATES - 1]);
    return took_us[UPDATES * 99 / 100];
}

/* Updates stay quick however long the history: 10 ms for 99 of 100 are asked for. */
static void ten_thousand_jobs(void **state)
{
#ifdef CORRAL_SANITIZED
    enum { JOBS = 2000, LIMIT_US = 1000000 }; /* how quick it is, a program without sanitizers tells */
#else
    enum { JOBS = 10000, LIMIT_US = 10000 };
#endif
    struct temp_home h = {0};
    struct store_job j;
    struct store_jobs list;
    int64_t id, begin;
    assert_true(temp_open(&h, &e));
    for (int i = 0; i < JOBS; i++) {
        struct store_job_change done = {STORE_JOB_COMPLETED, 1, 1, NULL, NULL};
        must(store_job_add(h.store, "pull", "some/model:q4_k_m", "{\"reference\":\"some/model\"}", &id, &e));
        if (i % 100) must(store_job_update(h.store, id, &done, &e));
    }
    begin = clock_us();
    assert_true(temp_open(&h, &e));
    print_message("with %d jobs: opened in %lld us\n", JOBS, (long long)(clock_us() - begin));
    must(store_job_claim(h.store, "pull", "me", &j, &e));
    bool quick =
        false; /* a busy machine may take a thread off its processor more than once in a hundred times */
    for (int again = 0; again < 3 && !quick; again++) quick = update_times(h.store, j.id) < LIMIT_US;
    assert_true(quick);
    store_job_deinit(&j);
    begin = clock_us();
    must(store_job_list(h.store, &(struct store_job_filter){.status = "queued", .limit = 10}, &list, &e));
    print_message("a page of the history: %lld us\n", (long long)(clock_us() - begin));
    assert_int_equal(list.n, 10);
    store_jobs_deinit(&list);
    temp_remove(&h);
}

static void measures_are_kept(void **state)
{
    struct temp_home h = {0};
    struct store_measures list;
    struct store_measure m = {
        .digest = "sha256:1", .options = "ctx=1", .device = "GPU-1", .driver = "5", .at_ms = 1};
    assert_true(temp_open(&h, &e));
    for (int i = 0; i < 3; i++) {
        m.predicted_bytes = 100;
        m.actual_bytes = (uint64_t)(90 + i);
        must(store_measure_add(h.store, &m, &e)); /* the latest stays */
    }
    m.device = "GPU-2";
    m.at_ms = 2;
    must(store_measure_add(h.store, &m, &e));
    must(store_measure_list(h.store, "sha256:1", NULL, &list, &e));
    assert_int_equal(list.n, 2);
    assert_string_equal(list.item[0].device, "GPU-2");
    assert_true(list.item[1].actual_bytes == 92 && list.item[1].predicted_bytes == 100);
    store_measures_deinit(&list);
    must(store_measure_list(h.store, NULL, "GPU-1", &list, &e));
    assert_int_equal(list.n, 1);
    store_measures_deinit(&list);
    must(store_measure_list(h.store, "sha256:2", NULL, &list, &e));
    assert_int_equal(list.n, 0);
    store_measures_deinit(&list);
    temp_remove(&h);
}

/* ---- threads ----------------------------------------------------------------------------------------- */

enum { THREADS = 4, EACH = 60 };

struct crowd {
    struct store *store;
    atomic_int claimed, failed;
};

static void *work(void *user)
{
    struct crowd *c = user;
    struct store_job j;
    struct store_model m;
    struct store_models list;
    for (int i = 0; i < EACH; i++) {
        char name[32];
        snprintf(name, sizeof name, "m%d", i % 7);
        struct store_entry entry = {.name = name, .source = i % 2 ? "http://a" : "http://b"};
        if (store_put(c->store, &entry, NULL, NULL) != OK) atomic_fetch_add(&c->failed, 1);
        if (store_get(c->store, name, &m, NULL) != OK) atomic_fetch_add(&c->failed, 1);
        store_model_deinit(&m);
        if (store_list(c->store, &list, NULL) != OK) atomic_fetch_add(&c->failed, 1);
        store_models_deinit(&list);
        store_touch(c->store, name);
        if (store_alias_set(c->store, "chat", name, NULL) != OK) atomic_fetch_add(&c->failed, 1);
        if (store_job_claim(c->store, "pull", "w", &j, NULL) == OK) atomic_fetch_add(&c->claimed, 1);
        struct store_job_change done = {.status = STORE_JOB_COMPLETED};
        if (j.id && store_job_update(c->store, j.id, &done, NULL) != OK) atomic_fetch_add(&c->failed, 1);
        store_job_deinit(&j);
    }
    return NULL;
}

static void threads_share_it(void **state)
{
    struct temp_home h = {0};
    pthread_t thread[THREADS];
    int64_t id;
    assert_true(temp_open(&h, &e));
    struct crowd c = {.store = h.store};
    for (int i = 0; i < 100; i++) must(store_job_add(h.store, "pull", "m", NULL, &id, &e));
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&thread[i], NULL, work, &c), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&c.failed), 0);
    assert_int_equal(atomic_load(&c.claimed), 100); /* each by one */
    temp_remove(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_from_begin_to_end), cmocka_unit_test(history_has_filters),
        cmocka_unit_test(ten_thousand_jobs),       cmocka_unit_test(measures_are_kept),
        cmocka_unit_test(threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
