/* Slices of models of all kinds: every cut has all operations once, each with the weights that it had, and no
 * others. */
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h> /* last: it defines a macro fail() */

enum { N_LAYER = 5 };

/* n_rank: a head that scores texts. */
static const struct tiny_shape shapes[] = {
    {.arch = "llama",
     .type = DT_F32,
     .n_vocab = 21,
     .n_embd = 16,
     .n_layer = N_LAYER,
     .n_head = 2,
     .n_head_kv = 1,
     .head_dim = 8,
     .n_ff = 24,
     .bias = true,
     .n_rank = 2},
    {.arch = "qwen3",
     .type = DT_F16,
     .n_vocab = 21,
     .n_embd = 16,
     .n_layer = N_LAYER,
     .n_head = 2,
     .n_head_kv = 1,
     .head_dim = 8,
     .n_ff = 24,
     .qk_norm = true,
     .tied = true},
    {.arch = "qwen2moe",
     .type = DT_F32,
     .n_vocab = 21,
     .n_embd = 16,
     .n_layer = N_LAYER,
     .n_head = 2,
     .n_head_kv = 2,
     .head_dim = 8,
     .n_ff = 24,
     .n_expert = 5,
     .n_used = 2,
     .n_ff_shared = 8,
     .bias = true},
    {.arch = "gemma2",
     .type = DT_F32,
     .n_vocab = 21,
     .n_embd = 16,
     .n_layer = N_LAYER,
     .n_head = 2,
     .n_head_kv = 2,
     .head_dim = 8,
     .n_ff = 24,
     .window = 21,
     .post_norm = true,
     .tied = true},
};

static const char *name_of(const struct model_desc *m, wref w)
{
    return w ? m->weight[w].name : "none";
}

static void same_weight(const struct model_desc *a, wref x, const struct model_desc *b, wref y)
{
    if (strcmp(name_of(a, x), name_of(b, y)) != 0 || a->weight[x].data != b->weight[y].data)
        fail_msg("%s instead of %s", name_of(a, x), name_of(b, y));
}

/* An operation of a slice that begins with layer `first`, against the model's. */
static void same_op(const struct model_desc *s, const struct op *a, const struct model_desc *m,
                    const struct op *b, uint32_t first)
{
    assert_int_equal(a->kind, b->kind);
#define SAME(field) same_weight(s, a->field, m, b->field)
    switch (a->kind) {
    case OP_EMBED:
        SAME(embed.table);
        SAME(embed.position);
        break;
    case OP_QKV:
        assert_int_equal(a->qkv.layer + first, b->qkv.layer);
        assert_int_equal(a->qkv.rope, b->qkv.rope);
        SAME(qkv.norm.weight);
        SAME(qkv.norm.bias);
        SAME(qkv.q.weight);
        SAME(qkv.q.bias);
        SAME(qkv.k.weight);
        SAME(qkv.k.bias);
        SAME(qkv.v.weight);
        SAME(qkv.v.bias);
        SAME(qkv.fused.weight);
        SAME(qkv.fused.bias);
        SAME(qkv.q_norm.weight);
        SAME(qkv.k_norm.weight);
        break;
    case OP_ATTN:
        assert_int_equal(a->attn.layer + first, b->attn.layer);
        assert_int_equal(a->attn.window, b->attn.window);
        SAME(attn.out.weight);
        SAME(attn.out.bias);
        SAME(attn.post_norm.weight);
        break;
    case OP_FFN:
        assert_int_equal(a->ffn.layer + first, b->ffn.layer);
        SAME(ffn.norm.weight);
        SAME(ffn.post_norm.weight);
        SAME(ffn.gate.weight);
        SAME(ffn.gate.bias);
        SAME(ffn.up.weight);
        SAME(ffn.up.bias);
        SAME(ffn.down.weight);
        SAME(ffn.down.bias);
        break;
    case OP_MOE:
        assert_int_equal(a->moe.layer + first, b->moe.layer);
        SAME(moe.norm.weight);
        SAME(moe.post_norm.weight);
        SAME(moe.router);
        SAME(moe.gate);
        SAME(moe.up);
        SAME(moe.down);
        SAME(moe.sh_router);
        SAME(moe.sh_gate);
        SAME(moe.sh_up);
        SAME(moe.sh_down);
        break;
    case OP_LOGITS:
        SAME(logits.norm.weight);
        SAME(logits.norm.bias);
        SAME(logits.out.weight);
        SAME(logits.out.bias);
        break;
    }
#undef SAME
}

/* Of this layer ("blk.2."), or of the embedding or the output. */
static bool belongs(const char *name, uint32_t layer, uint32_t n_layer)
{
    if (strncmp(name, "blk.", 4) == 0) {
        const uint32_t i = (uint32_t)atoi(name + 4);
        return i >= layer && i < layer + n_layer;
    }
    const bool first = layer == 0, last = layer + n_layer == N_LAYER;
    if (strncmp(name, "token_embd", 10) == 0) return first || last; /* last: if tied */
    return last;
}

