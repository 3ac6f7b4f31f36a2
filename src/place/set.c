/* The fewest devices that hold a model, split between layers.
 *
 * Of all sets of k devices the k with the most room do if any does: give the i-th largest of them what the
 * i-th largest of another set had. In which order the layers run through them matters only for the last
 * bytes: three orders are tried, then (up to SET_EXACT devices) all, by the most layers that each subset can
 * hold: more layers are never worse, so the best order of a subset is the best order of one device less,
 * followed by that device. */
#include <string.h>

#include "place/place_int.h"

/* How many layers the devices hold, one after the other, each leaving margin free. */
static uint32_t walk(const struct fit *f, const uint64_t *room, const uint32_t *order, uint32_t k,
                     uint64_t margin, uint32_t *end)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < k; i++) {
        const uint64_t r = room[order[i]];
        const uint32_t to = r > margin ? fit_layers(f, at, r - margin) : at;
        if (to == at) return 0; /* a device without a layer is no part of a set */
        end[i] = at = to;
    }
    return at;
}

/* Leave every device as much room as can be, rather than fill all but the last. */
static void balance(const struct fit *f, const uint64_t *room, const uint32_t *order, uint32_t k,
                    uint32_t *end)
{
    uint32_t other[PLACE_MAX_DEVICES];
    uint64_t low = 0, high = UINT64_MAX;
    for (uint32_t i = 0; i < k; i++) high = MIN(high, room[order[i]]);
    while (low + 1 < high) {
        const uint64_t margin = low + (high - low) / 2;
        if (walk(f, room, order, k, margin, other) == f->plan->n_layer) {
            low = margin;
            memcpy(end, other, k * sizeof *end);
        } else {
            high = margin;
        }
    }
}

static bool exact(const struct fit *f, const uint64_t *room, uint32_t k, uint32_t *order)
{
    uint16_t most[1 << SET_EXACT] = {0};
    uint8_t last[1 << SET_EXACT] = {0};
    const uint32_t all = (1u << k) - 1;
    for (uint32_t set = 1; set <= all; set++)
        for (uint32_t d = 0; d < k; d++) {
            if (!(set >> d & 1)) continue;
            const uint32_t before = set & ~(1u << d), from = most[before];
            if (before && !from) continue;
            const uint32_t to = fit_layers(f, from, room[d]);
            if (to == from && from < f->plan->n_layer) continue;
            if (to > most[set]) {
                most[set] = (uint16_t)to;
                last[set] = (uint8_t)d;
            }
        }
    if (most[all] != f->plan->n_layer) return false;
    for (uint32_t set = all, i = k; i-- > 0; set &= ~(1u << order[i])) order[i] = last[set];
    return true;
}

/* Whether the first k devices, sorted by room, hold the model; in which order, and where each one's layers
 * end. */
static bool holds(const struct fit *f, const uint64_t *room, uint32_t k, uint32_t *order, uint32_t *end)
{
    enum { FALLING, RISING, ENDS, N_WAY };
    for (int way = FALLING; way < N_WAY; way++) {
        for (uint32_t i = 0; i < k; i++)
            order[i] = way == FALLING ? i : way == RISING ? k - 1 - i : i == k - 1 ? 1 : i ? i + 1 : 0;
        if (walk(f, room, order, k, 0, end) == f->plan->n_layer) return true;
    }
    return k <= SET_EXACT && exact(f, room, k, order) && walk(f, room, order, k, 0, end) == f->plan->n_layer;
}

uint32_t set_find(const struct fit *f, const uint32_t *device, const uint64_t *room, uint32_t n,
                  uint32_t most, struct place_share *out)
{
    uint32_t by_room[PLACE_MAX_DEVICES], order[PLACE_MAX_DEVICES], end[PLACE_MAX_DEVICES];
    uint64_t sorted[PLACE_MAX_DEVICES], together = 0;
    const uint64_t once = fit_bytes(f, 0, f->plan->n_layer) - f->fixed_bytes;
    for (uint32_t i = 0; i < n; i++) { /* insertion sort, stable */
        uint32_t at = i;
        for (; at > 0 && room[by_room[at - 1]] < room[i]; at--) by_room[at] = by_room[at - 1];
        by_room[at] = i;
    }
    for (uint32_t i = 0; i < n; i++) sorted[i] = room[by_room[i]];
    for (uint32_t k = 1; k <= MIN(n, MIN(most, f->plan->n_layer)); k++) {
        if (sorted[k - 1] <= f->fixed_bytes) return 0;
        if (!checked_add(together, sorted[k - 1] - f->fixed_bytes, &together)) together = UINT64_MAX;
        if (together < once || !holds(f, sorted, k, order, end)) continue;
        if (!out) return k;
        balance(f, sorted, order, k, end);
        for (uint32_t i = 0; i < k; i++)
            fit_share(f, &out[i], device[by_room[order[i]]], i ? end[i - 1] : 0, end[i]);
        return k;
    }
    return 0;
}
