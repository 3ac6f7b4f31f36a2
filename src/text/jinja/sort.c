#include <string.h>

#include "text/jinja/builtin.h"

struct sorting {
    struct jj *r;
    const struct jj_value *key;
    bool reverse;
};

/* Whether b belongs before a, which stands first now. */
static bool out_of_order(const struct sorting *s, uint32_t a, uint32_t b)
{
    int o =
        s->reverse ? jj_order(s->r, s->key[a], s->key[b], "<") : jj_order(s->r, s->key[b], s->key[a], "<");
    return o < 0;
}

/* Merge sort of at[0..n) with room in tmp: stable, as Python's. */
static void merge_sort(const struct sorting *s, uint32_t *at, uint32_t *tmp, size_t n)
{
    size_t half = n / 2, i = 0, k = half, out = 0;
    if (n < 2) return;
    merge_sort(s, at, tmp, half);
    merge_sort(s, at + half, tmp, n - half);
    while (i < half && k < n) tmp[out++] = out_of_order(s, at[i], at[k]) ? at[k++] : at[i++];
    while (i < half) tmp[out++] = at[i++];
    while (k < n) tmp[out++] = at[k++];
    memcpy(at, tmp, n * sizeof *at);
}

void jj_sort(struct jj *r, struct jj_value *item, struct jj_value *key, size_t n, bool reverse)
{
    struct sorting s = {.r = r, .key = key ? key : item, .reverse = reverse};
    uint32_t *at = jj_alloc(&r->arena, n, sizeof *at), *tmp = jj_alloc(&r->arena, n, sizeof *tmp);
    struct jj_value *sorted = jj_alloc(&r->arena, n, sizeof *sorted);
    for (size_t i = 0; i < n; i++) at[i] = (uint32_t)i;
    merge_sort(&s, at, tmp, n);
    for (size_t i = 0; i < n; i++) sorted[i] = item[at[i]];
    if (n) memcpy(item, sorted, n * sizeof *item);
    for (size_t i = 0; i < n && key; i++) sorted[i] = key[at[i]];
    if (n && key) memcpy(key, sorted, n * sizeof *key);
}
