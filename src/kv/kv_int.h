#ifndef CORRAL_KV_INT_H
#define CORRAL_KV_INT_H

#include "kv/kv.h"

#define KV_NONE UINT32_MAX

struct kv_hash { uint64_t lo, hi; };

enum kv_state { KV_FREE, KV_PRIVATE, KV_CACHED };

struct kv_block {
    struct kv_hash hash; /* cached or promised: of the salt and all tokens up to the end of this block */
    uint64_t salt, last_use;
    double   score;      /* idle leaves: the lowest is evicted first */
    uint32_t ref;        /* tables that hold it */
    uint32_t depth;      /* blocks before it */
    uint32_t parent, first_kid, next, prev; /* the tree of cached blocks; next and prev are siblings */
    uint32_t heap_at;    /* KV_NONE: not in the heap */
    uint32_t hits;
    uint8_t  state, cls, rank;
    uint8_t  n_token;    /* cached: fewer than a block's at the end of a released sequence */
    bool     promised;   /* private and in the index */
};

struct kv {
    uint32_t n_block, block_tokens;
    struct kv_block *block;
    int32_t  *token;      /* block_tokens each, of cached and promised blocks */
    uint32_t *free_list;  /* stack */
    uint32_t  n_free, n_idle, n_cached;
    uint32_t *slot;       /* open addressing, n_slot a power of two: hash to block */
    uint32_t  n_slot;
    uint64_t *ghost;      /* hashes of evicted blocks, n_slot, newest wins */
    uint32_t *heap;       /* idle leaves */
    uint32_t  n_heap;
    uint32_t  root_kid;   /* siblings without parent, all salts */
    double    floor;      /* score of the last victim */
    uint64_t  tick;
    uint32_t *path;       /* what walk found */
    struct kv_copy_op *copy;
    uint32_t  n_copy, cap_copy;
    struct kv_stats count; /* its counters; the states are computed */
};

static inline int32_t *kv_tokens(const struct kv *kv, uint32_t id)
{
    return kv->token + (size_t)id * kv->block_tokens;
}

/* hash.c */
struct kv_hash kv_hash_root(uint64_t salt);
struct kv_hash kv_hash_next(struct kv_hash parent, const int32_t *token, uint32_t n);

/* index.c: at most one block per hash */
uint32_t kv_index_find(const struct kv *kv, struct kv_hash h); /* KV_NONE: absent */
void     kv_index_add(struct kv *kv, uint32_t id);
void     kv_index_remove(struct kv *kv, uint32_t id);

/* evict.c */
void kv_became_idle(struct kv *kv, uint32_t id);      /* ref fell to 0 */
void kv_left_idle(struct kv *kv, uint32_t id);        /* ref will rise from 0 */
void kv_adopt(struct kv *kv, uint32_t id, uint32_t parent);
bool kv_evict_one(struct kv *kv, bool prefetch_only); /* to the free list; false: nothing to evict */

/* kv.c */
void kv_hold(struct kv *kv, uint32_t id);
void kv_drop(struct kv *kv, uint32_t id);
void kv_push(struct kv *kv, struct kv_table *t, uint32_t id);
uint32_t kv_take_block(struct kv *kv, const struct kv_table *t); /* private, held once;
                                                                  * KV_NONE: none to be had */
void kv_add_copy(struct kv *kv, uint32_t from, uint32_t to);

#endif
