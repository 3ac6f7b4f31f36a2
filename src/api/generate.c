#include "api/generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/rng.h"

/* One event of the engine as it waits in the queue. */
struct arrival {
    uint32_t choice;
    bool end;
    enum finish_reason finish;
    int32_t token;
    float logprob;
    uint32_t n_top; /* the next n_top rows of inbox.top */
};

/* ---- the engine's side ------------------------------------------------------------------------------- */

static void generation_unref(struct generation *g)
{
    if (atomic_fetch_sub(&g->refs, 1) != 1) return;
    for (uint32_t i = 0; i < g->n_choice; i++) {
        struct choice *c = &g->choice[i];
        text_stream_free(c->detok);
        buf_deinit(&c->text);
        free(c->note);
        free(c->top);
    }
    struct inbox *both[] = {&g->inbox, &g->taken};
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        free(both[i]->item);
        free(both[i]->top);
    }
    pthread_mutex_destroy(&g->lock);
    http_waker_free(g->waker);
    request_deinit(&g->req);
    free(g->choice);
    free(g);
}

static void add_arrival(struct inbox *in, const struct arrival *a, const struct sample_logprob *top)
{
    if (in->n == in->cap) {
        in->cap = MAX(16u, in->cap * 2);
        in->item = mem_realloc(in->item, in->cap, sizeof *in->item);
    }
    if (in->n_top + a->n_top > in->cap_top) {
        in->cap_top = MAX(in->cap_top * 2, in->n_top + a->n_top);
        in->top = mem_realloc(in->top, in->cap_top, sizeof *in->top);
    }
    in->item[in->n++] = *a;
    if (a->n_top) memcpy(in->top + in->n_top, top, a->n_top * sizeof *top);
    in->n_top += a->n_top;
}

/* On the engine's thread: copy, queue, wake. */
static void on_event(void *user, const struct engine_event *ev)
{
    struct choice *c = user;
    struct generation *g = c->g;
    struct arrival a = {.choice = c->index};
    if (ev->kind == EV_TOKEN) {
        a.token = ev->token->token;
        a.logprob = ev->token->logprob;
        a.n_top = g->req.logprobs ? ev->token->n_top : 0;
    } else {
        a.end = true;
        a.finish = ev->finish;
    }
    pthread_mutex_lock(&g->lock);
    if (a.end) {
        c->timing = ev->timing;
        if (ev->error) c->error = *ev->error;
    }
    if (a.end || g->inbox.n < g->api->max_buffered)
        add_arrival(&g->inbox, &a, a.end ? NULL : ev->token->top);
    else
        g->inbox.overflow = true;
    pthread_mutex_unlock(&g->lock);
    http_waker_fire(g->waker);
    if (a.end) generation_unref(g);
}

/* ---- tokens to text ---------------------------------------------------------------------------------- */

static uint32_t count_chars(const char *s, size_t n)
{
    uint32_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)s[i] & 0xC0) != 0x80;
    return chars;
}

static void add_note(struct choice *c, const struct arrival *a, const struct sample_logprob *top)
{
    if (c->n_note == c->cap_note) {
        c->cap_note = MAX((size_t)16, c->cap_note * 2);
        c->note = mem_realloc(c->note, c->cap_note, sizeof *c->note);
    }
    if (c->n_top + a->n_top > c->cap_top) {
        c->cap_top = MAX(c->cap_top * 2, c->n_top + a->n_top);
        c->top = mem_realloc(c->top, c->cap_top, sizeof *c->top);
    }
    c->note[c->n_note++] = (struct token_note){.token = a->token,
                                               .logprob = a->logprob,
                                               .start = c->piece_bytes,
                                               .start_chars = c->piece_chars,
                                               .top_at = (uint32_t)c->n_top,
                                               .n_top = a->n_top};
    if (a->n_top) memcpy(c->top + c->n_top, top, a->n_top * sizeof *top);
    c->n_top += a->n_top;
}

