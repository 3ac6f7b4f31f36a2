/* As much of cmocka as the tests of kernels use, where there is no cmocka: on machines that are emulated. A test that
 * fails ends the program. */
#ifndef CORRAL_TESTS_CMOCKA_SMALL_H
#define CORRAL_TESTS_CMOCKA_SMALL_H

#include <stdio.h>
#include <stdlib.h>

#define fail_msg(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))
#define assert_true(x) ((x) ? (void)0 : (void)fail_msg("%s:%d: not so: %s", __FILE__, __LINE__, #x))
#define assert_non_null(x) assert_true((x) != NULL)
#define assert_int_equal(a, b) assert_true((a) == (b))
#define assert_in_range(x, from, to) assert_true((x) >= (from) && (x) <= (to))

struct CMUnitTest { const char *name; void (*run)(void **state); };
#define cmocka_unit_test(test) {#test, test}
#define cmocka_run_group_tests(tests, before, after) run_tests(tests, sizeof(tests) / sizeof *(tests))

static inline int run_tests(const struct CMUnitTest *test, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        void *state = NULL;
        test[i].run(&state);
        printf("ok: %s\n", test[i].name);
    }
    return 0;
}

#endif
