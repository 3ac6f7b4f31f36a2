/* corral inspect and corral doctor: their JSON is JSON, and its numbers agree with each other. */
#include <jansson.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/human.h"
#include "cli/machine.h"
#include "support/gguf_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

enum { MAX_ARGS = 12 };

/* Run a command with standard output into a buffer. */
static int run_command(const struct command *c, const char *const *arg, struct buf *out)
{
    char *argv[MAX_ARGS + 1] = {NULL};
    int argc = 0, kept = dup(STDOUT_FILENO);
    FILE *file = tmpfile();
    struct error e;
    assert_true(kept >= 0 && file);
    for (; arg[argc] && argc < MAX_ARGS; argc++) argv[argc] = mem_strdup(arg[argc]);
    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    int rc = c->run(argc, argv);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    rewind(file);
    if (buf_read_fd(out, fileno(file), &e) != OK) fail_msg("%s", e.msg);
    fclose(file);
    while (argc > 0) free(argv[--argc]);
    return rc;
}

static json_t *run_json(const struct command *c, const char *const *arg, size_t flags)
{
    struct buf out = {0};
    json_error_t why;
    assert_int_equal(run_command(c, arg, &out), EXIT_OK);
    json_t *doc = json_loadb(out.data, out.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | flags, &why);
    if (!doc) fail_msg("%s: %s at %d", c->name, why.text, why.position);
    buf_deinit(&out);
    return doc;
}

static json_int_t integer(const json_t *doc, const char *key)
{
    const json_t *v = json_object_get(doc, key);
    if (!json_is_integer(v)) fail_msg("%s is no integer", key);
    return json_integer_value(v);
}

