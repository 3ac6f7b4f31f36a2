/* Run token sequences on a backend and collect logits, for tests. */
#ifndef CORRAL_TESTS_RUN_BACKEND_H
#define CORRAL_TESTS_RUN_BACKEND_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"

struct rig {
    const struct backend_api *api;
    struct backend *b;
    struct backend_model *m;
    struct backend_kv *kv;
    uint32_t n_vocab;
};

static void rig_check(status s, const struct error *e)
{
    if (s == OK) return;
    fprintf(stderr, "backend: %s\n", e->msg);
    exit(1);
}

static void rig_open(struct rig *r, const struct backend_api *api, const struct model_desc *m,
                     enum dtype kv_type, uint32_t n_thread, uint32_t n_block)
{
    struct error e = {0};
    struct backend_options bo = {.n_thread = n_thread};
    struct backend_limits l = {
        .max_tokens = 512, .max_seqs = 16, .max_logits = 512, .max_context = 512, .kv_type = kv_type};
    *r = (struct rig){.api = api, .n_vocab = m->cfg.n_vocab};
    rig_check(api->open(&r->b, &bo, &e), &e);
    rig_check(api->load(&r->m, r->b, m, &l, NULL, NULL, &e), &e);
    rig_check(api->kv_open(&r->kv, r->m, n_block, &e), &e);
}

static void rig_close(struct rig *r)
{
    r->api->kv_close(r->kv);
    r->api->unload(r->m);
    r->api->close(r->b);
}

/* One step of one sequence; its logits are appended at *to. */
static inline void rig_step(struct rig *r, const struct batch_seq *seq, uint32_t n_seq, float **to)
{
    struct error e = {0};
    struct batch b = {seq, n_seq};
    struct step_result res;
    uint64_t ticket;
    rig_check(r->api->step(r->m, r->kv, &b, &ticket, &e), &e);
    rig_check(r->api->wait(r->m, ticket, &res, &e), &e);
    size_t n = (size_t)res.n_row * r->n_vocab;
    memcpy(*to, res.logits, n * sizeof **to);
    *to += n;
}

/* All logits of tokens[0..n), `chunk` tokens a step, on the blocks listed. */
static inline void rig_logits(struct rig *r, const int32_t *token, uint32_t n, uint32_t chunk,
                              const uint32_t *block, float *out)
{
    for (uint32_t at = 0; at < n; at += chunk) {
        uint32_t part = MIN(chunk, n - at);
        struct batch_seq s = {.token = token + at,
                              .n_token = part,
                              .pos = at,
                              .block = block,
                              .n_block = (n + KV_BLOCK_TOKENS - 1) / KV_BLOCK_TOKENS,
                              .n_logits = part};
        rig_step(r, &s, 1, &out);
    }
}

static inline double nmse(const float *a, const float *b, size_t n)
{
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        s += (double)b[i] * (double)b[i];
    }
    return s > 0 ? d / s : d;
}

#endif
