/* Ollama's calls about models: what is here, and clear words about what is not. One model is served, so it is
 * the whole list; there is no store that models could be copied in, pulled to or deleted from. */
#include <string.h>
#include <time.h>

#include "api/facts.h"
#include "api/ollama.h"
#include "api/render.h"
#include "api/task.h"

static void add_details(struct buf *b, const struct model_facts *m)
{
    buf_addf(b,
             "\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"%s\",\"families\":[\"%s\"],"
             "\"parameter_size\":\"%s\",\"quantization_level\":\"%s\",\"context_length\":%u,\"embedding_"
             "length\":%u}",
             m->arch, m->arch, m->size, m->quantization, m->n_ctx_train, m->n_embd);
}

static void add_capabilities(struct buf *b, const struct api *a)
{
    const struct chat_caps *caps = chat_format_caps(a->o.chat);
    buf_adds(b, "\"capabilities\":[\"completion\"");
    if (caps->tools) buf_adds(b, ",\"tools\"");
    if (caps->thinks) buf_adds(b, ",\"thinking\"");
    buf_addc(b, ']');
}

/* Ollama's names have a tag. */
static void add_name(struct buf *b, const char *key, const char *model)
{
    buf_addf(b, "\"%s\":", key);
    struct buf name = {0};
    buf_adds(&name, model);
    if (!strchr(model, ':')) buf_adds(&name, ":latest");
    buf_json_str(b, name.data, name.n);
    buf_deinit(&name);
}

static void add_model(struct buf *b, const struct api *a, const char *model)
{
    const struct model_facts *m = &a->facts;
    buf_addc(b, '{');
    add_name(b, "name", model);
    buf_addc(b, ',');
    add_name(b, "model", model);
    buf_addf(b, ",\"size\":%llu,\"digest\":\"%s\",", (unsigned long long)m->file_bytes, m->digest);
    add_details(b, m);
}

static const char *name_at(const struct api *a, size_t i)
{
    return i ? a->o.alias[i - 1] : a->o.model;
}

void ollama_tags(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct buf b = {0};
    buf_adds(&b, "{\"models\":[");
    for (size_t i = 0; i <= a->o.n_alias; i++) {
        if (i) buf_addc(&b, ',');
        add_model(&b, a, name_at(a, i));
        buf_adds(&b, ",\"modified_at\":");
        ollama_add_time(&b, a->facts.modified, 0);
        buf_addc(&b, ',');
        add_capabilities(&b, a);
        buf_addc(&b, '}');
    }
    buf_adds(&b, "]}");
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

/* When the model will sleep is not known before: it is said to stay for a hundred years, as Ollama says for
 * keep_alive -1. Asleep it is not listed. */
void ollama_ps(struct http_exchange *x, void *user)
{
    enum { DAY_S = 86400, FOR_EVER_DAYS = 36500 };
    const struct api *a = user;
    struct engine_stats st;
    struct buf b = {0};
    engine_stats(a->o.engine, &st);
    buf_adds(&b, "{\"models\":[");
    if (!st.asleep) {
        add_model(&b, a, a->o.model);
        buf_adds(&b, ",\"expires_at\":");
        ollama_add_time(&b, (int64_t)time(NULL) + (int64_t)FOR_EVER_DAYS * DAY_S, 0);
        buf_addf(&b, ",\"size_vram\":0,\"context_length\":%u}", st.max_context);
    }
    buf_adds(&b, "]}");
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

/* ---- show -------------------------------------------------------------------------------------------- */

// clang-format off
static const struct field show_rows[] = {
    {"model", FIELD_TEXT, .set = ollama_set_model},
    {"name", FIELD_TEXT, .set = ollama_set_model, .help = "the older name of model"},
    {"verbose", FIELD_FLAG, .def = "false", .help = "arrays of the metadata too, and the tensors"},
};
// clang-format on
const struct field_table ollama_show_fields = {"OllamaShow", show_rows, COUNT_OF(show_rows), NULL};

/* A Modelfile that would say the same. */
static void add_modelfile(struct buf *b, const struct api *a)
{
    struct buf text = {0};
    buf_addf(&text, "# %s, as corral serves it\nFROM %s\n", a->o.model,
             a->facts.gguf ? gguf_path(a->facts.gguf) : "");
    buf_adds(b, "\"modelfile\":");
    buf_json_str(b, text.data, text.n);
    buf_deinit(&text);
}

static bool show(const struct api *a, struct request *r, struct buf *b, struct fault *f)
{
    bool all = json_is_true(json_object_get(r->body, "verbose"));
    size_t n_template;
    const char *template_text = chat_format_template(a->o.chat, &n_template);
    struct gguf_str license = {0};
    if (!json_object_get(r->body, "model") && !json_object_get(r->body, "name"))
        return refuse(f, 400, "missing_required_parameter", "model", "model is required");
    buf_addc(b, '{');
    if (a->facts.gguf && gguf_get_str(a->facts.gguf, "general.license", false, &license, NULL) == OK &&
        license.n) {
        buf_adds(b, "\"license\":");
        buf_json_str(b, license.p, license.n);
        buf_addc(b, ',');
    }
    add_modelfile(b, a);
    buf_adds(b, ",\"parameters\":\"\",\"template\":");
    buf_json_str(b, template_text ? template_text : "", template_text ? n_template : 0);
    buf_addc(b, ',');
    add_details(b, &a->facts);
    buf_adds(b, ",\"model_info\":");
    facts_metadata(&a->facts, all, b);
    if (all) {
        buf_adds(b, ",\"tensors\":");
        facts_tensors(&a->facts, b);
    }
    buf_addc(b, ',');
    add_capabilities(b, a);
    buf_adds(b, ",\"modified_at\":");
    ollama_add_time(b, a->facts.modified, 0);
    buf_addc(b, '}');
    return true;
}

void ollama_show(struct http_exchange *x, void *user)
{
    struct api *a = user;
    struct request r;
    struct fault f;
    request_init(&r);
    if (request_read(&r, a, &ollama_show_fields, x, &f))
        task_run(x, a, &ollama_chat, &r, show);
    else
        reply_fault(x, &ollama_chat, &f);
    request_deinit(&r);
}

/* ---- the rest ---------------------------------------------------------------------------------------- */

/* Clients look at it to know which fields and calls there are. */
#define OLLAMA_VERSION "0.33.0"

void ollama_version(struct http_exchange *x, void *user)
{
    static const char body[] = "{\"version\":\"" OLLAMA_VERSION "\"}";
    http_reply(x, 200, "application/json", body, sizeof body - 1);
}

void ollama_root(struct http_exchange *x, void *user)
{
    static const char body[] = "Ollama is running";
    http_reply(x, 200, "text/plain; charset=utf-8", body, sizeof body - 1);
}

void ollama_no_store(struct http_exchange *x, void *user)
{
    struct fault f;
    refuse(&f, 501, "not_supported", NULL,
           "this server serves the model that it was started with and keeps no store of models: start "
           "another with "
           "corral serve FILE.gguf");
    reply_fault(x, &ollama_chat, &f);
}
