#include "cli/sampling.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* "15043+1.5", "15043-1", "15043=-inf" */
static status parse_bias(const char *text, uint32_t n_vocab, struct sample_bias *out, struct error *e)
{
    char *end;
    long id = strtol(text, &end, 10);
    if (end == text || !*end || !strchr("+-=", *end))
        return fail(e, ERR_ARG, "--logit-bias: '%s' is not ID+X, ID-X or ID=X", text);
    if (id < 0 || (unsigned long)id >= n_vocab)
        return fail(e, ERR_ARG, "--logit-bias: token %ld is out of range, it must be 0 to %u", id,
                    n_vocab - 1);
    const char *number = end + (*end == '=');
    double bias = strtod(number, &end);
    if (end == number || *end || isnan(bias))
        return fail(e, ERR_ARG, "--logit-bias: '%s' is not a number in '%s'", number, text);
    *out = (struct sample_bias){(int32_t)id, (float)bias};
    return OK;
}

static status add_biases(struct sampling *out, const struct opt_list *list, uint32_t n_vocab, struct error *e)
{
    if (!list->n) return OK;
    out->bias = mem_zalloc(list->n, sizeof *out->bias);
    for (size_t i = 0; i < list->n; i++) TRY(parse_bias(list->item[i], n_vocab, &out->bias[i], e));
    out->params.bias = out->bias;
    out->params.n_bias = (uint32_t)list->n;
    return OK;
}

static status add_breakers(struct sampling *out, const struct opt_list *list, const struct tokenizer *t,
                           struct error *e)
{
    static const char *usual[] = {"\n", ":", "\"", "*"};
    const char **text = list->n ? list->item : usual;
    size_t n = list->n ? list->n : COUNT_OF(usual);
    struct tok_options options = {.bos = TOK_BOS_OFF, .no_prefix = true};
    out->breaker_at = mem_zalloc(n + 1, sizeof *out->breaker_at);
    for (size_t i = 0; i < n; i++) {
        TRY(tokenizer_encode(t, text[i], strlen(text[i]), &options, &out->breaker_ids, e));
        out->breaker_at[i + 1] = (uint32_t)out->breaker_ids.n;
    }
    out->params.dry_breaker_ids = out->breaker_ids.id;
    out->params.dry_breaker_at = out->breaker_at;
    out->params.n_dry_breaker = (uint32_t)n;
    return OK;
}

status sampling_init(struct sampling *out, const struct sampling_options *o, const struct session *s,
                     struct error *e)
{
    struct sample_params *p = &out->params;
    sample_params_default(p);
    p->seed = o->seed < 0 ? rng_seed_from_os() : (uint64_t)o->seed;
    p->temperature = (float)o->temp;
    p->dynatemp_range = (float)o->dynatemp_range;
    p->dynatemp_exponent = (float)o->dynatemp_exponent;
    p->top_k = (int32_t)o->top_k;
    p->top_p = (float)o->top_p;
    p->min_p = (float)o->min_p;
    p->typical_p = (float)o->typical_p;
    p->top_n_sigma = (float)o->top_n_sigma;
    p->xtc_probability = (float)o->xtc_probability;
    p->xtc_threshold = (float)o->xtc_threshold;
    p->dry_multiplier = (float)o->dry_multiplier;
    p->dry_base = (float)o->dry_base;
    p->dry_allowed_length = (int32_t)o->dry_allowed_length;
    p->dry_penalty_last_n = (int32_t)o->dry_penalty_last_n;
    p->mirostat = (int32_t)o->mirostat;
    p->mirostat_tau = (float)o->mirostat_tau;
    p->mirostat_eta = (float)o->mirostat_eta;
    p->adaptive_target = (float)o->adaptive_target;
    p->adaptive_decay = (float)o->adaptive_decay;
    p->repeat_penalty = (float)o->repeat_penalty;
    p->frequency_penalty = (float)o->frequency_penalty;
    p->presence_penalty = (float)o->presence_penalty;
    p->repeat_last_n = (int32_t)o->repeat_last_n;
    p->min_keep = (uint32_t)o->min_keep;
    p->min_tokens = (uint32_t)o->min_tokens;
    p->ignore_eos = o->ignore_eos;
    p->eog = s->eog;
    p->n_eog = s->n_eog;
    if (o->samplers) TRY(sample_chain_parse(p, o->samplers, e));
    TRY(add_biases(out, &o->logit_bias, model_desc(s->model)->cfg.n_vocab, e));
    if (o->dry_multiplier > 0) TRY(add_breakers(out, &o->dry_breaker, s->tok, e));
    return sample_params_check(p, e);
}

void sampling_deinit(struct sampling *s)
{
    free(s->bias);
    free(s->breaker_at);
    tok_ids_deinit(&s->breaker_ids);
    memset(s, 0, sizeof *s);
}
