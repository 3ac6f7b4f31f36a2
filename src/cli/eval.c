/* corral eval: perplexity of a model over a text, and its KL divergence from another model. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/eval_score.h"
#include "cli/machine.h"
#include "cli/session.h"

static struct {
    struct session_options model;
    const char *file, *against, *against_kv_type;
    int64_t chunks;
    bool json, quiet;
} o;

// clang-format off
static const struct opt opts[] = {
    {.name = "file", .letter = 'f', .type = OPT_STR, .at = &o.file, .arg = "TEXT",
     .help = "the text; - for standard input"},
    {.name = "against", .type = OPT_STR, .at = &o.against, .arg = "OTHER",
     .help = "the model to compare with: the reference, for a quantized file its original"},
    {.name = "against-kv-type", .type = OPT_STR, .at = &o.against_kv_type, .choices = KV_TYPES, .arg = "TYPE",
     .help = "numbers in the KV cache of the reference; default: as --kv-type"},
    {.name = "chunks", .type = OPT_INT, .at = &o.chunks, .min = 0, .max = INT32_MAX, .def = "0",
     .help = "stop after this many chunks; 0: the whole text"},
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "one JSON object instead of a table"},
    {.name = "quiet", .letter = 'q', .type = OPT_BOOL, .at = &o.quiet, .help = "no progress"},
    {.name = "", .help = "Model"},
    MODEL_OPT(o.model.model),
    {.name = "ctx", .letter = 'c', .type = OPT_INT, .at = &o.model.ctx, .min = 0, .max = SESSION_MAX_CTX, .def = "0",
     .unit = "tokens", .help = "of one chunk; 0: 512, or as trained if that is less"},
    KV_TYPE_OPT(o.model.kv_type, "f16"),
    BACKEND_OPT(o.model.backend, "auto"),
    DEVICES_OPT(o.model.devices),
    {.name = "threads", .letter = 't', .type = OPT_INT, .at = &o.model.threads, .min = 0, .max = SESSION_MAX_THREADS,
     .def = "0", .help = "threads; 0: all cores. The result does not depend on it"},
    {.name = "set", .type = OPT_LIST, .at = &o.model.set, .arg = "KEY=TYPE:VALUE",
     .help = "override metadata, of both models"},
    {0}};
// clang-format on

enum { DEFAULT_CHUNK = 512, LEAST_CHUNK = 4 };

/* One of the two models, opened. */
struct side {
    struct session s;
    struct forward f;
};

struct eval {
    struct side model, ref;
    struct tok_ids ids;
    uint32_t ctx, n_chunk, step_tokens, n_core;
    struct eval_score score;
    double seconds;
};

/* --- progress --- */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    interrupted = sig;
}

struct meter {
    uint32_t n_chunk;
    double begun, shown;
    bool terminal;
};

static bool show_progress(void *user, const struct eval_score *s)
{
    struct meter *m = user;
    double now = clock_s(), spent = now - m->begun;
    double left = spent / s->n_chunk * (m->n_chunk - s->n_chunk);
    if (!o.quiet &&
        now - m->shown >= (m->terminal ? 0.2 : 10)) { /* a log wants fewer lines than a terminal */
        fprintf(stderr, "%schunk %u of %u  perplexity %.4f +- %.4f", m->terminal ? "\r\033[K" : "",
                s->n_chunk, m->n_chunk, exp(s->nll.mean), exp(s->nll.mean) * moments_error(&s->nll));
        if (s->kld.n) fprintf(stderr, "  KL divergence %.6f", s->kld.mean);
        fprintf(stderr, "  %.0f s left%s", left, m->terminal ? "" : "\n");
        fflush(stderr);
        m->shown = now;
    }
    return !interrupted;
}

