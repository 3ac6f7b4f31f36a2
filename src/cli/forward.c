#include "cli/forward.h"

#include <stdlib.h>

status forward_open(struct forward *f, const struct model_desc *m, const struct forward_options *o,
                    struct error *e)
{
    struct backend_limits lim = {.max_tokens = o->step_tokens,
                                 .max_seqs = 1,
                                 .max_logits = o->step_tokens,
                                 .max_context = o->context,
                                 .kv_type = o->kv_type};
    f->api = o->api;
    f->n_vocab = m->cfg.n_vocab;
    f->n_block = o->context / KV_BLOCK_TOKENS + 1;
    f->block = mem_zalloc(f->n_block, sizeof *f->block);
    for (uint32_t i = 0; i < f->n_block; i++) f->block[i] = i;
    TRY(f->api->open(&f->backend, &o->on, e));
    TRY(f->api->load(&f->model, f->backend, m, &lim, NULL, NULL, e));
    return f->api->kv_open(&f->kv, f->model, f->n_block, e);
}

status forward_step(struct forward *f, const int32_t *token, uint32_t n, uint32_t pos, uint32_t n_logits,
                    const float **logits, struct error *e)
{
    struct batch_seq seq = {.token = token,
                            .n_token = n,
                            .pos = pos,
                            .block = f->block,
                            .n_block = f->n_block,
                            .n_logits = n_logits};
    struct batch b = {.seq = &seq, .n_seq = 1};
    struct step_result r;
    uint64_t ticket;
    TRY(f->api->step(f->model, f->kv, &b, &ticket, e));
    TRY(f->api->wait(f->model, ticket, &r, e));
    *logits = r.logits;
    return OK;
}

void forward_close(struct forward *f)
{
    if (f->kv) f->api->kv_close(f->kv);
    if (f->model) f->api->unload(f->model);
    if (f->backend) f->api->close(f->backend);
    free(f->block);
    *f = (struct forward){0};
}
