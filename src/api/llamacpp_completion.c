/* POST /completion and /infill. */
#include <stdlib.h>
#include <string.h>

#include "api/fim.h"
#include "api/generator.h"
#include "api/llamacpp.h"

/* ---- prompts ----------------------------------------------------------------------------------------- */

static bool add_id(struct parse *p, const char *name, const json_t *v, struct tok_ids *ids)
{
    json_int_t id = json_integer_value(v), n = tokenizer_n_vocab(p->api->o.tok);
    if (id < 0 || id >= n)
        return refuse(p->f, 400, "value_out_of_range", name,
                      "'%s': %lld is not a token id between 0 and %lld", name, (long long)id,
                      (long long)n - 1);
    tok_ids_add(ids, (int32_t)id);
    return true;
}

/* Texts and token ids in a row. */
static bool mixed_prompt(struct parse *p, const char *name, const json_t *list, struct prompt *out)
{
    struct tok_options o = {.bos = TOK_BOS_AUTO, .parse_special = true};
    struct error e;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (json_is_integer(v)) {
            if (!add_id(p, name, v, &out->ids)) return false;
        } else if (!json_is_string(v)) {
            return field_wrong_type(p, name, "a string, or an array of strings and token ids");
        } else if (tokenizer_encode(p->api->o.tok, json_string_value(v), json_string_length(v), &o, &out->ids,
                                    &e) != OK) {
            return refuse(p->f, 400, "invalid_value", name, "'%s': %s", name, e.msg);
        }
        o.bos = TOK_BOS_OFF;
    }
    return out->ids.n || refuse(p->f, 400, "invalid_value", name, "'%s' is empty", name);
}

static bool one_prompt(struct parse *p, const char *name, const json_t *v, struct prompt *out)
{
    if (json_is_object(v)) { /* the shape of prompts with pictures */
        if (json_array_size(json_object_get(v, "multimodal_data")))
            return refuse(p->f, 400, "unsupported_parameter", name,
                          "'%s' has multimodal_data: this model takes text only", name);
        v = json_object_get(v, "prompt_string");
    }
    if (json_is_array(v)) return mixed_prompt(p, name, v, out);
    if (!json_is_string(v)) return field_wrong_type(p, name, "a string, token ids, or an array of those");
    out->text = json_string_value(v);
    out->n = json_string_length(v);
    return out->n || refuse(p->f, 400, "invalid_value", name, "'%s' is empty", name);
}

/* An array with a token id in it is one prompt, any other is a list of prompts. */
static bool set_prompts(struct parse *p, const char *name, const json_t *v)
{
    bool many = json_is_array(v);
    for (size_t i = 0; i < json_array_size(v); i++) many = many && !json_is_integer(json_array_get(v, i));
    size_t n = many ? json_array_size(v) : 1;
    if (n < 1 || n > REQUEST_MAX_CHOICES)
        return refuse(p->f, 400, "value_out_of_range", name, "'%s' must hold between 1 and %d prompts", name,
                      REQUEST_MAX_CHOICES);
    request_add_prompts(p->r, n);
    for (size_t i = 0; i < n; i++)
        if (!one_prompt(p, name, many ? json_array_get(v, i) : v, &p->r->prompt[i])) return false;
    return true;
}

/* 0 asks for the prompt to be computed and no more: one token, which is not shown, is the least there is. */
static bool set_n_predict(struct parse *p, const char *name, const json_t *v)
{
    if (json_is_integer(v) && json_integer_value(v) == 0) {
        p->r->max_tokens = 1;
        return true;
    }
    return set_max_tokens(p, name, v);
}

static bool set_n_probs(struct parse *p, const char *name, const json_t *v)
{
    p->r->logprobs = p->r->params.n_logprobs > 0;
    return true;
}

// clang-format off
#define BIG 2147483647.0
static const struct field common_rows[] = {
    {"model", FIELD_TEXT, .set = set_model, .help = "the served model's name or an alias; none: that model"},
    {"n_predict", FIELD_ANY, .set = set_n_predict, .schema = "\"type\":\"integer\"", .def = "-1", .help = "-1: until the context is full"},
    {"max_tokens", FIELD_ANY, .set = set_n_predict, .schema = "\"type\":\"integer\""},
    {"stream", FIELD_FLAG, 0, 0, AT(stream), .def = "false"},
    {"stop", FIELD_ANY, .set = set_stop, .schema = "\"type\":[\"string\",\"array\"]"},
    {"n_probs", FIELD_COUNT, 0, REQUEST_MAX_TOP, AT(params.n_logprobs), set_n_probs, .def = "0", .help = "likeliest tokens to report for each"},
    {"n_cmpl", FIELD_COUNT, 1, REQUEST_MAX_CHOICES, AT(n), .def = "1", .help = "answers to each prompt"},
    {"n", FIELD_COUNT, 1, REQUEST_MAX_CHOICES, AT(n), .def = "1"},
    {"return_tokens", FIELD_FLAG, .def = "false", .help = "token ids of the whole answer"},
    {"response_fields", FIELD_ARRAY, 0, 64, .schema = "\"items\":{\"type\":\"string\"}", .help = "only these; a/b brings b of a up"},
    {"id_slot", FIELD_INT, -1, BIG, .use = FIELD_ACCEPTED, .help = "sequences are not tied to slots here"},
    {"n_keep", FIELD_INT, -1, BIG, .use = FIELD_ACCEPTED, .help = "nothing is shifted: an answer ends where the context is full"},
    {"n_discard", FIELD_INT, 0, BIG, .use = FIELD_ACCEPTED, .help = "as n_keep"},
    {"n_cache_reuse", FIELD_INT, 0, BIG, .use = FIELD_ACCEPTED, .help = "the prefix cache is used anyhow, and shifts nothing"},
    {"timings_per_token", FIELD_FLAG, .use = FIELD_IGNORED},
    {"return_progress", FIELD_FLAG, .use = FIELD_IGNORED},
    {"t_max_predict_ms", FIELD_INT, -1, BIG, .use = FIELD_IGNORED, .help = "see timeout"},
    {"n_indent", FIELD_INT, 0, BIG, .use = FIELD_IGNORED},
    {"grammar_lazy", FIELD_FLAG, .use = FIELD_REFUSED},
};
static const struct field_table common_fields = {"LlamaCppCommon", common_rows, COUNT_OF(common_rows), &sampling_fields};

