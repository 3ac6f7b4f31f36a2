/* Weights of the cpu backend in the mapped file, copied, and locked: the same logits bit for bit, and no lock
 * stays. */
#include "base/pages.h"
#include "support/backend_shapes.h"

enum { N_TOK = 20 };

struct counts {
    size_t n_call, last, total;
    bool stop;
};

static bool count_progress(void *user, size_t done, size_t total)
{
    struct counts *c = user;
    if (done < c->last || done > total) c->total = SIZE_MAX; /* never backwards */
    c->n_call++;
    c->last = done;
    if (c->total != SIZE_MAX) c->total = total;
    return !c->stop;
}

static const struct backend_limits limits = {
    .max_tokens = N_TOK, .max_seqs = 1, .max_logits = N_TOK, .max_context = 64, .kv_type = DT_F32};

/* Whether this process may lock memory at all; a sanitizer's mlock does nothing. */
static bool may_lock(void)
{
    struct pages p;
    struct error e;
    size_t n = 1;
    if (pages_open(&p, 1 << 20, &e) != OK) return false;
    struct span span[] = {{p.data, p.n}};
    bool may = pages_lock(span, &n, &e) == OK && pages_locked_bytes() > 0;
    pages_close(&p);
    return may;
}

static void wherever_they_lie(void **state)
{
    static const struct {
        const char *what;
        struct backend_host host;
    } way[] = {{"mapped", {0}},
               {"locked", {.lock = true}},
               {"copied", {.copy = true}},
               {"both", {.copy = true, .lock = true}}};
    const bool may = may_lock();
    if (!may) print_message("skipped: no lock is checked, this process may lock nothing\n");
    for (size_t i = 0; i < COUNT_OF(backend_shape); i++) {
        struct tiny_model m;
        int32_t token[N_TOK];
        uint32_t block[2] = {1, 0};
        const size_t n = (size_t)N_TOK * backend_shape[i].n_vocab;
        float *want = mem_zalloc(n, sizeof *want), *got = mem_zalloc(n, sizeof *got);
        tiny_open(&m, &backend_shape[i], 60 + i);
        random_tokens(token, N_TOK, backend_shape[i].n_vocab, i);
        for (size_t k = 0; k < COUNT_OF(way); k++) {
            const struct backend_options bo = {.n_thread = 2, .host = way[k].host};
            struct rig r = {.api = &backend_cpu, .n_vocab = backend_shape[i].n_vocab};
            struct backend_plan plan;
            struct counts c = {0};
            struct error e = {0};
            const uint64_t locked = pages_locked_bytes();
            rig_check(r.api->open(&r.b, &bo, &e), &e);
            rig_check(r.api->plan(r.b, model_desc(m.model), &limits, &plan, &e), &e);
            rig_check(r.api->load(&r.m, r.b, model_desc(m.model), &limits, count_progress, &c, &e), &e);
            rig_check(r.api->kv_open(&r.kv, r.m, 2, &e), &e);
            rig_logits(&r, token, N_TOK, N_TOK, block, k ? got : want);
            const char *wrong = NULL;
            if (!c.n_call || c.total == SIZE_MAX || c.last > c.total) wrong = "progress";
            if (k && memcmp(got, want, n * sizeof *got) != 0) wrong = "other logits";
            if (way[k].host.copy ? !plan.weight_bytes || plan.mapped_bytes
                                 : plan.weight_bytes || !plan.mapped_bytes)
                wrong = "the plan has the weights elsewhere";
            const uint64_t now = pages_locked_bytes() - locked;
            if (may && way[k].host.lock ? now < plan.weight_bytes + plan.mapped_bytes : now != 0)
                wrong = "what is locked";
            rig_close(&r);
            if (pages_locked_bytes() != locked) wrong = "locked for ever";
            if (wrong) fail_msg("%s, %s: %s", backend_shape[i].arch, way[k].what, wrong);
        }
        tiny_close(&m);
        free(want);
        free(got);
    }
}

static void loading_stops(void **state)
{
    static const struct backend_host way[] = {{0}, {.copy = true}, {.copy = true, .lock = true}};
    struct tiny_model m;
    tiny_open(&m, &backend_shape[SHAPE_LLAMA], 1);
    for (size_t k = 0; k < COUNT_OF(way); k++) {
        const struct backend_options bo = {.n_thread = 1, .host = way[k]};
        struct backend *b;
        struct backend_model *loaded;
        struct counts c = {.stop = true};
        struct error e = {0};
        rig_check(backend_cpu.open(&b, &bo, &e), &e);
        assert_int_equal(backend_cpu.load(&loaded, b, model_desc(m.model), &limits, count_progress, &c, &e),
                         ERR_CANCELLED);
        assert_null(loaded);
        assert_int_equal(c.n_call, 1);
        backend_cpu.close(b);
    }
    tiny_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(wherever_they_lie), cmocka_unit_test(loading_stops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
