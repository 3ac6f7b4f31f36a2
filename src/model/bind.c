/* Weights by name and expected shape: a wrong file fails here, with expected against actual, never in a
 * kernel. */
#include "model/arch.h"

#include <stdio.h>
#include <string.h>

wref slot_global(const struct arch_build *b, enum weight_slot s)
{
    return b->slot[s];
}

wref slot_layer(const struct arch_build *b, uint32_t layer, enum weight_slot s)
{
    return b->slot[W_N_GLOBAL + (size_t)layer * (W_N_SLOT - W_N_GLOBAL) + (s - W_N_GLOBAL)];
}

static int64_t dim_size(const struct arch_build *b, enum dim_of d)
{
    const struct model_config *c = &b->d->cfg;
    const int64_t head = c->head_dim;
    switch (d) {
    case D_NONE: return 0;
    case D_VOCAB: return c->n_vocab;
    case D_EMBD: return c->n_embd;
    case D_CTX: return c->n_ctx_train;
    case D_HEAD: return head;
    case D_Q: return head * c->n_head;
    case D_KV: return head * c->n_head_kv;
    case D_QKV: return head * (c->n_head + 2 * (int64_t)c->n_head_kv);
    case D_FF: return c->n_ff;
    case D_FF2: return 2 * (int64_t)c->n_ff;
    case D_EXPERT: return c->n_expert;
    case D_FF_X: return c->n_ff_expert;
    case D_FF_S: return c->n_ff_shared;
    case D_ROT_HALF: return b->n_rot / 2;
    case D_RANK: return c->n_rank;
    }
    return 0;
}

static void shape_text(char *out, size_t n, const int64_t *dim, int rank)
{
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < rank && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%lld", i ? " x " : "", (long long)dim[i]);
}

static status bind_one(struct arch_build *b, const struct weight_row *row, const char *name, wref *out,
                       struct error *e)
{
    const struct gguf_tensor *t = gguf_find_tensor(b->gguf, name);
    int64_t want[3];
    int rank = 0;
    if (!t) {
        if (row->flags & W_OPTIONAL) return OK;
        return fail(e, ERR_FORMAT, "tensor %s is missing (architecture %s needs it)", name, b->arch->name);
    }
    while (rank < 3 && row->dim[rank] != D_NONE) {
        want[rank] = dim_size(b, row->dim[rank]);
        rank++;
    }
    /* GGUF drops trailing dimensions of one, which are our leading ones: 1 x n may be written as n. */
    bool same = true;
    int skip = rank - t->rank;
    for (int i = 0; i < rank; i++) {
        int64_t got = i < skip ? 1 : t->dim[i - skip];
        same = same && got == want[i];
    }
    for (int i = 0; i < -skip; i++) same = same && t->dim[i] == 1;
    if (!same) {
        char w[80], g[80];
        shape_text(w, sizeof w, want, rank);
        shape_text(g, sizeof g, t->dim, t->rank);
        return fail(e, ERR_FORMAT, "tensor %s has shape %s, want %s", name, g, w);
    }
    if (!dtype_info(t->dtype) || !dtype_info(t->dtype)->decode)
        return fail(e, ERR_UNSUPPORTED, "tensor %s: weights of type %u cannot be used", name,
                    (unsigned)t->dtype);
    if (rank == 1 && t->dtype != DT_F32)
        return fail(e, ERR_UNSUPPORTED, "tensor %s is %s; norms, biases and factors must be f32", name,
                    dtype_info(t->dtype)->name);

    struct weight *w = &b->d->weight[b->d->n_weight];
    *w = (struct weight){
        .name = t->name, .dtype = t->dtype, .rank = (uint8_t)rank, .n_bytes = t->n_bytes, .data = t->data};
    memcpy(w->dim, want, (size_t)rank * sizeof *want);
    *out = b->d->n_weight++;
    return OK;
}

static bool row_applies(const struct arch_build *b, const struct weight_row *row)
{
    bool moe = b->d->cfg.n_expert > 0;
    if (row->flags & W_DENSE) return !moe;
    if (row->flags & W_MOE) return moe;
    return true;
}

/* A name without a conversion is global; "%u" is replaced by the layer. */
static void layer_name(char out[96], const char *pattern, uint32_t layer)
{
    const char *at = strstr(pattern, "%u");
    if (!at) {
        snprintf(out, 96, "%s", pattern);
        return;
    }
    snprintf(out, 96, "%.*s%u%s", (int)(at - pattern), pattern, layer, at + 2);
}

/* All rows of a layer, or those of the model as a whole. */
static status bind_rows(struct arch_build *b, bool global, uint32_t layer, struct error *e)
{
    char name[96];
    for (const struct weight_row *row = b->arch->weights; row->name; row++) {
        if (!row_applies(b, row) || (row->slot < W_N_GLOBAL) != global) continue;
        const size_t in_layer =
            W_N_GLOBAL + (size_t)layer * (W_N_SLOT - W_N_GLOBAL) + (row->slot - W_N_GLOBAL);
        layer_name(name, row->name, layer);
        TRY(bind_one(b, row, name, &b->slot[global ? row->slot : in_layer], e));
    }
    return OK;
}

/* Layer by layer, as a step goes through them: on a device they lie in this order, and matrices that are next
 * to each other in an architecture's table can be multiplied as one. */
status weights_bind(struct arch_build *b, struct error *e)
{
    const uint32_t n_layer = b->d->cfg.n_layer;
    const size_t n_slot = W_N_GLOBAL + (size_t)n_layer * (W_N_SLOT - W_N_GLOBAL);

    b->slot = mem_zalloc(n_slot, sizeof *b->slot);
    b->d->weight = mem_zalloc(n_slot + 1, sizeof *b->d->weight);
    b->d->n_weight = 1; /* index 0 means absent */
    TRY(bind_rows(b, true, 0, e));
    for (uint32_t il = 0; il < n_layer; il++) TRY(bind_rows(b, false, il, e));
    return OK;
}
