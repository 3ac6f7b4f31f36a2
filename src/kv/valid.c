/* The invariants, checked from nothing but the state: for tests and debug builds. */
#include <stdlib.h>

#include "kv/kv_int.h"

static bool free_list_valid(const struct kv *kv)
{
    bool *seen = mem_zalloc(kv->n_block, sizeof *seen), ok = kv->n_free <= kv->n_block;
    uint32_t n = 0;
    for (uint32_t i = 0; i < kv->n_free && ok; i++) {
        uint32_t id = kv->free_list[i];
        ok = id < kv->n_block && kv->block[id].state == KV_FREE && kv->block[id].ref == 0 && !seen[id];
        if (ok) seen[id] = true;
    }
    for (uint32_t i = 0; i < kv->n_block; i++) n += kv->block[i].state == KV_FREE;
    free(seen);
    return ok && n == kv->n_free;
}

static bool kids_valid(const struct kv *kv, uint32_t parent, uint32_t *n)
{
    uint32_t prev = KV_NONE, id = parent == KV_NONE ? kv->root_kid : kv->block[parent].first_kid;
    for (; id != KV_NONE; prev = id, id = kv->block[id].next, ++*n) {
        const struct kv_block *b = &kv->block[id];
        if (b->state != KV_CACHED || b->parent != parent || b->prev != prev || *n > kv->n_block) return false;
        if (parent != KV_NONE) {
            const struct kv_block *p = &kv->block[parent];
            if (b->salt != p->salt || b->depth != p->depth + 1 || b->ref > p->ref ||
                p->n_token != kv->block_tokens)
                return false; /* who holds a block holds what leads to it */
        }
    }
    return true;
}

static bool cached_valid(const struct kv *kv, uint32_t id)
{
    const struct kv_block *b = &kv->block[id];
    struct kv_hash before = b->parent == KV_NONE ? kv_hash_root(b->salt) : kv->block[b->parent].hash;
    struct kv_hash h = kv_hash_next(before, kv_tokens(kv, id), b->n_token);
    bool leaf = b->ref == 0 && b->first_kid == KV_NONE;
    return h.lo == b->hash.lo && h.hi == b->hash.hi && kv_index_find(kv, h) == id && !b->promised &&
           leaf == (b->heap_at != KV_NONE) && b->n_token && b->n_token <= kv->block_tokens;
}

bool kv_valid(const struct kv *kv)
{
    uint32_t n_idle = 0, n_cached = 0, n_kid = 0, n_indexed = 0, n_slot = 0, n_leaf = 0;
    if (!free_list_valid(kv) || !kids_valid(kv, KV_NONE, &n_kid)) return false;
    for (uint32_t i = 0; i < kv->n_block; i++) {
        const struct kv_block *b = &kv->block[i];
        if (b->state == KV_PRIVATE && (b->ref == 0 || b->heap_at != KV_NONE)) return false;
        if (b->promised && (b->state != KV_PRIVATE || kv_index_find(kv, b->hash) != i)) return false;
        n_indexed += b->promised || b->state == KV_CACHED;
        if (b->state != KV_CACHED) continue;
        if (!cached_valid(kv, i) || !kids_valid(kv, i, &n_kid)) return false;
        n_cached++;
        n_idle += b->ref == 0;
        n_leaf += b->heap_at != KV_NONE;
    }
    for (uint32_t i = 0; i < kv->n_slot; i++) n_slot += kv->slot[i] != KV_NONE;
    for (uint32_t i = 0; i < kv->n_heap; i++)
        if (kv->block[kv->heap[i]].heap_at != i) return false;
    return n_kid == n_cached && n_idle == kv->n_idle && n_cached == kv->n_cached && n_slot == n_indexed &&
           n_leaf == kv->n_heap;
}
