/* Which layers are whose. Where the list of devices gives numbers, they count; what it leaves open is divided
 * by the memory that is free, with the planner's bytes:
 *   - devices with memory of their own fill up evenly: the fullest of them is as empty as can be;
 *   - the host gets what they have no room for. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/split/split_int.h"
#include "base/log.h"

struct candidate {
    struct backend_weights w;
    double scratch_bytes, room;
    bool open, host; /* without a number; without memory of its own */
};

struct division {
    struct backend *b;
    const struct model_desc *m;
    struct candidate part[BACKEND_MAX_SHARES];
    uint32_t n, n_layer, rest;        /* layers that are left open */
    uint32_t n_open, n_host;          /* candidates; of these the host's */
    uint64_t n_block, kv_block_bytes; /* of the KV cache */
};

static double bytes_of(const struct division *d, const struct candidate *c, uint32_t from, uint32_t n)
{
    double sum = (double)c->w.each_bytes + c->scratch_bytes +
                 (double)d->kv_block_bytes / d->n_layer * n * (double)d->n_block;
    for (uint32_t i = from; i < from + n; i++) sum += (double)c->w.layer_bytes[i];
    if (from == 0) sum += (double)c->w.first_bytes;
    if (from + n == d->n_layer) sum += (double)(c->w.last_bytes + (from ? c->w.tied_bytes : 0));
    return sum;
}

/* The share of one of the host's candidates when they have n together; k is its number among them. */
static uint32_t hosts_share(const struct division *d, uint32_t n, uint32_t k)
{
    return n / d->n_host + (k < n % d->n_host);
}

/* All layers in order, n_host of the open ones with the host, when every other candidate may be filled to
 * `full` times its room. False: they do not fit. */
static bool cover(const struct division *d, uint32_t n_host, double full, uint32_t *n_layer)
{
    uint32_t at = 0, k = 0, left = d->rest - n_host; /* of the devices that are left open */
    uint32_t n_dev = d->n_open - d->n_host;
    for (uint32_t i = 0; i < d->n; i++) {
        const struct candidate *c = &d->part[i];
        uint32_t n = d->b->part[i].n_layer;
        if (c->open && c->host) n = hosts_share(d, n_host, k++);
        if (c->open && !c->host) {
            const uint32_t most = left - --n_dev; /* one for each that comes after */
            for (n = 1; n < most && bytes_of(d, c, at, n + 1) <= full * c->room;) n++;
            if (bytes_of(d, c, at, n) > full * c->room) return false;
            left -= n;
        }
        n_layer[i] = n;
        at += n;
    }
    return left == 0;
}

/* As evenly full as can be. */
static void balance(const struct division *d, uint32_t *n_layer)
{
    double low = 0, high = 1;
    uint32_t try[BACKEND_MAX_SHARES];
    while (!cover(d, 0, high, n_layer)) high *= 2;
    for (int i = 0; i < 48; i++) {
        const double mid = (low + high) / 2;
        if (cover(d, 0, mid, try)) {
            high = mid;
            memcpy(n_layer, try, sizeof try);
        } else {
            low = mid;
        }
    }
}

