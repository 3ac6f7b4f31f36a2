/* The same request answers bit for bit the same: alone, among sixteen, with its prompt cut into pieces, after
 * a cache hit, after preemption, with guesses tried along the way, as one of several choices. Tokens and the
 * log-probabilities of the whole vocabulary at each are compared. */
#include <semaphore.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "engine/metrics.h"
#include "support/answers.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_REQ = 16, N_OUT = 40, CONTEXT = 192 };

/* What sanitizers look for is found with some of the places too; with all of them it takes minutes. */
#if defined(CORRAL_SANITIZED) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { GIVEN_STEP = 13 };
#else
enum { GIVEN_STEP = 1 };
#endif

/* Prompts: half of them begin alike, some repeat themselves. */
static struct engine_request request(uint32_t i, uint32_t n_vocab, int32_t *prompt, struct answer *a)
{
    struct engine_request r = {.prompt = prompt,
                               .n_prompt = 5 + 23 * i % 100,
                               .max_tokens = N_OUT - i % 7,
                               .on_event = answer_on_event,
                               .user = a};
    for (uint32_t j = 0; j < r.n_prompt; j++) {
        uint32_t k = i % 4 == 3 ? j % 9 : j;
        prompt[j] = (int32_t)((7 * k + (j < 40 && i % 2 ? 13 : 13 + i)) % n_vocab);
    }
    sample_params_default(&r.params);
    r.params.seed = 1000 + i;
    r.params.temperature = i % 3 ? 0.8f : 0;
    r.params.repeat_penalty = i % 5 ? 1 : 1.1f;
    r.params.repeat_last_n = 32;
    r.params.mirostat = i == 4 ? 2 : i == 8 ? 1 : 0;
    if (i == 10) r.params.adaptive_target = 0.3f;
    if (i == 7) r.params.dry_multiplier = 0.8f, r.params.min_tokens = 20;
    if (i == 13) r.params.xtc_probability = 0.5f;
    r.params.n_logprobs = n_vocab;
    return r;
}

static struct answer truth[N_REQ];

struct scene {
    const char *name;
    uint32_t max_seqs, step_tokens, kv_blocks, max_draft, rounds;
    bool no_cache;
    bool modelled;  /* guesses of a draft model, which is the same model */
    bool predicted; /* the true answer, with every seventh token wrong and some left out */
};

static size_t block_bytes(const struct model_desc *m)
{
    struct error e = {0};
    struct backend *b;
    struct backend_plan plan;
    struct backend_options bo = {.n_thread = 1};
    struct backend_limits l = {
        .max_tokens = 8, .max_seqs = 1, .max_logits = 1, .max_context = 16, .kv_type = DT_F16};
    assert_int_equal(backend_cpu.open(&b, &bo, &e), OK);
    assert_int_equal(backend_cpu.plan(b, m, &l, &plan, &e), OK);
    backend_cpu.close(b);
    return plan.kv_block_bytes;
}

static struct engine *start(const struct model_desc *m, const struct scene *s)
{
    struct error e = {0};
    struct engine *en;
    struct engine_options o = {.api = &backend_cpu,
                               .n_thread = 1, /* more are the backend tests' matter */
                               .max_context = CONTEXT,
                               .max_seqs = s->max_seqs,
                               .step_tokens = s->step_tokens,
                               .kv_bytes = s->kv_blocks * block_bytes(m),
                               .kv_type = DT_F16,
                               .no_prefix_cache = s->no_cache,
                               .max_draft = s->max_draft,
                               .draft = s->modelled ? m : NULL,
                               .draft_price = 0.05};
    if (engine_new(&en, m, &o, &e) != OK) fail_msg("%s", e.msg);
    return en;
}

