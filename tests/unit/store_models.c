/* Models: versions and going back, files and their blobs, what lies in the folder of models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "support/temp_home.h"

#include <cmocka.h> /* last: it defines a macro fail() */

#define must(expr)                                                                                           \
    do {                                                                                                     \
        if ((expr) != OK) fail_msg("%s: %s", #expr, e.msg);                                                  \
    } while (0)

static struct error e;

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* A blob with this text; its digest. */
static void add_blob(struct temp_home *h, const char *text, char digest[STORE_DIGEST_MAX])
{
    char path[400];
    assert_true(temp_write(h, "download", text, strlen(text)));
    snprintf(path, sizeof path, "%s/download", h->path);
    must(store_digest_file(path, digest, NULL, NULL, &e));
    must(store_blob_add(h->store, path, digest, true, &e));
    assert_false(exists(path));
}

static void put_blob(struct temp_home *h, const char *name, const char *text)
{
    char digest[STORE_DIGEST_MAX];
    add_blob(h, text, digest);
    struct store_file file = {"model.gguf", digest};
    must(store_put(h->store, &(struct store_entry){.name = name, .file = &file, .n_file = 1, .source = text},
                   NULL, &e));
}

/* The text of the file that name means; "" when there is none. */
static const char *read_model(struct temp_home *h, const char *name)
{
    static char text[100];
    struct store_model m;
    struct buf b = {0};
    text[0] = 0;
    if (store_get(h->store, name, &m, &e) != OK) return text;
    if (buf_read_file(&b, m.path, &e) == OK) snprintf(text, sizeof text, "%s", b.data);
    buf_deinit(&b);
    store_model_deinit(&m);
    return text;
}

static void versions_go_back(void **state)
{
    struct temp_home h = {0};
    struct store_models list;
    assert_true(temp_open(&h, &e));
    put_blob(&h, "m", "one");
    put_blob(&h, "m", "one"); /* the same again is no new version */
    must(store_versions(h.store, "m", &list, &e));
    assert_int_equal(list.n, 1);
    store_models_deinit(&list);
    put_blob(&h, "m", "two");
    put_blob(&h, "M:latest", "three");
    must(store_versions(h.store, "m", &list, &e));
    assert_int_equal(list.n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(list.item[i].version, 3 - i);
        assert_int_equal(list.item[i].current, i == 0);
        assert_true(list.item[i].owned && !list.item[i].found);
    }
    store_models_deinit(&list);

    static const struct {
        uint32_t to;
        status code;
        const char *means; /* after it */
    } steps[] = {
        {0, OK, "two"},   {0, OK, "one"}, {0, ERR_NOT_FOUND, "one"},
        {3, OK, "three"}, {1, OK, "one"}, {9, ERR_NOT_FOUND, "one"},
        {2, OK, "two"},
    };
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        status code = store_rollback(h.store, "m", steps[i].to, &e);
        if (code != steps[i].code) fail_msg("step %zu: %s", i, e.msg);
        assert_string_equal(read_model(&h, "m"), steps[i].means);
    }
    assert_true(temp_open(&h, &e));
    assert_string_equal(read_model(&h, "m"), "two");
    put_blob(&h, "m", "four"); /* numbers go on, whatever is current */
    struct store_model m;
    must(store_get(h.store, "m", &m, &e));
    assert_int_equal(m.version, 4);
    store_model_deinit(&m);
    struct store_models all;
    must(store_versions(h.store, "m", &all, &e));
    assert_int_equal(all.n, 4);
    assert_true(all.item[0].version == 4 && all.item[0].current);
    assert_true(all.item[3].version == 1 && !all.item[3].current);
    assert_string_equal(all.item[3].source, "one");
    store_models_deinit(&all);

    /* The current one goes: the newest left is current. An older one goes: it stays. */
    must(store_remove(h.store, "m", 4, NULL, NULL, &e));
    assert_string_equal(read_model(&h, "m"), "three");
    must(store_remove(h.store, "m", 2, NULL, NULL, &e));
    assert_string_equal(read_model(&h, "m"), "three");
    must(store_remove(h.store, "m", 3, NULL, NULL, &e));
    must(store_remove(h.store, "m", 1, NULL, NULL, &e)); /* with the last one the name goes */
    assert_int_equal(store_get(h.store, "m", &m, &e), ERR_NOT_FOUND);
    temp_remove(&h);
}

