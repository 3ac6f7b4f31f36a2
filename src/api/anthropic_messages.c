/* Anthropic's conversations as OpenAI's. Messages are lists of blocks there: text, thinking and tool_use of
 * one turn become one message and its tool calls, each tool_result a message of its own. Turns of one role
 * that follow each other are one, as Anthropic has it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "api/anthropic.h"

struct convert {
    json_t *messages;
    struct fault *f;
    /* the turn that is being read */
    const char *role; /* NULL: none */
    json_t *parts, *calls;
    struct buf reasoning;
    bool answered; /* tool results of it are messages already */
    char at[64];   /* "messages.3.content.1" */
};

static bool wrong(struct convert *c, const char *what)
{
    return refuse(c->f, 400, "invalid_type", c->at, "%s: %s", c->at, what);
}

static bool add_text(json_t *parts, const json_t *text)
{
    return json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "text", "text", text)) == 0;
}

/* One part is written as a plain string, which every template knows. */
static json_t *content_of(json_t *parts)
{
    const json_t *only = json_object_get(json_array_get(parts, 0), "text");
    return json_array_size(parts) == 1 ? json_incref((json_t *)only) : json_incref(parts);
}

/* ---- turns ------------------------------------------------------------------------------------------- */

static void close_turn(struct convert *c)
{
    bool assistant = c->role && !strcmp(c->role, "assistant");
    size_t n_part = json_array_size(c->parts), n_call = json_array_size(c->calls);
    if (c->role && (n_part || n_call || c->reasoning.n || !c->answered)) {
        json_t *m = json_pack("{s:s}", "role", c->role);
        json_object_set_new(m, "content",
                            n_part                ? content_of(c->parts)
                            : assistant && n_call ? json_null()
                                                  : json_string(""));
        if (c->reasoning.n)
            json_object_set_new(m, "reasoning_content", json_stringn(c->reasoning.data, c->reasoning.n));
        if (n_call) json_object_set(m, "tool_calls", c->calls);
        json_array_append_new(c->messages, m);
    }
    json_decref(c->parts);
    json_decref(c->calls);
    c->parts = json_array();
    c->calls = json_array();
    buf_reset(&c->reasoning);
    c->role = NULL;
    c->answered = false;
}

static bool add_call(struct convert *c, const json_t *block)
{
    const json_t *id = json_object_get(block, "id"), *name = json_object_get(block, "name");
    const json_t *input = json_object_get(block, "input");
    if (!json_is_string(id) || !json_is_string(name) || !json_is_object(input))
        return wrong(c, "a tool_use block needs a string 'id', a string 'name' and an object 'input'");
    char *arguments = json_dumps(input, JSON_COMPACT | JSON_ENCODE_ANY);
    json_array_append_new(c->calls, json_pack("{s:O, s:s, s:{s:O, s:s}}", "id", id, "type", "function",
                                              "function", "name", name, "arguments", arguments));
    free(arguments);
    return true;
}

/* OpenAI's messages cannot say that a call failed but in the text of its result. */
static void mark_error(json_t *parts)
{
    json_t *first = json_array_get(parts, 0);
    const char *text = json_string_value(json_object_get(first, "text"));
    if (!first) json_array_append_new(parts, json_pack("{s:s, s:s}", "type", "text", "text", "Error"));
    if (text && strncasecmp(text, "error", 5) != 0)
        json_object_set_new(first, "text", json_pack("s+", "Error: ", text));
}

/* The text of a result is a string or a list of text blocks; it may be missing. */
static bool add_result(struct convert *c, const json_t *block)
{
    const json_t *id = json_object_get(block, "tool_use_id"), *content = json_object_get(block, "content");
    if (!json_is_string(id)) return wrong(c, "a tool_result block needs a string 'tool_use_id'");
    json_t *parts = json_array();
    bool ok = !content || json_is_null(content) || json_is_string(content) || json_is_array(content);
    if (json_is_string(content)) add_text(parts, content);
    for (size_t i = 0; ok && i < json_array_size(content); i++) {
        const json_t *text = json_object_get(json_array_get(content, i), "text");
        if ((ok = json_is_string(text))) add_text(parts, text);
    }
    if (!ok) {
        json_decref(parts);
        return wrong(
            c, "the content of a tool_result must be a string or text blocks; this model takes text only");
    }
    if (json_is_true(json_object_get(block, "is_error"))) mark_error(parts);
    const char *role = c->role;
    if (json_array_size(c->parts)) { /* text stood before the result */
        close_turn(c);
        c->role = role;
    }
    json_array_append_new(c->messages,
                          json_pack("{s:s, s:O, s:o}", "role", "tool", "tool_call_id", id, "content",
                                    json_array_size(parts) ? content_of(parts) : json_string("")));
    json_decref(parts);
    c->answered = true;
    return true;
}

