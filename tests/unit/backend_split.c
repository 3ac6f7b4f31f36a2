/* One model on several devices: the same bits as on one, wherever it is cut; blocks, draws, hidden rows and
 * plans over all parts; how layers are divided by memory; what is refused, and which device an error names.
 */
#include <dirent.h>

#include "backend/kv_layout.h"
#include "format/gguf.h"
#include "support/backend_shapes.h"

enum { N_TOK = 37, N_LAYER = 4 };

/* A table as any other for what opens backends by themselves: the shares are put in. */
static struct backend_options injected;
static status open_injected(struct backend **out, const struct backend_options *o, struct error *e)
{
    struct backend_options with = injected;
    with.n_thread = o->n_thread;
    return backend_split(with.share, with.n_share)->open(out, &with, e);
}
/* The simulator stands for the card that $CORRAL_GPU names; where there are fewer of them, one is named
 * twice. */
static const struct backend_api *card = &backend_sim;
static const struct backend_api *split_of(const struct backend_share *share)
{
    static struct backend_share on[BACKEND_MAX_SHARES];
    static struct backend_api api;
    struct error e;
    uint32_t n = 0;
    for (; n < BACKEND_MAX_SHARES && share[n].api; n++) {
        on[n] = share[n];
        if (on[n].api != &backend_sim || card == &backend_sim) continue;
        on[n].api = card;
        on[n].device = MIN(on[n].device, card->count(&e) - 1);
    }
    injected = (struct backend_options){.share = on, .n_share = n};
    api = *backend_split(on, n);
    api.open = open_injected;
    return &api;
}

#define CPU(n)                                                                                               \
    {                                                                                                        \
        &backend_cpu, 0, n                                                                                   \
    }
#define REF(n)                                                                                               \
    {                                                                                                        \
        &backend_ref, 0, n                                                                                   \
    }
#define SIM(i, n)                                                                                            \
    {                                                                                                        \
        &backend_sim, i, n                                                                                   \
    }
typedef struct backend_share shares[BACKEND_MAX_SHARES + 1];

static bool have_card(void)
{
    struct error e;
    return card->count(&e) > 0;
}

static bool have_sim(void)
{
    struct error e;
    return backend_sim.count(&e) > 0;
}

static void compare(const struct backend_api *one, const struct backend_share *parts,
                    const struct model_desc *m, const struct tiny_shape *s, uint32_t chunk)
{
    struct rig a, b;
    int32_t token[N_TOK];
    uint32_t block[N_BLOCK];
    const size_t n = (size_t)N_TOK * m->cfg.n_vocab;
    char what[64];
    float *want = mem_zalloc(n, sizeof *want), *got = mem_zalloc(n, sizeof *got);
    random_tokens(token, N_TOK, m->cfg.n_vocab, 5);
    scatter(block, N_BLOCK, 5, 7);
    rig_open(&a, one, m, DT_F16, 2, N_BLOCK);
    rig_open(&b, split_of(parts), m, DT_F16, 2, N_BLOCK);
    rig_logits(&a, token, N_TOK, chunk, block, want);
    rig_logits(&b, token, N_TOK, chunk, block, got);
    snprintf(what, sizeof what, "in parts, the first of %u layers, %u tokens a step", parts[0].n_layer,
             chunk);
    same_bits(got, want, n, s, what);
    rig_close(&a);
    rig_close(&b);
    free(want);
    free(got);
}

/* A shape of the table with more layers. */
static struct tiny_shape deep(size_t i, uint32_t n_layer)
{
    struct tiny_shape s = backend_shape[i];
    s.n_layer = n_layer;
    return s;
}

static void cuts_do_not_matter(void **state)
{
    static const shares cut[] = {
        {CPU(1), CPU(3)}, {CPU(2), CPU(1), CPU(1)}, {CPU(3), CPU(0)}, {CPU(0), CPU(0)}, {CPU(4)}};
    for (size_t i = 0; i < COUNT_OF(backend_shape); i++) {
        const struct tiny_shape s = deep(i, N_LAYER);
        struct tiny_model t;
        tiny_open(&t, &s, 11 + i);
        for (size_t k = 0; k < COUNT_OF(cut); k++)
            compare(&backend_cpu, cut[k], model_desc(t.model), &s, k % 2 ? 7 : N_TOK);
        compare(&backend_ref, (shares){REF(1), REF(2), REF(1)}, model_desc(t.model), &s, 16);
        tiny_close(&t);
    }
}

