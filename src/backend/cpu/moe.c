/* Mixture of experts: route every token, group the (token, expert) pairs by expert, multiply each expert's
 * rows once for all its tokens, and add up each token's experts in the order of their choice. */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu_int.h"

struct moe_work {
    struct backend_model *bm;
    const struct op_moe *op;
};

/* The n_used best, best first, ties to the lower index. */
static void route_task(void *ctx, uint32_t t, uint32_t thread)
{
    const struct moe_work *w = ctx;
    struct scratch *s = &w->bm->s;
    const struct op_moe *op = w->op;
    const uint32_t n = w->bm->m->cfg.n_expert, n_used = op->n_used;
    const float *logits = s->route_logits + (size_t)t * n;
    uint32_t *chosen = s->route + (size_t)t * n_used;
    float *gate = s->route_gate + (size_t)t * n_used;
    float max = -INFINITY, all = 0, sum = 0;

    for (uint32_t i = 0; i < n_used; i++) { /* insertion into a short sorted list */
        chosen[i] = UINT32_MAX;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = n_used;
        while (at > 0 && (chosen[at - 1] == UINT32_MAX || logits[i] > logits[chosen[at - 1]])) at--;
        if (at == n_used) continue;
        memmove(chosen + at + 1, chosen + at, (n_used - at - 1) * sizeof *chosen);
        chosen[at] = i;
    }
    for (uint32_t i = 0; i < n; i++) max = logits[i] > max ? logits[i] : max;
    for (uint32_t i = 0; i < n; i++) all += expf(logits[i] - max);
    for (uint32_t k = 0; k < n_used; k++) sum += gate[k] = expf(logits[chosen[k]] - max);
    float div = op->softmax_after_topk || op->renormalize ? sum : all;
    for (uint32_t k = 0; k < n_used; k++) gate[k] = gate[k] / div * op->scale;
}

/* Counting sort of the slots (token t, choice k) by expert. */
static void group_by_expert(struct backend_model *bm, uint32_t n_used)
{
    struct scratch *s = &bm->s;
    const uint32_t n = bm->m->cfg.n_expert, n_slot = bm->n_tok * n_used;
    memset(s->expert_at, 0, (n + 1) * sizeof *s->expert_at);
    for (uint32_t i = 0; i < n_slot; i++) s->expert_at[s->route[i] + 1]++;
    for (uint32_t i = 0; i < n; i++) s->expert_at[i + 1] += s->expert_at[i];
    for (uint32_t i = 0; i < n_slot; i++) {
        uint32_t at = s->expert_at[s->route[i]]++; /* moves the start to the end; put right below */
        s->slot_token[at] = i / n_used;
        s->slot_row[at] = i;
    }
    memmove(s->expert_at + 1, s->expert_at, n * sizeof *s->expert_at);
    s->expert_at[0] = 0;
}

/* y = w x for every expert that has slots, as one stage. */
static uint32_t add_products(struct backend_model *bm, struct mm *mm, const struct weight *w,
                             const struct acts *x, const uint32_t *col, float *y, size_t ldy)
{
    struct scratch *s = &bm->s;
    uint32_t n = 0;
    for (uint32_t i = 0; i < bm->m->cfg.n_expert; i++) {
        uint32_t from = s->expert_at[i], n_slot = s->expert_at[i + 1] - from;
        if (!n_slot) continue;
        mm[n++] = (struct mm){.w = w,
                              .expert = i,
                              .n_out = w->dim[1],
                              .x = x,
                              .col = col + from,
                              .out_row = s->slot_row + from,
                              .n_col = n_slot,
                              .y = y,
                              .ldy = ldy};
    }
    return n;
}

static void combine_task(void *ctx, uint32_t t, uint32_t thread)
{
    const struct moe_work *w = ctx;
    struct scratch *s = &w->bm->s;
    const size_t n = w->bm->m->cfg.n_embd;
    float *y = s->y + t * n;
    memset(y, 0, n * sizeof *y);
    for (uint32_t k = 0; k < w->op->n_used; k++) {
        size_t slot = (size_t)t * w->op->n_used + k;
        w->bm->b->k->scale_add(y, s->down + slot * n, s->route_gate[slot], n);
    }
}

