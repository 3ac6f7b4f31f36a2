#include "api/responses.h"

#include <stdlib.h>
#include <string.h>

#include "api/api_int.h"
#include "api/generator.h"
#include "api/kept.h"
#include "api/recall.h"
#include "api/resume.h"
#include "api/task.h"

static void extra_free(void *extra)
{
    struct responses_extra *x = extra;
    if (!x) return;
    json_decref(x->history);
    json_decref(x->input);
    free(x);
}

/* ---- fields ------------------------------------------------------------------------------------------ */

static bool set_tools_flat(struct parse *p, const char *name, const json_t *v)
{
    json_t *tools = responses_tools(p, v);
    if (!tools) return false;
    request_keep(p->r, tools);
    return set_tools(p, name, tools);
}

static bool set_text(struct parse *p, const char *name, const json_t *v)
{
    const json_t *format = json_object_get(v, "format");
    const char *verbosity = json_string_value(json_object_get(v, "verbosity"));
    struct error e;
    bool usual = verbosity && !strcmp(verbosity, "medium");
    if (!field_others(p, name, v, usual ? "format|verbosity" : "format")) return false;
    if (!format || json_is_null(format)) return true;
    return constraint_field(&p->r->constraint, "text.format", format, &e) == OK ||
           refuse(p->f, 400, e.code == ERR_UNSUPPORTED ? "unsupported_value" : "invalid_value", "text.format",
                  "%s", e.msg);
}

static bool set_reasoning(struct parse *p, const char *name, const json_t *v)
{
    const json_t *effort = json_object_get(v, "effort");
    if (!field_others(p, name, v, "effort")) return false;
    if (!effort || json_is_null(effort)) return true;
    return json_is_string(effort) ? openai_set_effort(p, name, effort)
                                  : field_wrong_type(p, "reasoning.effort", "a string");
}

static bool set_include(struct parse *p, const char *name, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *s = json_string_value(json_array_get(v, i));
        if (!s) return field_wrong_type(p, name, "an array of strings");
        if (!strcmp(s, "message.output_text.logprobs"))
            p->r->logprobs = true;
        else if (!field_no_effect(p, s))
            return false;
    }
    return true;
}

static bool set_stream_options(struct parse *p, const char *name, const json_t *v)
{
    return field_others(p, name, v, "include_obfuscation");
}

static bool set_one_call(struct parse *p, const char *name, const json_t *v)
{
    p->r->one_call = json_is_false(v);
    return true;
}

#define STRING_OR_ARRAY "\"type\":[\"string\",\"array\"]"
// clang-format off
static const struct field rows[] = {
    {"model", FIELD_TEXT, 0, 0, 0, set_model, .help = "the served model's name or an alias; none: that model"},
    {"input", FIELD_ANY, .schema = STRING_OR_ARRAY, .required = true,
     .help = "a text, or items of type message, function_call, function_call_output, reasoning"},
    {"instructions", FIELD_TEXT, .help = "a system message for this answer only"},
    {"previous_response_id", FIELD_TEXT, .max = 128, .help = "an answer that this one follows; kept for an hour"},
    {"store", FIELD_FLAG, .def = "true", .help = "keep the answer for previous_response_id"},
    {"tools", FIELD_ARRAY, 0, REQUEST_MAX_TOOLS, 0, set_tools_flat, .schema = "\"items\":{\"type\":\"object\"}"},
    {"tool_choice", FIELD_ANY, 0, 0, 0, openai_set_tool_choice, .schema = "\"type\":[\"string\",\"object\"]"},
    {"parallel_tool_calls", FIELD_FLAG, 0, 0, 0, set_one_call, .def = "true"},
    {"reasoning", FIELD_OBJECT, 0, 0, 0, set_reasoning, .help = "effort: none, minimal, low, medium, high"},
    {"text", FIELD_OBJECT, 0, 0, 0, set_text, .help = "format: type text, json_object or json_schema"},
    {"max_output_tokens", FIELD_ANY, 0, 0, 0, set_max_tokens, .schema = "\"type\":\"integer\""},
    {"include", FIELD_ARRAY, 0, 16, 0, set_include, .help = "message.output_text.logprobs"},
    {"top_logprobs", FIELD_COUNT, 0, REQUEST_MAX_TOP, AT(params.n_logprobs), .def = "0"},
    {"stream", FIELD_FLAG, 0, 0, AT(stream), .def = "false", .help = "server-sent events, numbered"},
    {"stream_options", FIELD_OBJECT, 0, 0, 0, set_stream_options, .help = "include_obfuscation is accepted"},
    {"stop", FIELD_ANY, 0, 0, 0, set_stop, .schema = STRING_OR_ARRAY},
    {"chat_template_kwargs", FIELD_OBJECT, .at = AT(chat.kwargs)},
    {"metadata", FIELD_OBJECT, .use = FIELD_ACCEPTED},
    {"user", FIELD_TEXT, .use = FIELD_ACCEPTED},
    {"safety_identifier", FIELD_TEXT, .use = FIELD_ACCEPTED},
    {"service_tier", FIELD_TEXT, .use = FIELD_ACCEPTED},
    {"truncation", FIELD_TEXT, .use = FIELD_IGNORED, .def = "\"disabled\""},
    {"max_tool_calls", FIELD_INT, .use = FIELD_IGNORED},
    {"background", FIELD_FLAG, .use = FIELD_REFUSED},
    {"conversation", FIELD_ANY, .use = FIELD_REFUSED, .help = "use 'previous_response_id'"},
    {"prompt", FIELD_OBJECT, .use = FIELD_REFUSED},
};
// clang-format on
static const struct field_table fields = {"ResponsesRequest", rows, COUNT_OF(rows), &sampling_fields};

