/* Fields of requests to constraint specs: one row per field, one function per shape. */
#include <jansson.h>
#include <string.h>

#include "api/constraint.h"

void constraint_spec_deinit(struct constraint_spec *s)
{
    buf_deinit(&s->text);
    *s = (struct constraint_spec){0};
}

status constraint_from_text(struct constraint_spec *s, const char *kind, const char *text, size_t n,
                            struct error *e)
{
    if (s->kind)
        return fail(e, ERR_ARG, "only one constraint may be given, and there was one already%s%s",
                    s->field ? ": " : "", s->field ? s->field : "");
    s->kind = kind;
    buf_add(&s->text, text, n);
    return s->text.failed ? fail(e, ERR_MEMORY, "out of memory for the constraint") : OK;
}

static status from_json_object(struct constraint_spec *s, struct error *e)
{
    static const char any_object[] = "{\"type\":\"object\"}";
    TRY(constraint_from_text(s, "json_schema", any_object, sizeof any_object - 1, e));
    s->options.space = GRAMMAR_SPACE_FLEXIBLE;
    return OK;
}

/* v as text of this kind, its members in the order they were written. */
static status from_json(struct constraint_spec *s, const char *kind, const json_t *v, struct error *e)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) return fail(e, ERR_MEMORY, "out of memory for the constraint");
    status code = constraint_from_text(s, kind, text, strlen(text), e);
    free(text);
    return code;
}

/* Members come in the order of the schema, as clients of the hosted APIs expect: it also lets more of the
 * text be forced. */
static status from_json_schema(struct constraint_spec *s, const json_t *schema, struct error *e)
{
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return fail(e, ERR_ARG, "a JSON schema is an object or a boolean");
    TRY(from_json(s, "json_schema", schema, e));
    s->options.ordered = true;
    return OK;
}

/* ---- shapes ------------------------------------------------------------------------------------------ */

static status schema_field(struct constraint_spec *s, const json_t *v, struct error *e)
{
    if (!json_is_string(v)) return from_json_schema(s, v, e);
    json_error_t je; /* some clients send the schema as text */
    json_t *parsed = json_loadb(json_string_value(v), json_string_length(v), JSON_DECODE_ANY, &je);
    if (!parsed) return fail(e, ERR_ARG, "the schema is not JSON: %.150s", je.text);
    status code = from_json_schema(s, parsed, e);
    json_decref(parsed);
    return code;
}

static status regex_field(struct constraint_spec *s, const json_t *v, struct error *e)
{
    if (!json_is_string(v)) return fail(e, ERR_ARG, "an expression must be a string");
    return constraint_from_text(s, "regex", json_string_value(v), json_string_length(v), e);
}

static status choice_field(struct constraint_spec *s, const json_t *v, struct error *e)
{
    if (!json_is_array(v)) return fail(e, ERR_ARG, "choices must be an array of strings");
    return from_json(s, "choice", v, e);
}

/* GBNF, or Lark's notation. An empty one is none: llama.cpp's clients send that with every request. */
static status grammar_field(struct constraint_spec *s, const json_t *v, struct error *e)
{
    if (!json_is_string(v)) return fail(e, ERR_ARG, "a grammar must be a string");
    if (json_string_length(v) == 0) return OK;
    const char *kind = strstr(json_string_value(v), "::=") ? "gbnf" : "lark";
    return constraint_from_text(s, kind, json_string_value(v), json_string_length(v), e);
}

static status true_for_object(struct constraint_spec *s, const json_t *v, struct error *e)
{
    if (!json_is_boolean(v)) return fail(e, ERR_ARG, "must be true or false");
    return json_is_true(v) ? from_json_object(s, e) : OK;
}

static status tag_field(struct constraint_spec *s, const json_t *v, struct error *e)
{
    if (json_is_string(v))
        return constraint_from_text(s, "structural_tag", json_string_value(v), json_string_length(v), e);
    if (!json_is_object(v)) return fail(e, ERR_ARG, "a structural tag is an object");
    return from_json(s, "structural_tag", v, e);
}

