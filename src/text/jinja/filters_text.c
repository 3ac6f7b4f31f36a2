/* Filters of text. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/builtin.h"
#include "text/jinja/format.h"
#include "text/jinja/text.h"

static struct jj_value filter_upper(struct jj *r, const struct jj_call *c)
{
    return jj_upper(r, jj_to_str(r, c->self));
}
static struct jj_value filter_lower(struct jj *r, const struct jj_call *c)
{
    return jj_lower(r, jj_to_str(r, c->self));
}
static struct jj_value filter_capitalize(struct jj *r, const struct jj_call *c)
{
    return jj_capitalize(r, jj_to_str(r, c->self));
}
static struct jj_value filter_string(struct jj *r, const struct jj_call *c)
{
    return jj_to_str(r, c->self);
}

static bool is_title_break(uint32_t cp)
{
    return jj_cp_space(cp) || cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<';
}

/* Unlike str.title(): words begin after blanks, hyphens and opening brackets only. */
static struct jj_value filter_title(struct jj *r, const struct jj_call *c)
{
    struct jj_value s = jj_plain(jj_to_str(r, c->self));
    size_t begin = jj_text_begin(r), from = 0;
    uint32_t cp;
    while (from < s.n) {
        size_t first = from, to;
        first += utf8_decode(s.s + from, s.n - from, &cp);
        bool at_break = is_title_break(cp);
        for (to = first; !at_break && to < s.n;) {
            size_t n = utf8_decode(s.s + to, s.n - to, &cp);
            if (is_title_break(cp)) break;
            to += n;
        }
        struct jj_value head = jj_upper(r, jj_sub(s, from, first)), tail = jj_lower(r, jj_sub(s, first, to));
        jj_write(r, head.s, head.n);
        jj_write(r, tail.s, tail.n);
        jj_charge(r, 1);
        from = to;
    }
    return jj_text_end(r, begin);
}

static struct jj_value filter_trim(struct jj *r, const struct jj_call *c)
{
    struct jj_value s = jj_to_str(r, c->self), chars;
    jj_charge_bytes(r, s.n);
    if (c->a[0].type == JJ_MISSING || c->a[0].type == JJ_NONE) return jj_strip(s, NULL, true, true);
    chars = jj_want_str(r, c->a[0], NULL);
    return jj_strip(s, &chars, true, true);
}

static struct jj_value filter_replace(struct jj *r, const struct jj_call *c)
{
    struct jj_value s = jj_plain(jj_to_str(r, c->self)), old = jj_to_str(r, c->a[0]),
                    new = jj_to_str(r, c->a[1]);
    return jj_replace(r, s, old, new, c->a[2].type == JJ_NONE ? -1 : jj_want_int(r, c->a[2], -1));
}

static struct jj_value indention_of(struct jj *r, struct jj_value width)
{
    if (width.type == JJ_STR) return width;
    return jj_pad(r, jj_strz(""), jj_want_int(r, width, 4), jj_strz(" "), false, true);
}

static struct jj_value filter_indent(struct jj *r, const struct jj_call *c)
{
    bool first = jj_want_bool(r, c->a[1], false), blank = jj_want_bool(r, c->a[2], false);
    struct jj_value in = indention_of(r, c->a[0]), s = jj_want_str(r, c->self, NULL), line;
    struct jj_list *lines = jj_split_lines(r, jj_binary(r, JJ_OP_ADD, s, jj_strz("\n")), false);
    size_t begin = jj_text_begin(r);
    for (size_t i = 0; i < lines->n; i++) {
        line = lines->item[i];
        if (i) jj_writec(r, '\n');
        if (i == 0 ? first : line.n || blank) jj_write(r, in.s, in.n);
        jj_write(r, line.s, line.n);
    }
    return jj_text_end(r, begin);
}

static struct jj_value filter_center(struct jj *r, const struct jj_call *c)
{
    return jj_pad(r, jj_to_str(r, c->self), jj_want_int(r, c->a[0], 80), jj_strz(" "), true, true);
}

