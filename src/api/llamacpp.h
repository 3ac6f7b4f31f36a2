/* The native API of llama.cpp's server: /completion, /infill, /tokenize, ... of August 2026.
 * Source: llama.cpp's tools/server/README.md. */
#ifndef CORRAL_API_LLAMACPP_H
#define CORRAL_API_LLAMACPP_H

#include "api/generation.h"

extern const struct renderer llamacpp_renderer;
void llamacpp_defaults(struct request *r); /* request_init, and llama.cpp's own */
/* What a request asks for, under llama.cpp's names:
 * "generation_settings" of an answer, "params" of /props. */
void llamacpp_settings(const struct request *r, struct buf *out);

/* llamacpp_tools.c, llamacpp_embedding.c, llamacpp_server.c */
extern const struct field_table llamacpp_tokenize_fields, llamacpp_detokenize_fields,
    llamacpp_template_fields;
void llamacpp_tokenize(struct http_exchange *x, void *api);
void llamacpp_detokenize(struct http_exchange *x, void *api);
void llamacpp_apply_template(struct http_exchange *x, void *api);
extern const struct field_table llamacpp_embedding_fields;
void llamacpp_embedding(struct http_exchange *x, void *api);
void llamacpp_props(struct http_exchange *x, void *api);
void llamacpp_slots(struct http_exchange *x, void *api);
void llamacpp_adapters(struct http_exchange *x, void *api);
void llamacpp_not_here(struct http_exchange *x, void *api); /* 501 */
void llamacpp_health(struct http_exchange *x, void *api);

#endif
