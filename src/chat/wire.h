/* The table of wire formats. Private to src/chat. */
#ifndef CORRAL_CHAT_WIRE_H
#define CORRAL_CHAT_WIRE_H

#include "chat/chat.h"

enum wire_kind {
    WIRE_CALLS,   /* as struct chat_wire describes it */
    WIRE_OBJECT,  /* the same, but head, ARGS and tail are one JSON object,
                   * whose members may come in any order */
    WIRE_HARMONY  /* messages on channels: parse_harmony.c */
};

struct wire_row {
    struct chat_wire w; /* first: a chat_wire of the table is its row */
    enum wire_kind kind;
    const char *sign[3]; /* a template with all of these writes the format;
                          * for templates that cannot render a call */
    const char *also;    /* another format that such models write */
    const char *alt;     /* where in head a call may begin that lacks what is before */
    const char *id;      /* an identifier's shape; {9}: nine letters and digits.
                          * NULL: "call_" and 24 of them */
    const char *drop[4]; /* texts round content that are not part of it */
    const char *lead;    /* where the prompt ends in the first characters of what is parsed */
    char bare;           /* first character of calls without a trigger */
};

/* A reasoning section. sign: how a template tells that its model writes it; "" is the last row. */
struct chat_tags {
    const char *begin, *end, *sign;
    const char *next;    /* between its end and what begins content; NULL: nothing */
    const char *content; /* what begins content; NULL: nothing */
};

const struct wire_row *wire_row(const struct chat_wire *w);
const struct chat_tags *chat_tags_detect(const char *template_text);

/* --- patterns: the strings of struct chat_wire --- */

struct captures { char name[128], id[128], index[16], key[256], type[32], string[8]; };
enum match { MATCH_NO, MATCH_MORE, MATCH };
/* Whether s begins with what the pattern says; *used bytes of it. MATCH_MORE: it may, once more text comes.
 * A blank in the pattern is any blanks or none, and so is a place before JSON's punctuation. c may be NULL
 * if there is nothing to capture. */
enum match pattern_match(const char *pattern, const char *s, size_t n, struct captures *c, size_t *used);
/* The pattern with what was captured in it. */
void pattern_fill(struct buf *out, const char *pattern, const struct captures *c);

#endif
