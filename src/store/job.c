/* Jobs: what was asked for, how far it is, how it ended. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_int.h"

static const char *const names[STORE_JOB_STATES] = {
    [STORE_JOB_QUEUED] = "queued", [STORE_JOB_RUNNING] = "running",     [STORE_JOB_COMPLETED] = "completed",
    [STORE_JOB_FAILED] = "failed", [STORE_JOB_CANCELLED] = "cancelled",
};

const char *store_job_status_name(enum store_job_status st)
{
    return (unsigned)st < STORE_JOB_STATES ? names[st] : "unknown";
}

void store_job_deinit(struct store_job *j)
{
    free(j->kind);
    free(j->model);
    free(j->request);
    free(j->error);
    free(j->detail);
    free(j->owner);
    *j = (struct store_job){0};
}

void store_jobs_deinit(struct store_jobs *list)
{
    for (size_t i = 0; i < list->n; i++) store_job_deinit(&list->item[i]);
    free(list->item);
    *list = (struct store_jobs){0};
}

/* ---- rows -------------------------------------------------------------------------------------------- */

#define JOB_COLUMNS                                                                                          \
    "id, kind, model, request, status, created_ms, started_ms, updated_ms, finished_ms, bytes, total, "      \
    "attempts, error, detail, owner"

static void read_row(sqlite3_stmt *st, struct store_job *out)
{
    *out = (struct store_job){
        .id = sqlite3_column_int64(st, 0),
        .kind = db_text(st, 1),
        .model = db_text(st, 2),
        .request = db_text(st, 3),
        .status = (enum store_job_status)sqlite3_column_int(st, 4),
        .created_ms = sqlite3_column_int64(st, 5),
        .started_ms = sqlite3_column_int64(st, 6),
        .updated_ms = sqlite3_column_int64(st, 7),
        .finished_ms = sqlite3_column_int64(st, 8),
        .bytes = (uint64_t)sqlite3_column_int64(st, 9),
        .total = (uint64_t)sqlite3_column_int64(st, 10),
        .attempts = (uint32_t)sqlite3_column_int64(st, 11),
        .error = db_text(st, 12),
        .detail = db_text(st, 13),
        .owner = db_text(st, 14),
    };
}

static status get(struct store *s, int64_t id, struct store_job *out, struct error *e)
{
    sqlite3_stmt *st;
    TRY(db_query(s, &st, e, "SELECT " JOB_COLUMNS " FROM job WHERE id = ?", "i", id));
    status code = db_next(s, st, e);
    if (code == ERR_NOT_FOUND)
        return fail(e, ERR_NOT_FOUND, "there is no job %lld: corral jobs lists them", (long long)id);
    if (code != OK) return code;
    read_row(st, out);
    db_done(st);
    return OK;
}

