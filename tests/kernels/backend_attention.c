/* Attention of every instruction set against sums in double, over blocks that lie anywhere: groups, head
 * sizes, windows and KV types of all kinds. What no query may see, the rest of the last block and blocks
 * before the window, is not a number. And a token's bits must not depend on the tokens that are computed with
 * it. With an argument, for emulators: a quarter of it, and not the portable kernels, whose machine is any.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/kernels.h"
#include "base/rng.h"
#include "support/guarded.h"
#include "tensor/dtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static bool quick;
enum { N_TOK = 157, MOST = 2 * ATTN_SPAN + N_TOK, MOST_BLOCK = MOST / KV_BLOCK_TOKENS + 2 };

struct shape {
    uint32_t group, head_dim;
    enum dtype type;
    uint32_t window;
    float softcap;
    uint32_t pos; /* of the first of N_TOK tokens that ask */
};

// clang-format off
static const struct shape shapes[] = {
    {1, 64, DT_F16, 0, 0, 0},  {2, 128, DT_F16, 0, 0, 0},   {3, 80, DT_F16, 0, 0, 0},   {4, 64, DT_F16, 0, 0, 0},
    {5, 12, DT_F16, 0, 0, 0},  {7, 64, DT_F16, 0, 0, 0},    {8, 256, DT_F16, 0, 50, 0}, {71, 24, DT_F16, 0, 0, 0},
    {1, 64, DT_F16, 21, 0, 0}, {4, 96, DT_F16, 64, 0, 0},   {2, 40, DT_F16, 1, 0, 0},   {6, 64, DT_F16, 100, 30, 0},
    {4, 64, DT_Q8_0, 0, 0, 0}, {3, 128, DT_Q8_0, 37, 0, 0}, {1, 32, DT_Q8_0, 0, 20, 0}, {9, 96, DT_Q8_0, 0, 0, 0},
    {4, 64, DT_F32, 0, 0, 0},  {1, 12, DT_F32, 0, 0, 0},    {2, 20, DT_F32, 30, 0, 0},  {13, 48, DT_F32, 0, 0, 0},
    /* more than one span */
    {2, 16, DT_F16, 0, 0, 2 * ATTN_SPAN - 50}, {3, 16, DT_F16, ATTN_SPAN - 30, 0, ATTN_SPAN - 90},
    {5, 32, DT_Q8_0, 0, 0, ATTN_SPAN - 1},     {1, 64, DT_F16, 70, 9, 2 * ATTN_SPAN - 3},
    /* all sizes of tiles; more queries than a panel has room for */
    {7, 64, DT_Q8_0, 100, 0, 0},               {130, 32, DT_Q8_0, 0, 0, 0},
};
// clang-format on

/* One head of one layer of a cache, and queries for its last N_TOK tokens. */
struct cache {
    struct kv_layout l;
    uint8_t *mem;
    uint32_t n, n_block;
    uint32_t block[MOST_BLOCK]; /* n_block, and one that holds no numbers */
    float *q, *k, *v;           /* (N_TOK, group, head_dim), (n, head_dim): as the cache has them */
    float *scratch, *part;
};
enum { LAYER = 1, HEAD = 1 }; /* the last ones, so that the memory ends with this head's values */

