/* Every matmul kernel of every instruction set against sums in double of decoded weights and of the
 * activations in the form that the kernel reads: random blocks, stretches beyond one panel,
 * columns in all group sizes. And each column's bits must not depend on its neighbours. With an argument, for
 * emulators: one seed, and not the portable kernels, whose machine is any. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/kernels.h"
#include "base/rng.h"
#include "random_blocks.h"
#include "support/guarded.h"
#include "tensor/dtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { MAX_COL = 15, MAX_COL_INTEGERS = 11 }; /* more than any kernel's chunk of columns */
static bool quick;

struct columns {
    size_t n_in, n_pad, n_group;
    float *f, *scale[2], *sum[2]; /* of bytes, of pairs */
    uint16_t *bf16;
    int8_t *byte;
    int16_t *pair;
    int32_t *minus;
};

/* Column c from input k0 on. */
static struct act_row column(const struct columns *x, size_t c, size_t k0)
{
    size_t g = c * x->n_group + k0 / ACT_GROUP, at = c * x->n_pad + k0;
    return (struct act_row){x->f + at,
                            x->bf16 + at,
                            {x->byte + at, x->scale[0] + g, x->sum[0] + 3 * g, x->minus + 3 * g},
                            {x->pair + at, x->scale[1] + g, x->sum[1] + 3 * g}};
}

static void columns_init(struct columns *x, const struct cpu_kernels *k, size_t n_in, uint64_t seed)
{
    *x = (struct columns){.n_in = n_in, .n_pad = round_up(n_in, ACT_GROUP)};
    x->n_group = x->n_pad / ACT_GROUP;
    x->f = mem_zalloc(MAX_COL * x->n_pad, sizeof *x->f);
    x->bf16 = mem_zalloc(MAX_COL * x->n_pad, sizeof *x->bf16);
    x->byte = mem_zalloc(MAX_COL * x->n_pad, sizeof *x->byte);
    x->pair = mem_zalloc(MAX_COL * x->n_pad, sizeof *x->pair);
    x->minus = mem_zalloc(MAX_COL * 3 * x->n_group, sizeof *x->minus);
    for (int i = 0; i < 2; i++) {
        x->scale[i] = mem_zalloc(MAX_COL * x->n_group, sizeof *x->scale[i]);
        x->sum[i] = mem_zalloc(MAX_COL * 3 * x->n_group, sizeof *x->sum[i]);
    }
    for (size_t c = 0; c < MAX_COL; c++) {
        float *f = x->f + c * x->n_pad;
        size_t g = c * x->n_group;
        for (size_t i = 0; i < n_in; i++) f[i] = (float)(4 * rng_uniform(seed, 4, c * n_in + i, 0) - 2);
        for (size_t i = 0; i < n_in && c % 4 == 1; i++) f[i] = c == 1 ? 2 : -2; /* the largest sums */
        if (k->to_bf16) k->to_bf16(x->bf16 + c * x->n_pad, f, n_in);
        k->quantize_bytes(f, n_in, x->byte + c * x->n_pad, x->scale[0] + g, x->sum[0] + 3 * g,
                          x->minus + 3 * g);
        k->quantize_pairs(f, n_in, x->pair + c * x->n_pad, x->scale[1] + g, x->sum[1] + 3 * g);
    }
}

/* Where input i lies among the pairs: of every four the middle ones change places. */
static size_t pair_at(size_t i)
{
    return i % 4 == 1 || i % 4 == 2 ? i ^ 3 : i;
}

/* Input i of column c as a kernel of that form sees it. */
static double input(const struct columns *x, enum act_form form, size_t c, size_t i)
{
    size_t at = c * x->n_pad + (form == ACT_PAIRS ? pair_at(i) : i), g = c * x->n_group + i / ACT_GROUP;
    if (form == ACT_FLOATS) return (double)x->f[at];
    if (form == ACT_BF16) return (double)bf16_to_f32(x->bf16[at]);
    return form == ACT_BYTES ? x->byte[at] * (double)x->scale[0][g] : x->pair[at] * (double)x->scale[1][g];
}

