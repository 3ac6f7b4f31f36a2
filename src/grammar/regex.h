/* Regular expressions of ECMA-262 (the dialect of JSON Schema's pattern) as automata. Private to src/grammar.
 *
 * What has no automaton is refused: back references, look-behind, word boundaries, and look-ahead other than
 * at the very beginning. \d, \w and \s are ECMA's: the first two ASCII only. */
#ifndef CORRAL_GRAMMAR_REGEX_H
#define CORRAL_GRAMMAR_REGEX_H

#include "grammar/nfa.h"

struct regex; /* parsed */
/* ERR_ARG for what is no expression, ERR_UNSUPPORTED for what has no automaton. where: for messages. */
const struct regex *regex_parse(struct build *b, const char *p, size_t n, const char *where);
/* The texts in which r is found, or, whole, the texts that r matches from end to end. A look-ahead at the
 * beginning is not part of it. */
void regex_add(struct build *b, struct nfa *n, const struct regex *r, bool whole, uint32_t from, uint32_t to);
/* kind_regex.c: the texts that an expression matches from end to end,
 * look-aheads at its beginning included. */
const struct dfa *regex_dfa(struct build *b, const char *p, size_t n, const char *where);
/* The look-ahead number i at the beginning, as an expression anchored there; NULL: no more. */
const struct regex *regex_look(const struct regex *r, size_t i, bool *negative);
/* All characters but line ends (false), or all (true). */
struct char_set regex_any(struct build *b, bool line_ends);

#endif
