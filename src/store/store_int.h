/* What the files of src/store share: the connection, statements, transactions, and the mutex around them.
 *
 * Functions whose name begins with store_ take the mutex; those that begin with db_, model_ or alias_ are called
 * with it held. */
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
    char home[STORE_HOME_MAX];
    struct store_statement {
        const char *sql; /* a literal: its address is its name */
        sqlite3_stmt *st;
    } statement[STORE_STATEMENTS_MAX];
    size_t n_statement;
    json_t *file_aliases; /* {"name:tag": "target"} of aliases.json */
};

/* --- db.c --- */

status db_open(struct store *s, struct error *e); /* and bring the tables to this version's form */
void db_close(struct store *s);
/* A prepared statement with its values bound: types has a letter for each, t text (NULL is ""), i int64_t. It is
 * the caller's until db_next said that there are no more rows, or db_done. */
status db_query(struct store *s, sqlite3_stmt **out, struct error *e, const char *sql, const char *types, ...);
status db_next(struct store *s, sqlite3_stmt *st, struct error *e); /* ERR_NOT_FOUND: no more rows; e untouched */
void db_done(sqlite3_stmt *st);
/* One that has no rows. */
status db_run(struct store *s, struct error *e, const char *sql, const char *types, ...);
status db_begin(struct store *s, struct error *e);
status db_end(struct store *s, status so_far, struct error *e); /* commits OK, takes back anything else */
char *db_text(sqlite3_stmt *st, int column);                    /* never NULL; free() it */

/* --- name.c --- */

/* How many letters must change, at most `over`. */
size_t name_distance(const char *a, const char *b, size_t over);
struct name_nearest { /* the nearest of the names shown to it */
    const char *to;
    char best[STORE_NAME_MAX];
    size_t distance;
};
void name_nearest_init(struct name_nearest *n, const char *to);
void name_nearest_see(struct name_nearest *n, const char *candidate);
bool name_nearest_is_near(const struct name_nearest *n);

/* --- others --- */

int64_t store_now_ms(void);
status store_check_object(const char *what, const char *json, struct error *e); /* NULL and "" are fine */

#endif
