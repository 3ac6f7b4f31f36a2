/* The merge loop of both models: the best pair of neighbours joins until none does.
 *
 * A short run keeps the order of each pair in an array and scans it. A long one uses a heap of candidate
 * pairs, n log n in the length of the run; a candidate is stale when its left symbol is gone or the pair no
 * longer has the size it had. */
#include <stdlib.h>

#include "text/tok_int.h"

struct candidate {
    uint64_t key; /* order, then position: the leftmost of equal ones first */
    uint32_t n;   /* bytes of the merged symbol */
    int32_t id;
};
struct heap {
    struct candidate *at;
    size_t n, cap;
};

static bool heap_push(struct heap *h, struct candidate c)
{
    if (h->n == h->cap) {
        size_t cap = h->cap + h->cap / 2 + 16, bytes;
        struct candidate *p = checked_mul(cap, sizeof *p, &bytes) ? realloc(h->at, bytes) : NULL;
        if (!p) return false;
        h->at = p;
        h->cap = cap;
    }
    size_t i = h->n++;
    for (; i && h->at[(i - 1) / 2].key > c.key; i = (i - 1) / 2) h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = c;
    return true;
}

static struct candidate heap_pop(struct heap *h)
{
    struct candidate top = h->at[0], last = h->at[--h->n];
    size_t i = 0, c;
    while ((c = 2 * i + 1) < h->n) {
        if (c + 1 < h->n && h->at[c + 1].key < h->at[c].key) c++;
        if (last.key <= h->at[c].key) break;
        h->at[i] = h->at[c];
        i = c;
    }
    h->at[i] = last;
    return top;
}

static bool consider(const struct tokenizer *t, const char *text, const struct tok_sym *sym, uint32_t left,
                     tok_join *join, struct heap *h)
{
    if (left == UINT32_MAX || sym[left].next == UINT32_MAX) return true;
    const struct tok_sym *a = &sym[left], *b = &sym[a->next];
    uint32_t order;
    int32_t id;
    if (!join(t, text, a, b, &order, &id)) return true;
    return heap_push(h, (struct candidate){(uint64_t)order << 32 | left, a->n + b->n, id});
}

/* Join symbol a with the one after it. */
static void join_next(struct tok_sym *sym, struct tok_sym *a, int32_t id)
{
    struct tok_sym *b = &sym[a->next];
    a->n += b->n;
    a->id = id;
    b->n = 0;
    a->next = b->next;
    if (a->next != UINT32_MAX) sym[a->next].prev = (uint32_t)(a - sym);
}

static bool merge_by_heap(const struct tokenizer *t, const char *text, struct tok_sym *sym, uint32_t n,
                          tok_join *join)
{
    struct heap h = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i + 1 < n; i++) ok = consider(t, text, sym, i, join, &h);
    while (ok && h.n) {
        struct candidate c = heap_pop(&h);
        uint32_t left = (uint32_t)c.key;
        struct tok_sym *a = &sym[left];
        if (!a->n || a->next == UINT32_MAX || a->n + sym[a->next].n != c.n) continue;
        join_next(sym, a, c.id);
        ok = consider(t, text, sym, a->prev, join, &h) && consider(t, text, sym, left, join, &h);
    }
    free(h.at);
    return ok;
}

static void merge_by_scan(const struct tokenizer *t, const char *text, struct tok_sym *sym, uint32_t n,
                          tok_join *join)
{
    uint32_t order[TOK_SHORT_RUN] = {UINT32_MAX}; /* of joining symbol i with its next; UINT32_MAX: never */
    int32_t id[TOK_SHORT_RUN];
    for (uint32_t i = 0; i < n; i++)
        if (i + 1 == n || !join(t, text, &sym[i], &sym[i + 1], &order[i], &id[i])) order[i] = UINT32_MAX;
    for (;;) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < n; i++)
            if (order[i] < order[best]) best = i;
        if (order[best] == UINT32_MAX) return;
        struct tok_sym *a = &sym[best];
        order[a->next] = UINT32_MAX;
        join_next(sym, a, id[best]);
        if (a->next == UINT32_MAX || !join(t, text, a, &sym[a->next], &order[best], &id[best]))
            order[best] = UINT32_MAX;
        uint32_t prev = a->prev;
        if (prev != UINT32_MAX && !join(t, text, &sym[prev], a, &order[prev], &id[prev]))
            order[prev] = UINT32_MAX;
    }
}

bool merge_all(const struct tokenizer *t, const char *text, struct tok_sym *sym, uint32_t n, tok_join *join)
{
    if (n > TOK_SHORT_RUN) return merge_by_heap(t, text, sym, n, join);
    if (n > 1) merge_by_scan(t, text, sym, n, join);
    return true;
}
