/* One request and its response: what a handler sees. What it is on the wire is the connection's protocol's
 * business. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "http/http_int.h"

/* ---- beginning --------------------------------------------------------------------------------------- */

static struct http_str rebase(struct http_str s, const char *from, char *to)
{
    struct http_str out = {to + (s.p - from), s.n};
    to[(s.p - from) + (ptrdiff_t)s.n] =
        0; /* a separator stands there: space, '?', ':', CR, or the copy's own end */
    return out;
}

static bool id_ok(struct http_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || strchr("-_.:/+=", c)))
            return false;
    }
    return s.n >= 1 && s.n <= 64;
}

static void choose_id(struct http_exchange *x)
{
    const struct http_str *given = h1_find(&x->head, "x-request-id");
    struct http_server *s = x->conn->loop->server;
    if (given && id_ok(*given)) {
        memcpy(x->id, given->p, given->n);
        return;
    }
    uint64_t n = atomic_fetch_add(&s->next_id, 1);
    uint32_t out[4], counter[4] = {(uint32_t)n, (uint32_t)(n >> 32), 0, 0};
    uint32_t key[2] = {(uint32_t)s->id_key, (uint32_t)(s->id_key >> 32)};
    rng_philox(out, counter, key);
    snprintf(x->id, sizeof x->id, "req-%08x%08x%08x", out[0], out[1], out[2]);
}

static void authorize(struct http_exchange *x)
{
    const struct http_options *o = &x->conn->loop->server->o;
    if (x->route->role == HTTP_ROLE_ANYONE || !o->authorize) return;
    x->refusal_why = "not allowed";
    x->refusal = o->authorize(o->user, x, x->route->role, &x->refusal_why);
    if (x->refusal == 401) http_set_header(x, "WWW-Authenticate", "Bearer");
    if (x->refusal) x->max_body = SMALL_BODY_BYTES; /* nothing large is read for a stranger */
}

struct http_exchange *exchange_new(struct http_conn *c, const struct h1_head *h, const char *bytes, size_t n)
{
    struct http_exchange *x = mem_zalloc(1, sizeof *x);
    struct http_field *field = mem_zalloc(h->n_field ? h->n_field : 1, sizeof *field);
    char *copy = mem_alloc(n + 1);
    memcpy(copy, bytes, n);
    copy[n] = 0;
    x->conn = c;
    x->head_bytes = copy;
    x->head = *h;
    x->head.method = rebase(h->method, bytes, copy);
    x->head.path = rebase(h->path, bytes, copy);
    x->head.query = rebase(h->query, bytes, copy);
    x->head.field = field;
    x->head.max_field = h->n_field;
    for (size_t i = 0; i < h->n_field; i++) {
        field[i].name = rebase(h->field[i].name, bytes, copy);
        field[i].value = rebase(h->field[i].value, bytes, copy);
    }
    x->head_only = h1_str_is(x->head.method, "head");
    x->start_us = loop_now_us();
    choose_id(x);

