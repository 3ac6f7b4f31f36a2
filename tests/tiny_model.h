/* Small models with random weights, written to a temporary file by the GGUF writer, for tests that must run
 * without ../shared. Header only: each test that includes it gets its own copy. */
#ifndef CORRAL_TESTS_TINY_MODEL_H
#define CORRAL_TESTS_TINY_MODEL_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "format/gguf.h"
#include "model/model.h"

struct tiny_shape {
    const char *arch;
    enum dtype type; /* of the matrices */
    uint32_t n_vocab, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_expert, n_used, n_ff_shared,
        window, n_rank; /* n_rank: outputs of a reranker's head */
    bool bias, qk_norm, post_norm, tied;
};

/* What most tests want, with so many tokens. */
#define TINY_LLAMA(vocab)                                                                                    \
    {.arch = "llama",                                                                                        \
     .type = DT_F32,                                                                                         \
     .n_vocab = (vocab),                                                                                     \
     .n_embd = 32,                                                                                           \
     .n_layer = 2,                                                                                           \
     .n_head = 4,                                                                                            \
     .n_head_kv = 2,                                                                                         \
     .head_dim = 8,                                                                                          \
     .n_ff = 48}

struct tiny_model {
    char path[64];
    struct gguf *gguf;
    struct model *model;
};

static void tiny_random(float *x, size_t n, float scale, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) x[i] = scale * (float)(2 * rng_uniform(seed, 0, i, 0) - 1);
}

struct tiny_writer {
    struct gguf_writer *w;
    struct {
        char name[64];
        enum dtype type;
        int64_t n;
        float scale, offset;
    } t[512];
    size_t n;
};

static void tiny_declare(struct tiny_writer *tw, const char *name, enum dtype type, float scale, float offset,
                         int rank, int64_t d0, int64_t d1, int64_t d2)
{
    int64_t dim[3] = {d0, d1, d2}, n = 1;
    for (int i = 0; i < rank; i++) n *= dim[i];
    gguf_writer_tensor(tw->w, name, type, (uint8_t)rank, dim);
    snprintf(tw->t[tw->n].name, 64, "%s", name);
    tw->t[tw->n].type = type;
    tw->t[tw->n].n = n;
    tw->t[tw->n].scale = scale;
    tw->t[tw->n++].offset = offset;
}

static void tiny_matrix(struct tiny_writer *tw, enum dtype type, const char *fmt, uint32_t il, int64_t out,
                        int64_t in)
{
    char name[64];
    snprintf(name, sizeof name, fmt, il);
    tiny_declare(tw, name, type, 2.0f / sqrtf((float)in), 0, 2, out, in, 0);
}

static void tiny_vector(struct tiny_writer *tw, const char *fmt, uint32_t il, int64_t n, bool norm)
{
    char name[64];
    snprintf(name, sizeof name, fmt, il);
    tiny_declare(tw, name, DT_F32, norm ? 0.2f : 0.1f, norm ? 1.0f : 0, 1, n, 0, 0);
}

static void tiny_layer(struct tiny_writer *tw, const struct tiny_shape *s, uint32_t il)
{
    const int64_t e = s->n_embd, q = (int64_t)s->n_head * s->head_dim,
                  kv = (int64_t)s->n_head_kv * s->head_dim;
    tiny_vector(tw, "blk.%u.attn_norm.weight", il, e, true);
    tiny_matrix(tw, s->type, "blk.%u.attn_q.weight", il, q, e);
    tiny_matrix(tw, s->type, "blk.%u.attn_k.weight", il, kv, e);
    tiny_matrix(tw, s->type, "blk.%u.attn_v.weight", il, kv, e);
    if (s->bias) {
        tiny_vector(tw, "blk.%u.attn_q.bias", il, q, false);
        tiny_vector(tw, "blk.%u.attn_k.bias", il, kv, false);
        tiny_vector(tw, "blk.%u.attn_v.bias", il, kv, false);
    }
    if (s->qk_norm) {
        tiny_vector(tw, "blk.%u.attn_q_norm.weight", il, s->head_dim, true);
        tiny_vector(tw, "blk.%u.attn_k_norm.weight", il, s->head_dim, true);
    }
    tiny_matrix(tw, s->type, "blk.%u.attn_output.weight", il, e, q);
    tiny_vector(tw, "blk.%u.ffn_norm.weight", il, e, true);
    if (s->post_norm) {
        tiny_vector(tw, "blk.%u.post_attention_norm.weight", il, e, true);
        tiny_vector(tw, "blk.%u.post_ffw_norm.weight", il, e, true);
    }
    if (!s->n_expert) {
        tiny_matrix(tw, s->type, "blk.%u.ffn_gate.weight", il, s->n_ff, e);
        tiny_matrix(tw, s->type, "blk.%u.ffn_up.weight", il, s->n_ff, e);
        tiny_matrix(tw, s->type, "blk.%u.ffn_down.weight", il, e, s->n_ff);
        return;
    }
    static const char *const name[] = {"gate", "up", "down"};
    tiny_matrix(tw, DT_F32, "blk.%u.ffn_gate_inp.weight", il, s->n_expert, e);
    for (int i = 0; i < 3; i++) {
        char text[64];
        int64_t out = i == 2 ? e : s->n_ff, in = i == 2 ? s->n_ff : e;
        snprintf(text, sizeof text, "blk.%u.ffn_%s_exps.weight", il, name[i]);
        tiny_declare(tw, text, s->type, 2.0f / sqrtf((float)in), 0, 3, s->n_expert, out, in);
        if (!s->n_ff_shared) continue;
        snprintf(text, sizeof text, "blk.%u.ffn_%s_shexp.weight", il, name[i]);
        tiny_declare(tw, text, s->type, 2.0f / sqrtf((float)in), 0, 2, i == 2 ? e : s->n_ff_shared,
                     i == 2 ? s->n_ff_shared : e, 0);
    }
    if (s->n_ff_shared) tiny_vector(tw, "blk.%u.ffn_gate_inp_shexp.weight", il, e, false);
}

