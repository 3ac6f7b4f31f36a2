#include "api/budget.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TAG = 64 };

struct budget {
    atomic_uint refs;
    const struct tokenizer *tok;
    const char *begin, *end; /* tags */
    uint32_t n_token;
    bool think_open, has_inner;
    struct engine_constraint inner;
    struct tok_ids forced; /* the end tag */
};

enum phase { BEFORE, THINKING, ENDING, AFTER };
struct position {
    struct budget *b;
    void *inner;
    enum phase phase;
    uint32_t n_thought, n_forced;
    char tail[2 * MAX_TAG]; /* the last text */
    size_t n_tail;
};

status budget_new(struct budget **out, const struct budget_options *o, struct error *e)
{
    struct tok_options to = {.bos = TOK_BOS_OFF, .parse_special = true, .no_prefix = true};
    struct budget *b = mem_zalloc(1, sizeof *b);
    *b = (struct budget){.tok = o->tok,
                         .begin = o->caps->think_begin,
                         .end = o->caps->think_end,
                         .n_token = o->n_token,
                         .think_open = o->think_open,
                         .has_inner = o->inner != NULL};
    if (o->inner) b->inner = *o->inner;
    atomic_init(&b->refs, 1);
    *out = NULL;
    status s = strlen(b->begin) > MAX_TAG || strlen(b->end) > MAX_TAG
                   ? fail(e, ERR_UNSUPPORTED, "this model's reasoning tags are too long for a budget")
                   : tokenizer_encode(b->tok, b->end, strlen(b->end), &to, &b->forced, e);
    if (s == OK && b->forced.n == 0)
        s = fail(e, ERR_UNSUPPORTED, "this model's reasoning has no end that could be forced");
    if (s != OK)
        budget_unref(b);
    else
        *out = b;
    return s;
}

void budget_unref(struct budget *b)
{
    if (!b || atomic_fetch_sub(&b->refs, 1) != 1) return;
    tok_ids_deinit(&b->forced);
    free(b);
}

/* ---- the engine's side ------------------------------------------------------------------------------- */

static void begin_thought(struct position *p)
{
    p->phase = p->b->n_token ? THINKING : ENDING;
    p->n_tail = 0;
}

static void *position_new(const void *state)
{
    struct budget *b = (struct budget *)(uintptr_t)state;
    struct position *p = mem_zalloc(1, sizeof *p);
    atomic_fetch_add(&b->refs, 1);
    p->b = b;
    if (b->has_inner) p->inner = b->inner.clone(b->inner.state);
    if (b->think_open) begin_thought(p);
    return p;
}

static void position_free(void *state)
{
    struct position *p = state;
    if (p->b->has_inner) p->b->inner.free(p->inner);
    budget_unref(p->b);
    free(p);
}

static void position_mask(void *state, uint32_t *bits)
{
    const struct position *p = state;
    uint32_t n = tokenizer_n_vocab(p->b->tok);
    if (p->phase == ENDING) {
        uint32_t id = (uint32_t)p->b->forced.id[p->n_forced];
        bits[id / 32] |= (uint32_t)1 << id % 32;
    } else if (p->b->has_inner) {
        p->b->inner.mask(p->inner, bits);
    } else {
        memset(bits, 0xff, n / 32 * sizeof *bits);
        if (n % 32) bits[n / 32] |= ((uint32_t)1 << n % 32) - 1;
    }
}

static void add_tail(struct position *p, int32_t token)
{
    size_t n;
    enum tok_attr attr = tokenizer_attr(p->b->tok, token);
    const char *text = attr == TOK_CONTROL || attr == TOK_UNKNOWN ? tokenizer_text(p->b->tok, token, &n)
                                                                  : tokenizer_piece(p->b->tok, token, &n);
    if (n > sizeof p->tail) {
        text += n - sizeof p->tail;
        n = sizeof p->tail;
    }
    size_t drop = p->n_tail + n > sizeof p->tail ? p->n_tail + n - sizeof p->tail : 0;
    memmove(p->tail, p->tail + drop, p->n_tail - drop);
    memcpy(p->tail + p->n_tail - drop, text, n);
    p->n_tail += n - drop;
}

static bool tail_has(const struct position *p, const char *tag)
{
    return memmem(p->tail, p->n_tail, tag, strlen(tag)) != NULL;
}

static const char *without_blanks(const struct position *p, size_t *n)
{
    size_t i = 0;
    while (i < p->n_tail && strchr(" \t\r\n", p->tail[i])) i++;
    *n = p->n_tail - i;
    return p->tail + i;
}

static bool position_accept(void *state, int32_t token)
{
    struct position *p = state;
    const struct budget *b = p->b;
    const char *text;
    size_t n;
    if (b->has_inner && !b->inner.accept(p->inner, token)) return false;
    switch (p->phase) {
    case BEFORE: /* an answer begins with its reasoning, or has none */
        add_tail(p, token);
        text = without_blanks(p, &n);
        if (memcmp(text, b->begin, MIN(n, strlen(b->begin))) != 0 || !*b->begin)
            p->phase = AFTER;
        else if (n >= strlen(b->begin))
            begin_thought(p);
        break;
    case THINKING:
        add_tail(p, token);
        if (tail_has(p, b->end))
            p->phase = AFTER;
        else if (++p->n_thought >= b->n_token)
            p->phase = ENDING;
        break;
    case ENDING:
        if (++p->n_forced == b->forced.n) p->phase = AFTER;
        break;
    case AFTER: break;
    }
    return true;
}

static uint32_t position_forced(void *state, int32_t *out, uint32_t most)
{
    const struct position *p = state;
    const struct engine_constraint *inner = &p->b->inner;
    return p->b->has_inner && inner->forced && p->phase != ENDING ? inner->forced(p->inner, out, most) : 0;
}

struct engine_constraint budget_engine(const struct budget *b)
{
    return (struct engine_constraint){.state = b,
                                      .clone = position_new,
                                      .free = position_free,
                                      .mask = position_mask,
                                      .accept = position_accept,
                                      .forced = position_forced};
}
