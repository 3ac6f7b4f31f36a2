/* A generation as the answer of an HTTP exchange: a plain error while nothing was sent, a stream, or all at
 * once. */
#include <stdio.h>
#include <stdlib.h>

#include "api/generation.h"
#include "api/resume.h"
#include "base/log.h"

struct answer {
    struct generation *g;
    uint32_t keepalive_ms;
    bool streaming;   /* the response's head was sent */
    bool spoke, ping; /* something was written since the last tick; write a ping if there is nothing else */
};

void reply_fault(struct http_exchange *x, const struct renderer *render, const struct fault *f)
{
    struct buf body = {0};
    fault_write(f, render->family, &body);
    if (f->code == 429 || f->code == 503) http_set_header(x, "Retry-After", "1");
    http_reply(x, f->code, "application/json", body.data, body.n);
    buf_deinit(&body);
}

/* Of a schema, or of the tools that are not strict. */
static void say_what_is_left_out(struct http_exchange *x, const struct generation *g)
{
    char text[512] = "";
    if (g->submitted && g->req.compiled)
        snprintf(text, sizeof text, "%s", constraint_left_out(g->req.compiled));
    if (*text) http_set_header(x, "X-Corral-Left-Out", text);
}

static void begin_stream(struct http_exchange *x, struct answer *a)
{
    say_what_is_left_out(x, a->g);
    http_set_header(x, "Cache-Control", "no-cache");
    http_set_header(x, "X-Accel-Buffering", "no"); /* nginx would collect the events */
    http_stream(x, 200, family_stream_type(a->g->render->family));
    a->streaming = true;
}

void reply_body(struct http_exchange *x, struct buf *body)
{
    if (body->failed)
        http_reply_error(x, 500, "out of memory");
    else
        http_reply(x, 200, "application/json", body->data, body->n);
    buf_deinit(body);
}

static void reply_whole(struct http_exchange *x, struct generation *g)
{
    struct buf body = {0};
    g->render->whole(g, &body);
    say_what_is_left_out(x, g);
    reply_body(x, &body);
}

/* Until the response has begun; then pull takes in what arrives. */
static void on_wake(struct http_exchange *x, void *user)
{
    struct answer *a = user;
    struct fault f;
    if (a->streaming) return;
    if (!generation_advance(a->g, &f)) {
        reply_fault(x, a->g->render, &f);
    } else if (a->g->req.stream) {
        if (generation_has_output(a->g)) begin_stream(x, a);
    } else if (a->g->n_open == 0) {
        reply_whole(x, a->g);
    }
}

/* A stream with nothing to say (a long prompt) begins after one interval, and says that it is alive. */
static void on_timer(struct http_exchange *x, void *user)
{
    struct answer *a = user;
    http_set_timer(x, a->keepalive_ms);
    if (!a->streaming) begin_stream(x, a);
    a->ping = !a->spoke;
    a->spoke = false;
}

static enum http_pull on_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct answer *a = user;
    const struct renderer *r = a->g->render;
    struct fault f;
    if (!generation_advance(a->g, &f)) {
        if (a->g->req.journal && f.code >= 500) { /* who has the journal goes on elsewhere */
            LOG(WARN, "api", "cut", "id=%s %s", a->g->id, f.msg);
            return HTTP_FAIL;
        }
        if (!a->g->req.journal) generation_stream(a->g, out);
        fault_write_event(&f, r->family, r->sequence ? r->sequence(a->g) : 0, out);
        return HTTP_DONE;
    }
    bool end = generation_stream(a->g, out);
    const char *ping = family_ping(r->family);
    if (a->ping && !end && out->n == 0 && ping) buf_adds(out, ping);
    if (a->g->req.journal) resume_write(a->g, out);
    a->ping = false;
    a->spoke = a->spoke || out->n > 0;
    return end ? HTTP_DONE : HTTP_WAIT;
}

static void on_end(struct http_exchange *x, void *user, bool complete)
{
    struct answer *a = user;
    struct usage u;
    generation_usage(a->g, &u);
    LOG(INFO, "api", "generated",
        "id=%s request=%s choices=%u prompt_tokens=%llu cached=%llu tokens=%llu complete=%d", a->g->id,
        http_request_id(x), a->g->n_choice, (unsigned long long)u.prompt, (unsigned long long)u.cached,
        (unsigned long long)u.completion, complete);
    generation_end(a->g);
    free(a);
}

static const struct http_responder responder = {
    .wake = on_wake, .timer = on_timer, .pull = on_pull, .end = on_end};

void generate(struct http_exchange *x, const struct api *api, const struct renderer *render,
              struct request *req)
{
    struct answer *a = mem_zalloc(1, sizeof *a);
    a->keepalive_ms = api->o.keepalive_ms;
    http_attach(x, &responder, a); /* before anything is submitted: events may come at once */
    if (req->ignored.n) http_set_header(x, "X-Corral-Ignored", req->ignored.data);
    a->g = generation_new(api, render, req, http_waker_new(x));
    generation_start(a->g);
    if (a->g->req.stream) http_set_timer(x, a->keepalive_ms);
}
