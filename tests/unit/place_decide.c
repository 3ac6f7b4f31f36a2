/* Where models go: the requirement's scenarios and the order of preference, one row each; the smallest set of
 * devices against all sets in all orders; what the decision says, as text and JSON. */
#include <jansson.h>

#include "base/rng.h"
#include "support/place_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static void *expect(bool ok, const char *scenario, const char *what)
{
    if (!ok) fail_msg("%s: %s", scenario, what);
    return NULL;
}

/* --- scenarios --- */

enum { N_GPU = 4, N_RESIDENT = 4, ALL = -1 };

struct scenario {
    const char *name, *strategy;
    struct toy_device gpu[N_GPU];
    uint32_t host; /* MiB; 0: not observed */
    struct toy model;
    bool no_gpu_plan, cpu_plan;
    bool allow_cpu, allow_evict, allow_drain;
    uint32_t min_sequences, min_context;
    const char *affinity;
    struct {
        uint32_t gpu, mib; /* gpu 99: on the host */
        int64_t idle_s, reload_s;
        bool pinned, busy;
    } resident[N_RESIDENT];
    /* what must come of it */
    enum place_way way;
    const char *devices; /* their numbers, in the order of layers: "0", "12"; "h" is the host */
    uint32_t sequences, context;
    const char *evict; /* numbers of residents */
    enum place_code says;
};

// clang-format off
/* 10 layers of 100 MiB, 10 MiB of KV in each per 1024 tokens: weights 1000, embedding 100, output 100, scratch 50, overhead 50.
 * At 2 x 4096 tokens the KV is 800 MiB: 2100 in all; at 1 x 4096 400: 1700; at 1 x 1024 100: 1400. */
