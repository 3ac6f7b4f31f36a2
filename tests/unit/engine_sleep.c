/* Sleep and wake: memory given back after idle time, answers and pinned prefixes the same afterwards, a load
 * that fails; and the view of what runs. */
#include <stdatomic.h>

#include "base/buf.h"
#include "engine/engine.h"
#include "kv/kv.h"
#include "support/answers.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct tiny_shape shape = TINY_LLAMA(90);
static struct tiny_model model;
static struct backend_api counted; /* the cpu backend, with counts of what is there and failures on demand */
static atomic_int n_model, n_pool, n_load, load_fails;

static status counted_load(struct backend_model **out, struct backend *b, const struct model_desc *m,
                           const struct backend_limits *l, backend_progress progress, void *user,
                           struct error *e)
{
    *out = NULL;
    if (load_fails) return (fail)(e, ERR_MEMORY, "no room for the weights");
    n_load++;
    n_model++;
    return backend_cpu.load(out, b, m, l, progress, user, e);
}

static void counted_unload(struct backend_model *m)
{
    n_model--;
    backend_cpu.unload(m);
}

static status counted_open(struct backend_kv **out, struct backend_model *m, uint32_t n_block,
                           struct error *e)
{
    n_pool++;
    return backend_cpu.kv_open(out, m, n_block, e);
}

static void counted_close(struct backend_kv *kv)
{
    n_pool--;
    backend_cpu.kv_close(kv);
}

static struct engine *start(int64_t keep_alive_ns)
{
    struct error e = {0};
    struct engine *en;
    counted = backend_cpu;
    counted.load = counted_load;
    counted.unload = counted_unload;
    counted.kv_open = counted_open;
    counted.kv_close = counted_close;
    n_model = n_pool = n_load = load_fails = 0;
    struct engine_options o = {.api = &counted,
                               .n_thread = 1,
                               .max_context = 128,
                               .max_seqs = 4,
                               .kv_type = DT_F32,
                               .keep_alive_ns = keep_alive_ns};
    if (engine_new(&en, model_desc(model.model), &o, &e) != OK) fail_msg("%s", e.msg);
    return en;
}

static uint64_t submit(struct engine *en, struct answer *a, int32_t first, enum kv_class cls,
                       uint32_t max_tokens)
{
    struct error e = {0};
    uint64_t id;
    int32_t prompt[50];
    for (int32_t i = 0; i < 50; i++) prompt[i] = (first + 3 * i) % 90;
    answer_init(a);
    struct engine_request r = {.prompt = prompt,
                               .n_prompt = 50,
                               .max_tokens = max_tokens,
                               .cache_class = (uint8_t)cls,
                               .on_event = answer_on_event,
                               .user = a};
    sample_params_default(&r.params);
    r.params.seed = 5;
    if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
    return id;
}

static void wait_asleep(struct engine *en, bool asleep)
{
    struct engine_stats st;
    for (int i = 0; i < 5000; i++) {
        engine_stats(en, &st);
        if (st.asleep == asleep) return;
        usleep(1000);
    }
    fail_msg("not %s after 5 s", asleep ? "asleep" : "awake");
}

static void what_stays_and_what_goes(void **state)
{
    static struct answer pinned, other, again;
    struct engine *en = start(20000000);
    submit(en, &pinned, 1, KV_WORKSPACE, 20);
    submit(en, &other, 2, KV_ANON, 20);
    wait_end(&pinned);
    wait_end(&other);
    for (int round = 0; round < 3; round++) {
        wait_asleep(en, true);
        assert_int_equal(n_model, 0);
        assert_int_equal(n_pool, 0);
        submit(en, &again, 1, KV_WORKSPACE, 20);
        wait_end(&again);
        assert_int_equal(again.why, FINISH_LENGTH);
        assert_int_equal(again.timing.n_cached, 49);
        assert_memory_equal(again.token, pinned.token, 20 * sizeof *pinned.token);
        submit(en, &again, 2, KV_ANON, 20);
        wait_end(&again);
        assert_int_equal(again.timing.n_cached, 0);
        assert_memory_equal(again.token, other.token, 20 * sizeof *other.token);
        assert_int_equal(n_load, 2 + round);
    }
    engine_keep_alive(en, -1);
    submit(en, &again, 3, KV_ANON, 3);
    wait_end(&again);
    usleep(60000);
    wait_asleep(en, false);
    assert_int_equal(n_model, 1);
    engine_keep_alive(en, 0); /* at once */
    wait_asleep(en, true);
    engine_free(en); /* asleep */
    assert_int_equal(n_model + n_pool, 0);
}

