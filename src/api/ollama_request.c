/* POST /api/chat and /api/generate. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/fim.h"
#include "api/generator.h"
#include "api/ollama.h"
#include "api/openai.h"
#include "base/model_name.h"

/* ---- names ------------------------------------------------------------------------------------------- */

bool ollama_serves(const struct api *api, const char *model)
{
    if (api->o.any_model || model_name_same(model, api->o.model)) return true;
    for (size_t i = 0; i < api->o.n_alias; i++)
        if (model_name_same(model, api->o.alias[i])) return true;
    return false;
}

bool ollama_set_model(struct parse *p, const char *name, const json_t *v)
{
    const char *model = json_string_value(v);
    if (!model || !*model) return refuse(p->f, 400, "invalid_value", name, "model is required");
    return ollama_serves(p->api, model) ||
           refuse(p->f, 404, "model_not_found", name, "model '%.100s' not found; this server has '%.100s'",
                  model, p->api->o.model);
}

/* ---- fields ------------------------------------------------------------------------------------------ */

static bool set_num_predict(struct parse *p, const char *name, const json_t *v)
{
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < -2 || n > INT32_MAX)
        return refuse(p->f, 400, "invalid_type", name, "option \"%s\" must be of type integer, from -2 on",
                      name);
    p->r->max_tokens = n > 0 ? (uint32_t)n : 0; /* -1 without limit, -2 until the context is full, 0 unset */
    return true;
}

/* The context is what the server was started with. */
static bool set_num_ctx(struct parse *p, const char *name, const json_t *v)
{
    uint32_t most = api_context(p->api);
    if (json_number_value(v) <= most) return true;
    if (p->strict)
        return refuse(p->f, 400, "value_out_of_range", name,
                      "option \"%s\" is %.0f, but this server's context holds %u: serve with a larger --ctx",
                      name, json_number_value(v), most);
    field_ignored(p, "options.num_ctx");
    return true;
}

/* So is what is locked. */
static bool set_use_mlock(struct parse *p, const char *name, const json_t *v)
{
    if (!json_is_true(v) || p->api->o.locked) return true;
    if (p->strict)
        return refuse(p->f, 400, "unsupported_value", name,
                      "option \"%s\": the weights are not locked in memory: serve with --mlock, or give the "
                      "model the option mlock",
                      name);
    field_ignored(p, "options.use_mlock");
    return true;
}

static bool set_think(struct parse *p, const char *name, const json_t *v)
{
    static const char *const levels[][2] = {
        {"low", "low"}, {"medium", "medium"}, {"high", "high"}, {"max", "high"}};
    const char *word = json_string_value(v);
    bool on = json_is_true(v);
    for (size_t i = 0; word && i < COUNT_OF(levels); i++)
        if ((on = !strcmp(word, levels[i][0]))) {
            p->r->chat.effort = levels[i][1];
            break;
        }
    if (!on && !json_is_false(v))
        return refuse(p->f, 400, "invalid_value", name,
                      "think must be true, false, \"low\", \"medium\", \"high\" or \"max\"");
    p->r->chat.think = on ? CHAT_THINK_ON : CHAT_THINK_OFF;
    return !on || chat_format_caps(p->api->o.chat)->thinks ||
           refuse(p->f, 400, "unsupported_value", name, "\"%.100s\" does not support thinking",
                  p->api->o.model);
}

bool ollama_set_keep_alive(struct parse *p, const char *name, const json_t *v)
{
    int64_t ns;
    return ollama_duration(v, &ns) ||
           refuse(p->f, 400, "invalid_value", name,
                  "keep_alive must be a number of seconds or a duration such as \"5m\" or \"-1s\"");
}

void ollama_keep_alive(const struct api *api, const struct request *r)
{
    const json_t *v = json_object_get(r->body, "keep_alive");
    int64_t ns;
    if (v && ollama_duration(v, &ns)) engine_keep_alive(api->o.engine, ns);
}

static bool set_images(struct parse *p, const char *name, const json_t *v)
{
    return json_array_size(v) == 0 || refuse(p->f, 400, "unsupported_parameter", name,
                                             "\"%.100s\" takes text only, no images", p->api->o.model);
}

