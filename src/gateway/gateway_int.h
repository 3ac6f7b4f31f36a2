/* What the files of the gateway share. A file (or some) has a table of routes, and gateway.c lists the
 * tables. */
#ifndef CORRAL_GATEWAY_INT_H
#define CORRAL_GATEWAY_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "gateway/gateway.h"

struct errands;
struct facts_cache;
struct news;
struct recall;
struct sessions;
enum { HEALTH_FRESH_MS = 10 }; /* so long a report is good for whoever asks again */
struct gateway {
    struct gateway_options o;
    struct errands *errands;
    struct facts_cache *facts;
    struct news *news;
    struct http_fresh *health; /* the report of GET /health */
    struct recall *kept; /* what the workers keep in a folder; NULL: they do not */
    struct sessions *sessions; /* those in it */
    struct http_route *route; /* user: this gateway */
    size_t n_route;
    time_t started;
    _Atomic uint64_t n_retry, n_resume, n_lost; /* repeated before anything was sent, gone on, ended in an
                                                   error */
    _Atomic(const struct http_server *) trusted;
    pthread_mutex_t lock; /* of the next one */
    struct relay *relay;  /* those that are there */
    atomic_bool over;     /* gateway_end was called */
};
/* Does this request come the way that gateway_trust names? */
bool gateway_trusts(const struct gateway *g, const struct http_exchange *x);

struct gateway_routes { const struct http_route *row; size_t n; };
extern const struct gateway_routes proxy_routes, ws_routes, models_routes, ollama_routes, jobs_routes,
    upload_routes, events_routes, state_routes, metrics_routes;
/* NULL ends the list. */
extern const struct gateway_routes *const gateway_tables[];

#endif
