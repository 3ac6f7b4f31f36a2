/* The connection: opening, migrations, statements, and SQLite's errors in words that help. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "store/store_int.h"

/* Where the tables come from: element i takes a database of version i to version i + 1 (PRAGMA user_version).
 * What is here once is never changed, only continued. */
static const char *const migrations[] = {
    /* A name has versions, a version has files: those that are blobs. Paths inside the home are kept relative
     * to it, so that a home can be moved. */
    "CREATE TABLE model (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, current INTEGER NOT NULL,"
    " options TEXT NOT NULL, used_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE version (id INTEGER PRIMARY KEY, model INTEGER NOT NULL REFERENCES model ON DELETE CASCADE,"
    " number INTEGER NOT NULL, path TEXT NOT NULL, digest TEXT NOT NULL, bytes INTEGER NOT NULL,"
    " mtime_ns INTEGER NOT NULL, owned INTEGER NOT NULL, found INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " source TEXT NOT NULL, facts TEXT NOT NULL, UNIQUE (model, number)) STRICT;"
    "CREATE INDEX version_path ON version (path);"
    "CREATE INDEX version_source ON version (source);"
    "CREATE INDEX version_digest ON version (digest);"
    "CREATE TABLE file (version INTEGER NOT NULL REFERENCES version ON DELETE CASCADE, name TEXT NOT NULL,"
    " digest TEXT NOT NULL, PRIMARY KEY (version, name)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX file_digest ON file (digest);"
    "CREATE TABLE alias (name TEXT PRIMARY KEY, target TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE job (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, model TEXT NOT NULL,"
    " request TEXT NOT NULL, status INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " started_ms INTEGER NOT NULL DEFAULT 0, updated_ms INTEGER NOT NULL DEFAULT 0,"
    " finished_ms INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL "
    "DEFAULT 0,"
    " attempts INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '{}',"
    " owner TEXT NOT NULL DEFAULT '') STRICT;"
    "CREATE INDEX job_status ON job (status, kind, id);"
    "CREATE TABLE measure (digest TEXT NOT NULL, options TEXT NOT NULL, device TEXT NOT NULL, driver TEXT "
    "NOT NULL,"
    " predicted INTEGER NOT NULL, actual INTEGER NOT NULL, at_ms INTEGER NOT NULL,"
    " PRIMARY KEY (digest, options, device, driver)) STRICT, WITHOUT ROWID;",
};

/* ---- errors ------------------------------------------------------------------------------------------ */

/* What to do comes first: the path at the end may be cut. */
static status failed(const struct store *s, struct error *e)
{
    if (s->lent) return fail(e, ERR_BUSY, "the home is being handed over to another process: ask again");
    const char *why = s->db ? sqlite3_errmsg(s->db) : "out of memory";
    switch (s->db ? sqlite3_errcode(s->db) & 0xff : SQLITE_NOMEM) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_SCHEMA:
    case SQLITE_ERROR: /* a table that we need is not there */
        return fail(
            e, ERR_FORMAT,
            "the store is damaged (%.60s): rename this file and start again; models' files stay, pull "
            "finds them: %s/corral.db",
            why, s->home);
    case SQLITE_FULL: return fail(e, ERR_IO, "the disk is full: free some space for %s/corral.db", s->home);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return fail(e, ERR_BUSY, "another program has the store open: end it: %s/corral.db", s->home);
    case SQLITE_NOMEM: return fail(e, ERR_MEMORY, "out of memory in the store");
    case SQLITE_TOOBIG: return fail(e, ERR_LIMIT, "too large for the store");
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return fail(e, ERR_IO, "the store cannot be written (%.60s): see who owns %s/corral.db", why,
                    s->home);
    default: return fail(e, ERR_IO, "the store: %.80s (%s/corral.db)", why, s->home);
    }
}

/* ---- statements -------------------------------------------------------------------------------------- */

static sqlite3_stmt *prepared(struct store *s, const char *sql)
{
    for (size_t i = 0; i < s->n_statement; i++)
        if (s->statement[i].sql == sql) return s->statement[i].st;
    ASSERT(s->n_statement < STORE_STATEMENTS_MAX);
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) != SQLITE_OK) return NULL;
    s->statement[s->n_statement++] = (struct store_statement){sql, st};
    return st;
}

static status query(struct store *s, sqlite3_stmt **out, struct error *e, const char *sql, const char *types,
                    va_list values)
{
    sqlite3_stmt *st = prepared(s, sql);
    *out = st;
    if (!st) return failed(s, e);
    ASSERT((int)strlen(types) == sqlite3_bind_parameter_count(st));
    for (int i = 0; types[i]; i++) {
        int rc;
        if (types[i] == 't') {
            const char *text = va_arg(values, const char *);
            rc = sqlite3_bind_text(st, i + 1, text ? text : "", -1, SQLITE_TRANSIENT);
        } else {
            ASSERT(types[i] == 'i');
            rc = sqlite3_bind_int64(st, i + 1, va_arg(values, int64_t));
        }
        if (rc == SQLITE_OK) continue;
        status code = failed(s, e);
        db_done(st);
        return code;
    }
    return OK;
}

