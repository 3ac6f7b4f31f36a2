/* Methods of strings. */
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/builtin.h"
#include "text/jinja/format.h"
#include "text/jinja/text.h"

static struct jj_value list_value(struct jj_list *l)
{
    return jj_list_of(JJ_LIST, l);
}

/* An argument that may be left out or None. */
static bool absent(struct jj_value v)
{
    return v.type == JJ_MISSING || v.type == JJ_NONE;
}

/* A marked string marks what comes out of it, so what goes in is escaped first. */
static struct jj_value like_self(struct jj *r, const struct jj_call *c, struct jj_value v)
{
    return c->self.flags & JJ_SAFE && v.type == JJ_STR ? jj_escape(r, v) : v;
}

/* --- case --- */

static struct jj_value str_upper(struct jj *r, const struct jj_call *c)
{
    return jj_upper(r, c->self);
}
static struct jj_value str_lower(struct jj *r, const struct jj_call *c)
{
    return jj_lower(r, c->self);
}
static struct jj_value str_capitalize(struct jj *r, const struct jj_call *c)
{
    return jj_capitalize(r, c->self);
}
static struct jj_value str_title(struct jj *r, const struct jj_call *c)
{
    return jj_title(r, c->self);
}
static struct jj_value str_swapcase(struct jj *r, const struct jj_call *c)
{
    return jj_swapcase(r, c->self);
}
static struct jj_value str_casefold(struct jj *r, const struct jj_call *c)
{
    return jj_casefold(r, c->self);
}

/* --- cutting --- */

static struct jj_value strip(struct jj *r, const struct jj_call *c, bool left, bool right)
{
    jj_charge_bytes(r, c->self.n);
    if (absent(c->a[0])) return jj_strip(c->self, NULL, left, right);
    struct jj_value chars = jj_want_str(r, c->a[0], NULL);
    jj_charge(r, (uint64_t)c->self.n * chars.n / 32);
    return jj_strip(c->self, &chars, left, right);
}
static struct jj_value str_strip(struct jj *r, const struct jj_call *c)
{
    return strip(r, c, true, true);
}
static struct jj_value str_lstrip(struct jj *r, const struct jj_call *c)
{
    return strip(r, c, true, false);
}
static struct jj_value str_rstrip(struct jj *r, const struct jj_call *c)
{
    return strip(r, c, false, true);
}

static struct jj_value str_split(struct jj *r, const struct jj_call *c)
{
    int64_t max = jj_want_int(r, c->a[1], -1);
    if (absent(c->a[0])) return list_value(jj_split(r, c->self, NULL, max));
    struct jj_value sep = jj_want_str(r, c->a[0], NULL);
    return list_value(jj_split(r, c->self, &sep, max));
}
static struct jj_value str_rsplit(struct jj *r, const struct jj_call *c)
{
    int64_t max = jj_want_int(r, c->a[1], -1);
    if (absent(c->a[0])) return list_value(jj_rsplit(r, c->self, NULL, max));
    struct jj_value sep = jj_want_str(r, c->a[0], NULL);
    return list_value(jj_rsplit(r, c->self, &sep, max));
}
static struct jj_value str_splitlines(struct jj *r, const struct jj_call *c)
{
    return list_value(jj_split_lines(r, c->self, jj_want_bool(r, c->a[0], false)));
}

static struct jj_value partition(struct jj *r, const struct jj_call *c, bool last)
{
    struct jj_value sep = jj_want_str(r, c->a[0], NULL), s = c->self, empty = jj_sub(s, 0, 0);
    if (sep.n == 0) jj_fail(r, "empty separator");
    jj_charge(r, last ? (uint64_t)s.n * sep.n / 32 : s.n / 32);
    size_t at = last ? jj_rfind(s, sep, s.n) : jj_find(s, sep, 0);
    struct jj_value v = jj_list_new(r, 3);
    bool found = at != SIZE_MAX;
    jj_list_add(r, v.list, found ? jj_sub(s, 0, at) : last ? empty : s);
    jj_list_add(r, v.list, found ? jj_sub(s, at, at + sep.n) : empty);
    jj_list_add(r, v.list, found ? jj_sub(s, at + sep.n, s.n) : last ? s : empty);
    v.type = JJ_TUPLE;
    return v;
}
static struct jj_value str_partition(struct jj *r, const struct jj_call *c)
{
    return partition(r, c, false);
}
static struct jj_value str_rpartition(struct jj *r, const struct jj_call *c)
{
    return partition(r, c, true);
}

