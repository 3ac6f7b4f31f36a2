/* POST /embedding (and /embeddings): vectors in the shape of llama.cpp's server, a list of rows for each
 * text. */
#include <string.h>

#include "api/llamacpp.h"
#include "api/vectors.h"

// clang-format off
static const struct field rows[] = {
    {"model", FIELD_TEXT, .set = set_model},
    {"content", FIELD_ANY, .set = set_inputs, .schema = "\"type\":[\"string\",\"array\"]", .help = "a text, token ids, or an array of those"},
    {"input", FIELD_ANY, .set = set_inputs, .schema = "\"type\":[\"string\",\"array\"]", .help = "the same under OpenAI's name"},
    {"embd_normalize", FIELD_INT, -1, 2, .def = "2", .help = "2: vectors of length 1, -1: as they are"},
    {"priority", FIELD_INT, -8, 7, AT(priority), .def = "0"},
    {"timeout", FIELD_SECONDS, 0, 86400, AT(total_timeout_ns), .help = "seconds until the answer must be complete"},
};
// clang-format on
const struct field_table llamacpp_embedding_fields = {"LlamaCppEmbedding", rows, COUNT_OF(rows), NULL};

static void render(const struct vectors *v, struct buf *out)
{
    buf_addc(out, '[');
    for (uint32_t i = 0; i < v->req.n_prompt; i++) {
        const struct vector *one = &v->of[i];
        buf_addf(out, "%s{\"index\":%u,\"embedding\":[", i ? "," : "", i);
        for (uint32_t k = 0; k < one->n_row; k++) {
            if (k) buf_addc(out, ',');
            vector_json(out, one->v + (size_t)k * one->n, one->n);
        }
        buf_adds(out, "]}");
    }
    buf_addc(out, ']');
}

static bool read_texts(struct request *r, const struct api *api, struct http_exchange *x, bool *normalize,
                       struct fault *f)
{
    if (!request_read(r, api, &llamacpp_embedding_fields, x, f)) return false;
    const json_t *how = json_object_get(r->body, "embd_normalize");
    json_int_t kind = json_is_integer(how) ? json_integer_value(how) : 2;
    *normalize = kind == 2;
    if (kind == 0 || kind == 1)
        return refuse(
            f, 400, "unsupported_value", "embd_normalize",
            "'embd_normalize' %lld is not supported: 2 scales to length 1, -1 leaves vectors as they are",
            (long long)kind);
    return r->n_prompt || refuse(f, 400, "missing_required_parameter", "content", "'content' is missing");
}

void llamacpp_embedding(struct http_exchange *x, void *user)
{
    const struct api *api = user;
    struct vectors_options o = {.task = ENGINE_EMBED};
    struct request r;
    struct fault f;
    request_init(&r);
    if (read_texts(&r, api, x, &o.normalize, &f))
        vectors_run(x, api, &llamacpp_renderer, &r, &o, render);
    else
        reply_fault(x, &llamacpp_renderer, &f);
    request_deinit(&r);
}
