#include "text/tokenizer.h"

#include <stdlib.h>

#include "format/gguf.h"
#include "text/tok_int.h"

void tok_ids_add(struct tok_ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        ids->cap += ids->cap / 2 + 64;
        ids->id = mem_realloc(ids->id, ids->cap, sizeof *ids->id);
    }
    ids->id[ids->n++] = id;
}

void tok_ids_deinit(struct tok_ids *ids)
{
    free(ids->id);
    *ids = (struct tok_ids){0};
}

static bool is(struct gguf_str s, const char *name)
{
    return s.n == strlen(name) && memcmp(s.p, name, s.n) == 0;
}

static status load(struct tokenizer *t, const struct gguf *g, struct error *e)
{
    struct gguf_str model, pre = {"default", 7};
    TRY(gguf_get_str(g, "tokenizer.ggml.model", true, &model, e));
    TRY(gguf_get_str(g, "tokenizer.ggml.pre", false, &pre, e));
    t->model_name = mem_strndup(model.p, MIN(model.n, (size_t)64));
    if (is(model, "llama")) {
        t->model = TOK_SPM;
        t->pre_name = mem_strdup("");
        t->adds_bos = t->space_prefix = true;
    } else if (is(model, "gpt2")) {
        t->model = TOK_BPE;
        t->pre_name = mem_strndup(pre.p, MIN(pre.n, (size_t)64));
        t->pre = pre_find(t->pre_name);
        if (!t->pre)
            return fail(e, ERR_UNSUPPORTED,
                        "pre-tokenizer \"%s\" is not known; if it equals a known one, say so with "
                        "--set tokenizer.ggml.pre=str:NAME (docs/tokenizers.md lists them)",
                        t->pre_name);
        t->adds_bos = pre_adds_bos(t->pre);
    } else {
        return fail(e, ERR_UNSUPPORTED,
                    "tokenizer model \"%s\" is not supported: this build has llama and gpt2", t->model_name);
    }
    TRY(vocab_load(t, g, e));
    return t->model == TOK_SPM ? spm_init(t, g, e) : bpe_init(t, g, e);
}

status tokenizer_new(struct tokenizer **out, const struct gguf *g, struct error *e)
{
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    status code = load(t, g, e);
    if (code != OK) {
        tokenizer_free(t);
        t = NULL;
    }
    *out = t;
    return code;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t) return;
    strmap_deinit(&t->by_text);
    strmap_deinit(&t->by_piece);
    specials_deinit(&t->user);
    specials_deinit(&t->all);
    free(t->pairs.slot);
    free(t->model_name);
    free(t->pre_name);
    free(t->blob);
    free(t->text);
    free(t->piece);
    free(t->score);
    free(t->attr);
    free(t->flags);
    free(t);
}

status tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, const struct tok_options *o,
                        struct tok_ids *ids, struct error *e)
{
    static const struct tok_options defaults = {0};
    if (!o) o = &defaults;
    if (n > TOK_MAX_TEXT)
        return fail(e, ERR_LIMIT,
                    "text of %zu bytes: the ceiling for one call is 1 GiB, tokenize it in parts", n);
    struct tok_stretch *cut = NULL;
    size_t n_cut = 0;
    struct tok_run run = {.t = t, .ids = ids};
    TRY(specials_cut(o->parse_special ? &t->all : &t->user, t, text, n, &cut, &n_cut, e));

    bool wants_bos = o->bos == TOK_BOS_ON || (o->bos == TOK_BOS_AUTO && t->adds_bos);
    bool has_bos = o->bos == TOK_BOS_AUTO && n_cut && cut[0].id == t->bos; /* the text begins with it */
    if (wants_bos && !has_bos && t->bos >= 0) tok_ids_add(ids, t->bos);
    bool prefix = t->space_prefix && !o->no_prefix;
    for (size_t i = 0; run.code == OK && i < n_cut; i++) {
        const struct tok_stretch *c = &cut[i];
        if (c->id >= 0)
            tok_ids_add(ids, c->id);
        else if (t->model == TOK_SPM)
            spm_encode(&run, text + c->begin, c->end - c->begin, prefix);
        else
            bpe_encode(&run, text + c->begin, c->end - c->begin);
        prefix = t->space_prefix && c->id >= 0;
    }
    free(cut);
    if (run.code != OK) return fail(e, run.code, "no memory to tokenize %zu bytes of text", n);
    return OK;
}

status tokenizer_cut(const struct tokenizer *t, const char *text, size_t n, struct tok_stretch **out,
                     size_t *n_out, struct error *e)
{
    return specials_cut(&t->all, t, text, n, out, n_out, e);
}

/* encode puts a dummy space before the text and after each special token in it; this takes them away again.
 */
void tokenizer_decode(const struct tokenizer *t, const int32_t *id, size_t n, bool special, struct buf *out)
{
    bool dummy = t->space_prefix; /* a space that comes next is one */
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *s = tokenizer_piece(t, id[i], &len);
        enum tok_attr attr = t->attr[id[i]];
        if (special && (attr == TOK_CONTROL || attr == TOK_UNKNOWN)) s = tokenizer_text(t, id[i], &len);
        if (attr == TOK_CONTROL || attr == TOK_USER_DEFINED) {
            dummy = t->space_prefix;
        } else if (len) {
            bool drop = dummy && attr == TOK_NORMAL && s[0] == ' ';
            s += drop;
            len -= drop;
            dummy = false;
        }
        buf_add(out, s, len);
    }
}

uint32_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->n_vocab;
}

const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *n)
{
    ASSERT(id >= 0 && (uint32_t)id < t->n_vocab);
    *n = t->piece[id].n;
    return t->blob + t->piece[id].off;
}

const char *tokenizer_text(const struct tokenizer *t, int32_t id, size_t *n)
{
    ASSERT(id >= 0 && (uint32_t)id < t->n_vocab);
    *n = t->text[id].n;
    return t->blob + t->text[id].off;
}

enum tok_attr tokenizer_attr(const struct tokenizer *t, int32_t id)
{
    ASSERT(id >= 0 && (uint32_t)id < t->n_vocab);
    return t->attr[id];
}

bool tokenizer_is_eog(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n_vocab && t->flags[id] & TOK_EOG;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t n)
{
    return strmap_find(&t->by_text, text, n);
}
int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}
int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}
bool tokenizer_adds_eos(const struct tokenizer *t)
{
    return t->adds_eos && t->eos >= 0;
}
bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->adds_bos && t->bos >= 0;
}
const char *tokenizer_model_name(const struct tokenizer *t)
{
    return t->model_name;
}
const char *tokenizer_pre_name(const struct tokenizer *t)
{
    return t->pre_name;
}
