/* What the families of APIs share. A family is a file (or some) with a table of endpoints, whose rows name
 * the table of fields of their bodies; api.c lists the families, and routes and /openapi.json come from
 * there.
 *
 * What generates text is a struct generator (generator.h): defaults, a table of fields, what the fields
 * say together, and a renderer. Its handler is one line, and WebSocket runs it too. What answers without
 * the engine is a task (task.h), what answers with vectors is in vectors.h. */
#ifndef CORRAL_API_INT_H
#define CORRAL_API_INT_H

#include "api/api.h"
#include "api/constraint.h"
#include "api/facts.h"
#include "api/fields.h"
#include "api/openapi.h"

struct workers;

struct endpoint {
    const char *method, *path;
    void (*handle)(struct http_exchange *x, void *api); /* api: struct api */
    const struct field_table *fields; /* of the JSON body; NULL: none, or one that no table describes */
    const char *summary;              /* for the document */
    enum http_body body;
    enum http_role role;
};
struct family {
    const char *name; /* the tag in the document */
    const struct endpoint *row;
    size_t n;
};
extern const struct family server_family, openai_family, responses_family, embed_family, anthropic_family,
    ollama_family,
    llamacpp_family, native_family;

struct api {
    struct api_options o;
    char **alias;
    int64_t created;
    struct model_facts facts;
    struct workers *workers;
    struct http_fresh *health; /* the report of GET /health */
    struct constraints *constraints;
    struct recall *responses; /* for previous_response_id */
    struct sessions *sessions; /* of POST /chat */
    struct http_route *route;
    size_t n_route;
};

uint32_t api_context(const struct api *a); /* tokens of the longest sequence */
bool api_serves(const struct api *a, const char *model); /* under its name or an alias */
extern const struct family *const api_families[]; /* NULL ends the list */

#endif
