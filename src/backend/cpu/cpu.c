/* The CPU backend: weights are used where they lie in the mapped file, a step runs on a crew of threads.
 *
 * The thread that calls `wait` is one of the crew, so the work of a step is done inside wait: `step` only
 * checks and remembers the batch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    **out = (struct backend){.k = cpu_kernels(), .crew = crew, .host = o->host};
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
    scratch_layout(&s, NULL, m, l, b);
    *out = (struct backend_plan){.kv_block_bytes = kv.block_bytes, .scratch_bytes = s.total_bytes};
    if (b->host.copy)
        out->weight_bytes = weights_copy_bytes(m);
    else
        for (uint32_t i = 1; i < m->n_weight; i++) out->mapped_bytes += m->weight[i].n_bytes;
    return OK;
}

static void cpu_unload(struct backend_model *m)
{
    if (!m) return;
    weights_unload(&m->weights);
    pages_close(&m->mem);
    free(m);
}

static status cpu_load(struct backend_model **out, struct backend *b, const struct model_desc *m,
                       const struct backend_limits *l, backend_progress progress, void *user, struct error *e)
{
    struct kv_layout kv;
    *out = NULL;
    TRY(layout_kv(&kv, m, l, e));
    TRY(check_weights(b, m, e));
    struct backend_model *bm = mem_zalloc(1, sizeof *bm);
    *bm = (struct backend_model){.b = b, .m = m, .lim = *l, .kv = kv};
    scratch_layout(&bm->s, NULL, m, l, b);
    status s = pages_open(&bm->mem, bm->s.total_bytes, e);
    if (s != OK) s = fail_in(e, "scratch memory");
    if (s == OK) s = weights_load(&bm->weights, m, &b->host, progress, user, e);
    if (s != OK) {
        cpu_unload(bm);
        return s;
    }
    scratch_layout(&bm->s, bm->mem.data, m, l, b);
    for (uint32_t i = 0; i < m->n_op; i++)
        if (m->op[i].kind == OP_LOGITS) bm->fine = weight_of(bm, m->op[i].logits.out.weight);
    *out = bm;
    return OK;
}

static status cpu_kv_open(struct backend_kv **out, struct backend_model *m, uint32_t n_block, struct error *e)
{
    struct pages mem;
    size_t bytes;
    *out = NULL;
    if (!checked_mul((size_t)n_block, m->kv.block_bytes, &bytes) || pages_open(&mem, bytes, e) != OK)
        return fail(e, ERR_MEMORY, "no memory for %u KV blocks of %zu bytes", n_block, m->kv.block_bytes);
    *out = mem_zalloc(1, sizeof **out);
    **out = (struct backend_kv){.m = m, .mem = mem, .n_block = n_block};
    return OK;
}

static void cpu_kv_close(struct backend_kv *kv)
{
    if (!kv) return;
    pages_close(&kv->mem);
    free(kv);
}

static status cpu_kv_copy(struct backend_kv *kv, const struct kv_copy *list, uint32_t n, struct error *e)
{
    return kv_blocks_copy(kv->mem.data, kv->n_block, &kv->m->kv, list, n, e);
}

static status cpu_kv_read(struct backend_kv *kv, uint32_t block, void *to, struct error *e)
{
    return kv_block_read(kv->mem.data, kv->n_block, &kv->m->kv, block, to, e);
}

static status cpu_kv_write(struct backend_kv *kv, uint32_t block, const void *from, struct error *e)
{
    return kv_block_write(kv->mem.data, kv->n_block, &kv->m->kv, block, from, e);
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
