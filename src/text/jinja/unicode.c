#include "text/jinja/unicode.h"

#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

static utf8proc_category_t category(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp);
}

/* As str.isspace() has it: the bidirectional classes WS, B and S, and the space separators. */
bool jj_cp_space(uint32_t cp)
{
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool jj_cp_printable(uint32_t cp)
{
    if (cp < 0x7f) return cp >= 0x20;
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

bool jj_cp_alpha(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool jj_cp_decimal(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_ND;
}

bool jj_cp_digit(uint32_t cp)
{
    return jj_cp_decimal(cp) || cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || cp == 0x2070 ||
           (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) || (cp >= 0x2460 && cp <= 0x2468);
}

bool jj_cp_numeric(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}

bool jj_cp_upper(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LU;
}
bool jj_cp_lower(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LL || cp == 0xaa || cp == 0xba;
}
bool jj_cp_title(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LT;
}
bool jj_cp_word(uint32_t cp)
{
    return cp == '_' || jj_cp_alpha(cp) || jj_cp_numeric(cp);
}

/* Characters whose capital is several: from Unicode's SpecialCasing.txt, without the Greek iota subscripts.
 */
static const struct {
    uint32_t cp, upper[3], title[3];
} special[] = {
    {0x00df, {'S', 'S'}, {'S', 's'}},
    {0x0149, {0x2bc, 'N'}, {0x2bc, 'N'}},
    {0x01f0, {'J', 0x30c}, {'J', 0x30c}},
    {0x0390, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
    {0x03b0, {0x3a5, 0x308, 0x301}, {0x3a5, 0x308, 0x301}},
    {0x0587, {0x535, 0x552}, {0x535, 0x582}},
    {0x1e96, {'H', 0x331}, {'H', 0x331}},
    {0x1e97, {'T', 0x308}, {'T', 0x308}},
    {0x1e98, {'W', 0x30a}, {'W', 0x30a}},
    {0x1e99, {'Y', 0x30a}, {'Y', 0x30a}},
    {0x1e9a, {'A', 0x2be}, {'A', 0x2be}},
    {0xfb00, {'F', 'F'}, {'F', 'f'}},
    {0xfb01, {'F', 'I'}, {'F', 'i'}},
    {0xfb02, {'F', 'L'}, {'F', 'l'}},
    {0xfb03, {'F', 'F', 'I'}, {'F', 'f', 'i'}},
    {0xfb04, {'F', 'F', 'L'}, {'F', 'f', 'l'}},
    {0xfb05, {'S', 'T'}, {'S', 't'}},
    {0xfb06, {'S', 'T'}, {'S', 't'}},
    {0xfb13, {0x544, 0x546}, {0x544, 0x576}},
    {0xfb14, {0x544, 0x535}, {0x544, 0x565}},
    {0xfb15, {0x544, 0x53b}, {0x544, 0x56b}},
    {0xfb16, {0x54e, 0x546}, {0x54e, 0x576}},
    {0xfb17, {0x544, 0x53d}, {0x544, 0x56d}},
};

static size_t copy_cps(uint32_t out[3], const uint32_t from[3])
{
    size_t n = 0;
    while (n < 3 && from[n]) {
        out[n] = from[n];
        n++;
    }
    return n;
}

size_t jj_cp_to_upper(uint32_t out[3], uint32_t cp)
{
    if (cp >= 0x80)
        for (size_t i = 0; i < COUNT_OF(special); i++)
            if (special[i].cp == cp) return copy_cps(out, special[i].upper);
    out[0] = (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp);
    return 1;
}

size_t jj_cp_to_title(uint32_t out[3], uint32_t cp)
{
    if (cp >= 0x80)
        for (size_t i = 0; i < COUNT_OF(special); i++)
            if (special[i].cp == cp) return copy_cps(out, special[i].title);
    out[0] = (uint32_t)utf8proc_totitle((utf8proc_int32_t)cp);
    return 1;
}

size_t jj_cp_to_lower(uint32_t out[3], uint32_t cp)
{
    if (cp == 0x130) return copy_cps(out, (const uint32_t[3]){'i', 0x307});
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    return 1;
}

size_t jj_cp_casefold(uint32_t out[3], uint32_t cp)
{
    utf8proc_int32_t to[8];
    int last = 0;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, to, COUNT_OF(to), UTF8PROC_CASEFOLD, &last);
    if (n < 1 || n > 3) {
        out[0] = cp;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) out[i] = (uint32_t)to[i];
    return (size_t)n;
}

static bool continues(char c)
{
    return ((uint8_t)c & 0xC0) == 0x80;
}

size_t jj_n_cp(struct jj_value s)
{
    size_t n = s.n;
    if (s.flags & JJ_ASCII) return n;
    for (size_t i = 0; i < s.n; i++) n -= continues(s.s[i]);
    return n;
}

size_t jj_byte_of(struct jj_value s, size_t i)
{
    size_t at = 0;
    if (s.flags & JJ_ASCII) return i;
    for (; i > 0 && at < s.n; i--) do
            at++;
        while (at < s.n && continues(s.s[at]));
    return at;
}

size_t jj_find(struct jj_value s, struct jj_value needle, size_t from)
{
    if (from > s.n) return SIZE_MAX;
    if (needle.n == 0) return from;
    const char *p = memmem(s.s + from, s.n - from, needle.s, needle.n);
    return p ? (size_t)(p - s.s) : SIZE_MAX;
}

size_t jj_rfind(struct jj_value s, struct jj_value needle, size_t before)
{
    size_t end = MIN(before, (size_t)s.n);
    if (needle.n > end) return SIZE_MAX;
    for (size_t at = end - needle.n + 1; at-- > 0;)
        if (memcmp(s.s + at, needle.s, needle.n) == 0 && (needle.n || at == s.n || !continues(s.s[at])))
            return at;
    return SIZE_MAX;
}

static bool in_set(uint32_t cp, const struct jj_value *chars)
{
    if (!chars) return jj_cp_space(cp);
    for (size_t i = 0; i < chars->n;) {
        uint32_t c;
        i += utf8_decode(chars->s + i, chars->n - i, &c);
        if (c == cp) return true;
    }
    return false;
}

struct jj_value jj_strip(struct jj_value s, const struct jj_value *chars, bool left, bool right)
{
    size_t from = 0, to = s.n;
    uint32_t cp;
    while (left && from < to) {
        size_t n = utf8_decode(s.s + from, to - from, &cp);
        if (!in_set(cp, chars)) break;
        from += n;
    }
    while (right && to > from) {
        size_t at = to - 1;
        while (at > from && continues(s.s[at])) at--;
        utf8_decode(s.s + at, to - at, &cp);
        if (!in_set(cp, chars)) break;
        to = at;
    }
    return jj_sub(s, from, to);
}
