/* Format "parameters": the members of an object between tags, as several families of models write the
 * arguments of calls. */
#include <string.h>

#include "grammar/tag.h"

enum style { STYLE_RAW, STYLE_PYTHON, STYLE_QUOTED };
struct parameters {
    struct tags *t;
    struct schema *s;
    enum style style;
    const char *head, *tail, *between, *quote;
};

static const char *member(const json_t *j, const char *name)
{
    const char *v = json_string_value(json_object_get(j, name));
    return v ? v : "";
}

/* The schema itself, behind its references. */
static const json_t *resolved(struct parameters *p, const json_t *j)
{
    const char *ref;
    for (int i = 0; i < 32 && (ref = json_string_value(json_object_get(j, "$ref"))); i++)
        j = schema_resolve(p->s, j, ref);
    return j;
}

/* Where the one type that j names is `type`. */
static bool is_type(const json_t *j, const char *type)
{
    return strcmp(member(j, "type"), type) == 0;
}

static bool may_be_string(struct parameters *p, const json_t *j)
{
    static const char *const combine[] = {"anyOf", "oneOf"};
    const json_t *types = json_object_get(j, "type"), *v;
    size_t i;
    if (json_is_string(types)) return is_type(j, "string");
    if (json_is_array(types)) {
        json_array_foreach((json_t *)types, i, v) if (strcmp(json_string_value(v) ? json_string_value(v) : "",
                                                             "string") == 0) return true;
        return false;
    }
    for (size_t k = 0; k < COUNT_OF(combine); k++) {
        const json_t *list = json_object_get(j, combine[k]);
        bool some = false;
        json_array_foreach((json_t *)list, i, v) some |= may_be_string(p, resolved(p, v));
        if (json_array_size(list)) return some;
    }
    return true;
}

/* What the raw forms cannot say is refused, or left out where that is wanted. */
static void cannot_hold(struct parameters *p, const json_t *at, const char *what)
{
    schema_unsupported(p->s, at, what);
}

