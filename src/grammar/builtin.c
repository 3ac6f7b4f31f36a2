/* Automata that do not depend on a grammar. */
#include "grammar/grammar_int.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/nfa.h"
#include "grammar/regex.h"

enum { MAX_BLANKS = 32 };

static struct builtin all;
static struct arena arena = {.max = 16 << 20}; /* kept reachable for the life of the process */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Up to MAX_BLANKS blanks, or none. Returns where they end. */
static uint32_t add_space(struct build *b, struct nfa *n, uint32_t from, bool flexible)
{
    uint32_t end = nfa_add_state(b, n, -1);
    nfa_add_eps(b, n, from, end, NFA_ALWAYS);
    for (int i = 0; flexible && i < MAX_BLANKS; i++) {
        uint32_t next = nfa_add_state(b, n, -1);
        nfa_add_edge(b, n, from, ' ', ' ', next);
        nfa_add_edge(b, n, from, '\t', '\n', next);
        nfa_add_edge(b, n, from, '\r', '\r', next);
        nfa_add_eps(b, n, next, end, NFA_ALWAYS);
        from = next;
    }
    return end;
}

/* blanks MARK blanks. */
static uint32_t add_mark(struct build *b, struct nfa *n, uint32_t from, char mark, enum grammar_space space)
{
    bool flexible = space == GRAMMAR_SPACE_FLEXIBLE;
    uint32_t at = add_space(b, n, from, flexible), behind = nfa_add_state(b, n, -1);
    nfa_add_edge(b, n, at, (uint8_t)mark, (uint8_t)mark, behind);
    if (space != GRAMMAR_SPACE_PLAIN) return add_space(b, n, behind, flexible);
    at = nfa_add_state(b, n, -1);
    nfa_add_edge(b, n, behind, ' ', ' ', at);
    return at;
}

static struct shape finish(struct build *b, enum shape_kind kind, const struct nfa *n)
{
    struct dfa *d = nfa_to_dfa(b, n, (const uint32_t[]){0}, 1, NULL, NULL, NULL);
    uint8_t *reach = build_alloc(b, d->n_state, 1);
    for (bool more = true; more;) {
        more = false;
        for (uint32_t q = 1; q < d->n_state; q++) {
            unsigned r = d->state[q].exit >= 0 ? 1u << d->state[q].exit : 0;
            for (unsigned i = 0; i < d->state[q].n_edge; i++) r |= reach[d->edge[d->state[q].edge + i].to];
            more |= r != reach[q];
            reach[q] = (uint8_t)r;
        }
    }
    return (struct shape){.kind = kind, .dfa = d, .reach = reach};
}

/* `{` or `[`, then a first member (SEP_MORE) or the end. Both begin where blanks end: at a state that has
 * SEP_MORE for its exit and the closing bracket for an edge. */
static struct shape open_form(struct build *b, enum shape_kind kind, char open, char close, bool flexible)
{
    struct nfa n = {0};
    uint32_t from = nfa_add_state(b, &n, -1), in = nfa_add_state(b, &n, -1);
    nfa_add_edge(b, &n, from, (uint8_t)open, (uint8_t)open, in);
    uint32_t at = add_space(b, &n, in, flexible);
    uint32_t more = nfa_add_state(b, &n, SEP_MORE), end = nfa_add_state(b, &n, SEP_CLOSE);
    nfa_add_eps(b, &n, at, more, NFA_ALWAYS);
    nfa_add_edge(b, &n, at, (uint8_t)close, (uint8_t)close, end);
    return finish(b, kind, &n);
}

static struct shape next_form(struct build *b, enum shape_kind kind, char close, enum grammar_space space)
{
    struct nfa n = {0};
    uint32_t from = nfa_add_state(b, &n, -1);
    uint32_t behind = add_mark(b, &n, from, ',', space);
    uint32_t at = add_space(b, &n, from, space == GRAMMAR_SPACE_FLEXIBLE);
    uint32_t more = nfa_add_state(b, &n, SEP_MORE), end = nfa_add_state(b, &n, SEP_CLOSE);
    nfa_add_eps(b, &n, behind, more, NFA_ALWAYS);
    nfa_add_edge(b, &n, at, (uint8_t)close, (uint8_t)close, end);
    return finish(b, kind, &n);
}

