/* What is kept for later requests: bounded, forgotten in time, and nobody else's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api/recall.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static int64_t now;
static int64_t clock_of_test(void)
{
    return now;
}

static bool has(struct recall *s, uint64_t tenant, const char *id)
{
    json_t *v = recall_get(s, tenant, id);
    json_decref(v);
    return v != NULL;
}

static void put(struct recall *s, uint64_t tenant, const char *id, size_t bytes)
{
    char text[1000];
    memset(text, 'a', sizeof text);
    json_t *v = json_pack("{s:s%}", "x", text, bytes - 8); /* {"x":"..."} has 8 bytes around it */
    recall_put(s, tenant, id, v);
    json_decref(v);
}

static void entries_come_and_go(void **state)
{
    struct recall *s = recall_new(&(struct recall_options){
        .max_bytes = 1000, .max_entries = 4, .ttl_ns = 100, .now_ns = clock_of_test});
    put(s, 1, "a", 100);
    put(s, 1, "b", 100);
    assert_true(has(s, 1, "a") && has(s, 1, "b") && !has(s, 1, "c"));
    assert_false(has(s, 2, "a")); /* another tenant's */
    assert_true(recall_drop(s, 1, "b") && !recall_drop(s, 1, "b") && !has(s, 1, "b"));

    now = 90; /* using an entry makes it young */
    assert_true(has(s, 1, "a"));
    put(s, 1, "c", 100);
    now = 180;
    assert_true(has(s, 1, "a"));
    now = 195;
    assert_true(!has(s, 1, "c") && has(s, 1, "a"));

    put(s, 1, "d", 500);
    put(s, 1, "e", 500); /* 1100 bytes: the one used least recently goes */
    assert_true(!has(s, 1, "a") && has(s, 1, "d") && has(s, 1, "e"));
    for (const char *id = "fghi"; *id; id++) put(s, 1, (char[]){*id, 0}, 20);
    assert_true(!has(s, 1, "d") && !has(s, 1, "e") && has(s, 1, "f") && has(s, 1, "i"));
    put(s, 1, "f", 30); /* again: replaced */
    put(s, 2, "f", 40);
    json_t *v = recall_get(s, 1, "f");
    assert_int_equal(json_string_length(json_object_get(v, "x")), 22);
    json_decref(v);
    recall_free(s);
    recall_free(NULL);
}

static void the_largest_is_not_kept(void **state)
{
    struct recall *s = recall_new(&(struct recall_options){.max_bytes = 200, .now_ns = clock_of_test});
    put(s, 1, "a", 50);
    put(s, 1, "b", 201);
    assert_true(!has(s, 1, "b"));
    recall_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(entries_come_and_go),
                                       cmocka_unit_test(the_largest_is_not_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
