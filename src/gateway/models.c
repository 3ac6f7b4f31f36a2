#include "gateway/models.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/model_name.h"
#include "gateway/inspect.h"

/* ---- what is known of files -------------------------------------------------------------------------- */

struct facts_cache {
    pthread_mutex_t lock;
    json_t *by_file; /* "path age size": facts */
};

struct facts_cache *facts_cache_new(void)
{
    struct facts_cache *c = mem_zalloc(1, sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    c->by_file = json_object();
    return c;
}

void facts_cache_free(struct facts_cache *c)
{
    if (!c) return;
    json_decref(c->by_file);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* A path and what tells one file there from the next. */
static char *file_key(const char *path)
{
    struct stat st = {0};
    struct buf b = {0};
    (void)!stat(path, &st);
    buf_addf(&b, "%s %lld.%ld %lld", path, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
             (long long)st.st_size);
    return b.data;
}

static json_t *look_into(const char *path)
{
    struct error e;
    json_t *all;
    if (inspect_file(path, false, &all, &e) != OK) return json_object();
    json_t *facts = json_incref(json_object_get(all, "facts"));
    json_decref(all);
    return json_is_object(facts) ? facts : json_object();
}

static json_t *facts_of_file(struct facts_cache *c, const char *path)
{
    char *key = file_key(path);
    pthread_mutex_lock(&c->lock);
    json_t *known = json_deep_copy(json_object_get(c->by_file, key));
    pthread_mutex_unlock(&c->lock);
    if (!known) {
        known = look_into(path);
        pthread_mutex_lock(&c->lock);
        json_object_set_new(c->by_file, key, json_deep_copy(known));
        pthread_mutex_unlock(&c->lock);
    }
    free(key);
    return known;
}

/* The store keeps what was found out once. */
static json_t *facts_of_stored(struct gateway *g, const struct store_model *m)
{
    json_t *known = json_loads(m->facts, 0, NULL);
    struct error e;
    if (json_object_size(known) || !*m->path) return known ? known : json_object();
    json_decref(known);
    known = look_into(m->path);
    char *text = json_dumps(known, JSON_COMPACT);
    if (json_object_size(known)) (void)!store_set_facts(g->o.store, m->name, m->version, text, &e);
    free(text);
    return known;
}

/* ---- the list ---------------------------------------------------------------------------------------- */

static struct model_entry *add_entry(struct model_list *l)
{
    l->item = mem_realloc(l->item, l->n + 1, sizeof *l->item);
    l->item[l->n] = (struct model_entry){0};
    return &l->item[l->n++];
}

static uint64_t file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* The one model that a split of one means; "" when it is none. */
static char *alias_of(const char *options)
{
    json_t *o = json_loads(options, 0, NULL), *split = json_object_get(o, "split");
    const char *name = json_object_size(split) == 1 ? json_object_iter_key(json_object_iter(split)) : "";
    char *out = mem_strdup(name);
    json_decref(o);
    return out;
}

static void add_viewed(struct gateway *g, struct model_list *l, const struct pool_model_view *v)
{
    struct model_entry *m = add_entry(l);
    char name[STORE_NAME_MAX];
    store_name_short(name, v->name);
    *m = (struct model_entry){.name = mem_strdup(name),
                              .path = mem_strdup(v->path),
                              .digest = mem_strdup(""),
                              .source = mem_strdup(""),
                              .options = mem_strdup(v->options),
                              .alias_of = *v->path ? mem_strdup("") : alias_of(v->options),
                              .version = v->version,
                              .created_ms = (int64_t)g->started * 1000,
                              .used_ms = v->used_ms,
                              .view = v};
    m->facts = *v->path ? facts_of_file(g->facts, v->path) : json_object();
    json_int_t bytes = json_integer_value(json_object_get(m->facts, "bytes"));
    m->bytes = bytes > 0 ? (uint64_t)bytes : file_bytes(v->path);
}

static void add_stored(struct gateway *g, struct model_list *l, const struct store_model *s)
{
    struct model_entry *m = add_entry(l);
    char name[STORE_NAME_MAX];
    store_name_short(name, s->name);
    *m = (struct model_entry){.name = mem_strdup(name),
                              .path = mem_strdup(s->path),
                              .digest = mem_strdup(s->digest),
                              .source = mem_strdup(s->source),
                              .options = mem_strdup(s->options),
                              .alias_of = mem_strdup(""),
                              .bytes = s->bytes,
                              .version = s->version,
                              .created_ms = s->created_ms,
                              .used_ms = s->used_ms,
                              .in_store = true,
                              .facts = facts_of_stored(g, s)};
    for (size_t i = 0; i < l->view->n_model; i++)
        if (l->view->model[i].in_store && !strcmp(l->view->model[i].name, s->name))
            m->view = &l->view->model[i];
}

/* The model inside the program, where nothing of that name is served: it can be shown, and "demo" is the path
 * by which inspect and plan open it. */
static const struct model_entry *add_inside(struct gateway *g, struct model_list *l)
{
    struct model_entry *m = add_entry(l);
    *m = (struct model_entry){.name = mem_strdup("demo"),
                              .path = mem_strdup("demo"),
                              .digest = mem_strdup(""),
                              .source = mem_strdup(""),
                              .options = mem_strdup("{}"),
                              .alias_of = mem_strdup(""),
                              .created_ms = (int64_t)g->started * 1000,
                              .inside = true,
                              .facts = facts_of_file(g->facts, "demo")};
    m->bytes = (uint64_t)json_integer_value(json_object_get(m->facts, "bytes"));
    return m;
}

/* An alias is what its model is, under another name. */
static void fill_aliases(struct model_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; *l->item[i].alias_of && k < l->n; k++) {
            const struct model_entry *of = &l->item[k];
            if (k == i || *of->alias_of || strcasecmp(of->name, l->item[i].alias_of) != 0) continue;
            json_decref(l->item[i].facts);
            l->item[i].facts = json_incref(of->facts);
            l->item[i].bytes = of->bytes;
            l->item[i].view = of->view;
        }
}

/* Those of the store's aliases whose model is here. */
static void add_aliases(struct gateway *g, struct model_list *l)
{
    struct store_aliases all = {0};
    struct error e;
    if (!g->o.store || store_alias_list(g->o.store, &all, &e) != OK) return;
    for (size_t i = 0; i < all.n; i++) {
        const struct model_entry *of = NULL;
        char name[STORE_NAME_MAX];
        struct store_model m = {0};
        if (store_get(g->o.store, all.item[i].name, &m, &e) == OK) {
            store_name_short(name, m.name);
            for (size_t k = 0; k < l->n && !of; k++)
                if (l->item[k].in_store && !strcmp(l->item[k].name, name)) of = &l->item[k];
        }
        store_model_deinit(&m);
        if (!of) continue;
        struct model_entry *x = add_entry(l);
        of = NULL; /* it may have moved */
        *x = (struct model_entry){.name = mem_strdup(all.item[i].name),
                                  .path = mem_strdup(""),
                                  .digest = mem_strdup(""),
                                  .source = mem_strdup(""),
                                  .options = mem_strdup("{}"),
                                  .alias_of = mem_strdup(name),
                                  .facts = json_object()};
    }
    store_aliases_deinit(&all);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct model_entry *)a)->name, ((const struct model_entry *)b)->name);
}