static uint64_t blocks_for(const struct backend_limits *l, uint32_t n_seq)
{
    return ((uint64_t)l->max_context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS * n_seq;
}

static status divide_open(struct division *d, const struct backend_limits *l, uint32_t *n_layer,
                          struct error *e)
{
    const uint32_t n_dev = d->n_open - d->n_host;
    const uint64_t said = d->b->kv_bytes / d->kv_block_bytes;
    uint32_t seqs = MAX(l->max_seqs, 1u), host = 0;
    if (!n_dev || !d->n_host) { /* all of a kind */
        for (uint32_t i = 0; i < d->n; i++) d->part[i].host = false;
        d->n_host = 0;
        d->n_block = said ? said : blocks_for(l, seqs);
        balance(d, n_layer);
        return OK;
    }
    /* A cache for fewer sequences of full length, as they share it, is better than layers that the host
     * computes. */
    for (;; seqs /= 2) {
        d->n_block = said ? said : blocks_for(l, seqs);
        if (cover(d, 0, 1, n_layer)) {
            balance(d, n_layer);
            return OK;
        }
        if (said || seqs == 1) break;
    }
    for (host = 1; host <= d->rest - n_dev; host++)
        if (cover(d, host, 1, n_layer)) return OK;
    return fail(e, ERR_MEMORY,
                "the devices have no room for a layer each: leave one out, or say how many layers each gets");
}

/* Free bytes of a device, for each of its n entries in the list. */
static status room_of(struct candidate *c, const struct part *p, uint32_t n, struct error *e)
{
    const uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    struct backend_device dev;
    if (p->api->info(p->device, &dev, e) != OK)
        return fail_in(e, "how many layers %s gets is not said, and its memory is not known", p->name);
    c->host = !dev.memory_bytes || dev.memory_bytes == host;
    /* A sixteenth stays free: buffers of loading, and what others take meanwhile. */
    c->room = MAX((double)(c->host ? host : dev.memory_free_bytes) * 15 / 16 / n, 1.0);
    return OK;
}

static status weigh_parts(struct division *d, const struct backend_limits *l, struct error *e)
{
    for (uint32_t i = 0; i < d->n; i++) {
        const struct part *p = &d->b->part[i];
        struct candidate *c = &d->part[i];
        struct backend_plan plan;
        uint32_t same = 0;
        for (uint32_t k = 0; k < d->n; k++)
            same += d->b->part[k].api == p->api && d->b->part[k].device == p->device;
        c->open = !p->n_layer;
        if (!c->open) continue;
        TRY(room_of(c, p, same, e));
        d->n_host += c->host;
        if (p->api->plan(p->b, d->m, l, &plan, e) != OK) return fail_in(e, "%s", p->name);
        c->scratch_bytes = (double)plan.scratch_bytes;
        d->kv_block_bytes = plan.kv_block_bytes;
        TRY(backend_weigh(&c->w, p->api, p->b, d->m, l, e));
    }
    return OK;
}

static status by_memory(struct division *d, const struct backend_limits *l, uint32_t *n_layer,
                        struct error *e)
{
    status s = weigh_parts(d, l, e);
    if (s == OK) s = divide_open(d, l, n_layer, e);
    for (uint32_t i = 0; i < d->n; i++) backend_weights_deinit(&d->part[i].w);
    for (uint32_t i = 0; i < d->n && s == OK; i++)
        if (!n_layer[i])
            LOG(INFO, "split", "unused", "%s gets no layer: the others have room for all",
                d->b->part[i].name);
    return s;
}

static status divide(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                     uint32_t *n_layer, struct error *e)
{
    struct division d = {.b = b, .m = m, .n = b->n, .n_layer = m->cfg.n_layer};
    uint64_t given = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        n_layer[i] = b->part[i].n_layer;
        given += n_layer[i];
        d.n_open += !n_layer[i];
    }
    if (!d.n_open && given != d.n_layer)
        return fail(e, ERR_ARG,
                    "the devices are given %" PRIu64
                    " layers, the model has %u: leave out one of the numbers",
                    given, d.n_layer);
    if (d.n_open && given + d.n_open > d.n_layer)
        return fail(e, ERR_ARG,
                    "the model has %u layers: %" PRIu64
                    " are given, and none is left for each of %u more devices",
                    d.n_layer, given, d.n_open);
    d.rest = d.n_layer - (uint32_t)given;
    if (d.n_open > 1) return by_memory(&d, l, n_layer, e);
    for (uint32_t i = 0; i < b->n; i++)
        if (!n_layer[i]) n_layer[i] = d.rest;
    return OK;
}

status split_divide(struct backend *b, const struct model_desc *m, const struct backend_limits *l,
                    struct error *e)
{
    uint32_t n_layer[BACKEND_MAX_SHARES] = {0}, sum = 0;
    for (uint32_t i = 0; i < b->n; i++) sum += b->n_layer[i];
    if (b->divided == m && sum == m->cfg.n_layer) return OK;
    TRY(divide(b, m, l, n_layer, e));
    memcpy(b->n_layer, n_layer, sizeof n_layer);
    b->divided = m;
    return OK;
}
