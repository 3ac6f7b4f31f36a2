/* POST /api/embed, and the older /api/embeddings for one text. */
#include <string.h>

#include "api/ollama.h"
#include "api/render.h"
#include "api/vectors.h"
#include "base/clock.h"

static bool set_texts(struct parse *p, const char *name, const json_t *v)
{
    bool empty = json_is_string(v) ? json_string_length(v) == 0 : json_is_array(v) && json_array_size(v) == 0;
    return empty || set_inputs(p, name, v);
}

static bool set_dimensions(struct parse *p, const char *name, const json_t *v)
{
    uint32_t most = p->api->facts.n_embd;
    return !most || json_number_value(v) <= most || field_out_of_range(p, name, 1, most, true);
}

// clang-format off
static const struct field embed_rows[] = {
    {"model", FIELD_ANY, .set = ollama_set_model, .schema = "\"type\":\"string\"", .required = true},
    {"input", FIELD_ANY, .set = set_texts, .schema = "\"type\":[\"string\",\"array\"]", .help = "a text, or an array of texts"},
    {"dimensions", FIELD_COUNT, 0, 65536, .set = set_dimensions, .help = "the first so many numbers, scaled to length 1 again"},
    {"keep_alive", FIELD_ANY, .set = ollama_set_keep_alive, .schema = "\"type\":[\"string\",\"number\"]"},
    {"truncate", FIELD_FLAG, .use = FIELD_ACCEPTED, .help = "a text that is too long is refused, never cut"},
    {"options", FIELD_OBJECT, .use = FIELD_ACCEPTED, .help = "none changes a vector"},
};
const struct field_table ollama_embed_fields = {"OllamaEmbed", embed_rows, COUNT_OF(embed_rows), NULL};
static const struct field old_rows[] = {
    {"model", FIELD_ANY, .set = ollama_set_model, .schema = "\"type\":\"string\"", .required = true},
    {"prompt", FIELD_ANY, .set = set_texts, .schema = "\"type\":\"string\""},
    {"keep_alive", FIELD_ANY, .set = ollama_set_keep_alive, .schema = "\"type\":[\"string\",\"number\"]"},
    {"options", FIELD_OBJECT, .use = FIELD_ACCEPTED, .help = "none changes a vector"},
};
const struct field_table ollama_embeddings_fields = {"OllamaEmbeddings", old_rows, COUNT_OF(old_rows), NULL};
// clang-format on

static void add_head(struct buf *out, const struct request *r)
{
    buf_adds(out, "{\"model\":");
    render_str(out, json_string_value(json_object_get(r->body, "model")));
    buf_adds(out, ",\"embeddings\":[");
}

static void add_tail(struct buf *out, int64_t ns, uint64_t n_tokens)
{
    ns = MAX(ns, (int64_t)1);
    buf_addf(out, "],\"total_duration\":%lld,\"load_duration\":1,\"prompt_eval_count\":%llu}", (long long)ns,
             (unsigned long long)n_tokens);
}

static void embed_render(const struct vectors *v, struct buf *out)
{
    json_int_t want = json_integer_value(json_object_get(v->req.body, "dimensions"));
    add_head(out, &v->req);
    for (uint32_t i = 0; i < v->req.n_prompt; i++) {
        uint32_t n = v->of[i].n;
        if (want > 0 && want < n) vector_shorten(v->of[i].v, n = (uint32_t)want);
        if (i) buf_addc(out, ',');
        vector_json(out, v->of[i].v, n);
    }
    add_tail(out, v->total_ns, v->n_prompt_tokens);
}

static void old_render(const struct vectors *v, struct buf *out)
{
    buf_adds(out, "{\"embedding\":");
    vector_json(out, v->of[0].v, v->of[0].n);
    buf_addc(out, '}');
}

/* Without texts the model is loaded, and that is all. */
static void reply_empty(struct http_exchange *x, const struct request *r, bool old)
{
    struct buf b = {0};
    if (old) {
        buf_adds(&b, "{\"embedding\":[]}");
    } else {
        add_head(&b, r);
        add_tail(&b, 1, 0);
    }
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

static void run(struct http_exchange *x, const struct api *api, const struct field_table *t, bool old)
{
    const struct vectors_options o = {.task = ENGINE_EMBED, .normalize = !old};
    struct request r;
    struct fault f;
    request_init(&r);
    bool ok = request_read(&r, api, t, x, &f);
    if (ok) ollama_keep_alive(api, &r);
    if (!ok)
        reply_fault(x, &ollama_chat, &f);
    else if (!r.n_prompt)
        reply_empty(x, &r, old);
    else
        vectors_run(x, api, &ollama_chat, &r, &o, old ? old_render : embed_render);
    request_deinit(&r);
}

void ollama_embed(struct http_exchange *x, void *api)
{
    run(x, api, &ollama_embed_fields, false);
}
void ollama_embeddings(struct http_exchange *x, void *api)
{
    run(x, api, &ollama_embeddings_fields, true);
}
