/* Perplexity and KL divergence against the plain definition: one token at a time, sums in long double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/eval_score.h"
#include "tiny_model.h"

#include <cmocka.h> /* last: it defines fail */

enum { N_VOCAB = 61, N_TOKEN = 150, MAX_CTX = 48 };

/* As its odd sizes: no chunk, step or vocabulary is a round number. */
static const struct tiny_shape shape = TINY_LLAMA(N_VOCAB);

struct fixture {
    struct tiny_model tiny[2];
    struct forward f[2];
    int32_t token[N_TOKEN];
};

static int setup(void **state)
{
    static struct fixture x;
    struct error e = {0};
    memset(&x, 0, sizeof x);
    for (int i = 0; i < 2; i++) {
        const struct forward_options fo = {.api = &backend_cpu,
                                           .on.n_thread = 2,
                                           .step_tokens = MAX_CTX,
                                           .context = MAX_CTX,
                                           .kv_type = DT_F32};
        tiny_open(&x.tiny[i], &shape, 1000 * (uint64_t)(i + 1));
        if (forward_open(&x.f[i], model_desc(x.tiny[i].model), &fo, &e) != OK) {
            fprintf(stderr, "%s\n", e.msg);
            return 1;
        }
    }
    for (uint32_t i = 0; i < N_TOKEN; i++) x.token[i] = (int32_t)(rng_uniform(5, 0, i, 0) * N_VOCAB);
    *state = &x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    for (int i = 0; i < 2; i++) {
        forward_close(&x->f[i]);
        tiny_close(&x->tiny[i]);
    }
    return 0;
}

static struct eval_job job_of(const struct fixture *x, struct forward *model, struct forward *ref)
{
    return (struct eval_job){.model = model,
                             .ref = ref,
                             .token = x->token,
                             .n_token = N_TOKEN,
                             .ctx = 37,
                             .n_chunk = 4,
                             .bos = 1,
                             .step_tokens = 11,
                             .n_thread = 1};
}

/* --- the plain definition --- */

static void log_probs(struct forward *f, int32_t token, uint32_t pos, long double out[N_VOCAB])
{
    struct error e = {0};
    const float *x;
    long double sum = 0;
    assert_int_equal(forward_step(f, &token, 1, pos, 1, &x, &e), OK);
    for (int i = 0; i < N_VOCAB; i++) sum += expl((long double)x[i]);
    for (int i = 0; i < N_VOCAB; i++) out[i] = (long double)x[i] - logl(sum);
}

struct plain {
    long double nll[N_TOKEN], nll_ref[N_TOKEN], kld[N_TOKEN];
    uint32_t n, n_same;
};

static int best_of(const long double *p)
{
    int best = 0;
    for (int i = 1; i < N_VOCAB; i++)
        if (p[i] > p[best]) best = i;
    return best;
}

static void plain_score(struct plain *out, const struct eval_job *j)
{
    long double p[N_VOCAB], q[N_VOCAB];
    for (uint32_t c = 0; c < j->n_chunk; c++) {
        const int32_t *chunk = j->token + c * j->ctx;
        for (uint32_t i = 0; i + 1 < j->ctx; i++) {
            int32_t token = i == 0 && j->bos >= 0 ? j->bos : chunk[i];
            log_probs(j->model, token, i, q);
            log_probs(j->ref, token, i, p);
            if (i < j->ctx / 2) continue;
            out->nll[out->n] = -q[chunk[i + 1]];
            out->nll_ref[out->n] = -p[chunk[i + 1]];
            for (int k = 0; k < N_VOCAB; k++) out->kld[out->n] += expl(p[k]) * (p[k] - q[k]);
            out->n_same += best_of(p) == best_of(q);
            out->n++;
        }
    }
}

static double mean_of(const long double *x, uint32_t n)
{
    long double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += x[i];
    return (double)(sum / n);
}

static double error_of(const long double *x, uint32_t n)
{
    long double mean = mean_of(x, n), sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return (double)sqrtl(sum / n / (n - 1));
}

