/* Names, aliases and options: what is accepted, what it means, and what is said of the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "support/temp_home.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static void names_have_one_spelling(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: no name */
    } cases[] = {
        {"llama3.2", "llama3.2:latest"},
        {"Qwen3:8B", "qwen3:8b"},
        {"hf.co/Org/Repo_x:Q4_K_M", "hf.co/org/repo_x:q4_k_m"},
        {"localhost:5000/library/tiny:1", "localhost:5000/library/tiny:1"},
        {"localhost:5000/tiny", "localhost:5000/tiny:latest"},
        {"a/b/c/d:e", "a/b/c/d:e"},
        {"c++:1.0-rc+1", "c++:1.0-rc+1"},
        {"", NULL},
        {NULL, NULL},
        {":tag", NULL},
        {"name:", NULL},
        {"a:b:c", NULL},
        {"a/b/c/d/e", NULL},
        {"/etc/passwd", NULL},
        {"../x", NULL},
        {"a/../b", NULL},
        {"a..b", NULL},
        {".hidden", NULL},
        {"-option", NULL},
        {"a//b", NULL},
        {"a/", NULL},
        {"hf:org/repo", NULL}, /* a reference: org is no port */
        {"s3://bucket/key", NULL},
        {"http://host/x.gguf", NULL},
        {"host:99999999/x", NULL},
        {"a/host:50/x", NULL}, /* a port only behind the first */
        {"two words", NULL},
        {"na\nme", NULL},
        {"n\xc3\xa4me", NULL},
        {"a@1", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char got[STORE_NAME_MAX];
        struct error e = {0};
        bool good = store_name(got, cases[i].text, &e) == OK;
        const char *want = cases[i].want ? cases[i].want : "";
        if (good != !!cases[i].want || strcmp(got, want) != 0)
            fail_msg("'%s': '%s' (%s), want '%s'", cases[i].text ? cases[i].text : "NULL", got, e.msg, want);
        char again[STORE_NAME_MAX];
        if (good && (store_name(again, got, &e) != OK || strcmp(again, got) != 0))
            fail_msg("'%s' is not its own spelling: '%s'", got, again);
    }
    char longest[600], got[STORE_NAME_MAX], brief[STORE_NAME_MAX];
    memset(longest, 'a', sizeof longest);
    for (size_t n = 200; n < sizeof longest - 1; n++) {
        longest[n] = 0;
        if (store_name(got, longest, NULL) == OK) assert_int_equal(strlen(got), n + 7);
        assert_int_equal(store_name(got, longest, NULL) == OK, n + 8 <= STORE_NAME_MAX);
        longest[n] = 'a';
    }
    store_name_short(brief, "x:latest");
    assert_string_equal(brief, "x");
    store_name_short(brief, "x:8b");
    assert_string_equal(brief, "x:8b");
}

static void put_remote(struct store *s, const char *name, const char *source)
{
    struct error e;
    if (store_put(s, &(struct store_entry){.name = name, .source = source}, NULL, &e) != OK)
        fail_msg("%s", e.msg);
}

