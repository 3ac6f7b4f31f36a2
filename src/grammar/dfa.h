/* Deterministic automata over bytes. Private to src/grammar.
 *
 * State 0 is dead, state 1 the start. A state with exit >= 0 may be left there; what that means is its
 * user's. After dfa_finish every state but 0 that can be reached leads to an exit. */
#ifndef CORRAL_GRAMMAR_DFA_H
#define CORRAL_GRAMMAR_DFA_H

#include "grammar/build.h"

enum { DFA_DEAD = 0, DFA_START = 1, DFA_MAX_STATES = 1 << 20 };

struct dfa_edge {
    uint32_t to;
    uint8_t lo, hi;
};
struct dfa_state {
    uint32_t edge; /* the first; ranges ascend */
    uint16_t n_edge;
    bool boundary;      /* of a character: for counting lengths */
    int32_t exit;       /* -1: none */
    const uint8_t *row; /* for states of many edges: byte to edge number + 1 */
};
struct dfa {
    struct dfa_state *state;
    struct dfa_edge *edge;
    uint32_t n_state;
    size_t n_edge, cap_state, cap_edge;
    const uint8_t *universal; /* by state: any plain characters keep it alive; made by dfa_mark_universal */
    uint32_t id;              /* unique in the process: key of cached masks */
};

struct dfa *dfa_new(struct build *b); /* with the dead state */
uint32_t dfa_add_state(struct build *b, struct dfa *d, int32_t exit);
/* Edges of one state are added together, ascending; touching ranges to one state become one. */
void dfa_add_edge(struct build *b, struct dfa *d, uint32_t from, unsigned lo, unsigned hi, uint32_t to);
void dfa_finish(struct build *b, struct dfa *d);
bool dfa_is_empty(const struct dfa *d); /* after dfa_finish */
/* Whether d accepts exactly from its start. Returns the exit, -1 when not. */
int32_t dfa_match(const struct dfa *d, const char *p, size_t n);

static inline uint32_t dfa_step(const struct dfa *d, uint32_t q, uint8_t c)
{
    const struct dfa_state *s = &d->state[q];
    if (!s->n_edge) return DFA_DEAD; /* there may be no edges at all */
    const struct dfa_edge *e = d->edge + s->edge;
    if (s->row) {
        unsigned i = s->row[c];
        return i ? e[i - 1].to : DFA_DEAD;
    }
    for (unsigned i = 0; i < s->n_edge; i++)
        if (c <= e[i].hi) return c >= e[i].lo ? e[i].to : DFA_DEAD;
    return DFA_DEAD;
}

/* The automaton that runs n automata side by side. The first must live; the others may be dead (0) in q.
 * exit_of: the exit of the tuple q when the first has one, or -1. */
struct dfa *dfa_product(struct build *b, const struct dfa *const *c, size_t n,
                        int32_t (*exit_of)(void *ctx, const uint32_t *q), void *ctx);
/* The automaton over what step() says, explored from *start. States are bytes of a fixed size, compared with
 * memcmp: zero their padding. step returns false when there is no such step; bytes below n_byte are tried. */
struct dfa *dfa_explore(struct build *b, const void *start, size_t bytes,
                        bool (*step)(void *ctx, void *to, const void *from, uint8_t c),
                        int32_t (*exit_of)(void *ctx, const void *state), void *ctx, unsigned n_byte);
/* Literal texts to their exits. A later equal text is ignored. */
struct dfa_text {
    const char *p;
    size_t n;
    int32_t exit;
};
struct dfa *dfa_texts(struct build *b, const struct dfa_text *t, size_t n);
/* d behind and before a quotation mark; exits keep their numbers. */
struct dfa *dfa_quoted(struct build *b, const struct dfa *d);
void dfa_mark_universal(struct build *b, struct dfa *d);

#endif
