/* The kernels for AMX, as they were compiled: where the processor does not have it,
 * tests/support/tile_emulator.h plays its instructions. Their products of bytes must be those of avx512, bit
 * for bit, whether columns are evenly apart or lie anywhere, and no tiles may be left behind. */
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/kernels.h"
#include "base/rng.h"
#include "tensor/dtype.h"
#ifdef HAVE_AMX_TABLE
#include "random_blocks.h"
#include "support/tile_emulator.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#ifndef HAVE_AMX_TABLE
static void products(void **state)
{
    print_message("skipped: this build has no kernels for AMX\n");
    skip();
}
#else
enum { N_COL = 27, N_PLACE = 31 }; /* columns, and where their activations may lie */

static struct cpu_kernels emulated;

static const struct cpu_kernels *find(const char *name)
{
    const struct cpu_kernels *set[MAX_CPU_KERNELS];
    const size_t n = cpu_kernels_all(set, COUNT_OF(set));
    for (size_t i = 0; i < n; i++)
        if (!strcmp(set[i]->name, name)) return set[i];
    return NULL;
}

struct rows_of_bytes {
    int8_t *q;
    float *scale, *sum;
    int32_t *minus;
    size_t n, n_group;
};

static struct act_row row(const struct rows_of_bytes *x, size_t place, size_t k0)
{
    const size_t g = place * x->n_group + k0 / ACT_GROUP;
    return (struct act_row){
        .byte = {x->q + place * x->n + k0, x->scale + g, x->sum + 3 * g, x->minus + 3 * g}};
}

static void multiply(const struct matmul_kernel *mk, float y[][MAX_PANEL_ROWS], const struct rows_of_bytes *x,
                     const uint8_t *place, uint32_t n_col, const uint8_t *w, size_t row_bytes, void *panel)
{
    struct act_row in[N_COL];
    float *to[N_COL];
    for (size_t k0 = 0; k0 < x->n; k0 += mk->panel_k) {
        const size_t n = MIN((size_t)mk->panel_k, x->n - k0);
        mk->pack(panel, w, row_bytes, k0, n);
        for (uint32_t c = 0; c < n_col; c++) {
            in[c] = row(x, place[c], k0);
            to[c] = y[c];
        }
        mk->gemm(to, in, n_col, panel, n, k0 == 0);
    }
}

static void check(const struct cpu_kernels *avx512, const struct cpu_kernels *amx, size_t kind, size_t n)
{
    const enum dtype type = random_kinds[kind].type;
    const struct matmul_kernel *mk = &amx->matmul[type];
    static const uint8_t n_col[] = {1, 7, 8, 9, 16, N_COL};
    struct rows_of_bytes x = {.n = n, .n_group = n / ACT_GROUP};
    float *f = mem_alloc(n * sizeof *f);
    size_t row_bytes = 0;

    assert_true(dtype_bytes(type, (int64_t)n, &row_bytes));
    uint8_t *w = mem_alloc(row_bytes * mk->panel_rows);
    void *panel = mem_aligned(64, (size_t)PANEL_K_BYTES * (MAX_PANEL_ROWS + 16) + 64);
    random_blocks(w, row_bytes * mk->panel_rows, kind, n);
    x.q = mem_alloc(N_PLACE * n);
    x.scale = mem_alloc(N_PLACE * x.n_group * sizeof *x.scale);
    x.sum = mem_alloc(N_PLACE * 3 * x.n_group * sizeof *x.sum);
    x.minus = mem_alloc(N_PLACE * 3 * x.n_group * sizeof *x.minus);
    for (size_t c = 0; c < N_PLACE; c++) {
        const struct act_row r = row(&x, c, 0);
        for (size_t i = 0; i < n; i++) f[i] = (float)(4 * rng_uniform(n, kind, c * n + i, 0) - 2);
        amx->quantize_bytes(f, n, (int8_t *)r.byte.q, (float *)r.byte.scale, (float *)r.byte.sum,
                            (int32_t *)r.byte.minus);
    }
    /* evenly apart: side by side, backwards, one for all; and anywhere */
    for (int order = 0; order < 4; order++) {
        uint8_t place[N_COL];
        for (size_t c = 0; c < N_COL; c++)
            place[c] =
                (uint8_t[]){(uint8_t)c, (uint8_t)(N_PLACE - 1 - c), 5, (uint8_t)(c * c % N_PLACE)}[order];
        for (size_t i = 0; i < COUNT_OF(n_col); i++) {
            float want[N_COL][MAX_PANEL_ROWS] = {{0}}, got[N_COL][MAX_PANEL_ROWS] = {{0}};
            const unsigned long before = tile_products;
            multiply(&avx512->matmul[type], want, &x, place, n_col[i], w, row_bytes, panel);
            multiply(mk, got, &x, place, n_col[i], w, row_bytes, panel);
            if (memcmp(want, got, sizeof want) != 0)
                fail_msg("%s, %zu inputs, %u columns, order %d: not what avx512 makes of them",
                         dtype_info(type)->name, n, n_col[i], order);
            if (amx == &emulated && (tile_products != before) != (n_col[i] >= 8))
                fail_msg("%s, %u columns: tiles %s", dtype_info(type)->name, n_col[i],
                         n_col[i] >= 8 ? "were not used" : "were used for too few");
            if (tiles_configured) fail_msg("%s: tiles were left behind", dtype_info(type)->name);
        }
    }
    free(f);
    free(w);
    free(panel);
    free(x.q);
    free(x.scale);
    free(x.sum);
    free(x.minus);
}

static void products(void **state)
{
    const struct cpu_kernels *avx512 = find("avx512"), *amx = find("amx");
    size_t n_type = 0;
    if (!avx512) {
        print_message("skipped: this processor has no AVX-512 with VNNI\n");
        skip();
    }
    if (!amx) {
        tiles_emulate();
        emulated = *avx512;
        cpu_kernels_amx(&emulated);
        amx = &emulated;
    }
    for (size_t i = 0; i < N_RANDOM_KINDS; i++) {
        const enum dtype type = random_kinds[i].type;
        if (avx512->matmul[type].form != ACT_BYTES) continue;
        assert_ptr_not_equal(amx->matmul[type].gemm, avx512->matmul[type].gemm);
        check(avx512, amx, i, 256);
        if (n_type++ % 10 == 0) check(avx512, amx, i, PANEL_K_BYTES + 256); /* two panels */
    }
    assert_true(n_type > 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
