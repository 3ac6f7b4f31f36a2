/* Pre-tokenizers: how text is cut into words before byte-level BPE merges inside each of them. Private to
 * src/text.
 *
 * A pre-tokenizer is a list of passes; each pass cuts every stretch that the one before it left. A pass is
 * either a word rule, the hand-compiled form of the regular expressions that descend from GPT-2's, or an
 * isolating rule "[class]{min,max}" whose matches stand alone. The expressions are format data: they are
 * published in each model's tokenizer.json and quoted in docs/tokenizers.md. Where the reference that made
 * our golden vectors departs from a model's own expression, the rules here follow the reference; the page
 * says where.
 *
 * Classes come from utf8proc (Unicode 15.0), so no expression engine with tables of another version is in
 * between. Every rule looks at each character a constant number of times. */
#ifndef CORRAL_SPLIT_H
#define CORRAL_SPLIT_H

#include "text/char_class.h"
#include "text/tok_int.h"

struct range { /* of code points */
    uint32_t lo, hi;
};

enum contraction { NO_CONTRACTION, LOWER_CASE, ANY_CASE, ANY_CASE_AFTER_WORD };
enum lead { LEAD_SPACE, LEAD_ANY }; /* " ?" or "[^\r\n\p{L}\p{N}]?" before letters */

struct word_rule {
    enum contraction contraction; /* 's 't 're 've 'm 'll 'd */
    enum lead lead;
    uint16_t letters;   /* classes that words are made of */
    bool cased;         /* a word ends where lower case turns to upper, as in o200k */
    bool han;           /* runs of Han characters are words of their own */
    uint8_t max_digits; /* 0: any number, after an optional space */
    const char *tail;   /* characters that may follow punctuation */
    bool newlines;      /* "\s*[\r\n]+" */
};

struct isolate {
    uint16_t classes;          /* a character matches by class, */
    const struct range *range; /* or unless it is a blank by number */
    uint8_t n_range;
    bool blank_before; /* "\s?" */
    uint8_t min, max;  /* max 0: any number */
};

enum pass_kind { PASS_NONE, PASS_WORD, PASS_ISOLATE, PASS_DEEPSEEK3, PASS_LAST_BLANKS };
struct pass {
    enum pass_kind kind;
    struct word_rule word;
    struct isolate isolate;
};
enum { PRE_MAX_PASS = 6 };
struct pre_rules {
    const char *names;  /* separated by spaces */
    bool ignore_merges; /* a word that is a token is that token, whatever merging would give */
    bool adds_bos;      /* when the file does not say */
    struct pass pass[PRE_MAX_PASS];
};

/* The first match at or behind p, and its end; NULL: none. p is before end. */
const char *pass_find(const struct pass *s, const char *p, const char *end, const char **stop);

#endif
