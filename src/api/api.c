#include "api/api.h"

#include <assert.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "api/generate.h"
#include "base/rng.h"

enum { MAX_ROUTES = 16, STALLED_AFTER_S = 120 };

struct api {
    struct api_options o;
    char **alias;
    struct api_model model;
    int64_t created;
    struct http_route route[MAX_ROUTES];
    size_t n_route;
};

/* ---- generation -------------------------------------------------------------------------------------- */

static void openai(struct http_exchange *x, struct api *a, bool chat)
{
    const struct renderer *render = chat ? &openai_chat : &openai_completion;
    struct request r = {0};
    struct fault f;
    if (openai_parse(&r, chat, &a->model, http_request_body(x), &f))
        generate(x, &a->o, render, &r);
    else
        reply_fault(x, render, &f);
    request_deinit(&r);
}

static void chat_completions(struct http_exchange *x, void *user)
{
    openai(x, user, true);
}
static void completions(struct http_exchange *x, void *user)
{
    openai(x, user, false);
}

/* ---- models ------------------------------------------------------------------------------------------ */

static void add_model(struct buf *b, const struct api *a, const char *name)
{
    struct engine_stats st;
    engine_stats(a->o.engine, &st);
    buf_adds(b, "{\"id\":");
    buf_json_str(b, name, strlen(name));
    buf_addf(b,
             ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"corral\",\"meta\":{\"n_ctx\":%u,\"n_"
             "vocab\":%u}}",
             (long long)a->created, st.max_context, tokenizer_n_vocab(a->o.tok));
}

static void models(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct buf b = {0};
    buf_adds(&b, "{\"object\":\"list\",\"data\":[");
    add_model(&b, a, a->o.model);
    for (size_t i = 0; i < a->o.n_alias; i++) {
        buf_addc(&b, ',');
        add_model(&b, a, a->o.alias[i]);
    }
    buf_adds(&b, "]}");
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

static void one_model(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    const char *id = http_param(x, "id");
    bool known = !strcmp(id, a->o.model);
    for (size_t i = 0; i < a->o.n_alias && !known; i++) known = !strcmp(id, a->o.alias[i]);
    if (!known) {
        struct fault f;
        refuse(&f, 404, "model_not_found", "model",
               "the model '%.100s' does not exist; this server has '%.100s'", id, a->o.model);
        reply_fault(x, &openai_chat, &f);
        return;
    }
    struct buf b = {0};
    add_model(&b, a, id);
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

/* ---- health ------------------------------------------------------------------------------------------ */

/* 503 while draining, and when work is queued but no step has finished for a long time. */
static void health(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct engine_stats s;
    struct buf b = {0};
    engine_stats(a->o.engine, &s);
    double age_s = (double)s.last_step_ns * 1e-9;
    const char *state = http_server_draining(http_exchange_server(x)) ? "draining"
                        : age_s > STALLED_AFTER_S                     ? "stalled"
                                                                      : "ok";
    buf_addf(&b, "{\"status\":\"%s\",\"model\":", state);
    buf_json_str(&b, a->o.model, strlen(a->o.model));
    buf_addf(&b,
             ",\"running\":%u,\"queued\":%u,\"max_context\":%u,\"kv_blocks\":%u,\"kv_blocks_free\":%u,\"last_"
             "step_age_s\":",
             s.n_running, s.n_queued, s.max_context, s.n_kv_block, s.n_kv_free);
    buf_json_double(&b, age_s);
    buf_addf(&b,
             ",\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"steps\":%llu,\"connections\":%u,"
             "\"version\":\"" CORRAL_VERSION "\"}",
             (unsigned long long)s.n_prompt_tokens, (unsigned long long)s.n_decode_tokens,
             (unsigned long long)s.n_steps, http_server_connections(http_exchange_server(x)));
    http_reply(x, strcmp(state, "ok") ? 503 : 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

/* ---- life cycle -------------------------------------------------------------------------------------- */

status api_new(struct api **out, const struct api_options *o, struct error *e)
{
    struct api *a = mem_zalloc(1, sizeof *a);
    if (!o->engine || !o->tok || !o->model) {
        free(a);
        return fail(e, ERR_ARG, "an API needs an engine, a tokenizer and a model name");
    }
    a->o = *o;
    a->o.model = mem_strdup(o->model);
    a->alias = mem_zalloc(o->n_alias + 1, sizeof *a->alias);
    for (size_t i = 0; i < o->n_alias; i++) a->alias[i] = mem_strdup(o->alias[i]);
    a->o.alias = (const char *const *)a->alias;
    if (!a->o.keepalive_ms) a->o.keepalive_ms = 15000;
    if (!a->o.max_buffered) a->o.max_buffered = 65536;
    a->model = (struct api_model){a->o.tok, a->o.model, a->o.alias, a->o.n_alias};
    a->created = (int64_t)time(NULL);
    json_object_seed((size_t)rng_seed_from_os()); /* hash tables that a client cannot predict */

    const struct http_route rows[] = {
        {"GET", "/health", health, a, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
        {"GET", "/v1/models", models, a, HTTP_BODY_NONE, HTTP_ROLE_USER},
        {"GET", "/v1/models/{id*}", one_model, a, HTTP_BODY_NONE, HTTP_ROLE_USER},
        {"POST", "/v1/completions", completions, a, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
        {"POST", "/v1/chat/completions", chat_completions, a, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    };
    static_assert(COUNT_OF(rows) <= MAX_ROUTES, "room for the routes");
    memcpy(a->route, rows, sizeof rows);
    a->n_route = COUNT_OF(rows);
    *out = a;
    return OK;
}

void api_free(struct api *a)
{
    if (!a) return;
    for (size_t i = 0; i < a->o.n_alias; i++) free(a->alias[i]);
    free(a->alias);
    free((char *)a->o.model);
    free(a);
}

size_t api_routes(struct api *a, const struct http_route **out)
{
    *out = a->route;
    return a->n_route;
}
