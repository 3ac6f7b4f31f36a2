/* What the GPU kernels reach on this card, as a Markdown table: copies, products of one format after the
 * other, attention of one token. Rates are ratios to the card's own copy rate. `make bench-gpu` runs it.
 *
 * usage: gpu_kernels [target [tiny]]   (cuda; tiny: sizes to try the program with on the simulator) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/gpu/gpu_int.h"
#include "base/clock.h"
#include "tensor/dtype.h"

static const struct gpu_ops *ops;
static struct gpu *gpu;

static void sync_or_die(void)
{
    char why[200];
    if (ops->sync(gpu, why, sizeof why)) return;
    fprintf(stderr, "bench-gpu: %s\n", why);
    exit(1);
}

/* Bits that change, as those of a model do: with zeros a card draws less power and computes faster. Whatever
 * the type, small numbers: no halves, bf16 or floats of these are infinite. */
static void fill(uint8_t *p, size_t bytes)
{
    static uint16_t piece[1 << 19];
    static uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < COUNT_OF(piece) && !piece[COUNT_OF(piece) - 1]; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17; /* xorshift64 */
        piece[i] = (uint16_t)((state >> 32 & 0x87ff) | 0x3800);
    }
    size_t done = MIN(bytes, sizeof piece);
    ops->copy_in(gpu, p, piece, done);
    for (size_t n; done < bytes; done += n) {
        n = MIN(done, bytes - done);
        ops->copy(gpu, p + done, p, n);
    }
}

static void *memory(size_t bytes)
{
    void *p = ops->alloc(gpu, bytes);
    if (!p) {
        fprintf(stderr, "bench-gpu: no %zu bytes of memory on the device\n", bytes);
        exit(1);
    }
    fill(p, bytes);
    return p;
}

/* Seconds per call: the best of five rounds, each long enough to be timed. */
static double measure(void (*fn)(void *), void *arg)
{
    double best = 1e9;
    int n = 1;
    for (int round = 0; round < 5;) {
        fn(arg);
        sync_or_die();
        int64_t start = clock_ns();
        for (int i = 0; i < n; i++) fn(arg);
        sync_or_die();
        double s = (double)(clock_ns() - start) * 1e-9;
        if (s < 0.02 && n < 1 << 16) {
            n *= 2;
            continue;
        }
        best = MIN(best, s / n);
        round++;
    }
    return best;
}

struct copying {
    void *to, *from;
    size_t bytes;
};
static void copy(void *p)
{
    const struct copying *c = p;
    ops->copy(gpu, c->to, c->from, c->bytes);
}

/* Two matrices by turns, so that none stays in the cache. */
struct product {
    struct gpu_matmul a;
    const void *data[8];
    unsigned n, turn;
};
static void product(void *p)
{
    struct product *x = p;
    x->a.w.data = x->data[x->turn++ % x->n];
    ops->matmul(gpu, &x->a);
}
static void attention(void *p)
{
    ops->attn(gpu, p);
}

static void bench_product(enum dtype type, uint32_t n_out, uint32_t n_in, uint32_t n_row, double copy_rate)
{
    struct gpu_layout l;
    struct product p = {0};
    if (!ops->layout((uint32_t)type, n_out, n_in, &l)) return;
    p.n = (unsigned)MIN(MAX((size_t)2, ((size_t)192 << 20) / l.bytes), COUNT_OF(p.data));
    if (l.bytes < 1 << 20) p.n = 2;
    for (unsigned i = 0; i < p.n; i++) p.data[i] = memory(l.bytes);
    p.a = (struct gpu_matmul){.w = {NULL, (uint32_t)type, n_out, l.n_in, l.bytes},
                              .x = {.ld = l.n_in},
                              .y = memory((size_t)n_row * n_out * 4),
                              .ldy = n_out,
                              .n_row = n_row};
    void *x = memory((size_t)n_row * l.n_in * 4);
    if (l.reads_b) p.a.x.b = x;
    if (l.reads_f) p.a.x.f = x;
    double s = measure(product, &p), rate = (double)l.bytes / s;
    printf("| %s | %u x %u | %u | %.1f | %.0f | %.0f %% |\n", dtype_info((uint32_t)type)->name, n_out, n_in,
           n_row, s * 1e6, rate * 1e-9, 100 * rate / copy_rate);
    for (unsigned i = 0; i < p.n; i++) ops->release(gpu, (void *)(uintptr_t)p.data[i]);
    ops->release(gpu, p.a.y);
    ops->release(gpu, x);
}

