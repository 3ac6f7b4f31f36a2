#include "text/jinja/text.h"

#include <string.h>

#include "base/utf8.h"
#include "text/jinja/builtin.h"

void jj_write_cp(struct jj *r, uint32_t cp)
{
    char text[4];
    jj_write(r, text, utf8_encode(text, cp));
}

static struct jj_value text_end_like(struct jj *r, size_t begin, struct jj_value like)
{
    struct jj_value v = jj_text_end(r, begin);
    v.flags |= like.flags & JJ_SAFE;
    return v;
}

/* --- case --- */

static bool is_cased(uint32_t cp)
{
    return jj_cp_upper(cp) || jj_cp_lower(cp) || jj_cp_title(cp);
}

/* A capital sigma at byte `at` becomes the final form: a letter stands before it and none after it. */
static bool is_final_sigma(struct jj_value s, size_t at)
{
    uint32_t before = 0, after = 0;
    size_t i = at;
    while (i > 0 && ((uint8_t)s.s[--i] & 0xC0) == 0x80) {}
    if (at > 0) utf8_decode(s.s + i, s.n - i, &before);
    if (at + 2 < s.n) utf8_decode(s.s + at + 2, s.n - at - 2, &after);
    return is_cased(before) && !is_cased(after);
}

enum case_how { UPPER, LOWER, TITLE, SWAP, FOLD };

static void write_case(struct jj *r, struct jj_value s, size_t at, uint32_t cp, enum case_how how)
{
    uint32_t out[3];
    size_t n;
    if (how == SWAP) how = jj_cp_upper(cp) ? LOWER : UPPER;
    switch (how) {
    case UPPER: n = jj_cp_to_upper(out, cp); break;
    case TITLE: n = jj_cp_to_title(out, cp); break;
    case FOLD: n = jj_cp_casefold(out, cp); break;
    default:
        n = jj_cp_to_lower(out, cp);
        if (cp == 0x3a3 && is_final_sigma(s, at)) out[0] = 0x3c2;
    }
    for (size_t i = 0; i < n; i++) jj_write_cp(r, out[i]);
}

/* ASCII in one pass: the usual case. */
static struct jj_value ascii_case(struct jj *r, struct jj_value s, bool upper)
{
    char *to = jj_alloc_text(&r->arena, s.n);
    jj_charge_bytes(r, s.n);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.s[i];
        bool turn = upper ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z';
        to[i] = turn ? (char)(c ^ 32) : c;
    }
    s.s = to;
    return s;
}

static struct jj_value all_case(struct jj *r, struct jj_value s, enum case_how how)
{
    size_t begin = jj_text_begin(r);
    uint32_t cp;
    jj_charge(r, s.n / 4);
    for (size_t i = 0, n; i < s.n; i += n) {
        n = utf8_decode(s.s + i, s.n - i, &cp);
        write_case(r, s, i, cp, how);
    }
    return text_end_like(r, begin, s);
}

struct jj_value jj_upper(struct jj *r, struct jj_value s)
{
    return s.flags & JJ_ASCII ? ascii_case(r, s, true) : all_case(r, s, UPPER);
}
struct jj_value jj_lower(struct jj *r, struct jj_value s)
{
    return s.flags & JJ_ASCII ? ascii_case(r, s, false) : all_case(r, s, LOWER);
}
struct jj_value jj_swapcase(struct jj *r, struct jj_value s)
{
    return all_case(r, s, SWAP);
}
struct jj_value jj_casefold(struct jj *r, struct jj_value s)
{
    return all_case(r, s, FOLD);
}

/* words: a capital at the beginning of each run of letters, else only at the very beginning. */
static struct jj_value capitals(struct jj *r, struct jj_value s, bool words)
{
    size_t begin = jj_text_begin(r);
    bool inside = false;
    uint32_t cp;
    jj_charge(r, s.n / 4);
    for (size_t i = 0, n; i < s.n; i += n) {
        n = utf8_decode(s.s + i, s.n - i, &cp);
        write_case(r, s, i, cp, inside ? LOWER : TITLE);
        inside = words ? is_cased(cp) : true;
    }
    return text_end_like(r, begin, s);
}

struct jj_value jj_capitalize(struct jj *r, struct jj_value s)
{
    return capitals(r, s, false);
}
struct jj_value jj_title(struct jj *r, struct jj_value s)
{
    return capitals(r, s, true);
}

/* --- replace --- */

/* An empty `old` stands between all characters. */
static void replace_nothing(struct jj *r, struct jj_value s, struct jj_value new, int64_t count)
{
    size_t i = 0;
    for (; count != 0; count--) {
        jj_charge(r, 1);
        jj_write(r, new.s, new.n);
        if (i == s.n) break;
        size_t n = MAX(utf8_valid_len(s.s + i, s.n - i), (size_t)1);
        jj_write(r, s.s + i, n);
        i += n;
    }
    jj_write(r, s.s + i, s.n - i);
}

struct jj_value jj_replace(struct jj *r, struct jj_value s, struct jj_value old, struct jj_value new,
                           int64_t count)
{
    size_t begin = jj_text_begin(r), from = 0, at;
    jj_charge_bytes(r, s.n);
    if (count == 0 || (old.n && jj_find(s, old, 0) == SIZE_MAX)) return s;
    if (old.n == 0) {
        replace_nothing(r, s, new, count);
        return text_end_like(r, begin, s);
    }
    for (; count != 0 && (at = jj_find(s, old, from)) != SIZE_MAX; count--) {
        jj_charge(r, 1);
        jj_write(r, s.s + from, at - from);
        jj_write(r, new.s, new.n);
        from = at + old.n;
    }
    jj_write(r, s.s + from, s.n - from);
    return text_end_like(r, begin, s);
}

