/* Answers are the same whether or not steps are queued while the one before still runs: tokens,
 * log-probabilities, how each ends. On the simulator, whose kernels draw. */
#include "engine/engine.h"
#include "engine/metrics.h"
#include "support/answers.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_REQ = 8, N_VOCAB = 90, CONTEXT = 96, N_OUT = 24 };
static const struct tiny_shape shape = TINY_LLAMA(N_VOCAB);
static struct tiny_model model;

enum kind { PLAIN, PENALTY, MIN_TOKENS, GRAMMAR, HOSTS, CHOICES };

struct scene {
    const char *name;
    uint32_t max_seqs, kv_blocks, max_draft;
    enum kind first;   /* of the first request; that of the next follows, */
    uint32_t n_other;  /* and so on for so many; the others are PLAIN */
    uint32_t n_cancel; /* so many are cancelled on the way */
    bool thrown;       /* it is seen that rows are thrown away */
    bool preempted;    /* answers are so long, and end so late, that some must give way */
};

static void *clone_nothing(const void *state)
{
    static int nothing;
    return &nothing;
}
static void free_nothing(void *state) {}
static void mask_thirds(void *state, uint32_t *bits)
{
    for (uint32_t i = 0; i < N_VOCAB; i += 3) bits[i / 32] |= 1u << i % 32;
}
static const struct engine_constraint thirds = {
    .clone = clone_nothing, .free = free_nothing, .mask = mask_thirds};

static struct engine *start(const struct scene *s, bool ahead)
{
    struct engine *en;
    struct error e = {0};
    struct backend *b;
    struct backend_plan p;
    const struct backend_limits l = {
        .max_tokens = 32, .max_seqs = 1, .max_logits = 1, .max_context = CONTEXT, .kv_type = DT_F16};
    assert_int_equal(backend_sim.open(&b, &(struct backend_options){.device = BACKEND_NO_DEVICE}, &e), OK);
    assert_int_equal(backend_sim.plan(b, model_desc(model.model), &l, &p, &e), OK);
    backend_sim.close(b);
    const struct engine_options o = {.api = &backend_sim,
                                     .max_context = CONTEXT,
                                     .max_seqs = s->max_seqs,
                                     .step_tokens = 32,
                                     .kv_bytes = s->kv_blocks * p.kv_block_bytes,
                                     .kv_type = DT_F16,
                                     .deterministic = true,
                                     .max_draft = s->max_draft,
                                     .no_step_ahead = !ahead};
    if (engine_new(&en, model_desc(model.model), &o, &e) != OK) fail_msg("%s", e.msg);
    return en;
}

static enum kind kind_of(const struct scene *s, uint32_t i)
{
    return i < s->n_other ? (enum kind)(s->first + i) : PLAIN;
}

static uint64_t submit(struct engine *en, const struct scene *s, uint32_t i, struct answer *a)
{
    static const int32_t eog[] = {5, 17, 44, 60, 81};
    static const struct sample_bias often = {44, 50};
    int32_t prompt[64];
    struct error e = {0};
    uint64_t id;
    const enum kind kind = kind_of(s, i);
    struct engine_request r = {.prompt = prompt,
                               .n_prompt = 1 + 9 * i % 40,
                               .max_tokens = s->preempted      ? 50
                                             : kind == PENALTY ? 10
                                             : i == 3          ? 1
                                             : i == 5          ? 2
                                                               : N_OUT - i,
                               .n = kind == CHOICES ? 2 : 1,
                               .on_event = answers_on_event,
                               .user = a};
    for (uint32_t j = 0; j < r.n_prompt; j++)
        prompt[j] = (int32_t)((7 * (s->max_draft ? j % 5 : j) + 13) % N_VOCAB);
    sample_params_default(&r.params);
    r.params.seed = 100 + i;
    r.params.temperature = i == 2 ? 0 : 0.9f;
    r.params.n_logprobs = i % 2 ? 3 : 0;
    if (i % 3 && !s->preempted) r.params.eog = eog, r.params.n_eog = COUNT_OF(eog);
    if (kind == PENALTY) r.params.presence_penalty = 0.7f;
    if (kind == GRAMMAR) r.constraint = &thirds;
    if (kind == HOSTS) r.params.typical_p = 0.8f;
    if (kind == MIN_TOKENS) { /* it ends as soon as it may */
        r.params.eog = eog, r.params.n_eog = COUNT_OF(eog), r.params.min_tokens = 10;
        r.params.bias = &often, r.params.n_bias = 1;
    }
    for (uint32_t k = 0; k < MAX(r.n, 1u); k++) answer_init(&a[k]);
    if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
    return id;
}

