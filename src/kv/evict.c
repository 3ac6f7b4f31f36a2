/* Which idle block goes first. Only leaves go: a block whose children are cached could not be found again by
 * them.
 *
 * By class, then by GreedyDual-Size-Frequency (Cherkasova, "Improving WWW proxies performance with
 * Greedy-Dual-Size-Frequency caching policy", HP 1998): score = score of the last victim + uses x cost, where
 * cost is what computing the block again takes at its depth; all blocks have one size. Equal scores: the
 * longest unused. */
#include "kv/kv_int.h"

static const uint8_t class_order[] = {[KV_PREFETCH] = 0, [KV_ANON] = 1, [KV_SESSION] = 2, [KV_WORKSPACE] = 3};

static bool goes_before(const struct kv *kv, uint32_t a, uint32_t b)
{
    const struct kv_block *x = &kv->block[a], *y = &kv->block[b];
    if (x->cls != y->cls) return class_order[x->cls] < class_order[y->cls];
    if (x->score != y->score) return x->score < y->score;
    return x->last_use < y->last_use;
}

static void heap_put(struct kv *kv, uint32_t at, uint32_t id)
{
    kv->heap[at] = id;
    kv->block[id].heap_at = at;
}

/* Let id, which stands at `at`, rise or sink to its place. */
static void heap_settle(struct kv *kv, uint32_t at, uint32_t id)
{
    for (; at && goes_before(kv, id, kv->heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap_put(kv, at, kv->heap[(at - 1) / 2]);
    for (uint32_t kid; (kid = 2 * at + 1) < kv->n_heap; at = kid) {
        if (kid + 1 < kv->n_heap && goes_before(kv, kv->heap[kid + 1], kv->heap[kid])) kid++;
        if (!goes_before(kv, kv->heap[kid], id)) break;
        heap_put(kv, at, kv->heap[kid]);
    }
    heap_put(kv, at, id);
}

static void heap_add(struct kv *kv, uint32_t id)
{
    kv->n_heap++;
    heap_settle(kv, kv->n_heap - 1, id);
}

static void heap_remove(struct kv *kv, uint32_t id)
{
    uint32_t at = kv->block[id].heap_at, last = kv->heap[--kv->n_heap];
    kv->block[id].heap_at = KV_NONE;
    if (last != id) heap_settle(kv, at, last);
}

void kv_became_idle(struct kv *kv, uint32_t id)
{
    enum { ATTENTION_EQUALS_REST_AT = 4096, MAX_USES = 16 };
    struct kv_block *b = &kv->block[id];
    double cost = 1 + (double)b->depth * kv->block_tokens / ATTENTION_EQUALS_REST_AT;
    b->score = kv->floor + MIN(b->hits + 1, (uint32_t)MAX_USES) * cost;
    b->last_use = ++kv->tick;
    kv->n_idle++;
    if (b->first_kid == KV_NONE) heap_add(kv, id);
}

void kv_left_idle(struct kv *kv, uint32_t id)
{
    kv->n_idle--;
    if (kv->block[id].heap_at != KV_NONE) heap_remove(kv, id);
}

static uint32_t *kids_of(struct kv *kv, uint32_t parent)
{
    return parent == KV_NONE ? &kv->root_kid : &kv->block[parent].first_kid;
}

void kv_adopt(struct kv *kv, uint32_t id, uint32_t parent)
{
    struct kv_block *b = &kv->block[id];
    uint32_t *head = kids_of(kv, parent);
    b->parent = parent;
    b->depth = parent == KV_NONE ? 0 : kv->block[parent].depth + 1;
    b->first_kid = b->prev = KV_NONE;
    b->next = *head;
    if (*head != KV_NONE) kv->block[*head].prev = id;
    *head = id;
    if (parent != KV_NONE && kv->block[parent].heap_at != KV_NONE) heap_remove(kv, parent);
}

static void leave_parent(struct kv *kv, uint32_t id)
{
    struct kv_block *b = &kv->block[id];
    if (b->prev != KV_NONE)
        kv->block[b->prev].next = b->next;
    else
        *kids_of(kv, b->parent) = b->next;
    if (b->next != KV_NONE) kv->block[b->next].prev = b->prev;
    if (b->parent == KV_NONE) return;
    struct kv_block *p = &kv->block[b->parent];
    if (p->first_kid == KV_NONE && p->ref == 0) heap_add(kv, b->parent);
}

bool kv_evict_one(struct kv *kv, bool prefetch_only)
{
    if (!kv->n_heap) return false;
    uint32_t id = kv->heap[0];
    struct kv_block *b = &kv->block[id];
    if (prefetch_only && b->cls != KV_PREFETCH) return false;
    kv->floor = MAX(kv->floor, b->score);
    kv->ghost[(uint32_t)b->hash.lo & (kv->n_slot - 1)] = b->hash.hi;
    heap_remove(kv, id);
    leave_parent(kv, id);
    kv_index_remove(kv, id);
    b->state = KV_FREE;
    kv->n_idle--;
    kv->n_cached--;
    kv->free_list[kv->n_free++] = id;
    kv->count.evictions++;
    return true;
}

void kv_clear(struct kv *kv)
{
    while (kv_evict_one(kv, false)) {}
}

void kv_clear_below(struct kv *kv, enum kv_class cls)
{
    while (kv->n_heap && class_order[kv->block[kv->heap[0]].cls] < class_order[cls])
        (void)kv_evict_one(kv, false);
}

uint32_t kv_list_cached(const struct kv *kv, uint32_t *id)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < kv->n_block; i++)
        if (kv->block[i].state == KV_CACHED) id[n++] = i;
    return n;
}