/* The ways of multiplying with many rows beside each other, to see where one should take over from the other:
 * dev/matmul.cu has the numbers of rows. */
static void bench_ways(enum dtype type, uint32_t n_out, uint32_t n_in, bool tiny, double copy_rate)
{
    static const struct {
        enum gpu_way way;
        const char *name;
    } ways[] = {{GPU_FEW, "packed"}, {GPU_TILES, "mma"}, {GPU_WGMMA, "wgmma"}, {GPU_LIBRARY, "cuBLASLt"}};
    static const uint32_t rows[] = {64, 96, 128, 192, 256, 384, 512, 1024, 4096};
    enum { PANEL = 32 << 20 };
    const uint32_t most = tiny ? 64 : 4096;
    struct gpu_layout l;
    struct gpu_info info;
    char why[200];
    if (!ops->layout((uint32_t)type, n_out, n_in, &l) || !ops->info(0, &info, why, sizeof why)) return;
    const bool library = ops->library(gpu, why, sizeof why);
    struct gpu_matmul a = {.w = {memory(l.bytes), (uint32_t)type, n_out, l.n_in, l.bytes},
                           .x = {.b = memory((size_t)most * l.n_in * sizeof(uint16_t)), .ld = l.n_in},
                           .y = memory((size_t)most * n_out * sizeof(float)),
                           .ldy = n_out,
                           .panel = memory(PANEL),
                           .panel_bytes = PANEL,
                           .room = memory(ops->library_bytes),
                           .room_bytes = ops->library_bytes};
    for (size_t r = 0; r < (tiny ? 1 : COUNT_OF(rows)); r++)
        for (size_t w = 0; w < COUNT_OF(ways); w++) {
            if ((ways[w].way == GPU_LIBRARY && !library) || (ways[w].way == GPU_WGMMA && info.major != 9))
                continue;
            struct product p = {.a = a, .data = {a.w.data}, .n = 1};
            p.a.n_row = rows[r];
            p.a.way = ways[w].way;
            const double s = measure(product, &p), flop = 2.0 * rows[r] * n_out * n_in;
            printf("| %s | %u x %u | %u | %s | %.1f | %.1f | %.0f %% |\n", dtype_info((uint32_t)type)->name,
                   n_out, n_in, rows[r], ways[w].name, s * 1e6, flop / s * 1e-12,
                   100 * (double)l.bytes / s / copy_rate);
        }
    void *mine[] = {(void *)(uintptr_t)a.w.data, a.x.b, a.y, a.panel, a.room};
    for (size_t i = 0; i < COUNT_OF(mine); i++) ops->release(gpu, mine[i]);
}

