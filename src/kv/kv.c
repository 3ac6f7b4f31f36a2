#include "kv/kv.h"

#include <stdlib.h>

#include "kv/kv_int.h"

status kv_new(struct kv **out, uint32_t n_block, uint32_t block_tokens, struct error *e)
{
    *out = NULL;
    if (n_block == 0 || n_block > UINT32_MAX / 4 || block_tokens == 0 || block_tokens > UINT8_MAX)
        return fail(e, ERR_ARG, "a KV pool of %u blocks of %u tokens", n_block, block_tokens);
    struct kv *kv = mem_zalloc(1, sizeof *kv);
    *kv =
        (struct kv){.n_block = n_block, .block_tokens = block_tokens, .n_free = n_block, .root_kid = KV_NONE};
    for (kv->n_slot = 16; kv->n_slot < 2 * n_block; kv->n_slot *= 2) {}
    kv->block = mem_zalloc(n_block, sizeof *kv->block);
    kv->token = mem_zalloc((size_t)n_block * block_tokens, sizeof *kv->token);
    kv->free_list = mem_zalloc(n_block, sizeof *kv->free_list);
    kv->heap = mem_zalloc(n_block, sizeof *kv->heap);
    kv->path = mem_zalloc(n_block, sizeof *kv->path);
    kv->slot = mem_zalloc(kv->n_slot, sizeof *kv->slot);
    kv->ghost = mem_zalloc(kv->n_slot, sizeof *kv->ghost);
    for (uint32_t i = 0; i < kv->n_slot; i++) kv->slot[i] = KV_NONE;
    for (uint32_t i = 0; i < n_block; i++) {
        kv->free_list[i] = n_block - 1 - i; /* low ids first */
        kv->block[i].heap_at = KV_NONE;
    }
    *out = kv;
    return OK;
}

void kv_free(struct kv *kv)
{
    if (!kv) return;
    free(kv->block);
    free(kv->token);
    free(kv->free_list);
    free(kv->heap);
    free(kv->path);
    free(kv->slot);
    free(kv->ghost);
    free(kv->copy);
    free(kv);
}

uint32_t kv_blocks_for(const struct kv *kv, uint32_t n_token)
{
    return n_token / kv->block_tokens + (n_token % kv->block_tokens != 0);
}

void kv_hold(struct kv *kv, uint32_t id)
{
    struct kv_block *b = &kv->block[id];
    if (b->ref == 0) kv_left_idle(kv, id); /* only cached blocks live without a table */
    b->ref++;
}

void kv_drop(struct kv *kv, uint32_t id)
{
    struct kv_block *b = &kv->block[id];
    ASSERT(id < kv->n_block && b->ref > 0);
    if (--b->ref) return;
    if (b->state == KV_CACHED) {
        kv_became_idle(kv, id);
        return;
    }
    if (b->promised) kv_index_remove(kv, id);
    b->promised = false;
    b->state = KV_FREE;
    kv->free_list[kv->n_free++] = id;
}

void kv_push(struct kv *kv, struct kv_table *t, uint32_t id)
{
    if (t->n_block == t->cap) {
        t->cap = MAX(8u, t->cap * 2);
        t->block = mem_realloc(t->block, t->cap, sizeof *t->block);
    }
    t->block[t->n_block++] = id;
}

uint32_t kv_take_block(struct kv *kv, const struct kv_table *t)
{
    if (!kv->n_free && !kv_evict_one(kv, t->cls == KV_PREFETCH)) return KV_NONE;
    uint32_t id = kv->free_list[--kv->n_free];
    struct kv_block *b = &kv->block[id];
    *b = (struct kv_block){.state = KV_PRIVATE,
                           .ref = 1,
                           .cls = t->cls,
                           .rank = t->rank,
                           .salt = t->salt,
                           .parent = KV_NONE,
                           .first_kid = KV_NONE,
                           .next = KV_NONE,
                           .prev = KV_NONE,
                           .heap_at = KV_NONE};
    return id;
}

void kv_add_copy(struct kv *kv, uint32_t from, uint32_t to)
{
    if (kv->n_copy == kv->cap_copy) {
        kv->cap_copy = MAX(16u, kv->cap_copy * 2);
        kv->copy = mem_realloc(kv->copy, kv->cap_copy, sizeof *kv->copy);
    }
    kv->copy[kv->n_copy++] = (struct kv_copy_op){from, to};
    kv->count.copies++;
}