static void compare(const char *scene, uint32_t i, const struct answer *got, const struct answer *want)
{
    assert_int_equal(got->n_end, 1);
    for (uint32_t t = 0; t < want->n; t++) {
        if (t >= got->n || got->token[t] != want->token[t])
            fail_msg("%s, request %u: token %u is not the one it gets alone", scene, i, t);
        if (got->print[t] != want->print[t])
            fail_msg("%s, request %u: other log-probabilities at token %u", scene, i, t);
    }
    assert_int_equal(got->n, want->n);
}

static uint32_t predict(uint32_t i, uint32_t n_vocab, int32_t *out)
{
    uint32_t n = 0;
    for (uint32_t t = 0; t < truth[i].n; t++)
        if (t % 11 != 3) out[n++] = t % 7 == 5 ? (int32_t)((t * 13u) % n_vocab) : truth[i].token[t];
    return n;
}

static void submit(struct engine *en, uint32_t i, uint32_t n_vocab, bool predicted, struct answer *a)
{
    int32_t prompt[CONTEXT], prediction[MAX_OUT];
    struct error e = {0};
    uint64_t id;
    answer_init(a);
    struct engine_request r = request(i, n_vocab, prompt, a);
    r.prediction = prediction;
    r.n_prediction = predicted ? predict(i, n_vocab, prediction) : 0;
    if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
}

static void run_alone(const struct model_desc *m)
{
    struct engine *en = start(m, &(struct scene){"alone", 1, 256, 0, 0, 1, true, false, false});
    for (uint32_t i = 0; i < N_REQ; i++) {
        submit(en, i, m->cfg.n_vocab, false, &truth[i]);
        wait_end(&truth[i]);
        assert_true(truth[i].n > 0 && truth[i].print[0] != 0);
        assert_string_equal(truth[i].timing.cache_miss, "off");
    }
    engine_free(en);
}

/* Holds the engine thread until all requests are in, so that what is preempted does not depend on how fast we
 * are. */
static sem_t gate;

static void on_gate(void *user, const struct engine_event *ev)
{
    if (ev->kind == EV_TOKEN)
        while (sem_wait(&gate) != 0) {}
}

static void close_gate(struct engine *en)
{
    struct error e = {0};
    uint64_t id;
    struct engine_request r = {
        .prompt = (int32_t[]){1}, .n_prompt = 1, .max_tokens = 1, .on_event = on_gate, .no_cache = true};
    sample_params_default(&r.params);
    sem_init(&gate, 0, 0);
    if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
}

static void run_scene(const struct model_desc *m, const struct scene *s)
{
    static struct answer a[N_REQ];
    struct engine_metrics mt;
    struct engine *en = start(m, s);
    for (uint32_t round = 0; round < s->rounds; round++) {
        close_gate(en);
        for (uint32_t i = 0; i < N_REQ; i++) submit(en, i, m->cfg.n_vocab, s->predicted, &a[i]);
        sem_post(&gate);
        for (uint32_t i = 0; i < N_REQ; i++) {
            wait_end(&a[i]);
            compare(s->name, i, &a[i], &truth[i]);
            if (round && s->max_seqs == N_REQ && !s->kv_blocks)
                assert_int_equal(a[i].timing.n_cached, a[i].timing.n_prompt - 1);
        }
    }
    settled_metrics(en, &mt);
    engine_free(en);
    printf("  %s: %llu tokens computed for %llu of prompts, %llu cached, %llu preemptions, %llu of %llu "
           "guesses right\n",
           s->name, (unsigned long long)mt.n_prompt_tokens, (unsigned long long)(mt.prompt_tokens.sum),
           (unsigned long long)mt.n_cached_tokens, (unsigned long long)mt.n_preempted,
           (unsigned long long)mt.n_draft_right, (unsigned long long)mt.n_draft_tokens);
    if (s->kv_blocks) assert_true(mt.n_preempted > 0);
    if (s->max_draft) assert_true(mt.n_draft_right > 0 && mt.n_draft_right < mt.n_draft_tokens);
    if (s->rounds > 1) assert_true(mt.n_cached_tokens > 0);
    assert_int_equal(mt.n_ended[FINISH_LENGTH] + mt.n_ended[FINISH_STOP], mt.n_submitted);
}

