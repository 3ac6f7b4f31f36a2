/* Drawing tokens: a thread block takes a row of logits and runs a sample_program over it, step by step what src/sample does
 * on the host, down to the order of sums, so that the same logits give the same token.
 *
 * Candidates are, as there, in ascending token order. What costs time is to read a whole vocabulary, so a cut-off looks for
 * its last candidate by counting into bins of ever smaller ranges, and ranks the few in the bin in question (radix selection;
 * Alabi et al., "Fast k-selection algorithms for graphics processors", 2012). For a cut-off by mass, weights are counted in
 * multiples of 2^-44 of the best one, whose sums are the same in every order; the host adds doubles. Weights above 2^-21 are
 * counted exactly by both, which are all that a top_p of 0.95 looks at; with a top_p very near to 1 the two may cut the last
 * tokens of a long tail apart. */
#include "backend/gpu/dev/kernels.h"

#ifdef __HIP__ /* its intrinsics are plain arithmetic */
#pragma clang fp contract(off)
#endif
#define LOGIT_MAX  1e30f
#define LEAST_NORMAL 1.17549435e-38f
#define FRACTION   17592186044416.0f /* 2^44 */

enum {
    DRAW_THREADS = 512,
    DRAW_WARPS = DRAW_THREADS / WARP,
    DRAW_TURN = 8,            /* candidates that a thread asks for before it looks at the first */
    DRAW_BLOCK = 64,          /* candidates of one partial sum */
    DRAW_BITS = 10,           /* of the number of a bin */
    DRAW_BINS = 1 << DRAW_BITS,
    NOTHING = 0x007fffff,     /* ordered(-infinity) */
};

struct cands { /* candidate i is token id[i], or token i while nothing was cut */
    float    *logit;
    uint32_t *id;
    double   *block_sum;
    uint32_t  n;
    float     max; /* of their logits */
    bool      cut;
};

struct draw_shared {
    uint64_t part[DRAW_WARPS];
    double   total, sum[DRAW_THREADS];
    uint32_t count[DRAW_TURN * DRAW_WARPS], n_kept;
    uint32_t best[DRAW_THREADS], bound;
    unsigned long long bin_mass[DRAW_BINS];
    uint32_t bin_count[DRAW_BINS];
    uint64_t key[DRAW_THREADS], mass[DRAW_THREADS], found; /* candidates that are ranked */
    uint32_t n_key;
    float    weight[DRAW_BLOCK]; /* of the block that a token is picked from */
    uint32_t block, picked;
    struct program_answer answer;
};

/* The order of floats as that of numbers; no negative zero. */
DEV uint32_t ordered(float x)
{
    const uint32_t u = __float_as_uint(x + 0.0f);
    return u >> 31 ? ~u : u | 0x80000000u;
}
DEV float unordered(uint32_t v) { return __uint_as_float(v >> 31 ? v & 0x7fffffffu : ~v); }

/* The better candidate has the greater key: by value, then by lower place. No two are the same. */
DEV uint64_t key_of(float x, uint32_t i) { return (uint64_t)ordered(x) << 32 | (uint32_t)~i; }

/* f(i, x[i]) for all i, shared out to the threads. */
template <class F> DEV void each(const float *x, uint32_t n, F f)
{
    for (uint32_t first = threadIdx.x; first < n; first += DRAW_TURN * DRAW_THREADS) {
        float v[DRAW_TURN];
#pragma unroll
        for (uint32_t k = 0; k < DRAW_TURN; k++) v[k] = first + k * DRAW_THREADS < n ? x[first + k * DRAW_THREADS] : 0.0f;
#pragma unroll
        for (uint32_t k = 0; k < DRAW_TURN; k++)
            if (first + k * DRAW_THREADS < n) f(first + k * DRAW_THREADS, v[k]);
    }
}

/* --- over all threads of the block; all get the result --- */

DEV uint64_t block_add(uint64_t v, struct draw_shared *s)
{
    for (int m = 16; m; m >>= 1) v += __shfl_xor_sync(FULL_MASK, v, m);
    __syncthreads();
    if (threadIdx.x % WARP == 0) s->part[threadIdx.x / WARP] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < DRAW_WARPS; i++) v += s->part[i];
    return v;
}

DEV uint64_t block_most(uint64_t v, struct draw_shared *s)
{
    for (int m = 16; m; m >>= 1) {
        const uint64_t o = __shfl_xor_sync(FULL_MASK, v, m);
        v = o > v ? o : v;
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) s->part[threadIdx.x / WARP] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < DRAW_WARPS; i++) v = s->part[i] > v ? s->part[i] : v;
    return v;
}

