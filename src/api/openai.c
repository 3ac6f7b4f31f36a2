#include "api/openai.h"

#include <stdlib.h>
#include <string.h>

#include "api/fim.h"
#include "api/generator.h"
#include "api/task.h"

/* ---- setters ----------------------------------------------------------------------------------------- */

/* {"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":..}}]}}
 */
static bool allow_tools(struct parse *p, const char *name, const json_t *v)
{
    const json_t *inner = json_object_get(v, "allowed_tools"), *from = inner ? inner : v;
    const json_t *list = json_object_get(from, "tools");
    const char *mode = json_string_value(json_object_get(from, "mode"));
    json_t *some = json_array();
    request_keep(p->r, some);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i), *f = json_object_get(one, "function");
        const char *function = json_string_value(json_object_get(f ? f : one, "name"));
        const json_t *tool = function ? find_tool(p->r, function) : NULL;
        if (!tool)
            return refuse(p->f, 400, "invalid_value", name,
                          "'%s' allows the function '%.64s', which is not in 'tools'", name,
                          function ? function : "");
        json_array_append(some, (json_t *)tool);
    }
    p->r->chat.tools = some;
    p->r->tool_choice = mode && !strcmp(mode, "required") ? TOOLS_REQUIRED : TOOLS_AUTO;
    return true;
}

bool openai_set_tool_choice(struct parse *p, const char *name, const json_t *v)
{
    static const char *const word[] = {"auto", "none", "required"};
    const char *s = json_string_value(v), *type = json_string_value(json_object_get(v, "type"));
    for (size_t i = 0; s && i < COUNT_OF(word); i++)
        if (!strcmp(s, word[i])) {
            p->r->tool_choice = (enum tool_choice)i;
            return true;
        }
    if (type && !strcmp(type, "allowed_tools")) return allow_tools(p, name, v);
    const json_t *f = json_object_get(v, "function");
    const char *function = json_string_value(json_object_get(f ? f : v, "name"));
    if (!type || strcmp(type, "function") != 0 || !function)
        return refuse(
            p->f, 400, "invalid_value", name,
            "'%s' must be auto, none, required, or {\"type\":\"function\",\"function\":{\"name\":...}}",
            name);
    p->r->tool_choice = TOOLS_NAMED;
    p->r->tool = function;
    return true;
}

static bool set_parallel(struct parse *p, const char *name, const json_t *v)
{
    p->r->one_call = json_is_false(v);
    return true;
}

bool openai_set_effort(struct parse *p, const char *name, const json_t *v)
{
    const char *effort = json_string_value(v);
    p->r->chat.think = strcmp(effort, "none") ? CHAT_THINK_ON : CHAT_THINK_OFF;
    p->r->chat.effort = strcmp(effort, "none") ? effort : NULL;
    return true;
}

static bool set_thinking(struct parse *p, const char *name, const json_t *v)
{
    p->r->chat.think = json_is_true(v) ? CHAT_THINK_ON : CHAT_THINK_OFF;
    return true;
}

static bool set_reasoning_format(struct parse *p, const char *name, const json_t *v)
{
    p->r->inline_reasoning = !strcmp(json_string_value(v), "none");
    return true;
}

/* After messages, whose last one says what is meant unless these do. */
static bool set_continue(struct parse *p, const char *name, const json_t *v)
{
    const json_t *m = p->r->chat.messages;
    const char *role = json_string_value(json_object_get(json_array_get(m, json_array_size(m) - 1), "role"));
    if (json_is_true(v) && strcmp(role, "assistant") != 0)
        return refuse(p->f, 400, "invalid_value", name,
                      "'%s' needs a last message of the assistant, which is then continued", name);
    p->r->chat.continue_last = json_is_true(v);
    return true;
}

