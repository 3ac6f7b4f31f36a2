/* POST /v1/embeddings, and rerank as Jina, vLLM and llama.cpp's server have it. */
#include <stdlib.h>
#include <string.h>

#include "api/openai.h"
#include "api/vectors.h"
#include "format/gguf.h"

/* ---- embeddings -------------------------------------------------------------------------------------- */

struct embed_extra {
    bool base64;
    uint32_t dimensions;
};

static bool set_format(struct parse *p, const char *name, const json_t *v)
{
    ((struct embed_extra *)p->r->extra)->base64 = !strcmp(json_string_value(v), "base64");
    return true;
}

static bool set_dimensions(struct parse *p, const char *name, const json_t *v)
{
    uint32_t n_embd = p->api->facts.n_embd, n = (uint32_t)json_integer_value(v);
    if (n_embd && n > n_embd) return field_out_of_range(p, name, 1, n_embd, true);
    ((struct embed_extra *)p->r->extra)->dimensions = n;
    return true;
}

#define INPUT_SCHEMA "\"type\":[\"string\",\"array\"]"
// clang-format off
static const struct field embed_rows[] = {
    {"model", FIELD_TEXT, .set = set_model},
    {"input", FIELD_ANY, .set = set_inputs, .schema = INPUT_SCHEMA, .required = true, .help = "a text, token ids, or an array of those"},
    {"encoding_format", FIELD_TEXT, .set = set_format, .choices = "float|base64", .def = "\"float\""},
    {"dimensions", FIELD_COUNT, 1, 65536, .set = set_dimensions, .help = "the first so many numbers, scaled to length 1 again"},
    {"priority", FIELD_INT, -8, 7, AT(priority), .def = "0"},
    {"timeout", FIELD_SECONDS, 0, 86400, AT(total_timeout_ns), .help = "seconds until the answer must be complete"},
    {"user", FIELD_TEXT, .use = FIELD_ACCEPTED},
};
// clang-format on
static const struct field_table embed_fields = {"EmbeddingsRequest", embed_rows, COUNT_OF(embed_rows), NULL};

static void add_count(struct buf *out, const struct vectors *v)
{
    buf_addf(out, "\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}",
             (unsigned long long)v->n_prompt_tokens, (unsigned long long)v->n_prompt_tokens);
}

static void embed_render(const struct vectors *v, struct buf *out)
{
    const struct embed_extra *x = v->req.extra;
    buf_adds(out, "{\"object\":\"list\",\"model\":");
    const char *model = request_model(&v->req, v->api);
    buf_json_str(out, model, strlen(model));
    buf_adds(out, ",\"data\":[");
    for (uint32_t i = 0; i < v->req.n_prompt; i++) {
        uint32_t n = v->of[i].n;
        if (x->dimensions && x->dimensions < n) vector_shorten(v->of[i].v, n = x->dimensions);
        buf_addf(out, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":", i ? "," : "", i);
        if (x->base64)
            vector_base64(out, v->of[i].v, n);
        else
            vector_json(out, v->of[i].v, n);
        buf_addc(out, '}');
    }
    buf_adds(out, "],");
    add_count(out, v);
    buf_addc(out, '}');
}

static void embeddings(struct http_exchange *x, void *user)
{
    const struct api *api = user;
    const struct vectors_options o = {.task = ENGINE_EMBED, .normalize = true};
    struct request r;
    struct fault f;
    request_init(&r);
    r.extra = mem_zalloc(1, sizeof(struct embed_extra));
    r.extra_free = free;
    if (request_read(&r, api, &embed_fields, x, &f))
        vectors_run(x, api, &openai_chat, &r, &o, embed_render);
    else
        reply_fault(x, &openai_chat, &f);
    request_deinit(&r);
}

/* ---- rerank ------------------------------------------------------------------------------------------ */

struct rerank_extra {
    const char *query;
    size_t n_query;
    uint32_t top_n;
    bool return_text, tei; /* tei: Hugging Face's shape, "texts" instead of "documents" */
};

static struct rerank_extra *rerank_of(struct parse *p)
{
    return p->r->extra;
}

