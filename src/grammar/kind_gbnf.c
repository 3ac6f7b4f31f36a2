/* Constraint kind "gbnf": the notation of llama.cpp's grammars. Each rule becomes an automaton whose exits
 * are calls of other rules; the text begins with the rule "root".
 *
 *   root ::= "yes" | item ("," ws item)* ; names, "text", [a-z] and [^..] classes, ., (..), * + ? {m,n}, #
 * comment
 *
 * Refused is what would call for ever without reading: left recursion, and repeating a recursive rule that
 * may be empty. */
#include <string.h>

#include "base/utf8.h"
#include "grammar/grammar_int.h"
#include "grammar/nfa.h"
#include "grammar/regex.h"

enum { MAX_RULES = 4096, MAX_DEPTH = 200, MAX_REPEAT = 10000, MAX_INLINE = 2000 };

struct call { /* exit number - 1: the rule called, and where its caller goes on */
    uint32_t rule, back;
};
struct rule {
    const char *name;
    size_t n;
    bool defined, nullable, possible, recursive, inlined;
    struct nfa nfa;
    struct call *call;
    size_t n_call, cap_call;
    struct shape *shape;
    uint32_t *back; /* by call: the state of the automaton */
    struct rule_exits *exits;
    size_t n_exits, cap_exits;
    uint8_t visit; /* 1: on the way, 2: done */
};
struct gbnf {
    struct build *b;
    const char *text, *p, *end;
    struct rule **rule;
    size_t n_rule, cap_rule;
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

static uint32_t rule_number(struct gbnf *g, const char *name, size_t n)
{
    for (size_t i = 0; i < g->n_rule; i++)
        if (g->rule[i]->n == n && memcmp(g->rule[i]->name, name, n) == 0) return (uint32_t)i;
    build_work(g->b, g->n_rule + 10);
    if (g->n_rule == MAX_RULES) build_fail(g->b, ERR_LIMIT, "gbnf: more than %d rules", MAX_RULES);
    g->rule = build_grow(g->b, g->rule, g->n_rule, &g->cap_rule, sizeof *g->rule);
    g->rule[g->n_rule] = build_alloc(g->b, 1, sizeof **g->rule);
    g->rule[g->n_rule]->name = name;
    g->rule[g->n_rule]->n = n;
    return (uint32_t)g->n_rule++;
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

static void alternatives(struct gbnf *g, struct rule *r, uint32_t from, uint32_t to, bool in_group);

/* What stands at p once, between two states. */
static void symbol(struct gbnf *g, struct rule *r, uint32_t from, uint32_t to)
{
    struct build *b = g->b;
    struct char_set s = {0};
    if (eat(g, '"')) {
        while (g->p < g->end && *g->p != '"') {
            uint32_t c = character(g), next = nfa_add_state(b, &r->nfa, -1);
            s.n = 0;
            char_set_add(b, &s, c, c);
            nfa_add_chars(b, &r->nfa, from, &s, next);
            from = next;
        }
        if (!eat(g, '"')) bad(g, "a text is not closed");
        nfa_add_eps(b, &r->nfa, from, to, NFA_ALWAYS);
    } else if (eat(g, '[')) {
        s = class_of(g);
        nfa_add_chars(b, &r->nfa, from, &s, to);
    } else if (eat(g, '.')) {
        s = regex_any(b, true);
        nfa_add_chars(b, &r->nfa, from, &s, to);
    } else if (eat(g, '(')) {
        if (++g->depth > MAX_DEPTH) build_fail(b, ERR_LIMIT, "gbnf: groups nest deeper than %d", MAX_DEPTH);
        alternatives(g, r, from, to, true);
        g->depth--;
        if (!eat(g, ')')) bad(g, "a ( is not closed");
    } else {
        size_t n = name_length(g);
        if (!n) bad(g, "want a text, a class, a name or a group");
        uint32_t number = rule_number(g, g->p, n);
        g->p += n;
        r->call = build_grow(b, r->call, r->n_call, &r->cap_call, sizeof *r->call);
        r->call[r->n_call++] = (struct call){number, to};
        nfa_add_eps(b, &r->nfa, from, nfa_add_state(b, &r->nfa, (int32_t)r->n_call), NFA_ALWAYS);
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
static uint32_t item(struct gbnf *g, struct rule *r, uint32_t from)
{
    struct build *b = g->b;
    const char *text = g->p;
    struct rule scratch = {.nfa = {0}};
    uint32_t s0 = nfa_add_state(b, &scratch.nfa, -1), s1 = nfa_add_state(b, &scratch.nfa, -1), min, max, at;
    symbol(g, &scratch, s0, s1); /* only to find its end */
    const char *behind = g->p;
    blanks(g, g->depth > 0);
    if (!repetition(g, &min, &max)) {
        g->p = behind;
        min = max = 1;
    }
    behind = g->p;
    for (uint32_t i = 0; i < min; i++, from = at) {
        g->p = text;
        symbol(g, r, from, at = nfa_add_state(b, &r->nfa, -1));
    }
    uint32_t end = nfa_add_state(b, &r->nfa, -1);
    if (max == UINT32_MAX) {
        uint32_t loop = nfa_add_state(b, &r->nfa, -1);
        nfa_add_eps(b, &r->nfa, from, loop, NFA_ALWAYS);
        g->p = text;
        symbol(g, r, loop, at = nfa_add_state(b, &r->nfa, -1));
        nfa_add_eps(b, &r->nfa, at, loop, NFA_ALWAYS);
        from = loop;
    } else {
        for (uint32_t i = min; i < max; i++, from = at) {
            nfa_add_eps(b, &r->nfa, from, end, NFA_ALWAYS);
            g->p = text;
            symbol(g, r, from, at = nfa_add_state(b, &r->nfa, -1));
        }
    }
    nfa_add_eps(b, &r->nfa, from, end, NFA_ALWAYS);
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

static void alternatives(struct gbnf *g, struct rule *r, uint32_t from, uint32_t to, bool in_group)
{
    do {
        uint32_t at = nfa_add_state(g->b, &r->nfa, -1);
        nfa_add_eps(g->b, &r->nfa, from, at, NFA_ALWAYS);
        for (;;) {
            blanks(g, in_group);
            if (g->p >= g->end || *g->p == '|' || *g->p == ')' || *g->p == '\n' || *g->p == '\r') break;
            at = item(g, r, at);
        }
        nfa_add_eps(g->b, &r->nfa, at, to, NFA_ALWAYS);
        const char *line = g->p; /* an alternative may follow on the next line */
        blanks(g, true);
        if (g->p < g->end && *g->p != '|' && !in_group) g->p = line;
    } while (eat(g, '|') && (blanks(g, true), true));
}

static void read_rules(struct gbnf *g)
{
    for (blanks(g, true); g->p < g->end; blanks(g, true)) {
        if (!at_definition(g)) bad(g, "want name ::=");
        struct rule *r = g->rule[rule_number(g, g->p, name_length(g))];
        g->p = (const char *)memchr(g->p, '=', (size_t)(g->end - g->p)) + 1;
        if (r->defined) bad(g, "a rule is defined twice");
        r->defined = true;
        blanks(g, true);
        uint32_t from = nfa_add_state(g->b, &r->nfa, -1), to = nfa_add_state(g->b, &r->nfa, 0);
        alternatives(g, r, from, to, false);
        blanks(g, false);
        if (g->p < g->end && *g->p != '\n' && *g->p != '\r') bad(g, "want the end of the line or |");
    }
}

static int32_t merge_exits(void *ctx, const int32_t *exit, size_t n)
{
    struct {
        struct gbnf *g;
        struct rule *r;
    } *x = ctx;
    struct rule *r = x->r;
    struct rule_exits *e;
    r->exits = build_grow(x->g->b, r->exits, r->n_exits, &r->cap_exits, sizeof *r->exits);
    e = &r->exits[r->n_exits];
    struct rule_exit *list = build_alloc(x->g->b, n, sizeof *list);
    *e = (struct rule_exits){.e = list, .n = n};
    for (size_t i = 0; i < n; i++)
        list[i].back = (uint32_t)exit[i]; /* calls by number until all rules are there */
    return (int32_t)r->n_exits++;
}

/* Whether rule `to` can be reached from rule `from` by calls. */
static bool calls(struct gbnf *g, uint32_t from, uint32_t to, uint8_t *seen)
{
    const struct rule *r = g->rule[from];
    build_work(g->b, r->n_call + 1);
    seen[from] = 1;
    for (size_t i = 0; i < r->n_call; i++) {
        uint32_t next = r->call[i].rule;
        if (next == to || (!seen[next] && calls(g, next, to, seen))) return true;
    }
    return false;
}

/* Put the automata of rules that are not recursive in place of their calls: most of what a grammar says is
 * then read without a stack. Callees first. */
static void inline_calls(struct gbnf *g, struct rule *r)
{
    if (r->inlined) return;
    r->inlined = true;
    for (size_t i = 0, n = r->n_call; i < n; i++) inline_calls(g, g->rule[r->call[i].rule]);
    for (uint32_t q = 0, n = (uint32_t)r->nfa.n_state; q < n; q++) {
        int32_t exit = r->nfa.state[q].exit;
        if (exit <= 0) continue;
        struct call call = r->call[exit - 1];
        const struct rule *callee = g->rule[call.rule];
        uint32_t shift = (uint32_t)r->nfa.n_state;
        if (callee->recursive || callee->nfa.n_state > MAX_INLINE || shift > 10 * MAX_INLINE) continue;
        for (size_t i = 0; i < callee->nfa.n_state; i++) {
            const struct nfa_state *x = &callee->nfa.state[i];
            uint32_t at = nfa_add_state(g->b, &r->nfa, -1);
            if (x->exit == 0) nfa_add_eps(g->b, &r->nfa, at, call.back, NFA_ALWAYS);
            if (x->exit <= 0) continue;
            struct call inner = callee->call[x->exit - 1];
            inner.back += shift;
            r->call = build_grow(g->b, r->call, r->n_call, &r->cap_call, sizeof *r->call);
            r->call[r->n_call++] = inner;
            r->nfa.state[at].exit = (int32_t)r->n_call;
        }
        for (size_t i = 0; i < callee->nfa.n_state; i++) {
            for (uint32_t k = callee->nfa.state[i].edge; k; k = callee->nfa.edge[k - 1].next) {
                struct nfa_edge x = callee->nfa.edge[k - 1];
                nfa_add_edge(g->b, &r->nfa, shift + (uint32_t)i, x.lo, x.hi, shift + x.to);
            }
            for (uint32_t k = callee->nfa.state[i].eps; k; k = callee->nfa.eps[k - 1].next)
                nfa_add_eps(g->b, &r->nfa, shift + (uint32_t)i, shift + callee->nfa.eps[k - 1].to,
                            NFA_ALWAYS);
        }
        r->nfa.state[q].exit = -1;
        nfa_add_eps(g->b, &r->nfa, q, shift, NFA_ALWAYS);
    }
}

/* exits 0 to n_call are the end and single calls; lists of several come after them */
static void make_shape(struct gbnf *g, struct rule *r)
{
    struct {
        struct gbnf *g;
        struct rule *r;
    } ctx = {g, r};
    uint32_t *root = build_alloc(g->b, r->n_call + 1, sizeof *root);
    for (size_t i = 0; i <= r->n_call; i++) merge_exits(&ctx, (int32_t[]){(int32_t)i}, 1);
    for (size_t i = 0; i < r->n_call; i++) root[i + 1] = r->call[i].back;
    r->back = build_alloc(g->b, r->n_call + 1, sizeof *r->back);
    struct dfa *d = nfa_to_dfa(g->b, &r->nfa, root, r->n_call + 1, r->back, merge_exits, &ctx);
    dfa_mark_universal(g->b, d);
    r->shape = build_alloc(g->b, 1, sizeof *r->shape);
    *r->shape = (struct shape){.kind = SHAPE_RULE, .dfa = d};
}

static void link_exits(struct gbnf *g, struct rule *r)
{
    for (size_t i = 0; i < r->n_exits; i++)
        for (size_t k = 0; k < r->exits[i].n; k++) {
            struct rule_exit *e = (struct rule_exit *)&r->exits[i].e[k];
            uint32_t call = e->back;
            *e = (struct rule_exit){NULL, 0};
            if (call) *e = (struct rule_exit){g->rule[r->call[call - 1].rule]->shape, r->back[call]};
        }
    r->shape->exits = r->exits;
}

/* From state q of r: what can be read to its end, with rules known to be possible (or nullable, if
 * only_empty). */
static bool reaches_end(struct gbnf *g, const struct rule *r, bool only_empty)
{
    const struct dfa *d = r->shape->dfa;
    uint8_t *seen = build_alloc(g->b, d->n_state, 1);
    uint32_t *queue = build_alloc(g->b, d->n_state, sizeof *queue), n = 0;
    seen[DFA_START] = 1;
    queue[n++] = DFA_START;
    build_work(g->b, d->n_state);
    for (uint32_t i = 0; i < n; i++) {
        const struct dfa_state *s = &d->state[queue[i]];
        const struct rule_exits *x = s->exit >= 0 ? &r->exits[s->exit] : NULL;
        for (unsigned k = 0; !only_empty && k < s->n_edge; k++) {
            uint32_t to = d->edge[s->edge + k].to;
            if (!seen[to]) seen[queue[n++] = to] = 1;
        }
        for (size_t k = 0; x && k < x->n; k++) {
            uint32_t call = x->e[k].back; /* before link_exits */
            if (!call) return true;
            const struct rule *callee = g->rule[r->call[call - 1].rule];
            uint32_t to = r->back[call];
            if ((only_empty ? callee->nullable : callee->possible) && to && !seen[to])
                seen[queue[n++] = to] = 1;
        }
    }
    return false;
}

/* Rules that r may call before it has read a byte. */
static void check_left(struct gbnf *g, struct rule *r, int depth)
{
    const struct dfa *d = r->shape->dfa;
    uint8_t *seen = build_alloc(g->b, d->n_state, 1);
    uint32_t *queue = build_alloc(g->b, d->n_state, sizeof *queue), n = 0;
    if (r->visit == 2) return;
    if (r->visit == 1 || depth > 500)
        build_fail(g->b, ERR_UNSUPPORTED, "gbnf: rule \"%.*s\" is left-recursive: it begins with itself",
                   (int)r->n, r->name);
    r->visit = 1;
    seen[DFA_START] = 1;
    queue[n++] = DFA_START;
    for (uint32_t i = 0; i < n; i++) {
        const struct dfa_state *s = &d->state[queue[i]];
        const struct rule_exits *x = s->exit >= 0 ? &r->exits[s->exit] : NULL;
        for (size_t k = 0; x && k < x->n; k++) {
            uint32_t call = x->e[k].back;
            if (!call) continue;
            struct rule *callee = g->rule[r->call[call - 1].rule];
            check_left(g, callee, depth + 1);
            if (callee->nullable && r->back[call] && !seen[r->back[call]])
                seen[queue[n++] = r->back[call]] = 1;
        }
    }
    r->visit = 2;
}

/* Where r comes to when the k-th call at exit x reads nothing; 0: nowhere. */
static uint32_t after_empty_call(const struct gbnf *g, const struct rule *r, const struct rule_exits *x,
                                 size_t k)
{
    uint32_t call = x->e[k].back;
    return call && g->rule[r->call[call - 1].rule]->nullable ? r->back[call] : 0;
}

/* Whether empty calls can lead r round a loop: take away states that no empty call leads to until none is
 * left. */
static void check_loops(struct gbnf *g, const struct rule *r)
{
    const struct dfa *d = r->shape->dfa;
    uint32_t *n_in = build_alloc(g->b, d->n_state, sizeof *n_in), n = 0;
    uint32_t *queue = build_alloc(g->b, d->n_state, sizeof *queue);
    for (uint32_t q = 0; q < d->n_state; q++) {
        const struct rule_exits *x = d->state[q].exit >= 0 ? &r->exits[d->state[q].exit] : NULL;
        for (size_t k = 0; x && k < x->n; k++) n_in[after_empty_call(g, r, x, k)]++;
    }
    n_in[0] = 0; /* nowhere */
    for (uint32_t q = 0; q < d->n_state; q++)
        if (!n_in[q]) queue[n++] = q;
    for (uint32_t i = 0; i < n; i++) {
        const struct dfa_state *s = &d->state[queue[i]];
        const struct rule_exits *x = s->exit >= 0 ? &r->exits[s->exit] : NULL;
        for (size_t k = 0; x && k < x->n; k++) {
            uint32_t to = after_empty_call(g, r, x, k);
            if (to && --n_in[to] == 0) queue[n++] = to;
        }
    }
    if (n < d->n_state)
        build_fail(
            g->b, ERR_UNSUPPORTED,
            "gbnf: rule \"%.*s\" repeats a recursive rule that may be empty; let that rule read something",
            (int)MIN(r->n, (size_t)60), r->name);
}

static void compile(struct build *b, struct grammar *grammar, const char *text, size_t n)
{
    struct gbnf *g = build_alloc(b, 1, sizeof *g);
    *g = (struct gbnf){.b = b, .text = text, .p = text, .end = text + n};
    uint32_t root = rule_number(g, "root", 4);
    read_rules(g);
    for (size_t i = 0; i < g->n_rule; i++)
        if (!g->rule[i]->defined)
            build_fail(b, ERR_ARG, "gbnf: rule \"%.*s\" is not defined", (int)MIN(g->rule[i]->n, (size_t)60),
                       g->rule[i]->name);
    for (uint32_t i = 0; i < g->n_rule; i++)
        g->rule[i]->recursive = calls(g, i, i, build_alloc(b, g->n_rule, 1));
    for (size_t i = 0; i < g->n_rule; i++) inline_calls(g, g->rule[i]);
    for (size_t i = 0; i < g->n_rule; i++) make_shape(g, g->rule[i]);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = g->n_rule; i-- > 0;) {
            struct rule *r = g->rule[i];
            bool nullable = r->nullable || reaches_end(g, r, true),
                 possible = r->possible || reaches_end(g, r, false);
            more |= nullable != r->nullable || possible != r->possible;
            r->nullable = nullable;
            r->possible = possible;
        }
    }
    for (size_t i = 0; i < g->n_rule; i++)
        if (!g->rule[i]->possible)
            build_fail(b, ERR_ARG, "gbnf: rule \"%.*s\" never ends", (int)MIN(g->rule[i]->n, (size_t)60),
                       g->rule[i]->name);
    for (size_t i = 0; i < g->n_rule; i++) check_left(g, g->rule[i], 0);
    for (size_t i = 0; i < g->n_rule; i++) check_loops(g, g->rule[i]);
    for (size_t i = 0; i < g->n_rule; i++) link_exits(g, g->rule[i]);
    grammar->rule = g->rule[root]->shape;
}

const struct grammar_kind grammar_gbnf = {"gbnf", compile};
