/* The CPU backend: weights are used where they lie in the mapped file, a step runs on a crew of threads.
 *
 * The thread that calls `wait` is one of the crew, so the work of a step is done inside wait: `step` only
 * checks and remembers the batch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/cpu/cpu_int.h"
#include "base/clock.h"

static int cpu_count(struct error *e)
{
    return 1;
}

static void cpu_model_name(char *out, size_t n)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, n, "CPU");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, n, "%s", colon + 2);
        break;
    }
    if (f) fclose(f);
}

static status cpu_info(int device, struct backend_device *out, struct error *e)
{
    *out = (struct backend_device){.n_core = crew_usable_cores()};
    cpu_model_name(out->name, sizeof out->name);
    snprintf(out->detail, sizeof out->detail, "%s kernels%s", cpu_kernels()->name,
             cpu_kernels()->emulated ? ", so far tested under emulation only" : "");
    out->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    out->memory_free_bytes = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return OK;
}

static status cpu_open(struct backend **out, const struct backend_options *o, struct error *e)
{
    struct crew *crew;
    *out = NULL;
    TRY(crew_new(&crew, o->n_thread ? o->n_thread : crew_usable_cores(), e));
    *out = mem_zalloc(1, sizeof **out);
    **out = (struct backend){.k = cpu_kernels(), .crew = crew};
    return OK;
}

static void cpu_close(struct backend *b)
{
    if (!b) return;
    crew_free(b->crew);
    free(b);
}

static status check_weights(const struct backend *b, const struct model_desc *m, struct error *e)
{
    for (uint32_t i = 1; i < m->n_weight; i++) {
        const struct weight *w = &m->weight[i];
        if (!b->k->matmul[w->dtype].dot)
            return fail(e, ERR_UNSUPPORTED, "tensor %s: the cpu backend has no matmul for %s", w->name,
                        dtype_info(w->dtype)->name);
        if (w->rank == 1 && (uintptr_t)w->data % sizeof(float) != 0)
            return fail(e, ERR_FORMAT, "tensor %s: its data is not aligned to 4 bytes", w->name);
    }
    return OK;
}

static status layout_kv(struct kv_layout *kv, const struct model_desc *m, const struct backend_limits *l,
                        struct error *e)
{
    TRY(kv_layout_init(kv, &m->cfg, l->kv_type, e));
    if (l->kv_type == DT_BF16 || l->kv_type == DT_FP8)
        return fail(e, ERR_UNSUPPORTED, "the cpu backend has no KV type %s: f16, f32 and q8_0 are there",
                    dtype_info((uint32_t)l->kv_type)->name);
    return OK;
}

static status cpu_plan(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                       struct backend_plan *out, struct error *e)
{
    struct kv_layout kv;
    struct scratch s;
    TRY(layout_kv(&kv, m, l, e));
    TRY(check_weights(b, m, e));
    scratch_layout(&s, NULL, m, l, crew_n_thread(b->crew));
    *out = (struct backend_plan){.kv_block_bytes = kv.block_bytes, .scratch_bytes = s.total_bytes};
    for (uint32_t i = 1; i < m->n_weight; i++) out->mapped_bytes += m->weight[i].n_bytes;
    return OK;
}

/* Bring the mapped weights into memory, stride by stride with progress in between, so that the first request
 * does not pay for reading the file. Weights that do not fit are left to the kernel's paging. */
static status read_ahead(const struct model_desc *m, backend_progress progress, void *user, struct error *e)
{
    const size_t stride = (size_t)64 << 20, page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t memory = (size_t)sysconf(_SC_PHYS_PAGES) * page;
    size_t total = 0, done = 0;
    for (uint32_t i = 1; i < m->n_weight; i++) total += m->weight[i].n_bytes;
    if (!progress || total > memory / 10 * 8) return OK;
    for (uint32_t i = 1; i < m->n_weight; i++) {
        const struct weight *w = &m->weight[i];
        for (size_t at = 0; at < w->n_bytes; at += stride) {
            size_t n = MIN(stride, w->n_bytes - at);
            uintptr_t from = (uintptr_t)(w->data + at) / page * page;
            /* Advice only: without it the pages come when they are touched. */
            (void)madvise((void *)from, (uintptr_t)(w->data + at + n) - from, MADV_POPULATE_READ);
            done += n;
            if (!progress(user, done, total)) return fail(e, ERR_CANCELLED, "loading was stopped");
        }
    }
    return OK;
}

