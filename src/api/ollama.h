/* Ollama's API under /api, of Ollama 0.33. Conversations become OpenAI's, which the rest of src/api
 * understands; of the management calls those that need no store of models.
 * Source: Ollama's docs/api.md and api/types.go (field names). */
#ifndef CORRAL_API_OLLAMA_H
#define CORRAL_API_OLLAMA_H

#include "api/generation.h"

/* Messages of /api/chat as OpenAI's. Calls without an id get one; results find theirs by id, by name, or in
 * order. NULL: f says what is wrong. */
json_t *ollama_messages(const json_t *messages, struct fault *f);
/* Nanoseconds of keep_alive: a number of seconds or a duration as Go writes it ("5m", "1h30m", "-1s").
 * Negative: for ever. False: it is neither. */
bool ollama_duration(const json_t *v, int64_t *ns);
/* Is this a name of what is served? Whatever the case, with ":latest" or without. */
bool ollama_serves(const struct api *api, const char *model);
/* "2026-11-21T14:02:58.123456789Z" with the quotes. */
void ollama_add_time(struct buf *out, int64_t s, long ns);

/* Setters of fields that all calls have. */
bool ollama_set_model(struct parse *p, const char *name, const json_t *v);
bool ollama_set_keep_alive(struct parse *p, const char *name, const json_t *v); /* checked only */
/* The model sleeps after so much time without work, if r says so: its memory is free then, and the next
 * request loads it again. */
void ollama_keep_alive(const struct api *api, const struct request *r);

extern const struct renderer ollama_chat, ollama_generate;

/* ollama_models.c */
void ollama_tags(struct http_exchange *x, void *api);
void ollama_ps(struct http_exchange *x, void *api);
void ollama_show(struct http_exchange *x, void *api);
void ollama_version(struct http_exchange *x, void *api);
void ollama_root(struct http_exchange *x, void *api);
void ollama_no_store(struct http_exchange *x, void *api); /* create, copy, delete, pull, push, blobs */
extern const struct field_table ollama_show_fields;

/* ollama_embed.c */
void ollama_embed(struct http_exchange *x, void *api);
void ollama_embeddings(struct http_exchange *x, void *api);
extern const struct field_table ollama_embed_fields, ollama_embeddings_fields;

#endif
