/* Models go, go back, and change what is said of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store_int.h"

/* ---- remove ------------------------------------------------------------------------------------------ */

/* May these versions go? A found file would be found again, and it is not ours to delete. */
static status may_go(struct store *s, const struct model_row *row, int64_t version, const char *digest,
                     struct error *e)
{
    struct store_model m;
    TRY(model_read(s, row->id, version ? version : row->current, &m, e));
    status code = OK;
    if (digest && strcmp(digest, m.digest) != 0)
        code = fail(e, ERR_ARG, "%s is another one: its digest is %s", m.name,
                    *m.digest ? m.digest : "not known");
    else if (m.found && access(m.path, F_OK) == 0)
        code = fail(e, ERR_ARG, "%.60s is a file that lies in the folder of models: to remove it, delete %s",
                    m.name, m.path);
    store_model_deinit(&m);
    return code;
}

/* What the versions refer to, as a list of texts. */
static status digests_of(struct store *s, const struct model_row *row, int64_t version, json_t *blobs,
                         json_t *sets, struct error *e)
{
    sqlite3_stmt *st;
    status code;
    TRY(db_query(s, &st, e,
                 "SELECT f.digest, v.digest FROM file f JOIN version v ON v.id = f.version"
                 " WHERE v.model = ?1 AND (?2 = 0 OR v.number = ?2)",
                 "ii", row->id, version));
    while ((code = db_next(s, st, e)) == OK) {
        json_array_append_new(blobs, json_string((const char *)sqlite3_column_text(st, 0)));
        json_array_append_new(sets, json_string((const char *)sqlite3_column_text(st, 1)));
    }
    return code == ERR_NOT_FOUND ? OK : code;
}

static status remove_rows(struct store *s, const struct model_row *row, int64_t version, struct error *e)
{
    if (version) {
        TRY(db_run(s, e, "DELETE FROM version WHERE model = ? AND number = ?", "ii", row->id, version));
        TRY(db_run(s, e,
                   "UPDATE model SET current = (SELECT max(number) FROM version WHERE model = ?1)"
                   " WHERE id = ?1 AND current = ?2 AND EXISTS (SELECT 1 FROM version WHERE model = ?1)",
                   "ii", row->id, version));
    }
    return db_run(s, e,
                  "DELETE FROM model WHERE id = ?1 AND (?2 = 0 OR NOT EXISTS"
                  " (SELECT 1 FROM version WHERE model = ?1))",
                  "ii", row->id, version);
}

/* The name is gone when this begins; a file that resists is told and left to store_sweep. */
static status drop_files(struct store *s, const json_t *blobs, const json_t *sets, struct dropped *d,
                         struct error *e)
{
    status code = OK, one;
    size_t i;
    json_t *v;
    json_array_foreach(sets, i, v) if ((one = set_drop(s, json_string_value(v), e)) != OK) code = one;
    json_array_foreach(blobs, i, v) if ((one = blob_drop(s, json_string_value(v), d, e)) != OK) code = one;
    return code;
}

static status remove_model(struct store *s, const char *name, int64_t version, const char *digest,
                           struct dropped *d, struct error *e)
{
    struct model_row row;
    status code = model_find(s, name, &row, e);
    if (code == ERR_NOT_FOUND) code = found_look(s, e);
    if (code == OK) code = model_find(s, name, &row, e);
    if (code == ERR_NOT_FOUND)
        return fail(e, ERR_NOT_FOUND, "there is no model '%s': corral list shows those there are", name);
    if (code != OK) return code;
    TRY(may_go(s, &row, version, digest, e));
    json_t *blobs = json_array(), *sets = json_array();
    code = digests_of(s, &row, version, blobs, sets, e);
    if (code == OK) code = db_begin(s, e);
    if (code == OK) code = db_end(s, remove_rows(s, &row, version, e), e);
    if (code == OK) code = drop_files(s, blobs, sets, d, e);
    json_decref(blobs);
    json_decref(sets);
    return code;
}

status store_remove(struct store *s, const char *name, uint32_t version_or_0, const char *digest,
                    uint64_t *freed_bytes, struct error *e)
{
    char full[STORE_NAME_MAX], wanted[STORE_DIGEST_MAX];
    struct dropped d = {0};
    TRY(store_name(full, name, e));
    if (digest) TRY(digest_read(wanted, digest, e));
    pthread_mutex_lock(&s->lock);
    status code = remove_model(s, full, version_or_0, digest ? wanted : NULL, &d, e);
    pthread_mutex_unlock(&s->lock);
    if (freed_bytes) *freed_bytes = d.bytes;
    dropped_close(&d);
    return code;
}

/* ---- rollback ---------------------------------------------------------------------------------------- */

static status rollback(struct store *s, const char *name, int64_t version, struct error *e)
{
    struct model_row row;
    TRY(model_means(s, name, &row, e));
    TRY(db_run(s, e,
               "UPDATE model SET current = (SELECT max(number) FROM version WHERE model = ?1 AND"
               " (number = ?2 OR (?2 = 0 AND number < ?3))) WHERE id = ?1 AND EXISTS (SELECT 1 FROM version"
               " WHERE model = ?1 AND (number = ?2 OR (?2 = 0 AND number < ?3)))",
               "iii", row.id, version, row.current));
    if (sqlite3_changes(s->db)) return OK;
    return version ? fail(e, ERR_NOT_FOUND, "%s has no version %lld", name, (long long)version)
                   : fail(e, ERR_NOT_FOUND, "%s has no version before %lld", name, (long long)row.current);
}

