/* corral quantize: every type, the rules of the mixtures, and what it must refuse. */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/quantize_write.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static struct tiny_model model; /* llama, F32, rows of 256 and 512 */
static char out_path[80];

static int setup(void **state)
{
    static const struct tiny_shape shape = {.arch = "llama",
                                            .type = DT_F32,
                                            .n_vocab = 320,
                                            .n_embd = 256,
                                            .n_layer = 8,
                                            .n_head = 8,
                                            .n_head_kv = 2,
                                            .head_dim = 32,
                                            .n_ff = 512};
    tiny_open(&model, &shape, 1);
    snprintf(out_path, sizeof out_path, "%s.out", model.path);
    return 0;
}

static int teardown(void **state)
{
    unlink(out_path);
    tiny_close(&model);
    return 0;
}

static float *decoded(const struct gguf_tensor *t, size_t *n)
{
    *n = 1;
    for (uint8_t i = 0; i < t->rank; i++) *n *= (size_t)t->dim[i];
    float *x = mem_alloc(*n * sizeof *x);
    dtype_info((uint32_t)t->dtype)->decode(t->data, x, *n);
    return x;
}

/* sum (a-b)^2 / sum b^2 */
static double nmse(const struct gguf_tensor *a, const struct gguf_tensor *b)
{
    size_t n_a, n_b;
    float *x = decoded(a, &n_a), *y = decoded(b, &n_b);
    double num = 0, den = 0;
    assert_int_equal(n_a, n_b);
    for (size_t i = 0; i < n_a; i++) {
        double d = (double)x[i] - (double)y[i];
        num += d * d;
        den += (double)y[i] * (double)y[i];
    }
    free(x);
    free(y);
    return num / den;
}

static void plan_and_write(const struct gguf *g, const char *type, const struct opt_list *keep,
                           uint32_t n_thread)
{
    struct quantize_choice c = {.keep = keep};
    struct quantize_plan p = {0};
    struct error e = {0};
    if (quantize_recipe_find(&c.recipe, type, &e) != OK || quantize_plan_init(&p, g, &c, &e) != OK ||
        quantize_write(&p, g, out_path, &(struct quantize_job){.n_thread = n_thread}, &e) != OK)
        fail_msg("%s: %s", type, e.msg);
    quantize_plan_deinit(&p);
}

/* Names, shapes and metadata as they were; the matrices within the error of their type, which is for uniform
 * weights a little below what tensor_encode.c allows for Gaussian ones. */
static void test_types(void **state)
{
    static const struct {
        const char *type;
        uint32_t file_type;
        enum dtype gate, output; /* of blk.3.ffn_gate and output */
        double max;              /* NMSE of the gate */
    } row[] = {
        {"F32", 0, DT_F32, DT_F32, 0},
        {"F16", 1, DT_F16, DT_F16, 1e-7},
        {"BF16", 32, DT_BF16, DT_BF16, 4e-6},
        {"q8_0", 7, DT_Q8_0, DT_Q8_0, 3e-5},
        {"Q6_K", 18, DT_Q6_K, DT_Q6_K, 4e-4},
        {"Q5_K_M", 17, DT_Q5_K, DT_Q6_K, 1.3e-3},
        {"Q5_K_S", 16, DT_Q5_K, DT_Q6_K, 1.3e-3},
        {"Q4_K_M", 15, DT_Q4_K, DT_Q6_K, 5e-3},
        {"Q4_K", 15, DT_Q4_K, DT_Q6_K, 5e-3},
        {"Q4_K_S", 14, DT_Q4_K, DT_Q6_K, 5e-3},
        {"Q3_K_L", 13, DT_Q3_K, DT_Q6_K, 0.022},
        {"Q3_K_M", 12, DT_Q3_K, DT_Q6_K, 0.022},
        {"Q3_K_S", 11, DT_Q3_K, DT_Q6_K, 0.022},
        {"Q2_K", 10, DT_Q2_K, DT_Q6_K, 0.07},
        {"IQ4_NL", 25, DT_IQ4_NL, DT_Q6_K, 6e-3},
        {"IQ4_XS", 30, DT_IQ4_XS, DT_Q6_K, 6e-3},
        {"Q4_0", 2, DT_Q4_0, DT_Q6_K, 7e-3},
        {"Q4_1", 3, DT_Q4_1, DT_Q6_K, 5e-3},
        {"Q5_0", 8, DT_Q5_0, DT_Q6_K, 1.7e-3},
        {"Q5_1", 9, DT_Q5_1, DT_Q6_K, 1.2e-3},
        {"MXFP4", 38, DT_MXFP4, DT_Q8_0, 0.02},
        {"TQ1_0", 36, DT_TQ1_0, DT_Q6_K, 0.2},
        {"TQ2_0", 37, DT_TQ2_0, DT_Q6_K, 0.2},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct gguf *g = NULL;
        struct error e = {0};
        uint32_t file_type = 99, version = 0;
        plan_and_write(model.gguf, row[i].type, NULL, 2);
        if (gguf_open(&g, out_path, NULL, &e) != OK) fail_msg("%s: %s", row[i].type, e.msg);
        assert_true(gguf_get_u32(g, "general.file_type", true, &file_type, &e) == OK);
        assert_true(gguf_get_u32(g, "general.quantization_version", true, &version, &e) == OK);
        assert_int_equal(file_type, row[i].file_type);
        assert_int_equal(version, 2);
        assert_int_equal(gguf_n_values(g), gguf_n_values(model.gguf) + 2);
        for (size_t k = 0; k < gguf_n_values(model.gguf); k++)
            assert_non_null(gguf_find(g, gguf_value_at(model.gguf, k)->key));
        assert_int_equal(gguf_n_tensors(g), gguf_n_tensors(model.gguf));
        for (size_t k = 0; k < gguf_n_tensors(g); k++) {
            const struct gguf_tensor *a = gguf_tensor_at(g, k), *b = gguf_tensor_at(model.gguf, k);
            assert_string_equal(a->name, b->name);
            assert_int_equal(a->rank, b->rank);
            assert_memory_equal(a->dim, b->dim, a->rank * sizeof *a->dim);
            if (b->rank == 1) assert_true(a->dtype == DT_F32 && nmse(a, b) == 0);
            double err = nmse(a, b), most = row[i].max;
            if (!(err <= most)) fail_msg("%s: %s changed by %g, at most %g", row[i].type, a->name, err, most);
        }
        assert_int_equal(gguf_find_tensor(g, "blk.3.ffn_gate.weight")->dtype, row[i].gate);
        assert_int_equal(gguf_find_tensor(g, "output.weight")->dtype, row[i].output);
        gguf_close(g);
    }
}

