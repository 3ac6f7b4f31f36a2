/* The backend over several devices among itself: who they are, and which layers are whose. */
#ifndef CORRAL_SPLIT_INT_H
#define CORRAL_SPLIT_INT_H

#include "backend/backend.h"

struct part { /* an entry of the list of devices */
    const struct backend_api *api;
    struct backend *b; /* the first part's of the same device */
    int32_t  device;
    uint32_t n_layer; /* as the list says; 0: it leaves it open */
    bool     owner;   /* of b */
    char     name[24]; /* "cuda:1", "cpu" */
};

struct backend {
    struct part part[BACKEND_MAX_SHARES];
    uint32_t    n;
    uint64_t    kv_bytes; /* that the KV cache is to have; 0: not said */
    /* What was decided for a model stays: it is planned more than once, and loaded again after a sleep. */
    const struct model_desc *divided;
    uint32_t    n_layer[BACKEND_MAX_SHARES]; /* of each part; 0: it is not needed */
};

/* divide.c: b->n_layer for this model. ERR_ARG: the numbers given do not add up to its layers; ERR_MEMORY: a
 * device has no room for a single one. */
status split_divide(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                    struct error *e);

#endif
