/* Ollama's calls about models: lists, descriptions, copying, creating, removing. Pulling is in manage_jobs.c,
 * blobs are in upload.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/inspect.h"
#include "gateway/models.h"
#include "gateway/news.h"

#define OLLAMA_VERSION "0.33.0" /* clients look at it to know which fields and calls there are */

static void reply_text(struct http_exchange *x, const char *type, const char *text)
{
    http_reply(x, 200, type, text, strlen(text));
}
static void x_version(struct http_exchange *x, void *gateway)
{
    reply_text(x, "application/json", "{\"version\":\"" OLLAMA_VERSION "\"}");
}
static void x_root(struct http_exchange *x, void *gateway)
{
    reply_text(x, "text/plain; charset=utf-8", "Ollama is running");
}

/* ---- lists ------------------------------------------------------------------------------------------- */

static void tags(struct errand *r)
{
    struct model_list l;
    if (!errand_list(r, &l)) return;
    json_t *all = json_array();
    for (size_t i = 0; i < l.n; i++) json_array_append_new(all, model_ollama_json(&l.item[i]));
    model_list_deinit(&l);
    errand_json(r, 200, json_pack("{s:o}", "models", all));
}

/* What is never unloaded is said to stay for a hundred years, as Ollama says of keep_alive -1. */
static int64_t expires(const struct model_entry *m)
{
    const int64_t hundred_years_ms = 36500ll * 86400 * 1000;
    return m->view->expires_ms ? m->view->expires_ms : (int64_t)time(NULL) * 1000 + hundred_years_ms;
}

static uint64_t gpu_bytes(const struct model_list *l, const struct model_entry *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < l->view->n_worker; i++) {
        const struct pool_worker_view *w = &l->view->worker[i];
        for (uint32_t k = 0; k < w->n_share && !strcmp(w->model, m->view->name); k++)
            n += strcmp(w->share[k].uuid, "host") ? w->share[k].bytes : 0;
    }
    return n;
}

static void ps(struct errand *r)
{
    struct model_list l;
    if (!errand_list(r, &l)) return;
    json_t *all = json_array();
    for (size_t i = 0; i < l.n; i++) {
        const struct model_entry *m = &l.item[i];
        if (*m->alias_of || !m->view || !m->view->n_ready) continue;
        json_t *v = model_ollama_json(m);
        json_object_del(v, "modified_at");
        json_object_del(v, "capabilities");
        json_object_set_new(v, "size", json_integer((json_int_t)MAX(m->view->bytes, m->bytes)));
        json_object_set_new(v, "expires_at", time_json(expires(m)));
        json_object_set_new(v, "size_vram", json_integer((json_int_t)gpu_bytes(&l, m)));
        json_object_set_new(v, "context_length", json_integer(m->view->context));
        json_array_append_new(all, v);
    }
    model_list_deinit(&l);
    errand_json(r, 200, json_pack("{s:o}", "models", all));
}

/* ---- one model --------------------------------------------------------------------------------------- */

/* Arrays of the metadata are thousands of tokens long: null, unless they are asked for. */
static void shorten(json_t *show)
{
    json_t *info = json_object_get(show, "model_info"), *v;
    const char *key;
    void *next;
    json_object_foreach_safe(info, next, key, v) if (json_is_array(v))
        json_object_set_new(info, key, json_null());
    json_object_del(show, "tensors");
}

/* What the options of the name add to what the file says. */
static void add_options(json_t *show, const struct model_entry *m)
{
    json_t *o = json_loads(m->options, 0, NULL), *v;
    const char *key;
    struct buf text = {0};
    if (json_is_string(json_object_get(o, "system")))
        json_object_set(show, "system", json_object_get(o, "system"));
    json_object_foreach(json_object_get(o, "defaults"), key, v)
    {
        char *value = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        buf_addf(&text, "%s%-30s %s", text.n ? "\n" : "", key, value);
        free(value);
    }
    if (text.n) json_object_set_new(show, "parameters", json_string(text.data));
    buf_deinit(&text);
    json_decref(o);
}

static void show(struct errand *r)
{
    struct model_list l;
    struct error e;
    const struct model_entry *m, *file;
    const char *name;
    json_t *all = NULL;
    bool verbose = json_is_true(json_object_get(r->body, "verbose"));
    if (!errand_model(r, &name) || !errand_find(r, name, &l, &m, &file)) return;
    if (inspect_file(file->path, verbose, &all, &e) == OK) {
        json_t *v = json_object_get(all, "show");
        if (!verbose) shorten(v);
        add_options(v, file);
        errand_json(r, 200, json_incref(v));
    } else {
        errand_error(r, &e);
    }
    json_decref(all);
    model_list_deinit(&l);
}