/* Types as llama.cpp's quantizer chose them for the same eight layers with four query heads to a key head. */
static void test_mixtures(void **state)
{
    static const struct {
        const char *type, *tensor;
        enum dtype want;
    } row[] = {
        {"Q4_K_M", "blk.0.attn_v.weight", DT_Q6_K},      {"Q4_K_M", "blk.1.attn_v.weight", DT_Q4_K},
        {"Q4_K_M", "blk.3.ffn_down.weight", DT_Q6_K},    {"Q4_K_M", "blk.7.ffn_down.weight", DT_Q6_K},
        {"Q4_K_M", "token_embd.weight", DT_Q4_K},        {"Q4_K_S", "blk.3.attn_v.weight", DT_Q5_K},
        {"Q4_K_S", "blk.4.attn_v.weight", DT_Q4_K},      {"Q4_K_S", "blk.0.ffn_down.weight", DT_Q5_K},
        {"Q4_K_S", "blk.1.ffn_down.weight", DT_Q4_K},    {"Q3_K_M", "blk.1.attn_v.weight", DT_Q5_K},
        {"Q3_K_M", "blk.2.attn_v.weight", DT_Q4_K},      {"Q3_K_M", "blk.2.attn_output.weight", DT_Q4_K},
        {"Q3_K_L", "blk.2.attn_output.weight", DT_Q5_K}, {"Q2_K", "blk.2.attn_v.weight", DT_Q4_K},
        {"Q2_K", "blk.2.ffn_down.weight", DT_Q3_K},      {"TQ1_0", "token_embd.weight", DT_Q4_K},
        {"IQ4_XS", "blk.5.attn_v.weight", DT_Q5_K},      {"Q8_0", "output.weight", DT_Q8_0},
        {"MXFP4", "blk.5.attn_v.weight", DT_MXFP4},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct quantize_choice c = {0};
        struct quantize_plan p = {0};
        struct error e;
        assert_true(quantize_recipe_find(&c.recipe, row[i].type, &e) == OK);
        assert_true(quantize_plan_init(&p, model.gguf, &c, &e) == OK);
        for (size_t k = 0; k < p.n_tensor; k++)
            if (strcmp(p.tensor[k].from->name, row[i].tensor) == 0 && p.tensor[k].to != row[i].want)
                fail_msg("%s: %s is %s", row[i].type, row[i].tensor,
                         dtype_info((uint32_t)p.tensor[k].to)->name);
        quantize_plan_deinit(&p);
    }
}

static void read_output(struct buf *b)
{
    struct error e = {0};
    buf_reset(b);
    if (buf_read_file(b, out_path, &e) != OK) fail_msg("%s", e.msg);
}

