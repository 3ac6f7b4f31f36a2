#include "api/family.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- paths ------------------------------------------------------------------------------------------- */

static const struct {
    const char *path;
    enum api_family family;
    bool below; /* and everything under it */
} paths[] = {
    {"/api", FAMILY_OLLAMA, true},
    {"/v1/messages", FAMILY_ANTHROPIC, true},
    {"/v1/responses", FAMILY_RESPONSES, true},
    {"/responses", FAMILY_RESPONSES, true},
    {"/completion", FAMILY_LLAMACPP, false},
    {"/completions", FAMILY_LLAMACPP, false},
    {"/infill", FAMILY_LLAMACPP, false},
    {"/tokenize", FAMILY_LLAMACPP, false},
    {"/detokenize", FAMILY_LLAMACPP, false},
    {"/apply-template", FAMILY_LLAMACPP, false},
    {"/embedding", FAMILY_LLAMACPP, false},
    {"/embeddings", FAMILY_LLAMACPP, false},
    {"/props", FAMILY_LLAMACPP, false},
    {"/slots", FAMILY_LLAMACPP, true},
    {"/lora-adapters", FAMILY_LLAMACPP, false},
};

enum api_family family_of_path(const char *path)
{
    size_t all = strcspn(path, "?");
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        size_t n = strlen(paths[i].path);
        if (all >= n && !memcmp(path, paths[i].path, n) && (all == n || (paths[i].below && path[n] == '/')))
            return paths[i].family;
    }
    return FAMILY_OPENAI;
}

const char *family_stream_type(enum api_family a)
{
    return a == FAMILY_OLLAMA ? "application/x-ndjson" : "text/event-stream";
}

const char *family_ping(enum api_family a)
{
    switch (a) {
    case FAMILY_OLLAMA: return NULL;
    case FAMILY_ANTHROPIC: return "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    case FAMILY_LLAMACPP: return ":\n\n";
    default: return ": waiting\n\n";
    }
}

/* ---- faults ------------------------------------------------------------------------------------------ */

/* How a status is called where nothing else is said: by OpenAI, by Anthropic. */
static const struct {
    int code;
    const char *openai, *anthropic, *reason;
} types[] = {
    {401, "authentication_error", "authentication_error", "invalid_api_key"},
    {403, "permission_error", "permission_error", NULL},
    {404, "not_found_error", "not_found_error", "not_found"},
    {408, "timeout_error", "timeout_error", "timeout"},
    {413, "invalid_request_error", "request_too_large", "request_too_large"},
    {429, "rate_limit_error", "rate_limit_error", NULL},
    {501, "invalid_request_error", "api_error", NULL},
    {503, "server_error", "overloaded_error", NULL},
    {504, "timeout_error", "timeout_error", "timeout"},
};

static size_t type_row(int code)
{
    size_t i = 0;
    while (i < COUNT_OF(types) && types[i].code != code) i++;
    return i;
}

bool refuse(struct fault *f, int code, const char *reason, const char *param, const char *fmt, ...)
{
    size_t row = type_row(code);
    bool known = row < COUNT_OF(types);
    va_list ap;
    *f = (struct fault){.code = code, .reason = reason ? reason : known ? types[row].reason : NULL};
    f->type = known ? types[row].openai : code >= 500 ? "server_error" : "invalid_request_error";
    snprintf(f->param, sizeof f->param, "%s", param ? param : "");
    va_start(ap, fmt);
    vsnprintf(f->msg, sizeof f->msg, fmt, ap);
    va_end(ap);
    return false;
}

static void add_str(struct buf *out, const char *s)
{
    buf_json_str(out, s, strlen(s));
}

