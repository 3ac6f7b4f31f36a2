/* Samples as JSON and as Prometheus's text. */
#include <inttypes.h>
#include <string.h>

#include "device/device.h"

static void add_str(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, "\"%s\":", key);
    if (value[0])
        buf_json_str(b, value, strlen(value));
    else
        buf_adds(b, "null");
}

static void add_float(struct buf *b, const char *key, bool has, double v)
{
    if (has)
        buf_addf(b, ",\"%s\":%.1f", key, v);
    else
        buf_addf(b, ",\"%s\":null", key);
}

/* The requirement's "GB" are GiB. */
static void add_gib(struct buf *b, const char *key, uint64_t bytes)
{
    buf_addf(b, ",\"%s\":%.3f", key, (double)bytes / 0x1p30);
}

static void add_models(struct buf *b, const struct device_use *use)
{
    buf_adds(b, ",\"assigned_models\":[");
    for (size_t i = 0; use && i < use->n_model; i++) {
        if (i) buf_addc(b, ',');
        buf_json_str(b, use->model[i], strlen(use->model[i]));
    }
    buf_addc(b, ']');
}

static void add_processes(struct buf *b, const struct device_gpu *g)
{
    buf_adds(b, ",\"processes\":");
    if (!(g->has & DEVICE_HAS_PROCESSES)) {
        buf_adds(b, "null");
        return;
    }
    for (uint32_t i = 0; i < g->n_process; i++) {
        buf_addf(b, "%s{\"pid\":%d,\"used_bytes\":", i ? "," : "[", g->process[i].pid);
        if (g->process[i].known)
            buf_addf(b, "%" PRIu64 "}", g->process[i].used_bytes);
        else
            buf_adds(b, "null}");
    }
    buf_adds(b, g->n_process ? "]" : "[]");
}

/* Others that it is linked with, by their ids. */
static void add_links(struct buf *b, const struct device_gpu *g)
{
    const char *comma = "";
    buf_adds(b, ",\"links\":[");
    for (uint32_t i = 0; i < DEVICE_MAX_GPUS; i++) {
        if (!g->link[i]) continue;
        buf_addf(b, "%s{\"id\":%u,\"type\":\"%s\"}", comma, i, device_link_name(g->link[i]));
        comma = ",";
    }
    buf_addc(b, ']');
}

static void add_ledger(struct buf *b, const struct device_use *use)
{
    if (use && use->has_ledger)
        buf_addf(
            b, ",\"committed_bytes\":%" PRIu64 ",\"reserved_bytes\":%" PRIu64 ",\"external_bytes\":%" PRIu64,
            use->committed_bytes, use->reserved_bytes, use->external_bytes);
}

void device_gpu_json(struct buf *b, const struct device_gpu *g, const struct device_use *use, int64_t now_ns)
{
    buf_addf(b, "{\"id\":%u,", g->id);
    add_str(b, "name", g->name);
    add_gib(b, "total_memory", g->total_bytes);
    add_gib(b, "free_memory", g->free_bytes);
    add_gib(b, "used_memory", g->used_bytes);
    buf_addf(b, ",\"utilization\":%.1f",
             (double)g->utilization); /* never null in the contract: 0 when not told */
    add_float(b, "temperature", g->has & DEVICE_HAS_TEMPERATURE, g->temperature_c);
    add_float(b, "power_usage", g->has & DEVICE_HAS_POWER, g->power_w);
    add_models(b, use);
    buf_addc(b, ',');
    add_str(b, "compute_capability", g->compute);
    buf_addc(b, ',');
    add_str(b, "uuid", g->uuid);
    buf_addc(b, ',');
    add_str(b, "pci", g->pci);
    buf_addc(b, ',');
    add_str(b, "instance_of", g->parent);
    add_links(b, g);
    buf_addf(b, ",\"vendor\":\"%s\",\"state\":\"%s\",\"memory_warning\":%s", device_vendor_name(g->vendor),
             g->divided            ? "divided"
             : g->lost             ? "error"
             : use && use->n_model ? "assigned"
                                   : "available",
             g->crowded ? "true" : "false");
    buf_addf(b,
             ",\"total_bytes\":%" PRIu64 ",\"free_bytes\":%" PRIu64 ",\"used_bytes\":%" PRIu64
             ",\"utilization_known\":%s",
             g->total_bytes, g->free_bytes, g->used_bytes,
             g->has & DEVICE_HAS_UTILIZATION ? "true" : "false");
    add_float(b, "memory_utilization", g->has & DEVICE_HAS_MEMORY_UTILIZATION, g->memory_utilization);
    add_float(b, "power_limit", g->has & DEVICE_HAS_POWER_LIMIT, g->power_limit_w);
    add_ledger(b, use);
    add_processes(b, g);
    buf_addf(b, ",\"sample_age_ms\":%" PRId64 "}", MAX(now_ns - g->sampled_ns, 0) / 1000000);
}

