/* GET /v1/ws at the gateway: the messages of api/ws.c, each request forwarded as a call of its own, so that
 * those on one connection may be for several models. What a worker answers as events or lines goes out as
 * messages. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "gateway/body.h"
#include "gateway/relay.h"

enum { MAX_RUNNING = 32, MAX_ID = 128, PENDING_BYTES = 256 << 10 };

static const char *const paths[] = {
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat",
    "/api/generate",        "/completion",     "/chat"};

struct running {
    char id[MAX_ID + 1];
    struct relay *relay;
    char *body, *model;
    struct buf part; /* of a line that is not whole yet */
    char event[64];  /* of the frame that is being read */
};
struct connection {
    struct gateway *g;
    struct http_ws *ws;
    char *key;
    struct running item[MAX_RUNNING];
    uint32_t n;
};

/* ---- to the client ----------------------------------------------------------------------------------- */

static void send_message(struct connection *c, const char *id, const char *event, const char *name,
                         const char *json, size_t n, int code)
{
    struct buf b = {0};
    buf_adds(&b, "{\"id\":");
    buf_json_str(&b, id, strlen(id));
    if (event && *event) {
        buf_adds(&b, ",\"event\":");
        buf_json_str(&b, event, strlen(event));
    }
    if (code) buf_addf(&b, ",\"status\":%d", code);
    buf_addf(&b, ",\"%s\":", name);
    buf_add(&b, json, n);
    buf_addc(&b, '}');
    (void)http_ws_send(c->ws, true, b.data, b.n);
    buf_deinit(&b);
}

static void send_done(struct connection *c, const char *id, bool cancelled, const char *ignored)
{
    struct buf b = {0};
    buf_adds(&b, cancelled ? "true,\"cancelled\":true" : "true");
    if (ignored) {
        buf_adds(&b, ",\"ignored\":");
        buf_json_str(&b, ignored, strlen(ignored));
    }
    send_message(c, id, NULL, "done", b.data, b.n, 0);
    buf_deinit(&b);
}

/* A body that says what is wrong, in its family's shape: the error in it. */
static void send_error_body(struct connection *c, const char *id, int code, const char *body, size_t n)
{
    json_t *v = json_loadb(body, n, 0, NULL), *inner = json_object_get(v, "error");
    char *text = json_dumps(inner ? inner : v, JSON_COMPACT | JSON_ENCODE_ANY);
    send_message(c, id, NULL, "error", text ? text : "null", text ? strlen(text) : 4, code);
    free(text);
    json_decref(v);
}

static void send_fault(struct connection *c, const char *id, const struct fault *f, enum api_family family)
{
    struct buf body = {0};
    fault_write(f, family, &body);
    send_error_body(c, id, f->code, body.data, body.n);
    buf_deinit(&body);
}

/* A line of an answer: of an event, or a JSON value. */
static void take_line(struct connection *c, struct running *r, const char *p, size_t n)
{
    if (n == 0)
        r->event[0] = 0;
    else if (n > 7 && !memcmp(p, "event: ", 7))
        snprintf(r->event, sizeof r->event, "%.*s", (int)MIN(n - 7, sizeof r->event - 1), p + 7);
    else if (n > 6 && !memcmp(p, "data: {", 7))
        send_message(c, r->id, r->event, "data", p + 6, n - 6, 0);
    else if (*p == '{')
        send_message(c, r->id, NULL, "data", p, n, 0);
}

static void take_lines(struct connection *c, struct running *r)
{
    struct relay *a = r->relay;
    buf_add(&r->part, a->out.data, a->out.n);
    relay_took(a, a->out.n);
    size_t at = 0;
    for (const char *end; at < r->part.n && (end = memchr(r->part.data + at, '\n', r->part.n - at));) {
        take_line(c, r, r->part.data + at, (size_t)(end - r->part.data) - at);
        at = (size_t)(end - r->part.data) + 1;
    }
    buf_drop(&r->part, at);
}

/* ---- requests ---------------------------------------------------------------------------------------- */

static void drop(struct connection *c, struct running *r)
{
    relay_free(r->relay);
    free(r->body);
    free(r->model);
    buf_deinit(&r->part);
    *r = c->item[--c->n];
}

/* True: it has ended. */
static bool advance(struct connection *c, struct running *r)
{
    struct relay *a = r->relay;
    relay_advance(a);
    if (a->begun) take_lines(c, r);
    if (a->state < RELAY_WHOLE) return false;
    if (a->state == RELAY_FAILED) {
        send_fault(c, r->id, &a->fault, a->ask.family);
        return true;
    }
    if (!a->begun && a->code >= 400) {
        send_error_body(c, r->id, a->code, a->out.data ? a->out.data : "", a->out.n);
        return true;
    }
    if (!a->begun && a->out.n) send_message(c, r->id, NULL, "data", a->out.data, a->out.n, 0);
    send_done(c, r->id, false, relay_header(a, "X-Corral-Ignored"));
    return true;
}