static status score(struct eval *v, struct error *e)
{
    struct meter meter = {.n_chunk = v->n_chunk, .begun = clock_s(), .terminal = isatty(STDERR_FILENO)};
    meter.shown = meter.begun;
    struct eval_job job = {
        .model = &v->model.f,
        .ref = o.against ? &v->ref.f : NULL,
        .token = v->ids.id,
        .n_token = v->ids.n,
        .ctx = v->ctx,
        .n_chunk = v->n_chunk,
        .bos = tokenizer_adds_bos(v->model.s.tok) ? tokenizer_bos(v->model.s.tok) : -1,
        .step_tokens = v->step_tokens,
        .n_thread = o.model.threads ? (uint32_t)o.model.threads : v->n_core,
        .progress = show_progress,
        .user = &meter,
    };
    struct sigaction act = {.sa_handler = on_signal}, was_int;
    interrupted = 0;
    sigaction(SIGINT, &act, &was_int);
    status st = eval_score(&v->score, &job, e);
    sigaction(SIGINT, &was_int, NULL);
    if (meter.terminal && meter.shown > meter.begun) fputs("\r\033[K", stderr);
    v->seconds = clock_s() - meter.begun;
    return st;
}

/* --- before the work --- */

static status read_text(struct eval *v, struct error *e)
{
    struct buf text = {.max = (size_t)1 << 30};
    status st = strcmp(o.file, "-") ? buf_read_file(&text, o.file, e) : buf_read_fd(&text, STDIN_FILENO, e);
    if (st == OK)
        st = tokenizer_encode(v->model.s.tok, text.data ? text.data : "", text.n, &(struct tok_options){0},
                              &v->ids, e);
    buf_deinit(&text);
    return st;
}

/* Ids are compared across the models, so each must stand for the same text. */
static status same_vocabulary(const struct session *a, const struct session *b, struct error *e)
{
    uint32_t n = model_desc(a->model)->cfg.n_vocab, n_b = model_desc(b->model)->cfg.n_vocab;
    uint32_t n_tok = tokenizer_n_vocab(a->tok), n_tok_b = tokenizer_n_vocab(b->tok);
    if (n != n_b || n_tok != n_tok_b)
        return fail(e, ERR_ARG,
                    "%s has a vocabulary of %u tokens, %s one of %u: to compare, they must be the same",
                    a->name, n != n_b ? n : n_tok, b->name, n != n_b ? n_b : n_tok_b);
    for (uint32_t id = 0; id < n_tok; id++) {
        size_t len_a, len_b;
        const char *text_a = tokenizer_text(a->tok, (int32_t)id, &len_a);
        const char *text_b = tokenizer_text(b->tok, (int32_t)id, &len_b);
        if (len_a != len_b || memcmp(text_a, text_b, len_a) != 0)
            return fail(
                e, ERR_ARG,
                "token %u is '%.*s' in %s and '%.*s' in %s: to compare, the vocabularies must be the same",
                id, (int)MIN(len_a, (size_t)40), text_a, a->name, (int)MIN(len_b, (size_t)40), text_b,
                b->name);
    }
    return OK;
}

static status set_chunks(struct eval *v, struct error *e)
{
    uint64_t n = v->ids.n / v->ctx;
    if (n == 0)
        return fail(e, ERR_ARG,
                    "the text has %zu tokens, one chunk takes %u: use a longer text or a smaller --ctx",
                    v->ids.n, v->ctx);
    v->n_chunk = (uint32_t)MIN(n, (uint64_t)(o.chunks ? o.chunks : INT32_MAX));
    return OK;
}

/* Rows of logits are what takes memory: so many tokens a step that they stay below 64 MiB. */
static void set_step(struct eval *v)
{
    const size_t row_bytes = sizeof(float) * model_desc(v->model.s.model)->cfg.n_vocab;
    const size_t fit = ((size_t)64 << 20) / row_bytes;
    v->step_tokens = (uint32_t)MIN(MAX(fit, 32u), MIN(v->ctx, 512u));
}

