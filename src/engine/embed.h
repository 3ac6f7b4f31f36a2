/* Texts to vectors: what the final norm puts out for a prompt's tokens, pooled; and the score of a reranking
 * model's head. Such a sequence is a prompt and nothing else: the scheduler treats it as any other. Private
 * to src/engine. */
#ifndef CORRAL_ENGINE_EMBED_H
#define CORRAL_ENGINE_EMBED_H

#include "engine/seq.h"

/* Is there such a thing, with this model? Decides s->pooling,
 * and that it must compute every token if it needs all. */
status   embed_init(struct seq *s, const struct engine_request *r, const struct model_desc *m,
                    struct error *e);
void     embed_deinit(struct seq *s);
/* How many of the last tokens of the coming share must give their hidden state. */
uint32_t embed_rows_wanted(const struct seq *s, const struct sched_share *sh);
/* The rows that were wanted, of the share that begins at q.n_computed.
 * Sends the vector when it is complete. */
void     embed_take(struct seq *s, const struct sched_share *sh, const float *rows,
                    const struct model_desc *m);

#endif
