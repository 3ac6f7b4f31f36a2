/* The GPU kernels one by one against loops in double, through ops.h as the host code calls them: on the
 * simulator, or with CORRAL_GPU=cuda on a device. Every block format with odd shapes, activations between
 * poisoned rows. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/gpu_int.h"
#include "backend/ref/ref_ops.h"
#include "base/rng.h"
#include "random_blocks.h"
#include "support/gpu_chosen.h"
#include "tensor/dtype.h"

/* After our headers: cmocka defines macros named like our functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const struct gpu_ops *ops;
static struct gpu *gpu;

static void *upload(const void *from, size_t bytes)
{
    void *p = ops->alloc(gpu, MAX(bytes, (size_t)1));
    assert_non_null(p);
    ops->copy_in(gpu, p, from, bytes);
    return p;
}

static void download(void *to, const void *from, size_t bytes)
{
    char why[200];
    ops->copy_out(gpu, to, from, bytes);
    if (!ops->sync(gpu, why, sizeof why)) fail_msg("device: %s", why);
}

static float *random_floats(size_t n, float scale, uint64_t seed)
{
    float *x = mem_alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = scale * (float)(2 * rng_uniform(seed, 5, i, 0) - 1);
    return x;
}

/* A matrix or a stack of them on the device, and its rows decoded. */
struct matrix {
    struct gpu_matrix m;
    struct gpu_layout layout;
    float *want; /* (n_expert * n_out, n_in) */
    void *memory;
};

/* Rows come in pieces, as those of a large matrix do. */
static void pack_in_two(struct gpu_pack *pack, uint32_t n_out, size_t row_bytes)
{
    const uint32_t first = MIN(n_out, (uint32_t)GPU_STRIP);
    pack->n_row = first;
    ops->pack(gpu, pack);
    if (n_out == first) return;
    pack->from = (const uint8_t *)pack->from + first * row_bytes;
    pack->row0 = first;
    pack->n_row = n_out - first;
    ops->pack(gpu, pack);
}

static void matrix_init(struct matrix *x, size_t kind, uint32_t n_expert, uint32_t n_out, uint32_t n_in,
                        uint64_t seed)
{
    const enum dtype type = random_kinds[kind].type;
    size_t row_bytes = 0;
    assert_true(dtype_bytes(type, n_in, &row_bytes));
    uint8_t *w = mem_alloc(n_expert * n_out * row_bytes);
    random_blocks(w, n_expert * n_out * row_bytes, kind, seed);
    x->want = mem_alloc((size_t)n_expert * n_out * n_in * sizeof(float));
    for (size_t r = 0; r < (size_t)n_expert * n_out; r++)
        dtype_info((uint32_t)type)->decode(w + r * row_bytes, x->want + r * n_in, n_in);
    if (!ops->layout((uint32_t)type, n_out, n_in, &x->layout))
        fail_msg("%s is not supported", dtype_info((uint32_t)type)->name);
    x->memory = ops->alloc(gpu, n_expert * x->layout.bytes);
    assert_non_null(x->memory);
    void *raw = upload(w, n_expert * n_out * row_bytes);
    for (uint32_t e = 0; e < n_expert; e++) {
        uint8_t *to = (uint8_t *)x->memory + e * x->layout.bytes,
                *from = (uint8_t *)raw + e * n_out * row_bytes;
        if (!x->layout.packed) {
            ops->copy(gpu, to, from, n_out * row_bytes);
            continue;
        }
        struct gpu_pack pack = {.from = from, .to = to, .type = (uint32_t)type, .n_in = n_in};
        pack_in_two(&pack, n_out, row_bytes);
    }
    char why[200];
    assert_true(ops->sync(gpu, why, sizeof why));
    ops->release(gpu, raw);
    free(w);
    x->m = (struct gpu_matrix){x->memory, (uint32_t)type, n_out, x->layout.n_in, x->layout.bytes};
}

static void matrix_deinit(struct matrix *x)
{
    ops->release(gpu, x->memory);
    free(x->want);
}

/* Rows on the device in the form that the matrix reads, padded with zeros, and a row of NaN at the end; x is
 * rounded to that form, so that what is compared is the kernel's own error. */
static struct gpu_acts acts_init(float *x, uint32_t n_row, uint32_t n, bool as_b)
{
    struct gpu_acts a = {.ld = (uint32_t)round_up(n, GPU_PAD)};
    const size_t all = (size_t)(n_row + 1) * a.ld;
    float *f = mem_zalloc(all, sizeof *f);
    uint16_t *b = mem_zalloc(all, sizeof *b);
    for (uint32_t r = 0; r <= n_row; r++)
        for (uint32_t i = 0; i < n; i++) {
            float v = r < n_row ? x[(size_t)r * n + i] : NAN;
            b[(size_t)r * a.ld + i] = f32_to_bf16(v);
            f[(size_t)r * a.ld + i] = v;
            if (as_b && r < n_row) x[(size_t)r * n + i] = bf16_to_f32(b[(size_t)r * a.ld + i]);
        }
    if (as_b)
        a.b = upload(b, all * sizeof *b);
    else
        a.f = upload(f, all * sizeof *f);
    free(f);
    free(b);
    return a;
}

static void acts_deinit(struct gpu_acts *a)
{
    if (a->f) ops->release(gpu, a->f);
    if (a->b) ops->release(gpu, a->b);
}

static double nmse(const float *a, const float *b, size_t n)
{
    double d = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        sum += (double)b[i] * (double)b[i];
    }
    return sum > 0 ? d / sum : d;
}

