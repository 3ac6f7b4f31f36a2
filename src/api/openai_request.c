/* OpenAI's request bodies to struct request. Every known field is a row below: parsed here, a sampling
 * parameter (params.c), without effect on what is generated, or refused until it is built. A field that
 * nobody knows is listed in the response's x-ignored-params. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/request.h"
#include "base/rng.h"
#include "text/chatml.h"

struct parse {
    struct request *r;
    const struct api_model *m;
    struct fault *f;
};

void request_deinit(struct request *r)
{
    for (uint32_t i = 0; i < r->n_prompt; i++) {
        tok_ids_deinit(&r->prompt[i]);
        if (r->prompt_text) buf_deinit(&r->prompt_text[i]);
    }
    for (size_t i = 0; i < r->n_stop; i++) free(r->stop[i]);
    free(r->prompt);
    free(r->prompt_text);
    free(r->stop);
    free(r->bias);
    tok_ids_deinit(&r->breaker_ids);
    free(r->breaker_at);
    buf_deinit(&r->ignored);
    *r = (struct request){0};
}

/* ---- small getters ----------------------------------------------------------------------------------- */

static bool get_flag(struct parse *p, const char *name, const json_t *v, bool *out)
{
    if (!json_is_boolean(v))
        return refuse(p->f, 400, "invalid_type", name, "'%s' must be true or false", name);
    *out = json_is_true(v);
    return true;
}

static bool get_count(struct parse *p, const char *name, const json_t *v, json_int_t min, json_int_t max,
                      uint32_t *out)
{
    if (!json_is_integer(v))
        return refuse(p->f, 400, "invalid_type", name, "'%s' must be an integer between %lld and %lld", name,
                      (long long)min, (long long)max);
    json_int_t n = json_integer_value(v);
    if (n < min || n > max)
        return refuse(p->f, 400, "value_out_of_range", name,
                      "'%s' is %lld, but must be between %lld and %lld", name, (long long)n, (long long)min,
                      (long long)max);
    *out = (uint32_t)n;
    return true;
}

static struct http_str str_of(const json_t *v)
{
    return (struct http_str){json_string_value(v), json_string_length(v)};
}

/* ---- fields ------------------------------------------------------------------------------------------ */

static bool set_model(struct parse *p, const char *name, const json_t *v)
{
    const struct api_model *m = p->m;
    if (!json_is_string(v)) return refuse(p->f, 400, "invalid_type", name, "'%s' must be a string", name);
    bool known = !strcmp(json_string_value(v), m->name);
    for (size_t i = 0; i < m->n_alias && !known; i++) known = !strcmp(json_string_value(v), m->alias[i]);
    return known || refuse(p->f, 404, "model_not_found", name,
                           "the model '%.100s' does not exist; this server has '%.100s'",
                           json_string_value(v), m->name);
}

static bool set_stream(struct parse *p, const char *name, const json_t *v)
{
    return get_flag(p, name, v, &p->r->stream);
}
static bool set_echo(struct parse *p, const char *name, const json_t *v)
{
    return get_flag(p, name, v, &p->r->echo);
}

static bool set_stream_options(struct parse *p, const char *name, const json_t *v)
{
    const char *key;
    json_t *sub;
    if (!json_is_object(v)) return refuse(p->f, 400, "invalid_type", name, "'%s' must be an object", name);
    json_object_foreach((json_t *)v, key, sub)
    {
        if (json_is_null(sub)) continue;
        if (!strcmp(key, "include_usage")) {
            if (!get_flag(p, "stream_options.include_usage", sub, &p->r->include_usage)) return false;
        } else if (strcmp(key, "include_obfuscation") != 0) {
            return refuse(p->f, 400, "unsupported_parameter", "stream_options",
                          "'stream_options.%.64s' is not supported", key);
        }
    }
    return true;
}

