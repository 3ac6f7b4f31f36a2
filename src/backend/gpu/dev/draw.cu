/* Drawing tokens: a thread block takes a row of logits and runs a sample_program over it, step by step what src/sample does
 * on the host, down to the order of sums, so that the same logits give the same token.
 *
 * Candidates are, as there, in ascending token order; a cut-off finds its threshold by bisection over the bits of the
 * logits and then filters. For a cut-off by mass, weights are counted in multiples of 2^-44 of the best one, whose sums are
 * the same in every order; the host adds doubles. Weights above 2^-21 are counted exactly by both, which are all that a
 * top_p of 0.95 looks at; with a top_p very near to 1 the two may cut the last tokens of a long tail apart. */
#include "backend/gpu/dev/kernels.h"

#ifdef __HIP__ /* its intrinsics are plain arithmetic */
#pragma clang fp contract(off)
#endif
#define LOGIT_MAX  1e30f
#define LEAST_NORMAL 1.17549435e-38f
#define FRACTION   17592186044416.0f /* 2^44 */

enum {
    DRAW_THREADS = 512,
    DRAW_BLOCK = 64,          /* candidates of one partial sum */
    NOTHING = 0x007fffff,     /* ordered(-infinity) */
};

struct cands { /* candidate i is token id[i], or token i while nothing was cut */
    float    *logit;
    uint32_t *id;
    double   *block_sum;
    uint32_t  n;
    bool      cut;
};

/* Better ones first: by value, then by lower place. Candidate (value, place) stays unless it is behind this one. */
struct place { uint32_t value, at; };

struct draw_shared {
    uint64_t part[DRAW_THREADS / WARP];
    double   total;
    uint32_t count[DRAW_THREADS / WARP], best[DRAW_THREADS], bound;
    struct program_answer answer;
};

/* The order of floats as that of numbers; no negative zero. */
DEV uint32_t ordered(float x)
{
    const uint32_t u = __float_as_uint(x + 0.0f);
    return u >> 31 ? ~u : u | 0x80000000u;
}
DEV float unordered(uint32_t v) { return __uint_as_float(v >> 31 ? v & 0x7fffffffu : ~v); }

/* --- over all threads of the block; all get the result --- */

DEV uint64_t block_add(uint64_t v, struct draw_shared *s)
{
    for (int m = 16; m; m >>= 1) v += __shfl_xor_sync(FULL_MASK, v, m);
    __syncthreads();
    if (threadIdx.x % WARP == 0) s->part[threadIdx.x / WARP] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < DRAW_THREADS / WARP; i++) v += s->part[i];
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
    for (int i = 0; i < DRAW_THREADS / WARP; i++) v = s->part[i] > v ? s->part[i] : v;
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
DEV double exp_sum(const float *x, uint32_t n, float max, bool infinite, double *block_sum, struct draw_shared *s)
{
    const uint32_t n_block = (n + DRAW_BLOCK - 1) / DRAW_BLOCK, lane = threadIdx.x % 4;
    for (uint32_t first = 0; first < n_block; first += DRAW_THREADS / 4) {
        const uint32_t b = first + threadIdx.x / 4;
        float sum = 0;
        for (uint32_t i = b * DRAW_BLOCK + lane; i < n && i < (b + 1) * DRAW_BLOCK; i += 4)
            sum = __fadd_rn(sum, exp_neg(__fadd_rn(tamed(x[i], infinite), -max)));
        const double pair = (double)sum + (double)__shfl_xor_sync(FULL_MASK, sum, 1);
        const double all = pair + __shfl_xor_sync(FULL_MASK, pair, 2);
        if (lane == 0 && b < n_block) block_sum[b] = all;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0;
        for (uint32_t b = 0; b < n_block; b++) total += block_sum[b];
        s->total = total;
    }
    __syncthreads();
    return s->total;
}

/* --- candidates --- */

/* The best candidate, the first of equals; value NOTHING: there is none. */
DEV struct place best_of(const struct cands *c, struct draw_shared *s)
{
    uint64_t best = 0;
    for (uint32_t i = threadIdx.x; i < c->n; i += DRAW_THREADS) {
        const uint64_t key = (uint64_t)ordered(c->logit[i]) << 32 | (uint32_t)~i;
        best = key > best ? key : best;
    }
    best = block_most(best, s);
    const struct place p = {(uint32_t)(best >> 32), ~(uint32_t)best};
    return p;
}