static void check_close(const float *got, const float *want, size_t n, double limit, const char *what)
{
    double err = nmse(got, want, n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(got[i])) fail_msg("%s: number %zu of %zu is %g", what, i, n, (double)got[i]);
    if (!(err <= limit)) fail_msg("%s: NMSE %g, limit %g", what, err, limit);
}

static void check_product_with(const struct matrix *of, enum gpu_way way, uint32_t n_in, uint32_t n_row,
                               bool add)
{
    const struct matrix w = *of;
    const uint32_t n_out = w.m.n_out;
    char what[120];
    snprintf(what, sizeof what, "%s (%u, %u), %u rows%s, way %d",
             w.m.type == GPU_F8_E4M3 ? "f8_e4m3" : dtype_info(w.m.type)->name, n_out, n_in, n_row,
             add ? ", added" : "", (int)way);
    float *x = random_floats((size_t)n_row * n_in, 1, n_row), *bias = random_floats(n_out, 1, 3);
    const bool decoded =
        w.layout.reads_b &&
        (way == GPU_AUTO ? n_row >= (w.layout.packed ? GPU_GEMM_ROWS : GPU_GEMM_ROWS_RAW) : way != GPU_FEW);
    struct gpu_acts a = acts_init(x, n_row, n_in, w.layout.packed || decoded);
    const uint32_t ldy = n_out + 3;
    const size_t n_y = (size_t)n_row * ldy;
    float *y = random_floats(n_y, 1, 9), *want = mem_alloc(n_y * sizeof *want);
    memcpy(want, y, n_y * sizeof *y);
    for (uint32_t r = 0; r < n_row; r++)
        for (uint32_t o = 0; o < n_out; o++) {
            double sum = bias[o] + (add ? y[r * ldy + o] : 0.0f);
            for (uint32_t i = 0; i < n_in; i++) sum += (double)w.want[o * n_in + i] * (double)x[r * n_in + i];
            want[r * ldy + o] = (float)sum;
        }
    float *dy = upload(y, n_y * sizeof *y), *db = upload(bias, n_out * sizeof *bias);
    const size_t panel_bytes =
        (n_out > 1000 ? 5 : 1) * GPU_PANEL_ROWS * round_up(w.m.n_in, GPU_PAD) * sizeof(uint16_t);
    void *panel = ops->alloc(gpu, panel_bytes), *room = ops->alloc(gpu, ops->library_bytes);
    ops->matmul(gpu, &(struct gpu_matmul){.w = w.m,
                                          .x = a,
                                          .y = dy,
                                          .ldy = ldy,
                                          .n_row = n_row,
                                          .bias = db,
                                          .add = add,
                                          .panel = panel,
                                          .panel_bytes = panel_bytes,
                                          .room = room,
                                          .room_bytes = ops->library_bytes,
                                          .way = way});
    download(y, dy, n_y * sizeof *y);
    /* decoded weights are rounded to bf16 */
    check_close(y, want, n_y, decoded ? 1e-5 : 1e-10, what);
    ops->release(gpu, panel);
    ops->release(gpu, room);
    acts_deinit(&a);
    ops->release(gpu, dy);
    ops->release(gpu, db);
    free(x);
    free(y);
    free(want);
    free(bias);
}

static void check_product_by(enum gpu_way way, size_t kind, uint32_t n_out, uint32_t n_in, uint32_t n_row,
                             bool add)
{
    struct matrix w;
    matrix_init(&w, kind, 1, n_out, n_in, 7 * kind + n_row);
    check_product_with(&w, way, n_in, n_row, add);
    matrix_deinit(&w);
}

static void check_product(size_t kind, uint32_t n_out, uint32_t n_in, uint32_t n_row, bool add)
{
    check_product_by(GPU_AUTO, kind, n_out, n_in, n_row, add);
}

static size_t kind_of(enum dtype type)
{
    size_t k = 0;
    while (random_kinds[k].type != type) k++;
    return k;
}

static void products(void **state)
{
    for (size_t k = 0; k < N_RANDOM_KINDS; k++) {
        const uint32_t block = dtype_info((uint32_t)random_kinds[k].type)->block_elems;
        const uint32_t one = block == 1 ? 44 : block, many = block == 1 ? 173 : block == 32 ? 288 : 3 * block;
        check_product(k, 5, one, 1, false);
        check_product(k, 35, many, 3, true);
        check_product(k, 16, many, 21, false);
    }
    for (size_t k = N_RANDOM_KINDS - 3; k < N_RANDOM_KINDS; k++)
        check_product(k, 9, 328, 9, false);                             /* aligned rows */
    check_product(kind_of(DT_Q6_K), 150, 512, GPU_GEMM_ROWS + 5, true); /* decoded first, in two panels */
    check_product(kind_of(DT_BF16), 40, 45, GPU_GEMM_ROWS, false);
    check_product(kind_of(DT_F16), 40, 45, GPU_GEMM_ROWS_RAW, false);
    check_product(0, 17, 1312, 70, false); /* more chunks than warps, more rows than a tile */
}

/* Matrices that are decoded, multiplied by each kernel: sizes that fill no tile, none and one, columns that
 * no stage divides. */
static void products_of_decoded_matrices(void **state)
{
    static const enum gpu_way ways[] = {GPU_TILES, GPU_WGMMA, GPU_LIBRARY};
    static const struct {
        enum dtype type;
        uint32_t n_out, n_in, n_row;
        bool add;
    } cases[] = {
        {DT_Q4_0, 3, 608, 2, false},   {DT_Q8_0, 129, 96, 3, true},    {DT_BF16, 40, 45, 130, false},
        {DT_Q4_K, 300, 256, 17, true}, {DT_Q6_K, 128, 768, 128, true}, {DT_Q8_0, 1100, 64, 260, false},
    };
    for (size_t k = 0; k < N_RANDOM_KINDS; k++) { /* what decoding makes of each type */
        const uint32_t block = dtype_info((uint32_t)random_kinds[k].type)->block_elems;
        check_product_by(GPU_TILES, k, 35, block == 1 ? 77 : block == 32 ? 96 : block, 3, true);
    }
    for (size_t w = 0; w < COUNT_OF(ways); w++)
        for (size_t c = 0; c < COUNT_OF(cases); c++)
            check_product_by(ways[w], kind_of(cases[c].type), cases[c].n_out, cases[c].n_in, cases[c].n_row,
                             cases[c].add);
}