status model_list_read(struct gateway *g, struct model_list *out, struct error *e)
{
    struct store_models all = {0};
    *out = (struct model_list){.view = pool_view_new(g->o.pool)};
    if (g->o.store && store_list(g->o.store, &all, e) != OK) {
        model_list_deinit(out);
        return e->code;
    }
    for (size_t i = out->view->n_model; i-- > 0;) /* the pool's newest is its first */
        if (!out->view->model[i].in_store) add_viewed(g, out, &out->view->model[i]);
    size_t n_named = out->n;
    for (size_t i = 0; i < all.n; i++) add_stored(g, out, &all.item[i]);
    if (out->n) qsort(out->item + n_named, out->n - n_named, sizeof *out->item, by_name);
    store_models_deinit(&all);
    add_aliases(g, out);
    fill_aliases(out);
    return OK;
}

void model_list_deinit(struct model_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct model_entry *m = &l->item[i];
        free(m->name);
        free(m->path);
        free(m->digest);
        free(m->source);
        free(m->options);
        free(m->alias_of);
        json_decref(m->facts);
    }
    free(l->item);
    pool_view_free(l->view);
    *l = (struct model_list){0};
}

const struct model_entry *model_list_find(struct gateway *g, const struct model_list *l, const char *text)
{
    struct store_model m = {0};
    struct error e;
    const struct model_entry *found = NULL;
    for (size_t i = 0; i < l->n; i++)
        if (model_name_same(l->item[i].name, text)) return &l->item[i];
    if (!g->o.store || store_get(g->o.store, text, &m, &e) != OK) return NULL;
    for (size_t i = 0; i < l->n && !found; i++)
        if (l->item[i].in_store && model_name_same(l->item[i].name, m.name)) found = &l->item[i];
    store_model_deinit(&m);
    return found;
}