#define MODEL .layers = 10, .weight = 100, .kv = 10, .first = 100, .last = 100, .scratch = 50, .overhead = 50, .parallel = 2, .context = 4096
static const struct scenario scenarios[] = {
    /* The requirement's four */
    {"fits one", NULL, {{.total = 4000}, {.total = 4000}}, 0, {MODEL}, .way = PLACE_ONE, .devices = "0", .sequences = 2, .context = 4096, .says = PLACE_SAYS_FITS},
    {"needs several", NULL, {{.total = 1500}, {.total = 1500}}, 0, {MODEL, .max_devices = 8}, .way = PLACE_SET, .devices = "01", .sequences = 2, .context = 4096, .says = PLACE_SAYS_SET},
    {"insufficient", NULL, {{.total = 1000}, {.total = 1000}}, 0, {MODEL}, .way = PLACE_REFUSED, .devices = "", .says = PLACE_SAYS_LEAST},
    {"CPU only", NULL, {{.total = 0}}, 8000, {MODEL}, .cpu_plan = true, .allow_cpu = true, .way = PLACE_CPU, .devices = "h", .sequences = 2, .context = 4096, .says = PLACE_SAYS_NO_GPU},

    {"no device at all", NULL, {{.total = 0}}, 0, {MODEL}, .cpu_plan = true, .allow_cpu = true, .way = PLACE_REFUSED, .devices = "", .says = PLACE_SAYS_NO_GPU},
    {"the CPU is not asked for", NULL, {{.total = 1000}}, 8000, {MODEL}, .cpu_plan = true, .way = PLACE_REFUSED, .devices = "", .says = PLACE_SAYS_NO_CPU},
    {"no GPU backend: the CPU it is", NULL, {{.total = 4000}}, 8000, {MODEL}, .no_gpu_plan = true, .cpu_plan = true, .way = PLACE_CPU, .devices = "h", .sequences = 2, .context = 4096, .says = PLACE_SAYS_NO_GPU_PLAN},
    {"exactly full", NULL, {{.total = 2100}}, 0, {MODEL}, .way = PLACE_ONE, .devices = "0", .sequences = 2, .context = 4096, .says = PLACE_SAYS_FITS},
    {"others' memory counts", NULL, {{.total = 2100, .external = 1}}, 0, {MODEL}, .way = PLACE_ONE, .devices = "0", .sequences = 1, .context = 4096, .says = PLACE_SAYS_SEQUENCES},
    {"a lost card holds nothing", NULL, {{.total = 4000, .lost = true}, {.total = 2100}}, 0, {MODEL}, .way = PLACE_ONE, .devices = "1", .sequences = 2, .context = 4096, .says = PLACE_SAYS_LOST},

    /* Smaller ways to run it */
    {"fewer sequences", NULL, {{.total = 1800}}, 0, {MODEL}, .way = PLACE_ONE, .devices = "0", .sequences = 1, .context = 4096, .says = PLACE_SAYS_SEQUENCES},
    {"then less context", NULL, {{.total = 1450}}, 0, {MODEL}, .way = PLACE_ONE, .devices = "0", .sequences = 1, .context = 1024, .says = PLACE_SAYS_CONTEXT},
    {"never less than what was asked for", NULL, {{.total = 1450}}, 0, {MODEL}, .min_context = 4096, .way = PLACE_REFUSED, .devices = "", .says = PLACE_SAYS_LEAST},
    {"nor fewer", NULL, {{.total = 1800}}, 0, {MODEL}, .min_sequences = 2, .way = PLACE_REFUSED, .devices = "", .says = PLACE_SAYS_LEAST},
    {"a split before anything smaller", NULL, {{.total = 2000}, {.total = 1000}}, 0, {MODEL, .max_devices = 2}, .way = PLACE_SET, .devices = "01", .sequences = 2, .context = 4096, .says = PLACE_SAYS_SET},
    {"a backend that cannot split", NULL, {{.total = 1300}, {.total = 1300}}, 0, {MODEL}, .way = PLACE_REFUSED, .devices = "", .says = PLACE_SAYS_NO_SPLIT},
    {"the smallest set", NULL, {{.total = 900}, {.total = 1500}, {.total = 900}, {.total = 1500}}, 0, {MODEL, .max_devices = 4}, .way = PLACE_SET, .devices = "13", .sequences = 2, .context = 4096, .says = PLACE_SAYS_SET},
    {"a set of three", NULL, {{.total = 900}, {.total = 1000}, {.total = 900}, {.total = 300}}, 0, {MODEL, .max_devices = 4}, .way = PLACE_SET, .devices = "102", .sequences = 2, .context = 4096, .says = PLACE_SAYS_SET},

    /* Strategies */
    {"pack", "pack", {{.total = 4000}, {.total = 2500}, {.total = 8000}}, 0, {MODEL}, .way = PLACE_ONE, .devices = "1", .sequences = 2, .context = 4096, .says = PLACE_SAYS_FITS},
    {"spread", "spread", {{.total = 4000}, {.total = 2500}, {.total = 8000}}, 0, {MODEL}, .way = PLACE_ONE, .devices = "2", .sequences = 2, .context = 4096, .says = PLACE_SAYS_FITS},
    {"single: the card without models", "single-gpu-preferred", {{.total = 8000}, {.total = 9000}}, 0, {MODEL}, .resident = {{.gpu = 0, .mib = 100, .idle_s = 5, .reload_s = 5}}, .way = PLACE_ONE, .devices = "1", .sequences = 2, .context = 4096, .says = PLACE_SAYS_FITS},
    {"manual", "manual", {{.total = 4000}, {.total = 4000}, {.total = 8000}}, 0, {MODEL}, .affinity = "GPU-01", .way = PLACE_ONE, .devices = "1", .sequences = 2, .context = 4096, .says = PLACE_SAYS_NOT_NAMED},
    {"manual without a name", "manual", {{.total = 4000}}, 0, {MODEL}, .way = PLACE_REFUSED, .devices = "", .says = PLACE_SAYS_NO_AFFINITY},
    {"named, but there is none such", NULL, {{.total = 4000}}, 0, {MODEL}, .affinity = "GPU-77", .way = PLACE_REFUSED, .devices = "", .says = PLACE_SAYS_NO_SUCH},
    {"a beginning that means several", NULL, {{.total = 4000}, {.total = 4000}}, 0, {MODEL}, .affinity = "GPU-", .way = PLACE_ONE, .devices = "0", .sequences = 2, .context = 4096, .says = PLACE_SAYS_NO_SUCH},
    {"named: the host", NULL, {{.total = 4000}}, 8000, {MODEL}, .cpu_plan = true, .affinity = "host", .way = PLACE_CPU, .devices = "h", .sequences = 2, .context = 4096, .says = PLACE_SAYS_NOT_NAMED},

    /* Who leaves */
    {"nobody who need not", NULL, {{.total = 2000}, {.total = 4000}}, 0, {MODEL}, .allow_evict = true, .resident = {{.gpu = 0, .mib = 1500, .idle_s = 60, .reload_s = 5}}, .way = PLACE_ONE, .devices = "1", .sequences = 2, .context = 4096, .evict = "", .says = PLACE_SAYS_FITS},
    {"less before anybody leaves", NULL, {{.total = 2600}}, 0, {MODEL}, .allow_evict = true, .resident = {{.gpu = 0, .mib = 800, .idle_s = 60, .reload_s = 5}}, .way = PLACE_ONE, .devices = "0", .sequences = 1, .context = 4096, .evict = "", .says = PLACE_SAYS_SEQUENCES},
    {"the idle one, and all that was asked for", NULL, {{.total = 2200}}, 0, {MODEL}, .allow_evict = true, .resident = {{.gpu = 0, .mib = 1500, .idle_s = 60, .reload_s = 5}}, .way = PLACE_ONE, .devices = "0", .sequences = 2, .context = 4096, .evict = "0", .says = PLACE_SAYS_EVICT},
    {"the one that has idled longer", NULL, {{.total = 2200}, {.total = 2200}}, 0, {MODEL}, .allow_evict = true, .resident = {{.gpu = 0, .mib = 2000, .idle_s = 60, .reload_s = 5}, {.gpu = 1, .mib = 2000, .idle_s = 600, .reload_s = 5}}, .way = PLACE_ONE, .devices = "1", .sequences = 2, .context = 4096, .evict = "1", .says = PLACE_SAYS_EVICT},
    {"the one that loads faster", NULL, {{.total = 2200}, {.total = 2200}}, 0, {MODEL}, .allow_evict = true, .resident = {{.gpu = 0, .mib = 2000, .idle_s = 60, .reload_s = 2}, {.gpu = 1, .mib = 2000, .idle_s = 60, .reload_s = 5}}, .way = PLACE_ONE, .devices = "0", .sequences = 2, .context = 4096, .evict = "0", .says = PLACE_SAYS_EVICT},
    {"no more than needed", NULL, {{.total = 3300}}, 0, {MODEL}, .allow_evict = true, .min_sequences = 2, .resident = {{.gpu = 0, .mib = 1000, .idle_s = 10, .reload_s = 5}, {.gpu = 0, .mib = 1000, .idle_s = 20, .reload_s = 5}, {.gpu = 0, .mib = 1000, .idle_s = 30, .reload_s = 5}}, .way = PLACE_ONE, .devices = "0", .sequences = 2, .context = 4096, .evict = "12", .says = PLACE_SAYS_EVICT},
    {"two small ones that cost less than a large one", NULL, {{.total = 4100}}, 0, {MODEL}, .allow_evict = true, .min_sequences = 2, .resident = {{.gpu = 0, .mib = 2000, .idle_s = 1, .reload_s = 5}, {.gpu = 0, .mib = 1000, .idle_s = 1000, .reload_s = 5}, {.gpu = 0, .mib = 1000, .idle_s = 1000, .reload_s = 5}}, .way = PLACE_ONE, .devices = "0", .sequences = 2, .context = 4096, .evict = "12", .says = PLACE_SAYS_EVICT},
    {"never a pinned one", NULL, {{.total = 2200}}, 0, {MODEL}, .allow_evict = true, .resident = {{.gpu = 0, .mib = 2000, .idle_s = 60, .reload_s = 5, .pinned = true}}, .way = PLACE_REFUSED, .devices = "", .evict = "", .says = PLACE_SAYS_NO_EVICT},
    {"nor a busy one", NULL, {{.total = 2200}}, 0, {MODEL}, .allow_evict = true, .resident = {{.gpu = 0, .mib = 2000, .idle_s = 60, .reload_s = 5, .busy = true}}, .way = PLACE_REFUSED, .devices = "", .evict = "", .says = PLACE_SAYS_NO_EVICT},
    {"unless it may be drained", NULL, {{.total = 2200}}, 0, {MODEL}, .allow_evict = true, .allow_drain = true, .resident = {{.gpu = 0, .mib = 2000, .idle_s = 60, .reload_s = 5, .busy = true}}, .way = PLACE_ONE, .devices = "0", .sequences = 2, .context = 4096, .evict = "0", .says = PLACE_SAYS_DRAIN},
    {"an idle one before a busy one", NULL, {{.total = 2200}, {.total = 2200}}, 0, {MODEL}, .allow_evict = true, .allow_drain = true, .resident = {{.gpu = 0, .mib = 2000, .idle_s = 60, .reload_s = 5, .busy = true}, {.gpu = 1, .mib = 2000, .idle_s = 1, .reload_s = 500}}, .way = PLACE_ONE, .devices = "1", .sequences = 2, .context = 4096, .evict = "1", .says = PLACE_SAYS_EVICT},
    {"nobody when it is not allowed", NULL, {{.total = 2200}}, 0, {MODEL}, .resident = {{.gpu = 0, .mib = 2000, .idle_s = 60, .reload_s = 5}}, .way = PLACE_REFUSED, .devices = "", .evict = "", .says = PLACE_SAYS_NO_EVICT},
    {"for a split", NULL, {{.total = 1500}, {.total = 1500}}, 0, {MODEL, .max_devices = 2}, .allow_evict = true, .min_sequences = 2, .resident = {{.gpu = 0, .mib = 1000, .idle_s = 60, .reload_s = 5}, {.gpu = 1, .mib = 100, .idle_s = 60, .reload_s = 5}}, .way = PLACE_SET, .devices = "01", .sequences = 2, .context = 4096, .evict = "0", .says = PLACE_SAYS_EVICT},
    {"on the host", NULL, {{.total = 0}}, 2500, {MODEL}, .cpu_plan = true, .no_gpu_plan = true, .allow_evict = true, .min_sequences = 2, .resident = {{.gpu = 99, .mib = 2000, .idle_s = 60, .reload_s = 5}}, .way = PLACE_CPU, .devices = "h", .sequences = 2, .context = 4096, .evict = "0", .says = PLACE_SAYS_EVICT},

    /* The CPU as a last resort */
    {"an idle model goes before the CPU is used", NULL, {{.total = 2200}}, 8000, {MODEL}, .cpu_plan = true, .allow_cpu = true, .allow_evict = true, .resident = {{.gpu = 0, .mib = 2000, .idle_s = 60, .reload_s = 5}}, .way = PLACE_ONE, .devices = "0", .sequences = 2, .context = 4096, .evict = "0", .says = PLACE_SAYS_EVICT},
    {"partly", NULL, {{.total = 1300}}, 8000, {MODEL, .partial_cpu = true}, .cpu_plan = true, .allow_cpu = true, .min_sequences = 2, .min_context = 4096, .way = PLACE_PARTIAL, .devices = "0h", .sequences = 2, .context = 4096, .says = PLACE_SAYS_PARTIAL},
    {"wholly", NULL, {{.total = 1300}}, 8000, {MODEL}, .cpu_plan = true, .allow_cpu = true, .way = PLACE_CPU, .devices = "h", .sequences = 2, .context = 4096, .says = PLACE_SAYS_CPU},
    {"not even that", NULL, {{.total = 1300}}, 1300, {MODEL}, .cpu_plan = true, .allow_cpu = true, .way = PLACE_REFUSED, .devices = "", .says = PLACE_SAYS_CPU_SMALL},
};
// clang-format on

