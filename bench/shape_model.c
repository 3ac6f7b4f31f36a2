/* A GGUF file with the shape of a known model and random weights, for benchmarks on machines without the
 * model: speed does not depend on what the weights say, but it does depend on their bits changing, so they
 * are not zero.
 *
 * usage: shape_model FILE SHAPE TYPE   SHAPE: tiny, 8b (Llama-3.1-8B), 30b-a3b (Qwen3-30B-A3B)
 *                                      TYPE: bf16, q8_0, q4_0, q4_k_m (Q4_K with Q6_K where llama.cpp puts
 * it) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "format/gguf.h"
#include "tensor/dtype.h"

static const struct shape {
    const char *name, *arch;
    uint32_t n_vocab, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_expert, n_used, n_ctx;
} shapes[] = {
    {"tiny", "llama", 512, 256, 4, 4, 2, 64, 512, 0, 0, 4096},
    {"8b", "llama", 128256, 4096, 32, 32, 8, 128, 14336, 0, 0, 131072},
    {"30b-a3b", "qwen3moe", 151936, 2048, 48, 32, 4, 128, 768, 128, 8, 40960},
};

/* Where the half-precision scales of a block lie and how large they are, so that activations stay in range;
 * the second, of what is subtracted, is 7.5 times as large: the middle of four bits. */
static const struct kind {
    enum dtype type;
    int at[2];
    float scale;
} kinds[] = {{DT_BF16, {0, -1}, 0.02f}, {DT_F32, {-1, -1}, 0},    {DT_Q8_0, {0, -1}, 3e-4f},
             {DT_Q4_0, {0, -1}, 4e-3f}, {DT_Q4_K, {0, 2}, 6e-5f}, {DT_Q6_K, {208, -1}, 3e-5f}};

struct tensor {
    char name[64];
    enum dtype type;
    int64_t n;
};
static struct {
    struct gguf_writer *w;
    const struct shape *s;
    enum dtype type;
    bool mix;
    struct tensor *t;
    size_t n;
} out;

static void declare(enum dtype type, int rank, const int64_t *dim, const char *name)
{
    struct tensor *t;
    out.t = mem_realloc(out.t, out.n + 1, sizeof *out.t);
    t = &out.t[out.n++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->type = type;
    t->n = 1;
    for (int i = 0; i < rank; i++) t->n *= dim[i];
    gguf_writer_tensor(out.w, name, type, (uint8_t)rank, dim);
}

static void vector(const char *name, int64_t n)
{
    declare(DT_F32, 1, &n, name);
}

static void matrix(enum dtype type, int64_t n_expert, int64_t n_out, int64_t n_in, const char *name)
{
    const int64_t dim[] = {n_expert, n_out, n_in};
    declare(type, n_expert ? 3 : 2, dim + !n_expert, name);
}

static const char *in_layer(uint32_t il, const char *name)
{
    static char text[64];
    snprintf(text, sizeof text, "blk.%u.%s.weight", il, name);
    return text;
}

static void declare_layer(uint32_t il)
{
    const struct shape *s = out.s;
    const int64_t e = s->n_embd, q = (int64_t)s->n_head * s->head_dim,
                  kv = (int64_t)s->n_head_kv * s->head_dim;
    const uint32_t n = s->n_layer;
    const bool more_bits = il < n / 8 || il >= 7 * n / 8 || (il - n / 8) % 3 == 2;
    const enum dtype fine = out.mix && more_bits ? DT_Q6_K : out.type;
    vector(in_layer(il, "attn_norm"), e);
    vector(in_layer(il, "ffn_norm"), e);
    matrix(out.type, 0, q, e, in_layer(il, "attn_q"));
    matrix(out.type, 0, kv, e, in_layer(il, "attn_k"));
    matrix(fine, 0, kv, e, in_layer(il, "attn_v"));
    matrix(out.type, 0, e, q, in_layer(il, "attn_output"));
    if (!s->n_expert) {
        matrix(out.type, 0, s->n_ff, e, in_layer(il, "ffn_gate"));
        matrix(out.type, 0, s->n_ff, e, in_layer(il, "ffn_up"));
        matrix(fine, 0, e, s->n_ff, in_layer(il, "ffn_down"));
        return;
    }
    vector(in_layer(il, "attn_q_norm"), s->head_dim);
    vector(in_layer(il, "attn_k_norm"), s->head_dim);
    matrix(DT_F32, 0, s->n_expert, e, in_layer(il, "ffn_gate_inp"));
    matrix(out.type, s->n_expert, s->n_ff, e, in_layer(il, "ffn_gate_exps"));
    matrix(out.type, s->n_expert, s->n_ff, e, in_layer(il, "ffn_up_exps"));
    matrix(fine, s->n_expert, e, s->n_ff, in_layer(il, "ffn_down_exps"));
}

static void key(const char *suffix, uint32_t v)
{
    char text[96];
    snprintf(text, sizeof text, "%s.%s", out.s->arch, suffix);
    gguf_writer_u32(out.w, text, v);
}

static void declare_all(void)
{
    const struct shape *s = out.s;
    char text[96];
    gguf_writer_str(out.w, "general.architecture", s->arch);
    key("context_length", s->n_ctx);
    key("embedding_length", s->n_embd);
    key("block_count", s->n_layer);
    key("attention.head_count", s->n_head);
    key("attention.head_count_kv", s->n_head_kv);
    key("attention.key_length", s->head_dim);
    key("attention.value_length", s->head_dim);
    key("feed_forward_length", s->n_ff);
    if (s->n_expert) {
        key("expert_count", s->n_expert);
        key("expert_used_count", s->n_used);
        key("expert_feed_forward_length", s->n_ff);
    }
    snprintf(text, sizeof text, "%s.attention.layer_norm_rms_epsilon", s->arch);
    gguf_writer_f32(out.w, text, 1e-5f);
    matrix(out.type, 0, s->n_vocab, s->n_embd, "token_embd.weight");
    vector("output_norm.weight", s->n_embd);
    matrix(out.mix ? DT_Q6_K : out.type, 0, s->n_vocab, s->n_embd, "output.weight");
    for (uint32_t il = 0; il < s->n_layer; il++) declare_layer(il);
}

/* Whole blocks, about four million bytes, which are repeated: more is only slower to make. */
static uint8_t *make_piece(const struct kind *k, size_t *bytes)
{
    const struct dtype_info *d = dtype_info((uint32_t)k->type);
    const size_t n = ((size_t)4 << 20) / d->block_bytes;
    uint8_t *p = mem_alloc(n * d->block_bytes);
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < n * d->block_bytes; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift64 */
        p[i] = (uint8_t)(state >> 32);
    }
    for (size_t b = 0; b < n; b++) {
        const float v = k->scale * (float)(1 + p[b * d->block_bytes] / 256.0);
        for (int i = 0; i < 2 && k->at[i] >= 0; i++) {
            const bool bf16 = k->type == DT_BF16;
            const uint16_t h =
                bf16 ? f32_to_bf16(k->scale * (float)(p[2 * b] / 128.0 - 1)) : f32_to_f16(i ? 7.5f * v : v);
            memcpy(p + b * d->block_bytes + k->at[i], &h, sizeof h);
        }
        const float one = 1 + 0.1f * (float)(p[b] / 256.0);
        if (k->type == DT_F32) memcpy(p + b * sizeof one, &one, sizeof one);
    }
    *bytes = n * d->block_bytes;
    return p;
}

