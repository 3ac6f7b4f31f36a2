/* Finding models: what a text means, rows as results, and what to say when there is none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store_int.h"

void store_model_deinit(struct store_model *m)
{
    free(m->name);
    free(m->path);
    free(m->digest);
    free(m->source);
    free(m->facts);
    free(m->options);
    *m = (struct store_model){0};
}

void store_models_deinit(struct store_models *list)
{
    for (size_t i = 0; i < list->n; i++) store_model_deinit(&list->item[i]);
    free(list->item);
    *list = (struct store_models){0};
}

/* ---- rows -------------------------------------------------------------------------------------------- */

#define MODEL_SELECT                                                                                         \
    "SELECT m.name, v.number, v.number = m.current, v.path, v.digest, v.bytes, v.owned, v.found, "           \
    "v.created_ms, m.used_ms, v.source, v.facts, m.options FROM version v JOIN model m ON m.id = v.model "

static void read_row(const struct store *s, sqlite3_stmt *st, struct store_model *out)
{
    char path[STORE_PATH_MAX];
    store_whole_path(s, (const char *)sqlite3_column_text(st, 3), path, sizeof path);
    *out = (struct store_model){
        .name = db_text(st, 0),
        .version = (uint32_t)sqlite3_column_int64(st, 1),
        .current = sqlite3_column_int(st, 2),
        .path = mem_strdup(path),
        .digest = db_text(st, 4),
        .bytes = (uint64_t)sqlite3_column_int64(st, 5),
        .owned = sqlite3_column_int(st, 6),
        .found = sqlite3_column_int(st, 7),
        .created_ms = sqlite3_column_int64(st, 8),
        .used_ms = sqlite3_column_int64(st, 9),
        .source = db_text(st, 10),
        .facts = db_text(st, 11),
        .options = db_text(st, 12),
    };
}

/* A file that was found and is gone keeps its row, and so its options, for when it comes back. */
static bool is_there(const struct store_model *m)
{
    return !m->found || access(m->path, F_OK) == 0;
}

static status read_rows(struct store *s, sqlite3_stmt *st, struct store_models *out, struct error *e)
{
    size_t cap = 0;
    status code;
    while ((code = db_next(s, st, e)) == OK) {
        if (out->n == cap) {
            cap = cap ? 2 * cap : 16;
            out->item = mem_realloc(out->item, cap, sizeof *out->item);
        }
        read_row(s, st, &out->item[out->n]);
        if (is_there(&out->item[out->n]))
            out->n++;
        else
            store_model_deinit(&out->item[out->n]);
    }
    return code == ERR_NOT_FOUND ? OK : code;
}

status model_read(struct store *s, int64_t id, int64_t version, struct store_model *out, struct error *e)
{
    sqlite3_stmt *st;
    *out = (struct store_model){0};
    TRY(db_query(s, &st, e, MODEL_SELECT "WHERE v.model = ? AND v.number = ?", "ii", id, version));
    status code = db_next(s, st, e);
    if (code == ERR_NOT_FOUND)
        return fail(e, ERR_NOT_FOUND, "there is no version %lld of it", (long long)version);
    if (code != OK) return code;
    read_row(s, st, out);
    db_done(st);
    return OK;
}

status model_find(struct store *s, const char *name, struct model_row *out, struct error *e)
{
    sqlite3_stmt *st;
    TRY(db_query(s, &st, e, "SELECT id, current FROM model WHERE name = ?", "t", name));
    TRY(db_next(s, st, e));
    *out = (struct model_row){sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1)};
    db_done(st);
    return OK;
}

/* ---- what a text means ------------------------------------------------------------------------------- */

static status find_by_source(struct store *s, const char *text, struct model_row *out, struct error *e)
{
    char inside[STORE_PATH_MAX];
    sqlite3_stmt *st;
    size_t n = strlen(s->home);
    if (!*text) return ERR_NOT_FOUND;
    bool at_home = !strncmp(text, s->home, n) && text[n] == '/';
    snprintf(inside, sizeof inside, "%s", at_home ? text + n + 1 : text);
    TRY(db_query(
        s, &st, e,
        "SELECT m.id, m.current FROM version v JOIN model m ON m.id = v.model AND m.current = v.number"
        " WHERE v.source = ?1 OR v.path = ?2 ORDER BY v.id DESC LIMIT 1",
        "tt", text, inside));
    TRY(db_next(s, st, e));
    *out = (struct model_row){sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1)};
    db_done(st);
    return OK;
}

