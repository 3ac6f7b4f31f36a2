/* Where a K or V row lies in the pool: block, layer, K or V, head, token; everything of a block is
 * contiguous, so one block is one copy. */
#ifndef CORRAL_KV_LAYOUT_H
#define CORRAL_KV_LAYOUT_H

#include "backend/backend.h"

struct kv_layout {
    enum dtype type;
    size_t     row_bytes;   /* head_dim values of one token and head */
    size_t     head_bytes;  /* KV_BLOCK_TOKENS rows */
    size_t     part_bytes;  /* K or V of one layer: all heads */
    size_t     block_bytes; /* both parts of all layers */
};

/* ERR_UNSUPPORTED: the type needs whole blocks per head. */
status kv_layout_init(struct kv_layout *l, const struct model_config *c, enum dtype type, struct error *e);

static inline size_t kv_row_at(const struct kv_layout *l, uint32_t layer, bool is_v, uint32_t head,
                               uint32_t pos)
{
    return ((size_t)layer * 2 + is_v) * l->part_bytes + head * l->head_bytes +
           pos % KV_BLOCK_TOKENS * l->row_bytes;
}

/* A pool in host memory: copies of whole blocks, with the block numbers checked. */
status kv_blocks_copy(uint8_t *mem, uint32_t n_block, const struct kv_layout *l, const struct kv_copy *list,
                      uint32_t n, struct error *e);
status kv_block_read(const uint8_t *mem, uint32_t n_block, const struct kv_layout *l, uint32_t block,
                     void *to, struct error *e);
status kv_block_write(uint8_t *mem, uint32_t n_block, const struct kv_layout *l, uint32_t block,
                      const void *from, struct error *e);

#endif
