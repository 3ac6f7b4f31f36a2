/* Decisions and ledgers for people and for programs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "place/place.h"

const char *place_way_name(enum place_way w)
{
    static const char *const name[] = {"refused", "one device", "set of devices", "partly on the CPU", "CPU"};
    return name[w];
}

static const char *const code_name[PLACE_N_CODE] = {
    [PLACE_SAYS_FITS] = "fits",
    [PLACE_SAYS_SMALL] = "too_small",
    [PLACE_SAYS_LEAST] = "too_small_for_least",
    [PLACE_SAYS_LOST] = "lost",
    [PLACE_SAYS_NOT_NAMED] = "not_named",
    [PLACE_SAYS_NO_SUCH] = "no_such_device",
    [PLACE_SAYS_NO_AFFINITY] = "no_affinity",
    [PLACE_SAYS_NO_GPU] = "no_gpu",
    [PLACE_SAYS_NO_GPU_PLAN] = "no_gpu_plan",
    [PLACE_SAYS_NO_SPLIT] = "no_split",
    [PLACE_SAYS_SET_SMALL] = "set_too_small",
    [PLACE_SAYS_SET] = "split",
    [PLACE_SAYS_SEQUENCES] = "fewer_sequences",
    [PLACE_SAYS_KV_TYPE] = "smaller_kv_type",
    [PLACE_SAYS_CONTEXT] = "less_context",
    [PLACE_SAYS_EVICT] = "evict",
    [PLACE_SAYS_DRAIN] = "drain",
    [PLACE_SAYS_NO_EVICT] = "nobody_may_leave",
    [PLACE_SAYS_PARTIAL] = "partly_on_cpu",
    [PLACE_SAYS_CPU] = "on_cpu",
    [PLACE_SAYS_CPU_SMALL] = "host_too_small",
    [PLACE_SAYS_NO_CPU] = "no_cpu",
};

static void add_bytes(struct buf *b, uint64_t n)
{
    if (n < (uint64_t)1 << 30)
        buf_addf(b, "%.1f MiB", (double)n / 0x1p20);
    else
        buf_addf(b, "%.2f GiB", (double)n / 0x1p30);
}

/* "NVIDIA L4 (GPU-5f2a91c4)", "the host" */
static void add_device(struct buf *b, const struct place_ledger *l, int32_t device)
{
    const struct place_device *d = device < 0 ? NULL : place_device_at(l, (uint32_t)device);
    if (!d)
        buf_adds(b, "a device");
    else if (d->kind == PLACE_HOST)
        buf_adds(b, "the host");
    else
        buf_addf(b, "%s (%.12s)", d->name, d->uuid);
}

static void add_need(struct buf *b, const struct place_reason *r, const char *wants, const char *has)
{
    buf_addf(b, "%s ", wants);
    add_bytes(b, r->needed_bytes);
    buf_addf(b, ", %s ", has);
    add_bytes(b, r->available_bytes);
}

static void reason_text(struct buf *b, const struct place_ledger *l, const struct place_reason *r)
{
    if (r->device >= 0 && r->code != PLACE_SAYS_EVICT && r->code != PLACE_SAYS_DRAIN) {
        add_device(b, l, r->device);
        buf_adds(b, ": ");
    }
    switch (r->code) {
    case PLACE_SAYS_FITS:
    case PLACE_SAYS_CPU: add_need(b, r, "takes", "there are"); break;
    case PLACE_SAYS_SMALL: add_need(b, r, "would take", "there are"); break;
    case PLACE_SAYS_LEAST:
    case PLACE_SAYS_CPU_SMALL: add_need(b, r, "takes at least", "there are at most"); break;
    case PLACE_SAYS_LOST: buf_adds(b, "it does not answer"); break;
    case PLACE_SAYS_NOT_NAMED: buf_adds(b, "the model's options name other devices"); break;
    case PLACE_SAYS_NO_SUCH:
        buf_addf(b, r->n ? "'%s' means %u devices" : "there is no device '%s'", r->text, r->n);
        break;
    case PLACE_SAYS_NO_AFFINITY:
        buf_addf(b, "strategy %s: the model's options name no device", r->text);
        break;
    case PLACE_SAYS_NO_GPU: buf_adds(b, "there is no GPU that it may use"); break;
    case PLACE_SAYS_NO_GPU_PLAN: buf_adds(b, "no GPU backend can run it"); break;
    case PLACE_SAYS_NO_SPLIT:
        buf_adds(b, r->was > 1 ? "its options say: on one device" : "its backend runs a model on one device");
        break;
    case PLACE_SAYS_SET_SMALL:
        buf_addf(b, "%u devices cannot hold it together either: ", r->n);
        add_need(b, r, "on one it would take", "all have");
        break;
    case PLACE_SAYS_SET: buf_addf(b, "%u devices are the fewest that hold it", r->n); break;
    case PLACE_SAYS_SEQUENCES:
        buf_addf(b, "KV cache for %u sequences of full length instead of %u", r->n, r->was);
        break;
    case PLACE_SAYS_KV_TYPE: buf_addf(b, "KV cache in %s", r->text); break;
    case PLACE_SAYS_CONTEXT: buf_addf(b, "a context of %u tokens instead of %u", r->n, r->was); break;
    case PLACE_SAYS_EVICT:
    case PLACE_SAYS_DRAIN:
        buf_addf(b,
                 r->code == PLACE_SAYS_EVICT ? "%s leaves: idle, gives back " : "%s is drained: gives back ",
                 r->text);
        add_bytes(b, r->available_bytes);
        buf_adds(b, " on ");
        add_device(b, l, r->device);
        break;
    case PLACE_SAYS_NO_EVICT: buf_addf(b, "of %u models there, not enough may leave", r->n); break;
    case PLACE_SAYS_PARTIAL: buf_addf(b, "%u of %u layers on GPUs, the rest on the CPU", r->n, r->was); break;
    case PLACE_SAYS_NO_CPU: buf_adds(b, "it may not run on the CPU, or cannot"); break;
    case PLACE_N_CODE: break;
    }
}

