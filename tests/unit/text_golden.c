/* Token ids against the reference vectors in shared/golden/tokenizer (see its README): every vocabulary,
 * every text, without BOS, special tokens not parsed. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static bool same_ids(const struct tok_ids *got, const json_t *want, const char *name, size_t text)
{
    bool same = got->n == json_array_size(want);
    size_t i = 0;
    while (i < got->n && i < json_array_size(want) &&
           json_integer_value(json_array_get(want, i)) == got->id[i])
        i++;
    if (same && i == got->n) return true;
    print_error("%s, text %zu: got %zu ids, want %zu; first difference at %zu: %lld, want %lld\n", name, text,
                got->n, json_array_size(want), i, i < got->n ? (long long)got->id[i] : -1,
                (long long)json_integer_value(json_array_get(want, i)));
    return false;
}

/* Number of texts whose ids differ. Byte-level BPE must also give every text back. */
static int check_vocabulary(const char *path, const char *name, const json_t *texts, const json_t *ids)
{
    struct gguf *g;
    struct tokenizer *t;
    struct error e;
    struct tok_options o = {.bos = TOK_BOS_OFF};
    int bad = 0;
    if (gguf_open(&g, path, &(struct gguf_options){.meta_only = true}, &e) != OK) fail_msg("%s", e.msg);
    if (tokenizer_new(&t, g, &e) != OK) fail_msg("%s: %s", name, e.msg);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i);
        struct tok_ids got = {0};
        struct buf back = {0};
        size_t n = json_string_length(text);
        assert_int_equal(tokenizer_encode(t, json_string_value(text), n, &o, &got, &e), OK);
        bad += !same_ids(&got, json_array_get(ids, i), name, i);
        tokenizer_decode(t, got.id, got.n, false, &back);
        if (back.n != n || (n && memcmp(back.data, json_string_value(text), n) != 0)) {
            print_error("%s, text %zu: decodes to \"%s\"\n", name, i, back.data ? back.data : "");
            bad++;
        }
        buf_deinit(&back);
        tok_ids_deinit(&got);
    }
    tokenizer_free(t);
    gguf_close(g);
    return bad;
}

static void ids_equal_the_reference(void **state)
{
    const char *shared = getenv("CORRAL_SHARED"), *name;
    char path[4096];
    json_error_t je;
    int bad = 0;
    json_t *ids;
    snprintf(path, sizeof path, "%s/golden/tokenizer/tokenize_visible.json", shared ? shared : "../shared");
    json_t *all = json_load_file(path, 0, &je);
    if (!all) {
        print_message("skipped: %s: %s\n", path, je.text);
        skip();
    }
    json_object_foreach(json_object_get(all, "ids"), name, ids)
    {
        const char *folder = strcmp(name, "stories260K") == 0 ? "models" : "golden/tokenizer";
        snprintf(path, sizeof path, "%s/%s/%s.gguf", shared ? shared : "../shared", folder, name);
        bad += check_vocabulary(path, name, json_object_get(all, "texts"), ids);
    }
    assert_true(json_object_size(json_object_get(all, "ids")) > 0);
    json_decref(all);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_equal_the_reference)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
