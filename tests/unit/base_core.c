/* Errors, checked arithmetic, allocation, mapped files, random numbers, the clock, the log. */
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/rng.h"
#include "base/utf8.h"

static status always_fails(struct error *e)
{
    return fail(e, ERR_LIMIT, "%d apples", 3);
}
static status fails_within(struct error *e)
{
    TRY(always_fails(e));
    return OK;
}

#include <cmocka.h> /* last: it defines fail, so ours is (fail) from here on */

/* A sanitizer shall answer what is too large with NULL, as malloc does. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void errors_say_what_and_where(void **state)
{
    struct error e = {0};
    char big[1000];
    assert_int_equal(fails_within(&e), ERR_LIMIT);
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.msg, "3 apples");
    assert_int_equal(fail_in(&e, "basket %s", "A"), ERR_LIMIT);
    assert_string_equal(e.msg, "basket A: 3 apples");
    assert_int_equal((fail)(NULL, ERR_IO, "nobody listens"), ERR_IO);

    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(fail_in(&e, "%s", big), ERR_LIMIT);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    assert_int_equal((fail)(&e, ERR_FORMAT, "%s", big), ERR_FORMAT);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);

    for (size_t i = 0; i < 3; i++) { /* letters of three bytes, cut at each of them */
        memset(big, 'x', i);
        for (size_t k = i; k + 3 < sizeof big; k += 3) memcpy(big + k, "\u20ac", 4);
        assert_int_equal((fail)(&e, ERR_FORMAT, "%s", big), ERR_FORMAT);
        assert_true(utf8_valid(e.msg, strlen(e.msg)) && strlen(e.msg) + 3 >= sizeof e.msg);
        assert_int_equal(fail_in(&e, "%s", "in a file"), ERR_FORMAT);
        assert_true(utf8_valid(e.msg, strlen(e.msg)) && strlen(e.msg) + 3 >= sizeof e.msg);
    }
}

static void statuses_have_names(void **state)
{
    for (int i = OK; i <= ERR_DEVICE; i++) {
        assert_true(strlen(status_name((status)i)) > 1);
        for (int k = OK; k < i; k++) assert_string_not_equal(status_name((status)i), status_name((status)k));
        assert_string_not_equal(status_name((status)i), "unknown error");
    }
    assert_string_equal(status_name((status)99), "unknown error");
}

static void checked_arithmetic(void **state)
{
    static const struct {
        size_t a, b;
        bool add_fits, mul_fits;
    } cases[] = {{0, 0, true, true},
                 {SIZE_MAX, 0, true, true},
                 {SIZE_MAX, 1, false, true},
                 {SIZE_MAX - 1, 1, true, true},
                 {SIZE_MAX / 2 + 1, 2, true, false},
                 {SIZE_MAX / 2, 2, true, true},
                 {(size_t)1 << 32, (size_t)1 << 32, true, false},
                 {((size_t)1 << 32) - 1, ((size_t)1 << 32) + 1, true, true},
                 {SIZE_MAX, SIZE_MAX, false, false}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t sum, product;
        if (checked_add(cases[i].a, cases[i].b, &sum) != cases[i].add_fits) fail_msg("sum %zu", i);
        if (checked_mul(cases[i].a, cases[i].b, &product) != cases[i].mul_fits) fail_msg("product %zu", i);
        if (cases[i].add_fits) assert_int_equal(sum, cases[i].a + cases[i].b);
        if (cases[i].mul_fits) assert_int_equal(product, cases[i].a * cases[i].b);
    }
    int64_t s;
    int32_t narrow;
    assert_false(checked_mul(INT64_MIN, (int64_t)-1, &s));
    assert_false(checked_add((int64_t)INT32_MAX, (int64_t)1, &narrow)); /* by the type of the result */
    assert_int_equal(round_up(0, 64), 0);
    assert_int_equal(round_up(1, 64), 64);
    assert_int_equal(round_up(64, 64), 64);
    assert_int_equal(round_up(65, 3), 66);
}

static void allocation(void **state)
{
    char *p = mem_aligned(64, 100);
    assert_int_equal((uintptr_t)p % 64, 0);
    memset(p, 1, 100);
    free(p);
    unsigned char *z = mem_zalloc(1000, 3);
    for (size_t i = 0; i < 3000; i++) assert_int_equal(z[i], 0);
    z = mem_realloc(z, 5000, 1);
    assert_int_equal(z[2999], 0);
    free(z);
    void *none[] = {mem_alloc(0), mem_zalloc(0, 5), mem_realloc(NULL, 0, 4), mem_try(0, 0),
                    mem_aligned(64, 0)};
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        assert_non_null(none[i]); /* nothing is not the same as failure */
        free(none[i]);
    }
    volatile size_t huge = SIZE_MAX / 2;
    assert_null(mem_try(huge, 3));
    char *s = mem_strndup("abcdef", 3), *t = mem_strdup("");
    assert_string_equal(s, "abc");
    assert_string_equal(t, "");
    free(s);
    free(t);
}

