/* SentencePiece's BPE: the neighbours whose joined text has the best score merge first, over UTF-8 characters
 * of the whole text; what is not in the vocabulary becomes byte tokens <0xXX>.
 * Source: Kudo and Richardson, "SentencePiece", EMNLP 2018, and its bpe_model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "format/gguf.h"
#include "text/tok_int.h"

static const char space_mark[] = "\xE2\x96\x81"; /* U+2581 stands for a space */

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
        memcpy(out, space_mark, 3);
        k = 3;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] != ' ') {
            out[k++] = text[i];
            continue;
        }
        memcpy(out + k, space_mark, 3);
        k += 3;
    }
    return k;
}

static uint32_t link_characters(const struct tokenizer *t, const char *text, size_t n, struct tok_sym *sym)
{
    uint32_t count = 0;
    for (size_t i = 0; i < n; count++) {
        size_t len = MAX(utf8_valid_len(text + i, n - i), (size_t)1);
        int32_t id = strmap_find(&t->by_text, text + i, len);
        uint32_t next = i + len < n ? count + 1 : UINT32_MAX;
        if (id >= 0 && !tok_is_plain(t, id)) id = -1;
        sym[count] = (struct tok_sym){.off = (uint32_t)i,
                                      .n = (uint32_t)len,
                                      .id = id,
                                      .next = next,
                                      .prev = count ? count - 1 : UINT32_MAX};
        i += len;
    }
    return count;
}

void spm_encode(struct tok_run *run, const char *text, size_t n, bool prefix)
{
    size_t spaces = prefix;
    for (size_t i = 0; i < n; i++) spaces += text[i] == ' ';
    char *buf = mem_try(n + 3 * spaces + 1, 1);
    size_t len = buf ? escape_spaces(buf, text, n, prefix) : 0;
    size_t chars = 0;
    for (size_t i = 0; i < len; chars++) i += MAX(utf8_valid_len(buf + i, len - i), (size_t)1);
    struct tok_sym *sym = buf && len <= UINT32_MAX ? mem_try(chars, sizeof *sym) : NULL;
    uint32_t count = sym ? link_characters(run->t, buf, len, sym) : 0;
    if (!sym || !merge_all(run->t, buf, sym, count, spm_join)) run->code = ERR_MEMORY;
    for (uint32_t i = 0; run->code == OK && i < count; i++) {
        if (!sym[i].n) continue;
        if (sym[i].id >= 0)
            tok_ids_add(run->ids, sym[i].id);
        else
            add_bytes(run, buf + sym[i].off, sym[i].n);
    }
    free(sym);
    free(buf);
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
    return OK;
}
