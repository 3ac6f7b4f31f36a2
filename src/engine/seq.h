/* One request on its way through the engine; private to src/engine, owned by the engine thread once submitted. */
#ifndef CORRAL_ENGINE_SEQ_H
#define CORRAL_ENGINE_SEQ_H

#include "engine/engine.h"
#include "kv/kv.h"

/* n_known tokens are decided (prompt, then generated); the first n_computed of them are in the KV cache. Each step
 * closes the gap: prefill, decode and recomputation after a preemption are the same case. */
struct seq {
    uint64_t        id;
    int32_t        *token; /* n_known, room for cap */
    uint32_t        n_known, n_computed, n_prompt, max_known, cap;
    struct kv_table table;
    struct sampler *sampler;
    int32_t        *eog;
    uint32_t        n_eog;
    bool            ignore_eos;
    engine_on_event on_event;
    void           *user;
    int64_t         submit_ns, start_ns, first_ns; /* start: left the queue; first: first token chosen */
    struct seq     *next;
};

status seq_new(struct seq **out, const struct engine_request *r, uint32_t n_vocab, uint32_t max_context,
               struct error *e);
void   seq_free(struct seq *s); /* its KV table must be released already */
void   seq_append(struct seq *s, int32_t token);
bool   seq_is_eog(const struct seq *s, int32_t token);
void   seq_send_token(const struct seq *s, const struct sample_result *r);
void   seq_send_end(const struct seq *s, enum finish_reason why, const struct error *error);

/* A first-in first-out list through seq.next. */
struct seq_list { struct seq *head, *tail; uint32_t n; };
void        seq_push(struct seq_list *l, struct seq *s);
void        seq_push_front(struct seq_list *l, struct seq *s);
struct seq *seq_pop(struct seq_list *l); /* NULL when empty */
struct seq *seq_take(struct seq_list *l, uint64_t id); /* removed from the list; NULL: not there */

#endif
