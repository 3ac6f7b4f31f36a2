#include "api/request.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_int.h"
#include "api/fim.h"
#include "api/keys.h"
#include "api/resume.h"
#include "base/rng.h"

/* Bodies up to this size are prepared by the loop itself: measured on one core of an EPYC, the demo model's
 * template and tokens take 0.2 ms for 7 KB, 2 ms for 60 KB and 115 ms for 600 KB. */
enum { SHORT_BODY = 8 << 10 };

/* ---- life cycle -------------------------------------------------------------------------------------- */

void request_init(struct request *r)
{
    *r = (struct request){.n = 1, .think_budget = -1, .chat.answer = true};
    sample_params_default(&r->params);
    r->params.seed = rng_seed_from_os();
}

void request_deinit(struct request *r)
{
    for (uint32_t i = 0; i < r->n_prompt; i++) {
        tok_ids_deinit(&r->prompt[i].ids);
        buf_deinit(&r->prompt[i].echo);
    }
    free(r->prompt);
    for (size_t i = 0; i < r->n_stop; i++) free(r->stop[i]);
    free(r->stop);
    free(r->bias);
    tok_ids_deinit(&r->stop_ids);
    tok_ids_deinit(&r->prediction_ids);
    tok_ids_deinit(&r->breaker_ids);
    free(r->breaker_at);
    constraint_spec_deinit(&r->constraint);
    constraint_unref(r->compiled);
    if (r->extra_free) r->extra_free(r->extra);
    buf_deinit(&r->ignored);
    json_decref(r->kept);
    json_decref(r->replay);
    chat_format_free(r->format);
    json_decref(r->body);
    *r = (struct request){0};
}

void request_keep(struct request *r, json_t *v)
{
    if (!r->kept) r->kept = json_array();
    json_array_append_new(r->kept, v);
}

void request_add_prompts(struct request *r, size_t n)
{
    r->prompt = mem_zalloc(n, sizeof *r->prompt);
    r->n_prompt = (uint32_t)n;
}

/* FNV-1a of the key. */
uint64_t request_tenant(const struct http_exchange *x)
{
    const char *key = api_key_of(x);
    uint64_t h = 0xCBF29CE484222325u;
    if (!key) return 0;
    for (; *key; key++) h = (h ^ (uint8_t)*key) * 0x100000001B3u;
    return h;
}

bool request_read_json(struct request *r, const struct api *api, const struct field_table *t,
                       const struct http_exchange *x, json_t *body, struct fault *f)
{
    const char *strict = http_header(x, "x-corral-strict");
    struct parse p = {api, r, f, api->o.strict || (strict && strcmp(strict, "0") != 0)};
    r->tenant = request_tenant(x);
    r->body = json_incref(body);
    return fields_read(&p, t, body);
}

bool request_read(struct request *r, const struct api *api, const struct field_table *t,
                  struct http_exchange *x, struct fault *f)
{
    struct http_str text = http_request_body(x);
    if (!resume_read(r, api, x, &text, f)) return false;
    json_t *body = body_parse(text, f);
    bool ok = body && request_read_json(r, api, t, x, body, f);
    if (ok && r->replay) r->params.seed = resume_seed(r);
    r->body_bytes = text.n;
    json_decref(body);
    return ok;
}

bool request_check(struct request *r, const struct api *api, struct fault *f)
{
    struct error e;
    if (r->chat.messages && !r->n_prompt) request_add_prompts(r, 1);
    if ((uint64_t)r->n * r->n_prompt > REQUEST_MAX_CHOICES)
        return refuse(f, 400, "value_out_of_range", "n", "%u choices for each of %u prompts are more than %d",
                      r->n, r->n_prompt, REQUEST_MAX_CHOICES);
    if (sample_params_check(&r->params, &e) != OK)
        return refuse(f, 400, "value_out_of_range", NULL, "%s", e.msg);
    r->params.want_logprob = r->logprobs;
    return true;
}

const struct chat_format *request_format(const struct request *r, const struct api *api)
{
    return r->format ? r->format : api->o.chat;
}

bool request_is_short(const struct request *r)
{
    return r->body_bytes <= SHORT_BODY && !r->chat_template;
}

const char *request_model(const struct request *r, const struct api *api)
{
    const char *asked = api->o.any_model ? json_string_value(json_object_get(r->body, "model")) : NULL;
    return asked && *asked ? asked : api->o.model;
}

/* ---- setters ----------------------------------------------------------------------------------------- */

bool set_model(struct parse *p, const char *name, const json_t *v)
{
    if (!json_is_string(v)) return field_wrong_type(p, name, "a string");
    return api_serves(p->api, json_string_value(v)) ||
           refuse(p->f, 404, "model_not_found", name,
                  "the model '%.100s' does not exist; this server has '%.100s'", json_string_value(v),
                  p->api->o.model);
}

bool set_seed(struct parse *p, const char *name, const json_t *v)
{
    if (!json_is_integer(v)) return field_wrong_type(p, name, "an integer");
    /* -1 means "any" in llama.cpp, and nothing in particular to OpenAI. */
    if (json_integer_value(v) != -1) p->r->params.seed = (uint64_t)json_integer_value(v);
    return true;
}

