#include "pool/route.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

static const double LATENCY_FADES_NS = 10e9; /* to 1/e */
static const double UNKNOWN_US = 1e6;        /* of an end that is busy and has not answered once */
static const double LOAD_FACTOR = 1.5; /* of the mean: more than that and equal beginnings go elsewhere */
static const uint64_t SEED = 0x636f7272616cULL;

static double weight_of(const struct route_end *e)
{
    return e->weight > 0 ? e->weight : 1;
}

/* ---- circuit breaker --------------------------------------------------------------------------------- */

static const double BREAKER_FADES_NS = 10e9;
static const double BREAKER_MIN = 5, BREAKER_RATIO = 0.5;
static const int64_t BREAKER_OPEN_NS = 1000000000, BREAKER_MAX_NS = 60000000000;
enum { BREAKER_PROBES = 2 };

bool breaker_allows(const struct breaker *b, int64_t now_ns)
{
    if (b->state == BREAKER_CLOSED) return true;
    if (b->state == BREAKER_OPEN) return now_ns >= b->until_ns;
    return b->probes < BREAKER_PROBES;
}

static void breaker_open(struct breaker *b, int64_t now_ns)
{
    int64_t wait = BREAKER_OPEN_NS << MIN(b->opened, 6);
    *b = (struct breaker){.state = BREAKER_OPEN,
                          .at_ns = now_ns,
                          .until_ns = now_ns + MIN(wait, BREAKER_MAX_NS),
                          .opened = b->opened + 1};
}

static void breaker_begin(struct breaker *b, int64_t now_ns)
{
    if (b->state == BREAKER_OPEN && now_ns >= b->until_ns) b->state = BREAKER_HALF_OPEN;
    if (b->state == BREAKER_HALF_OPEN) b->probes++;
}

static void breaker_count(struct breaker *b, bool good, int64_t now_ns)
{
    double fade = b->at_ns ? exp(-(double)MAX(now_ns - b->at_ns, 0) / BREAKER_FADES_NS) : 1;
    b->good = b->good * fade + good;
    b->bad = b->bad * fade + !good;
    b->at_ns = now_ns;
}

static void breaker_done(struct breaker *b, enum route_outcome how, int64_t now_ns)
{
    if (b->state == BREAKER_HALF_OPEN && b->probes) b->probes--;
    if (how == ROUTE_NEITHER || b->state == BREAKER_OPEN) return; /* sent before it opened: counted already */
    if (b->state == BREAKER_HALF_OPEN) {
        if (how == ROUTE_BAD)
            breaker_open(b, now_ns);
        else if (++b->proven == BREAKER_PROBES)
            *b = (struct breaker){.at_ns = now_ns};
        return;
    }
    breaker_count(b, how == ROUTE_GOOD, now_ns);
    double all = b->good + b->bad;
    if (how == ROUTE_BAD && all >= BREAKER_MIN && b->bad >= BREAKER_RATIO * all) breaker_open(b, now_ns);
}

const char *breaker_name(enum breaker_state s)
{
    static const char *const name[] = {"closed", "open", "half-open"};
    return name[s];
}

/* ---- what is known about an end ---------------------------------------------------------------------- */

void route_begin(struct route_end *e, int64_t now_ns)
{
    e->in_flight++;
    breaker_begin(&e->breaker, now_ns);
}

/* Peak-EWMA, as in Twitter's Finagle: a slow answer counts at once, a fast one by how long ago the last was.
 */
static double latency_now(const struct route_end *e, double sample_us, int64_t now_ns)
{
    double keep = exp(-(double)MAX(now_ns - e->seen_ns, 0) / LATENCY_FADES_NS);
    return e->latency_us * keep + sample_us * (1 - keep);
}

void route_done(struct route_end *e, enum route_outcome how, double first_us, int64_t now_ns)
{
    if (e->in_flight) e->in_flight--;
    breaker_done(&e->breaker, how, now_ns);
    if (how != ROUTE_GOOD) return;
    e->latency_us = e->seen_ns ? MAX(latency_now(e, first_us, now_ns), first_us) : first_us;
    e->seen_ns = now_ns;
}

/* ---- strategies -------------------------------------------------------------------------------------- */

static bool takes(const struct route_end *e, int64_t now_ns)
{
    return e->usable && (!e->limit || e->in_flight < e->limit) && breaker_allows(&e->breaker, now_ns);
}

static double load_of(const struct route_end *e)
{
    return (e->in_flight + 1) / weight_of(e);
}

/* What one more request would wait there. What has not been tried is tried, but not by everybody at once. */
static double cost_of(const struct route_end *e, int64_t now_ns)
{
    double us = e->seen_ns ? latency_now(e, 0, now_ns) : e->in_flight ? UNKNOWN_US : 0;
    return (us + 1) * load_of(e);
}

static int choose_least(const struct route_end *end, const size_t *may, size_t n, const struct route_want *w)
{
    size_t first = (size_t)(rng_uniform(SEED, 0, w->draw, 0) * (double)n), best = first;
    for (size_t i = 0; i < n; i++) { /* among equals chance decides */
        size_t k = (first + i) % n;
        if (load_of(&end[may[k]]) < load_of(&end[may[best]])) best = k;
    }
    return (int)may[best];
}

/* Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001. */
static int choose_adaptive(const struct route_end *end, const size_t *may, size_t n,
                           const struct route_want *w)
{
    if (n == 1) return (int)may[0];
    size_t a = (size_t)(rng_uniform(SEED, 1, w->draw, 0) * (double)n);
    size_t b = (size_t)(rng_uniform(SEED, 1, w->draw, 1) * (double)(n - 1));
    if (b >= a) b++;
    return (int)(cost_of(&end[may[b]], w->now_ns) < cost_of(&end[may[a]], w->now_ns) ? may[b] : may[a]);
}

