#include "api/generation_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/resume.h"
#include "base/clock.h"
#include "base/rng.h"

/* One event of the engine as it waits in the queue. */
struct arrival {
    uint32_t choice;
    bool end, prompt; /* prompt: the score of one of its tokens */
    enum finish_reason finish;
    int32_t token;
    float logprob;
    double learned;
    uint32_t n_top; /* the next n_top rows of inbox.top */
};

/* ---- life -------------------------------------------------------------------------------------------- */

static void choice_deinit(struct choice *c)
{
    for (uint32_t i = 0; i < c->n_call; i++) {
        free(c->call[i].id);
        free(c->call[i].name);
        buf_deinit(&c->call[i].args);
    }
    free(c->call);
    free(c->piece);
    free(c->note);
    free(c->top);
    text_stream_free(c->detok);
    chat_parser_free(c->parser);
    tok_ids_deinit(&c->ids);
    tok_ids_deinit(&c->given);
    tok_ids_deinit(&c->fresh);
    buf_deinit(&c->content);
    buf_deinit(&c->reasoning);
    buf_deinit(&c->text);
}

void generation_unref(struct generation *g)
{
    if (atomic_fetch_sub(&g->refs, 1) != 1) return;
    for (uint32_t i = 0; i < g->n_choice; i++) choice_deinit(&g->choice[i]);
    struct inbox *both[] = {&g->inbox, &g->taken};
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        free(both[i]->item);
        free(both[i]->top);
    }
    if (g->state && g->render->free_state) g->render->free_state(g->state);
    buf_deinit(&g->frames);
    pthread_mutex_destroy(&g->lock);
    http_waker_free(g->waker);
    request_deinit(&g->req);
    free(g->submission);
    free(g->choice);
    free(g->eog);
    free(g);
}

struct generation *generation_new(const struct api *api, const struct renderer *render, struct request *req,
                                  struct http_waker *waker)
{
    struct generation *g = mem_zalloc(1, sizeof *g);
    g->api = api;
    g->render = render;
    g->req = *req;
    *req = (struct request){0};
    g->waker = waker;
    g->created = (int64_t)time(NULL);
    g->began_ns = clock_ns();
    snprintf(g->id, sizeof g->id, "%016llx%08llx", (unsigned long long)rng_seed_from_os(),
             (unsigned long long)g->created & 0xffffffff);
    if (g->req.replay) resume_identity(g);
    g->req.journal = g->req.journal && g->req.stream && !g->req.score_prompt;
    localtime_r(&(time_t){g->created}, &g->req.now);
    g->req.chat.now = &g->req.now;
    g->n_choice = g->n_open = g->req.n * g->req.n_prompt;
    g->choice = mem_zalloc(g->n_choice, sizeof *g->choice);
    g->submission = mem_zalloc(g->n_choice, sizeof *g->submission);
    for (uint32_t i = 0; i < g->n_choice; i++) {
        g->choice[i].g = g;
        g->choice[i].index = i;
        g->choice[i].prompt = i / g->req.n;
    }
    pthread_mutex_init(&g->lock, NULL);
    atomic_init(&g->refs, 1); /* the owner's */
    return g;
}

void generation_end(struct generation *g)
{
    pthread_mutex_lock(&g->lock);
    g->abandoned = true;
    pthread_mutex_unlock(&g->lock);
    for (uint32_t i = 0; i < g->n_choice; i++)
        if (g->choice[i].submitted && !g->choice[i].ended)
            engine_cancel(g->api->o.engine, g->choice[i].engine_id);
    generation_unref(g);
}

/* ---- the engine's side ------------------------------------------------------------------------------- */

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
void generation_on_event(void *user, const struct engine_event *ev)
{
    struct submission *s = user;
    struct generation *g = s->g;
    struct arrival a = {.choice = s->first + ev->choice};
    if (ev->kind != EV_END) {
        a.prompt = ev->kind == EV_PROMPT;
        a.token = ev->token->token;
        a.logprob = ev->token->logprob;
        a.learned = ev->token->learned;
        a.n_top = g->req.logprobs ? ev->token->n_top : 0;
    } else {
        a.end = true;
        a.finish = ev->finish;
    }
    pthread_mutex_lock(&g->lock);
    if (a.end) {
        struct choice *c = &g->choice[a.choice];
        c->timing = ev->timing;
        if (ev->error) c->error = *ev->error;
    }
    if (a.prompt) /* of all choices; there are no more of them than the prompt has tokens */
        for (uint32_t i = 0; i < g->req.n; i++, a.choice++) add_arrival(&g->inbox, &a, ev->token->top);
    else if (a.end || g->inbox.n < g->api->o.max_buffered)
        add_arrival(&g->inbox, &a, a.end ? NULL : ev->token->top);
    else
        g->inbox.overflow = true;
    pthread_mutex_unlock(&g->lock);
    http_waker_fire(g->waker);
    if (a.end && atomic_fetch_sub(&s->n_running, 1) == 1) generation_unref(g);
}

