/* Splitting matrix products into tasks of PANEL_ROWS output rows, all columns each: pack a panel of weights,
 * multiply it with every column, go on to the next stretch of inputs. */
#include <string.h>

#include "backend/cpu/cpu_int.h"

enum { COLUMNS = 64 };

size_t panel_bytes(void)
{
    size_t ints = (size_t)PANEL_K / 32 * (32 * PANEL_ROWS * sizeof(int16_t) + 4 * PANEL_ROWS * sizeof(float));
    size_t floats = (size_t)PANEL_K_FLOAT * PANEL_ROWS * sizeof(float);
    return MAX(ints, floats) + 64;
}

struct act_row act_row(const struct acts *a, size_t row)
{
    return (struct act_row){a->f + row * a->ldf, a->q + row * a->ldq, a->scale + row * a->lds,
                            a->sum + 2 * row * a->lds};
}

bool matmul_wants_ints(const struct backend_model *bm, wref w)
{
    return w && !bm->b->k->matmul[bm->m->weight[w].dtype].is_float;
}

static uint32_t n_group(const struct mm *mm)
{
    return (uint32_t)((mm->n_out + PANEL_ROWS - 1) / PANEL_ROWS);
}

/* Columns [c0, c0 + n) of one panel. Rows past the matrix's end go through a copy, so only n_row values are
 * written. */
static void columns(const struct mm *mm, const struct matmul_kernel *k, const void *panel, size_t k0,
                    size_t n_k, int64_t row, uint32_t n_row, uint32_t c0, uint32_t n)
{
    float edge[COLUMNS][PANEL_ROWS];
    float *y[COLUMNS], *to[COLUMNS];
    struct act_row x[COLUMNS];
    const bool whole = n_row == PANEL_ROWS;

    for (uint32_t c = 0; c < n; c++) {
        uint32_t in = mm->col ? mm->col[c0 + c] : c0 + c, out = mm->out_row ? mm->out_row[c0 + c] : c0 + c;
        x[c] = act_row(mm->x, in);
        x[c].f += k0;
        x[c].q += k0;
        x[c].scale += k0 / ACT_GROUP;
        x[c].sum += 2 * (k0 / ACT_GROUP);
        to[c] = mm->y + out * mm->ldy + row;
        y[c] = whole ? to[c] : edge[c];
        if (!whole && k0) memcpy(edge[c], to[c], n_row * sizeof(float));
    }
    k->gemm(y, x, n, panel, n_k, k0 == 0);
    for (uint32_t c = 0; !whole && c < n; c++) memcpy(to[c], edge[c], n_row * sizeof(float));
}

static void product_task(struct backend_model *bm, const struct mm *mm, uint32_t group, void *panel)
{
    const struct weight *w = mm->w;
    const struct matmul_kernel *k = &bm->b->k->matmul[w->dtype];
    const size_t n_in = (size_t)w->dim[w->rank - 1];
    const int64_t row = (int64_t)group * PANEL_ROWS;
    const uint32_t n_row = (uint32_t)MIN((int64_t)PANEL_ROWS, mm->n_out - row);
    const int64_t rows_each = w->rank > 1 ? w->dim[w->rank - 2] : 1;
    const size_t row_bytes =
        w->rank > 1 ? w->n_bytes / (size_t)(w->rank == 3 ? w->dim[0] * rows_each : rows_each) : w->n_bytes;
    const uint8_t *rows = w->data + (size_t)(mm->expert * rows_each + mm->row0 + row) * row_bytes;

    for (size_t k0 = 0; k0 < n_in; k0 += k->panel_k) {
        size_t n_k = MIN((size_t)k->panel_k, n_in - k0);
        k->pack(panel, rows, row_bytes, n_row, k0, n_k);
        for (uint32_t c = 0; c < mm->n_col; c += COLUMNS)
            columns(mm, k, panel, k0, n_k, row, n_row, c, MIN((uint32_t)COLUMNS, mm->n_col - c));
    }
    for (uint32_t c = 0; mm->bias && c < mm->n_col; c++) {
        float *y = mm->y + (mm->out_row ? mm->out_row[c] : c) * mm->ldy + row;
        for (uint32_t r = 0; r < n_row; r++) y[r] += mm->bias[row + r];
    }
}

struct stage {
    struct backend_model *bm;
    struct mm *mm;
    uint32_t n;
};

static void matmul_task(void *ctx, uint32_t task, uint32_t thread)
{
    struct stage *st = ctx;
    uint32_t low = 0, high = st->n;
    while (high - low > 1) { /* the last product that begins at or before this task */
        uint32_t mid = (low + high) / 2;
        if (st->mm[mid].task0 <= task)
            low = mid;
        else
            high = mid;
    }
    product_task(st->bm, &st->mm[low], task - st->mm[low].task0, st->bm->s.thread[thread].panel);
}

void matmul_run(struct backend_model *bm, struct mm *mm, uint32_t n)
{
    struct stage st = {bm, mm, n};
    uint32_t n_task = 0;
    for (uint32_t i = 0; i < n; i++) {
        mm[i].task0 = n_task;
        n_task += n_group(&mm[i]);
    }
    pool_run(bm->b->pool, n_task, matmul_task, &st);
}
