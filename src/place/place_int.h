/* The parts of placement among themselves. */
#ifndef CORRAL_PLACE_INT_H
#define CORRAL_PLACE_INT_H

#include "place/place.h"

struct claim_part { uint32_t device; uint64_t bytes; };
struct claim {
    uint64_t id;
    uint64_t leaves_for; /* the claim that is promised what this one gives back; 0: none */
    bool     committed;
    uint32_t n;
    struct claim_part *part;
};
struct place_ledger {
    struct place_limits limits;
    struct place_device device[PLACE_MAX_DEVICES];
    uint32_t n_device;
    struct claim *claim;
    uint32_t n_claim, cap;
    uint64_t last_id;
};
const struct claim *place_claim(const struct place_ledger *l, uint64_t id); /* NULL: none */
uint64_t claim_bytes(const struct claim *c, uint32_t device);              /* 0 when c is NULL */

/* --- one plan at one rung: what any range of its layers takes (fit.c) --- */

struct fit {
    const struct place_plan *plan;
    const struct place_rung *rung;
    uint64_t n_block;    /* of the KV cache; kv_bytes of the want: as many as that is */
    uint64_t fixed_bytes; /* on each device */
    const uint64_t *weights, *kv; /* of the layers before i; n_layer + 1 of each */
};
/* Sums over the layers, once per plan; free() the result. */
uint64_t *fit_sums(const struct place_plan *p);
void fit_init(struct fit *f, const struct place_plan *p, const uint64_t *sums, uint32_t rung,
              const struct place_want *w);
/* Whether so much is the KV cache of one sequence of full length at least. */
bool fit_holds_one(const struct place_plan *p, const struct place_rung *r, uint64_t kv_bytes);
/* Layers [from, to) with what belongs to the first and last one and what every device has. */
uint64_t fit_bytes(const struct fit *f, uint32_t from, uint32_t to);
/* As many layers from `from` on as have room; from itself when none has. */
uint32_t fit_layers(const struct fit *f, uint32_t from, uint64_t room);
void fit_share(const struct fit *f, struct place_share *out, uint32_t device, uint32_t from, uint32_t to);

/* The fewest of n devices, and at most so many, that hold all layers, balanced; returns how many, 0:
 * none do. out NULL: only whether. Exact up to SET_EXACT devices (set.c). */
enum { SET_EXACT = 8 };
uint32_t set_find(const struct fit *f, const uint32_t *device, const uint64_t *room, uint32_t n,
                  uint32_t most, struct place_share *out);

/* --- who leaves (evict.c) --- */

struct item { uint32_t resident; uint64_t gives; double cost; };
double evict_cost(const struct claim *c, const struct place_resident *r); /* c may be NULL */
/* The cheapest of n items that give at least need together, moved to the front; returns how many and their
 * cost. UINT32_MAX: all together do not. */
uint32_t evict_choose(struct item *item, uint32_t n, uint64_t need, double *cost);

#endif
