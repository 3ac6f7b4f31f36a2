/* The HTTP APIs over one engine and one tokenizer: routes for src/http.
 *
 * A request of any family becomes a struct request (request.h); what the engine produces is rendered by
 * that family's struct renderer (generation.h). Handlers run on the HTTP loop's thread; long prompts are
 * rendered and tokenized by worker threads; engine callbacks only queue plain structs and wake the loop. */
#ifndef CORRAL_API_H
#define CORRAL_API_H

#include "api/family.h" /* api_render_error, for the http server */
#include "api/keys.h"
#include "chat/chat.h"
#include "engine/engine.h"
#include "http/http.h"
#include "text/tokenizer.h"

struct api;

struct api_options {
    struct engine *engine; /* borrowed, all of it */
    const struct tokenizer *tok;
    const struct chat_format *chat; /* of the model's template */
    const struct gguf *gguf; /* the model's file; NULL: nothing is said about it */
    const int32_t *eog; /* tokens that end a generation */
    uint32_t n_eog;
    const char *model; /* the name it is served under */
    const char *const *alias;
    size_t n_alias;
    bool any_model; /* requests for other names are answered too, under the name asked for */
    uint32_t max_seqs; /* generated at once */
    uint32_t keepalive_ms; /* between comments on a stream that has nothing to say; 0: 15 s */
    bool strict; /* fields that would have no effect are refused, not ignored */
    bool request_templates; /* requests may bring a chat template:
                             * only of clients that are trusted with time */
    bool journal; /* streams tell their journal to those who ask, and are resumed from one (resume.h) */
    bool locked; /* weights are locked in the host's memory */
    const char *remember; /* a folder for responses and sessions,
                           * so that they outlive the process; NULL: in memory */
    uint32_t max_buffered; /* tokens kept for a reader that is too slow; 0: 65536 */
};

status api_new(struct api **out, const struct api_options *o, struct error *e);
/* When the http server has returned: ends the api's own threads. Then the engine may be freed (its last
 * events are delivered), then the http server, then the api. */
void api_stop(struct api *a); /* NULL is fine */
void api_free(struct api *a);
size_t api_routes(struct api *a, const struct http_route **out);

#endif
