/* struct backend_api over a GPU target: cuda, and sim, the same kernels run on the CPU for tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gpu/gpu_int.h"
#include "base/clock.h"
#include "base/log.h"

enum { WHY = 200 };

static int target_count(const char *target, struct error *e)
{
    const struct gpu_ops *ops = gpu_target(target, e);
    char why[WHY] = "";
    if (!ops) return 0;
    int n = ops->count(why, sizeof why);
    if (n <= 0) (void)fail(e, ERR_DEVICE, "%s", why);
    return n;
}

static status target_info(const char *target, int device, struct backend_device *out, struct error *e)
{
    const struct gpu_ops *ops = gpu_target(target, e);
    struct gpu_info info;
    char why[WHY] = "";
    if (!ops) return ERR_UNSUPPORTED;
    if (!ops->info(device, &info, why, sizeof why)) return fail(e, ERR_DEVICE, "%s", why);
    *out = (struct backend_device){.memory_bytes = info.memory_bytes,
                                   .memory_free_bytes = info.memory_free_bytes,
                                   .n_core = info.n_core};
    snprintf(out->name, sizeof out->name, "%s", info.name);
    if (info.major)
        snprintf(out->detail, sizeof out->detail, "compute capability %d.%d; %s", info.major, info.minor,
                 ops->built);
    else
        snprintf(out->detail, sizeof out->detail, "%s, for tests; very slow", ops->built);
    return OK;
}

static status target_open(const char *target, struct backend **out, const struct backend_options *o,
                          struct error *e)
{
    const struct gpu_ops *ops = gpu_target(target, e);
    char why[WHY] = "";
    *out = NULL;
    if (!ops) return ERR_UNSUPPORTED;
    if (o->device == BACKEND_NO_DEVICE) {
        *out = mem_zalloc(1, sizeof **out);
        **out = (struct backend){.ops = ops, .device = o->device};
        return OK;
    }
    const int n = ops->count(why, sizeof why);
    if (n <= 0) return fail(e, ERR_DEVICE, "%s: %s", target, why);
    if (o->device < 0 || o->device >= n)
        return fail(e, ERR_ARG, "%s: there is no device %d: %d of them, from 0, can be used (corral doctor)",
                    target, o->device, n);
    struct gpu *gpu = ops->open(o->device, why, sizeof why);
    if (!gpu) return fail(e, ERR_DEVICE, "%s: %s", target, why);
    *out = mem_zalloc(1, sizeof **out);
    **out = (struct backend){.ops = ops, .gpu = gpu, .device = o->device, .deterministic = o->deterministic};
    return OK;
}

static void gpu_close(struct backend *b)
{
    if (!b) return;
    if (b->gpu) b->ops->close(b->gpu);
    free(b);
}

static status gpu_plan(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                       struct backend_plan *out, struct error *e)
{
    struct kv_layout kv;
    struct gpu_sizes s;
    TRY(kv_layout_init(&kv, &m->cfg, l->kv_type, e));
    TRY(gpu_sizes(&s, b->ops, m, l, e));
    *out = (struct backend_plan){.weight_bytes = s.weight_bytes,
                                 .scratch_bytes = s.scratch_bytes + s.input_bytes,
                                 .kv_block_bytes = kv.block_bytes};
    return OK;
}

static status out_of_memory(const struct backend *b, size_t wanted, const char *what, struct error *e)
{
    struct gpu_info info = {0};
    char why[WHY] = "";
    (void)b->ops->info(b->device, &info, why, sizeof why);
    return fail(e, ERR_MEMORY, "%s: %s need %.1f MiB on the device, %.1f of its %.1f MiB are free",
                b->ops->target, what, (double)wanted / 0x1p20, (double)info.memory_free_bytes / 0x1p20,
                (double)info.memory_bytes / 0x1p20);
}

static void gpu_unload(struct backend_model *bm)
{
    if (!bm) return;
    const struct gpu_ops *ops = bm->b->ops;
    struct gpu *gpu = bm->b->gpu;
    char why[WHY];
    (void)ops->sync(gpu, why, sizeof why); /* nothing runs on in what is released now */
    for (uint32_t i = 0; i < bm->n_kept; i++) ops->graph_free(gpu, bm->kept[i].graph);
    void *const device[] = {bm->weight_mem, bm->scratch_mem, bm->input_mem};
    void *const host[] = {bm->input_host[0], bm->input_host[1], bm->logits_host, bm->hidden_host,
                          bm->draws_mem};
    for (size_t i = 0; i < COUNT_OF(device); i++)
        if (device[i]) ops->release(gpu, device[i]);
    for (size_t i = 0; i < COUNT_OF(host); i++)
        if (host[i]) ops->host_release(gpu, host[i]);
    gpu_weights_deinit(&bm->w);
    free(bm);
}

