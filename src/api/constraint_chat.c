#include "api/constraint_chat.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/constraint_bare.h"

/* Formats are built of small JSON objects; NULL (out of memory) goes up through all of them. */

static json_t *with_type(const char *type)
{
    return json_pack("{s:s}", "type", type);
}

static json_t *literal(const char *p, size_t n)
{
    return json_pack("{s:s, s:s%}", "type", "const_string", "value", p, n);
}

static json_t *regex(const char *pattern)
{
    return json_pack("{s:s, s:s}", "type", "regex", "pattern", pattern);
}

static json_t *list(const char *type, json_t *elements) /* takes elements */
{
    return json_pack("{s:s, s:o}", "type", type, "elements", elements);
}

static json_t *tag(const char *begin, json_t *content, const char *end) /* takes content */
{
    return json_pack("{s:s, s:s, s:o, s:s}", "type", "tag", "begin", begin, "content", content, "end", end);
}

static json_t *either(json_t *a, json_t *b) /* takes both */
{
    return json_pack("{s:s, s:[o, o]}", "type", "or", "elements", a, b);
}

static void add(json_t *array, json_t *v) /* takes v */
{
    json_array_append_new(array, v);
}

/* ---- one call ---------------------------------------------------------------------------------------- */

/* Text with {name} filled in, {id} and {index} as what they may be. Adds to elements. */
static void add_head(json_t *elements, const char *head, const char *name)
{
    struct buf text = {0};
    while (*head) {
        bool id = strncmp(head, "{id}", 4) == 0, index = strncmp(head, "{index}", 7) == 0;
        if (id || index) {
            if (text.n) add(elements, literal(text.data, text.n));
            buf_reset(&text);
            add(elements, regex(id ? "[A-Za-z0-9]{9}" : "0|[1-9][0-9]{0,2}"));
            head += id ? 4 : 7;
        } else if (strncmp(head, "{name}", 6) == 0) {
            buf_adds(&text, name);
            head += 6;
        } else {
            buf_addc(&text, *head++);
        }
    }
    if (text.n) add(elements, literal(text.data, text.n));
    buf_deinit(&text);
}

static json_t *parameters(json_t *schema, const char *style, const char *head, const char *tail,
                          const char *between, const char *quote)
{
    return json_pack("{s:s, s:O, s:s, s:s, s:s, s:s, s:s}", "type", "parameters", "json_schema", schema,
                     "style", style, "head", head, "tail", tail, "between", between, "quote", quote);
}

static void add_args(json_t *elements, const struct chat_wire *w, json_t *schema)
{
    switch (w->args) {
    case CHAT_ARGS_JSON:
        add(elements, json_pack("{s:s, s:O}", "type", "json_schema", "json_schema", schema));
        break;
    case CHAT_ARGS_TAGGED:
        add(elements, parameters(schema, "raw", w->param_head, w->param_tail, w->between_params, ""));
        break;
    case CHAT_ARGS_PYTHON: add(elements, parameters(schema, "python", "{key}=", "", ", ", "")); break;
    case CHAT_ARGS_GEMMA:
        add(elements, literal("{", 1));
        add(elements, parameters(schema, "quoted", "{key}:", "", ",", w->quote));
        add(elements, literal("}", 1));
        break;
    }
}

/* head is what is left of the wire's, its beginning having been read. */
static json_t *call(const struct chat_wire *w, const char *head, const json_t *tool)
{
    const json_t *f = json_object_get(tool, "function");
    json_t *given = json_object_get(f, "parameters"), *elements = json_array();
    json_t *schema = json_is_object(given)
                         ? json_incref(given)
                         : json_pack("{s:s, s:b}", "type", "object", "additionalProperties", 0);
    add_head(elements, head, json_string_value(json_object_get(f, "name")));
    add_args(elements, w, schema);
    if (*w->tail) add(elements, literal(w->tail, strlen(w->tail)));
    json_decref(schema);
    return list("sequence", elements);
}

/* ---- all calls of an answer -------------------------------------------------------------------------- */

struct calls { /* how the wire's texts divide at its trigger */
    const struct chat_wire *w;
    char trigger[128];        /* without a name in it, since that depends on the tool */
    const char *begin, *head; /* behind the trigger */
    const char *again;        /* before each further head: "" or the trigger */
};

