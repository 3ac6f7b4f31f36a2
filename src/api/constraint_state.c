/* Where one answer stands under its constraint: the engine's side.
 *
 * Where the grammar leaves one way to go on, the tokens of that text are not the model's to choose: the mask
 * admits the tokenizer's own tokens for it and no other cut. Its last token is left open, since what follows
 * might have become a part of it; so is all that might begin a user-defined token: "<t" is what "<think>" and
 * "<tool_call>" have in common, and a model that has tokens for these never writes "<". This depends on the
 * text alone, so answers are the same with guesses and without; and as guesses these tokens are always right,
 * so that a step takes many of them at once. */
#include <stdlib.h>
#include <string.h>

#include "api/constraint_int.h"

enum { MAX_FORCED_BYTES = 256 };

struct vocabulary *vocabulary_new(struct grammar_trie *trie, const struct tokenizer *tok)
{
    struct vocabulary *v = mem_zalloc(1, sizeof *v);
    int32_t n_vocab = (int32_t)tokenizer_n_vocab(tok);
    v->trie = trie;
    v->tok = tok;
    atomic_init(&v->refs, 1);
    v->whole = mem_alloc(((size_t)n_vocab + 1) * sizeof *v->whole);
    for (int32_t id = 0; id < n_vocab; id++) {
        size_t n;
        const char *text = tokenizer_piece(tok, id, &n);
        if (tokenizer_attr(tok, id) != TOK_USER_DEFINED || !n) continue;
        v->whole[v->n_whole++] = id;
        v->begins[(uint8_t)text[0]] = true;
    }
    return v;
}

void vocabulary_unref(struct vocabulary *v)
{
    if (atomic_fetch_sub(&v->refs, 1) != 1) return;
    grammar_trie_free(v->trie);
    free(v->whole);
    free(v);
}

struct constraint *constraint_ref(struct constraint *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void constraint_unref(struct constraint *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1) return;
    grammar_unref(c->grammar);
    vocabulary_unref(c->v);
    free(c);
}

/* Each choice begins with a state of its own: states of one thread share memory. */
struct position {
    struct constraint *c;
    struct grammar_state *state;
    struct tok_ids forced; /* that must come next, from n_past on */
    size_t n_past;
    bool known; /* forced says what state forces */
};

static void *position_begin(const void *constraint)
{
    struct constraint *c = constraint_ref((struct constraint *)(uintptr_t)constraint);
    struct position *p = mem_zalloc(1, sizeof *p);
    p->c = c;
    p->state = grammar_state_new(c->grammar);
    return p;
}

static void position_free(void *state)
{
    struct position *p = state;
    grammar_state_free(p->state);
    constraint_unref(p->c);
    tok_ids_deinit(&p->forced);
    free(p);
}

/* Where what ends the text might be the beginning of a user-defined token; n: nowhere. */
static size_t whole_begins(const struct vocabulary *v, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!v->begins[(uint8_t)text[i]]) continue;
        for (size_t k = 0; k < v->n_whole; k++) {
            size_t len;
            const char *token = tokenizer_piece(v->tok, v->whole[k], &len);
            if (len > n - i && memcmp(token, text + i, n - i) == 0) return i;
        }
    }
    return n;
}

/* The tokens of text, cut where a control token stands in it; the last one is left out unless one follows. */
static void add_forced(struct position *p, const char *text, size_t n)
{
    const struct vocabulary *v = p->c->v;
    struct tok_options o = {.bos = TOK_BOS_OFF, .no_prefix = true};
    while (n) {
        size_t len, plain = grammar_trie_plain(text, n);
        struct error e;
        size_t sure = plain == n ? whole_begins(v, text, n) : plain;
        if (sure && tokenizer_encode(v->tok, text, sure, &o, &p->forced, &e) != OK) return;
        if (plain == n) break;
        int32_t control = grammar_trie_control(v->trie, text + plain, n - plain, &len);
        if (control < 0) return; /* its text goes on behind what is forced */
        tok_ids_add(&p->forced, control);
        text += plain + len;
        n -= plain + len;
        if (!n) return;
    }
    if (p->forced.n) p->forced.n--;
}

/* Only tokens that the grammar takes one by one are forced. */
static void find_forced(struct position *p)
{
    struct buf text = {.max = MAX_FORCED_BYTES};
    p->known = true;
    p->n_past = p->forced.n = 0;
    grammar_state_forced(p->state, &text, MAX_FORCED_BYTES);
    if (text.n > 1) add_forced(p, text.data, text.n);
    buf_deinit(&text);
    if (!p->forced.n) return;
    struct grammar_state *s = grammar_state_clone(p->state);
    size_t n = 0;
    while (n < p->forced.n && grammar_state_accept_token(s, p->c->v->trie, p->forced.id[n])) n++;
    p->forced.n = n;
    grammar_state_free(s);
}

static void position_mask(void *state, uint32_t *bits)
{
    struct position *p = state;
    if (!p->known) find_forced(p);
    if (p->n_past == p->forced.n) {
        grammar_state_mask(p->state, p->c->v->trie, bits);
        return;
    }
    int32_t id = p->forced.id[p->n_past];
    memset(bits, 0, grammar_trie_words(p->c->v->trie) * sizeof *bits);
    bits[id >> 5] = 1u << (id & 31);
}

static bool position_accept(void *state, int32_t token)
{
    struct position *p = state;
    if (!grammar_state_accept_token(p->state, p->c->v->trie, token)) return false;
    if (p->n_past < p->forced.n && p->forced.id[p->n_past] == token)
        p->n_past++;
    else
        p->n_past = p->forced.n = 0;
    p->known = p->n_past < p->forced.n;
    return true;
}

static uint32_t position_forced(void *state, int32_t *out, uint32_t most)
{
    struct position *p = state;
    if (!p->known) find_forced(p);
    uint32_t n = (uint32_t)MIN(p->forced.n - p->n_past, (size_t)most);
    if (n) memcpy(out, p->forced.id + p->n_past, n * sizeof *out);
    return n;
}

const char *constraint_left_out(const struct constraint *c)
{
    return grammar_dropped(c->grammar);
}

struct engine_constraint constraint_engine(const struct constraint *c)
{
    return (struct engine_constraint){.state = c,
                                      .clone = position_begin,
                                      .free = position_free,
                                      .mask = position_mask,
                                      .accept = position_accept,
                                      .forced = position_forced};
}
