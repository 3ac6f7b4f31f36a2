#include <stdlib.h>
#include <string.h>

#include "place/place_int.h"

enum { MAX_RESIDENTS = 1024 }; /* more are not looked at */

/* A decision being made. room: what each candidate has, with what those that are to leave would give back. */
struct search {
    const struct place_ledger *l;
    const struct place_want *w;
    const struct place_strategy *strategy;
    const struct place_resident *resident;
    const struct claim **claim; /* of each resident; NULL: it has none */
    uint32_t n_resident;
    struct place_decision *d;
    uint32_t device[PLACE_MAX_DEVICES];
    uint64_t room[PLACE_MAX_DEVICES];
    uint32_t n_device;
    const struct place_plan *plan;
    uint32_t max_devices;
    uint64_t *sums;
};

static void say(struct search *s, struct place_reason r)
{
    if (s->d->n_reason < PLACE_MAX_REASONS) s->d->reason[s->d->n_reason++] = r;
}

/* --- which devices come into question --- */

static bool names(const struct place_want *w, uint32_t i, const char *uuid)
{
    return w->affinity[i][0] && !strncmp(uuid, w->affinity[i], strlen(w->affinity[i]));
}

static bool named(const struct place_want *w, const char *uuid)
{
    for (uint32_t i = 0; i < w->n_affinity; i++)
        if (names(w, i, uuid)) return true;
    return false;
}

static void say_unknown_names(struct search *s)
{
    for (uint32_t i = 0; i < s->w->n_affinity; i++) {
        uint32_t n = 0;
        for (uint32_t d = 0; d < s->l->n_device; d++) n += names(s->w, i, s->l->device[d].uuid);
        if (n != 1)
            say(s, (struct place_reason){
                       .code = PLACE_SAYS_NO_SUCH, .device = -1, .n = n, .text = s->w->affinity[i]});
    }
}

static void collect(struct search *s, enum place_kind kind)
{
    s->n_device = 0;
    for (uint32_t i = 0; i < s->l->n_device; i++) {
        const struct place_device *v = &s->l->device[i];
        if (v->kind != kind) continue;
        if (kind == PLACE_GPU && s->w->n_affinity && !named(s->w, v->uuid))
            say(s, (struct place_reason){.code = PLACE_SAYS_NOT_NAMED, .device = (int32_t)i});
        else if (v->lost)
            say(s, (struct place_reason){.code = PLACE_SAYS_LOST, .device = (int32_t)i});
        else {
            s->device[s->n_device] = i;
            s->room[s->n_device++] = v->free_bytes;
        }
    }
}

/* --- the ladder --- */

static void use_plan(struct search *s, const struct place_plan *p)
{
    free(s->sums);
    s->plan = s->d->plan = p;
    s->max_devices = s->w->max_devices ? MIN(s->w->max_devices, p->max_devices) : p->max_devices;
    s->sums = fit_sums(p);
}

static bool any_holds_one(const struct search *s)
{
    for (uint32_t i = 0; i < s->plan->n_rung; i++) {
        const struct place_rung *r = &s->plan->rung[i];
        if ((i == 0 || r->context >= s->w->min_context) && fit_holds_one(s->plan, r, s->w->kv_bytes))
            return true;
    }
    return false;
}

/* Where the size of the KV cache was said, what the rungs say of sequences means nothing; one of full length
 * must fit. If none does, the worker shall say what it would take. */
static bool allowed(const struct search *s, uint32_t rung)
{
    const struct place_rung *r = &s->plan->rung[rung];
    if (rung && r->context < s->w->min_context) return false;
    if (!s->w->kv_bytes) return rung == 0 || r->kv_sequences >= s->w->min_sequences;
    return fit_holds_one(s->plan, r, s->w->kv_bytes) || (rung == 0 && !any_holds_one(s));
}

/* The last rung that may be used: what takes least. */
static uint32_t least_rung(const struct search *s)
{
    uint32_t rung = s->plan->n_rung - 1;
    while (!allowed(s, rung)) rung--;
    return rung;
}

static void fit_on(const struct search *s, struct fit *f, uint32_t rung)
{
    fit_init(f, s->plan, s->sums, rung, s->w);
}