static bool set_n(struct parse *p, const char *name, const json_t *v)
{
    return get_count(p, name, v, 1, REQUEST_MAX_CHOICES, &p->r->n);
}
static bool set_max_tokens(struct parse *p, const char *name, const json_t *v)
{
    return get_count(p, name, v, 1, INT32_MAX, &p->r->max_tokens);
}

static bool set_seed(struct parse *p, const char *name, const json_t *v)
{
    if (!json_is_integer(v)) return refuse(p->f, 400, "invalid_type", name, "'%s' must be an integer", name);
    /* -1 means "any" in llama.cpp, and nothing in particular to OpenAI. */
    p->r->params.seed = json_integer_value(v) == -1 ? rng_seed_from_os() : (uint64_t)json_integer_value(v);
    return true;
}

static bool add_stop(struct parse *p, const json_t *v)
{
    if (!json_is_string(v))
        return refuse(p->f, 400, "invalid_type", "stop", "'stop' must be a string or an array of strings");
    if (p->r->n_stop == REQUEST_MAX_STOPS)
        return refuse(p->f, 400, "value_out_of_range", "stop", "'stop' may hold at most %d strings",
                      REQUEST_MAX_STOPS);
    if (json_string_length(v) == 0) return true; /* would stop at once; clients send it for "none" */
    if (json_string_length(v) > 1024)
        return refuse(p->f, 400, "value_out_of_range", "stop",
                      "a stop string may be at most 1024 bytes long");
    p->r->stop[p->r->n_stop++] = mem_strdup(json_string_value(v));
    return true;
}

static bool set_stop(struct parse *p, const char *name, const json_t *v)
{
    p->r->stop = mem_zalloc(REQUEST_MAX_STOPS, sizeof *p->r->stop);
    if (!json_is_array(v)) return add_stop(p, v);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!add_stop(p, json_array_get(v, i))) return false;
    return true;
}

/* Chat: a flag, with the number in top_logprobs. Completions: the number. */
static bool set_logprobs(struct parse *p, const char *name, const json_t *v)
{
    if (p->r->chat) return get_flag(p, name, v, &p->r->logprobs);
    p->r->logprobs = true;
    return get_count(p, name, v, 0, REQUEST_MAX_TOP, &p->r->params.n_logprobs);
}
static bool set_top_logprobs(struct parse *p, const char *name, const json_t *v)
{
    return get_count(p, name, v, 0, REQUEST_MAX_TOP, &p->r->params.n_logprobs);
}

static bool set_logit_bias(struct parse *p, const char *name, const json_t *v)
{
    const char *key;
    json_t *bias;
    if (!json_is_object(v))
        return refuse(p->f, 400, "invalid_type", name, "'%s' must map token ids to numbers from -100 to 100",
                      name);
    p->r->bias = mem_try(json_object_size(v) + 1, sizeof *p->r->bias);
    if (!p->r->bias) return refuse(p->f, 500, NULL, name, "out of memory");
    json_object_foreach((json_t *)v, key, bias)
    {
        char *end;
        long id = strtol(key, &end, 10);
        double number = json_number_value(bias);
        if (*end || end == key || id < 0 || id >= (long)tokenizer_n_vocab(p->m->tok))
            return refuse(p->f, 400, "value_out_of_range", name,
                          "'%s': '%.40s' is not a token id between 0 and %u", name, key,
                          tokenizer_n_vocab(p->m->tok) - 1);
        if (!json_is_number(bias) || !(number >= -100 && number <= 100))
            return refuse(p->f, 400, "value_out_of_range", name,
                          "'%s': the bias of token %ld must be a number between -100 and 100", name, id);
        p->r->bias[p->r->params.n_bias++] =
            (struct sample_bias){(int32_t)id, number == -100 ? -INFINITY : (float)number};
    }
    p->r->params.bias = p->r->bias;
    return true;
}