/* {"type": "text" | "json_object" | "json_schema" | "structural_tag", ..}; the schema stands beside "type" or
 * under "json_schema". */
static status response_format(struct constraint_spec *s, const json_t *v, struct error *e)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    const json_t *inner = json_object_get(v, "json_schema"), *schema;
    if (!type) return fail(e, ERR_ARG, "must be an object with a \"type\"");
    if (strcmp(type, "text") == 0) return OK;
    schema = json_object_get(json_is_object(inner) ? inner : v, "schema");
    if (strcmp(type, "json_object") == 0) return schema ? schema_field(s, schema, e) : from_json_object(s, e);
    if (strcmp(type, "json_schema") == 0) {
        if (!schema) return fail(e, ERR_ARG, "\"json_schema\" must have a \"schema\"");
        return schema_field(s, schema, e);
    }
    if (strcmp(type, "structural_tag") == 0) return tag_field(s, v, e);
    return fail(e, ERR_UNSUPPORTED,
                "type \"%.40s\" is not supported: text, json_object, json_schema, structural_tag", type);
}

/* Ollama: "json", "", or a schema. */
static status ollama_format(struct constraint_spec *s, const json_t *v, struct error *e)
{
    if (!json_is_string(v)) return from_json_schema(s, v, e);
    if (json_string_length(v) == 0) return OK;
    if (strcmp(json_string_value(v), "json") == 0) return from_json_object(s, e);
    return fail(e, ERR_ARG, "must be \"json\" or a JSON schema");
}

typedef status (*reader)(struct constraint_spec *s, const json_t *v, struct error *e);

/* vLLM: one member says what, the others how. */
static status structured_outputs(struct constraint_spec *s, const json_t *v, struct error *e)
{
    static const struct {
        const char *name;
        reader read;
    } member[] = {{"json", schema_field},           {"regex", regex_field},
                  {"choice", choice_field},         {"grammar", grammar_field},
                  {"json_object", true_for_object}, {"structural_tag", tag_field}};
    const char *name;
    json_t *x;
    bool flexible = false;
    if (!json_is_object(v)) return fail(e, ERR_ARG, "must be an object");
    json_object_foreach((json_t *)v, name, x)
    {
        size_t i = 0;
        if (json_is_null(x)) continue;
        while (i < COUNT_OF(member) && strcmp(member[i].name, name) != 0) i++;
        if (i < COUNT_OF(member)) {
            if (member[i].read(s, x, e) != OK) return fail_in(e, "%s", name);
        } else if (strcmp(name, "disable_any_whitespace") == 0) {
            flexible = json_is_false(x);
        } else if (strcmp(name, "disable_additional_properties") == 0 && !json_is_true(x)) {
            continue;
        } else {
            return fail(e, ERR_UNSUPPORTED, "\"%.60s\" is not supported", name);
        }
    }
    if (flexible && s->kind) s->options.space = GRAMMAR_SPACE_FLEXIBLE;
    return OK;
}

// clang-format off
static const struct field { const char *name; reader read; } fields[] = {
    {"response_format", response_format},
    {"output_format", response_format},
    {"text.format", response_format},
    {"format", ollama_format},
    {"structured_outputs", structured_outputs},
    {"guided_json", schema_field},
    {"guided_regex", regex_field},
    {"guided_choice", choice_field},
    {"guided_grammar", grammar_field},
    {"json_schema", schema_field},
    {"grammar", grammar_field},
};
// clang-format on

status constraint_field(struct constraint_spec *s, const char *name, const json_t *v, struct error *e)
{
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        if (strcmp(fields[i].name, name) != 0) continue;
        if (json_is_null(v)) return OK;
        status code = fields[i].read(s, v, e);
        if (code == OK && s->kind && !s->field) s->field = fields[i].name;
        return code == OK ? OK : fail_in(e, "%s", name);
    }
    return fail(e, ERR_NOT_FOUND, "\"%.60s\" asks for no constraint", name);
}