/* ---- tokens to pieces -------------------------------------------------------------------------------- */

static uint32_t count_chars(const char *s, size_t n)
{
    uint32_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)s[i] & 0xC0) != 0x80;
    return chars;
}

static void add_piece(struct choice *c, enum piece_kind kind, uint32_t call, size_t at, size_t n)
{
    struct piece *last = c->n_piece ? &c->piece[c->n_piece - 1] : NULL;
    if (last && last->kind == kind && last->call == call && kind != PIECE_CALL && kind != PIECE_CALL_END) {
        last->n += n;
        return;
    }
    if (c->n_piece == c->cap_piece) {
        c->cap_piece = MAX((size_t)8, c->cap_piece * 2);
        c->piece = mem_realloc(c->piece, c->cap_piece, sizeof *c->piece);
    }
    c->piece[c->n_piece++] = (struct piece){kind, call, at, n};
}

/* As a piece of the answer; nothing when n is 0. to: content, reasoning or a call's args. */
static void add_text(struct choice *c, enum piece_kind kind, uint32_t call, struct buf *to, const char *text,
                     size_t n)
{
    if (n == 0) return;
    add_piece(c, kind, call, to->n, n);
    buf_add(to, text, n);
}

static void on_chat_event(void *user, const struct chat_event *ev)
{
    struct choice *c = user;
    c->thinking = ev->kind == CHAT_REASONING;
    switch (ev->kind) {
    case CHAT_CONTENT: add_text(c, PIECE_CONTENT, 0, &c->content, ev->text, ev->n); break;
    case CHAT_REASONING: add_text(c, PIECE_REASONING, 0, &c->reasoning, ev->text, ev->n); break;
    case CHAT_CALL:
        c->call = mem_realloc(c->call, c->n_call + 1, sizeof *c->call);
        c->call[c->n_call] = (struct tool_call){mem_strdup(ev->id), mem_strdup(ev->name), {0}};
        add_piece(c, PIECE_CALL, c->n_call++, 0, 0);
        break;
    case CHAT_ARGS:
        if (ev->call < c->n_call) add_text(c, PIECE_ARGS, ev->call, &c->call[ev->call].args, ev->text, ev->n);
        break;
    case CHAT_CALL_END: add_piece(c, PIECE_CALL_END, ev->call, 0, 0); break;
    }
}

/* What has become certain in c->text goes on. */
static void pass_on(struct choice *c)
{
    c->text_bytes += c->text.n;
    if (c->parser && c->text.n)
        chat_parser_push(c->parser, c->text.data, c->text.n, on_chat_event, c);
    else
        add_text(c, PIECE_CONTENT, 0, &c->content, c->text.data, c->text.n);
    buf_reset(&c->text);
}

void generation_add_top(struct choice *c, const struct sample_logprob *top, uint32_t n)
{
    if (c->n_top + n > c->cap_top) {
        c->cap_top = MAX(c->cap_top * 2, c->n_top + n);
        c->top = mem_realloc(c->top, c->cap_top, sizeof *c->top);
    }
    if (n) memcpy(c->top + c->n_top, top, n * sizeof *top);
    c->n_top += n;
}

static void add_note(struct choice *c, const struct arrival *a, const struct sample_logprob *top)
{
    if (c->n_note == c->cap_note) {
        c->cap_note = MAX((size_t)16, c->cap_note * 2);
        c->note = mem_realloc(c->note, c->cap_note, sizeof *c->note);
    }
    c->note[c->n_note++] = (struct token_note){.token = a->token,
                                               .logprob = a->logprob,
                                               .start = c->piece_bytes,
                                               .start_chars = c->piece_chars,
                                               .top_at = (uint32_t)c->n_top,
                                               .n_top = a->n_top};
    generation_add_top(c, top, a->n_top);
}

/* As the text_stream writes it. */
static const char *text_of(const struct choice *c, int32_t token, size_t *n)
{
    const struct tokenizer *t = c->g->api->o.tok;
    enum tok_attr attr = tokenizer_attr(t, token);
    bool control = attr == TOK_CONTROL || attr == TOK_UNKNOWN;
    return c->control_text && control ? tokenizer_text(t, token, n) : tokenizer_piece(t, token, n);
}

