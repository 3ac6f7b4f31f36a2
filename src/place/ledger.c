#include <stdlib.h>
#include <string.h>

#include "place/place_int.h"

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static struct claim *find(struct place_ledger *l, uint64_t id)
{
    for (uint32_t i = 0; id && i < l->n_claim; i++)
        if (l->claim[i].id == id) return &l->claim[i];
    return NULL;
}

const struct claim *place_claim(const struct place_ledger *l, uint64_t id)
{
    for (uint32_t i = 0; id && i < l->n_claim; i++)
        if (l->claim[i].id == id) return &l->claim[i];
    return NULL;
}

uint64_t claim_bytes(const struct claim *c, uint32_t device)
{
    uint64_t n = 0;
    for (uint32_t i = 0; c && i < c->n; i++) n += c->part[i].device == device ? c->part[i].bytes : 0;
    return n;
}

/* What others will give back to a claim on a device. */
static uint64_t promised(const struct place_ledger *l, const struct claim *to, uint32_t device)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < l->n_claim; i++)
        if (l->claim[i].leaves_for == to->id) n += claim_bytes(&l->claim[i], device);
    return n;
}

/* A reservation stands in the books with what is not promised to it: those bytes are still somebody's. */
static void settle(struct place_ledger *l)
{
    for (uint32_t d = 0; d < l->n_device; d++) {
        struct place_device *v = &l->device[d];
        v->committed_bytes = v->reserved_bytes = v->n_claim = 0;
        for (uint32_t i = 0; i < l->n_claim; i++) {
            const struct claim *c = &l->claim[i];
            const uint64_t n = claim_bytes(c, d);
            if (!n) continue;
            v->n_claim++;
            if (c->committed)
                v->committed_bytes += n;
            else
                v->reserved_bytes += less(n, promised(l, c, d));
        }
        const uint64_t keep =
            v->kind == PLACE_HOST ? l->limits.host_reserve_bytes : l->limits.gpu_reserve_bytes;
        v->keep_bytes = MIN(keep, v->total_bytes / 8); /* small machines run small models */
        const uint64_t taken = v->external_bytes + v->committed_bytes + v->reserved_bytes;
        v->over_bytes = less(taken, v->total_bytes);
        v->free_bytes = v->lost ? 0 : less(v->total_bytes, taken + v->keep_bytes);
    }
}

status place_ledger_new(struct place_ledger **out, const struct place_limits *limits, struct error *e)
{
    *out = mem_zalloc(1, sizeof **out);
    if (limits) (*out)->limits = *limits;
    return OK;
}

void place_ledger_free(struct place_ledger *l)
{
    if (!l) return;
    for (uint32_t i = 0; i < l->n_claim; i++) free(l->claim[i].part);
    free(l->claim);
    free(l);
}

uint32_t place_n_device(const struct place_ledger *l)
{
    return l->n_device;
}

const struct place_device *place_device_at(const struct place_ledger *l, uint32_t i)
{
    return i < l->n_device ? &l->device[i] : NULL;
}

int32_t place_find(const struct place_ledger *l, const char *uuid)
{
    for (uint32_t i = 0; i < l->n_device; i++)
        if (!strcmp(l->device[i].uuid, uuid)) return (int32_t)i;
    return -1;
}

/* --- what the drivers see --- */

/* Of the bytes in use, those that are not ours. Where the driver does not tell whose they are and a load is
 * under way, it may have taken anything up to its reservation: then others have at least what exceeds the
 * books, and are not believed to have gone. */
static uint64_t external_bytes(const struct place_ledger *l, uint32_t device, const struct place_sample *s)
{
    uint64_t loading = 0, loaded = 0;
    for (uint32_t i = 0; i < l->n_claim; i++)
        *(l->claim[i].committed ? &loaded : &loading) += claim_bytes(&l->claim[i], device);
    const uint64_t used = MIN(s->used_bytes, s->total_bytes);
    if (s->own_known) return less(used, MIN(s->own_bytes, loaded + loading));
    const uint64_t before = MIN(l->device[device].external_bytes, used);
    return loading ? MAX(before, less(used, loaded + loading)) : less(used, loaded);
}

static void copy_text(char to[PLACE_ID], const char *from)
{
    size_t n = strnlen(from ? from : "", PLACE_ID - 1);
    memcpy(to, from ? from : "", n);
    to[n] = 0;
}

status place_observe(struct place_ledger *l, const struct place_sample *s, size_t n, struct error *e)
{
    bool seen[PLACE_MAX_DEVICES] = {false};
    status st = OK;
    for (size_t i = 0; i < n; i++) {
        int32_t d = place_find(l, s[i].uuid);
        if (d < 0) {
            if (l->n_device == PLACE_MAX_DEVICES) {
                st = fail(e, ERR_LIMIT, "more than %d devices; %s is left out", PLACE_MAX_DEVICES, s[i].uuid);
                continue;
            }
            d = (int32_t)l->n_device++;
            copy_text(l->device[d].uuid, s[i].uuid);
        }
        struct place_device *v = &l->device[d];
        seen[d] = true;
        v->lost = s[i].lost;
        v->alone = s[i].alone;
        if (v->lost) continue; /* its last figures stay */
        copy_text(v->name, s[i].name);
        v->kind = s[i].kind;
        v->total_bytes = s[i].total_bytes;
        v->external_bytes = external_bytes(l, (uint32_t)d, &s[i]);
    }
    for (uint32_t d = 0; d < l->n_device; d++) l->device[d].lost |= !seen[d];
    settle(l);
    return st;
}

