/* One request on its way through the pool to a worker, and the answer on its way back.
 *
 * A relay lives on its exchange's loop. It calls nobody: when something may have changed it fires the waker,
 * and whoever owns it looks at its state, takes what is in `out`, and says so (relay_took). A worker that
 * fails before anything was taken is asked again, or another is; afterwards a journalled stream goes on
 * elsewhere (journal.h), and what cannot is ended with a fault. */
#ifndef CORRAL_GATEWAY_RELAY_H
#define CORRAL_GATEWAY_RELAY_H

#include "api/family.h"
#include "gateway/gateway_int.h"
#include "gateway/journal.h"
#include "http/client.h"
#include "pool/pool.h"

struct relay_ask { /* borrowed until relay_free, but for want */
    struct http_exchange *x; /* whose headers are passed on */
    const char     *method, *target; /* path and query */
    struct http_str body;
    struct http_str model; /* the raw value of the body's "model"; empty: it has none */
    struct pool_want want;
    enum api_family family;
    bool            stream; /* the answer is wanted in pieces */
    bool            memory; /* it is about what one worker remembers: 404 of one is not that of all */
};

enum relay_state {
    RELAY_WAITING,   /* for a model, a worker, its answer */
    RELAY_ANSWERING, /* code, head and out are there to be taken, more comes */
    RELAY_WHOLE,     /* what is in out is the rest */
    RELAY_FAILED     /* fault says how; what is in out goes before it */
};

struct relay {
    enum relay_state state;
    int          code;  /* of the answer, from RELAY_ANSWERING on */
    struct buf   head;  /* "name\0value\0" of the headers that are for the client, Content-Type among them */
    struct buf   out;   /* of the answer's body */
    struct fault fault;
    uint32_t     retry_after_s; /* RELAY_FAILED: 0: not said */
    char         progress[160]; /* RELAY_WAITING: for people; "" when the worker has the request */
    struct journal journal;
    /* inside */
    struct gateway     *g;
    struct relay_ask    ask;
    struct http_client *client;
    struct http_waker  *waker;
    struct pool_ticket *ticket;
    struct pool_route   route;
    struct http_call   *call;
    uint32_t tries;      /* since something was given out */
    uint32_t generation; /* of the worker that began the answer */
    int64_t  started_us;
    bool     passing;    /* this answer goes out as it comes; others are collected */
    bool     begun;      /* a head was given out */
    bool     moved;      /* by this worker */
    bool     paused;
    struct relay *prev, *next; /* of the gateway's */
};

/* waker: of the exchange, owned by the relay. */
struct relay *relay_new(struct gateway *g, const struct relay_ask *ask, struct http_waker *waker);
void relay_advance(struct relay *r); /* after the waker was fired, and at times while it waits */
void relay_took(struct relay *r, size_t n); /* n bytes of out are on their way: dropped here */
void relays_wake(struct gateway *g); /* all of a gateway; any thread */
void relay_free(struct relay *r); /* a call that is under way is cancelled */
const char *relay_header(const struct relay *r, const char *name); /* of the answer; NULL when absent */

/* relay_headers.c: which headers go to the worker, and which come back. At most RELAY_MAX_HEADERS. */
enum { RELAY_MAX_HEADERS = 32 };
size_t relay_request_headers(const struct http_exchange *x, bool remote, struct http_header *out);
bool   relay_returns(const char *name);

/* settings.c: a body as a model's options want it (defaults, set, strip, system, and the name for servers
 * elsewhere), in out; false: as it is. */
bool settings_apply(const struct relay_ask *ask, const struct pool_route *to, struct buf *out);

#endif
