#include "api/fim.h"

#include <string.h>

#include "api/api_int.h"
#include "format/gguf.h"

enum { PRE, SUF, MID, REP, SEP, N_FIM };

/* Keys of the model's file, the newer first; then the tokens' names in StarCoder, Qwen and Granite,
 * CodeGemma, CodeLlama, DeepSeek and others. */
// clang-format off
static const struct {
    const char *key[2], *name[8];
} fim[N_FIM] = {
    [PRE] = {{"fim_pre_token_id", "prefix_token_id"}, {"<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<PRE>", "▁<PRE>", "<｜fim▁begin｜>", "<|code_prefix|>"}},
    [SUF] = {{"fim_suf_token_id", "suffix_token_id"}, {"<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<SUF>", "▁<SUF>", "<｜fim▁hole｜>", "<|code_suffix|>"}},
    [MID] = {{"fim_mid_token_id", "middle_token_id"}, {"<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<MID>", "▁<MID>", "<｜fim▁end｜>", "<|code_middle|>"}},
    [REP] = {{"fim_rep_token_id"}, {"<|repo_name|>", "<|fim_repo|>", "<reponame>", "<fim-repo>"}},
    [SEP] = {{"fim_sep_token_id"}, {"<|file_sep|>", "<file_sep>"}},
};
// clang-format on

static int32_t find_in(const struct gguf *g, const struct tokenizer *tok, int which)
{
    uint32_t n = tokenizer_n_vocab(tok);
    for (size_t i = 0; i < COUNT_OF(fim[which].key) && fim[which].key[i] && g; i++) {
        char key[64];
        uint32_t id = UINT32_MAX;
        snprintf(key, sizeof key, "tokenizer.ggml.%s", fim[which].key[i]);
        if (gguf_get_u32(g, key, false, &id, NULL) == OK && id < n) return (int32_t)id;
    }
    for (size_t i = 0; i < COUNT_OF(fim[which].name) && fim[which].name[i]; i++) {
        int32_t id = tokenizer_find(tok, fim[which].name[i], strlen(fim[which].name[i]));
        if (id >= 0) return id;
    }
    return -1;
}

static int32_t find(const struct api *a, int which)
{
    return find_in(a->o.gguf, a->o.tok, which);
}

bool fim_known(const struct gguf *g, const struct tokenizer *tok)
{
    return find_in(g, tok, PRE) >= 0 && find_in(g, tok, SUF) >= 0 && find_in(g, tok, MID) >= 0;
}

bool fim_supported(const struct api *a, struct fault *f)
{
    return fim_known(a->o.gguf, a->o.tok) ||
           refuse(f, 501, "not_supported", "suffix",
                  "this model cannot fill gaps: it has no tokens for a prefix, a suffix and the middle");
}

static bool add_text(const struct api *a, const char *s, size_t n, struct tok_ids *ids, struct fault *f)
{
    struct tok_options o = {.bos = TOK_BOS_OFF, .no_prefix = true};
    struct error e;
    return n == 0 || tokenizer_encode(a->o.tok, s, n, &o, ids, &e) == OK ||
           refuse(f, 400, "invalid_value", "suffix", "%s", e.msg);
}

static bool add_words(const struct api *a, const char *s, struct tok_ids *ids, struct fault *f)
{
    return add_text(a, s, strlen(s), ids, f);
}

/* Other files come first, each under its name; without tokens for that, behind a line that separates them. */
static bool add_files(const struct api *a, const json_t *extra, struct tok_ids *ids, struct fault *f)
{
    int32_t rep = find(a, REP), sep = find(a, SEP);
    if (rep >= 0) {
        tok_ids_add(ids, rep);
        if (!add_words(a, "project\n", ids, f)) return false;
    }
    for (size_t i = 0; i < json_array_size(extra); i++) {
        const json_t *file = json_array_get(extra, i), *text = json_object_get(file, "text");
        const char *name = json_string_value(json_object_get(file, "filename"));
        if (sep >= 0) {
            tok_ids_add(ids, sep);
            if (!add_words(a, name ? name : "file", ids, f) || !add_words(a, "\n", ids, f)) return false;
        } else if (!add_words(a, "\n\n--- snippet ---\n\n", ids, f)) {
            return false;
        }
        if (!add_text(a, json_string_value(text), json_string_length(text), ids, f)) return false;
    }
    if (sep < 0) return true;
    tok_ids_add(ids, sep);
    return add_words(a, "filename\n", ids, f);
}

bool fim_encode(const struct api *a, const struct fim_text *t, struct tok_ids *ids, struct fault *f)
{
    if (!fim_supported(a, f)) return false;
    if (json_array_size(t->extra) && !add_files(a, t->extra, ids, f)) return false;
    if (tokenizer_adds_bos(a->o.tok) && tokenizer_bos(a->o.tok) >= 0)
        tok_ids_add(ids, tokenizer_bos(a->o.tok));
    tok_ids_add(ids, find(a, PRE));
    if (!add_text(a, t->prefix, t->n_prefix, ids, f)) return false;
    tok_ids_add(ids, find(a, SUF));
    if (!add_text(a, t->suffix, t->n_suffix, ids, f)) return false;
    tok_ids_add(ids, find(a, MID));
    return true;
}
