/* Guesses of a small model with the same vocabulary: it reads along and says, greedily, how the text goes
 * on. Each sequence that has guessed has a fixed part of the small model's KV memory (a slot), and what it
 * holds of the text survives preemption. Private to src/engine, the engine thread's. */
#ifndef CORRAL_ENGINE_DRAFT_MODEL_H
#define CORRAL_ENGINE_DRAFT_MODEL_H

#include "engine/seq.h"

struct draft_model;
struct draft_want { struct seq *seq; uint32_t n, n_got; }; /* n guesses behind the known tokens;
                                                            * n_got were made */

/* o->draft, for an engine of these options; lim: those of the model that is helped. */
status draft_model_new(struct draft_model **out, const struct engine_options *o,
                       const struct backend_limits *lim, struct error *e);
void   draft_model_free(struct draft_model *dm); /* NULL is fine */
/* Guess for all at once, token numbers below n_vocab. Sequences far behind read on instead and get none.
 * After an error nobody gets any. */
status draft_model_guess(struct draft_model *dm, struct draft_want *w, uint32_t n, uint32_t n_vocab,
                         struct error *e);
void   draft_model_leave(struct draft_model *dm, struct seq *s); /* s ends: its slot is free */
int64_t draft_model_step_ns(const struct draft_model *dm); /* one guess for all, lately; 0: unknown */
/* Memory back to the system, and taken again; no sequence has a slot. */
void   draft_model_sleep(struct draft_model *dm);
status draft_model_wake(struct draft_model *dm, struct error *e);

#endif