/* One sign, four exponent and three fraction bits, no infinities. */
static float e4m3(uint8_t b)
{
    const int exponent = b >> 3 & 15, fraction = b & 7;
    const float v = exponent ? ldexpf((float)(8 + fraction), exponent - 10) : ldexpf((float)fraction, -9);
    return b & 0x80 ? -v : v;
}

/* Bytes with a scale per block of so many rows and columns. */
static void matrix_init_f8(struct matrix *x, uint32_t n_out, uint32_t n_in, uint32_t rows, uint32_t cols)
{
    const uint32_t ld = (n_in + cols - 1) / cols, n_scale = (n_out + rows - 1) / rows * ld;
    uint8_t *w = mem_alloc((size_t)n_out * n_in);
    float *scale = random_floats(n_scale, 0.02f, n_in);
    x->want = mem_alloc((size_t)n_out * n_in * sizeof(float));
    for (uint32_t r = 0; r < n_out; r++)
        for (uint32_t c = 0; c < n_in; c++) {
            const size_t i = (size_t)r * n_in + c;
            w[i] = (uint8_t)(256 * rng_uniform(8, 2, i, 0));
            if ((w[i] & 0x7f) == 0x7f) w[i] ^= 1; /* NaN */
            x->want[i] = e4m3(w[i]) * scale[r / rows * ld + c / cols];
        }
    assert_true(ops->layout(GPU_F8_E4M3, n_out, n_in, &x->layout));
    x->memory = ops->alloc(gpu, x->layout.bytes);
    void *raw = upload(w, (size_t)n_out * n_in), *by = upload(scale, n_scale * sizeof *scale);
    struct gpu_pack pack = {.from = raw,
                            .to = x->memory,
                            .type = GPU_F8_E4M3,
                            .n_in = n_in,
                            .scale = by,
                            .scale_rows = rows,
                            .scale_cols = cols,
                            .scale_ld = ld};
    pack_in_two(&pack, n_out, n_in);
    char why[200];
    assert_true(ops->sync(gpu, why, sizeof why));
    ops->release(gpu, raw);
    ops->release(gpu, by);
    free(w);
    free(scale);
    x->m = (struct gpu_matrix){x->memory, GPU_F8_E4M3, n_out, x->layout.n_in, x->layout.bytes};
}

static void products_of_f8(void **state)
{
    static const struct {
        uint32_t n_out, n_in, rows, cols;
    } cases[] = {
        {5, 128, 5, 128},     /* one scale for all */
        {37, 384, 1, 384},    /* one per row */
        {150, 256, 128, 128}, /* one per block */
    };
    struct gpu_layout l;
    assert_true(e4m3(0x7e) == 448);
    assert_true(e4m3(0x01) == 0x1p-9f && e4m3(0x88) == -0x1p-6f);
    assert_false(ops->layout(GPU_F8_E4M3, 16, 96, &l));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct matrix w;
        matrix_init_f8(&w, cases[i].n_out, cases[i].n_in, cases[i].rows, cases[i].cols);
        check_product_with(&w, GPU_FEW, cases[i].n_in, 1, false);
        check_product_with(&w, GPU_FEW, cases[i].n_in, 21, true);
        check_product_with(&w, GPU_TILES, cases[i].n_in, 33, false);
        matrix_deinit(&w);
    }
}

/* The library is used where it should be, and what it does not do is done without it. */
static void library(void **state)
{
    static const char *const failures[] = {"search", "nothing", "run"};
    char what[200];
    const char *path = getenv("CORRAL_CUDA_CUBLASLT");
    if (!ops->library(gpu, what, sizeof what)) {
        print_message("skipped: no cuBLASLt%s%s\n", *what ? ": " : "", what);
        skip();
    }
    print_message("library: %s\n", what);
    void *so = path ? dlopen(path, RTLD_NOW | RTLD_NOLOAD) : NULL;
    unsigned (*count)(void) = NULL;
    void *symbol = so ? dlsym(so, "fake_cublaslt_products") : NULL;
    memcpy(&count, &symbol, sizeof count);
    check_product(kind_of(DT_Q4_0), 9, 32, GPU_LIBRARY_ROWS, true);
    if (!count) return; /* the real one */
    const unsigned before = count();
    assert_true(before > 0);
    check_product(kind_of(DT_Q4_0), 9, 32, GPU_LIBRARY_ROWS - 1, true);
    for (size_t i = 0; i < COUNT_OF(failures); i++) {
        setenv("FAKE_CUBLASLT", failures[i], 1);
        check_product_by(GPU_LIBRARY, kind_of(DT_Q4_0), 140, 64, 20, i % 2 == 0);
    }
    assert_int_equal(count(), before);
    unsetenv("FAKE_CUBLASLT");

    /* Why there is none is said. */
    struct gpu *other = ops->open(0, what, sizeof what);
    assert_non_null(other);
    setenv("FAKE_CUBLASLT", "create", 1);
    assert_false(ops->library(other, what, sizeof what));
    assert_non_null(strstr(what, "does not start: status 1"));
    unsetenv("FAKE_CUBLASLT");
    char *kept = strdup(path);
    setenv("CORRAL_CUDA_CUBLASLT", "no-such-library.so", 1);
    assert_false(ops->library(other, what, sizeof what));
    assert_non_null(strstr(what, "no-such-library.so"));
    setenv("CORRAL_CUDA_CUBLASLT", "off", 1);
    assert_false(ops->library(other, what, sizeof what));
    assert_non_null(strstr(what, "off"));
    setenv("CORRAL_CUDA_CUBLASLT", kept, 1);
    free(kept);
    ops->close(other);
}

