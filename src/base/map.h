/* A file mapped read-only. */
#ifndef CORRAL_MAP_H
#define CORRAL_MAP_H

#include "base/base.h"

struct map {
    const uint8_t *data; /* NULL when the file is empty */
    size_t         n;
};
status map_open(struct map *m, const char *path, struct error *e);
void   map_close(struct map *m); /* a zeroed map is fine */

#endif
