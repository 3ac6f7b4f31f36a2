/* POST /v1/messages and /v1/messages/count_tokens. */
#include <string.h>

#include "api/anthropic.h"
#include "api/generator.h"
#include "api/openai.h"
#include "api/task.h"

enum { DEFAULT_MAX_TOKENS = 4096 }; /* llama.cpp's; Anthropic demands the field */

static bool set_conversation(struct parse *p, const char *name, const json_t *v)
{
    json_t *messages = anthropic_messages(json_object_get(p->r->body, "system"), v, p->f);
    if (!messages) return false;
    request_keep(p->r, messages);
    return conversation_check(p, name, messages);
}

static bool set_anthropic_tools(struct parse *p, const char *name, const json_t *v)
{
    json_t *tools = anthropic_tools(v, p->f);
    if (!tools) return false;
    request_keep(p->r, tools);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!field_others(p, name, json_array_get(v, i),
                          "type|name|description|input_schema|strict|cache_control"))
            return false;
    return set_tools(p, name, tools);
}

static bool set_tool_choice(struct parse *p, const char *name, const json_t *v)
{
    static const char *const types[] = {
        [TOOLS_AUTO] = "auto", [TOOLS_NONE] = "none", [TOOLS_REQUIRED] = "any", [TOOLS_NAMED] = "tool"};
    const char *type = json_string_value(json_object_get(v, "type"));
    size_t i = 0;
    while (type && i < COUNT_OF(types) && strcmp(type, types[i]) != 0) i++;
    p->r->tool = json_string_value(json_object_get(v, "name"));
    if (!type || i == COUNT_OF(types) || (i == TOOLS_NAMED && !p->r->tool))
        return refuse(p->f, 400, "invalid_value", name,
                      "tool_choice: the type must be 'auto', 'any', 'none', or 'tool' with the name of one");
    p->r->tool_choice = (enum tool_choice)i;
    p->r->one_call = json_is_true(json_object_get(v, "disable_parallel_tool_use"));
    return field_others(p, name, v, "type|name|disable_parallel_tool_use");
}

static bool set_thinking(struct parse *p, const char *name, const json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    static const char *const on[] = {"enabled", "adaptive", "between_tools"};
    const json_t *budget = json_object_get(v, "budget_tokens");
    bool known = false;
    if (!field_others(p, name, v, "type|budget_tokens")) return false;
    if (type && !strcmp(type, "disabled")) {
        p->r->chat.think = CHAT_THINK_OFF;
        return true;
    }
    for (size_t i = 0; type && i < COUNT_OF(on); i++) known = known || !strcmp(type, on[i]);
    if (!known)
        return refuse(p->f, 400, "invalid_value", name,
                      "thinking: the type must be 'enabled', 'adaptive', 'between_tools' or 'disabled'");
    p->r->chat.think = CHAT_THINK_ON;
    if (!budget || json_is_null(budget)) return true;
    if (!json_is_integer(budget) || json_integer_value(budget) < 1)
        return refuse(p->f, 400, "invalid_value", "thinking.budget_tokens",
                      "thinking.budget_tokens: must be an integer of at least 1");
    if (p->r->max_tokens && json_integer_value(budget) >= p->r->max_tokens)
        return refuse(p->f, 400, "invalid_value", "thinking.budget_tokens",
                      "thinking.budget_tokens: %lld must be less than max_tokens, which is %u and counts the "
                      "answer too",
                      (long long)json_integer_value(budget), p->r->max_tokens);
    p->r->think_budget = (int32_t)MIN(json_integer_value(budget), (json_int_t)INT32_MAX);
    return true;
}

static bool set_output(struct parse *p, const char *name, const json_t *v)
{
    const json_t *effort = json_object_get(v, "effort"), *format = json_object_get(v, "format");
    struct error e;
    if (effort && !json_is_string(effort) && !json_is_null(effort))
        return field_wrong_type(p, "output_config.effort", "a string");
    if (!field_others(p, name, v, "effort|format")) return false;
    p->r->chat.effort = json_string_value(effort);
    if (!format || json_is_null(format)) return true;
    return constraint_field(&p->r->constraint, "output_format", format, &e) == OK ||
           refuse(p->f, 400, "invalid_value", "output_config.format", "output_config.format: %s", e.msg);
}

