/* SentencePiece's BPE: the neighbours whose joined text has the best score merge first, over UTF-8 characters
 * of the whole text; what is not in the vocabulary becomes byte tokens <0xXX>.
 * Source: Kudo and Richardson, "SentencePiece", EMNLP 2018, and its bpe_model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "format/gguf.h"
#include "text/tok_int.h"

static const char space_mark[3] = {(char)0xE2, (char)0x96, (char)0x81}; /* U+2581 stands for a space */

/* Smaller for a better score; -0 and 0 are the same. */
static uint32_t order_of(float score)
{
    float f = score + 0.0f;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    u ^= u >> 31 ? 0xFFFFFFFFu : 0x80000000u;
    return ~u;
}

static bool spm_join(const struct tokenizer *t, const char *text, const struct tok_sym *a,
                     const struct tok_sym *b, uint32_t *order, int32_t *id)
{
    uint32_t n = a->n + b->n;
    if (n > t->max_token) return false;
    *id = strmap_find(&t->by_text, text + a->off, n);
    if (*id < 0 || !tok_is_plain(t, *id)) return false;
    *order = order_of(t->score[*id]);
    return true;
}

static void add_bytes(struct tok_run *run, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = run->t->byte_id[(uint8_t)s[i]];
        if (id < 0) id = run->t->unk;
        if (id >= 0) tok_ids_add(run->ids, id);
    }
}

/* Text with every space written as U+2581, at most three times as long. */
static size_t escape_spaces(char *out, const char *text, size_t n, bool prefix)
{
    size_t k = 0;
    if (prefix) {
        memcpy(out, space_mark, sizeof space_mark);
        k = sizeof space_mark;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] != ' ') {
            out[k++] = text[i];
            continue;
        }
        memcpy(out + k, space_mark, sizeof space_mark);
        k += sizeof space_mark;
    }
    return k;
}

static size_t count_characters(const char *text, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; count++) i += MAX(utf8_valid_len(text + i, n - i), (size_t)1);
    return count;
}

static void link_characters(const struct tokenizer *t, const char *text, size_t n, struct tok_sym *sym)
{
    uint32_t count = 0;
    for (size_t i = 0; i < n; count++) {
        size_t len = MAX(utf8_valid_len(text + i, n - i), (size_t)1);
        int32_t id = strmap_find(&t->by_text, text + i, len);
        if (id >= 0 && !tok_is_plain(t, id)) id = -1;
        sym[count] = (struct tok_sym){.off = (uint32_t)i,
                                      .n = (uint32_t)len,
                                      .id = id,
                                      .next = i + len < n ? count + 1 : UINT32_MAX,
                                      .prev = count ? count - 1 : UINT32_MAX};
        i += len;
    }
}

/* A stretch that no token crosses the ends of, spaces written as U+2581. */
static void spm_word(struct tok_run *run, const char *word, size_t n)
{
    const struct tokenizer *t = run->t;
    struct tok_sym here[TOK_SHORT_RUN], *sym = here;
    if (tok_add_whole(run, word, n)) return;
    size_t count = count_characters(word, n);
    if (count > TOK_SHORT_RUN) sym = mem_try(count, sizeof *sym);
    if (sym) link_characters(t, word, n, sym);
    if (!sym || !merge_all(t, word, sym, (uint32_t)count, spm_join)) run->code = ERR_MEMORY;
    for (uint32_t i = 0; run->code == OK && i != UINT32_MAX; i = sym[i].next) {
        if (sym[i].id >= 0)
            tok_ids_add(run->ids, sym[i].id);
        else
            add_bytes(run, word + sym[i].off, sym[i].n);
    }
    if (sym != here) free(sym);
}

/* The whole text is one run for the model, but where no token has this byte before a space nothing can merge
 * across, and the parts may be merged by themselves. */
void spm_encode(struct tok_run *run, const char *text, size_t n, bool prefix)
{
    size_t spaces = prefix;
    for (size_t i = 0; i < n; i++) spaces += text[i] == ' ';
    char *buf = mem_try(n + 3 * spaces + 1, 1);
    size_t len = buf ? escape_spaces(buf, text, n, prefix) : 0, begin = 0;
    if (!buf || len > UINT32_MAX) run->code = ERR_MEMORY;
    for (size_t i = 1; run->code == OK && i <= len; i++) {
        bool cut = i == len || (buf[i] == space_mark[0] && len - i >= 3 && !memcmp(buf + i, space_mark, 3) &&
                                !run->t->before_space[(uint8_t)buf[i - 1]]);
        if (!cut) continue;
        spm_word(run, buf + begin, i - begin);
        begin = i;
    }
    free(buf);
}

static void note_inner_spaces(struct tokenizer *t)
{
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        const char *s = t->blob + t->text[id].off;
        if (!tok_is_plain(t, (int32_t)id)) continue;
        for (uint32_t i = 1; i + 3 <= t->text[id].n; i++)
            if (memcmp(s + i, space_mark, 3) == 0) t->before_space[(uint8_t)s[i - 1]] = true;
    }
}

status spm_init(struct tokenizer *t, const struct gguf *g, struct error *e)
{
    const struct gguf_value *v = gguf_find(g, "tokenizer.ggml.scores");
    if (!v) return fail(e, ERR_FORMAT, "tokenizer.ggml.scores is missing: a llama tokenizer needs scores");
    if (v->type != GGUF_ARR || v->n != t->n_vocab || v->elem == GGUF_STR || v->elem == GGUF_ARR)
        return fail(e, ERR_FORMAT, "tokenizer.ggml.scores: %llu values for %u tokens, want one number each",
                    (unsigned long long)v->n, t->n_vocab);
    t->score = mem_try(t->n_vocab, sizeof *t->score);
    if (!t->score) return fail(e, ERR_MEMORY, "tokenizer: no memory for %u scores", t->n_vocab);
    for (uint32_t i = 0; i < t->n_vocab; i++) {
        double s = gguf_number(v, i);
        t->score[i] = isnan(s) ? -INFINITY : (float)s;
    }
    for (int b = 0; b < 256; b++) {
        char name[8], byte = (char)b;
        int32_t id = strmap_find(&t->by_text, name, (size_t)snprintf(name, sizeof name, "<0x%02X>", b));
        if (id < 0) id = strmap_find(&t->by_text, &byte, 1);
        t->byte_id[b] = id;
    }
    note_inner_spaces(t);
    return index_words(t, t->text, spm_word, false, e);
}
