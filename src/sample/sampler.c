#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sample/strategy.h"

static const uint8_t default_chain[] = {STRATEGY_PENALTIES, STRATEGY_DRY,     STRATEGY_TOP_N_SIGMA,
                                        STRATEGY_TOP_K,     STRATEGY_TYPICAL, STRATEGY_TOP_P,
                                        STRATEGY_MIN_P,     STRATEGY_XTC,     STRATEGY_TEMPERATURE};
/* Mirostat is its own cut-off: with it the chain is this. */
static const uint8_t mirostat_chain[] = {STRATEGY_TEMPERATURE};

static void *copy(const void *from, size_t n, size_t bytes)
{
    if (!n) return NULL;
    void *to = mem_zalloc(n, bytes);
    memcpy(to, from, n * bytes);
    return to;
}

static void copy_lists(struct sample_params *p)
{
    uint32_t n_id = p->n_dry_breaker ? p->dry_breaker_at[p->n_dry_breaker] : 0;
    p->bias = copy(p->bias, p->n_bias, sizeof *p->bias);
    p->eog = copy(p->eog, p->n_eog, sizeof *p->eog);
    p->dry_breaker_ids = copy(p->dry_breaker_ids, n_id, sizeof *p->dry_breaker_ids);
    p->dry_breaker_at = copy(p->dry_breaker_at, p->n_dry_breaker ? (size_t)p->n_dry_breaker + 1 : 0,
                             sizeof *p->dry_breaker_at);
}

static void set_chain(struct sample_params *p)
{
    if (p->mirostat) {
        p->n_chain = COUNT_OF(mirostat_chain);
        memcpy(p->chain, mirostat_chain, sizeof mirostat_chain);
    } else if (!p->n_chain) {
        p->n_chain = COUNT_OF(default_chain);
        memcpy(p->chain, default_chain, sizeof default_chain);
    }
}

static status check_tokens(const struct sample_params *p, uint32_t n_vocab, struct error *e)
{
    if (n_vocab == 0 || n_vocab > INT32_MAX) return fail(e, ERR_ARG, "a vocabulary of %u tokens", n_vocab);
    for (uint32_t i = 0; i < p->n_bias; i++)
        if ((uint32_t)p->bias[i].token >= n_vocab)
            return fail(e, ERR_ARG, "logit_bias: token %d is not in the vocabulary (0 to %u)",
                        p->bias[i].token, n_vocab - 1);
    for (uint32_t i = 0; i < p->n_eog; i++)
        if ((uint32_t)p->eog[i] >= n_vocab)
            return fail(e, ERR_ARG, "end-of-generation token %d is not in the vocabulary (0 to %u)",
                        p->eog[i], n_vocab - 1);
    return OK;
}

static status cands_alloc(struct cands *c, uint32_t n_vocab, struct error *e)
{
    c->own_logit = mem_try(n_vocab, sizeof *c->own_logit);
    c->own_id = mem_try(n_vocab, sizeof *c->own_id);
    c->prob = mem_try(n_vocab, sizeof *c->prob);
    c->score = mem_try(n_vocab, sizeof *c->score);
    c->block_sum = mem_try(n_vocab / CANDS_BLOCK + 1, sizeof *c->block_sum);
    c->key = mem_try(n_vocab, sizeof *c->key);
    if (!c->own_logit || !c->own_id || !c->prob || !c->score || !c->block_sum || !c->key)
        return fail(e, ERR_MEMORY, "sampler: no memory for %u candidates", n_vocab);
    return OK;
}

status sampler_new(struct sampler **out, const struct sample_params *p, uint32_t n_vocab, struct error *e)
{
    TRY(sample_params_check(p, e));
    TRY(check_tokens(p, n_vocab, e));
    struct sampler *s = mem_zalloc(1, sizeof *s);
    s->p = *p;
    copy_lists(&s->p);
    set_chain(&s->p);
    s->n_vocab = n_vocab;
    s->learned = 2 * (double)p->mirostat_tau;
    if (!p->mirostat && p->adaptive_target >= 0) { /* as if the target had always been met */
        s->adaptive_weight = 1 / (1 - (double)p->adaptive_decay);
        s->learned = p->adaptive_target * s->adaptive_weight;
    }
    s->pending.token = -1;
    s->p.n_logprobs = MIN(s->p.n_logprobs, n_vocab);
    s->portable = program_is_portable(&s->p, n_vocab);

    bool penalties = !strategy_table[STRATEGY_PENALTIES].is_off(p);
    bool dry = !strategy_table[STRATEGY_DRY].is_off(p);
    status st = cands_alloc(&s->c, n_vocab, e);
    if (st == OK) st = history_setup(&s->recent, penalties ? p->repeat_last_n : 0, n_vocab, e);
    if (st == OK) st = history_setup(&s->dry, dry ? p->dry_penalty_last_n : 0, 0, e);
    if (st == OK && dry && !(s->dry_len = mem_try(n_vocab, sizeof *s->dry_len)))
        st = fail(e, ERR_MEMORY, "sampler: no memory for DRY over %u tokens", n_vocab);
    if (st == OK && !(s->top = mem_try(s->p.n_logprobs, sizeof *s->top)))
        st = fail(e, ERR_MEMORY, "sampler: no memory for %u log-probabilities", s->p.n_logprobs);
    if (st != OK) {
        sampler_free(s);
        return st;
    }
    *out = s;
    return OK;
}