static bool divide(struct calls *c, const struct chat_wire *w)
{
    const char *name = strstr(w->trigger, "{name}");
    size_t n = name ? (size_t)(name - w->trigger) : strlen(w->trigger);
    *c = (struct calls){.w = w, .begin = w->begin, .head = w->head, .again = ""};
    if (n >= sizeof c->trigger) return false;
    memcpy(c->trigger, w->trigger, n);
    if (!n) return true;
    if (strncmp(w->begin, c->trigger, n) == 0) {
        c->begin = w->begin + n;
        return true;
    }
    if (*w->begin || strncmp(w->head, c->trigger, n) != 0) return false;
    c->head = w->head + n;
    c->again = c->trigger;
    return true;
}

/* What follows the trigger. */
static json_t *calls_format(const struct calls *c, const json_t *tools, bool parallel)
{
    json_t *tags = json_array(), *elements = json_array(), *tool;
    struct buf separator = {0};
    size_t i;
    json_array_foreach((json_t *)tools, i, tool) add(tags, tag("", call(c->w, c->head, tool), ""));
    buf_addf(&separator, "%s%s", c->w->between, c->again);
    if (*c->begin) add(elements, literal(c->begin, strlen(c->begin)));
    add(elements, json_pack("{s:s, s:o, s:s, s:b, s:b}", "type", "tags_with_separator", "tags", tags,
                            "separator", separator.data, "at_least_one", 1, "stop_after_first", !parallel));
    if (*c->w->end) add(elements, literal(c->w->end, strlen(c->w->end)));
    buf_deinit(&separator);
    return list("sequence", elements);
}

static json_t *with_trigger(const struct calls *c, const json_t *tools, bool parallel)
{
    json_t *elements = json_array();
    if (*c->trigger) add(elements, literal(c->trigger, strlen(c->trigger)));
    add(elements, calls_format(c, tools, parallel));
    return list("sequence", elements);
}

/* Free text, which a trigger ends. */
static json_t *text_or_calls(const struct calls *c, const json_t *tools, bool parallel)
{
    const char *t = c->trigger;
    return json_pack("{s:s, s:[s], s:[o], s:b}", "type", "triggered_tags", "triggers", t, "tags",
                     tag(t, calls_format(c, tools, parallel), ""), "stop_after_first", 1);
}

/* Calls without a trigger: an answer that begins like one is one, and any other is free text. */
static json_t *calls_or_text(const struct calls *c, const json_t *tools, bool parallel)
{
    const char **name = mem_zalloc(json_array_size(tools) + 1, sizeof *name);
    struct buf text = {0};
    json_t *tool, *v;
    size_t i;
    json_array_foreach((json_t *)tools, i, tool) name[i] =
        json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
    bare_text_grammar(&text, c->w, name, json_array_size(tools));
    v = either(with_trigger(c, tools, parallel),
               json_pack("{s:s, s:s}", "type", "grammar", "grammar", text.data));
    buf_deinit(&text);
    free(name);
    return v;
}

/* ---- what the request says --------------------------------------------------------------------------- */

static status check_tools(const json_t *tools, const char *only, json_t **chosen, bool *strict,
                          struct error *e)
{
    size_t i;
    json_t *tool;
    *chosen = json_array();
    *strict = false;
    json_array_foreach((json_t *)tools, i, tool)
    {
        const json_t *f = json_object_get(tool, "function"), *p = json_object_get(f, "parameters");
        const char *name = json_string_value(json_object_get(f, "name"));
        if (!name || !*name) return fail(e, ERR_ARG, "tools[%zu]: want a function with a \"name\"", i);
        for (const char *c = name; *c; c++)
            if ((unsigned char)*c <= 0x20 || strchr("\"\\{}", *c))
                return fail(e, ERR_ARG, "tools[%zu]: \"%.60s\" is no name of a function", i, name);
        if (p && !json_is_object(p) && !json_is_null(p))
            return fail(e, ERR_ARG, "tools[%zu]: \"parameters\" must be a JSON schema", i);
        if (only && strcmp(only, name) != 0) continue;
        *strict |= json_is_true(json_object_get(f, "strict"));
        json_array_append(*chosen, tool);
    }
    if (json_array_size(*chosen) == 0)
        return only ? fail(e, ERR_ARG, "tool_choice: there is no function \"%.60s\" in tools", only)
                    : fail(e, ERR_ARG, "tools: want at least one function");
    return OK;
}