/* Nothing is said when it went well. */
static void done(struct errand *r, status s, const struct error *e, const char *name)
{
    if (s == ERR_NOT_FOUND)
        errand_unknown(r, name);
    else if (s != OK)
        errand_error(r, e);
}

static void copy(struct errand *r)
{
    const char *from, *to;
    struct error e;
    if (errand_store(r) && errand_need(r, "source", &from) && errand_need(r, "destination", &to))
        done(r, store_copy(r->g->o.store, from, to, &e), &e, from);
}

static void drop(struct errand *r)
{
    const char *name;
    struct error e, ignored;
    if (!errand_store(r) || !errand_model(r, &name)) return;
    status s = store_remove(r->g->o.store, name, 0, NULL, NULL, &e);
    if (s == OK) {
        (void)!pool_unload(r->g->o.pool, name, &ignored);
        news_add(r->g->news, "model_remove", name);
    }
    done(r, s, &e, name);
}

/* ---- create ------------------------------------------------------------------------------------------ */

/* parameters, system: options of the new name, so that its requests begin with them. */
static char *options_of(const json_t *body)
{
    json_t *o = json_object(), *p = json_object_get(body, "parameters"), *s = json_object_get(body, "system");
    if (json_object_size(p)) json_object_set(o, "defaults", p);
    if (json_is_string(s)) json_object_set(o, "system", s);
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

/* The files that were uploaded as blobs: {"model.gguf": "sha256:..."}. */
static status put_files(struct store *store, const char *name, const json_t *files, struct error *e)
{
    struct store_file *list = mem_zalloc(json_object_size(files) + 1, sizeof *list);
    struct store_entry entry = {.name = name, .file = list, .source = "upload"};
    const char *key;
    json_t *v;
    status s = OK;
    json_object_foreach((json_t *)(uintptr_t)files, key, v)
    {
        list[entry.n_file++] = (struct store_file){.name = key, .digest = json_string_value(v)};
        if (!json_is_string(v)) s = fail(e, ERR_ARG, "files: \"%.100s\" has no digest", key);
    }
    if (s == OK) s = store_put(store, &entry, NULL, e);
    free(list);
    return s;
}

static status make(struct errand *r, const char *name, struct error *e)
{
    const json_t *from = json_object_get(r->body, "from"), *files = json_object_get(r->body, "files");
    struct store *store = r->g->o.store;
    static const char *const refused[] = {"adapters",     "template", "license",  "quantize",
                                          "quantization", "messages", "renderer", "parser"};
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        const json_t *v = json_object_get(r->body, refused[i]);
        if (v && !json_is_null(v) && !(json_is_string(v) && !*json_string_value(v)))
            return fail(e, ERR_UNSUPPORTED, "\"%s\" is not supported here: %s", refused[i],
                        !strncmp(refused[i], "quant", 5) ? "corral quantize makes another file of a model"
                                                         : "a model is used as its file says");
    }
    if (json_object_size(files))
        TRY(put_files(store, name, files, e));
    else if (json_is_string(from))
        TRY(store_copy(store, json_string_value(from), name, e));
    else
        return fail(e, ERR_ARG,
                    "\"from\" (a model that is here) or \"files\" (blobs that were uploaded) is wanted");
    char *options = options_of(r->body);
    status s = store_set_options(store, name, options, false, e);
    free(options);
    return s;
}

static void create(struct errand *r)
{
    const char *name;
    struct error e;
    if (!errand_store(r) || !errand_model(r, &name)) return;
    if (make(r, name, &e) != OK) {
        errand_error(r, &e);
        return;
    }
    if (json_is_false(json_object_get(r->body, "stream"))) {
        errand_json(r, 200, json_pack("{s:s}", "status", "success"));
        return;
    }
    r->type = "application/x-ndjson";
    buf_adds(&r->out, "{\"status\":\"writing manifest\"}\n{\"status\":\"success\"}\n");
}

static void x_push(struct http_exchange *x, void *gateway)
{
    gateway_refuse(
        x, 501, NULL,
        "pushing to a registry is not supported: models are brought here by pull, import or upload");
}

// clang-format off
#define ROW(fn) static void x_##fn(struct http_exchange *x, void *gateway) { errand_run(x, gateway, fn); }
ROW(tags) ROW(ps) ROW(show) ROW(copy) ROW(drop) ROW(create)
static const struct http_route rows[] = {
    {"GET", "/api/tags", x_tags, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/api/ps", x_ps, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"POST", "/api/show", x_show, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/api/copy", x_copy, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ADMIN},
    {"DELETE", "/api/delete", x_drop, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ADMIN},
    {"POST", "/api/create", x_create, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ADMIN},
    {"POST", "/api/push", x_push, NULL, HTTP_BODY_NONE, HTTP_ROLE_ADMIN},
    {"GET", "/api/version", x_version, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/", x_root, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
};
// clang-format on
const struct gateway_routes ollama_routes = {rows, COUNT_OF(rows)};
