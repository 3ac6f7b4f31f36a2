/* Response objects, and the events that build one up: each item is added, filled by deltas, and done. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/api_int.h"
#include "api/responses.h"
#include "api/recall.h"

/* Pieces of one kind in a row, or one call. */
struct item {
    enum piece_kind kind; /* REASONING, CONTENT or CALL */
    uint32_t call;
    size_t at, n; /* of choice.reasoning or choice.content */
};
struct state { /* generation.state */
    struct item *item;
    size_t n_item;
    bool open;         /* the last item is not done */
    uint64_t sequence; /* number of the next event */
};

static struct state *state_of(struct generation *g)
{
    if (!g->state) g->state = mem_zalloc(1, sizeof(struct state));
    return g->state;
}

static void free_state(void *state)
{
    struct state *s = state;
    free(s->item);
    free(s);
}

static void add_item(struct state *s, const struct piece *p)
{
    s->item = mem_realloc(s->item, s->n_item + 1, sizeof *s->item);
    s->item[s->n_item++] = (struct item){p->kind, p->call, p->at, p->n};
    s->open = true;
}

/* Does p go on with the item that is open? */
static bool continues(const struct state *s, const struct piece *p)
{
    if (!s->open) return false;
    if (p->kind == PIECE_ARGS || p->kind == PIECE_CALL_END) return true;
    return p->kind != PIECE_CALL && s->item[s->n_item - 1].kind == p->kind;
}

/* ---- items ------------------------------------------------------------------------------------------- */

static struct http_str item_text(const struct choice *c, const struct item *i)
{
    const struct buf *b = i->kind == PIECE_CALL        ? &c->call[i->call].args
                          : i->kind == PIECE_REASONING ? &c->reasoning
                                                       : &c->content;
    if (i->kind == PIECE_CALL) return (struct http_str){b->data ? b->data : "", b->n};
    return (struct http_str){i->n ? b->data + i->at : "", i->n};
}

static void add_item_id(struct buf *out, const struct generation *g, size_t index, const struct item *i)
{
    const char *prefix = i->kind == PIECE_CALL ? "fc" : i->kind == PIECE_REASONING ? "rs" : "msg";
    buf_addf(out, "\"%s_%s%02zu\"", prefix, g->id, index);
}

static void add_str(struct buf *out, const char *s)
{
    buf_json_str(out, s, strlen(s));
}

static void add_part(struct buf *out, const struct item *i, struct http_str text)
{
    buf_addf(out,
             "{\"type\":\"%s\",\"text\":", i->kind == PIECE_REASONING ? "reasoning_text" : "output_text");
    buf_json_str(out, text.p, text.n);
    buf_adds(out, i->kind == PIECE_REASONING ? "}" : ",\"annotations\":[],\"logprobs\":[]}");
}

/* whole: with its text; else as it is when it begins. */
static void add_item_json(struct buf *out, const struct choice *c, size_t index, const struct item *i,
                          bool whole)
{
    bool cut = c->ended && c->finish != FINISH_STOP && index + 1 == state_of(c->g)->n_item;
    const char *progress = !whole ? "in_progress" : cut ? "incomplete" : "completed";
    buf_adds(out, "{\"id\":");
    add_item_id(out, c->g, index, i);
    buf_addf(out, ",\"status\":\"%s\",", progress);
    struct http_str text = whole ? item_text(c, i) : (struct http_str){"", 0};
    if (i->kind == PIECE_CALL) {
        buf_adds(out, "\"type\":\"function_call\",\"call_id\":");
        add_str(out, c->call[i->call].id);
        buf_adds(out, ",\"name\":");
        add_str(out, c->call[i->call].name);
        buf_adds(out, ",\"arguments\":");
        buf_json_str(out, text.p, text.n);
        buf_addc(out, '}');
        return;
    }
    buf_adds(out, i->kind == PIECE_REASONING ? "\"type\":\"reasoning\",\"summary\":[],\"content\":["
                                             : "\"type\":\"message\",\"role\":\"assistant\",\"content\":[");
    if (whole) add_part(out, i, text);
    buf_adds(out, "]}");
}

/* ---- the response object ----------------------------------------------------------------------------- */

/* A field as the client sent it, or what it is by default. */
static void add_given(struct buf *out, const struct generation *g, const char *name, const char *otherwise)
{
    const json_t *v = json_object_get(g->req.body, name);
    char *text = v && !json_is_null(v) ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    buf_addf(out, ",\"%s\":", name);
    buf_adds(out, text ? text : otherwise);
    free(text);
}

static void add_usage(struct buf *out, const struct generation *g)
{
    struct usage u;
    generation_usage(g, &u);
    buf_addf(
        out,
        "{\"input_tokens\":%llu,\"input_tokens_details\":{\"cached_tokens\":%llu},\"output_tokens\":%llu,"
        "\"output_tokens_details\":{\"reasoning_tokens\":%llu},\"total_tokens\":%llu}",
        (unsigned long long)u.prompt, (unsigned long long)u.cached, (unsigned long long)u.completion,
        (unsigned long long)u.reasoning, (unsigned long long)(u.prompt + u.completion));
}