static bool set_query(struct parse *p, const char *name, const json_t *v)
{
    rerank_of(p)->query = json_string_value(v);
    rerank_of(p)->n_query = json_string_length(v);
    return true;
}

static bool set_documents(struct parse *p, const char *name, const json_t *v)
{
    size_t n = json_array_size(v);
    rerank_of(p)->tei = !strcmp(name, "texts");
    if (n < 1) return refuse(p->f, 400, "invalid_value", name, "'%s' is empty", name);
    if (p->r->n_prompt)
        return refuse(p->f, 400, "invalid_value", name, "there are both 'documents' and 'texts'");
    request_add_prompts(p->r, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *d = json_array_get(v, i), *text = json_is_object(d) ? json_object_get(d, "text") : d;
        if (!json_is_string(text)) return field_wrong_type(p, name, "an array of strings");
        p->r->prompt[i].text = json_string_value(text);
        p->r->prompt[i].n = json_string_length(text);
    }
    return true;
}

static bool set_top_n(struct parse *p, const char *name, const json_t *v)
{
    rerank_of(p)->top_n = (uint32_t)json_integer_value(v);
    return true;
}

static bool set_return(struct parse *p, const char *name, const json_t *v)
{
    rerank_of(p)->return_text = json_is_true(v);
    return true;
}

// clang-format off
static const struct field rerank_rows[] = {
    {"model", FIELD_TEXT, .set = set_model},
    {"query", FIELD_TEXT, .set = set_query, .required = true},
    {"documents", FIELD_ARRAY, 0, VECTORS_MAX_INPUTS, .set = set_documents, .help = "texts, or objects with a text"},
    {"texts", FIELD_ARRAY, 0, VECTORS_MAX_INPUTS, .set = set_documents, .help = "the same in Hugging Face's shape, which the answer then has too"},
    {"top_n", FIELD_COUNT, 1, VECTORS_MAX_INPUTS, .set = set_top_n, .help = "only so many results, the best"},
    {"return_documents", FIELD_FLAG, .set = set_return, .def = "false"},
    {"return_text", FIELD_FLAG, .set = set_return, .def = "false"},
    {"priority", FIELD_INT, -8, 7, AT(priority), .def = "0"},
    {"timeout", FIELD_SECONDS, 0, 86400, AT(total_timeout_ns), .help = "seconds until the answer must be complete"},
    {"user", FIELD_TEXT, .use = FIELD_ACCEPTED},
};
// clang-format on
static const struct field_table rerank_fields = {"RerankRequest", rerank_rows, COUNT_OF(rerank_rows), NULL};

struct pair {
    const struct tokenizer *t;
    struct tok_ids *ids;
    struct error e;
    bool ok;
};

static void add_text(struct pair *p, const char *s, size_t n, bool special)
{
    struct tok_options o = {.bos = TOK_BOS_OFF, .parse_special = special, .no_prefix = true};
    if (p->ok && n) p->ok = tokenizer_encode(p->t, s, n, &o, p->ids, &p->e) == OK;
}

/* The model's own words around a pair, with {query} and {document} in them, as llama.cpp's converter writes
 * them. */
static void add_template(struct pair *p, struct gguf_str s, const struct rerank_extra *x,
                         const struct prompt *d)
{
    static const char query[] = "{query}", document[] = "{document}";
    const char *end = s.p + s.n;
    for (const char *at = s.p; at < end;) {
        size_t left = (size_t)(end - at);
        const char *q = memmem(at, left, query, sizeof query - 1),
                   *t = memmem(at, left, document, sizeof document - 1);
        const char *next = q && (!t || q < t) ? q : t ? t : end;
        add_text(p, at, (size_t)(next - at), true);
        if (next == end) break;
        if (next == q)
            add_text(p, x->query, x->n_query, false);
        else
            add_text(p, d->text, d->n, false);
        at = next + (next == q ? sizeof query : sizeof document) - 1;
    }
}

static void add_id(struct pair *p, int32_t id)
{
    if (id >= 0) tok_ids_add(p->ids, id);
}