static void test_threads_do_not_matter(void **state)
{
    struct buf one = {0}, many = {0};
    plan_and_write(model.gguf, "Q4_K_M", NULL, 1);
    read_output(&one);
    plan_and_write(model.gguf, "Q4_K_M", NULL, 7);
    read_output(&many);
    assert_int_equal(one.n, many.n);
    assert_memory_equal(one.data, many.data, one.n);
    buf_deinit(&one);
    buf_deinit(&many);
}

/* The first pattern that fits wins; the types of rows that do not divide are replaced for these too. */
static void test_keep(void **state)
{
    const char *item[] = {"blk.0.*", "*.ffn_down.weight=q8_0", "*ffn*=iq4_xs"};
    const struct opt_list keep = {item, COUNT_OF(item)};
    struct gguf *g = NULL;
    struct error e = {0};
    plan_and_write(model.gguf, "Q4_0", &keep, 1);
    if (gguf_open(&g, out_path, NULL, &e) != OK) fail_msg("%s", e.msg);
    assert_int_equal(gguf_find_tensor(g, "blk.0.ffn_down.weight")->dtype, DT_F32);
    assert_int_equal(gguf_find_tensor(g, "blk.1.ffn_down.weight")->dtype, DT_Q8_0);
    assert_int_equal(gguf_find_tensor(g, "blk.1.ffn_up.weight")->dtype, DT_IQ4_XS);
    assert_int_equal(gguf_find_tensor(g, "blk.1.attn_q.weight")->dtype, DT_Q4_0);
    gguf_close(g);
}

/* One tensor of the given row length, filled with v. */
static void write_single(const char *path, int64_t row, float v)
{
    struct gguf_writer *w;
    struct error e = {0};
    float x[512];
    for (int i = 0; i < 512; i++) x[i] = i == 100 ? v : 0.25f * (float)(i % 7 - 3);
    if (gguf_writer_open(&w, path, &e) != OK) fail_msg("%s", e.msg);
    gguf_writer_tensor(w, "blk.0.x.weight", DT_F32, 2, (int64_t[]){512 / row, row});
    if (gguf_writer_begin_data(w, &e) != OK || gguf_writer_data(w, x, sizeof x, &e) != OK ||
        gguf_writer_finish(w, &e) != OK)
        fail_msg("%s", e.msg);
    gguf_writer_close(w);
}

static void test_fallbacks(void **state)
{
    static const struct {
        const char *type;
        int64_t row;
        enum dtype want;
    } c[] = {{"Q4_K_S", 256, DT_Q4_K},  {"Q4_K_S", 128, DT_Q5_0}, {"Q5_K_S", 64, DT_Q5_1},
             {"Q6_K", 32, DT_Q8_0},     {"Q2_K", 128, DT_IQ4_NL}, {"Q3_K_S", 64, DT_IQ4_NL},
             {"IQ4_XS", 32, DT_IQ4_NL}, {"TQ1_0", 128, DT_Q4_0},  {"Q4_K_S", 16, DT_F16},
             {"Q8_0", 8, DT_F16},       {"Q8_0", 4, DT_F16}};
    for (size_t i = 0; i < COUNT_OF(c); i++) {
        struct gguf *in = NULL, *g = NULL;
        struct error e = {0};
        char path[90];
        snprintf(path, sizeof path, "%s.in", out_path);
        write_single(path, c[i].row, 0);
        assert_true(gguf_open(&in, path, NULL, &e) == OK);
        plan_and_write(in, c[i].type, NULL, 1);
        assert_true(gguf_open(&g, out_path, NULL, &e) == OK);
        const struct gguf_tensor *t = gguf_tensor_at(g, 0);
        if (t->dtype != c[i].want)
            fail_msg("%s in rows of %d: %s", c[i].type, (int)c[i].row, dtype_info((uint32_t)t->dtype)->name);
        assert_true(nmse(t, gguf_tensor_at(in, 0)) < 0.2);
        gguf_close(g);
        gguf_close(in);
        unlink(path);
    }
}

/* --- refusals --- */

