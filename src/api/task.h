/* An answer that is computed at once, without the engine: tokens of a text, a rendered template, a count.
 * Short bodies are done by the loop, others by a worker. */
#ifndef CORRAL_API_TASK_H
#define CORRAL_API_TASK_H

#include "api/generation.h"

/* Write the body of the answer, JSON; or fill f and return false. On any thread. */
typedef bool task_fn(const struct api *api, struct request *r, struct buf *out, struct fault *f);
/* r (moved in) has been read from x; render writes errors. */
void task_run(struct http_exchange *x, const struct api *api, const struct renderer *render,
              struct request *r, task_fn *fn);

#endif