void device_pool_json(struct buf *b, const struct device_sample *s, const struct device_use *use,
                      const char *strategy, int64_t now_ns)
{
    uint64_t total = 0, free_bytes = 0, used = 0;
    uint32_t n = 0, n_known = 0;
    double utilization = 0;
    for (uint32_t i = 0; i < s->n_gpu; i++) {
        const struct device_gpu *g = &s->gpu[i];
        if (g->lost) continue;
        total += g->total_bytes;
        free_bytes += g->free_bytes;
        used += g->used_bytes;
        n += g->free_bytes > 0;
        n_known += (g->has & DEVICE_HAS_UTILIZATION) != 0;
        utilization += g->has & DEVICE_HAS_UTILIZATION ? (double)g->utilization : 0;
    }
    buf_addf(b, "{\"total_gpus\":%u,\"available_gpus\":%u", s->n_gpu, n);
    add_gib(b, "total_vram", total);
    add_gib(b, "available_vram", free_bytes);
    add_gib(b, "total_memory", total);
    add_gib(b, "used_memory", used);
    add_gib(b, "free_memory", free_bytes);
    add_float(b, "utilization_average", n_known > 0, n_known ? utilization / n_known : 0);
    buf_addf(b, ",\"gpu_available\":%s,\"gpu_monitoring_enabled\":true,", n ? "true" : "false");
    add_str(b, "allocation_strategy", strategy ? strategy : "");
    buf_addc(b, ',');
    add_str(b, "nvidia_driver", s->nvidia_driver);
    buf_addc(b, ',');
    add_str(b, "monitoring_error", s->nvml_error);
    buf_addf(b, ",\"sample_number\":%" PRIu64 ",\"sample_age_ms\":%" PRId64 ",\"gpu_list\":[", s->number,
             MAX(now_ns - s->sampled_ns, 0) / 1000000);
    for (uint32_t i = 0; i < s->n_gpu; i++) {
        if (i) buf_addc(b, ',');
        device_gpu_json(b, &s->gpu[i], use ? &use[i] : NULL, now_ns);
    }
    buf_adds(b, "]}");
}

void device_metrics_json(struct buf *b, const struct device_gpu *g, const struct device_use *use)
{
    buf_addf(b, "{\"gpu_index\":%u,", g->id);
    add_str(b, "name", g->name);
    buf_addc(b, ',');
    add_str(b, "uuid", g->uuid);
    buf_addf(b, ",\"memory_allocated_mb\":%.1f,\"memory_reserved_mb\":%.1f,\"memory_total_mb\":%.1f",
             (double)g->used_bytes / 0x1p20, use ? (double)use->reserved_bytes / 0x1p20 : 0.0,
             (double)g->total_bytes / 0x1p20);
    add_float(b, "utilization_percent", g->has & DEVICE_HAS_UTILIZATION, g->utilization);
    add_float(b, "temperature_c", g->has & DEVICE_HAS_TEMPERATURE, g->temperature_c);
    add_float(b, "power_w", g->has & DEVICE_HAS_POWER, g->power_w);
    buf_addf(b, ",\"memory_warning\":%s,\"lost\":%s}", g->crowded ? "true" : "false",
             g->lost ? "true" : "false");
}

