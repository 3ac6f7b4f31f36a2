/* A model's options on requests: `strip` takes fields out, `defaults` fills in what is not said, `set`
 * overrules, and `system` is the prompt of those that bring none. A body that is no JSON object goes on as it
 * is: the worker says what is wrong with it, and where. */
#include <string.h>

#include <jansson.h>

#include "gateway/body.h"
#include "gateway/relay.h"
#include "store/store.h"

/* Where a field belongs: Ollama's sampling fields are in "options". */
static json_t *home_of(json_t *body, const struct relay_ask *ask, const char *name)
{
    static const char *const top[] = {"model",        "prompt",  "messages", "suffix",     "images",
                                      "format",       "system",  "template", "stream",     "raw",
                                      "keep_alive",   "context", "tools",    "think",      "logprobs",
                                      "top_logprobs", "input",   "truncate", "dimensions", "options"};
    if (ask->family != FAMILY_OLLAMA) return body;
    for (size_t i = 0; i < COUNT_OF(top); i++)
        if (!strcmp(top[i], name)) return body;
    json_t *options = json_object_get(body, "options");
    if (json_is_object(options)) return options;
    json_object_set_new(body, "options", json_object());
    return json_object_get(body, "options");
}

static void apply_fields(json_t *body, const struct relay_ask *ask, const struct store_settings *s)
{
    const char *name;
    json_t *value;
    for (size_t i = 0; i < json_array_size(s->strip); i++) {
        name = json_string_value(json_array_get(s->strip, i));
        if (name) json_object_del(home_of(body, ask, name), name);
    }
    json_object_foreach((json_t *)s->defaults, name, value)
    {
        json_t *home = home_of(body, ask, name);
        if (!json_object_get(home, name)) json_object_set(home, name, value);
    }
    json_object_foreach((json_t *)s->set, name, value) json_object_set(home_of(body, ask, name), name, value);
}

static bool has_system(const json_t *messages)
{
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
        if (role && (!strcmp(role, "system") || !strcmp(role, "developer"))) return true;
    }
    return false;
}

/* Each family has its own place for it. */
static void apply_system(json_t *body, const struct relay_ask *ask, const char *text)
{
    json_t *messages = json_object_get(body, "messages");
    const char *field = ask->family == FAMILY_RESPONSES ? "instructions" : "system";
    bool beside = ask->family == FAMILY_ANTHROPIC || ask->family == FAMILY_RESPONSES ||
                  !strcmp(ask->target, "/api/generate");
    if (beside) {
        if (!json_object_get(body, field)) json_object_set_new(body, field, json_string(text));
    } else if (json_is_array(messages) && !has_system(messages)) {
        json_array_insert_new(messages, 0, json_pack("{s:s,s:s}", "role", "system", "content", text));
    }
}

static bool apply(const struct relay_ask *ask, const struct pool_route *to, const struct store_settings *s,
                  struct buf *out)
{
    json_t *body = json_loadb(ask->body.p, ask->body.n, JSON_REJECT_DUPLICATES, NULL);
    char *text = NULL;
    if (json_is_object(body)) {
        apply_fields(body, ask, s);
        if (s->system) apply_system(body, ask, s->system);
        if (to->remote) json_object_set_new(body, "model", json_string(to->model));
        text = json_dumps(body, JSON_COMPACT);
    }
    if (text) buf_adds(out, text);
    free(text);
    json_decref(body);
    return text != NULL;
}

static bool mentions(const char *options)
{
    static const char *const name[] = {"\"defaults\"", "\"set\"", "\"strip\"", "\"system\""};
    for (size_t i = 0; options && i < COUNT_OF(name); i++)
        if (strstr(options, name[i])) return true;
    return false;
}

bool settings_apply(const struct relay_ask *ask, const struct pool_route *to, struct buf *out)
{
    struct store_settings s;
    if (!ask->body.n || strcmp(ask->method, "POST") != 0) return false;
    if (mentions(to->options) && store_settings_read(&s, to->options, NULL) == OK) {
        bool changed = (s.defaults || s.set || s.strip || s.system) && apply(ask, to, &s, out);
        store_settings_deinit(&s);
        if (changed) return true;
    }
    if (!to->remote) return false;
    body_with_model(ask->body, ask->model, to->model, out);
    return true;
}