static void rows_are_decoded(void **state)
{
    enum { N_OUT = 37, N_ROW = 5 };
    static const uint32_t want_row[N_ROW] = {36, 0, 17, 15, 16};
    static const struct program_answer drawn[] = {{.token = -1}, {.token = 15}};
    static const uint32_t index[N_ROW] = {36, GPU_INDEX_DRAWN | 0, 17, GPU_INDEX_DRAWN | 1, 16};
    void *answers = upload(drawn, sizeof drawn);
    for (size_t k = 0; k < N_RANDOM_KINDS; k++) {
        const uint32_t block = dtype_info((uint32_t)random_kinds[k].type)->block_elems;
        const uint32_t n = block == 1    ? 45
                           : block == 32 ? 96
                                         : 2 * block,
                       ld = (uint32_t)round_up(n, GPU_PAD);
        struct matrix w;
        matrix_init(&w, k, 1, N_OUT, n, 40 + k);
        float *got = random_floats(N_ROW * ld, 1, 1), *want = mem_zalloc(N_ROW * ld, sizeof *want);
        float *to = upload(got, N_ROW * ld * sizeof *got);
        void *at = upload(index, sizeof index);
        for (uint32_t r = 0; r < N_ROW; r++)
            for (uint32_t i = 0; i < n; i++) want[r * ld + i] = 1.5f * w.want[want_row[r] * n + i];
        ops->rows(gpu, &(struct gpu_rows){.table = w.m,
                                          .index = at,
                                          .drawn = answers,
                                          .n_row = N_ROW,
                                          .n = n,
                                          .scale = 1.5f,
                                          .out = {.f = to, .ld = ld}});
        download(got, to, N_ROW * ld * sizeof *got);
        check_close(got, want, N_ROW * ld, 1e-13, dtype_info((uint32_t)random_kinds[k].type)->name);
        ops->release(gpu, to);
        ops->release(gpu, at);
        matrix_deinit(&w);
        free(got);
        free(want);
    }
    ops->release(gpu, answers);
}

/* ---- experts: route, group, multiply by the work list ---- */

static void experts_get_their_tokens(void **state)
{
    static const struct {
        uint32_t n_tok, n_expert, n_used;
        bool after, renormalize;
    } cases[] = {{1, 4, 2, true, false}, {11, 37, 3, false, true}, {40, 3, 2, false, false}};
    for (size_t c = 0; c < COUNT_OF(cases); c++)
        for (size_t kind = 0; kind < N_RANDOM_KINDS; kind++) {
            const enum dtype type = random_kinds[kind].type;
            if (type != DT_Q8_0 && type != DT_F32) continue; /* a packed type and a plain one */
            const uint32_t n_tok = cases[c].n_tok, ne = cases[c].n_expert, nu = cases[c].n_used, n_out = 19,
                           n_in = 64;
            const uint32_t slots = n_tok * nu, rows = slots / ne > 16 ? GPU_WORK_ROWS_MANY : GPU_WORK_ROWS;
            struct op_moe op = {.n_used = nu,
                                .softmax_after_topk = cases[c].after,
                                .renormalize = cases[c].renormalize,
                                .scale = 1.25f};
            struct matrix w;
            matrix_init(&w, kind, ne, n_out, n_in, 90 + c);
            float *logits = random_floats(n_tok * ne, 3, c), *x = random_floats(n_tok * n_in, 1, c + 50);
            float *gate = mem_zalloc(slots, sizeof *gate), *want_gate = mem_zalloc(slots, sizeof *gate);
            float *y = mem_zalloc(slots * n_out, sizeof *y), *want = mem_zalloc(slots * n_out, sizeof *y);
            uint32_t *chosen = mem_zalloc(slots, sizeof *chosen),
                     *want_chosen = mem_zalloc(slots, sizeof *chosen);
            struct gpu_acts a = acts_init(x, n_tok, n_in, w.layout.packed);
            struct gpu_route r = {.logits = upload(logits, n_tok * ne * sizeof *logits),
                                  .n_tok = n_tok,
                                  .n_expert = ne,
                                  .n_used = nu,
                                  .work_rows = rows,
                                  .softmax_after_topk = op.softmax_after_topk,
                                  .renormalize = op.renormalize,
                                  .scale = op.scale,
                                  .gate = ops->alloc(gpu, slots * sizeof(float)),
                                  .chosen = ops->alloc(gpu, slots * sizeof(uint32_t)),
                                  .order = ops->alloc(gpu, slots * sizeof(uint32_t)),
                                  .work = ops->alloc(gpu, slots * sizeof(struct gpu_work)),
                                  .n_work = ops->alloc(gpu, sizeof(uint32_t))};
            float *dy = ops->alloc(gpu, slots * n_out * sizeof *dy);
            ops->route(gpu, &r);
            ops->matmul(gpu, &(struct gpu_matmul){.w = w.m,
                                                  .x = a,
                                                  .y = dy,
                                                  .ldy = n_out,
                                                  .n_row = slots,
                                                  .work = r.work,
                                                  .order = r.order,
                                                  .n_work_at = r.n_work,
                                                  .n_work = MIN(slots, ne + slots / rows),
                                                  .x_div = nu,
                                                  .work_rows = rows});
            download(gate, r.gate, slots * sizeof *gate);
            download(chosen, r.chosen, slots * sizeof *chosen);
            download(y, dy, slots * n_out * sizeof *y);
            for (uint32_t t = 0; t < n_tok; t++)
                ref_route(want_chosen + t * nu, want_gate + t * nu, logits + t * ne, ne, &op);
            assert_memory_equal(chosen, want_chosen, slots * sizeof *chosen);
            check_close(gate, want_gate, slots, 1e-11, "gates");
            for (uint32_t s = 0; s < slots; s++)
                for (uint32_t o = 0; o < n_out; o++) {
                    const float *row = w.want + ((size_t)chosen[s] * n_out + o) * n_in;
                    double sum = 0;
                    for (uint32_t i = 0; i < n_in; i++) sum += (double)row[i] * (double)x[s / nu * n_in + i];
                    want[s * n_out + o] = (float)sum;
                }
            check_close(y, want, slots * n_out, 1e-10, "products of experts");
            void *mine[] = {(void *)(uintptr_t)r.logits, r.gate, r.chosen, r.order, r.work, r.n_work, dy};
            void *host[] = {logits, x, gate, want_gate, y, want, chosen, want_chosen};
            for (size_t i = 0; i < COUNT_OF(mine); i++) ops->release(gpu, mine[i]);
            for (size_t i = 0; i < COUNT_OF(host); i++) free(host[i]);
            acts_deinit(&a);
            matrix_deinit(&w);
        }
}