static void company_does_not_matter(void **state)
{
    static const size_t shape[] = {SHAPE_BIASED, SHAPE_QWEN3MOE, SHAPE_GEMMA2};
    static const shares parts = {CPU(1), CPU(1), CPU(1)};
    for (size_t i = 0; i < COUNT_OF(shape); i++) {
        const struct tiny_shape s = deep(shape[i], 3);
        batched_as_alone(split_of(parts), &s, 2, 60, 31 + i);
    }
}

/* Two devices are as one; with the CPU they are close to the reference. */
static void two_devices(void **state)
{
    static const size_t shape[] = {SHAPE_BIASED, SHAPE_QWEN2MOE, SHAPE_GEMMA2};
    static const shares parts[] = {{SIM(0, 1), SIM(1, 2)}, {SIM(1, 2), SIM(0, 1)}, {SIM(0, 1), SIM(0, 2)}};
    if (!have_card()) skip();
    setenv("CORRAL_SIM_DEVICES", "2", 1);
    for (size_t i = 0; i < COUNT_OF(shape); i++) {
        const struct tiny_shape s = deep(shape[i], 3);
        const size_t n = (size_t)N_TOK * s.n_vocab;
        struct tiny_model t;
        struct rig r, g;
        int32_t token[N_TOK];
        uint32_t block[N_BLOCK];
        float *want = mem_zalloc(n, sizeof *want), *got = mem_zalloc(n, sizeof *got);
        tiny_open(&t, &s, 21 + i);
        compare(card, parts[i], model_desc(t.model), &s, i ? 33 : 1);
        random_tokens(token, N_TOK, s.n_vocab, i);
        scatter(block, N_BLOCK, 2, 3);
        rig_open(&r, &backend_ref, model_desc(t.model), DT_F16, 1, N_BLOCK);
        rig_open(&g, split_of((shares){SIM(1, 1), CPU(1), SIM(0, 1)}), model_desc(t.model), DT_F16, 1,
                 N_BLOCK);
        rig_logits(&r, token, N_TOK, N_TOK, block, want);
        rig_logits(&g, token, N_TOK, 13, block, got);
        const double err = nmse(got, want, n), limit = s.type == DT_F32 ? 1e-6 : 2e-4;
        if (!(err < limit)) fail_msg("%s: NMSE %g", s.arch, err);
        rig_close(&r);
        rig_close(&g);
        tiny_close(&t);
        free(want);
        free(got);
    }
    unsetenv("CORRAL_SIM_DEVICES");
}

/* The last device draws, as it would alone. */
static void tokens_are_drawn(void **state)
{
    static const shares parts = {CPU(1), SIM(0, 1)}, other = {SIM(0, 1), CPU(1)};
    static const struct sample_program best = {.greedy = true, .n_top = 3, .report = true};
    const struct tiny_shape *s = &backend_shape[SHAPE_LLAMA];
    struct tiny_model t;
    struct rig r;
    struct error e;
    int32_t token[2 * N_TOK], drawn = -1;
    uint32_t block[2][3] = {{4, 5, 6}, {9, 8, 7}};
    float logits[2 * 101], *to = logits;
    if (!have_card()) skip();
    assert_true(backend_split(parts, 2)->draws);
    assert_false(backend_split(other, 2)->draws);
    tiny_open(&t, s, 5);
    random_tokens(token, 2 * N_TOK, s->n_vocab, 8);
    rig_open(&r, split_of(parts), model_desc(t.model), DT_F16, 1, N_BLOCK);
    struct batch_seq seq[2];
    for (int i = 0; i < 2; i++)
        seq[i] = (struct batch_seq){
            .token = token + i * N_TOK, .n_token = N_TOK, .block = block[i], .n_block = 3, .n_logits = 1};
    rig_step(&r, seq, 2, &to);
    for (int32_t i = 0; i < 101; i++)
        if (drawn < 0 || logits[101 + i] > logits[101 + drawn]) drawn = i;
    seq[1].draw = &best;
    struct batch b = {seq, 2};
    struct step_result res;
    uint64_t ticket, second;
    rig_check(r.api->step(r.m, r.kv, &b, &ticket, &e), &e);
    assert_int_equal(r.api->step(r.m, r.kv, &b, &second, &e), ERR_BUSY);
    assert_int_equal(r.api->wait(r.m, ticket + 1, &res, &e), ERR_ARG);
    rig_check(r.api->wait(r.m, ticket, &res, &e), &e);
    assert_int_equal(res.n_drawn, 1);
    assert_int_equal(res.drawn[0].token, drawn);
    assert_memory_equal(res.logits, logits, 101 * sizeof *logits);
    assert_int_equal(r.api->wait(r.m, ticket, &res, &e), ERR_ARG);
    rig_close(&r);
    tiny_close(&t);
}