/* What ends the program must end it, and say so. */
static void overflows(void)
{
    volatile size_t n = SIZE_MAX / 2;
    free(mem_realloc(NULL, n, 3));
}
static void asserts(void)
{
    ASSERT(1 + 1 == 3);
}

static void fatal_ends(void **state)
{
    static const struct {
        void (*run)(void);
        const char *says;
    } cases[] = {{overflows, "out of memory"}, {asserts, "assertion failed: 1 + 1 == 3"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf said = {0};
        struct error e = {0};
        int fd[2], how = 0;
        assert_int_equal(pipe(fd), 0);
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGABRT, SIG_DFL);
            dup2(fd[1], STDERR_FILENO);
            cases[i].run();
            _exit(0);
        }
        close(fd[1]);
        assert_int_equal(buf_read_fd(&said, fd[0], &e), OK);
        close(fd[0]);
        assert_int_equal(waitpid(pid, &how, 0), pid);
        assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT);
        assert_non_null(strstr(said.data, cases[i].says));
        buf_deinit(&said);
    }
}

static void maps_files(void **state)
{
    char path[] = "/tmp/corral-base-XXXXXX";
    struct map m;
    struct error e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(map_open(&m, path, &e), OK); /* empty */
    assert_null(m.data);
    assert_int_equal(m.n, 0);
    map_close(&m);
    assert_int_equal(write(fd, "hello", 5), 5);
    close(fd);
    assert_int_equal(map_open(&m, path, &e), OK);
    assert_int_equal(m.n, 5);
    assert_memory_equal(m.data, "hello", 5);
    unlink(path);
    assert_memory_equal(m.data, "hello", 5); /* stays as long as it is mapped */
    map_close(&m);
    map_close(&m);
    assert_null(m.data);
    static const struct {
        const char *path;
        status want;
    } bad[] = {{"/tmp", ERR_ARG},
               {"/dev/null", ERR_ARG},
               {"/nowhere/none", ERR_NOT_FOUND},
               {NULL, ERR_NOT_FOUND}, /* the one that was removed */
               {"/dev/null/none", ERR_IO}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const char *name = bad[i].path ? bad[i].path : path;
        assert_int_equal(map_open(&m, name, &e), bad[i].want);
        assert_null(m.data);
        assert_non_null(strstr(e.msg, name));
    }
}

/* The known answers of Philox-4x32-10 that the authors publish with their library Random123 (kat_vectors). */
static void philox_known_answers(void **state)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint32_t out[4];
        rng_philox(out, cases[i].counter, cases[i].key);
        for (int k = 0; k < 4; k++)
            if (out[k] != cases[i].want[k])
                fail_msg("case %zu word %d: %08x, want %08x", i, k, out[k], cases[i].want[k]);
    }
}

/* Every argument counts, all of its bits; and where each stands in counter and key is what files of seeds
 * rely on. */
static void uniform_is_keyed(void **state)
{
    double base = rng_uniform(1, 2, 3, 4);
    assert_true(rng_uniform(1, 2, 3, 4) == base);
    for (int bit = 0; bit < 64; bit++) {
        assert_true(rng_uniform(1 ^ UINT64_C(1) << bit, 2, 3, 4) != base);
        assert_true(rng_uniform(1, 2, 3 ^ UINT64_C(1) << bit, 4) != base);
        if (bit >= 32) continue;
        assert_true(rng_uniform(1, 2 ^ 1u << bit, 3, 4) != base);
        assert_true(rng_uniform(1, 2, 3, 4 ^ 1u << bit) != base);
    }
    uint64_t bits = UINT64_C(0x6627e8d5) >> 5 << 26 | 0xe169c58d >> 6;
    assert_true(rng_uniform(0, 0, 0, 0) == (double)bits * 0x1p-53);
    bits = UINT64_C(0xd16cfe09) >> 5 << 26 | 0x94fdcceb >> 6;
    assert_true(rng_uniform(UINT64_C(0x299f31d0a4093822), 0x13198a2e, UINT64_C(0x85a308d3243f6a88),
                            0x03707344) == (double)bits * 0x1p-53);
}

/* Chi-squared over 256 cells: a fair generator is over 363 once in 100,000 times; the seed is fixed. */
static void uniform_is_uniform(void **state)
{
    enum { N = 1 << 18, CELLS = 256 };
    for (uint64_t seed = 0; seed < 4; seed++) {
        uint32_t count[CELLS] = {0};
        double chi = 0, sum = 0, want = (double)N / CELLS;
        for (uint64_t i = 0; i < N; i++) {
            double u = rng_uniform(seed, 0, i, 0);
            if (!(u >= 0 && u < 1)) fail_msg("%g is not in [0, 1)", u);
            count[(int)(u * CELLS)]++;
            sum += u;
        }
        for (int c = 0; c < CELLS; c++) chi += (count[c] - want) * (count[c] - want) / want;
        if (chi > 363 || chi < 165) fail_msg("seed %llu: chi-squared is %.1f", (unsigned long long)seed, chi);
        assert_true(fabs(sum / N - 0.5) < 0.003);
    }
    assert_true(rng_seed_from_os() != rng_seed_from_os());
}

