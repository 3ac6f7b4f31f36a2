#include "backend/kv_layout.h"

#include <string.h>
#include <strings.h>

bool kv_type_by_name(const char *name, enum dtype *out)
{
    static const enum dtype types[] = {DT_F16, DT_BF16, DT_F32, DT_Q8_0, DT_FP8};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (strcasecmp(name, dtype_info(types[i])->name) != 0) continue;
        *out = types[i];
        return true;
    }
    return false;
}

status kv_layout_init(struct kv_layout *l, const struct model_config *c, enum dtype type, struct error *e)
{
    const char *name = dtype_info(type) ? dtype_info(type)->name : "?";
    enum dtype known;
    if (!kv_type_by_name(name, &known))
        return fail(e, ERR_UNSUPPORTED, "KV type %s is not supported (f16, bf16, f32, q8_0 and fp8 are)",
                    name);
    l->type = type;
    if (!dtype_bytes(type, c->head_dim, &l->row_bytes))
        return fail(e, ERR_UNSUPPORTED,
                    "KV type %s needs a head size that is a multiple of %u, this model's is %u: use f16",
                    dtype_info(type)->name, dtype_info(type)->block_elems, c->head_dim);
    l->head_bytes = l->row_bytes * KV_BLOCK_TOKENS;
    l->part_bytes = l->head_bytes * c->n_head_kv;
    l->block_bytes = l->part_bytes * 2 * c->n_layer; /* 2^14 * 2^12 * 2^14 * 2^12 fits in 64 bits */
    return OK;
}

static status block_check(uint32_t block, uint32_t n_block, struct error *e)
{
    return block < n_block ? OK : fail(e, ERR_ARG, "no KV block %u: the pool has %u", block, n_block);
}

status kv_blocks_copy(uint8_t *mem, uint32_t n_block, const struct kv_layout *l, const struct kv_copy *list,
                      uint32_t n, struct error *e)
{
    for (uint32_t i = 0; i < n; i++) {
        TRY(block_check(list[i].from, n_block, e));
        TRY(block_check(list[i].to, n_block, e));
        memmove(mem + list[i].to * l->block_bytes, mem + list[i].from * l->block_bytes, l->block_bytes);
    }
    return OK;
}

status kv_block_read(const uint8_t *mem, uint32_t n_block, const struct kv_layout *l, uint32_t block,
                     void *to, struct error *e)
{
    TRY(block_check(block, n_block, e));
    memcpy(to, mem + block * l->block_bytes, l->block_bytes);
    return OK;
}

status kv_block_write(uint8_t *mem, uint32_t n_block, const struct kv_layout *l, uint32_t block,
                      const void *from, struct error *e)
{
    TRY(block_check(block, n_block, e));
    memcpy(mem + block * l->block_bytes, from, l->block_bytes);
    return OK;
}