static uint64_t on_one(const struct search *s, uint32_t rung)
{
    struct fit f;
    fit_on(s, &f, rung);
    return fit_bytes(&f, 0, s->plan->n_layer);
}

/* Whether device a is the better one of two, with what would be left on each. */
static bool better(const struct search *s, uint32_t a, uint64_t left_a, uint32_t b, uint64_t left_b)
{
    return s->strategy->order(&s->l->device[s->device[a]], left_a, &s->l->device[s->device[b]], left_b) < 0;
}

static bool try_one(struct search *s, uint32_t rung)
{
    struct fit f;
    uint32_t best = UINT32_MAX;
    fit_on(s, &f, rung);
    const uint64_t need = fit_bytes(&f, 0, s->plan->n_layer);
    for (uint32_t i = 0; i < s->n_device; i++)
        if (need <= s->room[i] &&
            (best == UINT32_MAX || better(s, i, s->room[i] - need, best, s->room[best] - need)))
            best = i;
    if (best == UINT32_MAX) return false;
    fit_share(&f, &s->d->share[0], s->device[best], 0, s->plan->n_layer);
    s->d->n_share = 1;
    return true;
}

static bool try_set(struct search *s, uint32_t rung)
{
    struct fit f;
    uint32_t device[PLACE_MAX_DEVICES], n = 0;
    uint64_t room[PLACE_MAX_DEVICES];
    if (s->max_devices < 2) return false;
    for (uint32_t i = 0; i < s->n_device; i++) {
        if (s->l->device[s->device[i]].alone) continue;
        device[n] = s->device[i];
        room[n++] = s->room[i];
    }
    fit_on(s, &f, rung);
    s->d->n_share = set_find(&f, device, room, n, s->max_devices, s->d->share);
    return s->d->n_share > 0;
}

/* Say how what was found differs from what was asked for. */
static void say_rung(struct search *s, uint32_t rung)
{
    const struct place_rung *was = &s->plan->rung[0], *r = &s->plan->rung[rung];
    if (r->kv_sequences != was->kv_sequences && !s->w->kv_bytes)
        say(s,
            (struct place_reason){PLACE_SAYS_SEQUENCES, -1, r->kv_sequences, was->kv_sequences, 0, 0, NULL});
    if (strcmp(r->kv_type, was->kv_type) != 0)
        say(s, (struct place_reason){PLACE_SAYS_KV_TYPE, -1, 0, 0, 0, 0, r->kv_type});
    if (r->context != was->context)
        say(s, (struct place_reason){PLACE_SAYS_CONTEXT, -1, r->context, was->context, 0, 0, NULL});
}

static bool found(struct search *s, uint32_t rung)
{
    struct place_decision *d = s->d;
    d->way = s->plan->kind == PLACE_HOST ? PLACE_CPU : d->n_share == 1 ? PLACE_ONE : PLACE_SET;
    d->rung = rung;
    d->kv_bytes = s->w->kv_bytes ? s->w->kv_bytes : place_plan_kv_bytes(s->plan, rung);
    say_rung(s, rung);
    for (uint32_t i = 0; i < d->n_share; i++) {
        const struct place_share *h = &d->share[i];
        for (uint32_t k = 0; k < s->n_device; k++)
            if (s->device[k] == h->device)
                say(s, (struct place_reason){.code = d->way == PLACE_CPU ? PLACE_SAYS_CPU : PLACE_SAYS_FITS,
                                             .device = (int32_t)h->device,
                                             .needed_bytes = h->bytes,
                                             .available_bytes = s->room[k]});
    }
    if (d->n_share > 1) say(s, (struct place_reason){PLACE_SAYS_SET, -1, d->n_share, 0, 0, 0, NULL});
    return true;
}

static bool try_ladder(struct search *s)
{
    for (uint32_t rung = 0; rung < s->plan->n_rung; rung++)
        if (allowed(s, rung) && (try_one(s, rung) || try_set(s, rung))) return found(s, rung);
    return false;
}

/* --- evicting --- */

static bool may_leave(const struct search *s, uint32_t i, bool busy_too)
{
    const struct place_resident *r = &s->resident[i];
    return s->claim[i] && !s->claim[i]->leaves_for && !r->pinned && (busy_too || !r->busy);
}

