/* corral plan: what a model takes where, and how it could be run in less. The gateway starts it for every
 * model that it is to place, so that no file is ever opened by the gateway itself. */
#include <inttypes.h>
#include <string.h>

#include "cli/devices.h"
#include "cli/human.h"
#include "cli/memory_plan.h"
#include "cli/serving.h"

static struct {
    struct session_options model;
    int64_t parallel, step_tokens, draft_max, min_ctx, overhead;
    const char *kv_fallback, *draft;
    bool json, overhead_given;
} o;

/* The first group and the names and defaults of the second one are those of `corral worker`, but for --mlock
 * and --numa: locked or on whichever node, weights take the same. */
static const struct opt opts[] = {
    MODEL_OPT(o.model.model),
    BACKEND_OPT(o.model.backend, "auto"),
    DEVICES_OPT(o.model.devices),
    THREADS_OPT(o.model.threads),
    CTX_OPT(o.model.ctx),
    KV_TYPE_OPT(o.model.kv_type, "f16"),
    MMAP_OPT(o.model.mmap),
    SET_OPT(o.model.set),
    {.name = "parallel",
     .letter = 'p',
     .type = OPT_INT,
     .at = &o.parallel,
     .min = 1,
     .max = 1024,
     .def = "16",
     .unit = "sequences",
     .help = "that are generated at once"},
    {.name = "step-tokens",
     .type = OPT_INT,
     .at = &o.step_tokens,
     .min = 16,
     .max = 65536,
     .def = "256",
     .unit = "tokens",
     .help = "computed in one step at most"},
    {.name = "draft-max",
     .type = OPT_INT,
     .at = &o.draft_max,
     .min = 0,
     .max = 64,
     .def = "8",
     .unit = "tokens",
     .help = "guessed ahead"},
    {.name = "draft",
     .type = OPT_STR,
     .at = &o.draft,
     .arg = "MODEL",
     .help = "small model that guesses too"},
    {.name = "", .help = "When there is less room"},
    {.name = "min-ctx",
     .type = OPT_INT,
     .at = &o.min_ctx,
     .min = 0,
     .max = SESSION_MAX_CTX,
     .def = "0",
     .unit = "tokens",
     .help = "shortest context that would do; 0: 2048"},
    {.name = "kv-fallback",
     .type = OPT_STR,
     .at = &o.kv_fallback,
     .choices = KV_TYPES,
     .arg = "TYPE",
     .help = "numbers in the KV cache that would do too"},
    {.name = "overhead",
     .type = OPT_INT,
     .at = &o.overhead,
     .min = 0,
     .max = 1LL << 40,
     .unit = "bytes",
     .seen = &o.overhead_given,
     .help = "of the process beside its plan; default: what the backend usually takes"},
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "machine-readable output, mistakes too"},
    {0}};

/* A draft model lives in the same process: all of it counts as overhead. */
static status add_draft(struct place_plan *p, const struct session *s, const struct engine_options *eo,
                        struct error *e)
{
    struct session_options with = o.model;
    struct session draft = {0};
    struct engine_options same = *eo;
    struct memory_plan plan;
    with.model = o.draft;
    with.ctx = (int64_t)s->ctx;
    with.set = (struct opt_list){0};
    same.max_draft = 0;
    if (same.n_share) { /* it runs on the first device, whole */
        same.api = same.share[0].api;
        same.n_share = 0;
    }
    status st = session_open_model(&draft, &with, NULL, e);
    if (st == OK) st = memory_plan(&plan, model_desc(draft.model), &same, e);
    if (st == OK) p->overhead_bytes += plan.total_bytes;
    session_close(&draft);
    return st;
}

static status open_model(struct session *s, struct engine_options *eo, const char *word, struct error *e)
{
    TRY(session_open_model(s, &o.model, word, e));
    TRY(session_engine_options(s, &o.model, (uint32_t)o.parallel, eo, e));
    eo->step_tokens = (uint32_t)o.step_tokens;
    eo->max_draft = (uint32_t)o.draft_max;
    return OK;
}

static status make_plan(struct place_plan *p, const struct session *s, const struct engine_options *eo,
                        struct error *e)
{
    struct memory_ladder ladder = {.min_context = (uint32_t)o.min_ctx,
                                   .has_kv_fallback = o.kv_fallback != NULL,
                                   .has_overhead = o.overhead_given,
                                   .overhead_bytes = (uint64_t)o.overhead};
    if (o.kv_fallback && !kv_type_by_name(o.kv_fallback, &ladder.kv_fallback))
        return fail(e, ERR_ARG, "unknown KV type '%s'", o.kv_fallback);
    TRY(memory_place_plan(p, model_desc(s->model), eo, &ladder, e));
    if (!o.draft || !o.draft_max) return OK;
    status st = add_draft(p, s, eo, e);
    if (st != OK) place_plan_deinit(p);
    return st;
}