static void blobs_live_as_long_as_their_names(void **state)
{
    struct temp_home h = {0};
    char digest[STORE_DIGEST_MAX], other[STORE_DIGEST_MAX], path[400], upload[440];
    uint64_t freed = 0;
    assert_true(temp_open(&h, &e));
    put_blob(&h, "a", "shared");
    put_blob(&h, "b", "shared");
    must(store_copy(h.store, "a", "c", &e));
    add_blob(&h, "shared", digest);
    must(store_blob_path(h.store, digest, path, sizeof path, &e));
    must(store_remove(h.store, "a", 0, NULL, &freed, &e));
    assert_true(freed == 0 && exists(path));
    must(store_remove(h.store, "b", 0, NULL, &freed, &e));
    assert_true(freed == 0 && exists(path));

    /* Only what has the digest that was said. */
    add_blob(&h, "other", other);
    assert_int_equal(store_remove(h.store, "c", 0, other, &freed, &e), ERR_ARG);
    assert_non_null(strstr(e.msg, digest));
    assert_int_equal(store_remove(h.store, "c", 0, "md5:1", &freed, &e), ERR_ARG);
    assert_true(exists(path));
    must(store_remove(h.store, "c", 0, digest, &freed, &e));
    assert_true(freed == 6 && !exists(path));
    assert_int_equal(store_remove(h.store, "c", 0, NULL, &freed, &e), ERR_NOT_FOUND);

    /* One without a name stays until it is swept. */
    must(store_blob_path(h.store, other, path, sizeof path, &e));
    must(store_sweep(h.store, 3600, &freed, &e));
    assert_true(freed == 0 && exists(path));
    put_blob(&h, "kept", "named");
    snprintf(upload, sizeof upload, "%s.upload-aB3xYz", path); /* of a process that was killed */
    assert_int_equal(link(path, upload), 0);
    must(store_sweep(h.store, 0, &freed, &e));
    assert_true(freed == 10 && !exists(path) && !exists(upload));
    assert_string_equal(read_model(&h, "kept"), "named");
    assert_int_equal(store_blob_path(h.store, other, path, sizeof path, &e), ERR_NOT_FOUND);
    struct store_file gone = {"x.gguf", other};
    struct store_entry entry = {.name = "x", .file = &gone, .n_file = 1};
    assert_int_equal(store_put(h.store, &entry, NULL, &e), ERR_NOT_FOUND);
    temp_remove(&h);
}

static void damage_is_found(void **state)
{
    struct temp_home h = {0};
    struct store_model m;
    char path[400];
    static const char zeros[] = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    assert_true(temp_open(&h, &e));
    assert_true(temp_write(&h, "download", "text", 4));
    snprintf(path, sizeof path, "%s/download", h.path);
    assert_int_equal(store_blob_add(h.store, path, zeros, true, &e), ERR_FORMAT);
    assert_true(exists(path)); /* it is the caller's still */
    assert_int_equal(store_blob_add(h.store, path, "sha256:XYZ", true, &e), ERR_ARG);

    put_blob(&h, "m", "whole");
    must(store_verify(h.store, "m", NULL, NULL, &e));
    must(store_get(h.store, "m", &m, &e));
    FILE *f = fopen(m.path, "r+");
    assert_true(f && fputs("W", f) >= 0 && fclose(f) == 0);
    assert_int_equal(store_verify(h.store, "m", NULL, NULL, &e), ERR_FORMAT);
    store_model_deinit(&m);

    /* A file used in place has no digest until it is asked for. */
    assert_true(temp_write(&h, "download", "text", 4));
    must(store_put(h.store, &(struct store_entry){.name = "place", .path = path}, NULL, &e));
    must(store_verify(h.store, "place", NULL, NULL, &e));
    must(store_get(h.store, "place", &m, &e));
    assert_string_equal(m.digest, "sha256:982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1");
    assert_false(m.owned);
    store_model_deinit(&m);
    assert_true(temp_write(&h, "download", "tExt", 4));
    assert_int_equal(store_verify(h.store, "place", NULL, NULL, &e), ERR_FORMAT);
    must(store_remove(h.store, "place", 0, NULL, NULL, &e));
    assert_true(exists(path)); /* it is somebody's */
    temp_remove(&h);
}

