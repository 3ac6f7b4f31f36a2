/* Weights on the device: where they lie, and how they get there. The file's pages are copied into pinned
 * memory while the chunk before is on its way and is being rearranged; two of each. */
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/gpu_int.h"

enum { CHUNK_BYTES = 32 << 20, N_STAGE = 2 };

static status place_weight(struct gpu_weight *to, struct gpu_bump *b, const struct gpu_ops *ops,
                           const struct weight *w, struct error *e)
{
    const int64_t n_in = w->dim[w->rank - 1], n_out = w->rank >= 2 ? w->dim[w->rank - 2] : 1;
    const int64_t n_expert = w->rank == 3 ? w->dim[0] : 1;
    if (n_in > INT32_MAX || n_out > INT32_MAX || n_expert > INT32_MAX)
        return fail(e, ERR_LIMIT, "tensor %s is too large", w->name);
    *to = (struct gpu_weight){.n_expert = (uint32_t)n_expert};
    if (!ops->layout((uint32_t)w->dtype, (uint32_t)n_out, (uint32_t)n_in, &to->layout))
        return fail(e, ERR_UNSUPPORTED, "tensor %s: the %s backend has no matmul for %s", w->name,
                    ops->target, dtype_info((uint32_t)w->dtype)->name);
    to->m = (struct gpu_matrix){.type = (uint32_t)w->dtype,
                                .n_out = (uint32_t)n_out,
                                .n_in = to->layout.n_in,
                                .expert_bytes = to->layout.bytes};
    to->m.data = gpu_take(b, (size_t)n_expert, to->layout.bytes);
    return OK;
}

status gpu_weights_layout(struct gpu_weights *w, void *mem, const struct gpu_ops *ops,
                          const struct model_desc *m, struct error *e)
{
    struct gpu_bump b = {mem, 0};
    *w = (struct gpu_weights){.w = mem_zalloc(m->n_weight, sizeof *w->w),
                              .inv_freq = mem_zalloc(MAX(m->n_rope, 1u), sizeof *w->inv_freq)};
    for (uint32_t i = 1; i < m->n_weight; i++) TRY(place_weight(&w->w[i], &b, ops, &m->weight[i], e));
    for (uint32_t i = 0; i < m->n_rope; i++)
        w->inv_freq[i] = gpu_take(&b, m->rope[i].n_pair, sizeof **w->inv_freq);
    w->total_bytes = b.used;
    return OK;
}

void gpu_weights_deinit(struct gpu_weights *w)
{
    free(w->w);
    free(w->inv_freq);
    *w = (struct gpu_weights){0};
}

/* The two chunks under way. */
struct stage {
    const struct gpu_ops *ops;
    struct gpu *gpu;
    void *host[N_STAGE], *device[N_STAGE];
    unsigned turn;
    size_t bytes, done, total;
    backend_progress progress;
    void *user;
};

/* n bytes at from into the next pinned buffer, free again by now; then the device. */
static void *stage_host(struct stage *s, const void *from, size_t n)
{
    const unsigned i = s->turn % N_STAGE;
    if (s->turn >= N_STAGE) (void)s->ops->wait_mark(s->gpu, (int)i, NULL, 0);
    return memcpy(s->host[i], from, n);
}

static status stage_done(struct stage *s, size_t n, struct error *e)
{
    s->ops->mark(s->gpu, (int)(s->turn++ % N_STAGE));
    s->done += n;
    if (s->progress && !s->progress(s->user, s->done, s->total))
        return fail(e, ERR_CANCELLED, "loading was stopped");
    return OK;
}

static status upload_raw(struct stage *s, void *to, const void *from, size_t bytes, struct error *e)
{
    for (size_t at = 0; at < bytes; at += s->bytes) {
        size_t n = MIN(s->bytes, bytes - at);
        s->ops->copy_in(s->gpu, (uint8_t *)to + at, stage_host(s, (const uint8_t *)from + at, n), n);
        TRY(stage_done(s, n, e));
    }
    return OK;
}