/* --- numbers, as src/sample computes them; nothing may be contracted to a fused multiply-add --- */

/* NaN is forbidden; +infinity leaves only its like. */
DEV float tamed(float x, bool infinite)
{
    if (infinite) return x == INFINITY ? 0.0f : -INFINITY;
    if (x != x || x == -INFINITY) return -INFINITY;
    return fminf(fmaxf(x, -LOGIT_MAX), LOGIT_MAX);
}

/* exp(x) for x <= 0: cands.c's exp_neg. */
DEV float exp_neg(float x)
{
    if (x < -87.3f) return 0;
    const float n = __fadd_rn(__fmul_rn(x, 1.44269504f), 12582912.0f), k = __fadd_rn(n, -12582912.0f);
    const float r = __fadd_rn(__fadd_rn(x, -__fmul_rn(k, 0.693359375f)), __fmul_rn(k, 2.12194440e-4f));
    float p = __fadd_rn(__fmul_rn(r, 1.0f / 5040), 1.0f / 720);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f / 120);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f / 24);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f / 6);
    p = __fadd_rn(__fmul_rn(p, r), 0.5f);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f);
    p = __fadd_rn(__fmul_rn(p, r), 1.0f);
    return __fmul_rn(p, __uint_as_float((__float_as_uint(n) + 127) << 23));
}

/* Sum of exp(x - max): of blocks in four lanes each, and of the blocks in order. Four threads take a block. */
DEV_CALLED double exp_sum(const struct cands *c, struct draw_shared *s)
{
    enum { EACH = DRAW_BLOCK / 4 };
    const uint32_t n_block = (c->n + DRAW_BLOCK - 1) / DRAW_BLOCK;
    double total = 0;
    for (uint32_t first = 0; first < n_block; first += DRAW_THREADS / 4) {
        const uint32_t b = first + threadIdx.x / 4, at = b * DRAW_BLOCK + threadIdx.x % 4;
        float x[EACH], sum = 0;
#pragma unroll
        for (uint32_t k = 0; k < EACH; k++) x[k] = at + 4 * k < c->n ? c->logit[at + 4 * k] : -INFINITY;
#pragma unroll
        for (uint32_t k = 0; k < EACH; k++) sum = __fadd_rn(sum, exp_neg(__fadd_rn(x[k], -c->max)));
        const double pair = (double)sum + (double)__shfl_xor_sync(FULL_MASK, sum, 1);
        const double all = pair + __shfl_xor_sync(FULL_MASK, pair, 2);
        if (threadIdx.x % 4 == 0 && b < n_block) c->block_sum[b] = all;
    }
    for (uint32_t first = 0; first < n_block; first += DRAW_THREADS) {
        __syncthreads();
        if (first + threadIdx.x < n_block) s->sum[threadIdx.x] = c->block_sum[first + threadIdx.x];
        __syncthreads();
        if (threadIdx.x == 0)
            for (uint32_t k = 0; k < DRAW_THREADS && first + k < n_block; k++) total += s->sum[k];
    }
    if (threadIdx.x == 0) s->total = total;
    __syncthreads();
    return s->total;
}

/* --- candidates --- */

/* The best candidate's key. */
DEV_CALLED uint64_t best_of(const struct cands *c, struct draw_shared *s)
{
    uint64_t best = 0;
    each(c->logit, c->n, [&](uint32_t i, float x) { best = key_of(x, i) > best ? key_of(x, i) : best; });
    return block_most(best, s);
}

/* What a candidate counts: 1, or its weight if that is at least `least`. */
struct measure { bool weigh; float max, least; };
DEV uint64_t counted(float x, const struct measure *m)
{
    if (!m->weigh) return x != -INFINITY;
    const float w = exp_neg(__fadd_rn(x, -m->max));
    return w < m->least ? 0 : (uint64_t)(w * FRACTION);
}

/* Keys [low, low + width]; before: what those above count together. */
struct span { uint64_t low, width, before; };

DEV bool enough(uint64_t sum, double need) { return sum && (double)sum >= need; }

DEV uint64_t mass_from(uint32_t bin, struct draw_shared *s)
{
    uint64_t sum = 0;
    for (uint32_t b = threadIdx.x; b < DRAW_BINS; b += DRAW_THREADS) sum += b >= bin ? s->bin_mass[b] : 0;
    return block_add(sum, s);
}