static void many_files_lie_together(void **state)
{
    struct temp_home h = {0};
    char a[STORE_DIGEST_MAX], b[STORE_DIGEST_MAX], folder[4096];
    struct store_model m;
    uint64_t freed;
    assert_true(temp_open(&h, &e));
    add_blob(&h, "first", a);
    add_blob(&h, "second", b);
    struct store_file gguf[] = {{"m-00001-of-00002.gguf", a}, {"m-00002-of-00002.gguf", b}};
    must(store_put(h.store, &(struct store_entry){.name = "split", .file = gguf, .n_file = 2}, &m, &e));
    assert_int_equal(m.bytes, 11);
    assert_non_null(strstr(m.path, "/m-00001-of-00002.gguf"));
    assert_string_equal(read_model(&h, "split"), "first");
    snprintf(folder, sizeof folder, "%s", m.path);
    *strrchr(folder, '/') = 0;
    assert_true(exists(folder));
    store_model_deinit(&m);
    must(store_verify(h.store, "split", NULL, NULL, &e));

    struct store_file hub[] = {{"config.json", a}, {"model.safetensors", b}};
    must(store_put(h.store, &(struct store_entry){.name = "hub", .file = hub, .n_file = 2}, &m, &e));
    struct stat st;
    assert_true(stat(m.path, &st) == 0 && S_ISDIR(st.st_mode));
    store_model_deinit(&m);

    must(store_copy(h.store, "split", "again", &e));
    must(store_remove(h.store, "split", 0, NULL, &freed, &e));
    assert_true(freed == 0 && exists(folder));
    must(store_remove(h.store, "again", 0, NULL, &freed, &e));
    assert_true(freed == 0 && !exists(folder)); /* the other model has the same blobs */
    must(store_remove(h.store, "hub", 0, NULL, &freed, &e));
    assert_int_equal(freed, 11);

    static const char *const bad_names[] = {"../x", "a/b", "", ".", ".."};
    add_blob(&h, "first", a);
    for (size_t i = 0; i < COUNT_OF(bad_names); i++) {
        struct store_file bad[] = {{"ok.gguf", a}, {bad_names[i], a}};
        struct store_entry entry = {.name = "bad", .file = bad, .n_file = 2};
        assert_int_equal(store_put(h.store, &entry, NULL, &e), ERR_ARG);
    }
    temp_remove(&h);
}

static void files_in_the_folder_are_found(void **state)
{
    static const struct {
        const char *file, *name; /* NULL: not listed */
    } cases[] = {
        {"Llama-3.2-1B.Q4_K_M.gguf", "llama-3.2-1b.q4_k_m:latest"},
        {"two words (2).GGUF", "two-words-2-:latest"},
        {"big-00001-of-00002.gguf", "big:latest"},
        {"big-00002-of-00002.gguf", NULL},
        {"notes.txt", NULL},
        {".hidden.gguf", NULL},
        {".gguf", NULL},
        {"dots...gguf", "dots.:latest"},
    };
    struct temp_home h = {0};
    struct store_models list;
    struct store_model m;
    char file[300];
    size_t n_want = 0;
    assert_true(temp_open(&h, &e));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        snprintf(file, sizeof file, "models/%s", cases[i].file);
        assert_true(temp_write(&h, file, "x", 1));
        n_want += cases[i].name != NULL;
    }
    for (int again = 0; again < 2; again++) { /* the second time nothing is new */
        must(store_list(h.store, &list, &e));
        if (list.n != n_want) fail_msg("%zu models, want %zu", list.n, n_want);
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
            size_t k = 0;
            if (!cases[i].name) continue;
            while (k < list.n && strcmp(list.item[k].name, cases[i].name) != 0) k++;
            if (k == list.n) fail_msg("%s is not listed as %s", cases[i].file, cases[i].name);
            assert_true(list.item[k].found && !list.item[k].owned && list.item[k].version == 1);
            assert_non_null(strstr(list.item[k].path, cases[i].file));
        }
        store_models_deinit(&list);
    }
    /* By its path too. Not removable but by removing the file; then it is not listed, and keeps its options.
     */
    must(store_set_options(h.store, "big", "{\"context\":77}", false, &e));
    must(store_set_facts(h.store, "big", 0, "{\"architecture\":\"llama\"}", &e));
    snprintf(file, sizeof file, "%s/models/big-00001-of-00002.gguf", store_home(h.store));
    must(store_get(h.store, file, &m, &e));
    assert_string_equal(m.name, "big:latest");
    assert_string_equal(m.facts, "{\"architecture\":\"llama\"}");
    store_model_deinit(&m);
    assert_int_equal(store_remove(h.store, "big", 0, NULL, NULL, &e), ERR_ARG);
    assert_non_null(strstr(e.msg, file));
    unlink(file);
    assert_int_equal(store_get(h.store, "big", &m, &e), ERR_NOT_FOUND);
    must(store_list(h.store, &list, &e));
    assert_int_equal(list.n, n_want - 1);
    store_models_deinit(&list);
    assert_true(temp_write(&h, "models/big-00001-of-00002.gguf", "longer", 6));
    must(store_list(h.store, &list, &e));
    assert_int_equal(list.n, n_want);
    store_models_deinit(&list);
    must(store_get(h.store, "big", &m, &e));
    assert_string_equal(m.options, "{\"context\":77}");
    assert_string_equal(m.facts, "{}"); /* another file: what was known of it is not true any more */
    assert_int_equal(m.bytes, 6);
    store_model_deinit(&m);

    /* A file whose name another model has. And one that came after the last look is found when asked for. */
    put_blob(&h, "taken", "blob");
    assert_true(temp_write(&h, "models/Taken.gguf", "file", 4));
    assert_string_equal(read_model(&h, "taken-2"), "file");
    assert_string_equal(read_model(&h, "taken"), "blob");
    temp_remove(&h);
}

