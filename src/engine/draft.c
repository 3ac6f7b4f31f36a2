#include "engine/draft.h"

#include <stdlib.h>
#include <string.h>

enum { GRAM = 3, FIRST_SIZE = 3, PATIENCE = 2, MAX_PAUSE = 128 };

void draft_init(struct draft *d, uint32_t max)
{
    *d = (struct draft){.max = max, .size = MIN(max, (uint32_t)FIRST_SIZE)};
}

void draft_deinit(struct draft *d)
{
    free(d->slot);
    *d = (struct draft){0};
}

static uint32_t gram_slot(const struct draft *d, const int32_t *t)
{
    uint64_t h = (uint32_t)t[0];
    for (int i = 1; i < GRAM; i++) h = (h ^ h >> 31) * 0x9e3779b97f4a7c15 + (uint32_t)t[i];
    return (uint32_t)((h * 0x9e3779b97f4a7c15) >> 33) & (d->n_slot - 1);
}

/* All grams of token[0..n) but the last one, which is what is looked up. */
static void index_all(struct draft *d, const int32_t *token, uint32_t n)
{
    if (d->n_slot < n) {
        for (d->n_slot = 256; d->n_slot < 2 * n;) d->n_slot *= 2;
        free(d->slot);
        d->slot = mem_zalloc(d->n_slot, sizeof *d->slot);
        d->n_indexed = 0;
    }
    for (uint32_t end = MAX(d->n_indexed, (uint32_t)GRAM); end < n; end++)
        d->slot[gram_slot(d, token + end - GRAM)] = end;
    d->n_indexed = n;
}

uint32_t draft_propose(struct draft *d, const int32_t *token, uint32_t n, uint32_t most, int32_t *out)
{
    if (!d->max || n <= GRAM) return 0;
    if (d->pause) {
        d->pause--;
        return 0;
    }
    index_all(d, token, n);
    uint32_t from = d->slot[gram_slot(d, token + n - GRAM)], size = MIN(MIN(d->size, most), n - from);
    if (!from || memcmp(token + from - GRAM, token + n - GRAM, GRAM * sizeof *token) != 0) return 0;
    memcpy(out, token + from, size * sizeof *token);
    return size;
}

void draft_learn(struct draft *d, uint32_t n_tried, uint32_t n_right)
{
    if (!n_tried) return;
    if (n_right) {
        d->size = n_right == n_tried ? MIN(d->max, n_tried * 2) : MIN(d->max, n_right + 1);
        d->n_wrong = 0;
        return;
    }
    d->size = 1;
    d->n_wrong++;
    if (d->n_wrong >= PATIENCE) d->pause = MIN((uint32_t)MAX_PAUSE, 8u << MIN(d->n_wrong - PATIENCE, 4u));
}
