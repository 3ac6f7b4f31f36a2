/* Inside the sampler: the candidates, the state that strategies share, and the table of strategies.
 *
 * A draw starts with the whole vocabulary as candidates and runs strategies over them; each removes
 * candidates or changes their logits. To add one: a file with its apply function and a row in strategy.c.
 *
 * Invariants of struct cands:
 * - Candidates stand in ascending token order, always. A cut-off finds its threshold in scratch memory and
 *   then filters; so ties fall the same way everywhere (the lower token wins) and the draw's walk over the
 *   candidates does not depend on how they were selected.
 * - As long as id is NULL, candidate i is token i and logit may be the caller's array, which must not be
 *   written: cands_own() before writing.
 * - Logits are finite or -INFINITY (forbidden), at most LOGIT_MAX, and at least one is finite. */
#ifndef CORRAL_SAMPLE_STRATEGY_H
#define CORRAL_SAMPLE_STRATEGY_H

#include "sample/history.h"
#include "sample/sample.h"

#define LOGIT_MAX 1e30f /* larger ones are taken for this: the arithmetic of the chain then stays finite */

enum { CANDS_BLOCK = 64 }; /* candidates of one partial sum */

struct cands {
    const float *logit;
    int32_t     *id; /* NULL: candidate i is token i */
    uint32_t     n;
    uint32_t     best; /* the first of the best, as long as best_known: until the logits change */
    bool         best_known;
    /* Memory for a whole vocabulary each; the operating system gives only the pages that are touched. */
    float    *own_logit;
    int32_t  *own_id;
    float    *prob;
    float    *score; /* of a strategy's own making */
    double   *block_sum;
    uint64_t *key;
};

/* Lanes of the counter-based generator: one per use, so that no strategy shifts another's numbers. */
enum { LANE_DRAW = 0, LANE_XTC = 1 };

/* What the chosen token will mean to an adaptive strategy if it is accepted. */
struct pending {
    int32_t token; /* -1: none */
    double  value; /* Mirostat: surprise in bits; adaptive-p: probability before re-weighting */
};

struct sampler {
    struct sample_params p; /* bias, eog and breakers are our own copies */
    uint32_t n_vocab;
    uint64_t position;
    uint64_t n_out;      /* accepted tokens that are not of the prompt */
    uint32_t pick;       /* the chosen candidate, set by the last strategy */
    struct cands   c;
    struct history recent; /* penalties */
    struct history dry;
    uint32_t *dry_z;       /* scratch of as many entries as dry holds */
    uint32_t *dry_len;     /* per token: longest repeat that it would continue; zero between draws */
    uint32_t  dry_cap;
    double    learned;     /* Mirostat: mu; adaptive-p: the weighted sum */
    double    adaptive_weight;
    struct pending         pending;
    struct sample_logprob *top;
    bool      portable;          /* sampler_program can write its draws down */
    struct program_edit   *edit; /* PROGRAM_EDITS, once one is needed */
};

enum strategy_kind { KIND_CHAIN, KIND_FIRST, KIND_LAST };
enum strategy_id {
    STRATEGY_BIAS,
    STRATEGY_PENALTIES,
    STRATEGY_DRY,
    STRATEGY_TOP_N_SIGMA,
    STRATEGY_TOP_K,
    STRATEGY_TYPICAL,
    STRATEGY_TOP_P,
    STRATEGY_MIN_P,
    STRATEGY_XTC,
    STRATEGY_TEMPERATURE,
    STRATEGY_GREEDY,
    STRATEGY_MIROSTAT,
    STRATEGY_ADAPTIVE,
    STRATEGY_DRAW,
    N_STRATEGY
};

/* KIND_CHAIN: orderable by the user, has a letter. KIND_FIRST: before the chain. KIND_LAST: chooses the
 * token; the first such row that is not off runs. */
struct strategy {
    const char        *name;
    const char        *alias[3];
    char               letter;
    bool               shapes; /* changes the order of tokens: runs for greedy choice as well */
    enum strategy_kind kind;
    void (*apply)(struct sampler *s);
    bool (*is_off)(const struct sample_params *p);
};
extern const struct strategy strategy_table[N_STRATEGY];

