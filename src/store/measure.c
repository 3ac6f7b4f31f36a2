/* How many bytes a load was predicted to take, and took. */
#include <stdlib.h>

#include "store/store_int.h"

void store_measures_deinit(struct store_measures *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free((char *)list->item[i].digest);
        free((char *)list->item[i].options);
        free((char *)list->item[i].device);
        free((char *)list->item[i].driver);
    }
    free(list->item);
    *list = (struct store_measures){0};
}

status store_measure_add(struct store *s, const struct store_measure *m, struct error *e)
{
    pthread_mutex_lock(&s->lock);
    status code =
        db_run(s, e, "INSERT OR REPLACE INTO measure VALUES (?, ?, ?, ?, ?, ?, ?)", "ttttiii", m->digest,
               m->options, m->device, m->driver, (int64_t)MIN(m->predicted_bytes, (uint64_t)INT64_MAX),
               (int64_t)MIN(m->actual_bytes, (uint64_t)INT64_MAX), m->at_ms ? m->at_ms : store_now_ms());
    pthread_mutex_unlock(&s->lock);
    return code;
}

status store_measure_list(struct store *s, const char *digest, const char *device, struct store_measures *out,
                          struct error *e)
{
    sqlite3_stmt *st;
    size_t cap = 0;
    const char *d = digest ? digest : "", *v = device ? device : "";
    *out = (struct store_measures){0};
    pthread_mutex_lock(&s->lock);
    status code = db_query(s, &st, e,
                           "SELECT digest, options, device, driver, predicted, actual, at_ms FROM measure"
                           " WHERE (?1 = '' OR digest = ?1) AND (?2 = '' OR device = ?2)"
                           " ORDER BY at_ms DESC LIMIT 1000",
                           "tt", d, v);
    while (code == OK && (code = db_next(s, st, e)) == OK) {
        if (out->n == cap) {
            cap = cap ? 2 * cap : 16;
            out->item = mem_realloc(out->item, cap, sizeof *out->item);
        }
        out->item[out->n++] = (struct store_measure){
            .digest = db_text(st, 0),
            .options = db_text(st, 1),
            .device = db_text(st, 2),
            .driver = db_text(st, 3),
            .predicted_bytes = (uint64_t)sqlite3_column_int64(st, 4),
            .actual_bytes = (uint64_t)sqlite3_column_int64(st, 5),
            .at_ms = sqlite3_column_int64(st, 6),
        };
    }
    pthread_mutex_unlock(&s->lock);
    if (code == ERR_NOT_FOUND) return OK;
    store_measures_deinit(out);
    return code;
}
