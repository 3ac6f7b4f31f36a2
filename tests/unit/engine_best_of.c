/* best_of: the best of several choices, as n of them alone would have been, and their cancellation. */
#include "engine/engine.h"
#include "support/answers.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_ALL = 6, N_TOKEN = 24 };
static const struct tiny_shape shape = TINY_LLAMA(90);
static struct tiny_model model;

struct scored {
    struct answer a;
    double logprob;
    uint32_t n_unsent;
    bool in_order; /* its first token came after the END of the choice before it */
};
static struct scored got[N_ALL];

static void on_event(void *user, const struct engine_event *ev)
{
    struct scored *s = &((struct scored *)user)[ev->choice];
    if (ev->kind == EV_TOKEN) {
        if (s->a.n == 0) s->in_order = ev->choice == 0 || s[-1].a.n_end == 1;
        s->logprob += (double)ev->token->logprob;
        assert_int_equal(ev->token->n_top, 2);
        assert_true(ev->token->top[0].logprob >= ev->token->top[1].logprob);
    }
    if (ev->kind == EV_END) s->n_unsent = ev->timing.n_unsent;
    answer_on_event(&s->a, ev);
}

static struct engine *start(uint32_t max_seqs)
{
    struct error e = {0};
    struct engine *en;
    struct engine_options o = {.api = &backend_cpu,
                               .n_thread = 1,
                               .max_context = 128,
                               .max_seqs = max_seqs,
                               .max_queue = 8,
                               .kv_type = DT_F32};
    if (engine_new(&en, model_desc(model.model), &o, &e) != OK) fail_msg("%s", e.msg);
    return en;
}

static status submit(struct engine *en, uint32_t n, uint32_t best_of, uint32_t max_tokens, uint64_t *id)
{
    static const int32_t prompt[] = {5, 6, 7, 8};
    struct error e = {0};
    memset(got, 0, sizeof got);
    for (uint32_t i = 0; i < N_ALL; i++) answer_init(&got[i].a);
    struct engine_request r = {.prompt = prompt,
                               .n_prompt = 4,
                               .max_tokens = max_tokens,
                               .n = n,
                               .best_of = best_of,
                               .on_event = on_event,
                               .user = got};
    sample_params_default(&r.params);
    r.params.seed = 9;
    r.params.n_logprobs = 2;
    return engine_submit(en, &r, id, &e);
}

static void the_best_are_sent(void **state)
{
    static struct scored all[N_ALL];
    uint64_t id;
    for (uint32_t max_seqs = 2; max_seqs <= 8; max_seqs += 6) {
        struct engine *en = start(max_seqs);
        assert_int_equal(submit(en, N_ALL, 0, N_TOKEN, &id), OK);
        for (uint32_t i = 0; i < N_ALL; i++) wait_end(&got[i].a);
        memcpy(all, got, sizeof all);
        for (uint32_t n = 1; n < N_ALL; n += 2) {
            assert_int_equal(submit(en, n, N_ALL, N_TOKEN, &id), OK);
            for (uint32_t i = 0; i < n; i++) wait_end(&got[i].a);
            double last = 0;
            for (uint32_t i = 0; i < n; i++) {
                uint32_t n_better = 0, same = N_ALL;
                for (uint32_t k = 0; k < N_ALL; k++) {
                    n_better += all[k].logprob > got[i].logprob + 1e-9;
                    if (!memcmp(all[k].a.token, got[i].a.token, N_TOKEN * sizeof *got[i].a.token)) same = k;
                }
                assert_int_equal(n_better, i);
                assert_int_not_equal(same, N_ALL);
                assert_true(got[i].in_order && (!i || got[i].logprob <= last));
                assert_int_equal(got[i].a.why, FINISH_LENGTH);
                assert_int_equal(got[i].n_unsent, i ? 0 : (N_ALL - n) * N_TOKEN);
                last = got[i].logprob;
            }
            for (uint32_t i = n; i < N_ALL; i++) assert_int_equal(got[i].a.n + got[i].a.n_end, 0);
        }
        engine_free(en);
    }
}

static void one_cancelled_is_all_cancelled(void **state)
{
    uint64_t id;
    struct engine *en = start(3);
    for (uint32_t round = 0; round < 6; round++) {
        assert_int_equal(submit(en, 2, N_ALL, 120, &id), OK);
        if (round % 2) usleep(300);
        engine_cancel(en, id + round % 2);
        for (uint32_t i = 0; i < 2; i++) {
            wait_end(&got[i].a);
            assert_true(got[i].a.why == FINISH_CANCELLED || got[i].a.why == FINISH_LENGTH);
        }
    }
    assert_int_equal(submit(en, 2, 2000, 5, &id), ERR_ARG);
    assert_int_equal(submit(en, 1, N_ALL, 100, &id), OK);
    engine_free(en); /* with some under way: freed, with their ENDs */
}

static int setup(void **state)
{
    tiny_open(&model, &shape, 21);
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
        cmocka_unit_test(the_best_are_sent),
        cmocka_unit_test(one_cancelled_is_all_cancelled),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
