/* /tokenize, /detokenize and /apply-template. */
#include <string.h>

#include "api/llamacpp.h"
#include "api/task.h"
#include "base/utf8.h"

// clang-format off
static const struct field tokenize_rows[] = {
    {"content", FIELD_ANY, .schema = "\"type\":[\"string\",\"array\"]", .help = "text, or texts and token ids mixed"},
    {"add_special", FIELD_FLAG, .def = "false", .help = "begin as a prompt does"},
    {"parse_special", FIELD_FLAG, .def = "true", .help = "control tokens written in the text become their ids"},
    {"with_pieces", FIELD_FLAG, .def = "false"},
};
const struct field_table llamacpp_tokenize_fields = {"LlamaCppTokenize", tokenize_rows, COUNT_OF(tokenize_rows), NULL};
static const struct field detokenize_rows[] = {
    {"tokens", FIELD_ARRAY, .schema = "\"items\":{\"type\":\"integer\"}", .help = "token ids"},
};
const struct field_table llamacpp_detokenize_fields = {"LlamaCppDetokenize", detokenize_rows, COUNT_OF(detokenize_rows), NULL};
static const struct field template_rows[] = {
    {"messages", FIELD_ARRAY, .set = set_messages, .schema = "\"items\":{\"type\":\"object\"}", .required = true},
    {"tools", FIELD_ARRAY, .set = set_tools, .schema = "\"items\":{\"type\":\"object\"}"},
    {"add_generation_prompt", FIELD_FLAG, 0, 0, AT(chat.answer), .def = "true"},
    {"continue_final_message", FIELD_FLAG, 0, 0, AT(chat.continue_last), .def = "false"},
    {"chat_template_kwargs", FIELD_OBJECT, 0, 0, AT(chat.kwargs), .help = "variables for the template"},
    {"reasoning_effort", FIELD_TEXT, 0, 0, AT(chat.effort), .help = "as the template knows it"},
};
const struct field_table llamacpp_template_fields = {"LlamaCppTemplate", template_rows, COUNT_OF(template_rows), NULL};
// clang-format on

static bool flag(const struct request *r, const char *name, bool otherwise)
{
    const json_t *v = json_object_get(r->body, name);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static void run(struct http_exchange *x, struct api *api, const struct field_table *t, task_fn *fn)
{
    struct request r;
    struct fault f;
    request_init(&r);
    if (request_read(&r, api, t, x, &f))
        task_run(x, api, &llamacpp_renderer, &r, fn);
    else
        reply_fault(x, &llamacpp_renderer, &f);
    request_deinit(&r);
}

/* ---- tokens ------------------------------------------------------------------------------------------ */

static bool add_id(const struct api *a, const char *name, const json_t *v, struct tok_ids *ids,
                   struct fault *f)
{
    json_int_t id = json_integer_value(v), n = tokenizer_n_vocab(a->o.tok);
    if (!json_is_integer(v) || id < 0 || id >= n)
        return refuse(f, 400, "value_out_of_range", name, "'%s' must hold token ids between 0 and %lld", name,
                      (long long)n - 1);
    tok_ids_add(ids, (int32_t)id);
    return true;
}

/* A text, or an array of texts and ids, of which only what comes first can begin a prompt. */
static bool encode(const struct api *a, const struct request *r, const json_t *content, struct tok_ids *ids,
                   struct fault *f)
{
    struct tok_options o = {.bos = flag(r, "add_special", false) ? TOK_BOS_AUTO : TOK_BOS_OFF,
                            .parse_special = flag(r, "parse_special", true)};
    struct error e;
    size_t n = json_is_array(content) ? json_array_size(content) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_is_array(content) ? json_array_get(content, i) : content;
        if (!json_is_string(v)) {
            if (!add_id(a, "content", v, ids, f)) return false;
        } else if (tokenizer_encode(a->o.tok, json_string_value(v), json_string_length(v), &o, ids, &e) !=
                   OK) {
            return refuse(f, 400, "invalid_value", "content", "'content': %s", e.msg);
        }
        o.bos = TOK_BOS_OFF;
    }
    return true;
}

/* Text, or bytes where it is only a part of a character. */
static void add_piece(const struct api *a, int32_t id, struct buf *out)
{
    size_t n;
    const char *piece = tokenizer_piece(a->o.tok, id, &n);
    if (n == 0) piece = tokenizer_text(a->o.tok, id, &n);
    buf_addf(out, "{\"id\":%d,\"piece\":", id);
    if (utf8_valid(piece, n)) {
        buf_json_str(out, piece, n);
    } else {
        buf_addc(out, '[');
        for (size_t i = 0; i < n; i++) buf_addf(out, i ? ",%u" : "%u", (unsigned char)piece[i]);
        buf_addc(out, ']');
    }
    buf_addc(out, '}');
}

static bool tokenize(const struct api *a, struct request *r, struct buf *out, struct fault *f)
{
    const json_t *content = json_object_get(r->body, "content");
    bool pieces = flag(r, "with_pieces", false);
    struct tok_ids ids = {0};
    bool ok = !content || encode(a, r, content, &ids, f);
    buf_adds(out, "{\"tokens\":[");
    for (size_t i = 0; ok && i < ids.n; i++) {
        if (i) buf_addc(out, ',');
        if (pieces)
            add_piece(a, ids.id[i], out);
        else
            buf_addf(out, "%d", ids.id[i]);
    }
    buf_adds(out, "]}");
    tok_ids_deinit(&ids);
    return ok;
}

static bool detokenize(const struct api *a, struct request *r, struct buf *out, struct fault *f)
{
    const json_t *list = json_object_get(r->body, "tokens");
    struct tok_ids ids = {0};
    struct buf text = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(list); i++)
        ok = add_id(a, "tokens", json_array_get(list, i), &ids, f);
    if (ok) {
        tokenizer_decode(a->o.tok, ids.id, ids.n, true, &text);
        buf_adds(out, "{\"content\":");
        buf_json_str(out, text.data ? text.data : "", text.n);
        buf_addc(out, '}');
    }
    buf_deinit(&text);
    tok_ids_deinit(&ids);
    return ok;
}

static bool apply_template(const struct api *a, struct request *r, struct buf *out, struct fault *f)
{
    struct buf text = {0};
    struct error e;
    status s = chat_encode(a->o.chat, &r->chat, NULL, &text, NULL, &e);
    buf_adds(out, "{\"prompt\":");
    buf_json_str(out, text.data ? text.data : "", text.n);
    buf_addc(out, '}');
    buf_deinit(&text);
    return s == OK ||
           refuse(f, s == ERR_MEMORY ? 500 : 400, "invalid_value", "messages", "'messages': %s", e.msg);
}

void llamacpp_tokenize(struct http_exchange *x, void *user)
{
    run(x, user, &llamacpp_tokenize_fields, tokenize);
}
void llamacpp_detokenize(struct http_exchange *x, void *user)
{
    run(x, user, &llamacpp_detokenize_fields, detokenize);
}
void llamacpp_apply_template(struct http_exchange *x, void *user)
{
    run(x, user, &llamacpp_template_fields, apply_template);
}