static void refuse_limits(struct parameters *p, const json_t *j)
{
    static const char *const names[] = {"minLength", "maxLength", "format", "allOf",
                                        "anyOf",     "oneOf",     "not",    "if"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (json_object_get(j, names[i])) cannot_hold(p, j, names[i]);
}

/* ---- strings, bare ----------------------------------------------------------------------------------- */

static void add_text(struct parameters *p, const char *text, size_t n, uint32_t from, uint32_t to)
{
    tag_literal(p->t, from, text, n, to);
}

/* One value that enum or const names. */
static void add_constant(struct parameters *p, const json_t *v, uint32_t from, uint32_t to)
{
    if (json_is_string(v)) {
        const char *mark = p->style == STYLE_PYTHON ? "'" : p->style == STYLE_QUOTED ? p->quote : "";
        uint32_t in = tag_state(p->t), out = tag_state(p->t);
        struct buf text = {0};
        for (const char *c = json_string_value(v); *c; c++) {
            if (p->style == STYLE_PYTHON && (*c == '\'' || *c == '\\')) buf_addc(&text, '\\');
            buf_addc(&text, *c);
        }
        buf_adds(&text, "");
        char *kept = build_strndup(p->t->b, text.n ? text.data : "", text.n);
        size_t n = text.n;
        buf_deinit(&text);
        add_text(p, mark, strlen(mark), from, in);
        add_text(p, kept, n, in, out);
        add_text(p, mark, strlen(mark), out, to);
        return;
    }
    if (p->style == STYLE_PYTHON && (json_is_boolean(v) || json_is_null(v))) {
        const char *word = json_is_null(v) ? "None" : json_is_true(v) ? "True" : "False";
        add_text(p, word, strlen(word), from, to);
        return;
    }
    char *text = json_dumps(v, JSON_ENCODE_ANY);
    if (!text) build_fail(p->t->b, ERR_MEMORY, "out of memory");
    char *kept = build_strndup(p->t->b, text, strlen(text));
    free(text);
    add_text(p, kept, strlen(kept), from, to);
}

static void add_string(struct parameters *p, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    static const char python[] = "'([^'\\\\\\n]|\\\\.)*'|\"([^\"\\\\\\n]|\\\\.)*\"";
    const json_t *pattern = json_object_get(j, "pattern");
    refuse_limits(p, j);
    if (p->style == STYLE_PYTHON) {
        if (pattern) cannot_hold(p, j, "pattern");
        tag_regex(p->t, from, python, strlen(python), to);
        return;
    }
    if (p->style == STYLE_RAW) {
        if (pattern) cannot_hold(p, j, "pattern");
        tag_free_text(p->t, from, f, f.n ? NFA_NOWHERE : to);
        return;
    }
    if (pattern) cannot_hold(p, j, "pattern");
    uint32_t in = tag_state(p->t);
    struct stop *end = build_alloc(p->t->b, 1, sizeof *end);
    *end = (struct stop){p->quote, strlen(p->quote), to};
    add_text(p, p->quote, strlen(p->quote), from, in);
    tag_free_text(p->t, in, (struct follow){end, 1}, NFA_NOWHERE);
}

/* ---- any value, for what is nested ------------------------------------------------------------------- */

static const char python_value[] =
    "root ::= v\n"
    "v ::= s | n | \"True\" | \"False\" | \"None\" | \"[\" (v (\", \" v)*)? \"]\" | \"{\" (m (\", \" m)*)? "
    "\"}\"\n"
    "m ::= s \": \" v\n"
    "s ::= \"'\" ([^'\\\\\\n] | \"\\\\\" [^\\n])* \"'\" | \"\\\"\" ([^\"\\\\\\n] | \"\\\\\" [^\\n])* "
    "\"\\\"\"\n"
    "n ::= \"-\"? (\"0\" | [1-9] [0-9]*) (\".\" [0-9]+)? ([eE] [-+]? [0-9]+)?\n";

static uint32_t any_python(struct tags *t)
{
    if (!t->any_python) t->any_python = gbnf_read(&t->rules, python_value, sizeof python_value - 1) + 1;
    return t->any_python - 1;
}

/* Within brackets: (item ("," item)*)? */
static void add_list(struct tags *t, uint32_t from, char open, char close, uint32_t item, uint32_t to)
{
    uint32_t in = tag_state(t), behind = tag_state(t), again = tag_state(t);
    tag_literal(t, from, &open, 1, in);
    rules_call(&t->rules, t->rule, in, item, behind);
    tag_literal(t, behind, ",", 1, again);
    rules_call(&t->rules, t->rule, again, item, behind);
    tag_literal(t, behind, &close, 1, to);
    tag_literal(t, in, &close, 1, to);
}

static uint32_t any_quoted(struct parameters *p)
{
    static const char scalar[] = "true|false|null|-?(0|[1-9][0-9]*)(\\.[0-9]+)?", key[] = "[^:,{}\\[\\]\\s]+";
    struct tags *t = p->t;
    if (t->any_quoted) return t->any_quoted - 1;
    uint32_t outer = t->rule, value = rules_add(&t->rules, "value", 5),
             pair = rules_add(&t->rules, "member", 6);
    t->any_quoted = value + 1;
    t->rule = value;
    uint32_t in = tag_state(t);
    struct stop *end = build_alloc(t->b, 1, sizeof *end);
    *end = (struct stop){p->quote, strlen(p->quote), RULE_TO};
    tag_literal(t, RULE_FROM, p->quote, strlen(p->quote), in);
    tag_free_text(t, in, (struct follow){end, 1}, NFA_NOWHERE);
    tag_regex(t, RULE_FROM, scalar, sizeof scalar - 1, RULE_TO);
    add_list(t, RULE_FROM, '[', ']', value, RULE_TO);
    add_list(t, RULE_FROM, '{', '}', pair, RULE_TO);
    t->rule = pair;
    uint32_t named = tag_state(t), colon = tag_state(t);
    tag_regex(t, RULE_FROM, key, sizeof key - 1, named);
    tag_literal(t, named, ":", 1, colon);
    rules_call(&t->rules, pair, colon, value, RULE_TO);
    t->rule = outer;
    return value;
}

/* ---- values ------------------------------------------------------------------------------------------ */

static void add_value(struct parameters *p, const json_t *schema, uint32_t from, uint32_t to, struct follow f)
{
    static const char words[] = "True|False";
    const json_t *j = resolved(p, schema), *list = json_object_get(j, "enum"),
                 *one = json_object_get(j, "const"), *v;
    size_t i;
    if (one) {
        add_constant(p, one, from, to);
    } else if (json_is_array(list)) {
        json_array_foreach((json_t *)list, i, v) add_constant(p, v, from, to);
    } else if (is_type(j, "string")) {
        add_string(p, j, from, to, f);
    } else if (p->style == STYLE_RAW && may_be_string(p, j)) {
        if (json_object_size(j) > 0)
            cannot_hold(p, j, "anything but one type for a parameter written as plain text");
        tag_free_text(p->t, from, f, f.n ? NFA_NOWHERE : to);
    } else if (p->style == STYLE_RAW || is_type(j, "integer") || is_type(j, "number")) {
        tag_schema(p->t, from, p->s, schema, to);
    } else if (p->style == STYLE_PYTHON && is_type(j, "boolean")) {
        tag_regex(p->t, from, words, sizeof words - 1, to);
    } else if (p->style == STYLE_QUOTED && (is_type(j, "boolean") || is_type(j, "null"))) {
        tag_schema(p->t, from, p->s, schema, to);
    } else {
        if (json_object_size(j) > 0)
            cannot_hold(p, j, "a value of several types or parts in this notation of arguments");
        rules_call(&p->t->rules, p->t->rule, from,
                   p->style == STYLE_PYTHON ? any_python(p->t) : any_quoted(p), to);
    }
}

/* The text around a value: {key}, {type} and {string} stand for what they say. */
static const char *expand(struct parameters *p, const char *text, const char *key, const json_t *schema,
                          size_t *n)
{
    const json_t *j = resolved(p, schema);
    bool string = is_type(j, "string") || json_is_string(json_array_get(json_object_get(j, "enum"), 0));
    const struct {
        const char *name, *value;
    } word[] = {{"{key}", key},
                {"{type}", *member(j, "type") ? member(j, "type")
                           : string           ? "string"
                                              : "object"},
                {"{string}", string ? "true" : "false"}};
    struct buf out = {0};
    while (*text) {
        size_t i = 0;
        while (i < COUNT_OF(word) && strncmp(text, word[i].name, strlen(word[i].name)) != 0) i++;
        if (i < COUNT_OF(word)) {
            buf_adds(&out, word[i].value);
            text += strlen(word[i].name);
        } else {
            buf_addc(&out, *text++);
        }
    }
    const char *kept = build_strndup(p->t->b, out.n ? out.data : "", out.n);
    *n = out.n;
    buf_deinit(&out);
    return kept;
}

static bool is_required(const json_t *schema, const char *key)
{
    size_t i;
    const json_t *v;
    json_array_foreach(json_object_get(schema, "required"), i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), key) == 0) return true;
    }
    return false;
}

