#include <float.h>
#include <math.h>
#include <string.h>

#include "sample/strategy.h"

/* Four lanes, which gcc and clang lower to the machine's own; unaligned, as callers' arrays may be. */
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t v4i __attribute__((vector_size(16)));
typedef int64_t v2l __attribute__((vector_size(16)));

static inline bool any_lane(v4i m)
{
    v2l l = (v2l)m;
    return (l[0] | l[1]) != 0;
}

struct logit_scan logit_scan(const float *x, uint32_t n)
{
    enum { STEP = 256 };
    struct logit_scan r = {.max = -INFINITY};
    const v4 high = {LOGIT_MAX, LOGIT_MAX, LOGIT_MAX, LOGIT_MAX}, low = -high;
    const v4 least = {-FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX};
    v4i wild = {0};
    bool wild_tail = false;

    for (uint32_t i = 0; i < n; i += STEP) {
        uint32_t end = MIN(n, i + STEP), j = i;
        float best = r.max;
        if (end - i == STEP) {
            v4 m0 = {r.max, r.max, r.max, r.max}, m1 = m0;
            for (; j < end; j += 8) {
                v4 a, b;
                memcpy(&a, x + j, sizeof a);
                memcpy(&b, x + j + 4, sizeof b);
                v4i ga = a > m0, gb = b > m1; /* false for NaN */
                m0 = (v4)(((v4i)a & ga) | ((v4i)m0 & ~ga));
                m1 = (v4)(((v4i)b & gb) | ((v4i)m1 & ~gb));
                wild |= ~(a <= high) | ((a < low) & (a >= least));
                wild |= ~(b <= high) | ((b < low) & (b >= least));
            }
            for (int k = 0; k < 4; k++) {
                best = MAX(best, m0[k]);
                best = MAX(best, m1[k]);
            }
        }
        for (; j < end; j++) {
            if (x[j] > best) best = x[j];
            wild_tail |= !(x[j] <= LOGIT_MAX) || (x[j] < -LOGIT_MAX && x[j] >= -FLT_MAX);
        }
        if (best > r.max) {
            r.max = best;
            for (j = i; x[j] != best; j++) {}
            r.at = j;
        }
    }
    r.wild = wild_tail || any_lane(wild);
    return r;
}

/* exp(x) for x <= 0. Cody-Waite reduction to |r| <= ln(2)/2 and the Taylor polynomial of degree 7 there;
 * adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits. */
static inline v4 exp_neg(v4 x)
{
    const v4 least = (v4){} - 87.3f; /* below: exp(x) is not a normal float */
    v4i low = x < least;
    v4 in = (v4)((low & (v4i)least) | (~low & (v4i)x));
    v4 n = in * 1.44269504f + 12582912.0f;
    v4 k = n - 12582912.0f;
    v4 r = (in - k * 0.693359375f) + k * 2.12194440e-4f;
    v4 p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    v4i scale = ((v4i)n + 127) << 23;
    return (v4)((v4i)(p * (v4)scale) & ~low);
}

double exp_sum(float *y, double *block_sum, const float *x, uint32_t n, float max)
{
    double total = 0;
    for (uint32_t i = 0; i < n; i += CANDS_BLOCK) {
        uint32_t len = MIN((uint32_t)CANDS_BLOCK, n - i), j = 0;
        v4 lane = {0};
        for (; j + 4 <= len; j += 4) {
            v4 a;
            memcpy(&a, x + i + j, sizeof a);
            a = exp_neg(a - max);
            lane += a;
            if (y) memcpy(y + i + j, &a, sizeof a);
        }
        if (j < len) {
            v4 a = (v4){} - INFINITY;
            for (uint32_t k = j; k < len; k++) a[k - j] = x[i + k];
            a = exp_neg(a - max);
            lane += a;
            for (uint32_t k = j; y && k < len; k++) y[i + k] = a[k - j];
        }
        double sum = ((double)lane[0] + lane[1]) + ((double)lane[2] + lane[3]);
        if (block_sum) block_sum[i / CANDS_BLOCK] = sum;
        total += sum;
    }
    return total;
}

