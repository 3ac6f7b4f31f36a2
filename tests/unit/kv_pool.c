/* The block pool against a naive model: random growth and truncation of many tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kv/kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N_TABLE = 9, N_BLOCK = 50, BLOCK = 16 };

static void random_operations(void **state)
{
    struct kv *kv;
    struct error e = {0};
    struct kv_table t[N_TABLE] = {{0}};
    uint32_t owner[N_BLOCK];
    assert_int_equal(kv_new(&kv, N_BLOCK, BLOCK, &e), OK);
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t which = (uint32_t)(rng_uniform(1, 0, i, 0) * N_TABLE),
                 n = (uint32_t)(rng_uniform(1, 0, i, 1) * 300);
        uint32_t before = t[which].n_block, want = (n + BLOCK - 1) / BLOCK, n_free = kv_n_free(kv);
        if (rng_uniform(1, 0, i, 2) < 0.5) {
            status s = kv_grow(kv, &t[which], n, &e);
            bool fits = want <= before || want - before <= n_free;
            assert_int_equal(s, fits ? OK : ERR_LIMIT);
            assert_int_equal(t[which].n_block, fits ? MAX(want, before) : before);
        } else {
            kv_truncate(kv, &t[which], n);
            assert_int_equal(t[which].n_block, MIN(want, before));
        }
        memset(owner, 0, sizeof owner);
        uint32_t held = 0;
        for (uint32_t j = 0; j < N_TABLE; j++)
            for (uint32_t k = 0; k < t[j].n_block; k++, held++) {
                assert_true(t[j].block[k] < N_BLOCK);
                assert_int_equal(owner[t[j].block[k]], 0); /* no block in two tables */
                owner[t[j].block[k]] = j + 1;
            }
        assert_int_equal(held + kv_n_free(kv), N_BLOCK);
        if (i % 100 == 0) assert_true(kv_valid(kv));
    }
    for (uint32_t j = 0; j < N_TABLE; j++) kv_table_deinit(kv, &t[j]);
    assert_int_equal(kv_n_free(kv), kv_n_block(kv));
    assert_true(kv_valid(kv));
    kv_free(kv);
    assert_int_equal(kv_new(&kv, 0, BLOCK, &e), ERR_ARG);
    kv_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_operations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
