/* Fields that every family takes under the same names: sampling, log-probabilities of a token, constraints,
 * scheduling (shared/design API_SURFACE, section 2, has the peers' names and ranges). */
#include <string.h>

#include "api/request.h"
#include "kv/kv.h"

static bool set_top_k(struct parse *p, const char *name, const json_t *v)
{
    if (p->r->params.top_k < 0) p->r->params.top_k = 0; /* vLLM says -1 for "off" */
    return true;
}

static bool set_cache_prompt(struct parse *p, const char *name, const json_t *v)
{
    p->r->no_cache = !json_is_true(v);
    return true;
}

/* Who names a prefix comes back to it. */
static bool set_cache_key(struct parse *p, const char *name, const json_t *v)
{
    p->r->cache_class = MAX(p->r->cache_class, (uint8_t)KV_SESSION);
    return true;
}

static bool set_cache_retention(struct parse *p, const char *name, const json_t *v)
{
    if (!strcmp(json_string_value(v), "24h")) p->r->cache_class = KV_WORKSPACE;
    return true;
}

#define BIG 2147483647.0
// clang-format off
static const struct field rows[] = {
    {"temperature", FIELD_REAL, 0, 2, AT(params.temperature), .def = "1", .help = "0: always the likeliest token"},
    {"top_p", FIELD_REAL, 0, 1, AT(params.top_p), .def = "1", .help = "draw from the likeliest tokens that add up to this"},
    {"top_k", FIELD_INT, -1, BIG, AT(params.top_k), set_top_k, .def = "0", .help = "draw from the k likeliest tokens; 0 or -1: all"},
    {"min_p", FIELD_REAL, 0, 1, AT(params.min_p), .def = "0", .help = "drop tokens less likely than this times the likeliest"},
    {"typical_p", FIELD_REAL, 0, 1, AT(params.typical_p), .def = "1", .help = "locally typical sampling; 1: off"},
    {"top_n_sigma", FIELD_REAL, -1, 100, AT(params.top_n_sigma), .def = "-1", .help = "keep logits within n standard deviations of the largest; <= 0: off"},
    {"xtc_probability", FIELD_REAL, 0, 1, AT(params.xtc_probability), .def = "0", .help = "how often the likeliest tokens are left out"},
    {"xtc_threshold", FIELD_REAL, 0, 1, AT(params.xtc_threshold), .def = "0.1", .help = "which tokens count as likely for that"},
    {"dynatemp_range", FIELD_REAL, 0, 100, AT(params.dynatemp_range), .def = "0", .help = "temperature varies with the entropy by this much"},
    {"dynatemp_exponent", FIELD_REAL, 0, 100, AT(params.dynatemp_exponent), .def = "1"},
    {"dry_multiplier", FIELD_REAL, 0, 100, AT(params.dry_multiplier), .def = "0", .help = "penalty on going on with what was said before; 0: off"},
    {"dry_base", FIELD_REAL, 1, 100, AT(params.dry_base), .def = "1.75"},
    {"dry_allowed_length", FIELD_INT, 0, BIG, AT(params.dry_allowed_length), .def = "2"},
    {"dry_penalty_last_n", FIELD_INT, -1, BIG, AT(params.dry_penalty_last_n), .def = "-1"},
    {"dry_sequence_breakers", FIELD_ARRAY, 0, 64, 0, set_dry_breakers, .schema = "\"items\":{\"type\":\"string\"}"},
    {"mirostat", FIELD_INT, 0, 2, AT(params.mirostat), .def = "0"},
    {"mirostat_tau", FIELD_REAL, 0, 100, AT(params.mirostat_tau), .def = "5"},
    {"mirostat_eta", FIELD_REAL, 0, 1, AT(params.mirostat_eta), .def = "0.1"},
    {"adaptive_target", FIELD_REAL, -1, 1, AT(params.adaptive_target), .def = "-1"},
    {"adaptive_decay", FIELD_REAL, 0, 0.99, AT(params.adaptive_decay), .def = "0.9"},
    {"frequency_penalty", FIELD_REAL, -2, 2, AT(params.frequency_penalty), .def = "0"},
    {"presence_penalty", FIELD_REAL, -2, 2, AT(params.presence_penalty), .def = "0"},
    {"repeat_penalty", FIELD_REAL, 0.01, 100, AT(params.repeat_penalty), .def = "1"},
    {"repetition_penalty", FIELD_REAL, 0.01, 100, AT(params.repeat_penalty), .def = "1", .help = "vLLM's name of repeat_penalty"},
    {"repeat_last_n", FIELD_INT, -1, BIG, AT(params.repeat_last_n), .def = "64", .help = "how many tokens back the three penalties look; -1: all"},
    {"min_keep", FIELD_COUNT, 0, BIG, AT(params.min_keep), .def = "0"},
    {"samplers", FIELD_ANY, 0, 0, 0, set_samplers, .schema = "\"type\":[\"array\",\"string\"],\"items\":{\"type\":\"string\"}", .help = "the chain, in order"},
    {"seed", FIELD_ANY, 0, 0, 0, set_seed, .schema = "\"type\":\"integer\"", .help = "the same seed gives the same text; -1 or none: any"},
    {"logit_bias", FIELD_ANY, 0, 0, 0, set_logit_bias, .schema = "\"type\":[\"object\",\"array\"]", .help = "token id to -100 .. 100; -100 forbids"},
    {"post_sampling_probs", FIELD_FLAG, 0, 0, AT(params.post_sampling_probs), .def = "false", .help = "log-probabilities after the chain, not of the model"},

    {"min_tokens", FIELD_COUNT, 0, BIG, AT(params.min_tokens), .def = "0", .help = "neither an end token nor a stop string ends the answer before"},
    {"ignore_eos", FIELD_FLAG, 0, 0, AT(params.ignore_eos), .def = "false"},
    {"stop_token_ids", FIELD_ARRAY, 0, 1024, 0, set_stop_ids, .schema = "\"items\":{\"type\":\"integer\"}", .help = "tokens that end the answer, besides the model's own"},
    {"include_stop_str_in_output", FIELD_FLAG, 0, 0, AT(keep_stop), .def = "false"},

    {"grammar", FIELD_ANY, 0, 0, 0, set_constraint, .schema = "\"type\":\"string\"", .help = "GBNF that the answer follows"},
    {"json_schema", FIELD_ANY, 0, 0, 0, set_constraint, .schema = "\"type\":\"object\"", .help = "JSON schema that the answer follows"},
    {"structured_outputs", FIELD_ANY, 0, 0, 0, set_constraint, .schema = "\"type\":\"object\"", .help = "vLLM's: json, regex, choice, grammar or json_object"},
    {"guided_json", FIELD_ANY, 0, 0, 0, set_constraint, .schema = "\"type\":[\"object\",\"string\"]"},
    {"guided_regex", FIELD_ANY, 0, 0, 0, set_constraint, .schema = "\"type\":\"string\""},
    {"guided_choice", FIELD_ANY, 0, 0, 0, set_constraint, .schema = "\"type\":\"array\",\"items\":{\"type\":\"string\"}"},
    {"guided_grammar", FIELD_ANY, 0, 0, 0, set_constraint, .schema = "\"type\":\"string\""},

    {"lenient_schema", FIELD_FLAG, 0, 0, AT(constraint.options.lenient), .def = "false", .help = "leave out what of a schema cannot be enforced, and name it in X-Corral-Left-Out"},

    {"priority", FIELD_INT, -8, 7, AT(priority), .def = "0", .help = "lower is more urgent"},
    {"cache_salt", FIELD_TEXT, 0, 256, AT(cache_salt), .help = "prompts share cached prefixes among equal salts only"},
    {"cache_prompt", FIELD_FLAG, 0, 0, 0, set_cache_prompt, .def = "true", .help = "use and feed the prefix cache"},
    {"prompt_cache_key", FIELD_TEXT, 0, 0, 0, set_cache_key, .help = "a prefix that comes again: it is kept longer than others"},
    {"prompt_cache_retention", FIELD_TEXT, 0, 0, 0, set_cache_retention, .choices = "in_memory|in-memory|24h", .help = "24h: kept longest, also by a worker that sleeps"},
    {"timeout", FIELD_SECONDS, 0, 86400, AT(total_timeout_ns), .help = "seconds until the answer must be complete"},
    {"queue_timeout", FIELD_SECONDS, 0, 86400, AT(queue_timeout_ns), .help = "seconds until it must be begun"},
    {"first_token_timeout", FIELD_SECONDS, 0, 86400, AT(first_timeout_ns), .help = "seconds until the first token"},

    {"bad_words", FIELD_ARRAY, .use = FIELD_REFUSED},
    {"allowed_token_ids", FIELD_ARRAY, .use = FIELD_REFUSED},
    {"prompt_logprobs", FIELD_ANY, .use = FIELD_REFUSED},
    {"use_beam_search", FIELD_FLAG, .use = FIELD_REFUSED},
    {"length_penalty", FIELD_REAL, .use = FIELD_REFUSED, .def = "1.0"},
    {"lora", FIELD_ARRAY, .use = FIELD_REFUSED},
    {"truncate_prompt_tokens", FIELD_ANY, .use = FIELD_REFUSED, .help = "shorten the prompt before you send it"},
};
// clang-format on
const struct field_table sampling_fields = {"Sampling", rows, COUNT_OF(rows), NULL};
