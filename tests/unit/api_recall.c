/* What is kept for later requests: bounded, forgotten in time, and nobody else's. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

static unsigned n_files(const char *folder)
{
    unsigned n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *d; dir && (d = readdir(dir));) n += d->d_name[0] != '.';
    if (dir) closedir(dir);
    return n;
}

/* As if nobody had used it for so long. */
static void make_older(const char *folder, time_t seconds)
{
    DIR *dir = opendir(folder);
    const struct timespec then[2] = {{time(NULL) - seconds, 0}, {time(NULL) - seconds, 0}};
    for (struct dirent *d; (d = readdir(dir));)
        if (d->d_name[0] != '.') assert_int_equal(utimensat(dirfd(dir), d->d_name, then, 0), 0);
    closedir(dir);
}

/* Two processes with the same folder: what one of them keeps the other one has. */
static void files_are_shared(void **state)
{
    char base[] = "/tmp/corral-recall-XXXXXX", folder[64], command[96], own[96];
    assert_non_null(mkdtemp(base));
    snprintf(folder, sizeof folder, "%s/new", base);
    const struct recall_options o = {
        .folder = folder, .max_bytes = 100000, .max_entries = 200, .ttl_ns = 100 * 1000000000LL};
    struct recall *a = recall_new(&o), *b = recall_new(&o);
    assert_false(has(a, 1, "x"));
    put(a, 1, "x", 100);
    put(b, 1, "y", 100);
    snprintf(own, sizeof own, "%s/notes.txt", folder);
    fclose(fopen(own, "w"));
    put(a, 2, "x", 50);
    assert_true(has(b, 1, "x") && has(a, 1, "y") && !has(b, 2, "y") && n_files(folder) == 3 + 1);
    json_t *v = recall_get(b, 2, "x");
    assert_int_equal(json_string_length(json_object_get(v, "x")), 42);
    json_decref(v);
    put(b, 1, "x", 30);
    v = recall_get(a, 1, "x");
    assert_int_equal(json_string_length(json_object_get(v, "x")), 22);
    json_decref(v);
    assert_true(recall_drop(a, 1, "x") && !recall_drop(b, 1, "x") && !has(b, 1, "x"));
    make_older(folder, 60);
    assert_true(has(a, 1, "y")); /* using it makes it young */
    make_older(folder, 90);
    assert_true(has(a, 1, "y"));
    make_older(folder, 101);
    assert_false(has(a, 1, "y"));
    for (int i = 0; i < 400; i++) { /* the old ones go, then those used least recently */
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        put(a, 1, id, 20);
    }
    assert_true(n_files(folder) > 200 && n_files(folder) < 200 + 1 + 65);
    assert_int_equal(access(own, F_OK), 0); /* old, but not one of ours */
    assert_true(has(b, 1, "399"));
    recall_free(a);
    recall_free(b);
    snprintf(command, sizeof command, "rm -rf '%s'", base);
    assert_int_equal(system(command), 0);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_are_shared),
                                       cmocka_unit_test(entries_come_and_go),
                                       cmocka_unit_test(the_largest_is_not_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
