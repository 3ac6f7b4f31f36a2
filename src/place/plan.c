/* Plans as JSON. Written by `corral plan`, which looks at files that may be hostile, and read by the gateway,
 * which trusts nothing of that: every number has a ceiling, so that no sum of them can overflow. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "place/place.h"

/* One part of a plan, and all of a rung together. */
#define MOST_BYTES ((json_int_t)1 << 48)
#define MOST_TOTAL ((uint64_t)1 << 60)

void place_plan_deinit(struct place_plan *p)
{
    free(p->layer);
    free(p->rung);
    *p = (struct place_plan){0};
}

void place_plan_write(struct buf *b, const struct place_plan *p)
{
    buf_adds(b, "{\"backend\":");
    buf_json_str(b, p->backend, strlen(p->backend));
    buf_addf(b,
             ",\"kind\":\"%s\",\"max_devices\":%u,\"partial_cpu\":%s,\"context_trained\":%u,"
             "\"kv_block_tokens\":%u,\"first_bytes\":%" PRIu64 ",\"last_bytes\":%" PRIu64
             ",\"tied_bytes\":%" PRIu64 ",\"overhead_bytes\":%" PRIu64 ",\"layers\":[",
             p->kind == PLACE_HOST ? "host" : "gpu", p->max_devices, p->partial_cpu ? "true" : "false",
             p->context_trained, p->kv_block_tokens, p->first_bytes, p->last_bytes, p->tied_bytes,
             p->overhead_bytes);
    for (uint32_t i = 0; i < p->n_layer; i++)
        buf_addf(b, "%s{\"weight_bytes\":%" PRIu64 ",\"kv_block_bytes\":%" PRIu64 "}", i ? "," : "",
                 p->layer[i].weight_bytes, p->layer[i].kv_block_bytes);
    buf_adds(b, "],\"rungs\":[");
    for (uint32_t i = 0; i < p->n_rung; i++) {
        const struct place_rung *r = &p->rung[i];
        buf_addf(b, "%s{\"parallel\":%u,\"context\":%u,\"kv_sequences\":%u,\"kv_type\":", i ? "," : "",
                 r->parallel, r->context, r->kv_sequences);
        buf_json_str(b, r->kv_type, strlen(r->kv_type));
        buf_addf(b,
                 ",\"kv_block_bytes\":%" PRIu64 ",\"scratch_bytes\":%" PRIu64 ",\"kv_bytes\":%" PRIu64
                 ",\"total_bytes\":%" PRIu64 "}",
                 r->kv_block_bytes, r->scratch_bytes, place_plan_kv_bytes(p, i),
                 place_plan_total_bytes(p, i));
    }
    buf_adds(b, "]}");
}

static status integer(uint64_t *out, const json_t *of, const char *key, json_int_t min, json_int_t max,
                      struct error *e)
{
    const json_t *v = json_object_get(of, key);
    if (!json_is_integer(v)) return fail(e, ERR_FORMAT, "plan: %s is missing or no integer", key);
    const json_int_t n = json_integer_value(v);
    if (n < min || n > max)
        return fail(e, ERR_FORMAT, "plan: %s is %lld, not within %lld and %lld", key, (long long)n,
                    (long long)min, (long long)max);
    *out = (uint64_t)n;
    return OK;
}

static status integer32(uint32_t *out, const json_t *of, const char *key, uint32_t min, uint32_t max,
                        struct error *e)
{
    uint64_t n = 0;
    TRY(integer(&n, of, key, min, max, e));
    *out = (uint32_t)n;
    return OK;
}

static status text(char *out, size_t size, const json_t *of, const char *key, struct error *e)
{
    const json_t *v = json_object_get(of, key);
    const char *s = json_string_value(v);
    if (!s || strlen(s) != json_string_length(v) || strlen(s) >= size || !*s)
        return fail(e, ERR_FORMAT, "plan: %s is missing or no short text", key);
    memcpy(out, s, strlen(s) + 1);
    return OK;
}

static status list(const json_t **out, const json_t *of, const char *key, size_t max, struct error *e)
{
    *out = json_object_get(of, key);
    if (!json_is_array(*out) || json_array_size(*out) == 0 || json_array_size(*out) > max)
        return fail(e, ERR_FORMAT, "plan: %s is no array of 1 to %zu items", key, max);
    return OK;
}

static status read_layers(struct place_plan *p, const json_t *doc, struct error *e)
{
    const json_t *all;
    TRY(list(&all, doc, "layers", PLACE_MAX_LAYERS, e));
    p->n_layer = (uint32_t)json_array_size(all);
    p->layer = mem_zalloc(p->n_layer, sizeof *p->layer);
    for (uint32_t i = 0; i < p->n_layer; i++) {
        const json_t *v = json_array_get(all, i);
        TRY(integer(&p->layer[i].weight_bytes, v, "weight_bytes", 0, MOST_BYTES, e));
        TRY(integer(&p->layer[i].kv_block_bytes, v, "kv_block_bytes", 0, MOST_BYTES, e));
    }
    return OK;
}

