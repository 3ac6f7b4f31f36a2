/* The vocabulary of a GGUF file: texts, attributes, and the tokens with a meaning of their own. */
#include <ctype.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/rng.h"
#include "format/gguf.h"
#include "text/tok_int.h"

static status expect_array(const struct gguf_value *v, const char *key, bool strings, struct error *e)
{
    if (!v) return fail(e, ERR_FORMAT, "%s is missing", key);
    bool is_text = v->elem == GGUF_STR,
         is_number = v->elem != GGUF_STR && v->elem != GGUF_ARR && v->elem != GGUF_F32 && v->elem != GGUF_F64;
    if (v->type != GGUF_ARR || !(strings ? is_text : is_number))
        return fail(e, ERR_FORMAT, "%s is not an array of %s", key, strings ? "strings" : "integers");
    return OK;
}

static status load_texts(struct tokenizer *t, const struct gguf *g, struct error *e)
{
    const char *key = "tokenizer.ggml.tokens";
    const struct gguf_value *v = gguf_find(g, key);
    size_t total = 0;
    TRY(expect_array(v, key, true, e));
    if (v->n == 0 || v->n > TOK_MAX_VOCAB)
        return fail(e, ERR_LIMIT, "%s has %llu tokens, want 1 to %d", key, (unsigned long long)v->n,
                    TOK_MAX_VOCAB);
    t->n_vocab = (uint32_t)v->n;
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        if (v->str[i].n > TOK_MAX_TOKEN)
            return fail(e, ERR_LIMIT, "%s: token %u has %zu bytes, the ceiling is %d", key, i, v->str[i].n,
                        TOK_MAX_TOKEN);
        total += v->str[i].n;
    }
    if (total > TOK_MAX_TEXT)
        return fail(e, ERR_LIMIT, "%s: %zu bytes of text, the ceiling is 1 GiB", key, total);
    /* Room for the pieces too: a piece is never longer than the text it comes from. */
    t->blob = mem_try(2 * total + 1, 1);
    t->text = mem_try(t->n_vocab, sizeof *t->text);
    t->piece = mem_try(t->n_vocab, sizeof *t->piece);
    t->attr = mem_try(t->n_vocab, 1);
    t->flags = mem_try(t->n_vocab, 1);
    if (!t->blob || !t->text || !t->piece || !t->attr || !t->flags)
        return fail(e, ERR_MEMORY, "%s: no memory for %u tokens of %zu bytes", key, t->n_vocab, total);
    uint32_t off = 0;
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        uint32_t n = (uint32_t)v->str[i].n;
        if (n) memcpy(t->blob + off, v->str[i].p, n);
        t->text[i] = (struct tok_span){off, n};
        t->max_token = MAX(t->max_token, n);
        off += n;
    }
    TRY(strmap_init(&t->by_text, t->n_vocab, rng_seed_from_os(), t->blob, t->text, e));
    for (uint32_t i = 0; i < t->n_vocab; i++)
        if (t->text[i].n) strmap_put(&t->by_text, (int32_t)i);
    return OK;
}

static status load_attributes(struct tokenizer *t, const struct gguf *g, struct error *e)
{
    const char *key = "tokenizer.ggml.token_type";
    const struct gguf_value *v = gguf_find(g, key);
    memset(t->attr, TOK_NORMAL, t->n_vocab);
    if (!v) return OK;
    TRY(expect_array(v, key, false, e));
    if (v->n != t->n_vocab)
        return fail(e, ERR_FORMAT, "%s has %llu values for %u tokens", key, (unsigned long long)v->n,
                    t->n_vocab);
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        int64_t type = gguf_integer(v, i);
        if (type < 0 || type > TOK_BYTE)
            return fail(e, ERR_FORMAT, "%s: token %u has type %lld, want 0 to %d", key, i, (long long)type,
                        TOK_BYTE);
        if (type) t->attr[i] = (uint8_t)type;
    }
    return OK;
}

