/* corral plan: what it prints can be read for placement, its parts are the whole that the backend's planner
 * says, the ladder goes down, and files that are no models end in one line of JSON. */
#include <jansson.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"
#include "cli/cli.h"
#include "cli/memory_plan.h"
#include "place/place.h"
#include "tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

/* In a process of its own, as in life: what options say is kept in static variables. */
static int run_command(const struct command *c, const char *const *arg, struct buf *out)
{
    FILE *file = tmpfile();
    struct error e;
    int argc = 0, rc;
    assert_non_null(file);
    while (arg[argc]) argc++;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        dup2(fileno(file), STDOUT_FILENO);
        rc = c->run(argc, (char **)(uintptr_t)arg);
        fflush(stdout);
        _exit(rc);
    }
    assert_int_equal(waitpid(child, &rc, 0), child);
    if (!WIFEXITED(rc)) fail_msg("%s died", c->name);
    rewind(file);
    if (buf_read_fd(out, fileno(file), &e) != OK) fail_msg("%s", e.msg);
    fclose(file);
    return WEXITSTATUS(rc);
}

static void plan_of(struct place_plan *p, const char *const *arg)
{
    struct buf out = {0};
    struct error e = {0};
    if (run_command(&cmd_plan, arg, &out) != EXIT_OK) fail_msg("%s", out.data);
    if (place_plan_read(p, out.data, out.n, &e) != OK) fail_msg("%s in %s", e.msg, out.data);
    buf_deinit(&out);
}

static uint64_t weights_of(const struct place_plan *p)
{
    uint64_t n = p->first_bytes + p->last_bytes;
    for (uint32_t i = 0; i < p->n_layer; i++) n += p->layer[i].weight_bytes;
    return n;
}

/* Both commands ask the same planner. */
static void test_like_inspect(void **state)
{
    struct place_plan p;
    struct buf out = {0};
    json_error_t why;
    plan_of(&p, (const char *[]){"plan", "demo", "--json", "--backend", "cpu", "--ctx", "500", "--parallel",
                                 "3", "--kv-type", "q8_0", "--draft-max", "0", "--overhead", "1000", NULL});
    assert_int_equal(run_command(&cmd_inspect,
                                 (const char *[]){"inspect", "demo", "--json", "--backend", "cpu", "--ctx",
                                                  "500", "--parallel", "3", "--kv-type", "q8_0", NULL},
                                 &out),
                     EXIT_OK);
    json_t *doc = json_loadb(out.data, out.n, 0, &why), *plan = json_object_get(doc, "plan");
    if (!plan) fail_msg("%s", why.text);
#define OF(key) json_integer_value(json_object_get(plan, key))
    assert_int_equal(weights_of(&p), OF("mapped_bytes") + OF("weight_bytes"));
    assert_int_equal(p.rung[0].scratch_bytes, OF("scratch_bytes"));
    assert_int_equal(place_plan_kv_bytes(&p, 0), OF("kv_bytes"));
    assert_int_equal(place_plan_total_bytes(&p, 0), OF("total_bytes") + 1000);
#undef OF
    assert_int_equal(p.kind, PLACE_HOST);
    assert_int_equal(p.rung[0].context, 500);
    assert_string_equal(p.rung[0].kv_type, "q8_0");
    json_decref(doc);
    buf_deinit(&out);
    place_plan_deinit(&p);
}

static const struct tiny_shape small = {.arch = "llama",
                                        .type = DT_F16,
                                        .n_vocab = 64,
                                        .n_embd = 64,
                                        .n_layer = 3,
                                        .n_head = 4,
                                        .n_head_kv = 2,
                                        .head_dim = 16,
                                        .n_ff = 96};

/* Layers have their own bytes: a model whose layers differ. */
static void test_layers(void **state)
{
    struct tiny_model t;
    struct place_plan p;
    uint64_t layer = 0, all = 0;
    tiny_open(&t, &small, 7);
    for (size_t i = 0; i < gguf_n_tensors(t.gguf); i++) {
        const struct gguf_tensor *w = gguf_tensor_at(t.gguf, i);
        all += w->n_bytes;
        if (!strncmp(w->name, "blk.1.", 6)) layer += w->n_bytes;
    }
    plan_of(&p, (const char *[]){"plan", t.path, "--json", "--backend", "cpu", NULL});
    assert_int_equal(p.n_layer, 3);
    assert_int_equal(p.layer[1].weight_bytes,
                     layer); /* the cpu backend uses the file as it is: no padding to spread */
    assert_int_equal(weights_of(&p), all);
    assert_int_equal(p.layer[0].kv_block_bytes,
                     2u * 2 * 16 * 16 * 2); /* K and V, heads, head size, tokens, f16 */
    place_plan_deinit(&p);
    tiny_close(&t);
}