static void cache_init(struct cache *c, const struct shape *s, uint64_t seed)
{
    const struct model_config config = {.n_layer = 2, .n_head_kv = 2, .head_dim = s->head_dim};
    const struct dtype_info *t = dtype_info(s->type);
    const size_t hd = s->head_dim, n_q = N_TOK * s->group * hd;
    struct error e;
    assert_int_equal(kv_layout_init(&c->l, &config, s->type, &e), OK);
    c->n = s->pos + N_TOK;
    c->n_block = (c->n + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    c->mem = guarded_new((c->n_block + 1) * c->l.block_bytes);
    memset(c->mem, 0xff, (c->n_block + 1) * c->l.block_bytes);
    for (uint32_t i = 0; i < c->n_block; i++) c->block[i] = c->n_block - i;
    c->block[c->n_block] = 0;
    c->q = mem_alloc(n_q * sizeof *c->q);
    c->k = mem_alloc(c->n * hd * sizeof *c->k);
    c->v = mem_alloc(c->n * hd * sizeof *c->v);
    c->scratch = mem_aligned(64, attn_scratch_floats(s->group, hd) * sizeof *c->scratch);
    c->part =
        mem_aligned(64, 4 * attn_part_floats((size_t)attn_tokens(s->group) * s->group, hd) * sizeof *c->part);
    for (size_t i = 0; i < n_q; i++)
        c->q[i] = (float)((2 * rng_uniform(seed, 0, i, 0) - 1) * 6 / sqrt((double)hd));
    for (size_t i = 0; i < c->n * hd; i++) {
        c->k[i] = (float)(4 * rng_uniform(seed, 1, i, 0) - 2);
        c->v[i] = (float)(4 * rng_uniform(seed, 2, i, 0) - 2);
    }
    for (uint32_t i = 0; i < c->n; i++) {
        uint8_t *mem = c->mem + c->block[i / KV_BLOCK_TOKENS] * c->l.block_bytes;
        uint8_t *k = mem + kv_row_at(&c->l, LAYER, false, HEAD, i),
                *v = mem + kv_row_at(&c->l, LAYER, true, HEAD, i);
        t->encode(c->k + i * hd, k, hd, NULL);
        t->encode(c->v + i * hd, v, hd, NULL);
        t->decode(k, c->k + i * hd, hd);
        t->decode(v, c->v + i * hd, hd);
    }
}

static void cache_deinit(struct cache *c)
{
    guarded_free(c->mem, (c->n_block + 1) * c->l.block_bytes);
    free(c->q);
    free(c->k);
    free(c->v);
    free(c->scratch);
    free(c->part);
}

/* Tokens [i, i + n) of those that ask to out (N_TOK, group, head_dim), at once or span by span. Blocks that
 * none of them sees are the one without numbers. */
static void attend(const struct cpu_kernels *kernels, const struct shape *s, const struct cache *c,
                   uint32_t i, uint32_t n, bool spans, float *out)
{
    const size_t row = (size_t)s->group * s->head_dim;
    const uint32_t pos = s->pos + i, low = attn_first_key(pos, s->window);
    const uint32_t span = low / ATTN_SPAN, n_span = (pos + n - 1) / ATTN_SPAN + 1 - span;
    uint32_t block[MOST_BLOCK];
    for (uint32_t b = 0; b < c->n_block; b++) {
        bool seen = b >= low / KV_BLOCK_TOKENS && b <= (pos + n - 1) / KV_BLOCK_TOKENS;
        block[b] = c->block[seen ? b : c->n_block];
    }
    struct attn_args a = {.kv = &c->l,
                          .mem = c->mem,
                          .block = block,
                          .layer = LAYER,
                          .kv_head = HEAD,
                          .group = s->group,
                          .head_dim = s->head_dim,
                          .window = s->window,
                          .softcap = s->softcap,
                          .q = c->q + i * row,
                          .out = out + i * row,
                          .q_stride = row,
                          .out_stride = row,
                          .pos = pos,
                          .n_tok = n,
                          .scratch = c->scratch};
    for (uint32_t j = n_span; spans && j-- > 0;) {
        a.part = c->part + j * attn_part_floats((size_t)n * s->group, s->head_dim);
        a.span = span + j;
        kernels->attention(&a);
    }
    if (spans)
        kernels->attention_join(&a, n_span); /* a.part is the first again */
    else
        kernels->attention(&a);
}

/* All that ask, n_tok at a time. */
static void attend_all(const struct cpu_kernels *kernels, const struct shape *s, const struct cache *c,
                       uint32_t n_tok, bool spans, float *out)
{
    for (uint32_t i = 0; i < N_TOK; i += n_tok) attend(kernels, s, c, i, MIN(n_tok, N_TOK - i), spans, out);
}

static void expect(const struct shape *s, const struct cache *c, uint32_t at, uint32_t head, double *out)
{
    const size_t hd = s->head_dim;
    const float *q = c->q + (at * s->group + head) * hd;
    const uint32_t pos = s->pos + at, from = s->window && pos + 1 > s->window ? pos + 1 - s->window : 0;
    double score[MOST], max = -INFINITY, sum = 0;
    for (uint32_t j = from; j <= pos; j++) {
        score[j] = 0;
        for (size_t i = 0; i < hd; i++) score[j] += (double)q[i] * (double)c->k[j * hd + i];
        if (s->softcap != 0) score[j] = (double)s->softcap * tanh(score[j] / (double)s->softcap);
        max = fmax(max, score[j]);
    }
    for (size_t i = 0; i < hd; i++) out[i] = 0;
    for (uint32_t j = from; j <= pos; j++) {
        double w = exp(score[j] - max);
        sum += w;
        for (size_t i = 0; i < hd; i++) out[i] += w * (double)c->v[j * hd + i];
    }
    for (size_t i = 0; i < hd; i++) out[i] /= sum;
}

static void check_shape(const struct cpu_kernels *kernels, const struct shape *s, uint64_t seed)
{
    const uint32_t most = attn_tokens(s->group), some[] = {1, most > 2 ? most - 1 : 1, most > 5 ? 5 : 1};
    const size_t row = (size_t)s->group * s->head_dim;
    struct cache c;
    float *out = mem_alloc(N_TOK * row * sizeof *out), *again = mem_alloc(N_TOK * row * sizeof *again);
    double want[256], diff = 0, all = 0;

    cache_init(&c, s, seed);
    attend_all(kernels, s, &c, most, false, out);
    for (uint32_t i = 0; i < N_TOK; i++) {
        for (uint32_t h = 0; h < s->group; h++) {
            expect(s, &c, i, h, want);
            for (size_t j = 0; j < s->head_dim; j++) {
                double got = (double)out[i * row + h * s->head_dim + j];
                diff += (got - want[j]) * (got - want[j]);
                all += want[j] * want[j];
            }
        }
    }
    const double limit = s->type == DT_Q8_0 ? 1e-8 : 1e-11; /* queries of 16 bits meet its keys */
    if (!(diff <= limit * all))
        fail_msg("%s: group %u, head %u, %s, window %u, softcap %g: NMSE %g", kernels->name, s->group,
                 s->head_dim, dtype_info(s->type)->name, s->window, (double)s->softcap, diff / all);
    for (size_t n = 0; n < 2 * COUNT_OF(some); n++) {
        const uint32_t by = some[n / 2];
        memset(again, 0xab, N_TOK * row * sizeof *again);
        attend_all(kernels, s, &c, by, n % 2, again);
        for (size_t i = 0; i < N_TOK; i++)
            if (memcmp(again + i * row, out + i * row, row * sizeof *out) != 0)
                fail_msg(
                    "%s: group %u, head %u, %s, window %u: token %zu by %u%s differs from the same by %u",
                    kernels->name, s->group, s->head_dim, dtype_info(s->type)->name, s->window, i, by,
                    n % 2 ? " and span by span" : "", most);
    }
    cache_deinit(&c);
    free(out);
    free(again);
}

static void attention(void **state)
{
    const struct cpu_kernels *set[MAX_CPU_KERNELS];
    size_t n_set = cpu_kernels_all(set, COUNT_OF(set));
    for (size_t k = quick; k < n_set; k++)
        for (size_t i = 0; i < COUNT_OF(shapes); i += quick ? 4 : 1) check_shape(set[k], &shapes[i], i);
}

int main(int argc, char **argv)
{
    quick = argc > 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(attention)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
