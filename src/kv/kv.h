/* Which KV blocks belong to which sequence. Owned by the engine thread; no function locks.
 *
 * A block is free or held by one or more block tables (reference count). This is the seed of the prefix-shared
 * pool: tables, counts and all-or-nothing growth stay as they are when hashing and eviction arrive. */
#ifndef CORRAL_KV_H
#define CORRAL_KV_H

#include "base/base.h"

struct kv;
struct kv_table { uint32_t *block; uint32_t n_block, cap; }; /* caller's storage; zeroed is empty */

status   kv_new(struct kv **out, uint32_t n_block, uint32_t block_tokens, struct error *e);
void     kv_free(struct kv *kv);
/* Let the table hold n_token tokens. ERR_LIMIT: not enough free blocks, table unchanged. */
status   kv_grow(struct kv *kv, struct kv_table *t, uint32_t n_token, struct error *e);
/* Drop blocks past n_token tokens; 0 releases all. */
void     kv_truncate(struct kv *kv, struct kv_table *t, uint32_t n_token);
void     kv_table_deinit(struct kv *kv, struct kv_table *t);
uint32_t kv_n_free(const struct kv *kv);
uint32_t kv_n_block(const struct kv *kv);
bool     kv_valid(const struct kv *kv);

#endif