static void check_slice(const struct model_desc *m, uint32_t layer, uint32_t n_layer)
{
    struct model_desc s;
    const struct op_range r = model_part(m, layer, n_layer);
    model_slice_init(&s, m, r);
    assert_int_equal(s.cfg.n_layer, n_layer);
    assert_int_equal(s.cfg.n_embd, m->cfg.n_embd);
    assert_int_equal(model_embeds(&s), layer == 0);
    assert_int_equal(model_ends(&s), layer + n_layer == N_LAYER);
    assert_int_equal(s.n_op, 2 * n_layer + n_layer + model_embeds(&s) + model_ends(&s));
    for (uint32_t i = 0; i < s.n_op; i++) same_op(&s, &s.op[i], m, &m->op[r.from + i], layer);
    same_weight(&s, s.rank.weight, m, model_ends(&s) ? m->rank.weight : 0);
    for (uint32_t i = 1; i < s.n_weight; i++) {
        if (!belongs(s.weight[i].name, layer, n_layer))
            fail_msg("layers %u to %u have %s", layer, layer + n_layer - 1, s.weight[i].name);
        for (uint32_t k = 1; k < i; k++) assert_ptr_not_equal(s.weight[i].data, s.weight[k].data);
    }
    model_slice_deinit(&s);
}

static void every_cut(void **state)
{
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct tiny_model t;
        tiny_open(&t, &shapes[i], i);
        const struct model_desc *m = model_desc(t.model);
        for (uint32_t layer = 0; layer < N_LAYER; layer++)
            for (uint32_t n = 1; layer + n <= N_LAYER; n++) check_slice(m, layer, n);
        /* The whole, cut in two, is the whole, but for a matrix that both ends have. */
        uint32_t n_weight = 0;
        for (uint32_t k = 0; k < 2; k++) {
            struct model_desc s;
            model_slice_init(&s, m, model_part(m, 2 * k, 2 + k));
            n_weight += s.n_weight - 1;
            model_slice_deinit(&s);
        }
        assert_int_equal(n_weight, m->n_weight - 1 + shapes[i].tied);
        tiny_close(&t);
    }
}

/* Weights lie in the order of layers, in a slice as in the model, and q, k, v and gate, up next to each
 * other. */
static void check_order(const struct model_desc *m)
{
    uint32_t layer = 0;
    for (uint32_t i = 1; i < m->n_weight; i++) {
        if (strncmp(m->weight[i].name, "blk.", 4) != 0) continue;
        const uint32_t of = (uint32_t)atoi(m->weight[i].name + 4);
        if (of < layer) fail_msg("%s comes after layer %u", m->weight[i].name, layer);
        layer = of;
    }
    for (uint32_t i = 0; i < m->n_op; i++) {
        const struct op *op = &m->op[i];
        if (op->kind == OP_QKV && op->qkv.q.weight) {
            assert_int_equal(op->qkv.k.weight, op->qkv.q.weight + 1);
            assert_int_equal(op->qkv.v.weight, op->qkv.q.weight + 2);
        }
        if (op->kind == OP_FFN && op->ffn.gate.weight)
            assert_int_equal(op->ffn.up.weight, op->ffn.gate.weight + 1);
        if (op->kind == OP_MOE && op->moe.sh_gate) assert_int_equal(op->moe.sh_up, op->moe.sh_gate + 1);
    }
}

static void weights_in_order(void **state)
{
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        struct tiny_model t;
        struct model_desc s;
        tiny_open(&t, &shapes[i], i);
        check_order(model_desc(t.model));
        model_slice_init(&s, model_desc(t.model), model_part(model_desc(t.model), 1, 3));
        check_order(&s);
        model_slice_deinit(&s);
        tiny_close(&t);
    }
}

/* Ranges for planners: the embedding alone, layers without it. */
static void ends_alone(void **state)
{
    struct tiny_model t;
    struct model_desc s;
    tiny_open(&t, &shapes[1], 3);
    const struct model_desc *m = model_desc(t.model);
    const struct op_range layers = model_layers(m, 0, m->cfg.n_layer),
                          none = model_layers(m, m->cfg.n_layer, 1);
    assert_int_equal(layers.from, 1);
    assert_int_equal(layers.to, m->n_op - 1);
    assert_true(none.from >= none.to);
    model_slice_init(&s, m, (struct op_range){0, layers.from});
    assert_int_equal(s.n_weight, 2);
    assert_int_equal(s.cfg.n_layer, 0);
    assert_int_equal(s.n_rope, 0);
    model_slice_deinit(&s);
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_cut), cmocka_unit_test(weights_in_order),
                                       cmocka_unit_test(ends_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
