/* Requests for models, forwarded: which paths there are, where each says its model, and how an exchange and
 * its relay feed each other. Other files: management in manage_*.c, WebSocket in ws.c. */
#include <stdlib.h>
#include <string.h>

#include "api/kept.h"
#include "api/keys.h"
#include "api/openapi.h"
#include "gateway/body.h"
#include "gateway/duration.h"
#include "gateway/errand.h"
#include "gateway/relay.h"

enum { PIECE_BYTES = 32 << 10, BEGINNING_BYTES = 1024 };

struct proxy {
    struct http_exchange *x;
    struct relay *relay;
    struct gateway *g;
    char *target, *model;
    bool stream, streaming; /* wanted in pieces; begun with the client */
    bool done;
    struct buf comment; /* for a client that waits */
    char **other;       /* models to ask when this one does not know (see forward_found) */
    size_t n_other;
};

/* ---- what a request says ----------------------------------------------------------------------------- */

enum {
    M_MODEL,
    M_STREAM,
    M_SYSTEM,
    M_INSTRUCTIONS,
    M_MESSAGES,
    M_PROMPT,
    M_INPUT,
    M_SESSION,
    M_CACHE_KEY,
    M_KEEP,
    M_PREVIOUS,
    N_MEMBER
};
#define MEMBERS                                                                                              \
    {                                                                                                        \
        {"model", {0}}, {"stream", {0}}, {"system", {0}}, {"instructions", {0}}, {"messages", {0}},          \
            {"prompt", {0}}, {"input", {0}}, {"session_id", {0}}, {"prompt_cache_key", {0}},                 \
            {"keep_alive", {0}}, {"previous_response_id", {0}},                                              \
    }

static uint64_t hash_beginning(const struct body_member *m)
{
    static const int part[] = {M_SYSTEM, M_INSTRUCTIONS, M_MESSAGES, M_PROMPT, M_INPUT};
    struct buf b = {0};
    for (size_t i = 0; i < COUNT_OF(part); i++) {
        struct http_str s = body_beginning(m[part[i]].raw, BEGINNING_BYTES);
        if (s.n) buf_add(&b, s.p, s.n);
    }
    uint64_t h = b.n ? route_hash(b.data, b.n) : 0;
    buf_deinit(&b);
    return h;
}

static uint64_t hash_session(const struct http_exchange *x, const struct body_member *m)
{
    const char *named = http_header(x, "x-session-id");
    struct http_str s = m[M_SESSION].raw.n > 2 ? m[M_SESSION].raw : m[M_CACHE_KEY].raw;
    if (named && *named) return route_hash(named, strlen(named));
    return s.n > 2 && *s.p == '"' ? route_hash(s.p, s.n) : 0;
}

static char *target_of(const struct http_exchange *x, const char *path)
{
    struct buf b = {0};
    const char *query = http_query(x);
    buf_addf(&b, *query ? "%s?%s" : "%s", path, query);
    return b.data;
}

/* ---- to the client ----------------------------------------------------------------------------------- */

static void reply_fault(struct proxy *p)
{
    struct relay *r = p->relay;
    struct buf b = {0};
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%u", MAX(r->retry_after_s, 1));
    if (r->retry_after_s || r->fault.code == 429 || r->fault.code == 503)
        http_set_header(p->x, "Retry-After", seconds);
    fault_write(&r->fault, r->ask.family, &b);
    http_reply(p->x, r->fault.code, "application/json", b.data, b.n);
    buf_deinit(&b);
    p->done = true;
}

/* The answer's headers; its type. */
static const char *set_headers(struct proxy *p)
{
    const char *type = NULL;
    const struct buf *h = &p->relay->head;
    for (const char *at = h->data; at && at < h->data + h->n;) {
        const char *value = at + strlen(at) + 1;
        if (strcasecmp(at, "Content-Type") != 0)
            http_set_header(p->x, at, value);
        else
            type = value;
        at = value + strlen(value) + 1;
    }
    return type;
}

