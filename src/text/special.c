/* Control and user-defined tokens that are recognised in text before the model sees it. Longer tokens first,
 * each from left to right over what longer ones have left, as the reference tokenizers do.
 *
 * Tokens stand in few places. One scan finds the regions where any do, and only inside a region, mostly one
 * token, is the order of the lengths followed. */
#include <stdlib.h>

#include "text/tok_int.h"

static int by_text(const void *pa, const void *pb, void *ctx)
{
    const struct tokenizer *t = ctx;
    const struct tok_span *a = &t->text[*(const int32_t *)pa], *b = &t->text[*(const int32_t *)pb];
    int c = memcmp(t->blob + a->off, t->blob + b->off, MIN(a->n, b->n));
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

static bool is_special(const struct tokenizer *t, uint32_t id, bool control)
{
    if (t->text[id].n == 0) return false;
    if (strmap_find(&t->by_text, t->blob + t->text[id].off, t->text[id].n) != (int32_t)id) return false;
    return t->attr[id] == TOK_USER_DEFINED ||
           (control && (t->attr[id] == TOK_CONTROL || t->attr[id] == TOK_UNKNOWN));
}

/* The filters learn how the token begins. */
static void note_start(struct tok_specials *s, const char *text, size_t n)
{
    unsigned first = (uint8_t)text[0] * 256u;
    unsigned lo = n > 1 ? first + (uint8_t)text[1] : first, hi = n > 1 ? lo : first + 255;
    for (unsigned two = lo; two <= hi; two++) s->start[two / 64] |= (uint64_t)1 << two % 64;
    s->has_len[n / 64] |= (uint64_t)1 << n % 64;
}

status specials_init(struct tok_specials *s, const struct tokenizer *t, bool control, struct error *e)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id < t->n_vocab; id++) n += is_special(t, id, control);
    s->id = mem_try(MAX(n, 1u), sizeof *s->id);
    if (!s->id) return fail(e, ERR_MEMORY, "tokenizer: no memory for %u special tokens", n);
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        if (!is_special(t, id, control)) continue;
        uint32_t len = t->text[id].n;
        if (len > TOK_MAX_SPECIAL)
            return fail(e, ERR_LIMIT, "tokenizer: special token %u has %u bytes, the ceiling is %d", id, len,
                        TOK_MAX_SPECIAL);
        s->id[s->n++] = (int32_t)id;
        s->strips |= (t->flags[id] & TOK_RSTRIP) != 0;
        note_start(s, t->blob + t->text[id].off, len);
    }
    qsort_r(s->id, s->n, sizeof *s->id, by_text, (void *)(uintptr_t)t);
    return OK;
}

void specials_deinit(struct tok_specials *s)
{
    free(s->id);
    *s = (struct tok_specials){0};
}

/* Byte `depth` of the i-th of the sorted tokens, which all are longer. */
static uint8_t byte_at(const struct tok_specials *s, const struct tokenizer *t, uint32_t i, uint32_t depth)
{
    return (uint8_t)t->blob[t->text[s->id[i]].off + depth];
}

/* Of the sorted tokens lo..hi, which agree in their first `depth` bytes and are longer, those with byte c
 * next. */
static void narrow(const struct tok_specials *s, const struct tokenizer *t, uint32_t depth, uint8_t c,
                   uint32_t *lo, uint32_t *hi)
{
    if (byte_at(s, t, *lo, depth) == c && byte_at(s, t, *hi - 1, depth) == c) return;
    for (int side = 0; side < 2; side++) {
        uint32_t a = *lo, b = *hi;
        while (a < b) {
            uint32_t mid = a + (b - a) / 2;
            if (byte_at(s, t, mid, depth) < (int)c + side)
                a = mid + 1;
            else
                b = mid;
        }
        *(side ? hi : lo) = a;
    }
}

/* The longest token of at most n bytes that stands at text, or with `exact` the one of n bytes; -1: none. */
static int32_t stands_at(const struct tok_specials *s, const struct tokenizer *t, const char *text, size_t n,
                         bool exact)
{
    uint32_t lo = 0, hi = s->n;
    int32_t longest = -1;
    for (uint32_t depth = 0; depth < n && lo < hi; depth++) {
        narrow(s, t, depth, (uint8_t)text[depth], &lo, &hi);
        if (lo == hi || t->text[s->id[lo]].n != depth + 1) continue;
        if (!exact || depth + 1 == n) longest = s->id[lo];
        lo++;
    }
    return longest;
}

/* Whether some token may stand at p. */
static inline bool may_start(const struct tok_specials *s, const char *p, const char *end)
{
    if (end - p < 2) return p < end;
    unsigned two = (uint8_t)p[0] * 256u + (uint8_t)p[1];
    return s->start[two / 64] >> two % 64 & 1;
}