static bool set_samplers(struct parse *p, const char *name, const json_t *v)
{
    struct buf list = {.max = 4096};
    struct error e;
    bool ok = json_is_string(v) || json_is_array(v);
    if (json_is_string(v)) buf_add(&list, json_string_value(v), json_string_length(v));
    for (size_t i = 0; ok && i < json_array_size(v); i++) {
        const json_t *item = json_array_get(v, i);
        ok = json_is_string(item);
        if (ok && i) buf_addc(&list, ';');
        if (ok) buf_add(&list, json_string_value(item), json_string_length(item));
    }
    if (!ok || list.failed)
        refuse(p->f, 400, "invalid_type", name, "'%s' must be a list of sampler names", name);
    else if (sample_chain_parse(&p->r->params, list.data ? list.data : "", &e) != OK)
        ok = refuse(p->f, 400, "invalid_value", name, "'%s': %s", name, e.msg);
    ok = ok && !list.failed;
    buf_deinit(&list);
    return ok;
}

static bool set_dry_breakers(struct parse *p, const char *name, const json_t *v)
{
    enum { MAX_BREAKERS = 64 };
    struct request *r = p->r;
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n > MAX_BREAKERS)
        return refuse(p->f, 400, "invalid_type", name, "'%s' must be an array of at most %d strings", name,
                      MAX_BREAKERS);
    r->breaker_at = mem_zalloc(n + 1, sizeof *r->breaker_at);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(v, i);
        struct tok_options o = {.bos = TOK_BOS_OFF, .no_prefix = true};
        struct error e;
        if (!json_is_string(item) || json_string_length(item) > 256)
            return refuse(p->f, 400, "invalid_type", name, "'%s' must hold strings of at most 256 bytes",
                          name);
        if (tokenizer_encode(p->m->tok, json_string_value(item), json_string_length(item), &o,
                             &r->breaker_ids, &e) != OK)
            return refuse(p->f, 400, "invalid_value", name, "'%s': %s", name, e.msg);
        r->breaker_at[i + 1] = (uint32_t)r->breaker_ids.n;
    }
    r->params.dry_breaker_ids = r->breaker_ids.id;
    r->params.dry_breaker_at = r->breaker_at;
    r->params.n_dry_breaker = (uint32_t)n;
    return true;
}

/* ---- prompts ----------------------------------------------------------------------------------------- */

static bool add_text_prompt(struct parse *p, struct http_str text)
{
    struct error e;
    /* A completion's prompt is the caller's own template: control tokens written in it count. */
    struct tok_options o = {.bos = TOK_BOS_AUTO, .parse_special = true};
    uint32_t i = p->r->n_prompt++;
    if (tokenizer_encode(p->m->tok, text.p, text.n, &o, &p->r->prompt[i], &e) != OK)
        return refuse(p->f, 400, "invalid_value", "prompt", "'prompt': %s", e.msg);
    buf_add(&p->r->prompt_text[i], text.p, text.n);
    return p->r->prompt[i].n > 0 || refuse(p->f, 400, "invalid_value", "prompt", "'prompt' is empty");
}

static bool add_token_prompt(struct parse *p, const json_t *list)
{
    uint32_t i = p->r->n_prompt++, n_vocab = tokenizer_n_vocab(p->m->tok);
    for (size_t k = 0; k < json_array_size(list); k++) {
        const json_t *id = json_array_get(list, k);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value >= (json_int_t)n_vocab)
            return refuse(p->f, 400, "value_out_of_range", "prompt",
                          "'prompt': element %zu is not a token id between 0 and %u", k, n_vocab - 1);
        tok_ids_add(&p->r->prompt[i], (int32_t)value);
    }
    if (p->r->prompt[i].n == 0) return refuse(p->f, 400, "invalid_value", "prompt", "'prompt' is empty");
    tokenizer_decode(p->m->tok, p->r->prompt[i].id, p->r->prompt[i].n, false, &p->r->prompt_text[i]);
    return true;
}

