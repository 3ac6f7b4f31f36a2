/* Requests through a real engine on the cpu backend: the same tokens alone, together, preempted and cancelled
 * beside each other; ends, limits and errors. */
#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/metrics.h"
#include "support/answers.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct tiny_shape shape = TINY_LLAMA(90);
static struct tiny_model model;

static struct engine *start(uint32_t max_seqs, uint32_t context, uint32_t kv_blocks, uint32_t max_queue)
{
    struct error e = {0};
    struct engine *en;
    struct backend_plan plan;
    struct backend *b;
    struct backend_options bo = {.n_thread = 1};
    struct backend_limits l = {
        .max_tokens = 8, .max_seqs = 1, .max_logits = 1, .max_context = 16, .kv_type = DT_F32};
    assert_int_equal(backend_cpu.open(&b, &bo, &e), OK);
    assert_int_equal(backend_cpu.plan(b, model_desc(model.model), &l, &plan, &e), OK);
    backend_cpu.close(b);
    struct engine_options o = {.api = &backend_cpu,
                               .n_thread = 2,
                               .max_context = context,
                               .max_seqs = max_seqs,
                               .max_queue = max_queue,
                               .step_tokens = 24,
                               .kv_bytes = kv_blocks * plan.kv_block_bytes,
                               .kv_type = DT_F32};
    if (engine_new(&en, model_desc(model.model), &o, &e) != OK) fail_msg("%s", e.msg);
    return en;
}

/* Request number i: prompts and settings differ. */
static struct engine_request request(uint32_t i, int32_t *prompt, struct answer *a)
{
    struct engine_request r = {.prompt = prompt,
                               .n_prompt = 3 + 11 * i % 50,
                               .max_tokens = 20 + i,
                               .on_event = answer_on_event,
                               .user = a};
    for (uint32_t j = 0; j < r.n_prompt; j++) prompt[j] = (int32_t)((7 * j + 13 * i) % shape.n_vocab);
    sample_params_default(&r.params);
    r.params.seed = 1000 + i;
    r.params.temperature = i % 2 ? 0.9f : 0;
    return r;
}

enum { N_REQ = 10 };
static int32_t alone[N_REQ][MAX_OUT];
static uint32_t n_alone[N_REQ];

static void run_alone(void)
{
    struct engine *en = start(1, 128, 0, 0);
    for (uint32_t i = 0; i < N_REQ; i++) {
        int32_t prompt[64];
        struct answer a;
        struct error e = {0};
        uint64_t id;
        answer_init(&a);
        struct engine_request r = request(i, prompt, &a);
        if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
        wait_end(&a);
        assert_int_equal(a.why, FINISH_LENGTH);
        assert_int_equal(a.n, r.max_tokens);
        assert_int_equal(a.timing.n_prompt, r.n_prompt);
        assert_int_equal(a.timing.n_decode, r.max_tokens);
        n_alone[i] = a.n;
        memcpy(alone[i], a.token, sizeof a.token);
    }
    engine_free(en);
}

/* kv_blocks 0: plenty; small: sequences are preempted and computed again. */
static void run_together(uint32_t max_seqs, uint32_t kv_blocks)
{
    struct engine *en = start(max_seqs, 128, kv_blocks, 0);
    struct answer a[N_REQ];
    int32_t prompt[N_REQ][64];
    for (uint32_t i = 0; i < N_REQ; i++) {
        struct error e = {0};
        uint64_t id;
        answer_init(&a[i]);
        struct engine_request r = request(i, prompt[i], &a[i]);
        if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
    }
    for (uint32_t i = 0; i < N_REQ; i++) {
        wait_end(&a[i]);
        assert_int_equal(a[i].n, n_alone[i]);
        if (memcmp(a[i].token, alone[i], a[i].n * sizeof *a[i].token) != 0)
            fail_msg("request %u, %u at once, %u KV blocks: not the tokens it gets alone", i, max_seqs,
                     kv_blocks);
    }
    struct engine_stats st;
    engine_stats(en, &st);
    engine_free(en);
    for (uint32_t i = 0; i < N_REQ; i++) assert_int_equal(a[i].n_end, 1);
}

static void same_tokens_in_any_company(void **state)
{
    run_alone();
    run_together(4, 0);
    run_together(N_REQ, 0);
    run_together(N_REQ, 8); /* room for one sequence of full length */
    run_together(3, 11);
}