static bool has_prefix(struct jj_value s, struct jj_value p)
{
    return p.n <= s.n && memcmp(s.s, p.s, p.n) == 0;
}
static bool has_suffix(struct jj_value s, struct jj_value p)
{
    return p.n <= s.n && memcmp(s.s + s.n - p.n, p.s, p.n) == 0;
}

static struct jj_value str_removeprefix(struct jj *r, const struct jj_call *c)
{
    struct jj_value p = jj_want_str(r, c->a[0], NULL);
    return has_prefix(c->self, p) ? jj_sub(c->self, p.n, c->self.n) : c->self;
}
static struct jj_value str_removesuffix(struct jj *r, const struct jj_call *c)
{
    struct jj_value p = jj_want_str(r, c->a[0], NULL);
    return has_suffix(c->self, p) ? jj_sub(c->self, 0, c->self.n - p.n) : c->self;
}

/* --- searching --- */

/* self[start:end]; false: start lies behind the end, where not even "" is found. */
static bool part_of(struct jj *r, const struct jj_call *c, struct jj_value *part, size_t *from)
{
    int64_t n = jj_length(r, c->self);
    int64_t start = absent(c->a[1]) ? 0 : jj_want_int(r, c->a[1], 0);
    int64_t end = absent(c->a[2]) ? n : jj_want_int(r, c->a[2], n);
    if (start < 0) start = MAX(start + n, (int64_t)0);
    if (end < 0) end = MAX(end + n, (int64_t)0);
    end = MIN(end, n);
    if (start > end) return false;
    *from = (size_t)start;
    *part = jj_sub(c->self, jj_byte_of(c->self, (size_t)start), jj_byte_of(c->self, (size_t)end));
    return true;
}

static struct jj_value begins_or_ends(struct jj *r, const struct jj_call *c,
                                      bool (*has)(struct jj_value, struct jj_value))
{
    struct jj_value part, x;
    size_t from;
    bool inside = part_of(r, c, &part, &from), found = false;
    if (c->a[0].type == JJ_STR) return jj_bool(inside && has(part, c->a[0]));
    if (c->a[0].type != JJ_TUPLE)
        jj_fail(r, "%s first arg must be str or a tuple of str, not %s", c->builtin->name,
                jj_type_name(c->a[0]));
    for (struct jj_iter it = jj_iter(r, c->a[0]); jj_next(r, &it, &x);)
        found |= inside && has(part, jj_want_str(r, x, NULL));
    return jj_bool(found);
}
static struct jj_value str_startswith(struct jj *r, const struct jj_call *c)
{
    return begins_or_ends(r, c, has_prefix);
}
static struct jj_value str_endswith(struct jj *r, const struct jj_call *c)
{
    return begins_or_ends(r, c, has_suffix);
}

/* Character of the first or last occurrence, -1: none. */
static int64_t find(struct jj *r, const struct jj_call *c, bool last)
{
    struct jj_value needle = jj_want_str(r, c->a[0], NULL), part;
    size_t from;
    if (!part_of(r, c, &part, &from)) return -1;
    jj_charge(r, last ? (uint64_t)part.n * needle.n / 32 : part.n / 32);
    size_t at = last ? jj_rfind(part, needle, part.n) : jj_find(part, needle, 0);
    return at == SIZE_MAX ? -1 : (int64_t)(from + jj_n_cp(jj_sub(part, 0, at)));
}
static struct jj_value str_find(struct jj *r, const struct jj_call *c)
{
    return jj_int(find(r, c, false));
}
static struct jj_value str_rfind(struct jj *r, const struct jj_call *c)
{
    return jj_int(find(r, c, true));
}
static struct jj_value str_index(struct jj *r, const struct jj_call *c)
{
    int64_t at = find(r, c, c->builtin->name[0] == 'r');
    if (at < 0) jj_fail(r, "substring not found");
    return jj_int(at);
}

