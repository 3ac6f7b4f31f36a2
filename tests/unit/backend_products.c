/* The cpu backend's products of a matrix with many columns, where a task has several panels and the last one
 * rows that are missing, are those with a few columns at a time, bit for bit, whatever the number of threads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu_int.h"
#include "base/rng.h"
#include "random_blocks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_OUT = 531, N_COL = 75, MOST_FEW = 6 };

static void acts_init(struct acts *a, const struct cpu_kernels *k, size_t n)
{
    *a = (struct acts){.n = n, .ldf = n, .ldq = n, .n_group = n / ACT_GROUP};
    a->f = mem_alloc(N_COL * n * sizeof *a->f);
    a->byte.q = mem_alloc(N_COL * n);
    a->byte.scale = mem_alloc(N_COL * a->n_group * sizeof *a->byte.scale);
    a->byte.sum = mem_alloc(N_COL * 3 * a->n_group * sizeof *a->byte.sum);
    a->byte.minus = mem_alloc(N_COL * 3 * a->n_group * sizeof *a->byte.minus);
    a->pair.q = mem_alloc(N_COL * n * sizeof *a->pair.q);
    a->pair.scale = mem_alloc(N_COL * a->n_group * sizeof *a->pair.scale);
    a->pair.sum = mem_alloc(N_COL * 3 * a->n_group * sizeof *a->pair.sum);
    for (size_t c = 0; c < N_COL; c++) {
        const size_t g = c * a->n_group;
        for (size_t i = 0; i < n; i++) a->f[c * n + i] = (float)(4 * rng_uniform(n, 4, c * n + i, 0) - 2);
        k->quantize_bytes(a->f + c * n, n, a->byte.q + c * n, a->byte.scale + g, a->byte.sum + 3 * g,
                          a->byte.minus + 3 * g);
        k->quantize_pairs(a->f + c * n, n, a->pair.q + c * n, a->pair.scale + g, a->pair.sum + 3 * g);
    }
}

static void acts_deinit(struct acts *a)
{
    void *const all[] = {a->f,          a->byte.q, a->byte.scale, a->byte.sum,
                         a->byte.minus, a->pair.q, a->pair.scale, a->pair.sum};
    for (size_t i = 0; i < COUNT_OF(all); i++) free(all[i]);
}

static void check(size_t kind, size_t n_in, uint32_t n_thread)
{
    struct backend_model bm = {0};
    struct backend b = {.k = cpu_kernels()};
    struct thread_scratch own[2];
    struct error e = {0};
    struct acts x;
    const enum dtype type = random_kinds[kind].type;
    size_t row_bytes = 0;

    assert_true(dtype_bytes(type, (int64_t)n_in, &row_bytes));
    assert_int_equal(crew_new(&b.crew, n_thread, &e), OK);
    for (uint32_t i = 0; i < n_thread; i++)
        own[i] = (struct thread_scratch){.panel = mem_aligned(64, round_up(panel_bytes(), 64)),
                                         .rows = mem_alloc(MAX_TASK_ROWS * row_bytes)};
    bm.b = &b;
    bm.s.thread = own;
    uint8_t *data = mem_alloc(N_OUT * row_bytes);
    random_blocks(data, N_OUT * row_bytes, kind, n_in);
    acts_init(&x, b.k, n_in);
    const struct weight w = {
        .data = data, .dtype = type, .rank = 2, .dim = {N_OUT, (int64_t)n_in}, .n_bytes = N_OUT * row_bytes};
    float *all = mem_alloc(N_COL * N_OUT * sizeof *all), *few = mem_alloc(N_COL * N_OUT * sizeof *few);
    float bias[N_OUT];
    for (size_t i = 0; i < N_OUT; i++) bias[i] = (float)i;

    struct mm mm = {.w = &w, .bias = bias, .n_out = N_OUT, .x = &x, .n_col = N_COL, .y = all, .ldy = N_OUT};
    matmul_run(&bm, STAGE_UP, &mm, 1);
    for (uint32_t c = 0, turn = 0; c < N_COL; c += mm.n_col) {
        uint32_t col[MOST_FEW];
        mm.n_col = MIN(1 + turn++ % MOST_FEW, N_COL - c);
        for (uint32_t i = 0; i < mm.n_col; i++) col[i] = c + i;
        mm.col = mm.out_row = col;
        mm.y = few;
        matmul_run(&bm, STAGE_UP, &mm, 1);
    }
    for (size_t i = 0; i < (size_t)N_COL * N_OUT; i++)
        if (memcmp(&all[i], &few[i], sizeof *all) != 0)
            fail_msg("%s, %zu inputs, %u threads: row %zu of column %zu is %g, with few columns %g",
                     dtype_info(type)->name, n_in, n_thread, i % N_OUT, i / N_OUT, (double)all[i],
                     (double)few[i]);
    for (uint32_t i = 0; i < n_thread; i++) {
        free(own[i].panel);
        free(own[i].rows);
    }
    free(data);
    free(all);
    free(few);
    acts_deinit(&x);
    crew_free(b.crew);
}

static void many_columns_as_few(void **state)
{
    static const struct {
        enum dtype type;
        size_t n_in;
        uint32_t n_thread;
    } cases[] = {
        {DT_Q6_K, 512, 1},  {DT_Q4_0, 96, 2},  {DT_Q8_0, 512, 1},  {DT_Q2_K, 4352, 1},
        {DT_Q8_0, 2080, 1}, {DT_Q5_K, 256, 2}, {DT_Q3_K, 8448, 1}, {DT_F16, 2080, 1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t kind = 0;
        while (kind < N_RANDOM_KINDS && random_kinds[kind].type != cases[i].type) kind++;
        assert_true(kind < N_RANDOM_KINDS);
        check(kind, cases[i].n_in, cases[i].n_thread);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_columns_as_few)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
