/* Ranges of the parameters, and the notation of chains. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sample/sample.h"
#include "sample/strategy.h"

#include <cmocka.h> /* after base.h, whose fail() it hides */

#define AT(f) offsetof(struct sample_params, f)

static void test_real_ranges(void **state)
{
    static const struct {
        const char *name;
        size_t at;
        float low, high, below, above;
    } cases[] = {
        {"temperature", AT(temperature), 0, 100, -.1f, 101},
        {"dynatemp_range", AT(dynatemp_range), 0, 100, -1, 101},
        {"dynatemp_exponent", AT(dynatemp_exponent), 0, 100, -1, 101},
        {"top_p", AT(top_p), 0, 1, -.1f, 1.1f},
        {"min_p", AT(min_p), 0, 1, -.1f, 1.1f},
        {"typical_p", AT(typical_p), 0, 1, -.1f, 1.1f},
        {"top_n_sigma", AT(top_n_sigma), -1, 100, -2, 101},
        {"xtc_probability", AT(xtc_probability), 0, 1, -.1f, 1.1f},
        {"xtc_threshold", AT(xtc_threshold), 0, 1, -.1f, 1.1f},
        {"dry_multiplier", AT(dry_multiplier), 0, 100, -.1f, 101},
        {"dry_base", AT(dry_base), 1, 100, .9f, 101},
        {"mirostat_tau", AT(mirostat_tau), 0, 100, -1, 101},
        {"mirostat_eta", AT(mirostat_eta), 0, 1, -1, 1.1f},
        {"adaptive_target", AT(adaptive_target), -1, 1, -1.1f, 1.1f},
        {"adaptive_decay", AT(adaptive_decay), 0, .99f, -.1f, 1},
        {"repeat_penalty", AT(repeat_penalty), .01f, 100, 0, 101},
        {"frequency_penalty", AT(frequency_penalty), -2, 2, -2.1f, 2.1f},
        {"presence_penalty", AT(presence_penalty), -2, 2, -2.1f, 2.1f},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const float good[] = {cases[i].low, cases[i].high},
                    bad[] = {cases[i].below, cases[i].above, NAN, INFINITY, -INFINITY};
        struct sample_params p;
        struct error e = {0};
        float *at = (float *)(void *)((char *)&p + cases[i].at);
        sample_params_default(&p);
        assert_int_equal(sample_params_check(&p, &e), OK);
        for (size_t k = 0; k < COUNT_OF(good); k++) {
            *at = good[k];
            if (sample_params_check(&p, &e) != OK) fail_msg("%s", e.msg);
        }
        for (size_t k = 0; k < COUNT_OF(bad); k++) {
            char value[32];
            *at = bad[k];
            snprintf(value, sizeof value, " is %g;", (double)bad[k]);
            assert_int_equal(sample_params_check(&p, &e), ERR_ARG);
            assert_memory_equal(e.msg, cases[i].name, strlen(cases[i].name));
            assert_non_null(strstr(e.msg, value));
            assert_non_null(strstr(e.msg, "must be between"));
        }
    }
}

static void test_integer_ranges(void **state)
{
    static const struct {
        const char *name;
        size_t at;
        int32_t good, bad;
    } cases[] = {
        {"top_k", AT(top_k), INT32_MAX, -1},
        {"dry_allowed_length", AT(dry_allowed_length), 0, -1},
        {"dry_penalty_last_n", AT(dry_penalty_last_n), -1, -2},
        {"mirostat", AT(mirostat), 2, 3},
        {"repeat_last_n", AT(repeat_last_n), -1, -2},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct sample_params p;
        struct error e = {0};
        sample_params_default(&p);
        *(int32_t *)(void *)((char *)&p + cases[i].at) = cases[i].good;
        assert_int_equal(sample_params_check(&p, &e), OK);
        *(int32_t *)(void *)((char *)&p + cases[i].at) = cases[i].bad;
        assert_int_equal(sample_params_check(&p, &e), ERR_ARG);
        assert_memory_equal(e.msg, cases[i].name, strlen(cases[i].name));
    }
}

