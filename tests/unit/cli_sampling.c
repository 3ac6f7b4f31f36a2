/* What the engine answers is what a plain loop answers: compute one token, draw, accept. Every strategy,
 * ends, log-probabilities, several choices, with and without guesses; same tokens, same numbers to the bit.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/forward.h"
#include "engine/engine.h"
#include "tiny_model.h"

#include <cmocka.h> /* after base.h, whose fail() it hides */

enum { N_VOCAB = 53, N_PROMPT = 23, MAX_TOKENS = 60, CONTEXT = 128, MAX_TOP = 5, MAX_CHOICES = 3 };

struct answer {
    int32_t token[MAX_TOKENS];
    float logprob[MAX_TOKENS];
    struct sample_logprob top[MAX_TOKENS][MAX_TOP];
    uint32_t n_top[MAX_TOKENS], n;
    enum finish_reason finish;
    char error[248];
};

struct test_case {
    const char *name;
    struct sample_params p;
    uint32_t n; /* choices */
    bool forbid_all;
};

static const int32_t eog[] = {3, 8, 21, 34, 50};
static const int32_t breaker_ids[] = {7};
static const uint32_t breaker_at[] = {0, 1};
static const struct sample_bias bias[] = {{11, 2}, {12, -INFINITY}};
static struct sample_bias forbid[N_VOCAB];

/* Fields that are 0 keep their default. */
// clang-format off
static const struct test_case cases[] = {
    {.name = "greedy", .p = {.want_logprob = true}},
    {.name = "a draw", .p = {.temperature = 1, .want_logprob = true, .n_logprobs = 3}},
    {.name = "three choices", .p = {.temperature = 1.5f, .n_logprobs = 2}, .n = 3},
    {.name = "after the chain", .p = {.temperature = .8f, .top_k = 10, .n_logprobs = 5, .post_sampling_probs = true}},
    {.name = "ends", .p = {.temperature = 1, .n_eog = 5}, .n = 3},
    {.name = "least length", .p = {.temperature = 1, .n_eog = 5, .min_tokens = 20}, .n = 3},
    {.name = "least length is all", .p = {.temperature = 1, .n_eog = 5, .min_tokens = 1000}},
    {.name = "no end", .p = {.temperature = 1, .n_eog = 5, .ignore_eos = true}},
    {.name = "penalties", .p = {.temperature = .7f, .repeat_penalty = 1.3f, .frequency_penalty = .5f,
                                .presence_penalty = .4f, .repeat_last_n = 16}, .n = 2},
    {.name = "DRY", .p = {.temperature = .7f, .dry_multiplier = .8f, .n_dry_breaker = 1}},
    {.name = "XTC", .p = {.temperature = 1, .xtc_probability = .5f, .xtc_threshold = .05f}},
    {.name = "mirostat 1", .p = {.temperature = 1, .mirostat = 1, .mirostat_tau = 3}},
    {.name = "mirostat 2", .p = {.temperature = 1, .mirostat = 2, .mirostat_tau = 3}},
    {.name = "adaptive-p", .p = {.temperature = 1, .adaptive_target = .3f, .min_p = .05f}},
    {.name = "bias", .p = {.temperature = 1, .n_bias = 2}},
    {.name = "nothing is left", .p = {.temperature = 1}, .forbid_all = true},
};
// clang-format on

#define TAKE(field)                                                                                          \
    if (t->p.field) p.field = t->p.field
static struct sample_params params_of(const struct test_case *t)
{
    struct sample_params p;
    sample_params_default(&p);
    p.seed = 77;
    p.temperature = t->p.temperature;
    TAKE(top_k);
    TAKE(min_p);
    TAKE(xtc_probability);
    TAKE(xtc_threshold);
    TAKE(dry_multiplier);
    TAKE(mirostat);
    TAKE(mirostat_tau);
    TAKE(adaptive_target);
    TAKE(repeat_penalty);
    TAKE(frequency_penalty);
    TAKE(presence_penalty);
    TAKE(repeat_last_n);
    p.n_eog = t->p.n_eog;
    p.eog = eog;
    p.min_tokens = t->p.min_tokens;
    p.ignore_eos = t->p.ignore_eos;
    p.n_logprobs = t->p.n_logprobs;
    p.want_logprob = t->p.want_logprob;
    p.post_sampling_probs = t->p.post_sampling_probs;
    p.n_dry_breaker = t->p.n_dry_breaker;
    p.dry_breaker_ids = breaker_ids;
    p.dry_breaker_at = breaker_at;
    p.n_bias = t->forbid_all ? N_VOCAB : t->p.n_bias;
    p.bias = t->forbid_all ? forbid : bias;
    return p;
}
#undef TAKE

static void note(struct answer *a, const struct sample_result *r)
{
    assert_true(a->n < MAX_TOKENS && r->n_top <= MAX_TOP);
    a->token[a->n] = r->token;
    a->logprob[a->n] = r->logprob;
    a->n_top[a->n] = r->n_top;
    for (uint32_t i = 0; i < r->n_top; i++) a->top[a->n][i] = r->top[i];
    a->n++;
}

/* --- the plain loop --- */

static bool is_end(const struct sample_params *p, int32_t token)
{
    for (uint32_t i = 0; i < p->n_eog; i++)
        if (p->eog[i] == token) return !p->ignore_eos;
    return false;
}

