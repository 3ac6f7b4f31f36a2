/* What is about the server and not about one family of APIs: health, metrics, the document. */
#include <string.h>

#include "api/api_int.h"
#include "api/health.h"
#include "api/metrics.h"
#include "api/ws.h"

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

static void sequences(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct buf b = {0};
    engine_view_json(a->o.engine, &b);
    http_reply(x, 200, "application/json", b.data, b.n);
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
    {"GET", "/health", health_report, .summary = "Is the server well, and what is it doing?",
     .role = HTTP_ROLE_ANYONE},
    {"GET", "/readyz", health_ready, .summary = "Does it take requests?", .role = HTTP_ROLE_ANYONE},
    {"GET", "/livez", health_live, .summary = "Would restarting it not help?", .role = HTTP_ROLE_ANYONE},
    {"GET", "/metrics", metrics, .summary = "Counters and histograms for Prometheus"},
    {"GET", "/debug/sequences", sequences,
     .summary = "What runs and waits in the engine, sequence by sequence"},
    {"GET", "/v1/ws", ws_connect, .summary = "Requests and their events over a WebSocket"},
    {"GET", "/openapi.json", openapi, .summary = "This document"},
};
const struct family server_family = {"Server", rows, COUNT_OF(rows)};
