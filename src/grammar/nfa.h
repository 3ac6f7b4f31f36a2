/* Nondeterministic automata over bytes, built from pieces by Thompson's construction and made deterministic
 * by subsets. Characters become the bytes that stand for them: UTF-8, or UTF-8 inside a JSON string, where
 * what must be escaped is escaped in the one way of Python's json.dumps. Private to src/grammar.
 *
 * Sources: Thompson, "Regular Expression Search Algorithm", CACM 1968; the splitting of ranges of characters
 * into ranges of bytes follows Russ Cox, "Regular Expression Matching in the Wild", 2010. */
#ifndef CORRAL_GRAMMAR_NFA_H
#define CORRAL_GRAMMAR_NFA_H

#include "grammar/dfa.h"

struct nfa_edge {
    uint32_t to, next; /* next: another edge of the same state, 0: none */
    uint8_t lo, hi;
};
enum nfa_when { NFA_ALWAYS, NFA_AT_START, NFA_AT_END };
struct nfa_eps {
    uint32_t to, next;
    enum nfa_when when;
};
struct nfa_state {
    uint32_t edge, eps; /* numbers + 1; 0: none */
    int32_t exit;
};
struct nfa {
    struct nfa_state *state;
    struct nfa_edge *edge;
    struct nfa_eps *eps;
    size_t n_state, n_edge, n_eps, cap_state, cap_edge, cap_eps;
    bool json; /* characters as inside a JSON string */
};

struct char_range {
    uint32_t lo, hi;
};
struct char_set { /* sorted, disjoint, not touching */
    struct char_range *r;
    size_t n, cap;
};
void char_set_add(struct build *b, struct char_set *s, uint32_t lo, uint32_t hi); /* unsorted until normal */
void char_set_normal(struct char_set *s);
struct char_set char_set_not(struct build *b, const struct char_set *s); /* of a normal one; no surrogates */

#define NFA_NOWHERE UINT32_MAX
uint32_t nfa_add_state(struct build *b, struct nfa *n, int32_t exit);
void nfa_add_edge(struct build *b, struct nfa *n, uint32_t from, unsigned lo, unsigned hi, uint32_t to);
void nfa_add_eps(struct build *b, struct nfa *n, uint32_t from, uint32_t to, enum nfa_when when);
void nfa_add_chars(struct build *b, struct nfa *n, uint32_t from, const struct char_set *s, uint32_t to);

/* A copy of d: its exit i (those up to n_to) leads to to[i], unless that is NFA_NOWHERE. */
void nfa_add_dfa(struct build *b, struct nfa *n, uint32_t from, const struct dfa *d, const uint32_t *to,
                 size_t n_to);

/* The automaton whose start is root[0]; at[i] is the state that stands for root[i] later in the text (no
 * longer at its start). merge: the exit of a state that has several, given in exit[0..n), n >= 2; NULL: the
 * smallest. */
struct dfa *nfa_to_dfa(struct build *b, const struct nfa *n, const uint32_t *root, size_t n_root,
                       uint32_t *at, int32_t (*merge)(void *ctx, const int32_t *exit, size_t n), void *ctx);

#endif
