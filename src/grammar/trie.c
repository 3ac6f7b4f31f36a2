#include "grammar/trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/tokenizer.h"

enum { MAX_TOKEN = 1 << 12 }; /* bytes: longer tokens are never generated under a constraint */

struct piece {
    const char *p;
    uint32_t n;
    int32_t token;
};

static int by_bytes(const void *x, const void *y)
{
    const struct piece *a = x, *b = y;
    int order = memcmp(a->p, b->p, MIN(a->n, b->n));
    if (order) return order;
    return a->n != b->n ? (a->n < b->n ? -1 : 1) : (a->token > b->token) - (a->token < b->token);
}

static uint32_t common(const struct piece *a, const struct piece *b)
{
    uint32_t n = 0;
    while (n < a->n && n < b->n && a->p[n] == b->p[n]) n++;
    return n;
}

/* pieces are sorted. */
static void build_nodes(struct trie_nodes *t, const struct piece *p, size_t n, int32_t *same)
{
    size_t total = 1;
    uint32_t *open = mem_alloc((MAX_TOKEN + 1) * sizeof *open),
             depth = 0; /* nodes on the way to the last piece */
    for (size_t i = 0; i < n; i++) total += p[i].n - (i ? common(&p[i - 1], &p[i]) : 0);
    t->byte = mem_zalloc(total, 1);
    t->depth = mem_zalloc(total, sizeof *t->depth);
    t->end = mem_zalloc(total, sizeof *t->end);
    t->token = mem_alloc(total * sizeof *t->token);
    t->token[0] = -1;
    t->n = 1;
    open[0] = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t keep = i ? common(&p[i - 1], &p[i]) : 0;
        for (; depth > keep; depth--) t->end[open[depth]] = t->n;
        for (; depth < p[i].n; t->n++) {
            t->byte[t->n] = (uint8_t)p[i].p[depth];
            t->depth[t->n] = (uint16_t)++depth;
            t->token[t->n] = -1;
            open[depth] = t->n;
        }
        same[p[i].token] = t->token[open[depth]];
        t->token[open[depth]] = p[i].token;
    }
    for (uint32_t k = 0; k <= depth; k++) t->end[open[k]] = t->n;
    free(open);
}

/* Characters of a plain token; -1 when it is not one. */
static int32_t plain_chars(const char *p, size_t n)
{
    int32_t chars = 0;
    for (size_t i = 0; i < n; chars++) {
        uint8_t c = (uint8_t)p[i];
        size_t len = c < 0x80 ? 1 : utf8_valid_len(p + i, n - i);
        if (c < 0x20 || c == '"' || c == '\\' || !len) return -1;
        i += len;
    }
    return chars;
}

static void set_bit(uint32_t *bits, int32_t i)
{
    bits[i >> 5] |= 1u << (i & 31);
}

/* Sort the plain tokens out by their number of characters; returns how many pieces are left over. */
static size_t split_plain(struct grammar_trie *t, const struct piece *p, size_t n, struct piece *rest)
{
    size_t n_rest = 0;
    t->plain = mem_zalloc(t->words, sizeof *t->plain);
    for (int i = 0; i < PLAIN_LEVELS; i++) t->plain_upto[i] = mem_zalloc(t->words, sizeof(uint32_t));
    t->plain_long = mem_alloc((n + 1) * sizeof *t->plain_long);
    t->plain_long_chars = mem_alloc((n + 1) * sizeof *t->plain_long_chars);
    for (size_t i = 0; i < n; i++) {
        int32_t chars = plain_chars(p[i].p, p[i].n);
        t->max_chars = MAX(t->max_chars, (int32_t)p[i].n);
        if (chars < 0) {
            rest[n_rest++] = p[i];
            continue;
        }
        set_bit(t->plain, p[i].token);
        for (int k = chars; k < PLAIN_LEVELS; k++) set_bit(t->plain_upto[k], p[i].token);
        if (chars < PLAIN_LEVELS) continue;
        t->plain_long_chars[t->n_plain_long] = chars;
        t->plain_long[t->n_plain_long++] = p[i].token;
    }
    return n_rest;
}

/* Bytes that are no text can never be generated, and must not look like the mark. */
static bool is_text(const struct tokenizer *tok, int32_t id, const char *p, size_t n)
{
    enum tok_attr a = tokenizer_attr(tok, id);
    return (a == TOK_NORMAL || a == TOK_USER_DEFINED || a == TOK_BYTE) && !memchr(p, CONTROL_MARK, n);
}

/* The bytes of token id in the trie, put behind blob; 0: it has none. */
static size_t add_piece(struct buf *blob, const struct tokenizer *tok, int32_t id)
{
    size_t n, before = blob->n;
    bool control = tokenizer_attr(tok, id) == TOK_CONTROL;
    const char *p = control ? tokenizer_text(tok, id, &n) : tokenizer_piece(tok, id, &n);
    if (!n || n >= MAX_TOKEN || tokenizer_is_eog(tok, id)) return 0;
    if (!control && !is_text(tok, id, p, n)) return 0;
    if (control) buf_addc(blob, (char)CONTROL_MARK);
    buf_add(blob, p, n);
    return blob->n - before;
}

