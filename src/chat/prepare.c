/* Messages as clients send them to variables as templates want them. What a template cannot do is worked
 * around here, so that every conversation has some rendering:
 *
 * - developer is system where the template does not know it; system text goes to the head of the next user
 * message where the template has no system role;
 * - content is text: parts are joined with a line end, null is "" (a list of one part where it must be a
 * list);
 * - arguments of calls are an object, or JSON text where the template wants that;
 * - tools, calls and results are written into the messages, in the manner of Hermes, where the template knows
 * none. */
#include <stdlib.h>

#include "chat/chat_int.h"
#include "chat/wire.h"

struct preparing {
    const struct chat_format *f;
    const json_t *tools;
    bool write_tools, write_calls; /* into the messages: the template cannot */
    json_t *out;                   /* the new messages */
    struct buf system;             /* text that waits for a user message */
    struct error *e;
};

static status out_of_memory(struct error *e)
{
    return fail(e, ERR_MEMORY, "out of memory for a conversation");
}

status chat_content_text(struct buf *out, const json_t *content, size_t at, struct error *e)
{
    const json_t *part;
    size_t i;
    if (json_is_string(content)) buf_add(out, json_string_value(content), json_string_length(content));
    if (!content || json_is_null(content) || json_is_string(content)) return OK;
    if (!json_is_array(content))
        return fail(e, ERR_ARG, "messages[%zu].content is neither text nor a list of parts", at);
    json_array_foreach((json_t *)content, i, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_is_string(part) ? part : json_object_get(part, "text");
        if (!json_is_string(text))
            return fail(e, ERR_ARG, "messages[%zu].content[%zu]: this model reads text only, not %s", at, i,
                        type ? type : "parts without a type");
        if (i) buf_addc(out, '\n');
        buf_add(out, json_string_value(text), json_string_length(text));
    }
    return OK;
}

static status add_message(struct preparing *p, json_t *m, const char *role, const struct buf *text)
{
    json_t *content = json_stringn(text->n ? text->data : "", text->n);
    if (p->f->caps.typed_content) content = json_pack("[{s:s,s:o}]", "type", "text", "text", content);
    if (text->failed || !content || json_object_set_new(m, "role", json_string(role)) != 0 ||
        json_object_set_new(m, "content", content) != 0 || json_array_append(p->out, m) != 0)
        return text->failed ? out_of_memory(p->e) : fail(p->e, ERR_ARG, "a message is not UTF-8 text");
    return OK;
}

/* Templates of Mistral refuse identifiers that are not nine letters and digits; others become such. */
static void fit_id(const struct preparing *p, json_t *m, const char *key)
{
    static const char letter[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const char *shape = wire_row(p->f->caps.wire)->id, *id = json_string_value(json_object_get(m, key));
    char fitted[10] = "";
    if (!id || !shape || strcmp(shape, "{9}") != 0) return;
    if (strlen(id) == 9 && strspn(id, letter) == 9) return;
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (const char *s = id; *s; s++) h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    for (size_t i = 0; i < 9; i++, h /= sizeof letter - 1) fitted[i] = letter[h % (sizeof letter - 1)];
    json_object_set_new(m, key, json_string(fitted));
}

/* Reasoning under the name that the template reads. */
static void rename_reasoning(const struct preparing *p, json_t *m)
{
    static const char *const name[] = {"thinking", "reasoning", "thought"};
    json_t *text = json_object_get(m, "reasoning_content");
    if (!text || strstr(p->f->plain.text, "reasoning_content")) return;
    for (size_t i = 0; i < COUNT_OF(name); i++)
        if (strstr(p->f->plain.text, name[i]) && !json_object_get(m, name[i]))
            json_object_set(m, name[i], text);
    /* GPT-OSS takes one text before a call. */
    if (json_object_get(m, "tool_calls") && json_string_length(json_object_get(m, "content")))
        json_object_del(m, "thinking");
}

/* Calls with their arguments as the template wants them. */
static status convert_calls(struct preparing *p, json_t *m, size_t at)
{
    json_t *calls = json_deep_copy(json_object_get(m, "tool_calls")), *call;
    size_t i;
    if (!calls) return OK;
    json_object_set_new(m, "tool_calls", calls);
    json_array_foreach(calls, i, call)
    {
        json_t *fn = json_object_get(call, "function"), *args = json_object_get(fn, "arguments"), *now = NULL;
        if (!json_is_object(fn) || !json_is_string(json_object_get(fn, "name")))
            return fail(p->e, ERR_ARG, "messages[%zu].tool_calls[%zu] has no function with a name", at, i);
        fit_id(p, call, "id");
        if (!json_object_get(call, "type")) json_object_set_new(call, "type", json_string("function"));
        if (json_is_string(args) && p->f->caps.object_args) {
            const char *text = json_string_value(args);
            size_t n = json_string_length(args);
            now = n ? json_loadb(text, n, JSON_ALLOW_NUL, NULL) : json_object();
            if (!json_is_object(now)) {
                json_decref(now);
                return fail(
                    p->e, ERR_ARG,
                    "messages[%zu].tool_calls[%zu].function.arguments is not the text of a JSON object", at,
                    i);
            }
        } else if (!args || json_is_null(args)) {
            now = p->f->caps.object_args ? json_object() : json_string("{}");
        } else if (!json_is_string(args) && !p->f->caps.object_args) {
            char *text = json_dumps(args, JSON_ENCODE_ANY);
            now = json_string(text);
            free(text);
        }
        if (now) json_object_set_new(fn, "arguments", now);
    }
    return OK;
}

/* --- tools in the manner of Hermes, for templates that know none ---
 * Source: NousResearch, Hermes-Function-Calling (2024), the prompt that Qwen and others took over. */

static void add_json(struct buf *out, const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY);
    buf_adds(out, text ? text : "null");
    free(text);
}

