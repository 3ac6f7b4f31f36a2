#include "cli/eval_score.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One prediction, by both models. */
struct row_score {
    double nll, nll_ref, kld;
    bool same_top, bad, bad_ref;
};

/* Rows of logits of one step and the tokens that came after them. */
struct rows {
    const float *logit, *logit_ref; /* (n, n_vocab); logit_ref may be NULL */
    const int32_t *next;
    uint32_t n, n_vocab;
    struct row_score *score;
};

struct share {
    const struct rows *rows;
    uint32_t from, to;
    pthread_t thread;
};

static void moments_add(struct moments *m, double x)
{
    double d = x - m->mean;
    m->n++;
    m->mean += d / (double)m->n;
    m->sum_dd += d * (x - m->mean);
}

double moments_error(const struct moments *m)
{
    return m->n < 2 ? 0 : sqrt(m->sum_dd / (double)m->n / (double)(m->n - 1));
}

/* The logarithm of the sum of exponentials, and where the first of the largest stands. False: not all are
 * numbers below infinity, or none is above minus infinity. */
static bool log_sum_exp(const float *x, uint32_t n, double *log_sum, uint32_t *best)
{
    uint32_t at = 0;
    bool number = true;
    for (uint32_t i = 0; i < n; i++) {
        number &= x[i] < INFINITY;
        if (x[i] > x[at]) at = i;
    }
    if (!number || x[at] == -INFINITY) return false;
    double max = x[at], sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += exp(x[i] - max);
    *log_sum = max + log(sum);
    *best = at;
    return true;
}

/* sum of p_ref (log p_ref - log p). Equal logits have equal logarithms, so then it is 0 exactly. Rounding may
 * leave less than 0 where the two are nearly one. */
static double divergence(const float *ref, double log_sum_ref, const float *x, double log_sum, uint32_t n)
{
    double kld = 0;
    for (uint32_t i = 0; i < n; i++) {
        double log_p_ref = ref[i] - log_sum_ref, p = exp(log_p_ref);
        if (p > 0) kld += p * (log_p_ref - (x[i] - log_sum));
    }
    return MAX(kld, 0);
}

static void score_row(const struct rows *r, uint32_t i)
{
    const float *x = r->logit + (size_t)i * r->n_vocab;
    const float *ref = r->logit_ref ? r->logit_ref + (size_t)i * r->n_vocab : NULL;
    struct row_score *s = &r->score[i];
    double log_sum, log_sum_ref;
    uint32_t best, best_ref;
    *s = (struct row_score){0};
    s->bad = !log_sum_exp(x, r->n_vocab, &log_sum, &best);
    if (s->bad) return;
    s->nll = log_sum - x[r->next[i]];
    s->bad = !isfinite(s->nll);
    if (!ref) return;
    s->bad_ref = !log_sum_exp(ref, r->n_vocab, &log_sum_ref, &best_ref);
    if (s->bad_ref) return;
    s->nll_ref = log_sum_ref - ref[r->next[i]];
    s->bad_ref = !isfinite(s->nll_ref);
    s->same_top = best == best_ref;
    s->kld = divergence(ref, log_sum_ref, x, log_sum, r->n_vocab);
    s->bad |= !isfinite(s->kld); /* a token without any probability that the reference thinks possible */
}

static void *score_share(void *arg)
{
    const struct share *s = arg;
    for (uint32_t i = s->from; i < s->to; i++) score_row(s->rows, i);
    return NULL;
}

/* Each row by one thread, all rows into their own places: the sums, made later in the order of the text, are
 * the same for any number of threads. */
static void score_rows(const struct rows *r, uint32_t n_thread)
{
    enum { MAX_THREADS = 64, WORTH_A_THREAD = 1 << 17 };
    struct share share[MAX_THREADS];
    uint64_t work = (uint64_t)r->n * r->n_vocab / WORTH_A_THREAD;
    uint32_t n = MIN(MIN(n_thread, (uint32_t)MAX_THREADS), r->n), n_started = 0;
    n = (uint32_t)MAX(MIN((uint64_t)n, work), 1u);
    for (uint32_t i = 0; i < n; i++)
        share[i] = (struct share){r, (uint32_t)((uint64_t)r->n * i / n),
                                  (uint32_t)((uint64_t)r->n * (i + 1) / n), 0};
    for (uint32_t i = 1; i < n; i++) {
        if (pthread_create(&share[i].thread, NULL, score_share, &share[i]) != 0) break;
        n_started = i;
    }
    score_share(&share[0]);
    for (uint32_t i = n_started + 1; i < n; i++) score_share(&share[i]);
    for (uint32_t i = 1; i <= n_started; i++) pthread_join(share[i].thread, NULL);
}