/* Of a span's bins of 2^shift keys, the last from which on there is enough becomes the span; returns how many candidates it
 * has, 0 when there is not enough in all. */
DEV uint32_t narrow(struct span *r, uint32_t shift, const struct cands *c, const struct measure *m, double need,
                    struct draw_shared *s)
{
    __syncthreads();
    for (uint32_t b = threadIdx.x; b < DRAW_BINS; b += DRAW_THREADS) s->bin_mass[b] = 0, s->bin_count[b] = 0;
    __syncthreads();
    each(c->logit, c->n, [&](uint32_t i, float x) {
        const uint64_t at = key_of(x, i) - r->low, mass = at <= r->width ? counted(x, m) : 0;
        if (!mass) return;
        atomicAdd(&s->bin_mass[at >> shift], (unsigned long long)mass);
        atomicAdd(&s->bin_count[at >> shift], 1u);
    });
    __syncthreads();
    if (!enough(r->before + mass_from(0, s), need)) return 0;
    uint32_t bin = 0;
    for (uint32_t bit = DRAW_BINS / 2; bit; bit >>= 1)
        if (enough(r->before + mass_from(bin | bit, s), need)) bin |= bit;
    r->before += mass_from(bin + 1, s);
    r->low += (uint64_t)bin << shift;
    r->width = (1ull << shift) - 1;
    return s->bin_count[bin];
}

/* Of a span with at most as many candidates as threads, the last of the fewest best ones that reach need; 0: they do not. */
DEV uint64_t rank(const struct span *r, const struct cands *c, const struct measure *m, double need, struct draw_shared *s)
{
    __syncthreads();
    if (threadIdx.x == 0) s->n_key = 0, s->found = 0;
    __syncthreads();
    each(c->logit, c->n, [&](uint32_t i, float x) {
        const uint64_t key = key_of(x, i), mass = key - r->low <= r->width ? counted(x, m) : 0;
        if (!mass) return;
        const uint32_t to = atomicAdd(&s->n_key, 1u);
        s->key[to] = key;
        s->mass[to] = mass;
    });
    __syncthreads();
    if (threadIdx.x < s->n_key) {
        uint64_t sum = r->before;
        for (uint32_t k = 0; k < s->n_key; k++) sum += s->key[k] >= s->key[threadIdx.x] ? s->mass[k] : 0;
        if (enough(sum, need) && !enough(sum - s->mass[threadIdx.x], need)) s->found = s->key[threadIdx.x];
    }
    __syncthreads();
    return s->found;
}

/* The key of the last of the fewest best candidates that together reach need, a multiple of 1 or 2^-44; 0 if all do not. */
DEV_CALLED uint64_t reach(const struct cands *c, const struct measure *m, double need, struct draw_shared *s)
{
    struct span r = {0, UINT64_MAX, 0};
    if (c->n > DRAW_THREADS) {
        uint64_t low = UINT64_MAX, high = 0;
        uint32_t shift = 0, n;
        each(c->logit, c->n, [&](uint32_t i, float x) {
            const uint64_t key = key_of(x, i);
            if (!counted(x, m)) return;
            low = key < low ? key : low;
            high = key > high ? key : high;
        });
        r.low = ~block_most(~low, s);
        high = block_most(high, s);
        if (high < r.low) return 0;
        r.width = high - r.low;
        while (r.width >> shift >= DRAW_BINS) shift++;
        while ((n = narrow(&r, shift, c, m, need, s)) > DRAW_THREADS) shift = shift > DRAW_BITS ? shift - DRAW_BITS : 0;
        if (!n) return 0;
    }
    return rank(&r, c, m, need, s);
}

/* count[i] = the sum of those before it, n_kept that of all. */
DEV void add_up(struct draw_shared *s)
{
    enum { EACH = DRAW_TURN * DRAW_WARPS / WARP };
    const int l = (int)threadIdx.x % WARP;
    if (threadIdx.x / WARP == 0) {
        uint32_t sum = 0;
        for (int k = 0; k < EACH; k++) sum += s->count[l * EACH + k];
        uint32_t before = sum;
        for (int m = 1; m < WARP; m *= 2) {
            const uint32_t o = __shfl_sync(FULL_MASK, before, l >= m ? l - m : l);
            if (l >= m) before += o;
        }
        if (l == WARP - 1) s->n_kept = before;
        before -= sum;
        for (int k = 0; k < EACH; k++) {
            const uint32_t one = s->count[l * EACH + k];
            s->count[l * EACH + k] = before;
            before += one;
        }
    }
    __syncthreads();
}

