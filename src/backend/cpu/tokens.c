/* The tokens of a step: all of the batch in a row, and behind the last attention those whose results are
 * wanted. */
#include <string.h>

#include "backend/cpu/cpu_int.h"

static uint32_t n_wanted(const struct batch_seq *q)
{
    return MAX(q->n_logits, q->n_hidden);
}

/* The last n tokens of sequence i, which are tokens bm->n_tok and so on of the step from now on. */
static void add_tokens(struct backend_model *bm, uint32_t i, uint32_t n)
{
    const struct batch_seq *q = &bm->queued->seq[i];
    const uint32_t tile = attn_tokens(bm->m->cfg.n_head / bm->m->cfg.n_head_kv);
    struct scratch *s = &bm->s;
    for (uint32_t j = 0; j < n; j += tile)
        s->tile[bm->n_tile++] = (struct tile){i, bm->n_tok + j, MIN(tile, n - j)};
    for (uint32_t j = q->n_token - n; j < q->n_token; j++, bm->n_tok++) {
        s->pos[bm->n_tok] = q->pos + j;
        s->seq[bm->n_tok] = i;
        if (j >= q->n_token - q->n_logits) s->row_token[bm->n_row++] = bm->n_tok;
        if (j >= q->n_token - q->n_hidden) s->hidden_token[bm->n_hidden++] = bm->n_tok;
    }
}

static void begin(struct backend_model *bm)
{
    bm->n_tok = bm->n_row = bm->n_hidden = bm->n_tile = 0;
}

void step_flatten(struct backend_model *bm)
{
    const struct batch *b = bm->queued;
    begin(bm);
    for (uint32_t i = 0; i < b->n_seq; i++) {
        const struct batch_seq *q = &b->seq[i];
        memcpy(bm->s.token + bm->n_tok, q->token, q->n_token * sizeof *q->token);
        for (uint32_t j = 0; q->input && j < q->n_token; j++)
            bm->s.input[bm->n_tok + j] = q->input + (size_t)j * bm->m->cfg.n_embd;
        add_tokens(bm, i, q->n_token);
    }
}

/* The last attention, what its sums are multiplied with and the last feed-forward network are for the tokens
 * that want logits or hidden states: of a prompt's, one or none. What is kept is x and q; keys and values are
 * in the cache. */
void step_narrow(struct backend_model *bm)
{
    const struct batch *b = bm->queued;
    const struct model_config *c = &bm->m->cfg;
    const size_t n_embd = c->n_embd, nq = (size_t)c->n_head * c->head_dim;
    uint32_t from = 0;
    begin(bm);
    for (uint32_t i = 0; i < b->n_seq; i++) {
        const uint32_t n = n_wanted(&b->seq[i]);
        from += b->seq[i].n_token - n;
        if (from != bm->n_tok) {
            memmove(bm->s.x + bm->n_tok * n_embd, bm->s.x + from * n_embd, n * n_embd * sizeof *bm->s.x);
            memmove(bm->s.q + bm->n_tok * nq, bm->s.q + from * nq, n * nq * sizeof *bm->s.q);
        }
        from += n;
        add_tokens(bm, i, n);
    }
}