/* The beginning of each answer is given, up to every place. */
static void run_given(const struct model_desc *m, const struct scene *s)
{
    static struct answer a[N_REQ], want;
    struct engine *en = start(m, s);
    uint32_t most = 0;
    for (uint32_t i = 0; i < N_REQ; i++) most = MAX(most, truth[i].n);
    for (uint32_t k = 0; k < most; k += GIVEN_STEP) {
        int32_t prompt[CONTEXT];
        struct error e = {0};
        uint64_t id;
        for (uint32_t i = 0; i < N_REQ; i++) {
            answer_init(&a[i]);
            if (k >= truth[i].n) continue;
            struct engine_request r = request(i, m->cfg.n_vocab, prompt, &a[i]);
            r.given = truth[i].token;
            r.n_given = k;
            r.learned = k ? truth[i].learned[k - 1] : 0;
            if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
        }
        for (uint32_t i = 0; i < N_REQ; i++) {
            if (k >= truth[i].n) continue;
            want = truth[i];
            want.n -= k;
            memmove(want.token, want.token + k, want.n * sizeof *want.token);
            memmove(want.print, want.print + k, want.n * sizeof *want.print);
            wait_end(&a[i]);
            compare(s->name, i, &a[i], &want);
            assert_int_equal(a[i].why, want.why);
            assert_int_equal(a[i].timing.n_decode, want.n);
            assert_true(a[i].timing.n_cached <= a[i].timing.n_prompt);
        }
    }
    engine_free(en);
}

static void what_cannot_be_given(const struct model_desc *m)
{
    static struct answer a;
    static const int32_t token[N_OUT] = {1, 2, 3}, wrong[] = {1, -1}, large[] = {1 << 20};
    int32_t prompt[CONTEXT];
    struct engine *en = start(m, &(struct scene){"given", 2, 64, 0, 0, 1, true, false, false});
    const struct engine_request ok = request(0, m->cfg.n_vocab, prompt, &a);
    struct {
        const char *word;
        struct engine_request r;
    } cases[] = {{"outside", ok}, {"outside", ok}, {"no room", ok}, {"one choice", ok}, {"one choice", ok}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cases[i].r.given = i == 0 ? wrong : i == 1 ? large : token;
        cases[i].r.n_given = i == 0 ? 2 : i == 1 ? 1 : i == 2 ? ok.max_tokens : 3;
    }
    cases[3].r.n = 2;
    cases[4].r.best_of = 2;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct error e = {0};
        uint64_t id;
        assert_int_not_equal(engine_submit(en, &cases[i].r, &id, &e), OK);
        if (!strstr(e.msg, cases[i].word)) fail_msg("%zu: %s", i, e.msg);
    }
    engine_free(en);
}

/* Prompts that end with the true answers: the model says the same of their tokens as when it drew them. */
static void run_scored(const struct model_desc *m, const struct scene *s)
{
    static struct answer a[N_REQ];
    struct engine *en = start(m, s);
    close_gate(en);
    for (uint32_t i = 0; i < N_REQ; i++) {
        int32_t prompt[CONTEXT + N_OUT];
        struct error e = {0};
        uint64_t id;
        answer_init(&a[i]);
        struct engine_request r = request(i, m->cfg.n_vocab, prompt, &a[i]);
        memcpy(prompt + r.n_prompt, truth[i].token, truth[i].n * sizeof *prompt);
        r.n_prompt += truth[i].n;
        r.max_tokens = 2;
        r.score_prompt = i % 5 != 4; /* others beside them */
        if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
    }
    sem_post(&gate);
    for (uint32_t i = 0; i < N_REQ; i++) {
        int32_t prompt[CONTEXT];
        struct engine_request r = request(i, m->cfg.n_vocab, prompt, NULL);
        wait_end(&a[i]);
        assert_true(a[i].n > 0 || a[i].why == FINISH_STOP);
        assert_int_equal(a[i].n_scored, i % 5 != 4 ? r.n_prompt + truth[i].n - 1 : 0);
        for (uint32_t k = 0; k < a[i].n_scored; k++) {
            uint32_t at = k + 1; /* of the prompt */
            if (at < r.n_prompt) {
                assert_int_equal(a[i].scored[k], prompt[at]);
                assert_true(a[i].score[k] != 0);
            } else if (a[i].scored[k] != truth[i].token[at - r.n_prompt] ||
                       a[i].score[k] != truth[i].print[at - r.n_prompt]) {
                fail_msg("%s, request %u: another score of token %u of its answer", s->name, i,
                         at - r.n_prompt);
            }
        }
    }
    engine_free(en);
}

