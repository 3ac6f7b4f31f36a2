/* References, taken apart; which files of a repository make a model; how long to wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hub/hub_int.h"
#include "support/temp_home.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static const char *or_dash(const char *s)
{
    return s ? s : "-";
}

static void references(void **state)
{
    static const struct {
        const char *text;
        enum hub_kind kind;
        const char *full, *name, *repo, *tag, *file, *rev;
    } cases[] = {
        // clang-format off
        {"hf:Org/Repo", HUB_HF, "hf:Org/Repo", "hf.co/org/repo:latest", "Org/Repo", "-", "-", "-"},
        {"Org/Repo", HUB_HF, "hf:Org/Repo", "hf.co/org/repo:latest", "Org/Repo", "-", "-", "-"},
        {"Org/Repo:latest", HUB_HF, "hf:Org/Repo", "hf.co/org/repo:latest", "Org/Repo", "-", "-", "-"},
        {"hf.co/Org/Repo-GGUF:Q4_K_M", HUB_HF, "hf:Org/Repo-GGUF:Q4_K_M", "hf.co/org/repo-gguf:q4_k_m", "Org/Repo-GGUF", "Q4_K_M", "-", "-"},
        {"huggingface.co/Org/Repo", HUB_HF, "hf:Org/Repo", "hf.co/org/repo:latest", "Org/Repo", "-", "-", "-"},
        {"https://huggingface.co/Org/Repo", HUB_HF, "hf:Org/Repo", "hf.co/org/repo:latest", "Org/Repo", "-", "-", "-"},
        {"hf:org/repo@v1.0", HUB_HF, "hf:org/repo@v1.0", "hf.co/org/repo:latest", "org/repo", "-", "-", "v1.0"},
        {"hf:org/repo:Q8_0@refs/pr/1", HUB_HF, "hf:org/repo:Q8_0@refs/pr/1", "hf.co/org/repo:q8_0", "org/repo", "Q8_0", "-", "refs/pr/1"},
        {"hf:org/repo/sub/Model-Q4_0.gguf@main", HUB_HF, "hf:org/repo/sub/Model-Q4_0.gguf@main", "hf.co/org/repo:model-q4_0", "org/repo", "-", "sub/Model-Q4_0.gguf", "main"},
        {"hf:org/repo/M-00001-of-00003.gguf", HUB_HF, "hf:org/repo/M-00001-of-00003.gguf", "hf.co/org/repo:m", "org/repo", "-", "M-00001-of-00003.gguf", "-"},
        {"qwen3", HUB_OLLAMA, "ollama:qwen3:latest", "qwen3:latest", "library/qwen3", "latest", "-", "-"},
        {"Qwen3:8b-Q4_K_M", HUB_OLLAMA, "ollama:qwen3:8b-Q4_K_M", "qwen3:8b-q4_k_m", "library/qwen3", "8b-Q4_K_M", "-", "-"},
        {"ollama:me/mine", HUB_OLLAMA, "ollama:me/mine:latest", "me/mine:latest", "me/mine", "latest", "-", "-"},
        {"ollama://qwen3", HUB_OLLAMA, "ollama:qwen3:latest", "qwen3:latest", "library/qwen3", "latest", "-", "-"},
        {"registry.ollama.ai/library/qwen3:4b", HUB_OLLAMA, "ollama:qwen3:4b", "qwen3:4b", "library/qwen3", "4b", "-", "-"},
        {"reg.example.com/ns/name:1", HUB_OLLAMA, "ollama:reg.example.com/ns/name:1", "reg.example.com/ns/name:1", "ns/name", "1", "-", "-"},
        {"localhost:5000/ns/name", HUB_OLLAMA, "ollama:localhost:5000/ns/name:latest", "localhost:5000/ns/name:latest", "ns/name", "latest", "-", "-"},
        {"s3://bucket/a/Model Q4.gguf", HUB_S3, "s3://bucket/a/Model Q4.gguf", "model-q4:latest", "bucket", "-", "a/Model Q4.gguf", "-"},
        {"s3://bucket/models/tiny/", HUB_S3, "s3://bucket/models/tiny/", "tiny:latest", "bucket", "-", "models/tiny/", "-"},
        {"https://example.com/m/A..B.gguf?x=1#y", HUB_HTTP, "https://example.com/m/A..B.gguf?x=1", "a.b:latest", "https://example.com/m/A..B.gguf?x=1", "-", "-", "-"},
        {"http://h:80/--.gguf", HUB_HTTP, "http://h:80/--.gguf", "model:latest", "http://h:80/--.gguf", "-", "-", "-"},
        {"https://huggingface.co/o/r/resolve/main/a.gguf?download=true", HUB_HF, "hf:o/r/a.gguf", "hf.co/o/r:a", "o/r", "-", "a.gguf", "-"},
        {"https://huggingface.co/o/r/blob/v1/sub/a%20b.gguf", HUB_HF, "hf:o/r/sub/a b.gguf@v1", "hf.co/o/r:a-b", "o/r", "-", "sub/a b.gguf", "v1"},
        {"hf.co/o/r/resolve/refs%2Fpr%2F1/a@b.gguf", HUB_HF, "hf:o/r/a@b.gguf@refs/pr/1", "hf.co/o/r:a-b", "o/r", "-", "a@b.gguf", "refs/pr/1"},
        {"https://hf.co/o/r/blob/main/a@b.gguf", HUB_HF, "hf:o/r/a@b.gguf@main", "hf.co/o/r:a-b", "o/r", "-", "a@b.gguf", "main"},
        {"https://huggingface.co/o/r/tree/main", HUB_HF, "hf:o/r", "hf.co/o/r:latest", "o/r", "-", "-", "-"},
        {"https://huggingface.co/o/r/tree/v1", HUB_HF, "hf:o/r@v1", "hf.co/o/r:latest", "o/r", "-", "-", "v1"},
        {"hf:o/r/blob/main/a.gguf", HUB_HF, "hf:o/r/blob/main/a.gguf", "hf.co/o/r:a", "o/r", "-", "blob/main/a.gguf", "-"},
        {"/nowhere/My Model.gguf", HUB_LOCAL, "file:/nowhere/My Model.gguf", "my-model:latest", "/nowhere/My Model.gguf", "-", "-", "-"},
        {"file:/nowhere/dir/", HUB_LOCAL, "file:/nowhere/dir", "dir:latest", "/nowhere/dir", "-", "-", "-"},
        {"./nothere.gguf", HUB_LOCAL, "file:./nothere.gguf", "nothere:latest", "./nothere.gguf", "-", "-", "-"},
        {"~/nothere.gguf", HUB_LOCAL, "file:/home/somebody/nothere.gguf", "nothere:latest", "/home/somebody/nothere.gguf", "-", "-", "-"},
        {"nothere.gguf", HUB_LOCAL, "file:nothere.gguf", "nothere:latest", "nothere.gguf", "-", "-", "-"},
        {"sub/nothere.gguf", HUB_LOCAL, "file:sub/nothere.gguf", "nothere:latest", "sub/nothere.gguf", "-", "-", "-"},
        {"org/repo/file.gguf", HUB_HF, "hf:org/repo/file.gguf", "hf.co/org/repo:file", "org/repo", "-", "file.gguf", "-"},
        // clang-format on
    };
    setenv("HOME", "/home/somebody", 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct hub_ref r;
        struct error e = {0};
        char name[STORE_NAME_MAX];
        if (hub_ref_parse(&r, cases[i].text, &e) != OK) fail_msg("%s: %s", cases[i].text, e.msg);
        const char *const got[] = {r.text, r.name, r.repo, or_dash(r.tag), or_dash(r.file), or_dash(r.rev)};
        const char *const want[] = {cases[i].full, cases[i].name, cases[i].repo,
                                    cases[i].tag,  cases[i].file, cases[i].rev};
        if (r.kind != cases[i].kind) fail_msg("%s: kind %d", cases[i].text, (int)r.kind);
        for (size_t k = 0; k < COUNT_OF(got); k++)
            if (strcmp(got[k], want[k]) != 0)
                fail_msg("%s: \"%s\", not \"%s\"", cases[i].text, got[k], want[k]);
        if (store_name(name, r.name, &e) != OK || strcmp(name, r.name) != 0)
            fail_msg("%s: %s: %s", cases[i].text, r.name, e.msg);
        struct hub_ref again; /* what is written in full means the same */
        if (hub_ref_parse(&again, r.text, &e) != OK) fail_msg("%s: %s", r.text, e.msg);
        assert_string_equal(again.text, r.text);
        assert_string_equal(again.name, r.name);
        hub_ref_deinit(&again);
        hub_ref_deinit(&r);
    }
}