static status load_id(const struct tokenizer *t, const struct gguf *g, const char *key, int32_t *out,
                      struct error *e)
{
    uint32_t id = UINT32_MAX;
    TRY(gguf_get_u32(g, key, false, &id, e));
    if (id < t->n_vocab)
        *out = (int32_t)id;
    else if (id != UINT32_MAX)
        LOG(WARN, "text", "bad-special-id", "key=%s id=%u n_vocab=%u", key, id, t->n_vocab);
    return OK;
}

static int32_t find_text(const struct tokenizer *t, const char *s)
{
    return strmap_find(&t->by_text, s, strlen(s));
}

/* Many files leave the type of these at "normal" or "user-defined". They are control tokens whatever the file
 * says, so that text from users cannot spell them; the lists are those that the GGUF converters and the
 * reference tokenizer know. */
// clang-format off
static const char *const end_of_turn[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<turn|>", "</s>", "<EOT>", "_<EOT>", "[EOT]", "<|endoftext|>", "<|eom_id|>", "<|end_of_text|>",
    "<end_of_utterance>", "<｜end▁of▁sentence｜>"};
/* These end a turn too where the file says that they are control tokens. */
static const char *const end_if_control[] = {"<|EOT|>", "<eos>", "<|eos|>", "[EOS]", "<|end_of_turn|>"};
static const char *const fill_in_middle[] = {
    "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>", "▁<PRE>", "<|code_prefix|>", "<｜fim▁begin｜>",
    "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<｜fim▁hole｜>",
    "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<MID>", "▁<MID>", "<|code_middle|>", "<｜fim▁end｜>"};
/* At these a generation ends as well: what would follow belongs to another file. */
static const char *const file_end[] = {"<|fim_pad|>",   "<fim-pad>",  "<fim_pad>",  "<|fim_repo|>",
                                       "<|repo_name|>", "<fim-repo>", "<reponame>", "<|file_sep|>"};
// clang-format on

static void mark_control(struct tokenizer *t, const char *const *name, size_t n, uint8_t flags)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = find_text(t, name[i]);
        if (id < 0) continue;
        t->attr[id] = TOK_CONTROL;
        t->flags[id] |= flags;
    }
}

/* gpt-oss ends a turn with <|return|> or <|call|>, Solar with <|flush|> or <|calls|>; their <|end|> only
 * separates messages within one. */
static void mark_end_of_generation(struct tokenizer *t, const int32_t *id, size_t n)
{
    mark_control(t, end_of_turn, COUNT_OF(end_of_turn), TOK_EOG);
    mark_control(t, file_end, COUNT_OF(file_end), TOK_EOG);
    mark_control(t, fill_in_middle, COUNT_OF(fill_in_middle), 0);
    for (size_t i = 0; i < COUNT_OF(end_if_control); i++) {
        int32_t is = find_text(t, end_if_control[i]);
        if (is >= 0 && t->attr[is] == TOK_CONTROL) t->flags[is] |= TOK_EOG;
    }
    int32_t end = find_text(t, "<|end|>");
    bool gpt_oss = find_text(t, "<|return|>") >= 0 && find_text(t, "<|call|>") >= 0;
    bool solar = find_text(t, "<|flush|>") >= 0 && find_text(t, "<|calls|>") >= 0;
    if (end >= 0 && (gpt_oss || solar)) t->flags[end] &= (uint8_t)~TOK_EOG;
    for (size_t i = 0; i < n; i++)
        if (id[i] >= 0) t->flags[id[i]] |= TOK_EOG;
}

static bool contains_word(struct gguf_str s, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.n; i++) {
        size_t k = 0;
        while (k < n && tolower((uint8_t)s.p[i + k]) == word[k]) k++;
        if (k == n) return true;
    }
    return false;
}

/* GGUF has no field for the lstrip and rstrip of added tokens; the one family of ours that needs them is
 * known by its name: Phi-3's special tokens swallow the blanks after them. */
