/* Splitting matrix products into tasks of some output rows, all columns each: pack a panel of weights,
 * multiply it with every column, go on to the next stretch of inputs. */
#include <string.h>

#include "backend/cpu/cpu_int.h"

/* Up to FEW columns do not make up for a panel's way to the second-level cache and back: theirs are short.
 * More than COLUMNS do not stay in that cache: theirs are read once for several panels. */
enum { COLUMNS = 64, FEW = 32, FEW_K = 512, PANELS = 4 };

size_t panel_bytes(void)
{
    const size_t numbers = 4 * MAX_PANEL_ROWS * sizeof(float); /* of 32 inputs in two groups with minima */
    size_t bytes = (size_t)PANEL_K_BYTES / 32 * (32 * MAX_PANEL_ROWS + numbers);
    size_t pairs = (size_t)PANEL_K / 32 * (32 * MAX_PANEL_ROWS * sizeof(int16_t) + numbers);
    size_t floats = (size_t)FLOAT_K * MAX_TASK_ROWS * sizeof(float);
    return MAX(MAX(bytes, pairs), floats) + 64;
}

/* The output matrix is multiplied the fine way: the last rounding before the logits is the one that shows
 * most, and it is one matrix of many. Not if its type has blocks of 256, like the Q6_K of most files: then
 * that would take a third of the time of decoding eight sequences, and the error of its files is half of
 * llama.cpp's as it is. */
static const struct matmul_kernel *kernel_for(const struct backend_model *bm, const struct weight *w)
{
    const struct cpu_kernels *k = bm->b->k;
    const bool fine = w == bm->fine && dtype_info(w->dtype)->block_elems < 256;
    return fine ? &k->fine[w->dtype] : &k->matmul[w->dtype];
}

unsigned matmul_form(const struct backend_model *bm, wref w)
{
    return w ? (unsigned)kernel_for(bm, weight_of(bm, w))->form : 0;
}

size_t matmul_row_bytes(const struct weight *w)
{
    size_t n_row = 1;
    for (uint32_t d = 0; d + 1 < w->rank; d++) n_row *= (size_t)w->dim[d];
    return w->n_bytes / n_row;
}

/* Floats' sums end where panels do. */
static bool has_integers(const struct matmul_kernel *k)
{
    return k->form == ACT_BYTES || k->form == ACT_PAIRS;
}

/* How many panels a task has: of short rows PANELS, of long ones two, and one where threads would be left
 * without. */
static uint32_t task_panels(const struct backend_model *bm, const struct mm *mm)
{
    const struct matmul_kernel *k = kernel_for(bm, mm->w);
    const size_t n_in = (size_t)mm->w->dim[mm->w->rank - 1];
    const uint32_t panels = n_in * PANELS <= k->panel_k ? PANELS : 2;
    const int64_t enough = 4 * (int64_t)crew_n_thread(bm->b->crew) * k->panel_rows;
    if (!has_integers(k) || mm->n_col <= COLUMNS || mm->n_out < enough * 2) return 1;
    return mm->n_out < enough * panels ? 2 : panels;
}

static bool is_direct(const struct matmul_kernel *k, uint32_t n_col)
{
    const bool one_tile = (n_col & (n_col - 1)) == 0;
    return n_col <= k->direct && (one_tile || !k->direct_tiles);
}

/* Output rows of a task. */
static uint32_t task_rows(const struct backend_model *bm, const struct mm *mm)
{
    const struct matmul_kernel *k = kernel_for(bm, mm->w);
    return is_direct(k, mm->n_col) ? k->dot_rows : k->panel_rows * task_panels(bm, mm);
}

/* A row of activations from input k0 on, in the form that a kernel reads: each task asks for all its columns.
 */
static void act_row_at(struct act_row *x, const struct acts *a, size_t row, size_t k0, enum act_form form)
{
    const size_t q = row * a->ldq + k0, g = row * a->n_group + k0 / ACT_GROUP;
    if (form == ACT_FLOATS) x->f = a->f + row * a->ldf + k0;
    if (form == ACT_BF16) x->bf16 = a->bf16 + row * a->ldq + k0;
    if (form == ACT_BYTES) {
        x->byte.q = a->byte.q + q;
        x->byte.scale = a->byte.scale + g;
        x->byte.sum = a->byte.sum + 3 * g;
        x->byte.minus = a->byte.minus + 3 * g;
    }
    if (form == ACT_PAIRS) {
        x->pair.q = a->pair.q + q;
        x->pair.scale = a->pair.scale + g;
        x->pair.sum = a->pair.sum + 3 * g;
    }
}

/* Columns [c0, c0 + n) of a task, inputs from k0 on. When rows are missing at the matrix's end the results go
 * through a copy, so only n_row values are written. */
struct columns {
    struct act_row x[COLUMNS];
    float *y[COLUMNS], *to[COLUMNS];
    float edge[COLUMNS][MAX_TASK_ROWS];
};

static void columns_begin(struct columns *cs, const struct mm *mm, enum act_form form, size_t k0, int64_t row,
                          uint32_t n_row, bool whole, uint32_t c0, uint32_t n)
{
    for (uint32_t c = 0; c < n; c++) {
        uint32_t in = mm->col ? mm->col[c0 + c] : c0 + c, out = mm->out_row ? mm->out_row[c0 + c] : c0 + c;
        act_row_at(&cs->x[c], mm->x, in, k0, form);
        cs->to[c] = mm->y + out * mm->ldy + row;
        cs->y[c] = whole ? cs->to[c] : cs->edge[c];
        if (!whole && k0) memcpy(cs->edge[c], cs->to[c], n_row * sizeof(float));
        /* Each column's results are in another page: without this, products wait for those of the last. */
        for (uint32_t r = 0; r < n_row; r += 16) __builtin_prefetch(cs->to[c] + r, 1, 3);
    }
}

