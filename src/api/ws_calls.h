/* GET /v1/ws: requests and their events as JSON messages over one WebSocket, several at once. Who answers
 * them, a model in this process (ws.c) or a gateway's workers, says how one is begun and how it gets on.
 *
 * From the client:  {"id":"1","path":"/v1/chat/completions","body":{...}}
 *                                                     a request; stream is on unless it says no
 *                   {"id":"1","cancel":true}
 * To the client:    {"id":"1","data":{...}}           an event of the stream, or the whole answer
 *                   {"id":"1","event":"..","data":{}} where events have names (Anthropic)
 *                   {"id":"1","error":{..},"status":400}
 *                                                     instead of an answer, or in its middle: the end
 *                   {"id":"1","done":true}            the end; "cancelled":true when that was asked for,
 *                                                     "ignored":".." names fields that had no effect
 *
 * Belongs to the connection's loop. A connection that does not read stops its calls from being written out.
 * When the server drains, what runs is answered and nothing else begins. */
#ifndef CORRAL_API_WS_CALLS_H
#define CORRAL_API_WS_CALLS_H

#include <jansson.h>

#include "api/family.h"
#include "http/http.h"

struct ws_calls; /* of one connection */
struct ws_call;  /* one of them, while it runs */

struct ws_call_ops {
    /* body is an object, path one that streams. What is returned is the call's `user`; NULL: f says why
     * not. It gets on whenever the connection's exchange is woken. */
    void *(*start)(struct ws_calls *c, void *owner, const char *path, json_t *body, struct fault *f);
    /* Write what there is. True: it has ended, and its end was written. */
    bool (*advance)(struct ws_call *call, void *user);
    void (*drop)(struct ws_call *call, void *user); /* ended, or nobody wants it any more */
};
/* In the handler of a GET route. ops stays valid. */
void ws_calls_accept(struct http_exchange *x, const struct ws_call_ops *ops, void *owner);
struct http_exchange *ws_calls_exchange(const struct ws_calls *c);
struct http_exchange *ws_call_exchange(const struct ws_call *call);

void ws_call_data(struct ws_call *call, const char *json, size_t n); /* one message */
/* The bytes of a stream as they come, frames or lines of JSON: each is a message. */
void ws_call_frames(struct ws_call *call, const char *p, size_t n);
void ws_call_done(struct ws_call *call, const char *ignored); /* ignored: names of fields, or NULL */
void ws_call_fault(struct ws_call *call, const struct fault *f, enum api_family a);
/* Its error in its family's shape, as it was answered. */
void ws_call_error(struct ws_call *call, int code, const char *body, size_t n);

#endif