static int run_quantize(const char *const *arg, char message[400])
{
    char *argv[12] = {NULL};
    int argc = 0, kept[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    FILE *file = tmpfile(), *text = tmpfile();
    for (; arg[argc]; argc++) argv[argc] = mem_strdup(arg[argc]);
    fflush(stdout);
    dup2(fileno(text), STDOUT_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    int rc = cmd_quantize.run(argc, argv);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        dup2(kept[i], i ? STDERR_FILENO : STDOUT_FILENO);
        close(kept[i]);
    }
    rewind(file);
    message[fread(message, 1, 399, file)] = 0;
    fclose(file);
    fclose(text);
    while (argc > 0) free(argv[--argc]);
    return rc;
}

static void test_refusals(void **state)
{
    char nan[96], inf[96], alias[96], q8[96], text[400];
    snprintf(nan, sizeof nan, "%s.nan", out_path);
    snprintf(inf, sizeof inf, "%s.big", out_path);
    snprintf(alias, sizeof alias, "%s.link", out_path);
    snprintf(q8, sizeof q8, "%s.q8", out_path);
    write_single(nan, 256, NAN);
    write_single(inf, 256, 1e30f);
    assert_int_equal(link(model.path, alias), 0);
    assert_int_equal(run_quantize((const char *[]){"quantize", model.path, q8, "Q8_0", NULL}, text), EXIT_OK);
    unlink(out_path);
    const struct {
        const char *arg[8];
        int rc;
        const char *says;
    } row[] = {
        {{"quantize", model.path, out_path, "Q4_K_X"}, EXIT_USAGE, "did you mean Q4_K_"},
        {{"quantize", model.path, out_path, "nonsense"}, EXIT_USAGE, "unknown type 'nonsense'"},
        {{"quantize", model.path, out_path, "iq2_xs"}, EXIT_USAGE, "only read"},
        {{"quantize", model.path, out_path}, EXIT_USAGE, "IN OUT TYPE"},
        {{"quantize", "/nonexistent/x.gguf", out_path, "Q8_0"}, EXIT_FAILED, "no model file"},
        {{"quantize", "/etc/passwd", out_path, "Q8_0"}, EXIT_FAILED, "/etc/passwd"},
        {{"quantize", model.path, model.path, "Q8_0"}, EXIT_USAGE, "is the input"},
        {{"quantize", model.path, alias, "Q8_0"}, EXIT_USAGE, "is the input"},
        {{"quantize", model.path, "/nonexistent/dir/x", "Q8_0"}, EXIT_FAILED, "/nonexistent/dir/x"},
        {{"quantize", model.path, "/dev/full", "Q8_0"}, EXIT_USAGE, "not a regular file"},
        {{"quantize", model.path, out_path, "Q8_0", "--keep", "x=q9"}, EXIT_USAGE, "'q9' is no type"},
        {{"quantize", model.path, out_path, "Q8_0", "--keep", "=q8_0"}, EXIT_USAGE, "want PATTERN"},
        {{"quantize", q8, out_path, "Q4_0"}, EXIT_USAGE, "--requantize"},
        {{"quantize", nan, out_path, "Q4_0"}, EXIT_FAILED, "infinities or NaN"},
        {{"quantize", inf, out_path, "F16"}, EXIT_FAILED, "too large for f16"},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        int rc = run_quantize(row[i].arg, text);
        if (rc != row[i].rc || !strstr(text, row[i].says))
            fail_msg("row %zu: status %d, want %d and '%s' in: %s", i, rc, row[i].rc, row[i].says, text);
        assert_int_not_equal(access(out_path, F_OK), 0);
    }
    assert_int_equal(
        run_quantize((const char *[]){"quantize", q8, out_path, "Q4_0", "--requantize", NULL}, text),
        EXIT_OK);
    assert_non_null(strstr(text, "warning: 58 tensors are quantized a second time"));
    assert_int_equal(run_quantize((const char *[]){"quantize", q8, out_path, "F32", NULL}, text), EXIT_OK);
    unlink(nan);
    unlink(inf);
    unlink(alias);
    unlink(q8);
}

static bool stop_at_once(void *ctx, uint64_t done)
{
    (void)ctx;
    (void)done;
    return false;
}

/* Whether a file beside out_path is left: its own name, or the temporary one. */
static bool output_left(void)
{
    char tmp[128];
    snprintf(tmp, sizeof tmp, "%s.tmp-%ld", out_path, (long)getpid());
    return access(out_path, F_OK) == 0 || access(tmp, F_OK) == 0;
}

/* A file that may not grow (a full disk, to the program) and a user who stops it: no file, and no rest of
 * one. */
static void test_unfinished(void **state)
{
    struct quantize_choice c = {0};
    struct quantize_plan p = {0};
    struct rlimit was, small;
    struct error e = {0};
    unlink(out_path);
    assert_true(quantize_recipe_find(&c.recipe, "Q8_0", &e) == OK);
    assert_true(quantize_plan_init(&p, model.gguf, &c, &e) == OK);
    status s = quantize_write(&p, model.gguf, out_path,
                              &(struct quantize_job){.n_thread = 1, .progress = stop_at_once}, &e);
    assert_int_equal(s, ERR_CANCELLED);
    assert_false(output_left());
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = was;
    small.rlim_cur = 100000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    s = quantize_write(&p, model.gguf, out_path, &(struct quantize_job){.n_thread = 1}, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(s, ERR_IO);
    assert_false(output_left());
    quantize_plan_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_mixtures),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_fallbacks),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_unfinished),
    };
    return cmocka_run_group_tests_name("cli quantize", tests, setup, teardown);
}