static void no_references(void **state)
{
    static const char *const cases[] = {"",
                                        "a\nb",
                                        "hf:",
                                        "hf:org",
                                        "hf:org/",
                                        "hf:/repo",
                                        "hf:org/repo@",
                                        "hf:org/repo@a b",
                                        "hf:org/repo@../x",
                                        "hf:org/repo:",
                                        "hf:org/repo/README.md",
                                        "hf:org/repo/../x.gguf",
                                        "hf:o rg/repo",
                                        "https://huggingface.co/o/r/blob/main/README.md",
                                        "https://huggingface.co/o/r/blob/main/a%0a.gguf",
                                        "https://huggingface.co/o/r/blob/main/%ff.gguf",
                                        "https://huggingface.co/o/r/blob/main/..%2Fa.gguf",
                                        "https://huggingface.co/o/r/blob/a%zz/a.gguf",
                                        "s3://",
                                        "s3://bucket",
                                        "s3://bucket/",
                                        "s3:///key",
                                        "s3://bu cket/key",
                                        "http://",
                                        "https:///x.gguf",
                                        "http://host",
                                        "http://host/",
                                        "http://user:secret@host/a.gguf",
                                        "ftp://host/a.gguf",
                                        "qwen3:",
                                        "qwen 3",
                                        "a/b/c/d",
                                        "file:",
                                        "-x",
                                        "ollama:",
                                        "example.com/a/b:..",
                                        "host.x/a b/c"};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct hub_ref r;
        struct error e = {0};
        if (hub_ref_parse(&r, cases[i], &e) == OK) fail_msg("\"%s\" is taken as %s", cases[i], r.text);
        assert_int_equal(e.code, ERR_ARG);
        assert_null(r.text);
    }
    char *longest = mem_zalloc(1, 4000);
    memset(longest, 'a', 3000);
    struct hub_ref r;
    assert_int_equal(hub_ref_parse(&r, longest, NULL), ERR_ARG);
    free(longest);
}