struct stage {
    struct place_ledger *ledger;
    struct place_plan gpu, cpu;
    struct place_resident resident[N_RESIDENT];
    uint32_t n_resident;
    const char *affinity[1];
    struct place_want want;
};

static void set_stage(struct stage *g, const struct scenario *c)
{
    static const char *const names[N_RESIDENT] = {"r0", "r1", "r2", "r3"};
    struct toy host = c->model;
    struct error e;
    uint32_t n_gpu = 0;
    *g = (struct stage){.affinity = {c->affinity}};
    while (n_gpu < N_GPU && c->gpu[n_gpu].total) n_gpu++;
    host.on_host = true;
    toy_plan(&g->gpu, &c->model);
    toy_plan(&g->cpu, &host);
    assert_int_equal(place_ledger_new(&g->ledger, NULL, &e), OK);
    toy_observe(g->ledger, c->gpu, n_gpu, c->host, 0);
    if (n_gpu && c->gpu[0].lost) { /* it was there before */
        struct toy_device there[N_GPU];
        memcpy(there, c->gpu, sizeof there);
        there[0].lost = false;
        toy_observe(g->ledger, there, n_gpu, c->host, 0);
        toy_observe(g->ledger, c->gpu, n_gpu, c->host, 0);
    }
    for (; g->n_resident < N_RESIDENT && c->resident[g->n_resident].mib; g->n_resident++) {
        const uint32_t i = g->n_resident, gpu = c->resident[i].gpu;
        const uint64_t bytes = c->resident[i].mib * MIB;
        char uuid[24];
        snprintf(uuid, sizeof uuid, "GPU-%02u", gpu);
        struct place_decision d = {.way = PLACE_ONE, .n_share = 1};
        d.share[0] = (struct place_share){
            .device = (uint32_t)place_find(g->ledger, gpu == 99 ? "host" : uuid), .bytes = bytes};
        g->resident[i] = (struct place_resident){.name = names[i],
                                                 .idle_ns = c->resident[i].idle_s * 1000000000,
                                                 .reload_ns = c->resident[i].reload_s * 1000000000,
                                                 .pinned = c->resident[i].pinned,
                                                 .busy = c->resident[i].busy};
        if (place_reserve(g->ledger, &d, NULL, &g->resident[i].claim, &e) != OK)
            fail_msg("%s: %s", c->name, e.msg);
        place_commit(g->ledger, g->resident[i].claim, NULL, 0);
    }
    g->want = (struct place_want){.model = "new",
                                  .gpu = c->no_gpu_plan ? NULL : &g->gpu,
                                  .cpu = c->cpu_plan ? &g->cpu : NULL,
                                  .strategy = c->strategy ? place_strategy_find(c->strategy) : NULL,
                                  .affinity = g->affinity,
                                  .n_affinity = c->affinity ? 1 : 0,
                                  .min_context = c->min_context,
                                  .min_sequences = c->min_sequences,
                                  .allow_cpu = c->allow_cpu,
                                  .allow_evict = c->allow_evict,
                                  .allow_drain = c->allow_drain};
}