static void blocks_come_back(void **state)
{
    struct engine *en = start(4, 128, 0, 0);
    struct engine_stats st;
    struct answer a[40];
    int32_t prompt[64];
    uint64_t id[40];
    for (uint32_t i = 0; i < COUNT_OF(a); i++) {
        struct error e = {0};
        answer_init(&a[i]);
        struct engine_request r = request(i % N_REQ, prompt, &a[i]);
        if (engine_submit(en, &r, &id[i], &e) != OK) fail_msg("%s", e.msg);
        if (i % 3 == 0) wait_tokens(&a[i], i % 5);
        if (i % 2) engine_cancel(en, id[i]);
    }
    for (uint32_t i = 0; i < COUNT_OF(a); i++) {
        wait_end(&a[i]);
        assert_true(a[i].why == FINISH_LENGTH || (i % 2 && a[i].why == FINISH_CANCELLED));
    }
    for (int tries = 0; tries < 1000; tries++) {
        engine_stats(en, &st);
        if (st.n_kv_free == st.n_kv_block && !st.n_running) break;
        usleep(1000);
    }
    assert_int_equal(st.n_kv_free, st.n_kv_block);
    assert_int_equal(st.n_running + st.n_queued, 0);
    engine_free(en);
}

static void ends_and_errors(void **state)
{
    struct engine *en = start(2, 64, 0, 0);
    struct error e = {0};
    struct answer a;
    int32_t prompt[80] = {1, 2, 3};
    uint64_t id;
    answer_init(&a);
    struct engine_request r = {.prompt = prompt, .n_prompt = 3, .on_event = answer_on_event, .user = &a};
    sample_params_default(&r.params);
    r.params.temperature = 0;

    /* Until the context is full. */
    assert_int_equal(engine_submit(en, &r, &id, &e), OK);
    wait_end(&a);
    assert_int_equal(a.why, FINISH_CONTEXT);
    assert_int_equal(a.n, 61);

    /* The fifth token ends it when it is an end-of-generation token. */
    int32_t eog = a.token[4];
    uint32_t first = 0;
    while (a.token[first] != eog) first++;
    r.params.eog = &eog;
    r.params.n_eog = 1;
    answer_init(&a);
    assert_int_equal(engine_submit(en, &r, &id, &e), OK);
    wait_end(&a);
    assert_int_equal(a.why, FINISH_STOP);
    assert_int_equal(a.n, first);

    r.n_prompt = 64;
    assert_int_equal(engine_submit(en, &r, &id, &e), ERR_LIMIT);
    assert_non_null(strstr(e.msg, "64"));
    r.n_prompt = 0;
    assert_int_equal(engine_submit(en, &r, &id, &e), ERR_ARG);
    r.n_prompt = 3;
    prompt[1] = 90;
    assert_int_equal(engine_submit(en, &r, &id, &e), ERR_ARG);
    prompt[1] = 2;
    r.params.top_p = 7;
    assert_int_equal(engine_submit(en, &r, &id, &e), ERR_ARG);
    assert_non_null(strstr(e.msg, "top_p"));
    r.params.top_p = 1;
    r.priority = 8;
    assert_int_equal(engine_submit(en, &r, &id, &e), ERR_ARG);
    assert_non_null(strstr(e.msg, "priority 8"));
    engine_cancel(en, 123456); /* nobody's: ignored */
    engine_free(en);
}

static void a_full_queue_says_so(void **state)
{
    struct engine *en = start(1, 128, 0, 2);
    struct answer a[30];
    int32_t prompt[64];
    uint32_t n_ok = 0, n_busy = 0;
    struct error e = {0};
    uint64_t id;
    for (uint32_t i = 0; i < COUNT_OF(a); i++) {
        answer_init(&a[i]);
        struct engine_request r = request(9, prompt, &a[n_ok]);
        status s = engine_submit(en, &r, &id, &e);
        if (s == OK)
            n_ok++;
        else {
            assert_int_equal(s, ERR_BUSY);
            n_busy++;
        }
    }
    assert_true(n_ok >= 2);
    assert_true(n_busy >= 1);
    engine_free(en); /* cancels the rest, with an END each */
    for (uint32_t i = 0; i < n_ok; i++) assert_int_equal(a[i].n_end, 1);
}