    struct http_server *s = c->loop->server;
    struct route_match m;
    route_find(&m, s->route, s->n_route, x->head.method, x->head.path);
    x->route = m.route;
    x->max_body = !m.route                            ? SMALL_BODY_BYTES
                  : m.route->body == HTTP_BODY_WHOLE  ? s->o.max_body_bytes
                  : m.route->body == HTTP_BODY_STREAM ? s->o.max_upload_bytes
                                                      : SMALL_BODY_BYTES;
    buf_init(&x->fields, 16 * 1024);
    buf_init(&x->body, s->o.max_body_bytes);
    if (!m.route) {
        x->refusal = m.status;
        x->refusal_why = m.status == 404 ? "no such path" : "this path does not take this method";
        if (m.allow[0]) http_set_header(x, "Allow", m.allow);
        if (m.status == 405 && h1_str_is(x->head.method, "options")) x->refusal = 204;
        if (x->head.path.n == 1 && x->head.path.p[0] == '*') x->refusal = 204;
    }
    http_set_header(x, "X-Content-Type-Options", "nosniff");
    if (c->tls && s->o.hsts_s) {
        char age[32];
        snprintf(age, sizeof age, "max-age=%u", s->o.hsts_s);
        http_set_header(x, "Strict-Transport-Security", age);
    }
    cors_headers(x, m.allow);
    for (size_t i = 0; i < m.n_param; i++) {
        char *value = mem_alloc(m.param[i].raw.n + 1);
        if (!route_decode(value, m.param[i].raw)) {
            x->refusal = 400;
            x->refusal_why = "a malformed percent escape in the path";
            value[0] = 0;
        }
        x->param[i] = (struct route_param){m.param[i].name.p, m.param[i].name.n, value};
    }
    x->n_param = m.n_param;
    unsigned char address[16];
    if (client_find(x, address) && !peers_enter(s->peers, &x->who, address) && !x->refusal) {
        x->refusal = 503;
        x->refusal_why = "as many requests of your address are under way as may be";
        x->max_body = SMALL_BODY_BYTES;
    }
    if (!x->refusal) authorize(x);
    return x;
}

static bool streams_body(const struct http_exchange *x)
{
    return x->route && x->route->body == HTTP_BODY_STREAM && !x->refusal;
}

bool exchange_take_body(struct http_exchange *x, const char *p, size_t n)
{
    if (n > x->max_body - x->body_got) return false;
    x->body_got += n;
    if (streams_body(x)) {
        if (n && x->state != X_DONE && x->ops && x->ops->body) x->ops->body(x, x->user, p, n, false);
    } else if (x->route && x->route->body == HTTP_BODY_WHOLE) {
        buf_add(&x->body, p, n);
    }
    return !x->body.failed;
}

bool exchange_wants_body(const struct http_exchange *x)
{
    return x->state == X_BODY || (x->body_open && x->state != X_DONE);
}

static void handle(struct http_exchange *x)
{
    x->state = X_HANDLED;
    if (!x->refusal && x->route->body == HTTP_BODY_WHOLE) x->refusal = encoding_unpack(x, &x->refusal_why);
    if (x->refusal == 204) {
        http_reply(x, 204, NULL, NULL, 0);
    } else if (x->refusal) {
        http_reply_error(x, x->refusal, x->refusal_why);
    } else {
        x->route->handle(x, x->route->user);
        if (x->state == X_HANDLED && !x->ops) http_reply_error(x, 500, "the handler did not answer");
    }
}

void exchange_head_done(struct http_exchange *x)
{
    if (!streams_body(x)) return;
    x->body_open = true;
    handle(x);
}

void exchange_body_done(struct http_exchange *x)
{
    if (!x->body_open) {
        if (streams_body(x)) exchange_head_done(x); /* there is none */
        if (x->state == X_BODY) handle(x);
    }
    if (!x->body_open) return;
    x->body_open = false;
    if (x->state != X_DONE && x->ops && x->ops->body) x->ops->body(x, x->user, NULL, 0, true);
}

void http_pause_body(struct http_exchange *x, bool pause)
{
    if (x->body_paused == pause) return;
    x->body_paused = pause;
    if (x->conn->proto->pause) x->conn->proto->pause(x);
}

/* ---- end --------------------------------------------------------------------------------------------- */

struct http_waker {
    atomic_uint refs;
    atomic_bool queued;
    struct http_loop *loop;
    struct http_waker *next;
    struct http_exchange *x; /* the loop's thread only; NULL when the exchange is over */
};

