/* Aliases: those set here, those of aliases.json, ours; in this order. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/log.h"
#include "store/store_int.h"

enum { ALIAS_TARGET_MAX = 1024 };

/* Names that people expect to work, and where such a model is. */
static const struct {
    const char *name, *target;
} defaults[] = {
    {"gpt2:latest", "hf:QuantFactory/gpt2-GGUF:Q8_0"},
    {"llama3-70b:latest", "hf:bartowski/Meta-Llama-3-70B-Instruct-GGUF:Q4_K_M"},
    {"qwen2-72b:latest", "hf:Qwen/Qwen2-72B-Instruct-GGUF:Q4_K_M"},
};

/* ---- the file ---------------------------------------------------------------------------------------- */

/* {"name": "target"} with names in their one spelling; NULL: it cannot be read at all. Mistakes are told and
 * otherwise ignored: models by their names must work all the same. */
static json_t *read_file(const char *path)
{
    char name[STORE_NAME_MAX];
    json_error_t where = {0};
    const char *key;
    json_t *target, *out;
    struct error e;
    struct buf text;
    buf_init(&text, STORE_JSON_MAX);
    if (buf_read_file(&text, path, &e) != OK) {
        LOG(WARN, "store", "aliases", "%s", e.msg);
        buf_deinit(&text);
        return NULL;
    }
    json_t *file = json_loadb(text.data ? text.data : "", text.n, JSON_REJECT_DUPLICATES, &where);
    buf_deinit(&text);
    if (!json_is_object(file)) {
        LOG(WARN, "store", "aliases", "%s: line %d: %s", path, file ? 1 : where.line,
            file ? "an object {\"name\": \"target\"} is wanted" : where.text);
        json_decref(file);
        return NULL;
    }
    out = json_object();
    json_object_foreach(file, key, target)
    {
        if (store_name(name, key, &e) != OK)
            LOG(WARN, "store", "aliases", "%s: %s", path, e.msg);
        else if (!json_is_string(target) || !json_string_length(target) ||
                 json_string_length(target) >= ALIAS_TARGET_MAX)
            LOG(WARN, "store", "aliases", "%s: '%s' must stand for a short text", path, key);
        else
            json_object_set(out, name, target);
    }
    json_decref(file);
    return out;
}

