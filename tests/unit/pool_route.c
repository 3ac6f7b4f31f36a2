/* The choice among workers, in virtual time. */
#include "pool/route.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const int64_t SECOND = 1000000000;

static void make(struct route_end *e, size_t n)
{
    for (size_t i = 0; i < n; i++) e[i] = (struct route_end){.id = 100 + i, .usable = true};
}

/* ---- what every strategy keeps ------------------------------------------------------------------------ */

static void only_those_that_may(void **state)
{
    static const struct {
        const char *what;
        unsigned unusable, full, open; /* bits of three ends */
        uint64_t avoid;
        unsigned may; /* bits; 0: none */
    } row[] = {
        {"all", 0, 0, 0, 0, 7},
        {"one drains", 1, 0, 0, 0, 6},
        {"one is full", 0, 2, 0, 0, 5},
        {"one's breaker is open", 0, 0, 4, 0, 3},
        {"one of each", 1, 2, 4, 0, 0},
        {"the last one just failed", 0, 0, 0, 102, 3},
        {"it is the only one left", 1, 2, 0, 102, 4},
        {"none", 7, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++)
        for (int how = ROUTE_ADAPTIVE; how <= ROUTE_PREFIX; how++) {
            unsigned seen = 0;
            for (uint64_t draw = 0; draw < 200; draw++) {
                struct route_end e[3];
                make(e, 3);
                for (unsigned k = 0; k < 3; k++) {
                    e[k].usable = !(row[i].unusable >> k & 1);
                    if (row[i].full >> k & 1) e[k].limit = e[k].in_flight = 1;
                    if (row[i].open >> k & 1)
                        e[k].breaker = (struct breaker){.state = BREAKER_OPEN, .until_ns = 2 * SECOND};
                    e[k].turn = (draw + k) % 3 * 0.1;
                }
                struct route_want w = {
                    .affinity = draw + 1, .avoid = row[i].avoid, .draw = draw, .now_ns = SECOND};
                int got = route_choose(e, 3, (enum route_strategy)how, &w);
                seen |= got == ROUTE_NONE ? 8 : 1u << got;
            }
            unsigned want = row[i].may ? row[i].may : 8;
            if (seen != want)
                print_error("%s, %s\n", row[i].what, route_strategy_name((enum route_strategy)how));
            assert_int_equal(seen, want);
        }
}

/* ---- strategies --------------------------------------------------------------------------------------- */

static void turns_go_by_weight(void **state)
{
    struct route_end e[3];
    const struct route_want w = {.now_ns = SECOND};
    char order[8] = "";
    make(e, 3);
    e[0].weight = 5;
    for (int i = 0; i < 7; i++) order[i] = (char)('a' + route_choose(e, 3, ROUTE_ROUND_ROBIN, &w));
    assert_string_equal(order, "aabacaa"); /* nginx's example: not aaaaabc */
}

static void least_loaded_goes_by_weight(void **state)
{
    struct route_end e[3];
    make(e, 3);
    e[2].weight = 4;
    unsigned got[3] = {0};
    for (uint64_t i = 0; i < 60; i++) {
        const struct route_want w = {.draw = i, .now_ns = SECOND};
        int k = route_choose(e, 3, ROUTE_LEAST_LOADED, &w);
        route_begin(&e[k], SECOND);
        got[k]++;
    }
    assert_in_range(got[0], 9, 11);
    assert_in_range(got[1], 9, 11);
    assert_in_range(got[2], 39, 41);
}

/* A slow end gets little, and is found again when it is fast. */
static void adaptive_leaves_slow_ends(void **state)
{
    struct route_end e[3];
    unsigned late[3] = {0}, healed[3] = {0};
    make(e, 3);
    uint64_t draw = 0;
    for (int64_t t = SECOND; t < 250 * SECOND; t += SECOND / 20) {
        bool slow = t < 100 * SECOND;
        const struct route_want w = {.draw = draw++, .now_ns = t};
        int k = route_choose(e, 3, ROUTE_ADAPTIVE, &w);
        route_begin(&e[k], t);
        route_done(&e[k], ROUTE_GOOD, k == 1 && slow ? 500e3 : 5e3, t + SECOND / 100);
        if (t > 50 * SECOND && slow) late[k]++;
        if (t > 200 * SECOND) healed[k]++;
    }
    assert_true(late[1] < 100 && late[0] > 350 && late[2] > 350);
    assert_in_range(healed[1], 250, 420);
}

static void peaks_count_at_once_and_fade(void **state)
{
    struct route_end e = {.id = 1, .usable = true};
    static const struct {
        double sample_us;
        int64_t at_s;
        double low, high;
    } row[] = {{100, 1, 100, 100}, {1000, 2, 1000, 1000}, {100, 3, 900, 930}, {100, 60, 100, 104}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        route_begin(&e, row[i].at_s * SECOND);
        route_done(&e, ROUTE_GOOD, row[i].sample_us, row[i].at_s * SECOND);
        if (e.latency_us < row[i].low || e.latency_us > row[i].high)
            fail_msg("after sample %zu: %f", i, e.latency_us);
    }
}

static int prefix_of(struct route_end *e, size_t n, uint64_t key)
{
    const struct route_want w = {.affinity = key, .now_ns = SECOND};
    return route_choose(e, n, ROUTE_PREFIX, &w);
}

/* Equal beginnings stay together; when an end goes only its own move; load pushes them away, and only so far.
 */
static void prefixes_stay_and_escape(void **state)
{
    enum { N = 5, KEYS = 4000 };
    struct route_end e[N];
    unsigned count[N] = {0}, moved = 0;
    make(e, N);
    for (uint64_t k = 1; k <= KEYS; k++) {
        int before = prefix_of(e, N, k);
        count[before]++;
        assert_int_equal(before, prefix_of(e, N, k));
        e[2].usable = false;
        int after = prefix_of(e, N, k);
        e[2].usable = true;
        assert_int_not_equal(after, 2);
        if (before != 2) assert_int_equal(after, before);
        moved += before != after;
    }
    assert_int_equal(moved, count[2]);
    for (size_t i = 0; i < N; i++) assert_in_range(count[i], KEYS / N * 85 / 100, KEYS / N * 115 / 100);

    uint64_t hot = 77; /* everybody asks the same */
    for (int i = 0; i < 100; i++) route_begin(&e[prefix_of(e, N, hot)], SECOND);
    unsigned most = 0, sum = 0;
    for (size_t i = 0; i < N; i++) {
        sum += e[i].in_flight;
        most = MAX(most, e[i].in_flight);
    }
    assert_int_equal(sum, 100);
    assert_in_range(most, 25, 31); /* one and a half times the mean of 20, not all of them */
}

static void conversations_stay(void **state)
{
    struct route_end e[4];
    make(e, 4);
    struct route_want w = {.session = route_hash("c1", 2), .affinity = 9, .now_ns = SECOND};
    int first = route_choose(e, 4, ROUTE_PREFIX, &w);
    for (int i = 0; i < 50; i++) {
        route_begin(&e[first], SECOND);
        w.affinity++;
        w.draw++;
        assert_int_equal(route_choose(e, 4, (enum route_strategy)(i % 4), &w), first);
    }
    e[first].usable = false;
    assert_int_not_equal(route_choose(e, 4, ROUTE_PREFIX, &w), first);
}

/* ---- circuit breaker ---------------------------------------------------------------------------------- */

/* g b: a request that goes well, badly; n: says nothing; +: a second passes. Which state then? */
static void breaker_walks(void **state)
{
    static const struct {
        const char *steps;
        const char *then;
        bool allows;
    } row[] = {
        {"", "closed", true},
        {"bbbb", "closed", true},         /* too few to judge */
        {"bbbbb", "open", false},         /* */
        {"gggggggbbbbb", "closed", true}, /* less than half */
        {"gggggbbbbb", "open", false},    /* half */
        {"bbbbb+", "open", true},         /* its second has passed: try */
        {"bbbbb+g", "half-open", true},   /* one is no proof */
        {"bbbbb+gg", "closed", true},     /* two are */
        {"bbbbb+gn", "half-open", true},  /* */
        {"bbbbb+gng", "closed", true},    /* */
        {"bbbbb+b", "open", false},       /* not yet */
        {"bbbbb+b+", "open", false},      /* twice as long now */
        {"bbbbb+b++", "open", true},      /* */
        {"bbbbb+b++b+++", "open", false}, /* and again */
        {"bbbbb+b++b++++gg", "closed", true},
        {"bbbb++++++++++++++++++++++++++++++++++++++++bbbb", "closed", true}, /* long ago is forgotten */
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct route_end e = {.id = 1, .usable = true};
        int64_t now = SECOND;
        for (const char *p = row[i].steps; *p; p++) {
            if (*p == '+') {
                now += SECOND;
                continue;
            }
            route_begin(&e, now);
            route_done(&e, *p == 'g' ? ROUTE_GOOD : *p == 'b' ? ROUTE_BAD : ROUTE_NEITHER, 1000, now);
        }
        if (strcmp(breaker_name(e.breaker.state), row[i].then) != 0 ||
            breaker_allows(&e.breaker, now) != row[i].allows)
            fail_msg("'%s': %s, allows %d", row[i].steps, breaker_name(e.breaker.state),
                     breaker_allows(&e.breaker, now));
        assert_int_equal(e.in_flight, 0);
    }
}

static void few_probes_at_once(void **state)
{
    struct route_end e = {.id = 1, .usable = true, .breaker = {.state = BREAKER_OPEN, .until_ns = SECOND}};
    const struct route_want w = {.now_ns = SECOND};
    unsigned through = 0;
    for (int i = 0; i < 10; i++)
        if (route_choose(&e, 1, ROUTE_ADAPTIVE, &w) != ROUTE_NONE) {
            route_begin(&e, SECOND);
            through++;
        }
    assert_int_equal(through, 2);
}

/* ---- splits and retries ------------------------------------------------------------------------------- */

static void arms_by_weight(void **state)
{
    static const struct {
        double weight[3];
        unsigned low[3], high[3]; /* of 10,000 */
    } row[] = {{{1, 1, 1}, {3150, 3150, 3150}, {3520, 3520, 3520}},
               {{95, 5, 0}, {9400, 400, 0}, {9600, 600, 0}},
               {{0, 0, 1}, {0, 0, 10000}, {0, 0, 10000}},
               {{0, 0, 0}, {10000, 0, 0}, {10000, 0, 0}},
               {{-5, 1, 0}, {0, 10000, 0}, {0, 10000, 0}}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        unsigned got[3] = {0};
        for (uint64_t key = 0; key < 10000; key++) got[route_arm(row[i].weight, 3, route_hash(&key, 8))]++;
        for (size_t k = 0; k < 3; k++) assert_in_range(got[k], row[i].low[k], row[i].high[k]);
    }
}

static void widening_a_canary_moves_nobody_back(void **state)
{
    for (uint64_t key = 0; key < 5000; key++) {
        bool was = false;
        for (int percent = 0; percent <= 100; percent += 5) {
            bool in = route_arm((const double[]){100 - percent, percent}, 2, key) == 1;
            assert_false(was && !in);
            was = in;
        }
        assert_true(was);
    }
}

static void retries_are_a_tenth(void **state)
{
    struct retry_budget b = {0};
    unsigned spent = 0, asked = 0;
    int64_t now = SECOND;
    for (; now < 101 * SECOND; now += SECOND / 100) { /* 100 requests a second, each of which fails */
        retry_earn(&b, now);
        asked++;
        spent += retry_spend(&b, now);
    }
    assert_int_equal(asked, 10000);
    assert_in_range(spent, 1190, 1230); /* a tenth, two a second, and ten at the start */
    b.tokens = 0;
    assert_false(retry_spend(&b, now + SECOND / 4));
    assert_true(retry_spend(&b, now + SECOND)); /* a quiet server may always repeat a little */
}

static void names(void **state)
{
    enum route_strategy s;
    for (int i = ROUTE_ADAPTIVE; i <= ROUTE_PREFIX; i++) {
        assert_true(route_strategy_find(&s, route_strategy_name((enum route_strategy)i)));
        assert_int_equal(s, i);
    }
    assert_false(route_strategy_find(&s, "random"));
    assert_int_not_equal(route_hash("", 0), 0);
    assert_int_not_equal(route_hash("a", 1), route_hash("b", 1));
    assert_int_equal(route_hash("corral", 6), route_hash("corral", 6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_those_that_may),
        cmocka_unit_test(turns_go_by_weight),
        cmocka_unit_test(least_loaded_goes_by_weight),
        cmocka_unit_test(adaptive_leaves_slow_ends),
        cmocka_unit_test(peaks_count_at_once_and_fade),
        cmocka_unit_test(prefixes_stay_and_escape),
        cmocka_unit_test(conversations_stay),
        cmocka_unit_test(breaker_walks),
        cmocka_unit_test(few_probes_at_once),
        cmocka_unit_test(arms_by_weight),
        cmocka_unit_test(widening_a_canary_moves_nobody_back),
        cmocka_unit_test(retries_are_a_tenth),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
