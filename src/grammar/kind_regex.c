/* Constraint kind "regex": the text as a whole matches an expression of ECMA-262. */
#include "grammar/grammar_int.h"
#include "grammar/regex.h"

static int32_t in_all(void *ctx, const uint32_t *q)
{
    const struct lang *l = ctx;
    for (size_t i = 1; l; l = l->next, i++) {
        bool in = q[i] && l->dfa->state[q[i]].exit >= 0;
        if (in == l->negative) return -1;
    }
    return 0;
}

static const struct dfa *dfa_of(struct build *b, const struct regex *r, bool whole)
{
    struct nfa n = {0};
    uint32_t from = nfa_add_state(b, &n, -1), to = nfa_add_state(b, &n, 0);
    regex_add(b, &n, r, whole, from, to);
    return nfa_to_dfa(b, &n, &from, 1, NULL, NULL, NULL);
}

const struct dfa *regex_dfa(struct build *b, const char *p, size_t n, const char *where)
{
    const struct regex *r = regex_parse(b, p, n, where), *look;
    const struct dfa *c[16];
    struct lang *looks = NULL;
    size_t count = 1;
    bool negative;
    c[0] = dfa_of(b, r, true);
    for (size_t i = 0; (look = regex_look(r, i, &negative)); i++) count++;
    for (size_t i = count - 1; i > 0; i--) {
        struct lang *l = build_alloc(b, 1, sizeof *l);
        look = regex_look(r, i - 1, &negative);
        *l = (struct lang){dfa_of(b, look, false), negative, looks};
        c[i] = l->dfa;
        looks = l;
    }
    struct dfa *d = count > 1 ? dfa_product(b, c, count, in_all, looks) : (struct dfa *)c[0];
    if (dfa_is_empty(d)) build_fail(b, ERR_ARG, "%s: nothing matches this expression", where);
    dfa_mark_universal(b, d);
    return d;
}

static void compile(struct build *b, struct grammar *g, const char *text, size_t n)
{
    struct shape *s = build_alloc(b, 1, sizeof *s);
    *s = (struct shape){.kind = SHAPE_TERM, .dfa = regex_dfa(b, text, n, "regex")};
    g->rule = s;
}

const struct grammar_kind grammar_regex = {"regex", compile};
