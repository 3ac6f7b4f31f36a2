/* Ollama's calls about models: what is here, and clear words about what is not. One model is served, so it is
 * the whole list; there is no store that models could be copied in, pulled to or deleted from. */
#include <string.h>
#include <time.h>

#include "api/ollama.h"
#include "api/render.h"
#include "api/show.h"
#include "api/task.h"

static struct model_show shown(const struct api *a)
{
    return (struct model_show){&a->facts, a->o.chat, a->o.tok};
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
    buf_addf(b, ",\"size\":%llu,\"digest\":\"%s\",\"details\":", (unsigned long long)m->file_bytes,
             m->digest);
    show_details(m, b);
}

static const char *name_at(const struct api *a, size_t i)
{
    return i ? a->o.alias[i - 1] : a->o.model;
}

void ollama_tags(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    const struct model_show m = shown(a);
    struct buf b = {0};
    buf_adds(&b, "{\"models\":[");
    for (size_t i = 0; i <= a->o.n_alias; i++) {
        if (i) buf_addc(&b, ',');
        add_model(&b, a, name_at(a, i));
        buf_adds(&b, ",\"modified_at\":");
        ollama_add_time(&b, a->facts.modified, 0);
        buf_adds(&b, ",\"capabilities\":");
        show_capabilities(&m, &b);
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

static bool show(const struct api *a, struct request *r, struct buf *b, struct fault *f)
{
    const struct model_show m = shown(a);
    if (!json_object_get(r->body, "model") && !json_object_get(r->body, "name"))
        return refuse(f, 400, "missing_required_parameter", "model", "model is required");
    show_body(&m, a->o.model, json_is_true(json_object_get(r->body, "verbose")), b);
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