/* A string, an array of strings, an array of token ids, or an array of those. */
static bool set_prompt(struct parse *p, const char *name, const json_t *v)
{
    bool many = json_is_array(v) && !json_is_integer(json_array_get(v, 0));
    size_t n = many ? json_array_size(v) : 1;
    if (n < 1 || n > REQUEST_MAX_CHOICES)
        return refuse(p->f, 400, "value_out_of_range", name, "'%s' must hold between 1 and %d prompts", name,
                      REQUEST_MAX_CHOICES);
    p->r->prompt = mem_zalloc(n, sizeof *p->r->prompt);
    p->r->prompt_text = mem_zalloc(n, sizeof *p->r->prompt_text);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = many ? json_array_get(v, i) : v;
        bool ok =
            json_is_string(one) ? add_text_prompt(p, str_of(one))
            : json_is_array(one)
                ? add_token_prompt(p, one)
                : refuse(
                      p->f, 400, "invalid_type", name,
                      "'%s' must be a string, an array of strings, of token ids, or of arrays of token ids",
                      name);
        if (!ok) return false;
    }
    return true;
}

/* Content is a string or an array of parts, of which text is understood. */
static bool message_content(struct parse *p, size_t i, const json_t *content, struct buf *out)
{
    if (json_is_string(content)) {
        buf_add(out, json_string_value(content), json_string_length(content));
        return true;
    }
    if (!json_is_array(content))
        return refuse(p->f, 400, "invalid_type", "messages",
                      "'messages[%zu].content' must be a string or an array of parts", i);
    for (size_t k = 0; k < json_array_size(content); k++) {
        const json_t *part = json_array_get(content, k), *text = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type)
            return refuse(p->f, 400, "invalid_type", "messages",
                          "'messages[%zu].content[%zu]' must be an object with a type", i, k);
        if (strcmp(type, "text") != 0)
            return refuse(p->f, 400, "unsupported_parameter", "messages",
                          "'messages[%zu].content[%zu]' has the type '%.40s': this model takes text only", i,
                          k, type);
        if (!json_is_string(text))
            return refuse(p->f, 400, "invalid_type", "messages",
                          "'messages[%zu].content[%zu].text' must be a string", i, k);
        buf_add(out, json_string_value(text), json_string_length(text));
    }
    return true;
}

static bool one_message(struct parse *p, size_t i, const json_t *v, struct chat_message *m, struct buf *text)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool", "developer"};
    const char *role = json_string_value(json_object_get(v, "role"));
    const json_t *content = json_object_get(v, "content");
    bool known = false;
    if (!role)
        return refuse(p->f, 400, "invalid_type", "messages", "'messages[%zu]' must be an object with a role",
                      i);
    for (size_t k = 0; k < COUNT_OF(roles); k++) known = known || !strcmp(role, roles[k]);
    if (!known)
        return refuse(
            p->f, 400, "invalid_value", "messages",
            "'messages[%zu].role' is '%.40s', but must be one of system, developer, user, assistant, tool", i,
            role);
    if (json_array_size(json_object_get(v, "tool_calls")) ||
        json_is_object(json_object_get(v, "function_call")))
        return refuse(p->f, 400, "unsupported_parameter", "messages",
                      "'messages[%zu]' has tool calls, which are not supported yet", i);
    if (!strcmp(role, "developer")) role = "system";
    size_t from = text->n;
    if (!(json_is_null(content) && !strcmp(role, "assistant")) && !message_content(p, i, content, text))
        return false;
    *m = (struct chat_message){role, NULL, strlen(role), text->n - from};
    return true;
}

static bool set_messages(struct parse *p, const char *name, const json_t *v)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v) || n == 0)
        return refuse(p->f, 400, "invalid_value", name, "'%s' must be an array with at least one message",
                      name);
    struct chat_message *m = mem_try(n, sizeof *m);
    struct buf text = {0};
    bool ok = m || refuse(p->f, 500, NULL, name, "out of memory");
    for (size_t i = 0; ok && i < n; i++) ok = one_message(p, i, json_array_get(v, i), &m[i], &text);
    if (ok) {
        struct error e;
        size_t at = 0;
        for (size_t i = 0; i < n; at += m[i++].n_content) m[i].content = (text.data ? text.data : "") + at;
        p->r->prompt = mem_zalloc(1, sizeof *p->r->prompt);
        p->r->n_prompt = 1;
        if (text.failed || chatml_encode(p->m->tok, m, n, true, &p->r->prompt[0], &e) != OK)
            ok = refuse(p->f, 400, "invalid_value", name, "'%s': %s", name,
                        text.failed ? "out of memory" : e.msg);
    }
    buf_deinit(&text);
    free(m);
    return ok;
}

