/* Which family of APIs a path belongs to, and how each family says that something is wrong. Nothing here
 * knows an engine: the gateway answers with it too, and so does src/http for what it refuses itself. */
#ifndef CORRAL_API_FAMILY_H
#define CORRAL_API_FAMILY_H

#include "base/base.h"
#include "base/buf.h"

enum api_family { /* zero: OpenAI's shapes, which paths that nobody knows get too */
    FAMILY_OPENAI,
    FAMILY_RESPONSES, /* OpenAI's, with named and numbered events */
    FAMILY_ANTHROPIC,
    FAMILY_OLLAMA,
    FAMILY_LLAMACPP
};
/* path: of a request's target; a query behind it does not matter. */
enum api_family family_of_path(const char *path);
const char *family_stream_type(enum api_family a); /* of a streamed answer */
/* What a stream with nothing to say writes, so that nobody in between takes it for dead; NULL: nothing
 * may be written. */
const char *family_ping(enum api_family a);

/* What is wrong with a request. */
struct fault {
    int code;                  /* HTTP status */
    const char *type, *reason; /* OpenAI's "type" and "code"; reason may be NULL */
    char param[64];            /* "" when it is about no field */
    char msg[384];
    uint32_t n_prompt, n_ctx;  /* context_length_exceeded: both counts, else 0 */
};
/* Returns false, so that a parser can `return refuse(...)`. reason NULL: none, or what the status says
 * by itself. */
bool refuse(struct fault *f, int code, const char *reason, const char *param, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
/* A body: JSON. */
void fault_write(const struct fault *f, enum api_family a, struct buf *out);
/* The last event of a stream that has begun. sequence: of FAMILY_RESPONSES, the event's number. */
void fault_write_event(const struct fault *f, enum api_family a, uint64_t sequence, struct buf *out);

/* For http_options.render_error. */
const char *api_render_error(const char *path, int code, const char *why, struct buf *out);

#endif