/* Two ways run side by side: no member written yet, and some, which wants `between` before the next. */
static void add_members(struct parameters *p, const json_t *schema, uint32_t from, uint32_t to)
{
    uint32_t none = from, some = tag_state(p->t), end = tag_state(p->t);
    const char *key;
    json_t *v;
    json_object_foreach(json_object_get(schema, "properties"), key, v)
    {
        uint32_t begin = tag_state(p->t), value = tag_state(p->t), behind = tag_state(p->t),
                 next = tag_state(p->t), still_none = tag_state(p->t);
        size_t n_head, n_tail;
        const char *head = expand(p, p->head, key, v, &n_head), *tail = expand(p, p->tail, key, v, &n_tail);
        struct stop *stop = build_alloc(p->t->b, 1, sizeof *stop);
        *stop = (struct stop){tail, n_tail, next};
        tag_eps(p->t, none, begin);
        add_text(p, p->between, strlen(p->between), some, begin);
        add_text(p, head, n_head, begin, value);
        add_value(p, v, value, behind, n_tail ? (struct follow){stop, 1} : (struct follow){0});
        add_text(p, tail, n_tail, behind, next);
        if (!is_required(schema, key)) {
            tag_eps(p->t, none, still_none);
            tag_eps(p->t, some, next);
        }
        none = still_none;
        some = next;
    }
    tag_eps(p->t, none, end);
    tag_eps(p->t, some, end);
    tag_eps(p->t, end, to);
}

void tag_parameters(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f)
{
    json_t *schema = json_object_get(j, "json_schema");
    const char *style = member(j, "style");
    if (!json_is_object(schema)) tag_fail(t, j, "parameters want an object \"json_schema\"");
    struct parameters p = {.t = t,
                           .s = schema_new(t->b, t->g, schema),
                           .style = strcmp(style, "python") == 0   ? STYLE_PYTHON
                                    : strcmp(style, "quoted") == 0 ? STYLE_QUOTED
                                                                   : STYLE_RAW,
                           .head = member(j, "head"),
                           .tail = member(j, "tail"),
                           .between = member(j, "between"),
                           .quote = member(j, "quote")};
    if (p.style == STYLE_RAW && !*p.tail) tag_fail(t, j, "raw parameters want a \"tail\"");
    if (p.style == STYLE_QUOTED && !*p.quote) tag_fail(t, j, "quoted parameters want a \"quote\"");
    bool control = t->control;
    t->control = false; /* an argument is text */
    add_members(&p, resolved(&p, schema), from, to);
    t->control = control;
}
