/* Ollama's calls about models: lists, descriptions, copying, creating, removing, blobs. Pulling is in
 * manage_jobs.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* ---- blobs ------------------------------------------------------------------------------------------- */

static void has_blob(struct errand *r)
{
    struct error e;
    if (!errand_store(r)) return;
    status s = store_blob_path(r->g->o.store, r->param, NULL, 0, &e);
    if (s != OK) errand_error(r, &e);
}

/* An upload: its bytes go to a file as they come; then an errand computes the digest and waits for the disk.
 */
struct upload {
    struct gateway *g;
    struct http_exchange *x;
    char *digest, path[4096]; /* path "": nothing is there to be removed */
    int fd;
    bool there; /* the blob is known: what comes is dropped */
    bool failed;
    struct errand *errand;
};

static void upload_fail(struct upload *u, int code, const char *why)
{
    u->failed = true;
    gateway_refuse(u->x, code, NULL, "%s", why);
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static void take_blob(struct errand *r)
{
    char **file = r->user; /* path, digest */
    struct error e;
    status s = store_blob_add(r->g->o.store, file[0], file[1], true, &e);
    if (s == OK)
        r->code = 201;
    else
        errand_error(r, &e);
    unlink(file[0]); /* gone already if it became a blob */
    free(file[0]);
    free(file[1]);
    free(file);
}

static void upload_wake(struct http_exchange *x, void *user)
{
    struct upload *u = user;
    if (u->errand) errand_answer(u->errand, x);
}

static void upload_end(struct http_exchange *x, void *user, bool complete)
{
    struct upload *u = user;
    if (u->errand) errand_leave(u->errand);
    if (u->fd >= 0) close(u->fd);
    if (*u->path) unlink(u->path);
    free(u->digest);
    free(u);
}

static void upload_body(struct http_exchange *x, void *user, const char *p, size_t n, bool last)
{
    struct upload *u = user;
    if (u->failed) return;
    if (!u->there && !write_all(u->fd, p, n)) {
        upload_fail(u, 507, errno == ENOSPC ? "no space is left on the disk of the store" : strerror(errno));
        return;
    }
    if (!last) return;
    if (u->there) {
        http_reply(x, 200, "application/json", "", 0);
        return;
    }
    char **file = mem_zalloc(2, sizeof *file);
    file[0] = mem_strdup(u->path);
    file[1] = mem_strdup(u->digest);
    *u->path = 0;
    u->errand = errand_start(x, u->g, take_blob, file);
}

static const struct http_responder uploader = {.wake = upload_wake, .body = upload_body, .end = upload_end};

static void x_upload(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct error e = {0};
    if (!g->o.store) {
        gateway_refuse(x, 501, NULL, "this server has no store of models");
        return;
    }
    struct upload *u = mem_zalloc(1, sizeof *u);
    *u = (struct upload){.g = g, .x = x, .digest = mem_strdup(http_param(x, "digest")), .fd = -1};
    status s = store_blob_path(g->o.store, u->digest, u->path, sizeof u->path, &e);
    u->there = s == OK;
    http_attach(x, &uploader, u);
    if (u->there) {
        *u->path = 0;
    } else if (s != ERR_NOT_FOUND) {
        *u->path = 0;
        upload_fail(u, errand_code(s), e.msg);
    } else {
        size_t n = strlen(u->path);
        snprintf(u->path + n, sizeof u->path - n, ".upload-XXXXXX");
        u->fd = mkostemp(u->path, O_CLOEXEC);
        if (u->fd < 0) {
            *u->path = 0;
            upload_fail(u, 500, strerror(errno));
        }
    }
}

// clang-format off
#define ROW(fn) static void x_##fn(struct http_exchange *x, void *gateway) { errand_run(x, gateway, fn); }
ROW(tags) ROW(ps) ROW(show) ROW(copy) ROW(drop) ROW(create) ROW(has_blob)
static const struct http_route rows[] = {
    {"GET", "/api/tags", x_tags, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/api/ps", x_ps, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"POST", "/api/show", x_show, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/api/copy", x_copy, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ADMIN},
    {"DELETE", "/api/delete", x_drop, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ADMIN},
    {"POST", "/api/create", x_create, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_ADMIN},
    {"POST", "/api/push", x_push, NULL, HTTP_BODY_NONE, HTTP_ROLE_ADMIN},
    {"GET", "/api/blobs/{digest}", x_has_blob, NULL, HTTP_BODY_NONE, HTTP_ROLE_ADMIN},
    {"POST", "/api/blobs/{digest}", x_upload, NULL, HTTP_BODY_STREAM, HTTP_ROLE_ADMIN},
    {"GET", "/api/version", x_version, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/", x_root, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
};
// clang-format on
const struct gateway_routes ollama_routes = {rows, COUNT_OF(rows)};