static int by_value(const void *a, const void *b)
{
    long double x = *(const long double *)a, y = *(const long double *)b;
    return (x > y) - (x < y);
}

static void near(const char *what, double got, double want)
{
    if (!(fabs(got - want) <= 1e-9 * (1 + fabs(want)))) fail_msg("%s is %.15g, want %.15g", what, got, want);
}

static void matches_the_definition(void **state)
{
    struct fixture *x = *state;
    static const struct {
        uint32_t ctx, n_chunk;
        int32_t bos;
    } cases[] = {{37, 4, 1}, {37, 1, -1}, {4, 37, 1}, {5, 30, -1}, {48, 3, 0}, {16, 9, 2}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct eval_job job = job_of(x, &x->f[0], &x->f[1]);
        struct eval_score got;
        struct error e = {0};
        static struct plain want;
        long double excess[N_TOKEN];
        memset(&want, 0, sizeof want);
        job.ctx = cases[i].ctx;
        job.n_chunk = cases[i].n_chunk;
        job.bos = cases[i].bos;
        plain_score(&want, &job);
        assert_int_equal(eval_score(&got, &job, &e), OK);
        for (uint32_t k = 0; k < want.n; k++) excess[k] = want.nll[k] - want.nll_ref[k];
        assert_int_equal(got.n_scored, want.n);
        assert_int_equal(got.n_scored, (uint64_t)job.n_chunk * eval_scored_per_chunk(job.ctx));
        assert_int_equal(got.n_same_top, want.n_same);
        near("nll", got.nll.mean, mean_of(want.nll, want.n));
        near("its error", moments_error(&got.nll), error_of(want.nll, want.n));
        near("reference's nll", got.nll_ref.mean, mean_of(want.nll_ref, want.n));
        near("excess", got.excess.mean, mean_of(excess, want.n));
        near("its error", moments_error(&got.excess), error_of(excess, want.n));
        near("KLD", got.kld.mean, mean_of(want.kld, want.n));
        near("its error", moments_error(&got.kld), error_of(want.kld, want.n));
        qsort(want.kld, want.n, sizeof *want.kld, by_value);
        near("greatest KLD", got.kld_max, (double)want.kld[want.n - 1]);
        near("median KLD", got.kld_median, (double)((want.kld[(want.n - 1) / 2] + want.kld[want.n / 2]) / 2));
        assert_true(got.kld_median <= got.kld_p90 && got.kld_p90 <= got.kld_p99 &&
                    got.kld_p99 <= got.kld_max);
    }
}

static void itself_is_no_distance(void **state)
{
    struct fixture *x = *state;
    struct eval_job job = job_of(x, &x->f[0], &x->f[0]);
    struct eval_score s;
    struct error e = {0};
    struct forward twin = {0};
    const struct forward_options fo = {
        .api = &backend_cpu, .on.n_thread = 1, .step_tokens = MAX_CTX, .context = MAX_CTX, .kv_type = DT_F32};
    assert_int_equal(forward_open(&twin, model_desc(x->tiny[0].model), &fo, &e), OK);
    job.ref = &twin;
    assert_int_equal(eval_score(&s, &job, &e), OK);
    assert_true(s.kld.mean == 0 && s.kld_max == 0 && s.excess.mean == 0 && s.excess.sum_dd == 0 &&
                s.moved.mean == 0);
    assert_int_equal(s.n_same_top, s.n_scored);
    forward_close(&twin);
}

/* The same bits however the work is cut. */
static void cuts_do_not_show(void **state)
{
    struct fixture *x = *state;
    struct eval_job job = job_of(x, &x->f[0], &x->f[1]);
    struct eval_score first, s;
    struct error e = {0};
    static const struct {
        uint32_t step_tokens, n_thread;
    } cases[] = {{1, 1}, {7, 3}, {18, 2}, {19, 1}, {36, 8}, {48, 1}};
    assert_int_equal(eval_score(&first, &job, &e), OK);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        job.step_tokens = cases[i].step_tokens;
        job.n_thread = cases[i].n_thread;
        assert_int_equal(eval_score(&s, &job, &e), OK);
        if (memcmp(&s, &first, sizeof s) != 0)
            fail_msg("steps of %u on %u threads: %.17g, %.17g; want %.17g, %.17g", cases[i].step_tokens,
                     cases[i].n_thread, s.nll.mean, s.kld.mean, first.nll.mean, first.kld.mean);
    }
}