void device_host_json(struct buf *b, const struct device_host *h)
{
    buf_addf(b,
             "{\"total_bytes\":%" PRIu64 ",\"available_bytes\":%" PRIu64 ",\"limit_bytes\":%" PRIu64
             ",\"own_bytes\":%" PRIu64 ",\"memory_warning\":%s}",
             h->total_bytes, h->available_bytes, h->limit_bytes, h->own_bytes, h->crowded ? "true" : "false");
}

/* --- Prometheus --- */

struct metric {
    const char *name, *help;
    uint32_t has; /* 0: always */
    double (*value)(const struct device_gpu *g);
};

static double total_of(const struct device_gpu *g)
{
    return (double)g->total_bytes;
}
static double used_of(const struct device_gpu *g)
{
    return (double)g->used_bytes;
}
static double utilization_of(const struct device_gpu *g)
{
    return (double)g->utilization / 100;
}
static double temperature_of(const struct device_gpu *g)
{
    return (double)g->temperature_c;
}
static double power_of(const struct device_gpu *g)
{
    return (double)g->power_w;
}
static double up_of(const struct device_gpu *g)
{
    return g->lost ? 0 : 1;
}

// clang-format off
static const struct metric metrics[] = {
    {"corral_gpu_up", "Whether the GPU answers", 0, up_of},
    {"corral_gpu_memory_total_bytes", "Memory of the GPU", DEVICE_HAS_MEMORY, total_of},
    {"corral_gpu_memory_used_bytes", "Memory in use, by anybody", DEVICE_HAS_MEMORY, used_of},
    {"corral_gpu_utilization_ratio", "Time in which a kernel ran", DEVICE_HAS_UTILIZATION, utilization_of},
    {"corral_gpu_temperature_celsius", "Temperature of the die", DEVICE_HAS_TEMPERATURE, temperature_of},
    {"corral_gpu_power_watts", "Power drawn", DEVICE_HAS_POWER, power_of},
};
// clang-format on

/* Prometheus's label values are escaped like JSON's strings, as far as names of cards go. */
static void labels(struct buf *b, const struct device_gpu *g)
{
    buf_addf(b, "{gpu=\"%u\",uuid=", g->id);
    buf_json_str(b, g->uuid, strlen(g->uuid));
    buf_adds(b, ",name=");
    buf_json_str(b, g->name, strlen(g->name));
    buf_adds(b, "} ");
}

void device_metrics_text(struct buf *b, const struct device_sample *s)
{
    for (size_t i = 0; i < COUNT_OF(metrics) && s->n_gpu; i++) {
        const struct metric *m = &metrics[i];
        buf_addf(b, "# HELP %s %s\n# TYPE %s gauge\n", m->name, m->help, m->name);
        for (uint32_t k = 0; k < s->n_gpu; k++) {
            const struct device_gpu *g = &s->gpu[k];
            if (m->has && (g->lost || !(g->has & m->has))) continue;
            buf_adds(b, m->name);
            labels(b, g);
            buf_addf(b, "%.10g\n", m->value(g));
        }
    }
    buf_addf(b,
             "# HELP corral_host_memory_total_bytes Memory of the host, or of its control group\n"
             "# TYPE corral_host_memory_total_bytes gauge\ncorral_host_memory_total_bytes %" PRIu64
             "\n# HELP corral_host_memory_available_bytes What of it can be had\n"
             "# TYPE corral_host_memory_available_bytes gauge\ncorral_host_memory_available_bytes %" PRIu64
             "\n",
             s->host.total_bytes, s->host.available_bytes);
}