/* What a candidate counts: 1, or its weight if that is at least `least`. */
struct measure { bool weigh; float max, least; };
DEV uint64_t counted(float x, const struct measure *m)
{
    if (!m->weigh) return x != -INFINITY;
    const float w = exp_neg(__fadd_rn(x, -m->max));
    return w < m->least ? 0 : (uint64_t)(w * FRACTION);
}

/* The last of the fewest best candidates that together reach need, a multiple of 1 or 2^-44; all, if they do not. */
DEV struct place reach(const struct cands *c, const struct measure *m, double need, struct draw_shared *s)
{
    struct place p = {0, UINT32_MAX};
    for (uint32_t bit = 0x80000000u; bit; bit >>= 1) { /* the greatest value from which on there is enough */
        uint64_t sum = 0;
        for (uint32_t i = threadIdx.x; i < c->n; i += DRAW_THREADS)
            if (ordered(c->logit[i]) >= (p.value | bit)) sum += counted(c->logit[i], m);
        sum = block_add(sum, s);
        if (sum && (double)sum >= need) p.value |= bit;
    }
    uint64_t before = 0, n_same = 0; /* those with that value, all as heavy: how many of them are needed? */
    for (uint32_t i = threadIdx.x; i < c->n; i += DRAW_THREADS) {
        const uint32_t v = ordered(c->logit[i]);
        if (v > p.value) before += counted(c->logit[i], m);
        n_same += v == p.value;
    }
    before = block_add(before, s);
    n_same = block_add(n_same, s);
    if (n_same <= 1) return p;
    const uint64_t each = counted(unordered(p.value), m);
    uint32_t n_need = 1;
    while (n_need < n_same && (double)(before + n_need * each) < need) n_need++;
    if (n_need == n_same) return p;
    p.at = 0;
    for (uint32_t bit = 0x80000000u; bit; bit >>= 1) { /* the greatest place before which there are too few */
        uint64_t n = 0;
        for (uint32_t i = threadIdx.x; i < c->n; i += DRAW_THREADS)
            n += ordered(c->logit[i]) == p.value && i < (p.at | bit);
        if (block_add(n, s) < n_need) p.at |= bit;
    }
    return p;
}

/* Keep what is not behind `last` and weighs, in order and in place: a tile is read before the next is written to. */
DEV void keep(struct cands *c, struct place last, const struct measure *m, struct draw_shared *s)
{
    const uint32_t w = threadIdx.x / WARP, l = threadIdx.x % WARP;
    uint32_t n = 0;
    for (uint32_t first = 0; first < c->n; first += DRAW_THREADS) {
        const uint32_t i = first + threadIdx.x;
        float x = -INFINITY;
        uint32_t id = 0;
        bool stays = false;
        if (i < c->n) {
            x = c->logit[i];
            id = c->cut ? c->id[i] : i;
            const uint32_t v = ordered(x);
            stays = v > NOTHING && (v > last.value || (v == last.value && i <= last.at));
            if (m->weigh && exp_neg(__fadd_rn(x, -m->max)) < m->least) stays = false;
        }
        const unsigned votes = __ballot_sync(FULL_MASK, stays);
        if (l == 0) s->count[w] = (uint32_t)__popc(votes);
        __syncthreads();
        uint32_t to = n + (uint32_t)__popc(votes & ((1u << l) - 1));
        for (uint32_t k = 0; k < DRAW_THREADS / WARP; k++) {
            if (k < w) to += s->count[k];
            n += s->count[k];
        }
        if (stays) c->logit[to] = x, c->id[to] = id;
        __syncthreads();
    }
    c->n = n;
    c->cut = true;
}

/* A value that at least k candidates reach, k being at most the threads: the k-th of the best that each thread sees. */
DEV struct place bound_of(const struct cands *c, uint32_t k, struct draw_shared *s)
{
    uint32_t best = NOTHING, rank = 0;
    for (uint32_t i = threadIdx.x; i < c->n; i += DRAW_THREADS)
        best = ordered(c->logit[i]) > best ? ordered(c->logit[i]) : best;
    s->best[threadIdx.x] = best;
    __syncthreads();
    for (uint32_t j = 0; j < DRAW_THREADS; j++) rank += s->best[j] > best || (s->best[j] == best && j < threadIdx.x);
    if (rank + 1 == k) s->bound = best;
    __syncthreads();
    const struct place p = {s->bound, UINT32_MAX};
    return p;
}