static void aliases_have_layers(void **state)
{
    struct temp_home h = {0};
    struct error e = {0};
    struct store_model m;
    char to[300];
    assert_true(temp_open(&h, &e));
    /* Mistakes in the file are passed over, one by one. */
    static const char file[] =
        "{\"GPT2\": \"mine\", \"chat\": \"mine\", \"bad name\": \"x\", \"n\": 5, \"loop\": "
        "\"pool\", \"pool\": \"loop\"}";
    assert_true(temp_write(&h, "aliases.json", file, sizeof file - 1));
    assert_true(temp_open(&h, &e));
    put_remote(h.store, "mine", "http://a/v1");
    put_remote(h.store, "other", "http://b/v1");

    static const struct {
        const char *text, *want;
    } cases[] = {
        {"mine", "mine"},
        {"chat", "mine"},
        {"CHAT:latest", "mine"},
        {"gpt2", "mine"}, /* the file goes before what is built in */
        {"qwen2-72b", "hf:Qwen/Qwen2-72B-Instruct-GGUF:Q4_K_M"},
        {"unknown", "unknown"},
        {"hf:Org/Repo", "hf:Org/Repo"},
        {"chat:8b", "chat:8b"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (store_resolve(h.store, cases[i].text, to, sizeof to, &e) != OK) fail_msg("%s", e.msg);
        assert_string_equal(to, cases[i].want);
    }
    /* One that is set goes before the file; taken away, the file holds again. */
    assert_int_equal(store_alias_set(h.store, "chat", "Other", &e), OK);
    assert_int_equal(store_get(h.store, "chat", &m, &e), OK);
    assert_string_equal(m.name, "other:latest");
    store_model_deinit(&m);
    assert_int_equal(store_alias_set(h.store, "prod", "chat", &e), OK); /* an alias of an alias */
    assert_int_equal(store_get(h.store, "prod", &m, &e), OK);
    assert_string_equal(m.name, "other:latest");
    store_model_deinit(&m);
    assert_int_equal(store_alias_remove(h.store, "chat", &e), OK);
    assert_int_equal(store_get(h.store, "prod", &m, &e), OK);
    assert_string_equal(m.name, "mine:latest");
    store_model_deinit(&m);
    assert_int_equal(store_alias_remove(h.store, "chat", &e), ERR_ARG);
    assert_non_null(strstr(e.msg, "aliases.json"));
    assert_int_equal(store_alias_remove(h.store, "nobody", &e), ERR_NOT_FOUND);

    /* Cycles: refused where they are made, reported where a file has them. */
    assert_int_equal(store_alias_set(h.store, "a", "a", &e), ERR_ARG);
    assert_int_equal(store_alias_set(h.store, "a", "b", &e), OK);
    assert_int_equal(store_alias_set(h.store, "b", "c", &e), OK);
    assert_int_equal(store_alias_set(h.store, "c", "a", &e), ERR_ARG);
    assert_non_null(strstr(e.msg, "leads back"));
    assert_int_equal(store_get(h.store, "a", &m, &e), ERR_NOT_FOUND); /* c was not set */
    assert_int_equal(store_get(h.store, "loop", &m, &e), ERR_ARG);

    /* A model goes before an alias, and no alias may hide one. */
    assert_int_equal(store_alias_set(h.store, "mine", "other", &e), ERR_ARG);
    put_remote(h.store, "chat", "http://c/v1");
    assert_int_equal(store_get(h.store, "chat", &m, &e), OK);
    assert_string_equal(m.source, "http://c/v1");
    store_model_deinit(&m);

    struct store_aliases all;
    assert_int_equal(store_alias_list(h.store, &all, &e), OK);
    const char *layer_of_gpt2 = NULL;
    for (size_t i = 0; i < all.n; i++) {
        if (i) assert_true(strcmp(all.item[i - 1].name, all.item[i].name) < 0);
        if (!strcmp(all.item[i].name, "gpt2")) layer_of_gpt2 = all.item[i].layer;
    }
    assert_string_equal(layer_of_gpt2, "file");
    assert_int_equal(all.n, 9); /* a, b, chat, gpt2, loop, pool, prod, and llama3-70b, qwen2-72b */
    store_aliases_deinit(&all);
    temp_remove(&h);
}

/* A server that runs goes by the file as it is now, and by what it was while somebody is still writing it. */
static void the_file_of_aliases_is_read_again(void **state)
{
    static const struct {
        const char *text; /* NULL: the file goes */
        const char *want;
    } steps[] = {
        {"{\"chat\": \"one\"}", "one"},
        {"{\"chat\": \"two\"}", "two"},
        {"{\"chat\": ", "two"},
        {"[]", "two"},
        {"{}", "chat"},
        {"{\"chat\": \"four\", \"n\": 5}", "four"},
        {NULL, "chat"},
    };
    struct temp_home h = {0};
    struct error e = {0};
    struct store_aliases all;
    char to[300], path[100];
    assert_true(temp_open(&h, &e));
    snprintf(path, sizeof path, "%s/aliases.json", h.path);
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        (void)unlink(path); /* another file each time, however coarse its file system's clock is */
        if (steps[i].text) assert_true(temp_write(&h, "aliases.json", steps[i].text, strlen(steps[i].text)));
        if (store_resolve(h.store, "chat", to, sizeof to, &e) != OK) fail_msg("step %zu: %s", i, e.msg);
        if (strcmp(to, steps[i].want) != 0) fail_msg("step %zu: %s, not %s", i, to, steps[i].want);
        assert_int_equal(store_alias_list(h.store, &all, &e), OK);
        assert_int_equal(all.n, strcmp(steps[i].want, "chat") ? 4 : 3);
        store_aliases_deinit(&all);
    }
    temp_remove(&h);
}

