/* GET /v1/ws at the gateway: each request is forwarded as a call of its own, so that those on one connection
 * may be for several models. What a worker answers as events or lines goes out as messages (api/ws_calls.h).
 */
#include <stdlib.h>
#include <string.h>

#include "api/keys.h"
#include "api/ws_calls.h"
#include "gateway/body.h"
#include "gateway/relay.h"

struct forwarded {
    struct relay *relay;
    char *body, *model, *path;
};

static void *start(struct ws_calls *c, void *gateway, const char *path, json_t *body, struct fault *f)
{
    struct http_exchange *x = ws_calls_exchange(c);
    const char *model = json_string_value(json_object_get(body, "model"));
    struct body_member m = {"model", {0}};
    bool ollama = family_of_path(path) == FAMILY_OLLAMA;
    if (ollama && !json_object_get(body, "messages") && !json_object_get(body, "prompt")) {
        refuse(f, 400, "invalid_value", "body",
               "there is nothing to answer: 'messages' or 'prompt' is wanted");
        return NULL;
    }
    if (!json_object_get(body, "stream")) json_object_set_new(body, "stream", json_true());
    struct forwarded *w = mem_zalloc(1, sizeof *w);
    *w = (struct forwarded){.body = json_dumps(body, JSON_COMPACT),
                            .model = model ? mem_strdup(model) : NULL,
                            .path = mem_strdup(path)};
    struct http_str text = {w->body, strlen(w->body)};
    (void)body_scan(text, &m, 1);
    const struct relay_ask ask = {.x = x,
                                  .method = "POST",
                                  .target = w->path,
                                  .body = text,
                                  .model = m.raw,
                                  .want = {.model = w->model,
                                           .key = api_key_of(x),
                                           .client = http_client(x),
                                           .keep_alive_s = POOL_KEEP_UNSET},
                                  .family = family_of_path(path),
                                  .stream = json_is_true(json_object_get(body, "stream")),
                                  .memory = json_is_string(json_object_get(body, "previous_response_id"))};
    w->relay = relay_new(gateway, &ask, http_waker_new(x));
    return w;
}

static bool advance(struct ws_call *call, void *user)
{
    struct relay *a = ((struct forwarded *)user)->relay;
    relay_advance(a);
    if (a->begun) {
        ws_call_frames(call, a->out.data, a->out.n);
        relay_took(a, a->out.n);
    }
    if (a->state < RELAY_WHOLE) return false;
    const char *out = a->out.data ? a->out.data : "";
    if (a->state == RELAY_FAILED) {
        ws_call_fault(call, &a->fault, a->ask.family);
    } else if (!a->begun && a->code >= 400) {
        ws_call_error(call, a->code, out, a->out.n);
    } else {
        if (!a->begun && a->out.n) ws_call_data(call, out, a->out.n);
        ws_call_done(call, relay_header(a, "X-Corral-Ignored"));
    }
    return true;
}

static void drop(struct ws_call *call, void *user)
{
    struct forwarded *w = user;
    relay_free(w->relay);
    free(w->body);
    free(w->model);
    free(w->path);
    free(w);
}

static void ws_connect(struct http_exchange *x, void *gateway)
{
    static const struct ws_call_ops ops = {start, advance, drop};
    ws_calls_accept(x, &ops, gateway);
}

static const struct http_route rows[] = {{"GET", "/v1/ws", ws_connect, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER}};
const struct gateway_routes ws_routes = {rows, COUNT_OF(rows)};
