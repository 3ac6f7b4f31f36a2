/* Splitting matrix products into tasks of PANEL_ROWS output rows, all columns each: pack a panel of weights,
 * multiply it with every column, go on to the next stretch of inputs. */
#include <string.h>

#include "backend/cpu/cpu_int.h"

enum { COLUMNS = 64 };

size_t panel_bytes(void)
{
    const size_t numbers = 4 * PANEL_ROWS * sizeof(float); /* of 32 inputs in two groups with minima */
    size_t bytes = (size_t)PANEL_K_BYTES / 32 * (32 * PANEL_ROWS + numbers);
    size_t pairs = (size_t)PANEL_K / 32 * (32 * PANEL_ROWS * sizeof(int16_t) + numbers);
    size_t floats = (size_t)PANEL_K_FLOAT * PANEL_ROWS * sizeof(float);
    return MAX(MAX(bytes, pairs), floats) + 64;
}

struct act_row act_row(const struct acts *a, size_t row)
{
    const size_t g = row * a->n_group;
    return (struct act_row){
        a->f + row * a->ldf,
        {a->byte.q + row * a->ldq, a->byte.scale + g, a->byte.sum + 3 * g, a->byte.minus + 3 * g},
        {a->pair.q + row * a->ldq, a->pair.scale + g, a->pair.sum + 3 * g},
    };
}

/* The output matrix is multiplied the fine way: the last rounding before the logits is the one that shows
 * most, and it is one matrix of many. */
static const struct matmul_kernel *kernel_for(const struct backend_model *bm, const struct weight *w)
{
    const struct cpu_kernels *k = bm->b->k;
    return w == bm->fine ? &k->fine[w->dtype] : &k->matmul[w->dtype];
}

unsigned matmul_form(const struct backend_model *bm, wref w)
{
    return w ? (unsigned)kernel_for(bm, &bm->m->weight[w])->form : 0;
}

size_t matmul_row_bytes(const struct weight *w)
{
    size_t n_row = 1;
    for (uint32_t d = 0; d + 1 < w->rank; d++) n_row *= (size_t)w->dim[d];
    return w->n_bytes / n_row;
}

static uint32_t n_group(const struct mm *mm)
{
    return (uint32_t)((mm->n_out + PANEL_ROWS - 1) / PANEL_ROWS);
}

static void act_row_skip(struct act_row *x, size_t n)
{
    const size_t g = n / ACT_GROUP;
    x->f += n;
    x->byte.q += n;
    x->byte.scale += g;
    x->byte.sum += 3 * g;
    x->byte.minus += 3 * g;
    x->pair.q += n;
    x->pair.scale += g;
    x->pair.sum += 3 * g;
}

/* Columns [c0, c0 + n) of a task, inputs from k0 on. Rows past the matrix's end go through a copy, so only
 * n_row values are written. */
struct columns {
    struct act_row x[COLUMNS];
    float *y[COLUMNS], *to[COLUMNS];
    float edge[COLUMNS][PANEL_ROWS];
};

static void columns_begin(struct columns *cs, const struct mm *mm, size_t k0, int64_t row, uint32_t n_row,
                          uint32_t c0, uint32_t n)
{
    for (uint32_t c = 0; c < n; c++) {
        uint32_t in = mm->col ? mm->col[c0 + c] : c0 + c, out = mm->out_row ? mm->out_row[c0 + c] : c0 + c;
        cs->x[c] = act_row(mm->x, in);
        act_row_skip(&cs->x[c], k0);
        cs->to[c] = mm->y + out * mm->ldy + row;
        cs->y[c] = n_row == PANEL_ROWS ? cs->to[c] : cs->edge[c];
        if (n_row < PANEL_ROWS && k0) memcpy(cs->edge[c], cs->to[c], n_row * sizeof(float));
    }
}

static void columns_end(const struct columns *cs, uint32_t n_row, uint32_t n)
{
    for (uint32_t c = 0; n_row < PANEL_ROWS && c < n; c++)
        memcpy(cs->to[c], cs->edge[c], n_row * sizeof(float));
}

