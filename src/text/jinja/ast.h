/* The parsed template: a tree in the template's arena, never changed after parsing. */
#ifndef CORRAL_JINJA_AST_H
#define CORRAL_JINJA_AST_H

#include "text/jinja/value.h"

struct jj_builtin; /* a row of the tables of filters, tests, methods and globals: builtin.h */

struct jj_name {
    struct jj_value str;
    struct jj_name *next; /* in its bucket of the parser's table */
};

enum jj_kind {
    /* expressions */
    JJ_X_CONST,  /* value */
    JJ_X_NAME,   /* name */
    JJ_X_LIST,   /* kid */
    JJ_X_TUPLE,  /* kid */
    JJ_X_DICT,   /* kid: key, value, key, value, ... */
    JJ_X_ATTR,   /* kid[0] . name */
    JJ_X_ITEM,   /* kid[0] [ kid[1] ] */
    JJ_X_SLICE,  /* kid[0] [ kid[1] : kid[2] : kid[3] ], each of the three may be NULL */
    JJ_X_CALL,   /* kid[0] ( args ) */
    JJ_X_FILTER, /* kid[0] | builtin ( args ); kid[0] NULL: the text of the block */
    JJ_X_TEST,   /* kid[0] is builtin ( args ) */
    JJ_X_NOT,
    JJ_X_NEG,
    JJ_X_POS,
    JJ_X_AND,
    JJ_X_OR,
    JJ_X_BINARY,  /* kid[0] op kid[1] */
    JJ_X_CONCAT,  /* kid ~ kid ~ kid */
    JJ_X_COMPARE, /* kid[0] ops[0] kid[1] ops[1] kid[2] ... */
    JJ_X_IF,      /* kid[0] if kid[1] else kid[2] (may be NULL) */
    JJ_X_NSREF,   /* name.attr, as a target only */
    /* statements */
    JJ_S_TEXT,      /* value */
    JJ_S_PRINT,     /* kid[0] */
    JJ_S_IF,        /* kid[i] -> body[i]; one body more: else */
    JJ_S_FOR,       /* for kid[0] in kid[1] if kid[2] (may be NULL): body[0], else body[1] */
    JJ_S_SET,       /* kid[0] = kid[1] */
    JJ_S_SET_BLOCK, /* kid[0] = body[0] | kid[1] (may be NULL) */
    JJ_S_WITH,      /* kid: target, value, target, value, ...; body[0] */
    JJ_S_MACRO,     /* name, macro, body[0] */
    JJ_S_CALL,      /* kid[0] is a JJ_X_CALL; macro, body[0]: the caller */
    JJ_S_FILTER,    /* body[0] | kid[0] */
    JJ_S_SCOPE,     /* body[0] in a scope of its own: generation */
    JJ_S_BLOCK,     /* body[0] in a scope below the outermost */
    JJ_S_DO,        /* kid[0], for what it does */
    JJ_S_BREAK,
    JJ_S_CONTINUE
};

enum jj_op {
    JJ_OP_ADD,
    JJ_OP_SUB,
    JJ_OP_MUL,
    JJ_OP_DIV,
    JJ_OP_FLOORDIV,
    JJ_OP_MOD,
    JJ_OP_POW,
    JJ_OP_EQ,
    JJ_OP_NE,
    JJ_OP_LT,
    JJ_OP_LE,
    JJ_OP_GT,
    JJ_OP_GE,
    JJ_OP_IN,
    JJ_OP_NOT_IN
};

/* Arguments as written: f(kid, name=kid, *kid, **kid) */
struct jj_arg {
    enum { JJ_ARG_POSITION, JJ_ARG_NAMED, JJ_ARG_STAR, JJ_ARG_STAR2 } kind;
    const struct jj_name *name;
    const struct jj_node *value;
};
struct jj_arglist {
    struct jj_arg *arg;
    uint32_t n;
};

struct jj_body {
    const struct jj_node **stmt;
    uint32_t n;
};

/* What a macro (or the body of a call block) is called with. */
struct jj_params {
    const struct jj_name **name;
    const struct jj_node **def; /* default of each, or NULL */
    uint32_t n;
    bool uses_varargs, uses_kwargs, uses_caller; /* names that its body mentions */
};

struct jj_node {
    uint8_t kind;
    uint8_t op;     /* enum jj_op of JJ_X_BINARY */
    bool negated;   /* JJ_X_TEST: is not */
    bool recursive; /* JJ_S_FOR */
    uint32_t at;    /* byte of the source */
    uint32_t n;     /* kids */
    const struct jj_node **kid;
    union {
        struct jj_value value;
        const struct jj_name *name;
        const struct jj_builtin *builtin;
        uint8_t *ops;
        struct jj_params *params;
    };
    const struct jj_name
        *name2; /* JJ_X_NSREF: the attribute; JJ_S_MACRO: its name; an unknown filter's or test's */
    struct jj_arglist args;
    struct jj_body *body;
    uint32_t n_body;
};

/* jinja.h's template. */
struct jinja {
    struct jj_arena arena;
    struct jj_trap trap; /* of the parser */
    const char *src;     /* newlines made one kind */
    size_t n_src;
    struct jj_body body;
    /* Names that the interpreter itself looks up or sets. */
    const struct jj_name *n_loop, *n_caller, *n_varargs, *n_kwargs;
};

/* Arguments as values. */
struct jj_kwarg {
    struct jj_value name, value;
};
struct jj_args {
    const struct jj_value *pos;
    const struct jj_kwarg *kw;
    uint32_t n_pos, n_kw;
};

struct jj_macro {
    struct jj_value name;
    const struct jj_params *params;
    const struct jj_body *body;
    struct jj_scope *scope; /* where it was defined */
};

#endif