static void columns_deinit(struct columns *x)
{
    free(x->f);
    free(x->bf16);
    free(x->byte);
    free(x->pair);
    free(x->minus);
    for (int i = 0; i < 2; i++) {
        free(x->scale[i]);
        free(x->sum[i]);
    }
}

/* y (n_col, MAX_TASK_ROWS) for columns [c0, c0 + n_col), panel by panel as the driver does. */
static void multiply(const struct matmul_kernel *mk, float *y, const struct columns *x, size_t c0,
                     uint32_t n_col, const uint8_t *w, size_t row_bytes, void *panel)
{
    float *to[MAX_COL];
    struct act_row in[MAX_COL];
    for (size_t k0 = 0; k0 < x->n_in; k0 += mk->panel_k) {
        size_t n = MIN((size_t)mk->panel_k, x->n_in - k0);
        mk->pack(panel, w, row_bytes, k0, n);
        for (uint32_t c = 0; c < n_col; c++) {
            to[c] = y + c * MAX_TASK_ROWS;
            in[c] = column(x, c0 + c, k0);
        }
        mk->gemm(to, in, n_col, panel, n, k0 == 0);
    }
}

static void check_product(const struct cpu_kernels *k, const struct matmul_kernel *mk, size_t i, size_t n_in,
                          uint64_t seed)
{
    const struct dtype_info *t = dtype_info(random_kinds[i].type);
    struct columns x;
    size_t row_bytes = 0;
    float y[MAX_COL][MAX_TASK_ROWS], again[MAX_COL][MAX_TASK_ROWS];
    double diff = 0, all = 0;

    assert_non_null(mk->dot);
    const uint32_t n_row = mk->panel_rows;
    const uint32_t n_all = mk->form & (ACT_BYTES | ACT_PAIRS) ? MAX_COL_INTEGERS : MAX_COL;
    assert_true(dtype_bytes(random_kinds[i].type, (int64_t)n_in, &row_bytes));
    uint8_t *w = guarded_new(row_bytes * n_row);
    float *row = mem_alloc(n_in * sizeof *row);
    void *panel = mem_aligned(64, (size_t)PANEL_K * MAX_PANEL_ROWS * 4 + 65536);
    random_blocks(w, row_bytes * n_row, i, seed);
    columns_init(&x, k, n_in, seed);
    memset(y, 0xAB, sizeof y);
    memcpy(again, y, sizeof y);
    multiply(mk, y[0], &x, 0, n_all, w, row_bytes, panel);
    for (uint32_t r = 0; r < n_row; r++) {
        t->decode(w + r * row_bytes, row, n_in);
        for (size_t c = 0; c < n_all; c++) {
            double want = 0;
            for (size_t j = 0; j < n_in; j++) want += (double)row[j] * input(&x, mk->form, c, j);
            diff += ((double)y[c][r] - want) * ((double)y[c][r] - want);
            all += want * want;
        }
    }
    if (!(diff <= 1e-11 * all))
        fail_msg("%s %s, %zu inputs, seed %llu: NMSE %g", k->name, t->name, n_in, (unsigned long long)seed,
                 diff / all);
    for (uint32_t n = 1; n <= n_all; n++) { /* the last n columns on their own */
        multiply(mk, again[0], &x, n_all - n, n, w, row_bytes, panel);
        if (memcmp(again, y[n_all - n], n * sizeof y[0]) != 0)
            fail_msg("%s %s, %zu inputs: %u columns alone differ from the same beside others", k->name,
                     t->name, n_in, n);
    }
    const size_t row0 = n_row - mk->dot_rows; /* the last ones */
    assert_true(mk->direct >= 1);
    for (uint32_t n = 1; n <= MIN(mk->direct, n_all); n++) {
        struct act_row in[MAX_COL];
        float *to[MAX_COL];
        for (uint32_t c = 0; c < n; c++) {
            in[c] = column(&x, n_all - n + c, 0);
            to[c] = again[c];
        }
        mk->dot(to, in, n, w + row0 * row_bytes, row_bytes, n_in);
        for (uint32_t c = 0; c < n; c++)
            if (memcmp(again[c], y[n_all - n + c] + row0, mk->dot_rows * sizeof y[0][0]) != 0)
                fail_msg("%s %s, %zu inputs: %u columns without a panel differ from the same with one",
                         k->name, t->name, n_in, n);
    }
    columns_deinit(&x);
    guarded_free(w, row_bytes * n_row);
    free(row);
    free(panel);
}

