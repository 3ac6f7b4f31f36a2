/* Constraint kind "lark": grammars in the notation of Lark (lark-parser.readthedocs.io, "Grammar Reference"),
 * as far as they say which texts there are.
 *
 *   start: item ("," item)*           a rule; terminals are in capitals
 *   item: NUMBER | "yes"i | /[a-z]+/ -> word
 *   WORD: "a".."z" ~ 2..5             ranges, ? * + ~n ~n..m, (..), [..] for what may be left out
 *   %import common.NUMBER             and the other names below
 *   %ignore " "                       may stand before any terminal and at the end
 *   %json {"type": "object"}          in a rule: a value under a schema, as llguidance has it
 *
 * There is no lexer: a text is in the language if some way of cutting it into terminals is. Priorities,
 * aliases and the marks ?, ! and _ before names shape Lark's trees only. Templates, %declare, %override and
 * %extend are refused, and so is left recursion (rules.h). */
#include <string.h>

#include "base/utf8.h"
#include "grammar/names.h"
#include "grammar/regex.h"
#include "grammar/rules.h"
#include "grammar/schema.h"

enum { MAX_DEPTH = 200, MAX_REPEAT = 10000 };

struct lark {
    struct build *b;
    struct grammar *g;
    struct rules *rules;
    const char *text, *p, *end;
    struct names names;
    uint32_t ignored; /* the rule of what %ignore says, any number of times */
    bool terminal;    /* within one, where nothing is ignored */
    int depth;
};

// clang-format off
static const struct { const char *name, *regex; } common[] = {
    {"DIGIT", "[0-9]"}, {"HEXDIGIT", "[0-9a-fA-F]"}, {"INT", "[0-9]+"}, {"SIGNED_INT", "[+-]?[0-9]+"},
    {"DECIMAL", "[0-9]+\\.[0-9]*|\\.[0-9]+"}, {"_EXP", "[eE][+-]?[0-9]+"},
    {"FLOAT", "[0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?"},
    {"SIGNED_FLOAT", "[+-]?([0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)"},
    {"NUMBER", "[0-9]+([eE][+-]?[0-9]+)?|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?"},
    {"SIGNED_NUMBER", "[+-]?([0-9]+([eE][+-]?[0-9]+)?|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)"},
    {"ESCAPED_STRING", "\"([^\"\\\\\\n]|\\\\[^\\n])*\""},
    {"LCASE_LETTER", "[a-z]"}, {"UCASE_LETTER", "[A-Z]"}, {"LETTER", "[A-Za-z]"}, {"WORD", "[A-Za-z]+"},
    {"CNAME", "[_A-Za-z][_A-Za-z0-9]*"}, {"WS_INLINE", "[ \\t]+"}, {"WS", "[ \\t\\f\\r\\n]+"}, {"CR", "\\r"}, {"LF", "\\n"},
    {"NEWLINE", "(\\r?\\n)+"}, {"SH_COMMENT", "#[^\\n]*"}, {"CPP_COMMENT", "\\/\\/[^\\n]*"},
};
// clang-format on

_Noreturn static void bad(struct lark *g, status code, const char *what)
{
    size_t line = 1;
    for (const char *p = g->text; p < g->p && p < g->end; p++) line += *p == '\n';
    build_fail(g->b, code, "lark: line %zu: %s", line, what);
}

static bool at(const struct lark *g, const char *what)
{
    size_t n = strlen(what);
    return (size_t)(g->end - g->p) >= n && memcmp(g->p, what, n) == 0;
}

static bool eat(struct lark *g, const char *what)
{
    if (!at(g, what)) return false;
    g->p += strlen(what);
    return true;
}

