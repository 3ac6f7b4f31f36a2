/* A compiled constraint. Private to constraint*.c. */
#ifndef CORRAL_API_CONSTRAINT_INT_H
#define CORRAL_API_CONSTRAINT_INT_H

#include <stdatomic.h>

#include "api/constraint.h"

struct vocabulary { /* shared by the pool and every constraint made with it */
    atomic_uint refs;
    struct grammar_trie *trie;
    const struct tokenizer *tok; /* borrowed */
    int32_t *whole;              /* its user-defined tokens, and the bytes these begin with */
    size_t n_whole;
    bool begins[256];
};
struct vocabulary *vocabulary_new(struct grammar_trie *trie, const struct tokenizer *tok);
void vocabulary_unref(struct vocabulary *v);

struct constraint {
    atomic_uint refs;
    struct grammar *grammar;
    struct vocabulary *v;
};

#endif