static const char *outcome(const struct choice *c)
{
    return c->finish == FINISH_STOP ? "completed" : "incomplete";
}

static void add_end(struct buf *out, const struct generation *g)
{
    const struct choice *c = &g->choice[0];
    buf_addf(out, ",\"completed_at\":%lld,\"incomplete_details\":", (long long)time(NULL));
    if (c->finish == FINISH_STOP)
        buf_adds(out, "null");
    else
        buf_addf(out, "{\"reason\":\"%s\"}",
                 c->finish == FINISH_LENGTH ? "max_output_tokens" : finish_reason_name(c->finish));
    buf_adds(out, ",\"usage\":");
    add_usage(out, g);
}

static void add_response(struct buf *out, struct generation *g, const char *progress)
{
    const struct responses_extra *x = g->req.extra;
    const struct state *s = state_of(g);
    const struct choice *c = &g->choice[0];
    bool ended = c->ended && strcmp(progress, "in_progress") != 0;
    buf_addf(out,
             "{\"id\":\"resp_%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\","
             "\"background\":false,\"error\":null,\"model\":",
             g->id, (long long)g->created, progress);
    add_str(out, request_model(&g->req, g->api));
    buf_adds(out, ",\"output\":[");
    for (size_t i = 0; ended && i < s->n_item; i++) {
        if (i) buf_addc(out, ',');
        add_item_json(out, c, i, &s->item[i], true);
    }
    buf_addc(out, ']');
    if (ended)
        add_end(out, g);
    else
        buf_adds(out, ",\"completed_at\":null,\"incomplete_details\":null,\"usage\":null");
    static const struct {
        const char *name, *otherwise;
    } given[] = {{"instructions", "null"},
                 {"previous_response_id", "null"},
                 {"tools", "[]"},
                 {"tool_choice", "\"auto\""},
                 {"parallel_tool_calls", "true"},
                 {"reasoning", "{\"effort\":null,\"summary\":null}"},
                 {"text", "{\"format\":{\"type\":\"text\"}}"},
                 {"max_output_tokens", "null"},
                 {"top_logprobs", "0"},
                 {"temperature", "1"},
                 {"top_p", "1"},
                 {"truncation", "\"disabled\""},
                 {"service_tier", "\"default\""},
                 {"metadata", "{}"},
                 {"user", "null"}};
    for (size_t i = 0; i < COUNT_OF(given); i++) add_given(out, g, given[i].name, given[i].otherwise);
    buf_addf(out, ",\"store\":%s}", x->store ? "true" : "false");
}

/* ---- keeping it -------------------------------------------------------------------------------------- */

/* The answer as the message that a next request goes on from. */
static json_t *answer_message(const struct choice *c)
{
    json_t *m = json_pack("{s:s}", "role", "assistant"), *calls = json_array();
    json_object_set_new(m, "content",
                        c->content.n ? json_stringn(c->content.data, c->content.n) : json_null());
    if (c->reasoning.n)
        json_object_set_new(m, "reasoning_content", json_stringn(c->reasoning.data, c->reasoning.n));
    for (uint32_t i = 0; i < c->n_call; i++)
        json_array_append_new(calls, json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", c->call[i].id, "type",
                                               "function", "function", "name", c->call[i].name, "arguments",
                                               c->call[i].args.data ? c->call[i].args.data : "{}"));
    if (c->n_call) json_object_set(m, "tool_calls", calls);
    json_decref(calls);
    return m;
}

static void keep(struct generation *g, const char *response, size_t n)
{
    struct responses_extra *x = g->req.extra;
    char id[64] = "resp_";
    if (!x->store) return;
    strncat(id, g->id, sizeof id - strlen(id) - 1);
    json_array_append_new(x->history, answer_message(&g->choice[0]));
    json_t *v = json_pack("{s:o?,s:O,s:O}", "response", json_loadb(response, n, 0, NULL), "messages",
                          x->history, "input", x->input);
    if (v) recall_put(g->api->responses, g->req.tenant, id, v);
    json_decref(v);
}

/* ---- events ------------------------------------------------------------------------------------------ */

static void open_event(struct buf *out, struct state *s, const char *type)
{
    buf_addf(out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%llu", type, type,
             (unsigned long long)s->sequence++);
}

static void close_event(struct buf *out)
{
    buf_adds(out, "}\n\n");
}

static void response_event(struct generation *g, struct buf *out, const char *type, const char *progress)
{
    open_event(out, state_of(g), type);
    buf_adds(out, ",\"response\":");
    add_response(out, g, progress);
    close_event(out);
}

/* An event about the open item: its place, and its id. */
static void open_item_event(struct generation *g, struct buf *out, const char *type)
{
    struct state *s = state_of(g);
    const struct item *i = &s->item[s->n_item - 1];
    open_event(out, s, type);
    buf_addf(out, ",\"output_index\":%zu,\"item_id\":", s->n_item - 1);
    add_item_id(out, g, s->n_item - 1, i);
    if (i->kind != PIECE_CALL) buf_adds(out, ",\"content_index\":0");
}