static void test_ladder(void **state)
{
    struct place_plan p;
    plan_of(&p, (const char *[]){"plan", "demo", "--json", "--backend", "cpu", "--ctx", "1024", "--parallel",
                                 "6", "--min-ctx", "200", "--kv-fallback", "q8_0", NULL});
    static const struct {
        uint32_t sequences, context;
        const char *kv;
    } want[] = {{6, 1024, "f16"}, {3, 1024, "f16"}, {1, 1024, "f16"}, {1, 1024, "q8_0"}, {1, 768, "q8_0"},
                {1, 512, "q8_0"}, {1, 384, "q8_0"}, {1, 256, "q8_0"}, {1, 200, "q8_0"}};
    assert_int_equal(p.n_rung, COUNT_OF(want));
    for (uint32_t i = 0; i < p.n_rung; i++) {
        const struct place_rung *r = &p.rung[i];
        if (r->parallel != 6 || r->kv_sequences != want[i].sequences || r->context != want[i].context ||
            strcmp(r->kv_type, want[i].kv) != 0)
            fail_msg("rung %u: %u x %u %s", i, r->kv_sequences, r->context, r->kv_type);
        if (i > 0 && place_plan_total_bytes(&p, i) >= place_plan_total_bytes(&p, i - 1))
            fail_msg("rung %u takes no less", i);
    }
    place_plan_deinit(&p);
}

/* What a model cannot use is left out of the ladder. */
static void test_fallback_that_does_not_fit(void **state)
{
    struct tiny_model t;
    struct place_plan p;
    tiny_open(&t, &small, 7);
    plan_of(&p, (const char *[]){"plan", t.path, "--json", "--backend", "cpu", "--kv-fallback", "q8_0",
                                 "--parallel", "1", "--ctx", "64", "--min-ctx", "48", NULL});
    assert_int_equal(p.n_rung, 2); /* heads of 16 numbers are no blocks of 32 */
    assert_string_equal(p.rung[1].kv_type, "f16");
    assert_int_equal(p.rung[1].context, 48);
    place_plan_deinit(&p);
    tiny_close(&t);
}

/* A draft model lives in the same process. */
static void test_draft(void **state)
{
    struct place_plan alone, with;
    plan_of(&alone, (const char *[]){"plan", "demo", "--json", "--backend", "cpu", NULL});
    plan_of(&with, (const char *[]){"plan", "demo", "--json", "--backend", "cpu", "--draft", "demo", NULL});
    assert_true(with.overhead_bytes >=
                alone.overhead_bytes + weights_of(&alone) + place_plan_kv_bytes(&alone, 0));
    place_plan_deinit(&alone);
    place_plan_deinit(&with);
}

/* A GPU backend plans where there is no GPU; how many devices it can use is part of the plan. */
static void test_without_device(void **state)
{
    struct place_plan p;
    struct buf out = {0};
    const char *const arg[] = {"plan", "demo", "--json", "--backend", "cuda", NULL};
    struct error e;
    if (run_command(&cmd_plan, arg, &out) != EXIT_OK) {
        print_message("skipped: %s", out.data);
        buf_deinit(&out);
        skip();
    }
    if (place_plan_read(&p, out.data, out.n, &e) != OK) fail_msg("%s", e.msg);
    assert_int_equal(p.kind, PLACE_GPU);
    assert_int_equal(p.max_devices, BACKEND_MAX_SHARES - 1);
    assert_true(p.partial_cpu);
    assert_true(p.overhead_bytes > 100u << 20);
    place_plan_deinit(&p);
    buf_deinit(&out);
}