static struct shape colon_form(struct build *b, enum grammar_space space)
{
    struct nfa n = {0};
    uint32_t from = nfa_add_state(b, &n, -1), behind = add_mark(b, &n, from, ':', space);
    uint32_t end = nfa_add_state(b, &n, SEP_MORE);
    nfa_add_eps(b, &n, behind, end, NFA_ALWAYS);
    return finish(b, SHAPE_COLON, &n);
}

static void add_hex(struct build *b, struct nfa *n, uint32_t from, const char *digits, uint32_t to)
{
    for (; *digits; digits++) nfa_add_edge(b, n, from, (uint8_t)*digits, (uint8_t)*digits, to);
}

/* Any string as RFC 8259 writes it, but no lone surrogate. */
static struct shape any_string(struct build *b)
{
    static const char hex[] = "0123456789abcdefABCDEF";
    struct nfa n = {0};
    struct char_set plain = {0};
    uint32_t from = nfa_add_state(b, &n, -1), in = nfa_add_state(b, &n, -1), end = nfa_add_state(b, &n, 0);
    uint32_t slash = nfa_add_state(b, &n, -1), u = nfa_add_state(b, &n, -1), h[3], d, e, low[4];
    char_set_add(b, &plain, 0x20, 0x21);
    char_set_add(b, &plain, 0x23, 0x5B);
    char_set_add(b, &plain, 0x5D, 0x10FFFF);
    nfa_add_edge(b, &n, from, '"', '"', in);
    nfa_add_chars(b, &n, in, &plain, in);
    nfa_add_edge(b, &n, in, '"', '"', end);
    nfa_add_edge(b, &n, in, '\\', '\\', slash);
    for (const char *p = "\"\\/bfnrt"; *p; p++) nfa_add_edge(b, &n, slash, (uint8_t)*p, (uint8_t)*p, in);
    nfa_add_edge(b, &n, slash, 'u', 'u', u);
    for (int i = 0; i < 3; i++) h[i] = nfa_add_state(b, &n, -1);
    add_hex(b, &n, u, "0123456789abcefABCEF", h[0]);
    add_hex(b, &n, h[0], hex, h[1]);
    add_hex(b, &n, h[1], hex, h[2]);
    add_hex(b, &n, h[2], hex, in);
    add_hex(b, &n, u, "dD", d = nfa_add_state(b, &n, -1)); /* D000 to D7FF, or a pair */
    add_hex(b, &n, d, "01234567", h[1]);
    add_hex(b, &n, d, "89abAB", e = nfa_add_state(b, &n, -1));
    for (int i = 0; i < 2; i++) {
        uint32_t next = nfa_add_state(b, &n, -1);
        add_hex(b, &n, e, hex, next);
        e = next;
    }
    for (int i = 0; i < 4; i++) low[i] = nfa_add_state(b, &n, -1);
    nfa_add_edge(b, &n, e, '\\', '\\', low[0]);
    nfa_add_edge(b, &n, low[0], 'u', 'u', low[1]);
    add_hex(b, &n, low[1], "dD", low[2]);
    add_hex(b, &n, low[2], "cdefCDEF", h[1]);
    return finish(b, SHAPE_TERM, &n);
}

static void make(void)
{
    struct error e;
    struct grammar_options o = {0};
    struct build b = {.arena = &arena, .o = &o, .max_work = UINT64_MAX, .e = &e};
    ASSERT(setjmp(b.failed) == 0); /* there is nothing from outside in it */
    for (int space = 0; space < 3; space++) {
        bool flexible = space == GRAMMAR_SPACE_FLEXIBLE;
        all.forms[space] = (struct forms){
            .open_object = open_form(&b, SHAPE_OPEN_OBJECT, '{', '}', flexible),
            .next_object = next_form(&b, SHAPE_NEXT_OBJECT, '}', (enum grammar_space)space),
            .open_array = open_form(&b, SHAPE_OPEN_ARRAY, '[', ']', flexible),
            .next_array = next_form(&b, SHAPE_NEXT_ARRAY, ']', (enum grammar_space)space),
            .colon = colon_form(&b, (enum grammar_space)space),
        };
    }
    all.string = any_string(&b);
    all.number = (struct shape){.kind = SHAPE_TERM, .dfa = num_dfa(&b, &(struct num_spec){0}, "")};
    all.integer =
        (struct shape){.kind = SHAPE_TERM, .dfa = num_dfa(&b, &(struct num_spec){.integer = true}, "")};
    dfa_mark_universal(&b, (struct dfa *)all.string.dfa);
    all.last_id = dfa_new(&b)->id;
}

const struct builtin *builtin_get(void)
{
    pthread_once(&once, make);
    return &all;
}
