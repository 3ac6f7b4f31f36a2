/* Constraint kind "structural_tag": the JSON notation of xgrammar and vLLM, in both its shapes:
 *   {"type": "structural_tag", "format": FORMAT}
 *   {"structures": [{"begin": .., "schema": .., "end": ..}], "triggers": [..]}
 * "control": true beside "format" lets control tokens stand in free text. */
#include <string.h>

#include "grammar/regex.h"
#include "grammar/schema.h"
#include "grammar/tag.h"

enum { MAX_DEPTH = 64, MAX_TAGS = 4096 };

_Noreturn void tag_fail(struct tags *t, const json_t *at, const char *what)
{
    t->b->at = at;
    build_fail(t->b, ERR_ARG, "structural_tag: %s", what);
}

static const char *string_of(struct tags *t, const json_t *j, const char *name, size_t *n)
{
    const json_t *v = json_object_get(j, name);
    if (!json_is_string(v)) {
        t->b->at = j;
        build_fail(t->b, ERR_ARG, "structural_tag: want a string \"%s\"", name);
    }
    *n = json_string_length(v);
    return json_string_value(v);
}

static const json_t *array_of(struct tags *t, const json_t *j, const char *name)
{
    const json_t *v = json_object_get(j, name);
    if (!json_is_array(v) || json_array_size(v) == 0 || json_array_size(v) > MAX_TAGS) {
        t->b->at = j;
        build_fail(t->b, ERR_ARG, "structural_tag: want an array \"%s\" of 1 to %d elements", name, MAX_TAGS);
    }
    return v;
}

/* ---- pieces ------------------------------------------------------------------------------------------ */

void tag_free_text(struct tags *t, uint32_t from, struct follow f, uint32_t to)
{
    free_text_add(t->b, rules_nfa(&t->rules, t->rule), from, f.stop, f.n, t->control, to);
}

void tag_regex(struct tags *t, uint32_t from, const char *p, size_t n, uint32_t to)
{
    const struct dfa *d = regex_dfa(t->b, p, n, "structural_tag");
    nfa_add_dfa(t->b, rules_nfa(&t->rules, t->rule), from, d, &to, 1);
}

void tag_schema(struct tags *t, uint32_t from, struct schema *s, const json_t *at, uint32_t to)
{
    rules_call(&t->rules, t->rule, from, rules_add_node(&t->rules, schema_compile(s, at)), to);
}

void tag_grammar(struct tags *t, uint32_t from, const char *p, size_t n, uint32_t to)
{
    bool gbnf = memmem(p, n, "::=", 3) != NULL;
    uint32_t root = gbnf ? gbnf_read(&t->rules, p, n) : lark_read(&t->rules, t->g, p, n);
    rules_call(&t->rules, t->rule, from, root, to);
}

static void add_format(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f);

static void const_string(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    size_t n;
    const char *p = string_of(t, j, "value", &n);
    tag_literal(t, from, p, n, to);
}

static void json_schema(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    json_t *schema = json_object_get(j, "json_schema");
    const char *style = json_string_value(json_object_get(j, "style"));
    if (!schema) tag_fail(t, j, "want a \"json_schema\"");
    if (style && strcmp(style, "json") != 0) {
        t->b->at = j;
        build_fail(t->b, ERR_UNSUPPORTED, "structural_tag: style \"%.40s\" is not supported", style);
    }
    tag_schema(t, from, schema_new(t->b, t->g, schema), schema, to);
}

static void regex(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    size_t n;
    const char *p = string_of(t, j, "pattern", &n);
    t->b->at = j;
    tag_regex(t, from, p, n, to);
}

static void grammar(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    size_t n;
    const char *p = string_of(t, j, "grammar", &n);
    t->b->at = j;
    tag_grammar(t, from, p, n, to);
}

/* What free text may not contain leads nowhere. */
static struct follow with_excluded(struct tags *t, const json_t *j, struct follow f)
{
    const json_t *list = json_object_get(j, "excludes");
    size_t n = json_array_size(list);
    if (!n) return f;
    struct stop *s = build_alloc(t->b, f.n + n, sizeof *s);
    if (f.n) memcpy(s, f.stop, f.n * sizeof *s);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v)) tag_fail(t, j, "\"excludes\" wants strings");
        s[f.n + i] = (struct stop){json_string_value(v), json_string_length(v), NFA_NOWHERE};
    }
    return (struct follow){s, f.n + n};
}

static void any_text(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    tag_free_text(t, from, with_excluded(t, j, f), f.n ? NFA_NOWHERE : to);
}