static status cpu_load(struct backend_model **out, struct backend *b, const struct model_desc *m,
                       const struct backend_limits *l, backend_progress progress, void *user, struct error *e)
{
    struct kv_layout kv;
    struct scratch s;
    *out = NULL;
    TRY(layout_kv(&kv, m, l, e));
    TRY(check_weights(b, m, e));
    TRY(read_ahead(m, progress, user, e));
    scratch_layout(&s, NULL, m, l, crew_n_thread(b->crew));
    void *mem = NULL;
    if (posix_memalign(&mem, 64, s.total_bytes) != 0)
        return fail(e, ERR_MEMORY, "no memory for %.1f MiB of scratch space", (double)s.total_bytes / 0x1p20);
    scratch_layout(&s, mem, m, l, crew_n_thread(b->crew));
    *out = mem_zalloc(1, sizeof **out);
    **out = (struct backend_model){.b = b, .m = m, .lim = *l, .kv = kv, .mem = mem, .s = s};
    for (uint32_t i = 0; i < m->n_op; i++)
        if (m->op[i].kind == OP_LOGITS) (*out)->fine = weight_of(*out, m->op[i].logits.out.weight);
    return OK;
}

static void cpu_unload(struct backend_model *m)
{
    if (!m) return;
    free(m->mem);
    free(m);
}

static status cpu_kv_open(struct backend_kv **out, struct backend_model *m, uint32_t n_block, struct error *e)
{
    uint8_t *mem = mem_try(n_block, m->kv.block_bytes);
    *out = NULL;
    if (!mem)
        return fail(e, ERR_MEMORY, "no memory for %u KV blocks of %zu bytes", n_block, m->kv.block_bytes);
    *out = mem_zalloc(1, sizeof **out);
    **out = (struct backend_kv){.m = m, .mem = mem, .n_block = n_block};
    return OK;
}

static void cpu_kv_close(struct backend_kv *kv)
{
    if (!kv) return;
    free(kv->mem);
    free(kv);
}

static status cpu_kv_copy(struct backend_kv *kv, const struct kv_copy *list, uint32_t n, struct error *e)
{
    return kv_blocks_copy(kv->mem, kv->n_block, &kv->m->kv, list, n, e);
}

static status cpu_kv_read(struct backend_kv *kv, uint32_t block, void *to, struct error *e)
{
    return kv_block_read(kv->mem, kv->n_block, &kv->m->kv, block, to, e);
}

static status cpu_kv_write(struct backend_kv *kv, uint32_t block, const void *from, struct error *e)
{
    return kv_block_write(kv->mem, kv->n_block, &kv->m->kv, block, from, e);
}

static status cpu_step(struct backend_model *bm, struct backend_kv *kv, const struct batch *b,
                       uint64_t *ticket, struct error *e)
{
    if (bm->queued) return fail(e, ERR_BUSY, "a step is queued already: wait for it first");
    TRY(batch_check(b, bm->m, &bm->lim, kv->n_block, 0, e));
    bm->queued = b;
    bm->queued_kv = kv;
    *ticket = ++bm->ticket;
    return OK;
}

static status cpu_wait(struct backend_model *bm, uint64_t ticket, struct step_result *out, struct error *e)
{
    if (!bm->queued || ticket != bm->ticket)
        return fail(e, ERR_ARG, "no step %llu is waiting", (unsigned long long)ticket);
    int64_t start = clock_ns();
    step_run(bm);
    bm->queued = NULL;
    *out = (struct step_result){.logits = bm->s.logits,
                                .n_row = bm->n_row,
                                .hidden = bm->s.y,
                                .n_hidden = bm->n_hidden,
                                .elapsed_ns = clock_ns() - start};
    return OK;
}

const struct backend_api backend_cpu = {
    .abi = BACKEND_ABI,
    .name = "cpu",
    .count = cpu_count,
    .info = cpu_info,
    .open = cpu_open,
    .close = cpu_close,
    .plan = cpu_plan,
    .load = cpu_load,
    .unload = cpu_unload,
    .kv_open = cpu_kv_open,
    .kv_close = cpu_kv_close,
    .kv_copy = cpu_kv_copy,
    .kv_read = cpu_kv_read,
    .kv_write = cpu_kv_write,
    .step = cpu_step,
    .wait = cpu_wait,
    .profile = stage_profile,
};
