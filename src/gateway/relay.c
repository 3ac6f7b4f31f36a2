#include "gateway/relay.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    HIGH_BYTES = 64 << 10, /* the worker waits while so much of a stream has not been taken */
    LOW_BYTES = 16 << 10,
    MAX_WHOLE = 256 << 20, /* of an answer that is collected */
    MAX_TRIES = 3,         /* for the same bytes: a request that kills its workers shall not kill many */
    CONNECT_MS = 5000,
    REMOTE_FIRST_MS =
        600 * 1000, /* our own workers are watched by the pool, which ends them when they hang */
    REMOTE_STALL_MS = 300 * 1000,
    NEVER_MS = INT32_MAX
};

static void try_next(struct relay *r);

static void wake_owner(struct relay *r)
{
    http_waker_fire(r->waker);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

static void leave(struct relay *r, const struct pool_outcome *how)
{
    if (r->ticket) pool_leave(r->ticket, how);
    r->ticket = NULL;
}

static void end_with(struct relay *r, enum relay_state state)
{
    r->state = state;
    r->progress[0] = 0;
    wake_owner(r);
}

static void end_refused(struct relay *r, const struct pool_fault *f)
{
    static const struct {
        int code;
        const char *reason;
    } known[] = {{404, "model_not_found"}, {429, "too_many_requests"}, {503, "overloaded"}};
    const char *reason = NULL;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (known[i].code == f->code) reason = known[i].reason;
    if (f->code == 404 && r->ask.family == FAMILY_OLLAMA) /* words that its clients look for */
        refuse(&r->fault, 404, reason, "model", "model '%.100s' not found: %s",
               r->ask.want.model ? r->ask.want.model : "", f->msg);
    else
        refuse(&r->fault, f->code, reason, f->code == 404 ? "model" : NULL, "%s", f->msg);
    r->retry_after_s = f->retry_after_s;
    if (r->begun) atomic_fetch_add(&r->g->n_lost, 1);
    leave(r, &(struct pool_outcome){0});
    end_with(r, RELAY_FAILED);
}

/* ---- the answer -------------------------------------------------------------------------------------- */

static bool is_stream_type(const char *type)
{
    return type &&
           (!strncasecmp(type, "text/event-stream", 17) || !strncasecmp(type, "application/x-ndjson", 20));
}

static void keep_head(struct relay *r, const struct http_call *c)
{
    struct http_header h;
    buf_reset(&r->head);
    for (size_t i = 0; http_call_field(c, i, &h); i++) {
        if (!relay_returns(h.name)) continue;
        buf_add(&r->head, h.name, strlen(h.name) + 1);
        buf_add(&r->head, h.value, strlen(h.value) + 1);
    }
}

const char *relay_header(const struct relay *r, const char *name)
{
    for (const char *p = r->head.data, *end = p + r->head.n; p && p < end;) {
        const char *value = p + strlen(p) + 1;
        if (!strcasecmp(p, name)) return value;
        p = value + strlen(value) + 1;
    }
    return NULL;
}

static void on_head(struct http_call *c, void *user, int code)
{
    struct relay *r = user;
    const char *type = http_call_header(c, "Content-Type");
    r->passing = code < 400 && is_stream_type(type);
    if (r->begun) return; /* a stream that goes on */
    r->code = code;
    keep_head(r, c);
    r->journal.lines = type && !strncasecmp(type, "application/x-ndjson", 20);
    r->journal.kept = r->ask.stream && !r->route.remote;
    r->generation = r->route.generation;
}

static void on_body(struct http_call *c, void *user, const char *p, size_t n)
{
    struct relay *r = user;
    if (!r->passing) {
        if (!r->begun) buf_add(&r->out, p, n);
        return;
    }
    size_t before = r->out.n;
    journal_feed(&r->journal, p, n, &r->out);
    if (r->out.n == before) return;
    if (r->tries > 1) pool_moved(r->ticket);
    r->begun = r->moved = true;
    r->tries = 1;
    r->state = RELAY_ANSWERING;
    r->progress[0] = 0;
    if (r->out.n > HIGH_BYTES && !r->paused) {
        r->paused = true;
        http_call_pause(c, true);
    }
    wake_owner(r);
}

static enum pool_failed how_failed(const struct http_result *result)
{
    switch (result->cause) {
    case HTTP_CAUSE_NONE: return POOL_OK;
    case HTTP_CAUSE_TIMEOUT: return POOL_FAILED_TIMEOUT;
    case HTTP_CAUSE_RESOLVE:
    case HTTP_CAUSE_CONNECT:
    case HTTP_CAUSE_TLS: return POOL_FAILED_REFUSED;
    default: return POOL_FAILED_CUT;
    }
}

/* May it be asked once more? A worker's own trouble, and nothing of the answer is with the client, or exactly
 * what the journal says. */
static bool may_repeat(const struct relay *r, const struct http_result *result)
{
    bool trouble = result->cause != HTTP_CAUSE_NONE || r->code == 500 || r->code == 502 || r->code == 503 ||
                   r->code == 504 || (r->begun && !r->passing);
    bool fit = result->cause != HTTP_CAUSE_ARGUMENT && result->cause != HTTP_CAUSE_LIMIT;
    return trouble && fit && r->tries < MAX_TRIES && (!r->begun || journal_resumes(&r->journal));
}

static void end_failed(struct relay *r, const struct http_result *result)
{
    bool late = result->cause == HTTP_CAUSE_TIMEOUT;
    refuse(&r->fault, late ? 504 : 502, late ? "timeout" : "worker_failed", NULL,
           "the model's worker failed: %s",
           *result->why ? result->why : "it could not go on with the answer");
    if (r->begun) atomic_fetch_add(&r->g->n_lost, 1);
    end_with(r, RELAY_FAILED);
}

static void repeat(struct relay *r, const struct pool_outcome *how)
{
    LOG(WARN, "gateway", r->begun ? "resume" : "retry",
        "id=%s model=%s worker=%llu status=%d failed=%d tokens=%zu", http_request_id(r->ask.x),
        r->route.model, (unsigned long long)r->route.worker, how->status, how->failed, r->journal.n_token);
    atomic_fetch_add(r->begun ? &r->g->n_resume : &r->g->n_retry, 1);
    journal_cut(&r->journal);
    if (!r->begun) buf_reset(&r->out);
    r->state = r->begun ? RELAY_ANSWERING : RELAY_WAITING;
    if (!pool_again(r->ticket, how)) r->tries--;
    try_next(r);
}

static void ask_elsewhere(struct relay *r)
{
    buf_reset(&r->out);
    r->tries = 0;
    r->state = RELAY_WAITING;
    try_next(r);
}

static void on_end(struct http_call *c, void *user, const struct http_result *result)
{
    struct relay *r = user;
    const struct pool_outcome how = {.status = result->code,
                                     .first_us = result->first_byte_us,
                                     .bytes = result->bytes_in,
                                     .moved = r->moved,
                                     .failed = how_failed(result)};
    bool resumed = r->begun && result->code && !r->passing; /* a worker that would not go on */
    bool unknown = r->ask.memory && r->code == 404 && !r->begun && result->cause == HTTP_CAUSE_NONE;
    r->call = NULL;
    r->paused = false;
    if (unknown && pool_elsewhere(r->ticket, &how)) {
        ask_elsewhere(r);
    } else if (r->out.failed) {
        leave(r, &how);
        end_failed(r, &(struct http_result){.why = "the answer is too large"});
    } else if (r->journal.ended) {
        leave(r, &how);
        end_with(r, RELAY_WHOLE);
    } else if (may_repeat(r, result)) {
        repeat(r, &how);
    } else if (result->cause != HTTP_CAUSE_NONE || resumed) {
        leave(r, &how);
        end_failed(r, result);
    } else {
        leave(r, &how);
        if (r->passing) journal_finish(&r->journal, &r->out);
        end_with(r, RELAY_WHOLE);
    }
}

/* ---- asking ------------------------------------------------------------------------------------------ */

static void add_identity(struct relay *r, struct http_header *h, size_t *n, struct buf *bearer,
                         struct buf *trace)
{
    struct http_trace t;
    h[(*n)++] = (struct http_header){"X-Request-Id", http_request_id(r->ask.x)};
    if (http_trace(r->ask.x, &t)) {
        buf_addf(trace, "00-%s-%s-%02x", t.id, t.parent, t.sampled);
        h[(*n)++] = (struct http_header){"traceparent", trace->data};
    }
    if (r->route.api_key) {
        buf_addf(bearer, "Bearer %s", r->route.api_key);
        h[(*n)++] = (struct http_header){"Authorization", bearer->data};
    }
    if (r->ask.stream && !r->route.remote) h[(*n)++] = (struct http_header){"X-Corral-Journal", "1"};
}

/* The body for this worker: as its model's options want it, behind the journal of what was answered so far.
 */
static struct http_str make_body(struct relay *r, struct buf *made, char replay[24])
{
    struct buf wanted = {0};
    struct http_str body = r->ask.body;
    if (settings_apply(&r->ask, &r->route, &wanted)) body = (struct http_str){wanted.data, wanted.n};
    if (r->begun) {
        journal_write(&r->journal, made);
        snprintf(replay, 24, "%zu", made->n);
    }
    if (r->begun || wanted.n) {
        buf_add(made, body.p, body.n);
        body = (struct http_str){made->data, made->n};
    }
    buf_deinit(&wanted);
    return body;
}

static void ask_worker(struct relay *r)
{
    static const struct http_call_ops ops = {.head = on_head, .body = on_body, .end = on_end};
    struct http_header h[RELAY_MAX_HEADERS + 5];
    struct buf url = {0}, body = {0}, bearer = {0}, trace = {0};
    char replay[24] = "";
    bool own = !r->route.remote;
    size_t n = relay_request_headers(r->ask.x, !own, h);
    add_identity(r, h, &n, &bearer, &trace);
    struct http_str what = make_body(r, &body, replay);
    if (*replay) h[n++] = (struct http_header){"X-Corral-Replay", replay};
    buf_addf(&url, "%s%s", r->route.unix_path ? "http://worker" : r->route.url, r->ask.target);
    const struct http_call_options o = {.method = r->ask.method,
                                        .url = url.data,
                                        .unix_path = r->route.unix_path,
                                        .header = h,
                                        .n_header = n,
                                        .body = what.n ? what.p : NULL,
                                        .n_body = what.n,
                                        .connect_timeout_ms = CONNECT_MS,
                                        .first_byte_timeout_ms = own ? NEVER_MS : REMOTE_FIRST_MS,
                                        .stall_timeout_ms = own ? NEVER_MS : REMOTE_STALL_MS};
    r->tries++;
    r->moved = false;
    r->progress[0] = 0;
    r->call = http_call_start(r->client, &o, &ops, r);
    buf_deinit(&url);
    buf_deinit(&body);
    buf_deinit(&bearer);
    buf_deinit(&trace);
}

static void try_next(struct relay *r)
{
    struct pool_fault f = {0};
    switch (pool_poll(r->ticket, &r->route, &f)) {
    case POOL_READY:
        if (r->begun && r->route.generation != r->generation) {
            refuse(
                &r->fault, 502, "worker_failed", NULL,
                "the model's worker failed, and the model has been replaced since: the answer cannot go on");
            atomic_fetch_add(&r->g->n_lost, 1);
            leave(r, &(struct pool_outcome){0});
            end_with(r, RELAY_FAILED);
            return;
        }
        ask_worker(r);
        return;
    case POOL_REFUSED: end_refused(r, &f); return;
    case POOL_WAIT: break;
    }
    snprintf(r->progress, sizeof r->progress, "%s", r->route.text);
    if (clock_us() - r->started_us < (int64_t)r->g->o.wait_ms * 1000) return;
    snprintf(f.msg, sizeof f.msg, "%.200s: it took longer than a request may wait", r->route.text);
    f.code = 503;
    f.retry_after_s = 30;
    end_refused(r, &f);
}

/* ---- life cycle -------------------------------------------------------------------------------------- */

static void enlist(struct relay *r)
{
    struct gateway *g = r->g;
    pthread_mutex_lock(&g->lock);
    r->next = g->relay;
    if (r->next) r->next->prev = r;
    g->relay = r;
    pthread_mutex_unlock(&g->lock);
}

static void delist(struct relay *r)
{
    struct gateway *g = r->g;
    pthread_mutex_lock(&g->lock);
    *(r->prev ? &r->prev->next : &g->relay) = r->next;
    if (r->next) r->next->prev = r->prev;
    pthread_mutex_unlock(&g->lock);
}

void relays_wake(struct gateway *g)
{
    pthread_mutex_lock(&g->lock);
    for (struct relay *r = g->relay; r; r = r->next) http_waker_fire(r->waker);
    pthread_mutex_unlock(&g->lock);
}

struct relay *relay_new(struct gateway *g, const struct relay_ask *ask, struct http_waker *waker)
{
    struct relay *r = mem_zalloc(1, sizeof *r);
    r->g = g;
    r->ask = *ask;
    r->waker = waker;
    r->started_us = clock_us();
    r->client = http_exchange_client(ask->x);
    r->out.max = MAX_WHOLE;
    journal_init(&r->journal, false);
    enlist(r);
    r->ticket = pool_enter(g->o.pool, &ask->want, waker);
    try_next(r);
    return r;
}

/* The server is about to stop: whoever still waits is told so. */
static void end_over(struct relay *r)
{
    const struct pool_outcome gone = {.status = r->code, .failed = POOL_FAILED_CLIENT};
    if (r->call) http_call_cancel(r->call);
    r->call = NULL;
    journal_cut(&r->journal);
    leave(r, &gone);
    refuse(&r->fault, 503, "shutting_down", NULL, "the server is shutting down");
    if (r->begun) atomic_fetch_add(&r->g->n_lost, 1);
    end_with(r, RELAY_FAILED);
}

void relay_advance(struct relay *r)
{
    if (atomic_load(&r->g->over) && r->state <= RELAY_ANSWERING) {
        end_over(r);
        return;
    }
    bool asks = !r->call && r->ticket && r->state <= RELAY_ANSWERING;
    if (asks) try_next(r);
}

void relay_took(struct relay *r, size_t n)
{
    buf_drop(&r->out, n);
    if (!r->paused || r->out.n > LOW_BYTES) return;
    r->paused = false;
    if (r->call) http_call_pause(r->call, false);
}

void relay_free(struct relay *r)
{
    const struct pool_outcome gone = {.status = r->code, .failed = POOL_FAILED_CLIENT};
    if (r->call) http_call_cancel(r->call);
    leave(r, &gone);
    delist(r);
    http_waker_free(r->waker);
    journal_deinit(&r->journal);
    buf_deinit(&r->head);
    buf_deinit(&r->out);
    free(r);
}
