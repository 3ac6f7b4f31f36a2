/* OpenAI's response shapes: chat.completion, chat.completion.chunk, text_completion, error. */
#include <math.h>
#include <string.h>

#include "api/openai.h"
#include "engine/metrics.h"

#define FINGERPRINT "corral-" CORRAL_VERSION

static bool is_chat(const struct generation *g)
{
    return g->render == &openai_chat;
}

static void add_head(struct buf *out, const struct generation *g, const char *object)
{
    buf_addf(out, "{\"id\":\"%s-%s\",\"object\":\"%s\",\"created\":%lld,\"model\":",
             is_chat(g) ? "chatcmpl" : "cmpl", g->id, object, (long long)g->created);
    const char *model = request_model(&g->req, g->api);
    buf_json_str(out, model, strlen(model));
    buf_adds(out, ",\"system_fingerprint\":\"" FINGERPRINT "\",\"choices\":[");
}

void openai_usage(struct buf *out, const struct generation *g)
{
    struct usage u;
    generation_usage(g, &u);
    buf_addf(out,
             "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
             "\"prompt_tokens_details\":{\"cached_tokens\":%llu,\"cache_miss\":\"%s\"},"
             "\"completion_tokens_details\":{\"reasoning_tokens\":%llu,\"accepted_prediction_tokens\":%llu,"
             "\"rejected_prediction_tokens\":%llu}}",
             (unsigned long long)u.prompt, (unsigned long long)u.completion,
             (unsigned long long)(u.prompt + u.completion), (unsigned long long)u.cached, u.cache_miss,
             (unsigned long long)u.reasoning, (unsigned long long)u.guessed_right,
             (unsigned long long)(u.guessed - u.guessed_right));
}

static void add_buf(struct buf *out, const struct buf *text)
{
    buf_json_str(out, text->data ? text->data : "", text->n);
}

static void add_piece(struct buf *out, const struct choice *c, const struct piece *p)
{
    struct http_str s = piece_text(c, p);
    buf_json_str(out, s.p, s.n);
}

/* ---- log-probabilities ------------------------------------------------------------------------------- */

static void add_token_text(struct buf *out, const struct generation *g, int32_t token)
{
    size_t n;
    const char *piece = tokenizer_piece(g->api->o.tok, token, &n);
    if (n == 0) piece = tokenizer_text(g->api->o.tok, token, &n); /* a control token has no text of its own */
    buf_json_str(out, piece, n);
}

/* -infinity is no JSON number; OpenAI writes -9999 for "very unlikely". */
static void add_logprob(struct buf *out, float v)
{
    buf_addf(out, "%.7g", v >= -9999.0f ? (double)v : -9999.0);
}

static void add_chat_token(struct buf *out, const struct generation *g, int32_t token, float logprob)
{
    size_t n;
    const char *piece = tokenizer_piece(g->api->o.tok, token, &n);
    buf_adds(out, "{\"token\":");
    add_token_text(out, g, token);
    buf_adds(out, ",\"logprob\":");
    add_logprob(out, logprob);
    buf_adds(out, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++) buf_addf(out, i ? ",%u" : "%u", (unsigned char)piece[i]);
    buf_addc(out, ']');
}

void openai_logprobs(struct buf *out, struct choice *c)
{
    const struct generation *g = c->g;
    size_t end = notes_ready(c);
    buf_addc(out, '[');
    for (size_t i = c->n_written; i < end; i++) {
        const struct token_note *t = &c->note[i];
        if (i > c->n_written) buf_addc(out, ',');
        add_chat_token(out, g, t->token, t->logprob);
        buf_adds(out, ",\"top_logprobs\":[");
        for (uint32_t k = 0; k < t->n_top; k++) {
            if (k) buf_addc(out, ',');
            add_chat_token(out, g, c->top[t->top_at + k].token, c->top[t->top_at + k].logprob);
            buf_addc(out, '}');
        }
        buf_adds(out, "]}");
    }
    buf_addc(out, ']');
    c->n_written = end;
}

static void add_chat_logprobs(struct buf *out, struct choice *c)
{
    if (!c->g->req.logprobs) {
        buf_adds(out, "\"logprobs\":null");
        return;
    }
    buf_adds(out, "\"logprobs\":{\"content\":");
    openai_logprobs(out, c);
    buf_adds(out, ",\"refusal\":null}");
}