static struct jj_value str_count(struct jj *r, const struct jj_call *c)
{
    struct jj_value needle = jj_want_str(r, c->a[0], NULL), part;
    size_t from, at = 0;
    int64_t n = 0;
    if (!part_of(r, c, &part, &from)) return jj_int(0);
    jj_charge_bytes(r, part.n);
    if (needle.n == 0) return jj_int((int64_t)jj_n_cp(part) + 1);
    for (; (at = jj_find(part, needle, at)) != SIZE_MAX; at += needle.n) n++;
    jj_charge(r, (uint64_t)n / 4);
    return jj_int(n);
}

/* --- building --- */

static struct jj_value str_replace(struct jj *r, const struct jj_call *c)
{
    struct jj_value old = jj_want_str(r, c->a[0], NULL), new = jj_want_str(r, c->a[1], NULL);
    return jj_replace(r, c->self, old, like_self(r, c, new), jj_want_int(r, c->a[2], -1));
}

static struct jj_value str_join(struct jj *r, const struct jj_call *c)
{
    struct jj_value x;
    size_t begin, n = 0;
    struct jj_list *l = jj_to_list(r, c->a[0]);
    bool safe = c->self.flags & JJ_SAFE;
    begin = jj_text_begin(r);
    for (; n < l->n; n++) {
        x = l->item[n];
        if (x.type != JJ_STR && !safe)
            jj_fail(r, "sequence item %zu: expected str instance, %s found", n, jj_type_name(x));
        if (n) jj_write(r, c->self.s, c->self.n);
        if (safe)
            jj_write_escaped(r, x);
        else
            jj_write(r, x.s, x.n);
    }
    x = jj_text_end(r, begin);
    x.flags |= c->self.flags & JJ_SAFE;
    return x;
}

static struct jj_value str_format(struct jj *r, const struct jj_call *c)
{
    return jj_brace(r, c->self, c->args);
}

static struct jj_value str_format_map(struct jj *r, const struct jj_call *c)
{
    const struct jj_pair *p;
    uint32_t n = 0;
    if (c->a[0].type != JJ_DICT) jj_fail(r, "format_map() wants a mapping");
    struct jj_kwarg *kw = jj_alloc(&r->arena, c->a[0].dict->n_live, sizeof *kw);
    for (size_t i = 0; (p = jj_dict_next(c->a[0].dict, &i));)
        kw[n++] = (struct jj_kwarg){.name = p->key, .value = p->value};
    struct jj_args args = {.kw = kw, .n_kw = n};
    return jj_brace(r, c->self, &args);
}

static struct jj_value pad(struct jj *r, const struct jj_call *c, bool left, bool right)
{
    struct jj_value fill = like_self(r, c, jj_want_str(r, c->a[1], " "));
    return jj_pad(r, c->self, jj_want_int(r, c->a[0], 0), fill, left, right);
}
static struct jj_value str_ljust(struct jj *r, const struct jj_call *c)
{
    return pad(r, c, false, true);
}
static struct jj_value str_rjust(struct jj *r, const struct jj_call *c)
{
    return pad(r, c, true, false);
}
static struct jj_value str_center(struct jj *r, const struct jj_call *c)
{
    return pad(r, c, true, true);
}

