#include "api/ws_calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"

enum { MAX_RUNNING = 32, MAX_ID = 128, MAX_EVENT = 63, PENDING_BYTES = 256 << 10 };

static const char *const paths[] = {
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat",
    "/api/generate",        "/completion",     "/chat"};

struct ws_call {
    struct ws_calls *c;
    char id[MAX_ID + 1];
    void *user;
    struct buf part;           /* of a line that is not whole yet */
    char event[MAX_EVENT + 1]; /* of the frame that is being read */
};
struct ws_calls {
    const struct ws_call_ops *ops;
    void *owner;
    struct http_ws *ws;
    struct ws_call *call[MAX_RUNNING];
    uint32_t n;
    bool draining;
};

struct http_exchange *ws_calls_exchange(const struct ws_calls *c)
{
    return http_ws_exchange(c->ws);
}

struct http_exchange *ws_call_exchange(const struct ws_call *call)
{
    return ws_calls_exchange(call->c);
}

/* ---- to the client ----------------------------------------------------------------------------------- */

static void open_message(struct buf *out, const char *id)
{
    buf_adds(out, "{\"id\":");
    buf_json_str(out, id, strlen(id));
}

static void send_message(struct ws_calls *c, struct buf *message)
{
    buf_addc(message, '}');
    if (!message->failed) (void)http_ws_send(c->ws, true, message->data, message->n);
    buf_deinit(message);
}

static void send_data(const struct ws_call *call, const char *event, const char *json, size_t n)
{
    struct buf b = {0};
    open_message(&b, call->id);
    if (*event) {
        buf_adds(&b, ",\"event\":");
        buf_json_str(&b, event, strlen(event));
    }
    buf_adds(&b, ",\"data\":");
    buf_add(&b, json, n);
    send_message(call->c, &b);
}

void ws_call_data(struct ws_call *call, const char *json, size_t n)
{
    send_data(call, "", json, n);
}

static void take_line(struct ws_call *call, const char *p, size_t n)
{
    if (n == 0)
        call->event[0] = 0;
    else if (n > 7 && !memcmp(p, "event: ", 7))
        snprintf(call->event, sizeof call->event, "%.*s", (int)MIN(n - 7, (size_t)MAX_EVENT), p + 7);
    else if (n > 6 && !memcmp(p, "data: {", 7))
        send_data(call, call->event, p + 6, n - 6);
    else if (*p == '{')
        send_data(call, call->event, p, n);
}

void ws_call_frames(struct ws_call *call, const char *p, size_t n)
{
    struct buf *b = &call->part;
    size_t at = 0;
    buf_add(b, p, n);
    for (const char *end; at < b->n && (end = memchr(b->data + at, '\n', b->n - at));) {
        take_line(call, b->data + at, (size_t)(end - b->data) - at);
        at = (size_t)(end - b->data) + 1;
    }
    buf_drop(b, at);
}

static void send_done(struct ws_calls *c, const char *id, bool cancelled, const char *ignored)
{
    struct buf b = {0};
    open_message(&b, id);
    buf_adds(&b, cancelled ? ",\"done\":true,\"cancelled\":true" : ",\"done\":true");
    if (ignored && *ignored) {
        buf_adds(&b, ",\"ignored\":");
        buf_json_str(&b, ignored, strlen(ignored));
    }
    send_message(c, &b);
}

void ws_call_done(struct ws_call *call, const char *ignored)
{
    send_done(call->c, call->id, false, ignored);
}

static void send_error(struct ws_calls *c, const char *id, int code, const char *body, size_t n)
{
    struct buf b = {0};
    open_message(&b, id);
    json_t *v = json_loadb(body, n, 0, NULL), *inner = json_object_get(v, "error");
    char *text = json_dumps(inner ? inner : v, JSON_COMPACT | JSON_ENCODE_ANY);
    buf_addf(&b, ",\"status\":%d,\"error\":%s", code, text ? text : "null");
    free(text);
    json_decref(v);
    send_message(c, &b);
}

static void send_fault(struct ws_calls *c, const char *id, const struct fault *f, enum api_family a)
{
    struct buf body = {0};
    fault_write(f, a, &body);
    send_error(c, id, f->code, body.data, body.n);
    buf_deinit(&body);
}