/* What is built in can be pulled. */
static void default_aliases(void **state)
{
    static const struct {
        const char *alias, *reference;
    } cases[] = {{"gpt2", "hf:QuantFactory/gpt2-GGUF:Q8_0"},
                 {"llama3-70b", "hf:bartowski/Meta-Llama-3-70B-Instruct-GGUF:Q4_K_M"},
                 {"qwen2-72b", "hf:Qwen/Qwen2-72B-Instruct-GGUF:Q4_K_M"}};
    struct temp_home h = {0};
    struct store_aliases all;
    struct error e = {0};
    assert_true(temp_open(&h, &e));
    assert_int_equal(store_alias_list(h.store, &all, &e), OK);
    assert_int_equal(all.n, COUNT_OF(cases));
    for (size_t i = 0; i < all.n; i++) {
        struct hub_ref r;
        assert_string_equal(all.item[i].name, cases[i].alias);
        assert_string_equal(all.item[i].target, cases[i].reference);
        if (hub_ref_parse(&r, all.item[i].target, &e) != OK) fail_msg("%s: %s", cases[i].alias, e.msg);
        assert_int_equal(r.kind, HUB_HF);
        assert_string_equal(r.text, cases[i].reference);
        hub_ref_deinit(&r);
    }
    store_aliases_deinit(&all);
    temp_remove(&h);
}

/* ---- choosing --------------------------------------------------------------------------------------------
 */

