/* The engine over several devices: answers, vectors and scores as from one, asleep in between and with a
 * draft model; and how much KV cache there is when one device has less room than the others. */
#include "engine/engine.h"
#include "kv/kv.h"
#include "support/answers.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_VOCAB = 90, N_EMBD = 32, N_TEXT = 4, N_OUT = 24 };
static const struct tiny_shape shape = {.arch = "qwen2",
                                        .type = DT_F32,
                                        .n_vocab = N_VOCAB,
                                        .n_embd = N_EMBD,
                                        .n_layer = 4,
                                        .n_head = 4,
                                        .n_head_kv = 2,
                                        .head_dim = 8,
                                        .n_ff = 48,
                                        .n_rank = 2};
static struct tiny_model model, small;

static bool have_sim(void)
{
    struct error e;
    return backend_sim.count(&e) > 0;
}

static struct engine *start(const struct backend_share *share, uint32_t n, const struct engine_options *with)
{
    struct error e = {0};
    struct engine_options o = *with;
    struct engine *en;
    o.api = n ? backend_split(share, n) : &backend_cpu;
    o.share = share;
    o.n_share = n;
    o.n_thread = 1;
    o.max_seqs = 4;
    if (engine_new(&en, model_desc(model.model), &o, &e) != OK) fail_msg("%s", e.msg);
    return en;
}

static void ask(struct engine *en, struct answer *a)
{
    struct error e = {0};
    uint64_t id;
    for (int32_t i = 0; i < N_TEXT; i++) {
        int32_t prompt[40];
        for (int32_t k = 0; k < 40; k++) prompt[k] = (7 * k + (k < 20 ? 0 : 5 * i)) % N_VOCAB;
        answer_init(&a[i]);
        struct engine_request r = {.prompt = prompt,
                                   .n_prompt = (uint32_t)(25 + 5 * i),
                                   .max_tokens = N_OUT,
                                   .cache_class = KV_WORKSPACE,
                                   .on_event = answer_on_event,
                                   .user = &a[i]};
        sample_params_default(&r.params);
        r.params.seed = 70 + (uint64_t)i;
        r.params.n_logprobs = i == 1 ? 4 : 0;
        if (i == 2) r.params.temperature = 0;
        if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
    }
    for (int i = 0; i < N_TEXT; i++) wait_end(&a[i]);
}

static void same_answers(const struct answer *a, const struct answer *b)
{
    for (int i = 0; i < N_TEXT; i++) {
        assert_int_equal(a[i].n, N_OUT);
        assert_int_equal(b[i].n, N_OUT);
        assert_memory_equal(a[i].token, b[i].token, N_OUT * sizeof *a[i].token);
        assert_memory_equal(a[i].print, b[i].print, N_OUT * sizeof *a[i].print);
    }
}

static void answers(void **state)
{
    static const struct backend_share cpu[] = {
        {&backend_cpu, 0, 1}, {&backend_cpu, 0, 2}, {&backend_cpu, 0, 1}};
    static const struct backend_share draws[] = {{&backend_cpu, 0, 2}, {&backend_sim, 0, 2}};
    static const struct backend_share does_not[] = {{&backend_sim, 0, 2}, {&backend_cpu, 0, 2}};
    static struct answer want[N_TEXT], got[N_TEXT];
    const struct engine_options plain = {.max_context = 128, .step_tokens = 24, .kv_type = DT_F32},
                                drafted = {.max_context = 128,
                                           .step_tokens = 24,
                                           .kv_type = DT_F32,
                                           .max_draft = 3,
                                           .draft_price = 0.01,
                                           .draft = model_desc(small.model)};
    struct engine *en = start(NULL, 0, &plain);
    uint32_t n;
    const struct backend_part *part = engine_parts(en, &n);
    assert_int_equal(n, 1);
    assert_ptr_equal(part->on.api, &backend_cpu);
    assert_int_equal(part->on.n_layer, 4);
    ask(en, want);
    engine_free(en);

    en = start(cpu, 3, &plain);
    part = engine_parts(en, &n);
    assert_int_equal(n, 3);
    assert_int_equal(part[1].layer, 1);
    assert_int_equal(part[1].on.n_layer, 2);
    assert_int_equal(part[0].plan.kv_block_bytes * 4, engine_plan(en)->kv_block_bytes);
    ask(en, got);
    same_answers(got, want);
    engine_free(en);

    en = start(cpu, 3, &drafted); /* guesses change nothing */
    ask(en, got);
    same_answers(got, want);
    engine_free(en);

    for (int i = 0; i < 2 && have_sim(); i++) { /* tokens drawn there, and by the host */
        en = start(i ? does_not : draws, 2, &plain);
        ask(en, got);
        engine_free(en);
        for (int k = 0; k < N_TEXT; k++) {
            assert_int_equal(got[k].why, FINISH_LENGTH);
            assert_int_equal(got[k].n, N_OUT);
        }
    }
}

