/* A kind of request that generates text, as a row:
 * what WebSocket can run beside the family's own endpoint. */
#ifndef CORRAL_API_GENERATOR_H
#define CORRAL_API_GENERATOR_H

#include "api/generation.h"

struct generator {
    const char *path; /* of its endpoint */
    void (*init)(struct request *r); /* request_init and the family's defaults */
    const struct field_table *fields;
    /* its own rules, then request_check */
    bool (*check)(struct request *r, const struct api *api, struct fault *f);
    const struct renderer *render;
};
extern const struct generator openai_chat_generator, openai_text_generator, responses_generator,
    anthropic_generator, ollama_chat_generator, ollama_generate_generator, llamacpp_generator,
    native_generator;

/* Read the body of x, check it, and answer. */
void generator_serve(struct http_exchange *x, const struct api *api, const struct generator *g);

#endif
