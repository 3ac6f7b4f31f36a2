/* Models by hand: lists, loading, unloading, reloading, versions, options, aliases. The paths of OpenAI, of
 * llama.cpp's router and of llama-swap, and Corral's own below /models/{name}. */
#include <stdlib.h>
#include <string.h>

#include "gateway/inspect.h"
#include "gateway/models.h"
#include "gateway/news.h"
#include "gateway/permit.h"

static json_t *list_json(const struct model_list *l, json_t *(*write)(const struct model_entry *))
{
    json_t *all = json_array();
    for (size_t i = 0; i < l->n; i++) json_array_append_new(all, write(&l->item[i]));
    return all;
}

/* GET /v1/models: OpenAI's list. */
static void list_openai(struct errand *r)
{
    struct model_list l;
    if (!errand_list(r, &l)) return;
    errand_json(r, 200, json_pack("{s:s, s:o}", "object", "list", "data", list_json(&l, model_openai_json)));
    model_list_deinit(&l);
}

/* GET /models: the same for llama.cpp's clients, with all that is known of each. */
static void list_all(struct errand *r)
{
    struct model_list l;
    if (!errand_list(r, &l)) return;
    errand_json(r, 200,
                json_pack("{s:s, s:o, s:o}", "object", "list", "data", list_json(&l, model_openai_json),
                          "models", list_json(&l, model_json)));
    model_list_deinit(&l);
}

static void one_openai(struct errand *r)
{
    struct model_list l;
    const struct model_entry *m;
    if (!errand_find(r, r->param, &l, &m, NULL)) return;
    if (m->inside)
        errand_unknown(r, r->param); /* here a model is one that can be asked */
    else
        errand_json(r, 200, model_openai_json(m));
    model_list_deinit(&l);
}

static json_t *versions_json(struct gateway *g, const char *name)
{
    struct store_models all = {0};
    struct error e;
    json_t *out = json_array();
    if (g->o.store && store_versions(g->o.store, name, &all, &e) == OK)
        for (size_t i = 0; i < all.n; i++) {
            const struct store_model *m = &all.item[i];
            json_array_append_new(out, json_pack("{s:i, s:b, s:s, s:I, s:s, s:s, s:o}", "version",
                                                 (int)m->version, "current", m->current, "digest", m->digest,
                                                 "bytes", (json_int_t)m->bytes, "path", m->path, "source",
                                                 m->source, "created_at", time_json(m->created_ms)));
        }
    store_models_deinit(&all);
    return out;
}

static json_t *workers_json(const struct model_list *l, const struct model_entry *m)
{
    json_t *out = json_array();
    for (size_t i = 0; m->view && i < l->view->n_worker; i++) {
        const struct pool_worker_view *w = &l->view->worker[i];
        if (strcmp(w->model, m->view->name) != 0) continue;
        json_t *share = json_object();
        for (uint32_t k = 0; k < w->n_share; k++)
            json_object_set_new(share, w->share[k].uuid, json_integer((json_int_t)w->share[k].bytes));
        json_array_append_new(
            out,
            json_pack("{s:I, s:s, s:i, s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:f, s:I, s:I, s:s, s:o}", "id",
                      (json_int_t)w->id, "state", pool_state_name(w->state), "pid", w->pid, "url", w->url,
                      "backend", w->backend, "generation", (int)w->generation, "in_flight", (int)w->in_flight,
                      "running", (int)w->running, "queued", (int)w->queued, "healthy", w->healthy,
                      "latency_ms", w->latency_ms, "predicted_bytes", (json_int_t)w->predicted_bytes,
                      "actual_bytes", (json_int_t)w->actual_bytes, "error", w->error, "devices", share));
    }
    return out;
}

/* GET /models/{name} */
static void describe(struct errand *r)
{
    struct model_list l;
    const struct model_entry *m;
    if (!errand_find(r, r->param, &l, &m, NULL)) return;
    json_t *v = model_json(m);
    json_object_set_new(v, "versions", versions_json(r->g, m->name));
    json_object_set_new(v, "worker", workers_json(&l, m));
    errand_json(r, 200, v);
    model_list_deinit(&l);
}

/* GET /models/{name}/plan: what it takes in memory with its options, and how it could run in less. */
static void plan(struct errand *r)
{
    struct model_list l;
    const struct model_entry *m, *file;
    struct error e;
    json_t *v;
    if (!errand_find(r, r->param, &l, &m, &file)) return;
    if (inspect_memory(file->path, file->options, &v, &e) == OK)
        errand_json(r, 200, v);
    else
        errand_error(r, &e);
    model_list_deinit(&l);
}