static void what_is_missing_is_told(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"lama3", "is 'llama3' meant?"},
        {"llama3:8b", "corral pull llama3:8b"},
        {"gpt2", "POST /pull {\"model\":\"gpt2\"}"},
        {"gtp2", "is 'gpt2' meant?"},
        {"hf:org/repo", "corral pull hf:org/repo"},
        {"something-else", "not downloaded"},
        {"", "empty"},
    };
    struct temp_home h = {0};
    struct error e = {0};
    assert_true(temp_open(&h, &e));
    put_remote(h.store, "llama3", "http://a/v1");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct store_model m;
        status code = store_get(h.store, cases[i].text, &m, &e);
        assert_int_equal(code, *cases[i].text ? ERR_NOT_FOUND : ERR_ARG);
        if (!strstr(e.msg, cases[i].says))
            fail_msg("%s: '%s', want '%s'", cases[i].text, e.msg, cases[i].says);
        store_model_deinit(&m);
    }
    temp_remove(&h);
}

static void options_are_checked(void **state)
{
    static const struct {
        const char *json, *says; /* NULL: good */
    } cases[] = {
        {NULL, NULL},
        {"", NULL},
        {"{}", NULL},
        {"{\"context\": 8192, \"parallel\": 4, \"kv_type\": \"q8_0\", \"gpus\": [\"GPU-1\"], \"pinned\": "
         "true}",
         NULL},
        {"{\"context\": null}", NULL},
        {"{\"mmap\": false, \"mlock\": true}", NULL},
        {"{\"mlock\": \"yes\"}", "true or false"},
        {"{\"defaults\": {\"temperature\": 0.2, \"stop\": [\"x\"]}, \"strip\": [\"seed\"]}", NULL},
        {"{\"split\": {\"a\": 90, \"b\": 10.5}}", NULL},
        {"{\"contxt\": 1}", "is 'context' meant?"},
        {"{\"zzzzzzzzzzzzz\": 1}", "docs/models.md"},
        {"{\"context\": 0}", "not between"},
        {"{\"context\": 99999999999}", "not between"},
        {"{\"context\": \"8k\"}", "a number is wanted"},
        {"{\"context\": 1.5}", "a number is wanted"},
        {"{\"kv_type\": \"q4\"}", "none of f16|f32|q8_0"},
        {"{\"kv_type\": \"f16|f32\"}", "none of f16|f32|q8_0"},
        {"{\"kv_type\": \"\"}", "none of f16|f32|q8_0"},
        {"{\"gpus\": []}", "there may be"},
        {"{\"gpus\": [1]}", "list of texts"},
        {"{\"gpus\": \"GPU-1\"}", "list of texts"},
        {"{\"pinned\": 1}", "true or false"},
        {"{\"keep_alive\": \"soon\"}", "keep_alive"},
        {"{\"split\": {\"a\": 0}}", "object of numbers"},
        {"{\"split\": {\"a\": -1, \"b\": 2}}", "object of numbers"},
        {"{\"defaults\": []}", "object"},
        {"{\"backend\": \"abc\\u0000def\"}", "no JSON"},
        {"{\"context\": 1, \"context\": 2}", "no JSON"},
        {"[]", "object is wanted"},
        {"{", "no JSON"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct store_settings o;
        struct error e = {0};
        status code = store_settings_read(&o, cases[i].json, &e);
        const char *says = cases[i].says;
        if ((code == OK) != !says || (says && !strstr(e.msg, says)))
            fail_msg("%s: '%s', want '%s'", cases[i].json, e.msg, says ? says : "no error");
        store_settings_deinit(&o);
    }
    static const struct {
        const char *text;
        int64_t ms;
    } times[] = {
        {"300", 300000},       {"-1", -1},        {"0", 0},        {"0.5", 500},           {"\"5m\"", 300000},
        {"\"-1\"", -1},        {"\"90\"", 90000}, {"\"-5m\"", -1}, {"\"1h30m\"", 5400000}, {"\"250ms\"", 250},
        {"\"2d\"", 172800000},
    };
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        char json[64];
        struct store_settings o;
        struct error e = {0};
        snprintf(json, sizeof json, "{\"keep_alive\":%s}", times[i].text);
        if (store_settings_read(&o, json, &e) != OK) fail_msg("%s: %s", json, e.msg);
        if (o.keep_alive_ms != times[i].ms) fail_msg("%s: %lld", json, (long long)o.keep_alive_ms);
        store_settings_deinit(&o);
    }
    struct store_settings o;
    assert_int_equal(
        store_settings_read(&o, "{\"context\":4096,\"strategy\":\"pack\",\"strip\":[\"a\",\"b\"]}", NULL),
        OK);
    assert_true(o.context == 4096 && o.parallel == 0 && !o.pinned && o.keep_alive_ms == STORE_UNSET &&
                !o.gpus);
    assert_string_equal(o.strategy, "pack");
    assert_int_equal(json_array_size(o.strip), 2);
    store_settings_deinit(&o);
    size_t n = 0;
    for (const struct store_option *row; (row = store_option_at(n)) != NULL; n++)
        assert_true(*row->name && *row->help);
    assert_true(n > 15);
}