static status mark_strip(struct tokenizer *t, const struct gguf *g, struct error *e)
{
    static const char *const keep[] = {"<unk>", "<s>", "<|endoftext|>"};
    struct gguf_str name = {0};
    TRY(gguf_get_str(g, "general.name", false, &name, e));
    if (!contains_word(name, "phi-3") && !contains_word(name, "phi3")) return OK;
    for (uint32_t i = 0; i < t->n_vocab; i++)
        if (t->attr[i] == TOK_CONTROL || t->attr[i] == TOK_USER_DEFINED || t->attr[i] == TOK_UNKNOWN)
            t->flags[i] |= TOK_RSTRIP;
    for (size_t i = 0; i < COUNT_OF(keep); i++) {
        int32_t id = find_text(t, keep[i]);
        if (id >= 0) t->flags[id] &= (uint8_t)~TOK_RSTRIP;
    }
    return OK;
}

static size_t spm_piece(const char *s, size_t n, char *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        bool mark = n - i >= 3 && memcmp(s + i, "\xE2\x96\x81", 3) == 0;
        out[k++] = mark ? ' ' : s[i];
        i += mark ? 3 : 1;
    }
    return k;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that "<0xHH>" names; -1: it does not. */
static int named_byte(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>') return -1;
    int high = hex_digit(s[3]), low = hex_digit(s[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Write what token id stands for; its number of bytes. */
static size_t make_piece(const struct tokenizer *t, uint32_t id, char *out)
{
    const char *s = t->blob + t->text[id].off;
    size_t n = t->text[id].n;
    int byte = t->attr[id] == TOK_BYTE ? named_byte(s, n) : -1;
    if (byte >= 0) {
        *out = (char)byte;
        return 1;
    }
    if (t->attr[id] == TOK_USER_DEFINED) {
        memcpy(out, s, n);
        return n;
    }
    if (t->attr[id] != TOK_NORMAL && t->attr[id] != TOK_BYTE) return 0;
    return t->model == TOK_SPM ? spm_piece(s, n, out) : bpe_decode_text(s, n, out);
}

/* Behind the texts in the blob. */
static void make_pieces(struct tokenizer *t)
{
    uint32_t off = t->text[t->n_vocab - 1].off + t->text[t->n_vocab - 1].n;
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        t->piece[i] = (struct tok_span){off, (uint32_t)make_piece(t, i, t->blob + off)};
        off += t->piece[i].n;
    }
}

status vocab_load(struct tokenizer *t, const struct gguf *g, struct error *e)
{
    int32_t end[3] = {-1, -1, -1}; /* end of text, of turn, of message */
    TRY(load_texts(t, g, e));
    TRY(load_attributes(t, g, e));
    t->bos = t->eos = t->unk = -1;
    if (t->model == TOK_SPM) { /* what files without these keys mean */
        t->bos = t->n_vocab > 1 ? 1 : -1;
        t->eos = t->n_vocab > 2 ? 2 : -1;
        t->unk = 0;
    }
    TRY(load_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, e));
    TRY(load_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, e));
    TRY(load_id(t, g, "tokenizer.ggml.unknown_token_id", &t->unk, e));
    end[0] = t->eos;
    TRY(load_id(t, g, "tokenizer.ggml.eot_token_id", &end[1], e));
    TRY(load_id(t, g, "tokenizer.ggml.eom_token_id", &end[2], e));
    mark_end_of_generation(t, end, COUNT_OF(end));
    TRY(mark_strip(t, g, e));
    make_pieces(t);
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_bos_token", false, &t->adds_bos, e));
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_eos_token", false, &t->adds_eos, e));
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", false, &t->space_prefix, e));
    TRY(specials_init(&t->user, t, false, e));
    return specials_init(&t->all, t, true, e);
}

status index_words(struct tokenizer *t, const struct tok_span *span, tok_word *word, bool all,
                   struct error *e)
{
    struct tok_ids ids = {0};
    struct tok_strmap words;
    TRY(strmap_init(&words, t->n_vocab, rng_seed_from_os(), t->blob, span, e));
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        struct tok_run run = {.t = t, .ids = &ids};
        if (!span[i].n || t->attr[i] != TOK_NORMAL) continue;
        ids.n = 0;
        if (!all) word(&run, t->blob + span[i].off, span[i].n); /* by_piece is still empty: merges only */
        if (all || (ids.n == 1 && ids.id[0] == (int32_t)i)) strmap_put(&words, (int32_t)i);
    }
    tok_ids_deinit(&ids);
    t->by_piece = words;
    return OK;
}
