/* What Ollama's bodies hold, as the rest of src/api wants it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/ollama.h"

struct convert {
    json_t *messages, *open; /* open: calls that have no result yet */
    struct fault *f;
    size_t n_call;
    char at[48]; /* "messages[3]" */
};

static bool wrong(struct convert *c, const char *what)
{
    return refuse(c->f, 400, "invalid_type", c->at, "%s%s", c->at, what);
}

/* Arguments are an object here and JSON text there. */
static bool add_call(struct convert *c, json_t *calls, const json_t *v)
{
    const json_t *function = json_object_get(v, "function"),
                 *arguments = json_object_get(function, "arguments");
    const json_t *name = json_object_get(function, "name"), *id = json_object_get(v, "id");
    char made[32];
    if (!json_is_string(name) || !json_is_object(arguments))
        return wrong(c,
                     ".tool_calls: a call needs a function with a string 'name' and an object 'arguments'");
    snprintf(made, sizeof made, "call_%zu", c->n_call++);
    char *text = json_dumps(arguments, JSON_COMPACT);
    json_t *call =
        json_pack("{s:s, s:s, s:{s:O, s:s}}", "id", json_string_length(id) ? json_string_value(id) : made,
                  "type", "function", "function", "name", name, "arguments", text);
    free(text);
    json_array_append(c->open, call);
    json_array_append_new(calls, call);
    return true;
}

/* The call that a tool's message answers, taken off the list; NULL: none is left. */
static json_t *take_open(struct convert *c, const char *id, const char *name)
{
    for (size_t i = 0; i < json_array_size(c->open); i++) {
        json_t *call = json_array_get(c->open, i);
        const char *key = json_string_value(json_object_get(call, "id"));
        const char *called = json_string_value(json_object_get(json_object_get(call, "function"), "name"));
        if (id ? strcmp(id, key) != 0 : name && strcmp(name, called) != 0) continue;
        json_incref(call);
        json_array_remove(c->open, i);
        return call;
    }
    return NULL;
}

static void add_result(struct convert *c, json_t *out, const json_t *m)
{
    const char *name = json_string_value(json_object_get(m, "tool_name"));
    const char *id = json_string_value(json_object_get(m, "tool_call_id"));
    if (!name) name = json_string_value(json_object_get(m, "name"));
    if (id && !*id) id = NULL;
    json_t *call = take_open(c, id, name);
    const char *key = call ? json_string_value(json_object_get(call, "id")) : id;
    json_object_set_new(out, "tool_call_id", json_string(key ? key : "call_0"));
    if (name) json_object_set_new(out, "name", json_string(name));
    json_decref(call);
}

static bool add_message(struct convert *c, size_t i, const json_t *m)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    const char *role = json_string_value(json_object_get(m, "role"));
    json_t *content = json_object_get(m, "content"), *thinking = json_object_get(m, "thinking");
    const json_t *calls = json_object_get(m, "tool_calls");
    size_t kind = 0;
    snprintf(c->at, sizeof c->at, "messages[%zu]", i);
    while (role && kind < COUNT_OF(roles) && strcmp(role, roles[kind]) != 0) kind++;
    if (!role || kind == COUNT_OF(roles))
        return wrong(c, " must be an object with the role \"system\", \"user\", \"assistant\" or \"tool\"");
    if (json_array_size(json_object_get(m, "images")))
        return refuse(c->f, 400, "unsupported_parameter", c->at, "%s has images: this model takes text only",
                      c->at);
    if (content && !json_is_null(content) && !json_is_string(content))
        return wrong(c, ".content must be a string");
    json_t *out = json_pack("{s:s, s:o}", "role", role, "content",
                            json_is_string(content) ? json_incref(content) : json_string(""));
    json_array_append_new(c->messages, out);
    if (json_string_length(thinking)) json_object_set(out, "reasoning_content", thinking);
    if (!strcmp(role, "tool")) add_result(c, out, m);
    if (strcmp(role, "assistant") != 0 || json_array_size(calls) == 0) return true;
    json_t *list = json_array();
    json_object_set_new(out, "tool_calls", list);
    for (size_t k = 0; k < json_array_size(calls); k++)
        if (!add_call(c, list, json_array_get(calls, k))) return false;
    return true;
}

json_t *ollama_messages(const json_t *messages, struct fault *f)
{
    struct convert c = {.messages = json_array(), .open = json_array(), .f = f};
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(messages); i++)
        ok = add_message(&c, i, json_array_get(messages, i));
    json_decref(c.open);
    if (ok) return c.messages;
    json_decref(c.messages);
    return NULL;
}

/* ---- durations --------------------------------------------------------------------------------------- */

static double unit_seconds(const char **p)
{
    static const struct {
        const char *name;
        double s;
    } units[] = {{"ns", 1e-9}, {"us", 1e-6}, {"\u00b5s", 1e-6}, {"ms", 1e-3},
                 {"s", 1},     {"m", 60},    {"h", 3600}};
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        size_t n = strlen(units[i].name);
        if (strncmp(*p, units[i].name, n) != 0) continue;
        *p += n;
        return units[i].s;
    }
    return 0;
}

bool ollama_duration(const json_t *v, int64_t *ns)
{
    const char *p = json_string_value(v);
    double s = json_number_value(v), sign = 1;
    if (p) {
        if (*p == '-' || *p == '+') sign = *p++ == '-' ? -1 : 1;
        bool any = false;
        while (*p >= '0' && *p <= '9') {
            char *end;
            double number = strtod(p, &end), unit;
            bool bare = !any && !*end; /* "300": seconds, as a number */
            p = end;
            unit = bare ? 1 : unit_seconds(&p);
            if (unit == 0) return false;
            s += number * unit;
            any = true;
        }
        if (!any || *p) return false;
        s *= sign;
    } else if (!json_is_number(v)) {
        return false;
    }
    *ns = s < 0 ? -1 : s > 9e9 ? INT64_MAX : (int64_t)(s * 1e9);
    return true;
}
