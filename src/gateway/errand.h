/* Requests whose answer takes a while and no worker of a model: a thread runs a function and its answer is
 * sent.
 *
 * The function sees copies of what it may need of the request, so it does not matter whether the client is
 * still there. */
#ifndef CORRAL_GATEWAY_ERRAND_H
#define CORRAL_GATEWAY_ERRAND_H

#include <jansson.h>

#include "api/family.h"
#include "gateway/gateway_int.h"

struct errand {
    struct gateway *g;
    enum api_family family;
    char   *param;  /* of the route, whatever its name; "": none */
    char   *query;
    json_t *body;   /* an object; of a request without a body an empty one */
    bool    trusted; /* gateway_trusts */
    /* The answer; zeros: 200 and JSON */
    int         code;
    const char *type;
    struct buf  out;
    void       *user; /* of errand_start */
    struct errand_state *state; /* inside */
};
typedef void (*errand_fn)(struct errand *r);

/* A body that is no JSON object, or a path or query that is no UTF-8, is answered 400. */
void errand_run(struct http_exchange *x, struct gateway *g, errand_fn fn);
/* The same for an exchange that has a responder already: when that is woken it asks errand_answer, which
 * answers once the function is done; in its end it leaves. What user points to is fn's to free; fn is
 * called even if the client has gone meanwhile. */
struct errand *errand_start(struct http_exchange *x, struct gateway *g, errand_fn fn, void *user);
void errand_answer(struct errand *r, struct http_exchange *x);
bool errand_done(const struct errand *r);
void errand_leave(struct errand *r);
bool errand_cancelled(const struct errand *r); /* nobody waits for it any more; any thread */

void errand_json(struct errand *r, int code, json_t *v); /* takes v; NULL: it holds what is no UTF-8 */
json_t *text_json(const char *s); /* a string; what is no UTF-8 in it (others' words, cut) becomes U+FFFD */
void errand_fail(struct errand *r, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void errand_error(struct errand *r, const struct error *e); /* with the code that its status means */
/* A string member of the body, or of the query; NULL: it is missing or no string. Valid as long as the
 * errand. */
const char *errand_text(struct errand *r, const char *name);
/* The same, and false with the answer made when it is missing. */
bool errand_need(struct errand *r, const char *name, const char **out);
/* What stands at p, percent-decoded, up to a character of stop; its length. Longer ones are cut. */
size_t query_decode(const char *p, const char *stop, char *out, size_t cap);
/* name=value of a query, percent-decoded; false: it is not there. */
bool query_value(const char *query, const char *name, char *out, size_t cap);
/* A number, 1 to most. */
uint32_t query_number(const char *query, const char *name, uint32_t def, uint32_t most);

int errand_code(status s); /* the HTTP status of an error */

/* ---- for handlers that answer at once ---------------------------------------------------------------- */

/* The body as an object, an empty one where there is none; NULL: it is none, and why says so. */
json_t *gateway_body(const struct http_exchange *x, char *why, size_t cap);
/* In the shape of the path's family. param: the field that it is about, or NULL. */
void    gateway_refuse(struct http_exchange *x, int code, const char *param, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* What a thread of errands owns; see gateway_int.h. */
struct errands *errands_new(void);
void errands_stop(struct errands *all); /* what waits is dropped, what runs is waited for */
void errands_free(struct errands *all);

#endif
