/* A few threads for what would hold up an HTTP loop: rendering and tokenizing long prompts. */
#ifndef CORRAL_API_WORKERS_H
#define CORRAL_API_WORKERS_H

#include "base/base.h"

struct workers;

status workers_new(struct workers **out, uint32_t n_thread, struct error *e);
/* What was given and not begun is still done first. NULL is fine. */
void workers_free(struct workers *w);
/* Call fn(user) on one of the threads, in the order given. */
void workers_run(struct workers *w, void (*fn)(void *user), void *user);

#endif