/* The file as it is now. Whoever edits it may not be done yet: what cannot be read changes nothing. */
static const json_t *file_aliases(struct store *s)
{
    char path[STORE_PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/aliases.json", s->home);
    if (stat(path, &st) != 0) st = (struct stat){0};
    const struct store_stamp now = {st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ino, st.st_size};
    if (memcmp(&now, &s->aliases_read, sizeof now) == 0) return s->file_aliases;
    json_t *read = st.st_ino ? read_file(path) : json_object();
    s->aliases_read = now;
    if (read) {
        json_decref(s->file_aliases);
        s->file_aliases = read;
    }
    return s->file_aliases;
}

/* ---- looking up -------------------------------------------------------------------------------------- */

static bool target_set(struct store *s, const char *name, char *out, size_t cap)
{
    sqlite3_stmt *st;
    if (db_query(s, &st, NULL, "SELECT target FROM alias WHERE name = ?", "t", name) != OK ||
        db_next(s, st, NULL) != OK)
        return false;
    snprintf(out, cap, "%s", (const char *)sqlite3_column_text(st, 0));
    db_done(st);
    return true;
}

static bool alias_target(struct store *s, const char *name, char *out, size_t cap, const char **layer)
{
    *layer = "set";
    if (target_set(s, name, out, cap)) return true;
    *layer = "file";
    const char *in_file = json_string_value(json_object_get(file_aliases(s), name));
    if (in_file) {
        snprintf(out, cap, "%s", in_file);
        return true;
    }
    *layer = "default";
    for (size_t i = 0; i < COUNT_OF(defaults); i++) {
        if (strcmp(defaults[i].name, name) != 0) continue;
        snprintf(out, cap, "%s", defaults[i].target);
        return true;
    }
    return false;
}

status alias_resolve(struct store *s, const char *text, char *out, size_t cap, struct error *e)
{
    char name[STORE_NAME_MAX];
    const char *layer;
    struct model_row row;
    if (strlen(text) >= cap) return fail(e, ERR_LIMIT, "the name of a model is too long");
    memmove(out, text, strlen(text) + 1);
    for (int depth = 0; depth < STORE_ALIAS_DEPTH; depth++) {
        if (store_name(name, out, NULL) != OK) return OK;
        status code = model_find(s, name, &row, e);
        if (code != ERR_NOT_FOUND) return code; /* a model goes before an alias */
        if (!alias_target(s, name, out, cap, &layer)) return OK;
    }
    return fail(e, ERR_ARG, "the alias '%.80s' leads back to itself: see corral alias", text);
}

status store_resolve(struct store *s, const char *text, char *out, size_t cap, struct error *e)
{
    pthread_mutex_lock(&s->lock);
    status code = alias_resolve(s, text, out, cap, e);
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* ---- changing ---------------------------------------------------------------------------------------- */

static status set(struct store *s, const char *name, const char *target, struct error *e)
{
    char to[STORE_PATH_MAX];
    struct model_row row;
    status code = model_find(s, name, &row, e);
    if (code == OK)
        return fail(e, ERR_ARG,
                    "there is a model '%s', which an alias cannot hide: remove it, or take another name",
                    name);
    if (code != ERR_NOT_FOUND) return code;
    TRY(db_begin(s, e));
    code = db_run(s, e, "INSERT INTO alias VALUES (?, ?) ON CONFLICT DO UPDATE SET target = excluded.target",
                  "tt", name, target);
    if (code == OK) code = alias_resolve(s, name, to, sizeof to, e);
    return db_end(s, code, e);
}

status store_alias_set(struct store *s, const char *name, const char *target, struct error *e)
{
    char full[STORE_NAME_MAX];
    TRY(store_name(full, name, e));
    if (!target || !*target) return fail(e, ERR_ARG, "the alias '%s' must stand for something", full);
    if (strlen(target) >= ALIAS_TARGET_MAX)
        return fail(e, ERR_LIMIT, "the target of an alias has at most %d characters", ALIAS_TARGET_MAX - 1);
    pthread_mutex_lock(&s->lock);
    status code = set(s, full, target, e);
    pthread_mutex_unlock(&s->lock);
    return code;
}

status store_alias_remove(struct store *s, const char *name, struct error *e)
{
    char full[STORE_NAME_MAX], target[STORE_PATH_MAX];
    const char *layer = "";
    TRY(store_name(full, name, e));
    pthread_mutex_lock(&s->lock);
    status code = db_run(s, e, "DELETE FROM alias WHERE name = ?", "t", full);
    if (code == OK && sqlite3_changes(s->db) == 0) {
        code = alias_target(s, full, target, sizeof target, &layer)
                   ? fail(e, ERR_ARG, "the alias '%s' is %s: set it to something else instead", full,
                          *layer == 'f' ? "one of aliases.json" : "built in")
                   : fail(e, ERR_NOT_FOUND, "there is no alias '%s'", full);
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* ---- all of them ------------------------------------------------------------------------------------- */

static void add(struct store_aliases *list, const char *name, const char *target, const char *layer)
{
    char brief[STORE_NAME_MAX];
    store_name_short(brief, name);
    for (size_t i = 0; i < list->n; i++)
        if (!strcmp(list->item[i].name, brief)) return; /* one of a layer above */
    list->item = mem_realloc(list->item, list->n + 1, sizeof *list->item);
    list->item[list->n++] = (struct store_alias){mem_strdup(brief), mem_strdup(target), layer};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct store_alias *)a)->name, ((const struct store_alias *)b)->name);
}

static status list_all(struct store *s, struct store_aliases *out, struct error *e)
{
    sqlite3_stmt *st;
    const char *name;
    json_t *target;
    status code;
    TRY(db_query(s, &st, e, "SELECT name, target FROM alias", ""));
    while ((code = db_next(s, st, e)) == OK)
        add(out, (const char *)sqlite3_column_text(st, 0), (const char *)sqlite3_column_text(st, 1), "set");
    if (code != ERR_NOT_FOUND) return code;
    json_object_foreach((json_t *)file_aliases(s), name, target)
        add(out, name, json_string_value(target), "file");
    for (size_t i = 0; i < COUNT_OF(defaults); i++) add(out, defaults[i].name, defaults[i].target, "default");
    qsort(out->item, out->n, sizeof *out->item, by_name);
    return OK;
}

status store_alias_list(struct store *s, struct store_aliases *out, struct error *e)
{
    *out = (struct store_aliases){0};
    pthread_mutex_lock(&s->lock);
    status code = list_all(s, out, e);
    pthread_mutex_unlock(&s->lock);
    if (code != OK) store_aliases_deinit(out);
    return code;
}

void alias_see_all(struct store *s, struct name_nearest *n)
{
    struct store_aliases all = {0};
    if (list_all(s, &all, NULL) == OK)
        for (size_t i = 0; i < all.n; i++) name_nearest_see(n, all.item[i].name);
    store_aliases_deinit(&all);
}

void store_aliases_deinit(struct store_aliases *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->item[i].name);
        free(list->item[i].target);
    }
    free(list->item);
    *list = (struct store_aliases){0};
}
