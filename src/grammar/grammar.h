/* Constraints on generated text: a JSON schema, a regular expression, a grammar, a list of choices, or a
 * text of which some regions are constrained, compiled to one byte-level pushdown automaton and turned into
 * a bit mask over the vocabulary at each step.
 *
 * A grammar is immutable, counted, and may be used by any number of threads. A state belongs to one sequence
 * and one thread; cloning it is O(1), since states share what they have read (persistent stacks), so a
 * speculative draft works on a clone and a rollback drops it. Nothing is accepted that could not be
 * completed: while a state lives, some continuation leads to an end, as far as docs/structured-output.md says
 * exact.
 *
 * Objects: each member at most once; with `ordered`, members in the order of their definition. */
#ifndef CORRAL_GRAMMAR_H
#define CORRAL_GRAMMAR_H

#include "base/buf.h"

struct grammar;
struct grammar_state;
struct grammar_trie;
struct tokenizer;

enum grammar_space {
    GRAMMAR_SPACE_PLAIN,    /* as Python's json.dumps writes: ", " and ": " */
    GRAMMAR_SPACE_NONE,     /* "," and ":" */
    GRAMMAR_SPACE_FLEXIBLE, /* where JSON allows it, up to 32 blanks or line ends in a row */
};

struct grammar_options {
    enum grammar_space space;
    bool ordered;      /* members in the order of the schema's properties, others after them */
    bool lenient;      /* leave out what cannot be enforced instead of refusing; see grammar_dropped */
    size_t max_bytes;  /* memory of the compiled grammar; 0: 64 MiB */
    uint64_t max_work; /* steps of compilation; 0: a few seconds' worth */
    const struct grammar_trie *vocabulary; /* of the masks to come: where a structural tag spells a control
                                            * token, that token is meant. NULL: text is text. Must outlive the
                                            * compilation only */
};

/* kind: a row of grammar_kinds: "json_schema", "regex", "gbnf", "lark", "choice" (a JSON array of strings),
 * "structural_tag" (docs/structured-output.md).
 * ERR_ARG: not a valid schema, pattern or grammar. ERR_UNSUPPORTED: valid, but it cannot be enforced exactly.
 * ERR_LIMIT: it would take more memory or time than allowed. Messages name the place (a JSON pointer). */
status grammar_compile(struct grammar **out, const char *kind, const char *text, size_t n,
                       const struct grammar_options *o, struct error *e);
struct grammar *grammar_ref(struct grammar *g);       /* returns g */
void grammar_unref(struct grammar *g);                /* NULL is fine */
size_t grammar_bytes(const struct grammar *g);        /* memory it holds, kept masks
                                                       * included: it grows in use */
const char *grammar_dropped(const struct grammar *g); /* lenient: what was left out, "" when nothing was */

/* The start of a text. The state holds a reference to g. */
struct grammar_state *grammar_state_new(struct grammar *g);
struct grammar_state *grammar_state_clone(const struct grammar_state *s);
void grammar_state_free(struct grammar_state *s); /* NULL is fine */
/* Read n bytes. false: they are not allowed here (or exceed a limit), and s is as it was. */
bool grammar_state_accept(struct grammar_state *s, const char *p, size_t n);
bool grammar_state_can_end(const struct grammar_state *s); /* the text so far is complete */
/* Append to out the bytes that are the only way to go on, at most max; s is not moved. Where the text may end
 * nothing is forced. */
void grammar_state_forced(const struct grammar_state *s, struct buf *out, size_t max);

/* The vocabulary as a trie of bytes, made once for a tokenizer and shared by all grammars and threads; it
 * also keeps the masks that do not depend on the grammar. t is not needed afterwards. */
status grammar_trie_new(struct grammar_trie **out, const struct tokenizer *t, struct error *e);
void grammar_trie_free(struct grammar_trie *t);
uint32_t grammar_trie_words(const struct grammar_trie *t); /* 32-bit words of a mask */
/* Set bit i of bits exactly where token i may come next, end-of-generation tokens where the text may end. */
void grammar_state_mask(struct grammar_state *s, struct grammar_trie *t, uint32_t *bits);
/* The bytes of token id; id must be of the tokenizer. */
bool grammar_state_accept_token(struct grammar_state *s, const struct grammar_trie *t, int32_t id);
/* Control tokens within forced bytes: how many bytes at text are before one; the token that is written at
 * text, all of it, and its length there; -1: none. */
size_t grammar_trie_plain(const char *text, size_t n);
int32_t grammar_trie_control(const struct grammar_trie *t, const char *text, size_t n, size_t *len);

#endif