DEV void keep_top(struct cands *c, uint32_t k, struct draw_shared *s)
{
    const struct measure one = {false, 0, 0};
    if (k >= c->n) return;
    if (k <= DRAW_THREADS) keep(c, bound_of(c, k, s), &one, s); /* of a vocabulary, all but a few are gone */
    keep(c, reach(c, &one, (double)k, s), &one, s);
}

DEV void keep_mass(struct cands *c, float top_p, uint32_t min_keep, struct draw_shared *s)
{
    struct measure m = {true, unordered(best_of(c, s).value), LEAST_NORMAL};
    const double sum = exp_sum(c->logit, c->n, m.max, false, c->block_sum, s);
    if (min_keep <= 1) { /* those that together weigh less than may go */
        const double least = 0.99 * ((1 - (double)top_p) * sum) / c->n;
        m.least = fmaxf((float)(least < 1 ? least : 1), LEAST_NORMAL);
        const struct place all = {0, UINT32_MAX};
        keep(c, all, &m, s);
    }
    struct place last = reach(c, &m, (double)top_p * sum * (double)FRACTION, s);
    if (min_keep > 1) {
        const struct measure one = {false, 0, 0};
        const struct place fewest = reach(c, &one, (double)min_keep, s);
        if (fewest.value < last.value || (fewest.value == last.value && fewest.at > last.at)) last = fewest;
    }
    keep(c, last, &m, s);
}

DEV void keep_near(struct cands *c, float log_min_p, uint32_t min_keep, struct draw_shared *s)
{
    const struct measure one = {false, 0, 0};
    const float least = __fadd_rn(unordered(best_of(c, s).value), log_min_p);
    const struct place last = {ordered(least), UINT32_MAX};
    if (min_keep > 1) {
        uint64_t n = 0;
        for (uint32_t i = threadIdx.x; i < c->n; i += DRAW_THREADS) n += c->logit[i] >= least;
        if (block_add(n, s) < min_keep) {
            keep_top(c, min_keep, s);
            return;
        }
    }
    keep(c, last, &one, s);
}

DEV void cool(struct cands *c, float t, struct draw_shared *s)
{
    const float max = unordered(best_of(c, s).value), shift = fabsf(max / t) <= LOGIT_MAX ? 0 : max;
    for (uint32_t i = threadIdx.x; i < c->n; i += DRAW_THREADS) c->logit[i] = (c->logit[i] - shift) / t;
    __syncthreads();
}

DEV void penalize(struct cands *c, const struct sample_program *p)
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
}

/* Of logits as they came: the best that is a number, in *infinite whether that is infinity. */
DEV float greatest(const float *x, uint32_t n, bool *infinite, struct draw_shared *s)
{
    uint64_t best = NOTHING;
    for (uint32_t i = threadIdx.x; i < n; i += DRAW_THREADS)
        if (x[i] == x[i] && ordered(x[i]) > best) best = ordered(x[i]);
    const float max = unordered((uint32_t)block_most(best, s));
    *infinite = max == INFINITY;
    return tamed(max, *infinite);
}

/* The mask, forbidden tokens and biases; then numbers. False: nothing is left. */
DEV bool prepare(struct cands *c, const float *x, const struct sample_program *p, struct draw_shared *s)
{
    bool infinite;
    for (uint32_t i = threadIdx.x; i < c->n; i += DRAW_THREADS)
        c->logit[i] = !p->mask || p->mask[i / 32] >> i % 32 & 1 ? x[i] : -INFINITY;
    __syncthreads();
    for (uint32_t k = threadIdx.x; k < p->n_bias; k += DRAW_THREADS) {
        const struct program_edit e = p->edit[k];
        c->logit[e.token] = e.bias == -INFINITY ? -INFINITY : c->logit[e.token] + e.bias;
    }
    __syncthreads();
    for (uint32_t k = threadIdx.x; k < p->n_forbid; k += DRAW_THREADS) c->logit[p->edit[p->n_bias + k].token] = -INFINITY;
    __syncthreads();
    if (greatest(c->logit, c->n, &infinite, s) == -INFINITY) return false;
    for (uint32_t i = threadIdx.x; i < c->n; i += DRAW_THREADS) c->logit[i] = tamed(c->logit[i], infinite);
    __syncthreads();
    return true;
}

