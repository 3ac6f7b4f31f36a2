/* The models that a command line of `corral serve` names: files, names of the store, aliases, splits,
 * servers elsewhere. */
#ifndef CORRAL_CLI_SERVED_MODELS_H
#define CORRAL_CLI_SERVED_MODELS_H

#include "cli/opt.h"
#include "pool/pool.h"
#include "store/store.h"

enum { SERVED_MAX_WORDS = 64 };

struct served_models {
    const char **word; /* MODEL ...; none: the demo model */
    size_t n_word;
    const char *name;
    struct opt_list alias, preload, upstream, split;
    int64_t replicas;
};

/* Make them known; the first is what requests get that name none. */
status served_models_add(const struct served_models *m, struct pool *pool, struct store *store,
                         struct error *e);
/* Begin to load those that are to be there from the start. */
status served_models_load(const struct served_models *m, struct pool *pool, struct error *e);

#endif