static void choices(void **state)
{
    static const struct {
        const char *name, *files, *file, *tag, *want; /* files with spaces between; want NULL: none */
    } cases[] = {
        // clang-format off
        {"the only one", "README.md a.gguf", NULL, NULL, "a.gguf"},
        {"preferred", "a-Q8_0.gguf a-Q4_K_M.gguf a-F16.gguf", NULL, NULL, "a-Q4_K_M.gguf"},
        {"next best", "a-Q8_0.gguf a-F16.gguf", NULL, NULL, "a-Q8_0.gguf"},
        {"no projector", "mmproj-a-F16.gguf a-Q2_K.gguf a.imatrix.gguf", NULL, NULL, "a-Q2_K.gguf"},
        {"tag", "a-Q8_0.gguf a-Q4_K_M.gguf", NULL, "q8_0", "a-Q8_0.gguf"},
        {"tag is a word", "a-Q4_K_M.gguf a-IQ4_XS.gguf a_Q4_K.gguf", NULL, "Q4_K", "a_Q4_K.gguf"},
        {"not a part of one", "a-IQ4_NL.gguf", NULL, "Q4_NL", NULL},
        {"file", "a.gguf sub/b.gguf", "sub/b.gguf", NULL, "sub/b.gguf"},
        {"no such file", "a.gguf", "b.gguf", NULL, NULL},
        {"no such tag", "a-Q8_0.gguf", NULL, "Q4_0", NULL},
        {"no GGUF for a tag", "model.safetensors config.json", NULL, "Q4_0", NULL},
        {"split", "a-Q4_0-00002-of-00002.gguf a-Q4_0-00001-of-00002.gguf b.gguf", NULL, "Q4_0", "a-Q4_0-00001-of-00002.gguf a-Q4_0-00002-of-00002.gguf"},
        {"split, by a part", "a-00001-of-00002.gguf a-00002-of-00002.gguf b-00002-of-00002.gguf", "a-00002-of-00002.gguf", NULL, "a-00001-of-00002.gguf a-00002-of-00002.gguf"},
        {"split in a folder", "Q8_0/a-00001-of-00002.gguf Q8_0/a-00002-of-00002.gguf Q4/a-00001-of-00002.gguf", NULL, "Q8_0", "Q8_0/a-00001-of-00002.gguf Q8_0/a-00002-of-00002.gguf"},
        {"a part is missing", "a-00001-of-00003.gguf a-00003-of-00003.gguf", NULL, NULL, NULL},
        {"safetensors", "README.md model.safetensors config.json tokenizer.json pytorch_model.bin onnx/model.onnx", NULL, NULL, "config.json model.safetensors tokenizer.json"},
        {"shards", "config.json consolidated.safetensors model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json tokenizer.model", NULL, NULL,
         "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json tokenizer.model"},
        {"no config", "model.safetensors", NULL, NULL, NULL},
        {"nothing", "README.md", NULL, NULL, NULL},
        {"not even that", "", NULL, NULL, NULL},
        // clang-format on
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct hub_plan p = {0};
        struct error e = {0};
        struct buf got = {0};
        char *files = mem_strdup(cases[i].files), *rest = files;
        for (char *f; (f = strsep(&rest, " ")) && *f;)
            assert_int_equal(hub_plan_add(&p, f, mem_strdup("u"), 1, "", &e), OK);
        status s = hub_choose(&p, cases[i].file, cases[i].tag, &e);
        if ((s == OK) != !!cases[i].want) fail_msg("%s: %s", cases[i].name, s == OK ? p.file[0].path : e.msg);
        if (s != OK && !*e.msg) fail_msg("%s: no reason", cases[i].name);
        if (s == OK) { /* the first is what it is opened by, the others are in any order */
            char *want = mem_strdup(cases[i].want), *w = want;
            size_t n = 0;
            for (char *f; (f = strsep(&w, " ")); n++) {
                bool there = false;
                for (size_t k = n ? 1 : 0; k < (n ? p.n_file : MIN(p.n_file, 1)); k++)
                    there = there || !strcmp(p.file[k].path, f);
                if (!there) fail_msg("%s: %s is missing", cases[i].name, f);
            }
            if (n != p.n_file) fail_msg("%s: %zu files, not %zu", cases[i].name, p.n_file, n);
            free(want);
        }
        hub_plan_deinit(&p);
        buf_deinit(&got);
        free(files);
    }
}

static void hostile_paths(void **state)
{
    static const char *const bad[] = {"",     "/a",     "a/", "a//b",  "..",   "../a",
                                      "a/..", "a/../b", ".",  "a/./b", "a\\b", "a\nb"};
    static const char *const good[] = {"a", "a/b.gguf", ".hidden", "a..b", "..."};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (hub_path_is_safe(bad[i])) fail_msg("\"%s\" is taken", bad[i]);
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (!hub_path_is_safe(good[i])) fail_msg("\"%s\" is refused", good[i]);
}