static void reply_whole(struct proxy *p)
{
    struct relay *r = p->relay;
    const char *type = set_headers(p);
    http_reply(p->x, r->code, type, r->out.data ? r->out.data : "", r->out.n);
    p->done = true;
}

static void begin_stream(struct proxy *p)
{
    const char *type = set_headers(p);
    p->streaming = true;
    http_stream(p->x, p->relay->code ? p->relay->code : 200, type);
}

/* The worker is not there yet and the client shall not think that nobody is. */
static void begin_waiting(struct proxy *p)
{
    http_set_header(p->x, "Cache-Control", "no-cache");
    http_set_header(p->x, "X-Accel-Buffering", "no");
    p->streaming = true;
    http_stream(p->x, 200, family_stream_type(p->relay->ask.family));
}

/* The next model that may know it. False: there is none. */
static bool ask_other(struct proxy *p);

static void show(struct proxy *p)
{
    struct relay *r = p->relay;
    if (p->done || p->streaming) return; /* pull does the rest */
    if (r->state == RELAY_WHOLE && r->code == 404 && ask_other(p)) return;
    switch (r->state) {
    case RELAY_WAITING: return;
    case RELAY_ANSWERING: begin_stream(p); return;
    case RELAY_WHOLE: reply_whole(p); return;
    case RELAY_FAILED: reply_fault(p); return;
    }
}

static void on_wake(struct http_exchange *x, void *user)
{
    struct proxy *p = user;
    if (p->done) return;
    relay_advance(p->relay);
    show(p);
}

/* Once a second while it waits. */
static void on_timer(struct http_exchange *x, void *user)
{
    struct proxy *p = user;
    if (p->done || p->relay->state != RELAY_WAITING) return;
    relay_advance(p->relay);
    show(p);
    const struct relay *r = p->relay; /* it may be another one now */
    if (p->done || r->state != RELAY_WAITING) return;
    bool comments = p->stream && r->ask.family != FAMILY_OLLAMA;
    if (comments && *r->progress) {
        if (!p->streaming) begin_waiting(p);
        http_sse_comment(&p->comment, r->progress);
    }
    http_set_timer(x, p->g->o.keepalive_ms);
}

/* An answer that came after the head had gone out, and is none of a stream: as an event. */
static void add_late_answer(struct proxy *p, struct buf *out)
{
    struct relay *r = p->relay;
    struct fault f;
    json_t *body = json_loadb(r->out.data ? r->out.data : "", r->out.n, 0, NULL);
    const json_t *error = json_object_get(body, "error");
    const char *text = json_string_value(error);
    if (!text) text = json_string_value(json_object_get(error, "message"));
    refuse(&f, r->code, json_string_value(json_object_get(error, "code")),
           json_string_value(json_object_get(error, "param")), "%s",
           text ? text : "the model's worker refused this");
    relay_took(r, r->out.n);
    fault_write_event(&f, r->ask.family, r->journal.sequence + 1, out);
    json_decref(body);
}

static enum http_pull on_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct proxy *p = user;
    struct relay *r = p->relay;
    buf_add(out, p->comment.data, p->comment.n);
    buf_reset(&p->comment);
    size_t n =
        r->begun ? MIN(r->out.n, (size_t)PIECE_BYTES) : 0; /* what is collected is none of the stream's */
    if (n) buf_add(out, r->out.data, n);
    relay_took(r, n);
    if (r->state < RELAY_WHOLE) return n == PIECE_BYTES ? HTTP_MORE : HTTP_WAIT;
    if (r->begun && r->out.n) return HTTP_MORE;
    if (r->state == RELAY_FAILED)
        fault_write_event(&r->fault, r->ask.family, r->journal.sequence + 1, out);
    else if (!r->passing && !r->begun)
        add_late_answer(p, out);
    return HTTP_DONE;
}

static void on_end(struct http_exchange *x, void *user, bool complete)
{
    struct proxy *p = user;
    relay_free(p->relay);
    buf_deinit(&p->comment);
    for (size_t i = 0; i < p->n_other; i++) free(p->other[i]);
    free(p->other);
    free(p->target);
    free(p->model);
    free(p);
}