/* One token of each of n_seq sequences with `len` keys: 32 heads, 8 KV heads of 128, f16. */
static void bench_attention(uint32_t n_seq, uint32_t len, double copy_rate)
{
    enum { HEADS = 32, KV = 8, HD = 128 };
    const uint32_t part = 256, n_part = (len + part - 1) / part, blocks = len / KV_BLOCK_TOKENS;
    const size_t head = KV_BLOCK_TOKENS * HD * 2, block_bytes = head * KV * 2;
    struct gpu_tile *tile = mem_zalloc((size_t)n_seq * n_part, sizeof *tile);
    struct gpu_merge *merge = mem_zalloc(n_seq, sizeof *merge);
    uint32_t *table = mem_zalloc((size_t)n_seq * blocks, sizeof *table);
    for (uint32_t i = 0; i < n_seq * blocks; i++) table[i] = i;
    for (uint32_t s = 0; s < n_seq; s++) {
        merge[s] = (struct gpu_merge){s, 1, s * n_part * HEADS, n_part};
        for (uint32_t i = 0; i < n_part; i++)
            tile[s * n_part + i] = (struct gpu_tile){
                s, 1, len - 1, s * blocks, i * part, MIN((i + 1) * part, len), (s * n_part + i) * HEADS};
    }
    void *dt = memory(n_seq * n_part * sizeof *tile), *dm = memory(n_seq * sizeof *merge),
         *db = memory((size_t)n_seq * blocks * 4);
    ops->copy_in(gpu, dt, tile, n_seq * n_part * sizeof *tile);
    ops->copy_in(gpu, dm, merge, n_seq * sizeof *merge);
    ops->copy_in(gpu, db, table, (size_t)n_seq * blocks * 4);
    struct gpu_attn a = {
        .q = memory((size_t)n_seq * HEADS * HD * 2),
        .n_head = HEADS,
        .n_head_kv = KV,
        .head_dim = HD,
        .kv = {memory(n_seq * blocks * block_bytes), DT_F16, HD * 2, head, head * KV, block_bytes},
        .table = db,
        .tile = dt,
        .merge = dm,
        .n_tile = n_seq * n_part,
        .n_merge = n_seq,
        .part = memory((size_t)n_seq * n_part * HEADS * (HD + 2) * 4),
        .out = {.f = memory((size_t)n_seq * HEADS * HD * 4), .ld = HEADS * HD}};
    double s = measure(attention, &a), rate = (double)n_seq * len * KV * HD * 2 * 2 / s;
    printf("| attention | %u sequences of %u | 1 | %.1f | %.0f | %.0f %% |\n", n_seq, len, s * 1e6,
           rate * 1e-9, 100 * rate / copy_rate);
    void *mine[] = {dt, dm, db, (void *)(uintptr_t)a.q, a.kv.data, a.part, a.out.f};
    for (size_t i = 0; i < COUNT_OF(mine); i++) ops->release(gpu, mine[i]);
    free(tile);
    free(merge);
    free(table);
}

/* A chunk of n_tok tokens of one sequence behind `depth` others, by both kernels; heads as above. */
static void bench_prompt(uint32_t n_tok, uint32_t depth)
{
    enum { HEADS = 32, KV = 8, HD = 128, TOKENS = GPU_ATTN_ROWS / (HEADS / KV) };
    const uint32_t blocks = (depth + n_tok) / KV_BLOCK_TOKENS, n_tile = n_tok / TOKENS;
    const size_t head = KV_BLOCK_TOKENS * HD * 2, block_bytes = head * KV * 2;
    struct gpu_tile *tile = mem_zalloc(n_tile, sizeof *tile);
    uint32_t *table = mem_zalloc(blocks, sizeof *table);
    for (uint32_t i = 0; i < blocks; i++) table[i] = i;
    for (uint32_t i = 0; i < n_tile; i++)
        tile[i] = (struct gpu_tile){i * TOKENS, TOKENS, depth + i * TOKENS, 0, 0, depth + (i + 1) * TOKENS,
                                    UINT32_MAX};
    void *dt = memory(n_tile * sizeof *tile), *db = memory(blocks * sizeof *table);
    ops->copy_in(gpu, dt, tile, n_tile * sizeof *tile);
    ops->copy_in(gpu, db, table, blocks * sizeof *table);
    struct gpu_attn a = {.q = memory((size_t)n_tok * HEADS * HD * 2),
                         .n_head = HEADS,
                         .n_head_kv = KV,
                         .head_dim = HD,
                         .kv = {memory(blocks * block_bytes), DT_F16, HD * 2, head, head * KV, block_bytes},
                         .table = db,
                         .tile = dt,
                         .n_tile = n_tile,
                         .out = {.b = memory((size_t)n_tok * HEADS * HD * 2), .ld = HEADS * HD}};
    for (int full = 0; full < 2; full++) {
        a.n_full = full ? n_tile : 0;
        const double s = measure(attention, &a), keys = (double)n_tok * depth + (double)n_tok * n_tok / 2;
        printf("| %u behind %u | %s | %.1f | %.1f |\n", n_tok, depth, full ? "for full tiles" : "mma",
               s * 1e6, 4 * keys * HEADS * HD / s * 1e-12);
    }
    void *mine[] = {dt, db, (void *)(uintptr_t)a.q, a.kv.data, a.out.b};
    for (size_t i = 0; i < COUNT_OF(mine); i++) ops->release(gpu, mine[i]);
    free(tile);
    free(table);
}