/* ---- attention: one sequence whole, in tiles, and its last token in parts ---- */

enum { ATTN_BLOCKS = 24 };

struct attn_case {
    uint32_t n_head, n_head_kv, hd, len, first, window, part;
    float softcap;
    enum dtype kv;
};

static float *random_cache(const struct attn_case *c, const struct kv_layout *l, uint8_t **pool)
{
    const size_t n = (size_t)c->len * c->n_head_kv * 2 * c->hd;
    float *kv = random_floats(n, 1, c->hd + c->len);
    *pool = mem_zalloc(ATTN_BLOCKS, l->block_bytes);
    memset(*pool, 0xff, ATTN_BLOCKS * l->block_bytes);
    for (uint32_t j = 0; j < c->len; j++)
        for (uint32_t v = 0; v < 2; v++)
            for (uint32_t h = 0; h < c->n_head_kv; h++) {
                float *row = kv + (((size_t)j * 2 + v) * c->n_head_kv + h) * c->hd;
                uint8_t *to = *pool + (j / KV_BLOCK_TOKENS * 7 + 3) % ATTN_BLOCKS * l->block_bytes +
                              kv_row_at(l, 1, v, h, j);
                dtype_info((uint32_t)l->type)->encode(row, to, c->hd, NULL);
                dtype_info((uint32_t)l->type)->decode(to, row, c->hd);
            }
    return kv;
}

static void attend(const struct attn_case *c, const float *q, const float *kv, uint32_t pos, uint32_t head,
                   float *out)
{
    const uint32_t group = c->n_head / c->n_head_kv,
                   from = c->window && pos + 1 > c->window ? pos + 1 - c->window : 0;
    double score[512], sum = 0, max = -INFINITY, acc[GPU_MAX_HEAD_DIM] = {0};
    for (uint32_t j = from; j <= pos; j++) {
        const float *k = kv + (((size_t)j * 2) * c->n_head_kv + head / group) * c->hd;
        score[j] = 0;
        for (uint32_t i = 0; i < c->hd; i++) score[j] += (double)q[i] * (double)k[i];
        if (c->softcap != 0) score[j] = (double)c->softcap * tanh(score[j] / (double)c->softcap);
        max = fmax(max, score[j]);
    }
    for (uint32_t j = from; j <= pos; j++) {
        const float *v = kv + (((size_t)j * 2 + 1) * c->n_head_kv + head / group) * c->hd;
        double p = exp(score[j] - max);
        sum += p;
        for (uint32_t i = 0; i < c->hd; i++) acc[i] += p * (double)v[i];
    }
    for (uint32_t i = 0; i < c->hd; i++) out[i] = (float)(acc[i] / sum);
}

