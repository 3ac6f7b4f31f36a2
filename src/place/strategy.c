/* Which of the devices that would do: one row per strategy. */
#include <string.h>

#include "place/place.h"

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int least_left(const struct place_device *a, uint64_t left_a, const struct place_device *b,
                      uint64_t left_b)
{
    return compare(left_a, left_b);
}

static int most_left(const struct place_device *a, uint64_t left_a, const struct place_device *b,
                     uint64_t left_b)
{
    return compare(left_b, left_a);
}

/* Models that share a device share its time too; among equals the smallest room that does. */
static int fewest_models(const struct place_device *a, uint64_t left_a, const struct place_device *b,
                         uint64_t left_b)
{
    return a->n_claim != b->n_claim ? compare(a->n_claim, b->n_claim) : compare(left_a, left_b);
}

// clang-format off
static const struct place_strategy table[] = {
    {"single-gpu-preferred", "the device with the fewest models on it, then the one with the least room left", false, fewest_models},
    {"spread", "the device with the most room left", false, most_left},
    {"pack", "the device with the least room left, so that large models find whole ones", false, least_left},
    {"manual", "only devices that the model's options name", true, least_left},
};
// clang-format on

size_t place_n_strategy(void)
{
    return COUNT_OF(table);
}

const struct place_strategy *place_strategy_at(size_t i)
{
    return i < COUNT_OF(table) ? &table[i] : NULL;
}

const struct place_strategy *place_strategy_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}
