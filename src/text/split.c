/* Text to words: the passes of a pre-tokenizer, one inside the other. */
#include "text/split.h"

struct splitter { /* where the words go */
    struct tok_run *run;
    tok_word *word;
};

static void split_from(const struct pass *s, unsigned left, const struct splitter *to, const char *p,
                       const char *end);

static void hand_on(const struct pass *s, unsigned left, const struct splitter *to, const char *p,
                    const char *end)
{
    if (p == end) return;
    if (left && s[1].kind != PASS_NONE)
        split_from(s + 1, left - 1, to, p, end);
    else
        to->word(to->run, p, (size_t)(end - p));
}

/* Cut p..end by pass s and hand the parts to the `left` passes after it. */
static void split_from(const struct pass *s, unsigned left, const struct splitter *to, const char *p,
                       const char *end)
{
    const char *at, *stop;
    while (p < end && to->run->code == OK && (at = pass_find(s, p, end, &stop))) {
        hand_on(s, left, to, p, at);
        hand_on(s, left, to, at, stop);
        p = stop;
    }
    hand_on(s, left, to, p, end);
}

void pre_split(const struct pre_rules *p, const char *text, size_t n, struct tok_run *run, tok_word *word)
{
    struct splitter to = {run, word};
    split_from(p->pass, PRE_MAX_PASS - 1, &to, text, text + n);
}
