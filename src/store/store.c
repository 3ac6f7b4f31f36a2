/* Opening a home: its folders, its lock, its database. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/store_int.h"

int64_t store_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

status store_check_object(const char *what, const char *json, struct error *e)
{
    json_error_t where;
    if (!json || !*json) return OK;
    if (strlen(json) >= STORE_JSON_MAX)
        return fail(e, ERR_LIMIT, "%s: longer than %d bytes", what, STORE_JSON_MAX);
    json_t *v = json_loads(json, JSON_REJECT_DUPLICATES, &where);
    if (!v) return fail(e, ERR_ARG, "%s: no JSON: line %d: %.100s", what, where.line, where.text);
    bool object = json_is_object(v);
    json_decref(v);
    return object ? OK : fail(e, ERR_ARG, "%s: a JSON object is wanted", what);
}

/* ---- the lock ---------------------------------------------------------------------------------------- */

/* Who holds it has written its pid into it. The kernel lets go when the process ends, however it ends. */
static status lock_home(struct store *s, struct error *e)
{
    char path[STORE_PATH_MAX], text[32] = {0};
    snprintf(path, sizeof path, "%s/corral.lock", s->home);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0) return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
        if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, text, (size_t)n, 0) != n)
            return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
        return OK;
    }
    if (errno != EWOULDBLOCK) return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
    ssize_t n = pread(s->lock_fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return fail(e, ERR_BUSY,
                    "process %ld already serves this home: stop it (kill %ld), or choose another with "
                    "CORRAL_HOME: %s",
                    pid, pid, s->home);
    return fail(e, ERR_BUSY, "another process already serves this home: %s", s->home);
}

/* ---- folders ----------------------------------------------------------------------------------------- */

/* mkdir -p */
static status make_folders(const char *path, struct error *e)
{
    char part[STORE_PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part) return fail(e, ERR_LIMIT, "the path of the home is too long");
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0) continue;
        snprintf(part, sizeof part, "%.*s", (int)i, path);
        if (mkdir(part, 0755) != 0 && errno != EEXIST && errno != EISDIR && errno != EROFS)
            return fail(e, ERR_IO, "cannot make the folder %s: %s", part, strerror(errno));
    }
    struct stat st;
    if (stat(path, &st) != 0) return fail(e, ERR_IO, "cannot make the folder %s: %s", path, strerror(errno));
    return S_ISDIR(st.st_mode) ? OK : fail(e, ERR_IO, "%s is no folder", path);
}

static status set_home(struct store *s, const char *home, struct error *e)
{
    static const char *const folders[] = {"models/blobs", "models/sets"};
    char path[STORE_PATH_MAX];
    if (!home || !*home) return fail(e, ERR_ARG, "no home for the store: set CORRAL_HOME");
    if (strlen(home) >= STORE_HOME_MAX - 1) return fail(e, ERR_LIMIT, "the path of the home is too long");
    TRY(make_folders(home, e));
    char *full = realpath(home, NULL); /* paths that we give out must hold in any working directory */
    if (!full) return fail(e, ERR_IO, "%s: %s", home, strerror(errno));
    int n = snprintf(s->home, sizeof s->home, "%s", full);
    free(full);
    if (n < 0 || (size_t)n >= sizeof s->home)
        return fail(e, ERR_LIMIT, "the path of the home is too long: %s", home);
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        snprintf(path, sizeof path, "%s/%s", s->home, folders[i]);
        TRY(make_folders(path, e));
    }
    return OK;
}

/* ---- open and close ---------------------------------------------------------------------------------- */

/* What was under way when the last owner ended begins again, and of the history the newest stay. */
static status begin_again(struct store *s, struct error *e)
{
    enum { HISTORY = 50000 };
    TRY(db_run(s, e, "UPDATE job SET status = ?, owner = '' WHERE status = ?", "ii",
               (int64_t)STORE_JOB_QUEUED, (int64_t)STORE_JOB_RUNNING));
    return db_run(s, e,
                  "DELETE FROM job WHERE status >= ? AND id <= (SELECT coalesce(max(id), 0) FROM job) - ?",
                  "ii", (int64_t)STORE_JOB_COMPLETED, (int64_t)HISTORY);
}

status store_open(struct store **out, const char *home, struct error *e)
{
    struct store *s = mem_zalloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->lock_fd = -1;
    *out = NULL;
    status code = set_home(s, home, e);
    if (code == OK) code = lock_home(s, e);
    if (code == OK) code = db_open(s, e);
    if (code == OK) code = begin_again(s, e);
    if (code == OK)
        *out = s;
    else
        store_close(s);
    return code;
}

/* An empty database stands in: whoever asks it finds no table, and is told why. */
void store_lend(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    if (!s->lent) {
        db_close(s);
        s->lent = true;
        (void)sqlite3_open(":memory:", &s->db);
        close(s->lock_fd);
        s->lock_fd = -1;
    }
    pthread_mutex_unlock(&s->lock);
}

status store_take_back(struct store *s, struct error *e)
{
    pthread_mutex_lock(&s->lock);
    status code = s->lent ? lock_home(s, e) : OK;
    if (code == OK && s->lent) {
        db_close(s);
        code = db_open(s, e);
        s->lent = code != OK;
    }
    if (s->lent && s->lock_fd >= 0) {
        close(s->lock_fd);
        s->lock_fd = -1;
    }
    pthread_mutex_unlock(&s->lock);
    return code;
}

void store_close(struct store *s)
{
    if (!s) return;
    db_close(s);
    if (s->lock_fd >= 0) close(s->lock_fd);
    json_decref(s->file_aliases);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const char *store_home(const struct store *s)
{
    return s->home;
}

void store_whole_path(const struct store *s, const char *path, char *out, size_t cap)
{
    if (*path && *path != '/')
        snprintf(out, cap, "%s/%s", s->home, path);
    else
        snprintf(out, cap, "%s", path);
}
