/* Remembered conversations: what is kept, for how long, how much, and what a new request makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/session.h"

#include <cmocka.h>

static int64_t clock_now;
static int64_t now(void)
{
    return clock_now;
}

/* "u1 a2 s3": a message each, the role by its letter, the text behind it. */
static json_t *talk(const char *text)
{
    json_t *out = json_array();
    char copy[256], *save = NULL;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        json_array_append_new(out, json_pack("{s:s, s:s}", "role",
                                             *w == 'u'   ? "user"
                                             : *w == 'a' ? "assistant"
                                             : *w == 't' ? "tool"
                                                         : "system",
                                             "content", w + 1));
    return out;
}

static void check(json_t *got, const char *want)
{
    json_t *v = talk(want);
    if (!json_equal(got, v)) {
        char *text = json_dumps(got, JSON_COMPACT);
        fail_msg("%s, want %s", text, want);
    }
    json_decref(v);
    json_decref(got);
}

static void add(struct sessions *s, uint64_t tenant, const char *name, const char *text)
{
    json_t *v = talk(text);
    sessions_add(s, tenant, name, v);
    json_decref(v);
}

static void what_is_remembered(void **state)
{
    struct sessions *s =
        sessions_new(&(struct sessions_options){.ttl_ns = 100, .max_sessions = 2, .now_ns = now});
    clock_now = 1;
    check(sessions_get(s, 1, "x"), "");
    add(s, 1, "x", "u1 a2");
    add(s, 1, "x", "u3 a4");
    check(sessions_get(s, 1, "x"), "u1 a2 u3 a4");
    check(sessions_get(s, 2, "x"), ""); /* another tenant's */
    clock_now = 90;
    check(sessions_get(s, 1, "x"), "u1 a2 u3 a4"); /* a use, from which the time counts again */
    clock_now = 190;
    assert_int_equal(sessions_count(s), 1);
    clock_now = 191;
    check(sessions_get(s, 1, "x"), "");
    assert_int_equal(sessions_count(s), 0);

    add(s, 1, "x", "u1");
    clock_now++;
    add(s, 1, "y", "u2");
    clock_now++;
    check(sessions_get(s, 1, "x"), "u1");
    clock_now++;
    add(s, 1, "z", "u3"); /* y was not used for longest */
    check(sessions_get(s, 1, "y"), "");
    check(sessions_get(s, 1, "x"), "u1");
    assert_true(sessions_drop(s, 1, "x"));
    assert_false(sessions_drop(s, 1, "x"));
    check(sessions_get(s, 1, "z"), "u3");
    sessions_free(s);
}

static void how_much(void **state)
{
    /* {"role":"user","content":"1"} has 29 bytes, the system's 31. */
    struct sessions *s = sessions_new(&(struct sessions_options){.max_session_bytes = 95, .now_ns = now});
    add(s, 0, "x", "s1 u2 u3");
    check(sessions_get(s, 0, "x"), "s1 u2 u3");
    add(s, 0, "x", "u4");
    check(sessions_get(s, 0, "x"), "s1 u3 u4"); /* instructions stay */
    char big[160] = "u";
    memset(big + 1, 'x', 120);
    add(s, 0, "x", big);
    check(sessions_get(s, 0, "x"), "s1"); /* alone it is too much */
    sessions_free(s);
}

static void joining(void **state)
{
    static const struct {
        const char *old, *new;
        size_t max;
        const char *want;
    } rows[] = {
        {"", "u1", 10, "u1"},
        {"u1 a2", "u3", 10, "u1 a2 u3"},
        {"s0 u1 a2", "u3", 10, "s0 u1 a2 u3"},
        {"s0 u1 a2", "s9 u3", 10, "s9 u1 a2 u3"},
        {"u1 a2 u3 a4", "u5", 3, "u3 a4 u5"},
        {"u1 a2 u3 a4", "u5", 2, "u5"}, /* not from the assistant's on */
        {"u1 a2 u3 a4", "u5", 1, "u5"},
        {"u1 a2", "u3 a4 u5", 2, "u3 a4 u5"}, /* what is new stays */
        {"u1 a2 t3 a4 u5 a6", "u7", 6, "u5 a6 u7"},
        {"s0 u1 a2 u3 a4", "u5", 3, "s0 u3 a4 u5"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        json_t *old = talk(rows[i].old), *new = talk(rows[i].new);
        check(sessions_join(old, new, rows[i].max), rows[i].want);
        json_decref(old);
        json_decref(new);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_remembered),
        cmocka_unit_test(how_much),
        cmocka_unit_test(joining),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
