/* Plans as JSON: what is written reads back the same, and nothing that is wrong with one gets in. */
#include <jansson.h>

#include "support/place_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static void test_round_trip(void **state)
{
    const struct toy toys[] = {
        {.layers = 1, .weight = 1, .parallel = 1, .context = 1},
        {.layers = 32,
         .weight = 120,
         .kv = 2,
         .first = 250,
         .last = 251,
         .scratch = 300,
         .overhead = 400,
         .max_devices = 8,
         .parallel = 16,
         .context = 8192,
         .partial_cpu = true},
        {.layers = 4096, .weight = 7, .kv = 1, .parallel = 4, .context = 131072, .on_host = true},
    };
    for (size_t i = 0; i < COUNT_OF(toys); i++) {
        struct place_plan a, b;
        struct buf x = {0}, y = {0};
        struct error e;
        toy_plan(&a, &toys[i]);
        place_plan_write(&x, &a);
        if (place_plan_read(&b, x.data, x.n, &e) != OK) fail_msg("plan %zu: %s", i, e.msg);
        place_plan_write(&y, &b);
        assert_string_equal(x.data, y.data);
        for (uint32_t k = 0; k < a.n_rung; k++)
            assert_int_equal(place_plan_total_bytes(&a, k), place_plan_total_bytes(&b, k));
        place_plan_deinit(&a);
        place_plan_deinit(&b);
        buf_deinit(&x);
        buf_deinit(&y);
    }
}

/* One member of a good plan, changed. */
static const struct {
    const char *where, *key, *value, *why;
} wrong[] = {
    {"", "backend", NULL, "backend"},
    {"", "backend", "7", "backend"},
    {"", "backend", "\"a name that is far too long\"", "backend"},
    {"", "kind", "\"moon\"", "moon"},
    {"", "max_devices", "0", "max_devices"},
    {"", "max_devices", "65", "max_devices"},
    {"", "kv_block_tokens", "0", "kv_block_tokens"},
    {"", "first_bytes", "-1", "first_bytes"},
    {"", "last_bytes", "1e9", "last_bytes"},
    {"", "overhead_bytes", "281474976710657", "overhead_bytes"},
    {"", "layers", "[]", "layers"},
    {"", "layers", "{}", "layers"},
    {"", "layers", "[7]", "weight_bytes"},
    {"", "layers", "[{\"weight_bytes\":1,\"kv_block_bytes\":1}]", "those of its layers"},
    {"", "rungs", "[]", "rungs"},
    {"", "rungs", "null", "rungs"},
    {"rungs", "parallel", "0", "parallel"},
    {"rungs", "parallel", "1048577", "parallel"},
    {"rungs", "context", "0", "context"},
    {"rungs", "kv_sequences", "65537", "kv_sequences"},
    {"rungs", "kv_type", "\"\"", "kv_type"},
    {"rungs", "kv_type", "\"f16\\u0000\"", "NUL"},
    {"rungs", "kv_block_bytes", "12", "those of its layers"},
    {"rungs", "scratch_bytes", "\"1\"", "scratch_bytes"},
    {"rungs", "context", "268435456", "beyond reason"}, /* with the KV of a block made large below */
    {"layers", "weight_bytes", "281474976710657", "weight_bytes"},
};

static void test_wrong(void **state)
{
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct place_plan p;
        struct buf b = {0};
        struct error e = {0};
        json_error_t why;
        toy_plan(
            &p, &(struct toy){.layers = 2, .weight = 100, .kv = 60000, .parallel = 1 << 16, .context = 1024});
        place_plan_write(&b, &p);
        json_t *doc = json_loadb(b.data, b.n, 0, &why);
        json_t *of = wrong[i].where[0] ? json_array_get(json_object_get(doc, wrong[i].where), 0) : doc;
        assert_true(json_is_object(of) && json_object_get(of, wrong[i].key));
        if (wrong[i].value)
            json_object_set_new(of, wrong[i].key,
                                json_loads(wrong[i].value, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why));
        else
            json_object_del(of, wrong[i].key);
        char *text = json_dumps(doc, 0);
        place_plan_deinit(&p);
        if (place_plan_read(&p, text, strlen(text), &e) != ERR_FORMAT || !strstr(e.msg, wrong[i].why))
            fail_msg("%s %s: '%s'", wrong[i].key, wrong[i].value ? wrong[i].value : "absent", e.msg);
        assert_null(p.layer); /* nothing is left to free */
        free(text);
        json_decref(doc);
        buf_deinit(&b);
    }
    static const char *const no_plan[] = {"", "{", "[]", "7", "{}", "{\"error\":{\"message\":\"no\"}}"};
    for (size_t i = 0; i < COUNT_OF(no_plan); i++) {
        struct place_plan p;
        struct error e;
        assert_int_equal(place_plan_read(&p, no_plan[i], strlen(no_plan[i]), &e), ERR_FORMAT);
    }
}

/* A rung with smaller numbers in its KV cache: every layer takes its part of less, rounded up. */
static void test_smaller_kv(void **state)
{
    static struct place_decision d;
    const struct toy_device gpu[] = {{1500, 0, false}};
    struct place_ledger *l;
    struct place_plan p;
    struct error e;
    toy_plan(&p, &(struct toy){.layers = 10, .weight = 100, .kv = 100, .parallel = 1, .context = 1024});
    p.rung[p.n_rung] = p.rung[0];
    snprintf(p.rung[p.n_rung].kv_type, sizeof p.rung->kv_type, "q8_0");
    p.rung[p.n_rung++].kv_block_bytes = 500 * MIB - 7;
    assert_int_equal(place_ledger_new(&l, NULL, &e), OK);
    toy_observe(l, gpu, 1, 0, 0);
    place_decide(&d, l, &(struct place_want){.model = "m", .gpu = &p}, NULL, 0);
    assert_int_equal(d.way, PLACE_ONE);
    assert_int_equal(d.rung, 1);
    assert_true(says(&d, PLACE_SAYS_KV_TYPE));
    assert_int_equal(d.share[0].kv_bytes, 500 * MIB - 7);
    assert_int_equal(d.kv_bytes, 500 * MIB - 7);
    place_ledger_free(l);
    place_plan_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_smaller_kv),
    };
    return cmocka_run_group_tests_name("placement: plans", tests, NULL, NULL);
}
