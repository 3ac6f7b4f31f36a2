/* What the files of src/store share: the connection, statements, transactions, and the mutex around them.
 *
 * Functions whose name begins with store_ take the mutex; those that begin with db_, model_ or alias_ are
 * called with it held. */
#ifndef CORRAL_STORE_INT_H
#define CORRAL_STORE_INT_H

#include <pthread.h>
#include <sqlite3.h>

#include "store/store.h"

enum { STORE_HOME_MAX = 3500, STORE_PATH_MAX = 4096, STORE_STATEMENTS_MAX = 96, STORE_ALIAS_DEPTH = 16 };

struct store {
    pthread_mutex_t lock;
    sqlite3 *db;
    int lock_fd;
    bool lent; /* store_lend */
    char home[STORE_HOME_MAX];
    struct store_statement {
        const char *sql; /* a literal: its address is its name */
        sqlite3_stmt *st;
    } statement[STORE_STATEMENTS_MAX];
    size_t n_statement;
    json_t *file_aliases; /* {"name:tag": "target"} of aliases.json; NULL: there is none */
    struct store_stamp {
        int64_t s, ns;
        uint64_t inode, size;
    } aliases_read; /* when it was like this */
};

/* --- db.c --- */

status db_open(struct store *s, struct error *e); /* and bring the tables to this version's form */
void db_close(struct store *s);
/* A prepared statement with its values bound: types has a letter for each, t text (NULL is ""), i int64_t.
 * It is the caller's until db_next said that there are no more rows, or db_done. */
status db_query(struct store *s, sqlite3_stmt **out, struct error *e, const char *sql, const char *types,
                ...);
/* ERR_NOT_FOUND: no more rows; e untouched */
status db_next(struct store *s, sqlite3_stmt *st, struct error *e);
void db_done(sqlite3_stmt *st);
/* One that has no rows. */
status db_run(struct store *s, struct error *e, const char *sql, const char *types, ...);
status db_begin(struct store *s, struct error *e);
status db_end(struct store *s, status so_far, struct error *e); /* commits OK, takes back anything else */
char *db_text(sqlite3_stmt *st, int column);                    /* never NULL; free() it */

/* --- name.c --- */

struct name_nearest { /* the nearest of the names shown to it */
    const char *to;
    char best[STORE_NAME_MAX];
    size_t distance;
};
void name_nearest_init(struct name_nearest *n, const char *to);
void name_nearest_see(struct name_nearest *n, const char *candidate);
bool name_nearest_is_near(const struct name_nearest *n);

/* --- blob.c --- */

/* "sha256:HEX", whichever way it was written. */
status digest_read(char out[STORE_DIGEST_MAX], const char *text, struct error *e);
void digest_path(const struct store *s, const char *digest, char *path, size_t cap);
/* ERR_FORMAT when a file has not this digest. */
status digest_expect(const char *file, const char *digest, bool (*cancel)(void *user), void *user,
                     struct error *e);
/* Of the files' names and digests: what tells one list of files from another. */
status digest_of_files(const struct store_file *file, size_t n, char out[STORE_DIGEST_MAX], struct error *e);
/* Files that lost their names and still lie open: freeing tens of gigabytes takes its time, which is not
 * to be spent with the mutex held. */
struct dropped {
    int *fd;
    size_t n;
    uint64_t bytes;
};
void dropped_close(struct dropped *d);
/* Remove a blob, or the folder of links of a list of files, when no row refers to it. */
status blob_drop(struct store *s, const char *digest, struct dropped *d, struct error *e);
status set_make(struct store *s, const char *digest, const struct store_file *file, size_t n,
                struct error *e);
/* The file to open in there: the first GGUF, or else the folder itself. Relative to the home. */
void set_main_path(const char *digest, const struct store_file *file, size_t n, char *out, size_t cap);
status set_drop(struct store *s, const char *digest, struct error *e);

/* --- found.c --- */

/* Bring the rows of files in $CORRAL_HOME/models up to date. Quiet about what it cannot read. */
status found_look(struct store *s, struct error *e);

/* --- model.c --- */

struct model_row { /* what a row of the table model says */
    int64_t id, current;
};
/* name in its one spelling. ERR_NOT_FOUND leaves e alone. */
status model_find(struct store *s, const char *name, struct model_row *out, struct error *e);
/* Newly made where it is missing. */
status model_find_or_make(struct store *s, const char *name, struct model_row *out, struct error *e);
struct model_new_version {
    const char *path, *digest, *source, *facts;
    uint64_t bytes;
    int64_t mtime_ns;
    bool owned, found;
    const struct store_file *file;
    size_t n_file;
};
/* The next version of a model, which becomes the current one. */
status model_add_version(struct store *s, const struct model_row *model, const struct model_new_version *v,
                         struct error *e);
status model_read(struct store *s, int64_t id, int64_t version, struct store_model *out, struct error *e);
/* Whatever text means, as store_get. */
status model_means(struct store *s, const char *text, struct model_row *out, struct error *e);

/* --- alias.c --- */

/* Follow aliases from text until a model, or what is none. */
status alias_resolve(struct store *s, const char *text, char *out, size_t cap, struct error *e);
void alias_see_all(struct store *s, struct name_nearest *n);

/* --- store.c --- */

int64_t store_now_ms(void);
status store_check_object(const char *what, const char *json, struct error *e); /* NULL and "" are fine */
/* path below the home, made whole; one that begins with / as it is */
void store_whole_path(const struct store *s, const char *path, char *out, size_t cap);

#endif
