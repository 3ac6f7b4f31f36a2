#include "cli/quantize_write.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A tensor is one stream of blocks, cut into pieces that are written in order; threads take slices of a
 * piece. All sizes are multiples of every block, and blocks do not depend on each other, so neither does the
 * file on the threads. */
enum { PIECE = 4 << 20, SLICE = 16 << 10, N_SLICE = PIECE / SLICE, COPY_BYTES = 16 << 20 };

struct piece {
    const struct dtype_info *from, *to;
    const uint8_t *in;
    uint8_t *out;
    size_t n; /* weights */
    atomic_size_t next;
    double sum_xx[N_SLICE], sum_dd[N_SLICE];
};

static const uint8_t *block_at(const struct dtype_info *d, const uint8_t *p, size_t i)
{
    return p + i / d->block_elems * d->block_bytes;
}

static void measure(const float *x, const float *y, size_t n, double *sum_xx, double *sum_dd)
{
    double xx = 0, dd = 0;
    for (size_t i = 0; i < n; i++) {
        double v = (double)x[i], d = (double)y[i] - v;
        xx += v * v;
        dd += d * d;
    }
    *sum_xx = xx;
    *sum_dd = dd;
}

static void *convert_slices(void *user)
{
    struct piece *p = user;
    float *x = mem_alloc(SLICE * sizeof *x), *y = mem_alloc(SLICE * sizeof *y);
    for (;;) {
        size_t s = atomic_fetch_add(&p->next, 1), at = s * SLICE;
        if (at >= p->n) break;
        size_t n = MIN((size_t)SLICE, p->n - at);
        uint8_t *out = p->out + (block_at(p->to, p->out, at) - p->out);
        p->from->decode(block_at(p->from, p->in, at), x, n);
        p->to->encode(x, out, n, NULL);
        p->to->decode(out, y, n);
        measure(x, y, n, &p->sum_xx[s], &p->sum_dd[s]);
    }
    free(x);
    free(y);
    return NULL;
}

/* With fewer threads than asked for, if the system has no more, the result is the same. */
static void convert_piece(struct piece *p, uint32_t n_thread)
{
    enum { MAX_HELPERS = 255 };
    pthread_t helper[MAX_HELPERS];
    uint32_t n = 0, most = (uint32_t)MIN((p->n + SLICE - 1) / SLICE, (size_t)n_thread);
    atomic_store(&p->next, 0);
    while (n + 1 < most && n < MAX_HELPERS && pthread_create(&helper[n], NULL, convert_slices, p) == 0) n++;
    convert_slices(p);
    while (n > 0) pthread_join(helper[--n], NULL);
}

/* The sums of a piece, in the order of its slices. */
static status add_sums(struct quantize_tensor *q, const struct piece *p, struct error *e)
{
    for (size_t s = 0; s * SLICE < p->n; s++) {
        q->sum_xx += p->sum_xx[s];
        q->sum_dd += p->sum_dd[s];
    }
    if (!isfinite(q->sum_xx))
        return fail(e, ERR_FORMAT,
                    "tensor %s holds infinities or NaN: the file is damaged, or was badly converted",
                    q->from->name);
    if (!isfinite(q->sum_dd))
        return fail(e, ERR_FORMAT, "tensor %s holds values too large for %s; --keep '%s' leaves it as it is",
                    q->from->name, p->to->name, q->from->name);
    return OK;
}

struct writing {
    struct gguf_writer *w;
    const struct quantize_job *job;
    struct piece *piece;
    uint64_t done;
};

static status advance(struct writing *t, uint64_t n, struct error *e)
{
    t->done += n;
    if (t->job->progress && !t->job->progress(t->job->ctx, t->done))
        return fail(e, ERR_CANCELLED, "stopped; nothing was written");
    return OK;
}

static status convert_tensor(struct writing *t, struct quantize_tensor *q, struct error *e)
{
    struct piece *p = t->piece;
    p->from = dtype_info((uint32_t)q->from->dtype);
    p->to = dtype_info((uint32_t)q->to);
    for (uint64_t at = 0; at < q->n; at += p->n) {
        p->in = block_at(p->from, q->from->data, at);
        p->n = (size_t)MIN((uint64_t)PIECE, q->n - at);
        convert_piece(p, t->job->n_thread);
        TRY(add_sums(q, p, e));
        TRY(gguf_writer_data(t->w, p->out, p->n / p->to->block_elems * p->to->block_bytes, e));
        TRY(advance(t, p->n, e));
    }
    return OK;
}

static status copy_tensor(struct writing *t, const struct quantize_tensor *q, struct error *e)
{
    for (size_t at = 0; at < q->n_bytes; at += COPY_BYTES) {
        TRY(gguf_writer_data(t->w, q->from->data + at, MIN((size_t)COPY_BYTES, q->n_bytes - at), e));
        TRY(advance(t, 0, e));
    }
    return advance(t, q->n, e);
}

/* All that the input says, but for what is now another: the type, and that it came in parts. */
static void declare(struct gguf_writer *w, const struct quantize_plan *p, const struct gguf *g)
{
    enum { QUANTIZATION_VERSION = 2 }; /* of the block layouts, counted by ggml */
    for (size_t i = 0; i < gguf_n_values(g); i++) {
        const struct gguf_value *v = gguf_value_at(g, i);
        if (strncmp(v->key, "split.", 6) != 0 && strcmp(v->key, "general.file_type") != 0 &&
            strcmp(v->key, "general.quantization_version") != 0)
            gguf_writer_value(w, v);
    }
    gguf_writer_u32(w, "general.file_type", p->recipe->file_type);
    gguf_writer_u32(w, "general.quantization_version", QUANTIZATION_VERSION);
    for (size_t i = 0; i < p->n_tensor; i++)
        gguf_writer_tensor(w, p->tensor[i].from->name, p->tensor[i].to, p->tensor[i].from->rank,
                           p->tensor[i].from->dim);
}

status quantize_write(struct quantize_plan *p, const struct gguf *g, const char *path,
                      const struct quantize_job *job, struct error *e)
{
    struct writing t = {.job = job};
    status s = gguf_writer_open(&t.w, path, e);
    if (s != OK) return s;
    t.piece = mem_zalloc(1, sizeof *t.piece);
    t.piece->out = mem_alloc(PIECE * sizeof(float));
    declare(t.w, p, g);
    s = gguf_writer_begin_data(t.w, e);
    for (size_t i = 0; i < p->n_tensor && s == OK; i++) {
        struct quantize_tensor *q = &p->tensor[i];
        q->sum_xx = q->sum_dd = 0;
        s = q->to == q->from->dtype ? copy_tensor(&t, q, e) : convert_tensor(&t, q, e);
    }
    if (s == OK) s = gguf_writer_finish(t.w, e);
    free(t.piece->out);
    free(t.piece);
    gguf_writer_close(t.w);
    return s;
}