static bool set_ollama_messages(struct parse *p, const char *name, const json_t *v)
{
    if (json_array_size(v) == 0) return true; /* load only */
    json_t *messages = ollama_messages(v, p->f);
    if (!messages) return false;
    request_keep(p->r, messages);
    return conversation_check(p, name, messages);
}

// clang-format off
#define BIG 2147483647.0
static const struct field option_rows[] = {
    {"num_predict", FIELD_ANY, .set = set_num_predict, .schema = "\"type\":\"integer\"", .def = "-1", .help = "tokens of the answer; -1: no limit, -2: until the context is full"},
    {"num_ctx", FIELD_INT, 0, BIG, .set = set_num_ctx, .help = "more than the server's --ctx has no effect and is reported"},
    {"stop", FIELD_ANY, .set = set_stop, .schema = "\"type\":[\"string\",\"array\"]"},
    {"num_keep", FIELD_INT, -1, BIG, .use = FIELD_ACCEPTED, .help = "as shift"},
    /* How a model is run, the server decides (docs/api-ollama.md). */
    {"num_batch", FIELD_INT, 0, BIG, .use = FIELD_ACCEPTED},
    {"num_gpu", FIELD_INT, -1, BIG, .use = FIELD_ACCEPTED},
    {"main_gpu", FIELD_INT, 0, BIG, .use = FIELD_ACCEPTED},
    {"num_thread", FIELD_INT, 0, BIG, .use = FIELD_ACCEPTED},
    {"draft_num_predict", FIELD_INT, 0, BIG, .use = FIELD_ACCEPTED},
    {"use_mmap", FIELD_FLAG, .use = FIELD_ACCEPTED},
    {"use_mlock", FIELD_FLAG, .set = set_use_mlock, .help = "an option of the model, mlock: without that it has no effect and is reported"},
    {"numa", FIELD_FLAG, .use = FIELD_ACCEPTED},
    {"low_vram", FIELD_FLAG, .use = FIELD_ACCEPTED},
    {"f16_kv", FIELD_FLAG, .use = FIELD_ACCEPTED},
    {"tfs_z", FIELD_REAL, 0, 1, .use = FIELD_IGNORED},
    {"penalize_newline", FIELD_FLAG, .use = FIELD_IGNORED},
};
static const struct field_table option_fields = {"OllamaOptions", option_rows, COUNT_OF(option_rows), &sampling_fields};

static const struct field common_rows[] = {
    {"model", FIELD_ANY, .set = ollama_set_model, .schema = "\"type\":\"string\"", .required = true},
    {"options", FIELD_OBJECT, .sub = &option_fields},
    {"stream", FIELD_FLAG, 0, 0, AT(stream), .def = "true"},
    {"format", FIELD_ANY, .set = set_constraint, .schema = "\"type\":[\"string\",\"object\"]", .help = "\"json\", or a JSON schema"},
    {"think", FIELD_ANY, .set = set_think, .schema = "\"type\":[\"boolean\",\"string\"]"},
    {"keep_alive", FIELD_ANY, .set = ollama_set_keep_alive, .schema = "\"type\":[\"string\",\"number\"]", .help = "idle time after which the model sleeps, for all: \"5m\", seconds, 0: at once, negative: never"},
    {"logprobs", FIELD_FLAG, 0, 0, AT(logprobs), .def = "false"},
    {"top_logprobs", FIELD_COUNT, 0, REQUEST_MAX_TOP, AT(params.n_logprobs), .def = "0"},
    {"truncate", FIELD_FLAG, .use = FIELD_ACCEPTED, .help = "a prompt that is too long is refused, never cut"},
    {"shift", FIELD_FLAG, .use = FIELD_ACCEPTED, .help = "nothing is shifted: an answer ends where the context is full"},
};
static const struct field_table common_fields = {"OllamaCommon", common_rows, COUNT_OF(common_rows), NULL};