/* ---- what the pool does ------------------------------------------------------------------------------ */

/* What is not found may be the model, or a version of it. */
static bool is_here(struct errand *r, const char *name)
{
    struct store_model m = {0};
    struct error e;
    bool here = r->g->o.store && store_get(r->g->o.store, name, &m, &e) == OK;
    store_model_deinit(&m);
    return here;
}

static void done(struct errand *r, status s, const struct error *e, const char *model, const char *what)
{
    if (s == OK)
        errand_json(r, 200, json_pack("{s:b, s:s, s:s}", "success", 1, "model", model, "status", what));
    else if (s == ERR_NOT_FOUND && !is_here(r, model))
        errand_unknown(r, model);
    else
        errand_error(r, e);
}

static void load(struct errand *r)
{
    const char *model;
    struct error e;
    if (errand_model(r, &model)) done(r, pool_load(r->g->o.pool, model, &e), &e, model, "loading");
}

static void unload(struct errand *r)
{
    const char *model;
    struct error e;
    if (errand_model(r, &model)) done(r, pool_unload(r->g->o.pool, model, &e), &e, model, "unloading");
}

static void unload_all(struct errand *r)
{
    const char *model = *r->param ? r->param : errand_text(r, "model");
    struct error e;
    if (model) {
        done(r, pool_unload(r->g->o.pool, model, &e), &e, model, "unloading");
        return;
    }
    pool_unload_all(r->g->o.pool);
    errand_json(r, 200, json_pack("{s:b, s:s}", "success", 1, "status", "unloading"));
}

static void reload(struct errand *r)
{
    struct error e;
    status s = pool_reload(r->g->o.pool, r->param, &e);
    if (s == OK) news_add(r->g->news, "models_reload", r->param);
    done(r, s, &e, r->param, "reloading");
}

/* GET /running: llama-swap's. */
static void running(struct errand *r)
{
    struct pool_view *v = pool_view_new(r->g->o.pool);
    json_t *all = json_array();
    for (size_t i = 0; i < v->n_model; i++)
        if (v->model[i].n_worker)
            json_array_append_new(all, json_pack("{s:s, s:s, s:i}", "model", v->model[i].name, "state",
                                                 pool_state_name(v->model[i].state), "workers",
                                                 (int)v->model[i].n_worker));
    pool_view_free(v);
    errand_json(r, 200, json_pack("{s:o}", "running", all));
}

/* ---- what the store does ----------------------------------------------------------------------------- */