/* The layers' KV must be the first rung's, and every rung's sum below the ceiling. */
static status check_rung(const struct place_plan *p, const struct place_rung *r, bool first, struct error *e)
{
    uint64_t weights = 0, kv_block = 0, kv;
    for (uint32_t i = 0; i < p->n_layer; i++) {
        weights += p->layer[i].weight_bytes;
        kv_block += p->layer[i].kv_block_bytes;
    }
    if (first && kv_block != r->kv_block_bytes)
        return fail(e, ERR_FORMAT, "plan: a KV block is %" PRIu64 " bytes, those of its layers %" PRIu64,
                    r->kv_block_bytes, kv_block);
    const uint64_t blocks =
        ((uint64_t)r->context + p->kv_block_tokens - 1) / p->kv_block_tokens * r->kv_sequences;
    if (!checked_mul(blocks, MAX(r->kv_block_bytes, kv_block), &kv) || kv > MOST_TOTAL ||
        weights > MOST_TOTAL)
        return fail(e, ERR_FORMAT, "plan: the sums are beyond reason");
    return OK;
}

static status read_rungs(struct place_plan *p, const json_t *doc, struct error *e)
{
    const json_t *all;
    TRY(list(&all, doc, "rungs", PLACE_MAX_RUNGS, e));
    p->n_rung = (uint32_t)json_array_size(all);
    p->rung = mem_zalloc(p->n_rung, sizeof *p->rung);
    for (uint32_t i = 0; i < p->n_rung; i++) {
        const json_t *v = json_array_get(all, i);
        struct place_rung *r = &p->rung[i];
        TRY(integer32(&r->parallel, v, "parallel", 1, 1 << 20, e));
        TRY(integer32(&r->context, v, "context", 1, 1 << 28, e));
        r->kv_sequences = r->parallel; /* when nothing is said of it */
        if (json_object_get(v, "kv_sequences"))
            TRY(integer32(&r->kv_sequences, v, "kv_sequences", 1, r->parallel, e));
        TRY(text(r->kv_type, sizeof r->kv_type, v, "kv_type", e));
        TRY(integer(&r->kv_block_bytes, v, "kv_block_bytes", 0, MOST_BYTES, e));
        TRY(integer(&r->scratch_bytes, v, "scratch_bytes", 0, MOST_BYTES, e));
        TRY(check_rung(p, r, i == 0, e));
    }
    return OK;
}

static status read_plan(struct place_plan *p, const json_t *doc, struct error *e)
{
    char kind[8];
    TRY(text(p->backend, sizeof p->backend, doc, "backend", e));
    TRY(text(kind, sizeof kind, doc, "kind", e));
    if (strcmp(kind, "gpu") != 0 && strcmp(kind, "host") != 0)
        return fail(e, ERR_FORMAT, "plan: kind '%s' is neither gpu nor host", kind);
    p->kind = strcmp(kind, "host") == 0 ? PLACE_HOST : PLACE_GPU;
    p->partial_cpu = json_is_true(json_object_get(doc, "partial_cpu"));
    TRY(integer32(&p->max_devices, doc, "max_devices", 1, PLACE_MAX_DEVICES, e));
    TRY(integer32(&p->context_trained, doc, "context_trained", 0, INT32_MAX, e));
    TRY(integer32(&p->kv_block_tokens, doc, "kv_block_tokens", 1, 1 << 16, e));
    TRY(integer(&p->first_bytes, doc, "first_bytes", 0, MOST_BYTES, e));
    TRY(integer(&p->last_bytes, doc, "last_bytes", 0, MOST_BYTES, e));
    if (json_object_get(doc, "tied_bytes")) TRY(integer(&p->tied_bytes, doc, "tied_bytes", 0, MOST_BYTES, e));
    TRY(integer(&p->overhead_bytes, doc, "overhead_bytes", 0, MOST_BYTES, e));
    TRY(read_layers(p, doc, e));
    return read_rungs(p, doc, e);
}

status place_plan_read(struct place_plan *out, const char *json, size_t n, struct error *e)
{
    json_error_t why;
    json_t *doc = json_loadb(json, n, 0, &why);
    *out = (struct place_plan){0};
    if (!doc) return fail(e, ERR_FORMAT, "plan: %s", why.text);
    status s = json_is_object(doc) ? read_plan(out, doc, e) : fail(e, ERR_FORMAT, "plan: no object");
    json_decref(doc);
    if (s != OK) place_plan_deinit(out);
    return s;
}