static void columns_end(const struct columns *cs, uint32_t n_row, bool whole, uint32_t n)
{
    for (uint32_t c = 0; !whole && c < n; c++) memcpy(cs->to[c], cs->edge[c], n_row * sizeof(float));
}

/* The rows of a matrix's last task, and zeros for those that are missing. */
static const uint8_t *fill_up(uint8_t *to, const uint8_t *rows, size_t row_bytes, uint32_t n_row,
                              uint32_t n_all)
{
    memcpy(to, rows, n_row * row_bytes);
    memset(to + n_row * row_bytes, 0, (n_all - n_row) * row_bytes);
    return to;
}

/* Output rows that a kernel makes at once, the first of them `row`. */
struct slice {
    const uint8_t *rows;
    int64_t row;
    uint32_t n_row; /* that there are */
    bool whole;
};

static struct slice slice_at(const struct mm *mm, int64_t row, uint32_t n_all,
                             const struct thread_scratch *own)
{
    const struct weight *w = mm->w;
    const uint32_t n_row = (uint32_t)MIN((int64_t)n_all, mm->n_out - row);
    const int64_t rows_each = w->rank > 1 ? w->dim[w->rank - 2] : 1;
    const size_t row_bytes = matmul_row_bytes(w);
    const uint8_t *rows = w->data + (size_t)(mm->expert * rows_each + mm->row0 + row) * row_bytes;
    const bool whole = n_row == n_all;
    return (struct slice){whole ? rows : fill_up(own->rows, rows, row_bytes, n_row, n_all), row, n_row,
                          whole};
}

static void direct_task(const struct mm *mm, const struct matmul_kernel *k, int64_t row,
                        const struct thread_scratch *own)
{
    const struct slice s = slice_at(mm, row, k->dot_rows, own);
    struct columns cs;
    for (uint32_t c = 0; c < mm->n_col; c += COLUMNS) {
        uint32_t n = MIN((uint32_t)COLUMNS, mm->n_col - c);
        columns_begin(&cs, mm, k->form, 0, s.row, s.n_row, s.whole, c, n);
        k->dot(cs.y, cs.x, n, s.rows, matmul_row_bytes(mm->w), (size_t)mm->w->dim[mm->w->rank - 1]);
        columns_end(&cs, s.n_row, s.whole, n);
    }
}

static void panels_task(const struct mm *mm, const struct matmul_kernel *k, int64_t row, uint32_t n_panel,
                        const struct thread_scratch *own)
{
    const size_t n_in = (size_t)mm->w->dim[mm->w->rank - 1], row_bytes = matmul_row_bytes(mm->w);
    const size_t step = has_integers(k) && mm->n_col <= FEW ? FEW_K : k->panel_k / n_panel;
    const size_t bytes = panel_bytes() / n_panel / 64 * 64;
    uint8_t *const panel = own->panel;
    struct slice s[PANELS];
    struct columns cs;
    uint32_t n = 0;

    for (; n < n_panel && row < mm->n_out; n++, row += k->panel_rows)
        s[n] = slice_at(mm, row, k->panel_rows, own);
    for (size_t k0 = 0; k0 < n_in; k0 += step) {
        size_t n_k = MIN(step, n_in - k0);
        for (uint32_t p = 0; p < n; p++) k->pack(panel + p * bytes, s[p].rows, row_bytes, k0, n_k);
        for (uint32_t i = 0; i < (mm->n_col + COLUMNS - 1) / COLUMNS * n; i++) {
            const uint32_t c = i / n * COLUMNS, p = i % n, n_col = MIN((uint32_t)COLUMNS, mm->n_col - c);
            columns_begin(&cs, mm, k->form, k0, s[p].row, s[p].n_row, s[p].whole, c, n_col);
            k->gemm(cs.y, cs.x, n_col, panel + p * bytes, n_k, k0 == 0);
            columns_end(&cs, s[p].n_row, s[p].whole, n_col);
        }
    }
}

static void product_task(struct backend_model *bm, const struct mm *mm, uint32_t task,
                         const struct thread_scratch *own)
{
    const struct matmul_kernel *k = kernel_for(bm, mm->w);
    const int64_t n_row = task_rows(bm, mm), row = task * n_row;
    if (is_direct(k, mm->n_col))
        direct_task(mm, k, row, own);
    else
        panels_task(mm, k, row, task_panels(bm, mm), own);
    for (uint32_t c = 0; mm->bias && c < mm->n_col; c++) {
        float *y = mm->y + (mm->out_row ? mm->out_row[c] : c) * mm->ldy;
        for (int64_t r = row; r < MIN(row + n_row, mm->n_out); r++) y[r] += mm->bias[r];
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
        const uint32_t each = task_rows(bm, &mm[i]);
        n_task += (uint32_t)((mm[i].n_out + each - 1) / each);
        const double rows = (double)mm[i].n_out, inputs = (double)mm[i].w->dim[mm[i].w->rank - 1];
        stage_count(bm, stage, rows * (double)matmul_row_bytes(mm[i].w), 2 * rows * inputs * mm[i].n_col);
    }
    stage_run(bm, stage, n_task, matmul_task, &st);
}