static void describe_tools(struct buf *out, const struct chat_wire *w, const json_t *tools)
{
    const json_t *tool;
    size_t i;
    struct captures example = {.name = "function-name", .id = "0", .index = "0"};
    if (out->n) buf_adds(out, "\n\n");
    buf_adds(out, "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
                  "You are provided with function signatures within <tools></tools> XML tags:\n<tools>");
    json_array_foreach((json_t *)tools, i, tool)
    {
        buf_addc(out, '\n');
        add_json(out, tool);
    }
    buf_adds(
        out,
        "\n</tools>\n\nFor each function call, return its name and a JSON object of its arguments in exactly "
        "this form:\n");
    buf_adds(out, w->begin);
    pattern_fill(out, w->head, &example);
    buf_adds(out, "{\"argument-name\": \"value\"}");
    buf_adds(out, w->tail);
    buf_adds(out, w->end);
}

static void write_calls(struct buf *out, const json_t *calls)
{
    const json_t *call;
    size_t i;
    json_array_foreach((json_t *)calls, i, call)
    {
        const json_t *fn = json_object_get(call, "function"), *args = json_object_get(fn, "arguments");
        if (out->n) buf_addc(out, '\n');
        buf_adds(out, "<tool_call>\n{\"name\": ");
        add_json(out, json_object_get(fn, "name"));
        buf_adds(out, ", \"arguments\": ");
        if (json_is_string(args))
            buf_add(out, json_string_value(args), json_string_length(args));
        else
            add_json(out, args);
        buf_adds(out, "}\n</tool_call>");
    }
}

/* --- the messages --- */

static status add_waiting_system(struct preparing *p)
{
    if (!p->system.n) return OK;
    json_t *m = json_object();
    status r = add_message(p, m, "user", &p->system);
    json_decref(m);
    buf_reset(&p->system);
    return r;
}

/* One message with a role that the template knows. m is a copy that may be changed. */
static status convert(struct preparing *p, json_t *m, const char *role, size_t at)
{
    struct buf text = {0};
    status r = OK;
    bool result = !strcmp(role, "tool");
    if (!strcmp(role, "user") && p->system.n) {
        buf_add(&text, p->system.data, p->system.n);
        buf_adds(&text, "\n\n");
        buf_reset(&p->system);
    } else if (strcmp(role, "system") != 0) {
        r = add_waiting_system(p);
    }
    if (p->write_calls && result) buf_adds(&text, "<tool_response>\n");
    if (r == OK) r = chat_content_text(&text, json_object_get(m, "content"), at, p->e);
    if (r == OK) r = convert_calls(p, m, at);
    fit_id(p, m, "tool_call_id");
    rename_reasoning(p, m);
    if (p->write_calls && result) {
        buf_adds(&text, "\n</tool_response>");
        role = "user";
    }
    if (r == OK && p->write_calls && json_object_get(m, "tool_calls")) {
        write_calls(&text, json_object_get(m, "tool_calls"));
        json_object_del(m, "tool_calls");
    }
    if (r == OK) r = add_message(p, m, role, &text);
    buf_deinit(&text);
    return r;
}

/* System text, with the tools if they have to be told there. */
static status convert_system(struct preparing *p, const json_t *message, size_t at)
{
    struct buf text = {0};
    status r = chat_content_text(&text, json_object_get(message, "content"), at, p->e);
    if (p->write_tools && p->tools && at == 0) describe_tools(&text, p->f->caps.wire, p->tools);
    if (r == OK && !p->f->caps.system_role) {
        if (p->system.n && text.n) buf_adds(&p->system, "\n\n");
        buf_add(&p->system, text.n ? text.data : "", text.n);
    } else if (r == OK) {
        json_t *m = json_copy((json_t *)message);
        r = add_message(p, m, "system", &text);
        json_decref(m);
    }
    buf_deinit(&text);
    return r;
}