// clang-format off
static const struct field rows[] = {
    {"model", FIELD_ANY, .set = set_model, .schema = "\"type\":\"string\""},
    {"max_tokens", FIELD_ANY, .set = set_max_tokens, .schema = "\"type\":\"integer\"", .def = "4096", .help = "of the answer, what it thinks included"},
    {"messages", FIELD_ARRAY, .set = set_conversation, .schema = "\"items\":{\"type\":\"object\"}", .required = true, .help = "role and content: a string, or blocks of the types text, thinking, tool_use, tool_result"},
    {"system", FIELD_ANY, .schema = "\"type\":[\"string\",\"array\"]", .help = "instructions: a string or text blocks"},
    {"tools", FIELD_ARRAY, .set = set_anthropic_tools, .schema = "\"items\":{\"type\":\"object\"}", .help = "name, description, input_schema"},
    {"tool_choice", FIELD_OBJECT, .set = set_tool_choice, .help = "{\"type\": \"auto\" | \"any\" | \"none\" | \"tool\", \"name\": ..}"},
    {"thinking", FIELD_OBJECT, .set = set_thinking, .help = "{\"type\": \"enabled\" | \"adaptive\" | \"disabled\", \"budget_tokens\": ..}"},
    {"output_config", FIELD_OBJECT, .set = set_output, .help = "effort, and format: a JSON schema that the answer follows"},
    {"output_format", FIELD_ANY, .set = set_constraint, .schema = "\"type\":\"object\""},
    {"stop_sequences", FIELD_ARRAY, .set = set_stop, .schema = "\"items\":{\"type\":\"string\"}"},
    {"stream", FIELD_FLAG, 0, 0, AT(stream), .def = "false"},
    /* What Anthropic's accounts and data centres need: no text depends on it. */
    {"metadata", FIELD_OBJECT, .use = FIELD_ACCEPTED},
    {"service_tier", FIELD_TEXT, .use = FIELD_ACCEPTED},
    {"speed", FIELD_TEXT, .use = FIELD_ACCEPTED},
    {"inference_geo", FIELD_TEXT, .use = FIELD_ACCEPTED},
    {"diagnostics", FIELD_OBJECT, .use = FIELD_ACCEPTED},
    {"user_profile_id", FIELD_TEXT, .use = FIELD_ACCEPTED},
    {"workspace_id", FIELD_TEXT, .use = FIELD_ACCEPTED},
    {"cache_control", FIELD_OBJECT, .use = FIELD_ACCEPTED, .help = "prefixes are cached without being asked"},
    {"context_management", FIELD_OBJECT, .use = FIELD_IGNORED},
    {"container", FIELD_ANY, .use = FIELD_REFUSED},
    {"mcp_servers", FIELD_ARRAY, .use = FIELD_REFUSED, .help = "run the tools in your client"},
};
// clang-format on
static const struct field_table messages_fields = {"AnthropicMessages", rows, COUNT_OF(rows),
                                                   &sampling_fields};

/* The client reads it under this name. */
static void name_request(struct http_exchange *x)
{
    http_set_header(x, "request-id", http_request_id(x));
}

static void init(struct request *r)
{
    request_init(r);
    r->max_tokens = DEFAULT_MAX_TOKENS;
    r->chat.think = CHAT_THINK_OFF; /* thinking is asked for there */
}

static bool check(struct request *r, const struct api *api, struct fault *f)
{
    return openai_chat_check(r, api, f) && request_check(r, api, f);
}

const struct generator anthropic_generator = {"/v1/messages", init, &messages_fields, check,
                                              &anthropic_renderer};

static void messages(struct http_exchange *x, void *api)
{
    name_request(x);
    generator_serve(x, api, &anthropic_generator);
}

static bool count(const struct api *api, struct request *r, struct buf *out, struct fault *f)
{
    if (!request_encode(r, api, f)) return false;
    buf_addf(out, "{\"input_tokens\":%zu}", r->prompt[0].ids.n);
    return true;
}

static void count_tokens(struct http_exchange *x, void *user)
{
    struct api *api = user;
    struct request r;
    struct fault f;
    name_request(x);
    init(&r);
    if (request_read(&r, api, &messages_fields, x, &f) && check(&r, api, &f))
        task_run(x, api, &anthropic_renderer, &r, count);
    else
        reply_fault(x, &anthropic_renderer, &f);
    request_deinit(&r);
}

// clang-format off
static const struct endpoint endpoints[] = {
    {"POST", "/v1/messages", messages, &messages_fields, "Answer a conversation", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/v1/messages/count_tokens", count_tokens, &messages_fields, "Tokens of a conversation", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
};
// clang-format on
const struct family anthropic_family = {"Anthropic", endpoints, COUNT_OF(endpoints)};
