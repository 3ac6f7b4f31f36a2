/* The prefix cache: finding, promising and publishing blocks by the tokens that lead to them. */
#include <string.h>

#include "kv/kv_int.h"

enum { MAX_KIDS_SCANNED = 64 };

const char *kv_miss_name(enum kv_miss m)
{
    static const char *const name[] = {"none", "too short", "new", "differs", "evicted", "off"};
    return name[m];
}

/* Does block id hold exactly these tokens after that parent? With the same asked of the parent before, and
 * the salt at each, this makes a hit certain. */
static bool is_block(const struct kv *kv, uint32_t id, uint32_t parent, uint64_t salt, const int32_t *token,
                     uint32_t n)
{
    const struct kv_block *b = &kv->block[id];
    return b->parent == parent && b->salt == salt && b->n_token == n &&
           memcmp(kv_tokens(kv, id), token, n * sizeof *token) == 0;
}

static uint32_t common_prefix(const int32_t *a, const int32_t *b, uint32_t n)
{
    uint32_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* Among the children of parent the one that begins with the most of token[0..n). */
static uint32_t best_kid(const struct kv *kv, uint32_t parent, uint64_t salt, const int32_t *token,
                         uint32_t n, uint32_t *n_common)
{
    uint32_t best = KV_NONE, id = parent == KV_NONE ? kv->root_kid : kv->block[parent].first_kid;
    *n_common = 0;
    for (uint32_t i = 0; id != KV_NONE && i < MAX_KIDS_SCANNED; id = kv->block[id].next, i++) {
        const struct kv_block *b = &kv->block[id];
        if (b->salt != salt) continue;
        uint32_t k = common_prefix(kv_tokens(kv, id), token, MIN(n, (uint32_t)b->n_token));
        if (k <= *n_common) continue;
        best = id;
        *n_common = k;
    }
    return best;
}

/* Why the walk ended before `usable` tokens, h being the hash of the block that was not found. */
static enum kv_miss why(const struct kv *kv, const struct kv_hit *hit, uint32_t usable, struct kv_hash h)
{
    if (hit->n_token == usable) return KV_MISS_NONE;
    if (usable < kv->block_tokens) return KV_MISS_SHORT;
    if (kv->ghost[(uint32_t)h.lo & (kv->n_slot - 1)] == h.hi) return KV_MISS_EVICTED;
    return hit->n_token ? KV_MISS_DIFFERS : KV_MISS_NEW;
}

/* Fills hit and kv->path (whole blocks). Returns the block whose beginning goes on from there, or KV_NONE. */
static uint32_t walk(struct kv *kv, const struct kv_table *t, const int32_t *token, uint32_t n_token,
                     struct kv_hit *hit)
{
    const uint32_t each = kv->block_tokens, usable = n_token ? n_token - 1 : 0;
    struct kv_hash h = kv_hash_root(t->salt);
    uint32_t parent = KV_NONE, n_common;
    *hit = (struct kv_hit){.wait_block = KV_NONE};
    for (; usable - hit->n_token >= each; hit->n_token += each) {
        h = kv_hash_next(h, token + hit->n_token, each);
        uint32_t id = kv_index_find(kv, h);
        if (id == KV_NONE) break;
        const struct kv_block *b = &kv->block[id];
        if (b->promised && b->rank <= t->rank) {
            hit->wait_block = id;
            hit->wait_key = h.lo;
        }
        if (b->state != KV_CACHED || !is_block(kv, id, parent, t->salt, token + hit->n_token, each)) break;
        kv->path[hit->n_full++] = id;
        hit->n_idle += b->ref == 0;
        parent = id;
    }
    uint32_t part =
        best_kid(kv, parent, t->salt, token + hit->n_token, MIN(each, usable - hit->n_token), &n_common);
    hit->n_token += n_common;
    hit->miss = why(kv, hit, usable, h);
    return part;
}

void kv_peek(struct kv *kv, const struct kv_table *t, const int32_t *token, uint32_t n_token,
             struct kv_hit *hit)
{
    (void)walk(kv, t, token, n_token, hit);
}

void kv_match(struct kv *kv, struct kv_table *t, const int32_t *token, uint32_t n_token, struct kv_hit *hit)
{
    ASSERT(t->n_block == 0);
    uint32_t part = walk(kv, t, token, n_token, hit), whole = hit->n_full * kv->block_tokens;
    for (uint32_t i = 0; i < hit->n_full; i++) {
        struct kv_block *b = &kv->block[kv->path[i]];
        kv_hold(kv, kv->path[i]);
        kv_push(kv, t, kv->path[i]);
        b->hits += b->hits < UINT32_MAX;
        b->cls = t->cls == KV_PREFETCH ? b->cls : b->cls == KV_PREFETCH ? t->cls : MAX(b->cls, t->cls);
    }
    t->n_cached = t->n_block;
    if (part != KV_NONE) {
        kv_hold(kv, part); /* so that making room does not take it */
        uint32_t id = kv_take_block(kv, t);
        if (id != KV_NONE) {
            kv_add_copy(kv, part, id);
            kv_push(kv, t, id);
            kv->block[part].hits++;
        } else {
            hit->n_token = whole;
        }
        kv_drop(kv, part);
    }
    kv->count.lookups++;
    kv->count.lookup_tokens += n_token;
    kv->count.hit_tokens += hit->n_token;
}

bool kv_waiting(const struct kv *kv, const struct kv_hit *hit)
{
    if (hit->wait_block == KV_NONE) return false;
    const struct kv_block *b = &kv->block[hit->wait_block];
    return b->promised && b->hash.lo == hit->wait_key;
}

/* The hash of the tokens before block i, all of which are cached. */
static struct kv_hash hash_before(const struct kv *kv, const struct kv_table *t, uint32_t i)
{
    return i ? kv->block[t->block[i - 1]].hash : kv_hash_root(t->salt);
}

static void set_contents(struct kv *kv, uint32_t id, struct kv_hash h, const int32_t *token, uint32_t n)
{
    kv->block[id].hash = h;
    memcpy(kv_tokens(kv, id), token, n * sizeof *token);
}

void kv_promise(struct kv *kv, struct kv_table *t, const int32_t *token, uint32_t n_token)
{
    if (t->closed) return;
    struct kv_hash h = hash_before(kv, t, t->n_cached);
    for (uint32_t i = t->n_cached; i < t->n_block && (i + 1) * kv->block_tokens <= n_token; i++) {
        uint32_t id = t->block[i];
        const int32_t *tok = token + (size_t)i * kv->block_tokens;
        h = kv_hash_next(h, tok, kv->block_tokens);
        if (kv->block[id].promised || kv_index_find(kv, h) != KV_NONE) continue;
        set_contents(kv, id, h, tok, kv->block_tokens);
        kv->block[id].promised = true;
        kv_index_add(kv, id);
    }
}

static void make_cached(struct kv *kv, uint32_t id, uint32_t parent, uint32_t n)
{
    struct kv_block *b = &kv->block[id];
    uint64_t *ghost = &kv->ghost[(uint32_t)b->hash.lo & (kv->n_slot - 1)];
    if (*ghost == b->hash.hi) *ghost = 0;
    b->state = KV_CACHED;
    b->promised = false;
    b->n_token = (uint8_t)n;
    kv_adopt(kv, id, parent);
    kv->n_cached++;
    kv->count.published++;
}

/* Put block i of t, which holds n computed tokens, into the cache, or take the block that is there already.
 */
static void publish_one(struct kv *kv, struct kv_table *t, uint32_t i, const int32_t *token, uint32_t n)
{
    uint32_t id = t->block[i], parent = i ? t->block[i - 1] : KV_NONE;
    struct kv_hash h = kv_hash_next(hash_before(kv, t, i), token, n);
    uint32_t there = kv_index_find(kv, h);
    ASSERT(kv->block[id].state == KV_PRIVATE || there == id); /* the latter: a fork has published it */
    if (there == id && kv->block[id].state == KV_CACHED) {
    } else if (there != KV_NONE && kv->block[there].state == KV_CACHED) {
        if (!is_block(kv, there, parent, t->salt, token, n)) {
            kv->count.collisions++;
            t->closed = true;
            return;
        }
        kv_hold(kv, there);
        kv_drop(kv, id);
        t->block[i] = there;
        kv->count.deduplicated++;
    } else {
        if (there != KV_NONE) { /* promised: perhaps by another table, which was slower */
            kv_index_remove(kv, there);
            kv->block[there].promised = false;
        }
        if (kv->block[id].promised) kv_index_remove(kv, id); /* of other tokens: a sequence that was cut */
        set_contents(kv, id, h, token, n);
        kv_index_add(kv, id);
        make_cached(kv, id, parent, n);
    }
    t->n_cached = i + 1;
}

void kv_publish(struct kv *kv, struct kv_table *t, const int32_t *token, uint32_t n_token)
{
    const uint32_t each = kv->block_tokens;
    while (!t->closed && (uint64_t)(t->n_cached + 1) * each <= n_token)
        publish_one(kv, t, t->n_cached, token + (size_t)t->n_cached * each, each);
}

void kv_release(struct kv *kv, struct kv_table *t, const int32_t *token, uint32_t n_token)
{
    const uint32_t each = kv->block_tokens, i = n_token / each, rest = n_token % each;
    ASSERT(kv_blocks_for(kv, n_token) <= t->n_block);
    kv_publish(kv, t, token, n_token);
    if (rest && !t->closed && t->n_cached == i && kv->block[t->block[i]].state == KV_PRIVATE &&
        kv->block[t->block[i]].ref == 1)
        publish_one(kv, t, i, token + (size_t)i * each, rest);
    kv_truncate(kv, t, 0);
}
