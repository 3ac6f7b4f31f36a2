#include "grammar/regex.h"

#include <string.h>
#include <utf8proc.h>

#include "base/utf8.h"

enum { MAX_DEPTH = 200, MAX_LOOKS = 8, MAX_REPEAT = 100000, MAX_PATTERN = 16 << 10 };

enum kind { R_EMPTY, R_CHARS, R_CAT, R_ALT, R_REPEAT, R_START, R_END };

struct regex {
    enum kind kind;
    const struct regex *a, *b;
    uint32_t min, max; /* UINT32_MAX: no end */
    struct char_set set;
    const struct look *looks; /* of a whole expression */
    size_t n_look;
};

struct look {
    const struct regex *r;
    bool negative;
};

struct parser {
    struct build *b;
    const char *p, *end, *where;
    struct look look[MAX_LOOKS];
    size_t n_look;
    int depth;
    bool at_front; /* only ^ and look-ahead came before */
};

static const struct char_range digit[] = {{'0', '9'}};
static const struct char_range word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct char_range space[] = {
    {9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
    {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

static void add_ranges(struct build *b, struct char_set *to, const struct char_range *r, size_t n,
                       bool negate)
{
    struct char_set s = {0};
    for (size_t i = 0; i < n; i++) char_set_add(b, &s, r[i].lo, r[i].hi);
    char_set_normal(&s);
    if (negate) s = char_set_not(b, &s);
    for (size_t i = 0; i < s.n; i++) char_set_add(b, to, s.r[i].lo, s.r[i].hi);
}

struct char_set regex_any(struct build *b, bool line_ends)
{
    static const struct char_range ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    struct char_set s = {0};
    add_ranges(b, &s, ends, line_ends ? 0 : COUNT_OF(ends), true);
    char_set_normal(&s);
    return s;
}

_Noreturn static void bad(struct parser *s, const char *what)
{
    build_fail(s->b, ERR_ARG, "%s: not a regular expression: %s", s->where, what);
}

_Noreturn static void refuse(struct parser *s, const char *what)
{
    build_fail(s->b, ERR_UNSUPPORTED, "%s: %s has no finite automaton and is not supported", s->where, what);
}

static struct regex *node(struct parser *s, enum kind kind, const struct regex *a, const struct regex *b)
{
    struct regex *r = build_alloc(s->b, 1, sizeof *r);
    build_work(s->b, 1);
    r->kind = kind;
    r->a = a;
    r->b = b;
    return r;
}

static bool eat(struct parser *s, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, text, n) != 0) return false;
    s->p += n;
    return true;
}

static uint32_t next_char(struct parser *s)
{
    uint32_t c;
    s->p += utf8_decode(s->p, (size_t)(s->end - s->p), &c);
    return c;
}

static bool hex(struct parser *s, int digits, uint32_t *out)
{
    uint32_t v = 0;
    if (s->end - s->p < digits) return false;
    for (int i = 0; i < digits; i++) {
        char c = s->p[i];
        const char *at = c ? strchr("0123456789abcdefABCDEF", c) : NULL;
        if (!at) return false;
        size_t x = (size_t)(at - "0123456789abcdefABCDEF");
        v = v * 16 + (uint32_t)(x < 16 ? x : x - 6);
    }
    s->p += digits;
    *out = v;
    return true;
}

static const char *const category_name[] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                            "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                            "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
static const struct {
    const char *name, *category;
} long_name[] = {
    {"Letter", "L"},
    {"Mark", "M"},
    {"Number", "N"},
    {"Punctuation", "P"},
    {"Symbol", "S"},
    {"Separator", "Z"},
    {"Other", "C"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Decimal_Number", "Nd"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"punct", "P"},
    {"digit", "Nd"},
};

/* \p{..}: general categories (Unicode as of utf8proc). */
static void add_property(struct parser *s, struct char_set *to, bool negate)
{
    const char *close = s->p < s->end && *s->p == '{' ? memchr(s->p, '}', (size_t)(s->end - s->p)) : NULL;
    char name[32] = "";
    uint32_t wanted = 0;
    if (!close) bad(s, "\\p without {name}");
    const char *from = s->p + 1, *eq = memchr(from, '=', (size_t)(close - from));
    if (eq) from = eq + 1;
    if ((size_t)(close - from) < sizeof name) memcpy(name, from, (size_t)(close - from));
    s->p = close + 1;
    for (size_t i = 0; i < COUNT_OF(long_name); i++)
        if (strcmp(name, long_name[i].name) == 0) strcpy(name, long_name[i].category);
    size_t n = strlen(name);
    for (size_t i = 0; n && n <= 2 && i < COUNT_OF(category_name); i++)
        if (strncmp(category_name[i], name, n) == 0) wanted |= 1u << i;
    if (!wanted)
        build_fail(s->b, ERR_UNSUPPORTED, "%s: \\p{%s} is not supported (general categories are)", s->where,
                   name);
    struct char_set set = {0};
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        uint32_t first = c;
        while (c <= 0x10FFFF && wanted >> utf8proc_category((utf8proc_int32_t)c) & 1) c++;
        if (c > first) char_set_add(s->b, &set, first, c - 1);
    }
    add_ranges(s->b, to, set.r, set.n, negate);
}

/* What follows a backslash, as characters. *single: it was one character, returned. */
static uint32_t escape(struct parser *s, struct char_set *to, bool *single, bool in_class)
{
    static const char control[] = "tnvfr", value[] = "\t\n\v\f\r";
    uint32_t c, low;
    *single = true;
    if (s->p >= s->end) bad(s, "it ends in a backslash");
    c = next_char(s);
    const char *at = c && c < 128 ? strchr(control, (int)c) : NULL;
    if (at) return (uint8_t)value[at - control];
    switch (c) {
    case '0': return 0;
    case 'b':
        if (in_class) return '\b';
        refuse(s, "a word boundary");
    case 'B': refuse(s, "a word boundary");
    case 'c':
        if (s->p < s->end && ((*s->p >= 'a' && *s->p <= 'z') || (*s->p >= 'A' && *s->p <= 'Z')))
            return *s->p++ & 31;
        bad(s, "\\c without a letter");
    case 'x':
        if (hex(s, 2, &c)) return c;
        return 'x';
    case 'u':
        if (eat(s, "{")) {
            uint32_t v = 0, d;
            while (v <= 0x10FFFF && hex(s, 1, &d)) v = v * 16 + d;
            if (!eat(s, "}") || v > 0x10FFFF) bad(s, "\\u{..} is no character");
            return v;
        }
        if (!hex(s, 4, &c)) return 'u';
        if (c >= 0xD800 && c < 0xDC00 && eat(s, "\\u") && hex(s, 4, &low))
            return 0x10000 + ((c - 0xD800) << 10) + ((low - 0xDC00) & 0x3FF);
        return c;
    case 'd':
    case 'D': add_ranges(s->b, to, digit, COUNT_OF(digit), c == 'D'); break;
    case 'w':
    case 'W': add_ranges(s->b, to, word, COUNT_OF(word), c == 'W'); break;
    case 's':
    case 'S': add_ranges(s->b, to, space, COUNT_OF(space), c == 'S'); break;
    case 'p':
    case 'P': add_property(s, to, c == 'P'); break;
    case 'A':
    case 'Z':
    case 'z': refuse(s, "\\A or \\Z, which is not of this dialect,");
    default:
        if (c >= '1' && c <= '9' && !in_class) refuse(s, "a back reference");
        if (c == 'k') refuse(s, "a back reference");
        return c;
    }
    *single = false;
    return 0;
}

/* Behind the opening bracket. */
static struct char_set char_class(struct parser *s)
{
    struct char_set set = {0};
    bool negate = eat(s, "^");
    while (s->p < s->end && *s->p != ']') {
        bool single = true, to_single = true;
        uint32_t lo = next_char(s), hi;
        if (lo == '\\') lo = escape(s, &set, &single, true);
        if (!(s->end - s->p >= 2 && s->p[0] == '-' && s->p[1] != ']')) {
            if (single) char_set_add(s->b, &set, lo, lo);
            continue;
        }
        s->p++;
        hi = next_char(s);
        if (hi == '\\') hi = escape(s, &set, &to_single, true);
        if (!single || !to_single) { /* [\w-.]: the minus is one */
            char_set_add(s->b, &set, '-', '-');
            if (single) char_set_add(s->b, &set, lo, lo);
            if (to_single) char_set_add(s->b, &set, hi, hi);
            continue;
        }
        if (lo > hi) bad(s, "a range of characters runs backwards");
        char_set_add(s->b, &set, lo, hi);
    }
    if (!eat(s, "]")) bad(s, "a [ is not closed");
    char_set_normal(&set);
    return negate ? char_set_not(s->b, &set) : set;
}

static const struct regex *alternatives(struct parser *s);

static const struct regex *chars(struct parser *s, struct char_set set)
{
    struct regex *r = node(s, R_CHARS, NULL, NULL);
    char_set_normal(&set);
    r->set = set;
    return r;
}

static void add_look(struct parser *s, bool negative)
{
    bool front = s->at_front && s->depth == 1;
    if (!front || s->n_look == MAX_LOOKS) refuse(s, "look-ahead other than at the beginning");
    const struct regex *start = node(s, R_START, NULL, NULL);
    const struct regex *inner = node(s, R_CAT, start, alternatives(s));
    s->look[s->n_look++] = (struct look){inner, negative};
    s->at_front = true;
}

/* Behind an opening parenthesis. NULL: a look-ahead, taken note of. */
static const struct regex *group(struct parser *s)
{
    const struct regex *r = NULL;
    if (++s->depth > MAX_DEPTH)
        build_fail(s->b, ERR_LIMIT, "%s: groups nest deeper than %d", s->where, MAX_DEPTH);
    if (eat(s, "?=")) {
        add_look(s, false);
    } else if (eat(s, "?!")) {
        add_look(s, true);
    } else {
        if (eat(s, "?<=") || eat(s, "?<!")) refuse(s, "look-behind");
        if (eat(s, "?P<") || eat(s, "?<")) {
            const char *close = memchr(s->p, '>', (size_t)(s->end - s->p));
            if (!close) bad(s, "the name of a group is not closed");
            s->p = close + 1;
        } else if (!eat(s, "?:") && s->p < s->end && *s->p == '?') {
            refuse(s, "a group with flags");
        }
        s->at_front = false;
        r = alternatives(s);
    }
    s->depth--;
    if (!eat(s, ")")) bad(s, "a ( is not closed");
    return r;
}

static bool number(struct parser *s, uint32_t *out)
{
    uint64_t v = 0;
    const char *p = s->p;
    for (; p < s->end && *p >= '0' && *p <= '9'; p++)
        v = MIN(v * 10 + (uint64_t)(*p - '0'), (uint64_t)UINT32_MAX - 1);
    if (p == s->p) return false;
    s->p = p;
    *out = (uint32_t)v;
    return true;
}

/* {m}, {m,} or {m,n}; otherwise the brace is a character. */
static bool counted(struct parser *s, uint32_t *min, uint32_t *max)
{
    const char *from = s->p;
    if (!eat(s, "{")) return false;
    if (number(s, min)) {
        *max = *min;
        if (eat(s, ",") && !number(s, max)) *max = UINT32_MAX;
        if (eat(s, "}")) return true;
    }
    s->p = from;
    return false;
}

static const struct regex *repeated(struct parser *s, const struct regex *r)
{
    for (;;) {
        uint32_t min = 0, max = UINT32_MAX;
        if (eat(s, "*")) {
        } else if (eat(s, "+")) {
            min = 1;
        } else if (eat(s, "?")) {
            max = 1;
        } else if (!counted(s, &min, &max)) {
            return r;
        }
        if (min > max) bad(s, "a repetition's bounds are reversed");
        if (min > MAX_REPEAT || (max != UINT32_MAX && max > MAX_REPEAT))
            build_fail(s->b, ERR_LIMIT, "%s: more than %d repetitions", s->where, MAX_REPEAT);
        eat(s, "?"); /* lazy: the same texts */
        struct regex *x = node(s, R_REPEAT, r, NULL);
        x->min = min;
        x->max = max;
        r = x;
    }
}

/* One atom; NULL: a look-ahead. */
static const struct regex *atom(struct parser *s)
{
    bool single;
    struct char_set set = {0};
    uint32_t c = next_char(s);
    switch (c) {
    case '^': return node(s, R_START, NULL, NULL);
    case '$': return node(s, R_END, NULL, NULL);
    case '(': return group(s);
    case '.': return chars(s, regex_any(s->b, false));
    case '[': return chars(s, char_class(s));
    case '*':
    case '+':
    case '?': bad(s, "a repetition of nothing");
    case '\\':
        c = escape(s, &set, &single, false);
        if (!single) return chars(s, set);
        break;
    default: break;
    }
    char_set_add(s->b, &set, c, c);
    return chars(s, set);
}

static const struct regex *sequence(struct parser *s)
{
    const struct regex *r = NULL;
    while (s->p < s->end && *s->p != '|' && *s->p != ')') {
        bool anchor = *s->p == '^', look = s->end - s->p > 2 && s->p[0] == '(' && s->p[1] == '?' &&
                                           (s->p[2] == '=' || s->p[2] == '!');
        const struct regex *a;
        if (!anchor && !look) s->at_front = false;
        a = atom(s);
        if (!a) continue;
        if (a->kind != R_START && a->kind != R_END) a = repeated(s, a);
        r = r ? node(s, R_CAT, r, a) : a;
    }
    return r ? r : node(s, R_EMPTY, NULL, NULL);
}

static const struct regex *alternatives(struct parser *s)
{
    const struct regex *r = sequence(s);
    while (eat(s, "|")) {
        if (s->n_look && s->depth == 0) refuse(s, "look-ahead in one of several alternatives");
        s->at_front = false;
        r = node(s, R_ALT, r, sequence(s));
    }
    return r;
}

/* Whether r can only begin where the text begins. */
static bool anchored(const struct regex *r)
{
    if (r->kind == R_START) return true;
    if (r->kind == R_CAT) return anchored(r->a);
    return false;
}

const struct regex *regex_parse(struct build *b, const char *p, size_t n, const char *where)
{
    struct parser s = {.b = b, .p = p, .end = p + n, .where = where, .at_front = true};
    if (n > MAX_PATTERN)
        build_fail(b, ERR_LIMIT, "%s: an expression longer than %d bytes", where, MAX_PATTERN);
    if (!utf8_valid(p, n)) bad(&s, "not UTF-8");
    const struct regex *body = alternatives(&s);
    if (s.p < s.end) bad(&s, "a ) without (");
    if (s.n_look && !anchored(body)) refuse(&s, "look-ahead without ^ before it");
    struct regex *r = build_alloc(b, 1, sizeof *r);
    *r = *body;
    struct look *looks = build_alloc(b, s.n_look + 1, sizeof *looks);
    memcpy(looks, s.look, s.n_look * sizeof *looks);
    r->looks = looks;
    r->n_look = s.n_look;
    return r;
}

const struct regex *regex_look(const struct regex *r, size_t i, bool *negative)
{
    if (i >= r->n_look) return NULL;
    *negative = r->looks[i].negative;
    return r->looks[i].r;
}

static void add(struct build *b, struct nfa *n, const struct regex *r, uint32_t from, uint32_t to)
{
    uint32_t at;
    build_work(b, 1);
    switch (r->kind) {
    case R_EMPTY: nfa_add_eps(b, n, from, to, NFA_ALWAYS); return;
    case R_START: nfa_add_eps(b, n, from, to, NFA_AT_START); return;
    case R_END: nfa_add_eps(b, n, from, to, NFA_AT_END); return;
    case R_CHARS: nfa_add_chars(b, n, from, &r->set, to); return;
    case R_CAT:
        at = nfa_add_state(b, n, -1);
        add(b, n, r->a, from, at);
        add(b, n, r->b, at, to);
        return;
    case R_ALT:
        add(b, n, r->a, from, to);
        add(b, n, r->b, from, to);
        return;
    case R_REPEAT:
        for (uint32_t i = 0; i < r->min; i++, from = at) add(b, n, r->a, from, at = nfa_add_state(b, n, -1));
        if (r->max == UINT32_MAX) {
            at = nfa_add_state(b, n, -1);
            nfa_add_eps(b, n, from, at, NFA_ALWAYS);
            uint32_t back = nfa_add_state(b, n, -1);
            add(b, n, r->a, at, back);
            nfa_add_eps(b, n, back, at, NFA_ALWAYS);
            nfa_add_eps(b, n, at, to, NFA_ALWAYS);
            return;
        }
        for (uint32_t i = r->min; i < r->max; i++, from = at) {
            nfa_add_eps(b, n, from, to, NFA_ALWAYS);
            add(b, n, r->a, from, at = nfa_add_state(b, n, -1));
        }
        nfa_add_eps(b, n, from, to, NFA_ALWAYS);
        return;
    }
}

void regex_add(struct build *b, struct nfa *n, const struct regex *r, bool whole, uint32_t from, uint32_t to)
{
    struct char_set any = regex_any(b, true);
    if (whole) {
        add(b, n, r, from, to);
        return;
    }
    /* Any text, then r, then any text. Where r must begin at the beginning, nothing comes before it. */
    uint32_t before = nfa_add_state(b, n, -1), in = nfa_add_state(b, n, -1), after = nfa_add_state(b, n, -1);
    nfa_add_eps(b, n, from, in, NFA_ALWAYS);
    if (!anchored(r)) {
        nfa_add_chars(b, n, from, &any, before);
        nfa_add_chars(b, n, before, &any, before);
        nfa_add_eps(b, n, before, in, NFA_ALWAYS);
    }
    add(b, n, r, in, after);
    uint32_t tail = nfa_add_state(b, n, -1);
    nfa_add_eps(b, n, after, tail, NFA_ALWAYS);
    nfa_add_chars(b, n, tail, &any, tail);
    nfa_add_eps(b, n, tail, to, NFA_ALWAYS);
}
