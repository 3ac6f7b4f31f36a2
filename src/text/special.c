/* Control and user-defined tokens that are recognised in text before the model sees it. Longer tokens first,
 * each from left to right over what longer ones have left, as the reference tokenizers do. */
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
        s->first[(uint8_t)t->blob[t->text[id].off]] = true;
        s->lens[len / 64] |= (uint64_t)1 << len % 64;
    }
    qsort_r(s->id, s->n, sizeof *s->id, by_text, (void *)(uintptr_t)t);
    return OK;
}

void specials_deinit(struct tok_specials *s)
{
    free(s->id);
    *s = (struct tok_specials){0};
}

/* Of the sorted tokens lo..hi, which agree in their first `depth` bytes, those with byte c next. */
static void narrow(const struct tok_specials *s, const struct tokenizer *t, uint32_t depth, uint8_t c,
                   uint32_t *lo, uint32_t *hi)
{
    for (int side = 0; side < 2; side++) {
        uint32_t a = *lo, b = *hi;
        while (a < b) {
            uint32_t mid = a + (b - a) / 2;
            const struct tok_span *p = &t->text[s->id[mid]];
            int have = p->n <= depth ? -1 : (uint8_t)t->blob[p->off + depth];
            if (have < (int)c + side)
                a = mid + 1;
            else
                b = mid;
        }
        *(side ? hi : lo) = a;
    }
}

/* The token of exactly `want` bytes that stands at text, or -1; with want 0, set in seen the lengths of all
 * tokens that stand there. */
static int32_t stands_at(const struct tok_specials *s, const struct tokenizer *t, const char *text, size_t n,
                         size_t want, uint64_t *seen)
{
    uint32_t lo = 0, hi = s->n;
    for (uint32_t depth = 0; depth < n && lo < hi; depth++) {
        narrow(s, t, depth, (uint8_t)text[depth], &lo, &hi);
        if (lo == hi || t->text[s->id[lo]].n != depth + 1) continue;
        if (want == depth + 1) return s->id[lo];
        if (!want) seen[(depth + 1) / 64] |= (uint64_t)1 << (depth + 1) % 64;
    }
    return -1;
}

struct cuts {
    struct tok_stretch *at;
    size_t n, cap;
    bool failed;
};

static void add_cut(struct cuts *c, size_t begin, size_t end, int32_t id)
{
    if (c->failed || (id < 0 && begin == end)) return;
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

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Cut one stretch of text at the tokens of len bytes. */
static void cut_stretch(const struct tok_specials *s, const struct tokenizer *t, const char *text,
                        struct tok_stretch in, size_t len, struct cuts *out)
{
    size_t begin = in.begin, i = in.begin;
    while (i + len <= in.end) {
        int32_t id = s->first[(uint8_t)text[i]] ? stands_at(s, t, text + i, len, len, NULL) : -1;
        if (id < 0) {
            i++;
            continue;
        }
        size_t left = i, right = i + len;
        if (t->flags[id] & TOK_LSTRIP)
            while (left > begin && is_blank(text[left - 1])) left--;
        if (t->flags[id] & TOK_RSTRIP)
            while (right < in.end && is_blank(text[right])) right++;
        add_cut(out, begin, left, -1);
        add_cut(out, left, right, id);
        begin = i = right;
    }
    add_cut(out, begin, in.end, -1);
}

status specials_cut(const struct tok_specials *s, const struct tokenizer *t, const char *text, size_t n,
                    struct tok_stretch **out, size_t *n_out, struct error *e)
{
    struct cuts now = {0}, next = {0};
    uint64_t seen[COUNT_OF(s->lens)] = {0};
    add_cut(&now, 0, n, -1);
    if (s->n)
        for (size_t i = 0; i < n; i++)
            if (s->first[(uint8_t)text[i]]) stands_at(s, t, text + i, n - i, 0, seen);
    for (size_t len = TOK_MAX_SPECIAL; len > 0; len--) {
        if (!(seen[len / 64] >> len % 64 & 1)) continue;
        next.n = 0;
        for (size_t i = 0; i < now.n; i++) {
            if (now.at[i].id < 0)
                cut_stretch(s, t, text, now.at[i], len, &next);
            else
                add_cut(&next, now.at[i].begin, now.at[i].end, now.at[i].id);
        }
        struct cuts swap = now;
        now = next;
        next = swap;
    }
    bool failed = now.failed || next.failed;
    free(next.at);
    if (failed) {
        free(now.at);
        return fail(e, ERR_MEMORY, "tokenizer: no memory to cut %zu bytes of text at special tokens", n);
    }
    *out = now.at;
    *n_out = now.n;
    return OK;
}