/* ---- for errands ------------------------------------------------------------------------------------- */

bool errand_store(struct errand *r)
{
    if (!r->g->o.store) errand_fail(r, 501, "this server has no store of models");
    return r->g->o.store;
}

bool errand_model(struct errand *r, const char **out)
{
    *out = r->param;
    if (!**out) *out = errand_text(r, "model");
    if (!*out || !**out) *out = errand_text(r, "name");
    if (*out && **out) return true;
    errand_fail(r, 400, "model is required");
    return false;
}

void errand_unknown(struct errand *r, const char *name)
{
    if (r->family == FAMILY_OLLAMA)
        errand_fail(r, 404, "model '%.120s' not found", name);
    else
        errand_fail(r, 404,
                    "the model '%.120s' does not exist here; corral list (GET /models) shows those that do, "
                    "corral pull (POST /pull) brings others",
                    name);
}

bool errand_list(struct errand *r, struct model_list *out)
{
    struct error e;
    if (model_list_read(r->g, out, &e) == OK) return true;
    errand_error(r, &e);
    return false;
}

bool errand_find(struct errand *r, const char *name, struct model_list *l, const struct model_entry **out,
                 const struct model_entry **file)
{
    const struct model_entry *m, *of;
    if (!errand_list(r, l)) return false;
    m = of = model_list_find(r->g, l, name);
    if (!m && model_name_same("demo", name)) m = of = add_inside(r->g, l);
    if (m && *m->alias_of) of = model_list_find(r->g, l, m->alias_of);
    *out = m;
    if (file) *file = of;
    if (m && (!file || (of && *of->path))) return true;
    if (m && of)
        errand_fail(r, 501, "'%.100s' is served by another server, its file is not here", m->name);
    else
        errand_unknown(r, name);
    model_list_deinit(l);
    return false;
}

/* ---- as clients see them ----------------------------------------------------------------------------- */

char *full_name(const char *name)
{
    struct buf b = {0};
    const char *slash = strrchr(name, '/');
    buf_adds(&b, name);
    if (!strchr(slash ? slash : name, ':')) buf_adds(&b, ":latest");
    return b.data;
}

json_t *time_json(int64_t ms)
{
    char text[40];
    struct tm tm;
    time_t s = (time_t)(ms / 1000);
    if (!ms) return json_string("0001-01-01T00:00:00Z");
    gmtime_r(&s, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%03dZ", (int)(ms % 1000));
    return json_string(text);
}

static json_t *fact(const struct model_entry *m, const char *name)
{
    json_t *v = json_object_get(m->facts, name);
    return v ? json_incref(v) : json_null();
}

static json_t *fact_text(const struct model_entry *m, const char *name)
{
    const char *s = json_string_value(json_object_get(m->facts, name));
    return json_string(s ? s : "");
}

static const char *state_of(const struct model_entry *m)
{
    return pool_state_name(m->view ? m->view->state : POOL_COLD);
}

const char *router_state(enum pool_state s)
{
    switch (s) {
    case POOL_PLANNING:
    case POOL_QUEUED:
    case POOL_LOADING: return "loading";
    case POOL_RUNNING: return "loaded";
    default: return "unloaded";
    }
}

static bool can(const struct model_entry *m, const char *what)
{
    json_t *v;
    size_t i;
    json_array_foreach(json_object_get(m->facts, "capabilities"), i,
                       v) if (json_is_string(v) && !strcmp(json_string_value(v), what)) return true;
    return false;
}

json_t *model_openai_json(const struct model_entry *m)
{
    json_t *meta = json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:b, s:b}", "n_vocab", fact(m, "vocabulary"), "n_ctx_train",
        fact(m, "context_length"), "n_embd", fact(m, "embedding_length"), "n_params", fact(m, "parameters"),
        "size", (json_int_t)m->bytes, "architecture", fact(m, "architecture"), "ftype",
        fact(m, "quantization"), "tools", can(m, "tools"), "reasoning", can(m, "thinking"));
    if (m->view && m->view->context) json_object_set_new(meta, "n_ctx", json_integer(m->view->context));
    json_t *v = json_pack("{s:s, s:s, s:I, s:s, s:{s:s, s:b}, s:o}", "id", m->name, "object", "model",
                          "created", (json_int_t)(m->created_ms / 1000), "owned_by", "corral", "status",
                          "value", router_state(m->view ? m->view->state : POOL_COLD), "failed",
                          m->view && m->view->state == POOL_FAILED, "meta", meta);
    if (*m->alias_of) json_object_set_new(v, "root", json_string(m->alias_of));
    return v;
}