static void advance_all(struct connection *c)
{
    for (uint32_t i = 0; i < c->n && http_ws_pending(c->ws) < PENDING_BYTES;)
        if (advance(c, &c->item[i]))
            drop(c, &c->item[i]);
        else
            i++;
}

static struct running *find(struct connection *c, const char *id)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (!strcmp(c->item[i].id, id)) return &c->item[i];
    return NULL;
}

static void start(struct connection *c, const char *id, const char *path, json_t *body)
{
    struct http_exchange *x = http_ws_exchange(c->ws);
    struct running *r = &c->item[c->n++];
    const char *model = json_string_value(json_object_get(body, "model"));
    struct body_member m = {"model", {0}};
    if (!json_object_get(body, "stream")) json_object_set_new(body, "stream", json_true());
    *r = (struct running){.body = json_dumps(body, JSON_COMPACT), .model = model ? mem_strdup(model) : NULL};
    snprintf(r->id, sizeof r->id, "%s", id);
    const char *text = r->body ? r->body : "{}";
    (void)body_scan((struct http_str){text, strlen(text)}, &m, 1);
    const struct relay_ask ask = {.x = x,
                                  .method = "POST",
                                  .target = path,
                                  .body = {text, strlen(text)},
                                  .model = m.raw,
                                  .want = {.model = r->model, .key = c->key, .keep_alive_s = POOL_KEEP_UNSET},
                                  .family = family_of_path(path),
                                  .stream = json_is_true(json_object_get(body, "stream"))};
    r->relay = relay_new(c->g, &ask, http_waker_new(x));
}

static void on_request(struct connection *c, const char *id, const json_t *m)
{
    const char *asked = json_string_value(json_object_get(m, "path")), *path = NULL;
    json_t *body = json_object_get(m, "body");
    struct fault f;
    for (size_t i = 0; asked && i < COUNT_OF(paths); i++)
        if (!strcmp(paths[i], asked)) path = paths[i];
    if (!path)
        refuse(&f, 404, "not_found", "path",
               "'path' must be one of /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, "
               "/api/chat, "
               "/api/generate, /completion, /chat");
    else if (!json_is_object(body))
        refuse(&f, 400, "invalid_type", "body", "'body' must be an object, the request");
    else if (!strncmp(path, "/api/", 5) && !json_object_get(body, "messages") &&
             !json_object_get(body, "prompt"))
        refuse(&f, 400, "invalid_value", "body",
               "there is nothing to answer: 'messages' or 'prompt' is wanted");
    else if (find(c, id))
        refuse(&f, 400, "invalid_value", "id", "'id' is that of a request which is still running");
    else if (c->n == MAX_RUNNING)
        refuse(&f, 429, "too_many_requests", NULL, "more than %d requests at once on this connection",
               MAX_RUNNING);
    else {
        start(c, id, path, body);
        return;
    }
    send_fault(c, id, &f, path ? family_of_path(path) : FAMILY_OPENAI);
}

static void on_message(struct http_ws *w, void *user, bool text, const char *p, size_t n)
{
    struct connection *c = user;
    struct fault f;
    json_error_t je;
    json_t *m = json_loadb(p, n, JSON_REJECT_DUPLICATES, &je);
    const json_t *v = json_object_get(m, "id");
    const char *id = json_string_value(v);
    bool named = id && *id && json_string_length(v) <= MAX_ID;
    if (!json_is_object(m))
        refuse(&f, 400, "invalid_json", NULL, "the message is not valid JSON, line %d, column %d: %s",
               je.line, je.column, m ? "an object is wanted" : je.text);
    else if (!named)
        refuse(&f, 400, "invalid_value", "id", "'id' must be a string of 1 to %d bytes", MAX_ID);
    if (!json_is_object(m) || !named) {
        send_fault(c, "", &f, FAMILY_OPENAI);
    } else if (json_is_true(json_object_get(m, "cancel"))) {
        struct running *r = find(c, id);
        if (r) drop(c, r);
        send_done(c, id, true, NULL);
    } else {
        on_request(c, id, m);
    }
    json_decref(m);
}

static void on_wake(struct http_ws *w, void *user)
{
    advance_all(user);
}

static void on_end(struct http_ws *w, void *user, int code)
{
    struct connection *c = user;
    while (c->n) drop(c, &c->item[0]);
    free(c->key);
    free(c);
}

static void ws_connect(struct http_exchange *x, void *gateway)
{
    static const struct http_ws_ops ops = {
        .message = on_message, .wake = on_wake, .room = on_wake, .end = on_end};
    struct connection *c = mem_zalloc(1, sizeof *c);
    const char *key = http_header(x, "authorization");
    c->g = gateway;
    c->key = key ? mem_strdup(key) : NULL;
    c->ws = http_ws_accept(x, NULL, &ops, c);
    if (c->ws) return;
    free(c->key);
    free(c);
}

static const struct http_route rows[] = {{"GET", "/v1/ws", ws_connect, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER}};
const struct gateway_routes ws_routes = {rows, COUNT_OF(rows)};