static void clear_stage(struct stage *g)
{
    place_ledger_free(g->ledger);
    place_plan_deinit(&g->gpu);
    place_plan_deinit(&g->cpu);
}

static void describe(const struct stage *g, const struct place_decision *d, char devices[N_GPU + 2],
                     char evict[N_RESIDENT + 1])
{
    for (uint32_t i = 0; i < d->n_share; i++) {
        const char *uuid = place_device_at(g->ledger, d->share[i].device)->uuid;
        devices[i] = strcmp(uuid, "host") == 0 ? 'h' : uuid[5];
    }
    devices[d->n_share] = 0;
    for (uint32_t i = 0; i < d->n_evict; i++) {
        uint32_t at = i;
        for (; at > 0 && evict[at - 1] > (char)('0' + d->evict[i]); at--) evict[at] = evict[at - 1];
        evict[at] = (char)('0' + d->evict[i]);
    }
    evict[d->n_evict] = 0;
}

/* The shares hold all layers, in order, and their bytes add up. */
static void check_shares(const char *name, const struct place_decision *d)
{
    uint32_t layer = 0;
    uint64_t once = 0;
    for (uint32_t i = 0; i < d->n_share; i++) {
        const struct place_share *s = &d->share[i];
        expect(s->layer == layer && s->n_layer > 0, name, "layers are not contiguous");
        expect(s->bytes == s->weight_bytes + s->kv_bytes + s->scratch_bytes + s->overhead_bytes, name,
               "a share does not add up");
        layer += s->n_layer;
        once += s->weight_bytes + s->kv_bytes;
    }
    const struct place_rung *r = &d->plan->rung[d->rung];
    expect(layer == d->plan->n_layer, name, "not all layers are placed");
    expect(once + r->scratch_bytes + d->plan->overhead_bytes == place_plan_total_bytes(d->plan, d->rung),
           name, "the shares are not the model");
    expect(d->kv_bytes == place_plan_kv_bytes(d->plan, d->rung), name, "kv_bytes");
}

