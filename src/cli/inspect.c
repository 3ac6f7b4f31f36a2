/* corral inspect: what a model file holds, and the memory that running it takes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/show.h"
#include "backend/backend.h"
#include "base/buf.h"
#include "cli/cli.h"
#include "cli/devices.h"
#include "cli/human.h"
#include "cli/memory_plan.h"
#include "cli/session.h"
#include "format/gguf.h"
#include "model/model.h"

enum {
    MAX_PARALLEL = 4096,
    SHOWN_ELEMENTS = 8,
    SHOWN_STRING = 60,
};

static struct {
    const char *model, *backend, *devices, *kv_type;
    int64_t ctx, parallel, threads;
    bool tensors, json;
    struct opt_list set;
} o;

static const struct opt opts[] = {
    MODEL_OPT(o.model),
    CTX_OPT(o.ctx),
    {.name = "parallel",
     .type = OPT_INT,
     .at = &o.parallel,
     .min = 1,
     .max = MAX_PARALLEL,
     .def = "1",
     .unit = "sequences",
     .help = "sequences of that length at once"},
    KV_TYPE_OPT(o.kv_type, "f16"),
    BACKEND_OPT(o.backend, "cpu"),
    DEVICES_OPT(o.devices),
    THREADS_OPT(o.threads),
    {.name = "tensors",
     .type = OPT_BOOL,
     .at = &o.tensors,
     .help = "list every tensor (--json always does; there: arrays whole in \"show\")"},
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "machine-readable output"},
    SET_OPT(o.set),
    {0}};

/* --- sums over the tensors --- */

struct sum {
    size_t n_tensor;
    uint64_t elements, bytes;
};

static uint64_t elements_of(const struct gguf_tensor *t)
{
    uint64_t n = 1;
    for (uint8_t i = 0; i < t->rank; i++) n *= (uint64_t)t->dim[i];
    return n; /* the reader has checked the product */
}

static struct sum sum_tensors(const struct gguf *g, struct sum by_type[DT_COUNT])
{
    struct sum all = {0};
    memset(by_type, 0, DT_COUNT * sizeof *by_type);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        struct sum *to[] = {&all, &by_type[t->dtype]};
        for (size_t k = 0; k < 2; k++) {
            to[k]->n_tensor++;
            to[k]->elements += elements_of(t);
            to[k]->bytes += t->n_bytes;
        }
    }
    return all;
}

static double bits_per_weight(const struct sum *s)
{
    return s->elements ? 8.0 * (double)s->bytes / (double)s->elements : 0;
}

/* --- the memory plan --- */

struct plan {
    bool known;
    struct error why_not;
    struct memory_plan m;
    uint64_t memory_bytes;
};