/* ---- the conversation -------------------------------------------------------------------------------- */

static json_t *kept_history(struct parse *p, const json_t *id)
{
    if (!json_is_string(id)) return json_array();
    json_t *kept = recall_get(p->api->responses, p->r->tenant, json_string_value(id));
    json_t *messages = resume_memory(p->r, json_incref(json_object_get(kept, "messages")));
    json_decref(kept);
    if (!messages) {
        refuse(p->f, 404, "previous_response_not_found", "previous_response_id",
               "the response '%.80s' is not known here: responses are kept for an hour%s, unless 'store' was "
               "false; send the conversation as 'input'",
               json_string_value(id),
               p->api->o.remember ? "" : " by the process that gave them, in its memory");
        return NULL;
    }
    return json_copy(messages);
}

/* Instructions, what went before, and the input become one conversation. */
static bool join_conversation(struct parse *p)
{
    const json_t *body = p->r->body, *instructions = json_object_get(body, "instructions");
    struct responses_extra *x = mem_zalloc(1, sizeof *x);
    json_t *messages = json_array();
    p->r->extra = x;
    p->r->extra_free = extra_free;
    request_keep(p->r, messages);
    x->store = !json_is_false(json_object_get(body, "store"));
    x->input = json_array();
    x->history = kept_history(p, json_object_get(body, "previous_response_id"));
    if (!x->history || !responses_messages(p, json_object_get(body, "input"), x->input)) return false;
    json_array_extend(x->history, x->input);
    if (json_is_string(instructions))
        json_array_append_new(messages, json_pack("{s:s,s:O}", "role", "system", "content", instructions));
    json_array_extend(messages, x->history);
    return conversation_check(p, "input", messages);
}

static bool check(struct request *r, const struct api *api, struct fault *f)
{
    struct parse p = {api, r, f, false};
    if (r->params.n_logprobs) r->logprobs = true;
    return join_conversation(&p) && openai_chat_check(r, api, f) && request_check(r, api, f);
}

const struct generator responses_generator = {"/v1/responses", request_init, &fields, check,
                                              &responses_renderer};

static void create(struct http_exchange *x, void *user)
{
    generator_serve(x, user, &responses_generator);
}

static void input_tokens(struct http_exchange *x, void *user)
{
    const struct api *api = user;
    struct request r;
    struct fault f;
    request_init(&r);
    if (request_read(&r, api, &fields, x, &f) && check(&r, api, &f))
        task_run(x, api, &responses_renderer, &r, openai_count_tokens);
    else
        reply_fault(x, &responses_renderer, &f);
    request_deinit(&r);
}

/* ---- kept responses ---------------------------------------------------------------------------------- */

static void refuse_unknown(struct http_exchange *x)
{
    struct fault f;
    refuse(&f, 404, "not_found", "id", "the response '%.80s' is not known here", http_param(x, "id"));
    reply_fault(x, &responses_renderer, &f);
}

static void retrieve(struct http_exchange *x, void *user)
{
    if (!kept_response(x, ((const struct api *)user)->responses)) refuse_unknown(x);
}

static void input_items(struct http_exchange *x, void *user)
{
    if (!kept_input_items(x, ((const struct api *)user)->responses)) refuse_unknown(x);
}

static void drop(struct http_exchange *x, void *user)
{
    if (!kept_delete(x, ((const struct api *)user)->responses)) refuse_unknown(x);
}

/* Answers are made while the client waits: there is nothing to cancel but its connection. */
static void cancel(struct http_exchange *x, void *user)
{
    struct fault f;
    refuse(&f, 400, "invalid_value", NULL,
           "only responses in the background can be cancelled, and there are none: close the connection "
           "instead");
    reply_fault(x, &responses_renderer, &f);
}

// clang-format off
static const struct endpoint endpoints[] = {
    {"POST", "/v1/responses", create, &fields, "Answer, as items", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/responses", create, &fields, "The same, as llama.cpp's clients call it", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/v1/responses/input_tokens", input_tokens, &fields, "How many tokens the prompt would have", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"GET", "/v1/responses/{id}", retrieve, .summary = "A response that was kept"},
    {"GET", "/v1/responses/{id}/input_items", input_items, .summary = "What it answered"},
    {"POST", "/v1/responses/{id}/cancel", cancel, .summary = "Refused: nothing runs in the background"},
    {"DELETE", "/v1/responses/{id}", drop, .summary = "Forget it"},
};
// clang-format on
const struct family responses_family = {"OpenAI Responses", endpoints, COUNT_OF(endpoints)};
