/* The vocabulary as a trie. Private to src/grammar.
 *
 * Nodes lie in depth-first order: the subtree of node i is [i, end[i]), its first child i + 1, and the next
 * sibling of a child k is end[k]. Tokens of plain characters only (no control, quote, backslash, no cut
 * UTF-8) are valid wherever a free string goes on; the others are in a second, small trie too. */
#ifndef CORRAL_GRAMMAR_TRIE_H
#define CORRAL_GRAMMAR_TRIE_H

#include <pthread.h>

#include "grammar/grammar_int.h"

struct trie_nodes {
    uint32_t n; /* node 0 is the root */
    uint8_t *byte;
    uint16_t *depth;
    uint32_t *end;
    int32_t *token; /* the first token that ends here, -1: none */
};

/* Control tokens stand in the trie as this byte and their text: no text has that byte, so only a literal
 * that asks for the token can take it. */
enum { CONTROL_MARK = 0xFF };
struct control {
    const char *text; /* without the mark */
    size_t n;
    int32_t token;
    bool eog; /* it ends a text, and is not in the trie */
};

struct mask_exit {
    uint32_t q, node;
};
struct mask_run { /* exits of the same state lie together: often none of them leads on */
    uint32_t q, end;
};
/* What the tokens do within one automaton from one state: some stay or end inside, some leave it at a node.
 */
struct mask_entry {
    struct mask_entry *next;
    uint64_t key[2];
    uint32_t *bits; /* dense; or NULL and */
    int32_t *token; /* the tokens */
    uint32_t *exit; /* nodes, run by run */
    struct mask_run *run;
    uint32_t n_token, n_exit, n_run;
    bool rest;    /* nodes are of the small trie, and plain tokens are in */
    int32_t room; /* of those, only tokens up to this many characters; -1: all */
};
enum { MASK_SLOTS = 1024 };
struct mask_cache {
    pthread_mutex_t lock;
    const struct grammar_trie *trie;
    struct mask_entry *slot[MASK_SLOTS];
    size_t bytes;
};

enum { PLAIN_LEVELS = 17 };
struct grammar_trie {
    uint32_t n_vocab, words;
    struct trie_nodes all, rest;
    int32_t *same; /* by token: another token of the same bytes, -1: none */
    char *blob;
    uint32_t *at;                       /* by token: its bytes are blob[at[i] .. at[i + 1]) */
    uint32_t *plain;                    /* mask of the plain tokens */
    uint32_t *plain_upto[PLAIN_LEVELS]; /* of those with at most i characters */
    int32_t *plain_long;                /* plain tokens with more, and their lengths */
    int32_t *plain_long_chars;
    uint32_t n_plain_long;
    int32_t max_chars; /* of a token */
    char *control_text;
    struct control *control; /* by length, the longest first */
    uint32_t n_control;
    int32_t *eog;
    uint32_t n_eog;
    struct mask_cache shared; /* of automata that all grammars have */
};

/* The control token whose text is at the beginning of p, the longest one; NULL: none. */
const struct control *trie_control_at(const struct grammar_trie *t, const char *p, size_t n);
struct mask_cache *mask_cache_new(const struct grammar_trie *t);
void mask_cache_deinit(struct mask_cache *m);

#endif