static status means(struct store *s, const char *target, struct model_row *out, struct error *e)
{
    char name[STORE_NAME_MAX];
    status code = store_name(name, target, NULL) == OK ? model_find(s, name, out, e) : ERR_NOT_FOUND;
    return code == ERR_NOT_FOUND ? find_by_source(s, target, out, e) : code;
}

/* The names that somebody may have meant. */
static void see_all(struct store *s, struct name_nearest *n)
{
    char brief[STORE_NAME_MAX];
    sqlite3_stmt *st;
    if (db_query(s, &st, NULL, "SELECT name FROM model", "") == OK)
        while (db_next(s, st, NULL) == OK) {
            store_name_short(brief, (const char *)sqlite3_column_text(st, 0));
            name_nearest_see(n, brief);
        }
    alias_see_all(s, n);
}

static status not_found(struct store *s, const char *text, const char *target, struct error *e)
{
    char name[STORE_NAME_MAX], brief[STORE_NAME_MAX];
    struct name_nearest n;
    if (strcmp(text, target) != 0)
        return fail(
            e, ERR_NOT_FOUND,
            "the model '%.60s' is not downloaded: run corral pull %.60s, or POST /pull {\"model\":\"%.60s\"} "
            "(it stands for %.60s)",
            text, text, text, target);
    if (store_name(name, text, NULL) == OK) {
        store_name_short(brief, name);
        name_nearest_init(&n, brief);
        see_all(s, &n);
        if (name_nearest_is_near(&n))
            return fail(e, ERR_NOT_FOUND,
                        "there is no model '%.60s': is '%.60s' meant? Otherwise: corral pull %.60s", brief,
                        n.best, brief);
    }
    return fail(
        e, ERR_NOT_FOUND,
        "the model '%.60s' is not downloaded: run corral pull %.60s, or POST /pull {\"model\":\"%.60s\"}",
        text, text, text);
}

status model_means(struct store *s, const char *text, struct model_row *out, struct error *e)
{
    char target[STORE_PATH_MAX];
    if (!text || !*text) return fail(e, ERR_ARG, "the name of the model is empty");
    TRY(alias_resolve(s, text, target, sizeof target, e));
    status code = means(s, target, out, e);
    if (code != ERR_NOT_FOUND) return code;
    TRY(found_look(s, e)); /* it may have been put there just now */
    code = means(s, target, out, e);
    return code == ERR_NOT_FOUND ? not_found(s, text, target, e) : code;
}

/* ---- for others -------------------------------------------------------------------------------------- */

static status get(struct store *s, const char *text, struct store_model *out, struct error *e)
{
    struct model_row row;
    TRY(model_means(s, text, &row, e));
    TRY(model_read(s, row.id, row.current, out, e));
    if (is_there(out)) return OK;
    (void)fail(e, ERR_NOT_FOUND, "the file of the model '%.60s' is gone: %s", out->name, out->path);
    store_model_deinit(out);
    return ERR_NOT_FOUND;
}

status store_get(struct store *s, const char *text, struct store_model *out, struct error *e)
{
    *out = (struct store_model){0};
    pthread_mutex_lock(&s->lock);
    status code = get(s, text, out, e);
    pthread_mutex_unlock(&s->lock);
    return code;
}

static status list(struct store *s, struct store_models *out, struct error *e)
{
    sqlite3_stmt *st;
    TRY(found_look(s, e));
    TRY(db_query(s, &st, e, MODEL_SELECT "WHERE v.number = m.current ORDER BY m.name", ""));
    return read_rows(s, st, out, e);
}

status store_list(struct store *s, struct store_models *out, struct error *e)
{
    *out = (struct store_models){0};
    pthread_mutex_lock(&s->lock);
    status code = list(s, out, e);
    pthread_mutex_unlock(&s->lock);
    if (code != OK) store_models_deinit(out);
    return code;
}

static status versions(struct store *s, const char *name, struct store_models *out, struct error *e)
{
    struct model_row row;
    sqlite3_stmt *st;
    TRY(model_means(s, name, &row, e));
    TRY(db_query(s, &st, e, MODEL_SELECT "WHERE v.model = ? ORDER BY v.number DESC", "i", row.id));
    return read_rows(s, st, out, e);
}

status store_versions(struct store *s, const char *name, struct store_models *out, struct error *e)
{
    *out = (struct store_models){0};
    pthread_mutex_lock(&s->lock);
    status code = versions(s, name, out, e);
    pthread_mutex_unlock(&s->lock);
    if (code != OK) store_models_deinit(out);
    return code;
}