static bool rerank_encode(const struct api *api, struct request *r, struct fault *f)
{
    const struct rerank_extra *x = r->extra;
    struct gguf_str template = {0};
    if (api->o.gguf &&
        gguf_get_str(api->o.gguf, "tokenizer.chat_template.rerank", false, &template, NULL) != OK)
        template.n = 0;
    for (uint32_t i = 0; i < r->n_prompt; i++) {
        struct pair p = {.t = api->o.tok, .ids = &r->prompt[i].ids, .ok = true};
        int32_t eos = tokenizer_eos(p.t);
        if (template.n) {
            add_template(&p, template, x, &r->prompt[i]);
        } else { /* as BERT's descendants were trained */
            add_id(&p, tokenizer_bos(p.t));
            add_text(&p, x->query, x->n_query, false);
            add_id(&p, eos);
            add_id(&p, eos);
            add_text(&p, r->prompt[i].text, r->prompt[i].n, false);
            add_id(&p, eos);
        }
        if (!p.ok) return refuse(f, 400, "invalid_value", "documents", "document %u: %s", i, p.e.msg);
    }
    return true;
}

struct scored {
    uint32_t index;
    float score;
};
static int best_first(const void *pa, const void *pb)
{
    const struct scored *a = pa, *b = pb;
    if (a->score != b->score) return a->score < b->score ? 1 : -1;
    return a->index < b->index ? -1 : 1;
}

static void rerank_render(const struct vectors *v, struct buf *out)
{
    const struct rerank_extra *x = v->req.extra;
    uint32_t n = v->req.n_prompt, top = x->top_n ? MIN(x->top_n, n) : n;
    struct scored *list = mem_zalloc(n, sizeof *list);
    for (uint32_t i = 0; i < n; i++) list[i] = (struct scored){i, v->of[i].n ? v->of[i].v[0] : 0};
    qsort(list, n, sizeof *list, best_first);
    if (!x->tei) {
        buf_adds(out, "{\"object\":\"list\",\"model\":");
        const char *model = request_model(&v->req, v->api);
        buf_json_str(out, model, strlen(model));
        buf_addc(out, ',');
        add_count(out, v);
        buf_adds(out, ",\"results\":");
    }
    buf_addc(out, '[');
    for (uint32_t i = 0; i < top; i++) {
        const struct prompt *d = &v->req.prompt[list[i].index];
        buf_addf(out, "%s{\"index\":%u,\"%s\":%.8g", i ? "," : "", list[i].index,
                 x->tei ? "score" : "relevance_score", (double)list[i].score);
        if (x->return_text) {
            buf_adds(out, x->tei ? ",\"text\":" : ",\"document\":{\"text\":");
            buf_json_str(out, d->text, d->n);
            if (!x->tei) buf_addc(out, '}');
        }
        buf_addc(out, '}');
    }
    buf_adds(out, x->tei ? "]" : "]}");
    free(list);
}

static void rerank(struct http_exchange *x, void *user)
{
    const struct api *api = user;
    const struct vectors_options o = {.task = ENGINE_RANK};
    struct request r;
    struct fault f;
    request_init(&r);
    r.extra = mem_zalloc(1, sizeof(struct rerank_extra));
    r.extra_free = free;
    r.encode = rerank_encode;
    bool ok = request_read(&r, api, &rerank_fields, x, &f);
    if (ok && !r.n_prompt)
        ok = refuse(&f, 400, "missing_required_parameter", "documents", "'documents' is missing");
    if (ok)
        vectors_run(x, api, &openai_chat, &r, &o, rerank_render);
    else
        reply_fault(x, &openai_chat, &f);
    request_deinit(&r);
}

// clang-format off
static const struct endpoint rows[] = {
    {"POST", "/v1/embeddings", embeddings, &embed_fields, "Texts as vectors", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/v1/rerank", rerank, &rerank_fields, "Documents by how well they answer a query", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/v1/reranking", rerank, &rerank_fields, "The same", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/v2/rerank", rerank, &rerank_fields, "The same", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/rerank", rerank, &rerank_fields, "The same", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"POST", "/reranking", rerank, &rerank_fields, "The same", HTTP_BODY_WHOLE, HTTP_ROLE_USER},
};
// clang-format on
const struct family embed_family = {"Embeddings", rows, COUNT_OF(rows)};