static bool is_system(const struct chat_format *f, const char *role)
{
    return !strcmp(role, "system") || (!strcmp(role, "developer") && !f->developer_role);
}

static status convert_all(struct preparing *p, const json_t *messages, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        if (!role) return fail(p->e, ERR_ARG, "messages[%zu] has no role", i);
        bool system = is_system(p->f, role);
        if (i == 0 && !system && p->write_tools && p->tools) {
            json_t *none = json_pack("{s:s}", "role", "system");
            status r = convert_system(p, none, 0);
            json_decref(none);
            TRY(r);
        }
        if (system) {
            TRY(convert_system(p, m, i));
            continue;
        }
        json_t *copy = json_copy((json_t *)m);
        status r = convert(p, copy, role, i);
        json_decref(copy);
        TRY(r);
    }
    return add_waiting_system(p);
}

/* Hugging Face passes None where there are no tools, and most templates are written for that. */
void chat_set_tools(const struct chat_format *f, json_t *vars, const json_t *tools, const struct tm *now)
{
    char date[32];
    if (tools || !f->tools_undefined)
        json_object_set_new(vars, "tools", tools ? json_incref((json_t *)tools) : json_null());
    if (!strstr(f->plain.text, "functions")) return;
    /* Some older templates read text from variables of their own. Source: the model card of FireFunction v2.
     */
    char *text = tools ? json_dumps(tools, JSON_INDENT(4)) : NULL;
    time_t t = time(NULL);
    struct tm local;
    if (!now) now = localtime_r(&t, &local);
    if (!now || !strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", now)) date[0] = 0;
    json_object_set_new(vars, "functions", json_string(text ? text : ""));
    json_object_set_new(vars, "datetime", json_string(date));
    free(text);
}

static void add_missing(json_t *object, const char *key, json_t *value)
{
    if (json_is_object(object) && !json_object_get(object, key))
        json_object_set_new(object, key, value);
    else
        json_decref(value);
}

void chat_complete_tools(json_t *vars)
{
    json_t *out = json_deep_copy(json_object_get(vars, "tools")), *tool, *property;
    const char *key;
    size_t i;
    json_array_foreach(out, i, tool)
    {
        json_t *fn = json_object_get(tool, "function");
        add_missing(fn, "description", json_string(""));
        add_missing(fn, "parameters", json_pack("{s:s}", "type", "object"));
        json_t *parameters = json_object_get(fn, "parameters");
        add_missing(parameters, "properties", json_object());
        add_missing(parameters, "required", json_array());
        json_object_foreach(json_object_get(parameters, "properties"), key, property)
        {
            add_missing(property, "description", json_string(""));
            add_missing(property, "type", json_string("string"));
        }
    }
    json_object_set_new(vars, "tools", out);
}

static void set_think(json_t *vars, const struct chat_input *in)
{
    if (in->think != CHAT_THINK_DEFAULT) {
        json_object_set_new(vars, "enable_thinking", json_boolean(in->think == CHAT_THINK_ON));
        json_object_set_new(vars, "thinking", json_boolean(in->think == CHAT_THINK_ON));
    }
    if (in->effort) json_object_set_new(vars, "reasoning_effort", json_string(in->effort));
}

status chat_prepare(const struct chat_format *f, const struct chat_input *in, json_t **out, struct error *e)
{
    const json_t *tools = json_array_size(in->tools) ? in->tools : NULL;
    size_t n = json_array_size(in->messages);
    struct preparing p = {.f = f,
                          .tools = tools,
                          .write_tools = !f->caps.tools,
                          .write_calls = !f->caps.tool_calls && !f->caps.tools,
                          .out = json_array(),
                          .e = e};
    status r = convert_all(&p, in->messages, n - (in->continue_last && n));
    buf_deinit(&p.system);
    if (r != OK) {
        json_decref(p.out);
        *out = NULL;
        return r;
    }
    json_t *vars = json_is_object(in->kwargs) ? json_copy((json_t *)in->kwargs) : json_object();
    set_think(vars, in);
    json_object_set_new(vars, "messages", p.out);
    chat_set_tools(f, vars, p.write_tools ? NULL : tools, in->now);
    json_object_set_new(vars, "add_generation_prompt", json_boolean(in->answer || in->continue_last));
    json_object_set_new(vars, "bos_token", json_string(f->bos));
    json_object_set_new(vars, "eos_token", json_string(f->eos));
    *out = vars;
    return OK;
}