static const struct http_responder responder = {
    .wake = on_wake, .timer = on_timer, .pull = on_pull, .end = on_end};

/* ---- to the worker ----------------------------------------------------------------------------------- */

static void start(struct proxy *p, struct relay_ask *ask)
{
    ask->x = p->x;
    ask->method = http_method(p->x);
    if (!strcmp(ask->method, "HEAD")) ask->method = "GET";
    ask->target = p->target;
    ask->body = http_request_body(p->x);
    ask->family = family_of_path(p->target);
    ask->stream = p->stream;
    ask->want.model = p->model;
    ask->want.key = api_key_of(p->x);
    ask->want.client = http_client(p->x);
    p->relay = relay_new(p->g, ask, http_waker_new(p->x));
}

/* model and target are the proxy's from now on. */
static struct proxy *attach(struct http_exchange *x, struct gateway *g, char *model, char *target)
{
    struct proxy *p = mem_zalloc(1, sizeof *p);
    *p = (struct proxy){.x = x, .g = g, .model = model, .target = target};
    http_attach(x, &responder, p);
    return p;
}

static void go(struct proxy *p, struct relay_ask *ask)
{
    start(p, ask);
    show(p);
    if (!p->done) http_set_timer(p->x, p->g->o.keepalive_ms);
}

/* The model is in the body; path: NULL: the request's. */
static void forward_body(struct http_exchange *x, struct gateway *g, char *model, const char *path,
                         bool streams)
{
    struct body_member m[N_MEMBER] = MEMBERS;
    struct relay_ask ask = {.want.keep_alive_s = POOL_KEEP_UNSET};
    struct buf name = {0};
    struct http_str body = http_request_body(x);
    (void)body_scan(body, m, N_MEMBER); /* what is malformed, a worker explains */
    if (!model && body_string(m[M_MODEL].raw, &name)) model = mem_strndup(name.data ? name.data : "", name.n);
    struct proxy *p = attach(x, g, model, target_of(x, path ? path : http_path(x)));
    p->stream = streams ? !body_is(m[M_STREAM].raw, "false") : body_is(m[M_STREAM].raw, "true");
    ask.model = m[M_MODEL].raw;
    ask.want.affinity = hash_beginning(m);
    ask.want.session = hash_session(x, m);
    ask.memory = family_of_path(p->target) == FAMILY_RESPONSES && m[M_PREVIOUS].raw.n > 2;
    if (m[M_KEEP].raw.n) (void)duration_read(m[M_KEEP].raw, &ask.want.keep_alive_s);
    go(p, &ask);
    buf_deinit(&name);
}

static void forward(struct http_exchange *x, void *gateway)
{
    forward_body(x, gateway, NULL, NULL, false);
}

/* Ollama streams unless it is told not to. */
static void forward_streaming(struct http_exchange *x, void *gateway)
{
    forward_body(x, gateway, NULL, NULL, true);
}

/* The value of "model=" in the query, or NULL. */
static char *model_in_query(const struct http_exchange *x)
{
    size_t cap = strlen(http_query(x)) + 1;
    char *name = mem_alloc(cap);
    if (query_value(http_query(x), "model", name, cap)) return name;
    free(name);
    return NULL;
}

static void forward_query(struct http_exchange *x, void *gateway)
{
    struct relay_ask ask = {.want.keep_alive_s = POOL_KEEP_UNSET};
    go(attach(x, gateway, model_in_query(x), target_of(x, http_path(x))), &ask);
}

/* /upstream/{model}/{path*}: as it is, to that model. */
static void forward_upstream(struct http_exchange *x, void *gateway)
{
    struct buf path = {0};
    buf_addf(&path, "/%s", http_param(x, "path"));
    forward_body(x, gateway, mem_strdup(http_param(x, "model")), path.data,
                 family_of_path(path.data) == FAMILY_OLLAMA);
    buf_deinit(&path);
}

/* ---- what some worker remembers ---------------------------------------------------------------------- */

