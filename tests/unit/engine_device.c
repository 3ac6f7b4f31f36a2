/* A device with memory of its own: how much of it the KV cache gets, what happens when there is less than was
 * said, and when the device is lost. The cpu backend plays it, with answers of our own. */
#include "engine/engine.h"
#include "support/answers.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct tiny_shape shape = TINY_LLAMA(90);
static struct tiny_model model;
static struct {
    uint64_t said_free, really_free; /* bytes; of the pool */
    uint32_t most_tokens;            /* of a step that there is scratch memory for */
    int steps;                       /* until the device is lost */
    uint32_t n_block, max_tokens, n_lost;
    char why[248];
} device;
static struct backend_api played;

static status play_info(int number, struct backend_device *out, struct error *e)
{
    *out = (struct backend_device){.memory_bytes = 1 << 30, .memory_free_bytes = device.said_free};
    return OK;
}

static status play_load(struct backend_model **out, struct backend *b, const struct model_desc *m,
                        const struct backend_limits *l, backend_progress progress, void *user,
                        struct error *e)
{
    *out = NULL;
    device.max_tokens = l->max_tokens;
    if (l->max_tokens > device.most_tokens)
        return (fail)(e, ERR_MEMORY, "working memory of %u tokens", l->max_tokens);
    return backend_cpu.load(out, b, m, l, progress, user, e);
}

static status play_kv_open(struct backend_kv **out, struct backend_model *m, uint32_t n_block,
                           struct error *e)
{
    struct backend_plan p;
    struct backend *b;
    const struct backend_limits l = {
        .max_tokens = 16, .max_seqs = 1, .max_logits = 1, .max_context = 16, .kv_type = DT_F32};
    *out = NULL;
    assert_int_equal(backend_cpu.open(&b, &(struct backend_options){.device = BACKEND_NO_DEVICE}, e), OK);
    assert_int_equal(backend_cpu.plan(b, model_desc(model.model), &l, &p, e), OK);
    backend_cpu.close(b);
    device.n_block = n_block;
    if (n_block * p.kv_block_bytes > device.really_free) {
        device.said_free = device.really_free;
        return (fail)(e, ERR_MEMORY, "%u blocks", n_block);
    }
    return backend_cpu.kv_open(out, m, n_block, e);
}

static status play_wait(struct backend_model *m, uint64_t ticket, struct step_result *out, struct error *e)
{
    status s = backend_cpu.wait(m, ticket, out, e);
    return device.steps-- > 0 ? s : (fail)(e, ERR_DEVICE, "played: an illegal memory access");
}

static void on_lost(void *user, const struct error *why)
{
    device.n_lost++;
    memcpy(device.why, why->msg, sizeof device.why);
}

static status start(struct engine **out, uint32_t max_context, struct error *e)
{
    played = backend_cpu;
    played.info = play_info;
    played.load = play_load;
    played.kv_open = play_kv_open;
    played.wait = play_wait;
    return engine_new(out, model_desc(model.model),
                      &(struct engine_options){.api = &played,
                                               .n_thread = 1,
                                               .max_context = max_context,
                                               .max_seqs = 4,
                                               .kv_type = DT_F32,
                                               .on_lost = on_lost},
                      e);
}

enum { EACH = 2 * 2 * 2 * 16 * 8 * 4 }; /* bytes of a block: layers, K and V, heads, tokens, numbers */

static void memory_is_planned_again(void **state)
{
    static const struct {
        const char *what;
        uint64_t said_blocks, really_blocks; /* free beside the working memory */
        uint32_t max_context, most_tokens, want_block, want_tokens;
        status want;
    } cases[] = {
        {"plenty", 1000, 1000, 128, 1000, 32, 256, OK},
        {"less than four contexts", 21, 1000, 128, 1000, 18, 256, OK},
        {"less than one", 6, 1000, 128, 1000, 0, 0, ERR_LIMIT},
        {"less than was said", 1000, 20, 128, 1000, 18, 256, OK},
        {"less than one, and that was not said", 1000, 6, 128, 1000, 32, 256, ERR_MEMORY},
        {"steps are too large", 1000, 1000, 128, 100, 32, 64, OK},
        {"no step is small enough", 1000, 1000, 128, 10, 0, 20, ERR_MEMORY},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct engine *en;
        struct error e = {0};
        struct engine_stats st;
        memset(&device, 0, sizeof device);
        device.steps = 1000;
        device.said_free = UINT64_C(1) << 40;
        device.really_free = UINT64_MAX;
        device.most_tokens = cases[i].most_tokens;
        if (cases[i].said_blocks < 1000) { /* beside what the plan takes, which a first engine tells */
            device.most_tokens = 1000;
            assert_int_equal(start(&en, cases[i].max_context, &e), OK);
            const struct backend_plan *p = engine_plan(en);
            device.said_free = p->weight_bytes + p->scratch_bytes + cases[i].said_blocks * EACH;
            engine_free(en);
        }
        if (cases[i].really_blocks < 1000) device.really_free = cases[i].really_blocks * EACH;
        device.n_block = device.max_tokens = 0;
        status s = start(&en, cases[i].max_context, &e);
        if (s != cases[i].want) fail_msg("%s: status %d, %s", cases[i].what, (int)s, e.msg);
        if (device.n_block != cases[i].want_block || device.max_tokens != cases[i].want_tokens)
            fail_msg("%s: %u blocks, steps of %u tokens", cases[i].what, device.n_block, device.max_tokens);
        if (s != OK) continue;
        engine_stats(en, &st);
        assert_int_equal(st.n_kv_block, cases[i].want_block);
        engine_free(en);
    }
}

