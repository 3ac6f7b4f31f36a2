/* Template source to tokens, with the whitespace rules of trim_blocks and lstrip_blocks already applied. */
#ifndef CORRAL_JINJA_LEX_H
#define CORRAL_JINJA_LEX_H

#include "text/jinja/arena.h"
#include "text/jinja/value.h"

enum jj_token_type {
    JJ_T_END,
    JJ_T_TEXT,        /* value: a view of the source */
    JJ_T_PRINT_BEGIN, /* {{ */
    JJ_T_PRINT_END,
    JJ_T_BLOCK_BEGIN, /* {% */
    JJ_T_BLOCK_END,
    JJ_T_NAME,   /* value */
    JJ_T_STRING, /* value, escapes resolved */
    JJ_T_INT,    /* value */
    JJ_T_FLOAT,  /* value */
    JJ_T_ADD,
    JJ_T_SUB,
    JJ_T_MUL,
    JJ_T_DIV,
    JJ_T_FLOORDIV,
    JJ_T_MOD,
    JJ_T_POW,
    JJ_T_TILDE,
    JJ_T_EQ,
    JJ_T_NE,
    JJ_T_LT,
    JJ_T_LE,
    JJ_T_GT,
    JJ_T_GE,
    JJ_T_ASSIGN,
    JJ_T_DOT,
    JJ_T_COLON,
    JJ_T_COMMA,
    JJ_T_SEMICOLON,
    JJ_T_PIPE,
    JJ_T_LPAREN,
    JJ_T_RPAREN,
    JJ_T_LBRACKET,
    JJ_T_RBRACKET,
    JJ_T_LBRACE,
    JJ_T_RBRACE
};

struct jj_token {
    enum jj_token_type type;
    uint32_t at, n; /* its bytes in the source */
    struct jj_value value;
};

struct jj_lexer {
    struct jj_arena *arena;
    const char *src;
    size_t n, at;
    enum { JJ_IN_TEXT, JJ_IN_PRINT, JJ_IN_BLOCK } where;
    bool line_starting; /* what comes next is the beginning of a line */
    char open[128];     /* brackets not yet closed, as their closing character */
    size_t n_open;
};

/* src has had its newlines made "\n" (see jj_normalize) and is valid UTF-8. */
void jj_lex_init(struct jj_lexer *l, struct jj_arena *a, const char *src, size_t n);
struct jj_token jj_lex(struct jj_lexer *l);

/* A copy with every kind of newline as "\n" and one at the end of the text dropped. */
char *jj_normalize(struct jj_arena *a, const char *src, size_t n, size_t *n_out);

_Noreturn void jj_syntax_error(struct jj_trap *t, uint32_t at, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
