/* What recall.h keeps, in files instead of memory.
 * Any thread and process may call these for the same folder. */
#ifndef CORRAL_API_RECALL_FILE_H
#define CORRAL_API_RECALL_FILE_H

#include <jansson.h>

#include "base/base.h"

void    recall_file_put(const char *folder, uint64_t tenant, const char *id, const json_t *v);
json_t *recall_file_get(const char *folder, uint64_t tenant, const char *id, int64_t ttl_ns); /* NULL: none */
bool    recall_file_drop(const char *folder, uint64_t tenant, const char *id);
/* What was not used for so long goes, and of the rest
 * what was used least recently, until it is little enough. */
void    recall_file_trim(const char *folder, size_t max_bytes, uint32_t max_entries, int64_t ttl_ns);

#endif
