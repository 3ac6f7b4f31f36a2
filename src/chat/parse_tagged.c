/* Calls with a tag for each parameter. Strings stand there as they are, other values as JSON; which is which,
 * the tool's schema says, or the tag itself, or else the look of it. */
#include <stdlib.h>

#include "chat/parse_int.h"

/* --- types --- */

enum { TYPE_STRING = 1, TYPE_OTHER = 2 };

static int type_bit(const json_t *type)
{
    const char *s = json_string_value(type);
    return !s ? 0 : !strcmp(s, "string") ? TYPE_STRING : TYPE_OTHER;
}

/* What a schema lets a value be; 0: it does not say. */
static int types_of(const json_t *schema, int depth)
{
    static const char *const choice[] = {"anyOf", "oneOf", "allOf"};
    const json_t *type = json_object_get(schema, "type"), *v;
    int types = type_bit(type);
    size_t i;
    json_array_foreach((json_t *)type, i, v) types |= type_bit(v);
    json_array_foreach(json_object_get(schema, "enum"), i, v) types |=
        json_is_string(v) ? TYPE_STRING : TYPE_OTHER;
    v = json_object_get(schema, "const");
    if (v) types |= json_is_string(v) ? TYPE_STRING : TYPE_OTHER;
    for (size_t k = 0; k < COUNT_OF(choice) && depth < 8; k++)
        json_array_foreach(json_object_get(schema, choice[k]), i, v) types |= types_of(v, depth + 1);
    return types;
}

static const json_t *schema_of(const struct chat_parser *p)
{
    const json_t *tool;
    size_t i;
    json_array_foreach((json_t *)p->o.tool_list, i, tool)
    {
        const json_t *fn = json_object_get(tool, "function");
        const char *name = json_string_value(json_object_get(fn, "name"));
        if (name && !strcmp(name, p->cap.name))
            return json_object_get(json_object_get(json_object_get(fn, "parameters"), "properties"),
                                   p->cap.key);
    }
    return NULL;
}

static enum param_type param_type(const struct chat_parser *p)
{
    static const enum param_type by_types[] = {PARAM_EITHER, PARAM_TEXT, PARAM_JSON, PARAM_EITHER};
    const struct captures *c = &p->cap;
    if (c->string[0]) return !strcmp(c->string, "true") ? PARAM_TEXT : PARAM_JSON;
    if (c->type[0]) return !strcmp(c->type, "string") ? PARAM_TEXT : PARAM_JSON;
    return by_types[types_of(schema_of(p), 0)];
}

/* --- between parameters --- */

/* The part of a pattern before (or from) its first line end. */
static size_t first_line(const char *pattern)
{
    return strcspn(pattern, "\n");
}

static enum match match_part(const struct chat_parser *p, const char *pattern, size_t n_pattern,
                             struct captures *c, size_t *used)
{
    char part[160];
    size_t n;
    const char *s = parse_rest(p, &n);
    ASSERT(n_pattern < sizeof part);
    memcpy(part, pattern, n_pattern);
    part[n_pattern] = 0;
    return pattern_match(part, s, n, c, used);
}

static size_t without_blanks(const char *pattern)
{
    size_t n = strlen(pattern);
    while (n && parse_is_space(pattern[n - 1])) n--;
    return n;
}

static void begin_param(struct chat_parser *p)
{
    buf_adds(&p->out, p->any_param ? ", \"" : "{\"");
    for (const char *s = p->cap.key; *s; s++) json_escape_byte(&p->out, *s);
    buf_adds(&p->out, "\": ");
    p->any_param = true;
    p->param = param_type(p);
    p->value_begun = false;
    p->scan = p->at;
    p->state = PARSE_VALUE;
}

bool parse_params(struct chat_parser *p)
{
    const struct chat_wire *w = &p->w->w;
    size_t used = 0;
    while (p->at < p->in.n && parse_is_space(p->in.data[p->at])) p->at++;
    if (p->at == p->in.n) return false;
    size_t n_tail = first_line(w->tail);
    enum match tail = match_part(p, w->tail, n_tail, NULL, &used);
    if (tail == MATCH) {
        if (!parse_announce(p)) return parse_fail(p, "an unknown function");
        p->at += used;
        buf_adds(&p->out, p->any_param ? "}" : "{}");
        parse_end_call(p, w->tail + n_tail);
        return true;
    }
    enum match head = match_part(p, w->param_head, without_blanks(w->param_head), &p->cap, &used);
    if (head == MATCH) {
        if (!parse_announce(p)) return parse_fail(p, "an unknown function");
        p->at += used;
        begin_param(p);
        return true;
    }
    if (head == MATCH_MORE || tail == MATCH_MORE) return false;
    if (p->announced) { /* what there is is whole; the tag that should be here was forgotten */
        buf_adds(&p->out, p->any_param ? "}" : "{}");
        parse_end_call(p, "");
        return true;
    }
    return parse_fail(p, "neither a parameter nor the end of a call");
}

/* --- values --- */

static void add_string(struct buf *out, const char *s, size_t n)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < n; i++) json_escape_byte(out, s[i]);
    buf_addc(out, '"');
}

