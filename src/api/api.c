#include "api/api.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "api/api_int.h"
#include "api/health.h"
#include "api/session.h"
#include "api/recall.h"
#include "api/workers.h"
#include "base/rng.h"

enum { N_WORKER = 2 };

const struct family *const api_families[] = {&server_family,   &openai_family,    &responses_family,
                                             &embed_family,    &anthropic_family, &ollama_family,
                                             &llamacpp_family, &native_family,    NULL};

uint32_t api_context(const struct api *a)
{
    struct engine_stats st = {0};
    if (a->o.engine) engine_stats(a->o.engine, &st); /* a fuzz target has none */
    return st.max_context;
}

bool api_serves(const struct api *a, const char *model)
{
    bool known = a->o.any_model || !strcmp(model, a->o.model);
    for (size_t i = 0; i < a->o.n_alias && !known; i++) known = !strcmp(model, a->o.alias[i]);
    return known;
}

static void make_routes(struct api *a)
{
    size_t n = 0;
    for (size_t i = 0; api_families[i]; i++) n += api_families[i]->n;
    a->route = mem_zalloc(n, sizeof *a->route);
    for (size_t i = 0; api_families[i]; i++)
        for (size_t k = 0; k < api_families[i]->n; k++) {
            const struct endpoint *p = &api_families[i]->row[k];
            a->route[a->n_route++] = (struct http_route){p->method, p->path, p->handle, a, p->body, p->role};
        }
}

status api_new(struct api **out, const struct api_options *o, struct error *e)
{
    *out = NULL;
    if (!o->engine || !o->tok || !o->model || !o->chat)
        return fail(e, ERR_ARG, "an API needs an engine, a tokenizer, a chat format and a model name");
    struct api *a = mem_zalloc(1, sizeof *a);
    a->o = *o;
    a->o.model = mem_strdup(o->model);
    a->alias = mem_zalloc(o->n_alias + 1, sizeof *a->alias);
    for (size_t i = 0; i < o->n_alias; i++) a->alias[i] = mem_strdup(o->alias[i]);
    a->o.alias = (const char *const *)a->alias;
    if (!a->o.keepalive_ms) a->o.keepalive_ms = 15000;
    if (!a->o.max_buffered) a->o.max_buffered = 65536;
    facts_read(&a->facts, o->gguf);
    a->health = http_fresh_new(HEALTH_FRESH_MS);
    a->created = (int64_t)time(NULL);
    json_object_seed((size_t)rng_seed_from_os()); /* hash tables that a client cannot predict */
    a->responses = recall_new(&(struct recall_options){.folder = o->remember});
    a->sessions = sessions_new(&(struct sessions_options){.kept = o->remember ? a->responses : NULL});
    status s = workers_new(&a->workers, N_WORKER, e);
    if (s == OK) s = constraints_new(&a->constraints, o->tok, NULL, e);
    if (s != OK) {
        api_free(a);
        return s;
    }
    make_routes(a);
    *out = a;
    return OK;
}

void api_stop(struct api *a)
{
    if (!a) return;
    workers_free(a->workers);
    constraints_free(a->constraints);
    a->workers = NULL;
    a->constraints = NULL;
}

void api_free(struct api *a)
{
    if (!a) return;
    api_stop(a);
    recall_free(a->responses);
    for (size_t i = 0; i < a->o.n_alias; i++) free(a->alias[i]);
    free(a->alias);
    sessions_free(a->sessions);
    http_fresh_free(a->health);
    free(a->route);
    free((char *)a->o.model);
    free(a);
}

size_t api_routes(struct api *a, const struct http_route **out)
{
    *out = a->route;
    return a->n_route;
}
