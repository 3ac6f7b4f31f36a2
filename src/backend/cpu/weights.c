#include "backend/cpu/weights.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

enum { ALIGN = 64, STRIDE = 64 << 20 };

size_t weights_copy_bytes(const struct model_desc *m)
{
    size_t n = 0;
    for (uint32_t i = 1; i < m->n_weight; i++) n += round_up(m->weight[i].n_bytes, ALIGN);
    return n;
}

static bool fits_memory(size_t n)
{
    return n <= (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / 10 * 8;
}

/* Advice only: without it pages of the file come when they are touched, and go when others need the room. */
static void advise(const uint8_t *data, size_t n, int advice)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)data / page * page;
    (void)madvise((void *)from, (uintptr_t)data + n - from, advice);
}

/* Stride by stride with progress in between. Into `to`, or only into memory. */
static status bring(const struct weight *w, uint8_t *to, size_t *done, size_t total,
                    backend_progress progress, void *user, struct error *e)
{
    for (size_t at = 0; at < w->n_bytes; at += STRIDE) {
        size_t n = MIN((size_t)STRIDE, w->n_bytes - at);
        advise(w->data + at, n, MADV_POPULATE_READ);
        if (to) {
            memcpy(to + at, w->data + at, n);
            advise(w->data + at, n, MADV_PAGEOUT); /* never MADV_DONTNEED: it would empty pages of no file */
        }
        *done += n;
        if (progress && !progress(user, *done, total)) return fail(e, ERR_CANCELLED, "loading was stopped");
    }
    return OK;
}

static status copy(struct weights *w, const struct model_desc *m, backend_progress progress, void *user,
                   struct error *e)
{
    const size_t total = weights_copy_bytes(m);
    size_t used = 0, done = 0;
    if (pages_open(&w->pages, total, e) != OK) return fail_in(e, "weights that are not mapped");
    w->copied = mem_zalloc(m->n_weight, sizeof *w->copied);
    memcpy(w->copied, m->weight, m->n_weight * sizeof *w->copied);
    w->at = w->copied;
    for (uint32_t i = 1; i < m->n_weight; i++) {
        uint8_t *to = w->pages.data + used;
        TRY(bring(&m->weight[i], to, &done, total, progress, user, e));
        w->copied[i].data = to;
        used += round_up(m->weight[i].n_bytes, ALIGN);
    }
    return OK;
}

/* So that the first request does not pay for reading the file. Weights that do not fit are left to the
 * system's paging. */
static status read_ahead(const struct model_desc *m, backend_progress progress, void *user, struct error *e)
{
    size_t total = 0, done = 0;
    for (uint32_t i = 1; i < m->n_weight; i++) total += m->weight[i].n_bytes;
    if (!progress || !fits_memory(total)) return OK;
    for (uint32_t i = 1; i < m->n_weight; i++)
        TRY(bring(&m->weight[i], NULL, &done, total, progress, user, e));
    return OK;
}

/* A model whose weights cannot be locked runs as well, only perhaps not as steadily: a warning, as users of
 * llama.cpp know it. */
static void lock(struct weights *w, const struct model_desc *m)
{
    struct error e;
    size_t n = 0;
    if (!fits_memory(weights_copy_bytes(m))) {
        LOG(WARN, "cpu", "mlock", "not locked: the weights take most of this machine's memory");
        return;
    }
    w->locked = mem_zalloc(m->n_weight + 1, sizeof *w->locked);
    if (w->copied)
        w->locked[n++] = (struct span){w->pages.data, w->pages.n};
    else
        for (uint32_t i = 1; i < m->n_weight; i++)
            w->locked[n++] = (struct span){m->weight[i].data, m->weight[i].n_bytes};
    if (pages_lock(w->locked, &n, &e) == OK)
        w->n_locked = n;
    else
        LOG(WARN, "cpu", "mlock", "not locked: %s", e.msg);
}

status weights_load(struct weights *w, const struct model_desc *m, const struct backend_host *how,
                    backend_progress progress, void *user, struct error *e)
{
    *w = (struct weights){.at = m->weight};
    status s = how->copy ? copy(w, m, progress, user, e) : read_ahead(m, progress, user, e);
    if (s != OK)
        weights_unload(w);
    else if (how->lock)
        lock(w, m);
    return s;
}

void weights_unload(struct weights *w)
{
    pages_unlock(w->locked, w->n_locked);
    free(w->locked);
    free(w->copied);
    pages_close(&w->pages);
    *w = (struct weights){0};
}
