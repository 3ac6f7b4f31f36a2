/* Byte-level BPE: inside each word of the pre-tokenizer, the pair with the lowest rank in the merge list is
 * joined until none is left.
 * Sources: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016;
 * the byte alphabet is that of Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
 *
 * A word that is itself one token and comes out of the merges as such, the greater part of any text, is found
 * in one hash lookup; the others are merged. */
#include <stdlib.h>

#include "base/log.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "format/gguf.h"
#include "text/tok_int.h"

enum { MAX_MERGES = TOK_MAX_VOCAB };

/* GPT-2 writes each byte as a printable character: most of Latin-1 as it is, the other 68 bytes as U+0100 on.
 */
static bool byte_is_printable(unsigned b)
{
    return (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
}

static uint32_t byte_to_char(unsigned byte)
{
    uint32_t next = 0x100;
    if (byte_is_printable(byte)) return byte;
    for (unsigned b = 0; b < byte; b++) next += !byte_is_printable(b);
    return next;
}

/* -1: not a character of the alphabet */
static int char_to_byte(uint32_t cp)
{
    if (cp < 0x100) return byte_is_printable(cp) ? (int)cp : -1;
    if (cp <= 0x120) return (int)(cp - 0x100);        /* 00-20 */
    if (cp <= 0x142) return (int)(cp - 0x121) + 0x7F; /* 7F-A0 */
    return cp == 0x143 ? 0xAD : -1;
}

size_t bpe_decode_text(const char *text, size_t n, char *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t len = utf8_decode(text + i, n - i, &cp);
        int byte = char_to_byte(cp);
        if (byte >= 0) {
            out[k++] = (char)byte;
        } else {
            memcpy(out + k, text + i, len);
            k += len;
        }
        i += len;
    }
    return k;
}

static void add(struct tok_run *run, int32_t id)
{
    if (id < 0) id = run->t->unk;
    if (id >= 0) tok_ids_add(run->ids, id);
}

static bool bpe_join(const struct tokenizer *t, const char *text, const struct tok_sym *a,
                     const struct tok_sym *b, uint32_t *order, int32_t *id)
{
    const struct tok_pair *p = pairmap_find(&t->pairs, a->id, b->id);
    if (!p) return false;
    *order = p->rank;
    *id = p->id;
    return true;
}

void bpe_word(struct tok_run *run, const char *word, size_t n)
{
    const struct tokenizer *t = run->t;
    struct tok_sym here[TOK_SHORT_RUN], *sym = here;
    if (tok_add_whole(run, word, n)) return;
    if (n > TOK_SHORT_RUN) sym = mem_try(n, sizeof *sym);
    for (size_t i = 0; sym && i < n; i++)
        sym[i] = (struct tok_sym){.off = (uint32_t)i,
                                  .n = 1,
                                  .id = t->byte_id[(uint8_t)word[i]],
                                  .prev = i ? (uint32_t)i - 1 : UINT32_MAX,
                                  .next = i + 1 < n ? (uint32_t)i + 1 : UINT32_MAX};
    if (!sym || !merge_all(t, word, sym, (uint32_t)n, bpe_join)) run->code = ERR_MEMORY;
    for (uint32_t i = 0; run->code == OK && i != UINT32_MAX; i = sym[i].next) add(run, sym[i].id);
    if (sym != here) free(sym);
}

void bpe_encode(struct tok_run *run, const char *text, size_t n)
{
    pre_split(run->t->pre, text, n, run, bpe_word);
}

static bool pair_put(struct tok_pairmap *m, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint32_t i = (uint32_t)tok_fold(key ^ m->seed, 0x9E3779B97F4A7C15u) & m->mask;
    for (; m->slot[i].key != TOK_NO_PAIR; i = (i + 1) & m->mask)
        if (m->slot[i].key == key) return false; /* the first of equal merges counts */
    m->slot[i] = (struct tok_pair){key, rank, id};
    return true;
}

/* One line "left right" of the merge list. */
static bool add_merge(struct tokenizer *t, struct gguf_str line, uint32_t rank)
{
    const char *space = line.n > 1 ? memchr(line.p + 1, ' ', line.n - 1) : NULL;
    char both[2 * 256];
    if (!space) return false;
    size_t a = (size_t)(space - line.p), b = line.n - a - 1;
    int32_t left = strmap_find(&t->by_text, line.p, a), right = strmap_find(&t->by_text, space + 1, b);
    if (left < 0 || right < 0 || a + b > t->max_token) return false;
    char *joined = a + b <= sizeof both ? both : mem_alloc(a + b);
    memcpy(joined, line.p, a);
    memcpy(joined + a, space + 1, b);
    int32_t id = strmap_find(&t->by_text, joined, a + b);
    if (joined != both) free(joined);
    return id >= 0 && tok_is_plain(t, id) && pair_put(&t->pairs, left, right, rank, id);
}

static status load_merges(struct tokenizer *t, const struct gguf *g, struct error *e)
{
    const char *key = "tokenizer.ggml.merges";
    const struct gguf_value *v = gguf_find(g, key);
    uint32_t unusable = 0;
    if (!v) return fail(e, ERR_FORMAT, "%s is missing: a gpt2 tokenizer needs its merges", key);
    if (v->type != GGUF_ARR || v->elem != GGUF_STR)
        return fail(e, ERR_FORMAT, "%s is not an array of strings", key);
    if (v->n > MAX_MERGES)
        return fail(e, ERR_LIMIT, "%s has %llu merges, the ceiling is %d", key, (unsigned long long)v->n,
                    MAX_MERGES);
    size_t cap = 16;
    while (cap < v->n * 2) cap *= 2;
    t->pairs = (struct tok_pairmap){.mask = (uint32_t)(cap - 1), .seed = rng_seed_from_os()};
    t->pairs.slot = mem_try(cap, sizeof *t->pairs.slot);
    if (!t->pairs.slot)
        return fail(e, ERR_MEMORY, "%s: no memory for %llu merges", key, (unsigned long long)v->n);
    for (size_t i = 0; i < cap; i++) t->pairs.slot[i].key = TOK_NO_PAIR;
    for (uint32_t i = 0; i < v->n; i++) unusable += !add_merge(t, v->str[i], i);
    if (unusable) LOG(WARN, "text", "unusable-merges", "n=%u of=%llu", unusable, (unsigned long long)v->n);
    return OK;
}

status bpe_init(struct tokenizer *t, const struct gguf *g, struct error *e)
{
    for (unsigned b = 0; b < 256; b++) {
        char text[4];
        t->byte_id[b] = strmap_find(&t->by_text, text, utf8_encode(text, byte_to_char(b)));
    }
    TRY(load_merges(t, g, e));
    return index_words(t, t->piece, bpe_word, pre_ignores_merges(t->pre), e);
}
