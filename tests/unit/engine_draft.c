/* Guesses: the cursor over a prediction and how it finds its place again, lookup, and how many guesses are
 * worth it. */
#include <string.h>

#include "engine/budget.h"
#include "engine/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { MOST = 64 };

/* Letters are tokens. */
static uint32_t tokens(int32_t *to, const char *text)
{
    uint32_t n = (uint32_t)strlen(text);
    for (uint32_t i = 0; i < n; i++) to[i] = text[i];
    return n;
}

static void what_is_guessed(void **state)
{
    static const struct {
        const char *prompt, *prediction, *answer;
        const char *want;
        enum draft_source source;
    } row[] = {
        {"", "abcdefgh", "", "abcdefgh", DRAFT_CURSOR},
        {"xyz", "abcdefgh", "abc", "defgh", DRAFT_CURSOR},
        {"", "abcdefgh", "abX", "", DRAFT_CURSOR},                   /* something else: no place yet */
        {"", "abcdefgh", "abXd", "", DRAFT_CURSOR},                  /* one token is not enough */
        {"", "abcdefgh", "abXde", "fgh", DRAFT_CURSOR},              /* replaced */
        {"", "abcdefgh", "abXYZcd", "efgh", DRAFT_CURSOR},           /* inserted */
        {"", "abcdefgh", "abfg", "h", DRAFT_CURSOR},                 /* deleted */
        {"", "ab12cd__cd34", "ab1Xcd", "__cd34", DRAFT_CURSOR},      /* the nearest ahead */
        {"", "abcd1234", "abcd12abc", "d1234", DRAFT_CURSOR},        /* back, if not ahead */
        {"", "abc", "abc", "", DRAFT_CURSOR},                        /* at its end */
        {"the cat and the", "", " c", "at and the c", DRAFT_LOOKUP}, /* "e c" stood before */
        {"the cat and the", "zz", "", " cat and the", DRAFT_CURSOR}, /* overridden below */
        {"abab", "", "", "", DRAFT_LOOKUP},
        {"aaaa", "", "", "a", DRAFT_LOOKUP},
        {"ab", "", "", "", DRAFT_LOOKUP},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct draft d;
        int32_t text[128], prediction[64], out[MOST], want[MOST];
        uint32_t n = tokens(text, row[i].prompt), n_want = tokens(want, row[i].want);
        bool differs_at_once = !strcmp(row[i].prediction, "zz");
        draft_init(&d, MOST, n, prediction, tokens(prediction, row[i].prediction));
        if (differs_at_once) d.lost = true;
        n += tokens(text + n, row[i].answer);
        uint32_t got = draft_propose(&d, text, n, MOST, 0, out);
        if (got != n_want || memcmp(out, want, got * sizeof *out) != 0)
            fail_msg("row %zu: %u guesses, want %u", i, got, n_want);
        if (got && !differs_at_once) assert_int_equal(d.last, row[i].source);
        draft_deinit(&d);
    }
}

/* An edited text, guess by guess as the engine does it: all is guessed but what differs and what finds the
 * place. */
static void a_rewritten_text(void **state)
{
    static const char *const old_text =
        "int main(void)\n{\n    int count = 0;\n    while (next()) count++;\n    return count;\n}\n";
    static const char *const new_text =
        "int main(void)\n{\n    long total = 0;\n    while (next()) total++;\n    return total;\n}\n";
    struct draft d;
    int32_t prediction[128], text[128], out[MOST], want[128];
    uint32_t n = 0, n_want = tokens(want, new_text), n_step = 0;
    draft_init(&d, MOST, 0, prediction, tokens(prediction, old_text));
    for (; n < n_want; n_step++) {
        uint32_t tried = draft_propose(&d, text, n, MOST, 0.05, out), right = 0;
        while (right < tried && n + right < n_want && out[right] == want[n + right]) right++;
        for (uint32_t i = 0; i < right; i++) text[n + i] = want[n + i];
        draft_learn(&d, tried, right);
        n += right;
        if (n < n_want) text[n] = want[n];
        n++;
    }
    assert_true(n_step < n_want / 2);
    assert_true(d.n_cursor_right > n_want / 2);
    draft_deinit(&d);
}

/* The same record, at several prices. */
static void as_many_as_are_worth_it(void **state)
{
    static const struct {
        uint32_t n_right, n_tried; /* each of ten times */
        double price;
        uint32_t least, most;
    } row[] = {
        {8, 8, 0.0, 32, 32}, {8, 8, 0.5, 6, 32}, {8, 8, 1.0, 0, 0}, {0, 4, 0.0, 32, 32}, {0, 4, 0.2, 0, 0},
        {1, 2, 0.2, 1, 3},   {1, 2, 0.6, 0, 0},  {3, 4, 0.2, 4, 8}, {3, 4, 0.7, 1, 1},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct draft d;
        int32_t prediction[64] = {0}, text[1] = {0}, out[MOST];
        draft_init(&d, 32, 0, prediction, 64);
        for (int k = 0; k < 10; k++) draft_learn(&d, row[i].n_tried, row[i].n_right);
        uint32_t got = draft_propose(&d, text, 0, MOST, row[i].price, out);
        if (got < row[i].least || got > row[i].most) fail_msg("row %zu: %u guesses", i, got);
        draft_deinit(&d);
    }
    /* A source that was given up is tried again; a guess that there was no room to try is made again. */
    struct draft d;
    int32_t prediction[64] = {0}, text[1] = {0}, out[MOST];
    uint32_t n = 0;
    draft_init(&d, 32, 0, prediction, 64);
    for (int k = 0; k < 10; k++) draft_learn(&d, 4, 0);
    for (int k = 0; k < 100; k++) {
        const uint32_t got = draft_propose(&d, text, 0, MOST, 0.5, out);
        if (got) assert_int_equal(draft_propose(&d, text, 0, MOST, 0.5, out), got);
        draft_learn(&d, got, 0);
        n += got;
    }
    assert_in_range(n, 2, 5);
    draft_deinit(&d);
}

/* Steps that take 20 ms and 2 for each token. */
static void the_price_rises_with_company(void **state)
{
    struct budget b = {0};
    assert_true(budget_price(&b, 1) < 0.5);
    for (uint32_t i = 0; i < 40; i++) budget_learn(&b, 1 + i % 7, (20 + 2 * (1 + i % 7)) * 1000000ll);
    double before = 0;
    static const struct {
        uint32_t n;
        double want;
    } row[] = {{1, 2.0 / 22}, {4, 8.0 / 28}, {10, 0.5}, {100, 200.0 / 220}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        double got = budget_price(&b, row[i].n);
        assert_true(got > before && got > row[i].want - 1e-6 && got < row[i].want + 1e-6);
        before = got;
    }
    for (uint32_t i = 0; i < 1000; i++) budget_learn(&b, 1, 22000000); /* nothing new about sizes */
    assert_true(budget_price(&b, 1) > 0.08 && budget_price(&b, 1) < 0.11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_guessed),
        cmocka_unit_test(a_rewritten_text),
        cmocka_unit_test(as_many_as_are_worth_it),
        cmocka_unit_test(the_price_rises_with_company),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