static status start(struct side *d, const struct eval *v, const char *kv_type, struct error *e)
{
    struct forward_options fo = {
        .api = d->s.api, .on = d->s.on, .step_tokens = v->step_tokens, .context = v->ctx};
    fo.on.n_thread = (uint32_t)o.model.threads;
    if (!kv_type_by_name(kv_type, &fo.kv_type)) return fail(e, ERR_ARG, "unknown KV type '%s'", kv_type);
    return forward_open(&d->f, model_desc(d->s.model), &fo, e);
}

static status prepare(struct eval *v, const char *word, struct error *e)
{
    struct session_options ref = o.model;
    ref.model = NULL;
    TRY(session_open(&v->model.s, &o.model, word, e));
    v->ctx = o.model.ctx ? (uint32_t)o.model.ctx : MIN(v->model.s.ctx, (uint32_t)DEFAULT_CHUNK);
    ref.ctx = v->ctx;
    if (v->ctx < LEAST_CHUNK)
        return fail(e, ERR_ARG, "--ctx is %u; it must be at least %d", v->ctx, LEAST_CHUNK);
    if (o.against) {
        TRY(session_open(&v->ref.s, &ref, o.against, e));
        TRY(same_vocabulary(&v->model.s, &v->ref.s, e));
    }
    TRY(read_text(v, e));
    TRY(set_chunks(v, e));
    set_step(v);
    TRY(start(&v->model, v, o.model.kv_type, e));
    return o.against ? start(&v->ref, v, o.against_kv_type ? o.against_kv_type : o.model.kv_type, e) : OK;
}

/* --- results --- */

static double perplexity_error(const struct moments *nll)
{
    return exp(nll->mean) * moments_error(nll);
}

static double agreement(const struct eval_score *s)
{
    return (double)s->n_same_top / (double)s->n_scored;
}

static void print_comparison(const struct eval *v)
{
    const struct eval_score *s = &v->score;
    double same = agreement(s), n = (double)s->n_scored;
    printf("reference       %s\n", v->ref.s.path);
    printf("  perplexity    %.4f +- %.4f\n", exp(s->nll_ref.mean), perplexity_error(&s->nll_ref));
    printf("  ratio         %.6f +- %.6f\n", exp(s->excess.mean), perplexity_error(&s->excess));
    printf("KL divergence   %.6f +- %.6f nats\n", s->kld.mean, moments_error(&s->kld));
    printf("  median        %.6f\n", s->kld_median);
    printf("  90 %%          %.6f\n", s->kld_p90);
    printf("  99 %%          %.6f\n", s->kld_p99);
    printf("  99.9 %%        %.6f\n", s->kld_p999);
    printf("  most          %.6f\n", s->kld_max);
    printf("same best token %.3f +- %.3f %%\n", 100 * same,
           n > 1 ? 100 * sqrt(same * (1 - same) / (n - 1)) : 0);
    printf("probability of the true token moved by %.3f %% (root mean square)\n", 100 * sqrt(s->moved.mean));
}

static void print_table(const struct eval *v)
{
    const struct eval_score *s = &v->score;
    printf("model           %s\n", v->model.s.path);
    printf("text            %zu tokens; %u chunks of %u, %llu tokens scored in %.1f s\n", v->ids.n,
           s->n_chunk, v->ctx, (unsigned long long)s->n_scored, v->seconds);
    printf("perplexity      %.4f +- %.4f\n", exp(s->nll.mean), perplexity_error(&s->nll));
    if (o.against) print_comparison(v);
}

static void json_number(struct buf *b, const char *key, double value)
{
    buf_addf(b, ", \"%s\": ", key);
    buf_json_double(b, value);
}

