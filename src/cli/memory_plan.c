#include "cli/memory_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/session.h"

static uint32_t context_of(const struct model_desc *m, const struct engine_options *o)
{
    const uint32_t trained = m->cfg.n_ctx_train;
    return o->max_context ? o->max_context
           : trained      ? MIN(trained, SESSION_DEFAULT_CTX)
                          : SESSION_DEFAULT_CTX;
}

static status plan_on(struct memory_plan *p, struct backend *b, const struct model_desc *m,
                      const struct engine_options *options, uint32_t kv_sequences, struct error *e)
{
    struct engine_options o = *options;
    struct backend_limits l;
    o.max_context = context_of(m, options);
    engine_limits(&l, m, &o);
    *p = (struct memory_plan){.backend = o.api->name,
                              .context = l.max_context,
                              .context_trained = m->cfg.n_ctx_train,
                              .parallel = l.max_seqs,
                              .kv_sequences = kv_sequences ? kv_sequences : l.max_seqs,
                              .kv_type = l.kv_type};
    TRY(o.api->plan(b, m, &l, &p->b, e));
    TRY(backend_parts(o.api, b, o.device, m, &l, p->part, &p->n_part, e));
    const uint64_t each = ((uint64_t)p->context + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS;
    const uint64_t n_block = each * p->kv_sequences;
    if (n_block > UINT32_MAX || !checked_mul(n_block, (uint64_t)p->b.kv_block_bytes, &p->kv_bytes))
        return fail(e, ERR_LIMIT, "%" PRIu64 " KV blocks are more than can be addressed", n_block);
    p->n_kv_block = (uint32_t)n_block;
    p->total_bytes = (uint64_t)p->b.weight_bytes + p->b.mapped_bytes + p->b.scratch_bytes + p->kv_bytes;
    return OK;
}

static status open_to_plan(struct backend **out, const struct engine_options *o, struct error *e)
{
    const struct backend_options plan_only = {.device = BACKEND_NO_DEVICE,
                                              .share = o->share,
                                              .n_share = o->n_share,
                                              .kv_bytes = o->kv_bytes,
                                              .n_thread = o->n_thread,
                                              .host = o->host};
    return o->api->open(out, &plan_only, e);
}

status memory_plan(struct memory_plan *out, const struct model_desc *m, const struct engine_options *o,
                   struct error *e)
{
    struct backend *b;
    TRY(open_to_plan(&b, o, e));
    status s = plan_on(out, b, m, o, 0, e);
    o->api->close(b);
    return s;
}

/* --- for placement --- */

/* What a process takes beside its plan: on a GPU the driver's context, the kernels and the buffers that
 * weights are loaded through (64 MiB); on the host the program, the tokenizer and what clients are in the
 * middle of. */
static const struct trait {
    const char *backend;
    enum place_kind kind;
    uint64_t overhead_bytes;
} traits[] = {
    {"cuda", PLACE_GPU, (uint64_t)640 << 20},
    {"sim", PLACE_HOST, (uint64_t)96 << 20},
    {"cpu", PLACE_HOST, (uint64_t)96 << 20},
    {"ref", PLACE_HOST, (uint64_t)96 << 20},
};

static const struct trait *trait_of(const char *backend)
{
    for (size_t i = 0; i < COUNT_OF(traits); i++)
        if (!strcmp(traits[i].backend, backend)) return &traits[i];
    return &traits[COUNT_OF(traits) - 1];
}

/* Every cut has what the planner says of its parts. */
static status fill_layers(struct place_plan *p, struct backend *b, const struct model_desc *m,
                          const struct engine_options *o, const struct memory_plan *first, struct error *e)
{
    struct backend_limits l;
    struct backend_weights w;
    engine_limits(&l, m, o);
    TRY(backend_weigh(&w, o->api, b, m, &l, e));
    p->first_bytes = w.first_bytes;
    p->last_bytes = w.last_bytes;
    p->tied_bytes = w.tied_bytes;
    p->overhead_bytes += w.each_bytes;
    for (uint32_t i = 0; i < p->n_layer; i++)
        p->layer[i] = (struct place_layer){.weight_bytes = w.layer_bytes[i],
                                           .kv_block_bytes = first->b.kv_block_bytes / p->n_layer};
    backend_weights_deinit(&w);
    return OK;
}

static status add_rung(struct place_plan *p, struct memory_plan *plan, struct backend *b,
                       const struct model_desc *m, const struct engine_options *o, uint32_t kv_sequences,
                       struct error *e)
{
    if (p->n_rung == PLACE_MAX_RUNGS) return OK; /* small enough by then */
    TRY(plan_on(plan, b, m, o, kv_sequences, e));
    struct place_rung *r = &p->rung[p->n_rung++];
    *r = (struct place_rung){.parallel = plan->parallel,
                             .context = plan->context,
                             .kv_sequences = plan->kv_sequences,
                             .kv_block_bytes = plan->b.kv_block_bytes,
                             .scratch_bytes = plan->b.scratch_bytes};
    snprintf(r->kv_type, sizeof r->kv_type, "%s", dtype_info(plan->kv_type)->name);
    return OK;
}

/* KV for fewer sequences of full length, then the other KV type, then less context: by a quarter or a third
 * at a time. As many as before may be under way all the same: short ones share the cache, and the engine lets
 * long ones wait. */
static status climb_down(struct place_plan *p, struct backend *b, const struct model_desc *m,
                         struct engine_options *o, const struct memory_ladder *ladder, struct error *e)
{
    struct memory_plan plan;
    const uint32_t asked = o->max_context,
                   least = MIN(asked, ladder->min_context ? ladder->min_context : 2048u);
    uint32_t sequences = p->rung[0].kv_sequences;
    while (sequences > 1) TRY(add_rung(p, &plan, b, m, o, sequences /= 2, e));
    if (ladder->has_kv_fallback && ladder->kv_fallback != o->kv_type) {
        const enum dtype before = o->kv_type;
        o->kv_type = ladder->kv_fallback;
        status s = add_rung(p, &plan, b, m, o, sequences, e);
        if (s == ERR_UNSUPPORTED) /* a model whose heads do not fit it goes without */
            o->kv_type = before;
        else if (s != OK)
            return s;
    }
    for (uint32_t power = asked; o->max_context > least && p->n_rung < PLACE_MAX_RUNGS;) {
        const uint32_t three_quarters = (uint32_t)((uint64_t)power * 3 / 4);
        o->max_context = o->max_context > three_quarters ? three_quarters : (power /= 2);
        o->max_context = MAX(o->max_context / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS, least);
        TRY(add_rung(p, &plan, b, m, o, sequences, e));
    }
    return OK;
}

/* Can the CPU compute some layers? Not all have its types of weights and of numbers in the KV cache. */
static bool on_cpu(const struct model_desc *m, const struct engine_options *options, enum dtype kv_type)
{
    struct engine_options o = *options;
    struct memory_plan plan;
    struct error e;
    o.api = &backend_cpu;
    o.kv_type = kv_type;
    return memory_plan(&plan, m, &o, &e) == OK;
}

status memory_place_plan(struct place_plan *out, const struct model_desc *m,
                         const struct engine_options *options, const struct memory_ladder *ladder,
                         struct error *e)
{
    const struct trait *t = trait_of(options->api->name);
    struct engine_options o = *options;
    struct memory_plan first;
    struct backend *b;
    *out = (struct place_plan){0};
    if (m->cfg.n_layer == 0 || m->cfg.n_layer > PLACE_MAX_LAYERS)
        return fail(e, ERR_LIMIT, "%u layers: 1 to %d can be placed", m->cfg.n_layer, PLACE_MAX_LAYERS);
    TRY(open_to_plan(&b, options, e));
    o.max_context = context_of(m, options);
    *out = (struct place_plan){.kind = t->kind,
                               /* One of the shares is the host's, if it helps. */
                               .max_devices = t->kind == PLACE_GPU ? BACKEND_MAX_SHARES - 1 : 1,
                               .kv_block_tokens = KV_BLOCK_TOKENS,
                               .context_trained = m->cfg.n_ctx_train,
                               .overhead_bytes =
                                   ladder->has_overhead ? ladder->overhead_bytes : t->overhead_bytes,
                               .n_layer = m->cfg.n_layer,
                               .layer = mem_zalloc(m->cfg.n_layer, sizeof *out->layer),
                               .rung = mem_zalloc(PLACE_MAX_RUNGS, sizeof *out->rung)};
    snprintf(out->backend, sizeof out->backend, "%s", options->api->name);
    status s = add_rung(out, &first, b, m, &o, 0, e);
    if (s == OK) s = fill_layers(out, b, m, &o, &first, e);
    if (s == OK) s = climb_down(out, b, m, &o, ladder, e);
    out->partial_cpu = s == OK && t->kind == PLACE_GPU && on_cpu(m, options, options->kv_type) &&
                       on_cpu(m, options, o.kv_type);
    options->api->close(b);
    if (s != OK) place_plan_deinit(out);
    return s;
}