static void tiny_key(struct gguf_writer *w, const char *arch, const char *suffix, uint32_t v)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", arch, suffix);
    gguf_writer_u32(w, key, v);
}

/* Writes and opens the model; a failure is a failure of the test program. Close with tiny_close. */
static void tiny_open(struct tiny_model *m, const struct tiny_shape *s, uint64_t seed)
{
    static struct tiny_writer tw;
    struct error e = {0};
    char key[96];
    memset(&tw, 0, sizeof tw);
    snprintf(m->path, sizeof m->path, "/tmp/corral-tiny-XXXXXX");
    int fd = mkstemp(m->path);
    if (fd < 0 || gguf_writer_open(&tw.w, m->path, &e) != OK) goto bad;
    close(fd);
    gguf_writer_str(tw.w, "general.architecture", s->arch);
    tiny_key(tw.w, s->arch, "context_length", 512);
    tiny_key(tw.w, s->arch, "embedding_length", s->n_embd);
    tiny_key(tw.w, s->arch, "block_count", s->n_layer);
    tiny_key(tw.w, s->arch, "attention.head_count", s->n_head);
    tiny_key(tw.w, s->arch, "attention.head_count_kv", s->n_head_kv);
    tiny_key(tw.w, s->arch, "attention.key_length", s->head_dim);
    tiny_key(tw.w, s->arch, "attention.value_length", s->head_dim);
    tiny_key(tw.w, s->arch, "feed_forward_length", s->n_ff);
    if (s->window) tiny_key(tw.w, s->arch, "attention.sliding_window", s->window);
    if (s->n_expert) {
        tiny_key(tw.w, s->arch, "expert_count", s->n_expert);
        tiny_key(tw.w, s->arch, "expert_used_count", s->n_used);
        tiny_key(tw.w, s->arch, "expert_feed_forward_length", s->n_ff);
        tiny_key(tw.w, s->arch, "expert_shared_feed_forward_length", s->n_ff_shared);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", s->arch);
    gguf_writer_f32(tw.w, key, 1e-5f);
    tiny_matrix(&tw, s->type, "token_embd.weight", 0, s->n_vocab, s->n_embd);
    tiny_vector(&tw, "output_norm.weight", 0, s->n_embd, true);
    if (!s->tied) tiny_matrix(&tw, s->type, "output.weight", 0, s->n_vocab, s->n_embd);
    if (s->n_rank) tiny_matrix(&tw, DT_F32, "cls.output.weight", 0, s->n_rank, s->n_embd);
    for (uint32_t il = 0; il < s->n_layer; il++) tiny_layer(&tw, s, il);
    if (gguf_writer_begin_data(tw.w, &e) != OK) goto bad;
    for (size_t i = 0; i < tw.n; i++) {
        size_t bytes = 0, n = (size_t)tw.t[i].n;
        float *x = mem_alloc(n * sizeof *x);
        if (!dtype_bytes(tw.t[i].type, tw.t[i].n, &bytes)) goto bad;
        void *data = mem_zalloc(bytes, 1);
        tiny_random(x, n, tw.t[i].scale, seed + i);
        for (size_t j = 0; j < n; j++) x[j] += tw.t[i].offset;
        dtype_info(tw.t[i].type)->encode(x, data, n, NULL);
        status st = gguf_writer_data(tw.w, data, bytes, &e);
        free(x);
        free(data);
        if (st != OK) goto bad;
    }
    if (gguf_writer_finish(tw.w, &e) != OK) goto bad;
    gguf_writer_close(tw.w);
    if (gguf_open(&m->gguf, m->path, NULL, &e) != OK || model_new(&m->model, m->gguf, NULL, &e) != OK)
        goto bad;
    return;
bad:
    fprintf(stderr, "tiny model %s: %s\n", s->arch, e.msg);
    exit(1);
}

static void tiny_close(struct tiny_model *m)
{
    model_free(m->model);
    gguf_close(m->gguf);
    unlink(m->path);
    memset(m, 0, sizeof *m);
}

#endif