/* The rows of a matrix's last task, and zeros for those that are missing: kernels read PANEL_ROWS of them. */
static const uint8_t *whole_rows(uint8_t *to, const uint8_t *rows, size_t row_bytes, uint32_t n_row)
{
    if (n_row == PANEL_ROWS) return rows;
    memcpy(to, rows, n_row * row_bytes);
    memset(to + n_row * row_bytes, 0, (PANEL_ROWS - n_row) * row_bytes);
    return to;
}

static void product_task(struct backend_model *bm, const struct mm *mm, uint32_t group,
                         const struct thread_scratch *own)
{
    const struct weight *w = mm->w;
    const struct matmul_kernel *k = kernel_for(bm, w);
    const size_t n_in = (size_t)w->dim[w->rank - 1];
    const int64_t row = (int64_t)group * PANEL_ROWS;
    const uint32_t n_row = (uint32_t)MIN((int64_t)PANEL_ROWS, mm->n_out - row);
    const int64_t rows_each = w->rank > 1 ? w->dim[w->rank - 2] : 1;
    const size_t row_bytes = matmul_row_bytes(w);
    const size_t first = (size_t)(mm->expert * rows_each + mm->row0 + row);
    const uint8_t *rows = whole_rows(own->rows, w->data + first * row_bytes, row_bytes, n_row);
    struct columns cs;

    if (mm->n_col <= k->direct) {
        columns_begin(&cs, mm, 0, row, n_row, 0, mm->n_col);
        k->dot(cs.y, cs.x, mm->n_col, rows, row_bytes, n_in);
        columns_end(&cs, n_row, mm->n_col);
    }
    for (size_t k0 = 0; mm->n_col > k->direct && k0 < n_in; k0 += k->panel_k) {
        size_t n_k = MIN((size_t)k->panel_k, n_in - k0);
        k->pack(own->panel, rows, row_bytes, k0, n_k);
        for (uint32_t c = 0; c < mm->n_col; c += COLUMNS) {
            uint32_t n = MIN((uint32_t)COLUMNS, mm->n_col - c);
            columns_begin(&cs, mm, k0, row, n_row, c, n);
            k->gemm(cs.y, cs.x, n, own->panel, n_k, k0 == 0);
            columns_end(&cs, n_row, n);
        }
    }
    for (uint32_t c = 0; mm->bias && c < mm->n_col; c++) {
        float *y = mm->y + (mm->out_row ? mm->out_row[c] : c) * mm->ldy + row;
        for (uint32_t r = 0; r < n_row; r++) y[r] += mm->bias[row + r];
    }
}

struct products {
    struct backend_model *bm;
    struct mm *mm;
    uint32_t n;
};

static void matmul_task(void *ctx, uint32_t task, uint32_t thread)
{
    struct products *st = ctx;
    uint32_t low = 0, high = st->n;
    while (high - low > 1) { /* the last product that begins at or before this task */
        uint32_t mid = (low + high) / 2;
        if (st->mm[mid].task0 <= task)
            low = mid;
        else
            high = mid;
    }
    product_task(st->bm, &st->mm[low], task - st->mm[low].task0, &st->bm->s.thread[thread]);
}

void matmul_run(struct backend_model *bm, enum stage stage, struct mm *mm, uint32_t n)
{
    struct products st = {bm, mm, n};
    uint32_t n_task = 0;
    for (uint32_t i = 0; i < n; i++) {
        mm[i].task0 = n_task;
        n_task += n_group(&mm[i]);
        const double rows = (double)mm[i].n_out, inputs = (double)mm[i].w->dim[mm[i].w->rank - 1];
        stage_count(bm, stage, rows * (double)matmul_row_bytes(mm[i].w), 2 * rows * inputs * mm[i].n_col);
    }
    stage_run(bm, stage, n_task, matmul_task, &st);
}