void ws_call_error(struct ws_call *call, int code, const char *body, size_t n)
{
    send_error(call->c, call->id, code, body, n);
}

void ws_call_fault(struct ws_call *call, const struct fault *f, enum api_family a)
{
    send_fault(call->c, call->id, f, a);
}

/* ---- calls ------------------------------------------------------------------------------------------- */

static uint32_t find(const struct ws_calls *c, const char *id) /* c->n: there is none */
{
    uint32_t i = 0;
    while (i < c->n && strcmp(c->call[i]->id, id) != 0) i++;
    return i;
}

static void drop(struct ws_calls *c, uint32_t i)
{
    struct ws_call *call = c->call[i];
    c->call[i] = c->call[--c->n];
    c->ops->drop(call, call->user);
    buf_deinit(&call->part);
    free(call);
}

static void advance_all(struct ws_calls *c)
{
    for (uint32_t i = 0; i < c->n && http_ws_pending(c->ws) < PENDING_BYTES;)
        if (c->ops->advance(c->call[i], c->call[i]->user))
            drop(c, i);
        else
            i++;
    if (c->draining && c->n == 0 && http_ws_pending(c->ws) == 0)
        http_ws_close(c->ws, 1001, "the server is shutting down");
}

static void start(struct ws_calls *c, const char *id, const char *path, json_t *body)
{
    struct fault f;
    void *user = c->ops->start(c, c->owner, path, body, &f);
    if (!user) {
        send_fault(c, id, &f, family_of_path(path));
        return;
    }
    struct ws_call *call = c->call[c->n++] = mem_zalloc(1, sizeof *call);
    call->c = c;
    call->user = user;
    snprintf(call->id, sizeof call->id, "%s", id);
}

/* ---- from the client --------------------------------------------------------------------------------- */

static void on_request(struct ws_calls *c, const char *id, const json_t *m)
{
    const char *asked = json_string_value(json_object_get(m, "path")), *path = NULL;
    json_t *body = json_object_get(m, "body");
    struct fault f;
    for (size_t i = 0; asked && i < COUNT_OF(paths); i++)
        if (!strcmp(paths[i], asked)) path = paths[i];
    if (!path)
        refuse(&f, 404, "not_found", "path",
               "'path' must be one of /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, "
               "/api/chat, /api/generate, /completion, /chat");
    else if (!json_is_object(body))
        refuse(&f, 400, "invalid_type", "body", "'body' must be an object, the request");
    else if (find(c, id) < c->n)
        refuse(&f, 400, "invalid_value", "id", "'id' is that of a request which is still running");
    else if (c->draining)
        refuse(&f, 503, "shutting_down", NULL, "the server is shutting down");
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
    struct ws_calls *c = user;
    struct fault f;
    json_t *m = body_parse((struct http_str){p, n}, &f);
    const json_t *v = json_object_get(m, "id");
    const char *id = json_string_value(v);
    bool named = id && *id && json_string_length(v) <= MAX_ID && strlen(id) == json_string_length(v);
    if (m && !named) refuse(&f, 400, "invalid_value", "id", "'id' must be a string of 1 to %d bytes", MAX_ID);
    if (!m || !named) {
        send_fault(c, "", &f, FAMILY_OPENAI);
    } else if (json_is_true(json_object_get(m, "cancel"))) {
        uint32_t i = find(c, id);
        if (i < c->n) drop(c, i);
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

/* What runs is answered; nothing else begins. */
static void on_drain(struct http_ws *w, void *user)
{
    struct ws_calls *c = user;
    c->draining = true;
    advance_all(c);
}

static void on_end(struct http_ws *w, void *user, int code)
{
    struct ws_calls *c = user;
    while (c->n) drop(c, 0);
    free(c);
}

void ws_calls_accept(struct http_exchange *x, const struct ws_call_ops *ops, void *owner)
{
    static const struct http_ws_ops ws_ops = {
        .message = on_message, .wake = on_wake, .room = on_wake, .drain = on_drain, .end = on_end};
    struct ws_calls *c = mem_zalloc(1, sizeof *c);
    c->ops = ops;
    c->owner = owner;
    c->ws = http_ws_accept(x, NULL, &ws_ops, c);
    if (!c->ws) free(c);
}