/* One matrix of n_in columns, strips of rows at a time. */
static status upload_packed(struct stage *s, const struct gpu_weight *g, void *to, const uint8_t *from,
                            size_t row_bytes, uint32_t n_in, struct error *e)
{
    const uint32_t rows = (uint32_t)(s->bytes / (row_bytes * GPU_STRIP)) * GPU_STRIP;
    for (uint32_t row = 0; row < g->m.n_out; row += rows) {
        const uint32_t n = MIN(rows, g->m.n_out - row);
        void *device = s->device[s->turn % N_STAGE];
        s->ops->copy_in(s->gpu, device, stage_host(s, from + row * row_bytes, n * row_bytes), n * row_bytes);
        s->ops->pack(s->gpu,
                     &(struct gpu_pack){
                         .from = device, .to = to, .type = g->m.type, .row0 = row, .n_row = n, .n_in = n_in});
        TRY(stage_done(s, n * row_bytes, e));
    }
    return OK;
}

static status upload_one(struct stage *s, const struct gpu_weight *g, const struct weight *w, struct error *e)
{
    const size_t one = w->n_bytes / g->n_expert;
    /* The data is the backend's own memory; struct gpu_matrix is const for kernels. */
    uint8_t *to = (uint8_t *)(uintptr_t)g->m.data;
    if (!g->layout.packed) return upload_raw(s, to, w->data, w->n_bytes, e);
    for (uint32_t i = 0; i < g->n_expert; i++)
        TRY(upload_packed(s, g, to + i * g->m.expert_bytes, w->data + i * one, one / g->m.n_out,
                          (uint32_t)w->dim[w->rank - 1], e));
    return OK;
}

static status upload_all(struct stage *s, struct backend_model *bm, struct error *e)
{
    for (uint32_t i = 1; i < bm->m->n_weight; i++) TRY(upload_one(s, &bm->w.w[i], &bm->m->weight[i], e));
    for (uint32_t i = 0; i < bm->m->n_rope; i++)
        TRY(upload_raw(s, bm->w.inv_freq[i], bm->m->rope[i].inv_freq, bm->m->rope[i].n_pair * sizeof(float),
                       e));
    char why[200];
    if (!s->ops->sync(s->gpu, why, sizeof why)) return fail(e, ERR_DEVICE, "%s", why);
    return OK;
}

status gpu_weights_upload(struct backend_model *bm, backend_progress progress, void *user, struct error *e)
{
    struct stage s = {
        .ops = bm->b->ops, .gpu = bm->b->gpu, .bytes = CHUNK_BYTES, .progress = progress, .user = user};
    size_t largest = 0;
    status st = OK;
    for (uint32_t i = 1; i < bm->m->n_weight; i++) {
        const struct weight *w = &bm->m->weight[i];
        const struct gpu_weight *g = &bm->w.w[i];
        s.total += w->n_bytes;
        largest = MAX(largest, w->n_bytes);
        if (g->layout.packed) s.bytes = MAX(s.bytes, w->n_bytes / g->n_expert / g->m.n_out * GPU_STRIP);
    }
    for (uint32_t i = 0; i < bm->m->n_rope; i++) s.total += bm->m->rope[i].n_pair * sizeof(float);
    s.bytes = MIN(s.bytes, MAX(largest * GPU_STRIP, (size_t)GPU_ALIGN)); /* a small model needs no more */
    for (int i = 0; i < N_STAGE; i++) {
        s.host[i] = s.ops->host_alloc(s.gpu, s.bytes);
        s.device[i] = s.ops->alloc(s.gpu, s.bytes);
        if (!s.host[i] || !s.device[i])
            st = fail(e, ERR_MEMORY, "no memory for buffers of %.0f MiB to load weights through",
                      (double)s.bytes / 0x1p20);
    }
    if (st == OK) st = upload_all(&s, bm, e);
    char why[200];
    if (st != OK) (void)s.ops->sync(s.gpu, why, sizeof why); /* nothing may read the buffers any more */
    for (int i = 0; i < N_STAGE; i++) {
        if (s.host[i]) s.ops->host_release(s.gpu, s.host[i]);
        if (s.device[i]) s.ops->release(s.gpu, s.device[i]);
    }
    return st;
}
