#include "cli/served_models.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "cli/model_file.h"

/* ---- files and names --------------------------------------------------------------------------------- */

/* The file's name without folder and ending. */
static void name_of_file(char out[STORE_NAME_MAX], const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strlen(base);
    if (n > 5 && !strcmp(base + n - 5, ".gguf")) n -= 5;
    snprintf(out, STORE_NAME_MAX, "%.*s", (int)MIN(n, (size_t)STORE_NAME_MAX - 1), base);
}

static status add_json(struct pool *pool, const char *name, const char *path, json_t *options,
                       struct error *e)
{
    char *text = options ? json_dumps(options, JSON_COMPACT) : NULL;
    status s = pool_add(pool, name, path, text, e);
    free(text);
    json_decref(options);
    return s;
}

/* What was named on the command line is there for good. */
static json_t *own_options(const struct served_models *m)
{
    return json_pack("{s:i,s:i}", "keep_alive", -1, "replicas", (int)m->replicas);
}

static status add_word(const struct served_models *m, const char *word, const char *name, struct pool *pool,
                       struct store *store, struct error *e)
{
    char path[PATH_MAX], own[STORE_NAME_MAX];
    struct store_model known = {0};
    if (!strcmp(word, "demo")) return add_json(pool, name ? name : "demo", "demo", own_options(m), e);
    if (access(word, F_OK) == 0) {
        if (!realpath(word, path)) return fail(e, ERR_IO, "%s cannot be opened", word);
        name_of_file(own, path);
        return add_json(pool, name ? name : own, path, own_options(m), e);
    }
    if (strchr(word, '/') == word || store_get(store, word, &known, e) != OK)
        return fail(e, ERR_NOT_FOUND,
                    "no model file '%s' here, and none of that name in the store (corral list)", word);
    json_t *options = json_loads(known.options, 0, NULL), *more = own_options(m);
    json_object_update(options, more);
    json_decref(more);
    store_name_short(own, known.name);
    status s = add_json(pool, name ? name : own, known.path, options, e);
    store_model_deinit(&known);
    return s;
}

/* ---- NAME=... ---------------------------------------------------------------------------------------- */

static status split_at_equals(const char *text, const char *flag, char name[STORE_NAME_MAX],
                              const char **value, struct error *e)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text || !eq[1] || eq - text >= STORE_NAME_MAX)
        return fail(e, ERR_ARG, "--%s %s: NAME=... is wanted", flag, text);
    snprintf(name, STORE_NAME_MAX, "%.*s", (int)(eq - text), text);
    *value = eq + 1;
    return OK;
}

/* An alias is a name whose clients all get the same model. */
static status add_alias(const char *text, const char *first, struct pool *pool, struct error *e)
{
    char name[STORE_NAME_MAX];
    const char *model = first;
    if (strchr(text, '='))
        TRY(split_at_equals(text, "alias", name, &model, e));
    else
        snprintf(name, sizeof name, "%s", text);
    return add_json(pool, name, "", json_pack("{s:{s:i}}", "split", model, 1), e);
}

/* MODEL:WEIGHT,...: names may have colons of their own, the weight is behind the last. */
static status add_split(const char *text, struct pool *pool, struct error *e)
{
    char name[STORE_NAME_MAX], part[2 * STORE_NAME_MAX];
    const char *value = "";
    TRY(split_at_equals(text, "split", name, &value, e));
    json_t *split = json_object();
    for (const char *p = value; *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        snprintf(part, sizeof part, "%.*s", (int)MIN(n, sizeof part - 1), p);
        p += n;
        char *colon = strrchr(part, ':'), *end = NULL;
        double weight = colon ? strtod(colon + 1, &end) : -1;
        if (!colon || colon == part || end == colon + 1 || *end || !(weight >= 0 && weight < 1e9)) {
            json_decref(split);
            return fail(e, ERR_ARG, "--split %s: '%s' is not MODEL:WEIGHT", text, part);
        }
        *colon = 0;
        json_object_set_new(split, part, json_real(weight));
    }
    return add_json(pool, name, "", json_pack("{s:o}", "split", split), e);
}

/* Servers of the same name are one model's. */
static status add_upstreams(const struct opt_list *list, struct pool *pool, struct error *e)
{
    const char *key = getenv("CORRAL_UPSTREAM_KEY"), *url = "";
    char name[STORE_NAME_MAX], other[STORE_NAME_MAX];
    for (size_t i = 0; i < list->n; i++) {
        json_t *urls = json_array();
        bool first = true;
        TRY(split_at_equals(list->item[i], "upstream", name, &url, e));
        for (size_t k = 0; k < list->n; k++) {
            if (split_at_equals(list->item[k], "upstream", other, &url, e) != OK || strcmp(name, other) != 0)
                continue;
            first = first && k >= i;
            json_array_append_new(urls, json_string(url));
        }
        json_t *options = json_pack("{s:o}", "upstreams", urls);
        if (key && *key) json_object_set_new(options, "upstream_key", json_string(key));
        if (!first)
            json_decref(options);
        else
            TRY(add_json(pool, name, "", options, e));
    }
    return OK;
}

/* ---- all of it --------------------------------------------------------------------------------------- */

status served_models_add(const struct served_models *m, struct pool *pool, struct store *store,
                         struct error *e)
{
    char first[STORE_NAME_MAX];
    const char *word = m->n_word ? m->word[0] : "demo";
    bool only_elsewhere = !m->n_word && m->upstream.n;
    if (!only_elsewhere) TRY(add_word(m, word, m->name, pool, store, e));
    for (size_t i = 1; i < m->n_word; i++) TRY(add_word(m, m->word[i], NULL, pool, store, e));
    TRY(add_upstreams(&m->upstream, pool, e));
    struct pool_view *v = pool_view_new(pool);
    snprintf(first, sizeof first, "%s", v->default_model);
    pool_view_free(v);
    for (size_t i = 0; i < m->alias.n; i++) TRY(add_alias(m->alias.item[i], first, pool, e));
    for (size_t i = 0; i < m->split.n; i++) TRY(add_split(m->split.item[i], pool, e));
    return OK;
}

static status load_listed(const char *names, struct pool *pool, struct error *e)
{
    char name[STORE_NAME_MAX];
    for (const char *p = names; *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)MIN(n, sizeof name - 1), p);
        p += n;
        if (*name) TRY(pool_load(pool, name, e));
    }
    return OK;
}

status served_models_load(const struct served_models *m, struct pool *pool, struct error *e)
{
    struct pool_view *v = pool_view_new(pool);
    status s = pool_load(pool, "", e);
    for (size_t i = 0; s == OK && i < v->n_model; i++)
        if (!v->model[i].in_store && *v->model[i].path) s = pool_load(pool, v->model[i].name, e);
    pool_view_free(v);
    for (size_t i = 0; s == OK && i < m->preload.n; i++) s = load_listed(m->preload.item[i], pool, e);
    return s;
}
