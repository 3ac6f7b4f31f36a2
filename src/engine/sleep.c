#include "engine/sleep.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* Weights that are used where they lie in the file: let their pages go. Only advice. */
static void page_out_weights(const struct model_desc *m)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (uint32_t i = 1; i < m->n_weight; i++) {
        uintptr_t from = ((uintptr_t)m->weight[i].data + page - 1) / page * page,
                  to = ((uintptr_t)m->weight[i].data + m->weight[i].n_bytes) / page * page;
        if (from < to) (void)madvise((void *)from, to - from, MADV_PAGEOUT);
    }
}

/* The blocks worth keeping, to host memory. What cannot be read is forgotten with the rest. */
static void save_blocks(struct engine *en)
{
    struct error e;
    kv_clear_below(en->kv, KV_WORKSPACE);
    uint32_t *id = mem_alloc(kv_n_block(en->kv) * sizeof *id), n = kv_list_cached(en->kv, id);
    en->saved = (struct saved_blocks){.id = id, .n = n};
    if (n) en->saved.data = mem_try(n, en->plan.kv_block_bytes);
    for (uint32_t i = 0; i < n; i++) {
        if (en->saved.data &&
            en->api->kv_read(en->kv_mem, id[i], en->saved.data + i * en->plan.kv_block_bytes, &e) == OK)
            continue;
        LOG(WARN, "engine", "sleep", "kept=0 of=%u", n);
        kv_clear(en->kv);
        sleep_forget(en);
        return;
    }
}

void sleep_forget(struct engine *en)
{
    free(en->saved.id);
    free(en->saved.data);
    en->saved = (struct saved_blocks){0};
}

void sleep_begin(struct engine *en)
{
    save_blocks(en);
    en->api->kv_close(en->kv_mem);
    en->api->unload(en->model);
    en->kv_mem = NULL;
    en->model = NULL;
    if (en->draft_model) draft_model_sleep(en->draft_model);
    page_out_weights(en->m);
    LOG(INFO, "engine", "sleep", "kept_blocks=%u", en->saved.n);
}

status sleep_end(struct engine *en, struct error *e)
{
    int64_t start = clock_ns();
    TRY(en->api->load(&en->model, en->backend, en->m, &en->lim, NULL, NULL, e));
    status s = en->api->kv_open(&en->kv_mem, en->model, kv_n_block(en->kv), e);
    for (uint32_t i = 0; i < en->saved.n && s == OK; i++)
        s = en->api->kv_write(en->kv_mem, en->saved.id[i], en->saved.data + i * en->plan.kv_block_bytes, e);
    if (s != OK) {
        if (en->kv_mem) en->api->kv_close(en->kv_mem);
        en->api->unload(en->model);
        en->kv_mem = NULL;
        en->model = NULL;
        return s;
    }
    sleep_forget(en);
    if (en->draft_model && draft_model_wake(en->draft_model, e) != OK) {
        LOG(ERROR, "engine", "wake", "no draft model any more: %s", e->msg);
        draft_model_free(en->draft_model);
        en->draft_model = NULL;
    }
    LOG(INFO, "engine", "wake", "ms=%.1f", (double)(clock_ns() - start) / 1e6);
    return OK;
}