static struct jj_value filter_safe(struct jj *r, const struct jj_call *c)
{
    struct jj_value s = jj_to_str(r, c->self);
    s.flags |= JJ_SAFE;
    return s;
}
static struct jj_value filter_escape(struct jj *r, const struct jj_call *c)
{
    return jj_escape(r, c->self);
}
static struct jj_value filter_forceescape(struct jj *r, const struct jj_call *c)
{
    return jj_escape(r, jj_plain(jj_to_str(r, c->self)));
}

static struct jj_value filter_truncate(struct jj *r, const struct jj_call *c)
{
    struct jj_value s = jj_want_str(r, c->self, NULL), end = jj_want_str(r, c->a[2], "...");
    int64_t length = jj_want_int(r, c->a[0], 255), leeway, n_end = (int64_t)jj_n_cp(end);
    leeway = c->a[3].type == JJ_NONE ? 5 : jj_want_int(r, c->a[3], 5);
    if (length < n_end) jj_fail(r, "expected length >= %lld, got %lld", (long long)n_end, (long long)length);
    if (leeway < 0) jj_fail(r, "expected leeway >= 0, got %lld", (long long)leeway);
    if ((int64_t)jj_n_cp(s) - leeway <= length) return s;
    struct jj_value head = jj_sub(s, 0, jj_byte_of(s, (size_t)(length - n_end)));
    if (!jj_want_bool(r, c->a[1], false)) {
        const char *blank = memrchr(head.s, ' ', head.n);
        if (blank) head = jj_sub(head, 0, (size_t)(blank - head.s));
    }
    return jj_binary(r, JJ_OP_ADD, head, end);
}

static struct jj_value filter_wordcount(struct jj *r, const struct jj_call *c)
{
    struct jj_value s = jj_to_str(r, c->self);
    bool inside = false;
    int64_t words = 0;
    uint32_t cp;
    jj_charge(r, s.n / 8);
    for (size_t i = 0; i < s.n;) {
        i += utf8_decode(s.s + i, s.n - i, &cp);
        words += !inside && jj_cp_word(cp);
        inside = jj_cp_word(cp);
    }
    return jj_int(words);
}

/* --- URLs --- */

static void write_quoted(struct jj *r, struct jj_value v, bool query)
{
    struct jj_value s = jj_to_str(r, v);
    char hex[4];
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.s[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
        if (plain || (ch && strchr("_.-~", ch)) || (ch == '/' && !query))
            jj_writec(r, ch);
        else if (ch == ' ' && query)
            jj_writec(r, '+');
        else
            jj_write(r, hex, (size_t)snprintf(hex, sizeof hex, "%%%02X", (uint8_t)ch));
    }
}

static struct jj_value filter_urlencode(struct jj *r, const struct jj_call *c)
{
    struct jj_value v = c->self, x;
    size_t begin = jj_text_begin(r);
    if (v.type == JJ_STR || !jj_iterable(v)) {
        write_quoted(r, v, false);
        return jj_text_end(r, begin);
    }
    bool any = false;
    for (struct jj_iter it = jj_iter(r, v); jj_next(r, &it, &x); any = true) {
        struct jj_value key, value;
        if (v.type == JJ_DICT) {
            key = x;
            value = *jj_dict_get(r, v.dict, x);
        } else {
            struct jj_list *pair = jj_to_list(r, x);
            if (pair->n != 2) jj_fail(r, "urlencode wants pairs");
            key = pair->item[0];
            value = pair->item[1];
        }
        if (any) jj_writec(r, '&');
        write_quoted(r, key, true);
        jj_writec(r, '=');
        write_quoted(r, value, true);
    }
    return jj_text_end(r, begin);
}

/* --- formats --- */

static struct jj_value filter_format(struct jj *r, const struct jj_call *c)
{
    struct jj_value v;
    if (c->args->n_kw && c->args->n_pos)
        jj_fail(r, "can't handle positional and keyword arguments at the same time");
    if (c->args->n_kw) {
        v = jj_dict_new(r);
        for (uint32_t i = 0; i < c->args->n_kw; i++)
            jj_dict_set(r, v.dict, c->args->kw[i].name, c->args->kw[i].value);
    } else {
        v = jj_list_new(r, c->args->n_pos);
        v.type = JJ_TUPLE;
        for (uint32_t i = 0; i < c->args->n_pos; i++) jj_list_add(r, v.list, c->args->pos[i]);
    }
    return jj_percent(r, jj_to_str(r, c->self), v);
}