static void products(void **state)
{
    const struct cpu_kernels *set[MAX_CPU_KERNELS];
    size_t n_set = cpu_kernels_all(set, COUNT_OF(set));
    for (size_t s = quick; s < n_set; s++) {
        for (size_t i = 0; i < N_RANDOM_KINDS; i++) {
            size_t block = dtype_info(random_kinds[i].type)->block_elems;
            size_t sizes[] = {block == 1 ? 5 : block, block == 1 ? 173 : 3 * block,
                              block == 1 ? 2 * (size_t)FLOAT_K + 37 : (size_t)PANEL_K_BYTES + block};
            const struct matmul_kernel *way[] = {&set[s]->matmul[random_kinds[i].type],
                                                 &set[s]->fine[random_kinds[i].type]};
            for (size_t j = 0; j < 2 * COUNT_OF(sizes); j++) {
                check_product(set[s], way[j % 2], i, sizes[j / 2], 10 * i + j);
                if (!quick) check_product(set[s], way[j % 2], i, sizes[j / 2], 1000 + 10 * i + j);
            }
        }
    }
}

static void row_operations(void **state)
{
    const struct cpu_kernels *set[MAX_CPU_KERNELS];
    size_t n_set = cpu_kernels_all(set, COUNT_OF(set));
    enum { N = 103 };
    for (size_t s = 0; s < n_set; s++) {
        const struct cpu_kernels *k = set[s];
        for (size_t n = 1; n <= N; n += 1 + n / 7) {
            float x[N], g[N], w[N], b[N], y[N + 1];
            for (size_t i = 0; i < n; i++) {
                x[i] = (float)(20 * rng_uniform(n, 0, i, 0) - 10);
                g[i] = (float)(30 * rng_uniform(n, 1, i, 0) - 15);
                w[i] = (float)rng_uniform(n, 2, i, 0);
                b[i] = (float)rng_uniform(n, 3, i, 0);
            }
            for (int kind = 0; kind < 2; kind++) {
                double mean = 0, square = 0;
                for (size_t i = 0; kind == NORM_LAYER && i < n; i++) mean += (double)x[i] / (double)n;
                for (size_t i = 0; i < n; i++)
                    square += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
                y[n] = 1234;
                k->norm(y, x, n, w, b, 1e-5f, (enum norm_kind)kind);
                for (size_t i = 0; i < n; i++) {
                    double want = ((double)x[i] - mean) / sqrt(square + 1e-5) * (double)w[i] + (double)b[i];
                    if (fabs((double)y[i] - want) > 1e-4)
                        fail_msg("%s norm %d of %zu: %g, want %g", k->name, kind, n, (double)y[i], want);
                }
                if (y[n] != 1234) fail_msg("%s norm wrote past %zu", k->name, n);
            }
            for (int act = 0; act < 2; act++) {
                memcpy(y, x, n * sizeof *y);
                y[n] = 1234;
                k->act_mul(y, g, n, (enum activation)act);
                for (size_t i = 0; i < n; i++) {
                    double v = (double)g[i], silu = v / (1 + exp(-v));
                    double gelu = 0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
                    double want = (double)x[i] * (act == ACT_SILU ? silu : gelu);
                    /* GELU rounds to half precision (2^-11) on the way in and out */
                    double limit = 1e-5 + (act == ACT_SILU ? 1e-5 : 2e-3) * fabs(want) +
                                   (act == ACT_SILU ? 0 : 1e-3 * fabs((double)x[i]));
                    if (fabs((double)y[i] - want) > limit)
                        fail_msg("%s act %d of %g: %g, want %g", k->name, act, v, (double)y[i], want);
                }
                if (y[n] != 1234) fail_msg("%s act_mul wrote past %zu", k->name, n);
            }
            uint16_t half[N + 1];
            half[n] = 1234;
            k->to_halves(half, x, n);
            for (size_t i = 0; i < n; i++)
                if (half[i] != f32_to_f16(x[i]))
                    fail_msg("%s: %a as a half is %#x", k->name, (double)x[i], half[i]);
            if (half[n] != 1234) fail_msg("%s to_halves wrote past %zu", k->name, n);
            memcpy(y, g, n * sizeof *y);
            k->softcap(y, n, 1.5f, 5.0f);
            for (size_t i = 0; i < n; i++)
                if (fabs((double)y[i] - 5 * tanh(1.5 * (double)g[i] / 5)) > 1e-5)
                    fail_msg("%s softcap of %g: %g", k->name, (double)g[i], (double)y[i]);
        }
    }
}

