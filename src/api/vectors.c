#include "api/vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "api/workers.h"
#include "base/clock.h"

/* Prompts of one request in the engine at once: enough to fill its steps, too few to fill its queue. */
enum { AT_ONCE = 32 };

/* Held by the exchange, by the worker while it prepares, and by each prompt in the engine. */
struct run {
    struct vectors v;
    struct vectors_options o;
    const struct renderer *render;
    vectors_render *fn;
    struct http_waker *waker;
    atomic_uint refs;
    atomic_bool prepared; /* what the worker wrote is the loop's */
    struct item {
        struct run *run;
        uint64_t id;
        bool submitted;
    } * item;
    uint32_t n_submitted;
    bool replied;

    pthread_mutex_t lock; /* guards what follows, and v.of of prompts in the engine */
    uint32_t n_ended;
    bool refused;
    struct fault fault;
};

static void unref(struct run *u)
{
    if (atomic_fetch_sub(&u->refs, 1) != 1) return;
    for (uint32_t i = 0; i < u->v.req.n_prompt; i++) free(u->v.of[i].v);
    free(u->v.of);
    free(u->item);
    http_waker_free(u->waker);
    request_deinit(&u->v.req);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

/* ---- the engine's side ------------------------------------------------------------------------------- */

static void add_rows(struct vector *out, const struct engine_event *ev)
{
    uint32_t n_row = ev->row_at + ev->n_row;
    if (n_row > out->n_row) {
        out->v = mem_realloc(out->v, (size_t)n_row * ev->n_vector, sizeof *out->v);
        out->n_row = n_row;
        out->n = ev->n_vector;
    }
    memcpy(out->v + (size_t)ev->row_at * ev->n_vector, ev->vector,
           (size_t)ev->n_row * ev->n_vector * sizeof *out->v);
}

static void note_end(struct run *u, const struct engine_event *ev)
{
    u->n_ended++;
    if (ev->finish == FINISH_STOP || u->refused) return;
    u->refused = true;
    if (ev->finish == FINISH_TIMEOUT)
        refuse(&u->fault, 408, "timeout", NULL, "the time allowed for this request has passed");
    else if (ev->finish == FINISH_CANCELLED)
        refuse(&u->fault, 503, "shutting_down", NULL, "the server is shutting down");
    else
        refuse(&u->fault, 500, NULL, NULL, "%s", ev->error ? ev->error->msg : "the engine failed");
}

static void on_event(void *user, const struct engine_event *ev)
{
    struct item *it = user;
    struct run *u = it->run;
    pthread_mutex_lock(&u->lock);
    if (ev->kind == EV_VECTOR)
        add_rows(&u->v.of[it - u->item], ev);
    else if (ev->kind == EV_END)
        note_end(u, ev);
    pthread_mutex_unlock(&u->lock);
    if (ev->kind != EV_END) return;
    http_waker_fire(u->waker);
    unref(u);
}

/* ---- the loop's side --------------------------------------------------------------------------------- */

static bool submit_refused(const struct run *u, uint32_t i, status s, const struct error *e, struct fault *f)
{
    struct engine_stats stats;
    size_t n = u->v.req.prompt[i].ids.n;
    switch (s) {
    case ERR_BUSY: return refuse(f, 429, "queue_full", NULL, "too many requests: %s", e->msg);
    case ERR_LIMIT:
        engine_stats(u->v.api->o.engine, &stats);
        refuse(f, 400, "context_length_exceeded", "input",
               "input %u is too large: it has %zu tokens, but this server's context holds %u", i, n,
               stats.max_context);
        f->n_prompt = (uint32_t)n;
        f->n_ctx = stats.max_context;
        return false;
    case ERR_UNSUPPORTED: return refuse(f, 400, "unsupported_parameter", NULL, "%s", e->msg);
    case ERR_CANCELLED: return refuse(f, 503, "shutting_down", NULL, "the server is shutting down");
    case ERR_ARG: return refuse(f, 400, "invalid_value", NULL, "%s", e->msg);
    default: return refuse(f, 500, NULL, NULL, "%s", e->msg);
    }
}

static status submit(struct run *u, uint32_t i, struct error *e)
{
    const struct request *r = &u->v.req;
    struct item *it = &u->item[i];
    const struct engine_request er = {.prompt = r->prompt[i].ids.id,
                                      .n_prompt = (uint32_t)r->prompt[i].ids.n,
                                      .task = u->o.task,
                                      .pooling = u->o.pooling,
                                      .normalize = u->o.normalize,
                                      .params = r->params,
                                      .on_event = on_event,
                                      .user = it,
                                      .priority = r->priority,
                                      .tenant = r->tenant,
                                      .no_cache = r->no_cache,
                                      .queue_timeout_ns = r->queue_timeout_ns,
                                      .total_timeout_ns = r->total_timeout_ns};
    it->run = u;
    atomic_fetch_add(&u->refs, 1);
    status s = engine_submit(u->v.api->o.engine, &er, &it->id, e);
    it->submitted = s == OK;
    if (s != OK) unref(u); /* not the last: the exchange holds one */
    return s;
}

/* As many prompts into the engine as may be there. */
static bool advance(struct run *u, struct fault *f)
{
    struct error e;
    pthread_mutex_lock(&u->lock);
    uint32_t n_ended = u->n_ended;
    bool refused = u->refused;
    if (refused) *f = u->fault;
    pthread_mutex_unlock(&u->lock);
    if (refused) return false;
    while (u->n_submitted < u->v.req.n_prompt && u->n_submitted - n_ended < AT_ONCE) {
        status s = submit(u, u->n_submitted, &e);
        if (s == ERR_BUSY && u->n_submitted > n_ended) break; /* again when one of ours has ended */
        if (s != OK) return submit_refused(u, u->n_submitted, s, &e, f);
        u->v.n_prompt_tokens += u->v.req.prompt[u->n_submitted++].ids.n;
    }
    return true;
}

static bool all_ended(struct run *u)
{
    pthread_mutex_lock(&u->lock);
    bool all = u->n_ended == u->v.req.n_prompt && !u->refused;
    pthread_mutex_unlock(&u->lock);
    return all;
}

static void reply(struct http_exchange *x, struct run *u)
{
    struct buf body = {0};
    u->v.total_ns = clock_ns() - u->v.began_ns;
    u->fn(&u->v, &body);
    reply_body(x, &body);
}

static void on_wake(struct http_exchange *x, void *user)
{
    struct run *u = user;
    struct fault f;
    if (u->replied || !atomic_load(&u->prepared)) return;
    bool ok = advance(u, &f);
    if (ok && !all_ended(u)) return;
    u->replied = true;
    if (ok)
        reply(x, u);
    else
        reply_fault(x, u->render, &f);
}

static void on_end(struct http_exchange *x, void *user, bool complete)
{
    struct run *u = user;
    for (uint32_t i = 0; i < u->n_submitted; i++)
        if (u->item[i].submitted)
            engine_cancel(u->v.api->o.engine, u->item[i].id); /* ended ones are unknown */
    unref(u);
}

static const struct http_responder responder = {.wake = on_wake, .end = on_end};

static void prepare(void *user)
{
    struct run *u = user;
    if (!request_encode(&u->v.req, u->v.api, &u->fault)) u->refused = true;
    atomic_store(&u->prepared, true);
    http_waker_fire(u->waker);
    unref(u);
}

void vectors_run(struct http_exchange *x, const struct api *api, const struct renderer *render,
                 struct request *r, const struct vectors_options *o, vectors_render *fn)
{
    struct run *u = mem_zalloc(1, sizeof *u);
    *u = (struct run){
        .v = {.api = api, .req = *r, .began_ns = clock_ns()}, .o = *o, .render = render, .fn = fn};
    *r = (struct request){0};
    u->v.of = mem_zalloc(u->v.req.n_prompt + 1, sizeof *u->v.of);
    u->item = mem_zalloc(u->v.req.n_prompt + 1, sizeof *u->item);
    pthread_mutex_init(&u->lock, NULL);
    atomic_init(&u->refs, 2); /* the exchange's and prepare's */
    if (u->v.req.ignored.n) http_set_header(x, "X-Corral-Ignored", u->v.req.ignored.data);
    http_attach(x, &responder, u);
    u->waker = http_waker_new(x);
    if (request_is_short(&u->v.req))
        prepare(u);
    else
        workers_run(api->workers, prepare, u);
}

/* ---- inputs and numbers ------------------------------------------------------------------------------ */

bool set_inputs(struct parse *p, const char *name, const json_t *v)
{
    p->r->encode = vectors_encode;
    return read_prompts(p, name, v, VECTORS_MAX_INPUTS, "texts");
}

bool vectors_encode(const struct api *api, struct request *r, struct fault *f)
{
    const struct tokenizer *t = api->o.tok;
    struct tok_options o = {.bos = TOK_BOS_AUTO};
    struct error e;
    for (uint32_t i = 0; i < r->n_prompt; i++) {
        struct prompt *p = &r->prompt[i];
        if (p->text && tokenizer_encode(t, p->text, p->n, &o, &p->ids, &e) != OK)
            return refuse(f, 400, "invalid_value", "input", "input %u: %s", i, e.msg);
        if (p->text && tokenizer_adds_eos(t) && tokenizer_eos(t) >= 0) tok_ids_add(&p->ids, tokenizer_eos(t));
    }
    return true;
}

void vector_shorten(float *v, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += (double)v[i] * (double)v[i];
    float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
    for (uint32_t i = 0; i < n; i++) v[i] *= scale;
}

void vector_json(struct buf *out, const float *v, uint32_t n)
{
    buf_addc(out, '[');
    for (uint32_t i = 0; i < n; i++) buf_addf(out, i ? ",%.8g" : "%.8g", (double)v[i]);
    buf_addc(out, ']');
}

void vector_base64(struct buf *out, const float *v, uint32_t n)
{
    size_t bytes = (size_t)n * sizeof *v;
    buf_addc(out, '"');
    char *to = buf_room(out, (bytes + 2) / 3 * 4 + 1);
    if (to) out->n += (size_t)EVP_EncodeBlock((unsigned char *)to, (const unsigned char *)v, (int)bytes);
    buf_addc(out, '"');
}