/* A backend that hands out what the test says: a large vocabulary, for threads, and numbers that are none. */
static float *fake_logits;

static status fake_step(struct backend_model *m, struct backend_kv *kv, const struct batch *b,
                        uint64_t *ticket, struct error *e)
{
    *ticket = b->seq->n_logits;
    return OK;
}
static status fake_wait(struct backend_model *m, uint64_t ticket, struct step_result *out, struct error *e)
{
    *out = (struct step_result){.logits = fake_logits, .n_row = (uint32_t)ticket};
    return OK;
}
static const struct backend_api fake = {.name = "fake", .step = fake_step, .wait = fake_wait};

static void threads_and_bad_numbers(void **state)
{
    struct fixture *x = *state;
    enum { BIG = 50000 };
    static const struct {
        float at_best, elsewhere;
        status want;
    } cases[] = {{3, 0, OK},
                 {1e30f, -1e30f, OK},
                 {3, -INFINITY, ERR_FORMAT},
                 {INFINITY, 0, ERR_FORMAT},
                 {NAN, 0, ERR_FORMAT},
                 {-INFINITY, -INFINITY, ERR_FORMAT}};
    struct forward f = {.api = &fake, .n_vocab = BIG};
    struct eval_job job = job_of(x, &f, NULL);
    fake_logits = mem_zalloc((size_t)job.ctx * BIG, sizeof *fake_logits);
    job.step_tokens = job.ctx;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        double mean[2] = {0};
        for (size_t k = 0; k < (size_t)job.ctx * BIG; k++)
            fake_logits[k] = k % BIG == 7 ? cases[i].at_best : cases[i].elsewhere;
        for (uint32_t t = 0; t < 2; t++) {
            struct eval_score s;
            struct error e = {0};
            job.n_thread = t ? 5 : 1;
            status st = eval_score(&s, &job, &e);
            if (st != cases[i].want)
                fail_msg("case %zu: %s, want %s", i, status_name(st), status_name(cases[i].want));
            if (st != OK) assert_non_null(strstr(e.msg, "not finite"));
            mean[t] = s.nll.mean;
        }
        assert_true(mean[0] == mean[1]);
        if (i == 0) {
            uint64_t n = (uint64_t)job.n_chunk * eval_scored_per_chunk(job.ctx), hit = 0;
            for (uint32_t c = 0; c < job.n_chunk; c++)
                for (uint32_t k = job.ctx / 2 + 1; k < job.ctx; k++) hit += x->token[c * job.ctx + k] == 7;
            near("nll", mean[0], log(exp(3) + BIG - 1) - 3.0 * (double)hit / (double)n);
        }
    }
    free(fake_logits);
}

static bool stop_at_two(void *user, const struct eval_score *s)
{
    uint32_t *calls = user;
    ++*calls;
    return s->n_chunk < 2;
}

static void can_be_stopped(void **state)
{
    struct fixture *x = *state;
    struct eval_job job = job_of(x, &x->f[0], NULL);
    struct eval_score s;
    struct error e = {0};
    uint32_t calls = 0;
    job.progress = stop_at_two;
    job.user = &calls;
    assert_int_equal(eval_score(&s, &job, &e), ERR_CANCELLED);
    assert_int_equal(calls, 2);
    assert_int_equal(s.n_chunk, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_definition), cmocka_unit_test(itself_is_no_distance),
        cmocka_unit_test(cuts_do_not_show),       cmocka_unit_test(threads_and_bad_numbers),
        cmocka_unit_test(can_be_stopped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