static int longest_first(const void *x, const void *y)
{
    const struct control *a = x, *b = y;
    return a->n != b->n ? (a->n > b->n ? -1 : 1) : (a->token > b->token) - (a->token < b->token);
}

static void list_controls(struct grammar_trie *t, const struct tokenizer *tok)
{
    struct buf text = {0};
    t->control = mem_alloc((t->n_vocab + 1) * sizeof *t->control);
    for (int32_t i = 0; i < (int32_t)t->n_vocab; i++) {
        size_t n;
        const char *p = tokenizer_text(tok, i, &n);
        if (tokenizer_attr(tok, i) != TOK_CONTROL || !n || n >= MAX_TOKEN) continue;
        t->control[t->n_control++] = (struct control){NULL, n, i, tokenizer_is_eog(tok, i)};
        buf_add(&text, p, n);
    }
    t->control_text = text.data;
    for (uint32_t k = 0, at = 0; k < t->n_control; at += (uint32_t)t->control[k++].n)
        t->control[k].text = t->control_text + at;
    qsort(t->control, t->n_control, sizeof *t->control, longest_first);
}

const struct control *trie_control_at(const struct grammar_trie *t, const char *p, size_t n)
{
    for (uint32_t i = 0; i < t->n_control; i++)
        if (t->control[i].n <= n && memcmp(t->control[i].text, p, t->control[i].n) == 0)
            return &t->control[i];
    return NULL;
}

status grammar_trie_new(struct grammar_trie **out, const struct tokenizer *tok, struct error *e)
{
    struct grammar_trie *t = mem_zalloc(1, sizeof *t);
    uint32_t n_vocab = tokenizer_n_vocab(tok);
    struct piece *p = mem_try(n_vocab + 1, sizeof *p), *rest = mem_try(n_vocab + 1, sizeof *rest);
    struct buf blob = {0};
    size_t n = 0;
    *out = NULL;
    if (!p || !rest) {
        free(p);
        free(rest);
        free(t);
        return fail(e, ERR_MEMORY, "out of memory for the tokens of the vocabulary");
    }
    t->n_vocab = n_vocab;
    t->words = (n_vocab + 31) / 32;
    t->same = mem_alloc((n_vocab + 1) * sizeof *t->same);
    t->eog = mem_alloc((n_vocab + 1) * sizeof *t->eog);
    t->at = mem_zalloc(n_vocab + 1, sizeof *t->at);
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (tokenizer_is_eog(tok, (int32_t)i)) t->eog[t->n_eog++] = (int32_t)i;
        t->at[i] = (uint32_t)blob.n;
        add_piece(&blob, tok, (int32_t)i);
    }
    t->at[n_vocab] = (uint32_t)blob.n;
    buf_addc(&blob, 0); /* it is never NULL */
    t->blob = blob.data;
    for (uint32_t i = 0; i < n_vocab; i++)
        if (t->at[i] != t->at[i + 1])
            p[n++] = (struct piece){t->blob + t->at[i], t->at[i + 1] - t->at[i], (int32_t)i};
    list_controls(t, tok);
    qsort(p, n, sizeof *p, by_bytes);
    size_t n_rest = split_plain(t, p, n, rest);
    build_nodes(&t->rest, rest, n_rest, t->same);
    build_nodes(&t->all, p, n, t->same);
    t->shared.trie = t;
    pthread_mutex_init(&t->shared.lock, NULL);
    free(p);
    free(rest);
    *out = t;
    return OK;
}

size_t grammar_trie_plain(const char *text, size_t n)
{
    const char *mark = memchr(text, CONTROL_MARK, n);
    return mark ? (size_t)(mark - text) : n;
}

int32_t grammar_trie_control(const struct grammar_trie *t, const char *text, size_t n, size_t *len)
{
    const struct control *c = trie_control_at(t, text + 1, n - 1);
    if (!c || c->eog) return -1;
    *len = c->n + 1;
    return c->token;
}

static void nodes_deinit(struct trie_nodes *t)
{
    free(t->byte);
    free(t->depth);
    free(t->end);
    free(t->token);
}

void grammar_trie_free(struct grammar_trie *t)
{
    if (!t) return;
    mask_cache_deinit(&t->shared);
    nodes_deinit(&t->all);
    nodes_deinit(&t->rest);
    for (int i = 0; i < PLAIN_LEVELS; i++) free(t->plain_upto[i]);
    free(t->plain);
    free(t->plain_long);
    free(t->plain_long_chars);
    free(t->same);
    free(t->control);
    free(t->control_text);
    free(t->eog);
    free(t->at);
    free(t->blob);
    free(t);
}

uint32_t grammar_trie_words(const struct grammar_trie *t)
{
    return t->words;
}

bool grammar_state_accept_token(struct grammar_state *s, const struct grammar_trie *t, int32_t id)
{
    if (id < 0 || (uint32_t)id >= t->n_vocab || t->at[id] == t->at[id + 1]) return false;
    return grammar_state_accept(s, t->blob + t->at[id], t->at[id + 1] - t->at[id]);
}
