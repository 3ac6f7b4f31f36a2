/* An answer made of vectors or scores: every prompt of a request is read by the engine, and not answered.
 *
 * What the families make of it (embeddings, rerank) is a row of fields, a way to prompts, and a
 * vectors_render. */
#ifndef CORRAL_API_VECTORS_H
#define CORRAL_API_VECTORS_H

#include "api/generation.h"

enum { VECTORS_MAX_INPUTS = 2048 };

struct vector { /* of one prompt: n_row vectors of n numbers, one unless POOLING_NONE */
    float *v;
    uint32_t n, n_row;
};
struct vectors {
    const struct api *api;
    struct request req;
    struct vector *of;        /* of each prompt */
    uint64_t n_prompt_tokens; /* of all */
    int64_t began_ns, total_ns;
};
struct vectors_options {
    enum engine_task task; /* ENGINE_EMBED, ENGINE_RANK */
    enum pooling pooling;
    bool normalize;
};
/* Write the body of the answer, JSON. */
typedef void vectors_render(const struct vectors *v, struct buf *out);
/* r (moved in) has been read from x; render writes errors. */
void vectors_run(struct http_exchange *x, const struct api *api, const struct renderer *render,
                 struct request *r, const struct vectors_options *o, vectors_render *fn);

/* A text, ids, or an array of those: up to VECTORS_MAX_INPUTS prompts. Text is plain: control tokens in it
 * are text. */
bool set_inputs(struct parse *p, const char *name, const json_t *v);
/* For request.encode of texts to embed: an end token behind each where the model wants one. */
bool vectors_encode(const struct api *api, struct request *r, struct fault *f);
/* Scale the first n numbers to a vector of length 1. */
void vector_shorten(float *v, uint32_t n);
/* Numbers as JSON, or as base64 of 32-bit floats (little-endian). */
void vector_json(struct buf *out, const float *v, uint32_t n);
void vector_base64(struct buf *out, const float *v, uint32_t n);

#endif