static void a_load_that_fails(void **state)
{
    static struct answer a[3];
    struct engine *en = start(1000000);
    wait_asleep(en, true);
    load_fails = 1;
    for (int i = 0; i < 2; i++) submit(en, &a[i], i, KV_ANON, 5);
    for (int i = 0; i < 2; i++) {
        wait_end(&a[i]);
        assert_int_equal(a[i].why, FINISH_ERROR);
        assert_non_null(strstr(a[i].error, "no room"));
    }
    load_fails = 0;
    submit(en, &a[2], 2, KV_ANON, 5);
    wait_end(&a[2]);
    assert_int_equal(a[2].why, FINISH_LENGTH);
    uint64_t id = submit(en, &a[0], 0, KV_ANON, 5); /* cancelled, perhaps while it sleeps */
    engine_cancel(en, id);
    wait_end(&a[0]);
    engine_free(en);
}

static atomic_bool held;

static void hold(void *user, const struct engine_event *ev)
{
    if (ev->kind == EV_TOKEN)
        while (held) usleep(500);
    answer_on_event(user, ev);
}

static void the_view(void **state)
{
    static struct answer a[6], slow;
    struct engine_seq_view v[8];
    struct engine *en = start(0);
    struct error e;
    uint64_t id;
    struct buf json = {0};
    answer_init(&slow);
    int32_t prompt[] = {1, 2, 3};
    struct engine_request r = {.prompt = prompt,
                               .n_prompt = 3,
                               .max_tokens = 60,
                               .priority = -3,
                               .tenant = 0xabc,
                               .on_event = hold,
                               .user = &slow};
    sample_params_default(&r.params);
    held = true;
    assert_int_equal(engine_submit(en, &r, &id, &e), OK);
    for (int i = 0; i < 6; i++) submit(en, &a[i], i, KV_ANON, 70);
    held = false;
    size_t n = 0;
    for (int tries = 0; tries < 5000 && n < 7; tries++) n = engine_view(en, v, 8);
    engine_view_json(en, &json);
    wait_end(&slow);
    for (int i = 0; i < 6; i++) wait_end(&a[i]);
    if (n == 7) { /* all were seen at once: four run, the urgent one first */
        assert_int_equal(v[0].id, id);
        assert_int_equal(v[0].priority, -3);
        assert_int_equal(v[0].tenant, 0xabc);
        assert_true(v[0].running && v[0].n_known >= 3 && v[0].start_ns >= v[0].arrival_ns);
        uint32_t n_running = 0;
        for (size_t i = 0; i < n; i++) n_running += v[i].running;
        assert_int_equal(n_running, 4);
    }
    assert_int_equal(json.data[0], '[');
    assert_int_equal(json.data[json.n - 1], ']');
    if (json.n > 2) assert_non_null(strstr(json.data, "\"prompt_tokens\":")); /* whoever is left */
    for (int tries = 0; tries < 5000;
         tries++) { /* the last step is shown a moment after the last answer's end */
        buf_reset(&json);
        engine_view_json(en, &json);
        if (json.n == 2) break;
        usleep(1000);
    }
    assert_string_equal(json.data, "[]");
    assert_int_equal(engine_view(en, v, 8), 0);
    buf_deinit(&json);
    engine_free(en);
}

static int setup(void **state)
{
    tiny_open(&model, &shape, 11);
    return 0;
}

static int teardown(void **state)
{
    tiny_close(&model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_stays_and_what_goes),
        cmocka_unit_test(a_load_that_fails),
        cmocka_unit_test(the_view),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