static const struct field completion_rows[] = {
    {"prompt", FIELD_ANY, .set = set_prompts, .schema = "\"type\":[\"string\",\"array\",\"object\"]", .required = true, .help = "a string, token ids, both mixed, or an array of those"},
};
static const struct field_table completion_fields = {"LlamaCppCompletion", completion_rows, COUNT_OF(completion_rows), &common_fields};

static const struct field infill_rows[] = {
    {"input_prefix", FIELD_TEXT, .help = "text before the gap"},
    {"input_suffix", FIELD_TEXT, .help = "text behind it"},
    {"input_extra", FIELD_ARRAY, 0, 1024, .schema = "\"items\":{\"type\":\"object\"}", .help = "other files: filename and text"},
    {"prompt", FIELD_TEXT, .help = "what of the gap is written already"},
};
static const struct field_table infill_fields = {"LlamaCppInfill", infill_rows, COUNT_OF(infill_rows), &common_fields};
// clang-format on

void llamacpp_defaults(struct request *r)
{
    request_init(r);
    r->params.temperature = 0.8f;
    r->params.top_k = 40;
    r->params.top_p = 0.95f;
    r->params.min_p = 0.05f;
    r->keep_ids = true;
}

const struct generator llamacpp_generator = {"/completion", llamacpp_defaults, &completion_fields,
                                             request_check, &llamacpp_renderer};

static void completion(struct http_exchange *x, void *api)
{
    generator_serve(x, api, &llamacpp_generator);
}

/* ---- infill ------------------------------------------------------------------------------------------ */

static const char *text_field(const struct request *r, const char *name)
{
    const char *s = json_string_value(json_object_get(r->body, name));
    return s ? s : "";
}

static bool encode_infill(const struct api *api, struct request *r, struct fault *f)
{
    struct buf prefix = {0};
    buf_adds(&prefix, text_field(r, "input_prefix"));
    buf_adds(&prefix, text_field(r, "prompt"));
    const struct fim_text t = {.prefix = prefix.data,
                               .n_prefix = prefix.n,
                               .suffix = text_field(r, "input_suffix"),
                               .n_suffix = strlen(text_field(r, "input_suffix")),
                               .extra = json_object_get(r->body, "input_extra")};
    bool ok = fim_encode(api, &t, &r->prompt[0].ids, f);
    buf_deinit(&prefix);
    return ok;
}

static bool check_infill(struct request *r, const struct api *api, struct fault *f)
{
    const json_t *extra = json_object_get(r->body, "input_extra");
    for (size_t i = 0; i < json_array_size(extra); i++) {
        const json_t *v = json_array_get(extra, i), *name = json_object_get(v, "filename");
        if (!json_is_string(json_object_get(v, "text")) || (name && !json_is_string(name)))
            return refuse(f, 400, "invalid_type", "input_extra",
                          "'input_extra[%zu]' must be an object with a string 'text' and a string 'filename'",
                          i);
    }
    if (!fim_supported(api, f)) return false;
    request_add_prompts(r, 1);
    r->encode = encode_infill;
    return request_check(r, api, f);
}

static void infill(struct http_exchange *x, void *api)
{
    static const struct generator generator = {"/infill", llamacpp_defaults, &infill_fields, check_infill,
                                               &llamacpp_renderer};
    generator_serve(x, api, &generator);
}

// clang-format off
static const struct endpoint endpoints[] = {
    {"POST", "/completion", completion, &completion_fields, "Continue a prompt", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/completions", completion, &completion_fields, "The same", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/infill", infill, &infill_fields, "Fill a gap in a text", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/tokenize", llamacpp_tokenize, &llamacpp_tokenize_fields, "A text's tokens", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/detokenize", llamacpp_detokenize, &llamacpp_detokenize_fields, "The text of tokens", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/apply-template", llamacpp_apply_template, &llamacpp_template_fields, "The prompt that a conversation makes", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/embedding", llamacpp_embedding, &llamacpp_embedding_fields, "Texts as vectors", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/embeddings", llamacpp_embedding, &llamacpp_embedding_fields, "The same", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"GET", "/props", llamacpp_props, .summary = "The server's settings"},
    {"GET", "/slots", llamacpp_slots, .summary = "What is running"},
    {"GET", "/lora-adapters", llamacpp_adapters, .summary = "Adapters: none"},
    {"POST", "/props", llamacpp_not_here, .summary = "501: settings are those of the command line"},
    {"POST", "/slots/{id}", llamacpp_not_here, .summary = "501: sequences are not tied to slots"},
    {"POST", "/lora-adapters", llamacpp_not_here, .summary = "501: there are no adapters"},
    {"GET", "/v1/health", llamacpp_health, .summary = "Is the server ready?", .role = HTTP_ROLE_ANYONE},
};
// clang-format on
const struct family llamacpp_family = {"llama.cpp", endpoints, COUNT_OF(endpoints)};