/* Keep those from `last` on that weigh, in order and in place: a tile is read before the next is written to. */
DEV_CALLED void keep(struct cands *c, uint64_t last, const struct measure *m, struct draw_shared *s)
{
    const uint32_t w = threadIdx.x / WARP, l = threadIdx.x % WARP;
    uint32_t n = 0;
    for (uint32_t first = threadIdx.x; first - threadIdx.x < c->n; first += DRAW_TURN * DRAW_THREADS) {
        float x[DRAW_TURN];
        uint32_t id[DRAW_TURN], votes[DRAW_TURN];
#pragma unroll
        for (uint32_t k = 0; k < DRAW_TURN; k++) {
            const uint32_t i = first + k * DRAW_THREADS;
            x[k] = i < c->n ? c->logit[i] : -INFINITY;
            id[k] = i < c->n && c->cut ? c->id[i] : i;
        }
#pragma unroll
        for (uint32_t k = 0; k < DRAW_TURN; k++) {
            bool stays = x[k] != -INFINITY && key_of(x[k], first + k * DRAW_THREADS) >= last;
            if (m->weigh && exp_neg(__fadd_rn(x[k], -m->max)) < m->least) stays = false;
            votes[k] = __ballot_sync(FULL_MASK, stays);
            if (l == 0) s->count[k * DRAW_WARPS + w] = (uint32_t)__popc(votes[k]);
        }
        __syncthreads();
        add_up(s);
#pragma unroll
        for (uint32_t k = 0; k < DRAW_TURN; k++) {
            const uint32_t to = n + s->count[k * DRAW_WARPS + w] + (uint32_t)__popc(votes[k] & ((1u << l) - 1));
            if (votes[k] >> l & 1) c->logit[to] = x[k], c->id[to] = id[k];
        }
        n += s->n_kept;
        __syncthreads();
    }
    c->n = n;
    c->cut = true;
}

/* A value that at least k candidates reach, k being at most the threads: the k-th of the best that each thread sees. */
DEV uint32_t bound_of(const struct cands *c, uint32_t k, struct draw_shared *s)
{
    uint32_t best = NOTHING, n_better = 0;
    each(c->logit, c->n, [&](uint32_t, float x) { best = ordered(x) > best ? ordered(x) : best; });
    s->best[threadIdx.x] = best;
    __syncthreads();
    for (uint32_t j = 0; j < DRAW_THREADS; j++) n_better += s->best[j] > best || (s->best[j] == best && j < threadIdx.x);
    if (n_better + 1 == k) s->bound = best;
    __syncthreads();
    return s->bound;
}

DEV void keep_top(struct cands *c, uint32_t k, struct draw_shared *s)
{
    const struct measure one = {false, 0, 0};
    if (k >= c->n) return;
    if (k <= DRAW_THREADS) keep(c, (uint64_t)bound_of(c, k, s) << 32, &one, s); /* of a vocabulary, all but a few are gone */
    keep(c, reach(c, &one, (double)k, s), &one, s);
}

DEV void keep_mass(struct cands *c, float top_p, uint32_t min_keep, struct draw_shared *s)
{
    struct measure m = {true, c->max, LEAST_NORMAL};
    const double sum = exp_sum(c, s);
    if (min_keep <= 1) { /* those that together weigh less than may go */
        const double least = 0.99 * ((1 - (double)top_p) * sum) / c->n;
        m.least = fmaxf((float)(least < 1 ? least : 1), LEAST_NORMAL);
        keep(c, 0, &m, s);
    }
    uint64_t last = reach(c, &m, (double)top_p * sum * (double)FRACTION, s);
    if (min_keep > 1) {
        const struct measure one = {false, 0, 0};
        const uint64_t fewest = reach(c, &one, (double)min_keep, s);
        last = fewest < last ? fewest : last;
    }
    keep(c, last, &m, s);
}

DEV void keep_near(struct cands *c, float log_min_p, uint32_t min_keep, struct draw_shared *s)
{
    const struct measure one = {false, 0, 0};
    const float least = __fadd_rn(c->max, log_min_p);
    if (min_keep > 1) {
        uint64_t n = 0;
        each(c->logit, c->n, [&](uint32_t, float x) { n += x >= least; });
        if (block_add(n, s) < min_keep) {
            keep_top(c, min_keep, s);
            return;
        }
    }
    keep(c, (uint64_t)ordered(least) << 32, &one, s);
}