/* ---- the table --------------------------------------------------------------------------------------- */

enum { CHAT = 1, COMPLETION = 2, BOTH = 3 };
typedef bool (*field_setter)(struct parse *p, const char *name, const json_t *v);

static const struct field {
    const char *name;
    int where;
    field_setter set;
} fields[] = {
    {"model", BOTH, set_model},
    {"messages", CHAT, set_messages},
    {"prompt", COMPLETION, set_prompt},
    {"stream", BOTH, set_stream},
    {"stream_options", BOTH, set_stream_options},
    {"n", BOTH, set_n},
    {"max_tokens", BOTH, set_max_tokens},
    {"max_completion_tokens", CHAT, set_max_tokens},
    {"stop", BOTH, set_stop},
    {"seed", BOTH, set_seed},
    {"logprobs", BOTH, set_logprobs},
    {"top_logprobs", CHAT, set_top_logprobs},
    {"logit_bias", BOTH, set_logit_bias},
    {"echo", COMPLETION, set_echo},
    {"samplers", BOTH, set_samplers},
    {"dry_sequence_breakers", BOTH, set_dry_breakers},
};

/* About accounts, storage and billing: nothing that is generated depends on them. */
static const char *const without_effect[] = {"user",
                                             "metadata",
                                             "store",
                                             "service_tier",
                                             "safety_identifier",
                                             "prompt_cache_key",
                                             "prompt_cache_retention",
                                             "parallel_tool_calls",
                                             "cache_prompt"};

/* Known, not built: refused unless the value asks for nothing (null, false, 0, "", [], {} or the one given).
 */
static const struct refused {
    const char *name, *neutral;
} refused[] = {
    {"tools", NULL},
    {"tool_choice", "none"},
    {"functions", NULL},
    {"function_call", "none"},
    {"response_format", "{\"type\":\"text\"}"},
    {"suffix", NULL},
    {"best_of", NULL},
    {"audio", NULL},
    {"modalities", "[\"text\"]"},
    {"web_search_options", NULL},
    {"grammar", NULL},
    {"json_schema", NULL},
    {"structured_outputs", NULL},
    {"guided_json", NULL},
    {"guided_regex", NULL},
    {"guided_choice", NULL},
    {"guided_grammar", NULL},
    {"stop_token_ids", NULL},
    {"include_stop_str_in_output", NULL},
    {"bad_words", NULL},
    {"allowed_token_ids", NULL},
    {"prompt_logprobs", NULL},
    {"use_beam_search", NULL},
    {"lora", NULL},
    {"truncate_prompt_tokens", NULL},
    {"chat_template", NULL},
    {"chat_template_kwargs", NULL},
    {"documents", NULL},
    {"continue_final_message", NULL},
    {"n_predict", NULL},
    {"n_probs", NULL},
    {"prediction", NULL},
};

static bool is_neutral(const struct refused *row, const json_t *v)
{
    if (json_is_null(v) || json_is_false(v)) return true;
    if (json_is_number(v)) return json_number_value(v) == 0;
    if (json_is_string(v))
        return json_string_length(v) == 0 || (row->neutral && !strcmp(row->neutral, json_string_value(v)));
    if (json_is_array(v) && json_array_size(v) == 0) return true;
    if (json_is_object(v) && json_object_size(v) == 0) return true;
    char *text = json_dumps(v, JSON_COMPACT);
    bool same = text && row->neutral && !strcmp(text, row->neutral);
    free(text);
    return same;
}