/* share: of the tiles, in halves, that go to the kernel for full ones */
static void check_attention(const struct attn_case *c, uint32_t share)
{
    const struct model_config cfg = {
        .n_layer = 2, .n_head = c->n_head, .n_head_kv = c->n_head_kv, .head_dim = c->hd};
    const uint32_t n_tok = c->len - c->first, nq = c->n_head * c->hd, group = c->n_head / c->n_head_kv;
    const uint32_t tokens = GPU_ATTN_ROWS / group, ld = (uint32_t)round_up(nq, GPU_PAD);
    struct kv_layout l;
    struct error e;
    struct gpu_tile tile[64];
    struct gpu_merge merge = {0};
    uint32_t n_tile = 0, table[ATTN_BLOCKS];
    uint8_t *pool;
    assert_int_equal(kv_layout_init(&l, &cfg, c->kv, &e), OK);
    float *kv = random_cache(c, &l, &pool), *q = random_floats((size_t)n_tok * nq, 0.7f, 4);
    uint16_t *half = mem_alloc((size_t)n_tok * nq * sizeof *half);
    for (size_t i = 0; i < (size_t)n_tok * nq; i++) {
        half[i] = f32_to_f16(q[i]);
        q[i] = f16_to_f32(half[i]);
    }
    for (uint32_t i = 0; i < ATTN_BLOCKS; i++) table[i] = (i * 7 + 3) % ATTN_BLOCKS;
    for (uint32_t at = 0; at < n_tok && !c->part; at += tokens) {
        uint32_t n = MIN(tokens, n_tok - at);
        tile[n_tile++] = (struct gpu_tile){at, n, c->first + at, 0, 0, c->first + at + n, UINT32_MAX};
    }
    for (uint32_t at = 0; at < c->len && c->part; at += c->part, merge.n_part++)
        tile[n_tile++] = (struct gpu_tile){
            0, n_tok, c->first, 0, at, MIN(at + c->part, c->len), merge.n_part * n_tok * c->n_head};
    merge.n_token = n_tok;
    tile[n_tile++] = (struct gpu_tile){0}; /* one that only fills up */
    const size_t n_out = (size_t)n_tok * ld;
    float *out = mem_zalloc(n_out, sizeof *out), *want = mem_zalloc(n_out, sizeof *want);
    struct gpu_attn a = {
        .q = upload(half, (size_t)n_tok * nq * sizeof *half),
        .n_head = c->n_head,
        .n_head_kv = c->n_head_kv,
        .head_dim = c->hd,
        .layer = 1,
        .window = c->window,
        .softcap = c->softcap,
        .kv = {upload(pool, ATTN_BLOCKS * l.block_bytes), (uint32_t)l.type, l.row_bytes, l.head_bytes,
               l.part_bytes, l.block_bytes},
        .table = upload(table, sizeof table),
        .tile = upload(tile, sizeof tile),
        .merge = upload(&merge, sizeof merge),
        .n_tile = n_tile,
        .n_merge = c->part ? 1 : 0,
        .n_full = n_tile * share / 2,
        .part = ops->alloc(gpu, (size_t)(merge.n_part + 1) * n_tok * c->n_head * (c->hd + 2) * 4),
        .out = {.f = upload(out, n_out * sizeof *out), .ld = ld}};
    ops->attn(gpu, &a);
    download(out, a.out.f, n_out * sizeof *out);
    for (uint32_t t = 0; t < n_tok; t++)
        for (uint32_t h = 0; h < c->n_head; h++)
            attend(c, q + (size_t)t * nq + h * c->hd, kv, c->first + t, h, want + (size_t)t * ld + h * c->hd);
    char what[120];
    snprintf(what, sizeof what,
             "attention of %u/%u heads of %u, keys %u, queries from %u, window %u, parts of %u, %s%s",
             c->n_head, c->n_head_kv, c->hd, c->len, c->first, c->window, c->part,
             dtype_info((uint32_t)c->kv)->name, share ? ", by the kernel for full tiles" : "");
    /* weights and widened keys are rounded to f16 */
    check_close(out, want, n_out, 1e-6, what);
    void *mine[] = {(void *)(uintptr_t)a.q,
                    a.kv.data,
                    (void *)(uintptr_t)a.table,
                    (void *)(uintptr_t)a.tile,
                    (void *)(uintptr_t)a.merge,
                    a.part,
                    a.out.f};
    void *host[] = {kv, q, half, pool, out, want};
    for (size_t i = 0; i < COUNT_OF(mine); i++) ops->release(gpu, mine[i]);
    for (size_t i = 0; i < COUNT_OF(host); i++) free(host[i]);
}

static void attention(void **state)
{
    // clang-format off
    static const struct attn_case cases[] = {
        /* heads kv  size  keys first window part  cap   type */
        {  4,   2,   64,   70,  69,   0,     0,    0,    DT_F16},   /* decode */
        {  8,   1,  128,   97,  94,   0,     0,    0,    DT_F16},   /* a few tokens at once */
        {  5,   5,   12,   70,   0,   0,     0,    0,    DT_F16},   /* odd size, a prompt over several tiles */
        {  3,   1,   32,   45,   5,   0,     0,   20.0f, DT_F32},
        {  4,   2,   32,   80,  60,   0,     0,    0,    DT_Q8_0},
        {  2,   1,   16,  100,  30,  21,     0,    0,    DT_F16},   /* window */
        {  2,   1,  256,   70,  66,   0,     0,    0,    DT_F16},
        {  4,   2,   96,  300, 299,   0,   128,    0,    DT_F16},   /* parts */
        {  4,   1,   64,  200, 190,  70,    64,    0,    DT_F16},   /* parts, some of them out of sight */
        {  1,   1,   64,    1,   0,   0,     0,    0,    DT_F16},   /* one key */
        {  4,   4,  128,   64,   0,   0,     0,    0,    DT_F16},   /* steps that are full to the last key */
        {  4,   4,  128,   65,  63,   0,     0,    0,    DT_F16},   /* and one key more */
        { 64,   1,   32,   66,  62,   0,     0,    0,    DT_F16},   /* a tile per token */
        {  7,   1,   80,   75,  55,   0,     0,    0,    DT_F16},   /* heads that do not divide a tile */
        {  6,   2,  256,  129, 100,  40,     0,    0,    DT_F16},   /* window: steps of 32 keys, some skipped */
        {  2,   2,   64,  300, 296,  17,     0,    0,    DT_F16},   /* window: most keys are out of sight */
        {  4,   2,   64,  257, 256,   0,   128,    0,    DT_F16},   /* a part of one key */
        {  4,   2,  128,  257, 254,   5,   128,    0,    DT_F16},   /* parts without any */
        {  2,   2,   64,  200,   0,   0,     0,    0,    DT_F16},   /* tiles of a prompt in pairs, */
        {  8,   2,  128,  330, 240,   0,     0,    0,    DT_F16},   /* one of them alone, */
        {  6,   2,  128,  170,  21,  70,     0,    0,    DT_Q8_0},  /* with a window and groups that do not divide, */
        {  4,   1,   64,  150,  60,   0,     0,   20.0f, DT_BF16},  /* with a cap */
    };
    // clang-format on
    for (uint32_t i = 0; i < 3 * COUNT_OF(cases); i++) check_attention(&cases[i / 3], i % 3);
}

