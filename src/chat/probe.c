/* What a template can do, found out by rendering conversations with words in them that no template has, and
 * looking for the words. */
#include <stdlib.h>

#include "chat/chat_int.h"
#include "chat/wire.h"

static const char system_word[] = "sysWord7", user_word[] = "userWord7", tool_word[] = "tool_word7",
                  key_word[] = "key_word7", value_word[] = "valueWord7", tool2_word[] = "tool_word8",
                  result_word[] = "resultWord7";

/* What the template makes of messages (stolen) and tools (stolen, may be NULL); "" when it fails. */
static char *render(const struct chat_format *f, json_t *messages, json_t *tools, json_t *more)
{
    /* The conversations are short; a template that takes long for them is up to no good. */
    static const struct jinja_options options = {
        .limits = {.cpu_ms = 100, .steps = 2000000, .output_bytes = 1 << 20, .memory_bytes = 16 << 20},
        .lenient = true};
    struct buf out = {0};
    struct error e;
    const struct chat_template *t = chat_template_for(f, tools);
    json_t *vars = json_pack("{s:o,s:b,s:s,s:s}", "messages", messages, "add_generation_prompt", 0,
                             "bos_token", f->bos, "eos_token", f->eos);
    chat_set_tools(f, vars, tools, NULL);
    json_decref(tools);
    if (more) json_object_update(vars, more);
    buf_adds(&out, "");
    if (jinja_render(t->tree, vars, &options, &out, NULL, &e) != OK) buf_reset(&out);
    char *text = mem_strndup(out.data, out.n);
    buf_deinit(&out);
    json_decref(vars);
    json_decref(more);
    return text;
}

/* Whether the text, which is freed, has the word. */
static bool has(char *text, const char *word)
{
    bool found = strstr(text, word) != NULL;
    free(text);
    return found;
}

static json_t *user(void)
{
    return json_pack("{s:s,s:s}", "role", "user", "content", user_word);
}

static json_t *tools(void)
{
    return json_pack("[{s:s,s:{s:s,s:s,s:{s:s,s:{s:{s:s,s:s}},s:[s]}}}]", "type", "function", "function",
                     "name", tool_word, "description", "A tool.", "parameters", "type", "object",
                     "properties", key_word, "type", "string", "description", "A key.", "required", key_word);
}

static json_t *call(const char *name, const char *id, bool object)
{
    json_t *args = json_pack("{s:s}", key_word, value_word);
    if (!object) {
        char *text = json_dumps(args, 0);
        json_decref(args);
        args = json_string(text);
        free(text);
    }
    return json_pack("{s:s,s:s,s:{s:s,s:o}}", "id", id, "type", "function", "function", "name", name,
                     "arguments", args);
}

/* A round of one or two calls. The identifiers are of the shape that Mistral's templates insist on. */
static char *render_calls(const struct chat_format *f, bool object, bool two)
{
    json_t *calls = json_pack("[o]", call(tool_word, "idWord700", object));
    if (two) json_array_append_new(calls, call(tool2_word, "idWord800", object));
    json_t *m = json_pack("[o,{s:s,s:s,s:o},{s:s,s:s,s:s,s:s}]", user(), "role", "assistant", "content", "",
                          "tool_calls", calls, "role", "tool", "tool_call_id", "idWord700", "name", tool_word,
                          "content", result_word);
    if (two)
        json_array_append_new(m, json_pack("{s:s,s:s,s:s,s:s}", "role", "tool", "tool_call_id", "idWord800",
                                           "name", tool2_word, "content", result_word));
    return render(f, m, tools(), NULL);
}

static void probe_calls(struct chat_format *f)
{
    struct chat_caps *c = &f->caps;
    char *as_object = render_calls(f, true, false), *as_text = render_calls(f, false, false);
    bool object =
        strstr(as_object, tool_word) && strstr(as_object, value_word) && !strstr(as_object, "'key_word7'");
    bool text = strstr(as_text, "\"key_word7\": \"valueWord7\"") != NULL;
    c->object_args = object || !text;
    const char *best = c->object_args ? as_object : as_text;
    const char *answer = strstr(best, user_word);
    c->tool_calls = answer && strstr(answer, tool_word) && strstr(answer, value_word);
    c->parallel_calls = c->tool_calls && has(render_calls(f, c->object_args, true), tool2_word);
    struct chat_probe call_probe = {c->tool_calls ? answer : "", tool_word, key_word, value_word};
    c->wire = chat_wire_detect(f, &call_probe);
    free(as_object);
    free(as_text);
}

/* Whether the prompt depends on this variable. The values are stolen. */
static bool switches(const struct chat_format *f, const char *name, json_t *on, json_t *off)
{
    char *text[2];
    json_t *value[2] = {on, off};
    for (size_t i = 0; i < 2; i++)
        text[i] = render(f, json_pack("[o]", user()), NULL,
                         json_pack("{s:o,s:b}", name, value[i], "add_generation_prompt", 1));
    bool differ = strcmp(text[0], text[1]) != 0;
    free(text[0]);
    free(text[1]);
    return differ;
}

/* Whether a mark of the answers is, or has in it, a control token. */
static bool marks_are_control(const struct chat_format *f)
{
    struct buf marks = {0};
    struct tok_stretch *cut = NULL;
    size_t n = 0;
    bool found = false;
    const struct wire_row *w = wire_row(f->caps.wire);
    const char *text[] = {f->caps.think_begin, f->caps.think_end, w->w.begin, w->w.head,
                          w->w.tail,           w->w.end,          w->w.quote, w->w.trigger};
    for (size_t i = 0; i < COUNT_OF(text); i++) buf_addf(&marks, "%s ", text[i]);
    for (size_t i = 0; i < COUNT_OF(w->drop); i++) buf_addf(&marks, "%s ", w->drop[i] ? w->drop[i] : "");
    if (f->tok && tokenizer_cut(f->tok, marks.data, marks.n, &cut, &n, NULL) == OK)
        for (size_t i = 0; i < n; i++)
            found |= cut[i].id >= 0 && tokenizer_attr(f->tok, cut[i].id) == TOK_CONTROL;
    free(cut);
    buf_deinit(&marks);
    return found;
}

void chat_probe_caps(struct chat_format *f)
{
    struct chat_caps *c = &f->caps;
    f->tools_undefined = !has(render(f, json_pack("[o]", user()), NULL, NULL), user_word);
    json_t *system = json_pack("[{s:s,s:s},o]", "role", "system", "content", system_word, user());
    c->system_role = has(render(f, system, NULL, NULL), system_word);
    json_t *typed =
        json_pack("[{s:s,s:[{s:s,s:s}]}]", "role", "user", "content", "type", "text", "text", user_word);
    bool as_parts = has(render(f, typed, NULL, NULL), user_word);
    c->typed_content = as_parts && !has(render(f, json_pack("[o]", user()), NULL, NULL), user_word);
    c->tools = has(render(f, json_pack("[o]", user()), tools(), NULL), tool_word);
    f->developer_role = strstr(f->plain.text, "developer") != NULL;
    probe_calls(f);
    const struct chat_tags *tags = chat_tags_detect(f->plain.text);
    f->tags = tags;
    c->thinks = tags->sign[0];
    c->think_begin = tags->begin;
    c->think_end = tags->end;
    c->think_switch = switches(f, "enable_thinking", json_true(), json_false()) ||
                      switches(f, "thinking", json_true(), json_false()) ||
                      switches(f, "reasoning_effort", json_string("low"), json_string("high"));
    c->control_tokens = marks_are_control(f);
}