static void run_choices(const struct model_desc *m)
{
    enum { N = 5 };
    struct answer one[N], all[N];
    struct error e = {0};
    int32_t prompt[CONTEXT];
    uint64_t id;
    struct engine *en =
        start(m, &(struct scene){"choices", 3, 256, 0, 0, 1, false, false, false}); /* not all at once */
    struct engine_request r = request(10, m->cfg.n_vocab, prompt, NULL);
    for (uint32_t i = 0; i < N; i++) {
        struct engine_request q = r;
        answer_init(&one[i]);
        answer_init(&all[i]);
        q.params.choice = i;
        q.no_cache = true;
        q.user = &one[i];
        assert_int_equal(engine_submit(en, &q, &id, &e), OK);
        wait_end(&one[i]);
    }
    r.n = N;
    r.on_event = answers_on_event;
    r.user = all;
    assert_int_equal(engine_submit(en, &r, &id, &e), OK);
    for (uint32_t i = 0; i < N; i++) {
        wait_end(&all[i]);
        compare("choices", i, &all[i], &one[i]);
        if (i) assert_memory_not_equal(all[i].token, all[0].token, all[0].n * sizeof all[0].token[0]);
    }
    struct engine_metrics mt;
    settled_metrics(en, &mt);
    assert_true(mt.n_prompt_tokens <= (N + 1) * r.n_prompt + N);
    engine_free(en);
}

/* A constraint that counts: the n-th token must be n modulo 3, or 7 more. */
static void *count_clone(const void *state)
{
    uint32_t *n = mem_alloc(sizeof *n);
    *n = *(const uint32_t *)state;
    return n;
}

static void count_mask(void *state, uint32_t *bits)
{
    uint32_t n = *(uint32_t *)state;
    for (uint32_t id = 0; id < 60; id++)
        if (id % 3 == n % 3 || id % 10 == 7) bits[id / 32] |= 1u << id % 32;
}

static bool count_accept(void *state, int32_t token)
{
    ++*(uint32_t *)state;
    return true;
}

static void run_constrained(const struct model_desc *m)
{
    static struct answer a[3][4];
    static const uint32_t zero;
    const struct engine_constraint c = {&zero, count_clone, free, count_mask, count_accept, NULL};
    for (uint32_t k = 0; k < 3; k++) { /* alone; with guesses; four choices with guesses */
        struct error e = {0};
        int32_t prompt[CONTEXT];
        uint64_t id;
        struct engine *en =
            start(m, &(struct scene){"constrained", 4, 64, 0, k ? 6 : 0, 1, false, k == 2, false});
        struct engine_request r = request(3, m->cfg.n_vocab, prompt, a[k]);
        for (uint32_t i = 0; i < 4; i++) answer_init(&a[k][i]);
        r.params.temperature = 0;
        r.constraint = &c;
        r.on_event = answers_on_event;
        r.n = k == 2 ? 4 : 1;
        if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
        for (uint32_t i = 0; i < MAX(r.n, 1u); i++) {
            wait_end(&a[k][i]);
            compare("constrained", k * 10 + i, &a[k][i], &a[0][0]);
        }
        engine_free(en);
    }
    for (uint32_t i = 0; i < a[0][0].n; i++) {
        uint32_t t = (uint32_t)a[0][0].token[i];
        assert_true(t < 60 && (t % 3 == i % 3 || t % 10 == 7));
    }
}