static uint32_t version_of(struct errand *r)
{
    char text[16];
    const json_t *v = json_object_get(r->body, "version");
    if (json_is_integer(v) && json_integer_value(v) > 0) return (uint32_t)json_integer_value(v);
    return query_value(r->query, "version", text, sizeof text) ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

/* DELETE /models/{name}, or /models?model=: the name, or one version of it. Who uses it goes on until it is
 * unloaded. */
static void drop(struct errand *r)
{
    const char *model;
    uint64_t freed = 0;
    struct error e, ignored;
    if (!errand_store(r) || !errand_model(r, &model)) return;
    status s = store_remove(r->g->o.store, model, version_of(r), errand_text(r, "digest"), &freed, &e);
    if (s != OK) {
        done(r, s, &e, model, "");
        return;
    }
    if (!version_of(r)) (void)!pool_unload(r->g->o.pool, model, &ignored);
    news_add(r->g->news, "model_remove", model);
    errand_json(r, 200,
                json_pack("{s:b, s:s, s:I}", "success", 1, "model", model, "freed_bytes", (json_int_t)freed));
}

/* POST /models/{name}/rollback: {"version": n}, or the one before. */
static void rollback(struct errand *r)
{
    struct error e;
    if (!errand_store(r)) return;
    status s = store_rollback(r->g->o.store, r->param, version_of(r), &e);
    if (s == OK) s = pool_reload(r->g->o.pool, r->param, &e);
    done(r, s, &e, r->param, "rolled back");
}

/* PATCH /models/{name}/options changes those that are given, PUT replaces all. */
static void set_options(struct errand *r, bool replace)
{
    struct error e;
    char why[300];
    if (!errand_store(r)) return;
    if (!permit_options(r->g, r->trusted, r->body, why, sizeof why)) {
        errand_fail(r, 403, "%s", why);
        return;
    }
    char *text = json_dumps(r->body, JSON_COMPACT);
    status s = store_set_options(r->g->o.store, r->param, text, replace, &e);
    free(text);
    if (s == OK) s = pool_reload(r->g->o.pool, r->param, &e);
    done(r, s, &e, r->param, "changed");
}
static void put_options(struct errand *r)
{
    set_options(r, true);
}
static void patch_options(struct errand *r)
{
    set_options(r, false);
}

/* POST /models/{name}/verify: are the files what their digests say? */
static bool verify_cancelled(void *errand)
{
    return errand_cancelled(errand);
}
static void verify(struct errand *r)
{
    struct error e;
    if (errand_store(r))
        done(r, store_verify(r->g->o.store, r->param, verify_cancelled, r, &e), &e, r->param, "verified");
}

/* POST /models/copy: {"source", "destination"} */
static void copy(struct errand *r)
{
    const char *from, *to;
    struct error e;
    if (errand_store(r) && errand_need(r, "source", &from) && errand_need(r, "destination", &to))
        done(r, store_copy(r->g->o.store, from, to, &e), &e, from, "copied");
}

/* ---- aliases ----------------------------------------------------------------------------------------- */

static void list_aliases(struct errand *r)
{
    struct store_aliases all = {0};
    struct error e;
    json_t *out = json_array();
    if (!errand_store(r)) return;
    if (store_alias_list(r->g->o.store, &all, &e) != OK) {
        json_decref(out);
        errand_error(r, &e);
        return;
    }
    for (size_t i = 0; i < all.n; i++)
        json_array_append_new(out, json_pack("{s:s, s:s, s:s}", "name", all.item[i].name, "target",
                                             all.item[i].target, "layer", all.item[i].layer));
    store_aliases_deinit(&all);
    errand_json(r, 200, json_pack("{s:o}", "aliases", out));
}

/* PUT /aliases/{name}: {"target": ..} */
static void set_alias(struct errand *r)
{
    const char *target;
    struct error e;
    if (!errand_store(r) || !errand_need(r, "target", &target)) return;
    if (store_alias_set(r->g->o.store, r->param, target, &e) != OK)
        errand_error(r, &e);
    else
        errand_json(r, 200, json_pack("{s:b, s:s, s:s}", "success", 1, "name", r->param, "target", target));
}

static void drop_alias(struct errand *r)
{
    struct error e;
    if (!errand_store(r)) return;
    if (store_alias_remove(r->g->o.store, r->param, &e) != OK)
        errand_error(r, &e);
    else
        errand_json(r, 200, json_pack("{s:b, s:s}", "success", 1, "name", r->param));
}

// clang-format off
#define ROW(fn) static void x_##fn(struct http_exchange *x, void *gateway) { errand_run(x, gateway, fn); }
ROW(list_openai) ROW(list_all) ROW(one_openai) ROW(describe) ROW(plan) ROW(load) ROW(unload) ROW(unload_all) ROW(reload) ROW(running)
ROW(drop) ROW(rollback) ROW(put_options) ROW(patch_options) ROW(verify) ROW(copy) ROW(list_aliases) ROW(set_alias)
ROW(drop_alias)
#define READ(path, fn)         {"GET", path, x_##fn, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER}
#define WRITE(method, path, fn) {method, path, x_##fn, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ADMIN}
static const struct http_route rows[] = {
    READ("/v1/models", list_openai), READ("/v1/models/{id*}", one_openai),
    READ("/models", list_all), READ("/models/{name}", describe), READ("/models/{name}/plan", plan),
    WRITE("POST", "/models/load", load), WRITE("POST", "/models/unload", unload), WRITE("POST", "/models/copy", copy),
    WRITE("POST", "/models/{name}/load", load), WRITE("POST", "/models/{name}/unload", unload),
    WRITE("POST", "/models/{name}/reload", reload), WRITE("POST", "/models/{name}/rollback", rollback),
    WRITE("POST", "/models/{name}/verify", verify),
    WRITE("PUT", "/models/{name}/options", put_options), WRITE("PATCH", "/models/{name}/options", patch_options),
    WRITE("DELETE", "/models/{name}", drop), WRITE("DELETE", "/models", drop),
    READ("/aliases", list_aliases), WRITE("PUT", "/aliases/{name}", set_alias), WRITE("DELETE", "/aliases/{name}", drop_alias),
    READ("/running", running), WRITE("POST", "/unload", unload_all), WRITE("GET", "/unload", unload_all),
    WRITE("POST", "/api/models/unload", unload_all), WRITE("POST", "/api/models/unload/{model}", unload_all),
};
// clang-format on
const struct gateway_routes models_routes = {rows, COUNT_OF(rows)};