/* --- the choice --- */

/* draw_pick: where u of the whole lies, first by blocks. By one thread. */
DEV uint32_t pick(const struct cands *c, double u, float max)
{
    const uint32_t n_block = (c->n + DRAW_BLOCK - 1) / DRAW_BLOCK;
    uint32_t b = 0, found = 0;
    for (; b + 1 < n_block && u >= c->block_sum[b]; b++) u -= c->block_sum[b];
    const uint32_t end = c->n < (b + 1) * DRAW_BLOCK ? c->n : (b + 1) * DRAW_BLOCK;
    bool any = false;
    for (uint32_t i = b * DRAW_BLOCK; i < end; i++) {
        const float w = exp_neg(__fadd_rn(c->logit[i], -max));
        if (w <= 0) continue;
        found = i, any = true;
        if (u < w) return found;
        u -= w;
    }
    for (uint32_t i = end; i-- > 0 && !any;) /* rounding left u just above what there was to walk over */
        if (exp_neg(__fadd_rn(c->logit[i], -max)) > 0) found = i, any = true;
    return found;
}

DEV uint32_t choose(struct cands *c, const struct sample_program *p, struct draw_shared *s)
{
    const struct place best = best_of(c, s);
    if (p->greedy) return c->cut ? c->id[best.at] : best.at;
    const float max = unordered(best.value);
    const double sum = exp_sum(c->logit, c->n, max, false, c->block_sum, s);
    if (threadIdx.x != 0) return 0;
    const uint32_t at = pick(c, __dmul_rn(p->u, sum), max);
    return c->cut ? c->id[at] : at;
}

/* What the model said: its greatest logit, the sum over all, the best few. */
DEV void report(const float *x, uint32_t n, double *block_sum, const struct sample_program *p, struct draw_shared *s)
{
    bool infinite;
    const float max = greatest(x, n, &infinite, s);
    const double sum = exp_sum(x, n, max, infinite, block_sum, s);
    uint64_t last = UINT64_MAX;
    uint32_t n_top = 0;
    for (; n_top < p->n_top; n_top++) {
        uint64_t best = 0;
        for (uint32_t i = threadIdx.x; i < n; i += DRAW_THREADS) {
            const uint64_t key = (uint64_t)ordered(tamed(x[i], infinite)) << 32 | (uint32_t)~i;
            if (key < last && key > best) best = key;
        }
        last = block_most(best, s);
        if (last >> 32 <= NOTHING) break;
        if (threadIdx.x == 0) {
            s->answer.top[n_top].token = (int32_t)~(uint32_t)last;
            s->answer.top[n_top].logit = unordered((uint32_t)(last >> 32));
        }
    }
    if (threadIdx.x == 0) {
        s->answer.n_top = n_top;
        s->answer.sum = sum;
        s->answer.max = max;
        s->answer.logit = tamed(x[s->answer.token], infinite);
    }
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
                      a.block_sum + blockIdx.x * n_block, a.n_vocab, false};
    if (!prepare(&c, x, p, s)) {
        if (threadIdx.x == 0) a.answer[blockIdx.x].token = -1;
        return;
    }
    for (uint32_t k = 0; k < p->n_op; k++) {
        const struct program_op op = p->op[k];
        switch (op.kind) {
        case PROGRAM_PENALTIES: penalize(&c, p); break;
        case PROGRAM_TOP_K: keep_top(&c, op.count, s); break;
        case PROGRAM_TOP_P: keep_mass(&c, op.value, p->min_keep, s); break;
        case PROGRAM_MIN_P: keep_near(&c, op.value, p->min_keep, s); break;
        case PROGRAM_TEMPERATURE: cool(&c, op.value, s); break;
        }
    }
    const uint32_t token = choose(&c, p, s);
    if (threadIdx.x == 0) s->answer.token = (int32_t)token;
    __syncthreads();
    if (p->report) report(x, a.n_vocab, c.block_sum, p, s);
    if (threadIdx.x == 0) a.answer[blockIdx.x] = s->answer;
}

void launch_draw(cudaStream_t stream, const struct gpu_draw *a) { LAUNCH(k_draw, a->n_draw, DRAW_THREADS, 0, stream, *a); }