/* indent of json.dumps: a number of blanks, or the text itself. */
static struct jj_value json_indent(struct jj *r, struct jj_value v)
{
    if (v.type == JJ_STR) return v;
    int64_t n = jj_want_int(r, v, 0);
    return jj_pad(r, jj_strz(""), n, jj_strz(" "), false, true);
}

static struct jj_value filter_tojson(struct jj *r, const struct jj_call *c)
{
    struct jj_json_style s = {
        .ensure_ascii = jj_want_bool(r, c->a[0], false),
        .sort_keys = jj_want_bool(r, c->a[3], false),
        .indented = c->a[1].type > JJ_NONE,
        .colon = jj_strz(": "),
    };
    if (s.indented) s.indent = json_indent(r, c->a[1]);
    s.comma = jj_strz(s.indented ? "," : ", ");
    if (c->a[2].type > JJ_NONE) {
        struct jj_list *l = jj_to_list(r, c->a[2]);
        if (l->n != 2) jj_fail(r, "tojson: separators are two strings, (item, key)");
        s.comma = jj_want_str(r, l->item[0], NULL);
        s.colon = jj_want_str(r, l->item[1], NULL);
    }
    size_t begin = jj_text_begin(r);
    jj_write_json(r, c->self, &s);
    return jj_text_end(r, begin);
}

static struct jj_value filter_from_json(struct jj *r, const struct jj_call *c)
{
    struct jj_value s = jj_want_str(r, c->self, NULL);
    json_error_t je;
    jj_charge(r, s.n / 4);
    if (!r->parsed) r->parsed = json_array();
    json_t *j = json_loadb(s.s, s.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (!j) jj_fail(r, "from_json: %s", je.text);
    if (json_array_append_new(r->parsed, j) != 0) jj_fail(r, "from_json: out of memory");
    return jj_from_json(r, j);
}

static struct jj_value not_supported(struct jj *r, const struct jj_call *c)
{
    jj_fail(r, "the filter %s is not supported", c->builtin->name);
}

const struct jj_builtin jj_filters_text[] = {
    {.name = "tojson", .params = "ensure_ascii indent separators sort_keys", .fn = filter_tojson},
    {.name = "trim", .params = "chars", .fn = filter_trim},
    {.name = "string", .params = "", .fn = filter_string},
    {.name = "replace", .params = "old new count", .n_need = 2, .fn = filter_replace},
    {.name = "upper", .params = "", .fn = filter_upper},
    {.name = "lower", .params = "", .fn = filter_lower},
    {.name = "capitalize", .params = "", .fn = filter_capitalize},
    {.name = "title", .params = "", .fn = filter_title},
    {.name = "indent", .params = "width first blank", .fn = filter_indent},
    {.name = "safe", .params = "", .fn = filter_safe},
    {.name = "escape", .params = "", .fn = filter_escape},
    {.name = "e", .params = "", .fn = filter_escape},
    {.name = "forceescape", .params = "", .fn = filter_forceescape},
    {.name = "format", .fn = filter_format},
    {.name = "center", .params = "width", .fn = filter_center},
    {.name = "truncate", .params = "length killwords end leeway", .fn = filter_truncate},
    {.name = "wordcount", .params = "", .fn = filter_wordcount},
    {.name = "urlencode", .params = "", .fn = filter_urlencode},
    {.name = "from_json", .params = "", .fn = filter_from_json, .lenient = true},
    {.name = "striptags", .fn = not_supported},
    {.name = "urlize", .fn = not_supported},
    {.name = "wordwrap", .fn = not_supported},
    {.name = "xmlattr", .fn = not_supported},
    {.name = "pprint", .fn = not_supported},
    {0}};
