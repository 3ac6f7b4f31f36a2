/* What is about the server and not about one family of APIs: health, metrics, the document. */
#include <string.h>

#include "api/api_int.h"
#include "api/metrics.h"

enum { STALLED_AFTER_S = 120 };

/* 503 while draining, and when work is queued but no step has finished for a long time. */
static void health(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct engine_stats s;
    struct buf b = {0};
    engine_stats(a->o.engine, &s);
    double age_s = (double)s.last_step_ns * 1e-9;
    const char *state = http_server_draining(http_exchange_server(x)) ? "draining"
                        : age_s > STALLED_AFTER_S                     ? "stalled"
                                                                      : "ok";
    buf_addf(&b, "{\"status\":\"%s\",\"model\":", state);
    buf_json_str(&b, a->o.model, strlen(a->o.model));
    buf_addf(&b,
             ",\"running\":%u,\"queued\":%u,\"max_context\":%u,\"kv_blocks\":%u,\"kv_blocks_free\":%u,\"last_"
             "step_age_s\":",
             s.n_running, s.n_queued, s.max_context, s.n_kv_block, s.n_kv_free);
    buf_json_double(&b, age_s);
    buf_addf(&b,
             ",\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"steps\":%llu,\"connections\":%u,"
             "\"version\":\"" CORRAL_VERSION "\"}",
             (unsigned long long)s.n_prompt_tokens, (unsigned long long)s.n_decode_tokens,
             (unsigned long long)s.n_steps, http_server_connections(http_exchange_server(x)));
    http_reply(x, strcmp(state, "ok") ? 503 : 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

static void metrics(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct engine_metrics m;
    struct buf b = {0};
    engine_metrics(a->o.engine, &m);
    metrics_text(&b, &m, a->o.model, http_server_connections(http_exchange_server(x)));
    http_reply(x, 200, METRICS_TYPE, b.data, b.n);
    buf_deinit(&b);
}

static void openapi(struct http_exchange *x, void *user)
{
    struct buf b = {0};
    openapi_document(&b);
    http_reply(x, 200, "application/json", b.data, b.n);
    buf_deinit(&b);
}

static const struct endpoint rows[] = {
    {"GET", "/health", health, .summary = "Is the server well, and what is it doing?",
     .role = HTTP_ROLE_ANYONE},
    {"GET", "/metrics", metrics, .summary = "Counters and histograms for Prometheus"},
    {"GET", "/openapi.json", openapi, .summary = "This document"},
};
const struct family server_family = {"Server", rows, COUNT_OF(rows)};