/* Hidden rows as from one device, and a sequence goes on from blocks that were copied, or kept in host
 * memory. */
static void rows_and_blocks(void **state)
{
    static const shares parts = {CPU(2), CPU(1), CPU(1)};
    const struct tiny_shape s = deep(SHAPE_GEMMA2, N_LAYER);
    struct tiny_model t;
    struct rig r[2];
    struct error e;
    int32_t token[40];
    uint32_t first[3] = {0, 1, 2}, second[3] = {7, 8, 9};
    float hidden[2][5 * 32], logits[2][64];
    tiny_open(&t, &s, 3);
    random_tokens(token, 40, s.n_vocab, 9);
    rig_open(&r[0], &backend_cpu, model_desc(t.model), DT_F16, 2, N_BLOCK);
    rig_open(&r[1], split_of(parts), model_desc(t.model), DT_F16, 2, N_BLOCK);
    for (int i = 0; i < 2; i++) {
        struct batch_seq prompt = {
            .token = token, .n_token = 39, .block = first, .n_block = 3, .n_hidden = 5};
        struct batch_seq last = {
            .token = token + 39, .n_token = 1, .pos = 39, .block = first, .n_block = 3, .n_logits = 1};
        struct batch b = {&prompt, 1};
        struct step_result res;
        uint64_t ticket;
        rig_check(r[i].api->step(r[i].m, r[i].kv, &b, &ticket, &e), &e);
        rig_check(r[i].api->wait(r[i].m, ticket, &res, &e), &e);
        assert_int_equal(res.n_hidden, 5);
        memcpy(hidden[i], res.hidden, sizeof hidden[i]);
        float *to = logits[i];
        if (i == 1) {
            static const struct kv_copy copies[] = {{0, 7}, {1, 8}};
            const struct backend_limits l = {
                .max_tokens = 1, .max_seqs = 1, .max_logits = 1, .max_context = 16, .kv_type = DT_F16};
            struct backend_plan plan;
            assert_int_equal(r[1].api->kv_copy(r[1].kv, copies, 2, &e), OK);
            assert_int_equal(r[1].api->plan(r[1].b, model_desc(t.model), &l, &plan, &e), OK);
            uint8_t *host = mem_alloc(plan.kv_block_bytes + 1);
            host[plan.kv_block_bytes] = 77;
            assert_int_equal(r[1].api->kv_read(r[1].kv, 2, host, &e), OK);
            assert_int_equal(r[1].api->kv_write(r[1].kv, 9, host, &e), OK);
            assert_int_equal(host[plan.kv_block_bytes], 77);
            assert_int_equal(r[1].api->kv_read(r[1].kv, N_BLOCK, host, &e), ERR_ARG);
            assert_non_null(strstr(e.msg, "layers 0 to 1 on cpu: no KV block 64"));
            free(host);
            last.block = second;
        }
        rig_step(&r[i], &last, 1, &to);
    }
    /* All parts' work under the names of one. */
    struct backend_stage stage[2][32];
    size_t n[2];
    for (int i = 0; i < 2; i++) n[i] = r[i].api->profile(r[i].m, stage[i], COUNT_OF(stage[i]));
    for (size_t k = 0; k < n[0]; k++) {
        size_t at = 0;
        while (at < n[1] && strcmp(stage[1][at].name, stage[0][k].name) != 0) at++;
        if (at == n[1] || stage[1][at].count < stage[0][k].count) fail_msg("stage %s", stage[0][k].name);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(hidden[1], hidden[0], sizeof hidden[0]);
    assert_memory_equal(logits[1], logits[0], sizeof logits[0]);
    rig_close(&r[0]);
    rig_close(&r[1]);
    tiny_close(&t);
}

/* Layers [from, from + n) as backend_weigh says, against the plan of the slice; and the parts' sum is the
 * plan. */
static void bytes_of_every_cut(void **state)
{
    const struct backend_limits l = {
        .max_tokens = 32, .max_seqs = 2, .max_logits = 4, .max_context = 64, .kv_type = DT_F16};
    const struct backend_options plan_only = {.device = BACKEND_NO_DEVICE, .n_thread = 1};
    struct error e = {0};
    for (size_t i = 0; i < COUNT_OF(backend_shape) * backend_count(); i++) {
        const struct backend_api *api = backend_at(i % backend_count());
        const struct tiny_shape s = deep(i / backend_count(), N_LAYER);
        struct tiny_model t;
        struct backend *b;
        struct backend_weights w;
        tiny_open(&t, &s, i);
        const struct model_desc *m = model_desc(t.model);
        if (api->open(&b, &plan_only, &e) != OK) {
            tiny_close(&t);
            continue; /* not built */
        }
        if (backend_weigh(&w, api, b, m, &l, &e) != OK) fail_msg("%s", e.msg);
        assert_int_equal(w.tied_bytes != 0, s.tied);
        for (uint32_t from = 0; from < N_LAYER; from++)
            for (uint32_t n = 1; from + n <= N_LAYER; n++) {
                struct backend_plan plan;
                struct model_desc slice;
                const bool last = from + n == N_LAYER;
                uint64_t sum = w.each_bytes + (from ? 0 : w.first_bytes) + (last ? w.last_bytes : 0) +
                               (last && from ? w.tied_bytes : 0);
                for (uint32_t k = from; k < from + n; k++) sum += w.layer_bytes[k];
                model_slice_init(&slice, m, model_part(m, from, n));
                assert_int_equal(api->plan(b, &slice, &l, &plan, &e), OK);
                model_slice_deinit(&slice);
                if (sum != plan.weight_bytes + plan.mapped_bytes)
                    fail_msg("%s on %s, layers %u to %u: %llu, planned %zu", s.arch, api->name, from,
                             from + n - 1, (unsigned long long)sum, plan.weight_bytes + plan.mapped_bytes);
            }
        backend_weights_deinit(&w);
        api->close(b);
        tiny_close(&t);
    }
}

/* How many layers each share gets. */
static status divided(uint32_t n_layer[BACKEND_MAX_SHARES], uint32_t *n, const struct backend_share *share,
                      const struct model_desc *m, const struct backend_limits *l, uint64_t kv_bytes,
                      struct error *e)
{
    const struct backend_api *api = split_of(share);
    struct backend_options o = injected;
    struct backend_part part[BACKEND_MAX_SHARES];
    struct backend_plan plan;
    struct backend *b;
    o.n_thread = 1;
    o.kv_bytes = kv_bytes;
    TRY(backend_split(o.share, o.n_share)->open(&b, &o, e));
    status s = backend_parts(api, b, 0, m, l, part, n, e);
    if (s == OK) s = api->plan(b, m, l, &plan, e);
    for (uint32_t i = 0; i < *n && s == OK; i++) {
        n_layer[i] = part[i].on.n_layer;
        plan.weight_bytes -= part[i].plan.weight_bytes;
        plan.mapped_bytes -= part[i].plan.mapped_bytes;
        plan.scratch_bytes -= part[i].plan.scratch_bytes;
        plan.kv_block_bytes -= part[i].plan.kv_block_bytes;
    }
    if (s == OK && (plan.weight_bytes || plan.mapped_bytes || plan.scratch_bytes || plan.kv_block_bytes))
        fail_msg("the parts' plans are not the whole's");
    api->close(b);
    return s;
}

enum { DEEP = 12, PLENTY = 100 };
static const struct backend_limits division_limits = {
    .max_tokens = 32, .max_seqs = 4, .max_logits = 4, .max_context = 128, .kv_type = DT_F16};

/* Memory of a device that has room for the first n layers and no more, with so much KV cache (0: for one
 * sequence). */
static void give_memory(const struct model_desc *m, uint32_t n, uint64_t kv_bytes)
{
    const struct backend_options plan_only = {.device = BACKEND_NO_DEVICE};
    struct backend_weights w;
    struct backend_plan plan;
    struct backend *b;
    struct error e;
    char text[32];
    assert_int_equal(backend_sim.open(&b, &plan_only, &e), OK);
    assert_int_equal(backend_sim.plan(b, m, &division_limits, &plan, &e), OK);
    assert_int_equal(backend_weigh(&w, &backend_sim, b, m, &division_limits, &e), OK);
    const uint64_t n_block = kv_bytes ? kv_bytes / plan.kv_block_bytes : 128 / KV_BLOCK_TOKENS;
    uint64_t sum = w.each_bytes + w.first_bytes + plan.scratch_bytes;
    for (uint32_t i = 0; i < n && i < DEEP; i++)
        sum += w.layer_bytes[i] + n_block * plan.kv_block_bytes / DEEP;
    backend_weights_deinit(&w);
    backend_sim.close(b);
    snprintf(text, sizeof text, "%llu", n == PLENTY ? 1ull << 30 : (unsigned long long)(sum * 16 / 15 + 16));
    setenv("CORRAL_SIM_MEMORY", text, 1);
}

static void layers_are_divided(void **state)
{
    static const struct {
        shares of;
        uint32_t holds; /* layers, each simulated device */
        uint64_t kv_bytes;
        uint32_t n, n_layer[3];
        const char *refused;
    } cases[] = {
        {{CPU(2), CPU(10)}, PLENTY, 0, 2, {2, 10}, NULL},
        {{CPU(2), CPU(0), CPU(3)}, PLENTY, 0, 3, {2, 7, 3}, NULL},
        {{CPU(11), CPU(0)}, PLENTY, 0, 2, {11, 1}, NULL},
        {{CPU(0), CPU(0), CPU(0)}, PLENTY, 0, 3, {4, 4, 4}, NULL},
        {{SIM(0, 0), SIM(1, 0)}, PLENTY, 0, 2, {6, 6}, NULL},
        {{SIM(0, 0), SIM(1, 0), CPU(6)}, PLENTY, 0, 3, {3, 3, 6}, NULL},
        {{SIM(0, 0), CPU(0)}, PLENTY, 0, 1, {12}, NULL}, /* all has room */
        {{SIM(0, 0), CPU(0)}, 8, 0, 2, {8, 4}, NULL},
        {{SIM(0, 0), CPU(0)}, 1, 0, 2, {1, 11}, NULL},
        {{SIM(0, 0), CPU(0)}, 5, 2000000, 2, {5, 7}, NULL},
        {{SIM(0, 0), CPU(0), CPU(0)}, 7, 0, 3, {7, 3, 2}, NULL},
        {{SIM(0, 0), SIM(1, 0), CPU(0)}, 4, 0, 3, {4, 4, 4}, NULL},
        {{CPU(2), CPU(9)}, PLENTY, 0, 0, {0}, "the devices are given 11 layers, the model has 12"},
        {{CPU(2), CPU(11)}, PLENTY, 0, 0, {0}, "the devices are given 13 layers, the model has 12"},
        {{CPU(12), CPU(0)}, PLENTY, 0, 0, {0}, "12 layers: 12 are given, and none is left"},
        {{CPU(16384), CPU(16384), CPU(0)}, PLENTY, 0, 0, {0}, "32768 are given"},
        {{SIM(0, 0), CPU(0)}, 0, 0, 0, {0}, "no room for a layer each"},
        {{SIM(0, 2), SIM(2, 10)}, PLENTY, 0, 0, {0}, "sim:2: sim: there is no device 2: 2 of them"},
        {{CPU(0), CPU(0), CPU(0), CPU(0), CPU(0), CPU(0), CPU(0), CPU(0), CPU(0), CPU(0), CPU(0), CPU(0),
          CPU(0)},
         PLENTY,
         0,
         0,
         {0},
         "12 layers: 0 are given, and none is left for each of 13"},
    };
    const struct tiny_shape s = deep(SHAPE_TIED, DEEP);
    struct tiny_model t;
    tiny_open(&t, &s, 9);
    setenv("CORRAL_SIM_DEVICES", "2", 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint32_t n_layer[BACKEND_MAX_SHARES] = {0}, n = 0;
        struct error e = {0};
        const bool sim = cases[i].of[0].api == &backend_sim;
        if (sim && !have_sim()) continue;
        if (sim) give_memory(model_desc(t.model), cases[i].holds, cases[i].kv_bytes);
        status st =
            divided(n_layer, &n, cases[i].of, model_desc(t.model), &division_limits, cases[i].kv_bytes, &e);
        if (cases[i].refused) {
            if (st == OK || !strstr(e.msg, cases[i].refused))
                fail_msg("case %zu: \"%s\" does not say \"%s\"", i, e.msg, cases[i].refused);
            continue;
        }
        if (st != OK) fail_msg("case %zu: %s", i, e.msg);
        if (n != cases[i].n || memcmp(n_layer, cases[i].n_layer, n * sizeof *n_layer) != 0)
            fail_msg("case %zu: %u parts: %u, %u, %u layers", i, n, n_layer[0], n_layer[1], n_layer[2]);
    }
    unsetenv("CORRAL_SIM_MEMORY");
    unsetenv("CORRAL_SIM_DEVICES");
    tiny_close(&t);
}

static bool count_progress(void *user, size_t done, size_t total)
{
    size_t *last = user;
    if (done <= *last || done > total) fail_msg("progress went from %zu to %zu of %zu", *last, done, total);
    *last = done == total ? SIZE_MAX : done;
    return true;
}

static bool stop_at_half(void *user, size_t done, size_t total)
{
    return done < total / 2;
}

static void loading(void **state)
{
    static const shares on_cpu = {CPU(1), CPU(1)}, on_sim = {SIM(0, 1), SIM(1, 1)};
    const struct backend_limits l = {
        .max_tokens = 32, .max_seqs = 2, .max_logits = 4, .max_context = 64, .kv_type = DT_F16};
    struct tiny_model t;
    struct error e = {0};
    tiny_open(&t, &backend_shape[SHAPE_BIASED], 5);
    for (int sim = 0; sim <= have_sim(); sim++) {
        struct backend *b;
        struct backend_model *bm;
        struct backend_kv *kv;
        struct backend_part part[BACKEND_MAX_SHARES];
        uint32_t n;
        size_t last = 0;
        char text[32];
        setenv("CORRAL_SIM_DEVICES", "2", 1);
        const struct backend_api *api = split_of(sim ? on_sim : on_cpu);
        assert_int_equal(api->open(&b, &(struct backend_options){.n_thread = 1}, &e), OK);
        assert_int_equal(api->load(&bm, b, model_desc(t.model), &l, count_progress, &last, &e), OK);
        assert_true(last == SIZE_MAX);
        api->unload(bm);
        assert_int_equal(api->load(&bm, b, model_desc(t.model), &l, stop_at_half, NULL, &e), ERR_CANCELLED);
        assert_null(bm);
        assert_int_equal(backend_parts(api, b, 0, model_desc(t.model), &l, part, &n, &e), OK);
        api->close(b);
        if (!sim) continue;
        /* Memory for the first part, which is smaller, and not for the second; for both, and not for the
         * cache. */
        assert_true(part[0].plan.weight_bytes < part[1].plan.weight_bytes);
        for (size_t room = 0; room <= 8 << 20; room += 8 << 20) {
            snprintf(text, sizeof text, "%zu",
                     room +
                         MAX(part[0].plan.weight_bytes + part[0].plan.scratch_bytes,
                             part[1].plan.weight_bytes + part[1].plan.scratch_bytes) -
                         1);
            setenv("CORRAL_SIM_MEMORY", text, 1);
            assert_int_equal(api->open(&b, &(struct backend_options){.n_thread = 1}, &e), OK);
            status s = api->load(&bm, b, model_desc(t.model), &l, NULL, NULL, &e);
            if (s == OK) s = api->kv_open(&kv, bm, 1 << 20, &e);
            if (s != ERR_MEMORY ||
                !strstr(e.msg, room ? "layers 0 to 0 on sim:0: sim: the blocks" : "on sim:"))
                fail_msg("%zu: %d %s", room, s, e.msg);
            api->unload(bm);
            api->close(b);
        }
        unsetenv("CORRAL_SIM_MEMORY");
    }
    unsetenv("CORRAL_SIM_DEVICES");
    tiny_close(&t);
}

/* A device that fails in the middle says which one it was. */
static void a_lost_device(void **state)
{
    static const shares parts = {CPU(1), SIM(0, 1)};
    struct tiny_model t;
    struct rig r;
    struct error e = {0};
    static const int32_t token[] = {1, 2, 3};
    static const uint32_t block[] = {0};
    if (!have_sim()) skip();
    tiny_open(&t, &backend_shape[SHAPE_LLAMA], 5);
    setenv("CORRAL_SIM_FAIL", "2", 1); /* the first time is loading */
    rig_open(&r, split_of(parts), model_desc(t.model), DT_F16, 1, N_BLOCK);
    unsetenv("CORRAL_SIM_FAIL");
    const struct batch_seq seq = {.token = token, .n_token = 3, .block = block, .n_block = 1, .n_logits = 1};
    struct step_result res;
    uint64_t ticket;
    assert_int_equal(r.api->step(r.m, r.kv, &(struct batch){&seq, 1}, &ticket, &e), OK);
    assert_int_equal(r.api->wait(r.m, ticket, &res, &e), ERR_DEVICE);
    if (!strstr(e.msg, "layers 1 to 1 on sim:0: sim: running")) fail_msg("%s", e.msg);
    rig_close(&r);
    tiny_close(&t);
}

/* What a slice wants of a batch, and what a whole model does not want. */
static void rows_where_they_belong(void **state)
{
    static const int32_t token[] = {1, 2, 3};
    static const uint32_t block[] = {0};
    static const float rows[3 * 40];
    struct tiny_model t;
    tiny_open(&t, &backend_shape[SHAPE_LLAMA], 5);
    const struct model_desc *m = model_desc(t.model);
    for (size_t k = 0; k < backend_count(); k++) {
        const struct backend_api *api = backend_at(k);
        struct error e;
        if (api->count(&e) <= 0) continue;
        for (uint32_t layer = 0; layer < 2; layer++) {
            const struct batch_seq seq = {.token = token, .n_token = 3, .block = block, .n_block = 1};
            struct batch_seq wrong[2] = {seq, seq};
            const char *says[2] = {"begins with tokens", "without an output"};
            struct model_desc slice;
            struct rig r;
            uint64_t ticket;
            wrong[0].input = rows;
            wrong[1].n_logits = 1;
            if (layer == 1) {
                wrong[0].input = NULL;
                says[0] = "the model has no embedding";
            }
            model_slice_init(&slice, m, model_part(m, layer, 1));
            rig_open(&r, api, &slice, DT_F16, 1, N_BLOCK);
            for (uint32_t i = 0; i < 2 - layer; i++) {
                const struct batch b = {&wrong[i], 1};
                assert_int_equal(api->step(r.m, r.kv, &b, &ticket, &e), ERR_ARG);
                if (!strstr(e.msg, says[i])) fail_msg("%s: %s", api->name, e.msg);
            }
            rig_close(&r);
            model_slice_deinit(&slice);
        }
    }
    tiny_close(&t);
}

/* One step of three sequences on a slice; what comes back is appended at *to. */
static void step_of(struct rig *r, struct batch_seq *seq, const uint32_t *n_hidden, const uint32_t *n_logits,
                    float *to)
{
    struct step_result res;
    struct error e = {0};
    uint64_t ticket;
    for (int i = 0; i < 3; i++) {
        seq[i].n_hidden = n_hidden[i];
        seq[i].n_logits = n_logits[i];
    }
    rig_check(r->api->step(r->m, r->kv, &(struct batch){seq, 3}, &ticket, &e), &e);
    rig_check(r->api->wait(r->m, ticket, &res, &e), &e);
    assert_int_equal(res.n_hidden, n_hidden[0] + n_hidden[1] + n_hidden[2]);
    assert_int_equal(res.n_row, n_logits[0] + n_logits[1] + n_logits[2]);
    if (res.n_hidden) memcpy(to, res.hidden, res.n_hidden * 40 * sizeof *to);
    if (res.n_row) memcpy(to, res.logits, res.n_row * 101 * sizeof *to);
}

/* Some of the rows that a slice ends with, and rows from different places to begin with: as all of them, from
 * one. */
static void some_rows(void **state)
{
    static const uint32_t n_token[] = {3, 5, 2}, none[3] = {0},
                          wanted[][3] = {{3, 5, 2}, {2, 0, 1}, {0, 5, 2}, {3, 1, 0}};
    static const int32_t token[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    static const uint32_t block[] = {0, 1, 2};
    struct tiny_model t;
    tiny_open(&t, &backend_shape[SHAPE_LLAMA], 5);
    for (size_t k = 0; k < backend_count(); k++) {
        static float all[10 * 40], some[10 * 40], apart[3][5 * 40], logits[2][10 * 101];
        struct batch_seq seq[3];
        struct model_desc slice[2];
        struct rig r[2];
        struct error e;
        uint32_t at[4] = {0};
        if (backend_at(k)->count(&e) <= 0) continue;
        for (uint32_t i = 0; i < 2; i++) {
            model_slice_init(&slice[i], model_desc(t.model), model_part(model_desc(t.model), i, 1));
            rig_open(&r[i], backend_at(k), &slice[i], DT_F16, 1, N_BLOCK);
        }
        for (uint32_t i = 0; i < 3; i++) {
            seq[i] = (struct batch_seq){
                .token = token + at[i], .n_token = n_token[i], .block = &block[i], .n_block = 1};
            at[i + 1] = at[i] + n_token[i];
        }
        for (size_t w = 0; w < COUNT_OF(wanted); w++) {
            const float *from = some;
            step_of(&r[0], seq, wanted[w], none, w ? some : all);
            for (uint32_t i = 0; i < 3 && w; from += wanted[w][i++] * 40)
                if (memcmp(from, all + (at[i + 1] - wanted[w][i]) * 40, wanted[w][i] * 40 * sizeof *from) !=
                    0)
                    fail_msg("%s, rows of case %zu, sequence %u", backend_at(k)->name, w, i);
        }
        for (uint32_t i = 0; i < 3; i++) seq[i].input = all + at[i] * 40;
        step_of(&r[1], seq, none, n_token, logits[0]);
        for (uint32_t i = 0; i < 3; i++)
            seq[i].input = memcpy(apart[i], all + at[i] * 40, n_token[i] * 40 * sizeof *all);
        step_of(&r[1], seq, none, n_token, logits[1]);
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
        for (uint32_t i = 0; i < 2; i++) {
            rig_close(&r[i]);
            model_slice_deinit(&slice[i]);
        }
    }
    tiny_close(&t);
}

/* Every model of ../shared/golden/arch and stories260K, in two parts and in three. */
static void real_models(void **state)
{
    static const char *const folder[] = {"golden/arch", "models"};
    const char *shared = getenv("CORRAL_SHARED");
    uint32_t n_seen = 0;
    for (size_t i = 0; shared && i < COUNT_OF(folder); i++) {
        char path[600];
        struct dirent *d;
        snprintf(path, sizeof path, "%.255s/%s", shared, folder[i]);
        DIR *dir = opendir(path);
        while (dir && (d = readdir(dir))) {
            char file[900];
            struct gguf *g = NULL;
            struct model *m = NULL;
            struct error e;
            const size_t len = strlen(d->d_name);
            if (len < 6 || strcmp(d->d_name + len - 5, ".gguf") != 0) continue;
            snprintf(file, sizeof file, "%s/%s", path, d->d_name);
            if (gguf_open(&g, file, NULL, &e) != OK || model_new(&m, g, NULL, &e) != OK)
                fail_msg("%s: %s", file, e.msg);
            const struct tiny_shape s = {.arch = d->d_name, .type = DT_F32};
            const uint32_t n = model_desc(m)->cfg.n_layer;
            compare(&backend_cpu, (shares){CPU(1), CPU(n - 1)}, model_desc(m), &s, 16);
            if (n > 2) compare(&backend_cpu, (shares){CPU(1), CPU(n - 2), CPU(1)}, model_desc(m), &s, N_TOK);
            model_free(m);
            gguf_close(g);
            n_seen++;
        }
        if (dir) closedir(dir);
    }
    if (!n_seen) {
        puts("skipped: no ../shared (set CORRAL_SHARED)");
        skip();
    }
    assert_true(n_seen >= 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_do_not_matter), cmocka_unit_test(company_does_not_matter),
        cmocka_unit_test(two_devices),        cmocka_unit_test(tokens_are_drawn),
        cmocka_unit_test(rows_and_blocks),    cmocka_unit_test(bytes_of_every_cut),
        cmocka_unit_test(layers_are_divided), cmocka_unit_test(loading),
        cmocka_unit_test(a_lost_device),      cmocka_unit_test(rows_where_they_belong),
        cmocka_unit_test(some_rows),          cmocka_unit_test(real_models),
    };
    const struct CMUnitTest on_card[] = {cmocka_unit_test(two_devices), cmocka_unit_test(tokens_are_drawn),
                                         cmocka_unit_test(some_rows)};
    const char *name = getenv("CORRAL_GPU");
    struct error e;
    if (name && backend_find(&card, name, &e) != OK) return 2;
    if (name && card != &backend_sim) return have_card() ? cmocka_run_group_tests(on_card, NULL, NULL) : 2;
    if (!have_sim()) puts("skipped: what needs the simulated device (it is not built)");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