static void blanks(struct lark *g, bool lines)
{
    while (g->p < g->end) {
        if (*g->p == ' ' || *g->p == '\t' || *g->p == '\r' || (lines && *g->p == '\n'))
            g->p++;
        else if (at(g, "//") || *g->p == '#')
            while (g->p < g->end && *g->p != '\n') g->p++;
        else
            break;
    }
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static size_t word_length(const struct lark *g)
{
    size_t n = 0;
    while (g->p + n < g->end && is_word(g->p[n])) n++;
    return n;
}

static bool is_terminal(const char *name, size_t n)
{
    while (n && *name == '_') name++, n--;
    return n && *name >= 'A' && *name <= 'Z';
}

static uint32_t state(struct lark *g, uint32_t r)
{
    return nfa_add_state(g->b, rules_nfa(g->rules, r), -1);
}

static void eps(struct lark *g, uint32_t r, uint32_t from, uint32_t to)
{
    nfa_add_eps(g->b, rules_nfa(g->rules, r), from, to, NFA_ALWAYS);
}

static void add_regex(struct lark *g, uint32_t r, uint32_t from, const char *p, size_t n, uint32_t to)
{
    nfa_add_dfa(g->b, rules_nfa(g->rules, r), from, regex_dfa(g->b, p, n, "lark"), &to, 1);
}

/* ---- what stands in a rule --------------------------------------------------------------------------- */

static uint32_t hex(struct lark *g, int digits)
{
    uint32_t v = 0;
    for (int i = 0; i < digits; i++, g->p++) {
        const char *digit = g->p < g->end && *g->p ? strchr("0123456789abcdef", *g->p | 0x20) : NULL;
        if (!digit) bad(g, ERR_ARG, "an escape wants hexadecimal digits");
        v = v * 16 + (uint32_t)(digit - "0123456789abcdef");
    }
    return v;
}

static uint32_t character(struct lark *g)
{
    uint32_t c;
    if (g->p >= g->end) bad(g, ERR_ARG, "the grammar ends within a text");
    g->p += utf8_decode(g->p, (size_t)(g->end - g->p), &c);
    if (c != '\\') return c;
    if (g->p >= g->end) bad(g, ERR_ARG, "the grammar ends in a backslash");
    switch (*g->p++) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'f': return '\f';
    case 'x': return hex(g, 2);
    case 'u': return hex(g, 4);
    default: return (uint8_t)g->p[-1];
    }
}

