#include "backend/backend.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

/* cuda comes after cpu, so that "auto" does not choose it before it has been measured on a device
 * (docs/gpu.md). */
static const struct backend_api *const all[] = {&backend_cpu, &backend_ref, &backend_cuda, &backend_sim};

size_t backend_count(void)
{
    return COUNT_OF(all);
}
const struct backend_api *backend_at(size_t i)
{
    return all[i];
}

status backend_find(const struct backend_api **out, const char *name, struct error *e)
{
    char known[120] = "auto";
    size_t at = strlen(known);
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        struct error why;
        if (!strcmp(name, "auto") && all[i]->count(&why) <= 0) continue;
        if (!strcmp(name, "auto") || !strcmp(name, all[i]->name)) {
            *out = all[i];
            return OK;
        }
        at += (size_t)snprintf(known + at, sizeof known - at, ", %s", all[i]->name);
    }
    return fail(e, ERR_NOT_FOUND, "no backend named %s (known: %s)", name, known);
}

void backend_share_name(char out[24], const struct backend_share *s)
{
    if (s->api == &backend_cpu || s->api == &backend_ref)
        snprintf(out, 24, "%s", s->api->name);
    else
        snprintf(out, 24, "%.12s:%d", s->api->name, s->device);
}

void backend_parts_text(struct buf *b, const struct backend_part *part, uint32_t n)
{
    char name[24];
    for (uint32_t i = 0; i < n; i++) {
        backend_share_name(name, &part[i].on);
        buf_addf(b, "%s%s", i ? "," : "", n > 1 ? name : part[i].on.api->name);
        if (n > 1) buf_addf(b, "=%u", part[i].on.n_layer);
    }
}

status backend_parts(const struct backend_api *api, struct backend *b, int32_t device,
                     const struct model_desc *m, const struct backend_limits *l,
                     struct backend_part out[BACKEND_MAX_SHARES], uint32_t *n, struct error *e)
{
    if (api->parts) return api->parts(b, m, l, out, n, e);
    out[0] = (struct backend_part){.on = {api, device, m->cfg.n_layer}};
    *n = 1;
    return api->plan(b, m, l, &out[0].plan, e);
}

status batch_check(const struct batch *b, const struct model_desc *m, const struct backend_limits *l,
                   uint32_t n_kv_block, uint32_t n_drawn, struct error *e)
{
    uint64_t n_token = 0, n_logits = 0;
    if (b->n_seq == 0 || b->n_seq > l->max_seqs)
        return fail(e, ERR_LIMIT, "a step of %u sequences, the limit is 1 to %u", b->n_seq, l->max_seqs);
    for (uint32_t i = 0; i < b->n_seq; i++) {
        const struct batch_seq *s = &b->seq[i];
        uint64_t end = (uint64_t)s->pos + s->n_token;
        if (!s->input != model_embeds(m))
            return fail(e, ERR_ARG, "sequence %u: %s", i,
                        s->input ? "the model begins with tokens, not with rows"
                                 : "rows to begin with are missing: the model has no embedding");
        if ((s->n_logits || s->draw) && !model_ends(m))
            return fail(e, ERR_ARG, "sequence %u: logits of a model without an output", i);
        if (s->n_token == 0 || s->n_logits > s->n_token)
            return fail(e, ERR_ARG, "sequence %u: %u tokens, %u rows of logits", i, s->n_token, s->n_logits);
        if (s->n_hidden > s->n_token)
            return fail(e, ERR_ARG, "sequence %u: %u tokens, %u hidden rows", i, s->n_token, s->n_hidden);
        if (end > l->max_context)
            return fail(e, ERR_LIMIT, "sequence %u: %llu tokens, the context holds %u", i,
                        (unsigned long long)end, l->max_context);
        if ((uint64_t)s->n_block * KV_BLOCK_TOKENS < end)
            return fail(e, ERR_ARG, "sequence %u: %u KV blocks do not hold %llu tokens", i, s->n_block,
                        (unsigned long long)end);
        for (uint32_t j = 0; j < s->n_block; j++)
            if (s->block[j] >= n_kv_block)
                return fail(e, ERR_ARG, "sequence %u: no KV block %u", i, s->block[j]);
        if (!s->token && (s->n_token != 1 || s->from >= n_drawn))
            return fail(e, ERR_ARG,
                        "sequence %u: %u tokens, from answer %u of the %u that the step before draws", i,
                        s->n_token, s->from, n_drawn);
        for (uint32_t j = 0; s->token && j < s->n_token; j++)
            if (s->token[j] < 0 || (uint32_t)s->token[j] >= m->cfg.n_vocab)
                return fail(e, ERR_ARG, "token id %d is outside the vocabulary of %u", s->token[j],
                            m->cfg.n_vocab);
        n_token += s->n_token;
        n_logits += s->n_logits;
    }
    if (n_token > l->max_tokens)
        return fail(e, ERR_LIMIT, "a step of %llu tokens, the limit is %u", (unsigned long long)n_token,
                    l->max_tokens);
    if (n_logits > l->max_logits)
        return fail(e, ERR_LIMIT, "a step of %llu rows of logits, the limit is %u",
                    (unsigned long long)n_logits, l->max_logits);
    return OK;
}
