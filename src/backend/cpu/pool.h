/* A pool of threads that share out the tasks of one job at a time; the caller is thread 0.
 *
 * Each thread begins with its own contiguous share of the tasks and then takes from the others' ends, one by one, so a
 * busy neighbour on one core delays at most the task it holds (CPU.md section 5.2). Idle threads spin a bounded time,
 * then sleep. Which thread runs a task must not change its result.
 */
#ifndef CORRAL_CPU_POOL_H
#define CORRAL_CPU_POOL_H

#include "base/base.h"

struct pool;
typedef void (*pool_task)(void *ctx, uint32_t task, uint32_t thread);

status   pool_new(struct pool **out, uint32_t n_thread, struct error *e);
void     pool_free(struct pool *p);
uint32_t pool_n_thread(const struct pool *p);
/* Run fn for every task in [0, n_task); returns when all are done. One caller at a time. */
void     pool_run(struct pool *p, uint32_t n_task, pool_task fn, void *ctx);
uint32_t pool_usable_cores(void); /* by affinity */

#endif