static void contexts_that_do_not_fit(void **state)
{
    struct error e = {0};
    struct engine *en;
    struct engine_options o = {
        .api = &backend_cpu, .n_thread = 1, .max_context = 512, .kv_bytes = 20000, .kv_type = DT_F16};
    assert_int_equal(engine_new(&en, model_desc(model.model), &o, &e), ERR_LIMIT);
    assert_non_null(strstr(e.msg, "512"));
    o.kv_type = DT_Q8_0; /* heads of 8 */
    assert_int_equal(engine_new(&en, model_desc(model.model), &o, &e), ERR_UNSUPPORTED);
}

/* One prompt, several answers; some of them cancelled, also before the prompt is computed. */
static void choices_end_one_by_one(void **state)
{
    enum { N = 6 };
    struct engine *en = start(3, 128, 0, 0);
    struct error e = {0};
    for (uint32_t round = 0; round < 20; round++) {
        struct answer a[N];
        int32_t prompt[64];
        uint64_t id;
        for (uint32_t i = 0; i < N; i++) answer_init(&a[i]);
        struct engine_request r = request(round % N_REQ, prompt, NULL);
        r.n = N;
        r.on_event = answers_on_event;
        r.user = a;
        r.params.temperature = 1;
        assert_int_equal(engine_submit(en, &r, &id, &e), OK);
        if (round % 4 == 1) engine_cancel(en, id); /* the one that computes for all */
        if (round % 4 == 2) engine_cancel(en, id + 3);
        if (round % 4 == 3) wait_tokens(&a[0], 3);
        if (round % 4 == 3) engine_cancel(en, id);
        for (uint32_t i = 0; i < N; i++) {
            wait_end(&a[i]);
            bool cancelled = (i == 0 && round % 2 == 1) || (i == 3 && round % 4 == 2);
            assert_true(a[i].why == FINISH_LENGTH || (cancelled && a[i].why == FINISH_CANCELLED));
        }
    }
    engine_free(en);
}

static void limits_of_time(void **state)
{
    static const struct {
        int64_t queue, first, total;
        const char *says;
    } row[] = {{1, 0, 0, "did not start"},
               {0, 1, 0, "no token"},
               {0, 0, 1, "did not end"},
               {1, 1, 1, "did not end"}};
    struct engine *en = start(1, 128, 0, 0);
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct answer a;
        int32_t prompt[64];
        struct error e = {0};
        uint64_t id;
        answer_init(&a);
        struct engine_request r = request(3, prompt, &a);
        r.queue_timeout_ns = row[i].queue;
        r.first_timeout_ns = row[i].first;
        r.total_timeout_ns = row[i].total;
        assert_int_equal(engine_submit(en, &r, &id, &e), OK);
        wait_end(&a);
        assert_int_equal(a.why, FINISH_TIMEOUT);
        assert_int_equal(a.n, 0);
        if (!strstr(a.error, row[i].says)) fail_msg("row %zu: %s", i, a.error);
    }
    engine_free(en);
}

/* A cpu backend that fails when told. */
static struct backend_api faulty;
static atomic_int steps_left, copies_fail;

static status faulty_step(struct backend_model *m, struct backend_kv *kv, const struct batch *b,
                          uint64_t *ticket, struct error *e)
{
    if (atomic_fetch_sub(&steps_left, 1) == 0) return (fail)(e, ERR_DEVICE, "the device has caught fire");
    return backend_cpu.step(m, kv, b, ticket, e);
}

static status faulty_copy(struct backend_kv *kv, const struct kv_copy *list, uint32_t n, struct error *e)
{
    if (copies_fail) return (fail)(e, ERR_DEVICE, "a copy was lost");
    return backend_cpu.kv_copy(kv, list, n, e);
}