float *cands_own(struct cands *c)
{
    if (c->logit != c->own_logit) {
        memcpy(c->own_logit, c->logit, c->n * sizeof *c->logit);
        c->logit = c->own_logit;
    }
    c->best_known = false;
    return c->own_logit;
}

uint32_t cands_argmax(const struct cands *c)
{
    return c->best_known ? c->best : logit_scan(c->logit, c->n).at;
}
float cands_max(const struct cands *c)
{
    return c->logit[cands_argmax(c)];
}

double cands_softmax(struct cands *c)
{
    return exp_sum(c->prob, c->block_sum, c->logit, c->n, cands_max(c));
}

/* Append candidate i to the filtered list; i is never before the list's end, so it may be the same memory. */
static inline void keep(struct cands *c, uint32_t *n, uint32_t i)
{
    float logit = c->logit[i];
    int32_t id = cands_id(c, i);
    c->own_logit[*n] = logit;
    c->own_id[(*n)++] = id;
}

static void kept(struct cands *c, uint32_t n)
{
    ASSERT(n > 0);
    c->logit = c->own_logit;
    c->id = c->own_id;
    c->n = n;
    c->best_known = false;
}

void cands_keep_logit(struct cands *c, float least)
{
    uint32_t n = 0, i = 0;
    const v4 limit = {least, least, least, least};
    for (; i + 8 <= c->n; i += 8) { /* most blocks of a vocabulary hold nothing to keep */
        v4 a, b;
        memcpy(&a, c->logit + i, sizeof a);
        memcpy(&b, c->logit + i + 4, sizeof b);
        if (!any_lane((a >= limit) | (b >= limit))) continue;
        for (uint32_t j = i; j < i + 8; j++)
            if (c->logit[j] >= least) keep(c, &n, j);
    }
    for (; i < c->n; i++)
        if (c->logit[i] >= least) keep(c, &n, i);
    kept(c, n);
}

void cands_keep_marked(struct cands *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->key[i]) keep(c, &n, i);
    kept(c, n);
}

/* Without branches on the data, which nothing could predict. */
void cands_keep_mass(struct cands *c, const float *value, double need, double least_prob, uint32_t min_keep)
{
    const float least = MAX((float)least_prob, FLT_MIN);
    uint32_t n = 0, m = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        c->key[n] = cands_key(value[i], i);
        n += c->prob[i] >= least;
    }
    uint64_t least_key = key_threshold(c->key, n, c->prob, need);
    if (min_keep > 1) {
        uint64_t floor_key = key_threshold(c->key, n, NULL, MIN(min_keep, n));
        least_key = MIN(least_key, floor_key);
    }
    for (uint32_t i = 0; i < c->n; i++) {
        bool stays = (c->prob[i] >= least) & (cands_key(value[i], i) >= least_key);
        float logit = c->logit[i];
        int32_t id = cands_id(c, i);
        c->own_logit[m] = logit;
        c->own_id[m] = id;
        m += stays;
    }
    kept(c, m);
}

void cands_keep_one(struct cands *c, uint32_t i)
{
    uint32_t n = 0;
    keep(c, &n, i);
    kept(c, n);
}

void cands_keep_top(struct cands *c, uint32_t k)
{
    if (k >= c->n) return;
    uint32_t n = key_best(c->key, c->logit, c->n, k), m = 0;
    for (uint32_t j = 0; j < n; j++) c->key[j] = ~(uint64_t)key_index(c->key[j]);
    key_sort(c->key, n); /* ascending index */
    for (uint32_t j = 0; j < n; j++) keep(c, &m, (uint32_t)~c->key[j]);
    kept(c, m);
}

static inline void key_swap(uint64_t *a, uint64_t *b)
{
    uint64_t t = *a;
    *a = *b;
    *b = t;
}

