/* What a range of layers takes, in constant time, and how many of them a room holds. */
#include "place/place_int.h"

static uint64_t blocks_each(const struct place_plan *p, const struct place_rung *r)
{
    return ((uint64_t)r->context + p->kv_block_tokens - 1) / p->kv_block_tokens;
}

static uint64_t n_blocks(const struct place_plan *p, const struct place_rung *r)
{
    return blocks_each(p, r) * r->kv_sequences;
}

uint64_t place_plan_kv_bytes(const struct place_plan *p, uint32_t rung)
{
    return n_blocks(p, &p->rung[rung]) * p->rung[rung].kv_block_bytes;
}

uint64_t place_plan_total_bytes(const struct place_plan *p, uint32_t rung)
{
    uint64_t n = p->first_bytes + p->last_bytes + p->overhead_bytes + p->rung[rung].scratch_bytes +
                 place_plan_kv_bytes(p, rung);
    for (uint32_t i = 0; i < p->n_layer; i++) n += p->layer[i].weight_bytes;
    return n;
}

uint64_t *fit_sums(const struct place_plan *p)
{
    uint64_t *weights = mem_zalloc(2 * ((size_t)p->n_layer + 1), sizeof *weights),
             *kv = weights + p->n_layer + 1;
    for (uint32_t i = 0; i < p->n_layer; i++) {
        weights[i + 1] = weights[i] + p->layer[i].weight_bytes;
        kv[i + 1] = kv[i] + p->layer[i].kv_block_bytes;
    }
    return weights;
}

void fit_init(struct fit *f, const struct place_plan *p, const uint64_t *sums, uint32_t rung,
              const struct place_want *w)
{
    const struct place_rung *r = &p->rung[rung];
    *f = (struct fit){.plan = p,
                      .rung = r,
                      .n_block =
                          w->kv_bytes && r->kv_block_bytes ? w->kv_bytes / r->kv_block_bytes : n_blocks(p, r),
                      .fixed_bytes = r->scratch_bytes + p->overhead_bytes + w->extra_bytes,
                      .weights = sums,
                      .kv = sums + p->n_layer + 1};
}

bool fit_holds_one(const struct place_plan *p, const struct place_rung *r, uint64_t kv_bytes)
{
    return kv_bytes / MAX(r->kv_block_bytes, 1u) >= blocks_each(p, r);
}

static uint64_t weight_bytes(const struct fit *f, uint32_t from, uint32_t to)
{
    uint64_t n = f->weights[to] - f->weights[from];
    if (from == 0) n += f->plan->first_bytes;
    if (to == f->plan->n_layer) n += f->plan->last_bytes + (from ? f->plan->tied_bytes : 0);
    return n;
}

/* Layers say what a block takes with the first rung's numbers; with others all change alike. Rounded up. */
static uint64_t kv_bytes(const struct fit *f, uint32_t from, uint32_t to)
{
    const uint64_t all = f->kv[f->plan->n_layer], part = f->kv[to] - f->kv[from];
    if (all == f->rung->kv_block_bytes || all == 0) return f->n_block * part;
    return f->n_block * (uint64_t)(((unsigned __int128)part * f->rung->kv_block_bytes + all - 1) / all);
}

uint64_t fit_bytes(const struct fit *f, uint32_t from, uint32_t to)
{
    return weight_bytes(f, from, to) + kv_bytes(f, from, to) + f->fixed_bytes;
}

uint32_t fit_layers(const struct fit *f, uint32_t from, uint64_t room)
{
    uint32_t low = from, high = f->plan->n_layer; /* [from, low) fits, whatever is beyond high does not */
    while (low < high) {
        uint32_t to = low + (high - low + 1) / 2;
        if (fit_bytes(f, from, to) <= room)
            low = to;
        else
            high = to - 1;
    }
    return low;
}

void fit_share(const struct fit *f, struct place_share *out, uint32_t device, uint32_t from, uint32_t to)
{
    *out = (struct place_share){.device = device,
                                .layer = from,
                                .n_layer = to - from,
                                .weight_bytes = weight_bytes(f, from, to),
                                .kv_bytes = kv_bytes(f, from, to),
                                .scratch_bytes = f->rung->scratch_bytes,
                                .overhead_bytes = f->fixed_bytes - f->rung->scratch_bytes,
                                .bytes = fit_bytes(f, from, to)};
}