/* ---- rows ---- */

static void norms(void **state)
{
    for (uint32_t n = 1; n < 3000; n = 3 * n + 1)
        for (int kind = 0; kind < 2; kind++) {
            const uint32_t ld = (uint32_t)round_up(n, GPU_PAD), index[2] = {2, 0};
            float *x = random_floats(3 * n, 2, n), *w = random_floats(n, 1, n + 1),
                  *b = random_floats(n, 1, n + 2);
            float *y = random_floats(2 * ld, 1, 1), *want = mem_zalloc(2 * ld, sizeof *want);
            float *dx = upload(x, 3 * n * sizeof *x), *dw = upload(w, n * sizeof *w),
                  *db = upload(b, n * sizeof *b);
            float *dy = upload(y, 2 * ld * sizeof *y);
            void *di = upload(index, sizeof index);
            for (int r = 0; r < 2; r++) {
                const float *row = x + index[r] * n;
                double mean = 0, square = 0;
                for (uint32_t i = 0; kind && i < n; i++) mean += (double)row[i] / n;
                for (uint32_t i = 0; i < n; i++)
                    square += ((double)row[i] - mean) * ((double)row[i] - mean) / n;
                for (uint32_t i = 0; i < n; i++)
                    want[(uint32_t)r * ld + i] =
                        (float)(((double)row[i] - mean) / sqrt(square + 1e-5) * (double)w[i] + (double)b[i]);
            }
            ops->norm(gpu, &(struct gpu_norm){.x = dx,
                                              .index = di,
                                              .n_row = 2,
                                              .n = n,
                                              .ldx = n,
                                              .weight = dw,
                                              .bias = db,
                                              .eps = 1e-5f,
                                              .layer_norm = kind,
                                              .out = {.f = dy, .ld = ld}});
            download(y, dy, 2 * ld * sizeof *y);
            check_close(y, want, 2 * ld, 1e-9, "norm");
            void *mine[] = {dx, dw, db, dy, di};
            for (size_t i = 0; i < COUNT_OF(mine); i++) ops->release(gpu, mine[i]);
            free(x);
            free(w);
            free(b);
            free(y);
            free(want);
        }
}

/* An addition and the norm behind it at once are the same bits as one after the other. */
static void norms_behind_additions(void **state)
{
    for (uint32_t n = 5; n < 3000; n = 3 * n + 1)
        for (int kind = 0; kind < 4; kind++) {
            const uint32_t ld = (uint32_t)round_up(n, GPU_PAD);
            float *x = random_floats(4 * n, 2, n), *w = random_floats(3 * n, 1, n + 1);
            float *dy = upload(x, 2 * n * sizeof *x), *dx[2], *dw = upload(w, 3 * n * sizeof *w);
            struct gpu_acts out[2];
            float *got[2];
            uint16_t *half[2];
            for (int i = 0; i < 2; i++) {
                dx[i] = upload(x + 2 * n, 2 * n * sizeof *x);
                out[i] = (struct gpu_acts){ops->alloc(gpu, 2 * ld * 4), ops->alloc(gpu, 2 * ld * 2), ld};
                struct gpu_norm a = {.x = dy,
                                     .n_row = 2,
                                     .n = n,
                                     .ldx = n,
                                     .weight = kind & 1 ? dw : NULL,
                                     .eps = 1e-5f,
                                     .layer_norm = kind & 2,
                                     .add = dx[i]};
                struct gpu_norm b = {.x = dx[i],
                                     .n_row = 2,
                                     .n = n,
                                     .ldx = n,
                                     .weight = dw + n,
                                     .bias = dw + 2 * n,
                                     .eps = 1e-5f,
                                     .layer_norm = kind & 2,
                                     .out = out[i]};
                if (i == 0) a.out = out[0], a.next_weight = b.weight, a.next_bias = b.bias;
                ops->norm(gpu, &a);
                if (i == 1) ops->norm(gpu, &b);
                got[i] = mem_zalloc(2 * ld + 2 * n, sizeof *got[i]);
                half[i] = mem_zalloc(2 * ld, sizeof *half[i]);
                download(got[i], out[i].f, 2 * ld * sizeof *got[i]);
                download(got[i] + 2 * ld, dx[i], 2 * n * sizeof *got[i]);
                download(half[i], out[i].b, 2 * ld * sizeof *half[i]);
            }
            if (memcmp(got[0], got[1], (2 * ld + 2 * n) * sizeof *got[0]) != 0 ||
                memcmp(half[0], half[1], 2 * ld * sizeof *half[0]) != 0)
                fail_msg("%u numbers, kind %d: not what two calls make", n, kind);
            if (!isfinite(got[0][n - 1]) || got[0][n - 1] == 0) fail_msg("%u numbers: nothing written", n);
            for (int i = 0; i < 2; i++) {
                void *mine[] = {dx[i], out[i].f, out[i].b};
                for (size_t k = 0; k < COUNT_OF(mine); k++) ops->release(gpu, mine[k]);
                free(got[i]);
                free(half[i]);
            }
            ops->release(gpu, dy);
            ops->release(gpu, dw);
            free(x);
            free(w);
        }
}

