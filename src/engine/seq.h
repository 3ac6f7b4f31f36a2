/* One request on its way through the engine;
 * private to src/engine, owned by the engine thread once submitted. */
#ifndef CORRAL_ENGINE_SEQ_H
#define CORRAL_ENGINE_SEQ_H

#include "engine/draft.h"
#include "engine/engine.h"
#include "engine/sched.h"

struct seq {
    struct sched_seq q;   /* first: the scheduler's pointer is ours */
    int32_t        *token; /* q.n_known, room for cap */
    uint32_t        cap, choice, n_given;
    uint32_t        n_scored; /* of the prompt, whose scores were sent */
    struct sampler *sampler;
    int32_t        *eog;
    uint32_t        n_eog;
    bool            ignore_eos;
    struct engine_constraint constraint; /* its functions; none: anything goes */
    void           *allowed;             /* our state of it */
    engine_on_event on_event;
    void           *user;
    int64_t         first_ns, last_ns; /* when the first and the last token were chosen */
    uint32_t        drawn; /* 1 + number of the answer of the step under way
                            * that will be its last known token; 0: it is known */
    struct draft    draft;
    uint32_t        n_draft, n_draft_right;
    uint32_t        draft_slot, n_modelled; /* of the draft model: its slot plus one (0:
                                             * none) and what it has read there */
    enum engine_task task;
    enum pooling    pooling;   /* of EMBED and RANK, decided */
    bool            normalize;
    uint32_t        n_pooled;  /* of the prompt's tokens, those whose hidden states are taken in */
    double         *sum;       /* POOLING_MEAN: of them */
    struct seq     *next; /* in a list */
    struct seq     *kids; /* other choices, which begin when this one's prompt is computed */
};

/* One choice of a request. */
status seq_new(struct seq **out, const struct engine_request *r, uint32_t choice, const struct model_desc *m,
               uint32_t max_context, struct error *e);
void   seq_free(struct seq *s); /* its KV table must be released already */
void   seq_append(struct seq *s, int32_t token);
/* Room for n tokens behind the known ones. */
int32_t *seq_reserve(struct seq *s, uint32_t n);
bool   seq_is_eog(const struct seq *s, int32_t token);
void   seq_send_token(const struct seq *s, const struct sample_result *r);
/* The scores of prompt tokens that logits, a row for each of the n tokens from n_computed on, are of. */
void   seq_send_scores(struct seq *s, const float *logits, uint32_t n_vocab, uint32_t n);
void   seq_send_end(const struct seq *s, enum finish_reason why, const struct error *error, int64_t now_ns);

/* A first-in first-out list through seq.next. */
struct seq_list { struct seq *head, *tail; uint32_t n; };
void        seq_push(struct seq_list *l, struct seq *s);
struct seq *seq_pop(struct seq_list *l); /* NULL when empty */

#endif