/* {"type":"content","content":"..."} or parts, of which the texts are joined. */
static bool set_prediction(struct parse *p, const char *name, const json_t *v)
{
    const json_t *content = json_object_get(v, "content");
    struct buf b = {0};
    if (!field_others(p, name, v, "type|content")) return false;
    if (json_is_string(content)) {
        p->r->prediction = json_string_value(content);
        return true;
    }
    if (!json_is_array(content))
        return field_wrong_type(p, name, "an object with content, a string or text parts");
    for (size_t i = 0; i < json_array_size(content); i++) {
        const char *text = json_string_value(json_object_get(json_array_get(content, i), "text"));
        buf_adds(&b, text ? text : "");
    }
    json_t *joined = json_stringn(b.data ? b.data : "", b.n);
    buf_deinit(&b);
    request_keep(p->r, joined);
    p->r->prediction = json_string_value(joined);
    return true;
}

/* 0, with echo: only the prompt is wanted. */
static bool set_text_max_tokens(struct parse *p, const char *name, const json_t *v)
{
    if (!json_is_integer(v) || json_integer_value(v) != 0) return set_max_tokens(p, name, v);
    p->r->max_tokens = 1;
    p->r->prompt_only = true;
    return true;
}

static bool set_template(struct parse *p, const char *name, const json_t *v)
{
    if (!p->api->o.request_templates)
        return refuse(p->f, 400, "unsupported_parameter", name,
                      "'%s': this server uses the model's own template, or that of --chat-template; "
                      "--request-templates allows others",
                      name);
    p->r->chat_template = json_string_value(v);
    return true;
}

static bool set_text_logprobs(struct parse *p, const char *name, const json_t *v)
{
    p->r->logprobs = true;
    return true;
}

/* ---- tables ------------------------------------------------------------------------------------------ */

#define BIG          2147483647.0
#define MAX_TEMPLATE 1048576.0 /* bytes */
#define MODEL(set_it)                                                                                        \
    {                                                                                                        \
        "model", FIELD_TEXT, 0, 0, 0, set_it,                                                                \
            .help = "the served model's name or an alias; none: that model"                                  \
    }
// clang-format off
static const struct field stream_option_rows[] = {
    {"include_usage", FIELD_FLAG, 0, 0, AT(include_usage), .def = "false", .help = "a last chunk with the token counts"},
    {"include_obfuscation", FIELD_FLAG, .use = FIELD_ACCEPTED},
    {"continuous_usage_stats", FIELD_FLAG, .use = FIELD_REFUSED},
};
static const struct field_table stream_options = {"StreamOptions", stream_option_rows, COUNT_OF(stream_option_rows), NULL};

#define STREAM_ROWS                                                                                                       \
    {"stream", FIELD_FLAG, 0, 0, AT(stream), .def = "false", .help = "server-sent events"},                               \
    {"stream_options", FIELD_OBJECT, .sub = &stream_options},                                                             \
    {"n", FIELD_COUNT, 1, REQUEST_MAX_CHOICES, AT(n), .def = "1", .help = "choices; the prompt is computed once"},        \
    {"stop", FIELD_ANY, 0, 0, 0, set_stop, .schema = "\"type\":[\"string\",\"array\"],\"items\":{\"type\":\"string\"}",   \
     .help = "up to 64 strings that end the answer and are no part of it"},                                               \
    {"response_format", FIELD_ANY, 0, 0, 0, set_constraint, .schema = "\"type\":\"object\"",                              \
     .help = "type text, json_object or json_schema"}
#define ACCOUNT_ROWS                                                                                                      \
    {"user", FIELD_TEXT, .use = FIELD_ACCEPTED}, {"metadata", FIELD_OBJECT, .use = FIELD_ACCEPTED},                       \
    {"safety_identifier", FIELD_TEXT, .use = FIELD_ACCEPTED}, {"service_tier", FIELD_TEXT, .use = FIELD_ACCEPTED}