static void activations(void **state)
{
    enum { N = 77, LD = 96, ROWS = 3 };
    for (int act = 0; act < 2; act++)
        for (int gated = 0; gated < 2; gated++) {
            float *in = random_floats(ROWS * 2 * N, 12, 6), y[ROWS * LD], want[ROWS * LD] = {0};
            uint16_t b[ROWS * LD];
            float *di = upload(in, ROWS * 2 * N * sizeof *in), *dy = upload(want, sizeof want);
            void *db = upload(b, sizeof b);
            for (int r = 0; r < ROWS; r++)
                for (int i = 0; i < N; i++) {
                    const float g = in[r * 2 * N + i], u = in[r * 2 * N + N + i];
                    enum activation kind = act ? ACT_GELU : ACT_SILU;
                    want[r * LD + i] = gated ? ref_act(kind, g) * u : ref_act(kind, u);
                }
            ops->act(gpu, &(struct gpu_act){.gate = gated ? di : NULL,
                                            .up = di + N,
                                            .ld = 2 * N,
                                            .n_row = ROWS,
                                            .n = N,
                                            .gelu = act,
                                            .out = {dy, db, LD}});
            download(y, dy, sizeof y);
            download(b, db, sizeof b);
            check_close(y, want, ROWS * LD, 1e-7, act ? "gelu" : "silu"); /* a half may round the other way */
            for (int i = 0; i < ROWS * LD; i++) assert_int_equal(b[i], f32_to_bf16(y[i]));
            ops->release(gpu, di);
            ops->release(gpu, dy);
            ops->release(gpu, db);
            free(in);
        }
}

/* Work that is kept is run once per gpu_graph_run, not before. */
static void graphs_repeat_work(void **state)
{
    float x[3] = {1, 2, -3};
    char why[200];
    float *dx = upload(x, sizeof x);
    assert_true(ops->sync(gpu, why, sizeof why));
    assert_true(ops->graph_begin(gpu));
    ops->softcap(gpu, &(struct gpu_softcap){dx, 3, 2, 0});
    struct gpu_graph *g = ops->graph_end(gpu);
    assert_non_null(g);
    download(x, dx, sizeof x);
    assert_true(x[0] == 1 && x[2] == -3);
    for (int i = 0; i < 3; i++) ops->graph_run(gpu, g);
    download(x, dx, sizeof x);
    assert_true(x[0] == 8 && x[1] == 16 && x[2] == -24);
    ops->graph_free(gpu, g);
    ops->release(gpu, dx);
}

/* The primitives of a device against those of the simulator; the simulator's against our own conversions. */
static void primitives(void **state)
{
    enum { LANES = 32, N_OUT = LANES * GPU_SELFTEST_OUT };
    struct error e = {0};
    char why[200] = "";
    const struct gpu_ops *sim = gpu_target("sim", &e);
    uint32_t in[GPU_SELFTEST_IN], got[N_OUT], want[N_OUT];
    for (size_t i = 0; i < GPU_SELFTEST_IN; i++) { /* pairs that are sensible as f16 and as bf16 */
        uint32_t lo = 0x3c00u + (uint32_t)(1024 * rng_uniform(1, 8, i, 0)),
                 hi = 0xb800u + (uint32_t)(i * 37 % 1024);
        in[i] = lo | hi << 16;
    }
    struct gpu_selftest a = {upload(in, sizeof in), ops->alloc(gpu, sizeof got)};
    ops->selftest(gpu, &a);
    download(got, a.out, sizeof got);
    ops->release(gpu, (void *)(uintptr_t)a.in);
    ops->release(gpu, a.out);
    for (uint32_t l = 0; l < LANES; l++) {
        float f;
        uint32_t u = in[l] * 2654435761u;
        memcpy(&f, &u, sizeof f);
        const uint32_t *o = got + l * GPU_SELFTEST_OUT;
        if (!isnan(f)) assert_int_equal(o[16], f32_to_f16(f));
        if (!isnan(f)) assert_int_equal(o[17], f32_to_bf16(f));
        assert_int_equal(o[19], in[l ^ 5]);
        float sums[2][8];
        memcpy(sums[0], o + 8, sizeof sums[0]);
        memcpy(sums[1], o + 24, sizeof sums[1]);
        for (int i = 0; i < 8; i++)
            if (!(fabsf(sums[0][i] - sums[1][i]) <= 1e-4f * fmaxf(1, fabsf(sums[0][i]))))
                fail_msg("lane %u, sum %d: %g, with shuffles %g", l, i, (double)sums[0][i],
                         (double)sums[1][i]);
    }
    if (ops == sim || !sim) return;
    struct gpu *g = sim->open(0, why, sizeof why);
    assert_non_null(g);
    a = (struct gpu_selftest){in, want}; /* its memory is the host's */
    sim->selftest(g, &a);
    sim->close(g);
    for (uint32_t i = 0; i < N_OUT; i++) {
        uint32_t word = i % GPU_SELFTEST_OUT;
        float x, y;
        memcpy(&x, &got[i], sizeof x);
        memcpy(&y, &want[i], sizeof y);
        bool same = (word >= 8 && word < 16) || (word >= 24 && word < 32)
                        ? fabsf(x - y) <= 1e-4f * fmaxf(1, fabsf(y))
                        : got[i] == want[i];
        if (!same)
            fail_msg("lane %u, word %u: %08x, the simulator has %08x", i / GPU_SELFTEST_OUT, word, got[i],
                     want[i]);
    }
}

int main(void)
{
    int rc;
    gpu = gpu_chosen(&ops, &rc);
    if (!gpu) return rc;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(primitives),
        cmocka_unit_test(rows_are_decoded),
        cmocka_unit_test(library), /* opens it for what follows */
        cmocka_unit_test(products),
        cmocka_unit_test(products_of_decoded_matrices),
        cmocka_unit_test(products_of_f8),
        cmocka_unit_test(experts_get_their_tokens),
        cmocka_unit_test(attention),
        cmocka_unit_test(norms),
        cmocka_unit_test(norms_behind_additions),
        cmocka_unit_test(activations),
        cmocka_unit_test(graphs_repeat_work),
    };
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    ops->close(gpu);
    return bad;
}
