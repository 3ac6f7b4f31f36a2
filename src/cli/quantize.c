/* corral quantize: a model file with its matrices in another type. */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/human.h"
#include "cli/machine.h"
#include "cli/model_file.h"
#include "cli/quantize_write.h"
#include "cli/session.h"

static struct {
    int64_t threads;
    struct opt_list keep;
    bool pure, requantize, dry_run, json, quiet;
} o;

static const struct opt opts[] = {
    {.name = "keep",
     .type = OPT_LIST,
     .at = &o.keep,
     .arg = "PATTERN[=TYPE]",
     .help =
         "tensors whose name fits, such as 'blk.0.*', stay as they are, or get TYPE; may be repeated, the "
         "first that fits wins"},
    {.name = "pure",
     .type = OPT_BOOL,
     .at = &o.pure,
     .help = "no mixture: every matrix in the type's own format"},
    {.name = "requantize",
     .type = OPT_BOOL,
     .at = &o.requantize,
     .help =
         "allow it for tensors that are quantized already, which loses more than starting from the original"},
    {.name = "dry-run",
     .type = OPT_BOOL,
     .at = &o.dry_run,
     .help = "show the plan, write nothing; OUT may be left out"},
    {.name = "threads",
     .letter = 't',
     .type = OPT_INT,
     .at = &o.threads,
     .min = 0,
     .max = SESSION_MAX_THREADS,
     .def = "0",
     .help = "threads; 0: all cores. The file does not depend on it"},
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "machine-readable summary, with every tensor"},
    {.name = "quiet", .letter = 'q', .type = OPT_BOOL, .at = &o.quiet, .help = "no progress"},
    {0}};

struct quantizing {
    const char *in, *out, *type;
    char path[MODEL_PATH_MAX]; /* of the input */
    struct gguf *g;
    struct quantize_plan plan;
    double seconds;
};

static const char *type_name(enum dtype t)
{
    return dtype_info((uint32_t)t)->name;
}

/* --- progress --- */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    interrupted = sig;
}

struct meter {
    uint64_t weights; /* of all tensors */
    double bytes_per_weight, begun, shown;
    bool terminal;
};

static bool show_progress(void *ctx, uint64_t done)
{
    struct meter *m = ctx;
    double now = clock_s(), part = m->weights ? (double)done / (double)m->weights : 1, spent = now - m->begun;
    double rate = spent > 0 ? (double)done * m->bytes_per_weight / spent : 0;
    if (!o.quiet && now - m->shown >= (m->terminal ? 0.2 : 5)) { /* a log wants fewer lines than a terminal */
        fprintf(stderr, "%s%3.0f %%  %.0f MB/s", m->terminal ? "\r\033[K" : "", 100 * part, rate * 1e-6);
        if (part > 0) fprintf(stderr, "  %.0f s left", spent * (1 - part) / part);
        if (!m->terminal) fputc('\n', stderr);
        fflush(stderr);
        m->shown = now;
    }
    return !interrupted;
}

/* Ctrl-C ends the work at the next piece, so that the unfinished file is removed. */
static status write_output(struct quantizing *q, struct error *e)
{
    struct machine machine;
    struct meter meter = {.weights = q->plan.weights,
                          .bytes_per_weight = (double)q->plan.bytes_in / (double)q->plan.weights,
                          .begun = clock_s(),
                          .terminal = isatty(STDERR_FILENO)};
    struct sigaction act = {.sa_handler = on_signal}, was_int, was_term;
    machine_look(&machine);
    meter.shown = meter.begun;
    interrupted = 0;
    sigaction(SIGINT, &act, &was_int);
    sigaction(SIGTERM, &act, &was_term);
    status s = quantize_write(
        &q->plan, q->g, q->out,
        &(struct quantize_job){.n_thread = o.threads ? (uint32_t)o.threads : machine_cores(&machine),
                               .progress = show_progress,
                               .ctx = &meter},
        e);
    sigaction(SIGINT, &was_int, NULL);
    sigaction(SIGTERM, &was_term, NULL);
    if (meter.terminal && meter.shown > meter.begun) fputs("\r\033[K", stderr);
    q->seconds = clock_s() - meter.begun;
    return s;
}

/* --- before the work --- */