void place_decision_text(struct buf *b, const struct place_ledger *l, const struct place_decision *d)
{
    buf_adds(b, place_way_name(d->way));
    for (uint32_t i = 0; i < d->n_reason; i++) {
        buf_adds(b, i ? "; " : ": ");
        reason_text(b, l, &d->reason[i]);
    }
}

static void add_str(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, "\"%s\":", key);
    buf_json_str(b, value, strlen(value));
}

static void share_json(struct buf *b, const struct place_ledger *l, const struct place_share *s)
{
    const struct place_device *v = place_device_at(l, s->device);
    buf_addc(b, '{');
    add_str(b, "uuid", v ? v->uuid : "");
    buf_addf(b,
             ",\"layer\":%u,\"layers\":%u,\"weight_bytes\":%" PRIu64 ",\"kv_bytes\":%" PRIu64
             ",\"scratch_bytes\":%" PRIu64 ",\"overhead_bytes\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
             s->layer, s->n_layer, s->weight_bytes, s->kv_bytes, s->scratch_bytes, s->overhead_bytes,
             s->bytes);
}

static void reason_json(struct buf *b, const struct place_ledger *l, const struct place_reason *r)
{
    struct buf text = {0};
    reason_text(&text, l, r);
    buf_addc(b, '{');
    add_str(b, "code", code_name[r->code]);
    buf_addc(b, ',');
    add_str(b, "text", text.data ? text.data : "");
    buf_deinit(&text);
    const struct place_device *v = r->device < 0 ? NULL : place_device_at(l, (uint32_t)r->device);
    if (v) {
        buf_addc(b, ',');
        add_str(b, "uuid", v->uuid);
    }
    if (r->needed_bytes) buf_addf(b, ",\"needed_bytes\":%" PRIu64, r->needed_bytes);
    if (r->needed_bytes || r->available_bytes)
        buf_addf(b, ",\"available_bytes\":%" PRIu64, r->available_bytes);
    buf_addc(b, '}');
}

void place_decision_json(struct buf *b, const struct place_ledger *l, const struct place_decision *d,
                         const struct place_resident *resident)
{
    buf_addc(b, '{');
    add_str(b, "way", place_way_name(d->way));
    if (d->plan && d->way != PLACE_REFUSED) {
        const struct place_rung *r = &d->plan->rung[d->rung];
        buf_addc(b, ',');
        add_str(b, "backend", d->plan->backend);
        buf_addf(b, ",\"parallel\":%u,\"context\":%u,\"kv_sequences\":%u,", r->parallel, r->context,
                 r->kv_sequences);
        add_str(b, "kv_type", r->kv_type);
        buf_addf(b, ",\"reduced\":%s,\"kv_bytes\":%" PRIu64, d->rung ? "true" : "false", d->kv_bytes);
    } else {
        buf_addf(b, ",\"needed_bytes\":%" PRIu64, d->needed_bytes);
    }
    buf_adds(b, ",\"devices\":[");
    for (uint32_t i = 0; i < d->n_share; i++) {
        if (i) buf_addc(b, ',');
        share_json(b, l, &d->share[i]);
    }
    buf_adds(b, "],\"evict\":[");
    for (uint32_t i = 0; i < d->n_evict; i++) {
        const char *name = resident[d->evict[i]].name;
        if (i) buf_addc(b, ',');
        buf_json_str(b, name, strlen(name));
    }
    buf_adds(b, "],\"reasons\":[");
    for (uint32_t i = 0; i < d->n_reason; i++) {
        if (i) buf_addc(b, ',');
        reason_json(b, l, &d->reason[i]);
    }
    buf_addf(b, "],\"elapsed_us\":%.1f}", (double)d->elapsed_ns * 1e-3);
}

void place_device_json(struct buf *b, const struct place_device *d)
{
    buf_addc(b, '{');
    add_str(b, "uuid", d->uuid);
    buf_addc(b, ',');
    add_str(b, "name", d->name);
    buf_addf(b,
             ",\"kind\":\"%s\",\"lost\":%s,\"total_bytes\":%" PRIu64 ",\"external_bytes\":%" PRIu64
             ",\"committed_bytes\":%" PRIu64 ",\"reserved_bytes\":%" PRIu64 ",\"kept_free_bytes\":%" PRIu64
             ",\"available_bytes\":%" PRIu64 ",\"over_bytes\":%" PRIu64 ",\"models\":%u}",
             d->kind == PLACE_HOST ? "host" : "gpu", d->lost ? "true" : "false", d->total_bytes,
             d->external_bytes, d->committed_bytes, d->reserved_bytes, d->keep_bytes, d->free_bytes,
             d->over_bytes, d->n_claim);
}