/* A value that is not, or not surely, a string. */
static void add_scalar(struct buf *out, enum param_type type, const char *s, size_t n)
{
    static const char *const python[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    json_t *v = json_loadb(s, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool take = v && !(type == PARAM_EITHER && json_is_string(v));
    json_decref(v);
    for (size_t i = 0; !take && i < COUNT_OF(python); i++) {
        if (n != strlen(python[i][0]) || memcmp(s, python[i][0], n) != 0) continue;
        buf_adds(out, python[i][1]);
        return;
    }
    if (take)
        buf_add(out, s, n);
    else
        add_string(out, s, n);
}

/* MiniMax M3 writes objects and lists as tags in tags: ns<key>value ns</key>, with the key "item" in lists.
 * Where what begins at s ends, NULL: it is no such thing. */
static const char *nested_end(const char *s, const char *end, const char *ns, const char **inside,
                              struct buf *name)
{
    size_t n_ns = strlen(ns), level = 0;
    const char *key = s + n_ns + 1, *close = memchr(key, '>', (size_t)(end - key));
    buf_reset(name);
    if (!close || close == key || *key == '/') return NULL;
    buf_add(name, key, (size_t)(close - key) + 1); /* with the bracket */
    *inside = close + 1;
    for (const char *p = s; (p = memmem(p, (size_t)(end - p), ns, n_ns)); p++) {
        const char *tag = p + n_ns;
        bool closing = end - tag > 1 && tag[1] == '/';
        size_t skip = closing ? 2 : 1;
        if ((size_t)(end - tag) < skip + name->n || memcmp(tag + skip, name->data, name->n) != 0) continue;
        level += closing ? 0 : 1;
        if (closing && --level == 0) return p;
    }
    return NULL;
}

static void add_value(struct buf *out, enum param_type type, const char *ns, const char *s, size_t n,
                      int depth)
{
    struct buf name = {0};
    const char *end, *inside;
    while (n && parse_is_space(s[n - 1])) n--;
    while (n && parse_is_space(*s)) s++, n--;
    end = s + n;
    size_t n_ns = strlen(ns), from = out->n;
    bool nested = n_ns && n > n_ns && !memcmp(s, ns, n_ns) && s[n_ns] == '<' && depth < 32, list = false;
    for (const char *p = s; nested && p < end;) {
        const char *close = (size_t)(end - p) > n_ns + 1 ? nested_end(p, end, ns, &inside, &name) : NULL;
        if (!close) { /* not well formed: text after all */
            nested = false;
            out->data[out->n = from] = 0;
            break;
        }
        if (p == s) list = name.n == 5 && !memcmp(name.data, "item>", 5);
        buf_adds(out, p != s ? ", " : list ? "[" : "{");
        size_t n_name = name.n - 1;
        if (!list) {
            add_string(out, name.data, n_name);
            buf_adds(out, ": ");
        }
        add_value(out, PARAM_EITHER, ns, inside, (size_t)(close - inside), depth + 1);
        for (p = close + n_ns + 2 + name.n; p < end && parse_is_space(*p);) p++;
    }
    if (nested)
        buf_addc(out, list ? ']' : '}');
    else
        add_scalar(out, type, s, n);
    buf_deinit(&name);
}

/* What stands before the tags of nested values; "": values are not nested. */
static void namespace_of(const struct chat_wire *w, char *out, size_t size)
{
    const char *tag = strstr(w->param_head, "<{key}>");
    size_t n = tag ? (size_t)(tag - w->param_head) : 0;
    ASSERT(n < size);
    memcpy(out, w->param_head, n);
    out[n] = 0;
}

/* The closing tag, with what the opening one captured in it. */
static void closing(const struct chat_parser *p, struct buf *out)
{
    const char *tail = p->w->w.param_tail;
    while (parse_is_space(*tail)) tail++;
    pattern_fill(out, tail, &p->cap);
    while (out->n && parse_is_space(out->data[out->n - 1])) out->data[--out->n] = 0;
}

static void stream(struct chat_parser *p, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) json_escape_byte(&p->out, s[i]);
}

/* One line end behind the opening tag and one before the closing one belong to the tags, where the format has
 * them there. */
bool parse_value(struct chat_parser *p)
{
    const char *param_head = p->w->w.param_head;
    bool lines = p->w->w.param_tail[0] == '\n';
    size_t n;
    const char *s = parse_rest(p, &n);
    struct buf close = {0};
    if (!p->value_begun) {
        bool drop = param_head[strlen(param_head) - 1] == '\n' && s[0] == '\n';
        p->at += drop;
        p->scan = p->at;
        p->value_begun = true;
        if (p->param == PARAM_TEXT) buf_addc(&p->out, '"');
        return true;
    }
    closing(p, &close);
    size_t from = p->scan - p->at;
    const char *end = memmem(s + from, n - from, close.data, close.n);
    size_t hold = end ? 0 : parse_partial(s, n, close.data), take = end ? (size_t)(end - s) : n - hold;
    if (!end) p->scan = p->at + take;
    if (lines && take && s[take - 1] == '\n') take--;
    if (p->param == PARAM_TEXT) {
        stream(p, s, take);
        p->at += take;
        if (end) buf_addc(&p->out, '"');
    } else if (end) {
        char ns[32];
        namespace_of(&p->w->w, ns, sizeof ns);
        add_value(&p->out, p->param, ns, s, take, 0);
    }
    if (end) {
        p->at = (size_t)(end - p->in.data) + close.n;
        p->state = PARSE_PARAMS;
    }
    buf_deinit(&close);
    return end != NULL;
}
