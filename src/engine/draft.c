#include "engine/draft.h"

#include <stdlib.h>
#include <string.h>

enum { GRAM = 3, RESYNC = 2, RETRY_AFTER = 32 };

void draft_init(struct draft *d, uint32_t max, uint32_t n_prompt, const int32_t *prediction,
                uint32_t n_prediction)
{
    /* What a source is believed to be worth before it was tried. */
    *d = (struct draft){
        .max = max,
        .n_followed = n_prompt,
        .record = {[DRAFT_CURSOR] = {3.8, 4, 0}, [DRAFT_LOOKUP] = {1.4, 2, 0}, [DRAFT_MODEL] = {3, 4, 0}}};
    if (!max || !n_prediction) return;
    d->n_prediction = n_prediction;
    d->prediction = mem_alloc(n_prediction * sizeof *prediction);
    memcpy(d->prediction, prediction, n_prediction * sizeof *prediction);
}

void draft_deinit(struct draft *d)
{
    free(d->slot);
    free(d->prediction);
    *d = (struct draft){0};
}

/* ---- the cursor -------------------------------------------------------------------------------------- */

/* The position of the prediction behind which the last two tokens stand: the nearest, rather ahead than back.
 */
static void find_place(struct draft *d, const int32_t *last)
{
    for (uint32_t at = d->cursor + 1; at <= d->n_prediction; at++)
        if (at >= RESYNC && !memcmp(d->prediction + at - RESYNC, last, RESYNC * sizeof *last)) {
            d->cursor = at;
            d->lost = false;
            return;
        }
    for (uint32_t at = MIN(d->cursor, d->n_prediction); at >= RESYNC; at--)
        if (!memcmp(d->prediction + at - RESYNC, last, RESYNC * sizeof *last)) {
            d->cursor = at;
            d->lost = false;
            return;
        }
}

static void follow(struct draft *d, const int32_t *token, uint32_t n)
{
    for (; d->n_followed < n; d->n_followed++) {
        const int32_t *t = &token[d->n_followed];
        if (!d->lost && d->cursor < d->n_prediction && d->prediction[d->cursor] == *t) {
            d->cursor++;
            continue;
        }
        d->lost = true;
        if (d->n_followed + 1 >= RESYNC) find_place(d, t + 1 - RESYNC);
    }
}

static uint32_t from_prediction(struct draft *d, const int32_t *token, uint32_t n, const int32_t **at)
{
    if (!d->n_prediction) return 0;
    follow(d, token, n);
    *at = d->prediction + d->cursor;
    return d->lost ? 0 : d->n_prediction - d->cursor;
}

/* ---- lookup ------------------------------------------------------------------------------------------ */

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

static uint32_t from_text(struct draft *d, const int32_t *token, uint32_t n, const int32_t **at)
{
    if (n <= GRAM) return 0;
    index_all(d, token, n);
    uint32_t from = d->slot[gram_slot(d, token + n - GRAM)];
    if (!from || memcmp(token + from - GRAM, token + n - GRAM, GRAM * sizeof *token) != 0) return 0;
    *at = token + from;
    return n - from;
}

/* ---- how many ---------------------------------------------------------------------------------------- */

/* The k-th guess comes to be of use with chance^k; it is worth its work as long as that is not below the
 * price. A source that is not worth one guess gets one now and then, or it could never prove itself again. */
static uint32_t worth(struct draft_record *r, double price, uint32_t most)
{
    double chance = r->n_right / r->n_judged, useful = chance;
    uint32_t k = 0;
    for (; k < most && useful >= price; k++) useful *= chance;
    if (k || price >= 1) return k;
    if (r->n_idle + 1 < RETRY_AFTER) {
        r->n_idle++;
        return 0;
    }
    return MIN(most, 1u);
}

uint32_t draft_worth(struct draft *d, enum draft_source source, double price, uint32_t most)
{
    uint32_t n = worth(&d->record[source], price, MIN(most, d->max));
    if (n) d->last = source;
    return n;
}

uint32_t draft_propose(struct draft *d, const int32_t *token, uint32_t n, uint32_t most, double price,
                       int32_t *out)
{
    const int32_t *at = NULL;
    if (!d->max) return 0;
    d->last = DRAFT_CURSOR;
    uint32_t have = from_prediction(d, token, n, &at);
    if (!have) {
        d->last = DRAFT_LOOKUP;
        have = from_text(d, token, n, &at);
    }
    uint32_t size = have ? worth(&d->record[d->last], price, MIN(MIN(have, most), d->max)) : 0;
    if (size) memcpy(out, at, size * sizeof *out); /* never in place: out stands behind the text */
    return size;
}

void draft_learn(struct draft *d, uint32_t n_tried, uint32_t n_right)
{
    const double keep = 0.8;
    struct draft_record *r = &d->record[d->last];
    if (!n_tried) return;
    r->n_idle = 0;
    r->n_right = r->n_right * keep + n_right;
    r->n_judged = r->n_judged * keep + n_right + (n_right < n_tried);
    if (d->last != DRAFT_CURSOR) return;
    d->n_cursor += n_tried;
    d->n_cursor_right += n_right;
}