static status allocate(struct backend_model *bm, const struct gpu_sizes *s, struct error *e)
{
    const struct gpu_ops *ops = bm->b->ops;
    struct gpu *gpu = bm->b->gpu;
    const struct model_config *c = &bm->m->cfg;
    bm->weight_mem = ops->alloc(gpu, s->weight_bytes);
    bm->scratch_mem = ops->alloc(gpu, s->scratch_bytes);
    bm->input_mem = ops->alloc(gpu, s->input_bytes);
    if (!bm->weight_mem || !bm->scratch_mem || !bm->input_mem) {
        char what[96];
        snprintf(what, sizeof what, "weights (%.1f MiB) and working memory (%.1f MiB)",
                 (double)s->weight_bytes / 0x1p20, (double)(s->scratch_bytes + s->input_bytes) / 0x1p20);
        return out_of_memory(bm->b, s->weight_bytes + s->scratch_bytes + s->input_bytes, what, e);
    }
    for (int i = 0; i < 2; i++) bm->input_host[i] = ops->host_alloc(gpu, s->input_bytes);
    bm->logits_host =
        ops->host_alloc(gpu, MAX((size_t)bm->lim.max_logits * c->n_vocab, (size_t)1) * sizeof(float));
    bm->hidden_host = ops->host_alloc(gpu, (size_t)bm->lim.max_tokens * c->n_embd * sizeof(float));
    gpu_draws_host_layout(&bm->draws, NULL, bm->m, &bm->lim);
    bm->draws_mem = ops->host_alloc(gpu, bm->draws.total_bytes);
    if (!bm->input_host[0] || !bm->input_host[1] || !bm->logits_host || !bm->hidden_host || !bm->draws_mem)
        return fail(e, ERR_MEMORY, "%s: no pinned host memory for the results of a step", ops->target);
    gpu_draws_host_layout(&bm->draws, bm->draws_mem, bm->m, &bm->lim);
    return OK;
}

/* Products of steps with many tokens are faster with NVIDIA's library; it is large, so it is opened here. */
static void ask_for_library(struct backend *b)
{
    char what[WHY] = "";
    if (b->library_asked) return;
    b->library_asked = true;
    if (b->ops->library(b->gpu, what, sizeof what))
        LOG(INFO, "gpu", "cublaslt", "%s", what);
    else if (*what)
        LOG(WARN, "gpu", "cublaslt", "long prompts are left to Corral's own kernels: %s", what);
}

static status gpu_load(struct backend_model **out, struct backend *b, const struct model_desc *m,
                       const struct backend_limits *l, backend_progress progress, void *user, struct error *e)
{
    struct gpu_sizes sizes;
    struct kv_layout kv;
    *out = NULL;
    if (!b->gpu) return fail(e, ERR_ARG, "%s was opened only to plan", b->ops->target);
    TRY(kv_layout_init(&kv, &m->cfg, l->kv_type, e));
    TRY(gpu_sizes(&sizes, b->ops, m, l, e));
    struct backend_model *bm = mem_zalloc(1, sizeof *bm);
    *bm = (struct backend_model){.b = b, .m = m, .lim = *l, .kv = kv};
    status st = allocate(bm, &sizes, e);
    if (st == OK) {
        gpu_scratch_layout(&bm->s, bm->scratch_mem, b->ops, m, l);
        b->ops->zero(b->gpu, bm->scratch_mem,
                     sizes.scratch_bytes); /* the padding of activations stays zero */
        st = gpu_weights_layout(&bm->w, bm->weight_mem, b->ops, m, e);
    }
    if (st == OK) st = gpu_weights_upload(bm, progress, user, e);
    if (st == OK && bm->s.room) ask_for_library(b);
    if (st == OK)
        *out = bm;
    else
        gpu_unload(bm);
    return st;
}