status db_query(struct store *s, sqlite3_stmt **out, struct error *e, const char *sql, const char *types, ...)
{
    va_list values;
    va_start(values, types);
    status code = query(s, out, e, sql, types, values);
    va_end(values);
    return code;
}

void db_done(sqlite3_stmt *st)
{
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

status db_next(struct store *s, sqlite3_stmt *st, struct error *e)
{
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) return OK;
    status code = rc == SQLITE_DONE ? ERR_NOT_FOUND : failed(s, e);
    db_done(st);
    return code;
}

status db_run(struct store *s, struct error *e, const char *sql, const char *types, ...)
{
    sqlite3_stmt *st;
    va_list values;
    va_start(values, types);
    status code = query(s, &st, e, sql, types, values);
    va_end(values);
    while (code == OK) code = db_next(s, st, e);
    return code == ERR_NOT_FOUND ? OK : code;
}

status db_begin(struct store *s, struct error *e)
{
    return db_run(s, e, "BEGIN IMMEDIATE", "");
}

status db_end(struct store *s, status so_far, struct error *e)
{
    if (so_far == OK) so_far = db_run(s, e, "COMMIT", "");
    if (so_far != OK && !sqlite3_get_autocommit(s->db)) (void)db_run(s, NULL, "ROLLBACK", "");
    return so_far;
}

char *db_text(sqlite3_stmt *st, int column)
{
    const char *text = (const char *)sqlite3_column_text(st, column);
    return mem_strdup(text ? text : "");
}

/* ---- opening ----------------------------------------------------------------------------------------- */

static status exec(struct store *s, const char *sql, struct error *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : failed(s, e);
}

/* The first value of the first row. */
static status first_value(struct store *s, const char *sql, char *out, size_t cap, struct error *e)
{
    sqlite3_stmt *st = NULL;
    status code = OK;
    snprintf(out, cap, "%s", "");
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK) return failed(s, e);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(st, 0);
        snprintf(out, cap, "%s", text ? text : "");
    } else if (rc != SQLITE_DONE) {
        code = failed(s, e);
    }
    sqlite3_finalize(st);
    return code;
}

static status migrate(struct store *s, struct error *e)
{
    char text[32], pragma[64];
    TRY(first_value(s, "PRAGMA user_version", text, sizeof text, e));
    size_t version = (size_t)strtoul(text, NULL, 10);
    if (version > COUNT_OF(migrations))
        return fail(
            e, ERR_UNSUPPORTED,
            "the store was written by a newer Corral (version %zu of its tables, this one knows %zu): "
            "use that one, or another home than %s",
            version, COUNT_OF(migrations), s->home);
    for (; version < COUNT_OF(migrations); version++) {
        TRY(db_begin(s, e));
        status code = exec(s, migrations[version], e);
        snprintf(pragma, sizeof pragma, "PRAGMA user_version = %zu", version + 1);
        if (code == OK) code = exec(s, pragma, e);
        TRY(db_end(s, code, e));
    }
    return OK;
}

/* A damaged file is better found now than in the middle of something. */
static status check(struct store *s, struct error *e)
{
    char text[80];
    TRY(first_value(s, "PRAGMA quick_check(1)", text, sizeof text, e));
    if (strcmp(text, "ok") == 0) return OK;
    return fail(
        e, ERR_FORMAT,
        "the store is damaged (%.60s): rename this file and start again; models' files stay, pull finds "
        "them: %s/corral.db",
        text, s->home);
}

status db_open(struct store *s, struct error *e)
{
    enum { FLAGS = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX };
    char path[STORE_PATH_MAX];
    snprintf(path, sizeof path, "%s/corral.db", s->home);
    if (sqlite3_open_v2(path, &s->db, FLAGS, NULL) != SQLITE_OK) return failed(s, e);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, 1000); /* somebody's sqlite3 shell may be about to close */
    /* Exclusive: no other connection can come between, and the WAL's index stays in memory. A checkpoint
     * waits for the disk, tens of milliseconds: with 16 MiB between them that is one change in a thousand. */
    TRY(exec(s,
             "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
             "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
             "PRAGMA mmap_size = 0; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 33554432;",
             e));
    (void)chmod(path, 0600);
    TRY(check(s, e));
    return migrate(s, e);
}

void db_close(struct store *s)
{
    for (size_t i = 0; i < s->n_statement; i++) sqlite3_finalize(s->statement[i].st);
    s->n_statement = 0;
    sqlite3_close(s->db);
    s->db = NULL;
}
