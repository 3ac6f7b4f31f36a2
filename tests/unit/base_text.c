/* Buffers and UTF-8. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/rng.h"
#include "base/model_name.h"
#include "base/utf8.h"

#include <cmocka.h> /* last: it defines fail */

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

static void grows_and_keeps_its_nul(void **state)
{
    struct buf b = {0};
    assert_null(b.data);
    for (int i = 0; i < 1000; i++) buf_addc(&b, (char)('a' + i % 26));
    assert_int_equal(b.n, 1000);
    assert_int_equal(strlen(b.data), 1000);
    buf_adds(&b, "xyz");
    buf_add(&b, "\0\1", 2);
    buf_addf(&b, "%d-%s", 42, "end");
    assert_int_equal(b.n, 1011);
    assert_memory_equal(b.data + 1000, "xyz\0\00142-end", 12);
    buf_drop(&b, 1005);
    assert_string_equal(b.data, "42-end");
    buf_drop(&b, b.n);
    assert_string_equal(b.data, "");
    buf_add(&b, NULL, 0);
    assert_int_equal(b.n, 0);
    assert_false(b.failed);
    buf_deinit(&b);
    assert_null(b.data);
    buf_drop(&b, 0);
    buf_deinit(&b);
}

/* A piece fits whole or not at all, and after a failure nothing more is added. */
static void a_ceiling_holds(void **state)
{
    static const struct {
        size_t max, have, add;
        bool fails;
    } cases[] = {{10, 0, 10, false},        {10, 0, 11, true},          {10, 9, 1, false},
                 {10, 9, 2, true},          {1, 0, 1, false},           {0, 5, 100000, false},
                 {10, 5, SIZE_MAX, true},   {0, 5, SIZE_MAX - 4, true}, {0, 0, SIZE_MAX, true},
                 {0, 5, SIZE_MAX / 2, true}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b;
        buf_init(&b, cases[i].max);
        for (size_t k = 0; k < cases[i].have; k++) buf_addc(&b, 'x');
        char *room = buf_room(&b, cases[i].add);
        if (b.failed != cases[i].fails || !room != cases[i].fails) fail_msg("case %zu", i);
        assert_int_equal(b.n, cases[i].have);
        if (room) {
            memset(room, 'y', cases[i].add);
            b.n += cases[i].add;
            assert_int_equal(strlen(b.data), b.n);
        } else {
            buf_addc(&b, 'z');
            buf_addf(&b, "z");
            assert_int_equal(b.n, cases[i].have);
            buf_reset(&b);
            assert_false(b.failed);
            assert_int_equal(b.n, 0);
            buf_addc(&b, 'z');
            assert_string_equal(b.data, "z");
        }
        buf_deinit(&b);
    }
}

static void reads_files(void **state)
{
    char path[] = "/tmp/corral-base-XXXXXX";
    struct buf b = {.max = 100000}, small = {.max = 99999};
    struct error e = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char block[1000];
    memset(block, 'q', sizeof block);
    for (int i = 0; i < 100; i++) assert_int_equal(write(fd, block, sizeof block), sizeof block);
    close(fd);
    assert_int_equal(buf_read_file(&b, path, &e), OK);
    assert_int_equal(b.n, 100000);
    assert_int_equal(strspn(b.data, "q"), 100000);
    assert_int_equal(buf_read_file(&small, path, &e), ERR_LIMIT);
    assert_non_null(strstr(e.msg, path));
    assert_non_null(strstr(e.msg, "99999"));
    unlink(path);
    assert_int_equal(buf_read_file(&b, path, &e), ERR_IO);
    assert_non_null(strstr(e.msg, path));
    assert_int_equal(buf_read_file(&b, "/tmp", &e), ERR_IO); /* a folder */
    buf_deinit(&b);
    buf_deinit(&small);
}

