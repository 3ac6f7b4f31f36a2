/* corral bench: prefill and decode speed straight on a backend, against the memory bandwidth and arithmetic
 * of the same run.
 *
 * A round is: measure memory and arithmetic, prefill one prompt, then for each batch size copy that prompt's
 * KV to the other sequences and decode, and measure memory and arithmetic again; the better of both counts.
 * The first round warms up and is not counted. Rates are tokens of all sequences. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/rng.h"
#include "cli/arithmetic.h"
#include "cli/bandwidth.h"
#include "cli/cli.h"
#include "cli/session.h"

enum { MAX_SIZES = 16, MAX_BATCH = 256, MAX_ROUNDS = 1000 };

static struct {
    struct session_options model;
    int64_t n_prompt, n_gen, depth, rounds, step_tokens;
    const char *batch;
    bool json, profile, step_ahead;
} o;

static const struct opt opts[] = {
    SESSION_OPTS(o.model),
    {.name = "prompt-tokens",
     .letter = 'p',
     .type = OPT_INT,
     .at = &o.n_prompt,
     .min = 0,
     .max = 1 << 20,
     .def = "512",
     .help = "length of the prompt"},
    {.name = "gen-tokens",
     .letter = 'n',
     .type = OPT_INT,
     .at = &o.n_gen,
     .min = 0,
     .max = 1 << 20,
     .def = "128",
     .help = "decoding steps after it"},
    {.name = "depth",
     .letter = 'd',
     .type = OPT_INT,
     .at = &o.depth,
     .min = 0,
     .max = 1 << 20,
     .def = "0",
     .unit = "tokens",
     .help = "context behind the prompt; its keys and values are not computed, only read"},
    {.name = "step-tokens",
     .type = OPT_INT,
     .at = &o.step_tokens,
     .min = 16,
     .max = 65536,
     .def = "512",
     .unit = "tokens",
     .help = "of the prompt that are computed in one step"},
    {.name = "batch",
     .letter = 'b',
     .type = OPT_STR,
     .at = &o.batch,
     .def = "1",
     .arg = "N,N,...",
     .help = "numbers of sequences to decode at once"},
    {.name = "repeat",
     .letter = 'r',
     .type = OPT_INT,
     .at = &o.rounds,
     .min = 1,
     .max = MAX_ROUNDS,
     .def = "5",
     .help = "rounds that count"},
    {.name = "profile",
     .type = OPT_BOOL,
     .at = &o.profile,
     .help = "time per kind of operation too, of prefill and of each batch size"},
    {.name = "step-ahead",
     .type = OPT_BOOL,
     .at = &o.step_ahead,
     .def = "true",
     .help = "GPUs: decode as in serving, a step queued while one runs"},
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "one JSON object instead of a table"},
    {0}};

struct samples {
    double *v;
    size_t n;
};
/* Stages of all rounds that count; names come from the backend. */
enum { MAX_STAGES = 32 };
struct profile {
    struct backend_stage stage[MAX_STAGES];
    size_t n;
};
struct bench {
    struct session s;
    const struct model_desc *m;
    struct backend *backend;
    struct backend_model *model;
    struct backend_kv *kv;
    struct backend_plan plan;
    struct backend_device device;
    struct bandwidth *memory;
    uint32_t n_thread, n_size, size[MAX_SIZES], max_batch;
    uint32_t n_block; /* of one sequence */
    uint32_t *block;  /* (max_batch, n_block) */
    int32_t *token;   /* n_prompt, then max_batch of one step */
    struct batch_seq *seq;
    struct batch batch; /* of seq */
    struct samples memory_rate, byte_rate, float_rate, prefill_rate, decode_rate[MAX_SIZES];
    struct profile prefill_profile, decode_profile[MAX_SIZES];
};

