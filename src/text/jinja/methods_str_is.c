/* "...".isdigit() and its kin: one row each of what every character must be. */
#include "base/utf8.h"
#include "text/jinja/builtin.h"
#include "text/jinja/unicode.h"

static struct jj_value all_are(struct jj *r, struct jj_value s, bool (*is)(uint32_t), bool empty)
{
    uint32_t cp;
    jj_charge(r, s.n / 8);
    for (size_t i = 0; i < s.n;) {
        i += utf8_decode(s.s + i, s.n - i, &cp);
        if (!is(cp)) return jj_bool(false);
    }
    return jj_bool(s.n ? true : empty);
}

static bool is_alnum(uint32_t cp)
{
    return jj_cp_alpha(cp) || jj_cp_numeric(cp);
}
static bool is_ascii(uint32_t cp)
{
    return cp < 0x80;
}

static struct jj_value str_isalnum(struct jj *r, const struct jj_call *c)
{
    return all_are(r, c->self, is_alnum, false);
}
static struct jj_value str_isalpha(struct jj *r, const struct jj_call *c)
{
    return all_are(r, c->self, jj_cp_alpha, false);
}
static struct jj_value str_isascii(struct jj *r, const struct jj_call *c)
{
    return all_are(r, c->self, is_ascii, true);
}
static struct jj_value str_isdecimal(struct jj *r, const struct jj_call *c)
{
    return all_are(r, c->self, jj_cp_decimal, false);
}
static struct jj_value str_isdigit(struct jj *r, const struct jj_call *c)
{
    return all_are(r, c->self, jj_cp_digit, false);
}
static struct jj_value str_isnumeric(struct jj *r, const struct jj_call *c)
{
    return all_are(r, c->self, jj_cp_numeric, false);
}
static struct jj_value str_isprintable(struct jj *r, const struct jj_call *c)
{
    return all_are(r, c->self, jj_cp_printable, true);
}
static struct jj_value str_isspace(struct jj *r, const struct jj_call *c)
{
    return all_are(r, c->self, jj_cp_space, false);
}

static struct jj_value str_isidentifier(struct jj *r, const struct jj_call *c)
{
    uint32_t cp;
    if (c->self.n == 0) return jj_bool(false);
    utf8_decode(c->self.s, c->self.n, &cp);
    return jj_bool(cp == '_' || jj_cp_alpha(cp) ? all_are(r, c->self, jj_cp_word, false).b : false);
}

/* At least one cased character, and none of the other case. */
static struct jj_value only_case(struct jj *r, struct jj_value s, bool (*is)(uint32_t),
                                 bool (*other)(uint32_t))
{
    bool any = false;
    uint32_t cp;
    jj_charge(r, s.n / 8);
    for (size_t i = 0; i < s.n;) {
        i += utf8_decode(s.s + i, s.n - i, &cp);
        if (other(cp) || jj_cp_title(cp)) return jj_bool(false);
        any |= is(cp);
    }
    return jj_bool(any);
}
static struct jj_value str_islower(struct jj *r, const struct jj_call *c)
{
    return only_case(r, c->self, jj_cp_lower, jj_cp_upper);
}
static struct jj_value str_isupper(struct jj *r, const struct jj_call *c)
{
    return only_case(r, c->self, jj_cp_upper, jj_cp_lower);
}

static struct jj_value str_istitle(struct jj *r, const struct jj_call *c)
{
    bool any = false, inside = false;
    uint32_t cp;
    for (size_t i = 0; i < c->self.n;) {
        i += utf8_decode(c->self.s + i, c->self.n - i, &cp);
        bool capital = jj_cp_upper(cp) || jj_cp_title(cp), small = jj_cp_lower(cp);
        if ((capital && inside) || (small && !inside)) return jj_bool(false);
        inside = capital || small;
        any |= inside;
    }
    return jj_bool(any);
}

// clang-format off
const struct jj_builtin jj_methods_str_is[] = {
    {.name = "isdigit", .params = "", .fn = str_isdigit},
    {.name = "isalpha", .params = "", .fn = str_isalpha},
    {.name = "isalnum", .params = "", .fn = str_isalnum},
    {.name = "isspace", .params = "", .fn = str_isspace},
    {.name = "isupper", .params = "", .fn = str_isupper},
    {.name = "islower", .params = "", .fn = str_islower},
    {.name = "istitle", .params = "", .fn = str_istitle},
    {.name = "isnumeric", .params = "", .fn = str_isnumeric},
    {.name = "isdecimal", .params = "", .fn = str_isdecimal},
    {.name = "isascii", .params = "", .fn = str_isascii},
    {.name = "isprintable", .params = "", .fn = str_isprintable},
    {.name = "isidentifier", .params = "", .fn = str_isidentifier},
    {0}};
// clang-format on