static void test_scenarios(void **state)
{
    for (size_t i = 0; i < COUNT_OF(scenarios); i++) {
        const struct scenario *c = &scenarios[i];
        static struct place_decision d;
        struct stage g;
        char devices[N_GPU + 2], evict[N_RESIDENT + 1];
        struct buf text = {0};
        set_stage(&g, c);
        place_decide(&d, g.ledger, &g.want, g.resident, g.n_resident);
        describe(&g, &d, devices, evict);
        place_decision_text(&text, g.ledger, &d);
        if (d.way != c->way || strcmp(devices, c->devices) != 0 ||
            strcmp(evict, c->evict ? c->evict : "") != 0 || !says(&d, c->says))
            fail_msg("%s: got devices '%s', evicted '%s': %s", c->name, devices, evict, text.data);
        if (d.way != PLACE_REFUSED) {
            const struct place_rung *r = &d.plan->rung[d.rung];
            if (r->kv_sequences != c->sequences || r->context != c->context)
                fail_msg("%s: %u x %u: %s", c->name, r->kv_sequences, r->context, text.data);
            check_shares(c->name, &d);
            uint64_t claim;
            struct error e;
            if (place_reserve(g.ledger, &d, g.resident, &claim, &e) != OK) fail_msg("%s: %s", c->name, e.msg);
            assert_int_equal(place_ready(g.ledger, claim), d.n_evict == 0);
        }
        assert_true(place_ledger_valid(g.ledger));
        buf_deinit(&text);
        clear_stage(&g);
    }
}