static const char *shared_file(const char *name)
{
    static char path[1024];
    const char *dir = getenv("CORRAL_SHARED");
    snprintf(path, sizeof path, "%s/%s", dir ? dir : "/nonexistent", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

static void test_inspect_plan(void **state)
{
    const char *path = shared_file("golden/quant/llama-wide-q4_k.gguf");
    if (!path) {
        print_message("skipped: no files under CORRAL_SHARED\n");
        skip();
    }
    json_t *doc = run_json(&cmd_inspect,
                           (const char *[]){"inspect", path, "--json", "--ctx", "100", "--parallel", "4",
                                            "--kv-type", "q8_0", NULL},
                           0);
    const json_t *plan = json_object_get(doc, "plan"), *tensors = json_object_get(doc, "tensors"), *row;
    json_int_t bytes = 0;
    size_t i;
    json_array_foreach(tensors, i, row) bytes += integer(row, "bytes");
    assert_int_equal(bytes, integer(doc, "tensor_bytes"));
    assert_int_equal(integer(json_object_get(doc, "facts"), "parameters"), integer(doc, "parameters"));
    assert_non_null(json_object_get(json_object_get(doc, "show"), "model_info"));
    assert_int_equal(integer(plan, "ctx"), 100);
    assert_int_equal(integer(plan, "kv_blocks"), 4 * 7); /* 100 tokens are 7 blocks of 16 */
    assert_int_equal(integer(plan, "kv_bytes"), integer(plan, "kv_blocks") * integer(plan, "kv_block_bytes"));
    assert_int_equal(integer(plan, "total_bytes"),
                     integer(plan, "mapped_bytes") + integer(plan, "weight_bytes") +
                         integer(plan, "scratch_bytes") + integer(plan, "kv_bytes"));
    assert_true(integer(plan, "mapped_bytes") + integer(plan, "weight_bytes") >= bytes / 2);
    const json_t *meta = json_object_get(doc, "metadata"),
                 *tokens = json_object_get(meta, "tokenizer.ggml.tokens");
    assert_string_equal(json_string_value(json_object_get(meta, "general.architecture")), "llama");
    assert_int_equal(integer(tokens, "n"), 512);
    json_decref(doc);
}

static void test_inspect_without_plan(void **state)
{
    const char *path = shared_file("golden/tokenizer/bert-bge.gguf");
    if (!path) {
        print_message("skipped: no files under CORRAL_SHARED\n");
        skip();
    }
    json_t *doc = run_json(&cmd_inspect, (const char *[]){"inspect", path, "--json", NULL}, 0);
    assert_true(json_is_null(json_object_get(doc, "plan")));
    assert_non_null(strstr(json_string_value(json_object_get(doc, "plan_error")), "bert"));
    json_decref(doc);
}

/* Any byte may be in a name: the output must still be JSON, and text without control characters. */
static void test_inspect_hostile_names(void **state)
{
    char path[] = "/tmp/corral-inspect-XXXXXX";
    struct buf b = {0}, out = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    build_script(&b, "'GGUF' 4:3 8:1 8:4 8:4 'a' 1:27 '\"' 1:255 4:8 8:3 1:10 1:0 1:200 "
                     "s:nan 4:6 4:0x7fc00000 s:big 4:10 8:-1 s:n 4:9 4:9 8:1 4:0 8:1 1:5 "
                     "8:3 't' 1:7 1:128 4:1 8:4 4:0 8:0 pad:32 z:16");
    assert_int_equal(write(fd, b.data, b.n), b.n);
    close(fd);
    /* jansson has no integers beyond int64; JSON has */
    json_t *doc =
        run_json(&cmd_inspect, (const char *[]){"inspect", path, "--json", NULL}, JSON_DECODE_INT_AS_REAL);
    json_decref(doc);
    assert_int_equal(
        run_command(&cmd_inspect, (const char *[]){"inspect", path, "--no-json", "--tensors", NULL}, &out),
        EXIT_OK);
    for (size_t i = 0; i < out.n; i++)
        if ((unsigned char)out.data[i] < 32 && out.data[i] != '\n')
            fail_msg("byte %d in the text", out.data[i]);
    assert_non_null(strstr(out.data, "18446744073709551615"));
    unlink(path);
    buf_deinit(&b);
    buf_deinit(&out);
}

static void test_inspect_mistakes(void **state)
{
    struct buf out = {0};
    int kept = dup(STDERR_FILENO);
    assert_true(freopen("/dev/null", "w", stderr) != NULL);
    int missing = run_command(&cmd_inspect, (const char *[]){"inspect", "/nonexistent/x.gguf", NULL}, &out);
    int usage = run_command(&cmd_inspect, (const char *[]){"inspect", "--kv-type", "q9", NULL}, &out);
    int not_gguf = run_command(&cmd_inspect, (const char *[]){"inspect", "/etc/passwd", NULL}, &out);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    assert_int_equal(missing, EXIT_FAILED);
    assert_int_equal(usage, EXIT_USAGE);
    assert_int_equal(not_gguf, EXIT_FAILED);
    assert_int_equal(out.n, 0);
    buf_deinit(&out);
}

static void test_doctor(void **state)
{
    json_t *doc = run_json(&cmd_doctor, (const char *[]){"doctor", "--json", NULL}, 0);
    const json_t *machine = json_object_get(doc, "machine"), *row;
    size_t i, usable = 0;
    assert_true(integer(machine, "cores") >= 1);
    assert_true(integer(machine, "cores") <= integer(machine, "cores_allowed"));
    assert_true(integer(machine, "memory_bytes") > integer(machine, "memory_available_bytes"));
    json_array_foreach(json_object_get(doc, "backends"), i, row)
    {
        bool yes = json_is_true(json_object_get(row, "usable"));
        usable += yes;
        assert_true(yes == json_is_null(json_object_get(row, "why_not"))); /* a reason for each that is not */
    }
    assert_true(usable >= 1);
    assert_true(json_is_array(json_object_get(doc, "gpus")));
    json_array_foreach(json_object_get(doc, "gpus"), i, row)
        assert_true(json_is_string(json_object_get(row, "uuid")));
    assert_non_null(json_object_get(doc, "aws")); /* null off AWS */
    json_array_foreach(json_object_get(doc, "warnings"), i, row)
        assert_true(json_string_length(json_object_get(row, "fix")) > 0);
    json_decref(doc);
}

static void test_cores(void **state)
{
    static const struct {
        uint32_t affinity;
        double quota;
        uint32_t want;
    } c[] = {{8, 0, 8}, {8, 2.5, 2}, {8, 0.5, 1}, {2, 4, 2}, {0, 0, 1}};
    for (size_t i = 0; i < COUNT_OF(c); i++)
        assert_int_equal(
            machine_cores(&(struct machine){.n_affinity = c[i].affinity, .quota_cores = c[i].quota}),
            c[i].want);
}

static void test_human(void **state)
{
    static const struct {
        uint64_t n;
        const char *bytes, *count;
    } c[] = {
        {0, "0 bytes", "0"},
        {999, "999 bytes", "999"},
        {1024, "1.00 KiB", "1.02 thousand"},
        {1 << 20, "1.00 MiB", "1.05 million"},
        {7241732096, "6.74 GiB", "7.24 billion"},
        {10239, "10.0 KiB", "10.2 thousand"},
        {UINT64_MAX, "16384 PiB", "18446744 trillion"},
    };
    for (size_t i = 0; i < COUNT_OF(c); i++) {
        assert_string_equal(human_count(c[i].n).s, c[i].count);
        assert_string_equal(human_bytes(c[i].n).s, c[i].bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inspect_plan),
        cmocka_unit_test(test_inspect_without_plan),
        cmocka_unit_test(test_inspect_hostile_names),
        cmocka_unit_test(test_inspect_mistakes),
        cmocka_unit_test(test_doctor),
        cmocka_unit_test(test_cores),
        cmocka_unit_test(test_human),
    };
    return cmocka_run_group_tests_name("cli inspect", tests, NULL, NULL);
}