static status gpu_kv_open(struct backend_kv **out, struct backend_model *m, uint32_t n_block, struct error *e)
{
    size_t bytes;
    *out = NULL;
    if (n_block >= UINT32_MAX / KV_BLOCK_TOKENS || !checked_mul((size_t)n_block, m->kv.block_bytes, &bytes))
        return fail(e, ERR_LIMIT, "%u KV blocks are too many", n_block);
    uint8_t *mem = m->b->ops->alloc(m->b->gpu, MAX(bytes, (size_t)1));
    if (!mem) return out_of_memory(m->b, bytes, "the blocks of the KV cache", e);
    *out = mem_zalloc(1, sizeof **out);
    **out = (struct backend_kv){.m = m, .mem = mem, .n_block = n_block};
    return OK;
}

static status device_lost(const struct backend *b, const char *why, struct error *e)
{
    return fail(e, ERR_DEVICE, "%s: %s; the device must be opened again", b->ops->target, why);
}

static status synced(const struct backend *b, struct error *e)
{
    char why[WHY] = "";
    return b->ops->sync(b->gpu, why, sizeof why) ? OK : device_lost(b, why, e);
}

static void gpu_kv_close(struct backend_kv *kv)
{
    struct error e;
    if (!kv) return;
    struct backend_model *m = kv->m;
    (void)synced(m->b, &e);
    for (uint32_t i = 0; i < m->n_kept; i++) m->kept[i].kv = m->kept[i].kv == kv ? NULL : m->kept[i].kv;
    m->b->ops->release(m->b->gpu, kv->mem);
    free(kv);
}

static status check_block(const struct backend_kv *kv, uint32_t block, struct error *e)
{
    return block < kv->n_block ? OK : fail(e, ERR_ARG, "no KV block %u: the pool has %u", block, kv->n_block);
}

static status gpu_kv_copy(struct backend_kv *kv, const struct kv_copy *list, uint32_t n, struct error *e)
{
    const size_t bytes = kv->m->kv.block_bytes;
    for (uint32_t i = 0; i < n; i++) {
        TRY(check_block(kv, list[i].from, e));
        TRY(check_block(kv, list[i].to, e));
        if (list[i].from != list[i].to)
            kv->m->b->ops->copy(kv->m->b->gpu, kv->mem + list[i].to * bytes, kv->mem + list[i].from * bytes,
                                bytes);
    }
    return OK;
}

static status gpu_kv_read(struct backend_kv *kv, uint32_t block, void *to, struct error *e)
{
    const size_t bytes = kv->m->kv.block_bytes;
    TRY(check_block(kv, block, e));
    kv->m->b->ops->copy_out(kv->m->b->gpu, to, kv->mem + block * bytes, bytes);
    return synced(kv->m->b, e);
}

static status gpu_kv_write(struct backend_kv *kv, uint32_t block, const void *from, struct error *e)
{
    const size_t bytes = kv->m->kv.block_bytes;
    TRY(check_block(kv, block, e));
    kv->m->b->ops->copy_in(kv->m->b->gpu, kv->mem + block * bytes, from, bytes);
    return synced(kv->m->b, e);
}

static status check_draws(const struct backend_model *bm, const struct batch *b, struct error *e)
{
    for (uint32_t i = 0; i < b->n_seq; i++) {
        const struct sample_program *p = b->seq[i].draw;
        if (!p) continue;
        if (!gpu_draws_possible(bm->m))
            return fail(e, ERR_UNSUPPORTED, "the %s backend draws from up to %d tokens, this model has %u",
                        bm->b->ops->target, PROGRAM_MAX_VOCAB, bm->m->cfg.n_vocab);
        if (b->seq[i].n_logits != 1 || p->n_op > PROGRAM_OPS || p->n_top > PROGRAM_TOP ||
            (uint64_t)p->n_bias + p->n_forbid + p->n_penalty > PROGRAM_EDITS)
            return fail(e, ERR_ARG,
                        "sequence %u: a draw from %u rows, %u operations, %u alternatives, %u edits", i,
                        b->seq[i].n_logits, p->n_op, p->n_top, p->n_bias + p->n_forbid + p->n_penalty);
    }
    return OK;
}

