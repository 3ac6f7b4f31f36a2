/* The gateway: what clients talk to in front of a pool of workers. Requests are forwarded by the name of the
 * model in them (proxy), models are pulled, listed, loaded and removed (management). It never opens a model
 * file and never tokenizes.
 *
 * What belongs to one request lives on the loop of its exchange; the pool, the store and the pulls have
 * locks of their own. */
#ifndef CORRAL_GATEWAY_H
#define CORRAL_GATEWAY_H

#include "http/http.h"

struct gateway;
struct pool;
struct store;
struct pulls;
struct devices;

struct gateway_options { /* all of it borrowed */
    struct pool    *pool;
    struct store   *store;
    struct pulls   *pulls;
    struct devices *devices;
    const char     *model; /* for requests that name none; NULL: they are refused */
    uint32_t        wait_ms; /* for a model to be loaded; 0: 10 minutes */
    uint32_t        keepalive_ms; /* between comments on a stream that waits for its model; 0: 1 s */
    uint32_t        max_models; /* as of the pool, for reports */
    const char     *strategy;   /* of placement, for reports; NULL: the default */
    const char     *remember;   /* the folder where the workers keep responses and sessions;
                                 * NULL: each in its memory */
    /* What everybody may name who may manage models; see gateway_trust */
    bool            local_files, private_hosts;
};

status gateway_new(struct gateway **out, const struct gateway_options *o, struct error *e);
/* The patience with answers that are under way has ended: they say so and end, and others are refused. Any
 * thread; the servers still have to send that. */
void   gateway_end(struct gateway *g);
void   gateway_stop(struct gateway *g); /* when the servers have returned: ends its own threads; NULL is fine
                                           */
void   gateway_free(struct gateway *g); /* after the servers were freed; NULL is fine */
/* Routes of the proxy and of the management. */
size_t gateway_routes(struct gateway *g, const struct http_route **out);
/* Who asks through this server (NULL: none) may name files of this machine and hosts of its networks: it
 * listens where only the user whose gateway this is can connect. Any thread. */
void   gateway_trust(struct gateway *g, const struct http_server *s);

#endif
