/* Hyper-parameters that all architectures name alike, with ceilings: the file is not trusted. */
#include "model/arch.h"

#include <stdio.h>
#include <string.h>

static const char *key_of(const struct arch_build *b, const char *suffix, char key[128])
{
    snprintf(key, 128, "%s.%s", b->arch->name, suffix);
    return key;
}

status arch_u32(const struct arch_build *b, const char *suffix, bool required, uint32_t *out, struct error *e)
{
    char key[128];
    return gguf_get_u32(b->gguf, key_of(b, suffix, key), required, out, e);
}

status arch_f32(const struct arch_build *b, const char *suffix, bool required, float *out, struct error *e)
{
    char key[128];
    return gguf_get_f32(b->gguf, key_of(b, suffix, key), required, out, e);
}

status arch_str(const struct arch_build *b, const char *suffix, struct gguf_str *out, struct error *e)
{
    char key[128];
    return gguf_get_str(b->gguf, key_of(b, suffix, key), false, out, e);
}

/* Some files give one number per layer. Equal numbers are one number; layers that differ are not supported.
 */
static status uniform_u32(const struct arch_build *b, const char *suffix, bool required, uint32_t *out,
                          struct error *e)
{
    char key[128];
    const struct gguf_value *v = gguf_find(b->gguf, key_of(b, suffix, key));
    if (!v || v->type != GGUF_ARR) return arch_u32(b, suffix, required, out, e);
    if (v->n == 0 || v->elem == GGUF_STR || v->elem == GGUF_ARR || v->elem == GGUF_F32 || v->elem == GGUF_F64)
        return fail(e, ERR_FORMAT, "%s: want a number or one integer per layer", key);
    int64_t first = gguf_integer(v, 0);
    for (uint64_t i = 1; i < v->n; i++)
        if (gguf_integer(v, i) != first)
            return fail(e, ERR_UNSUPPORTED,
                        "%s differs between layers (%lld and %lld), which is not supported", key,
                        (long long)first, (long long)gguf_integer(v, i));
    if (first < 0 || first > UINT32_MAX)
        return fail(e, ERR_FORMAT, "%s: %lld is out of range", key, (long long)first);
    *out = (uint32_t)first;
    return OK;
}

static status check_range(const char *what, uint32_t v, uint32_t min, uint32_t max, struct error *e)
{
    if (v < min || v > max) return fail(e, ERR_FORMAT, "%s is %u, want %u to %u", what, v, min, max);
    return OK;
}

/* For embeddings and reranking: GGUF numbers the kinds of pooling from none = 0 to rank = 4. */
static status config_read_pooling(struct arch_build *b, struct error *e)
{
    struct model_config *c = &b->d->cfg;
    const struct gguf_tensor *head = gguf_find_tensor(b->gguf, "cls.output.weight");
    uint32_t kind = UINT32_MAX;
    TRY(arch_u32(b, "pooling_type", false, &kind, e));
    if (kind <= POOLING_RANK - POOLING_NONE) c->pooling = (uint8_t)(POOLING_NONE + kind);
    if (!head) return OK;
    c->n_rank = (uint32_t)(head->rank == 2 && head->dim[0] > 0 ? MIN(head->dim[0], INT32_MAX) : 1);
    return check_range("the number of cls.output.weight's rows", c->n_rank, 1, 1024, e);
}

