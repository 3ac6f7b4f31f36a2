/* Which worker a request goes to: a pure choice over a list of ends. No I/O, no threads, no clock: the
 * caller passes the time and holds its own lock. An end's struct is the memory of what was learned about it,
 * zeroed when it is new.
 *
 * Also the arithmetic around that choice: which arm of a split a client belongs to, when an end that fails
 * is left alone (circuit breaker), and how much may be repeated (retry budget). */
#ifndef CORRAL_POOL_ROUTE_H
#define CORRAL_POOL_ROUTE_H

#include "base/base.h"

/* ---- ends -------------------------------------------------------------------------------------------- */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

/* Counts of late, older ones weigh less. Open: nothing goes there for a while, which doubles each time; then
 * a few requests are let through, and if they go well it is closed again. */
struct breaker {
    double  good, bad; /* decayed */
    int64_t at_ns;     /* of the last decay */
    enum breaker_state state;
    int64_t  until_ns; /* open */
    uint32_t opened;   /* times in a row */
    uint32_t probes, proven; /* half-open: under way, gone well */
};

struct route_end {
    uint64_t id;        /* the same for as long as it exists; affinity goes by it */
    bool     usable;    /* it takes requests: ready, not draining */
    double   weight;    /* 0 counts as 1 */
    uint32_t in_flight; /* requests of ours */
    uint32_t limit;     /* of in_flight; 0: none */
    /* filled by the functions below */
    double  latency_us; /* of first bytes: peaks count at once, then fade */
    int64_t seen_ns;    /* 0: nothing has come from it yet */
    double  turn;       /* round-robin */
    struct breaker breaker;
};

/* A request was sent there; it was answered (first_us: until the first byte), or it failed through the end's
 * own fault: refused, cut, no answer in time, 5xx. neither: it says nothing (the client went). */
enum route_outcome { ROUTE_GOOD, ROUTE_BAD, ROUTE_NEITHER };
void route_begin(struct route_end *e, int64_t now_ns);
void route_done(struct route_end *e, enum route_outcome how, double first_us, int64_t now_ns);
/* Would the breaker let a request through? */
bool breaker_allows(const struct breaker *b, int64_t now_ns);
const char *breaker_name(enum breaker_state s);

/* ---- the choice -------------------------------------------------------------------------------------- */

enum route_strategy {
    ROUTE_ADAPTIVE,    /* the better of two drawn at random, by latency times load */
    ROUTE_ROUND_ROBIN, /* in turn, by weight */
    ROUTE_LEAST_LOADED,
    ROUTE_PREFIX       /* equal beginnings to the same end, whose KV cache has them, unless it is busy */
};
const char *route_strategy_name(enum route_strategy s);
bool        route_strategy_find(enum route_strategy *out, const char *name);

struct route_want {
    uint64_t affinity; /* hash of the prompt's beginning; 0: none */
    uint64_t session;  /* hash of the conversation's name,
                        * which keeps its end while that is usable; 0: none */
    uint64_t avoid;    /* id of an end that has just failed; 0: none. It is taken when there is no other */
    uint64_t draw;     /* another number for each request: what chance decides is a function of it */
    int64_t  now_ns;
};
enum { ROUTE_NONE = -1, ROUTE_MAX_ENDS = 64 /* those beyond are not looked at */ };
/* Index of the end, or ROUTE_NONE: all are unusable, full, or their breakers open. It is not counted as in
 * flight until route_begin. */
int route_choose(struct route_end *end, size_t n, enum route_strategy how, const struct route_want *w);

/* A hash for affinities and sessions; never 0. The same on every machine and in every run. */
uint64_t route_hash(const void *p, size_t n);

/* ---- splits ------------------------------------------------------------------------------------------ */

/* Which of n arms, by weights: the same for equal keys. Moving weight from one arm to its neighbour moves
 * only the clients that must move. All weights 0: the first. */
size_t route_arm(const double *weight, size_t n, uint64_t key);

/* ---- retries ----------------------------------------------------------------------------------------- */

/* Repeating may not turn a bad minute into a flood: a tenth of the requests of late, and a few a second
 * always. */
struct retry_budget { double tokens; int64_t at_ns; };
void retry_earn(struct retry_budget *b, int64_t now_ns); /* once a request */
bool retry_spend(struct retry_budget *b, int64_t now_ns);

#endif
