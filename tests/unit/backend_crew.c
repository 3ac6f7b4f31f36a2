/* Every task of every job runs exactly once, with that job's context, also when jobs follow each other faster
 * than idle threads notice. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/cpu/crew.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { MAX_TASK = 40 };
struct job {
    uint32_t number;
    atomic_int ran[MAX_TASK];
};

static void task(void *ctx, uint32_t i, uint32_t thread)
{
    struct job *j = ctx;
    atomic_fetch_add(&j->ran[i], 1);
    for (volatile uint32_t spin = 0; spin < j->number % 50; spin++) {}
}

static void every_task_once(void **state)
{
    static const uint32_t threads[] = {1, 2, 3, 7};
    for (size_t t = 0; t < COUNT_OF(threads); t++) {
        struct crew *p;
        struct error e = {0};
        assert_int_equal(crew_new(&p, threads[t], &e), OK);
        assert_int_equal(crew_n_thread(p), threads[t]);
        for (uint32_t n = 0; n < 5000; n++) {
            struct job j = {.number = n}; /* on this stack frame: a late thread must not touch it */
            uint32_t n_task = n * 7 % (MAX_TASK + 1);
            crew_run(p, n_task, task, &j);
            for (uint32_t i = 0; i < MAX_TASK; i++)
                if (atomic_load(&j.ran[i]) != (i < n_task))
                    fail_msg("%u threads, job %u: task %u ran %d times", threads[t], n, i,
                             atomic_load(&j.ran[i]));
            if (n % 1000 == 0) usleep(2000); /* long enough for idle threads to sleep */
        }
        crew_free(p);
    }
    crew_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_task_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
