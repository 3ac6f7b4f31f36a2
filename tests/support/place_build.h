/* Plans and ledgers for the tests of placement, in MiB. Header only: each test that includes it gets its own
 * copy. */
#ifndef CORRAL_TESTS_PLACE_BUILD_H
#define CORRAL_TESTS_PLACE_BUILD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "place/place.h"

#define MIB ((uint64_t)1 << 20)

/* A model of equal layers; its KV takes kv MiB in each layer for each 1024 tokens of one sequence. */
struct toy {
    uint32_t layers, weight, kv, first, last, scratch, overhead, max_devices;
    uint32_t parallel, context; /* the first rung; then KV for half as many ..., then half the context ... */
    bool     on_host, partial_cpu;
};

static inline void toy_rung(struct place_plan *p, const struct toy *t, uint32_t sequences, uint32_t context)
{
    struct place_rung *r = &p->rung[p->n_rung++];
    *r = (struct place_rung){.parallel = t->parallel,
                             .kv_sequences = sequences,
                             .context = context,
                             .kv_type = "f16",
                             .kv_block_bytes = t->kv * MIB * t->layers,
                             .scratch_bytes = t->scratch * MIB};
}

static inline void toy_plan(struct place_plan *p, const struct toy *t)
{
    *p = (struct place_plan){.kind = t->on_host ? PLACE_HOST : PLACE_GPU,
                             .max_devices = t->max_devices ? t->max_devices : 1,
                             .partial_cpu = t->partial_cpu,
                             .kv_block_tokens = 1024,
                             .context_trained = 32768,
                             .first_bytes = t->first * MIB,
                             .last_bytes = t->last * MIB,
                             .overhead_bytes = t->overhead * MIB,
                             .n_layer = t->layers,
                             .layer = mem_zalloc(t->layers, sizeof *p->layer),
                             .rung = mem_zalloc(PLACE_MAX_RUNGS, sizeof *p->rung)};
    uint32_t parallel = t->parallel, context = t->context;
    snprintf(p->backend, sizeof p->backend, t->on_host ? "cpu" : "cuda");
    for (uint32_t i = 0; i < t->layers; i++)
        p->layer[i] = (struct place_layer){t->weight * MIB, t->kv * MIB};
    toy_rung(p, t, parallel, context);
    while (parallel > 1) toy_rung(p, t, parallel /= 2, context);
    while (context > 1024) toy_rung(p, t, parallel, context /= 2);
}

/* A ledger's devices, observed from totals and what others have. */
struct toy_device { uint32_t total, external; bool lost; };

static inline void toy_observe(struct place_ledger *l, const struct toy_device *gpu, uint32_t n,
                               uint32_t host, uint32_t host_external)
{
    struct place_sample s[PLACE_MAX_DEVICES] = {{0}};
    char uuid[PLACE_MAX_DEVICES][24];
    uint32_t n_sample = 0;
    struct error e;
    if (host)
        s[n_sample++] = (struct place_sample){.uuid = "host", .name = "host", .kind = PLACE_HOST,
                                              .total_bytes = host * MIB,
                                              .used_bytes = host_external * MIB, .own_known = true};
    for (uint32_t i = 0; i < n; i++) {
        snprintf(uuid[i], sizeof uuid[i], "GPU-%02u", i);
        s[n_sample++] = (struct place_sample){.uuid = uuid[i], .name = "Toy", .kind = PLACE_GPU,
                                              .lost = gpu[i].lost, .total_bytes = gpu[i].total * MIB,
                                              .used_bytes = gpu[i].external * MIB,
                                              .own_known = true};
    }
    if (place_observe(l, s, n_sample, &e) != OK) abort();
}

static inline bool says(const struct place_decision *d, enum place_code code)
{
    for (uint32_t i = 0; i < d->n_reason; i++)
        if (d->reason[i].code == code) return true;
    return false;
}

#endif
