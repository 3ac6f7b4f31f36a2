/* Masks of constraints, computed beside the step whose logits they are for.
 *
 * A constraint's state does not change while the device computes, so its mask can be had by the time the
 * logits are there. A thread of its own, begun with the first constrained request, computes the masks of
 * a step; what it has not begun when the step has ended, the engine's thread computes itself. All
 * functions are for the engine's thread. */
#ifndef CORRAL_ENGINE_MASKS_H
#define CORRAL_ENGINE_MASKS_H

#include "engine/engine.h"

struct masks;
struct mask_source { void (*mask)(void *state, uint32_t *bits); void *state; };

struct masks *masks_new(uint32_t n_vocab);
void masks_free(struct masks *m); /* NULL is fine */
/* From here to masks_end no state of src may change. src is copied. */
void masks_begin(struct masks *m, const struct mask_source *src, uint32_t n);
void masks_end(struct masks *m);
/* The i-th of masks_begin: n_vocab bits, valid until the next masks_begin. */
const uint32_t *masks_at(const struct masks *m, uint32_t i);
/* A mask at once; valid until the next masks_now. */
const uint32_t *masks_now(struct masks *m, const struct mask_source *src);

#endif
