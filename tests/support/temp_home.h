/* A home for a store, in a folder that goes with the test. */
#ifndef CORRAL_TESTS_TEMP_HOME_H
#define CORRAL_TESTS_TEMP_HOME_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store.h"

struct temp_home {
    char path[64];
    struct store *store;
};

static inline bool temp_write(const struct temp_home *h, const char *file, const char *text, size_t n)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", h->path, file);
    FILE *f = fopen(path, "wb");
    bool good = f && fwrite(text, 1, n, f) == n;
    if (f && fclose(f) != 0) good = false;
    return good;
}

static inline void temp_close(struct temp_home *h)
{
    store_close(h->store);
    h->store = NULL;
}

/* Open, or open again what another left. e may be NULL. */
static inline bool temp_open(struct temp_home *h, struct error *e)
{
    if (!h->path[0]) {
        snprintf(h->path, sizeof h->path, "/tmp/corral-store-XXXXXX");
        if (!mkdtemp(h->path)) return false;
    }
    temp_close(h);
    return store_open(&h->store, h->path, e) == OK;
}

static inline int temp_remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    return remove(path);
}

static inline void temp_remove(struct temp_home *h)
{
    temp_close(h);
    if (h->path[0]) nftw(h->path, temp_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    *h = (struct temp_home){0};
}

#endif