static const struct field chat_rows[] = {
    {"messages", FIELD_ARRAY, .set = set_ollama_messages, .schema = "\"items\":{\"type\":\"object\"}", .help = "none: load the model, or unload it with keep_alive 0"},
    {"tools", FIELD_ARRAY, .set = set_tools, .schema = "\"items\":{\"type\":\"object\"}"},
};
static const struct field_table chat_fields = {"OllamaChat", chat_rows, COUNT_OF(chat_rows), &common_fields};

static const struct field generate_rows[] = {
    {"prompt", FIELD_TEXT, .help = "none: load the model, or unload it with keep_alive 0"},
    {"suffix", FIELD_TEXT, .help = "what follows the answer"},
    {"system", FIELD_TEXT, .help = "instructions"},
    {"raw", FIELD_FLAG, .def = "false", .help = "the prompt is in the model's own format already"},
    {"context", FIELD_ARRAY, .schema = "\"items\":{\"type\":\"integer\"}", .help = "of an answer before this"},
    {"images", FIELD_ARRAY, .set = set_images},
    {"template", FIELD_TEXT, .use = FIELD_REFUSED, .help = "the model's own is used; send raw for another format"},
};
static const struct field_table generate_fields = {"OllamaGenerate", generate_rows, COUNT_OF(generate_rows), &common_fields};
// clang-format on

/* Ollama's defaults. */
static void init(struct request *r)
{
    request_init(r);
    r->stream = true;
    r->params.temperature = 0.8f;
    r->params.top_k = 40;
    r->params.top_p = 0.9f;
}

/* ---- a prompt ---------------------------------------------------------------------------------------- */

static bool set_context(const struct api *api, struct request *r, const json_t *v, struct fault *f)
{
    json_int_t n_vocab = tokenizer_n_vocab(api->o.tok);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= n_vocab)
            return refuse(f, 400, "invalid_value", "context",
                          "context: element %zu is no token of this model", i);
        tok_ids_add(&r->prompt[0].ids, (int32_t)json_integer_value(id));
    }
    return true;
}

/* The conversation that prompt and system make. */
static bool as_conversation(const struct api *api, struct request *r, const char *prompt, const char *system,
                            struct fault *f)
{
    struct parse p = {.api = api, .r = r, .f = f};
    json_t *messages = json_array();
    if (system) json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", system));
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "user", "content", prompt));
    request_keep(r, messages);
    return conversation_check(&p, "prompt", messages);
}

static const char *text_field(const struct request *r, const char *name)
{
    const char *s = json_string_value(json_object_get(r->body, name));
    return s && *s ? s : NULL;
}

static bool read_prompt(const struct api *api, struct request *r, struct fault *f)
{
    const char *prompt = text_field(r, "prompt"), *system = text_field(r, "system");
    const json_t *context = json_object_get(r->body, "context");
    bool raw = json_is_true(json_object_get(r->body, "raw"));
    r->suffix = text_field(r, "suffix");
    if (raw && (system || json_array_size(context)))
        return refuse(f, 400, "invalid_value", "raw",
                      "raw mode does not support template, system, or context");
    if (!raw && !r->suffix && !as_conversation(api, r, prompt ? prompt : "", system, f)) return false;
    if (r->suffix && !fim_supported(api, f)) return false;
    request_add_prompts(r, 1);
    r->prompt[0].text = prompt ? prompt : "";
    r->prompt[0].n = strlen(r->prompt[0].text);
    return set_context(api, r, context, f);
}

/* ---- handlers ---------------------------------------------------------------------------------------- */