void sampler_free(struct sampler *s)
{
    if (!s) return;
    free((void *)(uintptr_t)s->p.bias);
    free((void *)(uintptr_t)s->p.eog);
    free((void *)(uintptr_t)s->p.dry_breaker_ids);
    free((void *)(uintptr_t)s->p.dry_breaker_at);
    free(s->c.own_logit);
    free(s->c.own_id);
    free(s->c.prob);
    free(s->c.score);
    free(s->c.block_sum);
    free(s->c.key);
    history_deinit(&s->recent);
    history_deinit(&s->dry);
    free(s->dry_z);
    free(s->dry_len);
    free(s->edit);
    free(s->top);
    free(s);
}

static double what_is_learned(const struct sampler *s)
{
    return s->p.mirostat ? mirostat_learn(s) : adaptive_learn(s);
}

void sampler_accept(struct sampler *s, int32_t token, bool from_prompt)
{
    if (token < 0 || (uint32_t)token >= s->n_vocab) return; /* nothing can be drawn like it */
    history_add(&s->recent, token, from_prompt);
    history_add(&s->dry, token, from_prompt);
    if (s->dry_cap < s->dry.cap) { /* here, so that a draw allocates nothing */
        s->dry_cap = (uint32_t)s->dry.cap;
        s->dry_z = mem_realloc(s->dry_z, s->dry_cap, sizeof *s->dry_z);
    }
    if (from_prompt) return;
    s->n_out++;
    if (s->pending.token == token) {
        s->learned = what_is_learned(s);
        s->adaptive_weight = 1 + s->p.adaptive_decay * s->adaptive_weight;
    }
    s->pending.token = -1;
}

bool sampler_learns(const struct sample_params *p)
{
    return strategy_table[STRATEGY_GREEDY].is_off(p) && (p->mirostat || p->adaptive_target >= 0);
}

void sampler_resume(struct sampler *s, double learned)
{
    s->learned = learned;
    for (uint64_t i = 0; i < s->n_out; i++) s->adaptive_weight = 1 + s->p.adaptive_decay * s->adaptive_weight;
}

/* By whole words where all bits agree, as most of a grammar's do; else without a branch on a bit, in a form
 * that compilers turn into lanes. */
static void apply_mask(float *to, const float *from, const uint32_t *mask, uint32_t n)
{
    const uint32_t forbidden = 0xFF800000u; /* -INFINITY */
    uint32_t x[32] = {0}, bit[32];
    for (uint32_t j = 0; j < 32; j++) bit[j] = UINT32_C(1) << j;
    for (uint32_t i = 0; i < n; i += 32) {
        uint32_t word = mask[i / 32], len = MIN(32u, n - i);
        if (word == UINT32_MAX) {
            memcpy(to + i, from + i, len * sizeof *to);
            continue;
        }
        if (word != 0) memcpy(x, from + i, len * sizeof *x);
        for (uint32_t j = 0; j < 32; j++) {
            uint32_t keep = (word & bit[j]) == bit[j] ? UINT32_MAX : 0;
            x[j] = (x[j] & keep) | (forbidden & ~keep);
        }
        memcpy(to + i, x, len * sizeof *x);
    }
}

static void forbid_eog(struct sampler *s)
{
    if (!s->p.n_eog || !(s->p.ignore_eos || s->n_out < s->p.min_tokens)) return;
    float *logit = cands_own(&s->c);
    for (uint32_t i = 0; i < s->p.n_eog; i++) logit[s->p.eog[i]] = -INFINITY;
}