static void options_are_kept(void **state)
{
    struct temp_home h = {0};
    struct error e = {0};
    struct store_model m;
    assert_true(temp_open(&h, &e));
    put_remote(h.store, "a", "http://a/v1");
    assert_int_equal(store_set_options(h.store, "a", "{\"context\":100,\"parallel\":2}", false, &e), OK);
    assert_int_equal(store_set_options(h.store, "a", "{\"context\":200}", false, &e), OK);
    assert_int_equal(store_set_options(h.store, "a", "{\"bogus\":1}", false, &e), ERR_ARG);
    assert_true(temp_open(&h, &e)); /* also over a restart */
    assert_int_equal(store_get(h.store, "a", &m, &e), OK);
    assert_string_equal(m.options, "{\"context\":200,\"parallel\":2}");
    store_model_deinit(&m);
    assert_int_equal(store_set_options(h.store, "a", "{\"parallel\":null}", false, &e), OK);
    assert_int_equal(store_get(h.store, "a", &m, &e), OK);
    assert_string_equal(m.options, "{\"context\":200}");
    store_model_deinit(&m);
    assert_int_equal(store_set_options(h.store, "a", "{\"pinned\":true}", true, &e), OK);
    assert_int_equal(store_get(h.store, "a", &m, &e), OK);
    assert_string_equal(m.options, "{\"pinned\":true}");
    store_model_deinit(&m);
    temp_remove(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_have_one_spelling),
        cmocka_unit_test(aliases_have_layers),
        cmocka_unit_test(the_file_of_aliases_is_read_again),
        cmocka_unit_test(what_is_missing_is_told),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(options_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