static bool is_letter(uint32_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static void add_range(struct lark *g, uint32_t r, uint32_t from, uint32_t lo, uint32_t to)
{
    struct char_set s = {0};
    g->p += 3; /* .." */
    uint32_t hi = character(g);
    if (!eat(g, "\"") || hi < lo) bad(g, ERR_ARG, "a range of characters is \"a\"..\"z\"");
    char_set_add(g->b, &s, lo, hi);
    nfa_add_chars(g->b, rules_nfa(g->rules, r), from, &s, to);
}

/* Behind the opening mark. */
static void add_text(struct lark *g, uint32_t r, uint32_t from, uint32_t to)
{
    struct nfa *nfa = rules_nfa(g->rules, r);
    const char *begin = g->p;
    size_t n = 0;
    uint32_t c = 0;
    for (; g->p < g->end && *g->p != '"' && *g->p != '\n'; n++) c = character(g);
    if (!eat(g, "\"")) bad(g, ERR_ARG, "a text is not closed");
    if (n == 1 && at(g, "..\"")) {
        add_range(g, r, from, c, to);
        return;
    }
    const bool any_case = at(g, "i") && !(g->end - g->p > 1 && is_word(g->p[1]));
    const char *behind = g->p + any_case;
    g->p = begin;
    while (*g->p != '"') {
        struct char_set s = {0};
        uint32_t next = state(g, r);
        c = character(g);
        char_set_add(g->b, &s, c, c);
        if (any_case && is_letter(c)) char_set_add(g->b, &s, c ^ 0x20, c ^ 0x20);
        char_set_normal(&s);
        nfa_add_chars(g->b, nfa, from, &s, next);
        from = next;
    }
    eps(g, r, from, to);
    g->p = behind;
}

/* Behind the opening slash. */
static void add_expression(struct lark *g, uint32_t r, uint32_t from, uint32_t to)
{
    const char *begin = g->p;
    while (g->p < g->end && *g->p != '/' && *g->p != '\n') g->p += *g->p == '\\' && g->end - g->p > 1 ? 2 : 1;
    size_t n = (size_t)(g->p - begin);
    if (!eat(g, "/")) bad(g, ERR_ARG, "an expression is not closed");
    if (g->p < g->end && is_word(*g->p) && *g->p != 'u')
        bad(g, ERR_UNSUPPORTED, "flags of expressions are not supported");
    eat(g, "u");
    add_regex(g, r, from, begin, n, to);
}

static void add_json(struct lark *g, uint32_t r, uint32_t from, uint32_t to)
{
    json_error_t je;
    blanks(g, true);
    json_t *j = json_loadb(g->p, (size_t)(g->end - g->p), JSON_DISABLE_EOF_CHECK, &je);
    if (!j) bad(g, ERR_ARG, "%json wants a JSON schema");
    g->p += je.position;
    if (!g->b->owned) g->b->owned = json_array();
    if (json_array_append_new(g->b->owned, j) != 0) build_fail(g->b, ERR_MEMORY, "out of memory");
    const json_t *outer = g->b->root; /* where places of messages are named */
    g->b->root = j;
    const struct node *node = schema_compile(schema_new(g->b, g->g, j), j);
    g->b->root = outer;
    rules_call(g->rules, r, from, rules_add_node(g->rules, node), to);
}

static void alternatives(struct lark *g, uint32_t r, uint32_t from, uint32_t to, bool in_group);

static void group(struct lark *g, uint32_t r, uint32_t from, uint32_t to, const char *close)
{
    if (++g->depth > MAX_DEPTH) build_fail(g->b, ERR_LIMIT, "lark: groups nest deeper than %d", MAX_DEPTH);
    alternatives(g, r, from, to, true);
    g->depth--;
    if (!eat(g, close)) bad(g, ERR_ARG, "a group is not closed");
}

/* Behind what may be ignored here. */
static uint32_t after_ignored(struct lark *g, uint32_t r, uint32_t from)
{
    if (g->terminal) return from;
    uint32_t next = state(g, r);
    rules_call(g->rules, r, from, g->ignored, next);
    return next;
}

static void symbol(struct lark *g, uint32_t r, uint32_t from, uint32_t to)
{
    size_t n = word_length(g);
    if (eat(g, "\"")) {
        add_text(g, r, after_ignored(g, r, from), to);
    } else if (eat(g, "/")) {
        add_expression(g, r, after_ignored(g, r, from), to);
    } else if (eat(g, "(")) {
        group(g, r, from, to, ")");
    } else if (eat(g, "[")) {
        group(g, r, from, to, "]");
        eps(g, r, from, to);
    } else if (!g->terminal && eat(g, "%json")) {
        add_json(g, r, after_ignored(g, r, from), to);
    } else if (n) {
        const char *text = g->p;
        bool terminal = is_terminal(text, n);
        g->p += n;
        if (at(g, "{")) bad(g, ERR_UNSUPPORTED, "templates are not supported");
        if (g->terminal && !terminal) bad(g, ERR_ARG, "a terminal can only be made of terminals");
        rules_call(g->rules, r, terminal ? after_ignored(g, r, from) : from,
                   names_get(&g->names, text, n)->rule, to);
    } else {
        bad(g, ERR_ARG, "want a text, an expression, a name or a group");
    }
}

static uint32_t number(struct lark *g)
{
    uint32_t v = 0;
    blanks(g, false);
    if (g->p >= g->end || *g->p < '0' || *g->p > '9') bad(g, ERR_ARG, "want a number of repetitions");
    for (; g->p < g->end && *g->p >= '0' && *g->p <= '9'; g->p++)
        v = MIN(v * 10 + (uint32_t)(*g->p - '0'), 1000000u);
    if (v > MAX_REPEAT) build_fail(g->b, ERR_LIMIT, "lark: more than %d repetitions", MAX_REPEAT);
    return v;
}

static void repetition(struct lark *g, uint32_t *min, uint32_t *max)
{
    const char *behind = g->p;
    blanks(g, false);
    *min = *max = 1;
    if (eat(g, "?")) {
        *min = 0;
    } else if (eat(g, "*")) {
        *min = 0;
        *max = UINT32_MAX;
    } else if (eat(g, "+")) {
        *max = UINT32_MAX;
    } else if (eat(g, "~")) {
        *min = *max = number(g);
        blanks(g, false);
        if (eat(g, "..")) *max = number(g);
        if (*min > *max) bad(g, ERR_ARG, "a repetition runs backwards");
    } else {
        g->p = behind;
    }
}

/* A symbol with what repeats it: the text of the symbol is read once for each copy. */
static uint32_t item(struct lark *g, uint32_t r, uint32_t from)
{
    const char *text = g->p;
    uint32_t first = state(g, r), last = state(g, r), end = state(g, r), min, max;
    symbol(g, r, first, last);
    repetition(g, &min, &max);
    const char *behind = g->p;
    uint32_t n = max == UINT32_MAX ? MAX(min, 1u) : max;
    for (uint32_t i = 0; i < n; i++) {
        if (i) {
            first = state(g, r);
            last = state(g, r);
            g->p = text;
            symbol(g, r, first, last);
        }
        if (i >= min) eps(g, r, from, end);
        eps(g, r, from, first);
        from = last;
    }
    if (max == UINT32_MAX) eps(g, r, last, first);
    eps(g, r, from, end);
    g->p = behind;
    return end;
}

static bool at_end(const struct lark *g, bool in_group)
{
    return g->p >= g->end || *g->p == '|' || *g->p == '\n' || (in_group && (*g->p == ')' || *g->p == ']')) ||
           at(g, "->");
}

static void alternatives(struct lark *g, uint32_t r, uint32_t from, uint32_t to, bool in_group)
{
    do {
        uint32_t here = from;
        for (blanks(g, in_group); !at_end(g, in_group); blanks(g, in_group)) here = item(g, r, here);
        eps(g, r, here, to);
        if (eat(g, "->")) {
            blanks(g, false);
            g->p += word_length(g);
        }
        const char *line = g->p; /* an alternative may follow on the next line */
        blanks(g, true);
        if (g->p < g->end && *g->p != '|' && !in_group) g->p = line;
    } while (eat(g, "|") && (blanks(g, true), true));
}

/* ---- statements -------------------------------------------------------------------------------------- */

static void import_one(struct lark *g, const char *name, size_t n, const char *as, size_t n_as)
{
    size_t i = 0;
    while (i < COUNT_OF(common) && (strlen(common[i].name) != n || memcmp(common[i].name, name, n) != 0)) i++;
    if (i == COUNT_OF(common)) bad(g, ERR_UNSUPPORTED, "%import: this name of common is not known here");
    struct name *x = names_get(&g->names, as, n_as);
    if (x->defined) bad(g, ERR_ARG, "a name is defined twice");
    x->defined = true;
    add_regex(g, x->rule, RULE_FROM, common[i].regex, strlen(common[i].regex), RULE_TO);
}

/* common.NAME, common.NAME -> OTHER, common (NAME, NAME) */
static void import(struct lark *g)
{
    blanks(g, false);
    if (!eat(g, "common")) bad(g, ERR_UNSUPPORTED, "%import: only from common");
    bool many = !eat(g, ".");
    blanks(g, false);
    if (many && !eat(g, "(")) bad(g, ERR_ARG, "%import common.NAME or common (NAME, ..)");
    do {
        blanks(g, many);
        const char *name = g->p, *as = name;
        size_t n = word_length(g), n_as = n;
        if (!n) bad(g, ERR_ARG, "%import wants a name");
        g->p += n;
        blanks(g, false);
        if (!many && eat(g, "->")) {
            blanks(g, false);
            as = g->p;
            n_as = word_length(g);
            g->p += n_as;
        }
        import_one(g, name, n, as, n_as);
        blanks(g, many);
    } while (many && eat(g, ","));
    if (many && !eat(g, ")")) bad(g, ERR_ARG, "%import: a ( is not closed");
}

static void definition(struct lark *g)
{
    while (g->p < g->end && (*g->p == '?' || *g->p == '!')) g->p++;
    const char *text = g->p;
    size_t n = word_length(g);
    if (!n) bad(g, ERR_ARG, "want a rule, a terminal or a % statement");
    g->p += n;
    if (at(g, "{")) bad(g, ERR_UNSUPPORTED, "templates are not supported");
    if (eat(g, "."))
        while (g->p < g->end && (is_word(*g->p) || *g->p == '-')) g->p++; /* a priority */
    blanks(g, false);
    if (!eat(g, ":")) bad(g, ERR_ARG, "want : behind the name of a rule");
    struct name *x = names_get(&g->names, text, n);
    if (x->defined) bad(g, ERR_ARG, "a name is defined twice");
    x->defined = true;
    g->terminal = is_terminal(text, n);
    alternatives(g, x->rule, RULE_FROM, RULE_TO, false);
}

static void read_statements(struct lark *g)
{
    for (blanks(g, true); g->p < g->end; blanks(g, true)) {
        if (eat(g, "%ignore")) {
            g->terminal = true;
            alternatives(g, g->ignored, RULE_FROM, RULE_FROM, false);
        } else if (eat(g, "%import")) {
            import(g);
        } else if (at(g, "%")) {
            bad(g, ERR_UNSUPPORTED, "only %import, %ignore and %json are supported");
        } else {
            definition(g);
        }
        blanks(g, false);
        if (g->p < g->end && *g->p != '\n') bad(g, ERR_ARG, "want the end of the line or |");
    }
}

uint32_t lark_read(struct rules *rules, struct grammar *grammar, const char *text, size_t n)
{
    struct lark *g = build_alloc(rules->b, 1, sizeof *g);
    *g = (struct lark){.b = rules->b,
                       .g = grammar,
                       .rules = rules,
                       .text = text,
                       .p = text,
                       .end = text + n,
                       .names = {.rules = rules, .kind = "lark"}};
    uint32_t root = rules_add(rules, "start", 5), behind;
    g->ignored = rules_add(rules, "%ignore", 7);
    eps(g, g->ignored, RULE_FROM, RULE_TO);
    uint32_t start = names_get(&g->names, "start", 5)->rule;
    read_statements(g);
    names_check(&g->names);
    behind = state(g, root);
    rules_call(rules, root, RULE_FROM, start, behind);
    rules_call(rules, root, behind, g->ignored, RULE_TO);
    return root;
}

static void compile(struct build *b, struct grammar *g, const char *text, size_t n)
{
    struct rules r = {.b = b, .kind = "lark"};
    g->rule = rules_finish(&r, lark_read(&r, g, text, n));
}

const struct grammar_kind grammar_lark = {"lark", compile};