status store_rollback(struct store *s, const char *name, uint32_t version_or_0, struct error *e)
{
    pthread_mutex_lock(&s->lock);
    status code = rollback(s, name, version_or_0, e);
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* ---- what is said of them ---------------------------------------------------------------------------- */

static status set_facts(struct store *s, const char *name, int64_t version, const char *json, struct error *e)
{
    struct model_row row;
    TRY(model_means(s, name, &row, e));
    if (!version) version = row.current;
    TRY(db_run(s, e, "UPDATE version SET facts = ? WHERE model = ? AND number = ?", "tii", json, row.id,
               version));
    if (sqlite3_changes(s->db)) return OK;
    return fail(e, ERR_NOT_FOUND, "%s has no version %lld", name, (long long)version);
}

status store_set_facts(struct store *s, const char *name, uint32_t version_or_0, const char *json,
                       struct error *e)
{
    TRY(store_check_object("the facts of a model", json, e));
    pthread_mutex_lock(&s->lock);
    status code = set_facts(s, name, version_or_0, json && *json ? json : "{}", e);
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* members of change over those of old; null takes one away. */
static json_t *merged(const char *old, const char *change, bool replace)
{
    const char *key;
    json_t *value, *out = replace ? json_object() : json_loads(old, 0, NULL),
                   *in = json_loads(change, 0, NULL);
    if (!json_is_object(out)) {
        json_decref(out);
        out = json_object();
    }
    json_object_foreach(in, key, value)
    {
        if (json_is_null(value))
            json_object_del(out, key);
        else
            json_object_set(out, key, value);
    }
    json_decref(in);
    return out;
}

static status set_options(struct store *s, const char *name, const char *json, bool replace, struct error *e)
{
    struct model_row row;
    struct store_model m;
    struct store_settings o;
    TRY(model_means(s, name, &row, e));
    TRY(model_read(s, row.id, row.current, &m, e));
    json_t *all = merged(m.options, json, replace);
    char *text = json_dumps(all, JSON_COMPACT);
    status code = text ? store_settings_read(&o, text, e) : fail(e, ERR_MEMORY, "out of memory for options");
    if (code == OK) {
        store_settings_deinit(&o);
        code = db_run(s, e, "UPDATE model SET options = ? WHERE id = ?", "ti", text, row.id);
    }
    free(text);
    json_decref(all);
    store_model_deinit(&m);
    return code;
}

status store_set_options(struct store *s, const char *name, const char *json, bool replace, struct error *e)
{
    TRY(store_check_object("options", json, e));
    pthread_mutex_lock(&s->lock);
    status code = set_options(s, name, json && *json ? json : "{}", replace, e);
    pthread_mutex_unlock(&s->lock);
    return code;
}

void store_touch(struct store *s, const char *name)
{
    char full[STORE_NAME_MAX];
    if (store_name(full, name, NULL) != OK) return;
    pthread_mutex_lock(&s->lock);
    (void)db_run(s, NULL, "UPDATE model SET used_ms = ? WHERE name = ?", "it", store_now_ms(), full);
    pthread_mutex_unlock(&s->lock);
}

/* ---- verify ------------------------------------------------------------------------------------------ */

/* The digests of the files that it is made of: [digest, ...]. */
static json_t *blobs_of(struct store *s, const struct store_model *m, struct error *e)
{
    struct model_row row;
    json_t *blobs = json_array(), *sets = json_array();
    pthread_mutex_lock(&s->lock);
    status code = model_find(s, m->name, &row, e);
    if (code == OK) code = digests_of(s, &row, m->version, blobs, sets, e);
    pthread_mutex_unlock(&s->lock);
    json_decref(sets);
    if (code == OK) return blobs;
    json_decref(blobs);
    return NULL;
}

static status verify_blobs(struct store *s, const struct store_model *m, bool (*cancel)(void *user),
                           void *user, struct error *e)
{
    char path[STORE_PATH_MAX];
    status code = OK;
    size_t i;
    json_t *v, *blobs = blobs_of(s, m, e);
    if (!blobs) return fail(e, ERR_NOT_FOUND, "the model '%s' was removed", m->name);
    json_array_foreach(blobs, i, v)
    {
        if (code != OK) break;
        digest_path(s, json_string_value(v), path, sizeof path);
        code = digest_expect(path, json_string_value(v), cancel, user, e);
    }
    json_decref(blobs);
    return code;
}

/* The digest of a file used in place, kept unless the model was changed meanwhile. */
static status keep_digest(struct store *s, const struct store_model *m, const char *digest, struct error *e)
{
    pthread_mutex_lock(&s->lock);
    status code = db_run(s, e,
                         "UPDATE version SET digest = ? WHERE number = ? AND digest = '' AND bytes = ?"
                         " AND model = (SELECT id FROM model WHERE name = ?)",
                         "tiit", digest, (int64_t)m->version, (int64_t)m->bytes, m->name);
    pthread_mutex_unlock(&s->lock);
    return code;
}

status store_verify(struct store *s, const char *name, bool (*cancel)(void *user), void *user,
                    struct error *e)
{
    char digest[STORE_DIGEST_MAX];
    struct store_model m;
    TRY(store_get(s, name, &m, e));
    status code;
    if (!*m.path)
        code = fail(e, ERR_ARG, "the model '%s' is another server's", m.name);
    else if (m.owned)
        code = verify_blobs(s, &m, cancel, user, e);
    else if (*m.digest)
        code = digest_expect(m.path, m.digest, cancel, user, e);
    else if ((code = store_digest_file(m.path, digest, cancel, user, e)) == OK)
        code = keep_digest(s, &m, digest, e);
    store_model_deinit(&m);
    return code;
}