static void print_json(const struct eval *v)
{
    const struct eval_score *s = &v->score;
    struct buf b = {0};
    buf_adds(&b, "{\"model\": ");
    buf_json_str(&b, v->model.s.path, strlen(v->model.s.path));
    buf_addf(&b, ", \"backend\": \"%s\", \"tokens\": %zu, \"ctx\": %u, \"chunks\": %u, \"scored\": %llu",
             v->model.s.api->name, v->ids.n, v->ctx, s->n_chunk, (unsigned long long)s->n_scored);
    json_number(&b, "seconds", v->seconds);
    json_number(&b, "nll", s->nll.mean);
    json_number(&b, "perplexity", exp(s->nll.mean));
    json_number(&b, "perplexity_error", perplexity_error(&s->nll));
    if (o.against) {
        buf_adds(&b, ", \"against\": {\"model\": ");
        buf_json_str(&b, v->ref.s.path, strlen(v->ref.s.path));
        json_number(&b, "nll", s->nll_ref.mean);
        json_number(&b, "perplexity", exp(s->nll_ref.mean));
        json_number(&b, "perplexity_error", perplexity_error(&s->nll_ref));
        json_number(&b, "perplexity_ratio", exp(s->excess.mean));
        json_number(&b, "perplexity_ratio_error", perplexity_error(&s->excess));
        json_number(&b, "kld_mean", s->kld.mean);
        json_number(&b, "kld_mean_error", moments_error(&s->kld));
        json_number(&b, "kld_median", s->kld_median);
        json_number(&b, "kld_p90", s->kld_p90);
        json_number(&b, "kld_p99", s->kld_p99);
        json_number(&b, "kld_p99_9", s->kld_p999);
        json_number(&b, "kld_max", s->kld_max);
        json_number(&b, "same_top", agreement(s));
        json_number(&b, "rms_probability_change", sqrt(s->moved.mean));
        buf_addc(&b, '}');
    }
    buf_adds(&b, "}\n");
    fwrite(b.data, 1, b.n, stdout);
    buf_deinit(&b);
}

static int run(int argc, char **argv)
{
    struct error e = {0};
    struct eval v = {0};
    struct machine machine;
    const char *word = NULL;
    size_t n_word;
    if (opt_parse(opts, argc, argv, &word, &n_word, 1, &e) != OK) return cli_usage_error(&cmd_eval, &e);
    if (!o.file) {
        (void)fail(&e, ERR_ARG, "no text to evaluate on: give one with -f FILE");
        return cli_usage_error(&cmd_eval, &e);
    }
    if (o.against_kv_type && !o.against) {
        (void)fail(&e, ERR_ARG, "--against-kv-type needs --against (which may be the same model)");
        return cli_usage_error(&cmd_eval, &e);
    }
    machine_look(&machine);
    v.n_core = machine_cores(&machine);
    status st = prepare(&v, word, &e);
    if (st == OK) st = score(&v, &e);
    if (st == OK && o.json)
        print_json(&v);
    else if (st == OK)
        print_table(&v);
    tok_ids_deinit(&v.ids);
    forward_close(&v.model.f);
    forward_close(&v.ref.f);
    session_close(&v.model.s);
    session_close(&v.ref.s);
    return st == OK ? EXIT_OK : cli_error(&e);
}

const struct command cmd_eval = {
    .name = "eval",
    .args = "[MODEL | -m MODEL] -f TEXT [--against OTHER] [--ctx 512] [--chunks N] [--json]",
    .summary = "perplexity over a text, and KL divergence from another file",
    .help =
        "The text is cut into chunks; the tokens in the later half of each are scored, as llama.cpp's "
        "perplexity\n"
        "tool does it. docs/eval.md has the method.\n\n"
        "Examples:\n"
        "  corral eval model.gguf -f wiki.test.raw\n"
        "  corral eval model-Q4_K_M.gguf -f wiki.test.raw --against model-F16.gguf\n"
        "  corral eval model.gguf -f text.txt --kv-type q8_0 --against model.gguf --against-kv-type f16\n",
    .opts = opts,
    .run = run,
};