status config_read(struct arch_build *b, struct error *e)
{
    struct model_config *c = &b->d->cfg;
    uint32_t v_dim = 0;
    float eps = 0;

    snprintf(c->arch, sizeof c->arch, "%s", b->arch->name);
    c->causal = true;
    TRY(arch_u32(b, "context_length", true, &c->n_ctx_train, e));
    TRY(arch_u32(b, "embedding_length", true, &c->n_embd, e));
    TRY(arch_u32(b, "block_count", true, &c->n_layer, e));
    TRY(uniform_u32(b, "attention.head_count", true, &c->n_head, e));
    c->n_head_kv = c->n_head;
    TRY(uniform_u32(b, "attention.head_count_kv", false, &c->n_head_kv, e));
    TRY(uniform_u32(b, "feed_forward_length", false, &c->n_ff, e));
    TRY(arch_u32(b, "expert_count", false, &c->n_expert, e));
    TRY(arch_u32(b, "expert_used_count", c->n_expert > 0, &c->n_expert_used, e));
    c->n_ff_expert = c->n_ff_shared = c->n_ff;
    TRY(arch_u32(b, "expert_feed_forward_length", false, &c->n_ff_expert, e));
    TRY(arch_u32(b, "expert_shared_feed_forward_length", false, &c->n_ff_shared, e));

    TRY(check_range("context_length", c->n_ctx_train, 1, 1u << 30, e));
    TRY(check_range("embedding_length", c->n_embd, 1, 1u << 20, e));
    TRY(check_range("block_count", c->n_layer, 1, 4096, e));
    TRY(check_range("attention.head_count", c->n_head, 1, 1u << 14, e));
    TRY(check_range("attention.head_count_kv", c->n_head_kv, 1, c->n_head, e));
    TRY(check_range("feed_forward_length", c->n_ff, 0, 1u << 24, e));
    if (c->n_head % c->n_head_kv != 0)
        return fail(e, ERR_FORMAT, "attention.head_count %u is not a multiple of head_count_kv %u", c->n_head,
                    c->n_head_kv);
    if (c->n_expert) {
        TRY(check_range("expert_count", c->n_expert, 1, 4096, e));
        TRY(check_range("expert_used_count", c->n_expert_used, 1, c->n_expert, e));
        TRY(check_range("expert_feed_forward_length", c->n_ff_expert, 1, 1u << 24, e));
        TRY(check_range("expert_shared_feed_forward_length", c->n_ff_shared, 0, 1u << 24, e));
    }

    c->head_dim = c->n_embd / c->n_head;
    TRY(arch_u32(b, "attention.key_length", false, &c->head_dim, e));
    v_dim = c->head_dim;
    TRY(arch_u32(b, "attention.value_length", false, &v_dim, e));
    TRY(check_range("attention.key_length", c->head_dim, 1, 1u << 12, e));
    if (v_dim != c->head_dim)
        return fail(e, ERR_UNSUPPORTED, "attention.value_length %u differs from key_length %u", v_dim,
                    c->head_dim);

    TRY(arch_f32(b, "attention.layer_norm_rms_epsilon", false, &eps, e));
    if (eps == 0) TRY(arch_f32(b, "attention.layer_norm_epsilon", true, &eps, e));
    if (!(eps > 0 && eps < 1))
        return fail(e, ERR_FORMAT, "attention.layer_norm epsilon %g is out of range", (double)eps);
    c->norm_eps = eps;

    b->n_rot = c->head_dim;
    TRY(arch_u32(b, "rope.dimension_count", false, &b->n_rot, e));
    if (b->n_rot % 2 || b->n_rot < 2 || b->n_rot > c->head_dim) {
        /* An odd or empty rotation is only an error for architectures that rotate; gpt2 files may say
         * anything. */
        b->n_rot = c->head_dim & ~1u;
    }
    b->rope_base = 10000.0f;
    TRY(arch_f32(b, "rope.freq_base", false, &b->rope_base, e));
    if (!(b->rope_base > 0))
        return fail(e, ERR_FORMAT, "rope.freq_base %g is out of range", (double)b->rope_base);

    const struct gguf_tensor *t = gguf_find_tensor(b->gguf, "token_embd.weight");
    if (!t) return fail(e, ERR_FORMAT, "no tensor token_embd.weight: the file holds no model weights");
    if (t->rank != 2 || t->dim[0] < 1 || t->dim[0] > 1 << 24)
        return fail(e, ERR_FORMAT, "token_embd.weight: want a matrix of at most 16M rows");
    c->n_vocab = (uint32_t)t->dim[0];
    return config_read_pooling(b, e);
}
