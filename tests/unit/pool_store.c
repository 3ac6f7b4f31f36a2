/* Models of the store: names, options, versions, preloading, and what is written down about them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "support/pool_play.h"
#include "support/temp_home.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static struct play y;
static struct temp_home home;
static struct error e;

#define NEEDS_PLAYER                                                                                         \
    if (!play_program()) {                                                                                   \
        printf("skipped: CORRAL_FAKE_WORKER does not name the program that plays workers\n");                \
        skip();                                                                                              \
    }
#define must(expr)                                                                                           \
    do {                                                                                                     \
        if ((expr) != OK) fail_msg("%s: %s", #expr, e.msg);                                                  \
    } while (0)

static void put(const char *name, const char *file, const char *script, const char *options)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", home.path, file);
    assert_true(temp_write(&home, file, script, strlen(script)));
    char digest[STORE_DIGEST_MAX];
    must(store_digest_file(path, digest, NULL, NULL, &e));
    must(store_put(home.store,
                   &(struct store_entry){.name = name, .path = path, .digest = digest, .options = options},
                   NULL, &e));
}

static void begin(void)
{
    struct pool_options o = play_options(&y);
    assert_true(temp_open(&home, &e));
    put("early", "early", "ready=0", "{\"preload\": true}");
    put("one", "one", "ready=0", "{\"context\": 77}");
    o.store = home.store;
    o.defaults = "{\"context\": 4096, \"parallel\": 3}";
    play_start(&y, &o);
}

static void end(void)
{
    play_end(&y);
    temp_remove(&home);
}

static struct pool_route answered(const char *model)
{
    static char name[64], options[256], path[108];
    struct pool_route r;
    struct pool_fault f = {0};
    struct pool_ticket *t = play_enter(&y, model);
    if (play_wait(t, 20000, &r, &f) != POOL_READY) fail_msg("%s: %d %s", model, f.code, f.msg);
    snprintf(name, sizeof name, "%s", r.model);
    snprintf(options, sizeof options, "%s", r.options);
    snprintf(path, sizeof path, "%s", r.unix_path);
    r.model = name;
    r.options = options;
    r.unix_path = path;
    play_leave(t);
    return r;
}

static void names_and_options(void **state)
{
    NEEDS_PLAYER
    begin();
    must(store_alias_set(home.store, "uno", "one", &e));
    static const char *const same[] = {"one", "ONE:latest", "uno"};
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        struct pool_route r = answered(same[i]);
        assert_string_equal(r.model, "one:latest");
        assert_non_null(strstr(r.options, "\"context\":77")); /* its own */
        assert_non_null(strstr(r.options, "\"parallel\":3")); /* those of all */
    }
    assert_int_equal(play_model(&y, "one:latest").loads, 1);
    must(store_set_options(home.store, "one", "{\"defaults\": {\"top_k\": 9}}", false, &e));
    assert_non_null(strstr(answered("one").options, "\"top_k\":9")); /* without loading it again */
    assert_int_equal(play_model(&y, "one:latest").loads, 1);
    struct pool_route r;
    struct pool_fault f;
    struct pool_ticket *t = play_enter(&y, "onee");
    assert_int_equal(pool_poll(t, &r, &f), POOL_REFUSED);
    assert_int_equal(f.code, 404);
    assert_non_null(strstr(f.msg, "one")); /* the nearest */
    play_leave(t);
    end();
}

static void those_that_are_wanted_from_the_start(void **state)
{
    NEEDS_PLAYER
    begin();
    assert_true(play_until(&y, "early:latest", POOL_RUNNING, 20000));
    assert_int_equal(play_model(&y, "one:latest").state, POOL_COLD);
    end();
}

static void another_version(void **state)
{
    NEEDS_PLAYER
    begin();
    struct pool_route r = answered("one"), later;
    put("one", "newer", "ready=0,mb=2", NULL);
    later = answered("one"); /* what runs goes on until it is said to change */
    assert_int_equal(later.worker, r.worker);
    must(pool_reload(y.pool, "one", &e));
    for (int i = 0; i < 10000 && later.generation == 1; i++, usleep(2000)) later = answered("one");
    assert_int_equal(later.generation, 2);
    assert_int_equal(play_model(&y, "one:latest").version, 2);

    put("one", "broken", "refuse", NULL); /* it cannot be loaded: the one before stays */
    must(pool_reload(y.pool, "one", &e));
    for (int i = 0; i < 10000 && !strstr(play_model(&y, "one:latest").error, "no model"); i++) usleep(2000);
    assert_non_null(strstr(play_model(&y, "one:latest").error, "no model"));
    assert_int_equal(answered("one").worker, later.worker);

    must(store_rollback(home.store, "one", 0, &e));
    must(pool_reload(y.pool, "one", &e));
    for (int i = 0; i < 10000 && later.generation < 4; i++, usleep(2000)) later = answered("one");
    assert_int_equal(later.generation, 4);
    end();
}

static void what_it_took_is_kept(void **state)
{
    NEEDS_PLAYER
    begin();
    struct store_measures list = {0};
    answered("one");
    for (int i = 0; i < 10000 && !list.n; i++) {
        store_measures_deinit(&list);
        must(store_measure_list(home.store, NULL, "host memory", &list, &e));
        usleep(2000);
    }
    assert_true(list.n >= 1);
    assert_true(list.item[0].actual_bytes > 0);
    assert_in_range(list.item[0].predicted_bytes, 1 << 20, (1 << 20) + 4096);
    assert_non_null(strstr(list.item[0].options, "backend="));
    store_measures_deinit(&list);
    struct store_model m;
    int64_t used = 0;
    for (int i = 0; i < 10000 && !used; i++) {
        must(store_get(home.store, "one", &m, &e));
        used = m.used_ms;
        store_model_deinit(&m);
        usleep(2000);
    }
    assert_true(used > 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_options),
        cmocka_unit_test(those_that_are_wanted_from_the_start),
        cmocka_unit_test(another_version),
        cmocka_unit_test(what_it_took_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