bool set_max_tokens(struct parse *p, const char *name, const json_t *v)
{
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v)) {
        field_out_of_range(p, name, 1, INT32_MAX, true);
        p->f->reason = "invalid_type";
        return false;
    }
    if (n != -1 && (n < 1 || n > INT32_MAX)) return field_out_of_range(p, name, 1, INT32_MAX, true);
    p->r->max_tokens = n < 0 ? 0 : (uint32_t)n;
    return true;
}

static bool add_stop(struct parse *p, const char *name, const json_t *v)
{
    struct request *r = p->r;
    if (!json_is_string(v)) return field_wrong_type(p, name, "a string or an array of strings");
    if (r->n_stop == REQUEST_MAX_STOPS)
        return refuse(p->f, 400, "value_out_of_range", name, "'%s' may hold at most %d strings", name,
                      REQUEST_MAX_STOPS);
    if (json_string_length(v) == 0) return true; /* would stop at once; clients send it for "none" */
    if (json_string_length(v) > 1024)
        return refuse(p->f, 400, "value_out_of_range", name, "a stop string may be at most 1024 bytes long");
    r->stop[r->n_stop++] = mem_strdup(json_string_value(v));
    return true;
}

bool set_stop(struct parse *p, const char *name, const json_t *v)
{
    if (!p->r->stop) p->r->stop = mem_zalloc(REQUEST_MAX_STOPS, sizeof *p->r->stop);
    if (!json_is_array(v)) return add_stop(p, name, v);
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!add_stop(p, name, json_array_get(v, i))) return false;
    return true;
}

static bool is_token(const struct parse *p, const json_t *v)
{
    return json_is_integer(v) && json_integer_value(v) >= 0 &&
           json_integer_value(v) < (json_int_t)tokenizer_n_vocab(p->api->o.tok);
}

/* Element i of an array of token ids, added to ids. */
static bool add_token(struct parse *p, const char *name, size_t i, const json_t *v, struct tok_ids *ids)
{
    if (!is_token(p, v))
        return refuse(p->f, 400, "value_out_of_range", name,
                      "'%s': element %zu is not a token id between 0 and %u", name, i,
                      tokenizer_n_vocab(p->api->o.tok) - 1);
    tok_ids_add(ids, (int32_t)json_integer_value(v));
    return true;
}

bool set_stop_ids(struct parse *p, const char *name, const json_t *v)
{
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!add_token(p, name, i, json_array_get(v, i), &p->r->stop_ids)) return false;
    return true;
}

static bool add_bias(struct parse *p, const char *name, json_int_t id, const json_t *bias)
{
    double number = json_is_false(bias) ? -100 : json_number_value(bias);
    if (!(json_is_number(bias) || json_is_false(bias)) || !(number >= -100 && number <= 100))
        return refuse(p->f, 400, "value_out_of_range", name,
                      "'%s': the bias of token %lld must be a number between -100 and 100", name,
                      (long long)id);
    p->r->bias[p->r->params.n_bias++] =
        (struct sample_bias){(int32_t)id, number == -100 ? -INFINITY : (float)number};
    return true;
}

static bool bias_pair(struct parse *p, const char *name, const json_t *pair)
{
    const json_t *token = json_array_get(pair, 0);
    if (json_array_size(pair) != 2 || !is_token(p, token))
        return refuse(p->f, 400, "value_out_of_range", name,
                      "'%s' must map token ids to biases, or be an array of [token id, bias]", name);
    return add_bias(p, name, json_integer_value(token), json_array_get(pair, 1));
}

bool set_logit_bias(struct parse *p, const char *name, const json_t *v)
{
    const char *key;
    json_t *bias;
    uint32_t n_vocab = tokenizer_n_vocab(p->api->o.tok);
    if (!json_is_object(v) && !json_is_array(v))
        return field_wrong_type(p, name, "an object of token ids and numbers from -100 to 100");
    free(p->r->bias);
    p->r->params.n_bias = 0;
    p->r->params.bias = p->r->bias =
        mem_try(json_object_size(v) + json_array_size(v) + 1, sizeof *p->r->bias);
    if (!p->r->bias) return refuse(p->f, 500, NULL, name, "out of memory");
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!bias_pair(p, name, json_array_get(v, i))) return false;
    json_object_foreach((json_t *)v, key, bias)
    {
        char *end;
        long id = strtol(key, &end, 10);
        if (*end || end == key || id < 0 || id >= (long)n_vocab)
            return refuse(p->f, 400, "value_out_of_range", name,
                          "'%s': '%.40s' is not a token id between 0 and %u", name, key, n_vocab - 1);
        if (!add_bias(p, name, id, bias)) return false;
    }
    return true;
}

bool set_samplers(struct parse *p, const char *name, const json_t *v)
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

