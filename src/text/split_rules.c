/* What the rules of a pre-tokenizer match. */
#include "text/split.h"

/* Past the characters from p on that have a class in want and none in without. */
static inline const char *run_of(const char *p, const char *end, unsigned want, unsigned without)
{
    for (;;) {
        struct ch c = ch_at(p, end);
        if (!c.len || !(c.cls & want) || c.cls & without) return p;
        p += c.len;
    }
}
/* Past those that have none of the classes in without. */
static inline const char *run_without(const char *p, const char *end, unsigned without)
{
    for (;;) {
        struct ch c = ch_at(p, end);
        if (!c.len || c.cls & without) return p;
        p += c.len;
    }
}

/* r is sorted. */
static bool in_ranges(uint32_t cp, const struct range *r, size_t n)
{
    size_t lo = 0, hi = n;
    if (cp < 0x80) { /* among the first few, if at all */
        while (lo < n && r[lo].hi < cp) lo++;
        return lo < n && r[lo].lo <= cp;
    }
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (cp > r[mid].hi)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && r[lo].lo <= cp;
}

static const struct range han[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                   {0x20000, 0x2A6DF}, {0x2A700, 0x2EBEF}, {0x2F800, 0x2FA1F}};

static bool is_han(struct ch c)
{
    return c.cp >= 0x3400 && c.len && in_ranges(c.cp, han, COUNT_OF(han));
}