static void json_strings(void **state)
{
    static const struct {
        const char *in;
        size_t n;
        const char *want;
    } cases[] = {
        {"", 0, "\"\""},
        {"a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\""},
        {"\n\r\t\b\f", 5, "\"\\n\\r\\t\\u0008\\u000c\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"\x1f\x7f", 2, "\"\\u001f\\u007f\""},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x90\x8E", 9, "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x90\x8E\""},
        {"\xFF", 1, "\"\xEF\xBF\xBD\""},
        {"\xE2\x82", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                 /* cut off */
        {"\xE2\x82\xAC", 2, "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},             /* n ends before the text */
        {"\xED\xA0\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""}, /* a surrogate */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b = {0};
        buf_json_str(&b, cases[i].in, cases[i].n);
        if (strcmp(b.data, cases[i].want) != 0) fail_msg("case %zu: %s, want %s", i, b.data, cases[i].want);
        buf_deinit(&b);
    }
}

static void json_numbers_read_back(void **state)
{
    static const struct {
        double v;
        const char *want; /* NULL: anything that reads back */
    } cases[] = {{0, "0"},
                 {1, "1"},
                 {-2.5, "-2.5"},
                 {0.1, "0.1"},
                 {1e300, "1e+300"},
                 {123456, "123456"},
                 {NAN, "null"},
                 {INFINITY, "null"},
                 {-INFINITY, "null"},
                 {1.0 / 3, NULL},
                 {5e-324, NULL},
                 {1.7976931348623157e308, NULL},
                 {0.30000000000000004, NULL}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b = {0};
        buf_json_double(&b, cases[i].v);
        if (cases[i].want) assert_string_equal(b.data, cases[i].want);
        if (isfinite(cases[i].v)) assert_true(strtod(b.data, NULL) == cases[i].v);
        buf_deinit(&b);
    }
    for (uint64_t i = 0; i < 2000; i++) {
        struct buf b = {0};
        double v = ldexp(rng_uniform(1, 0, i, 0) - 0.5, (int)(i % 600) - 300);
        buf_json_double(&b, v);
        if (strtod(b.data, NULL) != v) fail_msg("%a became %s", v, b.data);
        buf_deinit(&b);
    }
}

/* Every scalar value there is, and every code that is none. */
static void utf8_of_every_scalar(void **state)
{
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        char s[4];
        uint32_t back = 0;
        size_t n = utf8_encode(s, cp), want = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
        bool surrogate = cp >= 0xD800 && cp < 0xE000;
        if (n != want || utf8_valid_len(s, n) != (surrogate ? 0 : n)) fail_msg("U+%04X: %zu bytes", cp, n);
        if (utf8_decode(s, n, &back) != (surrogate ? 1 : n) || back != (surrogate ? 0xFFFD : cp))
            fail_msg("U+%04X comes back as U+%04X", cp, back);
        for (size_t cut = 1; cut < n && !surrogate; cut++)
            if (utf8_valid_len(s, cut) != 0 || utf8_tail(s, cut) != cut)
                fail_msg("U+%04X cut to %zu", cp, cut);
        if (utf8_tail(s, n) != 0 && !surrogate) fail_msg("U+%04X: whole, yet a tail", cp);
    }
}

/* A decoder of the plainest kind to compare with: accumulate, then refuse by value. */
static size_t plain_len(const unsigned char *s, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (len == 0 || len > n) return 0;
    uint32_t cp = len == 1 ? s[0] : s[0] & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if (s[i] >> 6 != 2) return 0;
        cp = cp << 6 | (s[i] & 63u);
    }
    return cp < least[len] || cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000) ? 0 : len;
}

static void utf8_of_all_bytes(void **state)
{
    static const unsigned char last[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            for (size_t c = 0; c < sizeof last; c++)
                for (size_t n = 1; n <= 4; n++) {
                    const unsigned char s[4] = {(unsigned char)a, (unsigned char)b, last[c],
                                                last[(c + b) % sizeof last]};
                    size_t want = plain_len(s, n), got = utf8_valid_len((const char *)s, n);
                    if (got != want)
                        fail_msg("%02x %02x %02x %02x (%zu): %zu, want %zu", s[0], s[1], s[2], s[3], n, got,
                                 want);
                }
}

/* A tail is what some continuation makes valid; found by trying. */
static void utf8_tails(void **state)
{
    static const struct {
        const char *s;
        size_t want;
    } cases[] = {
        {"", 0},
        {"a", 0},
        {"a\xC3", 1},
        {"\xC3\xA9", 0},
        {"\xE2", 1},
        {"\xE2\x82", 2},
        {"\xE2\x82\xAC", 0},
        {"\xF0\x9F", 2},
        {"\xF0\x9F\x90", 3},
        {"\xF0\x9F\x90\x8E", 0},
        {"\x80", 0},
        {"a\x80\x80", 0},
        {"\xC0", 0},
        {"\xC1", 0},
        {"\xF5", 0},
        {"\xE0\x80", 0},
        {"\xE0\xA0", 2},
        {"\xED\xA0", 0},
        {"\xED\x9F", 2},
        {"\xF0\x80", 0},
        {"\xF4\x90", 0},
        {"\xF4\x8F", 2},
        {"\xFF", 0},
        {"\xF0\x9F\x90\xC3", 1},
        {"\xE2\x28", 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t got = utf8_tail(cases[i].s, strlen(cases[i].s));
        if (got != cases[i].want) fail_msg("case %zu: %zu, want %zu", i, got, cases[i].want);
    }
    assert_true(utf8_valid("a\xC3\xA9", 3));
    assert_false(utf8_valid("a\xC3\xA9\xC3", 4));
    assert_true(utf8_valid("", 0));
    assert_int_equal(utf8_valid_len("", 0), 0);
}

static void names_of_one_model(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"demo", "demo", true},          {"demo", "Demo:latest", true},
        {"demo:LATEST", "demo", true},   {"demo:q8", "demo", false},
        {"demo", "demos", false},        {":latest", "", false},
        {"a:latest:latest", "a", false}, {"", "", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(model_name_same(cases[i].a, cases[i].b), cases[i].same);
        assert_int_equal(model_name_same(cases[i].b, cases[i].a), cases[i].same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_keeps_its_nul),
        cmocka_unit_test(a_ceiling_holds),
        cmocka_unit_test(reads_files),
        cmocka_unit_test(json_strings),
        cmocka_unit_test(json_numbers_read_back),
        cmocka_unit_test(utf8_of_every_scalar),
        cmocka_unit_test(utf8_of_all_bytes),
        cmocka_unit_test(utf8_tails),
        cmocka_unit_test(names_of_one_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