static void sift(uint64_t *key, uint32_t i, uint32_t n)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n) return;
        if (child + 1 < n && key[child + 1] < key[child]) child++;
        if (key[i] <= key[child]) return;
        key_swap(&key[i], &key[child]);
        i = child;
    }
}

/* Insertion for few, heapsort for many: neither allocates nor has a bad case. */
void key_sort(uint64_t *key, uint32_t n)
{
    if (n <= 32) {
        for (uint32_t i = 1; i < n; i++) {
            uint64_t x = key[i];
            uint32_t j = i;
            for (; j > 0 && key[j - 1] < x; j--) key[j] = key[j - 1];
            key[j] = x;
        }
        return;
    }
    for (uint32_t i = n / 2; i-- > 0;) sift(key, i, n);
    for (uint32_t i = n; i-- > 1;) {
        key_swap(&key[0], &key[i]);
        sift(key, 0, i);
    }
}

static inline double weight_of(const float *weight, uint64_t key)
{
    return weight ? (double)weight[key_index(key)] : 1.0;
}

/* Quickselect by weight instead of rank. Bad luck with pivots ends in a sort of what is left. */
uint64_t key_threshold(uint64_t *key, uint32_t n, const float *weight, double need)
{
    uint32_t lo = 0, hi = n; /* the answer is in key[lo, hi); those before lo are better and weigh `before` */
    double before = 0;
    for (int round = 0; hi - lo > 32 && round < 64; round++) {
        uint64_t a = key[lo], b = key[lo + (hi - lo) / 2], z = key[hi - 1];
        uint64_t pivot = MAX(MIN(a, b), MIN(MAX(a, b), z));
        uint32_t i = lo, j = hi - 1;
        for (;;) { /* Hoare: better ones to the front, the pivot may land on either side */
            while (key[i] > pivot) i++;
            while (key[j] < pivot) j--;
            if (i >= j) break;
            key_swap(&key[i++], &key[j--]);
        }
        uint32_t mid = j + 1; /* key[lo, mid) >= pivot >= key[mid, hi) */
        if (mid == hi) mid = hi - 1;
        double sum = 0;
        for (uint32_t k = lo; k < mid; k++) sum += weight_of(weight, key[k]);
        if (before + sum >= need) {
            hi = mid;
        } else {
            before += sum;
            lo = mid;
        }
    }
    key_sort(key + lo, hi - lo);
    for (uint32_t k = lo; k < hi; k++) {
        before += weight_of(weight, key[k]);
        if (before >= need) return key[k];
    }
    return key[hi - 1];
}

/* Move the keys that are >= least to the front. */
static uint32_t key_filter(uint64_t *key, uint32_t n, uint64_t least)
{
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++)
        if (key[i] >= least) key[m++] = key[i];
    return m;
}

/* Collect those above the k-th best seen so far, found anew whenever the buffer of 2k is full. A later one
 * with the same value loses, so "above" is strict. */
uint32_t key_best(uint64_t *key, const float *x, uint32_t n, uint32_t k)
{
    k = MIN(k, n);
    if (k == 0) return 0;
    const uint32_t room = MIN(n, MAX(2 * k, 256u));
    uint32_t m = 0;
    float above = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        if (i % 8 == 0) { /* pass over blocks that have nothing */
            const v4 limit = {above, above, above, above};
            for (; i + 8 <= n; i += 8) {
                v4 a, b;
                memcpy(&a, x + i, sizeof a);
                memcpy(&b, x + i + 4, sizeof b);
                if (any_lane((a > limit) | (b > limit))) break;
            }
            if (i >= n) break;
        }
        if (!(x[i] > above)) continue;
        if (m == room) {
            uint64_t least = key_threshold(key, m, NULL, k);
            m = key_filter(key, m, least);
            above = x[key_index(least)];
            if (!(x[i] > above)) continue;
        }
        key[m++] = cands_key(x[i], i);
    }
    return m <= k ? m : key_filter(key, m, key_threshold(key, m, NULL, k));
}
