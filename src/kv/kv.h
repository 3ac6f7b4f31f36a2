/* Which KV blocks hold which tokens. Bookkeeping only: contents are the backend's. Owned by the engine
 * thread; no function locks.
 *
 * A block is free; private to the tables that hold it, still being written; or cached: complete, immutable,
 * and found by the tokens that lead to it. Cached blocks form a tree (a block's parent holds the tokens
 * before it), are shared by all tables that begin alike, and stay when no table holds them (idle) until
 * their room is needed. A hit is verified token by token, so a hash collision can lose a share but never
 * serve wrong contents.
 *
 * Holding a table is also how a prefix is pinned: match it into a table of one's own and keep that. */
#ifndef CORRAL_KV_H
#define CORRAL_KV_H

#include "base/base.h"

enum kv_class { KV_ANON, KV_SESSION, KV_WORKSPACE, KV_PREFETCH }; /* evicted first: prefetch,
                                                                   * then anon, session, workspace */

struct kv;
struct kv_table { /* caller's storage; zeroed is empty */
    uint32_t *block;
    uint32_t  n_block, cap;
    uint32_t  n_cached; /* how many at the front are in the cache; set by the functions below */
    uint64_t  salt;     /* tables of different salts share nothing.
                         * Set this and what follows while it is empty */
    uint8_t   cls;      /* enum kv_class */
    uint8_t   rank;     /* urgency, 0 first: a promise of a less urgent table is not waited for */
    bool      closed;   /* nothing more goes into the cache: a hash collision */
};

enum kv_miss { KV_MISS_NONE, KV_MISS_SHORT, KV_MISS_NEW, KV_MISS_DIFFERS, KV_MISS_EVICTED, KV_MISS_OFF };
const char *kv_miss_name(enum kv_miss m); /* "none", "too short", "new", "differs", "evicted", "off" */

struct kv_hit {
    uint32_t n_token;     /* of the prefix that the cache has */
    uint32_t n_full;      /* whole blocks of it; the rest comes as a copy of a block's beginning */
    uint32_t n_idle;      /* of the whole blocks, those that no table holds now */
    enum kv_miss miss;    /* why it is not longer */
    uint32_t wait_block;  /* UINT32_MAX, or: this block is being computed and goes on with these tokens */
    uint64_t wait_key;
};

struct kv_copy_op { uint32_t from, to; };

struct kv_stats {
    uint32_t n_block, n_free, n_private, n_live, n_idle; /* states: live and idle are cached,
                                                          * with and without a table */
    uint64_t lookups, lookup_tokens, hit_tokens;
    uint64_t evictions, published, deduplicated, copies, collisions;
};

status   kv_new(struct kv **out, uint32_t n_block, uint32_t block_tokens, struct error *e);
void     kv_free(struct kv *kv);

/* The longest cached prefix of token[0..n_token), at most n_token - 1 long: logits need a token to compute.
 * peek changes nothing. match lets t, which must be empty, hold it, and counts the lookup. */
void     kv_peek(struct kv *kv, const struct kv_table *t, const int32_t *token, uint32_t n_token,
                 struct kv_hit *hit);
void     kv_match(struct kv *kv, struct kv_table *t, const int32_t *token, uint32_t n_token,
                  struct kv_hit *hit);
/* Is what hit.wait_block stood for still being computed? */
bool     kv_waiting(const struct kv *kv, const struct kv_hit *hit);

/* Make positions from .. to - 1 writable: blocks up to `to`, and a copy of the block of `from` if it is
 * shared. Evicts as needed. ERR_LIMIT: not enough blocks, table unchanged. */
status   kv_reserve(struct kv *kv, struct kv_table *t, uint32_t from, uint32_t to, struct error *e);
/* Say that t is about to compute these tokens, so that others wait instead of computing them too. */
void     kv_promise(struct kv *kv, struct kv_table *t, const int32_t *token, uint32_t n_token);
/* The contents of the first n_token positions are computed: whole blocks enter the cache. */
void     kv_publish(struct kv *kv, struct kv_table *t, const int32_t *token, uint32_t n_token);
/* to, empty, holds the first n_token positions of from as well. */
void     kv_fork(struct kv *kv, struct kv_table *to, const struct kv_table *from, uint32_t n_token);
/* Drop blocks past n_token tokens. */
void     kv_truncate(struct kv *kv, struct kv_table *t, uint32_t n_token);
/* Publish n_token computed positions, the partial block at the end too, and drop all blocks.
 * n_token 0 drops only. */
void     kv_release(struct kv *kv, struct kv_table *t, const int32_t *token, uint32_t n_token);
void     kv_table_deinit(struct kv *kv, struct kv_table *t);
/* Forget every block that no table holds; those of lower classes than this one only. */
void     kv_clear(struct kv *kv);
void     kv_clear_below(struct kv *kv, enum kv_class cls);
/* The cached blocks, into id (room for all blocks); returns how many. */
uint32_t kv_list_cached(const struct kv *kv, uint32_t *id);

/* Copies of whole blocks that must be made, in order, before anything is written.
 * The list is emptied by kv_copies_done. */
const struct kv_copy_op *kv_copies(const struct kv *kv, uint32_t *n);
void     kv_copies_done(struct kv *kv);

uint32_t kv_blocks_for(const struct kv *kv, uint32_t n_token);
uint32_t kv_n_free(const struct kv *kv); /* free or idle: what reserve can have */
uint32_t kv_n_block(const struct kv *kv);
uint32_t kv_block_tokens(const struct kv *kv);
uint32_t kv_ref(const struct kv *kv, uint32_t block); /* how many tables hold it */
void     kv_stats(const struct kv *kv, struct kv_stats *out);
bool     kv_valid(const struct kv *kv); /* the whole state, slowly: for tests and debug builds */

#endif