static void leave(struct search *s, const struct item *item, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        const struct place_resident *r = &s->resident[item[k].resident];
        const struct claim *c = s->claim[item[k].resident];
        s->d->evict[s->d->n_evict++] = item[k].resident;
        for (uint32_t i = 0; i < c->n; i++) {
            for (uint32_t v = 0; v < s->n_device; v++)
                if (s->device[v] == c->part[i].device) s->room[v] += c->part[i].bytes;
            say(s, (struct place_reason){.code = r->busy ? PLACE_SAYS_DRAIN : PLACE_SAYS_EVICT,
                                         .device = (int32_t)c->part[i].device,
                                         .available_bytes = c->part[i].bytes,
                                         .text = r->name});
        }
    }
}

static uint32_t items_on(const struct search *s, uint32_t device, bool busy_too, struct item *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_resident && n < PLACE_MAX_EVICT; i++) {
        const uint64_t gives = claim_bytes(s->claim[i], device);
        if (gives && may_leave(s, i, busy_too))
            out[n++] = (struct item){i, gives, evict_cost(s->claim[i], &s->resident[i])};
    }
    return n;
}

/* What a device is short of. When others took more than there was, that has to come back first. */
static uint64_t shortfall(const struct search *s, uint32_t i, uint64_t need)
{
    const struct place_device *v = &s->l->device[s->device[i]];
    const uint64_t taken = v->external_bytes + v->committed_bytes + v->reserved_bytes + v->keep_bytes;
    return need + taken > v->total_bytes ? need + taken - v->total_bytes : 0;
}

static bool evict_one(struct search *s, uint32_t rung, bool busy_too)
{
    struct item item[PLACE_MAX_EVICT], best[PLACE_MAX_EVICT];
    uint32_t n_best = UINT32_MAX, on = 0;
    double least = 0, cost;
    const uint64_t need = on_one(s, rung);
    for (uint32_t i = 0; i < s->n_device; i++) {
        const uint32_t n_item = items_on(s, s->device[i], busy_too, item);
        const uint32_t n = evict_choose(item, n_item, shortfall(s, i, need), &cost);
        if (n == UINT32_MAX) continue;
        if (n_best != UINT32_MAX &&
            (cost > least || (cost >= least && (n > n_best || (n == n_best && !better(s, i, 0, on, 0))))))
            continue;
        memcpy(best, item, n * sizeof *item);
        n_best = n, least = cost, on = i;
    }
    if (n_best == UINT32_MAX) return false;
    leave(s, best, n_best);
    struct fit f;
    fit_on(s, &f, rung);
    fit_share(&f, &s->d->share[0], s->device[on], 0, s->plan->n_layer);
    s->d->n_share = 1;
    return found(s, rung);
}

/* The room of all candidates with these gone. */
static void room_without(struct search *s, const struct item *item, const bool *gone, uint32_t n)
{
    for (uint32_t v = 0; v < s->n_device; v++) {
        const struct place_device *dev = &s->l->device[s->device[v]];
        uint64_t back = 0, taken = dev->external_bytes + dev->committed_bytes + dev->reserved_bytes;
        for (uint32_t k = 0; k < n; k++)
            if (gone[k]) back += claim_bytes(s->claim[item[k].resident], s->device[v]);
        taken += dev->keep_bytes;
        s->room[v] = dev->total_bytes + back > taken ? dev->total_bytes + back - taken : 0;
    }
}

/* The resident of each item that is to go leaves; whether a set of devices then does. */
static bool set_without(struct search *s, uint32_t rung, const struct item *item, const bool *gone,
                        uint32_t n)
{
    room_without(s, item, gone, n);
    return try_set(s, rung);
}