static struct jj_value str_zfill(struct jj *r, const struct jj_call *c)
{
    bool sign = c->self.n && (c->self.s[0] == '-' || c->self.s[0] == '+');
    struct jj_value digits = jj_sub(c->self, sign, c->self.n);
    digits = jj_pad(r, digits, jj_want_int(r, c->a[0], 0) - sign, jj_strz("0"), true, false);
    return sign ? jj_binary(r, JJ_OP_ADD, jj_sub(c->self, 0, 1), digits) : digits;
}

static struct jj_value str_expandtabs(struct jj *r, const struct jj_call *c)
{
    int64_t size = jj_want_int(r, c->a[0], 8), column = 0;
    struct jj_value s = c->self;
    size_t begin = jj_text_begin(r);
    for (size_t i = 0, n; i < s.n; i += n) {
        n = MAX(utf8_valid_len(s.s + i, s.n - i), (size_t)1);
        if (s.s[i] != '\t') {
            jj_write(r, s.s + i, n);
            column = s.s[i] == '\n' || s.s[i] == '\r' ? 0 : column + 1;
            continue;
        }
        int64_t blanks = size > 0 ? size - column % size : 0;
        for (column += blanks; blanks > 0; blanks--) jj_writec(r, ' ');
        jj_charge(r, 1);
    }
    return jj_text_end(r, begin);
}

// clang-format off
const struct jj_builtin jj_methods_str[] = {
    {.name = "split", .params = "sep maxsplit", .fn = str_split},
    {.name = "strip", .params = "chars", .fn = str_strip},
    {.name = "lstrip", .params = "chars", .fn = str_lstrip},
    {.name = "rstrip", .params = "chars", .fn = str_rstrip},
    {.name = "startswith", .params = "prefix start end", .n_need = 1, .fn = str_startswith},
    {.name = "endswith", .params = "suffix start end", .n_need = 1, .fn = str_endswith},
    {.name = "replace", .params = "old new count", .n_need = 2, .fn = str_replace},
    {.name = "join", .params = "iterable", .n_need = 1, .fn = str_join},
    {.name = "upper", .params = "", .fn = str_upper},
    {.name = "lower", .params = "", .fn = str_lower},
    {.name = "title", .params = "", .fn = str_title},
    {.name = "capitalize", .params = "", .fn = str_capitalize},
    {.name = "swapcase", .params = "", .fn = str_swapcase},
    {.name = "casefold", .params = "", .fn = str_casefold},
    {.name = "format", .fn = str_format},
    {.name = "format_map", .params = "mapping", .n_need = 1, .fn = str_format_map},
    {.name = "find", .params = "sub start end", .n_need = 1, .fn = str_find},
    {.name = "rfind", .params = "sub start end", .n_need = 1, .fn = str_rfind},
    {.name = "index", .params = "sub start end", .n_need = 1, .fn = str_index},
    {.name = "rindex", .params = "sub start end", .n_need = 1, .fn = str_index},
    {.name = "count", .params = "sub start end", .n_need = 1, .fn = str_count},
    {.name = "rsplit", .params = "sep maxsplit", .fn = str_rsplit},
    {.name = "splitlines", .params = "keepends", .fn = str_splitlines},
    {.name = "partition", .params = "sep", .n_need = 1, .fn = str_partition},
    {.name = "rpartition", .params = "sep", .n_need = 1, .fn = str_rpartition},
    {.name = "removeprefix", .params = "prefix", .n_need = 1, .fn = str_removeprefix},
    {.name = "removesuffix", .params = "suffix", .n_need = 1, .fn = str_removesuffix},
    {.name = "ljust", .params = "width fillchar", .n_need = 1, .fn = str_ljust},
    {.name = "rjust", .params = "width fillchar", .n_need = 1, .fn = str_rjust},
    {.name = "center", .params = "width fillchar", .n_need = 1, .fn = str_center},
    {.name = "zfill", .params = "width", .n_need = 1, .fn = str_zfill},
    {.name = "expandtabs", .params = "tabsize", .fn = str_expandtabs},
    {0}};
// clang-format on