static const struct field chat_rows[] = {
    MODEL(set_model),
    {"tools", FIELD_ARRAY, 0, REQUEST_MAX_TOOLS, 0, set_tools, .schema = "\"items\":{\"type\":\"object\"}", .help = "functions that the model may call"},
    {"tool_choice", FIELD_ANY, 0, 0, 0, openai_set_tool_choice, .schema = "\"type\":[\"string\",\"object\"]", .help = "auto, none, required, or a function"},
    {"parallel_tool_calls", FIELD_FLAG, 0, 0, 0, set_parallel, .def = "true"},
    {"messages", FIELD_ANY, 0, 0, 0, set_messages, .schema = "\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\"}", .required = true,
     .help = "roles system, developer, user, assistant, tool; an assistant's message at the end is continued"},
    {"continue_final_message", FIELD_FLAG, 0, 0, 0, set_continue, .help = "default: when the last message is the assistant's"},
    {"add_generation_prompt", FIELD_FLAG, 0, 0, AT(chat.answer), .def = "true"},
    {"chat_template_kwargs", FIELD_OBJECT, 0, 0, AT(chat.kwargs), .help = "more variables for the model's template"},
    {"reasoning_effort", FIELD_TEXT, 0, 0, 0, openai_set_effort, .choices = "none|minimal|low|medium|high|xhigh|max", .help = "none: no reasoning"},
    {"enable_thinking", FIELD_FLAG, 0, 0, 0, set_thinking, .help = "reasoning on or off, where the template has a switch"},
    {"reasoning_budget_tokens", FIELD_INT, -1, BIG, AT(think_budget), .def = "-1", .help = "tokens of reasoning, then it must end; -1: no limit"},
    {"thinking_budget_tokens", FIELD_INT, -1, BIG, AT(think_budget), .help = "the same"},
    {"thinking_token_budget", FIELD_INT, -1, BIG, AT(think_budget), .help = "the same, as vLLM calls it"},
    {"reasoning_format", FIELD_TEXT, 0, 0, 0, set_reasoning_format, .choices = "auto|none|deepseek|deepseek-legacy", .help = "none: reasoning stays in the content"},
    {"max_tokens", FIELD_ANY, 0, 0, 0, set_max_tokens, .schema = "\"type\":\"integer\"", .help = "none: until the context is full"},
    {"max_completion_tokens", FIELD_ANY, 0, 0, 0, set_max_tokens, .schema = "\"type\":\"integer\""},
    {"n_predict", FIELD_ANY, 0, 0, 0, set_max_tokens, .schema = "\"type\":\"integer\"", .help = "llama.cpp's name of max_tokens"},
    {"logprobs", FIELD_FLAG, 0, 0, AT(logprobs), .def = "false"},
    {"top_logprobs", FIELD_COUNT, 0, REQUEST_MAX_TOP, AT(params.n_logprobs), .def = "0"},
    STREAM_ROWS,
    ACCOUNT_ROWS,
    {"store", FIELD_FLAG, .use = FIELD_IGNORED, .def = "false", .help = "answers of /v1/responses are kept"},
    {"verbosity", FIELD_TEXT, .use = FIELD_IGNORED, .def = "\"medium\""},
    {"modalities", FIELD_ARRAY, .use = FIELD_REFUSED, .def = "[\"text\"]"},
    {"audio", FIELD_OBJECT, .use = FIELD_REFUSED},
    {"web_search_options", FIELD_OBJECT, .use = FIELD_REFUSED},
    {"functions", FIELD_ARRAY, .use = FIELD_REFUSED, .help = "use 'tools'"},
    {"function_call", FIELD_ANY, .use = FIELD_REFUSED, .def = "\"none\"", .help = "use 'tool_choice'"},
    {"chat_template", FIELD_TEXT, 0, MAX_TEMPLATE, 0, set_template, .help = "Jinja, instead of the model's own; where the server allows it"},
    {"documents", FIELD_ARRAY, .use = FIELD_REFUSED},
    {"prediction", FIELD_OBJECT, 0, 0, 0, set_prediction, .help = "content that the answer probably has, whole or in parts: makes it faster"},
    {"timings_per_token", FIELD_FLAG, .use = FIELD_IGNORED},
    {"return_progress", FIELD_FLAG, .use = FIELD_IGNORED},
};
const struct field_table openai_chat_fields = {"ChatCompletionRequest", chat_rows, COUNT_OF(chat_rows), &sampling_fields};