static const struct relay_ask found_ask = {.want.keep_alive_s = POOL_KEEP_UNSET, .memory = true};

/* Answers and conversations that were kept have ids that say nothing of their model: those that are loaded
 * are asked one after the other, all workers of each, until one does not say 404. */
static void forward_found(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    struct relay_ask ask = found_ask;
    struct pool_view *v = pool_view_new(g->o.pool);
    char *model = model_in_query(x), **other = mem_zalloc(v->n_model + 1, sizeof *other);
    size_t n = 0;
    for (size_t i = 0; i < v->n_model && !model; i++)
        if (v->model[i].n_ready) other[n++] = mem_strdup(v->model[i].name);
    pool_view_free(v);
    if (!model && n) model = other[--n];
    if (!model) {
        free(other);
        gateway_refuse(x, 404, "id", "that is not known here%s",
                       g->kept ? "" : ": what models remember ends with their workers");
        return;
    }
    struct proxy *p = attach(x, g, model, target_of(x, http_path(x)));
    p->other = other;
    p->n_other = n;
    go(p, &ask);
}

static bool ask_other(struct proxy *p)
{
    struct relay_ask ask = found_ask;
    if (!p->n_other) return false;
    relay_free(p->relay);
    free(p->model);
    p->model = p->other[--p->n_other];
    start(p, &ask);
    return true;
}

/* With a folder of it, what is there is answered here, whether any model is loaded or not. */
static void find_response(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    if (!g->kept || !kept_response(x, g->kept)) forward_found(x, g);
}

static void find_input_items(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    if (!g->kept || !kept_input_items(x, g->kept)) forward_found(x, g);
}

static void delete_response(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    if (!g->kept || !kept_delete(x, g->kept)) forward_found(x, g);
}

static void delete_session(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    if (!g->kept || !kept_delete_session(x, g->sessions)) forward_found(x, g);
}

static void openapi(struct http_exchange *x, void *gateway)
{
    struct buf b = {0};
    openapi_document(&b);
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

// clang-format off
#define POST(path, how) {"POST", path, how, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER}
#define GET(path, how)  {"GET", path, how, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER}
static const struct http_route rows[] = {
    POST("/v1/chat/completions", forward), POST("/chat/completions", forward),
    POST("/v1/chat/completions/input_tokens", forward),
    POST("/v1/completions", forward),
    POST("/v1/responses", forward), POST("/responses", forward), POST("/v1/responses/input_tokens", forward),
    GET("/v1/responses/{id}", find_response), GET("/v1/responses/{id}/input_items", find_input_items),
    POST("/v1/responses/{id}/cancel", forward_found),
    {"DELETE", "/v1/responses/{id}", delete_response, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    POST("/v1/embeddings", forward),
    POST("/v1/rerank", forward), POST("/v1/reranking", forward), POST("/v2/rerank", forward), POST("/rerank", forward),
    POST("/reranking", forward),
    POST("/v1/messages", forward), POST("/v1/messages/count_tokens", forward),
    POST("/api/chat", forward_streaming), POST("/api/generate", forward_streaming),
    POST("/api/embed", forward), POST("/api/embeddings", forward),
    POST("/completion", forward), POST("/completions", forward), POST("/infill", forward),
    POST("/tokenize", forward), POST("/detokenize", forward), POST("/apply-template", forward),
    POST("/embedding", forward), POST("/embeddings", forward),
    GET("/props", forward_query), GET("/slots", forward_query), GET("/lora-adapters", forward_query),
    POST("/props", forward), POST("/slots/{id}", forward), POST("/lora-adapters", forward),
    GET("/debug/sequences", forward_query),
    POST("/chat", forward),
    {"DELETE", "/chat/{session_id}", delete_session, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    GET("/openapi.json", openapi),
    GET("/upstream/{model}/{path*}", forward_upstream), POST("/upstream/{model}/{path*}", forward_upstream),
};
// clang-format on
const struct gateway_routes proxy_routes = {rows, COUNT_OF(rows)};