static bool set_other(struct parse *p, const char *name, const json_t *v)
{
    switch (param_set(&p->r->params, name, v, p->f)) {
    case PARAM_SET: return true;
    case PARAM_BAD: return false;
    case PARAM_UNKNOWN: break;
    }
    for (size_t i = 0; i < COUNT_OF(without_effect); i++)
        if (!strcmp(name, without_effect[i])) return true;
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        if (strcmp(name, refused[i].name) != 0) continue;
        bool one = !strcmp(name, "best_of") && json_integer_value(v) == 1;
        return one || is_neutral(&refused[i], v) ||
               refuse(p->f, 400, "unsupported_parameter", name, "'%s' is not supported by this server", name);
    }
    if (json_is_null(v) || p->r->ignored.n > 1024) return true;
    if (p->r->ignored.n) buf_adds(&p->r->ignored, ", ");
    for (const char *c = name; *c && c < name + 64; c++) /* it goes into a header */
        buf_addc(&p->r->ignored, *c > 0x20 && *c < 0x7f && *c != ',' ? *c : '_');
    return true;
}

static bool set_field(struct parse *p, const char *name, const json_t *v)
{
    int where = p->r->chat ? CHAT : COMPLETION;
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if ((fields[i].where & where) && !strcmp(fields[i].name, name))
            return json_is_null(v) || fields[i].set(p, name, v);
    return set_other(p, name, v);
}

/* What fields say together. */
static bool check(struct parse *p)
{
    struct request *r = p->r;
    struct error e;
    if (r->n_prompt == 0) {
        const char *need = r->chat ? "messages" : "prompt";
        return refuse(p->f, 400, "missing_required_parameter", need, "'%s' is missing", need);
    }
    if (r->chat && r->params.n_logprobs && !r->logprobs)
        return refuse(p->f, 400, "invalid_value", "top_logprobs", "'top_logprobs' needs 'logprobs': true");
    if (r->echo && r->logprobs)
        return refuse(p->f, 400, "unsupported_parameter", "echo",
                      "'echo' together with 'logprobs' is not supported");
    if (r->include_usage && !r->stream)
        return refuse(p->f, 400, "invalid_value", "stream_options", "'stream_options' needs 'stream': true");
    if ((uint64_t)r->n * r->n_prompt > REQUEST_MAX_CHOICES)
        return refuse(p->f, 400, "value_out_of_range", "n",
                      "%u choices for each of %u prompts are more than %d", r->n, r->n_prompt,
                      REQUEST_MAX_CHOICES);
    r->params.want_logprob = r->logprobs;
    if (sample_params_check(&r->params, &e) != OK)
        return refuse(p->f, 400, "value_out_of_range", NULL, "%s", e.msg);
    return true;
}

/* ---- the body ---------------------------------------------------------------------------------------- */

static bool depth_ok(struct http_str s)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > REQUEST_MAX_DEPTH) return false;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return true;
}

bool openai_parse(struct request *r, bool chat, const struct api_model *m, struct http_str body,
                  struct fault *f)
{
    struct parse p = {r, m, f};
    json_error_t je;
    const char *name;
    json_t *root, *v;

    r->chat = chat;
    r->n = 1;
    r->max_tokens = chat ? 0 : 16; /* OpenAI's default for text completions */
    sample_params_default(&r->params);
    r->params.seed = rng_seed_from_os();

    if (!depth_ok(body))
        return refuse(f, 400, "invalid_json", NULL, "the request's JSON is nested more than %d deep",
                      REQUEST_MAX_DEPTH);
    root = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return refuse(f, 400, "invalid_json", NULL, "the request is not valid JSON: %s (line %d, column %d)",
                      je.text, je.line, je.column);
    bool ok =
        json_is_object(root) || refuse(f, 400, "invalid_json", NULL, "the request must be a JSON object");
    if (ok) { json_object_foreach(root, name, v) if (!(ok = set_field(&p, name, v))) break; }
    ok = ok && check(&p);
    json_decref(root);
    return ok;
}