size_t notes_ready(const struct choice *c)
{
    size_t n = c->n_written;
    bool whole = c->ended && !c->stopped;
    while (n < c->n_note && (whole || c->note[n].start < c->text_bytes)) n++;
    return n;
}

static void end_choice(struct choice *c, enum finish_reason why)
{
    c->ended = true;
    c->finish = why;
    c->g->n_open--;
}

static void take_token(struct choice *c, const struct arrival *a, const struct sample_logprob *top)
{
    size_t n, before = c->text.n;
    const char *piece = tokenizer_piece(c->g->api->tok, a->token, &n);
    if (c->g->req.logprobs) add_note(c, a, top);
    c->n_tokens++;
    c->piece_bytes += n;
    c->piece_chars += count_chars(piece, n);
    bool stop = text_stream_push(c->detok, a->token, &c->text);
    c->text_bytes += c->text.n - before;
    if (!stop) return;
    c->stopped = true;
    end_choice(c, FINISH_STOP);
    engine_cancel(c->g->api->engine, c->engine_id);
}

static void take_end(struct choice *c, const struct arrival *a)
{
    size_t before = c->text.n;
    text_stream_finish(c->detok, &c->text);
    c->text_bytes += c->text.n - before;
    end_choice(c, a->finish);
}

/* Take in what the engine sent. False: this reader is so slow that tokens were dropped. */
static bool take_arrivals(struct generation *g)
{
    struct inbox empty = g->taken, *in = &g->taken;
    const struct sample_logprob *top;
    empty.n = empty.n_top = 0;
    empty.overflow = false;
    pthread_mutex_lock(&g->lock);
    g->taken = g->inbox;
    g->inbox = empty; /* its memory is used again */
    pthread_mutex_unlock(&g->lock);
    top = in->top;
    for (size_t i = 0; i < in->n; i++) {
        const struct arrival *a = &in->item[i];
        struct choice *c = &g->choice[a->choice];
        if (c->ended) {
        } /* after its stop string */
        else if (a->end)
            take_end(c, a);
        else
            take_token(c, a, top);
        top += a->n_top;
    }
    return !in->overflow;
}

/* ---- the answer -------------------------------------------------------------------------------------- */

static void cancel_all(struct generation *g)
{
    for (uint32_t i = 0; i < g->n_choice; i++)
        if (g->choice[i].submitted && !g->choice[i].ended)
            engine_cancel(g->api->engine, g->choice[i].engine_id);
}

void reply_fault(struct http_exchange *x, const struct renderer *render, const struct fault *f)
{
    struct buf body = {0};
    render->error(f, &body);
    if (f->code == 429 || f->code == 503) http_set_header(x, "Retry-After", "1");
    http_reply(x, f->code, "application/json", body.data, body.n);
    buf_deinit(&body);
}

/* Did a choice end for a reason that is no answer? */
static bool find_fault(struct generation *g, struct fault *f)
{
    for (uint32_t i = 0; i < g->n_choice; i++) {
        const struct choice *c = &g->choice[i];
        if (!c->ended || (c->finish != FINISH_ERROR && c->finish != FINISH_CANCELLED)) continue;
        if (c->finish == FINISH_CANCELLED)
            refuse(f, 503, "shutting_down", NULL, "the server is shutting down");
        else
            refuse(f, 500, NULL, NULL, "generation failed: %s", c->error.msg);
        return true;
    }
    return false;
}

static bool anything(const struct generation *g)
{
    for (uint32_t i = 0; i < g->n_choice; i++)
        if (g->choice[i].text.n || g->choice[i].ended) return true;
    return false;
}

static void begin_stream(struct generation *g)
{
    http_set_header(g->x, "Cache-Control", "no-cache");
    http_set_header(g->x, "X-Accel-Buffering", "no"); /* nginx would collect the events */
    http_stream(g->x, 200, g->render->stream_type);
    g->streaming = true;
}

