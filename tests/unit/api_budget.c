/* A budget for reasoning: when it is used up, nothing but the end tag may come; otherwise nothing changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/budget.h"
#include "support/vocab_build.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static struct tokenizer *tok;

static int setup(void **state)
{
    static const struct vocab_token special[] = {{"<think>", TOK_CONTROL, 0}, {"</think>", TOK_CONTROL, 0}};
    static const struct vocab_spec spec = {.model = "gpt2",
                                           .pre = "gpt-2",
                                           .tok = special,
                                           .n_tok = 2,
                                           .bos = -1,
                                           .eos = -1,
                                           .add_bos = -1,
                                           .add_space = -1};
    struct error e;
    if (vocab_make(&tok, &spec, &e) == OK) return 0;
    fprintf(stderr, "%s\n", e.msg);
    return -1;
}

static int teardown(void **state)
{
    tokenizer_free(tok);
    return 0;
}

/* One character: its token; T and E: the tags. */
static int32_t token_of(char c)
{
    struct tok_ids ids = {0};
    struct tok_options o = {.bos = TOK_BOS_OFF, .parse_special = true, .no_prefix = true};
    struct error e;
    char one[2] = {c, 0};
    const char *text = c == 'T' ? "<think>" : c == 'E' ? "</think>" : one;
    assert_true(tokenizer_encode(tok, text, strlen(text), &o, &ids, &e) == OK && ids.n == 1);
    int32_t id = ids.id[0];
    tok_ids_deinit(&ids);
    return id;
}

/* An inner constraint that forbids 'z' and counts what lives. */
static int n_inner;
static void *inner_clone(const void *state)
{
    n_inner++;
    return mem_alloc(1);
}
static void inner_free(void *state)
{
    n_inner--;
    free(state);
}
static void inner_mask(void *state, uint32_t *bits)
{
    uint32_t z = (uint32_t)token_of('z');
    memset(bits, 0xff, tokenizer_n_vocab(tok) / 32 * 4);
    bits[z / 32] &= ~((uint32_t)1 << z % 32);
}
static bool inner_accept(void *state, int32_t token)
{
    return token != token_of('z');
}

/* How many tokens may come next; *only: one of them. */
static uint32_t allowed(struct engine_constraint *c, void *p, int32_t *only)
{
    uint32_t n_vocab = tokenizer_n_vocab(tok), n = 0, words = n_vocab / 32 + 1;
    uint32_t *bits = mem_zalloc(words, sizeof *bits);
    c->mask(p, bits);
    for (uint32_t i = 0; i < words * 32; i++) {
        if (!(bits[i / 32] >> i % 32 & 1)) continue;
        assert_true(i < n_vocab);
        *only = (int32_t)i;
        n++;
    }
    free(bits);
    return n;
}

static void the_end_is_forced(void **state)
{
    static const struct {
        uint32_t n;
        bool open;
        const char *text;
        int forced_at; /* before this character of the text the end tag must come; -1: nowhere */
    } cases[] = {
        {2, true, "abEcd", 2},        {2, false, "TabEcd", 3},    {2, false, " \nTabEx", 5},
        {5, false, "TabEcdefgh", -1}, {2, false, "abcdefgh", -1}, {0, true, "Eabc", 0},
        {0, false, "TEabc", 1},       {1, false, "aTbcdef", -1},  {3, true, "abEcdefg", -1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct chat_caps caps = {.thinks = true, .think_begin = "<think>", .think_end = "</think>"};
        struct budget *b;
        struct error e;
        assert_int_equal(
            budget_new(&b,
                       &(struct budget_options){
                           .tok = tok, .caps = &caps, .n_token = cases[i].n, .think_open = cases[i].open},
                       &e),
            OK);
        struct engine_constraint c = budget_engine(b);
        void *p = c.clone(c.state);
        budget_unref(b); /* the position holds one */
        for (int k = 0; cases[i].text[k]; k++) {
            int32_t only = -1, next = token_of(cases[i].text[k]);
            uint32_t n = allowed(&c, p, &only);
            if (k == cases[i].forced_at ? n != 1 || only != token_of('E') : n != tokenizer_n_vocab(tok))
                fail_msg("case %zu, %s at %d: %u tokens may come", i, cases[i].text, k, n);
            assert_true(c.accept(p, next));
        }
        c.free(p);
    }
}

static void the_inner_constraint_holds(void **state)
{
    const struct chat_caps caps = {.thinks = true, .think_begin = "<think>", .think_end = "</think>"};
    const struct engine_constraint inner = {
        .clone = inner_clone, .free = inner_free, .mask = inner_mask, .accept = inner_accept};
    struct budget *b;
    struct error e;
    int32_t only;
    const struct budget_options o = {
        .tok = tok, .caps = &caps, .n_token = 1, .think_open = true, .inner = &inner};
    assert_int_equal(budget_new(&b, &o, &e), OK);
    struct engine_constraint c = budget_engine(b);
    void *p = c.clone(c.state), *q = c.clone(c.state);
    budget_unref(b);
    assert_int_equal(n_inner, 2);
    assert_true(allowed(&c, p, &only) > 1 && !c.accept(p, token_of('z')));
    assert_true(c.accept(p, token_of('a')));
    assert_int_equal(allowed(&c, p, &only), 1);
    assert_true(allowed(&c, q, &only) > 1); /* each choice has its own count */
    c.free(p);
    c.free(q);
    assert_int_equal(n_inner, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_end_is_forced),
                                       cmocka_unit_test(the_inner_constraint_holds)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