/* --- the smallest set, against all sets in all orders --- */

enum { MOST = 5 };

static uint64_t draw;
static uint64_t pick(uint64_t n)
{
    return (uint64_t)(rng_uniform(11, 0, draw++, 0) * (double)n);
}

static uint64_t range_bytes(const struct place_plan *p, uint32_t rung, uint32_t from, uint32_t to)
{
    const struct place_rung *r = &p->rung[rung];
    const uint64_t blocks =
        ((uint64_t)r->context + p->kv_block_tokens - 1) / p->kv_block_tokens * r->kv_sequences;
    uint64_t n = r->scratch_bytes + p->overhead_bytes;
    for (uint32_t i = from; i < to; i++) n += p->layer[i].weight_bytes + blocks * p->layer[i].kv_block_bytes;
    return n + (from == 0 ? p->first_bytes : 0) + (to == p->n_layer ? p->last_bytes : 0);
}

/* The fewest of the devices not yet used that hold the layers from `from` on, every order and every cut
 * tried. */
static uint32_t fewest(const struct place_plan *p, uint32_t rung, const uint64_t *room, uint32_t n,
                       uint32_t used, uint32_t from)
{
    uint32_t best = UINT32_MAX;
    if (from == p->n_layer) return 0;
    for (uint32_t d = 0; d < n; d++) {
        if (used >> d & 1) continue;
        for (uint32_t to = from + 1; to <= p->n_layer && range_bytes(p, rung, from, to) <= room[d]; to++) {
            const uint32_t rest = fewest(p, rung, room, n, used | 1u << d, to);
            if (rest != UINT32_MAX) best = MIN(best, rest + 1);
        }
    }
    return best;
}