static void openai(const struct fault *f, struct buf *out)
{
    buf_adds(out, "{\"error\":{\"message\":");
    add_str(out, f->msg);
    buf_addf(out, ",\"type\":\"%s\",\"param\":", f->type);
    if (f->param[0])
        add_str(out, f->param);
    else
        buf_adds(out, "null");
    if (f->reason)
        buf_addf(out, ",\"code\":\"%s\"", f->reason);
    else
        buf_adds(out, ",\"code\":null");
    if (f->n_ctx) buf_addf(out, ",\"n_prompt_tokens\":%u,\"n_ctx\":%u", f->n_prompt, f->n_ctx);
    buf_adds(out, "}}");
}

static void anthropic(const struct fault *f, struct buf *out)
{
    size_t row = type_row(f->code);
    const char *type = row < COUNT_OF(types) ? types[row].anthropic
                       : f->code >= 500      ? "api_error"
                                             : "invalid_request_error";
    buf_addf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type);
    if (f->n_ctx) /* in Anthropic's words, by which clients know that they must shorten */
        buf_addf(out, "\"prompt is too long: %u tokens > %u maximum\",\"n_prompt_tokens\":%u,\"n_ctx\":%u",
                 f->n_prompt, f->n_ctx, f->n_prompt, f->n_ctx);
    else
        add_str(out, f->msg);
    buf_adds(out, "}}");
}

static void ollama(const struct fault *f, struct buf *out)
{
    buf_adds(out, "{\"error\":");
    add_str(out, f->msg);
    buf_addc(out, '}');
}

static void llamacpp(const struct fault *f, struct buf *out)
{
    const char *type = f->n_ctx         ? "exceed_context_size_error"
                       : f->code == 501 ? "not_supported_error"
                       : f->code == 503 ? "unavailable_error"
                                        : f->type;
    buf_addf(out, "{\"error\":{\"code\":%d,\"message\":", f->code);
    add_str(out, f->msg);
    buf_addf(out, ",\"type\":\"%s\"", type);
    if (f->n_ctx) buf_addf(out, ",\"n_prompt_tokens\":%u,\"n_ctx\":%u", f->n_prompt, f->n_ctx);
    buf_adds(out, "}}");
}

void fault_write(const struct fault *f, enum api_family a, struct buf *out)
{
    static void (*const write[])(const struct fault *f, struct buf *out) = {
        [FAMILY_OPENAI] = openai, [FAMILY_RESPONSES] = openai,  [FAMILY_ANTHROPIC] = anthropic,
        [FAMILY_OLLAMA] = ollama, [FAMILY_LLAMACPP] = llamacpp,
    };
    write[a](f, out);
}

/* OpenAI's event has the fault's members at the top; "error" beside them is what its clients look for. */
static void responses_event(const struct fault *f, uint64_t sequence, struct buf *out)
{
    struct buf body = {0};
    openai(f, &body);
    buf_adds(out, "event: error\ndata: {\"type\":\"error\",\"code\":");
    add_str(out, f->reason ? f->reason : f->type);
    buf_adds(out, ",\"message\":");
    add_str(out, f->msg);
    buf_addf(out, ",\"param\":null,\"sequence_number\":%llu,", (unsigned long long)sequence);
    if (body.n) buf_add(out, body.data + 1, body.n - 1); /* "error":{...}} */
    buf_adds(out, "\n\n");
    buf_deinit(&body);
}

void fault_write_event(const struct fault *f, enum api_family a, uint64_t sequence, struct buf *out)
{
    if (a == FAMILY_RESPONSES) {
        responses_event(f, sequence, out);
        return;
    }
    buf_adds(out, a == FAMILY_OLLAMA ? "" : a == FAMILY_ANTHROPIC ? "event: error\ndata: " : "data: ");
    fault_write(f, a, out);
    buf_adds(out, a == FAMILY_OLLAMA ? "\n" : "\n\n");
}

const char *api_render_error(const char *path, int code, const char *why, struct buf *out)
{
    struct fault f;
    refuse(&f, code, NULL, NULL, "%s", why);
    fault_write(&f, family_of_path(path), out);
    return "application/json";
}