static void clock_goes_forward(void **state)
{
    int64_t a = clock_ns(), us = clock_us();
    const struct timespec pause = {.tv_nsec = 2000000};
    nanosleep(&pause, NULL);
    int64_t b = clock_ns();
    assert_true(b - a >= 2000000);
    assert_true(us >= a / 1000 && us <= b / 1000);
    assert_true(clock_s() >= (double)b * 1e-9);
}

/* --- the log, read back from a file that stands in for stderr --- */

struct capture {
    FILE *file;
    int saved;
};

static void capture_begin(struct capture *c)
{
    c->file = tmpfile();
    assert_non_null(c->file);
    fflush(stderr);
    c->saved = dup(STDERR_FILENO);
    dup2(fileno(c->file), STDERR_FILENO);
}

static void capture_end(struct capture *c, struct buf *out)
{
    struct error e = {0};
    fflush(stderr);
    dup2(c->saved, STDERR_FILENO);
    close(c->saved);
    lseek(fileno(c->file), 0, SEEK_SET);
    assert_int_equal(buf_read_fd(out, fileno(c->file), &e), OK);
    buf_add(out, "", 0);
    fclose(c->file);
}

static void log_lines(void **state)
{
    struct capture c;
    struct buf b = {0};
    capture_begin(&c);
    LOG(INFO, "kv", "evict", "n=%d", 1); /* below the level that holds at first */
    LOG(WARN, "kv", "full", "blocks=%d", 7);
    log_set_level(LOG_ERROR);
    LOG(WARN, "kv", "full", "blocks=%d", 8);
    log_set_level(LOG_DEBUG);
    LOG(DEBUG, "a", "b", "deep");
    log_fields(LOG_INFO, "http", "request", ",\"status\":200");
    log_set_json(true);
    LOG(ERROR, "kv", "bad", "name=\"%s\"\n%s", "x", "\xFF");
    log_fields(LOG_INFO, "http", "request", ",\"status\":200");
    log_set_json(false);
    capture_end(&c, &b);
    log_set_level(LOG_WARN);
    assert_false(log_on(LOG_INFO));
    assert_true(log_on(LOG_WARN) && log_on(LOG_ERROR));
    static const char *const want[] = {"Z warn  kv: full blocks=7\n", "Z debug a: b deep\n",
                                       "Z info  http: request ,\"status\":200\n",
                                       "\",\"level\":\"error\",\"module\":\"kv\",\"event\":\"bad\",\"text\":"
                                       "\"name=\\\"x\\\"\\n\xEF\xBF\xBD\"}\n",
                                       "\"module\":\"http\",\"event\":\"request\",\"status\":200}\n"};
    const char *at = b.data;
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        const char *found = strstr(at, want[i]);
        if (!found) fail_msg("no '%s' in\n%s", want[i], at);
        at = found + strlen(want[i]);
    }
    size_t lines = 0;
    for (const char *p = b.data; *p; p++) lines += *p == '\n';
    assert_int_equal(lines, COUNT_OF(want));
    buf_deinit(&b);
}

enum { WRITERS = 4, LINES = 200 };

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++) LOG(ERROR, "test", "line", "thread=%d%0100d.", *(int *)arg, i);
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    struct capture c;
    struct buf b = {0};
    pthread_t t[WRITERS];
    int id[WRITERS], seen[WRITERS] = {0};
    capture_begin(&c);
    for (int i = 0; i < WRITERS; i++) {
        id[i] = i;
        assert_int_equal(pthread_create(&t[i], NULL, write_lines, &id[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) pthread_join(t[i], NULL);
    capture_end(&c, &b);
    for (char *line = b.data, *end; (end = strchr(line, '\n')); line = end + 1) {
        int who, n = -1;
        *end = 0;
        const char *at = strstr(line, "thread=");
        if (!at || sscanf(at, "thread=%1d%d", &who, &n) < 1 || who < 0 || who >= WRITERS || end[-1] != '.' ||
            strlen(at) != strlen("thread=0.") + 100)
            fail_msg("a broken line: %s", line);
        seen[who]++;
    }
    for (int i = 0; i < WRITERS; i++) assert_int_equal(seen[i], LINES);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_say_what_and_where),
        cmocka_unit_test(statuses_have_names),
        cmocka_unit_test(checked_arithmetic),
        cmocka_unit_test(allocation),
        cmocka_unit_test(fatal_ends),
        cmocka_unit_test(maps_files),
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(uniform_is_keyed),
        cmocka_unit_test(uniform_is_uniform),
        cmocka_unit_test(clock_goes_forward),
        cmocka_unit_test(log_lines),
        cmocka_unit_test(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