/* A set of devices: the cheapest leave until one does, then those that need not leave after all stay. */
static bool evict_set(struct search *s, uint32_t rung, bool busy_too)
{
    struct item item[PLACE_MAX_EVICT] = {{0}};
    bool gone[PLACE_MAX_EVICT] = {false};
    uint32_t n = 0, n_kept = 0;
    if (s->max_devices < 2) return false;
    for (uint32_t i = 0; i < s->n_resident && n < PLACE_MAX_EVICT; i++) {
        if (!may_leave(s, i, busy_too)) continue;
        struct item it = {i, 0, evict_cost(s->claim[i], &s->resident[i])};
        uint32_t at = n++;
        for (; at > 0 && item[at - 1].cost > it.cost; at--) item[at] = item[at - 1];
        item[at] = it;
    }
    memset(gone, true, n);
    bool does = n > 0 && set_without(s, rung, item, gone, n);
    if (does) {
        uint32_t low = 0, high = n; /* how many of the cheapest */
        while (low < high) {
            const uint32_t mid = low + (high - low) / 2;
            for (uint32_t k = 0; k < n; k++) gone[k] = k < mid;
            if (set_without(s, rung, item, gone, n))
                high = mid;
            else
                low = mid + 1;
        }
        for (uint32_t k = 0; k < n; k++) gone[k] = k < high;
        while (high-- > 0) {
            gone[high] = false;
            gone[high] = !set_without(s, rung, item, gone, n);
        }
        room_without(s, item, gone, n);
        does = try_set(s, rung);
    }
    for (uint32_t k = 0; k < n; k++)
        if (gone[k]) item[n_kept++] = item[k];
    for (uint32_t v = 0; v < s->n_device; v++) s->room[v] = s->l->device[s->device[v]].free_bytes;
    if (!does) return false;
    leave(s, item, n_kept);
    return found(s, rung);
}

static bool try_evicting(struct search *s)
{
    if (!s->w->allow_evict && !s->w->allow_drain) return false;
    for (int busy_too = 0; busy_too <= (s->w->allow_drain ? 1 : 0); busy_too++)
        for (uint32_t rung = 0; rung < s->plan->n_rung; rung++)
            if (allowed(s, rung) && (evict_one(s, rung, busy_too) || evict_set(s, rung, busy_too)))
                return true;
    return false;
}

/* --- the CPU --- */

/* The first layers with the GPUs that have the most room, the rest with the host. */
static bool try_partial(struct search *s)
{
    const int32_t host = place_find(s->l, "host");
    if (!s->plan->partial_cpu || host < 0 || s->l->device[host].lost || !s->w->allow_cpu) return false;
    for (uint32_t rung = 0; rung < s->plan->n_rung; rung++) {
        struct fit f;
        uint32_t at = 0, k = 0;
        bool used[PLACE_MAX_DEVICES] = {false};
        if (!allowed(s, rung)) continue;
        fit_on(s, &f, rung);
        bool alone = false;
        while (k < s->max_devices && !alone) {
            uint32_t best = UINT32_MAX;
            for (uint32_t i = 0; i < s->n_device; i++)
                if (!used[i] && !(k && s->l->device[s->device[i]].alone) &&
                    (best == UINT32_MAX || s->room[i] > s->room[best]))
                    best = i;
            if (best == UINT32_MAX) break;
            const uint32_t to = MIN(fit_layers(&f, at, s->room[best]), s->plan->n_layer - 1);
            if (to <= at) break;
            used[best] = true;
            alone = s->l->device[s->device[best]].alone;
            fit_share(&f, &s->d->share[k++], s->device[best], at, to);
            at = to;
        }
        if (k == 0 || fit_bytes(&f, at, s->plan->n_layer) > s->l->device[host].free_bytes) continue;
        fit_share(&f, &s->d->share[k], (uint32_t)host, at, s->plan->n_layer);
        s->d->n_share = k + 1;
        found(s, rung);
        s->d->way = PLACE_PARTIAL;
        say(s, (struct place_reason){PLACE_SAYS_PARTIAL, -1, at, s->plan->n_layer, 0, 0, NULL});
        return true;
    }
    return false;
}

/* --- refusing --- */

static uint32_t count_there(const struct search *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_resident; i++)
        for (uint32_t v = 0; v < s->n_device; v++)
            if (claim_bytes(s->claim[i], s->device[v])) {
                n++;
                break;
            }
    return n;
}

/* Why nothing does: what the least of the ladder takes, and what each device could have at best. */
static void say_least(struct search *s)
{
    struct item item[PLACE_MAX_EVICT];
    const uint64_t need = on_one(s, least_rung(s));
    const uint32_t there = count_there(s);
    const bool host = s->plan->kind == PLACE_HOST;
    if (there) say(s, (struct place_reason){PLACE_SAYS_NO_EVICT, -1, there, 0, 0, 0, NULL});
    for (uint32_t i = 0; i < s->n_device; i++) {
        uint64_t most = s->l->device[s->device[i]].free_bytes;
        const uint32_t n =
            s->w->allow_evict || s->w->allow_drain ? items_on(s, s->device[i], s->w->allow_drain, item) : 0;
        for (uint32_t k = 0; k < n; k++) most += item[k].gives;
        say(s, (struct place_reason){.code = host ? PLACE_SAYS_CPU_SMALL : PLACE_SAYS_LEAST,
                                     .device = (int32_t)s->device[i],
                                     .needed_bytes = need,
                                     .available_bytes = most});
    }
    if (!s->d->needed_bytes || !host) s->d->needed_bytes = need;
}

