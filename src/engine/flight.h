/* Steps on their way through the device: what each was asked for, and for whom. Private to src/engine.
 *
 * Where the device draws, a step can be planned and queued while the one before it still runs: every
 * sequence of that one is taken to go on by a token, which the device fills in by itself. A sequence that
 * turns out to have ended is taken out of the later step: its row there is computed and thrown away. What
 * the row writes into the KV cache lies behind all that is valid of the block, and whoever gets the block
 * next uses it in a later step. */
#ifndef CORRAL_ENGINE_FLIGHT_H
#define CORRAL_ENGINE_FLIGHT_H

#include "backend/backend.h"
#include "engine/sched.h"

struct engine;

struct flight {
    uint32_t                n;       /* shares; 0: no step */
    struct sched_share     *share;   /* max_seqs. seq NULL: it has ended meanwhile */
    struct batch_seq       *part;    /* the same as the backend wants it */
    struct sample_program  *program; /* draws on the device, of the parts that have one */
    const uint32_t        **mask;    /* NULL: none */
    struct batch batch;              /* of the parts */
    uint64_t ticket;
    int64_t  start_ns;
};

void flight_init(struct flight *f, uint32_t max_seqs);
void flight_deinit(struct flight *f);
/* Its first n shares as the backend wants them; their masks are begun. */
void flight_fill(struct engine *en, struct flight *f, uint32_t n);
/* May a step be planned before this one has come back? */
bool flight_leads(const struct engine *en, const struct flight *f);
/* The sequences as they will be when it has, with a token more that is not known yet; and back again. */
void flight_assume(struct flight *f, bool come_back);
/* q has ended. */
void flight_forget(struct flight *f, const struct sched_seq *q);

#endif
