/* JSON Schema to nodes. Private to src/grammar.
 *
 * A node is a set of schemas, each asserted or denied, that all hold of one value. Expanding a node gives its
 * alternatives: conjunctions of constraints by type, without any schema left that holds of the value itself;
 * what holds of members and items becomes further nodes. Equal sets are one node, which makes recursion end.
 * Denial is pushed inward (not-any is all-not, not-required is absent, and so on), so `not`, `oneOf` and `if`
 * are exact. */
#ifndef CORRAL_GRAMMAR_SCHEMA_H
#define CORRAL_GRAMMAR_SCHEMA_H

#include "grammar/grammar_int.h"

enum {
    T_NULL = 1,
    T_TRUE = 2,
    T_FALSE = 4,
    T_NUMBER = 8,
    T_STRING = 16,
    T_ARRAY = 32,
    T_OBJECT = 64,
    T_ALL = 127
};

struct lit { /* a schema, or one keyword of it, asserted or denied */
    const json_t *schema;
    const struct keyword *keyword; /* NULL: the whole schema */
    bool negative;
};
struct lits {
    struct lit lit;
    const struct lits *next;
};
struct branch {
    const struct lits *lits;
    const struct branch *next;
};
struct choice {
    const struct branch *first;
    const struct choice *next;
};

struct object_clause {                                /* one schema's say on members */
    const json_t *properties, *patterns, *additional; /* NULL: says nothing */
    const struct object_clause *next;
};
struct array_clause {
    const json_t *prefix, *rest;
    bool negative; /* rest is denied */
    const struct array_clause *next;
};
struct name_list {
    const char *name;
    size_t n;
    const json_t *also; /* dependentRequired: an array of names */
    const struct name_list *next;
};
struct need { /* some member, or some items */
    const json_t *schema;
    bool negative;
    const char *pattern;                 /* member: its key matches; or, NULL, */
    const json_t *properties, *patterns; /* its key is not among these */
    int64_t min, max;                    /* items */
    size_t from;                         /* items: the first that counts */
    const struct need *next;
};

struct conj {
    unsigned types;
    struct num_spec num;
    const json_t *one_of; /* NULL, or an array of the values allowed */
    const struct value_list {
        const json_t *value;
        const struct value_list *next;
    } * none_of; /* numbers */
    const struct lang *langs;
    int64_t len_min, len_max;
    const struct array_clause *arrays;
    const struct need *items;
    int64_t items_min, items_max;
    const json_t *unique; /* the schema that wants items to differ, or NULL */
    const struct object_clause *objects;
    const struct name_list *required, *dependent;
    const struct lang *names;
    const struct need *members;
    int64_t members_min, members_max;
    const struct choice *choices;
    const struct lits *applied; /* whole schemas seen on the way, so that circles of $ref end */
};

struct atom {
    const json_t *schema;
    bool negative;
};
struct schema_node {
    struct node node;
    struct atom *atom;
    size_t n_atom;
    struct schema_node *same_hash;
    size_t cap_alt;
    struct dfa_text *text; /* literals met so far */
    size_t n_text, cap_text;
};

struct resource { /* an address within the document */
    char *uri;
    const json_t *schema;
    struct resource *next;
};
struct base { /* the base address where a $ref stands */
    const json_t *schema;
    const char *uri;
};

enum { NODE_SLOTS = 4096 };
struct schema {
    struct build *b;
    struct grammar *g;
    json_t *root;
    bool ref_alone; /* up to draft 7, what stands beside $ref is ignored */
    struct resource *resources;
    struct base *base;
    size_t n_base, cap_base;
    struct schema_node **node;
    size_t n_node, cap_node;
    struct schema_node *slot[NODE_SLOTS];
    struct num_shape {
        struct num_spec spec;
        struct shape shape;
        struct num_shape *next;
    } * numbers;
    struct denied {
        const json_t *value;
        const struct dfa *dfa;
        struct denied *next;
    } * denied; /* strings that enum denies */
    struct object *any_object;
};

/* json_schema.c: a document, and the values under the schema `at` within it */
struct schema *schema_new(struct build *b, struct grammar *g, json_t *root);
const struct node *schema_compile(struct schema *s, const json_t *at);

/* schema_ref.c */
void schema_index(struct schema *s);
const json_t *schema_resolve(struct schema *s, const json_t *at, const char *ref);

/* schema_expand.c */
void schema_expand(struct schema *s, struct schema_node *n);
bool schema_is_true(const json_t *j);
_Noreturn void schema_invalid(struct schema *s, const json_t *at, const char *what);
/* Refuses, or in lenient mode takes note and returns. */
void schema_unsupported(struct schema *s, const json_t *at, const char *what);
json_t *schema_own(struct schema *s, json_t *j); /* keeps a synthetic schema alive; NULL: out of memory */
bool schema_is_own(const struct schema *s, const json_t *j); /* it was given to schema_own */

/* schema_disjoint.c: no value can be valid under both, as far as a quick look can tell */
bool schema_disjoint(struct schema *s, const json_t *a, const json_t *b, int depth);
bool schema_same_value(const json_t *a, const json_t *b); /* 1 and 1.0 are */
bool schema_disjoint_objects(struct schema *s, const json_t *a, const json_t *b); /* no object can */

/* schema_unevaluated.c: the keywords of that name, asserted */
void schema_unevaluated_members(struct schema *s, struct conj *c, const json_t *j, const json_t *v);
void schema_unevaluated_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v);

/* schema_emit.c: the alternatives of a conjunction that has no choices left */
void schema_emit(struct schema *s, struct schema_node *n, const struct conj *c);
void schema_emit_object(struct schema *s, struct schema_node *n, const struct conj *c);
void schema_emit_array(struct schema *s, struct schema_node *n, const struct conj *c);
void schema_add_alt(struct schema *s, struct schema_node *n, struct alt a);
bool schema_has_value(struct schema *s, const struct conj *c, const json_t *v);

struct node *schema_node_of(struct schema *s, const struct atom *a, size_t n);

#endif
