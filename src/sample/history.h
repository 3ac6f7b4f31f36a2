/* The last tokens of a sequence, for strategies that look back. */
#ifndef CORRAL_SAMPLE_HISTORY_H
#define CORRAL_SAMPLE_HISTORY_H

#include "base/base.h"

struct history {
    int32_t *token; /* oldest first; -1 - token for one of the prompt */
    size_t   n, cap;
    size_t   window; /* how many count; SIZE_MAX: all, 0: none are kept */
    /* Per token, if wanted: how often it is in the window, of which in the output, and the tokens there. */
    uint32_t *count, *count_out, *slot;
    int32_t  *distinct;
    uint32_t  n_distinct;
};

/* last_n as in the parameters: -1 everything, 0 nothing.
 * count_of: 0, or the vocabulary to keep counts for. */
/* Not history_init: libedit, which the command line links, has a function of that name. */
status history_setup(struct history *h, int32_t last_n, uint32_t count_of, struct error *e);
void   history_deinit(struct history *h);
void   history_add(struct history *h, int32_t token, bool from_prompt);

static inline size_t  history_len(const struct history *h) { return MIN(h->n, h->window); }
static inline int32_t history_token(int32_t entry) { return entry < 0 ? -1 - entry : entry; }
/* The i-th newest, i < history_len. */
static inline int32_t history_back(const struct history *h, size_t i)
{
    return history_token(h->token[h->n - 1 - i]);
}

#endif