/* --- claims --- */

static struct claim *new_claim(struct place_ledger *l, const struct place_decision *d)
{
    if (l->n_claim == l->cap) {
        l->cap = MAX(16u, l->cap * 2);
        l->claim = mem_realloc(l->claim, l->cap, sizeof *l->claim);
    }
    struct claim *c = &l->claim[l->n_claim++];
    *c = (struct claim){.id = ++l->last_id, .n = d->n_share, .part = mem_zalloc(d->n_share, sizeof *c->part)};
    for (uint32_t i = 0; i < d->n_share; i++)
        c->part[i] = (struct claim_part){d->share[i].device, d->share[i].bytes};
    return c;
}

status place_reserve(struct place_ledger *l, const struct place_decision *d,
                     const struct place_resident *resident, uint64_t *out, struct error *e)
{
    if (d->way == PLACE_REFUSED || d->n_share == 0)
        return fail(e, ERR_ARG, "there is nothing to reserve: the decision was to refuse");
    for (uint32_t i = 0; i < d->n_evict; i++) {
        const struct claim *c = place_claim(l, resident[d->evict[i]].claim);
        if (c && c->leaves_for)
            return fail(e, ERR_BUSY, "%s leaves for another model already", resident[d->evict[i]].name);
    }
    for (uint32_t i = 0; i < d->n_share; i++) {
        const struct place_share *s = &d->share[i];
        uint64_t gives = 0;
        if (s->device >= l->n_device) return fail(e, ERR_ARG, "no device %u", s->device);
        for (uint32_t k = 0; k < d->n_evict; k++) {
            const struct claim *c = place_claim(l, resident[d->evict[k]].claim);
            gives += claim_bytes(c, s->device);
        }
        const struct place_device *v = &l->device[s->device];
        if (v->lost) return fail(e, ERR_BUSY, "%s is gone", v->name);
        if (s->bytes > gives && s->bytes - gives > v->free_bytes)
            return fail(e, ERR_BUSY, "%s: %.1f MiB are wanted, %.1f MiB are free by now", v->name,
                        (double)(s->bytes - gives) / 0x1p20, (double)v->free_bytes / 0x1p20);
    }
    *out = new_claim(l, d)->id;
    for (uint32_t i = 0; i < d->n_evict; i++) {
        struct claim *c = find(l, resident[d->evict[i]].claim);
        if (c) c->leaves_for = *out;
    }
    settle(l);
    return OK;
}

bool place_ready(const struct place_ledger *l, uint64_t claim)
{
    if (!place_claim(l, claim)) return false;
    for (uint32_t i = 0; i < l->n_claim; i++)
        if (l->claim[i].leaves_for == claim) return false;
    return true;
}

void place_commit(struct place_ledger *l, uint64_t claim, const uint64_t *actual_bytes, size_t n)
{
    struct claim *c = find(l, claim);
    if (!c) return;
    c->committed = true;
    for (uint32_t i = 0; i < c->n; i++)
        if (actual_bytes && i < n && actual_bytes[i]) c->part[i].bytes = actual_bytes[i];
    settle(l);
}

void place_release(struct place_ledger *l, uint64_t claim)
{
    struct claim *c = find(l, claim);
    if (!c) return;
    free(c->part);
    *c = l->claim[--l->n_claim];
    for (uint32_t i = 0; i < l->n_claim; i++) /* what was to leave for it need not any more */
        if (l->claim[i].leaves_for == claim) l->claim[i].leaves_for = 0;
    settle(l);
}

uint64_t place_claim_bytes(const struct place_ledger *l, uint64_t claim, uint32_t device)
{
    return claim_bytes(place_claim(l, claim), device);
}

uint32_t place_n_claim(const struct place_ledger *l)
{
    return l->n_claim;
}

bool place_ledger_valid(const struct place_ledger *l)
{
    for (uint32_t i = 0; i < l->n_claim; i++) {
        const struct claim *c = &l->claim[i];
        if (!c->id || c->leaves_for == c->id) return false;
        if (c->leaves_for && !place_claim(l, c->leaves_for)) return false;
        for (uint32_t k = 0; k < c->n; k++)
            if (c->part[k].device >= l->n_device) return false;
    }
    for (uint32_t d = 0; d < l->n_device; d++) {
        const struct place_device *v = &l->device[d];
        const uint64_t taken = v->external_bytes + v->committed_bytes + v->reserved_bytes;
        if (v->over_bytes != less(taken, v->total_bytes)) return false;
        if (v->free_bytes && taken + v->keep_bytes + v->free_bytes != v->total_bytes) return false;
    }
    return true;
}
