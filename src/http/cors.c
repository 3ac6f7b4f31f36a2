/* What a page of another origin may do (WHATWG Fetch, "CORS protocol"): nothing, unless its origin is
 * allowed. */
#include <string.h>

#include "http/http_int.h"

static bool allowed(const struct http_options *o, const char *origin, bool *any)
{
    *any = false;
    for (size_t i = 0; i < o->n_cors_origin; i++) {
        *any = !strcmp(o->cors_origin[i], "*");
        if (*any || !strcmp(o->cors_origin[i], origin)) return true;
    }
    return false;
}

bool cors_allows(const struct http_exchange *x, const char *origin)
{
    bool any;
    return allowed(&x->conn->loop->server->o, origin, &any);
}

void cors_headers(struct http_exchange *x, const char *methods)
{
    const struct http_options *o = &x->conn->loop->server->o;
    const char *origin = http_header(x, "origin"), *asked;
    bool any;
    if (o->n_cors_origin == 0) return;
    http_set_header(x, "Vary", "Origin");
    if (!origin || !allowed(o, origin, &any)) return;
    /* Keys come in a header of the request and never as cookies, so credentials need no mention. */
    http_set_header(x, "Access-Control-Allow-Origin", any ? "*" : origin);
    http_set_header(x, "Access-Control-Expose-Headers",
                    "X-Request-Id, X-Corral-Ignored, X-Corral-Left-Out, Retry-After");
    if (x->refusal != 204 || !http_header(x, "access-control-request-method")) return;
    http_set_header(x, "Access-Control-Allow-Methods", methods);
    asked = http_header(x, "access-control-request-headers");
    if (asked) http_set_header(x, "Access-Control-Allow-Headers", asked);
    http_set_header(x, "Access-Control-Max-Age", "600");
}