static const struct scene scenes[] = {
    {"among sixteen", 16, 256, 0, 0, 1, true, false, false},
    {"in pieces", 4, 20, 0, 0, 1, true, false, false},
    {"after a cache hit", 16, 64, 0, 0, 3, false, false, false},
    {"after preemption", 16, 64, 14, 0, 2, false, false, false},
    {"after preemption, more at once", 16, 64, 28, 0, 1, false, false, false},
    {"after preemption, computed again", 16, 48, 40, 0, 1, true, false, false},
    {"with guesses", 2, 64, 0, 6, 2, false, false, false},
    {"with guesses, among sixteen, preempted", 16, 40, 16, 4, 1, true, false, false},
    {"with predictions", 2, 64, 0, 12, 1, true, false, true},
    {"with predictions, among sixteen", 16, 96, 0, 8, 2, false, false, true},
    {"with a draft model", 3, 64, 0, 6, 2, false, true, false},
    {"with a draft model, preempted", 16, 40, 16, 4, 1, true, true, false},
    {"with all of these", 5, 48, 0, 8, 2, false, true, true},
};

static void all_scenes(const struct model_desc *m)
{
    run_alone(m);
    for (size_t i = 0; i < COUNT_OF(scenes); i++) run_scene(m, &scenes[i]);
    run_given(m, &(struct scene){"given", 16, 64, 0, 0, 1, true, false, false});
    run_given(m, &(struct scene){"given, with guesses", 5, 48, 0, 8, 1, false, false, false});
    what_cannot_be_given(m);
    run_scored(m, &(struct scene){"scored", 1, 256, 0, 0, 1, false, false, false});
    run_scored(m, &(struct scene){"scored, among sixteen", 16, 64, 0, 0, 1, false, false, false});
    run_scored(m, &(struct scene){"scored, preempted, with guesses", 16, 40, 16, 4, 1, false, false, false});
    run_choices(m);
    run_constrained(m);
}

static void tiny_models(void **state)
{
    static const struct tiny_shape shape[] = {
        TINY_LLAMA(90),
        {.arch = "qwen2",
         .type = DT_Q8_0,
         .n_vocab = 70,
         .n_embd = 64,
         .n_layer = 2,
         .n_head = 4,
         .n_head_kv = 2,
         .head_dim = 16,
         .n_ff = 96,
         .bias = true},
    };
#ifdef __SANITIZE_THREAD__
    enum { N_SHAPE = 1 }; /* ten times slower */
#else
    enum { N_SHAPE = COUNT_OF(shape) };
#endif
    for (size_t i = 0; i < N_SHAPE; i++) {
        struct tiny_model t;
        tiny_open(&t, &shape[i], 42 + i);
        all_scenes(model_desc(t.model));
        tiny_close(&t);
    }
}

static void a_trained_model(void **state)
{
    const char *shared = getenv("CORRAL_SHARED");
    char path[512];
    struct error e = {0};
    struct gguf *g = NULL;
    struct model *m;
    snprintf(path, sizeof path, "%s/models/stories260K.gguf", shared ? shared : ".");
    if (!shared || gguf_open(&g, path, NULL, &e) != OK) {
        print_message("skipped: no models/stories260K.gguf under CORRAL_SHARED\n");
        skip();
    }
    assert_int_equal(model_new(&m, g, NULL, &e), OK);
    all_scenes(model_desc(m));
    model_free(m);
    gguf_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tiny_models), cmocka_unit_test(a_trained_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
