/* Between generation.c (what a generation is, and what comes of it) and generation_start.c (how it gets
 * going). */
#ifndef CORRAL_API_GENERATION_INT_H
#define CORRAL_API_GENERATION_INT_H

#include "api/generation.h"

void generation_unref(struct generation *g);
/* On the engine's thread: copy, queue, wake. user: a struct submission. */
void generation_on_event(void *user, const struct engine_event *ev);
/* Text for a choice, as a piece of its answer; nothing when n is 0. to: content, reasoning or a call's
 * args. */
void generation_add_text(struct choice *c, enum piece_kind kind, uint32_t call, struct buf *to,
                         const char *text, size_t n);
/* Everything that was prepared into the engine. */
bool generation_submit(struct generation *g, struct fault *f);

#endif
