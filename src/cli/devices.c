#include "cli/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