static void hostile_sizes(void **state)
{
    static const struct {
        uint64_t bytes;
        status want;
    } cases[] = {{0, OK},
                 {HUB_UNKNOWN, OK},
                 {UINT64_C(1) << 52, OK},
                 {INT64_MAX, ERR_FORMAT},
                 {UINT64_MAX - 1, ERR_FORMAT}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct hub_plan p = {0};
        struct error e;
        if (hub_plan_add(&p, "a.gguf", mem_strdup("u"), cases[i].bytes, "", &e) != cases[i].want)
            fail_msg("case %zu", i);
        hub_plan_deinit(&p);
    }
}

static void urls_of_split_files(void **state)
{
    struct hub_plan p = {0};
    struct error e;
    assert_int_equal(hub_plan_url(&p, "http://h/M-00002-of-99999.gguf", "m:latest", &e), ERR_LIMIT);
    assert_int_equal(hub_plan_url(&p, "http://h/M-00002-of-00003.gguf?x=1", "m:latest", NULL), OK);
    assert_int_equal(p.n_file, 3);
    assert_string_equal(p.file[0].url, "http://h/M-00001-of-00003.gguf?x=1");
    assert_string_equal(p.file[2].path, "m-00003-of-00003.gguf");
    hub_plan_deinit(&p);
}

/* ---- waiting
 * ----------------------------------------------------------------------------------------------- */

static void retries(void **state)
{
    static const struct hub_config c = {.retry_ms = 500};
    static const struct {
        uint32_t tries;
        const char *after;
        double random;
        uint32_t want;
    } cases[] = {
        {1, NULL, 0.5, 500},  {1, NULL, 0, 250},      {2, NULL, 0.5, 1000},
        {4, NULL, 0.5, 4000}, {30, NULL, 0.5, 30000}, {4000000000, NULL, 0.5, 30000},
        {1, "7", 0.5, 7000},  {8, "1", 0.5, 30000},   {1, "99999999999999999999", 0.5, 3600000},
        {1, "-5", 0.5, 500},  {1, "soon", 0.5, 500},  {1, "Sun, 06 Nov 1994 08:49:37 GMT", 0.5, 500}};
    static const struct {
        enum http_cause cause;
        int code;
        bool redirected, want;
    } worth[] = {{0, 404, false, false},
                 {0, 404, true, true},
                 {0, 403, false, false},
                 {0, 429, false, true},
                 {0, 503, false, true},
                 {0, 501, false, false},
                 {0, 416, true, false},
                 {HTTP_CAUSE_CUT, 200, false, true},
                 {HTTP_CAUSE_TLS, 0, false, false},
                 {HTTP_CAUSE_RESOLVE, 0, false, true},
                 {HTTP_CAUSE_FORBIDDEN, 0, false, false}};
    char date[64];
    time_t soon = time(NULL) + 60;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(hub_retry_wait_ms(&c, cases[i].tries, cases[i].after, cases[i].random),
                         cases[i].want);
    for (size_t i = 0; i < COUNT_OF(worth); i++)
        assert_int_equal(hub_retry_is_worth(worth[i].cause, worth[i].code, worth[i].redirected),
                         worth[i].want);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&soon));
    assert_in_range(hub_retry_wait_ms(&c, 1, date, 0.5), 55000, 60000);
}

static void sizes(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *want;
    } cases[] = {{0, "0 bytes"},
                 {999, "999 bytes"},
                 {1000, "1.0 kB"},
                 {999949, "999.9 kB"},
                 {999950, "1.0 MB"},
                 {4200000000, "4.2 GB"},
                 {UINT64_MAX, "18446744.1 TB"}};
    char text[24];
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(hub_size(text, cases[i].bytes), cases[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references),
        cmocka_unit_test(no_references),
        cmocka_unit_test(choices),
        cmocka_unit_test(hostile_paths),
        cmocka_unit_test(urls_of_split_files),
        cmocka_unit_test(retries),
        cmocka_unit_test(sizes),
        cmocka_unit_test(hostile_sizes),
        cmocka_unit_test(default_aliases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
