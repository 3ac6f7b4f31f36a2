/* Answers in Ollama's shape: a JSON object per line, each with the model and the time; the last has the
 * counts. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/ollama.h"
#include "api/openai.h"
#include "api/render.h"
#include "base/clock.h"

void ollama_add_time(struct buf *out, int64_t s, long ns)
{
    char text[40];
    struct tm tm;
    time_t t = (time_t)s;
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_addf(out, "\"%s.%09ldZ\"", text, ns);
}

static void add_head(struct buf *out, const struct generation *g)
{
    const char *model = json_string_value(json_object_get(g->req.body, "model"));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    buf_adds(out, "{\"model\":");
    render_str(out, model);
    buf_adds(out, ",\"created_at\":");
    ollama_add_time(out, now.tv_sec, now.tv_nsec);
}

static bool is_chat(const struct generation *g)
{
    return g->render == &ollama_chat;
}

/* A member of the message, or of the object itself: content is "response" there. */
static void open_answer(struct buf *out, const struct generation *g, const char *text, size_t n)
{
    buf_adds(out, is_chat(g) ? ",\"message\":{\"role\":\"assistant\",\"content\":" : ",\"response\":");
    buf_json_str(out, text ? text : "", n);
}
static void close_answer(struct buf *out, const struct generation *g)
{
    if (is_chat(g)) buf_addc(out, '}');
}

static void add_thinking(struct buf *out, const char *text, size_t n)
{
    buf_adds(out, ",\"thinking\":");
    buf_json_str(out, text, n);
}

static void add_call(struct buf *out, uint32_t index, const struct tool_call *c)
{
    buf_adds(out, "{\"id\":");
    render_str(out, c->id);
    buf_addf(out, ",\"function\":{\"index\":%u,\"name\":", index);
    render_str(out, c->name);
    buf_adds(out, ",\"arguments\":");
    render_arguments(c, out);
    buf_adds(out, "}}");
}

/* ---- the end ----------------------------------------------------------------------------------------- */

/* Clients divide by durations: none is 0. */
static void add_duration(struct buf *out, const char *name, int64_t ns)
{
    buf_addf(out, ",\"%s\":%lld", name, (long long)MAX(ns, (int64_t)1));
}

/* The tokens so far, to be sent back with the next prompt. */
static void add_context(struct buf *out, const struct generation *g)
{
    const struct tok_ids *lists[] = {&g->req.prompt[0].ids, &g->choice[0].ids};
    bool first = true;
    buf_adds(out, ",\"context\":[");
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        for (size_t k = 0; k < lists[i]->n; k++, first = false)
            buf_addf(out, first ? "%d" : ",%d", lists[i]->id[k]);
    buf_addc(out, ']');
}

static void add_end(struct buf *out, const struct generation *g)
{
    const struct choice *c = &g->choice[0];
    const char *why = choice_finish(c);
    int64_t total = clock_ns() - g->began_ns;
    struct usage u;
    generation_usage(g, &u);
    buf_addf(out, ",\"done\":true,\"done_reason\":\"%s\"", !strcmp(why, "tool_calls") ? "stop" : why);
    if (!is_chat(g)) add_context(out, g);
    add_duration(out, "total_duration", total);
    add_duration(out, "load_duration", total - c->timing.prefill_ns - c->timing.decode_ns);
    buf_addf(out, ",\"prompt_eval_count\":%llu", (unsigned long long)u.prompt);
    add_duration(out, "prompt_eval_duration", c->timing.prefill_ns);
    buf_addf(out, ",\"eval_count\":%llu", (unsigned long long)u.completion);
    add_duration(out, "eval_duration", c->timing.decode_ns);
    buf_addc(out, '}');
}

/* ---- renderers --------------------------------------------------------------------------------------- */

static void delta(struct generation *g, struct choice *c, const struct piece *p, struct buf *out)
{
    struct http_str text = {0};
    if (p->kind == PIECE_CALL || p->kind == PIECE_ARGS) return; /* calls are sent whole */
    if (p->kind != PIECE_CALL_END) text = piece_text(c, p);
    bool content = p->kind == PIECE_CONTENT;
    add_head(out, g);
    open_answer(out, g, content ? text.p : "", content ? text.n : 0);
    if (p->kind == PIECE_REASONING) add_thinking(out, text.p, text.n);
    if (p->kind == PIECE_CALL_END) {
        buf_adds(out, ",\"tool_calls\":[");
        add_call(out, p->call, &c->call[p->call]);
        buf_addc(out, ']');
    }
    close_answer(out, g);
    if (g->req.logprobs) {
        buf_adds(out, ",\"logprobs\":");
        openai_logprobs(out, c);
    }
    buf_adds(out, ",\"done\":false}\n");
}

static void last(struct generation *g, struct choice *c, struct buf *out) {}

static void end(struct generation *g, struct buf *out)
{
    add_head(out, g);
    open_answer(out, g, "", 0);
    close_answer(out, g);
    add_end(out, g);
    buf_addc(out, '\n');
}

static void whole(struct generation *g, struct buf *out)
{
    struct choice *c = &g->choice[0];
    add_head(out, g);
    open_answer(out, g, c->content.data, c->content.n);
    if (c->reasoning.n) add_thinking(out, c->reasoning.data, c->reasoning.n);
    for (uint32_t i = 0; i < c->n_call; i++) {
        buf_adds(out, i ? "," : ",\"tool_calls\":[");
        add_call(out, i, &c->call[i]);
        if (i == c->n_call - 1) buf_addc(out, ']');
    }
    close_answer(out, g);
    if (g->req.logprobs) {
        buf_adds(out, ",\"logprobs\":");
        openai_logprobs(out, c);
    }
    add_end(out, g);
}

const struct renderer ollama_chat = {
    .family = FAMILY_OLLAMA, .delta = delta, .last = last, .end = end, .whole = whole};
const struct renderer ollama_generate = {
    .family = FAMILY_OLLAMA, .delta = delta, .last = last, .end = end, .whole = whole};
