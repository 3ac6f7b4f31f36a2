/* GET /v1/ws: requests and their events as JSON messages over one WebSocket, several at once.
 *
 * From the client:  {"id":"1","path":"/v1/chat/completions","body":{...}}    a request; stream is on unless
 * it says no
 *                   {"id":"1","cancel":true}
 * To the client:    {"id":"1","data":{...}}           what would be an event of the stream, or the whole
 * answer
 *                   {"id":"1","event":"..","data":{}} where events have names (Anthropic)
 *                   {"id":"1","error":{..},"status":400}  instead of an answer, or in the middle of it: the
 * end
 *                   {"id":"1","done":true}            the end; "cancelled":true when that was asked for,
 * "ignored":".." names fields that had no effect
 *
 * Belongs to the connection's loop. A connection that does not read stops its generations from being written
 * out; what they generate meanwhile is bounded by api_options.max_buffered, like that of any slow reader. */
#include "api/ws.h"

#include <stdlib.h>
#include <string.h>

#include "api/generator.h"
#include "api/render.h"
#include "base/log.h"

enum { MAX_RUNNING = 32, MAX_ID = 128, PENDING_BYTES = 256 << 10 };

static const struct generator *const generators[] = {
    &openai_chat_generator, &openai_text_generator,     &responses_generator, &anthropic_generator,
    &ollama_chat_generator, &ollama_generate_generator, &llamacpp_generator,  &native_generator};

struct running {
    char id[MAX_ID + 1];
    struct generation *g;
    bool stream;
};
struct connection {
    const struct api *api;
    struct http_ws *ws;
    struct running item[MAX_RUNNING];
    uint32_t n;
    bool draining;
};

/* ---- to the client ----------------------------------------------------------------------------------- */

static void open_message(struct buf *out, const char *id)
{
    buf_adds(out, "{\"id\":");
    render_str(out, id);
}

static void send_message(struct connection *c, struct buf *message)
{
    buf_addc(message, '}');
    if (!message->failed) (void)http_ws_send(c->ws, true, message->data, message->n);
    buf_deinit(message);
}

static void send_data(struct connection *c, const char *id, struct http_str event, const char *data, size_t n)
{
    struct buf b = {0};
    open_message(&b, id);
    if (event.n) {
        buf_adds(&b, ",\"event\":");
        buf_json_str(&b, event.p, event.n);
    }
    buf_adds(&b, ",\"data\":");
    buf_add(&b, data, n);
    send_message(c, &b);
}

/* ignored: the request's fields that had no effect, or NULL. */
static void send_done(struct connection *c, const char *id, bool cancelled, const struct buf *ignored)
{
    struct buf b = {0};
    open_message(&b, id);
    buf_adds(&b, cancelled ? ",\"done\":true,\"cancelled\":true" : ",\"done\":true");
    if (ignored && ignored->n) {
        buf_adds(&b, ",\"ignored\":");
        buf_json_str(&b, ignored->data, ignored->n);
    }
    send_message(c, &b);
}

static void send_fault(struct connection *c, const char *id, const struct renderer *render,
                       const struct fault *f)
{
    struct buf b = {0}, body = {0};
    fault_write(f, render->family, &body);
    open_message(&b, id);
    buf_addf(&b, ",\"status\":%d,\"error\":", f->code);
    json_t *v = json_loadb(body.data, body.n, 0, NULL), *inner = json_object_get(v, "error");
    char *text = json_dumps(inner ? inner : v, JSON_COMPACT | JSON_ENCODE_ANY);
    buf_adds(&b, text ? text : "null");
    free(text);
    json_decref(v);
    buf_deinit(&body);
    send_message(c, &b);
}

/* A renderer's frames, each as a message: lines of JSON, or of event: and data:. */
static void send_frames(struct connection *c, const char *id, const struct buf *frames)
{
    struct http_str event = {0};
    for (size_t at = 0; at < frames->n;) {
        const char *line = frames->data + at, *end = memchr(line, '\n', frames->n - at);
        size_t n = end ? (size_t)(end - line) : frames->n - at;
        at += n + 1;
        if (n == 0)
            event = (struct http_str){0};
        else if (n > 7 && !memcmp(line, "event: ", 7))
            event = (struct http_str){line + 7, n - 7};
        else if (n > 6 && !memcmp(line, "data: {", 7))
            send_data(c, id, event, line + 6, n - 6);
        else if (*line == '{')
            send_data(c, id, event, line, n);
    }
}

/* ---- generations ------------------------------------------------------------------------------------- */

static struct running *find(struct connection *c, const char *id)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (!strcmp(c->item[i].id, id)) return &c->item[i];
    return NULL;
}

static void drop(struct connection *c, struct running *r)
{
    struct usage u;
    generation_usage(r->g, &u);
    LOG(INFO, "api", "generated", "id=%s ws=%s prompt_tokens=%llu tokens=%llu open=%u", r->g->id,
        http_request_id(http_ws_exchange(c->ws)), (unsigned long long)u.prompt,
        (unsigned long long)u.completion, r->g->n_open);
    generation_end(r->g);
    *r = c->item[--c->n];
}