static void sequence(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    const json_t *list = array_of(t, j, "elements");
    size_t n = json_array_size(list);
    for (size_t i = 0; i < n; i++) {
        bool last = i + 1 == n;
        uint32_t next = last ? to : tag_state(t);
        add_format(t, json_array_get(list, i), from, next, last ? f : (struct follow){0});
        from = next;
    }
}

static void either(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    const json_t *list = array_of(t, j, "elements");
    for (size_t i = 0; i < json_array_size(list); i++) add_format(t, json_array_get(list, i), from, to, f);
}

/* Of a tag, what comes behind the first `skip` bytes of its begin. */
static void tag_behind(struct tags *t, const json_t *j, size_t skip, uint32_t from, uint32_t to,
                       struct follow f)
{
    size_t n;
    const char *begin = string_of(t, j, "begin", &n);
    const json_t *end = json_object_get(j, "end"), *content = json_object_get(j, "content");
    size_t n_end = json_is_array(end) ? json_array_size(end) : 1;
    uint32_t in = tag_state(t), out = tag_state(t);
    struct stop *s = build_alloc(t->b, n_end, sizeof *s);
    size_t n_stop = 0;
    if (!content) tag_fail(t, j, "a tag wants \"content\"");
    tag_literal(t, from, begin + skip, n - skip, in);
    for (size_t i = 0; i < n_end; i++) {
        const json_t *v = json_is_array(end) ? json_array_get(end, i) : end;
        if (!json_is_string(v)) tag_fail(t, j, "a tag wants \"end\": a string or an array of strings");
        tag_literal(t, out, json_string_value(v), json_string_length(v), to);
        if (json_string_length(v))
            s[n_stop++] = (struct stop){json_string_value(v), json_string_length(v), to};
    }
    add_format(t, content, in, out, n_stop ? (struct follow){s, n_stop} : f);
}

static void tag(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    tag_behind(t, j, 0, from, to, f);
}

static bool begins(const json_t *tag_json, const json_t *trigger)
{
    const json_t *v = json_object_get(tag_json, "begin");
    size_t n = json_string_length(trigger);
    return json_string_length(v) >= n && memcmp(json_string_value(v), json_string_value(trigger), n) == 0;
}

/* Free text until a trigger; then one of the tags that begin with it; then free text again. */
static void triggered_tags(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    const json_t *triggers = array_of(t, j, "triggers"), *list = array_of(t, j, "tags");
    size_t n = json_array_size(triggers), n_tag = json_array_size(list);
    bool at_once = json_is_true(json_object_get(j, "at_least_one")),
         one = json_is_true(json_object_get(j, "stop_after_first"));
    uint32_t text = tag_state(t), after = one ? to : text;
    struct stop *s = build_alloc(t->b, n + f.n, sizeof *s);
    bool *used = build_alloc(t->b, n_tag, sizeof *used);
    if (f.n) memcpy(s + n, f.stop, f.n * sizeof *s);
    for (size_t i = 0; i < n; i++) {
        const json_t *trigger = json_array_get(triggers, i);
        if (!json_is_string(trigger) || !json_string_length(trigger))
            tag_fail(t, j, "\"triggers\" wants strings that are not empty");
        s[i] = (struct stop){json_string_value(trigger), json_string_length(trigger), tag_state(t)};
        for (size_t k = 0; k < n_tag; k++) {
            const json_t *x = json_array_get(list, k);
            if (!begins(x, trigger)) continue;
            used[k] = true;
            tag_behind(t, x, s[i].n, s[i].to, after, (struct follow){0});
        }
    }
    for (size_t k = 0; k < n_tag; k++) {
        if (!used[k]) tag_fail(t, json_array_get(list, k), "this tag begins with none of the triggers");
        if (at_once) tag_behind(t, json_array_get(list, k), 0, from, after, (struct follow){0});
    }
    if (!at_once) tag_eps(t, from, text);
    if (at_once && one) return;
    tag_free_text(t, text, with_excluded(t, j, (struct follow){s, n + f.n}), f.n ? NFA_NOWHERE : to);
}

static void tags_with_separator(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    const json_t *list = array_of(t, j, "tags");
    size_t n;
    const char *separator = string_of(t, j, "separator", &n);
    uint32_t first = tag_state(t), behind = tag_state(t);
    tag_eps(t, from, first);
    if (!json_is_true(json_object_get(j, "at_least_one"))) tag_eps(t, from, to);
    for (size_t i = 0; i < json_array_size(list); i++)
        tag_behind(t, json_array_get(list, i), 0, first, behind, (struct follow){0});
    if (!json_is_true(json_object_get(j, "stop_after_first"))) tag_literal(t, behind, separator, n, first);
    tag_eps(t, behind, to);
}

static const json_t *content_of(struct tags *t, const json_t *j)
{
    const json_t *v = json_object_get(j, "content");
    if (!v) tag_fail(t, j, "want \"content\"");
    return v;
}