struct cuts {
    struct tok_stretch *at;
    size_t n, cap;
    bool failed;
};

/* Text that follows text joins it. */
static void add_cut(struct cuts *c, size_t begin, size_t end, int32_t id)
{
    if (c->failed || (id < 0 && begin == end)) return;
    if (id < 0 && c->n && c->at[c->n - 1].id < 0) {
        c->at[c->n - 1].end = end;
        return;
    }
    if (c->n == c->cap) {
        size_t cap = c->cap + c->cap / 2 + 8, bytes;
        struct tok_stretch *p = checked_mul(cap, sizeof *p, &bytes) ? realloc(c->at, bytes) : NULL;
        if (!p) {
            c->failed = true;
            return;
        }
        c->at = p;
        c->cap = cap;
    }
    c->at[c->n++] = (struct tok_stretch){begin, end, id};
}

/* One call of specials_cut. */
struct cutter {
    const struct tok_specials *s;
    const struct tokenizer *t;
    const char *text;
    size_t n;
    struct cuts out;
    struct cuts now, next; /* of one region */
};

static size_t skip_blanks(const char *text, size_t i, size_t end)
{
    while (i < end && (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'))) i++;
    return i;
}

/* Cut one stretch of text at the tokens of len bytes. */
static void cut_stretch(const struct cutter *c, struct tok_stretch in, size_t len, struct cuts *out)
{
    size_t begin = in.begin, i = in.begin;
    while (i + len <= in.end) {
        const char *p = c->text + i;
        int32_t id = may_start(c->s, p, p + len) ? stands_at(c->s, c->t, p, len, true) : -1;
        if (id < 0) {
            i++;
            continue;
        }
        add_cut(out, begin, i, -1);
        begin = i + len;
        if (c->t->flags[id] & TOK_RSTRIP) begin = skip_blanks(c->text, begin, in.end);
        add_cut(out, i, begin, id);
        i = begin;
    }
    add_cut(out, begin, in.end, -1);
}

/* A stretch that tokens stand in, each but the first beginning inside an earlier one. */
struct region {
    size_t begin, end;
    size_t longest; /* bytes of the longest token in it; 0: no region */
};

static void cut_region(struct cutter *c, const struct region *r)
{
    c->now.n = 0;
    add_cut(&c->now, r->begin, r->end, -1);
    for (size_t len = r->longest; len > 0; len--) {
        if (!(c->s->has_len[len / 64] >> len % 64 & 1)) continue;
        c->next.n = 0;
        for (size_t i = 0; i < c->now.n; i++) {
            struct tok_stretch at = c->now.at[i];
            if (at.id < 0)
                cut_stretch(c, at, len, &c->next);
            else
                add_cut(&c->next, at.begin, at.end, at.id);
        }
        struct cuts swap = c->now;
        c->now = c->next;
        c->next = swap;
    }
    for (size_t i = 0; i < c->now.n; i++)
        add_cut(&c->out, c->now.at[i].begin, c->now.at[i].end, c->now.at[i].id);
}

/* The next region that begins at or behind *i, which moves behind it. */
static struct region next_region(const struct cutter *c, size_t *i)
{
    struct region r = {0};
    for (; *i < c->n && (!r.longest || *i < r.end); ++*i) {
        const char *p = c->text + *i;
        int32_t id = may_start(c->s, p, c->text + c->n) ? stands_at(c->s, c->t, p, c->n - *i, false) : -1;
        if (id < 0) continue;
        size_t len = c->t->text[id].n, end = *i + len;
        if (c->s->strips) end = skip_blanks(c->text, end, c->n);
        if (!r.longest) r.begin = *i;
        r.end = MAX(r.end, end);
        r.longest = MAX(r.longest, len);
    }
    return r;
}

static void cut_text(struct cutter *c)
{
    struct region r;
    size_t plain = 0; /* where the text behind the last region begins */
    for (size_t i = 0; c->s->n && (r = next_region(c, &i)).longest; plain = r.end) {
        add_cut(&c->out, plain, r.begin, -1);
        cut_region(c, &r);
    }
    add_cut(&c->out, plain, c->n, -1);
}

status specials_cut(const struct tok_specials *s, const struct tokenizer *t, const char *text, size_t n,
                    struct tok_stretch **out, size_t *n_out, struct error *e)
{
    struct cutter c = {.s = s, .t = t, .text = text, .n = n};
    cut_text(&c);
    bool failed = c.out.failed || c.now.failed || c.next.failed;
    free(c.now.at);
    free(c.next.at);
    if (failed) {
        free(c.out.at);
        return fail(e, ERR_MEMORY, "tokenizer: no memory to cut %zu bytes of text at special tokens", n);
    }
    *out = c.out.at;
    *n_out = c.out.n;
    return OK;
}