void exchange_end(struct http_exchange *x, bool complete)
{
    struct http_conn *c = x->conn;
    struct http_server *s = c->loop->server;
    if (x->timer) event_free(x->timer);
    if (x->waker) {
        x->waker->x = NULL;
        http_waker_free(x->waker);
    }
    if (x->ops) x->ops->end(x, x->user, complete);
    peers_leave(s->peers, &x->who);
    if (s->o.on_access) {
        struct http_trace trace = {0};
        int64_t now = loop_now_us();
        http_trace(x, &trace);
        s->o.on_access(s->o.user, &(struct http_access){
                                      .peer = x->forwarded ? x->client : c->from.name,
                                      .via = x->forwarded ? c->from.name : "",
                                      .protocol = c->proto->name,
                                      .id = x->id,
                                      .method = x->head.method.p,
                                      .path = x->head.path.p,
                                      .trace = trace.id,
                                      .status = x->status ? x->status : 499,
                                      .complete = complete,
                                      .bytes_in = x->body_got,
                                      .bytes_out = x->bytes_out,
                                      .first_byte_us = x->first_byte_us ? x->first_byte_us - x->start_us : 0,
                                      .total_us = now - x->start_us});
    }
    for (size_t i = 0; i < x->n_param; i++) free((char *)x->param[i].value);
    buf_deinit(&x->body);
    buf_deinit(&x->fields);
    free(x->head.field);
    free(x->head_bytes);
    free(x);
}

/* ---- the request ------------------------------------------------------------------------------------- */

const char *http_method(const struct http_exchange *x)
{
    return x->head.method.p;
}
const char *http_path(const struct http_exchange *x)
{
    return x->head.path.p;
}
const char *http_query(const struct http_exchange *x)
{
    return x->head.query.p;
}
const char *http_request_id(const struct http_exchange *x)
{
    return x->id;
}
struct http_server *http_exchange_server(const struct http_exchange *x)
{
    return x->conn->loop->server;
}
struct http_str http_request_body(const struct http_exchange *x)
{
    return (struct http_str){x->body.data ? x->body.data : "", x->body.n};
}

const char *http_header(const struct http_exchange *x, const char *name)
{
    const struct http_str *v = h1_find(&x->head, name);
    return v ? v->p : NULL;
}

const char *http_last_event_id(const struct http_exchange *x)
{
    const struct http_str *v = h1_find(&x->head, "last-event-id");
    return v && v->n <= 256 ? v->p : NULL;
}

static bool small_hex(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f'))) return false;
    return true;
}

/* W3C Trace Context, 3.2: version "-" trace "-" parent "-" flags; later versions may go on after that. */
bool http_trace(const struct http_exchange *x, struct http_trace *out)
{
    const struct http_str *v = h1_find(&x->head, "traceparent");
    static const char zeros[] = "00000000000000000000000000000000";
    *out = (struct http_trace){0};
    if (!v || v->n < 55) return false;
    const char *p = v->p;
    if (!small_hex(p, 2) || p[2] != '-' || !small_hex(p + 3, 32) || p[35] != '-' || !small_hex(p + 36, 16) ||
        p[52] != '-' || !small_hex(p + 53, 2))
        return false;
    if (!memcmp(p, "ff", 2) || !memcmp(p + 3, zeros, 32) || !memcmp(p + 36, zeros, 16)) return false;
    if (v->n > 55 && (!memcmp(p, "00", 2) || p[55] != '-')) return false;
    memcpy(out->id, p + 3, 32);
    memcpy(out->parent, p + 36, 16);
    out->sampled = strchr("13579bdf", p[54]) != NULL;
    return true;
}

const char *http_param(const struct http_exchange *x, const char *name)
{
    for (size_t i = 0; i < x->n_param; i++)
        if (x->param[i].n_name == strlen(name) && !memcmp(x->param[i].name, name, x->param[i].n_name))
            return x->param[i].value;
    return NULL;
}

/* ---- the response ------------------------------------------------------------------------------------ */