static void uneven_plan(struct place_plan *p, uint32_t max_devices)
{
    toy_plan(p, &(struct toy){.layers = 2 + (uint32_t)pick(6),
                              .kv = 1 + (uint32_t)pick(4),
                              .first = (uint32_t)pick(150),
                              .last = (uint32_t)pick(150),
                              .scratch = (uint32_t)pick(10),
                              .overhead = (uint32_t)pick(10),
                              .max_devices = max_devices,
                              .parallel = 1 + (uint32_t)pick(3),
                              .context = 1024u << pick(3)});
    for (uint32_t i = 0; i < p->n_layer; i++) p->layer[i].weight_bytes = (10 + pick(120)) * MIB;
}

static void test_smallest_set(void **state)
{
    uint32_t seen[MOST + 1] = {0};
    for (int round = 0; round < 6000; round++) {
        static struct place_decision d;
        struct toy_device gpu[MOST];
        uint64_t room[MOST];
        struct place_ledger *l;
        struct place_plan p;
        struct error e;
        const uint32_t n = 1 + (uint32_t)pick(MOST);
        for (uint32_t i = 0; i < n; i++) gpu[i] = (struct toy_device){60 + (uint32_t)pick(240), 0, false};
        for (uint32_t i = 0; i < n; i++) room[i] = gpu[i].total * MIB;
        uneven_plan(&p, MOST);
        assert_int_equal(place_ledger_new(&l, NULL, &e), OK);
        toy_observe(l, gpu, n, 0, 0);
        place_decide(&d, l, &(struct place_want){.model = "m", .gpu = &p}, NULL, 0);
        uint32_t rung = 0, want = UINT32_MAX;
        for (; rung < p.n_rung && want == UINT32_MAX; rung++) want = fewest(&p, rung, room, n, 0, 0);
        if (want == UINT32_MAX) {
            if (d.way != PLACE_REFUSED) fail_msg("round %d: placed what nothing holds", round);
            seen[0]++;
        } else {
            if (d.n_share != want || d.rung != rung - 1)
                fail_msg("round %d: %u devices at rung %u, %u at rung %u would do", round, d.n_share, d.rung,
                         want, rung - 1);
            check_shares("smallest set", &d);
            for (uint32_t i = 0; i < d.n_share; i++)
                if (d.share[i].bytes > room[d.share[i].device])
                    fail_msg("round %d: more than there is", round);
            seen[want]++;
        }
        place_ledger_free(l);
        place_plan_deinit(&p);
    }
    for (uint32_t k = 0; k <= MOST; k++) /* the cases are no mere formality */
        if (seen[k] < 20) fail_msg("only %u cases of %u devices", seen[k], k);
}

/* Layers are dealt out so that the fullest device has as much left as can be: two equal devices share a model
 * in halves. */
static void test_balance(void **state)
{
    static struct place_decision d;
    const struct toy_device gpu[] = {{1500, 0, false}, {1500, 0, false}};
    struct place_ledger *l;
    struct place_plan p;
    struct error e;
    toy_plan(&p,
             &(struct toy){.layers = 20, .weight = 100, .max_devices = 2, .parallel = 1, .context = 1024});
    assert_int_equal(place_ledger_new(&l, NULL, &e), OK);
    toy_observe(l, gpu, 2, 0, 0);
    place_decide(&d, l, &(struct place_want){.model = "m", .gpu = &p}, NULL, 0);
    assert_int_equal(d.n_share, 2);
    assert_int_equal(d.share[0].n_layer, 10);
    place_ledger_free(l);
    place_plan_deinit(&p);
}

/* --- what it says --- */

