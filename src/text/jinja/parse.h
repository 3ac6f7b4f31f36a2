/* Tokens to tree: the grammar of Jinja2's documentation, in its order of precedence. */
#ifndef CORRAL_JINJA_PARSE_H
#define CORRAL_JINJA_PARSE_H

#include "text/jinja/ast.h"
#include "text/jinja/lex.h"

enum { JJ_NAME_BUCKETS = 128, JJ_MAX_NESTING = 150 };

/* A filter or test that does not exist. Jinja2 lets it pass where it may never be reached: in a conditional.
 */
struct jj_unknown {
    uint32_t at;
    const char *what;
    struct jj_value name;
};

/* The macros around the place that is being parsed. */
struct jj_enclosing {
    struct jj_params *params;
    struct jj_enclosing *outer;
};

struct jj_parser {
    struct jj_arena *arena;
    struct jj_lexer lex;
    struct jj_token tok, ahead; /* ahead: the one after, when has_ahead */
    bool has_ahead;
    struct jinja *tmpl;
    struct jj_name *bucket[JJ_NAME_BUCKETS];
    struct jj_enclosing *enclosing;
    struct jj_unknown *unknown;
    size_t n_unknown, cap_unknown;
    uint32_t nesting, loops; /* loops: how many this place is inside of */
};

/* Tokens (parse.c). */
void jj_advance(struct jj_parser *p);
bool jj_at_name(const struct jj_parser *p, const char *name);
bool jj_skip(struct jj_parser *p, enum jj_token_type type); /* true: it was that, and is read */
bool jj_skip_name(struct jj_parser *p, const char *name);
struct jj_token jj_expect(struct jj_parser *p, enum jj_token_type type);
_Noreturn void jj_unexpected(struct jj_parser *p, const char *wanted); /* wanted NULL: just unexpected */
void jj_nest(struct jj_parser *p);

/* Nodes (parse.c). */
struct jj_node *jj_node_new(struct jj_parser *p, enum jj_kind kind, uint32_t at, uint32_t n);
const struct jj_name *jj_intern(struct jj_parser *p, struct jj_value name);

/* A growing array of nodes. */
struct jj_nodes {
    const struct jj_node **at;
    uint32_t n, cap;
};
void jj_nodes_add(struct jj_parser *p, struct jj_nodes *l, const struct jj_node *x);

/* Expressions (parse.c). */
const struct jj_node *jj_parse_expr(struct jj_parser *p, bool with_if);
/* One expression, or several with commas between them: a tuple. end_name ends it too; may be NULL. */
const struct jj_node *jj_parse_tuple(struct jj_parser *p, bool with_if, const char *end_name);
struct jj_node *jj_parse_filter(struct jj_parser *p, const struct jj_node *of); /* after the | */
/* What may be assigned to: names, tuples of them, and with namespaces also name.attribute. */
const struct jj_node *jj_parse_target(struct jj_parser *p, const char *end_name, bool namespaces);

/* Statements (parse_stmt.c). */
struct jj_body jj_parse_template(struct jj_parser *p);
/* Unknown filters found since `from` are errors now. */
void jj_refuse_unknown(struct jj_parser *p, size_t from);

#endif