static json_t *details_json(const struct model_entry *m)
{
    const char *family = json_string_value(json_object_get(m->facts, "architecture"));
    json_t *families = json_array();
    if (family) json_array_append_new(families, json_string(family));
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "parent_model", m->alias_of, "format",
                     "gguf", "family", family ? family : "", "families", families, "parameter_size",
                     fact_text(m, "parameter_size"), "quantization_level", fact_text(m, "quantization"),
                     "context_length", fact(m, "context_length"), "embedding_length",
                     fact(m, "embedding_length"));
}

/* Ollama's have no "sha256:" before them. */
static const char *digest_of(const struct model_entry *m)
{
    const char *print = json_string_value(json_object_get(m->facts, "fingerprint"));
    const char *d = *m->digest ? m->digest : print ? print : "";
    return strncmp(d, "sha256:", 7) == 0 ? d + 7 : d;
}

json_t *model_ollama_json(const struct model_entry *m)
{
    char *name = full_name(m->name);
    json_t *v = json_pack("{s:s, s:s, s:o, s:I, s:s, s:o, s:o}", "name", name, "model", name, "modified_at",
                          time_json(m->created_ms), "size", (json_int_t)m->bytes, "digest", digest_of(m),
                          "details", details_json(m), "capabilities", fact(m, "capabilities"));
    free(name);
    return v;
}

/* But for a key, which is for the server it belongs to. */
static json_t *options_json(const struct model_entry *m)
{
    json_t *options = json_loads(m->options, 0, NULL);
    if (json_object_get(options, "upstream_key"))
        json_object_set_new(options, "upstream_key", json_string("(a key is set)"));
    return options;
}

json_t *model_json(const struct model_entry *m)
{
    const struct pool_model_view none = {.progress = -1, .error = ""}, *p = m->view ? m->view : &none;
    json_t *v = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:i, s:b, s:o, s:o, s:O, s:o?}", "name",
                          m->name, "state", state_of(m), "bytes", (json_int_t)m->bytes, "path", m->path,
                          "digest", m->digest, "source", m->source, "alias_of", m->alias_of, "version",
                          (int)m->version, "in_store", m->in_store, "created_at", time_json(m->created_ms),
                          "used_at", m->used_ms ? time_json(m->used_ms) : json_null(), "facts", m->facts,
                          "options", options_json(m));
    json_t *now = json_pack(
        "{s:f, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:o, s:I, s:I, s:I, s:f, s:s}", "progress", p->progress,
        "workers", (int)p->n_worker, "ready", (int)p->n_ready, "running", (int)p->n_running, "waiting",
        (int)p->n_waiting, "context", (int)p->context, "generation", (int)p->generation, "memory_bytes",
        (json_int_t)p->bytes, "expires_at", p->expires_ms ? time_json(p->expires_ms) : json_null(),
        "requests", (json_int_t)p->requests, "failures", (json_int_t)p->failures, "loads",
        (json_int_t)p->loads, "load_s", p->load_s, "error", p->error);
    if (now) json_object_update(v, now);
    json_object_set_new(v, "created_ms", json_integer(m->created_ms));
    json_object_set_new(v, "used_ms", json_integer(MAX(m->used_ms, p->used_ms)));
    json_object_set_new(v, "expires_ms", json_integer(p->expires_ms));
    json_decref(now);
    return v;
}
