/* New versions of models: put there, or copied from another name. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/store_int.h"

status model_find_or_make(struct store *s, const char *name, struct model_row *out, struct error *e)
{
    status code = model_find(s, name, out, e);
    if (code != ERR_NOT_FOUND) return code;
    TRY(db_run(s, e, "INSERT INTO model (name, current, options, used_ms) VALUES (?, 0, '{}', 0)", "t",
               name));
    *out = (struct model_row){sqlite3_last_insert_rowid(s->db), 0};
    return OK;
}

status model_add_version(struct store *s, const struct model_row *model, const struct model_new_version *v,
                         struct error *e)
{
    TRY(db_run(
        s, e,
        "INSERT INTO version (model, number, path, digest, bytes, mtime_ns, owned, found, created_ms, source,"
        " facts) SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10"
        " FROM version WHERE model = ?1",
        "ittiiiiitt", model->id, v->path, v->digest, (int64_t)MIN(v->bytes, (uint64_t)INT64_MAX), v->mtime_ns,
        (int64_t)v->owned, (int64_t)v->found, store_now_ms(), v->source, v->facts));
    int64_t id = sqlite3_last_insert_rowid(s->db);
    for (size_t i = 0; i < v->n_file; i++) {
        char digest[STORE_DIGEST_MAX];
        TRY(digest_read(digest, v->file[i].digest, e));
        TRY(db_run(s, e, "INSERT INTO file VALUES (?, ?, ?)", "itt", id, v->file[i].name, digest));
    }
    return db_run(s, e, "UPDATE model SET current = (SELECT number FROM version WHERE id = ?) WHERE id = ?",
                  "ii", id, model->id);
}

/* ---- put --------------------------------------------------------------------------------------------- */

struct place { /* where a new version lies */
    char path[STORE_PATH_MAX], digest[STORE_DIGEST_MAX];
};

