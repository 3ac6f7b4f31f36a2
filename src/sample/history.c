#include "sample/history.h"

#include <stdlib.h>
#include <string.h>

status history_setup(struct history *h, int32_t last_n, uint32_t count_of, struct error *e)
{
    *h = (struct history){.window = last_n < 0 ? SIZE_MAX : (size_t)last_n};
    if (!count_of || !h->window) return OK;
    h->count = mem_try(count_of, sizeof *h->count);
    h->count_out = mem_try(count_of, sizeof *h->count_out);
    h->slot = mem_try(count_of, sizeof *h->slot);
    h->distinct = mem_try(count_of, sizeof *h->distinct);
    if (!h->count || !h->count_out || !h->slot || !h->distinct)
        return fail(e, ERR_MEMORY, "sampler: no memory for the counts of %u tokens", count_of);
    return OK;
}

void history_deinit(struct history *h)
{
    free(h->token);
    free(h->count);
    free(h->count_out);
    free(h->slot);
    free(h->distinct);
    *h = (struct history){0};
}

static void count_in(struct history *h, int32_t entry)
{
    int32_t t = history_token(entry);
    if (h->count[t]++ == 0) {
        h->slot[t] = h->n_distinct;
        h->distinct[h->n_distinct++] = t;
    }
    if (entry >= 0) h->count_out[t]++;
}

static void count_away(struct history *h, int32_t entry)
{
    int32_t t = history_token(entry);
    if (entry >= 0) h->count_out[t]--;
    if (--h->count[t] == 0) {
        int32_t last = h->distinct[--h->n_distinct];
        h->distinct[h->slot[t]] = last;
        h->slot[last] = h->slot[t];
    }
}

void history_add(struct history *h, int32_t token, bool from_prompt)
{
    if (!h->window) return;
    int32_t entry = from_prompt ? -1 - token : token;
    if (h->count) {
        if (h->n >= h->window) count_away(h, h->token[h->n - h->window]);
        count_in(h, entry);
    }
    if (h->n == h->cap) {
        if (h->n / 2 >= h->window) { /* only the newer half, or less, still counts */
            memmove(h->token, h->token + (h->n - h->window), h->window * sizeof *h->token);
            h->n = h->window;
        } else {
            h->cap = h->cap ? 2 * h->cap : 64;
            h->token = mem_realloc(h->token, h->cap, sizeof *h->token);
        }
    }
    h->token[h->n++] = entry;
}