static void add_sample(struct samples *s, double v)
{
    s->v = mem_realloc(s->v, s->n + 1, sizeof *s->v);
    s->v[s->n++] = v;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct spread {
    double min, median, max;
};
static struct spread spread(struct samples *s)
{
    if (!s->n) return (struct spread){NAN, NAN, NAN};
    qsort(s->v, s->n, sizeof *s->v, by_value);
    double median = (s->v[(s->n - 1) / 2] + s->v[s->n / 2]) / 2;
    return (struct spread){s->v[0], median, s->v[s->n - 1]};
}

static status parse_sizes(struct bench *b, const char *text, struct error *e)
{
    for (const char *p = text;; p++) {
        char *end;
        long n = strtol(p, &end, 10);
        if (end == p || (*end && *end != ',') || n < 1 || n > MAX_BATCH)
            return fail(e, ERR_ARG, "--batch: '%s' is not a list of numbers from 1 to %d", text, MAX_BATCH);
        if (b->n_size == MAX_SIZES) return fail(e, ERR_ARG, "--batch: more than %d sizes", MAX_SIZES);
        b->size[b->n_size++] = (uint32_t)n;
        b->max_batch = MAX(b->max_batch, (uint32_t)n);
        if (!*(p = end)) return OK;
    }
}

/* What a step does with weights: the bytes it reads when each is read once, and operations, two for a product
 * that is added; those of floats apart, they are other instructions. */
struct cost {
    double bytes, ops, float_ops;
};

/* `part` of a weight is read, `tokens` are multiplied with it. */
static void add_weight(struct cost *c, const struct model_desc *m, wref w, double part, double tokens)
{
    if (!w) return;
    const struct weight *x = &m->weight[w];
    double n = 2 * tokens;
    for (uint32_t i = 0; i < x->rank; i++) n *= (double)x->dim[i];
    c->bytes += part * (double)x->n_bytes;
    if (x->dtype == DT_F32 || x->dtype == DT_F16 || x->dtype == DT_BF16)
        c->float_ops += n;
    else
        c->ops += n;
}
static void add_linear(struct cost *c, const struct model_desc *m, const struct linear *l, double tokens)
{
    add_weight(c, m, l->weight, 1, tokens);
}

/* A step of n_token tokens, of which n_logits want logits: behind the last attention the others are of no
 * use. Of experts, the expected number that is chosen by any of the tokens. Norms, biases and the embedding's
 * rows are too small. */
static struct cost step_cost(const struct model_desc *m, double n_token, double n_logits)
{
    struct cost c = {0};
    const uint32_t last = model_last_attention(m);
    for (uint32_t i = 0; i < m->n_op; i++) {
        const struct op *op = &m->op[i];
        if (i == last) n_token = n_logits;
        switch (op->kind) {
        case OP_EMBED: break;
        case OP_QKV:
            add_linear(&c, m, &op->qkv.q, n_token);
            add_linear(&c, m, &op->qkv.k, n_token);
            add_linear(&c, m, &op->qkv.v, n_token);
            add_linear(&c, m, &op->qkv.fused, n_token);
            break;
        case OP_ATTN: add_linear(&c, m, &op->attn.out, n_token); break;
        case OP_FFN:
            add_linear(&c, m, &op->ffn.gate, n_token);
            add_linear(&c, m, &op->ffn.up, n_token);
            add_linear(&c, m, &op->ffn.down, n_token);
            break;
        case OP_MOE: {
            const struct op_moe *x = &op->moe;
            const double chosen = (double)x->n_used / m->cfg.n_expert, any = 1 - pow(1 - chosen, n_token);
            const wref expert[] = {x->gate, x->up, x->down};
            const wref all[] = {x->router, x->sh_router, x->sh_gate, x->sh_up, x->sh_down};
            for (size_t j = 0; j < COUNT_OF(expert); j++) add_weight(&c, m, expert[j], any, n_token * chosen);
            for (size_t j = 0; j < COUNT_OF(all); j++) add_weight(&c, m, all[j], 1, n_token);
            break;
        }
        case OP_LOGITS: add_linear(&c, m, &op->logits.out, n_logits); break;
        }
    }
    return c;
}

/* The keys and values that a step reads, at the middle of the decoding. */
static double step_kv_bytes(const struct bench *b, uint32_t batch)
{
    double length = (double)(o.depth + o.n_prompt) + (double)o.n_gen / 2;
    return (double)b->plan.kv_block_bytes / KV_BLOCK_TOKENS * length * batch;
}

static status name_device(struct bench *b, const struct backend_limits *l, struct error *e)
{
    struct backend_part part[BACKEND_MAX_SHARES];
    struct buf text = {0};
    uint32_t n;
    if (!b->s.on.n_share) return b->s.api->info(b->s.on.device, &b->device, e);
    TRY(backend_parts(b->s.api, b->backend, 0, b->m, l, part, &n, e));
    backend_parts_text(&text, part, n);
    snprintf(b->device.name, sizeof b->device.name, "%s", text.data);
    buf_deinit(&text);
    return OK;
}

static status set_up(struct bench *b, const char *word, struct error *e)
{
    TRY(parse_sizes(b, o.batch, e));
    if (o.n_prompt + o.n_gen == 0) return fail(e, ERR_ARG, "nothing to do: -p 0 and -n 0");
    int64_t length = o.depth + o.n_prompt + o.n_gen;
    if (!o.model.ctx) o.model.ctx = length;
    if (length > o.model.ctx)
        return fail(e, ERR_ARG,
                    "%lld tokens behind, %lld prompt and %lld generated tokens do not fit --ctx %lld",
                    (long long)o.depth, (long long)o.n_prompt, (long long)o.n_gen, (long long)o.model.ctx);
    TRY(session_open_model(&b->s, &o.model, word, e));
    b->m = model_desc(b->s.model);
    const struct backend_api *api = b->s.api;
    if (o.profile && !api->profile)
        return fail(e, ERR_UNSUPPORTED, "--profile: the %s backend does not measure its operations",
                    api->name);
    struct backend_device host;
    TRY(session_place(&b->s, &o.model, e));
    TRY(backend_cpu.info(0, &host, e));
    b->n_thread = o.model.threads ? (uint32_t)o.model.threads : host.n_core;
    struct backend_options options = b->s.on;
    options.host = session_host(&o.model);
    options.n_thread = b->n_thread;
    struct backend_limits limits = {
        .max_tokens = MAX((uint32_t)o.step_tokens, b->max_batch),
        .max_seqs = b->max_batch,
        .max_logits = b->max_batch,
        .max_context = (uint32_t)o.model.ctx,
    };
    if (!kv_type_by_name(o.model.kv_type, &limits.kv_type))
        return fail(e, ERR_ARG, "unknown KV type '%s'", o.model.kv_type);
    TRY(api->open(&b->backend, &options, e));
    TRY(api->plan(b->backend, b->m, &limits, &b->plan, e));
    TRY(name_device(b, &limits, e));
    TRY(api->load(&b->model, b->backend, b->m, &limits, session_progress, NULL, e));
    b->n_block = (uint32_t)((length + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS);
    uint32_t total;
    if (!checked_mul(b->n_block, b->max_batch, &total)) return fail(e, ERR_LIMIT, "too many KV blocks");
    TRY(api->kv_open(&b->kv, b->model, total, e));
    b->block = mem_zalloc(total, sizeof *b->block);
    for (uint32_t i = 0; i < total; i++) b->block[i] = i;
    b->token = mem_zalloc((size_t)o.n_prompt + b->max_batch, sizeof *b->token);
    b->seq = mem_zalloc(b->max_batch, sizeof *b->seq);
    return bandwidth_new(&b->memory, b->n_thread, e);
}

static void tear_down(struct bench *b)
{
    const struct backend_api *api = b->s.api;
    if (b->kv) api->kv_close(b->kv);
    if (b->model) api->unload(b->model);
    if (b->backend) api->close(b->backend);
    for (uint32_t i = 0; i < MAX_SIZES; i++) free(b->decode_rate[i].v);
    free(b->memory_rate.v);
    free(b->byte_rate.v);
    free(b->float_rate.v);
    free(b->prefill_rate.v);
    free(b->block);
    free(b->token);
    free(b->seq);
    bandwidth_free(b->memory);
    session_close(&b->s);
}

static void fill_random(struct bench *b, int32_t *token, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) token[i] = (int32_t)(rng_uniform(seed, 0, i, 0) * b->m->cfg.n_vocab);
}

/* A device that can draw sends a token of each row back, as in serving, and not the logits. */
static status queue_step(struct bench *b, uint32_t n_seq, uint64_t *ticket, struct error *e)
{
    static const struct sample_program best = {.greedy = true};
    for (uint32_t i = 0; i < n_seq && b->s.api->draws; i++)
        b->seq[i].draw = b->seq[i].n_logits ? &best : NULL;
    b->batch = (struct batch){.seq = b->seq, .n_seq = n_seq};
    return b->s.api->step(b->model, b->kv, &b->batch, ticket, e);
}

static status wait_step(struct bench *b, uint64_t ticket, struct error *e)
{
    struct step_result result;
    return b->s.api->wait(b->model, ticket, &result, e);
}

/* Seconds for the prompt, into sequence 0. */
static status prefill(struct bench *b, double *seconds, struct error *e)
{
    double start = clock_s();
    uint64_t ticket;
    for (uint32_t at = 0; at < o.n_prompt;) {
        uint32_t n = MIN((uint32_t)o.step_tokens, (uint32_t)o.n_prompt - at);
        b->seq[0] = (struct batch_seq){.token = b->token + at,
                                       .n_token = n,
                                       .pos = (uint32_t)o.depth + at,
                                       .block = b->block,
                                       .n_block = b->n_block,
                                       .n_logits = at + n == o.n_prompt};
        TRY(queue_step(b, 1, &ticket, e));
        TRY(wait_step(b, ticket, e));
        at += n;
    }
    *seconds = clock_s() - start;
    return OK;
}

static status copy_prompt(struct bench *b, uint32_t batch, struct error *e)
{
    uint32_t used = (uint32_t)((o.depth + o.n_prompt + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS);
    if (!used || batch == 1) return OK;
    struct kv_copy *list = mem_zalloc((size_t)used * (batch - 1), sizeof *list);
    uint32_t n = 0;
    for (uint32_t s = 1; s < batch; s++)
        for (uint32_t i = 0; i < used; i++) list[n++] = (struct kv_copy){i, s * b->n_block + i};
    status r = b->s.api->kv_copy(b->kv, list, n, e);
    free(list);
    return r;
}

static status decode(struct bench *b, uint32_t batch, double *seconds, struct error *e)
{
    TRY(copy_prompt(b, batch, e));
    const bool ahead = b->s.api->ahead && o.step_ahead;
    int32_t *token = b->token + o.n_prompt;
    uint64_t ticket, last = 0;
    double start = clock_s();
    for (uint32_t i = 0; i < o.n_gen; i++) {
        fill_random(b, token, batch, 2 + i);
        for (uint32_t s = 0; s < batch; s++)
            b->seq[s] = (struct batch_seq){.token = token + s,
                                           .n_token = 1,
                                           .pos = (uint32_t)(o.depth + o.n_prompt) + i,
                                           .block = b->block + (size_t)s * b->n_block,
                                           .n_block = b->n_block,
                                           .n_logits = 1};
        TRY(queue_step(b, batch, &ticket, e));
        if (ahead && i) TRY(wait_step(b, last, e));
        if (!ahead) TRY(wait_step(b, ticket, e));
        last = ticket;
    }
    if (ahead) TRY(wait_step(b, last, e));
    *seconds = clock_s() - start;
    return OK;
}

/* What the model's steps did since the last call, added to p, or forgotten. */
static void take_profile(struct bench *b, struct profile *p, bool counts)
{
    struct backend_stage stage[MAX_STAGES];
    if (!o.profile) return;
    size_t n = b->s.api->profile(b->model, stage, MAX_STAGES);
    for (size_t i = 0; i < n && counts; i++) {
        size_t at = 0;
        while (at < p->n && strcmp(p->stage[at].name, stage[i].name) != 0) at++;
        if (at == MAX_STAGES) continue;
        if (at == p->n) p->stage[p->n++] = (struct backend_stage){.name = stage[i].name};
        p->stage[at].count += stage[i].count;
        p->stage[at].ns += stage[i].ns;
        p->stage[at].bytes += stage[i].bytes;
        p->stage[at].ops += stage[i].ops;
    }
}

/* What this machine can do now. */
struct ceiling {
    double memory;
    struct arithmetic arithmetic;
};
static struct ceiling measure_ceiling(struct bench *b)
{
    return (struct ceiling){bandwidth_measure(b->memory), arithmetic_measure(b->n_thread)};
}

static status run_round(struct bench *b, bool counts, struct error *e)
{
    double seconds;
    const struct ceiling before = measure_ceiling(b);
    TRY(prefill(b, &seconds, e));
    if (counts && o.n_prompt) add_sample(&b->prefill_rate, (double)o.n_prompt / seconds);
    take_profile(b, &b->prefill_profile, counts);
    for (uint32_t i = 0; i < b->n_size && o.n_gen; i++) {
        TRY(decode(b, b->size[i], &seconds, e));
        if (counts) add_sample(&b->decode_rate[i], (double)o.n_gen * b->size[i] / seconds);
        take_profile(b, &b->decode_profile[i], counts);
    }
    const struct ceiling after = measure_ceiling(b);
    if (counts) {
        add_sample(&b->memory_rate, MAX(before.memory, after.memory));
        add_sample(&b->byte_rate, MAX(before.arithmetic.bytes, after.arithmetic.bytes));
        add_sample(&b->float_rate, MAX(before.arithmetic.floats, after.arithmetic.floats));
    }
    return OK;
}

static void json_spread(struct buf *out, const char *key, struct samples *s, double scale)
{
    struct spread v = spread(s);
    buf_addf(out, "\"%s\": {\"min\": ", key);
    buf_json_double(out, v.min * scale);
    buf_adds(out, ", \"median\": ");
    buf_json_double(out, v.median * scale);
    buf_adds(out, ", \"max\": ");
    buf_json_double(out, v.max * scale);
    buf_adds(out, "}");
}

/* Memory that decoding moves per second, and what part of the measured bandwidth that is. */
static double moved_per_s(struct bench *b, uint32_t i, double *step_bytes)
{
    *step_bytes = step_cost(b->m, b->size[i], b->size[i]).bytes + step_kv_bytes(b, b->size[i]);
    return *step_bytes * spread(&b->decode_rate[i]).median / b->size[i];
}

/* Products with weights per second of steps of n_token tokens with n_logits rows of logits at `rate` tokens a
 * second, and what part of this machine's arithmetic that is: NAN where that is not known. */
static double computed_per_s(struct bench *b, double n_token, double n_logits, double rate, double *fraction)
{
    const struct cost c = step_cost(b->m, n_token, n_logits);
    const double bytes = spread(&b->byte_rate).median, floats = spread(&b->float_rate).median;
    const double steps = rate / n_token;
    *fraction = bytes > 0 && floats > 0 ? (c.ops / bytes + c.float_ops / floats) * steps : (double)NAN;
    return (c.ops + c.float_ops) * steps;
}

static double total_ns(const struct profile *p)
{
    double ns = 0;
    for (size_t i = 0; i < p->n; i++) ns += (double)p->stage[i].ns;
    return ns;
}

/* , "profile": [...] */
static void json_profile(struct buf *out, const char *key, const struct profile *p)
{
    if (!o.profile) return;
    buf_addf(out, ", \"%s\": [", key);
    for (size_t i = 0; i < p->n; i++) {
        const struct backend_stage *s = &p->stage[i];
        buf_addf(out, "%s{\"name\": \"%s\", \"count\": %llu, \"seconds\": ", i ? ", " : "", s->name,
                 (unsigned long long)s->count);
        buf_json_double(out, (double)s->ns * 1e-9);
        buf_addf(out, ", \"bytes\": %.0f, \"ops\": %.0f}", s->bytes, s->ops);
    }
    buf_adds(out, "]");
}

static void print_profile(const char *title, const struct profile *p)
{
    const double all = total_ns(p);
    if (!o.profile || !p->n) return;
    printf("\n%-22s %7s %10s %9s %8s %9s\n", title, "share", "time", "each", "GB/s", "Gop/s");
    for (size_t i = 0; i < p->n; i++) {
        const struct backend_stage *s = &p->stage[i];
        printf("  %-20s %5.1f %% %7.1f ms %6.1f us", s->name, 100 * (double)s->ns / all, (double)s->ns * 1e-6,
               (double)s->ns * 1e-3 / (double)s->count);
        if (s->ops > 0) printf(" %8.1f %9.1f", s->bytes / (double)s->ns, s->ops / (double)s->ns);
        puts("");
    }
}

static void print_json(struct bench *b)
{
    struct buf out = {0};
    buf_adds(&out, "{\"engine\": \"corral\", \"version\": \"" CORRAL_VERSION "\", \"model\": ");
    buf_json_str(&out, b->s.name, strlen(b->s.name));
    buf_addf(&out, ", \"arch\": \"%s\", \"backend\": \"%s\", \"device\": ", b->m->cfg.arch, b->s.api->name);
    buf_json_str(&out, b->device.name, strlen(b->device.name));
    buf_addf(&out,
             ", \"threads\": %u, \"kv_type\": \"%s\", \"n_prompt\": %lld, \"n_gen\": %lld, \"depth\": %lld, "
             "\"rounds\": %lld, ",
             b->n_thread, o.model.kv_type, (long long)o.n_prompt, (long long)o.n_gen, (long long)o.depth,
             (long long)o.rounds);
    json_spread(&out, "prefill_tok_s", &b->prefill_rate, 1);
    buf_adds(&out, ", ");
    json_spread(&out, "decode_tok_s", &b->decode_rate[0], 1);
    buf_adds(&out, ", ");
    json_spread(&out, "memory_gb_s", &b->memory_rate, 1e-9);
    buf_adds(&out, ", ");
    json_spread(&out, "arithmetic_bytes_gop_s", &b->byte_rate, 1e-9);
    buf_adds(&out, ", ");
    json_spread(&out, "arithmetic_floats_gop_s", &b->float_rate, 1e-9);
    buf_adds(&out, ", \"prefill_gop_s\": ");
    double fraction,
        ops = computed_per_s(b, (double)o.n_prompt, 1, spread(&b->prefill_rate).median, &fraction);
    buf_json_double(&out, ops * 1e-9);
    buf_adds(&out, ", \"prefill_arithmetic_fraction\": ");
    buf_json_double(&out, fraction);
    buf_adds(&out, ", \"batches\": [");
    for (uint32_t i = 0; i < b->n_size; i++) {
        double bytes, moved = moved_per_s(b, i, &bytes);
        buf_addf(&out, "%s{\"batch\": %u, ", i ? ", " : "", b->size[i]);
        json_spread(&out, "decode_tok_s", &b->decode_rate[i], 1);
        buf_addf(&out, ", \"bytes_per_step\": %.0f, \"bytes_per_token\": %.0f, \"moved_gb_s\": ", bytes,
                 bytes / b->size[i]);
        buf_json_double(&out, moved * 1e-9);
        buf_adds(&out, ", \"memory_fraction\": ");
        buf_json_double(&out, moved / spread(&b->memory_rate).median);
        ops = computed_per_s(b, b->size[i], b->size[i], spread(&b->decode_rate[i]).median, &fraction);
        buf_adds(&out, ", \"gop_s\": ");
        buf_json_double(&out, ops * 1e-9);
        buf_adds(&out, ", \"arithmetic_fraction\": ");
        buf_json_double(&out, fraction);
        json_profile(&out, "profile", &b->decode_profile[i]);
        buf_adds(&out, "}");
    }
    buf_adds(&out, "]");
    json_profile(&out, "prefill_profile", &b->prefill_profile);
    buf_adds(&out, "}");
    puts(out.data);
    buf_deinit(&out);
}

static void print_ceiling(const char *what, struct samples *s, const char *unit)
{
    const struct spread v = spread(s);
    if (v.max > 0)
        printf("%-35s %10.1f %10.1f %10.1f %s   (min, median, max)\n", what, v.min * 1e-9, v.median * 1e-9,
               v.max * 1e-9, unit);
}

static void print_table(struct bench *b)
{
    struct spread memory = spread(&b->memory_rate), v = spread(&b->prefill_rate);
    double fraction, ops = computed_per_s(b, (double)o.n_prompt, 1, v.median, &fraction);
    printf("%s (%s), backend %s, %u threads, KV %s, %lld rounds\n", b->s.name, b->m->cfg.arch, b->s.api->name,
           b->n_thread, o.model.kv_type, (long long)o.rounds);
    print_ceiling("memory reads", &b->memory_rate, "GB/s");
    print_ceiling("arithmetic of bytes", &b->byte_rate, "Gop/s");
    print_ceiling("arithmetic of floats", &b->float_rate, "Gop/s");
    if (o.n_prompt) {
        printf("prefill %6lld tokens %14s %10.1f %10.1f %10.1f tok/s   %.1f Gop/s", (long long)o.n_prompt, "",
               v.min, v.median, v.max, ops * 1e-9);
        if (isfinite(fraction)) printf(", %.0f %% of arithmetic", 100 * fraction);
        puts("");
    }
    for (uint32_t i = 0; i < b->n_size && o.n_gen; i++) {
        double bytes, moved = moved_per_s(b, i, &bytes);
        v = spread(&b->decode_rate[i]);
        ops = computed_per_s(b, b->size[i], b->size[i], v.median, &fraction);
        printf("decode  %6lld steps of %3u sequences %7.1f %10.1f %10.1f tok/s   %.3f MB/token, %.1f GB/s, "
               "%.0f %% of memory",
               (long long)o.n_gen, b->size[i], v.min, v.median, v.max, bytes / b->size[i] * 1e-6,
               moved * 1e-9, 100 * moved / memory.median);
        if (isfinite(fraction)) printf("; %.1f Gop/s, %.0f %% of arithmetic", ops * 1e-9, 100 * fraction);
        puts("");
    }
    print_profile("prefill", &b->prefill_profile);
    for (uint32_t i = 0; i < b->n_size && o.n_gen; i++) {
        char title[32];
        snprintf(title, sizeof title, "decode, %u sequences", b->size[i]);
        print_profile(title, &b->decode_profile[i]);
    }
}

static int bench_main(int argc, char **argv)
{
    struct error e = {0};
    const char *word[1] = {NULL};
    size_t n_word;
    if (opt_parse(opts, argc, argv, word, &n_word, 1, &e) != OK) return cli_usage_error(&cmd_bench, &e);
    struct bench b = {0};
    status r = set_up(&b, word[0], &e);
    if (r == OK) fill_random(&b, b.token, (size_t)o.n_prompt, 1);
    for (int64_t i = 0; i <= o.rounds && r == OK; i++) r = run_round(&b, i > 0, &e);
    if (r == OK && o.json)
        print_json(&b);
    else if (r == OK)
        print_table(&b);
    tear_down(&b);
    return r == OK ? EXIT_OK : cli_error(&e);
}

const struct command cmd_bench = {
    .name = "bench",
    .args = "[MODEL | -m MODEL] [-p 512] [-n 128] [-d 0] [-b 1,4,16] [-r 5] [-t N] [--profile] [--json]",
    .summary = "measure prefill and decode speed against memory bandwidth and arithmetic",
    .help =
        "Examples:\n"
        "  corral bench -m model.gguf                       one sequence\n"
        "  corral bench -m model.gguf -b 1,4,16 --json      batches, for a script\n"
        "\nDecoding follows a prompt of -p tokens. The bytes moved per token are the weights that one step\n"
        "reads, shared by its sequences, and the KV cache at the middle of the run. Arithmetic is what the\n"
        "processor multiplies and adds in a loop of nothing else, in bytes and in floats; the fraction of "
        "it\n"
        "counts products with weights, by their type.\n",
    .opts = opts,
    .run = bench_main,
};