static status write_data(struct error *e)
{
    uint8_t *piece[COUNT_OF(kinds)] = {0};
    size_t bytes[COUNT_OF(kinds)];
    status s = OK;
    for (size_t i = 0; i < out.n && s == OK; i++) {
        size_t k = 0, left = 0;
        while (kinds[k].type != out.t[i].type) k++;
        if (!piece[k]) piece[k] = make_piece(&kinds[k], &bytes[k]);
        if (!dtype_bytes(out.t[i].type, out.t[i].n, &left))
            return fail(e, ERR_ARG, "%s: its size", out.t[i].name);
        for (size_t n; left && s == OK; left -= n) {
            n = MIN(left, bytes[k]);
            s = gguf_writer_data(out.w, piece[k], n, e);
        }
    }
    for (size_t k = 0; k < COUNT_OF(kinds); k++) free(piece[k]);
    return s;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum dtype type;
        bool mix;
    } types[] = {{"bf16", DT_BF16, false},
                 {"q8_0", DT_Q8_0, false},
                 {"q4_0", DT_Q4_0, false},
                 {"q4_k_m", DT_Q4_K, true}};
    struct error e = {0};
    bool known = false;
    for (size_t i = 0; argc == 4 && i < COUNT_OF(shapes); i++)
        if (!strcmp(argv[2], shapes[i].name)) out.s = &shapes[i];
    for (size_t i = 0; argc == 4 && i < COUNT_OF(types); i++)
        if (!strcmp(argv[3], types[i].name)) out.type = types[i].type, out.mix = types[i].mix, known = true;
    if (!out.s || !known) {
        fprintf(stderr, "usage: shape_model FILE tiny|8b|30b-a3b bf16|q8_0|q4_0|q4_k_m\n");
        return 2;
    }
    status s = gguf_writer_open(&out.w, argv[1], &e);
    if (s == OK) {
        declare_all();
        s = gguf_writer_begin_data(out.w, &e);
    }
    if (s == OK) s = write_data(&e);
    if (s == OK) s = gguf_writer_finish(out.w, &e);
    gguf_writer_close(out.w);
    free(out.t);
    if (s == OK) return 0;
    fprintf(stderr, "shape_model: %s\n", e.msg);
    return 1;
}
