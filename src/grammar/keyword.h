/* Keywords of JSON Schema: what each says of a conjunction when it is asserted, and when it is denied. A row
 * for each that asserts something, in one table per file; the others are annotations and ignored, as the
 * standard says. Private to src/grammar. */
#ifndef CORRAL_GRAMMAR_KEYWORD_H
#define CORRAL_GRAMMAR_KEYWORD_H

#include <string.h>

#include "grammar/schema.h"

/* j is the schema, v the keyword's value in it. */
struct keyword {
    const char *name;
    void (*assert_)(struct schema *s, struct conj *c, const json_t *j, const json_t *v);
    void (*deny)(struct schema *s, struct conj *c, const json_t *j, const json_t *v);
};
struct keyword_rows {
    const struct keyword *row;
    size_t n;
};
extern const struct keyword_rows keywords_scalar, keywords_object, keywords_array, keywords_logic;
extern const struct keyword keyword_ref; /* $ref, which may stand alone */

/* Lists that conjunctions share: an element before what was there. list is named twice. */
#define PREPEND(s, list, ...)                                                                                \
    do {                                                                                                     \
        const __typeof__(*(list)) x_ = {.next = (list), __VA_ARGS__};                                        \
        void *p_ = build_alloc((s)->b, 1, sizeof x_);                                                        \
        memcpy(p_, &x_, sizeof x_);                                                                          \
        (list) = p_;                                                                                         \
    } while (0)

/* Choices under construction. */
struct branch *branch_new(struct schema *s, struct choice *c);
void branch_add(struct schema *s, struct branch *b, const json_t *schema, bool negative);
struct choice *choice_new(struct schema *s, struct conj *c);
/* All of these, asserted or denied, hold. */
void require_all(struct schema *s, struct conj *c, const struct lits *lits);
void require_one(struct schema *s, struct conj *c, const json_t *schema, bool negative);
/* The value of a keyword that counts. */
int64_t keyword_count(struct schema *s, const json_t *j, const json_t *v, const char *name);

#endif