status store_job_get(struct store *s, int64_t id, struct store_job *out, struct error *e)
{
    *out = (struct store_job){0};
    pthread_mutex_lock(&s->lock);
    status code = get(s, id, out, e);
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* ---- changes ----------------------------------------------------------------------------------------- */

status store_job_add(struct store *s, const char *kind, const char *model, const char *request, int64_t *id,
                     struct error *e)
{
    if (!kind || !*kind) return fail(e, ERR_ARG, "a job without a kind");
    TRY(store_check_object("the request of a job", request, e));
    pthread_mutex_lock(&s->lock);
    status code = db_run(
        s, e, "INSERT INTO job (kind, model, request, status, created_ms) VALUES (?, ?, ?, ?, ?)", "tttii",
        kind, model, request && *request ? request : "{}", (int64_t)STORE_JOB_QUEUED, store_now_ms());
    *id = code == OK ? sqlite3_last_insert_rowid(s->db) : 0;
    pthread_mutex_unlock(&s->lock);
    return code;
}

static bool is_final(enum store_job_status st)
{
    return st >= STORE_JOB_COMPLETED;
}

static status update(struct store *s, int64_t id, const struct store_job_change *c, struct error *e)
{
    int64_t now = store_now_ms();
    bool begins = c->status == STORE_JOB_RUNNING, ends = is_final(c->status);
    TRY(db_run(s, e,
               "UPDATE job SET status = ?1, bytes = ?2, total = ?3, updated_ms = ?4,"
               " started_ms = CASE WHEN ?5 AND started_ms = 0 THEN ?4 ELSE started_ms END,"
               " finished_ms = CASE WHEN ?6 THEN ?4 ELSE 0 END,"
               " error = CASE WHEN ?7 THEN ?8 ELSE error END, detail = CASE WHEN ?9 THEN ?10 ELSE detail END"
               " WHERE id = ?11 AND status < ?12",
               "iiiiiiititii", (int64_t)c->status, (int64_t)MIN(c->bytes, (uint64_t)INT64_MAX),
               (int64_t)MIN(c->total, (uint64_t)INT64_MAX), now, (int64_t)begins, (int64_t)ends,
               (int64_t)(c->error != NULL), c->error, (int64_t)(c->detail != NULL),
               c->detail && *c->detail ? c->detail : "{}", id, (int64_t)STORE_JOB_COMPLETED));
    if (sqlite3_changes(s->db) == 1) return OK;
    struct store_job job;
    TRY(get(s, id, &job, e));
    enum store_job_status was = job.status;
    store_job_deinit(&job);
    return fail(e, ERR_ARG, "job %lld is %s already", (long long)id, store_job_status_name(was));
}

status store_job_update(struct store *s, int64_t id, const struct store_job_change *change, struct error *e)
{
    ASSERT((unsigned)change->status < STORE_JOB_STATES);
    TRY(store_check_object("the detail of a job", change->detail, e));
    pthread_mutex_lock(&s->lock);
    status code = update(s, id, change, e);
    pthread_mutex_unlock(&s->lock);
    return code;
}

status store_job_claim(struct store *s, const char *kind, const char *owner, struct store_job *out,
                       struct error *e)
{
    sqlite3_stmt *st;
    int64_t now = store_now_ms();
    *out = (struct store_job){0};
    pthread_mutex_lock(&s->lock);
    status code = db_query(s, &st, e,
                           "UPDATE job SET status = ?1, owner = ?2, attempts = attempts + 1, updated_ms = ?3,"
                           " started_ms = CASE WHEN started_ms = 0 THEN ?3 ELSE started_ms END WHERE id ="
                           " (SELECT id FROM job WHERE status = ?4 AND kind = ?5 ORDER BY id LIMIT 1)"
                           " RETURNING " JOB_COLUMNS,
                           "itiit", (int64_t)STORE_JOB_RUNNING, owner, now, (int64_t)STORE_JOB_QUEUED, kind);
    if (code == OK) code = db_next(s, st, e);
    if (code == OK) {
        read_row(st, out);
        code = db_next(s, st, e); /* the change holds when the statement has come to its end */
        if (code == ERR_NOT_FOUND)
            code = OK;
        else
            store_job_deinit(out);
    } else if (code == ERR_NOT_FOUND) {
        code = fail(e, ERR_NOT_FOUND, "no job of kind '%.40s' is queued", kind);
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

/* ---- history ----------------------------------------------------------------------------------------- */

/* "queued,running" as a set of bits; none named: all. */
static status read_states(const char *text, unsigned *bits, struct error *e)
{
    *bits = 0;
    for (const char *p = text ? text : ""; *p;) {
        size_t n = strcspn(p, ",");
        unsigned i = 0;
        while (i < STORE_JOB_STATES && (strlen(names[i]) != n || memcmp(names[i], p, n) != 0)) i++;
        if (i == STORE_JOB_STATES)
            return fail(e, ERR_ARG,
                        "no status '%.*s': there are queued, running, completed, failed and cancelled",
                        (int)MIN(n, (size_t)40), p);
        *bits |= 1u << i;
        p += n + (p[n] == ',');
    }
    if (!*bits) *bits = (1u << STORE_JOB_STATES) - 1;
    return OK;
}

status store_job_list(struct store *s, const struct store_job_filter *filter, struct store_jobs *out,
                      struct error *e)
{
    static const struct store_job_filter all;
    const struct store_job_filter *f = filter ? filter : &all;
    unsigned bits;
    size_t cap = 0;
    sqlite3_stmt *st;
    *out = (struct store_jobs){0};
    TRY(read_states(f->status, &bits, e));
    const char *kind = f->kind ? f->kind : "", *model = f->model ? f->model : "";
    pthread_mutex_lock(&s->lock);
    status code = db_query(
        s, &st, e,
        "SELECT " JOB_COLUMNS " FROM job WHERE (1 << status) & ?1 AND (?2 = '' OR kind = ?2)"
        " AND (?3 = '' OR model = ?3) AND created_ms >= ?4 AND id < ?5 ORDER BY id DESC LIMIT ?6",
        "ittiii", (int64_t)bits, kind, model, f->since_ms, f->before_id > 0 ? f->before_id : INT64_MAX,
        (int64_t)(f->limit ? MIN(f->limit, 10000u) : 100));
    while (code == OK && (code = db_next(s, st, e)) == OK) {
        if (out->n == cap) {
            cap = cap ? 2 * cap : 16;
            out->item = mem_realloc(out->item, cap, sizeof *out->item);
        }
        read_row(st, &out->item[out->n++]);
    }
    pthread_mutex_unlock(&s->lock);
    if (code == ERR_NOT_FOUND) return OK;
    store_jobs_deinit(out);
    return code;
}
