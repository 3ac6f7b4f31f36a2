/* The fields of /health are those that the two servers whose requirements Corral took over had
 * (design/MISSION.md, sections 1.10 and 3), and our own counters. What this machine has no device for is
 * null, 0 or empty. */
#include "api/health.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/render.h"
#include "base/clock.h"

enum { STALLED_AFTER_S = 120 };

static bool stalled(const struct engine_stats *s)
{
    return (double)s->last_step_ns * 1e-9 > STALLED_AFTER_S;
}

const char *health_trouble(const struct api *a, const struct http_exchange *x)
{
    struct engine_stats s;
    engine_stats(a->o.engine, &s);
    return http_server_draining(http_exchange_server(x)) ? "draining" : stalled(&s) ? "stalled" : NULL;
}

/* ---- the report -------------------------------------------------------------------------------------- */

static void add_summary(struct buf *b, const struct api *a, const char *trouble)
{
    buf_addf(b, "{\"status\":\"%s\",\"reason\":", trouble ? "degraded" : "healthy");
    if (trouble)
        render_str(b, trouble);
    else
        buf_adds(b, "null");
    buf_addf(b,
             ",\"uptime_seconds\":%lld,\"models_cached\":1,\"cache_limit\":1,\"downloads_active\":0,"
             "\"downloads_queued\":0,\"torch_version\":null,\"cuda_available\":false,\"gpu_memory_allocated_"
             "mb\":null,"
             "\"gpu_memory_reserved_mb\":null",
             (long long)time(NULL) - (long long)a->created);
}

static void add_engine(struct buf *b, const struct api *a, const struct http_exchange *x,
                       const struct engine_stats *s)
{
    buf_adds(b, ",\"model\":");
    render_str(b, a->o.model);
    buf_adds(b, s->asleep ? ",\"asleep\":true" : ",\"asleep\":false");
    buf_addf(b,
             ",\"running\":%u,\"queued\":%u,\"max_context\":%u,\"kv_blocks\":%u,\"kv_blocks_free\":%u,"
             "\"failed_steps\":%u,\"last_step_age_s\":",
             s->n_running, s->n_queued, s->max_context, s->n_kv_block, s->n_kv_free, s->failed_steps);
    buf_json_double(b, (double)s->last_step_ns * 1e-9);
    buf_addf(b,
             ",\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"steps\":%llu,\"connections\":%u,"
             "\"version\":\"" CORRAL_VERSION "\"",
             (unsigned long long)s->n_prompt_tokens, (unsigned long long)s->n_decode_tokens,
             (unsigned long long)s->n_steps, http_server_connections(http_exchange_server(x)));
}

/* One process serves one model. */
static void add_pool(struct buf *b, const struct api *a, const struct http_exchange *x, const char *trouble)
{
    buf_addf(b, ",\"servers\":[{\"id\":0,\"host\":null,\"port\":%u,\"model_id\":",
             http_server_port(http_exchange_server(x)));
    render_str(b, a->o.model);
    buf_addf(
        b,
        ",\"status\":\"%s\",\"process\":%d,\"gpu_assignment\":null}],\"gpu_pool_status\":{\"total_gpus\":0,"
        "\"available_gpus\":0,\"total_vram\":0.0,\"available_vram\":0.0,\"gpu_list\":[],"
        "\"allocation_strategy\":\"single-gpu-preferred\",\"gpu_available\":false,"
        "\"gpu_monitoring_enabled\":false}",
        trouble && !strcmp(trouble, "stalled") ? "error" : "running", (int)getpid());
}

static int write_report(struct buf *b, struct http_exchange *x, void *api)
{
    const struct api *a = api;
    const char *trouble = health_trouble(a, x);
    struct engine_stats s;
    engine_stats(a->o.engine, &s);
    add_summary(b, a, trouble);
    add_engine(b, a, x, &s);
    add_pool(b, a, x, trouble);
    buf_addc(b, '}');
    return trouble ? 503 : 200;
}

void health_report(struct http_exchange *x, void *user)
{
    struct api *a = user;
    http_reply_fresh(x, a->health, "application/json", write_report, a);
}

/* ---- probes ------------------------------------------------------------------------------------------ */

static void reply_probe(struct http_exchange *x, const char *trouble)
{
    struct buf b = {0};
    buf_adds(&b, trouble ? trouble : "ok");
    buf_addc(&b, '\n');
    http_reply(x, trouble ? 503 : 200, "text/plain; charset=utf-8", b.data, b.n);
    buf_deinit(&b);
}

void health_ready(struct http_exchange *x, void *user)
{
    reply_probe(x, health_trouble(user, x));
}

/* A server that drains is alive: who restarts it cuts its last answers. */
void health_live(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct engine_stats s;
    engine_stats(a->o.engine, &s);
    reply_probe(x, stalled(&s) ? "stalled" : NULL);
}
