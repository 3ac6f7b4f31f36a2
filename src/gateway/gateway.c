#include "gateway/gateway.h"

#include <stdlib.h>

#include "api/recall.h"
#include "api/session.h"
#include "gateway/errand.h"
#include "gateway/models.h"
#include "gateway/news.h"
#include "gateway/relay.h"

/* Of two that match a path the first is taken: /models/sse goes before /models/{name}. */
const struct gateway_routes *const gateway_tables[] = {
    &proxy_routes,  &ws_routes,   &events_routes, &models_routes,  &ollama_routes,
    &upload_routes, &jobs_routes, &state_routes,  &metrics_routes, NULL};

static void make_routes(struct gateway *g)
{
    size_t n = 0;
    for (size_t i = 0; gateway_tables[i]; i++) n += gateway_tables[i]->n;
    g->route = mem_zalloc(n + 1, sizeof *g->route);
    for (size_t i = 0; gateway_tables[i]; i++)
        for (size_t k = 0; k < gateway_tables[i]->n; k++) {
            struct http_route r = gateway_tables[i]->row[k];
            r.user = g;
            g->route[g->n_route++] = r;
        }
}

status gateway_new(struct gateway **out, const struct gateway_options *o, struct error *e)
{
    struct gateway *g = mem_zalloc(1, sizeof *g);
    g->o = *o;
    if (!g->o.wait_ms) g->o.wait_ms = 600 * 1000;
    if (!g->o.keepalive_ms) g->o.keepalive_ms = 1000;
    g->started = time(NULL);
    pthread_mutex_init(&g->lock, NULL);
    g->errands = errands_new();
    g->facts = facts_cache_new();
    g->news = news_new();
    g->health = http_fresh_new(HEALTH_FRESH_MS);
    if (o->remember) {
        g->kept = recall_new(&(struct recall_options){.folder = o->remember});
        g->sessions = sessions_new(&(struct sessions_options){.kept = g->kept});
    }
    make_routes(g);
    *out = g;
    return OK;
}

void gateway_end(struct gateway *g)
{
    atomic_store(&g->over, true);
    relays_wake(g);
}

void gateway_stop(struct gateway *g)
{
    if (g) errands_stop(g->errands);
}

void gateway_free(struct gateway *g)
{
    if (!g) return;
    errands_free(g->errands);
    facts_cache_free(g->facts);
    news_free(g->news);
    http_fresh_free(g->health);
    sessions_free(g->sessions);
    recall_free(g->kept);
    pthread_mutex_destroy(&g->lock);
    free(g->route);
    free(g);
}

void gateway_trust(struct gateway *g, const struct http_server *s)
{
    atomic_store(&g->trusted, s);
}

size_t gateway_routes(struct gateway *g, const struct http_route **out)
{
    *out = g->route;
    return g->n_route;
}