DEV void cool(struct cands *c, float t)
{
    const float shift = fabsf(c->max / t) <= LOGIT_MAX ? 0 : c->max;
    each(c->logit, c->n, [&](uint32_t i, float x) { c->logit[i] = (x - shift) / t; });
    c->max = (c->max - shift) / t;
    __syncthreads();
}

DEV void penalize(struct cands *c, const struct sample_program *p, struct draw_shared *s)
{
    const struct program_edit *edit = p->edit + p->n_bias + p->n_forbid;
    for (uint32_t k = threadIdx.x; k < p->n_penalty; k += DRAW_THREADS) {
        float x = c->logit[edit[k].token];
        if (x == -INFINITY) continue;
        x = x > 0 ? x / p->repeat : __fmul_rn(x, p->repeat);
        x = __fadd_rn(x, -__fmul_rn((float)edit[k].n_out, p->frequency));
        if (edit[k].n_out) x -= p->presence;
        c->logit[edit[k].token] = fminf(fmaxf(x, -LOGIT_MAX), LOGIT_MAX);
    }
    __syncthreads();
    c->max = unordered((uint32_t)(best_of(c, s) >> 32));
}

/* All tokens as candidates, with numbers for logits. False: nothing can be chosen. */
DEV_CALLED bool settle(struct cands *c, uint32_t n, struct draw_shared *s)
{
    uint64_t best = NOTHING;
    bool wild = false;
    c->n = n;
    c->cut = false;
    each(c->logit, n, [&](uint32_t, float x) {
        if (x == x && ordered(x) > best) best = ordered(x);
        wild |= !(x <= LOGIT_MAX) || (x < -LOGIT_MAX && x != -INFINITY);
    });
    c->max = unordered((uint32_t)block_most(best, s));
    const bool infinite = c->max == INFINITY;
    c->max = tamed(c->max, infinite);
    if (c->max == -INFINITY) return false;
    if (block_most(wild, s)) each(c->logit, n, [&](uint32_t i, float x) { c->logit[i] = tamed(x, infinite); });
    __syncthreads();
    return true;
}

/* The mask, forbidden tokens and biases; then numbers. False: nothing is left. */
DEV bool prepare(struct cands *c, const float *x, uint32_t n, const struct sample_program *p, struct draw_shared *s)
{
    each(x, n, [&](uint32_t i, float v) { c->logit[i] = !p->mask || p->mask[i / 32] >> i % 32 & 1 ? v : -INFINITY; });
    __syncthreads();
    for (uint32_t k = threadIdx.x; k < p->n_bias; k += DRAW_THREADS) {
        const struct program_edit e = p->edit[k];
        c->logit[e.token] = e.bias == -INFINITY ? -INFINITY : c->logit[e.token] + e.bias;
    }
    __syncthreads();
    for (uint32_t k = threadIdx.x; k < p->n_forbid; k += DRAW_THREADS) c->logit[p->edit[p->n_bias + k].token] = -INFINITY;
    __syncthreads();
    return settle(c, n, s);
}

/* --- the choice --- */

/* draw_pick: where u of the whole lies, first by blocks, then in one. What one thread found, it leaves in s->picked. */
DEV void pick(const struct cands *c, double u, struct draw_shared *s)
{
    const uint32_t n_block = (c->n + DRAW_BLOCK - 1) / DRAW_BLOCK;
    uint32_t b = 0;
    for (uint32_t first = 0; first <= b; first += DRAW_THREADS) { /* while the first thread wants to go on */
        __syncthreads();
        if (first + threadIdx.x < n_block) s->sum[threadIdx.x] = c->block_sum[first + threadIdx.x];
        __syncthreads();
        if (threadIdx.x == 0) {
            for (; b + 1 < n_block && b < first + DRAW_THREADS && u >= s->sum[b - first]; b++) u -= s->sum[b - first];
            s->block = b;
        }
        __syncthreads();
        b = s->block;
    }
    const uint32_t begin = b * DRAW_BLOCK, end = c->n - begin < DRAW_BLOCK ? c->n : begin + DRAW_BLOCK;
    if (threadIdx.x < end - begin) s->weight[threadIdx.x] = exp_neg(__fadd_rn(c->logit[begin + threadIdx.x], -c->max));
    __syncthreads();
    if (threadIdx.x != 0) return;
    uint32_t found = 0;
    bool any = false;
    for (uint32_t i = begin; i < end; i++) {
        const float w = s->weight[i - begin];
        if (w <= 0) continue;
        found = i, any = true;
        if (u < w) break;
        u -= w;
    }
    for (uint32_t i = begin; i-- > 0 && !any;) /* rounding left u just above what there was to walk over */
        if (exp_neg(__fadd_rn(c->logit[i], -c->max)) > 0) found = i, any = true;
    s->picked = found;
}