static void reply_whole(struct generation *g)
{
    struct buf body = {0};
    g->render->whole(g, &body);
    if (body.failed)
        http_reply_error(g->x, 500, "out of memory");
    else
        http_reply(g->x, 200, "application/json", body.data, body.n);
    buf_deinit(&body);
}

/* Until the response has begun; then pull takes in what arrives. */
static void on_wake(struct http_exchange *x, void *user)
{
    struct generation *g = user;
    struct fault f;
    if (g->streaming) return;
    if (!take_arrivals(g)) {
        refuse(&f, 500, NULL, NULL, "more tokens than this server holds for one request (%u)",
               g->api->max_buffered);
        reply_fault(x, g->render, &f);
    } else if (find_fault(g, &f)) {
        reply_fault(x, g->render, &f); /* nothing was sent yet: a plain error */
    } else if (g->req.stream) {
        if (anything(g)) begin_stream(g);
    } else if (g->n_open == 0) {
        reply_whole(g);
    }
}

/* A stream with nothing to say (a long prompt) begins after one interval, and says that it is alive. */
static void on_timer(struct http_exchange *x, void *user)
{
    struct generation *g = user;
    http_set_timer(x, g->api->keepalive_ms);
    if (!g->streaming) begin_stream(g);
    g->ping = !g->spoke;
    g->spoke = false;
}

static enum http_pull end_with_fault(struct generation *g, struct buf *out, const struct fault *f)
{
    g->render->error_event(f, out);
    return HTTP_DONE;
}

static enum http_pull on_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct generation *g = user;
    struct fault f;
    if (!take_arrivals(g)) {
        refuse(&f, 500, "slow_reader", NULL,
               "the stream was read too slowly: more than %u tokens were waiting", g->api->max_buffered);
        return end_with_fault(g, out, &f);
    }
    if (find_fault(g, &f)) return end_with_fault(g, out, &f);
    if (!g->begun && anything(g)) {
        g->render->begin(g, out);
        g->begun = true;
    }
    for (uint32_t i = 0; g->begun && i < g->n_choice; i++) {
        struct choice *c = &g->choice[i];
        if (c->closed) continue;
        if (c->text.n || notes_ready(c) > c->n_written) g->render->delta(g, c, out);
        buf_reset(&c->text);
        if (c->ended) g->render->last(g, c, out);
        c->closed = c->ended;
    }
    if (g->n_open == 0) {
        g->render->end(g, out);
        return HTTP_DONE;
    }
    if (g->ping && out->n == 0) http_sse_comment(out, "waiting");
    g->ping = false;
    g->spoke = g->spoke || out->n > 0;
    return HTTP_WAIT;
}

static void log_end(const struct generation *g, bool complete)
{
    uint32_t n_prompt = 0, n_tokens = 0;
    for (uint32_t i = 0; i < g->req.n_prompt; i++) n_prompt += (uint32_t)g->req.prompt[i].n;
    for (uint32_t i = 0; i < g->n_choice; i++) n_tokens += g->choice[i].n_tokens;
    LOG(INFO, "api", "generated", "id=%s request=%s choices=%u prompt_tokens=%u tokens=%u complete=%d", g->id,
        http_request_id(g->x), g->n_choice, n_prompt, n_tokens, complete);
}

static void on_end(struct http_exchange *x, void *user, bool complete)
{
    struct generation *g = user;
    log_end(g, complete);
    cancel_all(g); /* the client has gone, or an error ended it */
    g->x = NULL;
    generation_unref(g);
}

static const struct http_responder responder = {
    .wake = on_wake, .timer = on_timer, .pull = on_pull, .end = on_end};

/* ---- starting ---------------------------------------------------------------------------------------- */

