/* Structural tags: text of which some regions are constrained. Private to src/grammar.
 *
 * A format is a JSON object with a "type" (docs/structured-output.md lists them). It is written into one
 * rule, from a state to a state. Free text has to know where it ends: `follow` are the strings that come
 * after a format which stands last in a tag, each with the state behind it. */
#ifndef CORRAL_GRAMMAR_TAG_H
#define CORRAL_GRAMMAR_TAG_H

#include "grammar/rules.h"
#include "grammar/schema.h"

struct tags {
    struct build *b;
    struct grammar *g;
    struct rules rules;
    uint32_t rule;   /* into which formats are written */
    uint32_t any_python, any_quoted; /* rules of any value in these notations, + 1; 0: not needed yet */
    bool control; /* free text may hold control tokens */
    int depth;
};
struct follow {
    const struct stop *stop;
    size_t n;
};

static inline uint32_t tag_state(struct tags *t)
{
    return nfa_add_state(t->b, rules_nfa(&t->rules, t->rule), -1);
}
static inline void tag_eps(struct tags *t, uint32_t from, uint32_t to)
{
    nfa_add_eps(t->b, rules_nfa(&t->rules, t->rule), from, to, NFA_ALWAYS);
}
static inline void tag_literal(struct tags *t, uint32_t from, const char *p, size_t n, uint32_t to)
{
    literal_add(t->b, rules_nfa(&t->rules, t->rule), from, p, n, to);
}
void tag_free_text(struct tags *t, uint32_t from, struct follow f, uint32_t to);
void tag_regex(struct tags *t, uint32_t from, const char *p, size_t n, uint32_t to);
void tag_schema(struct tags *t, uint32_t from, struct schema *s, const json_t *at, uint32_t to);
void tag_grammar(struct tags *t, uint32_t from, const char *p, size_t n, uint32_t to);
_Noreturn void tag_fail(struct tags *t, const json_t *at, const char *what);

/* tag_parameters.c: format "parameters", an object's members as a model writes them between tags:
 *   {"type": "parameters", "json_schema": .., "head": "<parameter={key}>\n", "tail": "\n</parameter>\n",
 *    "between": "", "style": "raw" | "python" | "quoted", "quote": ".."}
 * raw: strings as they are, up to the tail. python: Python's literals. quoted: strings between quotes, as
 * they are. Other values as JSON, and in python and quoted those within arrays and objects are not held to
 * their schemas: refused where lenient is not set. Members come in the order of "properties". */
void tag_parameters(struct tags *t, const json_t *j, uint32_t from, uint32_t to, struct follow f);

#endif
