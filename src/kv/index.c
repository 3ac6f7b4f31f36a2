/* Hash to block: open addressing with linear probes; a removal moves later entries up, so there are no
 * tombstones. */
#include "kv/kv_int.h"

static uint32_t home_of(const struct kv *kv, uint32_t id)
{
    return (uint32_t)kv->block[id].hash.lo & (kv->n_slot - 1);
}

uint32_t kv_index_find(const struct kv *kv, struct kv_hash h)
{
    for (uint32_t i = (uint32_t)h.lo & (kv->n_slot - 1);; i = (i + 1) & (kv->n_slot - 1)) {
        uint32_t id = kv->slot[i];
        if (id == KV_NONE) return KV_NONE;
        if (kv->block[id].hash.lo == h.lo && kv->block[id].hash.hi == h.hi) return id;
    }
}

void kv_index_add(struct kv *kv, uint32_t id)
{
    uint32_t i = home_of(kv, id);
    while (kv->slot[i] != KV_NONE) i = (i + 1) & (kv->n_slot - 1);
    kv->slot[i] = id;
}

void kv_index_remove(struct kv *kv, uint32_t id)
{
    const uint32_t mask = kv->n_slot - 1;
    uint32_t hole = home_of(kv, id);
    while (kv->slot[hole] != id) hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; kv->slot[i] != KV_NONE; i = (i + 1) & mask) {
        /* May the entry at i stand in the hole? Yes, if its home is not in between. */
        if (((i - home_of(kv, kv->slot[i])) & mask) < ((i - hole) & mask)) continue;
        kv->slot[hole] = kv->slot[i];
        hole = i;
    }
    kv->slot[hole] = KV_NONE;
}
