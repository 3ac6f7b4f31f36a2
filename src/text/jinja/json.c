/* tojson: Python's json.dumps, as Hugging Face calls it (no HTML escapes, non-ASCII as it is). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/builtin.h"
#include "text/jinja/format.h"

static void write_unit(struct jj *r, uint32_t unit)
{
    char hex[12];
    jj_write(r, hex, (size_t)snprintf(hex, sizeof hex, "\\u%04x", unit));
}

static void write_text(struct jj *r, struct jj_value s, bool ensure_ascii)
{
    static const char plain[] = "\"\"\\\\\nn\rr\tt\bb\ff";
    size_t from = 0, n;
    jj_writec(r, '"');
    for (size_t i = 0; i < s.n; i += n) {
        uint32_t cp = (uint8_t)s.s[i];
        n = 1;
        if (cp >= 0x80 && !ensure_ascii) continue;
        if (cp >= 0x20 && cp < 0x7f && cp != '"' && cp != '\\') continue;
        if (cp == 0x7f && !ensure_ascii) continue;
        jj_write(r, s.s + from, i - from);
        n = utf8_decode(s.s + i, s.n - i, &cp);
        from = i + n;
        const char *p = cp < 0x80 ? memchr(plain, (int)cp, sizeof plain - 1) : NULL;
        if (p) {
            jj_writec(r, '\\');
            jj_writec(r, cp == '"' || cp == '\\' ? (char)cp : p[1]);
        } else if (cp < 0x10000) {
            write_unit(r, cp);
        } else {
            write_unit(r, 0xd800 + ((cp - 0x10000) >> 10));
            write_unit(r, 0xdc00 + ((cp - 0x10000) & 0x3ff));
        }
    }
    jj_write(r, s.s + from, s.n - from);
    jj_writec(r, '"');
}

static void write_number(struct jj *r, struct jj_value v)
{
    if (v.type == JJ_FLOAT && isnan(v.f))
        jj_writes(r, "NaN");
    else if (v.type == JJ_FLOAT && isinf(v.f))
        jj_writes(r, v.f < 0 ? "-Infinity" : "Infinity");
    else if (v.type == JJ_BOOL)
        jj_writes(r, v.b ? "true" : "false");
    else
        jj_write_repr(r, v);
}

static void new_line(struct jj *r, const struct jj_json_style *s, unsigned level)
{
    if (!s->indented) return;
    jj_writec(r, '\n');
    for (unsigned i = 0; i < level; i++) jj_write(r, s->indent.s, s->indent.n);
}

static void write_key(struct jj *r, struct jj_value key, const struct jj_json_style *s)
{
    if (key.type == JJ_STR) {
        write_text(r, key, s->ensure_ascii);
        return;
    }
    if (key.type != JJ_NONE && !jj_is_number(key))
        jj_fail(r, "keys must be str, int, float, bool or None, not %s", jj_type_name(key));
    jj_writec(r, '"');
    if (key.type == JJ_NONE)
        jj_writes(r, "null");
    else
        write_number(r, key);
    jj_writec(r, '"');
}

static void write_value(struct jj *r, struct jj_value v, const struct jj_json_style *s, unsigned level);

static void write_array(struct jj *r, const struct jj_list *l, const struct jj_json_style *s, unsigned level)
{
    jj_writec(r, '[');
    for (size_t i = 0; i < l->n; i++) {
        if (i) jj_write(r, s->comma.s, s->comma.n);
        new_line(r, s, level + 1);
        write_value(r, l->item[i], s, level + 1);
    }
    if (l->n) new_line(r, s, level);
    jj_writec(r, ']');
}

/* The pairs of a dict in the order of their keys. */
static const struct jj_dict *sorted(struct jj *r, const struct jj_dict *d)
{
    struct jj_value out = jj_dict_new(r), keys = jj_list_new(r, d->n_live);
    const struct jj_pair *p;
    for (size_t i = 0; (p = jj_dict_next(d, &i));) jj_list_add(r, keys.list, p->key);
    jj_sort(r, keys.list->item, NULL, keys.list->n, false);
    for (size_t i = 0; i < keys.list->n; i++)
        jj_dict_set(r, out.dict, keys.list->item[i], *jj_dict_get(r, d, keys.list->item[i]));
    return out.dict;
}

static void write_object(struct jj *r, const struct jj_dict *d, const struct jj_json_style *s, unsigned level)
{
    const struct jj_pair *p;
    bool any = false;
    if (s->sort_keys) d = sorted(r, d);
    jj_writec(r, '{');
    for (size_t i = 0; (p = jj_dict_next(d, &i)); any = true) {
        if (any) jj_write(r, s->comma.s, s->comma.n);
        new_line(r, s, level + 1);
        write_key(r, p->key, s);
        jj_write(r, s->colon.s, s->colon.n);
        write_value(r, p->value, s, level + 1);
    }
    if (any) new_line(r, s, level);
    jj_writec(r, '}');
}

static void write_value(struct jj *r, struct jj_value v, const struct jj_json_style *s, unsigned level)
{
    jj_charge(r, 1);
    jj_enter(r);
    switch (v.type) {
    case JJ_NONE: jj_writes(r, "null"); break;
    case JJ_BOOL:
    case JJ_INT:
    case JJ_FLOAT: write_number(r, v); break;
    case JJ_STR: write_text(r, v, s->ensure_ascii); break;
    case JJ_LIST:
    case JJ_TUPLE: write_array(r, v.list, s, level); break;
    case JJ_DICT: write_object(r, v.dict, s, level); break;
    default: jj_fail(r, "Object of type %s is not JSON serializable", jj_type_name(v));
    }
    jj_leave(r);
}

void jj_write_json(struct jj *r, struct jj_value v, const struct jj_json_style *s)
{
    write_value(r, v, s, 0);
}