/* The older shape: parallel arrays. */
static void add_legacy_logprobs(struct buf *out, const struct generation *g, struct choice *c)
{
    size_t from = c->n_written, end = notes_ready(c);
    buf_adds(out, "\"logprobs\":");
    if (!g->req.logprobs) {
        buf_adds(out, "null");
        return;
    }
    buf_adds(out, "{\"tokens\":[");
    for (size_t i = from; i < end; i++) {
        if (i > from) buf_addc(out, ',');
        add_token_text(out, g, c->note[i].token);
    }
    buf_adds(out, "],\"token_logprobs\":[");
    for (size_t i = from; i < end; i++) {
        if (i > from) buf_addc(out, ',');
        if (isnan(c->note[i].logprob))
            buf_adds(out, "null"); /* a prompt's first token */
        else
            add_logprob(out, c->note[i].logprob);
    }
    buf_adds(out, "],\"top_logprobs\":[");
    for (size_t i = from; i < end; i++) {
        if (i > from) buf_addc(out, ',');
        if (isnan(c->note[i].logprob)) {
            buf_adds(out, "null");
            continue;
        }
        buf_addc(out, '{');
        for (uint32_t k = 0; k < c->note[i].n_top; k++) {
            const struct sample_logprob *top = &c->top[c->note[i].top_at + k];
            if (k) buf_addc(out, ',');
            add_token_text(out, g, top->token);
            buf_addc(out, ':');
            add_logprob(out, top->logprob);
        }
        buf_addc(out, '}');
    }
    buf_adds(out, "],\"text_offset\":[");
    for (size_t i = from; i < end; i++) buf_addf(out, i > from ? ",%u" : "%u", c->note[i].start_chars);
    buf_adds(out, "]}");
    c->n_written = end;
}

/* ---- events ------------------------------------------------------------------------------------------ */

/* A chunk is written into the stream's buffer between these two. */
static void open_chunk(struct buf *out, const struct generation *g)
{
    buf_adds(out, "data: ");
    add_head(out, g, is_chat(g) ? "chat.completion.chunk" : "text_completion");
}

