/* OpenAI's response shapes: chat.completion, chat.completion.chunk, text_completion, error. */
#include <string.h>

#include "api/generate.h"

#define FINGERPRINT "corral-" CORRAL_VERSION

static void add_head(struct buf *out, const struct generation *g, const char *object)
{
    buf_addf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", g->id, object,
             (long long)g->created);
    buf_json_str(out, g->api->model, strlen(g->api->model));
    buf_adds(out, ",\"system_fingerprint\":\"" FINGERPRINT "\",\"choices\":[");
}

static void add_usage(struct buf *out, const struct generation *g)
{
    uint64_t prompt = 0, completion = 0;
    for (uint32_t i = 0; i < g->req.n_prompt; i++) prompt += g->req.prompt[i].n;
    for (uint32_t i = 0; i < g->n_choice; i++) completion += g->choice[i].n_tokens;
    buf_addf(out, "\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu}",
             (unsigned long long)prompt, (unsigned long long)completion,
             (unsigned long long)(prompt + completion));
}

static void add_text(struct buf *out, const struct buf *text)
{
    buf_json_str(out, text->data ? text->data : "", text->n);
}

/* ---- log-probabilities ------------------------------------------------------------------------------- */

static void add_token_text(struct buf *out, const struct generation *g, int32_t token)
{
    size_t n;
    const char *piece = tokenizer_piece(g->api->tok, token, &n);
    if (n == 0) piece = tokenizer_text(g->api->tok, token, &n); /* a control token has no text of its own */
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
    const char *piece = tokenizer_piece(g->api->tok, token, &n);
    buf_adds(out, "{\"token\":");
    add_token_text(out, g, token);
    buf_adds(out, ",\"logprob\":");
    add_logprob(out, logprob);
    buf_adds(out, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++) buf_addf(out, i ? ",%u" : "%u", (unsigned char)piece[i]);
    buf_addc(out, ']');
}

static void add_chat_logprobs(struct buf *out, const struct generation *g, struct choice *c)
{
    size_t end = notes_ready(c);
    buf_adds(out, "\"logprobs\":");
    if (!g->req.logprobs) {
        buf_adds(out, "null");
        return;
    }
    buf_adds(out, "{\"content\":[");
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
    buf_adds(out, "],\"refusal\":null}");
    c->n_written = end;
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
        add_logprob(out, c->note[i].logprob);
    }
    buf_adds(out, "],\"top_logprobs\":[");
    for (size_t i = from; i < end; i++) {
        buf_adds(out, i > from ? ",{" : "{");
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
    add_head(out, g, g->req.chat ? "chat.completion.chunk" : "text_completion");
}

static void close_chunk(struct buf *out, const struct generation *g)
{
    buf_adds(out, g->req.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

static void end_stream(struct generation *g, struct buf *out)
{
    if (g->req.include_usage) {
        open_chunk(out, g);
        buf_adds(out, "],");
        add_usage(out, g);
        buf_adds(out, "}\n\n");
    }
    buf_adds(out, "data: [DONE]\n\n");
}

static void error_body(const struct fault *f, struct buf *out)
{
    buf_adds(out, "{\"error\":{\"message\":");
    buf_json_str(out, f->msg, strlen(f->msg));
    buf_addf(out, ",\"type\":\"%s\",\"param\":", f->type);
    if (f->param[0])
        buf_json_str(out, f->param, strlen(f->param));
    else
        buf_adds(out, "null");
    if (f->reason)
        buf_addf(out, ",\"code\":\"%s\"", f->reason);
    else
        buf_adds(out, ",\"code\":null");
    if (f->n_ctx) buf_addf(out, ",\"n_prompt_tokens\":%u,\"n_ctx\":%u", f->n_prompt, f->n_ctx);
    buf_adds(out, "}}");
}

static void error_event(const struct fault *f, struct buf *out)
{
    buf_adds(out, "data: ");
    error_body(f, out);
    buf_adds(out, "\n\n");
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

static void chat_delta(struct generation *g, struct choice *c, struct buf *out)
{
    open_chunk(out, g);
    buf_addf(out, "{\"index\":%u,\"delta\":{\"content\":", c->index);
    add_text(out, &c->text);
    buf_adds(out, "},");
    add_chat_logprobs(out, g, c);
    buf_adds(out, ",\"finish_reason\":null}");
    close_chunk(out, g);
}

static void chat_last(struct generation *g, struct choice *c, struct buf *out)
{
    open_chunk(out, g);
    buf_addf(out, "{\"index\":%u,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"}", c->index,
             finish_reason_name(c->finish));
    close_chunk(out, g);
}

static void chat_whole(struct generation *g, struct buf *out)
{
    add_head(out, g, "chat.completion");
    for (uint32_t i = 0; i < g->n_choice; i++) {
        struct choice *c = &g->choice[i];
        buf_addf(out, "%s{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":", i ? "," : "", i);
        add_text(out, &c->text);
        buf_adds(out, ",\"refusal\":null},");
        add_chat_logprobs(out, g, c);
        buf_addf(out, ",\"finish_reason\":\"%s\"}", finish_reason_name(c->finish));
    }
    buf_adds(out, "],");
    add_usage(out, g);
    buf_addc(out, '}');
}

static void text_choice(struct generation *g, struct choice *c, const char *finish, struct buf *out)
{
    buf_addf(out, "{\"index\":%u,\"text\":", c->index);
    add_text(out, &c->text);
    buf_addc(out, ',');
    add_legacy_logprobs(out, g, c);
    if (finish)
        buf_addf(out, ",\"finish_reason\":\"%s\"}", finish);
    else
        buf_adds(out, ",\"finish_reason\":null}");
}

static void text_begin(struct generation *g, struct buf *out) {}

static void text_delta(struct generation *g, struct choice *c, struct buf *out)
{
    open_chunk(out, g);
    text_choice(g, c, NULL, out);
    close_chunk(out, g);
}

static void text_last(struct generation *g, struct choice *c, struct buf *out)
{
    open_chunk(out, g);
    buf_addf(out, "{\"index\":%u,\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"%s\"}", c->index,
             finish_reason_name(c->finish));
    close_chunk(out, g);
}

static void text_whole(struct generation *g, struct buf *out)
{
    add_head(out, g, "text_completion");
    for (uint32_t i = 0; i < g->n_choice; i++) {
        if (i) buf_addc(out, ',');
        text_choice(g, &g->choice[i], finish_reason_name(g->choice[i].finish), out);
    }
    buf_adds(out, "],");
    add_usage(out, g);
    buf_addc(out, '}');
}

const struct renderer openai_chat = {"text/event-stream", chat_begin, chat_delta, chat_last,
                                     end_stream,          chat_whole, error_body, error_event};
const struct renderer openai_completion = {"text/event-stream", text_begin, text_delta, text_last,
                                           end_stream,          text_whole, error_body, error_event};

const char *api_render_error(int code, const char *why, struct buf *out)
{
    struct fault f;
    refuse(&f, code, code == 404 ? "not_found" : code == 401 ? "invalid_api_key" : NULL, NULL, "%s", why);
    error_body(&f, out);
    return "application/json";
}
