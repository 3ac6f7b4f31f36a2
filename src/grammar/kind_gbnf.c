/* Constraint kind "gbnf": the notation of llama.cpp's grammars. Each rule becomes an automaton whose exits
 * are calls of other rules; the text begins with the rule "root".
 *
 *   root ::= "yes" | item ("," ws item)* ; names, "text", [a-z] and [^..] classes, ., (..), * + ? {m,n}, #
 * comment
 *
 * What would call for ever without reading is refused (rules.h). */
#include <string.h>

#include "base/utf8.h"
#include "grammar/grammar_int.h"
#include "grammar/names.h"
#include "grammar/nfa.h"
#include "grammar/regex.h"
#include "grammar/rules.h"

enum { MAX_DEPTH = 200, MAX_REPEAT = 10000 };

struct gbnf {
    struct build *b;
    struct rules *rules;
    const char *text, *p, *end;
    struct names names;
    int depth;
};

_Noreturn static void bad(struct gbnf *g, const char *what)
{
    size_t line = 1;
    for (const char *p = g->text; p < g->p && p < g->end; p++) line += *p == '\n';
    build_fail(g->b, ERR_ARG, "gbnf: line %zu: %s", line, what);
}

static void blanks(struct gbnf *g, bool lines)
{
    while (g->p < g->end) {
        if (*g->p == ' ' || *g->p == '\t' || (lines && (*g->p == '\n' || *g->p == '\r')))
            g->p++;
        else if (*g->p == '#')
            while (g->p < g->end && *g->p != '\n') g->p++;
        else
            break;
    }
}

static bool eat(struct gbnf *g, char c)
{
    if (g->p >= g->end || *g->p != c) return false;
    g->p++;
    return true;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static size_t name_length(const struct gbnf *g)
{
    size_t n = 0;
    while (g->p + n < g->end && is_name(g->p[n])) n++;
    return n;
}

static uint32_t hex(struct gbnf *g, int digits)
{
    uint32_t v = 0;
    for (int i = 0; i < digits; i++, g->p++) {
        const char *at = g->p < g->end && *g->p ? strchr("0123456789abcdef", *g->p | 0x20) : NULL;
        if (!at) bad(g, "an escape wants hexadecimal digits");
        v = v * 16 + (uint32_t)(at - "0123456789abcdef");
    }
    return v;
}

/* One character of a text or class. */
static uint32_t character(struct gbnf *g)
{
    uint32_t c;
    g->p += utf8_decode(g->p, (size_t)(g->end - g->p), &c);
    if (c != '\\') return c;
    if (g->p >= g->end) bad(g, "the grammar ends in a backslash");
    switch (*g->p++) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'x': return hex(g, 2);
    case 'u': return hex(g, 4);
    case 'U': c = hex(g, 8); break;
    default: return (uint8_t)g->p[-1];
    }
    if (c > 0x10FFFF) bad(g, "an escape is no character");
    return c;
}

static struct char_set class_of(struct gbnf *g)
{
    struct char_set s = {0};
    bool negate = eat(g, '^');
    while (g->p < g->end && *g->p != ']') {
        uint32_t lo = character(g), hi = lo;
        if (g->end - g->p > 1 && g->p[0] == '-' && g->p[1] != ']') {
            g->p++;
            hi = character(g);
        }
        if (hi < lo) bad(g, "a range of characters runs backwards");
        char_set_add(g->b, &s, lo, hi);
    }
    if (!eat(g, ']')) bad(g, "a [ is not closed");
    char_set_normal(&s);
    return negate ? char_set_not(g->b, &s) : s;
}

static void alternatives(struct gbnf *g, uint32_t r, uint32_t from, uint32_t to, bool in_group);

/* What stands at p once, between two states. */
static void symbol(struct gbnf *g, uint32_t r, uint32_t from, uint32_t to)
{
    struct build *b = g->b;
    struct char_set s = {0};
    if (eat(g, '"')) {
        while (g->p < g->end && *g->p != '"') {
            uint32_t c = character(g), next = nfa_add_state(b, rules_nfa(g->rules, r), -1);
            s.n = 0;
            char_set_add(b, &s, c, c);
            nfa_add_chars(b, rules_nfa(g->rules, r), from, &s, next);
            from = next;
        }
        if (!eat(g, '"')) bad(g, "a text is not closed");
        nfa_add_eps(b, rules_nfa(g->rules, r), from, to, NFA_ALWAYS);
    } else if (eat(g, '[')) {
        s = class_of(g);
        nfa_add_chars(b, rules_nfa(g->rules, r), from, &s, to);
    } else if (eat(g, '.')) {
        s = regex_any(b, true);
        nfa_add_chars(b, rules_nfa(g->rules, r), from, &s, to);
    } else if (eat(g, '(')) {
        if (++g->depth > MAX_DEPTH) build_fail(b, ERR_LIMIT, "gbnf: groups nest deeper than %d", MAX_DEPTH);
        alternatives(g, r, from, to, true);
        g->depth--;
        if (!eat(g, ')')) bad(g, "a ( is not closed");
    } else {
        size_t n = name_length(g);
        if (!n) bad(g, "want a text, a class, a name or a group");
        rules_call(g->rules, r, from, names_get(&g->names, g->p, n)->rule, to);
        g->p += n;
    }
}