static status add_rows(struct eval_score *s, double *kld, const struct rows *r, struct error *e)
{
    for (uint32_t i = 0; i < r->n; i++) {
        const struct row_score *one = &r->score[i];
        if (one->bad || one->bad_ref)
            return fail(e, ERR_FORMAT, "the logits of %s are not finite (chunk %u)",
                        one->bad ? "the model" : "the reference", s->n_chunk + 1);
        moments_add(&s->nll, one->nll);
        if (r->logit_ref) {
            double moved = exp(-one->nll) - exp(-one->nll_ref);
            moments_add(&s->nll_ref, one->nll_ref);
            moments_add(&s->excess, one->nll - one->nll_ref);
            moments_add(&s->kld, one->kld);
            moments_add(&s->moved, moved * moved);
            s->n_same_top += one->same_top;
            s->kld_max = MAX(s->kld_max, one->kld);
            kld[s->n_scored] = one->kld;
        }
        s->n_scored++;
    }
    return OK;
}

/* The chunk's last token is only predicted, never computed. */
static status score_chunk(struct eval_score *s, double *kld, int32_t *chunk, struct rows *r,
                          const struct eval_job *job, struct error *e)
{
    const uint32_t end = job->ctx - 1, first = job->ctx / 2;
    memcpy(chunk, job->token + (size_t)s->n_chunk * job->ctx, job->ctx * sizeof *chunk);
    if (job->bos >= 0) chunk[0] = job->bos;
    for (uint32_t at = 0; at < end; at += job->step_tokens) {
        uint32_t n = MIN(job->step_tokens, end - at);
        r->n = at + n > first ? MIN(n, at + n - first) : 0;
        TRY(forward_step(job->model, chunk + at, n, at, r->n, &r->logit, e));
        if (job->ref) TRY(forward_step(job->ref, chunk + at, n, at, r->n, &r->logit_ref, e));
        if (!r->n) continue;
        r->next = chunk + at + n - r->n + 1;
        score_rows(r, job->n_thread);
        TRY(add_rows(s, kld, r, e));
    }
    s->n_chunk++;
    return OK;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between the two nearest of a sorted list, in proportion. n > 0. */
static double percentile(const double *x, uint64_t n, double share)
{
    double at = share * (double)(n - 1);
    uint64_t i = (uint64_t)at;
    return i + 1 < n ? x[i] + (at - (double)i) * (x[i + 1] - x[i]) : x[n - 1];
}

static void set_percentiles(struct eval_score *s, double *kld)
{
    qsort(kld, s->n_scored, sizeof *kld, by_value);
    s->kld_median = percentile(kld, s->n_scored, 0.5);
    s->kld_p90 = percentile(kld, s->n_scored, 0.9);
    s->kld_p99 = percentile(kld, s->n_scored, 0.99);
    s->kld_p999 = percentile(kld, s->n_scored, 0.999);
}

status eval_score(struct eval_score *out, const struct eval_job *job, struct error *e)
{
    ASSERT(job->ctx >= 4 && job->step_tokens >= 1 && (uint64_t)job->ctx * job->n_chunk <= job->n_token);
    ASSERT(!job->ref || job->ref->n_vocab == job->model->n_vocab);
    size_t n_scored = (size_t)job->n_chunk * eval_scored_per_chunk(job->ctx);
    int32_t *chunk = mem_try(job->ctx, sizeof *chunk);
    double *kld = mem_try(job->ref ? n_scored : 1, sizeof *kld);
    struct rows r = {.n_vocab = job->model->n_vocab, .score = mem_try(job->step_tokens, sizeof *r.score)};
    status st = OK;
    *out = (struct eval_score){0};
    if (!chunk || !kld || !r.score) {
        st = fail(e, ERR_MEMORY, "no memory for the scores of %zu tokens", n_scored);
        goto out;
    }
    while (out->n_chunk < job->n_chunk) {
        st = score_chunk(out, kld, chunk, &r, job, e);
        if (st != OK) goto out;
        if (job->progress && !job->progress(job->user, out)) {
            st = fail(e, ERR_CANCELLED, "stopped after %u of %u chunks", out->n_chunk, job->n_chunk);
            goto out;
        }
    }
    if (job->ref && out->n_scored) set_percentiles(out, kld);
out:
    free(chunk);
    free(kld);
    free(r.score);
    return st;
}