static void test_json(void **state)
{
    for (size_t i = 0; i < COUNT_OF(scenarios); i++) {
        static struct place_decision d;
        struct stage g;
        struct buf b = {0};
        json_error_t why;
        set_stage(&g, &scenarios[i]);
        place_decide(&d, g.ledger, &g.want, g.resident, g.n_resident);
        place_decision_json(&b, g.ledger, &d, g.resident);
        json_t *doc = json_loadb(b.data, b.n, JSON_REJECT_DUPLICATES, &why);
        if (!doc) fail_msg("%s: %s in %s", scenarios[i].name, why.text, b.data);
        assert_string_equal(json_string_value(json_object_get(doc, "way")), place_way_name(d.way));
        assert_int_equal(json_array_size(json_object_get(doc, "devices")), d.n_share);
        assert_int_equal(json_array_size(json_object_get(doc, "evict")), d.n_evict);
        const json_t *reasons = json_object_get(doc, "reasons"), *r;
        size_t k;
        assert_int_equal(json_array_size(reasons), d.n_reason);
        assert_true(d.n_reason > 0);
        json_array_foreach(reasons, k, r)
        {
            expect(json_string_length(json_object_get(r, "text")) > 5, scenarios[i].name,
                   "a reason without text");
            expect(json_string_length(json_object_get(r, "code")) > 1, scenarios[i].name,
                   "a reason without code");
        }
        if (d.way == PLACE_REFUSED) assert_true(json_is_integer(json_object_get(doc, "needed_bytes")));
        json_decref(doc);
        buf_reset(&b);
        for (uint32_t k2 = 0; k2 < place_n_device(g.ledger); k2++) {
            buf_reset(&b);
            place_device_json(&b, place_device_at(g.ledger, k2));
            doc = json_loadb(b.data, b.n, JSON_REJECT_DUPLICATES, &why);
            expect(doc != NULL, scenarios[i].name, "a device is no JSON");
            json_decref(doc);
        }
        buf_deinit(&b);
        clear_stage(&g);
    }
}

/* A refusal tells, for every device, what is needed and what it has. */
static void test_refusal_numbers(void **state)
{
    static struct place_decision d;
    const struct toy_device gpu[] = {{1000, 300, false}, {1200, 0, false}};
    struct place_ledger *l;
    struct place_plan p;
    struct error e;
    uint32_t n = 0;
    toy_plan(&p, &(struct toy){MODEL});
    assert_int_equal(place_ledger_new(&l, &(struct place_limits){.gpu_reserve_bytes = 100 * MIB}, &e), OK);
    toy_observe(l, gpu, 2, 0, 0);
    place_decide(&d, l, &(struct place_want){.model = "m", .gpu = &p}, NULL, 0);
    assert_int_equal(d.way, PLACE_REFUSED);
    assert_int_equal(d.needed_bytes, 1400 * MIB);
    for (uint32_t i = 0; i < d.n_reason; i++) {
        const struct place_reason *r = &d.reason[i];
        if (r->code != PLACE_SAYS_LEAST) continue;
        assert_int_equal(r->needed_bytes, 1400 * MIB);
        assert_int_equal(r->available_bytes, (r->device == 0 ? 600 : 1100) * MIB);
        n++;
    }
    assert_int_equal(n, 2);
    uint64_t claim;
    assert_int_equal(place_reserve(l, &d, NULL, &claim, &e), ERR_ARG);
    place_ledger_free(l);
    place_plan_deinit(&p);
}

static void test_strategies(void **state)
{
    assert_int_equal(place_n_strategy(), 4);
    for (size_t i = 0; i < place_n_strategy(); i++)
        assert_ptr_equal(place_strategy_find(place_strategy_at(i)->name), place_strategy_at(i));
    assert_null(place_strategy_find("nearest"));
    assert_null(place_strategy_at(99));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenarios),       cmocka_unit_test(test_smallest_set),
        cmocka_unit_test(test_balance),         cmocka_unit_test(test_json),
        cmocka_unit_test(test_refusal_numbers), cmocka_unit_test(test_strategies),
    };
    return cmocka_run_group_tests_name("placement: decisions", tests, NULL, NULL);
}