static void shared_add_task(void *ctx, uint32_t t, uint32_t thread)
{
    const struct moe_work *w = ctx;
    struct scratch *s = &w->bm->s;
    const size_t n = w->bm->m->cfg.n_embd;
    float scale = 1;
    if (w->op->sh_router) scale = 1.0f / (1.0f + expf(-s->route_gate[t]));
    w->bm->b->k->scale_add(s->y + t * n, s->down + t * n, scale, n);
}

static struct mm whole(struct backend_model *bm, wref w, const struct acts *x, float *y, size_t ldy)
{
    const struct weight *wt = weight_of(bm, w);
    return (struct mm){
        .w = wt, .n_out = wt->rank == 1 ? 1 : wt->dim[0], .x = x, .n_col = bm->n_tok, .y = y, .ldy = ldy};
}

/* The expert that every token takes; its output, scaled by its own gate, on top of the others'. */
static void shared_expert(struct moe_work *w)
{
    struct backend_model *bm = w->bm;
    const struct op_moe *op = w->op;
    struct scratch *s = &bm->s;
    struct mm mm[3] = {whole(bm, op->sh_gate, &s->h, s->gate, s->u.ldf),
                       whole(bm, op->sh_up, &s->h, s->u.f, s->u.ldf)};
    uint32_t n = 2;
    if (op->sh_router) mm[n++] = whole(bm, op->sh_router, &s->h, s->route_gate, 1);
    matmul_run(bm, STAGE_UP, mm, n);
    step_gate_quantize(bm, bm->n_tok, (size_t)weight_of(bm, op->sh_up)->dim[0], op->act, true,
                       matmul_form(bm, op->sh_down));
    mm[0] = whole(bm, op->sh_down, &s->u, s->down, bm->m->cfg.n_embd);
    matmul_run(bm, STAGE_DOWN, mm, 1);
    stage_run(bm, STAGE_ROUTE, bm->n_tok, shared_add_task, w);
}

void step_moe(struct backend_model *bm, const struct op_moe *op)
{
    struct scratch *s = &bm->s;
    struct moe_work w = {bm, op};
    const struct weight *gate = weight_of(bm, op->gate), *up = weight_of(bm, op->up),
                        *down = weight_of(bm, op->down);
    const wref all[] = {op->router, op->gate, op->up, op->sh_router, op->sh_gate, op->sh_up};
    unsigned forms = 0;
    uint32_t n;

    for (size_t i = 0; i < COUNT_OF(all); i++) forms |= matmul_form(bm, all[i]);
    step_normalise(bm, &op->norm, forms);
    s->mm[0] = whole(bm, op->router, &s->h, s->route_logits, bm->m->cfg.n_expert);
    matmul_run(bm, STAGE_ROUTE, s->mm, 1);
    stage_run(bm, STAGE_ROUTE, bm->n_tok, route_task, &w);
    group_by_expert(bm, op->n_used);

    n = add_products(bm, s->mm, gate, &s->h, s->slot_token, s->gate, s->u.ldf);
    n += add_products(bm, s->mm + n, up, &s->h, s->slot_token, s->u.f, s->u.ldf);
    matmul_run(bm, STAGE_UP, s->mm, n);
    step_gate_quantize(bm, bm->n_tok * op->n_used, (size_t)up->dim[1], op->act, true,
                       matmul_form(bm, op->down));
    n = add_products(bm, s->mm, down, &s->u, s->slot_row, s->down, bm->m->cfg.n_embd);
    matmul_run(bm, STAGE_DOWN, s->mm, n);
    stage_run(bm, STAGE_ROUTE, bm->n_tok, combine_task, &w);
    if (op->sh_gate) shared_expert(&w);
    step_add_residual(bm, s->y, &op->post_norm);
}