static void quantized_activations(void **state)
{
    const struct cpu_kernels *set[MAX_CPU_KERNELS];
    size_t n_set = cpu_kernels_all(set, COUNT_OF(set));
    float x[96] = {0};
    for (size_t i = 32; i < 70; i++) x[i] = (float)(rng_uniform(8, 0, i, 0) - 0.3);
    for (size_t s = 0; s < n_set; s++) {
        float scale[2][3], sum[2][9];
        int8_t byte[96];
        int16_t pair[96];
        int32_t minus[9];
        uint16_t bf16[96] = {0};
        if (set[s]->to_bf16) set[s]->to_bf16(bf16, x, 70);
        set[s]->quantize_bytes(x, 70, byte, scale[0], sum[0], minus);
        set[s]->quantize_pairs(x, 70, pair, scale[1], sum[1]);
        for (size_t i = 0; i < 96; i++) {
            if (set[s]->to_bf16 && bf16[i] != (i < 70 ? f32_to_bf16(x[i]) : 0))
                fail_msg("%s: element %zu as bfloat16 is %#x", set[s]->name, i, bf16[i]);
            float b = (float)byte[i] * scale[0][i / 32], p = (float)pair[pair_at(i)] * scale[1][i / 32];
            /* half a step of 0.7 / 127 and of 0.7 / 32767 */
            if (fabsf(b - x[i]) > 2.8e-3f || fabsf(p - x[i]) > 1.1e-5f)
                fail_msg("%s: element %zu is %g and %g, want %g", set[s]->name, i, (double)b, (double)p,
                         (double)x[i]);
        }
        for (size_t i = 0; i < 9; i++) {
            size_t from = 32 * (i / 3) + (i % 3 == 1 ? 16 : 0), to = 32 * (i / 3) + (i % 3 == 0 ? 16 : 32);
            int32_t bytes = 0, pairs = 0, first = 0;
            for (size_t j = from; j < to; j++) {
                bytes += byte[j];
                pairs += pair[j];
                first += j % 4 < 2 ? byte[j] : 0;
            }
            const int32_t halves = (int32_t)(uint16_t)-first | (int32_t)((uint32_t)(first - bytes) << 16);
            if ((minus[i] != -bytes && (i % 3 == 2 || minus[i] != halves)) ||
                fabsf(sum[0][i] - (float)bytes * scale[0][i / 3]) > 1e-6f ||
                fabsf(sum[1][i] - (float)pairs * scale[1][i / 3]) > 1e-5f)
                fail_msg("%s: sums %zu are %d, %g and %g", set[s]->name, i, minus[i], (double)sum[0][i],
                         (double)sum[1][i]);
        }
    }
}

int main(int argc, char **argv)
{
    quick = argc > 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(row_operations),
                                       cmocka_unit_test(quantized_activations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
