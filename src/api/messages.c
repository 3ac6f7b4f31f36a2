/* Conversations and tools in OpenAI's shape, checked so that a template meets only what it expects. */
#include <string.h>

#include "api/api_int.h"
#include "api/request.h"

enum { MAX_NAME = 64 };

static bool bad(struct parse *p, const char *name, size_t i, const char *what)
{
    return refuse(p->f, 400, "invalid_type", name, "'%s[%zu]%s", name, i, what);
}

/* ---- messages ---------------------------------------------------------------------------------------- */

static bool check_part(struct parse *p, const char *name, size_t i, size_t k, const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    if (!type)
        return refuse(p->f, 400, "invalid_type", name, "'%s[%zu].content[%zu]' must be an object with a type",
                      name, i, k);
    if (strcmp(type, "text") != 0)
        return refuse(p->f, 400, "unsupported_parameter", name,
                      "'%s[%zu].content[%zu]' has the type '%.40s': this model takes text only", name, i, k,
                      type);
    if (!json_is_string(json_object_get(part, "text")))
        return refuse(p->f, 400, "invalid_type", name, "'%s[%zu].content[%zu].text' must be a string", name,
                      i, k);
    return true;
}

static bool check_content(struct parse *p, const char *name, size_t i, const json_t *content)
{
    if (json_is_string(content)) return true;
    if (!json_is_array(content)) return bad(p, name, i, ".content' must be a string or an array of parts");
    for (size_t k = 0; k < json_array_size(content); k++)
        if (!check_part(p, name, i, k, json_array_get(content, k))) return false;
    return true;
}

static bool check_calls(struct parse *p, const char *name, size_t i, const json_t *calls)
{
    if (!json_is_array(calls)) return bad(p, name, i, ".tool_calls' must be an array");
    for (size_t k = 0; k < json_array_size(calls); k++) {
        const json_t *f = json_object_get(json_array_get(calls, k), "function");
        const json_t *args = json_object_get(f, "arguments");
        if (!json_is_string(json_object_get(f, "name")))
            return bad(p, name, i, ".tool_calls' must hold objects with a function, which has a name");
        if (args && !json_is_string(args) && !json_is_object(args) && !json_is_null(args))
            return bad(p, name, i, ".tool_calls': arguments must be a string of JSON");
    }
    return true;
}

static bool check_message(struct parse *p, const char *name, size_t i, const json_t *m)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "function"};
    const char *role = json_string_value(json_object_get(m, "role"));
    const json_t *content = json_object_get(m, "content"), *calls = json_object_get(m, "tool_calls");
    bool known = false;
    if (!role) return bad(p, name, i, "' must be an object with a role");
    for (size_t k = 0; k < COUNT_OF(roles); k++) known = known || !strcmp(role, roles[k]);
    if (!known)
        return refuse(
            p->f, 400, "invalid_value", name,
            "'%s[%zu].role' is '%.40s', but must be one of system, developer, user, assistant, tool", name, i,
            role);
    bool assistant = !strcmp(role, "assistant");
    if (calls && !json_is_null(calls)) {
        if (!assistant) return bad(p, name, i, "' has tool_calls, which only the assistant makes");
        if (!check_calls(p, name, i, calls)) return false;
    }
    if (assistant && (!content || json_is_null(content))) return true;
    return check_content(p, name, i, content);
}

/* "developer" is OpenAI's newer word for "system", "function" the older one for "tool": templates know
 * neither. */
static const json_t *plain_roles(struct parse *p, const json_t *messages)
{
    json_t *copy = NULL;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
        const char *plain = !strcmp(role, "developer") ? "system" : !strcmp(role, "function") ? "tool" : NULL;
        if (!plain) continue;
        if (!copy) request_keep(p->r, copy = json_deep_copy(messages));
        json_object_set_new(json_array_get(copy, i), "role", json_string(plain));
    }
    return copy ? copy : messages;
}

static bool is_assistant(const json_t *m)
{
    const char *role = json_string_value(json_object_get(m, "role"));
    return role && !strcmp(role, "assistant");
}

bool conversation_check(struct parse *p, const char *name, const json_t *messages)
{
    size_t n = json_array_size(messages);
    if (n == 0)
        return refuse(p->f, 400, "invalid_value", name, "'%s' must be an array of at least one message",
                      name);
    for (size_t i = 0; i < n; i++)
        if (!check_message(p, name, i, json_array_get(messages, i))) return false;
    const json_t *last = json_array_get(messages, n - 1);
    if (n > 1 && is_assistant(last) && is_assistant(json_array_get(messages, n - 2)))
        return refuse(p->f, 400, "invalid_value", name,
                      "'%s' ends with two messages of the assistant: only one can be continued", name);
    p->r->chat.messages = plain_roles(p, messages);
    p->r->parse_answer = true;
    /* The assistant's own last message is a beginning that it goes on from. */
    p->r->chat.continue_last = is_assistant(last) && !json_array_size(json_object_get(last, "tool_calls"));
    return true;
}

bool set_messages(struct parse *p, const char *name, const json_t *v)
{
    return conversation_check(p, name, v);
}

/* ---- tools ------------------------------------------------------------------------------------------- */

static bool name_ok(const char *s)
{
    size_t n = strlen(s);
    if (n < 1 || n > MAX_NAME) return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 0x7f || strchr("\"'<>{}()[]|,\\", s[i]))
            return false;
    return true;
}

static bool check_tool(struct parse *p, const char *name, size_t i, const json_t *tool)
{
    const char *type = json_string_value(json_object_get(tool, "type"));
    const json_t *f = json_object_get(tool, "function"), *schema = json_object_get(f, "parameters");
    const char *function = json_string_value(json_object_get(f, "name"));
    if (type && strcmp(type, "function") != 0)
        return refuse(p->f, 400, "unsupported_parameter", name,
                      "'%s[%zu].type' is '%.40s': only functions are supported", name, i, type);
    if (!function) return bad(p, name, i, ".function' must be an object with a name");
    if (!name_ok(function))
        return refuse(p->f, 400, "invalid_value", name,
                      "'%s[%zu].function.name' must have 1 to %d letters, digits, '_', '-' or '.'", name, i,
                      MAX_NAME);
    if (schema && !json_is_object(schema) && !json_is_null(schema))
        return bad(p, name, i, ".function.parameters' must be a JSON schema, which is an object");
    for (size_t k = 0; k < i; k++) {
        const json_t *other = json_object_get(json_array_get(p->r->chat.tools, k), "function");
        if (!strcmp(json_string_value(json_object_get(other, "name")), function))
            return refuse(p->f, 400, "invalid_value", name, "'%s' has two functions of the name '%s'", name,
                          function);
    }
    return true;
}

bool set_tools(struct parse *p, const char *name, const json_t *v)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > REQUEST_MAX_TOOLS)
        return refuse(p->f, 400, "invalid_type", name, "'%s' must be an array of at most %d tools", name,
                      REQUEST_MAX_TOOLS);
    p->r->chat.tools = n ? v : NULL;
    for (size_t i = 0; i < n; i++)
        if (!check_tool(p, name, i, json_array_get(v, i))) return false;
    return true;
}

const json_t *find_tool(const struct request *r, const char *function)
{
    for (size_t i = 0; i < json_array_size(r->chat.tools); i++) {
        const json_t *tool = json_array_get(r->chat.tools, i);
        const char *s = json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
        if (s && !strcmp(s, function)) return tool;
    }
    return NULL;
}