/* Layers stay with the CPU only where it has all types of the plan; the reference plays a card. */
static void test_partly_on_the_cpu(void **state)
{
    static const struct {
        enum dtype kv, fallback; /* the same: none */
        bool partial;
    } cases[] = {{DT_F16, DT_F16, true},
                 {DT_BF16, DT_BF16, false},
                 {DT_F16, DT_BF16, false},
                 {DT_BF16, DT_F16, false},
                 {DT_F16, DT_Q8_0, true} /* it does not fit, and is in no rung */};
    struct backend_api card = backend_ref;
    struct tiny_model t;
    card.name = "cuda";
    tiny_open(&t, &small, 7);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct engine_options o = {
            .api = &card, .max_context = 64, .max_seqs = 2, .kv_type = cases[i].kv};
        const struct memory_ladder ladder = {.has_kv_fallback = cases[i].kv != cases[i].fallback,
                                             .kv_fallback = cases[i].fallback};
        struct place_plan p;
        struct error e;
        if (memory_place_plan(&p, model_desc(t.model), &o, &ladder, &e) != OK) fail_msg("%s", e.msg);
        assert_int_equal(p.kind, PLACE_GPU);
        assert_int_equal(p.max_devices, BACKEND_MAX_SHARES - 1);
        if (p.partial_cpu != cases[i].partial) fail_msg("case %zu: %d", i, p.partial_cpu);
        place_plan_deinit(&p);
    }
    tiny_close(&t);
}

/* A decision to divide a model says of every share what the planner says of that part. */
static void test_shares_are_parts(void **state)
{
    static struct place_decision d;
    struct tiny_shape shape = small;
    struct place_ledger *l;
    struct tiny_model t;
    struct place_plan p;
    struct buf out = {0};
    struct error e;
    char devices[96] = "";
    shape.n_layer = 7;
    shape.tied = true;
    tiny_open(&t, &shape, 3);
    plan_of(&p, (const char *[]){"plan", t.path, "--json", "--backend", "cpu", "--parallel", "2",
                                 "--overhead", "0", NULL});
    assert_true(p.tied_bytes > 0);
    p.kind = PLACE_GPU; /* as if the host were two cards */
    p.max_devices = 2;
    const uint64_t total = place_plan_total_bytes(&p, 0);
    const struct place_sample s[] = {{.uuid = "a", .name = "a", .total_bytes = total * 9 / 10},
                                     {.uuid = "b", .name = "b", .total_bytes = total * 9 / 10}};
    assert_int_equal(place_ledger_new(&l, &(struct place_limits){1, 1}, &e), OK);
    assert_int_equal(place_observe(l, s, 2, &e), OK);
    place_decide(&d, l, &(struct place_want){.model = "m", .gpu = &p}, NULL, 0);
    assert_int_equal(d.way, PLACE_SET);
    assert_int_equal(d.n_share, 2);
    for (uint32_t i = 0; i < 2; i++)
        snprintf(devices + strlen(devices), sizeof devices - strlen(devices), "%scpu=%u", i ? "," : "",
                 d.share[i].n_layer);
    assert_int_equal(
        run_command(&cmd_plan,
                    (const char *[]){"plan", t.path, "--json", "--devices", devices, "--parallel", "2", NULL},
                    &out),
        EXIT_OK);
    json_t *doc = json_loadb(out.data, out.n, 0, NULL), *parts = json_object_get(doc, "parts");
    uint64_t sum = 0;
    assert_int_equal(json_array_size(parts), 2);
    for (uint32_t i = 0; i < 2; i++) {
        const json_t *part = json_array_get(parts, i);
#define OF(key) (uint64_t) json_integer_value(json_object_get(part, key))
        assert_int_equal(OF("layer"), d.share[i].layer);
        assert_int_equal(OF("layers"), d.share[i].n_layer);
        assert_int_equal(OF("weight_bytes") + OF("mapped_bytes"), d.share[i].weight_bytes);
        assert_int_equal(OF("kv_bytes"), d.share[i].kv_bytes);
        assert_true(OF("scratch_bytes") <=
                    d.share[i].scratch_bytes + 4096); /* addresses of rows that come in */
        sum += OF("total_bytes");
#undef OF
    }
    assert_int_equal(json_integer_value(json_object_get(doc, "total_bytes")), sum);
    json_decref(doc);
    buf_deinit(&out);
    place_ledger_free(l);
    place_plan_deinit(&p);
    tiny_close(&t);
}

