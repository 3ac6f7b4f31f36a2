/* Answers in Anthropic's shape: content blocks, each begun, continued and ended by events of its own. */
#include <stdlib.h>
#include <string.h>

#include "api/anthropic.h"
#include "api/render.h"

enum { NO_BLOCK = -1 };

struct blocks { /* of the one answer */
    int open;   /* enum piece_kind of the block that is open, or NO_BLOCK */
    uint32_t n; /* how many were begun */
};

/* ---- events ------------------------------------------------------------------------------------------ */

/* An event's data is written between these two. */
static void open_event(struct buf *out, const char *type)
{
    buf_addf(out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}
static void close_event(struct buf *out)
{
    buf_adds(out, "}\n\n");
}

/* What was taken from the cache is no part of input_tokens. */
static void add_usage(struct buf *out, const struct generation *g)
{
    struct usage u;
    generation_usage(g, &u);
    buf_addf(
        out,
        "\"usage\":{\"input_tokens\":%llu,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%llu,"
        "\"output_tokens\":%llu,\"output_tokens_details\":{\"thinking_tokens\":%llu}}",
        (unsigned long long)(u.prompt - u.cached), (unsigned long long)u.cached,
        (unsigned long long)u.completion, (unsigned long long)u.reasoning);
}

static void add_head(struct buf *out, const struct generation *g)
{
    buf_addf(out, "\"id\":\"msg_%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", g->id);
    render_str(out, request_model(&g->req, g->api));
}

static void add_stop_reason(struct buf *out, const struct choice *c)
{
    static const char *const words[][2] = {
        {"length", "max_tokens"}, {"tool_calls", "tool_use"}, {"timeout", "max_tokens"}};
    const char *finish = choice_finish(c), *stop = choice_stop(c),
               *reason = stop ? "stop_sequence" : "end_turn";
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (!strcmp(finish, words[i][0])) reason = words[i][1];
    if (c->finish == FINISH_CONTEXT) reason = "model_context_window_exceeded";
    buf_addf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
    if (stop)
        render_str(out, stop);
    else
        buf_adds(out, "null");
}

/* ---- a stream ---------------------------------------------------------------------------------------- */

static void begin(struct generation *g, struct buf *out)
{
    struct blocks *b = g->state = mem_zalloc(1, sizeof *b);
    b->open = NO_BLOCK;
    open_event(out, "message_start");
    buf_adds(out, ",\"message\":{");
    add_head(out, g);
    buf_adds(out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,");
    add_usage(out, g);
    buf_addc(out, '}');
    close_event(out);
}

static void open_delta(struct buf *out, const struct blocks *b, const char *type)
{
    open_event(out, "content_block_delta");
    buf_addf(out, ",\"index\":%u,\"delta\":{\"type\":\"%s_delta\"", b->n - 1, type);
}
static void close_delta(struct buf *out)
{
    buf_addc(out, '}');
    close_event(out);
}

static void close_block(struct blocks *b, struct buf *out)
{
    if (b->open == NO_BLOCK) return;
    if (b->open == PIECE_REASONING) { /* clients send it back; there is nothing to sign here */
        open_delta(out, b, "signature");
        buf_adds(out, ",\"signature\":\"\"");
        close_delta(out);
    }
    open_event(out, "content_block_stop");
    buf_addf(out, ",\"index\":%u", b->n - 1);
    close_event(out);
    b->open = NO_BLOCK;
}

static void open_block(struct blocks *b, enum piece_kind kind, const struct tool_call *call, struct buf *out)
{
    close_block(b, out);
    open_event(out, "content_block_start");
    buf_addf(out, ",\"index\":%u,\"content_block\":", b->n++);
    if (call) {
        buf_adds(out, "{\"type\":\"tool_use\",\"id\":");
        render_str(out, call->id);
        buf_adds(out, ",\"name\":");
        render_str(out, call->name);
        buf_adds(out, ",\"input\":{}}");
    } else {
        buf_adds(out, kind == PIECE_REASONING ? "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"
                                              : "{\"type\":\"text\",\"text\":\"\"}");
    }
    close_event(out);
    b->open = (int)kind;
}

static void delta(struct generation *g, struct choice *c, const struct piece *p, struct buf *out)
{
    static const struct {
        const char *type, *key;
    } words[] = {[PIECE_CONTENT] = {"text", "text"},
                 [PIECE_REASONING] = {"thinking", "thinking"},
                 [PIECE_ARGS] = {"input_json", "partial_json"}};
    struct blocks *b = g->state;
    if (p->kind == PIECE_CALL) {
        open_block(b, PIECE_CALL, &c->call[p->call], out);
        return;
    }
    if (p->kind == PIECE_CALL_END) {
        close_block(b, out);
        return;
    }
    if (p->kind != PIECE_ARGS && b->open != (int)p->kind) open_block(b, p->kind, NULL, out);
    struct http_str text = piece_text(c, p);
    open_delta(out, b, words[p->kind].type);
    buf_addf(out, ",\"%s\":", words[p->kind].key);
    buf_json_str(out, text.p, text.n);
    close_delta(out);
}

static void last(struct generation *g, struct choice *c, struct buf *out)
{
    close_block(g->state, out);
}

static void end(struct generation *g, struct buf *out)
{
    open_event(out, "message_delta");
    buf_adds(out, ",\"delta\":{");
    add_stop_reason(out, &g->choice[0]);
    buf_adds(out, "},");
    add_usage(out, g);
    close_event(out);
    open_event(out, "message_stop");
    close_event(out);
}

/* ---- at once ----------------------------------------------------------------------------------------- */

static void add_block(struct buf *out, bool *first, const char *type)
{
    buf_addf(out, *first ? "{\"type\":\"%s\"," : ",{\"type\":\"%s\",", type);
    *first = false;
}

static void whole(struct generation *g, struct buf *out)
{
    const struct choice *c = &g->choice[0];
    bool first = true;
    buf_addc(out, '{');
    add_head(out, g);
    buf_adds(out, ",\"content\":[");
    if (c->reasoning.n) {
        add_block(out, &first, "thinking");
        buf_adds(out, "\"thinking\":");
        buf_json_str(out, c->reasoning.data, c->reasoning.n);
        buf_adds(out, ",\"signature\":\"\"}");
    }
    if (c->content.n) {
        add_block(out, &first, "text");
        buf_adds(out, "\"text\":");
        buf_json_str(out, c->content.data, c->content.n);
        buf_addc(out, '}');
    }
    for (uint32_t i = 0; i < c->n_call; i++) {
        add_block(out, &first, "tool_use");
        buf_adds(out, "\"id\":");
        render_str(out, c->call[i].id);
        buf_adds(out, ",\"name\":");
        render_str(out, c->call[i].name);
        buf_adds(out, ",\"input\":");
        render_arguments(&c->call[i], out);
        buf_addc(out, '}');
    }
    buf_adds(out, "],");
    add_stop_reason(out, c);
    buf_addc(out, ',');
    add_usage(out, g);
    buf_addc(out, '}');
}

const struct renderer anthropic_renderer = {.family = FAMILY_ANTHROPIC,
                                            .begin = begin,
                                            .delta = delta,
                                            .last = last,
                                            .end = end,
                                            .whole = whole,
                                            .free_state = free};
