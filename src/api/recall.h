/* Answers kept for clients that refer to them later (previous_response_id): in memory, or in files that
 * outlive the process; bounded in number and in bytes, those used least recently go first, and all go some
 * time after their last use.
 *
 * Any thread may call these. What one tenant keeps does not exist for another. */
#ifndef CORRAL_API_RECALL_H
#define CORRAL_API_RECALL_H

#include <jansson.h>

#include "base/base.h"

struct recall;
struct recall_options { /* zeros are fine */
    const char *folder;       /* files, in there (made where it is missing); NULL: in memory */
    size_t max_bytes;         /* 64 MiB */
    uint32_t max_entries;     /* 4096 */
    int64_t ttl_ns;           /* 1 h */
    int64_t (*now_ns)(void);  /* monotonic; for tests */
};
struct recall *recall_new(const struct recall_options *o); /* NULL: all defaults */
void recall_free(struct recall *s);                       /* NULL is fine */
/* v as JSON text, under id. One that is too large for all of it is not kept. */
void recall_put(struct recall *s, uint64_t tenant, const char *id, const json_t *v);
json_t *recall_get(struct recall *s, uint64_t tenant, const char *id); /* a copy, the caller's; NULL: none */
bool recall_drop(struct recall *s, uint64_t tenant, const char *id);   /* false: there was none */

#endif
