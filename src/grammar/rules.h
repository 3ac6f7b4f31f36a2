/* Rules: automata that call each other, which is what context-free grammars and compositions are made of.
 * Private to src/grammar.
 *
 * A rule is read into its nfa, from state RULE_FROM to state RULE_TO; rules_call adds a call of another
 * rule, of a value under a schema, or of any shape. rules_finish makes the deterministic automata, whose
 * exits are the calls.
 *
 * Refused is what would call for ever without reading: left recursion, and repeating a recursive rule that
 * may be empty. */
#ifndef CORRAL_GRAMMAR_RULES_H
#define CORRAL_GRAMMAR_RULES_H

#include "grammar/grammar_int.h"
#include "grammar/nfa.h"

enum { RULE_FROM = 0, RULE_TO = 1 };

struct rule;
struct rules {
    struct build *b;
    const char *kind; /* for messages */
    struct rule **rule;
    size_t n_rule, cap_rule;
};

/* A new rule; name (n bytes, borrowed) is for messages. Returns its number. */
uint32_t rules_add(struct rules *r, const char *name, size_t n);
uint32_t rules_add_node(struct rules *r, const struct node *node);   /* a value */
struct nfa *rules_nfa(struct rules *r, uint32_t rule); /* of one made by rules_add;
                                                        * valid until rules_finish */
/* Within rule: from -> what `callee` reads -> to. */
void rules_call(struct rules *r, uint32_t rule, uint32_t from, uint32_t callee, uint32_t to);
/* All rules are written. The shape of root. */
const struct shape *rules_finish(struct rules *r, uint32_t root);

/* kind_gbnf.c: the rules of a grammar in llama.cpp's notation; returns its root. */
uint32_t gbnf_read(struct rules *r, const char *text, size_t n);
/* kind_lark.c: the same in Lark's; g is for the schemas in it. */
uint32_t lark_read(struct rules *r, struct grammar *g, const char *text, size_t n);

/* literal.c. Where the options name a vocabulary, control tokens that a literal spells are those tokens, and
 * not the same characters in plain tokens. */
void literal_add(struct build *b, struct nfa *n, uint32_t from, const char *text, size_t len, uint32_t to);
/* Any text up to the first place where one of the stops ends, by plain tokens or control tokens, and then
 * its `to`. control: other control tokens may stand in it. end: where it may end before any (a state, or
 * NFA_NOWHERE). */
struct stop {
    const char *text;
    size_t n;
    uint32_t to;
};
void free_text_add(struct build *b, struct nfa *n, uint32_t from, const struct stop *stop, size_t n_stop,
                   bool control, uint32_t end);

#endif