const struct kv_copy_op *kv_copies(const struct kv *kv, uint32_t *n)
{
    *n = kv->n_copy;
    return kv->copy;
}

void kv_copies_done(struct kv *kv)
{
    kv->n_copy = 0;
}

/* The block of position `from` may be written by nobody else and not be in the cache: else take a copy. */
static bool must_copy(const struct kv *kv, const struct kv_table *t, uint32_t from)
{
    if (from % kv->block_tokens == 0 || from / kv->block_tokens >= t->n_block) return false;
    const struct kv_block *b = &kv->block[t->block[from / kv->block_tokens]];
    return b->ref > 1 || b->state == KV_CACHED;
}

status kv_reserve(struct kv *kv, struct kv_table *t, uint32_t from, uint32_t to, struct error *e)
{
    uint32_t want = kv_blocks_for(kv, to), old = t->n_block, at = from / kv->block_tokens;
    uint32_t more = want > old ? want - old : 0;
    bool copy = must_copy(kv, t, from);
    uint32_t fresh = KV_NONE;
    ASSERT(kv_blocks_for(kv, from) <= t->n_block || from % kv->block_tokens == 0);
    if (more + copy > kv->n_free + kv->n_idle) goto no_room;
    if (copy && (fresh = kv_take_block(kv, t)) == KV_NONE) goto no_room;
    while (t->n_block < want) {
        uint32_t id = kv_take_block(kv, t);
        if (id == KV_NONE) goto no_room;
        kv_push(kv, t, id);
    }
    if (copy) {
        kv_add_copy(kv, t->block[at], fresh);
        kv_drop(kv, t->block[at]);
        t->block[at] = fresh;
        t->n_cached = MIN(t->n_cached, at);
    }
    return OK;
no_room:
    if (fresh != KV_NONE) kv_drop(kv, fresh);
    while (t->n_block > old) kv_drop(kv, t->block[--t->n_block]);
    return fail(e, ERR_LIMIT, "%u KV blocks wanted, %u of %u can be had", more + copy, kv_n_free(kv),
                kv->n_block);
}

void kv_fork(struct kv *kv, struct kv_table *to, const struct kv_table *from, uint32_t n_token)
{
    uint32_t n = kv_blocks_for(kv, n_token);
    ASSERT(to->n_block == 0 && n <= from->n_block);
    for (uint32_t i = 0; i < n; i++) {
        kv_hold(kv, from->block[i]);
        kv_push(kv, to, from->block[i]);
    }
    to->salt = from->salt;
    to->n_cached = MIN(from->n_cached, n);
    to->closed = from->closed;
}

/* The last block goes first, so that of two released together the deeper is the older. */
void kv_truncate(struct kv *kv, struct kv_table *t, uint32_t n_token)
{
    uint32_t keep = kv_blocks_for(kv, n_token);
    while (t->n_block > keep) kv_drop(kv, t->block[--t->n_block]);
    t->n_cached = MIN(t->n_cached, n_token / kv->block_tokens);
    if (!t->n_block) t->closed = false;
}

void kv_table_deinit(struct kv *kv, struct kv_table *t)
{
    kv_truncate(kv, t, 0);
    free(t->block);
    *t = (struct kv_table){0};
}

uint32_t kv_n_free(const struct kv *kv)
{
    return kv->n_free + kv->n_idle;
}

uint32_t kv_n_block(const struct kv *kv)
{
    return kv->n_block;
}

uint32_t kv_block_tokens(const struct kv *kv)
{
    return kv->block_tokens;
}

uint32_t kv_ref(const struct kv *kv, uint32_t block)
{
    return kv->block[block].ref;
}

void kv_stats(const struct kv *kv, struct kv_stats *out)
{
    *out = kv->count;
    out->n_block = kv->n_block;
    out->n_free = kv->n_free;
    out->n_idle = kv->n_idle;
    out->n_live = kv->n_cached - kv->n_idle;
    out->n_private = kv->n_block - kv->n_free - kv->n_cached;
}