static const struct field text_rows[] = {
    MODEL(set_model),
    {"suffix", FIELD_TEXT, 0, 0, AT(suffix), .help = "fill in the middle: what follows the answer"},
    {"prompt", FIELD_ANY, 0, 0, 0, set_prompt, .schema = "\"type\":[\"string\",\"array\"]", .required = true,
     .help = "a string, token ids, or an array of those"},
    {"max_tokens", FIELD_ANY, 0, 0, 0, set_text_max_tokens, .schema = "\"type\":\"integer\"", .def = "16", .help = "0 with echo: the prompt alone"},
    {"n_predict", FIELD_ANY, 0, 0, 0, set_max_tokens, .schema = "\"type\":\"integer\""},
    {"logprobs", FIELD_COUNT, 0, REQUEST_MAX_TOP, AT(params.n_logprobs), set_text_logprobs, .help = "of each token, and of so many others"},
    {"echo", FIELD_FLAG, 0, 0, AT(echo), .def = "false", .help = "the prompt is the beginning of the answer"},
    STREAM_ROWS,
    ACCOUNT_ROWS,
    {"best_of", FIELD_COUNT, 1, REQUEST_MAX_CHOICES, AT(best_of), .help = "generate so many and answer the n with the likeliest tokens; not with stream"},
};
static const struct field_table text_fields = {"CompletionRequest", text_rows, COUNT_OF(text_rows), &sampling_fields};
// clang-format on

/* ---- what fields say together ------------------------------------------------------------------------- */

static bool stream_check(const struct request *r, struct fault *f)
{
    return !r->include_usage || r->stream ||
           refuse(f, 400, "invalid_value", "stream_options", "'stream_options' needs 'stream': true");
}

bool openai_chat_check(struct request *r, const struct api *api, struct fault *f)
{
    if (r->tool_choice == TOOLS_NONE) r->chat.tools = NULL;
    if (r->tool_choice > TOOLS_NONE && !json_array_size(r->chat.tools))
        return refuse(f, 400, "invalid_value", "tool_choice",
                      "'tool_choice' asks for a call, but there are no 'tools'");
    if (r->tool_choice == TOOLS_NAMED && !find_tool(r, r->tool))
        return refuse(f, 400, "invalid_value", "tool_choice",
                      "'tool_choice' names the function '%.64s', which is not in 'tools'", r->tool);
    return true;
}

static bool chat_check(struct request *r, const struct api *api, struct fault *f)
{
    if (r->params.n_logprobs && !r->logprobs)
        return refuse(f, 400, "invalid_value", "top_logprobs", "'top_logprobs' needs 'logprobs': true");
    return stream_check(r, f) && openai_chat_check(r, api, f) && request_check(r, api, f);
}

static bool best_of_check(const struct request *r, struct fault *f)
{
    if (r->best_of && r->best_of < r->n)
        return refuse(f, 400, "invalid_value", "best_of",
                      "'best_of' is %u, but 'n' of them are asked for: %u", r->best_of, r->n);
    if (r->best_of > r->n && r->stream)
        return refuse(f, 400, "invalid_value", "best_of",
                      "'best_of' cannot be streamed: which are the best is known at the end");
    if ((uint64_t)r->best_of * r->n_prompt > REQUEST_MAX_CHOICES)
        return refuse(f, 400, "value_out_of_range", "best_of", "%u of each of %u prompts are more than %d",
                      r->best_of, r->n_prompt, REQUEST_MAX_CHOICES);
    return true;
}

static bool text_check(struct request *r, const struct api *api, struct fault *f)
{
    if (!best_of_check(r, f)) return false;
    r->score_prompt = r->echo && r->logprobs;
    if (r->prompt_only) r->best_of = 0; /* of nothing */
    if (r->prompt_only && !r->echo)
        return refuse(f, 400, "value_out_of_range", "max_tokens", "'max_tokens' may be 0 with 'echo' only");
    if (r->suffix && *r->suffix) {
        if (!fim_supported(api, f)) { /* clients of OpenAI would try a 501 again */
            f->code = 400;
            f->reason = "unsupported_parameter";
            return false;
        }
        for (uint32_t i = 0; i < r->n_prompt; i++)
            if (r->prompt[i].ids.n)
                return refuse(f, 400, "invalid_value", "suffix", "'suffix' needs a 'prompt' that is text");
    }
    return stream_check(r, f) && request_check(r, api, f);
}

