/* The models that clients can name: those of the store, those of the command line, and what is known of
 * each. */
#ifndef CORRAL_GATEWAY_MODELS_H
#define CORRAL_GATEWAY_MODELS_H

#include "gateway/errand.h"
#include "pool/pool.h"
#include "store/store.h"

struct model_entry {
    char *name;      /* short: without ":latest" */
    char *path, *digest, *source, *options, *alias_of; /* "": none */
    uint64_t bytes;
    uint32_t version;
    int64_t created_ms, used_ms;
    bool in_store;
    bool inside;     /* the model in the program, which can be shown; it is not served here */
    json_t *facts;   /* an object; empty when its file could not be read, or is not here */
    const struct pool_model_view *view; /* NULL: nobody has asked for it */
};
struct model_list {
    struct model_entry *item;
    size_t n;
    struct pool_view *view;
};
/* All of them, by name; those of the command line first. May start processes that look into files. */
status model_list_read(struct gateway *g, struct model_list *out, struct error *e);
void   model_list_deinit(struct model_list *l);
/* What text means, an alias or part of a name too; NULL: nothing. */
const struct model_entry *model_list_find(struct gateway *g, const struct model_list *l, const char *text);

/* ---- for errands; those that say bool are false with the answer made --------------------------------- */

bool errand_store(struct errand *r); /* the gateway has one */
/* The model that the request names: in its path, its body ("model", or "name" as it was called before) or
 * its query. */
bool errand_model(struct errand *r, const char **out);
void errand_unknown(struct errand *r, const char *name); /* 404, in the words of the family */
bool errand_list(struct errand *r, struct model_list *out);
/* The list and name's entry in it, which for "demo" is there even where nobody serves it; file: the entry
 * whose file that is, which is another's for an alias. NULL: any will do, else it must have one. */
bool errand_find(struct errand *r, const char *name, struct model_list *l, const struct model_entry **out,
                 const struct model_entry **file);

/* What is known of files that the store does not have, by path. */
struct facts_cache;
struct facts_cache *facts_cache_new(void);
void facts_cache_free(struct facts_cache *c);

/* ---- as clients see them ----------------------------------------------------------------------------- */

const char *router_state(enum pool_state s); /* in llama.cpp's words: "unloaded", "loading", "loaded" */
json_t *model_json(const struct model_entry *m);        /* Corral's own: all that is known */
json_t *model_openai_json(const struct model_entry *m); /* of /v1/models */
json_t *model_ollama_json(const struct model_entry *m); /* of /api/tags */
/* A time as Ollama writes it (RFC 3339); 0: the year 1. */
json_t *time_json(int64_t ms);
char   *full_name(const char *name); /* with its tag */

#endif