int main(int argc, char **argv)
{
    static const enum dtype types[] = {DT_BF16,   DT_Q8_0,  DT_Q6_K, DT_Q5_K, DT_Q4_K, DT_Q4_0,
                                       DT_IQ4_XS, DT_MXFP4, DT_Q3_K, DT_Q2_K, DT_F16};
    static const uint32_t shape[][2] = {{4096, 4096}, {14336, 4096}, {4096, 14336}, {128256, 4096}},
                          rows[] = {1, 8, 32, 64, 512}, tiny_shape[] = {64, 512}, tiny_rows[] = {1, 9};
    const bool tiny = argc > 2 && !strcmp(argv[2], "tiny");
    const char *name = argc > 1 ? argv[1] : "cuda";
    struct error e = {0};
    struct gpu_info info;
    char why[200] = "", date[32];
    ops = gpu_target(name, &e);
    if (!ops || ops->count(why, sizeof why) <= 0) {
        fprintf(stderr, "bench-gpu: no GPU: %s\n", ops ? why : e.msg);
        return 2;
    }
    gpu = ops->open(0, why, sizeof why);
    if (!gpu || !ops->info(0, &info, why, sizeof why)) {
        fprintf(stderr, "bench-gpu: %s\n", why);
        return 1;
    }
    struct copying c = {.bytes = (size_t)(tiny ? 1 : 512) << 20};
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
    c.to = memory(c.bytes);
    c.from = memory(c.bytes);
    const double copy_rate = 2 * (double)c.bytes / measure(copy, &c);
    ops->release(gpu, c.to);
    ops->release(gpu, c.from);
    printf("%s, %s, %s. Copying on the device: %.0f GB/s (read and written).\n\n", date, info.name,
           ops->built, copy_rate * 1e-9);
    printf("| what | size | rows | microseconds | GB/s | of copying |\n|---|---|---|---|---|---|\n");
    for (size_t t = 0; t < COUNT_OF(types) && tiny; t++)
        for (size_t r = 0; r < COUNT_OF(tiny_rows); r++)
            bench_product(types[t], tiny_shape[0], tiny_shape[1], tiny_rows[r], copy_rate);
    for (size_t t = 0; t < COUNT_OF(types) && !tiny; t++)
        for (size_t s = 0; s < COUNT_OF(shape); s++)
            for (size_t r = 0; r < COUNT_OF(rows); r++)
                bench_product(types[t], shape[s][0], shape[s][1], rows[r], copy_rate);
    if (tiny) bench_attention(2, 512, copy_rate);
    for (uint32_t n = 1; n <= 64 && !tiny; n *= 8)
        for (uint32_t len = 1024; len <= 16384; len *= 4) bench_attention(n, len, copy_rate);
    printf("\n| type | size | rows | by | microseconds | TFLOP/s | weights, of copying "
           "|\n|---|---|---|---|---|---|---|\n");
    for (size_t t = 0; t < 5 && !tiny; t++) bench_ways(types[t], 14336, 4096, false, copy_rate);
    if (tiny) bench_ways(types[0], 128, 256, true, copy_rate);
    printf("\n| attention of a prompt | by | microseconds | TFLOP/s |\n|---|---|---|---|\n");
    bench_prompt(tiny ? 64 : 4096, 0);
    if (!tiny) bench_prompt(2048, 16384);
    ops->close(gpu);
    return 0;
}