static bool add_block(struct convert *c, const json_t *block)
{
    static const char *const pictures[] = {"image", "document", "search_result", "container_upload"};
    const char *type = json_string_value(json_object_get(block, "type"));
    bool assistant = !strcmp(c->role, "assistant");
    if (!type) return wrong(c, "a block must be an object with a type");
    if (!strcmp(type, "text")) {
        const json_t *text = json_object_get(block, "text");
        if (!json_is_string(text)) return wrong(c, "'text' must be a string");
        return json_string_length(text) == 0 || add_text(c->parts, text);
    }
    if (!strcmp(type, "tool_result") && !assistant) return add_result(c, block);
    if (!strcmp(type, "tool_use") && assistant) return add_call(c, block);
    if (!strcmp(type, "thinking") && assistant) {
        const json_t *text = json_object_get(block, "thinking");
        if (!json_is_string(text)) return wrong(c, "'thinking' must be a string");
        buf_add(&c->reasoning, json_string_value(text), json_string_length(text));
        return true;
    }
    if (!strcmp(type, "redacted_thinking") && assistant) return true; /* sealed: nobody here can read it */
    for (size_t i = 0; i < COUNT_OF(pictures); i++)
        if (!strcmp(type, pictures[i]))
            return refuse(c->f, 400, "unsupported_parameter", c->at,
                          "%s has the type '%s': this model takes text only; send its text in a text block",
                          c->at, type);
    return refuse(c->f, 400, "invalid_value", c->at,
                  "%s has the type '%.40s', which a message of the %s cannot have", c->at, type, c->role);
}

static bool add_message(struct convert *c, size_t i, const json_t *m)
{
    const json_t *content = json_object_get(m, "content");
    const char *role = json_string_value(json_object_get(m, "role"));
    snprintf(c->at, sizeof c->at, "messages.%zu", i);
    if (!role || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0))
        return wrong(c, "the role must be 'user' or 'assistant'; instructions go into the field 'system'");
    if (!c->role || strcmp(c->role, role) != 0) close_turn(c);
    c->role = strcmp(role, "user") ? "assistant" : "user";
    snprintf(c->at, sizeof c->at, "messages.%zu.content", i);
    if (json_is_string(content)) return json_string_length(content) == 0 || add_text(c->parts, content);
    if (!json_is_array(content)) return wrong(c, "must be a string or an array of blocks");
    for (size_t k = 0; k < json_array_size(content); k++) {
        snprintf(c->at, sizeof c->at, "messages.%zu.content.%zu", i, k);
        if (!add_block(c, json_array_get(content, k))) return false;
    }
    return true;
}

/* Instructions are a string or text blocks. */
static bool add_system(struct convert *c, const json_t *v)
{
    json_t *parts = json_array();
    bool ok = json_is_string(v) || json_is_array(v);
    if (json_string_length(v)) add_text(parts, v);
    for (size_t i = 0; ok && i < json_array_size(v); i++) {
        const json_t *text = json_object_get(json_array_get(v, i), "text");
        if ((ok = json_is_string(text)) && json_string_length(text)) add_text(parts, text);
    }
    if (ok && json_array_size(parts))
        json_array_append_new(c->messages,
                              json_pack("{s:s, s:o}", "role", "system", "content", content_of(parts)));
    json_decref(parts);
    return ok ||
           refuse(c->f, 400, "invalid_type", "system", "system: must be a string or an array of text blocks");
}

json_t *anthropic_messages(const json_t *system, const json_t *messages, struct fault *f)
{
    struct convert c = {.messages = json_array(), .f = f, .parts = json_array(), .calls = json_array()};
    bool ok = !system || json_is_null(system) || add_system(&c, system);
    if (ok && json_array_size(messages) == 0)
        ok =
            refuse(f, 400, "invalid_value", "messages", "messages: must be an array of at least one message");
    for (size_t i = 0; ok && i < json_array_size(messages); i++)
        ok = add_message(&c, i, json_array_get(messages, i));
    if (ok) close_turn(&c);
    json_decref(c.parts);
    json_decref(c.calls);
    buf_deinit(&c.reasoning);
    if (ok) return c.messages;
    json_decref(c.messages);
    return NULL;
}

/* ---- tools ------------------------------------------------------------------------------------------- */

static json_t *one_tool(size_t i, json_t *tool, struct fault *f)
{
    json_t *schema = json_object_get(tool, "input_schema"), *name = json_object_get(tool, "name"),
           *text = json_object_get(tool, "description");
    const char *type = json_string_value(json_object_get(tool, "type"));
    char at[32];
    snprintf(at, sizeof at, "tools.%zu", i);
    if (type && strcmp(type, "custom") != 0) {
        refuse(f, 400, "unsupported_parameter", at,
               "%s has the type '%.60s', which Anthropic's own service runs or knows; describe your tool "
               "with 'name' "
               "and 'input_schema'",
               at, type);
        return NULL;
    }
    if (!json_is_string(name) || !json_is_object(schema)) {
        refuse(f, 400, "invalid_type", at, "%s: a tool needs a string 'name' and an object 'input_schema'",
               at);
        return NULL;
    }
    json_t *function = json_pack("{s:O, s:O}", "name", name, "parameters", schema);
    if (json_is_string(text)) json_object_set(function, "description", text);
    if (json_is_true(json_object_get(tool, "strict"))) json_object_set_new(function, "strict", json_true());
    return json_pack("{s:s, s:o}", "type", "function", "function", function);
}

json_t *anthropic_tools(const json_t *tools, struct fault *f)
{
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_t *tool = one_tool(i, json_array_get(tools, i), f);
        if (tool) {
            json_array_append_new(out, tool);
            continue;
        }
        json_decref(out);
        return NULL;
    }
    return out;
}
