/* DRY, "don't repeat yourself": a token that would continue a repetition of what was said before is made less
 * likely, the more so the longer the repetition. Idea: p-e-w, text-generation-webui pull request 5677.
 *
 * Let r be the window, newest first. The repetition that token r[i-1] would continue is as long as the common
 * prefix of r and r[i..], which the Z-algorithm (Gusfield 1997, section 1.4) gives for all i in linear time.
 * A sequence breaker ends the reach: no repetition extends over the newest breaker in the window. */
#include <math.h>

#include "sample/strategy.h"

bool dry_is_off(const struct sample_params *p)
{
    return p->dry_multiplier <= 0 || p->dry_penalty_last_n == 0;
}

/* Whether breaker b ends at the i-th newest token. */
static bool breaker_at(const struct sampler *s, uint32_t b, size_t i, size_t n)
{
    const int32_t *id = s->p.dry_breaker_ids + s->p.dry_breaker_at[b];
    uint32_t len = s->p.dry_breaker_at[b + 1] - s->p.dry_breaker_at[b];
    if (!len || len > n - i) return false;
    for (uint32_t j = 0; j < len; j++)
        if (history_back(&s->dry, i + j) != id[len - 1 - j]) return false;
    return true;
}

/* How many tokens follow the newest breaker. */
static size_t dry_reach(const struct sampler *s, size_t n)
{
    if (!s->p.n_dry_breaker) return n;
    for (size_t i = 0; i < n; i++)
        for (uint32_t b = 0; b < s->p.n_dry_breaker; b++)
            if (breaker_at(s, b, i, n)) return i;
    return n;
}

static bool is_breaker(const struct sampler *s, int32_t token)
{
    for (uint32_t b = 0; b < s->p.n_dry_breaker; b++) {
        uint32_t at = s->p.dry_breaker_at[b];
        if (s->p.dry_breaker_at[b + 1] - at == 1 && s->p.dry_breaker_ids[at] == token) return true;
    }
    return false;
}

static void z_lengths(const struct history *h, uint32_t *z, size_t n)
{
    size_t left = 0, right = 0; /* r[left, right) is the known match that reaches farthest */
    for (size_t i = 1; i < n; i++) {
        size_t len = i < right ? MIN((size_t)z[i - left], right - i) : 0;
        while (i + len < n && history_back(h, len) == history_back(h, i + len)) len++;
        z[i] = (uint32_t)len;
        if (i + len > right) {
            left = i;
            right = i + len;
        }
    }
}

static float dry_penalty(const struct sample_params *p, uint32_t len)
{
    double penalty = p->dry_multiplier * pow(p->dry_base, (double)len - p->dry_allowed_length);
    return (float)MIN(penalty, (double)LOGIT_MAX);
}

/* dry_len holds length + 1, so that 0 means "continues nothing". */
static void penalize(struct sampler *s, float *logit, int32_t token)
{
    if (s->dry_len[token] && !is_breaker(s, token)) *logit -= dry_penalty(&s->p, s->dry_len[token] - 1);
}

void dry_apply(struct sampler *s)
{
    size_t n = history_len(&s->dry);
    size_t allowed = (size_t)s->p.dry_allowed_length, reach = dry_reach(s, n);
    if (n < 2 || reach < allowed) return;
    z_lengths(&s->dry, s->dry_z, n);
    for (size_t i = 1; i < n; i++) {
        size_t len = MIN((size_t)s->dry_z[i], reach);
        if (len < allowed) continue;
        uint32_t *best = &s->dry_len[history_back(&s->dry, i - 1)];
        *best = MAX(*best, (uint32_t)len + 1);
    }
    float *logit = cands_own(&s->c);
    if (s->c.id)
        for (uint32_t i = 0; i < s->c.n; i++) penalize(s, &logit[i], s->c.id[i]);
    for (size_t i = 1; i < n; i++) {
        int32_t token = history_back(&s->dry, i - 1);
        if (!s->c.id) penalize(s, &logit[token], token);
        s->dry_len[token] = 0; /* once per token, and zero for the next draw */
    }
}