static void a_failing_device(void **state)
{
    struct error e = {0};
    struct engine *en;
    faulty = backend_cpu;
    faulty.step = faulty_step;
    faulty.kv_copy = faulty_copy;
    struct engine_options o = {
        .api = &faulty, .n_thread = 1, .max_context = 128, .max_seqs = 4, .kv_type = DT_F32};
    atomic_store(&steps_left, INT32_MAX);
    assert_int_equal(engine_new(&en, model_desc(model.model), &o, &e), OK);
    for (int at = 0; at < 6; at++) {
        struct answer a[3];
        int32_t prompt[64];
        uint64_t id;
        uint32_t n_failed = 0;
        atomic_store(&steps_left, at);
        for (uint32_t i = 0; i < 3; i++) {
            answer_init(&a[i]);
            struct engine_request r = request(i, prompt, &a[i]);
            assert_int_equal(engine_submit(en, &r, &id, &e), OK);
        }
        for (uint32_t i = 0; i < 3; i++) {
            wait_end(&a[i]);
            n_failed += a[i].why == FINISH_ERROR;
            if (a[i].why == FINISH_ERROR)
                assert_non_null(strstr(a[i].error, "fire"));
            else
                assert_memory_equal(a[i].token, alone[i], n_alone[i] * sizeof alone[0][0]);
        }
        assert_true(n_failed > 0);
    }
    /* The beginning of a block is used through a copy. */
    struct answer a;
    int32_t prompt[64];
    uint64_t id;
    for (int times = 0; times < 3; times++) {
        copies_fail = times == 1;
        answer_init(&a);
        struct engine_request r = request(4, prompt, &a);
        assert_int_equal(engine_submit(en, &r, &id, &e), OK);
        wait_end(&a);
        assert_int_equal(a.why, times == 1 ? FINISH_ERROR : FINISH_LENGTH);
        if (times != 1) assert_memory_equal(a.token, alone[4], n_alone[4] * sizeof alone[0][0]);
        if (times == 2) assert_int_equal(a.timing.n_cached, 0); /* nothing is trusted after that */
    }
    engine_free(en);
}

static void what_is_counted(void **state)
{
    struct engine *en = start(2, 128, 0, 0);
    struct engine_metrics m;
    struct answer a;
    struct buf json = {0};
    uint64_t id;
    for (uint32_t i = 0; i < 3; i++) {
        int32_t prompt[64];
        struct error e = {0};
        answer_init(&a);
        struct engine_request r = request(3, prompt, &a); /* 36 tokens, 23 more */
        r.cache_salt = i == 1 ? 5 : 0;
        assert_int_equal(engine_submit(en, &r, &id, &e), OK);
        wait_end(&a);
        assert_int_equal(a.timing.n_cached, i == 2 ? 35 : 0);
        assert_string_equal(a.timing.cache_miss, i == 2 ? "none" : "new");
    }
    do {
        usleep(200);
        engine_metrics(en, &m);
    } while (m.n_ended[FINISH_LENGTH] < 3);
    assert_int_equal(m.n_submitted, 3);
    assert_int_equal(m.n_prompt_tokens, 36 + 36 + 1);
    assert_int_equal(m.n_cached_tokens, 35);
    assert_int_equal(m.kv.hit_tokens, 35);
    assert_int_equal(m.n_decode_tokens, 3 * 23);
    assert_int_equal(m.ttft_s.n, 3);
    assert_int_equal(m.queue_s.n, 3);
    assert_int_equal(m.e2e_s.n, 3);
    assert_int_equal(m.inter_token_s.n, 3 * 22);
    assert_int_equal(m.step_s.n, m.n_steps);
    assert_true(m.prompt_tokens.sum == 3 * 36 && m.output_tokens.sum == 3 * 23);
    assert_true(histogram_quantile(&m.prompt_tokens, 0.5) > 20 &&
                histogram_quantile(&m.prompt_tokens, 0.5) <= 50);
    assert_int_equal(m.kv.n_private + m.kv.n_live, 0);
    engine_timing_json(&json, &a.timing);
    assert_non_null(strstr(json.data, "{\"cache_n\":35,\"prompt_n\":1,\"prompt_ms\":"));
    assert_non_null(strstr(json.data, "\"predicted_n\":23,"));
    buf_deinit(&json);
    engine_free(en);
}

static int open_model(void **state)
{
    tiny_open(&model, &shape, 42);
    return 0;
}

static int close_model(void **state)
{
    tiny_close(&model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_tokens_in_any_company),
        cmocka_unit_test(blocks_come_back),
        cmocka_unit_test(ends_and_errors),
        cmocka_unit_test(a_full_queue_says_so),
        cmocka_unit_test(contexts_that_do_not_fit),
        cmocka_unit_test(choices_end_one_by_one),
        cmocka_unit_test(limits_of_time),
        cmocka_unit_test(a_failing_device),
        cmocka_unit_test(what_is_counted),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
