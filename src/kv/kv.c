#include "kv/kv.h"

#include <stdlib.h>

struct kv {
    uint32_t n_block, block_tokens, n_free;
    uint32_t *free_list; /* stack of n_free ids */
    uint32_t *ref;       /* how many tables hold each block */
};

status kv_new(struct kv **out, uint32_t n_block, uint32_t block_tokens, struct error *e)
{
    *out = NULL;
    if (n_block == 0 || block_tokens == 0)
        return fail(e, ERR_ARG, "a KV pool of %u blocks of %u tokens", n_block, block_tokens);
    struct kv *kv = mem_zalloc(1, sizeof *kv);
    *kv = (struct kv){.n_block = n_block, .block_tokens = block_tokens, .n_free = n_block};
    kv->free_list = mem_zalloc(n_block, sizeof *kv->free_list);
    kv->ref = mem_zalloc(n_block, sizeof *kv->ref);
    for (uint32_t i = 0; i < n_block; i++) kv->free_list[i] = n_block - 1 - i; /* low ids first */
    *out = kv;
    return OK;
}

void kv_free(struct kv *kv)
{
    if (!kv) return;
    free(kv->free_list);
    free(kv->ref);
    free(kv);
}

static uint32_t blocks_for(const struct kv *kv, uint32_t n_token)
{
    return n_token / kv->block_tokens + (n_token % kv->block_tokens != 0);
}

status kv_grow(struct kv *kv, struct kv_table *t, uint32_t n_token, struct error *e)
{
    uint32_t want = blocks_for(kv, n_token);
    if (want <= t->n_block) return OK;
    uint32_t more = want - t->n_block;
    if (more > kv->n_free)
        return fail(e, ERR_LIMIT, "%u KV blocks wanted, %u of %u are free", more, kv->n_free, kv->n_block);
    if (want > t->cap) {
        t->cap = MAX(want, t->cap * 2);
        t->block = mem_realloc(t->block, t->cap, sizeof *t->block);
    }
    while (t->n_block < want) {
        uint32_t id = kv->free_list[--kv->n_free];
        kv->ref[id] = 1;
        t->block[t->n_block++] = id;
    }
    return OK;
}

void kv_truncate(struct kv *kv, struct kv_table *t, uint32_t n_token)
{
    uint32_t keep = blocks_for(kv, n_token);
    while (t->n_block > keep) {
        uint32_t id = t->block[--t->n_block];
        ASSERT(id < kv->n_block && kv->ref[id] > 0);
        if (--kv->ref[id] == 0) kv->free_list[kv->n_free++] = id;
    }
}

void kv_table_deinit(struct kv *kv, struct kv_table *t)
{
    kv_truncate(kv, t, 0);
    free(t->block);
    *t = (struct kv_table){0};
}

uint32_t kv_n_free(const struct kv *kv)
{
    return kv->n_free;
}
uint32_t kv_n_block(const struct kv *kv)
{
    return kv->n_block;
}

/* Free blocks are exactly those that no table holds, each listed once. */
bool kv_valid(const struct kv *kv)
{
    uint32_t n_unused = 0;
    for (uint32_t i = 0; i < kv->n_block; i++) n_unused += kv->ref[i] == 0;
    if (n_unused != kv->n_free) return false;
    bool *seen = mem_zalloc(kv->n_block, sizeof *seen);
    bool ok = true;
    for (uint32_t i = 0; i < kv->n_free && ok; i++) {
        uint32_t id = kv->free_list[i];
        ok = id < kv->n_block && kv->ref[id] == 0 && !seen[id];
        if (ok) seen[id] = true;
    }
    free(seen);
    return ok;
}