static void say_small(struct search *s)
{
    const uint64_t need = on_one(s, 0);
    uint64_t together = 0;
    for (uint32_t i = 0; i < s->n_device; i++) {
        together += s->room[i];
        if (s->room[i] < need)
            say(s, (struct place_reason){.code = PLACE_SAYS_SMALL,
                                         .device = (int32_t)s->device[i],
                                         .needed_bytes = need,
                                         .available_bytes = s->room[i]});
    }
    if (s->n_device < 2) return;
    if (s->max_devices < 2)
        say(s, (struct place_reason){PLACE_SAYS_NO_SPLIT, -1, 1, s->plan->max_devices, 0, 0, NULL});
    else
        say(s, (struct place_reason){.code = PLACE_SAYS_SET_SMALL,
                                     .device = -1,
                                     .n = MIN(s->n_device, s->max_devices),
                                     .needed_bytes = need,
                                     .available_bytes = together});
}

static bool on_gpus(struct search *s)
{
    if (!s->w->gpu) {
        say(s, (struct place_reason){.code = PLACE_SAYS_NO_GPU_PLAN, .device = -1});
        return false;
    }
    if (s->strategy->only_affinity && !s->w->n_affinity) {
        say(s,
            (struct place_reason){.code = PLACE_SAYS_NO_AFFINITY, .device = -1, .text = s->strategy->name});
        return false;
    }
    say_unknown_names(s);
    collect(s, PLACE_GPU);
    if (s->n_device == 0) {
        say(s, (struct place_reason){.code = PLACE_SAYS_NO_GPU, .device = -1});
        return false;
    }
    use_plan(s, s->w->gpu);
    struct fit f;
    fit_on(s, &f, 0);
    if (try_one(s, 0)) return found(s, 0);
    if (try_set(s, 0)) return found(s, 0);
    say_small(s);
    if (try_ladder(s) || try_evicting(s) || try_partial(s)) return true;
    say_least(s);
    return false;
}

static bool on_cpu(struct search *s)
{
    const bool only = !s->w->gpu || named(s->w, "host"); /* it never was to run anywhere else */
    if (!s->w->cpu || !(only || s->w->allow_cpu)) {
        say(s, (struct place_reason){.code = PLACE_SAYS_NO_CPU, .device = -1});
        return false;
    }
    collect(s, PLACE_HOST);
    use_plan(s, s->w->cpu);
    if (s->n_device && (try_ladder(s) || try_evicting(s))) return true;
    say_least(s);
    return false;
}

void place_decide(struct place_decision *out, const struct place_ledger *l, const struct place_want *w,
                  const struct place_resident *resident, size_t n_resident)
{
    const int64_t began = w->clock_ns ? w->clock_ns() : 0;
    struct search s = {.l = l,
                       .w = w,
                       .strategy = w->strategy ? w->strategy : place_strategy_at(0),
                       .resident = resident,
                       .n_resident = (uint32_t)MIN(n_resident, (size_t)MAX_RESIDENTS),
                       .d = out};
    s.claim = mem_zalloc(MAX(s.n_resident, 1u), sizeof *s.claim);
    for (uint32_t i = 0; i < s.n_resident; i++) s.claim[i] = place_claim(l, resident[i].claim);
    out->way = PLACE_REFUSED;
    out->plan = NULL;
    out->rung = out->n_share = out->n_evict = out->n_reason = 0;
    out->kv_bytes = out->needed_bytes = 0;
    if (!on_gpus(&s) && !on_cpu(&s)) out->way = PLACE_REFUSED, out->n_share = out->n_evict = 0;
    free(s.sums);
    free(s.claim);
    out->elapsed_ns = w->clock_ns ? w->clock_ns() - began : 0;
}