/* Bytes of the contraction at p, 0 when there is none. */
static size_t contraction_at(const char *p, const char *end, bool any_case)
{
    if (end - p < 2 || p[0] != '\'') return 0;
    char fold = any_case ? 0x20 : 0, a = (char)(p[1] | fold), b = end - p > 2 ? (char)(p[2] | fold) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* The end of "U*W+" or else "U+W*" at p, where U is any letter but a-z and W any letter but A-Z: letters
 * beyond ASCII are both. p when there is no letter. */
static const char *cased_word(const char *p, const char *end)
{
    const char *after_both = NULL; /* behind the last letter that is both */
    struct ch c;
    for (; (c = ch_at(p, end)).cls & C_LETTER && !(c.cls & C_LOWER); p += c.len)
        if (!(c.cls & C_UPPER)) after_both = p + c.len;
    if (c.cls & C_LOWER) return run_of(p, end, C_LETTER, C_UPPER);
    return after_both ? after_both : p;
}

static const char *letters_end(const struct word_rule *r, const char *p, const char *end)
{
    if (r->cased) return cased_word(p, end);
    if (!r->han) return run_of(p, end, r->letters, 0);
    struct ch c;
    while ((c = ch_at(p, end)).cls & C_LETTER && !is_han(c)) p += c.len;
    return p;
}

/* The end of the word at p, p when it is not one: an optional leading character, then letters. */
static const char *word_at(const struct word_rule *r, const char *p, const char *end, struct ch c)
{
    const char *q = p;
    if (!(c.cls & r->letters)) {
        if (r->lead == LEAD_SPACE ? c.cp != ' ' : (c.cls & (C_NEWLINE | C_LETTER | C_NUMBER)) != 0) return p;
        q += c.len;
    }
    const char *stop = letters_end(r, q, end);
    if (stop == q) return p;
    if (r->contraction == ANY_CASE_AFTER_WORD) stop += contraction_at(stop, end, true);
    return stop;
}

static const char *number_at(const struct word_rule *r, const char *p, const char *end, struct ch c)
{
    if (!r->max_digits) {
        const char *q = p + (c.cp == ' '), *stop = run_of(q, end, C_NUMBER, 0);
        return stop == q ? p : stop;
    }
    for (unsigned i = 0; i < r->max_digits && (c = ch_at(p, end)).cls & C_NUMBER; i++) p += c.len;
    return p;
}

/* "\s*[\r\n]+" where asked for, else "\s+(?!\S)", else "\s+"; p when there is no blank. */
static const char *blanks_at(const char *p, const char *end, bool newlines)
{
    const char *begin = p, *last = p, *newline = NULL;
    struct ch c;
    for (; (c = ch_at(p, end)).cls & C_SPACE; p += c.len) {
        last = p;
        if (c.cls & C_NEWLINE) newline = p + c.len;
    }
    if (newlines && newline) return newline;
    return c.len && last > begin ? last : p; /* leave one blank to the word that follows */
}

static const char *word_end(const struct word_rule *r, const char *p, const char *end)
{
    struct ch c = ch_at(p, end);
    const char *q;
    if (c.cp == '\'' && (r->contraction == LOWER_CASE || r->contraction == ANY_CASE)) {
        size_t n = contraction_at(p, end, r->contraction == ANY_CASE);
        if (n) return p + n;
    }
    if (r->han && is_han(c)) {
        while (is_han(ch_at(p, end))) p += ch_at(p, end).len;
        return p;
    }
    if ((q = word_at(r, p, end, c)) != p) return q;
    if ((q = number_at(r, p, end, c)) != p) return q;
    unsigned not_punct = C_SPACE | C_NUMBER | r->letters;
    q = p + (c.cp == ' ');
    const char *stop = run_without(q, end, not_punct);
    if (stop != q) {
        while (stop < end && *stop && strchr(r->tail, *stop)) stop++;
        return stop;
    }
    q = blanks_at(p, end, r->newlines);
    return q != p ? q : p + c.len;
}

/* DeepSeek V3: words may begin with an ASCII sign, and punctuation is named rather than the rest. */
static const char *deepseek3_end(const char *p, const char *end)
{
    struct ch c = ch_at(p, end), next = ch_at(p + c.len, end);
    const char *q;
    if (c.cp < 0x80 && c.cls & (C_PUNCT | C_SYMBOL) && next.cls & (C_UPPER | C_LOWER))
        return run_of(p + 1, end, C_UPPER | C_LOWER, 0);
    if (c.cls & (C_LETTER | C_MARK)) return run_of(p, end, C_LETTER | C_MARK, 0);
    if (!(c.cls & (C_NEWLINE | C_PUNCT | C_SYMBOL)) && next.cls & (C_LETTER | C_MARK))
        return run_of(p + c.len, end, C_LETTER | C_MARK, 0);
    q = p + (c.cp == ' ');
    const char *stop = run_of(q, end, C_PUNCT | C_SYMBOL, 0);
    if (stop != q) return run_of(stop, end, C_NEWLINE, 0);
    q = blanks_at(p, end, true);
    return q != p ? q : NULL;
}

static bool isolates(const struct isolate *r, struct ch c)
{
    if (!c.len) return false;
    return c.cls & r->classes || (r->n_range && !(c.cls & C_SPACE) && in_ranges(c.cp, r->range, r->n_range));
}

/* The end of the match at p; NULL: none. */
static const char *isolate_end(const struct isolate *r, const char *p, const char *end)
{
    struct ch c = ch_at(p, end);
    unsigned n = 0;
    if (r->blank_before && c.cls & C_SPACE) p += c.len;
    while ((!r->max || n < r->max) && isolates(r, c = ch_at(p, end))) {
        p += c.len;
        n++;
    }
    return n && n >= r->min ? p : NULL;
}

/* "\s+$" */
static const char *last_blanks(const char *p, const char *end)
{
    const char *blanks = NULL;
    struct ch c;
    for (; (c = ch_at(p, end)).len; p += c.len) {
        if (!(c.cls & C_SPACE))
            blanks = NULL;
        else if (!blanks)
            blanks = p;
    }
    return blanks;
}

const char *pass_find(const struct pass *s, const char *p, const char *end, const char **stop)
{
    switch (s->kind) {
    case PASS_WORD: *stop = word_end(&s->word, p, end); return p;
    case PASS_ISOLATE:
        for (; p < end; p += ch_at(p, end).len)
            if ((*stop = isolate_end(&s->isolate, p, end))) return p;
        return NULL;
    case PASS_DEEPSEEK3:
        for (; p < end; p += ch_at(p, end).len)
            if ((*stop = deepseek3_end(p, end))) return p;
        return NULL;
    case PASS_LAST_BLANKS: *stop = end; return last_blanks(p, end);
    default: return NULL;
    }
}
