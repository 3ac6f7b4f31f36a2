#include "api/metrics.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct labels {
    char ours[300], vllm[300]; /* {model="..."} without the closing brace */
};

/* Backslash, quote and newline are the three that the format escapes. */
static void label_value(char *to, size_t n, const char *from)
{
    size_t at = 0;
    for (; *from && at + 3 < n; from++) {
        if (strchr("\\\"\n", *from)) to[at++] = '\\';
        to[at++] = *from == '\n' ? 'n' : *from;
    }
    to[at] = 0;
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void number(struct buf *out, double x)
{
    buf_json_double(out, x);
    buf_addc(out, '\n');
}

/* ---- counters and gauges ----------------------------------------------------------------------------- */

struct value {
    const char *ours, *llamacpp, *vllm; /* without their prefixes; NULL: has none */
    const char *type, *help;
    double x;
};

static void add_value(struct buf *out, const struct value *v, const struct labels *l)
{
    const struct {
        const char *prefix, *name, *labels;
    } form[] = {{"corral_", v->ours, l->ours}, {"llamacpp:", v->llamacpp, ""}, {"vllm:", v->vllm, l->vllm}};
    for (size_t i = 0; i < COUNT_OF(form); i++) {
        char name[96];
        if (!form[i].name) continue;
        snprintf(name, sizeof name, "%s%s", form[i].prefix, form[i].name);
        head(out, name, v->type, v->help);
        buf_addf(out, "%s%s%s ", name, form[i].labels, *form[i].labels ? "}" : "");
        number(out, v->x);
    }
}

static double per_second(uint64_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

#define N(x) ((double)(x))

static void add_values(struct buf *out, const struct engine_metrics *m, const struct labels *l)
{
    const struct kv_stats *kv = &m->kv;
    const struct value row[] = {
        {"requests_total", NULL, NULL, "counter", "Choices taken in", N(m->n_submitted)},
        {"requests_rejected_total", NULL, NULL, "counter", "Choices refused because the queue was full",
         N(m->n_rejected)},
        {"requests_running", "requests_processing", "num_requests_running", "gauge", "Sequences that run",
         N(m->n_running)},
        {"requests_waiting", "requests_deferred", "num_requests_waiting", "gauge", "Choices that wait",
         N(m->n_queued)},
        {"preemptions_total", NULL, "num_preemptions_total", "counter",
         "Sequences sent back to the queue for want of KV blocks", N(m->n_preempted)},
        {"prompt_tokens_total", NULL, NULL, "counter", "Prompt tokens, computed and cached",
         N(m->n_prompt_tokens + m->n_cached_tokens)},
        {"prompt_tokens_computed_total", "prompt_tokens_total", NULL, "counter", "Prompt tokens computed",
         N(m->n_prompt_tokens)},
        {"prompt_tokens_cached_total", "prompt_tokens_cached_total", NULL, "counter",
         "Prompt tokens taken from the prefix cache", N(m->n_cached_tokens)},
        {NULL, NULL, "prompt_tokens_total", "counter", "Prompt tokens, computed and cached",
         N(m->n_prompt_tokens + m->n_cached_tokens)},
        {"generated_tokens_total", "tokens_predicted_total", "generation_tokens_total", "counter",
         "Tokens generated", N(m->n_decode_tokens)},
        {"prompt_seconds_total", "prompt_seconds_total", NULL, "counter",
         "Time from start to first token, of ended requests", m->prefill_s.sum},
        {"generated_seconds_total", "tokens_predicted_seconds_total", NULL, "counter",
         "Time from first token to end, of ended requests", m->decode_s.sum},
        {NULL, "prompt_tokens_seconds", NULL, "gauge", "Prompt tokens computed per second of one request",
         per_second(m->n_prompt_tokens, m->prefill_s.sum)},
        {NULL, "predicted_tokens_seconds", NULL, "gauge", "Tokens generated per second of one request",
         per_second(m->n_decode_tokens, m->decode_s.sum)},
        {"embedded_texts_total", NULL, NULL, "counter", "Texts made into vectors or scores",
         N(m->n_embedded)},
        {"steps_total", "n_decode_total", NULL, "counter", "Steps of the model", N(m->n_steps)},
        {"step_sequences_total", NULL, NULL, "counter", "Sequences, added up over all steps",
         N(m->n_step_seqs)},
        {"steps_ahead_total", NULL, NULL, "counter", "Steps that were queued while the one before still ran",
         N(m->n_ahead)},
        {"step_rows_thrown_away_total", NULL, NULL, "counter",
         "Rows of such steps whose sequence turned out to have ended", N(m->n_thrown_rows)},
        {NULL, "n_busy_slots_per_decode", NULL, "gauge", "Sequences in a step, on average",
         ratio(m->n_step_seqs, m->n_steps)},
        {"longest_sequence_tokens", "n_tokens_max", NULL, "gauge", "Tokens of the longest sequence so far",
         N(m->max_known)},
        {"drafts_total", "spec_decode_num_drafts_total", "spec_decode_num_drafts_total", "counter",
         "Steps of a sequence that had guesses to try", N(m->n_drafts)},
        {"draft_tokens_total", "spec_decode_num_draft_tokens_total", "spec_decode_num_draft_tokens_total",
         "counter", "Tokens guessed", N(m->n_draft_tokens)},
        {"draft_tokens_accepted_total", "spec_decode_num_accepted_tokens_total",
         "spec_decode_num_accepted_tokens_total", "counter", "Tokens guessed right", N(m->n_draft_right)},
        {"kv_usage_ratio", "kv_cache_usage_ratio", "kv_cache_usage_perc", "gauge",
         "Share of the KV blocks that running sequences hold",
         ratio(kv->n_private + kv->n_live, kv->n_block)},
        {"prefix_lookups_total", NULL, NULL, "counter", "Searches of the prefix cache", N(kv->lookups)},
        {"prefix_lookup_tokens_total", NULL, "prefix_cache_queries_total", "counter",
         "Tokens searched in the prefix cache", N(kv->lookup_tokens)},
        {"prefix_hit_tokens_total", NULL, "prefix_cache_hits_total", "counter",
         "Tokens found in the prefix cache", N(kv->hit_tokens)},
        {"kv_evictions_total", NULL, NULL, "counter", "Cached blocks given up for others", N(kv->evictions)},
        {"kv_published_total", NULL, NULL, "counter", "Blocks that entered the cache", N(kv->published)},
        {"kv_deduplicated_total", NULL, NULL, "counter", "Blocks dropped because the cache had the same",
         N(kv->deduplicated)},
        {"kv_copies_total", NULL, NULL, "counter", "Blocks copied before they were written", N(kv->copies)},
        {"kv_collisions_total", NULL, NULL, "counter", "Equal hashes of different blocks", N(kv->collisions)},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) add_value(out, &row[i], l);
}

static void add_labelled(struct buf *out, const struct engine_metrics *m, const struct labels *l)
{
    const struct {
        const char *name;
        uint32_t n;
    } state[] = {
        {"free", m->kv.n_free}, {"private", m->kv.n_private}, {"live", m->kv.n_live}, {"idle", m->kv.n_idle}};
    head(out, "corral_kv_blocks", "gauge",
         "KV blocks: free, being written, cached and held, cached and idle");
    for (size_t i = 0; i < COUNT_OF(state); i++)
        buf_addf(out, "corral_kv_blocks%s,state=\"%s\"} %u\n", l->ours, state[i].name, state[i].n);
    static const char *const reason[N_FINISH_REASON] = {"stop",      "length", "context",
                                                        "cancelled", "error",  "timeout"};
    head(out, "corral_requests_ended_total", "counter", "Choices that ended, by reason");
    for (int i = 0; i < N_FINISH_REASON; i++)
        buf_addf(out, "corral_requests_ended_total%s,reason=\"%s\"} %llu\n", l->ours, reason[i],
                 (unsigned long long)m->n_ended[i]);
    const struct {
        const char *name;
        uint64_t n;
    } ok[] = {{"stop", m->n_ended[FINISH_STOP]},
              {"length", m->n_ended[FINISH_LENGTH] + m->n_ended[FINISH_CONTEXT]},
              {"abort", m->n_ended[FINISH_CANCELLED] + m->n_ended[FINISH_TIMEOUT]},
              {"error", m->n_ended[FINISH_ERROR]}};
    head(out, "vllm:request_success_total", "counter", "Choices that ended, by reason");
    for (size_t i = 0; i < COUNT_OF(ok); i++)
        buf_addf(out, "vllm:request_success_total%s,finished_reason=\"%s\"} %llu\n", l->vllm, ok[i].name,
                 (unsigned long long)ok[i].n);
}

/* ---- histograms -------------------------------------------------------------------------------------- */

static void add_histogram(struct buf *out, const char *name, const char *labels, const char *help,
                          const struct histogram *h)
{
    uint64_t n = 0;
    head(out, name, "histogram", help);
    for (uint32_t i = 0; i < h->n_bound; i++) {
        n += h->count[i];
        buf_addf(out, "%s_bucket%s,le=\"%g\"} %llu\n", name, labels, h->bound[i], (unsigned long long)n);
    }
    buf_addf(out, "%s_bucket%s,le=\"+Inf\"} %llu\n%s_sum%s} ", name, labels, (unsigned long long)h->n, name,
             labels);
    number(out, h->sum);
    buf_addf(out, "%s_count%s} %llu\n", name, labels, (unsigned long long)h->n);
}

static void add_histograms(struct buf *out, const struct engine_metrics *m, const struct labels *l)
{
    const struct {
        const char *ours, *vllm, *help;
        const struct histogram *h;
    } row[] = {
        {"queue_seconds", "request_queue_time_seconds", "Submission to start", &m->queue_s},
        {"time_to_first_token_seconds", "time_to_first_token_seconds", "Submission to first token",
         &m->ttft_s},
        {"inter_token_seconds", "inter_token_latency_seconds", "Between two tokens of an answer",
         &m->inter_token_s},
        {"request_seconds", "e2e_request_latency_seconds", "Submission to end", &m->e2e_s},
        {"prompt_seconds", "request_prefill_time_seconds", "Start to first token", &m->prefill_s},
        {"decode_seconds", "request_decode_time_seconds", "First token to end", &m->decode_s},
        {"step_seconds", NULL, "One step of the model", &m->step_s},
        {"request_prompt_tokens", "request_prompt_tokens", "Prompt tokens of a request", &m->prompt_tokens},
        {"request_generated_tokens", "request_generation_tokens", "Generated tokens of a choice",
         &m->output_tokens},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        char name[96];
        snprintf(name, sizeof name, "corral_%s", row[i].ours);
        add_histogram(out, name, l->ours, row[i].help, row[i].h);
        if (!row[i].vllm) continue;
        snprintf(name, sizeof name, "vllm:%s", row[i].vllm);
        add_histogram(out, name, l->vllm, row[i].help, row[i].h);
    }
}

/* ---- the process ------------------------------------------------------------------------------------- */

static double resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2) resident = 0;
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void add_process(struct buf *out, uint32_t n_connection)
{
    struct rusage u = {0};
    getrusage(RUSAGE_SELF, &u);
    const struct {
        const char *name, *type, *help;
        double x;
    } row[] = {
        {"process_cpu_seconds_total", "counter", "Processor time used",
         N(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + N(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6},
        {"process_resident_memory_bytes", "gauge", "Memory in use, mapped weights included",
         resident_bytes()},
        {"corral_http_connections", "gauge", "Connections of clients", n_connection},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        head(out, row[i].name, row[i].type, row[i].help);
        buf_addf(out, "%s ", row[i].name);
        number(out, row[i].x);
    }
    head(out, "corral_build_info", "gauge", "The version of this program");
    buf_adds(out, "corral_build_info{version=\"" CORRAL_VERSION "\"} 1\n");
}

void metrics_text(struct buf *out, const struct engine_metrics *m, const char *model, uint32_t n_connection)
{
    char name[256];
    struct labels l;
    label_value(name, sizeof name, model);
    snprintf(l.ours, sizeof l.ours, "{model=\"%s\"", name);
    snprintf(l.vllm, sizeof l.vllm, "{engine=\"0\",model_name=\"%s\"", name);
    add_values(out, m, &l);
    add_labelled(out, m, &l);
    add_histograms(out, m, &l);
    add_process(out, n_connection);
}
