/* Classes of characters for the split rules. Private to src/text.
 *
 * ASCII comes from a table, the rest from utf8proc (Unicode 15.0) with the few additions of 15.1 that the
 * reference has. */
#ifndef CORRAL_CHAR_CLASS_H
#define CORRAL_CHAR_CLASS_H

#include "base/base.h"

enum { /* 0: control, format, unassigned, private */
       C_LETTER = 1,
       C_NUMBER = 2,
       C_PUNCT = 4,
       C_SYMBOL = 8,
       C_MARK = 16,
       C_SPACE = 32,
       C_NEWLINE = 64,  /* \r and \n */
       C_UPPER = 128,   /* A-Z only */
       C_LOWER = 256,   /* a-z only */
       C_DIGIT = 512,   /* 0-9 only */
       C_WIDE = 1 << 15 /* not ASCII: the table does not know */
};
extern const uint16_t char_class_ascii[256];

struct ch { /* a character of the text */
    uint32_t cp;
    uint16_t cls;
    uint8_t len; /* bytes; 0: the end of the text */
};
struct ch ch_wide(const char *p, const char *end); /* what is not UTF-8 is one byte, as U+FFFD */

static inline struct ch ch_at(const char *p, const char *end)
{
    if (p >= end) return (struct ch){0};
    uint8_t b = (uint8_t)*p;
    uint16_t cls = char_class_ascii[b];
    return cls & C_WIDE ? ch_wide(p, end) : (struct ch){b, cls, 1};
}

#endif