/* Blocks of all devices are kept in host memory, and come back. */
static void sleep_and_wake(void **state)
{
    static const struct backend_share cpu[] = {{&backend_cpu, 0, 3}, {&backend_cpu, 0, 1}};
    static struct answer before[N_TEXT], after[N_TEXT];
    const struct engine_options o = {.max_context = 128, .kv_type = DT_F16, .keep_alive_ns = 20000000};
    struct engine *en = start(cpu, 2, &o);
    struct engine_stats st;
    ask(en, before);
    for (int i = 0; i < 5000; i++) {
        engine_stats(en, &st);
        if (st.asleep) break;
        usleep(1000);
    }
    assert_true(st.asleep);
    ask(en, after);
    same_answers(after, before);
    for (int i = 0; i < N_TEXT; i++) assert_true(after[i].timing.n_cached >= 24);
    engine_free(en);
}

struct vector {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    float x[40 * N_EMBD];
    uint32_t n;
    bool ended;
};

static void vector_on_event(void *user, const struct engine_event *ev)
{
    struct vector *v = user;
    pthread_mutex_lock(&v->lock);
    const uint32_t n = ev->kind == EV_VECTOR ? ev->n_row * ev->n_vector : 0;
    if (v->n + n <= COUNT_OF(v->x) && n) memcpy(v->x + v->n, ev->vector, n * sizeof *v->x);
    v->n += n;
    v->ended |= ev->kind == EV_END;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
}

static void vectors_and_scores(void **state)
{
    static const struct backend_share cpu[] = {{&backend_cpu, 0, 1}, {&backend_cpu, 0, 3}};
    static const struct {
        enum engine_task task;
        enum pooling pooling;
        uint32_t n;
    } kinds[] = {{ENGINE_EMBED, POOLING_MEAN, N_EMBD},
                 {ENGINE_EMBED, POOLING_NONE, 37 * N_EMBD},
                 {ENGINE_EMBED, POOLING_LAST, N_EMBD},
                 {ENGINE_RANK, POOLING_UNSET, 2}};
    static struct vector v[2];
    const struct engine_options o = {.max_context = 64, .step_tokens = 20, .kv_type = DT_F32};
    struct engine *en[2] = {start(NULL, 0, &o), start(cpu, 2, &o)};
    int32_t text[37];
    for (int32_t i = 0; i < 37; i++) text[i] = (11 * i + 3) % N_VOCAB;
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        for (int i = 0; i < 2; i++) {
            struct error e = {0};
            uint64_t id;
            const struct engine_request r = {.prompt = text,
                                             .n_prompt = 37,
                                             .task = kinds[k].task,
                                             .pooling = kinds[k].pooling,
                                             .on_event = vector_on_event,
                                             .user = &v[i]};
            memset(&v[i], 0, sizeof v[i]);
            pthread_mutex_init(&v[i].lock, NULL);
            pthread_cond_init(&v[i].changed, NULL);
            if (engine_submit(en[i], &r, &id, &e) != OK) fail_msg("%s", e.msg);
            pthread_mutex_lock(&v[i].lock);
            while (!v[i].ended) pthread_cond_wait(&v[i].changed, &v[i].lock);
            pthread_mutex_unlock(&v[i].lock);
            assert_int_equal(v[i].n, kinds[k].n);
        }
        assert_memory_equal(v[0].x, v[1].x, kinds[k].n * sizeof *v[0].x);
    }
    engine_free(en[0]);
    engine_free(en[1]);
}

/* The simulated device has room for its half of some blocks: so many are there for the CPU's half, too. */
static void the_tightest_device(void **state)
{
    static const struct backend_share share[] = {{&backend_sim, 0, 2}, {&backend_cpu, 0, 2}};
    const struct engine_options o = {.max_context = 4096, .step_tokens = 20, .kv_type = DT_F16};
    struct engine_stats st;
    char text[32];
    uint32_t n;
    if (!have_sim()) {
        puts("skipped: no simulated device");
        skip();
    }
    struct engine *en = start(share, 2, &o);
    const struct backend_plan p = engine_parts(en, &n)->plan;
    engine_stats(en, &st);
    assert_int_equal(st.n_kv_block, 4 * 4096 / KV_BLOCK_TOKENS);
    engine_free(en);
    /* Of what the model leaves free, nine tenths; loading takes buffers besides. */
    const size_t free_bytes = 300 * p.kv_block_bytes / 9 * 10 + 10;
    snprintf(text, sizeof text, "%zu", p.weight_bytes + p.scratch_bytes + free_bytes);
    setenv("CORRAL_SIM_MEMORY", text, 1);
    en = start(share, 2, &o);
    engine_stats(en, &st);
    assert_int_equal(st.n_kv_block, 300);
    engine_free(en);
    unsetenv("CORRAL_SIM_MEMORY");
}

int main(void)
{
    struct tiny_shape draft = shape;
    draft.n_layer = 2;
    tiny_open(&model, &shape, 77);
    tiny_open(&small, &draft, 5);
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers), cmocka_unit_test(sleep_and_wake),
                                       cmocka_unit_test(vectors_and_scores),
                                       cmocka_unit_test(the_tightest_device)};
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_close(&model);
    tiny_close(&small);
    return bad;
}
