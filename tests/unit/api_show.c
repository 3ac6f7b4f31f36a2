/* What is said of a model's file that nobody serves: JSON whatever the file says, and what it can do. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include "api/show.h"
#include "support/gguf_build.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static json_t *show_json(const struct gguf *g, bool all)
{
    struct buf out = {0};
    json_error_t why;
    buf_addc(&out, '{');
    show_file(g, all, &out);
    buf_addc(&out, '}');
    json_t *v = json_loadb(out.data, out.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!v) fail_msg("%s at %d: %s", why.text, why.position, out.data);
    buf_deinit(&out);
    return v;
}

/* "completion,tools" */
static void join(const json_t *list, char *out, size_t cap)
{
    size_t i, at = 0;
    const json_t *v;
    out[0] = 0;
    json_array_foreach(list, i, v)
    {
        at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? "," : "", json_string_value(v));
    }
}

#define ARCH(name)      "s:general.architecture 4:8 s:" name " "
#define TALKS           "{%for\nm\nin\nmessages%}{{m.role}}:{{m.content}}{%endfor%}"
#define TOOLS           "{%if\ntools%}{{tools|tojson}}{%endif%}"
#define TEMPLATE(jinja) "s:tokenizer.chat_template 4:8 s:" jinja " "

static void files_are_described(void **state)
{
    static const struct {
        const char *keys; /* the script of a file's metadata */
        unsigned n;
        const char *arch, *capabilities, *template_text;
    } cases[] = {
        {"", 0, "unknown", "completion", NULL},
        {ARCH("llama"), 1, "llama", "completion", NULL},
        {ARCH("a\"b\\c\n"), 1, "a\"b\\c\n", "completion", NULL},
        {ARCH("\xff\xfe"), 1, "\xef\xbf\xbd\xef\xbf\xbd", "completion", NULL},
        {ARCH("bert") "s:bert.pooling_type 4:4 4:1 ", 2, "bert", "embedding", NULL},
        {ARCH("bert") "s:other.pooling_type 4:4 4:1 ", 2, "bert", "completion", NULL},
        {ARCH("llama") TEMPLATE(TALKS), 2, "llama", "completion", TALKS},
        {ARCH("llama") TEMPLATE(TOOLS TALKS), 2, "llama", "completion,tools", TOOLS TALKS},
        {ARCH("llama") TEMPLATE("{%if"), 2, "llama", "completion", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf file = {0};
        struct gguf *g;
        struct error e;
        char script[64], got[100];
        snprintf(script, sizeof script, "'GGUF' 4:3 8:0 8:%u ", cases[i].n);
        build_script(&file, script);
        build_script(&file, cases[i].keys);
        build_script(&file, "pad:32");
        struct gguf_options o = {.name = "test"};
        if (gguf_open_memory(&g, file.data, file.n, &o, &e) != OK) fail_msg("case %zu: %s", i, e.msg);
        json_t *doc = show_json(g, false), *facts = json_object_get(doc, "facts"),
               *show = json_object_get(doc, "show");
        const char *arch = json_string_value(json_object_get(facts, "architecture"));
        if (!arch || strcmp(arch, cases[i].arch) != 0) fail_msg("case %zu: architecture %s", i, arch);
        assert_string_equal(json_string_value(json_object_get(json_object_get(show, "details"), "family")),
                            arch);
        join(json_object_get(facts, "capabilities"), got, sizeof got);
        if (strcmp(got, cases[i].capabilities) != 0) fail_msg("case %zu: %s", i, got);
        join(json_object_get(show, "capabilities"), got, sizeof got);
        assert_string_equal(got, cases[i].capabilities);
        const char *text = json_string_value(json_object_get(show, "template"));
        if (cases[i].template_text && strcmp(text, cases[i].template_text) != 0)
            fail_msg("case %zu: %s", i, text);
        json_decref(doc);
        gguf_close(g);
        buf_deinit(&file);
    }
}

static void a_real_file(void **state)
{
    const char *shared = getenv("CORRAL_SHARED");
    char path[1024], text[100];
    struct gguf *g;
    struct error e;
    snprintf(path, sizeof path, "%s/models/stories260K.gguf", shared ? shared : "/nonexistent");
    if (access(path, R_OK) != 0) {
        print_message("skipped: no files under CORRAL_SHARED\n");
        skip();
    }
    if (gguf_open(&g, path, NULL, &e) != OK) fail_msg("%s", e.msg);
    json_t *doc = show_json(g, false), *facts = json_object_get(doc, "facts"),
           *show = json_object_get(doc, "show");
    assert_string_equal(json_string_value(json_object_get(facts, "architecture")), "llama");
    assert_int_equal(json_integer_value(json_object_get(facts, "context_length")), 128);
    assert_int_equal(json_integer_value(json_object_get(facts, "vocabulary")), 512);
    assert_int_equal(json_integer_value(json_object_get(facts, "embedding_length")), 64);
    assert_true(json_integer_value(json_object_get(facts, "bytes")) > 1000000);
    join(json_object_get(facts, "capabilities"), text, sizeof text);
    assert_string_equal(text, "completion");
    const json_t *info = json_object_get(show, "model_info");
    assert_true(json_is_null(json_object_get(info, "tokenizer.ggml.tokens")));
    assert_null(json_object_get(show, "tensors"));
    json_decref(doc);
    doc = show_json(g, true);
    info = json_object_get(json_object_get(doc, "show"), "model_info");
    assert_int_equal(json_array_size(json_object_get(info, "tokenizer.ggml.tokens")), 512);
    assert_true(json_array_size(json_object_get(json_object_get(doc, "show"), "tensors")) > 10);
    json_decref(doc);
    gguf_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_described),
        cmocka_unit_test(a_real_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