static void close_chunk(struct buf *out, const struct generation *g)
{
    buf_adds(out, g->req.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

static void close_last(struct buf *out, const struct choice *c)
{
    buf_adds(out, "],\"timings\":");
    engine_timing_json(out, &c->timing);
    buf_adds(out, c->g->req.include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

static void end_stream(struct generation *g, struct buf *out)
{
    if (g->req.include_usage) {
        open_chunk(out, g);
        buf_adds(out, "],\"usage\":");
        openai_usage(out, g);
        buf_adds(out, "}\n\n");
    }
    buf_adds(out, "data: [DONE]\n\n");
}

static void close_whole(struct buf *out, const struct generation *g)
{
    buf_adds(out, "],\"usage\":");
    openai_usage(out, g);
    buf_adds(out, ",\"timings\":");
    engine_timing_json(out, &g->choice[0].timing);
    buf_addc(out, '}');
}

/* The first chunk names the role; its content is null, as llama.cpp writes it and every client accepts. */
static void chat_begin(struct generation *g, struct buf *out)
{
    for (uint32_t i = 0; i < g->n_choice; i++) {
        open_chunk(out, g);
        buf_addf(out,
                 "{\"index\":%u,\"delta\":{\"role\":\"assistant\",\"content\":null},\"logprobs\":null,"
                 "\"finish_reason\":null}",
                 i);
        close_chunk(out, g);
    }
}

static void add_call_head(struct buf *out, const struct choice *c, uint32_t i)
{
    buf_adds(out, "\"id\":");
    buf_json_str(out, c->call[i].id, strlen(c->call[i].id));
    buf_adds(out, ",\"type\":\"function\",\"function\":{\"name\":");
    buf_json_str(out, c->call[i].name, strlen(c->call[i].name));
}

static void chat_delta(struct generation *g, struct choice *c, const struct piece *p, struct buf *out)
{
    if (p->kind == PIECE_CALL_END) return;
    open_chunk(out, g);
    buf_addf(out, "{\"index\":%u,\"delta\":{", c->index);
    switch (p->kind) {
    case PIECE_CONTENT:
    case PIECE_REASONING:
        buf_adds(out, p->kind == PIECE_CONTENT ? "\"content\":" : "\"reasoning_content\":");
        add_piece(out, c, p);
        break;
    case PIECE_CALL:
        buf_addf(out, "\"tool_calls\":[{\"index\":%u,", p->call);
        add_call_head(out, c, p->call);
        buf_adds(out, ",\"arguments\":\"\"}}]");
        break;
    default:
        buf_addf(out, "\"tool_calls\":[{\"index\":%u,\"function\":{\"arguments\":", p->call);
        add_piece(out, c, p);
        buf_adds(out, "}}]");
        break;
    }
    buf_adds(out, "},");
    add_chat_logprobs(out, c);
    buf_adds(out, ",\"finish_reason\":null}");
    close_chunk(out, g);
}

static void chat_last(struct generation *g, struct choice *c, struct buf *out)
{
    open_chunk(out, g);
    buf_addf(out, "{\"index\":%u,\"delta\":{},", c->index);
    if (notes_ready(c) > c->n_written) /* of tokens that made no text */
        add_chat_logprobs(out, c);
    else
        buf_adds(out, "\"logprobs\":null");
    buf_addf(out, ",\"finish_reason\":\"%s\"}", choice_finish(c));
    close_last(out, c);
}

static void add_calls(struct buf *out, const struct choice *c)
{
    buf_adds(out, ",\"tool_calls\":[");
    for (uint32_t i = 0; i < c->n_call; i++) {
        buf_adds(out, i ? ",{" : "{");
        add_call_head(out, c, i);
        buf_adds(out, ",\"arguments\":");
        add_buf(out, &c->call[i].args);
        buf_adds(out, "}}");
    }
    buf_addc(out, ']');
}

static void chat_whole(struct generation *g, struct buf *out)
{
    add_head(out, g, "chat.completion");
    for (uint32_t i = 0; i < g->n_choice; i++) {
        struct choice *c = &g->choice[i];
        buf_addf(out, "%s{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":", i ? "," : "", i);
        if (c->n_call && !c->content.n)
            buf_adds(out, "null");
        else
            add_buf(out, &c->content);
        buf_adds(out, ",\"refusal\":null");
        if (c->reasoning.n) {
            buf_adds(out, ",\"reasoning_content\":");
            add_buf(out, &c->reasoning);
        }
        if (c->n_call) add_calls(out, c);
        buf_adds(out, "},");
        add_chat_logprobs(out, c);
        buf_addf(out, ",\"finish_reason\":\"%s\"}", choice_finish(c));
    }
    close_whole(out, g);
}

static void open_text_choice(struct buf *out, const struct choice *c)
{
    buf_addf(out, "{\"index\":%u,\"text\":", c->index);
}

static void text_delta(struct generation *g, struct choice *c, const struct piece *p, struct buf *out)
{
    open_chunk(out, g);
    open_text_choice(out, c);
    add_piece(out, c, p);
    buf_addc(out, ',');
    add_legacy_logprobs(out, g, c);
    buf_adds(out, ",\"finish_reason\":null}");
    close_chunk(out, g);
}

static void text_last(struct generation *g, struct choice *c, struct buf *out)
{
    open_chunk(out, g);
    open_text_choice(out, c);
    buf_adds(out, "\"\",");
    if (notes_ready(c) > c->n_written) /* of tokens that made no text */
        add_legacy_logprobs(out, g, c);
    else
        buf_adds(out, "\"logprobs\":null");
    buf_addf(out, ",\"finish_reason\":\"%s\"}", choice_finish(c));
    close_last(out, c);
}

static void text_whole(struct generation *g, struct buf *out)
{
    add_head(out, g, "text_completion");
    for (uint32_t i = 0; i < g->n_choice; i++) {
        struct choice *c = &g->choice[i];
        if (i) buf_addc(out, ',');
        open_text_choice(out, c);
        add_buf(out, &c->content);
        buf_addc(out, ',');
        add_legacy_logprobs(out, g, c);
        buf_addf(out, ",\"finish_reason\":\"%s\"}", choice_finish(c));
    }
    close_whole(out, g);
}

const struct renderer openai_chat = {.family = FAMILY_OPENAI,
                                     .begin = chat_begin,
                                     .delta = chat_delta,
                                     .last = chat_last,
                                     .end = end_stream,
                                     .whole = chat_whole};
const struct renderer openai_completion = {
    .family = FAMILY_OPENAI, .delta = text_delta, .last = text_last, .end = end_stream, .whole = text_whole};
