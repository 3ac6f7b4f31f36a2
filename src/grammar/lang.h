/* Languages of JSON strings: what stands between the quotation marks, as automata over its bytes, escaped the
 * one way that json.dumps escapes. Private to src/grammar. */
#ifndef CORRAL_GRAMMAR_LANG_H
#define CORRAL_GRAMMAR_LANG_H

#include "grammar/dfa.h"

/* A conjunction of languages, as a list. */
struct lang {
    const struct dfa *dfa;
    bool negative;
    const struct lang *next;
};

const struct dfa *lang_any(struct build *b);
/* Strings in which the pattern is found (ECMA-262), put before rest. */
const struct lang *lang_pattern(struct build *b, const char *p, size_t n, const char *where,
                                const struct lang *rest);
/* Strings of a named format; *known false: an annotation, rest comes back. */
const struct lang *lang_format(struct build *b, const char *name, const char *where, const struct lang *rest,
                               bool *known);
/* Exactly these strings (UTF-8); exit of string i is exit_of[i], or 0 without. */
const struct dfa *lang_texts(struct build *b, const char *const *text, const size_t *len, size_t n,
                             bool numbered);
/* The intersection, with lang_any. */
const struct dfa *lang_all(struct build *b, const struct lang *l);
bool lang_has(const struct lang *l, const char *text, size_t n); /* a UTF-8 string, unescaped */
/* text as it stands between quotation marks. */
void lang_escape(struct buf *out, const char *text, size_t n);

/* Which states (of a quoted automaton) can still reach its end with exactly k more characters. */
struct lens {
    const uint64_t *live;  /* level k, bit q */
    size_t words, n_level; /* from level n_level - 1 on all levels are the same */
};
const struct lens *lens_new(struct build *b, struct dfa *quoted, int64_t min, int64_t max);
/* Some number of characters from lo to hi leads from q to the end. */
static inline bool lens_live(const struct lens *l, uint32_t q, int64_t lo, int64_t hi)
{
    if (lo < 0) lo = 0;
    if (lo > hi) return false;
    int64_t last = (int64_t)l->n_level - 1, from = lo < last ? lo : last, to = hi < last ? hi : last;
    for (int64_t k = from; k <= to; k++)
        if (l->live[(size_t)k * l->words + (q >> 6)] >> (q & 63) & 1) return true;
    return false;
}

const char *format_regex(const char *name); /* whole match; NULL: unknown, "": known and not supported */

/* Numbers as JSON writes them. A decimal is digits * 10^-scale. */
struct decimal {
    bool negative;
    char digit[40]; /* significant digits, no leading zeros; "" is zero */
    int scale;
};
bool decimal_parse(struct decimal *out, const char *text, size_t n); /* false: too many digits to be exact */
int decimal_cmp(const struct decimal *a, const struct decimal *b);
bool decimal_is_integer(const struct decimal *a);
bool decimal_of(struct decimal *out, const json_t *number);

struct num_bound {
    bool set, open; /* open: exclusive */
    struct decimal at;
};
enum { NUM_MAX_MULTIPLES = 4 };
struct num_spec {
    bool integer, fraction; /* fraction: not an integer */
    struct num_bound lo, hi;
    struct decimal multiple[NUM_MAX_MULTIPLES]; /* of these; positive */
    bool not_multiple[NUM_MAX_MULTIPLES];       /* or of these not */
    uint32_t n_multiple;
};
struct dfa *num_dfa(struct build *b, const struct num_spec *s, const char *where);
bool num_has(const struct num_spec *s, const struct decimal *v);

#endif