static void make_id(struct generation *g)
{
    uint64_t a = rng_seed_from_os();
    snprintf(g->id, sizeof g->id, "%s-%016llx%08llx", g->req.chat ? "chatcmpl" : "cmpl",
             (unsigned long long)a, (unsigned long long)g->created & 0xffffffff);
}

static bool submit(struct choice *c, struct fault *f)
{
    struct generation *g = c->g;
    const struct tok_ids *prompt = &g->req.prompt[c->prompt];
    struct engine_request er = {.prompt = prompt->id,
                                .n_prompt = (uint32_t)prompt->n,
                                .max_tokens = g->req.max_tokens,
                                .params = g->req.params,
                                .on_event = on_event,
                                .user = c};
    struct error e;
    er.params.choice = c->index % g->req.n;
    er.params.eog = g->api->eog;
    er.params.n_eog = g->api->n_eog;
    if (text_stream_new(&c->detok, g->api->tok, (const char *const *)g->req.stop, g->req.n_stop, false, &e) !=
        OK)
        return refuse(f, 400, "invalid_value", "stop", "'stop': %s", e.msg);

    atomic_fetch_add(&g->refs, 1); /* until its END */
    status s = engine_submit(g->api->engine, &er, &c->engine_id, &e);
    if (s == OK) {
        c->submitted = true;
        return true;
    }
    generation_unref(g); /* not the last: the exchange holds one */
    switch (s) {
    case ERR_BUSY: return refuse(f, 429, "queue_full", NULL, "too many requests: %s", e.msg);
    case ERR_LIMIT: {
        struct engine_stats stats;
        engine_stats(g->api->engine, &stats);
        refuse(f, 400, "context_length_exceeded", g->req.chat ? "messages" : "prompt",
               "the prompt has %zu tokens, but this server's context holds %u", prompt->n, stats.max_context);
        f->n_prompt = (uint32_t)prompt->n;
        f->n_ctx = stats.max_context;
        return false;
    }
    case ERR_CANCELLED: return refuse(f, 503, "shutting_down", NULL, "the server is shutting down");
    case ERR_ARG: return refuse(f, 400, "invalid_value", NULL, "%s", e.msg);
    default: return refuse(f, 500, NULL, NULL, "%s", e.msg);
    }
}

static void add_echo(struct generation *g)
{
    for (uint32_t i = 0; i < g->n_choice; i++) {
        const struct buf *text = &g->req.prompt_text[g->choice[i].prompt];
        if (text->data) buf_add(&g->choice[i].text, text->data, text->n);
    }
}

void generate(struct http_exchange *x, const struct api_options *api, const struct renderer *render,
              struct request *req)
{
    struct generation *g = mem_zalloc(1, sizeof *g);
    struct fault f;
    g->api = api;
    g->render = render;
    g->req = *req;
    *req = (struct request){0};
    g->x = x;
    g->created = (int64_t)time(NULL);
    g->n_choice = g->n_open = g->req.n * g->req.n_prompt;
    g->choice = mem_zalloc(g->n_choice, sizeof *g->choice);
    pthread_mutex_init(&g->lock, NULL);
    atomic_init(&g->refs, 1); /* the exchange's */
    make_id(g);
    http_attach(x, &responder, g); /* before anything is submitted: events may come at once */
    g->waker = http_waker_new(x);
    if (g->req.ignored.n) http_set_header(x, "X-Ignored-Params", g->req.ignored.data);
    for (uint32_t i = 0; i < g->n_choice; i++) {
        g->choice[i].g = g;
        g->choice[i].index = i;
        g->choice[i].prompt = i / g->req.n;
    }
    if (g->req.echo) add_echo(g);
    for (uint32_t i = 0; i < g->n_choice; i++) {
        if (submit(&g->choice[i], &f)) continue;
        reply_fault(x, render, &f); /* on_end cancels those that were taken */
        return;
    }
    if (g->req.stream) http_set_timer(x, api->keepalive_ms);
}