/* --- split --- */

static size_t space_len(struct jj_value s, size_t at)
{
    uint32_t cp;
    size_t n = utf8_decode(s.s + at, s.n - at, &cp);
    return jj_cp_space(cp) ? n : 0;
}

static void split_space(struct jj *r, struct jj_list *out, struct jj_value s, int64_t max)
{
    size_t at = 0, from, n;
    for (;; max--) {
        while (at < s.n && (n = space_len(s, at))) at += n;
        if (at == s.n) return;
        from = at;
        if (max == 0) break;
        while (at < s.n && !space_len(s, at)) at += MAX(utf8_valid_len(s.s + at, s.n - at), (size_t)1);
        jj_list_add(r, out, jj_sub(s, from, at));
    }
    jj_list_add(r, out, jj_sub(s, from, s.n));
}

struct jj_list *jj_split(struct jj *r, struct jj_value s, const struct jj_value *sep, int64_t max)
{
    struct jj_list *out = jj_list_new(r, 0).list;
    size_t from = 0, at;
    jj_charge_bytes(r, s.n);
    if (!sep) {
        split_space(r, out, s, max);
        jj_charge(r, out->n);
        return out;
    }
    if (sep->n == 0) jj_fail(r, "empty separator");
    for (; max != 0 && (at = jj_find(s, *sep, from)) != SIZE_MAX; max--) {
        jj_list_add(r, out, jj_sub(s, from, at));
        from = at + sep->n;
    }
    jj_list_add(r, out, jj_sub(s, from, s.n));
    jj_charge(r, out->n);
    return out;
}

static size_t char_before(struct jj_value s, size_t at)
{
    do at--;
    while (at > 0 && ((uint8_t)s.s[at] & 0xC0) == 0x80);
    return at;
}

static void rsplit_space(struct jj *r, struct jj_list *out, struct jj_value s, int64_t max)
{
    size_t at = s.n, to;
    for (;; max--) {
        while (at > 0 && space_len(s, char_before(s, at))) at = char_before(s, at);
        if (at == 0) return;
        to = at;
        if (max == 0) break;
        while (at > 0 && !space_len(s, char_before(s, at))) at = char_before(s, at);
        jj_list_add(r, out, jj_sub(s, at, to));
    }
    jj_list_add(r, out, jj_sub(s, 0, to));
}

struct jj_list *jj_rsplit(struct jj *r, struct jj_value s, const struct jj_value *sep, int64_t max)
{
    struct jj_list *out = jj_list_new(r, 0).list;
    size_t to = s.n, at;
    if (sep && sep->n == 0) jj_fail(r, "empty separator");
    if (!sep) {
        jj_charge_bytes(r, s.n);
        rsplit_space(r, out, s, max);
    } else {
        jj_charge(r, (uint64_t)s.n * sep->n / 32);
        for (; max != 0 && (at = jj_rfind(s, *sep, to)) != SIZE_MAX; max--) {
            jj_list_add(r, out, jj_sub(s, at + sep->n, to));
            to = at;
        }
        jj_list_add(r, out, jj_sub(s, 0, to));
    }
    jj_charge(r, out->n);
    for (size_t i = 0; i < out->n / 2; i++) {
        struct jj_value v = out->item[i];
        out->item[i] = out->item[out->n - 1 - i];
        out->item[out->n - 1 - i] = v;
    }
    return out;
}

/* The bytes of a line boundary at `at`, or 0. */
static size_t newline_len(struct jj_value s, size_t at)
{
    uint32_t cp;
    size_t n = utf8_decode(s.s + at, s.n - at, &cp);
    if (cp == '\r' && at + 1 < s.n && s.s[at + 1] == '\n') return 2;
    bool is = (cp >= '\n' && cp <= '\r') || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
              cp == 0x2029;
    return is ? n : 0;
}

struct jj_list *jj_split_lines(struct jj *r, struct jj_value s, bool keep_ends)
{
    struct jj_list *out = jj_list_new(r, 0).list;
    size_t from = 0, at = 0, n;
    jj_charge_bytes(r, s.n);
    while (at < s.n) {
        if (!(n = newline_len(s, at))) {
            at++;
            continue;
        }
        jj_list_add(r, out, jj_sub(s, from, keep_ends ? at + n : at));
        from = at += n;
    }
    if (from < s.n) jj_list_add(r, out, jj_sub(s, from, s.n));
    jj_charge(r, out->n);
    return out;
}

/* --- pad --- */

static void write_fill(struct jj *r, struct jj_value fill, int64_t n)
{
    for (; n > 0; n--) jj_write(r, fill.s, fill.n);
}

struct jj_value jj_pad(struct jj *r, struct jj_value s, int64_t width, struct jj_value fill, bool left,
                       bool right)
{
    int64_t lack = width - (int64_t)jj_n_cp(s), before = left ? lack : 0;
    if (jj_n_cp(fill) != 1) jj_fail(r, "The fill character must be exactly one character long");
    if (width <= 0 || lack <= 0) return s;
    if (left && right) before = lack / 2 + (lack & width & 1);
    jj_charge(r, (uint64_t)lack / 8);
    size_t begin = jj_text_begin(r);
    write_fill(r, fill, before);
    jj_write(r, s.s, s.n);
    write_fill(r, fill, right ? lack - before : 0);
    return text_end_like(r, begin, s);
}