/* The token, to the first thread. */
DEV uint32_t choose(const struct cands *c, const struct sample_program *p, struct draw_shared *s)
{
    if (p->greedy) {
        const uint64_t best = best_of(c, s);
        if (threadIdx.x == 0) s->picked = ~(uint32_t)best;
    } else {
        const double sum = exp_sum(c, s);
        pick(c, __dmul_rn(p->u, sum), s);
    }
    if (threadIdx.x != 0) return 0;
    return c->cut ? c->id[s->picked] : s->picked;
}

/* What the model said: its greatest logit, the sum over all, the best few. */
DEV void report(struct cands *c, const float *x, uint32_t n, const struct sample_program *p, struct draw_shared *s)
{
    __syncthreads(); /* the token is chosen */
    each(x, n, [&](uint32_t i, float v) { c->logit[i] = v; });
    __syncthreads();
    (void)settle(c, n, s); /* else there were no token */
    const double sum = exp_sum(c, s);
    if (threadIdx.x == 0) {
        s->answer.n_top = 0;
        s->answer.sum = sum;
        s->answer.max = c->max;
        s->answer.logit = c->logit[s->answer.token];
    }
    if (p->n_top == 0) return;
    keep_top(c, p->n_top, s);
    if (threadIdx.x < c->n) s->key[threadIdx.x] = key_of(c->logit[threadIdx.x], threadIdx.x);
    __syncthreads();
    if (threadIdx.x >= c->n || s->key[threadIdx.x] >> 32 <= NOTHING) return;
    uint32_t at = 0;
    for (uint32_t k = 0; k < c->n; k++) at += s->key[k] > s->key[threadIdx.x];
    s->answer.top[at].token = (int32_t)(c->cut ? c->id[threadIdx.x] : threadIdx.x);
    s->answer.top[at].logit = c->logit[threadIdx.x];
    atomicAdd(&s->answer.n_top, 1u);
}

__global__ void __launch_bounds__(DRAW_THREADS, 1) k_draw(struct gpu_draw a)
{
    __shared__ struct draw_shared shared;
    struct draw_shared *s = &shared;
    dev_after();
    const struct sample_program *p = &a.program[blockIdx.x];
    const float *x = a.logits + (size_t)a.row[blockIdx.x] * a.n_vocab;
    const size_t n_block = (a.n_vocab + DRAW_BLOCK - 1) / DRAW_BLOCK;
    struct cands c = {a.logit + (size_t)blockIdx.x * a.n_vocab, a.id + (size_t)blockIdx.x * a.n_vocab,
                      a.block_sum + blockIdx.x * n_block, 0, 0, false};
    if (!prepare(&c, x, a.n_vocab, p, s)) {
        if (threadIdx.x == 0) a.answer[blockIdx.x].token = -1;
        return;
    }
    for (uint32_t k = 0; k < p->n_op; k++) {
        const struct program_op op = p->op[k];
        switch (op.kind) {
        case PROGRAM_PENALTIES: penalize(&c, p, s); break;
        case PROGRAM_TOP_K: keep_top(&c, op.count, s); break;
        case PROGRAM_TOP_P: keep_mass(&c, op.value, p->min_keep, s); break;
        case PROGRAM_MIN_P: keep_near(&c, op.value, p->min_keep, s); break;
        case PROGRAM_TEMPERATURE: cool(&c, op.value); break;
        }
    }
    const uint32_t token = choose(&c, p, s);
    if (threadIdx.x == 0) s->answer.token = (int32_t)token;
    if (p->report) report(&c, x, a.n_vocab, p, s);
    __syncthreads();
    if (threadIdx.x == 0) a.answer[blockIdx.x] = s->answer;
}

void launch_draw(cudaStream_t stream, const struct gpu_draw *a) { LAUNCH(k_draw, a->n_draw, DRAW_THREADS, 0, stream, *a); }