/* OpenAI's default. */
static void text_init(struct request *r)
{
    request_init(r);
    r->max_tokens = 16;
}

const struct generator openai_chat_generator = {"/v1/chat/completions", request_init, &openai_chat_fields,
                                                chat_check, &openai_chat};
const struct generator openai_text_generator = {"/v1/completions", text_init, &text_fields, text_check,
                                                &openai_completion};

/* ---- handlers ---------------------------------------------------------------------------------------- */

static void chat_completions(struct http_exchange *x, void *api)
{
    generator_serve(x, api, &openai_chat_generator);
}
static void completions(struct http_exchange *x, void *api)
{
    generator_serve(x, api, &openai_text_generator);
}

bool openai_count_tokens(const struct api *api, struct request *r, struct buf *out, struct fault *f)
{
    if (!request_encode(r, api, f)) return false;
    buf_addf(out, "{\"object\":\"response.input_tokens\",\"input_tokens\":%zu}", r->prompt[0].ids.n);
    return true;
}

static void input_tokens(struct http_exchange *x, void *user)
{
    const struct api *api = user;
    struct request r;
    struct fault f;
    request_init(&r);
    if (request_read(&r, api, &openai_chat_fields, x, &f) && chat_check(&r, api, &f))
        task_run(x, api, &openai_chat, &r, openai_count_tokens);
    else
        reply_fault(x, &openai_chat, &f);
    request_deinit(&r);
}

static void add_model(struct buf *b, const struct api *a, const char *name)
{
    struct engine_stats st;
    engine_stats(a->o.engine, &st);
    buf_adds(b, "{\"id\":");
    buf_json_str(b, name, strlen(name));
    const struct model_facts *m = &a->facts;
    const struct chat_caps *caps = chat_format_caps(a->o.chat);
    buf_addf(b,
             ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"corral\",\"meta\":{\"n_ctx\":%u,\"n_"
             "vocab\":%u,"
             "\"n_ctx_train\":%u,\"n_embd\":%u,\"n_params\":%llu,\"size\":%llu,\"architecture\":",
             (long long)a->created, st.max_context, tokenizer_n_vocab(a->o.tok), m->n_ctx_train, m->n_embd,
             (unsigned long long)m->n_param, (unsigned long long)m->file_bytes);
    buf_json_str(b, m->arch, strlen(m->arch));
    buf_adds(b, ",\"ftype\":");
    buf_json_str(b, m->quantization, strlen(m->quantization));
    buf_addf(b, ",\"tools\":%s,\"reasoning\":%s}}", caps->tools ? "true" : "false",
             caps->thinks ? "true" : "false");
}

static void models(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct buf b = {0};
    buf_adds(&b, "{\"object\":\"list\",\"data\":[");
    add_model(&b, a, a->o.model);
    for (size_t i = 0; i < a->o.n_alias; i++) {
        buf_addc(&b, ',');
        add_model(&b, a, a->o.alias[i]);
    }
    buf_adds(&b, "]}");
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

static void one_model(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    const char *id = http_param(x, "id");
    if (!api_serves(a, id)) {
        struct fault f;
        refuse(&f, 404, "model_not_found", "model",
               "the model '%.100s' does not exist; this server has '%.100s'", id, a->o.model);
        reply_fault(x, &openai_chat, &f);
        return;
    }
    struct buf b = {0};
    add_model(&b, a, id);
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

// clang-format off
static const struct endpoint rows[] = {
    {"POST", "/v1/chat/completions", chat_completions, &openai_chat_fields, "Answer a conversation", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/chat/completions", chat_completions, &openai_chat_fields, "The same, as llama.cpp's clients call it", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/v1/chat/completions/input_tokens", input_tokens, &openai_chat_fields, "How many tokens the prompt would have", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/v1/completions", completions, &text_fields, "Continue a text", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"GET", "/v1/models", models, .summary = "The served model and its aliases"},
    {"GET", "/models", models, .summary = "The same, as llama.cpp's clients call it"},
    {"GET", "/v1/models/{id*}", one_model, .summary = "One of them"},
};
// clang-format on
const struct family openai_family = {"OpenAI", rows, COUNT_OF(rows)};
