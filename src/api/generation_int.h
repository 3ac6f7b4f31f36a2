/* Between generation.c (what a generation is, and what comes of it) and generation_start.c (how it gets
 * going). */
#ifndef CORRAL_API_GENERATION_INT_H
#define CORRAL_API_GENERATION_INT_H

#include "api/generation.h"

void generation_unref(struct generation *g);
/* On the engine's thread: copy, queue, wake. user: a struct submission. */
void generation_on_event(void *user, const struct engine_event *ev);
/* Everything that was prepared into the engine. */
bool generation_submit(struct generation *g, struct fault *f);
/* What takes in its tokens. */
bool generation_start_choice(struct choice *c, struct fault *f);
/* A token or an end, as if the engine had sent it. */
void generation_take_token(struct choice *c, int32_t token);
void generation_take_end(struct choice *c, enum finish_reason why);
/* n more alternatives, behind those that there are. */
void generation_add_top(struct choice *c, const struct sample_logprob *top, uint32_t n);
/* Write what has been taken in and was not yet written. True: that was the end. */
bool generation_render(struct generation *g, struct buf *out);
/* The text that an echo begins each choice with. */
void generation_take_echo(struct generation *g);

#endif
