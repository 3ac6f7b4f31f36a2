/* What the engine counts, as Prometheus reads it (text format 0.0.4): each quantity under a name of ours
 * that begins with corral_, and under the names that llama.cpp's server and vLLM have for it, so that
 * dashboards made for those show something. */
#ifndef CORRAL_API_METRICS_H
#define CORRAL_API_METRICS_H

#include "base/buf.h"
#include "engine/metrics.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

void metrics_text(struct buf *out, const struct engine_metrics *m, const char *model, uint32_t n_connection);

#endif