static void item_event(struct generation *g, struct buf *out, const char *type, bool whole)
{
    struct state *s = state_of(g);
    open_event(out, s, type);
    buf_addf(out, ",\"output_index\":%zu,\"item\":", s->n_item - 1);
    add_item_json(out, &g->choice[0], s->n_item - 1, &s->item[s->n_item - 1], whole);
    close_event(out);
}

static void part_event(struct generation *g, struct buf *out, const char *type, struct http_str text)
{
    struct state *s = state_of(g);
    open_item_event(g, out, type);
    buf_adds(out, ",\"part\":");
    add_part(out, &s->item[s->n_item - 1], text);
    close_event(out);
}

static void finish_item(struct generation *g, struct buf *out)
{
    struct state *s = state_of(g);
    if (!s->open) return;
    const struct item *i = &s->item[s->n_item - 1];
    struct http_str text = item_text(&g->choice[0], i);
    bool call = i->kind == PIECE_CALL;
    open_item_event(g, out,
                    call                         ? "response.function_call_arguments.done"
                    : i->kind == PIECE_REASONING ? "response.reasoning_text.done"
                                                 : "response.output_text.done");
    buf_adds(out, call ? ",\"arguments\":" : ",\"text\":");
    buf_json_str(out, text.p, text.n);
    if (call) {
        buf_adds(out, ",\"name\":");
        add_str(out, g->choice[0].call[i->call].name);
    }
    if (i->kind == PIECE_CONTENT) buf_adds(out, ",\"logprobs\":[]");
    close_event(out);
    if (!call) part_event(g, out, "response.content_part.done", text);
    item_event(g, out, "response.output_item.done", true);
    s->open = false;
}

static void begin(struct generation *g, struct buf *out)
{
    response_event(g, out, "response.created", "in_progress");
    response_event(g, out, "response.in_progress", "in_progress");
}

static void delta_event(struct generation *g, struct choice *c, const struct piece *p, struct buf *out)
{
    struct http_str text = piece_text(c, p);
    open_item_event(g, out,
                    p->kind == PIECE_ARGS        ? "response.function_call_arguments.delta"
                    : p->kind == PIECE_REASONING ? "response.reasoning_text.delta"
                                                 : "response.output_text.delta");
    buf_adds(out, ",\"delta\":");
    buf_json_str(out, text.p, text.n);
    if (p->kind == PIECE_CONTENT) {
        buf_adds(out, ",\"logprobs\":");
        if (g->req.logprobs)
            openai_logprobs(out, c);
        else
            buf_adds(out, "[]");
    }
    close_event(out);
}

static void delta(struct generation *g, struct choice *c, const struct piece *p, struct buf *out)
{
    struct state *s = state_of(g);
    if (!continues(s, p)) {
        finish_item(g, out);
        add_item(s, p);
        item_event(g, out, "response.output_item.added", false);
        if (p->kind != PIECE_CALL)
            part_event(g, out, "response.content_part.added", (struct http_str){"", 0});
    } else if (p->kind == PIECE_CONTENT || p->kind == PIECE_REASONING) {
        s->item[s->n_item - 1].n += p->n;
    }
    if (p->kind == PIECE_CALL_END)
        finish_item(g, out);
    else if (p->kind != PIECE_CALL)
        delta_event(g, c, p, out);
}

static void last(struct generation *g, struct choice *c, struct buf *out)
{
    finish_item(g, out);
}

static void end(struct generation *g, struct buf *out)
{

    struct buf object = {0};
    add_response(&object, g, outcome(&g->choice[0]));
    keep(g, object.data, object.n);
    open_event(out, state_of(g),
               g->choice[0].finish == FINISH_STOP ? "response.completed" : "response.incomplete");
    buf_adds(out, ",\"response\":");
    buf_add(out, object.data, object.n);
    close_event(out);
    buf_deinit(&object);
}

static void whole(struct generation *g, struct buf *out)
{
    struct choice *c = &g->choice[0];
    struct state *s = state_of(g);
    size_t from = out->n;
    for (size_t i = 0; i < c->n_piece; i++) {
        const struct piece *p = &c->piece[i];
        if (!continues(s, p))
            add_item(s, p);
        else if (p->kind == PIECE_CONTENT || p->kind == PIECE_REASONING)
            s->item[s->n_item - 1].n += p->n;
    }
    add_response(out, g, outcome(c));
    if (!out->failed) keep(g, out->data + from, out->n - from);
}

static uint64_t sequence(const struct generation *g)
{
    const struct state *s = g->state;
    return s ? s->sequence : 0;
}

const struct renderer responses_renderer = {.family = FAMILY_RESPONSES,
                                            .begin = begin,
                                            .delta = delta,
                                            .last = last,
                                            .end = end,
                                            .whole = whole,
                                            .sequence = sequence,
                                            .free_state = free_state};
