#include "engine/memory.h"

#include <unistd.h>

#include "base/log.h"

static uint64_t host_bytes(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Has the device memory of its own, and how much of that is free now? */
static bool own_memory(const struct backend_share *on, uint64_t *free_bytes)
{
    struct backend_device d;
    struct error e;
    if (on->api->info(on->device, &d, &e) != OK || !d.memory_bytes || d.memory_bytes == host_bytes())
        return false;
    *free_bytes = d.memory_free_bytes;
    return true;
}

struct backend_share memory_draft_device(const struct engine_options *o)
{
    return o->n_share ? o->share[0] : (struct backend_share){.api = o->api, .device = o->device};
}

/* Weights, scratch memory and cache of a draft model, as draft_model_new will ask for them. */
static uint64_t draft_bytes(const struct engine *en, const struct engine_options *o)
{
    const struct backend_share on = memory_draft_device(o);
    struct backend_limits l = en->lim;
    struct backend_plan p;
    struct backend *b;
    struct error e;
    if (!o->draft || !o->max_draft) return 0;
    const struct backend_options plan_only = {.device = BACKEND_NO_DEVICE, .n_thread = o->n_thread};
    if (on.api->open(&b, &plan_only, &e) != OK) return 0; /* opening it will say why */
    l.max_logits = l.max_seqs;
    l.max_context = MIN(l.max_context, o->draft->cfg.n_ctx_train);
    status s = on.api->plan(b, o->draft, &l, &p, &e);
    on.api->close(b);
    if (s != OK) return 0;
    const uint64_t per_seq = (l.max_context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    return (uint64_t)p.weight_bytes + p.scratch_bytes + per_seq * l.max_seqs * p.kv_block_bytes;
}

/* The parts of the model, and which of them share memory: those of a device, and all without memory of their
 * own, which is the host's. */
struct parts {
    struct backend_part part[BACKEND_MAX_SHARES];
    uint32_t n;
};

static status find_parts(struct parts *p, struct engine *en, struct error *e)
{
    return backend_parts(en->api, en->backend, en->device, en->m, &en->lim, p->part, &p->n, e);
}

static bool same_memory(const struct backend_share *a, const struct backend_share *b)
{
    uint64_t x;
    if (a->api == b->api && a->device == b->device) return true;
    return !own_memory(a, &x) && !own_memory(b, &x);
}

/* Blocks that there is memory for where the model's parts have still to be loaded (o), or are there. Of a
 * GPU's own memory the cache may have most of what the models leave free; of the host's, where others live
 * too, a quarter. */
static uint64_t room_for_blocks(const struct engine *en, const struct parts *p,
                                const struct engine_options *o)
{
    const struct backend_share draft = o ? memory_draft_device(o) : (struct backend_share){0};
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < p->n; i++) {
        uint64_t models = 0, each = 0, room;
        for (uint32_t k = 0; k < p->n; k++) {
            const struct backend_plan *plan = &p->part[k].plan;
            if (!same_memory(&p->part[i].on, &p->part[k].on)) continue;
            models += (uint64_t)plan->weight_bytes + plan->scratch_bytes;
            each += plan->kv_block_bytes;
        }
        if (!own_memory(&p->part[i].on, &room)) {
            room = host_bytes() / 4;
        } else {
            if (o && same_memory(&draft, &p->part[i].on)) models += draft_bytes(en, o);
            if (!o) models = 0;
            room = room > models ? (room - models) / 10 * 9 : 0;
        }
        least = MIN(least, room / each);
    }
    return least;
}

status memory_size_kv(struct engine *en, const struct engine_options *o, uint32_t *n_block, struct error *e)
{
    const size_t each = en->plan.kv_block_bytes;
    const uint64_t per_seq = (en->lim.max_context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    uint64_t want = per_seq * en->lim.max_seqs, have;
    if (o->kv_bytes) {
        have = o->kv_bytes / each;
    } else {
        struct parts parts;
        TRY(find_parts(&parts, en, e));
        have = MIN(want, room_for_blocks(en, &parts, o));
    }
    have = MIN(have, (uint64_t)UINT32_MAX);
    if (have < per_seq) {
        if (o->max_context || have == 0)
            return fail(e, ERR_LIMIT,
                        "a context of %u tokens needs %.1f MiB of KV cache, %.1f MiB are allowed: lower the "
                        "context or "
                        "choose a smaller KV type",
                        en->lim.max_context, (double)per_seq * (double)each / 0x1p20,
                        (double)have * (double)each / 0x1p20);
        en->lim.max_context = (uint32_t)have * KV_BLOCK_TOKENS;
        LOG(WARN, "engine", "context",
            "reduced to %u tokens: there is no room for a larger KV cache (--kv-bytes, --kv-type)",
            en->lim.max_context);
    }
    *n_block = (uint32_t)have;
    return OK;
}

static bool any_own_memory(const struct parts *p)
{
    uint64_t room;
    for (uint32_t i = 0; i < p->n; i++)
        if (own_memory(&p->part[i].on, &room)) return true;
    return false;
}

status memory_load(struct engine *en, const struct engine_options *o, struct error *e)
{
    const uint32_t least = en->lim.max_seqs + KV_BLOCK_TOKENS;
    for (;;) {
        struct parts parts;
        status s = en->api->load(&en->model, en->backend, en->m, &en->lim, o->progress, o->progress_user, e);
        if (s != ERR_MEMORY || en->lim.max_tokens == least) return s;
        if (find_parts(&parts, en, NULL) != OK || !any_own_memory(&parts)) return s;
        LOG(WARN, "engine", "memory", "%s; trying steps of fewer than %u tokens", e->msg, en->lim.max_tokens);
        en->lim.max_tokens = MAX(en->lim.max_tokens / 2, least);
        TRY(en->api->plan(en->backend, en->m, &en->lim, &en->plan, e));
    }
}

status memory_open_kv(struct engine *en, uint32_t *n_block, struct error *e)
{
    const uint64_t per_seq = (en->lim.max_context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    struct parts parts;
    status s = en->api->kv_open(&en->kv_mem, en->model, *n_block, e);
    if (s != ERR_MEMORY || find_parts(&parts, en, NULL) != OK || !any_own_memory(&parts)) return s;
    const uint64_t have = room_for_blocks(en, &parts, NULL);
    if (have >= *n_block || have < per_seq) return s;
    LOG(WARN, "engine", "memory", "%s; the KV cache gets %.1f MiB", e->msg,
        (double)have * (double)en->plan.kv_block_bytes / 0x1p20);
    *n_block = (uint32_t)have;
    return en->api->kv_open(&en->kv_mem, en->model, *n_block, e);
}