/* Nothing to answer: the model is here, and stays. */
static void reply_load(struct http_exchange *x, const struct request *r, bool chat)
{
    struct buf b = {0};
    struct timespec now;
    const char *model = json_string_value(json_object_get(r->body, "model"));
    const json_t *keep = json_object_get(r->body, "keep_alive");
    int64_t ns = 1;
    if (keep) (void)ollama_duration(keep, &ns);
    clock_gettime(CLOCK_REALTIME, &now);
    buf_adds(&b, "{\"model\":");
    buf_json_str(&b, model, strlen(model));
    buf_adds(&b, ",\"created_at\":");
    ollama_add_time(&b, now.tv_sec, now.tv_nsec);
    buf_adds(&b, chat ? ",\"message\":{\"role\":\"assistant\",\"content\":\"\"}" : ",\"response\":\"\"");
    buf_addf(&b, ",\"done\":true,\"done_reason\":\"%s\"}", ns == 0 ? "unload" : "load");
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

static bool check_chat(struct request *r, const struct api *api, struct fault *f)
{
    if (!r->chat.messages)
        return refuse(f, 400, "missing_required_parameter", "messages",
                      "messages is missing: there is nothing to answer");
    return openai_chat_check(r, api, f) && request_check(r, api, f);
}

const struct generator ollama_chat_generator = {"/api/chat", init, &chat_fields, check_chat, &ollama_chat};

static void chat(struct http_exchange *x, void *user)
{
    struct api *api = user;
    struct request r;
    struct fault f;
    init(&r);
    bool ok = request_read(&r, api, &chat_fields, x, &f), load = ok && !r.chat.messages;
    ok = ok && (load || check_chat(&r, api, &f));
    if (ok) ollama_keep_alive(api, &r);
    if (!ok)
        reply_fault(x, &ollama_chat, &f);
    else if (load)
        reply_load(x, &r, true);
    else
        generate(x, api, &ollama_chat, &r);
    request_deinit(&r);
}

static void init_generate(struct request *r)
{
    init(r);
    r->keep_ids = true; /* for context */
}

static bool check_generate(struct request *r, const struct api *api, struct fault *f)
{
    if (!text_field(r, "prompt") && !text_field(r, "suffix"))
        return refuse(f, 400, "missing_required_parameter", "prompt",
                      "prompt is missing: there is nothing to answer");
    return read_prompt(api, r, f) && request_check(r, api, f);
}

const struct generator ollama_generate_generator = {"/api/generate", init_generate, &generate_fields,
                                                    check_generate, &ollama_generate};

static void complete(struct http_exchange *x, void *user)
{
    struct api *api = user;
    struct request r;
    struct fault f;
    init_generate(&r);
    bool ok = request_read(&r, api, &generate_fields, x, &f);
    bool load = ok && !text_field(&r, "prompt") && !text_field(&r, "suffix");
    ok = ok && (load || check_generate(&r, api, &f));
    if (ok) ollama_keep_alive(api, &r);
    if (!ok)
        reply_fault(x, &ollama_generate, &f);
    else if (load)
        reply_load(x, &r, false);
    else
        generate(x, api, &ollama_generate, &r);
    request_deinit(&r);
}

// clang-format off
static const struct endpoint endpoints[] = {
    {"POST", "/api/chat", chat, &chat_fields, "Answer a conversation", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/api/generate", complete, &generate_fields, "Answer a prompt", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/api/embed", ollama_embed, &ollama_embed_fields, "Texts as vectors", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/api/embeddings", ollama_embeddings, &ollama_embeddings_fields, "A text as a vector, the older call", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"GET", "/api/tags", ollama_tags, .summary = "The models"},
    {"GET", "/api/ps", ollama_ps, .summary = "The models that are loaded"},
    {"POST", "/api/show", ollama_show, &ollama_show_fields, "What a model is", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"GET", "/api/version", ollama_version, .summary = "Ollama's version whose API this is", .role = HTTP_ROLE_ANYONE},
    {"GET", "/", ollama_root, .summary = "Says that it runs", .role = HTTP_ROLE_ANYONE},
    {"POST", "/api/create", ollama_no_store, .summary = "501: there is no store of models"},
    {"POST", "/api/copy", ollama_no_store, .summary = "501"},
    {"DELETE", "/api/delete", ollama_no_store, .summary = "501"},
    {"POST", "/api/pull", ollama_no_store, .summary = "501"},
    {"POST", "/api/push", ollama_no_store, .summary = "501"},
    {"GET", "/api/blobs/{digest}", ollama_no_store, .summary = "501"},
    {"POST", "/api/blobs/{digest}", ollama_no_store, .summary = "501"},
};
// clang-format on
const struct family ollama_family = {"Ollama", endpoints, COUNT_OF(endpoints)};