#define STRATEGY(fn)                                                                                         \
    void fn##_apply(struct sampler *s);                                                                      \
    bool fn##_is_off(const struct sample_params *p);
STRATEGY(bias)
STRATEGY(penalties)
STRATEGY(dry)
STRATEGY(top_n_sigma)
STRATEGY(top_k)
STRATEGY(typical)
STRATEGY(top_p)
STRATEGY(min_p)
STRATEGY(xtc)
STRATEGY(temperature)
STRATEGY(greedy)
STRATEGY(mirostat)
STRATEGY(adaptive)
STRATEGY(draw)
#undef STRATEGY

/* What an adaptive strategy knows after the token it chose, whose s->pending is. */
double mirostat_learn(const struct sampler *s);
double adaptive_learn(const struct sampler *s);
/* program.c: can a device do what these parameters ask for? */
bool   program_is_portable(const struct sample_params *p, uint32_t n_vocab);
status sampler_nothing_left(uint32_t n_vocab, struct error *e);
/* Choose candidate by the probabilities in c.prob, whose blocks sum to c.block_sum and altogether to sum. */
void draw_pick(struct sampler *s, double sum);

/* --- candidates (cands.c) --- */

static inline int32_t cands_id(const struct cands *c, uint32_t i) { return c->id ? c->id[i] : (int32_t)i; }
float   *cands_own(struct cands *c);                      /* the logits, to be changed */
float    cands_max(const struct cands *c);
uint32_t cands_argmax(const struct cands *c);             /* the first of equals */
/* c->prob and c->block_sum from the logits, unnormalised: the best has 1. Returns the sum. */
double   cands_softmax(struct cands *c);
void     cands_keep_logit(struct cands *c, float least);  /* keep those with logit >= least */
void     cands_keep_top(struct cands *c, uint32_t k);     /* keep the k best; ties: the lower token */
void     cands_keep_one(struct cands *c, uint32_t i);
/* Keep the smallest set of best candidates, by value[i], whose c->prob reach need, but at least min_keep.
 * Those below least_prob, or of probability 0, are left out from the start. */
void     cands_keep_mass(struct cands *c, const float *value, double need, double least_prob,
                         uint32_t min_keep);
void     cands_keep_marked(struct cands *c); /* keep those with c->key[i] != 0 */

/* A key orders candidates by value, then by ascending index: no two are equal. */
static inline uint64_t cands_key(float value, uint32_t i)
{
    union {
        float    f;
        uint32_t u;
    } v = {value + 0.0f}; /* no negative zero */
    v.u = v.u >> 31 ? ~v.u : v.u | 0x80000000u;
    return (uint64_t)v.u << 32 | (uint32_t)~i;
}
static inline uint32_t key_index(uint64_t key) { return ~(uint32_t)key; }

/* The least key of the smallest set of best keys whose weights reach need. weight[index], or 1 each when
 * NULL. Reorders key. n > 0. Expected time O(n). */
uint64_t key_threshold(uint64_t *key, uint32_t n, const float *weight, double need);
/* The keys of the k best of x[0..n) into key, which has room for n; in no order. Values that are NaN or
 * -INFINITY are not among them, so there may be fewer. Returns how many. */
uint32_t key_best(uint64_t *key, const float *x, uint32_t n, uint32_t k);
void     key_sort(uint64_t *key, uint32_t n); /* best first, O(n log n), in place */

/* One pass over raw logits. */
struct logit_scan {
    float    max; /* of those that are numbers; -INFINITY when there is none */
    uint32_t at;  /* the first candidate with it */
    bool     wild; /* some are NaN, +INFINITY or beyond +-LOGIT_MAX */
};
struct logit_scan logit_scan(const float *x, uint32_t n);
/* y[i] = exp(x[i] - max) for x[i] <= max, 0 where that is below the least normal float; y may be NULL.
 * Relative error below 2e-7, and the same bits on every machine. block_sum[i / CANDS_BLOCK], or NULL. */
double exp_sum(float *y, double *block_sum, const float *x, uint32_t n, float max);

#endif
