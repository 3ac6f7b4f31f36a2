#include "sample/program.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "sample/strategy.h"

static bool is_on(int strategy, const struct sample_params *p)
{
    return !strategy_table[strategy].is_off(p);
}

/* Penalties look tokens up in the whole vocabulary: on a device they come before anything is cut off. */
static bool chain_is_portable(const struct sample_params *p, bool greedy)
{
    bool cut = false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_chain; i++) {
        const uint8_t id = p->chain[i];
        if (!is_on(id, p) || (greedy && !strategy_table[id].shapes)) continue;
        if (n++ == PROGRAM_OPS) return false;
        switch (id) {
        case STRATEGY_PENALTIES:
            if (cut) return false;
            break;
        case STRATEGY_TOP_K:
        case STRATEGY_TOP_P:
        case STRATEGY_MIN_P: cut = true; break;
        case STRATEGY_TEMPERATURE: break;
        default: return false;
        }
    }
    return true;
}

static bool biases_are_distinct(const struct sample_params *p)
{
    for (uint32_t i = 0; i < p->n_bias; i++)
        for (uint32_t j = 0; j < i; j++)
            if (p->bias[i].token == p->bias[j].token) return false;
    return true;
}

bool program_is_portable(const struct sample_params *p, uint32_t n_vocab)
{
    const bool greedy = is_on(STRATEGY_GREEDY, p), report = p->want_logprob || p->n_logprobs;
    if (!greedy && (p->dynatemp_range > 0 || is_on(STRATEGY_MIROSTAT, p) || is_on(STRATEGY_ADAPTIVE, p)))
        return false;
    if (report && p->post_sampling_probs) return false;
    if (n_vocab > PROGRAM_MAX_VOCAB || p->n_logprobs > PROGRAM_TOP) return false;
    if (p->n_bias + p->n_eog > PROGRAM_EDITS) return false;
    return biases_are_distinct(p) && chain_is_portable(p, greedy);
}

static bool fill_edits(struct sampler *s, struct sample_program *out)
{
    const struct sample_params *p = &s->p;
    const bool forbid = p->ignore_eos || s->n_out < p->min_tokens;
    uint32_t n = 0;
    out->n_bias = p->n_bias;
    out->n_forbid = forbid ? p->n_eog : 0;
    out->n_penalty = is_on(STRATEGY_PENALTIES, p) ? s->recent.n_distinct : 0;
    const uint32_t all = out->n_bias + out->n_forbid + out->n_penalty;
    if (all > PROGRAM_EDITS) return false;
    if (all && !s->edit) s->edit = mem_zalloc(PROGRAM_EDITS, sizeof *s->edit);
    for (uint32_t i = 0; i < out->n_bias; i++)
        s->edit[n++] = (struct program_edit){.token = p->bias[i].token, .bias = p->bias[i].bias};
    for (uint32_t i = 0; i < out->n_forbid; i++) s->edit[n++] = (struct program_edit){.token = p->eog[i]};
    for (uint32_t i = 0; i < out->n_penalty; i++) {
        const int32_t t = s->recent.distinct[i];
        s->edit[n++] = (struct program_edit){.token = t, .n_out = s->recent.count_out[t]};
    }
    out->edit = s->edit;
    return true;
}

bool sampler_program(struct sampler *s, uint64_t position, struct sample_program *out)
{
    const struct sample_params *p = &s->p;
    if (!s->portable) return false;
    *out = (struct sample_program){.u = rng_uniform(p->seed, p->choice, position, LANE_DRAW),
                                   .min_keep = p->min_keep,
                                   .n_top = p->n_logprobs,
                                   .greedy = is_on(STRATEGY_GREEDY, p),
                                   .report = p->want_logprob || p->n_logprobs,
                                   .repeat = p->repeat_penalty,
                                   .frequency = p->frequency_penalty,
                                   .presence = p->presence_penalty};
    for (uint32_t i = 0; i < p->n_chain; i++) {
        const uint8_t id = p->chain[i];
        if (!is_on(id, p) || (out->greedy && !strategy_table[id].shapes)) continue;
        struct program_op *op = &out->op[out->n_op++];
        switch (id) {
        case STRATEGY_TOP_K:
            *op = (struct program_op){PROGRAM_TOP_K, MAX((uint32_t)p->top_k, p->min_keep), 0};
            break;
        case STRATEGY_TOP_P: *op = (struct program_op){PROGRAM_TOP_P, 0, p->top_p}; break;
        case STRATEGY_MIN_P: *op = (struct program_op){PROGRAM_MIN_P, 0, logf(p->min_p)}; break;
        case STRATEGY_TEMPERATURE: *op = (struct program_op){PROGRAM_TEMPERATURE, 0, p->temperature}; break;
        default: *op = (struct program_op){.kind = PROGRAM_PENALTIES}; break;
        }
    }
    return fill_edits(s, out);
}

bool sampler_steady(const struct sampler *s)
{
    const struct sample_params *p = &s->p;
    const bool counts = p->n_eog && !p->ignore_eos && s->n_out < p->min_tokens;
    return s->portable && !counts && !is_on(STRATEGY_PENALTIES, p);
}

status sampler_take(struct sampler *s, const struct program_answer *a, struct sample_result *out,
                    struct error *e)
{
    *out = (struct sample_result){.token = a->token, .top = s->top};
    s->pending.token = -1;
    if (a->token < 0) return sampler_nothing_left(s->n_vocab, e);
    if (!s->p.want_logprob && !s->p.n_logprobs) return OK;
    const double log_total = a->max + log(a->sum);
    out->logprob = (float)MIN(a->logit - log_total, 0.0);
    out->n_top = a->n_top;
    for (uint32_t i = 0; i < a->n_top; i++)
        s->top[i] = (struct sample_logprob){a->top[i].token, (float)MIN(a->top[i].logit - log_total, 0.0)};
    return OK;
}
