#include <string.h>

#include "api/api_int.h"
#include "api/responses.h"

static bool bad_item(struct parse *p, size_t i, const char *what)
{
    return refuse(p->f, 400, "invalid_type", "input", "'input[%zu]' %s", i, what);
}

/* Text of content: a string, or parts of type input_text, output_text or text. NULL: refused. */
static json_t *text_of(struct parse *p, size_t i, const json_t *content)
{
    struct buf b = {0};
    bool ok = true;
    if (json_is_string(content)) return json_incref((json_t *)content);
    if (!json_is_array(content)) {
        bad_item(p, i, "must have content, a string or an array of parts");
        return NULL;
    }
    for (size_t k = 0; ok && k < json_array_size(content); k++) {
        const json_t *part = json_array_get(content, k), *text = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type || !strstr(type, "text") || !json_is_string(text))
            ok = refuse(p->f, 400, "unsupported_parameter", "input",
                        "'input[%zu].content[%zu]' has the type '%.40s': this model takes text only", i, k,
                        type ? type : "");
        else
            buf_add(&b, json_string_value(text), json_string_length(text));
    }
    json_t *v = ok ? json_stringn(b.data ? b.data : "", b.n) : NULL;
    buf_deinit(&b);
    return v;
}

/* The assistant's message that calls and reasoning of its turn are put into. */
static json_t *assistant_turn(json_t *out)
{
    json_t *last = json_array_get(out, json_array_size(out) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (role && !strcmp(role, "assistant")) return last;
    json_array_append_new(out, last = json_pack("{s:s,s:n}", "role", "assistant", "content"));
    return last;
}

static bool add_message(struct parse *p, size_t i, const json_t *item, json_t *out)
{
    const char *role = json_string_value(json_object_get(item, "role"));
    if (!role) return bad_item(p, i, "must have a role");
    json_t *text = text_of(p, i, json_object_get(item, "content"));
    if (!text) return false;
    json_t *last = json_array_get(out, json_array_size(out) - 1);
    const char *before = json_string_value(json_object_get(last, "role"));
    /* Reasoning comes as an item before the message that it led to. */
    if (!strcmp(role, "assistant") && before && !strcmp(before, "assistant") &&
        json_is_null(json_object_get(last, "content")) && !json_object_get(last, "tool_calls"))
        json_object_set_new(last, "content", text);
    else
        json_array_append_new(out, json_pack("{s:s,s:o}", "role", role, "content", text));
    return true;
}

static bool add_call(struct parse *p, size_t i, const json_t *item, json_t *out)
{
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *id = json_string_value(json_object_get(item, "call_id"));
    const char *args = json_string_value(json_object_get(item, "arguments"));
    if (!name || !id || !args) return bad_item(p, i, "must have name, call_id and arguments");
    json_t *turn = assistant_turn(out), *calls = json_object_get(turn, "tool_calls");
    if (!calls) json_object_set_new(turn, "tool_calls", calls = json_array());
    json_array_append_new(calls, json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", id, "type", "function", "function",
                                           "name", name, "arguments", args));
    return true;
}

static bool add_result(struct parse *p, size_t i, const json_t *item, json_t *out)
{
    const char *id = json_string_value(json_object_get(item, "call_id"));
    if (!id) return bad_item(p, i, "must have a call_id");
    json_t *text = text_of(p, i, json_object_get(item, "output"));
    if (!text) return false;
    json_array_append_new(out,
                          json_pack("{s:s,s:s,s:o}", "role", "tool", "tool_call_id", id, "content", text));
    return true;
}

static bool add_reasoning(struct parse *p, size_t i, const json_t *item, json_t *out)
{
    const json_t *content = json_object_get(item, "content");
    if (!json_array_size(content))
        return true; /* only a summary: the model gave none, so it is not the model's */
    json_t *text = text_of(p, i, content);
    if (!text) return false;
    json_array_append_new(
        out, json_pack("{s:s,s:n,s:o}", "role", "assistant", "content", "reasoning_content", text));
    return true;
}

static bool add_item(struct parse *p, size_t i, const json_t *item, json_t *out)
{
    static const struct {
        const char *type;
        bool (*add)(struct parse *p, size_t i, const json_t *item, json_t *out);
    } kinds[] = {{"message", add_message},
                 {"function_call", add_call},
                 {"function_call_output", add_result},
                 {"reasoning", add_reasoning}};
    const char *type = json_string_value(json_object_get(item, "type"));
    if (!json_is_object(item)) return bad_item(p, i, "must be an object");
    if (!type) type = "message";
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        if (!strcmp(type, kinds[k].type)) return kinds[k].add(p, i, item, out);
    return refuse(p->f, 400, "unsupported_parameter", "input",
                  "'input[%zu]' has the type '%.40s'; message, function_call, function_call_output and "
                  "reasoning are supported",
                  i, type);
}

bool responses_messages(struct parse *p, const json_t *input, json_t *out)
{
    if (json_is_string(input)) {
        json_array_append_new(out, json_pack("{s:s,s:O}", "role", "user", "content", input));
        return true;
    }
    if (!json_is_array(input)) return field_wrong_type(p, "input", "a string or an array of items");
    for (size_t i = 0; i < json_array_size(input); i++)
        if (!add_item(p, i, json_array_get(input, i), out)) return false;
    return true;
}

json_t *responses_tools(struct parse *p, const json_t *tools)
{
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *t = json_array_get(tools, i);
        const char *type = json_string_value(json_object_get(t, "type"));
        if (!type || strcmp(type, "function") != 0) {
            refuse(p->f, 400, "unsupported_parameter", "tools",
                   "'tools[%zu].type' is '%.40s': only functions are supported", i, type ? type : "");
            json_decref(out);
            return NULL;
        }
        json_t *f = json_copy((json_t *)t);
        json_object_del(f, "type");
        json_array_append_new(out, json_pack("{s:s,s:o}", "type", "function", "function", f));
    }
    return out;
}