/* True: it has ended. */
static bool advance(struct connection *c, struct running *r)
{
    struct buf out = {0};
    struct fault f;
    bool ok = generation_advance(r->g, &f), end = !ok;
    if (r->stream) {
        end = generation_stream(r->g, &out) || !ok;
        send_frames(c, r->id, &out);
    } else if (ok && (end = r->g->n_open == 0)) {
        r->g->render->whole(r->g, &out);
        send_data(c, r->id, (struct http_str){0}, out.data, out.n);
    }
    buf_deinit(&out);
    if (!ok)
        send_fault(c, r->id, r->g->render, &f);
    else if (end)
        send_done(c, r->id, false, &r->g->req.ignored);
    return end;
}

static void advance_all(struct connection *c)
{
    for (uint32_t i = 0; i < c->n && http_ws_pending(c->ws) < PENDING_BYTES;)
        if (advance(c, &c->item[i]))
            drop(c, &c->item[i]);
        else
            i++;
    if (c->draining && c->n == 0 && http_ws_pending(c->ws) == 0)
        http_ws_close(c->ws, 1001, "the server is shutting down");
}

/* ---- from the client --------------------------------------------------------------------------------- */

static const struct generator *find_generator(const char *path)
{
    for (size_t i = 0; path && i < COUNT_OF(generators); i++)
        if (!strcmp(generators[i]->path, path)) return generators[i];
    return NULL;
}

static bool read_request(struct connection *c, const struct generator *gen, json_t *body, struct request *r,
                         struct fault *f)
{
    gen->init(r);
    r->stream = true;
    return request_read_json(r, c->api, gen->fields, http_ws_exchange(c->ws), body, f) &&
           gen->check(r, c->api, f);
}

static void start(struct connection *c, const char *id, const struct generator *gen, json_t *body)
{
    struct running *run = &c->item[c->n];
    struct request r;
    struct fault f;
    if (!read_request(c, gen, body, &r, &f)) {
        send_fault(c, id, gen->render, &f);
    } else {
        snprintf(run->id, sizeof run->id, "%s", id);
        run->stream = r.stream;
        run->g = generation_new(c->api, gen->render, &r, http_waker_new(http_ws_exchange(c->ws)));
        c->n++;
        generation_start(run->g);
    }
    request_deinit(&r);
}

static void on_request(struct connection *c, const char *id, const json_t *m)
{
    const struct generator *gen = find_generator(json_string_value(json_object_get(m, "path")));
    json_t *body = json_object_get(m, "body");
    struct fault f;
    if (!gen)
        refuse(&f, 404, "not_found", "path",
               "'path' must be one of /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, "
               "/api/chat, "
               "/api/generate, /completion, /chat");
    else if (!json_is_object(body))
        refuse(&f, 400, "invalid_type", "body", "'body' must be an object, the request");
    else if (find(c, id))
        refuse(&f, 400, "invalid_value", "id", "'id' is that of a request which is still running");
    else if (c->draining)
        refuse(&f, 503, "shutting_down", NULL, "the server is shutting down");
    else if (c->n == MAX_RUNNING)
        refuse(&f, 429, "too_many_requests", NULL, "more than %d requests at once on this connection",
               MAX_RUNNING);
    else {
        start(c, id, gen, body);
        return;
    }
    send_fault(c, id, (gen ? gen : generators[0])->render, &f);
}

static void on_message(struct http_ws *w, void *user, bool text, const char *p, size_t n)
{
    struct connection *c = user;
    struct fault f;
    json_t *m = body_parse((struct http_str){p, n}, &f);
    const json_t *v = json_object_get(m, "id");
    const char *id = json_string_value(v);
    if (m && (!id || !*id || json_string_length(v) > MAX_ID))
        refuse(&f, 400, "invalid_value", "id", "'id' must be a string of 1 to %d bytes", MAX_ID);
    if (!m || !id || !*id || json_string_length(v) > MAX_ID) {
        send_fault(c, "", generators[0]->render, &f);
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

/* What runs is answered; nothing else begins. */
static void on_drain(struct http_ws *w, void *user)
{
    struct connection *c = user;
    c->draining = true;
    advance_all(c);
}

static void on_end(struct http_ws *w, void *user, int code)
{
    struct connection *c = user;
    while (c->n) drop(c, &c->item[0]);
    free(c);
}

void ws_connect(struct http_exchange *x, void *api)
{
    static const struct http_ws_ops ops = {
        .message = on_message, .wake = on_wake, .room = on_wake, .drain = on_drain, .end = on_end};
    struct connection *c = mem_zalloc(1, sizeof *c);
    c->api = api;
    c->ws = http_ws_accept(x, NULL, &ops, c);
    if (!c->ws) free(c);
}