/* Why a file cannot be run is part of the answer, not a failure of inspect. */
static void make_plan(struct plan *p, const struct gguf *g, const struct backend_api *api,
                      const struct backend_options *on)
{
    struct model *model = NULL;
    struct error *e = &p->why_not;
    struct engine_options eo = {.api = api,
                                .device = on->device,
                                .share = on->share,
                                .n_share = on->n_share,
                                .n_thread = (uint32_t)o.threads,
                                .max_context = (uint32_t)o.ctx,
                                .max_seqs = (uint32_t)o.parallel};
    if (model_new(&model, g, &(struct model_options){.max_context = (uint32_t)o.ctx}, e) != OK) return;
    if (!kv_type_by_name(o.kv_type, &eo.kv_type))
        (void)fail(e, ERR_ARG, "unknown KV type '%s'", o.kv_type);
    else
        p->known = memory_plan(&p->m, model_desc(model), &eo, e) == OK;
    model_free(model);
    p->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* --- values --- */

/* A name from the file, made safe for a terminal, in a column. */
static void add_name(struct buf *b, const char *name, size_t n, int width)
{
    struct buf quoted = {0};
    human_string(&quoted, name, n, SHOWN_STRING);
    size_t k = quoted.n;
    while (k > 0 && quoted.data[k - 1] != '"') k--; /* what follows the quote says that it was cut */
    if (k >= 2) buf_addf(b, "%.*s%s", (int)(k - 2), quoted.data + 1, quoted.data + k);
    for (size_t at = k >= 2 ? quoted.n - 2 : 0; at < (size_t)width; at++) buf_addc(b, ' ');
    buf_deinit(&quoted);
}

static void add_float(struct buf *b, const struct gguf_value *v, uint64_t i)
{
    double d = gguf_number(v, i);
    char text[32];
    if (!isfinite(d)) {
        buf_adds(b, o.json ? "null" : isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    if (v->elem == GGUF_F64) {
        buf_json_double(b, d);
        return;
    }
    for (int digits = 6; digits <= 9; digits++) { /* the shortest that reads back as the same float */
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (strtof(text, NULL) == (float)d) break;
    }
    buf_adds(b, text);
}

static void add_u64(struct buf *b, const uint8_t *p) /* gguf_integer saturates; all 64 bits are wanted here */
{
    uint64_t u = 0;
    for (int k = 7; k >= 0; k--) u = u << 8 | p[k];
    buf_addf(b, "%" PRIu64, u);
}

static void add_number(struct buf *b, const struct gguf_value *v, uint64_t i)
{
    if (v->elem == GGUF_F32 || v->elem == GGUF_F64)
        add_float(b, v, i);
    else if (v->elem == GGUF_BOOL)
        buf_adds(b, gguf_integer(v, i) ? "true" : "false");
    else if (v->elem == GGUF_U64)
        add_u64(b, v->data + 8 * i);
    else
        buf_addf(b, "%" PRId64, gguf_integer(v, i));
}

static void add_element(struct buf *b, const struct gguf_value *v, uint64_t i, size_t max_string)
{
    if (v->elem == GGUF_STR)
        human_string(b, v->str[i].p, v->str[i].n, max_string);
    else if (v->elem == GGUF_ARR)
        buf_adds(b, o.json ? "null" : "[...]");
    else
        add_number(b, v, i);
}

static void add_elements(struct buf *b, const struct gguf_value *v, size_t max_string)
{
    for (uint64_t i = 0; i < MIN(v->n, (uint64_t)SHOWN_ELEMENTS); i++) {
        if (i) buf_adds(b, ", ");
        add_element(b, v, i, max_string);
    }
}

static const char *type_name(enum gguf_type t)
{
    static const char *const name[GGUF_TYPE_COUNT] = {
        [GGUF_U8] = "u8",   [GGUF_I8] = "i8",   [GGUF_U16] = "u16",   [GGUF_I16] = "i16", [GGUF_U32] = "u32",
        [GGUF_I32] = "i32", [GGUF_F32] = "f32", [GGUF_BOOL] = "bool", [GGUF_STR] = "str", [GGUF_ARR] = "arr",
        [GGUF_U64] = "u64", [GGUF_I64] = "i64", [GGUF_F64] = "f64"};
    return name[t];
}

static struct gguf_str architecture(const struct gguf *g)
{
    struct gguf_str s = {"?", 1};
    (void)gguf_get_str(g, "general.architecture", false, &s, NULL);
    return s;
}

/* --- text --- */

static void text_value(struct buf *b, const struct gguf_value *v)
{
    char type[40];
    if (v->type == GGUF_ARR)
        snprintf(type, sizeof type, "%s[%" PRIu64 "]", type_name(v->elem), v->n);
    else
        snprintf(type, sizeof type, "%s", type_name(v->type));
    buf_adds(b, "  ");
    add_name(b, v->key, strlen(v->key), 42);
    buf_addf(b, " %-12s ", type);
    add_elements(b, v, v->type == GGUF_ARR ? 24 : SHOWN_STRING);
    if (v->n > SHOWN_ELEMENTS) buf_adds(b, ", ...");
    buf_addc(b, '\n');
}

static void text_tensors(struct buf *b, const struct gguf *g)
{
    buf_addf(b, "\nTensors (%zu), dimensions outermost first\n", gguf_n_tensors(g));
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        char shape[100];
        size_t at = 0;
        for (uint8_t k = 0; k < t->rank; k++)
            at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%" PRId64, k ? " x " : "", t->dim[k]);
        buf_adds(b, "  ");
        add_name(b, t->name, strlen(t->name), 44);
        buf_addf(b, " %-8s %-24s %s\n", dtype_info(t->dtype)->name, shape, human_bytes(t->n_bytes).s);
    }
}

static void text_types(struct buf *b, const struct sum *by_type, const struct sum *all)
{
    if (all->n_tensor == 0) {
        buf_adds(b, "\nNo tensors: this file holds metadata only (a vocabulary, perhaps)\n");
        return;
    }
    buf_addf(b, "\n%-10s %8s %20s %12s %8s\n", "Types", "tensors", "parameters", "bytes", "bits");
    for (size_t t = 0; t < DT_COUNT; t++)
        if (by_type[t].n_tensor)
            buf_addf(b, "  %-8s %8zu %20" PRIu64 " %12s %8.3f\n", dtype_info((uint32_t)t)->name,
                     by_type[t].n_tensor, by_type[t].elements, human_bytes(by_type[t].bytes).s,
                     bits_per_weight(&by_type[t]));
    buf_addf(b, "  %-8s %8zu %20" PRIu64 " %12s %8.3f\n", "all", all->n_tensor, all->elements,
             human_bytes(all->bytes).s, bits_per_weight(all));
}

static void text_plan(struct buf *b, const struct plan *p)
{
    if (!p->known) {
        buf_addf(b, "\nNo memory plan: %s\n", p->why_not.msg);
        return;
    }
    buf_addf(b, "\nMemory to run it: %s backend, context %u (trained for %u), %u at once, KV cache in %s\n",
             p->m.backend, p->m.context, p->m.context_trained, p->m.parallel, o.kv_type);
    buf_addf(b, "  %-28s %12s\n", "weights, in the mapped file", human_bytes(p->m.b.mapped_bytes).s);
    buf_addf(b, "  %-28s %12s\n", "weights, copied or repacked", human_bytes(p->m.b.weight_bytes).s);
    buf_addf(b, "  %-28s %12s\n", "scratch", human_bytes(p->m.b.scratch_bytes).s);
    buf_addf(b, "  %-28s %12s   %u blocks of %d tokens, %s each\n", "KV cache", human_bytes(p->m.kv_bytes).s,
             p->m.n_kv_block, KV_BLOCK_TOKENS, human_bytes(p->m.b.kv_block_bytes).s);
    buf_addf(b, "  %-28s %12s   of %s in this machine%s\n", "total", human_bytes(p->m.total_bytes).s,
             human_bytes(p->memory_bytes).s, p->m.total_bytes > p->memory_bytes ? ": it does not fit" : "");
    if (p->m.n_part > 1) devices_table(b, p->m.part, p->m.n_part, p->m.n_kv_block);
    if (p->m.context > p->m.context_trained && p->m.context_trained)
        buf_adds(b, "  note: the context is longer than the model was trained for\n");
}

static void print_text(struct buf *b, const struct gguf *g, const struct sum *by_type, const struct sum *all,
                       const struct plan *p)
{
    struct gguf_str arch = architecture(g);
    buf_addf(b, "%s\n  %s, architecture ", gguf_path(g), human_bytes(gguf_file_bytes(g)).s);
    add_name(b, arch.p, arch.n, 0);
    if (all->elements)
        buf_addf(b, ", %s parameters, %.2f bits each", human_count(all->elements).s, bits_per_weight(all));
    buf_addf(b, "\n\nMetadata (%zu)\n", gguf_n_values(g));
    for (size_t i = 0; i < gguf_n_values(g); i++) text_value(b, gguf_value_at(g, i));
    if (o.tensors) text_tensors(b, g);
    text_types(b, by_type, all);
    text_plan(b, p);
}

/* --- JSON --- */

static void json_key(struct buf *b, bool first, const char *key)
{
    if (!first) buf_addc(b, ',');
    buf_json_str(b, key, strlen(key));
    buf_addc(b, ':');
}

/* Scalars whole; an array as its type, length and first elements. */
static void json_metadata(struct buf *b, const struct gguf *g)
{
    buf_addc(b, '{');
    for (size_t i = 0; i < gguf_n_values(g); i++) {
        const struct gguf_value *v = gguf_value_at(g, i);
        json_key(b, i == 0, v->key);
        if (v->type != GGUF_ARR) {
            add_element(b, v, 0, SIZE_MAX);
            continue;
        }
        buf_addf(b, "{\"array\":\"%s\",\"n\":%" PRIu64 ",\"first\":[", type_name(v->elem), v->n);
        add_elements(b, v, SIZE_MAX);
        buf_adds(b, "]}");
    }
    buf_addc(b, '}');
}

static void json_tensors(struct buf *b, const struct gguf *g)
{
    buf_addc(b, '[');
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        buf_adds(b, i ? ",{\"name\":" : "{\"name\":");
        buf_json_str(b, t->name, strlen(t->name));
        buf_addf(b, ",\"type\":\"%s\",\"shape\":[", dtype_info(t->dtype)->name);
        for (uint8_t k = 0; k < t->rank; k++) buf_addf(b, "%s%" PRId64, k ? "," : "", t->dim[k]);
        buf_addf(b, "],\"bytes\":%zu}", t->n_bytes);
    }
    buf_addc(b, ']');
}

static void json_types(struct buf *b, const struct sum *by_type)
{
    bool first = true;
    buf_addc(b, '{');
    for (size_t t = 0; t < DT_COUNT; t++) {
        if (!by_type[t].n_tensor) continue;
        json_key(b, first, dtype_info((uint32_t)t)->name);
        buf_addf(b, "{\"tensors\":%zu,\"parameters\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", by_type[t].n_tensor,
                 by_type[t].elements, by_type[t].bytes);
        first = false;
    }
    buf_addc(b, '}');
}

static void json_plan(struct buf *b, const struct plan *p)
{
    if (!p->known) {
        buf_adds(b, "null,\"plan_error\":");
        buf_json_str(b, p->why_not.msg, strlen(p->why_not.msg));
        return;
    }
    buf_addf(b,
             "{\"backend\":\"%s\",\"ctx\":%u,\"ctx_trained\":%u,\"parallel\":%u,\"kv_type\":\"%s\","
             "\"mapped_bytes\":%zu,\"weight_bytes\":%zu,\"scratch_bytes\":%zu,\"kv_bytes\":%" PRIu64
             ",\"kv_blocks\":%u,\"kv_block_bytes\":%zu,\"kv_block_tokens\":%d,\"total_bytes\":%" PRIu64
             ",\"machine_bytes\":%" PRIu64 ",\"parts\":",
             p->m.backend, p->m.context, p->m.context_trained, p->m.parallel, o.kv_type, p->m.b.mapped_bytes,
             p->m.b.weight_bytes, p->m.b.scratch_bytes, p->m.kv_bytes, p->m.n_kv_block, p->m.b.kv_block_bytes,
             KV_BLOCK_TOKENS, p->m.total_bytes, p->memory_bytes);
    devices_json(b, p->m.part, p->m.n_part, p->m.n_kv_block);
    buf_addc(b, '}');
}

static void print_json(struct buf *b, const struct gguf *g, const struct sum *by_type, const struct sum *all,
                       const struct plan *p)
{
    struct gguf_str arch = architecture(g);
    buf_adds(b, "{\"path\":");
    buf_json_str(b, gguf_path(g), strlen(gguf_path(g)));
    buf_addf(b, ",\"bytes\":%zu,\"architecture\":", gguf_file_bytes(g));
    buf_json_str(b, arch.p, arch.n);
    buf_addf(b,
             ",\"parameters\":%" PRIu64 ",\"tensor_bytes\":%" PRIu64 ",\"bits_per_weight\":", all->elements,
             all->bytes);
    buf_json_double(b, bits_per_weight(all));
    buf_adds(b, ",\"metadata\":");
    json_metadata(b, g);
    buf_adds(b, ",\"types\":");
    json_types(b, by_type);
    buf_adds(b, ",\"tensors\":");
    json_tensors(b, g);
    buf_adds(b, ",\"plan\":");
    json_plan(b, p);
    buf_addc(b, ',');
    show_file(g, o.tensors, b);
    buf_adds(b, "}\n");
}

/* --- the command --- */

static status inspect(const char *word, struct error *e)
{
    char path[MODEL_PATH_MAX];
    struct gguf *g;
    const struct backend_api *api;
    struct backend_options on;
    struct backend_share share[BACKEND_MAX_SHARES];
    struct sum by_type[DT_COUNT], all;
    struct plan plan = {0};
    struct buf out = {0};
    if (word && o.model && strcmp(word, o.model) != 0)
        return fail(e, ERR_ARG, "two models: '%s' and --model %s", word, o.model);
    TRY(devices_choose(&api, &on, share, o.devices ? NULL : o.backend, o.devices, e));
    struct gguf_options file = {.set = o.set.item, .n_set = o.set.n};
    TRY(model_file_open(&g, path, word ? word : o.model, &file, e));
    all = sum_tensors(g, by_type);
    make_plan(&plan, g, api, &on);
    if (o.json)
        print_json(&out, g, by_type, &all, &plan);
    else
        print_text(&out, g, by_type, &all, &plan);
    status s = out.failed ? fail(e, ERR_MEMORY, "out of memory for the output") : OK;
    if (s == OK) fwrite(out.data, 1, out.n, stdout); /* main looks at stdout's state */
    buf_deinit(&out);
    gguf_close(g);
    return s;
}

static int run(int argc, char **argv)
{
    struct error e = {0};
    const char *word = NULL;
    size_t n_word;
    if (opt_parse(opts, argc, argv, &word, &n_word, 1, &e) != OK) return cli_usage_error(&cmd_inspect, &e);
    return inspect(n_word ? word : NULL, &e) == OK ? EXIT_OK : cli_error(&e);
}

const struct command cmd_inspect = {
    .name = "inspect",
    .args = "[MODEL] [--ctx N] [--parallel N] [--tensors] [--json]",
    .summary = "show what a model file holds and the memory it needs",
    .help = "The plan is exact: it asks the backend what it would allocate, without allocating it.\n\n"
            "Examples:\n"
            "  corral inspect model.gguf\n"
            "  corral inspect model.gguf --ctx 32k --parallel 8 --kv-type q8_0\n"
            "  corral inspect model.gguf --json | jq .plan\n"
            "  corral inspect model.gguf --json | jq .facts\n",
    .opts = opts,
    .run = run,
};