static void a_lost_device_is_told_once(void **state)
{
    static struct answer a[2];
    struct engine *en;
    struct error e = {0};
    int32_t prompt[] = {1, 2, 3};
    uint64_t id;
    memset(&device, 0, sizeof device);
    device.said_free = device.really_free = UINT64_C(1) << 40;
    device.most_tokens = 1000;
    device.steps = 3;
    assert_int_equal(start(&en, 128, &e), OK);
    for (int i = 0; i < 2; i++) {
        answer_init(&a[i]);
        struct engine_request r = {
            .prompt = prompt, .n_prompt = 3, .max_tokens = 20, .on_event = answer_on_event, .user = &a[i]};
        sample_params_default(&r.params);
        assert_int_equal(engine_submit(en, &r, &id, &e), OK);
        wait_end(&a[i]);
        assert_int_equal(a[i].why, FINISH_ERROR);
        assert_non_null(strstr(a[i].error, "illegal memory access"));
    }
    assert_int_equal(a[0].n, 3);
    engine_free(en);
    assert_int_equal(device.n_lost, 1);
    assert_non_null(strstr(device.why, "illegal memory access"));
}

/* ---- draws ---- */

static void *clone_nothing(const void *state)
{
    static int nothing;
    return &nothing;
}
static void free_nothing(void *state) {}
static void mask_thirds(void *state, uint32_t *bits)
{
    for (uint32_t i = 0; i < 90; i += 3) bits[i / 32] |= 1u << i % 32;
}

/* All at once: a plain one with two choices, one with log-probabilities and a grammar, a greedy one with
 * penalties, one that only the host can draw. */
enum { N_KIND = 5, N_OUT = 24 };
static void ask_all(const struct backend_api *api, struct answer *a)
{
    static const struct engine_constraint thirds = {
        .clone = clone_nothing, .free = free_nothing, .mask = mask_thirds};
    struct engine *en;
    struct error e = {0};
    uint64_t id;
    const struct engine_options o = {
        .api = api, .max_context = 128, .max_seqs = 6, .kv_type = DT_F16, .max_draft = 3};
    if (engine_new(&en, model_desc(model.model), &o, &e) != OK) fail_msg("%s", e.msg);
    for (int i = 0; i < N_KIND; i++) answer_init(&a[i]);
    for (int i = 0; i < N_KIND - 1; i++) {
        int32_t prompt[] = {1, 2, 3, 4, 40 + i};
        struct engine_request r = {.prompt = prompt,
                                   .n_prompt = COUNT_OF(prompt),
                                   .max_tokens = N_OUT,
                                   .n = i == 0 ? 2 : 1,
                                   .no_draft = i != 2,
                                   .on_event = answers_on_event,
                                   .user = i == 0 ? &a[0] : &a[i + 1]};
        sample_params_default(&r.params);
        r.params.seed = 70 + (uint64_t)i;
        r.params.n_logprobs = i == 1 ? 4 : 0;
        if (i == 1) r.constraint = &thirds;
        if (i == 2) r.params.temperature = 0, r.params.presence_penalty = 0.5f;
        if (i == 3) r.params.typical_p = 0.8f;
        if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
    }
    for (int i = 0; i < N_KIND; i++) wait_end(&a[i]);
    engine_free(en);
}

static void a_device_draws_what_the_host_would(void **state)
{
    static struct answer by_device[N_KIND], by_host[N_KIND];
    struct error e = {0};
    if (backend_sim.count(&e) <= 0) {
        printf("skipped: %s\n", e.msg);
        skip();
    }
    played = backend_sim;
    assert_true(played.draws);
    ask_all(&played, by_device);
    played.draws = false;
    ask_all(&played, by_host);
    for (int i = 0; i < N_KIND; i++) {
        assert_int_equal(by_device[i].n, N_OUT);
        assert_int_equal(by_host[i].n, N_OUT);
        assert_memory_equal(by_device[i].token, by_host[i].token, N_OUT * sizeof *by_host[i].token);
        assert_memory_equal(by_device[i].print, by_host[i].print, N_OUT * sizeof *by_host[i].print);
    }
    for (int t = 0; t < N_OUT; t++) assert_int_equal(by_device[2].token[t] % 3, 0);
}

int main(void)
{
    tiny_open(&model, &shape, 3);
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_is_planned_again),
                                       cmocka_unit_test(a_lost_device_is_told_once),
                                       cmocka_unit_test(a_device_draws_what_the_host_would)};
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_close(&model);
    return bad;
}