static void a_home_can_be_moved(void **state)
{
    struct temp_home h = {0}, moved = {0};
    assert_true(temp_open(&h, &e));
    put_blob(&h, "m", "text");
    assert_true(temp_write(&h, "models/f.gguf", "found", 5));
    assert_string_equal(read_model(&h, "f"), "found");
    temp_close(&h);
    snprintf(moved.path, sizeof moved.path, "%.50s-moved", h.path);
    assert_int_equal(rename(h.path, moved.path), 0);
    assert_true(temp_open(&moved, &e));
    assert_string_equal(read_model(&moved, "m"), "text");
    assert_string_equal(read_model(&moved, "f"), "found");
    temp_remove(&moved);
}

static void the_rest_of_put(void **state)
{
    struct temp_home h = {0};
    struct store_model m;
    assert_true(temp_open(&h, &e));
    static const struct {
        struct store_entry entry;
        status code;
    } cases[] = {
        {{.name = "a"}, ERR_ARG},
        {{.name = "a", .source = "ftp://x"}, ERR_ARG},
        {{.name = "bad name", .source = "http://x"}, ERR_ARG},
        {{.name = "a", .path = "/nowhere/x.gguf"}, ERR_NOT_FOUND},
        {{.name = "a", .source = "http://x", .facts = "[1]"}, ERR_ARG},
        {{.name = "a", .source = "http://x", .options = "{\"contex\":1}"}, ERR_ARG},
        {{.name = "a", .source = "http://x", .options = "{\"context\":1}", .facts = "{\"a\":1}"}, OK},
        {{.name = "a", .source = "http://x"}, OK}, /* the same, with options and facts as they are */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        status code = store_put(h.store, &cases[i].entry, NULL, &e);
        if (code != cases[i].code) fail_msg("case %zu: %s: %s", i, status_name(code), e.msg);
    }
    must(store_get(h.store, "http://x", &m, &e)); /* by its source */
    assert_string_equal(m.name, "a:latest");
    assert_string_equal(m.options, "{\"context\":1}");
    assert_string_equal(m.facts, "{\"a\":1}");
    assert_true(m.version == 1 && m.used_ms == 0 && m.created_ms > 1600000000000 && !*m.path);
    store_model_deinit(&m);
    store_touch(h.store, "a");
    store_touch(h.store, "nobody");
    must(store_get(h.store, "a", &m, &e));
    assert_true(m.used_ms >= m.created_ms);
    store_model_deinit(&m);
    assert_int_equal(store_copy(h.store, "a", "A:latest", &e), ERR_ARG);
    assert_int_equal(store_copy(h.store, "none", "b", &e), ERR_NOT_FOUND);
    assert_int_equal(store_get(h.store, "b", &m, &e), ERR_NOT_FOUND); /* nothing of it was made */
    assert_int_equal(store_rollback(h.store, "none", 0, &e), ERR_NOT_FOUND);
    assert_int_equal(store_set_facts(h.store, "a", 7, "{}", &e), ERR_NOT_FOUND);
    assert_int_equal(store_set_facts(h.store, "a", 0, "no", &e), ERR_ARG);
    temp_remove(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_go_back),
        cmocka_unit_test(blobs_live_as_long_as_their_names),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(many_files_lie_together),
        cmocka_unit_test(files_in_the_folder_are_found),
        cmocka_unit_test(a_home_can_be_moved),
        cmocka_unit_test(the_rest_of_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
