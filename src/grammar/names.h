/* The names of a grammar's rules while it is read:
 * one may be called before it is defined. Private to src/grammar. */
#ifndef CORRAL_GRAMMAR_NAMES_H
#define CORRAL_GRAMMAR_NAMES_H

#include "grammar/rules.h"

struct name {
    const char *text; /* n bytes, borrowed */
    size_t n;
    uint32_t rule;
    bool defined; /* set by the reader */
};
struct names {
    struct rules *rules;
    const char *kind; /* for messages */
    struct name *name;
    size_t n_name, cap_name;
};

/* The name of these n bytes, with a rule that is new if the name is. Valid until the next call. */
struct name *names_get(struct names *x, const char *text, size_t n);
/* Fails the build with a name that no rule was defined for. */
void names_check(const struct names *x);

#endif
