/* Which idle models make room: those whose loss costs least. A model's cost is the time that loading it again
 * would take, for its bytes, over the time that nobody has asked for it: bytes x reload time / idle time. */
#include "place/place_int.h"

enum { EXACT_ITEMS = 10 }; /* up to here every subset is looked at */

double evict_cost(const struct claim *c, const struct place_resident *r)
{
    const double least_s = 1e-3;
    double bytes = 0;
    for (uint32_t i = 0; c && i < c->n; i++) bytes += (double)c->part[i].bytes;
    return bytes * MAX((double)r->reload_ns * 1e-9, least_s) /
           MAX(r->busy ? 0 : (double)r->idle_ns * 1e-9, least_s);
}

static void swap(struct item *a, struct item *b)
{
    struct item t = *a;
    *a = *b;
    *b = t;
}

/* Of few: each subset is a smaller one and one item more. At equal cost the fewer win. */
static uint32_t all_subsets(struct item *item, uint32_t n, uint64_t need, double *cost)
{
    uint64_t gives[1 << EXACT_ITEMS] = {0};
    double costs[1 << EXACT_ITEMS] = {0};
    uint32_t best = 0, front = 0;
    for (uint32_t set = 1; set < 1u << n; set++) {
        const uint32_t rest = set & (set - 1), i = (uint32_t)__builtin_ctz(set);
        gives[set] = gives[rest] + item[i].gives;
        costs[set] = costs[rest] + item[i].cost;
        if (gives[set] < need) continue;
        if (!best || costs[set] < costs[best] ||
            (costs[set] <= costs[best] && __builtin_popcount(set) < __builtin_popcount(best)))
            best = set;
    }
    *cost = costs[best];
    for (uint32_t i = 0; i < n; i++)
        if (best >> i & 1) swap(&item[front++], &item[i]);
    return front;
}

/* Of many: the cheapest per byte until it suffices, then without those that are not needed after all, the
 * dearest first; or the one that suffices alone, if that is cheaper. */
static uint32_t by_price(struct item *item, uint32_t n, uint64_t need, double *cost)
{
    uint64_t sum = 0;
    uint32_t k = 0, alone = n;
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t at = i; at > 0 && item[at - 1].cost / (double)item[at - 1].gives >
                                            item[at].cost / (double)item[at].gives;
             at--)
            swap(&item[at - 1], &item[at]);
    while (sum < need) sum += item[k++].gives;
    for (;;) {
        uint32_t drop = k;
        for (uint32_t i = 0; i < k; i++)
            if (sum - item[i].gives >= need && (drop == k || item[i].cost > item[drop].cost)) drop = i;
        if (drop == k) break;
        sum -= item[drop].gives;
        swap(&item[drop], &item[--k]);
    }
    *cost = 0;
    for (uint32_t i = 0; i < k; i++) *cost += item[i].cost;
    for (uint32_t i = 0; i < n; i++)
        if (item[i].gives >= need && (alone == n || item[i].cost < item[alone].cost)) alone = i;
    if (alone == n || item[alone].cost > *cost) return k;
    *cost = item[alone].cost;
    swap(&item[0], &item[alone]);
    return 1;
}

uint32_t evict_choose(struct item *item, uint32_t n, uint64_t need, double *cost)
{
    uint64_t all = 0;
    *cost = 0;
    if (need == 0) return 0;
    for (uint32_t i = 0; i < n; i++) all += item[i].gives;
    if (all < need) return UINT32_MAX;
    return n <= EXACT_ITEMS ? all_subsets(item, n, need, cost) : by_price(item, n, need, cost);
}
