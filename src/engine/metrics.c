#include "engine/metrics.h"

/* Seconds, close to what vLLM exports so that dashboards carry over. */
static const double ttft_bounds[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5,
                                     0.75,  1,     2.5,  5,    7.5,  10,   20,   40,  80,   160};
static const double token_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04,
                                      0.05,   0.075, 0.1,    0.15,  0.2,  0.3,   0.5,  1,     2.5,  5};
static const double request_bounds[] = {0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1,  1.5, 2,   2.5,
                                        5,    10,   15,  20,  30,  40,  60, 120, 240, 480};
static const double length_bounds[] = {1,    2,    5,     10,    20,    50,     100,    200,    500,    1000,
                                       2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000};

#define HISTOGRAM(b) ((struct histogram){.bound = (b), .n_bound = COUNT_OF(b)})

void engine_metrics_init(struct engine_metrics *m)
{
    *m = (struct engine_metrics){.queue_s = HISTOGRAM(request_bounds),
                                 .ttft_s = HISTOGRAM(ttft_bounds),
                                 .e2e_s = HISTOGRAM(request_bounds),
                                 .inter_token_s = HISTOGRAM(token_bounds),
                                 .step_s = HISTOGRAM(token_bounds),
                                 .prefill_s = HISTOGRAM(request_bounds),
                                 .decode_s = HISTOGRAM(request_bounds),
                                 .prompt_tokens = HISTOGRAM(length_bounds),
                                 .output_tokens = HISTOGRAM(length_bounds)};
}

void histogram_add(struct histogram *h, double x)
{
    uint32_t i = 0;
    while (i < h->n_bound && x > h->bound[i]) i++;
    h->count[i]++;
    h->n++;
    h->sum += x;
}

double histogram_quantile(const struct histogram *h, double q)
{
    double want = q * (double)h->n, before = 0;
    if (!h->n) return 0;
    for (uint32_t i = 0; i < h->n_bound; before += (double)h->count[i++]) {
        if (before + (double)h->count[i] < want || !h->count[i]) continue;
        double low = i ? h->bound[i - 1] : 0;
        return low + (h->bound[i] - low) * (want - before) / (double)h->count[i];
    }
    return h->bound[h->n_bound - 1];
}

static void add_number(struct buf *out, const char *name, double x)
{
    buf_addf(out, ",\"%s\":", name);
    buf_json_double(out, x);
}

void engine_timing_json(struct buf *out, const struct engine_timing *t)
{
    uint32_t n_prompt = t->n_prompt - t->n_cached;
    double prompt_ms = (double)t->prefill_ns / 1e6, decode_ms = (double)t->decode_ns / 1e6;
    buf_addf(out, "{\"cache_n\":%u,\"prompt_n\":%u", t->n_cached, n_prompt);
    add_number(out, "prompt_ms", prompt_ms);
    add_number(out, "prompt_per_token_ms", n_prompt ? prompt_ms / n_prompt : 0);
    add_number(out, "prompt_per_second", prompt_ms > 0 ? n_prompt / prompt_ms * 1e3 : 0);
    buf_addf(out, ",\"predicted_n\":%u", t->n_decode);
    add_number(out, "predicted_ms", decode_ms);
    add_number(out, "predicted_per_token_ms", t->n_decode ? decode_ms / t->n_decode : 0);
    add_number(out, "predicted_per_second", decode_ms > 0 ? t->n_decode / decode_ms * 1e3 : 0);
    if (t->n_draft) buf_addf(out, ",\"draft_n\":%u,\"draft_n_accepted\":%u", t->n_draft, t->n_draft_right);
    add_number(out, "queue_ms", (double)t->queue_ns / 1e6);
    buf_addf(out, ",\"cache_miss\":\"%s\",\"preempted_n\":%u}", t->cache_miss ? t->cache_miss : "none",
             t->n_preempted);
}
