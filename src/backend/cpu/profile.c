/* Time per kind of stage: two looks at the clock for a stage, some hundreds a step, are too little to switch
 * off. */
#include <string.h>

#include "backend/cpu/cpu_int.h"
#include "base/clock.h"

static const char *const stage_name[N_STAGE] = {
    [STAGE_EMBED] = "embedding, angles",
    [STAGE_NORM] = "norm, quantize",
    [STAGE_QKV] = "q, k, v",
    [STAGE_KV] = "rope, kv store",
    [STAGE_ATTENTION] = "attention",
    [STAGE_ATTENTION_OUT] = "attention output",
    [STAGE_UP] = "ffn gate, up",
    [STAGE_ACT] = "activation, quantize",
    [STAGE_DOWN] = "ffn down",
    [STAGE_ROUTE] = "routing, combining",
    [STAGE_RESIDUAL] = "residual",
    [STAGE_LOGITS] = "logits",
};

void stage_run(struct backend_model *bm, enum stage stage, uint32_t n_task, crew_task fn, void *ctx)
{
    if (n_task == 0) return;
    int64_t start = clock_ns();
    crew_run(bm->b->crew, n_task, fn, ctx);
    bm->stage[stage].ns += clock_ns() - start;
    bm->stage[stage].count++;
}

void stage_count(struct backend_model *bm, enum stage stage, double bytes, double ops)
{
    bm->stage[stage].bytes += bytes;
    bm->stage[stage].ops += ops;
}

size_t stage_profile(struct backend_model *bm, struct backend_stage *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < N_STAGE && n < max; i++) {
        if (!bm->stage[i].count) continue;
        out[n] = bm->stage[i];
        out[n++].name = stage_name[i];
    }
    memset(bm->stage, 0, sizeof bm->stage);
    return n;
}
