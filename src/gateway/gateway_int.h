/* What the files of the gateway share. A file (or some) has a table of routes, and gateway.c lists the
 * tables. */
#ifndef CORRAL_GATEWAY_INT_H
#define CORRAL_GATEWAY_INT_H

#include <stdatomic.h>
#include <time.h>

#include "gateway/gateway.h"

struct errands;
struct facts_cache;
struct gateway {
    struct gateway_options o;
    struct errands *errands;
    struct facts_cache *facts;
    struct http_route *route; /* user: this gateway */
    size_t n_route;
    time_t started;
    _Atomic uint64_t n_retry, n_resume, n_lost; /* repeated before anything was sent, gone on, ended in an
                                                   error */
    _Atomic uint64_t n_draw; /* for what chance decides */
};

struct gateway_routes { const struct http_route *row; size_t n; };
extern const struct gateway_routes proxy_routes, ws_routes, models_routes, ollama_routes, jobs_routes,
    state_routes, metrics_routes;
/* NULL ends the list. */
extern const struct gateway_routes *const gateway_tables[];

#endif