const char *http_reason(int code)
{
    static const struct {
        int status;
        const char *text;
    } known[] = {{101, "Switching Protocols"},
                 {200, "OK"},
                 {202, "Accepted"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {301, "Moved Permanently"},
                 {302, "Found"},
                 {303, "See Other"},
                 {304, "Not Modified"},
                 {307, "Temporary Redirect"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {415, "Unsupported Media Type"},
                 {416, "Range Not Satisfiable"},
                 {417, "Expectation Failed"},
                 {422, "Unprocessable Content"},
                 {426, "Upgrade Required"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (known[i].status == code) return known[i].text;
    return "";
}

static void send_head(struct http_exchange *x, int code, const char *type, int64_t length)
{
    x->status = code;
    x->first_byte_us = loop_now_us();
    x->conn->proto->head(x, code, type, length);
}

void http_set_header(struct http_exchange *x, const char *name, const char *value)
{
    if (!h1_is_token(name, strlen(name)) || !h1_is_field_value(value, strlen(value))) return;
    buf_addf(&x->fields, "%s: %s\r\n", name, value);
}

static void send_body(struct http_exchange *x, struct buf *b)
{
    if (x->head_only || b->n == 0) return;
    x->bytes_out += b->n;
    x->conn->proto->body(x, b);
}

static void finish(struct http_exchange *x)
{
    x->conn->proto->end(x);
    x->state = X_DONE;
    x->complete = true;
}

void exchange_reply_as_is(struct http_exchange *x, int code, const char *type, const void *body, size_t n)
{
    struct buf view = {.data = (char *)body, .n = n, .cap = n}; /* a whole body is written as it is */
    ASSERT(x->state <= X_HANDLED);
    send_head(x, code, type, (int64_t)n);
    send_body(x, &view);
    finish(x);
}

void http_reply(struct http_exchange *x, int code, const char *type, const void *body, size_t n)
{
    struct buf packed = {0};
    const char *coding = encoding_pack(x, type, body, n, &packed);
    if (coding) http_set_header(x, "Content-Encoding", coding);
    exchange_reply_as_is(x, code, type, coding ? packed.data : body, coding ? packed.n : n);
    buf_deinit(&packed);
}

const char *exchange_error_body(struct http_server *s, const char *path, int code, const char *why,
                                struct buf *out)
{
    if (s->o.render_error) return s->o.render_error(path, code, why, out);
    buf_addf(out, "%d %s: %s\n", code, http_reason(code), why);
    return "text/plain; charset=utf-8";
}

void http_reply_error(struct http_exchange *x, int code, const char *why)
{
    struct buf body = {0};
    const char *type = exchange_error_body(x->conn->loop->server, http_path(x), code, why, &body);
    http_reply(x, code, type, body.data, body.n);
    buf_deinit(&body);
}

void exchange_log_refusal(struct http_conn *c, int code, size_t bytes_out)
{
    const struct http_options *o = &c->loop->server->o;
    if (o->on_access)
        o->on_access(o->user, &(struct http_access){.peer = c->from.name,
                                                    .via = "",
                                                    .protocol = c->proto->name,
                                                    .id = "-",
                                                    .method = "-",
                                                    .path = "-",
                                                    .trace = "",
                                                    .status = code,
                                                    .complete = true,
                                                    .bytes_out = bytes_out});
}

void http_attach(struct http_exchange *x, const struct http_responder *ops, void *user)
{
    ASSERT(!x->ops && ops->end);
    x->ops = ops;
    x->user = user;
}

static void stream(struct http_exchange *x, int code, const char *type, int64_t length)
{
    ASSERT(x->state == X_HANDLED && x->ops && x->ops->pull);
    x->length = length;
    send_head(x, code, type, length);
    if (x->head_only || length == 0) {
        finish(x);
        return;
    }
    x->state = X_STREAM;
    x->pull_ready = true;
}

void http_stream(struct http_exchange *x, int code, const char *type)
{
    stream(x, code, type, -1);
}

void http_stream_sized(struct http_exchange *x, int code, const char *type, uint64_t length)
{
    stream(x, code, type, (int64_t)MIN(length, (uint64_t)INT64_MAX));
}

void exchange_pull(struct http_exchange *x)
{
    struct buf *out = &x->conn->loop->scratch;
    buf_reset(out);
    enum http_pull r = x->ops->pull(x, x->user, out);
    send_body(x, out);
    bool over = x->length >= 0 && x->bytes_out > (uint64_t)x->length;
    bool under = x->length >= 0 && r == HTTP_DONE && x->bytes_out < (uint64_t)x->length;
    if (out->failed || over || under) r = HTTP_FAIL;
    if (out->cap > 4 * OUT_HIGH_BYTES) buf_deinit(out);
    if (r == HTTP_DONE) {
        x->conn->proto->end(x);
        x->complete = true;
    } else if (r == HTTP_FAIL) {
        x->head.keep_alive = false;
    }
    if (r == HTTP_WAIT) x->pull_ready = false;
    if (r == HTTP_DONE || r == HTTP_FAIL) x->state = X_DONE;
}

/* ---- wake-up ----------------------------------------------------------------------------------------- */

static void exchange_wake(struct http_exchange *x)
{
    if (x->state == X_DONE) return;
    if (x->ops->wake) x->ops->wake(x, x->user);
    x->pull_ready = true;
}

static void on_timer(int fd, short what, void *arg)
{
    struct http_exchange *x = arg;
    struct http_conn *c = x->conn;
    if (x->state != X_DONE) {
        if (x->ops->timer) x->ops->timer(x, x->user);
        x->pull_ready = true;
    }
    conn_run(c);
}

void http_set_timer(struct http_exchange *x, uint32_t ms)
{
    ASSERT(x->ops);
    if (ms == 0) {
        if (x->timer) event_del(x->timer);
        return;
    }
    if (!x->timer) x->timer = event_new(x->conn->loop->base, -1, 0, on_timer, x);
    if (x->timer) event_add(x->timer, &(struct timeval){ms / 1000, (suseconds_t)(ms % 1000) * 1000});
}

struct http_waker *http_waker_new(struct http_exchange *x)
{
    ASSERT(x->ops);
    if (!x->waker) {
        x->waker = mem_zalloc(1, sizeof *x->waker);
        *x->waker = (struct http_waker){.loop = x->conn->loop, .x = x};
        atomic_init(&x->waker->refs, 1); /* the exchange's */
    }
    atomic_fetch_add(&x->waker->refs, 1);
    return x->waker;
}

void http_waker_free(struct http_waker *w)
{
    if (w && atomic_fetch_sub(&w->refs, 1) == 1) free(w);
}

void http_waker_fire(struct http_waker *w)
{
    if (atomic_exchange(&w->queued, true)) return;
    struct http_loop *l = w->loop;
    struct http_waker *top = atomic_load(&l->fired);
    atomic_fetch_add(&w->refs, 1); /* the list's */
    do {
        w->next = top;
    } while (!atomic_compare_exchange_weak(&l->fired, &top, w));
    if (!top) loop_signal(l);
}

/* What was fired, the first one first: who asked before others must not be served after them. */
static struct http_waker *take_fired(struct http_loop *l)
{
    struct http_waker *stack = atomic_exchange(&l->fired, NULL), *in_order = NULL, *next;
    for (; stack; stack = next) {
        next = stack->next;
        stack->next = in_order;
        in_order = stack;
    }
    return in_order;
}

/* The loop's side: look at each exchange. */
void wakers_run(struct http_loop *l)
{
    struct http_waker *w = take_fired(l), *next;
    for (; w; w = next) {
        next = w->next; /* before queued is cleared: afterwards w may be pushed again */
        atomic_store(&w->queued, false);
        struct http_exchange *x = w->x;
        if (x) {
            struct http_conn *c = x->conn;
            exchange_wake(x);
            conn_run(c);
        }
        http_waker_free(w);
    }
}