static uint32_t number(struct gbnf *g)
{
    uint32_t v = 0;
    if (g->p >= g->end || *g->p < '0' || *g->p > '9') bad(g, "want a number of repetitions");
    for (; g->p < g->end && *g->p >= '0' && *g->p <= '9'; g->p++)
        v = MIN(v * 10 + (uint32_t)(*g->p - '0'), 1000000u);
    if (v > MAX_REPEAT) build_fail(g->b, ERR_LIMIT, "gbnf: more than %d repetitions", MAX_REPEAT);
    return v;
}

static bool repetition(struct gbnf *g, uint32_t *min, uint32_t *max)
{
    *min = 0;
    *max = UINT32_MAX;
    if (eat(g, '*')) return true;
    if (eat(g, '+')) return *min = 1, true;
    if (eat(g, '?')) return *max = 1, true;
    if (!eat(g, '{')) return false;
    *min = number(g);
    blanks(g, false);
    if (eat(g, ',')) {
        blanks(g, false);
        if (g->p < g->end && *g->p != '}') *max = number(g);
        blanks(g, false);
    } else {
        *max = *min;
    }
    if (!eat(g, '}') || *min > *max) bad(g, "a repetition is not {m}, {m,} or {m,n}");
    return true;
}

/* A symbol with what repeats it: the text of the symbol is read once for each copy. */
static uint32_t item(struct gbnf *g, uint32_t r, uint32_t from)
{
    struct build *b = g->b;
    struct nfa *nfa = rules_nfa(g->rules, r);
    const char *text = g->p;
    uint32_t first = nfa_add_state(b, nfa, -1), last = nfa_add_state(b, nfa, -1), min, max;
    symbol(g, r, first, last);
    const char *behind = g->p;
    blanks(g, g->depth > 0);
    if (!repetition(g, &min, &max)) {
        g->p = behind;
        min = max = 1;
    }
    behind = g->p;
    uint32_t end = nfa_add_state(b, nfa, -1), n = max == UINT32_MAX ? MAX(min, 1u) : max;
    for (uint32_t i = 0; i < n; i++) {
        if (i) {
            first = nfa_add_state(b, nfa, -1);
            last = nfa_add_state(b, nfa, -1);
            g->p = text;
            symbol(g, r, first, last);
        }
        if (i >= min) nfa_add_eps(b, nfa, from, end, NFA_ALWAYS);
        nfa_add_eps(b, nfa, from, first, NFA_ALWAYS);
        from = last;
    }
    if (max == UINT32_MAX) nfa_add_eps(b, nfa, last, first, NFA_ALWAYS);
    nfa_add_eps(b, nfa, from, end, NFA_ALWAYS);
    g->p = behind;
    return end;
}

static bool at_definition(struct gbnf *g)
{
    size_t n = name_length(g);
    const char *p = g->p + n;
    while (n && p < g->end && (*p == ' ' || *p == '\t')) p++;
    return n && g->end - p >= 3 && memcmp(p, "::=", 3) == 0;
}

static void alternatives(struct gbnf *g, uint32_t r, uint32_t from, uint32_t to, bool in_group)
{
    do {
        uint32_t at = nfa_add_state(g->b, rules_nfa(g->rules, r), -1);
        nfa_add_eps(g->b, rules_nfa(g->rules, r), from, at, NFA_ALWAYS);
        for (;;) {
            blanks(g, in_group);
            if (g->p >= g->end || *g->p == '|' || *g->p == ')' || *g->p == '\n' || *g->p == '\r') break;
            at = item(g, r, at);
        }
        nfa_add_eps(g->b, rules_nfa(g->rules, r), at, to, NFA_ALWAYS);
        const char *line = g->p; /* an alternative may follow on the next line */
        blanks(g, true);
        if (g->p < g->end && *g->p != '|' && !in_group) g->p = line;
    } while (eat(g, '|') && (blanks(g, true), true));
}

static void read_rules(struct gbnf *g)
{
    for (blanks(g, true); g->p < g->end; blanks(g, true)) {
        if (!at_definition(g)) bad(g, "want name ::=");
        struct name *x = names_get(&g->names, g->p, name_length(g));
        if (x->defined) bad(g, "a rule is defined twice");
        x->defined = true;
        uint32_t r = x->rule;
        g->p = (const char *)memchr(g->p, '=', (size_t)(g->end - g->p)) + 1;
        blanks(g, true);
        alternatives(g, r, RULE_FROM, RULE_TO, false);
        blanks(g, false);
        if (g->p < g->end && *g->p != '\n' && *g->p != '\r') bad(g, "want the end of the line or |");
    }
}

uint32_t gbnf_read(struct rules *rules, const char *text, size_t n)
{
    struct gbnf *g = build_alloc(rules->b, 1, sizeof *g);
    *g = (struct gbnf){.b = rules->b,
                       .rules = rules,
                       .text = text,
                       .p = text,
                       .end = text + n,
                       .names = {.rules = rules, .kind = "gbnf"}};
    uint32_t root = names_get(&g->names, "root", 4)->rule;
    read_rules(g);
    names_check(&g->names);
    return root;
}

static void compile(struct build *b, struct grammar *g, const char *text, size_t n)
{
    struct rules r = {.b = b, .kind = "gbnf"};
    g->rule = rules_finish(&r, gbnf_read(&r, text, n));
}

const struct grammar_kind grammar_gbnf = {"gbnf", compile};