/* The constraint that is there already, as a format. */
static json_t *content_format(const struct constraint_spec *s)
{
    const char *text = s->text.data ? s->text.data : "";
    json_t *v, *elements, *x;
    size_t i;
    if (!s->kind) return with_type("any_text");
    if (strcmp(s->kind, "regex") == 0)
        return json_pack("{s:s, s:s%}", "type", "regex", "pattern", text, s->text.n);
    if (strcmp(s->kind, "gbnf") == 0 || strcmp(s->kind, "lark") == 0)
        return json_pack("{s:s, s:s%}", "type", "grammar", "grammar", text, s->text.n);
    v = json_loadb(text, s->text.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (strcmp(s->kind, "json_schema") == 0)
        return json_pack("{s:s, s:o}", "type", "json_schema", "json_schema", v);
    if (strcmp(s->kind, "choice") == 0) {
        elements = json_array();
        json_array_foreach(v, i, x) add(elements, literal(json_string_value(x), json_string_length(x)));
        json_decref(v);
        return list("or", elements);
    }
    x = json_incref(json_object_get(v, "format")); /* a structural tag */
    json_decref(v);
    return x;
}

/* Reasoning before body, which is taken: it has begun, or it may come. */
static json_t *after_thought(const struct answer_shape *a, json_t *body)
{
    const struct chat_caps *c = a->caps;
    if (!c->thinks || !*c->think_end || (a->think == CHAT_THINK_OFF && !a->think_open)) return body;
    json_t *thought = tag(a->think_open ? "" : c->think_begin, with_type("any_text"), c->think_end);
    json_t *all =
        json_pack("{s:s, s:[o, o, O]}", "type", "sequence", "elements", thought, regex("[ \\n]{0,8}"), body);
    if (!a->think_open) return either(all, body);
    json_decref(body);
    return all;
}

/* NULL: nothing is to be constrained but reasoning and free text. */
static json_t *body_of(const struct constraint_spec *s, const struct answer_shape *a, const struct calls *c,
                       const json_t *tools)
{
    bool parallel = a->parallel && a->caps->wire->parallel;
    if (a->calls == ANSWER_MUST_CALL) return with_trigger(c, tools, parallel);
    if (a->calls == ANSWER_MAY_CALL && s->kind)
        return either(with_trigger(c, tools, parallel), content_format(s));
    if (a->calls == ANSWER_MAY_CALL)
        return *c->trigger ? text_or_calls(c, tools, parallel) : calls_or_text(c, tools, parallel);
    return s->kind ? content_format(s) : NULL;
}

status constraint_for_answer(struct constraint_spec *s, const struct answer_shape *a, struct error *e)
{
    json_t *tools = NULL, *body, *root;
    struct calls c = {0};
    bool strict = false, calls = a->calls != ANSWER_NO_CALLS;
    status code = OK;
    if (!calls && (!s->kind || !a->caps->thinks)) return OK;
    if (calls && !divide(&c, a->caps->wire))
        return fail(e, ERR_UNSUPPORTED, "calls in the format \"%s\" cannot be constrained",
                    a->caps->wire->name);
    if (calls && !*a->caps->wire->head)
        return a->calls == ANSWER_MUST_CALL
                   ? fail(e, ERR_UNSUPPORTED, "this model's template knows no tool calls")
                   : OK;
    if (calls) code = check_tools(a->tools, a->only, &tools, &strict, e);
    body = code == OK ? body_of(s, a, &c, tools) : NULL;
    json_decref(tools);
    if (code != OK || !body) return code;
    root = json_pack("{s:s, s:b, s:o}", "type", "structural_tag", "control", 1, "format",
                     after_thought(a, body));
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text) return fail(e, ERR_MEMORY, "out of memory for the constraint of the answer");
    struct constraint_spec whole = {.kind = "structural_tag",
                                    .field = s->kind ? s->field : "tools",
                                    .options = {.space = s->options.space, .ordered = true}};
    whole.options.lenient = calls && !strict;
    if (s->kind && strcmp(s->kind, "json_schema") == 0) whole.options.lenient = s->options.lenient;
    buf_adds(&whole.text, text);
    free(text);
    constraint_spec_deinit(s);
    *s = whole;
    return OK;
}