/* Of the prompt, which the echo has as text. */
static void take_score(struct choice *c, const struct arrival *a, const struct sample_logprob *top)
{
    size_t n;
    const char *piece = text_of(c, a->token, &n);
    add_note(c, a, top);
    c->piece_bytes = MIN(c->piece_bytes + n, c->text_bytes ? c->text_bytes - 1 : 0);
    c->piece_chars += count_chars(piece, n);
}

static void take_token(struct choice *c, const struct arrival *a, const struct sample_logprob *top)
{
    size_t n;
    const struct buf *echo = &c->g->req.prompt[c->prompt].echo;
    if (c->g->req.prompt_only) return;
    if (c->g->req.score_prompt && !c->n_tokens) {
        c->piece_bytes = echo->n;
        c->piece_chars = count_chars(echo->data, echo->n);
    }
    const char *piece = text_of(c, a->token, &n);
    if (c->g->req.logprobs) add_note(c, a, top);
    if (c->g->req.keep_ids) tok_ids_add(&c->ids, a->token);
    if (c->g->req.journal) tok_ids_add(&c->fresh, a->token);
    c->learned = a->learned;
    c->n_tokens++;
    c->piece_bytes += n;
    c->piece_chars += count_chars(piece, n);
    c->stopped = text_stream_push(c->detok, a->token, &c->text);
    if (c->n_tokens == c->g->req.params.min_tokens) text_stream_pause_stops(c->detok, false);
    if (c->stopped && c->g->req.keep_stop) buf_adds(&c->text, text_stream_stop(c->detok));
    pass_on(c);
    c->n_reasoning += c->thinking;
    if (c->stopped && c->submitted)
        engine_cancel(c->g->api->o.engine, c->engine_id); /* END comes within a step */
}

static void take_end(struct choice *c, const struct arrival *a)
{
    if (!c->stopped) text_stream_finish(c->detok, &c->text);
    pass_on(c);
    if (c->parser) chat_parser_finish(c->parser, on_chat_event, c);
    c->ended = true;
    c->finish = c->stopped ? FINISH_STOP : a->finish;
    if (c->g->req.prompt_only && c->finish == FINISH_STOP) c->finish = FINISH_LENGTH;
    c->g->n_open--;
    if (c->finish == FINISH_CANCELLED || c->finish == FINISH_ERROR ||
        (c->finish == FINISH_TIMEOUT && !c->g->begun))
        c->g->failed = true;
}

void generation_take_token(struct choice *c, int32_t token)
{
    take_token(c, &(struct arrival){.choice = c->index, .token = token}, NULL);
}

void generation_take_end(struct choice *c, enum finish_reason why)
{
    take_end(c, &(struct arrival){.choice = c->index, .end = true, .finish = why});
}

/* Nothing, unless an echo was asked for. */
void generation_take_echo(struct generation *g)
{
    for (uint32_t i = 0; i < g->n_choice; i++) {
        const struct buf *echo = &g->req.prompt[g->choice[i].prompt].echo;
        struct choice *c = &g->choice[i];
        add_text(c, PIECE_CONTENT, 0, &c->content, echo->data, echo->n);
        if (!g->req.score_prompt) continue;
        c->text_bytes = echo->n;
        take_score(c, &(struct arrival){.token = g->req.prompt[c->prompt].ids.id[0], .logprob = NAN}, NULL);
    }
}

/* False: this reader is so slow that tokens were dropped; those before them are not worth writing. */
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
    if (in->overflow) return false;
    top = in->top;
    for (size_t i = 0; i < in->n; i++) {
        const struct arrival *a = &in->item[i];
        struct choice *c = &g->choice[a->choice];
        if (a->end)
            take_end(c, a);
        else if (a->prompt)
            take_score(c, a, top);
        else if (!c->stopped)
            take_token(c, a, top);
        if (g->req.journal && !g->failed) generation_render(g, &g->frames);
        top += a->n_top;
    }
    return true;
}

/* Did a choice end for a reason that is no answer? */
static bool find_fault(const struct generation *g, struct fault *f)
{
    for (uint32_t i = 0; g->failed && i < g->n_choice; i++) {
        const struct choice *c = &g->choice[i];
        if (!c->ended) continue;
        if (c->finish == FINISH_CANCELLED)
            return !refuse(f, 503, "shutting_down", NULL, "the server is shutting down");
        if (c->finish == FINISH_ERROR)
            return !refuse(f, 500, NULL, NULL, "generation failed: %s", c->error.msg);
        if (c->finish == FINISH_TIMEOUT && !g->begun)
            return !refuse(f, 408, "timeout", NULL, "the time allowed for this request has passed: %s",
                           c->error.msg[0] ? c->error.msg : "it took too long");
    }
    return false;
}