bool set_dry_breakers(struct parse *p, const char *name, const json_t *v)
{
    struct request *r = p->r;
    size_t n = json_array_size(v);
    r->breaker_at = mem_zalloc(n + 1, sizeof *r->breaker_at);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(v, i);
        struct tok_options o = {.bos = TOK_BOS_OFF, .no_prefix = true};
        struct error e;
        if (!json_is_string(item) || json_string_length(item) > 256)
            return field_wrong_type(p, name, "an array of strings of at most 256 bytes");
        if (tokenizer_encode(p->api->o.tok, json_string_value(item), json_string_length(item), &o,
                             &r->breaker_ids, &e) != OK)
            return refuse(p->f, 400, "invalid_value", name, "'%s': %s", name, e.msg);
        r->breaker_at[i + 1] = (uint32_t)r->breaker_ids.n;
    }
    r->params.dry_breaker_ids = r->breaker_ids.id;
    r->params.dry_breaker_at = r->breaker_at;
    r->params.n_dry_breaker = (uint32_t)n;
    return true;
}

bool set_constraint(struct parse *p, const char *name, const json_t *v)
{
    struct error e;
    return constraint_field(&p->r->constraint, name, v, &e) == OK ||
           refuse(p->f, 400, e.code == ERR_UNSUPPORTED ? "unsupported_value" : "invalid_value", name, "%s",
                  e.msg);
}

/* ---- prompts ----------------------------------------------------------------------------------------- */

static bool one_prompt(struct parse *p, const char *name, const json_t *v, struct prompt *out)
{
    if (json_is_string(v)) {
        out->text = json_string_value(v);
        out->n = json_string_length(v);
        return out->n || p->r->suffix || refuse(p->f, 400, "invalid_value", name, "'%s' is empty", name);
    }
    if (!json_is_array(v))
        return field_wrong_type(p, name,
                                "a string, an array of strings, of token ids, or of arrays of token ids");
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!add_token(p, name, i, json_array_get(v, i), &out->ids)) return false;
    return out->ids.n || refuse(p->f, 400, "invalid_value", name, "'%s' is empty", name);
}

bool read_prompts(struct parse *p, const char *name, const json_t *v, size_t most, const char *what)
{
    bool many = json_is_array(v) && !json_is_integer(json_array_get(v, 0));
    size_t n = many ? json_array_size(v) : 1;
    if (n < 1 || n > most)
        return refuse(p->f, 400, "value_out_of_range", name, "'%s' must hold between 1 and %zu %s", name,
                      most, what);
    request_add_prompts(p->r, n);
    for (size_t i = 0; i < n; i++)
        if (!one_prompt(p, name, many ? json_array_get(v, i) : v, &p->r->prompt[i])) return false;
    return true;
}

bool set_prompt(struct parse *p, const char *name, const json_t *v)
{
    return read_prompts(p, name, v, REQUEST_MAX_CHOICES, "prompts");
}

static bool encode_text(const struct api *api, const struct request *r, struct prompt *p, struct fault *f)
{
    if (r->suffix && *r->suffix) {
        struct fim_text t = {p->text ? p->text : "", r->suffix, p->n, strlen(r->suffix), NULL};
        return fim_encode(api, &t, &p->ids, f);
    }
    struct tok_options o = {.bos = TOK_BOS_AUTO, .parse_special = true};
    struct error e;
    if (p->text && tokenizer_encode(api->o.tok, p->text, p->n, &o, &p->ids, &e) != OK)
        return refuse(f, 400, "invalid_value", "prompt", "'prompt': %s", e.msg);
    return true;
}

static bool encode_chat(const struct api *api, struct request *r, struct fault *f)
{
    struct error e;
    if (r->chat_template &&
        chat_format_new(&r->format, api->o.tok, r->chat_template, strlen(r->chat_template), &e) != OK)
        return refuse(f, 400, "invalid_value", "chat_template", "'chat_template': %s", e.msg);
    status s = chat_encode(request_format(r, api), &r->chat, &r->prompt[0].ids,
                           r->echo ? &r->prompt[0].echo : NULL, &r->think_open, &e);
    if (s == OK) return true;
    return refuse(f, s == ERR_MEMORY ? 500 : 400, s == ERR_MEMORY ? NULL : "invalid_value", "messages",
                  "'messages': %s", e.msg);
}

static bool encode_prediction(const struct api *api, struct request *r, struct fault *f)
{
    struct tok_options o = {.bos = TOK_BOS_OFF, .no_prefix = true};
    struct error e;
    if (!r->prediction ||
        tokenizer_encode(api->o.tok, r->prediction, strlen(r->prediction), &o, &r->prediction_ids, &e) == OK)
        return true;
    return refuse(f, 400, "invalid_value", "prediction", "'prediction': %s", e.msg);
}

bool request_encode(struct request *r, const struct api *api, struct fault *f)
{
    if (!encode_prediction(api, r, f)) return false;
    if (r->encode) return r->encode(api, r, f);
    if (r->chat.messages) return encode_chat(api, r, f);
    for (uint32_t i = 0; i < r->n_prompt; i++) {
        struct prompt *p = &r->prompt[i];
        if (!encode_text(api, r, p, f)) return false;
        if (!r->echo) continue;
        if (p->text)
            buf_add(&p->echo, p->text, p->n);
        else
            tokenizer_decode(api->o.tok, p->ids.id, p->ids.n, false, &p->echo);
    }
    return true;
}