/* Whether path is the input, or any part of it when it is split: NAME-00001-of-00003.gguf and the others. */
static bool is_input(const struct quantizing *q, const char *path)
{
    struct stat out, in;
    char part[MODEL_PATH_MAX + 32];
    size_t n = strlen(q->path);
    unsigned no, count;
    if (stat(path, &out) != 0) return false;
    if (stat(q->path, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino) return true;
    if (n < 20 || sscanf(q->path + n - 20, "-%5u-of-%5u.gguf", &no, &count) != 2) return false;
    for (unsigned i = 1; i <= count; i++) {
        snprintf(part, sizeof part, "%.*s-%05u-of-%05u.gguf", (int)(n - 20), q->path, i, count);
        if (stat(part, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino) return true;
    }
    return false;
}

/* What the writer would find out only after the work. */
static status check_output(const struct quantizing *q, struct error *e)
{
    uint64_t room, disk;
    if (is_input(q, q->out)) return fail(e, ERR_ARG, "%s is the input; write to another file", q->out);
    if (machine_disk(q->out, &room, &disk, NULL) == OK && room < q->plan.bytes_out)
        return fail(e, ERR_IO, "%s needs %s, and there are %s free", q->out, human_bytes(q->plan.bytes_out).s,
                    human_bytes(room).s);
    return OK;
}

/* One line for each pair of types, with the first tensor as an example. */
static void warn_fallbacks(const struct quantize_plan *p)
{
    uint64_t told[DT_COUNT] = {0}; /* bit t of told[wanted] */
    static_assert(DT_COUNT <= 64, "types as bits");
    for (size_t i = 0; i < p->n_tensor; i++) {
        const struct quantize_tensor *q = &p->tensor[i];
        size_t same = 0;
        if (q->to == q->wanted || told[q->wanted] >> q->to & 1) continue;
        told[q->wanted] |= UINT64_C(1) << q->to;
        for (size_t k = i; k < p->n_tensor; k++)
            same += p->tensor[k].wanted == q->wanted && p->tensor[k].to == q->to;
        fprintf(stderr,
                "corral: warning: %zu tensor%s %s instead of %s: rows of %" PRId64
                " (%s) are not whole blocks of %u\n",
                same, same > 1 ? "s become" : " becomes", type_name(q->to), type_name(q->wanted),
                q->from->dim[q->from->rank - 1], q->from->name, dtype_info((uint32_t)q->wanted)->block_elems);
    }
}

static status check_again(const struct quantizing *q, struct error *e)
{
    if (q->plan.n_again == 0) return OK;
    if (!o.requantize)
        return fail(
            e, ERR_ARG,
            "%zu tensors of %s are quantized already, and would lose more than from the original: start "
            "from that, or allow it with --requantize",
            q->plan.n_again, q->path);
    fprintf(
        stderr,
        "corral: warning: %zu tensors are quantized a second time; from the original they would lose less\n",
        q->plan.n_again);
    return OK;
}

/* --- the summary --- */

struct by_type {
    size_t n_tensor;
    uint64_t weights, bytes;
    double sum_xx, sum_dd;
};

static void sum_types(const struct quantize_plan *p, struct by_type sum[DT_COUNT])
{
    memset(sum, 0, DT_COUNT * sizeof *sum);
    for (size_t i = 0; i < p->n_tensor; i++) {
        struct by_type *s = &sum[p->tensor[i].to];
        s->n_tensor++;
        s->weights += p->tensor[i].n;
        s->bytes += p->tensor[i].n_bytes;
        s->sum_xx += p->tensor[i].sum_xx;
        s->sum_dd += p->tensor[i].sum_dd;
    }
}

static double bits_per_weight(uint64_t bytes, uint64_t weights)
{
    return 8.0 * (double)bytes / (double)weights;
}

/* Root mean square of the change, by that of the weights; 0 when nothing changed. */
static double relative_error(double sum_xx, double sum_dd)
{
    return sum_xx > 0 ? sqrt(sum_dd / sum_xx) : 0;
}

static void text_tensors(struct buf *b, const struct quantize_plan *p)
{
    for (size_t i = 0; i < p->n_tensor; i++) {
        const struct quantize_tensor *q = &p->tensor[i];
        struct buf name = {0};
        human_string(&name, q->from->name, strlen(q->from->name), 60);
        buf_addf(b, "  %-44s %-7s -> %-7s %s%s\n", name.data, type_name(q->from->dtype), type_name(q->to),
                 human_bytes(q->n_bytes).s, q->to == q->wanted ? "" : "  (rows do not divide)");
        buf_deinit(&name);
    }
}

static void print_text(struct buf *b, const struct quantizing *q)
{
    const struct quantize_plan *p = &q->plan;
    struct by_type sum[DT_COUNT];
    sum_types(p, sum);
    if (o.dry_run) text_tensors(b, p);
    buf_addf(b, "%-10s %8s %20s %12s %8s%s\n", "Types", "tensors", "parameters", "bytes", "bits",
             o.dry_run ? "" : "      error");
    for (size_t t = 0; t < DT_COUNT; t++) {
        if (!sum[t].n_tensor) continue;
        buf_addf(b, "  %-8s %8zu %20" PRIu64 " %12s %8.3f", type_name((enum dtype)t), sum[t].n_tensor,
                 sum[t].weights, human_bytes(sum[t].bytes).s, bits_per_weight(sum[t].bytes, sum[t].weights));
        if (!o.dry_run) buf_addf(b, " %8.3f %%", 100 * relative_error(sum[t].sum_xx, sum[t].sum_dd));
        buf_addc(b, '\n');
    }
    buf_addf(b, "%s of weights %s %s (%.2f to %.2f bits each)", human_bytes(p->bytes_in).s,
             o.dry_run ? "would become" : "became", human_bytes(p->bytes_out).s,
             bits_per_weight(p->bytes_in, p->weights), bits_per_weight(p->bytes_out, p->weights));
    if (!o.dry_run) buf_addf(b, " in %.1f s: %s", q->seconds, q->out);
    buf_addc(b, '\n');
}

static void json_types(struct buf *b, const struct quantize_plan *p)
{
    struct by_type sum[DT_COUNT];
    bool first = true;
    sum_types(p, sum);
    for (size_t t = 0; t < DT_COUNT; t++) {
        if (!sum[t].n_tensor) continue;
        buf_addf(b,
                 "%s\"%s\":{\"tensors\":%zu,\"parameters\":%" PRIu64 ",\"bytes\":%" PRIu64
                 ",\"bits_per_weight\":",
                 first ? "" : ",", type_name((enum dtype)t), sum[t].n_tensor, sum[t].weights, sum[t].bytes);
        buf_json_double(b, bits_per_weight(sum[t].bytes, sum[t].weights));
        first = false;
        if (!o.dry_run) {
            buf_adds(b, ",\"error\":");
            buf_json_double(b, relative_error(sum[t].sum_xx, sum[t].sum_dd));
        }
        buf_addc(b, '}');
    }
}

static void json_tensors(struct buf *b, const struct quantize_plan *p)
{
    for (size_t i = 0; i < p->n_tensor; i++) {
        const struct quantize_tensor *q = &p->tensor[i];
        buf_adds(b, i ? ",{\"name\":" : "{\"name\":");
        buf_json_str(b, q->from->name, strlen(q->from->name));
        buf_addf(b, ",\"from\":\"%s\",\"to\":\"%s\",\"wanted\":\"%s\",\"bytes\":%zu",
                 type_name(q->from->dtype), type_name(q->to), type_name(q->wanted), q->n_bytes);
        if (!o.dry_run) {
            buf_adds(b, ",\"error\":");
            buf_json_double(b, relative_error(q->sum_xx, q->sum_dd));
        }
        buf_addc(b, '}');
    }
}

static void print_json(struct buf *b, const struct quantizing *q)
{
    const struct quantize_plan *p = &q->plan;
    buf_adds(b, "{\"input\":");
    buf_json_str(b, q->path, strlen(q->path));
    buf_adds(b, ",\"output\":");
    if (q->out)
        buf_json_str(b, q->out, strlen(q->out));
    else
        buf_adds(b, "null");
    buf_addf(b, ",\"type\":\"%s\",\"file_type\":%" PRIu32 ",\"dry_run\":%s", p->recipe->name,
             p->recipe->file_type, o.dry_run ? "true" : "false");
    buf_addf(b,
             ",\"parameters\":%" PRIu64 ",\"tensor_bytes_in\":%" PRIu64 ",\"tensor_bytes\":%" PRIu64
             ",\"fallbacks\":%zu,\"requantized\":%zu,\"bits_per_weight\":",
             p->weights, p->bytes_in, p->bytes_out, p->n_fallback, p->n_again);
    buf_json_double(b, bits_per_weight(p->bytes_out, p->weights));
    if (!o.dry_run) {
        buf_adds(b, ",\"seconds\":");
        buf_json_double(b, q->seconds);
    }
    buf_adds(b, ",\"types\":{");
    json_types(b, p);
    buf_adds(b, "},\"tensors\":[");
    json_tensors(b, p);
    buf_adds(b, "]}\n");
}

/* --- the command --- */

static status quantize(struct quantizing *q, struct error *e)
{
    struct buf text = {0};
    struct quantize_choice choice = {.pure = o.pure, .keep = &o.keep};
    TRY(quantize_recipe_find(&choice.recipe, q->type, e));
    TRY(model_file_open(&q->g, q->path, q->in, NULL, e));
    TRY(quantize_plan_init(&q->plan, q->g, &choice, e));
    if (q->out) TRY(check_output(q, e));
    warn_fallbacks(&q->plan);
    TRY(check_again(q, e));
    if (!o.dry_run) TRY(write_output(q, e));
    if (o.json)
        print_json(&text, q);
    else
        print_text(&text, q);
    status s = text.failed ? fail(e, ERR_MEMORY, "out of memory for the summary") : OK;
    if (s == OK) fwrite(text.data, 1, text.n, stdout); /* main looks at stdout's state */
    buf_deinit(&text);
    return s;
}

static int run(int argc, char **argv)
{
    struct error e = {0};
    struct quantizing q = {0};
    const char *word[3];
    size_t n_word;
    free(o.keep.item); /* a test runs this more than once */
    memset(&o, 0, sizeof o);
    if (opt_parse(opts, argc, argv, word, &n_word, COUNT_OF(word), &e) != OK)
        return cli_usage_error(&cmd_quantize, &e);
    if (n_word != 3 && !(n_word == 2 && o.dry_run)) {
        (void)fail(&e, ERR_ARG, "want IN OUT TYPE");
        return cli_usage_error(&cmd_quantize, &e);
    }
    q.in = word[0];
    q.out = n_word == 3 ? word[1] : NULL;
    q.type = word[n_word - 1];
    status s = quantize(&q, &e);
    quantize_plan_deinit(&q.plan);
    gguf_close(q.g);
    return s == OK ? EXIT_OK : cli_error(&e);
}

const struct command cmd_quantize = {
    .name = "quantize",
    .args = "IN OUT TYPE [--keep PATTERN=TYPE] [--dry-run] [--json]",
    .summary = "write a model file with fewer bits per weight",
    .help = "Types, and the bits of a weight in the format that most matrices get:\n\n"
            "  Q8_0                    8.5   next to no loss\n"
            "  Q6_K                    6.6\n"
            "  Q5_K_M Q5_K_S           5.5\n"
            "  Q4_K_M Q4_K_S           4.5   a good choice for most\n"
            "  IQ4_NL IQ4_XS           4.5, 4.25\n"
            "  Q3_K_L Q3_K_M Q3_K_S    3.4\n"
            "  Q2_K                    2.6   a clear loss\n"
            "  Q5_1 Q5_0 Q4_1 Q4_0     6, 5.5, 5, 4.5; the oldest formats\n"
            "  MXFP4                   4.25  beside experts all else is Q8_0\n"
            "  TQ1_0 TQ2_0             1.7, 2.1; only for models trained with weights -1, 0, 1\n"
            "  F16 BF16 F32            16, 16, 32\n\n"
            "The output matrix and others that lose most get more bits; vectors and small tables stay as "
            "they are.\n"
            "The summary gives the error of each type: root mean square, by that of the weights.\n\n"
            "Examples:\n"
            "  corral quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M\n"
            "  corral quantize model-00001-of-00003.gguf model.gguf Q8_0      parts become one file\n"
            "  corral quantize model-f16.gguf Q4_K_M --dry-run\n"
            "  corral quantize in.gguf out.gguf Q4_K_M --keep output.weight --keep '*ffn_down*=q8_0'\n",
    .opts = opts,
    .run = run,
};