bool generation_advance(struct generation *g, struct fault *f)
{
    pthread_mutex_lock(&g->lock);
    enum generation_phase phase = g->phase;
    pthread_mutex_unlock(&g->lock);
    if (phase == GENERATION_PREPARED) {
        if (g->refused) {
            *f = g->fault;
            return false;
        }
        if (!generation_submit(g, f)) return false;
    }
    if (!take_arrivals(g))
        return refuse(f, 500, "slow_reader", NULL,
                      "more than %u tokens were waiting to be read: the stream was read too slowly",
                      g->api->o.max_buffered);
    return !find_fault(g, f);
}

/* ---- output ------------------------------------------------------------------------------------------ */

/* Where one failed, the ends of the others are not shown: a fault ends them all. */
static bool ends(const struct choice *c)
{
    return c->ended && !c->closed && !c->g->failed;
}

static bool has_pieces(const struct generation *g)
{
    for (uint32_t i = 0; i < g->n_choice; i++)
        if (g->choice[i].n_piece || ends(&g->choice[i])) return true;
    return false;
}

bool generation_has_output(const struct generation *g)
{
    return g->submitted && (g->frames.n || has_pieces(g) || g->n_open == 0);
}

bool generation_render(struct generation *g, struct buf *out)
{
    if (!has_pieces(g)) return g->n_open == 0 && !g->failed;
    if (!g->begun) {
        g->begun = true;
        if (g->render->begin) g->render->begin(g, out);
    }
    for (uint32_t i = 0; i < g->n_choice; i++) {
        struct choice *c = &g->choice[i];
        if (c->closed) continue;
        for (size_t k = 0; k < c->n_piece; k++) g->render->delta(g, c, &c->piece[k], out);
        c->n_piece = 0;
        if (!ends(c)) continue;
        g->render->last(g, c, out);
        c->closed = true;
    }
    if (g->n_open || g->failed) return false;
    g->render->end(g, out);
    return true;
}

bool generation_stream(struct generation *g, struct buf *out)
{
    if (g->req.journal && !g->journaled.head) resume_begin(g, out);
    if (!g->submitted) return false; /* what is there belongs to a worker still */
    if (g->frames.n) buf_add(out, g->frames.data, g->frames.n);
    buf_reset(&g->frames);
    return generation_render(g, out);
}

/* ---- for renderers ----------------------------------------------------------------------------------- */

struct http_str piece_text(const struct choice *c, const struct piece *p)
{
    const struct buf *b = p->kind == PIECE_CONTENT     ? &c->content
                          : p->kind == PIECE_REASONING ? &c->reasoning
                                                       : &c->call[p->call].args;
    return (struct http_str){p->n ? b->data + p->at : "", p->n};
}

const char *choice_finish(const struct choice *c)
{
    if (c->finish == FINISH_STOP && c->n_call) return "tool_calls";
    return finish_reason_name(c->finish);
}

const char *choice_stop(const struct choice *c)
{
    return c->stopped ? text_stream_stop(c->detok) : NULL;
}

size_t notes_ready(const struct choice *c)
{
    size_t n = c->n_written;
    bool whole = c->ended && !c->stopped;
    while (n < c->n_note && (whole || c->note[n].start < c->text_bytes)) n++;
    return n;
}

void generation_usage(const struct generation *g, struct usage *u)
{
    /* Who asks need not wait for the end: a worker writes the prompt, the engine's thread the timings. */
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&g->lock;
    *u = (struct usage){.cache_miss = "none"};
    pthread_mutex_lock(lock);
    bool prepared = g->phase >= GENERATION_PREPARED;
    for (uint32_t i = 0; prepared && i < g->req.n_prompt; i++) u->prompt += g->req.prompt[i].ids.n;
    for (uint32_t i = 0; prepared && i < g->n_choice; i++) {
        const struct choice *c = &g->choice[i];
        u->completion += c->n_tokens + c->timing.n_unsent;
        u->reasoning += c->n_reasoning;
        u->guessed += c->timing.n_predicted;
        u->guessed_right += c->timing.n_predicted_right;
        if (i % g->req.n == 0) u->cached += c->timing.n_cached;
    }
    if (prepared && g->choice[0].timing.cache_miss) u->cache_miss = g->choice[0].timing.cache_miss;
    pthread_mutex_unlock(lock);
}
