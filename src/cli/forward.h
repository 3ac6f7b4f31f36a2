/* One sequence straight on a backend, without the engine: for commands that look at logits. */
#ifndef CORRAL_CLI_FORWARD_H
#define CORRAL_CLI_FORWARD_H

#include "backend/backend.h"

struct forward {
    const struct backend_api *api;
    struct backend           *backend;
    struct backend_model     *model;
    struct backend_kv        *kv;
    uint32_t                 *block;
    uint32_t                  n_block, n_vocab;
};

struct forward_options {
    const struct backend_api *api;
    struct backend_options on;
    uint32_t   step_tokens; /* most tokens, and rows of logits, of one forward_step */
    uint32_t   context;    /* longest sequence */
    enum dtype kv_type;
};

/* f is zeroed by the caller; close it also after a failure. m outlives f. */
status forward_open(struct forward *f, const struct model_desc *m, const struct forward_options *o,
                    struct error *e);
/* Compute n tokens at position pos, after those before it. *logits: (n_logits, n_vocab) of the last n_logits
 * tokens, valid until the next step. */
status forward_step(struct forward *f, const int32_t *token, uint32_t n, uint32_t pos, uint32_t n_logits,
                    const float **logits, struct error *e);
void   forward_close(struct forward *f);

#endif