static void plain_answer(struct forward *f, const int32_t *prompt, struct sample_params p, uint32_t choice,
                         struct answer *a)
{
    struct sampler *s;
    struct error e = {0};
    const float *logits = NULL;
    p.choice = choice;
    assert_int_equal(sampler_new(&s, &p, N_VOCAB, &e), OK);
    for (uint32_t i = 0; i < N_PROMPT; i++) {
        sampler_accept(s, prompt[i], true);
        assert_int_equal(forward_step(f, &prompt[i], 1, i, 1, &logits, &e), OK);
    }
    a->finish = FINISH_LENGTH;
    for (uint32_t pos = N_PROMPT; a->n < MAX_TOKENS; pos++) {
        struct sample_result r;
        if (sampler_draw(s, logits, NULL, pos, &r, &e) != OK) {
            a->finish = FINISH_ERROR;
            memcpy(a->error, e.msg, sizeof a->error);
            break;
        }
        sampler_accept(s, r.token, false);
        if (is_end(&p, r.token)) {
            a->finish = FINISH_STOP;
            break;
        }
        note(a, &r);
        assert_int_equal(forward_step(f, &r.token, 1, pos, 1, &logits, &e), OK);
    }
    sampler_free(s);
}

/* --- the engine --- */

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    uint32_t n_open;
    struct answer answer[MAX_CHOICES];
};

static void on_event(void *user, const struct engine_event *ev)
{
    struct wait *w = user;
    pthread_mutex_lock(&w->lock);
    struct answer *a = &w->answer[ev->choice];
    if (ev->kind == EV_TOKEN) {
        note(a, ev->token);
    } else {
        a->finish = ev->finish;
        if (ev->error) memcpy(a->error, ev->error->msg, sizeof a->error);
        w->n_open--;
        pthread_cond_signal(&w->ended);
    }
    pthread_mutex_unlock(&w->lock);
}

static void engine_answers(struct engine *en, const int32_t *prompt, const struct sample_params *p,
                           uint32_t n, struct wait *w)
{
    struct error e = {0};
    uint64_t id;
    const struct engine_request r = {.prompt = prompt,
                                     .n_prompt = N_PROMPT,
                                     .max_tokens = MAX_TOKENS,
                                     .params = *p,
                                     .on_event = on_event,
                                     .user = w,
                                     .n = n};
    *w = (struct wait){.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER, .n_open = n};
    if (engine_submit(en, &r, &id, &e) != OK) fail_msg("%s", e.msg);
    pthread_mutex_lock(&w->lock);
    while (w->n_open) pthread_cond_wait(&w->ended, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void compare(const char *name, uint32_t choice, const struct answer *got, const struct answer *want)
{
    if (got->finish != want->finish || got->n != want->n)
        fail_msg("%s, choice %u: %u tokens, %s; want %u, %s", name, choice, got->n,
                 finish_reason_name(got->finish), want->n, finish_reason_name(want->finish));
    assert_string_equal(got->error, want->error);
    for (uint32_t i = 0; i < want->n; i++) {
        if (got->token[i] != want->token[i] || got->n_top[i] != want->n_top[i])
            fail_msg("%s, choice %u, token %u: %d, want %d", name, choice, i, got->token[i], want->token[i]);
        if (memcmp(&got->logprob[i], &want->logprob[i], sizeof(float)) != 0 ||
            memcmp(got->top[i], want->top[i], want->n_top[i] * sizeof **want->top) != 0)
            fail_msg("%s, choice %u, token %u: log-probability %.9g, want %.9g", name, choice, i,
                     (double)got->logprob[i], (double)want->logprob[i]);
    }
}

static void same_as_a_plain_loop(void **state)
{
    static const uint32_t max_draft[] = {0, 6};
    const struct tiny_shape shape = TINY_LLAMA(N_VOCAB);
    const struct forward_options fo = {
        .api = &backend_cpu, .on.n_thread = 1, .step_tokens = 1, .context = CONTEXT, .kv_type = DT_F32};
    struct tiny_model tiny;
    struct forward f = {0};
    struct error e = {0};
    int32_t prompt[N_PROMPT];
    uint32_t n_stopped = 0, n_full = 0;
    tiny_open(&tiny, &shape, 9);
    assert_int_equal(forward_open(&f, model_desc(tiny.model), &fo, &e), OK);
    for (int32_t i = 0; i < N_PROMPT; i++)
        prompt[i] = i * 7 % 5 + i % 3; /* repeats itself: guesses are made */
    for (int32_t i = 0; i < N_VOCAB; i++) forbid[i] = (struct sample_bias){i, -INFINITY};
    for (size_t d = 0; d < COUNT_OF(max_draft); d++) {
        struct engine *en;
        const struct engine_options eo = {.api = &backend_cpu,
                                          .n_thread = 2,
                                          .max_context = CONTEXT,
                                          .max_seqs = 4,
                                          .step_tokens = 16,
                                          .kv_type = DT_F32,
                                          .max_draft = max_draft[d]};
        assert_int_equal(engine_new(&en, model_desc(tiny.model), &eo, &e), OK);
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
            static struct wait got;
            const struct sample_params p = params_of(&cases[i]);
            uint32_t n = MAX(cases[i].n, 1u);
            engine_answers(en, prompt, &p, n, &got);
            for (uint32_t c = 0; c < n; c++) {
                static struct answer want;
                memset(&want, 0, sizeof want);
                plain_answer(&f, prompt, p, c, &want);
                compare(cases[i].name, c, &got.answer[c], &want);
                assert_true(want.finish != FINISH_STOP || want.n >= p.min_tokens);
                n_stopped += want.finish == FINISH_STOP;
                n_full += want.finish == FINISH_LENGTH;
            }
        }
        engine_free(en);
    }
    assert_true(n_stopped >= 4 && n_full >= 4); /* else the cases show too little */
    forward_close(&f);
    tiny_close(&tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_as_a_plain_loop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