static void print_text(struct buf *b, const struct session *s, const struct place_plan *p)
{
    uint64_t weights = p->first_bytes + p->last_bytes;
    for (uint32_t i = 0; i < p->n_layer; i++) weights += p->layer[i].weight_bytes;
    buf_addf(b, "%s on %s: %u layers, weights %s, %s beside the plan, %u sequences at once\n\n", s->name,
             p->backend, p->n_layer, human_bytes(weights).s, human_bytes(p->overhead_bytes).s,
             p->rung[0].parallel);
    buf_adds(b, "  KV for   context  KV type           KV      scratch        total\n");
    for (uint32_t i = 0; i < p->n_rung; i++) {
        const struct place_rung *r = &p->rung[i];
        buf_addf(b, "  %6u  %8u  %-7s %12s %12s %12s\n", r->kv_sequences, r->context, r->kv_type,
                 human_bytes(place_plan_kv_bytes(p, i)).s, human_bytes(r->scratch_bytes).s,
                 human_bytes(place_plan_total_bytes(p, i)).s);
    }
}

static void print(const struct session *s, const struct place_plan *p)
{
    struct buf b = {0};
    if (o.json) {
        place_plan_write(&b, p);
        buf_addc(&b, '\n');
    } else {
        print_text(&b, s, p);
    }
    fwrite(b.data, 1, b.n, stdout); /* main looks at stdout's state */
    buf_deinit(&b);
}

/* --devices: what each of them takes; with a KV cache for all sequences at full length. */
static void print_devices(const struct session *s, const struct memory_plan *p)
{
    struct buf b = {0};
    if (o.json) {
        buf_addf(
            &b,
            "{\"context\":%u,\"parallel\":%u,\"kv_type\":\"%s\",\"kv_blocks\":%u,\"total_bytes\":%" PRIu64
            ",\"parts\":",
            p->context, p->parallel, dtype_info((uint32_t)p->kv_type)->name, p->n_kv_block, p->total_bytes);
        devices_json(&b, p->part, p->n_part, p->n_kv_block);
        buf_adds(&b, "}\n");
    } else {
        buf_addf(&b, "%s on %u devices, %u sequences of %u tokens at once, KV %s\n\n", s->name, p->n_part,
                 p->parallel, p->context, dtype_info((uint32_t)p->kv_type)->name);
        devices_table(&b, p->part, p->n_part, p->n_kv_block);
    }
    fwrite(b.data, 1, b.n, stdout);
    buf_deinit(&b);
}

static int plan_error(const struct error *e)
{
    struct buf b = {0};
    if (!o.json) return cli_error(e);
    buf_adds(&b, "{\"error\":{\"code\":");
    buf_json_str(&b, status_name(e->code), strlen(status_name(e->code)));
    buf_adds(&b, ",\"message\":");
    buf_json_str(&b, e->msg, strlen(e->msg));
    buf_adds(&b, "}}\n");
    fwrite(b.data, 1, b.n, stdout);
    buf_deinit(&b);
    return e->code == ERR_ARG || e->code == ERR_UNSUPPORTED ? EXIT_USAGE : EXIT_FAILED;
}

static int run(int argc, char **argv)
{
    struct error e = {0};
    struct session s = {0};
    struct engine_options eo;
    const char *word = NULL;
    size_t n_word;
    if (opt_parse(opts, argc, argv, &word, &n_word, 1, &e) != OK)
        return o.json ? plan_error(&e) : cli_usage_error(&cmd_plan, &e);
    status st = open_model(&s, &eo, n_word ? word : NULL, &e);
    if (st == OK && s.on.n_share) {
        struct memory_plan p;
        st = memory_plan(&p, model_desc(s.model), &eo, &e);
        if (st == OK) print_devices(&s, &p);
    } else if (st == OK) {
        struct place_plan p;
        st = make_plan(&p, &s, &eo, &e);
        if (st == OK) print(&s, &p);
        if (st == OK) place_plan_deinit(&p);
    }
    session_close(&s);
    return st == OK ? EXIT_OK : plan_error(&e);
}

const struct command cmd_plan = {
    .name = "plan",
    .args = "[MODEL] [--backend NAME | --devices LIST] [--ctx N] [--parallel N] [--json]",
    .summary = "what a model takes in memory, layer by layer, and how it could run in less",
    .help = "Exact, by the backend's own planner: nothing is loaded and no device is touched, so it also "
            "answers for a\n"
            "backend whose device is elsewhere. The first line of the ladder is what was asked for; each "
            "further one\n"
            "takes less. The gateway places models by this (docs/placement.md).\n\n"
            "Examples:\n"
            "  corral plan model.gguf --ctx 32k --parallel 8\n"
            "  corral plan model.gguf --backend cuda --kv-fallback q8_0 --json | jq .rungs\n"
            "  corral plan model.gguf --devices cuda:0=20,cuda:1=12   what each of them takes "
            "(docs/several-devices.md)\n\n"
            "With --json a mistake is a line {\"error\":{\"code\":..,\"message\":..}} on standard output.\n",
    .opts = opts,
    .run = run,
};