static void optional(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    tag_eps(t, from, to);
    add_format(t, content_of(t, j), from, to, (struct follow){0});
}

static void repeated(struct tags *t, const json_t *j, uint32_t from, uint32_t to, bool none)
{
    uint32_t first = tag_state(t), behind = tag_state(t);
    tag_eps(t, from, first);
    if (none) tag_eps(t, from, to);
    add_format(t, content_of(t, j), first, behind, (struct follow){0});
    tag_eps(t, behind, first);
    tag_eps(t, behind, to);
}

static void star(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    repeated(t, j, from, to, true);
}

static void plus(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    repeated(t, j, from, to, false);
}

/* Qwen's: <parameter=NAME>VALUE</parameter>, with or without line ends around the value in the model's own
 * way. */
static void qwen_xml_parameter(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    json_t *p = json_pack("{s:s, s:O, s:s, s:s, s:s}", "type", "parameters", "json_schema",
                          json_object_get(j, "json_schema"), "head", "<parameter={key}>\n", "tail",
                          "\n</parameter>\n", "between", "");
    if (!p) tag_fail(t, j, "want a \"json_schema\"");
    if (json_array_append_new(t->b->owned, p) != 0) build_fail(t->b, ERR_MEMORY, "out of memory");
    tag_parameters(t, p, from, to, f);
}

// clang-format off
static const struct {
    const char *type;
    void (*add)(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f);
} formats[] = {
    {"const_string", const_string},     {"json_schema", json_schema},
    {"regex", regex},                   {"grammar", grammar},
    {"any_text", any_text},             {"sequence", sequence},
    {"or", either},                     {"tag", tag},
    {"triggered_tags", triggered_tags}, {"tags_with_separator", tags_with_separator},
    {"optional", optional},             {"star", star},
    {"plus", plus},                     {"parameters", tag_parameters},
    {"qwen_xml_parameter", qwen_xml_parameter},
};
// clang-format on

static void add_format(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    const char *type = json_string_value(json_object_get(j, "type"));
    if (!type) tag_fail(t, j, "a format is an object with a \"type\"");
    if (++t->depth > MAX_DEPTH)
        build_fail(t->b, ERR_LIMIT, "structural_tag: formats nest deeper than %d", MAX_DEPTH);
    size_t i = 0;
    while (i < COUNT_OF(formats) && strcmp(formats[i].type, type) != 0) i++;
    if (i == COUNT_OF(formats)) {
        t->b->at = j;
        build_fail(t->b, ERR_UNSUPPORTED, "structural_tag: format \"%.40s\" is not supported", type);
    }
    formats[i].add(t, j, from, to, f);
    t->depth--;
}

/* The older shape: a schema behind each begin, any number of them among free text. */
static const json_t *modern(struct tags *t, const json_t *root)
{
    const json_t *structures = array_of(t, root, "structures");
    json_t *tags = json_array(), *format;
    for (size_t i = 0; i < json_array_size(structures); i++) {
        const json_t *x = json_array_get(structures, i);
        json_array_append_new(tags,
                              json_pack("{s:O, s:O, s:{s:s, s:O}}", "begin", json_object_get(x, "begin"),
                                        "end", json_object_get(x, "end"), "content", "type", "json_schema",
                                        "json_schema", json_object_get(x, "schema")));
        if (json_array_size(tags) != i + 1) {
            json_decref(tags);
            tag_fail(t, x, "a structure wants \"begin\", \"schema\" and \"end\"");
        }
    }
    format = json_pack("{s:s, s:O, s:o}", "type", "triggered_tags", "triggers",
                       json_object_get(root, "triggers"), "tags", tags);
    if (!format) tag_fail(t, root, "want \"triggers\"");
    if (json_array_append_new(t->b->owned, format) != 0) build_fail(t->b, ERR_MEMORY, "out of memory");
    return format;
}

static void compile(struct build *b, struct grammar *g, const char *text, size_t n)
{
    struct tags t = {.b = b, .g = g, .rules = {.b = b, .kind = "structural_tag"}};
    const json_t *root = build_json(b, text, n), *format = json_object_get(root, "format");
    if (!json_is_object(root)) tag_fail(&t, root, "want an object");
    t.control = json_is_true(json_object_get(root, "control"));
    t.rule = rules_add(&t.rules, "format", 6);
    if (!format) format = json_object_get(root, "structures") ? modern(&t, root) : root;
    add_format(&t, format, RULE_FROM, RULE_TO, (struct follow){0});
    g->rule = rules_finish(&t.rules, t.rule);
}

const struct grammar_kind grammar_structural_tag = {"structural_tag", compile};
