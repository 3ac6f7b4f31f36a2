#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/model_name.h"
#include "pool/pool_int.h"

/* ---- what a model is --------------------------------------------------------------------------------- */

struct spec *spec_keep(struct spec *s)
{
    s->refs++;
    return s;
}

void spec_drop(struct spec *s)
{
    if (!s || --s->refs) return;
    store_settings_deinit(&s->set);
    free(s->name);
    free(s->path);
    free(s->digest);
    free(s->own);
    free(s->options);
    free(s);
}

/* Options of its own over those that all have. */
static status merge(const struct pool *p, const char *own, char **out, struct error *e)
{
    json_error_t je;
    json_t *all = p->defaults ? json_copy(p->defaults) : json_object();
    json_t *mine = own && *own ? json_loads(own, 0, &je) : json_object();
    status s = OK;
    if (!json_is_object(mine))
        s = fail(e, ERR_FORMAT, "options must be a JSON object");
    else
        json_object_update(all, mine);
    *out = s == OK ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(mine);
    json_decref(all);
    return s;
}

status spec_new(struct spec **out, const struct pool *p, const char *name, const char *path,
                const char *options, struct error *e)
{
    struct error why;
    struct spec *s = mem_zalloc(1, sizeof *s);
    *s = (struct spec){.refs = 1,
                       .name = mem_strdup(name),
                       .path = mem_strdup(path ? path : ""),
                       .digest = mem_strdup(""),
                       .own = mem_strdup(options ? options : ""),
                       .version = 1};
    status r = merge(p, options, &s->options, &why);
    if (r == OK) r = store_settings_read(&s->set, s->options, &why);
    if (r == OK) {
        *out = s;
        return OK;
    }
    spec_drop(s);
    return fail(e, r, "%s: %s", name, why.msg);
}

static struct spec *find_added(struct pool *p, const char *text)
{
    for (size_t i = 0; i < p->n_added; i++)
        if (model_name_same(p->added[i]->name, text)) return p->added[i];
    return NULL;
}

static bool same_model(const struct spec *s, const struct store_model *m)
{
    return s->in_store && s->version == m->version && !strcmp(s->path, m->path) &&
           !strcmp(s->own, m->options) && !strcmp(s->digest, m->digest);
}

/* A model of the store whose file is elsewhere is one behind a URL. */
static status spec_of_stored(struct pool *p, const struct store_model *m, struct spec **out, struct error *e)
{
    struct served *known = served_find(p, m->name);
    if (known && same_model(known->spec, m)) {
        *out = spec_keep(known->spec);
        return OK;
    }
    struct spec *s;
    TRY(spec_new(&s, p, m->name, m->path, m->options, e));
    free(s->digest);
    s->digest = mem_strdup(m->digest);
    s->version = m->version;
    s->in_store = true;
    if (!*m->path && !json_array_size(s->set.upstreams)) {
        json_t *url = json_pack("[s]", m->source);
        json_object_set_new(s->set.all, "upstreams", url);
        s->set.upstreams = url;
    }
    *out = s;
    return OK;
}

status spec_find(struct pool *p, const char *text, struct spec **out, struct error *e)
{
    struct store_model found = {0};
    char name[STORE_NAME_MAX];
    status s = OK;
    *out = NULL;
    pthread_mutex_lock(&p->lock);
    if ((!text || !*text) && p->default_model) {
        snprintf(name, sizeof name, "%s", p->default_model);
        text = name;
    }
    struct spec *added = text && *text ? find_added(p, text) : NULL;
    if (added) *out = spec_keep(added);
    pthread_mutex_unlock(&p->lock);
    if (added) return OK;
    if (!text || !*text) return fail(e, ERR_ARG, "which model? there is no default one: send \"model\"");
    if (!p->o.store) return fail(e, ERR_NOT_FOUND, "the model '%.100s' does not exist", text);
    s = store_get(p->o.store, text, &found, e);
    if (s != OK) return s;
    pthread_mutex_lock(&p->lock);
    s = spec_of_stored(p, &found, out, e);
    if (s == OK) (*out)->seen = ++p->lookups;
    pthread_mutex_unlock(&p->lock);
    store_model_deinit(&found);
    return s;
}

/* ---- the table --------------------------------------------------------------------------------------- */

struct served *served_find(struct pool *p, const char *name)
{
    struct served *m = p->model;
    while (m && strcmp(m->spec->name, name) != 0) m = m->next;
    return m;
}

struct served *served_named(struct pool *p, const char *text)
{
    struct served *m = p->model;
    while (m && !model_name_same(m->spec->name, text)) m = m->next;
    return m;
}

struct served *served_of(struct pool *p, struct spec *s)
{
    struct served *m = served_find(p, s->name);
    if (m) {
        bool newer = s->seen >= m->spec->seen;
        spec_drop(newer ? m->spec : s);
        if (newer) m->spec = s;
        return m;
    }
    char path[4096];
    m = mem_zalloc(1, sizeof *m);
    *m = (struct served){.spec = s, .generation = 1, .keep_alive_ms = STORE_UNSET, .next = p->model};
    pool_log_path(p, s->name, path, sizeof path);
    logfile_open(&m->log, path);
    p->model = m;
    return m;
}

void served_free(struct served *m)
{
    logfile_close(&m->log);
    spec_drop(m->spec);
    free(m);
}

void pool_log_path(const struct pool *p, const char *model, char *out, size_t cap)
{
    int n = snprintf(out, cap, "%s/logs/", p->home);
    for (const char *c = model; *c && n > 0 && (size_t)n + 5 < cap; c++)
        out[n++] = strchr("/:\\ \n", *c) ? '_' : *c;
    snprintf(out + n, cap - (size_t)n, ".log");
}

uint32_t served_replicas(const struct served *m)
{
    if (!*m->spec->path) return 0;
    return (uint32_t)MIN(MAX(m->spec->set.replicas, 1), ROUTE_MAX_ENDS);
}

int64_t served_keep_alive(const struct pool *p, const struct served *m)
{
    if (m->keep_alive_ms != STORE_UNSET) return m->keep_alive_ms;
    return m->spec->set.keep_alive_ms != STORE_UNSET ? m->spec->set.keep_alive_ms : p->o.keep_alive_ms;
}

enum pool_state served_state(const struct served *m, int64_t now)
{
    static const int rank[] = {
        [POOL_COLD] = 0,    [POOL_DRAINING] = 1, [POOL_PLANNING] = 2, [POOL_QUEUED] = 3,
        [POOL_LOADING] = 4, [POOL_RUNNING] = 5,  [POOL_FAILED] = 0};
    enum pool_state best = m->failed && now < m->retry_ns ? POOL_FAILED : POOL_COLD;
    for (const struct worker *w = m->worker; w; w = w->next)
        if (rank[phase_state(w->phase)] > rank[best]) best = phase_state(w->phase);
    return best;
}

const char *pool_state_name(enum pool_state s)
{
    static const char *const name[] = {"cold",  "planning", "queued", "loading",
                                       "ready", "draining", "failed"};
    return name[s];
}