/* Smooth weighted round-robin, as in nginx: everybody gains its weight, who has most goes and pays for all.
 */
static int choose_turn(struct route_end *end, const size_t *may, size_t n)
{
    size_t best = may[0];
    double all = 0;
    for (size_t i = 0; i < n; i++) {
        struct route_end *e = &end[may[i]];
        all += weight_of(e);
        e->turn += weight_of(e);
        if (e->turn > end[best].turn) best = may[i];
    }
    end[best].turn -= all;
    return (int)best;
}

static uint64_t mix(uint64_t h) /* splitmix64's finish */
{
    h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
    h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
    return h ^ (h >> 31);
}

/* Rendezvous hashing (Thaler and Ravishankar, 1998), weighted by -w / ln(u): when an end goes, only its keys
 * move. */
static double score(const struct route_end *e, uint64_t key)
{
    double u = ((double)(mix(key ^ mix(e->id + SEED)) >> 11) + 0.5) * 0x1p-53;
    return -weight_of(e) / log(u);
}

/* The best by score whose load is not beyond max_load. One there always is when max_load is the mean or more.
 */
static int choose_scored(const struct route_end *end, const size_t *may, size_t n, uint64_t key,
                         double max_load)
{
    int best = ROUTE_NONE;
    double best_score = 0;
    for (size_t i = 0; i < n; i++) {
        const struct route_end *e = &end[may[i]];
        double s = score(e, key);
        if (load_of(e) > max_load || (best != ROUTE_NONE && s <= best_score)) continue;
        best = (int)may[i];
        best_score = s;
    }
    return best;
}

/* Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016: at most a factor of the
 * mean. */
static int choose_prefix(const struct route_end *end, const size_t *may, size_t n, const struct route_want *w)
{
    double in_flight = 1, weight = 0;
    if (!w->affinity) return choose_adaptive(end, may, n, w);
    for (size_t i = 0; i < n; i++) {
        in_flight += end[may[i]].in_flight;
        weight += weight_of(&end[may[i]]);
    }
    return choose_scored(end, may, n, w->affinity, MAX(ceil(LOAD_FACTOR * in_flight / weight), 2));
}

int route_choose(struct route_end *end, size_t n, enum route_strategy how, const struct route_want *w)
{
    size_t may[ROUTE_MAX_ENDS], n_may = 0, n_other = 0;
    n = MIN(n, (size_t)ROUTE_MAX_ENDS);
    for (size_t i = 0; i < n; i++)
        if (takes(&end[i], w->now_ns)) may[n_may++] = i;
    for (size_t i = 0; i < n_may; i++) n_other += !w->avoid || end[may[i]].id != w->avoid;
    if (n_other && n_other < n_may) {
        n_other = 0;
        for (size_t i = 0; i < n_may; i++)
            if (end[may[i]].id != w->avoid) may[n_other++] = may[i];
        n_may = n_other;
    }
    if (n_may == 0) return ROUTE_NONE;
    if (w->session) return choose_scored(end, may, n_may, w->session, INFINITY);
    switch (how) {
    case ROUTE_ROUND_ROBIN: return choose_turn(end, may, n_may);
    case ROUTE_LEAST_LOADED: return choose_least(end, may, n_may, w);
    case ROUTE_PREFIX: return choose_prefix(end, may, n_may, w);
    case ROUTE_ADAPTIVE: break;
    }
    return choose_adaptive(end, may, n_may, w);
}

static const char *const strategy[] = {[ROUTE_ADAPTIVE] = "adaptive",
                                       [ROUTE_ROUND_ROBIN] = "round-robin",
                                       [ROUTE_LEAST_LOADED] = "least-loaded",
                                       [ROUTE_PREFIX] = "prefix"};

const char *route_strategy_name(enum route_strategy s)
{
    return strategy[s];
}

bool route_strategy_find(enum route_strategy *out, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(strategy); i++)
        if (!strcmp(strategy[i], name)) {
            *out = (enum route_strategy)i;
            return true;
        }
    return false;
}

uint64_t route_hash(const void *p, size_t n)
{
    const unsigned char *b = p;
    uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a, then mixed */
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001b3ULL;
    h = mix(h ^ n);
    return h ? h : 1;
}

/* ---- splits, retries --------------------------------------------------------------------------------- */

size_t route_arm(const double *weight, size_t n, uint64_t key)
{
    double all = 0, at = 0;
    for (size_t i = 0; i < n; i++) all += MAX(weight[i], 0);
    double u = (double)(mix(key ^ SEED) >> 11) * 0x1p-53 * all;
    for (size_t i = 0; i < n; i++) {
        at += MAX(weight[i], 0);
        if (u < at) return i;
    }
    return 0;
}

static const double RETRY_SHARE = 0.1, RETRY_PER_S = 2, RETRY_MAX = 50;

static void retry_refill(struct retry_budget *b, int64_t now_ns)
{
    double gained = b->at_ns ? (double)MAX(now_ns - b->at_ns, 0) * 1e-9 * RETRY_PER_S : 10;
    b->tokens = MIN(b->tokens + gained, RETRY_MAX);
    b->at_ns = now_ns;
}

void retry_earn(struct retry_budget *b, int64_t now_ns)
{
    retry_refill(b, now_ns);
    b->tokens = MIN(b->tokens + RETRY_SHARE, RETRY_MAX);
}

bool retry_spend(struct retry_budget *b, int64_t now_ns)
{
    retry_refill(b, now_ns);
    if (b->tokens < 1) return false;
    b->tokens -= 1;
    return true;
}