static void test_lists(void **state)
{
    static const struct sample_bias fine = {3, 2}, negative = {-1, 1}, outside = {4, 1}, nan = {0, NAN},
                                    inf = {0, INFINITY};
    static const int32_t outside_eog = 4, negative_eog = -5, ids[3] = {0, 1, 2};
    static const uint32_t ascending[3] = {0, 2, 3}, broken[3] = {0, 2, 1};
    struct sampler *s = NULL;
    struct error e = {0};
    struct sample_params p, d;
    sample_params_default(&d);
#define TRIED(want, ...)                                                                                     \
    do {                                                                                                     \
        p = d;                                                                                               \
        __VA_ARGS__;                                                                                         \
        assert_int_equal(sampler_new(&s, &p, 4, &e), want);                                                  \
        if (want == OK) sampler_free(s);                                                                     \
    } while (0)
    TRIED(OK, p.bias = &fine, p.n_bias = 1);
    TRIED(ERR_ARG, p.bias = &negative, p.n_bias = 1);
    TRIED(ERR_ARG, p.bias = &outside, p.n_bias = 1);
    assert_non_null(strstr(e.msg, "token 4 is not in the vocabulary"));
    TRIED(ERR_ARG, p.bias = &nan, p.n_bias = 1);
    TRIED(ERR_ARG, p.bias = &inf, p.n_bias = 1);
    TRIED(ERR_ARG, p.eog = &outside_eog, p.n_eog = 1);
    TRIED(ERR_ARG, p.eog = &negative_eog, p.n_eog = 1);
    TRIED(OK, p.dry_breaker_ids = ids, p.dry_breaker_at = ascending, p.n_dry_breaker = 2,
          p.dry_multiplier = 1);
    TRIED(ERR_ARG, p.dry_breaker_ids = ids, p.dry_breaker_at = broken, p.n_dry_breaker = 2);
    TRIED(ERR_ARG, p.n_chain = SAMPLE_MAX_CHAIN + 1);
    TRIED(ERR_ARG, p.n_chain = 1, p.chain[0] = N_STRATEGY);
    TRIED(ERR_ARG, p.n_chain = 1, p.chain[0] = STRATEGY_GREEDY);
    p = d;
    assert_int_equal(sampler_new(&s, &p, 0, &e), ERR_ARG);
}

static void test_chain_notation(void **state)
{
    static const struct {
        const char *text, *letters; /* NULL: refused */
    } cases[] = {
        {"penalties; dry; top_n_sigma; top_k; typ_p; top_p; min_p; xtc; temperature", "edskypmxt"},
        {"edskypmxt", "edskypmxt"},
        {"kt", "kt"},
        {"tkk", "tkk"},
        {"temp", "t"}, /* a name before letters */
        {"temperature", "t"},
        {"Top-K, nucleus typical_p", "kpy"},
        {";;top_k;;", "k"},
        {"eeeeeeeeeeeeeeee", "eeeeeeeeeeeeeeee"},
        {"eeeeeeeeeeeeeeeee", NULL},
        {"", NULL},
        {" ; ", NULL},
        {"top_kk", NULL},
        {"kz", NULL},
        {"greedy", NULL},
        {"top_k;k", NULL},
        {"logit_bias", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct sample_params p, d;
        struct error e = {0};
        sample_params_default(&d);
        p = d;
        status st = sample_chain_parse(&p, cases[i].text, &e);
        if (!cases[i].letters) {
            if (st != ERR_ARG || memcmp(&p, &d, sizeof p) != 0)
                fail_msg("'%s' was taken, or changed something", cases[i].text);
            continue;
        }
        if (st != OK) fail_msg("'%s': %s", cases[i].text, e.msg);
        assert_int_equal(p.n_chain, strlen(cases[i].letters));
        for (uint32_t k = 0; k < p.n_chain; k++)
            if (strategy_table[p.chain[k]].letter != cases[i].letters[k])
                fail_msg("'%s' differs at %u", cases[i].text, k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_ranges),
        cmocka_unit_test(test_integer_ranges),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_chain_notation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