static void play(const struct scene *s, bool ahead, struct answer (*a)[2], struct engine_metrics *mt)
{
    struct engine *en = start(s, ahead);
    uint64_t id[N_REQ];
    memset(a, 0, N_REQ * sizeof *a);
    for (uint32_t i = 0; i < N_REQ; i++) id[i] = submit(en, s, i, a[i]);
    for (uint32_t i = 0; i < s->n_cancel; i++) {
        wait_tokens(&a[N_REQ - 1 - i][0], 3 + i);
        engine_cancel(en, id[N_REQ - 1 - i]);
    }
    for (uint32_t i = 0; i < N_REQ; i++)
        for (int k = 0; k < 2; k++)
            if (k == 0 || kind_of(s, i) == CHOICES) wait_end(&a[i][k]);
    settled_metrics(en, mt);
    engine_free(en);
}

static void compare(const struct scene *s, uint32_t i, const struct answer *got, const struct answer *want)
{
    const bool cancelled = got->why == FINISH_CANCELLED || want->why == FINISH_CANCELLED;
    const uint32_t n = cancelled ? MIN(got->n, want->n) : want->n;
    assert_int_equal(got->n_end, want->n_end);
    if (!cancelled && (got->n != want->n || got->why != want->why))
        fail_msg("%s, request %u: %u tokens and %s, step by step %u and %s", s->name, i, got->n,
                 finish_reason_name(got->why), want->n, finish_reason_name(want->why));
    for (uint32_t t = 0; t < n; t++)
        if (got->token[t] != want->token[t] || got->print[t] != want->print[t])
            fail_msg("%s, request %u: token %u is %d, step by step %d", s->name, i, t, got->token[t],
                     want->token[t]);
}

static void the_same_answers(void **state)
{
    static const struct scene scenes[] = {
        {"plain", 4, 0, 0, PLAIN, 0, 0, true, false},
        {"alone", 1, 0, 0, PLAIN, 0, 0, false, false},
        {"beside penalties", 4, 0, 0, PENALTY, 1, 0, false, false},
        {"beside one that may not end yet", 4, 0, 0, MIN_TOKENS, 1, 0, false, false},
        {"beside others", 4, 0, 0, GRAMMAR, 3, 0, false, false},
        {"cancelled", 8, 0, 0, PLAIN, 0, 3, true, false},
        {"short of blocks", 5, 10, 0, PLAIN, 0, 0, false, true},
        {"with guesses", 3, 0, 4, PLAIN, 0, 0, false, false},
    };
    static struct answer got[N_REQ][2], want[N_REQ][2];
    for (size_t k = 0; k < COUNT_OF(scenes); k++) {
        const struct scene *s = &scenes[k];
        struct engine_metrics mt;
        play(s, false, want, &mt);
        assert_int_equal(mt.n_ahead + mt.n_thrown_rows, 0);
        play(s, true, got, &mt);
        for (uint32_t i = 0; i < N_REQ; i++)
            for (int c = 0; c < 2; c++) compare(s, i, &got[i][c], &want[i][c]);
        printf("  %s: %llu of %llu steps ahead, %llu rows thrown away, %llu preemptions, %llu guesses\n",
               s->name, (unsigned long long)mt.n_ahead, (unsigned long long)mt.n_steps,
               (unsigned long long)mt.n_thrown_rows, (unsigned long long)mt.n_preempted,
               (unsigned long long)mt.n_draft_tokens);
        assert_true(mt.n_ahead > 0 && mt.n_ahead < mt.n_steps);
        if (s->thrown) assert_true(mt.n_thrown_rows > 0);
        if (s->preempted) assert_true(mt.n_preempted > 0);
        if (s->max_draft) assert_true(mt.n_draft_tokens > 0);
    }
}

/* The device fails with two steps under way, or the engine is to stop: each request ends once. */
static void ends_in_the_middle(void **state)
{
    static const struct scene scene = {.name = "ends", .max_seqs = 4};
    static struct answer a[N_REQ][2];
    for (int stopped = 0; stopped < 2; stopped++) {
        if (!stopped) setenv("CORRAL_SIM_FAIL", "9", 1);
        struct engine *en = start(&scene, true);
        unsetenv("CORRAL_SIM_FAIL");
        for (uint32_t i = 0; i < N_REQ; i++) (void)submit(en, &scene, i, a[i]);
        wait_tokens(&a[0][0], 2);
        if (!stopped)
            for (uint32_t i = 0; i < N_REQ; i++) wait_end(&a[i][0]);
        engine_free(en);
        for (uint32_t i = 0; i < N_REQ; i++) assert_int_equal(a[i][0].n_end, 1);
        assert_int_equal(a[0][0].why, stopped ? FINISH_CANCELLED : FINISH_ERROR);
    }
}

int main(void)
{
    struct error e = {0};
    if (backend_sim.count(&e) <= 0) {
        printf("skipped: %s\n", e.msg);
        return 0;
    }
    tiny_open(&model, &shape, 3);
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_answers),
                                       cmocka_unit_test(ends_in_the_middle)};
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_close(&model);
    return bad;
}
