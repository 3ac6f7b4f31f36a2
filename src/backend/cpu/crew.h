/* A crew of threads that share out the tasks of one job at a time; the caller is thread 0.
 *
 * Each thread begins with its own contiguous share of the tasks and then takes from the others' ends, one by
 * one, so a busy neighbour on one core delays at most the task it holds (CPU.md section 5.2). Idle threads
 * spin a bounded time, then sleep. Which thread runs a task must not change its result.
 */
#ifndef CORRAL_CPU_CREW_H
#define CORRAL_CPU_CREW_H

#include "base/base.h"

struct crew;
typedef void (*crew_task)(void *ctx, uint32_t task, uint32_t thread);

status   crew_new(struct crew **out, uint32_t n_thread, struct error *e);
void     crew_free(struct crew *p);
uint32_t crew_n_thread(const struct crew *p);
/* Run fn for every task in [0, n_task); returns when all are done. One caller at a time. */
void     crew_run(struct crew *p, uint32_t n_task, crew_task fn, void *ctx);
uint32_t crew_usable_cores(void); /* by affinity */

#endif