/* NaN becomes forbidden, +infinity leaves only its like, what is too large becomes LOGIT_MAX. */
static void tame(struct cands *c, bool infinite)
{
    float *logit = cands_own(c);
    for (uint32_t i = 0; i < c->n; i++) {
        float x = logit[i];
        if (infinite)
            logit[i] = x == INFINITY ? 0 : -INFINITY;
        else if (isnan(x))
            logit[i] = -INFINITY;
        else if (x != -INFINITY)
            logit[i] = MIN(MAX(x, -LOGIT_MAX), LOGIT_MAX);
    }
}

status sampler_nothing_left(uint32_t n_vocab, struct error *e)
{
    return fail(e, ERR_ARG, "no token can be chosen: each of %u is forbidden or has no number", n_vocab);
}

static status prepare(struct sampler *s, const float *logits, const uint32_t *mask, struct error *e)
{
    struct cands *c = &s->c;
    c->logit = logits;
    c->id = NULL;
    c->n = s->n_vocab;
    c->best_known = false;
    if (mask) {
        apply_mask(c->own_logit, logits, mask, c->n);
        c->logit = c->own_logit;
    }
    forbid_eog(s);
    if (s->p.n_bias) strategy_table[STRATEGY_BIAS].apply(s);
    struct logit_scan scan = logit_scan(c->logit, c->n);
    if (scan.max == -INFINITY) return sampler_nothing_left(c->n, e);
    c->best = scan.at;
    c->best_known = true;
    if (scan.wild) tame(c, scan.max == INFINITY);
    return OK;
}

/* The best candidates as rows of log-probabilities, logit - log_total. */
static uint32_t best_rows(struct sampler *s, double log_total)
{
    uint64_t *key = s->c.key;
    const float *x = s->c.logit;
    uint32_t m = key_best(key, x, s->c.n, s->p.n_logprobs);
    key_sort(key, m);
    for (uint32_t i = 0; i < m; i++) {
        uint32_t at = key_index(key[i]);
        s->top[i] = (struct sample_logprob){cands_id(&s->c, at), (float)MIN(x[at] - log_total, 0.0)};
    }
    return m;
}

/* After the chain: of the candidates that were left. */
static void report_post(struct sampler *s, struct sample_result *out)
{
    double log_total = cands_max(&s->c) + log(cands_softmax(&s->c));
    out->logprob = (float)MIN(s->c.logit[s->pick] - log_total, 0.0);
    out->n_top = best_rows(s, log_total);
}

/* Of the model: log-softmax of the logits as they came. */
static void report_raw(struct sampler *s, const float *logits, struct sample_result *out)
{
    struct cands *c = &s->c;
    struct logit_scan scan = logit_scan(logits, s->n_vocab);
    c->logit = logits;
    c->id = NULL;
    c->n = s->n_vocab;
    c->best = scan.at;
    c->best_known = true;
    if (scan.wild) tame(c, scan.max == INFINITY);
    float max = cands_max(c);
    double log_total = max + log(exp_sum(NULL, NULL, c->logit, c->n, max));
    out->logprob = (float)MIN(c->logit[out->token] - log_total, 0.0);
    out->n_top = best_rows(s, log_total);
}

void sampler_score(struct sampler *s, const float *logits, int32_t token, struct sample_result *out)
{
    *out = (struct sample_result){.token = token, .top = s->top};
    report_raw(s, logits, out);
}

status sampler_draw(struct sampler *s, const float *logits, const uint32_t *mask, uint64_t position,
                    struct sample_result *out, struct error *e)
{
    s->position = position;
    s->pending.token = -1;
    *out = (struct sample_result){.token = -1, .top = s->top};
    TRY(prepare(s, logits, mask, e));
    bool greedy = !strategy_table[STRATEGY_GREEDY].is_off(&s->p);
    for (uint32_t i = 0; i < s->p.n_chain; i++) {
        const struct strategy *t = &strategy_table[s->p.chain[i]];
        if (!t->is_off(&s->p) && (t->shapes || !greedy)) t->apply(s);
    }
    s->pick = 0;
    for (int i = 0; i < N_STRATEGY; i++) {
        const struct strategy *t = &strategy_table[i];
        if (t->kind != KIND_LAST || t->is_off(&s->p)) continue;
        t->apply(s);
        break;
    }
    out->token = cands_id(&s->c, s->pick);
    if (s->pending.token >= 0) out->learned = what_is_learned(s);
    if (!s->p.want_logprob && !s->p.n_logprobs) return OK;
    if (s->p.post_sampling_probs)
        report_post(s, out);
    else
        report_raw(s, logits, out);
    return OK;
}