static status place_file(struct store *s, const struct store_entry *entry, struct model_new_version *v,
                         struct place *p, struct error *e)
{
    struct stat st;
    char *full = realpath(entry->path, NULL);
    if (!full || stat(full, &st) != 0) {
        free(full);
        return fail(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", entry->path, strerror(errno));
    }
    size_t n = strlen(s->home);
    bool inside = !strncmp(full, s->home, n) && full[n] == '/';
    int k = snprintf(p->path, sizeof p->path, "%s", inside ? full + n + 1 : full);
    free(full);
    if (k < 0 || (size_t)k >= sizeof p->path) return fail(e, ERR_LIMIT, "the path of the model is too long");
    if (entry->digest && *entry->digest) TRY(digest_read(p->digest, entry->digest, e));
    v->bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    v->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return OK;
}

static status place_blobs(struct store *s, const struct store_entry *entry, struct model_new_version *v,
                          struct place *p, struct error *e)
{
    char path[STORE_PATH_MAX];
    struct stat st;
    for (size_t i = 0; i < entry->n_file; i++) {
        TRY(store_blob_path(s, entry->file[i].digest, path, sizeof path, e));
        if (stat(path, &st) != 0) return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
        v->bytes += (uint64_t)st.st_size;
    }
    TRY(digest_of_files(entry->file, entry->n_file, p->digest, e));
    v->file = entry->file;
    v->n_file = entry->n_file;
    v->owned = true;
    if (entry->n_file == 1) {
        snprintf(p->path, sizeof p->path, "models/blobs/sha256-%s", p->digest + 7);
        return OK;
    }
    set_main_path(p->digest, entry->file, entry->n_file, p->path, sizeof p->path);
    return set_make(s, p->digest, entry->file, entry->n_file, e);
}

static status place(struct store *s, const struct store_entry *entry, struct model_new_version *v,
                    struct place *p, struct error *e)
{
    *p = (struct place){0};
    *v = (struct model_new_version){
        .path = p->path, .digest = p->digest, .source = entry->source ? entry->source : ""};
    v->facts = entry->facts && *entry->facts ? entry->facts : "{}";
    if (entry->path && *entry->path) return place_file(s, entry, v, p, e);
    if (entry->n_file) return place_blobs(s, entry, v, p, e);
    if (!strncmp(v->source, "http://", 7) || !strncmp(v->source, "https://", 8)) return OK;
    return fail(e, ERR_ARG, "a model needs a file, or the URL of a server that has it");
}

/* Is it what the model means already? */
static status is_current(struct store *s, const struct model_row *row, const struct model_new_version *v,
                         bool *out, struct error *e)
{
    sqlite3_stmt *st;
    *out = false;
    TRY(db_query(
        s, &st, e,
        "SELECT 1 FROM version WHERE model = ? AND number = ? AND path = ? AND owned = ? AND bytes = ?"
        " AND mtime_ns = ? AND (path <> '' OR source = ?)",
        "iitiiit", row->id, row->current, v->path, (int64_t)v->owned, (int64_t)v->bytes, v->mtime_ns,
        v->source));
    status code = db_next(s, st, e);
    if (code == OK) db_done(st);
    *out = code == OK;
    return code == ERR_NOT_FOUND ? OK : code;
}

static status put_version(struct store *s, const char *name, const struct store_entry *entry,
                          const struct model_new_version *v, struct model_row *row, struct error *e)
{
    bool same;
    TRY(model_find_or_make(s, name, row, e));
    TRY(is_current(s, row, v, &same, e));
    if (!same)
        TRY(model_add_version(s, row, v, e));
    else if (entry->facts && *entry->facts)
        TRY(db_run(s, e, "UPDATE version SET facts = ? WHERE model = ? AND number = ?", "tii", v->facts,
                   row->id, row->current));
    if (entry->options && *entry->options)
        TRY(db_run(s, e, "UPDATE model SET options = ? WHERE id = ?", "ti", entry->options, row->id));
    return model_find(s, name, row, e);
}

static status check_entry(const struct store_entry *entry, struct error *e)
{
    struct store_settings o;
    TRY(store_check_object("the facts of a model", entry->facts, e));
    TRY(store_settings_read(&o, entry->options, e));
    store_settings_deinit(&o);
    return OK;
}

status store_put(struct store *s, const struct store_entry *entry, struct store_model *out, struct error *e)
{
    char name[STORE_NAME_MAX];
    struct model_new_version v;
    struct model_row row;
    struct place p;
    if (out) *out = (struct store_model){0};
    TRY(store_name(name, entry->name, e));
    TRY(check_entry(entry, e));
    pthread_mutex_lock(&s->lock);
    status code = place(s, entry, &v, &p, e);
    if (code == OK) code = db_begin(s, e);
    if (code == OK) code = db_end(s, put_version(s, name, entry, &v, &row, e), e);
    if (code == OK && out) code = model_read(s, row.id, row.current, out, e);
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* ---- copy -------------------------------------------------------------------------------------------- */

static status copy(struct store *s, const char *from, const char *to, struct error *e)
{
    struct model_row a, b;
    TRY(model_means(s, from, &a, e));
    TRY(model_find_or_make(s, to, &b, e));
    if (a.id == b.id) return fail(e, ERR_ARG, "'%s' cannot be copied onto itself", to);
    TRY(db_run(
        s, e,
        "INSERT INTO version (model, number, path, digest, bytes, mtime_ns, owned, found, created_ms, source,"
        " facts) SELECT ?1, (SELECT coalesce(max(number), 0) + 1 FROM version WHERE model = ?1), path, "
        "digest,"
        " bytes, mtime_ns, owned, 0, ?2, source, facts FROM version WHERE model = ?3 AND number = ?4",
        "iiii", b.id, store_now_ms(), a.id, a.current));
    int64_t id = sqlite3_last_insert_rowid(s->db);
    TRY(db_run(s, e,
               "INSERT INTO file SELECT ?1, f.name, f.digest FROM file f JOIN version v ON v.id = f.version"
               " WHERE v.model = ?2 AND v.number = ?3",
               "iii", id, a.id, a.current));
    return db_run(s, e,
                  "UPDATE model SET current = (SELECT number FROM version WHERE id = ?1),"
                  " options = (SELECT options FROM model WHERE id = ?2) WHERE id = ?3",
                  "iii", id, a.id, b.id);
}

status store_copy(struct store *s, const char *from, const char *to, struct error *e)
{
    char name[STORE_NAME_MAX];
    TRY(store_name(name, to, e));
    pthread_mutex_lock(&s->lock);
    status code = db_begin(s, e);
    if (code == OK) code = db_end(s, copy(s, from, name, e), e);
    pthread_mutex_unlock(&s->lock);
    return code;
}