static const struct {
    const char *arg[6];
    int rc;
    const char *code, *says;
} mistakes[] = {
    {{"plan", "/etc/passwd", "--json", NULL}, EXIT_FAILED, "format error", "GGUF"},
    {{"plan", "/nonexistent/x.gguf", "--json", NULL}, EXIT_FAILED, "not found", "/nonexistent/x.gguf"},
    {{"plan", "demo", "--json", "--backend", "nope", NULL}, EXIT_FAILED, "not found", "nope"},
    {{"plan", "demo", "--json", "--kv-type", "q9", NULL}, EXIT_USAGE, NULL, "q9"},
    {{"plan", "demo", "--json", "--parallel", "0", NULL}, EXIT_USAGE, NULL, "parallel"},
    {{"plan", "demo", "--json", "--ctx", "16M", NULL}, EXIT_OK, NULL, NULL},
    {{"plan", "demo", "--json", "--devices", "cpu=900,cpu", NULL},
     EXIT_USAGE,
     "invalid argument",
     "900 are given"},
    {{"plan", "demo", "--json", "--devices", "cpu=1,cpu=1", NULL},
     EXIT_USAGE,
     "invalid argument",
     "leave out one"},
    {{"plan", "demo", "--json", "--devices", "cpu,gpu:0", NULL},
     EXIT_FAILED,
     "not found",
     "no backend named gpu"},
    {{"plan", "demo", "--json", "--devices", "cpu=1,cpu", NULL}, EXIT_OK, NULL, NULL},
    {{"plan", "demo", "--json", "--mlock", NULL}, EXIT_USAGE, NULL, "unknown option --mlock"},
    {{"plan", "demo", "--json", "--numa", "isolate", NULL}, EXIT_USAGE, NULL, "unknown option --numa"},
};

static void test_mistakes(void **state)
{
    for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
        struct buf out = {0};
        json_error_t why;
        const int rc = run_command(&cmd_plan, mistakes[i].arg, &out);
        json_t *doc = json_loadb(out.data, out.n, JSON_REJECT_DUPLICATES, &why);
        if (rc != mistakes[i].rc || !doc) fail_msg("mistake %zu: %d, %s", i, rc, out.data);
        const json_t *e = json_object_get(doc, "error");
        assert_int_equal(e != NULL, rc != EXIT_OK);
        if (mistakes[i].code)
            assert_string_equal(json_string_value(json_object_get(e, "code")), mistakes[i].code);
        if (mistakes[i].says && !strstr(json_string_value(json_object_get(e, "message")), mistakes[i].says))
            fail_msg("mistake %zu: %s", i, out.data);
        if (strchr(out.data, '\n') != out.data + out.n - 1) fail_msg("mistake %zu: more than a line", i);
        json_decref(doc);
        buf_deinit(&out);
    }
}

/* Copied weights are not in the mapped file. */
static void test_copied_weights(void **state)
{
    for (int copied = 0; copied < 2; copied++) {
        struct buf out = {0};
        const char *const arg[] = {
            "plan", "demo", "--json", "--devices", "cpu=1,cpu", copied ? "--no-mmap" : "--mmap", NULL};
        assert_int_equal(run_command(&cmd_plan, arg, &out), EXIT_OK);
        json_t *doc = json_loadb(out.data, out.n, 0, NULL);
        for (size_t i = 0; i < 2; i++) {
            const json_t *part = json_array_get(json_object_get(doc, "parts"), i);
            const json_int_t mapped = json_integer_value(json_object_get(part, "mapped_bytes")),
                             own = json_integer_value(json_object_get(part, "weight_bytes"));
            if ((mapped > 0) == copied || (own > 0) != copied) fail_msg("%s", out.data);
        }
        json_decref(doc);
        buf_deinit(&out);
    }
}

static void test_text(void **state)
{
    struct buf out = {0};
    assert_int_equal(run_command(&cmd_plan, (const char *[]){"plan", "demo", NULL}, &out), EXIT_OK);
    assert_non_null(strstr(out.data, "layers"));
    assert_non_null(strstr(out.data, "f16"));
    buf_reset(&out);
    const char *const divided[] = {"plan", "demo", "--devices", "cpu=1,cpu", NULL};
    assert_int_equal(run_command(&cmd_plan, divided, &out), EXIT_OK);
    assert_non_null(strstr(out.data, "on 2 devices"));
    assert_non_null(strstr(out.data, "0 to 0"));
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_fallback_that_does_not_fit),
        cmocka_unit_test(test_draft),
        cmocka_unit_test(test_without_device),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_ladder),
        cmocka_unit_test(test_like_inspect),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_copied_weights),
        cmocka_unit_test(test_shares_are_parts),
        cmocka_unit_test(test_partly_on_the_cpu),
    };
    return cmocka_run_group_tests_name("cli plan", tests, NULL, NULL);
}
