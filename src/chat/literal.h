/* Values as models write them, byte by byte to JSON: JSON itself (repaired where it is a little off),
 * Python's literals, Gemma's. Private to src/chat. */
#ifndef CORRAL_CHAT_LITERAL_H
#define CORRAL_CHAT_LITERAL_H

#include "base/buf.h"

enum chat_syntax { SYNTAX_JSON, SYNTAX_PYTHON, SYNTAX_GEMMA };
enum literal_step {
    LITERAL_MORE,
    LITERAL_DONE,        /* this byte was the value's last */
    LITERAL_DONE_BEFORE, /* the byte before was: this one is not part of it */
    LITERAL_BAD
};
enum { LITERAL_MAX_DEPTH = 128 };

struct chat_literal {
    enum chat_syntax syntax;
    const char *quote; /* GEMMA: round strings */
    int state;
    char open[LITERAL_MAX_DEPTH]; /* the containers we are in */
    uint32_t depth;
    bool key, comma;   /* the string or word is a key; a comma waits for what follows it */
    char delim;        /* of the string */
    uint32_t n_quote;  /* bytes of quote that matched */
    uint32_t n_hex, hex;
    struct buf word;
};

/* call: the arguments of a Python call, behind its '(' and up to its ')'. quote is borrowed. */
void literal_init(struct chat_literal *l, enum chat_syntax syntax, const char *quote, bool call,
                  struct buf *out);
void literal_deinit(struct chat_literal *l);
/* Read one byte, append to out what is certain. */
enum literal_step literal_feed(struct chat_literal *l, char c, struct buf *out);
/* Append one byte of a JSON string, escaped where it must be. */
void json_escape_byte(struct buf *out, char c);

#endif
