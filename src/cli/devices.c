#include "cli/devices.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/human.h"

/* A number at *at, which then stands behind it. */
static bool number(uint32_t *out, const char **at, uint32_t max)
{
    char *end;
    if (**at < '0' || **at > '9') return false;
    errno = 0;
    const unsigned long v = strtoul(*at, &end, 10);
    if (errno || v > max) return false;
    *out = (uint32_t)v;
    *at = end;
    return true;
}

static status parse_one(struct backend_share *out, const char *entry, struct error *e)
{
    enum { MAX_DEVICE = 1023, MAX_LAYERS = 1 << 14 };
    char name[32];
    uint32_t device = 0;
    const char *at = entry + strcspn(entry, ":=");
    *out = (struct backend_share){0};
    if (at == entry || (size_t)(at - entry) >= sizeof name)
        return fail(e, ERR_ARG, "--devices: '%.60s' is no BACKEND[:NUMBER][=LAYERS], e.g. cuda:0=20", entry);
    memcpy(name, entry, (size_t)(at - entry));
    name[at - entry] = 0;
    if (backend_find(&out->api, name, e) != OK) return fail_in(e, "--devices");
    if (*at == ':' && (at++, !number(&device, &at, MAX_DEVICE)))
        return fail(e, ERR_ARG, "--devices: '%.60s': after ':' comes the number of a device, 0 to %d", entry,
                    MAX_DEVICE);
    if (device && (out->api == &backend_cpu || out->api == &backend_ref))
        return fail(e, ERR_ARG, "--devices: '%.60s': %s is one device, number 0", entry, name);
    if (*at == '=' && (at++, !number(&out->n_layer, &at, MAX_LAYERS) || out->n_layer == 0))
        return fail(e, ERR_ARG, "--devices: '%.60s': after '=' comes a number of layers, at least 1", entry);
    if (*at)
        return fail(e, ERR_ARG, "--devices: '%.60s' is no BACKEND[:NUMBER][=LAYERS], e.g. cuda:0=20", entry);
    out->device = (int32_t)device;
    return OK;
}

status devices_parse(struct backend_share *out, uint32_t *n, const char *text, struct error *e)
{
    char entry[64];
    *n = 0;
    for (const char *at = text;; at++) {
        const size_t len = strcspn(at, ",");
        if (len >= sizeof entry)
            return fail(e, ERR_ARG, "--devices: '%.60s...' is no BACKEND[:NUMBER][=LAYERS]", at);
        if (*n == BACKEND_MAX_SHARES)
            return fail(e, ERR_ARG, "--devices: a model runs on %d devices at most", BACKEND_MAX_SHARES);
        memcpy(entry, at, len);
        entry[len] = 0;
        TRY(parse_one(&out[(*n)++], entry, e));
        at += len;
        if (!*at) return OK;
    }
}

status devices_choose(const struct backend_api **api, struct backend_options *on, struct backend_share *share,
                      const char *backend, const char *devices, struct error *e)
{
    uint32_t n;
    *on = (struct backend_options){0};
    if (!devices) return backend_find(api, backend ? backend : "auto", e);
    if (backend) return fail(e, ERR_ARG, "--backend %s and --devices %s: give one of them", backend, devices);
    TRY(devices_parse(share, &n, devices, e));
    if (n == 1 && !share[0].n_layer) {
        *api = share[0].api;
        on->device = share[0].device;
        return OK;
    }
    *api = backend_split(share, n);
    on->share = share;
    on->n_share = n;
    return OK;
}

uint64_t devices_part_bytes(const struct backend_part *p, uint64_t n_kv_block)
{
    return (uint64_t)p->plan.weight_bytes + p->plan.mapped_bytes + p->plan.scratch_bytes +
           n_kv_block * p->plan.kv_block_bytes;
}

void devices_json(struct buf *b, const struct backend_part *part, uint32_t n, uint64_t n_kv_block)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct backend_part *p = &part[i];
        char name[24];
        backend_share_name(name, &p->on);
        buf_addf(b,
                 "%s{\"device\":\"%s\",\"layer\":%u,\"layers\":%u,\"weight_bytes\":%zu,\"mapped_bytes\":%zu,"
                 "\"scratch_bytes\":%zu,\"kv_bytes\":%" PRIu64 ",\"total_bytes\":%" PRIu64 "}",
                 i ? "," : "[", name, p->layer, p->on.n_layer, p->plan.weight_bytes, p->plan.mapped_bytes,
                 p->plan.scratch_bytes, n_kv_block * p->plan.kv_block_bytes,
                 devices_part_bytes(p, n_kv_block));
    }
    buf_addc(b, ']');
}

void devices_table(struct buf *b, const struct backend_part *part, uint32_t n, uint64_t n_kv_block)
{
    buf_adds(b, "  device    layers         weights           KV      scratch        total\n");
    for (uint32_t i = 0; i < n; i++) {
        const struct backend_plan *p = &part[i].plan;
        char name[24];
        backend_share_name(name, &part[i].on);
        buf_addf(b, "  %-8s  %3u to %-3u  %12s %12s %12s %12s\n", name, part[i].layer,
                 part[i].layer + part[i].on.n_layer - 1, human_bytes(p->weight_bytes + p->mapped_bytes).s,
                 human_bytes(n_kv_block * p->kv_block_bytes).s, human_bytes(p->scratch_bytes).s,
                 human_bytes(devices_part_bytes(&part[i], n_kv_block)).s);
    }
}
