/* Merging a long run of symbols: a heap of candidate pairs over a doubly linked list, n log n in the length
 * of the run. A candidate is stale when its left symbol is gone or the pair no longer has the size it had. */
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

bool merge_all(const struct tokenizer *t, const char *text, struct tok_sym *sym, uint32_t n, tok_join *join)
{
    struct heap h = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i + 1 < n; i++) ok = consider(t, text, sym, i, join, &h);
    while (ok && h.n) {
        struct candidate c = heap_pop(&h);
        uint32_t left = (uint32_t)c.key;
        struct tok_sym *a = &sym[left];
        if (!a->n || a->next == UINT32_MAX) continue;
        struct tok_sym *b = &sym[a->next];
        if (a->n + b->n != c.n) continue;
        a->n = c.n;
        a->id = c.id;
        b->n = 0;
        a->next = b->next;
        if (a->next != UINT32_MAX) sym[a->next].prev = left;
        ok = consider(t, text, sym, a->prev, join, &h) && consider(t, text, sym, left, join, &h);
    }
    free(h.at);
    return ok;
}