/* One step may follow another that is not waited for, as long as nothing that one brings is in its way. */
static status may_queue(struct backend_model *bm, struct error *e)
{
    const struct gpu_queued *last = gpu_step_last(bm);
    if (bm->n_queued > 1) return fail(e, ERR_BUSY, "two steps are queued already: wait for the first");
    if (bm->n_queued && (!last->complete || last->n_row != last->n_draw || last->n_hidden))
        return fail(e, ERR_BUSY, "the step that is queued wants more than draws without masks: wait for it");
    return OK;
}

static status gpu_step(struct backend_model *bm, struct backend_kv *kv, const struct batch *b,
                       uint64_t *ticket, struct error *e)
{
    TRY(may_queue(bm, e));
    TRY(batch_check(b, bm->m, &bm->lim, kv->n_block, gpu_step_last(bm)->n_draw, e));
    TRY(check_draws(bm, b, e));
    *ticket = ++bm->ticket;
    gpu_step_queue(bm, kv, b);
    bm->n_queued++;
    return OK;
}

static status gpu_wait(struct backend_model *bm, uint64_t ticket, struct step_result *out, struct error *e)
{
    const struct gpu_queued *q = &bm->step[ticket % 2];
    char why[WHY] = "";
    if (!bm->n_queued || ticket != bm->ticket - bm->n_queued + 1)
        return fail(e, ERR_ARG, "step %llu is not the first that is queued", (unsigned long long)ticket);
    bm->n_queued--;
    if (!q->complete) gpu_step_complete(bm); /* then it is the last one */
    const bool well = bm->b->ops->wait_mark(bm->b->gpu, (int)(ticket % 2), why, sizeof why);
    const int64_t began_ns = MAX(q->started_ns, bm->ended_ns);
    bm->ended_ns = clock_ns();
    if (!well) return device_lost(bm->b, why, e);
    *out = (struct step_result){.logits = bm->logits_host,
                                .n_row = q->n_row,
                                .drawn = bm->draws.answer[ticket % 2],
                                .n_drawn = q->n_draw,
                                .hidden = bm->hidden_host,
                                .n_hidden = q->n_hidden,
                                .elapsed_ns = bm->ended_ns - began_ns};
    return OK;
}

/* A target's table: the same functions but for the three that have no open device to tell them which it is.
 */
#define GPU_BACKEND(target)                                                                                  \
    static int target##_count(struct error *e)                                                               \
    {                                                                                                        \
        return target_count(#target, e);                                                                     \
    }                                                                                                        \
    static status target##_info(int device, struct backend_device *out, struct error *e)                     \
    {                                                                                                        \
        return target_info(#target, device, out, e);                                                         \
    }                                                                                                        \
    static status target##_open(struct backend **out, const struct backend_options *o, struct error *e)      \
    {                                                                                                        \
        return target_open(#target, out, o, e);                                                              \
    }                                                                                                        \
    const struct backend_api backend_##target = {.abi = BACKEND_ABI,                                         \
                                                 .name = #target,                                            \
                                                 .count = target##_count,                                    \
                                                 .info = target##_info,                                      \
                                                 .open = target##_open,                                      \
                                                 .close = gpu_close,                                         \
                                                 .plan = gpu_plan,                                           \
                                                 .load = gpu_load,                                           \
                                                 .unload = gpu_unload,                                       \
                                                 .kv_open = gpu_kv_open,                                     \
                                                 .kv_close = gpu_kv_close,                                   \
                                                 .kv_copy = gpu_kv_copy,                                     \
                                                 .kv_read = gpu_kv_read,                                     \
                                                 .kv_write = gpu_kv_write,                                   \
                                                 .step = gpu_step,                                           \
                                                 .wait = gpu_wait,                                           \
                                                 .draws = true,                                              \
                                                 .ahead = true}

GPU_BACKEND(cuda);
GPU_BACKEND(sim);
